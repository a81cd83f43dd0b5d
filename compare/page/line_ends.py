"""Names at the ends of lines, in the place of a legend."""

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from compare.page.figures import DRAWN, Figure, laid_out, mark_of
from compare.page.language import parts_of
from compare.page.words import shortened

WIDTH = 4.2  # inches of a picture: on a phone, some 360 pixels wide, letters of 9.5 points are 11 pixels high
NAMES = 9.5  # points that letters of names are high
LONGEST_LINE = 23  # letters of a name beside a point
BETWEEN = 2  # of them above and below a name
EDGE = 5  # dots at 100 an inch that stay free above names: a reader's font may be a little higher
LINE: dict[str, Any] = {"markersize": 5, "linewidth": 1.6}
End = tuple[list[str], tuple[float, float], int | None]  # the arguments of `named_outside` after the axes


def lines_of(name: str) -> list[str]:
    """A name's parts, a line each, long ones cut; the last of three and more, which tells it from others, is whole."""
    *parts, last = parts_of(name)
    if len(parts) < 2:
        return [shortened(part, LONGEST_LINE) for part in (*parts, last)]
    wrapped = textwrap.wrap(last, LONGEST_LINE)
    return [*(shortened(part, LONGEST_LINE) for part in parts), *(wrapped if len(wrapped) > 1 else [last])]


def named_beside(
    axes: Axes,
    lines: Sequence[str],
    point: tuple[float, float],
    colour: str,
    *,
    side: Literal["left", "right", "outside"],
    **place: Any,
) -> list[Annotation]:
    """A name of several lines beside a point, whose coordinates `place` may tell as `annotate` takes them; room is made
    for one that stands to the right, outside the axes."""
    across, align = (-7, "right") if side == "left" else (7, "left")
    place |= {"textcoords": "offset points", "va": "center", "ha": align, "annotation_clip": False}
    middle = (len(lines) - 1) / 2
    names = [
        axes.annotate(line, point, (across, 1.15 * NAMES * (middle - number)), color=colour, fontsize=NAMES, **place)
        for number, line in enumerate(lines)
    ]
    for name in names:
        name.set_in_layout(side == "outside")  # axes become no wider by leaving room for what is in them
    return names


def named_outside(axes: Axes, lines: list[str], point: tuple[float, float], look: int | None) -> list[Annotation]:
    """A name at the right edge of the axes, as high as a line's end, from which a faint line leads there; of a run's
    look, or of None where the line is no run's."""
    across = axes.get_yaxis_transform()
    x, _ = across.inverted().transform(axes.transData.transform(point))
    style = {"color": DRAWN.muted} if look is None else mark_of(look)
    axes.plot([x, 1], [point[1]] * 2, linewidth=0.6, alpha=0.5, transform=across, label="_name", **style)
    names = named_beside(axes, lines, (1, point[1]), style["color"], side="outside", xycoords=("axes fraction", "data"))
    number = f"name-{len(axes.texts)}"
    for name in names:
        name.set_gid(number if look is None else f"{number}-{look}")
    return names


def spread(names: Sequence[list[Annotation]]) -> None:
    """Move names until none lies on another: upwards, the lowest first, and down again from the upper edge."""
    extents = [Bbox.union([line.get_window_extent() for line in lines]).padded(0, BETWEEN) for lines in names]
    moved = dict(enumerate(extents))
    for order, way in ((1, "y1"), (-1, "y0")):
        placed: list[Bbox] = []
        for number in sorted(moved, key=lambda one: order * moved[one].y0):
            extent = moved[number]
            if order < 0 and extent.y1 > (top := names[number][0].figure.bbox.y1 - EDGE):
                extent = extent.translated(0, top - extent.y1)
            for other in placed:
                if extent.overlaps(other):
                    extent = extent.translated(0, getattr(other, way) - (extent.y0 if order > 0 else extent.y1))
            placed.append(extent)
            moved[number] = extent
    for number, lines in enumerate(names):
        up = moved[number].y0 - extents[number].y0
        for line in lines:
            line.xyann = (line.xyann[0], line.xyann[1] + 72 * up / line.figure.dpi)


def with_names(
    figure: Figure, axes: Axes, ends: Sequence[End], *, aside: frozenset[int], beside: Sequence[list[Annotation]] = ()
) -> Figure:
    """A figure with names at the ends of its lines, laid out so that none lies on another.

    Args:
        figure, axes: what is drawn.
        ends: of each name.
        aside: the looks of runs that are put aside.
        beside: other names, as `named_beside` gives them.
    """
    axes.tick_params(labelsize=NAMES)
    names = [named_outside(axes, *end) for end in ends]
    laid_out(figure)
    figure.put_aside(aside)
    spread([lines for lines in names if lines[0].get_visible()])
    spread(beside)
    return figure
