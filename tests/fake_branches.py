"""Branches that train nothing, for tests of the main command: processes of their own that write made-up runs.

What each does says the environment, as `FAKE_scratch_fake=crash`, and `FAKE_ONLY_SEED` of which seed.
"""

import os
import subprocess
import sys
from pathlib import Path

BRANCHES = {"scratch": "scratch_fake", "pretrained": "pretrained_fake"}
HERE = Path(__file__).parent

SOURCE = """
import os, signal, sys, time
from pathlib import Path
from compare.system import processes
from fake_runs import write_run, write_unfinished_run

processes.end_with_parent()
branch, words = __spec__.name.partition(".")[0], sys.argv[1:]
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
    print("checked")
    print("COMPARE_ESTIMATE 100.5 100.5")
    sys.exit(0)
resumed = "--resume" in words
folder = Path(words[words.index("--resume" if resumed else "--out") + 1])
seed = folder.name.partition("-seed-")[2] or "0"
if os.environ.get("FAKE_ONLY_SEED", seed) != seed:
    does = "finish"
if does in ("crash", "kill", "interrupt", "hang", "stop slowly", "heed nothing"):
    write_unfinished_run(folder, branch=branch, log="epoch 1/3: loss 0.7\\nthe disk went away\\n")
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
        Path(os.environ["FAKE_LOG"] + ".ready").touch()
        while not saving:
            time.sleep(0.02)
        time.sleep(2.5)  # longer than compare.run looks away
        (folder / "saved").write_text(str(saving))
        sys.exit(128 + saving[0])
    os.kill(os.getpid(), signal.SIGKILL if does == "kill" else signal.SIGINT)
if resumed:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
write_run(folder, branch=branch, seed=int(seed))
"""


def install(folder: Path) -> dict[str, str]:
    """Write both below `folder`; the environment that lets processes find them, and log there what they are asked."""
    for name in BRANCHES.values():
        (folder / "path" / name).mkdir(parents=True)
        (folder / "path" / name / "train.py").write_text(SOURCE)
    path = os.pathsep.join(map(str, (folder / "path", HERE, HERE.parent)))
    return {"PYTHONPATH": path, "FAKE_LOG": str(folder / "log")}


def command(*words) -> list[str]:
    """The main command with these words and branches, as a command line."""
    code = f"""
import sys
from compare import run
from compare.system.command import run_command
run.BRANCHES = {BRANCHES}
sys.argv = ["run", *{list(map(str, words))!r}]
run_command(run.main)
"""
    return [sys.executable, "-c", code]


def start(*words) -> subprocess.Popen:
    """The same begun, in a group of processes of its own, as a terminal starts it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*words), start_new_session=True, **pipes)
