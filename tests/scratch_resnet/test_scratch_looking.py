"""What a network from scratch gives for pictures. Truths: its own logits, and made pictures whose answer is known."""

import dataclasses

import marked
import numpy as np
import pytest
import torch

from compare.training.looking import occlusion
from scratch_resnet import loop
from scratch_resnet.batches import Batches
from scratch_resnet.model import ResNet
from scratch_resnet.recipe import ARTICLE

CPU = torch.device("cpu")


def batches_of(images, labels=None):
    return Batches(images, np.zeros(len(images), np.uint8) if labels is None else labels, device=CPU)


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_places_add_to_a_logit_is_what_it_has_over_the_mean(mirrored):
    torch.manual_seed(0)
    network = ResNet(5, 3, channels=(8, 16, 24, 32)).eval()
    images = np.random.default_rng(0).integers(0, 256, (7, 50, 70, 3), np.uint8)  # of 70×70 with its borders: 3×3
    recipe = dataclasses.replace(ARTICLE, image_size=70, mirrored_predictions=mirrored, precision="bfloat16")
    looked = loop.look(network, batches_of(images), recipe=recipe)
    logits = loop.infer(network, batches_of(images), recipe=dataclasses.replace(recipe, precision="float32"))
    np.testing.assert_allclose(looked.probabilities, loop.probabilities(logits), atol=1e-6)
    assert looked.maps.shape == (7, 3, 3) and looked.features.shape == (7, 32)
    over_mean = (logits.max(dim=1).values - logits.mean(dim=1)).numpy()
    bias = network.fc.bias.detach().numpy()
    bias = bias[logits.argmax(dim=1)] - bias.mean()
    np.testing.assert_allclose(looked.maps.mean(axis=(1, 2)) + bias, over_mean, rtol=1e-4, atol=1e-5)
    by_hand = looked.features @ network.fc.weight.detach().numpy().T + network.fc.bias.detach().numpy()
    np.testing.assert_allclose(by_hand, logits, rtol=1e-4, atol=1e-5)


def test_the_map_of_a_mirrored_picture_is_turned_back():
    torch.manual_seed(0)
    network = ResNet(2, 1, channels=(8, 8, 8, 8)).eval()
    images = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 1), np.uint8)
    recipe = dataclasses.replace(ARTICLE, mirrored_predictions=True)
    ours = loop.look(network, batches_of(images), recipe=recipe)
    theirs = loop.look(network, batches_of(images[:, :, ::-1].copy()), recipe=recipe)
    np.testing.assert_allclose(ours.maps, theirs.maps[:, :, ::-1], rtol=1e-4, atol=1e-5)


def test_a_trained_network_looks_at_the_mark():
    torch.manual_seed(0)
    images, labels, _ = marked.pictures(128)
    network = ResNet(2, 1, channels=(8, 16, 24, 32))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(6):
        for some, truth in batches_of(images, labels).in_order(16, image_size=128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(some), truth).backward()
            optimizer.step()
    images, labels, corners = marked.pictures(32, seed=1)

    def look(images):
        return loop.look(network, batches_of(images), recipe=dataclasses.replace(ARTICLE, image_size=128))

    looked = look(images)
    assert (looked.probabilities.argmax(axis=1) == labels).all()
    assert looked.maps.shape == (32, 4, 4)
    assert marked.share_on_mark(looked.maps, corners) > 0.9
    assert marked.share_on_mark(occlusion(images, looked.probabilities, look), corners) > 0.9
