"""Confusion matrix on a case small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix, named_iou

TRUTH = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
PREDICTED = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)


def test_iou_precision_and_recall_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(TRUTH, PREDICTED)
    # Class 0: hit 1, missed 1 (called 1), false 1. Class 1: hit 2, missed 1, false 1; the pixel
    # whose truth is 255 does not count. Class 2 does not occur.
    assert matrix.counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(matrix.iou(), [1 / 3, 2 / 4, np.nan])
    np.testing.assert_allclose(matrix.precision(), [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(matrix.recall(), [1 / 2, 2 / 3, np.nan])


def test_a_class_that_is_named_as_the_mean_keeps_its_own_iou():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
    names = ["background", "objects", "person"]
    expected = {"background": 1.0, "objects (class)": 0.5, "person": 0.5, "objects": 0.5}
    assert named_iou(matrix, names) == expected
    matrix.update(np.array([1, 1]), np.array([1, 1]))
    assert named_iou(matrix, names) == expected | {"objects (class)": 0.75, "objects": 0.625}


def test_what_is_missed_counts_in_the_recall_and_what_is_false_in_the_precision():
    matrix = ConfusionMatrix(3)
    matrix.counts = np.array([[5, 3, 0], [1, 2, 0], [4, 0, 0]])
    # Rows are the truth. Class 0: hit 5, missed 3, false 1 + 4. Class 1: hit 2, missed 1, false 3.
    # Class 2: occurs and is never predicted.
    np.testing.assert_allclose(matrix.precision(), [5 / 10, 2 / 5, np.nan])
    np.testing.assert_allclose(matrix.recall(), [5 / 8, 2 / 3, 0])
    np.testing.assert_allclose(matrix.iou(), [5 / 13, 2 / 6, 0])


def test_images_add_up():
    whole, halves = ConfusionMatrix(2), [ConfusionMatrix(2), ConfusionMatrix(2)]
    for row in range(2):
        whole.update(TRUTH[row], PREDICTED[row])
        halves[row].update(TRUTH[row], PREDICTED[row])
    np.testing.assert_array_equal((halves[0] + halves[1]).counts, whole.counts)


def test_shapes_and_classes_that_do_not_fit_are_refused():
    matrix = ConfusionMatrix(2)
    with pytest.raises(SsvifError):
        matrix.update(TRUTH, PREDICTED[:1])
    with pytest.raises(SsvifError, match="class 7"):
        matrix.update(TRUTH, np.full_like(TRUTH, 7))


def test_an_image_without_known_pixels_changes_nothing():
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((2, 2), 255), np.zeros((2, 2), int))
    assert matrix.counts.sum() == 0
