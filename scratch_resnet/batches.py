"""The images as batches on the device: gathered, augmented, scaled and resized there, a batch at a time. A GPU has them
all from the beginning, as bytes, so that no loader ever waits or is waited for. A processor gathers each batch from
where the images lie, so that those on a disk need no main memory."""

import mmap
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scratch_resnet import hardware

MAX_SHARE_OF_GPU = 0.5  # of its free memory, that images may take: the network needs the rest
IMAGES_AT_ONCE = 1024  # copied to a GPU


class Batches:
    """Labelled images, of which batches are made on a device.

    Args:
        images: uint8 in 0…255, (num_all, height, width, channels), channels 1 or 3; may be a read-only map of a file.
        labels: whole numbers from 0, (num_all,).
        rows: which of them, in this order: (num_images,) indices. None takes all.
        device: where everything happens.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, rows: np.ndarray | None = None, device: torch.device):
        self.device = device
        self._rows = np.arange(len(labels)) if rows is None else rows
        self._images = images
        self._map = map_of(images)
        self.labels = torch.from_numpy(labels[self._rows].astype(np.int64)).to(device)  # (num_images,)
        num_bytes = len(self) * images[:1].nbytes
        self._resident = None  # all images, (num_images, height, width, channels) uint8, where the device holds them
        if device.type != "cpu" and num_bytes <= MAX_SHARE_OF_GPU * hardware.free_bytes(device):
            self._resident = self._copied()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._rows)

    @property
    def num_channels(self) -> int:
        """How many channels an image has."""
        return self._images.shape[3]

    def in_order(self, batch_size: int, *, image_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in their own order, as batches of images float32 (batch, channels, size, size) in [0, 1] and
        labels int64 (batch,)."""
        places = torch.arange(len(self), device=self.device)
        for part in places.split(batch_size):
            yield network_input(self._gathered(part), image_size), self.labels[part]

    def shuffled(self, recipe, *, seed: int, epoch: int, begin: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, augmented and at the recipe's size, as batches as in `in_order`, the first `begin` left out.

        Order and augmentation depend on the seed and the epoch alone, so that a resumed run meets the batches of an
        uninterrupted one.
        """
        order, flips, shifts = self._drawn(recipe, seed, epoch)
        for start in range(begin * recipe.batch_size, len(self), recipe.batch_size):
            part = slice(start, start + recipe.batch_size)
            places = order[part]
            yield self._augmented(places, flips[part], shifts[:, part], recipe), self.labels[places]

    def first_of(self, num_images: int, recipe, *, seed: int, epoch: int) -> Tensor:
        """The first images in their own order as `shuffled` gives them in that epoch, (num_images, channels, size,
        size)."""
        order, flips, shifts = self._drawn(recipe, seed, epoch)
        turns = order.argsort()[:num_images]
        return self._augmented(order[turns], flips[turns], shifts[:, turns], recipe)

    def _drawn(self, recipe, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """The order of an epoch's images, (num_images,), and in that order whether each is mirrored, (num_images,), and
        its shift down and across, (2, num_images)."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        flips = rng.random(len(self)) < (0.5 if recipe.horizontal_flip else 0)
        most = recipe.shift_pixels
        shifts = rng.integers(-most, most, (2, len(self)), endpoint=True)
        return tuple(torch.from_numpy(array).to(self.device) for array in (order, flips, shifts))

    def _augmented(self, places: Tensor, flips: Tensor, shifts: Tensor, recipe) -> Tensor:
        images = self._gathered(places)  # (batch, height, width, channels)
        if recipe.horizontal_flip or recipe.shift_pixels:
            images = flip_and_shift(images, flips, shifts, recipe.shift_pixels)
        return network_input(images, recipe.image_size)

    def _gathered(self, places: Tensor) -> Tensor:
        """The images at these places, int64 (batch,), of their own order: uint8 (batch, height, width, channels)."""
        if self._resident is not None:
            return self._resident[places]
        images = self._images[self._rows[places.cpu().numpy()]]
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)  # else all that was read would count as memory that is taken
        return torch.from_numpy(images).to(self.device)

    def _copied(self) -> Tensor:
        """All images, on the device; on the way there never many of them in main memory."""
        copied = torch.empty((len(self), *self._images.shape[1:]), dtype=torch.uint8, device=self.device)
        for part in torch.arange(len(self)).split(IMAGES_AT_ONCE):
            copied[part[0] : part[-1] + 1] = self._gathered(part)
        return copied


def map_of(array: np.ndarray) -> mmap.mmap | None:
    """The read-only map of a file that an array lies in, where there is one and the system can be told to forget what
    was read of it."""
    lies_in = array
    while isinstance(lies_in, np.ndarray):
        lies_in = lies_in.base
    is_map = isinstance(lies_in, mmap.mmap) and not array.flags.writeable
    return lies_in if is_map and hasattr(mmap, "MADV_DONTNEED") else None


def flip_and_shift(images: Tensor, flips: Tensor, shifts: Tensor, most: int) -> Tensor:
    """Mirror the images whose `flips` is true, then move each down and across; what comes in is black.

    Args:
        images: uint8, (batch, height, width, channels).
        flips: bool, (batch,).
        shifts: int64, (2, batch), whole pixels, down and to the right, in ± `most`.
        most: the largest shift.
    """
    height, width = images.shape[1:3]
    down, right = shifts[:, :, None]  # (batch, 1) each
    rows = torch.arange(height, device=images.device) - down + most  # (batch, height): where each row comes from in
    columns = torch.arange(width, device=images.device) - right  # the padded image
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + most  # (batch, width)
    padded = F.pad(images, (0, 0, most, most, most, most))
    batch = torch.arange(len(images), device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def network_input(images: Tensor, image_size: int) -> Tensor:
    """Bytes (batch, height, width, channels) to float32 (batch, channels, size, size) in [0, 1].

    The longer side becomes `image_size`, the shorter one keeps its proportion to it, and black borders, alike on both
    sides, make the image a square, as `PIL.ImageOps.pad` does. Bilinear as PIL resizes, with its averaging where images
    become smaller, but for PIL's rounding to whole grey levels.
    """
    images = images.permute(0, 3, 1, 2)  # (batch, channels, height, width)
    images = images.to(torch.float32, memory_format=torch.contiguous_format) / 255
    longest = max(images.shape[2:])
    if image_size != longest:
        sides = [max(1, round(side * image_size / longest)) for side in images.shape[2:]]
        images = F.interpolate(images, size=sides, mode="bilinear", antialias=image_size < longest)
    height, width = images.shape[2:]  # one of them is `image_size`
    if height != width:
        above, left = round((image_size - height) / 2), round((image_size - width) / 2)
        images = F.pad(images, (left, image_size - width - left, above, image_size - height - above))
    return images
