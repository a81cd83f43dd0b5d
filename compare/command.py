"""What every command of the project shares: its words, its errors and its exit codes.

Standard library only, so that `--help` and a wrong word are answered before anything large is imported.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from compare import display, environment, processes, start

EXIT_DONE = 0
EXIT_FAILED = 1  # training began and did not end in a complete run
EXIT_REFUSED = 2  # wrong use or a failed check: nothing was trained
EXIT_INTERRUPTED = 130  # by SIGINT, which Ctrl-C sends
EXIT_TERMINATED = 143  # by SIGTERM, which batch systems and `kill` send, or by SIGHUP, which a lost terminal does
# What asks a command to stop. Windows has no SIGHUP; `nohup` lets it be ignored, and it stays so.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# The recipe's fields that the command line can change, and their words.
OVERRIDES = {
    "num_epochs": "--epochs",
    "batch_size": "--batch-size",
    "image_size": "--image-size",
    "learning_rate": "--learning-rate",
}


# What to do who wants to train a run for longer, and why.
ANEW_FOR_EPOCHS = (
    "start a new one with --epochs {value}: a complete run keeps no optimizer's state to go on from, and the learning "
    "rate was planned over the epochs that it had"
)

KERAS_BACKENDS = ("tensorflow", "torch", "jax")  # auto tries them in this order
WEIGHTS_WORDS = ("imagenet", "random", "local")  # what --weights takes beside a file's name
UNFREEZE = ("none", "last-stage", "backbone")


OFFLINE_VARIABLE = "SCRATCH_OR_PRETRAINED_OFFLINE"  # what --offline sets, so that every process started hears of it

INSTALL = "in the project's folder put `uv run` before the command, or install them (pip install -e .)"

# In the environment it asks a branch to say how many seconds its training takes, in a line that begins with it.
ESTIMATE = "COMPARE_ESTIMATE"
DEFAULT_RECIPE, DEFAULT_SEED = "article", 0  # not argparse's: --resume must know what was given
MAX_EPOCHS, MAX_NUMBER = 10_000, 1e100  # of a record that its readers take; larger numbers cannot be drawn
# Control characters but tabs and line feeds, and bytes that are no text: no JSON of ours is read with them, and a
# command that was told is another one when it is pasted.
UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


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
        self.came, self.expected, self.advice, self.exit_code = came, expected, advice, exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, as KeyboardInterrupt is SIGINT."""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in the same three parts as everything else."""

    def __init__(self, **settings):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str):
        raise UserError(message, "the words that --help lists", "look them up with --help, which has examples")


def not_installed(name: str) -> UserError:
    """What is said where a module is missing that is not ours."""
    return UserError(
        f"{name.partition('.')[0]} is not installed for this Python, {sys.executable}",
        "the packages that pyproject.toml names",
        f"{INSTALL}; python -m compare.doctor lists what is missing",
    )


def printable(text: str) -> str:
    """The text with what is `UNWRITABLE` in it written out."""
    return UNWRITABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def writable(text: str) -> str:
    """The text itself, a name or a path, if a record, a page and a command line can hold it.

    Raises:
        UserError: they cannot.
    """
    if UNWRITABLE.search(text):
        raise UserError(
            f"{printable(text)} holds control characters, or bytes that are no text",
            "a name that a record, a page and a pasted command line can hold",
            "rename it, or reach it by a link of another name (ln -s)",
        )
    return text


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


def device_name(text: str) -> str:
    """The argparse type of `--device`: auto, cpu, cuda, cuda:N or mps, which is what PyTorch calls Apple's GPU."""
    kind, _, index = text.partition(":")
    if text not in ("auto", "cpu", "cuda", "mps") and not (
        kind == "cuda" and index.isdecimal() and index == str(int(index))
    ):
        raise UserError(
            f"--device {text}",
            "auto, cpu, cuda, cuda:N or mps",
            "say cpu, or leave it out to take a GPU where there is one",
        )
    return text


class Offline(argparse.Action):
    """`--offline`: from here on nothing is downloaded, in this process and in those that it starts."""

    def __init__(self, option_strings, dest, **settings):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **settings)

    def __call__(self, parser, namespace, values, option_string=None):
        """Set the variable that `compare.download` asks."""
        os.environ[OFFLINE_VARIABLE] = "1"


def add_place_options(group) -> None:
    """Add the options that say where data is read and computed, alike in every command that trains."""
    group.add_argument("--data-dir", type=place, metavar="DIR", help="where Fashion-MNIST is, in any form (found)")
    group.add_argument(
        "--device", type=device_name, default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps (auto)"
    )
    group.add_argument("--offline", action=Offline, help="download nothing: what is missing is refused by name")


def add_recipe_options(group, recipes: list[str]) -> None:
    """Add the choice of a recipe by name. An empty list takes any name; the branches know theirs."""
    choice = group.add_mutually_exclusive_group()
    known = {"choices": recipes} if recipes else {}
    words = f"{', '.join(recipes) or 'one that the branches have: article, demo, …'} (article)"
    choice.add_argument("--recipe", type=writable, metavar="NAME", help=words, **known)
    choice.add_argument("--demo", dest="recipe", action="store_const", const="demo", help="the same as --recipe demo")
    seed = whole_number("--seed", 0, "leave it out for seed 0")
    group.add_argument("--seed", type=seed, metavar="N", help="seed of every random draw (0)")


def add_override_options(parser: Parser, of: Callable = lambda kind: kind) -> None:
    """Add the options that change single fields of the recipe (`OVERRIDES`); `of` wraps their types."""
    group = parser.add_argument_group("changes to the recipe, kept in the record")
    advice = "say 1 for a single pass over the training images"
    epochs = whole_number("--epochs", 1, advice, maximum=MAX_EPOCHS)
    batch_size = whole_number("--batch-size", 1, "leave it out for the recipe's own")
    image_size = whole_number("--image-size", 28, "say 28: anything smaller throws the data's own pixels away")
    learning_rate = positive_number("--learning-rate", "leave it out for the recipe's own")
    group.add_argument("--epochs", dest="num_epochs", type=of(epochs), metavar="N", help="passes over the images")
    group.add_argument("--batch-size", type=of(batch_size), metavar="N", help="images a step")
    group.add_argument("--image-size", type=of(image_size), metavar="N", help="pixels a side, at least 28")
    group.add_argument("--learning-rate", type=of(learning_rate), metavar="X", help="size of a step")


def add_backbone_options(parser: Parser) -> None:
    """Add the options of the pretrained network."""
    group = parser.add_argument_group("pretrained network")
    words = "imagenet, random, or a file of Keras' with a ResNet50 (the recipe's)"
    group.add_argument("--weights", type=place_or_word, metavar="W", help=words)
    group.add_argument(
        "--unfreeze",
        choices=UNFREEZE,
        metavar="U",
        help=f"fine-tune afterwards: {', '.join(UNFREEZE)} (the recipe's)",
    )
    words = f"auto, {', '.join(KERAS_BACKENDS)} (auto)"
    choices = ("auto", *KERAS_BACKENDS)
    group.add_argument("--keras-backend", choices=choices, default="auto", metavar="B", help=words)


def add_how_options(group) -> None:
    """Add the options that say how far to go, alike in every command that trains."""
    group.add_argument("--check", action="store_true", help="check everything, say how long it would take, and stop")
    group.add_argument(
        "--robustness", action="store_true", help="predict shifted, noisy, … copies of test images as well, at the end"
    )


def add_branch_options(parser: Parser, *, recipes: list[str]) -> None:
    """Add the options that both branches have, with the same words for the same things."""
    add_recipe_options(parser.add_argument_group("what to train"), recipes)
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=place, metavar="DIR", help="the run's own new folder (one below reports)")
    add_place_options(where)
    add_override_options(parser)
    how = parser.add_argument_group("how")
    add_how_options(how)
    how.add_argument("--resume", type=place, metavar="DIR", help="go on with an unfinished run where it was left")


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


def run_command(main: Callable[[], int], *, unforeseen: int = EXIT_FAILED) -> None:
    """Run `main` and leave with its exit code; what goes wrong is said in words, to whom can hear it. In an interactive
    Python and in a notebook it returns, with their environment as it was.

    Args:
        main: returns an exit code.
        unforeseen: the exit code of an error that is nobody's `UserError`.
    """
    processes.end_with_parent()
    before = dict(os.environ)
    try:
        with display.forgiving():
            code = _exit_code(main, unforeseen)
    finally:
        if processes.is_in_shell():
            os.environ.clear()
            os.environ.update(before)
    if not processes.is_in_shell():
        sys.exit(code)


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


def _exit_code(main: Callable[[], int], unforeseen: int) -> int:
    try:
        environment.settle()
        return main()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        print("terminated" if terminated else "interrupted", file=sys.stderr)
        return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in start.OURS:
            print(not_installed(error.name), file=sys.stderr)
            return EXIT_REFUSED
        if isinstance(error, OSError) and error.filename is not None:  # a place that nothing nearer has looked at
            came = f"{str(error.filename)[:500]}: {error.strerror}"
            advice = "permit reading and writing it, or name another place"
            print(UserError(came, "a file or folder that can be reached", advice), file=sys.stderr)
            return EXIT_REFUSED
        path, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
        came = f"{type(error).__name__}: {str(error)[:500]} (in {Path(path).name}, line {line})"
        advice = "look whether a path, a driver or a package is at fault; if not, report it with this message"
        print(UserError(came, "no error here: this one was not foreseen", advice), file=sys.stderr)
        return unforeseen
