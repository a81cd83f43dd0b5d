"""What a newcomer's machine has wrong before anything of ours runs. Truths: Python itself, started anew each time."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fake_runs import write_run
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from systems import needs_posix

from compare import start
from compare.__main__ import COMMANDS
from compare.system.errors import UserError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = [module for module, _ in COMMANDS.values()]
FILES = [ROOT / f"{module.replace('.', '/')}.py" for module in [*MODULES, "compare.__main__"]]
CONSOLE = "import sys; sys.argv[0] = 'scratch-or-pretrained'; from compare.__main__ import command; command()"


def python(*words, folder=ROOT, **environment):
    """Run Python; the exit code, standard output and standard error."""
    environment = {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def assert_refused(code, err, *words):
    """That it was said in three parts, with these words in it, and without a traceback."""
    assert code == 2, err
    assert all(word in err for word in (*words, "error: ", "  expected: ", "  what to do: ")), err
    assert "Traceback" not in err and "report it" not in err, err


# ---- Python is too old


def test_python_is_the_one_that_the_project_names():
    needed = SpecifierSet(PROJECT["requires-python"])
    major, minor = start.PYTHON
    assert f"{major}.{minor}" in needed and f"{major}.{minor - 1}" not in needed


@pytest.mark.parametrize(
    "path", [*FILES, *(ROOT / package / "__init__.py" for package in start.OURS), ROOT / "compare" / "start.py"]
)
def test_what_an_old_python_reads_first_it_can_read(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("module", [*MODULES, "compare"])
def test_an_old_python_is_told_so(module):
    code = (
        "import runpy, sys\n"
        "sys.version_info, sys.argv = (3, 9, 2, 'final', 0), ['-m']\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    code, _, err = python("-c", code)
    assert_refused(code, err, "this is Python 3.9", sys.executable, "Python 3.11 or newer", "`uv run`")
    assert err == str(UserError(*(line.partition(": ")[2] for line in err.splitlines()))) + "\n"


@pytest.mark.parametrize(("first", "handler"), [("-m", "SIG_DFL"), ("mine.py", "default_int_handler")])
def test_ctrl_c_while_a_command_is_imported_is_no_traceback(first, handler):
    """A program of somebody's that imports ours is left alone."""
    code, out, _ = python(
        "-c",
        f"import signal, sys; sys.argv = [{first!r}]; import compare; print(repr(signal.getsignal(signal.SIGINT)))",
    )
    assert code == 0 and handler in out


# ---- a file in the current folder takes the place of a module


@pytest.mark.parametrize(
    "entry",
    [
        *("typing.py", "random.py", "numbers.py", "json.py", "statistics.py", "signal.py", "json/__init__.py"),
        *("numpy.py", "torch.py", "keras.py", "rich/__init__.py", "six.py", "pretrained.py"),
    ],
)
@pytest.mark.parametrize("module", ["compare.run", "scratch_resnet.train", "compare"])
def test_a_file_that_takes_the_place_of_a_module_is_named(tmp_path, module, entry):
    hiding = tmp_path / entry
    hiding.parent.mkdir(exist_ok=True)
    hiding.write_text("open('executed', 'w')")
    code, out, err = python("-m", module, "--help", folder=tmp_path)
    assert_refused(code, err, f"{entry.partition('/')[0]} in {tmp_path}", "rename")
    assert out == "" and not (tmp_path / "executed").exists()


@needs_posix  # Windows keeps a folder that somebody is in
@pytest.mark.parametrize("module", ["compare", "compare.run", "scratch_resnet.train", "pretrained.train"])
def test_a_folder_that_is_gone_is_no_place_to_work_in(tmp_path, module):
    """MKL would end a training without a word that anybody understands."""
    words = ["-m", module] if module != "compare" else ["-c", CONSOLE]
    (tmp_path / "gone").mkdir()
    command = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", tmp_path / "gone", sys.executable, *words, "run"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert_refused(done.returncode, done.stderr, "the current folder is gone", "cd to another")


def test_the_console_command_names_our_own_names_as_well(tmp_path):
    """`python -m compare.run` beside somebody's compare.py runs that file: nothing of ours is asked."""
    (tmp_path / "compare.py").write_text("open('executed', 'w')")
    code, _, err = python("-P", "-c", CONSOLE, "run", "--both", folder=tmp_path)
    assert_refused(code, err, f"compare.py in {tmp_path}")
    assert not (tmp_path / "executed").exists()


def test_what_takes_no_place_is_left_alone(tmp_path):
    for name in ("test.py", "tests/__init__.py", "mine.py", "numpy/data.csv", "torch.txt", "a-b.py", "compare/notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for words in (["-m", "compare.run"], ["-m", "pretrained.train"], ["-P", "-c", CONSOLE]):
        code, out, err = python(*words, "--help", folder=tmp_path)
        assert code == 0 and err == "" and "--help" in out
    (tmp_path / "random.py").write_text("1 / 0")
    for words in (["-P", "-m", "compare.run", "--help"], ["-c", "import compare"]):  # not first, or not our command
        code, _, err = python(*words, folder=tmp_path)
        assert code == 0 and err == ""


# ---- a command run as a file


def test_nothing_of_ours_is_called_like_a_standard_module():
    """What is run as a file has its own folder first on the path until it says otherwise. Beside `compare.inspect` it
    does so before it imports what imports Python's `inspect`."""
    for package in start.OURS:
        names = {path.stem for path in (ROOT / package).glob("*.py")} & sys.stdlib_module_names
        assert names == ({"inspect"} if package == "compare" else set())


@pytest.mark.parametrize("path", [*FILES, ROOT / "compare"], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_command_runs_as_a_file(tmp_path, path):
    code, out, err = python("-S", path, "--help", folder=tmp_path, PYTHONPATH="")  # nothing is installed
    assert code == 0 and err == "" and "--help" in out


def test_the_processes_of_a_command_that_runs_as_a_file_are_of_the_same_project(tmp_path):
    for package in start.OURS:
        shutil.copytree(ROOT / package, tmp_path / "there" / package)
    (tmp_path / "there" / "scratch_resnet" / "train.py").write_text("print('the copy'); raise SystemExit(3)")
    words = [tmp_path / "there" / "compare" / "run.py", "--scratch", "--demo"]
    code, out, err = python(*words, folder=tmp_path, PYTHONPATH="")
    assert out == "the copy\n"
    assert_refused(code, err, "the check of scratch_resnet ended with exit code 3")


# ---- something is not installed


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("compare.run", ["--both", "--demo"]),
        ("compare.report", ["run"]),
        ("scratch_resnet.train", ["--demo"]),
        ("scratch_resnet.train", ["--describe"]),
        ("pretrained.train", ["--demo"]),
    ],
)
def test_where_nothing_is_installed_every_command_says_so(tmp_path, module, words):
    code, _, err = python("-S", "-m", module, *words, folder=tmp_path)
    assert_refused(code, err, "is not installed for this Python", "pip install -e .", "`uv run`", "compare.doctor")


def test_the_doctor_lists_all_that_is_missing(tmp_path):
    code, out, err = python("-S", "-m", "compare.doctor", folder=tmp_path)
    assert code == 2 and err == ""
    for needed in map(Requirement, PROJECT["dependencies"]):
        assert f"GAP\t{needed.name}\tis not installed\tpip install '{needed.name}{min(needed.specifier)}'" in out
    assert "cannot run here: numpy, pydantic, torch" in out.splitlines()[-1] and "pip install -e ." in out


@pytest.mark.parametrize(
    ("name", "module", "words"),
    [
        *(
            (name, "compare.report", ["run", "--out", "page"])
            for name in ("numpy", "matplotlib", "sklearn", "filelock")
        ),
        ("rich", "scratch_resnet.train", ["--demo"]),
        ("torch", "scratch_resnet.train", ["--describe"]),
        ("keras", "pretrained.train", ["--demo", "--keras-backend", "torch"]),
    ],
)
def test_each_package_that_is_missing_is_named(tmp_path, name, module, words):
    write_run(tmp_path / "run")
    # Python refuses to import what is None here as it does what is not there.
    code = f"import runpy, sys; sys.modules[{name!r}] = None; runpy.run_module({module!r}, run_name='__main__')"
    code, _, err = python("-c", code, *words, folder=tmp_path)
    assert_refused(code, err, f"error: {name} is not installed")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_part_of_ours_that_is_missing_is_no_package(run_main):
    class Broken:
        @staticmethod
        def main():
            import compare.nothing  # noqa: F401

    Broken.__name__ = "broken"
    code, _, err = run_main(Broken)
    assert code == 1 and "not foreseen" in err and "is not installed" not in err


# ---- what there is


def test_all_commands_are_listed_and_run():
    code, out, err = python("-m", "compare")
    assert code == 0 and err == "" and out == python("-P", "-c", CONSOLE)[1]
    for word, (module, _) in COMMANDS.items():
        assert f"  {word} " in out and f"python -m {module} " in out
        code, said, err = python("-m", "compare", word, "--help")
        assert code == 0 and err == "" and f"usage: python -m {module} " in said
    code, _, err = python("-m", "compare", "train")
    assert_refused(code, err, "error: train\n", *COMMANDS)
    assert PROJECT["scripts"] == {"scratch-or-pretrained": "compare.__main__:command"}
