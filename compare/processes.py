"""Processes that end with the one that began them, however that one ends, on every system.

Their standard input is a pipe that nobody writes to. The system closes its other end with the process that holds it.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

TIED = "COMPARE_TIED"  # in the environment of a process that is
SECONDS_TO_END = 4  # to come to its end and keep what it has; after them it is ended


@contextlib.contextmanager
def tied(**environment: str) -> Iterator[dict]:
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
