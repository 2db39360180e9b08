"""The folder of built engines: what was built for what, and whether it may still be used.

An engine fits one model, one version of TensorRT, one kind of GPU and one set of options. Beside
each lies a JSON file that says which, with the sha256 of the engine; what does not fit is built
again, and what was damaged, or comes from elsewhere, is never handed to TensorRT, which would run
it: an engine is code.

    base-3f2a91.fp16.640x480.engine            the plan
    base-3f2a91.fp16.640x480.engine.json       what it was built from, when, how long it took
    base-3f2a91.fp16.640x480.onnxruntime/      what ONNX Runtime's TensorRT provider built: plans
    base-3f2a91.fp16.640x480.onnxruntime.json  (*.engine) that it names, and loads, by itself
    tensorrt-10.3.0-Orin-8.7.timing            timings of kernels, which make the next build shorter

A name says what it is for (model, its path, precision, size), not what it fits, so that an update
of TensorRT replaces an engine instead of leaving the old one behind. The shipped models have one
place, wherever the package is installed: a node that colcon installed finds what `ssvif` of a
virtual environment built.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from ssvif_core.deploy.engine_entry import (
    FORMAT,
    PROVIDER_SUFFIX,
    SUFFIX,
    Entry,
    digest_of,
    lock_of,
    look_at,
    others_may_write,
    plans_of,
    sidecar_of,
    unreadable,
)
from ssvif_core.deploy.engine_key import EngineKey, differences, size_text
from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import FOLDER, PRECISIONS, Model

__all__ = ["EngineCache", "default_folder"]

#: Names of what this folder holds, and of what builds leave beside it. The user may have pointed at
#: a folder with engines of other programs in it, and theirs are not ours to list or to delete.
_ENGINE = re.compile(
    rf"(?P<model>.+)-[0-9a-f]{{6}}\.({'|'.join(PRECISIONS)})\.\d+x\d+(\.dla\d+)?"
    rf"({re.escape(SUFFIX)}|{re.escape(PROVIDER_SUFFIX)})"
)
_TIMING = re.compile(r"tensorrt-.+\.timing")
_BESIDE = re.compile(r"(\.json)?(\.lock|\.\d+\.partial)?")


def default_folder() -> Path:
    """`$SSVIF_ENGINES`, or `ssvif/engines` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if os.environ.get("SSVIF_ENGINES"):
        return Path(os.environ["SSVIF_ENGINES"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ssvif" / "engines"


class EngineCache:
    """A folder of engines.

    Args:
        folder: made when something is stored; `~` is the user's; None: `default_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).expanduser()

    def path_of(self, model: Model, options: EngineOptions, suffix: str = SUFFIX) -> Path:
        """Where the engine for these options lies, or would; `PROVIDER_SUFFIX` for a folder."""
        path = model.path.resolve()  # of all precisions alike
        place = path.with_name(path.stem.removesuffix(f".{model.precision}"))
        known_as = "shipped" if place.parent == FOLDER else str(place)
        where = hashlib.sha256(known_as.encode()).hexdigest()[:6]
        parts = [f"{_file_name(model.card.name)}-{where}", model.precision]
        parts.append(size_text((options.height, options.width)))
        if options.dla_core >= 0:
            parts.append(f"dla{options.dla_core}")
        return self.folder / (".".join(parts) + suffix)

    def timing_path(self, key: EngineKey) -> Path:
        """Where the timings of kernels for this GPU and version lie."""
        words = f"tensorrt-{key.tensorrt}-{key.gpu}-{key.compute_capability}"
        return self.folder / f"{_file_name(words)}.timing"

    def entries(self) -> list[Entry]:
        """All engines, each looked at; also those of which the description alone is left."""
        found = set()
        for suffix in (SUFFIX, PROVIDER_SUFFIX):
            found |= {*self.folder.glob(f"*{suffix}")}
            found |= {path.with_suffix("") for path in self.folder.glob(f"*{suffix}.json")}
        return [look_at(path) for path in sorted(found) if _ENGINE.fullmatch(path.name)]

    def alike(self, path: Path) -> list[str]:
        """Names of all engines of this kind for models of this name, in any precision and size.

        Also for one that lies elsewhere: who built it before the model was moved shall hear of it.

        Args:
            path: of `path_of`.
        """
        wanted = _ENGINE.fullmatch(path.name)
        found = [_ENGINE.fullmatch(other.name) for other in self.folder.glob(f"*{path.suffix}")]
        return sorted(m[0] for m in found if m and wanted and m["model"] == wanted["model"])

    def misfit(self, path: Path, key: EngineKey, or_wider: bool = False) -> str:
        """Why the engine in `path` may not be loaded for `key`, in one sentence; "" if it may.

        Args:
            path: of `path_of`; a plan or the provider's folder.
            key: what is wanted.
            or_wider: as in `differences`.
        """
        try:
            if not path.exists() and not sidecar_of(path).exists():
                others = ", ".join(self.alike(path))
                there = f"; there is {others}" if others else ""
                return f"no engine was built yet ({path}{there})"
        except OSError as error:
            return f"{path} cannot be used: {unreadable(error)}"
        entry = look_at(path)
        if entry.problem:
            return f"{path} cannot be used: {entry.problem}"
        unlike = differences(entry.key, key, or_wider)
        return f"{path} was built for something else: {'; '.join(unlike)}" if unlike else ""

    def find(self, path: Path, key: EngineKey, or_wider: bool = False) -> tuple[bytes | None, str]:
        """The plan in `path` if it fits `key`; arguments as of `misfit`.

        Returns:
            The plan or None, and, where it is None, why in one sentence.
        """
        why = self.misfit(path, key, or_wider)
        return (None, why) if why else (path.read_bytes(), "")

    def store(
        self, path: Path, key: EngineKey, plan: bytes, seconds: float, model: Path | None = None
    ) -> None:
        """Write an engine, whole or not at all: the plan first, then what says that it is there.

        Args:
            path: of `path_of`.
            key: what it was built for.
            plan: the serialized engine.
            seconds: that the build took.
            model: file that it was built from, so that `ssvif engine verify` sees it change.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        self._write(path, plan)
        self.describe(path, key, seconds, model)

    def describe(
        self, path: Path, key: EngineKey, seconds: float, model: Path | None = None
    ) -> None:
        """Write down what was built in `path`, as it lies there now; arguments as of `store`."""
        about = {
            "format": FORMAT,
            "key": asdict(key),
            "model": str(model.resolve()) if model else "",
            "sha256": digest_of(path),
            "bytes": sum(plan.stat().st_size for plan in plans_of(path)),
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
        }
        self._write(sidecar_of(path), (json.dumps(about, indent=2) + "\n").encode())

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
            self.make_folder()
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

    def make_folder(self, path: Path | None = None) -> None:
        """Make the folder of engines, and in it `path`, for this user alone.

        Raises:
            SsvifError: it cannot be made.
        """
        try:
            for folder in (self.folder, *([path] if path else [])):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(folder, error) from error

    @contextmanager
    def lock(self, path: Path, wait: bool = True) -> Iterator[bool]:
        """Keep others from building the same engine; yields whether the lock was got.

        The lock goes with the process: one that was killed holds none.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        self.make_folder()
        try:
            file = open(lock_of(path), "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise _unwritable(path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True  # closing the file lets go of the lock

    def remove(self, path: Path) -> None:
        """Delete an engine; its description goes first, so that a rest of it is never loaded."""
        sidecar_of(path).unlink(missing_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def clear(self, damaged_only: bool = False) -> list[Path]:
        """Delete engines, with all that belongs to them; returns what was deleted."""
        gone = [e.path for e in self.entries() if e.problem or not damaged_only]
        for path in gone:
            self.remove(path)
            lock_of(path).unlink(missing_ok=True)
        if not damaged_only:  # timings, and what builds left that were killed
            for path in self.folder.glob("*"):
                ours = _ENGINE.match(path.name) or _TIMING.match(path.name)
                if ours and _BESIDE.fullmatch(path.name, ours.end()):
                    path.unlink(missing_ok=True)
        return gone


def _file_name(words: str) -> str:
    """Words, such as the name on a card, as a part of a file's name."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in words)


def _unwritable(path: Path, error: OSError) -> SsvifError:
    return SsvifError(
        f"Cannot write {path} ({error.strerror}): free some space, or name another folder with "
        "SSVIF_ENGINES."
    )
