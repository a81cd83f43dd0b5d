"""Branches that train nothing, for tests of the main command: processes of their own that leave copies of made-up runs.
They import nothing large, as a test starts many.

What each does says the environment, as `FAKE_scratch_fake=crash`, and `FAKE_ONLY_SEED` of which seed.
"""

import os
import subprocess
import sys
from pathlib import Path

from fake_runs import write_run, write_unfinished_run

BRANCHES = {"scratch": "scratch_fake", "pretrained": "pretrained_fake"}
HERE = Path(__file__).parent

SOURCE = """
import json, os, shutil, signal, sys, time
from pathlib import Path
from compare.system import processes

processes.end_with_parent()
branch, words = __spec__.name.partition(".")[0], sys.argv[1:]
made_up = Path(os.environ["FAKE_LOG"]).with_name("made up")  # a cluster runs a copy of this file
with open(os.environ["FAKE_LOG"], "a") as log:
    print(branch, *words, file=log)
does = os.environ.get("FAKE_" + branch, "finish")
if "--check" in words:
    if does == "refuse":
        sys.exit(2)
    if does == "die in the check":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "interrupt the check":
        os.kill(os.getpid(), signal.SIGINT)
    if does == "check for ever":
        Path(os.environ["FAKE_LOG"] + ".ready").touch()
        time.sleep(1000)
    if "--told-nothing" in words:
        sys.exit(0)
    print("checked")
    for labels in ("its own", *os.environ["COMPARE_ESTIMATE"].split()):
        seconds = labels if labels.isdigit() else 100.5  # as if each label of a class took a second
        told = {"seconds": [float(seconds)] * 2, "epochs": [[float(seconds)] * 2]}
        told["data"] = "fashion" if {"article", "tuned"} & set(words) else "digits"
        told["memory"] = 10**8
        print("COMPARE_ESTIMATE", json.dumps(told))
    sys.exit(0)
print("trains with", os.environ.get("OMP_NUM_THREADS"), "threads")
print("and says so", file=sys.stderr)
resumed = "--resume" in words
assert len(json.loads(os.environ["COMPARE_EXPECTED"])) == 1  # what the check has told
folder = Path(words[words.index("--resume" if resumed else "--out") + 1])
seed = folder.name.partition("-seed-")[2] or "0"
if os.environ.get("FAKE_ONLY_SEED", seed) != seed:
    does = "finish"
if does in ("crash", "kill", "interrupt", "hang", "stop slowly", "heed nothing"):
    shutil.copytree(made_up / f"{branch} unfinished", folder, dirs_exist_ok=True)
    if does == "crash":
        sys.exit(1)
    if does == "hang":
        time.sleep(1000)
    if does == "heed nothing":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(os.environ["FAKE_LOG"] + ".ready").touch()
        time.sleep(1000)
    if does == "stop slowly":
        saving = []
        def stop(number, _):
            if saving:
                os._exit(3)  # as the branches do at a second signal
            saving.append(number)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        (folder / "ready").touch()
        Path(os.environ["FAKE_LOG"] + ".ready").touch()
        while not saving:
            time.sleep(0.02)
        time.sleep(2.5)  # longer than compare.run looks away
        (folder / "saved").write_text(str(saving))
        sys.exit(128 + saving[0])
    os.kill(os.getpid(), signal.SIGKILL if does == "kill" else signal.SIGINT)
if does == "meet":
    Path(os.environ["FAKE_LOG"] + "." + folder.name).touch()
    deadline = time.monotonic() + 60
    while len(list(Path(os.environ["FAKE_LOG"]).parent.glob("log.*"))) < int(os.environ["FAKE_MEETING"]):
        time.sleep(0.02)
        if time.monotonic() > deadline:
            sys.exit(1)
if does == "wait":
    Path(os.environ["FAKE_LOG"] + f".{os.getpid()}." + folder.name).touch()
    while not Path(os.environ["FAKE_LOG"]).with_name("end " + folder.name).exists():
        time.sleep(0.02)
if resumed:
    shutil.rmtree(folder)
shutil.copytree(made_up / branch, folder)
"""


def make_up(folder: Path) -> None:
    """Write the runs that the branches copy."""
    for name in BRANCHES.values():
        write_run(folder / name, branch=name)
        log = "epoch 1/3: loss 0.7\nthe disk went away\n"
        write_unfinished_run(folder / f"{name} unfinished", branch=name, log=log)


def install(folder: Path, made_up: Path) -> dict[str, str]:
    """Write both branches below `folder`, to copy runs from `made_up`; the environment that lets processes find them,
    and log there what they are asked."""
    (folder / "made up").symlink_to(made_up)
    for name in BRANCHES.values():
        (folder / "path" / name).mkdir(parents=True)
        (folder / "path" / name / "train.py").write_text(SOURCE)
    path = os.pathsep.join(map(str, (folder / "path", HERE, HERE.parent)))
    return {"PYTHONPATH": path, "FAKE_LOG": str(folder / "log")}


def write_light_report(folder: Path, finished: list, unfinished: list, *, title, data_dir=None) -> Path:
    """In the place of a report: what it would be of, in lines."""
    lines = [str(title), f"data in {data_dir}", *(f"finished {run.folder.name}" for run in finished)]
    lines += [f"unfinished {run.folder.name}: {run.damage} {' '.join(run.log_lines)}" for run in unfinished]
    (folder / "index.html").write_text("\n".join(lines), encoding="utf-8")
    return folder / "index.html"


def command(*words, light: bool = False) -> list[str]:
    """The main command with these words and branches, as a command line; `light` without a real report."""
    code = f"""
import sys
from compare import card, plan, report, run, supervise
from compare.system.command import run_command
plan.BRANCHES = {BRANCHES}
if {light}:
    from fake_branches import write_light_report
    report.write_report, report.check_plotting = write_light_report, lambda: None
    card.write_beside = lambda run: None
    supervise.POLL_SECONDS = 0.2
sys.argv = ["run", *{list(map(str, words))!r}]
run_command(run.main)
"""
    return [sys.executable, "-c", code]


def start(*words) -> subprocess.Popen:
    """The same begun, without a real report, in a group of processes of its own, as a terminal starts it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*words, light=True), start_new_session=True, **pipes)
