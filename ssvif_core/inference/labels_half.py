"""The second half of a model on ONNX Runtime: the labels, while somebody takes the fused image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from ssvif_core.errors import SsvifError

__all__ = ["LabelsHalf", "bound", "run"]


def bound(session: onnxruntime.InferenceSession, **buffers: np.ndarray) -> onnxruntime.IOBinding:
    """A binding of a session with these uint8 buffers for its outputs."""
    binding = session.io_binding()
    for name, buffer in buffers.items():
        binding.bind_output(name, "cpu", 0, np.uint8, buffer.shape, buffer.ctypes.data)
    return binding


def run(session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding) -> None:
    """Compute what is bound. Raises SsvifError if ONNX Runtime or its provider cannot."""
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # onnxruntime raises a dozen types with no common base
        said = " ".join(str(error).split()).rstrip(".")
        raise SsvifError(
            f"ONNX Runtime cannot compute a frame on {session.get_providers()[0]}: {said}. If "
            "memory is full, stop other programs; if not, use another engine (`ssvif doctor`)."
        ) from error


class LabelsHalf:
    """From scores to labels.

    Args:
        session: of the second half.
        scores: name of its input that the first half computes.
        sized_by: names of those of its inputs that are the frame's own.
        labels: (1, H, W) uint8, to be written to.
        beside: whether a thread of its own may be had.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        scores: str,
        sized_by: tuple[str, ...],
        labels: np.ndarray,
        beside: bool,
    ) -> None:
        self._session, self._scores, self._sized_by = session, scores, sized_by
        self._binding = bound(session, labels=labels)
        self._beside = ThreadPoolExecutor(1, "labels") if beside else None

    def bind(self, scores: onnxruntime.OrtValue, frame: Mapping[str, np.ndarray]) -> None:
        """What the next run reads; must stay as it is until that has ended."""
        self._binding.bind_ortvalue_input(self._scores, scores)
        for name in self._sized_by:
            self._binding.bind_cpu_input(name, frame[name])

    def run(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Compute the labels of what is bound.

        Publishing a large image holds Python's lock for milliseconds. ONNX Runtime works without
        it, but a thread that had not got that far would wait for all of them.

        Args:
            meanwhile: called in the caller's thread; before, where there is no thread beside it.
        """
        if meanwhile is None or self._beside is None:
            if meanwhile is not None:
                meanwhile()
            self._compute()
            return
        under_way = threading.Event()

        def begin() -> None:
            under_way.set()
            self._compute()

        labelled = self._beside.submit(begin)
        under_way.wait()
        try:
            meanwhile()
        finally:
            labelled.result()  # what it reads and writes is in use until then

    def _compute(self) -> None:
        run(self._session, self._binding)

    def close(self) -> None:
        """End the thread."""
        if self._beside is not None:
            self._beside.shutdown()
