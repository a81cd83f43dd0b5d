"""How the report's pictures look, and how they are written.

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
from typing import Any

import matplotlib.figure
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from PIL import Image

from compare.page import fonts

PNG_WIDTH = 1120  # pixels
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
ASIDE_LINE = {"color": DRAWN.grid, "marker": "", "linewidth": 1}
BASELINE_LINE: dict[str, Any] = {"color": DRAWN.muted, "linestyle": (0, (6, 2, 1, 2)), "linewidth": 1.2}


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows by itself, as it shows a DataFrame, without `%matplotlib inline`, and
    in which runs can be put aside.

    What is drawn of a run has an id that says so, which ends in the run's look: `line-LOOK` stays, in grey and behind
    the others, where the run is aside, `mark-LOOK` and `name-NUMBER-LOOK` do not.

    Attributes:
        aside: the looks of the runs that are.
    """

    aside: frozenset[int] = frozenset()

    def put_aside(self, looks: frozenset[int]) -> None:
        """Put the runs of these looks aside, for good."""
        self.aside, self._changed = looks, []
        for artist in self.findobj():
            of_run = re.fullmatch(r"(line|mark|name-\d+)-(\d+)", artist.get_gid() or "")
            if of_run and int(of_run[2]) in looks:
                changes = ASIDE_LINE if of_run[1] == "line" else {"visible": False}
                before = {name: getattr(artist, f"get_{name}")() for name in changes}
                self._changed.append((artist, before, changes))
                artist.set(**changes)
                artist.set_zorder(artist.get_zorder() - 0.001)  # behind the others of its kind, now and on the page

    @contextlib.contextmanager
    def with_all(self) -> Iterator[None]:
        """While it lasts, no run is aside."""
        for artist, before, _ in self._changed:
            artist.set(**before)
        yield
        for artist, _, changes in self._changed:
            artist.set(**changes)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The PNG, and how large it is shown: in pixels of a screen, of which there are 96 to an inch."""
        with drawing():
            picture = png(self)
        width, height = self.get_size_inches()
        return picture, {"width": round(96 * width), "height": round(96 * height)}


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
    canvas: Any = FigureCanvasSVG(figure)  # whose methods tell no types
    canvas.print_svg(buffer, metadata=metadata)  # `savefig` would draw it twice
    # in tags, not in texts: a hundredth of a point is enough
    written = re.sub(rb"(\.\d\d)\d+(?=[^<>]*>)", rb"\1", buffer.getvalue())
    written = re.sub(rb'id="(line|mark)-(\d+)"', rb'class="\1" data-of="\2"', written)  # of a run there are several
    written = re.sub(rb'id="name-(\d+)-(\d+)"', rb'class="name" data-name="\1" data-of="\2"', written)
    return re.sub(rb'id="name-(\d+)"', rb'class="name" data-name="\1"', written)


def png(figure: Figure) -> bytes:
    """The figure as a PNG, `PNG_WIDTH` wide, in 256 colours: a third of the bytes, and no difference to see."""
    figure.dpi = PNG_WIDTH / figure.get_figwidth()
    canvas: Any = FigureCanvasAgg(figure)  # nor do its
    canvas.draw()  # `savefig` would draw it twice
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, "PNG", dpi=(figure.dpi, figure.dpi), optimize=True)
    return packed.getvalue()


def line_of(look: int) -> dict[str, Any]:
    """How a run's line is drawn."""
    marker = MARKERS[marker_of(look)]
    return {"color": DRAWN.colour(look), "marker": marker, "markersize": 4, "linewidth": 1.6, "gid": f"line-{look}"}


def mark_of(look: int) -> dict[str, Any]:
    """How everything else is drawn that a run has."""
    return {"color": DRAWN.colour(look), "gid": f"mark-{look}"}


def band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, look: int) -> None:
    """A run's band from `low` to `high` at each of `x`."""
    width = 0 if len(x) > 1 else 6  # a single point has no breadth of its own
    axes.fill_between(x, low, high, alpha=0.18, linewidth=width, **mark_of(look))


def laid_out(figure: Figure) -> Figure:
    """The figure with everything in its place for good: each file would lay it out anew, which takes half the time."""
    fonts.provide(figure)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
    return figure
