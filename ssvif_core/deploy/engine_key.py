"""What an engine depends on, and what two engines do not have in common. Knows no files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["RECIPE", "EngineKey", "differences", "size_text"]

#: How an engine is built of all else that is in its key. Raised when a change makes those that were
#: built before compute something else (1: the arithmetic of the fourth map is fp32 on TensorRT 8).
RECIPE = 1


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on. Sizes are WIDTHxHEIGHT."""

    model_sha256: str
    precision: str
    tensorrt: str
    gpu: str
    compute_capability: str
    size: str
    smallest: str
    largest: str
    dla_core: int
    workspace_mib: int
    recipe: int = RECIPE

    @classmethod
    def of(cls, model: Model, options: EngineOptions, tensorrt: str, gpu: Gpu) -> EngineKey:
        """The key of what `options` ask for, with this version of TensorRT on this GPU."""
        usual = (options.height, options.width)
        return cls(
            model_sha256=model.card.sha256,
            precision=model.precision,
            tensorrt=tensorrt,
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            size=size_text(usual),
            smallest=size_text(options.smallest or usual),
            largest=size_text(options.largest or usual),
            dla_core=options.dla_core,
            workspace_mib=options.workspace_mib,
        )


def size_text(rows_columns: tuple[int, int]) -> str:
    """(height, width) as WIDTHxHEIGHT."""
    return f"{rows_columns[1]}x{rows_columns[0]}"


def differences(cached: dict[str, Any], wanted: EngineKey, to_load: bool = False) -> list[str]:
    """What is not the same, cached and wanted side by side; empty: the engine fits.

    `to_load`: it need not be built so. For a single size an engine for a range around it will do,
    and how much memory was there for its build does not matter any more.
    """
    ignored = {"workspace_mib"} if to_load else set()
    single = wanted.smallest == wanted.size == wanted.largest
    if to_load and single and _spans(cached, wanted):
        ignored |= {"smallest", "largest"}
    return [
        f"{name}: cached {_short(cached.get(name))}, wanted {_short(value)}"
        for name, value in asdict(wanted).items()
        if cached.get(name) != value and name not in ignored
    ]


def _spans(cached: dict[str, Any], wanted: EngineKey) -> bool:
    """Whether the cached range holds the wanted size, in both directions."""
    texts = cached.get("smallest"), wanted.size, cached.get("largest")
    try:
        low, size, high = ([int(part) for part in str(text).split("x")] for text in texts)
    except ValueError:
        return False
    return all(a <= b <= c for a, b, c in zip(low, size, high, strict=False))


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
