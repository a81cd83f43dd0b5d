"""Whose process this is: one that somebody else works in, one that ends with the one that began it, or one of several
that PyTorch's `torchrun` began for one training, and whose number among them the environment tells.

The second do so on every system, and however that one ends: their standard input is a pipe that nobody writes to, whose
other end the system closes with the process that holds it.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

TIED = "COMPARE_TIED"  # in the environment of a process that is
SECONDS_TO_END = 4  # to come to its end and keep what it has; after them it is ended


def is_in_shell() -> bool:
    """Whether this runs in an interactive Python, IPython or a notebook, which goes on afterwards."""
    shell = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (shell is not None and shell.get_ipython() is not None)


def shared_with(*packages: str) -> str | None:
    """What this process is besides, in words: an interactive one, or one in which some of `packages` were imported
    before; None where it is our own."""
    if is_in_shell():
        return "an interactive Python or a notebook"
    loaded = [name for name in packages if sys.modules.get(name) is not None]
    return f"a process that has {' and '.join(loaded)} loaded" if loaded else None


def num_together() -> int:
    """How many processes torchrun began for one training, this one among them; 1 where it did not begin this one."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_first(number: str = "RANK") -> bool:
    """Whether this is the first of them, which alone speaks and writes; by LOCAL_RANK, the first on its machine."""
    return num_together() == 1 or os.environ[number] == "0"


def launcher(num_processes: int) -> list[str]:
    """The words of a command line before the module that so many processes run together."""
    return ["python", "-m"] if num_processes == 1 else ["torchrun", f"--nproc-per-node={num_processes}", "-m"]


@contextlib.contextmanager
def tied(**environment: str) -> Iterator[dict[str, Any]]:
    """Arguments with which `subprocess` begins a process that calls `end_with_parent`, which it does when this block
    ends or this process does. `environment` is added to this process' own."""
    theirs, ours = os.pipe()
    try:
        yield {"stdin": theirs, "env": os.environ | environment | {TIED: "1"}}
    finally:
        os.close(ours)
        os.close(theirs)


def end_with_parent() -> None:
    """Watch, from now on, whether the process that began this one is there, if it was begun with `tied`: without it
    this one is told to stop as by SIGTERM, and ended where it does not."""
    if os.environ.pop(TIED, None) is not None:  # so that what this process begins does not inherit it
        threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    os.read(0, 1)
    if hasattr(signal, "alarm"):  # the system's own, whatever keeps Python from going on
        signal.alarm(SECONDS_TO_END)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os._exit(128 + signal.SIGTERM)
