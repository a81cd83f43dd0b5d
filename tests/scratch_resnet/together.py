"""What `test_several.py` lets processes do together, as torchrun begins them, or one alone; the project, its tests and
tests/faults are on Python's path:

    torchrun --nproc-per-node=2 tests/scratch_resnet/together.py numbers FOLDER
    torchrun --nproc-per-node=2 tests/scratch_resnet/together.py train --demo --out DIR

In the latter the variable STOPS names the process, by its number, that before the end of a step, by its number, sends a
signal, by its number, to itself or to torchrun: `1 4 9 self`.
"""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import torch
from small_recipes import SCRATCH

from compare.data import dataset
from compare.training.progress import Journal
from scratch_resnet import loop, model, several
from scratch_resnet.batches import Batches
from scratch_resnet.small_maps import fast_on_small_maps

NUM_IMAGES = 33  # in batches of 16: the last one is a single image, and of two processes one has none
PLAIN = dataclasses.replace(
    SCRATCH, image_size=40, batch_size=16, horizontal_flip=True, shift_pixels=2, label_smoothing=0.1
)
PHOTOGRAPHS = dataclasses.replace(PLAIN, crop_area=0.4, centre_crop=0.9, shift_pixels=0, mirrored_predictions=True)


class DoubleBatches(Batches):
    """In float64, whose rounding is far below what a mistake would change."""

    def shuffled(self, *words, **more):
        return ((images.double(), labels) for images, labels in super().shuffled(*words, **more))

    def in_order(self, *words, **more):
        return ((images.double(), labels) for images, labels in super().in_order(*words, **more))


class DoubleResNet(model.ResNet):
    def forward(self, x):
        return self.fc(self.maps(x).mean(dim=(2, 3)))


def numbers(folder: Path) -> None:
    """Train two epochs by either recipe, and write everything that came of it to a file of this process."""
    data, results = dataset.load("digits"), {}
    images = DoubleBatches(data.train_images, data.train_labels, rows=np.arange(NUM_IMAGES), device=torch.device("cpu"))
    for recipe in (PLAIN, PHOTOGRAPHS):
        torch.manual_seed(0)
        network = fast_on_small_maps(DoubleResNet(channels=(4, 8, 16, 32)).double())
        network = several.normalised_together(network)
        optimizer = loop.new_optimizer(network, recipe)
        totals = torch.zeros(2, 3, dtype=torch.float64)
        weights = torch.arange(1, 11, dtype=torch.float64) if recipe is PLAIN else None
        with Journal().epoch("", NUM_IMAGES) as bar:
            given = {"recipe": recipe, "seed": 0, "bar": bar, "class_weights": weights}
            for epoch in (1, 2):
                for _ in loop.train_epoch(network, optimizer, images, totals, epoch=epoch, **given):
                    pass
        logits = loop.infer(network, images, recipe=recipe)
        found = loop.checkpoint_arrays(network, optimizer) | {"totals": totals.numpy(), "logits": logits.numpy()}
        results |= {f"{recipe.crop_area}/{name}": array for name, array in found.items()}
    np.savez(folder / f"{os.environ.get('RANK', 0)}.npz", **results)


def train(words: list[str]) -> None:
    """A training of seconds, by its command."""
    from trainings import few

    from compare.system.command import run_command
    from scratch_resnet import train

    few("scratch_resnet")
    rank, step, number, whom = os.environ.get("STOPS", "-1 0 0 nobody").split()
    must_keep, steps = several.must_keep, iter(range(1, 1000))

    def stopped(job) -> bool:
        if next(steps) == int(step) and os.environ["RANK"] == rank:
            os.kill(os.getpid() if whom == "self" else os.getppid(), int(number))
        return must_keep(job)

    if int(step):
        several.must_keep = stopped
    sys.argv = ["scratch_resnet.train", *words]
    run_command(train.main, is_shared=True)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "numbers":
        with several.together():
            numbers(Path(*words))
            several.leave()
    else:
        train(words)
