"""Trainings that can be killed, for `test_resume.py`: each in a process of its own, forked from this one, which has the
framework imported already.

    python tests/faults/trainings.py scratch_resnet
    python tests/faults/trainings.py pretrained tensorflow

Every line of standard input asks for one, as JSON: `words`, its command line; `folder`, the run's; `said`, a file for
what it says; `signal`, which the process sends itself just before those changes to files of the folder that `at` lists:
by their numbers, counted from 0, or by a pattern. A line of standard output tells its process, and the next one how it
ended. `said.changes` tells the changes.
"""

import dataclasses
import functools
import importlib
import json
import os
import re
import signal
import sys
from pathlib import Path

from compare.data import corruptions, dataset
from compare.system.command import run_command
from compare.system.errors import EXIT_REFUSED
from compare.training import estimate, job

measured = estimate.measured
# Three steps of each kind: before the loops import it, which look at them for seconds.
estimate.measured = lambda run, **words: measured(run, **words | {"seconds": 0.0})


def few(branch: str) -> None:
    """Make recipe and data so small that a run takes seconds, and everything that a checkpoint has to hold is used."""
    digits = dataset.load("digits")
    rows, num_test = slice(0, 120), 40
    small = dataclasses.replace(
        digits,
        train_images=digits.train_images[rows],
        train_labels=digits.train_labels[rows],
        test_images=digits.test_images[:num_test],
        test_labels=digits.test_labels[:num_test],
    )
    dataset.load = lambda *_, **__: small
    corruptions.STRENGTHS = {"shift": (1, 3)}
    job.SECONDS_BETWEEN_CHECKPOINTS = 0.0  # after every step
    recipes = importlib.import_module(f"{branch}.recipe")
    loop = importlib.import_module(f"{branch}.loop")
    changes = {"data": "digits", "validation_fraction": 0.3, "horizontal_flip": True, "batch_size": 16}
    if branch == "scratch_resnet":
        importlib.import_module("scratch_resnet.model").NUM_BLOCKS[18] = (1, 1, 1, 1)
        loop.ResNet = functools.partial(loop.ResNet, channels=(16, 32, 64, 128))
        changes |= {"schedule": "one-cycle", "weight_decay": 0.1, "label_smoothing": 0.1, "shift_pixels": 2}
    else:
        importlib.import_module("pretrained.features").IMAGES_AT_ONCE = 32
        importlib.import_module("pretrained.solver").IMAGES_IN_FILE = 32
        changes |= {"weights": "random", "image_size": 28, "precision": "float32"}
        tuned = {"penalties": (1e-1, 1e-3), "num_unfrozen_epochs": 1}
        recipes.RECIPES["tuned"] = dataclasses.replace(recipes.TUNED, **changes, **tuned)
        tuned |= {"num_unfrozen_epochs": 2, "least_steps": 24}
        recipes.RECIPES["fine-tuned"] = dataclasses.replace(recipes.FINE_TUNED, **changes | tuned | {"image_size": 32})
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    recipe = getattr(
        importlib.import_module("small_recipes"), "SCRATCH" if branch == "scratch_resnet" else "PRETRAINED"
    )
    recipes.RECIPES["demo"] = dataclasses.replace(recipe, **changes, num_epochs=3)


def train(branch: str, asked: dict) -> None:
    """Be the training."""
    said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    changes = os.open(asked["said"] + ".changes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    num_changes = 0

    def watch(event, arguments):
        nonlocal num_changes
        if event not in ("open", "os.rename", "os.remove") or asked["folder"] not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        change = f"{event} {' '.join(Path(str(path)).name for path in arguments[:2])}"
        num_changes += 1
        if any(at == num_changes - 1 if isinstance(at, int) else re.search(at, change) for at in asked["at"]):
            os.kill(os.getpid(), asked["signal"])
        os.write(changes, f"{change}\n".encode())

    sys.addaudithook(watch)
    sys.argv = [f"{branch}.train", *asked["words"]]
    try:
        run_command(sys.modules[f"{branch}.train"].main, unforeseen=EXIT_REFUSED)
    except SystemExit as ending:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.code)  # the interpreter takes longer to come to its end than the training


def main():
    branch, *backends = sys.argv[1:]
    if backends:
        from pretrained import backend

        backend.choose(*backends, "cpu")
        with backend.quiet_start():
            importlib.import_module("pretrained.loop")
    else:
        import torch

        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports more
    importlib.import_module(f"{branch}.train")
    few(branch)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            train(branch, json.loads(line))
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
