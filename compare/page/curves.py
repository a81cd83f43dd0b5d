"""The curves of a training, drawn from the records' history rows."""

import dataclasses
import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator

from compare.page.figures import BASELINE_LINE, DRAWN, Figure, band, line_of, mark_of
from compare.page.language import known, say
from compare.page.line_ends import WIDTH, End, lines_of, with_names
from compare.runs.schema import Row

PRINTED = say("the article, printed")
MOST_MARKERS = 12  # on a curve
# accuracies that are further apart, and losses of a larger ratio, are drawn on axes stretched towards 1 and towards 0
FAR_APART, LARGE_RATIO = 0.35, 10
ACCURACY_TICKS = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 1)


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the curves of one run, or of runs that differ in their seeds alone, are drawn from.

    Attributes:
        label: what they are called.
        look: how they look.
        histories: each record's history rows, as many in all.
        watched: the split that was watched after every epoch: test or validation; None if none was.
        seconds_before: what the features that each found had taken another run to make.
    """

    label: str
    look: int
    histories: list[list[Row]]
    watched: str | None
    seconds_before: list[float]

    @property
    def splits(self) -> list[str]:
        """The splits with a curve: train, where its loss is known, and the watched one if any."""
        known_train = all(row.train_loss is not None for history in self.histories for row in history)
        return [split for split in ("train" if known_train else None, self.watched) if split is not None]

    @property
    def seconds(self) -> np.ndarray:
        """The time that training had taken after each epoch, float64 (num_seeds, num_epochs)."""
        return np.array(self.seconds_before)[:, np.newaxis] + self.values("seconds").cumsum(axis=1)

    def values(self, name: str) -> np.ndarray:
        """A column of the histories, float64 (num_seeds, num_epochs); NaN where it is None."""
        return np.array([[getattr(row, name) for row in history] for history in self.histories], np.float64)


def accuracy_curves(
    curves: list[Curves],
    *,
    over: str,
    baselines: tuple[tuple[str, float], ...] = (),
    printed: tuple[float, ...] = (),
    aside: frozenset[int] = frozenset(),
) -> Figure:
    """The accuracies of all runs. The axis begins below the lowest, in steps of 0.05. Where they are far apart, it is
    stretched towards 1: equal steps are equal ratios of errors, nearly, so that the best are not one line at its top.

    Args:
        curves: the runs.
        over: what they are drawn over, epochs or time.
        baselines: names and accuracies of what is drawn as a level line.
        printed: accuracies that the article's program printed after its first, second, … epoch, to be dotted in.
        aside: the looks of runs that are put aside.
    """
    figure, axes, ends = _curves(curves, "accuracy", say("Accuracy"), over)
    if printed and over == "epochs":
        epochs = range(1, len(printed) + 1)
        axes.plot(epochs, printed, color=DRAWN.muted, linestyle=":", linewidth=1.6, label=PRINTED)
        ends.append((lines_of(PRINTED), (epochs[-1], printed[-1]), None))
    for name, accuracy in baselines:
        axes.axhline(accuracy, label=name, **BASELINE_LINE)
        ends.append((lines_of(name), (axes.get_xlim()[1], accuracy), None))
    values = [*_values(curves, "accuracy"), *printed, *(accuracy for _, accuracy in baselines)]
    if values:
        if max(values) - min(values) > FAR_APART:
            beyond = 1.03  # where the axis would end: nearer to 1, and that alone would take the most room
            axes.set_yscale("function", functions=(lambda a: -np.log(beyond - a), lambda y: beyond - np.exp(-y)))
            axes.yaxis.set_major_locator(FixedLocator(ACCURACY_TICKS))
        axes.set_ylim(max(0, np.floor(min(values) * 20 - 0.2) / 20), min(1.005, max(values) + 0.02))
    return with_names(figure, axes, ends, aside=aside)


def loss_curves(curves: list[Curves], *, over: str, aside: frozenset[int] = frozenset()) -> Figure:
    """The losses of all runs over epochs or time, in nats an image, from 0; where the highest is far above the lowest,
    on a logarithmic axis. Runs of the looks in `aside` are put aside."""
    figure, axes, ends = _curves(curves, "loss", say("Loss (nats an image)"), over)
    values = [value for value in _values(curves, "loss") if np.isfinite(value)]
    lowest, highest = min(values, default=0), max(values, default=0)
    if lowest > 0 and highest > LARGE_RATIO * lowest:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_ylim(0.8 * lowest, 1.25 * highest)
    else:
        axes.set_ylim(0, 1.06 * highest or 1)  # room for the marker of the highest
    return with_names(figure, axes, ends, aside=aside)


def _curves(curves: list[Curves], quantity: str, words: str, over: str) -> tuple[Figure, Axes, list[End]]:
    """A figure, its axes and the names that its lines are to have, each with its place and look: for every run a
    dashed train line and a solid line of the watched split, a ring around the best of these, and a vertical line where
    another phase of training begins; of several seeds the mean, in a band from the lowest to the highest."""
    curves = [run for run in curves if run.histories[0]]
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    in_minutes = max((run.seconds[:, -1].max() for run in curves), default=0) >= 300
    reach: list[float] = []
    names: list[End] = []
    for run in curves:
        x = np.array([row.epoch for row in run.histories[0]])
        if over == "time":
            x = run.seconds.mean(axis=0) / (60 if in_minutes else 1)
        reach += [x[0], x[-1]]
        for split in run.splits:
            line = line_of(run.look) | {"markevery": -(-len(x) // MOST_MARKERS)}
            line |= {"label": say("{run}, {split}", run=run.label, split=known(split, of="split"))}
            if split == "train":
                line |= {"linestyle": "--", "fillstyle": "none", "linewidth": 1}
            if split != run.splits[-1]:
                line |= mark_of(run.look)
            values = run.values(f"{split}_{quantity}")
            y = values.mean(axis=0)
            axes.plot(x, y, **line)
            if len(values) > 1:
                band(axes, x, values.min(axis=0), values.max(axis=0), run.look)
            if split == run.watched and len(y) > 1:
                best = int(np.argmax(y) if quantity == "accuracy" else np.argmin(y))
                ring: dict[str, Any] = {"fillstyle": "none", "markersize": 10, "label": "_best"} | mark_of(run.look)
                axes.plot(x[best], y[best], "o", **ring)
        names.append((lines_of(run.label), (x[-1], y[-1]), run.look))
        for index, (before, after) in enumerate(itertools.pairwise(run.histories[0])):
            if before.phase != after.phase:
                between = (x[index] + x[index + 1]) / 2
                axes.axvline(between, linewidth=1, linestyle=(0, (1, 2)), **mark_of(run.look))
    axes.set_ylabel(words)
    low, high = min(reach, default=1), max(reach, default=1)
    if over == "epochs":
        axes.set_xlabel(say("Epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
        margin = max(0.04 * (high - low), 0.15)
        axes.set_xlim(low - margin, high + margin)
    else:
        axes.set_xlabel(say("Training time (minutes)") if in_minutes else say("Training time (seconds)"))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_xlim(0, 1.04 * high)
    return figure, axes, names


def _values(curves: list[Curves], quantity: str) -> list[float]:
    """Every value that the curves of `quantity` or their bands reach."""
    return [value for run in curves for split in run.splits for value in run.values(f"{split}_{quantity}").flat]
