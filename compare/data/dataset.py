"""The images and labels that every branch sees, as NumPy arrays, by name or from what the user has.

One file a source: `fashion_mnist`, `digits`, `image_folder`, `arrays`.
"""

import importlib
import os
from pathlib import Path
from typing import Literal

import numpy as np

from compare.data import NAMES, arrays, fashion_mnist, image_folder, sides, tables
from compare.data.images import Dataset, fingerprint, stratified_sample
from compare.system.errors import UserError, printable

__all__ = ["Dataset", "fingerprint", "load", "split", "subset", "train_and_validation"]

SPLIT_SEED = 0


def load(
    source: str,
    data_dir: Path | None = None,
    *,
    image_size: int | None = None,
    photograph_size: int | None = None,
    fit: Literal["crop", "pad"] = "crop",
    download: bool = True,
    split: Path | None = None,
    group_by: str | None = None,
    unreadable: Literal["skip", "refuse"] | None = None,
    allow_leaks: bool = False,
) -> Dataset:
    """Load a data set.

    Args:
        source: one of `NAMES`, or a folder of images (`image_folder`), or an .npz file (`arrays`), or a table of
            images, Parquet or CSV, or a folder of these (`tables`).
        data_dir: of Fashion-MNIST, the one folder to look in and below, for files of any name and form that hold the
            data, or one such file; None looks in the usual places and then downloads.
        image_size: pixels a side that image files are brought to, those of a folder and of Parquet; None is
            `reading.DEFAULT_SIZE`.
        photograph_size: the same where those of a folder are photographs; None is `image_size`.
        fit: by what: the middle square of each, or each whole on black.
        download: whether it may.
        split, group_by, unreadable, allow_leaks: of a folder, as `image_folder.load` has them; None is its default.

    Raises:
        UserError: the data is not there, not whole or not what was expected.
    """
    if source != "fashion-mnist" and data_dir is not None:
        raise UserError(
            f"--data-dir {data_dir} with the data {source}",
            "no --data-dir: it says where Fashion-MNIST is",
            "leave --data-dir out; images of your own are named by --data FOLDER",
        )
    is_table = source not in NAMES and os.path.exists(source) and tables.is_table(Path(source))
    is_folder = not is_table and source not in NAMES and os.path.isdir(source)  # Path's own raises on too long a name
    told = {"--split": split, "--group-by": group_by, "--unreadable": unreadable, "--allow-leaks": allow_leaks or None}
    if not is_folder and any(value is not None for value in told.values()):
        said = next(option for option, value in told.items() if value is not None)
        raise UserError(
            f"{said} with the data {printable(source)[:300]}",
            "a folder of images, of which alone it says something",
            f"leave {said} out, or name a folder with --data",
        )
    if source == "fashion-mnist":
        return fashion_mnist.load(data_dir, download=download)
    if source in NAMES:
        return importlib.import_module(f"compare.data.{source.replace('-', '_')}").load()
    if is_table:
        return tables.load(Path(source), image_size=image_size, fit=fit)
    if is_folder:
        return image_folder.load(
            Path(source),
            image_size=image_size,
            photograph_size=photograph_size,
            fit=fit,
            split=split,
            group_by=group_by,
            unreadable=unreadable or "skip",
            allow_leaks=allow_leaks,
        )
    if source.lower().endswith(".npz") and os.path.isfile(source):
        return arrays.load(Path(source))
    reason = "a file of another kind" if os.path.exists(source) else "no such name, folder or file"
    raise UserError(
        f"the data {printable(source)[:300]}: {reason}",
        f"one of {', '.join(NAMES)}, a folder of images, an .npz file, or a table of images (.parquet, .csv)",
        "name it with --data; a path is relative to the current folder",
    )


def train_and_validation(
    data: Dataset, validation_fraction: float, *, labels_per_class: int | None = None, subset_seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation indices as `split` gives them; images that the source itself sets apart are the
    validation split, and left out where none is wanted.

    With `labels_per_class` both come out of one `subset`; where the validation split would have less than two images of
    every class, which choose nothing well, there is none. What the source sets apart is left out then: its labels would
    be further ones. Groups of images that belong together stay on one side; where that cannot be, there is none either.

    Raises:
        UserError: no class has so many labels.
    """
    labels, rows = data.train_labels, np.arange(len(data.train_labels))
    if data.validation_rows is not None:
        rows = np.setdiff1d(rows, data.validation_rows)
    if labels_per_class is not None:
        largest = int(np.bincount(labels[rows]).max())
        if labels_per_class > largest:
            raise UserError(
                f"--labels-per-class {labels_per_class}, and no class of {data.title} has more than {largest:,}",
                f"a number up to {largest:,}, or all",
                "make it smaller, or leave it out to take all labels",
            )
        rows = rows[subset(labels[rows], labels_per_class, seed=subset_seed)]
        validation_fraction *= validation_fraction * labels_per_class >= 2
    elif data.validation_rows is not None:
        return rows, data.validation_rows if validation_fraction else data.validation_rows[:0]
    if data.groups is not None and validation_fraction:
        validation = sides.held_out_groups(labels[rows], data.groups[rows], validation_fraction, seed=SPLIT_SEED)
        return np.delete(rows, validation), rows[validation]
    train, validation = split(labels[rows], validation_fraction)
    return rows[train], rows[validation]


def subset(labels: np.ndarray, labels_per_class: int, *, seed: int) -> np.ndarray:
    """Draw as many images of every class, of a class with fewer all. Subsets of one seed are nested: a larger one has
    all of a smaller one's images.

    Args:
        labels: (num_labelled,), of them all.
        labels_per_class: how many of each.
        seed: of the draw.

    Returns:
        Their rows, int64, ascending.
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(np.concatenate([drawn[labels[drawn] == label][:labels_per_class] for label in np.unique(labels)]))


def split(labels: np.ndarray, validation_fraction: float, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Split the training set into training and validation indices, stratified by class.

    Args:
        labels: (num_train,) labels.
        validation_fraction: share of every class to hold out, in [0, 1); 0 holds out nothing.
        seed: of the draw. It is not the run's seed, so that runs of several seeds can be compared.

    Returns:
        Training and validation indices, int64, each in ascending order.
    """
    everything = np.arange(len(labels))
    if validation_fraction == 0:
        return everything, everything[:0]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    num_validation = int(np.ceil(validation_fraction * len(everything)))
    if counts.min() < 2 or min(num_validation, len(everything) - num_validation) < len(counts):
        # too few for one of every class on both sides
        validation = stratified_sample(labels, num_validation, seed=seed)
        return np.setdiff1d(everything, validation), validation
    from sklearn.model_selection import train_test_split  # here: it takes seconds, and most imports never split

    train, validation = train_test_split(everything, test_size=validation_fraction, stratify=labels, random_state=seed)
    return np.sort(train), np.sort(validation)
