"""A recipe out of a TOML file, `--recipe FILE.toml`: one that the branch has by name, and fields of `recipe.py` on top.

    base = "tuned"            # what stands on top holds for every branch
    image_size = 48

    [scratch_resnet]          # and this for one alone
    learning_rate = 0.01

It is called as the file is, without the ending, and a run keeps what it says, not where it lay.
"""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from compare import data, start
from compare.runs.schema import RecipeFile
from compare.system import disk
from compare.system.errors import UserError, printable, writable
from compare.training.options import DEFAULT_RECIPE, RECIPE_ENDING
from compare.training.recipe import AnyRecipe

MAX_BYTES = 1_000_000
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def with_file(
    recipes: dict[str, AnyRecipe],
    word: str | None,
    branch: str,
    *,
    choices: Mapping[str, Collection[str]] | None = None,
) -> tuple[dict[str, AnyRecipe], RecipeFile | None]:
    """The recipes that can be chosen from, by the words that choose them, and what a file says if `word` names one.

    Args:
        recipes: the branch's, by their names.
        word: what `--recipe` was given.
        choices: what a field of texts may be, where its type does not say so.

    Raises:
        UserError: the file cannot be read, or says what no recipe of this branch can have.
    """
    if word is None or not word.endswith(RECIPE_ENDING):
        return recipes, None
    path, kind = Path(word), type(recipes[DEFAULT_RECIPE])
    choices = {"data": data.NAMES, "base": recipes, **(choices or {})}
    if path.stem in recipes:
        raise UserError(
            f"--recipe {path}, and {path.stem} is a recipe that {branch} has", "a name of its own", "rename the file"
        )
    own = _of_branch(path, branch)
    if "base" not in own:
        raise UserError(
            f"{path} has no base for {branch}",
            f"the recipe that it begins with: {', '.join(recipes)}",
            f'write on top of it: base = "{DEFAULT_RECIPE}"',
        )
    base = _checked(path, "base", str, own.pop("base"), choices)
    fields = _checked_fields(path, branch, kind, own, choices)
    left = {name: value for name, value in recipes[base].on_photographs.items() if name not in fields}
    try:
        recipe = dataclasses.replace(recipes[base], name=path.stem, **{"on_photographs": left} | fields)
    except ValueError as error:  # two fields that do not go together
        raise UserError(f"{path}, for {branch}: {error}", "fields that go together", "change one of them") from error
    return recipes | {word: recipe}, RecipeFile(base=base, fields=json.loads(json.dumps(fields)))


def text_of(path: Path) -> str:
    """What a recipe's file holds; raises a UserError where it cannot be read, or is no TOML."""
    try:
        text = disk.read_within(path, MAX_BYTES).decode()
        tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        said = printable(str(getattr(error, "strerror", None) or error))
        raise UserError(
            f"--recipe {path} cannot be read ({said})",
            'a recipe in TOML: base = "tuned", and lines like num_epochs = 20',
            "look whether the path is right, and mend the file",
        ) from error
    return text


def _of_branch(path: Path, branch: str) -> dict[str, Any]:
    """What the file says for this branch: what stands on top, and over it what its own table has."""
    content = tomllib.loads(text_of(path))
    branches = {*start.OURS, branch} - {"compare"}
    wanted = f"a table for a branch ({', '.join(sorted(branches))}), and single values for fields"
    for name, value in content.items():
        if name in branches and not isinstance(value, dict):
            raise UserError(f"{path}: {name} = {printable(repr(value))[:200]}", wanted, f"write it [{name}]")
        if isinstance(value, dict) and name not in {*branches, "on_photographs"}:
            raise _unknown(path, f"[{name}]", name, branches, wanted)
    shared = {name: value for name, value in content.items() if name not in branches}
    if not shared and branch not in content:
        raise UserError(
            f"{path} says nothing of {branch}",
            f"a table [{branch}], or fields on top, which hold for every branch",
            f"add one, or train what it is for: {', '.join(content) or 'it is empty'}",
        )
    return shared | content.get(branch, {})


def _checked_fields(
    path: Path, branch: str, kind: type, values: dict[str, Any], choices: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    """The values as the fields of a recipe of this kind take them; refused where there is no such field."""
    hints = typing.get_type_hints(kind, include_extras=True)
    known = hints.keys() - {"name"}
    found = {}
    for name, value in values.items():
        if name not in known:
            where = f"a field of {branch}'s recipes, which {branch}/recipe.py explains"
            raise _unknown(path, f"{name} = {value!r}", name, known, where)
        if name == "on_photographs" and isinstance(value, dict) and name not in value:
            found[name] = _checked_fields(path, branch, kind, value, choices)
        else:
            found[name] = _checked(path, name, hints[name], value, choices)
    return found


def _unknown(path: Path, said: str, name: str, known: Iterable[str], expected: str) -> UserError:
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"say {close[0]}" if close else "leave it out, or put it in the table of the branch that has it"
    return UserError(f"{path}: {printable(said)[:200]}, which is not known", expected, advice)


def _checked(path: Path, name: str, hint: Any, value: object, choices: Mapping[str, Collection[str]]) -> Any:
    """The value as a field of this type holds it, a list as a tuple; refused where it is none."""
    try:
        found = pydantic.TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
        if name in choices and found not in choices[name]:
            raise ValueError
        if typing.get_origin(hint) is Annotated:
            numbers = found if isinstance(found, tuple) else [found]
            if not all(_lies_in(number, hint.__metadata__[0]) for number in numbers):
                raise ValueError
        for text in found if isinstance(found, tuple) else [found]:
            if isinstance(text, str):
                writable(text)
        return found
    except ValueError as error:
        expected = f"one of {', '.join(choices[name])}" if name in choices else _in_words(hint)
        raise UserError(
            f"{path}: {name} = {printable(repr(value))[:200]}", expected, "mend it, or leave it out for the base's own"
        ) from error


def _lies_in(number: float, interval: str) -> bool:
    """Whether it lies in an interval as fields have it beside their type: `[0, 1)`."""
    low, high = map(float, interval[1:-1].split(","))
    ends = {end for end, bracket in ((low, interval[0]), (high, interval[-1])) if bracket in "[]"}
    return low < number < high or number in ends


def _in_words(hint: Any) -> str:
    """What a field of this type takes."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return f"{_in_words(arguments[0])} in {arguments[1]}"
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if typing.get_origin(hint) is tuple:
        return f"a list, of which each is {_in_words(arguments[0])}"
    if typing.get_origin(hint) is dict or isinstance(hint, types.UnionType):
        return "a table of fields"
    return KINDS[hint]
