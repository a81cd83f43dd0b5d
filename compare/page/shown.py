"""A run as the report shows it: what it is called, how it looks, and all its results."""

import dataclasses
import re

from compare.findings.findings import Findings, RunFindings, Seeds
from compare.findings.label_curve import labels_of, seeds_of, strategy_of
from compare.page import figures
from compare.page.language import say
from compare.page.words import folder_name, labels_in_words, network_in_words, run_name

MARKERS = ("●", "■", "▲", "◆", "▼", "✚")  # figures.MARKERS as characters


@dataclasses.dataclass(frozen=True, eq=False)  # a run is itself alone; arrays do not compare
class Shown(RunFindings):
    """What is found of a run, as the page shows it.

    Attributes:
        label: what it is called.
        network: its network in words and, where the runs differ in these, its labels a class.
        slug: a short name for files and ids.
        look: its colour and marker, as `figures` has them.
        seeds: the runs that differ from it in nothing but the seed.
    """

    label: str
    network: str
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
    """Give every run a name of its own, its network's where that is enough, and a look, which seeds share, and runs of
    a strategy that only the label curve has beside each other."""
    runs = [one.run for one in found.runs]
    branches = [run.record.branch for run in runs]
    words = [network_in_words(run.record) for run in runs]
    if len({labels_of(run.record) for run in runs}) > 1:
        words = [with_labels(word, labels_of(run.record)) for word, run in zip(words, runs, strict=True)]
    recipes = [run.record.recipe.name for run in runs]
    labels, slugs = [], []
    for place, (run, branch, label, recipe) in enumerate(zip(runs, branches, words, recipes, strict=True)):
        slug = branch
        if run.record.data.labels_per_class is not None:
            slug = f"{branch}-{run.record.data.labels_per_class}"
        if words.count(label) > 1 or branches.count(branch) > 1:
            # its recipe tells it from the others, or its seed as well, or else its folder's name does
            others = [other for other in range(len(runs)) if (words[other], recipes[other]) == (label, recipe)]
            seeds = dict(zip(others, seeds_of([runs[other].record for other in others]), strict=True))
            name = run_name(run.folder)
            if [other.record.branch for other in runs if run_name(other.folder) == name].count(branch) > 1:
                name = folder_name(run.folder).removeprefix(f"{branch}-")  # of one plan: what --vary gave them
            if len(seeds) == len(set(seeds.values())):
                name = recipe
                if len(seeds) > 1:
                    name = say("{recipe}, seed {number}", recipe=recipe, number=seeds[place])
            slug = f"{slug}-{name}"
            if words.count(label) > 1:
                label = say("{network} · {name}", network=label, name=name)
        labels.append(_unique(label, labels))
        slugs.append(_unique(re.sub(r"[^A-Za-z0-9_-]+", "-", slug).strip("-") or "run", slugs))
    seeds = [next(seeds for seeds in found.seeds if place in seeds.places) for place in range(len(runs))]
    keys = [strategy_of(run.record) for run in runs] if len(found.compared) < len(runs) else seeds
    sides = {}
    for key, run in zip(keys, runs, strict=True):
        sides.setdefault(key, run.record.is_from_scratch)
    looks = dict(zip(sides, figures.looks(list(sides.values())), strict=True))
    return [
        Shown(**vars(one), label=label, network=network, slug=slug, look=looks[key], seeds=of)
        for one, label, network, slug, key, of in zip(found.runs, labels, words, slugs, keys, seeds, strict=True)
    ]


def of_compared(found: Findings, shown: list[Shown]) -> tuple[Findings, list[Shown]]:
    """The same of the runs that are compared alone: where there is a label curve, it alone has the others."""
    if found.label_curve is None:
        return found, shown
    return found.of_compared, [shown[place] for place in found.compared]


def strategy_names(found: Findings) -> list[str]:
    """What the strategies of the label curve are called: by their networks, and their recipes where that is not
    enough."""
    records = [found.runs[strategy.points[0].places[0]].record for strategy in found.label_curve.strategies]
    words, names = [network_in_words(record) for record in records], []
    for record, name in zip(records, words, strict=True):
        if words.count(name) > 1:
            name = say("{network} · {name}", network=name, name=record.recipe.name)
            if record.recipe.class_weights != "none":
                name = say("{network}, classes weighted", network=name)
        names.append(_unique(name, names))
    return names


def with_labels(network: str, labels: float | None) -> str:
    """What a network is called that was trained on so many labels of each class."""
    if labels is None:
        return network
    if round(labels) == 1:
        return say("{network}, 1 label a class", network=network)
    return say("{network}, {number} labels a class", network=network, number=labels_in_words(labels))


def by_seeds(shown: list[Shown]) -> list[list[Shown]]:
    """The runs grouped by everything that was set but the seed."""
    return [[one for one in shown if one.seeds is seeds] for seeds in dict.fromkeys(one.seeds for one in shown)]


def with_matrix(found: Findings, shown: list[Shown]) -> list[Shown]:
    """The runs whose confusion matrices the page has: the verdict's two come first, and of others that differ in their
    seeds alone the first."""
    compared = (found.headline.first, found.headline.second) if found.headline else (0,)
    chosen = [shown[place] for place in compared]
    return chosen + [group[0] for group in by_seeds(shown) if not any(one in chosen for one in group)]


def label_of(group: list[Shown]) -> str:
    """What seeds of the same settings are called together."""
    one, *others = group
    if not others:
        return one.label
    return say("{network} · {name}", network=one.network, name=one.record.recipe.name)


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
