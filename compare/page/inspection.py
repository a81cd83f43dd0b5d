"""What is in a folder of images, and what is wrong with it, as a page with the pictures of that."""

import collections
from pathlib import Path
from typing import Any

import numpy as np

from compare.data.reading import Reading
from compare.findings.folder import EMPTY, NEAR, PARTS, TINY, Folder, across_first, is_across
from compare.page import figures, gallery
from compare.page.document import render, script
from compare.page.language import joined, known, say
from compare.page.words import UNREADABLE, folder_name, without_folders
from compare.system import disk
from compare.system.errors import UserError, in_a_line

PAGE = "index.html"
NUM_SETS = 24  # sets of images that a section shows
NUM_IN_SET = 4  # images of one
NUM_FILES = 200  # files that cannot be read, by name
NUM_COLUMNS = 20  # of tiles
PART_WORDS = {
    "train": known("train", of="split"),
    "val": known("validation", of="split"),
    "test": known("test", of="split"),
}
LAYOUTS = {
    "parts": say("train, test, … with a folder for each class"),
    "classes": say("a folder for each class"),
    "table": say("a table"),
}


def write_page(folder: Path, reading: Reading, found: Folder, refused: list[UserError]) -> Path:
    """Write the page into `folder`, which is there; its path.

    Raises:
        UserError: it cannot be written.
    """
    page = folder / PAGE
    disk.write_atomically(page, render("inspection.html.j2", **content(reading, found, refused)))
    return page


def content(reading: Reading, found: Folder, refused: list[UserError]) -> dict[str, Any]:
    """Everything that the template prints.

    Args:
        reading: the folder as it was read.
        found: what was found in it.
        refused: why no training would begin on it.
    """
    sections = [
        (title, why, [rows[:NUM_IN_SET] for rows in sets[:NUM_SETS]], len(sets))
        for title, why, sets in sets_of(reading, found)
    ]
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows for *_, sets, _ in sections for rows in sets)]))
    tile_height, tile_width = gallery.tiles(reading.images[:1]).shape[1:3]
    places = {int(row): divmod(place, NUM_COLUMNS) for place, row in enumerate(rows)}
    sprite = (
        gallery.sprite(reading.images, rows, num_columns=NUM_COLUMNS, quality=gallery.CLEARER) if len(rows) else b""
    )
    return {
        "styles": figures.STYLES,
        "scripts": [script("language")],
        "title": say("What is in {name}", name=folder_name(reading.folder)),
        "subtitle": say(
            "{number:,} images of {num_classes:,} classes", number=len(reading.found), num_classes=len(found.counts)
        ),
        "refused": [without_folders(str(error)) for error in refused],
        "facts": facts(reading, found),
        "parts": [PART_WORDS[part] for part in PARTS],
        "classes": [
            (known(name), *map(int, counts), int(counts.sum()))
            for name, counts in zip(reading.layout.class_names, found.counts, strict=True)
        ],
        "sections": [
            {
                "title": title,
                "why": why,
                "num_sets": num_sets,
                "sets": [[tile(reading, int(row), places[int(row)]) for row in rows] for rows in sets],
            }
            for title, why, sets, num_sets in sections
        ],
        "unreadable": [
            (in_a_line(file.name), UNREADABLE[problem.kind], in_a_line(str(problem)))
            for file, problem in reading.unreadable[:NUM_FILES]
        ],
        "num_unreadable": len(reading.unreadable),
        "sprite": gallery.webp(sprite),
        "tile": (tile_width, tile_height),
        "num_columns": NUM_COLUMNS,
    }


def sets_of(reading: Reading, found: Folder) -> list[tuple[str, str, list[np.ndarray]]]:
    """The sections of the page that show images: a title, what that means, and sets of rows that belong together. One
    without any is not there."""
    on_two_sides = [rows for rows in found.copies if is_across(rows, reading.parts == "test")]
    of_two_classes = [rows for rows in found.copies if is_across(rows, reading.labels)]
    others = [
        rows
        for rows in found.copies
        if not is_across(rows, reading.parts == "test") and not is_across(rows, reading.labels)
    ]
    sections = [
        (
            say("Copies on two sides of the split"),
            say("The same pixels are trained on and tested with: the test says what was learned by heart."),
            [across_first(rows, reading.parts == "test") for rows in on_two_sides],
        ),
        (
            say("Copies in two classes"),
            say("The same pixels with two labels: one of them is wrong, or an image shows two things."),
            [across_first(rows, reading.labels) for rows in of_two_classes],
        ),
        (
            say("Nearly the same on two sides of the split"),
            say(
                "At most {number} of the 64 bits of their perceptual hashes differ: the same image made smaller, "
                "brighter, in another colour or compressed anew, or the next frame of a film. Look, before you trust "
                "the test.",
                number=NEAR,
            ),
            [np.array(pair[:2]) for pair in found.near],
        ),
        (
            say("Copies within a class"),
            say("The same pixels several times on one side: they count several times."),
            others,
        ),
        (
            say("Tiny images"),
            say("The shorter side has less than {number} pixels.", number=TINY),
            [np.array([row]) for row in found.tiny],
        ),
        (
            say("Nearly empty images"),
            say("The grey levels have a standard deviation below {number:g} of 255.", number=EMPTY),
            [np.array([row]) for row in found.empty],
        ),
        (
            say("Of several frames"),
            say("The first frame is taken, and the others are not."),
            [np.array([row]) for row in found.animated],
        ),
    ]
    return [section for section in sections if section[2]]


def tile(reading: Reading, row: int, place: tuple[int, int]) -> dict[str, Any]:
    """One image: where its tile lies, its name, its class and its side."""
    one = reading.found[row]
    name, label = in_a_line(one.file.name), known(reading.layout.class_names[one.file.label])
    return {
        "name": name,
        "line": place[0],
        "column": place[1],
        "words": joined([label, PART_WORDS[str(reading.parts[row])], f"{one.head.width}×{one.head.height}"]),
    }


def facts(reading: Reading, found: Folder) -> list[tuple[str, str]]:
    """What the table at the top says: names and values."""
    least, median, largest = found.sizes.tolist()
    in_parts = found.counts.sum(axis=0)
    drawn = say("as the folder has them") if reading.has_own_test else say("a fifth is held out to test with")
    kinds = collections.Counter(problem.kind for _, problem in reading.unreadable)
    names = [known(reading.layout.class_names[label]) for label in found.without_test[:NUM_SETS]]
    rows: list[tuple[str, str]] = [
        (say("Layout"), LAYOUTS[reading.layout.kind]),
        (
            say("Images"),
            say(
                "{train:,} to train on, {val:,} to validate with, {test:,} to test with: {drawn}",
                train=in_parts[0],
                val=in_parts[1],
                test=in_parts[2],
                drawn=drawn,
            ),
        ),
        (
            say("Pixels"),
            say(
                "{widths} wide, {heights} high; in the middle {median}",
                widths=f"{least[0]:,}–{largest[0]:,}",
                heights=f"{least[1]:,}–{largest[1]:,}",
                median="×".join(map(str, median)),
            ),
        ),
        (say("Formats"), counted(found.formats)),
        (say("Modes"), counted(found.modes)),
        (
            say("Cannot be read"),
            joined(say("{name} {value}", name=UNREADABLE[kind], value=f"{number:,}") for kind, number in kinds.items())
            if kinds
            else say("none"),
        ),
        (say("Other files, passed over"), counted(dict(list(reading.beside.items())[:NUM_SETS])) or say("none")),
        (
            say("Copies, pixel by pixel"),
            say(
                "{number:,} sets of the same image: {sides:,} on two sides of the split, {classes:,} in two classes",
                number=len(found.copies),
                sides=sum(is_across(rows, reading.parts == "test") for rows in found.copies),
                classes=sum(is_across(rows, reading.labels) for rows in found.copies),
            ),
        ),
        (say("Nearly the same on two sides"), say("{number:,} images", number=len(found.near))),
        (say("Classes without test images"), joined(names) if names else say("none")),
        (
            say("Imbalance"),
            say("the largest class has {number:.1f} times the images of the smallest", number=found.imbalance),
        ),
        (say("Tiny images"), say("{number:,} images", number=len(found.tiny))),
        (say("Nearly empty images"), say("{number:,} images", number=len(found.empty))),
        (say("Of several frames"), say("{number:,} images", number=len(found.animated))),
    ]
    if found.groups is not None:
        most = max(map(len, found.groups.values()))
        words = say("{number:,}, of up to {most:,} images", number=len(found.groups), most=most)
        rows.append((say("Groups"), words))
    return rows


def counted(numbers: dict[str, int]) -> str:
    """How many there are of each kind, in words."""
    return joined(say("{name} {value}", name=name, value=f"{number:,}") for name, number in numbers.items())
