"""Each branch's process, watched over: begun, waited for, told to stop, ended where it hangs, its ending in words."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from compare.system import processes
from compare.system.command import STOP_SIGNALS
from compare.system.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, UserError
from compare.training.options import ESTIMATE

POLL_SECONDS = 1.0  # between two looks at a branch
# A branch hangs if all its threads together took less than this share of one processor for so long. Long epochs and
# compilers take all of one, a training on a GPU some of it.
HANG_SECONDS, HANG_SHARE = 600, 0.01
HUNG = 124  # the exit code, as timeout(1) has it
STOP_SECONDS = 60  # for a branch that was told to stop to end its step and save


@contextlib.contextmanager
def heard() -> Iterator[list[int]]:
    """The signals that tell this process to stop, as they come, for `run_branch`: branches are given time to do so."""
    stops = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _: stops.append(number))
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_branch(
    branch: str,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    stops: list[int],
    told: list[dict[str, Any]] | None = None,
    name: str | None = None,
    watched: bool = False,
) -> int:
    """Run one branch in a process of its own, which ends with this one, and wait for it.

    Args:
        branch: its package.
        words: its command line.
        environment: what of it is its own.
        stops: the signals that were `heard`, by all branches that are run at the same time.
        told: is filled with its estimates, where these are wanted: `ESTIMATE` says how.
        name: what to begin all its lines with, where others run at the same time; None leaves it the terminal.
        watched: whether it is ended when it hangs. A check may wait long for a download.

    Returns:
        Its exit code, negative for the signal that ended it; `HUNG`; `EXIT_INTERRUPTED` or `EXIT_TERMINATED` where this
        process was told to stop, which the branch is given the time to do.
    """
    command = [sys.executable, "-m", f"{branch}.train", *words]
    with begun(command, environment, told, name) as process:
        code = wait_for(process, stops, watched=watched)
    # Ctrl-C may have reached the branch a moment earlier; a SIGTERM to it alone is somebody's who is short of memory
    return asked_by(stops) or {-signal.SIGINT: EXIT_INTERRUPTED, EXIT_TERMINATED: -signal.SIGTERM}.get(code, code)


def asked_by(stops: list[int]) -> int | None:
    """The exit code that the first of these signals asks for; None where there is none."""
    return (EXIT_INTERRUPTED if stops[0] == signal.SIGINT else EXIT_TERMINATED) if stops else None


@contextlib.contextmanager
def begun(
    command: list[str], environment: Mapping[str, str], told: list[dict[str, Any]] | None, name: str | None
) -> Iterator[subprocess.Popen[str]]:
    """A branch's process. Where `told` is a list, what it says passes through this process, and its estimates are put
    there: a file for them would be left behind where both are killed. So does what one says that has a name."""
    if told is None and name is None:
        with processes.tied(**environment) as arguments:
            yield subprocess.Popen(command, **arguments)
        return

    def relay(lines: Iterable[str], stream: TextIO) -> None:
        for line in lines:
            if told is not None and line.startswith(ESTIMATE):
                told.append(json.loads(line.removeprefix(ESTIMATE)))
            else:
                said = f"[{name}] {line.rstrip()}\n" if name is not None else line
                print(said, end="", file=stream, flush=True)

    encoding = sys.stdout.encoding or "utf-8"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "encoding": encoding, "errors": "replace"}
    if name is not None:
        pipes["stderr"] = subprocess.PIPE
    with processes.tied(PYTHONIOENCODING=encoding, **environment) as arguments:
        process = subprocess.Popen(command, **pipes, **arguments)
        ends = [(process.stdout, sys.stdout), (process.stderr, sys.stderr)]
        relaying = [threading.Thread(target=relay, args=pair) for pair in ends if pair[0] is not None]
        for thread in relaying:
            thread.start()
        try:
            yield process
        finally:
            for thread in relaying:
                thread.join()
            for end, _ in ends:
                if end is not None:
                    end.close()


def wait_for(process: subprocess.Popen[str], stops: list[int], *, watched: bool) -> int:
    """Wait for a branch's exit code; end it where it hangs or does not heed the signals that `stops` will list.

    A terminal's Ctrl-C reaches the branch as well, and a second signal makes it leave at once: the first SIGINT is left
    to it, any other signal is passed on, and so is the wish to stop every `STOP_SECONDS` that it goes on.
    """
    from compare.system import machine

    num_heard = num_asked = 0
    deadline = idle_seconds = busy_until_then = 0.0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)
        if len(stops) > num_heard or (num_asked and time.monotonic() > deadline):
            num_heard, num_asked, deadline = len(stops), num_asked + 1, time.monotonic() + STOP_SECONDS
            if num_asked > 2:
                process.kill()
            elif num_asked == 2 or stops[0] != signal.SIGINT:
                process.terminate()
        busy = machine.processor_seconds(process.pid) if watched else None
        if busy is None or busy - busy_until_then >= HANG_SHARE * HANG_SECONDS:
            idle_seconds, busy_until_then = 0.0, busy or 0.0
        else:
            idle_seconds += POLL_SECONDS  # not by the clock: Ctrl-Z stops this process, too
        if idle_seconds >= HANG_SECONDS:
            process.kill()
            process.wait()
            return HUNG


def ending(code: int) -> str:
    """A process' exit code in words."""
    if code == HUNG:
        return f"no progress, under {HANG_SHARE:.0%} of a processor for {HANG_SECONDS:g} s (so it was ended),"
    if code > 0:
        return f"exit code {code}"
    hint = ", which a system short of memory sends," if code in (-signal.SIGKILL, -signal.SIGTERM) else ""
    return f"signal {-code} ({signal.Signals(-code).name}){hint}"


def note_failure(run: Path, name: str, how: str) -> None:
    """Say how a run ended, on the terminal and at the end of its log, from which the report quotes."""
    from compare.runs import out_folder, record

    text = f"{name} ended with {how} before its run was complete"
    print(text, file=sys.stderr)
    # a full disk may be what ended it; or another process has the folder, and the log is that one's
    with contextlib.suppress(OSError, UserError), out_folder.claim(run):
        with (run / record.LOG).open("a", encoding="utf-8") as log:
            log.write(text + "\n")
