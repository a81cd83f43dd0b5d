"""What counts every class alike, however few images it has. Truths: scikit-learn, published formulas, numbers worked
out by hand, and made-up test sets whose truth is known."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from compare.data.images import Dataset
from compare.findings import metrics
from compare.findings.baseline import majorities
from compare.runs.record import Run


def run(predicted, labels, num_classes) -> Run:
    """A run that is sure of what it predicts."""
    probabilities = np.full((len(labels), num_classes), 0.1 / (num_classes - 1), np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.9
    return Run(Path("made-up"), SimpleNamespace(), "", probabilities, np.array(labels, np.uint16))


def drawn(support, recalls, seed=0):
    """Labels with so many images of each class, and what a network with these recalls takes them for."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(support)), support)
    right = random.random(len(labels)) < np.asarray(recalls)[labels]
    return labels, np.where(right, labels, random.integers(len(support), size=len(labels)))


@pytest.mark.parametrize(
    "support", [[300, 40, 7, 1], [50] * 10, [3] * 400, [20, 0, 5]], ids=["unequal", "equal", "many", "one absent"]
)
def test_they_are_scikit_learns(support):
    labels, predicted = drawn(support, [0.8] * len(support))
    result = metrics.evaluate(run(predicted, labels, len(support)))
    known = np.isin(predicted, labels)  # else it warns of predictions of a class that has no images
    assert known.all() or support[1] == 0
    with pytest.warns(UserWarning, match="not in y_true") if not known.all() else np.errstate():
        assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    theirs = f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=np.nan)
    assert result.macro_f1 == pytest.approx(theirs)
    assert len(result.recall) == len(support)  # an absent class keeps its row


def test_by_hand():
    """Recalls 3/4 and 0/1: the rare class halves what accuracy calls 3/5."""
    result = metrics.evaluate(run([0, 0, 0, 1, 0], [0, 0, 0, 0, 1], 3))
    assert (result.accuracy, result.balanced_accuracy) == (0.6, 0.375)
    assert result.macro_f1 == pytest.approx((6 / 8 + 0) / 2)  # 2·TP / (images + predictions): 6 / (4 + 4), 0 / (1 + 1)
    assert result.is_unequal


@pytest.mark.parametrize(
    ("support", "unequal"),
    [([100, 100], False), ([150, 100], False), ([151, 100], True), ([100, 0, 100], False), ([2, 1], True)],
)
def test_what_is_called_unequal(support, unequal):
    assert metrics.are_unequal(np.array(support)) is unequal


def test_with_many_images_the_interval_is_the_closed_form_of_a_stratified_sample():
    support, recalls = np.array([20_000, 5_000, 10_000]), np.array([0.9, 0.6, 0.75])
    result = metrics.evaluate(run(*reversed(drawn(support, recalls)), 3))
    error = math.sqrt((result.recall * (1 - result.recall) / support).sum()) / 3
    assert result.balanced_accuracy_low == pytest.approx(result.balanced_accuracy - 1.96 * error, abs=0.05 * error)
    assert result.balanced_accuracy_high == pytest.approx(result.balanced_accuracy + 1.96 * error, abs=0.05 * error)


def test_of_one_class_it_is_wilsons():
    result = metrics.evaluate(run([0, 0, 1], [0, 0, 0], 2))
    assert (result.balanced_accuracy_low, result.balanced_accuracy_high) == pytest.approx(metrics.wilson(2, 3))


def test_of_each_it_is_scipys_wilson():
    num_correct, num_images = np.array([0, 3, 3, 1, 0, 9263]), np.array([1, 3, 5, 1, 40, 10_000])
    ours = np.transpose(metrics.wilson_of_each(num_correct, num_images))
    np.testing.assert_allclose(ours, list(map(metrics.wilson, num_correct, num_images)), atol=1e-12)


def test_the_interval_of_the_balanced_accuracy_holds_the_truth():
    """Of 300 made-up test sets with a class of three images: the closed form alone held it in 41 to 79 of 100."""
    support, recalls = [200, 10, 3], [0.95, 0.9, 0.9]
    held = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        num_correct, number = random.binomial(support, recalls), np.array(support)
        _, low, high = metrics.mean_of_classes(num_correct / number, *metrics.wilson_of_each(num_correct, number))
        held += low <= np.mean(recalls) <= high
    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize("support", [[300, 40, 15, 6], [200] * 4])
def test_the_interval_of_the_macro_f1_is_the_bootstrap_over_images_of_each_class(support):
    labels, predicted = drawn(support, [0.9, 0.7, 0.8, 0.6])
    result = metrics.evaluate(run(predicted, labels, 4))
    random, of_draws = np.random.default_rng(1), []
    for _ in range(2000):
        rows = np.concatenate([random.choice(np.flatnonzero(labels == label), number) for label, number in
                               enumerate(support)])  # fmt: skip
        confused = np.bincount(4 * labels[rows] + predicted[rows], minlength=16).reshape(4, 4)
        of_draws.append(np.mean(2 * np.diag(confused) / (confused.sum(axis=0) + confused.sum(axis=1))))
    # a thousand draws place an end to within some hundredths of the interval's length
    width = result.macro_f1_high - result.macro_f1_low
    np.testing.assert_allclose(
        [result.macro_f1_low, result.macro_f1_high], np.quantile(of_draws, [0.025, 0.975]), atol=0.08 * width
    )
    assert result.macro_f1_low < result.macro_f1 < result.macro_f1_high
    assert metrics.macro_f1_interval(result.counts) == (result.macro_f1_low, result.macro_f1_high)  # the same again


def test_the_difference_by_hand():
    """Class 0: of 8 images 3 by the first alone, 1 by the second; class 1: of 2 one by the second alone."""
    labels = [0] * 8 + [1] * 2
    first, second = run([0] * 7 + [1, 1, 0], labels, 3), run([0, 0, 0, 0, 1, 1, 1, 0, 1, 1], labels, 3)
    found = metrics.balanced(first, second)
    assert found.points_ahead == pytest.approx(100 * (2 / 8 - 1 / 2) / 2)
    # Bonett and Price: (n12 + 1)/(n + 2), (n21 + 1)/(n + 2)
    ends = []
    for number, mine, other in ((8, 3, 1), (2, 0, 1)):
        one, another = (mine + 1) / (number + 2), (other + 1) / (number + 2)
        half = 1.959963984540054 * math.sqrt((one + another - (one - another) ** 2) / (number + 2))
        ends.append((max(one - another - half, -1), min(one - another + half, 1)))
    below = math.hypot(2 / 8 - ends[0][0], -1 / 2 - ends[1][0]) / 2
    above = math.hypot(ends[0][1] - 2 / 8, ends[1][1] + 1 / 2) / 2
    ahead = found.points_ahead
    assert (found.points_low, found.points_high) == pytest.approx((ahead - 100 * below, ahead + 100 * above))
    back = metrics.balanced(second, first)
    assert (back.points_ahead, back.points_low) == pytest.approx((-ahead, -found.points_high))


def test_with_many_images_the_difference_has_the_bootstraps_interval():
    support = [3000, 1500, 800]
    labels, mine = drawn(support, [0.95, 0.8, 0.7])
    _, other = drawn(support, [0.9, 0.85, 0.72], seed=1)
    found = metrics.balanced(run(mine, labels, 3), run(other, labels, 3))
    random, apart = np.random.default_rng(0), (mine == labels) * 1.0 - (other == labels)
    of_draws = [
        np.mean([random.choice(apart[labels == label], number).mean() for label, number in enumerate(support)])
        for _ in range(3000)
    ]
    theirs = 100 * np.quantile(of_draws, [0.025, 0.975])
    np.testing.assert_allclose([found.points_low, found.points_high], theirs, atol=0.1)
    assert found.points_ahead == pytest.approx(
        100 * (balanced_accuracy_score(labels, mine) - balanced_accuracy_score(labels, other))
    )


def test_who_is_sure_of_a_class_of_one_image_is_not_sure_of_the_difference():
    """Nine classes alike, and the single image of the tenth right for one alone: no lead of ten points."""
    labels = np.append(np.repeat(np.arange(9), 50), 9)
    first, second = run(labels, labels, 10), run(np.append(labels[:-1], 0), labels, 10)
    found = metrics.balanced(first, second)
    assert found.points_ahead == pytest.approx(10) and found.points_low < 0


def test_the_majority_is_that_of_the_training_images():
    """More of class 0 to train on, more of class 1 to test with; what is held out counts for neither."""
    train, test = np.array([0] * 6 + [1] * 4 + [1] * 9), np.array([0] * 2 + [1] * 8)
    black = np.zeros((19, 4, 4, 1), np.uint8)
    data = Dataset("made", "made", ("a", "b"), black, train, black[:10], test, validation_rows=np.arange(10, 19))
    runs = [run(predicted, test, 2) for predicted in (test, [0] * 10)]
    better, same = majorities(runs, data)
    assert (better.accuracy, better.num_images, better.is_beaten) == (0.2, 10, True)
    assert better.paired.points_ahead == pytest.approx(80) and not same.is_beaten
    alike = Dataset("made", "made", ("a", "b"), black, train, black[:4], np.array([0, 0, 1, 1]))
    assert majorities([run([0] * 4, [0, 0, 1, 1], 2)], alike) == majorities(runs[:1], None) == [None]
