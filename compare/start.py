"""What must hold before anything else is imported: Python is new enough, and no file of somebody's takes the place of a
module. `import compare` looks; every branch begins with that.

Nothing but what Python has loaded by then, in words that an old Python can read.
"""

import _signal
import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # what type checkers take for true; a file of somebody's may be called typing.py
if TYPE_CHECKING:
    from typing import NoReturn

PYTHON = (3, 11)  # as pyproject.toml has it
OURS = ("compare", "pretrained", "scratch_resnet")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def check() -> None:
    """Leave with the three parts of a `UserError` where Python is too old, or where `python -m` has put a folder first
    whose files hide modules."""
    if sys.version_info < PYTHON:
        wanted = f"Python {PYTHON[0]}.{PYTHON[1]} or newer"
        advice = "uv brings its own: put `uv run` before the command, as the README says; or install " + wanted
        refuse(f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, {sys.executable}", wanted, advice)
    if sys.argv[:1] == ["-m"]:  # so it is while a package is looked for
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            # until `compare.system.command` listens Ctrl-C ends this on the spot: in an import it would be a traceback
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        current_folder()
        if not sys.flags.safe_path:
            check_folder(sys.path[0], sys.path[1:])


def current_folder() -> str:
    """Where this is; leave in words where that is gone, in which MKL, for one, does not compute."""
    try:
        return os.getcwd()
    except OSError:
        refuse("the current folder is gone", "one that is there", "cd to another one: `cd` alone goes home")


def check_folder(folder: str, path: "list[str]") -> None:
    """Leave in words where something in `folder` would be imported in the place of a module on `path`."""
    try:
        entries = sorted(os.listdir(folder or "."))
    except OSError:  # then nothing is found there, either
        return
    hiding = []
    for entry in entries:
        name = entry.partition(".")[0]
        if not name.isidentifier() or name.startswith("test"):  # Python's own `test`, which nobody needs
            continue
        if name in OURS and os.path.abspath(folder) == ROOT:
            continue
        here, there = PathFinder.find_spec(name, [folder]), PathFinder.find_spec(name, path)
        if here is None or here.origin is None:  # no module, or a folder, which hides none
            continue
        if name in OURS or (there and there.origin and os.path.realpath(there.origin) != os.path.realpath(here.origin)):
            hiding.append(entry)
    if hiding:
        refuse(
            f"{', '.join(hiding)} in {os.path.abspath(folder)}: in the place of modules that are needed here",
            "a current folder without files or folders that are called like modules",
            "rename them, or run the command in another folder",
        )


def refuse(came: str, expected: str, advice: str) -> "NoReturn":
    """End as a `UserError` does, which cannot be imported yet."""
    sys.stderr.write(f"error: {came}\n  expected: {expected}\n  what to do: {advice}\n")
    sys.exit(2)
