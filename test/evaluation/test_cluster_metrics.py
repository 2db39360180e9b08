"""Cluster figures on tables small enough to work out by hand, and by their definitions."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.cluster_metrics import ContingencyMatrix
from ssvif_core.evaluation.colour_clusters import kmeans_on_colour


def matrix_of(counts) -> ContingencyMatrix:
    counts = np.asarray(counts)
    matrix = ContingencyMatrix(*counts.shape)
    matrix.counts = counts
    return matrix


def nmi_by_definition(truth, clusters):
    """2 I / (H + H) with plain sums over the values that occur."""
    n = len(truth)
    p, q, joint = Counter(truth), Counter(clusters), Counter(zip(truth, clusters, strict=True))
    h_p = -sum(c / n * math.log(c / n) for c in p.values())
    h_q = -sum(c / n * math.log(c / n) for c in q.values())
    information = sum(
        c / n * math.log((c / n) / (p[a] / n * q[b] / n)) for (a, b), c in joint.items()
    )
    return 2 * information / (h_p + h_q)


def test_a_permutation_of_the_classes_is_perfect():
    truth = np.array([[0, 0, 1, 2], [2, 2, 1, 0]])
    matrix = ContingencyMatrix(3, 3)
    matrix.update(truth, np.array([2, 0, 1])[truth])
    assert matrix.hungarian().tolist() == [2, 0, 1]
    assert matrix.hungarian_iou().tolist() == [1, 1, 1]
    assert matrix.summary() == pytest.approx(dict.fromkeys(matrix.summary(), 1.0))


def test_figures_of_more_clusters_than_classes_by_hand():
    # Class 0: 6 pixels in cluster 0, 2 in 1. Class 1: 1 in cluster 1, 3 in 2.
    matrix = matrix_of([[6, 2, 0], [0, 1, 3]])
    # IoU of pairs, class 0: 6/8, 2/9, 0/11; class 1: 0/10, 1/6, 3/4.
    assert matrix.hungarian().tolist() == [0, 2]
    np.testing.assert_allclose(matrix.hungarian_iou(), [6 / 8, 3 / 4])
    # Clusters 0 and 1 take class 0, cluster 2 class 1: hits 8 and 3, union 9 and 4.
    np.testing.assert_allclose(matrix.majority_iou(), [8 / 9, 3 / 4])
    assert matrix.majority_accuracy() == pytest.approx(11 / 12)


def test_a_class_without_a_cluster_scores_0_and_one_that_never_occurs_is_left_out():
    matrix = matrix_of([[8], [3], [0]])
    assert matrix.hungarian().tolist() == [0, -1, -1]
    np.testing.assert_allclose(matrix.hungarian_iou(), [8 / 11, 0, np.nan])
    np.testing.assert_allclose(matrix.majority_iou(), [8 / 11, 0, np.nan])
    assert matrix.summary()["hungarian mIoU"] == pytest.approx(4 / 11)


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (4, 3)])
def test_the_matching_is_the_best_of_all(shape):
    counts = np.random.default_rng(1).integers(1, 50, shape)
    matrix = matrix_of(counts)
    iou = counts / (counts.sum(1, keepdims=True) + counts.sum(0) - counts)
    if shape[0] <= shape[1]:
        choices = itertools.permutations(range(shape[1]), shape[0])
        best = max(sum(iou[i, j] for i, j in enumerate(choice)) for choice in choices)
    else:
        choices = itertools.permutations(range(shape[0]), shape[1])
        best = max(sum(iou[i, j] for j, i in enumerate(choice)) for choice in choices)
    assert matrix.hungarian_iou().sum() == pytest.approx(best)


def test_nmi_agrees_with_its_definition_and_is_0_for_independence():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 500)
    clusters = np.where(rng.random(500) < 0.6, truth + 1, rng.integers(0, 6, 500))
    matrix = ContingencyMatrix(4, 6)
    matrix.update(truth, clusters)
    assert matrix.nmi() == pytest.approx(nmi_by_definition(truth.tolist(), clusters.tolist()))
    assert matrix_of([[4, 8], [2, 4]]).nmi() == pytest.approx(0, abs=1e-12)
    assert matrix_of([[5, 0], [0, 0]]).nmi() == 1


def test_images_add_up_and_unknown_pixels_do_not_count():
    truth = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    clusters = np.array([[3, 2, 0], [2, 3, 3]], np.uint8)
    whole, halves = ContingencyMatrix(2, 4), [ContingencyMatrix(2, 4) for _ in range(2)]
    whole.update(truth, clusters)
    for half, t, c in zip(halves, truth, clusters, strict=True):
        half.update(t, c)
    assert (halves[0] + halves[1]).counts.tolist() == whole.counts.tolist()
    assert whole.counts.sum() == 5
    assert whole.counts[:, 0].sum() == 0


def test_wrong_shapes_and_ids_are_refused_and_nothing_counted_is_said():
    matrix = ContingencyMatrix(2, 3)
    with pytest.raises(SsvifError, match="Labels are"):
        matrix.update(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(SsvifError, match="cluster 3"):
        matrix.update(np.zeros(2, int), np.array([0, 3]))
    with pytest.raises(SsvifError, match="class 2"):
        matrix.update(np.array([0, 2]), np.zeros(2, int))
    with pytest.raises(SsvifError, match="folder with labels"):
        matrix.summary()
    assert np.isnan(matrix.nmi())
    assert np.isnan(matrix.majority_accuracy())


def coloured_pair(name, shift):
    """Left half red, right half blue; the lower half of the red one is warm."""
    visible = np.zeros((40, 60, 3), np.uint8)
    visible[:, :30], visible[:, 30:] = (200, 30, 30), (30, 30, 200)
    thermal = np.zeros((40, 60), np.uint8)
    thermal[20:, :30] = 220
    regions = np.zeros((40, 60), np.uint8)
    regions[:, 30:], regions[20:, :30] = 1, 2
    return FramePair(
        name, np.roll(visible, shift, 1), np.roll(thermal, shift, 1), np.roll(regions, shift, 1)
    )


def test_kmeans_on_colour_finds_regions_of_colour_and_temperature():
    pairs = [coloured_pair("a", 0), coloured_pair("b", 7)]
    clusters = kmeans_on_colour(pairs, 3, seed=0)
    matrix = ContingencyMatrix(3, 3)
    for pair in pairs:
        labels = clusters.labels(pair.visible, pair.thermal)
        assert labels.shape == (40, 60) and labels.dtype == np.uint8
        matrix.update(pair.labels, labels)
    assert matrix.summary()["hungarian mIoU"] == 1


def test_kmeans_on_colour_gives_each_pixel_its_nearest_centre_and_repeats():
    rng = np.random.default_rng(0)
    pair = FramePair(
        "n", rng.integers(0, 256, (30, 40, 3), np.uint8), rng.integers(0, 256, (30, 40), np.uint8)
    )
    first, second = (kmeans_on_colour([pair], 5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.centres, second.centres)
    import cv2

    pixels = np.dstack([cv2.cvtColor(pair.visible, cv2.COLOR_RGB2LAB), pair.thermal]).astype(float)
    distance = ((pixels[:, :, None] - first.centres) ** 2).sum(-1)
    np.testing.assert_array_equal(first.labels(pair.visible, pair.thermal), distance.argmin(-1))


def test_kmeans_on_colour_says_what_it_lacks():
    with pytest.raises(SsvifError, match="too few"):
        kmeans_on_colour([], 3)
    with pytest.raises(SsvifError, match="8 bit"):
        kmeans_on_colour([coloured_pair("a", 0)], 300)
