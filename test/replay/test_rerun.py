"""`--rerun`: read back with rerun's own reader, run.rrd holds what the table and the bag hold."""

from __future__ import annotations

import csv
import gzip
import os
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.imaging.encodings import thermal_of, visible_of  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

NEEDS_RERUN = "needs the extra `rerun` (rerun-sdk)"


@pytest.fixture(scope="module")
def run(drive, tmp_path_factory):
    """Folder of a replay with run.rrd and an output recording."""
    pytest.importorskip("rerun", reason=NEEDS_RERUN)
    folder = tmp_path_factory.mktemp("rerun")
    settings = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
    options = ReplayOptions(settings, metrics_every=3, video=False, bag=True, rerun=True)
    replay(drive, folder, options, lambda *_: None)
    return folder


@pytest.fixture(scope="module")
def entities(run):
    """Entity -> its rows in order of the pairs, each a dict by column."""
    import pyarrow
    from rerun.chunk import RrdReader

    found: dict[str, list[dict]] = {}
    for chunk in RrdReader(run / "run.rrd").stream():
        batch = chunk.to_record_batch()
        # Times as nanoseconds: Python's own have microseconds.
        columns = [
            column.cast(pyarrow.int64()) if pyarrow.types.is_temporal(column.type) else column
            for column in batch.columns
        ]
        plain = pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)
        found.setdefault(chunk.entity_path, []).extend(plain.to_pylist())
    return {e: sorted(rows, key=lambda r: r.get("pair") or 0) for e, rows in found.items()}


def rows_of(folder):
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def images_of(folder, topic, decode):
    with Bag(folder / "bag") as bag:
        return [decode(bag.message(m)).copy() for m in bag.messages([topic])]


@pytest.mark.parametrize(
    ("entity", "column"),
    [("pairing/delta_ms", "delta_ms"), ("stages/engine_ms", "engine_ms"),
     ("latency/latency_ms", "latency_ms"), ("fusion/Qabf", "Qabf"),
     ("stability/flicker_labels", "flicker_labels"), ("masks/iou_objects", "iou_objects")],
)  # fmt: skip
def test_figures_are_those_of_the_table_at_their_pairs(run, entities, entity, column):
    wanted = {int(r["index"]): float(r[column]) for r in rows_of(run) if r[column]}
    rows = entities[f"/{entity}"]
    assert {r["pair"]: r["Scalars:scalars"][0] for r in rows} == pytest.approx(wanted, rel=1e-4)
    assert wanted


def test_every_image_lies_at_the_visible_stamp_and_at_its_time_in_the_recording(run, entities):
    rows = rows_of(run)
    for entity in ("/visible", "/thermal", "/fused", "/fused/labels"):
        stamps = [r["stamp"] for r in entities[entity]]
        assert stamps == [int(r["visible_stamp_ns"]) for r in rows]
        seconds = [r["recording"] * 1e-9 for r in entities[entity]]
        assert seconds == pytest.approx([float(r["time_s"]) for r in rows], abs=1e-4)


def test_images_and_labels_are_the_pipeline_s(run, entities):
    fused = images_of(run, "/fusion/fused", visible_of)
    for row, image in zip(entities["/fused"], fused, strict=True):
        blob = np.array(row["EncodedImage:blob"][0], np.uint8)
        seen = cv2.cvtColor(cv2.imdecode(blob, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.abs(seen.astype(int) - image).mean() < 6  # JPEG
    labels = images_of(run, "/fusion/labels", thermal_of)
    for row, image in zip(entities["/fused/labels"], labels, strict=True):
        buffer = np.array(row["SegmentationImage:buffer"][0], np.uint8)
        assert (buffer.reshape(image.shape) == image).all()


def test_classes_have_the_names_of_the_model_card(entities):
    (context,) = (r for r in entities["/"] if "AnnotationContext:context" in r)
    infos = [item["class_description"]["info"] for item in context["AnnotationContext:context"][0]]
    classes = open_model("tiny").card.classes
    assert {i["id"]: i["label"] for i in infos} == {c.id: c.name for c in classes}


def test_without_rerun_it_says_what_to_install(drive, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    settings = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
    with pytest.raises(SsvifError, match=r"pip install '\.\[rerun\]'"):
        replay(drive, tmp_path, ReplayOptions(settings, rerun=True), lambda *_: None)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_memory_does_not_grow_with_what_was_written(tmp_path):
    pytest.importorskip("rerun", reason=NEEDS_RERUN)
    from ssvif_core.inference.pipeline import FusionResult
    from ssvif_core.replay.rerun_file import RerunFile

    def resident_mib():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    random = np.random.default_rng(0)
    image = random.integers(0, 255, (480, 640, 3), np.uint8)  # noise: JPEG cannot make it small
    result = FusionResult(image, image[..., 1].copy(), image[..., 0].copy())
    path = tmp_path / "run.rrd"
    row = {"cameras": "both", "visible_stamp_ns": 1, "thermal_stamp_ns": 1, "delta_ms": 1.0}
    seen = {}
    with RerunFile(path, open_model("tiny").card, "long") as file:
        for index in range(301):
            at = row | {"index": index, "time_s": index / 30}
            file.frame(at, index + 1, image, result)
            file.figures(at)
            if index in (100, 300):  # the allocator's own stores have filled by the first
                seen[index] = resident_mib(), path.stat().st_size / 2**20
    grown_mib, written_mib = (seen[300][k] - seen[100][k] for k in (0, 1))
    assert written_mib > 100
    assert grown_mib < written_mib / 2
