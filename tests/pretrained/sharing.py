"""What `test_sharing.py` lets processes do together, as torchrun begins them, or one alone; the project, its
tests and tests/faults are on Python's path:

    torchrun --nproc-per-node=2 tests/pretrained/sharing.py --recipe tuned --out DIR

Each writes a line to the file that the variable MADE names for every file of features that it makes, with its number.
FAULT names what befalls a process, by its number, as it makes one of them, counted from 1: `1 2 kill`, `1 2 stop`,
which is a signal to torchrun, or `1 2 full`, a full disk, there and from then on for all.
"""

import errno
import os
import signal
import sys
from pathlib import Path

from trainings import few

from compare.system import disk
from compare.system.command import run_command
from pretrained import feature_cache, solver, train

RANK = os.environ.get("RANK", "0")
few("pretrained")
feature_cache.IMAGES_IN_FILE = 32
write_with_hash, numbers = disk.write_with_hash, iter(range(1, 1000))


def write(path: Path, content: bytes) -> None:
    rank, number, fault = os.environ.get("FAULT", "-1 0 nothing").split()
    is_due = rank == RANK and next(numbers) == int(number)
    full = Path(os.environ["MADE"] + ".full")
    if is_due and fault == "full":
        full.touch()
    elif is_due:
        os.kill(*(os.getpid(), signal.SIGKILL) if fault == "kill" else (os.getppid(), signal.SIGTERM))
    if fault == "full" and full.exists():
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise disk.cannot_write(f"{path.name} could not be written", path.parent, error, exit_code=1) from error
    with Path(os.environ["MADE"]).open("a") as made:
        made.write(f"{RANK} {path.name}\n")
    write_with_hash(path, content)


disk.write_with_hash = solver.write_with_hash = write
sys.argv[0] = "pretrained.train"
run_command(train.main, is_shared=True)
