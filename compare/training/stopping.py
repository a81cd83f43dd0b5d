"""How the process of a training begins, and how it is told to stop."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from compare.system import display, processes
from compare.system.command import STOP_SIGNALS, run_command
from compare.system.errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TERMINATED, Terminated, UserError
from compare.training.options import KERAS_BACKENDS

SECONDS_BETWEEN_SIGNALS = 3.0  # less, and a second SIGTERM is the first one once more


def end_at_once() -> None:
    """Let the `STOP_SIGNALS` end this process on the spot, where they are not ignored: until a training begins nothing
    is under way that a kill could spoil. An exception that they raised could be lost: Python drops what is raised in
    the callbacks that it runs while it imports, and importing a framework takes seconds."""

    def end(number: int, _: object) -> None:
        with contextlib.suppress(Exception):  # as where the signal came in the midst of a print
            sys.stdout.flush()
        interrupted = number == signal.SIGINT
        if processes.is_first():
            display.say_at_once("interrupted\n" if interrupted else "terminated\n")
        os._exit(EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED)

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def run_training(branch: str, main: Callable[[], int], *, is_shared: bool = False) -> None:
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
    run_command(main if others is None else refuse, unforeseen=EXIT_REFUSED, is_shared=is_shared)


class Stopping:
    """The wish of a signal to stop a training, which comes at any time and is heeded between two steps.

    Attributes:
        asked: the exception to raise, where a signal has asked.
    """

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None
        self._waits = False  # whether a signal waits for the step in progress

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """What a signal to stop lets come to its end: it waits for the end of the block, or for who asks meanwhile
        whether it was `asked`. Elsewhere in a training it raises KeyboardInterrupt at once."""
        waited, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = waited
        if self.asked is not None and not waited:
            raise self.asked

    def never(self) -> None:
        """From now on no signal stops the training but a second one."""
        self._waits = True

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """The `STOP_SIGNALS` stop the training as `finishing` says; the second one ends the process."""
        signals = [one for one in STOP_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        last = 0.0

        def again(number: int, _: object) -> None:
            # who ends all processes of a group reaches this one twice: compare.run passes it on as SIGTERM, torchrun
            # as it is
            if time.monotonic() - last > SECONDS_BETWEEN_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        def stop(number: int, _: object) -> None:
            nonlocal last
            last = time.monotonic()
            for one in signals:
                at_once = signal.SIGINT in (one, number) and processes.num_together() == 1
                signal.signal(one, signal.SIG_DFL if at_once else again)
            # heeded later where the exception is lost, as in a callback of a library
            self.asked = KeyboardInterrupt if number == signal.SIGINT else Terminated
            if not self._waits:
                raise self.asked
            if processes.is_first():
                display.say_at_once("\nstopping after this step; a second time stops at once, without a checkpoint\n")

        before = {one: signal.signal(one, stop) for one in signals}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
