"""A plan: the trainings that a comparison is made of, out of the words of the command line.

`--run` names a branch and the words of its own command line, which its own parser judges. `--both`, `--scratch` and
`--pretrained` are short for the usual ones; `--vary` and `--seeds` multiply all that are planned.
"""

import argparse
import dataclasses
import itertools
import math
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from compare import data
from compare.system.command import place_or_word, whole_number
from compare.system.errors import UserError, writable
from compare.training.options import OVERRIDES, RECIPE_ENDING, WEIGHTS_WORDS, labels_per_class

BRANCHES = {"scratch": "scratch_resnet", "pretrained": "pretrained"}  # what the short forms know
# What a resumed branch is told again; the last two where it has them.
PLACE_WORDS = ("--data", "--data-dir", "--split", "--device", "--log", "--weights", "--keras-backend")
OURS = ("--out", "--resume", "--check", "--find-learning-rate")  # what this command says to a branch itself
MAX_TRAININGS = 300
MAX_NAME = 60  # characters, before what makes it the only one
OPTION = re.compile(r"--?[A-Za-z]")
SPEAKS_FOR_ITSELF = ("--recipe", "--backbone")  # in a name the value alone says what it is

# What `--label-curve` compares, by the recipe that was asked for: branches and their recipes, and by default with how
# many labels of every class and which seeds. All labels come first: that fills the cache of features for the others.
LABEL_CURVES = {
    None: (
        (("scratch_resnet", "tuned"), ("pretrained", "frozen"), ("pretrained", "fine-tuned")),
        ["all", "1000", "300", "100", "30", "10", "5"],
        [0, 1, 2],
    ),
    "demo": (
        (("scratch_resnet", "demo"), ("pretrained", "demo"), ("pretrained", "demo-fine-tuned")),
        ["all", "20", "5"],
        [None],
    ),
}

# What one branch alone knows, with what it is where it was not given.
OF_ONE_BRANCH = {
    "depth": ("scratch", None),
    "backbone": ("pretrained", None),
    "weights": ("pretrained", None),
    "unfreeze": ("pretrained", None),
    "keras_backend": ("pretrained", "auto"),
}
Options = dict[str, list[str]]  # by option, the words that follow it


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a plan.

    Attributes:
        name: of its folder below `runs`.
        branch: its package, whose module `train` is run.
        words: of its command line, but for those that say where the run lies.
    """

    name: str
    branch: str
    words: tuple[str, ...]

    @property
    def variant(self) -> tuple[str, ...]:
        """What it is but for its seed."""
        return self._without("--seed")

    @property
    def strategy(self) -> tuple[str, ...]:
        """What it is but for its seed and the labels that it learns from, unless these are for its branch to refuse."""
        names = ("--seed", "--labels-per-class") if self.labels is not None else ("--seed",)
        return self._without(*names)

    @property
    def labels(self) -> str | None:
        """How many labels of every class it learns from: a number, or all; None where its words are neither."""
        values = by_option(self.words).get("--labels-per-class", ["all"])
        return values[0] if len(values) == 1 and (values[0] == "all" or values[0].isdecimal()) else None

    def _without(self, *names: str) -> tuple[str, ...]:
        options = {name: values for name, values in by_option(self.words).items() if name not in names}
        return (self.branch, *words_of(options))


def planned(arguments: argparse.Namespace) -> list[Training]:
    """The trainings that were asked for: every variant with the first seed before any with the next, so that who ends
    it early can compare.

    Raises:
        UserError: there are too many, or one is there twice, or they contradict each other.
    """
    seeds, varied = arguments.seeds or [None], dict(arguments.vary or [])
    if len(varied) < len(arguments.vary or []):
        raise UserError("--vary twice with the same option", "all of its values in one", "list them between commas")
    labels = arguments.labels_per_class
    if arguments.label_curve:
        _, usual_labels, usual_seeds = LABEL_CURVES[arguments.recipe]
        labels = labels or usual_labels
        seeds = usual_seeds if arguments.seeds is None and arguments.seed is None else seeds
    if labels:
        varied["--labels-per-class"] = labels
    number = len(asked(arguments)) * math.prod(map(len, varied.values())) * len(seeds)
    if number > MAX_TRAININGS:
        raise UserError(
            f"a plan of {number:,} trainings",
            f"at most {MAX_TRAININGS} in one comparison",
            "vary less at a time, and take the next from what comes out",
        )
    variants = [
        (branch, shared_options(branch, arguments) | own | dict(zip(varied, ([one] for one in values), strict=True)))
        for branch, own in asked(arguments)
        for values in itertools.product(*varied.values())
    ]
    if seeds != [None] and any("--seed" in options for _, options in variants):
        raise UserError("--seed together with --seeds", "one of them", "add the one seed to the others")
    if len({tuple(options.get("--data", ())) for _, options in variants}) > 1:
        raise UserError(
            "trainings on several --data", "one for all: on other images nothing compares", "say it once, beside --run"
        )
    told = set()
    for branch, options in variants:
        if (one := (branch, *sorted(map(tuple, map(words_of_item, options.items()))))) in told:
            raise UserError(
                f"twice the same training: {shlex.join([branch, *words_of(options)])}",
                "every training once",
                "leave one out; --seeds trains it again with other seeds",
            )
        told.add(one)
    trainings, taken = [], set()
    for seed in seeds:
        for (branch, options), name in zip(variants, names_of(variants), strict=True):
            if seed is not None:
                name, options = f"{name}-seed-{seed}", options | {"--seed": [str(seed)]}
            name = next(
                one
                for one in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
                if one.casefold() not in taken  # some file systems take capitals for small letters
            )
            taken.add(name.casefold())
            trainings.append(Training(name, branch, tuple(words_of(options))))
    return trainings


def refuse_without_branch(arguments: argparse.Namespace) -> None:
    """Refuse what is for a branch that is not trained, and a bare learning rate where both are."""
    if arguments.label_curve and arguments.recipe not in LABEL_CURVES:
        raise UserError(
            f"--label-curve together with --recipe {arguments.recipe}",
            "--label-curve with the recipes of its strategies: tuned from scratch, frozen, and fine-tuned; or --demo",
            "leave --recipe out, or name trainings of yours by --run, with --labels-per-class 5,10,all",
        )
    branches = {branch for branch, _ in asked(arguments)}
    ways = ("both", "scratch", "pretrained", "run", "label_curve")
    said = next(f"--{word.replace('_', '-')}" for word in ways if getattr(arguments, word))
    for name, (word, default) in OF_ONE_BRANCH.items():
        if getattr(arguments, name) != default and BRANCHES[word] not in branches:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} together with {said}",
                f"it with --both or --{word}: other networks do not know it",
                f"leave {option} out",
            )
    words = {word for word in BRANCHES if BRANCHES[word] in branches}
    for name, option in OVERRIDES.items():
        for word in set(getattr(arguments, name) or {}) - {"both", *words}:
            raise UserError(
                f"{option} {word}=… without that branch", "a branch that is trained", f"add --both, or drop {word}="
            )
    if len(branches) > 1 and "both" in (arguments.learning_rate or {}):
        raise UserError(
            f"--learning-rate {arguments.learning_rate['both']} for both branches",
            "one for each: Adam from scratch and plain gradient descent on a head need rates far apart",
            "name the branch: --learning-rate scratch=X,pretrained=X (or one of the two)",
        )


def asked(arguments: argparse.Namespace) -> list[tuple[str, Options]]:
    """The branches to train, each with words of its own."""
    if arguments.label_curve:
        return [(branch, {"--recipe": [recipe]}) for branch, recipe in LABEL_CURVES[arguments.recipe][0]]
    return arguments.run or [
        (branch, {}) for word, branch in BRANCHES.items() if arguments.both or getattr(arguments, word)
    ]


def names_of(variants: list[tuple[str, Options]]) -> list[str]:
    """A name for each variant: its branch where that has one alone, else with what sets it apart from the others, safe
    for every file system. Two may be alike, where they differ in what no name can hold."""
    names = []
    for branch, options in variants:
        others = [options_there for branch_there, options_there in variants if branch_there == branch]
        words = [branch]
        for option, values in options.items():
            if any(options_there.get(option) != values for options_there in others):
                words += [] if option in SPEAKS_FOR_ITSELF else [option.lstrip("-")]
                words += [Path(value).name.removesuffix(RECIPE_ENDING) for value in values]
        name = unicodedata.normalize("NFC", "-".join(words))
        names.append(re.sub(r"[^\w.]+", "-", name)[:MAX_NAME].strip("-."))
    return names


def shared_options(branch: str, arguments: argparse.Namespace) -> Options:
    """What compare.run itself was told that this branch is told."""
    word = next((word for word, package in BRANCHES.items() if package == branch), None)
    options = {"--recipe": arguments.recipe, "--seed": arguments.seed, "--subset-seed": arguments.subset_seed}
    if word == "scratch":
        options["--depth"] = arguments.depth
    if word == "pretrained":
        options |= {"--backbone": arguments.backbone, "--unfreeze": arguments.unfreeze}
    options |= {"--group-by": arguments.group_by, "--unreadable": arguments.unreadable}
    options |= place_options(branch, arguments)
    for name, option in OVERRIDES.items():
        values = getattr(arguments, name) or {}
        options[option] = values.get(word, values.get("both"))
    found = {
        option: value if isinstance(value, list) else [str(value)]
        for option, value in options.items()
        if value is not None
    }
    flags = {"--allow-leaks": arguments.allow_leaks, "--robustness": arguments.robustness}
    return found | {option: [] for option, is_asked in flags.items() if is_asked}


def place_options(branch: str, arguments: argparse.Namespace) -> Options:
    """Those of `PLACE_WORDS` that were given and this branch knows."""
    options = {"--data": arguments.data, "--data-dir": arguments.data_dir, "--split": arguments.split}
    options |= {"--device": arguments.device, "--log": arguments.log}
    if branch == BRANCHES["pretrained"]:
        options |= {"--weights": arguments.weights, "--keras-backend": arguments.keras_backend}
    return {option: [full_path(option, str(value))] for option, value in options.items() if value not in (None, "auto")}


def told_again(trainings: list[Training], arguments: argparse.Namespace) -> list[Training]:
    """The trainings with the places that a resumed command was given. A control on random weights stays one."""
    told = []
    for training in trainings:
        options, places = by_option(training.words), place_options(training.branch, arguments)
        if options.get("--weights") == ["random"]:
            places.pop("--weights", None)
        told.append(dataclasses.replace(training, words=tuple(words_of(options | places))))
    return told


def place_of_data(trainings: list[Training]) -> Path | None:
    """Where the report finds the images, if that was said."""
    for training in trainings:
        options = by_option(training.words)
        for told in (*options.get("--data", ()), *options.get("--data-dir", ())):
            if told not in data.NAMES:
                return Path(told)
    return None


def words_left(training: Training, run: Path) -> list[str] | None:
    """The words that bring one training to its end from where its run is; None where it is complete."""
    from compare.runs import checkpoint, record

    if (run / record.RECORD).exists():
        return None
    if checkpoint.found(run):
        places = {option: words for option, words in by_option(training.words).items() if option in PLACE_WORDS}
        return [*words_of(places), "--resume", str(run)]
    return [*training.words, "--out", str(run)]


# ---- words


def by_option(words: Iterable[str]) -> Options:
    """The words of a command line by the option that they follow; what comes before any is the branch's to refuse.

    Raises:
        UserError: an option comes twice.
    """
    options: Options = {"": []}
    last = ""
    for word in words:
        if OPTION.match(word):
            last, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
            if last in options:
                raise UserError(f"{last} twice in one training", "every option once", "leave one of them out")
            options[last] = [value] if equals else []
        else:
            options[last].append(word)
    return options if options[""] else {option: values for option, values in options.items() if option}


def words_of(options: Options) -> list[str]:
    """The command line of these options."""
    return [word for item in options.items() for word in words_of_item(item)]


def words_of_item(item: tuple[str, list[str]]) -> list[str]:
    """The words of one option, and of what comes before any."""
    option, values = item
    return [option, *values] if option else values


def full_path(option: str, value: str) -> str:
    """A place by its full path, as a resumed command may stand elsewhere; all else as it is."""
    if option == "--recipe" and value.endswith(RECIPE_ENDING):
        return os.path.abspath(place_or_word(value))
    words = {"--data": data.NAMES, "--data-dir": (), "--split": (), "--weights": WEIGHTS_WORDS}.get(option)
    if words is None or value in words:
        return value
    found = place_or_word(value)
    is_place = option in ("--data-dir", "--split")
    return os.path.abspath(found) if is_place or os.path.exists(found) else value


def one_run(text: str) -> tuple[str, Options]:
    """The argparse type of `--run`: a branch and its options."""
    try:
        branch, *words = shlex.split(writable(text)) or [""]
    except ValueError as error:
        raise UserError(f"--run {text!r} ({error})", "words as a shell takes them", "close the quotes") from error
    if not is_branch(branch):
        raise UserError(
            f"--run {text!r}: no package {branch!r} with a module train is found",
            f"a branch first, which are {' and '.join(BRANCHES.values())} here",
            f"begin with it: --run '{BRANCHES['scratch']} --recipe tuned'; one of yours has to be on Python's path",
        )
    options = by_option(words)
    for option in OURS:
        if option in options:
            raise UserError(
                f"{option} in --run {text!r}",
                "what is trained: where, and how far, is said once",
                f"leave {option} out",
            )
    return branch, {option: [full_path(option, value) for value in values] for option, values in options.items()}


def is_branch(package: str, module: str = "train") -> bool:
    """Whether Python finds a package of this name, and in it such a module. Neither is imported: that could bring a
    framework into this process."""
    found = PathFinder.find_spec(package) if package.isidentifier() else None
    folders = found.submodule_search_locations if found is not None else None
    return bool(folders) and PathFinder.find_spec(f"{package}.{module}", folders) is not None


def one_variation(text: str) -> tuple[str, list[str]]:
    """The argparse type of `--vary`: an option and its values."""
    name, _, values = writable(text).partition("=")
    option, found = f"--{name}", values.split(",")
    if not OPTION.match(option) or not re.fullmatch(r"[\w-]+", name) or "" in found or len(set(found)) < len(found):
        raise UserError(
            f"--vary {text}", "an option without dashes, and values, each once", "write it so: --vary image-size=32,64"
        )
    if option in (*OURS, "--seed"):
        raise UserError(
            f"--vary {text}", "an option that changes the training", "for seeds say --seeds 0,1,2; else leave it out"
        )
    return option, [full_path(option, value) for value in found]


def several_labels(text: str) -> list[str]:
    """The argparse type of `--labels-per-class`: numbers, or all, between commas, each once."""
    found = [str(labels_per_class(part)) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise UserError(f"--labels-per-class {text}", "every number once", "leave the repeated ones out")
    return found


def seeds(text: str) -> list[int]:
    """The argparse type of `--seeds`: whole numbers between commas, each once."""
    number = whole_number(f"--seeds {text}, in which", 0, "list them like this: --seeds 0,1,2")
    found = [number(part) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise UserError(f"--seeds {text}", "every seed once", "leave the repeated ones out")
    return found


def per_branch(kind: Callable[[str], object]) -> Callable[[str], dict[str, Any]]:
    """The argparse type of `VALUE`, or `scratch=VALUE`, or `scratch=VALUE,pretrained=VALUE`: a dictionary by branch,
    with the key `both` for a bare value."""

    def parse_value(text: str) -> dict[str, Any]:
        if "=" not in text:
            return {"both": kind(text)}
        values = {}
        for part in text.split(","):
            word, _, value = part.partition("=")
            if word not in BRANCHES or word in values:
                raise UserError(
                    f"{part!r} in {text!r}",
                    "scratch=VALUE or pretrained=VALUE, once each",
                    "mend it, or give one value",
                )
            values[word] = kind(value)
        return values

    return parse_value
