"""What the page says: verdict, cautions, costs, seeds and audit, from runs that were never trained."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
import scipy.stats
from fake_runs import write_run
from pages import write
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compare.data import dataset
from compare.findings import metrics
from compare.findings.baseline import Baseline
from compare.findings.findings import find
from compare.page import audit, banners, cautions, gallery, mistakes, tables, verdict
from compare.page.shown import by_seeds, label_of, named, show
from compare.runs import record


def test_a_changed_backbone_is_called_out(tmp_path):
    for after, abouts in (("a", []), ("b", ["Backbone changed"])):
        changes = {"frozen": {"sha256_before": "a", "sha256_after": after}}
        run = record.read_run(write_run(tmp_path / after, branch="pretrained", changes=changes))
        scratch = record.read_run(write_run(tmp_path / f"scratch {after}"))
        found = banners.of([("it", run.record), ("another", scratch.record)], [])
        assert [banner.about for banner in found] == abouts


@pytest.mark.parametrize(
    ("accuracies", "sure", "classes"),
    [
        ((0.9, 0.5), "is more than the choice of test images explains (exact McNemar", "is the stronger on"),
        ((0.9, 0.89), "is no more than the choice of test images may explain (exact McNemar", "No single class"),
        ((1.0, 1.0), "They are right and wrong on the same images.", None),
    ],
)
def test_the_verdict_in_words(tmp_path, accuracies, sure, classes):
    runs = [
        record.read_run(write_run(tmp_path / branch, branch=branch, accuracy=accuracy))
        for branch, accuracy in zip(("scratch_resnet", "pretrained"), accuracies, strict=True)
    ]
    found = find(runs)
    first, *rest, last = verdict.sentences(found, show(found))
    assert sure in first and last.startswith("Beside ")
    assert any(classes in sentence for sentence in rest) if classes else "class" not in "".join(rest)


def test_the_weakest_class_is_that_of_scikit_learns_matrix_also_where_no_winner_is_shown(tmp_path):
    runs = [record.read_run(write_run(tmp_path / str(one), accuracy=one, seed=3)) for one in (0.8, 0.5, 0.79)]
    wrong = confusion_matrix(runs[0].test_labels, runs[0].test_probabilities.argmax(axis=1))
    np.fill_diagonal(wrong, 0)
    label = int(wrong.sum(axis=1).argmax())
    name, other = (runs[0].record.data.class_names[place] for place in (label, wrong[label].argmax()))
    expected = f"{name}, {wrong[label].sum()} of 20 wrong, mostly as {other} ({wrong[label].max()})."
    for second in runs[1:]:  # the latter is nearly as good
        found = find([runs[0], second])
        shown = show(found)
        assert f"Weakest class of {shown[0].label}: {expected}" in verdict.sentences(found, shown)


def silent_or_not(runs, baseline=None):
    """The sentences on these runs, each beside this baseline, and why they name no winner."""
    found = find(runs)
    found = dataclasses.replace(found, runs=tuple(dataclasses.replace(one, baseline=baseline) for one in found.runs))
    return verdict.sentences(found, show(found)), verdict.no_winner_because(found, show(found))


def test_no_winner_is_named_where_none_is_shown(tmp_path):
    """Each reason alone, then all of them: the gravest is the first word, and no sentence says who is better."""

    def pair(name, first=None, second=None, **both):
        return [
            record.read_run(write_run(tmp_path / name / branch, branch=branch, accuracy=accuracy, **(own or {}) | both))
            for branch, accuracy, own in (("scratch_resnet", 0.9, first), ("pretrained", 0.5, second))
        ]

    def beside(points, p_value):
        return Baseline(0.85, 60_000, dataclasses.replace(metrics.paired(*plain), points_ahead=points, p_value=p_value))

    plain = pair("plain")
    jumping = plain[0].record.as_json()["history"]
    jumping[1] |= {"test_accuracy": 0.99}  # and 0.9 at the end, of 200 images: z = 0.09 / sqrt(2 · 0.945 · 0.055 / 200)
    control, history = {"weights": "random"}, {"changes": {"history": jumping}}
    unbeaten = (
        "not even ResNet-18 · from scratch beats logistic regression on the pixels by more than the choice of test "
        "images explains (0.9000 against 0.8500, which learned from 60,000 images)"
    )
    reasons = [
        "scikit-learn's digits are demonstration data",
        "no network here is pretrained, and random weights stand in for that",
        unbeaten,
        "ResNet-18 · from scratch was still jumping at its end: in epoch 3 its test accuracy fell by 9.0 points, more "
        "than the choice of 200 images explains",
    ]
    cases = [
        (pair("demo", data="digits"), None, reasons[:1]),
        (pair("control", second=control), beside(5.0, 0.01), reasons[1:2]),
        (plain, beside(5.0, 0.06), reasons[2:3]),
        (plain, beside(-5.0, 0.01), reasons[2:3]),
        (pair("jumping", first=history), None, reasons[3:]),
        (pair("all", first=history, second=control, data="digits"), beside(5.0, 0.06), reasons),
    ]
    for runs, baseline, because in cases:
        sentences, found = silent_or_not(runs, baseline)
        assert found == because
        if re.search("[0-9]", because[0]):  # the claim has not
            assert sentences.pop(0) == f"In numbers: {because[0]}."
        if because[1:]:
            assert sentences.pop(0) == f"Nor would a winner be named without that: {'; '.join(because[1:])}."
        assert sentences[0].startswith("The difference between ResNet-18 · from scratch and ResNet50 · frozen")
        for sentence in sentences:
            assert not re.search("ahead|better|stronger|wins|best", sentence)
            assert not re.search("领先|更好|占优|更优|胜出|最好", sentence.translations["zh-Hans"])
    pretrained = record.read_run(write_run(tmp_path / "pretrained", branch="pretrained", accuracy=0.4, seed=1))
    for runs in (plain, [*cases[1][0], pretrained], plain[:1]):
        sentences, found = silent_or_not(runs, beside(5.0, 0.01))
        assert found == [] and not any("In numbers" in sentence for sentence in sentences)


def test_the_reasons_stand_on_the_page_and_beside_it(tmp_path):
    runs = [write_run(tmp_path / branch, branch=branch, data="digits") for branch in ("scratch_resnet", "pretrained")]
    page = write(tmp_path / "out", *runs)
    assert "No winner is named: scikit-learn's digits are demonstration data." in page.text.replace(
        "\N{NON-BREAKING HYPHEN}", "-"
    )
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert content["no_winner_because"] == ["scikit-learn's digits are demonstration data"]
    assert content["no_winner_because_in_chinese"] == ["scikit-learn 的手写数字只是演示数据"]


def test_times_of_different_devices_do_not_compare(tmp_path):
    said = []
    for name, kind, num_threads, num_processes in (
        ("same", "cpu", 2, 1),
        ("fewer", "cpu", 1, 1),
        ("other", "cuda", 2, 1),
        ("together", "cpu", 2, 2),
    ):
        device = {"kind": kind, "name": "a made-up processor, 2 threads"}
        changes = {"device": device, "num_threads": num_threads, "num_processes": num_processes}
        folders = [
            write_run(tmp_path / name / "a", changes={"num_threads": 2}),
            write_run(tmp_path / name / "b", changes=changes),
        ]
        shown = show(find([record.read_run(folder) for folder in folders]))
        said.append((cautions.different_devices(shown) is not None, "training time" in verdict.cost(*shown)))
    assert said == [(False, True), (True, False), (True, False), (True, False)]


@pytest.mark.parametrize(
    ("computed", "num_processes", "num_threads", "said"),
    [
        (240.0, 1, 2, None),
        (120.0, 1, 2, "49%"),
        (40.0, 1, 1, "33%"),
        (480.0, 4, 1, None),
        (120.0, 2, 1, "49%"),
        (None, 1, None, None),
    ],
)
def test_times_of_a_training_that_shared_the_processors_say_little(
    tmp_path, computed, num_processes, num_threads, said
):
    """123 seconds of training: on two threads, of one process or of two, 246 could have been computed."""
    changes = {"num_processes": num_processes}
    changes |= {} if computed is None else {"processor_seconds": computed, "num_threads": num_threads}
    shown = show(find([record.read_run(write_run(tmp_path / "run", changes=changes))]))
    caution = cautions.processors_shared(shown)
    assert caution is None if said is None else f"had the processors for {said} of the training time" in caution
    rows = dict(tables.summary_rows(shown))
    assert rows.get("Threads") == (None if num_threads is None else [str(num_threads)])
    assert rows.get("Processes that trained together") == (None if num_processes == 1 else [str(num_processes)])
    assert ("Processor time in training" in rows) == (computed is not None)


def test_other_seeds_are_asked_for_until_there_are_three(tmp_path):
    runs = [record.read_run(write_run(tmp_path / str(seed), seed=seed)) for seed in (0, 1, 2)]
    assert cautions.one_seed(show(find(runs))) is None
    assert "Some settings" in cautions.one_seed(show(find(runs[:2])))
    assert "Each run is one seed" in cautions.one_seed(show(find(runs[:1])))
    assert cautions.one_seed([]) is None


def test_seeds_are_taken_together(tmp_path):
    folders = [
        write_run(tmp_path / f"{branch}-{seed}", branch=branch, seed=seed, accuracy=accuracy)
        for branch, accuracies in (("scratch_resnet", (0.9, 0.91, 0.92)), ("pretrained", (0.8, 0.83)))
        for seed, accuracy in enumerate(accuracies)
    ]
    text = write(tmp_path / "out", *folders).text
    # Welch's t by hand: means 0.91 and 0.815, variances of the means 1e-4 / 3 and 4.5e-4 / 2
    found = find([record.read_run(folder) for folder in folders])
    shown = show(found)
    variances = 1e-4 / 3, 4.5e-4 / 2
    t = (0.91 - 0.815) / sum(variances) ** 0.5
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 1)
    p_value = 2 * scipy.stats.t.sf(t, freedom)
    said = f"no more than the seeds may explain (Welch’s t test, {verdict.p_in_words(p_value)})"
    assert said in verdict.sentences(found, shown)[0] and said in text
    rows = {label_of(group): (group[0].seeds.mean, group[0].seeds.deviation) for group in by_seeds(shown)}
    assert rows == {
        "ResNet-18 · from scratch": (pytest.approx(0.91), pytest.approx(0.01)),
        "ResNet50 · frozen": (pytest.approx(0.815), None),  # two seeds have no spread worth a number
    }
    assert "ResNet-18 · from scratch, seed 2" in text and text.count("± 0.0100") == 1
    # a list of runs names seeds together where all of them are in it; their confusion matrix is the one of the verdict
    assert "No temperature is fitted for ResNet-18 · from scratch, ResNet50 · frozen:" in text
    assert named([shown[0], *shown[3:]], shown) == [shown[0].label, "ResNet50 · frozen"]
    matrices = mistakes.of_matrices(found, shown)
    assert [matrix["index"] for matrix in matrices] == [2, 4, None]
    assert matrices[2]["title"] == f"{shown[2].label} less {shown[4].label}"


def test_recipes_with_mistakes_are_named(tmp_path):
    runs = [
        record.read_run(write_run(tmp_path / recipe, recipe=recipe, known_mistakes=mistakes))
        for recipe, mistakes in (("article", ("It is wrong.",)), ("tuned", ()))
    ]
    shown = show(find(runs))
    said = cautions.known_mistakes(shown)
    assert "ResNet-18 · from scratch · article." in said and "from scratch · tuned" not in said
    assert cautions.known_mistakes(shown[1:]) is None


def test_the_verdict_is_about_the_best_run_of_each_branch(tmp_path):
    runs = [
        record.read_run(write_run(tmp_path / str(number), branch=branch, accuracy=accuracy, seed=number))
        for number, (branch, accuracy) in enumerate(
            [("pretrained", 0.7), ("scratch_resnet", 0.8), ("scratch_resnet", 0.9), ("pretrained", 0.6)]
        )
    ]
    both, of_one_side = find(runs).headline, find(runs[1:3]).headline
    assert (both.first, both.second, of_one_side.first, of_one_side.second) == (2, 0, 1, 0)


def test_energy_is_shown_where_a_device_tells_it(tmp_path):
    told, other, silent = (
        write_run(tmp_path / str(joules), branch=branch, changes={"energy_joules": joules})
        for branch, joules in (("scratch_resnet", 12_345.6), ("pretrained", 3086.4), ("pretrained", None))
    )
    page = write(tmp_path / "both", told, other)
    assert page.row("Energy of the device").split()[-4:] == ["12.3", "kJ", "3.1", "kJ"]
    assert "4 times the energy" in page.text
    rows = list(csv.DictReader((tmp_path / "both" / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["energy_joules"] for row in rows] == ["12345.6", "3086.4"]
    page = write(tmp_path / "one", told, silent)
    assert page.row("Energy of the device").split()[-3:] == ["12.3", "kJ", "&#8211;"] and "the energy" not in page.text
    assert "nergy" not in write(tmp_path / "none", silent).text


def test_the_cost_in_words(tmp_path):
    branches = ("pretrained", "scratch_resnet")
    shown = show(find([record.read_run(write_run(tmp_path / branch, branch=branch)) for branch in branches]))
    assert verdict.cost(*shown) == (
        "Beside ResNet-18 · from scratch, ResNet50 · frozen took about the same training time "
        "and 0.18 % of the trained parameters."
    )


def test_the_audits_answers(tmp_path):
    """Each question with a run that passes, one that fails, and one that it does not apply to."""

    def one(name, **settings):
        if history := settings.get("changes", {}).get("history"):
            settings["num_epochs"] = len(history)  # as its recipe has it
        return show(find([record.read_run(write_run(tmp_path / name, **settings))]))[0]

    def rows(*losses):
        return {
            "history": [
                {"epoch": n, "seconds": 1.0, "images_per_second": 1.0, "learning_rate": 0.1, "train_accuracy": 0.5}
                | {"train_loss": loss, "test_loss": 1 / loss, "test_accuracy": 0.5}
                for n, loss in enumerate(losses, start=1)
            ]
        }

    unit = {"channels": "BGR", "lowest": [0.0] * 3, "highest": [1.0] * 3}
    scratch, single = one("scratch"), one("single", changes=rows(1.0))
    cases = {
        audit.test_set_unwatched: (one("held out", watched="validation"), scratch, None),
        audit.frozen_unchanged: (
            one("kept", branch="pretrained"),
            one("moved", changes={"frozen": {"sha256_before": "a", "sha256_after": "b"}}),
            scratch,
        ),
        audit.expected_input: (
            one("right", branch="pretrained", seen=True),
            one("unit", branch="pretrained", seen=True, changes={"seen": unit}),
            one("random", branch="pretrained", weights="random", seen=True, changes={"seen": unit}),
        ),
        audit.trained_out: (one("flat", changes=rows(1.0, 0.99)), one("falling", changes=rows(1.0, 0.9)), single),
        # the made-up test loss is one over the training loss
        audit.not_overfitted: (
            one("sinking", changes=rows(0.9, 1.0)),
            one("rising", changes=rows(1.0, 0.9)),
            single,
        ),
        audit.beats_majority: (scratch, one("poor", accuracy=0.1), None),
    }
    # nobody knows what a file's network was trained on, whatever entered it; what is not at hand is not known either
    for name, seen, why in (
        ("own", False, "keeps no image of what entered its network"),
        ("own seen", True, "here they got blue -103.9 to 151.1, green -116.8 to 138.2, red -123.7 to 131.3"),
    ):
        own = one(name, branch="pretrained", weights="file", seen=seen)
        answer = audit.expected_input(own, [own])
        assert (answer.passed, answer.known) == (None, False) and answer.why.endswith(why)
    assert audit.expected_input(cases[audit.expected_input][2], []).known
    assert not audit.beats_logistic_regression(scratch, None).known
    # what ten equal steps came to was on its way; what half as much each time comes to has arrived; without steps
    assert audit.trained_out(one("even", changes=rows(*np.linspace(2.30, 2.29, 10))), []).passed is False
    assert audit.trained_out(one("halving", changes=rows(*(1 + 0.02 * 0.5**n for n in range(8)))), []).passed is True
    solved = [row | {"learning_rate": None, "penalty": 0.1} for row in rows(1.0, 0.5)["history"]]
    assert audit.trained_out(one("solved", changes={"history": solved}), []).passed is None
    unknown = [row | {"learning_rate": None} for row in rows(1.0, 0.5)["history"]]  # by what steps it fell is not said
    assert audit.trained_out(one("unknown", changes={"history": unknown}), []).passed is False
    for ask, runs in cases.items():
        for expected, run in zip((True, False, None), runs, strict=True):
            assert run is None or ask(run, [run]).passed is expected, (ask.__name__, expected)
    stranger = one("stranger", num_test=100)
    assert audit.same_test_set(stranger, [scratch, stranger]).passed is False
    assert [
        audit.same_test_set(one, shown).passed for one, shown in ((scratch, [scratch]), (scratch, [single] * 2))
    ] == [
        None,
        True,
    ]
    assert len(audit.of([scratch], None)) == len(cases) + 3


def test_test_images_that_were_trained_on_are_found(tmp_path, monkeypatch):
    digits = dataset.load("digits")
    copied = digits.test_images.copy()
    copied[[3, 5]] = digits.train_images[:2]
    leaking = dataclasses.replace(digits, test_images=copied)
    monkeypatch.setattr(gallery.dataset, "load", lambda *_, **__: leaking)
    gallery._local.cache_clear()
    run = record.read_run(write_run(tmp_path / "run", data="digits", num_test=None))
    images = gallery.of([run], gallery.data_of([run]))
    gallery._local.cache_clear()
    assert images.also_in_training.tolist() == [3, 5]
    (one,) = show(find([run]))
    right = run.test_probabilities.argmax(axis=1) == run.test_labels
    found = audit.apart_from_training(one, images)
    without = (right.sum() - right[[3, 5]].sum()) / (len(right) - 2)
    assert found.passed is False and "compare.inspect" in found.to_do
    assert found.why == f"2 are also training images; without them the accuracy is {without:.4f}"
    assert audit.apart_from_training(one, None).passed is None


def test_a_linear_model_of_the_pixels_is_to_be_beaten(tmp_path):
    digits = dataset.load("digits")
    pixels = [images.reshape(len(images), -1) / 255 for images in (digits.train_images, digits.test_images)]
    theirs = make_pipeline(StandardScaler(with_std=False), LogisticRegression(C=0.1, max_iter=2000))
    expected = theirs.fit(pixels[0], digits.train_labels).score(pixels[1], digits.test_labels)
    runs = [
        record.read_run(write_run(tmp_path / str(accuracy), data="digits", num_test=None, accuracy=accuracy))
        for accuracy in (0.99, 0.5)
    ]
    for run in runs:
        run.record.data.num_train = len(digits.train_labels)
    shown = show(find(runs, gallery.data_of(runs)))
    baseline = shown[0].baseline
    assert baseline.num_images == len(digits.train_labels)
    assert baseline.accuracy == pytest.approx(expected, abs=0.01)
    better, worse = (audit.beats_logistic_regression(one, shown) for one in shown)
    assert (better.passed, worse.passed) == (True, False)
    assert f"0.9900, against {baseline.accuracy:.4f} by logistic regression on 1,297 training" in better.why
    assert audit.beats_logistic_regression(show(find(runs))[0], shown).passed is None


def test_a_strategy_answers_with_all_its_seeds(tmp_path):
    """Of three seeds one was watched on the test set; nobody has the images."""
    shown = show(
        find(
            [
                record.read_run(write_run(tmp_path / str(seed), seed=seed, watched=watched))
                for seed, watched in enumerate(("validation", "test", "validation"))
            ]
        )
    )
    for one in shown:  # as of the same settings
        object.__setattr__(one, "seeds", shown[0].seeds)
    answers = [audit.test_set_unwatched(one, shown) for one in shown]
    cell = audit.cell(shown, answers)
    assert (cell.state, cell.words) == ("failed", "✗ failed in 1 of 3") and cell.whys[1].startswith("seed 1: ")
    assert cell.to_do == ("train with a validation split held out: --recipe tuned",)
    cells = dict(audit.table(shown, None))["No test image is also a training image"]
    assert [(one.state, one.words) for one in cells] == [("not-run", "? not run in 3 of 3")]
    assert "--data-dir" in cells[0].to_do[0]
