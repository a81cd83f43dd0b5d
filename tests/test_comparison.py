"""Runs compared from Python, and in the notebook."""

import ast
import importlib.util
import io
import json
from pathlib import Path

import pytest
from fake_runs import write_run
from PIL import Image

from compare.page import figures
from compare.system.errors import UserError


def test_from_python(two, tmp_path):
    from compare import compare_runs, load_run

    folder, page = two
    runs = [load_run(folder / "runs" / name) for name in ("scratch_resnet", "pretrained")]
    comparison = compare_runs(*runs)
    assert all(
        sentence in page.text.replace("\xa0", " ").replace("\u2011", "-")
        for sentence in (*comparison.sentences, *comparison.cautions)
    )
    assert repr(comparison).startswith("No winner is named: no network here is pretrained")
    shown = comparison._repr_html_()
    assert "<svg" in shown and "0.9000" in shown and "<script" not in shown
    assert [row["test_accuracy"] for row in comparison.rows] == [0.9, 0.8]
    assert comparison.accuracy_curves().axes[0].get_ylabel() == "Accuracy"
    assert comparison.loss_curves("time").axes[0].get_xlabel() == "Training time (seconds)"
    assert "ResNet50 · frozen" in comparison.confusion(1).axes[0].get_title()
    names = {"ResNet-18", "from scratch", "ResNet50", "frozen (random weights)"}
    for figure in (comparison.reliability(), comparison.selective()):
        assert names <= {text.get_text() for text in figure.axes[0].texts}
    assert "less ResNet50 · frozen" in comparison.confusion_difference().axes[0].get_title()
    with pytest.raises(UserError, match="--robustness"):
        comparison.robustness()
    assert comparison.write(tmp_path / "report").read_bytes()
    with pytest.raises(UserError, match="differ in their images"):
        compare_runs(runs[0], load_run(write_run(tmp_path / "other", num_test=100)))


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda of, run: of(), "compare_runs()"),
        (lambda of, run: of("reports/today/runs/scratch_resnet"), "compare_runs('reports/today/runs/scratch_resnet')"),
        (lambda of, run: of([run, run]), "compare_runs([Run("),
        (lambda of, run: of(run, None), "compare_runs(None)"),
        (lambda of, run: of(run, run), "once more"),
        (lambda of, run: of(run).confusion(5), "confusion(5)"),
        (lambda of, run: of(run).confusion(-1), "confusion(-1)"),
        (lambda of, run: of(run).confusion("scratch"), "confusion('scratch')"),
        (lambda of, run: of(run).confusion_difference(), "to no other run"),
        (lambda of, run: of(run).accuracy_curves(over="seconds"), "over='seconds'"),
        (lambda of, run: of(run).loss_curves("epoch"), "over='epoch'"),
        (lambda of, run: of(run).loss_curves(None), "over=None"),
    ],
)
def test_wrong_use_is_refused_in_three_parts(two, use, says):
    from compare import compare_runs, load_run

    run = load_run(two[0] / "runs" / "scratch_resnet")
    with pytest.raises(UserError) as refused:
        use(compare_runs, run)
    assert says in refused.value.came and refused.value.expected and refused.value.advice


def test_a_figure_shows_itself(two):
    from compare import compare_runs, load_run

    figure = compare_runs(load_run(two[0] / "runs" / "scratch_resnet")).confusion(0)
    picture, shown = figure._repr_png_()
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG" and image.width > 1.5 * shown["width"]  # sharp on a screen of many dots
    assert image.width / image.height == pytest.approx(shown["width"] / shown["height"], rel=0.01)


def test_the_notebook_was_executed_and_says_what_the_code_says(monkeypatch):
    folder = Path(__file__).parent.parent / "reports" / "reference"
    monkeypatch.chdir(folder)
    said, names = 0, {}
    for cell in json.loads((folder / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        if cell["cell_type"] != "code" or (".table()" in source and not importlib.util.find_spec("pandas")):
            continue
        *statements, last = ast.parse(source).body
        exec(compile(ast.Module(statements, []), "notebook", "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), "notebook", "exec"), names)
            continue
        value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
        (output,) = cell["outputs"]
        if isinstance(value, figures.Figure):
            assert output["data"]["image/png"]
        elif not hasattr(value, "to_csv"):  # how wide pandas prints is its own business
            # IPython writes a list over several lines
            assert "".join(output["data"]["text/plain"]).split() == repr(value).split()
            said += 1
    assert said == 3
