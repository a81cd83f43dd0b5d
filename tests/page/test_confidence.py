"""Whether confidence can be trusted: its pictures and words, of made-up runs."""

import numpy as np
import pytest
import sklearn.metrics

from compare import save_run
from compare.findings.calibration import calibration
from compare.findings.findings import find
from compare.page import calibration as calibration_in_words
from compare.page import confidence_figures, figures
from compare.page.shown import show
from compare.runs import record


def test_calibration_of_seeds_by_hand(tmp_path):
    """Two seeds, both within the bin from 12/15 to 13/15: 10 and 30 images of which 5 and 27 are right."""
    found = []
    for num_images, num_right, confidence in ((10, 5, 0.82), (30, 27, 0.86)):
        probabilities = np.tile(np.array([confidence, 1 - confidence], np.float32), (num_images, 1))
        labels = (np.arange(num_images) >= num_right).astype(np.uint8)
        found.append(calibration(record.Run(tmp_path, None, "", probabilities, labels)))
    (axes,) = confidence_figures.reliability([("two seeds", 0, found)]).axes
    (line,) = (line for line in axes.lines if line.get_label() == "two seeds")
    np.testing.assert_allclose(line.get_xydata(), [[(10 * 0.82 + 30 * 0.86) / 40, 32 / 40]], rtol=1e-6)
    (axes,) = confidence_figures.selective([("two seeds", 0, found)]).axes
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(100 * (0.5 + 0.1) / 2)  # per cent that is wrong
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0, 50))  # of the surest of the second seed none is wrong


def test_the_most_accurate_run_s_weak_sides(tmp_path):
    """The first of three runs is surer than it may be, the second less sure, and the third as sure as it is right."""
    labels = np.arange(1000) % 10
    runs = []
    for name, num_right, sure in (("first", 900, 0.9999), ("second", 800, 0.7), ("third", 850, 0.85)):
        predicted = np.where(np.arange(1000) < num_right, labels, (labels + 1) % 10)
        probabilities = np.full((1000, 10), (1 - sure) / 9, np.float32)
        probabilities[np.arange(1000), predicted] = sure
        save_run(
            tmp_path / name,
            title=name,
            class_names=list("abcdefghij"),
            test_probabilities=probabilities,
            test_labels=labels,
        )
        runs.append(record.read_run(tmp_path / name))

    def said(*some):
        found = find(list(some))
        return calibration_in_words.weak_sides(found, show(found))

    losses = [sklearn.metrics.log_loss(run.test_labels, run.test_probabilities) for run in runs]
    assert said(*runs) == (
        f"first is the most accurate, and worse than third in log loss ({losses[0]:.3f} against {losses[2]:.3f}) and "
        f"calibration error, surer than it is right (0.100 against 0.000)."
    )
    assert (
        said(*runs[1:]) == "third is the most accurate, and in nothing shown to be worse: log loss, calibration error."
    )


def test_runs_that_are_put_aside_are_grey_lines_alone(tmp_path):
    """Twelve runs, five of them aside: these have no name, no marker, no interval; with all of them they have."""
    runs = []
    for number in range(12):
        probabilities = np.tile(np.array([0.8, 0.2], np.float32), (100, 1))
        labels = (np.arange(100) >= 95 - number).astype(np.uint8)
        of_one = calibration(record.Run(tmp_path, None, "", probabilities, labels))
        runs.append((f"run {number}", number, [of_one]))
    with figures.drawing():
        for draw in (confidence_figures.reliability, confidence_figures.selective):
            figure = draw(runs, aside=frozenset(range(7, 12)))

            def seen(figure=figure):
                (axes,) = figure.axes
                marks = [one for one in (*axes.texts, *axes.collections, *axes.lines) if one.get_visible()]
                grey = [line.get_label() for line in axes.lines if line.get_color() == figures.DRAWN.grid]
                return {one.get_text() for one in axes.texts if one in marks}, len(marks), sorted(grey)

            names, num_marks, grey = seen()
            assert {f"run {number}" for number in range(7)} <= names
            assert not {f"run {number}" for number in range(7, 12)} & names
            assert grey == ["run 10", "run 11", "run 7", "run 8", "run 9"]
            with figure.with_all():
                all_names, all_marks, none = seen()
            assert all_names - names >= {f"run {number}" for number in range(7, 12)} and none == []
            assert all_marks >= num_marks + 2 * 5
            assert seen() == (names, num_marks, grey)
