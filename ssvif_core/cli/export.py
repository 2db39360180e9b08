"""`ssvif export`: a checkpoint or an fp32 model becomes an ONNX model with its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import numpy as np
import typer

from ssvif_core.cli.options import LabelMap, Labels, ThermalTopic, VisibleTopic
from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.pairs import FramePair
from ssvif_core.data.sources import open_pairs
from ssvif_core.deploy.precision import known_precision
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.evaluation_set import open_evaluation_set, parse_label_map
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.models import Model, ModelCard, open_model, shipped_models
from ssvif_core.simulation.scenes import SCENE_KINDS, Scene
from ssvif_core.training.card import same_runs, training_section
from ssvif_core.writable import check_writable

if TYPE_CHECKING:
    from ssvif_core.network.fusion_network import FusionNetwork

__all__ = ["export", "training_section"]

_Topics = tuple[Optional[str], Optional[str]]  # noqa: UP045 - see app.py
#: Pairs that int8 is calibrated on at most, evenly spread; 8 and 64 gave the same (precision.py).
CALIBRATION_FRAMES = 32
#: For --calibrate: simulated scenes of this size, and the moments of each [s].
SIMULATION = "simulation"
SCENE_SIZE = (320, 240)
SCENE_TIMES_S = np.arange(0.5, 4.5, 0.5)
#: What the progress bar calls the phases of `export_model`.
TASKS = {"calibration": "calibrating", "parity": "comparing with torch"}


def export(
    source: Annotated[
        str,
        typer.Argument(help="checkpoint.pt of a training run, an exported fp32 model, base, tiny."),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            help="NAME.onnx to write, with NAME.json beside it. For fp16 and int8 it becomes "
            "NAME.fp16.onnx, NAME.int8.onnx: beside NAME.onnx, engines find them."
        ),
    ],
    frames: Annotated[
        Path,
        typer.Option(
            help="Real pairs to check the file against torch: a folder (visible/ thermal/, and "
            "labels/ where there are any) or a recording."
        ),
    ],
    precision: Annotated[
        str,
        typer.Option(help="fp32; fp16: for NVIDIA GPUs and Jetson; int8: smallest, for TensorRT."),
    ] = "fp32",
    calibrate: Annotated[
        Optional[str],  # noqa: UP045 - see app.py
        typer.Option(
            help="For int8, what the cameras will see: a folder of pairs, a rosbag, or "
            f"'{SIMULATION}'; default: that of --frames."
        ),
    ] = None,
    labels: Labels = None,
    label_map: LabelMap = None,
    visible_topic: VisibleTopic = None,
    thermal_topic: ThermalTopic = None,
    command: Annotated[
        str, typer.Option(help="How the checkpoint was trained, for the card.")
    ] = "ssvif train",
    limit: Annotated[int, typer.Option(min=1, help="Pairs to compare at most.")] = 8,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a model of another training, too.")
    ] = False,
) -> None:
    """Export a trained network: bytes in, bytes out, any size, everything in the graph.

    The precision is in the file; an engine computes what the file says. A file is kept only if it
    agrees with torch in fp32 on real frames:

    - **fp32** fused within 2 grey levels, labels equal on 99.9 % of every frame.

    - **fp16** fused within 4 grey levels, labels equal on 99.5 %; half the size, faster on GPUs.

    - **int8** fused within 1.5 grey levels on average, IoU within 1.5 points where frames have
    labels; a quarter of the size. It is calibrated on frames: take some of your own cameras.

    A model of another training that has this name already is kept, unless --force is given.

    For instance:

    `ssvif export runs/mine/checkpoint.pt mine.onnx --frames drive.mcap`

    `ssvif export mine.onnx mine.onnx --precision fp16 --frames pairs`

    `ssvif export base base.onnx --precision int8 --frames pairs --calibrate drive.mcap`
    """
    path = output_path(output, known_precision(precision))
    check_writable(path)
    try:
        from ssvif_core.deploy.export import export_model
    except ImportError as error:
        raise SsvifError(f"Export needs the extra: pip install '.[train]' ({error}).") from error
    mapped, topics = parse_label_map(label_map), (visible_topic, thermal_topic)
    pairs = _read_frames(frames, labels, mapped, limit, topics)
    origin = _open_source(source, pairs, command)
    if not force:
        _check_place(path, origin)
    notes, calibration = dict(origin.notes), []
    if precision == "int8":
        if calibrate is None:
            calibration = _read_frames(frames, labels, mapped, CALIBRATION_FRAMES, topics)
        else:
            calibration = calibration_frames(calibrate, topics)
        used = Path(calibrate or frames).name
        notes["calibration"] = {"frames": len(calibration), "source": used}
    elif calibrate is not None:
        raise SsvifError(f"--calibrate is for int8 alone: leave it out for {precision}.")
    if precision != "fp32" and "metrics" in notes:
        notes["metrics"] = {"measured in": "fp32", **notes["metrics"]}
    with progress_bar() as bar:
        totals = {"calibration": len(calibration), "parity": 2 * len(pairs)}
        tasks = {p: bar.add_task(TASKS[p], total=n) for p, n in totals.items() if n}
        model = export_model(
            origin.network,
            path,
            origin.classes,
            pairs,
            precision=precision,
            calibration=calibration,
            name=origin.name,
            mode=origin.mode,
            notes=notes,
            step=lambda phase: bar.advance(tasks[phase]),
        )
    typer.echo(_report(model))


def output_path(output: Path, precision: str) -> Path:
    """`m.onnx` -> `m.onnx`, `m.fp16.onnx` or `m.int8.onnx`, where engines look for it.

    Raises:
        SsvifError: the name does not end in .onnx, or says another precision.
    """
    if output.suffix != ".onnx":
        raise SsvifError(f"{output} is no name of an ONNX model: end it in .onnx.")
    said = {".fp16": "fp16", ".int8": "int8"}.get(Path(output.stem).suffix)
    if said is not None and said != precision:
        raise SsvifError(f"{output} is the name of an {said} model: add --precision {said}.")
    if said is None and precision != "fp32":
        return output.with_suffix(f".{precision}.onnx")
    return output


def _read_frames(
    folder: Path, labels: str | None, label_map: dict[int, int] | None, limit: int, topics: _Topics
) -> list[FramePair]:
    found = open_evaluation_set(folder, labels, label_map, limit, None, *topics)
    return [found.read(name) for name in found.names]


@dataclass(frozen=True)
class _Source:
    """What is exported.

    Attributes:
        network: in evaluation mode.
        classes: names in the order of their ids.
        mode: what the masks are.
        name: of the model; None where the output's file names it.
        notes: sections of the card.
    """

    network: "FusionNetwork"
    classes: list[str]
    mode: str
    name: str | None
    notes: dict[str, Any]


def _open_source(source: str, pairs: Sequence[FramePair], command: str) -> _Source:
    if source in shipped_models() or Path(source).suffix == ".onnx":
        return _from_model(open_model(source), pairs[0])
    return _from_checkpoint(Path(source), command)


def _from_checkpoint(path: Path, command: str) -> _Source:
    from ssvif_core.deploy.export import load_trained
    from ssvif_core.training.checkpoint import load_checkpoint

    if not path.exists():
        raise SsvifError(
            f"There is no '{path}': give the checkpoint.pt of a run of `ssvif train`, an exported "
            f"ONNX model, or one of the shipped models {shipped_models()}."
        )
    if path.is_dir():
        raise SsvifError(f"{path} is a folder: give {path / 'checkpoint.pt'}.")
    state = load_checkpoint(path)
    network = load_trained(state)
    if state["mode"] is None:
        raise SsvifError(
            f"Nothing has taught the masks of {path} its classes, so a model of it would name what "
            "it does not know. Start from it a run with a stage supervised, warm_up or joint "
            "(initialise_from), or train the fused image of a network that has masks."
        )
    notes = {"training": training_section(command, state)}
    return _Source(network, state["classes"], state["mode"], None, notes)


def _from_model(model: Model, pair: FramePair) -> _Source:
    """An exported model in torch again, which gives what the file gives."""
    import torch

    from ssvif_core.training.reopen import reopen
    from ssvif_core.training.validation import as_tensors

    if model.precision != "fp32":
        raise SsvifError(
            f"{model.path} is {model.precision}, from which no other precision can be made: give "
            "the fp32 model or the checkpoint."
        )
    card = model.card
    network = reopen(model, [as_tensors(pair, torch.device("cpu"))])
    notes: dict[str, Any] = {
        key: card.content[key] for key in ("training", "metrics") if key in card.content
    }
    return _Source(network.eval(), [c.name for c in card.classes], card.mode, card.name, notes)


def _check_place(path: Path, origin: _Source) -> None:
    """Raise SsvifError where a model that does not come of the same training runs is there."""
    card = path.with_suffix(".json")
    if not (path.exists() or card.exists()):
        return
    try:
        there = ModelCard.read(card).content.get("training") or {}
    except SsvifError:
        there = {}
    if not same_runs(there.get("runs"), origin.notes.get("training", {}).get("runs")):
        raise SsvifError(
            f"{path} exists, and is not of this training: it is not overwritten. Give another name "
            "or, if it is not needed any more, --force."
        )


def calibration_frames(source: str, topics: _Topics = (None, None)) -> list[FramePair]:
    """What int8 is calibrated on.

    Args:
        source: folder, recording or video, as `open_pairs` takes it, or "simulation".
        topics: of the visible and the thermal camera in a recording; None to find them.

    Raises:
        SsvifError: there is nothing usable.
    """
    if source != SIMULATION:
        visible_topic, thermal_topic = topics
        return list(
            open_pairs(
                Path(source),
                limit=CALIBRATION_FRAMES,
                visible_topic=visible_topic,
                thermal_topic=thermal_topic,
            )
        )
    frames = []
    for kind in SCENE_KINDS:
        scene = Scene(kind, *SCENE_SIZE)
        for time_s in SCENE_TIMES_S:
            seen = scene.render(float(time_s), labels=False)
            thermal = ThermalGain().apply(seen.thermal)
            frames.append(FramePair(f"{kind} {time_s:g} s", seen.visible, thermal))
    return frames


def _report(model: Model) -> str:
    content = model.card.content
    parity = content["parity"]
    pairs = f"{parity['frames']} frame pair{'' if parity['frames'] == 1 else 's'}"
    iou = ""
    if "iou" in parity:
        iou = f", IoU {parity['iou']:.1%} (torch {parity['iou_fp32']:.1%})"
    return (
        f"{model.path} ({model.path.stat().st_size / 1e6:.2f} MB, {content['precision']}): "
        f"{content['parameters']} parameters; on {pairs}, whole and cut, fused "
        f"{parity['fused_mean_difference']:.2f} grey levels from torch in fp32 on average, "
        f"{parity['fused_max_difference']} at most; labels equal on "
        f"{parity['label_agreement_mean']:.3%}, {parity['label_agreement']:.3%} on the worst "
        f"frame{iou}"
    )
