"""The main command: `python -m compare.run --both`.

It checks everything, trains what was asked for, each training in a process of its own (the branches' frameworks cannot
share one), and writes the report from the runs that they leave:

    reports/NAME/comparison.json   what was asked for, so that --resume can go on
    reports/NAME/runs/BRANCH/      each training's run, named by its branch and what sets it apart from others of that
    reports/NAME/index.html        the report, with its pictures beside it
"""

import os
import sys

if not __package__:  # run as a file: then its own folder, which has an `inspect` as Python does, is on the path
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse
import collections
import contextlib
import dataclasses
import datetime
import json
import math
import queue
import shlex
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import cluster, jobs, plan, plan_file, supervise
from compare.jobs import Ahead, Expected, Jobs
from compare.plan import Training
from compare.system import processes
from compare.system.command import Parser, place, run_command
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
    EXPECTED,
    OVERRIDES,
    RECIPE_ENDING,
    TOLD,
    add_backbone_options,
    add_depth_option,
    add_folder_options,
    add_how_options,
    add_leak_options,
    add_override_options,
    add_place_options,
    add_recipe_options,
    add_subset_options,
)

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    from compare.runs.checkpoint import UnfinishedRun
    from compare.runs.record import Run

NUM_REPORT_BYTES = 20_000_000
NUM_RUN_BYTES = 100_000_000  # of a finished run with the larger weights
EXAMPLES = """examples:
  python -m compare.run --label-curve --demo              three ways with few labels and with all, in minutes
  python -m compare.run --both --demo                     one training of each branch on the same small images
  python -m compare.run --both                            the article's two trainings on Fashion-MNIST
  python -m compare.run --both --recipe tuned             the same two networks, the best result for the least time
  python -m compare.run --both --recipe tuned --data DIR  the same on your own images, in a folder for each class
  python -m compare.run --both --recipe mine.toml         recipes of yours, in a file, as docs/recipes.md has it
  python -m compare.run --both --weights random           the control: the same without pretraining
  python -m compare.run --both --epochs 1 --name quick    one epoch each, in reports/quick
  python -m compare.run --both --robustness               and how robust each is to shifts, noise, blur, …
  python -m compare.run --both --learning-rate scratch=0.01,pretrained=0.1
  python -m compare.run --both --demo --seeds 0,1,2       each branch three times, and how far seeds lie apart
  python -m compare.run --run scratch_resnet --run 'pretrained --recipe tuned' --run 'pretrained --recipe best'
  python -m compare.run --both --vary image-size=32,64    every training once for each value
  python -m compare.run --label-curve                     from how many labels on is which way the best (hours)
  python -m compare.run --label-curve --labels-per-class 10,100 --seeds 0 --name quick  a first look, in minutes
  python -m compare.run --label-curve --jobs auto         as many trainings at a time as end the soonest here
  python -m compare.run --resume reports/quick            go on with an interrupted comparison
"""


def main() -> int:
    """Parse, plan, check, train, report."""
    arguments = parse()
    from compare import report
    from compare.runs import out_folder, record

    unnamed = arguments.resume is None and arguments.name is None and arguments.out is None
    if arguments.resume is not None:
        folder = arguments.resume
        name, trainings, recipes = plan_file.read(folder)
        trainings = plan.told_again(trainings, arguments)
    else:
        trainings = plan.planned(arguments)
        recipes = plan_file.recipes_of(trainings)
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        what = "label-curve" if arguments.label_curve else "plan" if arguments.run else DEFAULT_RECIPE
        begin = Path(arguments.recipe or what).name.removesuffix(RECIPE_ENDING)
        folder = arguments.out or Path("reports", arguments.name or f"{begin}-{now}")
        folder = out_folder.unshared(folder) if unnamed else folder
        name = arguments.name or Path(os.path.abspath(folder)).name
        record.check_readable(plan_file.as_json(name, trainings, recipes), plan_file.check)
        out_folder.check(folder, NUM_REPORT_BYTES + NUM_RUN_BYTES * len(trainings))
    out_folder.check_writable(folder)
    report.check_plotting()

    with contextlib.ExitStack() as held:
        if arguments.resume is not None:
            held.enter_context(out_folder.claim(folder))
            trainings = plan_file.put_recipes(folder, trainings, recipes)
            for run in (folder / "runs" / training.name for training in trainings):
                if run.exists() and not (run / record.RECORD).exists():
                    # where compare.run was killed, the branch that it had begun takes a moment to end
                    with out_folder.claim(run, seconds=processes.SECONDS_TO_END + 2):
                        pass
        if arguments.jobs == "ray":
            held.enter_context(cluster.connected(trainings))
        ahead = left(trainings, None if unnamed else folder / "runs")
        most = jobs.at_most(arguments.jobs, ahead, folder / "runs")
        expected: Expected = {}
        code = check(ahead, most, expected)
        if code != EXIT_DONE:
            return code
        at_once, expected = jobs.settled(arguments.jobs, most, expected)
        announce(trainings, at_once, expected)
        if arguments.check:
            return EXIT_DONE
        if unnamed:
            folder = out_folder.unshared(folder, make=True)
            name = folder.name
        if arguments.resume is None:
            held.enter_context(out_folder.claim(folder, new=True))
        trainings = plan_file.write(folder, name, trainings, recipes)
        return train_and_report(folder, name, trainings, at_once, expected)


def left(trainings: list[Training], runs: Path | None) -> Ahead:
    """The trainings that are not complete; None for `runs` where it is not settled yet where these are."""
    words = [one.words if runs is None else plan.words_left(one, runs / one.name) for one in trainings]
    return [(training, some) for training, some in zip(trainings, words, strict=True) if some is not None]


def check(ahead: Ahead, at_once: Jobs, expected: Expected) -> int:
    """Let the branches check what is ahead. Of trainings that begin anew and differ in their seeds and labels alone,
    the one with the most labels is checked, and tells of the others.

    Args:
        ahead: what `left` gave.
        at_once: with so many threads each is checked.
        expected: is filled with what each of them takes, by its name, as `ESTIMATE` tells of it, in their order.

    Returns:
        The exit code: 0 when all is well.

    Raises:
        UserError: a check did not come to its end, or two tell of other data.
    """
    alike = collections.defaultdict(list)
    for training, words in ahead:
        expected[training.name] = {}
        alike[tuple(words) if "--resume" in words else training.strategy].append((training, words))
    data: dict[str, str] = {}  # the fingerprints of what is trained on, and by which training
    for some in alike.values():
        first, words = max(some, key=lambda one: math.inf if one[0].labels in ("all", None) else int(one[0].labels))
        others = list(dict.fromkeys(training.labels or "all" for training, _ in some if training is not first))
        told: list[dict[str, Any]] = []
        environment = at_once.environment(first, words) | {ESTIMATE: " ".join(others)} | ({TOLD: "1"} if data else {})
        with supervise.heard() as stops:
            code = supervise.run_branch(
                first.branch, [*words, "--check"], environment=environment, stops=stops, told=told
            )
        if code == EXIT_REFUSED and len(ahead) > 1:
            print(f"so {first.name} was refused, and nothing was trained", file=sys.stderr)
        is_told = len(told) == 1 + len(others)
        if code not in (EXIT_DONE, EXIT_REFUSED, EXIT_INTERRUPTED, EXIT_TERMINATED) or (not code and not is_told):
            raise UserError(
                f"the check of {first.name} ended with {supervise.ending(code) if code else 'no estimate'}",
                "a check that ends by itself, and says how long the training takes",
                f"run it alone to see how far it comes: python -m {first.branch}.train --check",
            )
        if code != EXIT_DONE:
            return code
        of_labels = dict(zip(others, told[1:], strict=True))
        expected |= {
            training.name: told[0] if training is first else of_labels[training.labels or "all"] for training, _ in some
        }
        data.setdefault(told[0]["data"], first.name)
        if len(data) > 1:
            raise UserError(
                f"trainings on several data sets: that of {', and another of '.join(data.values())}",
                "one for all: on other images nothing compares",
                "say which with --data, or compare recipes of the same data set",
            )
    return EXIT_DONE


def announce(trainings: list[Training], at_once: Jobs, expected: Expected) -> None:
    """Say how many trainings are ahead, how many at a time, and how long each and all take."""
    import numpy as np

    from compare.training import estimate

    if kept := len(trainings) - len(expected):
        print(f"{kept} of {len(trainings)} trainings are complete, and stay as they are", flush=True)
    if len(expected) > 1:
        for name, told in expected.items():
            print(f"  {name}: {estimate.words(np.array(told['seconds']))}")
        seconds = jobs.together(at_once, expected)
        print(f"{len(expected)} trainings, {at_once.words}: {estimate.words(seconds)}", flush=True)


def train_and_report(folder: Path, name: str, trainings: list[Training], at_once: Jobs, expected: Expected) -> int:
    """Bring every training to its end, as `train` does, and write the report; the exit code. The folder is claimed."""
    from compare import card, report
    from compare.page.language import say
    from compare.training import trackers

    page: Path | None = None
    unfinished: list[UnfinishedRun] = []
    try:
        bring = cluster.train if at_once.on_ray else train
        code = bring(trainings, folder / "runs", at_once, expected)
        variants = [training.variant for training in trainings]  # together in the report, in this order
        in_order = sorted(trainings, key=lambda training: variants.index(training.variant))
        finished, unfinished = read_runs(folder / "runs" / training.name for training in in_order)
        if code == EXIT_DONE or finished:
            title = say("From scratch or pretrained: {name}", name=name)
            page = report.write_report(
                folder, finished, unfinished, title=title, data_dir=plan.place_of_data(trainings)
            )
    finally:  # also where the disk is full or the report is interrupted: what was trained stays
        if page is None or not all(run.damage for run in unfinished):
            go_on = shlex.join(["python", "-m", "compare.run", "--resume", str(folder)])
            print(f"to go on: {go_on}", file=sys.stderr)
    if page is not None:
        for tool in {word for training in trainings for word in plan.by_option(training.words).get("--log", [])}:
            trackers.send_page(tool, folder, name, lambda said: print(said, file=sys.stderr))
        for run in finished:
            card.write_beside(run)
        print(page)
    return code or (EXIT_FAILED if unfinished else EXIT_DONE)


def train(trainings: list[Training], runs: Path, at_once: Jobs, expected: Expected) -> int:
    """Bring each training to its end, its run below `runs`; one that fails leaves the others.

    Args:
        at_once: how many at a time.
        expected: what each takes.

    Returns:
        `EXIT_INTERRUPTED` or `EXIT_TERMINATED` where a signal ended this early, else `EXIT_DONE`.
    """
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    turn = threading.Lock()
    ended: list[int] = []
    for number in range(at_once.number):
        free.put(number)

    def bring(training: Training) -> None:
        with turn:  # in their order, also one that waits for several places
            places = [free.get() for _ in range(at_once.num_places(training.name))]
        try:
            run = runs / training.name
            words = plan.words_left(training, run)  # as it is now: another process may have resumed the run
            if ended or stops or words is None:
                return
            environment = at_once.environment(training, words, place=places[0])
            environment |= {TOLD: "1"}  # by its check
            environment[EXPECTED] = json.dumps(expected.get(training.name, {}).get("epochs", []))
            name = training.name if at_once.number > 1 else None
            code = supervise.run_branch(
                training.branch, words, environment=environment, stops=stops, name=name, watched=True
            )
            if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
                ended.append(code)
            elif code != EXIT_DONE:
                supervise.note_failure(run, training.name, supervise.ending(code))
        finally:
            for number in places:
                free.put(number)

    with supervise.heard() as stops, ThreadPoolExecutor(at_once.number) as pool:
        list(pool.map(bring, trainings))
    return supervise.asked_by(stops) or next(iter(ended), EXIT_DONE)


def read_runs(folders: Iterable[Path]) -> "tuple[list[Run], list[UnfinishedRun]]":
    """Read the runs in these folders: the complete ones and, apart from them, the others."""
    from compare.runs import checkpoint, record

    finished, unfinished = [], []
    for run in folders:
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
        "fails does not cost the others: nor does one that hangs, which is ended (on Linux) when it has taken less "
        f"than {supervise.HANG_SHARE:.0%} of a processor for {supervise.HANG_SECONDS // 60} minutes.",
        epilog=EXAMPLES,
    )
    which = parser.add_argument_group("which trainings (one of these)").add_mutually_exclusive_group(required=True)
    which.add_argument("--both", action="store_true", help="train both, and compare them")
    which.add_argument("--scratch", action="store_true", help="the network from scratch alone")
    which.add_argument("--pretrained", action="store_true", help="the pretrained network alone")
    which.add_argument(
        "--run",
        type=plan.one_run,
        action="append",
        metavar="WORDS",
        help="one training: a branch's package and words of its own command line, in quotes; repeatable",
    )
    which.add_argument(
        "--label-curve",
        action="store_true",
        help="from scratch, frozen and fine-tuned, each with few labels to all of them, and where they cross",
    )
    which.add_argument("--resume", type=place, metavar="DIR", help="go on with an unfinished comparison")
    what = parser.add_argument_group("what to train")
    add_recipe_options(what, [])
    add_subset_options(what, plan.several_labels, "N,N,…")
    what.add_argument("--seeds", type=plan.seeds, metavar="N,N,…", help="train everything once for each of these seeds")
    what.add_argument(
        "--vary",
        type=plan.one_variation,
        action="append",
        metavar="OPTION=V,V,…",
        help="train everything once for each value of a branches' option, like image-size=32,64; repeatable",
    )
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=place, metavar="DIR", help="new folder for report and runs (reports/NAME)")
    where.add_argument(
        "--name", type=writable, metavar="NAME", help="the comparison's name and title (recipe and time)"
    )
    add_place_options(where)
    add_folder_options(parser)
    add_leak_options(parser)
    add_depth_option(parser.add_argument_group("network from scratch"))
    add_backbone_options(parser, names=[])
    add_override_options(parser, of=plan.per_branch)
    how = parser.add_argument_group("how")
    add_how_options(how)
    words = "so many trainings at a time, auto for as many as end the soonest here, ray for a Ray cluster (1)"
    how.add_argument("--jobs", type=jobs.asked, default=1, metavar="N", help=words)
    arguments = parser.parse_args()
    if arguments.resume is not None:
        refuse_beside_resume(parser, arguments)
    else:
        plan.refuse_without_branch(arguments)
    if arguments.name is not None and (Path(arguments.name).name != arguments.name or arguments.name.startswith(".")):
        raise UserError(
            f"--name {arguments.name!r}", "a plain name, of which a folder is made", "leave out the slashes"
        )
    return arguments


def refuse_beside_resume(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse `--resume` beside anything that a comparison already under way has settled; places may have changed, and
    how many train at a time."""
    free = {"resume", "check", "jobs", "log", "data", "data_dir", "split", "device", "weights", "keras_backend"}
    for name, value in vars(arguments).items():
        if name not in free and value != parser.get_default(name):
            raise UserError(
                f"--resume together with {OVERRIDES.get(name, '--' + name.replace('_', '-'))}",
                "--resume alone: the comparison goes on as it was begun",
                ANEW_FOR_EPOCHS.format(value="N")
                if name == "num_epochs"
                else "leave the other out, or start a new comparison",
            )


if __name__ == "__main__":
    run_command(main)
