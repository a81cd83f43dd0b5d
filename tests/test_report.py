"""The report: read back as a browser would read it, from runs that were never trained."""

import html.parser
import io
import re
from pathlib import Path

import numpy as np
import pytest
from fake_runs import write_run, write_unfinished_run
from PIL import Image

from compare import banners, figures, page, record, report
from compare.command import UserError


class Page(html.parser.HTMLParser):
    """A page taken apart: its tags with their attributes, and its text without tags."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.source = [], "", path.read_text(encoding="ascii")
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
    assert not re.search(r"https?://", re.sub(r"data:image/svg\+xml;base64,[\w+/=]+", "", page.source))
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for tag, attributes in page.tags:
        for name in ("src", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attributes)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert len(page.source) < 1_500_000


def test_the_numbers_are_those_of_the_runs(two):
    _, page = two
    assert page.row("Test accuracy").split()[-2:] == ["0.9000", "0.8000"]
    assert page.row("Trainable parameters").split()[-1] == "20,490"
    assert page.row("Training time").split()[-4:] == ["2", "min", "3", "s"]  # 41 s an epoch, three epochs
    assert "ResNet-18 from scratch is ahead of Frozen ResNet50 (random weights) by 10.00 percentage points" in page.text
    assert "Each run is one seed" in page.text
    assert "test for ResNet-18 from scratch" in page.text


def test_what_limits_it_stands_before_the_numbers(two):
    _, page = two
    head = page.text[: page.text.index("Summary Curves")]
    assert "nothing in its backbone was ever trained" in head
    assert "ran with num_epochs 1 in place of" in head
    assert "Demo data" not in page.text and "One branch only" not in page.text
    assert "The <test> set is watched." in page.text


def test_every_picture_is_told_in_words_and_lies_beside_the_page(two):
    folder, page = two
    images = page.all("img")
    assert len(images) == 2 + 2 * 2
    assert all(len(image["alt"]) > 40 for image in images)
    assert "final test accuracy 0.9000" in images[0]["alt"] and "20 of 200" not in images[2]["alt"]
    assert "180 of 200 test images right" in images[2]["alt"]
    linked = {link["href"] for link in page.all("a") if link["href"].endswith(".png")}
    assert linked == {path.name for path in folder.glob("*.png")} and len(linked) == 6
    for name in linked:
        with Image.open(folder / name) as image:
            image.verify()
            assert image.width > 1000


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
    assert "index.html" in written and len(written) == 7
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
        changes={"data": data | {"class_names": [bad] * 10}, "commit": bad},
    )
    page = write(tmp_path / "out", run, title=bad)
    assert bad in page.text
    assert len(page.all("style")) == 1 and not page.all("script")
    assert all(set(image) == {"src", "alt", "width", "height"} for image in page.all("img"))
    assert all(path.parent == tmp_path / "out" for path in (tmp_path / "out").rglob("*"))


def test_one_run_demo_data_and_validation_are_named(tmp_path):
    run = write_run(tmp_path / "run", data="digits", watched="validation", num_test=100)
    page = write(tmp_path / "out", run)
    assert "Demo data." in page.text and "One branch only." in page.text
    assert "This is" not in page.text and "percentage points" not in page.text
    assert "final validation accuracy" in page.all("img")[0]["alt"]
    assert "Validation accuracy" in page.text and "Test accuracy" in page.text
    assert "ResNet-18 from scratch classifies 90.00 % of the 100 test images" in page.text


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
    assert "No run has finished" in only.text and not only.all("img")
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
        "ResNet-18 from scratch, article",
        "ResNet-18 from scratch, tuned",
        "Frozen ResNet50 (ImageNet), tuned",
    ):
        assert name in page.text
    assert "Different training images." in page.text and "16 images, 4 held out" in page.text
    assert "20 training images, 200 test images" in page.text
    assert {path.name for path in (tmp_path / "out").glob("confusion-*-percent.png")} == {
        f"confusion-{branch}-{recipe}-percent.png"
        for branch in ("scratch_resnet", "pretrained")
        for recipe in ("article", "tuned")
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
    assert "ResNet-18 from scratch, first" in page.text and "ResNet-18 from scratch, second" in page.text
    assert len({image["alt"] for image in page.all("img")}) == 6
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


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
    sentences = page.summary_sentences(page.show(runs))
    for words, sentence in zip(says, sentences, strict=False):
        assert words in sentence
    assert sentences[-1].startswith("Each run is one seed")


def test_times_of_different_devices_do_not_compare(tmp_path):
    said = []
    for name, kind in (("same", "cpu"), ("other", "cuda")):
        device = {"kind": kind, "name": "a made-up processor, 2 threads"}
        folders = write_run(tmp_path / name / "a"), write_run(tmp_path / name / "b", changes={"device": device})
        sentences = page.summary_sentences(page.show([record.read_run(folder) for folder in folders]))
        said.append(any("different devices" in sentence for sentence in sentences))
    assert said == [False, True]


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.0004, "fewer than 1 of 1,000"), (0.0214, "about 21 of 1,000"), (0.109, "about 11 of 100")]
)
def test_a_p_value_as_a_frequency(p_value, words):
    assert words in page.chance_in_words(p_value)


def test_the_committed_reference_is_what_the_code_writes(tmp_path):
    """All but the drawings, whose bytes change with matplotlib's version."""
    reference = Path(__file__).parent.parent / "reports" / "reference"
    write(tmp_path, *(reference / "runs" / name for name in ("scratch_resnet", "pretrained")), title="x")
    pages = [re.sub('base64,[^"]+', "", (folder / "index.html").read_text()) for folder in (reference, tmp_path)]
    assert pages[0].replace("From scratch or pretrained: reference", "x") == pages[1]
    assert {path.name for path in tmp_path.glob("*.png")} | {"screenshot.png"} == {
        path.name for path in reference.glob("*.png")
    }


# ---- figures


def test_curves_show_the_history_on_whole_epochs():
    history = [{"epoch": n, "train_accuracy": 0.8 + 0.01 * n, "test_accuracy": 0.7 + 0.01 * n} for n in (1, 2, 3)]
    curves = [figures.Curves("one", 0, history, "test"), figures.Curves("other", 1, history[:1], "test")]
    with figures.drawing(figures.STYLES["light"]):
        axes = figures.accuracy_curves(curves, figures.STYLES["light"]).axes[0]
    assert [line.get_label() for line in axes.lines] == ["one, train", "one, test", "other, train", "other, test"]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[1, 0.71], [2, 0.72], [3, 0.73]])
    assert all(line.get_marker() not in ("", "None") for line in axes.lines)  # a single epoch is seen as well
    ticks = [tick for tick in axes.get_xticks() if 1 <= tick <= 3]
    assert all(tick == int(tick) for tick in ticks)
    low, high = axes.get_ylim()
    assert low < 0.71 and high > 0.83


def test_a_single_epoch_lies_well_inside_the_axes():
    row = {"epoch": 1, "train_accuracy": 0.9, "train_loss": 0.3, "test_accuracy": 0.8, "test_loss": 0.5}
    curves = [figures.Curves("one", 0, [row], "test")]
    for draw, highest in ((figures.accuracy_curves, 0.9), (figures.loss_curves, 0.5)):
        low, high = draw(curves, figures.STYLES["light"]).axes[0].get_ylim()
        assert highest + 0.05 * (high - low) < high


@pytest.mark.parametrize("style", figures.STYLES.values())
def test_matrix_cells_are_written_and_readable(style):
    matrix = np.array([[1000, 0, 3], [30, 500, 7], [0, 0, 0]])
    with figures.drawing(style):
        figure = figures.confusion(matrix, ["a", "$b$", "c"], title="t", percent=False, largest=1000, style=style)
        drawn = figures.png(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [str(value) for value in matrix.ravel()]

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
    assert "<title>From scratch or pretrained: mine</title>" in (tmp_path / "mine" / "index.html").read_text()
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
