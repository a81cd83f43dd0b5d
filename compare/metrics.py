"""What is computed from runs: arithmetic on arrays, the same definitions for every framework.

Accuracy, precision, recall and F1 are fractions: higher is better. The log loss is in nats an image: lower is better.
A confusion matrix has the true class in its rows and the predicted class in its columns: entry i, j counts the images
of class i that were taken for class j. The predicted class is the most probable one, the first of equals.
"""

import dataclasses
import itertools

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from compare.record import Run

CONFIDENCE = 0.95  # of the interval of the accuracy
NUM_CONFUSED_PAIRS = 5


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A pair of classes that were mixed up: `num_images` of class `true` taken for class `predicted`, both indices;
    `share` is their fraction of the images of class `true`."""

    true: int
    predicted: int
    num_images: int
    share: float


@dataclasses.dataclass(frozen=True)
class Result:
    """How one run does on its test set of `num_images` images and `num_classes` classes.

    Attributes:
        accuracy: fraction of the images whose predicted class is the true one.
        accuracy_low, accuracy_high: its 95 % Wilson interval. It covers the luck of drawing these test images, not
            that of training once more.
        log_loss: mean of -ln(probability of the true class), nats an image.
        counts: int64, (num_classes, num_classes), the confusion matrix.
        shares: float64, (num_classes, num_classes), the same as fractions of each row; 0 in the row of a class
            without images.
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
    log_loss: float
    counts: np.ndarray
    shares: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    most_confused: list[Confusion]


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two runs, image by image on the same test set.

    Attributes:
        num_both_right, num_only_first, num_only_second, num_neither: images by which of the runs are right.
        points_ahead: the first run's accuracy less the second's, in percentage points.
        p_value: of the exact two-sided McNemar test. If both networks were equally likely to be the one that is right
            where only one is, a division as uneven as this or more so would come up with this probability.
    """

    num_both_right: int
    num_only_first: int
    num_only_second: int
    num_neither: int
    points_ahead: float
    p_value: float


def evaluate(run: Run) -> Result:
    """Compute everything about one run's test set."""
    labels, probabilities = run.test_labels, run.test_probabilities
    num_images, num_classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)  # (num_images,)
    num_correct = int((predicted == labels).sum())
    interval = binomtest(num_correct, num_images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")

    # All classes by name: one that is never predicted, or that has no images, keeps its row and column.
    classes = np.arange(num_classes)
    counts = confusion_matrix(labels, predicted, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    return Result(
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        log_loss=log_loss(probabilities, labels),
        counts=counts,
        shares=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        most_confused=most_confused(counts),
    )


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
    mistakes = [
        Confusion(true, predicted, int(counts[true, predicted]), float(counts[true, predicted] / support[true]))
        for true, predicted in itertools.permutations(range(len(counts)), 2)
        if counts[true, predicted] > 0
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.num_images)[:NUM_CONFUSED_PAIRS]


def paired(first: Run, second: Run) -> Paired:
    """Compare two runs image by image. They must share their test labels: `record.check_comparable` sees to it."""
    first_right = first.test_probabilities.argmax(axis=1) == first.test_labels
    second_right = second.test_probabilities.argmax(axis=1) == second.test_labels
    num_only_first = int((first_right & ~second_right).sum())
    num_only_second = int((second_right & ~first_right).sum())
    num_discordant = num_only_first + num_only_second
    return Paired(
        num_both_right=int((first_right & second_right).sum()),
        num_only_first=num_only_first,
        num_only_second=num_only_second,
        num_neither=int((~first_right & ~second_right).sum()),
        points_ahead=100 * (num_only_first - num_only_second) / len(first_right),
        p_value=float(binomtest(num_only_first, num_discordant, 0.5).pvalue) if num_discordant else 1.0,
    )


def seconds_to_accuracy(run: Run, accuracy: float) -> float | None:
    """The seconds of training until the test accuracy was first seen to be `accuracy` or more; None if it never was.

    A run that does not watch the test set after every epoch is seen once, at its end.
    """
    seconds = 0.0
    for row in run.record["history"]:
        seconds += row["seconds"]
        if row.get("test_accuracy", 0) >= accuracy:
            return seconds
    at_the_end = (run.test_probabilities.argmax(axis=1) == run.test_labels).mean()
    return seconds if at_the_end >= accuracy else None


def images_per_second(history: list[dict]) -> float | None:
    """The training speed over all epochs: the harmonic mean of the epochs' speeds, as each epoch has as many images.

    None without an epoch.
    """
    if not history:
        return None
    return len(history) / sum(1 / row["images_per_second"] for row in history)
