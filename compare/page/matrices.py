"""Confusion matrices as pictures: true classes in rows, predicted ones in columns. Up to `MANY_CLASSES` classes each
cell says its number; of more, colours alone are drawn, classes that are mixed up beside each other, and some of their
names."""

from collections.abc import Callable

import matplotlib.colors
import numpy as np
from matplotlib.colors import FuncNorm, LinearSegmentedColormap, Normalize, PowerNorm

from compare.findings.metrics import MANY_CLASSES
from compare.page.figures import DRAWN, Figure, laid_out
from compare.page.language import known, say
from compare.page.words import shortened

MOST_NAMED = 30  # rows and columns with a name beside them


def confusion(counts: np.ndarray, class_names: list[str], *, title: str, largest: int) -> Figure:
    """A confusion matrix, in each cell the images and their share of the true class.

    The colours follow the square root of the number: one in a hundred images is still seen as a tint.

    Args:
        counts: int64, (num_classes, num_classes).
        class_names: of the rows and columns.
        title: what stands above it.
        largest: the number of the strongest colour, the same for all runs that are compared.
    """
    support = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return _matrix(
        counts,
        class_names,
        title=title if len(counts) > MANY_CLASSES else f"{title}\nimages, and % of each true class",
        words=lambda row, column: f"{counts[row, column]}\n{100 * counts[row, column] / support[row, 0]:.1f}",
        colours=[DRAWN.background, DRAWN.largest],
        norm=PowerNorm(0.5, vmin=0, vmax=max(largest, 1)),
    )


def confusion_difference(matrix: np.ndarray, class_names: list[str], *, title: str, looks: tuple[int, int]) -> Figure:
    """One run's confusion matrix less another's, counts, each cell in the colour of the run that has more images there.

    Args:
        matrix: int64, (num_classes, num_classes).
        class_names: of the rows and columns.
        title: what stands above it.
        looks: the first and the second run's.
    """
    first, second = (DRAWN.colour(look) for look in looks)
    largest = max(int(np.abs(matrix).max()), 1)
    return _matrix(
        matrix,
        class_names,
        title=title,
        words=lambda row, column: f"{matrix[row, column]:+d}",
        colours=[second, DRAWN.background, first],
        norm=FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2), -largest, largest),
    )


def _matrix(
    values: np.ndarray,
    class_names: list[str],
    *,
    title: str,
    words: Callable[[int, int], str],
    colours: list[str],
    norm: Normalize,
) -> Figure:
    num_classes = len(values)
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    colour_map = LinearSegmentedColormap.from_list("matrix", colours)
    # 'none' hands the cells on as they are, to be enlarged without blur
    axes.imshow(values, cmap=colour_map, norm=norm, interpolation="none")
    if num_classes <= MANY_CLASSES:
        for (row, column), value in np.ndenumerate(values):
            colour = _readable_on(colour_map(norm(value))) if value else DRAWN.muted
            text = axes.text(column, row, words(row, column) if value else "0", color=colour, ha="center", va="center")
            text.set(fontsize=7 if num_classes <= 10 else 4, linespacing=1.05)
            text.set_in_layout(False)  # it is inside its cell: no need to measure it
    axes.set_title(title, fontsize=11)
    axes.set(xlabel=say("Predicted class"), ylabel=say("True class"))
    some = range(0, num_classes, -(-num_classes // MOST_NAMED))
    names = [shortened(known(class_names[index])) for index in some]
    size = 10 if num_classes <= MANY_CLASSES else 6
    axes.set_xticks(some, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(some, names, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=DRAWN.grid)
    return laid_out(figure)


def _readable_on(background: tuple[float, ...]) -> str:
    """The text's or the background's colour, whichever has the higher contrast to `background`, RGBA in 0…1."""
    dark, light = sorted((DRAWN.text, DRAWN.background), key=_luminance)
    luminance = _luminance(background)
    on_light = (luminance + 0.05) / (_luminance(dark) + 0.05)
    on_dark = (_luminance(light) + 0.05) / (luminance + 0.05)
    return dark if on_light >= on_dark else light


def _luminance(colour) -> float:
    """The relative luminance of a colour, in 0…1, as WCAG 2 defines it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
