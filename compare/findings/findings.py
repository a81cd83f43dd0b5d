"""Everything that is found of a list of runs, computed once: the page, `report.json`, `metrics.csv`, `--require` and
notebooks only arrange it."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import scipy.stats

from compare.data.images import Dataset
from compare.findings import history, metrics
from compare.findings.baseline import Baseline, baselines, majorities
from compare.findings.calibration import Calibration, Scaled, calibration, scaled
from compare.findings.label_curve import LabelCurve, label_curve, lead_of_seeds, median_seconds, strategy_of
from compare.findings.metrics import Balanced, Paired, Result, Suspect
from compare.findings.robustness import Robustness, robustness, robustness_ahead
from compare.runs import record
from compare.runs.record import Run
from compare.runs.schema import Record


@dataclasses.dataclass(frozen=True)
class RunFindings:
    """What is found of one run alone. `robustness` is None where it predicted no corrupted images, `scaled` where it
    kept no predictions of a validation split, `images_per_second` where that is not known, `baseline` where its images
    are not at hand, `majority` there and where the classes of the test set are about equal."""

    run: Run
    result: Result
    calibration: Calibration
    robustness: Robustness | None
    scaled: Scaled | None
    images_per_second: float | None
    baseline: Baseline | None
    majority: Baseline | None

    @property
    def record(self) -> Record:
        """The run's record."""
        return self.run.record


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Runs that differ in nothing but the seed, by their places, and their accuracies' mean and standard deviation (of
    a sample; None below three runs), the same of their balanced accuracies, and the median of their training times,
    seconds, to which one that was disturbed does nothing; None where one is not known."""

    places: tuple[int, ...]
    mean: float
    deviation: float | None
    balanced_mean: float
    balanced_deviation: float | None
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two runs, by their places, and how they compare image by image, and class by class."""

    first: int
    second: int
    paired: Paired
    balanced: Balanced


@dataclasses.dataclass(frozen=True)
class Headline(Pair):
    """The two runs that the verdict is about, the better one first.

    Attributes:
        classes_apart: the classes that tell them apart, as `metrics.classes_apart` has them.
        averaged: how the mean of both's probabilities compares with the first run; None where one keeps only the
            highest.
        num_confident_mistakes: of each, its confident mistakes.
        suspects: the test images that both are sure of, against the label.
        seeds: the seeds of each; None where they are seeds of the same settings, or one has no other seed.
        p_value_of_seeds: of Welch's t test of the accuracies of these; None where one's seeds all score alike, too.
        lead_of_seeds: how far the first's mean accuracy is ahead of the second's, and its interval, as
            `label_curve.lead_of_seeds` has it; None where each has one seed, or they are seeds of the same settings.
    """

    classes_apart: list[tuple[int, Paired]]
    averaged: Paired | None
    num_confident_mistakes: tuple[int, int]
    suspects: list[Suspect]
    seeds: tuple[Seeds, Seeds] | None
    p_value_of_seeds: float | None
    lead_of_seeds: tuple[float, float, float] | None


@dataclasses.dataclass(frozen=True)
class RobustPair:
    """Two runs on the same corrupted images, by their places, the more robust one first.

    Attributes:
        points_ahead, points_low, points_high: its mean accuracy less the second's, percentage points, and the 95 %
            interval.
        second_ahead: bool, (num_kinds, num_strengths), where the second's interval lies above the first's.
    """

    first: int
    second: int
    points_ahead: float
    points_low: float
    points_high: float
    second_ahead: np.ndarray


AnyPair = TypeVar("AnyPair", Pair, Headline, RobustPair)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What is found of runs on the same test set. Runs are named by their places in `runs`.

    Attributes:
        runs: of each run, in the order in which they came.
        seeds: the runs grouped by everything that was set but the seed.
        compared: the runs that are compared with each other: those of the same images, as `same_images` chooses them.
        pairs: the most accurate of these with each of the others.
        headline: of the verdict's two of them; None with less than two runs.
        same_corruptions: the runs that predicted the same corrupted images as the first that predicted any.
        robust_pair: the verdict's two of these; None with less than two.
        together: the classes in an order that puts those beside each other that the runs mix up.
        label_curve: the error by labels a class; None where no strategy was trained on several numbers of them.
    """

    runs: tuple[RunFindings, ...]
    seeds: tuple[Seeds, ...]
    compared: tuple[int, ...]
    pairs: tuple[Pair, ...]
    headline: Headline | None
    same_corruptions: tuple[int, ...]
    robust_pair: RobustPair | None
    together: tuple[int, ...]
    label_curve: LabelCurve | None

    @property
    def of_compared(self) -> "Findings":
        """What is found of the runs that are compared alone, where there are others, which the label curve has. `seeds`
        and the curve itself stay those of all runs."""
        if self.label_curve is None:
            return self
        place = {old: new for new, old in enumerate(self.compared)}

        def again(pair: AnyPair) -> AnyPair:
            return dataclasses.replace(pair, first=place[pair.first], second=place[pair.second])

        robust = self.robust_pair
        return dataclasses.replace(
            self,
            runs=tuple(self.runs[old] for old in self.compared),
            compared=tuple(place.values()),
            pairs=tuple(map(again, self.pairs)),
            headline=self.headline and again(self.headline),
            same_corruptions=tuple(place[old] for old in self.same_corruptions if old in place),
            robust_pair=again(robust) if robust and {robust.first, robust.second} <= place.keys() else None,
        )


def find(runs: list[Run], data: Dataset | None = None) -> Findings:
    """Compute everything about runs on the same test set: `record.check_comparable` sees to it that they are. `data` is
    what they trained on, where that is at hand: then each has a baseline."""
    found = tuple(map(_of_one, runs, baselines(runs, data), majorities(runs, data)))
    seeds = []
    for places in alike([run.record for run in runs]):
        results = [found[place].result for place in places]
        spread = _mean_and_deviation([one.accuracy for one in results])
        balanced_spread = _mean_and_deviation([one.balanced_accuracy for one in results])
        seconds = median_seconds([runs[place] for place in places])
        seeds.append(Seeds(tuple(places), *spread, *balanced_spread, seconds))
    compared = same_images(found, range(len(found)))
    means = {place: group.mean for group in seeds for place in group.places}
    ranked = sorted(compared, key=_merit(found, means))
    corrupted = {place: one.robustness for place, one in enumerate(found) if one.robustness is not None}
    same = tuple(place for place in corrupted if record.same_corruptions(runs[min(corrupted)], runs[place]))
    robust = two_to_compare(found, same_images(found, same), means) if len(same) > 1 else None
    counts = [one.result.counts for one in found]
    return Findings(
        runs=found,
        seeds=tuple(seeds),
        compared=tuple(compared),
        pairs=tuple(
            Pair(best, other, metrics.paired(runs[best], runs[other]), metrics.balanced(runs[best], runs[other]))
            for best, other in itertools.product(ranked[:1], ranked[1:])
        ),
        headline=_headline(found, seeds, two_to_compare(found, compared, means)) if len(runs) > 1 else None,
        same_corruptions=same,
        robust_pair=_robust_pair(found, corrupted, robust) if robust else None,
        together=tuple(metrics.confused_together(np.sum(counts, axis=0)).tolist()) if runs else (),
        label_curve=label_curve(runs),
    )


def _mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 2 else None


def _of_one(run: Run, baseline: Baseline | None, majority: Baseline | None) -> RunFindings:
    return RunFindings(
        run=run,
        result=metrics.evaluate(run),
        calibration=calibration(run),
        robustness=robustness(run),
        scaled=scaled(run),
        images_per_second=history.images_per_second(run.record.history),
        baseline=baseline,
        majority=majority,
    )


def alike(records: list[Record]) -> list[list[int]]:
    """Which of these runs differ in nothing but the seed, as lists of their places. One that repeats a seed begins
    another list. As many labels of every class, drawn by several seeds, are seeds of the same settings, too."""
    groups: dict[tuple[object, int], list[int]] = {}
    for index, one in enumerate(records):
        settings = (
            *(one.branch, repr(one.model and one.model.title), repr(one.recipe), len(one.history)),
            *(one.weights.kind, one.weights.sha256, one.data.labels_per_class or one.data.split_fingerprint),
            one.stayed_frozen,  # a frozen part that did not stay as it was is another setting
        )
        repeats = 0
        seeds = [(record.seed, record.data.subset_seed) for record in records]
        while any(seeds[other] == seeds[index] for other in groups.get((settings, repeats), [])):
            repeats += 1
        groups.setdefault((settings, repeats), []).append(index)
    return list(groups.values())


def same_images(found: tuple[RunFindings, ...], places: Iterable[int]) -> list[int]:
    """Those of these runs that a comparison is fair between, as they took the same labelled images: the group that has
    two strategies, or else two runs, with the most labels a class and then the lowest seed; all where no group has
    two."""
    groups: dict[tuple[float, int], list[int]] = {}
    for place in places:
        data = found[place].record.data
        groups.setdefault((data.labels_per_class or math.inf, -(data.subset_seed or 0)), []).append(place)

    def worth(group: tuple[float, int]) -> tuple[float, ...]:
        num_strategies = len({strategy_of(found[place].record) for place in groups[group]})
        return num_strategies > 1, len(groups[group]) > 1, *group

    best = max(groups, key=worth, default=None)
    return groups[best] if best and len(groups[best]) > 1 else list(places)


def _merit(found: tuple[RunFindings, ...], means: dict[int, float]) -> Callable[[int], tuple[float, float]]:
    """By what the best of runs comes first, given the mean accuracy of each one's seeds: by that, then by its own."""
    return lambda place: (-means[place], -found[place].result.accuracy)


def two_to_compare(found: tuple[RunFindings, ...], places: Iterable[int], means: dict[int, float]) -> tuple[int, int]:
    """The two of these runs that a verdict is about, the better one first: the best that was trained from scratch and
    the best that was not, a pretrained one where there is one, since nothing has taught the others' frozen part; or the
    two best where all are of one side. `means` are of each one's seeds."""
    ranked = sorted(places, key=_merit(found, means))
    scratch = [place for place in ranked if found[place].record.is_from_scratch]
    others = [place for place in ranked if not found[place].record.is_from_scratch]
    if scratch and others:
        of_each = scratch[0], next((place for place in others if found[place].record.is_pretrained), others[0])
        ranked = sorted(of_each, key=ranked.index)
    return ranked[0], ranked[1]


def _headline(found: tuple[RunFindings, ...], seeds: list[Seeds], places: tuple[int, int]) -> Headline:
    first, second = places
    one, other = found[first].run, found[second].run
    mine, theirs = (next(group for group in seeds if place in group.places) for place in places)
    num_seeds = len(mine.places), len(theirs.places)
    of_both = p_value = of_means = None
    if mine is not theirs and max(num_seeds) > 1:
        of_means = lead_of_seeds([one.run for one in found], mine.places, theirs.places)
    if mine is not theirs and min(num_seeds) > 1:
        of_both = mine, theirs
        accuracies = [[found[place].result.accuracy for place in group.places] for group in of_both]
        if all(len(set(of_group)) > 1 for of_group in accuracies):  # without any spread there is no test
            p_value = float(scipy.stats.ttest_ind(*accuracies, equal_var=False).pvalue)
    return Headline(
        first=first,
        second=second,
        paired=metrics.paired(one, other),
        balanced=metrics.balanced(one, other),
        classes_apart=metrics.classes_apart(one, other),
        averaged=None if one.only_highest or other.only_highest else metrics.paired(metrics.averaged(one, other), one),
        num_confident_mistakes=(metrics.num_confident_mistakes(one), metrics.num_confident_mistakes(other)),
        suspects=metrics.suspects(one, other),
        seeds=of_both,
        p_value_of_seeds=p_value,
        lead_of_seeds=of_means,
    )


def _robust_pair(found: tuple[RunFindings, ...], of_each: dict[int, Robustness], pair: tuple[int, int]) -> RobustPair:
    first, second = sorted(pair, key=lambda place: -of_each[place].mean)
    ahead = robustness_ahead(found[first].run, found[second].run)
    return RobustPair(first, second, *ahead, second_ahead=of_each[second].low > of_each[first].high)
