"""What a run trains: the head on a backbone's features, and what of the backbone is fine-tuned with it.

Source: Keras' guide *Transfer learning & fine-tuning*. Where a backbone's last stage begins is taken from the objects
that Keras builds.
"""

import dataclasses
import math
from typing import Any, Literal

import keras
import numpy as np

from compare.data.images import fingerprint
from compare.runs import schema
from compare.runs.schema import Record
from compare.system.errors import UserError
from compare.training.schedule import learning_rate
from pretrained.backbones import Backbone
from pretrained.feature_network import (
    build_backbone,
    build_feature_extractor,
    expects,
    is_part_of_file,
    layers_with_arrays,
)
from pretrained.recipe import Recipe
from pretrained.weights import Weights

TRAINED: dict[str, Literal["all", "head", "last stage", "backbone"]] = {
    "none": "head",
    "last-stage": "last stage",
    "backbone": "backbone",
    "all": "all",
}  # words of a record for `Recipe.unfreeze`
SIDE_TO_LOOK_AT = 256  # pixels: there all stages of a backbone have maps of different sizes
COUNTED = tuple(
    getattr(keras.layers, name) for name in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")
)  # Conv2D is a class above none of the others
NEVER_TRAINED = (keras.layers.BatchNormalization, keras.layers.Normalization)


@dataclasses.dataclass
class Networks:
    """What a run trains.

    Attributes:
        backbone: which network is pretrained.
        network: that network, frozen but for what is fine-tuned.
        extractor: it with its preprocessing: images to features.
        head: features to probabilities.
        whole: all as one, where it is fine-tuned.
        loaded: the SHA-256 of all arrays of the backbone as it was loaded.
    """

    backbone: Backbone
    network: keras.Model
    extractor: keras.Model
    head: keras.Model
    whole: keras.Model | None
    loaded: str


def build_networks(
    backbone: Backbone,
    weights: Weights,
    *,
    recipe: Recipe,
    image_shape: tuple[int, int, int],
    num_classes: int,
    num_steps: int,
    seed: int,
    precision: str,
    class_weights: np.ndarray | None = None,
) -> Networks:
    """All networks of a run of `recipe` on images of that shape (height, width, channels), ready to be trained with
    these weights of the classes, in fine-tuning for `num_steps`; raises as `build_backbone` does."""
    centre_crop = recipe.centre_crop
    if recipe.crop_area < 1:  # then parts enter that were cut out before; and so does the middle in the test
        image_shape, centre_crop = (recipe.image_size, recipe.image_size, image_shape[2]), 1.0
    network = build_backbone(backbone, weights, seed=seed, image_size=recipe.image_size, precision=precision)
    loaded = frozen_fingerprint(network, "none")
    extractor = build_feature_extractor(
        network,
        backbone,
        image_shape=image_shape,
        image_size=recipe.image_size,
        preprocessing=recipe.preprocessing,
        centre_crop=centre_crop,
        trains_normalisation=recipe.unfreeze == "all",
    )
    head = build_head(
        network.output_shape[1],
        num_classes,
        normalize_features=recipe.normalize_features,
        learning_rate=recipe.learning_rate,
        class_weights=class_weights,
    )
    whole = None
    if recipe.unfreeze != "none":
        unfreeze(network, recipe.unfreeze)  # of no consequence before `whole` is trained
        whole = build_whole(extractor, head, recipe=recipe, num_steps=num_steps, class_weights=class_weights)
    return Networks(backbone, network, extractor, head, whole, loaded)


def note_facts(record: Record, networks: Networks, weights: Weights, *, recipe: Recipe, num_classes: int) -> None:
    """Say in the record what the network is, what it began with, and what of it is frozen."""
    backbone, network = networks.backbone, networks.network
    trainable = (networks.whole or networks.head).trainable_variables
    record.model = schema.Model(
        name=backbone.title,
        start="random" if weights.kind == "random" else "pretrained",
        trained=TRAINED[recipe.unfreeze],
        backbone=backbone.name,
        num_parameters=num_parameters(network.weights + networks.head.weights),
        num_trainable_parameters=num_parameters(trainable),
        flops_per_image=flops_per_image(network, num_classes, recipe.image_size),
    )
    record.weights = schema.Weights(
        kind=weights.kind,
        sha256=weights.sha256,
        is_part_of_file=is_part_of_file(network, weights),
        expects=expects(backbone, weights),
    )
    record.frozen = schema.Frozen(
        sha256_loaded=networks.loaded, sha256_before=frozen_fingerprint(network, recipe.unfreeze)
    )


class WeightedCrossentropy:
    """The mean loss of a batch in which an image counts what its class weighs: what PyTorch's `cross_entropy` makes of
    `weight` and `label_smoothing`. The sum is divided by that of the images' weights; what smoothing spreads over the
    classes counts what each of these weighs.

    Args:
        class_weights: float32, (num_classes,).
        label_smoothing: probability that the targets spread evenly over all classes.
    """

    def __init__(self, class_weights: np.ndarray, label_smoothing: float = 0.0):
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def __call__(self, labels: Any, probabilities: Any) -> Any:
        """The losses of images with these labels, (batch,) or (batch, 1), by their probabilities, (batch, num_classes):
        float32 (batch,), whose plain mean is that of the batch."""
        num_classes = probabilities.shape[1]
        targets = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), num_classes)  # (batch, num_classes)
        weights = keras.ops.convert_to_tensor(self.class_weights)
        counts = targets * weights  # (batch, num_classes), the images' weights
        spread = counts * (1 - self.label_smoothing) + weights * (self.label_smoothing / num_classes)
        losses = keras.losses.categorical_crossentropy(spread, probabilities)  # (batch,)
        return losses / keras.ops.mean(keras.ops.sum(counts, axis=1))


def build_head(
    num_features: int,
    num_classes: int,
    *,
    normalize_features: bool,
    learning_rate: float,
    class_weights: np.ndarray | None = None,
) -> keras.Model:
    """The linear classifier, ready to train: features (batch, num_features) to probabilities (batch,
    num_classes).

    The loss is the article's categorical cross-entropy; its sparse form takes the labels as they are. With weights of
    the classes, (num_classes,), it is `WeightedCrossentropy`, and the metric `crossentropy` the loss without these.
    """
    layers = [keras.Input((num_features,))]
    if normalize_features:
        # momentum 0.9: a few dozen steps must be enough to learn the statistics
        layers.append(keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9))
    head = keras.Sequential([*layers, keras.layers.Dense(num_classes, activation="softmax")], name="head")
    optimizer = keras.optimizers.SGD(learning_rate)
    if class_weights is None:
        head.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    else:
        head.compile(optimizer, loss=WeightedCrossentropy(class_weights), metrics=["accuracy", _crossentropy()])
    optimizer.build(head.trainable_variables)
    return head


def join(feature_extractor: keras.Model, head: keras.Model) -> keras.Model:
    """The whole network: images float32 (batch, height, width, channels) in 0…255 to probabilities (batch,
    num_classes)."""
    return keras.Model(feature_extractor.input, head(feature_extractor.output), name="backbone_with_head")


def last_stage(network: keras.Model) -> list[keras.Layer]:
    """The layers of a backbone after the last point at which its maps become smaller, where any follow that can learn:
    ResNet50's `conv5`.

    Raises:
        UserError: the network is built for one size of images, which is too small to tell.
    """
    side = network.input_shape[1] or SIDE_TO_LOOK_AT
    shapes = _output_shapes(network, (1, side, side, 3))
    if math.prod(next(shape for shape in reversed(shapes) if len(shape) == 4)[1:3]) == 1:
        raise UserError(
            f"--unfreeze last-stage with images of {side}×{side}",
            "images of which this network's last maps have more than one pixel",
            "make --image-size larger, or say --unfreeze backbone",
        )
    # of squeeze-and-excitation too there are maps, of one pixel
    sides = [shape[1] if len(shape) == 4 and shape[1] > 1 else None for shape in shapes]
    last = [side for layer, side in zip(network.layers, sides, strict=True) if layer.weights and side is not None][-1]
    begin = sides.index(last)
    of_stage = zip(network.layers[begin:], sides[begin:], strict=True)
    return [layer for layer, side in of_stage if side is None or side == last]


def unfrozen_layers(network: keras.Model, part: str) -> list[keras.Layer]:
    """The layers that fine-tuning trains.

    Batch normalisation with all alone: else its statistics and factors stay ImageNet's. A small batch would replace
    what a million images have taught them, and only `trainable`, not `training=False` at the call, keeps `fit` from it
    in Keras 3 (keras-team/keras issue 20285).

    Args:
        network: the backbone.
        part: a value of `Recipe.unfreeze`: none, last-stage, backbone or all.
    """
    if part == "none":
        return []
    if part == "all":
        return layers_with_arrays(network)
    layers = last_stage(network) if part == "last-stage" else network.layers
    return [layer for layer in layers if layer.weights and not isinstance(layer, NEVER_TRAINED)]


def unfreeze(network: keras.Model, part: str) -> None:
    """Let the layers that `unfrozen_layers` names, and no others, be trained."""
    chosen = unfrozen_layers(network, part)
    network.trainable = True
    for layer in network.layers:
        layer.trainable = part == "all" or layer in chosen


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """The step sizes of a one-cycle schedule over so many steps, up to `highest`."""

    def __init__(self, highest: float, num_steps: int):
        self.highest, self.num_steps = highest, num_steps
        rates = [learning_rate("one-cycle", highest, step / num_steps) for step in range(num_steps + 1)]
        self._rates = np.array(rates, np.float32)  # (num_steps + 1,)

    def __call__(self, step: Any) -> Any:
        """The step size of a step, counted from 0: float32 ()."""
        return keras.ops.take(self._rates, keras.ops.minimum(step, self.num_steps))

    def get_config(self) -> dict[str, Any]:
        """What Keras makes it of again."""
        return {"highest": self.highest, "num_steps": self.num_steps}


def build_whole(
    feature_extractor: keras.Model,
    head: keras.Model,
    *,
    recipe: Recipe,
    num_steps: int,
    class_weights: np.ndarray | None = None,
) -> keras.Model:
    """Both as one network, as `join` makes it, ready to be fine-tuned for so many steps, with these weights of the
    classes, (num_classes,), if any. Its metric `crossentropy` is the loss without label smoothing and weights."""
    whole, rate = join(feature_extractor, head), recipe.unfrozen_learning_rate
    optimizer = keras.optimizers.Adam(OneCycle(rate, num_steps) if recipe.schedule == "one-cycle" else rate)

    def loss(labels: Any, probabilities: Any) -> Any:
        targets = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), probabilities.shape[1])  # (batch, classes)
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=recipe.label_smoothing)

    if class_weights is not None:
        loss = WeightedCrossentropy(class_weights, recipe.label_smoothing)
    whole.compile(optimizer, loss=loss, metrics=["accuracy", _crossentropy()])
    optimizer.build(whole.trainable_variables)
    return whole


def _crossentropy() -> keras.metrics.Metric:
    return keras.metrics.SparseCategoricalCrossentropy(name="crossentropy")


def frozen_fingerprint(network: keras.Model, part: str) -> str:
    """The SHA-256 of every array of the backbone that stays as it is when `part` is fine-tuned, statistics of batch
    normalisation included."""
    trained = unfrozen_layers(network, part)
    return fingerprint(*(array for layer in network.layers if layer not in trained for array in layer.get_weights()))


def compute_in_float32(network: keras.Model) -> None:
    """Let a backbone compute in float32 from here on, as any processor can."""
    for layer in network.layers:
        layer.dtype_policy = "float32"
        if isinstance(layer, keras.Model):
            compute_in_float32(layer)


def num_parameters(variables: list[keras.Variable]) -> int:
    """How many numbers these variables hold."""
    return sum(math.prod(variable.shape) for variable in variables)


def flops_per_image(network: keras.Model, num_classes: int, image_size: int) -> int:
    """Floating-point operations of one image's forward pass through convolutions, depthwise and separable ones
    included, and linear layers, the head's too: two a multiply-add, as `torch.utils.flop_counter` counts them."""
    return _flops(network, (1, image_size, image_size, 3)) + 2 * network.output_shape[1] * num_classes


def _flops(network: keras.Model, shape: tuple[int, ...]) -> int:
    flops = 0
    for layer, leaving in zip(network.layers, _output_shapes(network, shape), strict=True):
        if isinstance(layer, keras.Model):
            flops += _flops(layer, keras.Model(network.inputs, layer.input).compute_output_shape(shape))
        elif isinstance(layer, COUNTED):
            kernels = [variable for variable in layer.weights if len(variable.shape) > 1]
            flops += 2 * math.prod(leaving[1:-1]) * num_parameters(kernels)
    return flops


def _output_shapes(network: keras.Model, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of what each layer gives for an input of this shape."""
    outputs = [layer.output for layer in network.layers]
    return keras.Model(network.inputs, outputs).compute_output_shape(shape)
