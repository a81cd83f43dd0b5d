"""The process in which a branch writes the network of a finished run of its own for other programs:
`python -m <branch>.export RUN FORMAT FILE IMAGES.npy FOUND.npy`, which `compare.export` begins.

FILE takes images uint8 (batch, height, width, channels), as the run's data were, and gives probabilities float32
(batch, num_classes). FOUND.npy gets what it gives for the images, read again as others will read it.
"""

import argparse
import importlib.util
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from compare.runs import record
from compare.system import disk
from compare.system.command import Parser, place
from compare.system.errors import EXIT_DONE, UserError, extra_missing
from compare.training.predicting import check

IMAGES_AT_ONCE = 100  # of a file that is run
NEEDED_FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")
CLASS_NAMES, RECORD = "class_names.json", "record.json"  # of the file's metadata: a list of texts, and the run's record

Write = Callable[[record.Run, Path, dict[str, str]], None]  # the run's network to a file, with that metadata
Read = Callable[[Path], Callable[[np.ndarray], np.ndarray]]  # a file, as a function of images uint8


def export(
    branch: str,
    weights: str,
    formats: Mapping[str, tuple[Write, Read]],
    *,
    begin: Callable[[record.Run, str], None] = lambda run, form: None,
) -> int:
    """Write, read and run what the command line says.

    Args:
        branch: whose run it has to be.
        weights: the name of the file with its weights.
        formats: what the branch can write, by name.
        begin: is called with the run and the name of the format before either is touched.

    Raises:
        UserError: the branch has no such format; it is no run of this branch, or has no weights; or a package is
            missing that the format needs.
    """
    arguments = parse(branch)
    if arguments.format not in formats:
        raise UserError(
            f"--format {arguments.format} of a run of {branch}",
            f"a format that this branch has: {', '.join(formats)}",
            "choose one of these",
        )
    if arguments.format == "onnx":
        check_onnx()
    run = record.read_run(arguments.run)
    check(branch, weights, run)
    images = np.load(arguments.images, allow_pickle=False)
    begin(run, arguments.format)
    write, read = formats[arguments.format]
    write(run, arguments.file, metadata(run))
    network = read(arguments.file)
    parts = [network(images[start : start + IMAGES_AT_ONCE]) for start in range(0, len(images), IMAGES_AT_ONCE)]
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts))
    disk.write_atomically(arguments.found, buffer.getvalue())
    return EXIT_DONE


def parse(branch: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog=f"python -m {branch}.export",
        description="Write the network of a finished run of this branch. People say python -m compare.export.",
    )
    parser.add_argument("run", type=place, metavar="RUN", help="the run's folder")
    parser.add_argument("format", metavar="FORMAT", help="of the file")
    parser.add_argument("file", type=place, metavar="FILE", help="what to write")
    parser.add_argument("images", type=place, metavar="IMAGES.npy", help="uint8 (num_images, height, width, channels)")
    parser.add_argument("found", type=place, metavar="FOUND.npy", help="what the file gives for them")
    return parser.parse_args()


def metadata(run: record.Run) -> dict[str, str]:
    """What a file says of itself, as JSON by name."""
    return {
        CLASS_NAMES: json.dumps(run.record.data.class_names, ensure_ascii=False),
        RECORD: json.dumps(run.record.as_json(), ensure_ascii=False),
    }


# ---- ONNX


def check_onnx() -> None:
    """Refuse to begin where a package is missing that writes ONNX, or runs it.

    Raises:
        UserError: it is.
    """
    if missing := [name for name in NEEDED_FOR_ONNX if importlib.util.find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise extra_missing(f"--format onnx, and {', '.join(missing)} {verb} not installed", "export")


def add_metadata(path: Path, said: dict[str, str]) -> None:
    """Add metadata to an ONNX file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, said)
    onnx.save(model, path)


def onnx_network(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """An ONNX file as ONNX Runtime runs it: images uint8 to probabilities."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda images: session.run(None, {given.name: images})[0]
