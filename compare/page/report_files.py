"""The runs' numbers for programs: `report.json`, all of them, and `metrics.csv`, a row for every run.

Accuracies are fractions, differences percentage points, losses nats an image, times seconds. What is not defined, as
the precision of a class that was never predicted, is null or empty.
"""

import csv
import dataclasses
import io
import json
import math
from typing import Any

import numpy as np

from compare.findings.findings import Findings
from compare.page import labels, verdict
from compare.page.language import for_report
from compare.page.shown import Shown
from compare.page.words import device_in_words, folder_name, without_folders
from compare.runs.schema import Data
from compare.system import disk
from compare.system.errors import printable

FORMAT = 1  # of report.json; a field that changes its meaning raises it
DIGITS = 7  # significant, of a fraction: of a million test images the last would change


def as_json(
    found: Findings, shown: list[Shown], *, title: str, claim: str, sentences: list[str], cautions: list[str]
) -> bytes:
    """`report.json`.

    Args:
        found: what was found of the complete runs.
        shown: each of these, as the page shows it.
        title: the page's.
        claim: the answer in a sentence.
        sentences: what else the verdict says.
        cautions: what could change the answer, sentences.
    """
    content = {
        "format": FORMAT,
        "title": title,
        **for_report("claim", claim),
        **for_report("sentences", sentences),
        **for_report("no_winner_because", verdict.no_winner_because(found, shown)),
        "runs": [
            of_run(one)
            | for_report("run", one.label)
            | {
                "recipe": one.record.recipe.as_json(),
                "overrides": one.record.overrides,
                "command": without_folders(one.record.command or ""),
                **({} if one.record.recipe_file is None else {"recipe_file": one.record.recipe_file.model_dump()}),
                "versions": one.record.versions,
                "data": one.record.data.model_dump(exclude=_not_told(one.record.data)),
                "history": [row.model_dump(exclude_none=True) for row in one.record.history],
                "test": dataclasses.asdict(one.result),
                "calibration": dataclasses.asdict(one.calibration),
                "robustness": one.robustness
                and one.record.robustness
                and one.record.robustness.model_dump() | dataclasses.asdict(one.robustness),
                "seen": one.record.seen and one.record.seen.model_dump(),
            }
            for one in shown
        ],
        "pairs": [
            {"first": shown[pair.first].label, "second": shown[pair.second].label}
            | dataclasses.asdict(pair.paired)
            | {f"balanced_{name}": value for name, value in dataclasses.asdict(pair.balanced).items()}
            for pair in found.pairs
        ],
        "compared": found.compared,
        "label_curve": labels.as_json(found),
        "suspects": [dataclasses.asdict(one) for one in found.headline.suspects] if found.headline else [],
        "cautions": cautions,
    }
    content = _plain(content)
    content["sha256"] = disk.own_sha256(content)
    return (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _not_told(data: Data) -> set[str]:
    """The fields that only folders of images have, and this data has not."""
    return {name for name in ("unreadable", "num_leaks", "group_by") if getattr(data, name) is None}


def as_csv(shown: list[Shown]) -> bytes:
    """`metrics.csv`."""
    rows = [{name: _no_formula(value) for name, value in _plain(of_run(one)).items()} for one in shown]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def of_run(one: Shown) -> dict[str, Any]:
    """A run in one row of single values."""
    record, result = one.record, one.result
    return {
        "run": one.label,
        "folder": folder_name(one.run.folder),
        "branch": record.branch,
        "recipe_name": record.recipe.name,
        "weights": record.weights.kind,
        "data_name": record.data.name,
        "seed": record.seed,
        "labels_per_class": record.data.labels_per_class,
        "subset_seed": record.data.subset_seed,
        "num_epochs": len(record.history),
        "test_accuracy": result.accuracy,
        "test_accuracy_low": result.accuracy_low,
        "test_accuracy_high": result.accuracy_high,
        "test_balanced_accuracy": result.balanced_accuracy,
        "test_balanced_accuracy_low": result.balanced_accuracy_low,
        "test_balanced_accuracy_high": result.balanced_accuracy_high,
        "test_macro_f1": result.macro_f1,
        "test_macro_f1_low": result.macro_f1_low,
        "test_macro_f1_high": result.macro_f1_high,
        "majority_accuracy": one.majority and one.majority.accuracy,
        "logistic_regression_accuracy": one.baseline and one.baseline.accuracy,
        "logistic_regression_num_images": one.baseline and one.baseline.num_images,
        "test_log_loss": result.log_loss,
        "test_brier_score": one.calibration.brier,
        "test_calibration_error": one.calibration.error,
        "corrupted_accuracy": one.robustness and one.robustness.mean,
        "corrupted_accuracy_retained": one.robustness and one.robustness.retained,
        "temperature": one.scaled and one.scaled.temperature,
        "test_log_loss_scaled": one.scaled and one.scaled.log_loss,
        "test_brier_score_scaled": one.scaled and one.scaled.brier,
        "test_calibration_error_scaled": one.scaled and one.scaled.error,
        "seconds_preparing": record.seconds.preparing,
        "seconds_training": record.seconds.training,
        "seconds_extracting": record.seconds.extracting,
        "seconds_predicting": record.seconds.predicting,
        "images_per_second": one.images_per_second,
        "num_parameters": one.model.num_parameters,
        "num_trainable_parameters": one.model.num_trainable_parameters,
        "flops_per_image": one.model.flops_per_image,
        "peak_main_memory_bytes": record.peak_memory_bytes.main,
        "peak_device_memory_bytes": record.peak_memory_bytes.device,
        "energy_joules": record.energy_joules,
        "processor_seconds": record.processor_seconds,
        "num_processes": record.num_processes,
        "num_threads": record.num_threads,
        "device": device_in_words(record),
        "commit": record.commit,
        "started": record.started,
    }


def _plain(value: Any) -> Any:
    """The value with arrays as lists, numbers to `DIGITS`, what is not one as None, and texts as `printable`."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return printable(value) if isinstance(value, str) else value


def _no_formula(value: Any) -> Any:
    """A cell that a spreadsheet will not compute, whoever wrote the record: a text that begins like a formula gets an
    apostrophe before it (https://owasp.org/www-community/attacks/CSV_Injection). Numbers stay what they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
