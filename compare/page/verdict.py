"""What the report says first: which run is better, how sure that is, and what it costs; or why it does not say so.

Every sentence is computed from the runs; one that does not apply is not there.
"""

import numpy as np

from compare.findings import history
from compare.findings.findings import Findings, Headline, RobustPair
from compare.findings.label_curve import labels_of
from compare.findings.metrics import MORE_THAN_CHANCE, Balanced, Paired
from compare.page import calibration, cautions, labels
from compare.page.language import joined, known, say
from compare.page.shown import Shown, by_seeds, of_compared
from compare.page.words import class_in_words, classes_in_words, data_in_words, labels_in_words, with_three_digits

MORE = say("more than the choice of test images explains")
NOT_MORE = say("no more than the choice of test images may explain")


def sentences(found: Findings, shown: list[Shown]) -> list[str]:
    """What the claim and its numbers do not say, the most important first."""
    compared, runs = of_compared(found, shown)
    pair = compared.headline
    if pair is None:
        return [each_class_alike(one) for one in shown if one.result.is_unequal]
    reasons = no_winner_because(found, shown)
    of_labels = [] if reasons else labels.sentences(found)
    first, second = runs[pair.first], runs[pair.second]
    number = labels_of(first.record) if found.label_curve is not None else None
    said = [
        *silence(reasons),
        *of_labels,
        sure(first, second, pair, None if number is None else labels_in_words(number)),
        balanced(first, second, pair, is_silent=bool(reasons)),
        None if reasons else classes(first, second, pair),
        weakest(first),
        None if reasons or len(by_seeds(runs)) < 2 else calibration.weak_sides(compared, runs),
        cost(first, second),
    ]
    return [sentence for sentence in said if sentence is not None]


def called(first: Shown, second: Shown) -> dict[str, str]:
    """The two as sentences name them: by their strategies where these differ."""
    if first.strategy == second.strategy:
        return {"first": first.label, "second": second.label}
    return {"first": first.strategy, "second": second.strategy}


def no_winner_because(found: Findings, shown: list[Shown]) -> list[str]:
    """Why the verdict names no winner, the gravest first; nothing where it may, or where it is about one run alone."""
    found, compared = of_compared(found, shown)
    if found.headline is None:
        return []
    pair = compared[found.headline.first], compared[found.headline.second]
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
    return say("{data} are demonstration data", data=data_in_words(one.record.data))


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
    fall = history.fall_at_the_end(one.record)
    if fall is None or one.watched is None:
        return None
    return say(
        "{run} was still jumping at its end: in epoch {epoch} its {split} accuracy fell by {points:.1f} points, more "
        "than the choice of {number:,} images explains",
        run=one.label,
        epoch=fall.epoch,
        split=known(one.watched, of="split"),
        points=fall.points,
        number=fall.num_images,
    )


def silence(reasons: list[str]) -> list[str]:
    """Why no winner is named, as far as the claim has no room for it; nothing without a reason."""
    said: list[str] = [
        say("In numbers: {reason}.", reason=reason) for reason in reasons[:1] if any(map(str.isdigit, reason))
    ]
    if others := reasons[1:]:
        said.append(say("Nor would a winner be named without that: {reasons}.", reasons=joined(others, "; ")))
    return said


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
    found, both = pair.balanced, called(first, second)
    said = say(
        "The classes of the test set differ in size. With each counted alike, {first} less {second} is {points:+.2f} "
        "points (95 % interval {interval}).",
        points=found.points_ahead,
        interval=interval(found),
        **both,
    )
    ahead = first if found.points_low > 0 else second if found.points_high < 0 else None
    in_accuracy = first if pair.paired.p_value < MORE_THAN_CHANCE else None  # the more accurate one comes first
    if is_silent or ahead is in_accuracy:
        return said
    if ahead is None:
        judged = say("So it does not show either to be better, and what it leads by may be the larger classes alone.")
    elif in_accuracy is None:
        better = both["first" if ahead is first else "second"]
        judged = say("So there {run} is ahead, though accuracy does not tell the two apart.", run=better)
    else:
        judged = say(
            "So the two disagree: {first} is right on more images, {second} on more of a class, on average. Which is "
            "better depends on whether a mistake in a rare class costs more.",
            **both,
        )
    return joined([said, judged], " ")


def sure(first: Shown, second: Shown, pair: Headline, num_labels: str | None) -> str:
    """Whether the choice of test images explains the difference of two runs, and whether their seeds do; with so many
    labels a class, where the sentence has to say so."""
    both = called(first, second)
    paired = pair.paired
    if paired.num_only_first + paired.num_only_second == 0:
        return say("They are right and wrong on the same images.")
    parts = [
        say(
            "{verdict} (exact McNemar test, {p_value})",
            verdict=MORE if paired.p_value < MORE_THAN_CHANCE else NOT_MORE,
            p_value=p_in_words(paired.p_value),
        )
    ]
    if pair.p_value_of_seeds is not None:
        more = pair.p_value_of_seeds < MORE_THAN_CHANCE
        parts.append(
            say(
                "{verdict} (Welch’s t test, {p_value})",
                verdict=say("more than the seeds explain") if more else say("no more than the seeds may explain"),
                p_value=p_in_words(pair.p_value_of_seeds),
            )
        )
    if len({paired.p_value < MORE_THAN_CHANCE, (pair.p_value_of_seeds or 0) < MORE_THAN_CHANCE}) > 1 and len(parts) > 1:
        parts.append(say("only both together would show one to be better"))
    words = joined(parts, "; ")
    if num_labels is None:
        return say("The difference between {first} and {second} is {parts}.", parts=words, **both)
    return say(
        "With {number} labels a class the difference between {first} and {second} is {parts}.",
        number=num_labels,
        parts=words,
        **both,
    )


def classes(first: Shown, second: Shown, pair: Headline) -> str | None:
    """Where each of two runs, not its strategy, is the stronger; None where they are right and wrong on the same
    images."""
    names = first.record.data.class_names
    parts = []
    for run, sign in ((first.label, 1), (second.label, -1)):
        ahead = [(index, sign * paired.points_ahead) for index, paired in pair.classes_apart]
        ahead = sorted([(index, points) for index, points in ahead if points > 0], key=lambda one: -one[1])
        if ahead:
            leads = [(class_in_words(names[index]), points) for index, points in ahead]
            others = [class_in_words(name) for place, name in enumerate(names) if place not in dict(ahead)]
            parts.append(say("{run} is the stronger on {classes}", run=run, classes=classes_in_words(leads, others)))
    if not parts:
        differ = pair.paired.num_only_first + pair.paired.num_only_second
        return say("No single class tells them apart.") if differ else None
    return say("{parts}.", parts=joined(parts, "; "))


def weakest(one: Shown) -> str | None:
    """The class on which a run is wrong most often, and what it mostly takes it for; None where it is always right."""
    wrong = one.result.counts - np.diag(np.diag(one.result.counts))
    label = int(wrong.sum(axis=1).argmax())
    predicted = int(wrong[label].argmax())
    if not wrong[label, predicted]:
        return None
    names = [class_in_words(name) for name in one.record.data.class_names]
    return say(
        "Weakest class of {run}: {label}, {number:,} of {support:,} wrong, mostly as {predicted} ({times:,}).",
        run=one.label,
        label=names[label],
        number=int(wrong[label].sum()),
        support=int(one.result.support[label]),
        predicted=names[predicted],
        times=int(wrong[label, predicted]),
    )


def cost(first: Shown, second: Shown) -> str | None:
    """What the better run costs beside the other, the two that tell most of what is known of both: training time, the
    median of seeds, and energy, where both were computed on the same, parameters trained, operations an image; None
    without any."""
    both = first, second
    costs: list[tuple[str, list[float | None]]] = [
        (say("trained parameters"), [one.model.num_trainable_parameters for one in both]),
        (say("operations an image"), [one.model.flops_per_image for one in both]),
    ]
    if first.computed_on == second.computed_on and not cautions.times_mislead([first, second]):
        costs = [
            (say("training time"), [one.seeds.seconds for one in both]),
            (say("energy"), [one.record.energy_joules for one in both]),
            *costs,
        ]
    parts = [say("{times} {what}", times=times(a, b), what=what) for what, (a, b) in costs if a and b][:2]
    names = called(first, second)
    if len(parts) < 2:
        return say("Beside {second}, {first} took {parts}.", **names, parts=parts[0]) if parts else None
    return say("Beside {second}, {first} took {parts} and {last}.", **names, parts=joined(parts[:-1]), last=parts[-1])


def times(mine: float, other: float) -> str:
    """One amount beside another."""
    ratio = mine / other
    if 0.95 < ratio < 1.05:
        return say("about the same")
    return (
        say("{number} times the", number=with_three_digits(ratio))
        if ratio > 1
        else say("{percent:.2g} % of the", percent=100 * ratio)
    )


def averaging(first: Shown, paired: Paired) -> str:
    """What the mean of both runs' probabilities would score, by how it compares with the better run, `first`."""
    accuracy = first.result.accuracy + paired.points_ahead / 100
    worth = NOT_MORE
    if paired.p_value < MORE_THAN_CHANCE:
        worth = MORE if paired.points_ahead > 0 else say("worse than the better one alone")
    worth = say("{verdict} (exact McNemar test, {p_value})", verdict=worth, p_value=p_in_words(paired.p_value))
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


def p_in_words(p_value: float) -> str:
    """A p value with as many digits as matter."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
