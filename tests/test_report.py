"""The report: read back as a browser would read it, from runs that were never trained."""

import ast
import base64
import csv
import dataclasses
import hashlib
import html.parser
import importlib.util
import io
import json
import re
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from fake_runs import write_run, write_unfinished_run
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compare import audit, banners, dataset, figures, gallery, metrics, page, pictures, record, report, verdict
from compare.command import UserError
from compare.language import say
from compare.page import not_scaled, show


class Page(html.parser.HTMLParser):
    """A page taken apart: its tags with their attributes, and its English text without tags. In `source` nothing marks
    what has a translation: `test_language` looks at that."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        written = re.sub(r'<span data-zh="[^"]*">([^<]*)</span>', r"\1", path.read_text(encoding="ascii"))
        self.source = re.sub(r' data-zh(-[a-z]+)*="[^"]*"', "", written)
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def row(self, name):
        """The text of the table row that begins with `name`."""
        rows = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", self.source)
        return next(re.sub(r"<[^>]+>", " ", row) for row in rows if row.startswith(name))


def permitted(script):
    """How a page's policy names a script by what is in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def write(folder, *runs, title="a title"):
    complete = [record.read_run(run) for run in runs if (run / record.RECORD).exists()]
    unfinished = [record.read_unfinished_run(run) for run in runs if not (run / record.RECORD).exists()]
    return Page(report.write_report(folder, complete, unfinished, title=title))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A report of two runs: its folder and its page."""
    folder = tmp_path_factory.mktemp("two")
    scratch = write_run(
        folder / "runs" / "scratch_resnet", accuracy=0.9, known_mistakes=("The <test> set is watched.",)
    )
    pretrained = write_run(
        folder / "runs" / "pretrained", branch="pretrained", accuracy=0.8, overrides={"num_epochs": 1}, weights="random"
    )
    return folder, write(folder, scratch, pretrained)


def test_it_needs_nothing_but_itself(two):
    _, page = two
    assert not re.search(r"https?://", page.source)
    assert not page.all("link") and not page.all("iframe") and not page.all("img")
    assert len(page.all("script")) == 1 and page.all("script") == [{}]
    for tag, attributes in page.tags:
        for name in ("src", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attributes)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", page.source, re.DOTALL)[1]
    assert "default-src 'none'" in policy and policy.endswith(f"; script-src {permitted(script)}")
    assert len(page.source) < 1_500_000


def test_the_numbers_are_those_of_the_runs(two):
    _, page = two
    assert page.row("Test accuracy").split()[-2:] == ["0.9000", "0.8000"]
    assert page.row("Trainable parameters").split()[-1] == "20,490"
    assert page.row("Training time").split()[-4:] == ["2", "min", "3", "s"]  # 41 s an epoch, three epochs
    assert "ResNet-18 from scratch is ahead of Frozen ResNet50 (random weights) by 10.00 percentage points" in page.text
    assert "Each run is one seed" in page.text


def test_what_limits_it_stands_before_the_numbers(two):
    _, page = two
    head = page.text[: page.text.index("Summary Curves")]
    assert "nothing in its backbone was ever trained" in head
    assert "ran with num_epochs 1 in place of" in head
    assert "Demo data" not in page.text and "One branch only" not in page.text
    assert "The <test> set is watched." in page.text


def test_every_picture_is_told_in_words_and_lies_beside_the_page(two):
    folder, page = two
    alts = [drawing["aria-label"] for drawing in page.all("svg")]
    assert len(alts) == 4 + 2 and all(len(alt) > 40 for alt in alts)
    assert "3 epochs: train 0.9100, test 0.9000" in alts[0]
    assert "over time" in alts[2] and "3 s" in alts[2]
    linked = {link["href"] for link in page.all("a") if link["href"].endswith(".png")}
    assert linked == {path.name for path in folder.glob("*.png")} and len(linked) == 9
    for name in linked:
        with Image.open(folder / name) as image:
            image.verify()
            assert image.width > 1000
    drawn = {path.stem: path.read_bytes() for path in folder.glob("*.svg")}
    assert drawn.keys() == {name.removesuffix(".png") for name in linked}
    assert all(f'href="{name}.svg"' in page.source for name in drawn)
    # the page draws what the files hold, in its own colours
    names = ["accuracy", "loss", "accuracy-over-time", "loss-over-time", "reliability", "selective"]
    for name, drawing in zip(names, re.findall(r"<svg.*?</svg>", page.source, re.DOTALL), strict=True):
        points = re.findall(r"[LM] [\d.]+ [\d.]+", drawing)
        assert len(points) > 50 and points == re.findall(r"[LM] [\d.]+ [\d.]+", drawn[name].decode())
        assert "var(--look-0)" in drawing and not re.search(r"#[0-9a-f]{6}\b", drawing)
        named = re.findall(r'(?:href="#|url\(#)([^")]+)', drawing)
        assert len(named) > 10 and all(f'id="{one}"' in drawing for one in named)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_numbers_lie_beside_the_page_for_programs(two):
    folder, page = two
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    runs = [record.read_run(folder / "runs" / name) for name in ("scratch_resnet", "pretrained")]
    for said, run in zip(content["runs"], runs, strict=True):
        predicted = run.test_probabilities.argmax(axis=1)
        assert said["test"]["counts"] == sklearn.metrics.confusion_matrix(run.test_labels, predicted).tolist()
        assert said["test"]["f1"] == pytest.approx(sklearn.metrics.f1_score(run.test_labels, predicted, average=None))
        assert said["history"] == run.record["history"] and said["recipe"] == run.record["recipe"]
    (pair,) = content["pairs"]
    assert (pair["first"], pair["points_ahead"]) == ("ResNet-18 from scratch", 10)
    assert all(caution in page.text for caution in content["cautions"])
    rows = list(csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["branch"] for row in rows] == ["scratch_resnet", "pretrained"]
    assert [float(row["test_accuracy"]) for row in rows] == [0.9, 0.8]
    assert [row["peak_device_memory_bytes"] for row in rows] == ["", ""]
    assert all(f'href="{name}"' in page.source for name in ("report.json", "metrics.csv"))


def test_what_is_not_defined_is_null_for_programs(tmp_path):
    run = write_run(tmp_path / "run", num_test=5)  # half of the classes have no image
    write(tmp_path / "out", run)
    text = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert "NaN" not in text and json.loads(text)["runs"][0]["test"]["recall"][9] is None
    write(tmp_path / "none", write_unfinished_run(tmp_path / "other"))
    assert json.loads((tmp_path / "none" / "report.json").read_text(encoding="utf-8"))["runs"] == []


def test_tables_tell_what_they_are(two):
    _, page = two
    assert len(page.all("table")) == len(page.all("caption")) > 8
    assert all(cell.get("scope") in ("col", "row", "colgroup") for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert not link["href"].startswith("#") or link["href"][1:] in ids


def test_the_same_runs_give_the_same_bytes(two, tmp_path):
    folder, _ = two
    write(tmp_path, *(folder / "runs" / name for name in ("scratch_resnet", "pretrained")))
    written = sorted(path.name for path in tmp_path.iterdir())
    assert "index.html" in written and len(written) == 3 + 2 * 9
    for name in written:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_names_from_a_record_cannot_inject(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>&<style>*{display:none}"
    data = record.read_run(write_run(tmp_path / "plain")).record["data"]
    run = write_run(
        tmp_path / "run",
        branch=bad,
        recipe=bad,
        known_mistakes=(bad,),
        overrides={bad: bad},
        changes={"data": data | {"class_names": [f"{bad}{n}" for n in range(10)]}, "commit": bad},
    )
    page = write(tmp_path / "out", run, title=bad)
    assert bad in page.text
    assert len(page.all("style")) == 1 and page.all("script") == [{}]
    assert not page.all("img")
    assert all(path.parent == tmp_path / "out" for path in (tmp_path / "out").rglob("*"))


def test_names_cannot_inject_into_scripts_either(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>"
    data = record.read_run(write_run(tmp_path / "plain", data="digits", num_test=None)).record["data"]
    run = write_run(
        tmp_path / "run",
        branch=bad,
        data="digits",
        num_test=None,
        changes={"data": data | {"class_names": [f"{bad}{n}" for n in range(10)]}},
    )
    page = write(tmp_path / "out", run, title=bad)
    assert len(page.all("script")) == 3 and not any("src" in script for script in page.all("script"))
    assert not page.all("img")
    block = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', page.source)[1]
    assert json.loads(block)["classes"] == {language: [f"{bad}{n}" for n in range(10)] for language in ("en", "zh")}
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert policy.endswith(f"; script-src {' '.join(map(permitted, scripts))}") and len(scripts) == 2


@pytest.mark.parametrize(("flags", "num_images"), [([], 400), (["--all-images"], 500), (["--no-images"], None)])
def test_the_page_has_as_many_images_as_are_asked_for(tmp_path, run_main, flags, num_images):
    run = write_run(tmp_path / "run", data="digits", num_test=None, accuracy=1.0)  # 40 of each class are kept
    assert run_main(report, run, "--out", tmp_path / "out", *flags)[0] == 0
    block = re.search(r'id="gallery-data">(.*?)</script>', (tmp_path / "out" / "index.html").read_text())
    assert (num_images is None) == (block is None)
    assert block is None or len(json.loads(block[1])["rows"]) == num_images


def test_a_data_folder_that_is_named_must_hold_the_data(tmp_path, run_main):
    run = write_run(tmp_path / "run")
    code, _, err = run_main(report, run, "--out", tmp_path / "out", "--data-dir", tmp_path / "nowhere")
    assert code == 2 and "nowhere is not a folder" in err and not (tmp_path / "out").exists()


def test_every_tile_is_its_image():
    images = dataset.load("digits").test_images[:250]
    sprite = np.asarray(Image.open(io.BytesIO(gallery.sprite(images))).convert("L"), float)
    shown = gallery.Gallery(np.arange(1000, 1250), b"", np.array([]), np.array([]), 0)
    for index in (0, 99, 100, 249):
        column, line = shown.place(1000 + index)
        tile = sprite[28 * line : 28 * (line + 1), 28 * column : 28 * (column + 1)]
        assert np.abs(tile - images[index]).mean() < 10


def test_numbers_in_a_drawing_stay_whole_and_coordinates_are_short():
    history = [{"epoch": n, "seconds": 1 / 3, "learning_rate": 0.1, "train_loss": 1 / n} for n in (1, 2, 3)]
    with figures.drawing():
        figure = figures.loss_curves([figures.Curves("a 0.12345", 0, [history], None)], over="time")
        drawing = figures.svg(figure).decode()
    assert ">a 0.12345, train</text>" in drawing
    assert not re.search(r'[" ]\d+\.\d{3}', re.sub(r">[^<]*<", "><", drawing))


def test_no_tick_is_written_in_tex(two):
    folder, _ = two
    with figures.drawing():
        shown = [
            (one.label, one.look, [one.calibration]) for one in page.show([record.read_run(folder / "runs/pretrained")])
        ]
        figure = figures.reliability(shown)
        figure.draw_without_rendering()
    assert not any("$" in label.get_text() for axes in figure.axes for label in axes.get_yticklabels())


def test_one_run_demo_data_and_validation_are_named(tmp_path):
    run = write_run(tmp_path / "run", data="digits", watched="validation", num_test=100)
    page = write(tmp_path / "out", run)
    assert "Demo data." in page.text and "One branch only." in page.text
    assert "This is" not in page.text and "percentage points" not in page.text
    assert "validation 0.9000" in page.all("svg")[0]["aria-label"]
    assert "Validation accuracy" in page.text and "Test accuracy" in page.text
    assert "ResNet-18 from scratch classifies 90.00 % of the 100 test images" in page.text


def test_temperature_is_shown_where_a_split_was_held_out_and_else_why_not(tmp_path):
    runs = [write_run(tmp_path / watched, watched=watched, seed=3, accuracy=0.5) for watched in ("validation", "test")]
    page = write(tmp_path / "out", *runs)
    (held_out, without) = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["runs"]
    assert page.row("Temperature fitted").split()[-2:] == [f"{held_out['temperature']:.2f}", "&#8211;"]
    assert page.row("Log loss with it").split()[-2:] == [f"{held_out['test_log_loss_scaled']:.4f}", "&#8211;"]
    assert without["temperature"] is None
    assert "no validation split was held out" in page.text and "an earlier version" not in page.text
    early = show([dataclasses.replace(record.read_run(runs[0]), validation_probabilities=None)])
    assert ["an earlier version" in sentence for sentence in not_scaled(early)] == [True]


def test_a_changed_backbone_is_called_out(tmp_path):
    for after, abouts in (("a", []), ("b", ["Backbone changed"])):
        changes = {"backbone": {"sha256_before": "a", "sha256_after": after}}
        run = record.read_run(write_run(tmp_path / after, branch="pretrained", changes=changes))
        found = banners.of([("it", run.record), ("another", run.record | {"branch": "x", "backbone": {}})], [])
        assert [banner.about for banner in found] == abouts


def test_unfinished_runs_are_shown_as_that(tmp_path):
    done = write_run(tmp_path / "runs" / "scratch_resnet")
    failed = write_unfinished_run(
        tmp_path / "runs" / "pretrained", log="a\n/home/me/secret/data: the disk <went> away\n"
    )
    page = write(tmp_path / "out", done, failed)
    assert "Not finished." in page.text and "1 epoch of 3 finished" in page.text
    assert "the disk <went> away" in page.text and "/home/me" not in page.text
    only = write(tmp_path / "only", write_unfinished_run(tmp_path / "runs" / "other", checkpoint=False))
    assert "other failed, was interrupted or is still running, with no epoch finished" in only.text
    assert "No run has finished" in only.text and not only.all("svg")
    strange = record.UnfinishedRun(tmp_path / "strange", {"overrides": {"batch_size": 1}}, [])
    assert [banner.about for banner in banners.of([], [strange])] == ["Not finished", "Changed settings"]


def test_runs_on_other_data_are_refused(tmp_path):
    runs = [write_run(tmp_path / "a", num_test=100), write_run(tmp_path / "b", num_test=110)]
    with pytest.raises(UserError, match="differ in their images or labels"):
        write(tmp_path / "out", *runs)
    assert not (tmp_path / "out").exists()


def test_two_recipes_of_both_branches_stand_side_by_side(tmp_path):
    """The article's runs watch the test set, the tuned ones hold out a validation split: they are compared, and told
    apart by their recipes."""
    folders = [
        write_run(
            tmp_path / f"{branch}-{recipe}",
            branch=branch,
            recipe=recipe,
            watched="test" if recipe == "article" else "validation",
            accuracy=accuracy,
        )
        for branch, recipe, accuracy in (
            ("scratch_resnet", "article", 0.92),
            ("pretrained", "article", 0.5),
            ("scratch_resnet", "tuned", 0.93),
            ("pretrained", "tuned", 0.8),
        )
    ]
    page = write(tmp_path / "out", *folders)
    for name in (
        "ResNet-18 from scratch · article",
        "ResNet-18 from scratch · tuned",
        "Frozen ResNet50 (ImageNet) · tuned",
    ):
        assert name in page.text
    assert "Different training images." in page.text and "16 images, 4 held out" in page.text
    assert "20 training images, 200 test images" in page.text
    assert {path.name for path in (tmp_path / "out").glob("confusion-*.png")} == {
        "confusion-difference.png",
        *(
            f"confusion-{branch}-{recipe}.png"
            for branch in ("scratch_resnet", "pretrained")
            for recipe in ("article", "tuned")
        ),
    }
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", re.search(r"Training time to 0.926.*?</tr>", page.source)[0])
    # the made-up curve of the second run reaches 0.93 at its end, after three epochs of 41 s
    assert cells == ["not reached", "not reached", "2 min 3 s", "not reached"]


def test_what_only_some_histories_hold_has_columns_of_its_own(tmp_path):
    run = record.read_run(write_run(tmp_path / "a", branch="pretrained"))
    rows = [row | {"learning_rate": None, "penalty": 1e-3} for row in run.record["history"][:2]]
    rows += [run.record["history"][2] | {"phase": "fine-tuning"}]
    recipe = run.record["recipe"] | {"unfreeze": "last-stage", "num_unfrozen_epochs": 1}
    other = write_run(tmp_path / "b", branch="pretrained", changes={"history": rows, "recipe": recipe})
    page = write(tmp_path / "out", other)
    assert "Fine-tuned ResNet50 (ImageNet)" in page.text and "Frozen" not in page.text
    assert re.search(r"&#8211;</td><td[^>]*>0.001</td><td[^>]*>&#8211;</td>", page.source)
    assert re.search(r"0.001</td><td[^>]*>&#8211;</td><td[^>]*>fine-tuning</td>", page.source)


def test_runs_of_one_branch_have_names_of_their_own(tmp_path):
    runs = [write_run(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second"))]
    page = write(tmp_path / "out", *runs)
    assert "ResNet-18 from scratch · article, seed 0" in page.text and "scratch · article, seed 1" in page.text
    same = [write_run(tmp_path / name) for name in ("one", "again")]
    again = write(tmp_path / "again-out", *same)
    assert "ResNet-18 from scratch · one" in again.text and "ResNet-18 from scratch · again" in again.text
    assert len({drawing["aria-label"] for drawing in page.all("svg")}) == 6
    assert len(list((tmp_path / "out").glob("*.png"))) == 9


@pytest.mark.parametrize(
    ("accuracies", "says"),
    [
        ((0.9, 0.5), ["ahead of Frozen ResNet50 (ImageNet) by 40.00 percentage points", "more than chance explains"]),
        ((0.9, 0.89), ["by 1.00 percentage points", "a gap that may well be chance"]),
        ((0.9, 0.9), ["are level on the 200 test images", "that the other takes for a wrong class"]),
        ((1.0, 1.0), ["are level on the 200 test images", "right and wrong on the same images"]),
    ],
)
def test_the_verdict_in_words(tmp_path, accuracies, says):
    runs = [
        record.read_run(write_run(tmp_path / branch, branch=branch, accuracy=accuracy))
        for branch, accuracy in zip(("scratch_resnet", "pretrained"), accuracies, strict=True)
    ]
    sentences = verdict.sentences(page.show(runs))
    for words, sentence in zip(says, sentences, strict=False):
        assert words in sentence
    assert sentences[-1].startswith("Beside ")


def test_times_of_different_devices_do_not_compare(tmp_path):
    said = []
    for name, kind in (("same", "cpu"), ("other", "cuda")):
        device = {"kind": kind, "name": "a made-up processor, 2 threads"}
        folders = write_run(tmp_path / name / "a"), write_run(tmp_path / name / "b", changes={"device": device})
        shown = page.show([record.read_run(folder) for folder in folders])
        said.append((verdict.different_devices(shown) is not None, "training time" in verdict.cost(*shown)))
    assert said == [(False, True), (True, False)]


def test_other_seeds_are_asked_for_until_there_are_three(tmp_path):
    runs = [record.read_run(write_run(tmp_path / str(seed), seed=seed)) for seed in (0, 1, 2)]
    assert verdict.one_seed(page.show(runs)) is None
    assert "Some settings" in verdict.one_seed(page.show(runs[:2]))
    assert "Each run is one seed" in verdict.one_seed(page.show(runs[:1]))
    assert verdict.one_seed([]) is None


def test_seeds_are_taken_together(tmp_path):
    folders = [
        write_run(tmp_path / f"{branch}-{seed}", branch=branch, seed=seed, accuracy=accuracy)
        for branch, accuracies in (("scratch_resnet", (0.9, 0.91, 0.92)), ("pretrained", (0.8, 0.83)))
        for seed, accuracy in enumerate(accuracies)
    ]
    text = write(tmp_path / "out", *folders).text
    # Welch's t by hand: means 0.91 and 0.815, variances of the means 1e-4 / 3 and 4.5e-4 / 2
    shown = page.show([record.read_run(folder) for folder in folders])
    variances = 1e-4 / 3, 4.5e-4 / 2
    t = (0.91 - 0.815) / sum(variances) ** 0.5
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 1)
    p_value = 2 * scipy.stats.t.sf(t, freedom)
    assert "over 3 and 2 seeds: 0.9100 against 0.8150: no more than the seeds may explain" in text
    assert verdict.p_in_words(p_value) in verdict.seeds(shown, *verdict.headline(shown))
    rows = {group.label: (group.mean, group.deviation) for group in verdict.by_settings(shown)}
    assert rows == {
        "ResNet-18 from scratch · article": (pytest.approx(0.91), pytest.approx(0.01)),
        "Frozen ResNet50 (ImageNet) · article": (pytest.approx(0.815), None),  # two seeds have no spread worth a number
    }
    assert "ResNet-18 from scratch · article, seed 2" in text and "±" not in text
    # a list of runs names seeds together where all of them are in it; the verdict's two come before the other matrices
    assert (
        "No temperature is fitted for ResNet-18 from scratch · article, Frozen ResNet50 (ImageNet) · article:" in text
    )
    assert verdict.named([shown[0], *shown[3:]], shown) == [shown[0].label, "Frozen ResNet50 (ImageNet) · article"]
    matrices = page.matrices(shown)
    assert [matrix["index"] for matrix in matrices] == [2, 4, None, 0, 1, 3]
    assert matrices[2]["title"] == f"{shown[2].label} less {shown[4].label}"


def test_recipes_with_mistakes_are_named(tmp_path):
    runs = [
        record.read_run(write_run(tmp_path / recipe, recipe=recipe, known_mistakes=mistakes))
        for recipe, mistakes in (("article", ("It is wrong.",)), ("tuned", ()))
    ]
    shown = page.show(runs)
    said = verdict.known_mistakes(shown)
    assert "ResNet-18 from scratch · article." in said and "from scratch · tuned" not in said
    assert verdict.known_mistakes(shown[1:]) is None


def test_the_verdict_is_about_the_best_run_of_each_branch(tmp_path):
    shown = page.show(
        [
            record.read_run(write_run(tmp_path / str(number), branch=branch, accuracy=accuracy, seed=number))
            for number, (branch, accuracy) in enumerate(
                [("pretrained", 0.7), ("scratch_resnet", 0.8), ("scratch_resnet", 0.9), ("pretrained", 0.6)]
            )
        ]
    )
    assert verdict.headline(shown) == (shown[2], shown[0])
    assert verdict.headline(shown[1:3]) == (shown[2], shown[1])


def test_energy_is_shown_where_a_device_tells_it(tmp_path):
    told, other, silent = (
        write_run(tmp_path / str(joules), branch=branch, changes={"energy_joules": joules})
        for branch, joules in (("scratch_resnet", 12_345.6), ("pretrained", 3086.4), ("pretrained", None))
    )
    page = write(tmp_path / "both", told, other)
    assert page.row("Energy of the device").split()[-4:] == ["12.3", "kJ", "3.1", "kJ"]
    assert "4 times the energy (12.3 kJ against 3.1 kJ)" in page.text
    rows = list(csv.DictReader((tmp_path / "both" / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["energy_joules"] for row in rows] == ["12345.6", "3086.4"]
    page = write(tmp_path / "one", told, silent)
    assert page.row("Energy of the device").split()[-3:] == ["12.3", "kJ", "&#8211;"] and "the energy" not in page.text
    assert "nergy" not in write(tmp_path / "none", silent).text


def test_the_cost_in_words(tmp_path):
    branches = ("pretrained", "scratch_resnet")
    shown = page.show([record.read_run(write_run(tmp_path / branch, branch=branch)) for branch in branches])
    assert verdict.cost(*shown) == (
        "Beside ResNet-18 from scratch it took about the same training time (2 min 3 s against 2 min 3 s), 1/545 of "
        "the trained parameters (20,490 against 11,172,810) and 1/3.91 of the operations an image "
        "(170 M against 665 M)."
    )


def test_the_audits_answers(tmp_path):
    """Each question with a run that passes, one that fails, and one that it does not apply to."""

    def one(name, **settings):
        return page.show([record.read_run(write_run(tmp_path / name, **settings))])[0]

    def rows(*losses):
        return {
            "history": [
                {"epoch": n, "seconds": 1.0, "images_per_second": 1.0, "learning_rate": 0.1, "train_accuracy": 0.5}
                | {"train_loss": loss, "test_loss": 1 / loss, "test_accuracy": 0.5}
                for n, loss in enumerate(losses, start=1)
            ]
        }

    recipe = one("recipe", branch="pretrained").record["recipe"]
    unit, right = (recipe | {"preprocessing": name} for name in ("unit", "imagenet"))
    scratch, single = one("scratch"), one("single", changes=rows(1.0))
    cases = {
        audit.test_set_unwatched: (one("held out", watched="validation"), scratch, None),
        audit.frozen_unchanged: (
            one("kept", branch="pretrained"),
            one("moved", changes={"backbone": {"sha256_before": "a", "sha256_after": "b"}}),
            scratch,
        ),
        audit.expected_input: (
            one("right", branch="pretrained", changes={"recipe": right}),
            one("unit", branch="pretrained", changes={"recipe": unit}),
            one("random", branch="pretrained", weights="random", changes={"recipe": unit}),
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
    images = gallery.of([run])
    gallery._local.cache_clear()
    assert images.also_in_training.tolist() == [3, 5]
    (one,) = page.show([run])
    right = run.test_probabilities.argmax(axis=1) == run.test_labels
    found = audit.apart_from_training(one, images)
    without = (right.sum() - right[[3, 5]].sum()) / (len(right) - 2)
    assert found == audit.Answer(False, f"2 are also training images; without them the accuracy is {without:.4f}")
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
    images = gallery.of(runs)
    assert images.num_baseline_images == len(digits.train_labels)  # all of them, as they are few
    assert images.baseline_right.mean() == pytest.approx(expected, abs=0.01)
    better, worse = (audit.beats_logistic_regression(one, images) for one in show(runs))
    assert (better.passed, worse.passed) == (True, False)
    assert f"0.9900, against {images.baseline_right.mean():.4f} by logistic regression on 1,297 training" in better.why
    same = dataclasses.replace(images, baseline_right=runs[0].test_probabilities.argmax(axis=1) == runs[0].test_labels)
    assert audit.beats_logistic_regression(show(runs)[0], same).passed is False
    assert audit.beats_logistic_regression(show(runs)[0], None).passed is None


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.0004, "fewer than 1 of 1,000"), (0.0214, "about 21 of 1,000"), (0.109, "about 11 of 100")]
)
def test_a_p_value_as_a_frequency(p_value, words):
    assert words in verdict.chance_in_words(p_value)


def test_the_committed_reference_is_what_the_code_writes(tmp_path, monkeypatch):
    """All but the drawings, whose bytes change with matplotlib's version, and the images, which need the data."""
    monkeypatch.setattr(gallery, "of", lambda *_, **__: None)
    reference = Path(__file__).parent.parent / "reports" / "reference"
    names = ("scratch_resnet-article", "scratch_resnet-tuned", "pretrained-article", "pretrained-tuned")
    title = say("From scratch or pretrained: {name}", name="reference")
    write(tmp_path, *(reference / "runs" / name for name in names), title=title)
    pages = [
        re.sub("<svg.*?</svg>", "", (folder / "index.html").read_text(), flags=re.DOTALL)
        for folder in (reference, tmp_path)
    ]
    assert pages[0] == pages[1]
    assert {path.name for path in tmp_path.glob("*.png")} | {"screenshot.png"} == {
        path.name for path in reference.glob("*.png")
    }


def test_reports_are_listed_newest_first(tmp_path):
    reports = tmp_path / "reports"
    for name, started, accuracy in (
        ("older", "2026-01-02T03:04:05Z", 0.9),
        ("new & <odd>", "2026-02-02T03:04:05Z", 0.8),
    ):
        runs = [
            write_run(tmp_path / name / branch, branch=branch, accuracy=accuracy, changes={"started": started})
            for branch in ("scratch_resnet", "pretrained")
        ]
        write(reports / name, *runs)
    write(reports / "unfinished", write_unfinished_run(tmp_path / "run"))
    (reports / "foreign").mkdir()
    for name, content in (("broken", "{"), ("empty", "[]"), ("later", '{"format": 99}')):
        (reports / name).mkdir()
        (reports / name / "report.json").write_text(content)
    write(reports / "older", *(tmp_path / "older" / branch for branch in ("scratch_resnet", "pretrained")))
    page = Page(reports / "index.html")
    links = [link["href"] for link in page.all("a") if link["href"].endswith("index.html")]
    assert list(dict.fromkeys(links)) == [
        "new%20%26%20%3Codd%3E/index.html",
        "older/index.html",
        "unfinished/index.html",
    ]
    assert all((reports / urllib.parse.unquote(link)).exists() for link in links)
    assert all((reports / urllib.parse.unquote(image["src"])).exists() for image in page.all("img"))
    assert "ResNet-18 from scratch 0.8000; Frozen ResNet50 (ImageNet) 0.8000" in page.text and "No run" in page.text
    after = page.text[page.text.index("Not listed") :]
    assert re.findall(r"(broken|empty|foreign|later): ", after) == ["broken", "empty", "foreign", "later"]
    assert "format 99" in after
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("accuracy>=0.8", 0),
        ("accuracy>0.8", 1),
        ("difference >= 10", 0),
        ("difference<0", 1),
        ("num_trainable_parameters<=2e7", 0),
        ("seconds_training<100", 1),
        ("colour>1", 2),
        ("peak_device_memory_bytes<1", 2),
        ("accuracy=1", 2),
        ("accuracy>1.2.3", 2),
    ],
)
def test_checks_for_scripts(two, run_main, tmp_path, words, code):
    folder, _ = two
    runs = [folder / "runs" / name for name in ("scratch_resnet", "pretrained")]
    found, out, err = run_main(report, *runs, "--out", tmp_path / "out", "--require", words)
    assert found == code
    assert ("does not hold" in err) == (code == 1)
    if code < 2:
        assert out.strip() == str(tmp_path / "out" / "index.html")


def test_from_python(two, tmp_path):
    from compare import compare_runs, load_run

    folder, page = two
    runs = [load_run(folder / "runs" / name) for name in ("scratch_resnet", "pretrained")]
    comparison = compare_runs(*runs)
    assert all(sentence in page.text.replace("\xa0", " ") for sentence in (*comparison.sentences, *comparison.cautions))
    assert repr(comparison).startswith("ResNet-18 from scratch is ahead")
    shown = comparison._repr_html_()
    assert "<svg" in shown and "0.9000" in shown and "<script" not in shown
    assert [row["test_accuracy"] for row in comparison.rows] == [0.9, 0.8]
    assert comparison.accuracy_curves().axes[0].get_ylabel() == "Accuracy"
    assert comparison.loss_curves("time").axes[0].get_xlabel() == "Training time (seconds)"
    assert "Frozen ResNet50" in comparison.confusion(1).axes[0].get_title()
    assert len(comparison.reliability().axes[0].lines) == 3  # the diagonal and two runs
    assert len(comparison.selective().axes[0].lines) == 2
    assert "less Frozen ResNet50" in comparison.confusion_difference().axes[0].get_title()
    with pytest.raises(UserError, match="--robustness"):
        comparison.robustness()
    assert comparison.write(tmp_path / "report").read_bytes()
    with pytest.raises(UserError, match="differ in their images"):
        compare_runs(runs[0], load_run(write_run(tmp_path / "other", num_test=100)))


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
            assert "".join(output["data"]["text/plain"]) == repr(value)
            said += 1
    assert said == 3


# ---- figures


def test_curves_show_the_history_on_whole_epochs():
    history = [
        {"epoch": n, "seconds": 40.0, "learning_rate": 0.1 / n} | {"train_accuracy": 0.8 + 0.01 * n, "test_accuracy": y}
        for n, y in ((1, 0.71), (2, 0.73), (3, 0.72))
    ]
    curves = [figures.Curves("one", 0, [history], "test"), figures.Curves("other", 1, [history[:1]], "test")]
    with figures.drawing():
        figure = figures.accuracy_curves(curves, over="epochs", printed=(0.8, 0.82))
    axes, rates = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["one, train", "one, test", "_best", "other, train", "other, test", figures.PRINTED]
    np.testing.assert_allclose(lines["one, test"].get_xydata(), [[1, 0.71], [2, 0.73], [3, 0.72]])
    np.testing.assert_allclose(lines["_best"].get_xydata(), [[2, 0.73]])
    np.testing.assert_allclose(lines[figures.PRINTED].get_xydata(), [[1, 0.8], [2, 0.82]])
    np.testing.assert_allclose(rates.lines[0].get_xydata(), [[1, 0.1], [2, 0.05], [3, 0.1 / 3]])
    del lines[figures.PRINTED]
    assert all(line.get_marker() not in ("", "None") for line in lines.values())  # a single epoch is seen as well
    ticks = [tick for tick in axes.get_xticks() if 1 <= tick <= 3]
    assert all(tick == int(tick) for tick in ticks)
    low, high = axes.get_ylim()
    assert low < 0.71 and high > 0.83


def test_a_difference_has_the_colour_of_who_has_more():
    style = figures.DRAWN
    matrix = np.array([[25, -4], [0, -1]])
    with figures.drawing():
        figure = figures.confusion_difference(matrix, ["a", "b"], title="t", looks=(0, 1))
    assert [text.get_text() for text in figure.axes[0].texts] == ["+25", "-4", "0", "-1"]
    (image,) = figure.axes[0].images
    colours = image.cmap(image.norm(matrix))
    assert colours[0, 0, :3] == pytest.approx(figures.matplotlib.colors.to_rgb(style.runs[0]), abs=0.01)
    assert colours[1, 0, :3] == pytest.approx(figures.matplotlib.colors.to_rgb(style.background), abs=0.02)
    # the root of 4 is two fifths of that of 25: the way from the background to the other run's colour
    background, other = (np.array(figures.matplotlib.colors.to_rgb(c)) for c in (style.background, style.runs[1]))
    assert colours[0, 1, :3] == pytest.approx(background + 0.4 * (other - background), abs=0.02)


def test_curves_over_time_and_their_phases():
    rows = [
        {"epoch": n, "seconds": 200.0, "learning_rate": None, "train_loss": 1 / n, "test_loss": 2 / n}
        for n in (1, 2, 3)
    ]
    rows[2]["phase"] = "fine-tuning"
    with figures.drawing():
        figure = figures.loss_curves([figures.Curves("one", 0, [rows], "test")], over="time")
        over_epochs = figures.loss_curves([figures.Curves("one", 0, [rows], "test")], over="epochs")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Training time (minutes)"
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["one, test"], [[200 / 60, 2], [400 / 60, 1], [10, 2 / 3]])
    np.testing.assert_allclose(lines["_best"], [[10, 2 / 3]])
    assert any(line.get_xdata()[0] == pytest.approx(500 / 60) for line in axes.lines)  # between the phases
    assert len(over_epochs.axes) == 1  # no learning rate, so no axes for it


def seeds_of(*curves):
    """What is drawn of a run of that many seeds, given each seed's test losses."""
    rows = [
        [
            {"epoch": n, "seconds": 10.0 * seed, "learning_rate": 0.1, "train_loss": 2.0, "test_loss": loss}
            for n, loss in enumerate(losses, start=1)
        ]
        for seed, losses in enumerate(curves, start=1)
    ]
    return figures.Curves("one", 1, rows, "test")


@pytest.mark.parametrize(("over", "x"), [("epochs", [1, 2]), ("time", [20, 40])])
def test_seeds_are_one_curve_of_their_mean_in_a_band_of_their_range(over, x):
    figure = figures.loss_curves([seeds_of([1.0, 0.2], [2.0, 0.6], [9.0, 0.7])], over=over)
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(lines) == ["one, train", "one, test", "_best"]
    np.testing.assert_allclose(lines["one, test"], np.transpose([x, [4.0, 0.5]]))
    _, band = axes.collections  # of train and of test
    corners = {tuple(point) for point in band.get_paths()[0].vertices.round(6).tolist()}
    assert corners == {(x[0], 1.0), (x[0], 9.0), (x[1], 0.2), (x[1], 0.7)}
    assert axes.get_ylim()[1] > 9
    assert not figures.loss_curves([seeds_of([1.0, 0.2])], over=over).axes[0].collections


def test_of_many_curves_the_legend_names_each_once():
    named = []
    for number in (4, 5):
        curves = [dataclasses.replace(seeds_of([1.0, 0.5]), label=f"run {index}") for index in range(number)]
        (legend,) = figures.loss_curves(curves, over="epochs").legends
        named.append([text.get_text() for text in legend.get_texts()])
    assert [len(labels) for labels in named] == [8, 5] and set(named[1]) == {f"run {n}, test" for n in range(5)}


def test_calibration_of_seeds_by_hand(tmp_path):
    """Two seeds, both within the bin from 12/15 to 13/15: 10 and 30 images of which 5 and 27 are right."""
    found = []
    for num_images, num_right, confidence in ((10, 5, 0.82), (30, 27, 0.86)):
        probabilities = np.tile(np.array([confidence, 1 - confidence], np.float32), (num_images, 1))
        labels = (np.arange(num_images) >= num_right).astype(np.uint8)
        found.append(metrics.calibration(record.Run(tmp_path, {}, probabilities, labels)))
    axes, below = figures.reliability([("two seeds", 0, found)]).axes
    (line,) = (line for line in axes.lines if line.get_label() == "two seeds")
    np.testing.assert_allclose(line.get_xydata(), [[(10 * 0.82 + 30 * 0.86) / 40, 32 / 40]], rtol=1e-6)
    assert below.lines[0].get_ydata().tolist() == [20]  # images of a seed
    (axes,) = figures.selective([("two seeds", 0, found)]).axes
    assert axes.lines[0].get_ydata()[-1] == pytest.approx((0.5 + 0.9) / 2)
    low, high = (of(axes.collections[0].get_paths()[0].vertices[:, 1]) for of in (np.nanmin, np.nanmax))
    assert low <= 0.5 and high == pytest.approx(1.0)


def test_seeds_share_a_look_and_other_settings_have_their_own(tmp_path):
    runs = [
        write_run(tmp_path / f"{branch}-{recipe}-{seed}", branch=branch, recipe=recipe, seed=seed)
        for branch in ("scratch_resnet", "pretrained")
        for recipe in ("article", "tuned")
        for seed in (0, 1, 2)
    ]
    shown = show([record.read_run(run) for run in runs])
    assert [one.look for one in shown] == [0, 0, 0, 2, 2, 2, 1, 1, 1, 3, 3, 3]
    curves = pictures.curves_of(shown)
    assert [len(run.histories) for run in curves] == [3, 3, 3, 3]
    assert curves[1].label == "ResNet-18 from scratch · tuned, 3 seeds, mean and range"
    again = write_run(tmp_path / "again", seed=1)  # a seed once more: by itself, so that the band is of seeds alone
    curves = pictures.curves_of(show([record.read_run(run) for run in (*runs[:3], again)]))
    assert [len(run.histories) for run in curves] == [3, 1] and curves[1].look != curves[0].look


def test_a_single_epoch_lies_well_inside_the_axes():
    row = {
        "epoch": 1,
        "seconds": 9.0,
        "learning_rate": None,
        "train_accuracy": 0.9,
        "train_loss": 0.3,
        "test_accuracy": 0.8,
        "test_loss": 0.5,
    }
    curves = [figures.Curves("one", 0, [[row]], "test")]
    for draw, highest in ((figures.accuracy_curves, 0.9), (figures.loss_curves, 0.5)):
        low, high = draw(curves, over="epochs").axes[0].get_ylim()
        assert highest + 0.05 * (high - low) < high


def test_matrix_cells_are_written_and_readable():
    matrix = np.array([[1000, 0, 3], [30, 500, 7], [0, 0, 0]])
    with figures.drawing():
        figure = figures.confusion(matrix, ["a", "$b$", "c"], title="t", largest=1000)
        drawn = figures.png(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1000\n99.7", "0", "3\n0.3", "30\n5.6", "500\n93.1", "7\n1.3", "0", "0", "0"]

    def luminance(colour):
        rgb = np.array(figures.matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    image = figure.axes[0].images[0]
    for text, value in zip(figure.axes[0].texts, matrix.ravel(), strict=True):
        pair = sorted([luminance(text.get_color()), luminance(image.cmap(image.norm(value)))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, value  # WCAG 2, level AA
    assert Image.open(io.BytesIO(drawn)).format == "PNG"


# ---- the command


def test_the_command_writes_beside_the_runs(run_main, tmp_path):
    runs = [write_run(tmp_path / "mine" / "runs" / name, branch=name) for name in ("scratch_resnet", "pretrained")]
    code, out, _ = run_main(report, *runs)
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "mine" / "index.html")
    assert "<title>From scratch or pretrained: mine</title>" in Page(tmp_path / "mine" / "index.html").source
    assert "compare.report runs/scratch_resnet runs/pretrained" in Page(tmp_path / "mine" / "index.html").text
    assert run_main(report, runs[0])[0] == 0  # a report may be replaced, and leaves no picture of the one before
    assert not list((tmp_path / "mine").glob("confusion-pretrained*"))


def test_the_command_names_a_folder_after_the_runs(run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1)
    code, out, _ = run_main(report, "a", "b")
    assert code == 0 and out.splitlines()[-1] == "reports/a-vs-b/index.html"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required"),
        (["nothing"], "nothing does not exist"),
        (["empty"], "empty is not a run"),
        (["run", "run"], "came twice"),
        (["run", "--out", "file"], "file is a file"),
        (["run", "--out", "notes"], "notes holds other files"),
        (["run", "--out", "site"], "site holds other files"),
        (["damaged"], "cannot be read"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_three_parts(run_main, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    for name in ("empty", "notes", "damaged", "site"):
        (tmp_path / name).mkdir()
    for name in ("file", "notes/diary.txt", "damaged/record.json", "site/index.html"):
        (tmp_path / name).write_text("{")
    code, out, err = run_main(report, *words)
    assert code == 2 and says in err and "expected: " in err and "what to do: " in err
    assert not (tmp_path / "reports").exists() and [page.read_text() for page in tmp_path.rglob("*.html")] == ["{"]
