"""What a run ran on. Truths: a powercap folder by hand, a driver's library that counts as we say, and git."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest
from fake_runs import write_run

from compare.runs import record
from compare.system import machine
from compare.system.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """Linux' counters of two packages, the cores of the first, and the whole platform, in microjoules; returns a
    function that sets them."""
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1", "intel-rapl:2": "psys"}
    for zone, name in zones.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(name + "\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000000000\n")

    def set_to(*microjoules):
        for zone, value in zip(zones, microjoules, strict=True):
            (tmp_path / "new").write_text(f"{value}\n")
            (tmp_path / "new").replace(tmp_path / zone / "energy_uj")  # never half written

    set_to(400_000_000, 10, 999_000_000, 77)
    monkeypatch.setattr(machine, "POWERCAP", tmp_path)
    set_to.folder = tmp_path
    return set_to


def test_packages_are_added_up_over_a_counter_that_begins_anew(powercap):
    meter = machine.EnergyMeter()
    assert meter.taken() == 0
    powercap(403_500_000, 999, 999_250_000, 999)
    assert meter.taken() == pytest.approx(3.5 + 0.25)
    powercap(404_000_000, 999, 1_000_000, 999)  # 0.75 J to the counter's end and 1 J after it
    assert meter.taken() == pytest.approx(0.5 + 1.75)
    assert meter.taken() == 0


def test_of_a_processor_that_several_share_nothing_is_told(powercap):
    meter = machine.EnergyMeter(is_shared=True)
    powercap(403_500_000, 999, 999_250_000, 999)
    assert meter.taken() is None


def test_counters_are_read_in_between(powercap, monkeypatch):
    monkeypatch.setattr(machine, "SECONDS_BETWEEN_READINGS", 0.01)
    meter = machine.EnergyMeter()
    for package in (900_000_000, 400_000_000, 900_000_000):  # once around, which two readings alone would not see
        powercap(package, 0, 999_000_000, 0)
        deadline = time.monotonic() + 30
        while meter._before[0] != package / 1e6 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert meter.taken() == pytest.approx(500 + 500 + 500)
    (powercap.folder / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.taken() is None  # and the thread ends


@pytest.mark.parametrize("missing", ["energy_uj", "name", "max_energy_range_uj"])
def test_a_processor_of_which_a_part_cannot_be_read_tells_nothing(powercap, missing):
    (powercap.folder / "intel-rapl:1" / missing).unlink()
    assert machine.EnergyMeter().taken() is None


def test_elsewhere_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "POWERCAP", tmp_path / "nothing")
    assert machine.EnergyMeter().taken() is None


class Driver:
    """NVIDIA's library, as far as it is used: two GPUs, the second under its UUID as well."""

    def __init__(self, monkeypatch):
        self.millijoules = {0: 5_000, 1: 9_000}
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", {0: 0, 1: 1}.__getitem__)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", {"GPU-beef": 1}.__getitem__)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda gpu: self.millijoules[gpu])


@pytest.mark.parametrize(
    ("visible", "gpu", "counted"), [(None, 0, 0), (None, 1, 1), ("1", 0, 1), ("1,0", 1, 0), ("GPU-beef", 0, 1)]
)
def test_the_gpu_that_trains_is_counted(monkeypatch, visible, gpu, counted):
    driver = Driver(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meter = machine.EnergyMeter(gpu)
    driver.millijoules[counted] += 1_500
    driver.millijoules[1 - counted] += 77_000
    assert meter.taken() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, ["0", "1"]), ("1", ["1"]), ("1, 0", ["1", "0"]), ("GPU-beef", ["GPU-beef"]), ("", []), ("0,-1,1", ["0"])],
)
def test_the_gpus_that_a_process_may_use(monkeypatch, visible, gpus):
    """As NVIDIA's programming guide has it: what is not there hides all that come after it."""
    Driver(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.visible_gpus() == gpus
    monkeypatch.setattr(pynvml, "nvmlInit", does_not)
    assert machine.visible_gpus() == []


def does_not(*_):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.mark.parametrize("name", ["nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetTotalEnergyConsumption"])
def test_a_gpu_that_does_not_tell_is_none(monkeypatch, name):
    Driver(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, name, does_not)
    assert machine.EnergyMeter(0).taken() is None


def test_a_gpu_that_tells_no_longer_is_none(monkeypatch):
    Driver(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    meter = machine.EnergyMeter(0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", does_not)
    assert meter.taken() is None


def test_no_library_no_energy(monkeypatch):
    monkeypatch.setattr(pynvml, "CDLL", does_not)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    assert machine.EnergyMeter(0).taken() is None


def test_a_record_with_or_without_energy_is_read(tmp_path):
    for joules in (12.5, 12, None):
        folder = write_run(tmp_path / str(joules), changes={"energy_joules": joules})
        assert record.read_run(folder).record.energy_joules == joules
    path = write_run(tmp_path / "none") / record.RECORD
    assert "energy_joules" not in json.loads(path.read_text()) and record.read_run(path.parent)
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps({name: content[name] for name in content if name != "sha256"} | {"energy_joules": "much"})
    )
    with pytest.raises(UserError, match="energy_joules is 'much'"):
        record.read_run(path.parent)


# ---- where the source comes from


def git(folder, *words):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("installed", "tracked"),
    [("", True), ("vendored", True), (".venv/lib/site-packages", False), ("site-packages", False)],
)
def test_a_commit_is_of_the_repository_that_keeps_our_files(tmp_path, installed, tracked):
    """In a repository of somebody's, our package is ignored, or not ignored but not kept, or kept."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(".venv/\n")
    shutil.copytree(ROOT / "compare", tmp_path / installed / "compare", ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "add", *(["."] if tracked else [".gitignore"]))
    git(tmp_path, "commit", "-q", "-m", "theirs")
    words = os.environ | {"PYTHONPATH": str(tmp_path / installed)}
    command = [sys.executable, "-c", "from compare.system import machine; print(machine.__file__, machine.commit())"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / installed, env=words, check=True)
    place, said = shown.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert said == (git(tmp_path, "rev-parse", "HEAD").strip() if tracked else "None")


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("https://somebody:secret@example.org/a/b.git", "https://example.org/a/b.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("ssh://git@example.org:2222/a/b", "ssh://git@example.org:2222/a/b"),
        ("/home/somebody/b", "None"),
        ("../b", "None"),
        (None, "None"),
    ],
)
def test_the_address_of_a_clone_is_told_without_who_and_where_it_lies(tmp_path, origin, told):
    git(tmp_path, "init", "-q")
    shutil.copytree(ROOT / "compare", tmp_path / "compare", ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "ours")
    if origin is not None:
        git(tmp_path, "remote", "add", "origin", origin)
    command = [sys.executable, "-c", "from compare.system import machine; print(machine.repository())"]
    words = os.environ | {"PYTHONPATH": str(tmp_path)}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=words, check=True)
    assert shown.stdout.strip() == told


def test_versions_have_our_own():
    found = machine.versions("numpy", "nosuch")
    assert found["scratch-or-pretrained"] == importlib.metadata.version("scratch-or-pretrained")
    assert list(found) == ["python", "platform", "scratch-or-pretrained", "numpy"]
