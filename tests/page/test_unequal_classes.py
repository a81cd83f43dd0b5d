"""What the page says where the classes of the test set are unequal, and that it says nothing of it where they are not.
Runs that were never trained."""

import csv
import json
import re

import numpy as np
import pytest
from fake_runs import write_run
from pages import Page, write
from sklearn.metrics import balanced_accuracy_score, f1_score

from compare import report
from compare.data.images import Dataset
from compare.findings.baseline import Baseline
from compare.findings.findings import find
from compare.findings.metrics import paired_answers
from compare.page import answer, banners, cautions, checks, gallery, pictures, tables, verdict
from compare.page.shown import show, strategy_names
from compare.runs import record
from compare.runs.saving import save_run

NAMES = ("common", "rare", "rarest")
SUPPORT = (400, 60, 40)
LABELS = np.repeat(np.arange(3), SUPPORT)


def saved(folder, recalls, *, start, seed=0):
    """A run with so many of each class right, and the rest taken for the next class."""
    both = zip(SUPPORT, recalls, strict=True)
    right = np.concatenate([np.arange(number) < round(number * recall) for number, recall in both])
    predicted = np.where(right, LABELS, (LABELS + 1) % 3)
    probabilities = np.full((len(LABELS), 3), 0.1, np.float32)
    probabilities[np.arange(len(LABELS)), predicted] = 0.8
    return save_run(
        folder,
        title=f"the {start}",
        class_names=NAMES,
        test_probabilities=probabilities,
        test_labels=LABELS,
        start=start,
        trained="all",
        seed=seed,
        training_seconds=1.0,
    )


def two(folder, first, second):
    return [
        record.read_run(saved(folder / start, recalls, start=start))
        for start, recalls in (("random", first), ("pretrained", second))
    ]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (
            (0.98, 0.5, 0.5),
            (0.80, 0.9, 0.9),
            "So the two disagree: the random is right on more images, the pretrained on more of a class, on average.",
        ),
        ((0.95, 0.5, 0.5), (0.89, 0.55, 0.5), "So it does not show either to be better, and what it leads by may be"),
        (
            (0.90, 0.5, 0.5),
            (0.87, 0.8, 0.55),
            "So there the pretrained is ahead, though accuracy does not tell the two",
        ),
        ((0.95, 0.9, 0.9), (0.80, 0.5, 0.5), None),
        ((0.95, 0.9, 0.9), (0.95, 0.9, 0.9), None),
    ],
    ids=["they disagree", "only accuracy", "only the balanced", "they agree", "alike"],
)
def test_the_verdict_says_where_the_two_accuracies_disagree(tmp_path, first, second, says):
    runs = two(tmp_path, first, second)
    found = find(runs)
    sentence = verdict.sentences(found, show(found))[1]
    assert sentence.startswith("The classes of the test set differ in size.")
    points = 100 * (np.mean(first) - np.mean(second))
    signs = points if first_is_first(found) else -points
    assert f" is {signs:+.2f} points (95 % interval " in sentence
    judged = re.search(r"\)\.(?: (So .*))?$", sentence)[1]
    assert judged is None if says is None else judged.startswith(says)
    claim = answer.claim(found, show(found))
    assert ("with every class counting alike the pretrained wins." in claim) == ("disagree" in (says or ""))


def first_is_first(found):
    return found.headline.first == 0


def test_one_run_alone_says_both(tmp_path):
    run = record.read_run(saved(tmp_path / "one", (0.95, 0.5, 0.7), start="random"))
    found = find([run])
    predicted = run.test_probabilities.argmax(axis=1)
    (said,) = verdict.sentences(found, show(found))
    assert f"the balanced accuracy is {balanced_accuracy_score(LABELS, predicted):.4f} (95 % interval" in said
    assert said.endswith(f"the macro-F1 {f1_score(LABELS, predicted, average='macro'):.4f}.")


def test_it_stands_in_every_table(tmp_path):
    folders = [saved(tmp_path / f"{start}{seed}", (0.95, 0.4 + seed / 10, 0.7), start=start, seed=seed)
               for start in ("random", "pretrained") for seed in range(3)]  # fmt: skip
    page = write(tmp_path / "out", *folders)
    result = find([record.read_run(folders[0])]).runs[0].result
    cells = page.row("Balanced accuracy (95").split(") ")
    assert f"{result.balanced_accuracy:.4f} ({result.balanced_accuracy_low:.4f} to" in cells[1]
    assert f"{result.macro_f1:.4f} (" in page.row("Macro-F1 (95")
    assert "Points ahead in balanced accuracy" in page.text and "classes of unequal size" in page.text
    assert "0.7167 ± 0.0333" in page.text  # of the seeds, in the table of runs: (0.95 + 0.5 + 0.7) / 3
    assert re.search(rf"Balanced accuracy\s*{result.balanced_accuracy + 0.1 / 3:.3f}\s*0.\d", page.text)  # of the seeds
    rows = list(csv.DictReader((tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    for name in ("balanced_accuracy", "balanced_accuracy_high", "macro_f1", "macro_f1_low"):
        told = float(rows[0][f"test_{name}"])
        assert told == content["runs"][0]["test"][name] == pytest.approx(getattr(result, name), rel=5e-7, abs=0)
    assert rows[0]["majority_accuracy"] == ""  # its data are not at hand
    pair = content["pairs"][0]
    assert pair["balanced_points_low"] < pair["balanced_points_ahead"] < pair["balanced_points_high"]
    seeds = find([record.read_run(folder) for folder in folders]).seeds[0]
    assert seeds.balanced_mean == pytest.approx((0.95 + 0.5 + 0.7) / 3)
    assert seeds.balanced_deviation == pytest.approx(0.1 / 3)


def test_the_label_curve_and_the_list_of_reports_have_it(tmp_path):
    folders, recalls = [], {(10, 0): (0.9, 0.2, 0.3), (10, 1): (0.9, 0.3, 0.3), (100, 0): (0.95, 0.5, 0.7)}
    for (labels, seed), of_each in recalls.items():
        run = record.read_run(saved(tmp_path / f"{labels}-{seed}", of_each, start="random", seed=seed))
        run.record.data.labels_per_class, run.record.data.subset_seed = labels, seed
        folders.append(run)
    report.write_report(tmp_path / "reports" / "curve", folders, title="a title", images="none")
    page = Page(tmp_path / "reports" / "curve" / "index.html")
    table = page.source[page.source.index("Test error with every class counting alike,") :]
    cells = re.findall(r'<td class="number">([^<]*)</td>', table)[:2]
    assert cells == [f"{1 - (1.4 + 1.5) / 6:.4f} (2)", f"{1 - 2.15 / 3:.4f} (1)"]
    listed = Page(tmp_path / "reports" / "index.html").text
    shown = show(find(folders))
    content = json.loads((tmp_path / "reports" / "curve" / "report.json").read_text(encoding="utf-8"))
    (place,) = {*content["compared"]} & {2} or {content["compared"][0]}
    assert re.search(rf"Balanced accuracy.*{shown[place].result.balanced_accuracy:.4f}", listed)


def test_where_classes_are_equal_the_page_is_as_it_was(tmp_path):
    page = write(tmp_path / "out", write_run(tmp_path / "a"), write_run(tmp_path / "b", branch="pretrained"))
    assert not re.search("alanced|acro-F1|lways the most frequent class|differ in size", page.text)
    rows = list(csv.DictReader((tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert float(rows[0]["test_balanced_accuracy"]) == pytest.approx(float(rows[0]["test_accuracy"]))


def test_scripts_may_require_it(tmp_path):
    shown = show(find([record.read_run(saved(tmp_path / "one", (0.95, 0.5, 0.7), start="random"))]))
    words = ["accuracy>=0.8", "balanced_accuracy>=0.8", "macro_f1>0.1", "test_balanced_accuracy_low<0.7"]
    assert [holds for holds, _ in checks.judged([*map(checks.parse, words)], shown)] == [True, False, True, True]


def test_who_does_not_beat_the_majority_is_no_winner_and_it_stands_as_a_row_and_a_line(tmp_path, monkeypatch):
    """On 400 of 500 test images it is right to say common."""
    black = np.zeros((500, 8, 8, 1), np.uint8)
    data = Dataset("–", "–", NAMES, black, LABELS, black, LABELS)
    for name, first, said in (("no", (0.97, 0.1, 0.1), True), ("yes", (0.99, 0.8, 0.8), False)):
        runs = two(tmp_path / name, first, (0.9, 0.1, 0.1))
        found = find(runs, data)
        shown = show(found)
        reasons = verdict.no_winner_because(found, shown)
        assert any("beats always saying the most frequent class by more than" in one for one in reasons) == said
        if said:
            assert "does not beat always saying the most frequent class" in answer.claim(found, shown)
            assert f"({found.runs[0].result.accuracy:.4f} against 0.8000)" in reasons[0]
        right = LABELS == 0
        mine = runs[0].test_probabilities.argmax(axis=1) == LABELS
        assert found.runs[0].majority == Baseline(0.8, 500, paired_answers(mine, right))
        assert ("the most frequent class", 0.8) in pictures.baselines_of(shown)
    monkeypatch.setattr(gallery, "data_of", lambda *_: data)
    page = Page(report.write_report(tmp_path / "out", runs, title="a title", images="none"))
    assert page.row("Always the most frequent class").split()[-2:] == ["0.8000", "0.8000"]


def test_other_weights_of_the_classes_are_a_setting_that_differs(tmp_path):
    """In the summary, among the cautions, at the top, and as a strategy of its own; where no run has any, nowhere."""

    def runs(name, *, weighted, labels=None):
        both = (("none", {}), ("balanced", {"class_weights": "balanced"}))
        folders = []
        for value, overrides in both if weighted else both[:1]:
            for number in labels or [None]:
                folder = write_run(
                    tmp_path / name / f"{value}{number}", overrides=overrides, labels=number, data="digits"
                )
                run = record.read_run(folder)
                run.record.recipe.class_weights = value
                folders.append(run)
        return folders

    plain, both = (show(find(runs(name, weighted=name == "both"))) for name in ("plain", "both"))
    assert cautions.different_class_weights(plain) is None
    assert "Weights of the classes in training" not in dict(tables.summary_rows(plain))
    assert dict(tables.summary_rows(both))["Weights of the classes in training"] == ["none", "balanced"]
    said = cautions.different_class_weights(both)
    assert said.startswith(f"{both[1].label} learned with every class counting alike") and both[0].label not in said
    assert cautions.different_class_weights(both[1:]) is None  # all alike
    banner = banners.changed_settings_banner([(one.label, one.record) for one in both])
    assert "class weights balanced" in banner.text
    assert len(find(runs("both again", weighted=True)).seeds) == 2  # no seeds of the same settings
    found = find(runs("curve", weighted=True, labels=(10, 100)))
    names = strategy_names(found)
    assert len(names) == 2 and sum(name.endswith(", classes weighted") for name in names) == 1
