"""The plan on disk: `comparison.json`, from which a comparison is gone on with."""

import contextlib
import re
from pathlib import Path

from compare.plan import MAX_TRAININGS, Training, is_branch
from compare.system.errors import UserError

FORMAT = 2  # the first had no number
NAME = re.compile(r"\w(?:[\w.-]{0,98}\w)?")  # of a folder below `runs`


def write(folder: Path, name: str, trainings: list[Training]) -> None:
    """Keep in `folder` what was asked for."""
    from compare.runs import out_folder
    from compare.system import disk

    disk.write_json(folder / out_folder.COMPARISON, as_json(name, trainings))


def read(folder: Path) -> tuple[str, list[Training]]:
    """The name of the comparison that an earlier command began in `folder`, and its trainings.

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
    return content["name"], trainings


def as_json(name: str, trainings: list[Training]) -> dict:
    """The content of comparison.json but for its hash."""
    asked = [{"name": one.name, "branch": one.branch, "words": list(one.words)} for one in trainings]
    return {"format": FORMAT, "name": name, "trainings": asked}


def check(content) -> None:
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
        whole = set(content) - {"sha256"} == {"format", "name", "trainings"} and isinstance(content["name"], str)
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


def upgraded(content: dict) -> dict:
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
