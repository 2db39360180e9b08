"""The folder of built engines: what was built for what, and whether it may still be used.

An engine fits one model, one version of TensorRT, one kind of GPU and one set of options. Beside
each lies a JSON file that says which, with the sha256 of the engine; what does not fit is built
again, and what was damaged, or comes from elsewhere, is never handed to TensorRT, which would run
it: an engine is code.

    base-3f2a91.fp16.640x480.engine          the plan
    base-3f2a91.fp16.640x480.engine.json     what it was built from, when, how long it took
    tensorrt-10.3.0-Orin-8.7.timing          timings of kernels, which make the next build shorter

A file's name says what it is for (model, its path, precision, size), not what it fits, so that an
update of TensorRT replaces an engine instead of leaving the old one behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model, sha256_of

__all__ = ["EngineCache", "EngineKey", "Entry", "default_folder", "differences", "others_may_write"]

FORMAT = 1
SUFFIX = ".engine"


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
            size=_size(usual),
            smallest=_size(options.smallest or usual),
            largest=_size(options.largest or usual),
            dla_core=options.dla_core,
            workspace_mib=options.workspace_mib,
        )


def _size(rows_columns: tuple[int, int]) -> str:
    return f"{rows_columns[1]}x{rows_columns[0]}"


def differences(cached: dict[str, Any], wanted: EngineKey, or_wider: bool = False) -> list[str]:
    """What is not the same, cached and wanted side by side; empty: the engine fits.

    `or_wider`: for a single size, an engine for a range around it will do.
    """
    single = wanted.smallest == wanted.size == wanted.largest
    ignored = ("smallest", "largest") if or_wider and single and _spans(cached, wanted) else ()
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


def default_folder() -> Path:
    """`$SSVIF_ENGINES`, or `ssvif/engines` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if "SSVIF_ENGINES" in os.environ:
        return Path(os.environ["SSVIF_ENGINES"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ssvif" / "engines"


@dataclass(frozen=True)
class Entry:
    """One engine file.

    Attributes:
        path: of the plan.
        about: content of the JSON file beside it; empty where there is none.
        problem: why it cannot be used, whatever is wanted; empty if it is whole.
    """

    path: Path
    about: dict[str, Any]
    problem: str

    @property
    def key(self) -> dict[str, Any]:
        """What it was built from."""
        return dict(self.about.get("key", {}))


class EngineCache:
    """A folder of engines.

    Args:
        folder: made when something is stored; None: `default_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def path_of(self, model: Model, options: EngineOptions) -> Path:
        """Where the engine for these options lies, or would."""
        where = hashlib.sha256(str(model.path.resolve()).encode()).hexdigest()[:6]
        parts = [f"{model.card.name}-{where}", model.precision]
        parts.append(_size((options.height, options.width)))
        if options.dla_core >= 0:
            parts.append(f"dla{options.dla_core}")
        return self.folder / (".".join(parts) + SUFFIX)

    def timing_path(self, key: EngineKey) -> Path:
        """Where the timings of kernels for this GPU and version lie."""
        words = f"tensorrt-{key.tensorrt}-{key.gpu}-{key.compute_capability}"
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in words)
        return self.folder / f"{name}.timing"

    def entries(self) -> list[Entry]:
        """All engines, each looked at."""
        return [self.look(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]

    def look(self, path: Path) -> Entry:
        """Read what is known of an engine, and check that the file is the one that was written."""
        about: dict[str, Any] = {}
        try:
            about = json.loads(_sidecar(path).read_text(encoding="utf-8"))
            wanted = about["sha256"] if about["format"] == FORMAT and dict(about["key"]) else ""
            if not path.is_file():
                return Entry(path, about, "the file is missing")
            if others_may_write(path):
                return Entry(path, about, "others may write to it, and an engine is code")
            if sha256_of(path) != wanted:
                return Entry(
                    path, about, "its content is not what was written: damaged or replaced"
                )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Entry(path, {}, "nothing says what it was built from")
        except OSError as error:
            return Entry(path, about, _unreadable(error))
        return Entry(path, about, "")

    def find(self, path: Path, key: EngineKey, or_wider: bool = False) -> tuple[bytes | None, str]:
        """The plan in `path` if it fits `key`; `or_wider` as in `differences`.

        Returns:
            The plan or None, and, where it is None, why in one sentence.
        """
        try:
            if not path.exists() and not _sidecar(path).exists():
                return None, f"no engine was built yet ({path})"
        except OSError as error:
            return None, f"{path} cannot be used: {_unreadable(error)}"
        entry = self.look(path)
        if entry.problem:
            return None, f"{path} cannot be used: {entry.problem}"
        unlike = differences(entry.key, key, or_wider)
        if unlike:
            return None, f"{path} was built for something else: {'; '.join(unlike)}"
        return path.read_bytes(), ""

    def store(self, path: Path, key: EngineKey, plan: bytes, seconds: float) -> Entry:
        """Write an engine, whole or not at all: the plan first, then what says that it is there.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        about = {
            "format": FORMAT,
            "key": asdict(key),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "bytes": len(plan),
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
        }
        self._write(path, plan)
        self._write(_sidecar(path), (json.dumps(about, indent=2) + "\n").encode())
        return Entry(path, about, "")

    def load_timing(self, key: EngineKey) -> bytes:
        """Timings of earlier builds, or nothing."""
        path = self.timing_path(key)
        return path.read_bytes() if path.is_file() and not others_may_write(path) else b""

    def store_timing(self, key: EngineKey, content: bytes) -> None:
        """Keep the timings for the next build."""
        if content:
            self._write(self.timing_path(key), content)

    def _write(self, path: Path, content: bytes) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            self._make_folder()
            partial.touch(mode=0o600)
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # robots are switched off without being asked
            os.replace(partial, path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            partial.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def lock(self, path: Path, wait: bool = True) -> Iterator[bool]:
        """Keep others from building the same engine; yields whether the lock was got.

        The lock goes with the process: one that was killed holds none.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        try:
            self._make_folder()
            file = open(path.with_name(path.name + ".lock"), "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise _unwritable(path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True  # closing the file lets go of the lock

    def clear(self, damaged_only: bool = False) -> list[Path]:
        """Delete engines, with all that belongs to them; returns what was deleted."""
        gone = [e.path for e in self.entries() if e.problem or not damaged_only]
        for path in gone:
            for file in (path, _sidecar(path), path.with_name(path.name + ".lock")):
                file.unlink(missing_ok=True)
        if not damaged_only:
            for timing in self.folder.glob("*.timing"):
                timing.unlink(missing_ok=True)
        return gone


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror}); engines are for the user who built them"


def _unwritable(path: Path, error: OSError) -> SsvifError:
    return SsvifError(
        f"Cannot write {path} ({error.strerror}): free some space, or name another folder with "
        "SSVIF_ENGINES."
    )


def others_may_write(path: Path) -> bool:
    """Whether a file or folder is another user's (other than root's), or may be written by all."""
    status = path.stat()
    return status.st_uid not in (os.getuid(), 0) or bool(status.st_mode & stat.S_IWOTH)
