"""How long a training will take: by some measured steps before it, corrected while it lasts.

Seconds are pairs, float64 (2,): as they would be if every step were like the fastest fifth, and as they were on the
average. On a quiet machine both are alike. Beside other work the truth lies between, as nobody knows how long that
goes on.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from compare.system.display import duration

WIDE = 1.3  # the second of a pair over the first, from which on both are said


def measured(run: Callable[[], object], *, num_images: int, seconds: float = 1.0, warm_up: int = 1) -> np.ndarray:
    """The seconds an image that `run` takes, by running it a few times; longer where the spread is wide.

    Args:
        run: does its work on `num_images`, and returns when that is done.
        num_images: of one such run.
        seconds: how long to look; three times that where the times are far apart. Three times it runs at least.
        warm_up: runs before that, which do not count: the first one compiles, finds its memory, fills caches.
    """
    for _ in range(warm_up):
        run()
    times, begin = [], time.perf_counter()
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        times.append(now - start)
        pair = np.array([np.quantile(times, 0.2), np.mean(times)])
        if len(times) >= 3 and now - begin > seconds * (1 if pair[1] < WIDE * pair[0] else 3):
            return pair / num_images


def likely(pair: np.ndarray) -> float:
    """One number for a pair: between the two, as many times the one as the other is of it."""
    return float(np.sqrt(pair.prod()))


def side_by_side(pairs: Sequence[np.ndarray], places: Sequence[int], *, number: int) -> np.ndarray:
    """What trainings that take these seconds each take together in `number` places, each begun, in their order, as soon
    as as many are free as it takes: the pair of seconds until the last one ends."""
    free_from = np.zeros((number, 2))
    for pair, num_places in zip(pairs, places, strict=True):
        free_from.sort(axis=0)
        free_from[:num_places] = free_from[num_places - 1] + pair
    return free_from.max(axis=0)


def words(pair: np.ndarray) -> str:
    """A pair in words: `about 4 min 10 s`, or `6 min 0 s to 11 min 3 s, as the machine is busy`."""
    if pair[1] < WIDE * pair[0]:
        return f"about {duration(likely(pair))}"
    return f"{duration(pair[0])} to {duration(pair[1])}, as the machine is busy"
