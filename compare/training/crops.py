"""Which part of a photograph an image of the training shows, and in which light: drawn here, alike for both branches,
which cut and recolour a batch at a time where they compute. Where nothing is drawn, it shows its middle.

Source: `RandomResizedCrop` of torchvision (C. Szegedy et al., 2014, arXiv 1409.4842), and its `ColorJitter`, but that
brightness, contrast and saturation always follow each other in this order.
"""

import numpy as np

from compare.training.recipe import Recipe

RATIOS = 3 / 4, 4 / 3  # of a part's width to its height
NUM_TRIES = 10  # to draw a part that lies within the image; after that it is the whole
DRAWN = np.dtype([("box", np.float32, 4), ("mirrored", np.bool_), ("factors", np.float32, 3)])
GREY = 0.2989, 0.587, 0.114  # shares of red, green and blue in it, as torchvision has them


def draw(num_images: int, rng: np.random.Generator, recipe: Recipe, *, height: int, width: int) -> np.ndarray:
    """Draw for each image a part, whether that is mirrored, and how it is recoloured.

    Args:
        num_images: how many.
        rng: where the randomness comes from.
        recipe: `crop_area`, `horizontal_flip` and `colour_jitter` are used.
        height, width: pixels of the images.

    Returns:
        (num_images,) of `DRAWN`: the box is the row and the column where it begins, its height and its width, whole
        pixels; the factors are those of brightness, contrast and saturation.
    """
    drawn = np.zeros(num_images, DRAWN)
    drawn["box"] = 0, 0, height, width
    left = np.arange(num_images)
    low, high = np.log(RATIOS)
    for _ in range(NUM_TRIES):
        areas = height * width * rng.uniform(recipe.crop_area, 1, len(left))
        ratios = np.exp(rng.uniform(low, high, len(left)))
        sides = np.rint(np.sqrt([areas / ratios, areas * ratios]))  # (2, len(left)): heights and widths
        room = np.array([[height], [width]]) - sides
        starts = np.floor(rng.random(sides.shape) * (room + 1))
        fits = (room >= 0).all(axis=0) & (sides > 0).all(axis=0)
        drawn["box"][left[fits]] = np.concatenate([starts, sides])[:, fits].T
        left = left[~fits]
    drawn["mirrored"] = rng.random(num_images) < (0.5 if recipe.horizontal_flip else 0)
    drawn["factors"] = rng.uniform(1 - recipe.colour_jitter, 1 + recipe.colour_jitter, (num_images, 3))
    return drawn


def middle(height: int, width: int, share: float) -> tuple[slice, slice]:
    """The rows and the columns of an image's middle that is so large a share of each side."""
    sides = [(side, max(1, round(share * side))) for side in (height, width)]
    rows, columns = (slice((side - kept) // 2, (side - kept) // 2 + kept) for side, kept in sides)
    return rows, columns


def side_to_decode(recipe: Recipe) -> int:
    """Pixels a side of which the middle is as large as images enter the network."""
    return round(recipe.image_size / recipe.centre_crop)


def in_words(recipe: Recipe, *, height: int, width: int) -> str:
    """What is shown of images of so many pixels, in training and in the test."""
    rows, columns = middle(height, width, recipe.centre_crop)
    shown = f"the middle {rows.stop - rows.start}×{columns.stop - columns.start} of its {height}×{width} pixels"
    if recipe.crop_area == 1:
        return f"of each image {shown}"
    light = f", in light of ± {100 * recipe.colour_jitter:g} %" if recipe.colour_jitter else ""
    part = f"in training a part of each image, {100 * recipe.crop_area:g} % of its area or more{light}"
    return f"{part}; in the test {shown}"
