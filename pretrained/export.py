"""Write the network of a finished run of this branch for other programs: `python -m pretrained.export`."""

import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from compare.runs.record import Run
from compare.system.command import run_command
from compare.system.errors import UserError
from compare.training import exporting
from pretrained import backend, predict
from pretrained.backbones import BACKBONES

if TYPE_CHECKING:
    import keras


def with_bytes(run: Run) -> "keras.Model":
    """The whole network of a run, with preprocessing: images uint8 (batch, height, width, channels) to probabilities
    float32 (batch, num_classes)."""
    whole = predict.load(run)
    import keras

    images = keras.Input(run.record.data.shape, dtype="uint8", name="images")
    return keras.Model(images, whole(keras.ops.cast(images, "float32")), name="bytes_to_probabilities")


def write_keras(run: Run, path: Path, said: dict[str, str]) -> None:
    """Write what `keras.saving.load_model` reads, the metadata as files in the archive."""
    with_bytes(run).save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in said.items():
            archive.writestr(name, text)


def read_keras(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file as a function of images uint8."""
    import keras

    network = keras.saving.load_model(path, compile=False)
    return lambda images: np.asarray(network.predict(images, batch_size=len(images), verbose=0))


def write_onnx(run: Run, path: Path, said: dict[str, str]) -> None:
    """Write ONNX, by Keras on PyTorch: of its backends that one needs no package that NumPy 2 breaks.

    Raises:
        UserError: Keras lacks the backbone on PyTorch, or PyTorch's exporter cannot write it.
    """
    backbone = BACKBONES[predict.recipe_of(run).backbone]
    refusal = ("a format that this network has: keras", "say --format keras")
    if "torch" in backbone.lacking_on:
        raise UserError(f"--format onnx of a run with {backbone.title}, which Keras lacks on PyTorch", *refusal)
    network = with_bytes(run)
    import keras

    shape = (None, *run.record.data.shape)
    signature = [keras.InputSpec(shape=shape, dtype="uint8", name="images")]
    with warnings.catch_warnings(action="ignore"):  # tracing warns of what might go wrong; the file is run to see
        try:
            network.export(path, format="onnx", verbose=False, input_signature=signature)
        except RuntimeError as error:  # the exporter's own are of this kind: of ConvNeXt's layer normalisation
            came = f"--format onnx of a run with {backbone.title}, which PyTorch's exporter cannot write"
            raise UserError(came, *refusal) from error
    exporting.add_metadata(path, said)


FORMATS = {"onnx": (write_onnx, exporting.onnx_network), "keras": (write_keras, read_keras)}


def main() -> int:
    """Parse, write, read again."""

    def begin(run: Run, form: str) -> None:
        backend.choose("torch" if form == "onnx" else predict.backend_of(run), "cpu")

    return exporting.export("pretrained", predict.WEIGHTS, FORMATS, begin=begin)


if __name__ == "__main__":
    run_command(main)
