"""A range test of learning rates: L. N. Smith, *Cyclical Learning Rates for Training Neural Networks* (2015, arXiv
1506.01186), section 3.3, with rates that grow by a factor from step to step, as fastai's `lr_find` has them.

A network that is thrown away learns for up to `NUM_STEPS` steps, each at a higher rate than the one before. At first
too little happens, then the loss falls, and in the end it leaps. What is suggested is a tenth of the rate at which the
smoothed loss is back where it began: there steps undo whatever was learned. (Where the loss is the lowest, by which
others go, tells little where the images are few or easy: it reaches its floor long before steps are too large.)
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from compare.runs import out_folder
from compare.system.errors import EXIT_FAILED, UserError

LOWEST, HIGHEST, NUM_STEPS = 1e-6, 10.0, 100
LEAP = 2  # times the first loss: where the running mean is above that, the test ends
MEMORY = 0.9  # of that mean
BREADTH = 3  # steps, the standard deviation of the smoothing
SHARE = 0.1  # of the rate at which the loss is back
LEAST_FALL = 0.9  # times the first loss, which the lowest has to be below


def check_place(path: Path) -> None:
    """Refuse a picture that could not be written; raises as `out_folder.check_writable`."""
    if path.suffix != ".png" or path.exists():
        came = "is there already" if path.exists() else "does not end with .png"
        raise UserError(f"--find-learning-rate {path}, which {came}", "a new file, NAME.png", "name another")
    out_folder.check_writable(path.parent)


def try_rates(step: Callable[[float], float]) -> tuple[np.ndarray, np.ndarray]:
    """Try every rate, until the loss leaps.

    Args:
        step: learns from the next batch at this rate, and gives the loss before that, nats an image.

    Returns:
        The rates and the losses, float64 (num_steps,), as far as they are numbers.
    """
    rates, losses = np.geomspace(LOWEST, HIGHEST, NUM_STEPS), []
    mean = 0.0
    for number, rate in enumerate(rates, start=1):
        loss = step(float(rate))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        mean = MEMORY * mean + (1 - MEMORY) * loss
        if mean / (1 - MEMORY**number) > LEAP * losses[0]:
            break
    return rates[: len(losses)], np.array(losses, np.float64)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """The losses without most of what one batch has and the next has not: means of their logarithms, as they leap."""
    return np.exp(gaussian_filter1d(np.log(np.maximum(losses, 1e-12)), BREADTH, mode="nearest"))


def suggested(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate to take, with two digits.

    Raises:
        UserError: the loss did not fall, or did not leap.
    """
    smooth = smoothed(losses) if len(losses) else np.array([math.inf])
    lowest = int(smooth.argmin())
    back = lowest + np.flatnonzero(smooth[lowest:] >= smooth[0])
    if smooth[lowest] < LEAST_FALL * smooth[0] and (len(back) or len(rates) < NUM_STEPS):
        return float(f"{SHARE * rates[back[0] if len(back) else -1]:.2g}")
    raise UserError(
        f"in {len(losses)} steps at learning rates from {LOWEST:g} on the loss went from {smooth[0]:.3g} to "
        f"{smooth[lowest]:.3g}, and in the end it was {smooth[-1]:.3g}",
        f"one that falls by {1 - LEAST_FALL:.0%} or more, and then leaps",
        "take larger batches (--batch-size) or more images, or leave the recipe's learning rate",
        exit_code=EXIT_FAILED,
    )


def draw(path: Path, rates: np.ndarray, losses: np.ndarray, *, title: str, planned: float) -> None:
    """Draw the losses over the rates, with the one that is suggested and the one that is `planned`. Another process
    does so: branches draw nothing.

    Raises:
        UserError: it could not.
    """
    told = {
        "rates": rates.tolist(),
        "losses": losses.tolist(),
        "smoothed": smoothed(losses).tolist(),
        "marked": {"suggested": suggested(rates, losses), "the recipe's": planned},
        "title": title,
    }
    command = [sys.executable, "-m", "compare.rates", str(path)]
    if subprocess.run(command, input=json.dumps(told), text=True, check=False).returncode:
        raise UserError(
            f"{path.name} could not be drawn",
            "a picture beside the suggestion",
            "look at what was said above",
            exit_code=EXIT_FAILED,
        )
