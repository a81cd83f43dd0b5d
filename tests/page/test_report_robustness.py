"""The page's section on robustness, and what each network saw: from runs that were never trained."""

import base64
import csv
import dataclasses
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from fake_runs import write_run
from pages import write
from PIL import Image

from compare.data import corruptions, dataset
from compare.findings.findings import find
from compare.page import audit, calibration, confidence_figures, document, figures, gallery, pictures, verdict, words
from compare.page.document import robustness
from compare.page.shown import show
from compare.runs import record
from compare.runs.schema import Input


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A fragile run, a robust one that is behind it, and one from before there was robustness."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / name, branch=branch, data="digits", num_test=None, accuracy=accuracy, seed=seed, **more)
        for seed, (name, branch, accuracy, more) in enumerate(
            [
                ("fragile", "scratch_resnet", 0.9, {"robustness": 0.1, "seen": True}),
                ("robust", "pretrained", 0.85, {"robustness": 0.95, "seen": True, "weights": "random"}),
                ("older", "scratch_resnet", 0.8, {}),
            ]
        )
    ]


@pytest.fixture(scope="module")
def shown(runs):
    return show(find([record.read_run(run) for run in runs]))


@pytest.fixture(scope="module")
def report_of_three(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, write(folder, *runs)


def test_the_section_has_the_numbers_of_the_runs(report_of_three, runs):
    folder, page = report_of_three
    means = []
    for run in map(record.read_run, runs[:2]):
        right = run.robustness_predicted == run.test_labels  # all 500 digits are in the sample
        clean = (run.test_probabilities.argmax(axis=1) == run.test_labels).mean()
        means.append((clean, right.mean(), 100 * right.mean() / clean, right.mean(axis=2)))
    table = page.source[page.source.index("Accuracy on these images</span></caption>") :]
    cells = [re.findall(r'"number">([^<]+)</td>', row) for row in table.split("<tr>")[2:4]]
    expected = [[f"{clean:.4f}", f"{mean:.4f}", f"{retained:.1f}&#160;%"] for clean, mean, retained, _ in means]
    assert cells == expected  # the most accurate first
    assert f"{100 * (means[1][1] - means[0][1]):.2f} percentage points more of them" in page.text
    assert "Not measured for ResNet-18 · from scratch, seed 2: trained without --robustness." in page.text
    # the table that is a click away: kinds, strengths, amounts, and both accuracies with their intervals
    rows = re.findall(r"<tr><th scope=\"row\">([A-Z]\w+)</th><td>(\d)</td>(.*?)</tr>", page.source)
    cells = {(kind, int(strength)): re.findall(r">(0\.\d{4}|1\.0000) \(", rest) for kind, strength, rest in rows}
    assert len(cells) == 1 + 6 * 5
    for line, kind in enumerate(("Shift", "Rotation", "Scale", "Noise", "Contrast", "Blur")):
        for strength in range(1, 6):
            expected = [f"{accuracy[line, strength - 1]:.4f}" for *_, accuracy in means]
            assert cells[kind, strength] == expected

    rows = list(csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["corrupted_accuracy"] for row in rows[2:]] == [""]
    for row, (_, mean, retained, _) in zip(rows, means, strict=False):
        assert float(row["corrupted_accuracy"]) == pytest.approx(mean)
        assert float(row["corrupted_accuracy_retained"]) == pytest.approx(retained / 100)
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))["runs"]
    assert content[2]["robustness"] is None and content[2]["seen"] is None
    np.testing.assert_allclose(content[0]["robustness"]["accuracy"], means[0][3])
    assert content[0]["robustness"]["strengths"] == {kind: list(of) for kind, of in corruptions.STRENGTHS.items()}
    assert content[1]["seen"]["channels"] == "BGR"


def test_where_the_less_robust_one_is_ahead_is_said(runs):
    """The fragile run, behind on average, is made right on every image turned by 18°, and the other one wrong."""
    changed = []
    for path, shift in zip(runs, (0, 1), strict=False):
        run = record.read_run(path)
        predicted = run.robustness_predicted.copy()
        predicted[1, 2] = (run.test_labels[run.robustness_rows] + shift) % 10
        changed.append(dataclasses.replace(run, robustness_predicted=predicted))
    found = find(changed)
    shown = robustness(found, show(found), None)
    assert shown["pair"][0].run is changed[1] and shown["other_way"] == "Rotation 18°"
    found = find([record.read_run(path) for path in runs])
    assert not robustness(found, show(found), None)["other_way"]


def test_the_picture_is_told_in_words_and_lies_beside_the_page(report_of_three):
    folder, page = report_of_three
    alts = [drawing["aria-label"] for drawing in page.all("div") if drawing.get("role") == "img"]
    (alt,) = (alt for alt in alts if "strength of corruption" in alt)
    assert "on clean images" in alt and "seed 2" not in alt
    with Image.open(folder / "robustness.png") as image:
        assert image.width > 1000
    drawn = (folder / "robustness.svg").read_text()
    assert all(f">{title}<" in drawn for title in ("Shift: 1 px to 5 px", "Rotation: 6° to 30°", "Noise: 8 % to 38 %"))
    assert 'href="robustness.png"' in page.source and 'href="robustness.svg"' in page.source


def test_a_panel_for_each_kind_begins_with_the_images_as_they_are_and_shades_reversals(shown):
    robust = [one for one in shown if one.robustness is not None]
    with figures.drawing():
        figure = confidence_figures.robustness(
            [(one.label, one.look, [one.robustness]) for one in robust], list(corruptions.STRENGTHS)
        )
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(corruptions.STRENGTHS)
    first, second = (one.robustness for one in robust)
    for line, axes in enumerate(figure.axes):
        drawn = [one for one in axes.lines if one.get_label() != "_name"]
        for of_run, one in zip(drawn, robust, strict=True):
            expected = [one.robustness.clean, *one.robustness.accuracy[line]]
            np.testing.assert_allclose(of_run.get_xydata(), list(enumerate(expected)))
            assert of_run.get_color() == figures.DRAWN.runs[one.look]
            assert of_run.get_marker() == figures.MARKERS[one.look]
        shaded = {round(patch.get_x() + patch.get_width() / 2) for patch in axes.patches}
        ahead = second.low[line] > first.high[line]  # of the fragile one, which is the best on clean images
        assert shaded == {1 + strength for strength in np.flatnonzero(ahead)} and ahead.any()
    views = [tuple(map(float, view.split())) for view in confidence_figures.panels(6)]
    width, height = 72 * figure.get_size_inches()
    for axes, (x, y, across, down) in zip(figure.axes, views, strict=True):
        place = axes.get_position()
        assert x < place.x0 * width and place.x1 * width < x + across and (y, down) == (0, pytest.approx(height))


def test_the_strip_shows_what_the_networks_saw(report_of_three, runs):
    _, page = report_of_three
    (source,) = re.findall(r"\.corrupted \.tile \{[^}]*url\(data:image/webp;base64,([^)]+)\)", page.source)
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("L"), float)
    assert strip.shape == (6 * 28, 6 * 28)
    images = dataset.load("digits").test_images
    for line, (kind, amounts) in enumerate(corruptions.STRENGTHS.items()):
        expected = [images[0], *(corruptions.corrupt(images, kind, amount)[0] for amount in amounts)]
        for column, tile in enumerate(expected):
            seen = strip[28 * line : 28 * (line + 1), 28 * column : 28 * (column + 1)]
            assert np.abs(seen - tile[..., 0]).mean() < 10, (kind, column)
    table = page.source[page.source.index('<table class="corrupted">') :]
    tiles = re.findall(r' aria-label="([^"]+)"[^>]* style="--x: (\d); --y: (\d)"', table)
    assert len(tiles) == 36 and ("Rotation 18&#176;", "3", "1") in tiles and ("As it is", "0", "5") in tiles


def test_without_the_test_images_there_is_no_strip(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "of", lambda *_, **__: None)
    page = write(tmp_path, *runs)
    assert "How robust?" in page.text and 'class="corrupted"' not in page.source and "url(data:" not in page.source


def test_runs_without_it_have_no_section(runs, tmp_path):
    page = write(tmp_path, runs[2])
    assert "How robust?" not in page.text and "What each network saw" not in page.text
    assert not any("robust" in link["href"] for link in page.all("a")) and not list(tmp_path.glob("robustness*"))


def test_other_copies_are_named_and_not_compared(runs, tmp_path):
    kept = record.read_run(runs[0]).record.robustness
    other = write_run(
        tmp_path / "other",
        branch="pretrained",
        data="digits",
        num_test=None,
        robustness=0.5,
        changes={"robustness": kept.model_dump() | {"fingerprint": "another sample"}},
    )
    page = write(tmp_path / "out", runs[0], other)
    assert "Not compared, as other copies were predicted: ResNet50 · frozen" in page.text
    assert "percentage points more of them" not in page.text and "On corrupted copies" not in page.text


def test_the_verdict_tells_where_the_less_accurate_run_is_the_more_robust(shown, monkeypatch):
    def said_of(*runs):
        found = find(runs)
        return calibration.weak_sides(found, show(found))

    fragile, robust, older = shown
    found = find([fragile.run, robust.run])
    said = said_of(fragile.run, robust.run)
    numbers = f"({fragile.robustness.mean:.3f} against {robust.robustness.mean:.3f})"
    assert f"accuracy on corrupted images {numbers}" in said
    assert said not in verdict.sentences(found, show(found))  # which is silent on demonstration data
    monkeypatch.setattr(verdict, "no_winner_because", lambda *_: [])
    assert said in verdict.sentences(found, show(found))
    assert "corrupted" not in said_of(fragile.run, older.run)
    always = np.eye(10, dtype=np.float32)[robust.run.test_labels]
    ahead = said_of(dataclasses.replace(robust.run, test_probabilities=always), fragile.run)
    assert "accuracy on corrupted images (" not in ahead


def test_what_each_network_saw_is_shown_with_its_range(report_of_three, runs):
    _, page = report_of_three
    strips = [image for image in page.all("img") if "as they entered" in image["alt"]]
    assert [image["alt"].split("; ")[-1] for image in strips] == [
        "one channel, 0 to 1.",
        "blue -103.9 to 151.1, green -116.8 to 138.2, red -123.7 to 131.3.",
    ]
    for strip, run in zip(strips, map(record.read_run, runs[:2]), strict=True):
        content = base64.b64decode(strip["src"].removeprefix("data:image/webp;base64,"))
        seen = np.asarray(Image.open(io.BytesIO(content)).convert("L"), float)
        assert seen.shape == (16, 40) == (int(strip["height"]), int(strip["width"]))
        for line, images in enumerate((run.seen_test, run.seen_training)):
            for column, image in enumerate(images):
                tile = seen[8 * line : 8 * (line + 1), 8 * column : 8 * (column + 1)]
                assert np.abs(tile - image).mean() < 12


def test_what_a_network_saw_of_photographs_is_said_in_both_languages(tmp_path):
    recipe = {"name": "tuned", "crop_area": 0.35, "centre_crop": 0.875}
    for changes, expected in (
        (recipe, "; in the test the middle 87.5% of each side; in training a part of each, 35% of its area or more"),
        (recipe | {"crop_area": 1.0}, "; in the test the middle 87.5% of each side"),
        ({"name": "tuned"}, ""),
    ):
        folder = tmp_path / str(len(expected))
        run = record.read_run(write_run(folder, seen=True, changes={"recipe": changes}))
        said = document.seen(*show(find([run])), "it")["words"]
        assert said == f"8×8 pixels; one channel, 0 to 1{expected}"
        assert ("训练时各取一部分" in said.translations["zh-Hans"]) == ("35%" in expected)
        assert run.record.as_json()["recipe"] == changes


@pytest.mark.parametrize(
    ("lowest", "highest", "passed", "says"),
    [
        ([-103.939, -116.779, -123.68], [151.061, 138.221, 131.32], True, "measured: blue -103.9 to 151.1"),
        ([-123.68, -116.779, -103.939], [131.32, 138.221, 151.061], False, "blue -123.7 to 131.3"),  # the wrong order
        ([0, 0, 0], [1, 1, 1], False, "measured: 3 equal channels, 0 to 1"),  # the article's mistake
        ([0, 0, 0], [255, 255, 255], False, "3 equal channels, 0 to 255"),  # no mean subtracted
        ([-103.939], [151.061], False, "one channel"),
    ],
)
def test_the_audit_measures_what_the_weights_got(tmp_path, lowest, highest, passed, says):
    changes = {"seen": {"channels": "BGR", "lowest": lowest, "highest": highest}}
    run = record.read_run(write_run(tmp_path / "run", branch="pretrained", seen=True, changes=changes))
    answer = audit.expected_input(*[*show(find([run])), []])
    assert answer.passed is passed and says in answer.why and "expected: blue -103.9 to 151.1" in answer.why


def test_words_of_kinds_that_a_later_version_may_have():
    small, large = (SimpleNamespace(image_shape=shape) for shape in ([28, 30, 1], [96, 64, 3]))
    assert words.kind_in_words("fog", [1, 2.5], small) == "fog: 1 to 2.5"
    assert words.amount_in_words("contrast", 0.15, small) == "15 %"
    assert words.amount_in_words("blur", 0.75, small) == "0.75 px"
    assert words.amount_in_words("blur", 0.75, large) == "1.71 px of 64"  # 0.75 · 64 / 28, as it was applied
    assert words.range_in_words(Input(channels="XY", lowest=[0, 1], highest=[2, 3])) == "X 0 to 2, Y 1 to 3"


def test_kinds_that_this_version_does_not_know_have_no_strip(runs, tmp_path):
    run = record.read_run(runs[0])
    strange = run.record.robustness.strengths.copy()
    strange["fog"] = strange.pop("blur")
    run.record.robustness.strengths = strange
    assert gallery.corrupted(dataset.load("digits").test_images, [run]) == (None, None)
    found = find([run])
    drawn = pictures.draw(found, show(found))["robustness"]
    assert len(drawn) == 1 and b">fog: 0.5 to 2<" in drawn[0]["svg"]
