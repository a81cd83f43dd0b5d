"""Where runs are wrong: their confusion matrices, their recall of each class, where two of them differ, and the images
of all that, as plain data for the template."""

import dataclasses
from typing import Any

import numpy as np

from compare.findings import metrics
from compare.findings.findings import Findings
from compare.page import calibration, gallery, language, matrices, pictures, verdict
from compare.page.language import joined, known, say
from compare.page.shown import MOST_PINNED, Shown, by_seeds, label_of, named, ranked, verdict_pair, with_matrix
from compare.page.words import class_in_words
from compare.runs import features

AT_ONCE = 12  # images of a gallery, pairs of classes, and classes of many, before more are asked for
NUM_IN_CARD = 3  # images of a pair of classes
# what the page's script says of images, with places for its own values
GALLERY_TEXTS = {
    "right": say("{{label}}, predicted right"),
    "wrong": say("{{label}} taken for {{predicted}}"),
    "cell": say("{{cell}}: {{number}} images"),
    "image": say("Test image {{number}}, {{label}}"),
    "number": say("no. {{number}}"),
    "every": say("all classes"),
    "shown": say("{{shown}} of {{found}} shown"),
    "kept": say("{{shown}} of {{found}} shown; {{found}} of {{total}} are on this page"),
}

# the same of where networks looked, where a run keeps that
WHERE_TEXTS = {
    "show": say("Show where {{run}} looked"),
    "hide": say("Show the images alone"),
    "looked": say("Over the images: where {{run}} looked."),
}


def content(
    found: Findings, shown: list[Shown], drawn: dict[str, list[dict[str, Any]]], images: gallery.Gallery | None
) -> dict[str, Any]:
    """Everything that these sections print, given what `pictures.draw` made and test images, None where they are not
    at hand."""
    if not shown:
        return dict.fromkeys(("images", "groups", "difference", "where", "matrices", "drawn_matrices"))
    names = shown[0].record.data.class_names
    many, order = len(names) > metrics.MANY_CLASSES, list(found.together)
    sorted_groups = groups(found, shown, images) if images else []
    return {
        "class_names": [known(name) for name in names],
        "many_classes": many,
        "at_once": AT_ONCE,
        "order": order,
        "num_letters": min(12, max(len(name.encode()) for name in names)),
        "matrices": of_matrices(found, shown),
        "drawn_matrices": {one["name"]: one for one in drawn["matrices"]} if many else {},
        "confused": confused(found, shown, images),
        "recalls": recalls(found, shown),
        "by_class": [(label_of(group), group[0], of_seeds(group)) for group in by_seeds(shown)],
        "images": images,
        "all_wrong": images is not None and set(gallery.worth_showing([one.run for one in shown])) <= set(images.rows),
        "sprite": gallery.webp(images.sprite) if images else None,
        "groups": sorted_groups,
        "gallery_data": gallery_data(found, shown, images, sorted_groups) if images else None,
        "where": where(found, shown) if images else None,
        "difference": difference(found, shown),
    }


def of_matrices(found: Findings, shown: list[Shown]) -> list[dict[str, Any]]:
    """The confusion matrices that the page has: those of the verdict's two, their difference, and the others'.

    Each has its `counts`, an array (num_classes, num_classes), the `strength` of their colours, as
    `matrices.strength` has it, the number of the strongest as `largest`, and `one`, its run, with its place on the
    page, `index`; None for the difference, which has its two runs as `pair`.
    """
    ordered = with_matrix(found, shown)
    largest = matrices.largest_mistake(*(one.result.counts for one in shown))
    made = [
        {
            "title": one.label,
            "one": one,
            "index": shown.index(one),
            "picture": f"confusion-{one.slug}",
            "counts": one.result.counts,
            "largest": largest,
            "strength": matrices.strength(one.result.counts, largest),
        }
        for one in ordered
    ]
    if found.headline:
        counts = ordered[0].result.counts - ordered[1].result.counts
        largest = matrices.largest_mistake(counts)
        difference = {
            "title": pictures.difference_title(found, shown),
            "one": None,
            "index": None,
            "pair": ordered[:2],
            "picture": "confusion-difference",
            "counts": counts,
            "largest": largest,
            "strength": matrices.strength(counts, largest),
        }
        made.insert(2, difference)
    return made


def confused(found: Findings, shown: list[Shown], images: gallery.Gallery | None) -> list[dict[str, Any]]:
    """The most frequent mistakes of the verdict's runs, most frequent first: each its `true` and `predicted` class, the
    `said` runs with their places and numbers of images, and some `tiles` of these."""
    pair = verdict_pair(found, shown)
    places = dict.fromkeys((one.true, one.predicted) for run in pair for one in run.result.most_confused)

    def worst(place: tuple[int, int]) -> int:
        return max(int(one.result.counts[place]) for one in pair)

    made = []
    for true, predicted in sorted(places, key=lambda place: -worst(place)):
        tiles = []
        if images:
            labels = shown[0].run.test_labels[images.rows]
            answers = [one.run.test_probabilities[images.rows].argmax(axis=1) == predicted for one in pair]
            rows = images.rows[(labels == true) & np.any(answers, axis=0)][:NUM_IN_CARD]
            tiles = [_tile(int(row), pair, images) for row in rows]
        said = [(one, shown.index(one), int(one.result.counts[true, predicted])) for one in pair]
        support = int(pair[0].result.support[true])
        made.append({"true": true, "predicted": predicted, "said": said, "support": support, "tiles": tiles})
    return made


@dataclasses.dataclass(frozen=True)
class Recalls:
    """The recall of each class, as it is drawn.

    Attributes:
        strategies: of each its name and its first run; the verdict's come first.
        ticks: the axis' numbers, per cent, and where they stand, per cent of its width.
        rows: of each class its index, the lead in points of the best over the worst of the strategies that are not
            aside, None where there is one alone, the best, and of each strategy its first run; where its interval
            begins and ends and its mark stands, per cent of the width; and all three in words.
    """

    strategies: list[tuple[str, Shown]]
    ticks: list[tuple[int, float]]
    rows: list[tuple[int, float | None, Shown, list[tuple[Shown, float, float, float, str]]]]


def recalls(found: Findings, shown: list[Shown]) -> Recalls:
    """The recall of each class that has images, the largest lead first; of one strategy the lowest recall first."""
    groups = ranked(found, shown)
    values = [metrics.recall_of_seeds([one.result for one in group]) for group in groups]
    there = np.flatnonzero(shown[0].result.support)
    leftmost = min(int(10 * low[there].min()) for _, low, _ in values[:MOST_PINNED]) / 10

    def place(value: float) -> float:
        return round(100 * max(0.0, value - leftmost) / (1 - leftmost), 1) if leftmost < 1 else 100.0

    rows = []
    for index in there:
        lines = []
        for group, of in zip(groups, values, strict=True):
            recall, low, high = (float(value[index]) for value in of)
            text: str = say(
                "{run}: {value:.1%} ({low:.1%} to {high:.1%})", run=label_of(group), value=recall, low=low, high=high
            )
            lines.append((group[0], place(low), place(high), place(recall), text))
        of_class = [float(recall[index]) for recall, _, _ in values[:MOST_PINNED]]
        lead = None if len(of_class) == 1 else 100 * (max(of_class) - min(of_class))
        key = of_class[0] if lead is None else -lead
        rows.append((key, (int(index), lead, groups[int(np.argmax(of_class))][0], lines)))
    rows.sort(key=lambda row: row[0])
    step = 10 if leftmost >= 0.5 else 25 if leftmost == 0 else 20
    ticks = [(tick, place(tick / 100)) for tick in range(100, round(100 * leftmost) - 1, -step)]
    strategies = [(label_of(group), group[0]) for group in groups]
    return Recalls(strategies, ticks[::-1], [row for _, row in rows])


def of_seeds(group: list[Shown]) -> list[np.ndarray]:
    """Precision, recall and F1 of each class, the means of seeds."""
    return [np.mean([getattr(one.result, name) for one in group], axis=0) for name in ("precision", "recall", "f1")]


def difference(found: Findings, shown: list[Shown]) -> dict[str, Any] | None:
    """Where the two runs of the verdict differ; None with less than two runs. `parts` are the images by who is right:
    a name with the runs' markers, the same with their names, how many, and the run whose colour it has."""
    pair = found.headline
    if pair is None:
        return None
    first, second = shown[pair.first], shown[pair.second]
    counts = pair.paired
    return {
        "first": first,
        "second": second,
        "pair": pair,
        "parts": [
            (say("Both are right"), say("Both are right"), counts.num_both_right, None),
            *(
                (say("Only {run} is right", run=one.marker), say("Only {run} is right", run=one.label), number, one)
                for one, number in ((first, counts.num_only_first), (second, counts.num_only_second))
            ),
            (say("Neither is right"), say("Neither is right"), counts.num_neither, None),
        ],
        "averaging": "" if pair.averaged is None else verdict.averaging(first, pair.averaged),
        "confident": metrics.CONFIDENT,
        "is_smoothed": calibration.smoothed([first, second], shown) is not None,
    }


def groups(found: Findings, shown: list[Shown], images: gallery.Gallery) -> list[dict[str, Any]]:
    """Galleries of images by who of the verdict's two runs is right, the most confidently wrong first; of one run its
    mistakes alone. Each has a title, the number of its images, the places in `images.rows` of those that are on the
    page, and the first of these as `tiles`."""
    pair = verdict_pair(found, shown)
    right = [metrics.is_right(one.run) for one in pair]
    sure = [one.run.test_probabilities.max(axis=1) for one in pair]
    if len(pair) == 1:
        wanted = [(say("The most confident mistakes"), ~right[0], sure[0])]
    else:
        wanted = [
            (say("Only {run} is right", run=pair[0].label), right[0] & ~right[1], sure[1]),
            (say("Only {run} is right", run=pair[1].label), right[1] & ~right[0], sure[0]),
            (say("Neither is right"), ~right[0] & ~right[1], np.minimum(*sure)),
        ]
    made = []
    for title, mask, confidence in wanted:
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        kept = rows[np.isin(rows, images.rows)]  # a very large test set is not on the page as a whole
        places = np.searchsorted(images.rows, kept).tolist()
        tiles = [_tile(int(row), pair, images) for row in kept[:AT_ONCE]]
        made.append({"title": title, "num_images": len(rows), "places": places, "tiles": tiles})
    return made


def _tile(row: int, of: list[Shown], images: gallery.Gallery) -> dict[str, Any]:
    """One test image: where its tile lies, what it is, and what runs say, each a run, a class and a confidence."""
    names = [class_in_words(name) for name in of[0].record.data.class_names]
    said = []
    for one in of:
        probabilities = one.run.test_probabilities[row]
        said.append((one, names[int(probabilities.argmax())], round(100 * float(probabilities.max()))))
    label = names[int(of[0].run.test_labels[row])]
    words = say("Test image {number}, {label}", number=row, label=label)
    return {"words": words, "place": images.place(row), "label": label, "said": said}


def gallery_data(
    found: Findings, shown: list[Shown], images: gallery.Gallery, sorted_groups: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the page's script needs: the images, the groups of them, which runs speak in these, and what each run is
    called and looks like."""
    maps = gallery.maps(images, {shown.index(one): one.run for one in with_maps(found, shown)})
    texts = GALLERY_TEXTS | WHERE_TEXTS if maps else GALLERY_TEXTS
    return (
        gallery.said(images, [one.run for one in shown])
        | ({"maps": maps} if maps else {})
        | {
            "groups": [{"places": group["places"], "total": group["num_images"]} for group in sorted_groups],
            "pair": [shown.index(one) for one in verdict_pair(found, shown)],
            "step": AT_ONCE,
            "texts": {name: language.in_each(text) for name, text in texts.items()},
            "classes": language.in_each([class_in_words(name) for name in shown[0].record.data.class_names]),
            "names": language.in_each([one.label for one in shown]),
            "colours": [one.colour for one in shown],
            "markers": [one.marker for one in shown],
        }
    )


def with_maps(found: Findings, shown: list[Shown]) -> list[Shown]:
    """The runs whose maps of where they looked the page has: the verdict's first, not more than are pinned."""
    kept = [(one, features.read(one.run)) for one in with_matrix(found, shown)]
    return [one for one, of in kept if of is not None and of.test_maps is not None][:MOST_PINNED]


def where(found: Findings, shown: list[Shown]) -> dict[str, Any] | None:
    """Whose maps of where it looked the page has, and whose last maps are too small for that, as lists of names; None
    where no run has kept anything of the inside of its network."""
    kept = [(one, of) for one in shown if (of := features.read(one.run)) is not None]
    if not kept:
        return None
    return {
        "with_maps": with_maps(found, shown),
        "too_small": joined(named([one for one, of in kept if of.test_maps is None], shown)),
        "smallest": features.SMALLEST_MAP,
    }
