"""Whether confidence can be trusted, in words and tables, with the most accurate run's weak sides."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.findings.calibration import log_loss_behind
from compare.findings.findings import Findings
from compare.findings.robustness import robustness_ahead
from compare.page.language import joined, say
from compare.page.shown import Shown, by_seeds, label_of, named
from compare.page.words import NOTHING, fraction


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table, of runs that differ in their seeds alone: its name, the first of them, cells."""

    label: str
    one: Shown
    cells: list[str]


def section(found: Findings, shown: list[Shown]) -> dict[str, Any]:
    """What the page says of confidence: `lines` of the table, with log losses if it `knows_loss`, and of `more`, which
    is folded; why some runs have no temperature, and what label smoothing does."""
    knows_loss = any(one.result.log_loss is not None for one in shown)
    return {
        "knows_loss": knows_loss,
        "lines": [
            Line(
                label_of(group),
                group[0],
                [
                    of_seeds([one.calibration.error for one in group], 4),
                    *([of_seeds([one.result.log_loss for one in group], 4)] if knows_loss else []),
                    *(
                        of_seeds([100 * (1 - one.calibration.accuracy_kept[kept]) for one in group], 1, " %")
                        for kept in (80, 90)
                    ),
                ],
            )
            for group in best_first(shown)
        ],
        "more": [
            Line(
                one.label,
                one,
                [
                    say("{low:.4f} to {high:.4f}", low=one.calibration.error_low, high=one.calibration.error_high),
                    fraction(one.calibration.brier, 4),
                    *(
                        fraction(getattr(one.scaled, name, None), digits)
                        for name, digits in (("temperature", 2), ("error", 4), ("log_loss", 4), ("brier", 4))
                    ),
                ],
            )
            for one in shown
        ],
        "not_scaled": not_scaled(shown),
        "smoothed": smoothed(shown, shown),
    }


def robust_lines(compared: list[Shown]) -> list[Line]:
    """The table of accuracies on images as they are and corrupted."""
    return [
        Line(
            label_of(group),
            group[0],
            [
                *(of_seeds([getattr(one.robustness, name) for one in group], 4) for name in ("clean", "mean")),
                of_seeds([100 * one.robustness.retained for one in group if one.robustness], 1, " %"),
            ],
        )
        for group in best_first(compared)
    ]


def best_first(shown: list[Shown]) -> list[list[Shown]]:
    """The runs grouped by everything but the seed, the most accurate first."""
    return sorted(by_seeds(shown), key=lambda group: -_mean(group, "result", "accuracy"))


def of_seeds(values: Sequence[float | None], digits: int, unit: str = "") -> str:
    """The mean of the seeds, and of several in brackets from the lowest to the highest."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return NOTHING
    mean = f"{fraction(float(np.mean(known)), digits)}{unit}"
    if len(known) == 1:
        return mean
    return say(
        "{mean} ({low} to {high})", mean=mean, low=fraction(min(known), digits), high=fraction(max(known), digits)
    )


def weak_sides(found: Findings, shown: list[Shown]) -> str:
    """In what the most accurate run, with its seeds, is worse than another, by more than the luck of the test images:
    in log loss, calibration error or on corrupted copies; of several others the best."""
    winner, *others = best_first(shown)
    sides: dict[str, list[str]] = {}  # by whom it is worse than

    def add(
        measure: str,
        worse: list[list[Shown]],
        value: Callable[[list[Shown]], float],
        best: Callable[..., list[Shown]],
    ) -> None:
        if worse:
            other = best(worse, key=value)
            of_both = {"value": f"{value(winner):.3f}", "other": f"{value(other):.3f}"}
            said = say("{measure} ({value} against {other})", measure=measure, **of_both)
            sides.setdefault(label_of(other), []).append(said)

    losing, miscalibrated, fragile = [], [], []
    for other in others:
        runs, other_runs = [one.run for one in winner], [one.run for one in other]
        if not any(run.only_highest for run in (*runs, *other_runs)) and log_loss_behind(runs, other_runs)[1] > 0:
            losing.append(other)
        if _mean(winner, "calibration", "error_low") > _mean(other, "calibration", "error_high"):
            miscalibrated.append(other)
        corrupted = [shown[place] for place in found.same_corruptions]
        if all(one in corrupted for one in (*winner, *other)) and robustness_ahead(other_runs[0], runs[0])[1] > 0:
            fragile.append(other)
    add(say("log loss"), losing, lambda group: _mean(group, "result", "log_loss"), min)
    measure = say("calibration error")
    if miscalibrated:
        surer = np.mean([one.run.test_probabilities.max(axis=1).mean() - one.result.accuracy for one in winner])
        direction = say("surer than it is right") if surer > 0 else say("less sure than it is right")
        measure = say("{measure}, {direction}", measure=measure, direction=direction)
    add(measure, miscalibrated, lambda group: _mean(group, "calibration", "error"), min)
    add(say("accuracy on corrupted images"), fragile, lambda group: _mean(group, "robustness", "mean"), max)
    if sides:
        parts = [say("{run} in {measures}", run=run, measures=joined(said, " and ")) for run, said in sides.items()]
        return say("{run} is the most accurate, and worse than {parts}.", run=label_of(winner), parts=joined(parts))
    measures = [
        say("log loss"),
        say("calibration error"),
        *[say("accuracy on corrupted images")] * (len(found.same_corruptions) > 1),
    ]
    return say(
        "{run} is the most accurate, and in nothing shown to be worse: {measures}.",
        run=label_of(winner),
        measures=joined(measures),
    )


def _mean(group: list[Shown], of: str, name: str) -> float:
    return float(np.mean([getattr(getattr(one, of), name) for one in group]))


def not_scaled(shown: list[Shown]) -> list[str]:
    """Why some runs have no temperature, a sentence for each reason."""
    without = [one for one in shown if one.scaled is None]
    never = [one for one in without if not one.record.data.num_validation]
    early = [one for one in without if one.record.data.num_validation and one.run.validation_probabilities is None]
    perfect = [one for one in without if one.run.validation_probabilities is not None]
    said: list[str] = []
    if never:
        said.append(
            say(
                "No temperature is fitted for {runs}: no validation split was held out, and the test set is there to "
                "measure by, not to fit by.",
                runs=joined(named(never, shown)),
            )
        )
    if early:
        said.append(
            say(
                "No temperature is fitted for {runs}: an earlier version of this program kept no predictions of the "
                "validation split.",
                runs=joined(named(early, shown)),
            )
        )
    if perfect:
        said.append(
            say(
                "No temperature is fitted for {runs}: every image of the validation split is right, which does not "
                "tell how sure to be.",
                runs=joined(named(perfect, shown)),
            )
        )
    return said


def smoothed(some: list[Shown], shown: list[Shown]) -> str | None:
    """What label smoothing does to the confidence of those of `some` that were trained with it; None without one."""
    smooth = [one for one in some if one.record.recipe.label_smoothing]
    if not smooth:
        return None
    targets = [
        f"{1 - smoothing + smoothing / len(one.record.data.class_names):.2f}"
        for one in smooth
        if (smoothing := one.record.recipe.label_smoothing)
    ]
    return say(
        "Label smoothing trained {runs} towards a confidence of {target} and not of 1: it is seldom surer than that, "
        "right or wrong, and until a temperature mends it its confidence lies below its accuracy.",
        runs=joined(named(smooth, shown)),
        target=joined(dict.fromkeys(targets)),
    )
