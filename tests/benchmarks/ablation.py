"""Recipe `tuned` of the network from scratch with one thing changed, as a run like any other. It is judged by the
validation split: the test set chooses nothing.

    python tests/benchmarks/ablation.py --variant "no mirroring" --seed 1 --out DIR
"""

import argparse
import dataclasses
import sys

from compare.system.command import run_command
from compare.system.errors import EXIT_REFUSED
from scratch_resnet import train
from scratch_resnet.recipe import RECIPES, TUNED

NUM_EPOCHS = 3  # fewer than the recipe's, to have several seeds of each
VARIANTS = {
    "as it is": {},
    "constant step size, the article's": {"schedule": "constant", "learning_rate": 0.001},
    "no mirroring of training images": {"horizontal_flip": False},  # the mean of both predictions is then worse
    "no mirroring at all": {"horizontal_flip": False, "mirrored_predictions": False},
    "no mirrored predictions": {"mirrored_predictions": False},
    "no label smoothing": {"label_smoothing": 0.0},
    "batches of 64": {"batch_size": 64},
    "28×28": {"image_size": 28},
    "as it is, all epochs": {"num_epochs": TUNED.num_epochs},
    "no mirroring at all, all epochs": {
        "horizontal_flip": False,
        "mirrored_predictions": False,
        "num_epochs": TUNED.num_epochs,
    },
    "no label smoothing, all epochs": {"label_smoothing": 0.0, "num_epochs": TUNED.num_epochs},
    # what was tried and left out
    "shifts of one pixel": {"shift_pixels": 1},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=list(VARIANTS), required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    name = f"tuned, {arguments.variant}"
    changes = {"name": name, "num_epochs": NUM_EPOCHS} | VARIANTS[arguments.variant]
    RECIPES[name] = dataclasses.replace(TUNED, **changes)
    sys.argv = ["ablation", "--recipe", name, "--seed", arguments.seed, "--out", arguments.out]
    run_command(train.main, unforeseen=EXIT_REFUSED)


if __name__ == "__main__":
    main()
