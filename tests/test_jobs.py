"""Several trainings at a time. Truths: times and machines made up by hand, and branches that train nothing but meet."""

import os
import shutil
import signal
import time

import fake_branches
import pytest

from compare import card, jobs, report, run
from compare.jobs import Jobs
from compare.plan import Training
from compare.system import environment, machine
from compare.system.errors import UserError

GB = 10**9


@pytest.fixture(autouse=True)
def light_report(monkeypatch):
    monkeypatch.setattr(report, "write_report", fake_branches.write_light_report)
    monkeypatch.setattr(report, "check_plotting", lambda: None)
    monkeypatch.setattr(card, "write_beside", lambda run: None)


@pytest.fixture
def here(monkeypatch):
    """A machine of that many free cores, GPUs and bytes of memory."""

    def be(num_cores=4, gpus=(), memory=100 * GB):
        monkeypatch.delenv(environment.THREADS, raising=False)
        monkeypatch.setattr(environment.Load, "num_cores_free", lambda self: num_cores)
        monkeypatch.setattr(machine, "visible_gpus", lambda: list(gpus))
        monkeypatch.setattr(machine, "available_memory_bytes", lambda: memory)

    be()
    return be


def ahead(*names, words=()):
    return [(Training(name, "scratch_fake", tuple(words)), tuple(words)) for name in names]


def told(seconds: float, *, before: float = 0.0, memory: float = GB) -> dict:
    return {"seconds": [before + seconds] * 2, "epochs": [[seconds, seconds], [0.0, 0.0]], "memory": memory}


# ---- how many


@pytest.mark.parametrize(
    ("asked", "cores", "gpus", "own_word", "number", "num_threads"),
    [
        (2, 4, (), None, 2, 2),
        (3, 4, (), None, 3, 1),
        (9, 4, (), None, 5, 1),  # no more than there are
        (2, 4, (), "3", 2, 3),  # the user's word
        ("auto", 4, (), None, 4, 1),
        ("auto", 64, (), None, 5, 12),
        ("auto", 4, (), "2", 2, 2),
        ("auto", 1, (), None, 1, 1),
        ("auto", 16, ("0", "1"), None, 2, 8),
        (3, 16, ("0", "1"), None, 3, 5),
    ],
)
def test_at_most_so_many(here, monkeypatch, tmp_path, asked, cores, gpus, own_word, number, num_threads):
    here(cores, gpus)
    if own_word:
        monkeypatch.setenv(environment.THREADS, own_word)
    found = jobs.at_most(asked, ahead(*"abcde"), tmp_path)
    assert (found.number, found.num_threads, found.gpus) == (number, num_threads, gpus)


def test_one_alone_has_the_machine(here, tmp_path):
    here(4, ["0"])
    for found in (jobs.at_most(1, ahead("a", "b"), tmp_path), jobs.at_most(8, ahead("a"), tmp_path)):
        assert found == Jobs() and found.environment(*ahead("a")[0]) == {}
        assert found.words == "one after the other"


def test_each_has_a_gpu_and_those_that_share_a_device_are_told(here):
    training, words = ahead("a")[0]
    two = Jobs(2, 8, gpus=("3", "GPU-beef"))
    assert two.environment(training, words, place=1) == {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "GPU-beef"}
    three = Jobs(3, 8, gpus=("3", "GPU-beef"))
    shared = {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "3", "COMPARE_SHARED": "1"}
    assert three.environment(training, words, place=2) == shared
    on_processor = {"OMP_NUM_THREADS": "4", "COMPARE_SHARED": "1"}
    assert two.environment(*ahead("a", words=("--device", "cpu"))[0]) == on_processor
    assert two.environment(*ahead("a", words=("--device=cuda:1",))[0]) == on_processor  # its own choice of one
    assert Jobs(2, 8).environment(training, words) == on_processor


def test_what_goes_on_keeps_its_threads_and_takes_their_places():
    two = Jobs(2, 4, begun={"a": 4, "b": 2, "c": 1, "d": 9})
    assert [two.num_places(name) for name in "abcdef"] == [2, 1, 1, 2, 1, 1]
    assert "OMP_NUM_THREADS" not in two.environment(*ahead("a", words=("--resume", "a"))[0])


@pytest.mark.parametrize(
    ("takes", "number"),
    [
        # four of 10 s of computing and 20 s before it, on two cores: two at a time take 2 × (20 + 18.7) for 4 × 30
        ([told(10, before=20)] * 4, 2),
        # three long ones alike: two at a time take as long as four
        ([told(1000)] * 3, 1),
        # a long one and a short one: the second core is idle most of the time
        ([told(1000), told(100)], 1),
        # alike, and as many as there is room for: all threads are busy all the time, and those of one wait less
        ([told(1000)] * 4, 2),
        ([told(1000)] * 2, 2),
    ],
)
def test_auto_takes_as_many_as_end_the_soonest(here, tmp_path, takes, number):
    here(2)
    names = [str(place) for place in range(len(takes))]
    # checked with one thread each, as if two at a time
    most = jobs.at_most("auto", ahead(*names), tmp_path)
    found, _ = jobs.settled("auto", most, dict(zip(names, takes, strict=True)))
    assert (most.number, found.number) == (2, number)


def test_what_is_expected_goes_by_the_threads(here):
    two, one = Jobs(2, 2), Jobs(1, 2)
    both = {"a": told(100, before=20), "b": told(100, before=20)}
    (faster, _) = jobs.slowed(both, two, one).values()
    assert faster["epochs"][0][0] == pytest.approx(100 / 2**jobs.SCALING)
    assert faster["seconds"][0] == pytest.approx(20 + 100 / 2**jobs.SCALING)
    assert jobs.slowed(both, Jobs(4, 2), Jobs(4, 2))["a"]["seconds"] == [240, 240]  # two share a core
    goes_on = Jobs(2, 2, begun={"a": 1})
    assert jobs.slowed(both, goes_on, Jobs(1, 2, begun={"a": 1}))["a"]["seconds"] == [120, 120]
    assert jobs.together(two, both).tolist() == [120, 120] and jobs.together(one, both).tolist() == [240, 240]


def test_memory_bounds_what_auto_takes_and_refuses_what_is_asked_for(here, tmp_path):
    here(4, memory=jobs.MEMORY_GROWS * 5 * GB)
    names = "abcd"
    takes = {name: told(10, before=20, memory=size * GB) for name, size in zip(names, (1, 2, 1, 2.4), strict=True)}
    found, _ = jobs.settled("auto", jobs.at_most("auto", ahead(*names), tmp_path), takes)
    assert found.number == 2  # the largest two have 4.4 GB
    with pytest.raises(
        UserError, match=r"--jobs 3, and 3 of these trainings take about 7\.3 GB, of 6\.8 GB.*\n.*\n.*--jobs 2"
    ):
        jobs.settled(3, jobs.at_most(3, ahead(*names), tmp_path), takes)
    here(4, memory=GB)  # not for one, which is for its branch to find out
    assert jobs.settled("auto", jobs.at_most("auto", ahead(*names), tmp_path), takes)[0].number == 1


@pytest.mark.parametrize("words", ["0", "-1", "two", "1.5", "301", ""])
def test_another_number_is_refused(run_main, words):
    code, _, err = run_main(run, "--both", "--jobs", words)
    assert code == 2 and "--jobs" in err and "what to do: say auto" in err


# ---- as they train


def test_they_train_at_the_same_time(fakes, run_main, tmp_path, monkeypatch, here):
    """Each waits until all have begun; every line says whose it is, and the threads are shared."""
    monkeypatch.setenv("FAKE_MEETING", "4")
    for branch in fake_branches.BRANCHES.values():
        monkeypatch.setenv(f"FAKE_{branch}", "meet")
    words = ("--both", "--seeds", "0,1", "--jobs", "4", "--out", tmp_path / "out")
    code, printed, err = run_main(run, *words)
    assert code == 0, err
    assert "4 trainings, 4 at a time with 1 thread each: about 1 min 40 s\n" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "out" / "index.html")
    for name in (f"{branch}-seed-{seed}" for branch in fake_branches.BRANCHES.values() for seed in "01"):
        assert f"[{name}] trains with 1 threads\n" in printed and f"[{name}] and says so\n" in err
        assert (tmp_path / "out" / "runs" / name / "record.json").is_file()
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("does", ["crash", "kill"])
def test_one_that_fails_leaves_those_beside_it_and_after_it(fakes, run_main, tmp_path, monkeypatch, here, does):
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_scratch_fake", does)
    monkeypatch.setenv("FAKE_ONLY_SEED", "0")
    code, _, err = run_main(run, "--both", "--seeds", "0,1,2", "--jobs", "2", "--out", out)
    assert code == 1 and "scratch_fake-seed-0 ended with" in err
    page = (out / "index.html").read_text()
    assert "unfinished scratch_fake-seed-0" in page and page.count("\nfinished ") == 5

    # two are left: one goes on with the thread that it had, one begins; the others stay as they are
    shutil.rmtree(out / "runs" / "pretrained_fake-seed-2")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    code, printed, _ = run_main(run, "--resume", out, "--jobs", "2")
    assert code == 0 and "4 of 6 trainings are complete" in printed and len(kept) == 4
    assert "2 trainings, 2 at a time with 2 threads each" in printed
    assert "[scratch_fake-seed-0] trains with None threads" in printed
    assert "[pretrained_fake-seed-2] trains with 2 threads" in printed
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("number", "send", "code"),
    [(signal.SIGINT, os.killpg, 130), (signal.SIGTERM, os.kill, 143), (signal.SIGKILL, os.kill, -signal.SIGKILL)],
)
def test_a_signal_lets_all_of_them_save(fakes, tmp_path, monkeypatch, number, send, code):
    out = tmp_path / "out"
    for branch in fake_branches.BRANCHES.values():
        monkeypatch.setenv(f"FAKE_{branch}", "stop slowly")
    process = fake_branches.start("--both", "--seeds", "0,1", "--jobs", "2", "--out", out)
    runs = [out / "runs" / f"{branch}-seed-0" for branch in fake_branches.BRANCHES.values()]
    while not all((run / "ready").exists() for run in runs):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    send(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    assert err.count("to go on: ") == (number != signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not all((run / "saved").exists() for run in runs):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    got = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert {(run / "saved").read_text() for run in runs} == {f"[{got:d}]"}
    assert len(list((out / "runs").iterdir())) == 2  # and no other begins
