"""What a whole network of a run gives beside its probabilities: its features, and where it looked."""

import keras
import numpy as np

from compare.runs.features import SMALLEST_MAP
from compare.training.looking import Looked
from pretrained.backbones import Backbone
from pretrained.feature_network import network_input
from pretrained.features import PIXELS_IN_BATCH, PREDICTION_BATCH_SIZE
from pretrained.model import Networks
from pretrained.recipe import Recipe


class Inside:
    """A backbone and a head, opened.

    Args:
        network, head: as `model.Networks` has them.
        backbone, recipe: of the preprocessing.
        image_shape: height, width and channels of the images.
        whole_batches: fill each with zeros: Keras compiles the network anew for every size that it meets.
    """

    def __init__(
        self,
        network: keras.Model,
        head: keras.Model,
        *,
        backbone: Backbone,
        recipe: Recipe,
        image_shape: tuple[int, ...],
        whole_batches: bool = False,
    ):
        images = keras.Input(image_shape)
        x = network_input(
            images,
            image_size=recipe.image_size,
            preprocessing=recipe.preprocessing,
            backbone=backbone,
            centre_crop=recipe.centre_crop,
        )
        pooling = pooling_of(network)
        opened = keras.Model(network.inputs, [network.output, pooling.input])
        features, maps = opened(x, training=False)  # (batch, num_features), (batch, height, width, num_features)
        self._network = keras.Model(images, [head(features), features, maps])
        self._weights = map_weights(network.layers[network.layers.index(pooling) + 1 :], head)
        self._whole_batches = whole_batches
        self._batch_size = max(1, min(PREDICTION_BATCH_SIZE, PIXELS_IN_BATCH // recipe.image_size**2))

    def look(self, images: np.ndarray) -> Looked:
        """Look at images, uint8 (num_images, height, width, channels)."""
        parts = []
        for start in range(0, len(images), self._batch_size):
            some = images[start : start + self._batch_size].astype(np.float32)
            is_filled = self._whole_batches or len(images) > self._batch_size
            missing = self._batch_size - len(some) if is_filled else 0
            given = np.pad(some, [(0, missing)] + 3 * [(0, 0)])
            probabilities, features, maps = (
                np.asarray(array)[: len(some)] for array in self._network.predict_on_batch(given)
            )
            looked = None
            if self._weights is not None:
                weights = self._weights[:, probabilities.argmax(axis=1)].T  # (batch, num_features)
                looked = np.einsum("bhwf,bf->bhw", maps, weights, optimize=True)
            parts.append((probabilities, features, looked))
        probabilities, features, looked = zip(*parts, strict=True)
        of_class = None if self._weights is None else np.concatenate(looked).astype(np.float32)
        return Looked(np.concatenate(probabilities), np.concatenate(features), of_class)


def pooling_of(network: keras.Model) -> keras.Layer:
    """The layer that averages a backbone's last maps."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]


def features_suffice(networks: Networks, recipe: Recipe) -> bool:
    """Whether a finished run need not be looked into anew: it keeps no maps, which would be too small, and the features
    of its images are those that its head was trained on."""
    opened = keras.Model(networks.network.inputs, pooling_of(networks.network).input)
    _, height, width, _ = opened.compute_output_shape((1, recipe.image_size, recipe.image_size, 3))
    is_frozen = networks.whole is None and not recipe.augmented_head
    return is_frozen and networks.network.compute_dtype == "float32" and min(height, width) < SMALLEST_MAP


def map_weights(after_pooling: list[keras.Layer], head: keras.Model) -> np.ndarray | None:
    """What each map adds to each logit over their mean, up to a factor and a constant of the image: float32
    (num_features, num_classes), with what lies between the pooling and the linear layer folded in. None where something
    else than a normalisation does.

    Batch normalisation divides each feature by its own constant. Layer normalisation takes an image's mean over
    features away, divides by a number of the image, and multiplies by its own factors.
    """
    *between, linear = [layer for layer in head.layers if not isinstance(layer, keras.layers.InputLayer)]
    weights = keras.ops.convert_to_numpy(linear.kernel).astype(np.float64)  # (num_features, num_classes)
    for layer in reversed([*after_pooling, *between]):
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.scale:
            deviations = np.sqrt(keras.ops.convert_to_numpy(layer.moving_variance).astype(np.float64) + layer.epsilon)
            weights = weights / deviations[:, np.newaxis]
        elif isinstance(layer, keras.layers.LayerNormalization):
            if layer.scale:
                weights = weights * keras.ops.convert_to_numpy(layer.gamma).astype(np.float64)[:, np.newaxis]
            weights = weights - weights.mean(axis=0)
        else:
            return None
    return (weights - weights.mean(axis=1, keepdims=True)).astype(np.float32)
