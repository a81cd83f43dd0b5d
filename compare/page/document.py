"""What the report's page says: sentences, tables and pictures, made from runs as plain data for the template.

Warnings are in `banners`, tables of text in `tables`, names and numbers in `words`.
"""

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from compare.findings.findings import Findings, Pair, Seeds
from compare.findings.metrics import Balanced, Paired
from compare.page import (
    answer,
    audit,
    banners,
    calibration,
    cautions,
    figures,
    gallery,
    labels,
    language,
    mistakes,
    repeat,
    tables,
    terms,
    verdict,
)
from compare.page.language import joined, known, say
from compare.page.shown import MOST_PINNED, Shown, aside, by_seeds, label_of, named, of_compared
from compare.page.words import (
    KINDS,
    NOTHING,
    amount_in_words,
    data_in_words,
    duration,
    fraction,
    or_nothing,
    range_in_words,
    shortened,
)
from compare.runs.checkpoint import UnfinishedRun

TEMPLATES = Path(__file__).parent / "templates"


def content(
    found: Findings,
    shown: list[Shown],
    unfinished: list[UnfinishedRun],
    drawn: dict[str, list[dict[str, Any]]],
    images: gallery.Gallery | None,
) -> dict[str, Any]:
    """Everything that the template prints but the title.

    Args:
        found: what was found of the complete runs.
        shown: each of these, as the page shows it.
        unfinished: the others.
        drawn: what `pictures.draw`, `labels.drawn` and `answer.drawn` made of the complete runs.
        images: test images; None where they are not at hand.
    """
    of_all: dict[str, Any] = {
        "claim": answer.claim(found, shown),
        "answer": next(iter(drawn["labels"] or drawn["answer"]), None),
        "numbers": answer.numbers(found, shown),
        "subject": answer.subject(found, shown),
        "sentences": verdict.sentences(found, shown),
        "cautions": cautions.of(found, shown),
        "labels": labels.section(found, shown),
        "repeat": repeat.block(shown),
        "page_alone": repeat.page_alone([*(one.run.folder for one in shown), *(run.folder for run in unfinished)]),
    }
    to_warn_of = labels.to_warn_of(found, shown) if found.label_curve else None
    found, shown = of_compared(found, shown)
    groups_of_seeds = [(label_of(group), group) for group in by_seeds(shown)]
    warnings = banners.of(to_warn_of or [(label, group[0].record) for label, group in groups_of_seeds], unfinished)
    questions = audit.table(shown, images)
    wrong, behind = mistakes.content(found, shown, drawn, images), aside(found, shown)
    return (
        of_all
        | wrong
        | {
            "styles": figures.STYLES,
            "doubts": answer.doubts(shown, questions, warnings),
            "banners": warnings,
            "subtitle": subtitle(shown, of_all["labels"]),
            "strategies": [(label, group[0]) for label, group in groups_of_seeds],
            "runs": shown,
            "lines": tables.lines(shown, questions),
            "summary": tables.summary_rows(shown),
            "pairs": pairs(found, shown),
            "terms": terms.TERMS.values(),
            "is_unequal": bool(shown) and shown[0].result.is_unequal,
            "pictures": drawn,
            "aside": behind,
            "most_pinned": MOST_PINNED,
            "any_seeds": len(groups_of_seeds) < len(shown),
            "any_phases": any(row.phase for one in shown for row in one.record.history),
            "confidence": calibration.section(found, shown),
            "recipe_words": tables.recipe_words(shown),
            "audit": questions,
            "robustness": robustness(found, shown, images),
            "seen": [
                seen(some[0], label)
                for label, group in groups_of_seeds
                if (some := [one for one in group if one.run.seen_test is not None])
            ],
            "not_seen": joined(named([one for one in shown if one.run.seen_test is None], shown)),
            "scripts": [script(name) for name in scripts(images, wrong, behind)],
            "settings": tables.settings(shown),
        }
    )


def subtitle(shown: list[Shown], section: dict[str, Any] | None) -> str:
    """The data that all runs share, in words, given what the page says of labels."""
    if not shown:
        return say("No run has finished.")
    data = shown[0].record.data
    parts = []
    if section:
        fewest, *_, most = section["labels"]
        parts.append(say("{fewest} to {most} labels a class", fewest=fewest, most=most))
    elif data.num_train is not None:
        images = say("{number:,} training images", number=data.num_train + data.num_validation)
        if data.num_validation and len({one.record.data.split_fingerprint for one in shown}) == 1:
            number = data.num_validation
            images = say("{images}, {number:,} of them held out for validation", images=images, number=number)
        parts.append(images)
    parts.append(say("{number:,} test images", number=data.num_test))
    if data.title == NOTHING:
        return joined(parts)
    return say("{data}: {parts}", data=data_in_words(data), parts=joined(parts))


def pairs(found: Findings, shown: list[Shown]) -> list[tuple[Shown, Shown, Paired, str, str, Balanced, str]]:
    """The best run with the best of each other strategy, or with its own other seeds where there is no other: both,
    their comparison image by image, its interval and p value in words, and that class by class, with its interval."""
    first_of: dict[Seeds, Pair] = {}
    for pair in found.pairs:  # the best come first
        first_of.setdefault(shown[pair.second].seeds, pair)
    others = [pair for seeds, pair in first_of.items() if seeds is not shown[pair.first].seeds] or found.pairs
    return [
        (shown[pair.first], shown[pair.second], pair.paired)
        + (verdict.interval(pair.paired), verdict.p_in_words(pair.paired.p_value))
        + (pair.balanced, verdict.interval(pair.balanced))
        for pair in others
    ]


def robustness(found: Findings, shown: list[Shown], images: gallery.Gallery | None) -> dict[str, Any] | None:
    """What the page says of corrupted images; None where no run predicted any.

    `compared` are the runs that predicted the same ones; `others` names those that predicted other ones, `without`
    those that predicted none; `kinds` has for each kind its name and each strength's amount, both in words; `other_way`
    names the kinds and strengths in which the second of `pair`, behind on average, is ahead.
    """
    compared = [shown[place] for place in found.same_corruptions]
    if not compared:
        return None
    asked = [one for one in shown if one.robustness is not None]
    kinds = [
        (KINDS.get(kind, kind), [amount_in_words(kind, amount, compared[0].record.data) for amount in amounts])
        for kind, amounts in compared[0].strengths.items()
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
        "sprite": gallery.webp(images.corrupted) if images and images.corrupted else None,
        "row": images.corrupted_row if images else None,
    }


def seen(one: Shown, label: str) -> dict[str, Any]:
    """What the network of a run, which is called `label`, got: its first test and training images in a picture, and
    their size and range in words."""
    arrays = [array for array in (one.run.seen_test, one.run.seen_training) if array is not None]
    num_test, num_training = map(len, arrays)
    num_columns = max(num_test, num_training)
    lines = [array[..., np.newaxis] if array.ndim == 3 else array for array in arrays]
    lines = [np.pad(line, [(0, num_columns - len(line)), (0, 0), (0, 0), (0, 0)]) for line in lines]
    images = np.concatenate(lines)
    tile_height, tile_width = gallery.tiles(images[:1]).shape[1:3]
    sprite = gallery.sprite(images, np.arange(len(images)), num_columns=num_columns, quality=gallery.CLEARER)
    height, width = arrays[0].shape[1:3]
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
        "label": label,
        "image": gallery.webp(sprite),
        "width": num_columns * tile_width,
        "height": 2 * tile_height,
        "words": words,
        "alt": say(
            "{num_test} test images and {num_training} training images as they entered {run}, {words}.",
            num_test=num_test,
            num_training=num_training,
            run=label,
            words=words,
        ),
    }


def scripts(images: gallery.Gallery | None, wrong: dict[str, Any], behind: frozenset[int]) -> list[str]:
    """The scripts of the page, by name, given what `mistakes.content` gives and the looks of what is put aside."""
    wanted = {
        "pinned": bool(behind),
        "matrices": bool(wrong["matrices"]) and not wrong["drawn_matrices"],
        "gallery": images is not None,
        "where": wrong["where"] is not None and bool(wrong["where"]["with_maps"]),
    }
    return ["language", "navigation", "tables", *(name for name, there in wanted.items() if there)]


def script(name: str) -> dict[str, str]:
    """A script of a page and its hash, by which the page's policy permits it. It is ASCII, as the page is."""
    text = (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return {"text": text, "hash": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}


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
        "with_terms": terms.with_terms,
        "english": str.__str__,  # for where no element can stand
        "translations": language.translations_of,
    }
    called = (say, known, joined, shortened, fraction, or_nothing, duration, language.own_names)
    environment.globals |= {function.__name__: function for function in called}
    return environment


def render(template: str, **content: Any) -> bytes:
    """A page. Everything from a record is escaped; what is not ASCII becomes a character reference, so that no
    encoding can break it."""
    html = _environment().get_template(template).render(**content)
    return html.lstrip().encode("ascii", "xmlcharrefreplace")
