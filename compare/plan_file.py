"""The plan on disk: `comparison.json`, from which a comparison is gone on with, with the recipe files that it names."""

import contextlib
import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compare.plan import MAX_TRAININGS, Training, by_option, is_branch, words_of
from compare.system.errors import UserError
from compare.training.options import RECIPE_ENDING

FORMAT = 2  # the first had no number
NO_RECIPES: Mapping[str, str] = types.MappingProxyType({})
NAME = re.compile(r"\w(?:[\w.-]{0,98}\w)?")  # of a folder below `runs`


def write(
    folder: Path, name: str, trainings: list[Training], recipes: Mapping[str, str] = NO_RECIPES
) -> list[Training]:
    """Keep in `folder` what was asked for, and beside it the recipe files; gives what `put_recipes` does."""
    from compare.runs import out_folder
    from compare.system import disk

    disk.write_json(folder / out_folder.COMPARISON, as_json(name, trainings, recipes))
    return put_recipes(folder, trainings, recipes)


def put_recipes(folder: Path, trainings: list[Training], recipes: Mapping[str, str]) -> list[Training]:
    """Write the recipe files (`recipes_of`) into `folder`: those that were named may be moved or changed meanwhile.
    Returns the trainings, which take them from there."""
    from compare.system import disk

    for file, text in recipes.items():
        disk.write_atomically(folder / file, text.encode())
    return _with_recipes(trainings, folder.absolute().joinpath)


def recipes_of(trainings: list[Training]) -> dict[str, str]:
    """What the recipe files hold that trainings name, by the files' names.

    Raises:
        UserError: one cannot be read, or two are called alike.
    """
    found: dict[str, Path] = {}
    for training in trainings:
        for word in by_option(training.words).get("--recipe", []):
            path = Path(word)
            if not word.endswith(RECIPE_ENDING):
                continue
            if not NAME.fullmatch(path.name):
                expected = "a file whose name has letters, digits, dots and dashes alone"
                raise UserError(f"--recipe {path}", expected, "rename it")
            if found.setdefault(path.name, path) != path:
                raise UserError(
                    f"--recipe {found[path.name]} and {path}, which are called alike",
                    "recipes that their names tell apart",
                    "rename one of the files",
                )
    if not found:
        return {}
    from compare.training import recipe_file

    return {name: recipe_file.text_of(path) for name, path in found.items()}


def _with_recipes(trainings: list[Training], place: Callable[[str], object]) -> list[Training]:
    """The trainings with their recipe files where `place` gives them by their names."""
    changed = []
    for training in trainings:
        options = by_option(training.words)
        (word, *_) = options.get("--recipe") or [""]
        if word.endswith(RECIPE_ENDING):
            options["--recipe"] = [str(place(Path(word).name))]
            training = dataclasses.replace(training, words=tuple(words_of(options)))
        changed.append(training)
    return changed


def read(folder: Path) -> tuple[str, list[Training], dict[str, str]]:
    """The name of the comparison that an earlier command began in `folder`, its trainings, and its recipe files.

    Raises:
        UserError: there is none that can be read.
    """
    from compare.runs import out_folder
    from compare.system import disk

    try:
        content = disk.read_json(folder / out_folder.COMPARISON)
        check(content)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} holds no comparison to go on with ({error})",
            "the folder that an interrupted compare.run named",
            "look for it below reports/, or start a new comparison",
        ) from error
    content = upgraded(content)
    trainings = [Training(one["name"], one["branch"], tuple(one["words"])) for one in content["trainings"]]
    return content["name"], trainings, content.get("recipes", {})


def as_json(name: str, trainings: list[Training], recipes: Mapping[str, str] = NO_RECIPES) -> dict[str, Any]:
    """The content of comparison.json but for its hash."""
    asked = [
        {"name": one.name, "branch": one.branch, "words": list(one.words)} for one in _with_recipes(trainings, str)
    ]
    return {"format": FORMAT, "name": name, "trainings": asked} | ({"recipes": dict(recipes)} if recipes else {})


def check(content: Any) -> None:
    """Refuse what comparison.json holds where a comparison cannot be gone on with that asks for it.

    Raises:
        ValueError: why not.
    """
    from compare.system import disk

    if disk.is_changed(content):
        raise ValueError("it holds other content than was asked for")
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        content = upgraded(content)
        if content["format"] != FORMAT:
            raise ValueError(f"it is of format {content['format']}, and this version reads {FORMAT}")
        trainings = content["trainings"]
        names = {one["name"].casefold() for one in trainings if NAME.fullmatch(one["name"])}
        parts = set(content) - {"sha256", "recipes"}
        whole = parts == {"format", "name", "trainings"} and isinstance(content["name"], str)
        whole = whole and all(
            NAME.fullmatch(name) and name.endswith(RECIPE_ENDING) and isinstance(text, str)
            for name, text in content.get("recipes", {}).items()
        )
        whole = whole and type(trainings) is list and 0 < len(trainings) == len(names) <= MAX_TRAININGS
        if whole and all(
            set(one) == {"name", "branch", "words"}
            and is_branch(one["branch"])
            and type(one["words"]) is list
            and all(isinstance(word, str) for word in one["words"])
            for one in trainings
        ):
            return
    raise ValueError("it names branches that are not here, or trainings, words or seeds that are none")


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """What comparison.json says, in today's form: the first one had the words of each branch, and seeds for all.

    Raises:
        KeyError, TypeError, AttributeError: it has neither form.
    """
    if "branches" not in content:
        return content
    if any(type(seed) is not int for seed in content.get("seeds", [])):
        raise TypeError
    trainings = []
    for seed in content.get("seeds", [None]):
        for branch, words in content["branches"].items():
            name = branch if seed is None else f"{branch}-seed-{seed}"
            words = words if seed is None else words | {"--seed": str(seed)}
            words = [word for item in words.items() for word in item if word is not None]
            trainings.append({"name": name, "branch": branch, "words": words})
    return {"format": FORMAT, "name": content["name"], "trainings": trainings}
