"""The report's pictures, drawn from what `metrics` returns and from the records' history rows.

Each picture is drawn twice, for light and for dark pages. Colours are told apart by all common kinds of colour vision
and are never the only sign: a run also has its own marker, and train curves are dashed. The same input gives the same
bytes.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterator

import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

PNG_DPI = 200
MARKERS = ("o", "s", "^", "D", "v", "P")
# A look is an index into MARKERS and Style.runs. A branch has the same in every report, also where it stands alone.
BRANCH_LOOKS = {"scratch_resnet": 0, "pretrained": 1}


@dataclasses.dataclass(frozen=True)
class Style:
    """The colours of one variant of a picture: background, text, grid lines, runs, and a matrix's largest value."""

    background: str
    text: str
    muted: str
    grid: str
    runs: tuple[str, ...]
    largest: str


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
        largest="#d9c8ff",
    ),
}


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the curves of one run are drawn from.

    Attributes:
        label: what the legend calls the run.
        look: its index into `Style.runs` and `MARKERS`.
        history: the record's history rows.
        watched: the split that was watched after every epoch: test or validation; None if none was.
    """

    label: str
    look: int
    history: list[dict]
    watched: str | None


def looks(branches: list[str]) -> list[int]:
    """A look for each run, given its branch: the branch's own for its first run, else the next that no branch owns."""
    chosen = []
    others = itertools.cycle(range(len(BRANCH_LOOKS), len(MARKERS)))
    for branch in branches:
        own = BRANCH_LOOKS.get(branch)
        chosen.append(next(others) if own is None or own in chosen else own)
    return chosen


def accuracy_curves(curves: list[Curves], style: Style) -> Figure:
    """The accuracies of all runs over epochs. The axis begins below the lowest, in steps of 0.05."""
    figure, axes = _curves(curves, "accuracy", "Accuracy", style)
    values = [value for line in axes.lines for value in line.get_ydata()]
    if values:
        axes.set_ylim(max(0, np.floor(min(values) * 20 - 0.2) / 20), min(1.005, max(values) + 0.02))
    return figure


def loss_curves(curves: list[Curves], style: Style) -> Figure:
    """The losses of all runs over epochs, in nats an image, from 0."""
    figure, axes = _curves(curves, "loss", "Loss (nats an image)", style)
    values = [value for line in axes.lines for value in line.get_ydata() if np.isfinite(value)]
    axes.set_ylim(0, 1.06 * max(values, default=0) or 1)  # room for the marker of the highest
    return figure


def confusion(
    matrix: np.ndarray, class_names: list[str], *, title: str, percent: bool, largest: float, style: Style
) -> Figure:
    """A confusion matrix, true classes in rows.

    The colours follow the square root of the value: one in a hundred images is still seen as a tint.

    Args:
        matrix: (num_classes, num_classes), counts or fractions.
        class_names: of the rows and columns.
        title: what stands above it.
        percent: whether `matrix` holds fractions, to be written as percentages of each row.
        largest: the value of the strongest colour, the same for all runs that are compared.
        style: the colours.
    """
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    values = 100 * matrix if percent else matrix
    colours = LinearSegmentedColormap.from_list("matrix", [style.background, style.largest])
    display = ConfusionMatrixDisplay(values, display_labels=class_names)
    display.plot(
        ax=axes,
        cmap=colours,
        colorbar=False,
        values_format=".1f" if percent else "d",
        xticks_rotation=45,
        text_kw={"fontsize": 8 if len(class_names) <= 10 else 5},
        # 'none' hands the cells on as they are, to be enlarged without blur
        im_kw={
            "norm": PowerNorm(0.5, vmin=0, vmax=max(100 * largest if percent else largest, 1)),
            "interpolation": "none",
        },
    )
    # The display chooses its text colours by the matrix's own range; ours is shared and not linear.
    for (row, column), text in np.ndenumerate(display.text_):
        value = values[row, column]
        text.set_color(_readable_on(display.im_.cmap(display.im_.norm(value)), style) if value else style.muted)
        if not value:
            text.set_text("0")
    axes.set_title(f"{title}, {'percent of each true class' if percent else 'images'}", fontsize=11)
    axes.set(xlabel="Predicted class", ylabel="True class")
    for label in axes.get_xticklabels():
        label.set(horizontalalignment="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=style.grid)
    return figure


@contextlib.contextmanager
def drawing(style: Style) -> Iterator[None]:
    """While it lasts, pictures are drawn and written in this style, whatever the user's matplotlib is set to."""
    settings = {
        "figure.facecolor": style.background,
        "axes.facecolor": style.background,
        "savefig.facecolor": style.background,
        "text.color": style.text,
        "axes.labelcolor": style.text,
        "axes.edgecolor": style.muted,
        "xtick.color": style.muted,
        "ytick.color": style.muted,
        "xtick.labelcolor": style.text,
        "ytick.labelcolor": style.text,
        "grid.color": style.grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
        "legend.frameon": False,
        "text.parse_math": False,  # a $ in a name is a $
        "svg.hashsalt": "compare",  # else the ids in an SVG are drawn anew each time
    }
    with matplotlib.style.context(["default", settings]):
        yield


def svg(figure: Figure) -> bytes:
    """The figure as an SVG, its text as outlines, with nothing in it that changes from time to time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as a PNG of `PNG_DPI` dots an inch, in 256 colours: a third of the bytes, and no difference to see."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=PNG_DPI)
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(packed, "PNG", optimize=True, dpi=(PNG_DPI, PNG_DPI))
    return packed.getvalue()


def _curves(curves: list[Curves], quantity: str, words: str, style: Style):
    """A figure and its axes with a dashed train line and a solid line of the watched split for every run."""
    figure = Figure(figsize=(5.6, 3.4 + 0.4 * len(curves)), layout="constrained")  # two lines of legend a run
    axes = figure.subplots()
    for run in curves:
        colour, marker = style.runs[run.look], MARKERS[run.look]
        for split, dash, fill in (("train", "--", "none"), (run.watched, "-", "full")):
            if split is None or not run.history:
                continue
            axes.plot(
                [row["epoch"] for row in run.history],
                [row[f"{split}_{quantity}"] for row in run.history],
                color=colour,
                linestyle=dash,
                linewidth=1.6,
                marker=marker,
                markersize=5,
                fillstyle=fill,
                label=f"{run.label}, {split}",
            )
    axes.set(xlabel="Epoch", ylabel=words)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs = [row["epoch"] for run in curves for row in run.history] or [1]
    margin = max(0.04 * (max(epochs) - min(epochs)), 0.15)
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    if axes.lines:
        figure.legend(loc="outside upper left", fontsize=9, handlelength=3)
    return figure, axes


def _readable_on(background: tuple[float, ...], style: Style) -> str:
    """The style's text or background colour, whichever has the higher contrast to `background`, RGBA in 0…1."""
    dark, light = sorted((style.text, style.background), key=_luminance)
    luminance = _luminance(background)
    on_light = (luminance + 0.05) / (_luminance(dark) + 0.05)
    on_dark = (_luminance(light) + 0.05) / (luminance + 0.05)
    return dark if on_light >= on_dark else light


def _luminance(colour) -> float:
    """The relative luminance of a colour, in 0…1, as WCAG 2 defines it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
