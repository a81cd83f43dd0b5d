"""What a run must hold to be believed: somebody else may have written it, and the page is made of it."""

import numpy as np

from compare.data.dataset import fingerprint
from compare.system import disk
from compare.system.command import MAX_EPOCHS, MAX_NUMBER

ROBUSTNESS, SEEN = ("robustness_rows", "robustness_predicted"), ("seen_test", "seen_training")  # of predictions.npz
HELD_OUT = ("validation_probabilities", "validation_labels")
FORMAT = 1  # of record.json and checkpoint metadata; raised when a field changes its meaning
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
MAX_CLASSES, MAX_NAME_LENGTH, MAX_TEXT_LENGTH = 100, 200, 10_000
MAX_DEPTH = 20  # less than other JSON may have: report.json has records in it


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
    **dict.fromkeys(("command", "started", "source", "recipe.unfreeze", "precision"), _is_text),
    **dict.fromkeys(("commit", "weights.sha256"), _or_none(_is_text)),
    **dict.fromkeys(("backbone.sha256_before", "backbone.sha256_after", "backbone.sha256_loaded"), _is_text),
    **dict.fromkeys(("seed", "recipe.num_epochs", "recipe.num_unfrozen_epochs", "data.num_train"), _is_count),
    **dict.fromkeys(("data.num_validation", "data.num_test", "num_threads"), _is_count),
    **dict.fromkeys(("model.num_parameters", "model.num_trainable_parameters"), _is_positive),
    "model.flops_per_image": _is_positive,
    **dict.fromkeys(("peak_memory_bytes.main", "peak_memory_bytes.device"), _or_none(_is_count)),
    "seconds": _are_amounts,
    "under_way.seconds": _is_amount,
    **dict.fromkeys(("energy_joules", "under_way.energy_joules"), _or_none(_is_amount)),
    **dict.fromkeys(("processor_seconds", "under_way.processor_seconds"), _is_amount),
    **dict.fromkeys(("robustness", "robustness.strengths", "seen"), lambda value: type(value) is dict),
    **dict.fromkeys(("robustness.fingerprint", "seen.channels"), _is_text),
    "robustness.num_images": _is_count,
    "recipe.known_mistakes": _are_texts,
    "recipe.label_smoothing": _or_none(_is_fraction),
    "data.class_names": _are_names,
    **dict.fromkeys(("versions", "environment"), _are_named_texts),
    "files": _are_named_texts,
    "history": lambda value: isinstance(value, list) and len(value) <= MAX_EPOCHS,
}
KINDS_IN_ROW = {
    "epoch": _is_count,
    **dict.fromkeys(("seconds", "images_per_second"), _is_positive),
    **dict.fromkeys(("learning_rate", "penalty", "energy_joules"), _or_none(_is_amount)),
    "processor_seconds": _is_amount,
    **dict.fromkeys(("train_loss", "validation_loss", "test_loss"), _is_number),
    **dict.fromkeys(("train_accuracy", "validation_accuracy", "test_accuracy"), _is_fraction),
    "phase": _is_name,
}


def num_epochs_planned(record: dict) -> int | None:
    """How many rows the history of a complete run has: the recipe's epochs, and those of a fine-tuning after them."""
    recipe = record.get("recipe", {})
    if recipe.get("unfreeze", "none") == "none":
        return recipe.get("num_epochs")
    return recipe["num_epochs"] + recipe["num_unfrozen_epochs"]


def is_newer(record) -> bool:
    """Whether a record says that it is of a later format than this version knows."""
    return isinstance(record, dict) and type(record.get("format")) is int and record["format"] > FORMAT


def problem_with_record(record) -> str | None:
    """What is missing in a complete run's record, or not what its readers take it for; None where all is well."""
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
    num_epochs = len(record["history"])
    if problem is None and (not num_epochs or num_epochs != (num_epochs_planned(record) or num_epochs)):
        problem = f"the history has {num_epochs} epochs, and its recipe {num_epochs_planned(record)}"
    return problem


def problem_with_kinds(record: dict) -> str | None:
    """What of a record, complete or not, is not what its readers take it for."""
    if disk.depth(record) > MAX_DEPTH:
        return "it is nested too deeply"
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
    if (num_epochs_planned(record) or 0) > MAX_EPOCHS:
        return f"its {num_epochs_planned(record):,} epochs are more than {MAX_EPOCHS:,}"
    epochs = [row.get("epoch") for row in record.get("history", [])]
    if epochs != list(range(1, len(epochs) + 1)):
        return f"the history has epochs {str(epochs)[:100]}, not 1, 2, … in order"
    if len(record.get("data", {}).get("class_names", ())) > MAX_CLASSES:
        return f"data.class_names are more than {MAX_CLASSES}"
    return None


def problem_with_predictions(record: dict, arrays: dict[str, np.ndarray]) -> str | None:
    """What of the arrays in predictions.npz does not belong to the record beside it; None where all does."""
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
    return _problem_with_robustness(record, arrays) or _problem_with_seen(record, arrays)


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
