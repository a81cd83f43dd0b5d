"""A data set's parts in files as people have them: of any name and depth, in several forms. What they hold decides.

The four parts of Fashion-MNIST are known by the SHA-256 of their idx files. Of images or labels that were found, the
idx file is written anew and hashed: torchvision's folder, a clone of the data set's repository, Keras' arrays, Kaggle's
text and a data hub's Parquet give the same bytes or none. What is almost right is told by what it is.

Everything is bounded: folders, files and bytes that are looked at, and what they unpack to.
"""

import collections
import functools
import hashlib
import io
import itertools
import math
import os
import re
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from compare.data import tables
from compare.system.errors import UserError

MAX_DEPTH, MAX_NUM_ENTRIES, MAX_NUM_ROWS = 8, 20_000, 70_000
HEAD_BYTES = 1 << 14  # what tells a file's kind; the names of Kaggle's 785 columns take 7,000
MAX_FILE_BYTES = 300_000_000  # packed and unpacked; Kaggle's training images, as text, have 133 MB
MAX_TOTAL_BYTES = 2_000_000_000
MAX_NUM_NOTES = 8
# of the sorted SHA-256 of every label and image: the same whatever their order
IN_ANY_ORDER = {
    "training": "fb88a2f5c1b590c907f860b47803d006e4fa7b276cdb551799af9d443accdff7",
    "test": "0b381379398a0943a88bf3864ff3f5177903dcf178030b4b74c495294b38fa7c",
}
MNIST_LABELS = ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])  # the first of its two parts
MNIST_MEANS = (33.318, 33.791)  # of its training and test pixels
IDX_TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before it wrote archives
PROCESSED = (
    "is a file of torch.save, as torchvision wrote them to processed/",
    "point to the folder raw/ beside torchvision's processed/",
)
REORDERED = (
    "holds the {part} set, but its images in another order",
    "take the idx files instead, which Kaggle's archive has beside its CSV: runs on two orders cannot be compared",
)
NO_PYARROW = ("is a Parquet file, and pyarrow is not installed", "install it (pip install pyarrow)")
# A name that says what a file should hold, and names of torchvision's old files.
MEANT = re.compile(
    r"ubyte|idx\d|[xy]_(train|test)|mnist.*\.(np[yz]|zip|gz|csv|parquet)|^(training|test)\.pt$", re.IGNORECASE
)


def find(folder: Path, parts: dict[str, tuple[int, str]]) -> dict[str, bytes]:
    """The content of idx files, from whatever holds the same images and labels in a folder or below it.

    Args:
        folder: where to look; it may be a single file.
        parts: the name of each idx file, its number of bytes, and their SHA-256.

    Raises:
        UserError: some part is not there; it says what else is.
    """
    search = _Search(parts)
    for path in [folder] if folder.is_file() else _files(folder):
        if not search.goes_on():
            break
        search.look(path.name, str(path), functools.partial(_first_bytes, path))
    for take in search.tables:  # they take seconds
        if search.goes_on():
            take()
    if not search.missing():
        return search.found
    there = folder.is_dir() or folder.is_file()
    came = f"{folder} lacks {', '.join(search.missing())}" if there else f"{folder} is not a folder"
    told = list(dict.fromkeys(words for words, _ in search.notes))
    if len(told) > MAX_NUM_NOTES:
        told[MAX_NUM_NOTES:] = [f"and {len(told) - MAX_NUM_NOTES} more"]
    if not search.goes_on():
        told.append(f"and the search ended after {search.num_files:,} files and {search.num_bytes:,} bytes")
    advice = dict.fromkeys(advice for _, advice in search.notes if advice)
    raise UserError(
        ";\n    ".join([came, *told]),
        f"Fashion-MNIST, whatever its files are called: {', '.join(parts)}, gzipped or not, or the same as npz, CSV, "
        "Parquet or in a zip archive",
        "; or ".join(
            [*advice, "name the folder that holds them, or leave --data-dir out to have them found or downloaded"]
        ),
    )


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and below, the nearest first; not in hidden folders, nor behind links to folders."""
    folders, num_entries = collections.deque([(folder, 0)]), 0
    while folders and num_entries < MAX_NUM_ENTRIES:
        place, depth = folders.popleft()
        try:
            with os.scandir(place) as found:
                entries = sorted(itertools.islice(found, MAX_NUM_ENTRIES - num_entries), key=lambda entry: entry.name)
        except OSError:
            continue
        num_entries += len(entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH and not entry.name.startswith("."):
                    folders.append((Path(entry), depth + 1))
            else:
                yield Path(entry)


def _first_bytes(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file; none of what is no file, or says that it is empty, as endless ones do."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return b""
    if status.st_size > MAX_FILE_BYTES:
        raise _Told(f"has more than {MAX_FILE_BYTES:,} bytes")
    with path.open("rb") as file:
        return file.read(num_bytes)


class _Search:
    """What was found of the parts, and what is to be said of files that are almost right."""

    def __init__(self, parts: dict[str, tuple[int, str]]):
        self.parts = parts
        self.num_labels = [num_bytes - 8 for name, (num_bytes, _) in parts.items() if "labels" in name]
        self.found: dict[str, bytes] = {}
        self.tables: list[Callable[[], None]] = []
        self.notes: list[tuple[str, str | None]] = []
        self.num_bytes = self.num_files = 0  # that were read and unpacked, and looked at

    def missing(self) -> list[str]:
        return [name for name in self.parts if name not in self.found]

    def goes_on(self) -> bool:
        """Whether a part is missing, and no bound was met."""
        return bool(self.missing()) and self.num_bytes <= MAX_TOTAL_BYTES and self.num_files < MAX_NUM_ENTRIES

    def note(self, place: str, words: str, advice: str | None = None) -> None:
        shown = "".join(character if character.isprintable() else "�" for character in place)
        self.notes.append((f"{shown} {words}", advice))

    def look(self, name: str, place: str, first_bytes: Callable[[int], bytes]) -> None:
        """Look at one file or one member of an archive: what kind it is, and what it holds."""
        self.num_files += 1
        try:
            kind = _kind(_unpacked(first_bytes(HEAD_BYTES), HEAD_BYTES, whole=False))
            if kind is not None:
                take = functools.partial(self.take, name, place, first_bytes, kind)
                if kind in ("csv", "parquet"):
                    self.tables.append(take)
                else:
                    take()
                return
            problem = "is damaged, or holds something else than its name says"
        except _Told as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot be read ({error.strerror or error})"
        except Exception:  # as in `take`
            problem = "is damaged or cut short"
        if MEANT.search(name):
            self.note(place, problem)

    def take(self, name: str, place: str, first_bytes: Callable[[int], bytes], kind: str) -> None:
        """Read a file of a known kind, and keep the parts that it holds."""
        try:
            content = first_bytes(MAX_FILE_BYTES + 1)
            self.num_bytes += len(content)
            content = _unpacked(content, MAX_FILE_BYTES)
            self.num_bytes += len(content)
            if kind == "zip":
                self.archive(place, content)
            else:
                self.know(name, place, READERS[kind](content))
        except _Told as error:
            if MEANT.search(name) or error.args != PROCESSED:  # PyTorch's other files may be anything
                self.note(place, *error.args)
        except Exception:  # zlib, zipfile, NumPy, Pillow and pyarrow raise their own kinds
            if MEANT.search(name) or kind in ("csv", "parquet"):
                self.note(place, "is damaged or cut short")

    def archive(self, place: str, content: bytes) -> None:
        """Look at the members of a zip archive, which NumPy's npz is as well."""
        archive = zipfile.ZipFile(io.BytesIO(content))  # stays open for its tables

        def first_bytes(member: zipfile.ZipInfo, num_bytes: int) -> bytes:
            return archive.open(member).read(num_bytes)

        for member in archive.infolist()[:MAX_NUM_ENTRIES]:
            if member.filename.endswith("/data.pkl"):
                raise _Told(*PROCESSED)
            # other methods ask for memory by what the archive says
            readable = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not member.flag_bits & 1
            if readable and not member.is_dir() and self.goes_on():
                name = member.filename.rpartition("/")[2]
                self.look(name, f"{place}: {member.filename}", functools.partial(first_bytes, member))

    def know(self, name: str, place: str, arrays: list[np.ndarray]) -> None:
        """Keep what is one of the parts; say what the others are, if they are like one."""
        foreign = []
        for array in arrays:
            if array.size != 784 * len(array) and len(array) not in self.num_labels and not MEANT.search(name):
                continue
            if array.dtype.kind not in "iu" or not array.size or not 0 <= array.min() <= array.max() <= 255:
                raise _Told(f"holds {array.size:,} numbers of the kind {array.dtype}; whole ones in 0…255 are expected")
            array = array.astype(np.uint8).reshape(len(array), -1)  # images in rows; labels have one number
            content = struct.pack(">ii", 2049, len(array)) + array.tobytes()
            if array.shape[1] > 1:
                content = struct.pack(">iiii", 2051, len(array), 28, 28) + array.tobytes()
            what = (len(content), hashlib.sha256(content).hexdigest())
            names = [name for name, part in self.parts.items() if part == what]
            self.found |= dict.fromkeys(names, content)
            foreign += [] if names else [array]
        if len(foreign) == 2:
            hashed = in_any_order(*foreign)
            for part in (part for part, sha256 in IN_ANY_ORDER.items() if sha256 == hashed):
                raise _Told(REORDERED[0].format(part=part), REORDERED[1])
        for array in foreign:
            self.note(place, self.what_it_is(array))

    def what_it_is(self, array: np.ndarray) -> str:
        """What to say of images or labels that are not Fashion-MNIST's."""
        one_each = array.shape[1] == 1
        if one_each and array[:10, 0].tolist() in MNIST_LABELS:
            return "holds MNIST's labels, not Fashion-MNIST's"
        if not one_each and min(abs(array.mean() - mean) for mean in MNIST_MEANS) < 0.01:
            return "holds what by their mean are MNIST's images, not Fashion-MNIST's"
        what = "labels" if one_each else "images"
        if len(array) in self.num_labels:
            return f"holds {len(array):,} {what}, but other ones"
        return f"holds {len(array):,} {what}, not {' or '.join(f'{number:,}' for number in self.num_labels)}"


class _Told(ValueError):
    """What is wrong with a file, in words that follow its name, and what to do, if that is known."""


def in_any_order(images: np.ndarray, labels: np.ndarray) -> str:
    """A hash of images and their labels that is the same in any order.

    Args:
        images: uint8, (num_images, 784).
        labels: uint8, (num_images, 1).
    """
    rows = np.hstack([images, labels])
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(row).digest() for row in rows))).hexdigest()


def _unpacked(content: bytes, max_bytes: int, *, whole: bool = True) -> bytes:
    """What gzip packed, if it did, and no more than that many bytes of it."""
    if len(content) > MAX_FILE_BYTES:
        raise _Told(f"has more than {MAX_FILE_BYTES:,} bytes")
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpacking = zlib.decompressobj(wbits=31)
    content = unpacking.decompress(content, max_bytes)
    if whole and not unpacking.eof:
        raise _Told(
            "is damaged or cut short" if len(content) < max_bytes else f"unpacks to {max_bytes:,} bytes and more"
        )
    return content


def _kind(head: bytes) -> str | None:
    """What kind of file begins like this, of those that `take` reads."""
    if head[:2] == b"\0\0" and len(head) > 3 and head[2] in IDX_TYPES and 1 <= head[3] <= 4:
        return "idx"
    for start, kind in ((b"\x93NUMPY", "npy"), (b"PK\x03\x04", "zip"), (b"PAR1", "parquet"), (OLD_TORCH, "pickle")):
        if head.startswith(start):
            return kind
    return "csv" if head.partition(b"\n")[0].count(b",") == 784 else None


def _read_idx(content: bytes) -> list[np.ndarray]:
    """What an idx file holds: the format of MNIST's own files."""
    kind, num_sizes = IDX_TYPES[content[2]], content[3]
    sizes = struct.unpack_from(f">{num_sizes}I", content, 4)
    payload = content[4 + 4 * num_sizes :]
    if kind != "uint8":
        raise _Told(f"holds {kind} numbers; uint8 is expected")
    if len(payload) != math.prod(sizes):
        raise _Told(f"is damaged or cut short: {len(payload):,} bytes, and its beginning says {math.prod(sizes):,}")
    return [np.frombuffer(payload, np.uint8).reshape(sizes)]


def _read_npy(content: bytes) -> list[np.ndarray]:
    """An array as NumPy writes it, alone or in an npz; never one of objects."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, in_columns, kind = read_header(file)
    payload = content[file.tell() :]
    if kind.hasobject or kind.itemsize * math.prod(shape) != len(payload):
        raise _Told("is damaged or cut short")
    return [np.frombuffer(payload, kind).reshape(shape, order="F" if in_columns else "C")]


def _read_csv(content: bytes) -> list[np.ndarray]:
    """A label and 784 pixels a line, as Kaggle has them, with or without the names of the columns."""
    lines = content.splitlines()
    if len(lines) > MAX_NUM_ROWS or max(map(len, lines)) > HEAD_BYTES:  # NumPy makes room for the longest
        raise _Told(f"has more than {MAX_NUM_ROWS:,} lines, or one of more than {HEAD_BYTES:,} bytes")
    column, has_names = tables.label_column(lines[0])
    column = column or 0  # none has it only where all columns are a square, which 785 are not
    with warnings.catch_warnings(action="error"):  # of no lines
        rows = np.loadtxt(lines[has_names:], np.uint8, comments=None, delimiter=",", ndmin=2)
    return [np.delete(rows, column, axis=1), rows[:, column]]


def _read_parquet(content: bytes) -> list[np.ndarray]:
    """Images as PNG in a column `image` and labels in `label`, as data hubs have them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise _Told(*NO_PYARROW) from None
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    if not {"image", "label"} <= set(file.schema_arrow.names):
        raise _Told("has no columns image and label")
    if file.metadata.num_rows > MAX_NUM_ROWS or sum(group.total_byte_size for group in groups) > MAX_FILE_BYTES:
        raise _Told(f"has more than {MAX_NUM_ROWS:,} rows, or unpacks to more than {MAX_FILE_BYTES:,} bytes")
    images, labels = [], []
    for png, label in tables.rows(file, "image", "label"):
        if png[12:24] != b"IHDR" + struct.pack(">II", 28, 28):
            raise _Told("holds images that are no PNG of 28×28")
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            images.append(np.asarray(image.convert("L")).ravel())
        labels.append(label)
    return [np.stack(images), np.array(labels)]


def _refuse(content: bytes) -> list[np.ndarray]:
    raise _Told(*PROCESSED)


READERS = {"idx": _read_idx, "npy": _read_npy, "csv": _read_csv, "parquet": _read_parquet, "pickle": _refuse}
