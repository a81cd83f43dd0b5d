"""An .npz file of images and labels, as Keras (`x_train, y_train, x_test, y_test`) and MedMNIST (`train_images,
train_labels, val_…, test_…`) have them. Its arrays are unpacked once, into files that later runs map."""

import hashlib
import os
import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np

from compare.data import download
from compare.data.images import MAX_CLASSES, Dataset, label_dtype, mapped
from compare.system.errors import UserError, printable

# for each part the names of its images and its labels, as Keras calls them and as MedMNIST does
NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
MAX_BYTES = 200_000_000_000  # of what is unpacked
LEAST_SIDE_OF_PHOTOGRAPHS = 64  # pixels; below, an image in colour has nothing to spare
ADVICE = "write such a file with numpy.savez_compressed"
EXPECTED = (
    "images uint8 (n, height, width) or (n, height, width, 1 or 3) and labels of whole numbers (n,) or (n, 1), called "
    "x_train, y_train, x_test, y_test, or train_images, train_labels, test_images, test_labels"
)


def load(path: Path) -> Dataset:
    """Load an .npz file. Images to validate with, where it has some, are training images that it sets apart.

    Raises:
        UserError: it is no such file.
    """
    try:
        return of_folder(_unpacked(path), printable(path.stem))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {error}", EXPECTED, ADVICE) from error


def of_folder(
    folder: Path, name: str, *, class_names: tuple[str, ...] | None = None, sha256: str | None = None
) -> Dataset:
    """The data set of a folder of arrays in the cache, called as `NAMES` says.

    Args:
        folder: the arrays, as NAME.npy; its own name is theirs alone.
        name: the data set's.
        class_names: None calls the classes by their numbers.
        sha256: as in `Dataset`.

    Raises:
        ValueError: they are no such arrays.
    """
    parts = {part: _part(folder, names) for part, names in NAMES.items()}
    if parts["train"] is None or parts["test"] is None:
        raise ValueError("it holds no images and labels under these names")
    shapes = {images.shape[1:] for images, _ in filter(None, parts.values())}
    if len(shapes) > 1:
        raise ValueError(f"its images are of several sizes, {', '.join(map(str, sorted(shapes)))}")
    num_classes = 1 + max(int(labels.max()) for _, labels in filter(None, parts.values()))
    if num_classes < 2:
        raise ValueError(f"every label is 0, and 2 to {MAX_CLASSES:,} classes are expected")
    names = class_names or tuple(map(str, range(num_classes)))
    train_images, train_labels = parts["train"]
    validation_rows = None
    if parts["val"] is not None:
        held_out, held_out_labels = parts["val"]
        validation_rows = np.arange(len(train_images), len(train_images) + len(held_out))
        shape = (len(train_images) + len(held_out), *train_images.shape[1:])
        blocks = (part[row : row + 1000] for part in (train_images, held_out) for row in range(0, len(part), 1000))
        train_images = mapped(f"{folder.name}-train-and-val.npy", shape, blocks)
        train_labels = np.concatenate([train_labels, held_out_labels])
    test_images, test_labels = parts["test"]
    dtype, (height, width, num_channels) = label_dtype(len(names)), train_images.shape[1:]
    return Dataset(
        name=name,
        title=name,
        class_names=names,
        train_images=train_images,
        train_labels=train_labels.astype(dtype),
        test_images=test_images,
        test_labels=test_labels.astype(dtype),
        are_photographs=num_channels == 3 and min(height, width) >= LEAST_SIDE_OF_PHOTOGRAPHS,
        validation_rows=validation_rows,
        sha256=sha256,
    )


def _unpacked(path: Path) -> Path:
    """The folder in the cache with the file's arrays of these names, as NAME.npy."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = {f"{name}.npy" for forms in NAMES.values() for form in forms for name in form}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename in wanted]
        num_bytes = sum(member.file_size for member in members)
        if num_bytes > MAX_BYTES:
            raise ValueError(f"it unpacks to {num_bytes:,} bytes")
        # other methods ask for memory by what the archive says
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise ValueError("it is packed by another method than deflate")

        def unpack(folder: Path) -> None:
            folder.mkdir()
            for member in members:
                with (folder / member.filename).open("wb") as unpacked:
                    try:
                        with archive.open(member) as packed:
                            shutil.copyfileobj(packed, unpacked, 1 << 20)
                    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: a password
                        raise ValueError(f"{member.filename} is damaged or cannot be unpacked ({error})") from error
                    unpacked.flush()
                    os.fsync(unpacked.fileno())

        return download.keep(download.cache_folder() / "arrays" / sha256, num_bytes, unpack)


def _part(folder: Path, forms: tuple[tuple[str, str], ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """The images with their channels, a map of a file, and the labels, int64 (num_images,), of one part; None where it
    is not there."""
    for names in forms:
        paths = [folder / f"{name}.npy" for name in names]
        if not all(path.is_file() for path in paths):
            continue
        images, labels = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
        images = images[..., np.newaxis] if images.ndim == 3 else images
        if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8 or not images.size:
            raise ValueError(f"{names[0]} is {images.dtype} {images.shape}")
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise ValueError(f"{names[1]} is {labels.dtype} {labels.shape}, and {names[0]} {images.shape}")
        if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
            raise ValueError(f"{names[1]} has numbers in {labels.min()}…{labels.max()}, not in 0…{MAX_CLASSES - 1}")
        return images, np.array(labels, np.int64)
    return None
