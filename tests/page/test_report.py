"""The report: its files and its page, from runs that were never trained."""

import csv
import dataclasses
import json
import re
import shutil
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from fake_runs import write_run, write_unfinished_run
from pages import Page, permitted, write
from PIL import Image

from compare import report
from compare.findings.findings import find
from compare.page import banners, confidence_figures, figures, gallery, pictures
from compare.page.calibration import not_scaled
from compare.page.catalogues import LANGUAGES
from compare.page.language import say
from compare.page.shown import show
from compare.runs import checkpoint, record
from compare.system.errors import UserError


@pytest.fixture
def without_pictures(monkeypatch):
    """A page as of runs that have none, where a test is about the command: they take most of its time."""
    kinds = ("curves", "calibration", "robustness", "matrices")
    monkeypatch.setattr(pictures, "draw", lambda *_: {kind: [] for kind in kinds})


def test_it_needs_nothing_but_itself(two):
    _, page = two
    assert not re.search(r"https?://", page.source)
    assert not page.all("link") and not page.all("iframe") and not page.all("img")
    assert page.all("script") == [{}, {}, {}, {}]
    for tag, attributes in page.tags:
        for name in ("src", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attributes)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert "default-src 'none'" in policy and policy.endswith(f"; script-src {' '.join(map(permitted, scripts))}")
    assert len(page.source) < 1_500_000


def test_the_numbers_are_those_of_the_runs(two):
    _, page = two
    assert page.row("Test accuracy").split()[-2:] == ["0.9000", "0.8000"]
    assert page.row("Trainable parameters").split()[-1] == "20,490"
    assert page.row("Training time").split()[-4:] == ["2", "min", "3", "s"]  # 41 s an epoch, three epochs
    assert "No winner is named: no network here is pretrained" in page.text
    assert "Each run is one seed" in page.text


def test_what_limits_it_is_named_first_and_said_before_the_pictures(two):
    _, page = two
    named = page.text[: page.text.index("Verdict Trust")]
    assert "No pretraining" in named and "Changed settings" in named
    said = page.text[: page.text.index("Rows are true classes")]
    assert "nothing in its backbone was ever trained" in said
    assert "ran with number of epochs 1 in place of" in said
    assert "Demo data" not in page.text and "One branch only" not in page.text
    assert "The <test> set is watched." in page.text


def test_every_picture_is_told_in_words_and_lies_beside_the_page(two):
    folder, page = two
    alts = [drawing["aria-label"] for drawing in page.all("svg")]
    assert len(alts) == 1 + 4 + 2 and all(len(alt) > 40 for alt in alts)
    assert "3 epochs: train 0.9100, test 0.9000" in alts[3]
    assert "over time" in alts[5] and "3 s" in alts[5]
    linked = {link["href"] for link in page.all("a") if link["href"].endswith(".png")}
    assert linked == {path.name for path in folder.glob("*.png")} and len(linked) == 10
    for name in linked:
        with Image.open(folder / name) as image:
            image.verify()
            assert image.width > 1000
    drawn = {path.stem: path.read_bytes() for path in folder.glob("*.svg")}
    assert drawn.keys() == {name.removesuffix(".png") for name in linked}
    assert all(f'href="{name}.svg"' in page.source for name in drawn)
    # the page draws what the files hold, in its own colours
    names = ["reliability", "selective", "accuracy", "loss", "accuracy-over-time", "loss-over-time"]
    for name, drawing in zip(names, re.findall(r"<svg.*?</svg>", page.source, re.DOTALL)[1:], strict=True):
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
        for told, row in zip(said["history"], run.record.history, strict=True):
            assert told == pytest.approx(row.model_dump(exclude_none=True), rel=5e-7, abs=0)  # to seven digits
        assert said["recipe"] == run.record.recipe.as_json()
    (pair,) = content["pairs"]
    assert (pair["first"], pair["points_ahead"]) == ("ResNet-18 · from scratch", 10)
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
    assert "index.html" in written and len(written) == 3 + 2 * 10
    for name in written:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_names_from_a_record_cannot_inject(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>&<style>*{display:none}"
    data = record.read_run(write_run(tmp_path / "plain")).record.as_json()["data"]
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
    assert len(page.all("style")) == 1 and page.all("script") == [{}, {}, {}, {}]
    assert not page.all("img")
    assert all(path.parent == tmp_path / "out" for path in (tmp_path / "out").rglob("*"))


def test_names_cannot_inject_into_scripts_either(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>"
    data = record.read_run(write_run(tmp_path / "plain", data="digits", num_test=None)).record.as_json()["data"]
    run = write_run(
        tmp_path / "run",
        branch=bad,
        data="digits",
        num_test=None,
        changes={"data": data | {"class_names": [f"{bad}{n}" for n in range(10)]}},
    )
    page = write(tmp_path / "out", run, title=bad)
    assert len(page.all("script")) == 6 and not any("src" in script for script in page.all("script"))
    assert not page.all("img")
    block = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', page.source)[1]
    assert json.loads(block)["classes"] == {
        language: [f"{bad}{n}" for n in range(10)] for language in ("en", *LANGUAGES)
    }
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert policy.endswith(f"; script-src {' '.join(map(permitted, scripts))}") and len(scripts) == 5


@pytest.mark.parametrize(("flags", "num_images"), [([], 400), (["--all-images"], 500), (["--no-images"], None)])
def test_the_page_has_as_many_images_as_are_asked_for(tmp_path, run_main, flags, num_images):
    run = write_run(tmp_path / "run", data="digits", num_test=None, accuracy=1.0)  # 40 of each class are kept
    assert run_main(report, run, "--out", tmp_path / "out", *flags)[0] == 0
    block = re.search(r'id="gallery-data">(.*?)</script>', (tmp_path / "out" / "index.html").read_text())
    assert (num_images is None) == (block is None)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    links = {link["href"] for link in Page(tmp_path / "out" / "index.html").all("a") if "#" not in link["href"]}
    assert links == names - {"index.html"} and ("accuracy.svg" in names) == (num_images is not None)
    assert block is None or len(json.loads(block[1])["rows"]) == num_images


def test_a_data_folder_that_is_named_must_hold_the_data(tmp_path, run_main):
    run = write_run(tmp_path / "run")
    code, _, err = run_main(report, run, "--out", tmp_path / "out", "--data-dir", tmp_path / "nowhere")
    assert code == 2 and "nowhere is not a folder" in err and not (tmp_path / "out").exists()


def test_no_tick_is_written_in_tex(two):
    folder, _ = two
    with figures.drawing():
        shown = [
            (one.label, one.look, [one.calibration])
            for one in show(find([record.read_run(folder / "runs/pretrained")]))
        ]
        figure = confidence_figures.reliability(shown)
        figure.draw_without_rendering()
    assert not any("$" in label.get_text() for axes in figure.axes for label in axes.get_yticklabels())


def test_one_run_demo_data_and_validation_are_named(tmp_path):
    run = write_run(tmp_path / "run", data="digits", watched="validation", num_test=100)
    page = write(tmp_path / "out", run)
    assert "Demo data." in page.text and "One side only." in page.text
    assert "This is" not in page.text and "percentage points" not in page.text
    assert "validation 0.9000" in page.all("svg")[3]["aria-label"]
    assert "Validation accuracy" in page.text and "Test accuracy" in page.text
    assert "from scratch is right on 90.0" in page.text


def test_temperature_is_shown_where_a_split_was_held_out_and_else_why_not(tmp_path):
    runs = [write_run(tmp_path / watched, watched=watched, seed=3, accuracy=0.5) for watched in ("validation", "test")]
    page = write(tmp_path / "out", *runs)
    (held_out, without) = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["runs"]
    table = page.source[page.source.index("Calibration of each run</span></caption>") :]
    rows = [re.findall(r'"number">([^<]+)</td>', row) for row in table.split("<tr>")[2:4]]
    assert [row[2] for row in rows] == [f"{held_out['temperature']:.2f}", "&#8211;"]
    assert [row[4] for row in rows] == [f"{held_out['test_log_loss_scaled']:.4f}", "&#8211;"]
    assert without["temperature"] is None
    assert "no validation split was held out" in page.text and "an earlier version" not in page.text
    early = show(find([dataclasses.replace(record.read_run(runs[0]), validation_probabilities=None)]))
    assert ["an earlier version" in sentence for sentence in not_scaled(early)] == [True]
    kept = record.read_run(runs[0])
    all_right = np.eye(10, dtype=np.float32)[kept.validation_labels]
    (sentence,) = not_scaled(show(find([dataclasses.replace(kept, validation_probabilities=all_right)])))
    assert "every image of the validation split is right" in sentence


def test_unfinished_runs_are_shown_as_that(tmp_path):
    done = write_run(tmp_path / "runs" / "scratch_resnet")
    failed = write_unfinished_run(
        tmp_path / "runs" / "pretrained", log="a\n/home/me/secret/data: the disk <went> away\n"
    )
    page = write(tmp_path / "out", done, failed)
    assert "Not finished." in page.text and "1 epoch of 3 finished" in page.text
    assert "the disk <went> away" in page.text and "/home/me" not in page.text
    only = write(tmp_path / "only", write_unfinished_run(tmp_path / "runs" / "other", kept=False))
    assert "other failed, was interrupted or is still running, with no epoch finished" in only.text
    assert "No run has finished" in only.text and not only.all("svg")
    changed = checkpoint.read_unfinished_run(failed).record.model_copy(update={"overrides": {"batch_size": 1}})
    strange = checkpoint.UnfinishedRun(tmp_path / "strange", changed, [])
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
        "ResNet-18 · from scratch · article",
        "ResNet-18 · from scratch · tuned",
        "ResNet50 · frozen · tuned",
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
    row = re.search(r"0\.926 on the test set.*?</tr>", page.source)[0]
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
    # the made-up curve of the third run reaches 0.93 at its end, after three epochs of 41 s; nobody looked before
    assert cells == ["not reached", "not reached", "at most 2 min 3 s", "not reached"]
    for name in ("article", "tuned"):
        assert f"Recipe {name}: " in page.text
    assert "Recipe best: " not in page.text and "Peak device memory" not in page.text


def test_runs_with_other_labels_have_other_training_images_of_course(tmp_path):
    def records(*runs):
        for number, (labels, seed, split) in enumerate(runs):
            run = record.read_run(write_run(tmp_path / f"{len(list(tmp_path.iterdir()))}", labels=labels, seed=seed))
            run.record.data.split_fingerprint = split
            yield f"run {number}", run.record

    warn = banners.different_splits_banner
    assert warn(list(records((5, 0, "a" * 64), (10, 0, "b" * 64), (5, 1, "c" * 64), (None, 0, "d" * 64)))) is None
    alike = warn(list(records((5, 0, "a" * 64), (5, 0, "b" * 64), (None, 0, "c" * 64))))
    assert alike.text.startswith("run 0: ") and "run 1" in alike.text and "run 2" not in alike.text


def test_label_smoothing_explains_a_low_confidence(tmp_path):
    """The true one of ten classes is to have 1 - 0.2 + 0.2 / 10."""
    plain = write_run(tmp_path / "plain", branch="pretrained")
    recipe = record.read_run(plain).record.recipe.as_json()
    smooth = write_run(tmp_path / "smooth", changes={"recipe": recipe | {"label_smoothing": 0.2}})
    assert "Label smoothing" not in write(tmp_path / "without", plain).text
    text = write(tmp_path / "with", plain, smooth).text
    assert text.count("Label smoothing trained ResNet-18 · from scratch towards a confidence of 0.82 and not of 1") == 1
    assert "Label smoothing lowers confidence." in text
    path = write_run(tmp_path / "forged") / "record.json"
    content = {name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"}
    path.write_text(json.dumps(content | {"recipe": recipe | {"label_smoothing": "much"}}))
    with pytest.raises(UserError, match="recipe.label_smoothing is 'much'"):
        record.read_run(path.parent)


def test_what_only_some_histories_hold_has_columns_of_its_own(tmp_path):
    run = record.read_run(write_run(tmp_path / "a", branch="pretrained"))
    rows = run.record.as_json()["history"]
    rows = [row | {"learning_rate": None, "penalty": 1e-3} for row in rows[:2]] + [rows[2] | {"phase": "fine-tuning"}]
    model = run.record.as_json()["model"] | {"trained": "last stage"}
    other = write_run(tmp_path / "b", branch="pretrained", changes={"history": rows, "model": model})
    page = write(tmp_path / "out", other)
    assert "ResNet50 · fine-tuned" in page.text and "Frozen" not in page.text
    assert re.search(r"&#8211;</td><td[^>]*>0.001</td><td[^>]*>&#8211;</td>", page.source)
    assert re.search(r"0.001</td><td[^>]*>&#8211;</td><td[^>]*>fine-tuning</td>", page.source)


def test_runs_of_one_branch_have_names_of_their_own(tmp_path):
    runs = [write_run(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second"))]
    page = write(tmp_path / "out", *runs)
    assert "ResNet-18 · from scratch, seed 0" in page.text and "from scratch, seed 1" in page.text
    same = [write_run(tmp_path / name, changes={"started": f"at {name}"}) for name in ("one", "again")]
    again = write(tmp_path / "again-out", *same)
    assert "ResNet-18 · from scratch · one" in again.text and "ResNet-18 · from scratch · again" in again.text
    assert len({drawing["aria-label"] for drawing in page.all("svg")}) == 7
    varied = [write_run(tmp_path / "sizes" / "runs" / f"scratch_resnet-image-size-{size}") for size in (32, 48)]
    runs = [record.read_run(run) for run in (*varied, write_run(tmp_path / "sizes" / "runs" / "pretrained"))]
    assert [(one.label[-13:], one.slug) for one in show(find(runs))[:2]] == [
        ("image-size-32", "scratch_resnet-image-size-32"),
        ("image-size-48", "scratch_resnet-image-size-48"),
    ]
    assert len(list((tmp_path / "out").glob("*.png"))) == 10


def test_the_committed_report_is_what_the_code_writes(tmp_path):
    """All but the drawings, whose bytes change with matplotlib's version, and what the images that logistic regression
    learns from have to be there for."""
    reference = Path(__file__).parents[2] / "reports" / "article"
    names = ("scratch_resnet-article", "scratch_resnet-tuned", "pretrained-article")
    title = say("From scratch or pretrained: {name}", name="article")
    write(tmp_path, *(reference / "runs" / name for name in names), title=title, images="none")
    changes = r"<svg.*?</svg>|<tr><th[^\n]*ogistic regression on the pixels[^\n]*|<p>[^\n]*Made from the runs[^\n]*"
    pages = [
        re.sub(f"(?:{changes})\\n?", "", (folder / "index.html").read_text(), flags=re.DOTALL)
        for folder in (reference, tmp_path)
    ]
    assert pages[0] == pages[1]
    assert {path.name for path in tmp_path.glob("*.png")} == {path.name for path in reference.glob("*.png")}


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
    write(reports / "older", *(tmp_path / "older" / name for name in ("scratch_resnet", "pretrained")), images="none")
    page = Page(reports / "index.html")
    links = [link["href"] for link in page.all("a") if link["href"].endswith("index.html")]
    assert list(dict.fromkeys(links)) == [
        "new%20%26%20%3Codd%3E/index.html",
        "older/index.html",
        "unfinished/index.html",
    ]
    assert all((reports / urllib.parse.unquote(link)).exists() for link in links)
    assert all((reports / urllib.parse.unquote(image["src"])).exists() for image in page.all("img"))
    assert "ResNet-18 · from scratch 0.8000" in page.text and "No run" in page.text
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
@pytest.mark.usefixtures("without_pictures")
def test_checks_for_scripts(two, run_main, tmp_path, words, code):
    folder, _ = two
    runs = [folder / "runs" / name for name in ("scratch_resnet", "pretrained")]
    before = contents(folder)
    found, out, err = run_main(report, *runs, "--require", words)  # and nothing is written
    assert found == code and contents(folder) == before
    assert ("does not hold" in err) == (code == 1) and (" holds: " in out) >= (code == 0)
    found, out, err = run_main(report, *runs, "--out", tmp_path / "out", "--require", words)
    assert found == code
    assert ("does not hold" in err) == (code == 1)
    if code < 2:
        assert out.strip() == str(tmp_path / "out" / "index.html")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_required_of_one_run_leaves_the_report_of_both(two, run_main):
    folder, _ = two
    before = contents(folder)
    code, out, _ = run_main(report, folder / "runs" / "pretrained", "--require", "accuracy>=0.5", "--require", "seed<9")
    assert code == 0 and contents(folder) == before
    assert out.splitlines() == [
        f"{words}: ResNet50 · frozen (random weights) has {number}"
        for words, number in (("accuracy>=0.5 holds", "0.8"), ("seed<9 holds", "0"))
    ]


def test_required_differences_are_of_runs_that_compare(run_main, tmp_path):
    runs = [write_run(tmp_path / "a", num_test=100), write_run(tmp_path / "b", num_test=110)]
    code, _, err = run_main(report, *runs, "--require", "difference>0")
    assert code == 2 and "differ in their images or labels" in err


@pytest.mark.usefixtures("without_pictures")
def test_a_report_that_would_lose_runs_asks_for_a_place(run_main, tmp_path, monkeypatch):
    """Runs beside each other, and runs of the same names elsewhere, whose report would have the same name."""
    monkeypatch.chdir(tmp_path)
    runs = [write_run(tmp_path / "mine" / "runs" / name, branch=name) for name in ("scratch_resnet", "pretrained")]
    others = [write_run(tmp_path / "other" / name, changes={"started": name}) for name in ("a", "b")]
    again = [write_run(tmp_path / "again" / name, changes={"started": f"{name} again"}) for name in ("a", "b")]
    for given, fewer, lost in ((runs, runs[:1], "pretrained"), (others, again, "a, b")):
        code, out, _ = run_main(report, *given, "--no-images")
        page = Path(out.splitlines()[-1])
        assert code == 0
        before = contents(page.parent)
        code, out, err = run_main(report, *fewer, "--no-images")
        assert code == 2 and out == "" and contents(page.parent) == before
        assert f"shows {lost}, which this one would not" in err and "expected: " in err and "with --out" in err
        (page.parent / "report.json").write_text("{")
        assert run_main(report, *fewer, "--no-images")[0] == 2  # it cannot tell
        assert run_main(report, *fewer, "--no-images", "--out", page.parent)[0] == 0
        assert run_main(report, *fewer, "--no-images")[0] == 0  # the same, or more


def test_a_copy_of_a_run_is_the_run(run_main, tmp_path):
    """Also one that was made before records held their own hashes."""
    first = write_run(tmp_path / "first")
    shutil.copytree(first, tmp_path / "copy")
    said = json.loads((first / "record.json").read_text())
    del said["sha256"]
    old = Path(shutil.copytree(first, tmp_path / "old"))
    (old / "record.json").write_text(json.dumps(said))
    for copy in (tmp_path / "copy", old):
        for words in (["--out", tmp_path / "out"], ["--require", "accuracy>0"]):
            code, _, err = run_main(report, first, copy, *words)
            assert code == 2 and f"{copy} is the run in {first} once more" in err and "what to do: " in err
    assert not (tmp_path / "out").exists()


def test_the_command_writes_beside_the_runs(run_main, tmp_path):
    runs = [write_run(tmp_path / "mine" / "runs" / name, branch=name) for name in ("scratch_resnet", "pretrained")]
    code, out, _ = run_main(report, *runs)
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "mine" / "index.html")
    assert "<title>From scratch or pretrained: mine</title>" in Page(tmp_path / "mine" / "index.html").source
    assert "compare.report runs/scratch_resnet runs/pretrained" in Page(tmp_path / "mine" / "index.html").text
    assert run_main(report, *runs)[0] == 0
    assert run_main(report, runs[0], "--out", tmp_path / "mine")[0] == 0  # and leaves no picture of the one before
    assert not list((tmp_path / "mine").glob("confusion-pretrained*"))


@pytest.mark.parametrize(("fit", "is_dark"), [("crop", False), ("pad", True)])
def test_images_of_a_folder_are_shown_as_the_runs_had_them(tmp_path, fit, is_dark):
    """White images of 80 by 20 pixels: whole on black, or their middle squares."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        for width in (80, 84):
            Image.new("L", (width, 20), 255).save(tmp_path / place / f"{width}.png")
    images = gallery._local("a folder", tmp_path, 64, fit, None, None).test_images
    assert (images[:, 0] == 0).all() == is_dark and (images[:, 32] == 255).all()


@pytest.mark.usefixtures("without_pictures")
def test_the_command_names_a_folder_after_the_runs(run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1)
    code, out, _ = run_main(report, "a", "b")
    assert code == 0 and out.splitlines()[-1] == "reports/a-vs-b/index.html"


@pytest.mark.usefixtures("without_pictures")
def test_a_pattern_that_the_shell_left_is_expanded(run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "x" / "runs" / "a"), write_run(tmp_path / "x" / "runs" / "b", seed=1)
    write_run(tmp_path / "[c]", seed=2)  # a name like a pattern is a name where it is there
    for words in (["x/runs/*", "[c]"], ["x/runs/a", "x/runs/[b-z]", "[c]"]):
        code, _, err = run_main(report, *words, "--out", "page")
        assert code == 0, err
        names = [run["folder"] for run in json.loads((tmp_path / "page" / "report.json").read_text())["runs"]]
        assert names == ["a", "b", "[c]"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required"),
        (["nothing"], "nothing does not exist"),
        (["nothing/*"], "nothing/* does not exist"),
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
