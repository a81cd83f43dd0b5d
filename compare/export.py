"""A trained network as a file for other programs: `python -m compare.export RUN --format onnx|keras|torch`.

The branch that trained the run writes it, in a process of its own: `python -m <branch>.export`, as
`compare.training.exporting` says. It is done when the file has given the probabilities that the run gives. Beside it
lies a model card: README.md in the run's folder, else NAME.md, which is not overwritten.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import Parser, place, run_command
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError, printable

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    import numpy as np

    from compare.runs.record import Run

ENDINGS = {"onnx": ".onnx", "keras": ".keras", "torch": ".pt2"}
NUM_CHECKED = 64  # images that the file is run on
CLOSE = 1e-4  # what a probability may differ by
EXAMPLES = """examples:
  python -m compare.export reports/today/runs/scratch_resnet --format onnx                  into the run's folder
  python -m compare.export reports/today/runs/pretrained --format keras --out shoes.keras   anywhere
"""


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.export",
        description="Write the network of a finished run for other programs, its preprocessing inside: bytes of images "
        "in, probabilities out. Beside it a model card says what it is, how good, and how to use it: README.md, or "
        "NAME.md where it lies elsewhere than in the run's folder.",
        epilog=EXAMPLES,
    )
    parser.add_argument("run", type=place, metavar="RUN", help="the run's folder")
    words = "onnx; of a run of Keras also keras, of one of PyTorch torch (torch.export; TorchScript is deprecated)"
    parser.add_argument("--format", required=True, metavar="F", help=words)
    parser.add_argument("--out", type=place, metavar="FILE", help="what to write (network.… in the run's folder)")
    parser.add_argument(
        "--data-dir", type=place, metavar="DIR", help="where its test images are, to check with (found)"
    )
    return parser.parse_args()


def main() -> int:
    """Let the branch write the file, check it, and give it its name."""
    arguments = parse()
    import numpy as np

    from compare import card, plan, supervise
    from compare.predict import in_branch
    from compare.runs import record
    from compare.system import disk, processes

    run = record.read_run(arguments.run)
    branch = run.record.branch
    if not plan.is_branch(branch, "export") or run.record.data.image_shape is None:
        raise UserError(
            f"{run.folder} was trained by {printable(branch)}, which exports nothing here",
            "a run of a branch with a module `export`, and the size of its images",
            "name one of python -m compare.run",
        )
    out = arguments.out or run.folder / f"network{ENDINGS.get(arguments.format, '')}"
    if arguments.format in ENDINGS and out.suffix != ENDINGS[arguments.format]:
        raise UserError(f"--out {out}", f"a name that ends with {ENDINGS[arguments.format]}", "call it so")
    if out.exists():
        raise UserError(f"{out} is there already", "a new file", "remove it, or name another with --out")
    images, rows = test_images(run, arguments.data_dir)
    with tempfile.TemporaryDirectory() as folder, disk.replacing(out) as partial:
        given, taken = Path(folder, "images.npy"), Path(folder, "found.npy")
        np.save(given, images)
        command = [sys.executable, "-m", f"{branch}.export", str(run.folder.absolute()), arguments.format]
        command += [str(path.absolute()) for path in (partial, given, taken)]
        with processes.tied() as tied:
            code = subprocess.run(command, **tied).returncode
        if code != EXIT_DONE:
            raise UserError(
                f"{branch} ended with {supervise.ending(code)} before it had written {out.name}",
                "a file that gives what the run gives",
                "look at what it said above",
                exit_code=code if code > 0 else EXIT_FAILED,
            )
        found = np.load(taken, allow_pickle=False)
        said = compared(run, found, in_branch(run, branch, images, where=False)["probabilities"], rows)
    print(f"{out}: {said}")
    is_in_run = out.absolute().parent == run.folder.absolute()
    described = out.with_name(card.NAME) if is_in_run else out.with_suffix(".md")
    if described.exists() and described.read_bytes() != card.text(run).encode():
        print(f"{described} is there already, and stays as it is: without it a model card would be written")
    else:
        disk.write_atomically(described, card.text(run, arguments.format, out.name).encode())
        print(f"{described}: its model card")
    return EXIT_DONE


def test_images(run: "Run", data_dir: Path | None) -> "tuple[np.ndarray, np.ndarray | None]":
    """Images to check with, uint8 (num_images, height, width, channels), and which of the run's test images they are;
    None for made-up ones, where its data are not on this machine."""
    import numpy as np

    from compare.data import NAMES, dataset

    told = run.record
    try:
        name = told.data.name if told.data.name in NAMES else str(data_dir) if data_dir else None
        size, place = max(told.data.shape[:2]), data_dir if name in NAMES else None
        data = name and dataset.load(name, place, download=False, image_size=size, fit=told.recipe.fit)
    except UserError:
        if data_dir is not None:  # asked for by name, so it had better be there
            raise
        data = None
    if data and data.fingerprint == told.data.fingerprint and list(data.image_shape) == told.data.image_shape:
        rows = np.linspace(0, told.data.num_test - 1, min(NUM_CHECKED, told.data.num_test)).astype(int)
        return data.test_images[rows], rows
    if data_dir is not None:
        raise UserError(f"--data-dir {data_dir} holds other data than the run was trained on", "the same", "name those")
    height, width, num_channels = told.data.shape
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (NUM_CHECKED, 4, 4, num_channels), np.uint8)
    return np.repeat(np.repeat(coarse, -(-height // 4), 1), -(-width // 4), 2)[:, :height, :width], None


def compared(run: "Run", found: "np.ndarray", expected: "np.ndarray", rows: "np.ndarray | None") -> str:
    """How far what the file gives lies from what the branch gives in float32 and, of test images, from what the run
    gave, in words.

    Raises:
        UserError: it lies farther from the branch's than `CLOSE`.
    """
    import numpy as np

    far = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
    if not far <= CLOSE:
        raise UserError(
            f"the file's probabilities differ from the run's network by up to {far:.2g}",
            f"at most {CLOSE:g}",
            "report it: the file was not kept",
            exit_code=EXIT_FAILED,
        )
    if rows is None:
        return f"within {far:.1g} of the run's network on {len(found)} made-up images (its data are not here)"
    own = np.abs(found - run.test_probabilities[rows]).max()
    said = f"within {far:.1g} of the run's network on {len(found)} test images"
    trained_in = f", which was trained in {run.record.precision}" if run.record.precision != "float32" else ""
    return f"{said}, and within {own:.1g} of what the run had predicted{trained_in}"


if __name__ == "__main__":
    run_command(main)
