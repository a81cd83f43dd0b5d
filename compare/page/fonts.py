"""Fonts for the pictures: names of classes and runs are written in any script, and DejaVu Sans has not all of them."""

import functools

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

OURS = "DejaVu Sans"  # comes with matplotlib, so that pictures are the same everywhere
SIGNS = "Last Resort"  # matplotlib's own font of signs for what no other has
MISSING = r"Glyph \d+ .* missing from"  # how matplotlib's warning of a character that no font has begins


def provide(figure: Figure) -> None:
    """Let each text of a figure that `OURS` cannot write fall back on installed fonts that can. A character that none
    has stays matplotlib's sign for such."""
    for text in figure.findobj(Text):
        if families := _beside_ours(frozenset(text.get_text())):
            text.set_fontfamily([OURS, *families])


@functools.cache
def _beside_ours(characters: frozenset[str]) -> tuple[str, ...]:
    """The families, Noto's first, that have those of the characters that `OURS` has not."""
    missing = {ord(character) for character in characters if character.isprintable()}
    missing -= _has(font_manager.findfont(OURS))
    upright = [font for font in font_manager.fontManager.ttflist if font.style == "normal" and font.weight == 400]
    installed = [font for font in upright if not font.name.startswith(SIGNS)]
    families = []
    for font in sorted(installed, key=lambda font: (not font.name.startswith("Noto Sans"), font.name, font.fname)):
        if not missing:
            break
        if had := missing & _has(font.fname):
            families.append(font.name)
            missing -= had
    return tuple(families)


@functools.cache
def _has(path: str) -> frozenset[int]:
    """The characters of the font in a file, as code points."""
    return frozenset(font_manager.get_font(path).get_charmap())
