"""How one image file becomes pixels: opened within bounds, turned as its camera says, brought to its size."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar, TypeVarTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import MofNCompleteColumn

from compare.data import download
from compare.system import disk
from compare.system.errors import in_a_line

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # Pillow has some that run programs
BACKGROUND = (255, 255, 255)  # behind what is transparent
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
MAX_FILE_BYTES = 500_000_000
HASH_BYTES = 16
BATCH = 256  # files that are begun before the first of them is waited for, so that Ctrl-C need not wait for all

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
Kind = Literal["empty", "no image", "too large", "damaged", "no file", "outside", "no range"]


class Unreadable(ValueError):
    """Why a file cannot be read as an image, in words, and of which kind that is: empty, none of `FORMATS`, too large,
    damaged, no file (a pipe, or nothing there), a link that leads outside the folder, or of numbers without a range."""

    def __init__(self, kind: Kind, reason: str):
        super().__init__(reason)
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Head:
    """What a file tells before it is decoded.

    Attributes:
        sha256: of its bytes.
        format, mode: as Pillow calls them.
        width, height: pixels, as they lie in the file.
        is_animated: whether further frames follow the first, which alone is taken.
    """

    sha256: str
    format: str
    mode: str
    width: int
    height: int
    is_animated: bool


def look(path: Path, root: str) -> Head:
    """Read the bytes of a file and the head of its image.

    Args:
        path: of the file.
        root: the real path of the folder that it may not lead out of.

    Raises:
        Unreadable, and other exceptions of Pillow's many kinds.
    """
    if path.is_symlink() and path.exists() and not os.path.realpath(path).startswith(os.path.join(root, "")):
        raise Unreadable("outside", "it is a link that leads out of the folder")
    try:
        sha256 = hashlib.sha256(disk.read_within(path, MAX_FILE_BYTES)).hexdigest()
    except ValueError as error:
        raise Unreadable("too large" if "more than" in str(error) else "no file", str(error)) from error
    except OSError as error:
        raise Unreadable("no file", error.strerror or str(error)) from error
    with _opened(path) as image:
        is_animated = False
        with contextlib.suppress(Exception):  # a second frame that is damaged is not taken anyway
            is_animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        return Head(
            sha256=sha256,
            format=image.format or "",
            mode=image.mode,
            width=image.width,
            height=image.height,
            is_animated=is_animated,
        )


@contextlib.contextmanager
def _opened(path: Path | io.BytesIO) -> Iterator[Image.Image]:
    """An image file, or its content, of which no more than its head was read.

    Raises:
        Unreadable: it is none, or has too many pixels.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        if isinstance(path, Path) and not path.stat().st_size:
            raise Unreadable("empty", "it is empty") from None
        raise Unreadable("no image", f"it is none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # the first is an error in `in_threads`
        reason = f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller"
        raise Unreadable("too large", reason) from None
    with image:
        yield image


def in_threads(
    call: Callable[[*Arguments], Result], arguments: Sequence[tuple[*Arguments]], *, doing: str
) -> Iterator[Result | Unreadable]:
    """What `call` gives for each of the arguments, in their order, or the `Unreadable` that it raises; a bar tells how
    many are done. What Pillow raises by itself is of the kind `damaged`."""
    with (
        warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),  # here: it is of all threads
        concurrent.futures.ThreadPoolExecutor() as pool,
        download.bar(f"{doing} images", len(arguments), MofNCompleteColumn()) as move_on,
    ):
        for start in range(0, len(arguments), BATCH):
            for future in [pool.submit(call, *given) for given in arguments[start : start + BATCH]]:
                try:
                    yield future.result()
                except Unreadable as problem:
                    yield problem
                except MemoryError:  # of which no file is at fault
                    raise
                except Exception as error:  # Pillow raises many kinds on bytes that are no image
                    # Pillow's own have no number
                    gone = error if isinstance(error, OSError) and error.errno is not None else None
                    reason = in_a_line(str(error))[:200] if gone is None else gone.strerror
                    yield Unreadable("damaged" if gone is None else "no file", reason or type(error).__name__)
                move_on(advance=1)


def decoded(path: Path | io.BytesIO, *, size: int, fit: Literal["crop", "pad"], num_channels: int) -> np.ndarray:
    """One image file as uint8, (size, size, channels): `whole`, and `fitted`; raises as the former."""
    return fitted(whole(path, size=size, num_channels=num_channels), size=size, fit=fit)


def whole(path: Path | io.BytesIO, *, size: int, num_channels: int) -> Image.Image:
    """All of one image file, grey or RGB: turned as its camera says, 16 bits a channel brought to 8, and on white where
    it is transparent.

    Args:
        path: of the file, or its content.
        size: pixels a side that it will be brought to, of which a JPEG is decoded to no more than some times as many.
        num_channels: 1 or 3.

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
                raise Unreadable("no range", "its pixels are numbers of no stated range")
            image = Image.fromarray((levels // 257).astype(np.uint8))  # to convert cuts off at 255
        elif image.mode == "F":
            raise Unreadable("no range", "its pixels are numbers of no stated range")
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
        mode = "L" if num_channels == 1 else "RGB"
        return image if image.mode == mode else image.convert(mode)


def fitted(image: Image.Image, *, size: int, fit: Literal["crop", "pad"]) -> np.ndarray:
    """An image as uint8, (size, size, channels), with an antialiased bilinear filter: the middle square of it, or all
    of it on black."""
    if fit == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    else:
        shown = [max(1, round(side * size / max(image.size))) for side in image.size]
        square = Image.new(image.mode, (size, size))
        left, top = ((size - side) // 2 for side in shown)
        square.paste(image.resize(shown, Image.Resampling.BILINEAR), (left, top))
        image = square
    return np.asarray(image).reshape(size, size, len(image.getbands()))


def pixels_hash(image: Image.Image, pixels: bytes | memoryview) -> str:
    """What tells an image from others by its size and these pixels of it, in hexadecimal."""
    digest = hashlib.sha256(f"{image.mode} {image.size} ".encode())  # which processors have instructions for
    digest.update(pixels)
    return digest.digest()[:HASH_BYTES].hex()
