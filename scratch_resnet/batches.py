"""The images as batches on the device: gathered, augmented, scaled and resized there, a batch at a time. A GPU has them
all from the beginning, as bytes, so that no loader ever waits or is waited for. A processor gathers each batch from
where the images lie, so that those on a disk need no main memory."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compare.data.images import take
from compare.training import crops
from scratch_resnet import hardware, several
from scratch_resnet.recipe import Recipe

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

    def in_order(
        self, batch_size: int, *, image_size: int, centre_crop: float = 1.0, which: slice = slice(None)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images, or `which` of them, in their own order, as batches of images float32 (batch, channels, size,
        size) in [0, 1] and labels int64 (batch,)."""
        places = torch.arange(len(self), device=self.device)[which]
        for part in places.split(batch_size):
            yield network_input(self._gathered(part), image_size, centre_crop), self.labels[part]

    def shuffled(self, recipe: Recipe, *, seed: int, epoch: int, begin: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, augmented and at the recipe's size, as batches as in `in_order`, the first `begin` left out;
        of each batch the share of this process.

        Order and augmentation depend on the seed and the epoch alone, so that a resumed run meets the batches of an
        uninterrupted one.
        """
        order, draws = self._drawn(recipe, seed, epoch)
        for start in range(begin * recipe.batch_size, len(self), recipe.batch_size):
            part = several.share(start, start + recipe.batch_size)
            places = order[part]
            yield self._augmented(places, [one[part] for one in draws], recipe), self.labels[places]

    def first_of(self, num_images: int, recipe: Recipe, *, seed: int, epoch: int) -> Tensor:
        """The first images in their own order as `shuffled` gives them in that epoch, (num_images, channels, size,
        size)."""
        order, draws = self._drawn(recipe, seed, epoch)
        turns = order.argsort()[:num_images]
        return self._augmented(order[turns], [one[turns] for one in draws], recipe)

    def _drawn(self, recipe: Recipe, seed: int, epoch: int) -> tuple[Tensor, list[Tensor]]:
        """The order of an epoch's images, (num_images,), and in that order what is drawn for each: the fields of
        `crops.DRAWN` where they are cropped; else whether it is mirrored, (num_images,), and its shift down and across,
        (num_images, 2)."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        if recipe.crop_area < 1:
            height, width = self._images.shape[1:3]
            drawn = crops.draw(len(self), rng, recipe, height=height, width=width)
            draws = [np.ascontiguousarray(drawn[name]) for name in ("box", "mirrored", "factors")]
        else:
            flips = rng.random(len(self)) < (0.5 if recipe.horizontal_flip else 0)
            most = recipe.shift_pixels
            draws = [flips, rng.integers(-most, most, (2, len(self)), endpoint=True).T]
        return torch.from_numpy(order).to(self.device), [torch.from_numpy(array).to(self.device) for array in draws]

    def _augmented(self, places: Tensor, draws: list[Tensor], recipe: Recipe) -> Tensor:
        images = self._gathered(places)  # (batch, height, width, channels)
        if recipe.crop_area < 1:
            boxes, flips, factors = draws
            images = cropped(images, boxes, flips, recipe.image_size)  # (batch, channels, size, size)
            return recoloured(images, factors) if recipe.colour_jitter else images
        if recipe.horizontal_flip or recipe.shift_pixels:
            flips, shifts = draws
            images = flip_and_shift(images, flips, shifts.T, recipe.shift_pixels)
        return network_input(images, recipe.image_size, recipe.centre_crop)

    def _gathered(self, places: Tensor) -> Tensor:
        """The images at these places, int64 (batch,), of their own order: uint8 (batch, height, width, channels)."""
        if self._resident is not None:
            return self._resident[places]
        return torch.from_numpy(take(self._images, self._rows[places.cpu().numpy()])).to(self.device)

    def _copied(self) -> Tensor:
        """All images, on the device; on the way there never many of them in main memory."""
        copied = torch.empty((len(self), *self._images.shape[1:]), dtype=torch.uint8, device=self.device)
        for part in torch.arange(len(self)).split(IMAGES_AT_ONCE):
            copied[part[0] : part[-1] + 1] = self._gathered(part)
        return copied


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


def cropped(images: Tensor, boxes: Tensor, flips: Tensor, image_size: int) -> Tensor:
    """A part of each image, brought to its size and mirrored in one interpolation: bilinear, averaging where it becomes
    smaller, as PIL resizes what was cut out.

    An interpolation of rows and then of columns is two small matrix products. Each image has its own matrices, so that
    parts of all sizes are resized together, and that at some hundredths of the network's work.

    Args:
        images: uint8, (batch, height, width, channels).
        boxes: float32, (batch, 4): row and column where the part begins, its height and width, in pixels.
        flips: bool, (batch,).
        image_size: pixels a side of what comes out.

    Returns:
        float32 (batch, channels, size, size) in [0, 1].
    """
    batch, height, width, channels = images.shape
    top, left, heights, widths = boxes.T
    rows = resizing(top, heights, height, image_size)  # (batch, size, height)
    columns = resizing(left, widths, width, image_size)  # (batch, size, width)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    resized = rows @ (images / 255).flatten(2)  # (batch, size, width · channels)
    resized = resized.unflatten(2, (width, channels)).transpose(2, 3).flatten(1, 2)  # (batch, size · channels, width)
    resized = resized @ columns.transpose(1, 2)  # (batch, size · channels, size)
    return resized.unflatten(1, (image_size, channels)).transpose(1, 2).contiguous()


def resizing(starts: Tensor, lengths: Tensor, side: int, size: int) -> Tensor:
    """What each of `size` pixels takes of each of `side`, (batch, size, side), where a stretch of them is resized, from
    `starts` on and of `lengths`, both float32 (batch,): triangles over it, as wide as two pixels of the coarser of both
    grids."""
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    scale = lengths / size
    pixels = torch.arange(side, device=starts.device) + 0.5  # (side,): their centres
    centres = starts + (torch.arange(size, device=starts.device)[:, None] + 0.5) * scale  # (batch, size, 1)
    taken = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp(min=0)  # (batch, size, side)
    taken = taken * ((pixels > starts) & (pixels < starts + lengths))
    return taken / taken.sum(dim=2, keepdim=True)


def recoloured(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply brightness, then contrast, then saturation, as torchvision's `adjust_…` do.

    Args:
        images: float32, (batch, 3, height, width) in [0, 1]; and so is what comes out.
        factors: float32, (batch, 3).
    """
    brightness, contrast, saturation = factors.T[:, :, None, None, None]  # (batch, 1, 1, 1) each
    shares = torch.tensor(crops.GREY, device=images.device)[:, None, None]  # (3, 1, 1)
    images = (brightness * images).clamp(0, 1)
    mean = (shares * images).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)  # (batch, 1, 1, 1)
    images = torch.lerp(mean, images, contrast).clamp(0, 1)
    grey = (shares * images).sum(dim=1, keepdim=True)  # (batch, 1, height, width)
    return torch.lerp(grey, images, saturation).clamp(0, 1)


def network_input(images: Tensor, image_size: int, centre_crop: float = 1.0) -> Tensor:
    """Bytes (batch, height, width, channels) to float32 (batch, channels, size, size) in [0, 1].

    Of each side the middle is taken, a share of `centre_crop`. The longer side becomes `image_size`, the shorter one
    keeps its proportion to it, and black borders, alike on both sides, make the image a square, as `PIL.ImageOps.pad`
    does. Bilinear as PIL resizes, with its averaging where images become smaller, but for PIL's rounding to whole grey
    levels.
    """
    images = images.permute(0, 3, 1, 2)  # (batch, channels, height, width)
    if centre_crop < 1:
        images = images[:, :, *crops.middle(images.shape[2], images.shape[3], centre_crop)]
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
