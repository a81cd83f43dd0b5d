"""What is computed from runs. Truths: numbers worked out by hand and the published formulas."""

import math
from pathlib import Path

import numpy as np
import pytest

from compare import metrics
from compare.record import Run

# Eight images of three classes by hand: one 0 taken for 1, one 1 for 0, and class 2 never predicted.
LABELS = [0, 0, 0, 1, 1, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 1, 1, 0, 0]
COUNTS = [[2, 1, 0], [1, 3, 0], [1, 0, 0]]


def run(predicted, labels=LABELS, num_classes=3, confidence=0.8) -> Run:
    """A run that gives `confidence` to the predicted class and the rest to the others in equal parts."""
    probabilities = np.full((len(labels), num_classes), (1 - confidence) / (num_classes - 1), np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return Run(Path("made-up"), {}, probabilities, np.array(labels, np.uint8))


def runs_with(num_both, num_only_first, num_only_second, num_neither):
    """Two runs with that many images by which of them is right; every label is 0."""
    first = [0] * num_both + [0] * num_only_first + [1] * num_only_second + [1] * num_neither
    second = [0] * num_both + [1] * num_only_first + [0] * num_only_second + [1] * num_neither
    return run(first, [0] * len(first)), run(second, [0] * len(second))


def test_confusion_matrix_has_true_classes_in_rows_and_all_classes():
    result = metrics.evaluate(run(PREDICTED))
    assert result.counts.tolist() == COUNTS
    np.testing.assert_allclose(result.shares, [[2 / 3, 1 / 3, 0], [1 / 4, 3 / 4, 0], [1, 0, 0]])
    assert (result.num_correct, result.num_images, result.accuracy) == (5, 8, 0.625)


def test_class_table_by_hand():
    result = metrics.evaluate(run(PREDICTED))
    np.testing.assert_allclose(result.precision, [2 / 4, 3 / 4, np.nan])  # class 2 was never predicted: 0 of 0
    np.testing.assert_allclose(result.recall, [2 / 3, 3 / 4, 0])
    np.testing.assert_allclose(result.f1, [4 / 7, 6 / 8, 0])  # 2·TP / (2·TP + FP + FN)
    assert result.support.tolist() == [3, 4, 1]


def test_most_confused_pairs_by_hand():
    pairs = [(c.true, c.predicted, c.num_images) for c in metrics.evaluate(run(PREDICTED)).most_confused]
    assert pairs == [(0, 1, 1), (1, 0, 1), (2, 0, 1)]
    assert [c.share for c in metrics.evaluate(run(PREDICTED)).most_confused] == [1 / 3, 1 / 4, 1]


@pytest.mark.parametrize(("num_correct", "num_images"), [(5, 8), (0, 8), (8, 8), (9263, 10000)])
def test_wilson_interval_by_its_formula(num_correct, num_images):
    z = 1.959963984540054
    share = num_correct / num_images
    centre = (share + z * z / (2 * num_images)) / (1 + z * z / num_images)
    half = z / (1 + z * z / num_images) * math.sqrt(share * (1 - share) / num_images + z * z / (4 * num_images**2))
    predicted = [0] * num_correct + [1] * (num_images - num_correct)
    result = metrics.evaluate(run(predicted, [0] * num_images))
    assert result.accuracy_low == pytest.approx(centre - half, abs=1e-12)
    assert result.accuracy_high == pytest.approx(centre + half, abs=1e-12)


def test_log_loss_by_hand_also_where_a_probability_is_zero():
    # five right at 0.8, three wrong with 0.1 for the true class
    assert metrics.evaluate(run(PREDICTED)).log_loss == pytest.approx(-(5 * math.log(0.8) + 3 * math.log(0.1)) / 8)
    worst = metrics.evaluate(run([1], [0], confidence=1.0)).log_loss
    assert worst == pytest.approx(126 * math.log(2))  # float32's smallest normal number is 2 to the -126


@pytest.mark.parametrize(
    ("groups", "p_value"),
    [
        ((80, 8, 2, 10), 2 * (1 + 10 + 45) / 2**10),  # at most 2 heads, or tails, of 10 tosses
        ((80, 2, 8, 10), 2 * (1 + 10 + 45) / 2**10),
        ((90, 0, 0, 10), 1.0),
        ((5, 1, 0, 0), 1.0),
        ((0, 12, 0, 0), 2 / 2**12),
    ],
)
def test_mcnemar_by_hand(groups, p_value):
    paired = metrics.paired(*runs_with(*groups))
    counted = (paired.num_both_right, paired.num_only_first, paired.num_only_second, paired.num_neither)
    assert counted == groups
    assert paired.p_value == pytest.approx(p_value)
    assert paired.points_ahead == pytest.approx(100 * (groups[1] - groups[2]) / sum(groups))


def test_speed_is_that_of_all_epochs_together():
    rows = [{"images_per_second": 100.0}, {"images_per_second": 300.0}]
    assert metrics.images_per_second(rows) == pytest.approx(150)  # 600 images each: 6 s and 2 s
    assert metrics.images_per_second([]) is None


def test_time_to_an_accuracy_by_hand():
    watched = run([0] * 9 + [1], [0] * 10)  # 0.9 at the end
    rows = [{"seconds": 10.0, "test_accuracy": 0.7}, {"seconds": 11.0, "test_accuracy": 0.95}, {"seconds": 12.0}]
    watched.record["history"] = rows
    assert metrics.seconds_to_accuracy(watched, 0.7) == 10
    assert metrics.seconds_to_accuracy(watched, 0.8) == 21
    assert metrics.seconds_to_accuracy(watched, 0.96) is None
    held_out = run([0] * 9 + [1], [0] * 10)  # the test set was seen at the end alone
    held_out.record["history"] = [{"seconds": 10.0, "validation_accuracy": 0.99}, {"seconds": 11.0}]
    assert metrics.seconds_to_accuracy(held_out, 0.9) == 21
    assert metrics.seconds_to_accuracy(held_out, 0.91) is None
