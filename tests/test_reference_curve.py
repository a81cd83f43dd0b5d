"""The committed label curve, computed again by other code, from the bytes of its runs and what each record says of its
seed and labels: errors, differences, crossings and their intervals."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "reports" / "reference"
CURVE = json.loads((FOLDER / "report.json").read_text(encoding="utf-8"))
NUM_DRAWS = 1000


def wrong_of(name):
    with np.load(FOLDER / "runs" / name / "predictions.npz", allow_pickle=False) as kept:
        return kept["test_predicted"] != kept["test_labels"]


RUNS = [run["folder"].rpartition("/")[2] for run in CURVE["runs"]]
STRATEGIES = {one["name"]: one["points"] for one in CURVE["label_curve"]["strategies"]}


def test_every_run_stands_at_its_labels_and_seed():
    seen = set()
    for points in STRATEGIES.values():
        for point in points:
            for place, seed in zip(point["places"], point["seeds"], strict=True):
                record = json.loads((FOLDER / "runs" / RUNS[place] / "record.json").read_text(encoding="utf-8"))
                data = record["data"]
                assert point["labels"] == (
                    data.get("labels_per_class") or (data["num_train"] + data["num_validation"]) / 10
                )
                assert record["seed"] == seed and data.get("subset_seed") in (None, seed)
                seen.add(place)
    assert seen == set(range(len(RUNS)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_errors_are_those_of_the_predictions(name):
    for point in STRATEGIES[name]:
        errors = [wrong_of(RUNS[place]).mean() for place in point["places"]]
        assert point["errors"] == pytest.approx(errors) and point["error"] == pytest.approx(np.mean(errors))


def last_crossing(labels, ahead):
    """Where the straight lines through these points, over the logarithm of the labels, are 0 for the last time."""
    for (begin, left), (end, right) in reversed(list(itertools.pairwise(zip(np.log(labels), ahead, strict=True)))):
        if left * right < 0:
            return float(np.exp(begin + (end - begin) * left / (left - right)))
    return None


@pytest.mark.parametrize("pair", CURVE["label_curve"]["pairs"], ids=lambda pair: f"{pair['first']}, {pair['second']}")
def test_differences_and_crossings_have_the_intervals_of_another_bootstrap(pair):
    sides = [{point["labels"]: point for point in STRATEGIES[pair[side]]} for side in ("first", "second")]
    labels = [one["labels"] for one in pair["differences"]]
    assert labels == sorted(sides[0].keys() & sides[1].keys())
    wrong = [[[wrong_of(RUNS[place]) for place in side[one]["places"]] for one in labels] for side in sides]
    ahead = [100 * (np.mean(theirs) - np.mean(ours)) for ours, theirs in zip(*wrong, strict=True)]
    assert [one["points_ahead"] for one in pair["differences"]] == pytest.approx(ahead)

    random = np.random.default_rng(12345)
    num_images, draws, crossings = len(wrong[0][0][0]), [], []
    for _ in range(NUM_DRAWS):
        times = random.multinomial(num_images, np.full(num_images, 1 / num_images)) / num_images
        seeds_drawn, means = {}, []
        for side, of_side in zip(sides, wrong, strict=True):
            of_labels = []
            for one, runs in zip(labels, of_side, strict=True):
                seeds = tuple(side[one]["seeds"])
                if seeds not in seeds_drawn:
                    seeds_drawn[seeds] = random.integers(len(seeds), size=len(seeds))
                of_labels.append(np.mean([runs[which] @ times for which in seeds_drawn[seeds]]))
            means.append(of_labels)
        draws.append(100 * (np.array(means[1]) - means[0]))
        crossings.append(last_crossing(labels, draws[-1]))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    for one, lowest, highest in zip(pair["differences"], low, high, strict=True):
        assert one["points_low"] == pytest.approx(lowest, abs=0.05 + 0.1 * (highest - lowest))
        assert one["points_high"] == pytest.approx(highest, abs=0.05 + 0.1 * (highest - lowest))

    found = last_crossing(labels, ahead)
    assert (pair["crossing"] is None) == (found is None)
    if found is not None:
        assert pair["crossing"] == pytest.approx(found)
    if None not in crossings:
        for end, quantile in (("crossing_low", 0.025), ("crossing_high", 0.975)):
            assert pair[end] == pytest.approx(np.quantile(crossings, quantile), rel=0.1)


@pytest.mark.parametrize("paper", ["README.md", "README.zh.md", "docs/label-curve.md"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_readme_shows_these_means(name, paper):
    means = [f"{1 - point['error']:.3f}" for point in STRATEGIES[name]]
    text = (FOLDER.parent.parent / paper).read_text(encoding="utf-8")
    assert any(f"| {' | '.join(means)} |" in line for line in text.splitlines())
