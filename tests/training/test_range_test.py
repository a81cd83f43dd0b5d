"""The range test of learning rates. Truth: curves whose lowest point is known, and gradient descent on a problem whose
largest stable rate is known by hand."""

import math
import re

import numpy as np
import pytest
from PIL import Image

from compare.system.errors import UserError
from compare.training import range_test
from scratch_resnet import train

RATES = np.geomspace(range_test.LOWEST, range_test.HIGHEST, range_test.NUM_STEPS)


@pytest.mark.parametrize("lowest_at", [20, 30, 45])
def test_the_suggestion_is_a_tenth_of_where_a_known_curve_is_back(lowest_at):
    losses = np.exp(np.abs(np.arange(len(RATES)) - lowest_at) / 20)
    assert range_test.suggested(RATES, losses) == pytest.approx(RATES[2 * lowest_at] / 10, rel=0.3)  # two steps


def least_squares(curvature: float, seed: int = 0):
    """Steps of plain gradient descent on noisy least squares in four dimensions, whose Hessian is `curvature` times the
    identity: by hand, they are stable at rates below 2 / curvature. Gives the step, and a list of the losses."""
    rng, losses = np.random.default_rng(seed), []
    truth, weights = np.ones(4) / math.sqrt(curvature), np.zeros(4)

    def step(rate: float) -> float:
        nonlocal weights
        inputs = math.sqrt(curvature) * rng.normal(size=(256, 4))
        left = inputs @ (weights - truth) + 0.3 * rng.normal(size=256)
        losses.append(float((left**2).mean() / 2))
        weights = weights - rate * inputs.T @ left / 256
        return losses[-1]

    return step, losses


@pytest.mark.parametrize("curvature", [1.0, 30.0, 1000.0])
def test_the_suggestion_lies_below_what_is_stable_and_descends(curvature):
    found = range_test.suggested(*range_test.try_rates(least_squares(curvature)[0]))
    assert 0.3 < found * curvature < 0.6  # and what is stable is 2: it takes some steps to leap
    step, losses = least_squares(curvature, seed=1)
    for _ in range(300):
        step(found)
    assert np.mean(losses[-20:]) == pytest.approx(0.3**2 / 2, rel=0.1) and losses[0] > 1  # the noise alone is left
    step, losses = least_squares(curvature, seed=1)
    for _ in range(300):
        step(2.5 / curvature)
    assert losses[-1] > 1e6


def test_it_ends_where_the_loss_leaps_or_is_no_number():
    for leap in (1e3, math.nan, math.inf):
        rates, losses = range_test.try_rates(lambda rate, leap=leap: leap if rate > 0.1 else 1 - rate)
        assert len(rates) == len(losses) < 80 and np.isfinite(losses).all() and 0.08 < rates[-1] < 0.2


@pytest.mark.parametrize("loss", [lambda _: 1.0, lambda _: math.nan, lambda _: 0.0, lambda rate: 1 / (1 + rate)])
def test_a_loss_that_does_not_fall_or_does_not_leap_is_refused(loss):
    with pytest.raises(UserError, match="falls by 10% or more, and then leaps"):
        range_test.suggested(*range_test.try_rates(loss))


def test_the_command_draws_and_keeps_nothing_else(run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--demo", "--find-learning-rate", "rates.png")
    code, out, err = run_main(train, *words)
    assert code == 0, err
    rate = float(re.search(r"suggested: --learning-rate (\S+),", out)[1])
    assert 1e-3 < rate < 0.1 and "the recipe has 0.003 (one-cycle)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]
    with Image.open("rates.png") as picture:
        assert picture.format == "PNG" and picture.width == 1120
    for more, says in (
        (words, "is there already"),
        ((*words[:2], "rates.jpg"), "does not end with .png"),
        ((*words[:2], "none/there.png", "--resume", "x"), "together with --resume"),
    ):
        code, _, err = run_main(train, *more)
        assert code == 2 and says in err
