"""What the report says first: which run is better, how sure that is, and what it costs; or why it does not say so.

Every sentence is computed from the runs; one that does not apply is not there.
"""

from compare.findings import metrics
from compare.findings.findings import Findings, Headline, RobustPair
from compare.findings.metrics import MORE_THAN_CHANCE, Balanced, Paired
from compare.page import labels
from compare.page.language import joined, known, say
from compare.page.shown import Shown, of_compared
from compare.page.words import (
    class_in_words,
    classes_in_words,
    data_in_words,
    duration,
    kilojoules,
    with_prefix,
    with_three_digits,
)

MORE = say("more than the choice of test images explains")
NOT_MORE = say("no more than the choice of test images may explain")


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
            ),
            *([each_class_alike(one)] if result.is_unequal else []),
        ]
    pair = found.headline
    first, second = shown[pair.first], shown[pair.second]
    reasons = no_winner_because(found, shown)
    said = [
        *silence(reasons),
        *labels.sentences(found, is_silent=bool(reasons)),
        measured(first, second, pair.paired) if reasons else lead(first, second, pair.paired),
        balanced(first, second, pair, is_silent=bool(reasons)),
        chance(first, second, pair.paired),
        seeds(pair),
        None if reasons else classes(first, second, pair),
        None if reasons else robust(found, shown),
        cost(first, second),
    ]
    return [sentence for sentence in said if sentence is not None]


def no_winner_because(found: Findings, shown: list[Shown]) -> list[str]:
    """Why the verdict names no winner, the gravest first; nothing where it may, or where it is about one run alone."""
    if found.headline is None:
        return []
    pair = shown[found.headline.first], shown[found.headline.second]
    _, compared = of_compared(found, shown)
    reasons = [
        demonstration(pair[0]),
        nothing_pretrained(compared),
        majority_unbeaten(pair[0]),
        baseline_unbeaten(pair[0]),
        *map(jumping, pair),
    ]
    return [reason for reason in reasons if reason is not None]


def demonstration(one: Shown) -> str | None:
    """The data stand in for real ones."""
    if not one.record.data.is_demonstration:
        return None
    return say("the data ({data}) stand in for real ones", data=data_in_words(one.record.data))


def nothing_pretrained(compared: list[Shown]) -> str | None:
    """Controls stand where pretrained networks should."""
    if any(one.record.is_pretrained for one in compared) or not any(one.record.is_control for one in compared):
        return None
    return say("no network here is pretrained, and random weights stand in for that")


def majority_unbeaten(best: Shown) -> str | None:
    """Saying the same of every image does as well."""
    majority = best.majority
    if majority is None or majority.is_beaten:
        return None
    return say(
        "not even {run} beats always saying the most frequent class by more than the choice of test images explains "
        "({mine:.4f} against {other:.4f})",
        run=best.label,
        mine=best.result.accuracy,
        other=majority.accuracy,
    )


def baseline_unbeaten(best: Shown) -> str | None:
    """What needs no network does as well."""
    baseline = best.baseline
    if baseline is None or baseline.is_beaten:
        return None
    return say(
        "not even {run} beats logistic regression on the pixels by more than the choice of test images explains "
        "({mine:.4f} against {other:.4f}, which learned from {number:,} images)",
        run=best.label,
        mine=best.result.accuracy,
        other=baseline.accuracy,
        number=baseline.num_images,
    )


def jumping(one: Shown) -> str | None:
    """The training ended in the midst of ups and downs, and which of them was last is luck."""
    fall = metrics.fall_at_the_end(one.record)
    if fall is None:
        return None
    return say(
        "{run} was still jumping at its end: in epoch {epoch} its {split} accuracy fell by {points:.1f} points, more "
        "than the choice of {number:,} images explains",
        run=one.label,
        epoch=fall.epoch,
        split=known(one.watched),
        points=fall.points,
        number=fall.num_images,
    )


def silence(reasons: list[str]) -> list[str]:
    """That no winner is named, and why; nothing without a reason."""
    if not reasons:
        return []
    said = [say("No winner is named: {reason}. The numbers below are what was measured.", reason=reasons[0])]
    if others := reasons[1:]:
        said.append(say("Nor would one be without that: {reasons}.", reasons=joined(others, "; ")))
    return said


def measured(first: Shown, second: Shown, paired: Paired) -> str:
    """What two runs score, without a word on who is better."""
    return say(
        "On the {number:,} test images of {data}, {first} is right on {mine:.4f} and {second} on {other:.4f}; the "
        "95 % interval of the difference is {interval} percentage points.",
        number=first.result.num_images,
        data=data_in_words(first.record.data),
        first=first.label,
        mine=first.result.accuracy,
        second=second.label,
        other=second.result.accuracy,
        interval=interval(paired),
    )


def lead(first: Shown, second: Shown, paired: Paired) -> str:
    """Which run is ahead, and by how much; or that neither is, if the choice of test images may explain it."""
    if paired.p_value >= MORE_THAN_CHANCE:
        return joined([say("Neither of the two runs is shown to be better."), measured(first, second, paired)], " ")
    return say(
        "{first} is ahead of {second} by {points:.2f} percentage points on the {number:,} test images of {data} "
        "({mine:.4f} against {other:.4f}); the 95 % interval of the difference is {interval}.",
        first=first.label,
        second=second.label,
        points=paired.points_ahead,
        number=first.result.num_images,
        data=data_in_words(first.record.data),
        mine=first.result.accuracy,
        other=second.result.accuracy,
        interval=interval(paired),
    )


def each_class_alike(one: Shown) -> str:
    """What a run scores where every class counts alike."""
    return say(
        "The classes of the test set differ in size. With each of them counted alike, the balanced accuracy is "
        "{value:.4f} (95 % interval {low:.4f} to {high:.4f}) and the macro-F1 {f1:.4f}.",
        value=one.result.balanced_accuracy,
        low=one.result.balanced_accuracy_low,
        high=one.result.balanced_accuracy_high,
        f1=one.result.macro_f1,
    )


def balanced(first: Shown, second: Shown, pair: Headline, *, is_silent: bool) -> str | None:
    """How two runs compare where every class counts alike, and whether that says something else than accuracy does;
    the numbers alone where the verdict `is_silent`. None where classes are about equal in size."""
    if not first.result.is_unequal:
        return None
    found = pair.balanced
    said = say(
        "The classes of the test set differ in size. With each of them counted alike, the balanced accuracy is "
        "{mine:.4f} of {first} and {other:.4f} of {second}; the 95 % interval of the difference is {interval} "
        "percentage points.",
        mine=first.result.balanced_accuracy,
        first=first.label,
        other=second.result.balanced_accuracy,
        second=second.label,
        interval=interval(found),
    )
    ahead = first if found.points_low > 0 else second if found.points_high < 0 else None
    in_accuracy = first if pair.paired.p_value < MORE_THAN_CHANCE else None  # the more accurate one comes first
    if is_silent or ahead is in_accuracy:
        return said
    if ahead is None:
        judged = say("So it does not show either to be better, and what it leads by may be the larger classes alone.")
    elif in_accuracy is None:
        judged = say("So there {run} is ahead, though accuracy does not tell the two apart.", run=ahead.label)
    else:
        judged = say(
            "So the two disagree: {first} is right on more images, {second} on more of a class, on average. Which is "
            "better depends on whether a mistake in a rare class costs more.",
            first=first.label,
            second=second.label,
        )
    return joined([said, judged], " ")


def chance(first: Shown, second: Shown, paired: Paired) -> str:
    """Whether the choice of test images explains that; with one seed, that the luck of training is another thing."""
    if paired.num_only_first + paired.num_only_second == 0:
        return say("They are right and wrong on the same images.")
    if paired.points_ahead == 0:
        return say(
            "Each is right on {number:,} images that the other takes for a wrong class.", number=paired.num_only_first
        )
    more = paired.p_value < MORE_THAN_CHANCE
    tested = say(
        "Only {first} is right on {num_first:,} images, only {second} on {num_second:,}: {verdict}. Were both equally "
        "good, images would divide this unevenly {chance} (exact McNemar test, {p_value}).",
        first=first.label,
        second=second.label,
        num_first=paired.num_only_first,
        num_second=paired.num_only_second,
        verdict=MORE if more else NOT_MORE,
        chance=chance_in_words(paired.p_value),
        p_value=p_in_words(paired.p_value),
    )
    of_one_seed = [one.label for one in (first, second) if len(one.seeds.places) == 1]
    if not of_one_seed:
        return tested
    trained = say(
        "The luck of training is another thing: with one seed of {runs}, another seed may turn this.",
        runs=joined(of_one_seed, " and "),
    )
    return joined([tested, trained], " ")


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
            leads = [(class_in_words(names[index]), abs(paired.points_ahead)) for index, paired in found]
            others = [class_in_words(name) for place, name in enumerate(names) if place not in dict(found)]
            parts.append(
                say("{run} is the stronger on {classes}", run=one.label, classes=classes_in_words(leads, others))
            )
    if not parts:
        differ = pair.paired.num_only_first + pair.paired.num_only_second
        return say("No single class tells them apart.") if differ else None
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
            (say("training time"), [one.seconds.training_alone for one in records], duration),
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
    both = {"first": first.label, "second": second.label}
    if len(parts) < 2:
        return say("Beside {second}, {first} took {parts}.", **both, parts=parts[0]) if parts else None
    return say("Beside {second}, {first} took {parts} and {last}.", **both, parts=joined(parts[:-1]), last=parts[-1])


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
    worth = NOT_MORE
    if paired.p_value < MORE_THAN_CHANCE:
        worth = MORE if paired.points_ahead > 0 else say("worse than the better one alone")
    return say(
        "The mean of both networks' probabilities would be right on {accuracy:.4f} of the test images, {points:+.2f} "
        "points (95 % interval {interval}) beside {run}: {worth}.",
        accuracy=accuracy,
        points=paired.points_ahead,
        interval=interval(paired),
        run=first.label,
        worth=worth,
    )


def interval(pair: Paired | Balanced | RobustPair) -> str:
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
