"""The label curve in words: what the page says first of it, its tables, its pictures, and the same for programs."""

import dataclasses
import itertools
import math
import statistics
from typing import Any

from compare.findings.findings import Findings
from compare.findings.label_curve import Difference, LabelCurve, StrategyPair, labels_of
from compare.page import cautions, figures, label_figures, pictures
from compare.page.language import for_report, joined, say
from compare.page.shown import Shown, curve_of, named, of_compared, strategy_names
from compare.page.words import LOGISTIC_REGRESSION, NOTHING, labels_in_words, with_three_digits
from compare.runs.schema import Record


def sentences(found: Findings) -> list[str]:
    """The verdict on what labels buy; nothing without a label curve."""
    curve = found.label_curve
    if curve is None:
        return []
    names = strategy_names(found)
    return [of_pair(pair, names[pair.first], names[pair.second]) for pair in curve.headline]


def of_pair(pair: StrategyPair, first: str, second: str) -> str:
    """Which of two strategies, called `first` and `second`, is ahead with how many labels. What an interval allows to
    be none is not called a lead."""
    differences = pair.differences
    signs = signs_of(pair)
    names = {1: {"better": first, "worse": second}, -1: {"better": second, "worse": first}}
    fewest, most = (labels_in_words(one.labels) for one in (differences[0], differences[-1]))
    if abs(sum(signs)) == len(signs):
        return say(
            "{better} is above {worse} by {first_lead} points {first_interval} at {fewest} labels a class and by "
            "{last_lead} {last_interval} at {most}.",
            fewest=fewest,
            most=most,
            first_lead=f"{abs(differences[0].points_ahead):.1f}",
            first_interval=_lead_interval(differences[0]),
            last_lead=f"{abs(differences[-1].points_ahead):.1f}",
            last_interval=_lead_interval(differences[-1]),
            **names[signs[0]],
        )
    ranges = {sign: _ranges(differences, [of == sign for of in signs]) for sign in (1, -1, 0)}
    leads = [sign for sign in signs if sign]
    where = None
    if pair.crossing is not None:
        where = crossing_in_words(pair, fewest, most)
        if leads and leads == sorted(leads, reverse=leads[0] > 0) and leads[0] != leads[-1]:
            text = say(
                "Up to about {crossing} labels a class ({interval}) {better} is above {worse}, and below it from there "
                "on",
                **where | names[leads[0]],
            )
            if not ranges[0]:
                return say("{parts}.", parts=text)
            chance = say("at {labels} the difference may be chance", labels=ranges[0])
            return say("{parts}.", parts=joined([text, chance], "; "))
    if not leads:
        return say(
            "At no number of labels tried, {fewest} to {most} a class, are {first} and {second} further apart than "
            "chance may bring them.",
            fewest=fewest,
            most=most,
            first=first,
            second=second,
        )
    parts = [
        say("with {labels} labels a class {better} is above {worse}", labels=ranges[sign], **names[sign])
        for sign in dict.fromkeys(leads)
    ]
    if ranges[0]:
        parts.append(say("with {labels} the difference may be chance", labels=ranges[0]))
    if where is not None:
        parts.append(say("their means cross for the last time at about {crossing} ({interval})", **where))
    return say(
        "Of the numbers of labels tried, {fewest} to {most}: {parts}.",
        fewest=fewest,
        most=most,
        parts=joined(parts, "; "),
    )


def signs_of(pair: StrategyPair) -> list[int]:
    """For each number of labels 1 where the first of the pair is ahead, -1 where the second is, 0 where none is."""
    return [int(math.copysign(one.is_lead, one.points_ahead)) for one in pair.differences]


def crossing_in_words(pair: StrategyPair, fewest: str, most: str) -> dict[str, str]:
    """A crossing and its interval, of which nothing is said beyond the fewest and the most labels tried."""
    beyond = {-math.inf: say("less than {number}", number=fewest), math.inf: say("more than {number}", number=most)}
    low, high = (beyond.get(end) or f"{end:,.0f}" for end in (pair.crossing_low, pair.crossing_high))
    crossing = NOTHING if pair.crossing is None else f"{pair.crossing:,.0f}"
    return {"crossing": crossing, "interval": say("95 % interval {low} to {high}", low=low, high=high)}


def _ranges(differences: tuple[Difference, ...], there: list[bool]) -> str:
    """The numbers of labels of some differences, three and more in a row by the first and the last."""
    parts: list[str] = []
    for those, some in itertools.groupby(zip(differences, there, strict=True), key=lambda both: both[1]):
        labels = [labels_in_words(one.labels) for one, _ in some]
        if those and len(labels) > 2:
            parts.append(say("{first} to {last}", first=labels[0], last=labels[-1]))
        elif those:
            parts += labels
    return joined(parts, " and ")


def _lead_interval(one: Difference) -> str:
    """The interval of a lead, from its nearer end to 0."""
    low, high = sorted((abs(one.points_low), abs(one.points_high)))
    return say("({low:.1f} to {high:.1f})", low=low, high=high)


def baselines(found: Findings) -> list[tuple[float, float]]:
    """Labels a class, ascending, and the test error of logistic regression on the pixels with them; none where the
    images are not at hand."""
    every = [point for strategy in curve_of(found).strategies for point in strategy.points]
    fitted = {point.labels: found.runs[point.places[0]].baseline for point in every}
    return sorted((labels, 1 - one.accuracy) for labels, one in fitted.items() if one is not None)


def to_draw(found: Findings, shown: list[Shown]) -> tuple[LabelCurve, list[str], list[int]]:
    """What the pictures of the label curve are drawn of: the curve, and its strategies' names and looks."""
    curve = curve_of(found)
    looks = [shown[strategy.points[0].places[0]].look for strategy in curve.strategies]
    return curve, strategy_names(found), looks


def drawn(found: Findings, shown: list[Shown]) -> list[dict[str, Any]]:
    """The pictures of the label curve; none without one."""
    curve = found.label_curve
    if curve is None:
        return []
    what = _, names, _ = to_draw(found, shown)
    front = sorted(
        (point.seconds, say("{run} with {labels}", run=name, labels=labels_in_words(point.labels)))
        for name, strategy in zip(names, curve.strategies, strict=True)
        for point in strategy.points
        if point.on_front
    )
    of_times = say(
        "Accuracy against training time; none as fast is as good as these, the fastest first: {parts}.",
        parts=joined((name for _, name in front), "; "),
    )
    with figures.drawing():
        errors = label_figures.label_curve(*what, baselines(found))
        made = [pictures.picture("label-curve", say("Test error against labels a class"), in_numbers(found), errors)]
        if front:
            times = label_figures.time_and_accuracy(*what, baselines(found))
            title = say("Accuracy against training time")
            if cautions.times_mislead(shown):
                title = say("Accuracy against training time, and times do not compare here")
            made.append(pictures.picture("time-and-accuracy", title, of_times, times))
    return made


def in_numbers(found: Findings) -> str:
    """The label curve as its ends and its crossings, without a word on who is ahead."""
    ends = {
        name: [(point.labels, point.error) for point in (strategy.points[0], strategy.points[-1])]
        for name, strategy in zip(strategy_names(found), curve_of(found).strategies, strict=True)
    }
    if points := baselines(found):
        ends[LOGISTIC_REGRESSION] = [points[0], points[-1]]
    parts = [
        say(
            "{run} {first:.4f} with {fewest} and {last:.4f} with {most}",
            run=name,
            first=first,
            fewest=labels_in_words(fewest),
            last=last,
            most=labels_in_words(most),
        )
        for name, ((fewest, first), (most, last)) in ends.items()
    ]
    return say("Test error by labels a class: {parts}.", parts=joined([*parts, *crossings(found)], "; "))


def crossings(found: Findings) -> list[str]:
    """Where the pairs that the verdict is about cross, in words."""
    names = strategy_names(found)
    said: list[str] = []
    for pair in curve_of(found).headline:
        fewest, most = (labels_in_words(pair.differences[end].labels) for end in (0, -1))
        both = {"first": names[pair.first], "second": names[pair.second]}
        where = crossing_in_words(pair, fewest, most)
        if pair.crossing is not None:
            text = say("{first} and {second} cross at about {crossing} labels a class ({interval})", **where, **both)
        elif pair.crossing_low == pair.crossing_high:
            text = say(
                "{first} and {second} cross nowhere between {fewest} and {most} labels a class",
                fewest=fewest,
                most=most,
                **both,
            )
        else:
            text = say(
                "{first} and {second} cross nowhere between {fewest} and {most} labels a class, but may ({interval})",
                fewest=fewest,
                most=most,
                interval=where["interval"],
                **both,
            )
        said.append(text)
    return said


def section(found: Findings, shown: list[Shown]) -> dict[str, Any] | None:
    """What the page says of the label curve in tables; None without one.

    `labels` are all numbers of labels, `strategies` has for each its name, one of its runs and a cell for each of these
    numbers, `baselines` a cell for each or nothing, `balanced` is like `strategies` where every class counts alike,
    nothing where that is the same, `pairs` for each its title and rows, `rest` says what the rest of the page is about.
    """
    curve = found.label_curve
    if curve is None:
        return None
    names = strategy_names(found)
    every = sorted({point.labels for strategy in curve.strategies for point in strategy.points})
    strategies = []
    for name, strategy in zip(names, curve.strategies, strict=True):
        cells = {point.labels: f"{point.error:.4f} ({len(point.seeds)})" for point in strategy.points}
        one = shown[strategy.points[0].places[0]]
        strategies.append((name, one, [cells.get(labels, NOTHING) for labels in every]))
    balanced = []
    for (name, one, _), strategy in zip(strategies, curve.strategies, strict=True):
        accuracies = {
            point.labels: [found.runs[place].result.balanced_accuracy for place in point.places]
            for point in strategy.points
        }
        cells = {labels: f"{1 - statistics.fmean(of):.4f} ({len(of)})" for labels, of in accuracies.items()}
        balanced.append((name, one, [cells.get(labels, NOTHING) for labels in every]))
    _, compared = of_compared(found, shown)
    rest = None
    if len(compared) < len(shown):
        data, number = compared[0].record.data, labels_of(compared[0].record)
        rest = say("All below is of {runs}", runs=joined(named(compared, compared)))
        if number is not None:
            rest = say(
                "All below is of {number} labels a class, where all learned from the same images",
                number=labels_in_words(number),
            )
        if data.num_train is not None:
            rest = say(
                "{rest}: {training:,} to train on, {validation:,} to validate with",
                rest=rest,
                training=data.num_train,
                validation=data.num_validation,
            )
        rest = say("{parts}.", parts=rest)
    ordered = [*curve.headline, *(pair for pair in curve.pairs if pair not in curve.headline)]
    return {
        "labels": [labels_in_words(labels) for labels in every],
        "strategies": strategies,
        "baselines": [f"{error:.4f}" for _, error in baselines(found)],
        "balanced": balanced if shown[0].result.is_unequal else [],
        "pairs": [
            (
                say("{first} less {second}", first=names[pair.first], second=names[pair.second]),
                [row(one) for one in pair.differences],
            )
            for pair in ordered
        ],
        "rest": rest,
    }


def row(one: Difference) -> list[str]:
    """A row of a pair's table: the labels, the difference, its interval, the share of draws, and the labels saved."""
    times = NOTHING
    if one.times_labels is not None:
        times = say("{number} times", number=with_three_digits(one.times_labels))
    elif one.most_times > 1:
        times = say("more than {number} times", number=with_three_digits(one.most_times))
    return [
        labels_in_words(one.labels),
        f"{one.points_ahead:+.2f}",
        say("{low:+.2f} to {high:+.2f}", low=one.points_low, high=one.points_high),
        say("{number} of {all}", number=one.num_ahead, all=one.num_paired),
        times,
    ]


def to_warn_of(found: Findings, shown: list[Shown]) -> list[tuple[str, Record]]:
    """What the warnings call the runs of a label curve, and a record of each that differs in what they are about: those
    that are compared first, and each strategy once."""
    names = {
        place: name
        for name, strategy in zip(strategy_names(found), curve_of(found).strategies, strict=True)
        for point in strategy.points
        for place in point.places
    }
    told: dict[tuple[str, str, bool | None], tuple[str, Record]] = {}
    for place in sorted(range(len(shown)), key=lambda place: place not in found.compared):
        record, name = shown[place].record, names.get(place, shown[place].label)
        told.setdefault((name, repr(record.overrides), record.stayed_frozen), (name, record))
    return list(told.values())


def as_json(found: Findings) -> dict[str, Any] | None:
    """The label curve for programs, runs by their places among `runs`; None without one. JSON has no infinity: an end
    of an interval that lies beyond what was tried is null, and a word says on which side."""
    curve = found.label_curve
    if curve is None:
        return None
    names = strategy_names(found)
    sides = {math.inf: "more than the most tried", -math.inf: "less than the fewest tried"}
    return {
        "strategies": [
            for_report("name", name) | dataclasses.asdict(strategy)
            for name, strategy in zip(names, curve.strategies, strict=True)
        ],
        "pairs": [
            dataclasses.asdict(pair)
            | {
                "first": names[pair.first],
                "second": names[pair.second],
                "crossing_low_is": sides.get(pair.crossing_low, "a number"),
                "crossing_high_is": sides.get(pair.crossing_high, "a number"),
            }
            for pair in curve.pairs
        ],
    }
