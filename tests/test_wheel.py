"""What is installed is what is here: the wheel, and what is said of its version."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from fake_runs import write_run
from packaging.requirements import Requirement
from pages import Page

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("compare/", "scratch_resnet/", "pretrained/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as file:
        file.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_has_every_file_of_the_packages_and_nothing_else(wheel):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    ours = set(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines())
    there = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    assert {name for name in there if ".dist-info/" not in name} == ours
    assert {Path(name).suffix for name in ours} >= {".py", ".j2", ".js"}
    assert "compare/page/catalogues/chinese.py" in there


def test_it_says_what_pyproject_says(wheel):
    (described,) = wheel.glob("*.dist-info")
    metadata = Parser().parsestr((described / "METADATA").read_text(encoding="utf-8"))
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert metadata["License-Expression"] == "MIT" and (described / "licenses/LICENSE").is_file()
    assert metadata.get_payload().startswith((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "scratch-or-pretrained = compare.__main__:command" in (described / "entry_points.txt").read_text()


def test_a_report_is_made_without_the_checkout(wheel, tmp_path):
    write_run(tmp_path / "run")
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    where = [sys.executable, "-c", "import compare; print(compare.__file__)"]
    done = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(wheel), done.stderr
    command = [sys.executable, "-m", "compare.report", "run", "--out", "page"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ResNet-18" in Page(tmp_path / "page/index.html").text


def test_the_doctor_finds_in_it_what_pyproject_needs(wheel, tmp_path):
    code = "import json; from compare import doctor; print(json.dumps(doctor.needs()))"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    lines, extras = json.loads(done.stdout)
    assert set(map(Requirement, lines)) == set(map(Requirement, PROJECT["dependencies"]))
    there = {name: set(map(Requirement, needed)) for name, needed in PROJECT["optional-dependencies"].items()}
    assert {name: set(map(Requirement, needed)) for name, needed in extras.items()} == there


def test_the_console_command_trains_and_reports_below_the_current_folder(wheel, tmp_path):
    """Its processes are of the wheel, too, and no checkout is missed."""
    code = "import sys; sys.argv[0] = 'scratch-or-pretrained'; from compare.__main__ import command; command()"
    words = ["run", "--scratch", "--demo", "--labels-per-class", "5", "--epochs", "1", "--image-size", "8"]
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    command = [sys.executable, "-P", "-c", code, *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("reports/*/index.html")
    assert done.stdout.splitlines()[-1] == report.relative_to(tmp_path).as_posix()
    (run,) = (report.parent / "runs").iterdir()
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert "commit" not in record and done.stderr == ""


def test_who_cites_it_cites_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert next(line for line in changes if line.startswith("## ")).split()[1] == PROJECT["version"]
