"""The pretrained branch as a command: its weights, backend and refusals, and runs that are interrupted and resumed.

Here Keras runs on PyTorch.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from small_recipes import PRETRAINED as SMALL

from compare.data import corruptions, dataset, download
from compare.runs import features, schema
from compare.runs.record import read_run
from compare.runs.schema import Frozen, Input
from compare.system.errors import UserError
from compare.training import looking as where_looked
from pretrained import backend, feature_network, looking, loop, model, predict, train, weights, weights_file
from pretrained.backbones import BACKBONES
from pretrained.recipe import FROZEN, TUNED
from pretrained.weights import Weights

HERE = Path(__file__).parent
RESNET50 = BACKBONES["ResNet50"]
legacy_h5 = importlib.import_module("keras.src.legacy.saving.legacy_h5_format")


@pytest.fixture(scope="module")
def digits():
    return dataset.load("digits")


@pytest.fixture(scope="module")
def expected():
    """What a file with a ResNet50 has to hold."""
    return feature_network.expected_layers(keras.applications.ResNet50(include_top=False, weights=None, pooling="avg"))


def build(found, name="ResNet50", **more):
    return feature_network.build_backbone(BACKBONES[name], found, seed=0, image_size=32, **more)


# ---- weights


@pytest.fixture(scope="module")
def imagenet_like(tmp_path_factory):
    """Weights of a ResNet50 that differ from those of seed 0, batch statistics included, as Keras' old h5."""
    network = keras.applications.ResNet50(include_top=False, weights=None)
    randomize(network)
    path = tmp_path_factory.mktemp("weights") / RESNET50.file_name
    with h5py.File(path, "w") as file:
        legacy_h5.save_weights_to_hdf5_group(file, network)
    return path


def saved_network(kind: str) -> keras.Model:
    """A ResNet50 as people keep it: alone, with its own top, or flat, nested or in a row with a head, itself nested."""
    if kind == "backbone":
        return keras.applications.ResNet50(include_top=False, weights=None)
    if kind == "top":
        return keras.applications.ResNet50(weights=None)
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    pool, normalize, head = (
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(10),
    )
    if kind == "row":
        return keras.Sequential([backbone, pool, normalize, head])
    images = backbone.input if kind == "flat" else keras.Input((64, 64, 3))
    maps = backbone.output if kind == "flat" else backbone(images)
    whole = keras.Model(images, head(normalize(pool(maps))))
    return keras.Sequential([whole, keras.layers.Softmax()]) if kind == "in another" else whole


def randomize(network: keras.Model) -> None:
    """Let every array, batch statistics included, differ from those of a new network."""
    rng = np.random.default_rng(5)
    network.set_weights([rng.normal(1, 0.1, array.shape).astype(array.dtype) for array in network.get_weights()])


def without_names(path: Path) -> None:
    """As Keras wrote such files before it wrote the layers' names beside their numbers."""
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, one: one.attrs.pop("name", None) and None)


@pytest.mark.parametrize("form", ["backbone", "flat", "nested", "row", "in another", "top"])
def test_the_backbone_is_taken_from_every_form_that_keras_saves(tmp_path, expected, form):
    """Whole networks with optimizers, as HDF5 (under another ending), as archives and as numbered weights."""
    network = saved_network(form)
    randomize(network)
    backbone = network
    while form in ("nested", "row", "in another") and any(isinstance(one, keras.Model) for one in backbone.layers):
        backbone = next(one for one in backbone.layers if isinstance(one, keras.Model))
    arrays_of = {
        layer.name: layer.get_weights() for layer in backbone.layers if layer.name[:4] == "conv" and layer.weights
    }
    network.compile("adam", "mse")
    network.save(tmp_path / "old.h5")
    network.save(tmp_path / "whole.keras")
    network.save_weights(tmp_path / "numbers.weights.h5")
    without_names(shutil.copy(tmp_path / "numbers.weights.h5", tmp_path / "nameless.h5"))
    (tmp_path / "old.h5").rename(tmp_path / "old.keras")
    (tmp_path / "whole.keras").rename(tmp_path / "whole.H5")
    found = weights.find(str(tmp_path / "whole.H5"), RESNET50)
    sha256 = hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert found == Weights("file", tmp_path / "whole.H5", sha256, found.num_layers)
    built = build(found)
    assert model.is_part_of_file(built, found) == (form != "backbone")
    read = {layer.name: layer.get_weights() for layer in built.layers if layer.weights}
    for path in sorted(tmp_path.iterdir()):
        for arrays in (read, weights_file.read_backbone(path, expected, "ResNet50")):
            assert arrays.keys() == arrays_of.keys()
            for name, values in arrays_of.items():
                assert all(map(np.array_equal, arrays[name], values)) and len(arrays[name]) == len(values), path.name
        path.unlink()  # half a gigabyte in all


@pytest.mark.parametrize("new_name", ["{layer}_{letter}_1:0", "{layer}_1/{role}:0"])
def test_older_names_of_arrays_are_read_as_keras_reads_them(imagenet_like, tmp_path, expected, new_name):
    path = shutil.copy(imagenet_like, tmp_path / "old.h5")
    network = keras.applications.ResNet50(include_top=False, weights=None)
    with h5py.File(path, "a") as file:
        for layer, group in file.items():
            old = list(group.attrs["weight_names"])
            letters = reversed("abcd"[: len(old)])  # the order is the list's, not the alphabet's
            new = [
                new_name.format(layer=layer, letter=letter, role=name.split("/")[-1])
                for letter, name in zip(letters, old, strict=True)
            ]
            for names in zip(old, new, strict=True):
                group.move(*names)
            group.attrs["weight_names"] = new
        legacy_h5.load_weights_from_hdf5_group(file, network)
    arrays = weights_file.read_backbone(path, expected, "ResNet50")
    assert len(arrays) == sum(len(layer.weights) > 0 for layer in network.layers)
    for name, values in arrays.items():
        assert all(map(np.array_equal, values, network.get_layer(name).get_weights())), name


def write_network(path: Path, layers: dict[str, list[tuple[int, ...]]]) -> Path:
    """Layers of these shapes as Keras' old HDF5 has them, full of zeros that take no room."""
    with h5py.File(path, "w") as file:
        for name, shapes in layers.items():
            roles = ("gamma", "beta", "moving_mean", "moving_variance") if len(shapes) == 4 else ("kernel", "bias")
            for role, shape in zip(roles, shapes, strict=False):
                file.create_dataset(f"{name}/{name}/{role}:0", shape, np.float32)
    return path


OTHERS = [
    "EfficientNetLite0",
    "ResNet50V2",
    "ResNet101",
    "ResNet152V2",
    "MobileNet",
    "MobileNetV2",
    "VGG16",
    "DenseNet121",
]
ALL_OTHERS = [name for name in BACKBONES if name not in ("ResNet50", "InceptionV3", "NASNetMobile")]


def shapes_of(name: str) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of a network's layers, as they are named by Keras."""
    network = build(Weights("random"), name)
    return {layer.name: [array.shape for array in layer.weights] for layer in network.layers if layer.weights}


def not_quite(good):
    """Layers that are not those of a ResNet50, and what is said of them."""
    yield {"dense": [(3, 2), (2,)]}, "it holds another network, with the layers dense"
    yield {"dense\x1b[31m\u2028": [(3, 2), (2,)]}, r"another network, with the layers dense\x1b[31m"
    yield {}, "it holds no weights"
    without = {name: shapes for name, shapes in good.items() if name not in ("conv5_block3_3_bn", "conv1_bn")}
    yield without, "it holds a ResNet50 without 2 of its layers (conv1_bn, conv5_block3_3_bn)"
    grey = good | {"conv1_conv": [(7, 7, 1, 64), (64,)]}
    yield grey, "its layer conv1_conv has the shapes (7, 7, 1, 64), (64,), and ResNet50's has (7, 7, 3, 64), (64,)"
    yield good | {"conv1_conv": [(7, 7, 3, 64)]}, "its layer conv1_conv has kernel, and ResNet50's has kernel, bias"
    twice = {f"{place}/{name}": shapes for place in "ab" for name, shapes in good.items()}
    yield twice, "it holds 2 layers conv1_conv: several networks"
    yield (
        good | {"conv5_block4_1_conv": good["conv5_block3_1_conv"]},
        "it holds a ResNet50 with more layers than it has",
    )
    old = {"conv1": good["conv1_conv"], "res2a_branch2a": good["conv2_block1_1_conv"]}
    yield old, "a ResNet50 under the names that Keras gave its layers before 2.2.4"


@pytest.mark.parametrize(
    "names", [OTHERS, pytest.param([name for name in ALL_OTHERS if name not in OTHERS], marks=pytest.mark.thorough)]
)
def test_another_network_is_called_by_its_name(tmp_path, expected, names):
    for name in names:
        with pytest.raises(weights_file.Unfit) as problem:
            weights_file.read_backbone(write_network(tmp_path / "other.h5", shapes_of(name)), expected, "ResNet50")
        title = BACKBONES[name].title
        is_of_family = title[:4] in ("Effi", "Conv", "NASN") and title != "EfficientNet-Lite0"
        family = title.partition("-")[0] if is_of_family else title
        assert str(problem.value) == f"it holds another network, {family}"


def test_a_file_that_is_not_quite_the_network_is_refused_in_words(environment, run_main, tmp_path, expected):
    good = {name: list(one.shapes) for name, one in expected.items()}
    for layers, words in not_quite(good):
        with pytest.raises(weights_file.Unfit) as problem:
            weights_file.read_backbone(write_network(tmp_path / "other.h5", layers), expected, "ResNet50")
        assert words in str(problem.value)
    for kind, said in (("int8", "its layer conv1_bn holds whole numbers"), ("V2", "holds bfloat16")):
        with h5py.File(write_network(tmp_path / "kind.h5", good), "a") as file:
            del file["conv1_bn/conv1_bn/beta:0"]
            file.create_dataset("conv1_bn/conv1_bn/beta:0", (64,), kind)
        with pytest.raises(weights_file.Unfit, match=said):
            weights_file.read_backbone(tmp_path / "kind.h5", expected, "ResNet50")
    code, _, err = run_main(train, "--demo", "--keras-backend", "torch", "--weights", tmp_path / "other.h5")
    assert code == 2 and words in err and err.count("\n") == 3  # and nothing else, of Keras or HDF5


@pytest.mark.parametrize(("ours", "deeper"), [("EfficientNetB0", "EfficientNetB1"), ("VGG16", "VGG19")])
def test_the_layers_of_a_deeper_network_are_not_taken_for_those_of_another(tmp_path, ours, deeper):
    """All layers of the one are in the other, under their names and with their shapes."""
    getattr(keras.applications, deeper)(include_top=False, weights=None).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="it holds another (network, VGG19|EfficientNet: EfficientNet-B0 with more)"):
        build(weights.find(str(tmp_path / "other.weights.h5"), BACKBONES[ours]), ours)


@pytest.mark.parametrize("ending", [".h5", ".keras", ".weights.h5", "-weights.h5"])
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "Xception", "MobileNetV3Small"])
def test_other_networks_are_read_from_every_form(tmp_path, name, ending):
    """Among them layers in a row of its own within the network, and such as Keras numbers anew in every process."""
    network = getattr(keras.applications, name)(include_top=False, weights=None, pooling="avg")
    randomize(network)
    path = tmp_path / f"own{ending}"
    if ending == "-weights.h5":  # as the files are that Keras offers
        with h5py.File(path, "w") as file:
            legacy_h5.save_weights_to_hdf5_group(file, network)
    else:
        (network.save_weights if ending == ".weights.h5" else network.save)(path)
    found = weights.find(str(path), BACKBONES[name])
    built = build(found, name)
    assert found.kind == "file" and not model.is_part_of_file(built, found)
    assert feature_network.expects(BACKBONES[name], found) is None
    images = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(built.predict(images, verbose=0), network.predict(images, verbose=0), rtol=1e-4)


@pytest.fixture
def as_published(monkeypatch, tmp_path):
    """An EfficientNet with `weights="imagenet"`, as Keras itself builds it on a file that stands for the real one."""
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg")
    (normalization,) = (one for one in network.layers if isinstance(one, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    normalization.finalize_state()
    path = tmp_path / "published.h5"
    with h5py.File(path, "w") as file:
        legacy_h5.save_weights_to_hdf5_group(file, network)
    module = importlib.import_module("keras.src.applications.efficientnet")
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: path)
    return keras.applications.EfficientNetB0(include_top=False, weights="imagenet", pooling="avg"), network, path


def test_efficientnet_divides_its_input_where_keras_does(as_published, tmp_path):
    """Keras adds a layer for weights="imagenet" that it does not add for the same file by its name, silently."""
    theirs, without, path = as_published
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected, other = theirs.predict(images, verbose=0), without.predict(images, verbose=0)
    assert not np.allclose(expected, other, rtol=0.01)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    built = build(Weights("imagenet", path, sha256), "EfficientNetB0")
    np.testing.assert_allclose(built.predict(images, verbose=0), expected, rtol=1e-5)
    for network, their_features in ((theirs, expected), (without, other)):
        whole = keras.Sequential([network, keras.layers.Rescaling(1 / 255), keras.layers.Dense(3)])
        network.save(tmp_path / "own.h5")
        network.save_weights(tmp_path / "own.weights.h5")
        whole.save(tmp_path / "whole.keras")
        for name in ("own.h5", "own.weights.h5", "whole.keras"):
            built = build(weights.find(str(tmp_path / name), BACKBONES["EfficientNetB0"]), "EfficientNetB0")
            np.testing.assert_allclose(built.predict(images, verbose=0), their_features, rtol=1e-5, err_msg=name)
    with h5py.File(tmp_path / "own.weights.h5", "a") as file:
        del file["layers/rescaling"]
    with pytest.raises(UserError, match="does not say whether its EfficientNet-B0 divides the input"):
        build(weights.find(str(tmp_path / "own.weights.h5"), BACKBONES["EfficientNetB0"]), "EfficientNetB0")


@pytest.fixture
def as_imagenet(imagenet_like):
    """Let the file be ImageNet's."""
    content = imagenet_like.read_bytes()
    return dataclasses.replace(RESNET50, digest=hashlib.md5(content).hexdigest()), content


def test_imagenet_weights_come_from_kerass_cache_else_the_mirrors(as_imagenet, server, tmp_path):
    backbone, content = as_imagenet
    backbone = dataclasses.replace(backbone, mirrors=(f"{server.url}/a/", f"{server.url}/b/"))
    server.answers[f"/a/{backbone.file_name}"] = (200, content[:-1])
    server.answers[f"/b/{backbone.file_name}"] = (200, content)
    cached = Path(os.environ["KERAS_HOME"], "models", backbone.name_in_cache)
    cached.parent.mkdir()
    cached.write_bytes(b"half a file of the user's")

    found = weights.find("imagenet", backbone)
    assert found.kind == "imagenet" and found.path.read_bytes() == content
    assert found.path.parent == download.cache_folder()
    assert cached.read_bytes() == b"half a file of the user's"
    assert len(server.asked) == 2

    cached.write_bytes(content)
    assert weights.find("imagenet", backbone).path == cached
    named = tmp_path / "mine.h5"
    named.write_bytes(content)
    assert weights.find(str(named), backbone).kind == "imagenet"
    assert len(server.asked) == 2


def test_without_a_published_digest_a_download_has_to_be_a_file_of_keras(server, tmp_path):
    backbone = dataclasses.replace(BACKBONES["MobileNet"], mirrors=(f"{server.url}/a/", f"{server.url}/b/"))
    assert backbone.digest is None
    network = keras.applications.MobileNet(include_top=False, weights=None)
    network.save_weights(tmp_path / "own.weights.h5")
    content = (tmp_path / "own.weights.h5").read_bytes()
    server.answers[f"/a/{backbone.file_name}"] = (200, b"<html>sign in</html>")
    server.answers[f"/b/{backbone.file_name}"] = (200, content)
    found = weights.find("imagenet", backbone)
    assert found.path.read_bytes() == content and len(server.asked) == 2
    assert "Keras publishes no digest" in train.weights_words(dataclasses.replace(SMALL, backbone="MobileNet"), found)
    expected = network.get_layer("conv_pw_13").get_weights()[0]
    assert np.array_equal(build(found, "MobileNet").get_layer("conv_pw_13").get_weights()[0], expected)


ASKED_FOR = """
import importlib, json, sys
from pretrained import backend
backend.choose(sys.argv[1], "cpu")
import keras
asked = {}

def get_file(name, url, cache_subdir, file_hash=None):
    asked["file"] = name, url, file_hash
    raise InterruptedError

for name in sys.argv[2:]:
    build = getattr(keras.applications, name)
    importlib.import_module(build.__module__).file_utils.get_file = get_file
    try:
        build(include_top=False, weights="imagenet")
    except InterruptedError:
        print(json.dumps([name, build.__module__.rpartition(".")[2], *asked["file"]]))
"""


@pytest.mark.parametrize(
    ("on", "names"),
    [
        ("torch", ["ResNet50", "MobileNet", "VGG19", "MobileNetV3Small"]),
        pytest.param("jax", [name for name, one in BACKBONES.items() if not one.package], marks=pytest.mark.thorough),
    ],
)
def test_the_files_and_their_hashes_are_those_that_keras_asks_for(on, names):
    """Some on PyTorch, which compiles nothing; all on JAX, where Keras builds them all."""
    command = [sys.executable, "-W", "ignore", "-c", ASKED_FOR, on, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1])
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in said] == names, done.stderr[-2000:]
    for name, module, file_name, url, digest in said:
        ours = BACKBONES[name]
        assert (ours.module, ours.name_in_cache, ours.mirrors[0] + ours.file_name) == (
            f"keras.applications.{module}",
            file_name,
            url,
        )
        assert ours.digest == digest


def test_every_classifier_of_keras_is_there():
    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert functions == {name for name, one in BACKBONES.items() if not one.package}
    published = importlib.import_module("keras.src.applications.resnet").WEIGHTS_HASHES["resnet50"]
    assert (RESNET50.digest_with_top, RESNET50.digest) == published


# ---- the command


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--weights", "nothere.h5"], "--weights nothere.h5: there is no such file"),
        (["--weights", __file__], "neither HDF5 nor an archive of Keras', by its first bytes"),
        (["--weights", "https://a.example/b.h5"], "--weights https://a.example/b.h5: an address, not a file"),
        (["--weights", str(Path(__file__).parent)], "a folder: name the file in it"),
        (["--weights", os.devnull], "not a file, but a pipe or a device"),
        (["--keras-backend", "pytorch"], "'pytorch'"),
        (["--epochs", "0"], "--epochs 0"),
        (["--image-size", "4"], "--image-size 4"),
        (["--recipe", "nosuch"], "--recipe nosuch"),
        (["--out", __file__], "is a file"),
        (["--keras-backend", "torch", "--device", "cuda"], "torch sees no such GPU"),
        (["--keras-backend", "torch", "--device", "mps"], "torch sees no such GPU"),
        (["--keras-backend", "jax", "--device", "mps"], "--device mps with Keras on jax"),
        (["--keras-backend", "jax", "--device", "xpu"], "--device xpu with Keras on jax"),
        (["--device", "metal"], "--device metal"),
        (["--unfreeze", "everything"], "'everything'"),
        (["--backbone", "ResNet-50"], "'ResNet-50'"),
        (["--backbone", "Xception"], "--backbone Xception with images of 64×64"),
        (["--backbone", "VGG16", "--image-size", "28"], "--backbone VGG16 with images of 28×28"),
        (["--recipe", "article", "--backbone", "VGG16"], "--backbone VGG16 with recipe article, which divides"),
        (["--backbone", "NASNetMobile", "--keras-backend", "torch", "--weights", "random"], "with Keras on torch"),
        (["--recipe", "tuned", "--learning-rate", "0.1"], "--learning-rate with recipe tuned"),
        (["--recipe", "tuned", "--batch-size", "64"], "--batch-size with recipe tuned"),
        (["--recipe", "frozen", "--epochs", "2"], "--epochs 2 with recipe frozen"),
        (["--recipe", "frozen", "--subset-seed", "2"], "--subset-seed 2, and all labels are taken"),
        (["--recipe", "frozen", "--labels-per-class", "0"], "--labels-per-class 0"),
    ],
)
def test_wrong_use_is_refused_in_three_parts(environment, run_main, tmp_path, words, says):
    environment.chdir(tmp_path)
    demo = [] if "--recipe" in words else ["--demo"]
    code, out, err = run_main(train, *demo, *words)
    assert code == 2 and out == "" and list(tmp_path.iterdir()) == []
    assert says in err and err.startswith("error: ") and "\n  expected: " in err and "\n  what to do: " in err


@pytest.fixture
def few_digits(monkeypatch, digits, at_a_glance):
    """The commands' data set is a part of the digits."""
    few = dataclasses.replace(
        digits,
        train_images=digits.train_images[:100],
        train_labels=digits.train_labels[:100],
        test_images=digits.test_images[:40],
        test_labels=digits.test_labels[:40],
    )
    monkeypatch.setattr(dataset, "load", lambda *_, **__: few)
    return few


def as_input(images):
    """Images as the saved network takes them, float32 (num_images, 28, 28, 1)."""
    return images.astype(np.float32)


def test_the_room_that_a_run_needs_is_that_of_its_data_and_its_network(run_main, few_digits, tmp_path, monkeypatch):
    # by hand: ResNet50's 23,587,712 parameters and a head of (2,048 + 1) · 10, on 54,000 images twice
    resnet = {"num_features": 2048, "num_parameters": 23_608_202, "num_trainable": 20_490}
    assert train.num_bytes(TUNED, num_images=54_000, **resnet) == 188_865_616 + 737_640 + 884_736_000
    assert train.num_bytes(SMALL, num_images=54_000, **resnet) == 188_865_616 + 737_640
    # DenseNet-121 has 7,037,504 and 1,024 features; the head's batch normalisation has 2 of its own for each
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**6))
    words = ("--demo", "--weights", "random", "--backbone", "DenseNet121", "--keras-backend", "torch")
    code, _, err = run_main(train, *words, "--out", tmp_path / "run")
    num_bytes = 8 * (7_037_504 + 2 * 1024 + 10_250) + 36 * 10_250
    assert code == 2 and "1 MB free" in err and f"at least {num_bytes / 1e6:.0f} MB" in err
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_is_resumed_to_the_same_end(environment, run_main, few_digits, tmp_path):
    environment.setitem(train.RECIPES, "demo", dataclasses.replace(SMALL, num_epochs=2, validation_fraction=0.3))
    environment.setattr(corruptions, "STRENGTHS", {"blur": (1, 2)})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["--weights", "random", "--keras-backend", "torch", "--robustness"]
    assert run_main(train, "--demo", *words, "--out", whole)[0] == 0

    evaluate, calls = loop.evaluate, []

    def evaluate_once(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*given)

    environment.setattr(loop, "evaluate", evaluate_once)
    code, out, _ = run_main(train, "--demo", *words, "--out", cut)
    assert code == 130 and f"--resume {cut}" in out and not (cut / "record.json").exists()
    environment.setattr(loop, "evaluate", evaluate)
    code, _, err = run_main(train, "--resume", cut, "--keras-backend", "jax")
    assert code == 2 and f"--keras-backend jax, and the run in {cut} was begun on torch" in err
    assert run_main(train, "--resume", cut)[0] == 0  # on the backend and the weights that it began with

    assert (cut / "predictions.npz").read_bytes() == (whole / "predictions.npz").read_bytes()
    records = [json.loads((folder / "record.json").read_text()) for folder in (whole, cut)]
    figures = [[{k: v for k, v in row.items() if "second" not in k} for row in r["history"]] for r in records]
    assert figures[0] == figures[1] and len(figures[0]) == 2
    assert records[0]["overrides"] == {"weights": "random"}
    assert records[0]["frozen"]["sha256_before"] == records[1]["frozen"]["sha256_after"]
    assert records[0]["frozen"]["sha256_loaded"] == records[1]["frozen"]["sha256_loaded"]
    own = weights.find(str(cut), RESNET50)  # a run's folder stands for its network
    again = build(own)
    assert (own.kind, own.path, model.is_part_of_file(again, own)) == ("file", cut / "model.keras", True)
    again = model.frozen_fingerprint(again, "none")
    assert again == records[0]["frozen"]["sha256_loaded"]
    loaded = keras.saving.load_model(cut / "model.keras")
    assert loaded.count_params() == records[0]["model"]["num_parameters"]

    run = read_run(cut)
    assert run.robustness_predicted.shape == (1, 2, 40)
    for amount, predicted in zip((1, 2), run.robustness_predicted[0], strict=True):
        images = corruptions.corrupt(few_digits.test_images, "blur", amount)
        assert (loaded.predict(as_input(images), verbose=0).argmax(axis=1) == predicted).mean() > 0.97
    # black less ImageNet's mean, and white: blue, green, red
    expected = Input(channels="BGR", lowest=[-103.939, -116.779, -123.68], highest=[151.061, 138.221, 131.32])
    assert run.record.seen == expected
    enlarged = keras.ops.image.resize(as_input(few_digits.test_images[:5]), (32, 32))
    assert np.abs(run.seen_test - keras.ops.convert_to_numpy(enlarged)[..., 0]).max() <= 0.5 + 1e-3
    assert run.seen_training.shape == (5, 32, 32) and run.seen_training.any(axis=(1, 2)).all()


@pytest.mark.parametrize("smallest_map", [4, 1])
def test_what_a_frozen_run_keeps_is_what_its_network_gives(environment, run_main, few_digits, tmp_path, smallest_map):
    """The maps have one place. Where these are too small, the features are those that its head was trained on; else its
    network is opened."""
    for module in (features, where_looked, looking):
        environment.setattr(module, "SMALLEST_MAP", smallest_map)
    changes = {"data": "digits", "backbone": "MobileNet", "image_size": 32, "weights": "random"}
    environment.setitem(train.RECIPES, "frozen", dataclasses.replace(FROZEN, **changes))
    words = ["--recipe", "frozen", "--keras-backend", "torch", "--labels-per-class", "3", "--out", tmp_path / "run"]
    assert run_main(train, *words)[0] == 0
    run = read_run(tmp_path / "run")
    kept, look = features.read(run), predict.look_with(run)
    looked = look(few_digits.test_images)
    np.testing.assert_allclose(looked.probabilities, run.test_probabilities, atol=1e-5)
    np.testing.assert_allclose(kept.test_distances, kept.training.distances(looked.features), rtol=1e-2)
    assert (kept.test_maps is None) == (smallest_map == 4)
    nearest = kept.training.distances(look(few_digits.train_images).features)
    assert (nearest < 0.05 * kept.test_distances.mean()).sum() >= 30  # those it was trained on are among them


def test_a_run_on_a_file_is_resumed_with_that_file_again(environment, run_main, few_digits, tmp_path):
    own, other = tmp_path / "own.keras", tmp_path / "other.weights.h5"
    saved_network("flat").save(own)
    saved_network("backbone").save_weights(other)
    environment.setitem(train.RECIPES, "demo", dataclasses.replace(SMALL, num_epochs=2, image_size=28))
    end_epoch, out = loop.Job.end_epoch, tmp_path / "run"

    def end_epoch_and_stop(job, **given):
        end_epoch(job, **given)
        raise KeyboardInterrupt

    environment.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
    words = ["--demo", "--keras-backend", "torch", "--weights", own, "--out", out]
    code, said, _ = run_main(train, *words)
    assert code == 130 and "weights from a file, the backbone of a whole network" in said
    environment.setattr(loop.Job, "end_epoch", end_epoch)
    code, _, err = run_main(train, "--resume", out)
    assert code == 2 and f"--resume {out}, which began with weights from a file of yours" in err
    code, _, err = run_main(train, "--resume", out, "--weights", other)
    assert code == 2 and "not the one that the run began with" in err
    assert run_main(train, "--resume", out, "--weights", own)[0] == 0
    sha256 = hashlib.sha256(own.read_bytes()).hexdigest()
    assert read_run(out).record.weights == schema.Weights(kind="file", sha256=sha256, is_part_of_file=True)


def test_the_tuned_recipe_is_resumed_in_each_phase_to_the_same_end(environment, run_main, few_digits, tmp_path):
    """Two passes, each followed by the optimum on all that is kept, then an epoch of fine-tuning."""
    few_digits = dataclasses.replace(
        few_digits,
        train_images=few_digits.train_images[:80],
        train_labels=few_digits.train_labels[:80],
        test_images=few_digits.test_images[:30],
        test_labels=few_digits.test_labels[:30],
    )
    environment.setattr(dataset, "load", lambda *_, **__: few_digits)
    changes = {
        "data": "digits",
        "validation_fraction": 0.3,
        "backbone": "MobileNet",
        "image_size": 32,
        "weights": "random",
        "penalties": (1e-1, 1e-3),
    }
    environment.setitem(train.RECIPES, "tuned", dataclasses.replace(TUNED, **changes))
    environment.setattr(corruptions, "STRENGTHS", {"blur": (1,)})
    words = ["--recipe", "tuned", "--unfreeze", "last-stage", "--keras-backend", "torch", "--robustness"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_main(train, *words, "--out", whole)[0] == 0
    record = json.loads((whole / "record.json").read_text())
    assert [row.get("phase") for row in record["history"]] == [None, None, "fine-tuning"]
    assert [row.get("learning_rate") for row in record["history"]] == [None, None, 1e-5]
    assert {row["penalty"] for row in record["history"][:2]} <= {1e-1, 1e-3}
    assert record["overrides"] == {"unfreeze": "last-stage"}
    assert record["frozen"]["sha256_before"] == record["frozen"]["sha256_after"]
    # the last stage by hand: two depthwise convolutions of 3×3, each with one of 1×1 after it, without offsets
    stage = 9 * 512 + 512 * 1024 + 9 * 1024 + 1024 * 1024
    assert record["model"]["num_trainable_parameters"] == stage + 1024 * 10 + 10
    assert not list(whole.glob("features-*")) and not list(whole.glob("checkpoint*"))

    run, stops = loop.Job.end_epoch, [1, 2, 3]

    def end_epoch_and_stop(job, **given):
        run(job, **given)
        if len(job.record.history) in stops:
            stops.remove(len(job.record.history))
            raise KeyboardInterrupt

    environment.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
    assert run_main(train, *words, "--out", cut)[0] == 130
    (cut / "features-1-0.float32").unlink()  # it is made anew
    for code in (130, 130, 0):
        assert run_main(train, "--resume", cut)[0] == code
    assert (cut / "predictions.npz").read_bytes() == (whole / "predictions.npz").read_bytes()
    loaded = keras.saving.load_model(cut / "model.keras")  # in float32, wherever it was trained
    assert {layer.dtype_policy.name for layer in loaded.get_layer("mobilenet_1.00_None").layers} == {"float32"}
    probabilities = loaded.predict(as_input(few_digits.test_images), verbose=0)
    with np.load(cut / "predictions.npz") as arrays:
        assert np.abs(probabilities - arrays["test_probabilities"]).mean() < 0.02
        blurred = as_input(corruptions.corrupt(few_digits.test_images, "blur", 1))
        answers = loaded.predict(blurred, verbose=0).argmax(axis=1)
        assert (answers == arrays["robustness_predicted"][0, 0]).mean() > 0.8  # in bfloat16 there
    kept = read_run(whole)  # the validation split is kept as it was after the last epoch
    of_truth = kept.validation_probabilities[np.arange(len(kept.validation_labels)), kept.validation_labels]
    assert -np.log(of_truth).mean() == pytest.approx(record["history"][-1]["validation_loss"], rel=1e-4)
    held_out = dataset.split(few_digits.train_labels, 0.3)[1]
    assert kept.validation_labels.tolist() == few_digits.train_labels[held_out].tolist()
    figures = [
        [
            {k: v for k, v in row.items() if "second" not in k}
            for row in json.loads((f / "record.json").read_text())["history"]
        ]
        for f in (whole, cut)
    ]
    assert figures[0] == figures[1]
    assert not list(cut.glob("features-*"))


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_what_was_trained_with_weights_of_the_classes_is_a_network_that_keras_loads(
    environment, run_main, few_digits, tmp_path, solver
):
    """By gradient descent alone; and to the optimum, and then fine-tuned."""
    labels = few_digits.train_labels
    rows = np.r_[np.flatnonzero(labels < 3), np.flatnonzero(labels == 3)[:2]]
    few = dataclasses.replace(few_digits, train_images=few_digits.train_images[rows], train_labels=labels[rows])
    environment.setattr(dataset, "load", lambda *_, **__: few)
    changes = {"data": "digits", "backbone": "MobileNet", "image_size": 32, "num_epochs": 1, "weights": "random"}
    recipe = SMALL if solver == "sgd" else dataclasses.replace(TUNED, penalties=(1e-1, 1e-3))
    environment.setitem(train.RECIPES, "tuned", dataclasses.replace(recipe, name="tuned", **changes))
    words = ["--recipe", "tuned", "--keras-backend", "torch", "--class-weights", "balanced"]
    words += ["--unfreeze", "last-stage"] * (solver == "lbfgs")
    code, out, err = run_main(train, *words, "--out", tmp_path / "run")
    assert code == 0, err
    run = read_run(tmp_path / "run")
    assert "classes weighted" in out and run.record.recipe.class_weights == "balanced"
    assert run.record.overrides["class_weights"] == "balanced"
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras")
    probabilities = loaded.predict(as_input(few.test_images), verbose=0)
    assert np.abs(probabilities - run.test_probabilities).mean() < 0.02


def test_resuming_needs_the_same_backbone():
    record = types.SimpleNamespace(
        frozen=Frozen(sha256_loaded="a" * 64, sha256_before="c" * 64),
        weights=schema.Weights(kind="random"),
        versions={"keras backend": "torch"},
    )
    train.check_same_backbone(record, "a" * 64)
    with pytest.raises(UserError, match="not the one that the run began with"):
        train.check_same_backbone(record, "b" * 64)


@pytest.fixture
def environment(monkeypatch):
    """What `backend.choose` changes is as before after the test."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in (
        "KERAS_BACKEND",
        "JAX_PLATFORMS",
        "TF_CPP_MIN_LOG_LEVEL",
        "CUDA_VISIBLE_DEVICES",
        "KERAS_TORCH_DEVICE",
    ):
        monkeypatch.setenv(name, "")
    return monkeypatch


@pytest.mark.parametrize(
    ("tensorflow_sees", "torch_sees", "device", "chosen"),
    [
        (0, 1, "auto", "torch"),
        (1, 1, "auto", "tensorflow"),
        (0, 0, "auto", "tensorflow"),
        (0, 1, "cpu", "tensorflow"),
        (0, 1, "mps", "torch"),
        (0, 1, "xpu", "torch"),
    ],
)
def test_auto_takes_tensorflow_unless_pytorch_alone_sees_the_gpu(
    environment, tensorflow_sees, torch_sees, device, chosen
):
    environment.setenv("PATH", "")  # whatever tools of a driver there are: the frameworks are asked
    sees = {"tensorflow": tensorflow_sees, "torch": torch_sees}
    environment.setattr(backend, "_num_gpus_elsewhere", sees.get)
    assert backend.choose("auto", device) == chosen == os.environ["KERAS_BACKEND"]


def test_gpus_are_counted_in_another_process(monkeypatch):
    monkeypatch.setattr(backend, "DRIVER_FILES", ("null",))
    assert backend._num_gpus_elsewhere("torch") == 0


@pytest.mark.parametrize(("driver_files", "num_gpus"), [(("no-such-file*",), 0), (("n?ll",), 3)])
def test_no_process_is_asked_where_no_gpu_has_a_driver(monkeypatch, driver_files, num_gpus):
    monkeypatch.setattr(backend, "DRIVER_FILES", driver_files)
    monkeypatch.setattr(backend, "NUM_GPUS", {"torch": "print(3)"})
    assert backend._num_gpus_elsewhere("torch") == num_gpus


def test_the_nth_gpu_is_counted_among_those_visible(environment):
    environment.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert backend.choose("torch", "cuda:1") == "torch"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    environment.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    backend.choose("torch", "cuda:2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"  # GPU 2 is not this process' to take
    with pytest.raises(ImportError, match="kept out of this process"):
        importlib.import_module("tensorflow")


# PyTorch's "meta" stands for a GPU: it is everywhere, and no tensor on it is on the processor.
ASKED = """
import sys
import torch
from compare.system.errors import UserError
from pretrained import backend
torch.cuda.device_count = torch.cuda.is_available = lambda: {num_gpus}
backend.choose("torch", {device!r})
try:
    print(*backend.describe_device("torch", {device!r}))
except UserError as error:
    print(error.came)
try:
    backend.describe_device("jax", {device!r})
except UserError as error:
    print(error.came)
"""


@pytest.mark.parametrize(
    ("num_gpus", "device", "keras_device", "found"),
    [
        (1, "auto", "cpu", "cpu None"),  # a GPU is seen, and Keras does not compute on it
        (0, "auto", "meta", "meta meta"),
        pytest.param(0, "auto", None, "cpu None", marks=pytest.mark.thorough),
        pytest.param(0, "cpu", "meta", "cpu None", marks=pytest.mark.thorough),
        pytest.param(0, "cuda", "meta", "--device cuda, but torch sees no such GPU here", marks=pytest.mark.thorough),
        pytest.param(0, "mps", None, "--device mps, but torch sees no such GPU here", marks=pytest.mark.thorough),
    ],
)
def test_the_device_is_the_one_that_tensors_are_on(num_gpus, device, keras_device, found):
    variables = {"KERAS_TORCH_DEVICE": keras_device} if keras_device else {}
    command = [sys.executable, "-c", ASKED.format(num_gpus=num_gpus, device=device)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, cwd=HERE.parents[1])
    another = "Keras runs on torch in this process already, and jax was chosen"
    assert done.stdout.splitlines() == [found, another], done.stderr[-2000:]
