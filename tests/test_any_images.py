"""Images of any shape and any number of classes, the whole way: check, training, a stop and its resuming, a report with
its galleries, its audit and corrupted images, and the same out of plain arrays."""

import functools
import json

import numpy as np
import pytest
from pages import Page

from compare import report, save_run
from compare.data import corruptions
from compare.runs.record import read_run
from pretrained import train as pretrained
from scratch_resnet import loop, model
from scratch_resnet import train as scratch

SHAPES = [((28, 28), 2), ((64, 48), 3), ((32, 32, 3), 37), ((96, 128, 3), 300)]
IDS = [f"{'×'.join(map(str, shape))}, {number} classes" for shape, number in SHAPES]
SHAPES[2:] = [pytest.param(shape, marks=pytest.mark.thorough) for shape in SHAPES[2:]]  # up to 90 s


@pytest.fixture
def data(request, tmp_path):
    """An .npz file: each class has a level of its own, and the last one is absent from the test."""
    shape, num_classes = request.param
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(num_classes), max(2, 24 // num_classes))
    test_labels = np.arange(max(12, num_classes)) % (num_classes - 1)

    def images(of):
        level = 255 * (of + 0.5) / num_classes
        noise = rng.normal(0, 3, (len(of), *shape))
        return np.clip(level.reshape(-1, *[1] * len(shape)) + noise, 0, 255).astype(np.uint8)

    path = tmp_path / "mine.npz"
    np.savez(path, x_train=images(labels), y_train=labels, x_test=images(test_labels), y_test=test_labels)
    return path, num_classes, test_labels


@pytest.fixture
def few(monkeypatch, at_a_glance):
    """A narrow network, two kinds of corruption, and nothing measured; what one life sets in the environment stands for
    the next, which would be a process of its own."""
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    monkeypatch.setattr(loop, "ResNet", functools.partial(model.ResNet, channels=(8, 16, 32, 64)))
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    monkeypatch.setattr(corruptions, "STRENGTHS", {"shift": (1, 3), "noise": (0.1, 0.3)})
    return monkeypatch


def run_in_two_lives(few, run_main, branch, words, folder):
    """Train to the end of the first epoch, be stopped, and go on."""
    end_epoch = loop.Job.end_epoch

    def end_epoch_and_stop(job, **given):
        end_epoch(job, **given)
        raise KeyboardInterrupt

    with few.context() as stopped:
        stopped.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
        assert run_main(branch, *words, "--out", folder)[0] == 130
    data = words[words.index("--data") : words.index("--data") + 2]
    code, _, err = run_main(branch, "--resume", folder, *data)
    assert code == 0, err


def check(tmp_path, run_main, run_folder, path, num_classes, test_labels):
    """The run is what was asked for, its page has all its parts, and arrays make the same of it."""
    run = read_run(run_folder)
    assert len(run.record.data.class_names) == num_classes and run.test_labels.tolist() == test_labels.tolist()
    assert run.test_labels.dtype == (np.uint16 if num_classes > 256 else np.uint8)
    assert run.robustness_predicted.shape == (2, 2, len(test_labels)) and run.record.data.title == "mine"
    again = save_run(
        tmp_path / "arrays",
        title="out of arrays",
        class_names=run.record.data.class_names,
        test_probabilities=run.test_probabilities,
        test_labels=test_labels,
    )
    code, _, err = run_main(report, run_folder, again, "--out", tmp_path / "page", "--data-dir", path)
    assert code == 0, err
    page = Page(tmp_path / "page" / "index.html")
    assert page.source.count("data:image/webp") >= 3  # the test images, what the network saw, corrupted copies
    ours, theirs = json.loads((tmp_path / "page" / "report.json").read_text())["runs"]
    assert ours["test"] == theirs["test"] and ours["test"]["support"][-1] == 0
    assert "out of arrays" in page.text


@pytest.mark.parametrize("data", SHAPES, ids=IDS, indirect=True)
def test_from_scratch(data, few, run_main, tmp_path):
    path, num_classes, test_labels = data
    words = ["--recipe", "tuned", "--data", path, "--epochs", 2, "--image-size", 32, "--batch-size", 8, "--robustness"]
    run_in_two_lives(few, run_main, scratch, words, tmp_path / "run")
    check(tmp_path, run_main, tmp_path / "run", path, num_classes, test_labels)


@pytest.mark.parametrize("data", SHAPES, ids=IDS, indirect=True)
def test_on_a_backbone(data, few, run_main, tmp_path):
    path, num_classes, test_labels = data
    words = ["--recipe", "tuned", "--data", path, "--image-size", 32, "--robustness", "--weights", "random"]
    words += ["--backbone", "MobileNet", "--keras-backend", "torch"]
    run_in_two_lives(few, run_main, pretrained, words, tmp_path / "run")
    check(tmp_path, run_main, tmp_path / "run", path, num_classes, test_labels)
