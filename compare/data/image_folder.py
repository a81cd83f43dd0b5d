"""A folder of images, laid out as `layouts` says: decoded once, into one array on disk that later runs map.

Where it has no test set, a fifth of the training images is held out for it. Nothing in the folder is written.
"""

import collections
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from compare.data import sides
from compare.data.images import Dataset, label_dtype, mapped, take
from compare.data.reading import NUM_NAMED, Found, Reading, read, reasons, refuse_too_many
from compare.system.errors import UserError, in_a_line, printable

MOST_UNREADABLE = 0.05  # of all files, that are left out; with more something else is wrong


def load(
    folder: Path,
    *,
    image_size: int | None = None,
    photograph_size: int | None = None,
    fit: Literal["crop", "pad"] = "crop",
    split: Path | None = None,
    group_by: str | None = None,
    unreadable: Literal["skip", "refuse"] = "skip",
    allow_leaks: bool = False,
) -> Dataset:
    """Load a folder of images. They count as photographs where one of them has colours.

    Args:
        folder: as `layouts` says.
        image_size: pixels a side that every image is brought to, by its shorter side and its middle, or, to `pad`, by
            its longer side on black; None is `reading.DEFAULT_SIZE`.
        photograph_size: the same of photographs; None is `image_size`.
        fit: crop or pad.
        split: a table to go by; None goes by the folder's own, or by its folders.
        group_by: a regular expression, which is looked for in a file's name below the folder: images for which its
            first group, or all of it where it has none, is alike stay on one side of every split.
        unreadable: whether files that cannot be read are left out, up to `MOST_UNREADABLE` of all, or refused.
        allow_leaks: whether images, or groups, may lie on both sides of the split that the folder has.

    Raises:
        UserError: there are no classes, or other classes to test than to train, or files that cannot be read as images,
            or images that are both trained on and tested with.
    """
    if unreadable not in ("skip", "refuse"):
        raise UserError(f"unreadable={unreadable!r}", "skip or refuse", "spell it so")
    most = MOST_UNREADABLE if unreadable == "skip" else 0.0
    reading = read(
        folder,
        image_size=image_size,
        photograph_size=photograph_size,
        fit=fit,
        split=split,
        group_by=group_by,
        most_unreadable=most,
    )
    for problem in problems(reading, allow_leaks=allow_leaks):
        raise problem
    is_test, labels = reading.parts == "test", reading.labels
    order = np.lexsort((reading.places, is_test))  # the training images and then the test images, as they are listed
    num_train, images = int((~is_test).sum()), _in_order(reading, order)
    validation_rows = np.flatnonzero(reading.parts[order][:num_train] == "val")
    in_order = [reading.found[row] for row in order]
    groups = None if reading.groups is None else sides.together(reading.groups, reading.pixels)[order][:num_train]
    dtype, name = label_dtype(len(reading.layout.class_names)), _name(folder)
    return Dataset(
        name=name,
        title=name,
        class_names=reading.layout.class_names,
        train_images=images[:num_train],
        train_labels=labels[order][:num_train].astype(dtype),
        test_images=images[num_train:],
        test_labels=labels[order][num_train:].astype(dtype),
        are_photographs=images.shape[3] == 3,
        validation_rows=validation_rows if len(validation_rows) else None,
        sha256=_sha256(in_order[:num_train], in_order[num_train:]),
        group_by=group_by,
        groups=groups,
        files=tuple(one.file.name for one in in_order),
        unreadable=dict(collections.Counter(problem.kind for _, problem in reading.unreadable)),
        num_leaks=reading.num_leaks,
        summary=(*summary(reading), *_warnings(reading)),
    )


def problems(reading: Reading, *, allow_leaks: bool) -> list[UserError]:
    """Why no training can begin on what was read, each as it would be refused."""
    folder, found = reading.folder, reading.found
    errors = []
    try:
        refuse_too_many(reading.layout, reading.unreadable, MOST_UNREADABLE)
    except UserError as error:
        errors.append(error)
    trained_on = set(reading.labels[reading.parts == "train"].tolist())
    if empty := [name for label, name in enumerate(reading.layout.class_names) if label not in trained_on]:
        errors.append(
            UserError(
                f"{folder / empty[0]} holds no images",
                "some to train on in the folder of every class",
                "put images there, or remove the folder where it is no class",
            )
        )
    if not (reading.parts == "test").any():
        what = "groups" if reading.groups is not None else "images"
        errors.append(
            UserError(
                f"{folder} holds {len(found):,} images, and none to test with",
                f"images in test/, or so many {what} of every class that a fifth of them can be held out",
                f"add {what}",
            )
        )
    leaked = np.flatnonzero((reading.parts == "test") & (reading.copied >= 0))
    if len(leaked) and not allow_leaks:
        pairs = [(found[reading.copied[row]], found[row]) for row in leaked]
        errors.append(
            UserError(
                f"{len(leaked):,} of {int((reading.parts == 'test').sum()):,} test images in {folder} are also trained "
                f"on, pixel by pixel:\n    {_pairs(pairs)}",
                "no image on both sides: it tests what was learned by heart",
                "remove one of each, or say --allow-leaks, and the report says so",
            )
        )
    astray = np.flatnonzero(reading.astray >= 0)
    if reading.groups is not None and len(astray) and not allow_leaks:
        names = [reading.group_names[number] for number in dict.fromkeys(reading.groups[astray].tolist())]
        errors.append(
            UserError(
                f"{len(names):,} group{'s' * (len(names) != 1)} in {folder} on more than one side of its split: "
                f"{in_a_line(', '.join(names[:NUM_NAMED]))}{', …' * (len(names) > NUM_NAMED)}",
                "all images of a group on one side",
                "move them, or say --allow-leaks, and the report says so",
            )
        )
    return errors


def summary(reading: Reading) -> tuple[str, ...]:
    """What a folder holds, in two or three lines."""
    found = reading.found
    counts = np.bincount(reading.labels, minlength=len(reading.layout.class_names))
    sizes = np.array([(one.head.width, one.head.height) for one in found])  # (num_found, 2)
    least, most = sizes.min(axis=0), sizes.max(axis=0)
    formats = collections.Counter(one.head.format for one in found)
    modes = collections.Counter(one.head.mode for one in found)
    in_parts = {part: int((reading.parts == part).sum()) for part in ("train", "val", "test")}
    drawn = "" if reading.has_own_test else ", held out here"
    lines = [
        f"{_name(reading.folder)}: {len(found):,} images of {len(counts)} classes, {counts.min():,} to "
        f"{counts.max():,} each; {in_parts['train']:,} to train on, {in_parts['val']:,} to validate with, "
        f"{in_parts['test']:,} to test with{drawn}",
        f"  {least[0]:,} to {most[0]:,} pixels wide, {least[1]:,} to {most[1]:,} high; "
        f"{', '.join(f'{name} {number:,}' for name, number in formats.most_common(NUM_NAMED))}; "
        f"{', '.join(f'{name} {number:,}' for name, number in modes.most_common(NUM_NAMED))}",
    ]
    num_copies = len(found) - len(np.unique(reading.pixels))
    said = [f"{num_copies:,} are copies of others"] if num_copies else []
    if reading.num_leaks:
        said.append(f"{reading.num_leaks:,} test images are trained on as well, or their groups")
    if reading.unreadable:
        kinds = collections.Counter(problem.kind for _, problem in reading.unreadable)
        said.append(
            f"left out, as they cannot be read: {len(reading.unreadable):,} "
            f"({', '.join(f'{kind} {number:,}' for kind, number in kinds.most_common())})"
        )
    if reading.beside:
        said.append(f"{sum(reading.beside.values()):,} other files are passed over ({reading.endings_beside})")
    if reading.groups is not None:
        said.append(f"{len(reading.group_names):,} groups")
    return tuple([*lines, *["  " + "; ".join(said)] * bool(said)])


def _name(folder: Path) -> str:
    return printable(os.path.basename(os.path.abspath(folder)))  # a link's own name, not that of what it leads to


def _pairs(pairs: list[tuple[Found, Found]]) -> str:
    named = [" and ".join(in_a_line(one.file.name) for one in pair) for pair in pairs[:NUM_NAMED]]
    return ";\n    ".join([*named, *["…"] * (len(pairs) > NUM_NAMED)])


def _warnings(reading: Reading) -> Iterator[str]:
    """Which files were left out, and which images are copies of one of another class."""
    if number := len(reading.unreadable):
        yield (
            f"warning: {number:,} file{'s' * (number > 1)} in {reading.folder} cannot be read as images, and "
            f"{'are' if number > 1 else 'is'} left out:\n    {reasons(reading.unreadable)}"
        )
    other = sides.on_other_sides(reading.pixels, reading.labels)
    pairs = [(reading.found[other[row]], reading.found[row]) for row in np.flatnonzero(other >= 0) if other[row] < row]
    if pairs:
        yield (
            f"warning: {reading.folder} holds {len(pairs):,} image{'s' * (len(pairs) > 1)} twice, in two classes, so "
            f"one of their labels is wrong:\n    {_pairs(pairs)}"
        )


def _sha256(*parts: list[Found]) -> str:
    """What tells these images and labels from others, whatever size they are decoded to."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"".join(f"{one.file.label} {one.head.sha256}\n".encode() for one in part))
        digest.update(b"\n")
    return digest.hexdigest()


def _in_order(reading: Reading, order: np.ndarray) -> np.ndarray:
    """The images in another order: the same map where it is no other, else one of a file of its own."""
    if np.array_equal(order, np.arange(len(order))):
        return reading.images
    digest = hashlib.sha256(f"{reading.images.filename} {order.tolist()}".encode()).hexdigest()
    blocks = (take(reading.images, order[start : start + 256]) for start in range(0, len(order), 256))
    return mapped(f"{digest}.npy", reading.images.shape, blocks)
