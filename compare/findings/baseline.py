"""What a network should beat: logistic regression on the pixels, trained on as many images as the networks; and where
classes are unequal always saying the most frequent one."""

import dataclasses
import warnings

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression

from compare.data import dataset
from compare.data.images import Dataset, blocks_averaged, stratified_sample
from compare.findings.label_curve import labels_of
from compare.findings.metrics import MORE_THAN_CHANCE, Paired, are_unequal, is_right, paired_answers
from compare.runs import schema
from compare.runs.record import Run

MAX_SIDE = 32  # pixels: larger images are averaged down to it
# training images × inputs × classes, by which its time goes: 60,000 images of 28×28 in ten classes are just below, and
# take some six seconds of one core
MOST_WORK = 500_000_000


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What needs no network, on the test images of a run: its accuracy, how many training images it learned from, and
    how the run compares with it image by image."""

    accuracy: float
    num_images: int
    paired: Paired

    @property
    def is_beaten(self) -> bool:
        """Whether the run is better by more than the choice of test images explains."""
        return self.paired.points_ahead > 0 and self.paired.p_value < MORE_THAN_CHANCE


def baselines(runs: list[Run], data: Dataset | None) -> list[Baseline | None]:
    """The baseline of every run, fitted once for each number of labels: on what the first run of these could have
    learned from, and on as many images as any of them trained on. None where their data are not at hand."""
    if data is None:
        return [None] * len(runs)
    groups: dict[float | None, list[schema.Data]] = {}
    found = {}
    for run in runs:
        groups.setdefault(labels_of(run.record), []).append(run.record.data)
    for labels, (first, *others) in groups.items():
        rows = np.arange(len(data.train_labels))
        if data.validation_rows is not None:
            rows = np.setdiff1d(rows, data.validation_rows)
        if first.labels_per_class is not None:
            of_these = data.train_labels[rows]
            rows = rows[dataset.subset(of_these, first.labels_per_class, seed=first.subset_seed or 0)]
        num_images = max(one.num_train or len(rows) for one in (first, *others))
        predicted, num_seen = logistic_regression(data, rows, num_images)
        found[labels] = predicted == data.test_labels, num_seen
    return [
        Baseline(float(right.mean()), num_seen, paired_answers(is_right(run), right))
        for run, (right, num_seen) in ((run, found[labels_of(run.record)]) for run in runs)
    ]


def majorities(runs: list[Run], data: Dataset | None) -> list[Baseline | None]:
    """Always saying the most frequent class of the training images, the first of equals, beside every run. None where
    the classes of the test set are about equal, so that it says nothing, or where the runs' data are not at hand."""
    if data is None or not are_unequal(np.bincount(data.test_labels)):
        return [None] * len(runs)
    labels = data.train_labels
    if data.validation_rows is not None:
        labels = np.delete(labels, data.validation_rows)
    right = data.test_labels == np.bincount(labels).argmax()
    return [Baseline(float(right.mean()), len(labels), paired_answers(is_right(run), right)) for run in runs]


def logistic_regression(data: Dataset, rows: np.ndarray, num_images: int) -> tuple[np.ndarray, int]:
    """scikit-learn's logistic regression on the pixels. Its weights are held smaller than by default, and its
    iterations end earlier: on Fashion-MNIST that is better and far faster (0.8299 of the test images after 5,000 and
    0.844 to 0.846 after all 60,000, in 8 s of processor time; a tenth of the tolerance takes three times as long for
    0.846). Where it ends depends on how sums are rounded, and so on how many threads there are: with one, so that
    the same runs give the same page on a machine.

    Args:
        data: whose training and test images.
        rows: the training images that it may see.
        num_images: how many of these it learns from, each class by its share, the same each time; of large images in
            many classes fewer, by `MOST_WORK`.

    Returns:
        The classes of the test images, (num_test,), and how many training images it learned from.
    """
    height, width, num_channels = data.image_shape
    block = -(-max(height, width) // MAX_SIDE)
    num_inputs = (height // block) * (width // block) * num_channels
    num_images = min(num_images, MOST_WORK // (num_inputs * len(data.class_names)))
    rows = rows[stratified_sample(data.train_labels[rows], num_images, seed=0)]
    labels = data.train_labels[rows]
    if len(np.unique(labels)) == 1:  # which scikit-learn refuses
        return np.full(len(data.test_labels), labels[0]), len(rows)
    inputs, test_inputs = (
        blocks_averaged(images, block).reshape(len(images), -1).astype(np.float32) / 255
        for images in (data.train_images[rows], data.test_images)
    )
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        # few images of many classes look to scikit-learn like numbers
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        fitted = LogisticRegression(C=0.1, tol=1e-3, max_iter=1000).fit(inputs, labels)
    return fitted.predict(test_inputs), len(rows)
