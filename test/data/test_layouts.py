"""Every published folder layout is found by looking, and read from a real tree on disk."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.data.layouts import LAYOUTS, candidates, detect_layout, layout_named, locate
from ssvif_core.data.sources import open_pairs
from ssvif_core.errors import SsvifError

#: layout: folders of visible, thermal and label images, and the extension of the images.
TREES = {
    "msrs": ("train/vi", "train/ir", "train/Segmentation_labels", "png"),
    "fmb": ("train/Visible", "train/Infrared", "train/Label", "png"),
    "pst900": ("train/rgb", "train/thermal", "train/labels", "png"),
    "llvip": ("visible/train", "infrared/train", None, "jpg"),
    "roadscene": ("crop_LR_visible", "cropinfrared", None, "jpg"),
    "m3fd": ("Vis", "Ir", None, "png"),
    "mfnet": ("images", None, "labels", "png"),
    "mfnet_unpacked": ("RGB", "Thermal", "Label", "png"),
    "generic": ("visible", "thermal", "labels", "png"),
    "splits": ("train/visible", "train/thermal", "train/labels", "png"),
}


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_tree(root, layout, frames, names):
    """Write frames as a layout has them; lists of names hold all for train and none for test."""
    visible_folder, thermal_folder, labels_folder, suffix = TREES[layout]
    for name, (visible, thermal, labels) in zip(names, frames, strict=True):
        image = visible[..., ::-1]
        if thermal_folder is None:
            image = np.dstack((image, thermal))
        else:
            write(root / thermal_folder / f"{name}.{suffix}", thermal)
        write(root / visible_folder / f"{name}.{suffix}", image)
        if labels_folder:
            write(root / labels_folder / f"{name}.png", labels)
    if layout_named(layout).names:
        (root / "train.txt").write_text("".join(f"{name}\n" for name in names))
        (root / "test.txt").write_text("")


def names_of(frames):
    return [f"{index:05d}{'DN'[index % 2]}" for index in range(len(frames))]


def test_every_layout_has_a_tree_in_these_tests():
    assert {layout.name for layout in LAYOUTS} == TREES.keys()


@pytest.mark.parametrize("layout", TREES)
def test_a_published_layout_is_recognised_and_its_pairs_are_read(layout, frame_pairs, tmp_path):
    frames = frame_pairs[:4]
    write_tree(tmp_path, layout, frames, names_of(frames))
    (tmp_path / "README.md").write_text("not an image")
    assert detect_layout(tmp_path).name == layout
    labels = "auto" if TREES[layout][2] else None
    pairs = open_pairs(tmp_path, labels=labels)
    assert [pair.name for pair in pairs] == names_of(frames)
    assert pairs.skipped == []
    assert bool(pairs.labelled) == (labels is not None)
    tolerance = 12 if TREES[layout][3] == "jpg" else 0
    for pair, (visible, thermal, truth) in zip(pairs, frames, strict=True):
        for read, drawn in ((pair.visible, visible), (pair.thermal, thermal)):
            assert read.dtype == np.uint8
            assert np.abs(read.astype(int) - drawn).mean() <= tolerance
        assert labels is None or (pair.labels == truth).all()


@pytest.mark.parametrize("layout", TREES)
def test_broken_mismatched_and_lonely_images_are_listed_in_every_layout(
    layout, frame_pairs, tmp_path
):
    visible_folder, thermal_folder, _, suffix = TREES[layout]
    names = ["fine", "broken", "narrow", "alone"]
    write_tree(tmp_path, layout, frame_pairs[:4], names)
    broken = tmp_path / visible_folder / f"broken.{suffix}"
    broken.write_bytes(broken.read_bytes()[:-300])
    if thermal_folder is None:  # packed: there is one size, and one file to lose
        write(tmp_path / visible_folder / "narrow.png", frame_pairs[2][0])  # no alpha channel
        (tmp_path / visible_folder / "alone.png").unlink()
    else:
        write(tmp_path / thermal_folder / f"narrow.{suffix}", frame_pairs[2][1][:, :-20])
        (tmp_path / thermal_folder / f"alone.{suffix}").unlink()
    pairs = open_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["fine"]
    assert sorted(name for name, _ in pairs.skipped) == ["alone", "broken", "narrow"]
    reasons = dict(pairs.skipped)
    assert "damaged" in reasons["broken"]
    assert "no 4 channels" in reasons["narrow"] or "160x120, thermal 140x120" in reasons["narrow"]
    assert "there is no" in reasons["alone"]


@pytest.mark.parametrize("layout", ["msrs", "fmb", "pst900", "splits"])
def test_the_folder_of_one_split_may_be_named(layout, frame_pairs, tmp_path):
    write_tree(tmp_path, layout, frame_pairs[:2], ["a", "b"])
    found = detect_layout(tmp_path / "train")
    assert found.classes == layout_named(layout).classes
    assert [pair.name for pair in open_pairs(tmp_path / "train", labels="auto")] == ["a", "b"]


@pytest.mark.parametrize("folder", ["vi", "VIS", "vis"])
def test_folder_names_are_compared_without_case_and_m3fd_may_be_renamed(
    folder, frame_pairs, tmp_path
):
    for visible, thermal, _ in frame_pairs[:1]:
        write(tmp_path / folder / "00000.png", visible)
        write(tmp_path / "ir" / "00000.png", thermal)
    assert detect_layout(tmp_path).name == "m3fd"


def test_llvip_stays_llvip_with_labels_beside_it(frame_pairs, tmp_path):
    write_tree(tmp_path, "llvip", frame_pairs[:2], ["a", "b"])
    for name, (_, _, labels) in zip("ab", frame_pairs, strict=False):
        write(tmp_path / "labels/train" / f"{name}.png", labels)
    assert detect_layout(tmp_path).name == "llvip"
    assert (open_pairs(tmp_path, labels="auto")[1].labels == frame_pairs[1][2]).all()


def test_splits_are_kept_apart(frame_pairs, tmp_path):
    write_tree(tmp_path, "msrs", frame_pairs[:2], ["a", "b"])
    write(tmp_path / "test/vi/c.png", frame_pairs[2][0])
    write(tmp_path / "test/ir/c.png", frame_pairs[2][1])
    assert [pair.name for pair in open_pairs(tmp_path, split="test")] == ["c"]
    with pytest.raises(SsvifError, match=r"no split 'val': there is \['train', 'test'\]"):
        open_pairs(tmp_path, split="val")


def test_a_list_of_names_decides_which_files_belong_to_a_split(frame_pairs, tmp_path):
    write_tree(tmp_path, "mfnet", frame_pairs[:3], ["a", "b", "c"])
    (tmp_path / "train.txt").write_text("c\nimages/a.png labels/a.png\n\ngone\n")
    (tmp_path / "test.txt").write_text("b\n")
    pairs = open_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "c"]
    assert [name for name, _ in pairs.skipped] == ["gone"]
    assert [pair.name for pair in open_pairs(tmp_path, split="test")] == ["b"]
    with pytest.raises(SsvifError, match=r"val.txt is missing.*'train', 'test'"):
        open_pairs(tmp_path, split="val")


def test_names_with_dots_are_listed_whole(frame_pairs, tmp_path):
    names = ["1581624652.750", "1581624652.850"]
    write_tree(tmp_path, "mfnet_unpacked", frame_pairs[:2], names)
    (tmp_path / "train.txt").write_text(f"{names[0]}\nRGB/{names[1]}.png\n")
    assert [pair.name for pair in open_pairs(tmp_path)] == names


def test_data_without_splits_has_no_test_set_that_would_be_the_training_set(frame_pairs, tmp_path):
    write_tree(tmp_path, "roadscene", frame_pairs[:1], ["a"])
    with pytest.raises(SsvifError, match="not divided into splits"):
        open_pairs(tmp_path, split="test")


@pytest.mark.parametrize(
    ("visible", "thermal", "pairs"),
    [
        ("rgb_1000 rgb_1003 rgb_1005", "lwir_1003 lwir_1005", "rgb_1003 rgb_1005"),
        ("a7 a8_vi", "008_ir 9", "a8"),  # after the endings
        ("rgb_1 rgb_2", "rgb_2 ir_1", "rgb_2"),  # a name that agrees decides
        ("day_1 night_1", "ir_1 ir_2", ""),  # which of them?
        ("a1 a01", "b1 b2", ""),
        ("a b", "c d", ""),
    ],
)
def test_numbers_at_the_ends_of_names_decide_where_no_name_agrees(
    visible, thermal, pairs, tmp_path
):
    for part, names in (("visible", visible), ("thermal", thermal), ("labels", thermal)):
        (tmp_path / part).mkdir()
        for name in names.split():
            (tmp_path / part / f"{name}.png").touch()
    place = locate(detect_layout(tmp_path), tmp_path, "train")
    found = [c for c in candidates(place, tmp_path / "labels") if c.visible and c.thermal]
    assert " ".join(c.name for c in found) == pairs
    assert all(c.labels.stem == c.thermal.stem for c in found)


def test_class_names_stand_at_the_ids_of_the_published_labels():
    msrs, fmb, pst900 = (layout_named(name).classes for name in ("msrs", "fmb", "pst900"))
    assert (len(msrs), len(fmb), len(pst900)) == (9, 15, 5)
    assert (msrs[1], msrs[2], msrs[3]) == ("car", "person", "bicycle")
    assert (fmb[0], fmb[8], fmb[9], fmb[14]) == ("unlabelled", "person", "car", "pole")
    assert layout_named("mfnet").classes == msrs


def test_the_docs_have_the_folders_of_every_layout(repository):
    text = (repository / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = {row[0]: row[1:] for row in rows if len(row) == 4}
    for layout in LAYOUTS:
        parts = (layout.visible, layout.thermal, layout.labels)
        assert rows[layout.name] == [", ".join(f"{p}/" for p in part) or "-" for part in parts]


@pytest.mark.parametrize(
    ("images", "given", "says"),
    [
        ("visible", "", r"has visible/, but no folder of thermal images .*call it thermal/\."),
        ("train/ir", "", r"has train/ir/, but no folder of visible .*call it train/visible/\."),
        ("images labels", "images", r"one folder of images.*give a folder with visible/"),
        ("visible thermal", "visible", r"is one folder of images.*: give {}\."),
    ],
)
def test_one_camera_s_folder_is_told_first(images, given, says, tmp_path):
    for name in images.split():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").touch()
    with pytest.raises(SsvifError, match=says.format(tmp_path)):
        detect_layout(tmp_path / given)


def test_an_unknown_folder_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "left").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SsvifError) as caught:
        detect_layout(tmp_path)
    for wanted in ("left/, notes.txt", "Make folders visible/ and thermal/", "msrs, fmb"):
        assert wanted in str(caught.value)
    assert len(str(caught.value)) < 400
    with pytest.raises(SsvifError, match="no such folder"):
        locate(layout_named("msrs"), tmp_path / "gone", "train")
    with pytest.raises(SsvifError, match=r"no layout 'kitti'.*'msrs'"):
        layout_named("kitti")
