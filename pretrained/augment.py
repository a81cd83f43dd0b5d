"""Shear, zoom and flip of the training images, drawn per image and applied as one affine map.

One map means one interpolation, and at 28×28 on one channel it is next to free; Keras' three random layers one after
the other cost tens of times more. The draws come from NumPy, so they are the same on every backend. Matrices are those
of Keras 2's `ImageDataGenerator`, which the article uses (`keras.src.legacy.preprocessing.image`).
"""

import keras
import numpy as np


def draw(num_images: int, rng: np.random.Generator, recipe, image_size: int = 28) -> np.ndarray:
    """Draw one affine map an image.

    Args:
        num_images: how many.
        rng: where the randomness comes from.
        recipe: `shear_degrees`, `zoom_range` and `horizontal_flip` are used.
        image_size: pixels a side of the images that will be mapped.

    Returns:
        float32 (num_images, 8): maps from output to input pixels, as `keras.ops.image.affine_transform` takes them.
    """
    shear = np.deg2rad(rng.uniform(-recipe.shear_degrees, recipe.shear_degrees, num_images))
    zoom_x, zoom_y = rng.uniform(1 - recipe.zoom_range, 1 + recipe.zoom_range, (2, num_images))
    flip = rng.random(num_images) < 0.5 if recipe.horizontal_flip else np.zeros(num_images, bool)
    return affine_maps(shear, zoom_x, zoom_y, flip, image_size)


def affine_maps(shear, zoom_x, zoom_y, flip, image_size: int) -> np.ndarray:
    """Build the maps from their parameters, each (num_images,): angles in radians, factors, and truth values.

    An output pixel (x, y), counted from the top left, shows the input at (a0·x + a1·y + a2, b0·x + b1·y + b2). Shear
    and zoom leave the image's centre where it is; the flip comes last.
    """
    a0, a1 = zoom_x, -np.sin(shear) * zoom_y
    b0, b1 = np.zeros_like(shear), np.cos(shear) * zoom_y
    centre = (image_size - 1) / 2
    a2 = centre - (a0 + a1) * centre
    b2 = centre - (b0 + b1) * centre
    a2, a0 = np.where(flip, a2 + a0 * (image_size - 1), a2), np.where(flip, -a0, a0)
    zeros = np.zeros_like(shear)
    return np.stack([a0, a1, a2, b0, b1, b2, zeros, zeros], axis=1).astype(np.float32)  # (num_images, 8)


def apply(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Map uint8 images (num_images, 28, 28) to float32 (num_images, 28, 28, 1) in 0…255, bilinear; what lies beyond an
    edge repeats the edge."""
    images = images[..., np.newaxis].astype(np.float32)
    mapped = keras.ops.image.affine_transform(images, maps, interpolation="bilinear", fill_mode="nearest")
    return keras.ops.convert_to_numpy(mapped)
