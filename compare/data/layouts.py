"""Which files of a folder are images of which class, and on which side of the split: by its folders, or by a table.

    FOLDER/train/CLASS/…     with test/ and, where images to validate with are set apart, val/ beside it (`PARTS`)
    FOLDER/CLASS/…           no sides
    FOLDER/labels.csv        or one of the other `TABLES`: a line a file, with columns as `FILE_COLUMNS`,
                             `LABEL_COLUMNS` and, if there is one, `PART_COLUMNS` have them

Files may lie deeper below their class; links to folders below it are not followed. Classes go by their names.
"""

import csv
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image

from compare.data.decoding import FORMATS
from compare.data.images import MAX_CLASSES
from compare.system import disk
from compare.system.errors import UserError, printable

Part = Literal["train", "val", "test"]
PARTS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
TABLES = ("labels.csv", "metadata.csv", "metadata.jsonl")
# where several are there the first is taken
FILE_COLUMNS = ("file_name", "filename", "file", "image", "path")
LABEL_COLUMNS = ("label", "class", "category", "target")
PART_COLUMNS = ("split", "part", "subset", "fold")
COLUMNS = f"a column for the file ({', '.join(FILE_COLUMNS)}) and one for the label ({', '.join(LABEL_COLUMNS)})"
PASSED_OVER = ("__macosx", "desktop.ini", "thumbs.db")  # what systems leave, beside what is hidden
UNREAD = ".heic .heif .jxl .svg .eps .psd .tga .raw .cr2 .cr3 .nef .arw .dng .orf .rw2".split()
# are images that Pillow does not read: who loses a class of them should know
MAX_TABLE_BYTES = 200_000_000
MAX_NAME = 200  # characters of a class's name
NUM_NAMED = 5  # files, classes or columns that an error names


@dataclasses.dataclass(frozen=True)
class Listed:
    """A file that should be an image: where it is, its name in the folder with / between, the place of its class among
    the names, and its side."""

    path: Path
    name: str
    label: int
    part: Part


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a folder is laid out, the names of its classes, and its files: those of the test last, else in the order of
    the folders or of the table."""

    kind: Literal["parts", "classes", "table"]
    class_names: tuple[str, ...]
    files: list[Listed]


def layout_of(folder: Path, table: Path | None = None) -> Layout:
    """Find out how a folder is laid out.

    Args:
        folder: as the module says.
        table: the table to go by, wherever it lies and whatever else would fit; None looks for one.

    Raises:
        UserError: it is laid out in none of these ways, or in several; or classes or files are not as they should be.
    """
    if table is None:
        table = _own_table(folder)
    if table is not None:
        return _of_table(folder, table)
    folders = _parts(folder)
    names = _class_names(folders["train"])
    files = [one for part, below in folders.items() for one in _found(folder, below, part, names)]
    return Layout("parts" if folders["train"] != folder else "classes", tuple(names), files)


# ---- by folders


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, but for what systems leave there, by name."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror})", "a folder of images", "permit reading it"
        ) from error
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() not in PASSED_OVER]


def _parts(folder: Path) -> dict[Part, Path]:
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
    _check_number(f"{folder} holds {len(names):,} folder{'s' * (len(names) != 1)}", names)
    _check_names(f"{folder} holds a folder called", names)
    return names


def _check_number(came: str, names: list[str]) -> None:
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(
            came,
            f"one for each class, 2 to {MAX_CLASSES:,}",
            "put the images of each class into a folder that is called like it, and name the folder above these; or "
            f"list files and labels in a {TABLES[0]} there",
        )


def _check_names(came: str, names: list[str]) -> None:
    if unreadable := [name for name in names if printable(name) != name or not 0 < len(name) <= MAX_NAME]:
        raise UserError(
            f"{came} {printable(unreadable[0])[:100]!r}",
            f"names of classes without control characters, of {MAX_NAME} characters at most",
            "rename it",
        )


def _found(folder: Path, below: Path, part: Part, names: list[str]) -> list[Listed]:
    """The files of every class below a folder, class by class, by path.

    Raises:
        UserError: a class is not one of `names`, or images belong to none.
    """
    visible = _visible(below)
    if loose := [path for path in visible if _is_called_image(path) and not os.path.isdir(path)]:
        raise UserError(
            f"{below} holds images ({len(loose):,}) beside the folders of the classes: {printable(loose[0].name)}, …",
            "every image below the folder of its class",
            "put them there, or elsewhere; or name the folder above, if all of this is one class",
        )
    others = [path.name for path in visible if os.path.isdir(path) and path.name not in names]
    if others:
        raise UserError(
            f"{below} holds the classes {printable(', '.join(map(repr, others[:NUM_NAMED])))}",
            f"the classes to train on: {', '.join(names[:NUM_NAMED])}{', …' * (len(names) > NUM_NAMED)}",
            "rename them, or put images of them among those to train on",
        )
    files = []
    for label, name in enumerate(names):
        paths = sorted(_files_below(below / name)) if os.path.isdir(below / name) else []
        files += [Listed(path, path.relative_to(folder).as_posix(), label, part) for path in paths]
    return files


def _files_below(folder: Path) -> Iterator[Path]:
    below = [folder]
    while below:
        for path in _visible(below.pop()):
            if os.path.isdir(path):
                below += [] if path.is_symlink() else [path]  # a link may lead back
            else:
                yield path


def is_meant_as_image(path: Path) -> bool:
    """Whether a file's ending is that of an image, of which one that cannot be read should be told."""
    return _is_called_image(path) or path.suffix.lower() in UNREAD


def _is_called_image(path: Path) -> bool:
    return Image.registered_extensions().get(path.suffix.lower()) in FORMATS


# ---- by a table


def _own_table(folder: Path) -> Path | None:
    """The table by which the folder is laid out; None where it is by its folders.

    Raises:
        UserError: both would do, or several tables.
    """
    there = [path for path in _visible(folder) if path.name.lower() in TABLES and path.is_file()]
    tables = [path for path in there if _can_go_by(path)]
    if not there:
        return None
    train = _parts(folder)["train"]
    classes = [
        path for path in _visible(train) if os.path.isdir(path) and any(map(_is_called_image, _files_below(path)))
    ]
    if len(tables) > 1:
        raise UserError(
            f"{folder} holds {' and '.join(path.name for path in tables)}, each with files and labels",
            "one table",
            f"say which: --split {tables[0]}",
        )
    if tables and len(classes) > 1:
        raise UserError(
            f"{folder} holds {tables[0].name}, which lists files and labels, and folders as of classes: "
            f"{', '.join(printable(path.name) for path in classes[:NUM_NAMED])}",
            "one of them to say which class an image is of",
            f"to go by the table say --split {tables[0]}; to go by the folders put the table elsewhere",
        )
    # where there is nothing else to go by, reading it says what it lacks
    return next(iter(tables or ([] if classes else there)), None)


def _can_go_by(table: Path) -> bool:
    try:
        _, columns, _ = next(_lines(table))
    except (OSError, ValueError, StopIteration, csv.Error):
        return False
    return all(_column(columns, names) is not None for names in (FILE_COLUMNS, LABEL_COLUMNS))


def _of_table(folder: Path, table: Path) -> Layout:
    """The layout that a table tells, in the order of its lines.

    Raises:
        UserError: it is no such table, or tells of files outside the folder, or of one twice.
    """
    told: dict[str, tuple[str, Part]] = {}
    try:
        for number, columns, line in _lines(table):
            file, label, part = (_column(columns, names) for names in (FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS))
            if file is None or label is None:
                raise ValueError(f"it has the columns {', '.join(columns[:NUM_NAMED])}")
            name, of_class = (_text(line.get(column), number, column) for column in (file, label))
            name = PurePosixPath(name).as_posix()
            if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
                raise ValueError(f"line {number} names {name[:200]}, which is not in the folder")
            if name in told:
                raise ValueError(f"line {number} names {name[:200]} once more")
            told[name] = of_class, "train" if part is None else _part(_text(line.get(part), number, part), number, part)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            printable(f"{table}: {error}"),
            f"a table of files in {folder}, each once: {COLUMNS}, and perhaps one for its side "
            f"({', '.join(PART_COLUMNS)}: {', '.join(name for names in PARTS.values() for name in names)})",
            "mend it; a column that means something else may be renamed, or the table put elsewhere",
        ) from error
    names = sorted({of_class for of_class, part in told.values() if part == "train"})
    _check_number(f"{table} lists {len(names):,} class{'es' * (len(names) != 1)} to train on", names)
    _check_names(f"{table} lists a class called", names)
    if others := sorted({of_class for of_class, _ in told.values()} - set(names)):
        raise UserError(
            f"{table} lists the classes {printable(', '.join(map(repr, others[:NUM_NAMED])))} on other sides alone",
            f"the classes to train on: {', '.join(names[:NUM_NAMED])}{', …' * (len(names) > NUM_NAMED)}",
            "rename them, or list images of them among those to train on",
        )
    labels = {name: label for label, name in enumerate(names)}
    files = [Listed(folder / name, name, labels[of_class], part) for name, (of_class, part) in told.items()]
    return Layout("table", tuple(names), sorted(files, key=lambda one: one.part == "test"))


def _lines(table: Path) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """The lines of a table that hold something: their number, the names of the columns, and what stands in each.

    Raises:
        ValueError, csv.Error, OSError: it cannot be read as one.
    """
    text = disk.read_within(table, MAX_TABLE_BYTES).decode("utf-8-sig", "surrogateescape")
    if table.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                content = disk.parse_json(line)
                if not isinstance(content, dict):
                    raise ValueError(f"line {number} is no JSON object")
                yield number, list(content), content
        return
    # not by its place in the line: a name may begin with a space, and is then in quotes
    lines = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    columns = list(lines.fieldnames or [])
    if len(set(columns)) < len(columns):
        raise ValueError("two of its columns have the same name")
    for values in lines:
        if None in values:
            raise ValueError(f"line {lines.line_num} has more values than there are columns")
        yield lines.line_num, columns, values


def _column(columns: list[str], names: tuple[str, ...]) -> str | None:
    """Which of the columns is called by one of these names, in any case."""
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _text(value: object, number: int, column: str) -> str:
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"line {number} has {str(value)[:50]!r} as its {column}")
    return value


def _part(value: str, number: int, column: str) -> Part:
    for part, names in PARTS.items():
        if value.strip().lower() in names:
            return part
    raise ValueError(f"line {number} has {value[:50]!r} as its {column}")


def as_table(names: list[str], labels: list[str], parts: list[str]) -> bytes:
    """A CSV of files, their classes and their sides, as `layout_of` takes it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([FILE_COLUMNS[0], LABEL_COLUMNS[0], PART_COLUMNS[0]])
    writer.writerows(zip(names, labels, parts, strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")
