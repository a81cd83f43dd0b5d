"""The folder that a run or a report is to be written to: checked before, and claimed meanwhile."""

import contextlib
import itertools
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from compare.runs import checkpoint
from compare.runs.record import LOG, RECORD
from compare.system import disk
from compare.system.errors import UserError

LOCK = ".in-use"
COMPARISON = "comparison.json"  # of compare.run, in the folder above `runs`


def check(folder: Path, num_bytes: int) -> None:
    """Refuse a folder that a new run of `num_bytes` could not be written to. Leaves nothing behind.

    Raises:
        UserError: it is a file, holds something, is in use, cannot be written or has too little room.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "a new or empty folder to write to", "choose another --out")
    if (folder / COMPARISON).exists():
        raise UserError(
            f"{folder} holds a comparison already",
            "a new or empty folder to write to",
            f"go on with it ({shlex.join(['python', '-m', 'compare.run', '--resume', str(folder)])}), or choose "
            "another --out",
        )
    if (folder / RECORD).exists():
        raise UserError(
            f"{folder} holds a finished run already", "a new or empty folder to write to", "choose another --out"
        )
    if checkpoint.found(folder):
        raise UserError(
            f"{folder} holds an unfinished run",
            "a new or empty folder to write to",
            f"go on with it (--resume {shlex.quote(str(folder))}), or choose another --out",
        )
    # a run that ended before its first checkpoint leaves these
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if any(name not in (LOG, LOCK) and not name.startswith(disk.PARTIAL) for name in names):
        raise UserError(f"{folder} holds other files", "a new or empty folder to write to", "choose another --out")
    existing = check_writable(folder)
    disk.check_room(existing, num_bytes)


def check_writable(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there, after trying that it can be written to.

    Raises:
        UserError: it cannot.
    """
    for existing in (folder, *folder.absolute().parents):
        if existing.exists():
            break
        if existing.is_symlink():
            raise UserError(
                f"{existing} is a link that leads nowhere", "a folder to write to", "mend or remove the link"
            )
    else:
        raise UserError(f"{folder} is on no disk of this machine", "a folder to write to", "choose another --out")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise disk.cannot_write(f"{existing} cannot be written to", existing, error) from error
    return existing


def unshared(folder: Path, *, make: bool = False) -> Path:
    """The first of `folder`, `folder`-2, `folder`-3, … that is not there: what another process has chosen in the same
    second is not this one's. With `make` it is made, by this process and no other.

    Raises:
        UserError: it cannot be made.
    """
    try:
        for number in itertools.count(1):
            free = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
            if not make and not free.exists():
                return free
            if make:
                free.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    free.mkdir()
                    return free
    except OSError as error:
        raise disk.cannot_write(f"{folder} cannot be made", folder, error) from error


@contextlib.contextmanager
def claim(folder: Path, *, new: bool = False, seconds: float = 0) -> Iterator[None]:
    """Make `folder` and keep other processes from writing to it meanwhile; what killed ones left half written goes.

    Args:
        folder: of a run or a report.
        new: whether a new run is begun there: another process may have ended one since that was checked.
        seconds: how long to wait for another process to be done with it.

    Raises:
        UserError: another process holds it, or has filled it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise UserError(
            f"{folder} is being written by another process",
            "a folder for this one alone",
            "wait for the other, or choose another --out",
        ) from error
    except OSError as error:
        raise disk.cannot_write(f"{folder} cannot be made or written to", folder, error) from error
    try:
        for left in folder.glob(f"{disk.PARTIAL}[0-9]*-*"):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        if new:
            check(folder, 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held: who has opened it by then sees that it is gone
            (folder / LOCK).unlink()
        lock.release()
