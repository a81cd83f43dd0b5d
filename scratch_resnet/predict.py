"""Predict with a finished run of this branch: `python -m scratch_resnet.predict RUN IMAGES.npy OUT.npz`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import run_command

WEIGHTS = "model.safetensors"


def main() -> int:
    """Parse, load, predict."""
    from compare.training import predicting

    return predicting.predict("scratch_resnet", WEIGHTS, predicting.parse("scratch_resnet"), look_with)


def load(run):
    """The network of a run, on the processor."""
    import safetensors.torch
    import torch

    from scratch_resnet import loop

    record = run.record
    num_classes, num_channels = len(record.data.class_names), record.data.image_shape[2]
    model = loop.new_model(
        num_classes, num_channels=num_channels, recipe=record.recipe, seed=0, device=torch.device("cpu")
    )
    model.load_state_dict(safetensors.torch.load_file(run.folder / WEIGHTS))
    return model.eval()


def look_with(run):
    """A run's network, as `predicting.predict` wants it."""
    import numpy as np
    import torch

    from scratch_resnet import loop
    from scratch_resnet.batches import Batches

    model = load(run)

    def look(images: np.ndarray):
        batches = Batches(images, np.zeros(len(images), np.uint8), device=torch.device("cpu"))
        return loop.look(model, batches, recipe=run.record.recipe)

    return look


if __name__ == "__main__":
    run_command(main)
