"""Predict with a finished run of this branch: `python -m scratch_resnet.predict RUN IMAGES.npy OUT.npz`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import run_command

if TYPE_CHECKING:
    from compare.runs.record import Run
    from compare.training.looking import Look, Looked
    from scratch_resnet.model import ResNet

WEIGHTS = "model.safetensors"


def main() -> int:
    """Parse, load, predict."""
    from compare.training import predicting

    return predicting.predict("scratch_resnet", WEIGHTS, predicting.parse("scratch_resnet"), look_with)


def load(run: "Run") -> "ResNet":
    """The network of a run, on the processor."""
    import safetensors.torch
    import torch

    from scratch_resnet import loop

    *_, num_channels = run.record.data.shape
    num_classes, device = len(run.record.data.class_names), torch.device("cpu")
    model = loop.new_model(num_classes, num_channels=num_channels, recipe=recipe_of(run), seed=0, device=device)
    model.load_state_dict(safetensors.torch.load_file(run.folder / WEIGHTS))
    return model.eval()


def recipe_of(run: "Run") -> Any:
    """The recipe that a run's record keeps: with the fields of `scratch_resnet.recipe.Recipe`, as they were then."""
    return run.record.recipe


def look_with(run: "Run") -> "Look":
    """A run's network, as `predicting.predict` wants it."""
    import numpy as np
    import torch

    from scratch_resnet import loop
    from scratch_resnet.batches import Batches

    model = load(run)

    def look(images: np.ndarray) -> "Looked":
        batches = Batches(images, np.zeros(len(images), np.uint8), device=torch.device("cpu"))
        return loop.look(model, batches, recipe=recipe_of(run))

    return look


if __name__ == "__main__":
    run_command(main)
