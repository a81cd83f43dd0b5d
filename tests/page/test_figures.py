"""The pictures: what is drawn of the numbers."""

import dataclasses
import io
import itertools
import re

import numpy as np
import pytest
from fake_runs import write_run
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

from compare.data import dataset
from compare.findings.findings import find
from compare.page import curves as drawn_curves
from compare.page import figures, gallery, matrices, pictures
from compare.page.shown import show
from compare.runs import record
from compare.runs.schema import Row


def test_every_tile_is_its_image():
    images = dataset.load("digits").test_images[:250]
    sprite = np.asarray(Image.open(io.BytesIO(gallery.sprite(images, np.arange(250)))).convert("L"), float)
    shown = gallery.Gallery(np.arange(1000, 1250), b"", np.array([]), (28, 28))
    for index in (0, 99, 100, 249):
        column, line = shown.place(1000 + index)
        tile = sprite[28 * line : 28 * (line + 1), 28 * column : 28 * (column + 1)]
        assert np.abs(tile - images[index][..., 0]).mean() < 10


def test_numbers_in_a_drawing_stay_whole_and_coordinates_are_short():
    history = [Row(epoch=n, seconds=1 / 3, learning_rate=0.1, train_loss=1 / n) for n in (1, 2, 3)]
    with figures.drawing():
        figure = drawn_curves.loss_curves([drawn_curves.Curves("a 0.12345", 0, [history], None, [0.0])], over="time")
        drawing = figures.svg(figure).decode()
    assert ">a 0.12345</text>" in drawing
    assert not re.search(r'[" ]\d+\.\d{3}', re.sub(r">[^<]*<", "><", drawing))


def test_curves_show_the_history_on_whole_epochs():
    history = [
        Row(
            epoch=n,
            seconds=40.0,
            learning_rate=0.1 / n,
            train_accuracy=0.8 + 0.01 * n,
            train_loss=0.0,
            test_accuracy=y,
        )
        for n, y in ((1, 0.71), (2, 0.73), (3, 0.72))
    ]
    other = drawn_curves.Curves("other", 1, [history[:1]], "test", [0.0])
    curves = [drawn_curves.Curves("one", 0, [history], "test", [0.0]), other]
    with figures.drawing():
        figure = drawn_curves.accuracy_curves(curves, over="epochs", baselines=(("linear", 0.6),), printed=(0.8, 0.82))
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if line.get_label() != "_name"}
    assert list(lines) == [
        "one, train",
        "one, test",
        "_best",
        "other, train",
        "other, test",
        drawn_curves.PRINTED,
        "linear",
    ]
    np.testing.assert_allclose(lines["one, test"].get_xydata(), [[1, 0.71], [2, 0.73], [3, 0.72]])
    np.testing.assert_allclose(lines["_best"].get_xydata(), [[2, 0.73]])
    np.testing.assert_allclose(lines[drawn_curves.PRINTED].get_xydata(), [[1, 0.8], [2, 0.82]])
    ends = {text.get_text(): text.xy[1] for text in axes.texts}
    assert ends == {"one": 0.72, "other": 0.71, drawn_curves.PRINTED: 0.82, "linear": 0.6}
    assert set(lines["linear"].get_ydata()) == {0.6}
    del lines[drawn_curves.PRINTED], lines["linear"]
    assert all(line.get_marker() not in ("", "None") for line in lines.values())  # a single epoch is seen as well
    ticks = [tick for tick in axes.get_xticks() if 1 <= tick <= 3]
    assert all(tick == int(tick) for tick in ticks)
    low, high = axes.get_ylim()
    assert low < 0.6 and high > 0.83


def test_a_difference_has_the_colour_of_who_has_more():
    style = figures.DRAWN
    matrix = np.array([[-900, -4, 0], [25, 900, -1], [0, 0, 3]])
    with figures.drawing():
        figure = matrices.confusion_difference(matrix, ["a", "b", "c"], title="t", looks=(0, 1))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["-900", "-4", "0", "+25", "+900", "-1", "0", "0", "+3"]
    colours = figure.axes[0].images[0].get_array().data
    first, second, background = (
        np.array(figures.matplotlib.colors.to_rgb(colour)) for colour in (*style.runs[:2], style.background)
    )
    assert colours[1, 0, :3] == pytest.approx(first, abs=0.01)
    for plain in ((0, 0), (1, 1), (2, 2), (2, 0)):  # what is right, and nothing, has no colour
        assert colours[*plain, :3] == pytest.approx(background, abs=0.02)
    # the root of 4 is two fifths of that of 25; of the way to the other run's colour the first 15 hundredths are for 1
    share = 0.15 + 0.85 * 0.4
    assert colours[0, 1, :3] == pytest.approx(background + share * (second - background), abs=0.02)
    assert matrices.largest_mistake(matrix) == 25 and matrices.largest_mistake(np.eye(2, dtype=int)) == 1


def test_curves_over_time_and_their_phases():
    rows = [
        Row(epoch=n, seconds=200.0, train_loss=1 / n, test_loss=2 / n, phase="fine-tuning" if n == 3 else None)
        for n in (1, 2, 3)
    ]
    with figures.drawing():
        figure = drawn_curves.loss_curves([drawn_curves.Curves("one", 0, [rows], "test", [0.0])], over="time")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Training time (minutes)"
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["one, test"], [[200 / 60, 2], [400 / 60, 1], [10, 2 / 3]])
    np.testing.assert_allclose(lines["_best"], [[10, 2 / 3]])
    assert any(line.get_xdata()[0] == pytest.approx(500 / 60) for line in axes.lines)  # between the phases


def seeds_of(*curves):
    """What is drawn of a run of that many seeds, given each seed's test losses."""
    rows = [
        [
            Row(epoch=n, seconds=10.0 * seed, learning_rate=0.1, train_loss=2.0, test_loss=loss)
            for n, loss in enumerate(losses, start=1)
        ]
        for seed, losses in enumerate(curves, start=1)
    ]
    return drawn_curves.Curves("one", 1, rows, "test", [5.0 * (seed + 1) for seed in range(len(curves))])


@pytest.mark.parametrize(("over", "x"), [("epochs", [1, 2]), ("time", [30, 50])])  # ten more, for features
def test_seeds_are_one_curve_of_their_mean_in_a_band_of_their_range(over, x):
    figure = drawn_curves.loss_curves([seeds_of([1.0, 0.2], [2.0, 0.6], [9.0, 0.7])], over=over)
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(lines) == ["one, train", "one, test", "_best", "_name"]
    np.testing.assert_allclose(lines["one, test"], np.transpose([x, [4.0, 0.5]]))
    _, band = axes.collections  # of train and of test
    corners = {tuple(point) for point in band.get_paths()[0].vertices.round(6).tolist()}
    assert corners == {(x[0], 1.0), (x[0], 9.0), (x[1], 0.2), (x[1], 0.7)}
    assert axes.get_ylim()[1] > 9
    assert not drawn_curves.loss_curves([seeds_of([1.0, 0.2])], over=over).axes[0].collections


def test_curves_are_named_at_their_ends_and_no_name_lies_on_another():
    curves = [
        dataclasses.replace(seeds_of([1.0, 0.5 + 0.001 * number]), label=f"run {number} · tuned", look=number)
        for number in range(12)
    ]
    with figures.drawing():
        (axes,) = drawn_curves.loss_curves(curves, over="epochs", aside=frozenset(range(7, 12))).axes
    assert axes.get_legend() is None and not axes.figure.legends
    written = [text for text in axes.texts if text.get_visible()]
    names = [text for text in written if text.get_text() != "tuned"]
    assert [text.get_text() for text in names] == [f"run {number}" for number in range(7)]
    assert [text.get_color() for text in names] == [figures.DRAWN.colour(number) for number in range(7)]
    others = {line.get_color() for line in axes.lines if line.get_label() == "run 9 · tuned, test"}
    assert others == {figures.DRAWN.grid}
    extents = [text.get_window_extent() for text in written]
    assert all(axes.figure.bbox.y0 <= one.y0 and one.y1 <= axes.figure.bbox.y1 + 1 for one in extents)
    heights = sorted((one.y0, one.y1) for one in extents)
    assert all(below[1] <= above[0] + 3 for below, above in itertools.pairwise(heights))


def test_seeds_share_a_look_and_other_settings_have_their_own(tmp_path):
    runs = [
        write_run(tmp_path / f"{branch}-{recipe}-{seed}", branch=branch, recipe=recipe, seed=seed)
        for branch in ("scratch_resnet", "pretrained")
        for recipe in ("article", "tuned")
        for seed in (0, 1, 2)
    ]
    shown = show(find([record.read_run(run) for run in runs]))
    assert [one.look for one in shown] == [0, 0, 0, 2, 2, 2, 1, 1, 1, 3, 3, 3]
    curves = pictures.curves_of(shown)
    assert [len(run.histories) for run in curves] == [3, 3, 3, 3]
    assert curves[1].label == "ResNet-18 · from scratch · tuned"
    again = write_run(tmp_path / "again", seed=1)  # a seed once more: by itself, so that the band is of seeds alone
    curves = pictures.curves_of(show(find([record.read_run(run) for run in (*runs[:3], again)])))
    assert [len(run.histories) for run in curves] == [3, 1] and curves[1].look != curves[0].look


def test_a_single_epoch_lies_well_inside_the_axes():
    row = Row(epoch=1, seconds=9.0, train_accuracy=0.9, train_loss=0.3, test_accuracy=0.8, test_loss=0.5)
    curves = [drawn_curves.Curves("one", 0, [[row]], "test", [0.0])]
    for draw, highest in ((drawn_curves.accuracy_curves, 0.9), (drawn_curves.loss_curves, 0.5)):
        low, high = draw(curves, over="epochs").axes[0].get_ylim()
        assert highest + 0.05 * (high - low) < high


def test_runs_far_apart_leave_the_best_ones_room():
    """From 0.9 to 0.93 is a quarter of the errors less, from 0.2 to 0.23 a thirtieth; a loss halves in equal steps."""

    def drawn(draw, quantity, values):
        known = {"train_loss": 0.0, "train_accuracy": 0.0}  # of what is not drawn here
        rows = [
            Row(epoch=n, seconds=1.0, **known | {f"train_{quantity}": value}) for n, value in enumerate(values, start=1)
        ]
        axes = draw([drawn_curves.Curves("one", 0, [rows], None, [0.0])], over="epochs").axes[0]
        return axes, lambda value: axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1]

    near, place = drawn(drawn_curves.accuracy_curves, "accuracy", (0.8, 0.93))
    assert place(0.93) - place(0.9) == pytest.approx(place(0.83) - place(0.8))
    far, place = drawn(drawn_curves.accuracy_curves, "accuracy", (0.2, 0.93))
    assert place(0.93) - place(0.9) > 6 * (place(0.23) - place(0.2)) > 0
    assert 0 <= place(0.2) < place(0.93) <= 1
    assert {"0.20", "0.93"} <= {tick.get_text() for tick in far.get_yticklabels()}
    near, place = drawn(drawn_curves.loss_curves, "loss", (2.0, 0.3))
    assert near.get_ylim()[0] == 0 and place(2.0) - place(1.0) == pytest.approx(2 * (place(1.0) - place(0.5)))
    far, place = drawn(drawn_curves.loss_curves, "loss", (2.0, 0.1))
    assert place(2.0) - place(1.0) == pytest.approx(place(1.0) - place(0.5)) and 0 < place(0.1) < place(2.0) < 1


def test_names_in_any_script_are_drawn_in_a_font_that_has_them():
    """Where one is installed; without any there is a sign in its place, and no warning."""
    font = FT2Font(findfont("DejaVu Sans")).get_charmap()
    names = ("Ünï <b>$", "猫 和 狗", "ไทย", "\U0001f9a9")
    with figures.drawing():
        figure = matrices.confusion(np.eye(4, dtype=int), names, title="猫", largest=1)
        figures.png(figure)
    families = {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text)}
    assert families[names[0]] == ["sans-serif"]  # as ever
    upright = [one for one in fontManager.ttflist if one.style == "normal" and one.weight == 400]
    installed = [one for one in upright if "Last Resort" not in one.name]  # it has a sign for each, and no letter
    for name in names[1:]:
        written = {ord(character) for character in name}
        somewhere = {code for one in installed for code in written & FT2Font(one.fname).get_charmap().keys()}
        has = set(font)
        for family in families[name]:
            has |= set(FT2Font(findfont(FontProperties(family=[family]))).get_charmap())
        assert somewhere <= has


def test_matrix_cells_are_written_and_readable():
    matrix = np.array([[1000, 0, 3], [30, 500, 7], [0, 0, 0]])
    with figures.drawing():
        figure = matrices.confusion(matrix, ["a", "$b$", "c"], title="t", largest=30)
        drawn = figures.png(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1000\n99.7", "0", "3\n0.3", "30\n5.6", "500\n93.1", "7\n1.3", "0", "0", "0"]

    def luminance(colour):
        rgb = np.array(figures.matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    cells = figure.axes[0].images[0].get_array().reshape(-1, 4)
    for text, cell in zip(figure.axes[0].texts, cells, strict=True):
        pair = sorted([luminance(text.get_color()), luminance(cell)])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, text  # WCAG 2, level AA
    assert Image.open(io.BytesIO(drawn)).format == "PNG"
