"""A folder of images, a folder a class: decoded once, into one array on disk that later runs map.

`FOLDER/train/CLASS/…` with test/ and, where images to validate with are set apart, val/ beside it (`PARTS`), or
`FOLDER/CLASS/…`. Where there is no test/, a fifth of the training images is held out for it. Files may lie deeper
below their class; links to folders below it are not followed. Nothing in the folder is written.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import MofNCompleteColumn

from compare.data import download
from compare.data.images import MAX_CLASSES, Dataset, label_dtype, mapped, stratified_sample
from compare.system import disk
from compare.system.errors import UserError, printable

DEFAULT_SIZE = 64
TEST_FRACTION, TEST_SEED = 0.2, 0  # of a folder that has no test set of its own
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
PASSED_OVER = ("__macosx", "desktop.ini")  # what systems leave, beside what is hidden
NOTES = (".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".db")  # passed over, too; all
# other files are meant as images, and refused where they are none: who loses a class of HEIC should know
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # Pillow has some that run programs
BACKGROUND = (255, 255, 255)  # behind what is transparent
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
MAX_FILE_BYTES = 500_000_000
BATCH = 256  # files that are begun before the first of them is waited for, so that Ctrl-C need not wait for all
NUM_NAMED = 5  # files that an error or a warning names


@dataclasses.dataclass(frozen=True)
class Found:
    """An image file: where it is, the place of its class among the names, its content's SHA-256, and whether it is
    grey."""

    path: Path
    label: int
    sha256: str
    is_grey: bool


def load(
    folder: Path,
    *,
    image_size: int | None = None,
    photograph_size: int | None = None,
    fit: Literal["crop", "pad"] = "crop",
) -> Dataset:
    """Load a folder of images. They count as photographs where one of them has colours.

    Args:
        folder: as the module says.
        image_size: pixels a side that every image is brought to, by its shorter side and its middle, or, to `pad`, by
            its longer side on black; None is `DEFAULT_SIZE`.
        photograph_size: the same of photographs; None is `image_size`.
        fit: crop or pad.

    Raises:
        UserError: there are no classes, or other classes to test than to train, or files that cannot be read as images.
    """
    if fit not in ("crop", "pad"):
        raise UserError(f"fit={fit!r}", "crop or pad", "spell it so")
    folders = _parts(folder)
    names = _class_names(folders["train"])
    found = {part: _found(below, names) for part, below in folders.items()}
    train, held_out = found["train"], found.get("val", [])
    labels = np.array([one.label for one in train], np.int64)
    if empty := sorted(set(range(len(names))) - set(labels.tolist())):
        raise UserError(
            f"{folders['train'] / names[empty[0]]} holds no images",
            "some to train on in the folder of every class",
            "put images there, or remove the folder where it is no class",
        )
    if "test" not in found:
        # copies of a file stay on one side: held out beside the others, they would test what was learned by heart
        first_rows: dict[str, int] = {}
        for row, one in enumerate(train):
            first_rows.setdefault(one.sha256, row)
        first = np.array(list(first_rows.values()))
        drawn = first[stratified_sample(labels[first], round(TEST_FRACTION * len(first)), seed=TEST_SEED)]
        held = {train[row].sha256 for row in drawn}
        found["test"] = [one for one in train if one.sha256 in held]
        train = [one for one in train if one.sha256 not in held]
    test, num_train = found["test"], len(train)
    train = [*train, *held_out]
    if not test:
        raise UserError(
            f"{folder} holds {len(train):,} images, and none to test with",
            "images in test/, or so many that a fifth of them can be held out",
            "add images",
        )
    _warn_of_copies(folder, train, test)
    are_photographs = not all(one.is_grey for one in [*train, *test])
    size = are_photographs and photograph_size or image_size or DEFAULT_SIZE
    images = _decoded([*train, *test], size=size, fit=fit)
    dtype = label_dtype(len(names))
    name = printable(os.path.basename(os.path.abspath(folder)))  # a link's own name, not that of what it leads to
    return Dataset(
        name=name,
        title=name,
        class_names=tuple(names),
        train_images=images[: len(train)],
        train_labels=np.array([one.label for one in train], dtype),
        test_images=images[len(train) :],
        test_labels=np.array([one.label for one in test], dtype),
        are_photographs=are_photographs,
        validation_rows=np.arange(num_train, len(train)) if held_out else None,
        sha256=_sha256(train, test),
    )


def _warn_of_copies(folder: Path, train: list[Found], test: list[Found]) -> None:
    """Tell which files have the same bytes as one of another class, and which test images are trained on as well."""
    first: dict[str, Found] = {}
    of_two_classes = []
    for one in [*train, *test]:
        other = first.setdefault(one.sha256, one)
        if other.label != one.label:
            of_two_classes.append((other, one))
    trained_on = {one.sha256: one for one in train}
    in_both = [(trained_on[one.sha256], one) for one in test if one.sha256 in trained_on]
    for pairs, where in (
        (of_two_classes, "two classes, so one of their labels is wrong"),
        (in_both, "train and test, so the test is easier than it should be"),
    ):
        named = [
            " and ".join(printable(str(one.path.relative_to(folder))) for one in pair) for pair in pairs[:NUM_NAMED]
        ]
        if pairs:
            print(
                f"warning: {folder} holds {len(pairs):,} file{'s' * (len(pairs) > 1)} twice, in {where}:\n    "
                + ";\n    ".join([*named, *["…"] * (len(pairs) > NUM_NAMED)]),
                file=sys.stderr,
            )


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, but for what systems leave there, by name."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror})", "a folder of images", "permit reading it"
        ) from error
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() not in PASSED_OVER]


def _parts(folder: Path) -> dict[str, Path]:
    """The folder of each of `PARTS` that is there; where they are none, the folder itself to train on. A folder called
    train among others that are no parts is a class."""
    folders = {path.name.lower(): path for path in _visible(folder) if os.path.isdir(path)}
    parts = {part: [folders[name] for name in names if name in folders] for part, names in PARTS.items()}
    if not parts["train"] or (len(folders) > 1 and not parts["test"] and not parts["val"]):
        return {"train": folder}
    for part, several in parts.items():
        if len(several) > 1:
            raise UserError(
                f"{folder} holds {' and '.join(path.name for path in several)}", f"one folder for {part}", "join them"
            )
    return {part: below[0] for part, below in parts.items() if below}


def _class_names(folder: Path) -> list[str]:
    """The names of the classes, which are those of the folders that images are to be trained on from."""
    names = [path.name for path in _visible(folder) if os.path.isdir(path)]
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(
            f"{folder} holds {len(names):,} folder{'s' * (len(names) != 1)}",
            f"one for each class, 2 to {MAX_CLASSES:,}",
            "put the images of each class into a folder that is called like it, and name the folder above these",
        )
    if unreadable := [name for name in names if printable(name) != name or len(name) > 200]:
        raise UserError(
            f"{folder} holds a folder called {printable(unreadable[0])[:100]!r}",
            "names of classes without control characters, of 200 characters at most",
            "rename it",
        )
    return names


def _found(folder: Path, names: list[str]) -> list[Found]:
    """The images of every class below a folder, class by class, by path.

    Raises:
        UserError: a class is not one of `names`, images belong to none, or a file is no image.
    """
    visible = _visible(folder)
    endings = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
    if loose := [path for path in visible if path.suffix.lower() in endings and not os.path.isdir(path)]:
        raise UserError(
            f"{folder} holds images ({len(loose):,}) beside the folders of the classes: {printable(loose[0].name)}, …",
            "every image below the folder of its class",
            "put them there, or elsewhere; or name the folder above, if all of this is one class",
        )
    others = [path.name for path in visible if os.path.isdir(path) and path.name not in names]
    if others:
        raise UserError(
            f"{folder} holds the classes {', '.join(map(repr, others[:NUM_NAMED]))}",
            f"the classes to train on: {', '.join(names[:NUM_NAMED])}{', …' * (len(names) > NUM_NAMED)}",
            "rename them, or put images of them among those to train on",
        )
    paths = []
    for label, name in enumerate(names):
        below = [folder / name] if os.path.isdir(folder / name) else []
        while below:
            for path in _visible(below.pop()):
                if os.path.isdir(path):
                    below += [] if path.is_symlink() else [path]  # a link may lead back
                elif path.suffix.lower() not in NOTES:
                    paths.append((path, label))
    paths.sort(key=lambda one: (one[1], one[0]))
    return list(_in_threads(_look, paths, doing="reading"))


def _look(path: Path, label: int) -> Found:
    sha256 = hashlib.sha256(disk.read_within(path, MAX_FILE_BYTES)).hexdigest()
    with _opened(path) as image:
        return Found(path, label, sha256, image.mode in GREY_MODES)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, of which no more than its head was read.

    Raises:
        ValueError: it is none, or has too many pixels.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"it is none of {', '.join(FORMATS)}" if path.stat().st_size else "it is empty") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # the first is an error in `_in_threads`
        raise ValueError(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller") from None
    with image:
        yield image


def _in_threads(call: Callable, arguments: list[tuple], *, doing: str) -> Iterator:
    """What `call` gives for each of the arguments, of which the first is a path, in their order; a bar tells how many.

    Raises:
        UserError: some files cannot be read; it names the first of them, with the reasons, when all were tried.
    """
    problems = []
    with (
        warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),  # here: it is of all threads
        concurrent.futures.ThreadPoolExecutor() as pool,
        download.bar(f"{doing} images", len(arguments), MofNCompleteColumn()) as move_on,
    ):
        for start in range(0, len(arguments), BATCH):
            for given, future in [(given, pool.submit(call, *given)) for given in arguments[start : start + BATCH]]:
                try:
                    result = future.result()
                except Exception as error:  # Pillow raises many kinds on bytes that are no image
                    problems.append(f"{printable(str(given[0]))}: {str(error)[:200] or type(error).__name__}")
                else:
                    yield result
                move_on(advance=1)
    if problems:
        raise UserError(
            f"{len(problems):,} of {len(arguments):,} files cannot be read as images:\n    "
            + ";\n    ".join([*problems[:NUM_NAMED], *["…"] * (len(problems) > NUM_NAMED)]),
            "whole image files below the folder of a class",
            "mend or remove them",
        )


def _sha256(*parts: list[Found]) -> str:
    """What tells these images and labels from others, whatever size they are decoded to."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"".join(f"{one.label} {one.sha256}\n".encode() for one in part))
        digest.update(b"\n")
    return digest.hexdigest()


def _decoded(found: list[Found], *, size: int, fit: str) -> np.ndarray:
    """All images as uint8, (num_images, size, size, channels), one channel where all are grey: a map of a file in the
    cache, which is written where it is not there yet."""
    num_channels = 1 if all(one.is_grey for one in found) else 3
    about = f"1 {size} {fit} {num_channels} " + " ".join(one.sha256 for one in found)

    def decode(path: Path) -> np.ndarray:
        return decoded(path, size=size, fit=fit, num_channels=num_channels)

    def images() -> Iterator[np.ndarray]:
        print(f"decoding {len(found):,} images to {size}×{size} pixels, once: later runs find them", file=sys.stderr)
        yield from _in_threads(decode, [(one.path,) for one in found], doing="decoding")

    name = f"{hashlib.sha256(about.encode()).hexdigest()}.npy"
    return mapped(name, (len(found), size, size, num_channels), images())


def decoded(path: Path, *, size: int, fit: Literal["crop", "pad"], num_channels: int) -> np.ndarray:
    """One image file as uint8, (size, size, channels): turned as its camera says, 16 bits a channel brought to 8, on
    white where it is transparent, and brought to its size with an antialiased bilinear filter.

    Raises:
        Exception: it is not whole, or nothing that can be shown; of Pillow's many kinds.
    """
    with _opened(path) as image:
        image.draft(None, (2 * size, 2 * size))  # a JPEG is decoded at an eighth of its size, or more, where that does
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            levels = np.asarray(image)
            if not 0 <= levels.min() <= levels.max() <= 65535:
                raise ValueError("its pixels are numbers of no stated range")
            image = Image.fromarray((levels // 257).astype(np.uint8))  # to convert cuts off at 255
        elif image.mode == "F":
            raise ValueError("its pixels are numbers of no stated range")
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
        mode = "L" if num_channels == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        else:
            shown = [max(1, round(side * size / max(image.size))) for side in image.size]
            whole = Image.new(mode, (size, size))
            whole.paste(image.resize(shown, Image.Resampling.BILINEAR), [(size - side) // 2 for side in shown])
            image = whole
    return np.asarray(image).reshape(size, size, num_channels)
