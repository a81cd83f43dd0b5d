"""Trainings that are killed, stopped or run out of disk go on to the same end, bit for bit, as one left alone.

The processes are real, and so are the signals and the full disk; see `trainings.py`.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from systems import skip_elsewhere

from compare.runs import checkpoint, record
from compare.training.job import Job
from scratch_resnet import train

skip_elsewhere()
ROOT = Path(__file__).parents[2]
SCRATCH = "scratch_resnet", (), ("--demo", "--robustness")
ON_TORCH, ON_TENSORFLOW = ("--keras-backend", "torch"), ("--keras-backend", "tensorflow", "--robustness")
HEAD, SOLVER = ("--demo",), ("--recipe", "tuned")
FINE_TUNED = ("--unfreeze", "last-stage")
LITE0 = ("--recipe", "fine-tuned", "--labels-per-class", "8")
# The branch, its backend and its command; and how many times it is killed at random.
RANDOMLY = {
    "from scratch": (*SCRATCH, 36),  # some come when it has ended
    "gradient descent, fine-tuned, torch": ("pretrained", ("torch",), (*HEAD, *FINE_TUNED, *ON_TORCH), 10),
    "solver, torch": ("pretrained", ("torch",), (*SOLVER, *ON_TORCH), 10),
    "gradient descent, tensorflow": ("pretrained", ("tensorflow",), (*HEAD, *ON_TENSORFLOW), 5),
    "solver, fine-tuned, tensorflow": ("pretrained", ("tensorflow",), (*SOLVER, *FINE_TUNED, *ON_TENSORFLOW), 5),
    "EfficientNet-Lite0, torch": ("pretrained", ("torch",), (*LITE0, *ON_TORCH), 5),
    "EfficientNet-Lite0, tensorflow": ("pretrained", ("tensorflow",), (*LITE0, *ON_TENSORFLOW), 5),
}
# Changes of files before which it is killed, one in every life: in the first, a middle and the last epoch; before a
# checkpoint is written, when it is written and has not its name yet; between weights and record.
ENDS = (r"open .*predictions.npz w", r"rename .*record.json")
BY_DESCENT = (r"checkpoint-3-.* w$", r"rename .*checkpoint-6-", r"checkpoint-12-.* r\+$")
BY_SOLVER = (r"checkpoint-2-.* w$", r"rename .*features-2-32", r"rename .*checkpoint-3-")
CHOSEN = {
    "gradient descent, fine-tuned, torch": (*BY_DESCENT, r"rename .*checkpoint-15-", *ENDS),
    "solver, torch": (*BY_SOLVER, *ENDS),
    "gradient descent, tensorflow": (*BY_DESCENT, *ENDS),
    "solver, fine-tuned, tensorflow": (*BY_SOLVER, r"checkpoint-5-.* r\+$", *ENDS),
}


class Trainings:
    """Trainings of one branch, one after the other."""

    def __init__(self, branch: str, backends: tuple[str, ...], words: tuple[str, ...], folder: Path):
        self.words, self.folder, self.branch = words, folder, branch
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, Path(__file__).with_name("trainings.py"), branch, *backends]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)
        assert self.process.stdout.readline() == "ready\n"
        start = time.perf_counter()
        assert self.train(folder / "whole") == 0, self.said
        self.seconds = time.perf_counter() - start
        self.whole = outcome(folder / "whole")

    def begin(self, run: Path, *more: str, at: tuple[int | str, ...] = (), number: int = signal.SIGKILL) -> int:
        """Begin a run in that folder, or go on with it; the process' id."""
        self.said_in = self.folder / f"{run.name}.txt"
        goes_on = ["--resume" if checkpoint.found(run) else "--out", str(run)]
        words = [*goes_on, *more] if goes_on[0] == "--resume" else [*self.words, *goes_on, *more]
        asked = {"words": words, "folder": str(run), "said": str(self.said_in), "at": at, "signal": number}
        self.said_in.write_text("")
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """Wait for the process that was begun: its exit code, negative for a signal."""
        return int(self.process.stdout.readline())

    def train(self, run: Path, *more: str, **when) -> int:
        """Both."""
        self.begin(run, *more, **when)
        return self.end()

    @property
    def said(self) -> str:
        """What the last process said."""
        return self.said_in.read_text()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def outcome(run: Path) -> dict:
    """Everything that must be the same: the record but for times, places and the process' memory; the predictions; the
    weights."""
    said = json.loads((run / record.RECORD).read_text())
    for name in (
        "seconds",
        "peak_memory_bytes",
        "started",
        "commit",
        "command",
        "files",
        "sha256",
        "energy_joules",
        "processor_seconds",
    ):
        said.pop(name, None)
    said["history"] = [
        {name: value for name, value in row.items() if "second" not in name and name != "energy_joules"}
        for row in said["history"]
    ]
    arrays = {}
    with np.load(run / record.PREDICTIONS) as file:
        arrays |= {name: file[name] for name in file.files}
    if (run / "model.safetensors").exists():
        arrays |= safetensors.numpy.load_file(run / "model.safetensors")
    else:
        with zipfile.ZipFile(run / "model.keras") as archive:
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        weights.visititems(lambda name, one: arrays.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None)
    assert len(arrays) > 10
    return said | {name: (one.dtype.str, one.shape, one.tobytes()) for name, one in arrays.items()}


@contextlib.contextmanager
def trainings_of(branch, backends, words, folder):
    trainings = Trainings(branch, backends, words, folder)
    try:
        yield trainings
    finally:
        trainings.close()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    with trainings_of(*SCRATCH, tmp_path_factory.mktemp("trainings")) as trainings:
        yield trainings


def is_same(trainings: Trainings, run: Path, faults) -> None:
    """Bring a run to its end, and compare it with the one that was left alone."""
    if not (run / record.RECORD).exists():
        assert trainings.train(run) == 0, trainings.said
    got = outcome(run)
    assert [name for name in {*got, *trainings.whole} if got.get(name) != trainings.whole.get(name)] == []
    assert not checkpoint.found(run) or (run / record.RECORD).exists()
    assert not [path for path in run.iterdir() if path.name.startswith((".partial", "features-"))]
    faults.survived += 1


def test_killed_again_and_again_it_comes_to_the_same_end(scratch, faults, tmp_path):
    """Just before the same change of a file in every life: in every epoch, and while a checkpoint is written."""
    run, lives = tmp_path / "run", []
    while not (run / record.RECORD).exists():
        if trained := checkpoint.found(run):
            epochs = len(checkpoint.read(run, "scratch_resnet")[1].history)
            lives.append((epochs, int(checkpoint.NAME.fullmatch(trained[0].name)[1])))
        code = scratch.train(run, at=(26,))
        faults.injected += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL) and len(lives) < 10, scratch.said
    assert {epochs for epochs, _ in lives} >= {0, 1, 2} and len(set(lives)) == len(lives) >= 4
    is_same(scratch, run, faults)


@pytest.mark.parametrize("change", ENDS)
def test_killed_between_weights_and_record(scratch, faults, tmp_path, change):
    assert scratch.train(tmp_path / "run", at=(change,)) == -signal.SIGKILL
    faults.injected += 1
    assert (tmp_path / "run" / "model.safetensors").exists()
    is_same(scratch, tmp_path / "run", faults)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")],
)
def test_a_signal_lets_the_step_end_and_says_how_to_go_on(scratch, faults, tmp_path, number, code, word):
    run = tmp_path / "a run"
    assert scratch.train(run, at=("rename .*checkpoint-12-",), number=number) == code, scratch.said
    faults.injected += 1
    arrays, so_far = checkpoint.read(run, "scratch_resnet")
    assert len(so_far.history) == 1 and 0 < arrays["under way/steps"] < 6 and so_far.under_way.seconds > 0
    goes_on = f"{word}; to go on: python -m scratch_resnet.train --resume '{run}'"
    assert goes_on in scratch.said and goes_on in (run / record.LOG).read_text()
    is_same(scratch, run, faults)


def test_a_second_signal_leaves_at_once(scratch, faults, tmp_path):
    run = tmp_path / "run"
    # the second one comes while the checkpoint is being written that the first one waits for
    at = (r"checkpoint-12-.* w$", "rename .*checkpoint-12-")
    assert scratch.train(run, at=at, number=signal.SIGINT) == -signal.SIGINT
    assert "a second time stops at once" in scratch.said and "to go on" not in scratch.said
    faults.injected += 2
    is_same(scratch, run, faults)
    faults.survived += 1


def test_the_same_sigterm_twice_is_one(scratch, faults, tmp_path):
    """As where a whole group of processes is ended, and compare.run passes on what the branch has heard already."""
    run = tmp_path / "run"
    at = (r"checkpoint-12-.* w$", "rename .*checkpoint-12-")
    assert scratch.train(run, at=at, number=signal.SIGTERM) == 143, scratch.said
    assert "terminated; to go on" in scratch.said
    faults.injected += 2
    is_same(scratch, run, faults)
    faults.survived += 1


def test_a_signal_at_the_end_stops_the_prediction(scratch, faults, tmp_path):
    """With every epoch kept; and one that comes when the record is being written comes too late."""
    run = tmp_path / "run"
    assert scratch.train(run, at=("model.safetensors w",), number=signal.SIGTERM) == 143
    assert "to go on" in scratch.said and len(checkpoint.read(run, "scratch_resnet")[1].history) == 3
    is_same(scratch, run, faults)
    assert scratch.train(tmp_path / "late", at=("record.json w",), number=signal.SIGTERM) == 0
    is_same(scratch, tmp_path / "late", faults)
    faults.injected += 2


@pytest.mark.parametrize("moments", [[0.7], pytest.param(np.linspace(0.2, 6, 20), marks=pytest.mark.thorough)], ids=len)
@pytest.mark.parametrize("module", ["scratch_resnet", "pretrained"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_training_begins_a_signal_ends_the_process(faults, tmp_path, module, number, moments):
    """While it imports, examines and measures. A late moment finds a training, or one that completes its run; where
    none had begun, none begins."""
    for moment in moments:
        run = tmp_path / f"{moment}"
        command = [sys.executable, "-m", f"{module}.train", "--demo", "--out", str(run)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        time.sleep(moment)
        begun = run.exists()
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        late = begun and (run / record.RECORD).exists()
        assert (late or process.returncode in (128 + number, -number)) and "Traceback" not in said, said
        assert begun or not run.exists() or "to go on" in said, said
        faults.injected += 1
        faults.survived += 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_where_its_exception_would_be_lost(faults, number):
    """Python drops what is raised in a destructor, as in the callbacks of its imports."""
    lines = ("import os, sys", "from compare.training.stopping import end_at_once", "end_at_once()", "class Lost:")
    lines += (f"    def __del__(self): os.kill(os.getpid(), {int(number)}); list(map(str, range(9)))",)
    lines += ("print('before')", "Lost()", "print('after')")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (128 + number, "before\n")
    assert done.stderr == ("interrupted\n" if number == signal.SIGINT else "terminated\n")
    faults.injected += 1
    faults.survived += 1


def test_a_stop_whose_exception_was_lost_is_heeded_after_the_step(tmp_path):
    job = Job(tmp_path, None, {}, None, {}, None, None, None, 0.0, _kept=time.perf_counter())
    assert not job.must_keep()
    with pytest.raises(KeyboardInterrupt), job.stopping.heard():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert job.must_keep()
        with job.stopping.finishing():
            pass
        pytest.fail("it went on")


def test_a_damaged_checkpoint_is_named_and_stepped_over(scratch, faults, tmp_path):
    run = tmp_path / "run"
    assert scratch.train(run, at=("checkpoint-12-.* w$",)) == -signal.SIGKILL
    damages = {14: lambda content: content[:-1] + bytes([content[-1] ^ 1]), 16: lambda content: content[:1000]}
    for number, damage in damages.items():
        newest, before = checkpoint.found(run)
        newest.write_bytes(damage(newest.read_bytes()))
        faults.injected += 1
        assert scratch.train(run, at=(f"checkpoint-{number}-.* w$",)) == -signal.SIGKILL
        assert f"{newest.name} is damaged" in scratch.said and not newest.exists()
    shutil.copytree(run, tmp_path / "both")
    is_same(scratch, run, faults)
    faults.survived += 1
    for path in checkpoint.found(tmp_path / "both"):
        path.write_bytes(b"")
        faults.injected += 1
    assert scratch.train(tmp_path / "both") == 2
    faults.refusal(scratch.said)
    assert all(path.name in scratch.said for path in checkpoint.found(tmp_path / "both"))
    faults.refused += 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a size that can be changed."""
    place = tmp_path / "small disk"
    place.mkdir()

    def resize(num_bytes: int, *more: str):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*more, f"size={num_bytes}"]), "none", str(place)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not resize(1_000_000):
        pytest.skip("no disk can be mounted here")
    yield place, lambda num_bytes: resize(num_bytes, "remount")
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_leaves_the_checkpoints_and_the_run_goes_on(scratch, faults, tmp_path, small_disk):
    place, resize = small_disk
    assert scratch.train(tmp_path / "run", at=("checkpoint-9-.* w$",)) == -signal.SIGKILL
    num_bytes = sum(path.stat().st_size for path in checkpoint.found(tmp_path / "run"))
    shutil.copytree(tmp_path / "run", resize(2 * num_bytes) and place / "run")
    before = {path: path.read_bytes() for path in checkpoint.found(place / "run")}
    assert resize(int(1.2 * num_bytes)) and len(before) == 2
    assert scratch.train(place / "run") == 1
    faults.injected += 1
    faults.refusal(scratch.said[scratch.said.index("error: ") :])
    assert (
        "No space left" in scratch.said
        and f"then go on: python -m scratch_resnet.train --resume '{place}" in scratch.said
    )
    assert {path: path.read_bytes() for path in checkpoint.found(place / "run")} == before
    assert not list((place / "run").glob(".partial*"))
    assert resize(4 * num_bytes)
    assert scratch.train(place / "run") == 0 and outcome(place / "run") == scratch.whole


def test_a_loss_that_is_not_finite_ends_the_training_at_once(scratch, faults, tmp_path):
    assert scratch.train(tmp_path / "run", "--learning-rate", "1e30") == 1
    faults.injected += 1
    faults.refusal(scratch.said[scratch.said.index("error: ") :])
    assert re.search(r"the loss of step \d of 6 in epoch 1 is nan, at a learning rate of .*e\+\d+\n", scratch.said)
    assert "start anew with a smaller --learning-rate than 1e+30" in scratch.said
    assert not (tmp_path / "run" / record.RECORD).exists()


def test_other_recipes_data_seeds_and_versions_are_refused_by_name(scratch, faults, tmp_path, run_main):
    run = tmp_path / "run"
    assert scratch.train(run, at=(30,)) == -signal.SIGKILL

    def refused(words, named):
        faults.injected += 1
        code, _, said = run_main(train, "--resume", run, *words)
        assert code == 2 and re.search(named, said, re.DOTALL), said
        faults.refusal(said)

    for words, named in (
        (("--recipe", "tuned"), "--recipe tuned.*recipe demo"),
        (("--seed", "5"), "--seed 5.*seed 0"),
        (("--epochs", "4"), "--epochs 4.*recipe demo"),
        (("--robustness",), "--robustness.*robustness"),
    ):
        refused(words, f"--resume together with {named}")
    # here are all the digits
    refused((), "here has num_train 907, .*fingerprint [0-9a-f]+.* began with num_train 84, .*fingerprint [0-9a-f]+")
    arrays, so_far = checkpoint.read(run, "scratch_resnet")
    here = so_far.versions["torch"]
    for name, version, named in (
        ("torch", "1.9.1", f"here is torch {re.escape(here)}, and the run in .* begun with torch 1.9.1"),
        ("numpy", "1.26.0", "begun with numpy 1.26.0"),
    ):
        other = so_far.model_copy(update={"versions": so_far.versions | {name: version}})
        checkpoint.write(run, arrays, other)
        refused((), named)
    so_far.versions["torch"] = re.sub(r"^(\d+\.\d+).*", r"\1.99", here)  # another patch
    checkpoint.write(run, arrays, so_far)
    is_same(scratch, run, faults)
    faults.injected += 1


@pytest.mark.thorough
@pytest.mark.parametrize("name", CHOSEN)
def test_the_pretrained_branch_killed_in_every_epoch_comes_to_the_same_end(faults, tmp_path, name):
    """One run with as many lives as there are changes to be killed at, on either backend."""
    run = tmp_path / "run"
    with trainings_of(*RANDOMLY[name][:3], tmp_path) as trainings:
        for number, change in enumerate(CHOSEN[name]):
            assert trainings.train(run, at=(change,)) == -signal.SIGKILL, (change, trainings.said)
            faults.injected += 1
            faults.survived += number > 0
        is_same(trainings, run, faults)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RANDOMLY)
def test_killed_at_random_points_it_comes_to_the_same_end(faults, tmp_path, name):
    """At any time from the process' start to its end. Every sixth time it is stopped by SIGTERM instead."""
    *what, num_kills = RANDOMLY[name]
    points = random.Random(f"1 {name}")
    found = {"before the first checkpoint": 0, "in training": 0, "in predicting": 0, "complete": 0}
    with trainings_of(*what, tmp_path) as trainings:
        num_times = num_kills * 6 // 5
        for number in range(num_times):
            run = tmp_path / f"run {number}"
            process = trainings.begin(run)
            time.sleep((number + points.random()) / num_times * trainings.seconds)
            signal_number = signal.SIGTERM if number % 6 == 5 else signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal_number)
            code = trainings.end()
            assert code in (0, 143, -signal_number) and (code == 143) == ("to go on: " in trainings.said)
            killed = code != 0
            faults.injected += killed
            with contextlib.suppress(Exception):
                so_far = checkpoint.read(run, what[0])[1]
            if (run / record.RECORD).exists():
                found["complete"] += 1
            elif not checkpoint.found(run):
                found["before the first checkpoint"] += 1
            elif len(so_far.history) == len(trainings.whole["history"]):
                found["in predicting"] += 1
            else:
                found["in training"] += 1
            is_same(trainings, run, faults)
            faults.survived -= not killed
            shutil.rmtree(run)
    print(
        f"\n{name}: killed or stopped {num_times} times:",
        ", ".join(f"{count} {where}" for where, count in found.items()),
    )
    assert found["in training"]
