"""How the process of a training begins, and how it is told to stop."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from compare.system import display, processes
from compare.system.command import STOP_SIGNALS, run_command
from compare.system.errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TERMINATED, UserError
from compare.training.options import KERAS_BACKENDS


def end_at_once() -> None:
    """Let the `STOP_SIGNALS` end this process on the spot, where they are not ignored: until a training begins nothing
    is under way that a kill could spoil. An exception that they raised could be lost: Python drops what is raised in
    the callbacks that it runs while it imports, and importing a framework takes seconds."""

    def end(number, _):
        with contextlib.suppress(Exception):  # as where the signal came in the midst of a print
            sys.stdout.flush()
        interrupted = number == signal.SIGINT
        display.say_at_once("interrupted\n" if interrupted else "terminated\n")
        os._exit(EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED)

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def run_training(branch: str, main: Callable[[], int]) -> None:
    """`run_command` for a branch, whose framework, threads, signals and device are settled for a whole process: it is
    refused in one that is somebody else's."""
    others = processes.shared_with("keras", *KERAS_BACKENDS)

    def refuse() -> int:
        raise UserError(
            f"a training in {others}",
            "a process of its own, for its framework, its threads and its answer to Ctrl-C",
            f"begin one: python -m {branch}.train, in a notebook with ! before it; compare.run begins one itself",
        )

    if others is None:
        end_at_once()
    # what happens in training is foreseen in `Job.running`
    run_command(main if others is None else refuse, unforeseen=EXIT_REFUSED)
