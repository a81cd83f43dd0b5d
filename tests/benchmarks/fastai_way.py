"""A peer: the same network and data with fastai, its data block with PIL, and `fit_one_cycle`. Prints one line of JSON.

It runs in an environment of its own, which `run.py` makes: fastai's pins are not the project's.

    python tests/benchmarks/fastai_way.py --image-size 96 --batch-size 64 --steps 20
    python tests/benchmarks/fastai_way.py --image-size 96 --batch-size 64 --epochs 1
"""

import argparse
import json
import statistics
import time

import torch
from fastai.vision.all import (
    Callback,
    CancelFitException,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Learner,
    PILImageBW,
    Resize,
    accuracy,
)

from compare.data import dataset
from compare.system import machine
from scratch_resnet.model import ResNet

NUM_WARM_UP_STEPS = 4


class StepTimes(Callback):
    """Notes the time after every training step, and stops after enough of them."""

    def __init__(self, num_steps: int | None):
        self.num_steps, self.times = num_steps, []

    def after_batch(self):
        if self.training:
            self.times.append(time.perf_counter())
            if self.num_steps is not None and len(self.times) > NUM_WARM_UP_STEPS + self.num_steps:
                raise CancelFitException


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, help="stop after so many, without a result")
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()

    begin = time.perf_counter()
    data = dataset.load("fashion-mnist")
    num_train = len(data.train_labels)
    block = DataBlock(
        blocks=(ImageBlock(PILImageBW), CategoryBlock),
        get_x=lambda i: data.train_images[i] if i < num_train else data.test_images[i - num_train],
        get_y=lambda i: int(data.train_labels[i] if i < num_train else data.test_labels[i - num_train]),
        splitter=IndexSplitter(range(num_train, num_train + len(data.test_labels))),
        item_tfms=Resize(arguments.image_size),
    )
    loaders = block.dataloaders(list(range(num_train + len(data.test_labels))), bs=arguments.batch_size, num_workers=4)
    torch.manual_seed(0)
    learner = Learner(loaders, ResNet(), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    times = StepTimes(arguments.steps)
    started = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(arguments.epochs, 1e-3, cbs=times)
    steps = [after - before for before, after in zip(times.times, times.times[1:], strict=False)][NUM_WARM_UP_STEPS:]
    result = {
        "images_per_second": arguments.batch_size / statistics.median(steps),
        "peak_memory_bytes": machine.peak_memory_bytes(),
    }
    if arguments.steps is None:
        result |= {
            "test_accuracy": float(learner.recorder.values[-1][-1]),
            "training_seconds": time.perf_counter() - started,
            "preparing_seconds": started - begin,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
