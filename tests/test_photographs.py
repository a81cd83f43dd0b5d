"""Folders of photographs, from the files to a run. Truths: NumPy by hand, counts, the saved network."""

import dataclasses
import functools
import sys

import keras
import numpy as np
import pytest
import torch
from PIL import Image

from compare.data import dataset, reading
from compare.data.images import Dataset
from compare.runs.record import read_run
from compare.training import crops
from compare.training.preparation import prepare
from pretrained import features
from pretrained import train as pretrained_train
from pretrained.recipe import RECIPES as PRETRAINED
from scratch_resnet import loop, model
from scratch_resnet import train as scratch_train
from scratch_resnet.batches import Batches
from scratch_resnet.recipe import RECIPES as SCRATCH

COLOURS = {"reddish": (200, 60, 60), "bluish": (60, 60, 200)}
BRANCHES = {"scratch_resnet": (scratch_train, SCRATCH), "pretrained": (pretrained_train, PRETRAINED)}


def folder_of_photographs(place, number=12, mode="RGB"):
    """JPEGs of 60×45 of noise about a colour, a class each, and a third as many to test with."""
    rng = np.random.default_rng(0)
    for part, some in (("train", number), ("test", number // 3)):
        for name, colour in COLOURS.items():
            (place / part / name).mkdir(parents=True)
            for row in range(some):
                image = np.clip(rng.normal(colour, 40, (45, 60, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(image).convert(mode).save(place / part / name / f"{row}.jpg")
    return place


def made_up(num_images, side=8, **facts) -> Dataset:
    """So many black images in two classes, of which none takes memory."""
    images = np.broadcast_to(np.zeros((1, side, side, 3), np.uint8), (num_images, side, side, 3))
    labels = np.arange(num_images, dtype=np.uint8) % 2
    parts = {"train_images": images, "train_labels": labels, "test_images": images[:8], "test_labels": labels[:8]}
    return Dataset(name="made-up", title="Made up", class_names=("a", "b"), sha256="made up", **parts, **facts)


def job_of(monkeypatch, branch, *words):
    """What a branch's command line becomes."""
    train, recipes = BRANCHES[branch]
    monkeypatch.setattr(sys, "argv", [branch, *map(str, words)])
    overrides = {"image_size": "--image-size", "batch_size": "--batch-size"}
    return prepare(branch, train.parse(), recipes, overrides=overrides, words={})


def test_what_counts_as_photographs(tmp_path):
    assert dataset.load(str(folder_of_photographs(tmp_path / "colours"))).are_photographs
    assert not dataset.load(str(folder_of_photographs(tmp_path / "greys", mode="L"))).are_photographs
    assert not dataset.load("digits").are_photographs
    for shape, expected in (((64, 80, 3), True), ((64, 63, 3), False), ((64, 80), False)):
        images, labels = np.zeros((4, *shape), np.uint8), np.arange(4) % 2
        path = tmp_path / f"{shape}.npz"
        np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
        assert dataset.load(str(path)).are_photographs == expected


@pytest.mark.parametrize(
    ("branch", "recipe", "words", "size", "side"),
    [
        ("scratch_resnet", "article", (), 96, 96),
        ("scratch_resnet", "tuned", (), 64, 73),
        ("scratch_resnet", "tuned", ("--image-size", 224), 224, 256),
        ("scratch_resnet", "best", (), 128, 146),
        ("pretrained", "article", (), 28, 28),
        ("pretrained", "frozen", (), 96, 110),
        ("pretrained", "fine-tuned", ("--image-size", 160), 160, 183),
        ("pretrained", "from-scratch", (), 96, 110),
        ("pretrained", "best", (), 224, 256),
    ],
)
def test_photographs_are_decoded_to_a_seventh_more_and_their_middle_is_shown(
    monkeypatch, tmp_path, branch, recipe, words, size, side
):
    monkeypatch.chdir(tmp_path)
    folder = folder_of_photographs(tmp_path / "photographs", 6)
    job = job_of(monkeypatch, branch, "--recipe", recipe, "--data", folder, *words)
    assert job.recipe.image_size == size and job.data.image_shape == (side, side, 3)
    assert job.record.recipe.as_json()["image_size"] == size and job.record.data.image_shape == [side, side, 3]
    is_cropped = recipe not in ("article", "frozen")
    assert (job.recipe.crop_area < 1, job.recipe.colour_jitter > 0) == (is_cropped,) * 2
    assert job.recipe.centre_crop == (1 if recipe == "article" else 0.875)
    assert not is_cropped or not (getattr(job.recipe, "shift_pixels", 0) or getattr(job.recipe, "zoom_range", 0))
    assert job.recipe.on_photographs == {}


@pytest.mark.parametrize("branch", BRANCHES)
def test_other_images_are_trained_on_as_they_were(monkeypatch, tmp_path, branch):
    """All fields but those that say what is done with photographs."""
    monkeypatch.chdir(tmp_path)
    for name, recipe in BRANCHES[branch][1].items():
        job = job_of(monkeypatch, branch, "--recipe", name, "--data", "digits")
        mirrors = {"horizontal_flip": False, "mirrored_predictions": False}
        mirrors = {name: value for name, value in mirrors.items() if hasattr(recipe, name)}
        assert job.recipe == dataclasses.replace(recipe, data="digits", on_photographs={}, **mirrors)
        assert (job.recipe.crop_area, job.recipe.centre_crop, job.recipe.colour_jitter) == (1, 1, 0)


def test_the_draws_for_other_images_are_those_that_they_were():
    """By NumPy: the order, then who is mirrored, then the shifts; nothing is drawn between."""
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 1), np.uint8)
    recipe = dataclasses.replace(SCRATCH["best"], image_size=12, batch_size=30)
    batches = Batches(images, np.arange(30), device=torch.device("cpu"))
    shown, labels = next(batches.shuffled(recipe, seed=3, epoch=2))
    rng = np.random.default_rng([3, 2])
    order, flips, shifts = rng.permutation(30), rng.random(30) < 0.5, rng.integers(-1, 1, (2, 30), endpoint=True)
    assert labels.tolist() == order.tolist()
    for place, row in enumerate(order):
        image = images[row, :, ::-1, 0] if flips[place] else images[row, :, :, 0]
        down, right = shifts[:, place]
        expected = np.pad(image, 1)[1 - down : 13 - down, 1 - right : 13 - right]
        assert np.array_equal(shown[place, 0].numpy() * 255, expected)


@pytest.fixture
def photographs():
    return np.random.default_rng(0).integers(0, 256, (90, 40, 40, 3), np.uint8)


FIELDS = {"image_size": 32, "crop_area": 0.35, "centre_crop": 0.875, "colour_jitter": 0.3, "batch_size": 32}


def test_both_branches_train_on_the_same_images(photographs):
    """The same seed and epoch give the same images in the same order; resumed within an epoch, those that are left."""
    rows = np.arange(89, 9, -1)
    ours = dataclasses.replace(SCRATCH["tuned"], **FIELDS)
    kerass = dataclasses.replace(PRETRAINED["fine-tuned"], **FIELDS)
    batches = Batches(photographs, np.arange(90), rows=rows, device=torch.device("cpu"))
    one = list(batches.shuffled(ours, seed=5, epoch=2))
    other = list(features.augmented(photographs, rows, recipe=kerass, seed=5, epoch=2, most=32))
    assert len(one) == len(other) == 3
    for (images, labels), (places, theirs) in zip(one, other, strict=True):
        assert labels.tolist() == rows[places].tolist()
        np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy(), theirs / 255, atol=1e-5)
    left = list(batches.shuffled(ours, seed=5, epoch=2, begin=1))
    assert all(torch.equal(image, again) for (image, _), (again, _) in zip(one[1:], left, strict=True))
    left = list(features.augmented(photographs, rows, recipe=kerass, seed=5, epoch=2, most=32, begin=32))
    assert all(np.array_equal(image, again) for (_, image), (_, again) in zip(other[1:], left, strict=True))
    assert not torch.equal(next(batches.shuffled(ours, seed=5, epoch=3))[0], one[0][0])


def test_the_first_photographs_are_kept_as_the_epoch_draws_them(photographs):
    ours = dataclasses.replace(SCRATCH["tuned"], **FIELDS)
    kerass = dataclasses.replace(PRETRAINED["from-scratch"], **FIELDS)
    batches = Batches(photographs, np.arange(90), device=torch.device("cpu"))
    first = batches.first_of(5, ours, seed=1, epoch=1).permute(0, 2, 3, 1).numpy()
    of_keras = features.first_of(5, photographs, np.arange(90), recipe=kerass, seed=1, epoch=1)
    np.testing.assert_allclose(first, of_keras / 255, atol=1e-5)
    for images, labels in batches.shuffled(ours, seed=1, epoch=1):
        for image, row in zip(images, labels.tolist(), strict=True):
            if row < 5:
                np.testing.assert_allclose(image.permute(1, 2, 0), first[row], atol=1e-6)


@pytest.mark.parametrize(
    ("num_images", "scratch", "fine_tuned", "from_scratch"),
    [
        # of 90, 900 and 90,000 that are trained on: at least 600 and 400 steps, and all images in ten and four epochs
        (100, 610, 408, 410),
        (1_000, 640, 452, 430),
        (100_000, 3_520, 5_628, 14_070),
    ],
)
def test_steps_grow_with_the_images(monkeypatch, tmp_path, num_images, scratch, fine_tuned, from_scratch):
    """Numbers by hand: batches of 256 and of 64, a tenth of the images held out, all images equally often."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset, "load", lambda *_, **__: made_up(num_images, are_photographs=True))
    for branch, recipe, expected in (
        ("scratch_resnet", "tuned", scratch),
        ("pretrained", "fine-tuned", fine_tuned),
        ("pretrained", "from-scratch", from_scratch),
    ):
        job = job_of(monkeypatch, branch, "--recipe", recipe, "--data", "mine")
        num_epochs = job.recipe.num_epochs if branch == "scratch_resnet" else job.recipe.num_unfrozen_epochs
        rows = job.rows_of_epoch(num_epochs)
        assert len(set(np.bincount(rows)[job.train_rows])) == 1
        num_steps = num_epochs * -(-len(rows) // job.recipe.batch_size)
        assert num_steps == expected and num_steps >= job.recipe.least_steps


def test_each_photograph_is_decoded_once_for_both_branches_and_all_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = folder_of_photographs(tmp_path / "photographs", 6)
    decoded, plain = [], reading.whole
    monkeypatch.setattr(reading, "whole", lambda path, **how: decoded.append(path) or plain(path, **how))
    for branch, recipe, words in (
        ("scratch_resnet", "tuned", ("--image-size", 96)),
        ("scratch_resnet", "tuned", ("--image-size", 96, "--seed", 1, "--labels-per-class", 5)),
        ("pretrained", "frozen", ()),
        ("pretrained", "fine-tuned", ()),
    ):
        job_of(monkeypatch, branch, "--recipe", recipe, "--data", folder, *words)
        assert sorted(decoded) == sorted(folder.rglob("*.jpg")) and len(decoded) == 16
    job_of(monkeypatch, "scratch_resnet", "--recipe", "tuned", "--data", folder)  # to another size
    assert len(decoded) == 32


@pytest.fixture
def quick(monkeypatch, at_a_glance):
    """A narrow network from scratch, and nothing measured."""
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    monkeypatch.setattr(loop, "ResNet", functools.partial(model.ResNet, channels=(8, 16, 32, 64)))
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    for _, recipes in BRANCHES.values():
        for name in ("tuned", "frozen", "fine-tuned"):
            if name in recipes:
                few = dataclasses.replace(recipes[name], least_steps=0, validation_fraction=0.3)
                monkeypatch.setitem(recipes, name, few)
    return monkeypatch


def stopped_and_resumed(quick, run_main, train, words, folder, data):
    """Train to the end of the first epoch, be stopped, and go on."""
    end_epoch = loop.Job.end_epoch

    def end_epoch_and_stop(job, **given):
        end_epoch(job, **given)
        raise KeyboardInterrupt

    with quick.context() as stopped:
        stopped.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
        assert run_main(train, *words, "--out", folder)[0] == 130
    code, _, err = run_main(train, "--resume", folder, "--data", data)
    assert code == 0, err


ON_MOBILENET = ["--backbone", "MobileNet", "--weights", "random", "--keras-backend", "torch"]
WORDS = {
    "scratch_resnet": ["--recipe", "tuned", "--epochs", 2, "--batch-size", 8],
    "pretrained": ["--recipe", "tuned", *ON_MOBILENET],
    "frozen": ["--recipe", "frozen", *ON_MOBILENET],
    "fine-tuning": ["--recipe", "fine-tuned", "--batch-size", 8, *ON_MOBILENET],
}


@pytest.mark.parametrize("way", WORDS)
def test_a_run_on_photographs(way, quick, run_main, tmp_path):
    """It says what it shows, is resumed to the same end, and keeps what entered the network; what is saved gives
    the run's predictions of the decoded photographs."""
    folder = folder_of_photographs(tmp_path / "photographs")
    train = scratch_train if way == "scratch_resnet" else pretrained_train
    words = [*WORDS[way], "--data", folder, "--image-size", 40]
    code, _, err = run_main(train, *words, "--out", tmp_path / "whole")
    assert code == 0, err
    log = (tmp_path / "whole" / "log.txt").read_text(encoding="utf-8")
    assert "the middle 40×40 of its 46×46 pixels" in log
    assert ("in training a part of each image, 35 % of its area or more, in light of ± 20 %" in log) == (
        way != "frozen"
    )
    stopped_and_resumed(quick, run_main, train, words, tmp_path / "cut", folder)
    run, again = (read_run(tmp_path / name) for name in ("whole", "cut"))
    assert np.array_equal(again.test_probabilities, run.test_probabilities)
    data = dataset.load(str(folder), photograph_size=46)
    middle = data.test_images[:5, 3:43, 3:43].astype(int)
    assert run.record.data.image_shape == [46, 46, 3] and run.record.recipe.image_size == 40
    for channel in range(3):  # each is kept by its own range
        assert np.corrcoef(run.seen_test[..., channel].ravel(), middle[..., channel].ravel())[0, 1] > 0.999
    assert run.seen_training.shape == (5, 40, 40, 3)
    if way != "scratch_resnet":
        loaded = keras.saving.load_model(tmp_path / "whole" / "model.keras")
        assert loaded.input_shape == (None, 46, 46, 3)
        told = loaded.predict(data.test_images.astype(np.float32), verbose=0)
        np.testing.assert_allclose(told, run.test_probabilities, atol=0.02 if way == "pretrained" else 1e-4)


@pytest.mark.parametrize("branch", BRANCHES)
def test_what_cannot_be_shown_is_refused(branch):
    recipe = BRANCHES[branch][1]["article"]
    for changes in ({"colour_jitter": 0.2}, {"on_photographs": {"colour_jitter": 0.2}}):
        with pytest.raises(
            ValueError, match="recipe article has a colour_jitter, which is of parts, and a crop_area of 1"
        ):
            dataclasses.replace(recipe, **changes)
    with pytest.raises(ValueError, match="recipe article has a centre_crop, and fit='pad', which shows the whole"):
        dataclasses.replace(recipe, centre_crop=0.875, fit="pad")
    with pytest.raises(TypeError, match="no_such_field"):
        dataclasses.replace(recipe, on_photographs={"no_such_field": 1})


def test_what_is_said_of_photographs():
    recipe = dataclasses.replace(SCRATCH["tuned"], **FIELDS)
    assert crops.in_words(recipe, height=128, width=64) == (
        "in training a part of each image, 35 % of its area or more, in light of ± 30 %; in the test the middle 112×56 "
        "of its 128×64 pixels"
    )
    unmoved = dataclasses.replace(recipe, crop_area=1.0, colour_jitter=0.0)
    assert crops.in_words(unmoved, height=110, width=110) == "of each image the middle 96×96 of its 110×110 pixels"
