"""Metrics against independent implementations and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation import fusion_metrics as fm
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.fusion_metrics import METRICS, evaluate_fusion
from ssvif_core.evaluation.ranking import mean_rank, ranks

skimage_measure = pytest.importorskip("skimage.measure", reason="needs scikit-image (extra `dev`)")
from skimage.metrics import structural_similarity  # noqa: E402


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    import cv2

    noise = [rng.integers(0, 256, (80, 96)).astype(np.float64) for _ in range(3)]
    return [
        np.rint(cv2.GaussianBlur(image, (0, 0), s))
        for image, s in zip(noise, (1, 2, 3), strict=True)
    ]


def test_entropy_agrees_with_scikit_image_and_with_the_hand(images):
    assert fm.entropy(images[0]) == pytest.approx(skimage_measure.shannon_entropy(images[0]))
    # Four levels, equally often: 2 bits.
    assert fm.entropy(np.array([[0.0, 10.0], [20.0, 255.0]])) == 2.0


def test_ssim_agrees_with_scikit_image(images):
    expected = structural_similarity(images[0], images[1], data_range=255)
    assert fm.structural_similarity(images[0], images[1]) == pytest.approx(expected, abs=1e-9)


def test_frequency_and_gradient_of_a_ramp():
    ramp = np.tile(np.arange(60.0) * 3, (50, 1))  # differences: 3 along rows, 0 along columns
    assert fm.spatial_frequency(ramp) == pytest.approx(3.0)
    assert fm.average_gradient(ramp) == pytest.approx(3.0 / np.sqrt(2))


def test_mutual_information_of_an_image_with_itself_is_its_entropy(images):
    assert fm.mutual_information(images[0], images[0]) == pytest.approx(fm.entropy(images[0]))
    # x and y independent and uniform on {0, 1}: no information.
    x, y = np.array([[0.0, 0, 1, 1]]), np.array([[0.0, 1, 0, 1]])
    assert fm.mutual_information(x, y) == pytest.approx(0)


def test_mutual_information_agrees_with_scikit_image(images):
    from skimage.metrics import normalized_mutual_information

    # scikit-image gives (H(A) + H(B)) / H(A, B); bins of one level each, as the two are spread.
    first, second = (np.round(np.interp(i, (i.min(), i.max()), (0, 255))) for i in images[:2])
    ratio = normalized_mutual_information(first, second, bins=256)
    entropies = fm.entropy(first) + fm.entropy(second)
    assert fm.mutual_information(first, second) == pytest.approx(entropies - entropies / ratio)


def test_mutual_information_in_nats_is_what_others_publish(images):
    """CDDFuse's evaluator takes `sklearn.metrics.mutual_info_score`: natural logarithms."""
    a, b = (np.rint(image).ravel() for image in images[:2])
    joint = np.histogram2d(a, b, bins=np.arange(257))[0] / a.size
    nats = 0.0
    for i, j in zip(*np.nonzero(joint), strict=True):
        nats += joint[i, j] * np.log(joint[i, j] / (joint[i].sum() * joint[:, j].sum()))
    assert fm.mutual_information(images[0], images[1]) == pytest.approx(nats * np.log2(np.e))


def test_frequency_and_gradient_agree_with_loops_over_pixels(images):
    image = images[0][:20, :30]
    rows, columns = image.shape
    squares_x = [
        (image[i, j] - image[i, j - 1]) ** 2 for i in range(rows) for j in range(1, columns)
    ]
    squares_y = [
        (image[i, j] - image[i - 1, j]) ** 2 for i in range(1, rows) for j in range(columns)
    ]
    expected = np.sqrt(np.mean(squares_x) + np.mean(squares_y))
    assert fm.spatial_frequency(image) == pytest.approx(expected)

    def slope(line, k):  # central inside, one-sided at both ends
        low, high = max(k - 1, 0), min(k + 1, len(line) - 1)
        return (line[high] - line[low]) / (high - low)

    steepness = [
        np.sqrt((slope(image[i], j) ** 2 + slope(image[:, j], i) ** 2) / 2)
        for i in range(rows)
        for j in range(columns)
    ]
    assert fm.average_gradient(image) == pytest.approx(np.mean(steepness))


def test_scd_agrees_with_numpy_and_mi_vif_and_ssim_are_sums_over_the_sources(images):
    f, v, t = images
    values = evaluate_fusion(f, v, t)
    correlations = [np.corrcoef((f - b).ravel(), a.ravel())[0, 1] for a, b in ((v, t), (t, v))]
    assert values["SCD"] == pytest.approx(sum(correlations))
    ssim = [structural_similarity(a, f, data_range=255) for a in (v, t)]
    assert values["SSIM"] == pytest.approx(sum(ssim))
    for name, of_one in (("MI", fm.mutual_information), ("VIF", fm.visual_information)):
        assert values[name] == pytest.approx(of_one(v, f) + of_one(t, f))


def test_correlation_agrees_with_numpy_and_is_0_for_a_constant(images):
    expected = np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1]
    assert fm.correlation(images[0], images[1]) == pytest.approx(expected)
    assert fm.correlation(images[0], np.full_like(images[0], 7)) == 0


def test_scd_of_the_sum_of_the_sources_is_2(images):
    first, second = images[0] / 2, images[1] / 2
    assert evaluate_fusion(first + second, first, second)["SCD"] == pytest.approx(2)


def slow_vif(source, fused):
    """Sheikh & Bovik's vifp_mscale, written as in the paper, with plain loops over windows."""
    kept = possible = 0.0
    for scale in range(1, 5):
        n = 2 ** (4 - scale + 1) + 1
        axis = np.arange(n) - n // 2
        g = np.exp(-(axis**2) / (2 * (n / 5) ** 2))
        window = np.outer(g, g) / g.sum() ** 2

        def filtered(x, window=window, n=n):
            views = np.lib.stride_tricks.sliding_window_view(x, (n, n))
            return np.einsum("ijkl,kl->ij", views, window)

        if scale > 1:
            source, fused = filtered(source)[::2, ::2], filtered(fused)[::2, ::2]
        m1, m2 = filtered(source), filtered(fused)
        s1, s2 = filtered(source**2) - m1**2, filtered(fused**2) - m2**2
        s12 = filtered(source * fused) - m1 * m2
        for a, b, c in zip(s1.ravel(), s2.ravel(), s12.ravel(), strict=True):
            a, b = max(a, 0.0), max(b, 0.0)
            gain, rest = c / (a + 1e-10), b - c / (a + 1e-10) * c
            if a < 1e-10:
                gain, rest, a = 0.0, b, 0.0
            if b < 1e-10:
                gain, rest = 0.0, 0.0
            if gain < 0:
                gain, rest = 0.0, b
            rest = max(rest, 1e-10)
            kept += np.log10(1 + gain * gain * a / (rest + 2.0))
            possible += np.log10(1 + a / 2.0)
    return kept / possible


def test_vif_agrees_with_loops_over_windows_and_is_1_for_a_copy(images):
    fused = images[1].copy()
    fused[:40] = 90.0  # a flat part
    assert fm.visual_information(images[0], fused) == pytest.approx(
        slow_vif(images[0], fused), rel=1e-6
    )
    assert fm.visual_information(images[0], images[0]) == pytest.approx(1, abs=1e-6)


def slow_qabf(a, b, f):
    """Xydeas & Petrovic, pixel by pixel."""
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)

    def edges(x):
        padded = np.pad(x, 1)
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        sx, sy = (views * sobel).sum((2, 3)), (views * -sobel.T).sum((2, 3))
        angle = np.array(
            [
                np.pi / 2 if p == 0 else np.arctan(q / p)
                for p, q in zip(sx.flat, sy.flat, strict=True)
            ]
        )
        return np.sqrt(sx**2 + sy**2).ravel(), angle

    (ga, aa), (gb, ab), (gf, af) = edges(a), edges(b), edges(f)
    top = bottom = 0.0
    for g, angle in ((ga, aa), (gb, ab)):
        for s, x, sf, xf in zip(g, angle, gf, af, strict=True):
            ratio = sf / s if s > sf else (sf if s == sf else s / sf)
            alike = 1 - abs(x - xf) / (np.pi / 2)
            q = (
                0.9994
                / (1 + np.exp(-15 * (ratio - 0.5)))
                * 0.9879
                / (1 + np.exp(-22 * (alike - 0.8)))
            )
            top, bottom = top + q * s, bottom + s
    return top / bottom


def test_qabf_agrees_with_a_loop_over_pixels(images):
    a, b, f = (image[:30, :30] for image in images)
    assert fm.edge_transfer(a, b, f) == pytest.approx(slow_qabf(a, b, f), rel=1e-9)


def test_all_nine_come_in_order_from_colour_images_too(images):
    f, v, t = (image.astype(np.uint8) for image in images)
    gray = evaluate_fusion(f, v, t)
    assert tuple(gray) == METRICS
    assert gray["SD"] == pytest.approx(f.astype(float).std())
    colour = evaluate_fusion(np.stack([f] * 3, -1), np.stack([v] * 3, -1), t)
    assert colour == pytest.approx(gray)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([(64, 64), (64, 64), (64, 63)], "differ"),
        ([(20, 64)] * 3, "too small"),
        ([(64, 64, 4)] * 3, "luminance"),
        ([(0, 0)] * 3, "luminance"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(shapes, reason):
    with pytest.raises(SsvifError, match=reason):
        evaluate_fusion(*(np.zeros(shape, np.uint8) for shape in shapes))


def test_nan_is_refused():
    with pytest.raises(SsvifError, match="NaN"):
        evaluate_fusion(np.full((64, 64), np.nan), np.zeros((64, 64)), np.zeros((64, 64)))


def test_constant_images_give_finite_numbers():
    flat = np.full((64, 64), 100, np.uint8)
    assert all(np.isfinite(value) for value in evaluate_fusion(flat, flat, flat).values())


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_keep_a_pair_of_equal_images_and_the_chroma(name):
    rng = np.random.default_rng(0)
    gray = rng.integers(20, 200, (64, 80), dtype=np.uint8)
    assert np.abs(BASELINES[name](gray, gray).astype(int) - gray).max() <= 1
    colour = np.full((64, 80, 3), (90, 120, 100), np.uint8)
    fused = BASELINES[name](colour, np.full((64, 80), 140, np.uint8)).astype(int)
    assert (fused[..., 1] - fused[..., 0] == 30).all()
    with pytest.raises(SsvifError):
        BASELINES[name](gray, gray[:-1])


def test_average_and_max_by_hand():
    visible, thermal = np.full((48, 48), 100, np.uint8), np.full((48, 48), 40, np.uint8)
    assert (BASELINES["average"](visible, thermal) == 70).all()
    assert (BASELINES["max"](visible, thermal) == 100).all()


def test_ties_share_their_rank_and_the_mean_is_over_metrics():
    assert ranks({"a": 3.0, "b": 5.0, "c": 3.0}) == {"a": 2.5, "b": 1.0, "c": 2.5}
    table = {"a": {"x": 1.0, "y": 9.0}, "b": {"x": 2.0, "y": 1.0}}
    assert mean_rank(table) == {"a": 1.5, "b": 1.5}
    nan = float("nan")
    assert ranks({"a": nan, "b": -1.0, "c": nan}) == {"a": 2.5, "b": 1.0, "c": 2.5}
    with pytest.raises(SsvifError, match="same metrics"):
        mean_rank({"a": {"x": 1.0}, "b": {"y": 1.0}})


def test_the_order_of_the_baselines_is_the_published_one(shared_data):
    """On MI and VIF max is first and average behind; on SF and AG the pyramid leads."""
    from ssvif_core.data.pairs import list_pairs, read_pair

    pairs = [read_pair(*pair) for pair in list_pairs(shared_data / "vifb")[::5]]
    table = {
        name: {
            metric: float(np.mean(values))
            for metric, values in zip(
                METRICS,
                zip(
                    *(
                        evaluate_fusion(fuse(p.visible, p.thermal), p.visible, p.thermal).values()
                        for p in pairs
                    ),
                    strict=True,
                ),
                strict=True,
            )
        }
        for name, fuse in BASELINES.items()
    }
    assert max(table, key=lambda name: table[name]["MI"]) == "max"
    assert max(table, key=lambda name: table[name]["SF"]) == "laplacian"
    assert max(table, key=lambda name: table[name]["Qabf"]) == "guided filter"
    assert max(table, key=lambda name: table[name]["SSIM"]) == "average"
