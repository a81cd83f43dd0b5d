"""Can the comparison be trusted? Questions that each run's record and predictions answer: passed, failed, not run or
not applicable, why, and what to do about it."""

import dataclasses

import numpy as np

from compare.findings import metrics
from compare.page import verdict
from compare.page.gallery import Gallery
from compare.page.language import known, say
from compare.page.shown import Shown, by_seeds
from compare.page.words import range_in_words
from compare.runs.schema import Input

# a last epoch that lowers the training loss by this share, or by that one of all its fall, could be followed by another
STILL_FALLING, STILL_GAINING = 0.02, 0.05
OVERFITTED = 1.05  # the watched loss at the end, over its lowest, from which on it is called so


NOT_AT_HAND = say("the images are not at hand")
WITH_IMAGES = say("make the report with the images: --data-dir DIR names their folder")
SOLVED = say("solved to the optimum, without steps")
HOLD_OUT = say("train with a validation split held out: --recipe tuned")
LONGER = say("train for longer: --epochs N")
LOOK = say("look at its curves, and at the data with python -m compare.inspect")
PASSED, FAILED, NOT_RUN, NOT_APPLICABLE = "passed", "failed", "not-run", "muted"  # as the page's style names them


@dataclasses.dataclass(frozen=True)
class Answer:
    """Passed (True), failed (False) or neither (None), why, and what to do about it. Neither is for want of a question,
    or, where it is not `known`, of an answer."""

    passed: bool | None
    why: str
    known: bool = True
    to_do: str = ""

    @property
    def state(self) -> str:
        """One of the four above."""
        if self.passed is None:
            return NOT_APPLICABLE if self.known else NOT_RUN
        return PASSED if self.passed else FAILED


@dataclasses.dataclass(frozen=True)
class Cell:
    """What the seeds of a strategy answer together: the gravest state, in words, each one's reason, and what to do."""

    state: str
    words: str
    whys: tuple[str, ...]
    to_do: tuple[str, ...]


UNTOLD = Answer(None, say("the run does not say"), known=False, to_do=say("hand its history to save_run"))


def table(shown: list[Shown], images: Gallery | None) -> list[tuple[str, list[Cell]]]:
    """Each question, and a cell for every strategy, in the order of `by_seeds`."""
    groups = by_seeds(shown)
    return [
        (question, [cell(group, [answers[shown.index(one)] for one in group]) for group in groups])
        for question, answers in of(shown, images)
    ]


def cell(group: list[Shown], answers: list[Answer]) -> Cell:
    """The answers of a strategy's seeds, as one."""
    states = [answer.state for answer in answers]
    state = next(one for one in (FAILED, NOT_RUN, PASSED, NOT_APPLICABLE) if one in states)
    words = {
        PASSED: say("✓ passed"),
        FAILED: say("✗ failed"),
        NOT_RUN: say("? not run"),
        NOT_APPLICABLE: say("– not applicable"),
    }[state]
    if len(group) > 1 and state != NOT_APPLICABLE:
        words = say("{words} in {number} of {all}", words=words, number=states.count(state), all=len(group))
    whys = [answer.why for answer in answers]
    if len(set(whys)) > 1:
        whys = [
            say("seed {number}: {why}", number=one.record.seed, why=why) for one, why in zip(group, whys, strict=True)
        ]
    to_do = dict.fromkeys(answer.to_do for answer in answers if answer.to_do)
    return Cell(state, words, tuple(dict.fromkeys(whys)), tuple(to_do))


def of(shown: list[Shown], images: Gallery | None) -> list[tuple[str, list[Answer]]]:
    """Each question, and an answer for every run.

    Args:
        shown: the runs.
        images: of the test set; None where they are not at hand.
    """
    questions = [
        (say("Predicted the same test images, in the same order"), same_test_set),
        (say("No training chose by the test set"), test_set_unwatched),
        (say("The frozen weights did not change"), frozen_unchanged),
        (say("The weights got the input that they expect"), expected_input),
        (say("Trained to the end"), trained_out),
        (say("Not overfitted"), not_overfitted),
        (say("Better than always naming the most frequent class"), beats_majority),
        (say("Better than logistic regression on the pixels"), beats_logistic_regression),
    ]
    return [
        *((question, [ask(one, shown) for one in shown]) for question, ask in questions),
        (say("No test image is also a training image"), [apart_from_training(one, images) for one in shown]),
    ]


def same_test_set(one: Shown, shown: list[Shown]) -> Answer:
    """The fingerprints of images and labels are those of the first run."""
    ours, first = one.record.data, shown[0].record.data
    if len(shown) == 1:
        return Answer(None, say("a single run"))
    same = ours.test_labels_fingerprint == first.test_labels_fingerprint
    if None not in (ours.fingerprint, first.fingerprint):
        same = same and ours.fingerprint == first.fingerprint
    return Answer(same, f"SHA-256 {(ours.fingerprint or ours.test_labels_fingerprint)[:8]}…")


def test_set_unwatched(one: Shown, shown: list[Shown]) -> Answer:
    """A validation split was watched, not the test set."""
    if not one.record.history:
        return UNTOLD
    if one.watched is None:
        return Answer(True, say("nothing was watched"))
    if one.watched == "validation":
        return Answer(True, say("a validation split was watched, and the test set predicted once"))
    return Answer(False, say("the test set was watched after every epoch"), to_do=HOLD_OUT)


def frozen_unchanged(one: Shown, shown: list[Shown]) -> Answer:
    """The frozen arrays, batch normalisation's statistics included, have the same hash before and after."""
    unchanged = one.record.stayed_frozen
    if unchanged is None:
        return Answer(None, say("nothing is frozen"))
    if unchanged:
        return Answer(True, say("SHA-256 before and after are the same"))
    return Answer(False, say("SHA-256 differs"), to_do=say("leave this run out, and train it again"))


def expected_input(one: Shown, shown: list[Shown]) -> Answer:
    """Pretrained weights were fed what they were trained on, by what entered the network."""
    expected, seen = one.record.weights.expects, one.record.seen
    if not one.record.is_pretrained:
        return Answer(None, say("no pretrained weights"))
    if seen is None:
        why = say("the run keeps no image of what entered its network")
        return Answer(None, why, known=False, to_do=say("train it anew: runs keep such images now"))
    got = range_in_words(seen)
    if expected is None:
        why = say("a file of weights does not say what input they were trained on; here they got {input}", input=got)
        return Answer(None, why, known=False, to_do=say("look it up where the file is from"))
    why = say("measured: {range}; expected: {wanted}", range=got, wanted=range_in_words(expected))
    if fits(seen, expected):
        return Answer(True, why)
    return Answer(False, why, to_do=say("take a recipe that prepares images as the weights expect: --recipe tuned"))


def fits(seen: Input, expected: Input) -> bool:
    """Whether what entered a network has the ranges of what it expects. A tenth of the range at least is used: images
    in 0…1 lie within 0…255, too."""
    if len(seen.lowest) != len(expected.lowest):
        return False
    (lowest, highest), (low, high) = ((np.array(of.lowest), np.array(of.highest)) for of in (seen, expected))
    margin = (high - low) / 255
    within = (lowest >= low - margin) & (highest <= high + margin)
    return bool(within.all() and (highest - lowest > (high - low) / 10).all())


def trained_out(one: Shown, shown: list[Shown]) -> Answer:
    """The training loss had stopped falling."""
    if not one.record.history:
        return UNTOLD
    steps = [row for row in one.record.history if row.penalty is None]  # with one, a solver's
    if not steps:
        return Answer(None, SOLVED)
    losses = [row.train_loss for row in steps if row.train_loss is not None]
    if len(losses) < 2:
        return Answer(None, say("a single epoch"), known=False, to_do=say("train for two epochs or more"))
    rates = [row.learning_rate for row in steps if row.learning_rate is not None]
    if rates and rates[-1] < 0.01 * max(rates):
        return Answer(True, say("the learning rate ran down to nothing, as planned"))
    percent = 100 * (1 - losses[-1] / losses[-2]) if losses[-2] else 0.0
    if percent >= 100 * STILL_FALLING:
        why = say("the last epoch still lowered the training loss by {percent:.0f} %", percent=percent)
        return Answer(False, why, to_do=LONGER)
    whole = losses[0] - losses[-1]
    share = (losses[-2] - losses[-1]) / whole if whole > 0 and len(losses) > 2 else 0.0
    if share >= STILL_GAINING:
        why = say(
            "the training loss has fallen by {whole:.4f} from the first epoch to the last, which still brought "
            "{percent:.0f} % of it",
            whole=whole,
            percent=100 * share,
        )
        return Answer(False, why, to_do=LONGER)
    return Answer(True, say("the last epoch changed the training loss by {percent:+.1f} %", percent=-percent))


def not_overfitted(one: Shown, shown: list[Shown]) -> Answer:
    """The watched loss ended at its lowest, or near."""
    if not one.record.history:
        return UNTOLD
    if all(row.penalty is not None for row in one.record.history):
        return Answer(None, SOLVED)
    if one.watched is None:
        return Answer(None, say("nothing was watched"), known=False, to_do=HOLD_OUT)
    losses = [getattr(row, f"{one.watched}_loss") for row in one.record.history]
    if len(losses) < 2:
        return Answer(None, say("a single epoch"), known=False, to_do=say("train for two epochs or more"))
    lowest = min(losses)
    values = {"split": known(one.watched, of="split"), "last": losses[-1], "lowest": lowest}
    if losses[-1] <= OVERFITTED * lowest:
        return Answer(True, say("the {split} loss ended at {last:.4f}, its lowest is {lowest:.4f}", **values))
    values["epoch"] = one.record.history[losses.index(lowest)].epoch
    why = say("the {split} loss rose from {lowest:.4f} after epoch {epoch} to {last:.4f}", **values)
    return Answer(False, why, to_do=say("train for fewer epochs, or on more images"))


def beats_majority(one: Shown, shown: list[Shown]) -> Answer:
    """Even the low end of the accuracy's interval is above the share of the largest class."""
    share, low = one.result.support.max() / one.result.num_images, one.result.accuracy_low
    why = say("at least {low:.4f}, and the most frequent class is {share:.4f} of the test set", low=low, share=share)
    return Answer(True, why) if low > share else Answer(False, why, to_do=LOOK)


def beats_logistic_regression(one: Shown, shown: list[Shown]) -> Answer:
    """More right than a linear model of the grey levels, by more than the choice of test images explains (McNemar)."""
    baseline = one.baseline
    if baseline is None:
        return Answer(None, NOT_AT_HAND, known=False, to_do=WITH_IMAGES)
    why = say(
        "{accuracy:.4f}, against {baseline:.4f} by logistic regression on {number:,} training images ({p_value})",
        accuracy=one.result.accuracy,
        baseline=baseline.accuracy,
        number=baseline.num_images,
        p_value=verdict.p_in_words(baseline.paired.p_value),
    )
    return Answer(True, why) if baseline.is_beaten else Answer(False, why, to_do=LOOK)


def apart_from_training(one: Shown, images: Gallery | None) -> Answer:
    """No test image has the pixels of a training image."""
    if images is None:
        return Answer(None, NOT_AT_HAND, known=False, to_do=WITH_IMAGES)
    if not len(images.also_in_training):
        return Answer(True, say("compared pixel by pixel"))
    number, without = len(images.also_in_training), np.delete(metrics.is_right(one.run), images.also_in_training).mean()
    values = {"number": number, "accuracy": without}
    why = say("{number} are also training images; without them the accuracy is {accuracy:.4f}", **values)
    return Answer(False, why, to_do=say("take them out of either side: python -m compare.inspect finds them"))
