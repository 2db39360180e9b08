"""The folder of built engines: what was built for what, and whether it may still be used.

An engine fits one model, one version of TensorRT, one kind of GPU and one set of options. Beside
each lies a JSON file that says which, with the sha256 of the engine; what does not fit is built
again, and what was damaged, or comes from elsewhere, is never handed to TensorRT, which would run
it: an engine is code.

    base-3f2a91.fp16.640x480.engine            the plan
    base-3f2a91.fp16.640x480.engine.json       what it was built from, when, how long it took
    base-3f2a91.fp16.640x480.engine.json.next  the same of a plan that is being put there
    base-3f2a91.fp16.640x480.onnxruntime/      what ONNX Runtime's TensorRT provider built: plans
    base-3f2a91.fp16.640x480.onnxruntime.json  (*.engine) that it names, and loads, by itself
    base-3f2a91.fp16.640x480.onnxruntime.partial/  a folder like this one, in which that is built
    tensorrt-10.3.0-Orin-8.7.timing            timings of kernels, which make the next build shorter

A name says what it is for (model, its path, precision, size), not what it fits, so that an update
of TensorRT replaces an engine instead of leaving the old one behind. The shipped models have one
place, wherever the package is installed: a node that colcon installed finds what `ssvif` of a
virtual environment built.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from ssvif_core.deploy.engine_entry import (
    FORMAT,
    PROVIDER_SUFFIX,
    SUFFIX,
    Entry,
    digest_of,
    lock_of,
    look_at,
    next_of,
    others_may_write,
    plans_of,
    sidecar_of,
    unreadable,
)
from ssvif_core.deploy.engine_key import EngineKey, differences, size_text
from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import FOLDER, PRECISIONS, Model

__all__ = ["EngineCache", "default_folder", "model_file"]

logger = logging.getLogger("ssvif.engines")

#: Names of what this folder holds, and of what builds leave beside it. The user may have pointed at
#: a folder with engines of other programs in it, and theirs are not ours to list or to delete.
_ENGINE = re.compile(
    rf"(?P<model>.+)-(?P<place>[0-9a-f]{{6}})\.({'|'.join(PRECISIONS)})\.\d+x\d+(\.dla\d+)?"
    rf"({re.escape(SUFFIX)}|{re.escape(PROVIDER_SUFFIX)})"
)
_OF_MODEL = ("model", "place")
#: Stands for the place of shipped models, which differs from one installation to the next.
SHIPPED = "shipped"
_TIMING = re.compile(r"tensorrt-.+\.timing")
_BESIDE = re.compile(r"(\.json(\.next)?)?(\.lock|(\.\d+)?\.partial)?")
#: What a file system says that has no locks, such as one of NFS without its lock service.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


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
        known_as = SHIPPED if place.parent == FOLDER else str(place)
        parts = [f"{_file_name(model.card.name)}-{_mark(known_as)}", model.precision]
        parts.append(size_text((options.height, options.width)))
        if options.dla_core >= 0:
            parts.append(f"dla{options.dla_core}")
        return self.folder / (".".join(parts) + suffix)

    def timing_path(self, key: EngineKey) -> Path:
        """Where the timings of kernels for this GPU and version lie."""
        words = f"tensorrt-{key.tensorrt}-{key.gpu}-{key.compute_capability}"
        return self.folder / f"{_file_name(words)}.timing"

    def entries(self) -> list[Entry]:
        """All engines, each looked at; also those of which the description alone is left, and those
        that are being built.
        """
        locks = self.folder.glob("*.lock")
        building = {lock.with_suffix("") for lock in locks if _is_locked(lock)}
        found = {*building}
        for suffix in (SUFFIX, PROVIDER_SUFFIX):
            found |= {*self.folder.glob(f"*{suffix}")}
            found |= {path.with_suffix("") for path in self.folder.glob(f"*{suffix}.json")}
        ours = sorted(path for path in found if _ENGINE.fullmatch(path.name))
        return [replace(look_at(path), building=path in building) for path in ours]

    def built_for(self, model: Model, suffix: str = SUFFIX) -> list[Entry]:
        """All whole engines of this very model, in any precision and size."""
        wanted = _ENGINE.fullmatch(self.path_of(model, EngineOptions(), suffix).name)
        assert wanted is not None
        found = [(e, _ENGINE.fullmatch(e.path.name)) for e in self.entries() if not e.problem]
        ours = [e for e, m in found if m and m.group(*_OF_MODEL) == wanted.group(*_OF_MODEL)]
        return [entry for entry in ours if entry.path.suffix == suffix]

    def alike(self, path: Path) -> list[str]:
        """Names of all engines of this kind for models of this name, in any precision and size.

        Also for one that lies elsewhere: who built it before the model was moved shall hear of it.

        Args:
            path: of `path_of`.
        """
        wanted = _ENGINE.fullmatch(path.name)
        found = [_ENGINE.fullmatch(other.name) for other in self.folder.glob(f"*{path.suffix}")]
        return sorted(m[0] for m in found if m and wanted and m["model"] == wanted["model"])

    def misfit(self, path: Path, key: EngineKey, to_load: bool = False) -> str:
        """Why the engine in `path` may not be loaded for `key`, in one sentence; "" if it may.

        Args:
            path: of `path_of`; a plan or the provider's folder.
            key: what is wanted.
            to_load: as in `differences`.
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
        unlike = differences(entry.key, key, to_load)
        return f"{path} was built for something else: {'; '.join(unlike)}" if unlike else ""

    def find(self, path: Path, key: EngineKey, to_load: bool = False) -> tuple[bytes | None, str]:
        """The plan in `path` if it fits `key`; arguments as of `misfit`.

        Returns:
            The plan or None, and, where it is None, why in one sentence.
        """
        why = self.misfit(path, key, to_load)
        return (None, why) if why else (path.read_bytes(), "")

    def store(
        self, path: Path, key: EngineKey, plan: bytes, seconds: float, model: Path | None = None
    ) -> None:
        """Write an engine, whole or not at all: until the new one is there, the old one is.

        Args:
            path: of `path_of`.
            key: what it was built for.
            plan: the serialized engine.
            seconds: that the build took.
            model: file that it was built from, so that `ssvif engine verify` sees it change.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        about = _about(key, hashlib.sha256(plan).hexdigest(), len(plan), seconds, model)
        self._write(next_of(path), about)
        self._write(path, plan)
        try:
            os.replace(next_of(path), sidecar_of(path))
        except OSError as error:
            raise _unwritable(path, error) from error

    def describe(
        self, path: Path, key: EngineKey, seconds: float, model: Path | None = None
    ) -> None:
        """Write down what was built in `path`, as it lies there now; arguments as of `store`."""
        size = sum(plan.stat().st_size for plan in plans_of(path))
        self._write(sidecar_of(path), _about(key, digest_of(path), size, seconds, model))

    @contextmanager
    def aside(self, path: Path) -> Iterator[EngineCache]:
        """A folder for a build of `path`, so that until the new engine is whole the old one is.

        For who has the lock. It goes afterwards; what a build left there that was killed goes now.
        """
        folder = path.with_name(f"{path.name}.partial")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield EngineCache(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def move_in(self, built: Path, path: Path) -> None:
        """Put what was built aside in the place of the engine in `path`, to be described then.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        try:
            self.remove(path)
            os.replace(built, path)
        except OSError as error:
            raise _unwritable(path, error) from error

    def load_timing(self, key: EngineKey) -> bytes:
        """Timings of earlier builds, or nothing; without them a build takes longer, and no more."""
        path = self.timing_path(key)
        try:
            return path.read_bytes() if path.is_file() and not others_may_write(path) else b""
        except OSError as error:
            logger.warning("building without the timings in %s: %s", path, error.strerror)
            return b""

    def store_timing(self, key: EngineKey, content: bytes) -> None:
        """Keep the timings for the next build, if they can be kept."""
        if not content:
            return
        try:
            self._write(self.timing_path(key), content)
        except SsvifError as error:
            logger.warning("the engine is there, and the next build will take as long: %s", error)

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
            with contextlib.suppress(OSError):
                partial.unlink()

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

    def written(self, path: Path) -> int:
        """When an engine was built last, by the clock of its file [ns]; 0 if it never was."""
        try:
            return sidecar_of(path).stat().st_mtime_ns
        except OSError:
            return 0

    @contextmanager
    def lock(self, path: Path, wait: bool = True) -> Iterator[bool]:
        """Keep others from building the same engine; yields whether the lock was got.

        Not to get it at once need not mean that there is a build: `entries` holds each lock for a
        moment as well. `written` tells whether there was one.

        The lock goes with the process: one that was killed holds none. Where the file system has no
        locks, it is got always, with a warning.

        Raises:
            SsvifError: the folder cannot be written to.
        """
        self.make_folder()
        file = self._open_and_lock(path, wait=False)
        if file is None and wait:
            logger.info("another process is building %s: waiting for it", path.name)
            file = self._open_and_lock(path, wait)
        while file is not None and not _is_at(file, lock_of(path)):  # deleted while one waited
            file.close()
            file = self._open_and_lock(path, wait)
        if file is None:
            yield False
            return
        with file:
            yield True  # closing the file lets go of the lock

    @staticmethod
    def _open_and_lock(path: Path, wait: bool) -> IO[str] | None:
        """The file that is locked; None: another process has the lock, and one does not wait."""
        try:
            file = open(lock_of(path), "w")  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise _unwritable(path, error) from error
            logger.warning(
                "%s is on a file system without locks (%s): let no two builds run there at a time",
                path.parent,
                error.strerror,
            )
        return file

    def remove(self, path: Path) -> None:
        """Delete an engine; what describes it goes first, so that a rest of it is never loaded."""
        sidecar_of(path).unlink(missing_ok=True)
        next_of(path).unlink(missing_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def clear(self, damaged_only: bool = False) -> tuple[list[Path], list[Path]]:
        """Delete engines, with all that belongs to them, but for what is being built.

        Returns:
            What was deleted, and what was left because it is being built.
        """
        gone, building = [], []
        for path in [e.path for e in self.entries() if e.problem or not damaged_only]:
            with self.lock(path, wait=False) as free:
                if not free:
                    building.append(path)
                elif look_at(path).problem or not damaged_only:  # a build may have ended just now
                    self.remove(path)
                    lock_of(path).unlink(missing_ok=True)
                    gone.append(path)
        if not (damaged_only or building):
            self._clear_rests()
        return gone, building

    def _clear_rests(self) -> None:
        """Delete timings, and what builds left that were killed; only while nothing is built."""
        for path in self.folder.glob("*"):
            ours = _ENGINE.match(path.name) or _TIMING.match(path.name)
            if not (ours and _BESIDE.fullmatch(path.name, ours.end())):
                continue
            if path.suffix == ".lock":
                with self.lock(path.with_suffix(""), wait=False) as free:
                    if free:
                        path.unlink(missing_ok=True)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_locked(lock: Path) -> bool:
    """Whether a process builds what this file stands for. Writes nothing."""
    try:
        with open(lock, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it went, it is another user's, or there are no locks here
        return False
    return False


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the file that is open is still the one that lies there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _about(key: EngineKey, sha256: str, size: int, seconds: float, model: Path | None) -> bytes:
    """What is written down of an engine of `size` bytes; the others as of `EngineCache.store`."""
    about = {
        "format": FORMAT,
        "key": asdict(key),
        "model": str(model.resolve()) if model else "",
        "sha256": sha256,
        "bytes": size,
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }
    return (json.dumps(about, indent=2) + "\n").encode()


def model_file(entry: Entry) -> Path | None:
    """Where the model lies, or should, that an engine was built from; None if nobody knows.

    Another installation of this package may have built it: shipped models are those of this one.
    """
    known_as, name = entry.about.get("model"), _ENGINE.fullmatch(entry.path.name)
    if not known_as:
        return None
    shipped = name is not None and name["place"] == _mark(SHIPPED)
    return FOLDER / Path(known_as).name if shipped else Path(known_as)


def _mark(known_as: str) -> str:
    """The place of a model, as a part of a file's name."""
    return hashlib.sha256(known_as.encode()).hexdigest()[:6]


def _file_name(words: str) -> str:
    """Words, such as the name on a card, as a part of a file's name."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in words)


def _unwritable(path: Path, error: OSError) -> SsvifError:
    return SsvifError(
        f"Cannot write {path} ({error.strerror}): free some space, or name another folder with "
        "SSVIF_ENGINES."
    )
