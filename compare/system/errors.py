"""What is said where something is wrong, and the exit codes of every command.

Standard library only, so that `--help` and a wrong word are answered before anything large is imported; so are
`command`, `environment`, `display` and `processes` here.
"""

import re
import sys

EXIT_DONE = 0
EXIT_FAILED = 1  # training began and did not end in a complete run
EXIT_REFUSED = 2  # wrong use or a failed check: nothing was trained
EXIT_INTERRUPTED = 130  # by SIGINT, which Ctrl-C sends
EXIT_TERMINATED = 143  # by SIGTERM, which batch systems and `kill` send, or by SIGHUP, which a lost terminal does
INSTALL = "in the project's folder put `uv run` before the command, or install them (pip install -e .)"
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


def not_installed(name: str) -> UserError:
    """What is said where a module is missing that is not ours."""
    return UserError(
        f"{name.partition('.')[0]} is not installed for this Python, {sys.executable}",
        "the packages that pyproject.toml names",
        f"{INSTALL}; python -m compare.doctor lists what is missing",
    )


def extra_missing(came: str, extra: str) -> UserError:
    """What is said where packages are missing that come by an extra. Its advice holds for an installation that no
    index knows, too: pip and uv find that the project is there, and add what the extra names."""
    return UserError(
        came,
        f"the packages of the extra `{extra}`",
        f"pip install 'scratch-or-pretrained[{extra}]', or put `uv run --extra {extra}` before the command",
    )


def printable(text: str) -> str:
    """The text with what is `UNWRITABLE` in it written out."""
    return UNWRITABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def in_a_line(text: str) -> str:
    """The same with tabs and line ends written out, too, as names of files may have them."""
    return printable(text).replace("\t", "\\t").replace("\n", "\\n")


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
