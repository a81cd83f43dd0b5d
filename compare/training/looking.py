"""What a branch gives for pictures beside their probabilities: what the network made of them, and where it looked."""

import dataclasses
from collections.abc import Callable
from typing import TypeGuard

import numpy as np

from compare.runs.features import SMALLEST_MAP

NUM_PLACES = 7  # of the patch, across and down
GREY = 128  # of the patch, in every channel
COPIES_AT_ONCE = 1024  # of pictures with a patch


@dataclasses.dataclass(frozen=True)
class Looked:
    """What a network gives for some images, all float32.

    Attributes:
        probabilities: (num_images, num_classes); of no class, (num_images, 0), where only features were at hand.
        features: (num_images, num_features), what its linear layer gets: the means of its last maps.
        maps: (num_images, height, width), class activation maps of each image's predicted class: what each place of the
            last maps adds to its logit (B. Zhou et al., *Learning Deep Features for Discriminative Localization*, 2016,
            arXiv 1512.04150) over the mean of all classes' logits, up to a factor and a constant an image. Without that
            mean a part that all classes share would be in it, which changes no probability. None where the network is
            no sum over places.
    """

    probabilities: np.ndarray
    features: np.ndarray
    maps: np.ndarray | None


Look = Callable[[np.ndarray], Looked]  # of uint8 (num_images, height, width, channels), as the run's data are


def are_large_enough(maps: np.ndarray | None) -> TypeGuard[np.ndarray]:
    """Whether class activation maps (num_images, height, width) tell places apart: from 4×4 on."""
    return maps is not None and min(maps.shape[1:]) >= SMALLEST_MAP


def occlusion(images: np.ndarray, probabilities: np.ndarray, look: Look) -> np.ndarray:
    """By how much the probability of each image's predicted class falls when a grey patch covers a place of it (M.
    Zeiler and R. Fergus, *Visualizing and Understanding Convolutional Networks*, 2014, arXiv 1311.2901): float32
    (num_images, NUM_PLACES, NUM_PLACES). The patch is a quarter of the image wide and high.

    Args:
        images: uint8, (num_images, height, width, channels).
        probabilities: (num_images, num_classes), of them without a patch.
        look: the network.
    """
    predicted = probabilities.argmax(axis=1)
    boxes = [(down, across) for down in _places(images.shape[1]) for across in _places(images.shape[2])]
    falls = np.empty((len(images), len(boxes)), np.float32)
    step = max(1, COPIES_AT_ONCE // len(boxes))
    for start in range(0, len(images), step):
        some = images[start : start + step]
        copies = np.repeat(some[:, np.newaxis], len(boxes), axis=1)  # (some, boxes, height, width, channels)
        for number, (down, across) in enumerate(boxes):
            copies[:, number, down, across] = GREY
        found = look(copies.reshape(-1, *images.shape[1:])).probabilities.reshape(len(some), len(boxes), -1)
        rows = np.arange(start, start + len(some))
        falls[rows] = probabilities[rows, predicted[rows]][:, np.newaxis] - np.take_along_axis(
            found, predicted[rows][:, np.newaxis, np.newaxis], axis=2
        ).squeeze(2)
    return falls.reshape(-1, NUM_PLACES, NUM_PLACES)


def _places(side: int) -> list[slice]:
    """Where the patch lies along a side of so many pixels."""
    width = max(1, round(side / 4))
    return [slice(begin, begin + width) for begin in np.rint(np.linspace(0, side - width, NUM_PLACES)).astype(int)]
