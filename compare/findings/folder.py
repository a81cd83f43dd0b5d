"""What is wrong with a folder of images, before anything is trained on it."""

import collections
import dataclasses

import numpy as np
from PIL import Image

from compare.data.reading import Reading

PARTS = ("train", "val", "test")
# of the 64 bits of a perceptual hash: as many differ at most between an image and a copy of it that was made smaller,
# brighter or compressed anew, and more between nearly all other images
NEAR = 4
TINY = 32  # pixels of the shorter side, below which there is less to see than the smallest networks take
EMPTY = 2.0  # standard deviation of the grey levels in 0…255, below which there is next to nothing to see
BLOCK = 8192  # hashes that are compared at once with as many
GREY = np.array([0.299, 0.587, 0.114])  # how bright the channels are, by ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Folder:
    """What was found in a folder. Rows are those of the images that could be read.

    Attributes:
        counts: int64 (num_classes, 3), images by class and `PARTS`.
        sizes: int64 (3, 2), the least, the median and the largest width and height, pixels.
        formats, modes: how many images have each, the most frequent first.
        copies: for each set of images with the same pixels its rows, ascending.
        near: for each image that nearly is one of an earlier side its row, that one's, and the bits that differ, the
            fewest first; the earlier sides are training and validation for the test, training for validation.
        without_test: labels of the classes without test images.
        imbalance: how many times the smallest class the largest has, of those to train on.
        tiny: rows of images with a side below `TINY`.
        empty: rows of images with next to nothing to see.
        animated: rows of images of whose frames the first is taken.
        groups: the rows of each group, by name; None without groups.
    """

    counts: np.ndarray
    sizes: np.ndarray
    formats: dict[str, int]
    modes: dict[str, int]
    copies: list[np.ndarray]
    near: list[tuple[int, int, int]]
    without_test: list[int]
    imbalance: float
    tiny: np.ndarray
    empty: np.ndarray
    animated: np.ndarray
    groups: dict[str, np.ndarray] | None


def find(reading: Reading) -> Folder:
    """Everything that is computed of a folder."""
    heads, labels = [one.head for one in reading.found], reading.labels
    sizes = np.array([(head.width, head.height) for head in heads], np.int64)  # (num_found, 2)
    counts = np.stack(
        [np.bincount(labels[reading.parts == part], minlength=len(reading.layout.class_names)) for part in PARTS],
        axis=1,
    )
    trained_on = counts[:, 0] + counts[:, 1]
    empty = np.flatnonzero(spread(reading.images) < EMPTY)
    return Folder(
        counts=counts,
        sizes=np.stack([sizes.min(axis=0), np.median(sizes, axis=0).astype(np.int64), sizes.max(axis=0)]),
        formats=dict(collections.Counter(head.format for head in heads).most_common()),
        modes=dict(collections.Counter(head.mode for head in heads).most_common()),
        copies=[rows for rows in _sets(reading.pixels) if len(rows) > 1],
        near=near_copies(reading, empty),
        without_test=np.flatnonzero(counts[:, 2] == 0).tolist(),
        imbalance=float(trained_on.max() / max(trained_on.min(), 1)),
        tiny=np.flatnonzero(sizes.min(axis=1) < TINY),
        empty=empty,
        animated=np.flatnonzero([head.is_animated for head in heads]),
        groups=None if reading.groups is None else dict(zip(reading.group_names, _sets(reading.groups), strict=True)),
    )


def spread(images: np.ndarray) -> np.ndarray:
    """The standard deviation of each image's grey levels in 0…255, float64 (num_images,); images are uint8,
    (num_images, height, width, 1 or 3)."""
    weights = GREY if images.shape[3] == 3 else np.ones(1)
    return np.array([(image @ weights).std() for image in images])


def near_copies(reading: Reading, empty: np.ndarray) -> list[tuple[int, int, int]]:
    """`Folder.near`. Images that are nearly empty look all alike, and copies of the very same pixels are told of by
    themselves: both are left out."""
    if (reading.parts == "train").all():
        return []
    hashes, left_out = perceptual_hashes(reading.images), np.zeros(len(reading.found), bool)
    left_out[empty] = True
    found = []
    for part, earlier in (("val", ("train",)), ("test", ("train", "val"))):
        later = np.flatnonzero((reading.parts == part) & ~left_out)
        before = np.flatnonzero(np.isin(reading.parts, earlier) & ~left_out)
        later = later[~np.isin(reading.pixels[later], reading.pixels[before])]
        nearest, distances = nearest_hashes(hashes[later], hashes[before])
        found += [
            (int(later[place]), int(before[nearest[place]]), int(distances[place]))
            for place in np.flatnonzero(distances <= NEAR)
        ]
    return sorted(found, key=lambda one: one[2])


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """A hash of how each image looks, uint64 (num_images,), by ImageHash's phash: of the lowest 8 by 8 frequencies of
    its grey levels at 32 by 32 pixels, which lie above their median. `images` as in `spread`."""
    import imagehash  # here: it brings SciPy's transforms, and nothing else here needs them

    hashes = [
        imagehash.phash(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)).hash for image in images
    ]
    return np.packbits(np.array(hashes, bool).reshape(-1, 64), axis=1).view(np.uint64)[:, 0]


def nearest_hashes(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of some hashes, uint64 (num_hashes,), the place of the nearest among others, int64, and how many bits
    differ, int64; 65 where there are no others. No more than `BLOCK` by `BLOCK` are in memory at once."""
    nearest, distances = np.zeros(len(hashes), np.int64), np.full(len(hashes), 65, np.int64)
    for start in range(0, len(others), BLOCK):
        for first in range(0, len(hashes), BLOCK // 8):
            rows = slice(first, first + BLOCK // 8)
            bits = np.bitwise_count(hashes[rows, np.newaxis] ^ others[start : start + BLOCK])  # (num_rows, num_others)
            places = bits.argmin(axis=1)
            least = bits[np.arange(len(bits)), places].astype(np.int64)
            is_nearer = least < distances[rows]
            nearest[rows] = np.where(is_nearer, start + places, nearest[rows])
            distances[rows] = np.where(is_nearer, least, distances[rows])
    return nearest, distances


def astray(reading: Reading) -> list[str]:
    """The names of the groups that lie on more than one side."""
    if reading.groups is None:
        return []
    return [reading.group_names[number] for number in dict.fromkeys(reading.groups[reading.astray >= 0].tolist())]


def is_across(rows: np.ndarray, of: np.ndarray) -> bool:
    """Whether images of a set are of several kinds: classes, or sides."""
    return len(np.unique(of[rows])) > 1


def across_first(rows: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The rows of a set with one of each kind first, so that the first few show what is wrong."""
    _, first = np.unique(of[rows], return_index=True)
    return np.concatenate([rows[np.sort(first)], np.delete(rows, first)])


def _sets(numbers: np.ndarray) -> list[np.ndarray]:
    """The rows that each number has, by the numbers."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
