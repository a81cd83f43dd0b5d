"""The first screen: the claim, its numbers, its picture, and the line of trust."""

import numpy as np
import pytest
from fake_runs import write_run
from pages import write
from test_labels import pair, write_curve

from compare.findings.findings import find
from compare.findings.label_curve import StrategyPair
from compare.page import answer, audit, banners, label_figures, tables
from compare.page.label_figures import Dot
from compare.page.language import in_language
from compare.page.shown import show
from compare.runs import record

MOST_WORDS = 20


def found_of(folder, *runs):
    """The findings of made-up runs, each the arguments of one, and the runs as the page shows them."""
    written = [record.read_run(write_run(folder / str(place), **run)) for place, run in enumerate(runs)]
    found = find(written)
    return found, show(found)


def num_words(text):
    return len([word for word in text.split() if word != "·"])


SCRATCH = {"branch": "scratch_resnet"}
PRETRAINED = {"branch": "pretrained"}


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "No run has finished."),
        ([SCRATCH], "ResNet-18 · from scratch is right on 90.0 % of the test images of Fashion-MNIST."),
        (
            [SCRATCH | {"accuracy": 0.95}, PRETRAINED | {"accuracy": 0.8}],
            "ResNet-18 · from scratch beats ResNet50 · frozen by 15.0 points on Fashion-MNIST.",
        ),
        (
            [SCRATCH | {"accuracy": 0.9}, PRETRAINED | {"accuracy": 0.895}],
            "Neither ResNet-18 · from scratch nor ResNet50 · frozen is shown to be better.",
        ),
        (
            [SCRATCH | {"accuracy": 0.95}, PRETRAINED | {"accuracy": 0.8, "weights": "random"}],
            "No winner is named: no network here is pretrained, and random weights stand in for that.",
        ),
        (
            [SCRATCH | {"accuracy": 0.95, "recipe": recipe, "seed": seed} for recipe in ("a", "b") for seed in (0, 1)]
            + [SCRATCH | {"accuracy": 0.5, "recipe": "c"}],
            "Neither ResNet-18 · from scratch · a, seed 0 nor ResNet-18 · from scratch · a, seed 1 is shown to be "
            "better.",
        ),
    ],
)
def test_the_claim_of_runs(tmp_path, runs, said):
    claim = answer.claim(*found_of(tmp_path, *runs))
    assert claim == said
    assert num_words(claim) <= MOST_WORDS and in_language(claim, "zh-Hans") != str.__str__(claim)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (pair([8.1, 3, 2, 1.5, 1.04]), "A beats B at every number of labels tried, 5 to 6,000 a class."),
        (pair([-2, -4]), "B beats A at every number of labels tried, 5 to 10 a class."),
        (pair([0.5, -0.5]), "From 5 to 10 labels a class, neither A nor B is shown to be better."),
        (pair([3, 0.2, 0.1]), "A beats B at 1 of 3 numbers of labels; elsewhere chance may decide."),
        (pair([3, 0.2, -2], 82.4), "Up to about 82 labels a class A is ahead, from there on B."),
        (pair([-3, 2], 7), "Up to about 7 labels a class B is ahead, from there on A."),
        (pair([3, -3, 3], 7), "Whether A or B is ahead changes several times with the labels."),
    ],
)
def test_the_claim_of_a_curve(of: StrategyPair, said):
    assert answer.of_labels(of, "A", "B") == said
    long = answer.of_labels(of, "EfficientNet-Lite0 · fine-tuned", "ResNet-18 · from scratch")
    assert num_words(long) <= MOST_WORDS


def test_three_numbers_and_whose_they_are(tmp_path):
    found, shown = found_of(tmp_path, SCRATCH | {"accuracy": 0.8}, PRETRAINED | {"accuracy": 0.95})
    accuracy, lead, time = answer.numbers(found, shown)
    # Wilson's interval of 190 of 200: (0.95 + z²/400 ± z·sqrt(0.95·0.05/200 + (z/400)²)) / (1 + z²/200)
    assert (accuracy.value, accuracy.beside) == ("0.950", "0.910–0.973")
    assert lead.value == "+15.0" and (time.value, time.beside) == ("2 min 3 s", "against 2 min 3 s")
    assert answer.subject(found, shown) == "ResNet50 · frozen, beside ResNet-18 · from scratch; 95 % intervals"
    assert len(answer.numbers(*found_of(tmp_path / "one", SCRATCH))) == 2  # nothing to be ahead of
    assert answer.numbers(find([]), []) == []


def test_what_several_seeds_say_is_said_of_their_means(tmp_path):
    """Of 200 images; one lucky seed of a worse strategy is no winner."""
    scratch = [SCRATCH | {"accuracy": 0.9 + seed / 50, "seed": seed} for seed in range(3)]
    frozen = [PRETRAINED | {"accuracy": 0.5 + seed / 50, "seed": seed} for seed in range(3)]
    found, shown = found_of(tmp_path / "clear", *scratch, *frozen)
    accuracy, lead, _ = answer.numbers(found, shown)
    assert (accuracy.value, lead.value) == ("0.920", "+40.0")
    low, high = (float(number) for number in lead.beside.split(" to "))
    spread = 196 * np.sqrt((0.92 * 0.08 + 0.52 * 0.48) / 200)  # of independent answers of one seed
    assert 40 - spread < low < 40 < high < 40 + spread
    both = "ResNet-18 · from scratch, beside ResNet50 · frozen"
    assert answer.subject(found, shown) == f"{both}; seeds’ means, median times; 95 % intervals"
    assert "from scratch beats ResNet50 · frozen by 40.0 points" in answer.claim(found, shown)
    lucky = [SCRATCH | {"accuracy": one, "seed": seed} for seed, one in enumerate((0.99, 0.5, 0.5))]
    steady = [PRETRAINED | {"accuracy": 0.9, "seed": seed} for seed in range(3)]
    found, shown = found_of(tmp_path / "lucky", *lucky, *steady)
    accuracy, lead, _ = answer.numbers(found, shown)
    assert (accuracy.value, lead.value) == ("0.900", "+23.7")
    assert "ResNet50 · frozen, beside ResNet-18" in answer.subject(found, shown)


def test_the_line_of_trust_counts_what_failed_and_was_not_run(tmp_path):
    runs = [PRETRAINED | {"weights": "random", "seed": seed} for seed in (0, 1)]
    found, shown = found_of(tmp_path, SCRATCH, *runs)
    questions = audit.table(shown, None)
    warnings = banners.of([(one.label, one.record) for one in shown], [])
    states = [cell.state for _, cells in questions for cell in cells]
    failed, unknown = states.count("failed"), states.count("not-run")
    assert failed and unknown and len(states) == 2 * len(questions)  # the control's seeds answer together
    said = answer.doubts(shown, questions, warnings)
    counted = ["1 to 2 seeds", f"{failed} checks failed", f"{unknown} checks not run"]
    assert [doubt.text for doubt in said[:3]] == counted
    assert [doubt.text for doubt in said if doubt.is_grave] == ["No pretraining"]
    text = write(tmp_path / "out", *(one.run.folder for one in shown)).source
    for doubt in said:
        assert f'href="#{doubt.place}"' in text and f'id="{doubt.place}"' in text


def test_a_curve_has_its_own_picture_and_other_runs_their_times(tmp_path):
    found = find(write_curve(tmp_path, seeds=(0,)))
    assert answer.drawn(found, show(found)) == [] == answer.drawn(find([]), [])
    found, shown = found_of(tmp_path / "two", SCRATCH, PRETRAINED | {"accuracy": 0.95})
    (picture,) = answer.drawn(found, shown)
    assert "ResNet-18 · from scratch 0.9000; ResNet50 · frozen 0.9500" in picture["alt"]
    text = write(tmp_path / "out", *(one.run.folder for one in shown)).source
    assert text.index(">the article<") < text.index("<nav")


def test_a_row_of_runs_has_its_own_ends_on_one_scale(tmp_path):
    """Two settings that are called alike, each with two seeds, and one run that lies far below."""
    settings = [({"learning_rate": 0.1}, (0.9, 0.94)), ({"learning_rate": 0.2}, (0.8, 0.84))]
    runs = [
        SCRATCH | {"accuracy": accuracy, "seed": seed, "overrides": overrides}
        for overrides, accuracies in settings
        for seed, accuracy in enumerate(accuracies)
    ]
    found, shown = found_of(tmp_path, *runs, PRETRAINED | {"accuracy": 0.2})
    first, second, last = tables.lines(shown, audit.table(shown, None))
    assert (first.interval, second.interval) == ("0.9000 to 0.9400", "0.8000 to 0.8400")
    # from 0.8 to 0.94: 0.9 lies 5 sevenths of the way, 0.84 2 sevenths
    assert first.places == (71.43, 100, [71.43, 100]) and second.places == (0, 28.57, [0, 28.57])
    assert last.places == (0, 0, [0]) and last.seeds == "0" and first.seeds == "0, 1"


def test_what_lies_far_below_is_an_arrow_and_does_not_squeeze_the_axis():
    dots = [
        Dot("one", 0, [0.91, 0.93], 0.9, 0.94, [10.0, 20.0]),
        Dot("two", 1, [0.9], 0.89, 0.91, [100.0]),
        Dot("broken", 2, [0.1], 0.09, 0.11, [50.0]),
    ]
    (axes,) = label_figures.accuracy_and_time(dots, [("rule", 0.85), ("far below", 0.1)]).axes
    low, high = axes.get_ylim()
    assert 0.7 < low < 0.85 and high < 1
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["one", "two", "broken", "0.100", "rule", "0.850"]
    (arrow,) = [line for line in axes.lines if line.get_marker() == "v"]
    assert arrow.get_xdata()[0] == 50 and low < arrow.get_ydata()[0] < 0.85
    markers = [line for line in axes.lines if line.get_marker() in "os"]
    np.testing.assert_allclose([line.get_xydata()[0] for line in markers], [[15, 0.92], [100, 0.9]])
    untimed = [Dot("one", 0, [0.9], 0.89, 0.91, None), Dot("two", 1, [0.8], 0.79, 0.81, [5.0])]
    assert not label_figures.accuracy_and_time(untimed, []).axes[0].xaxis.get_visible()
