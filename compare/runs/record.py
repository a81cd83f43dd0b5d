"""A run on disk: what a branch hands over, and the only thing that metrics, figures and report are made of.

    record.json             everything about the run but its test metrics, the hashes of the other files and its own;
                            written last: its presence means complete
    predictions.npz         `test_probabilities` float32 (num_test, num_classes) and `test_labels` uint8 (num_test,),
                            both in the order of the test file; what else a run may hold there says `Run`
    features.npz            what a new picture is compared with, and where the network looked: `features`
    weights                 model.safetensors (PyTorch) or model.keras (Keras); no report needs them
    checkpoint-…            while unfinished: see `checkpoint`
    log.txt                 what the run said
    split.csv               of a folder of images: which files it trained on, validated with and was tested on

The record's fields are declared in `schema`.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from compare.data.images import Dataset, fingerprint
from compare.runs import schema
from compare.runs.schema import Record
from compare.system import disk, machine, processes
from compare.system.errors import EXIT_REFUSED, UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD, PREDICTIONS, FEATURES, LOG, SPLIT = "record.json", "predictions.npz", "features.npz", "log.txt", "split.csv"
WEIGHTS = ("model.safetensors", "model.keras")
MAY_BE_MISSING = {**dict.fromkeys(WEIGHTS, "weights"), FEATURES: "features"}  # whoever passes a run on may leave them
MAX_PREDICTIONS_BYTES, MAX_WEIGHTS_BYTES = 300_000_000, 2_000_000_000
RESTORE = "take the file from a copy of the run, or train the run anew in another folder"
# What two runs must share to be compared where both know it, and what to call it.
MUST_MATCH = {"fingerprint": "images or labels", "test_labels_fingerprint": "test labels", "class_names": "classes"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        folder: where it was read from.
        record: the content of record.json.
        sha256: of that content, by which a copy of the run is known.
        test_probabilities: float32, (num_test, num_classes), each row summing to 1.
        test_labels: uint8 or, of more than 256 classes, uint16, (num_test,).
        robustness_rows: int64, (num_images,), the test images whose corrupted copies were predicted, as rows of the
            test file, ascending; None where none were. `record.robustness` says the kinds and strengths.
        robustness_predicted: unsigned, (num_kinds, num_strengths, num_images), the classes predicted for the copies.
        seen_test, seen_training: uint8, (num_images, size, size) or (num_images, size, size, 3), the first test images
            and the first training images as they entered the network, the latter as the first epoch drew them. 0 and
            255 are the lowest and highest that `record.seen` gives for every channel; channels that are alike are here
            as one.
        validation_probabilities, validation_labels: of the images that were held out of the training set, as those of
            the test set, in the order of the training file; None where there are none, and in earlier versions' runs.
        only_highest: whether these probabilities have equal parts but for the highest, as in a small copy of a run.
    """

    folder: Path
    record: Record
    sha256: str
    test_probabilities: np.ndarray
    test_labels: np.ndarray
    robustness_rows: np.ndarray | None = None
    robustness_predicted: np.ndarray | None = None
    seen_test: np.ndarray | None = None
    seen_training: np.ndarray | None = None
    validation_probabilities: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    only_highest: bool = False


# ---- writing


def start_record(
    *,
    branch: str,
    command: list[str],
    recipe: "DataclassInstance",
    num_epochs: int,
    overrides: dict[str, Any],
    seed: int,
    dataset: Dataset,
    split: tuple[np.ndarray, np.ndarray],
    labels_per_class: int | None = None,
    subset_seed: int | None = None,
    recipe_file: schema.RecipeFile | None = None,
) -> Record:
    """The record of a run that is about to begin: all that is known before training.

    Args:
        command: the arguments after `python -m <branch>.train`, or `torchrun … -m <branch>.train`.
        recipe: a dataclass, with the overrides applied.
        split: training and validation indices into the training images.
        labels_per_class, subset_seed: how these were drawn, if not all were taken.
        recipe_file: what the recipe's file says, if it came from one.
    """
    train, validation = split
    num_processes = processes.num_together()
    labels = dataset.train_labels[np.concatenate(split)]
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    with readable():
        return Record(
            branch=branch,
            command=shlex.join([*processes.launcher(num_processes), f"{branch}.train", *command]),
            num_processes=num_processes,
            # tuples become lists, as they will when read
            recipe=schema.Recipe.model_validate(json.loads(json.dumps(dataclasses.asdict(recipe)))),
            recipe_file=recipe_file,
            num_epochs=num_epochs,
            overrides=overrides,
            seed=seed,
            data=schema.Data(
                name=dataset.name,
                title=dataset.title,
                is_demonstration=dataset.is_demonstration,
                image_shape=list(dataset.image_shape),
                num_train=len(train),
                num_validation=len(validation),
                num_test=len(dataset.test_labels),
                labels_a_class=[int(counts.min()), int(counts.max())],
                labels_per_class=labels_per_class,
                subset_seed=subset_seed,
                unreadable=dataset.unreadable or None,
                num_leaks=dataset.num_leaks or None,
                group_by=dataset.group_by,
                class_names=list(dataset.class_names),
                fingerprint=dataset.fingerprint,
                split_fingerprint=fingerprint(train, validation),
                test_labels_fingerprint=fingerprint(dataset.test_labels),
            ),
            seconds=schema.Seconds(preparing=0.0),
            commit=machine.commit(),
            repository=machine.repository(),
            source=machine.source_sha256(),
            started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )


@contextlib.contextmanager
def readable(*, exit_code: int = EXIT_REFUSED) -> Iterator[None]:
    """Refuse in words what inside the block is to be a part of a run, and is not as its readers take it."""
    try:
        yield
    except ValueError as error:
        problem = schema.in_words(error) if isinstance(error, pydantic.ValidationError) else error
        raise UserError(
            f"what is to be written could not be read again: {problem}",
            "names, texts and numbers as the readers of runs take them",
            "change what was said of it; where it is what this machine calls itself, report it",
            exit_code=exit_code,
        ) from error


def check_readable(
    content: object, parse: Callable[[Any], object] = schema.parse, *, exit_code: int = EXIT_REFUSED
) -> None:
    """Refuse to write as JSON what its own reader, `parse`, would refuse with a ValueError; raises as `readable`."""
    with readable(exit_code=exit_code):
        parse(disk.parse_json(json.dumps(content)))


def finish_run(folder: Path, record: Record, arrays: dict[str, np.ndarray]) -> None:
    """Write the predictions, arrays as `Run` names them, and then the record, which makes the run complete."""
    predictions = packed(arrays)
    disk.write_atomically(folder / PREDICTIONS, predictions)
    files = {name: disk.file_sha256(folder / name) for name in MAY_BE_MISSING if (folder / name).is_file()}
    content = record.as_json() | {"files": {PREDICTIONS: hashlib.sha256(predictions).hexdigest()} | files}
    disk.write_json(folder / RECORD, content)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name as an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs take one for `allow_pickle`
    return buffer.getvalue()


# ---- reading


def read_run(folder: Path) -> Run:
    """Read a complete run and make sure that it is one.

    Raises:
        UserError: it is not there, not complete, of another format, or one of its files, which is named, was changed.
    """
    path = folder / RECORD
    if not path.exists():
        raise UserError(f"{folder} holds no {RECORD}", "the folder of a finished run", "name one")
    try:
        content = disk.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a run's record as JSON", RESTORE) from error
    try:
        record = schema.parse_complete(content)
    except ValueError as error:
        number = content.get("format") if isinstance(content, dict) else None
        is_newer = type(number) is int and number > schema.FORMAT
        advice = "read it with a newer version of this project" if is_newer else RESTORE
        wanted = f"a record of format {schema.FORMAT}, as this version writes it"
        raise UserError(f"{path}: {error}", wanted, advice) from error
    for name in record.files.keys() & MAY_BE_MISSING.keys():
        path = folder / name
        if path.is_file() and (path.stat().st_size > MAX_WEIGHTS_BYTES or disk.file_sha256(path) != record.files[name]):
            expected = f"the run's {MAY_BE_MISSING[name]}, or none"
            raise UserError(f"{path} holds other bytes than the run wrote", expected, RESTORE)
    path = folder / PREDICTIONS
    try:
        predictions = disk.read_within(path, MAX_PREDICTIONS_BYTES)
        if hashlib.sha256(predictions).hexdigest() != record.files.get(PREDICTIONS):
            raise ValueError("it holds other bytes than the run wrote")
        disk.check_zip(predictions)
        with np.load(io.BytesIO(predictions), allow_pickle=False) as file:
            arrays = {name: file[name] for name in schema.ARRAYS if name in file.files}
        if record.only_highest:
            predicted, thousandths = (arrays.pop(name) for name in schema.HIGHEST)
            num_classes = len(record.data.class_names)
            arrays["test_probabilities"] = schema.with_equal_rest(predicted, thousandths, num_classes)
        schema.check_predictions(record, arrays)
    except Exception as error:  # zipfile and NumPy raise many kinds on bytes that are not theirs
        wanted = "the predictions that belong to the record beside it"
        raise UserError(f"{path} cannot be read ({error})", wanted, RESTORE) from error
    return Run(folder, record, disk.own_sha256(content), **arrays, only_highest=record.only_highest)


def check_comparable(runs: list[Run]) -> None:
    """Refuse runs that did not see the same data, and the same run twice. What of the data they trained on may differ:
    a recipe that holds out a validation split stands beside one that does not, and the report says so.

    Raises:
        UserError: names the runs and what they do not share, or a run and its copy.
    """
    folders: dict[str, Path] = {}
    for run in runs:
        if run.sha256 in folders:
            raise UserError(
                f"{run.folder} is the run in {folders[run.sha256]} once more", "every run once", "leave one of them out"
            )
        folders[run.sha256] = run.folder
    for field, words in MUST_MATCH.items():
        known = [run for run in runs if getattr(run.record.data, field) is not None]
        for run in known[1:]:
            ours, theirs = known[0].record.data, run.record.data
            if getattr(theirs, field) != getattr(ours, field):
                raise UserError(
                    f"{known[0].folder} and {run.folder} differ in their {words}"
                    f" ({ours.title} {str(getattr(ours, field))[:12]} against "
                    f"{theirs.title} {str(getattr(theirs, field))[:12]})",
                    "runs on the same data and test labels: anything else compares nothing",
                    "repeat one of them with the other's data (--demo, --data, --data-dir), or report each alone",
                )


def same_corruptions(first: Run, second: Run) -> bool:
    """Whether both runs predicted the same corrupted copies of the same test images."""
    ours, theirs = first.record.robustness, second.record.robustness
    return ours is not None and ours == theirs
