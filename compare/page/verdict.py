"""What the report says first: which run is better, how sure that is, and what it costs.

Every sentence is computed from the runs; one that does not apply is not there.
"""

from compare.findings.findings import Findings, Headline, RobustPair
from compare.findings.metrics import MORE_THAN_CHANCE, Paired
from compare.page import labels
from compare.page.language import joined, known, say
from compare.page.shown import Shown
from compare.page.words import data_in_words, duration, kilojoules, with_prefix, with_three_digits

MOST_LISTED, NAMED_OF_MORE = 10, 5  # classes of which a sentence names all, and how many of more


def sentences(found: Findings, shown: list[Shown]) -> list[str]:
    """The verdict, the most important first."""
    if not shown:
        return [say("No run has finished, so there is no result.")]
    if len(shown) == 1:
        one, result = shown[0], shown[0].result
        return [
            say(
                "{run} classifies {percent:.2f} % of the {number:,} test images of {data} right.",
                run=one.label,
                percent=100 * result.accuracy,
                number=result.num_images,
                data=data_in_words(one.record.data),
            )
        ]
    pair = found.headline
    first, second = shown[pair.first], shown[pair.second]
    said = [
        *labels.sentences(found),
        lead(first, second, pair.paired),
        chance(first, second, pair.paired),
        seeds(pair),
        classes(first, second, pair),
        robust(found, shown),
        cost(first, second),
    ]
    return [sentence for sentence in said if sentence is not None]


def lead(first: Shown, second: Shown, paired: Paired) -> str:
    """Which run is ahead, and by how much."""
    values = {
        "first": first.label,
        "second": second.label,
        "number": first.result.num_images,
        "data": data_in_words(first.record.data),
        "mine": first.result.accuracy,
        "other": second.result.accuracy,
    }
    if paired.points_ahead == 0:
        return say(
            "{first} and {second} are level on the {number:,} test images of {data} ({mine:.4f} against {other:.4f}).",
            **values,
        )
    return say(
        "{first} is ahead of {second} by {points:.2f} percentage points on the {number:,} test images of {data} "
        "({mine:.4f} against {other:.4f}); the 95 % interval of the difference is {interval}.",
        points=paired.points_ahead,
        interval=interval(paired),
        **values,
    )


def chance(first: Shown, second: Shown, paired: Paired) -> str:
    """How easily that comes by chance."""
    if paired.num_only_first + paired.num_only_second == 0:
        return say("They are right and wrong on the same images.")
    if paired.points_ahead == 0:
        return say(
            "Each is right on {number:,} images that the other takes for a wrong class.", number=paired.num_only_first
        )
    more = paired.p_value < MORE_THAN_CHANCE
    return say(
        "Only {first} is right on {num_first:,} images, only {second} on {num_second:,}: {verdict}. Were both equally "
        "good, images would divide this unevenly {chance} (exact McNemar test, {p_value}).",
        first=first.label,
        second=second.label,
        num_first=paired.num_only_first,
        num_second=paired.num_only_second,
        verdict=say("more than chance explains") if more else say("a gap that may well be chance"),
        chance=chance_in_words(paired.p_value),
        p_value=p_in_words(paired.p_value),
    )


def seeds(pair: Headline) -> str | None:
    """What other seeds say about the verdict's two runs; None where one has none, or they are of the same settings."""
    if pair.seeds is None:
        return None
    mine, other = pair.seeds
    means = say(
        "On average over {num_mine} and {num_other} seeds: {mine:.4f} against {other:.4f}",
        num_mine=len(mine.places),
        num_other=len(other.places),
        mine=mine.mean,
        other=other.mean,
    )
    if pair.p_value_of_seeds is None:
        return say("{parts}.", parts=means)
    more = pair.p_value_of_seeds < MORE_THAN_CHANCE
    return say(
        "{means}: {verdict} (Welch's t test over seeds, {p_value}).",
        means=means,
        verdict=say("more than the seeds explain") if more else say("no more than the seeds may explain"),
        p_value=p_in_words(pair.p_value_of_seeds),
    )


def classes(first: Shown, second: Shown, pair: Headline) -> str | None:
    """Where each of two runs is the stronger; None where they are right and wrong on the same images."""
    names = first.record.data.class_names
    apart, parts = pair.classes_apart, []
    for one, found in (
        (first, [(index, paired) for index, paired in apart if paired.points_ahead > 0]),
        (second, [(index, paired) for index, paired in reversed(apart) if paired.points_ahead < 0]),
    ):
        if found:
            some = found if len(found) <= MOST_LISTED else found[:NAMED_OF_MORE]
            listed = joined(
                say("{name} ({points:.1f} points)", name=known(names[index]), points=abs(paired.points_ahead))
                for index, paired in some
            )
            if len(some) < len(found):
                listed = say("{classes} and {number} more", classes=listed, number=len(found) - len(some))
            parts.append(say("{run} is the stronger on {classes}", run=one.label, classes=listed))
    if not parts:
        differ = pair.paired.num_only_first + pair.paired.num_only_second
        return say("No single class tells them apart.") if differ else None
    if len(apart) < len(names):
        parts.append(say("the other classes do not tell them apart"))
    return say("{parts}.", parts=joined(parts, "; "))


def robust(found: Findings, shown: list[Shown]) -> str | None:
    """Which of the verdict's two runs does better on corrupted images; None where they did not predict the same ones,
    or where the 95 % interval of the difference has both signs."""
    pair, verdict_is_about = found.robust_pair, {found.headline.first, found.headline.second}
    if pair is None or {pair.first, pair.second} != verdict_is_about or pair.points_low <= 0:
        return None
    better, worse = shown[pair.first], shown[pair.second]
    values = {
        "num_images": better.robustness.num_images,
        "better": better.label,
        "worse": worse.label,
        "mean": better.robustness.mean,
        "other": worse.robustness.mean,
        "interval": interval(pair),
    }
    if better.result.accuracy < worse.result.accuracy:
        return say(
            "{better} is behind, but the more robust: on corrupted copies of {num_images:,} test images (shifted, "
            "noisy, blurred, …) it is right on {mean:.4f}, {worse} on {other:.4f}; the 95 % interval of the difference "
            "is {interval} points.",
            **values,
        )
    return say(
        "On corrupted copies of {num_images:,} test images (shifted, noisy, blurred, …) {better} is right on "
        "{mean:.4f}, {worse} on {other:.4f}; the 95 % interval of the difference is {interval} points.",
        **values,
    )


def cost(first: Shown, second: Shown) -> str | None:
    """What the better run costs beside the other: training time and energy, where the device is the same and tells it,
    parameters trained, and operations an image; None where nothing of that is known of both."""
    records = first.record, second.record
    costs = [
        (say("trained parameters"), [one.model.num_trainable_parameters for one in records], "{:,}".format),
        (say("operations an image"), [one.model.flops_per_image for one in records], with_prefix),
    ]
    if first.record.device == second.record.device:
        costs = [
            (say("training time"), [one.seconds.training for one in records], duration),
            (say("energy"), [one.energy_joules for one in records], kilojoules),
            *costs,
        ]
    parts = [
        say(
            "{times} {what} ({mine} against {other})",
            times=times(*amounts),
            what=what,
            mine=in_words(amounts[0]),
            other=in_words(amounts[1]),
        )
        for what, amounts, in_words in costs
        if all(amounts)
    ]
    if len(parts) < 2:
        return say("Beside {run} it took {parts}.", run=second.label, parts=parts[0]) if parts else None
    return say("Beside {run} it took {parts} and {last}.", run=second.label, parts=joined(parts[:-1]), last=parts[-1])


def times(mine: float, other: float) -> str:
    """One amount beside another."""
    ratio = mine / other
    if 0.95 < ratio < 1.05:
        return say("about the same")
    larger = with_three_digits(max(ratio, 1 / ratio))
    return say("{number} times the", number=larger) if ratio > 1 else say("1/{number} of the", number=larger)


def averaging(first: Shown, paired: Paired) -> str:
    """What the mean of both runs' probabilities would score, by how it compares with the better run, `first`."""
    accuracy = first.result.accuracy + paired.points_ahead / 100
    worth = say("not more than chance explains")
    if paired.p_value < MORE_THAN_CHANCE:
        better = paired.points_ahead > 0
        worth = say("more than chance explains") if better else say("worse than the better one alone")
    return say(
        "The mean of both networks' probabilities would be right on {accuracy:.4f} of the test images, {points:+.2f} "
        "points (95 % interval {interval}) beside {run}: {worth}.",
        accuracy=accuracy,
        points=paired.points_ahead,
        interval=interval(paired),
        run=first.label,
        worth=worth,
    )


def interval(pair: Paired | RobustPair) -> str:
    """The 95 % interval of a difference, in percentage points."""
    return say("{low:+.2f} to {high:+.2f}", low=pair.points_low, high=pair.points_high)


def chance_in_words(p_value: float) -> str:
    """A probability as a frequency."""
    if p_value < 0.001:
        return say("in fewer than 1 of 1,000 cases")
    if p_value < 0.1:
        return say("in about {number:.0f} of 1,000 cases", number=1000 * p_value)
    return say("in about {number:.0f} of 100 cases", number=100 * p_value)


def p_in_words(p_value: float) -> str:
    """A p value with as many digits as matter."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
