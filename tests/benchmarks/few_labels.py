"""EfficientNet-Lite0 with its ImageNet weights on Fashion-MNIST at 96×96: the product beside its peers. Prints one line
of JSON.

    python tests/benchmarks/few_labels.py fine-tuning ours
    python tests/benchmarks/few_labels.py fine-tuning eager
    python tests/benchmarks/few_labels.py head ours
    python tests/benchmarks/few_labels.py head guide

fine-tuning  images a second in steps of 64, all layers trained, normalisation in inference mode: `ours` as the command
             trains; `eager` with PyTorch in bfloat16, without a compiler, by the package `efficientnet-lite-pytorch`
head         seconds until a head on the frozen network has learned from 10,000 images and predicted the test set:
             `ours` by the command, with nothing in its cache; `guide` as Keras' guide *Transfer learning & fine-tuning*
             does it in its two epochs, with its own random layers, dropout and Adam; without the time that the
             framework takes to load
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compare.data import dataset
from compare.findings import metrics
from compare.runs import record
from compare.system import environment, machine

BATCH_SIZE, NUM_STEPS, NUM_WARM_UP_STEPS, NUM_IMAGES = 64, 40, 4, 10_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fine-tuning", "head"])
    parser.add_argument("way", choices=["ours", "eager", "guide"])
    arguments = parser.parse_args()
    environment.compute_with(environment.Load().num_threads())
    ways = {
        ("fine-tuning", "ours"): fine_tuning,
        ("fine-tuning", "eager"): eager,
        ("head", "ours"): head,
        ("head", "guide"): guide,
    }
    print(json.dumps(ways[arguments.what, arguments.way]() | {"peak_memory_bytes": machine.peak_memory_bytes()}))


def networks_of(name: str):
    """The networks of a recipe, with Keras on TensorFlow."""
    from pretrained import backend, weights
    from pretrained.backbones import BACKBONES
    from pretrained.recipe import RECIPES

    recipe = RECIPES[name]
    backend.choose("tensorflow", "cpu")
    with backend.quiet_start():
        from pretrained import model
    lite0 = BACKBONES[recipe.backbone]
    return recipe, model.build_networks(
        lite0,
        weights.find("imagenet", lite0),
        recipe=recipe,
        image_shape=(28, 28, 1),
        num_classes=10,
        num_steps=600,
        seed=0,
        precision="float32",
    )


def fine_tuning() -> dict:
    """Images a second in an epoch of fine-tuning, augmented."""
    recipe, networks = networks_of("fine-tuned")
    from compare.training.progress import Journal
    from pretrained import loop

    data = dataset.load("fashion-mnist")

    def epoch(num_images: int) -> float:
        images = data.train_images, data.train_labels, np.arange(num_images), np.zeros(3)
        draws = {"feature_extractor": None, "recipe": recipe, "seed": 0, "epoch": 1}
        with Journal().epoch("", num_images) as bar:
            start = time.perf_counter()
            for _ in loop.train_epoch(networks.whole, *images, **draws, bar=bar):
                pass
            return time.perf_counter() - start

    epoch(NUM_WARM_UP_STEPS * BATCH_SIZE)
    num_images = NUM_STEPS * BATCH_SIZE
    return {"images_per_second": num_images / epoch(num_images)}


def eager() -> dict:
    """The same in PyTorch, without the time that augmenting takes."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    from pretrained import weights
    from pretrained.backbones import BACKBONES

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights.packaged(BACKBONES["EfficientNetLite0"]), weights_only=True))
    network._fc = torch.nn.Linear(network._fc.in_features, 10)
    network = network.to(memory_format=torch.channels_last)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    images = torch.rand(BATCH_SIZE, 3, 96, 96).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH_SIZE,))

    def steps(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
            optimizer.step()
        return time.perf_counter() - start

    steps(NUM_WARM_UP_STEPS)
    return {"images_per_second": NUM_STEPS * BATCH_SIZE / steps(NUM_STEPS)}


def head() -> dict:
    """The command's seconds of training and predicting, as its record has them."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--recipe", "frozen", "--labels-per-class", str(NUM_IMAGES // 10), "--out", f"{folder}/run"]
        command = [sys.executable, "-m", "pretrained.train", *words]
        root = str(Path(__file__).resolve().parents[2])
        around = os.environ | {"PYTHONPATH": root, "XDG_CACHE_HOME": f"{folder}/caches"}
        subprocess.run(command, env=around, check=True, stdout=subprocess.DEVNULL)
        run = record.read_run(Path(folder, "run"))
    seconds = run.record.seconds.training + run.record.seconds.predicting
    return {"seconds": seconds, "test_accuracy": metrics.evaluate(run).accuracy}


def guide() -> dict:
    """The guide's way: two epochs of the new head, every image through the frozen network in each."""
    recipe, networks = networks_of("frozen")
    import keras

    data = dataset.load("fashion-mnist")
    rows = dataset.subset(data.train_labels, NUM_IMAGES // 10, seed=0)
    images, labels = (of[rows] for of in (data.train_images, data.train_labels))
    inputs = keras.Input((28, 28, 1))
    outputs = keras.layers.RandomRotation(0.1)(keras.layers.RandomFlip("horizontal")(inputs))
    outputs = keras.layers.Dropout(0.2)(networks.extractor(outputs, training=False))
    network = keras.Model(inputs, keras.layers.Dense(10)(outputs))
    networks.extractor.trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    few = slice(0, 4 * BATCH_SIZE)
    with contextlib.redirect_stdout(sys.stderr):
        before = network.get_weights()
        network.fit(images[few].astype(np.float32), labels[few], batch_size=BATCH_SIZE, verbose=0)  # compiles
        network.set_weights(before)
        start = time.perf_counter()
        network.fit(images.astype(np.float32), labels, batch_size=BATCH_SIZE, epochs=2, verbose=0)
        predicted = network.predict(data.test_images.astype(np.float32), batch_size=256, verbose=0).argmax(axis=1)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "test_accuracy": float((predicted == data.test_labels).mean())}


if __name__ == "__main__":
    main()
