"""What docs/stable.md promises of 1.x: `stable.json` beside this file is what version 1.0 had of it, and what was added
since. Nothing there goes or comes to mean another thing; `python tests/test_stable.py` adds what is new to it."""

import argparse
import inspect
import json
import re
import tomllib
from pathlib import Path

import compare
from compare import doctor, export, predict, report, run
from compare import inspect as inspect_command
from compare.__main__ import COMMANDS
from compare.data.download import MIRRORS_VARIABLE
from compare.runs import schema
from compare.system import errors
from compare.system.environment import OFFLINE_VARIABLE
from pretrained import recipe as pretrained_recipe
from pretrained import train as pretrained_train
from scratch_resnet import recipe as scratch_recipe
from scratch_resnet import train as scratch_train

ROOT = Path(__file__).parent.parent
KEPT = Path(__file__).with_name("stable.json")
REFERENCE = ROOT / "reports/reference"  # which test_reference_curve makes anew
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = (run, report, inspect_command, predict, export, doctor, scratch_train, pretrained_train)
RECIPES = (scratch_recipe, pretrained_recipe)


class Asked(Exception):
    """Carries the parser that a command makes."""


def options_of(module) -> dict[str, list[str]]:
    """The options of a command, and the words by their places, each with its choices."""

    def ask(parser, *_):
        raise Asked(parser)

    parse_args, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, ask
    try:
        module.parse()
    except Asked as asked:
        (parser,) = asked.args
    finally:
        argparse.ArgumentParser.parse_args = parse_args
    return {
        word: sorted(map(str, action.choices or []))
        for action in parser._actions
        for word in action.option_strings or [action.dest]
        if action.help != argparse.SUPPRESS
    }


def parts() -> dict[str, dict]:
    """The JSON schemas of a record and of its parts."""
    declared = schema.Record.model_json_schema()
    return {"Record": declared} | declared["$defs"]


def there_now() -> dict:
    """All of it, as it is."""
    report_json = json.loads((REFERENCE / "report.json").read_text(encoding="utf-8"))
    return {
        "words of scratch-or-pretrained": {word: module for word, (module, _) in COMMANDS.items()},
        "options": {module.__name__: options_of(module) for module in MODULES},
        "exit codes": {name: code for name, code in vars(errors).items() if name.startswith("EXIT_")},
        "names in compare": {
            name: [str(one).partition(":")[0] for one in inspect.signature(getattr(compare, name)).parameters.values()]
            for name in compare.__all__
        },
        "recipes": {module.__name__: sorted(module.RECIPES) for module in RECIPES},
        "fields of a recipe": {module.__name__: sorted(vars(module.RECIPES["article"])) for module in RECIPES},
        "the article's recipes": {
            module.__name__: {
                name: str(value) for name, value in vars(module.RECIPES["article"]).items() if name != "known_mistakes"
            }
            for module in RECIPES
        },
        "format of a run": schema.FORMAT,
        "fields": {
            part: {name: kind(field) for name, field in content["properties"].items()}
            for part, content in parts().items()
        },
        "fields that must be there": {part: content.get("required", []) for part, content in parts().items()},
        "files of a report": {
            "report.json": {name: named(content) for name, content in report_json.items()},
            "metrics.csv": (ROOT / "reports/reference/metrics.csv")
            .read_text(encoding="utf-8")
            .split("\n")[0]
            .split(","),
        },
        "variables of the environment": [OFFLINE_VARIABLE, MIRRORS_VARIABLE],
        "extras": sorted(set(PROJECT["optional-dependencies"]) - {"test", "dev", "docs"}),
    }


def named(content) -> list[str]:
    """The names in an object, or in the first of a list of them."""
    first = content[0] if isinstance(content, list) and content else content
    return list(first) if isinstance(first, dict) else []


def kind(field: dict) -> list[str]:
    """What a field may be."""
    kinds = [one.get("type") or one.get("$ref") or "anything" for one in field.get("anyOf", [field])]
    return sorted(kinds + [str(one) for one in field.get("enum", [])])


def gone(kept, now, where: str = "") -> list[str]:
    """What of `kept` is no more, or another, `now`."""
    if isinstance(kept, dict) and isinstance(now, dict):
        there = [line for name in kept if name in now for line in gone(kept[name], now[name], f"{where} / {name}")]
        return [f"{where} / {name}" for name in kept if name not in now] + there
    if isinstance(kept, list) and isinstance(now, list):
        return [f"{where}: {one}" for one in kept if one not in now]
    return [] if kept == now else [f"{where}: {kept}, now {now}"]


def test_nothing_that_was_promised_is_gone_or_another():
    assert not gone(json.loads(KEPT.read_text(encoding="utf-8")), there_now())


def test_all_that_is_there_is_promised():
    """What is added is kept from then on: this file's command writes it down."""
    assert not gone(there_now(), json.loads(KEPT.read_text(encoding="utf-8")))


def test_a_record_need_not_hold_more_than_in_version_1():
    """Whoever wrote one then had only these to write."""
    required = {part: set(one.get("required", ())) for part, one in parts().items()}
    kept = json.loads(KEPT.read_text(encoding="utf-8"))["fields that must be there"]
    assert {part: names - set(kept[part]) for part, names in required.items() if part in kept} == {
        part: set() for part in kept
    }


if __name__ == "__main__":
    missing = gone(json.loads(KEPT.read_text(encoding="utf-8")), there_now()) if KEPT.exists() else []
    if missing:
        raise SystemExit("promised, and no more:\n" + "\n".join(missing))
    written = json.dumps(there_now(), indent=1, sort_keys=True)
    KEPT.write_text(re.sub(r"(?<=\[|,)\s+(?=[^\[\]{}]*\])|\s+(?=\])", " ", written) + "\n", encoding="utf-8")
