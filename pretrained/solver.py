"""The head brought to its optimum on features that are kept.

A linear classifier on fixed features with a penalty on its weights is a convex problem: it has one optimum, which
L-BFGS finds (D. C. Liu and J. Nocedal, *On the limited memory BFGS method for large scale optimization*, 1989; here
SciPy's). The objective is that of scikit-learn's `LogisticRegression`, whose C is 1 / (penalty · number of images). It
is written out here because the features are files on disk, which memory need not hold, and in coordinates in which they
are less alike than the features of a network are.

On 9,000 images of Fashion-MNIST as EfficientNet-Lite0 sees them it takes 0.39, 0.77, 0.81 and 1.13 s of processor time
(penalties 1 to 1e-3, each from the solution before), and scikit-learn's, with all features in memory, 0.67, 1.18, 1.50
and 1.77 s; the objectives are within 0.3 % of each other, the losses on 6,000 other images within 0.001 (one thread of
a machine that others used; `tests/benchmarks/solver.py` repeats the comparison on features that it makes up).
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.linalg
from scipy.optimize import minimize
from scipy.special import log_softmax

from compare.system.disk import read_with_hash, write_with_hash
from compare.training.estimate import measured

IMAGES_IN_FILE = 2048  # whose features are computed, and kept, together
ROWS_AT_ONCE = 1024  # 8 MB, which caches hold until the second product
MAX_ITERATIONS = 200
TOLERANCE = 2e-5  # an iteration that lowers the objective by less, in nats, is the last
FIRST_EVALUATIONS, LATER_EVALUATIONS = 45, 15  # of the objective for each penalty, seen in runs; for the estimate


@dataclasses.dataclass(frozen=True)
class Scale:
    """What makes features comparable: from each its mean taken, by its standard deviation divided, to which half of
    their mean deviation is added: by a few images that of a feature is guessed so badly that on 5, 10 and 30 labels a
    class the head was right on 6.4, 2.9 and 1.1 points more of 4,000 other training images (EfficientNet-Lite0,
    Fashion-MNIST, three to five draws), and on 100 and 1,000 within half a point. The same for all of them, so that the
    head can undo it (`on_features`).

    Attributes:
        mean, deviation: float32, (num_features,).
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "Scale":
        """The scale by features (num_images, num_features); where none of them ever changes they keep their size."""
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation = np.where(deviation > 1e-5 * np.abs(mean), deviation, 0)  # but for rounding
        return cls(mean, (deviation + (deviation.mean() / 2 or 1)).astype(np.float32))

    def on_features(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights (num_features, num_classes) and the offset (num_classes,) that do to the features themselves what
        `solution`, (num_features + 1, num_classes), does to the scaled ones."""
        weights = solution[:-1] / self.deviation[:, np.newaxis]
        return weights.astype(np.float32), (solution[-1] - self.mean @ weights).astype(np.float32)


class KeptFeatures:
    """The features of several passes over the same images, scaled, as float32 in files that are mapped one at a time: a
    pass over 60,000 images takes 491 MB on disk, of which the system keeps in memory what there is room for. Each file
    ends with its own hash, so that a run that goes on knows what it can use.

    Args:
        folder: where the files are.
        scale: what to scale by.
        labels: (num_images,), of the images in their own order.
    """

    def __init__(self, folder: Path, scale: Scale, labels: np.ndarray):
        self.folder, self.scale, self.labels = folder, scale, labels
        self._whole: set[tuple[int, int]] = set()  # the files that were looked through

    def path(self, number: int, begin: int) -> Path:
        """The file of one pass, counted from 1, that begins with the image `begin`: the bytes of float32 (num_images,
        num_features) for up to `IMAGES_IN_FILE` images, and the 32 of their SHA-256."""
        return self.folder / f"features-{number}-{begin}.float32"

    def rows(self) -> list[slice]:
        """The images of each file of a pass."""
        num_images = len(self.labels)
        return [slice(at, min(at + IMAGES_IN_FILE, num_images)) for at in range(0, num_images, IMAGES_IN_FILE)]

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """The features as they are kept."""
        return (features - self.scale.mean) / self.scale.deviation

    def keep(self, number: int, begin: int, features: np.ndarray) -> None:
        """Write the file of these features, float32 (num_images, num_features); raises as `disk.replacing` does."""
        # Written in order and not through a memory map: on a full disk that would end the process without a word.
        write_with_hash(self.path(number, begin), self.scaled(features).tobytes())
        self._whole.add((number, begin))

    def missing(self, number: int) -> list[slice]:
        """The images of a pass whose file is not there, or not as it was written."""
        for rows in self.rows():
            if (number, rows.start) not in self._whole:
                content = read_with_hash(self.path(number, rows.start))
                if content is not None and len(content) == 4 * (rows.stop - rows.start) * len(self.scale.mean):
                    self._whole.add((number, rows.start))
        return [rows for rows in self.rows() if (number, rows.start) not in self._whole]

    def parts(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass, a part at a time: features, float32 (part, num_features), and labels, (part,)."""
        num_features = len(self.scale.mean)
        for rows in self.rows():
            shape = (rows.stop - rows.start, num_features)
            features, labels = np.memmap(self.path(number, rows.start), np.float32, "r", shape=shape), self.labels[rows]
            for begin in range(0, len(labels), ROWS_AT_ONCE):
                part = slice(begin, begin + ROWS_AT_ONCE)
                yield np.asarray(features[part]), labels[part]


def remove_kept(folder: Path) -> None:
    """Remove the features that are kept in `folder`, and their locks."""
    for path in (*folder.glob("features-*.float32"), *folder.glob(".features-*.lock")):
        path.unlink()


def directions(kept: KeptFeatures) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which the features of the first pass vary, and how much: the eigenvectors of their second
    moments, float64 (num_features, num_features), one a column, and the eigenvalues, (num_features,)."""
    num_features = len(kept.scale.mean)
    moments = np.zeros((num_features, num_features), np.float32)
    for features, _ in kept.parts(1):
        moments += features.T @ features
    variances, vectors = scipy.linalg.eigh(moments / len(kept.labels), driver="evd")
    return vectors.astype(np.float64), np.maximum(variances, 0).astype(np.float64)


def solve(
    kept: KeptFeatures,
    num_passes: int,
    num_classes: int,
    penalty: float,
    *,
    along: tuple[np.ndarray, np.ndarray],
    start: np.ndarray | None = None,
    class_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, float, float]:
    """Bring a head to its optimum on the first `num_passes` passes.

    Args:
        kept: the features.
        num_passes: how many of their passes to use.
        num_classes: number of classes.
        penalty: see `Recipe.penalties`.
        along: what `directions` gave. It shortens the way and does not change where it ends.
        start: the solution to a similar problem, to begin from.
        class_weights: what an image of each class counts in the objective, float32 (num_classes,), 1 on average over
            the images; None where each counts 1.

    Returns:
        The solution, float64 (num_features + 1, num_classes), its last row the offset; and its mean loss in nats an
        image and its accuracy as a fraction, on the features, without the penalty and weights.
    """
    vectors, variances = along
    # In these coordinates the objective is about equally curved in all directions. The curvature of the loss by a logit
    # is p · (1 - p), for which a tenth stands.
    lengths = np.append(1 / np.sqrt(0.1 * variances + penalty), 1.0)[:, np.newaxis]  # (num_features + 1, 1)
    shape = (len(lengths), num_classes)
    num_images = num_passes * len(kept.labels)
    last: dict[str, float] = {}

    def from_coordinates(flat: np.ndarray) -> np.ndarray:
        solution = lengths * flat.reshape(shape)
        solution[:-1] = vectors @ solution[:-1]
        return solution

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        solution = from_coordinates(flat)
        weights, offset = solution[:-1].astype(np.float32), solution[-1].astype(np.float32)
        gradient = np.zeros(shape)
        loss_sum = counted = num_correct = 0.0
        for number in range(1, num_passes + 1):
            for features, labels in kept.parts(number):
                log_probabilities = log_softmax(features @ weights + offset, axis=1)  # (part, num_classes)
                of_true_class = np.arange(len(labels)), labels
                losses = -log_probabilities[of_true_class]
                loss_sum += losses.sum(dtype=np.float64)
                num_correct += (log_probabilities.argmax(axis=1) == labels).sum()
                errors = np.exp(log_probabilities)
                errors[of_true_class] -= 1  # the gradient of the loss by the logits
                if class_weights is not None:
                    counts = class_weights[labels]
                    counted += (losses * counts).sum(dtype=np.float64)
                    errors *= counts[:, np.newaxis]
                gradient[:-1] += features.T @ errors
                gradient[-1] += errors.sum(axis=0)
        last.update(loss=loss_sum / num_images, accuracy=num_correct / num_images)
        gradient /= num_images
        gradient[:-1] = vectors.T @ (gradient[:-1] + penalty * solution[:-1])
        loss = last["loss"] if class_weights is None else counted / num_images
        return loss + penalty / 2 * (solution[:-1] ** 2).sum(), (lengths * gradient).ravel()

    begin = np.zeros(shape)
    if start is not None:
        begin = np.vstack([vectors.T @ start[:-1], start[-1:]]) / lengths
    options = {"maxiter": MAX_ITERATIONS, "gtol": 1e-6, "ftol": TOLERANCE}
    found = minimize(objective, begin.ravel(), jac=True, method="L-BFGS-B", options=options).x
    objective(found)  # the last one that was tried need not be the one that was found
    return from_coordinates(found), last["loss"], last["accuracy"]


def evaluations_expected(num_passes: int, num_penalties: int) -> int:
    """About how many times the optimum on `num_passes` passes needs one pass looked through; the first tries all
    penalties."""
    return num_penalties * FIRST_EVALUATIONS if num_passes == 1 else num_passes * LATER_EVALUATIONS


def measure(features: np.ndarray, num_classes: int) -> np.ndarray:
    """The seconds that one evaluation of the objective takes for one image, as a pair (`compare.estimate`)."""
    weights = np.zeros((features.shape[1], num_classes), np.float32)

    def evaluate() -> None:
        for begin in range(0, len(features), ROWS_AT_ONCE):
            part = features[begin : begin + ROWS_AT_ONCE]
            part.T @ np.exp(log_softmax(part @ weights, axis=1))

    return measured(evaluate, num_images=len(features), seconds=0.3)
