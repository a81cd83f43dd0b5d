"""One of two real branches fails: the other's run and the report are there, and --resume goes on with the failed one.
And several train at a time, here and on a Ray cluster of this machine, to the same bits as one after the other.

`tests/test_run.py`, `test_jobs.py` and `test_cluster.py` have the same, and signals, with branches that train nothing.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from systems import skip_elsewhere
from test_resume import outcome

from compare.runs import checkpoint, record

skip_elsewhere()
ROOT = Path(__file__).parent.parent.parent
COMMAND = """
import sys
from compare import run, supervise
from compare.system.command import run_command
supervise.HANG_SECONDS = 30
run_command(run.main)
"""
WORDS = [sys.executable, "-c", COMMAND]


def child_of(process: subprocess.Popen) -> int:
    """The process that a command has started and waits for."""
    (child,) = psutil.Process(process.pid).children()
    return child.pid


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGKILL, "signal 9 (SIGKILL)"), (signal.SIGSTOP, "no progress, under 1% of a processor")],
)
def test_a_branch_is_killed_or_hangs(tmp_path, faults, number, told):
    out = tmp_path / "out"
    scratch, pretrained = out / "runs" / "scratch_resnet", out / "runs" / "pretrained"
    words = ["--both", "--demo", "--epochs", "scratch=3,pretrained=1", "--weights", "random", "--out", out]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*WORDS, *map(str, words)], cwd=ROOT, **pipes) as process:
        while not checkpoint.found(scratch):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.kill(child_of(process), number)
        faults.injected += 1
        printed, err = process.communicate(timeout=500)
    assert process.returncode == 1 and told in err and "Traceback" not in err, err
    assert record.read_run(pretrained) and not (scratch / record.RECORD).exists()
    assert f"to go on: python -m compare.run --resume {out}" in err
    page = (out / "index.html").read_text(encoding="utf-8")
    assert printed.splitlines()[-1] == str(out / "index.html") and told in page and "Not finished" in page

    with faults.leaving(pretrained):
        done = subprocess.run([*WORDS, "--resume", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "pretrained: recipe" not in done.stdout, done.stderr
    assert len(record.read_run(scratch).record.history) == 3
    assert told not in (out / "index.html").read_text(encoding="utf-8")
    faults.survived += 1


PLAN = ("scratch_resnet --recipe demo --epochs 1", "pretrained --recipe demo", "pretrained --recipe demo --seed 1")


def trained(folder: Path, jobs: str) -> dict[str, dict]:
    """What the trainings of `PLAN` come to, so many at a time with a thread each, and none has the features of another
    comparison."""
    words = [sys.executable, "-m", "compare.run", "--jobs", jobs, "--out", str(folder / "out")]
    words += [word for training in PLAN for word in ("--run", training)]
    environment = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    environment["KERAS_BACKEND"] = "torch"  # what is begun for the whole file has another environment than a test
    done = subprocess.run(words, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {run.name: outcome(run) for run in (folder / "out" / "runs").iterdir()}


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one by one"), "1")


@pytest.mark.thorough
@pytest.mark.parametrize("jobs", ["3", "ray"])
def test_how_many_train_at_a_time_changes_no_bit(one_by_one, tmp_path, jobs):
    if jobs == "ray":
        pytest.importorskip("ray")
    assert len(one_by_one) == len(PLAN) and trained(tmp_path, jobs) == one_by_one
