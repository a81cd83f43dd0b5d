"""The warnings at the top of the report: whatever limits what its numbers mean, each a function."""

import collections
import dataclasses

from compare.page.language import joined, known, say
from compare.page.words import data_in_words, settings_in_words, unfinished_label, without_folders
from compare.runs.checkpoint import UnfinishedRun
from compare.runs.schema import Record

# What the command line changed, and is said elsewhere: that a backbone is random, and what the data are.
SAID_ELSEWHERE = ("weights random", "data")


@dataclasses.dataclass(frozen=True)
class Banner:
    """A warning: what it is about, a sentence or two, and lines below, with what they are; whether it voids the
    verdict."""

    about: str
    text: str
    lines_are: str = ""
    lines: tuple[str, ...] = ()
    is_grave: bool = False


def of(named: list[tuple[str, Record]], unfinished: list[UnfinishedRun]) -> list[Banner]:
    """Everything that a reader must know before the numbers, the gravest first.

    Args:
        named: what the page calls each complete run, and its record.
        unfinished: the other runs.
    """
    every = named + [(unfinished_label(run), run.record) for run in unfinished if run.record]
    found = [
        *map(unfinished_banner, unfinished),
        leaks_banner(every),
        demo_banner([record for _, record in every]),
        random_backbone_banner(every),
        *(changed_backbone_banner(label, record) for label, record in every),
        changed_settings_banner(every),
        different_splits_banner(named),
        None if unfinished else one_side_banner([record for _, record in named]),
    ]
    return [banner for banner in found if banner is not None]


def unfinished_banner(run: UnfinishedRun) -> Banner:
    """A run is not complete: how far it came, and the end of its log; or no longer: what was changed."""
    if run.damage:
        return Banner(
            say("Damaged"),
            say(
                "{run} was complete, but its files are no longer as it wrote them, so nothing on this page counts for "
                "or against it.",
                run=unfinished_label(run),
            ),
            say("What was found"),
            tuple(without_folders(line) for line in run.damage.splitlines()),
        )
    num_finished, num_epochs = (len(run.record.history), run.record.num_epochs) if run.record else (0, None)
    progress = {0: say("no epoch"), 1: say("1 epoch")}.get(num_finished, say("{number} epochs", number=num_finished))
    if num_epochs:
        progress = say("{progress} of {number}", progress=progress, number=num_epochs)
    return Banner(
        say("Not finished"),
        say(
            "{run} failed, was interrupted or is still running, with {progress} finished. It has no test result, so "
            "nothing on this page counts for or against it.",
            run=unfinished_label(run),
            progress=progress,
        ),
        say("The last lines of its log"),
        tuple(without_folders(line) for line in run.log_lines),
    )


def leaks_banner(named: list[tuple[str, Record]]) -> Banner | None:
    """Test images that were trained on as well."""
    leaked = [(label, record.data) for label, record in named if record.data.num_leaks]
    if not leaked:
        return None
    data = leaked[0][1]
    return Banner(
        say("Trained on test images"),
        say(
            "{number:,} of {total:,} test images are training images as well, or of a group that was trained on, which "
            "--allow-leaks allowed. What was learned by heart counts as right: on new images these networks are worse.",
            number=data.num_leaks,
            total=data.num_test,
        ),
        is_grave=True,
    )


def demo_banner(records: list[Record]) -> Banner | None:
    """The data stand in for real ones."""
    titles = dict.fromkeys(data_in_words(record.data) for record in records if record.data.is_demonstration)
    if not titles:
        return None
    return Banner(
        say("Demo data"),
        say(
            "These runs saw {data}, which stand in for real data. The numbers show that everything works; they do not "
            "tell whether to train from scratch.",
            data=joined(titles),
        ),
        is_grave=True,
    )


def random_backbone_banner(named: list[tuple[str, Record]]) -> Banner | None:
    """Frozen backbones without pretrained weights."""
    labels = [label for label, record in named if record.is_control]
    if not labels:
        return None
    return Banner(
        say("No pretraining"),
        say(
            "{runs}: nothing in {its} was ever trained, so these numbers say nothing about pretrained networks.",
            runs=joined(labels, " and "),
            its=say("its backbone") if len(labels) == 1 else say("their backbones"),
        ),
        is_grave=True,
    )


def changed_backbone_banner(label: str, record: Record) -> Banner | None:
    """A frozen backbone that did not stay as it was."""
    if record.stayed_frozen is not False:
        return None
    return Banner(
        say("Backbone changed"),
        say("What was to stay frozen in the backbone of {run} is not after training what it was before.", run=label),
        is_grave=True,
    )


def changed_settings_banner(named: list[tuple[str, Record]]) -> Banner | None:
    """Recipes whose settings were overridden, runs with the same changes together. Random weights have a banner of
    their own."""
    labels_by_change = collections.defaultdict(list)
    for label, record in named:
        changes = {
            name: value
            for name, value in record.overrides.items()
            if name not in SAID_ELSEWHERE and f"{name} {value}" not in SAID_ELSEWHERE
        }
        if changes:
            labels_by_change[record.recipe.name, settings_in_words(changes)].append(label)
    parts = [
        say(
            "{runs} ran with {changes} in place of what recipe {recipe} says",
            runs=joined(labels, " and "),
            changes=words,
            recipe=known(recipe, of="recipe"),
        )
        for (recipe, words), labels in labels_by_change.items()
    ]
    text = say("{parts}: these numbers are not that recipe's.", parts=joined(parts, "; "))
    return Banner(say("Changed settings"), text) if parts else None


def different_splits_banner(named: list[tuple[str, Record]]) -> Banner | None:
    """Runs that had the same labels and trained on different parts of these images."""
    labels_by_split: dict[tuple[int | None, int | None], dict[tuple[str | None, str], list[str]]]
    labels_by_split = collections.defaultdict(lambda: collections.defaultdict(list))
    for label, record in named:
        data = record.data
        if data.num_train is None:
            continue
        number = data.num_validation
        held_out = say("{number:,} held out", number=number) if number else say("none held out")
        words = say("{number:,} images, {held_out}", number=data.num_train, held_out=held_out)
        labels_by_split[data.labels_per_class, data.subset_seed][data.split_fingerprint, words].append(label)
    parts = [
        say("{runs}: {images}", runs=joined(labels, " and "), images=words)
        for splits in labels_by_split.values()
        for (_, words), labels in splits.items()
        if len(splits) > 1
    ]
    text = say("{parts}. The test images are the same for all.", parts=joined(parts, "; "))
    return Banner(say("Different training images"), text) if parts else None


def one_side_banner(records: list[Record]) -> Banner | None:
    """All runs began alike."""
    if len({record.is_from_scratch for record in records}) != 1:
        return None
    return Banner(
        say("One side only"),
        say("Every run here is trained from scratch: this page does not compare that with pretraining.")
        if records[0].is_from_scratch
        else say("No run here is trained from scratch: this page does not compare that with pretraining."),
    )
