"""A folder of images, a folder a class: decoded once, into one array on disk that later runs map.

`FOLDER/train/CLASS/…` and `FOLDER/test/CLASS/…`, or `FOLDER/CLASS/…`, of which a fifth is then held out as test set.
Files may lie deeper below their class. Nothing in the folder is written.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from compare.data import download
from compare.data.images import MAX_CLASSES, Dataset, label_dtype, stratified_sample
from compare.system import disk
from compare.system.errors import UserError, printable

DEFAULT_SIZE = 64
TEST_FRACTION, TEST_SEED = 0.2, 0  # of a folder that has no test set of its own
PASSED_OVER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what systems leave, beside what begins with a dot
BACKGROUND = (255, 255, 255)  # behind what is transparent
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
NUM_NAMED = 5  # unreadable files that an error names


@dataclasses.dataclass(frozen=True)
class Found:
    """An image file: where it is, the place of its class among the names, its content's SHA-256, and whether it is
    grey."""

    path: Path
    label: int
    sha256: str
    is_grey: bool


def load(folder: Path, *, image_size: int | None = None, fit: Literal["crop", "pad"] = "crop") -> Dataset:
    """Load a folder of images.

    Args:
        folder: as the module says.
        image_size: pixels a side that every image is brought to, by its shorter side and its middle, or, to `pad`, by
            its longer side on black; None is `DEFAULT_SIZE`.
        fit: crop or pad.

    Raises:
        UserError: there are no classes, or other classes to test than to train, or files that cannot be read as images.
    """
    size = image_size or DEFAULT_SIZE
    has_split = (folder / "train").is_dir() and (folder / "test").is_dir()
    train_folder = folder / "train" if has_split else folder
    names = _class_names(train_folder)
    train = _found(train_folder, names)
    if has_split:
        test = _found(folder / "test", names)
    else:
        labels = np.array([one.label for one in train])
        rows = stratified_sample(labels, round(TEST_FRACTION * len(train)), seed=TEST_SEED)
        held_out = set(rows.tolist())
        test = [train[row] for row in rows]
        train = [one for row, one in enumerate(train) if row not in held_out]
    for part, found in (("train", train), ("test", test)):
        if not found:
            raise UserError(
                f"{folder} holds no images to {part}",
                "a folder a class with images in it, below train/ and test/ or alone",
                "name the folder above those of the classes",
            )
    images = _decoded([*train, *test], size=size, fit=fit)
    dtype = label_dtype(len(names))
    return Dataset(
        name=printable(folder.resolve().name),
        title=printable(folder.resolve().name),
        class_names=tuple(names),
        train_images=images[: len(train)],
        train_labels=np.array([one.label for one in train], dtype),
        test_images=images[len(train) :],
        test_labels=np.array([one.label for one in test], dtype),
        sha256=_sha256(train, test),
    )


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, but for what systems leave there, by name."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror})", "a folder of images", "permit reading it"
        ) from error
    return [path for path in paths if not path.name.startswith(".") and path.name not in PASSED_OVER]


def _class_names(folder: Path) -> list[str]:
    """The names of the classes, which are those of the folders that images are to be trained on from."""
    names = [path.name for path in _visible(folder) if path.is_dir()]
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(
            f"{folder} holds {len(names):,} folders",
            f"one for each class, 2 to {MAX_CLASSES:,}",
            "put the images of each class into a folder that is called like it",
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
        UserError: a class is not one of `names`, or a file is no image.
    """
    others = [path.name for path in _visible(folder) if path.is_dir() and path.name not in names]
    if others:
        raise UserError(
            f"{folder} holds the classes {', '.join(map(repr, others[:NUM_NAMED]))}",
            f"the classes to train on: {', '.join(names[:NUM_NAMED])}{', …' * (len(names) > NUM_NAMED)}",
            "rename them, or put images of them among those to train on",
        )
    known = Image.registered_extensions()
    paths = []
    for label, name in enumerate(names):
        below = [folder / name] if (folder / name).is_dir() else []
        while below:
            for path in _visible(below.pop()):
                if path.is_dir():
                    below.append(path)
                elif path.suffix.lower() in known:
                    paths.append((path, label))
    paths.sort(key=lambda one: (one[1], one[0]))
    return _in_threads(_look, paths)


def _look(path: Path, label: int) -> Found:
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"it has {image.width}×{image.height} pixels, more than {Image.MAX_IMAGE_PIXELS:,}")
        return Found(path, label, hashlib.sha256(content).hexdigest(), image.mode in GREY_MODES)


def _in_threads(call, arguments: list[tuple]) -> list:
    """What `call` gives for each of the arguments, of which the first is a path.

    Raises:
        UserError: some files cannot be read; it names the first of them, with the reasons.
    """
    results, problems = [], []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for given, future in [(given, pool.submit(call, *given)) for given in arguments]:
            try:
                results.append(future.result())
            except Exception as error:  # Pillow raises many kinds on bytes that are no image
                problems.append(f"{printable(str(given[0]))}: {str(error)[:200] or type(error).__name__}")
    if problems:
        raise UserError(
            f"{len(problems):,} of {len(arguments):,} files cannot be read as images: "
            + "; ".join(problems[:NUM_NAMED])
            + "; …" * (len(problems) > NUM_NAMED),
            "whole image files",
            "mend or remove them",
        )
    return results


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
    path = download.cache_folder() / "images" / f"{hashlib.sha256(about.encode()).hexdigest()}.npy"
    if not path.is_file():
        shape = (len(found), size, size, num_channels)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            disk.check_room(path.parent, int(np.prod(shape)))
        except OSError as error:
            raise disk.cannot_write(f"{path.parent} cannot be made", path.parent, error) from error
        with disk.replacing(path) as partial:
            images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

            def decode(path: Path, row: int):
                images[row] = decoded(path, size=size, fit=fit, num_channels=num_channels)

            _in_threads(decode, [(one.path, row) for row, one in enumerate(found)])
            images.flush()
            del images
    return np.load(path, mmap_mode="r")


def decoded(path: Path, *, size: int, fit: str, num_channels: int) -> np.ndarray:
    """One image file as uint8, (size, size, channels): turned as its camera says, 16 bits a channel brought to 8, on
    white where it is transparent, and brought to its size with an antialiased bilinear filter."""
    with Image.open(path) as image:
        image.draft(None, (2 * size, 2 * size))  # a JPEG is decoded at an eighth of its size, or more, where that does
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) // 257, 0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("its pixels are numbers of no stated range")
        elif image.has_transparency_data:
            background = Image.new("RGBA", image.size, BACKGROUND)
            image = Image.alpha_composite(background, image.convert("RGBA"))
        image = image.convert("L" if num_channels == 1 else "RGB")
        bring = ImageOps.fit if fit == "crop" else ImageOps.pad
        image = bring(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, num_channels)
