"""The label curve. Truths: numbers worked out by hand, and a bootstrap in plain loops."""

import itertools
import math
import random
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runs import PRETRAINED, SCRATCH, write_run

from compare.findings import metrics
from compare.findings.findings import alike, find
from compare.findings.label_curve import label_curve, labels_of, seeds_of
from compare.runs import record
from compare.runs.record import Run
from compare.runs.schema import Data, Recipe, Record, Seconds, Weights

SIDES = {"frozen": PRETRAINED, "fine-tuned": PRETRAINED.model_copy(update={"trained": "all"}), "scratch": SCRATCH}


def run(strategy, labels, wrong, seed=0, seconds=100.0) -> Run:
    """A run on as many images as `wrong`, bool, has, each of class 0 of two."""
    wrong = np.asarray(wrong)
    data = Data(
        name="made-up",
        title="made up",
        num_train=50,
        num_validation=10,
        num_test=len(wrong),
        labels_per_class=labels,
        subset_seed=None if labels is None else seed,
        class_names=["a", "b"],
        test_labels_fingerprint="",
    )
    about = Record(
        branch="scratch_resnet" if strategy == "scratch" else "pretrained",
        recipe=Recipe(name="tuned"),
        num_epochs=0,
        seed=seed,
        data=data,
        model=SIDES[strategy],
        weights=Weights(kind="none" if strategy == "scratch" else "imagenet"),
        seconds=Seconds(training=seconds),
    )
    return Run(Path("made-up"), about, "", np.stack([~wrong, wrong], axis=1).astype(np.float32), np.zeros(len(wrong)))


def runs(strategy, errors, *, seeds=(0,), num_images=200, shift=0):
    """Runs with these errors, a fraction for each number of labels, on every seed; other images are wrong on each."""
    made = []
    for (labels, error), seed in itertools.product(errors.items(), seeds):
        wrong = np.random.default_rng([seed, labels or 0, shift]).permutation(num_images) < round(error * num_images)
        made.append(run(strategy, labels, wrong, seed))
    return made


def pair_of(*made):
    curve = label_curve([one for some in made for one in some])
    (pair,) = curve.pairs
    assert curve.headline == (pair,)
    return pair


def test_crossing_difference_and_factor_by_hand():
    frozen, scratch = {10: 0.3, 100: 0.25, 1000: 0.2}, {10: 0.5, 100: 0.3, 1000: 0.1}
    curve = label_curve([*runs("scratch", scratch), *runs("frozen", frozen)])
    (pair,) = curve.pairs
    assert [[point.error for point in one.points] for one in curve.strategies] == [
        pytest.approx(list(frozen.values())),
        pytest.approx(list(scratch.values())),
    ]
    assert [one.points_ahead for one in pair.differences] == pytest.approx([20, 5, -10])
    # a third of the way from 5 to -10, in powers of ten
    assert pair.crossing == pytest.approx(100 * 10 ** (1 / 3))
    assert pair.crossing_low < pair.crossing < pair.crossing_high
    # scratch has 0.3 with 100 labels, and 0.25 a quarter of the way from 100 to 1,000; frozen never has 0.1
    assert [one.times_labels for one in pair.differences] == [pytest.approx(10), pytest.approx(10**0.25), None]
    assert [one.most_times for one in pair.differences] == [100, 10, 1]
    assert [(one.num_ahead, one.num_paired) for one in pair.differences] == [(1, 1), (1, 1), (0, 1)]


def test_the_last_of_several_crossings_counts_and_a_difference_of_none_is_one():
    back = {10: 0.5, 100: 0.3, 1000: 0.1, 5000: 0.05, 6000: 0.05}
    pair = pair_of(runs("frozen", {10: 0.4, 100: 0.4, 1000: 0.1, 5000: 0.05, 6000: 0.02}), runs("scratch", back))
    assert pair.crossing == pytest.approx(5000)  # ahead, behind, level, level, ahead
    assert [one.times_labels for one in pair.differences[2:4]] == [1, 1]
    # behind by chance, ahead by chance, behind by far: where it is behind with all, the last crossing lies below
    pair = pair_of(
        runs("frozen", {10: 0.41, 30: 0.39, 1000: 0.3}), runs("scratch", {10: 0.4, 30: 0.4, 1000: 0.1}, shift=1)
    )
    assert 30 < pair.crossing < 100 and (pair.crossing_low, pair.crossing_high < 1000) == (-math.inf, True)
    pair = pair_of(runs("frozen", {10: 0.4, 100: 0.4, 1000: 0.2}), runs("scratch", {10: 0.4, 100: 0.3, 1000: 0.1}))
    assert pair.crossing is None  # level, then behind: it never was ahead


def test_without_a_crossing_there_is_none_and_its_interval_says_on_which_side():
    ahead = pair_of(runs("fine-tuned", {10: 0.2, 100: 0.1}), runs("scratch", {10: 0.5, 100: 0.4}))
    assert (ahead.crossing, ahead.crossing_low, ahead.crossing_high) == (None, math.inf, math.inf)
    assert all(one.is_lead for one in ahead.differences)
    # with 10 labels it needs more than all that was tried
    assert [(one.times_labels, one.most_times) for one in ahead.differences] == [(None, 10), (None, 1)]


@pytest.mark.parametrize(
    ("frozen", "ends"),
    [
        ({10: 0.3, 100: 0.25}, (False, True)),  # ahead by far, then behind by an image: the crossing may lie above
        ({10: 0.495, 100: 0.4}, (True, False)),  # ahead by an image, then behind by far: or below
    ],
)
def test_ends_of_the_interval_may_be_infinite(frozen, ends):
    scratch = {10: 0.5, 100: 0.245}
    pair = pair_of(runs("frozen", frozen), runs("scratch", scratch, shift=1))
    assert 10 < pair.crossing < 100
    assert (pair.crossing_low == -math.inf, pair.crossing_high == math.inf) == ends
    assert [one.is_lead for one in pair.differences] == [not ends[0], not ends[1]]


def slow_bootstrap(first, second, num_draws=3000):
    """The differences and crossings of draws of images and seeds, in plain loops. Both sides are dicts: a list of wrong
    images for each seed, for each number of labels."""
    numbers = random.Random(1)
    labels = sorted(first)
    num_images = len(next(iter(first[labels[0]].values())))
    differences, crossings = [], []
    for _ in range(num_draws):
        images = [numbers.randrange(num_images) for _ in range(num_images)]
        drawn = {}

        def error(side, count, images=images, drawn=drawn):
            seeds = tuple(sorted(side[count]))
            if seeds not in drawn:
                drawn[seeds] = [numbers.choice(seeds) for _ in seeds]
            rates = [sum(side[count][seed][image] for image in images) / num_images for seed in drawn[seeds]]
            return sum(rates) / len(rates)

        of_draw = [100 * (error(second, count) - error(first, count)) for count in labels]
        crossing = None
        for index in range(len(labels) - 1):
            before, after = of_draw[index : index + 2]
            if before > 0 > after or before < 0 < after:
                share = before / (before - after)
                crossing = math.exp((1 - share) * math.log(labels[index]) + share * math.log(labels[index + 1]))
        if crossing is None:
            crossing = math.inf if sum(of_draw) > 0 else -math.inf
        differences.append(of_draw)
        crossings.append(crossing)
    ends = num_draws // 40, num_draws - num_draws // 40 - 1
    sides = [sorted(column) for column in (*zip(*differences, strict=True), crossings)]
    return [[column[end] for end in ends] for column in sides]


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3)])
def test_intervals_are_those_of_a_slow_bootstrap_over_images_and_seeds(seeds):
    """With the same seeds on both sides, which are drawn in pairs, and with others, which are not."""
    generator = np.random.default_rng(5)
    luck = {seed: 0.04 * generator.standard_normal() for seed in range(4)}  # of a seed, which both sides share
    hard = generator.random(80)  # images are hard for both sides
    sides = {}
    for name, errors, some in (("frozen", (0.3, 0.28), (0, 1, 2)), ("scratch", (0.45, 0.14), seeds)):
        sides[name] = {
            labels: {seed: (0.7 * hard + 0.3 * generator.random(80) < error + luck[seed]).tolist() for seed in some}
            for labels, error in zip((10, 1000), errors, strict=True)
        }
    pair = pair_of(
        *(
            [run(name, labels, wrong, seed) for labels, of in side.items() for seed, wrong in of.items()]
            for name, side in sides.items()
        )
    )
    *expected, crossing = slow_bootstrap(sides["frozen"], sides["scratch"])
    for one, (low, high) in zip(pair.differences, expected, strict=True):
        assert one.points_low == pytest.approx(low, abs=1.3) and one.points_high == pytest.approx(high, abs=1.3)
        assert one.num_paired == 3
    found = np.log([pair.crossing_low, pair.crossing_high])
    np.testing.assert_allclose(found, np.log(crossing), atol=0.15)


def test_seeds_that_both_have_are_drawn_in_pairs():
    """A seed's luck that both share is not in the difference, however large it is."""
    wrong = {seed: np.arange(100) < 20 * seed for seed in (0, 1, 2)}
    better = {seed: np.arange(100) < 20 * seed - 10 for seed in (1, 2)} | {0: np.arange(100) < -1}
    made = [run("scratch", labels, wrong[seed], seed) for labels in (10, 20) for seed in (0, 1, 2)]
    paired = pair_of(made, [run("frozen", labels, better[seed], seed) for labels in (10, 20) for seed in (1, 2)])
    alone = pair_of(
        [one for one in made if one.record.seed], [run("frozen", n, better[s], s) for n in (10, 20) for s in (1, 2)]
    )
    assert paired.differences[0].num_paired == alone.differences[0].num_paired == 2
    assert paired.differences[0].num_ahead == 2
    lengths = [one.differences[0].points_high - one.differences[0].points_low for one in (paired, alone)]
    assert lengths[0] > 2 * lengths[1]  # three seeds against two are not drawn in pairs
    assert alone.differences[0].points_ahead == pytest.approx(10) and alone.differences[0].points_low > 3


def test_of_one_seed_the_interval_is_that_of_the_images():
    first, second = runs("frozen", {10: 0.3, 100: 0.2}), runs("scratch", {10: 0.35, 100: 0.3}, shift=1)
    for one, mine, other in zip(pair_of(first, second).differences, first, second, strict=True):
        expected = metrics.paired(mine, other)
        assert one.points_ahead == pytest.approx(expected.points_ahead)
        assert one.points_low == pytest.approx(expected.points_low, abs=1)
        assert one.points_high == pytest.approx(expected.points_high, abs=1)


def test_the_front_by_hand():
    seconds = {("scratch", 10): 50, ("scratch", 100): 60, ("frozen", 10): 10, ("frozen", 100): 60}
    errors = {("scratch", 10): 0.3, ("scratch", 100): 0.1, ("frozen", 10): 0.3, ("frozen", 100): 0.2}
    made = [run(*name, np.arange(100) < 100 * errors[name], seconds=seconds[name]) for name in errors]
    made[0].record.seconds = Seconds(training=5, extracting=45)  # of features that another run had left in a cache
    made.append(run("frozen", 1000, np.arange(100) < 1, seconds=None))
    front = {
        (name, point.labels): point.on_front
        for name, strategy in zip(("frozen", "scratch"), label_curve(made).strategies, strict=True)
        for point in strategy.points
    }
    assert front == {
        ("frozen", 10): True,
        ("frozen", 100): False,  # as slow as scratch, and worse
        ("frozen", 1000): False,  # nobody knows how slow
        ("scratch", 10): False,  # as good as frozen, and slower
        ("scratch", 100): True,
    }


def test_strategies_pairs_and_the_labels_of_a_run():
    assert label_curve([]) is None and label_curve(runs("scratch", {10: 0.3}, seeds=(0, 1))) is None
    errors = {10: 0.4, 100: 0.3}
    made = [
        *runs("scratch", errors | {None: 0.2}),
        *runs("frozen", {10: 0.3, None: 0.25}),
        *runs("fine-tuned", {10: 0.2, 100: 0.1, None: 0.05}),
    ]
    curve = label_curve(made)
    names = [made[strategy.points[0].places[0]].record.model.trained for strategy in curve.strategies]
    assert [[point.labels for point in strategy.points] for strategy in curve.strategies] == [
        [10, 30, 100],  # all labels: 60 images of two classes
        [10, 30],
        [10, 30, 100],
    ]
    assert names == ["all", "head", "all"]  # fine-tuned is the better one of the pretrained, and scratch stands last
    assert [(pair.first, pair.second) for pair in curve.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [(pair.first, pair.second) for pair in curve.headline] == [(0, 2), (1, 2)]
    unknown = made[2].record.model_copy(update={"data": made[2].record.data.model_copy(update={"num_train": None})})
    assert labels_of(unknown) is None
    assert label_curve([Run(Path(), unknown, "", *(None,) * 2), *made[:2]]).strategies[0].points[0].places == (1,)


def test_by_what_seeds_runs_are_told_apart():
    made = runs("scratch", {10: 0.3}, seeds=(4, 2))
    assert seeds_of([one.record for one in made]) == [4, 2]
    same = [one.record.model_copy(update={"data": made[0].record.data}) for one in made]  # one subset, two trainings
    assert seeds_of(same) == [4, 2]
    assert label_curve([*made, *runs("scratch", {20: 0.3})]).strategies[0].points[0].seeds == (2, 4)


def test_the_same_runs_give_the_same_numbers_in_little_time():
    made = []
    for strategy in SIDES:
        counts = {5: 0.4, 10: 0.3, 30: 0.25, 100: 0.2, 300: 0.15, 1000: 0.12, 6000: 0.1}
        made += runs(strategy, counts, seeds=(0, 1, 2), num_images=10_000, shift=len(strategy))
    began = time.process_time()
    curve = label_curve(made)
    assert time.process_time() - began < 6  # half a second to two, by itself
    assert label_curve(made) == curve


def test_a_comparison_does_not_mix_numbers_of_labels(tmp_path):
    """The headline is of the most labels that two strategies have, of their lowest seed; the best run has more."""
    made = []
    for branch, counts in (("scratch_resnet", (10, 100, 1000)), ("pretrained", (10, 100))):
        for labels, seed in itertools.product(counts, (0, 1)):
            accuracy = 0.5 + 0.05 * len(str(labels)) + 0.1 * (branch == "pretrained") + 0.02 * seed
            folder = tmp_path / f"{branch}-{labels}-{seed}"
            written = write_run(folder, branch=branch, labels=labels, seed=seed, accuracy=accuracy, robustness=0.5)
            made.append(record.read_run(written))
    found = find(made)
    assert found.compared == (2, 8)  # 100 labels, seed 0, of each
    assert (found.headline.first, found.headline.second) == (8, 2)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(8, 2)]
    assert {found.robust_pair.first, found.robust_pair.second} == {8, 2}
    assert [seeds.places for seeds in found.seeds] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [seeds.places for seeds in found.headline.seeds] == [(8, 9), (2, 3)]
    alone = found.of_compared
    assert [one.run for one in alone.runs] == [made[2], made[8]]
    assert (alone.headline.first, alone.headline.second, alone.compared) == (1, 0, (0, 1))
    # without two strategies on the same images: two runs of one, or the two best of all
    assert find(made[:6:2]).compared == (0, 1, 2) and find(made[:6:2]).headline.first == 2
    assert find([*made[:6:2], made[7]]).compared == (0, 1, 2, 3)
    assert alike([one.record for one in made[:3]]) == [[0, 1], [2]]
