"""What is computed from runs: arithmetic on arrays, the same definitions for every framework.

Accuracy, precision, recall and F1 are fractions: higher is better. The log loss is in nats an image: lower is better.
Means over classes are over those that the test set has images of: one without any keeps its row, and counts nothing.
A confusion matrix has the true class in its rows and the predicted class in its columns: entry i, j counts the images
of class i that were taken for class j. The predicted class is the most probable one, the first of equals.
"""

import dataclasses
import math

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from scipy.stats import binomtest, false_discovery_control, norm
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from compare.runs.record import Run

CONFIDENCE = 0.95  # of every interval
MORE_THAN_CHANCE = 0.05  # a p value below this is called so
NUM_RESAMPLES = 20_000  # of the bootstrap: the ends of its intervals wander by about a hundredth of their length
NUM_CLASS_RESAMPLES = 1_000  # of the bootstrap of the macro-F1, which draws every class for itself
# times as many test images of the largest class as of the smallest, above which accuracy and the mean over classes are
# told apart: below it both weigh the classes alike but for what the draw of a test set does by itself
UNEQUAL = 1.5
NUM_CONFUSED_PAIRS, NUM_OF_MANY = 5, 20  # the latter of more classes than `MANY_CLASSES`
MANY_CLASSES = 30
CONFIDENT = 0.9  # a probability of the predicted class from here on is called so


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A pair of classes that were mixed up: `num_images` of class `true` taken for class `predicted`, both indices;
    `share` is their fraction of the images of class `true`."""

    true: int
    predicted: int
    num_images: int
    share: float


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A test image that two runs take for class `predicted` and whose label is `label`, both indices: its row in the
    test file, from 0, and the lower of both confidences."""

    index: int
    label: int
    predicted: int
    confidence: float


@dataclasses.dataclass(frozen=True)
class Result:
    """How one run does on its test set of `num_images` images and `num_classes` classes.

    Attributes:
        accuracy: fraction of the images whose predicted class is the true one.
        accuracy_low, accuracy_high: its 95 % Wilson interval. It covers the luck of drawing these test images, not
            that of training once more.
        balanced_accuracy: the mean of the classes' recalls: every class counts alike, however few images it has.
        balanced_accuracy_low, balanced_accuracy_high: its 95 % interval, as `mean_of_classes` has it, out of the
            recalls' Wilson intervals.
        macro_f1: the mean of the classes' F1. (scikit-learn's counts as 0 what was predicted and has no image; here its
            `labels` are those of the test set.)
        macro_f1_low, macro_f1_high: its 95 % interval, as `macro_f1_interval` has it.
        log_loss: mean of -ln(probability of the true class), nats an image; None where the run keeps only the highest.
        counts: int64, (num_classes, num_classes), the confusion matrix.
        precision, recall, f1: float64, (num_classes,); NaN where it is 0/0, as is the precision of a class that was
            never predicted.
        support: int64, (num_classes,), images of each class.
        most_confused: the most frequent mistakes, most frequent first.
    """

    num_images: int
    num_correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    balanced_accuracy_low: float
    balanced_accuracy_high: float
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    log_loss: float | None
    counts: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    most_confused: list[Confusion]

    @property
    def is_unequal(self) -> bool:
        """Whether the classes of the test set differ so much in size that accuracy is mostly that on the largest."""
        return are_unequal(self.support)


@dataclasses.dataclass(frozen=True)
class Balanced:
    """Two runs, class by class on the same test set.

    Attributes:
        points_ahead: the first run's balanced accuracy less the second's, in percentage points.
        points_low, points_high: its 95 % interval, as `mean_of_classes` has it, out of the intervals of each class by
            D. G. Bonett and R. M. Price (*Adjusted Wald Confidence Interval for a Difference of Binomial Proportions
            Based on Paired Data*, 2012).
    """

    points_ahead: float
    points_low: float
    points_high: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two runs, image by image on the same test set.

    Attributes:
        num_both_right, num_only_first, num_only_second, num_neither: images by which of the runs are right.
        points_ahead: the first run's accuracy less the second's, in percentage points.
        points_low, points_high: its 95 % interval, by the paired bootstrap: the images are drawn anew, with both runs'
            answers, and the middle 95 % of the differences are kept (B. Efron, *Bootstrap Methods*, 1979).
        p_value: of the exact two-sided McNemar test. If both networks were equally likely to be the one that is right
            where only one is, a division as uneven as this or more so would come up with this probability.
    """

    num_both_right: int
    num_only_first: int
    num_only_second: int
    num_neither: int
    points_ahead: float
    points_low: float
    points_high: float
    p_value: float


def evaluate(run: Run) -> Result:
    """Compute everything about one run's test set."""
    labels, probabilities = run.test_labels, run.test_probabilities
    num_images, num_classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)  # (num_images,)
    num_correct = int((predicted == labels).sum())
    low, high = wilson(num_correct, num_images)

    # All classes by name: one that is never predicted, or that has no images, keeps its row and column.
    classes = np.arange(num_classes)
    counts = confusion_matrix(labels, predicted, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    there = support > 0
    balanced = mean_of_classes(recall[there], *wilson_of_each(np.diag(counts)[there], support[there]))
    macro_f1_low, macro_f1_high = macro_f1_interval(counts)
    return Result(
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images,
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=balanced[0],
        balanced_accuracy_low=balanced[1],
        balanced_accuracy_high=balanced[2],
        macro_f1=float(f1[there].mean()),
        macro_f1_low=macro_f1_low,
        macro_f1_high=macro_f1_high,
        log_loss=None if run.only_highest else log_loss(probabilities, labels),
        counts=counts,
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        most_confused=most_confused(counts),
    )


def wilson(num_correct: int, num_images: int) -> tuple[float, float]:
    """The 95 % Wilson interval of an accuracy."""
    interval = binomtest(int(num_correct), num_images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def wilson_of_each(num_correct: np.ndarray, num_images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of several at once, float64 of the arguments' shape each."""
    z = norm.isf((1 - CONFIDENCE) / 2)
    share, scale = num_correct / num_images, 1 + z**2 / num_images
    centre = (share + z**2 / (2 * num_images)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / num_images + z**2 / (4 * num_images**2))
    # what is right always, or never, is an end of the interval itself, but for rounding
    return np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)


def recall_of_seeds(results: list[Result]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The recall of each class, the mean over seeds, and its 95 % Wilson interval: that of one run of this recall, as
    all seeds saw the same test images. float64, (num_classes,) each; NaN for a class without images."""
    recall, support = np.mean([one.recall for one in results], axis=0), results[0].support
    there, low, high = support > 0, np.full(len(recall), np.nan), np.full(len(recall), np.nan)
    low[there], high[there] = wilson_of_each(recall[there] * support[there], support[there])
    return recall, low, high


def mean_of_classes(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> tuple[float, float, float]:
    """The mean of independent values, (num_classes,), and its interval out of the intervals of each.

    Their distances from the values add up as standard errors do, each side for itself (G. Y. Zou and A. Donner,
    *Construction of confidence limits about effect measures: a general approach*, 2008). With many images of every
    class that is the mean ± 1.96 · sqrt(sum of p(1 - p)/n) / number of classes, as of a stratified sample (W. G.
    Cochran, *Sampling Techniques*, 1977, chapter 5). The latter takes a class of three images that all are right for
    certain: where the others had 500 each, or 10 and 200, it held the truth in 41 to 79 of 100 made-up test sets, and
    this in 93 to 96. With a thousand classes of five images this is too wide, and held it in 85 to 88.
    """
    mean, number = values.mean(), len(values)
    below = math.sqrt(((values - lows) ** 2).sum()) / number
    above = math.sqrt(((highs - values) ** 2).sum()) / number
    return float(mean), float(mean - below), float(mean + above)


def macro_f1_interval(counts: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the macro-F1: the images of every class are drawn anew, as many as it has, and the middle
    95 % of what comes out are kept (B. Efron, *Bootstrap Methods*, 1979).

    Args:
        counts: a confusion matrix. Drawing images of a class with replacement is drawing how many of them are taken for
            each class, so that it is all that is needed.
    """
    random, support = np.random.default_rng(0), counts.sum(axis=1)
    right, predicted = np.zeros((2, NUM_CLASS_RESAMPLES, len(counts)))
    for true in np.flatnonzero(support):
        taken_for = np.flatnonzero(counts[true])
        drawn = random.multinomial(support[true], counts[true, taken_for] / support[true], size=NUM_CLASS_RESAMPLES)
        predicted[:, taken_for] += drawn
        right[:, true] = drawn[:, taken_for == true].sum(axis=1)
    there = support > 0
    f1 = 2 * right[:, there] / (support + predicted)[:, there]  # (NUM_CLASS_RESAMPLES, num_there)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(f1.mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def are_unequal(support: np.ndarray) -> bool:
    """Whether classes differ in size by more than `UNEQUAL`, given the images of each; those without any are left
    out."""
    there = support[support > 0]
    return bool(there.max() > UNEQUAL * there.min())


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -ln(probability of the true class), nats an image.

    A probability that float32 has rounded to 0 counts as float32's smallest normal number (87.3 nats), so that one
    image cannot make the mean infinite. scikit-learn would count everything below 1.2e-7 as 1.2e-7 and so forgive
    confident mistakes.

    Args:
        probabilities: float32, (num_images, num_classes).
        labels: (num_images,), indices of the true classes.
    """
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true_class, np.finfo(np.float32).tiny)).mean())


def most_confused(counts: np.ndarray) -> list[Confusion]:
    """The most frequent mistakes of a confusion matrix, most frequent first, equals in the order of the classes."""
    support = counts.sum(axis=1)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    number = NUM_CONFUSED_PAIRS if len(counts) <= MANY_CLASSES else NUM_OF_MANY
    places = np.argsort(-wrong, axis=None, kind="stable")[:number]
    return [
        Confusion(int(true), int(predicted), int(wrong[true, predicted]), float(wrong[true, predicted] / support[true]))
        for true, predicted in zip(*np.unravel_index(places, wrong.shape), strict=True)
        if wrong[true, predicted]
    ]


def confused_together(counts: np.ndarray) -> np.ndarray:
    """The classes in an order that puts those beside each other that are mixed up, int64 (num_classes,).

    The order of the leaves of an average-linkage tree that brings neighbours as close as the tree allows (Z.
    Bar-Joseph et al., *Fast optimal leaf ordering for hierarchical clustering*, 2001).

    Args:
        counts: a confusion matrix, or the sum of several.
    """
    mixed_up = np.sqrt(counts + counts.T)
    far = mixed_up.max() - mixed_up
    np.fill_diagonal(far, 0)
    distances = squareform(far)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))


def paired(first: Run, second: Run) -> Paired:
    """Compare two runs image by image. They must share their test labels: `record.check_comparable` sees to it."""
    return paired_answers(is_right(first), is_right(second))


def balanced(first: Run, second: Run) -> Balanced:
    """Compare two runs class by class; they must share their test labels."""
    labels, support = first.test_labels, np.bincount(first.test_labels)
    there = support > 0
    first_right, second_right = is_right(first), is_right(second)
    only_first, only_second = (
        np.bincount(labels[of], minlength=len(support))[there]
        for of in (first_right & ~second_right, second_right & ~first_right)
    )
    num_images = support[there]
    ahead = (only_first - only_second) / num_images  # (num_there,)
    # one image more on which only the first is right, and one on which only the second
    share_first, share_second = (only_first + 1) / (num_images + 2), (only_second + 1) / (num_images + 2)
    centre = share_first - share_second
    variance = (share_first + share_second - centre**2) / (num_images + 2)
    half = norm.isf((1 - CONFIDENCE) / 2) * np.sqrt(variance)
    lows, highs = np.clip(centre - half, -1, ahead), np.clip(centre + half, ahead, 1)
    return Balanced(*(100 * value for value in mean_of_classes(ahead, lows, highs)))


def classes_apart(first: Run, second: Run) -> list[tuple[int, Paired]]:
    """The classes whose images tell two runs apart, and how, the first run's lead falling.

    Of the classes in this list, at most 5 in 100 are expected to be there by chance (Y. Benjamini and Y. Hochberg,
    *Controlling the False Discovery Rate*, 1995).
    """
    first_right, second_right, labels = is_right(first), is_right(second), first.test_labels
    classes = np.unique(labels)
    of_class = [labels == index for index in classes]
    p_values = false_discovery_control([mcnemar(first_right[rows], second_right[rows]) for rows in of_class])
    apart = [
        (int(index), paired_answers(first_right[rows], second_right[rows]))
        for index, rows, p_value in zip(classes, of_class, p_values, strict=True)
        if p_value < MORE_THAN_CHANCE
    ]
    return sorted(apart, key=lambda found: -found[1].points_ahead)


def is_right(run: Run) -> np.ndarray:
    """Whether the predicted class is the true one, bool (num_images,)."""
    return run.test_probabilities.argmax(axis=1) == run.test_labels


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """The p value of the exact two-sided McNemar test of which images each run is right on, bool (num_images,)."""
    num_only_first = int((first_right & ~second_right).sum())
    num_discordant = int((first_right != second_right).sum())
    return float(binomtest(num_only_first, num_discordant, 0.5).pvalue) if num_discordant else 1.0


def paired_answers(first_right: np.ndarray, second_right: np.ndarray) -> Paired:
    """The same of which images each is right on, bool (num_images,)."""
    num_images = len(first_right)
    num_only_first = int((first_right & ~second_right).sum())
    num_only_second = int((second_right & ~first_right).sum())
    num_discordant = num_only_first + num_only_second
    # Drawing images with replacement is drawing how many fall into each group: one multinomial draw a resample.
    shares = np.array([num_only_first, num_only_second, num_images - num_discordant]) / num_images
    drawn = np.random.default_rng(0).multinomial(num_images, shares, size=NUM_RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(100 * (drawn[:, 0] - drawn[:, 1]) / num_images, [tail, 1 - tail])
    return Paired(
        num_both_right=int((first_right & second_right).sum()),
        num_only_first=num_only_first,
        num_only_second=num_only_second,
        num_neither=int((~first_right & ~second_right).sum()),
        points_ahead=100 * (num_only_first - num_only_second) / num_images,
        points_low=float(low),
        points_high=float(high),
        p_value=mcnemar(first_right, second_right),
    )


def averaged(first: Run, second: Run) -> Run:
    """What two runs would be together: a run with the mean of their probabilities."""
    return dataclasses.replace(first, test_probabilities=(first.test_probabilities + second.test_probabilities) / 2)


def num_confident_mistakes(run: Run) -> int:
    """The test images that a run takes for a wrong class with a probability of `CONFIDENT` or more."""
    return int((~is_right(run) & (run.test_probabilities.max(axis=1) >= CONFIDENT)).sum())


def suspects(first: Run, second: Run) -> list[Suspect]:
    """The test images that both runs confidently take for the same wrong class, the surest first: likely label errors,
    or images that look like another class (C. Northcutt et al., *Pervasive Label Errors in Test Sets*, 2021, arXiv
    2103.14749)."""
    predicted = first.test_probabilities.argmax(axis=1)
    confidence = np.minimum(first.test_probabilities.max(axis=1), second.test_probabilities.max(axis=1))
    agree = (predicted == second.test_probabilities.argmax(axis=1)) & ~is_right(first) & (confidence >= CONFIDENT)
    found = [
        Suspect(int(index), int(first.test_labels[index]), int(predicted[index]), float(confidence[index]))
        for index in np.flatnonzero(agree)
    ]
    return sorted(found, key=lambda one: -one.confidence)
