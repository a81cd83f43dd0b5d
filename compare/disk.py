"""Files: written whole or not at all, and read within bounds where others may have written them."""

import contextlib
import errno
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from compare.command import EXIT_FAILED, UserError

MAX_JSON_BYTES, MAX_UNPACKED_BYTES = 50_000_000, 1_000_000_000
# As JSON writes them: all but tabs and line ends. An even number of backslashes before is a text about backslashes.
CONTROL = re.compile(r"(?<!\\)(?:\\\\)*\\(?:u00[01][0-9a-f]|[bf])|[\x7f-\x9f]")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes its name at the end: the file is, at every moment, either
    as it was before or whole. The temporary name keeps the ending, by which Keras chooses the format.

    Raises:
        UserError: the disk is full or the folder cannot be written; the file is as it was before.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"{path.name} could not be written: {error.strerror or error}",
            f"room in {path.parent}" if full else f"{path.parent} to be writable",
            "free some space" if full else "permit writing there, or choose another --out",
            exit_code=EXIT_FAILED,
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises as `replacing` does."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def read_within(path: Path, max_bytes: int) -> bytes:
    """The content of a file that somebody else may have written, if it is one and no larger.

    Raises:
        ValueError: it is no file (a pipe would never end), or larger.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return content


def read_json(path: Path):
    """What a JSON file holds that somebody else may have written: numbers are finite and fit into 64 bits, texts are
    texts, nothing is nested deeply.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    return parse_json(read_within(path, MAX_JSON_BYTES))


def parse_json(content: bytes | str):
    """The same of bytes or text."""

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
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    text.encode()  # half a character has no bytes
    if CONTROL.search(text):
        raise ValueError("it holds control characters")
    return value


def check_zip(content: bytes) -> None:
    """Refuse a zip archive that unpacks to more than `MAX_UNPACKED_BYTES`: Python reads no more than is declared.

    Raises:
        zipfile.BadZipFile: it is no archive.
        ValueError: it holds too much.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        num_bytes = sum(member.file_size for member in archive.infolist())
    if num_bytes > MAX_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to {num_bytes:,} bytes")
