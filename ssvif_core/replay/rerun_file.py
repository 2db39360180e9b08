"""run.rrd: what went in and came out, and every figure of a pair, for the rerun viewer.

Uses `rerun-sdk` (extra `rerun`). The SDK writes chunk by chunk to disk, so that memory stays flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_core.replay.frame_table import STAGES
from ssvif_core.replay.stability import STABILITY

__all__ = ["FIGURES", "RRD", "RerunFile", "rerun_package"]

RRD = "run.rrd"
APPLICATION = "ssvif_replay"
#: Column of the table -> entity. Those that share a folder are drawn in one plot.
FIGURES: dict[str, str] = {
    "delta_ms": "pairing/delta_ms",
    "wait_ms": "pairing/wait_ms",
    **{column: f"stages/{column}" for column in (*STAGES, "total_ms")},
    "latency_ms": "latency/latency_ms",
    "after_receipt_ms": "latency/after_receipt_ms",
    "dropped": "dropped",
    "fused_mean": "luminance/fused_mean",
    "fused_deviation": "luminance/fused_deviation",
    **{column: f"stability/{column}" for column in STABILITY},
    **{column: f"fusion/{column}" for column in METRICS},
    "iou_objects": "masks/iou_objects",
    "pixel_accuracy": "masks/pixel_accuracy",
}
#: The plots of the viewer, beside the images; the others are a click away.
SHOWN = ("pairing", "stages", "latency", "fusion", "stability", "masks")
JPEG_QUALITY = 85
#: The SDK queues without bound what its writer has no time for; so it is waited for now and then.
FLUSH_EVERY = 50


def rerun_package() -> Any:
    """The module `rerun`. Raises SsvifError if it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise SsvifError(
            f"--rerun needs the package rerun-sdk: pip install '.[rerun]' ({error})."
        ) from error
    return rerun


class RerunFile:
    """Writes one rerun recording; use it as a context manager.

    Timelines: `stamp` (header stamps, as a date), `recording` (receipt since the start, as the
    plots of the report) and `pair` (numbers). Images are JPEG, labels as they are.

    Args:
        path: of the .rrd file.
        card: of the model: its classes and colours become the annotation context.
        name: of the recording.

    Raises:
        SsvifError: rerun is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path, card: ModelCard, name: str) -> None:
        self.path = path
        self._rr = rerun = rerun_package()
        self._stamps: dict[int, int] = {}
        self._stream = rerun.RecordingStream(APPLICATION)
        try:
            self._stream.save(path, default_blueprint=_blueprint())
        except Exception as error:  # of the SDK, which has no class of its own for them
            raise SsvifError(f"Cannot write {path}: {error}") from error
        self._stream.send_recording_name(name)
        self._stream.log("/", _classes(rerun, card), static=True)

    def __enter__(self) -> RerunFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def frame(
        self, row: Mapping[str, Any], stamp_ns: int, visible: np.ndarray | None,
        result: FusionResult,
    ) -> None:  # fmt: skip
        """Write the images of a pair.

        Args:
            row: its figures so far: `index` and `time_s` are taken.
            stamp_ns: that the outputs carry.
            visible: (H, W, 3) uint8 RGB, or None where the thermal camera goes on alone.
            result: of the pipeline.
        """
        self._stamps[row["index"]] = stamp_ns
        if row["index"] % FLUSH_EVERY == 0:
            self._stream.flush()
        self._at(row, stamp_ns)
        if visible is not None:
            self._image("visible", visible)
        if row["cameras"] != "visible":
            self._image("thermal", result.thermal)
        self._image("fused", result.fused)
        self._stream.log("fused/labels", self._rr.SegmentationImage(result.labels))

    def figures(self, row: Mapping[str, Any]) -> None:
        """Write the figures of a pair when they are all known, which may be some pairs later."""
        usual_ns = row["visible_stamp_ns"] or row["thermal_stamp_ns"] or 0
        self._at(row, self._stamps.pop(row["index"], usual_ns))
        for column, entity in FIGURES.items():
            value = row.get(column)
            if value is not None and math.isfinite(value):
                self._stream.log(entity, self._rr.Scalars(float(value)))
        if row.get("error"):
            text = f"pair {row['index']}: {row['error']}"
            self._stream.log("errors", self._rr.TextLog(text, level="ERROR"))

    def _at(self, row: Mapping[str, Any], stamp_ns: int) -> None:
        self._stream.set_time("stamp", timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.set_time("recording", duration=float(row["time_s"]))
        self._stream.set_time("pair", sequence=int(row["index"]))

    def _image(self, entity: str, image: np.ndarray) -> None:
        pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        contents = jpeg.tobytes()
        self._stream.log(entity, self._rr.EncodedImage(contents=contents, media_type="image/jpeg"))


def _classes(rr: Any, card: ModelCard) -> Any:
    """Names and colours by id; the background is clear, so that it hides nothing."""
    infos = [
        rr.AnnotationInfo(id=c.id, label=c.name, color=(*c.color, 255 if c.id else 0))
        for c in card.classes
    ]
    return rr.AnnotationContext(infos)


def _blueprint() -> Any:
    """What the viewer shows at first: the images above, the plots below."""
    from rerun import blueprint as rrb

    images = [rrb.Spatial2DView(origin=name, name=name) for name in ("visible", "thermal", "fused")]
    plots = [rrb.TimeSeriesView(origin=name, name=name) for name in SHOWN]
    return rrb.Blueprint(
        rrb.Vertical(rrb.Horizontal(*images), rrb.Grid(*plots), row_shares=[3, 2]),
        collapse_panels=True,
    )
