"""What the report says first: which run is better, how sure that is, what it costs, and what could change the answer.

Every sentence is computed from the runs; one that does not apply is not there.
"""

import dataclasses
import statistics
from typing import TYPE_CHECKING

import scipy.stats

from compare import metrics
from compare.metrics import MORE_THAN_CHANCE, Paired
from compare.progress import duration
from compare.words import branch_in_words, data_in_words, with_prefix

if TYPE_CHECKING:
    from compare.page import Shown


def headline(shown: "list[Shown]") -> "tuple[Shown, Shown]":
    """The two runs that the verdict is about, the better one first: the best run of each branch that is here, or the
    two best where all runs are of one branch."""
    ranked = sorted(shown, key=lambda one: -one.result.accuracy)
    best = ranked[0]
    rivals = [one for one in ranked[1:] if one.record["branch"] != best.record["branch"]]
    return best, (rivals or ranked[1:])[0]


def sentences(shown: "list[Shown]") -> list[str]:
    """The verdict, the most important first."""
    if not shown:
        return ["No run has finished, so there is no result."]
    if len(shown) == 1:
        one, result = shown[0], shown[0].result
        return [
            f"{one.label} classifies {100 * result.accuracy:.2f} % of the {result.num_images:,} test images of "
            f"{data_in_words(one.record['data'])} right."
        ]
    first, second = headline(shown)
    paired = metrics.paired(first.run, second.run)
    said = [
        lead(first, second, paired),
        chance(first, second, paired),
        seeds(shown, first, second),
        classes(first, second),
        cost(first, second),
    ]
    return [sentence for sentence in said if sentence is not None]


def lead(first: "Shown", second: "Shown", paired: Paired) -> str:
    """Which run is ahead, and by how much."""
    accuracies = f"({first.result.accuracy:.4f} against {second.result.accuracy:.4f})"
    test_images = f"the {first.result.num_images:,} test images of {data_in_words(first.record['data'])}"
    if paired.points_ahead == 0:
        return f"{first.label} and {second.label} are level on {test_images} {accuracies}."
    return (
        f"{first.label} is ahead of {second.label} by {paired.points_ahead:.2f} percentage points on {test_images} "
        f"{accuracies}; the 95 % interval of the difference is {interval(paired)}."
    )


def chance(first: "Shown", second: "Shown", paired: Paired) -> str:
    """How easily that comes by chance."""
    if paired.num_only_first + paired.num_only_second == 0:
        return "They are right and wrong on the same images."
    if paired.points_ahead == 0:
        return f"Each is right on {paired.num_only_first:,} images that the other takes for a wrong class."
    verdict = "more than chance explains" if paired.p_value < MORE_THAN_CHANCE else "a gap that may well be chance"
    return (
        f"Only {first.label} is right on {paired.num_only_first:,} images, only {second.label} on "
        f"{paired.num_only_second:,}: {verdict}. Were both equally good, images would divide this unevenly "
        f"{chance_in_words(paired.p_value)} (exact McNemar test, {p_in_words(paired.p_value)})."
    )


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Runs with the same settings and different seeds, what the page calls them together, and their accuracies' mean
    and standard deviation (of a sample; None below three runs)."""

    label: str
    runs: "list[Shown]"
    mean: float
    deviation: float | None


def by_settings(shown: "list[Shown]") -> list[Seeds]:
    """The runs grouped by everything that was set but the seed, the first of each seed."""
    groups = {}
    for one in shown:
        record = one.record
        weights = record["weights"]
        settings = (
            *(record["branch"], repr(record["recipe"])),
            *(weights["kind"], weights.get("sha256"), record["data"]["split_fingerprint"]),
        )
        groups.setdefault(settings, {}).setdefault(record["seed"], one)
    return [
        Seeds(
            f"{branch_in_words(runs[0].record)}, {runs[0].record['recipe']['name']}",
            runs,
            statistics.mean(accuracies := [one.result.accuracy for one in runs]),
            statistics.stdev(accuracies) if len(runs) > 2 else None,
        )
        for runs in (list(by_seed.values()) for by_seed in groups.values())
    ]


def seeds(shown: "list[Shown]", first: "Shown", second: "Shown") -> str | None:
    """What other seeds say about two runs; None where neither has any, or they are seeds of the same settings."""
    groups = by_settings(shown)
    mine, other = (next((group for group in groups if one in group.runs), None) for one in (first, second))
    if mine is None or other is None or mine is other or min(len(mine.runs), len(other.runs)) < 2:
        return None
    accuracies = [[one.result.accuracy for one in group.runs] for group in (mine, other)]
    means = f"On average over {len(mine.runs)} and {len(other.runs)} seeds: {mine.mean:.4f} against {other.mean:.4f}"
    if any(len(set(of_group)) == 1 for of_group in accuracies):
        return f"{means}."  # a group without any spread has no test
    p_value = float(scipy.stats.ttest_ind(*accuracies, equal_var=False).pvalue)
    worth = "more than the seeds explain" if p_value < MORE_THAN_CHANCE else "no more than the seeds may explain"
    return f"{means}: {worth} (Welch's t test over seeds, {p_in_words(p_value)})."


def classes(first: "Shown", second: "Shown") -> str | None:
    """Where each of two runs is the stronger; None where they are right and wrong on the same images."""
    names = first.record["data"]["class_names"]
    apart = metrics.classes_apart(first.run, second.run)
    parts = []
    for one, found in (
        (first, [(index, pair) for index, pair in apart if pair.points_ahead > 0]),
        (second, [(index, pair) for index, pair in reversed(apart) if pair.points_ahead < 0]),
    ):
        if found:
            listed = ", ".join(f"{names[index]} ({abs(pair.points_ahead):.1f} points)" for index, pair in found)
            parts.append(f"{one.label} is the stronger on {listed}")
    if not parts:
        paired = metrics.paired(first.run, second.run)
        return "No single class tells them apart." if paired.num_only_first + paired.num_only_second else None
    rest = "; the other classes do not tell them apart" if len(apart) < len(names) else ""
    return f"{'; '.join(parts)}{rest}."


def cost(first: "Shown", second: "Shown") -> str:
    """What the better run costs beside the other: training time, where the device is the same, parameters trained,
    and operations an image."""
    parts = []
    if first.record["device"] == second.record["device"]:
        mine, other = (one.record["seconds"]["training"] for one in (first, second))
        parts.append(f"{times(mine, other)} training time ({duration(mine)} against {duration(other)})")
    mine, other = (one.record["model"]["num_trainable_parameters"] for one in (first, second))
    parts.append(f"{times(mine, other)} trained parameters ({mine:,} against {other:,})")
    mine, other = (one.record["model"]["flops_per_image"] for one in (first, second))
    parts.append(f"{times(mine, other)} operations an image ({with_prefix(mine)} against {with_prefix(other)})")
    return f"Beside {second.label} it took {', '.join(parts[:-1])} and {parts[-1]}."


def times(mine: float, other: float) -> str:
    """One amount beside another."""
    ratio = mine / other
    if 0.95 < ratio < 1.05:
        return "about the same"
    larger = max(ratio, 1 / ratio)
    larger = f"{larger:,.0f}" if larger >= 100 else f"{larger:.3g}"
    return f"{larger} times the" if ratio > 1 else f"1/{larger} of the"


def averaging(first: "Shown", second: "Shown") -> str:
    """What the mean of both runs' probabilities would score, beside the better run."""
    together = metrics.averaged(first.run, second.run)
    paired = metrics.paired(together, first.run)
    accuracy = first.result.accuracy + paired.points_ahead / 100
    worth = "not more than chance explains"
    if paired.p_value < MORE_THAN_CHANCE:
        worth = "more than chance explains" if paired.points_ahead > 0 else "worse than the better one alone"
    return (
        f"The mean of both networks' probabilities would be right on {accuracy:.4f} of the test images, "
        f"{paired.points_ahead:+.2f} points (95 % interval {interval(paired)}) beside {first.label}: {worth}."
    )


def interval(paired: Paired) -> str:
    """The 95 % interval of a difference, in percentage points."""
    return f"{paired.points_low:+.2f} to {paired.points_high:+.2f}"


def chance_in_words(p_value: float) -> str:
    """A probability as a frequency."""
    if p_value < 0.001:
        return "in fewer than 1 of 1,000 cases"
    if p_value < 0.1:
        return f"in about {1000 * p_value:.0f} of 1,000 cases"
    return f"in about {100 * p_value:.0f} of 100 cases"


def p_in_words(p_value: float) -> str:
    """A p value with as many digits as matter."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


# ---- what could change the answer


def cautions(shown: "list[Shown]") -> list[str]:
    """What could change the answer, beside what the warnings at the top of the page say."""
    found = [caution(shown) for caution in (one_seed, chosen_by_test_set, known_mistakes, different_devices)]
    return [caution for caution in found if caution is not None]


def one_seed(shown: "list[Shown]") -> str | None:
    """Little is known of other seeds."""
    numbers = {len(group.runs) for group in by_settings(shown)}
    if not numbers or min(numbers) > 2:
        return None
    few = "Each run is one seed" if numbers == {1} else "Some settings were trained with one or two seeds"
    return (
        f"{few}. The interval and the test cover the luck of these test images, not that of training once more: "
        "--seed 1 trains again."
    )


def chosen_by_test_set(shown: "list[Shown]") -> str | None:
    """A branch with several runs has the better chance to have a lucky one."""
    branches = [one.record["branch"] for one in shown]
    if len(branches) < 3 or len(set(branches)) == len(branches):
        return None
    return (
        "The verdict is about the best run of each branch, chosen by the test set itself, which favours the branch "
        "with more runs."
    )


def known_mistakes(shown: "list[Shown]") -> str | None:
    """A recipe that is wrong on purpose."""
    mistaken = [one.label for one in shown if one.record["recipe"]["known_mistakes"]]
    if not mistaken:
        return None
    return f"Mistakes kept on purpose: {', '.join(mistaken)}. They are listed below; --recipe tuned is without them."


def different_devices(shown: "list[Shown]") -> str | None:
    """Times that do not compare."""
    if all(one.record["device"] == shown[0].record["device"] for one in shown):
        return None
    return "The runs had different devices, so their times and memory do not compare."
