"""Engine on torch, for development: what runs is the code in `deploy/graph.py` itself.

The weights come from the ONNX file, so that it runs every model that the other engines run, without
its checkpoint. On a GPU it computes in fp16 and as one CUDA graph. Importing this module raises
SsvifError where torch or onnx is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

try:
    import torch

    from ssvif_core.deploy.graph import DeployedGraph
    from ssvif_core.inference.torch_frames import CpuFrame, CudaFrame
    from ssvif_core.network.fusion_network import FusionNetwork
    from ssvif_core.training.reopen import reopen
except ImportError as missing:
    raise SsvifError(
        f"The engine torch needs what training needs ({missing}): pip install '.[train]'."
    ) from missing

__all__ = ["TorchEngine"]


class TorchEngine:
    """See `ssvif_core.inference.engine.Engine`.

    Runs on the GPU where torch has CUDA, in fp16 unless precision is fp32; otherwise on the CPU, in
    fp32.

    Args:
        model: an opened model, the fp32 file.
        options: threads and precision.

    Raises:
        SsvifError: the file is not fp32, or does not hold the network that its card describes.
    """

    name = "torch"

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        self.model, self.options = model, options or EngineOptions()
        self.cuda = torch.cuda.is_available()
        self.half = self.cuda and self.options.precision != "fp32"
        graph = DeployedGraph(_network(model), half=self.half)
        # Measured with 2 threads: a third faster on a CPU; tensor cores want it as well.
        graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graph: DeployedGraph | None = graph.to("cuda") if self.cuda else graph
        self._frame: CpuFrame | CudaFrame | None = None
        self._size = (0, 0)

    def _prepare(self, graph: DeployedGraph, height: int, width: int) -> CpuFrame | CudaFrame:
        """Buffers for a frame size, and on a GPU the recorded graph; the old ones are freed."""
        self._frame, self._size = None, (0, 0)
        if self.cuda:
            self._frame = CudaFrame(graph, height, width)
        else:
            self._frame = CpuFrame(graph, height, width, self.options.cpu_threads)
        self._size = (height, width)
        return self._frame

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,  # the labels come with it
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._graph is None:
            raise SsvifError("The engine is closed: make a new one.")
        try:
            frame = self._frame
            if frame is None or thermal.shape != self._size:
                frame = self._prepare(self._graph, *thermal.shape)
            np.copyto(frame.arrays["visible"][0], visible)
            np.copyto(frame.arrays["thermal"][0], thermal)
            frame.run()
        except RuntimeError as error:  # of CUDA: no memory, or something that cannot be recorded
            raise SsvifError(
                f"torch cannot compute a frame of {thermal.shape[1]}x{thermal.shape[0]}: {error}. "
                "If memory is full, stop other programs; if not, use another engine."
            ) from error
        return frame.arrays["fused"][0], frame.arrays["labels"][0]

    def warm_up(self, height: int, width: int) -> None:
        for _ in range(2):
            self.infer(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))

    def describe(self) -> dict[str, str]:
        return {
            "engine": self.name,
            "version": str(torch.__version__),
            "precision": "fp16" if self.half else "fp32",
            "device": torch.cuda.get_device_name() if self.cuda else "CPU",
            "threads": "none" if self.cuda else str(self.options.threads or "one for each core"),
            "model": self.model.card.name,
        }

    def close(self) -> None:
        self._graph = None
        self._frame = None


def _network(model: Model) -> FusionNetwork:
    if model.precision != "fp32":
        raise SsvifError(
            f"{model.path} is {model.precision} and torch can reopen only fp32 files: use the "
            "model's fp32 file and precision auto or fp32 (auto computes in fp16 on a GPU)."
        )
    # `reopen` measures statistics that training needs and evaluation cancels: any frames will do.
    random = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 4, 64, 64, generator=random).split((3, 1), 1)
    try:
        return reopen(model, [frames])
    except Exception as error:  # a damaged file fails in onnx, another network in `reopen`
        reason = error.__cause__ or error  # what `reopen` advises is for training
        raise SsvifError(
            f"torch cannot load {model.path} as the network that its card describes ({reason}). "
            "Export the model again, or use another engine."
        ) from error
