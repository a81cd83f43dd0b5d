"""The terminal is not the work: where it is closed, full, gone, or lacks a character, a command does what it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_branches
import pytest

pty = pytest.importorskip("pty", reason="needs POSIX")
ROOT = Path(__file__).parents[2]


def each(first, *others):
    """The first value in every run of the tests, the others in the thorough ones: each takes some 10 s."""
    return [first, *(pytest.param(other, marks=pytest.mark.thorough) for other in others)]


NARROW = [{"PYTHONIOENCODING": encoding} for encoding in ("ascii", "cp1251", "latin-1", "utf-8")]
NARROW += [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
SAYS = {
    "compare.run --help": "N,N,{}  ",
    "scratch_resnet.train --describe": "1{}64{}56{}56",
    "pretrained.train --help": "noisy, {} copies",
    "compare.report --help": "into reports/today",
}


@pytest.mark.parametrize("environment", each(*NARROW), ids=lambda one: next(iter(one.values())))
@pytest.mark.parametrize("words", SAYS)
def test_what_a_terminal_cannot_show_is_spelled(words, environment):
    command = [sys.executable, "-m", *words.split()]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True)
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    character = "×" if "describe" in words else "…"
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        character = {"×": "x", "…": "..."}[character]
    assert SAYS[words].replace("{}", character) in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    "to",
    each("<&- >&- 2>&-", ">&-", "2>&-", "> /dev/full", "2> /dev/full", "> /dev/full 2>&1", "| head -c 1", "2>&1 | :"),
)
def test_a_closed_or_full_output_costs_lines_alone(fakes, tmp_path, to):
    if "/dev/full" in to and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    words = fake_branches.command("--scratch", "--out", tmp_path / "out")
    shell = ["bash", "-c", f'set -o pipefail; "$@" {to}', "bash"]
    done = subprocess.run([*shell, *words], capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize("to", each("2>&1 | head -c 1", "<&- >&- 2>&-", "> /dev/full 2>&1", "a terminal that is gone"))
def test_a_training_goes_on_without_its_terminal(tmp_path, to):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "scratch_resnet.train", "--demo", "--epochs", "1", "--image-size", "12", "--out"]
    command.append(str(run))
    if "/dev/full" in to and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    if "gone" in to:
        ours, theirs = pty.openpty()
        # in a session of its own, so that no SIGHUP comes with it: as with `nohup`
        process = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)
        code = process.wait()
    else:
        shell = ["bash", "-c", f'set -o pipefail; "$@" {to}', "bash"]
        code = subprocess.run([*shell, *command], cwd=ROOT).returncode
    assert code == 0 and len(json.loads((run / "record.json").read_text())["history"]) == 1
    log = (run / "log.txt").read_text(encoding="utf-8").splitlines()
    assert "images of scikit-learn's digits at 12×12" in log[0] and log[-1] == "scratch_resnet: complete"
    assert sum(line.startswith("epoch 1/1") for line in log) == 1
