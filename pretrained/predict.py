"""Predict with a finished run of this branch: `python -m pretrained.predict RUN IMAGES.npy OUT.npz`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import run_command

WEIGHTS = "model.keras"


def main() -> int:
    """Parse, load, predict."""
    from compare.training import predicting
    from pretrained import backend

    def load(run):
        backend.choose(backend_of(run), "cpu")
        return look_with(run)

    return predicting.predict("pretrained", WEIGHTS, predicting.parse("pretrained"), load)


def backend_of(run) -> str:
    """The backend that a run was trained on: Keras keeps a head's optimizer in the file, and reads PyTorch's nowhere
    else."""
    return run.record.versions.get("keras backend", "auto")


def load(run):
    """The whole network of a run: images float32 (batch, height, width, channels) in 0…255 to probabilities."""
    from pretrained import backend

    with backend.quiet_start():
        import keras

        return keras.saving.load_model(run.folder / WEIGHTS, compile=False)


def parts_of(whole) -> tuple:
    """The backbone and the head of a whole network, as `model.join` has put them together."""
    import keras

    head = whole.get_layer("head")
    (network,) = [layer for layer in whole.layers if isinstance(layer, keras.Model) and layer is not head]
    return network, head


def look_with(run):
    """A run's network, as `predicting.predict` wants it."""
    whole = load(run)
    from pretrained.backbones import BACKBONES
    from pretrained.looking import Inside

    recipe, shape = run.record.recipe, tuple(run.record.data.image_shape)
    return Inside(*parts_of(whole), backbone=BACKBONES[recipe.backbone], recipe=recipe, image_shape=shape).look


if __name__ == "__main__":
    run_command(main)
