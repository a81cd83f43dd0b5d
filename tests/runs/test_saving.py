"""Runs out of arrays. Truths: scikit-learn, numbers by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from fake_runs import write_run
from pages import Page

from compare import report, save_run
from compare.findings import metrics
from compare.runs.record import check_comparable, read_run
from compare.system.errors import UserError

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PROBABILITIES = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
LABELS = [0, 1, 1]


def save(folder, **changes):
    given = {"title": "mine", "class_names": ["a", "b"], "test_probabilities": PROBABILITIES, "test_labels": LABELS}
    return save_run(folder, **given | changes)


def test_the_readmes_example_joins_a_comparison(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    example = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "save_run" in block)
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
