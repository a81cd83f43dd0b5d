"""Runs of both branches with networks that nobody trained, for what predicts with them and exports them: seconds."""

import dataclasses
import types
from pathlib import Path

import numpy as np

from compare.data.images import Dataset
from compare.runs import record
from compare.runs.schema import Model, Row
from compare.training import ending


def data_set(image_shape: tuple[int, int, int], num_classes: int = 3) -> Dataset:
    """Thirty images of noise to train on and ten to test, darker and brighter ones."""
    rng = np.random.default_rng(0)
    train, test = (
        (rng.integers(0, 256, (number, *image_shape)) * rng.uniform(0, 1, (number, 1, 1, 1))).astype(np.uint8)
        for number in (30, 10)
    )
    labels = (np.arange(30) % num_classes).astype(np.uint8)
    names = tuple(f"class {number}" for number in range(num_classes))
    return Dataset("made", "Made", names, train, labels, test, labels[:10])


def scratch_run(folder: Path, *, image_shape=(28, 28, 1), **changes) -> Path:
    """A run of the branch from scratch; changes are the recipe's."""
    import safetensors.numpy
    import torch

    from scratch_resnet import loop
    from scratch_resnet.batches import Batches
    from scratch_resnet.recipe import ARTICLE

    recipe = dataclasses.replace(ARTICLE, **{"image_size": 32} | changes)
    data, cpu = data_set(image_shape), torch.device("cpu")
    model = loop.new_model(3, num_channels=image_shape[2], recipe=recipe, seed=0, device=cpu)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as after training, not 0 and 1
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)

    def look(images):
        return loop.look(model, Batches(images, np.zeros(len(images), np.uint8), device=cpu), recipe=recipe)

    folder.mkdir(parents=True)
    state = {name: tensor.contiguous().numpy() for name, tensor in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(state))
    network = Model(name=recipe.network, start="random", trained="all", depth=recipe.depth)
    return _finished(folder, "scratch_resnet", recipe, data, network, look)


def pretrained_run(folder: Path, *, image_shape=(28, 28, 1), **changes) -> Path:
    """A run of the pretrained branch, its backbone with random weights; changes are the recipe's."""
    from pretrained import feature_network, model
    from pretrained.backbones import BACKBONES
    from pretrained.looking import Inside
    from pretrained.recipe import FROZEN
    from pretrained.weights import Weights

    recipe = dataclasses.replace(FROZEN, **{"weights": "random", "image_size": 32} | changes)
    data, backbone = data_set(image_shape), BACKBONES[recipe.backbone]
    network = feature_network.build_backbone(backbone, Weights("random"), seed=0, image_size=recipe.image_size)
    extractor = feature_network.build_feature_extractor(
        network, backbone, image_shape=image_shape, image_size=recipe.image_size, preprocessing=recipe.preprocessing
    )
    head = model.build_head(network.output_shape[1], 3, normalize_features=recipe.normalize_features, learning_rate=1.0)
    rng = np.random.default_rng(1)
    for layer in head.layers:
        if layer.name.startswith("batch_normalization"):  # statistics as after training, not 0 and 1
            layer.set_weights([rng.uniform(0.5, 2, weights.shape) for weights in layer.get_weights()])
    folder.mkdir(parents=True)
    model.join(extractor, head).save(folder / "model.keras")
    inside = Inside(network, head, backbone=backbone, recipe=recipe, image_shape=image_shape)
    about = Model(name=backbone.title, start="random", trained="head", backbone=backbone.name)
    return _finished(folder, "pretrained", recipe, data, about, inside.look)


def _finished(folder: Path, branch: str, recipe, data: Dataset, network: Model, look) -> Path:
    rows = np.arange(30)
    run = record.start_record(
        branch=branch,
        command=[],
        recipe=recipe,
        num_epochs=1,
        overrides={},
        seed=0,
        dataset=data,
        split=(rows, rows[:0]),
    )
    run.model, run.history, run.precision = network, [Row(epoch=1)], "float32"
    run.versions = {"keras backend": "torch"}  # on which the tests' own process has Keras
    images = {"train": data.train_images, "test": data.test_images}
    ending.keep_inside(
        types.SimpleNamespace(folder=folder, data=data, train_rows=rows),
        lambda split, rows: look(images[split][rows]),
    )
    probabilities = look(data.test_images).probabilities
    record.finish_run(folder, run, {"test_probabilities": probabilities, "test_labels": data.test_labels})
    return folder
