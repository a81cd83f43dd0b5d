"""What labels buy: the test error by strategy and number of labels a class, and where strategies cross. As in
`metrics`, plain numbers of predictions alone."""

import collections
import dataclasses
import itertools
import statistics

import numpy as np
import numpy.typing as npt

from compare.findings.metrics import CONFIDENCE, is_right
from compare.runs.record import Run
from compare.runs.schema import Record

NUM_DRAWS = 2000  # of the bootstrap: with 63 runs on 10,000 images some half a second
DRAWS_AT_ONCE = 100  # a block of them takes 4 MB on 10,000 images


@dataclasses.dataclass(frozen=True)
class Point:
    """A strategy trained on one number of labels.

    Attributes:
        labels: labelled images of each class, training and validation together; of all labels their mean over classes.
        places: the runs, in the order of their seeds.
        seeds: what these are told apart by, as `seeds_of` has it.
        errors: of each run, the fraction of the test images that it has wrong.
        error: the mean of these.
        seconds: of training, features that another run had left in a cache counted as made anew, the median over the
            runs; None where that of one is not known.
        on_front: whether no other point, of any strategy, is at most as slow and at least as accurate, and better in
            one of these; False where `seconds` is None.
    """

    labels: float
    places: tuple[int, ...]
    seeds: tuple[int | None, ...]
    errors: tuple[float, ...]
    error: float
    seconds: float | None
    on_front: bool = False


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Runs alike in all but labels and seeds, as points of ascending numbers of labels."""

    points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Two strategies at a number of labels that both were trained on.

    Attributes:
        labels: as in `Point`.
        points_ahead, points_low, points_high: the first's mean accuracy less the second's, percentage points, and the
            95 % interval.
        num_ahead, num_paired: the seeds that both have, and of these those in which the first is more accurate.
        times_labels: how many times these labels the worse one needs to be as good as the better one is with them, by
            interpolation linear in the logarithm of the labels; None beyond the most that it was trained on.
        most_times: the most labels that the worse one was trained on, over these.
    """

    labels: float
    points_ahead: float
    points_low: float
    points_high: float
    num_ahead: int
    num_paired: int
    times_labels: float | None
    most_times: float

    @property
    def is_lead(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.points_low > 0 or self.points_high < 0


@dataclasses.dataclass(frozen=True)
class StrategyPair:
    """Two strategies, by their places in `LabelCurve.strategies`, at every number of labels that they share.

    Attributes:
        differences: of ascending labels, two or more.
        crossing: the labels a class at which the difference changes its sign for the last time, by interpolation linear
            in their logarithm between the two numbers beside it; None where it does not within what was tried.
        crossing_low, crossing_high: its 95 % interval. A draw without a crossing counts as infinity, above the most
            labels that were tried, if who leads before the crossing (or, without one, everywhere) leads with all of
            them, and as minus infinity, below the fewest, if the other one does.
    """

    first: int
    second: int
    differences: tuple[Difference, ...]
    crossing: float | None
    crossing_low: float
    crossing_high: float


@dataclasses.dataclass(frozen=True)
class LabelCurve:
    """Test error against labels a class.

    Attributes:
        strategies: pretrained ones first, those from scratch last; of each kind the best with the most labels first.
        pairs: every two that share two numbers of labels or more.
        headline: those of them that the verdict is about: the two best pretrained strategies, each with the best from
            scratch, or the first pair where there are none such.
    """

    strategies: tuple[Strategy, ...]
    pairs: tuple[StrategyPair, ...]
    headline: tuple[StrategyPair, ...]


def labels_of(record: Record) -> float | None:
    """A run's labels a class; None where it is not known how many images it had."""
    data = record.data
    if data.labels_per_class is not None:
        return data.labels_per_class
    num_labels = 0 if data.num_train is None else data.num_train + data.num_validation
    return num_labels / len(data.class_names) if num_labels else None


def strategy_of(record: Record) -> tuple[object, ...]:
    """What runs of the same strategy share."""
    model = record.model
    network = model and (model.name, model.start, model.trained)
    return record.branch, network, record.recipe.name, record.weights.kind, record.recipe.class_weights


def seeds_of(records: list[Record]) -> list[int | None]:
    """By what runs of the same settings are told apart: the seeds of their subsets of the labels or, where there are
    none or the same, of their trainings."""
    subsets = [record.data.subset_seed for record in records]
    return subsets if None not in subsets and len(set(subsets)) == len(subsets) else [one.seed for one in records]


def label_curve(runs: list[Run]) -> LabelCurve | None:
    """Compute the curve of runs on the same test set; None unless a strategy was trained on two numbers of labels."""
    places: dict[object, dict[float, list[int]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for place, run in enumerate(runs):
        if (labels := labels_of(run.record)) is not None:
            places[strategy_of(run.record)][labels].append(place)
    if all(len(by_labels) < 2 for by_labels in places.values()):
        return None
    strategies = [
        Strategy(tuple(_point(runs, labels, by_labels[labels]) for labels in sorted(by_labels)))
        for by_labels in places.values()
    ]
    every = [point for strategy in strategies for point in strategy.points]
    strategies = [
        Strategy(tuple(dataclasses.replace(point, on_front=_on_front(point, every)) for point in strategy.points))
        for strategy in strategies
    ]

    def record_of(strategy: Strategy) -> Record:
        return runs[strategy.points[0].places[0]].record

    def order(strategy: Strategy) -> tuple[bool, bool, float, float]:
        record, last = record_of(strategy), strategy.points[-1]
        return record.is_from_scratch, not record.is_pretrained, -last.labels, last.error

    strategies.sort(key=order)
    drawn = _drawn_errors(runs, every)
    pairs = []
    for first, second in itertools.combinations(range(len(strategies)), 2):
        shared = {point.labels for point in strategies[first].points} & {
            point.labels for point in strategies[second].points
        }
        if len(shared) > 1:
            pairs.append(_pair(strategies, first, second, shared, drawn))
    of_both_sides = [
        pair
        for pair in pairs
        if record_of(strategies[pair.first]).is_pretrained and record_of(strategies[pair.second]).is_from_scratch
    ]
    best = min((pair.second for pair in of_both_sides), default=None)
    headline = [pair for pair in of_both_sides if pair.second == best][:2] or pairs[:1]
    return LabelCurve(tuple(strategies), tuple(pairs), tuple(headline))


def lead_of_seeds(runs: list[Run], first: tuple[int, ...], second: tuple[int, ...]) -> tuple[float, float, float]:
    """The mean accuracy of a strategy's seeds less that of another's, given the places of each, percentage points, and
    the 95 % interval by the same bootstrap."""
    points = [_point(runs, 0, list(places)) for places in (first, second)]
    drawn = _drawn_errors(runs, points)
    ahead = _points_ahead(*(point.error for point in points))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_points_ahead(*(drawn[point.places] for point in points)), [tail, 1 - tail])
    return float(ahead), float(low), float(high)


def _point(runs: list[Run], labels: float, places: list[int]) -> Point:
    seeds = seeds_of([runs[place].record for place in places])
    in_order = sorted(range(len(places)), key=lambda index: (-1 if seeds[index] is None else seeds[index], index))
    errors = tuple(float((~is_right(runs[places[index]])).mean()) for index in in_order)
    return Point(
        labels=labels,
        places=tuple(places[index] for index in in_order),
        seeds=tuple(seeds[index] for index in in_order),
        errors=errors,
        error=statistics.fmean(errors),
        seconds=median_seconds([runs[place] for place in places]),
    )


def median_seconds(runs: list[Run]) -> float | None:
    """The median of the times that trainings took alone, in seconds; None where one is not known."""
    times = [run.record.seconds.training_alone for run in runs]
    known = [one for one in times if one is not None]
    return statistics.median(known) if len(known) == len(times) else None


def _on_front(point: Point, every: list[Point]) -> bool:
    if point.seconds is None:
        return False
    mine = point.seconds, point.error
    others = [(other.seconds, other.error) for other in every if other.seconds is not None]
    return not any(other != mine and other[0] <= mine[0] and other[1] <= mine[1] for other in others)


def _drawn_errors(runs: list[Run], points: list[Point]) -> dict[tuple[int, ...], np.ndarray]:
    """The mean error of every point, by its places, in each draw of the bootstrap, float64 (NUM_DRAWS,).

    A draw takes as many test images as there are, with replacement, the same for all runs, and as many seeds. The same
    seeds are drawn once for all points that have them, so that strategies are compared in pairs (B. Efron and R.
    Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 8).
    """
    random = np.random.default_rng(0)
    places = [place for point in points for place in point.places]
    wrong = np.stack([~is_right(runs[place]) for place in places], axis=1).astype(np.float32)  # (num_images, num_runs)
    num_images = len(wrong)
    blocks = []
    for _ in range(NUM_DRAWS // DRAWS_AT_ONCE):
        images = random.integers(num_images, size=(DRAWS_AT_ONCE, num_images))
        weights = np.stack(
            [np.bincount(of_draw, minlength=num_images) for of_draw in images]
        )  # how often each is drawn
        blocks.append(weights.astype(np.float32) @ wrong)  # (DRAWS_AT_ONCE, num_runs), whole numbers, exact in float32
    errors = dict(zip(places, np.concatenate(blocks).T.astype(np.float64) / num_images, strict=True))
    of_seeds, drawn = {}, {}
    for point in points:
        num_seeds = len(point.seeds)
        if point.seeds not in of_seeds:
            of_seeds[point.seeds] = random.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=NUM_DRAWS)
        of_runs = np.stack([errors[place] for place in point.places], axis=1)  # (NUM_DRAWS, num_seeds)
        drawn[point.places] = (of_seeds[point.seeds] * of_runs).sum(axis=1) / num_seeds
    return drawn


def _pair(
    strategies: list[Strategy], first: int, second: int, shared: set[float], drawn: dict[tuple[int, ...], np.ndarray]
) -> StrategyPair:
    both = [[point for point in strategies[place].points if point.labels in shared] for place in (first, second)]
    labels = np.array(sorted(shared))
    observed = _points_ahead(*([point.error for point in points] for points in both))  # (num_shared,)
    of_draws = _points_ahead(*(np.stack([drawn[point.places] for point in points], axis=1) for points in both))
    tail = (1 - CONFIDENCE) / 2
    lows, highs = np.quantile(of_draws, [tail, 1 - tail], axis=0)  # (num_shared,) each
    differences = []
    for mine, other, ahead, low, high in zip(*both, observed, lows, highs, strict=True):
        paired = list(zip(mine.errors, other.errors, strict=True)) if mine.seeds == other.seeds else None
        if paired is None:
            of_mine, of_other = (dict(zip(point.seeds, point.errors, strict=True)) for point in (mine, other))
            paired = [(of_mine[seed], of_other[seed]) for seed in of_mine.keys() & of_other.keys()]
        better, worse = (mine, strategies[second]) if ahead > 0 else (other, strategies[first])
        needed = _labels_for(worse, better) if ahead else better.labels
        differences.append(
            Difference(
                labels=mine.labels,
                points_ahead=float(ahead),
                points_low=float(low),
                points_high=float(high),
                num_ahead=sum(one < another for one, another in paired),
                num_paired=len(paired),
                times_labels=None if needed is None else needed / mine.labels,
                most_times=worse.points[-1].labels / mine.labels,
            )
        )
    signs = [sign for sign in np.sign(observed) if sign] or [0]
    leading = next((sign for sign in reversed(signs) if sign != signs[-1]), signs[-1])  # before the last change
    crossing = _crossings(labels, observed, leading)  # ()
    # order statistics, since nothing lies between a number and infinity
    low, high = np.quantile(_crossings(labels, of_draws, leading), [tail, 1 - tail], method="inverted_cdf")
    crosses_at = None if np.isinf(crossing) else float(crossing)
    return StrategyPair(first, second, tuple(differences), crosses_at, float(low), float(high))


def _points_ahead(first: npt.ArrayLike, second: npt.ArrayLike) -> np.ndarray:
    """The second errors less the first, percentage points; what rounding alone makes different is 0."""
    return np.round(100 * (np.asarray(second) - first), 9)


def _crossings(labels: np.ndarray, differences: np.ndarray, leading: float) -> np.ndarray:
    """Where differences, (…, num_labels), change their sign for the last time, as labels, (…,). Where they do not,
    infinity if their sign is `leading` everywhere, else minus infinity."""
    signs = np.sign(differences)
    for index in range(1, len(labels)):  # 0 has the sign before it, so that what comes to 0 and turns crosses there
        signs[..., index] = np.where(signs[..., index] == 0, signs[..., index - 1], signs[..., index])
    changes = signs[..., 1:] * signs[..., :-1] < 0  # (…, num_labels - 1)
    last = len(labels) - 2 - np.argmax(changes[..., ::-1], axis=-1)  # (…,)
    before, after = (np.take_along_axis(differences, (last + step)[..., None], -1)[..., 0] for step in (0, 1))
    crosses = changes.any(axis=-1)
    share = np.divide(before, before - after, out=np.zeros_like(before), where=crosses)  # of the way, in the logarithm
    crossings = labels[last] * (labels[last + 1] / labels[last]) ** share
    return np.where(crosses, crossings, np.where(signs[..., -1] == leading, np.inf, -np.inf))


def _labels_for(strategy: Strategy, goal: Point) -> float | None:
    """The labels, from the goal's on, with which a strategy that is worse there comes to the goal's mean error."""
    above = [point for point in strategy.points if point.labels >= goal.labels]
    for before, after in itertools.pairwise(above):
        if after.error <= goal.error:
            share = (before.error - goal.error) / (before.error - after.error)
            return before.labels * (after.labels / before.labels) ** share
    return None
