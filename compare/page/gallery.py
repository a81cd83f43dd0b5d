"""The test images on the page: as one picture of tiles, what each run says about each of them, and where it looked."""

import base64
import dataclasses
import functools
import hashlib
import io
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from compare.data import NAMES, corruptions, dataset
from compare.data.images import Dataset, blocks_averaged
from compare.findings import metrics
from compare.runs import features
from compare.runs.record import SPLIT, Run
from compare.system.errors import UserError

NUM_COLUMNS = 100  # of tiles
MAX_TILE = 64  # pixels a side; larger images are made smaller
FEW_TILE, FEW_PIXELS = 128, 8_000_000  # a side of those of few images, and how many pixels all of these may have
MAX_SPRITE = 16_383  # pixels a side of a WebP
CLEARER = 70  # quality of the WebP of a few images
NUM_RIGHT = 40  # images of each class that a run has right, beside all that some run has wrong
QUALITY = 40  # of the WebP; a tile takes some 120 bytes


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images of a test set, and what runs say about them.

    Attributes:
        rows: int64, (num_shown,), which test images these are: their rows in the test file, from 0, ascending.
        sprite: the images as one WebP, NUM_COLUMNS beside each other, in the order of `rows`.
        also_in_training: int64, rows of the test images whose pixels are in the training set, too.
        tile: width and height of one of its tiles, pixels.
        corrupted: a test image as it is and under every kind and strength of corruption that the runs predicted, as one
            WebP of tiles, a line for each kind; None where they predicted none.
        corrupted_row: which test image that is.
    """

    rows: np.ndarray
    sprite: bytes
    also_in_training: np.ndarray
    tile: tuple[int, int]
    corrupted: bytes | None = None
    corrupted_row: int | None = None

    def place(self, row: int) -> tuple[int, int]:
        """The column and line of a test image's tile; it must be one of `rows`."""
        line, column = divmod(int(np.searchsorted(self.rows, row)), NUM_COLUMNS)
        return column, line


def data_of(runs: list[Run], data_dir: Path | None = None) -> Dataset | None:
    """The data set of some runs, the images of a folder as large as a tile; None where what they saw is not on this
    machine.

    Args:
        runs: complete runs on the same test set.
        data_dir: where to look for it, a folder or a file; None looks in the usual places. Nothing is downloaded.
    """
    if not runs:
        return None
    try:
        data = local_data(runs, data_dir)
    except UserError:
        return None
    return data if data.fingerprint == runs[0].record.data.fingerprint else None


def local_data(runs: list[Run], data_dir: Path | None) -> Dataset:
    """The same, whatever it is; raises as `dataset.load`. Of a folder the first run that tells of its split, if one
    does, says which images are to be tested with."""
    told = runs[0].record
    split = next((run.folder / SPLIT for run in runs if (run.folder / SPLIT).is_file()), None)
    size = max(told.data.image_shape[:2]) if told.data.image_shape else MAX_TILE  # as the run has decoded them
    return _local(told.data.name, data_dir, size, told.recipe.fit, split, told.data.group_by)


@functools.lru_cache(maxsize=1)
def _local(
    name: str, data_dir: Path | None, size: int, fit: Literal["crop", "pad"], split: Path | None, group_by: str | None
) -> Dataset:
    if name in NAMES:
        return dataset.load(name, data_dir, download=False)
    if data_dir is None or not os.path.isdir(data_dir):
        return dataset.load(str(data_dir))
    return dataset.load(str(data_dir), image_size=size, fit=fit, split=split, group_by=group_by, allow_leaks=True)


def of(runs: list[Run], data: Dataset, *, all_images: bool = False) -> Gallery:
    """The gallery of runs on the test set of `data`: every image that some run has wrong, and some that are right, or
    every test image."""
    images, training = data.test_images, set(map(_digest, data.train_images))
    also_in_training = [row for row, image in enumerate(images) if _digest(image) in training]
    rows = np.arange(len(images)) if all_images else worth_showing(runs)
    largest = int(np.clip((FEW_PIXELS / max(len(rows), 1)) ** 0.5, MAX_TILE, FEW_TILE))
    tile_height, tile_width = tiles(images[:1], largest).shape[1:3]
    rows = rows[: NUM_COLUMNS * (MAX_SPRITE // tile_height)]
    return Gallery(
        rows,
        sprite(images, rows, largest=largest),
        np.array(also_in_training, np.int64),
        (tile_width, tile_height),
        *corrupted(images, runs),
    )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def worth_showing(runs: list[Run]) -> np.ndarray:
    """The rows of the images that some run has wrong, and of the first `NUM_RIGHT` of each class that a run has right,
    int64, ascending."""
    labels = runs[0].test_labels
    shown = np.zeros(len(labels), bool)
    for run in runs:
        right = metrics.is_right(run)
        shown |= ~right
        for index in np.unique(labels):
            shown[np.flatnonzero(right & (labels == index))[:NUM_RIGHT]] = True
    return np.flatnonzero(shown)


def corrupted(images: np.ndarray, runs: list[Run]) -> tuple[bytes, int] | tuple[None, None]:
    """`Gallery.corrupted` and `corrupted_row`, of test images uint8 (num_test, height, width, channels): the first of
    those whose copies the first run that has any predicted."""
    told = [
        (int(run.robustness_rows[0]), run.record.robustness.strengths)
        for run in runs
        if run.robustness_rows is not None and run.record.robustness is not None
    ]
    if not told or not told[0][1].keys() <= corruptions.STRENGTHS.keys():
        return None, None
    row, strengths = told[0]
    image = images[row : row + 1]
    lines = [[image, *(corruptions.corrupt(image, kind, amount) for amount in of)] for kind, of in strengths.items()]
    copies = np.concatenate([copy for line in lines for copy in line])
    return sprite(copies, np.arange(len(copies)), num_columns=len(lines[0]), quality=CLEARER), row


def tiles(images: np.ndarray, largest: int = MAX_TILE) -> np.ndarray:
    """Images, uint8 (num_images, height, width, channels), as they are or, where a side is longer than `largest`, as
    the means of blocks of pixels, so many a side that it is not."""
    height, width = images.shape[1:3]
    block = -(-max(height, width) // largest)
    return images if block == 1 else blocks_averaged(images, block)


def sprite(
    images: np.ndarray,
    rows: np.ndarray,
    *,
    num_columns: int = NUM_COLUMNS,
    quality: int = QUALITY,
    largest: int = MAX_TILE,
) -> bytes:
    """The images of these rows, of uint8 (num_images, height, width, channels), as one WebP of `tiles`, `num_columns`
    beside each other."""
    height, width, num_channels = tiles(images[:1], largest).shape[1:]
    num_lines = -(-len(rows) // num_columns)
    tiled = np.zeros((num_lines, height, num_columns, width, num_channels), np.uint8)
    for line in range(num_lines):  # all at their own size may be more than there is memory
        small = tiles(images[rows[line * num_columns : (line + 1) * num_columns]], largest)
        tiled[line, :, : len(small)] = small.swapaxes(0, 1)
    picture = tiled.reshape(num_lines * height, num_columns * width, num_channels)
    buffer = io.BytesIO()
    image = Image.fromarray(picture[..., 0] if num_channels == 1 else picture)
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def webp(content: bytes) -> str:
    """A WebP as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def maps(gallery: Gallery, runs: dict[int, Run]) -> list[dict[str, Any]]:
    """Where runs, by their places, looked in the gallery's images, of what they took them for, as far as they keep
    that: each run's place, its maps' height and width, and their bytes, `features.small_maps`, in the order of
    `rows`."""
    found = []
    for place, run in runs.items():
        kept = features.read(run)
        if kept is not None and kept.test_maps is not None:
            of_gallery = kept.test_maps[gallery.rows]  # (num_shown, height, width)
            height, width = of_gallery.shape[1:]
            values = base64.b64encode(of_gallery.tobytes()).decode()
            found.append({"run": place, "height": height, "width": width, "values": values})
    return found


def said(gallery: Gallery, runs: list[Run]) -> dict[str, Any]:
    """What the page's script needs to know: of each image its row, its label, and every run's predicted class and
    confidence in percent."""
    rows = gallery.rows
    return {
        "columns": NUM_COLUMNS,
        "rows": rows.tolist(),
        "labels": runs[0].test_labels[rows].tolist(),
        "predicted": [run.test_probabilities[rows].argmax(axis=1).tolist() for run in runs],
        "confidence": [np.round(100 * run.test_probabilities[rows].max(axis=1)).astype(int).tolist() for run in runs],
    }
