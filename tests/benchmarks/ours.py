"""What the product does in the time in which its peers do theirs. Prints one line of JSON.

    python tests/benchmarks/ours.py scratch_resnet article --images 1280
    python tests/benchmarks/ours.py pretrained article --images 8192
    python tests/benchmarks/ours.py limit
    python tests/benchmarks/ours.py views

scratch_resnet  steps of the recipe in steady state, the share of a step that preparing the data takes, and the
                operations of a step
pretrained      an epoch of the recipe on so many images, without its part that is the same however many there are
limit           the processor's or GPU's own speed: a large matrix product in float32 and bfloat16
views           the memory that the features of four views of 54,000 images take while the head is brought to its
                optimum
"""

import argparse
import dataclasses
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from compare.data import dataset
from compare.system import environment, machine
from compare.training.progress import Journal


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scratch_resnet", "pretrained", "limit", "views"])
    parser.add_argument("recipe", nargs="?", default="article")
    parser.add_argument("--images", type=int, default=1280)
    arguments = parser.parse_args()
    environment.compute_with(environment.Load().num_threads())  # as the commands do, beside whatever else runs
    measured = {"scratch_resnet": scratch_resnet, "pretrained": pretrained}.get(arguments.what)
    if measured is not None:
        result = measured(arguments.recipe, arguments.images)
    else:
        result = {"limit": limit, "views": views}[arguments.what]()
    print(json.dumps(result | {"peak_memory_bytes": machine.peak_memory_bytes()}))


def scratch_resnet(name: str, num_images: int) -> dict:
    """Images a second in training, as the command trains."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from scratch_resnet import hardware, loop
    from scratch_resnet.batches import Batches
    from scratch_resnet.recipe import RECIPES

    recipe = dataclasses.replace(RECIPES[name], num_epochs=2)
    data = dataset.load("fashion-mnist")
    train_images = data.train_images.reshape(len(data.train_labels), 28, 28, 1)
    device = hardware.choose_device("auto")
    hardware.keep_freed_memory()
    network = loop.new_model(10, seed=0, device=device)
    optimizer = loop.new_optimizer(network, recipe)

    def epoch(num_images: int, epoch: int) -> float:
        images = Batches(train_images, data.train_labels, rows=np.arange(num_images), device=device)
        with Journal().epoch("", num_images) as bar:
            start = time.perf_counter()
            totals = torch.zeros(2, math.ceil(num_images / recipe.batch_size), device=device)
            for _ in loop.train_epoch(network, optimizer, images, totals, recipe=recipe, seed=0, epoch=epoch, bar=bar):
                pass
            return time.perf_counter() - start

    epoch(4 * recipe.batch_size, 1)  # warms up
    seconds = epoch(num_images, 2)
    images = Batches(train_images, data.train_labels, rows=np.arange(num_images), device=device)
    start = time.perf_counter()
    for _ in images.shuffled(recipe, seed=0, epoch=2):
        pass
    if device.type == "cuda":
        torch.cuda.synchronize()
    preparing_seconds = time.perf_counter() - start
    with FlopCounterMode(display=False) as counter:
        batch, labels = next(images.shuffled(recipe, seed=0, epoch=2))
        torch.nn.functional.cross_entropy(network(batch), labels).backward()
    return {
        "images_per_second": num_images / seconds,
        "preparing_share": preparing_seconds / seconds,
        "flops_per_image": counter.get_total_flops() / len(batch),
        "precision": hardware.precision(recipe, device),
    }


def pretrained(name: str, num_images: int) -> dict:
    """Images a second in an epoch of the head, features included, and the seconds that the test set takes once."""
    from pretrained import backend
    from pretrained.backbones import BACKBONES
    from pretrained.features import extract
    from pretrained.recipe import RECIPES
    from pretrained.weights import Weights

    recipe = RECIPES[name]
    backend.choose("tensorflow", "auto")
    with backend.quiet_start():
        from pretrained import loop, model

    data = dataset.load("fashion-mnist")
    device_kind, _ = backend.describe_device("tensorflow", "auto")
    precision = backend.precision(recipe, "tensorflow", device_kind)
    networks = model.build_networks(
        BACKBONES[recipe.backbone],
        Weights("random"),
        recipe=dataclasses.replace(recipe, normalize_features=False, unfreeze="none"),
        image_shape=(28, 28, 1),
        num_classes=10,
        seed=0,
        precision=precision,
    )
    extractor, head = networks.extractor, networks.head

    def epoch(num_images: int) -> float:
        with Journal().epoch("", num_images) as bar:
            start = time.perf_counter()
            draws = {"recipe": recipe, "seed": 0, "epoch": 1}
            some = data.train_images, data.train_labels, np.arange(num_images), np.zeros(3)
            for _ in loop.train_epoch(head, *some, feature_extractor=extractor, **draws, bar=bar):
                pass
            return time.perf_counter() - start

    epoch(512)  # compiles
    seconds = epoch(num_images)
    start = time.perf_counter()
    features = extract(extractor, data.test_images, recipe=recipe)
    extracting = time.perf_counter() - start
    loop.evaluate(loop.predict(head, features), data.test_labels)
    return {
        "images_per_second": num_images / seconds,
        "test_seconds_once": extracting,
        "test_seconds_each_epoch": time.perf_counter() - start - extracting,
    }


def limit() -> dict:
    """Floating-point operations a second of a square matrix product, the best of ten."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 8192 if device.type == "cuda" else 2048
    result = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.rand(size, size, device=device, dtype=dtype)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            (a @ a).sum().item()
            times.append(time.perf_counter() - start)
        result[f"{dtype}".removeprefix("torch.") + "_flops_per_second"] = 2 * size**3 / min(times)
    return result


def views() -> dict:
    """Four files of made-up features, and a few iterations of the solver on them."""
    from pretrained import solver

    num_images, num_features = 54_000, 2048
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, num_images)
    solver.MAX_ITERATIONS = 3
    with tempfile.TemporaryDirectory() as folder:
        some = rng.normal(size=(1000, num_features)).astype(np.float32)
        kept = solver.KeptFeatures(Path(folder), solver.Scale.of(some), labels)
        for number in range(1, 5):
            for rows in kept.rows():
                kept.keep(number, rows.start, np.resize(some, (rows.stop - rows.start, num_features)))
        start = time.perf_counter()
        solver.solve(kept, 4, 10, 1e-3, along=solver.directions(kept))
        return {"num_views": 4, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()
