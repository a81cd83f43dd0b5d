"""What the report's page says: sentences, tables and pictures, made from runs as plain data for the template.

Warnings are in `banners`, tables of text in `tables`, names and numbers in `words`.
"""

import base64
import functools
import hashlib
import os
import re
import shlex
from pathlib import Path

import jinja2
import numpy as np

from compare.findings import metrics
from compare.findings.findings import Findings
from compare.findings.metrics import Balanced, Paired
from compare.page import (
    answer,
    audit,
    banners,
    calibration,
    cautions,
    curves,
    figures,
    gallery,
    labels,
    language,
    line_ends,
    pictures,
    tables,
    verdict,
)
from compare.page.language import joined, known, say
from compare.page.shown import Shown, by_seeds, label_of, named, of_compared, with_matrix
from compare.page.words import (
    KINDS,
    amount_in_words,
    data_in_words,
    duration,
    folder_name,
    fraction,
    or_nothing,
    range_in_words,
    shortened,
)
from compare.runs import features
from compare.runs.checkpoint import UnfinishedRun

TEMPLATES = Path(__file__).parent / "templates"
NUM_IN_GROUP = 24  # images that a gallery shows
# what the page's script says of images, with places for its own values
GALLERY_TEXTS = {
    "right": say("{{label}}, predicted right"),
    "wrong": say("{{label}} taken for {{predicted}}"),
    "cell": say("{{cell}}: {{number}} images"),
    "image": say("Test image {{number}}, {{label}}"),
    "number": say("no. {{number}}"),
    "shown": say("{{shown}} of {{found}} shown"),
    "kept": say("{{shown}} of {{found}} shown; {{found}} of the cell's {{total}} are on this page"),
}

# the same of where networks looked, where a run keeps that
WHERE_TEXTS = {
    "show": say("Show where {{run}} looked"),
    "hide": say("Show the images alone"),
    "looked": say("Over the images: where {{run}} looked."),
}


def content(
    found: Findings,
    shown: list[Shown],
    unfinished: list[UnfinishedRun],
    drawn: dict,
    images: gallery.Gallery | None,
) -> dict:
    """Everything that the template prints but the title.

    Args:
        found: what was found of the complete runs.
        shown: each of these, as the page shows it.
        unfinished: the others.
        drawn: what `pictures.draw`, `labels.drawn` and `answer.drawn` made of the complete runs.
        images: test images; None where they are not at hand.
    """
    of_all = {
        "claim": answer.claim(found, shown),
        "answer": next(iter(drawn["labels"] or drawn["answer"]), None),
        "sentences": verdict.sentences(found, shown),
        "cautions": cautions.of(found, shown),
        "labels": labels.section(found, shown),
        "rebuild": rebuild_command([*(one.run.folder for one in shown), *(run.folder for run in unfinished)]),
    }
    to_warn_of = labels.to_warn_of(found, shown) if found.label_curve else None
    found, shown = of_compared(found, shown)
    groups_of_seeds = [(label_of(group), group) for group in by_seeds(shown)]
    warnings = banners.of(to_warn_of or [(label, group[0].record) for label, group in groups_of_seeds], unfinished)
    questions = audit.of(shown, images)
    looked = where(shown) if images else None
    return of_all | {
        "styles": figures.STYLES,
        "numbers": answer.numbers(found, shown),
        "subject": answer.subject(found, shown),
        "doubts": answer.doubts(shown, questions, warnings),
        "banners": warnings,
        "subtitle": subtitle(shown, of_all["labels"]),
        "recipes": [(label, group[0]) for label, group in groups_of_seeds],
        "runs": shown,
        "lines": tables.lines(shown, questions),
        "summary": tables.summary_rows(shown),
        "pairs": pairs(found, shown),
        "is_unequal": bool(shown) and shown[0].result.is_unequal,
        "pictures": drawn,
        "only_watched": len(groups_of_seeds) > curves.MOST_WITH_TRAIN,
        "only_named": len(groups_of_seeds) > line_ends.MOST_NAMED,
        "any_seeds": len(groups_of_seeds) < len(shown),
        "any_phases": any(row.phase for one in shown for row in one.record.history),
        "class_names": [known(name) for name in shown[0].record.data.class_names] if shown else [],
        "searched": bool(shown) and len(shown[0].record.data.class_names) > metrics.MANY_CLASSES,
        "best_f1": tables.best_f1(shown),
        "confidence": calibration.section(found, shown),
        "recipe_words": tables.recipe_words(shown),
        "audit": questions,
        "robustness": robustness(found, shown, images),
        "seen": [seen(one) for one in shown if one.run.seen_test is not None],
        "not_seen": joined(named([one for one in shown if one.run.seen_test is None], shown)),
        "matrices": matrices(found, shown),
        "drawn_matrices": drawn_matrices(shown, drawn),
        "orders": orders(found),
        "images": images,
        "all_wrong": images is not None and set(gallery.worth_showing([one.run for one in shown])) <= set(images.rows),
        "sprite": webp(images.sprite) if images else None,
        "groups": groups(found, shown, images) if images else [],
        "gallery_data": gallery_data(shown, images) if images else None,
        "where": looked,
        "scripts": [script(name) for name in scripts(images, looked)],
        "difference": difference(found, shown),
        "settings": tables.settings(shown),
    }


def subtitle(shown: list[Shown], section: dict | None) -> str:
    """The data that all runs share, in words, given what the page says of labels."""
    if not shown:
        return say("No run has finished.")
    data = shown[0].record.data
    parts = []
    if section:
        fewest, *_, most = section["labels"]
        parts.append(say("{fewest} to {most} labels a class", fewest=fewest, most=most))
    elif data.num_train is not None:
        parts.append(say("{number:,} training images", number=data.num_train + data.num_validation))
    if not section and len({one.record.data.split_fingerprint for one in shown}) == 1 and data.num_validation:
        parts.append(say("{number:,} of them held out for validation", number=data.num_validation))
    parts.append(say("{number:,} test images", number=data.num_test))
    return say("{data}: {parts}", data=data_in_words(data), parts=joined(parts))


def pairs(found: Findings, shown: list[Shown]) -> list[tuple[Shown, Shown, Paired, str, str, Balanced, str]]:
    """The best run with each of the others: both, their comparison image by image, its interval and p value in words,
    and that class by class, with its interval in words."""
    return [
        (shown[pair.first], shown[pair.second], pair.paired)
        + (verdict.interval(pair.paired), verdict.p_in_words(pair.paired.p_value))
        + (pair.balanced, verdict.interval(pair.balanced))
        for pair in found.pairs
    ]


def difference(found: Findings, shown: list[Shown]) -> dict | None:
    """Where the two runs of the verdict differ; None with less than two runs."""
    pair = found.headline
    if pair is None:
        return None
    first, second = shown[pair.first], shown[pair.second]
    return {
        "first": first,
        "second": second,
        "pair": pair,
        "averaging": "" if pair.averaged is None else verdict.averaging(first, pair.averaged),
        "confident": metrics.CONFIDENT,
        "smoothed": calibration.smoothed([first, second], shown),
    }


def robustness(found: Findings, shown: list[Shown], images: gallery.Gallery | None) -> dict | None:
    """What the page says of corrupted images; None where no run predicted any.

    `compared` are the runs that predicted the same ones; `others` names those that predicted other ones, `without`
    those that predicted none; `kinds` has for each kind its name and each strength's amount, both in words; `other_way`
    names the kinds and strengths in which the second of `pair`, behind on average, is ahead.
    """
    compared = [shown[place] for place in found.same_corruptions]
    if not compared:
        return None
    asked = [one for one in shown if one.robustness is not None]
    strengths = compared[0].record.robustness.strengths
    kinds = [
        (KINDS.get(kind, kind), [amount_in_words(kind, amount, compared[0].record.data) for amount in amounts])
        for kind, amounts in strengths.items()
    ]
    pair, other_way = found.robust_pair, []
    if pair is not None:
        for (kind, amounts), line in zip(kinds, pair.second_ahead, strict=True):
            if line.any():
                where = joined(amount for amount, apart in zip(amounts, line, strict=True) if apart)
                other_way.append(say("{name} {value}", name=kind, value=where))
    return {
        "compared": compared,
        "lines": calibration.robust_lines(compared),
        "others": joined(named([one for one in asked if one not in compared], shown)),
        "without": joined(named([one for one in shown if one not in asked], shown)),
        "kinds": kinds,
        "pair": pair and (shown[pair.first], shown[pair.second], pair.points_ahead, pair.points_low, pair.points_high),
        "other_way": joined(other_way, "; "),
        "sprite": webp(images.corrupted) if images and images.corrupted else None,
        "row": images.corrupted_row if images else None,
    }


def seen(one: Shown) -> dict:
    """What a run's network got: its first test and training images in a picture, and their size and range in words."""
    test, training = one.run.seen_test, one.run.seen_training
    num_columns = max(len(test), len(training))
    lines = [line[..., np.newaxis] if line.ndim == 3 else line for line in (test, training)]
    lines = [np.pad(line, [(0, num_columns - len(line)), (0, 0), (0, 0), (0, 0)]) for line in lines]
    images = np.concatenate(lines)
    tile_height, tile_width = gallery.tiles(images[:1]).shape[1:3]
    sprite = gallery.sprite(images, np.arange(len(images)), num_columns=num_columns, quality=gallery.CLEARER)
    height, width = test.shape[1:3]
    words = say("{width}×{height} pixels; {range}", width=width, height=height, range=range_in_words(one.record.seen))
    recipe = one.record.recipe
    if recipe.centre_crop < 1:
        words = say("{words}; in the test the middle {share:.1%} of each side", words=words, share=recipe.centre_crop)
    if recipe.crop_area < 1:
        words = say(
            "{words}; in training a part of each, {share:.0%} of its area or more", words=words, share=recipe.crop_area
        )
    return {
        "one": one,
        "image": webp(sprite),
        "width": num_columns * tile_width,
        "height": 2 * tile_height,
        "words": words,
        "alt": say(
            "{num_test} test images and {num_training} training images as they entered {run}, {words}.",
            num_test=len(test),
            num_training=len(training),
            run=one.label,
            words=words,
        ),
    }


def webp(content: bytes) -> str:
    """A WebP as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def matrices(found: Findings, shown: list[Shown]) -> list[dict]:
    """The confusion matrices that are drawn as tables: those of the verdict's two, their difference, and the others'.

    Each has `counts` and `percent` to print and the `strength` of its colours in 0…1, arrays (num_classes,
    num_classes), and `index`, the run's place on the page, None for the difference, which has the `colours` of its
    two runs instead.
    """
    if not shown:
        return []
    largest = max(int(one.result.counts.max()) for one in shown)
    ordered = with_matrix(found, shown)
    first, *rest = ordered[: 2 if found.headline else 1]
    tables_of_counts = [
        {
            "title": one.label,
            "one": one,
            "index": shown.index(one),
            "picture": f"confusion-{one.slug}",
            "counts": one.result.counts,
            "percent": 100 * one.result.shares,
            "strength": np.sqrt(one.result.counts / largest),
        }
        for one in ordered
    ]
    for second in rest:
        counts = first.result.counts - second.result.counts
        difference = {
            "title": pictures.difference_title(found, shown),
            "one": None,
            "index": None,
            "colours": (first.colour, second.colour),
            "picture": "confusion-difference",
            "counts": counts,
            "percent": 100 * (first.result.shares - second.result.shares),
            "strength": np.sqrt(np.abs(counts) / max(np.abs(counts).max(), 1)),
        }
        tables_of_counts.insert(2, difference)
    return tables_of_counts


def drawn_matrices(shown: list[Shown], drawn: dict) -> dict[str, dict]:
    """The pictures that stand in the place of tables where there are too many classes for these, by their names."""
    many = shown and len(shown[0].record.data.class_names) > metrics.MANY_CLASSES
    return {one["name"]: one for one in drawn["matrices"]} if many else {}


def orders(found: Findings) -> dict[str, list[int]]:
    """The orders of the classes that the reader may choose from."""
    if not 0 < len(found.together) <= metrics.MANY_CLASSES:
        return {}
    return {"file": sorted(found.together), "together": list(found.together)}


def groups(found: Findings, shown: list[Shown], images: gallery.Gallery) -> list[dict]:
    """Galleries of images, each a title and its first images, by who of the verdict's two runs is right, the most
    confidently wrong first; of one run its most confident mistakes alone."""
    right = [metrics.is_right(one.run) for one in shown]
    sure = [one.run.test_probabilities.max(axis=1) for one in shown]
    if len(shown) == 1:
        wanted = [(say("The most confident mistakes"), ~right[0], sure[0], [shown[0]])]
    else:
        first, second = found.headline.first, found.headline.second
        pair = shown[first], shown[second]
        wanted = [
            (say("Only {run} is right", run=pair[0].label), right[first] & ~right[second], sure[second], pair),
            (say("Only {run} is right", run=pair[1].label), right[second] & ~right[first], sure[first], pair),
            (say("Neither is right"), ~right[first] & ~right[second], np.minimum(sure[first], sure[second]), pair),
        ]
    groups_of_images = []
    for title, mask, confidence, of in wanted:
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        kept = rows[np.isin(rows, images.rows)]  # a very large test set is not on the page as a whole
        tiles = [_tile(int(row), of, images) for row in kept[:NUM_IN_GROUP]]
        groups_of_images.append({"title": title, "num_images": len(rows), "tiles": tiles})
    return groups_of_images


def _tile(row: int, of: list[Shown], images: gallery.Gallery) -> dict:
    """One test image: where its tile lies, what it is, and what runs say, each a run, a class and a confidence."""
    names = [known(name) for name in of[0].record.data.class_names]
    said = []
    for one in of:
        probabilities = one.run.test_probabilities[row]
        said.append((one, names[int(probabilities.argmax())], round(100 * float(probabilities.max()))))
    label = names[int(of[0].run.test_labels[row])]
    words = say("Test image {number}, {label}", number=row, label=label)
    return {"words": words, "place": images.place(row), "label": label, "said": said}


def gallery_data(shown: list[Shown], images: gallery.Gallery) -> dict:
    """What the page's script needs: the images, and what each run is called and looks like."""
    maps = gallery.maps(images, [one.run for one in shown])
    texts = GALLERY_TEXTS | WHERE_TEXTS if maps else GALLERY_TEXTS
    return (
        gallery.said(images, [one.run for one in shown])
        | ({"maps": maps} if maps else {})
        | {
            "texts": {name: language.in_each(text) for name, text in texts.items()},
            "classes": language.in_each([known(name) for name in shown[0].record.data.class_names]),
            "names": language.in_each([one.label for one in shown]),
            "colours": [one.colour for one in shown],
            "markers": [one.marker for one in shown],
        }
    )


def where(shown: list[Shown]) -> dict | None:
    """Whose maps of where it looked the page has, and whose last maps are too small for that, as lists of names; None
    where no run has kept anything of the inside of its network."""
    kept = [(one, found) for one in shown if (found := features.read(one.run)) is not None]
    if not kept:
        return None
    return {
        "with_maps": [one for one, found in kept if found.test_maps is not None],
        "too_small": joined(named([one for one, found in kept if found.test_maps is None], shown)),
        "smallest": features.SMALLEST_MAP,
    }


def scripts(images: gallery.Gallery | None, looked: dict | None) -> list[str]:
    """The scripts of the page, by name, given what `where` gives."""
    any_maps = looked is not None and bool(looked["with_maps"])
    return ["language", "navigation", "tables", *["gallery"] * (images is not None), *["where"] * any_maps]


def script(name: str) -> dict:
    """A script of a page and its hash, by which the page's policy permits it. It is ASCII, as the page is."""
    text = (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return {"text": text, "hash": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}


def rebuild_command(folders: list[Path]) -> str:
    """The command that makes this page from the same runs. It names them by what the reader of the page can see."""
    in_runs = all(Path(os.path.abspath(folder)).parent.name == "runs" for folder in folders)
    names = [("runs/" if in_runs else "") + folder_name(folder) for folder in folders]
    return shlex.join(["python", "-m", "compare.report", *names])


@functools.cache
def _environment() -> jinja2.Environment:
    """What templates are found and filled by; it keeps those that it has compiled."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=language.on_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "attribute": language.attribute,
        "unbroken": language.unbroken,
        "english": str.__str__,  # for where no element can stand
        "translations": language.translations_of,
    }
    called = (say, known, shortened, fraction, or_nothing, duration, language.own_names)
    environment.globals |= {function.__name__: function for function in called}
    return environment


def render(template: str, **content) -> bytes:
    """A page. Everything from a record is escaped; what is not ASCII becomes a character reference, so that no
    encoding can break it."""
    html = _environment().get_template(template).render(**content)
    return html.lstrip().encode("ascii", "xmlcharrefreplace")
