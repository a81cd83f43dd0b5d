"""The report's pictures, drawn from what `metrics` returns and from the records' history rows.

They are drawn once, in the colours of a light page; `pictures` puts the page's own in their place. Colours are told
apart by all common kinds of colour vision and are never the only sign: a run also has its own marker, and train curves
are dashed. The same input gives the same bytes.
"""

import contextlib
import dataclasses
import io
import itertools
import re
import warnings
from collections.abc import Iterator

import matplotlib.figure
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.ticker import FixedLocator, LogFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from compare.findings.calibration import NUM_BINS, Calibration
from compare.findings.robustness import Robustness
from compare.page import fonts
from compare.page.language import known, say
from compare.runs.schema import Row

PNG_WIDTH = 1120  # pixels
PRINTED = say("what the article's program printed, test")
# curves whose legend names train and the watched split apart; of more it would be half the picture
MOST_NAMED_TWICE = 4
MOST_WITH_TRAIN = 12  # curves beside which those of the training images are drawn, too
MOST_MARKERS = 30  # on a curve
MOST_IN_COLUMN, LONGEST_IN_COLUMN = 10, 32  # names in a column of a legend, and letters of a name beside another one
# accuracies that are further apart, and losses of a larger ratio, are drawn on axes stretched towards 1 and towards 0
FAR_APART, LARGE_RATIO = 0.35, 10
ACCURACY_TICKS = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 1)
MARKERS = ("o", "s", "^", "D", "v", "P")
# A look is a number, which stands for a colour of Style.runs and a marker. A side, from scratch or not, has the same in
# every report, also where it stands alone.
NUM_LOOKS = len(MARKERS) ** 2


@dataclasses.dataclass(frozen=True)
class Style:
    """The colours of a page: background, text, grid lines, runs, and a matrix's largest value."""

    background: str
    text: str
    muted: str
    grid: str
    runs: tuple[str, ...]
    largest: str

    def colour(self, look: int) -> str:
        """The colour of a look."""
        return self.runs[look % len(self.runs)]

    @property
    def variables(self) -> dict[str, str]:
        """Each colour by the name of its variable in the page's style sheet."""
        named = {"background": self.background, "text": self.text, "muted": self.muted, "line": self.grid}
        looks = {f"look-{look}": colour for look, colour in enumerate(self.runs)}
        return {f"--{name}": colour for name, colour in (named | {"largest": self.largest} | looks).items()}


STYLES = {
    "light": Style(
        background="#ffffff",
        text="#1c2024",
        muted="#60646c",
        grid="#e3e5e8",
        runs=("#0062b1", "#c24e00", "#007a5e", "#9c3d86", "#6b5b00", "#4d4d4d"),
        largest="#3d1f78",
    ),
    "dark": Style(
        background="#15181c",
        text="#e8eaed",
        muted="#a0a6ae",
        grid="#2f343b",
        runs=("#5cb3f2", "#ff9d57", "#3fcfa4", "#e58fd0", "#d9c64a", "#c2c2c2"),
        largest="#a98aff",
    ),
}
DRAWN = STYLES["light"]  # what pictures are drawn in
BASELINE_LINE = {"color": DRAWN.muted, "linestyle": (0, (6, 2, 1, 2)), "linewidth": 1.2}


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows by itself, as it shows a DataFrame, without `%matplotlib inline`."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The PNG, and how large it is shown: in pixels of a screen, of which there are 96 to an inch."""
        with drawing():
            picture = png(self)
        width, height = self.get_size_inches()
        return picture, {"width": round(96 * width), "height": round(96 * height)}


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the curves of one run, or of runs that differ in their seeds alone, are drawn from.

    Attributes:
        label: what the legend calls them.
        look: how they look.
        histories: each record's history rows, as many in all.
        watched: the split that was watched after every epoch: test or validation; None if none was.
        seconds_before: what the features that each found had taken another run to make.
        with_train: whether the training images have a curve beside the watched split's.
    """

    label: str
    look: int
    histories: list[list[Row]]
    watched: str | None
    seconds_before: list[float]
    with_train: bool = True

    @property
    def splits(self) -> list[str]:
        """The splits with a curve: train, where its loss is known, and the watched one if any."""
        known_train = all(row.train_loss is not None for history in self.histories for row in history)
        trained = known_train and (self.with_train or self.watched is None)
        return [split for split in ("train" if trained else None, self.watched) if split is not None]

    @property
    def seconds(self) -> np.ndarray:
        """The time that training had taken after each epoch, float64 (num_seeds, num_epochs)."""
        return np.array(self.seconds_before)[:, np.newaxis] + self.values("seconds").cumsum(axis=1)

    def values(self, name: str) -> np.ndarray:
        """A column of the histories, float64 (num_seeds, num_epochs); NaN where it is None."""
        return np.array([[getattr(row, name) for row in history] for history in self.histories], np.float64)


def looks(from_scratch: list[bool]) -> list[int]:
    """A look for each run, given whether it was trained from scratch: its side's own for the first of it, else the next
    that no side owns."""
    chosen = []
    others = itertools.cycle(range(2, NUM_LOOKS))
    for is_from_scratch in from_scratch:
        own = 0 if is_from_scratch else 1
        chosen.append(next(others) if own in chosen else own)
    return chosen


def marker_of(look: int) -> int:
    """The marker of a look, an index into MARKERS: where all colours are used, each once more with another one."""
    return (look + look // len(MARKERS)) % len(MARKERS)


def accuracy_curves(
    curves: list[Curves],
    *,
    over: str,
    baselines: tuple[tuple[str, float], ...] = (),
    printed: tuple[float, ...] = (),
) -> Figure:
    """The accuracies of all runs. The axis begins below the lowest, in steps of 0.05. Where they are far apart, it is
    stretched towards 1: equal steps are equal ratios of errors, nearly, so that the best are not one line at its top.

    Args:
        curves: the runs.
        over: what they are drawn over, epochs or time.
        baselines: names and accuracies of what is drawn as a level line.
        printed: accuracies that the article's program printed after its first, second, … epoch, to be dotted in.
    """
    figure, axes = _curves(curves, "accuracy", say("Accuracy"), over)
    if printed and over == "epochs":
        epochs = range(1, len(printed) + 1)
        axes.plot(epochs, printed, color=DRAWN.muted, linestyle=":", linewidth=1.6, label=PRINTED)
    for name, accuracy in baselines:
        axes.axhline(accuracy, label=name, **BASELINE_LINE)
    values = [*_values(curves, "accuracy"), *printed, *(accuracy for _, accuracy in baselines)]
    if values:
        if max(values) - min(values) > FAR_APART:
            beyond = 1.03  # where the axis would end: nearer to 1, and that alone would take the most room
            axes.set_yscale("function", functions=(lambda a: -np.log(beyond - a), lambda y: beyond - np.exp(-y)))
            axes.yaxis.set_major_locator(FixedLocator(ACCURACY_TICKS))
        axes.set_ylim(max(0, np.floor(min(values) * 20 - 0.2) / 20), min(1.005, max(values) + 0.02))
    return _finish(figure, axes)


def loss_curves(curves: list[Curves], *, over: str) -> Figure:
    """The losses of all runs over epochs or time, in nats an image, from 0; where the highest is far above the lowest,
    on a logarithmic axis."""
    figure, axes = _curves(curves, "loss", say("Loss (nats an image)"), over)
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
    return _finish(figure, axes)


def reliability(runs: list[tuple[str, int, list[Calibration]]]) -> Figure:
    """Accuracy against confidence for each run, a label, a look and the calibration of every seed, all seeds' images
    taken together: on the diagonal a confidence is worth what it says. Below, how many images of a seed have it."""
    figure = Figure(figsize=(5.6, 4.6 + 0.2 * len(runs)), layout="constrained")
    axes, below = figure.subplots(2, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color=DRAWN.muted, linestyle=":", linewidth=1.4, label=say("as confident as right"))
    centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    for label, look, seeds in runs:
        of_seeds = np.array([one.num_images for one in seeds])  # (num_seeds, num_bins)
        num_images = of_seeds.sum(axis=0)
        some = num_images > 0
        confidence, accuracy = (
            np.nansum(of_seeds * [getattr(one, name) for one in seeds], axis=0)[some] / num_images[some]
            for name in ("confidence", "accuracy")
        )
        axes.plot(confidence, accuracy, label=label, **_line(look))
        below.plot(centres[some], num_images[some] / len(seeds), **_line(look, small=True))
    axes.set(ylabel=say("Accuracy"), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.set(xlabel=say("Confidence"), ylabel=say("Images"), yscale="log")
    below.yaxis.set_major_formatter(LogFormatter())  # the usual one writes TeX
    below.yaxis.set_minor_formatter(NullFormatter())
    return _finish(figure, axes)


def selective(runs: list[tuple[str, int, list[Calibration]]]) -> Figure:
    """The accuracy on the images that each run, a label, a look and the calibration of every seed, is most confident
    of, against their share; of several seeds the mean, in a band from the lowest to the highest."""
    figure = Figure(figsize=(5.6, 4.6 + 0.2 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for label, look, seeds in runs:
        accuracy = np.array([one.accuracy_kept for one in seeds])  # (num_seeds, 101)
        _plot_seeds(axes, 100 * seeds[0].kept, accuracy, look, label=label, markevery=10)
    axes.set(xlabel=say("Images kept, the most confident first (%)"), ylabel=say("Accuracy on these"), xlim=(-2, 102))
    return _finish(figure, axes)


def robustness(runs: list[tuple[str, int, list[Robustness]]], titles: list[str]) -> Figure:
    """Accuracy against the strength of corruption, 0 being the images as they are, for each run, a label, a look and
    the robustness of every seed, of which the mean is drawn in a band of their range; a panel for every kind of
    corruption, with its title."""
    num_lines = -(-len(titles) // 2)
    figure = Figure(figsize=(5.6, 1.95 * num_lines + 0.2 * len(runs) + 0.2), layout="constrained")
    panels = figure.subplots(num_lines, 2, sharex=True, sharey=True, squeeze=False)
    for index, (axes, title) in enumerate(zip(panels.flat, titles, strict=False)):
        for label, look, seeds in runs:
            accuracy = np.array([[one.clean, *one.accuracy[index]] for one in seeds])  # (num_seeds, 1 + num_strengths)
            _plot_seeds(axes, np.arange(accuracy.shape[1]), accuracy, look, label=label)
        axes.set_title(title, fontsize=10)
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels.flat[len(titles) :]:
        axes.set_visible(False)
    figure.supylabel(say("Accuracy"), fontsize=10)
    figure.supxlabel(say("Strength of the corruption (0: none)"), fontsize=10)
    return _finish(figure, panels[0, 0])


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """While it lasts, pictures are drawn and written in our style, whatever the user's matplotlib is set to."""
    settings = {
        "figure.facecolor": DRAWN.background,
        "axes.facecolor": DRAWN.background,
        "savefig.facecolor": DRAWN.background,
        "text.color": DRAWN.text,
        "axes.labelcolor": DRAWN.text,
        "axes.edgecolor": DRAWN.muted,
        "xtick.color": DRAWN.muted,
        "ytick.color": DRAWN.muted,
        "xtick.labelcolor": DRAWN.text,
        "ytick.labelcolor": DRAWN.text,
        "grid.color": DRAWN.grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
        "legend.frameon": False,
        "text.parse_math": False,  # a $ in a name is a $
        "font.sans-serif": [fonts.OURS],
        "svg.fonttype": "none",  # text stays text: it can be read, searched and translated
        "svg.hashsalt": "compare",  # else the ids in an SVG are drawn anew each time
    }
    with warnings.catch_warnings(), matplotlib.style.context(["default", settings]):
        warnings.filterwarnings("ignore", fonts.MISSING)
        yield


def svg(figure: Figure) -> bytes:
    """The figure as an SVG with nothing in it that changes from time to time."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # `savefig` would draw it twice
    # in tags, not in texts: a hundredth of a point is enough
    return re.sub(rb"(\.\d\d)\d+(?=[^<>]*>)", rb"\1", buffer.getvalue())


def png(figure: Figure) -> bytes:
    """The figure as a PNG, `PNG_WIDTH` wide, in 256 colours: a third of the bytes, and no difference to see."""
    figure.dpi = PNG_WIDTH / figure.get_figwidth()
    canvas, packed = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()  # `savefig` would draw it twice
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(packed, "PNG", dpi=(figure.dpi, figure.dpi))
    return packed.getvalue()


def _curves(curves: list[Curves], quantity: str, words: str, over: str):
    """A figure and its axes with a dashed train line and a solid line of the watched split for every run, a ring around
    the best of these, and a vertical line where another phase of training begins; of several seeds the mean, in a band
    from the lowest to the highest. Over epochs, the learning rates are below."""
    curves = [run for run in curves if run.histories[0]]
    rates = over == "epochs" and any(np.isfinite(run.values("learning_rate")).any() for run in curves)
    both_named = len(curves) <= MOST_NAMED_TWICE
    height = 3.4 + (0.4 if both_named else 0.2) * len(curves) + 0.9 * rates
    figure = Figure(figsize=(5.6, height), layout="constrained")
    panels = figure.subplots(1 + rates, sharex=True, squeeze=False, height_ratios=[4, 1][: 1 + rates])
    axes, last = panels[0, 0], panels[-1, 0]
    in_minutes = max((run.seconds[:, -1].max() for run in curves), default=0) >= 300
    ends = []
    for run in curves:
        x = np.array([row.epoch for row in run.histories[0]])
        if over == "time":
            x = run.seconds.mean(axis=0) / (60 if in_minutes else 1)
        ends += [x[0], x[-1]]
        markevery = -(-len(x) // MOST_MARKERS)
        for split in run.splits:
            line = {"linestyle": "--", "fillstyle": "none"} if split == "train" else {}
            named = both_named or split == run.splits[-1]
            line["label"] = say("{run}, {split}", run=run.label, split=known(split)) if named else "_train"
            y = _plot_seeds(axes, x, run.values(f"{split}_{quantity}"), run.look, markevery=markevery, **line)
            if split == run.watched and len(y) > 1:
                best = int(np.argmax(y) if quantity == "accuracy" else np.argmin(y))
                ring = {"color": DRAWN.colour(run.look), "fillstyle": "none", "markersize": 11, "label": "_best"}
                axes.plot(x[best], y[best], "o", **ring)
        for index, (before, after) in enumerate(itertools.pairwise(run.histories[0])):
            if before.phase != after.phase:
                place = (x[index] + x[index + 1]) / 2
                axes.axvline(place, color=DRAWN.colour(run.look), linewidth=1, linestyle=(0, (1, 2)))
        if rates:
            last.plot(x, run.values("learning_rate")[0], markevery=markevery, **_line(run.look, small=True))
    axes.set_ylabel(words)
    if rates:
        last.set_ylabel(say("Learning rate"), fontsize=8)
        last.set_ylim(bottom=0)
    if over == "epochs":
        last.set_xlabel(say("Epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        low, high = min(ends, default=1), max(ends, default=1)
        margin = max(0.04 * (high - low), 0.15)
        axes.set_xlim(low - margin, high + margin)
    else:
        last.set_xlabel(say("Training time (minutes)") if in_minutes else say("Training time (seconds)"))
        axes.set_xlim(0, 1.04 * max(ends, default=1))
    return figure, axes


def _line(look: int, *, small: bool = False) -> dict:
    """How a run's line is drawn."""
    size = {"markersize": 3, "linewidth": 1.2} if small else {"markersize": 5, "linewidth": 1.6}
    return {"color": DRAWN.colour(look), "marker": MARKERS[marker_of(look)]} | size


def _plot_seeds(axes, x: np.ndarray, of_seeds: np.ndarray, look: int, **line) -> np.ndarray:
    """The mean of seeds, (num_seeds, num_points), at each of `x`, which is returned; of several in a band from the
    lowest to the highest."""
    mean = of_seeds.mean(axis=0)
    axes.plot(x, mean, **_line(look), **line)
    if len(of_seeds) > 1:
        width = 0 if len(x) > 1 else 6  # a single point has no breadth of its own
        style = {"color": DRAWN.colour(look), "alpha": 0.18, "linewidth": width}
        axes.fill_between(x, of_seeds.min(axis=0), of_seeds.max(axis=0), **style)
    return mean


def _values(curves: list[Curves], quantity: str) -> list[float]:
    """Every value that the curves of `quantity` or their bands reach."""
    return [value for run in curves for split in run.splits for value in run.values(f"{split}_{quantity}").flat]


def _finish(figure: Figure, axes) -> Figure:
    """The figure with its legend, laid out. A long legend of short names has two columns, to save height."""
    lines, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > MOST_IN_COLUMN and max(map(len, labels)) <= LONGEST_IN_COLUMN else 1
    if columns == 2:
        figure.set_figheight(figure.get_figheight() - 0.2 * (len(labels) // 2))
    if lines:
        figure.legend(lines, labels, loc="outside upper left", fontsize=9, handlelength=3, ncols=columns)
    return laid_out(figure)


def laid_out(figure: Figure) -> Figure:
    """The figure with everything in its place for good: each file would lay it out anew, which takes half the time."""
    fonts.provide(figure)
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return figure
