"""A run as the report shows it: what it is called, how it looks, and all its results."""

import dataclasses
import re

from compare.findings.findings import Findings, RunFindings, Seeds
from compare.page import figures
from compare.page.language import say
from compare.page.words import folder_name, network_in_words, run_name

MARKERS = ("●", "■", "▲", "◆", "▼", "✚")  # figures.MARKERS as characters


@dataclasses.dataclass(frozen=True, eq=False)  # a run is itself alone; arrays do not compare
class Shown(RunFindings):
    """What is found of a run, as the page shows it.

    Attributes:
        label: what it is called.
        slug: a short name for files and ids.
        look: its colour and marker, as `figures` has them.
        seeds: the runs that differ from it in nothing but the seed.
    """

    label: str
    slug: str
    look: int
    seeds: Seeds

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


def show(found: Findings) -> list[Shown]:
    """Give every run a name of its own, its network's where that is enough, and a look, which seeds share."""
    runs = [one.run for one in found.runs]
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
    looks = figures.looks([runs[seeds.places[0]].record.is_from_scratch for seeds in found.seeds])
    shown = []
    for place, (one, label, slug) in enumerate(zip(found.runs, labels, slugs, strict=True)):
        look, seeds = next(both for both in zip(looks, found.seeds, strict=True) if place in both[1].places)
        shown.append(Shown(**vars(one), label=label, slug=slug, look=look, seeds=seeds))
    return shown


def by_seeds(shown: list[Shown]) -> list[list[Shown]]:
    """The runs grouped by everything that was set but the seed."""
    return [[one for one in shown if one.seeds is seeds] for seeds in dict.fromkeys(one.seeds for one in shown)]


def label_of(group: list[Shown]) -> str:
    """What seeds of the same settings are called together."""
    one, *others = group
    if not others:
        return one.label
    return say("{network} · {name}", network=network_in_words(one.record), name=one.record.recipe.name)


def named(some: list[Shown], shown: list[Shown]) -> list[str]:
    """What the page calls some of its runs: seeds of the same settings together, where all of them are among these."""
    names = []
    for group in by_seeds(shown):
        here = [one.label for one in group if one in some]
        names += [label_of(group)] if len(here) == len(group) else here
    return names


def _unique(name: str, taken: list[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
