"""Features that several processes make together. The truth is the run of one; the processes are real, two that torchrun
begins on processors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_recipes import PRETRAINED
from systems import needs_posix

from compare.runs import checkpoint
from compare.runs.record import read_run
from compare.system.errors import UserError
from pretrained import backend, several
from pretrained.recipe import DEMO, FROM_SCRATCH

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
AUGMENTED = ("--recipe", "tuned", "--backbone", "EfficientNetLite0", "--image-size", "32", "--device", "cpu")
AS_THEY_ARE = ("--recipe", "fine-tuned", "--device", "cpu")


def run(command: list[str], folder: Path, *words, fault: str = "") -> tuple[subprocess.CompletedProcess, list[str]]:
    """Do what `sharing` says by that command, at home in `folder`; and who made which files, sorted by these."""
    command = [*command, Path(__file__).with_name("sharing.py"), *map(str, words)]
    path = os.pathsep.join(str(ROOT / place) for place in (".", "tests", "tests/faults"))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"}
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": "", "MADE": str(folder / "made")}
    environment |= {"FAULT": fault} if fault else {}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=500)
    made = (folder / "made").read_text().splitlines() if (folder / "made").exists() else []
    return done, sorted(made, key=lambda line: line.partition(" ")[2])


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """The run that one process makes."""
    folder = tmp_path_factory.mktemp("alone")
    done, _ = run([sys.executable], folder, *AUGMENTED, "--out", "run")
    assert done.returncode == 0, done.stderr
    return read_run(folder / "run")


def check_same(ours, truth) -> None:
    assert [row.train_loss for row in ours.record.history] == [row.train_loss for row in truth.record.history]
    assert np.array_equal(ours.test_probabilities, truth.test_probabilities)
    assert np.array_equal(ours.validation_probabilities, truth.validation_probabilities)


@needs_posix
def test_two_processes_make_each_file_once_and_the_run_of_one(by_one, tmp_path):
    """In a folder that nobody has named, which the first chooses for both."""
    done, made = run(TORCHRUN, tmp_path, *AUGMENTED)
    assert done.returncode == 0, done.stderr
    files = [f"features-{number}-{begin}.float32" for number in (1, 2) for begin in (0, 32, 64)]
    assert [line.partition(" ")[2] for line in made] == files
    assert {line[0] for line in made} == {"0", "1"}
    (folder,) = tmp_path.glob("reports/*/runs/*")
    ours = read_run(folder)
    check_same(ours, by_one)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in by_one.folder.iterdir())
    assert ours.record.num_processes == 2 and ours.record.processor_seconds is None
    assert ours.record.command.startswith("torchrun --nproc-per-node=2 -m pretrained.train ")
    assert [done.stdout.count(f"epoch {epoch}/2: loss") for epoch in (1, 2)] == [1, 1]
    assert "by 2 processes, each with 1 thread" in done.stdout and done.stdout.count("complete, in") == 1


@needs_posix
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("kill", "terminated; to go on: "),
        pytest.param("stop", "terminated; to go on: ", marks=pytest.mark.thorough),
        pytest.param("full", "could not be written: No space left on device", marks=pytest.mark.thorough),
    ],
)
def test_what_befalls_one_ends_both_and_one_alone_goes_on(by_one, tmp_path, fault, said):
    """The second process makes a file, and the first is told once how to go on."""
    folder = tmp_path / "run"
    done, _ = run(TORCHRUN, tmp_path, *AUGMENTED, "--out", folder, fault=f"1 1 {fault}")
    assert done.returncode != 0 and not (folder / "record.json").exists()
    told = done.stdout + done.stderr
    resume = f"go on: torchrun --nproc-per-node=2 -m pretrained.train --resume {folder}"
    assert told.count(said) == told.count(resume) == 1, told
    assert checkpoint.read(folder, "pretrained")[1].num_processes == 2
    done, _ = run([sys.executable], tmp_path, "--resume", folder)
    assert done.returncode == 0, done.stderr
    ours = read_run(folder)
    check_same(ours, by_one)
    assert ours.record.num_processes == 1 and ours.record.command.startswith("python -m pretrained.train ")


@needs_posix
@pytest.mark.thorough
def test_features_of_images_as_they_are_are_shared_out_too(tmp_path):
    """And the first fine-tunes alone."""
    made, runs = {}, {}
    for name, command in (("two", TORCHRUN), ("one", [sys.executable])):
        (tmp_path / name).mkdir()
        done, made[name] = run(command, tmp_path / name, *AS_THEY_ARE, "--out", "run")
        assert done.returncode == 0, done.stderr
        runs[name] = read_run(tmp_path / name / "run")
    check_same(runs["two"], runs["one"])
    assert [line[2:] for line in made["two"]] == [line[2:] for line in made["one"]]
    assert {line[0] for line in made["two"] if " train-" in line} == {"0", "1"}
    assert runs["two"].record.seconds.extracting == runs["one"].record.seconds.extracting == 0


@needs_posix
@pytest.mark.thorough
def test_a_recipe_that_keeps_no_features_is_refused_once(tmp_path):
    done, _ = run(TORCHRUN, tmp_path, "--recipe", "demo", "--out", "run")
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert done.stderr.count("and recipe demo, which makes them anew in every epoch and keeps none") == 1, done.stderr
    assert "what to do: begin it by one process: python -m pretrained.train, or take one of" in done.stderr


# ---- as torchrun tells a process where it stands


@pytest.fixture
def first_of_two(monkeypatch, tmp_path):
    """The other one has not come yet."""
    told = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_ERROR_FILE": str(tmp_path / "0" / "error.json")}
    told |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for number in ("0", "1"):
        (tmp_path / number).mkdir()
    return monkeypatch


def test_only_what_is_kept_can_be_shared_out(first_of_two):
    several.check_recipe(DEMO)
    for recipe, why in ((PRETRAINED, "makes them anew"), (FROM_SCRATCH, "trains the whole network alone")):
        with pytest.raises(UserError, match=why):
            several.check_recipe(recipe)
    first_of_two.setenv("WORLD_SIZE", "1")
    several.check_recipe(FROM_SCRATCH)


def test_all_are_on_one_machine(first_of_two):
    several.check_place()
    first_of_two.setenv("TORCHELASTIC_ERROR_FILE", "")
    with pytest.raises(UserError, match="2 of 2 processes on this machine, and without a folder"):
        several.check_place()
    first_of_two.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"2 of 4 processes on this machine\n"):
        several.check_place()
    first_of_two.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit):
        several.check_place()  # the first says it


def test_nobody_waits_where_torchrun_is_gone(first_of_two):
    first_of_two.setattr(several, "TORCHRUN", -1)
    with pytest.raises(UserError, match="torchrun has ended"):
        several.meet("begun")
    first_of_two.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        several.meet("begun")


@pytest.mark.parametrize(
    ("kind", "others", "is_refused"),
    [("cuda", "cuda", False), ("cpu", "cpu", False), ("cuda", "cpu", True), ("mps", "mps", True)],
)
def test_each_has_a_gpu_or_none_has(first_of_two, tmp_path, kind, others, is_refused):
    (tmp_path / "1" / "device").write_text(f"{others} in float32")
    if not is_refused:
        return several.check_same_device(kind, "float32")
    with pytest.raises(UserError, match=f"2 processes together, on {kind} in float32") as caught:
        several.check_same_device(kind, "float32")
    assert "no more processes than there are GPUs" in caught.value.advice


@pytest.mark.parametrize(("visible", "taken"), [(None, "1"), ("4,6", "6"), ("4", "-1")])
def test_each_sees_a_gpu_of_its_own_alone(first_of_two, visible, taken):
    first_of_two.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("KERAS_BACKEND", "KERAS_HOME", "KERAS_TORCH_DEVICE", "CUDA_VISIBLE_DEVICES"):
        first_of_two.setenv(name, "")  # and as before afterwards
    first_of_two.setenv("LOCAL_RANK", "1")
    for device in ("auto", "cuda"):
        if visible is None:
            first_of_two.delenv("CUDA_VISIBLE_DEVICES")
        else:
            first_of_two.setenv("CUDA_VISIBLE_DEVICES", visible)
        backend.choose("torch", device)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
    for device in ("cuda:0", "mps", "xpu"):
        with pytest.raises(UserError, match=f"--device {device} for 2 processes together"):
            backend.choose("torch", device)
