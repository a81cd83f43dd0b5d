"""Tables of images: Parquet with an image file in every row, as data hubs serve it (through the extra `parquet`), and
Kaggle's CSV with a pixel in every column.

A Parquet file, or a folder with files of the parts (`train-00000-of-00002.parquet`, `test/0000.parquet`, also in a
folder `data`); a CSV file, and beside it the other part of the same name (`NAME_train.csv`, `NAME_test.csv`). They are
read some rows at a time into arrays on disk, once, which later runs map. Where there is no test part, or one without
labels, a fifth is held out, each class with its share; copies of an image stay on one side.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from PIL import Image

from compare.data import NAMES, arrays, download
from compare.data.decoding import FORMATS, GREY_MODES, decoded
from compare.data.images import MAX_CLASSES, Dataset, stratified_sample, write_array
from compare.data.reading import DEFAULT_SIZE
from compare.system.errors import UserError, printable

if TYPE_CHECKING:
    import pyarrow.parquet

TEST_FRACTION, TEST_SEED = 0.2, 0
ENDINGS = (".parquet", ".csv")
PART_WORDS = {"train": "train|training", "test": "test|testing", "val": "val|valid|validation|dev"}
PART = re.compile(
    rf"(?<![a-z])(?:{'|'.join(f'(?P<{part}>{words})' for part, words in PART_WORDS.items())})(?![a-z])", re.IGNORECASE
)
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "class", "fine_label")
MAX_ROWS, MAX_FILES, MAX_NAME = 10_000_000, 10_000, 200
MAX_GROUP_BYTES = 2_000_000_000  # of a group of rows in a Parquet file, unpacked, of which some are read at a time
BATCH_BYTES, BATCH_ROWS = 500_000_000, 64  # a large value may stand in many rows, and in the file once
MAX_LINE_BYTES = 1 << 20  # 512×512 pixels
LINES_AT_ONCE = 1000
EXPECTED = {
    ".parquet": "a column image of image files (bytes, or a struct with bytes) and a column label, of whole numbers or "
    "names",
    ".csv": "a label and the pixels of a square image in every line, whole numbers in 0…255",
}
ADVICE = "mend the table, or unpack its images into a folder for each class"
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Table:
    """What a table holds, before its images are read.

    Attributes:
        class_names: of the labels.
        labels: of each part, int64 (num_rows,).
        copies: of the training images, what is alike for those that are.
        shape: of an image: height, width, channels.
        blocks: gives of a part the images of the rows for which a mask, bool (num_rows,), is true, in their order, some
            at a time: uint8 (some, height, width, channels).
    """

    class_names: tuple[str, ...]
    labels: dict[str, np.ndarray]
    copies: list[bytes]
    shape: tuple[int, int, int]
    blocks: Callable[[str, np.ndarray], Iterator[np.ndarray]]


def is_table(source: Path) -> bool:
    """Whether a file's name is that of a table, or a folder holds Parquet files where the parts are looked for."""
    if source.is_dir():
        return any(_in_folder(source))
    return source.suffix.lower() in ENDINGS and source.is_file()  # and no pipe


def load(source: Path, *, image_size: int | None = None, fit: Literal["crop", "pad"] = "crop") -> Dataset:
    """Load a table, or the tables of a folder.

    Args:
        source: as the module says.
        image_size: pixels a side that image files are brought to, as those of a folder are; pixels of a CSV stay.
        fit: crop or pad.

    Raises:
        UserError: it is none, or damaged, or larger than is read; it says where.
    """
    files = files_of(source)
    ending = next(path for paths in files.values() for path in paths).suffix.lower()
    sha256 = _sha256(files)
    how = f"{image_size or DEFAULT_SIZE}-{fit}" if ending == ".parquet" else "as-is"

    def make(folder: Path) -> None:
        print(f"reading {printable(source.name)}, once: later runs find its images", file=sys.stderr)
        table = _parquet(files, image_size or DEFAULT_SIZE, fit) if ending == ".parquet" else _csv(files)
        folder.mkdir()
        with _refused(source, ending):
            parts = _held_out(table)
        for part, (of, mask) in parts.items():
            labels = table.labels[of][mask]
            write_array(folder / f"{part}_images.npy", (len(labels), *table.shape), table.blocks(of, mask))
            np.save(folder / f"{part}_labels.npy", labels)
        (folder / "class_names.json").write_text(json.dumps(table.class_names))

    num_bytes = sum(path.stat().st_size for paths in files.values() for path in paths)
    kept = download.keep(download.cache_folder() / "tables" / f"{sha256}-{how}", num_bytes, make)
    with _refused(source, ending):
        names = tuple(json.loads((kept / "class_names.json").read_text()))
        return arrays.of_folder(kept, printable(_name(source)), class_names=names, sha256=sha256)


@contextlib.contextmanager
def _refused(path: Path, ending: str) -> Iterator[None]:
    """What goes wrong inside, in three parts: pyarrow, Pillow, NumPy and json raise their own kinds, of OSError too."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        words = f"{printable(str(path))}: {printable(str(error))[:300] or type(error).__name__}"
        raise UserError(words, EXPECTED[ending], ADVICE) from error


def _in_folder(folder: Path) -> Iterator[Path]:
    """The Parquet files in a folder, in `data` below it, and in folders that are called like parts there."""
    below = [folder, folder / "data"]
    with contextlib.suppress(OSError):
        below += sorted(path for path in folder.iterdir() if PART.fullmatch(path.name))
    for place in below:
        with contextlib.suppress(OSError):
            tables = (path for path in place.iterdir() if path.suffix.lower() == ".parquet" and path.is_file())
            # a folder of image files may have its labels in metadata.parquet
            yield from sorted(path for path in tables if not path.stem.lower().startswith("metadata"))


def files_of(source: Path) -> dict[str, list[Path]]:
    """The files of every part."""
    found = [source]
    if source.is_dir():
        found = list(itertools.islice(_in_folder(source), MAX_FILES + 1))
        if len(found) > MAX_FILES:
            raise UserError(f"{source} holds more than {MAX_FILES:,} tables", "fewer", "join some of them")
    elif source.suffix.lower() == ".csv" and (word := PART.search(source.stem)):
        others = [path for path in source.parent.iterdir() if path.suffix.lower() == ".csv" and path != source]
        same = (source.stem[: word.start()], source.stem[word.end() :])
        for path in sorted(others):
            if (other := PART.search(path.stem)) and (path.stem[: other.start()], path.stem[other.end() :]) == same:
                found.append(path)
    parts: dict[str, list[Path]] = {}
    for path in found:
        word = PART.search(str(path.relative_to(source)) if source.is_dir() else path.stem)
        parts.setdefault((word and word.lastgroup) or "", []).append(path)
    if unnamed := parts.pop("", []):
        if parts:
            raise UserError(
                f"{source} holds {printable(unnamed[0].name)} beside tables of {' and '.join(parts)}",
                "the part in every name: train, test or validation",
                "rename it, or put it elsewhere",
            )
        return {"train": unnamed}
    if source.is_dir() and "train" not in parts:
        raise UserError(f"{source} holds tables of {' and '.join(parts)}", "one to train on", "add it, called train-…")
    return parts if "train" in parts else {"train": found}


def _name(source: Path) -> str:
    """What the data set is called: as the folder, or as the file without the word for its part."""
    source = Path(os.path.abspath(source))
    if source.is_dir():
        return source.name
    if source.suffix.lower() == ".parquet" and PART.search(source.stem):  # train-00000-of-00002-0123456789abcdef
        return source.parent.name
    name = PART.sub("", source.stem).strip(" -_.") or source.parent.name
    return source.stem if name in NAMES else name  # it is not that data set because it is called so


def _sha256(files: dict[str, list[Path]]) -> str:
    """What tells these tables from others, whatever size their images are decoded to."""
    digest = hashlib.sha256(b"1")
    for part, paths in sorted(files.items()):
        for path in paths:
            with _refused(path, path.suffix.lower()), path.open("rb") as file:
                digest.update(f"{part} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _held_out(table: Table) -> dict[str, tuple[str, np.ndarray]]:
    """Of every part that is written, which part of the table it comes from, and which of its rows."""
    parts = {part: (part, np.ones(len(labels), bool)) for part, labels in table.labels.items() if len(labels)}
    if "test" not in parts:
        first: dict[bytes, int] = {}
        of_each = np.array([first.setdefault(copy, row) for row, copy in enumerate(table.copies)])
        rows = np.array(list(first.values()))
        drawn = stratified_sample(table.labels["train"][rows], round(TEST_FRACTION * len(rows)), seed=TEST_SEED)
        held = np.isin(of_each, rows[drawn])
        if not held.any():
            raise ValueError(f"{len(held):,} images, of which a fifth is none to test with")
        parts |= {"train": ("train", ~held), "test": ("train", held)}
    return parts


def _batches(items: Iterator[Item], number: int) -> Iterator[list[Item]]:
    while some := list(itertools.islice(items, number)):
        yield some


def _as_numbers(
    labels: dict[str, list[Any]], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The names of the classes, and the labels as indices into them, given whole numbers, or texts, of every part. A
    test part without labels, -1 in every row as data hubs have it, is left out."""
    if all(isinstance(label, str) for of_part in labels.values() for label in of_part):
        names = tuple(sorted(set(labels["train"])))
        place = {name: number for number, name in enumerate(names)}
        if others := sorted({label for of_part in labels.values() for label in of_part} - place.keys())[:5]:
            raise ValueError(f"labels that are not trained on: {', '.join(others)}")
        labels = {part: [place[label] for label in of_part] for part, of_part in labels.items()}
    elif any(type(label) is not int for of_part in labels.values() for label in of_part):
        raise ValueError("labels that are missing, or numbers and texts in one column")
    if "test" in labels and set(labels["test"]) == {-1}:
        print("warning: the test part has no labels, and is passed over", file=sys.stderr)
        del labels["test"]
    every = {label for of_part in labels.values() for label in of_part}
    if names is None and every and 0 <= min(every) <= max(every) < MAX_CLASSES:
        names = tuple(map(str, range(max(every) + 1)))
    if not every or names is None or not 0 <= min(every) <= max(every) < len(names):
        said = f"in {min(every)}…{max(every)}" if every else "of no row"
        raise ValueError(f"labels {said}, and {len(names) if names else MAX_CLASSES:,} classes at most")
    unreadable = [
        name for name in names if printable(name) != name or len(name) > MAX_NAME or len(name.splitlines()) != 1
    ]
    if unreadable or len(set(names)) < len(names) or not 2 <= len(names) <= MAX_CLASSES:
        raise ValueError(
            f"{len(names):,} classes, of 2 to {MAX_CLASSES:,}, each with a name of its own without control characters"
        )
    return names, {part: np.array(of_part, np.int64) for part, of_part in labels.items()}


# ---- Parquet


def _parquet(files: dict[str, list[Path]], size: int, fit: Literal["crop", "pad"]) -> Table:
    told: dict[str, list[int | str | None]] = {}
    copies, all_grey, names = [], True, None
    for part, paths in files.items():
        told[part] = []
        for path in paths:
            with _refused(path, ".parquet"):
                file, image_column, label_column = _opened(path)
                names = names or _class_names(file.schema_arrow, label_column)
                if sum(map(len, told.values())) + file.metadata.num_rows > MAX_ROWS:
                    raise ValueError(f"more than {MAX_ROWS:,} rows")
                for content, label in rows(file, image_column, label_column):
                    with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
                        try:
                            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                                all_grey &= image.mode in GREY_MODES
                        except Exception as error:
                            number = len(told[part])
                            raise ValueError(f"row {number:,} of {part} holds no image ({error})") from error
                    told[part].append(label)
                    if part == "train":
                        copies.append(hashlib.blake2b(content, digest_size=16).digest())
    with _refused(files["train"][0], ".parquet"):
        class_names, labels = _as_numbers(told, names)
    num_channels = 1 if all_grey else 3

    def decode(content: bytes) -> np.ndarray:
        return decoded(io.BytesIO(content), size=size, fit=fit, num_channels=num_channels)

    def blocks(part: str, mask: np.ndarray) -> Iterator[np.ndarray]:
        wanted = iter(mask)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for path in files[part]:
                with _refused(path, ".parquet"):
                    file, image_column, label_column = _opened(path)
                    for some in _batches(rows(file, image_column, label_column), BATCH_ROWS):
                        contents = [content for content, _ in some if next(wanted)]
                        if contents:
                            yield np.stack(list(pool.map(decode, contents)))

    return Table(class_names, labels, copies, (size, size, num_channels), blocks)


def _opened(path: Path) -> tuple["pyarrow.parquet.ParquetFile", str, str]:
    """A Parquet file, and the names of its columns of images and of labels."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} is a Parquet file, and pyarrow is not installed", "pyarrow", "install it (pip install pyarrow)"
        ) from error
    file = pyarrow.parquet.ParquetFile(path)
    columns = file.schema_arrow.names
    image, label = (next((one for one in some if one in columns), None) for some in (IMAGE_COLUMNS, LABEL_COLUMNS))
    if image is None or label is None:
        raise ValueError(f"it has the columns {', '.join(columns)[:200]}")
    return file, image, label


def rows(
    file: "pyarrow.parquet.ParquetFile", image_column: str, label_column: str
) -> Iterator[tuple[bytes, int | str | None]]:
    """The image file and the label of every row, few rows at a time in memory.

    Raises:
        ValueError: the columns are of other types, or a group of rows is too large.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > MAX_GROUP_BYTES:
        raise ValueError(f"a group of its rows unpacks to {largest:,} bytes: write it with a smaller row_group_size")
    at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))
    for batch in file.iter_batches(at_once, columns=[image_column, label_column], use_threads=False):
        images, labels = batch.column(image_column), batch.column(label_column)
        for image, label in zip(images, labels, strict=True):
            content = image.as_py()
            content = content.get("bytes") if isinstance(content, dict) else content
            if not isinstance(content, bytes):
                raise ValueError(f"its column {image_column} is {images.type}, or has rows without bytes"[:300])
            yield content, label.as_py()


def _class_names(schema: "pyarrow.Schema", label_column: str) -> tuple[str, ...] | None:
    """The names of the classes as a data hub keeps them beside the columns; None where it does not."""
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features", label_column):
        told = told.get(key) if isinstance(told, dict) else None
    names = told.get("names") if isinstance(told, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else None


# ---- CSV


def _csv(files: dict[str, list[Path]]) -> Table:
    told: dict[str, list[int | str]] = {}
    columns: dict[str, tuple[int, bool]] = {}
    copies, shapes = [], set()
    for part, (path, *others) in files.items():
        with _refused(path, ".csv"):
            if others:
                raise ValueError(f"{printable(others[0].name)} beside it is of the same part")
            lines = _lines(path)
            first = next(lines, b"")
            column, has_names = label_column(first)
            num_columns = first.count(b",") + 1
            if column is None and part == "test":
                print(f"warning: {printable(path.name)} has no labels, and is passed over", file=sys.stderr)
                continue
            shapes.add(_image_shape(num_columns - 1))
            if column is None or len(shapes) > 1:
                raise ValueError(f"its lines have {num_columns:,} columns")
            columns[part], told[part] = (column, has_names), []
            for number, line in enumerate(lines if has_names else itertools.chain([first], lines)):
                cells = line.split(b",", column + 1)
                if line.count(b",") + 1 != num_columns:
                    raise ValueError(f"row {number:,} has another number of columns than {num_columns:,}")
                if number >= MAX_ROWS:
                    raise ValueError(f"more than {MAX_ROWS:,} rows")
                label = cells.pop(column).strip(b' "').decode()
                told[part].append(int(label) if re.fullmatch("[0-9]{1,9}", label) else label)
                if part == "train":
                    copies.append(hashlib.blake2b(b",".join(cells), digest_size=16).digest())
    with _refused(files["train"][0], ".csv"):
        names, labels = _as_numbers(told, None)
    shape = shapes.pop()

    def blocks(part: str, mask: np.ndarray) -> Iterator[np.ndarray]:
        path, (column, has_names) = files[part][0], columns[part]
        pixels = [number for number in range(math.prod(shape) + 1) if number != column]
        with _refused(path, ".csv"):
            lines = itertools.compress(itertools.islice(_lines(path), int(has_names), None), mask)
            for some in _batches(lines, LINES_AT_ONCE):
                with warnings.catch_warnings(action="error"):  # NumPy warns of 1.0 and the like
                    found = np.loadtxt(some, np.uint8, comments=None, delimiter=",", usecols=pixels, ndmin=2)
                yield found.reshape(-1, *shape)

    return Table(names, labels, copies, shape, blocks)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not empty."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"a line of more than {MAX_LINE_BYTES:,} bytes")
            if line := line.strip():
                yield line


def label_column(line: bytes) -> tuple[int | None, bool]:
    """Which column of a CSV of pixels has the label, given its first line, and whether that has the names of the
    columns. Without a name that says so it is the first, unless all columns together are a square image: then there is
    none."""
    cells = [cell.strip(b' "').lower() for cell in line.split(b",")]
    named = next((cells.index(name.encode()) for name in LABEL_COLUMNS if name.encode() in cells), None)
    has_names = named is not None or not all(cell.isdigit() for cell in cells[1:])
    if named is None and math.isqrt(len(cells)) ** 2 == len(cells):
        return None, has_names
    return named or 0, has_names


def _image_shape(num_pixels: int) -> tuple[int, int, int]:
    """Height, width and channels of a square image, grey or colour, of so many pixels."""
    for num_channels in (1, 3):
        side = math.isqrt(num_pixels // num_channels)
        if num_pixels and num_channels * side**2 == num_pixels:
            return side, side, num_channels
    raise ValueError(f"{num_pixels:,} columns of pixels are no square image")
