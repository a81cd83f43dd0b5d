"""The words of the command line that commands which train share.

Standard library only, as `compare.system.command` is.
"""

import argparse
import difflib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from compare import data
from compare.system.command import MAX_EPOCHS, Parser, place, place_or_word, positive_number, whole_number
from compare.system.environment import OFFLINE_VARIABLE
from compare.system.errors import UserError, printable, writable

# The recipe's fields that the command line can change, and their words.
OVERRIDES = {
    "num_epochs": "--epochs",
    "batch_size": "--batch-size",
    "image_size": "--image-size",
    "learning_rate": "--learning-rate",
    "class_weights": "--class-weights",
}
# What to do who wants to train a run for longer, and why.
ANEW_FOR_EPOCHS = (
    "start a new one with --epochs {value}: a complete run keeps no optimizer's state to go on from, and the learning "
    "rate was planned over the epochs that it had"
)
KERAS_BACKENDS = ("tensorflow", "torch", "jax")  # auto tries them in this order
WEIGHTS_WORDS = ("imagenet", "random")  # what --weights takes beside a file's name
DEVICES = "auto, cpu, cuda, cuda:N, mps or xpu"
DEPTHS = (18, 34, 50, 101, 152)
UNREADABLE = ("skip", "refuse")
CLASS_WEIGHTS = ("none", "balanced")
TRACKERS = ("tensorboard", "mlflow", "wandb")
UNFREEZE = ("none", "last-stage", "backbone", "all")
# In the environment it asks a branch to say how many seconds its training takes, in a line that begins with it, and in
# further lines, how many the same would take after that with each of the numbers of labels a class that it lists. JSON:
# `seconds` of the whole process, `epochs` of each and of what follows them, as pairs, the fingerprint of `data`, and
# the bytes of main `memory` that the process has held at most.
ESTIMATE = "COMPARE_ESTIMATE"
EXPECTED = "COMPARE_EXPECTED"  # in the environment: these `epochs`, which are not measured again
TOLD = "COMPARE_TOLD"  # in the environment: another training has said what the data are
SHARED = "COMPARE_SHARED"  # in the environment: other trainings compute on the same device meanwhile
RECIPE_ENDING = ".toml"  # of a file that `--recipe` names
DEFAULT_RECIPE, DEFAULT_SEED = "article", 0  # not argparse's: --resume must know what was given

Group = argparse._ActionsContainer  # of options: a part of a parser, or all of it
Kind = Callable[[str], object]  # what a word of the command line becomes: an argparse type


def device_name(text: str) -> str:
    """The argparse type of `--device`: auto, cpu, cuda, cuda:N, or what PyTorch calls Apple's GPU and Intel's."""
    if not re.fullmatch("auto|cpu|cuda|mps|xpu|cuda:(0|[1-9][0-9]*)", text):
        advice = "say cpu, or leave it out to take a GPU where there is one"
        raise UserError(f"--device {text}", DEVICES, advice)
    return text


def regular_expression(text: str) -> str:
    """The argparse type of `--group-by`."""
    try:
        re.compile(writable(text))
    except re.error as error:
        advice = "mend it: --group-by 'patient-([0-9]+)' takes the number as the group"
        raise UserError(f"--group-by {text} ({error})", "a regular expression of Python's", advice) from error
    return text


def class_weights(text: str) -> str:
    """The argparse type of `--class-weights`."""
    if text not in CLASS_WEIGHTS:
        advice = "say balanced where every class should count alike, however few images it has"
        raise UserError(f"--class-weights {text}", " or ".join(CLASS_WEIGHTS), advice)
    return text


class Offline(argparse.Action):
    """`--offline`: from here on nothing is downloaded, in this process and in those that it starts."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **settings)

    def __call__(self, *_: object) -> None:
        """Set the variable that `compare.data.download` asks."""
        os.environ[OFFLINE_VARIABLE] = "1"


def add_place_options(group: Group) -> None:
    """Add the options that say where data is read and computed, alike in every command that trains."""
    words = f"{', '.join(data.NAMES)}, a folder of images, an .npz, .parquet or .csv file (the recipe's)"
    group.add_argument("--data", type=place_or_word, metavar="D", help=words)
    group.add_argument("--data-dir", type=place, metavar="DIR", help="where Fashion-MNIST is, in any form (found)")
    group.add_argument("--device", type=device_name, default="auto", metavar="D", help=f"{DEVICES} (auto)")
    group.add_argument("--offline", action=Offline, help="download nothing: what is missing is refused by name")


def add_folder_options(parser: Parser) -> None:
    """Add the options of a folder of images, alike in every command that reads one."""
    group = parser.add_argument_group("a folder of images")
    words = "a table of its files, their labels and sides, as a run's split.csv (the folder's own, or a fifth is drawn)"
    group.add_argument("--split", type=place, metavar="FILE", help=words)
    words = "finds in a file's path whose it is: images of one patient, video, … stay on one side of every split"
    group.add_argument("--group-by", type=regular_expression, metavar="REGEX", help=words)


def add_leak_options(parser: Parser) -> None:
    """Add what a training makes of a folder in which something is wrong."""
    group = parser.add_argument_group("where something is wrong with the folder")
    words = "files that cannot be read as images: skip up to a few percent, or refuse any (skip)"
    group.add_argument("--unreadable", choices=UNREADABLE, metavar="U", help=words)
    words = "test on images that are trained on as well, and say so in the report"
    group.add_argument("--allow-leaks", action="store_true", help=words)


def labels_per_class(text: str) -> int | str:
    """The argparse type of `--labels-per-class`: a number, or all."""
    number = whole_number("--labels-per-class", 1, "say how many, or all to take every label that there is")
    return text if text == "all" else number(text)


def add_subset_options(group: Group, kind: Kind = labels_per_class, metavar: str = "N") -> None:
    """Add the options of a part of the training images, with the number of labels of that type."""
    words = "learn from so many labelled images of every class, those for validation among them, or from all (all)"
    group.add_argument("--labels-per-class", type=kind, metavar=metavar, help=words)
    seed = whole_number("--subset-seed", 0, "leave it out to draw them by --seed")
    group.add_argument("--subset-seed", type=seed, metavar="N", help="seed of the draw of these images (--seed)")


def recipe_word(known: list[str]) -> Callable[[str], str]:
    """The argparse type of `--recipe`: one of the known names, of which an empty list knows any, or the full path of a
    file."""

    def parse(text: str) -> str:
        if text.endswith(RECIPE_ENDING):
            return os.path.abspath(place_or_word(text))
        if known and text not in known:
            close = difflib.get_close_matches(text, known, n=1)
            expected = f"{', '.join(known)}, or a file that ends with {RECIPE_ENDING}"
            raise UserError(f"--recipe {printable(text)}", expected, f"say {(close or known)[0]}")
        return writable(text)

    return parse


def add_recipe_options(group: Group, recipes: list[str]) -> None:
    """Add the choice of a recipe by name. An empty list takes any name; the branches know theirs."""
    choice = group.add_mutually_exclusive_group()
    words = f"{', '.join(recipes) or 'one that the branches have: article, demo, …'}, or a file of yours, NAME.toml"
    choice.add_argument("--recipe", type=recipe_word(recipes), metavar="NAME", help=f"{words} (article)")
    choice.add_argument("--demo", dest="recipe", action="store_const", const="demo", help="the same as --recipe demo")
    seed = whole_number("--seed", 0, "leave it out for seed 0")
    group.add_argument("--seed", type=seed, metavar="N", help="seed of every random draw (0)")


def add_override_options(parser: Parser, of: Callable[[Kind], Kind] = lambda kind: kind) -> None:
    """Add the options that change single fields of the recipe (`OVERRIDES`); `of` wraps their types."""
    group = parser.add_argument_group("changes to the recipe, kept in the record")
    advice = "say 1 for a single pass over the training images"
    epochs = whole_number("--epochs", 1, advice, maximum=MAX_EPOCHS)
    batch_size = whole_number("--batch-size", 1, "leave it out for the recipe's own")
    image_size = whole_number("--image-size", 8, "leave it out for the recipe's own", maximum=4096)
    learning_rate = positive_number("--learning-rate", "leave it out for the recipe's own")
    group.add_argument("--epochs", dest="num_epochs", type=of(epochs), metavar="N", help="passes over the images")
    group.add_argument("--batch-size", type=of(batch_size), metavar="N", help="images a step")
    group.add_argument("--image-size", type=of(image_size), metavar="N", help="pixels a side")
    group.add_argument("--learning-rate", type=of(learning_rate), metavar="X", help="size of a step")
    words = "none, or balanced: in training every class counts alike, however few images it has (the recipe's)"
    group.add_argument("--class-weights", type=of(class_weights), metavar="W", help=words)


def add_depth_option(group: Group) -> None:
    """Add the depth of the network from scratch."""
    words = f"layers: {', '.join(map(str, DEPTHS))} (the recipe's)"
    group.add_argument("--depth", type=int, choices=DEPTHS, metavar="N", help=words)


def add_backbone_options(parser: Parser, names: list[str]) -> None:
    """Add the options of the pretrained network, one of `names`. An empty list takes any; the branch knows its own."""
    group = parser.add_argument_group("pretrained network")
    words = f"an image classifier of keras.applications{': ' * bool(names)}{', '.join(names)} (the recipe's: ResNet50)"
    group.add_argument("--backbone", type=writable, choices=names or None, metavar="NAME", help=words)
    words = "imagenet, random, or a file of Keras' that holds the network (the recipe's)"
    group.add_argument("--weights", type=place_or_word, metavar="W", help=words)
    words = f"fine-tune afterwards: {', '.join(UNFREEZE)} (the recipe's)"
    group.add_argument("--unfreeze", choices=UNFREEZE, metavar="U", help=words)
    words = f"auto, {', '.join(KERAS_BACKENDS)} (auto)"
    choices = ("auto", *KERAS_BACKENDS)
    group.add_argument("--keras-backend", choices=choices, default="auto", metavar="B", help=words)


def add_how_options(group: Group) -> None:
    """Add the options that say how far to go, alike in every command that trains."""
    group.add_argument("--check", action="store_true", help="check everything, say how long it would take, and stop")
    words = "predict shifted, noisy, … copies of test images as well, at the end"
    group.add_argument("--robustness", action="store_true", help=words)
    words = f"send settings, curves and results to one of {', '.join(TRACKERS)} as well"
    group.add_argument("--log", choices=TRACKERS, metavar="T", help=words)


def add_branch_options(parser: Parser, *, recipes: list[str]) -> None:
    """Add the options that both branches have, with the same words for the same things."""
    what = parser.add_argument_group("what to train")
    add_recipe_options(what, recipes)
    add_subset_options(what)
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=place, metavar="DIR", help="the run's own new folder (one below reports)")
    add_place_options(where)
    add_folder_options(parser)
    add_leak_options(parser)
    add_override_options(parser)
    how = parser.add_argument_group("how")
    add_how_options(how)
    how.add_argument("--resume", type=place, metavar="DIR", help="go on with an unfinished run where it was left")
