"""What repeats a comparison: one block to copy, of the words, versions and digests that its records have."""

import collections
import itertools
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from compare.page.shown import Shown
from compare.page.words import folder_name, network_in_words, without_folders
from compare.runs.record import RECORD
from compare.runs.schema import Record
from compare.system import processes

PACKAGE = "scratch-or-pretrained"
PLACE = "reports/again"
MOST_NAMED = 4  # runs that a command names one by one
MULTIPLIED = {"--labels-per-class": "all", "--seed": "0"}  # by compare.run; what they are where they are not said


def block(shown: list[Shown]) -> str:
    """The commands from a clone to a report of the same runs, and the digests that tell whether data and weights are
    the same."""
    records = [one.record for one in shown]
    commits = collections.Counter(record.commit for record in records if record.commit)
    addresses = collections.Counter(record.repository for record in records if record.repository)
    names, files = _recipe_files(records)
    lines = [*_clone(commits, addresses), *_install(records), *files, *_trainings(records, names), *_digests(records)]
    return "\n".join(lines)


def page_alone(folders: list[Path]) -> str:
    """The command that makes the same page of the same runs. It names them by what the reader of the page can see."""
    places = [Path(os.path.abspath(folder)) for folder in folders]
    names = [folder_name(folder) for folder in folders]
    if all(place.parent.name == "runs" for place in places):
        beside = {one.parent.name for parent in {one.parent for one in places} for one in parent.glob(f"*/{RECORD}")}
        whole = len(names) > MOST_NAMED and beside <= set(names)
        names = ["runs/*"] if whole else [f"runs/{name}" for name in names]
    return " ".join(["python -m compare.report", *(name if name == "runs/*" else shlex.quote(name) for name in names)])


def _clone(commits: collections.Counter[str], addresses: collections.Counter[str]) -> list[str]:
    lines = [f"# in a clone of {PACKAGE}"]
    if addresses:
        ((address, _),) = addresses.most_common(1)
        lines = [f"git clone {shlex.quote(address)} {PACKAGE} && cd {PACKAGE}"]
    if commits:
        (commit, _), *others = commits.most_common()
        clean, changed, _ = commit.partition("+")
        lines.append(
            f"git checkout {shlex.quote(clean)}" + ("  # and changes that were not committed" if changed else "")
        )
        lines += [f"# other runs are of {', '.join(other[:12] for other, _ in others)}"] if others else []
    return lines


def _install(records: list[Record]) -> list[str]:
    versions: dict[str, str] = {}
    for record in records:
        for name, version in record.versions.items():
            versions.setdefault(name, version)
    pins = [
        shlex.quote(f"{name}=={version.partition('+')[0]}")
        for name, version in sorted(versions.items())
        if re.fullmatch(r"[\w.-]+", name) and name not in ("python", "platform", PACKAGE)
    ]
    python = f"  # Python {versions['python']}" if "python" in versions else ""
    lines = [f"python3 -m venv .venv && . .venv/bin/activate{python}"]
    return [*lines, " ".join(["pip install -e .", *pins])]


def _recipe_files(records: list[Record]) -> tuple[list[str | None], list[str]]:
    """The recipe files that the records tell of: for each record the name of its own, None without one, and lines that
    write all of them. A file has a table for each branch; what its writer changed between two runs is another file."""
    names: list[str | None] = []
    tables: dict[str, dict[str, list[str]]] = {}  # by names and branches
    for record in records:
        if record.recipe_file is None:
            names.append(None)
            continue
        fields = {"base": record.recipe_file.base} | record.recipe_file.fields
        table = [f"[{_toml_key(record.branch)}]", *(f"{_toml_key(name)} = {_toml(fields[name])}" for name in fields)]
        # in no place but where the reader stands: somebody else may have written the record
        stem = re.sub(r"[^\w.]+", "-", record.recipe.name).strip("-.") or "recipe"
        for number in itertools.count(1):
            name = f"{stem}{f'-{number}' * (number > 1)}.toml"
            if tables.setdefault(name, {}).setdefault(record.branch, table) == table:
                break
        names.append(name)
    lines = []
    for name, of_branches in tables.items():
        lines += [
            f"cat > {shlex.quote(name)} << 'END'",
            *(line for table in of_branches.values() for line in table),
            "END",
        ]
    return names, lines


def _toml(value: Any) -> str:
    """A value of JSON's as TOML has it: all but objects are alike."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(name)} = {_toml(one)}' for name, one in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _trainings(records: list[Record], recipe_files: list[str | None]) -> list[str]:
    """The fewest commands that train all of them: those of the same labels and seeds take one."""
    points: dict[str, dict[str, list[str]]] = {}  # the seeds, by words and labels
    lines: list[str] = []
    for record, recipe_file in zip(records, recipe_files, strict=True):
        options = _options(record)
        if options is not None and recipe_file is not None:
            options["--recipe"] = recipe_file
        if options is None:
            line = f"# {network_in_words(record)}: another program's, which tells no command"
            lines += [line] if line not in lines else []
            continue
        labels, seed = (options.pop(name, None) or default for name, default in MULTIPLIED.items())
        if options.get("--subset-seed") == seed:
            del options["--subset-seed"]
        words = shlex.join([record.branch, *(word for item in options.items() for word in item if word is not None)])
        points.setdefault(words, {}).setdefault(labels, []).append(seed)
    commands: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}  # words, by labels and seeds
    for words, seeds_of in points.items():
        labels_of: dict[tuple[str, ...], list[str]] = {}
        for labels, some in seeds_of.items():
            labels_of.setdefault(tuple(sorted(set(some), key=int)), []).append(labels)
        for seeds, some in labels_of.items():
            commands.setdefault((tuple(sorted(some, key=_number)), seeds), []).append(words)
    for number, ((of_labels, seeds), some) in enumerate(commands.items(), start=1):
        runs = "".join(f" \\\n    --run {shlex.quote(one)}" for one in some)
        choice = [] if of_labels == ("all",) else ["--labels-per-class", ",".join(of_labels)]
        place = PLACE if len(commands) == 1 else f"{PLACE}-{number}"
        lines.append(
            f"python -m compare.run{runs} \\\n    {shlex.join([*choice, '--seeds', ','.join(seeds), '--out', place])}"
        )
    if len(commands) > 1:
        lines.append(f"python -m compare.report {PLACE}-*/runs/* --out {PLACE}")
    return lines


def _options(record: Record) -> dict[str, str | None] | None:
    """The words of a run's command by their options, each with what follows it, and those that its record alone has;
    None where it was not trained by one."""
    try:
        command = shlex.split(without_folders(record.command or "").replace("…/", ""))
    except ValueError:  # a quotation that does not end
        return None
    begins = [*processes.launcher(record.num_processes), f"{record.branch}.train"]
    if command[: len(begins)] != begins:
        return None
    options: dict[str, str | None] = {}
    last = None
    for word in command[len(begins) :]:
        if word.startswith("--"):
            last = word
            options[last] = None
        elif last is not None:
            options[last] = word
    if not all(re.fullmatch(r"\d{1,18}", options.get(name, "0") or "") for name in MULTIPLIED):
        return None
    recipe = record.recipe.as_json()
    if record.data.name != recipe.get("data", record.data.name):
        options.setdefault("--data", record.data.name)
    backend = record.versions.get("keras backend", "tensorflow")  # which auto takes where all are there
    return options if backend == "tensorflow" else {"--keras-backend": backend, **options}


def _number(labels: str) -> float:
    return float("inf") if labels == "all" else int(labels)


def _digests(records: list[Record]) -> list[str]:
    told = {
        **{f"data, images and labels: {record.data.title}": record.data.fingerprint for record in records},
        **{f"weights: {one.model.name}, {one.weights.kind}": one.weights.sha256 for one in records if one.model},
    }
    lines = [f"# SHA-256 of the {name}, {digest}" for name, digest in told.items() if digest]
    devices = dict.fromkeys(
        f"# computed on {one.device.kind}: {one.device.name}"
        + (f", by {one.num_processes} processes together, as one does but for rounding" * (one.num_processes > 1))
        for one in records
        if one.device
    )
    return [*lines, *devices]
