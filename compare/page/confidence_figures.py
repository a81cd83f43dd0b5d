"""Whether confidence can be trusted, and how runs do on corrupted images, as pictures."""

import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MaxNLocator, NullLocator

from compare.findings.calibration import Calibration, folded
from compare.findings.robustness import Robustness
from compare.page.figures import DRAWN, Figure, band, laid_out, line_of, mark_of
from compare.page.language import say
from compare.page.line_ends import NAMES, WIDTH, lines_of, named_beside, named_outside, spread, with_names

MARKED = (80, 90)  # per cent of the images kept, whose errors are written
LEAST_KEPT = 60  # per cent: where fewer are kept there are too few errors to draw
CLEAR = {"facecolor": DRAWN.background, "edgecolor": "none", "alpha": 0.7, "pad": 0.5}  # behind a number
PANEL = (1.9, 1.75)  # inches
AROUND = (0.44, 0.4, 0.07, 0.34)  # a panel's axes, inches: to its left, below, to its right, above


def reliability(runs: list[tuple[str, int, list[Calibration]]], *, aside: frozenset[int] = frozenset()) -> Figure:
    """Accuracy against confidence for each run, a label, a look and the calibration of every seed, all seeds' images
    taken together: on the diagonal a confidence is worth what it says. The more images, the larger the mark; each has
    its 95 % interval. Runs of the looks in `aside` are put aside."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=DRAWN.muted, linestyle=":", linewidth=1.2, label=say("as confident as right"))
    lowest, ends = 1.0, []
    for label, look, seeds in runs:
        bins = folded(seeds)
        lowest = min(lowest, bins.confidence[0], bins.low.min())
        line = line_of(look)
        axes.plot(bins.confidence, bins.accuracy, **line | {"marker": "", "linewidth": 1.2}, label=label)
        axes.vlines(bins.confidence, bins.low, bins.high, linewidth=1, alpha=0.6, **mark_of(look))
        sizes = 10 + 150 * bins.num_images / bins.num_images.sum()
        axes.scatter(bins.confidence, bins.accuracy, sizes, marker=line["marker"], linewidths=0, **mark_of(look))
        ends.append((lines_of(label), (bins.confidence[-1], bins.accuracy[-1]), look))
    low = max(0, np.floor(lowest * 10) / 10)
    axes.set(xlabel=say("Confidence"), ylabel=say("Accuracy"), xlim=(low - 0.03, 1.03), ylim=(low - 0.02, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return with_names(figure, axes, ends, aside=aside)


def selective(runs: list[tuple[str, int, list[Calibration]]], *, aside: frozenset[int] = frozenset()) -> Figure:
    """The share that is wrong of the images that each run, a label, a look and the calibration of every seed, is most
    confident of, against how many these are; of several seeds the mean, in a band from the lowest to the highest. Runs
    of the looks in `aside` are put aside."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    ends, numbers, drawn = [], [], []
    for label, look, seeds in runs:
        errors = 100 * np.array([1 - one.accuracy_kept[LEAST_KEPT:] for one in seeds])  # (num_seeds, 41)
        kept, mean = np.arange(LEAST_KEPT, 101), errors.mean(axis=0)
        mean[mean == 0] = np.nan  # a logarithmic axis lacks 0
        drawn += mean[np.isfinite(mean)].tolist()
        places = [percent - LEAST_KEPT for percent in (*MARKED, 100)]
        axes.plot(kept, mean, **line_of(look) | {"markevery": places}, label=label)
        if len(seeds) > 1:
            band(axes, kept, errors.min(axis=0), errors.max(axis=0), look)
        if np.isfinite(mean[-1]):
            lines = lines_of(label)
            ends.append(([*lines, f"{mean[-1]:.1f} %"], (100, mean[-1]), look))
        for place in places[:-1]:
            if np.isfinite(mean[place]):
                numbers.append(([f"{mean[place]:.1f}"], (kept[place], mean[place]), DRAWN.colour(look)))
    for percent in MARKED:
        axes.axvline(percent, color=DRAWN.muted, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set(xlabel=say("Images kept, the surest first (%)"), ylabel=say("Wrong among these"), xlim=(LEAST_KEPT, 101))
    axes.xaxis.set_major_locator(FixedLocator([LEAST_KEPT, *MARKED, 100]))
    if drawn:
        axes.set(yscale="log", ylim=(max(min(drawn), max(drawn) / 1000) / 1.2, max(drawn) * 1.3))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.yaxis.set_minor_locator(NullLocator())
    beside = [named_beside(axes, *number, side="left", bbox=CLEAR) for number in numbers] if not aside else []
    return with_names(figure, axes, ends, aside=aside, beside=beside)


def robustness(
    runs: list[tuple[str, int, list[Robustness]]], titles: list[str], *, aside: frozenset[int] = frozenset()
) -> Figure:
    """Accuracy against the strength of corruption, 0 being the images as they are, for each run, a label, a look and
    the robustness of every seed: the means, in bands of their 95 % intervals. A panel for every kind of corruption, in
    a row, with its title; shaded where another run is ahead of the best on clean images, their intervals apart. Runs of
    the looks in `aside` are put aside."""
    width, height = PANEL
    figure = Figure(figsize=(width * len(titles) + 1.7, height))
    left, below, right, above = AROUND
    curves = [_with_clean(seeds) for _, _, seeds in runs]
    best = max(curves, key=lambda curve: curve[0, 0, 0])
    lowest = min(curve[1].min() for curve in curves)
    strengths = np.arange(best.shape[2])
    for index, title in enumerate(titles):
        axes = figure.add_axes(
            (
                (index * width + left) / figure.get_figwidth(),
                below / height,
                (width - left - right) / figure.get_figwidth(),
                (height - below - above) / height,
            )
        )
        for strength in strengths:
            if any(curve[1, index, strength] > best[2, index, strength] for curve in curves):
                axes.axvspan(strength - 0.5, strength + 0.5, color=DRAWN.muted, alpha=0.18, linewidth=0)
        for (label, look, _), (accuracy, low, high) in zip(runs, curves, strict=True):
            axes.plot(strengths, accuracy[index], **line_of(look), label=label)
            band(axes, strengths, low[index], high[index], look)
        axes.set_title(title, fontsize=NAMES, loc="left", x=0.05 - left / (width - left - right))
        axes.set(ylim=(np.floor(lowest * 10) / 10 - 0.02, 1.02), xlim=(-0.5, strengths[-1] + 0.5))
        axes.xaxis.set_major_locator(FixedLocator(strengths.tolist()))
        axes.xaxis.set_major_formatter(FixedFormatter(["0", *map(str, strengths[1:])]))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=NAMES)
        axes.set_xlabel(say("Strength"), fontsize=NAMES, labelpad=1)
    ends = [
        named_outside(axes, lines_of(label), (strengths[-1], accuracy[-1, -1]), look)
        for (label, look, _), (accuracy, _, _) in zip(runs, curves, strict=True)
    ]
    laid_out(figure)
    figure.put_aside(aside)
    spread([lines for lines in ends if lines[0].get_visible()])
    return figure


def panels(num_kinds: int) -> list[str]:
    """The view boxes of the panels of `robustness`, in points."""
    width, height = (72 * inches for inches in PANEL)
    return [f"{index * width:g} 0 {width:g} {height:g}" for index in range(num_kinds)]


def _with_clean(seeds: list[Robustness]) -> np.ndarray:
    """The mean of seeds' accuracies, lows and highs, of the clean images and of the copies, (3, num_kinds, 1 +
    num_strengths)."""
    of_each = (((one.clean, one.accuracy), (one.clean_low, one.low), (one.clean_high, one.high)) for one in seeds)
    return np.mean([[[[clean, *line] for line in copies] for clean, copies in of_one] for of_one in of_each], axis=0)
