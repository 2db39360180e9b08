"""Which image files belong together, by their names. Opens no image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssvif_core.data.pairs import natural_order

__all__ = ["Candidate", "matched"]

#: How people end file names when both cameras' files differ in name: 010001_vi.jpg, 010001_ir.jpg.
ENDING = re.compile(
    r"[-_.](visible|visual|vis|vi|rgb|color|thermal|infrared|lwir|tir|ir|th)$", re.IGNORECASE
)
#: A name that ends in a number.
NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """Files of one name; None where one is missing.

    `reason` says why a file was left out for another one of its name; it is no pair then.
    """

    name: str
    visible: Path | None
    thermal: Path | None
    labels: Path | None
    reason: str = ""


def matched(
    visible: list[Path],
    thermal: list[Path],
    labels: Sequence[Path] = (),
    names: Sequence[str] | None = None,
) -> list[Candidate]:
    """Which files belong together, by their names.

    Names agree but for the extension. Of those that are left then, an ending that names the camera
    (`_vi`, `_ir`, `-rgb`, `_thermal`) is left out of the comparison. Where no name agrees and those
    of each camera are one text and a number (`rgb_1000`, `lwir_1000`), the numbers are compared.
    Of several files of one name in a folder, the last in natural order is taken.

    Args:
        visible, thermal: files of a camera each; the same ones where both are packed into one file.
        labels: label images.
        names: those to look for, if a list says it; None: all.

    Returns:
        One entry for each name, in natural order; then one for each file that was left out for
        another one of its name.
    """
    common = {path.stem for path in visible} & {path.stem for path in thermal}
    seen = _by_name(visible, common)
    felt, truth = (_by_name(files, common) for files in (thermal, labels))
    if names is None:
        felt, truth = (_numbered_like(seen, found) for found in (felt, truth))
    wanted = seen.keys() | felt.keys() if names is None else names
    there = sorted(wanted, key=natural_order)
    return [
        *(
            Candidate(name, _taken(seen, name), _taken(felt, name), _taken(truth, name))
            for name in there
        ),
        *dict.fromkeys(
            lost
            for found in (seen, felt, truth)
            for name in there
            for lost in _lost(found.get(name, []))
        ),
    ]


def _by_name(files: Iterable[Path], common: set[str]) -> dict[str, list[Path]]:
    """Files by their names; of one name, the one to be taken comes last.

    Names lose their endings, but for those that both cameras have, and those that would then be
    one of these. A file that has its name without that is preferred.
    """
    found = dict[str, list[Path]]()
    for path in files:
        short = path.stem if path.stem in common else ENDING.sub("", path.stem)
        found.setdefault(path.stem if short in common else short, []).append(path)
    return {name: sorted(paths, key=lambda p: p.stem == name) for name, paths in found.items()}


def _numbered_like(
    model: dict[str, list[Path]], files: dict[str, list[Path]]
) -> dict[str, list[Path]]:
    """Files by the names of the model with their numbers, where no name agrees and all have one."""
    theirs, ours = _numbers(model), _numbers(files)
    if model.keys() & files.keys() or not (theirs.keys() & ours.keys()):
        return files
    return {theirs.get(number, name): files[name] for number, name in ours.items()}


def _numbers(names: Iterable[str]) -> dict[int, str]:
    """Number -> name, if all names are one text and a number, and no two the same; else none."""
    found = [NUMBERED.fullmatch(name) for name in names]
    numbers = {int(match[2]): match[0] for match in found if match}
    one_text = len({match[1] for match in found if match}) == 1
    return numbers if one_text and len(numbers) == len(found) else {}


def _taken(found: dict[str, list[Path]], name: str) -> Path | None:
    return found[name][-1] if name in found else None


def _lost(paths: list[Path]) -> list[Candidate]:
    """All but the last of the files of one name."""
    return [
        Candidate(
            f"{path.parent.name}/{path.name}",
            None,
            None,
            None,
            f"{paths[-1].name} has the same name and was taken",
        )
        for path in paths[:-1]
    ]
