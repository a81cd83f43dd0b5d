"""A folder of images, laid out as `layouts` says: decoded once, into one array on disk that later runs map.

Where it has no test set, a fifth of the training images is held out for it. Nothing in the folder is written.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from compare.data import download, sides
from compare.data.decoding import GREY_MODES, HASH_BYTES, Head, Unreadable, fitted, in_threads, look, pixels_hash, whole
from compare.data.images import Dataset, label_dtype, mapped, opened, take, write_array
from compare.data.layouts import Layout, Listed, layout_of
from compare.system import disk
from compare.system.errors import UserError, in_a_line, printable

DEFAULT_SIZE = 64
MOST_UNREADABLE = 0.05  # of all files, that are left out; with more something else is wrong
NUM_NAMED = 5  # files that an error or a warning names


@dataclasses.dataclass(frozen=True)
class Found:
    """An image file that could be read, and what its head tells."""

    file: Listed
    head: Head


@dataclasses.dataclass(frozen=True)
class Reading:
    """A folder as it was read.

    Attributes:
        folder: where it is.
        layout: how it is laid out, with all of its files.
        found: those that could be read, in the order of `images`.
        unreadable: the others, and why.
        places: int64 (num_found,), where each stands among the layout's files.
        images: uint8, (num_found, size, size, channels), one channel where all are grey: a map of a file in the cache.
        pixels: int64 (num_found,), a number for each, alike where all pixels are.
        parts: (num_found,), `train`, `val` or `test`: as the folder says, or as was drawn.
        has_own_test: whether the folder says which are to test with.
        groups: int64 (num_found,), a number for each, alike for those of one group; None without groups.
        group_names: what the groups are called, by their numbers.
    """

    folder: Path
    layout: Layout
    found: list[Found]
    unreadable: list[tuple[Listed, Unreadable]]
    places: np.ndarray
    images: np.ndarray
    pixels: np.ndarray
    parts: np.ndarray
    has_own_test: bool
    groups: np.ndarray | None
    group_names: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """The place of each image's class among the names, int64 (num_found,)."""
        return np.array([one.file.label for one in self.found], np.int64)

    @functools.cached_property
    def copied(self) -> np.ndarray:
        """For each image the row of one with the same pixels on the other side, that of the test or that of training
        and validation, int64 (num_found,); -1 where there is none."""
        return sides.on_other_sides(self.pixels, self.parts == "test")

    @functools.cached_property
    def astray(self) -> np.ndarray:
        """For each image the row of one of its group in another part, int64 (num_found,); -1 where there is none."""
        if self.groups is None:
            return np.full(len(self.found), -1, np.int64)
        return sides.on_other_sides(self.groups, self.parts)

    @property
    def num_leaks(self) -> int:
        """How many test images are training images as well, or of a group that is trained on."""
        return int(((self.parts == "test") & ((self.copied >= 0) | (self.astray >= 0))).sum())


def load(
    folder: Path,
    *,
    image_size: int | None = None,
    fit: Literal["crop", "pad"] = "crop",
    split: Path | None = None,
    group_by: str | None = None,
    unreadable: Literal["skip", "refuse"] = "skip",
    allow_leaks: bool = False,
) -> Dataset:
    """Load a folder of images.

    Args:
        folder: as `layouts` says.
        image_size: pixels a side that every image is brought to, by its shorter side and its middle, or, to `pad`, by
            its longer side on black; None is `DEFAULT_SIZE`.
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
    reading = read(folder, image_size=image_size, fit=fit, split=split, group_by=group_by, most_unreadable=most)
    for problem in problems(reading, allow_leaks=allow_leaks):
        raise problem
    _warn(reading)
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
        validation_rows=validation_rows if len(validation_rows) else None,
        sha256=_sha256(in_order[:num_train], in_order[num_train:]),
        group_by=group_by,
        groups=groups,
        files=tuple(one.file.name for one in in_order),
        unreadable=dict(collections.Counter(problem.kind for _, problem in reading.unreadable)),
        num_leaks=reading.num_leaks,
        summary=summary(reading),
    )


def read(
    folder: Path,
    *,
    image_size: int | None,
    fit: Literal["crop", "pad"],
    split: Path | None,
    group_by: str | None,
    most_unreadable: float,
) -> Reading:
    """Read a folder, whatever is wrong with what its files hold; the arguments are those of `load`.

    Args:
        most_unreadable: which share of the files may be left out.

    Raises:
        UserError: it is laid out in no way that is known, too many files cannot be read, or a name has no group.
    """
    if fit not in ("crop", "pad"):
        raise UserError(f"fit={fit!r}", "crop or pad", "spell it so")
    size = image_size or DEFAULT_SIZE
    layout = layout_of(folder, split)
    root = os.path.realpath(folder)
    heads = list(in_threads(look, [(one.path, root) for one in layout.files], doing="reading"))
    looked = list(zip(layout.files, heads, strict=True))
    found = [Found(file, head) for file, head in looked if not isinstance(head, Unreadable)]
    unreadable = [(file, head) for file, head in looked if isinstance(head, Unreadable)]
    _refuse_too_many(layout, unreadable, most_unreadable)
    if not found:
        _refuse_none(folder, unreadable)
    has_own_test = any(one.part == "test" for one in layout.files)

    # drawn by the files' bytes, it is in nearly every folder what is drawn by their pixels, and these lie in order then
    test = _is_test(found, sides.numbered([one.head.sha256 for one in found]), group_by, has_own_test)
    found = [one for one, is_test in zip(found, test, strict=True) if not is_test] + [
        one for one, is_test in zip(found, test, strict=True) if is_test
    ]
    images, hashes, damaged = _decoded(found, size=size, fit=fit)
    unreadable += [(found[row].file, problem) for row, problem in damaged.items()]
    _refuse_too_many(layout, unreadable, most_unreadable)
    if not hashes:
        _refuse_none(folder, unreadable)
    found = [one for row, one in enumerate(found) if row not in damaged]
    pixels = sides.numbered(hashes)
    place_of = {one.name: place for place, one in enumerate(layout.files)}
    places = np.array([place_of[one.file.name] for one in found], np.int64)
    listed, test = np.argsort(places), np.empty(len(found), bool)  # what is drawn does not depend on the order here
    test[listed] = _is_test([found[row] for row in listed], pixels[listed], group_by, has_own_test)
    names = _group_names(found, group_by)
    return Reading(
        folder=folder,
        layout=layout,
        found=found,
        unreadable=unreadable,
        places=places,
        images=images,
        pixels=pixels,
        parts=np.where(test, "test", [one.file.part for one in found]),
        has_own_test=has_own_test,
        groups=None if names is None else sides.numbered(names),
        group_names=() if names is None else tuple(dict.fromkeys(names)),
    )


def problems(reading: Reading, *, allow_leaks: bool) -> list[UserError]:
    """Why no training can begin on what was read, each as it would be refused."""
    folder, found = reading.folder, reading.found
    errors = []
    try:
        _refuse_too_many(reading.layout, reading.unreadable, MOST_UNREADABLE)
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
    if len(astray) and not allow_leaks:
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
    found, counts = reading.found, np.bincount(reading.labels)
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
            f"{len(reading.unreadable):,} files left out that cannot be read "
            f"({', '.join(f'{kind} {number:,}' for kind, number in kinds.most_common())})"
        )
    if reading.groups is not None:
        said.append(f"{len(reading.group_names):,} groups")
    return tuple([*lines, *["  " + "; ".join(said)] * bool(said)])


def _name(folder: Path) -> str:
    return printable(os.path.basename(os.path.abspath(folder)))  # a link's own name, not that of what it leads to


def _pairs(pairs: list[tuple[Found, Found]]) -> str:
    named = [" and ".join(in_a_line(one.file.name) for one in pair) for pair in pairs[:NUM_NAMED]]
    return ";\n    ".join([*named, *["…"] * (len(pairs) > NUM_NAMED)])


def _warn(reading: Reading) -> None:
    """Tell which files were left out, and which images are copies of one of another class."""
    if reading.unreadable:
        print(
            f"warning: {len(reading.unreadable):,} files in {reading.folder} cannot be read as images, and are left "
            f"out:\n    {_reasons(reading.unreadable)}",
            file=sys.stderr,
        )
    other = sides.on_other_sides(reading.pixels, reading.labels)
    pairs = [(reading.found[other[row]], reading.found[row]) for row in np.flatnonzero(other >= 0) if other[row] < row]
    if pairs:
        print(
            f"warning: {reading.folder} holds {len(pairs):,} image{'s' * (len(pairs) > 1)} twice, in two classes, so "
            f"one of their labels is wrong:\n    {_pairs(pairs)}",
            file=sys.stderr,
        )


def _reasons(unreadable: list[tuple[Listed, Unreadable]]) -> str:
    named = [in_a_line(f"{file.path}: {problem}") for file, problem in unreadable[:NUM_NAMED]]
    return ";\n    ".join([*named, *["…"] * (len(unreadable) > NUM_NAMED)])


def _refuse_too_many(layout: Layout, unreadable: list[tuple[Listed, Unreadable]], most: float) -> None:
    """Refuse more files that cannot be read than that share of all."""
    if len(unreadable) > most * len(layout.files):
        raise UserError(
            f"{len(unreadable):,} of {len(layout.files):,} files cannot be read as images:\n    {_reasons(unreadable)}",
            f"whole image files; up to {most:.0%} of them are left out if they are none"
            if most
            else "whole image files, as --unreadable refuse wants it",
            "mend or remove them",
        )


def _refuse_none(folder: Path, unreadable: list[tuple[Listed, Unreadable]]) -> None:
    raise UserError(
        f"{folder} holds no images that can be read" + f":\n    {_reasons(unreadable)}" * bool(unreadable),
        "some to train on in the folder of every class",
        "put images there",
    )


def _group_names(found: list[Found], group_by: str | None) -> list[str] | None:
    """The name of each file's group; None without groups.

    Raises:
        UserError: a file has none.
    """
    if group_by is None:
        return None
    matches = [re.search(group_by, one.file.name) for one in found]
    names = [match and match[min(1, match.re.groups)] for match in matches]
    if None in names:
        raise UserError(
            f"--group-by {printable(group_by)} is not found in {in_a_line(found[names.index(None)].file.name)}",
            "a regular expression that finds the group of every file in its name below the folder",
            "mend it, or rename the file",
        )
    return names


def _is_test(found: list[Found], pixels: np.ndarray, group_by: str | None, has_own_test: bool) -> np.ndarray:
    """Whether each file is to test with, bool (num_found,): as the folder says, or as is drawn out of those to train
    on, but for what is among those to validate with as well."""
    parts = np.array([one.file.part for one in found], "U5")
    if has_own_test:
        return parts == "test"
    names = _group_names(found, group_by)
    alike = pixels if names is None else sides.together(pixels, sides.numbered(names))
    free = np.flatnonzero((parts == "train") & ~np.isin(alike, alike[parts == "val"]))
    drawn = sides.held_out(
        np.array([found[row].file.label for row in free], np.int64),
        [found[row].head.sha256 for row in free],
        pixels[free],
        None if names is None else alike[free],
    )
    test = np.zeros(len(found), bool)
    test[free[drawn]] = True
    return test


def _sha256(*parts: list[Found]) -> str:
    """What tells these images and labels from others, whatever size they are decoded to."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"".join(f"{one.file.label} {one.head.sha256}\n".encode() for one in part))
        digest.update(b"\n")
    return digest.hexdigest()


def _decoded(found: list[Found], *, size: int, fit: str) -> tuple[np.ndarray, list[str], dict[int, Unreadable]]:
    """All images that can be decoded, uint8 (num_decoded, size, size, channels), one channel where all are grey: a map
    of a file in the cache, which is written where it is not there yet; a hash of each one's pixels; and by the row of
    the others why they cannot be, which is kept beside it."""
    num_channels = 1 if all(one.head.mode in GREY_MODES for one in found) else 3
    about = f"2 {size} {fit} {num_channels} " + " ".join(one.head.sha256 for one in found)
    shape, hashes, damaged = (len(found), size, size, num_channels), [], []

    def decode(path: Path) -> tuple[np.ndarray, str]:
        image = whole(path, size=size, num_channels=num_channels)
        # before it is brought to its size: small enough, different images look the same, and the split would depend on
        # the size, so that trainings of two sizes would not compare
        return fitted(image, size=size, fit=fit), pixels_hash(image)

    def images() -> Iterator[np.ndarray]:
        for row, got in enumerate(in_threads(decode, [(one.file.path,) for one in found], doing="decoding")):
            if isinstance(got, Unreadable) and got.kind == "no file":  # not to be kept: it may be there again
                raise UserError(
                    f"{in_a_line(str(found[row].file.path))} was read, and then could not be ({got})",
                    "a folder that stays as it is while it is read",
                    "once more, when nothing else changes it",
                )
            if isinstance(got, Unreadable):
                damaged.append([row, got.kind, str(got)])
            else:
                hashes.append(got[1])
                yield got[0]

    def write(partial: Path) -> None:
        print(f"decoding {len(found):,} images to {size}×{size} pixels, once: later runs find them", file=sys.stderr)
        partial.mkdir()
        write_array(partial / "images.npy", shape, images())
        with (partial / "files.json").open("w", encoding="ascii") as file:
            json.dump({"hashes": hashes, "damaged": damaged}, file)
            file.flush()
            os.fsync(file.fileno())

    folder = download.cache_folder() / "images" / hashlib.sha256(about.encode()).hexdigest()
    num_bytes = int(np.prod(shape)) + len(found) * 3 * HASH_BYTES
    download.keep(folder, num_bytes, write)
    try:
        content = disk.parse_json((folder / "files.json").read_bytes())
        hashes = [str(one) for one in content["hashes"]]
        damaged = {int(row): Unreadable(kind, reason) for row, kind, reason in content["damaged"]}
        if len(hashes) + len(damaged) != len(found):
            raise ValueError("it tells of other images")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / 'files.json'}: {error}", "what was written here", f"delete the folder {folder}"
        ) from error
    if not hashes:  # no map has no rows
        return np.zeros((0, *shape[1:]), np.uint8), hashes, damaged
    return opened(folder / "images.npy", (len(hashes), *shape[1:])), hashes, damaged


def _in_order(reading: Reading, order: np.ndarray) -> np.ndarray:
    """The images in another order: the same map where it is no other, else one of a file of its own."""
    if np.array_equal(order, np.arange(len(order))):
        return reading.images
    digest = hashlib.sha256(f"{reading.images.filename} {order.tolist()}".encode()).hexdigest()
    blocks = (take(reading.images, order[start : start + 256]) for start in range(0, len(order), 256))
    return mapped(f"{digest}.npy", reading.images.shape, blocks)
