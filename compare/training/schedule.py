"""The step size of gradient descent, as it changes while a training lasts, alike in every branch."""

import math
from typing import Literal


def learning_rate(schedule: Literal["constant", "one-cycle"], highest: float, progress: float) -> float:
    """The step size when the share `progress`, in [0, 1], of the training is done.

    One-cycle is L. N. Smith and N. Topin's *Super-Convergence* (2017, arXiv 1708.07120), with the step sizes of
    `torch.optim.lr_scheduler.OneCycleLR`: over 30 % of the training up from a 25th, then down to nothing, both along
    half a cosine wave.
    """
    if schedule == "constant":
        return highest
    if progress < 0.3:
        return highest / 25 + (highest - highest / 25) * (1 - math.cos(math.pi * progress / 0.3)) / 2
    return highest * (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2
