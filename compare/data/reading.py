"""A folder of images as it is read: every file looked at, decoded once into one array on disk, and put on a side."""

import collections
import dataclasses
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import numpy as np

from compare.data import download, sides
from compare.data.decoding import GREY_MODES, HASH_BYTES, Head, Unreadable, fitted, in_threads, look, pixels_hash, whole
from compare.data.images import opened, write_array
from compare.data.layouts import Layout, Listed, is_meant_as_image, layout_of
from compare.system import disk
from compare.system.errors import UserError, in_a_line, printable

DEFAULT_SIZE = 64
Result = TypeVar("Result")
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
        layout: how it is laid out, with all files that are images, or should be by the table or their ending.
        found: those that could be read, in the order of `images`.
        unreadable: the others, and why.
        beside: how many files lie beside the images and are passed over, by their endings: sounds, texts, …
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
    beside: dict[str, int]
    places: np.ndarray
    images: np.memmap
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
    def endings_beside(self) -> str:
        """The most frequent endings of the files beside the images, each with its number."""
        return ", ".join(f"{ending} {number:,}" for ending, number in list(self.beside.items())[:NUM_NAMED])

    @property
    def num_leaks(self) -> int:
        """How many test images are training images as well, or of a group that is trained on."""
        return int(((self.parts == "test") & ((self.copied >= 0) | (self.astray >= 0))).sum())


def read(
    folder: Path,
    *,
    image_size: int | None,
    photograph_size: int | None = None,
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
    layout = layout_of(folder, split)
    root = os.path.realpath(folder)
    heads = list(in_threads(look, [(one.path, root) for one in layout.files], doing="reading"))
    looked = list(zip(layout.files, heads, strict=True))
    found = [Found(file, head) for file, head in looked if not isinstance(head, Unreadable)]
    unreadable = [(file, head) for file, head in looked if isinstance(head, Unreadable)]
    beside = {file for file, problem in unreadable if layout.kind != "table" and _lies_beside(file, problem)}
    layout = dataclasses.replace(layout, files=[one for one in layout.files if one not in beside])
    unreadable = [(file, problem) for file, problem in unreadable if file not in beside]
    refuse_too_many(layout, unreadable, most_unreadable)
    if not found:
        _refuse_none(folder, unreadable)
    has_own_test = any(one.part == "test" for one in layout.files)

    # drawn by the files' bytes, it is in nearly every folder what is drawn by their pixels, and these lie in order then
    test = _is_test(found, sides.numbered([one.head.sha256 for one in found]), group_by, has_own_test)
    found = [one for one, is_test in zip(found, test, strict=True) if not is_test] + [
        one for one, is_test in zip(found, test, strict=True) if is_test
    ]
    are_photographs = any(one.head.mode not in GREY_MODES for one in found)
    size = (are_photographs and photograph_size) or image_size or DEFAULT_SIZE
    images, hashes, damaged = _decoded(found, size=size, fit=fit)
    unreadable += [(found[row].file, problem) for row, problem in damaged.items()]
    refuse_too_many(layout, unreadable, most_unreadable)
    if images is None:
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
        beside=dict(collections.Counter(sorted(map(_ending, beside))).most_common()),
        places=places,
        images=images,
        pixels=pixels,
        parts=np.where(test, "test", [one.file.part for one in found]),
        has_own_test=has_own_test,
        groups=None if names is None else sides.numbered(names),
        group_names=() if names is None else tuple(dict.fromkeys(names)),
    )


def _lies_beside(file: Listed, problem: Unreadable) -> bool:
    """Whether a file that cannot be read is none of the images: neither what it is called nor what it holds says so."""
    return problem.kind != "damaged" and not is_meant_as_image(file.path)


def _ending(file: Listed) -> str:
    return in_a_line(file.path.suffix.lower()) or "none"


def reasons(unreadable: list[tuple[Listed, Unreadable]]) -> str:
    """The first few files that cannot be read, each with why, in lines."""
    named = [in_a_line(f"{file.path}: {problem}") for file, problem in unreadable[:NUM_NAMED]]
    return ";\n    ".join([*named, *["…"] * (len(unreadable) > NUM_NAMED)])


def refuse_too_many(layout: Layout, unreadable: list[tuple[Listed, Unreadable]], most: float) -> None:
    """Refuse more files that cannot be read than that share of all."""
    if len(unreadable) > most * len(layout.files):
        raise UserError(
            f"{len(unreadable):,} of {len(layout.files):,} files cannot be read as images:\n    {reasons(unreadable)}",
            f"whole image files; up to {most:.0%} of them are left out if they are none"
            if most
            else "whole image files, as --unreadable refuse wants it",
            "mend or remove them",
        )


def _refuse_none(folder: Path, unreadable: list[tuple[Listed, Unreadable]]) -> NoReturn:
    raise UserError(
        f"{folder} holds no images that can be read" + f":\n    {reasons(unreadable)}" * bool(unreadable),
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
    names = []
    for one in found:
        match = re.search(group_by, one.file.name)
        name = match and match[min(1, match.re.groups)]
        if name is None:
            raise UserError(
                f"--group-by {printable(group_by)} is not found in {in_a_line(one.file.name)}",
                "a regular expression that finds the group of every file in its name below the folder",
                "mend it, or rename the file",
            )
        names.append(name)
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


def _decoded(
    found: list[Found], *, size: int, fit: Literal["crop", "pad"]
) -> tuple[np.memmap | None, list[str], dict[int, Unreadable]]:
    """All images that can be decoded, uint8 (num_decoded, size, size, channels), one channel where all are grey: a map
    of a file in the cache, which is written where it is not there yet, or None without any; a hash of each one's
    pixels; and by the row of the others why they cannot be, which is kept beside it."""
    num_channels = 1 if all(one.head.mode in GREY_MODES for one in found) else 3
    about = f"4 {size} {fit} {num_channels} " + " ".join(one.head.sha256 for one in found)
    shape = len(found), size, size, num_channels
    hashes: dict[int, str] = {}
    damaged: list[tuple[int, str, str]] = []

    def decode(path: Path) -> tuple[np.ndarray, str]:
        image = whole(path, size=size, num_channels=num_channels)
        small = fitted(image, size=size, fit=fit)
        return small, pixels_hash(image, small.data)

    def hash_whole(path: Path) -> str:
        image = whole(path, size=size, num_channels=num_channels)
        return pixels_hash(image, image.tobytes())

    def in_turn(
        call: Callable[[Path], Result], rows: Sequence[int], *, doing: str
    ) -> Iterator[tuple[int, Result | Unreadable]]:
        paths = [(found[row].file.path,) for row in rows]
        for row, got in zip(rows, in_threads(call, paths, doing=doing), strict=True):
            if isinstance(got, Unreadable) and got.kind == "no file":  # not to be kept: it may be there again
                raise UserError(
                    f"{in_a_line(str(found[row].file.path))} was read, and then could not be ({got})",
                    "a folder that stays as it is while it is read",
                    "once more, when nothing else changes it",
                )
            yield row, got

    def images() -> Iterator[np.ndarray]:
        for row, got in in_turn(decode, range(len(found)), doing="decoding"):
            if isinstance(got, Unreadable):
                damaged.append((row, got.kind, str(got)))
            else:
                small, hashes[row] = got
                yield small

    def tell_apart() -> None:
        # small enough, different images look the same, and the split would depend on the size, so that trainings of two
        # sizes would not compare: of the few that look the same all pixels are asked
        times = collections.Counter(hashes.values())
        alike = [row for row, one in hashes.items() if times[one] > 1]
        if alike:
            hashes.update((row, str(got)) for row, got in in_turn(hash_whole, alike, doing="comparing"))

    def write(partial: Path) -> None:
        print(f"decoding {len(found):,} images to {size}×{size} pixels, once: later runs find them", file=sys.stderr)
        partial.mkdir()
        write_array(partial / "images.npy", shape, images())
        tell_apart()
        with (partial / "files.json").open("w", encoding="ascii") as file:
            json.dump({"hashes": list(hashes.values()), "damaged": damaged}, file)
            file.flush()
            os.fsync(file.fileno())

    folder = download.cache_folder() / "images" / hashlib.sha256(about.encode()).hexdigest()
    num_bytes = int(np.prod(shape)) + len(found) * 3 * HASH_BYTES
    download.keep(folder, num_bytes, write)
    try:
        content = disk.parse_json((folder / "files.json").read_bytes())
        hashes_kept = [str(one) for one in content["hashes"]]
        problems = {int(row): Unreadable(kind, reason) for row, kind, reason in content["damaged"]}
        if len(hashes_kept) + len(problems) != len(found):
            raise ValueError("it tells of other images")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / 'files.json'}: {error}", "what was written here", f"delete the folder {folder}"
        ) from error
    if not hashes_kept:  # no map has no rows
        return None, hashes_kept, problems
    return opened(folder / "images.npy", (len(hashes_kept), *shape[1:])), hashes_kept, problems
