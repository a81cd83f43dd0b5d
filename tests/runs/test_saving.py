"""Runs out of arrays. Truths: scikit-learn, numbers by hand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from fake_runs import write_run
from pages import Page

from compare import report, save_run
from compare.findings import metrics
from compare.runs.record import check_comparable, read_run
from compare.runs.saving import small_copy
from compare.system.errors import UserError

THIRD_BRANCH = (Path(__file__).parents[2] / "docs/third-branch.md").read_text(encoding="utf-8")
PROBABILITIES = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
LABELS = [0, 1, 1]


def save(folder, **changes):
    given = {"title": "mine", "class_names": ["a", "b"], "test_probabilities": PROBABILITIES, "test_labels": LABELS}
    return save_run(folder, **given | changes)


def test_the_documentations_example_joins_a_comparison(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", THIRD_BRANCH, re.DOTALL)[0]
    names = {}
    exec(example, names)
    data, run = names["data"], read_run(Path("reports/forest"))
    predicted = names["forest"].predict(names["test_pixels"])
    assert metrics.evaluate(run).accuracy == sklearn.metrics.accuracy_score(data.test_labels, predicted) > 0.85
    write_run(Path("demo"), data="digits", num_test=None)
    code, _, err = run_main(report, "demo", "reports/forest", "--out", "page")
    assert code == 0, err
    page = Page(Path("page/index.html"))
    assert "Random forest" in page.text and page.row("Training time").split()[-1] == "&#8211;"


def test_the_documentations_branch_is_trained_and_compared(tmp_path):
    (tmp_path / "forest").mkdir()
    example = re.findall(r"```python\n(.*?)```", THIRD_BRANCH, re.DOTALL)[1]
    (tmp_path / "forest/train.py").write_text(example, encoding="utf-8")
    command = [sys.executable, "-m", "compare.run", "--run", "forest --seed 3", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_run(tmp_path / "out/runs/forest").record.seed == 3
    assert "Random forest" in Page(tmp_path / "out/index.html").text


def test_what_is_known_is_kept(tmp_path):
    run = read_run(
        save(
            tmp_path / "run",
            start="pretrained",
            trained="head",
            history=[{"train_loss": 0.5, "seconds": 2.0}, {"train_loss": 0.25, "seconds": 2.5}],
            training_seconds=4.5,
            num_parameters=12,
            seed=7,
            recipe={"name": "linear", "C": 0.1},
            device="a made-up processor",
        )
    )
    assert run.record.is_pretrained and [row.train_loss for row in run.record.history] == [0.5, 0.25]
    assert (run.record.seconds.training, run.record.model.num_parameters, run.record.seed) == (4.5, 12, 7)
    assert run.record.recipe.as_json() == {"name": "linear", "C": 0.1}
    assert run.test_probabilities.dtype == np.float32 and run.test_labels.dtype == np.uint8


def test_only_the_same_labels_and_classes_compare(tmp_path):
    one = read_run(save(tmp_path / "one"))
    check_comparable([one, read_run(save(tmp_path / "two", title="other"))])
    for name, changes in {"labels": {"test_labels": [0, 1, 0]}, "classes": {"class_names": ["a", "c"]}}.items():
        with pytest.raises(UserError, match="differ in their"):
            check_comparable([one, read_run(save(tmp_path / name, **changes))])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"test_labels": [0, 1, 2]}, "test labels of type int64"),
        ({"test_labels": [0.0, 1.0, 1.0]}, "test labels of type float64"),
        ({"test_labels": [0, 1]}, "test labels that are not 3|float32"),
        ({"test_probabilities": PROBABILITIES * 2}, "not probabilities"),
        ({"test_probabilities": PROBABILITIES[:, :1]}, r"float32 \(3, 1\), not float32 \(3, 2\)"),
        ({"test_probabilities": [["x"]]}, "no arrays"),
        ({"class_names": ["a", "a"]}, "class names come twice"),
        ({"class_names": ["a"]}, "test labels of type|class_names"),
        ({"title": ""}, "is ''"),
        ({"title": "a\x07"}, "control characters"),
        ({"start": "scratch"}, "start is 'scratch'"),
        ({"history": [{"train_loss": float("nan")}]}, "train_loss is 'nan'"),
        ({"training_seconds": -1.0}, "training is '-1.0'"),
    ],
)
def test_what_no_reader_would_take_is_refused_in_three_parts(tmp_path, changes, says):
    with pytest.raises(UserError, match=says) as refused:
        save(tmp_path / "run", **changes)
    assert "\n  expected: " in str(refused.value) and "\n  what to do: " in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    save(tmp_path / "run")
    with pytest.raises(UserError, match="holds a finished run already"):
        save(tmp_path / "run")


@pytest.mark.parametrize("probabilities", [[0.5004, 0.4996], [0.99996, 0.00004], [0.4, 0.6]])
def test_a_small_copy_keeps_what_an_image_was_taken_for_and_how_sure_that_was(tmp_path, probabilities):
    run = read_run(save(tmp_path / "run", test_probabilities=[probabilities] * 3))
    (run.folder / "split.csv").write_text("file,label,split\n猫.png,cat,test\n", encoding="utf-8")
    copy = small_copy(run, tmp_path / "copy")
    assert (copy.folder / "split.csv").read_bytes() == (run.folder / "split.csv").read_bytes()
    highest, predicted = max(probabilities), int(probabilities[1] > probabilities[0])
    assert copy.test_probabilities.argmax(axis=1).tolist() == 3 * [predicted]
    np.testing.assert_allclose(copy.test_probabilities.max(axis=1), highest, atol=6e-4)
    np.testing.assert_allclose(copy.test_probabilities.sum(axis=1), 1, atol=1e-6)
    assert copy.record.only_highest and not run.record.only_highest


def test_a_report_and_small_copies_of_its_runs_are_passed_on_together(tmp_path, run_main):
    """What the copies' report says of right and wrong is what the runs' says; what they do not keep is not known."""
    folders = [tmp_path / "runs" / name for name in ("scratch", "frozen")]
    write_run(folders[0], accuracy=0.9, num_test=None)
    write_run(folders[1], branch="pretrained", accuracy=0.85, num_test=None, seen=True)
    assert run_main(report, *folders, "--no-images", "--out", tmp_path / "whole")[0] == 0
    code, _, err = run_main(report, *folders, "--no-images", "--with-copies", "--out", tmp_path / "small")
    assert code == 0, err
    copies = sorted((tmp_path / "small" / "runs").iterdir())
    assert [copy.name for copy in copies] == ["frozen", "scratch"]
    for copy in copies:
        assert sum(path.stat().st_size for path in copy.iterdir()) < 30_000
        with np.load(copy / "predictions.npz") as kept:  # by their names, as another program would
            whole = read_run(tmp_path / "runs" / copy.name)
            assert np.array_equal(kept["test_predicted"], whole.test_probabilities.argmax(axis=1))
        assert read_run(copy).record.seen == whole.record.seen  # whether its weights got what they expect is known
    whole, small = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "small"))
    for one, other in zip(whole["runs"], small["runs"], strict=True):
        assert other["test_log_loss"] is None is other["test_brier_score"] and one["test_log_loss"] > 0
        for name in ("test_accuracy", "test_accuracy_low", "seconds_training", "seed"):
            assert one[name] == other[name]
        assert other["test_calibration_error"] == pytest.approx(one["test_calibration_error"], abs=1e-3)
    assert whole["pairs"] == small["pairs"]
    assert Page(tmp_path / "small" / "index.html").row("Test log loss (nats an image)").count("&#8211;") == 2
    # the copies' own report stays beside them, and one that is there is not copied anew
    assert run_main(report, *copies, "--no-images", "--with-copies", "--out", tmp_path / "small")[0] == 0
    code, _, err = run_main(report, *folders, "--with-copies", "--out", tmp_path / "small")
    assert code == 2 and "holds a finished run already" in err


def test_copies_need_a_report_and_names_of_their_own(tmp_path, run_main):
    for folder in ("a/run", "b/run"):
        write_run(tmp_path / folder, accuracy=0.9 if folder == "a/run" else 0.8)
    code, _, err = run_main(report, tmp_path / "a/run", tmp_path / "b/run", "--with-copies", "--out", tmp_path / "out")
    assert code == 2 and "several runs called run" in err
    code, _, err = run_main(report, tmp_path / "a/run", "--with-copies", "--require", "accuracy>=0.5")
    assert code == 2 and "--with-copies without a report" in err
