"""A backbone with its weights and its preprocessing: images to features.

Source: `keras.applications`. What a backbone expects, and what its features are, is taken from the objects that Keras
builds.
"""

import importlib
import math
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from compare.runs.schema import Input
from compare.system.errors import UserError
from compare.training import crops
from pretrained.backbones import Backbone
from pretrained.recipe import Recipe
from pretrained.weights import Weights, check_unchanged
from pretrained.weights_file import Expected, Unfit, divides_by_deviation, read_backbone

IMAGENET_VARIANCES = (0.229, 0.224, 0.225)  # so called in Keras' EfficientNet; they are deviations


def build_backbone(
    backbone: Backbone, weights: Weights, *, seed: int, image_size: int, precision: str = "float32"
) -> keras.Model:
    """The network without its top, frozen: images (batch, height, width, 3), as `network_input` makes them, to
    features float32 (batch, num_features): the means of its last maps, and what Keras has after those. It computes in
    `precision`, float32 or bfloat16; its weights are float32.

    Frozen also means that batch normalisation keeps its ImageNet statistics: with `trainable` off Keras runs those
    layers in inference mode wherever the network is called.

    Raises:
        UserError: this backend lacks the network; or the file holds no such network, or was written to meanwhile.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() in backbone.lacking_on:
        raise UserError(
            f"--backbone {backbone.name} with Keras on {keras.backend.backend()}",
            f"a backend on which Keras has this network: it refuses {', '.join(backbone.lacking_on)}",
            "choose another with --keras-backend, or another --backbone",
        )
    keras.config.set_dtype_policy({"bfloat16": "mixed_bfloat16"}.get(precision, precision))
    # Nothing but this: a name of our own or one channel would change what some of these functions build.
    shape = (image_size, image_size, 3) if backbone.has_fixed_size else (None, None, 3)
    home = importlib.import_module(backbone.module) if backbone.package else keras.applications
    build = getattr(home, backbone.name)
    network = build(include_top=False, weights=None, pooling="avg", input_shape=shape)
    try:
        if weights.path is not None:
            network = _with_weights(network, backbone, weights, weights.path)
    except Unfit as problem:
        raise UserError(
            f"{weights.path}: {problem}",
            f"a file in which Keras saved the network {backbone.title}",
            "name such a file with --weights, or the network that it holds with --backbone",
        ) from problem
    finally:
        keras.config.set_dtype_policy("float32")
    pooling = next(layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    for layer in network.layers[network.layers.index(pooling) :]:  # ConvNeXt normalises once more after it
        layer.dtype_policy = "float32"
    network.trainable = False
    return network


def _with_weights(network: keras.Model, backbone: Backbone, weights: Weights, path: Path) -> keras.Model:
    """The network, or for EfficientNet one with a layer more, with the arrays of the file.

    Raises:
        Unfit: it holds no such network.
        UserError: the file was written to meanwhile.
    """
    expected = expected_layers(network)
    if backbone.package and weights.kind == "imagenet":
        arrays = read_packaged(path, expected)
    else:
        arrays = read_backbone(path, expected, backbone.title)
    if backbone.module == "keras.applications.efficientnet":
        # Keras adds this layer for weights="imagenet", not for weights=FILE, and no array tells of it.
        is_part = is_part_of_file(network, weights)
        divides = weights.kind == "imagenet" or divides_by_deviation(path, is_part=is_part)
        if divides is None:
            raise Unfit(
                f"it does not say whether its {backbone.title} divides the input by the roots of ImageNet's "
                'deviations, as Keras builds it for weights="imagenet" alone; a file of the whole network (model.save) '
                "does"
            )
        if divides:
            network = _dividing_by_deviation(network)
    check_unchanged(weights)
    for layer in layers_with_arrays(network):
        layer.set_weights(arrays[layer.name])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with what it derives from its arrays
    return network


def is_part_of_file(network: keras.Model, weights: Weights) -> bool:
    """Whether the file holds more than the network: a top, or a whole network around it."""
    return weights.num_layers is not None and weights.num_layers > len(layers_with_arrays(network))


def read_packaged(path: Path, expected: dict[str, Expected]) -> dict[str, list[np.ndarray]]:
    """The arrays of a network in a file that `pretrained.packaged_weights` wrote, as `read_backbone` gives them."""
    arrays = safetensors.numpy.load_file(path)
    return {name: [arrays[f"{name}.{place}"] for place in range(len(one.roles))] for name, one in expected.items()}


def _dividing_by_deviation(network: keras.Model) -> keras.Model:
    """The EfficientNet as Keras builds it for `weights="imagenet"`."""
    scale = [1 / math.sqrt(variance) for variance in IMAGENET_VARIANCES]

    def call(layer: keras.Layer, *inputs: Any, **settings: Any) -> Any:
        outputs = layer(*inputs, **settings)
        if isinstance(layer, keras.layers.Normalization):
            outputs = keras.layers.Rescaling(scale)(outputs)
        return outputs

    return keras.models.clone_model(network, call_function=call)


def layers_with_arrays(network: keras.Model) -> list[keras.Layer]:
    """The layers that have arrays of their own, in the network's order; those of a network within it, too."""
    found = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            found += layers_with_arrays(layer)
        elif layer.weights:
            found.append(layer)
    return found


def expected_layers(network: keras.Model) -> dict[str, Expected]:
    """What a file with the network's weights has to hold, by the layers' names."""
    expected = {}
    for layer in layers_with_arrays(network):
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
        roles = tuple(variable.name for variable in layer.weights)
        counts = tuple(variable.name for variable in layer.weights if "int" in variable.dtype)
        expected[layer.name] = Expected(kind, roles, tuple(tuple(one.shape) for one in layer.weights), counts)
    return expected


def preprocess(images: Any, backbone: Backbone) -> Any:
    """Images RGB in 0…255, (…, 3), an array or a symbol of Keras, as the backbone's weights expect them."""
    if isinstance(images, np.ndarray):
        images = images.copy()  # Keras edits arrays in place
    return importlib.import_module(backbone.module).preprocess_input(images)


def channels(backbone: Backbone) -> str:
    """The order of the channels, RGB or BGR, in which they enter the backbone."""
    black, red = preprocess(np.array([[0, 0, 0], [255, 0, 0]], np.float32), backbone)
    return "RGB" if red[0] != black[0] else "BGR"


def expects(backbone: Backbone, weights: Weights) -> Input | None:
    """What the weights were trained on, as it enters the network: the order of the channels, and what black and white
    become in each. None for random weights and somebody's own: of those nobody knows."""
    if weights.kind != "imagenet":
        return None
    black, white = preprocess(np.array([[0, 0, 0], [255, 255, 255]], np.float32), backbone).astype(float)
    return Input(channels=channels(backbone), lowest=black.round(4).tolist(), highest=white.round(4).tolist())


def shown(images: np.ndarray, recipe: Recipe) -> Any:
    """What is shown where nothing is drawn, as in the test: as `resized`, of images float32 (batch, height, width,
    channels) in 0…255."""
    return resized(images, image_size=recipe.image_size, centre_crop=recipe.centre_crop)


def resized(images: Any, *, image_size: int, centre_crop: float = 1.0) -> Any:
    """The middle of images (batch, height, width, channels), an array or a symbol of Keras, that is so large a share of
    each side, (batch, size, size, channels). Of others than square ones the longer side becomes the size, and the rest
    is black, in equal parts before and after."""
    if centre_crop < 1:
        images = images[:, *crops.middle(images.shape[1], images.shape[2], centre_crop)]
    height, width = images.shape[1:3]
    if (height, width) != (image_size, image_size):
        images = keras.layers.Resizing(
            image_size,
            image_size,
            interpolation="bilinear",
            pad_to_aspect_ratio=height != width,
            antialias=max(height, width) > image_size,
        )(images)  # (batch, size, size, channels)
    return images


def network_input(
    images: Any, *, image_size: int, preprocessing: str, backbone: Backbone, centre_crop: float = 1.0
) -> Any:
    """Preprocessing: images float32 (batch, height, width, 1 or 3) in 0…255, an array or a symbol of Keras, as they
    enter the backbone, (batch, size, size, 3): brought to that size as `resized` does."""
    images = resized(images, image_size=image_size, centre_crop=centre_crop)
    if images.shape[3] == 1:
        images = keras.layers.Concatenate()([images, images, images])  # (batch, size, size, 3)
    if preprocessing == "unit":
        return keras.layers.Rescaling(1 / 255)(images)
    return preprocess(images, backbone)


def build_feature_extractor(
    network: keras.Model,
    backbone: Backbone,
    *,
    image_shape: tuple[int, int, int],
    image_size: int,
    preprocessing: str,
    centre_crop: float = 1.0,
    trains_normalisation: bool = False,
) -> keras.Model:
    """Preprocessing and backbone as one network: images float32 (batch, height, width, channels) in 0…255 to features
    float32 (batch, num_features). Batch normalisation uses the statistics that it has, but in training where it is
    trained as well."""
    images = keras.Input(image_shape, name="grey_images" if image_shape[2] == 1 else "images")
    x = network_input(
        images, image_size=image_size, preprocessing=preprocessing, backbone=backbone, centre_crop=centre_crop
    )
    features = network(x, training=None if trains_normalisation else False)  # (batch, num_features)
    return keras.Model(images, features, name="features")
