"""Whether a run's confidence can be trusted: from its predictions alone, plain numbers out, as in `metrics`."""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import norm

from compare.findings.metrics import CONFIDENCE, is_right, log_loss, wilson_of_each
from compare.runs.record import Run

NUM_CALIBRATION_RESAMPLES = 1000  # each takes some 0.2 ms
NUM_BINS = 15  # of confidence, as in Guo et al.
LEAST_IN_BIN, LEAST_SHARE = 10, 0.01  # images in a bin, and of all of them: those with fewer are folded
HIGHEST_TEMPERATURE = 10  # and its inverse the lowest: where every validation image is right, none is low enough


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Whether a run's probabilities can be taken at their word. An image's confidence is the probability of the
    predicted class.

    Attributes:
        num_images: int64, (NUM_BINS,), images by confidence, in bins of equal width from 0 to 1.
        confidence, accuracy: float64, (NUM_BINS,), means over the images of each bin; NaN where there are none.
        error: the expected calibration error: the mean over images of |accuracy - confidence| of their bin (C. Guo et
            al., *On Calibration of Modern Neural Networks*, 2017, arXiv 1706.04599).
        error_low, error_high: its 95 % interval, which on few images may leave the estimate out, by the basic
            bootstrap, which makes up for the bootstrap's own upward bias (A. Davison and D. Hinkley, *Bootstrap Methods
            and their Application*, 1997, section 2.4).
        brier: the mean over images of the squared distance between the probabilities and the truth, 0 to 2 (G. Brier,
            1950); None where the run keeps only the highest.
        accuracy_kept: float64, (101,), the accuracy on the most confident 0, 1, …, 100 % of the test images; NaN where
            none is kept.
    """

    num_images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float
    error_low: float
    error_high: float
    brier: float | None
    accuracy_kept: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folded:
    """Bins of confidence with enough images in each, float64 (num_bins,): how many images a seed, the means of their
    confidence and accuracy, and the 95 % Wilson interval of the latter, as of the images of one seed."""

    num_images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scaled:
    """What a run's test probabilities p are worth as softmax(ln p / temperature), with the one temperature that makes
    the log loss of its validation split the lowest (C. Guo et al., as above). It changes no predicted class, only how
    sure the run is of it: less above 1, more below.

    Attributes:
        temperature: no unit, from 1 / HIGHEST_TEMPERATURE to HIGHEST_TEMPERATURE.
        error, log_loss, brier: of the scaled test probabilities, as in `Calibration` and `Result`.
    """

    temperature: float
    error: float
    log_loss: float
    brier: float | None


def calibration(run: Run) -> Calibration:
    """Compare a run's confidence with its accuracy."""
    probabilities, labels = run.test_probabilities.astype(np.float64), run.test_labels
    num_images = len(labels)
    confidence = probabilities.max(axis=1)  # (num_images,)
    right = is_right(run).astype(np.float64)
    bins = _bins(confidence)
    over = confidence - right  # by how much each image was too confident
    error = _calibration_error(bins, over)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(num_images, size=num_images) for _ in range(NUM_CALIBRATION_RESAMPLES))
    errors = [_calibration_error(bins[rows], over[rows]) for rows in drawn]
    tail = (1 - CONFIDENCE) / 2
    low, high = 2 * error - np.quantile(errors, [1 - tail, tail])

    in_bin = np.bincount(bins, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):  # 0/0 in an empty bin
        mean_confidence = np.bincount(bins, confidence, NUM_BINS) / in_bin
        mean_accuracy = np.bincount(bins, right, NUM_BINS) / in_bin
    num_kept = np.round(np.linspace(0, 1, 101) * num_images).astype(np.int64)
    num_right = np.concatenate([[0], np.cumsum(right[np.argsort(-confidence, kind="stable")])])
    with np.errstate(invalid="ignore"):
        accuracy_kept = num_right[num_kept] / num_kept
    return Calibration(
        num_images=in_bin,
        confidence=mean_confidence,
        accuracy=mean_accuracy,
        error=error,
        error_low=max(0.0, float(low)),
        error_high=max(0.0, float(high)),
        brier=None if run.only_highest else brier_score(probabilities, labels),
        accuracy_kept=accuracy_kept,
    )


def folded(seeds: list[Calibration]) -> Folded:
    """The bins of all seeds together, of which those with few images are one with the next ones of more confidence, or
    at the end with the last."""
    counts = np.array([one.num_images for one in seeds])  # (num_seeds, NUM_BINS)
    sums = np.nansum([counts * [getattr(one, name) for one in seeds] for name in ("confidence", "accuracy")], axis=1)
    of_bins = np.vstack([counts.sum(axis=0), sums]) / len(seeds)  # (3, NUM_BINS), a seed
    least = max(LEAST_IN_BIN, LEAST_SHARE * of_bins[0].sum())
    groups = [np.zeros(3)]
    for one in of_bins.T:
        if groups[-1][0] >= least:
            groups.append(np.zeros(3))
        groups[-1] = groups[-1] + one
    if len(groups) > 1 and groups[-1][0] < least:
        last = groups.pop()
        groups[-1] = groups[-1] + last
    num_images, confidence, right = np.transpose(groups)
    return Folded(num_images, confidence / num_images, right / num_images, *wilson_of_each(right, num_images))


def log_loss_behind(first: list[Run], second: list[Run]) -> tuple[float, float, float]:
    """The log loss of the first seeds less that of the second ones, in nats an image, and its 95 % interval over the
    images, each with all its seeds."""
    losses = [
        np.mean(
            [-_logarithms(run.test_probabilities)[np.arange(len(run.test_labels)), run.test_labels] for run in runs], 0
        )
        for runs in (first, second)
    ]
    behind = losses[0] - losses[1]
    half = norm.isf((1 - CONFIDENCE) / 2) * behind.std(ddof=1) / np.sqrt(len(behind))
    return float(behind.mean()), float(behind.mean() - half), float(behind.mean() + half)


def scaled(run: Run) -> Scaled | None:
    """Fit a run's temperature by its validation split and apply it to the test set. None without such predictions: the
    test set is there to measure by, not to fit by."""
    temperature = fitted_temperature(run)
    if temperature is None:
        return None
    probabilities = at_temperature(run.test_probabilities, temperature)
    confidence = probabilities.max(axis=1)
    return Scaled(
        temperature=temperature,
        error=_calibration_error(_bins(confidence), confidence - is_right(run)),
        log_loss=log_loss(probabilities, run.test_labels),
        brier=brier_score(probabilities, run.test_labels),
    )


def fitted_temperature(run: Run) -> float | None:
    """The temperature of `Scaled`; None without predictions of a validation split, and where all of them are right: the
    surer the better they would be, without end."""
    if run.validation_probabilities is None or run.validation_labels is None:
        return None
    scores, labels = _logarithms(run.validation_probabilities), run.validation_labels
    if (scores.argmax(axis=1) == labels).all():
        return None
    bound = float(np.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(
        lambda log_temperature: log_loss(softmax(scores / np.exp(log_temperature), axis=1), labels),
        bounds=(-bound, bound),
        method="bounded",
    )
    return float(np.exp(found.x))


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What probabilities (num_images, num_classes) are worth, float64, as `Scaled` says."""
    return softmax(_logarithms(probabilities) / temperature, axis=1)


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of the squared distance between probabilities (num_images, num_classes) and the truth."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    """The natural logarithms of probabilities, float64; what float32 has rounded to 0 counts as in `log_loss`."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny), dtype=np.float64)


def _bins(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence, int64."""
    return np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def _calibration_error(bins: np.ndarray, over: np.ndarray) -> float:
    """The sum over bins of |sum of confidence - number right|, an image."""
    return float(np.abs(np.bincount(bins, over, NUM_BINS)).sum() / len(bins))
