"""Write a report from finished runs: `python -m compare.report RUN [RUN …]`. Nothing is trained; it takes seconds.

A report is one page, `index.html`, that needs no network and no other file; beside it lie its pictures as PNG and SVG
and its numbers as `report.json` and `metrics.csv`. It is made from the runs and, where they
are on this machine, the images of their data: the same of both give the same bytes.
"""

import os
import sys

if not __package__:  # run as a file: then its own folder, which has an `inspect` as Python does, is on the path
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse
import glob
import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compare.page import checks
from compare.system.command import Parser, place, run_command
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError

if TYPE_CHECKING:  # so that --help need not wait for NumPy, matplotlib and scikit-learn
    from compare.runs.checkpoint import UnfinishedRun
    from compare.runs.record import Run

PAGE, NUMBERS = "index.html", "report.json"
GENERATOR = '<meta name="generator" content="scratch-or-pretrained">'  # by which a report of ours is known
NUMBERS_MARK = '"sentences": ['  # and the numbers of one
EXAMPLES = """examples:
  python -m compare.report reports/today/runs/*                    into reports/today, where these runs lie
  python -m compare.report runs/scratch runs/imagenet --out page   any runs, anywhere
  python -m compare.report runs/* --require 'accuracy>=0.92'       for scripts: no report, exit with 1 unless it holds
"""


def check_plotting() -> None:
    """Load what draws, so that it is not after all trainings that something keeps it from that.

    Raises:
        UserError: it cannot be loaded; a damaged settings file does that.
    """
    try:
        from compare.page import pictures  # noqa: F401
    except ModuleNotFoundError:  # not installed, which every command says
        raise
    except Exception as error:
        raise UserError(
            f"what draws the report cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            "a matplotlib that loads, and a matplotlibrc, if there is one, that it can read",
            "mend or rename the file matplotlibrc (in this folder, in MATPLOTLIBRC's or in matplotlib's own below your "
            "home), or install matplotlib again (pip install --force-reinstall matplotlib)",
        ) from error


def write_report(
    folder: Path,
    runs: "list[Run]",
    unfinished: "Sequence[UnfinishedRun]" = (),
    *,
    title: str,
    data_dir: Path | None = None,
    images: str = "wrong",
) -> Path:
    """Write the page and its pictures.

    Args:
        folder: is made if need be; a report in it is replaced.
        runs: complete runs on the same data.
        unfinished: runs that are not complete, to be named as such.
        title: the page's.
        data_dir: where the runs' data are, for the pictures of test images and logistic regression on the pixels; None
            looks in the usual places. Without the data the page is without these.
        images: which test images the page has: wrong (those that some run has wrong, and some of the others), all, or
            none, which leaves out the SVG files as well.

    Returns:
        The path of the page. It is written last; then, where the report lies in a folder `reports`, the list of all
        reports there.

    Raises:
        UserError: the runs cannot be compared, or the folder cannot be written; the report before is as it was.
    """
    from compare.findings.findings import find
    from compare.page import answer, document, gallery, labels, listing, pictures, report_files
    from compare.page.shown import of_compared, show
    from compare.runs import record
    from compare.system import disk

    record.check_comparable(runs)
    data = gallery.data_of(runs, data_dir)
    found = find(runs, data)
    shown = show(found)
    drawn = {"answer": answer.drawn(found, shown), "labels": labels.drawn(found, shown)} | pictures.draw(found, shown)
    shown_images = None
    if data is not None and images != "none":
        compared = [one.run for one in of_compared(found, shown)[1]]
        shown_images = gallery.of(compared, data, all_images=images == "all")
    endings = ("png",) if images == "none" else ("png", "svg")
    content = document.content(found, shown, list(unfinished), drawn, shown_images) | {"endings": endings}
    html = document.render("report.html.j2", title=title, generator=GENERATOR, **content)

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk.cannot_write(f"{folder} cannot be made", folder, error) from error
    files = {
        NUMBERS: report_files.as_json(
            found,
            shown,
            title=title,
            claim=content["claim"],
            sentences=content["sentences"],
            cautions=content["cautions"],
        ),
        "metrics.csv": report_files.as_csv(shown),
    }
    for picture in itertools.chain.from_iterable(drawn.values()):
        files |= {f"{picture['name']}.{ending}": picture[ending] for ending in endings}
    files[PAGE] = html
    before = (folder / PAGE).read_text(encoding="utf-8", errors="replace") if (folder / PAGE).is_file() else ""
    curves = (f"{quantity}{over}" for quantity in ("accuracy", "loss") for over in ("", "-over-time"))
    names = (*curves, "label-curve", "time-and-accuracy", "confusion-*", "reliability", "selective", "robustness")
    patterns = itertools.product(names, ("png", "svg"))
    pictures_there = itertools.chain.from_iterable(folder.glob(f"{name}.{ending}") for name, ending in patterns)
    obsolete = [path for path in pictures_there if path.name not in files and f'href="{path.name}"' in before]
    disk.write_together(folder, files, obsolete)  # the page last: until then it names what may be obsolete
    if folder.absolute().parent.name == "reports":
        try:
            listing.write_listing(folder.absolute().parent)
        except (UserError, OSError) as error:  # the report itself is there
            print(error, file=sys.stderr)
    return folder / PAGE


def read_runs(folders: list[Path]) -> "tuple[list[Run], list[UnfinishedRun]]":
    """Read the complete runs and, apart from them, the unfinished ones, each in the order given.

    Raises:
        UserError: one of the folders is not a run, is damaged, or was given twice.
    """
    from compare.runs import checkpoint, record

    runs, unfinished, seen = [], [], set()
    for folder in folders:
        place = os.path.realpath(folder)  # Path's own minds links that go round
        if place in seen:
            raise UserError(f"{folder} came twice", "every run once", "leave one of them out")
        seen.add(place)
        if (folder / record.RECORD).exists():
            runs.append(record.read_run(folder))
        elif (folder / record.LOG).exists() or checkpoint.found(folder):
            unfinished.append(checkpoint.read_unfinished_run(folder))
        else:
            raise UserError(
                f"{folder} is not a run" if folder.exists() else f"{folder} does not exist",
                f"a folder that a training wrote, with {record.RECORD}, or {record.LOG} if it did not finish",
                "name the folder that was the training's --out; reports keep theirs below runs/",
            )
    return runs, unfinished


def expanded(folders: list[Path]) -> list[Path]:
    """The folders, with what a pattern like `runs/*` stands for where the shell has left it to us, as on Windows."""
    found = []
    for folder in folders:
        matches = [] if os.path.lexists(folder) else sorted(map(Path, glob.glob(str(folder))))
        found += matches or [folder]
    return found


def default_folder(folders: list[Path]) -> Path:
    """Where the report of these runs goes: beside the folder `runs` that holds them all, else below `reports`."""
    from compare.page import words

    parents = {Path(os.path.abspath(folder)).parent for folder in folders}
    if len(parents) == 1 and parents.pop().name == "runs":
        return folders[0].parent.parent if folders[0].parent.name == "runs" else folders[0].absolute().parent.parent
    return Path("reports", "-vs-".join(words.run_name(folder) for folder in folders))


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that holds something that is not a report.

    Raises:
        UserError: it is a file, or a folder with other content.
    """
    from compare.runs import out_folder
    from compare.system import disk

    expected = "a new or empty folder, a report of ours to replace, or a folder with nothing but `runs`"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", expected, "choose another --out")
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    names = {name for name in names if not name.startswith(disk.PARTIAL)}  # of a process that was killed
    # the page comes last: a report that was cut in its last moment has its numbers
    ours = disk.is_marked(folder / PAGE, GENERATOR) or disk.is_marked(folder / NUMBERS, NUMBERS_MARK)
    if not ours and not names <= {"runs", out_folder.COMPARISON, out_folder.LOCK}:
        raise UserError(f"{folder} holds other files", expected, "choose another --out")
    out_folder.check_writable(folder)


def check_loses_no_run(folder: Path, runs: "list[Run]") -> None:
    """Refuse to replace, where nobody named it, a report that shows other runs than the new one would.

    Raises:
        UserError: it does, or what it shows cannot be told.
    """
    from compare.page import words
    from compare.system import disk

    if not (folder / NUMBERS).exists():
        return
    try:
        there = {(str(run["folder"]), run["started"]) for run in disk.read_json(folder / NUMBERS)["runs"]}
    except (OSError, ValueError, LookupError, TypeError):
        there = {(f"what its {NUMBERS} does not tell", None)}
    lost = {name for name, _ in there - {(words.folder_name(run.folder), run.record.started) for run in runs}}
    if lost:
        raise UserError(
            f"the report in {folder} shows {', '.join(sorted(lost))[:500]}, which this one would not",
            "all runs that it shows, or a place for the new report",
            f"name them as well, or another folder with --out; --out {shlex.quote(str(folder))} replaces it",
        )


def with_copies(runs: "list[Run]", folder: Path) -> "list[Run]":
    """Small copies of the runs, below this folder; those that lie there already stay as they are.

    Raises:
        UserError: two would have the same name, or one cannot be written.
    """
    from compare.runs import saving

    names = [run.folder.name or "run" for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"--with-copies of several runs called {', '.join(twice)}", "names of their own", "rename their folders"
        )
    return [
        run if run.folder.resolve() == (folder / name).resolve() else saving.small_copy(run, folder / name)
        for run, name in zip(runs, names, strict=True)
    ]


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.report",
        description="Write a report, a page and its pictures, from finished runs. Nothing is trained.",
        epilog=EXAMPLES,
    )
    what = parser.add_argument_group("what to report")
    what.add_argument("runs", nargs="+", type=place, metavar="RUN", help="the folder of a run, finished or not")
    images = what.add_mutually_exclusive_group()
    for flag, which, words in (
        ("--all-images", "all", "put every test image on the page, not only those that some run has wrong"),
        ("--no-images", "none", "put none on it, and no SVG files beside it: the smallest report"),
    ):
        images.add_argument(flag, dest="images", action="store_const", const=which, default="wrong", help=words)
    what.add_argument(
        "--require",
        type=checks.parse,
        action="append",
        metavar="'NAME>=NUMBER'",
        help="exit with 1 unless this holds: accuracy, balanced_accuracy or macro_f1 of every run, difference of the "
        "first run's to the second's in percentage points, or any number in metrics.csv; also <=, >, <; may be "
        "repeated; without --out no report is written",
    )
    what.add_argument(
        "--with-copies",
        action="store_true",
        help="put small copies of the runs below the report's folder and make it of these, to pass on both: what each "
        "image was taken for and how sure the network was, no weights",
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--data-dir",
        type=place,
        metavar="DIR",
        help="the data's folder, for the test images (default: the usual places)",
    )
    where.add_argument(
        "--out", type=place, metavar="DIR", help="the report's folder (default: that of `runs`, else below reports)"
    )
    arguments = parser.parse_args()
    arguments.runs = expanded(arguments.runs)
    return arguments


def main() -> int:
    """Read the runs, check what is required of them, and write the report unless that was all."""
    arguments = parse()
    from compare.page import words
    from compare.page.language import say
    from compare.runs import out_folder, record

    folder, writes = arguments.out or default_folder(arguments.runs), arguments.out or not arguments.require
    if writes:
        check_plotting()
        check_report_folder(folder)
    runs, unfinished = read_runs(arguments.runs)
    record.check_comparable(runs)
    if arguments.out is None and writes:
        check_loses_no_run(folder, runs)
    if arguments.data_dir is not None and runs:  # asked for by name, so it had better be there
        from compare.page import gallery

        gallery.local_data(runs, arguments.data_dir)
    if arguments.with_copies:
        if not writes:
            raise UserError("--with-copies without a report", "it with --out DIR beside --require", "say where")
        runs = with_copies(runs, folder / "runs")
    judged = []
    if arguments.require:
        from compare.findings.findings import find
        from compare.page.shown import show

        judged = checks.judged(arguments.require, show(find(runs)))
        judged += [(False, f"{run.folder} is not finished, so nothing holds for it") for run in unfinished]
    if writes:
        title = say("From scratch or pretrained: {name}", name=words.folder_name(folder))
        which = {"data_dir": arguments.data_dir, "images": arguments.images}
        with out_folder.claim(folder):
            print(write_report(folder, runs, unfinished, title=title, **which))
    for holds, line in judged:
        if not (holds and writes):  # who gets a report is told where it is, and what is wrong
            print(line, file=sys.stdout if holds else sys.stderr)
    return EXIT_DONE if all(holds for holds, _ in judged) else EXIT_FAILED


if __name__ == "__main__":
    run_command(main)
