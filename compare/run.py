"""The main command: `python -m compare.run --both`.

It checks everything, trains each branch in a process of its own (their frameworks cannot share one), and writes the
report from the runs that they leave:

    reports/NAME/comparison.json   what was asked for, so that --resume can go on
    reports/NAME/runs/BRANCH/      each branch's run; with --seeds BRANCH-seed-N, one for each seed
    reports/NAME/index.html        the report, with its pictures beside it
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system import processes
from compare.system.command import STOP_SIGNALS, Parser, place, run_command, whole_number
from compare.system.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_TERMINATED,
    UserError,
    writable,
)
from compare.training.options import (
    ANEW_FOR_EPOCHS,
    DEFAULT_RECIPE,
    ESTIMATE,
    OVERRIDES,
    WEIGHTS_WORDS,
    add_backbone_options,
    add_how_options,
    add_override_options,
    add_place_options,
    add_recipe_options,
)

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    from compare.runs.checkpoint import UnfinishedRun
    from compare.runs.record import Run

BRANCHES = {"scratch": "scratch_resnet", "pretrained": "pretrained"}
PLACE_WORDS = ("--data-dir", "--device", "--weights", "--keras-backend")  # what a resumed branch is told again
SCRATCH_PLACES = ("--data-dir", "--device")
NUM_REPORT_BYTES = 20_000_000
NUM_RUN_BYTES = 100_000_000  # of a finished run with the larger weights
POLL_SECONDS = 1.0  # between two looks at a branch
# A branch hangs if all its threads together took less than this share of one processor for so long. Long epochs and
# compilers take all of one, a training on a GPU some of it.
HANG_SECONDS, HANG_SHARE = 600, 0.01
HUNG = 124  # the exit code, as timeout(1) has it
STOP_SECONDS = 60  # for a branch that was told to stop to end its step and save
EXAMPLES = """examples:
  python -m compare.run --both --demo                     both branches and the report in a few minutes, offline
  python -m compare.run --both                            the article's two trainings on Fashion-MNIST
  python -m compare.run --both --recipe tuned             the same two networks, the best result for the least time
  python -m compare.run --both --weights random           the control: the same without pretraining
  python -m compare.run --both --epochs 1 --name quick    one epoch each, in reports/quick
  python -m compare.run --both --robustness               and how robust each is to shifts, noise, blur, …
  python -m compare.run --both --learning-rate scratch=0.01,pretrained=0.1
  python -m compare.run --both --demo --seeds 0,1,2       each branch three times, and how far seeds lie apart
  python -m compare.run --resume reports/quick            go on with an interrupted comparison
"""


def main() -> int:
    """Parse, check, train, report."""
    arguments = parse()
    from compare import report
    from compare.runs import out_folder, record

    unnamed = arguments.resume is None and arguments.name is None and arguments.out is None
    if arguments.resume is not None:
        folder = arguments.resume
        asked = read_asked(folder)
        for module, words in asked["branches"].items():
            words.update(place_words(arguments, scratch_only=module == BRANCHES["scratch"]))
    else:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = arguments.out or Path("reports", arguments.name or f"{arguments.recipe or DEFAULT_RECIPE}-{now}")
        folder = out_folder.unshared(folder) if unnamed else folder
        name = arguments.name or Path(os.path.abspath(folder)).name
        asked = {"name": name, "branches": {BRANCHES[word]: words_for(word, arguments) for word in chosen(arguments)}}
        if arguments.seeds is not None:
            asked["seeds"] = arguments.seeds
        record.check_readable(asked, problem_with_asked)
        out_folder.check(folder, NUM_REPORT_BYTES + NUM_RUN_BYTES * len(runs_of(asked, folder)))
    out_folder.check_writable(folder)
    report.check_plotting()

    with contextlib.ExitStack() as held:
        if arguments.resume is not None:
            held.enter_context(out_folder.claim(folder))
            for _, words, run in runs_of(asked, folder).values():
                if run.exists() and words_left(run, words) is not None:
                    # where compare.run was killed, the branch that it had begun takes a moment to end
                    with out_folder.claim(run, seconds=processes.SECONDS_TO_END + 2):
                        pass
        ahead = [
            (module, words if unnamed else words_left(run, words))  # an unnamed one's folder is not settled yet
            for module, words, run in runs_of(asked, folder).values()
        ]
        code = check([(module, words) for module, words in ahead if words is not None])
        if code != EXIT_DONE or arguments.check:
            return code
        if unnamed:
            folder = out_folder.unshared(folder, make=True)
            asked["name"] = folder.name
        if arguments.resume is None:
            held.enter_context(out_folder.claim(folder, new=True))
        return train_and_report(folder, asked)


def train_and_report(folder: Path, asked: dict) -> int:
    """Bring every run that was asked for to its end, and write the report; the exit code. The folder is claimed."""
    from compare import report
    from compare.page.language import say
    from compare.runs import out_folder
    from compare.system import disk

    written = asked | {"sha256": disk.own_sha256(asked)}
    disk.write_atomically(folder / out_folder.COMPARISON, (json.dumps(written, indent=1) + "\n").encode())
    runs, page, unfinished = runs_of(asked, folder), None, ()
    try:
        code = train(runs)
        finished, unfinished = read_runs(
            sorted(runs, key=lambda name: list(asked["branches"]).index(runs[name][0])), folder / "runs"
        )
        if code == EXIT_DONE or finished:
            data_dirs = [words["--data-dir"] for words in asked["branches"].values() if "--data-dir" in words]
            page = report.write_report(
                folder,
                finished,
                unfinished,
                title=say("From scratch or pretrained: {name}", name=asked["name"]),
                data_dir=Path(data_dirs[0]) if data_dirs else None,
            )
    finally:  # also where the disk is full or the report is interrupted: what was trained stays
        if page is None or not all(run.damage for run in unfinished):
            go_on = shlex.join(["python", "-m", "compare.run", "--resume", str(folder)])
            print(f"to go on: {go_on}", file=sys.stderr)
    if page is not None:
        print(page)
    return code or (EXIT_FAILED if unfinished else EXIT_DONE)


def train(runs: dict[str, tuple[str, dict[str, str | None], Path]]) -> int:
    """Bring each run to its end, one after the other; one that fails leaves the others.

    Args:
        runs: by name, the branch, the command line but for the folder, and the folder.

    Returns:
        `EXIT_INTERRUPTED` or `EXIT_TERMINATED` where a signal ended this early, else `EXIT_DONE`.
    """
    for name, (module, words, run) in runs.items():
        words = words_left(run, words)  # as it is now: another process may have resumed the run
        code = EXIT_DONE if words is None else run_branch(module, words, watched=True)
        if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
            return code
        if code != EXIT_DONE:
            note_failure(run, name, code)
    return EXIT_DONE


def read_runs(names: list[str], folder: Path) -> "tuple[list[Run], list[UnfinishedRun]]":
    """Read the runs of these names below `folder`: the complete ones and, apart from them, the others."""
    from compare.runs import checkpoint, record

    finished, unfinished = [], []
    for run in (folder / name for name in names):
        try:
            finished.append(record.read_run(run))
        except UserError as error:
            damage = str(error) if (run / record.RECORD).exists() else ""
            if damage:
                print(damage, file=sys.stderr)
            unfinished.append(dataclasses.replace(checkpoint.read_unfinished_run(run), damage=damage))
    return finished, unfinished


def parse() -> argparse.Namespace:
    """Parse the command line and refuse what contradicts itself."""
    parser = Parser(
        prog="python -m compare.run",
        description="Train from scratch, fine-tune a pretrained network, and report which was better. A branch that "
        "fails does not cost the other: nor does one that hangs, which is ended (on Linux) when it has taken less than "
        f"{HANG_SHARE:.0%} of a processor for {HANG_SECONDS // 60} minutes.",
        epilog=EXAMPLES,
    )
    which = parser.add_argument_group("which branches (one of these)").add_mutually_exclusive_group(required=True)
    which.add_argument("--both", action="store_true", help="train both, and compare them")
    which.add_argument("--scratch", action="store_true", help="the ResNet-18 from scratch alone")
    which.add_argument("--pretrained", action="store_true", help="the frozen ResNet50 alone")
    which.add_argument("--resume", type=place, metavar="DIR", help="go on with an unfinished comparison")
    what = parser.add_argument_group("what to train")
    add_recipe_options(what, [])
    what.add_argument("--seeds", type=seeds, metavar="N,N,…", help="train every branch once for each of these seeds")
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=place, metavar="DIR", help="new folder for report and runs (reports/NAME)")
    where.add_argument(
        "--name", type=writable, metavar="NAME", help="the comparison's name and title (recipe and time)"
    )
    add_place_options(where)
    add_backbone_options(parser)
    add_override_options(parser, of=per_branch)
    add_how_options(parser.add_argument_group("how"))
    arguments = parser.parse_args()
    if arguments.resume is not None:
        refuse_beside_resume(parser, arguments)
    if arguments.name is not None and (Path(arguments.name).name != arguments.name or arguments.name.startswith(".")):
        raise UserError(
            f"--name {arguments.name!r}", "a plain name, of which a folder is made", "leave out the slashes"
        )
    if arguments.seeds is not None and arguments.seed is not None:
        raise UserError("--seed together with --seeds", "one of them", "add the one seed to the others")
    for option, given in (
        ("--weights", arguments.weights is not None),
        ("--keras-backend", arguments.keras_backend != "auto"),
        ("--unfreeze", arguments.unfreeze is not None),
    ):
        if arguments.scratch and given:
            raise UserError(
                f"{option} together with --scratch",
                "it with --both or --pretrained: the network from scratch has neither weights nor Keras",
                f"leave {option} out",
            )
    for name, option in OVERRIDES.items():
        values = getattr(arguments, name) or {}
        for word in set(values) - {"both", *chosen(arguments)}:
            raise UserError(
                f"{option} {word}=… without that branch", "a branch that is trained", f"add --both, or drop {word}="
            )
    if arguments.both and "both" in (arguments.learning_rate or {}):
        rate = arguments.learning_rate["both"]
        raise UserError(
            f"--learning-rate {rate} for both branches",
            "one for each: Adam from scratch and plain gradient descent on a head need rates far apart",
            "name the branch: --learning-rate scratch=X,pretrained=X (or one of the two)",
        )
    return arguments


def refuse_beside_resume(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse `--resume` beside anything that a comparison already under way has settled; places may have changed."""
    free = {"resume", "check", "data_dir", "device", "weights", "keras_backend"}
    for name, value in vars(arguments).items():
        if name not in free and value != parser.get_default(name):
            raise UserError(
                f"--resume together with {OVERRIDES.get(name, '--' + name.replace('_', '-'))}",
                "--resume alone: the comparison goes on as it was begun",
                ANEW_FOR_EPOCHS.format(value="N")
                if name == "num_epochs"
                else "leave the other out, or start a new comparison",
            )


def seeds(text: str) -> list[int]:
    """The argparse type of `--seeds`: whole numbers between commas, each once."""
    number = whole_number(f"--seeds {text}, in which", 0, "list them like this: --seeds 0,1,2")
    found = [number(part) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise UserError(f"--seeds {text}", "every seed once", "leave the repeated ones out")
    return found


def per_branch(kind: Callable[[str], object]) -> Callable[[str], dict]:
    """The argparse type of `VALUE`, or `scratch=VALUE`, or `scratch=VALUE,pretrained=VALUE`: a dictionary by branch,
    with the key `both` for a bare value."""

    def parse_value(text: str) -> dict:
        if "=" not in text:
            return {"both": kind(text)}
        values = {}
        for part in text.split(","):
            word, _, value = part.partition("=")
            if word not in BRANCHES or word in values:
                raise UserError(
                    f"{part!r} in {text!r}",
                    "scratch=VALUE or pretrained=VALUE, once each",
                    "mend it, or give one value",
                )
            values[word] = kind(value)
        return values

    return parse_value


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The words of the branches to train."""
    return [word for word in BRANCHES if arguments.both or getattr(arguments, word)]


def words_for(branch: str, arguments: argparse.Namespace) -> dict[str, str | None]:
    """The command line of one branch, but for its folder, as options and values; None for an option without one."""
    words = {"--recipe": arguments.recipe, "--seed": arguments.seed}
    if branch == "pretrained":
        words["--unfreeze"] = arguments.unfreeze
    words |= place_words(arguments, scratch_only=branch == "scratch")
    for name, option in OVERRIDES.items():
        values = getattr(arguments, name) or {}
        words[option] = values.get(branch, values.get("both"))
    words = {option: str(value) for option, value in words.items() if value is not None}
    return words | ({"--robustness": None} if arguments.robustness else {})


def place_words(arguments: argparse.Namespace, *, scratch_only: bool) -> dict[str, str]:
    """Those of `PLACE_WORDS` that were given, places by their full paths: a resumed command may stand elsewhere.
    With `scratch_only` those that the branch from scratch knows."""
    words = {
        "--data-dir": arguments.data_dir and os.path.abspath(arguments.data_dir),
        "--device": arguments.device if arguments.device != "auto" else None,
        "--weights": arguments.weights,
        "--keras-backend": arguments.keras_backend if arguments.keras_backend != "auto" else None,
    }
    if arguments.weights not in (None, *WEIGHTS_WORDS) and Path(arguments.weights).exists():
        words["--weights"] = os.path.abspath(arguments.weights)
    known = SCRATCH_PLACES if scratch_only else PLACE_WORDS
    return {option: words[option] for option in known if words[option] is not None}


def read_asked(folder: Path) -> dict:
    """What an earlier command asked for in `folder`.

    Raises:
        UserError: nothing that can be read.
    """
    from compare.runs import out_folder
    from compare.system import disk

    try:
        asked = disk.read_json(folder / out_folder.COMPARISON)
        problem = problem_with_asked(asked)
    except (OSError, ValueError) as error:
        problem = str(error)
    if problem is not None:
        raise UserError(
            f"{folder} holds no comparison to go on with ({problem})",
            "the folder that an interrupted compare.run named",
            "look for it below reports/, or start a new comparison",
        )
    return {name: asked[name] for name in ("name", "branches", "seeds") if name in asked}


def problem_with_asked(asked) -> str | None:
    """What keeps a comparison from being gone on with that comparison.json asks for; None where nothing does."""
    from compare.system import disk

    if disk.is_changed(asked):
        return "it holds other content than was asked for"
    try:
        values = [value for words in asked["branches"].values() for value in words.values()]  # None beside a flag
        whole = isinstance(asked["name"], str) and all(value is None or isinstance(value, str) for value in values)
        whole = whole and all(type(one) is int for one in asked.get("seeds", []))
        if whole and set(asked["branches"]) <= set(BRANCHES.values()):
            return None
    except (KeyError, TypeError, AttributeError):
        pass
    return "it names other branches, or words or seeds that are none"


def runs_of(asked: dict, folder: Path) -> dict[str, tuple[str, dict[str, str | None], Path]]:
    """Every run that was asked for, by the name of its folder: its branch, its command line but for that folder, and
    the folder. All branches come with the first seed before any with the next: who ends it early can compare."""
    runs = folder / "runs"
    if "seeds" not in asked:
        return {module: (module, words, runs / module) for module, words in asked["branches"].items()}
    return {
        (name := f"{module}-seed-{seed}"): (module, words | {"--seed": str(seed)}, runs / name)
        for seed in asked["seeds"]
        for module, words in asked["branches"].items()
    }


def words_left(run: Path, words: dict[str, str | None]) -> dict[str, str | None] | None:
    """The words that bring one run to its end from where it is; None where it is complete."""
    from compare.runs import checkpoint, record

    if (run / record.RECORD).exists():
        return None
    if checkpoint.found(run):
        return {option: words[option] for option in PLACE_WORDS if option in words} | {"--resume": str(run)}
    return words | {"--out": str(run)}


def check(runs: list[tuple[str, dict[str, str | None]]]) -> int:
    """Let the branches check the runs that are ahead, and say how long all of them take together. Runs of a branch that
    begin anew differ in their seeds alone, and are checked once.

    Args:
        runs: the branch and the command line of each.

    Returns:
        The exit code: 0 when all is well.

    Raises:
        UserError: a check did not come to its end.
    """
    import numpy as np

    from compare.training import estimate

    seconds = {}
    for module, words in runs:
        alike = module, words.get("--resume")
        if alike in seconds:
            continue
        told = []
        code = run_branch(module, words, "--check", told=told)
        if code not in (EXIT_DONE, EXIT_REFUSED, EXIT_INTERRUPTED, EXIT_TERMINATED):
            raise UserError(
                f"the check of {module} ended with {ending(code)}",
                "a check that ends by itself",
                f"run it alone to see how far it comes: python -m {module}.train --check",
            )
        if code != EXIT_DONE:
            return code
        seconds[alike] = np.array(told, float)
    if len(runs) > 1:
        together = sum(seconds[module, words.get("--resume")] for module, words in runs)
        print(f"{len(runs)} runs, one after the other: {estimate.words(together)}", flush=True)
    return EXIT_DONE


def run_branch(
    module: str, words: dict[str, str | None], *flags: str, told: list[str] | None = None, watched: bool = False
) -> int:
    """Run one branch in a process of its own, which ends with this one, and wait for it.

    Args:
        module: the branch.
        words: its command line; flags have no value.
        flags: further flags.
        told: is filled with the numbers of its estimate, where they are wanted.
        watched: whether it is ended when it hangs. A check may wait long for a download.

    Returns:
        Its exit code, negative for the signal that ended it; `HUNG`; `EXIT_INTERRUPTED` or `EXIT_TERMINATED` where this
        process was told to stop, which the branch is given the time to do.
    """
    given = [part for pair in words.items() for part in pair if part is not None]
    command = [sys.executable, "-m", f"{module}.train", *given, *flags]
    stops = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _: stops.append(number))
    try:
        with begun(command, told) as process:
            code = wait_for(process, stops, watched=watched)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stops:
        return EXIT_INTERRUPTED if stops[0] == signal.SIGINT else EXIT_TERMINATED
    # Ctrl-C may have reached the branch a moment earlier; a SIGTERM to it alone is somebody's who is short of memory
    return {-signal.SIGINT: EXIT_INTERRUPTED, EXIT_TERMINATED: -signal.SIGTERM}.get(code, code)


@contextlib.contextmanager
def begun(command: list[str], told: list[str] | None) -> Iterator[subprocess.Popen]:
    """A branch's process. Where `told` is a list, what it says passes through this process, and the numbers of its
    estimate are put there: a file for them would be left behind where both are killed."""
    if told is None:
        with processes.tied() as arguments:
            yield subprocess.Popen(command, **arguments)
        return

    def relay(lines: Iterable[str]) -> None:
        for line in lines:
            if line.startswith(ESTIMATE):
                told.extend(line.split()[1:])
            else:
                print(line, end="", flush=True)

    encoding = sys.stdout.encoding or "utf-8"
    pipe = {"stdout": subprocess.PIPE, "encoding": encoding, "errors": "replace"}
    with processes.tied(PYTHONIOENCODING=encoding, **{ESTIMATE: "1"}) as arguments:
        process = subprocess.Popen(command, **pipe, **arguments)
        relaying = threading.Thread(target=relay, args=(process.stdout,))
        relaying.start()
        try:
            yield process
        finally:
            relaying.join()
            process.stdout.close()


def wait_for(process: subprocess.Popen, stops: list[int], *, watched: bool) -> int:
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


def note_failure(run: Path, name: str, code: int) -> None:
    """Say how a run ended, on the terminal and at the end of its log, from which the report quotes."""
    from compare.runs import out_folder, record

    text = f"{name} ended with {ending(code)} before its run was complete"
    print(text, file=sys.stderr)
    # a full disk may be what ended it; or another process has the folder, and the log is that one's
    with contextlib.suppress(OSError, UserError), out_folder.claim(run):
        with (run / record.LOG).open("a", encoding="utf-8") as log:
            log.write(text + "\n")


if __name__ == "__main__":
    run_command(main)
