"""One training by several processes. The truth is the training by one; the processes are real, two that torchrun begins
on processors, with gloo between them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import together
import torch
from systems import needs_posix

from compare import report
from compare import run as compare_run
from compare.runs import checkpoint
from compare.runs.record import read_run
from compare.system.errors import UserError
from scratch_resnet import hardware

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
DEMO = ("--demo", "--class-weights", "balanced")

pytestmark = needs_posix


def run(command: list[str], *words, **environment) -> subprocess.CompletedProcess:
    """Do what `together` says, by that command."""
    command = [*command, Path(together.__file__), *map(str, words)]
    path = os.pathsep.join(str(ROOT / place) for place in (".", "tests", "tests/faults"))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A training by two processes that nobody stopped: its run, and what was said."""
    folder = tmp_path_factory.mktemp("pair") / "run"
    done = run(TORCHRUN, "train", *DEMO, "--out", folder)
    assert done.returncode == 0, done.stderr
    return read_run(folder), done.stdout


def test_two_processes_compute_what_one_does(tmp_path):
    """Gradients, statistics, losses and predictions, of cropped images as well, with weighted classes, and where one of
    them has no image of a batch."""
    done = run(TORCHRUN, "numbers", tmp_path)
    assert done.returncode == 0, done.stderr
    theirs = [np.load(tmp_path / f"{rank}.npz") for rank in (0, 1)]
    (tmp_path / "alone").mkdir()
    together.numbers(tmp_path / "alone")
    ours = np.load(tmp_path / "alone" / "0.npz")
    assert set(ours) == set(theirs[0]) == set(theirs[1]) and len(ours.files) > 400
    for name in ours:
        # a bias before batch normalisation has no gradient: there Adam divides rounding by rounding
        np.testing.assert_allclose(theirs[0][name], ours[name], rtol=1e-6, atol=1e-7, err_msg=name)
        assert np.array_equal(theirs[0][name], theirs[1][name]), name  # bit for bit, so that they stay together


def test_the_command_gives_the_run_of_one_process(pair, tmp_path):
    ours, said = pair
    done = run([sys.executable], "train", *DEMO, "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    alone = read_run(tmp_path / "alone")
    losses = [[row.train_loss for row in one.record.history] for one in (ours, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # in float32, whose rounding Adam makes much of
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-3)
    np.testing.assert_allclose(ours.test_probabilities, alone.test_probabilities, atol=0.1)
    assert (ours.record.num_processes, alone.record.num_processes) == (2, 1)
    begins = ["torchrun --nproc-per-node=2 -m scratch_resnet.train ", "python -m scratch_resnet.train "]
    assert [one.record.command[: len(words)] for one, words in zip((ours, alone), begins, strict=True)] == begins
    assert "TORCH_NCCL_ASYNC_ERROR_HANDLING" not in ours.record.environment
    # one of them speaks: a line an epoch, and how many they are
    assert [said.count(f"epoch {epoch}/3: loss") for epoch in (1, 2, 3)] == [1, 1, 1]
    assert "by 2 processes, each with 1 thread" in said and said.count("complete, in") == 1
    assert sorted(path.name for path in ours.folder.iterdir()) == sorted(path.name for path in alone.folder.iterdir())


@pytest.mark.thorough
@pytest.mark.parametrize("whom", ["parent", "self"])
def test_a_signal_stops_both_and_the_run_goes_on_bit_for_bit(pair, tmp_path, whom):
    """The signal comes to torchrun, as from a batch system, or to a process that has not the checkpoint to write."""
    folder = tmp_path / "run"
    stops = f"1 8 {int(signal.SIGTERM)} {whom}"
    done = run(TORCHRUN, "train", *DEMO, "--out", folder, STOPS=stops)
    assert done.returncode != 0 and not (folder / "record.json").exists()
    resume = f"terminated; to go on: torchrun --nproc-per-node=2 -m scratch_resnet.train --resume {folder}"
    assert done.stdout.count(resume) == 1, done.stdout + done.stderr
    arrays, so_far = checkpoint.read(folder, "scratch_resnet")
    assert len(so_far.history) == 1 and arrays["under way/steps"] in (2, 3) and so_far.num_processes == 2

    alone = run([sys.executable], "train", "--resume", folder)
    assert alone.returncode == 2 and "begun with num_processes 2, and here it would be 1" in alone.stderr
    assert "torchrun --nproc-per-node=2 -m scratch_resnet.train" in alone.stderr
    done = run(TORCHRUN, "train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "model.safetensors").read_bytes() == (pair[0].folder / "model.safetensors").read_bytes()
    assert np.array_equal(read_run(folder).test_probabilities, pair[0].test_probabilities)


def test_a_process_that_is_killed_ends_the_others_who_say_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    done = run(TORCHRUN, "train", *DEMO, "--out", folder, STOPS=f"1 8 {int(signal.SIGKILL)} self")
    assert done.returncode != 0
    assert done.stderr.count("error: one of the 2 processes of this training has ended") == 1, done.stderr
    assert f"then go on: torchrun --nproc-per-node=2 -m scratch_resnet.train --resume {folder}" in done.stderr
    assert "has ended" in (folder / "log.txt").read_text()
    assert checkpoint.read(folder, "scratch_resnet")[0]["under way/steps"] == 1


def test_what_is_refused_is_said_once(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    done = run(TORCHRUN, "train", *DEMO, "--out", tmp_path / "run")
    assert done.returncode != 0 and done.stderr.count("holds other files") == 1, done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


# ---- as torchrun tells a process where it stands


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("module", [compare_run, report])
def test_what_one_process_does_is_refused_to_several(run_main, second_of_two, monkeypatch, module):
    assert run_main(module, "--help") == (2, "", "")  # the first says it
    monkeypatch.setenv("RANK", "0")
    code, out, err = run_main(module, "--help")
    assert code == 2 and out == "" and err.startswith("error: torchrun with 2 processes") and "what to do: " in err


def test_each_of_several_takes_its_own_gpu(second_of_two, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    assert hardware.choose_device("auto") == torch.device("cpu") and not taken
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.choose_device("auto") == hardware.choose_device("cuda") == torch.device("cuda:1")
    assert taken == [1, 1] and hardware.choose_device("cpu") == torch.device("cpu")
    for name in ("cuda:0", "mps"):
        with pytest.raises(UserError, match=f"--device {name} for 2 processes together"):
            hardware.choose_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="--device cuda:1, but .* sees 1 CUDA GPUs") as caught:
        hardware.choose_device("cuda")
    assert "no more processes" in caught.value.advice
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert hardware.choose_device("auto") == torch.device("cpu")  # a Mac has one GPU
