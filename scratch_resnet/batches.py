"""The data set on the device: it is copied there once, as bytes; shuffling, gathering, scaling and resizing are done
there, a batch at a time. Fashion-MNIST is 47 MB so, and no loader ever waits or is waited for."""

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
        image_size: pixels a side of the batches' images.
        prediction_size: images at once where nothing is learned.
        device: where everything happens.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        image_size: int,
        device: torch.device,
        prediction_size: int = 256,
    ):
        # .copy(): the arrays may be read-only views of a file, which PyTorch refuses to promise not to write.
        self.images = torch.from_numpy(images.copy()).unsqueeze(1).to(device)  # (num_images, 1, 28, 28) uint8
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)  # (num_images,)
        self.image_size = image_size
        self.prediction_size = prediction_size

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in their own order, as batches of images float32 (batch, 1, size, size) in [0, 1] and labels."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self._prepare(self.images[rows]), self.labels[rows]

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, in an order that depends on the seed and the epoch alone, so that a resumed run meets the
        batches of an uninterrupted one. Batches as in `in_order`."""
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(self))).to(self.labels.device)
        for start in range(0, len(self), batch_size):
            rows = order[start : start + batch_size]
            yield self._prepare(self.images[rows]), self.labels[rows]

    def _prepare(self, images: Tensor) -> Tensor:
        """Bytes to network input. Bilinear as PIL resizes, but for PIL's rounding to whole grey levels."""
        images = images.float() / 255  # (batch, 1, 28, 28) in [0, 1]
        if self.image_size != images.shape[-1]:
            images = F.interpolate(images, size=self.image_size, mode="bilinear")  # (batch, 1, size, size)
        return images
