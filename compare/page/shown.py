"""A run as the report shows it: what it is called, how it looks, and all its results."""

import dataclasses
import re
from collections.abc import Hashable, Sequence

from compare.findings.findings import Findings, RunFindings, Seeds
from compare.findings.label_curve import LabelCurve, labels_of, seeds_of, strategy_of
from compare.page import figures
from compare.page.language import known, say
from compare.page.words import folder_name, labels_in_words, network_in_words, run_name
from compare.runs.schema import Device, Model

MOST_PINNED = 4  # strategies that a page shows at once
MARKERS = ("●", "■", "▲", "◆", "▼", "✚")  # figures.MARKERS as characters


@dataclasses.dataclass(frozen=True, eq=False)  # a run is itself alone; arrays do not compare
class Shown(RunFindings):
    """What is found of a run, as the page shows it.

    Attributes:
        label: what it is called, `strategy` without its seed.
        network: its network in words and, where the runs differ in these, its labels a class.
        slug: a short name for files and ids.
        look: its colour and marker, as `figures` has them.
        seeds: the runs that differ from it in nothing but the seed.
    """

    label: str
    strategy: str
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
    def computed_on(self) -> tuple[Device | None, int, int | None]:
        """What its times depend on: the device, the number of processes, and on a processor that of threads."""
        device = self.record.device
        on_processor = device is not None and device.kind == "cpu"
        return device, self.record.num_processes, self.record.num_threads if on_processor else None

    @property
    def watched(self) -> str | None:
        """The split that was watched after every epoch: test or validation; None if none was."""
        return self.record.watched

    @property
    def model(self) -> Model:
        """Its network: a complete run tells of it."""
        return self.record.model or Model(name=self.record.branch)

    @property
    def strengths(self) -> dict[str, list[int | float]]:
        """The amounts of each kind of corruption whose copies it predicted; none where it predicted none."""
        return self.record.robustness.strengths if self.record.robustness else {}

    @property
    def more_columns(self) -> list[str]:
        """What some of the history's rows hold that most runs' do not."""
        return [
            name for name in ("penalty", "phase") if any(getattr(row, name) is not None for row in self.record.history)
        ]


def show(found: Findings) -> list[Shown]:
    """Give every run a name of its own and a look, which seeds share, and runs of a strategy that only the label curve
    has beside each other."""
    runs = [one.run for one in found.runs]
    seeds = [next(seeds for seeds in found.seeds if place in seeds.places) for place in range(len(runs))]
    keys: Sequence[Hashable] = [strategy_of(run.record) for run in runs] if len(found.compared) < len(runs) else seeds
    sides: dict[Hashable, bool] = {}
    for key, run in zip(keys, runs, strict=True):
        sides.setdefault(key, run.record.is_from_scratch)
    looks = dict(zip(sides, figures.looks(list(sides.values())), strict=True))
    return told_apart(
        [
            Shown(**vars(one), label="", strategy="", network="", slug="", look=looks[key], seeds=of)
            for one, key, of in zip(found.runs, keys, seeds, strict=True)
        ]
    )


def told_apart(shown: list[Shown]) -> list[Shown]:
    """The same runs, each called by what tells it from the others here: its network, where that is not enough its
    labels and its recipe, then its seed, or else its folder's name."""
    records = [one.record for one in shown]
    networks = [network_in_words(record) for record in records]
    if len({labels_of(record) for record in records}) > 1:
        networks = [with_labels(network, labels_of(record)) for network, record in zip(networks, records, strict=True)]
    branches, folders = [record.branch for record in records], [run_name(one.run.folder) for one in shown]
    labels: list[str] = []
    slugs: list[str] = []
    strategies: dict[Seeds, str] = {}
    found = []
    for one, record, network in zip(shown, records, networks, strict=True):
        strategy, slug, recipe = network, record.branch, record.recipe.name
        if record.data.labels_per_class is not None:
            slug = f"{slug}-{record.data.labels_per_class}"
        alike = [other for other, words in zip(shown, networks, strict=True) if words == network]
        if len({other.record.recipe.name for other in alike}) > 1:
            strategy = say("{network} · {name}", network=network, name=known(recipe, of="recipe"))
        alike = [other for other in alike if other.record.recipe.name == recipe]
        seeds = seeds_of([other.record for other in alike])
        name, label = folder_name(one.run.folder).removeprefix(f"{record.branch}-"), strategy  # in a plan: --vary's
        if list(zip(folders, branches, strict=True)).count((run_name(one.run.folder), record.branch)) < 2:
            name = run_name(one.run.folder)
        if len(set(seeds)) == len(seeds):
            name = recipe
            if len(seeds) > 1:
                seed = seeds[alike.index(one)]
                name, label = f"{recipe}, seed {seed}", say("{run}, seed {number}", run=strategy, number=seed)
        elif len(alike) > 1:
            varied = re.sub(r"-seed-\d+$", "", name)
            label = strategy = say("{network} · {name}", network=network, name=varied)
            if varied != name and len(one.seeds.places) > 1:
                label = say("{run}, seed {number}", run=strategy, number=record.seed)
        if networks.count(network) > 1 or branches.count(record.branch) > 1:
            slug = f"{slug}-{name}"
        labels.append(_unique(label, labels))
        slugs.append(_unique(re.sub(r"[^A-Za-z0-9_-]+", "-", slug).strip("-") or "run", slugs))
        strategy = strategies.setdefault(one.seeds, _unique(strategy, list(strategies.values())))
        slug = one.slug or slugs[-1]
        found.append(dataclasses.replace(one, label=labels[-1], strategy=strategy, network=network, slug=slug))
    return found


def of_compared(found: Findings, shown: list[Shown]) -> tuple[Findings, list[Shown]]:
    """The same of the runs that are compared alone: where there is a label curve, it alone has the others."""
    if found.label_curve is None:
        return found, shown
    return found.of_compared, told_apart([shown[place] for place in found.compared])


def curve_of(found: Findings) -> LabelCurve:
    """The label curve; one without strategies where there is none."""
    return found.label_curve or LabelCurve((), (), ())


def strategy_names(found: Findings) -> list[str]:
    """What the strategies of the label curve are called: by their networks, and their recipes where that is not
    enough."""
    records = [found.runs[strategy.points[0].places[0]].record for strategy in curve_of(found).strategies]
    words = [network_in_words(record) for record in records]
    names: list[str] = []
    for record, name in zip(records, words, strict=True):
        if words.count(name) > 1:
            name = say("{network} · {name}", network=name, name=known(record.recipe.name, of="recipe"))
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


def verdict_pair(found: Findings, shown: list[Shown]) -> list[Shown]:
    """The two runs of the verdict, or the only one."""
    return [shown[found.headline.first], shown[found.headline.second]] if found.headline else shown[:1]


def ranked(found: Findings, shown: list[Shown]) -> list[list[Shown]]:
    """The runs grouped by everything that was set but the seed: the verdict's come first, then the most accurate."""
    pair = verdict_pair(found, shown)
    groups = sorted(by_seeds(shown), key=lambda group: -group[0].seeds.mean)
    return sorted(groups, key=lambda group: not any(one in pair for one in group))


def aside(found: Findings, shown: list[Shown]) -> frozenset[int]:
    """The looks of the strategies that are too many for a page to show at once."""
    return frozenset(group[0].look for group in ranked(found, shown)[MOST_PINNED:])


def with_matrix(found: Findings, shown: list[Shown]) -> list[Shown]:
    """The runs whose confusion matrices the page has: the verdict's two come first, and of others that differ in their
    seeds alone the best, as those are."""
    chosen = verdict_pair(found, shown)
    others = [group for group in ranked(found, shown) if not any(one in chosen for one in group)]
    return chosen + [max(group, key=lambda one: one.result.accuracy) for group in others]


def label_of(group: list[Shown]) -> str:
    """What seeds of the same settings are called together."""
    return group[0].strategy if len(group) > 1 else group[0].label


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
