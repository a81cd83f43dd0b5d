"""One of two real branches fails: the other's run and the report are there, and --resume goes on with the failed one.

`tests/test_run.py` has the same, and signals, with branches that train nothing.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compare.runs import checkpoint, record

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
