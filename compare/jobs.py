"""How many trainings at a time, and what of the machine each of them has: `--jobs`.

Of all that is settled here the result of a training on processors depends on its number of threads alone, in its last
bits.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compare import plan
from compare.plan import MAX_TRAININGS, Training
from compare.system import environment
from compare.system.command import whole_number
from compare.system.errors import UserError
from compare.training.options import SHARED

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    import numpy as np

Asked = int | Literal["auto", "ray"]
Expected = dict[str, dict[str, Any]]  # what each training takes, by its name, as its check told: `ESTIMATE`
Ahead = list[tuple[Training, Sequence[str]]]  # trainings, each with the words that bring it to its end
# What twice the threads bring, as a power of two: `tuned` from scratch is 1.66 times as fast on both of two cores as on
# one beside a training on the other (tests/benchmarks/jobs.py large).
SCALING = 0.75
# Of what its check did a training holds at most so much: 1.25 times from scratch, 1.27 frozen, 1.33 fine-tuned.
MEMORY_GROWS = 1.35
WORTH = 0.95  # of the time that fewer at a time take, for `auto` to take more: they need more memory


@dataclasses.dataclass(frozen=True)
class Jobs:
    """How many at a time.

    Attributes:
        number: of trainings at a time.
        num_cores: that all of them share.
        threads_asked: of each, by the user's word; None without one.
        gpus: what `CUDA_VISIBLE_DEVICES` calls those that trainings are given in turn; none without.
        begun: by name, the threads of the trainings that go on, which they keep.
        on_ray: whether they train on a cluster (`compare.cluster`).
    """

    number: int = 1
    num_cores: int = 1
    threads_asked: int | None = None
    gpus: tuple[str, ...] = ()
    begun: dict[str, int] = dataclasses.field(default_factory=dict)
    on_ray: bool = False

    @property
    def num_threads(self) -> int:
        """The threads of a training that begins anew."""
        return self.threads_asked or max(1, self.num_cores // self.number)

    @property
    def words(self) -> str:
        """All of this in words."""
        if self.number == 1:
            return "one after the other"
        threads = f"{self.num_threads} thread{'s' * (self.num_threads > 1)}"
        where = f" on {len(self.gpus)} GPUs" * bool(self.gpus) + " on Ray, if its nodes are like this one" * self.on_ray
        return f"{self.number} at a time with {threads} each{where}"

    def num_places(self, name: str) -> int:
        """How many of the `number` places a training takes: several where it goes on with more threads than are meant
        for each. Two that wait for a core at every step's barriers crawl."""
        num_threads = self.begun.get(name, self.num_threads)
        return min(self.number, math.ceil(num_threads / self.num_threads))

    def environment(self, training: Training, words: Sequence[str], *, place: int = 0) -> dict[str, str]:
        """What is its own of the environment of a training in that place, counted from 0; nothing where it is alone."""
        if self.number == 1:
            return {}
        found = {} if "--resume" in words else {environment.THREADS: str(self.num_threads)}
        is_on_gpu = bool(self.gpus) and takes_any_gpu(training)
        if is_on_gpu:
            found["CUDA_VISIBLE_DEVICES"] = self.gpus[place % len(self.gpus)]
        if not is_on_gpu or self.number > len(self.gpus):
            found[SHARED] = "1"
        return found


def asked(text: str) -> Asked:
    """The argparse type of `--jobs`."""
    advice = "say auto for as many as end the soonest here, or ray for a cluster"
    words: dict[str, Asked] = {"auto": "auto", "ray": "ray"}
    return words.get(text) or whole_number("--jobs", 1, advice, maximum=MAX_TRAININGS)(text)


def at_most(jobs: Asked, ahead: Ahead, runs: Path) -> Jobs:
    """How many of these trainings at a time, their runs below `runs`, if there is memory for them, and of `auto` the
    most: with so many threads each they are checked."""
    from compare import cluster
    from compare.runs import checkpoint
    from compare.system import machine

    if jobs == 1 or (jobs != "ray" and len(ahead) < 2):
        return Jobs()
    load, threads_asked = environment.Load(), environment.threads_asked()
    begun = {}
    for training, words in ahead:
        if "--resume" in words:
            so_far = checkpoint.read_unfinished_run(runs / training.name).record  # None is for the check to refuse
            begun[training.name] = (so_far and so_far.num_threads) or 1
    if jobs == "ray":
        return cluster.at_most(ahead, begun)
    gpus = tuple(machine.visible_gpus()) if any(takes_any_gpu(training) for training, _ in ahead) else ()
    num_cores = load.num_cores_free()
    number = jobs if isinstance(jobs, int) else len(gpus) or max(1, num_cores // (threads_asked or 1))
    return Jobs(min(number, len(ahead)), num_cores, threads_asked, gpus, begun)


def settled(jobs: Asked, most: Jobs, expected: Expected) -> tuple[Jobs, Expected]:
    """How many trainings at a time, and what each takes then.

    Args:
        jobs: as was asked for.
        most: what `at_most` gave.
        expected: what each training takes, in the order in which they begin.

    Raises:
        UserError: there is no memory for as many as were asked for.
    """
    from compare.system import machine

    if jobs == "ray":
        return most, expected
    free = machine.available_memory_bytes()
    needed = sorted(MEMORY_GROWS * told["memory"] for told in expected.values())
    fit = next(number for number in range(most.number, 0, -1) if number == 1 or sum(needed[-number:]) <= free)
    if jobs != "auto" and fit < most.number:
        total = sum(needed[-most.number :])
        raise UserError(
            f"--jobs {jobs}, and {most.number} of these trainings take about {total / 1e9:.1f} GB, of "
            f"{free / 1e9:.1f} GB that are free",
            "memory for all that train at a time",
            f"say --jobs {fit} or auto, or end what else runs",
        )
    numbers = range(1, fit + 1) if jobs == "auto" and not most.gpus else [fit]
    found, soonest = most, math.inf
    for number in numbers:
        other = dataclasses.replace(most, number=number)
        seconds = together(other, slowed(expected, most, other))[1]
        if seconds < WORTH * soonest:
            found, soonest = other, seconds
    return found, slowed(expected, most, found)


def slowed(expected: Expected, checked: Jobs, jobs: Jobs) -> Expected:
    """What trainings are expected to take at so many at a time that were `checked` alone, with the threads of another
    number: their epochs go by their threads, what comes before these does not, and all by the threads that share a
    core."""
    import numpy as np

    crowd = max(1.0, jobs.number * jobs.num_threads / jobs.num_cores)
    crowd /= max(1.0, checked.num_threads / jobs.num_cores)
    factor, found = crowd * (checked.num_threads / jobs.num_threads) ** SCALING, {}
    for name, told in expected.items():
        epochs = np.array(told["epochs"]) * (crowd if name in jobs.begun else factor)  # (num_epochs + 1, 2)
        before = crowd * (np.array(told["seconds"]) - np.sum(told["epochs"], axis=0))
        found[name] = told | {"epochs": epochs.tolist(), "seconds": (before + epochs.sum(axis=0)).tolist()}
    return found


def together(jobs: Jobs, expected: Expected) -> "np.ndarray":
    """The seconds until the last of these trainings ends, as a pair, float64 (2,) (`estimate`)."""
    import numpy as np

    from compare.training import estimate

    pairs = [np.array(told["seconds"]) for told in expected.values()]
    return estimate.side_by_side(pairs, list(map(jobs.num_places, expected)), number=jobs.number)


def takes_any_gpu(training: Training) -> bool:
    """Whether a training takes what GPU it sees, as none is named to it."""
    return plan.by_option(training.words).get("--device", ["auto"])[-1:] in (["auto"], ["cuda"])
