"""How every command begins and ends: the types of its words, and its exit code.

Standard library only, so that `--help` and a wrong word are answered before anything large is imported.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from compare import start
from compare.system import display, environment, processes
from compare.system.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_TERMINATED,
    Terminated,
    UserError,
    not_installed,
    printable,
    writable,
)

# What asks a command to stop. Windows has no SIGHUP; `nohup` lets it be ignored, and it stays so.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
MAX_EPOCHS, MAX_NUMBER = 10_000, 1e100  # of a record that its readers take; larger numbers cannot be drawn


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in the same three parts as everything else."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UserError(message, "the words that --help lists", "look them up with --help, which has examples")


def place_or_word(text: str) -> str:
    """The argparse type of a path, or of a word where a path may stand, which is left as it is: `~` is a home, wherever
    the shell has left it (`--out=~/x`), and what will itself begin like an option or a home is written out."""
    place = os.path.expanduser(text)
    if place.startswith("~"):
        raise UserError(
            f"{printable(text)}: no home is known that this begins with",
            "a path, or ~ or ~USER with that user's home",
            "write it out, or put ./ before what is really called so",
        )
    return writable(os.path.abspath(place) if str(Path(place)).startswith(("-", "~")) else place)


def place(text: str) -> Path:
    """The argparse type of every path; see `place_or_word`."""
    place = Path(place_or_word(text))
    writable(os.path.abspath(place))  # where it stands is kept, too
    return place


def whole_number(option: str, minimum: int, advice: str, *, maximum: int = 2**32 - 1) -> Callable[[str], int]:
    """The argparse type of a whole number from `minimum` to `maximum`, by default the largest that every random
    generator takes as a seed."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and len(text) < 20 and minimum <= int(text) <= maximum):
            raise UserError(f"{option} {text}", f"a whole number from {minimum} to {maximum:,}", advice)
        return int(text)

    return parse


def positive_number(option: str, advice: str) -> Callable[[str], float]:
    """The argparse type of a number above 0 that a record can hold."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not 0 < number <= MAX_NUMBER:
            raise UserError(f"{option} {text}", f"a number above 0, and at most {MAX_NUMBER:g}", advice)
        return number

    return parse


def run_command(main: Callable[[], int], *, unforeseen: int = EXIT_FAILED, is_shared: bool = False) -> None:
    """Run `main` and leave with its exit code, or `unforeseen` for an error that is nobody's `UserError`; what goes
    wrong is said in words, to whom can hear it. In an interactive Python and in a notebook it returns, with their
    environment as it was. Several processes together are refused where it is not `is_shared` out among them."""
    processes.end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `compare.start` has it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = dict(os.environ)
    try:
        with display.forgiving():
            code = _exit_code(main if is_shared or processes.num_together() == 1 else _refuse_several, unforeseen)
    finally:
        if processes.is_in_shell():
            os.environ.clear()
            os.environ.update(before)
    if not processes.is_in_shell():
        sys.exit(code)


def _refuse_several() -> int:
    if not processes.is_first():
        return EXIT_REFUSED
    raise UserError(
        f"torchrun with {processes.num_together()} processes of a command that one does alone",
        "python -m in the place of torchrun; a training from scratch alone is shared out among several",
        "begin it so; torchrun --nproc-per-node=N -m scratch_resnet.train trains one network by N processes",
    )


def _exit_code(main: Callable[[], int], unforeseen: int) -> int:
    try:
        environment.settle()
        return main()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        if processes.is_first():
            print("terminated" if terminated else "interrupted", file=sys.stderr)
        return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
    except Exception as error:
        said = _in_words(error, unforeseen)
        print(said, file=sys.stderr)
        return said.exit_code


def _in_words(error: Exception, unforeseen: int) -> UserError:
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in start.OURS:
        return not_installed(error.name)
    if isinstance(error, OSError) and error.filename is not None:  # a place that nothing nearer has looked at
        came = f"{str(error.filename)[:500]}: {error.strerror}"
        advice = "permit reading and writing it, or name another place"
        return UserError(came, "a file or folder that can be reached", advice)
    path, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
    came = f"{type(error).__name__}: {str(error)[:500]} (in {Path(path).name}, line {line})"
    advice = "look whether a path, a driver or a package is at fault; if not, report it with this message"
    return UserError(came, "no error here: this one was not foreseen", advice, exit_code=unforeseen)
