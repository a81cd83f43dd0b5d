"""EfficientNet-Lite0 against PyTorch's, by the package `efficientnet-lite-pytorch`: on real photographs, with its real
weights, with Keras on every backend."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_images

from compare.data import download
from compare.system.errors import UserError
from pretrained import feature_network, model, weights
from pretrained.backbones import BACKBONES
from pretrained.efficientnet_lite import EfficientNetLite0, preprocess_input

LITE0 = BACKBONES["EfficientNetLite0"]
SIDES = (96, 128, 224)
FEATURES = """
import sys
from pretrained import backend, weights
from pretrained.backbones import BACKBONES
backend.choose(sys.argv[1], "cpu")
with backend.quiet_start():
    from pretrained import feature_network, model
import numpy as np
lite0 = BACKBONES["EfficientNetLite0"]
network = feature_network.build_backbone(lite0, weights.find("imagenet", lite0), seed=0, image_size=96)
images = np.load(sys.argv[2])
for side in images:
    extractor = feature_network.build_feature_extractor(
        network, lite0, image_shape=images[side].shape[1:], image_size=int(side), preprocessing="imagenet"
    )
    np.save(f"{sys.argv[3]}/{side}.npy", extractor.predict(images[side], verbose=0))
assert not {"torch", "tensorflow"} - {sys.argv[1]} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """A folder for caches, of all tests here."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture
def found(caches, monkeypatch):
    """The weights in Keras' form."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    return weights.find("imagenet", LITE0)


@pytest.fixture(scope="module")
def theirs():
    """PyTorch's network with its weights."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights.packaged(LITE0), weights_only=True))
    return network.eval()


@pytest.fixture(scope="module")
def photographs():
    """A temple in China and a flower, uint8 (2, side, side, 3), by their side."""
    return {
        side: np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in load_sample_images().images])
        for side in SIDES
    }


def as_tensor(images):
    return torch.from_numpy((images.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)  # (n, 3, side, side)


@pytest.mark.parametrize(
    ("backend", "sides"),
    [
        ("tensorflow", SIDES),
        ("torch", SIDES),
        ("jax", SIDES[:1]),  # it compiles each for seconds
        pytest.param("jax", SIDES, marks=pytest.mark.thorough),
    ],
)
def test_features_are_those_of_pytorchs(backend, sides, found, photographs, theirs, tmp_path):
    np.savez(tmp_path / "images.npz", **{str(side): photographs[side] for side in sides})
    command = [sys.executable, "-W", "ignore", "-c", FEATURES, backend, str(tmp_path / "images.npz"), str(tmp_path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for side in sides:
        with torch.no_grad():
            expected = theirs.extract_features(as_tensor(photographs[side])).mean((2, 3)).numpy()  # (2, 1280)
        apart = np.linalg.norm(np.load(tmp_path / f"{side}.npy") - expected, axis=1)
        assert (apart < 1e-3 * np.linalg.norm(expected, axis=1)).all()


def test_the_whole_classifier_knows_photographs(found, photographs, theirs):
    network = EfficientNetLite0(include_top=True, weights=None, pooling="avg", input_shape=(224, 224, 3))
    arrays = feature_network.read_packaged(found.path, feature_network.expected_layers(network))
    for layer in feature_network.layers_with_arrays(network):
        layer.set_weights(arrays[layer.name])
    probabilities = network.predict(preprocess_input(photographs[224].astype(np.float32)), verbose=0)
    with torch.no_grad():
        expected = theirs(as_tensor(photographs[224])).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    temple, flower = (set(row.argsort()[-5:].tolist()) for row in probabilities)
    # ImageNet's classes: 442 bell cote, 449 boathouse, 483 castle, 698 palace; 309 bee, 985 daisy, 308 fly
    assert {442, 698} <= temple and 985 in flower


def test_it_is_as_large_as_published():
    network = feature_network.build_backbone(LITE0, weights.Weights("random"), seed=0, image_size=224)
    assert network.count_params() == 3_413_024
    assert model.flops_per_image(network, 1000, 224) / 2 == pytest.approx(385e6, rel=0.02)  # TensorFlow's: 407 M
    stage, everything = (model.unfrozen_layers(network, part) for part in ("last-stage", "backbone"))
    assert 0 < len(stage) < len(everything)
    assert stage[0].name == "block11_depthwise_conv"  # where 14×14 become 7×7


def test_a_file_of_somebodys_is_read_as_of_other_networks(found, tmp_path, photographs):
    network = feature_network.build_backbone(LITE0, found, seed=0, image_size=96)
    expected = network.predict(preprocess_input(photographs[96].astype(np.float32)), verbose=0)
    for name in ("whole.keras", "own.weights.h5"):
        (network.save_weights if "weights" in name else network.save)(tmp_path / name)
        own = weights.find(str(tmp_path / name), LITE0)
        again = feature_network.build_backbone(LITE0, own, seed=1, image_size=96)
        assert own.kind == "file" and feature_network.expects(LITE0, own) is None
        features = again.predict(preprocess_input(photographs[96].astype(np.float32)), verbose=0)
        np.testing.assert_array_equal(features, expected)


def test_what_the_cache_holds_is_used_only_with_its_own_hash(found):
    content = bytearray(found.path.read_bytes())
    content[-1] ^= 1
    found.path.write_bytes(content)
    again = weights.find("imagenet", LITE0)
    assert again == found and found.path.read_bytes() != content
    assert [path.name for path in found.path.parent.iterdir()] == [found.path.name]


def test_a_package_with_another_file_or_none_is_refused(found, tmp_path, monkeypatch):
    package = tmp_path / "another_package"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    other = dataclasses.replace(LITE0, package="another_package")
    with pytest.raises(UserError, match="is not there"):
        weights.packaged(other)
    content = weights.packaged(LITE0).read_bytes()
    for cut in (content[:-1], content[:-1] + b"?"):
        (package / LITE0.file_name).write_bytes(cut)
        with pytest.raises(UserError, match="holds other bytes"):
            weights.find("imagenet", other)
    (tmp_path / "folder_left").mkdir()  # which Python takes for a package without files
    for name in ("nowhere_at_all", "folder_left"):
        with pytest.raises(UserError, match=f"the package {name.replace('_', '-')} is not installed"):
            weights.packaged(dataclasses.replace(LITE0, package=name))


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "a file" / "cache")
    with pytest.raises(UserError, match="cannot be kept in .*Not a directory"):
        weights.find("imagenet", LITE0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "cache_folder", lambda: Path("~", "cache"))
    with pytest.raises(UserError, match="there is no home folder"):
        weights.find("imagenet", LITE0)
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
