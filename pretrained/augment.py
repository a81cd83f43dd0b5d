"""Shear, zoom and flip of the training images, drawn per image and applied as one affine map; of photographs parts, in
other lights (`compare.training.crops`).

One map means one interpolation, and at 28×28 on one channel it is next to free; Keras' three random layers one after
the other cost tens of times more. The draws come from NumPy, so they are the same on every backend. Matrices are those
of Keras 2's `ImageDataGenerator`, which the article uses (`keras.src.legacy.preprocessing.image`).
"""

from typing import Any

import keras
import numpy as np

from compare.training import crops
from pretrained.recipe import Recipe


def draw(num_images: int, rng: np.random.Generator, recipe: Recipe, *, height: int, width: int) -> np.ndarray:
    """Draw one affine map an image.

    Args:
        num_images: how many.
        rng: where the randomness comes from.
        recipe: `shear_degrees`, `zoom_range` and `horizontal_flip` are used.
        height, width: pixels of the images that will be mapped.

    Returns:
        float32 (num_images, 8): maps from output to input pixels, as `keras.ops.image.affine_transform` takes them.
    """
    shear = np.deg2rad(rng.uniform(-recipe.shear_degrees, recipe.shear_degrees, num_images))
    zoom_x, zoom_y = rng.uniform(1 - recipe.zoom_range, 1 + recipe.zoom_range, (2, num_images))
    flip = rng.random(num_images) < 0.5 if recipe.horizontal_flip else np.zeros(num_images, bool)
    return affine_maps(shear, zoom_x, zoom_y, flip, height=height, width=width)


def affine_maps(
    shear: np.ndarray, zoom_x: np.ndarray, zoom_y: np.ndarray, flip: np.ndarray, *, height: int, width: int
) -> np.ndarray:
    """Build the maps from their parameters, each (num_images,): angles in radians, factors, and truth values.

    An output pixel (x, y), counted from the top left, shows the input at (a0·x + a1·y + a2, b0·x + b1·y + b2). Shear
    and zoom leave the image's centre where it is; the flip comes last.
    """
    a0, a1 = zoom_x, -np.sin(shear) * zoom_y
    b0, b1 = np.zeros_like(shear), np.cos(shear) * zoom_y
    x, y = (width - 1) / 2, (height - 1) / 2  # the centre
    a2 = x - (a0 + a1 * (y / x)) * x
    b2 = y - (b0 * (x / y) + b1) * y
    a2, a0 = np.where(flip, a2 + a0 * (width - 1), a2), np.where(flip, -a0, a0)
    zeros = np.zeros_like(shear)
    return np.stack([a0, a1, a2, b0, b1, b2, zeros, zeros], axis=1).astype(np.float32)  # (num_images, 8)


def apply(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Map uint8 images (num_images, height, width, channels) to float32 of the same shape in 0…255, bilinear; what lies
    beyond an edge repeats the edge."""
    mapped = keras.ops.image.affine_transform(
        images.astype(np.float32), maps, interpolation="bilinear", fill_mode="nearest"
    )
    return keras.ops.convert_to_numpy(mapped)


def cropped(images: np.ndarray, drawn: np.ndarray, image_size: int) -> np.ndarray:
    """Parts of photographs, brought to their size and mirrored in one interpolation, and recoloured.

    Bilinear, averaging where a part becomes smaller, as PIL resizes what was cut out: of rows and then of columns, each
    a small matrix product, with matrices of its own for each image.

    Args:
        images: uint8, (num_images, height, width, 3).
        drawn: (num_images,) of `crops.DRAWN`.
        image_size: pixels a side of what comes out.

    Returns:
        float32 (num_images, size, size, 3) in 0…255.
    """
    ops, (height, width) = keras.ops, images.shape[1:3]
    top, left, heights, widths = drawn["box"].T
    rows = resizing(top, heights, height, image_size)  # (num_images, size, height)
    columns = resizing(left, widths, width, image_size)  # (num_images, size, width)
    columns = ops.where(drawn["mirrored"][:, None, None], ops.flip(columns, axis=1), columns)
    images = ops.convert_to_tensor(images.astype(np.float32))
    images = ops.matmul(rows, ops.reshape(images, (-1, height, width * 3)))
    images = ops.reshape(images, (-1, image_size, width, 3))
    images = ops.transpose(images, (0, 2, 1, 3))  # (num_images, width, size, 3)
    images = ops.matmul(columns, ops.reshape(images, (-1, width, image_size * 3)))
    images = ops.reshape(images, (-1, image_size, image_size, 3))  # columns, then rows
    images = ops.transpose(images, (0, 2, 1, 3))  # (num_images, size, size, 3)
    return ops.convert_to_numpy(recoloured(images, drawn["factors"]))


def resizing(starts: np.ndarray, lengths: np.ndarray, side: int, size: int) -> Any:
    """What each of `size` pixels takes of each of `side`, a tensor (num_images, size, side), where a stretch of them,
    from `starts` on and of `lengths`, both float32 (num_images,), is resized: triangles over it, as wide as two pixels
    of the coarser of both grids."""
    starts, lengths = (keras.ops.convert_to_tensor(one[:, None, None]) for one in (starts, lengths))
    scale = lengths / size
    pixels = keras.ops.arange(side, dtype="float32") + 0.5  # (side,): their centres
    centres = starts + (keras.ops.arange(size, dtype="float32")[:, None] + 0.5) * scale  # (num_images, size, 1)
    taken = keras.ops.relu(1 - keras.ops.abs(pixels - centres) / keras.ops.maximum(scale, 1))
    inside = keras.ops.logical_and(pixels > starts, pixels < starts + lengths)
    taken = keras.ops.where(inside, taken, 0.0)  # (num_images, size, side)
    return taken / keras.ops.sum(taken, axis=2, keepdims=True)


def recoloured(images: Any, factors: np.ndarray) -> Any:
    """Multiply brightness, then contrast, then saturation, as torchvision's `adjust_…` do.

    Args:
        images: a tensor (num_images, height, width, 3) in 0…255; and so is what comes out.
        factors: float32, (num_images, 3).
    """
    ops = keras.ops
    brightness, contrast, saturation = (ops.convert_to_tensor(one) for one in factors.T[:, :, None, None, None])
    shares = ops.convert_to_tensor(np.array(crops.GREY, np.float32))
    images = ops.clip(brightness * images, 0, 255)
    mean = ops.mean(
        ops.sum(shares * images, axis=3, keepdims=True), axis=(1, 2), keepdims=True
    )  # (num_images, 1, 1, 1)
    images = ops.clip(mean + contrast * (images - mean), 0, 255)
    grey = ops.sum(shares * images, axis=3, keepdims=True)  # (num_images, height, width, 1)
    return ops.clip(grey + saturation * (images - grey), 0, 255)
