"""The terminal is not the work: what it cannot show is spelled, and what it does not take is lost, but nothing else.

Standard library only, as `command` is.
"""

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

SPELLED = {"×": "x", "…": "...", "±": "+/-", "·": "-", "–": "-", "’": "'"}  # where an encoding lacks them


class Forgiving:
    """A stream of text whose writing never fails: a pipe may be closed at its other end, a terminal gone, a disk full.
    `stream` is None where the process was started without one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream
        if (reconfigure := getattr(self._stream, "reconfigure", None)) is not None:  # a notebook's text is UTF-8
            with contextlib.suppress(OSError, ValueError):
                reconfigure(errors="spelled")

    def write(self, text: str) -> int:
        """Write as much of the text as can be; the length of all of it."""
        with contextlib.suppress(OSError, ValueError):  # the latter where it was closed in this process
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def end(self) -> None:
        """Hand over what was written, and lose it where that cannot be: Python would complain of it when it ends."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's."""
        return getattr(self._stream, name)


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Let standard output and standard error be `Forgiving`, here and in the processes that are started."""
    for number in range(3):  # or a file that is opened later gets the number of a closed one, and all that is said
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error("spelled", _spell)
    before = sys.stdout, sys.stderr
    streams = sys.stdout, sys.stderr = [Forgiving(stream) for stream in before]
    try:
        yield
    finally:
        for stream in streams:
            stream.end()
        sys.stdout, sys.stderr = before


def say_at_once(text: str) -> None:
    """Say an ASCII text on standard error from within a handler of signals, which may have come in the midst of a
    print."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    return SPELLED.get(character) or ascii(character)[1:-1], error.start + 1


def duration(seconds: float) -> str:
    """Seconds in words: `8 s`, `4 min 10 s`, `2 h 5 min`, `3 h`."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
