"""`reports/index.html`: all reports in a folder, newest first, made from their `report.json` alone."""

import os
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from compare.findings.metrics import are_unequal
from compare.page import figures, report_files
from compare.page.document import render, script
from compare.page.language import ENGLISH, Text, known, report_keys, say
from compare.page.words import duration, folder_name, without_folders
from compare.system import disk

PAGE = "index.html"
NUMBERS = "report.json"
PICTURES = ("label-curve", "accuracy-and-time", "accuracy")  # the first that is there stands for a report
GENERATOR = (
    '<meta name="generator" content="scratch-or-pretrained, list of reports">'  # by which a list of ours is known
)


def write_listing(folder: Path) -> Path:
    """List the reports that lie in `folder`; what is no report, or one that cannot be read, is named at the end. A page
    there that is no list of ours is left alone.

    Raises:
        UserError: the page cannot be written.
    """
    page = folder / PAGE
    if os.path.lexists(page) and not disk.is_marked(page, GENERATOR):
        return page
    entries, skipped = [], []
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        try:
            entries.append(entry(child, disk.read_json(child / NUMBERS)))
        except FileNotFoundError:
            skipped.append((folder_name(child), say("no {name} in it", name=NUMBERS)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            problem = without_folders(f"{type(error).__name__}: {error}")
            skipped.append(
                (folder_name(child), say("{name} cannot be read ({problem})", name=NUMBERS, problem=problem))
            )
    entries.sort(key=lambda one: one["when"], reverse=True)
    content = {"styles": figures.STYLES, "generator": GENERATOR, "scripts": [script("language"), script("tables")]}
    html = render("listing.html.j2", entries=entries, skipped=skipped, **content)
    disk.write_atomically(page, html)
    return page


def entry(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """What the list says about one report.

    Args:
        folder: the report's.
        content: its `report.json`.
    """
    if disk.is_changed(content):
        raise ValueError("it holds other content than the report wrote")
    if content["format"] != report_files.FORMAT:
        raise ValueError(f"format {content['format']}, and this program reads {report_files.FORMAT}")
    runs = content["runs"]
    compared = [runs[place] for place in content.get("compared", range(len(runs)))]
    best = max(compared, key=lambda run: run["test_accuracy"], default=None)
    facts: dict[str, str] = {}
    if best is not None:
        facts[say("Data")] = known(best["data"].get("title", best["data"]["name"]))
        facts[say("Runs")] = str(len(runs))
        facts[say("Test accuracy")] = say(
            "{run} {accuracy:.4f}", run=_text(best, "run"), accuracy=best["test_accuracy"]
        )
        if "test_balanced_accuracy" in best and are_unequal(np.array(best["test"]["support"])):
            facts[say("Balanced accuracy")] = f"{best['test_balanced_accuracy']:.4f}"
        facts[say("Training time")] = duration(sum(run["seconds_training"] for run in runs))
    files = (f"{name}.{ending}" for name in PICTURES for ending in ("svg", "png"))
    return {
        "name": folder_name(folder),
        "link": urllib.parse.quote(folder.name, errors="surrogateescape"),
        "when": max((str(run["started"]) for run in runs), default=""),
        "claim": _text(content, "claim" if "claim" in content else "sentences"),
        "picture": next((name for name in files if (folder / name).is_file()), None),
        "facts": facts,
    }


def _text(content: dict[str, Any], key: str) -> Text:
    """A text of a report, the first where it has a list, in each language; a language that the program which wrote it
    did not know is English there."""
    texts = {code: content.get(name, content[key]) for code, name in report_keys(key).items()}
    texts = {code: text[0] if isinstance(text, list) else text for code, text in texts.items()}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError(f"{texts} is no text in each language")
    return Text(texts.pop(ENGLISH), texts)
