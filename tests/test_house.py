"""The walls of the house, and the words that its papers promise."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from compare import doctor, report, run
from compare.__main__ import COMMANDS as COMMANDS_OF_COMPARE
from pretrained import recipe as pretrained_recipe
from pretrained import train as pretrained_train
from scratch_resnet import recipe as scratch_recipe
from scratch_resnet import train as scratch_train

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "torchvision", "keras", "tensorflow", "jax"}
DRAWING = {"matplotlib", "jinja2"}
CLOCKS = {"time", "datetime", "random", "uuid", "secrets"}
TRAINING = {"subprocess", "requests", "socket", "compare.download", "compare.job", "compare.preparation", "compare.run"}
# What the branches may use of `compare`.
SHARED = {"command", "progress", "download", "dataset", "machine", "disk", "record", "job", "preparation"}
SHARED |= {"environment", "estimate"}

# A room, and what nothing in it may import, not even inside a function.
WALLS = [
    ("compare/*.py", FRAMEWORKS | {"scratch_resnet", "pretrained"}),
    ("compare/metrics.py", DRAWING | CLOCKS | {"os", "pathlib"}),
    ("compare/calibration.py", DRAWING | CLOCKS | {"os", "pathlib"}),
    ("compare/figures.py", CLOCKS | {"jinja2", "os", "pathlib"}),
    *(
        (f"compare/{room}.py", CLOCKS | TRAINING)
        for room in (
            *(
                "metrics",
                "calibration",
                "figures",
                "language",
                "chinese",
                "words",
                "banners",
                "shown",
                "verdict",
                "audit",
                "gallery",
                "pictures",
            ),
            *("tables", "page", "report_files", "listing", "checks", "report", "comparison"),
        )
    ),
    ("scratch_resnet/*.py", FRAMEWORKS - {"torch", "torchvision"} | DRAWING | {"pretrained"}),
    ("pretrained/*.py", {"scratch_resnet", "torchvision"} | DRAWING),
    # only `backend` may ask a framework about the hardware; the rest is Keras alone
    ("pretrained/[!b]*.py", {"torch", "tensorflow", "jax"}),
]


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


@pytest.mark.parametrize(("room", "forbidden"), WALLS, ids=[room for room, _ in WALLS])
def test_walls(room, forbidden):
    files = sorted(ROOT.glob(room))
    assert files
    for path in files:
        found = {name for name in imports(path) for wall in forbidden if f"{name}.".startswith(f"{wall}.")}
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


@pytest.mark.parametrize("branch", ["scratch_resnet", "pretrained"])
def test_branches_use_only_what_is_shared(branch):
    for path in (ROOT / branch).glob("*.py"):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("compare.")}
        assert used <= SHARED, f"{path.name} uses {used - SHARED} of compare"


@pytest.mark.parametrize("branch", ["scratch_resnet", "pretrained"])
def test_recipes_are_standard_library_only(branch):
    tops = {name.partition(".")[0] for name in imports(ROOT / branch / "recipe.py")}
    assert tops <= sys.stdlib_module_names


@pytest.mark.parametrize("recipes", [scratch_recipe, pretrained_recipe])
def test_recipes_are_documented_and_named_alike(recipes):
    assert list(scratch_recipe.RECIPES) == list(pretrained_recipe.RECIPES)
    tree = ast.parse(Path(recipes.__file__).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body[1:]  # after the docstring
    body = [node for node in body if not isinstance(node, ast.FunctionDef)]
    for field, docstring in zip(body[::2], body[1::2], strict=True):
        assert isinstance(field, ast.AnnAssign) and isinstance(docstring.value, ast.Constant), ast.unparse(field)
    for name, recipe in recipes.RECIPES.items():
        assert recipe.name == name and name in recipes.__doc__


# ---- commands and papers

PARSERS = {
    "compare.run": run.parse,
    "compare.report": report.parse,
    "compare.doctor": doctor.parse,
    "scratch_resnet.train": scratch_train.parse,
    "pretrained.train": pretrained_train.parse,
}
PAPERS = {
    "README": (ROOT / "README.md").read_text(encoding="utf-8"),
    "CONTRIBUTING": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    **{module: sys.modules[parse.__module__].EXAMPLES for module, parse in PARSERS.items()},
}
COMMANDS = [
    (paper, match[1], match[2].strip())
    for paper, text in PAPERS.items()
    for match in re.finditer(r"python -m ((?:compare|scratch_resnet|pretrained)\.\w+)((?: [^\s`#]+)*)", text)
]


@pytest.mark.parametrize(("paper", "module", "words"), COMMANDS)
def test_every_command_in_the_papers_parses(paper, module, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module, *shlex.split(words)])
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


@pytest.mark.parametrize(
    "paper", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "reports/reference/*.html"]
)
def test_every_link_leads_to_what_is_committed(paper):
    tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines())
    for path in ROOT.glob(paper):
        text = path.read_text(encoding="utf-8")
        links = (
            re.findall(r'(?:href|src)="([^"]+)"', text)
            if path.suffix == ".html"
            else re.findall(r"\]\(([^)]+)\)", text)
        )
        here = {link for link in links if not re.match(r"#|\w+:", link)}
        assert len(here) > 10 or path.suffix == ".md"
        for link in here:
            target = (path.parent / link.partition("#")[0]).resolve().relative_to(ROOT)
            assert str(target) in tracked or any(name.startswith(f"{target}/") for name in tracked), link
