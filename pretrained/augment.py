"""Shear, zoom and flip of the training images, drawn per image and applied as one affine map.

One map means one interpolation, and at 28×28 on one channel it is next to free; Keras' three random layers one after
the other cost tens of times more. The draws come from NumPy, so they are the same on every backend. Matrices are those
of Keras 2's `ImageDataGenerator`, which the article uses (`keras.src.legacy.preprocessing.image`).
"""

import keras
import numpy as np


def draw(num_images: int, rng: np.random.Generator, recipe, *, height: int, width: int) -> np.ndarray:
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


def affine_maps(shear, zoom_x, zoom_y, flip, *, height: int, width: int) -> np.ndarray:
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
