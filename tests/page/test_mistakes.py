"""Where the page says that runs are wrong: lists of classes, and how each class is found."""

import numpy as np
import pytest
import scipy.stats
from fake_runs import write_run

from compare.findings.findings import find
from compare.page import mistakes, words
from compare.page.shown import show
from compare.runs import record


@pytest.mark.parametrize(
    ("leads", "others", "said"),
    [
        ([("Shirt", 17.24)], ["Coat", "Bag"], "Shirt (+17)"),
        ([("a", 9.96), ("b", 3.0), ("c", 1.25)], [*"defg"], "a (+10.0), b (+3.0), c (+1.2)"),
        ([(name, 20.0) for name in "abcd"], [], "every class, most on a (+20)"),
        ([(name, 20.0) for name in "abcd"], ["Ankle boot"], "every class but Ankle boot, most on a (+20)"),
        ([(name, 20.0) for name in "abcd"], ["“1”", "“2”"], "every class but “1” and “2”, most on a (+20)"),
        ([(name, 20.0) for name in "abcd"], [*"efg"], "4 of 7 classes, most on a (+20), b (+20), c (+20)"),
    ],
)
def test_lists_of_classes_are_short(leads, others, said):
    assert words.classes_in_words(leads, others) == said


def test_a_class_that_is_called_by_a_number_is_quoted():
    assert words.class_in_words("9") == "“9”" and words.class_in_words("T-shirt/top") == "T-shirt/top"
    assert words.class_in_words("猫") == "猫"


def test_recalls_are_sorted_by_the_gap_between_strategies(tmp_path):
    runs = [
        record.read_run(write_run(tmp_path / f"{branch}-{seed}", branch=branch, seed=seed, accuracy=accuracy))
        for branch, accuracy in (("scratch_resnet", 0.9), ("pretrained", 0.6))
        for seed in (0, 1)
    ]
    found = find(runs)
    drawn = mistakes.recalls(found, show(found))
    of_each = [
        np.mean([(run.test_probabilities.argmax(axis=1) == run.test_labels)[run.test_labels == index] for run in seeds])
        for index in range(10)
        for seeds in (runs[:2], runs[2:])
    ]
    gaps = 100 * np.abs(np.subtract(of_each[::2], of_each[1::2]))
    assert [lead for _, lead, _, _ in drawn.rows] == pytest.approx(sorted(gaps, reverse=True))
    assert [gaps[index] for index, *_ in drawn.rows] == pytest.approx(sorted(gaps, reverse=True))
    assert len(drawn.strategies) == 2
    for index, _, _, lines in drawn.rows:
        assert [one.record.branch for one, *_ in lines] == ["scratch_resnet", "pretrained"]
        for _, low, high, place, _ in lines:
            assert 0 <= low <= place <= high <= 100
        # twenty images of each class: the interval of one run with that recall
        recall = of_each[2 * index]
        interval = scipy.stats.binomtest(round(20 * recall), 20).proportion_ci(method="wilson")
        if abs(20 * recall - round(20 * recall)) < 1e-9:
            assert f"{recall:.1%} ({interval.low:.1%} to {interval.high:.1%})" in lines[0][-1]
