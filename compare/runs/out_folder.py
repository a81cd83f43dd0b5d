"""The folder that a run or a report is to be written to: checked before, and claimed meanwhile."""

import contextlib
import itertools
import os
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
    resume = shlex.join(["--resume", str(folder)])
    came, advice = None, "choose another --out"
    if folder.exists() and not folder.is_dir():
        came = "is a file"
    elif (folder / COMPARISON).exists():
        came, advice = "holds a comparison already", f"go on with it (python -m compare.run {resume}), or {advice}"
    elif (folder / RECORD).exists():
        came = "holds a finished run already"
    elif checkpoint.found(folder):
        came, advice = "holds an unfinished run", f"go on with it ({resume}), or {advice}"
    elif folder.exists():
        # a run that ended before its first checkpoint leaves these
        others = [entry.name for entry in folder.iterdir() if entry.name not in (LOG, LOCK)]
        came = None if all(name.startswith(disk.PARTIAL) for name in others) else "holds other files"
    if came is not None:
        raise UserError(f"{folder} {came}", "a new or empty folder to write to", advice)
    disk.check_room(check_writable(folder), num_bytes)


def check_writable(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there, after trying that it can be written to: what cannot
    is refused."""
    existing = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), None)
    if existing is None:
        raise UserError(f"{folder} is on no disk of this machine", "a folder to write to", "choose another --out")
    if not existing.exists():
        raise UserError(f"{existing} is a link that leads nowhere", "a folder to write to", "mend or remove the link")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise disk.cannot_write(f"{existing} cannot be written to", existing, error) from error
    return existing


def unshared(folder: Path, *, make: bool = False) -> Path:
    """The first of `folder`, `folder`-2, `folder`-3, … that is not there: what another process has chosen in the same
    second is not this one's. With `make` it is made, by this process and no other."""
    names = itertools.chain([folder.name], (f"{folder.name}-{number}" for number in itertools.count(2)))
    places = map(folder.with_name, names)
    if not make:
        return next(place for place in places if not place.exists())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            place = next(places)
            with contextlib.suppress(FileExistsError):
                place.mkdir()
                return place
    except OSError as error:
        raise disk.cannot_write(f"{folder} cannot be made", folder, error) from error


@contextlib.contextmanager
def claim(folder: Path, *, new: bool = False, seconds: float = 0) -> Iterator[None]:
    """Make `folder` and keep other processes from writing to it meanwhile; what killed ones left half written goes.

    Args:
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
