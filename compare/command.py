"""What every command of the project shares: its option types, its errors and its exit codes.

Standard library only, so that `--help` and a wrong word are answered before any framework is imported.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1  # training began and did not end in a complete run
EXIT_REFUSED = 2  # wrong use or a failed check: nothing was trained
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can put right, told in three parts.

    Args:
        came: what was found or given.
        expected: what would have been right.
        advice: what to do now.
        exit_code: `EXIT_REFUSED` before training has begun, `EXIT_FAILED` after.
    """

    def __init__(self, came: str, expected: str, advice: str, *, exit_code: int = EXIT_REFUSED):
        super().__init__(f"error: {came}\n  expected: {expected}\n  what to do: {advice}")
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in the same three parts as everything else."""

    def __init__(self, **settings):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False, **settings
        )
        self.add_argument_group("help").add_argument("-h", "--help", action="help", help="show this and stop")

    def error(self, message: str):
        raise UserError(message, "the words that --help lists", f"{self.prog} --help shows them, with examples")


def whole_number(minimum: int) -> Callable[[str], int]:
    """The argparse type of a whole number of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} came, a whole number of at least {minimum} was expected")
        return number

    return parse


def positive_number(text: str) -> float:
    """The argparse type of a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} came, a number above 0 was expected")
    return number


def device_name(text: str) -> str:
    """The argparse type of `--device`: auto, cpu, cuda or cuda:N."""
    kind, _, index = text.partition(":")
    if text not in ("auto", "cpu", "cuda") and not (kind == "cuda" and index.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} came, one of auto, cpu, cuda, cuda:N was expected")
    return text


def add_branch_options(parser: Parser, *, recipes: dict, default_out: str) -> None:
    """Add the options that both branches have, with the same words for the same things."""
    what = parser.add_argument_group("what to train")
    choice = what.add_mutually_exclusive_group()
    choice.add_argument(
        "--recipe", choices=recipes, default="article", metavar="NAME", help=f"{', '.join(recipes)} (default article)"
    )
    choice.add_argument("--demo", dest="recipe", action="store_const", const="demo", help="short for --recipe demo")
    what.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="seed of every random draw (0)")
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=Path, metavar="DIR", help=f"the run's own new folder (default {default_out})")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the four Fashion-MNIST files")
    where.add_argument("--device", type=device_name, default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    changes = parser.add_argument_group("changes to the recipe, kept in the record")
    changes.add_argument("--epochs", dest="num_epochs", type=whole_number(1), metavar="N")
    changes.add_argument("--batch-size", type=whole_number(1), metavar="N")
    changes.add_argument("--image-size", type=whole_number(28), metavar="N", help="pixels a side, at least 28")
    changes.add_argument("--learning-rate", type=positive_number, metavar="X")
    how = parser.add_argument_group("how to go")
    how.add_argument("--check", action="store_true", help="check everything, say how long it would take, and stop")
    how.add_argument("--resume", type=Path, metavar="DIR", help="go on with an unfinished run after its last epoch")


OVERRIDES = ("num_epochs", "batch_size", "image_size", "learning_rate")


def overrides_of(arguments: argparse.Namespace) -> dict:
    """The recipe's fields that the command line changes, by field name."""
    given = {name: getattr(arguments, name) for name in OVERRIDES}
    return {name: value for name, value in given.items() if value is not None}


def run_command(main: Callable[[], int]) -> None:
    """Run `main` and leave with its exit code; whatever goes wrong is said in words."""
    # A pipe to a full disk or a closed reader is not ours to report twice.
    try:
        code = main()
    except UserError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.stdout.flush()
    sys.stderr.flush()
    # Framework threads can outlive an interrupted step; nothing of ours is left to do.
    os._exit(code) if code == EXIT_INTERRUPTED else sys.exit(code)


def describe_crash(error: BaseException) -> str:
    """The traceback of an error that nobody foresaw, for the run's log."""
    return "".join(traceback.format_exception(error))
