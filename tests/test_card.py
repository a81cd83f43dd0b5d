"""The model card. Truth: the Hub's own reader of cards, scikit-learn's metrics, and Python, which runs what it says."""

import re

import huggingface_hub
import keras
import numpy as np
import pytest
import trained
from fake_runs import write_run
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from compare import card, export
from compare import run as main_command
from compare.runs.record import read_run
from compare.training import exporting
from pretrained import export as pretrained_export
from scratch_resnet import export as scratch_export


def test_the_hub_reads_it(tmp_path):
    """Strictly: an entry of the model index that it cannot take is an error."""
    run = read_run(write_run(tmp_path / "run", num_test=200, accuracy=0.9, known_mistakes=("It peeks.",)))
    (tmp_path / "README.md").write_text(card.text(run, "onnx", "network.onnx"), encoding="utf-8")
    read = huggingface_hub.ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    assert read.data.license is None and "license" not in read.content
    assert (read.data.library_name, read.data.pipeline_tag) == ("onnx", "image-classification")
    assert read.data.datasets == ["zalando-datasets/fashion_mnist"] and "accuracy" in read.data.metrics
    found = {one.metric_type: one for one in read.data.eval_results}
    predicted = run.test_probabilities.argmax(axis=1)
    for kind, value in (
        ("accuracy", accuracy_score(run.test_labels, predicted)),
        ("balanced_accuracy", balanced_accuracy_score(run.test_labels, predicted)),
        ("f1", f1_score(run.test_labels, predicted, average="macro")),
    ):
        assert found[kind].metric_value == pytest.approx(value, abs=5e-5)
    one = found["accuracy"]
    assert (one.task_type, one.dataset_name, one.dataset_split) == ("image-classification", "Fashion-MNIST", "test")
    assert "- It peeks." in read.text and "The test set was watched" in read.text and "| seed | 0 |" in read.text
    written = huggingface_hub.repocard_data.eval_results_to_model_index(read.data.model_name, read.data.eval_results)
    assert written == huggingface_hub.metadata_load(tmp_path / "README.md")["model-index"]  # and back again


def test_names_that_nobody_expects_are_still_a_card(tmp_path):
    names = ['"quoted": yes', "- dash | bar", "日本 😀", "a\nb\u2028c", *"456789"]
    run = read_run(write_run(tmp_path / "run"))
    run.record.data.class_names, run.record.data.title, run.record.data.name = names, names[3], names[0]
    run.record.recipe.name = names[1]
    (tmp_path / "README.md").write_text(card.text(run, "torch", "a b.pt2"), encoding="utf-8")
    read = huggingface_hub.ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    (one, *_) = read.data.eval_results
    assert one.dataset_name == "a b c" and one.dataset_type == names[0] and read.data.datasets is None
    assert "in this order: " + ", ".join([*names[:3], "a b c", *"456789"]) + "." in read.text
    assert "| recipe | - dash \\| bar |" in read.text


def test_every_run_of_a_comparison_has_one_and_what_somebody_wrote_stays(fakes, run_main, tmp_path):
    out = tmp_path / "out"
    assert run_main(main_command, "--both", "--out", out)[0] == 0
    cards = [out / "runs" / name / "README.md" for name in ("scratch_fake", "pretrained_fake")]
    for place in cards:
        assert place.read_text(encoding="utf-8") == card.text(read_run(place.parent))
        read = huggingface_hub.ModelCard.load(place, ignore_metadata_errors=False)
        assert {one.metric_type for one in read.data.eval_results} >= {"accuracy", "f1"}
        assert "python -m compare.predict . PICTURE" in read.text
    cards[0].write_bytes(b"mine")
    cards[1].unlink()
    assert run_main(main_command, "--resume", out)[0] == 0
    assert cards[0].read_bytes() == b"mine" and cards[1].is_file()


@pytest.mark.parametrize("form", export.ENDINGS)
def test_what_it_says_of_its_use_is_so(tmp_path, monkeypatch, form):
    keras.utils.clear_session()
    branch = pretrained_export if form == "keras" else scratch_export
    run = read_run((trained.pretrained_run if form == "keras" else trained.scratch_run)(tmp_path / "run"))
    name = f"network{export.ENDINGS[form]}"
    branch.FORMATS[form][0](run, tmp_path / name, exporting.metadata(run))
    (code,) = re.findall("```python\n(.*?)```", card.text(run, form, name), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, space := {})
    assert np.asarray(space["probabilities"].tolist()).shape == (1, 3)
    assert space["images"].shape == (1, *run.record.data.image_shape)
