"""The label curve as pictures: errors against labels, and accuracies against the time of training."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MaxNLocator, NullLocator

from compare.findings.label_curve import LabelCurve
from compare.page.figures import BASELINE_LINE, DRAWN, MARKERS, Figure, laid_out, marker_of
from compare.page.language import say
from compare.page.line_ends import LINE, NAMES, WIDTH, lines_of, named_beside, spread
from compare.page.words import LOGISTIC_REGRESSION, labels_in_words

NEAREST_NAMES = 0.09  # of the axis, between two numbers of labels that are both named below it
NEAR_TOGETHER, FAR_APART = 4, 30  # the largest over the smallest
NEAR_TIMES = 1.2  # the longest training over the shortest: up to that, runs stand beside each other
FAR_BELOW = 0.3  # the best accuracy: what is drawn as an arrow
ROOM = (38, 14)  # of a number beside a point, dots at 100 an inch


@dataclasses.dataclass(frozen=True)
class Dot:
    """Seeds of the same settings in `accuracy_and_time`.

    Attributes:
        name: what they are called.
        look: how they look.
        accuracies: of each, fractions.
        low, high: of the 95 % interval; of several seeds the means of theirs.
        seconds: the training time of each; None where one is not known.
    """

    name: str
    look: int
    accuracies: list[float]
    low: float
    high: float
    seconds: list[float] | None

    @property
    def accuracy(self) -> float:
        """The mean."""
        return float(np.mean(self.accuracies))


def label_curve(
    curve: LabelCurve, names: list[str], looks: list[int], baselines: Sequence[tuple[float, float]] = ()
) -> Figure:
    """The test error against labels a class: a line for each strategy through the means, in a band of its seeds, which
    are dots; where the strategies of `curve.headline` cross, a vertical line in the band of its interval. Below, by how
    many points the first of each pair is ahead of the second.

    Args:
        curve: what is drawn.
        names: of the strategies.
        looks: theirs.
        baselines: labels a class, ascending, and the test error of logistic regression on the pixels with them.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes, below = figure.subplots(2, sharex=True, height_ratios=[5, 2])
    beside_lines = []
    every = sorted({point.labels for strategy in curve.strategies for point in strategy.points})
    reach = (every[-1] / every[0]) ** 0.04
    low, high = every[0] / reach, every[-1] * reach  # of the axis
    for strategy, name, look in zip(curve.strategies, names, looks, strict=True):
        colour, labels = DRAWN.colour(look), [point.labels for point in strategy.points]
        for point in strategy.points:
            axes.plot([point.labels] * len(point.errors), point.errors, ".", color=colour, alpha=0.35, markersize=4)
        lowest, highest = ([of(point.errors) for point in strategy.points] for of in (min, max))
        axes.fill_between(labels, lowest, highest, color=colour, alpha=0.18, linewidth=0)
        marker = MARKERS[marker_of(look)]
        axes.plot(labels, [point.error for point in strategy.points], color=colour, marker=marker, label=name, **LINE)
        last = next(
            (point for point in reversed(strategy.points) if point.error), strategy.points[-1]
        )  # the axis lacks 0
        beside_lines.append(named_beside(axes, lines_of(name), (last.labels, last.error), colour, side="outside"))
    if baselines:
        axes.plot(*zip(*baselines, strict=True), label=LOGISTIC_REGRESSION, **BASELINE_LINE)
        lines = [say("logistic regression"), say("on the pixels")]
        beside_lines.append(named_beside(axes, lines, baselines[-1], DRAWN.muted, side="outside"))
    axes.set(ylabel=say("Test error"), xscale="log", xlim=(low, high))
    _logarithmic(axes.yaxis, [error for line in axes.lines for error in line.get_ydata()])
    for index, pair in enumerate(curve.headline):
        look = looks[pair.first]
        colour = DRAWN.colour(look)
        if pair.crossing is not None:
            for panel in (axes, below):
                panel.axvspan(max(pair.crossing_low, low), min(pair.crossing_high, high), color=colour, alpha=0.1, lw=0)
                panel.axvline(pair.crossing, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
            on_left = pair.crossing > math.sqrt(low * high)
            axes.annotate(
                say("even at {labels}", labels=labels_in_words(pair.crossing)),
                (pair.crossing, 1),
                (-3 if on_left else 3, -9),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right" if on_left else "left",
                color=colour,
                fontsize=NAMES,
            )
        beside = (every[-1] / every[0]) ** (0.008 * (index - (len(curve.headline) - 1) / 2))  # not one on the other
        labels = [one.labels * beside for one in pair.differences]
        ahead, *ends = np.array([[one.points_ahead, one.points_low, one.points_high] for one in pair.differences]).T
        below.vlines(labels, *ends, color=colour, linewidth=1.2)
        below.plot(labels, ahead, color=colour, marker=MARKERS[marker_of(look)], markersize=4, linewidth=1)
    named = every[:1]
    for number in every[1:]:
        if number > named[-1] * (high / low) ** NEAREST_NAMES:
            named = [*named, number]
    below.xaxis.set_major_locator(FixedLocator(every))
    below.xaxis.set_major_formatter(FixedFormatter([labels_in_words(one) if one in named else "" for one in every]))
    below.xaxis.set_minor_locator(NullLocator())
    below.set(xlabel=say("Labels a class"), ylabel=say("Points ahead"))
    below.axhline(0, color=DRAWN.muted, linewidth=1)
    if curve.headline:
        below.set_title(say("Ahead of {network}", network=names[curve.headline[0].second]), fontsize=NAMES, loc="left")
    laid_out(figure)
    spread(beside_lines)
    return figure


def time_and_accuracy(
    curve: LabelCurve, names: list[str], looks: list[int], baselines: Sequence[tuple[float, float]] = ()
) -> Figure:
    """The accuracy of every strategy and number of labels against its training time: the arguments as above, of the
    baselines the one with the most labels is a level line. Those that none is both as fast and as good as are ringed,
    joined, and marked with their labels a class."""
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    front, beside_lines = [], []
    at_the_edge: dict[str, Any] = {"side": "outside", "xycoords": ("axes fraction", "data")}
    for strategy, name, look in zip(curve.strategies, names, looks, strict=True):
        points = [(point.seconds, point) for point in strategy.points if point.seconds is not None]
        times, accuracies = [seconds for seconds, _ in points], [1 - point.error for _, point in points]
        colour, marker = DRAWN.colour(look), MARKERS[marker_of(look)]
        axes.plot(times, accuracies, color=colour, marker=marker, label=name, **LINE | {"linewidth": 0.7})
        if points:
            beside_lines.append(named_beside(axes, lines_of(name), (1, accuracies[-1]), colour, **at_the_edge))
        front += [(time, 1 - point.error, labels_in_words(point.labels)) for time, point in points if point.on_front]
    front.sort()
    ring: dict[str, Any] = {"marker": "o", "fillstyle": "none", "markersize": 11, "markeredgewidth": 1}
    axes.plot(
        [seconds for seconds, _, _ in front],
        [accuracy for _, accuracy, _ in front],
        drawstyle="steps-post",
        linestyle=":",
        color=DRAWN.text,
        label=say("ringed: nothing faster is as good; labels a class"),
        **ring,
    )
    axes.set(xlabel=say("Training time (seconds)"), ylabel=say("Accuracy"))
    _logarithmic(axes.xaxis, [x for line in axes.lines for x in np.asarray(line.get_xdata())])
    for _, error in baselines[-1:]:
        axes.axhline(1 - error, label=LOGISTIC_REGRESSION, **BASELINE_LINE)
        words = [say("logistic regression"), say("on the pixels")]
        beside_lines.append(named_beside(axes, words, (1, 1 - error), DRAWN.muted, **at_the_edge))
    axes.margins(0.08)
    last = np.array([np.inf, np.inf])
    for x, y, number in reversed(front):  # the best first: of names that would lie on each other its own is written
        place = axes.transData.transform((x, y))
        if (np.abs(place - last) > ROOM).any():
            axes.annotate(number, (x, y), (-6, 6), textcoords="offset points", ha="right", fontsize=NAMES)
            last = place
    lines, labels = axes.get_legend_handles_labels()
    ringed = slice(len(names), len(names) + 1)
    figure.legend(lines[ringed], labels[ringed], loc="outside lower left", fontsize=NAMES, handlelength=3)
    laid_out(figure)
    spread(beside_lines)
    return figure


def are_timed(dots: list[Dot]) -> bool:
    """Whether `accuracy_and_time` draws times: all are known, and not so near that dots would lie on one another."""
    means = [float(np.mean(dot.seconds)) for dot in dots if dot.seconds]
    return len(means) == len(dots) and (len(dots) == 1 or max(means) > NEAR_TIMES * min(means))


def accuracy_and_time(
    dots: list[Dot], rules: Sequence[tuple[str, float]], *, aside: frozenset[int] = frozenset()
) -> Figure:
    """Accuracies against training times: every seed a faint dot, their mean a marker with its interval and its name.
    What lies far below the best is an arrow at the edge, with its accuracy.

    Args:
        dots: what is drawn.
        rules: names and accuracies that are drawn as level lines, but for those that lie far below.
        aside: the looks of those that are grey and without a name.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    timed = are_timed(dots)
    best = max(dot.accuracy for dot in dots)
    inside = [dot for dot in dots if dot.accuracy > best - FAR_BELOW]
    rules = [(name, accuracy) for name, accuracy in rules if accuracy > best - FAR_BELOW]
    low = min([*(dot.low for dot in inside), *(accuracy for _, accuracy in rules)])
    low -= (0.06 if len(inside) == len(dots) else 0.25) * (best - low) + 0.002  # room for what lies below
    times = [
        dot.seconds if timed and dot.seconds else [float(place)] * len(dot.accuracies) for place, dot in enumerate(dots)
    ]
    middle = math.sqrt(min(map(min, times)) * max(map(max, times))) if timed else (len(dots) - 1) / 2
    names = []
    for dot, seconds in zip(dots, times, strict=True):
        x, y, colour, marker = (
            float(np.mean(seconds)),
            dot.accuracy,
            DRAWN.grid if dot.look in aside else DRAWN.colour(dot.look),
            MARKERS[marker_of(dot.look)],
        )
        lines = lines_of(dot.name)
        if dot in inside:
            axes.plot(seconds, dot.accuracies, ".", color=colour, alpha=0.35, markersize=5)
            axes.vlines(x, dot.low, dot.high, color=colour, linewidth=1.6)
        else:
            lines, marker = [*lines, f"{y:.3f}"], "v"
            y = low + 0.1 * (best - low)
        axes.plot(x, y, marker=marker, color=colour, markersize=7)
        if dot.look not in aside:
            names.append(named_beside(axes, lines, (x, y), colour, side="right" if x <= middle else "left"))
    for name, accuracy in rules:
        axes.axhline(accuracy, **BASELINE_LINE)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data")}
        names.append(named_beside(axes, [name, f"{accuracy:.3f}"], (1, accuracy), DRAWN.muted, side="outside", **place))
    axes.set(ylabel=say("Test accuracy"), ylim=(low, None))
    if timed:
        every = [seconds for of_dot in times for seconds in of_dot]
        axes.set_xlabel(say("Training time (seconds)"))
        _logarithmic(axes.xaxis, every)
        axes.set_xlim(min(every) / 1.5, max(every) * 1.5)
    else:
        axes.xaxis.set_visible(False)
        axes.margins(x=0.2)
    laid_out(figure)
    spread(names)
    return figure


def _logarithmic(axis: XAxis | YAxis, values: list[float]) -> None:
    """Make an axis of values from 0 on logarithmic, with a few round numbers beside it."""
    positive = [value for value in values if value > 0]
    if not positive:
        return
    {"x": axis.axes.set_xscale, "y": axis.axes.set_yscale}[axis.axis_name]("log")
    ratio = max(positive) / min(positive)
    narrow = axis.axis_name == "x" and ratio > 8  # numbers stand beside each other there
    subs: Sequence[float] | None = (1,) if narrow and ratio > 300 else (1, 3) if narrow or ratio > 1000 else None
    subs = subs or ((1, 2, 5) if ratio > FAR_APART else (1, 2, 3, 5))
    # there may be none of these between
    axis.set_major_locator(MaxNLocator(4) if ratio < NEAR_TOGETHER else LogLocator(subs=subs))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_locator(NullLocator())
