"""What networks say of pictures, as a picture: each as a network got it, its classes, and where the network looked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from compare.page import fonts
from compare.page.figures import DRAWN, Figure, drawing, png
from compare.page.words import shortened

MOST_LINES = 40  # pictures times runs that are drawn
INCHES = 1.5  # of a line
SHARE_OF_MAP = 0.55  # its opacity over the picture


def drawn(names: list[str], found: Sequence[Any]) -> bytes:
    """A PNG with a line for each picture and run, of the first pictures where they are many.

    Args:
        names: of the pictures.
        found: what each run says of all of them: `compare.predict.Predicted`.
    """
    names = names[: max(1, MOST_LINES // len(found))]
    num_lines = len(names) * len(found)
    with drawing():
        figure = Figure(figsize=(9, INCHES * num_lines + 0.5), layout="constrained")
        lines = figure.subplots(num_lines, 3, squeeze=False, width_ratios=(1, 1, 2.6))
        for line, (first, second, bars) in enumerate(lines):
            number, place = divmod(line, len(found))
            one = found[place]
            image = one.images[number]
            shown = image[..., 0] if image.shape[2] == 1 else image
            for axes in (first, second):
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set_axis_off()
            second.imshow(over(one, number), cmap="inferno", vmin=0, vmax=1, alpha=SHARE_OF_MAP)
            if line == 0:
                first.set_title("as the network got it", fontsize=8)
            kind = "where a patch costs it most" if one.is_occlusion else "where it looked"
            if line == 0 or len({other.is_occlusion for other in found}) > 1:
                second.set_title(kind, fontsize=8)
            classes, shares = zip(*one.highest(number), strict=True)
            places = np.arange(len(classes))
            bars.barh(places, shares, color=DRAWN.runs[place % len(DRAWN.runs)], height=0.7)
            for at, name, share in zip(places, classes, shares, strict=True):
                bars.text(0.02, at, f"{shortened(name, 36)}  {100 * share:.1f} %", va="center", fontsize=8).set_bbox(
                    {"facecolor": DRAWN.background, "alpha": 0.75, "edgecolor": "none", "pad": 1}
                )
            bars.set_xlim(0, 1)
            bars.invert_yaxis()
            bars.set_axis_off()
            calibrated = "" if one.temperature is not None else ", not calibrated"
            said = f"{shortened(names[number], 36)}: {shortened(one.name, 36)}{calibrated}\n{one.likeness(number)}"
            bars.set_title(said, fontsize=8, loc="left")
        fonts.provide(figure)
        return png(figure)


def over(one: Any, number: int) -> np.ndarray:
    """Where a network looked as it lies over a picture: float32 of its shape, (height, width), from 0 to 1. Of falls
    under a patch those below 0 count as nothing; a class activation map goes from its least to its most, and lies over
    the square that the picture was made by black borders."""
    found, (height, width) = one.maps[number].astype(np.float32), one.images.shape[1:3]
    found = np.maximum(found, 0) if one.is_occlusion else found - found.min()
    shown = (width, height) if one.is_occlusion else 2 * (max(height, width),)
    large = np.clip(np.asarray(Image.fromarray(found).resize(shown, Image.Resampling.BILINEAR)), 0, None)
    top, left = (shown[1] - height) // 2, (shown[0] - width) // 2
    return large[top : top + height, left : left + width] / (large.max() or 1)
