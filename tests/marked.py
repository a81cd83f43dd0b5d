"""Made pictures whose answer is known: grey noise, and in one corner a mark, bright or dark, that decides the class."""

import numpy as np

SIDE, MARK = 128, 32


def pictures(num_images: int, *, num_channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (num_images, SIDE, SIDE, num_channels), labels (num_images,), 1 where the mark is bright, and in
    which half of the rows and of the columns it lies, (num_images, 2)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(108, 149, (num_images, SIDE, SIDE, 1), np.uint8)
    labels, corners = np.arange(num_images) % 2, rng.integers(0, 2, (num_images, 2))
    for image, label, (down, right) in zip(images, labels, corners, strict=True):
        top, left = down * (SIDE - MARK), right * (SIDE - MARK)
        image[top : top + MARK, left : left + MARK] = 255 * label
    return np.repeat(images, num_channels, axis=3), labels.astype(np.uint8), corners


def share_on_mark(maps: np.ndarray, corners: np.ndarray) -> float:
    """The share of maps (num_images, rows, columns) whose maximum lies in the quarter of the picture that the mark lies
    in; a chance of a quarter for maps that know nothing."""
    places = maps.reshape(len(maps), -1).argmax(axis=1)
    found = np.stack(np.unravel_index(places, maps.shape[1:]), axis=1)  # (num_images, 2)
    halves = (found + 0.5) / np.array(maps.shape[1:])
    return float((np.abs(halves - corners) < 0.5).all(axis=1).mean())
