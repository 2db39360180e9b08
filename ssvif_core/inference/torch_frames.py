"""Buffers for one frame size and what runs between them, in torch: on the CPU, or on CUDA.

Written by https://docs.pytorch.org/docs/stable/notes/cuda.html (pinned memory, streams, CUDA
graphs). Needs torch; knows no model files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["CpuFrame", "CudaFrame", "Graph"]

#: visible (1, H, W, 3), thermal (1, H, W) uint8 -> fused, labels, of the same shapes, uint8.
Graph = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

INPUTS, OUTPUTS = ("visible", "thermal"), ("fused", "labels")
#: As many runs before a capture as the documentation of CUDA graphs has.
WARM_UP_RUNS = 3


def _shapes(height: int, width: int) -> dict[str, tuple[int, ...]]:
    image, mask = (1, height, width, 3), (1, height, width)
    return {"visible": image, "thermal": mask, "fused": image, "labels": mask}


@torch.inference_mode()
def _compute(graph: Graph, tensors: dict[str, Tensor]) -> None:
    answer = graph(tensors["visible"], tensors["thermal"])
    for name, values in zip(OUTPUTS, answer, strict=True):
        tensors[name].copy_(values)


class CpuFrame:
    """A frame size on the CPU.

    Args:
        graph: on the CPU.
        height, width: of the frames.
        threads: that torch may use meanwhile; the number of before is restored.

    Attributes:
        arrays: by name; inputs are written here before `run`, outputs are here after it.
    """

    def __init__(self, graph: Graph, height: int, width: int, threads: int) -> None:
        self._graph, self._threads = graph, threads
        self._tensors = {
            name: torch.empty(shape, dtype=torch.uint8)
            for name, shape in _shapes(height, width).items()
        }
        self.arrays: dict[str, np.ndarray] = {n: t.numpy() for n, t in self._tensors.items()}

    def run(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            _compute(self._graph, self._tensors)
        finally:
            torch.set_num_threads(before)


class CudaFrame:
    """A frame size on the GPU: recorded once as a CUDA graph, and launched for each frame.

    Host buffers are pinned, so that copies are queued like kernels, all on a stream of its own.

    Args:
        graph: on the GPU.
        height, width: of the frames.

    Attributes:
        arrays: see `CpuFrame`.
    """

    def __init__(self, graph: Graph, height: int, width: int) -> None:
        shapes = _shapes(height, width).items()
        self._host = {n: torch.empty(s, dtype=torch.uint8, pin_memory=True) for n, s in shapes}
        self._device = {n: torch.zeros(s, dtype=torch.uint8, device="cuda") for n, s in shapes}
        self.arrays: dict[str, np.ndarray] = {n: t.numpy() for n, t in self._host.items()}
        self._stream = torch.cuda.Stream()
        self._recording = torch.cuda.CUDAGraph()
        # A recording holds addresses: what it reads must live as long.
        self._graph = graph
        # cuDNN computes convolutions of fp32 in TF32 otherwise, which is as coarse as fp16.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_RUNS):
                    _compute(graph, self._device)
            torch.cuda.current_stream().wait_stream(self._stream)
            # "thread_local": other threads may go on using CUDA meanwhile.
            with torch.cuda.graph(
                self._recording, stream=self._stream, capture_error_mode="thread_local"
            ):
                _compute(graph, self._device)

    def run(self) -> None:
        with torch.cuda.stream(self._stream):
            for name in INPUTS:
                self._device[name].copy_(self._host[name], non_blocking=True)
            self._recording.replay()
            for name in OUTPUTS:
                self._host[name].copy_(self._device[name], non_blocking=True)
        self._stream.synchronize()
