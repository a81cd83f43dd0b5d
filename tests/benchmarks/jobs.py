"""Trainings side by side (`--jobs N`) beside the same one after the other: seconds, and memory. Prints a line of JSON
for each number.

    python tests/benchmarks/jobs.py small            nine of digits, in which most of the time is the start of a process
    python tests/benchmarks/jobs.py large            two of Fashion-MNIST from scratch, of two epochs each
    python tests/benchmarks/jobs.py mixed --jobs 1 2 auto   two of it from scratch, two on a frozen network
    python tests/benchmarks/jobs.py small --threads 1       each with one thread, whatever their number
    python tests/benchmarks/jobs.py curve --threads 1 --jobs 1 ray    24 of digits; `ray` is a cluster of two nodes with
                                                     a processor each, of which one is killed in the middle

seconds       from the end of the checks to the end of the last training; `announced` is what was said beforehand
memory_bytes  the most that all processes held together, what several share counted once (PSS), looked at twice a second
begun         how many trainings began, looked at as often: those of a lost node begin again, and `lost_seconds` is how
              long they had gone on by then
results       the SHA-256 of all predictions, and of weights from scratch: alike wherever `threads`, of each, are

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
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from compare.runs import record
from compare.system import machine, processes

ROOT = Path(__file__).parent.parent.parent
CASES = {
    "small": ["--label-curve", "--demo"],
    "curve": ["--label-curve", "--demo", "--labels-per-class", "5,10,20,all", "--seeds", "0,1"],
    "large": ["--scratch", "--recipe", "tuned", "--epochs", "2", "--seeds", "0,1"],
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
    with two_nodes(environment) if jobs == "ray" else contextlib.nullcontext(lambda: None) as lose_one:
        process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=sys.stderr
        )
        seen = Seen(process.pid)
        found = {}
        for line in process.stdout:
            print(line, end="", file=sys.stderr)
            if told := re.match(r"(\d+) trainings, (.*): (.*)", line):
                begin, num_left = time.perf_counter(), int(told[1])
                middle = num_left // 2
                found["how"], found["announced"] = told.groups()[1:]
                seen.forget()
            if ": complete, in " in line:
                num_left -= 1
                found |= {"seconds": round(time.perf_counter() - begin, 1), "memory_bytes": seen.most_bytes}
                found |= {"begun": len(seen.trainings)}
                if num_left == middle:
                    found["lost_seconds"] = seen.lost(lose_one)
        if process.wait():
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    runs = [record.read_run(run) for run in sorted((place / "out" / "runs").iterdir())]
    digest = hashlib.sha256()
    for run in runs:
        digest.update(run.test_probabilities.tobytes())
    for weights in sorted((place / "out" / "runs").glob("*/model.safetensors")):
        digest.update(weights.read_bytes())
    found["threads"] = [run.record.num_threads for run in runs]
    return found | {"results": digest.hexdigest()[:16], "machine": machine.processor_name()}


@contextlib.contextmanager
def two_nodes(environment: dict[str, str]) -> Iterator[Callable[[], None]]:
    """A cluster of two nodes with a processor each, which `environment` leads to, and what puts a new one in the place
    of one that is killed."""
    from ray.cluster_utils import Cluster

    os.environ |= environment | {"RAY_worker_niceness": "0"}  # nodes keep their caches where it says
    there = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first, _ = (there.add_node(num_cpus=1) for _ in range(2))
    environment["RAY_ADDRESS"] = there.address

    def lose_one() -> None:
        there.remove_node(first, allow_graceful=False)
        there.add_node(num_cpus=1)

    yield lose_one
    there.shutdown()


class Seen:
    """What the process and all that it begins, or a cluster of this process, were seen to be, all the time.

    Attributes:
        most_bytes: that they held at a time.
        trainings: processes that trained.
    """

    def __init__(self, process: int):
        self.process = process
        self.forget()
        threading.Thread(target=self.look, daemon=True).start()

    def forget(self) -> None:
        """Begin anew."""
        self.most_bytes, self.trainings = 0, set()

    def look(self) -> None:
        """Look on until the process ends."""
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(self.process):
                total = 0
                for one in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        total += getattr(one.memory_full_info(), "pss", one.memory_info().rss)
                        words = one.cmdline()
                        if any(word.endswith(".train") for word in words) and "--check" not in words:
                            self.trainings.add(one)
                self.most_bytes = max(self.most_bytes, total)
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def lost(self, lose_one: Callable[[], None]) -> float:
        """The seconds that those trainings had taken which end as one is lost."""
        ages = {one: time.time() - one.create_time() for one in self.trainings if is_there(one)}
        lose_one()
        time.sleep(2 * processes.SECONDS_TO_END)  # as long as one may take that its worker's end reaches
        return round(sum(age for one, age in ages.items() if not is_there(one)), 1)


def is_there(process: psutil.Process) -> bool:
    """Whether a process goes on; one that nobody has waited for does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


if __name__ == "__main__":
    main()
