"""The walls of the house, and the words that its papers promise."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from compare import doctor, export, inspect, load_run, predict, report, run
from compare.__main__ import COMMANDS as COMMANDS_OF_COMPARE
from pretrained import recipe as pretrained_recipe
from pretrained import train as pretrained_train
from scratch_resnet import recipe as scratch_recipe
from scratch_resnet import train as scratch_train

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "torchvision", "keras", "tensorflow", "jax"}
DRAWING = {"matplotlib", "jinja2"}
CLOCKS = {"time", "datetime", "random", "uuid", "secrets"}
NETWORK = {"requests", "socket", "subprocess", "compare.data.download"}

# The house: each room, the rooms of ours that it may use beside itself, and what of others it may not. The commands,
# which stand beside the wings, use all.
SHARED = ["compare.start", "compare.system"]
WALLS = {
    "compare": (["compare"], FRAMEWORKS),
    "compare/system": (["compare.start"], FRAMEWORKS | DRAWING),
    "compare/data": (SHARED, FRAMEWORKS | DRAWING),
    "compare/runs": ([*SHARED, "compare.data"], FRAMEWORKS | DRAWING | {"requests"}),
    "compare/training": ([*SHARED, "compare.data", "compare.runs"], FRAMEWORKS | DRAWING),
    "compare/findings": (["compare.system", "compare.data", "compare.runs"], FRAMEWORKS | DRAWING | CLOCKS | NETWORK),
    "compare/page": (
        ["compare.system", "compare.data", "compare.runs", "compare.findings"],
        FRAMEWORKS | CLOCKS | NETWORK,
    ),
    "scratch_resnet": (
        ["compare.system", "compare.data", "compare.runs", "compare.training"],
        FRAMEWORKS - {"torch", "torchvision"} | DRAWING,
    ),
    "pretrained": (
        ["compare.system", "compare.data", "compare.runs", "compare.training"],
        {"torchvision"} | DRAWING,
    ),
    # arithmetic is free of files, figures of the template; of Keras' frameworks only `backend` may ask
    "compare/findings/metrics.py": (["compare"], {"os", "pathlib"}),
    "compare/findings/calibration.py": (["compare"], {"os", "pathlib"}),
    "compare/page/*figures.py": (["compare"], {"jinja2", "os", "pathlib"}),
    "pretrained/[!bp]*.py": (["compare"], {"torch", "tensorflow", "jax"}),
}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, with their full names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def lies_in(name: str, rooms) -> bool:
    """Whether a module is one of these rooms, or in one."""
    return any(f"{name}.".startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize(("room", "walls"), WALLS.items(), ids=WALLS)
def test_walls(room, walls):
    used, forbidden = walls
    files = sorted((ROOT / room).glob("*.py") if (ROOT / room).is_dir() else ROOT.glob(room))
    assert files
    for path in files:
        own = ".".join(path.relative_to(ROOT).parts[:-1])
        found = imports(path) - {"compare"}  # which looks at Python itself
        ours = {name for name in found if lies_in(name, ["compare", "scratch_resnet", "pretrained"])}
        wrong = {name for name in found if lies_in(name, forbidden)}
        wrong |= {name for name in ours if not lies_in(name, [own, *used])}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_every_wing_has_walls_and_says_what_its_files_are_for():
    wings = {path.parent for path in (ROOT / "compare").glob("*/__init__.py")}
    assert {f"compare/{wing.name}" for wing in wings} == {room for room in WALLS if re.fullmatch(r"compare/\w+", room)}
    for wing in wings:
        said = re.findall(r"^(\w+)  +", (wing / "__init__.py").read_text(encoding="utf-8"), re.M)
        there = {path.stem for path in wing.iterdir() if not path.name.startswith("__")}
        assert set(said) == there and len(said) == len(there), wing.name


@pytest.mark.parametrize("branch", ["scratch_resnet", "pretrained"])
def test_recipes_are_standard_library_only(branch):
    tops = {name.partition(".")[0] for name in imports(ROOT / branch / "recipe.py")}
    assert tops <= sys.stdlib_module_names


@pytest.mark.parametrize("recipes", [scratch_recipe, pretrained_recipe])
def test_recipes_are_documented_and_named_alike(recipes):
    shared = list(scratch_recipe.RECIPES)
    assert list(pretrained_recipe.RECIPES)[: len(shared)] == shared
    tree = ast.parse(Path(recipes.__file__).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body[1:]  # after the docstring
    body = [node for node in body if not isinstance(node, ast.FunctionDef)]
    for field, docstring in zip(body[::2], body[1::2], strict=True):
        assert isinstance(field, ast.AnnAssign) and isinstance(docstring.value, ast.Constant), ast.unparse(field)
    for name, recipe in recipes.RECIPES.items():
        assert recipe.name == name and name in recipes.__doc__


@pytest.mark.parametrize("folder", sorted((ROOT / "reports/article/runs").iterdir()), ids=lambda folder: folder.name)
def test_what_recipes_say_of_themselves_is_what_was_measured(folder):
    kept = load_run(folder)
    recipes = {"scratch_resnet": scratch_recipe, "pretrained": pretrained_recipe}[kept.record.branch]
    told = re.search(rf"^{kept.record.recipe.name} .*?(?=^\w)", recipes.__doc__ + "end", re.MULTILINE | re.DOTALL)[0]
    accuracy, minutes = re.search(
        r"expect (?:a\s+test\s+accuracy\s+of\s+)?(0\.\d{3}) after (\d+) minutes", told, re.I
    ).groups()
    right = kept.test_probabilities.argmax(axis=1) == kept.test_labels
    assert float(accuracy) == pytest.approx(right.mean(), abs=5.001e-4)
    assert float(minutes) == pytest.approx(sum(row.seconds for row in kept.record.history) / 60, abs=1)


# ---- commands and papers

PARSERS = {
    "compare.run": run.parse,
    "compare.report": report.parse,
    "compare.inspect": inspect.parse,
    "compare.predict": predict.parse,
    "compare.export": export.parse,
    "compare.doctor": doctor.parse,
    "scratch_resnet.train": scratch_train.parse,
    "pretrained.train": pretrained_train.parse,
}


def code_of(notebook: Path) -> str:
    """The cells of a notebook that are code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return code.replace("{python}", "python")


PAPERS = {
    "README": (ROOT / "README.md").read_text(encoding="utf-8"),
    "README.zh": (ROOT / "README.zh.md").read_text(encoding="utf-8"),
    "CONTRIBUTING": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    **{page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))},
    **{one.name: code_of(one) for one in sorted((ROOT / "docs/notebooks").glob("*.ipynb"))},
    **{module: sys.modules[parse.__module__].EXAMPLES for module, parse in PARSERS.items()},
}
COMMANDS = [
    (paper, match[1], match[2].strip())
    for paper, text in PAPERS.items()
    for match in re.finditer(
        r"(?:python|torchrun \S+) -m ((?:compare|scratch_resnet|pretrained)\.\w+)((?: [^\s`#]+)*)", text
    )
]


@pytest.mark.parametrize(("paper", "module", "words"), COMMANDS)
def test_every_command_in_the_papers_parses(paper, module, words, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setattr(sys, "argv", [module, *shlex.split(os.path.expandvars(words))])
    PARSERS[module]()


def test_the_papers_show_every_command():
    assert {module for module, _ in COMMANDS_OF_COMPARE.values()} == set(PARSERS)
    assert {module for paper, module, _ in COMMANDS if paper == "README"} == set(PARSERS)


@pytest.mark.parametrize("module", PARSERS)
def test_help_imports_nothing_large(module):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(sorted({'numpy', 'sklearn', 'matplotlib', 'torch', 'keras', 'tensorflow', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "examples:" in done.stdout and "help" in done.stdout


def test_tested_versions_are_not_below_the_floors():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    for requirement in map(Requirement, needed):
        if requirement.marker is None:
            assert requirement.specifier.contains(tested[requirement.name]), requirement


def test_nothing_is_said_of_hosts_of_packages():
    """The project can be installed from any registry: it names none."""
    hosts = ["py" + "pi.org", "python" + "hosted", "deb.deb" + "ian", "registry.np" + "mjs"]
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.split("\n")
    for name in filter(None, tracked):
        content = (ROOT / name).read_bytes()
        assert not any(host.encode() in content for host in hosts), name


def test_every_link_of_the_committed_page_leads_to_what_is_committed():
    tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines())
    page = ROOT / "reports/article/index.html"
    links = re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8"))
    here = {link for link in links if not re.match(r"#|\w+:", link)}
    assert len(here) > 10
    for link in here:
        assert str((page.parent / link.partition("#")[0]).resolve().relative_to(ROOT)) in tracked, link


ROWS = [line for line in PAPERS["CONTRIBUTING"].splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=[row.split(" | ")[0] for row in ROWS])
def test_where_a_change_goes_is_there(row):
    """Every file that a row names is there, and what else it names is in one of them."""
    named = re.findall(r"`([\w./]+)`", row.partition(" | ")[2])
    is_file = {name: "/" in name or name.endswith((".py", ".js", ".toml")) for name in named}
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    texts = []
    for name in filter(is_file.get, named):
        found = [path for path in tracked if f"/{path}/".endswith(f"/{name}/") or f"{path}/".startswith(f"{name}/")]
        assert found, name
        texts += [(ROOT / path).read_text(encoding="utf-8", errors="replace") for path in found]
    for name in named:
        assert is_file[name] or any(re.search(rf"\b{name}\b", text) for text in texts), name
