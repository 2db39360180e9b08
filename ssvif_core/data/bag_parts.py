"""Opening the files of a recording: whole ones by `rosbags`, others by our own readers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import yaml

from ssvif_core.data.salvage_mcap import SalvagedMcap, ends_with_magic, has_no_chunks
from ssvif_core.data.salvage_ros1 import SalvagedRos1
from ssvif_core.data.salvage_sqlite import SalvagedSqlite, has_wal, missing_bytes
from ssvif_core.data.unpack import unpack_file
from ssvif_core.errors import SsvifError

__all__ = ["Part", "Reader", "is_bag_name", "opened", "salvaged"]

METADATA = "metadata.yaml"
SALVAGED: dict[str, Any] = {".mcap": SalvagedMcap, ".db3": SalvagedSqlite, ".bag": SalvagedRos1}
#: Called with the name of a file and what is wrong with it.
Note = Callable[[str, str], None]


class Reader(Protocol):
    """What is wanted of a reader; `rosbags.highlevel.AnyReader` is one."""

    connections: Any
    is2: bool

    @property
    def end_time(self) -> int: ...

    def messages(
        self, connections: Sequence[Any], start: int | None, stop: int | None, /
    ) -> Iterator[tuple[Any, int, bytes]]: ...

    def deserialize(self, raw: bytes, kind: str, /) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Part:
    """One file (or a whole rosbag2 folder) that could be opened; `salvaged`: by our own reader."""

    path: Path
    reader: Reader
    salvaged: bool = False


def is_bag_name(path: Path) -> bool:
    """Whether a path has the name of a recorded file: drive.mcap, .db3.zstd, .bag.active."""
    return _kind(path) in SALVAGED


def _kind(path: Path) -> str:
    """The suffix that says what a file is."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in (".zstd", ".active"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def opened(path: Path, stack: ExitStack, note: Note) -> list[Part]:
    """Open a recording: a file, or a folder with the files of one.

    Args:
        path: of it.
        stack: closes what is opened.
        note: is told what is wrong.

    Returns:
        What could be opened; nothing if nothing could.

    Raises:
        SsvifError: there is nothing at `path`, or `rosbags` is not installed.
    """
    if not path.exists():
        raise SsvifError(f"There is no recording {path}: check the path.")
    if not path.is_dir():
        return _opened_file(path, stack, note)
    listed = path / METADATA
    if listed.is_file():
        reader = None if any(map(_is_left_out, _files(path))) else _by_rosbags(path, stack)
        if reader is not None:
            return [Part(path, reader)]
        if lost := [name for name in _listed(listed) if not (path / name).exists()]:
            note(path.name, f"lacks {', '.join(lost)}")
    return [part for file in _files(path) for part in _opened_file(file, stack, note)]


def salvaged(path: Path, stack: ExitStack, note: Note) -> list[Part]:
    """Open the files of a recording by our own readers, which go around damage."""
    files = _files(path) if path.is_dir() else [path]
    return [part for file in files for part in _salvaged_file(file, stack, note)]


def _files(folder: Path) -> list[Path]:
    """Recorded files; of one that lies there packed as well, the other."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and is_bag_name(p))
    return [p for p in files if not (p.suffix == ".zstd" and p.with_suffix("") in files)]


def _listed(metadata: Path) -> list[str]:
    """The files that a metadata.yaml names; none where it cannot be read."""
    try:
        content = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        paths = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return [Path(name).name for name in paths]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def _opened_file(path: Path, stack: ExitStack, note: Note) -> list[Part]:
    broken = (
        path.suffix not in SALVAGED
        or (path.suffix == ".mcap" and not ends_with_magic(path))
        or (path.suffix == ".db3" and missing_bytes(path) > 0)
        or _is_left_out(path)
    )
    reader = None if broken else _by_rosbags(path, stack)
    return _salvaged_file(path, stack, note) if reader is None else [Part(path, reader)]


def _is_left_out(path: Path) -> bool:
    """Whether `rosbags` would take a file, and leave out some of what is in it."""
    return (path.suffix == ".db3" and has_wal(path)) or (
        path.suffix == ".mcap" and has_no_chunks(path)
    )


def _by_rosbags(path: Path, stack: ExitStack) -> Reader | None:
    """A reader of `rosbags`, or None where it refuses."""
    any_reader = _rosbags()
    try:
        # Old .db3 files hold no message definitions; images have had the same since ROS 2 began.
        reader: Reader = any_reader([path], default_typestore=_types(True))
        reader.open()  # type: ignore[attr-defined]
    except Exception:  # rosbags' and its parsers' own; the other reader says what is wrong
        return None
    stack.callback(reader.close)
    return reader


def _salvaged_file(path: Path, stack: ExitStack, note: Note) -> list[Part]:
    _rosbags()
    told = partial(note, path.name)
    kind = _kind(path)
    if kind not in SALVAGED:
        told(f"is no recording by its name: expected {', '.join(SALVAGED)}")
        return []
    try:
        file = _unpacked(path, stack, told) if path.suffix == ".zstd" else path
        reader = SALVAGED[kind](file, _types(kind != ".bag"), told)
    except Exception as error:  # SQLite's, the file system's, or of what is no such file
        told(f"cannot be opened: {error}")
        return []
    stack.callback(reader.close)
    return [Part(path, reader, salvaged=True)]


def _unpacked(path: Path, stack: ExitStack, told: Callable[[str], None]) -> Path:
    """A packed file, unpacked in a temporary folder as `rosbags` does it, too."""
    folder = Path(tempfile.mkdtemp(prefix="ssvif-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    file = folder / path.stem
    if why := unpack_file(path, file):
        told(f"{why}; what comes before it is read")
    return file


def _rosbags() -> Any:
    try:
        from rosbags.highlevel import AnyReader
    except ImportError as error:
        raise SsvifError(
            f"Reading recordings needs the package rosbags: pip install rosbags ({error})."
        ) from error
    return AnyReader


@cache
def _types(ros2: bool) -> Any:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    if ros2:
        return get_typestore(Stores.LATEST)
    types = get_typestore(Stores.ROS1_NOETIC)  # which lacks those of transforms
    for kind in ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"):
        types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", kind))
    return types
