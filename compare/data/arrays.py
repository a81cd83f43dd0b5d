"""An .npz file of images and labels, as Keras (`x_train, y_train, x_test, y_test`) and MedMNIST (`train_images,
train_labels, val_…, test_…`) have them. Its arrays are unpacked once, into files that later runs map."""

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from compare.data import download
from compare.data.images import MAX_CLASSES, Dataset, label_dtype
from compare.system import disk
from compare.system.errors import UserError, printable

# for each part the names of its images and its labels, as Keras calls them and as MedMNIST does
NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
MAX_BYTES = 200_000_000_000  # of what is unpacked
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
        folder = _unpacked(path)
        parts = {part: _part(folder, names) for part, names in NAMES.items()}
        if parts["train"] is None or parts["test"] is None:
            raise ValueError("it holds no images and labels under these names")
        shapes = {images.shape[1:] for images, _ in filter(None, parts.values())}
        if len(shapes) > 1:
            raise ValueError(f"its images are of several sizes, {', '.join(map(str, sorted(shapes)))}")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {error}", EXPECTED, ADVICE) from error
    num_classes = 1 + max(int(labels.max()) for _, labels in filter(None, parts.values()))
    if not 2 <= num_classes <= MAX_CLASSES:
        raise UserError(
            f"{path}: labels of {num_classes:,} classes", f"2 to {MAX_CLASSES:,} classes", "mend the labels"
        )
    train_images, train_labels = parts["train"]
    validation_rows = None
    if parts["val"] is not None:
        held_out, held_out_labels = parts["val"]
        validation_rows = np.arange(len(train_images), len(train_images) + len(held_out))
        train_images = _joined(folder / "train-and-val.npy", train_images, held_out)
        train_labels = np.concatenate([train_labels, held_out_labels])
    test_images, test_labels = parts["test"]
    dtype = label_dtype(num_classes)
    name = printable(path.stem)
    return Dataset(
        name=name,
        title=name,
        class_names=tuple(map(str, range(num_classes))),
        train_images=train_images,
        train_labels=train_labels.astype(dtype),
        test_images=test_images,
        test_labels=test_labels.astype(dtype),
        validation_rows=validation_rows,
    )


def _unpacked(path: Path) -> Path:
    """The folder in the cache with the file's arrays of these names, as NAME.npy."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    folder = download.cache_folder() / "arrays" / sha256
    if folder.is_dir():
        return folder
    wanted = {f"{name}.npy" for forms in NAMES.values() for form in forms for name in form}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename in wanted]
        num_bytes = sum(member.file_size for member in members)
        if num_bytes > MAX_BYTES:
            raise ValueError(f"it unpacks to {num_bytes:,} bytes")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            disk.check_room(folder.parent, num_bytes)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=disk.PARTIAL) as temporary:
                whole = Path(temporary, "whole")
                whole.mkdir()
                for member in members:
                    with archive.open(member) as packed, (whole / member.filename).open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked, 1 << 20)
                whole.rename(folder)
        except FileExistsError:  # another process was faster
            pass
        except OSError as error:
            raise disk.cannot_write(f"{folder} cannot be written", folder.parent, error) from error
    return folder


def _part(folder: Path, forms) -> tuple[np.ndarray, np.ndarray] | None:
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
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
            raise ValueError(f"{names[1]} is {labels.dtype} {labels.shape}, and {names[0]} {images.shape}")
        return images, np.array(labels, np.int64)
    return None


def _joined(path: Path, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both one after the other, as a map of a file."""
    if not path.is_file():
        with disk.replacing(path) as partial:
            shape = (len(first) + len(second), *first.shape[1:])
            both = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
            both[: len(first)], both[len(first) :] = first, second
            both.flush()
            del both
    return np.load(path, mmap_mode="r")
