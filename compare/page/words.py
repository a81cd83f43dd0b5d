"""How the report calls things: branches, data sets, weights, and numbers with their units."""

import itertools
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.page.catalogues import LANGUAGES
from compare.page.language import Text, changed, joined, known, say
from compare.runs.checkpoint import UnfinishedRun
from compare.runs.schema import Data, Input, Record
from compare.system import display
from compare.system.errors import printable

START_WORDS = {"random": say("random weights"), "file": say("weights from a file")}
WEIGHT_WORDS = {
    "none": say("random start, everything trained"),
    "random": say("random backbone, not pretrained"),
    "imagenet": "ImageNet",
    "file": say("from a file"),
}
KINDS = {
    "shift": say("Shift"),
    "rotation": say("Rotation"),
    "scale": say("Scale"),
    "noise": say("Noise"),
    "contrast": say("Contrast"),
    "blur": say("Blur"),
}
UNREADABLE = {  # why a file cannot be read as an image
    "empty": say("empty"),
    "no image": say("no image"),
    "too large": say("too large"),
    "damaged": say("damaged"),
    "no file": say("no file"),
    "outside": say("links out of the folder"),
    "no range": say("numbers without a range"),
}
UNITS = {"shift": "px", "blur": "px", "rotation": "°"}  # of a corruption's amount; the others are fractions
CHANNELS = {"B": say("blue"), "G": say("green"), "R": say("red")}
LOGISTIC_REGRESSION = say("Logistic regression on the pixels")
MAJORITY = say("Always the most frequent class")
NOTHING = "–"
NAMED, NOT_NAMED = 3, 2  # classes that a sentence names, and that it excepts


def folder_name(folder: Path) -> str:
    """The folder's own name, `printable`, also where it was given as `.`."""
    return printable(Path(os.path.abspath(folder)).name)


def run_name(folder: Path) -> str:
    """What tells a run from others of its branch: its folder's name, or the comparison's that it lies in."""
    folder = Path(os.path.abspath(folder))
    return folder_name(folder.parent.parent if folder.parent.name == "runs" else folder)


def network_in_words(record: Record) -> str:
    """What a run's network is called, with how it was trained, and the weights that it began with where these are no
    pretrained ones of its own."""
    model, kind = record.model, record.weights.kind
    if model is None:
        return known(record.branch)
    if model.title is not None:
        return known(model.title)
    if record.is_from_scratch:
        return say("{network} · from scratch", network=model.name)
    words: str = say("{network} · fine-tuned", network=model.name)
    if model.trained == "head":
        words = say("{network} · frozen", network=model.name)
    elif model.trained is None:
        words = model.name
    # ImageNet's weights are the usual ones: the table of the runs has them
    return say("{network} ({weights})", network=words, weights=START_WORDS[kind]) if kind in START_WORDS else words


def labels_in_words(labels: float) -> str:
    """A number of labels a class, to the nearest whole one where it is a mean."""
    return f"{labels:,.0f}"


def shortened(name: str, width: int = 24) -> str:
    """A name cut to so many letters, of which a wide one, as of Chinese, counts twice."""

    def cut(text: str) -> str:
        widths = itertools.accumulate(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
        kept = sum(reached <= width for reached in widths)
        return text if kept == len(text) else text[: kept - 1].rstrip() + "…"

    return changed(name, cut)


def class_in_words(name: str) -> str:
    """A class's name as it stands in a sentence: in quotation marks where it has no letter, as a number has none."""
    return known(name) if any(letter.isalpha() for letter in name) else f"“{name}”"


def classes_in_words(leads: list[tuple[str, float]], others: list[str]) -> str:
    """Classes with the points that a run leads by there, the largest first, given all other classes: those that matter
    most by their names."""
    with_points = [
        say("{name} (+{points})", name=name, points=fraction(points, 0 if points >= 10 else 1))
        for name, points in leads
    ]
    if len(leads) <= NAMED:
        return joined(with_points)
    if not others:
        return say("every class, most on {name}", name=with_points[0])
    if len(others) <= NOT_NAMED:
        return say("every class but {others}, most on {name}", others=joined(others, " and "), name=with_points[0])
    return say(
        "{number} of {all} classes, most on {names}",
        number=len(leads),
        all=len(leads) + len(others),
        names=joined(with_points[:NAMED]),
    )


def unfinished_label(run: UnfinishedRun) -> str:
    """What a run is called that may have told nothing of itself: then by its folder, which compare.run names so."""
    return folder_name(run.folder) if run.record is None else network_in_words(run.record)


def without_folders(text: str) -> str:
    """The text with every absolute path cut down to its last part: the page may be sent to others."""
    return re.sub(r"""(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^/\\\s"':]+[/\\])+""", "…/", text)


def setting_in_words(name: str) -> str:
    """What a recipe's field is called: `label_smoothing` label smoothing; what no catalogue knows, such as a field of
    somebody's own branch, as it is."""
    words = known(name, of="setting")
    if not isinstance(words, Text):
        return name
    return Text(name.replace("num_", "number of ").replace("_", " "), words.translations)


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Fields of a recipe with their values, as a list."""
    return joined(
        say("{setting} {value}", setting=setting_in_words(name), value=in_words(value, of=name))
        for name, value in settings.items()
    )


def in_words(value: Any, of: str = "") -> str:
    """A value in words, of a recipe's field where that is named."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, list):
        return joined(in_words(part, of) for part in value)
    return known(str(value), of)


def duration(seconds: float | None) -> str:
    """Seconds in words: `8 s`, `4 min 10 s`, `2 h 5 min`; a dash for None."""
    if seconds is None:
        return NOTHING
    english = display.duration(seconds)
    translations = {
        code: " ".join(catalogue.UNITS_OF_TIME.get(word, word) for word in english.split())
        for code, catalogue in LANGUAGES.items()
    }
    return Text(english, translations)


def with_three_digits(number: float) -> str:
    """A number with three digits or, where it has more, as a whole one."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def with_prefix(number: float | None) -> str:
    """A large number with M (million) or G (thousand million): `665 M`; a dash for None."""
    if number is None:
        return NOTHING
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.0f} M"


def fraction(number: float | None, digits: int) -> str:
    """A number with that many decimals, or a dash for one that is not defined or not known."""
    return NOTHING if number is None or math.isnan(number) else f"{number:.{digits}f}"


def data_in_words(data: Data) -> str:
    """What a record's data set is called, also where that is not known."""
    return say("these images") if data.title == NOTHING else known(data.title)


def device_in_words(record: Record) -> str:
    """What computed, with its kind, or a dash."""
    return NOTHING if record.device is None else f"{record.device.kind}: {record.device.name}"


def or_nothing(value: float | None, form: str) -> str:
    """A number in that format, or a dash for None."""
    return NOTHING if value is None else format(value, form)


def kilojoules(joules: float | None) -> str:
    """An energy in kJ, or a dash for None."""
    return NOTHING if joules is None else f"{joules / 1e3:,.1f} kJ"


def gigabytes(num_bytes: int | None) -> str:
    """A number of bytes in GB, or a dash for None."""
    return NOTHING if num_bytes is None else f"{num_bytes / 1e9:.2f} GB"


def amount_in_words(kind: str, amount: float, data: Data) -> str:
    """How much of a kind of corruption (`compare.data.corruptions`) of these data's images."""
    if kind in KINDS and kind not in UNITS:
        return f"{100 * amount:.0f} %"
    if UNITS.get(kind) == "px":
        side = 28 if data.image_shape is None else min(data.image_shape[:2])
        if side != 28:  # `compare.data.corruptions.corrupt` takes the amounts for a side of 28, and scales them so
            return say("{number:.3g} px of {side}", number=amount * side / 28, side=side)
        return say("{number:g} px", number=amount)
    return f"{amount:g}{UNITS.get(kind, '')}"


def kind_in_words(kind: str, amounts: list[float], data: Data) -> str:
    """A kind of corruption and how far its amounts reach."""
    first, last = (amount_in_words(kind, amount, data) for amount in (amounts[0], amounts[-1]))
    return say("{kind}: {first} to {last}", kind=KINDS.get(kind, kind), first=first, last=last)


def range_in_words(seen: Input | None) -> str:
    """What entered the network, as a record's `seen` has it: channels, and their lowest and highest; or a dash."""
    if seen is None:
        return NOTHING
    ranges = [
        say("{low:.4g} to {high:.4g}", low=low, high=high) for low, high in zip(seen.lowest, seen.highest, strict=True)
    ]
    if len(ranges) == 1:
        return say("one channel, {range}", range=ranges[0])
    if len(set(ranges)) == 1:
        return say("{number} equal channels, {range}", number=len(ranges), range=ranges[0])
    names = [CHANNELS.get(letter, letter) for letter in seen.channels]
    return joined(say("{name} {value}", name=name, value=of) for name, of in zip(names, ranges, strict=False))
