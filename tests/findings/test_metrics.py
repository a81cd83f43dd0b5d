"""What is computed from runs. Truths: numbers worked out by hand and the published formulas."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.calibration
import sklearn.metrics

from compare.findings import history, metrics
from compare.findings.calibration import NUM_BINS, calibration, folded, log_loss_behind, scaled
from compare.findings.robustness import robustness, robustness_ahead
from compare.runs.record import Run
from compare.runs.schema import Record, Row

# Eight images of three classes by hand: one 0 taken for 1, one 1 for 0, and class 2 never predicted.
LABELS = [0, 0, 0, 1, 1, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 1, 1, 0, 0]
COUNTS = [[2, 1, 0], [1, 3, 0], [1, 0, 0]]


def made_up(probabilities, labels) -> Run:
    return Run(Path("made-up"), SimpleNamespace(), "", probabilities, labels)


def run(predicted, labels=LABELS, num_classes=3, confidence=0.8) -> Run:
    """A run that gives `confidence` to the predicted class and the rest to the others in equal parts."""
    probabilities = np.full((len(labels), num_classes), (1 - confidence) / (num_classes - 1), np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return made_up(probabilities, np.array(labels, np.uint8))


def runs_with(num_both, num_only_first, num_only_second, num_neither):
    """Two runs with that many images by which of them is right; every label is 0."""
    first = [0] * num_both + [0] * num_only_first + [1] * num_only_second + [1] * num_neither
    second = [0] * num_both + [1] * num_only_first + [0] * num_only_second + [1] * num_neither
    return run(first, [0] * len(first)), run(second, [0] * len(second))


def test_confusion_matrix_has_true_classes_in_rows_and_all_classes():
    result = metrics.evaluate(run(PREDICTED))
    assert result.counts.tolist() == COUNTS
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


@pytest.mark.parametrize(
    ("groups", "theirs"),
    [
        *(((10, 0, 0, 0), 1), ((0, 0, 0, 10), 1), ((7, 0, 0, 3), 1)),  # all right, all wrong, never apart
        *(((0, 5, 5, 0), 1), ((90, 1, 1, 8), 1), ((0, 500, 500, 0), 1)),  # ties
        *(((3, 1, 0, 0), 1), ((0, 0, 1, 0), 1)),  # one of them alone
        *(((0, 12, 0, 0), 0.00048828125), ((0, 0, 300, 0), 9.818186930595453e-91)),
        *(((80, 7, 2, 11), 0.1796875), ((80, 2, 7, 11), 0.1796875)),
        *(((9000, 310, 255, 435), 0.023014404253127403), ((0, 40, 41, 0), 1)),
    ],
)
def test_mcnemar_is_statsmodels(groups, theirs):
    """Against what statsmodels 0.15 gives: `mcnemar(table, exact=True).pvalue`. With statsmodels comes pandas, which
    every import of scikit-learn would then wait for, so it is not among the tests' packages."""
    assert metrics.paired(*runs_with(*groups)).p_value == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def test_interval_of_the_difference_is_scipys_bootstrap():
    first, second = runs_with(150, 40, 20, 40)
    ours = metrics.paired(first, second)
    right = [(run.test_probabilities.argmax(axis=1) == 0).astype(float) for run in (first, second)]
    theirs = scipy.stats.bootstrap(
        right,
        lambda one, other, axis: 100 * (one.mean(axis) - other.mean(axis)),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=1,
    ).confidence_interval
    assert (ours.points_low, ours.points_high) == pytest.approx((theirs.low, theirs.high), abs=0.45)  # an image is 0.4
    assert ours.points_low < ours.points_ahead == 8 < ours.points_high


@pytest.mark.parametrize("groups", [(10, 0, 0, 0), (0, 0, 0, 10), (7, 0, 0, 3)])
def test_runs_that_never_disagree_have_no_interval(groups):
    ours = metrics.paired(*runs_with(*groups))
    assert (ours.points_low, ours.points_ahead, ours.points_high, ours.p_value) == (0, 0, 0, 1)


def test_classes_that_tell_two_runs_apart():
    labels = np.repeat([0, 1, 2], 40)
    first, second = labels.copy(), labels.copy()
    second[:20] = 1  # class 0: only the first is right on 20 of 40, p = 2 / 2**20
    first[40:52] = 0  # class 1: only the second on 12, p = 2 / 2**12
    second[80:83] = 0  # class 2: only the first on 3, p = 1/4
    apart = metrics.classes_apart(run(first, labels), run(second, labels))
    assert [(index, pair.points_ahead, pair.p_value) for index, pair in apart] == [
        (0, 50, pytest.approx(2 / 2**20)),
        (1, -30, pytest.approx(2 / 2**12)),
    ]


def with_accuracies(*accuracies, num_images=1000, **more):
    """A record whose history has these validation accuracies, measured on so many images."""
    rows = [
        {"epoch": epoch, "validation_loss": 1.0, "validation_accuracy": accuracy} | more
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]
    data = {"name": "x", "title": "X", "num_test": 5, "class_names": ["a", "b"], "test_labels_fingerprint": ""}
    return Record.model_validate(
        {"branch": "any", "recipe": {"name": "r"}, "num_epochs": len(rows), "history": rows}
        | {"data": data | {"num_validation": num_images}}
    )


def test_a_curve_that_still_falls_by_more_than_its_images_explain_is_jumping():
    """Of 1,000 images, 0.9 and 0.87: z = 0.03 / sqrt(2 · 0.885 · 0.115 / 1000) = 2.10; to 0.875 it is 1.76."""
    assert history.fall_at_the_end(with_accuracies(0.8, 0.9, 0.87)) == history.Fall(3, pytest.approx(3), 1000)
    assert history.fall_at_the_end(with_accuracies(0.8, 0.9, 0.875)) is None
    assert history.fall_at_the_end(with_accuracies(0.8, 0.9, 0.87, num_images=500)) is None
    assert history.fall_at_the_end(with_accuracies(0.8, 0.9, 0.7, 0.95, 0.9)).epoch == 3  # the largest of two
    assert history.fall_at_the_end(with_accuracies(0.9, 0.5, 0.6, 0.9, 0.9)) is None  # that was before the end
    assert history.fall_at_the_end(with_accuracies(0.1, 0.5, 0.9)) is None  # it climbs
    assert history.fall_at_the_end(with_accuracies(0.9, 0.1)) is None  # too short to tell
    assert history.fall_at_the_end(with_accuracies(0.8, 0.9, 0.1, penalty=0.5)) is None  # a solver's
    assert history.fall_at_the_end(with_accuracies(1.0, 1.0, 1.0)) is None
    assert history.fall_at_the_end(with_accuracies()) is None
    assert history.fall_at_the_end(with_accuracies(0.9, 0.5, 0.9, num_images=0)) is None  # of how many is not known
    tuned = with_accuracies(0.9, 0.5, 0.9)
    tuned.history[2].phase = "fine-tuning"  # what was before is over
    assert history.fall_at_the_end(tuned) is None


def test_suspects_and_confident_mistakes_by_hand():
    labels = np.array([0, 0, 0, 0, 1], np.uint8)
    # right; wrong alike and sure; wrong alike, one unsure; wrong in different ways; only the second wrong
    one = np.array([[0.9, 0.05, 0.05], [0.02, 0.98, 0], [0, 0.99, 0.01], [0, 1, 0], [0, 0.6, 0.4]], np.float32)
    other = np.array([[0.9, 0.1, 0], [0.05, 0.95, 0], [0.2, 0.8, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    first, second = (
        Run(Path("made-up"), SimpleNamespace(), "", probabilities, labels) for probabilities in (one, other)
    )
    assert metrics.suspects(first, second) == [metrics.Suspect(1, 0, 1, pytest.approx(0.95))]
    assert [metrics.num_confident_mistakes(run) for run in (first, second)] == [3, 3]
    np.testing.assert_allclose(metrics.averaged(first, second).test_probabilities[4], [0.5, 0.3, 0.2])


def test_calibration_by_hand():
    """Eight images: four of confidence 0.55, three of them right; four of 0.95, two of them right."""
    probabilities = np.repeat([[0.55, 0.45], [0.95, 0.05]], 4, axis=0).astype(np.float32)
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1], np.uint8)
    found = calibration(made_up(probabilities, labels))
    assert found.error == pytest.approx((4 * 0.20 + 4 * 0.45) / 8)
    # right: (1-p)^2 twice, wrong: p^2 twice
    squares = 3 * 2 * 0.45**2 + 2 * 0.55**2 + 2 * 2 * 0.05**2 + 2 * 2 * 0.95**2
    assert found.brier == pytest.approx(squares / 8)
    assert found.num_images.sum() == 8 and found.num_images[8] == found.num_images[14] == 4
    assert found.accuracy_kept[[50, 100]].tolist() == [0.5, 5 / 8] and math.isnan(found.accuracy_kept[0])


def test_bins_with_few_images_are_folded_into_their_neighbours():
    """Of 1000 images a bin needs 10: of 3, 8, 4, 900 and 85, the first two are one, the next two another."""
    counts, sure = (3, 8, 4, 900, 85), (0.3, 0.5, 0.7, 0.9, 0.99)
    confidence = np.repeat(sure, counts).astype(np.float32)
    probabilities = np.column_stack([confidence, *3 * [(1 - confidence) / 3]])
    right = np.arange(1000) % 4 > 0
    found = folded([calibration(made_up(probabilities, np.where(right, 0, 1).astype(np.uint8)))])
    assert found.num_images.tolist() == [11, 904, 85]
    np.testing.assert_allclose(found.accuracy, [part.mean() for part in np.split(right, [11, 915])])
    assert found.confidence[0] == pytest.approx((3 * 0.3 + 8 * 0.5) / 11)
    low, high = metrics.wilson(int(right[:11].sum()), 11)
    assert (found.low[0], found.high[0]) == pytest.approx((low, high))
    assert folded([calibration(made_up(probabilities[:5], np.zeros(5, np.uint8)))]).num_images.tolist() == [5]


def test_how_far_a_log_loss_lies_behind_another():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500).astype(np.uint8)
    first, second, third = (made_up(random.dirichlet(np.ones(3), 500).astype(np.float32), labels) for _ in range(3))
    behind, low, high = log_loss_behind([first, second], [third])
    losses = [sklearn.metrics.log_loss(labels, run.test_probabilities) for run in (first, second, third)]
    assert behind == pytest.approx((losses[0] + losses[1]) / 2 - losses[2], rel=1e-4)
    each = [-np.log(run.test_probabilities[np.arange(500), labels]) for run in (first, second, third)]
    error = np.std((each[0] + each[1]) / 2 - each[2], ddof=1) / 500**0.5
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=1e-3) and low < behind < high


def test_reliability_is_scikit_learns():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(10, 0.3), 2000).astype(np.float32)
    labels = random.integers(0, 10, 2000).astype(np.uint8)
    found = calibration(made_up(probabilities, labels))
    right = probabilities.argmax(axis=1) == labels
    true, predicted = sklearn.calibration.calibration_curve(right, probabilities.max(axis=1), n_bins=NUM_BINS)
    some = found.num_images > 0
    np.testing.assert_allclose(found.accuracy[some], true, atol=1e-6)
    np.testing.assert_allclose(found.confidence[some], predicted, atol=1e-6)
    assert np.isnan(found.accuracy[~some]).all()
    one_hot = np.eye(10)[labels]
    assert found.brier == pytest.approx(10 * sklearn.metrics.mean_squared_error(one_hot, probabilities), rel=1e-5)


def test_the_interval_of_the_calibration_error_covers_the_truth():
    """Confidence c, right with probability c - 0.1 whatever c is: the true error is 0.1. 95 % of 40 samples is 38."""
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        confidence = random.uniform(0.6, 1, 1000)
        probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
        labels = (random.random(1000) > confidence - 0.1).astype(np.uint8)
        found = calibration(made_up(probabilities, labels))
        covered += found.error_low <= 0.1 <= found.error_high
    assert covered >= 34  # fewer would come up in 1 of 300 cases if 95 % were covered


@pytest.mark.parametrize(("labels", "error", "brier"), [([0, 0], 0.0, 0.0), ([1, 1], 1.0, 2.0)])
def test_calibration_of_the_certain(labels, error, brier):
    found = calibration(run([0, 0], labels, num_classes=2, confidence=1.0))
    assert (found.error, found.brier, found.error_low, found.error_high) == (error, brier, error, error)


def held_out(validation, labels, test, test_labels) -> Run:
    """A run with these probabilities of the validation split and the test set."""
    validation, test = (np.array(rows, np.float32) for rows in (validation, test))
    labels, test_labels = (np.array(of, np.uint8) for of in (labels, test_labels))
    return Run(
        Path("made-up"),
        SimpleNamespace(),
        "",
        test,
        test_labels,
        validation_probabilities=validation,
        validation_labels=labels,
    )


def test_temperature_by_hand():
    """Always 0.9 sure and right on three of four: the best confidence is 3/4. The odds of 9 are to become 3, their
    root: temperature 2. In the test set two of three are right."""
    found = scaled(held_out([[0.9, 0.1]] * 4, [0, 0, 0, 1], [[0.9, 0.1]] * 3, [0, 0, 1]))
    assert found.temperature == pytest.approx(2, abs=1e-3)
    assert found.error == pytest.approx(0.75 - 2 / 3, abs=1e-4)
    assert found.log_loss == pytest.approx(-(2 * math.log(3 / 4) + math.log(1 / 4)) / 3, abs=1e-3)
    assert found.brier == pytest.approx((2 * 2 * (1 / 4) ** 2 + 2 * (3 / 4) ** 2) / 3, abs=1e-3)


def test_temperature_undoes_the_one_that_was_there():
    """At the optimum the log loss no longer changes with 1/T: the mean of ln p over the classes, weighted by the scaled
    probabilities, is that of the true class."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 2, (20_000, 10))
    truth = scipy.special.softmax(scores, axis=1)
    labels = (truth.cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    overconfident = scipy.special.softmax(scores / 0.4, axis=1).astype(np.float32)
    run = held_out(overconfident[:10_000], labels[:10_000], overconfident[10_000:], labels[10_000:])
    found = scaled(run)
    assert found.temperature == pytest.approx(1 / 0.4, rel=0.03)
    logarithms = np.log(run.validation_probabilities.astype(np.float64))
    by_formula = scipy.special.softmax(logarithms / found.temperature, axis=1)
    of_truth = logarithms[np.arange(10_000), run.validation_labels]
    assert (by_formula * logarithms).sum(axis=1).mean() == pytest.approx(of_truth.mean(), rel=1e-3)
    before = calibration(run)
    assert found.error < 0.02 < before.error and found.brier < before.brier
    assert found.log_loss < metrics.evaluate(run).log_loss
    assert found.log_loss == pytest.approx(sklearn.metrics.log_loss(labels[10_000:], truth[10_000:]), rel=0.01)


def test_temperature_of_a_split_that_is_all_wrong_stays_in_its_range():
    found = scaled(held_out([[0.9, 0.1]] * 2, [1, 1], [[1, 0], [1, 0]], [0, 1]))
    assert found.temperature == pytest.approx(10, rel=1e-3) and math.isfinite(found.log_loss)


def test_no_temperature_by_a_split_that_is_all_right():
    """Whatever it is, a lower one would be better still, and say of every picture that it is certain."""
    assert scaled(held_out([[0.6, 0.4], [0.2, 0.8]], [0, 1], [[1, 0], [1, 0]], [0, 1])) is None


def test_no_temperature_without_a_validation_split():
    assert scaled(run(PREDICTED)) is None


def test_speed_is_that_of_all_epochs_together():
    rows = [Row(epoch=1, images_per_second=100.0), Row(epoch=2, images_per_second=300.0)]
    assert history.images_per_second(rows) == pytest.approx(150)  # 600 images each: 6 s and 2 s
    assert history.images_per_second([]) is None


def test_time_to_an_accuracy_by_hand():
    watched = run([0] * 9 + [1], [0] * 10)  # 0.9 at the end
    rows = [Row(epoch=1, seconds=10.0, test_accuracy=0.7), Row(epoch=2, seconds=11.0, test_accuracy=0.95)]
    rows += [Row(epoch=3, seconds=12.0)]
    watched.record.history = rows
    assert history.seconds_to_accuracy(watched, 0.7) == 10
    assert history.seconds_to_accuracy(watched, 0.8) == 21
    assert history.seconds_to_accuracy(watched, 0.96) is None
    held_out = run([0] * 9 + [1], [0] * 10)  # the test set was seen at the end alone
    held_out.record.history = [Row(epoch=1, seconds=10.0, validation_accuracy=0.99), Row(epoch=2, seconds=11.0)]
    assert history.seconds_to_accuracy(held_out, 0.9) == 21
    assert history.seconds_to_accuracy(held_out, 0.91) is None


# ---- robustness


def with_copies(predicted, copies, labels) -> Run:
    """A run that predicted corrupted copies, (num_kinds, num_strengths, num_images), of all but its first image."""
    copies = np.array(copies, np.uint8)
    rows = np.arange(1, len(labels))
    return dataclasses.replace(run(predicted, labels), robustness_rows=rows, robustness_predicted=copies)


def test_robustness_by_hand():
    """Four images after the first, of classes 0, 0, 1, 2; as they are, all but the last are right."""
    labels = [2, 0, 0, 1, 2]
    copies = [[[0, 0, 1, 2], [0, 1, 1, 0]], [[0, 0, 0, 0], [1, 1, 0, 0]]]
    found = robustness(with_copies([0, 0, 0, 1, 1], copies, labels))
    assert (found.num_images, found.clean) == (4, 0.75)
    np.testing.assert_array_equal(found.accuracy, [[1, 0.5], [0.5, 0]])
    assert found.mean == 0.5 and found.retained == pytest.approx(2 / 3)
    z = 1.959963984540054  # Wilson's interval of 2 of 4 is symmetrical; that of 4 of 4 begins at 4 / (4 + z²)
    assert found.low[0, 0] == pytest.approx(4 / (4 + z * z)) and found.high[0, 0] == pytest.approx(1)
    assert found.low[0, 1] == found.low[1, 0] == pytest.approx(1 - found.high[0, 1])
    assert found.low[1, 1] == pytest.approx(0) and found.high[1, 1] == pytest.approx(1 - found.low[0, 0])
    assert robustness(run(PREDICTED)) is None
    wrong = robustness(with_copies([1, 1, 1, 0, 0], copies, labels))
    assert wrong.clean == 0 and math.isnan(wrong.retained)


def test_the_difference_in_robustness_is_that_of_images_drawn_anew_with_all_their_copies():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 301)
    hard = rng.random(300) < 0.4  # where the copies go wrong, they do so together
    copies = [
        np.where((hard | (rng.random((2, 3, 300)) < often)), (labels[1:] + 1) % 3, labels[1:]) for often in (0.1, 0.2)
    ]
    first, second = (with_copies(labels, one, labels) for one in copies)
    points, low, high = robustness_ahead(first, second)
    right = [(one == labels[1:]).mean(axis=(0, 1)) for one in copies]
    ahead = 100 * (right[0] - right[1])
    assert points == pytest.approx(ahead.mean()) and 2 < points < 10
    theirs = scipy.stats.bootstrap((ahead,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.15)
    back = robustness_ahead(second, first)
    assert back == pytest.approx((-points, -high, -low), abs=0.15)
    found = robustness(first)
    # 1,800 copies are not 1,800 images: the interval is that of 300
    spread = 1.96 * right[0].std() / 300**0.5
    assert (found.mean_low, found.mean_high) == pytest.approx((found.mean - spread, found.mean + spread), abs=0.004)
    assert found.mean_high - found.mean_low > 1.5 * np.diff(metrics.wilson(round(found.mean * 1800), 1800))[0]
    assert robustness_ahead(first, first) == (0, 0, 0)
