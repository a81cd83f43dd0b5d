"""The first screen: a claim with its condition, its picture, three numbers, and what to distrust."""

import dataclasses
from statistics import fmean
from typing import Any, NamedTuple

from compare.findings.findings import Findings
from compare.findings.label_curve import StrategyPair, labels_of
from compare.findings.metrics import MORE_THAN_CHANCE
from compare.page import cautions, figures, label_figures, labels, pictures, verdict
from compare.page.audit import FAILED, NOT_RUN, Cell
from compare.page.banners import Banner
from compare.page.label_figures import Dot
from compare.page.language import say
from compare.page.shown import Shown, aside, by_seeds, label_of, of_compared, strategy_names, verdict_pair
from compare.page.words import NOTHING, data_in_words, duration, labels_in_words, network_in_words


@dataclasses.dataclass(frozen=True)
class Number:
    """One of the three: what it is, its value, and what qualifies it."""

    name: str
    value: str
    beside: str


@dataclasses.dataclass(frozen=True)
class Doubt:
    """A part of the line of trust, the place on the page with its evidence, and whether it voids the verdict."""

    text: str
    place: str
    is_grave: bool = False


def claim(found: Findings, shown: list[Shown]) -> str:
    """The answer in at most twenty words, with its condition."""
    if not shown:
        return say("No run has finished.")
    compared, runs = of_compared(found, shown)
    pair = compared.headline
    if pair is None:
        (one,) = shown
        return say(
            "{run} is right on {percent:.1f} % of the test images of {data}.",
            run=one.label,
            percent=100 * one.result.accuracy,
            data=data_in_words(one.record.data),
        )
    if reason := why_silent(found, shown):
        return say("No winner is named: {reason}.", reason=reason)
    if found.label_curve is not None and found.label_curve.headline:
        curve_pair, of_strategies = found.label_curve.headline[0], strategy_names(found)
        return of_labels(curve_pair, of_strategies[curve_pair.first], of_strategies[curve_pair.second])
    of_seeds = lead(found)
    first, second = runs[pair.first], runs[pair.second]
    names = (first.network, second.network) if first.network != second.network else (first.label, second.label)
    if pair.paired.p_value >= MORE_THAN_CHANCE or (of_seeds and of_seeds.points_low <= 0):
        return say("Neither {first} nor {second} is shown to be better.", first=names[0], second=names[1])
    if first.result.is_unequal and pair.balanced.points_high < 0:
        return say(
            "{first} beats {second} by {points:.1f} points on {data}; with every class counting alike {second} wins.",
            first=names[0],
            second=names[1],
            points=(of_seeds or pair.paired).points_ahead,
            data=data_in_words(first.record.data),
        )
    return say(
        "{first} beats {second} by {points:.1f} points on {data}.",
        first=names[0],
        second=names[1],
        points=pair.paired.points_ahead,
        data=data_in_words(first.record.data),
    )


def why_silent(found: Findings, shown: list[Shown]) -> str | None:
    """The gravest reason to name no winner, in few words; None where there is none."""
    reasons = verdict.no_winner_because(found, shown)
    pair = verdict_pair(*of_compared(found, shown))
    if not reasons:
        return None
    if reasons[0] == verdict.baseline_unbeaten(pair[0]):
        return say("{run} does not beat logistic regression on the pixels", run=pair[0].network)
    if reasons[0] == verdict.majority_unbeaten(pair[0]):
        return say("{run} does not beat always saying the most frequent class", run=pair[0].network)
    for one in pair:
        if reasons[0] == verdict.jumping(one):
            return say("{run} was still jumping at its end", run=one.network)
    return reasons[0]


def of_labels(pair: StrategyPair, first: str, second: str) -> str:
    """What the number of labels decides between two strategies, called `first` and `second`."""
    fewest, most = (labels_in_words(pair.differences[end].labels) for end in (0, -1))
    signs = labels.signs_of(pair)
    ahead = {1: {"better": first, "worse": second}, -1: {"better": second, "worse": first}}
    if abs(sum(signs)) == len(signs):
        return say(
            "{better} beats {worse} at every number of labels tried, {fewest} to {most} a class.",
            fewest=fewest,
            most=most,
            **ahead[signs[0]],
        )
    leads = [sign for sign in signs if sign]
    if not leads:
        return say(
            "From {fewest} to {most} labels a class, neither {first} nor {second} is shown to be better.",
            fewest=fewest,
            most=most,
            first=first,
            second=second,
        )
    if len(set(leads)) == 1:
        return say(
            "{better} beats {worse} at {number} of {all} numbers of labels; elsewhere chance may decide.",
            number=len(leads),
            all=len(signs),
            **ahead[leads[0]],
        )
    if pair.crossing is not None and leads == sorted(leads, reverse=leads[0] > 0):
        return say(
            "Up to about {crossing:,.0f} labels a class {better} is ahead, from there on {worse}.",
            crossing=pair.crossing,
            **ahead[leads[0]],
        )
    return say(
        "Whether {first} or {second} is ahead changes several times with the labels.", first=first, second=second
    )


class Lead(NamedTuple):
    """How far the first strategy of the verdict is ahead of the second, percentage points, with its 95 % interval, all
    seeds together."""

    points_ahead: float
    points_low: float
    points_high: float


def lead(found: Findings) -> Lead | None:
    """That of the label curve or, where it has not both strategies at the labels that they are compared with, that of
    the verdict's seeds; None where each has one."""
    if found.headline is None or found.headline.lead_of_seeds is None:
        return None
    alone = Lead(*found.headline.lead_of_seeds)
    if found.label_curve is None:
        return alone
    at = {
        place: (number, point.labels)
        for number, strategy in enumerate(found.label_curve.strategies)
        for point in strategy.points
        for place in point.places
    }
    both = at.get(found.headline.first), at.get(found.headline.second)
    for pair in found.label_curve.pairs:
        for one in pair.differences:
            first, second = (pair.first, one.labels), (pair.second, one.labels)
            if both == (first, second):
                return Lead(one.points_ahead, one.points_low, one.points_high)
            if both == (second, first):
                return Lead(-one.points_ahead, -one.points_high, -one.points_low)
    return alone


def numbers(found: Findings, shown: list[Shown]) -> list[Number]:
    """The best run's accuracy, beside it where classes are unequal the balanced one, its lead over the other that the
    verdict is about, and its time; of a label curve's strategies the means of their seeds."""
    if not shown:
        return []
    of_seeds, every = lead(found), found.runs
    found, shown = of_compared(found, shown)
    pair = found.headline
    best = shown[pair.first] if pair else shown[0]
    some = [every[place].result for place in best.seeds.places] if of_seeds else [best.result]
    names = {"accuracy": say("Test accuracy")}
    if best.result.is_unequal:
        names["balanced_accuracy"] = say("Balanced accuracy")
    found_numbers = []
    for name, words in names.items():
        value, low, high = (fmean(getattr(one, f"{name}{end}") for one in some) for end in ("", "_low", "_high"))
        found_numbers.append(Number(words, f"{value:.3f}", say("{low:.3f}–{high:.3f}", low=low, high=high)))
    timed = [best]
    if pair:
        ahead = of_seeds or pair.paired
        found_numbers.append(
            Number(
                say("Points ahead"),
                f"{ahead.points_ahead:+.1f}",
                say("{low:+.1f} to {high:+.1f}", low=ahead.points_low, high=ahead.points_high),
            )
        )
        timed.append(shown[pair.second])
    time, *other = (
        duration(one.seeds.seconds) if of_seeds else duration(one.record.seconds.training_alone) for one in timed
    )
    if time == NOTHING:
        return found_numbers
    beside = say("against {time}", time=other[0]) if other and other[0] != NOTHING else ""
    return [*found_numbers, Number(say("Training time"), time, beside)]


def subject(found: Findings, shown: list[Shown]) -> str:
    """Which runs the three numbers are of."""
    of_seeds, is_curve = lead(found), found.label_curve is not None
    found, shown = of_compared(found, shown)
    if found.headline is None:
        return shown[0].label if shown else ""
    first, second = shown[found.headline.first], shown[found.headline.second]
    number = labels_of(first.record)
    both = say("{first}, beside {second}", **verdict.called(first, second))
    if is_curve and number is not None:
        both = say(
            "{first}, beside {second}, with {labels} labels a class",
            first=network_in_words(first.record),
            second=network_in_words(second.record),
            labels=labels_in_words(number),
        )
    if of_seeds:
        both = say("{both}; seeds’ means, median times", both=both)
    return say("{both}; 95 % intervals", both=both)


def doubts(shown: list[Shown], checks: list[tuple[str, list[Cell]]], warnings: list[Banner]) -> list[Doubt]:
    """The line of trust: the seeds, the checks that failed or were not run, whether accuracy is that of the larger
    classes, whether times compare, the warnings."""
    if not shown:
        return [Doubt(warning.about, "warnings", warning.is_grave) for warning in warnings]
    counts = [len(group) for group in by_seeds(shown)]
    fewest, most = min(counts), max(counts)
    words = say("1 seed") if most == 1 else say("{number} seeds", number=most)
    if fewest < most:
        words = say("{fewest} to {most} seeds", fewest=fewest, most=most)
    said = [Doubt(words, "doubts")]
    states = [cell.state for _, cells in checks for cell in cells]
    if failed := states.count(FAILED):
        said.append(
            Doubt(say("1 check failed") if failed == 1 else say("{number} checks failed", number=failed), "audit")
        )
    if not_run := states.count(NOT_RUN):
        said.append(Doubt(say("{number} checks not run", number=not_run), "audit"))
    if not failed + not_run:
        said.append(Doubt(say("all checks passed"), "audit"))
    if shown[0].result.is_unequal:
        said.append(Doubt(say("classes of unequal size"), "summary"))
    if cautions.times_mislead(shown):
        said.append(Doubt(say("times do not compare"), "doubts"))
    grave = {warning.about: warning.is_grave for warning in sorted(warnings, key=lambda one: one.is_grave)}
    return said + [Doubt(about, "warnings", grave[about]) for about in dict.fromkeys(one.about for one in warnings)]


def drawn(found: Findings, shown: list[Shown]) -> list[dict[str, Any]]:
    """The picture beside the claim, accuracy against training time; none where the label curve stands there."""
    if not shown or found.label_curve is not None:
        return []
    dots = []
    behind = aside(found, shown)
    for group in by_seeds(shown):
        results, every = [one.result for one in group], [one.record.seconds.training_alone for one in group]
        times = [seconds for seconds in every if seconds is not None]
        dots.append(
            Dot(
                name=label_of(group),
                look=group[0].look,
                accuracies=[result.accuracy for result in results],
                low=sum(result.accuracy_low for result in results) / len(group),
                high=sum(result.accuracy_high for result in results) / len(group),
                seconds=None if None in every else times,
            )
        )
    # always saying the most frequent class is no rule here: it lies so far below that it would squeeze the rest
    fitted = dict.fromkeys((one.baseline.num_images, one.baseline.accuracy) for one in shown if one.baseline)
    rules = [(say("logistic regression"), accuracy) for _, accuracy in fitted]
    if shown[0].record.data.name == "fashion-mnist":
        rules.append((say("the article"), pictures.ARTICLE_ACCURACIES[-1]))
    title = say("Accuracy against training time") if label_figures.are_timed(dots) else say("Test accuracy")
    parts = [say("{run} {accuracy:.4f}", run=dot.name, accuracy=dot.accuracy) for dot in dots]
    with figures.drawing():
        figure = label_figures.accuracy_and_time(dots, rules, aside=behind)
        return [pictures.picture("accuracy-and-time", title, pictures.described(title, parts), figure)]
