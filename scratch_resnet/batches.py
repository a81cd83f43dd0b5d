"""The data set on the device: it is copied there once, as bytes; shuffling, gathering, augmenting, scaling and resizing
are done there, a batch at a time. Fashion-MNIST is 47 MB so, and no loader ever waits or is waited for."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Batches:
    """Labelled images on a device.

    Args:
        images: uint8 in 0…255, (num_images, 28, 28).
        labels: uint8, (num_images,).
        device: where everything happens.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, device: torch.device):
        # .copy(): the arrays may be read-only views of a file, which PyTorch refuses to promise not to write.
        self.images = torch.from_numpy(images.copy()).to(device)  # (num_images, 28, 28) uint8
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)  # (num_images,)

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def in_order(self, batch_size: int, *, image_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in their own order, as batches of images float32 (batch, 1, size, size) in [0, 1] and labels."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield network_input(self.images[rows], image_size), self.labels[rows]

    def shuffled(self, recipe, *, seed: int, epoch: int, begin: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, augmented and at the recipe's size, as batches as in `in_order`, the first `begin` left out.

        Order and augmentation depend on the seed and the epoch alone, so that a resumed run meets the batches of an
        uninterrupted one.
        """
        order, flips, shifts = self._drawn(recipe, seed, epoch)
        for start in range(begin * recipe.batch_size, len(self), recipe.batch_size):
            part = slice(start, start + recipe.batch_size)
            rows = order[part]
            yield self._augmented(rows, flips[part], shifts[:, part], recipe), self.labels[rows]

    def first_of(self, num_images: int, recipe, *, seed: int, epoch: int) -> Tensor:
        """The first images in their own order as `shuffled` gives them in that epoch, (num_images, 1, size, size)."""
        order, flips, shifts = self._drawn(recipe, seed, epoch)
        places = order.argsort()[:num_images]
        return self._augmented(order[places], flips[places], shifts[:, places], recipe)

    def _drawn(self, recipe, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """The order of an epoch's images, (num_images,), and in that order whether each is mirrored, (num_images,), and
        its shift down and across, (2, num_images)."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        flips = rng.random(len(self)) < (0.5 if recipe.horizontal_flip else 0)
        most = recipe.shift_pixels
        shifts = rng.integers(-most, most, (2, len(self)), endpoint=True)
        return self._on_device(order), self._on_device(flips), self._on_device(shifts)

    def _augmented(self, rows: Tensor, flips: Tensor, shifts: Tensor, recipe) -> Tensor:
        images = self.images[rows]  # (batch, 28, 28)
        if recipe.horizontal_flip or recipe.shift_pixels:
            images = flip_and_shift(images, flips, shifts, recipe.shift_pixels)
        return network_input(images, recipe.image_size)

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.labels.device)


def flip_and_shift(images: Tensor, flips: Tensor, shifts: Tensor, most: int) -> Tensor:
    """Mirror the images whose `flips` is true, then move each down and across; what comes in is black.

    Args:
        images: uint8, (batch, 28, 28).
        flips: bool, (batch,).
        shifts: int64, (2, batch), whole pixels, down and to the right, in ± `most`.
        most: the largest shift.
    """
    pixels = torch.arange(images.shape[-1], device=images.device)  # (28,)
    rows = pixels - shifts[0, :, None] + most  # (batch, 28): where each row comes from in the padded image
    columns = pixels - shifts[1, :, None]
    columns = torch.where(flips[:, None], pixels[-1] - columns, columns) + most
    padded = F.pad(images, (most, most, most, most))
    batch = torch.arange(len(images), device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def network_input(images: Tensor, image_size: int) -> Tensor:
    """Bytes (batch, 28, 28) to float32 (batch, 1, size, size) in [0, 1]. Bilinear as PIL resizes, but for PIL's
    rounding to whole grey levels."""
    images = images.unsqueeze(1).float() / 255  # (batch, 1, 28, 28)
    if image_size != images.shape[-1]:
        images = F.interpolate(images, size=image_size, mode="bilinear")  # (batch, 1, size, size)
    return images
