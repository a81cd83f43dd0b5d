"""Predict with a finished run of this branch: `python -m pretrained.predict RUN IMAGES.npy OUT.npz`."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import run_command
from compare.system.errors import UserError, printable

if TYPE_CHECKING:
    import keras

    from compare.runs.record import Run
    from compare.training.looking import Look

WEIGHTS = "model.keras"


def main() -> int:
    """Parse, load, predict."""
    from compare.training import predicting
    from pretrained import backend

    def load(run: "Run") -> "Look":
        backend.choose(backend_of(run), "cpu")
        return look_with(run)

    return predicting.predict("pretrained", WEIGHTS, predicting.parse("pretrained"), load)


def backend_of(run: "Run") -> str:
    """The backend that a run was trained on: Keras keeps a head's optimizer in the file, and reads PyTorch's nowhere
    else."""
    return run.record.versions.get("keras backend", "auto")


def load(run: "Run") -> "keras.Model":
    """The whole network of a run: images float32 (batch, height, width, channels) in 0…255 to probabilities.

    It is built as its record says, and of the file the arrays alone are read: what else stands there could make Keras
    run anything.

    Raises:
        UserError: the record names a backbone that there is not, or the file holds the arrays of another network.
    """
    from pretrained import backend
    from pretrained.backbones import BACKBONES
    from pretrained.weights import Weights

    with backend.quiet_start():
        from pretrained import feature_network, model

    recipe, data = recipe_of(run), run.record.data
    backbone = BACKBONES.get(recipe.backbone)
    if backbone is None:
        raise UserError(
            f"the run in {run.folder} has the backbone {printable(recipe.backbone)}",
            f"one of {', '.join(BACKBONES)}",
            "predict with the version that trained it",
        )
    network = feature_network.build_backbone(
        backbone, Weights("random"), seed=0, image_size=recipe.image_size, precision="float32"
    )
    extractor = feature_network.build_feature_extractor(
        network,
        backbone,
        image_shape=run.record.data.shape,
        image_size=recipe.image_size,
        preprocessing=recipe.preprocessing,
        centre_crop=recipe.centre_crop,
    )
    head = model.build_head(
        network.output_shape[1],
        len(data.class_names),
        normalize_features=recipe.normalize_features,
        learning_rate=recipe.learning_rate,
    )
    whole = model.join(extractor, head)
    with warnings.catch_warnings(action="ignore"):  # the head's optimizer has a state in the file, which nobody needs
        try:
            whole.load_weights(run.folder / WEIGHTS)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{run.folder / WEIGHTS} does not hold this network ({printable(str(error))[:200]})",
                "the file that its training wrote",
                "train anew, or copy the run's folder once more",
            ) from error
    return whole


def recipe_of(run: "Run") -> Any:
    """The recipe that a run's record keeps: with the fields of `pretrained.recipe.Recipe`, as they were then."""
    return run.record.recipe


def parts_of(whole: "keras.Model") -> "tuple[keras.Model, keras.Model]":
    """The backbone and the head of a whole network, as `model.join` has put them together."""
    import keras

    head = whole.get_layer("head")
    (network,) = [layer for layer in whole.layers if isinstance(layer, keras.Model) and layer is not head]
    return network, head


def look_with(run: "Run") -> "Look":
    """A run's network, as `predicting.predict` wants it."""
    whole = load(run)
    from pretrained.backbones import BACKBONES
    from pretrained.looking import Inside

    recipe, shape = recipe_of(run), run.record.data.shape
    return Inside(*parts_of(whole), backbone=BACKBONES[recipe.backbone], recipe=recipe, image_shape=shape).look


if __name__ == "__main__":
    run_command(main)
