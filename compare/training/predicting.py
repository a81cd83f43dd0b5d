"""The process in which a branch predicts with a finished run of its own:
`python -m <branch>.predict RUN IMAGES.npy OUT.npz`, which `compare.predict` begins.

The images are uint8 (num_images, height, width, channels), as the run's data were. OUT.npz gets what
`looking.Looked` has: `probabilities`, `features`, and with --where `maps`, float32 (num_images, height, width); and
`is_occlusion`, whether these are falls of the probability under a patch, because the network's own maps are too small
to tell places apart. It computes in float32, whatever the run was trained in. On standard output stands, line by line,
how many images are done.
"""

import argparse
import io
from collections.abc import Callable

import numpy as np

from compare.runs import record
from compare.system import disk
from compare.system.command import Parser, place
from compare.system.errors import EXIT_DONE, UserError
from compare.training.looking import Look, Looked, are_large_enough, occlusion

IMAGES_AT_ONCE = 256  # between two lines on standard output
FIELDS = ("probabilities", "features")


def parse(branch: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog=f"python -m {branch}.predict",
        description="Predict with a finished run of this branch. People say python -m compare.predict.",
    )
    parser.add_argument("run", type=place, metavar="RUN", help="the run's folder")
    parser.add_argument("images", type=place, metavar="IMAGES.npy", help="uint8 (num_images, height, width, channels)")
    parser.add_argument("out", type=place, metavar="OUT.npz", help="what to write")
    parser.add_argument("--where", action="store_true", help="say where the network looked, too")
    return parser.parse_args()


def predict(branch: str, weights: str, arguments: argparse.Namespace, load: Callable[[record.Run], Look]) -> int:
    """Predict what the command line says.

    Args:
        branch: whose run it has to be.
        weights: the name of the file with its weights.
        arguments: as `parse` gives them.
        load: makes the network of a run.

    Raises:
        UserError: it is no run of this branch, has no weights or was made by a recipe of other fields; or these are no
            such images.
    """
    run = record.read_run(arguments.run)
    check(branch, weights, run)
    images = np.load(arguments.images, allow_pickle=False)
    shape = run.record.data.image_shape or []
    if images.dtype != np.uint8 or list(images.shape[1:]) != shape:
        expected = f"uint8 (num_images, {', '.join(map(str, shape))})"
        raise UserError(f"{arguments.images} holds {images.dtype} {images.shape}", expected, "make it so")
    try:
        look = load(run)
    except AttributeError as error:
        raise UserError(
            f"the run in {arguments.run} has a recipe of other fields ({error})",
            "a run of this version",
            "predict with the version that trained it, or train anew",
        ) from error
    parts, maps = [], []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = images[start : start + IMAGES_AT_ONCE]
        looked = look(some)
        parts.append(looked)
        if arguments.where:
            maps.append(where(some, looked, look))
        print(start + len(some), flush=True)
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS}
    if arguments.where:
        arrays |= {"maps": np.concatenate(maps), "is_occlusion": np.array(not are_large_enough(parts[0].maps))}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # the stubs take one for `allow_pickle`
    disk.write_atomically(arguments.out, buffer.getvalue())
    return EXIT_DONE


def check(branch: str, weights: str, run: record.Run) -> None:
    """Refuse a run that this branch has not trained, or whose weights are not there.

    Raises:
        UserError: it is so.
    """
    if run.record.branch != branch:
        raise UserError(f"{run.folder} is a run of {run.record.branch}", f"one of {branch}", "name one")
    if weights not in run.record.files or not (run.folder / weights).is_file():
        raise UserError(
            f"{run.folder} holds no {weights}",
            "the folder of a training, with the network that it left",
            "name that one: small copies of runs, and those that are passed on, are without their weights",
        )


def where(images: np.ndarray, looked: Looked, look: Look) -> np.ndarray:
    """Where the network looked: its class activation maps where they are large enough, else by occlusion."""
    return looked.maps if are_large_enough(looked.maps) else occlusion(images, looked.probabilities, look)
