"""The label curve on the page: names, sentences, pictures, tables and numbers, of runs that were never trained."""

import csv
import dataclasses
import html
import itertools
import json
import math
import re

import numpy as np
import pytest
from fake_runs import PRETRAINED, write_run
from matplotlib.transforms import Bbox
from pages import Page
from test_language import Untranslated

from compare import compare_runs, report
from compare.findings.baseline import Baseline
from compare.findings.findings import find
from compare.findings.label_curve import Difference, StrategyPair
from compare.page import answer, figures, label_figures, labels, report_files, verdict
from compare.page.shown import by_seeds, label_of, of_compared, show, strategy_names
from compare.page.words import labels_in_words
from compare.runs import record
from compare.system.errors import UserError

ACCURACIES = {  # by labels a class: frozen is ahead with few of them, fine-tuned always
    "scratch": {10: 0.5, 100: 0.8, 1000: 0.95},
    "frozen": {10: 0.7, 100: 0.85, 1000: 0.875},
    "fine-tuned": {10: 0.8, 100: 0.9, 1000: 0.98},
}
SCRATCH, FROZEN, TUNED = "ResNet-18 · from scratch", "ResNet50 · frozen", "ResNet50 · fine-tuned"


def write_curve(folder, *, seeds=(0, 1, 2), accuracies=ACCURACIES):
    """Complete runs with these accuracies, all seeds alike but for which images are wrong."""
    runs = []
    for strategy, by_labels in accuracies.items():
        model = PRETRAINED.model_copy(update={"trained": "head" if strategy == "frozen" else "all"}).model_dump()
        for count, accuracy in by_labels.items():
            for seed in seeds:
                run = write_run(
                    folder / f"{strategy}-{count}-{seed}",
                    branch="scratch_resnet" if strategy == "scratch" else "pretrained",
                    accuracy=accuracy,
                    labels=count,
                    seed=seed,
                    changes={"seconds": {"training": count / 10}} | ({} if strategy == "scratch" else {"model": model}),
                )
                runs.append(record.read_run(run))
    return runs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The runs of a curve, its findings, and its report's folder, in a folder of reports."""
    folder = tmp_path_factory.mktemp("curve")
    runs = write_curve(folder / "runs")
    report.write_report(folder / "reports" / "curve", runs, title="a title")
    return runs, find(runs), folder / "reports" / "curve"


def test_every_name_says_its_labels_where_they_differ(written):
    runs, found, _ = written
    shown = show(found)
    assert shown[0].label == f"{SCRATCH}, 10 labels a class, seed 0"
    assert shown[0].label.translations["zh-Hans"] == "ResNet-18 · 从头训练，每类 10 个标签，种子 0"
    assert [label_of(group) for group in by_seeds(shown)][-1] == f"{TUNED}, 1,000 labels a class"
    assert len({one.label for one in shown}) == len({one.slug for one in shown}) == 27
    assert [one.look for one in shown] == 9 * [0] + 9 * [1] + 9 * [2]  # a strategy's line and its runs look alike
    assert strategy_names(found) == [TUNED, FROZEN, SCRATCH]
    assert show(find(runs[:3]))[0].label == f"{SCRATCH}, seed 0"  # they do not differ
    one = write_curve(written[2].parent.parent / "one", seeds=(0,), accuracies={"scratch": {1: 0.3, 2: 0.4}})
    assert [one.label for one in show(find(one))] == [f"{SCRATCH}, 1 label a class", f"{SCRATCH}, 2 labels a class"]


def test_strategies_that_are_called_alike_have_their_recipes(tmp_path):
    runs = [
        record.read_run(write_run(tmp_path / f"{recipe}-{count}", recipe=recipe, labels=count))
        for recipe in ("article", "tuned")
        for count in (10, 100)
    ]
    assert sorted(strategy_names(find(runs))) == [f"{SCRATCH} · article", f"{SCRATCH} · tuned"]


def pair(ahead, crossing=None, low=math.inf, high=math.inf, half=1.0):
    """A pair that is ahead by so many points with 5, 10, 100, … labels, its intervals `half` a point to each side."""
    counts = (5, 10, 100, 1000, 6000)[: len(ahead)]
    differences = [
        Difference(count, points, points - half, points + half, 1, 1, None, 1.0)
        for count, points in zip(counts, ahead, strict=True)
    ]
    return StrategyPair(0, 1, tuple(differences), crossing, low, high)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (
            pair([8.1, 3, 2, 1.5, 1.04]),
            "A is above B by 8.1 points (7.1 to 9.1) at 5 labels a class and by 1.0 (0.0 to 2.0) at 6,000.",
        ),
        (
            pair([-2, -4]),
            "B is above A by 2.0 points (1.0 to 3.0) at 5 labels a class and by 4.0 (3.0 to 5.0) at 10.",
        ),
        (
            pair([5, 4, -3, -4], 48.4, 31, 70),
            "Up to about 48 labels a class (95 % interval 31 to 70) A is above B, and below it from there on.",
        ),
        (
            pair([-5, -0.5, 0.5, 4], 31.6, -math.inf, math.inf),
            "Up to about 32 labels a class (95 % interval less than 5 to more than 1,000) B is above A, and below it "
            "from there on; at 10 and 100 the difference may be chance.",
        ),
        (
            pair([5, 4, 2, 1.5, 0.5]),
            "Of the numbers of labels tried, 5 to 6,000: with 5 to 1,000 labels a class A is above B; with 6,000 the "
            "difference may be chance.",
        ),
        (
            pair([5, 4, -0.5], 80, 20, math.inf),  # it crosses, but who is ahead then may be chance
            "Of the numbers of labels tried, 5 to 100: with 5 and 10 labels a class A is above B; with 100 the "
            "difference may be chance; their means cross for the last time at about 80 (95 % interval 20 to more than "
            "100).",
        ),
        (
            pair([5, -4, 5], 30, 20, 40),
            "Of the numbers of labels tried, 5 to 100: with 5 and 100 labels a class A is above B; with 10 labels a "
            "class B is above A; their means cross for the last time at about 30 (95 % interval 20 to 40).",
        ),
        (
            pair([0.5, -0.4], 7, -math.inf, math.inf),
            "At no number of labels tried, 5 to 10 a class, are A and B further apart than chance may bring them.",
        ),
    ],
)
def test_the_verdict_on_labels_in_words(of, said):
    assert labels.of_pair(of, "A", "B") == said


def test_the_verdict_speaks_of_labels_first(written):
    runs, found, _ = written
    first, second, third, *_ = verdict.sentences(found, show(found))
    assert first.startswith(f"{TUNED} is above {SCRATCH} by 30.0 points")
    assert second.startswith("Up to about ") and f"{FROZEN} is above {SCRATCH}, and below it from there on" in second
    # of 200 images, 3 in 100 more are not shown by one seed alone; all names are of 1,000 labels
    both = f"{TUNED} and {SCRATCH}"
    said = f"With 1,000 labels a class the difference between {both} is no more than the choice of test"
    assert third.startswith(said)
    assert labels.sentences(find(runs[:1])) == []


def test_a_silent_verdict_says_nothing_of_who_is_ahead_and_the_picture_has_the_numbers(tmp_path):
    runs = write_curve(tmp_path)
    for run in runs:
        run.record.data.is_demonstration = True
    found = find(runs)
    said = verdict.sentences(found, show(found))
    assert "above" not in "".join(said) and said[0].startswith("With 1,000 labels a class the difference between")
    numbers = labels.in_numbers(found)
    assert f"{SCRATCH} 0.5000 with 10 and 0.0500 with 1,000;" in numbers
    assert f"{FROZEN} and {SCRATCH} cross at about 251 labels a class" in numbers


def test_a_curve_of_runs_that_do_not_tell_their_images_is_shown(tmp_path):
    runs = write_curve(tmp_path)
    for run in runs:
        run.record.data.num_train = None
    found = find(runs)
    rest = labels.section(found, show(found))["rest"]
    assert rest == "All below is of 1,000 labels a class, where all learned from the same images."


def test_runs_that_do_not_tell_their_images_may_stand_beside_a_curve(tmp_path):
    runs = write_curve(tmp_path, seeds=(0,))
    for name in ("forest", "tree"):
        runs.append(record.read_run(write_run(tmp_path / name, branch=name, accuracy=0.99)))
        runs[-1].record.data.num_train = None
    page = Page(report.write_report(tmp_path / "page", runs, title="a title", images="none"))
    assert "All below is of forest, tree." in page.text and "forest, beside tree; 95 % intervals" in page.text


def test_the_curve_has_logistic_regression_beside_it(written):
    _, found, _ = written
    assert labels.section(found, show(found))["baselines"] == []
    beside = [Baseline(0.6 if one.record.data.labels_per_class == 10 else 0.8, 60, None) for one in found.runs]
    with_baselines = map(lambda one, baseline: dataclasses.replace(one, baseline=baseline), found.runs, beside)
    found = dataclasses.replace(found, runs=tuple(with_baselines))
    assert labels.section(found, show(found))["baselines"] == ["0.4000", "0.2000", "0.2000"]
    assert "; Logistic regression on the pixels 0.4000 with 10 and 0.2000 with 1,000;" in labels.in_numbers(found)
    axes, _ = label_figures.label_curve(*labels.to_draw(found, show(found)), labels.baselines(found)).axes
    (line,) = (line for line in axes.lines if line.get_label() == "Logistic regression on the pixels")
    np.testing.assert_allclose(line.get_xydata(), [[10, 0.4], [100, 0.2], [1000, 0.2]])


def test_labels_that_are_a_mean_are_said_as_whole_ones():
    assert [labels_in_words(labels) for labels in (129.7, 5, 6000.2)] == ["130", "5", "6,000"]


def test_the_picture_shows_errors_bands_crossings_and_differences(written):
    _, found, _ = written
    curve = found.label_curve
    axes, below = label_figures.label_curve(curve, strategy_names(found), [2, 1, 0]).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines[SCRATCH].get_xydata(), [[10, 0.5], [100, 0.2], [1000, 0.05]])
    assert lines[SCRATCH].get_color() == figures.DRAWN.runs[0] and lines[TUNED].get_color() == figures.DRAWN.runs[2]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    dots = [line for line in axes.lines if line.get_alpha() is not None]
    assert sum(len(line.get_ydata()) for line in dots) == 27
    # from 5 points ahead with 100 to 7.5 behind with 1,000: two fifths of the way
    crossing = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert crossing == [pytest.approx(100 * 10**0.4)] * 1
    (span,) = axes.patches
    low, high = span.get_x(), span.get_x() + span.get_width()
    assert (low, high) == pytest.approx((curve.headline[1].crossing_low, curve.headline[1].crossing_high))
    zero = [line for line in below.lines if set(line.get_ydata()) == {0}]
    ahead = [line.get_ydata().tolist() for line in below.lines if len(line.get_ydata()) == 3]
    assert len(zero) == 1 and ahead == [pytest.approx([30, 10, 3]), pytest.approx([20, 5, -7.5])]
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["10", "100", "1,000"]
    assert below.get_title(loc="left") == f"Ahead of {SCRATCH}"


def test_the_picture_of_time_marks_the_front(written):
    _, found, _ = written
    fitted = [(10, 0.4), (1_000, 0.2)]
    (axes,) = label_figures.time_and_accuracy(found.label_curve, strategy_names(found), [2, 1, 0], fitted).axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines[FROZEN], [[1, 0.7], [10, 0.85], [100, 0.875]])
    np.testing.assert_allclose(
        lines["ringed: nothing faster is as good; labels a class"], [[1, 0.8], [10, 0.9], [100, 0.98]]
    )  # all take as long, so the fine-tuned are the front
    np.testing.assert_allclose(lines["Logistic regression on the pixels"], [[0, 0.8], [1, 0.8]])
    named = [line for name in (TUNED, FROZEN, SCRATCH) for line in name.split(" · ")]
    named += ["logistic regression", "on the pixels"]
    assert sorted(text.get_text() for text in axes.texts) == sorted(["1,000", "10", "100", *named])


@pytest.mark.parametrize("accuracies", [{10: 1.0, 100: 1.0}, {10: 0.8, 100: 0.81}, {10: 0.5, 11: 1.0}])
def test_any_errors_can_be_drawn(tmp_path, accuracies):
    """None, errors close to each other, and numbers of labels so close that one alone is named."""
    runs = write_curve(tmp_path, seeds=(0,), accuracies={"scratch": accuracies})
    found = find(runs)
    with figures.drawing():
        axes, below = label_figures.label_curve(found.label_curve, [SCRATCH], [0]).axes
        figures.png(axes.figure)
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2
    assert below.get_xticklabels()[0].get_text() == "10"
    unknown = [
        run.record.model_copy(update={"seconds": run.record.seconds.model_copy(update={"training": None})})
        for run in runs
    ]
    found = find(
        [
            type(run)(run.folder, other, "", run.test_probabilities, run.test_labels)
            for run, other in zip(runs, unknown, strict=True)
        ]
    )
    assert [picture["name"] for picture in labels.drawn(found, show(found))] == ["label-curve"]


def test_the_page_has_the_curve_and_the_compared_runs_alone(written):
    _, found, folder = written
    page = Page(folder / "index.html")
    assert page.text.index("Test error by labels a class") < page.text.index("Results of each run")
    assert "10 to 1,000 labels a class, 200 test images" in page.text
    drawn = {path.stem for path in folder.glob("*.png")}
    assert {"label-curve", "time-and-accuracy", "confusion-difference", "accuracy"} <= drawn
    assert sum(name.startswith("confusion-") for name in drawn) == 4  # of three runs, and of two of them
    by_strategy = rows_of(page, "Test error by labels a class")
    assert [cells[0] for cells in by_strategy] == ["10", "100", "1,000"]
    assert [cells[3] for cells in by_strategy] == ["0.5000 (3)", "0.2000 (3)", "0.0500 (3)"]
    rows = rows_of(page, f"{FROZEN} less {SCRATCH}")
    assert [cells[:2] for cells in rows] == [["10", "+20.00"], ["100", "+5.00"], ["1,000", "\N{MINUS SIGN}7.50"]]
    # scratch has the frozen one's 0.3 two thirds of the way from 10 to 100, and its 0.15 a third from 100 to 1,000
    assert [cells[3:] for cells in rows] == [["3 of 3", "4.64 times"], ["3 of 3", "2.15 times"], ["0 of 3", "–"]]
    assert page.text.count("All below is of 1,000 labels a class") == 1
    assert f"{TUNED}, 1,000 labels" not in page.text  # said once, not in every name


def test_the_first_screen_s_numbers_are_means_of_seeds(tmp_path):
    """Fine-tuned is right on 196, 190 and 184 of 200 images, and trains for 10, 20 and 60 s; scratch on 180 of 200."""
    runs = write_curve(tmp_path, accuracies={"scratch": {10: 0.5, 100: 0.9}, "fine-tuned": {10: 0.8}})
    model = PRETRAINED.model_copy(update={"trained": "all"}).model_dump()
    for seed, (accuracy, seconds) in enumerate(((0.98, 10), (0.95, 20), (0.92, 60))):
        changes = {"seconds": {"training": seconds}, "model": model}
        place = tmp_path / f"fine-tuned-100-{seed}"
        run = write_run(place, branch="pretrained", accuracy=accuracy, labels=100, seed=seed, changes=changes)
        runs.append(record.read_run(run))
    found = find(runs)
    accuracy, lead, time = answer.numbers(found, show(found))
    assert (accuracy.value, lead.value, time.value) == ("0.950", "+5.0", "20 s")
    assert "seeds’ means" in answer.subject(found, show(found))
    alone = find([run for run in runs if run.record.seed == 0])
    assert answer.subject(alone, show(alone)) == f"{TUNED}, beside {SCRATCH}, with 100 labels a class; 95 % intervals"
    # where scratch, right on 198, is the better one, the lead is its own
    runs = [run for run in runs if run.record.branch == "pretrained" or run.record.data.labels_per_class == 10]
    for seed in range(3):
        runs.append(record.read_run(write_run(tmp_path / f"better-{seed}", accuracy=0.99, labels=100, seed=seed)))
    found = find(runs)
    _, lead, _ = answer.numbers(found, show(found))
    low, high = (float(number) for number in lead.beside.split(" to "))
    assert lead.value == "+4.0" and low < 4 < high
    assert answer.subject(found, show(found)).startswith(f"{SCRATCH}, beside {TUNED}, with 100 labels a class")


def rows_of(page, title):
    """The cells of the rows of the table with this caption."""
    (table,) = re.findall(
        rf"<caption><span>{re.escape(title)}.*?</table>", page.source.replace("&#183;", "·"), re.DOTALL
    )
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", table, re.DOTALL)
    cells = [re.findall("<t[hd].*?</t[hd]>", row) for row in rows]
    return [[html.unescape(re.sub("<[^>]+>", "", cell)) for cell in row] for row in cells]


def test_no_english_is_alone(written):
    runs, _, folder = written
    for path in (folder / "index.html", folder.parent / "index.html"):
        reader = Untranslated()
        reader.feed(path.read_text(encoding="ascii"))
        names = {"Fashion-MNIST", "ImageNet", "report.json", "metrics.csv", "a title", "article", "curve"}
        names |= {"ResNet50", "ResNet-18", "McNemar"}
        names |= {f"{run.record.device.kind}: {run.record.device.name}" for run in runs}
        names |= {program for run in runs for program in run.record.versions}
        assert [text for text in reader.found if text not in names] == []


def test_the_numbers_lie_beside_the_page_for_programs(written):
    _, found, folder = written

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    curve = content["label_curve"]
    assert content["compared"] == [6, 15, 24] and len(content["runs"]) == 27
    assert [strategy["name"] for strategy in curve["strategies"]] == [TUNED, FROZEN, SCRATCH]
    assert curve["strategies"][2]["points"][1]["places"] == [3, 4, 5]
    of_sides = {(one["first"], one["second"]): one for one in curve["pairs"]}
    always, crosses = of_sides[TUNED, SCRATCH], of_sides[FROZEN, SCRATCH]
    assert (always["crossing"], always["crossing_low"], always["crossing_high"]) == (None, None, None)
    assert always["crossing_low_is"] == always["crossing_high_is"] == "more than the most tried"
    assert crosses["crossing"] == pytest.approx(100 * 10**0.4) and crosses["crossing_low_is"] == "a number"
    assert [one["points_ahead"] for one in crosses["differences"]] == pytest.approx([20, 5, -7.5])
    rows = list(csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["labels_per_class"], row["subset_seed"]) for row in rows[2:4]] == [("10", "2"), ("100", "0")]


def test_the_list_of_reports_shows_the_curve_and_the_compared_runs(written):
    _, _, folder = written
    listed = Page(folder.parent / "index.html")
    assert [image["src"] for image in listed.all("img")] == ["curve/label-curve.svg"]
    assert listed.text.count("labels a class") < 10


def test_the_same_runs_give_the_same_page_and_a_notebook_has_the_curve(written, tmp_path):
    runs, found, folder = written
    again = report.write_report(tmp_path / "curve", runs, title="a title")
    assert again.read_bytes() == (folder / "index.html").read_bytes()
    assert (again.parent / "report.json").read_bytes() == (folder / "report.json").read_bytes()
    comparison = compare_runs(*runs)
    assert comparison.sentences[0] == f"{TUNED} beats {SCRATCH} at every number of labels tried, 10 to 1,000 a class."
    assert len(comparison.label_curve().axes) == 2
    with pytest.raises(UserError, match="no label curve"):
        compare_runs(*runs[:3]).label_curve()
    assert comparison._repr_html_().count("<th>") == 1 + len(of_compared(found, show(found))[1])
    assert report_files.as_csv(show(found)) == (folder / "metrics.csv").read_bytes()


def test_runs_on_several_numbers_of_labels_without_a_partner_are_compared_all(tmp_path):
    """A strategy alone, a seed each: the two best, whose names say how many labels they had."""
    runs = write_curve(tmp_path / "runs", seeds=(0,), accuracies={"scratch": {10: 0.5, 100: 0.7, 1000: 0.9}})
    page = Page(report.write_report(tmp_path / "out", runs, title="a title"))
    claim = f"{SCRATCH}, 1,000 labels a class beats {SCRATCH}, 100 labels a class by 20.0"
    assert claim in page.text.replace("\u2011", "-").replace("\xa0", " ")
    assert "All below" not in page.text and "less" not in page.text.split("Results of each run")[0]


def test_names_beside_lines_do_not_lie_on_each_other():
    """Three at nearly the same height, and one at that height that is far to the right of them."""
    with figures.drawing():
        figure = figures.Figure(figsize=(4.5, 3), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 1))
        points = [(1, 0.5), (1, 0.51), (1, 0.52), (9, 0.5)]
        names = [label_figures.named_beside(axes, ["one", "two"], point, "black", side="right") for point in points]
        figures.laid_out(figure)
        label_figures.spread(names)
    extents = [Bbox.union([line.get_window_extent() for line in lines]).padded(-0.1) for lines in names]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(extents, 2))
    first, *_, apart = (lines[0].get_window_extent().y0 for lines in names)
    assert first == pytest.approx(apart)
