"""A run that is not complete: the checkpoints to go on from, and what a report can say of it.

checkpoint-N-HASH.safetensors   the last two: the arrays to go on from, and the record so far as metadata; N counts,
                                HASH begins the SHA-256 of the whole file
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from compare.runs import schema
from compare.runs.record import LOG, RECORD
from compare.runs.schema import FORMAT, Record
from compare.system import disk
from compare.system.errors import UserError

NAME = re.compile(r"checkpoint-(\d{1,9})-([0-9a-f]{16})\.safetensors")
MAX_LOG_BYTES = 100_000  # of the log, its end


@dataclasses.dataclass(frozen=True)
class UnfinishedRun:
    """A run that failed or was interrupted: the record so far, with the history rows of its finished epochs, and the
    last lines of its log. There is no record where the run ended before it could write anything. A run that was
    complete, and of which a file was changed, has `damage`: what is said of that."""

    folder: Path
    record: Record | None
    log_lines: list[str]
    damage: str = ""


def found(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, whole or damaged, the newest first; none where no unfinished run is."""
    numbers = {path: int(match[1]) for path in folder.glob("checkpoint-*") if (match := NAME.fullmatch(path.name))}
    return sorted(numbers, key=lambda path: numbers[path], reverse=True)


def write(folder: Path, arrays: dict[str, np.ndarray], record: Record) -> None:
    """Keep what is needed to go on from here, beside the checkpoint before this one; those before that go. Where it
    cannot be written, a `UserError`, the two before are as they were."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # as safetensors takes them
    content = safetensors.numpy.save(contiguous, metadata={"record": json.dumps(record.as_json())})
    earlier = found(folder)
    number = 1 + max((int(path.stem.split("-")[1]) for path in earlier), default=0)
    # The hash is in the name, which the file takes when it is whole: no moment has one without the other.
    sha256 = hashlib.sha256(content).hexdigest()[:16]
    disk.write_atomically(folder / f"checkpoint-{number}-{sha256}.safetensors", content)
    for path in earlier[1:]:
        path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether it holds the bytes that were written."""
    try:
        return disk.file_sha256(path)[:16] == path.stem.split("-")[2]
    except OSError:
        return False


def set_damaged_aside(folder: Path) -> list[str]:
    """Rename the damaged checkpoints, so that no good one makes room for them; their names."""
    damaged = [path for path in found(folder) if not _is_whole(path)]
    for path in damaged:
        path.replace(path.with_suffix(".damaged"))
    return [path.name for path in damaged]


def read(folder: Path, branch: str) -> tuple[dict[str, np.ndarray], Record]:
    """The arrays and the record so far of the unfinished run in `folder`, from the newest checkpoint that is whole.

    Raises:
        UserError: there is none, all are damaged, or it is of another branch or of another format.
    """
    if (folder / RECORD).exists():
        raise UserError(f"{folder} holds a finished run", "an unfinished run to go on with", "there is nothing to do")
    kept = found(folder)
    if not kept:
        advice = "name that folder, or start anew"
        raise UserError(f"{folder} holds no checkpoint", "the folder of an unfinished run", advice)
    anew = f"start the run anew; once {folder} is removed, it may take the same place"
    path = next(filter(_is_whole, kept), None)
    if path is None:
        raise UserError(
            f"{' and '.join(path.name for path in kept)} in {folder}: damaged, their content is not what was written",
            "one checkpoint at least that is as it was written",
            anew,
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            content = disk.parse_json((file.metadata() or {})["record"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if isinstance(content, dict) and (content.get("format"), content.get("branch")) != (FORMAT, branch):
            raise UserError(
                f"{path} is of branch {content.get('branch')!r}, format {content.get('format')!r}",
                f"branch {branch!r}, format {FORMAT}",
                "resume it with the branch and the version that began it",
            )
        return arrays, schema.parse(content)
    except UserError:
        raise
    except Exception as error:  # safetensors raises kinds of NumPy's and its own on bytes that are not its
        expected = "a checkpoint that a run of this project wrote"
        raise UserError(f"{path} is damaged ({error})", expected, anew) from error


def read_unfinished_run(folder: Path, num_log_lines: int = 20) -> UnfinishedRun:
    """What a run that is not complete left behind. Never fails: a reader of the report should see what there is."""
    record, lines = None, []
    with contextlib.suppress(Exception):
        with safetensors.safe_open(next(filter(_is_whole, found(folder))), framework="numpy") as file:
            record = schema.parse(disk.parse_json((file.metadata() or {})["record"]))
    with contextlib.suppress(OSError), (folder / LOG).open("rb") as file:
        file.seek(max(0, (folder / LOG).stat().st_size - MAX_LOG_BYTES))
        lines = file.read(MAX_LOG_BYTES).decode("utf-8", errors="replace").splitlines()[-num_log_lines:]
    return UnfinishedRun(folder, record, lines)
