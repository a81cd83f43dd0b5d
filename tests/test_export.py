"""A network as a file for other programs. Truth: the run's own probabilities, and the file's own metadata."""

import importlib.util
import json
import sys
import zipfile

import keras
import numpy as np
import onnx
import pytest
import torch
import trained

from compare import export
from compare.runs.record import read_run
from compare.system.errors import UserError
from compare.training import exporting
from pretrained import export as pretrained_export
from scratch_resnet import export as scratch_export

BRANCHES = {"scratch_resnet": scratch_export, "pretrained": pretrained_export}
SCRATCH = [
    ({"image_shape": (40, 30, 3), "standardised": True}, "onnx"),
    ({}, "torch"),
    *[
        pytest.param(changes, form, marks=pytest.mark.thorough)
        for changes in (
            {"depth": 50, "image_shape": (40, 30, 3), "image_size": 32, "mirrored_predictions": True},
            {"image_shape": (64, 64, 3), "image_size": 96, "standardised": True},
            {"mirrored_predictions": True, "precision": "bfloat16"},
        )
        for form in ("onnx", "torch")
    ],
]
# one for each way in which `keras.applications` prepares images, and each kind of head
FAMILIES = ("ResNet50", "MobileNetV2", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "MobileNetV3Small")
PRETRAINED = [
    ({}, "keras"),
    ({}, "onnx"),
    *[
        pytest.param(changes, form, marks=pytest.mark.thorough)
        for changes in (
            {"image_shape": (40, 30, 3), "image_size": 48, "unfreeze": "backbone"},
            *({"backbone": name, "image_shape": (20, 20, 3)} for name in (*FAMILIES, "ConvNeXtTiny")),
            {"backbone": "ResNet50", "preprocessing": "unit"},
            {"normalize_features": True, "solver": "sgd", "augmented_head": True, "penalties": ()},
        )
        for form in ("keras", "onnx")
        if (changes.get("backbone"), form) != ("ConvNeXtTiny", "onnx")
    ],
]


def written(run, form, path, images):
    """What a file of a run in this form gives for images."""
    write, read = BRANCHES[run.record.branch].FORMATS[form]
    write(run, path, exporting.metadata(run))
    return read(path)(images)


@pytest.mark.parametrize(("changes", "form"), SCRATCH)
def test_a_network_from_scratch_gives_its_probabilities(changes, form, tmp_path):
    run = read_run(trained.scratch_run(tmp_path / "run", **changes))
    images = trained.data_set(tuple(run.record.data.image_shape)).test_images
    found = written(run, form, tmp_path / "file", images)
    np.testing.assert_allclose(found, run.test_probabilities, atol=1e-5)
    assert found.dtype == np.float32 and np.ptp(found, axis=0).max() > 2e-5  # the pictures matter
    assert_says(run, form, tmp_path / "file")


@pytest.mark.parametrize(("changes", "form"), PRETRAINED)
def test_a_pretrained_network_gives_its_probabilities(changes, form, tmp_path):
    keras.utils.clear_session()  # what other cases have built
    run = read_run(trained.pretrained_run(tmp_path / "run", **changes))
    images = trained.data_set(tuple(run.record.data.image_shape)).test_images
    found = written(run, form, tmp_path / f"file.{form}", images)
    np.testing.assert_allclose(found, run.test_probabilities, atol=1e-4)
    assert found.dtype == np.float32
    assert_says(run, form, tmp_path / f"file.{form}")


@pytest.mark.thorough
def test_a_network_that_the_exporter_cannot_write_is_refused_with_the_format_that_it_has(tmp_path):
    run = read_run(trained.pretrained_run(tmp_path / "run", backbone="ConvNeXtTiny"))
    with pytest.raises(UserError, match="ConvNeXt-Tiny, which PyTorch's exporter cannot write(?s:.*)--format keras"):
        written(run, "onnx", tmp_path / "file.onnx", trained.data_set((28, 28, 1)).test_images)


def assert_says(run, form, path):
    """The file names its classes, and holds the run's record."""
    if form == "onnx":
        said = {one.key: one.value for one in onnx.load(path).metadata_props}
    elif form == "torch":
        said = dict.fromkeys((exporting.CLASS_NAMES, exporting.RECORD), "")
        torch.export.load(path, extra_files=said)
    else:
        with zipfile.ZipFile(path) as archive:
            said = {name: archive.read(name) for name in (exporting.CLASS_NAMES, exporting.RECORD)}
    assert json.loads(said[exporting.CLASS_NAMES]) == ["class 0", "class 1", "class 2"]
    assert json.loads(said[exporting.RECORD])["data"]["fingerprint"] == run.record.data.fingerprint


def test_a_file_that_gives_something_else_is_refused(tmp_path):
    run = read_run(trained.scratch_run(tmp_path / "run"))
    ours = run.test_probabilities[:4]
    rows = np.arange(4)
    assert "within 0 of the run's network on 4 test images" in export.compared(run, ours, ours, rows)
    other = ours.copy()
    other[2, 1] += 2e-4
    with pytest.raises(UserError, match="differ .* by up to 0.0002"):
        export.compared(run, other, ours, rows)
    for wrong in (np.full_like(ours, np.nan), ours[:, :2]):
        with pytest.raises(UserError, match="differ"):
            export.compared(run, wrong, ours, rows)
    run.record.precision = "bfloat16"
    assert "of what the run had predicted, which was trained in bfloat16" in export.compared(run, ours, ours, rows)


def test_a_format_that_the_branch_has_not_is_refused_with_those_that_it_has(monkeypatch, tmp_path):
    for branch, lacking in (("scratch_resnet", "keras"), ("pretrained", "torch")):
        words = [tmp_path / "run", lacking, tmp_path / "file", tmp_path / "images.npy", tmp_path / "found.npy"]
        monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
        with pytest.raises(UserError, match=f"--format {lacking}(?s:.*)onnx, "):
            BRANCHES[branch].main()


def test_what_onnx_needs_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(UserError, match=r"onnxruntime is not installed(?s:.*)\[export\]"):
        exporting.check_onnx()


def test_the_command_leaves_a_checked_file_and_no_other(monkeypatch, capsys, tmp_path):
    run = trained.scratch_run(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["export", str(run), "--format", "torch", "--out", str(tmp_path / "n.pt2")])
    export.main()
    printed = capsys.readouterr().out
    assert "within" in printed and (tmp_path / "n.pt2").is_file() and f"{tmp_path / 'n.md'}: its model card" in printed
    with pytest.raises(UserError, match="is there already"):
        export.main()
    (tmp_path / "n.pt2").unlink()
    (tmp_path / "n.md").write_text("mine")
    export.main()
    assert "stays as it is" in capsys.readouterr().out and (tmp_path / "n.md").read_text() == "mine"
    monkeypatch.setattr(sys, "argv", ["export", str(run), "--format", "keras"])
    with pytest.raises(UserError, match="exit code 2"):
        export.main()
    assert sorted(path.name for path in run.iterdir()) == sorted(
        ["features.npz", "model.safetensors", "predictions.npz", "record.json"]
    )
