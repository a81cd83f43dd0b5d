"""What trained networks say of pictures: `python -m compare.predict RUN [RUN …] PICTURE|FOLDER …`.

Each picture is prepared as the data of its run were, and given to the branch that trained the run, in a process of its
own: `python -m <branch>.predict`, as `compare.training.predicting` says.
"""

import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import dataclasses  # after that: it imports `inspect`, which is not the one beside this file

from compare.system.command import Parser, place, run_command
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError, printable

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    import numpy as np

    from compare.runs.record import Run

Preparation = tuple[int, int, int, Literal["crop", "pad"]]  # height, width, channels, fit
NUM_CLASSES = 3  # that are named of each picture
UNLIKE = 0.99  # the share of the test images than which a picture that is unlike all lies farther away
MADE_GREY = "made grey, as the run's data are"
NOT_CALIBRATED, NOT_KNOWN = "not calibrated", "not known"
EXAMPLES = """examples:
  python -m compare.predict reports/today/runs/scratch_resnet cat.jpg         one run, one picture
  python -m compare.predict reports/today/runs/* pictures --out looked.png    all runs, a folder, as a picture
  python -m compare.predict reports/today/runs/* pictures --json              for programs
"""


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What a run says of all pictures.

    Attributes:
        run: whose network.
        name: what it is called.
        images: uint8, (num_pictures, height, width, channels), as they were prepared.
        made_grey: of each picture, whether its colours were taken away.
        confidence: (num_pictures, num_classes), probabilities at the run's temperature.
        temperature: fitted on the run's validation split, as in `findings.calibration`; None where it has none, and the
            probabilities are as the network gives them.
        farther_than: (num_pictures,), the share of the run's test images to which what was trained on is nearer; None
            where the run does not keep that.
        maps: float32, (num_pictures, rows, columns), where the network looked; None where nobody asked.
        is_occlusion: whether they are falls of the probability under a patch, not class activation maps.
    """

    run: "Run"
    name: str
    images: "np.ndarray"
    made_grey: list[bool]
    confidence: "np.ndarray"
    temperature: float | None
    farther_than: "np.ndarray | None"
    maps: "np.ndarray | None"
    is_occlusion: bool

    def highest(self, number: int) -> list[tuple[str, float]]:
        """The likeliest classes of a picture and how sure the network is of them."""
        confidence = self.confidence[number]
        places = (-confidence).argsort(kind="stable")[:NUM_CLASSES]
        return [(self.run.record.data.class_names[place], float(confidence[place])) for place in places]

    def likeness(self, number: int) -> str:
        """How far a picture lies from what was trained on, in words."""
        if self.farther_than is None:
            return NOT_KNOWN
        share = float(self.farther_than[number])
        said = f"farther than {100 * share:.1f} % of the test images"
        return f"unlike all that was seen: {said}" if share >= UNLIKE else said


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.predict",
        description="Say what trained networks take pictures for, how sure they are, and whether a picture is unlike "
        "all that they have seen.",
        epilog=EXAMPLES,
    )
    parser.add_argument("places", nargs="+", type=place, metavar="RUN|PICTURE", help="runs' folders; pictures, folders")
    parser.add_argument("--json", action="store_true", help="print JSON, with where each network looked")
    words = "a picture of it, with where each network looked"
    parser.add_argument("--out", type=place, metavar="FILE.png", help=words)
    return parser.parse_args()


def main() -> int:
    """Read the runs, prepare the pictures, let each branch predict, and say what it gave."""
    arguments = parse()
    from compare.report import expanded
    from compare.runs import record
    from compare.system import disk

    places = expanded(arguments.places)
    folders = [one for one in places if (one / record.RECORD).is_file()]
    paths = pictures([one for one in places if one not in folders])
    if not folders or not paths:
        raise UserError(
            f"{len(folders)} run{'s' * (len(folders) != 1)} and {len(paths)} picture{'s' * (len(paths) != 1)}",
            "the folder of at least one finished run, and at least one picture",
            "name both: python -m compare.predict RUN PICTURE",
        )
    if arguments.out is not None and arguments.out.suffix.lower() != ".png":
        raise UserError(f"--out {arguments.out}", "the name of a picture, FILE.png", "let it end with .png")
    runs = [record.read_run(folder) for folder in folders]
    check(runs)
    paths, prepared, left_out = prepare(paths, runs)
    for path, reason in left_out:
        print(f"left out: {printable(str(path))}: {reason}", file=sys.stderr)
    if not paths:
        raise UserError("none of these files can be read as a picture", "one that can", "name one")
    names = names_of(runs)
    where = arguments.json or arguments.out is not None
    found = [
        predicted(run, name, *prepared[preparation(run)], where=where) for run, name in zip(runs, names, strict=True)
    ]
    if arguments.json:
        print(json.dumps(as_json(paths, found, left_out), indent=1, ensure_ascii=False))
    else:
        show(paths, found)
    if arguments.out is not None:
        from compare.page import predictions

        disk.write_atomically(arguments.out, predictions.drawn([path.name for path in paths], found))
        print(arguments.out, file=sys.stderr if arguments.json else sys.stdout)
    return EXIT_FAILED if left_out else EXIT_DONE


def check(runs: "list[Run]") -> None:
    """Refuse runs that no branch predicts with.

    Raises:
        UserError: another program wrote one, or its data's size is not known.
    """
    from compare.plan import is_branch

    for run in runs:
        if not is_branch(run.record.branch, "predict") or run.record.data.image_shape is None:
            raise UserError(
                f"{run.folder} was trained by {printable(run.record.branch)}, which predicts nothing here",
                "a run of a branch with a module `predict`, and the size of its images",
                "name one of python -m compare.run",
            )


def names_of(runs: "list[Run]") -> list[str]:
    """What each run is called: its folder, and as much of what lies above as tells it from the others."""
    names = [printable(run.folder.absolute().name) for run in runs]
    paths = [printable(str(run.folder)) for run in runs]
    return [path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


# ---- pictures


def pictures(places: list[Path]) -> list[Path]:
    """The files that are named, and those below the folders that are, by path: all that are called as pictures
    are, or hold one.

    Raises:
        UserError: one is not there.
    """
    from compare.data.layouts import PASSED_OVER, is_meant_as_image

    found = []
    for one in places:
        if not one.exists():
            raise UserError(f"{printable(str(one))} does not exist", "a run, a picture or a folder of them", "name one")
        below = sorted(one.rglob("*")) if one.is_dir() else [one]
        for path in below:
            parts = path.relative_to(one).parts
            hidden = any(part.startswith(".") or part.lower() in PASSED_OVER for part in parts)
            if not hidden and path.is_file() and (path == one or is_meant_as_image(path) or holds_picture(path)):
                found.append(path)
    return found


def holds_picture(path: Path) -> bool:
    """Whether a file is an image by what it holds, whatever it is called."""
    from compare.data import decoding

    try:
        decoding.look(path, os.path.realpath(path.parent))
    except Exception:  # Pillow raises many kinds on bytes that are no image
        return False
    return True


def preparation(run: "Run") -> Preparation:
    """All that decides how a picture is prepared for a run."""
    return (*run.record.data.shape, run.record.recipe.fit)


def prepare(
    paths: list[Path], runs: "list[Run]"
) -> "tuple[list[Path], dict[Preparation, tuple[np.ndarray, list[bool]]], list[tuple[Path, str]]]":
    """Decode all pictures as the data of the runs were.

    Returns:
        The pictures that can be read; by `preparation`, their images, uint8 (num_pictures, height, width, channels),
        and whether each was made grey; and those that cannot, with the reason.
    """
    import numpy as np
    from rich.progress import MofNCompleteColumn

    from compare.data import download

    wanted = dict.fromkeys(map(preparation, runs))
    decoded: dict[Preparation, list[tuple[np.ndarray, bool]]] = {one: [] for one in wanted}
    good, left_out = [], []
    with download.bar("reading pictures", len(paths), MofNCompleteColumn()) as move_on:
        for path in paths:
            try:
                of_all = [prepared(path, *one) for one in wanted]
            except Exception as error:  # Pillow raises many kinds on bytes that are no image
                left_out.append((path, str(error)[:200] or type(error).__name__))
            else:
                good.append(path)
                for one, image in zip(wanted, of_all, strict=True):
                    decoded[one].append(image)
            move_on(advance=1)
    columns = {one: list(zip(*of_all, strict=True)) for one, of_all in decoded.items()}
    return good, {one: (np.array(of[0]), list(of[1])) for one, of in columns.items() if of}, left_out


def prepared(
    path: Path, height: int, width: int, num_channels: int, fit: Literal["crop", "pad"]
) -> "tuple[np.ndarray, bool]":
    """One picture as a run's data are: uint8 (height, width, num_channels), and whether colours were taken away. A
    picture for data that are not square is cut to their shape by its middle."""
    import warnings

    import numpy as np
    from PIL import Image

    from compare.data import decoding

    with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
        side = max(height, width)
        image = decoding.decoded(path, size=side, fit=fit if height == width else "crop", num_channels=num_channels)
        made_grey = False
        if num_channels == 1:
            colours = decoding.decoded(path, size=side, fit="crop", num_channels=3).astype(np.int16)
            made_grey = bool((np.ptp(colours, axis=2) > 0).any())
    top, left = (side - height) // 2, (side - width) // 2
    return image[top : top + height, left : left + width], made_grey


# ---- networks


def predicted(run: "Run", name: str, images: "np.ndarray", made_grey: list[bool], *, where: bool) -> Predicted:
    """What a run says of images as they were prepared; see `Predicted`."""
    import numpy as np

    from compare.findings import calibration
    from compare.runs import features

    kept = features.read(run)
    found = in_branch(run, name, images, where=where)
    temperature = calibration.fitted_temperature(run)
    confidence = found["probabilities"]
    if temperature is not None:
        confidence = calibration.at_temperature(confidence, temperature)
    farther_than = None
    if kept is not None:
        distances = kept.training.distances(found["features"])
        farther_than = np.searchsorted(np.sort(kept.test_distances), distances) / len(kept.test_distances)
    return Predicted(
        run=run,
        name=name,
        images=images,
        made_grey=made_grey,
        confidence=confidence,
        temperature=temperature,
        farther_than=farther_than,
        maps=found.get("maps"),
        is_occlusion=bool(found.get("is_occlusion", False)),
    )


def in_branch(run: "Run", name: str, images: "np.ndarray", *, where: bool) -> "dict[str, np.ndarray]":
    """What the process of a run's branch gives for images, as `training.predicting` says.

    Raises:
        UserError: it ended without.
    """
    import numpy as np
    from rich.progress import MofNCompleteColumn

    from compare import supervise
    from compare.data import download
    from compare.system import processes

    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder, "images.npy"), Path(folder, "found.npz")
        np.save(given, images)
        command = [sys.executable, "-m", f"{run.record.branch}.predict"]
        command += [str(path.absolute()) for path in (run.folder, given, taken)] + ["--where"] * where
        with contextlib.ExitStack() as stack:  # an old Python, which says that it is one, has to be able to read this
            bar = download.bar(f"predicting with {name}", len(images), MofNCompleteColumn())
            move_on, arguments = stack.enter_context(bar), stack.enter_context(processes.tied())
            piped = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace", **arguments)
            process = stack.enter_context(piped)
            for line in process.stdout or ():
                with contextlib.suppress(ValueError):
                    move_on(completed=int(line))
        if process.returncode != EXIT_DONE:
            raise UserError(
                f"{run.record.branch} ended with {supervise.ending(process.returncode)} on {run.folder}",
                "probabilities for every picture",
                "look at what it said above",
                exit_code=EXIT_FAILED,
            )
        with np.load(taken, allow_pickle=False) as file:
            return {one: file[one] for one in file.files}


# ---- what is said


def agreement(found: list[Predicted], number: int) -> tuple[str, int]:
    """The class that most runs take a picture for, of as many the first run's, and how many they are."""
    classes = [one.highest(number)[0][0] for one in found]
    (name, num_runs), *_ = collections.Counter(classes).most_common(1)
    return name, num_runs


def agreement_in_words(found: list[Predicted], number: int) -> str:
    """How the runs agree on a picture."""
    name, num_runs = agreement(found, number)
    if num_runs == len(found):
        return f"all {num_runs} runs: {name}"
    return f"{num_runs} of {len(found)} runs: {name}" if num_runs > 1 else "each run says another class"


def as_json(paths: list[Path], found: list[Predicted], left_out: Iterable[tuple[Path, str]]) -> dict[str, Any]:
    """All of it as JSON takes it; docs/pictures.md has it."""

    def of_run(one: Predicted, number: int) -> dict[str, Any]:
        said = {
            "run": printable(str(one.run.folder)),
            "classes": [{"class": name, "confidence": round(share, 6)} for name, share in one.highest(number)],
            "temperature": one.temperature,
            "farther_than": None if one.farther_than is None else round(float(one.farther_than[number]), 6),
            "made_grey": one.made_grey[number],
        }
        if one.maps is None:
            return said
        kind = "occlusion" if one.is_occlusion else "class activation"
        return said | {"looked": {"kind": kind, "map": one.maps[number].round(5).tolist()}}

    told = []
    for number, path in enumerate(paths):
        name, num_runs = agreement(found, number)
        told.append(
            {
                "picture": printable(str(path)),
                "agreement": {"class": name, "num_runs": num_runs},
                "runs": [of_run(one, number) for one in found],
            }
        )
    return {
        "pictures": told,
        "left_out": [{"picture": printable(str(path)), "reason": printable(reason)} for path, reason in left_out],
    }


def show(paths: list[Path], found: list[Predicted]) -> None:
    """Print a table: for every picture a line for each run."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    console = console if console.is_terminal else Console(width=200)
    # what is alike in all names tells nothing apart
    common = os.path.commonpath([path.absolute().parent for path in paths]) if paths else ""
    whole = (Column("picture", overflow="fold"), Column("run", overflow="fold"))
    table = Table(*whole, "takes it for", "", "", "and it is", box=None, padding=(0, 2, 0, 0))
    for number, path in enumerate(paths):
        for one in found:
            classes = [f"{name} {100 * share:.1f} %" for name, share in one.highest(number)]
            classes += [""] * (NUM_CLASSES - len(classes))
            name = printable(str(path.absolute().relative_to(common))) if one is found[0] else ""
            cells = [name, one.name, *classes, one.likeness(number)]
            table.add_row(*map(Text, cells))
        if len(found) > 1:
            table.add_row("", Text(agreement_in_words(found, number), "bold"))
    console.print(table)
    for one in found:
        if one.temperature is None:
            console.print(
                Text(f"{one.name}: {NOT_CALIBRATED}, without a validation image, or without one that is wrong")
            )
        if one.farther_than is None:
            console.print(Text(f"{one.name}: whether a picture is like what it has seen is {NOT_KNOWN}"))
        if any(one.made_grey):
            number = sum(one.made_grey)
            console.print(Text(f"{one.name}: {number:,} picture{'s' * (number > 1)} in colour {MADE_GREY}"))


if __name__ == "__main__":
    run_command(main)
