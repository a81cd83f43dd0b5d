"""The backbone with its preprocessing, and the head that is trained on its features.

Source: `keras.applications`, and Keras' guide *Transfer learning & fine-tuning*. What the backbone expects, what its
features are, and where its last stage begins are taken from the objects that Keras builds.
"""

import dataclasses
import importlib
import math
import re
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy

from compare.data.images import fingerprint
from compare.runs import schema
from compare.runs.schema import Input, Record
from compare.system.errors import UserError
from compare.training import crops
from compare.training.schedule import learning_rate
from pretrained.backbones import Backbone
from pretrained.weights import Weights, check_unchanged
from pretrained.weights_file import Expected, Unfit, divides_by_deviation, read_backbone

TRAINED = {
    "none": "head",
    "last-stage": "last stage",
    "backbone": "backbone",
    "all": "all",
}  # words of a record for `Recipe.unfreeze`
SIDE_TO_LOOK_AT = 256  # pixels: there all stages of a backbone have maps of different sizes
IMAGENET_VARIANCES = (0.229, 0.224, 0.225)  # so called in Keras' EfficientNet; they are deviations
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
    recipe,
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


def note_facts(record: Record, networks: Networks, weights: Weights, *, recipe, num_classes: int) -> None:
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


def is_part_of_file(network: keras.Model, weights: Weights) -> bool:
    """Whether the file holds more than the network: a top, or a whole network around it."""
    return weights.num_layers is not None and weights.num_layers > len(layers_with_arrays(network))


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
            network = _with_weights(network, backbone, weights)
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


def _with_weights(network: keras.Model, backbone: Backbone, weights: Weights) -> keras.Model:
    """The network, or for EfficientNet one with a layer more, with the arrays of the file.

    Raises:
        Unfit: it holds no such network.
        UserError: the file was written to meanwhile.
    """
    expected = expected_layers(network)
    if backbone.package and weights.kind == "imagenet":
        arrays = read_packaged(weights.path, expected)
    else:
        arrays = read_backbone(weights.path, expected, backbone.title)
    if backbone.module == "keras.applications.efficientnet":
        # Keras adds this layer for weights="imagenet", not for weights=FILE, and no array tells of it.
        is_part = is_part_of_file(network, weights)
        divides = weights.kind == "imagenet" or divides_by_deviation(weights.path, is_part=is_part)
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


def read_packaged(path: Path, expected: dict[str, Expected]) -> dict[str, list[np.ndarray]]:
    """The arrays of a network in a file that `pretrained.packaged_weights` wrote, as `read_backbone` gives them."""
    arrays = safetensors.numpy.load_file(path)
    return {name: [arrays[f"{name}.{place}"] for place in range(len(one.roles))] for name, one in expected.items()}


def _dividing_by_deviation(network: keras.Model) -> keras.Model:
    """The EfficientNet as Keras builds it for `weights="imagenet"`."""
    scale = [1 / math.sqrt(variance) for variance in IMAGENET_VARIANCES]

    def call(layer, *inputs, **settings):
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


def preprocess(images, backbone: Backbone):
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


def shown(images, recipe):
    """What is shown where nothing is drawn, as in the test: as `resized`, of images float32 (batch, height, width,
    channels) in 0…255."""
    return resized(images, image_size=recipe.image_size, centre_crop=recipe.centre_crop)


def resized(images, *, image_size: int, centre_crop: float = 1.0):
    """The middle of images (batch, height, width, channels), an array or a symbol of Keras, that is so large a share of
    each side, (batch, size, size, channels). Of others than square ones the longer side becomes the size, and the rest
    is black, in equal parts before and after."""
    if centre_crop < 1:
        images = images[:, *crops.middle(*images.shape[1:3], centre_crop)]
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


def network_input(images, *, image_size: int, preprocessing: str, backbone: Backbone, centre_crop: float = 1.0):
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

    def __call__(self, labels, probabilities):
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

    def __call__(self, step):
        """The step size of a step, counted from 0: float32 ()."""
        return keras.ops.take(self._rates, keras.ops.minimum(step, self.num_steps))

    def get_config(self) -> dict:
        """What Keras makes it of again."""
        return {"highest": self.highest, "num_steps": self.num_steps}


def build_whole(
    feature_extractor: keras.Model,
    head: keras.Model,
    *,
    recipe,
    num_steps: int,
    class_weights: np.ndarray | None = None,
) -> keras.Model:
    """Both as one network, as `join` makes it, ready to be fine-tuned for so many steps, with these weights of the
    classes, (num_classes,), if any. Its metric `crossentropy` is the loss without label smoothing and weights."""
    whole, rate = join(feature_extractor, head), recipe.unfrozen_learning_rate
    optimizer = keras.optimizers.Adam(OneCycle(rate, num_steps) if recipe.schedule == "one-cycle" else rate)

    def loss(labels, probabilities):
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
