"""The pretrained branch as a command: its weights, backend and refusals, and runs that are interrupted and resumed.

Here Keras runs on PyTorch.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from compare import corruptions, dataset, download
from compare.command import UserError
from compare.record import read_run
from pretrained import backend, loop, model, train, weights
from pretrained.recipe import DEMO, TUNED
from pretrained.weights import Weights

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def digits():
    return dataset.load("digits")


# ---- weights


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Weights of a ResNet50 that differ from those of seed 0, batch statistics included, as Keras' old h5."""
    network = keras.applications.ResNet50(include_top=False, weights=None)
    rng = np.random.default_rng(5)
    network.set_weights([rng.normal(1, 0.1, array.shape) for array in network.get_weights()])
    path = tmp_path_factory.mktemp("weights") / weights.IMAGENET_FILE
    network.save_weights(path.with_name("new.weights.h5"))
    legacy_h5 = importlib.import_module("keras.src.legacy.saving.legacy_h5_format")
    with h5py.File(path, "w") as file:
        legacy_h5.save_weights_to_hdf5_group(file, network)
    return path, network.get_weights()


@pytest.mark.parametrize("name", [weights.IMAGENET_FILE, "new.weights.h5"])
def test_a_file_is_loaded_whole(weights_file, name):
    path, arrays = weights_file
    found = weights.find(str(path.with_name(name)))
    assert found.kind == "file" and found.sha256 == hashlib.sha256(path.with_name(name).read_bytes()).hexdigest()
    loaded = model.build_backbone(found, seed=0).get_weights()
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(loaded, arrays, strict=True))


def test_another_networks_file_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="does not fit"):
        model.build_backbone(weights.find(str(tmp_path / "other.weights.h5")), seed=0)


@pytest.fixture
def as_imagenet(weights_file, monkeypatch):
    """Let the file be ImageNet's."""
    content = weights_file[0].read_bytes()
    monkeypatch.setattr(weights, "IMAGENET_NUM_BYTES", len(content))
    monkeypatch.setattr(weights, "IMAGENET_MD5", hashlib.md5(content).hexdigest())
    return content


def test_imagenet_weights_come_from_kerass_cache_else_the_mirrors(as_imagenet, server, monkeypatch, tmp_path):
    assert weights.find("local") == Weights("random")
    monkeypatch.setattr(weights, "IMAGENET_MIRRORS", [f"{server.url}/a/", f"{server.url}/b/"])
    server.answers[f"/a/{weights.IMAGENET_FILE}"] = (200, as_imagenet[:-1])
    server.answers[f"/b/{weights.IMAGENET_FILE}"] = (200, as_imagenet)
    cached = Path(os.environ["KERAS_HOME"], "models", weights.IMAGENET_FILE)
    cached.parent.mkdir()
    cached.write_bytes(b"half a file of the user's")

    found = weights.find("imagenet")
    assert found.kind == "imagenet" and found.path.read_bytes() == as_imagenet
    assert found.path.parent == download.cache_folder()
    assert cached.read_bytes() == b"half a file of the user's"
    assert len(server.asked) == 2

    cached.write_bytes(as_imagenet)
    assert weights.find("imagenet").path == cached and weights.find("local").path == cached
    named = tmp_path / "mine.h5"
    named.write_bytes(as_imagenet)
    assert weights.find(str(named)).kind == "imagenet"
    assert len(server.asked) == 2


# ---- the command


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--weights", "nothere.h5"], "there is no such file"),
        (["--weights", __file__], "not a Keras weights file"),
        (["--keras-backend", "pytorch"], "'pytorch'"),
        (["--epochs", "0"], "--epochs 0"),
        (["--image-size", "8"], "--image-size 8"),
        (["--recipe", "nosuch"], "'nosuch'"),
        (["--out", __file__], "is a file"),
        (["--keras-backend", "torch", "--device", "cuda"], "torch sees no such GPU"),
        (["--keras-backend", "torch", "--device", "mps"], "torch sees no such GPU"),
        (["--keras-backend", "jax", "--device", "mps"], "--device mps with Keras on jax"),
        (["--device", "metal"], "--device metal"),
        (["--unfreeze", "everything"], "'everything'"),
        (["--recipe", "tuned", "--learning-rate", "0.1"], "--learning-rate with recipe tuned"),
        (["--recipe", "tuned", "--batch-size", "64"], "--batch-size with recipe tuned"),
    ],
)
def test_wrong_use_is_refused_in_three_parts(environment, run_main, tmp_path, words, says):
    environment.chdir(tmp_path)
    demo = [] if "--recipe" in words else ["--demo"]
    code, out, err = run_main(train, *demo, *words)
    assert code == 2 and out == "" and list(tmp_path.iterdir()) == []
    assert says in err and err.startswith("error: ") and "\n  expected: " in err and "\n  what to do: " in err


@pytest.fixture
def few_digits(monkeypatch, digits):
    """The commands' data set is a part of the digits."""
    few = dataclasses.replace(
        digits,
        train_images=digits.train_images[:200],
        train_labels=digits.train_labels[:200],
        test_images=digits.test_images[:70],
        test_labels=digits.test_labels[:70],
    )
    monkeypatch.setattr(dataset, "load", lambda *_: few)
    return few


def test_an_unfinished_run_is_resumed_to_the_same_end(environment, run_main, few_digits, tmp_path):
    environment.setitem(train.RECIPES, "demo", dataclasses.replace(DEMO, num_epochs=2, validation_fraction=0.3))
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
    assert records[0]["backbone"]["sha256_before"] == records[1]["backbone"]["sha256_after"]
    assert records[0]["backbone"]["sha256_loaded"] == records[1]["backbone"]["sha256_loaded"]
    loaded = keras.saving.load_model(cut / "model.keras")
    assert loaded.count_params() == records[0]["model"]["num_parameters"]

    run = read_run(cut)
    assert run.robustness_predicted.shape == (1, 2, 70)
    for amount, predicted in zip((1, 2), run.robustness_predicted[0], strict=True):
        images = corruptions.corrupt(few_digits.test_images, "blur", amount)
        assert (loaded.predict(loop.grey(images), verbose=0).argmax(axis=1) == predicted).mean() > 0.97
    # black less ImageNet's mean, and white: blue, green, red
    assert run.record["seen"] == {
        "channels": "BGR",
        "lowest": [-103.939, -116.779, -123.68],
        "highest": [151.061, 138.221, 131.32],
    }
    enlarged = keras.ops.image.resize(loop.grey(few_digits.test_images[:5]), (32, 32))
    assert np.abs(run.seen_test - keras.ops.convert_to_numpy(enlarged)[..., 0]).max() <= 0.5 + 1e-3
    assert run.seen_training.shape == (5, 32, 32) and run.seen_training.any(axis=(1, 2)).all()


def test_the_tuned_recipe_is_resumed_in_each_phase_to_the_same_end(environment, run_main, few_digits, tmp_path):
    """Two passes, each followed by the optimum on all that is kept, then an epoch of fine-tuning."""
    changes = {
        "data": "digits",
        "validation_fraction": 0.3,
        "image_size": 28,
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
    assert [row["learning_rate"] for row in record["history"]] == [None, None, 1e-5]
    assert {row["penalty"] for row in record["history"][:2]} <= {1e-1, 1e-3}
    assert record["overrides"] == {"unfreeze": "last-stage"}
    assert record["backbone"]["sha256_before"] == record["backbone"]["sha256_after"]
    # conv5 by hand: 1×1, 3×3 and 1×1 convolutions with their offsets in three blocks, and a shortcut
    first = 1024 * 512 + 512 + 9 * 512**2 + 512 + 512 * 2048 + 2048 + 1024 * 2048 + 2048
    others = 2048 * 512 + 512 + 9 * 512**2 + 512 + 512 * 2048 + 2048
    assert record["model"]["num_trainable_parameters"] == first + 2 * others + 2048 * 10 + 10
    assert not list(whole.glob("features-*")) and not list(whole.glob("checkpoint*"))

    run, stops = loop.Job.end_epoch, [1, 2, 3]

    def end_epoch_and_stop(job, **given):
        run(job, **given)
        if len(job.record["history"]) in stops:
            stops.remove(len(job.record["history"]))
            raise KeyboardInterrupt

    environment.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
    assert run_main(train, *words, "--out", cut)[0] == 130
    (cut / "features-1-0.float16").unlink()  # it is made anew
    for code in (130, 130, 0):
        assert run_main(train, "--resume", cut)[0] == code
    assert (cut / "predictions.npz").read_bytes() == (whole / "predictions.npz").read_bytes()
    loaded = keras.saving.load_model(cut / "model.keras")  # in float32, wherever it was trained
    assert {layer.dtype_policy.name for layer in loaded.get_layer("resnet50").layers} == {"float32"}
    probabilities = loaded.predict(loop.grey(few_digits.test_images), verbose=0)
    with np.load(cut / "predictions.npz") as arrays:
        assert np.abs(probabilities - arrays["test_probabilities"]).mean() < 0.02
        blurred = loop.grey(corruptions.corrupt(few_digits.test_images, "blur", 1))
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


def test_resuming_needs_the_same_backbone():
    record = {
        "backbone": {"sha256_loaded": "a" * 64, "sha256_before": "c" * 64},
        "weights": {"kind": "random"},
        "versions": {"keras backend": "torch"},
    }
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
    ],
)
def test_auto_takes_tensorflow_unless_pytorch_alone_sees_the_gpu(
    environment, tensorflow_sees, torch_sees, device, chosen
):
    environment.setenv("PATH", "")  # whatever tools of a driver there are: the frameworks are asked
    sees = {"tensorflow": tensorflow_sees, "torch": torch_sees}
    environment.setattr(backend, "_num_gpus_elsewhere", sees.get)
    assert backend.choose("auto", device) == chosen == os.environ["KERAS_BACKEND"]


def test_gpus_are_counted_in_another_process():
    assert backend._num_gpus_elsewhere("torch") == 0


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
from compare.command import UserError
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
        (0, "auto", None, "cpu None"),
        (1, "auto", "cpu", "cpu None"),  # a GPU is seen, and Keras does not compute on it
        (0, "auto", "meta", "meta meta"),
        (0, "cpu", "meta", "cpu None"),
        (0, "cuda", "meta", "--device cuda, but torch sees no such GPU here"),
        (0, "mps", None, "--device mps, but torch sees no such GPU here"),
    ],
)
def test_the_device_is_the_one_that_tensors_are_on(num_gpus, device, keras_device, found):
    variables = {"KERAS_TORCH_DEVICE": keras_device} if keras_device else {}
    command = [sys.executable, "-c", ASKED.format(num_gpus=num_gpus, device=device)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, cwd=HERE.parent)
    another = "Keras runs on torch in this process already, and jax was chosen"
    assert done.stdout.splitlines() == [found, another], done.stderr[-2000:]
