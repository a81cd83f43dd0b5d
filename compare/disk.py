"""Writing files whole or not at all."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from compare.command import EXIT_FAILED, UserError


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
