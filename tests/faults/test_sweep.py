"""Comparisons of both real branches that are killed at any time, and gone on with, come to the same end, bit for bit;
what they had begun is gone 5 s later, and nothing else is left.

One comparison has many lives: every one but the last is killed and followed by `--resume`.
"""

import concurrent.futures
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_resume import outcome

from compare.runs import out_folder

ROOT = Path(__file__).parents[2]
BRANCHES = ("scratch_resnet", "pretrained")
WORDS = ("--both", "--demo", "--epochs", "scratch=2,pretrained=1", "--weights", "random", "--name", "swept")
WORDS += ("--keras-backend", "tensorflow")
NUM_KILLS = 20  # of either kind
SECONDS_TO_BE_GONE = 5


class Comparison:
    """One comparison in a folder of its own, in which all that it leaves can be found."""

    def __init__(self, place: Path, jobs: str = "1"):
        self.place, self.folder, self.jobs, self.num_lives = place, place / "reports" / "swept", jobs, 0
        place.mkdir(exist_ok=True)

    def live(self) -> "Life":
        """Begin it, or go on with it."""
        self.num_lives += 1
        begun = (self.folder / out_folder.COMPARISON).exists()
        words = ("--resume", str(self.folder)) if begun else WORDS
        return Life(self.place, self.num_lives, (*words, "--jobs", self.jobs))

    def comes_to(self) -> tuple[list[dict], set[str]]:
        """What both runs have come to, and all files in the report and the runs."""
        outcomes = [outcome(self.folder / "runs" / branch) for branch in BRANCHES]
        return outcomes, {str(path.relative_to(self.place / "reports")) for path in (self.place / "reports").rglob("*")}


class Life:
    """A command, and all that it begins, in a session and with a folder for temporary files of its own."""

    def __init__(self, place: Path, number: int, words: tuple[str, ...]):
        self.temporary, self.said_in = place / f"temporary {number}", place / f"said {number}"
        self.temporary.mkdir()
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(place / "cache")  # PyTorch's own, one for all processes of a user
        with self.said_in.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "compare.run", *words],
                cwd=place,
                env=os.environ | environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self.began, self.ended = time.monotonic(), 0.0

    def end_by(self, kill, seconds: float) -> bool:
        """Kill it when it is so old; whether it was killed, and had not come to its end before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert self.process.wait(seconds) == 0, self.said_in.read_text()
            return False
        kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.ended = time.monotonic()
        return True

    def leaves_nothing(self) -> None:
        """Some seconds after its end no process of it is there, and no temporary file."""
        time.sleep(max(0.0, self.ended + SECONDS_TO_BE_GONE - time.monotonic()))
        left = [(process.cmdline(), self.said_in.read_text()) for process in of_session(self.process.pid)]
        assert left == [] and list(self.temporary.iterdir()) == []


def of_session(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an undisturbed one comes to, and its seconds."""
    comparison = Comparison(tmp_path_factory.mktemp("whole"))
    life = comparison.live()
    assert life.process.wait() == 0, life.said_in.read_text()
    seconds = time.monotonic() - life.began
    life.leaves_nothing()
    return comparison.comes_to(), seconds


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and sessions")
@pytest.mark.parametrize(
    ("whom", "jobs"), [("the command alone", "1"), ("all its processes", "1"), ("the command alone", "2")]
)
def test_killed_at_any_time_it_comes_to_the_same_end(whole, faults, tmp_path, whom, jobs):
    comes_to, seconds = whole
    kill = os.kill if whom == "the command alone" else os.killpg
    points = random.Random(whom)
    moments = [seconds * (number + points.random()) / NUM_KILLS for number in range(NUM_KILLS)]
    points.shuffle(moments)
    num_comparisons = num_killed = 0
    with concurrent.futures.ThreadPoolExecutor() as later:
        while num_killed < NUM_KILLS:
            comparison, looks = Comparison(tmp_path / str(num_comparisons), jobs), []
            num_comparisons += 1
            # The next life begins at once, while what this one had begun may still be there.
            while (life := comparison.live()).end_by(kill, moments[num_killed] if num_killed < NUM_KILLS else 600):
                looks.append(later.submit(life.leaves_nothing))
                num_killed += 1
                faults.injected += 1
            if num_killed < NUM_KILLS:  # it had come to its end before
                moments[num_killed] *= points.random()
            for look in looks:
                look.result()
            assert comparison.comes_to() == comes_to
            faults.survived += len(looks)
