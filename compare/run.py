"""The main command: `python -m compare.run --both`.

It checks everything, trains each branch in a process of its own (their frameworks cannot share one), and writes the
report from the runs that they leave:

    reports/NAME/comparison.json   what was asked for, so that --resume can go on
    reports/NAME/runs/BRANCH/      each branch's run; with --seeds BRANCH-seed-N, one for each seed
    reports/NAME/index.html        the report, with its pictures beside it
"""

import argparse
import datetime
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from compare.command import (
    DEFAULT_RECIPE,
    ESTIMATE,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    OVERRIDES,
    Parser,
    UserError,
    add_backbone_options,
    add_how_options,
    add_override_options,
    add_place_options,
    add_recipe_options,
    run_command,
    whole_number,
)

BRANCHES = {"scratch": "scratch_resnet", "pretrained": "pretrained"}
PLACE_WORDS = ("--data-dir", "--device", "--weights", "--keras-backend")  # what a resumed branch is told again
SCRATCH_PLACES = ("--data-dir", "--device")
NUM_REPORT_BYTES = 20_000_000
NUM_RUN_BYTES = 100_000_000  # of a finished run with the larger weights
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
    from compare import disk, record, report  # after parsing: --help need not wait for NumPy
    from compare.language import say

    if arguments.resume is not None:
        folder = arguments.resume
        asked = read_asked(folder)
        for module, words in asked["branches"].items():
            words.update(place_words(arguments, scratch_only=module == BRANCHES["scratch"]))
    else:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        name = arguments.name or (
            Path(os.path.abspath(arguments.out)).name
            if arguments.out
            else f"{arguments.recipe or DEFAULT_RECIPE}-{now}"
        )
        folder = arguments.out or Path("reports", name)
        asked = {"name": name, "branches": {BRANCHES[word]: words_for(word, arguments) for word in chosen(arguments)}}
        if arguments.seeds is not None:
            asked["seeds"] = arguments.seeds
        record.check_out_folder(folder, NUM_REPORT_BYTES + NUM_RUN_BYTES * len(runs_of(asked)))
    plans = {
        name: (module, words_left(folder / "runs" / name, words)) for name, (module, words) in runs_of(asked).items()
    }

    code = check([(module, words) for module, words in plans.values() if words is not None])
    if code != EXIT_DONE or arguments.check:
        return code

    go_on = shlex.join(["python", "-m", "compare.run", "--resume", str(folder)])
    with record.claim(folder):
        disk.write_atomically(folder / "comparison.json", (json.dumps(asked, indent=1) + "\n").encode())
        for name, (module, words) in plans.items():
            code = EXIT_DONE if words is None else run_branch(module, words)
            if code == EXIT_INTERRUPTED:
                print(f"to go on: {go_on}", file=sys.stderr)
                return code
            if code != EXIT_DONE:
                note_failure(folder / "runs" / name, name, code)
        in_order = sorted(plans, key=lambda name: list(asked["branches"]).index(plans[name][0]))
        finished, unfinished = [], []
        for run in (folder / "runs" / name for name in in_order):
            try:
                finished.append(record.read_run(run))
            except UserError as error:
                if (run / record.RECORD).exists():
                    print(error, file=sys.stderr)
                unfinished.append(record.read_unfinished_run(run))
        data_dirs = [Path(words["--data-dir"]) for words in asked["branches"].values() if "--data-dir" in words]
        page = report.write_report(
            folder,
            finished,
            unfinished,
            title=say("From scratch or pretrained: {name}", name=asked["name"]),
            data_dir=data_dirs[0] if data_dirs else None,
        )
    if unfinished:
        print(f"to go on: {go_on}", file=sys.stderr)
    print(page)
    return EXIT_FAILED if unfinished else EXIT_DONE


def parse() -> argparse.Namespace:
    """Parse the command line and refuse what contradicts itself."""
    parser = Parser(
        prog="python -m compare.run",
        description="Train from scratch, fine-tune a pretrained network, and report which was better.",
        epilog=EXAMPLES,
    )
    which = parser.add_argument_group("which branches (one of these)").add_mutually_exclusive_group(required=True)
    which.add_argument("--both", action="store_true", help="train both, and compare them")
    which.add_argument("--scratch", action="store_true", help="the ResNet-18 from scratch alone")
    which.add_argument("--pretrained", action="store_true", help="the frozen ResNet50 alone")
    which.add_argument("--resume", type=Path, metavar="DIR", help="go on with an unfinished comparison")
    what = parser.add_argument_group("what to train")
    add_recipe_options(what, [])
    what.add_argument("--seeds", type=seeds, metavar="N,N,…", help="train every branch once for each of these seeds")
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=Path, metavar="DIR", help="new folder for report and runs (reports/NAME)")
    where.add_argument("--name", metavar="NAME", help="the comparison's name and title (recipe and time)")
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
                "leave the other out, or start a new comparison",
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
    """Those of `PLACE_WORDS` that were given, files by their full paths: a resumed command may stand elsewhere.
    With `scratch_only` those that the branch from scratch knows."""
    words = {
        "--data-dir": arguments.data_dir and os.path.abspath(arguments.data_dir),
        "--device": arguments.device if arguments.device != "auto" else None,
        "--weights": arguments.weights,
        "--keras-backend": arguments.keras_backend if arguments.keras_backend != "auto" else None,
    }
    if arguments.weights is not None and Path(arguments.weights).is_file():
        words["--weights"] = os.path.abspath(arguments.weights)
    known = SCRATCH_PLACES if scratch_only else PLACE_WORDS
    return {option: words[option] for option in known if words[option] is not None}


def read_asked(folder: Path) -> dict:
    """What an earlier command asked for in `folder`.

    Raises:
        UserError: nothing that can be read.
    """
    from compare import disk

    try:
        asked = disk.read_json(folder / "comparison.json")
        values = [value for words in asked["branches"].values() for value in words.values()]  # None beside a flag
        whole = all(value is None or isinstance(value, str) for value in values)
        whole = whole and all(type(one) is int for one in asked.get("seeds", []))
        if set(asked["branches"]) <= set(BRANCHES.values()) and whole:
            return asked | {"name": str(asked["name"])}
        problem = "it names other branches, or words or seeds that are none"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error)
    raise UserError(
        f"{folder} holds no comparison to go on with ({problem})",
        "the folder that an interrupted compare.run named",
        "look for it below reports/, or start a new comparison",
    )


def runs_of(asked: dict) -> dict[str, tuple[str, dict[str, str | None]]]:
    """Every run that was asked for, by the name of its folder: its branch, and its command line but for that folder.
    All branches come with the first seed before any with the next: who ends it early has something to compare."""
    if "seeds" not in asked:
        return {module: (module, words) for module, words in asked["branches"].items()}
    return {
        f"{module}-seed-{seed}": (module, words | {"--seed": str(seed)})
        for seed in asked["seeds"]
        for module, words in asked["branches"].items()
    }


def words_left(run: Path, words: dict[str, str | None]) -> dict[str, str | None] | None:
    """The words that bring one run to its end from where it is; None where it is complete."""
    from compare import record

    if (run / record.RECORD).exists():
        return None
    if record.checkpoints(run):
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
    from compare.progress import duration

    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for module, words in runs:
            alike = module, words.get("--resume")
            if alike in seconds:
                continue
            estimate = Path(folder, "seconds")
            code = run_branch(module, words, "--check", environment={ESTIMATE: str(estimate)})
            if code not in (EXIT_DONE, EXIT_REFUSED, EXIT_INTERRUPTED):
                raise UserError(
                    f"the check of {module} ended with {ending(code)}",
                    "a check that ends by itself",
                    f"run it alone to see how far it comes: python -m {module}.train --check",
                )
            if code != EXIT_DONE:
                return code
            seconds[alike] = float(estimate.read_text())
    if len(runs) > 1:
        together = sum(seconds[module, words.get("--resume")] for module, words in runs)
        print(f"{len(runs)} runs, one after the other: about {duration(together)}", flush=True)
    return EXIT_DONE


def run_branch(
    module: str, words: dict[str, str | None], *flags: str, environment: dict[str, str] | None = None
) -> int:
    """Run one branch in a process of its own and wait for it; its exit code, negative for the signal that ended it.
    Words that are flags have no value; `environment` is added to this process' own."""
    given = [part for pair in words.items() for part in pair if part is not None]
    command = [sys.executable, "-m", f"{module}.train", *given, *flags]
    process = subprocess.Popen(command, env=os.environ | (environment or {}))
    try:
        code = process.wait()
    except KeyboardInterrupt:
        # The terminal interrupts the branch as well: it needs a moment to say how to go on.
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        return EXIT_INTERRUPTED
    return EXIT_INTERRUPTED if code == -signal.SIGINT else code


def ending(code: int) -> str:
    """A process' exit code in words."""
    return f"exit code {code}" if code > 0 else f"signal {-code} ({signal.Signals(-code).name})"


def note_failure(run: Path, module: str, code: int) -> None:
    """Say how a branch ended, on the terminal and at the end of its log, from which the report quotes."""
    text = f"{module} ended with {ending(code)} before its run was complete"
    print(text, file=sys.stderr)
    if run.is_dir():
        with (run / "log.txt").open("a", encoding="utf-8") as log:
            log.write(text + "\n")


if __name__ == "__main__":
    run_command(main)
