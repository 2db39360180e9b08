"""Does an exported file answer like the network that it was made from? On real frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.deploy.graph import DeployedGraph
from ssvif_core.deploy.precision import missed_bars
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.frame_scores import CLUSTERS
from ssvif_core.evaluation.segmentation_metrics import OBJECTS, ConfusionMatrix, named_iou
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.models import Model
from ssvif_core.network.fusion_network import FusionNetwork
from ssvif_core.training.validation import predict_pair

__all__ = ["Step", "check_labels", "check_parity"]

#: Called with "calibration" or "parity" for each frame that is done.
Step = Callable[[str], object]


def check_labels(frames: Iterable[FramePair], classes: Sequence[str]) -> None:
    """Raise SsvifError where a frame has a label id that is none of the classes."""
    for pair in frames:
        if pair.labels is None:
            continue
        top = int(pair.labels[pair.labels != UNKNOWN].max(initial=0))
        if top >= len(classes):
            raise SsvifError(
                f"The labels of '{pair.name}' have an id {top}, and the classes are "
                f"{list(classes)}: map the ids with --label-map, such as 0:0,1:1,4:0; ids that it "
                "does not name are left out."
            )


@dataclass
class _Comparison:
    """What adds up over frames: `ours` is the file's answer, `wanted` that of torch in fp32."""

    classes: int
    largest: list[int] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    agreements: list[float] = field(default_factory=list)
    equal: int = 0
    pixels: int = 0

    def __post_init__(self) -> None:
        self.ours, self.wanted = ConfusionMatrix(self.classes), ConfusionMatrix(self.classes)

    def add(
        self,
        pair: FramePair,
        ours: tuple[np.ndarray, np.ndarray],
        wanted: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Fused image and labels of the file and of torch; IoU where the pair has labels."""
        difference = np.abs(ours[0].astype(np.float32) - wanted[0])
        self.largest.append(int(difference.max()))
        self.means.append(float(difference.mean()))
        same = ours[1] == wanted[1]
        self.agreements.append(float(same.mean()))
        self.equal += int(same.sum())
        self.pixels += same.size
        if pair.labels is not None:
            self.ours.update(pair.labels, ours[1])
            self.wanted.update(pair.labels, wanted[1])

    def result(self) -> dict[str, float]:
        """The figures of `check_parity`, but for the number of frames."""
        figures = {
            "fused_max_difference": max(self.largest),
            "fused_mean_difference": round(float(np.mean(self.means)), 4),
            "fused_mean_difference_worst": round(max(self.means), 4),
            "label_agreement": round(min(self.agreements), 6),
            "label_agreement_mean": round(self.equal / self.pixels, 6),
        }
        names = [str(i) for i in range(self.classes)]
        ours, wanted = (named_iou(m, names)[OBJECTS] for m in (self.ours, self.wanted))
        if not np.isnan([ours, wanted]).any():
            figures |= {"iou": round(ours, 4), "iou_fp32": round(wanted, 4)}
        return figures


def check_parity(
    model: Model,
    network: FusionNetwork,
    frames: Sequence[FramePair],
    step: Step = lambda phase: None,
) -> dict[str, float]:
    """Compare the ONNX file with the torch network on real frames, whole and at an odd size.

    Returns:
        frames: pairs that were compared, each whole and at an odd size.
        fused_max_difference, fused_mean_difference: grey levels; mean over the frames.
        fused_mean_difference_worst: of the worst frame.
        label_agreement, label_agreement_mean: 0..1, of the worst frame and of all pixels.
        iou, iou_fp32: of the file and of torch, mean over the classes but background, 0..1; only
            where whole frames have labels and the classes have names.
        largest_activation: only of fp16; see `_largest_activation`.

    Raises:
        SsvifError: they differ by more than the precision allows, or there are no frames.
    """
    if not frames:
        raise SsvifError("Parity needs at least one real frame pair: give --frames FOLDER.")
    classes = [label.name for label in model.card.classes]
    if model.card.mode == CLUSTERS:
        frames = [FramePair(pair.name, pair.visible, pair.thermal) for pair in frames]
    check_labels(frames, classes)
    comparison = _Comparison(len(classes))
    engine = OnnxRuntimeEngine(model)
    for pair in chain(frames, map(_odd, frames)):
        fused, wanted = predict_pair(network, pair, torch.device("cpu"))
        reference = (fused[0] * 255).round().permute(1, 2, 0).numpy()
        comparison.add(pair, engine.infer(pair.visible, pair.thermal), (reference, wanted))
        step("parity")
    engine.close()
    figures = {"frames": len(frames), **comparison.result()}
    if model.precision == "fp16":
        figures["largest_activation"] = round(_largest_activation(network, frames), 2)
    loss = {"iou_loss": figures["iou_fp32"] - figures["iou"]} if "iou" in figures else {}
    missed = missed_bars(model.precision, figures | loss)
    if missed:
        raise SsvifError(
            f"The {model.precision} graph differs from torch in fp32 by more than it may "
            f"({'; '.join(missed)}), so nothing was written. {ADVICE[model.precision]}"
        )
    return figures


#: What to do about a missed bar.
ADVICE = {
    "fp32": "Please report this with the checkpoint.",
    "fp16": "Use fp32 for this model.",
    "int8": "Calibrate on frames that resemble those of --frames, on more of them, or use fp16.",
}


def _odd(pair: FramePair) -> FramePair:
    """Its upper left part, of a size that needs padding; without labels."""
    height, width = pair.thermal.shape
    part = np.s_[: max(height - 13, 1), : max(width - 6, 1)]
    visible, thermal = pair.visible[part], pair.thermal[part]
    return FramePair(pair.name, np.ascontiguousarray(visible), np.ascontiguousarray(thermal))


@torch.inference_mode()
def _largest_activation(network: FusionNetwork, frames: Sequence[FramePair]) -> float:
    """Largest magnitude of what a layer of the deployed network gives, computed in fp32.

    ONNX Runtime computes an fp16 file in fp32 on most CPUs, so that a number beyond the range of
    fp16 goes unnoticed there, and is infinite on a GPU.
    """
    graph = DeployedGraph(network)
    largest = 0.0

    def listen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, float(output.abs().max()))

    for module in graph.network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(listen)
    for pair in frames:
        graph(torch.from_numpy(pair.visible)[None], torch.from_numpy(pair.thermal)[None])
    return largest
