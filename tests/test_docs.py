"""The papers: their links lead somewhere, both READMEs give the same commands, and the format of a run is the one that
`compare/runs/schema.py` declares. That their commands parse, `test_house.py` has."""

import ast
import inspect
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_runs import write_run

from compare import card, load_run
from compare.runs import record, saving, schema

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAPERS = [ROOT / "README.md", ROOT / "README.zh.md", *sorted(ROOT.glob("[CS]*.md")), *sorted(DOCS.glob("*.md"))]
TRACKED = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines()


def prose(text: str) -> str:
    """A paper without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """What links call the headings of a paper, where code hosts and MkDocs agree, and what mkdocstrings adds."""
    headings = [re.sub(r"[^\w\- ]", "", one.lower()).strip() for one in re.findall(r"^#+ (.+)$", prose(text), re.M)]
    slugs = {one.replace(" ", "-") for one in headings} & {re.sub(r"[- ]+", "-", one) for one in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", text, re.M))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_link_leads_to_a_file_and_an_anchor(paper):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(paper.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (paper.parent / place).resolve() if place else paper
        name = target.relative_to(ROOT).as_posix()
        assert name in TRACKED or any(one.startswith(f"{name}/") for one in TRACKED), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_the_navigation_and_has_a_title():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [page for one in navigation for page in one.values()]
    assert sorted(pages) == sorted(page.name for page in DOCS.glob("*.md"))
    for page in pages:
        assert re.match(r"# \w", (DOCS / page).read_text(encoding="utf-8")), page


def test_the_page_on_the_report_has_its_sections_in_their_order():
    template = (ROOT / "compare/page/templates/report.html.j2").read_text(encoding="utf-8")
    navigation = re.findall(r'^  \("\w+", say\("([^"]+)"\)', template, re.M)
    rows = re.findall(r"^\| ([A-Z][^|]*?) \|", (DOCS / "report.md").read_text(encoding="utf-8"), re.M)
    assert rows == navigation and len(rows) > 5


# ---- two languages


def blocks(paper: str) -> list[list[str]]:
    """The blocks of code of a paper, as lines without their comments."""
    text = (ROOT / paper).read_text(encoding="utf-8")
    found = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
    return [[re.sub(r"\s*(?<!\S)#.*", "", line) for line in block.splitlines()] for block in found]


def test_both_languages_give_the_same_commands_and_lead_to_each_other():
    english, chinese = blocks("README.md"), blocks("README.zh.md")
    assert chinese == english and len(english) > 3
    for paper, other in (("README.md", "README.zh.md"), ("README.zh.md", "README.md")):
        first = (ROOT / paper).read_text(encoding="utf-8").split("\n\n")[1]
        assert f"]({other})" in first


def test_both_languages_show_the_same_numbers():
    """Of their tables, where a number cannot be written in another way."""
    english, chinese = (
        re.findall(r"\d+\.\d+", "".join(re.findall(r"^\|.*", (ROOT / paper).read_text(encoding="utf-8"), re.M)))
        for paper in ("README.md", "README.zh.md")
    )
    assert chinese == english and len(english) > 20


# ---- the format of a run

FORMAT = (DOCS / "record.md").read_text(encoding="utf-8")
DECLARED = schema.Record.model_json_schema()
PARTS = {"Record": DECLARED} | DECLARED["$defs"]
BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
SIMPLE = {"integer": "whole number", "number": "number", "boolean": "true or false"}


def kind_of(declared: dict) -> str:
    """What a field may be, out of its JSON schema, in the words of the page."""
    if "anyOf" in declared:
        return " or ".join(kind_of(one) for one in declared["anyOf"] if one.get("type") != "null")
    if "$ref" in declared:
        part = declared["$ref"].rpartition("/")[2]
        return f"[{part}](#{part.lower()})"
    if "const" in declared or "enum" in declared:
        return " or ".join(f"`{one}`" for one in declared.get("enum", [declared.get("const")]))
    match declared.get("type"):
        case "string":
            return "name" if "minLength" in declared else "text"
        case "array":
            length = f" of {declared['minItems']}" if declared.get("minItems") == declared.get("maxItems", -1) else ""
            return f"list{length}: {kind_of(declared['items'])}"
        case "object":
            values = declared["additionalProperties"]
            return "object" if values is True else f"object: {kind_of(values)}"
        case None:
            return "anything"
        case simple:
            bounds = [f"{sign} {declared[name]:g}" for name, sign in BOUNDS if abs(declared.get(name, 1e99)) < 1e9]
            return " ".join([SIMPLE[simple], ", ".join(bounds)]).strip()


def rows_of(part: str) -> list[tuple[str, str, str]]:
    """The rows of a part's table: each field, what it may be, and its docstring, or nothing."""
    [tree] = ast.parse(inspect.getsource(getattr(schema, part))).body
    told = {
        first.target.id: " ".join(inspect.cleandoc(second.value.value).split())
        for first, second in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr)
    }
    rows = []
    for name, declared in PARTS[part]["properties"].items():
        kind = kind_of(declared)
        if name in PARTS[part].get("required", ()):
            kind += "; never missing"
        elif "const" not in declared and isinstance(declared.get("default"), int | float | str):
            kind += f"; else `{json.dumps(declared['default']).strip(chr(34))}`"
        rows.append((f"`{name}`", kind, told.get(name, "")))
    return rows


def table_under(heading: str) -> list[tuple[str, ...]]:
    """The cells of the table below a heading of the page, without the table's head."""
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", FORMAT, re.M | re.S)[1]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines[1:]]


@pytest.mark.parametrize("part", PARTS)
def test_the_page_has_every_field_of_a_record(part):
    shown, declared = table_under(part), rows_of(part)
    assert [row[:2] for row in shown] == [row[:2] for row in declared]
    for (name, _, meaning), (_, _, told) in zip(shown, declared, strict=True):
        assert meaning == told if told else meaning, name


def test_the_page_has_no_part_that_there_is_not():
    assert set(re.findall(r"^### (\w+)$", FORMAT, re.M)) == set(PARTS)
    assert f"format {schema.FORMAT}" in FORMAT
    assert f"{schema.MAX_TEXT_LENGTH:,} characters" in FORMAT and f"{schema.MAX_NAME_LENGTH} characters" in FORMAT


def test_the_page_has_every_file_of_a_run():
    names = {record.RECORD, record.PREDICTIONS, record.FEATURES, record.LOG, record.SPLIT, card.NAME, *record.WEIGHTS}
    assert set(re.findall(r"`([\w.]+)`", " ".join(row[0] for row in table_under("The folder")))) == names


def test_the_page_has_every_array_as_it_is(tmp_path):
    shown = {name.strip("`"): kind for name, kind, _ in table_under("predictions.npz")}
    assert tuple(shown) == schema.ARRAYS
    run = load_run(write_run(tmp_path / "run", watched="validation", robustness=0.5, seen=True))
    saving.small_copy(run, tmp_path / "copy")
    there = {}
    for folder in ("run", "copy"):
        with np.load(tmp_path / folder / record.PREDICTIONS) as file:
            there |= dict(file)
    assert there.keys() == shown.keys()
    for name, kind in shown.items():
        dtype, shape = re.match(r"(\w+)[^(]* \((.*?),?\)", kind).groups()
        assert there[name].dtype.name == dtype, name
        assert there[name].ndim == shape.count(",") + 1, name
