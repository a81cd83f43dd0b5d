"""A run as the report shows it: what it is called, how it looks, and all its results."""

import dataclasses
import re

from compare.findings import metrics
from compare.findings.calibration import Calibration, Scaled, calibration, scaled
from compare.findings.metrics import Result
from compare.findings.robustness import Robustness, robustness
from compare.page import figures
from compare.page.language import say
from compare.page.words import folder_name, network_in_words, run_name
from compare.runs.record import Run
from compare.runs.schema import Record

MARKERS = ("●", "■", "▲", "◆", "▼", "✚")  # figures.MARKERS as characters


@dataclasses.dataclass(frozen=True)
class Shown:
    """A run as the page shows it: what it is called, a short name for files and ids, its look, and its results."""

    label: str
    slug: str
    look: int
    run: Run
    result: Result
    calibration: Calibration
    robustness: Robustness | None
    scaled: Scaled | None

    @property
    def record(self) -> Record:
        """The run's record."""
        return self.run.record

    @property
    def marker(self) -> str:
        """Its look's marker."""
        return MARKERS[figures.marker_of(self.look)]

    @property
    def colour(self) -> int:
        """Its look's colour, an index into `figures.Style.runs`."""
        return self.look % len(MARKERS)

    @property
    def watched(self) -> str | None:
        """The split that was watched after every epoch: test or validation; None if none was."""
        return self.record.watched

    @property
    def more_columns(self) -> list[str]:
        """What some of the history's rows hold that most runs' do not."""
        return [
            name for name in ("penalty", "phase") if any(getattr(row, name) is not None for row in self.record.history)
        ]


def show(runs: list[Run]) -> list[Shown]:
    """Give every run a name of its own, its network's where that is enough, and a look, and compute its results."""
    branches = [run.record.branch for run in runs]
    words = [network_in_words(run.record) for run in runs]
    recipes = [run.record.recipe.name for run in runs]
    labels, slugs = [], []
    for run, branch, label, recipe in zip(runs, branches, words, recipes, strict=True):
        slug = branch
        if words.count(label) > 1 or branches.count(branch) > 1:
            # its recipe tells it from the others, or its seed as well, or else its folder's name does
            seeds = [
                other.record.seed
                for other, word, of in zip(runs, words, recipes, strict=True)
                if (word, of) == (label, recipe)
            ]
            name = run_name(run.folder)
            if [other.record.branch for other in runs if run_name(other.folder) == name].count(branch) > 1:
                name = folder_name(run.folder).removeprefix(f"{branch}-")  # of one plan: what --vary gave them
            if len(seeds) == len(set(seeds)):
                name = recipe
                if len(seeds) > 1:
                    name = say("{recipe}, seed {number}", recipe=recipe, number=run.record.seed)
            slug = f"{slug}-{name}"
            if words.count(label) > 1:
                label = say("{network} · {name}", network=label, name=name)
        labels.append(_unique(label, labels))
        slugs.append(_unique(re.sub(r"[^A-Za-z0-9_-]+", "-", slug).strip("-") or "run", slugs))
    groups = alike([run.record for run in runs])  # these share a look
    by_group = figures.looks([runs[group[0]].record.is_from_scratch for group in groups])
    looks = [look for index in range(len(runs)) for group, look in zip(groups, by_group, strict=True) if index in group]
    return [
        Shown(
            *(label, slug, look, run),
            *(metrics.evaluate(run), calibration(run), robustness(run), scaled(run)),
        )
        for label, slug, look, run in zip(labels, slugs, looks, runs, strict=True)
    ]


def alike(records: list[Record]) -> list[list[int]]:
    """Which of these runs differ in nothing but the seed, as lists of their places. One that repeats a seed begins
    another list."""
    groups = {}
    for index, one in enumerate(records):
        settings = (
            *(one.branch, repr(one.model and one.model.title), repr(one.recipe), len(one.history)),
            *(one.weights.kind, one.weights.sha256, one.data.split_fingerprint),
            one.stayed_frozen,  # a frozen part that did not stay as it was is another setting
        )
        repeats = 0
        while any(records[other].seed == one.seed for other in groups.get((settings, repeats), [])):
            repeats += 1
        groups.setdefault((settings, repeats), []).append(index)
    return list(groups.values())


def _unique(name: str, taken: list[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
