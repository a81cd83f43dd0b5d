"""Confusion matrices as pictures: true classes in rows, predicted ones in columns, in an order that puts classes beside
each other that are mixed up. Colours are for mistakes alone. Up to `MANY_CLASSES` classes each cell says its number; of
more, colours alone are drawn, and some of the names."""

from collections.abc import Callable

import matplotlib.colors
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, LinearSegmentedColormap
from matplotlib.typing import ColorType

from compare.findings.metrics import MANY_CLASSES
from compare.page.figures import DRAWN, Figure, laid_out
from compare.page.language import known, say
from compare.page.line_ends import NAMES, WIDTH
from compare.page.words import shortened

MOST_NAMED = 12  # rows and columns with a name beside them
LONGEST = 14  # letters of such a name
FAINTEST = 0.15  # of a colour: that of a single image is seen as well


def largest_mistake(*matrices: np.ndarray) -> int:
    """The largest number beside the diagonals, at least 1."""
    return max(1, *(int(np.abs(matrix - np.diag(np.diag(matrix))).max()) for matrix in matrices))


def strength(matrix: np.ndarray, largest: int) -> np.ndarray:
    """The strength of each cell's colour, in 0…1, (num_classes, num_classes): it follows the root of the number, so
    that rare mistakes are seen, up to that of `largest`. The diagonal has none."""
    mistakes = np.abs(matrix - np.diag(np.diag(matrix)))
    return np.where(mistakes > 0, FAINTEST + (1 - FAINTEST) * np.sqrt(mistakes / largest), 0)


def confusion(counts: np.ndarray, class_names: list[str], *, title: str, largest: int) -> Figure:
    """A confusion matrix, in each cell the images and their share of the true class.

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
        colours=[DRAWN.largest],
        largest=largest,
    )


def confusion_difference(matrix: np.ndarray, class_names: list[str], *, title: str, looks: tuple[int, int]) -> Figure:
    """One run's confusion matrix less another's, counts, each cell in the colour of the run that has more images there.

    Args:
        matrix: int64, (num_classes, num_classes).
        class_names: of the rows and columns.
        title: what stands above it.
        looks: the first and the second run's.
    """
    return _matrix(
        matrix,
        class_names,
        title=title,
        words=lambda row, column: f"{matrix[row, column]:+d}",
        colours=[DRAWN.colour(look) for look in reversed(looks)],
        largest=largest_mistake(matrix),
    )


def _matrix(
    values: np.ndarray,
    class_names: list[str],
    *,
    title: str,
    words: Callable[[int, int], str],
    colours: list[str],
    largest: int,
) -> Figure:
    """A matrix whose cells, but for the diagonal, have the last of one or two colours, or the first where they are
    below 0."""
    num_classes = len(values)
    is_many = num_classes > MANY_CLASSES  # then the page has this picture, and no table
    figure = Figure(figsize=(WIDTH, 0.9 * WIDTH) if is_many else (5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    # from the strongest of the one to that of the other, the background between them
    ends = [colours[0], DRAWN.background, colours[1]] if len(colours) > 1 else [DRAWN.background, colours[0]]
    colour_map = LinearSegmentedColormap.from_list("matrix", ends)
    signed = np.sign(values) * strength(values, largest)
    cells = colour_map(signed if len(colours) == 1 else (signed + 1) / 2)  # (num_classes, num_classes, 4)
    if is_many:
        cells[np.eye(num_classes, dtype=bool)] = matplotlib.colors.to_rgba(DRAWN.grid)  # where it lies is seen
    # 'none' hands the cells on as they are, to be enlarged without blur
    axes.imshow(cells, interpolation="none")
    if not is_many:
        for (row, column), value in np.ndenumerate(values):
            colour = DRAWN.muted if row == column or not value else _readable_on(cells[row, column])
            text = axes.text(column, row, words(row, column) if value else "0", color=colour, ha="center", va="center")
            text.set(fontsize=7 if num_classes <= 10 else 4, linespacing=1.05)
            text.set_in_layout(False)  # it is inside its cell: no need to measure it
    axes.set_title(title, fontsize=NAMES if is_many else 11)
    axes.set(xlabel=say("Predicted class"), ylabel=say("True class"))
    some = range(0, num_classes, -(-num_classes // MOST_NAMED) if is_many else 1)
    names = [shortened(known(class_names[index]), LONGEST if is_many else 24) for index in some]
    axes.set_xticks(some, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(some, names)
    axes.tick_params(length=0)
    if is_many:
        axes.tick_params(labelsize=NAMES)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=DRAWN.grid)
    if is_many or len(colours) > 1:
        root = FuncNorm(
            (lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2),
            (1 - len(colours)) * largest,
            largest,
        )
        bar = figure.colorbar(ScalarMappable(root, colour_map), ax=axes, shrink=0.7, aspect=30, label=say("images"))
        bar.outline.set_visible(False)
        bar.set_ticks(sorted({(1 - len(colours)) * largest, 0, largest}))
    return laid_out(figure)


def _readable_on(background: ColorType) -> str:
    """The text's or the background's colour, whichever has the higher contrast to `background`, RGBA in 0…1."""
    dark, light = sorted((DRAWN.text, DRAWN.background), key=_luminance)
    luminance = _luminance(background)
    on_light = (luminance + 0.05) / (_luminance(dark) + 0.05)
    on_dark = (_luminance(light) + 0.05) / (luminance + 0.05)
    return dark if on_light >= on_dark else light


def _luminance(colour: ColorType) -> float:
    """The relative luminance of a colour, in 0…1, as WCAG 2 defines it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
