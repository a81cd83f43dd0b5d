"""Thresholds on a report's numbers, for scripts and CI: `--require 'accuracy>=0.92'`."""

import argparse
import dataclasses
import operator
import re
from typing import TYPE_CHECKING, Any

from compare.system.errors import UserError

if TYPE_CHECKING:  # so that --help need not wait for NumPy, matplotlib and scikit-learn
    from compare.page.shown import Shown

COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
OF_TEST = ("accuracy", "balanced_accuracy", "macro_f1")  # short for the columns that begin with test_
DIFFERENCE = "difference"  # of the accuracies of the first two runs, in percentage points


@dataclasses.dataclass(frozen=True)
class Check:
    """A number's name, how it is to compare, and with what; and the words that asked for it."""

    name: str
    comparison: str
    threshold: float
    words: str


def parse(words: str) -> Check:
    """The check that `words` asks for: a name, one of >= <= > <, and a number.

    Raises:
        argparse.ArgumentTypeError: it is not of that form.
    """
    match = re.fullmatch(r"\s*([a-z_0-9]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\s*", words)
    try:
        name, comparison, number = match.groups() if match else ()
        return Check(name, comparison, float(number), words)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{words!r} is not like 'accuracy>=0.92' or 'difference>=0'") from None


def judged(checks: list[Check], shown: "list[Shown]") -> list[tuple[bool, str]]:
    """Whether each check holds, and that in words: once for every run, if it is of a run's number.

    Raises:
        UserError: a check is of a number that is not there.
    """
    from compare.page import report_files

    lines = []
    for check in checks:
        holds = COMPARISONS[check.comparison]
        if check.name == DIFFERENCE and len(shown) > 1:
            first, second = shown[:2]
            num_ahead = first.result.num_correct - second.result.num_correct
            points = 100 * num_ahead / first.result.num_images
            found: list[tuple[str, Any]] = [(f"{first.label} less {second.label}", points)]
        else:
            name = f"test_{check.name}" if check.name in OF_TEST else check.name
            found = [(one.label, report_files.of_run(one).get(name)) for one in shown]
        if not found or any(not isinstance(value, (int, float)) for _, value in found):
            raise UserError(
                f"--require {check.words!r}: {check.name} is no number of these runs",
                f"{', '.join(OF_TEST)}, {DIFFERENCE} (of two runs or more), or a column of numbers in metrics.csv",
                "name one of these",
            )
        for label, value in found:
            does = holds(value, check.threshold)
            lines.append((does, f"{check.words} {'holds' if does else 'does not hold'}: {label} has {value:.6g}"))
    return lines
