"""What a network of the pretrained branch gives for pictures. Truths: its own logits, made pictures whose answer is
known."""

import types

import keras
import marked
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from compare.training.looking import occlusion
from pretrained import feature_network, model, weights
from pretrained.backbones import BACKBONES
from pretrained.looking import Inside, map_weights
from pretrained.weights import Weights

RECIPE = types.SimpleNamespace(image_size=96, preprocessing="imagenet", centre_crop=1.0)


def opened(name, *, normalize_features=False, num_classes=4, image_shape=(96, 96, 1), recipe=RECIPE):
    """A backbone with random weights and a head of them, and its inside."""
    backbone = BACKBONES[name]
    network = feature_network.build_backbone(backbone, Weights("random"), seed=0, image_size=recipe.image_size)
    head = model.build_head(
        network.output_shape[1], num_classes, normalize_features=normalize_features, learning_rate=1.0
    )
    rng = np.random.default_rng(0)
    for layer in head.layers:
        layer.set_weights([rng.uniform(0.5, 2, array.shape) - 1 * (array.ndim > 1) for array in layer.get_weights()])
    for layer in network.layers:
        if isinstance(layer, keras.layers.LayerNormalization):
            layer.set_weights([rng.uniform(0.5, 2, array.shape) for array in layer.get_weights()])
    return Inside(network, head, backbone=backbone, recipe=recipe, image_shape=image_shape), network, head


@pytest.mark.parametrize(
    ("name", "normalize_features"),
    [
        ("EfficientNetLite0", True),
        pytest.param("EfficientNetV2B0", False, marks=pytest.mark.thorough),  # with poolings before the last one
        pytest.param("ConvNeXtTiny", False, marks=pytest.mark.thorough),  # normalised after it
        pytest.param("ResNet50", True, marks=pytest.mark.thorough),
    ],
)
def test_what_places_add_to_a_logit_is_what_it_has_over_the_mean(name, normalize_features):
    inside, network, head = opened(name, normalize_features=normalize_features)
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 1), np.uint8)
    looked = inside.look(images)
    assert looked.maps.shape == (3, 3, 3)
    whole = feature_network.build_feature_extractor(
        network, BACKBONES[name], image_shape=(96, 96, 1), image_size=96, preprocessing="imagenet"
    )
    features = keras.ops.convert_to_numpy(whole(images.astype(np.float32)))
    np.testing.assert_allclose(looked.features, features, rtol=1e-4, atol=1e-5)
    logits = features.astype(np.float64)
    if normalize_features:
        mean, variance = head.layers[0].get_weights()
        logits = (logits - mean) / np.sqrt(variance + head.layers[0].epsilon)
    kernel, bias = head.layers[-1].get_weights()
    logits = logits @ kernel + bias
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(looked.probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)
    if name == "ConvNeXtTiny":  # another factor for every image: see below
        return
    predicted = logits.argmax(axis=1)
    constant = bias.astype(np.float64)
    if normalize_features:
        constant = constant - (mean / np.sqrt(variance + head.layers[0].epsilon)) @ kernel
    over_mean, constant = logits.max(axis=1) - logits.mean(axis=1), constant - constant.mean()
    np.testing.assert_allclose(looked.maps.mean(axis=(1, 2)) + constant[predicted], over_mean, rtol=1e-3, atol=1e-3)


def test_layer_normalisation_after_the_pooling_is_folded_in():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 3, 3, 8)).astype(np.float32)
    normalisation = keras.layers.LayerNormalization(epsilon=0.0)
    normalisation.build((None, 8))
    gamma, beta = rng.uniform(0.5, 2, 8), rng.normal(size=8)
    normalisation.set_weights([gamma, beta])
    head = model.build_head(8, 3, normalize_features=False, learning_rate=1.0)
    folded = map_weights([normalisation], head)  # (8, 3)
    pooled = maps.mean(axis=(1, 2))
    kernel, bias = head.layers[-1].get_weights()
    logits = keras.ops.convert_to_numpy(normalisation(pooled)) @ kernel + bias
    deviations = pooled.std(axis=1, keepdims=True)
    by_places = (maps @ folded).mean(axis=(1, 2)) / deviations + beta @ kernel + bias
    expected = logits - logits.mean(axis=1, keepdims=True)
    by_places = by_places - by_places.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(by_places, expected, rtol=1e-4, atol=1e-4)


def test_something_else_after_the_pooling_has_no_map():
    head = model.build_head(8, 3, normalize_features=False, learning_rate=1.0)
    assert map_weights([keras.layers.Activation("relu")], head) is None


@pytest.mark.thorough
def test_a_head_on_imagenets_network_looks_at_the_mark():
    backbone = BACKBONES["EfficientNetLite0"]
    network = feature_network.build_backbone(backbone, weights.find("imagenet", backbone), seed=0, image_size=128)
    head = model.build_head(1280, 2, normalize_features=False, learning_rate=1.0)
    images, labels, _ = marked.pictures(48, num_channels=3)
    recipe = types.SimpleNamespace(image_size=128, preprocessing="imagenet", centre_crop=1.0)
    inside = Inside(network, head, backbone=backbone, recipe=recipe, image_shape=images.shape[1:])
    found = LogisticRegression(C=1.0, max_iter=1000).fit(inside.look(images).features, labels)
    head.layers[-1].set_weights(
        [np.stack([-found.coef_[0], found.coef_[0]], axis=1) / 2, np.array([-0.5, 0.5]) * found.intercept_]
    )
    # the weights of maps are those of the head as it is now
    inside = Inside(network, head, backbone=backbone, recipe=recipe, image_shape=images.shape[1:])
    images, labels, corners = marked.pictures(16, num_channels=3, seed=1)
    looked = inside.look(images)
    assert (looked.probabilities.argmax(axis=1) == labels).all() and looked.maps.shape == (16, 4, 4)
    assert marked.share_on_mark(looked.maps, corners) > 0.8  # 4×4 places are coarse, and chance is a quarter
    assert marked.share_on_mark(occlusion(images, looked.probabilities, inside.look), corners) > 0.8
