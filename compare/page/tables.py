"""The report's tables of text: a name for every row, and a cell for every run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compare.findings import history
from compare.page import pictures
from compare.page.audit import FAILED, NOT_RUN, PASSED, Cell
from compare.page.label_figures import FAR_BELOW
from compare.page.language import joined, known, say
from compare.page.shown import Shown, by_seeds, label_of
from compare.page.words import (
    LOGISTIC_REGRESSION,
    MAJORITY,
    NOTHING,
    WEIGHT_WORDS,
    data_in_words,
    device_in_words,
    duration,
    gigabytes,
    in_words,
    kilojoules,
    or_nothing,
    setting_in_words,
    settings_in_words,
    with_prefix,
)
from compare.runs.schema import Record

CLASS_WEIGHTS = say("Weights of the classes in training")
PROCESSES = say("Processes that trained together")
EXTRACTING = say("of it for features that another run had made")
CORRUPTED = say("Time to predict the corrupted copies")
# fields of a recipe: what precision it came to is the run's
SAID_ELSEWHERE = ("name", "known_mistakes", "on_photographs", "precision")
ARTICLE_ACCURACY = pictures.ARTICLE_ACCURACIES[-1]
RECIPE_WORDS = {
    "article": say(
        "Recipe article: as the article on ResNet and Fashion-MNIST has it that this program follows, and the Keras "
        "snippet in its comments, mistakes included."
    ),
    "tuned": say("Recipe tuned: the best result for the least time."),
    "best": say("Recipe best: the highest accuracy, for a GPU."),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of the table of runs: those that differ in their seeds alone.

    Attributes:
        label: what they are called.
        one: the first of them.
        seeds: theirs, in words.
        accuracy: the mean.
        deviation: of three seeds and more the standard deviation, of a sample; else nothing.
        interval: of one run in words; of several the lowest and the highest.
        balanced: the mean of the balanced accuracies; of three seeds and more with the standard deviation.
        places: where on the table's scale the ends of that and each run lie, per cent of its width from its left.
        seconds: of training, the mean; None where it is not known.
        memory: of the process, at most, in words.
        checks: how many were passed, of those that apply.
    """

    label: str
    one: Shown
    seeds: str
    accuracy: float
    deviation: str
    interval: str
    balanced: str
    places: tuple[float, float, list[float]]
    seconds: float | None
    memory: str
    checks: str


def lines(shown: list[Shown], checks: list[tuple[str, list[Cell]]]) -> list[Line]:
    """The table of runs, the most accurate first, given the table of the audit."""
    groups = by_seeds(shown)
    ends = []  # of each: settings may share a name
    for group in groups:
        result, accuracies = group[0].result, [one.result.accuracy for one in group]
        alone = len(group) == 1
        ends.append((result.accuracy_low, result.accuracy_high) if alone else (min(accuracies), max(accuracies)))
    rightmost = max((high for _, high in ends), default=1)
    # what lies far below the others would squeeze these: it stands at the edge
    leftmost = min((low for low, _ in ends if low > rightmost - FAR_BELOW), default=0)

    def place(accuracy: float) -> float:
        return round(100 * max(0, accuracy - leftmost) / ((rightmost - leftmost) or 1), 2)

    found = []
    for column, (group, (low, high)) in enumerate(zip(groups, ends, strict=True)):
        accuracies = [one.result.accuracy for one in group]
        states = [cells[column].state for _, cells in checks]
        passed = states.count(PASSED)
        memory = [one.record.peak_memory_bytes.main for one in group]
        found.append(
            Line(
                label=label_of(group),
                one=group[0],
                seeds=joined(NOTHING if one.record.seed is None else str(one.record.seed) for one in group),
                accuracy=float(np.mean(accuracies)),
                deviation="" if group[0].seeds.deviation is None else f"± {group[0].seeds.deviation:.4f}",
                interval=say("{low:.4f} to {high:.4f}", low=low, high=high),
                balanced=f"{group[0].seeds.balanced_mean:.4f}"
                + ("" if len(group) < 3 else f" ± {group[0].seeds.balanced_deviation:.4f}"),
                places=(place(low), place(high), [place(accuracy) for accuracy in accuracies]),
                seconds=group[0].seeds.seconds,
                memory=gigabytes(None if None in memory else max(size or 0 for size in memory)),
                checks=say(
                    "{number} of {all}", number=passed, all=passed + states.count(FAILED) + states.count(NOT_RUN)
                ),
            )
        )
    return sorted(found, key=lambda line: -line.accuracy)


def summary_rows(shown: list[Shown]) -> list[tuple[str, list[str]]]:
    """The summary table: a row's name, and a cell for every run."""
    if not shown:
        return []
    to_article = say("Training time to the article’s {accuracy} on the test set", accuracy=ARTICLE_ACCURACY)
    rows: dict[str, Callable[[Shown], str]] = {
        say("Test accuracy"): lambda one: f"{one.result.accuracy:.4f}",
        say("95 % interval"): lambda one: say(
            "{low:.4f} to {high:.4f}", low=one.result.accuracy_low, high=one.result.accuracy_high
        ),
        **(balanced_rows() if shown[0].result.is_unequal else {}),
        MAJORITY: lambda one: NOTHING if one.majority is None else f"{one.majority.accuracy:.4f}",
        LOGISTIC_REGRESSION: lambda one: (
            NOTHING
            if one.baseline is None
            else say(
                "{accuracy:.4f}, from {number:,} images",
                accuracy=one.baseline.accuracy,
                number=one.baseline.num_images,
            )
        ),
        say("Test log loss (nats an image)"): lambda one: or_nothing(one.result.log_loss, ".4f"),
        say("Training time"): lambda one: duration(one.record.seconds.training_alone),
        EXTRACTING: lambda one: duration(one.record.seconds.extracting or None),
        say("Processor time in training"): lambda one: duration(one.record.processor_seconds),
        say("Time before training"): lambda one: duration(one.record.seconds.preparing),
        say("Time to predict the test images"): lambda one: (
            say("in training, after every epoch") if one.watched == "test" else duration(one.record.seconds.predicting)
        ),
        CORRUPTED: lambda one: duration(one.record.seconds.robustness),
        to_article: time_to_article_accuracy,
        say("Training images a second"): lambda one: or_nothing(one.images_per_second, ",.0f"),
        say("Parameters"): lambda one: or_nothing(one.model.num_parameters, ","),
        say("Trainable parameters"): lambda one: or_nothing(one.model.num_trainable_parameters, ","),
        say("FLOPs an image"): lambda one: with_prefix(one.model.flops_per_image),
        say("Peak main memory"): lambda one: gigabytes(one.record.peak_memory_bytes.main),
        say("Peak device memory"): lambda one: gigabytes(one.record.peak_memory_bytes.device),
        say("Energy of the device in training"): lambda one: kilojoules(one.record.energy_joules),
        say("Recipe"): lambda one: known(one.record.recipe.name, of="recipe"),
        CLASS_WEIGHTS: lambda one: in_words(one.record.recipe.class_weights, of="class_weights"),
        say("Image size"): lambda one: _image_size(one.record.recipe.image_size),
        say("Precision of the numbers"): lambda one: in_words(one.record.precision),
        say("Epochs"): lambda one: str(len(one.record.history) or NOTHING),
        say("Data"): lambda one: data_in_words(one.record.data),
        say("Weights"): lambda one: WEIGHT_WORDS.get(kind := one.record.weights.kind or NOTHING, kind),
        say("Device"): lambda one: device_in_words(one.record),
        PROCESSES: lambda one: str(one.record.num_processes),
        say("Threads"): lambda one: str(one.record.num_threads or NOTHING),
        say("Variables of the environment"): lambda one: (
            ", ".join(f"{name}={value}" for name, value in one.record.environment.items()) or NOTHING
        ),
    }
    if shown[0].record.data.name != "fashion-mnist":
        del rows[to_article]
    if all(one.record.recipe.class_weights == "none" for one in shown):
        del rows[CLASS_WEIGHTS]
    if all(one.record.num_processes == 1 for one in shown):
        del rows[PROCESSES]
    measured = {name: [cell(one) for one in shown] for name, cell in rows.items()}
    may_be_empty = (
        MAJORITY,
        LOGISTIC_REGRESSION,
        EXTRACTING,
        CORRUPTED,
        say("Peak device memory"),
        say("Energy of the device in training"),
        say("Threads"),
    )
    for name in (*may_be_empty, say("Processor time in training"), say("Variables of the environment")):
        if set(measured[name]) == {NOTHING}:
            del measured[name]
    return list(measured.items())


def balanced_rows() -> dict[str, Callable[[Shown], str]]:
    """What stands beside accuracy where the classes of the test set are unequal: a row's name, and what makes a run's
    cell of it."""
    return {
        say("Balanced accuracy (95 % interval)"): lambda one: say(
            "{value:.4f} ({low:.4f} to {high:.4f})",
            value=one.result.balanced_accuracy,
            low=one.result.balanced_accuracy_low,
            high=one.result.balanced_accuracy_high,
        ),
        say("Macro-F1 (95 % interval)"): lambda one: say(
            "{value:.4f} ({low:.4f} to {high:.4f})",
            value=one.result.macro_f1,
            low=one.result.macro_f1_low,
            high=one.result.macro_f1_high,
        ),
    }


def _image_size(size: int | None) -> str:
    return NOTHING if size is None else f"{size}×{size}"


def time_to_article_accuracy(one: Shown) -> str:
    """How long a run trained until it was seen to be as accurate as the article's program."""
    if one.record.seconds.training is None:
        return NOTHING
    seconds = history.seconds_to_accuracy(one.run, ARTICLE_ACCURACY)
    if seconds is None:
        return say("not reached")
    # the test set is seen at the end alone where it is not watched
    return duration(seconds) if one.watched == "test" else say("at most {time}", time=duration(seconds))


def recipe_words(shown: list[Shown]) -> list[str]:
    """What the names of the recipes that ran mean, a sentence for each."""
    names = dict.fromkeys(one.record.recipe.name for one in shown)
    return [RECIPE_WORDS[name] for name in names if name in RECIPE_WORDS]


def settings(shown: list[Shown]) -> dict[str, Any]:
    """What was set: `differ` has a row for every setting that strategies have in different ways, a name and a cell for
    each of them, with its seeds together; `same` has the others, by parts, each a caption and rows of a name and a
    value."""
    groups, differ, same = by_seeds(shown), [], []
    for caption, of in PARTS_OF_SETTINGS.items():
        columns = [[of(one.record) for one in group] for group in groups]
        rows = []
        for name in dict.fromkeys(name for column in columns for run in column for name in run):
            cells = [joined(dict.fromkeys(in_words(run.get(name)) for run in column), "; ") for column in columns]
            said = [cell for cell in dict.fromkeys(cells) if cell != NOTHING]
            if len(said) > 1:
                differ.append((name, cells))
            elif said:
                rows.append((name, said[0]))
        same.append((caption, rows))
    return {"differ": differ, "same": [(caption, rows) for caption, rows in same if rows]}


def _of_recipe(record: Record) -> dict[str, Any]:
    fields = {name: value for name, value in record.recipe.as_json().items() if name not in SAID_ELSEWHERE}
    file = record.recipe_file
    of_file = file and joined([known(file.base, of="recipe"), settings_in_words(file.fields)])
    return {
        say("Recipe"): known(record.recipe.name, of="recipe"),
        say("of a file: its base, and its changes"): of_file,
    } | {setting_in_words(name): in_words(value, of=name) for name, value in fields.items()}


def _of_run(record: Record) -> dict[str, Any]:
    return {
        say("changed on the command line"): settings_in_words(record.overrides),
        say("seed"): record.seed,
        say("started"): record.started and record.started[:10],
        say("commit"): record.commit and record.commit[:12],
        say("network"): record.model and record.model.name,
        say("device"): device_in_words(record),
        say("Precision of the numbers"): record.precision,
        say("weights' SHA-256"): record.weights.sha256,
        say("what is frozen is unchanged"): {
            None: NOTHING,
            True: say("yes: checked, the same before and after"),
            False: say("NO"),
        }[record.stayed_frozen],
    }


def _of_data(record: Record) -> dict[str, Any]:
    return {
        say("name"): data_in_words(record.data),
        say("training images"): or_nothing(record.data.num_train, ","),
        say("validation images"): f"{record.data.num_validation:,}",
        say("test images"): f"{record.data.num_test:,}",
        say("fingerprint of images and labels"): record.data.fingerprint,
        say("fingerprint of the split"): record.data.split_fingerprint,
        say("fingerprint of the test labels"): record.data.test_labels_fingerprint,
        say("images kept together by"): record.data.group_by,
    }


PARTS_OF_SETTINGS: dict[str, Callable[[Record], dict[str, Any]]] = {
    say("Recipe, as it ran"): _of_recipe,
    say("Run"): _of_run,
    say("Versions"): lambda record: record.versions,
    say("Data"): _of_data,
}
