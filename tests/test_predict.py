"""What networks say of pictures. Truths: networks that nobody trained, Pillow by hand, SciPy, scikit-learn."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trained
from PIL import Image
from scipy.special import softmax
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from compare import predict
from compare.data import dataset
from compare.findings import calibration
from compare.runs import features, record
from compare.runs.saving import small_copy
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError
from compare.training import predicting
from compare.training.progress import Journal
from scratch_resnet import loop
from scratch_resnet import predict as scratch_predict
from scratch_resnet.batches import Batches
from scratch_resnet.recipe import RECIPES


def said(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, words)])
    code = predict.main()
    return code, capsys.readouterr()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One of each branch, of grey and of colour."""
    folder = tmp_path_factory.mktemp("runs")
    return [trained.scratch_run(folder / "scratch"), trained.pretrained_run(folder / "colour", image_shape=(20, 20, 3))]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    (folder / "below" / ".hidden").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (50, 40, 3), np.uint8)).save(folder / "colour.png")
    Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / "below" / "grey [bold]猫.png")
    (folder / "below" / ".hidden" / "x.png").write_bytes(b"passed over")
    (folder / "notes.txt").write_text("passed over")
    (folder / "broken.jpg").write_bytes(b"nothing")
    return folder


def test_two_branches_say_what_their_networks_give(runs, pictures, monkeypatch, capsys, tmp_path):
    out = tmp_path / "looked.png"
    code, streams = said(monkeypatch, capsys, *runs, pictures, "--json", "--out", out)
    assert code == EXIT_FAILED  # one picture was left out
    told = json.loads(streams.out)
    assert [Path(one["picture"]).name for one in told["left_out"]] == ["broken.jpg"]
    assert "broken.jpg: it is none of JPEG" in streams.err
    assert [Path(one["picture"]).name for one in told["pictures"]] == ["grey [bold]猫.png", "colour.png"]
    grey, colour = told["pictures"]
    for one in (grey, colour):
        assert [Path(run["run"]).name for run in one["runs"]] == ["scratch", "colour"]
        firsts = [run["classes"][0]["class"] for run in one["runs"]]
        assert one["agreement"] == {"class": firsts[0], "num_runs": 2 if firsts[0] == firsts[1] else 1}
    assert [one["runs"][0]["made_grey"] for one in (grey, colour)] == [False, True]
    assert not any(one["runs"][1]["made_grey"] for one in (grey, colour))

    run = record.read_run(runs[0])
    with Image.open(pictures / "below" / "grey [bold]猫.png") as picture:
        image = np.asarray(picture)[np.newaxis, ..., np.newaxis]
    looked = scratch_predict.look_with(run)(image)
    first, *_ = grey["runs"][0]["classes"]
    assert first["confidence"] == pytest.approx(looked.probabilities.max(), abs=1e-5)
    assert first["class"] == run.record.data.class_names[looked.probabilities.argmax()]
    assert grey["runs"][0]["temperature"] is None
    kept = features.read(run)
    (distance,) = kept.training.distances(looked.features)
    assert grey["runs"][0]["farther_than"] == pytest.approx((kept.test_distances < distance).mean(), abs=1e-6)
    assert grey["runs"][0]["looked"]["kind"] == "occlusion"  # 1×1 maps
    expected = predicting.where(image, looked, scratch_predict.look_with(run))[0]
    np.testing.assert_allclose(grey["runs"][0]["looked"]["map"], expected, atol=1e-5)
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_a_picture_in_a_folder_is_found_by_what_it_holds_and_a_sound_is_passed_over(tmp_path):
    for name in ("photograph", "photograph.png?size=200"):
        Image.new("RGB", (5, 5)).save(tmp_path / name, "png")
    for name in ("sound.ogg", "broken.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    found = [path.name for path in predict.pictures([tmp_path])]
    assert found == ["broken.jpg", "photograph", "photograph.png?size=200"]
    assert predict.pictures([tmp_path / "sound.ogg"]) == [tmp_path / "sound.ogg"]  # named, so told of


def test_a_table_says_it_in_words(runs, pictures, monkeypatch, capsys):
    code, streams = said(monkeypatch, capsys, runs[0], pictures / "colour.png", pictures / "below")
    assert code == EXIT_DONE
    assert "\ncolour.png " in streams.out and "\nbelow/grey [bold]猫.png " in streams.out  # by what tells them apart
    assert "class " in streams.out and "of the test images" in streams.out
    assert "scratch: not calibrated" in streams.out
    assert "1 picture in colour made grey, as the run's data are" in streams.out


def test_a_picture_is_prepared_as_the_data_were(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 50, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    image, made_grey = predict.prepared(tmp_path / "a.png", 20, 20, 3, "crop")
    by_hand = picture.resize((20, 20), Image.Resampling.BILINEAR, box=(10, 0, 40, 30))
    assert np.abs(image.astype(int) - np.asarray(by_hand)).max() <= 1 and not made_grey
    image, made_grey = predict.prepared(tmp_path / "a.png", 20, 20, 1, "pad")
    by_hand = picture.convert("L").resize((20, 12), Image.Resampling.BILINEAR)
    assert np.abs(image[4:16, :, 0].astype(int) - np.asarray(by_hand)).max() <= 1 and made_grey
    assert not image[:4].any() and not image[16:].any()
    image, _ = predict.prepared(tmp_path / "a.png", 10, 20, 3, "pad")  # data that are not square
    assert image.shape == (10, 20, 3)


def test_confidence_is_at_the_temperature_of_the_validation_split(runs):
    run = record.read_run(runs[0])
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3))
    labels = np.array([rng.choice(3, p=softmax(one)) for one in logits]).astype(np.uint8)
    too_sure = softmax(3 * logits, axis=1).astype(np.float32)
    held_out = dataclasses.replace(run, validation_probabilities=too_sure, validation_labels=labels)
    temperature = calibration.fitted_temperature(held_out)
    assert temperature == pytest.approx(3, rel=0.2)
    np.testing.assert_allclose(
        calibration.at_temperature(too_sure, temperature), softmax(3 * logits / temperature, axis=1), atol=1e-5
    )
    assert calibration.fitted_temperature(run) is None


def test_what_is_no_run_or_no_picture_is_refused(runs, pictures, monkeypatch, capsys, tmp_path):
    for words, message in (
        ([runs[0]], "1 run and 0 pictures"),
        ([pictures], "0 runs and 3 pictures"),
        ([runs[0], tmp_path / "nowhere.png"], "nowhere.png does not exist"),
        ([runs[0], pictures, "--out", tmp_path / "x.pdf"], "FILE.png"),
        ([runs[0], pictures / "broken.jpg"], "none of these files"),
    ):
        with pytest.raises(UserError, match=message):
            said(monkeypatch, capsys, *words)
    copy = small_copy(record.read_run(runs[0]), tmp_path / "copy")
    with pytest.raises(UserError, match="scratch_resnet ended with exit code 2"):  # which has said why
        said(monkeypatch, capsys, copy.folder, pictures / "colour.png")


def test_digits_are_told_from_what_is_none():
    """A network trained for seconds on scikit-learn's digits: noise, inverted digits and photographs lie farther away
    than digits that it has not seen, of which a hundredth lies beyond the 99th percentile of others."""
    data, cpu = dataset.load("digits"), torch.device("cpu")
    recipe = dataclasses.replace(RECIPES["demo"], num_epochs=6, precision="float32")
    rows = np.random.default_rng(0).permutation(len(data.train_labels))
    to_train, unseen = rows[:-300], rows[-300:]
    batches = Batches(data.train_images, data.train_labels, rows=to_train, device=cpu)
    model = loop.new_model(10, recipe=recipe, seed=0, device=cpu)
    optimizer = loop.new_optimizer(model, recipe)
    with Journal().epoch("", len(batches)) as bar:
        for epoch in range(1, recipe.num_epochs + 1):
            totals = torch.zeros(2, math.ceil(len(batches) / recipe.batch_size))
            words = {"recipe": recipe, "seed": 0, "epoch": epoch, "bar": bar}
            for _ in loop.train_epoch(model, optimizer, batches, totals, **words):
                pass

    def features_of(images):
        return loop.look(model, Batches(images, np.zeros(len(images), np.uint8), device=cpu), recipe=recipe).features

    training = features.Training.of(
        features_of(data.train_images[to_train[: features.NUM_KEPT]]), data.train_labels[to_train[: features.NUM_KEPT]]
    )
    test = training.distances(features_of(data.test_images))
    held_out = training.distances(features_of(data.train_images[unseen]))
    assert (held_out > np.quantile(test, 0.99)).mean() < 0.04
    rng, (side, _, _) = np.random.default_rng(0), data.image_shape
    photographs = []
    for photograph in load_sample_images().images:
        grey = Image.fromarray(photograph).convert("L")
        for left, top in rng.integers(0, 200, (100, 2)):
            photographs.append(np.asarray(grey.crop((left, top, left + 200, top + 200)).resize((side, side))))
    others = {
        "noise": rng.integers(0, 256, (200, side, side, 1), np.uint8),
        "inverted": 255 - data.test_images[:200],
        "photographs": np.array(photographs)[..., np.newaxis],
    }
    for name, images in others.items():
        far = training.distances(features_of(images))
        score = roc_auc_score(np.repeat([0, 1], [len(test), len(far)]), np.concatenate([test, far]))
        print(name, score)
        assert score > 0.9, name
