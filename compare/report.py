"""Write a report from finished runs: `python -m compare.report RUN [RUN …]`. Nothing is trained; it takes seconds.

A report is one page, `index.html`, that needs no network and no other file, and its pictures as PNG beside it. It is
made from the runs alone: the same runs give the same bytes.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from compare.command import EXIT_DONE, Parser, UserError, run_command

if TYPE_CHECKING:  # so that --help need not wait for NumPy, matplotlib and scikit-learn
    from compare.record import Run, UnfinishedRun

PAGE = "index.html"
GENERATOR = '<meta name="generator" content="scratch-or-pretrained">'  # by which a report of ours is known
EXAMPLES = """examples:
  python -m compare.report reports/today/runs/*                    into reports/today, where these runs lie
  python -m compare.report runs/scratch runs/imagenet --out page   any runs, anywhere
"""


def write_report(folder: Path, runs: "list[Run]", unfinished: "list[UnfinishedRun]" = (), *, title: str) -> Path:
    """Write the page and its pictures.

    Args:
        folder: is made if need be; a report in it is replaced.
        runs: complete runs on the same data.
        unfinished: runs that are not complete, to be named as such.
        title: the page's.

    Returns:
        The path of the page. It is written last.

    Raises:
        UserError: the runs cannot be compared, or the folder cannot be written.
    """
    from compare import disk, page, record

    record.check_comparable(runs)
    shown = page.show(runs)
    pictures = page.draw(shown)
    html = _render(title=title, **page.content(shown, unfinished, pictures))

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror})", "a folder to write to", "choose another --out"
        ) from error
    files = {
        picture["file"]: picture["png"] for part in (pictures["curves"], *pictures["matrices"]) for picture in part
    }
    for name, content in files.items():
        disk.write_atomically(folder / name, content)
    disk.write_atomically(folder / PAGE, html)
    for stale in (*folder.glob("confusion-*.png"), folder / "accuracy.png", folder / "loss.png"):
        if stale.name not in files:  # a picture of the report that was here before
            stale.unlink(missing_ok=True)
    return folder / PAGE


def read_runs(folders: list[Path]) -> "tuple[list[Run], list[UnfinishedRun]]":
    """Read the complete runs and, apart from them, the unfinished ones, each in the order given.

    Raises:
        UserError: one of the folders is not a run, is damaged, or was given twice.
    """
    from compare import record

    runs, unfinished, seen = [], [], set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UserError(f"{folder} came twice", "every run once", "leave one of them out")
        seen.add(folder.resolve())
        if (folder / record.RECORD).exists():
            runs.append(record.read_run(folder))
        elif (folder / record.LOG).exists() or (folder / record.CHECKPOINT).exists():
            unfinished.append(record.read_unfinished_run(folder))
        else:
            raise UserError(
                f"{folder} is not a run" if folder.exists() else f"{folder} does not exist",
                f"a folder that a training wrote, with {record.RECORD}, or {record.LOG} if it did not finish",
                "name the folder that was the training's --out; reports keep theirs below runs/",
            )
    return runs, unfinished


def default_folder(folders: list[Path]) -> Path:
    """Where the report of these runs goes: beside the folder `runs` that holds them all, else below `reports`."""
    from compare import words

    parents = {Path(os.path.abspath(folder)).parent for folder in folders}
    if len(parents) == 1 and parents.pop().name == "runs":
        return folders[0].parent.parent if folders[0].parent.name == "runs" else folders[0].absolute().parent.parent
    return Path("reports", "-vs-".join(words.run_name(folder) for folder in folders))


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that holds something that is not a report.

    Raises:
        UserError: it is a file, or a folder with other content.
    """
    from compare import record

    expected = "a new or empty folder, a report of ours to replace, or a folder with nothing but `runs`"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", expected, "choose another --out")
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    ours = PAGE in names and GENERATOR in (folder / PAGE).read_text(encoding="utf-8", errors="replace")[:2000]
    if not ours and not names <= {"runs", "comparison.json"}:
        raise UserError(f"{folder} holds other files", expected, "choose another --out")
    record.check_writable(folder)


def _render(**content) -> bytes:
    """The page. Everything from a record is escaped; what is not ASCII becomes a character reference, so that no
    encoding can break it."""
    import jinja2

    from compare import words

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(fraction=words.fraction, generator=GENERATOR, **content)
    return html.encode("ascii", "xmlcharrefreplace")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.report",
        description="Write a report, a page and its pictures, from finished runs. Nothing is trained.",
        epilog=EXAMPLES,
    )
    what = parser.add_argument_group("what to report")
    what.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, finished or not")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--out", type=Path, metavar="DIR", help="the report's folder (default: that of `runs`, else below reports)"
    )
    return parser.parse_args()


def main() -> int:
    """Read the runs and write the report."""
    arguments = parse()
    folder = arguments.out or default_folder(arguments.runs)
    check_report_folder(folder)
    runs, unfinished = read_runs(arguments.runs)
    title = f"From scratch or pretrained: {Path(os.path.abspath(folder)).name}"
    print(write_report(folder, runs, unfinished, title=title))
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
