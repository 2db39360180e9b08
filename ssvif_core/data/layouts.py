"""Where published datasets keep their images. Knows folder and file names, opens no image.

Each dataset is one record in `LAYOUTS`. A record names folders relative to the dataset's own;
`{split}` stands for train, val or test. Folder names are compared without regard to case, and the
folder of one split (`MSRS/train`) is recognised as well as the whole dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssvif_core.data.matching import Candidate, matched
from ssvif_core.data.pairs import IMAGE_SUFFIXES, image_files
from ssvif_core.errors import SsvifError

__all__ = [
    "LAYOUTS",
    "Layout",
    "Located",
    "candidates",
    "detect_layout",
    "layout_named",
    "locate",
    "two_folders",
]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """One way to lay out paired images.

    Attributes:
        name: how users ask for it.
        source: where the layout is documented.
        visible: folders of visible images; the first that exists is taken.
        thermal: folders of thermal images; empty where they are packed.
        labels: folders of label images, if the dataset has pixel labels.
        names: file with the names of a split, one a line, or "" where folders make the splits.
        packed: the visible file is a 4-channel PNG with thermal in its alpha channel.
        classes: class names; their place is the id in the label images.
    """

    name: str
    source: str
    visible: tuple[str, ...]
    thermal: tuple[str, ...]
    labels: tuple[str, ...] = ()
    names: str = ""
    packed: bool = False
    classes: tuple[str, ...] = ()

    @property
    def split_folders(self) -> bool:
        """Whether each split has folders of its own."""
        return any("{split}" in folder for folder in self.visible)

    @property
    def wanted(self) -> str:
        """The folders as a person would write them."""
        parts = [self.visible, self.thermal, self.labels]
        shown = " + ".join("|".join(part) for part in parts if part)
        packed = " (4 channels, thermal in alpha)" if self.packed else ""
        return f"{self.name}: {shown}{packed}" + (f" + {self.names}" if self.names else "")


@dataclass(frozen=True)
class Located:
    """The folders of one split on this disk.

    Attributes:
        layout: what was found.
        visible: folder.
        thermal: folder; the visible one where both are packed into one file.
        labels: folder with the dataset's own labels, or None.
        names: names of the split where a list gives them, else None: all files.
    """

    layout: Layout
    visible: Path
    thermal: Path
    labels: Path | None
    names: list[str] | None


# MFNet's ids (labels/*.png, 8 bit): MSRS has kept them (its visualize.py, get_palette).
_STREET = (
    "background",
    "car",
    "person",
    "bicycle",
    "curve",
    "car stop",
    "guardrail",
    "cone",
    "bump",
)

#: In the order in which they are looked for; of two that fit equally well the first is taken.
LAYOUTS = (
    Layout(
        name="msrs",
        source="github.com/Linfeng-Tang/MSRS (README.md, visualize.py)",
        visible=("{split}/vi",),
        thermal=("{split}/ir",),
        labels=("{split}/Segmentation_labels",),
        classes=_STREET,
    ),
    Layout(
        name="fmb",
        # Folders as configs/_base_/datasets/mmfmb.py of LiJiahang617/Road-Former reads them (with
        # the palette images of train/color; the ids are in Label). Classes as SegMiF's own
        # evaluation lists them, 0 being what is not labelled.
        source="github.com/JinyuanLiu-CV/SegMiF",
        visible=("{split}/Visible",),
        thermal=("{split}/Infrared",),
        labels=("{split}/Label",),
        classes=(
            "unlabelled",
            "road",
            "sidewalk",
            "building",
            "traffic light",
            "traffic sign",
            "vegetation",
            "sky",
            "person",
            "car",
            "truck",
            "bus",
            "motorcycle",
            "bicycle",
            "pole",
        ),
    ),
    Layout(
        name="pst900",
        # Folders: README.md there, whose 16-bit frames lie in thermal_raw (name that folder
        # `thermal` to use them). Its ids are 0 to 4; the names are RGB-T loaders' for them.
        source="github.com/ShreyasSkandanS/pst900_thermal_rgb",
        visible=("{split}/rgb",),
        thermal=("{split}/thermal",),
        labels=("{split}/labels",),
        classes=("background", "fire extinguisher", "backpack", "hand drill", "survivor"),
    ),
    Layout(
        name="llvip",
        # Boxes only (Annotations/*.xml); pixel labels are what people have put beside them.
        source="github.com/bupt-ai-cz/LLVIP (README.md)",
        visible=("visible/{split}",),
        thermal=("infrared/{split}",),
        labels=("labels/{split}", "label/{split}"),
    ),
    Layout(
        name="roadscene",
        # crop_LR_visible has the size of cropinfrared, crop_HR_visible is the same view, larger.
        source="github.com/hanna-xu/RoadScene",
        visible=("crop_LR_visible", "crop_HR_visible"),
        thermal=("cropinfrared",),
    ),
    Layout(
        name="m3fd",
        # M3FD_Detection and M3FD_Fusion. Boxes only (Annotation/*.xml), no pixel labels, no splits.
        source="github.com/JinyuanLiu-CV/TarDAL",
        visible=("Vis", "vi"),
        thermal=("Ir",),
    ),
    Layout(
        name="mfnet",
        source="github.com/haqishen/MFNet-pytorch (util/MF_dataset.py)",
        visible=("images",),
        thermal=(),
        labels=("labels",),
        names="{split}.txt",
        packed=True,
        classes=_STREET,
    ),
    Layout(
        name="mfnet_unpacked",
        # MFNet as many RGB-T networks expect it, thermal in files of its own.
        source="github.com/lab-sun/Temporal-Consistent-RGBT-Segmentation (README.md)",
        visible=("RGB",),
        thermal=("Thermal",),
        labels=("Label", "Labels"),
        names="{split}.txt",
        classes=_STREET,
    ),
    Layout(
        name="generic",
        source="the layout of this project's own examples",
        visible=("visible", "rgb", "vi", "vis", "color"),
        thermal=("thermal", "infrared", "ir", "lwir"),
        labels=("labels", "label"),
    ),
    Layout(
        name="splits",
        source="the generic layout, with folders for the splits",
        visible=tuple("{split}/" + name for name in ("visible", "rgb", "vi", "vis", "color")),
        thermal=tuple("{split}/" + name for name in ("thermal", "infrared", "ir", "lwir")),
        labels=("{split}/labels", "{split}/label"),
    ),
)


def layout_named(name: str) -> Layout:
    """The record called `name`. Raises SsvifError, naming all, if there is none."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    names = ["auto", *(layout.name for layout in LAYOUTS)]
    raise SsvifError(f"There is no layout '{name}': use one of {names}.")


def detect_layout(folder: Path) -> Layout:
    """Find out how a folder is laid out, by the names of the folders in it.

    A layout fits if its visible and thermal folders exist for some split, and better if its labels
    or its lists of names do too.

    Raises:
        SsvifError: none fits; the text says what is missing and what is there.
    """
    best, best_score = None, 0
    is_split = folder.resolve().name.lower() in SPLITS
    for layout in LAYOUTS:
        # Without this, any vi/ + ir/ would be taken for the inside of one of MSRS's splits.
        outside = [None] if is_split or not layout.split_folders else []
        score = max(_fit(layout, folder, split) for split in (*SPLITS, *outside))
        if score > best_score:
            best, best_score = layout, score
    if best is None:
        names = ", ".join(layout.name for layout in LAYOUTS)
        raise SsvifError(
            f"{_why_unknown(folder)} Layouts that are known: {names}; their folders are in "
            "docs/data.md."
        )
    return best


def _why_unknown(folder: Path) -> str:
    """What is missing of a folder that has no layout, and what to do."""
    for layout in sorted(LAYOUTS, key=lambda layout: layout.name != "generic"):
        for split in (None, *SPLITS):
            found = [_first(folder, part, split) for part in (layout.visible, layout.thermal)]
            there = next((path for path in found if path is not None), None)
            if layout.thermal and there is not None and None in found:
                lacking = "thermal" if found[0] else "visible"
                return (
                    f"{folder} has {there.relative_to(folder)}/, but no folder of {lacking} images "
                    f"beside it: call it {(there.parent / lacking).relative_to(folder)}/."
                )
    if folder.is_dir() and image_files(folder):
        above = folder.resolve().parent
        whole = any(_fit(layout, above, None) for layout in LAYOUTS)
        advice = above if whole else "a folder with visible/ and thermal/ in it"
        return f"{folder} is one folder of images, and two are needed: give {advice}."
    return (
        f"{folder} has no layout that is known. There is: {_content(folder)}. Make folders "
        "visible/ and thermal/ (and labels/)."
    )


def locate(layout: Layout, folder: Path, split: str) -> Located:
    """The folders of one split of a dataset.

    Args:
        layout: how the dataset is laid out.
        folder: the dataset, or the folder of the split itself.
        split: train, val or test. A layout without splits has only "train": all of it.

    Raises:
        SsvifError: the split is not there; the text says which ones are.
    """
    there = [s for s in SPLITS if layout.split_folders and _fit(layout, folder, s)]
    if not there and _fit(layout, folder, None):
        inside: str | None = None  # no splits, or `folder` is one of them
        names = _names(layout, folder, split)
        if names is None and split not in ("train", folder.resolve().name):
            raise SsvifError(
                f"{folder} ({layout.name}) is not divided into splits, so there is no '{split}': "
                "point to the folder that holds those pairs, and leave the split out."
            )
    elif split in there:
        inside, names = split, None
    else:
        raise SsvifError(
            f"{folder} ({layout.name}) has no split '{split}': there is {there or 'none'}. "
            f"Looked for {layout.wanted}; there is {_content(folder)}."
        )
    visible = _first(folder, layout.visible, inside)
    assert visible is not None
    thermal = visible if layout.packed else _first(folder, layout.thermal, inside)
    assert thermal is not None
    return Located(layout, visible, thermal, _first(folder, layout.labels, inside), names)


def two_folders(visible: Path, thermal: Path) -> Located:
    """A folder of each camera, wherever they are."""
    return Located(layout_named("generic"), visible, thermal, None, None)


def candidates(place: Located, labels: Path | None) -> list[Candidate]:
    """What might be pairs: every name that is listed, or that is in either folder; see `matched`.

    Args:
        place: folders of the two cameras.
        labels: folder of label images, or None.
    """
    visible, thermal = image_files(place.visible), image_files(place.thermal)
    return matched(visible, thermal, image_files(labels) if labels else (), place.names)


def _fit(layout: Layout, folder: Path, split: str | None) -> int:
    """0 if the cameras' folders are not there, else 2, and 1 more for labels or names that are."""
    visible = _first(folder, layout.visible, split)
    if visible is None or not (layout.packed or _first(folder, layout.thermal, split)):
        return 0
    lists = layout.names and any(_names_file(layout, folder, s).is_file() for s in SPLITS)
    if layout.names and not lists:
        return 0  # images/ + labels/ alone may be anything
    return 3 if lists or _first(folder, layout.labels, split) else 2


def _first(folder: Path, patterns: tuple[str, ...], split: str | None) -> Path | None:
    """The first pattern that is a folder; with split None, `{split}` is left out of the path."""
    for pattern in patterns:
        path: Path | None = folder
        for part in pattern.split("/"):
            part = part if part != "{split}" else split or "."
            path = None if path is None else _subfolder(path, part)
        if path is not None:
            return path
    return None


def _subfolder(folder: Path, name: str) -> Path | None:
    """`folder/name` in whatever case it is written."""
    if (folder / name).is_dir():
        return folder / name
    if not folder.is_dir():
        return None
    same = (p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower() and p.is_dir())
    return next(same, None)


def _names_file(layout: Layout, folder: Path, split: str) -> Path:
    return folder / layout.names.replace("{split}", split)


def _names(layout: Layout, folder: Path, split: str) -> list[str] | None:
    """Names of a split from its list; None where the layout has no lists.

    A line may hold a path with an extension, and a second column (CMX lists image and label).
    """
    if not layout.names:
        return None
    path = _names_file(layout, folder, split)
    if not path.is_file():
        there = [s for s in SPLITS if _names_file(layout, folder, s).is_file()]
        raise SsvifError(f"{path} is missing, the list of split '{split}': there is {there}.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {Path(line.split()[0]) for line in lines if line.split()}
    # Of a stamp, 1581624652.750, the part after the dot is no extension.
    return sorted({p.stem if p.suffix.lower() in IMAGE_SUFFIXES else p.name for p in listed})


def _content(folder: Path) -> str:
    """What a person sees in a folder, shortened."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    shown = ", ".join(names[:12]) or "nothing"
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
