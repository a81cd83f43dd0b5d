"""A run on disk: what a branch hands over, and the only thing that metrics, figures and report are made of.

    record.json             everything about the run but its test metrics, the hashes of the other files and its own;
                            written last: its presence means complete
    predictions.npz         `test_probabilities` float32 (num_test, num_classes) and `test_labels` uint8 (num_test,),
                            both in the order of the test file; what else a run may hold there says `Run`
    weights                 model.safetensors (PyTorch) or model.keras (Keras); no report needs them
    checkpoint-…            while unfinished: see `checkpoint`
    log.txt                 what the run said

The record's fields are those that `start_record` and `finish_run` write; `REQUIRED` names what a reader insists on.
Losses are in nats an image, accuracies are fractions, times are seconds, sizes are bytes. `energy_joules`, of every
epoch and of them all, is null where the device does not report it.
"""

import dataclasses
import datetime
import hashlib
import io
import json
from pathlib import Path

import numpy as np

from compare import disk, machine
from compare.command import UserError
from compare.dataset import Dataset, fingerprint
from compare.disk import write_atomically

ROBUSTNESS, SEEN = ("robustness_rows", "robustness_predicted"), ("seen_test", "seen_training")  # of predictions.npz
HELD_OUT = ("validation_probabilities", "validation_labels")
FORMAT = 1  # of record.json and checkpoint metadata; raised when a field changes its meaning
RECORD, PREDICTIONS, LOG = "record.json", "predictions.npz", "log.txt"
WEIGHTS = ("model.safetensors", "model.keras")

REQUIRED = {
    "format": int,
    "branch": str,
    "command": str,
    "recipe": dict,
    "overrides": dict,
    "seed": int,
    "data": dict,
    "model": dict,
    "weights": dict,
    "history": list,
    "seconds": dict,
    "peak_memory_bytes": dict,
    "device": dict,
    "versions": dict,
    "commit": (str, type(None)),
    "started": str,
    "files": dict,
}
OPTIONAL = {"energy_joules": (float, int, type(None))}  # earlier versions did not write these
REQUIRED_BELOW = {
    "recipe": {"name": str, "known_mistakes": list},
    "data": {
        "name": str,
        "num_train": int,
        "num_validation": int,
        "num_test": int,
        "class_names": list,
        "fingerprint": str,
        "split_fingerprint": str,
        "test_labels_fingerprint": str,
    },
    "model": {"name": str, "num_parameters": int, "num_trainable_parameters": int, "flops_per_image": int},
    "weights": {"kind": str},
    "seconds": {"preparing": float, "training": float, "predicting": float},
    "device": {"kind": str, "name": str},
}
REQUIRED_IN_ROW = ("epoch", "seconds", "images_per_second", "learning_rate", "train_loss", "train_accuracy")
# What these hold if they are there: older runs are without them, robustness was not asked of every run.
REQUIRED_IF_THERE = {
    "robustness": {"strengths": dict, "num_images": int, "fingerprint": str},
    "seen": {"channels": str, "lowest": list, "highest": list},
}
MAX_PREDICTIONS_BYTES = 300_000_000
RESTORE = "take the file from a copy of the run, or train the run anew in another folder"
MAX_WEIGHTS_BYTES = 2_000_000_000
MAX_CLASSES, MAX_EPOCHS, MAX_NAME_LENGTH, MAX_TEXT_LENGTH = 100, 10_000, 200, 10_000
MAX_NUMBER = 1e100  # larger ones cannot be drawn


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _is_number(value) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


def _is_amount(value) -> bool:
    return _is_number(value) and value >= 0


def _is_positive(value) -> bool:
    return _is_number(value) and value > 0


def _are_amounts(value) -> bool:
    return isinstance(value, dict) and all(map(_is_amount, value.values()))


def _is_fraction(value) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_text(value) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH


def _is_name(value) -> bool:
    return _is_text(value) and 0 < len(value) <= MAX_NAME_LENGTH


def _are_names(value) -> bool:
    return isinstance(value, list) and 2 <= len(set(map(str, value))) == len(value) and all(map(_is_name, value))


def _are_texts(value) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_named_texts(value) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _or_none(test):
    return lambda value: value is None or test(value)


# What a field must be wherever it is: somebody else may have written the record, and the page is made of it.
KINDS = {
    **dict.fromkeys(("recipe", "overrides", "data", "model", "weights"), lambda value: type(value) is dict),
    **dict.fromkeys(("peak_memory_bytes", "device", "backbone", "under_way"), lambda value: type(value) is dict),
    **dict.fromkeys(("branch", "recipe.name", "data.name", "model.name", "weights.kind"), _is_name),
    **dict.fromkeys(("device.kind", "device.name"), _is_name),
    **dict.fromkeys(("command", "started", "recipe.unfreeze", "precision"), _is_text),
    **dict.fromkeys(("commit", "weights.sha256"), _or_none(_is_text)),
    **dict.fromkeys(("backbone.sha256_before", "backbone.sha256_after", "backbone.sha256_loaded"), _is_text),
    **dict.fromkeys(("seed", "recipe.num_epochs", "recipe.num_unfrozen_epochs", "data.num_train"), _is_count),
    **dict.fromkeys(("data.num_validation", "data.num_test"), _is_count),
    **dict.fromkeys(("model.num_parameters", "model.num_trainable_parameters"), _is_positive),
    "model.flops_per_image": _is_positive,
    **dict.fromkeys(("peak_memory_bytes.main", "peak_memory_bytes.device"), _or_none(_is_count)),
    "seconds": _are_amounts,
    "under_way.seconds": _is_amount,
    **dict.fromkeys(("energy_joules", "under_way.energy_joules"), _or_none(_is_amount)),
    **dict.fromkeys(("robustness", "robustness.strengths", "seen"), lambda value: type(value) is dict),
    **dict.fromkeys(("robustness.fingerprint", "seen.channels"), _is_text),
    "robustness.num_images": _is_count,
    "recipe.known_mistakes": _are_texts,
    "recipe.label_smoothing": _or_none(_is_fraction),
    "data.class_names": _are_names,
    "versions": _are_named_texts,
    "files": _are_named_texts,
    "history": lambda value: isinstance(value, list) and len(value) <= MAX_EPOCHS,
}
KINDS_IN_ROW = {
    "epoch": _is_count,
    **dict.fromkeys(("seconds", "images_per_second"), _is_positive),
    **dict.fromkeys(("learning_rate", "penalty", "energy_joules"), _or_none(_is_amount)),
    **dict.fromkeys(("train_loss", "validation_loss", "test_loss"), _is_number),
    **dict.fromkeys(("train_accuracy", "validation_accuracy", "test_accuracy"), _is_fraction),
    "phase": _is_name,
}
# What two runs must share to be compared, and what to call it.
MUST_MATCH = {
    "name": "data set",
    "fingerprint": "images or labels",
    "test_labels_fingerprint": "test labels",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        folder: where it was read from.
        record: the content of record.json.
        test_probabilities: float32, (num_test, num_classes), each row summing to 1.
        test_labels: uint8, (num_test,).
        robustness_rows: int64, (num_images,), the test images whose corrupted copies were predicted, as rows of the
            test file, ascending; None where none were. `record["robustness"]` says the kinds and strengths.
        robustness_predicted: uint8, (num_kinds, num_strengths, num_images), the classes predicted for the copies.
        seen_test, seen_training: uint8, (num_images, size, size), the first test images and the first training images
            as they entered the network, the latter as the first epoch drew them. Black and white are the lowest and
            highest that `record["seen"]` gives for every channel; the channels are alike, and one is here.
        validation_probabilities, validation_labels: of the images that were held out of the training set, as those of
            the test set, in the order of the training file; None where there are none, and in earlier versions' runs.
    """

    folder: Path
    record: dict
    test_probabilities: np.ndarray
    test_labels: np.ndarray
    robustness_rows: np.ndarray | None = None
    robustness_predicted: np.ndarray | None = None
    seen_test: np.ndarray | None = None
    seen_training: np.ndarray | None = None
    validation_probabilities: np.ndarray | None = None
    validation_labels: np.ndarray | None = None


# ---- writing


def start_record(
    *, branch: str, command: list[str], recipe, overrides: dict, seed: int, dataset: Dataset, split
) -> dict:
    """The record of a run that is about to begin: all that is known before training.

    Args:
        branch: the branch's package.
        command: the arguments after `python -m <branch>.train`.
        recipe: the recipe, a dataclass, with the overrides applied.
        overrides: the recipe's fields that the command line changed.
        seed: of every random draw.
        dataset: what is trained on.
        split: training and validation indices, as `dataset.split` gives them.
    """
    train, validation = split
    return {
        "format": FORMAT,
        "branch": branch,
        "command": " ".join(["python", "-m", f"{branch}.train", *command]),
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),  # tuples become lists, as they will when read
        "overrides": overrides,
        "seed": seed,
        "data": {
            "name": dataset.name,
            "num_train": len(train),
            "num_validation": len(validation),
            "num_test": len(dataset.test_labels),
            "class_names": list(dataset.class_names),
            "fingerprint": fingerprint(
                dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels
            ),
            "split_fingerprint": fingerprint(train, validation),
            "test_labels_fingerprint": fingerprint(dataset.test_labels),
        },
        "history": [],
        "seconds": {"preparing": 0.0, "training": 0.0, "predicting": 0.0},
        "commit": machine.commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def num_epochs_planned(record: dict) -> int | None:
    """How many rows the history of a complete run has: the recipe's epochs, and those of a fine-tuning after them."""
    recipe = record.get("recipe", {})
    if recipe.get("unfreeze", "none") == "none":
        return recipe.get("num_epochs")
    return recipe["num_epochs"] + recipe["num_unfrozen_epochs"]


def finish_run(folder: Path, record: dict, test_probabilities: np.ndarray, test_labels: np.ndarray, **more) -> None:
    """Write the predictions, and `more` of what `Run` names, and then the record, which makes the run complete."""
    buffer = io.BytesIO()
    arrays = {"test_probabilities": test_probabilities.astype(np.float32), "test_labels": test_labels, **more}
    np.savez_compressed(buffer, **arrays)
    write_atomically(folder / PREDICTIONS, buffer.getvalue())
    files = {name: _file_sha256(folder / name) for name in WEIGHTS if (folder / name).is_file()}
    record = record | {"files": {PREDICTIONS: hashlib.sha256(buffer.getvalue()).hexdigest()} | files}
    record |= {"sha256": disk.own_sha256(record)}
    write_atomically(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- reading


def read_run(folder: Path) -> Run:
    """Read a complete run and make sure that it is one.

    Raises:
        UserError: it is not there, not complete, of another format, or one of its files, which is named, was changed.
    """
    path = folder / RECORD
    if not path.exists():
        advice = "name the folder of a finished run"
        raise UserError(f"{folder} holds no {RECORD}", "the folder of a finished run", advice)
    try:
        record = disk.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a run's record as JSON", RESTORE) from error
    problem = _problem_with_record(record)
    if problem is not None:
        raise UserError(f"{path}: {problem}", f"a record of format {FORMAT}, as this version writes it", RESTORE)
    for name in record["files"].keys() & set(WEIGHTS):
        path = folder / name
        if path.is_file() and (path.stat().st_size > MAX_WEIGHTS_BYTES or _file_sha256(path) != record["files"][name]):
            raise UserError(f"{path} holds other bytes than the run wrote", "the run's weights, or none", RESTORE)
    path = folder / PREDICTIONS
    try:
        content = disk.read_within(path, MAX_PREDICTIONS_BYTES)
        if hashlib.sha256(content).hexdigest() != record["files"].get(PREDICTIONS):
            raise ValueError("it holds other bytes than the run wrote")
        disk.check_zip(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        probabilities, labels = arrays["test_probabilities"], arrays["test_labels"]
    except Exception as error:  # zipfile and NumPy raise many kinds on bytes that are not theirs
        raise UserError(f"{path} cannot be read ({error})", "the run's predictions", RESTORE) from error
    problem = _problem_with_predictions(record, arrays)
    problem = problem or _problem_with_robustness(record, arrays) or _problem_with_seen(record, arrays)
    if problem is not None:
        raise UserError(f"{path} {problem}", "the predictions that belong to the record beside it", RESTORE)
    return Run(folder, record, probabilities, labels, *(arrays.get(name) for name in ROBUSTNESS + SEEN + HELD_OUT))


def check_comparable(runs: list[Run]) -> None:
    """Refuse runs that did not see the same data. What of it they trained on may differ: a recipe that holds out a
    validation split stands beside one that does not, and the report says so.

    Raises:
        UserError: names the runs and what they do not share.
    """
    for run in runs[1:]:
        for field, words in MUST_MATCH.items():
            if run.record["data"][field] != runs[0].record["data"][field]:
                ours, theirs = runs[0].record["data"], run.record["data"]
                raise UserError(
                    f"{runs[0].folder} and {run.folder} differ in their {words}"
                    f" ({ours['name']} {ours[field][:12]} against {theirs['name']} {theirs[field][:12]})",
                    "runs on the same data and test labels: anything else compares nothing",
                    "repeat one of them with the other's data (--demo, --data-dir), or report each alone",
                )


def same_corruptions(first: Run, second: Run) -> bool:
    """Whether both runs predicted the same corrupted copies of the same test images."""
    records = [run.record.get("robustness") for run in (first, second)]
    return None not in records and all(records[0][name] == records[1][name] for name in REQUIRED_IF_THERE["robustness"])


def _problem_with_record(record) -> str | None:
    if not isinstance(record, dict):
        return "is not a JSON object"
    if record.get("format") != FORMAT:
        return f"format {record.get('format')!r}"
    if disk.is_changed(record):
        return "other content than the run wrote"
    for place, fields in {None: REQUIRED, **REQUIRED_BELOW}.items():
        values = record if place is None else record[place]
        for name, kind in fields.items():
            where = name if place is None else f"{place}.{name}"
            if name not in values:
                return f"{where} is missing"
            if not isinstance(values[name], kind):
                return f"{where} is {str(values[name])[:100]!r}"
    for name, kind in OPTIONAL.items():
        if not isinstance(record.get(name), kind):
            return f"{name} is {str(record[name])[:100]!r}"
    for place, fields in REQUIRED_IF_THERE.items():
        values = record.get(place, {})
        wrong = not isinstance(values, dict)
        if place in record and (wrong or any(not isinstance(values.get(name), kind) for name, kind in fields.items())):
            return f"{place} is {str(values)[:100]}"
    for row in record["history"]:
        missing = [name for name in REQUIRED_IN_ROW if not isinstance(row, dict) or name not in row]
        if missing:
            return f"a history row lacks {', '.join(missing)}"
    problem = problem_with_kinds(record)
    if problem is None and not record["seconds"]["training"]:
        problem = "seconds.training is 0"
    return problem


def problem_with_kinds(record: dict) -> str | None:
    """What of a record, complete or not, is not what its readers take it for."""
    for place, is_right in KINDS.items():
        above, _, name = place.rpartition(".")
        values = record.get(above, {}) if above else record
        if name in values and not is_right(values[name]):
            return f"{place} is {str(values[name])[:100]!r}"
    for row in record.get("history", []):
        if type(row) is not dict:
            return "a history row is not an object"
        for name, is_right in KINDS_IN_ROW.items():
            if name in row and not is_right(row[name]):
                return f"{name} of a history row is {str(row[name])[:100]!r}"
    recipe = record.get("recipe", {})
    if recipe.get("unfreeze", "none") != "none" and not {"num_epochs", "num_unfrozen_epochs"} <= recipe.keys():
        return "recipe.num_unfrozen_epochs is missing"
    if len(record.get("data", {}).get("class_names", ())) > MAX_CLASSES:
        return f"data.class_names are more than {MAX_CLASSES}"
    return None


def _problem_with_predictions(record: dict, arrays: dict[str, np.ndarray]) -> str | None:
    data = record["data"]
    num_classes = len(data["class_names"])
    if fingerprint(arrays["test_labels"]) != data["test_labels_fingerprint"]:
        return "holds other test labels than the record's"
    if len(arrays.keys() & set(HELD_OUT)) == 1:
        return f"holds one of {' and '.join(HELD_OUT)} without the other"
    for split in ("test", "validation") if HELD_OUT[0] in arrays else ("test",):
        probabilities, labels = arrays[f"{split}_probabilities"], arrays[f"{split}_labels"]
        shape = (data[f"num_{split}"], num_classes)
        if probabilities.shape != shape or probabilities.dtype != np.float32:
            return f"holds {probabilities.dtype} {probabilities.shape}, not float32 {shape}"
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
            return "holds rows that are not probabilities"
        if labels.shape != shape[:1] or labels.dtype != np.uint8 or not len(labels) or labels.max() >= num_classes:
            return f"holds {split} labels that are not {shape[0]} numbers below {num_classes}"
    return None


def _problem_with_robustness(record: dict, arrays: dict[str, np.ndarray]) -> str | None:
    if "robustness" not in record and not arrays.keys() & set(ROBUSTNESS):
        return None
    if "robustness" not in record or not arrays.keys() >= set(ROBUSTNESS):
        return "and the record do not agree on whether corrupted images were predicted"
    rows, predicted = (arrays[name] for name in ROBUSTNESS)
    strengths, num_images = list(record["robustness"]["strengths"].values()), record["robustness"]["num_images"]
    if not strengths or not all(
        isinstance(amounts, list) and len(amounts) == len(strengths[0]) for amounts in strengths
    ):
        return f"belongs to a record with uneven strengths of corruption {strengths}"
    if not all(isinstance(amount, (int, float)) for amounts in strengths for amount in amounts):
        return f"belongs to a record with strengths of corruption that are no numbers {strengths}"
    shape = (len(strengths), len(strengths[0]), num_images)
    for array, expected, dtype in ((rows, (num_images,), np.dtype(np.int64)), (predicted, shape, np.dtype(np.uint8))):
        if array.shape != expected or array.dtype != dtype:
            return f"holds {array.dtype} {array.shape} of corrupted images, not {dtype} {expected}"
    if not predicted.size or predicted.max() >= len(record["data"]["class_names"]):
        return "holds classes of corrupted images that there are not"
    if rows[0] < 0 or rows[-1] >= record["data"]["num_test"] or not (np.diff(rows) > 0).all():
        return "holds rows of corrupted images that are not ascending rows of the test file"
    return None


def _problem_with_seen(record: dict, arrays: dict[str, np.ndarray]) -> str | None:
    if "seen" not in record and not arrays.keys() & set(SEEN):
        return None
    if "seen" not in record or not arrays.keys() >= set(SEEN):
        return "and the record do not agree on whether images are there as they entered the network"
    test, training = (arrays[name] for name in SEEN)
    for array in (test, training):
        shape = (*array.shape[:1], *2 * test.shape[-1:])
        if array.ndim != 3 or array.dtype != np.uint8 or array.shape != shape or not array.size:
            return f"holds {array.dtype} {array.shape} of images as they entered the network, not uint8 {shape}"
    lowest, highest = record["seen"]["lowest"], record["seen"]["highest"]
    if len(lowest) != len(highest) or not all(isinstance(value, (int, float)) for value in (*lowest, *highest)):
        return f"belongs to a record whose ranges of the network's input are {lowest} to {highest}"
    return None
