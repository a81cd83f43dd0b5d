"""How long a training will take. Truths: times made up by hand."""

import itertools
import types

import numpy as np
import pytest

from compare.training import estimate
from compare.training.job import Job


def pair_of(times, monkeypatch, **words):
    """What is measured of runs that take these times, one after the other, for ever."""
    now, left = [0.0], itertools.cycle(times)

    def run():
        now[0] += next(left)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return estimate.measured(run, **words), now[0]


def test_the_warm_up_does_not_count(monkeypatch):
    pair, _ = pair_of([50.0, *[2.0] * 1000], monkeypatch, num_images=4, seconds=10.0)
    assert pair.tolist() == [0.5, 0.5]


def test_where_times_are_far_apart_it_is_looked_at_longer(monkeypatch):
    _, quiet = pair_of([1.0], monkeypatch, num_images=1, seconds=10.0, warm_up=0)
    pair, busy = pair_of([1.0, 9.0], monkeypatch, num_images=1, seconds=10.0, warm_up=0)
    assert quiet == 11.0 and 30 < busy < 50
    assert pair[0] == 1.0 and pair[1] == pytest.approx(5, abs=1)  # the fastest fifth, and the mean
    assert estimate.words(60 * pair).startswith("1 min 0 s to ")


def test_a_few_disturbed_steps_do_not_make_minutes_of_seconds(monkeypatch):
    pair, _ = pair_of([0.1] * 19 + [0.3], monkeypatch, num_images=1, seconds=4.0)
    assert estimate.words(1000 * pair).startswith("about 1 min 4")  # 110 s on average, 100 at best


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ((60, 60), "about 1 min 0 s"),
        ((100, 121), "about 1 min 50 s"),
        ((360, 660), "6 min 0 s to 11 min 0 s, as the machine is busy"),
    ],
)
def test_a_pair_in_words(pair, said):
    assert estimate.words(np.array(pair, float)) == said


@pytest.mark.parametrize(
    ("seconds", "places", "number", "ends"),
    [
        ([5, 4, 3], [1, 1, 1], 1, 12),
        ([5, 4, 3], [1, 1, 1], 2, 7),  # the third follows the second
        ([5, 4, 3], [1, 1, 1], 3, 5),
        ([5, 4, 3], [1, 2, 1], 2, 12),  # the second waits for both places
        ([5, 4, 3], [2, 1, 1], 2, 9),
        ([], [], 2, 0),
    ],
)
def test_trainings_side_by_side(seconds, places, number, ends):
    pairs = [np.array([one, 2.0 * one]) for one in seconds]
    assert estimate.side_by_side(pairs, places, number=number).tolist() == [ends, 2 * ends]


def test_what_is_left_goes_by_the_epochs_of_the_same_kind():
    """An epoch of the head in a tenth of its time, as its features were kept, makes fine-tuning no shorter: 4 epochs of
    100 s and 20 s after them. Of these the first two take 150 s each."""
    job = types.SimpleNamespace(_estimated=[np.full(2, s) for s in (50.0, 100.0, 100.0, 100.0, 100.0, 20.0)])
    job._taken, said = np.zeros(2), []
    for epoch, seconds in enumerate((5.0, 150.0, 150.0), start=1):
        job.epochs_left = range(epoch + 1, 6)
        said.append(Job._left(job, types.SimpleNamespace(seconds=seconds)))
    assert said == [", about 7 min 0 s left", ", about 8 min 0 s left", ", about 5 min 30 s left"]
