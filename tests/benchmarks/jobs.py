"""Trainings side by side (`--jobs N`) beside the same one after the other: seconds, and memory. Prints a line of JSON
for each number.

    python tests/benchmarks/jobs.py small            nine of digits, in which most of the time is the start of a process
    python tests/benchmarks/jobs.py large            four of Fashion-MNIST from scratch, of two epochs each
    python tests/benchmarks/jobs.py mixed --jobs 1 2 auto   two of it from scratch, two on a frozen network
    python tests/benchmarks/jobs.py small --threads 1       each with one thread, whatever their number

seconds       from the end of the checks to the end of the last training; `announced` is what was said beforehand
memory_bytes  the most that all processes held together, what several share counted once (PSS), looked at twice a second
results       the SHA-256 of all predictions: alike wherever the threads are, as `threads` tells them

Every number has caches of its own, which are empty at first. Nothing else should be running.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from compare.runs import record
from compare.system import machine

ROOT = Path(__file__).parent.parent.parent
CASES = {
    "small": ["--label-curve", "--demo"],
    "large": ["--scratch", "--recipe", "tuned", "--epochs", "2", "--seeds", "0,1,2,3"],
    "mixed": ["--run", "scratch_resnet --recipe tuned --epochs 2", "--run", "pretrained --recipe frozen"],
}
CASES["mixed"] += ["--seeds", "0,1", "--labels-per-class", "1000"]
SECONDS_BETWEEN_LOOKS = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--jobs", nargs="+", default=["1", "2"])
    parser.add_argument("--threads", help="of each training (what the command chooses)")
    parser.add_argument("--data-dir", help="where Fashion-MNIST is")
    arguments = parser.parse_args()
    words = CASES[arguments.case] + (["--data-dir", arguments.data_dir] if arguments.data_dir else [])
    for jobs in arguments.jobs:
        with tempfile.TemporaryDirectory() as place:
            environment = {"XDG_CACHE_HOME": place, "PYTHONPATH": str(ROOT)}
            if arguments.threads:
                environment["OMP_NUM_THREADS"] = arguments.threads
            print(json.dumps({"case": arguments.case, "jobs": jobs} | measured(words, jobs, environment, Path(place))))


def measured(words: list[str], jobs: str, environment: dict[str, str], place: Path) -> dict:
    """One comparison with so many jobs, in a folder of its own below `place`."""
    command = [sys.executable, "-m", "compare.run", *words, "--jobs", jobs, "--out", str(place / "out")]
    process = subprocess.Popen(
        command, env=os.environ | environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=sys.stderr
    )
    most = [0]
    threading.Thread(target=look, args=(process.pid, most), daemon=True).start()
    found = {}
    for line in process.stdout:
        print(line, end="", file=sys.stderr)
        if told := re.match(r"\d+ trainings, (.*): (.*)", line):
            begin, found["how"], found["announced"] = time.perf_counter(), *told.groups()
            most[0] = 0
        if ": complete, in " in line:
            found["seconds"] = round(time.perf_counter() - begin, 1)
            found["memory_bytes"] = most[0]
    if process.wait():
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    runs = [record.read_run(run) for run in sorted((place / "out" / "runs").iterdir())]
    digest = hashlib.sha256(b"".join(run.test_probabilities.tobytes() for run in runs))
    found["threads"] = [run.record.num_threads for run in runs]
    return found | {"results": digest.hexdigest()[:16], "machine": machine.processor_name()}


def look(process: int, most: list[int]) -> None:
    """Keep up to date what the process and all that it begins hold at most."""
    with contextlib.suppress(psutil.NoSuchProcess):
        while True:
            total = 0
            for one in (psutil.Process(process), *psutil.Process(process).children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += getattr(one.memory_full_info(), "pss", one.memory_info().rss)
            most[0] = max(most[0], total)
            time.sleep(SECONDS_BETWEEN_LOOKS)


if __name__ == "__main__":
    main()
