"""How runs do on corrupted copies of their test images: from the classes that they predicted for these."""

import dataclasses

import numpy as np

from compare.findings.metrics import CONFIDENCE, NUM_RESAMPLES, is_right, wilson
from compare.runs.record import Run


@dataclasses.dataclass(frozen=True)
class Robustness:
    """How one run does on corrupted copies of `num_images` of its test images (`compare.corruptions`).

    Attributes:
        clean, clean_low, clean_high: the accuracy on the same images as they are, and its 95 % Wilson interval.
        accuracy, low, high: float64, (num_kinds, num_strengths), that on the copies, and its interval likewise.
        mean: the accuracy over all copies, kinds and strengths alike: 1 less the mean corruption error of D. Hendrycks
            and T. Dietterich (2019, arXiv 1903.12261), which they divide by that of another network.
        mean_low, mean_high: its 95 % interval, by the bootstrap: the images are drawn anew, each with all its copies.
        retained: `mean` as a fraction of `clean`; NaN where that is 0.
    """

    num_images: int
    clean: float
    clean_low: float
    clean_high: float
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: float
    mean_low: float
    mean_high: float
    retained: float


def robustness(run: Run) -> Robustness | None:
    """Compute how a run does on corrupted images; None where it predicted none."""
    if run.robustness_rows is None:
        return None
    right = _right_on_copies(run)
    num_kinds, num_strengths, num_images = right.shape
    clean = is_right(run)[run.robustness_rows]
    low, high = np.array([wilson(number, num_images) for number in right.sum(axis=2).ravel()]).T
    mean_low, mean_high = bootstrap_interval(right.mean(axis=(0, 1)))
    clean_low, clean_high = wilson(clean.sum(), num_images)
    return Robustness(
        num_images=num_images,
        clean=float(clean.mean()),
        clean_low=clean_low,
        clean_high=clean_high,
        accuracy=right.mean(axis=2),
        low=low.reshape(num_kinds, num_strengths),
        high=high.reshape(num_kinds, num_strengths),
        mean=float(right.mean()),
        mean_low=mean_low,
        mean_high=mean_high,
        retained=float(right.mean() / clean.mean()) if clean.any() else float("nan"),
    )


def robustness_ahead(first: Run, second: Run) -> tuple[float, float, float]:
    """The first run's mean accuracy on corrupted copies less the second's, in percentage points, and its 95 % interval
    by the paired bootstrap over images. They must have predicted the same copies: `record.same_corruptions` tells."""
    points = 100 * (_right_on_copies(first).mean(axis=(0, 1)) - _right_on_copies(second).mean(axis=(0, 1)))
    return (float(points.mean()), *bootstrap_interval(points))


def _right_on_copies(run: Run) -> np.ndarray:
    """Whether the class predicted for each copy is the true one, bool (num_kinds, num_strengths, num_images)."""
    return np.asarray(run.robustness_predicted) == run.test_labels[run.robustness_rows]


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of values, (num_images,), of which few are different."""
    # Drawing images with replacement is drawing how often each value comes: one multinomial draw a resample.
    different, counts = np.unique(values.round(9), return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(values), counts / len(values), size=NUM_RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn @ different / len(values), [tail, 1 - tail])
    return float(low), float(high)
