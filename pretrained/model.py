"""The ResNet50 with its preprocessing, and the head that is trained on its features.

Source: `keras.applications.ResNet50`, after K. He et al., *Deep Residual Learning for Image Recognition*, 2015, and
Keras' guide *Transfer learning & fine-tuning*.
"""

import math

import keras
import numpy as np

from compare.data.dataset import fingerprint
from compare.system.errors import UserError
from pretrained.weights import Weights, check_unchanged
from pretrained.weights_file import Unfit, read_backbone

NUM_FEATURES = 2048


def build_backbone(weights: Weights, *, seed: int, precision: str = "float32") -> keras.Model:
    """The ResNet50 without its top, frozen: images (batch, height, width, 3) to feature maps of a 32nd of their size,
    rounded up, (batch, …, …, 2048). It computes in `precision`, float32 or bfloat16; its weights are float32.

    Frozen also means that batch normalisation keeps its ImageNet statistics: with `trainable` off Keras runs those
    layers in inference mode wherever the network is called.

    Raises:
        UserError: the file holds no such network, or was written to meanwhile.
    """
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy({"bfloat16": "mixed_bfloat16"}.get(precision, precision))
    backbone = keras.applications.ResNet50(include_top=False, weights=None)
    keras.config.set_dtype_policy("float32")
    if weights.path is not None:
        try:
            arrays, _ = read_backbone(weights.path)
        except Unfit as problem:
            raise UserError(
                f"{weights.path}: {problem}",
                "a file in which Keras saved a ResNet50",
                "name such a file with --weights",
            ) from problem
        check_unchanged(weights)
        for name, values in arrays.items():
            backbone.get_layer(name).set_weights(values)
    backbone.trainable = False
    return backbone


def network_input(images, *, image_size: int, preprocessing: str):
    """Preprocessing: grey images float32 (batch, 28, 28, 1) in 0…255, an array or a symbol of Keras, as they enter the
    backbone, (batch, size, size, 3)."""
    if image_size != 28:
        images = keras.layers.Resizing(image_size, image_size, interpolation="bilinear")(
            images
        )  # (batch, size, size, 1)
    x = keras.layers.Concatenate()([images, images, images])  # (batch, size, size, 3)
    if preprocessing == "unit":
        return keras.layers.Rescaling(1 / 255)(x)
    return keras.applications.resnet50.preprocess_input(x)


def build_feature_extractor(backbone: keras.Model, *, image_size: int, preprocessing: str) -> keras.Model:
    """Preprocessing and backbone as one network: grey images float32 (batch, 28, 28, 1) in 0…255 to features float32
    (batch, 2048)."""
    images = keras.Input((28, 28, 1), name="grey_images")
    x = network_input(images, image_size=image_size, preprocessing=preprocessing)  # (batch, size, size, 3)
    maps = backbone(x, training=False)  # (batch, size / 32, size / 32, 2048)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32")(maps)  # (batch, 2048)
    return keras.Model(images, features, name="features")


def build_head(num_classes: int, *, normalize_features: bool, learning_rate: float) -> keras.Model:
    """The linear classifier, ready to train: features (batch, 2048) to probabilities (batch, num_classes).

    The loss is the article's categorical cross-entropy; its sparse form takes the labels as they are.
    """
    layers = [keras.Input((NUM_FEATURES,))]
    if normalize_features:
        # momentum 0.9: a few dozen steps must be enough to learn the statistics
        layers.append(keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9))
    head = keras.Sequential([*layers, keras.layers.Dense(num_classes, activation="softmax")], name="head")
    optimizer = keras.optimizers.SGD(learning_rate)
    head.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    optimizer.build(head.trainable_variables)
    return head


def join(feature_extractor: keras.Model, head: keras.Model) -> keras.Model:
    """The whole network: grey images float32 (batch, 28, 28, 1) in 0…255 to probabilities (batch, num_classes)."""
    return keras.Model(feature_extractor.input, head(feature_extractor.output), name="resnet50_with_head")


def unfrozen_layers(backbone: keras.Model, part: str) -> list[keras.Layer]:
    """The layers that fine-tuning trains.

    Never batch normalisation: its statistics and factors stay ImageNet's. A small batch would replace what a million
    images have taught them, and only `trainable`, not `training=False` at the call, keeps `fit` from it in Keras 3
    (keras-team/keras issue 20285).

    Args:
        backbone: the ResNet50.
        part: a value of `Recipe.unfreeze`: none, last-stage or backbone.
    """
    begin = {"none": None, "last-stage": "conv5", "backbone": ""}[part]
    return [
        layer
        for layer in backbone.layers
        if begin is not None
        and layer.name.startswith(begin)
        and layer.weights
        and not isinstance(layer, keras.layers.BatchNormalization)
    ]


def unfreeze(backbone: keras.Model, part: str) -> None:
    """Let the layers that `unfrozen_layers` names, and no others, be trained."""
    chosen = unfrozen_layers(backbone, part)
    backbone.trainable = True
    for layer in backbone.layers:
        layer.trainable = layer in chosen


def build_whole(feature_extractor: keras.Model, head: keras.Model, *, learning_rate: float) -> keras.Model:
    """Both as one network, as `join` makes it, ready to be fine-tuned."""
    whole = join(feature_extractor, head)
    optimizer = keras.optimizers.Adam(learning_rate)
    whole.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    optimizer.build(whole.trainable_variables)
    return whole


def frozen_fingerprint(backbone: keras.Model, part: str) -> str:
    """The SHA-256 of every array of the backbone that stays as it is when `part` is fine-tuned, statistics of batch
    normalisation included."""
    trained = unfrozen_layers(backbone, part)
    return fingerprint(*(array for layer in backbone.layers if layer not in trained for array in layer.get_weights()))


def in_float32(backbone: keras.Model) -> keras.Model:
    """A copy that computes in float32, as any processor can."""
    copy = build_backbone(Weights("random"), seed=0)
    copy.set_weights(backbone.get_weights())
    return copy


def num_parameters(variables: list[keras.Variable]) -> int:
    """How many numbers these variables hold."""
    return sum(math.prod(variable.shape) for variable in variables)


def flops_per_image(backbone: keras.Model, num_classes: int, image_size: int) -> int:
    """Floating-point operations of one image's forward pass through convolutions and linear layers, two a
    multiply-add, as `torch.utils.flop_counter` counts them."""
    at_size = keras.Model(backbone.inputs, [layer.output for layer in backbone.layers])
    shapes = at_size.compute_output_shape((1, image_size, image_size, 3))
    flops = 2 * NUM_FEATURES * num_classes
    for layer, shape in zip(backbone.layers, shapes, strict=True):
        if isinstance(layer, keras.layers.Conv2D):
            flops += 2 * math.prod(shape[1:3]) * int(np.prod(layer.kernel.shape))
    return flops
