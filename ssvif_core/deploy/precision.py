"""What each precision may cost, and how a model is quantised to int8.

Precision is in the file, not in a builder's flags: an fp16 file has convolutions in half precision
(`ssvif_core.deploy.graph`), an int8 file has QuantizeLinear and DequantizeLinear (Q/DQ) around its
convolutions, which TensorRT and ONNX Runtime compute in int8. Weights are quantised by output
channel and activations as a whole, all symmetric (zero point 0), which is all that TensorRT takes.

What is quantised was measured (msrs/val, 46 frames, ONNX Runtime; calibrated on 32 frames of
msrs/train unless said otherwise), with the models of before decision 5: they had no `detail_stem`,
which sees grey levels like the other stems and is treated like them. Fused: mean difference from
fp32 in grey levels. Labels: equal to those of fp32. IoU: mean of car, person and bicycle; fp32 has
61.0 (base) and 47.0 (tiny):

    Q/DQ at                                fused         labels        IoU
                                           base   tiny   base   tiny   base  tiny
    inputs and outputs of all              1.83  12.74   .978   .966   53.3  43.0
    the same without the stems              .86  12.98   .996   .996   60.5  46.5
    the same without stems, coefficients    .71    .56   .996   .996   60.5  46.5
    inputs of all                           .49    .69   .997   .996   60.8  46.9
    the same without coefficients           .47    .64   .997   .996   60.8  46.9
    the same without the stems              .48    .46   .997   .996   60.8  46.9
  * the same without stems, coefficients    .46    .42   .997   .996   60.8  46.9
    * and without the label heads           .46    .42   .997   .996   60.8  46.9
    * calibrated on 8 frames                .44    .33   .997   .997   60.9  46.8
    * calibrated on 64 frames               .49    .40   .997   .996   60.9  46.9
    * calibrated on the simulation          .43    .34   .997   .997   61.0  46.8
    * mean of the frames' extremes          .27    .27   .998   .997   61.0  46.8
    * percentile 99.999                     .23    .23   .998   .998   61.1  46.9

A convolution's output is quantised where the next one takes it in, after ReLU, and nowhere else.
The stems see grey levels, of which symmetric int8 tells only every second apart; `coefficients`
multiplies them; both are small. The last two rows clip what is rarely seen: the largest difference
rises from 6 grey levels to 13, so the extremes of all frames are taken as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.models import PRECISIONS

if TYPE_CHECKING:
    import onnx

__all__ = ["BARS", "FLOAT_LAYERS", "Bar", "known_precision", "missed_bars", "quantise"]

#: Layers that an int8 file computes in fp32; see the table above.
FLOAT_LAYERS = ("visible_stem", "thermal_stem", "detail_stem", "coefficients")


class Bar(NamedTuple):
    """How far a file may be from torch in fp32.

    Attributes:
        measure: key of what `check_parity` measures; `iou_loss` is iou_fp32 - iou.
        limit: largest value, or the smallest one where more is better.
        text: what the measure is, for people.
        more_is_better: which of the two.
    """

    measure: str
    limit: float
    text: str
    more_is_better: bool = False

    def holds(self, value: float) -> bool:
        """False for NaN, too."""
        return value >= self.limit if self.more_is_better else value <= self.limit


#: The largest number of fp16 is 65504. Half of it is left for frames that are not among those.
LARGEST_ACTIVATION = 32752
BARS: Mapping[str, Sequence[Bar]] = {
    "fp32": (
        Bar("fused_max_difference", 2, "largest difference of fused, grey levels"),
        Bar("label_agreement", 0.999, "part of labels equal, worst frame", True),
    ),
    "fp16": (
        Bar("fused_max_difference", 4, "largest difference of fused, grey levels"),
        Bar("label_agreement_mean", 0.995, "part of labels equal, all frames", True),
        Bar("largest_activation", LARGEST_ACTIVATION, "largest number within the network"),
    ),
    "int8": (
        Bar("fused_mean_difference", 1.5, "mean difference of fused, grey levels"),
        Bar("iou_loss", 0.015, "mean IoU below that of fp32"),  # only where there are labels
    ),
}


def known_precision(precision: str) -> str:
    """`precision` itself. Raises SsvifError if there is no such."""
    if precision not in PRECISIONS:
        raise SsvifError(f"Unknown precision '{precision}': use one of {list(PRECISIONS)}.")
    return precision


def missed_bars(precision: str, measured: Mapping[str, float]) -> list[str]:
    """One line for each bar that is missed, with the figure and the limit."""
    return [
        f"{bar.text}: {measured[bar.measure]:.6g}, must be "
        f"{'at least' if bar.more_is_better else 'at most'} {bar.limit:g}"
        for bar in BARS[precision]
        if bar.measure in measured and not bar.holds(measured[bar.measure])
    ]


class _Frames:
    """Calibration frames as ONNX Runtime asks for them (a `CalibrationDataReader`)."""

    def __init__(self, frames: Sequence[FramePair], step: Callable[[], object]) -> None:
        self._frames: Iterator[FramePair] = iter(frames)
        self._step = step

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next pair, or None after the last."""
        pair = next(self._frames, None)
        if pair is None:
            return None
        self._step()
        return {"visible": pair.visible[None], "thermal": pair.thermal[None]}


def quantise(
    model_path: Path,
    output_path: Path,
    frames: Sequence[FramePair],
    step: Callable[[], object] = lambda: None,
) -> None:
    """Write an int8 file of an fp32 one.

    Args:
        model_path: ONNX file in fp32, of `export_model`.
        output_path: ONNX file to write; may be the same.
        frames: pairs that show what the cameras will see, of any sizes; a few dozen are enough.
        step: called for each frame.

    Raises:
        SsvifError: there are no frames, or onnx is not installed.
    """
    if not frames:
        raise SsvifError(
            "int8 needs frames to calibrate on: give --calibrate FOLDER or simulation."
        )
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise SsvifError(f"int8 needs the extra: pip install '.[train]' ({error}).") from error

    with tempfile.TemporaryDirectory(prefix="ssvif-") as folder:
        prepared, quantised = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        # Shape inference alone: the optimiser of ONNX Runtime puts its own domains into the file,
        # and its symbolic shapes fail on the arithmetic of the padding.
        quant_pre_process(
            str(model_path), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        quantize_static(
            str(prepared),
            str(quantised),
            _Frames(frames, step),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_float_nodes(onnx.load(str(prepared))),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        model = onnx.load(str(quantised))
    del model.graph.value_info[:]  # of the shape inference: 200 guesses that nobody needs
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(output_path))


def _float_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions of `FLOAT_LAYERS`, whose kernels are network.LAYER.0.weight, ..."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1].split(".")[1] in FLOAT_LAYERS
    ]
