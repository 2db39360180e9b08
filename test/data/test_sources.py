"""Opening paired folders and videos, with what is wrong in them left out."""

from __future__ import annotations

import logging
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from ssvif_core.data.folder_pairs import PairCache
from ssvif_core.data.image_files import image_size
from ssvif_core.data.pairs import FramePair, read_labels, read_visible
from ssvif_core.data.sources import open_pairs
from ssvif_core.errors import SsvifError


@pytest.fixture
def folder(frame_pairs, tmp_path):
    """Six simulated pairs with labels, named 0 to 5."""
    for part in ("visible", "thermal", "labels"):
        (tmp_path / part).mkdir()
    for index, (visible, thermal, labels) in enumerate(frame_pairs[:6]):
        cv2.imwrite(str(tmp_path / "visible" / f"{index}.png"), visible[..., ::-1])
        cv2.imwrite(str(tmp_path / "thermal" / f"{index}.png"), thermal)
        cv2.imwrite(str(tmp_path / "labels" / f"{index}.png"), labels)
    return tmp_path


def cut(path, part=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])


# What a folder gives.


def test_pairs_are_those_that_were_drawn_in_the_order_of_their_names(folder, frame_pairs):
    pairs = open_pairs(folder, labels="labels")
    assert (len(pairs), pairs.name, bool(pairs.labelled)) == (6, folder.name, True)
    for pair, (visible, thermal, labels) in zip(pairs, frame_pairs, strict=False):
        assert (pair.visible == visible).all()
        assert (pair.thermal == thermal).all()
        assert (pair.labels == labels).all()
    assert pairs[-1].name == "5"
    assert [pair.name for pair in pairs[1:3]] == ["1", "2"]
    with pytest.raises(IndexError):
        pairs[6]


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
def test_every_kind_of_damage_is_listed_with_its_reason_and_the_rest_is_used(
    folder, frame_pairs, caplog, cache_bytes
):
    cut(folder / "visible" / "0.png")
    cv2.imwrite(str(folder / "thermal" / "1.png"), frame_pairs[1][1][:90])
    (folder / "thermal" / "2.png").unlink()
    cv2.imwrite(str(folder / "labels" / "3.png"), frame_pairs[3][2][::2, ::2])
    (folder / "thermal" / "4.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "ssvif.data"):
        pairs = open_pairs(folder, labels="labels", cache_bytes=cache_bytes)
    assert [pair.name for pair in pairs] == ["5"]
    reasons = dict(pairs.skipped)
    assert "0.png is damaged" in reasons["0"]
    assert reasons["1"] == "visible is 160x120, thermal 160x90: other views"
    assert reasons["2"] == "there is no thermal image of this name"
    assert reasons["3"] == "visible is 160x120, the labels are 80x60"
    assert "4.png is empty" in reasons["4"]
    assert "1 pairs, 5 skipped" in caplog.text


def test_only_the_first_few_of_many_skipped_pairs_are_named_in_the_log(folder, caplog):
    for index in range(20):
        (folder / "visible" / f"x{index:02d}.png").write_bytes(b"nothing")
    open_pairs(folder)
    assert "6 pairs, 20 skipped" in caplog.text
    assert "x04" in caplog.text
    assert "x05" not in caplog.text
    assert "and 15 more" in caplog.text


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_a_truncated_file_of_any_format_is_noticed_without_decoding_a_whole_one(
    frame_pairs, tmp_path, suffix
):
    path = tmp_path / f"frame.{suffix}"
    cv2.imwrite(str(path), frame_pairs[0][0])
    assert image_size(path) == (120, 160)
    cut(path, 0.97)
    with pytest.raises(SsvifError, match="damaged"):
        image_size(path)


def test_a_jpeg_with_something_after_its_end_is_whole(frame_pairs, tmp_path):
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), frame_pairs[0][0])
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert image_size(path) == (120, 160)


def test_no_usable_pair_says_what_was_looked_for_and_what_was_wrong(folder):
    for path in (folder / "thermal").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(SsvifError) as caught:
        open_pairs(folder)
    for part in (str(folder / "visible"), "(6)", "0.png is empty, damaged, or no image"):
        assert part in str(caught.value)
    with pytest.raises(SsvifError, match="There is no file or folder"):
        open_pairs(folder / "gone")


def test_a_limit_spreads_evenly_and_does_not_count_what_has_no_partner(folder):
    (folder / "thermal" / "0.png").unlink()
    assert [pair.name for pair in open_pairs(folder, limit=3)] == ["1", "3", "5"]


# Sizes, bits and names.


def test_thermal_of_the_same_view_at_another_scale_is_resized_to_visible(folder, frame_pairs):
    thermal = cv2.resize(frame_pairs[0][1], (320, 241), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(folder / "thermal" / "0.png"), thermal)
    pair = open_pairs(folder)[0]
    assert pair.thermal.shape == (120, 160)
    assert np.abs(pair.thermal.astype(int) - frame_pairs[0][1]).mean() < 8


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_thermal_is_stretched_by_its_percentiles_whatever_was_read_before(
    folder, frame_pairs, suffix
):
    for index in range(6):
        (folder / "thermal" / f"{index}.png").unlink()
        counts = 6700 + 1000 * index + 2 * frame_pairs[index][1].astype(np.uint16)
        cv2.imwrite(str(folder / "thermal" / f"{index}.{suffix}"), counts)
    forwards = [pair.thermal for pair in open_pairs(folder)]
    pairs = open_pairs(folder, cache_bytes=0)
    backwards = [pairs[i].thermal for i in reversed(range(6))][::-1]
    for read, again, (_, drawn, _) in zip(forwards, backwards, frame_pairs, strict=False):
        assert read.dtype == np.uint8
        assert (read == again).all()
        assert np.corrcoef(read.ravel(), drawn.ravel())[0, 1] > 0.98
        assert read.max() == 255


def test_colour_thermal_gives_luminance(folder, frame_pairs):
    cv2.imwrite(
        str(folder / "thermal" / "0.png"), cv2.cvtColor(frame_pairs[0][1], cv2.COLOR_GRAY2BGR)
    )
    assert (open_pairs(folder)[0].thermal == frame_pairs[0][1]).all()


def test_two_folders_pair_by_name_without_the_camera_in_it(folder):
    for part, ending in (("visible", "_vi"), ("thermal", "_ir"), ("labels", "")):
        for path in (folder / part).iterdir():
            path.rename(path.with_name(f"{path.stem}{ending}.png"))
    pairs = open_pairs(
        folder / "visible", thermal_path=folder / "thermal", labels="labels", limit=2
    )
    assert [pair.name for pair in pairs] == ["0", "5"]
    assert pairs[0].labels is not None


def test_one_name_that_both_folders_share_leaves_the_endings_of_the_others(folder):
    for part, ending in (("visible", "_vi"), ("thermal", "_ir"), ("labels", "_vi")):
        for path in (folder / part).iterdir():
            if path.stem not in ("0", "1"):
                path.rename(path.with_name(f"{path.stem}{ending}.png"))
    (folder / "thermal" / "1.png").rename(folder / "thermal" / "1_ir.png")
    for part in ("visible", "thermal"):  # no second pair 0
        (folder / part / "0_color.png").write_bytes((folder / part / "0.png").read_bytes())
    (folder / "thermal" / "0_color.png").rename(folder / "thermal" / "0_th.png")
    pairs = open_pairs(folder, labels="labels")
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4", "5"]
    assert len(pairs.labelled) == 6
    assert [name for name, _ in pairs.skipped] == ["0_color", "0_th"]


def test_of_files_of_one_name_one_is_taken_and_the_others_are_listed(folder):
    counts = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    cv2.imwrite(
        str(folder / "thermal" / "0.tiff"),
        cv2.resize(counts, open_pairs(folder)[0].thermal.shape[::-1]),
    )
    (folder / "visible" / "1_vi.png").write_bytes((folder / "visible" / "1.png").read_bytes())
    (folder / "thermal" / "1.png").rename(folder / "thermal" / "1_ir.png")
    pairs = open_pairs(folder)
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4", "5"]
    assert (np.diff(pairs[0].thermal.astype(int), axis=1) >= 0).all()  # the counts
    assert pairs.skipped == [
        ("visible/1_vi.png", "1.png has the same name and was taken"),
        ("thermal/0.png", "0.tiff has the same name and was taken"),
    ]


def test_a_16_bit_visible_image_is_scaled_and_one_with_12_bits_in_it_refused(tmp_path):
    path = tmp_path / "0.png"
    pixels = np.array([[[0, 257, 65535], [128 * 257, 1000, 2000]]], np.uint16)
    cv2.imwrite(str(path), pixels[..., ::-1])
    assert read_visible(path).tolist() == [[[0, 1, 255], [128, 4, 8]]]
    cv2.imwrite(str(path), np.minimum(pixels, 4095))
    with pytest.raises(SsvifError, match="nowhere brighter than 4095"):
        read_visible(path)
    cv2.imwrite(str(path), pixels * 0)
    assert not read_visible(path).any()
    cv2.imwrite(str(tmp_path / "0.tiff"), pixels.astype(np.float32))
    with pytest.raises(SsvifError, match="holds float32 pixels"):
        read_visible(tmp_path / "0.tiff")


# Labels.


@pytest.mark.parametrize("extension", ["png", "tiff", "bmp"])
def test_masks_of_one_bit_have_the_ids_0_and_1(tmp_path, extension):
    mask = np.random.default_rng(0).random((9, 13)) > 0.5
    Image.fromarray(mask).save(tmp_path / f"mask.{extension}")
    assert (read_labels(tmp_path / f"mask.{extension}") == mask).all()


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_gray_png_of_any_depth_has_the_ids_that_are_in_the_file(tmp_path, bits):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 16, 1, bits, 0, 0, 0, 0)
    ids = [i % min(2**bits, 16) for i in range(16)]
    row = sum(i << bits * (15 - at) for at, i in enumerate(ids)).to_bytes(2 * bits, "big")
    content = (
        chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert read_labels(tmp_path / "mask.png").tolist() == [ids]


def test_label_images_that_lose_ids_are_refused(tmp_path):
    ids = np.zeros((32, 32), np.uint8)
    ids[8:20, 8:20] = 3
    image = Image.fromarray(ids)
    image.convert("RGB").save(tmp_path / "same.webp", lossless=True)
    assert (read_labels(tmp_path / "same.webp") == ids).all()
    image.convert("RGB").save(tmp_path / "lossy.webp")
    image.save(tmp_path / "jpeg.png", format="JPEG")
    for name, kind in (("lossy.webp", "lossy WebP"), ("jpeg.png", "JPEG")):
        with pytest.raises(SsvifError, match=f"is a {kind}.* save label images as PNG"):
            read_labels(tmp_path / name)


def test_label_ids_are_mapped_and_frames_without_a_label_image_stay(folder, frame_pairs):
    (folder / "labels" / "2.png").unlink()
    pairs = open_pairs(folder, labels="labels", label_map={0: 0, 1: 7})
    truth = frame_pairs[0][2]
    expected = np.where(truth == 0, 0, np.where(truth == 1, 7, 255))
    assert (pairs[0].labels == expected).all()
    assert pairs[2].labels is None
    assert not open_pairs(folder).labelled


def test_labels_that_are_missing_or_belong_to_other_pairs_are_an_error(folder):
    with pytest.raises(SsvifError, match="no folder of labels"):
        open_pairs(folder, labels="masks")
    (folder / "other").mkdir()
    with pytest.raises(SsvifError, match="no label image for any pair"):
        open_pairs(folder, labels="other")


def test_labels_may_be_palette_images_or_gray_in_three_channels_but_no_colours(tmp_path):
    ids = np.array([[0, 1], [2, 3]], np.uint8)
    palette = Image.fromarray(ids, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128])
    palette.save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "gray.png"), np.dstack([ids] * 3))
    for name in ("palette.png", "gray.png"):
        assert (read_labels(tmp_path / name) == ids).all()
    cv2.imwrite(str(tmp_path / "colours.png"), np.dstack([ids, ids + 1, ids]))
    with pytest.raises(SsvifError, match="holds colours"):
        read_labels(tmp_path / "colours.png")


def test_16_bit_label_ids_need_a_map(tmp_path):
    cv2.imwrite(str(tmp_path / "labels.png"), np.array([[7, 26000]], np.uint16))
    with pytest.raises(SsvifError, match="above 255"):
        read_labels(tmp_path / "labels.png")
    assert read_labels(tmp_path / "labels.png", {26000: 2}).tolist() == [[255, 2]]
    with pytest.raises(SsvifError, match="label_map has"):
        read_labels(tmp_path / "labels.png", {1: 300})


def test_a_palette_image_is_one_whatever_its_colours_are(tmp_path):
    ids = np.array([[0, 7], [7, 0]], np.uint8)  # of which the VOC palette makes black and gray
    palette = Image.fromarray(ids, mode="P")
    palette.putpalette([0, 0, 0] + [1, 2, 3] * 6 + [128, 128, 128])
    palette.save(tmp_path / "palette.png")
    assert (read_labels(tmp_path / "palette.png") == ids).all()


def test_a_tag_that_turns_the_visible_image_is_ignored_as_it_is_in_thermal(tmp_path):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:10] = 255
    tag = Image.Exif()
    tag[0x0112] = 6  # turned by 90 degrees
    for part, image in (("visible", pixels), ("thermal", pixels[..., 0])):
        (tmp_path / part).mkdir()
        Image.fromarray(image).save(tmp_path / part / "0.jpg", exif=tag)
    pair = open_pairs(tmp_path)[0]
    assert pair.visible.shape == (48, 64, 3)
    assert (pair.visible[..., 0] == pair.thermal).all()


def test_a_limit_keeps_the_part_that_has_labels(folder):
    for index in (0, 1, 3, 4, 5):
        (folder / "labels" / f"{index}.png").unlink()
    pairs = open_pairs(folder, labels="labels", limit=3)
    assert [pair.name for pair in pairs] == ["0", "2", "5"]
    assert pairs.labelled == [1]
    cut(folder / "visible" / "2.png")
    with pytest.raises(SsvifError, match="No pair with a label image can be used: 2: 2.png is dam"):
        open_pairs(folder, labels="labels", limit=3)


# Memory and time.


def test_a_small_folder_is_read_once_and_a_large_one_again_when_needed(folder):
    in_memory, lazy = open_pairs(folder), open_pairs(folder, cache_bytes=0)
    assert in_memory[0] is in_memory[0]
    assert lazy[0] is not lazy[0]
    for path in (folder / "visible").iterdir():
        path.unlink()
    assert len([pair.visible for pair in in_memory]) == 6


def test_the_cache_holds_what_was_used_last_up_to_its_limit():
    def pair(index):
        return FramePair(str(index), np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.uint8))

    reads = []

    def read(index):
        reads.append(index)
        return pair(index)

    cache = PairCache(2 * 400)
    for index in (0, 1, 0, 2, 0, 1):
        cache.get(index, read)
    assert reads == [0, 1, 2, 1]  # 2 displaced 1, as 0 was used again before
    assert cache.bytes == 800


def test_many_threads_read_the_same_frames(folder, frame_pairs):
    size = 160 * 120 * 4
    pairs = open_pairs(folder, cache_bytes=2 * size + 1)
    order = np.random.default_rng(0).integers(0, 6, 120).tolist()
    with ThreadPoolExecutor(4) as pool:
        for index, pair in zip(order, pool.map(pairs.__getitem__, order), strict=True):
            assert pair.name == str(index)
            assert (pair.visible == frame_pairs[index][0]).all()


def test_a_pair_that_breaks_later_is_replaced_by_the_next_one_for_good(folder, caplog):
    pairs = open_pairs(folder, cache_bytes=0)
    cut(folder / "visible" / "2.png")
    (folder / "thermal" / "3.png").unlink()
    assert [pair.name for pair in pairs] == ["0", "1", "4", "4", "4", "5"]
    assert pairs[2].name == "4"
    assert [name for name, _ in pairs.skipped] == ["2", "3"]
    assert "2 is replaced by another pair" in caplog.text
    assert len(pairs) == 6


def test_a_folder_that_goes_away_is_an_error_at_last(folder):
    pairs = open_pairs(folder, cache_bytes=0)
    for path in (folder / "visible").iterdir():
        path.unlink()
    with pytest.raises(SsvifError, match="No pair .* can be read any longer"):
        pairs[0]


# Videos.


def write_video(path, shades, rate=25.0, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for shade in shades:
        writer.write(np.full((size[1], size[0], 3), shade, np.uint8))
    writer.release()


def test_two_videos_give_pairs_of_the_same_moment_spread_over_both(tmp_path):
    write_video(tmp_path / "visible.mp4", range(0, 200, 4), 25.0)
    write_video(tmp_path / "thermal.mp4", range(0, 200, 10), 10.0)  # the same 2 s, the same ramp
    for pairs in (
        open_pairs(tmp_path, limit=10),
        open_pairs(tmp_path / "visible.mp4", thermal_path=tmp_path / "thermal.mp4", limit=10),
    ):
        assert (len(pairs), pairs.skipped, bool(pairs.labelled)) == (10, [], False)
        shades = [int(pair.visible.mean()) for pair in pairs]
        assert shades == sorted(shades)
        assert shades[-1] > 170
        for pair in pairs:
            assert abs(pair.visible.mean() - pair.thermal.mean()) < 12
    assert len(open_pairs(tmp_path)) == 49  # to half a period after the last thermal frame


def test_a_truncated_video_gives_the_frames_before_the_cut(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "rgb.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48)
    )
    for shade in range(60):
        writer.write(np.full((48, 64, 3), 3 * shade, np.uint8))
    writer.release()
    write_video(tmp_path / "ir.mp4", range(60))
    cut(tmp_path / "rgb.avi", 0.5)
    pairs = open_pairs(tmp_path)
    assert 10 < len(pairs) < 50


def test_videos_of_other_views_single_videos_and_labels_for_them_are_errors(tmp_path):
    write_video(tmp_path / "visible.mp4", range(5))
    write_video(tmp_path / "thermal.mp4", range(5), size=(64, 64))
    with pytest.raises(SsvifError, match="differ in size"):
        open_pairs(tmp_path)
    with pytest.raises(SsvifError, match="name the thermal one"):
        open_pairs(tmp_path / "visible.mp4")
    with pytest.raises(SsvifError, match="no labels"):
        open_pairs(tmp_path, labels="labels")


def test_a_recording_or_videos_beside_a_dataset_do_not_hide_it(folder, caplog):
    (folder / "drive.bag").write_bytes(b"#ROSBAG V2.0\n")
    for name in ("visible.mp4", "thermal.mp4"):
        write_video(folder / name, range(5))
    with caplog.at_level(logging.INFO, "ssvif.data"):
        assert len(open_pairs(folder, labels="labels").labelled) == 6
    assert "not the recording or videos there" in caplog.text


def test_real_clips_and_folders_open(shared_data):
    clips = shared_data / "clips"
    pairs = open_pairs(
        clips / "visible" / "0111_1716.mp4",
        thermal_path=clips / "thermal" / "0111_1716.mp4",
        limit=5,
    )
    assert [pair.visible.shape for pair in pairs] == [(480, 640, 3)] * 5
    folder = open_pairs(shared_data / "roadscene/train", labels="pseudo_labels", limit=20)
    assert (len(folder), folder.skipped, bool(folder.labelled)) == (20, [], True)
