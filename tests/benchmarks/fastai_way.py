"""A peer: the same network and data with fastai, its data block with PIL, and `fit_one_cycle`. Prints one line of JSON.

It runs in an environment of its own, which `run.py` makes: fastai's pins are not the project's.

    python tests/benchmarks/fastai_way.py --image-size 96 --batch-size 64 --steps 20
    python tests/benchmarks/fastai_way.py --image-size 96 --batch-size 64 --epochs 1
    python tests/benchmarks/fastai_way.py --head

--head  beside `few_labels.py head`: fastai's own head on the frozen EfficientNet-Lite0, an epoch by `fit_one_cycle` on
        10,000 images of Fashion-MNIST, and the test images predicted
"""

import argparse
import json
import statistics
import time

import numpy as np
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
    Normalize,
    PILImage,
    PILImageBW,
    Resize,
    accuracy,
    create_head,
    params,
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
    parser.add_argument("--head", action="store_true")
    arguments = parser.parse_args()
    if arguments.head:
        return head()

    begin = time.perf_counter()
    data = dataset.load("fashion-mnist")
    rows = np.arange(len(data.train_labels))
    loaders = loaders_of(data, rows, PILImageBW, item_tfms=Resize(arguments.image_size), bs=arguments.batch_size)
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


def loaders_of(data: dataset.Dataset, rows: np.ndarray, kind: type, *, bs: int, item_tfms, batch_tfms=None):
    """Those training images to learn from, all test images to be watched."""
    images = np.concatenate([data.train_images[rows], data.test_images])[..., 0]
    labels = np.concatenate([data.train_labels[rows], data.test_labels])
    block = DataBlock(
        blocks=(ImageBlock(kind), CategoryBlock),
        get_x=images.__getitem__,
        get_y=lambda i: int(labels[i]),
        splitter=IndexSplitter(range(len(rows), len(images))),
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )
    return block.dataloaders(list(range(len(images))), bs=bs, num_workers=4)


def head() -> None:
    """Print the seconds of the epoch and of predicting the test images, and how many are right."""
    from efficientnet_lite_pytorch import EfficientNet

    from pretrained import weights
    from pretrained.backbones import BACKBONES

    data = dataset.load("fashion-mnist")
    rows = dataset.subset(data.train_labels, 1000, seed=0)
    normalize = Normalize.from_stats(*[[127 / 255] * 3, [128 / 255] * 3], cuda=False)  # what the weights expect
    loaders = loaders_of(data, rows, PILImage, item_tfms=Resize(96), batch_tfms=normalize, bs=64)
    body = EfficientNet.from_name("efficientnet-lite0")
    body.load_state_dict(torch.load(weights.packaged(BACKBONES["EfficientNetLite0"]), weights_only=True))
    body.forward = body.extract_features
    network = torch.nn.Sequential(body, create_head(1280, 10))
    learner = Learner(loaders, network, splitter=lambda whole: [params(whole[0]), params(whole[1])], metrics=accuracy)
    learner.freeze()
    started = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "test_accuracy": float(learner.recorder.values[-1][-1])}))


if __name__ == "__main__":
    main()
