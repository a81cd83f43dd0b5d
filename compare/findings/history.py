"""What the rows of a training say: how it ended, how fast it was."""

import dataclasses
import itertools
import math

from scipy.stats import norm

from compare.findings.metrics import MORE_THAN_CHANCE, is_right
from compare.runs.record import Run
from compare.runs.schema import Record, Row

LAST_EPOCHS = 3  # in which a curve should be quiet


@dataclasses.dataclass(frozen=True)
class Fall:
    """An epoch that lost accuracy on the watched images: which one, how many percentage points, and how many images
    were watched."""

    epoch: int
    points: float
    num_images: int


def fall_at_the_end(record: Record) -> Fall | None:
    """The largest fall of the watched accuracy from one epoch to the next within the last `LAST_EPOCHS`, of those that
    the choice of watched images does not explain; None without one, and of less than three epochs.

    By the z test of two proportions, as if the epochs erred independently of each other. They err on the same images,
    mostly, so that this calls a curve quiet rather than jumping. Only falls count: a curve that climbs is another
    matter. So are a solver's rows, and those before fine-tuning begins.
    """
    num_images = record.data.num_test if record.watched == "test" else record.data.num_validation
    steps = [row for row in record.history if row.penalty is None and row.phase == record.history[-1].phase]
    if record.watched is None or not num_images or len(steps) < 3:
        return None
    falls = []
    for before, after in itertools.pairwise(steps[-1 - LAST_EPOCHS :]):
        high, low = (getattr(row, f"{record.watched}_accuracy") for row in (before, after))
        mean = (high + low) / 2
        if high - low > norm.isf(MORE_THAN_CHANCE / 2) * math.sqrt(2 * mean * (1 - mean) / num_images):
            falls.append(Fall(after.epoch, 100 * (high - low), num_images))
    return max(falls, key=lambda fall: fall.points, default=None)


def seconds_to_accuracy(run: Run, accuracy: float) -> float | None:
    """The seconds of training until the test accuracy was first seen to be `accuracy` or more; None if it never was.

    A run that does not watch the test set after every epoch is seen once, at its end.
    """
    seconds = 0.0
    for row in run.record.history:
        seconds += row.seconds or 0.0
        if (row.test_accuracy or 0) >= accuracy:
            return seconds
    return seconds if is_right(run).mean() >= accuracy else None


def images_per_second(history: list[Row]) -> float | None:
    """The training speed over all epochs: the harmonic mean of the epochs' speeds, as each epoch has as many images.

    None without an epoch, or where one's is not known.
    """
    speeds = [row.images_per_second for row in history if row.images_per_second is not None]
    return len(speeds) / sum(1 / speed for speed in speeds) if speeds and len(speeds) == len(history) else None
