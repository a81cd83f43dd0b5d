"""Files: written whole or not at all, and read within bounds where others may have written them."""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from compare.system.errors import EXIT_FAILED, EXIT_REFUSED, UserError

PARTIAL = ".partial-"  # how temporary names begin; the number of the process follows
MAX_JSON_BYTES, MAX_JSON_DEPTH, MAX_UNPACKED_BYTES = 50_000_000, 100, 1_000_000_000
# As JSON writes them: all but tabs and line ends. An even number of backslashes before is a text about backslashes.
CONTROL = re.compile(r"(?<!\\)(?:\\\\)*\\(?:u00[01][0-9a-f]|[bf])|[\x7f-\x9f]")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes its name at the end: the file is, at every moment, either
    as it was before or whole. The temporary name keeps the ending, by which Keras chooses the format.

    Raises:
        UserError: the disk is full or the folder cannot be written; the file is as it was before.
    """
    with _replacing([path]) as (partial,):
        yield partial


@contextlib.contextmanager
def _replacing(paths: list[Path], obsolete: Iterable[Path] = ()) -> Iterator[list[Path]]:
    partials = [path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}") for path in paths]
    last = paths[-1]
    try:
        yield partials
        for partial in partials:  # a disk may say only now that it is full
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        for path, partial in zip(paths, partials, strict=True):
            if path == last:
                for left in obsolete:
                    left.unlink(missing_ok=True)
            os.replace(partial, path)
        sync(last.parent)
    except OSError as error:
        raise cannot_write(f"{last.name} could not be written", last.parent, error, exit_code=EXIT_FAILED) from error
    finally:
        for partial in partials:
            with contextlib.suppress(OSError):  # where the disk was made read-only meanwhile
                partial.unlink()


@contextlib.contextmanager
def temporary_in(folder: Path) -> Iterator[None]:
    """Let temporary files, a library's as well, lie below `folder`, where what a kill leaves of them is removed by the
    next who claims it."""
    before = tempfile.tempdir
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{PARTIAL}{os.getpid()}-") as tempfile.tempdir:
            yield
    finally:
        tempfile.tempdir = before


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises as `replacing` does."""
    write_together(path.parent, {path.name: content})


def write_with_hash(path: Path, content: bytes) -> None:
    """Write a file that ends with the SHA-256 of its name and its content; raises as `replacing` does."""
    write_atomically(path, content + hashlib.sha256(path.name.encode() + content).digest())


def read_with_hash(path: Path) -> bytes | None:
    """What `write_with_hash` wrote; None where there is no such file, other bytes, or another file
    under this name."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, digest = content[:-32], content[-32:]
    return content if hashlib.sha256(path.name.encode() + content).digest() == digest else None


def write_together(folder: Path, contents: dict[str, bytes], obsolete: Iterable[Path] = ()) -> None:
    """Write files of a folder, by name, all or none: the first takes its name when all are on the disk. Before the last
    does, `obsolete` ones are deleted. A kill in that moment leaves some old and some new, each whole. Raises as
    `replacing` does."""
    with _replacing([folder / name for name in contents], obsolete) as partials:
        for partial, content in zip(partials, contents.values(), strict=True):
            partial.write_bytes(content)


def cannot_write(came: str, folder: Path, error: OSError, *, exit_code: int = EXIT_REFUSED) -> UserError:
    """What to say where something in `folder` could not be written, by the reason that the system gives."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        expected, advice = f"room in {folder}", "free some space, or choose an --out on another disk"
    elif error.errno == errno.EFBIG:
        expected, advice = "no limit on the size of files, or a larger one", "raise it (see ulimit -f)"
    else:
        expected, advice = f"{folder} to be writable", "permit writing there, or choose another --out"
    return UserError(f"{came}: {error.strerror or error}", expected, advice, exit_code=exit_code)


def check_room(folder: Path, num_bytes: int) -> None:
    """Refuse to write more bytes into a folder than its disk has room for."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise UserError(
            f"{folder} has {free / 1e6:,.0f} MB free",
            f"at least {num_bytes / 1e6:,.0f} MB for what is to be written",
            "free some space, or choose a place on another disk",
        )


def sync(folder: Path) -> None:
    """Let new names in a folder reach the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_marked(path: Path, mark: str) -> bool:
    """Whether a file begins, within its first 2,000 characters, with something that has `mark` in it."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return mark in file.read(2000)


def read_within(path: Path, max_bytes: int) -> bytes:
    """The content of a file that somebody else may have written, if it is one and no larger.

    Raises:
        ValueError: it is no file (a pipe would never end), or larger.
        OSError: it cannot be read.
    """
    if not path.is_file():
        leads_nowhere = path.is_symlink() and not path.exists()
        raise ValueError("it is a link that leads nowhere" if leads_nowhere else "it is not a file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return content


def read_json(path: Path) -> Any:
    """What a JSON file holds that somebody else may have written; raises as `read_within` and `parse_json`."""
    return parse_json(read_within(path, MAX_JSON_BYTES))


def parse_json(content: bytes | str) -> Any:
    """What JSON holds that somebody else may have written: numbers are finite and fit into 64 bits, texts are texts,
    nothing is nested deeply. Anything else is a ValueError."""

    def finite(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(f"{text[:20]} is not a finite number")
        return value

    def whole(text: str) -> int:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise ValueError(f"{text[:20]}… is too large")
        return int(text)

    try:
        value = json.loads(content, parse_float=finite, parse_int=whole, parse_constant=finite)
        text = json.dumps(value, ensure_ascii=False)
        if depth(value) > MAX_JSON_DEPTH:
            raise RecursionError
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    text.encode()  # half a character has no bytes
    if CONTROL.search(text):
        raise ValueError("it holds control characters")
    return value


def depth(value: object) -> int:
    """How many arrays and objects of a JSON value lie in each other at most; 0 for a single value."""
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with the hash of all else in it, atomically."""
    content = content | {"sha256": own_sha256(content)}
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def own_sha256(content: dict[str, Any]) -> str:
    """What a JSON object says of itself as `sha256`: the hash of all else in it. Earlier versions wrote none."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_changed(content: object) -> bool:
    """Whether a JSON value is an object with another content than the hash that it says of itself is of."""
    return isinstance(content, dict) and content.get("sha256", own_sha256(content)) != own_sha256(content)


def check_zip(content: bytes) -> None:
    """Refuse, with a ValueError, a zip archive that unpacks to more than `MAX_UNPACKED_BYTES`: Python reads no more
    than is declared. What is no archive is a zipfile.BadZipFile."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        num_bytes = sum(member.file_size for member in archive.infolist())
    if num_bytes > MAX_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to {num_bytes:,} bytes")
