"""What a data set is, and what is computed of any."""

import dataclasses
import functools
import hashlib
import math
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds

from compare.data import download
from compare.system.errors import UserError

MAX_CLASSES = 1_000
HASHED_BYTES = 1 << 24  # at a time


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled images for training and for the test, in the order of their files.

    Attributes:
        name: a short key: a name that `dataset.load` knows, or the folder's or the file's own.
        title: what people call it.
        class_names: 2 to `MAX_CLASSES`; a label is an index into them.
        train_images, test_images: uint8 in 0…255, (num_images, height, width, channels), one channel or three; they may
            be maps of a file, of which rows are taken as they are needed.
        train_labels, test_labels: (num_images,), of the type that `label_dtype` tells.
        mirror_alike: whether an image's mirror image could be one of the same class.
        are_photographs: whether they have colours and more details than a few dozen pixels show, so that a part of one
            in another light could be another one of the same class.
        is_demonstration: whether it stands in for real data.
        validation_rows: which training images the source itself sets apart, int64, ascending; None where it does not.
        sha256: of images and labels, where something better than the arrays tells: files that are decoded to any size.
        group_by: the expression that tells which images belong together, where there is one.
        groups: int64 (num_train,), of which group each training image is; no two sides of a split share one.
        files: the training images' and then the test images' names in their folder, with / between; None where they
            have none.
        unreadable: how many files were left out, by the kind of the reason (`decoding.Kind`).
        num_leaks: how many test images are training images as well, or of a group that is trained on.
        summary: what the folder holds, in lines.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mirror_alike: bool = True
    are_photographs: bool = False
    is_demonstration: bool = False
    validation_rows: np.ndarray | None = None
    sha256: str | None = None
    group_by: str | None = None
    groups: np.ndarray | None = None
    files: tuple[str, ...] | None = None
    unreadable: dict[str, int] = dataclasses.field(default_factory=dict)
    num_leaks: int = 0
    summary: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.train_images.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 that tells these images and labels from others."""
        if self.sha256 is not None:
            return self.sha256
        return fingerprint(self.train_images, self.train_labels, self.test_images, self.test_labels)


def mapped(name: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> np.ndarray:
    """A uint8 array in the cache, as a map of its file, of which rows are read when they are needed.

    Args:
        name: of the file.
        shape: of the array.
        blocks: what it is written from where it is not there yet, one after the other; no more than one at a time is
            in memory, and none is asked for where the file is there.

    Raises:
        UserError: it cannot be written, or the file is another one.
    """

    path = download.cache_folder() / "images" / name
    download.keep(path, math.prod(shape), lambda partial: write_array(partial, shape, blocks))
    return opened(path, shape)


def write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write a uint8 array from blocks to a file, as `mapped` does; where they give fewer rows it has as many."""
    num_bytes, header = 0, {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        for block in blocks:  # not through a map: where the disk is full, that ends the process
            num_bytes += file.write(block.tobytes())
        num_rows = num_bytes // math.prod(shape[1:])
        if num_rows < shape[0]:
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, header | {"shape": (num_rows, *shape[1:])})
            if file.tell() != begin:  # NumPy leaves room for the first number to grow
                raise OSError("NumPy writes a header of another length")
        file.flush()
        os.fsync(file.fileno())


def opened(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """The map of a file with a uint8 array of that shape.

    Raises:
        UserError: it is another one.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(f"it holds {array.dtype} {array.shape}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", f"uint8 {shape}, as it was written here", "delete that file") from error
    return array


def label_dtype(num_classes: int) -> np.dtype:
    """The smallest type that holds the labels of so many classes."""
    return np.min_scalar_type(num_classes - 1)


def fingerprint(*arrays: np.ndarray) -> str:
    """The SHA-256 of arrays: their dtypes, shapes and bytes, in hexadecimal. Images of one channel are hashed as
    (num_images, height, width)."""
    digest = hashlib.sha256()
    for array in arrays:
        array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        array = np.atleast_1d(array)
        num_rows = max(1, HASHED_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array), num_rows):
            digest.update(np.ascontiguousarray(array[start : start + num_rows]).data)
            _let_go(array)
    return digest.hexdigest()


def take(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array in main memory; of the map of a file they alone are read, and let go afterwards."""
    if (file := _file_map(images)) is not None:
        # All at once, and no more: left to itself the system waits for one after the other, and reads megabytes around
        # each, which comes to dozens of times the file in an epoch that finds no room in memory for all of it.
        file.madvise(mmap.MADV_RANDOM)
        begin, _ = byte_bounds(np.frombuffer(file, np.uint8))
        for row in rows:
            low, high = (address - begin for address in byte_bounds(images[row]))
            low -= low % mmap.PAGESIZE
            file.madvise(mmap.MADV_WILLNEED, low, high - low)
    taken = images[rows]
    _let_go(images)
    return taken


def _let_go(array: np.ndarray) -> None:
    """Let the system forget what was read of the map of a file that an array lies in, if it does: else all of it would
    soon count as memory that is taken."""
    if (file := _file_map(array)) is not None:
        file.madvise(mmap.MADV_DONTNEED)


def _file_map(array: np.ndarray) -> mmap.mmap | None:
    """The read-only map of a file that an array lies in, where the system takes advice on it."""
    lies_in: object = array
    while isinstance(lies_in, np.ndarray):
        lies_in = lies_in.base
    if isinstance(lies_in, mmap.mmap) and hasattr(lies_in, "madvise") and not array.flags.writeable:
        return lies_in
    return None


def stratified_sample(labels: np.ndarray, num_images: int, *, seed: int) -> np.ndarray:
    """Draw `num_images` of the images, or all where there are fewer, each class with its share.

    Args:
        labels: (num_labelled,), of them all.
        num_images: how many.
        seed: of the draw.

    Returns:
        Their rows, int64, ascending.
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))  # of each image among those of its class, in 0…1: the lowest are taken
    for label in np.unique(labels):
        of_class = drawn[labels[drawn] == label]
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return np.sort(np.argsort(place, kind="stable")[:num_images])


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """What an image of each class counts so that classes count alike, and images 1 on average: the number of images
    over that of the classes that have any and of the images of its own (scikit-learn's `class_weight="balanced"`, after
    G. King and L. Zeng, *Logistic Regression in Rare Events Data*, 2001). 0 for a class without images.

    Args:
        labels: (num_labelled,), whole numbers below `num_classes`.
        num_classes: how many there are.

    Returns:
        float32, (num_classes,).
    """
    counts = np.bincount(labels, minlength=num_classes)
    there = counts > 0
    return np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 0).astype(np.float32)


def blocks_averaged(images: np.ndarray, block: int) -> np.ndarray:
    """Images, uint8 (num_images, height, width, channels), with each `block` by `block` pixels averaged to one; what is
    left over at the right and below is left out."""
    if block == 1:
        return images
    num_images, height, width, num_channels = images.shape
    height, width = height // block, width // block
    small = np.empty((num_images, height, width, num_channels), np.uint8)
    for start in range(0, num_images, 1000):  # a map of a file is read bit by bit
        some = images[start : start + 1000, : height * block, : width * block]
        some = some.reshape(-1, height, block, width, block, num_channels)
        small[start : start + 1000] = np.rint(some.mean(axis=(2, 4)))
    return small
