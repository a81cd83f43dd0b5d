"""The main command, with branches that train nothing: processes of their own that leave copies of made-up runs."""

import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import fake_branches
import pytest
from systems import needs_posix

from compare import card, plan, plan_file, report, run, supervise
from compare.training import trackers

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def light_report(monkeypatch, request):
    """No real page, where a test is not about that: it takes seconds."""
    if "real_page" not in request.fixturenames:
        monkeypatch.setattr(report, "write_report", fake_branches.write_light_report)
        monkeypatch.setattr(report, "check_plotting", lambda: None)
        monkeypatch.setattr(card, "write_beside", lambda run: None)


@pytest.fixture
def real_page():
    """Where it is."""


def test_both_branches_and_the_report(fakes, run_main, tmp_path, real_page):
    out = tmp_path / "out"
    code, printed, err = run_main(
        *(run, "--both", "--seed", 3, "--epochs", "scratch=2,pretrained=4", "--batch-size", 16),
        *("--weights", "random", "--unfreeze", "last-stage", "--learning-rate", "scratch=0.5", "--out", out),
    )
    assert code == 0
    assert printed.splitlines()[-1] == str(out / "index.html") and (out / "index.html").is_file()
    scratch, pretrained = out / "runs" / "scratch_fake", out / "runs" / "pretrained_fake"
    words = {
        "scratch_fake": f"--seed 3 --epochs 2 --batch-size 16 --learning-rate 0.5 --out {scratch}",
        "pretrained_fake": "--seed 3 --unfreeze last-stage --weights random --epochs 4 --batch-size 16 "
        f"--out {pretrained}",
    }
    # Both are checked before either is trained.
    expected = [f"{branch} {words[branch]} --check" for branch in words] + [
        f"{branch} {words[branch]}" for branch in words
    ]
    assert fakes() == expected


@pytest.mark.parametrize(("word", "branch"), [("--scratch", "scratch_fake"), ("--pretrained", "pretrained_fake")])
def test_one_branch_alone(fakes, run_main, tmp_path, word, branch):
    code, printed, _ = run_main(run, word, "--demo", "--out", tmp_path / "out")
    assert code == 0 and (tmp_path / "out" / "index.html").is_file()
    assert [line.split()[0] for line in fakes()] == [branch, branch]
    assert "--recipe demo" in fakes()[0]


@needs_posix
@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("refuse", 2, ""),
        ("die in the check", 2, "the check of pretrained_fake ended with signal 9 (SIGKILL)"),
        ("interrupt the check", 130, ""),
    ],
)
def test_a_failed_check_trains_nothing(fakes, run_main, tmp_path, monkeypatch, does, code, says):
    monkeypatch.setenv("FAKE_pretrained_fake", does)
    got, _, err = run_main(run, "--both", "--out", tmp_path / "out")
    assert got == code and says in err and not (tmp_path / "out").exists()
    assert all("--check" in line for line in fakes())


@needs_posix
@pytest.mark.parametrize(
    ("does", "how"),
    [("crash", "exit code 1"), ("kill", "signal 9 (SIGKILL), which a system short of memory"), ("hang", "no progress")],
)
def test_one_branch_fails_and_the_others_work_counts(fakes, run_main, tmp_path, monkeypatch, does, how):
    out = tmp_path / "out"
    if does == "hang":
        monkeypatch.setattr(supervise, "HANG_SECONDS", 2)
    monkeypatch.setenv("FAKE_scratch_fake", does)
    code, printed, err = run_main(run, "--both", "--out", out)
    assert code == 1 and printed.splitlines()[-1] == str(out / "index.html")
    page = (out / "index.html").read_text()
    assert "the disk went away" in page and how in page and how in err
    assert (out / "runs" / "pretrained_fake" / "record.json").is_file()

    # Later the branch is brought to its end, from its checkpoint, and the report has both.
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    code, printed, _ = run_main(run, "--resume", out)
    assert code == 0
    assert fakes()[-2:] == [
        f"scratch_fake --resume {out / 'runs' / 'scratch_fake'} --check",
        f"scratch_fake --resume {out / 'runs' / 'scratch_fake'}",
    ]
    assert "the disk went away" not in (out / "index.html").read_text()


def test_a_run_that_cannot_be_read_does_not_cost_the_other(fakes, run_main, tmp_path):
    out = tmp_path / "out"
    assert run_main(run, "--both", "--out", out)[0] == 0
    (out / "runs" / "scratch_fake" / "predictions.npz").write_bytes(b"")
    code, printed, err = run_main(run, "--resume", out)
    assert code == 1 and printed.splitlines()[-1] == str(out / "index.html")
    assert "predictions.npz cannot be read" in err and "to go on" not in err
    page = (out / "index.html").read_text()
    assert "finished pretrained_fake" in page and "it holds other bytes than the run wrote" in page


def test_a_resumed_comparison_may_be_told_new_places(fakes, run_main, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.h5").write_text("")
    monkeypatch.setenv("FAKE_scratch_fake", "interrupt")
    assert run_main(run, "--both", "--out", out, "--data-dir", "here", "--weights", "weights.h5")[0] == 130
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    assert run_main(run, "--resume", out, "--data-dir", "/there", "--keras-backend", "jax")[0] == 0
    weights = tmp_path / "weights.h5"  # by its full path, as it may be resumed from elsewhere
    assert fakes()[0].startswith(f"scratch_fake --data-dir {tmp_path / 'here'} --out")
    assert fakes()[-2].startswith("scratch_fake --data-dir /there --resume")
    assert fakes()[-1].startswith(f"pretrained_fake --data-dir /there --weights {weights} --keras-backend jax --out")


def test_weights_are_passed_on_by_their_full_path_unless_they_are_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a-run", "random"):
        (tmp_path / name).mkdir()
    passed_on = {}
    for name in ("a-run", "random", "https://a.example/b.h5"):
        monkeypatch.setattr(sys, "argv", ["compare.run", "--both", "--weights", name])
        (passed_on[name],) = plan.place_options("pretrained", run.parse())["--weights"]
    assert passed_on == {name: name for name in passed_on} | {"a-run": str(tmp_path / "a-run")}


def test_robustness_is_asked_of_both_branches_and_kept_when_resumed(fakes, run_main, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_scratch_fake", "interrupt")
    assert run_main(run, "--both", "--robustness", "--seed", 1, "--out", out)[0] == 130
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    assert run_main(run, "--resume", out)[0] == 0
    scratch, pretrained = out / "runs" / "scratch_fake", out / "runs" / "pretrained_fake"
    assert fakes() == [
        f"scratch_fake --seed 1 --robustness --out {scratch} --check",
        f"pretrained_fake --seed 1 --robustness --out {pretrained} --check",
        f"scratch_fake --seed 1 --robustness --out {scratch}",
        f"scratch_fake --resume {scratch} --check",  # its checkpoint knows
        f"pretrained_fake --seed 1 --robustness --out {pretrained} --check",
        f"scratch_fake --resume {scratch}",
        f"pretrained_fake --seed 1 --robustness --out {pretrained}",
    ]


def test_with_several_numbers_of_labels_the_most_are_checked_and_tell_of_the_others(fakes, run_main, tmp_path):
    out = tmp_path / "out"
    words = ("--scratch", "--labels-per-class", "20,all,5", "--seeds", "0,1", "--out", out)
    _, printed, _ = run_main(run, *words, "--check")
    run_folder = out / "runs" / "scratch_fake-labels-per-class-all-seed-0"
    assert fakes() == [f"scratch_fake --labels-per-class all --seed 0 --out {run_folder} --check"]
    assert "6 trainings, one after the other: about 4 min 11 s" in printed  # twice 100.5 and 20 and 5


def test_every_branch_is_trained_once_for_each_seed(fakes, run_main, tmp_path, monkeypatch):
    """One of six runs fails: the others are there, and --resume brings it to its end."""
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_scratch_fake", "crash")
    monkeypatch.setenv("FAKE_ONLY_SEED", "7")
    code, printed, err = run_main(run, "--both", "--seeds", "0,7,3", "--epochs", 3, "--out", out)
    assert code == 1 and "scratch_fake-seed-7 ended with exit code 1" in err
    # each branch is checked once, and said 100.5 s each
    assert "  scratch_fake-seed-7: about 1 min 40 s\n" in printed
    assert "6 trainings, one after the other: about 10 min 3 s" in printed
    names = [f"{branch}-seed-{seed}" for seed in (0, 7, 3) for branch in ("scratch_fake", "pretrained_fake")]
    trained = [f"{name.partition('-')[0]} --epochs 3 --seed {name[-1]} --out {out / 'runs' / name}" for name in names]
    assert fakes() == [f"{trained[0]} --check", f"{trained[1]} --check", *trained]
    page = (out / "index.html").read_text()
    assert "the disk went away" in page and "finished scratch_fake-seed-3" in page
    assert [(out / "runs" / name / "record.json").exists() for name in names] == [True, True, False, True, True, True]

    shutil.rmtree(out / "runs" / names[4])  # as if it had not begun: it is checked with the one that was cut
    shutil.rmtree(out / "runs" / names[5])
    monkeypatch.delenv("FAKE_scratch_fake")
    code, printed, _ = run_main(run, "--resume", out)
    assert code == 0 and "3 of 6 trainings are complete, and stay as they are\n" in printed
    assert "3 trainings, one after the other: about 5 min 2 s" in printed
    goes_on = f"scratch_fake --resume {out / 'runs' / names[2]}"
    assert fakes()[8:] == [f"{line}{end}" for end in (" --check", "") for line in (goes_on, trained[4], trained[5])]
    page = (out / "index.html").read_text()
    assert "the disk went away" not in page
    # the report has the runs of a branch together, in the order of the seeds as given
    assert re.findall("finished (.*)", page) == names[::2] + names[1::2]


def test_an_interrupted_comparison_says_how_to_go_on_and_does(fakes, run_main, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_scratch_fake", "interrupt")
    code, _, err = run_main(run, "--both", "--demo", "--name", "mine", "--out", out)
    assert code == 130 and f"--resume {out}" in err
    assert not (out / "index.html").exists() and not (out / "runs" / "pretrained_fake").exists()
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    assert run_main(run, "--resume", out)[0] == 0
    assert re.search(r"^pretrained_fake --recipe demo .*--out", fakes()[-1])
    assert (out / "index.html").read_text().startswith("From scratch or pretrained: mine\n")


@needs_posix
@pytest.mark.parametrize("branch", ["scratch_fake", "pretrained_fake"])
@pytest.mark.parametrize(
    ("number", "send", "code"),
    # Ctrl-C reaches all, SIGTERM compare.run alone, which passes SIGHUP on as such
    [("SIGINT", "killpg", 130), ("SIGTERM", "kill", 143), ("SIGHUP", "kill", 143)],
)
def test_a_signal_lets_the_branch_save_and_keeps_what_is_complete(
    fakes, tmp_path, monkeypatch, branch, number, send, code
):
    out = tmp_path / "out"
    monkeypatch.setenv(f"FAKE_{branch}", "stop slowly")
    process = fake_branches.start("--both", "--out", out)
    while not (tmp_path / "log.ready").exists():
        assert process.poll() is None, process.communicate()
    number = getattr(signal, number)
    getattr(os, send)(process.pid, number)
    printed, err = process.communicate(timeout=60)
    got = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert process.returncode == code and (out / "runs" / branch / "saved").read_text() == f"[{got:d}]"
    assert err.count(f"to go on: python -m compare.run --resume {out}") == 1 and "Traceback" not in err
    if branch == "scratch_fake":  # the other has not begun, and there is nothing to report
        assert not (out / "index.html").exists() and not (out / "runs" / "pretrained_fake").exists()
    else:
        assert printed.splitlines()[-1] == str(out / "index.html")
        assert "unfinished pretrained_fake" in (out / "index.html").read_text()


@needs_posix
def test_a_second_signal_leaves_at_once(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_scratch_fake", "stop slowly")
    process = fake_branches.start("--scratch", "--out", tmp_path / "out")
    while not (tmp_path / "log.ready").exists():
        assert process.poll() is None, process.communicate()
    for _ in range(2):
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.7)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "to go on" in err
    assert not (tmp_path / "out" / "runs" / "scratch_fake" / "saved").exists()


@needs_posix
@pytest.mark.parametrize("does", ["stop slowly", "heed nothing"])
def test_a_branch_ends_with_a_command_that_was_killed(fakes, tmp_path, monkeypatch, does):
    """It saves what it has, or is ended; the next command waits for that, and leaves its log alone."""
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_scratch_fake", does)
    process = fake_branches.start("--scratch", "--out", out)
    while not (tmp_path / "log.ready").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    printed, err = process.communicate(timeout=5)  # which the branch holds open as well
    assert (out / "runs" / "scratch_fake" / "saved").exists() == (does == "stop slowly")


def hold(folder: Path, seconds: float) -> subprocess.Popen:
    """A process that holds the folder of a run for so long."""
    code = f"""
import time
from pathlib import Path
from compare.runs import out_folder
with out_folder.claim(Path({str(folder)!r})):
    print(1, flush=True)
    time.sleep({seconds})
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=HERE.parent, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


@pytest.mark.parametrize(("seconds", "code"), [(1, 0), (1000, 2)])
def test_a_run_that_another_process_holds_is_waited_for_or_left_alone(
    fakes, run_main, tmp_path, monkeypatch, seconds, code
):
    out = tmp_path / "out"
    log = out / "runs" / "scratch_fake" / "log.txt"
    monkeypatch.setenv("FAKE_scratch_fake", "crash")
    assert run_main(run, "--scratch", "--out", out)[0] == 1
    before = log.read_text()
    assert before.endswith("scratch_fake ended with exit code 1 before its run was complete\n")
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    with hold(log.parent, seconds) as holder:
        try:
            got, _, err = run_main(run, "--resume", out)
            assert got == code and ("is being written by another process" in err) == (code == 2)
            if code:
                supervise.note_failure(log.parent, "scratch_fake", "exit code 2")
                assert log.read_text() == before and len(fakes()) == 2
        finally:
            holder.kill()


def test_commands_of_the_same_second_have_folders_of_their_own(fakes, run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Clock:
        @staticmethod
        def now():
            return datetime.datetime(2026, 11, 26, 12)

    monkeypatch.setattr(run, "datetime", types.SimpleNamespace(datetime=Clock))
    check = run.check
    for faster in ([], ["article-20261126-120000-2"]):  # another is faster before, or in, the checks

        def check_meanwhile(*asked, faster=faster):
            for name in faster:
                Path("reports", name).mkdir()
            return check(*asked)

        monkeypatch.setattr(run, "check", check_meanwhile)
        code, _, err = run_main(run, "--both")
        assert code == 0, err
    names = ["article-20261126-120000", "article-20261126-120000-2-2"]
    for name in names:
        assert json.loads(Path("reports", name, "comparison.json").read_text())["name"] == name
        assert Path("reports", name, "index.html").is_file()
    assert not list(Path("reports", "article-20261126-120000-2").iterdir())


@needs_posix
@pytest.mark.parametrize("whom", ["alone", "group"])
def test_a_check_that_is_killed_leaves_nothing(fakes, tmp_path, monkeypatch, whom):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("FAKE_pretrained_fake", "check for ever")
    process = fake_branches.start("--both", "--out", tmp_path / "out")
    while not (tmp_path / "log.ready").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (os.kill if whom == "alone" else os.killpg)(process.pid, signal.SIGKILL)
    process.communicate(timeout=5)
    assert not list((tmp_path / "temporary").iterdir()) and not (tmp_path / "out").exists()


@needs_posix
def test_a_branch_that_heeds_no_signal_is_ended(monkeypatch):
    monkeypatch.setattr(supervise, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(supervise, "POLL_SECONDS", 0.1)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert supervise.wait_for(process, [signal.SIGTERM], watched=False) == -signal.SIGKILL


def test_only_a_branch_that_does_nothing_hangs(monkeypatch):
    """One that computes is left alone, though slow and silent; one that was stopped, or waits for ever, is ended."""
    monkeypatch.setattr(supervise, "HANG_SECONDS", 1)
    monkeypatch.setattr(supervise, "POLL_SECONDS", 0.1)
    slow = (
        "import time; end = time.monotonic() + 3\nwhile time.monotonic() < end: sum(range(200_000)); time.sleep(0.02)"
    )
    assert supervise.wait_for(subprocess.Popen([sys.executable, "-c", slow]), [], watched=True) == 0
    waiting = "import threading; threading.Lock().acquire(); lock = threading.Lock(); lock.acquire(); lock.acquire()"
    assert supervise.wait_for(subprocess.Popen([sys.executable, "-c", waiting]), [], watched=True) == supervise.HUNG
    download = "import time; time.sleep(2)"  # in a check, which may wait
    assert supervise.wait_for(subprocess.Popen([sys.executable, "-c", download]), [], watched=False) == 0


def test_the_time_of_a_hang_is_told(monkeypatch, run_main):
    code, printed, _ = run_main(run, "--help")
    assert code == 0 and "less than 1% of a processor for 10 minutes" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "one of the arguments"),
        (["--both", "--scratch"], "not allowed with"),
        (["--both", "--learning-rate", "0.1"], "--learning-rate 0.1 for both branches"),
        (["--scratch", "--weights", "random"], "--weights together with --scratch"),
        (["--scratch", "--unfreeze", "backbone"], "--unfreeze together with --scratch"),
        (["--both", "--unfreeze", "everything"], "'everything'"),
        (["--resume", "nowhere", "--unfreeze", "backbone"], "--resume together with --unfreeze"),
        (["--scratch", "--keras-backend", "jax"], "--keras-backend together with --scratch"),
        (["--scratch", "--epochs", "pretrained=3"], "--epochs pretrained=… without that branch"),
        (["--both", "--epochs", "scratch=0"], "--epochs 0"),
        (["--both", "--epochs", "keras=1"], "'keras=1'"),
        (["--both", "--epochs", "scratch=1,scratch=2"], "once each"),
        (["--both", "--image-size", "4"], "--image-size 4"),
        (["--both", "--device", "gpu"], "--device gpu"),
        (["--both", "--device", "cuda:01"], "--device cuda:01"),
        (["--both", "--seed", "4294967296"], "--seed 4294967296"),
        (["--both", "--seeds", "0,1", "--seed", "2"], "--seed together with --seeds"),
        (["--both", "--seeds", "0,1,00"], "--seeds 0,1,00"),
        (["--both", "--seeds", "0,one"], "--seeds 0,one, in which one"),
        (["--both", "--seeds", "0,-1"], "--seeds 0,-1, in which -1"),
        (["--both", "--seeds", "0,,1"], "--seeds 0,,1, in which"),
        (["--both", "--seeds", ""], "--seeds"),
        (["--resume", "nowhere", "--seeds", "0,1"], "--resume together with --seeds"),
        (["--both", "--keras-backend", "pytorch"], "'pytorch'"),
        (["--both", "--name", "../elsewhere"], "--name '../elsewhere'"),
        (["--both", "--out", __file__], "is a file"),
        (["--both", "--out", str(HERE)], "holds other files"),
        (["--resume", "nowhere"], "holds no comparison"),
        (["--resume", "nowhere", "--epochs", "3"], "--resume together with --epochs"),
        (["--resume", "nowhere", "--epochs", "3"], "keeps no optimizer's state to go on from"),
        (["--run", "scratch_fake", "--both"], "not allowed with"),
        (["--run", "scratch_fake", "--weights", "random"], "--weights together with --run"),
        (["--scratch", "--backbone", "ResNet50"], "--backbone together with --scratch"),
        (["--pretrained", "--depth", "34"], "--depth together with --pretrained"),
        (["--scratch", "--depth", "20"], "20"),
        (["--resume", "nowhere", "--vary", "depth=18"], "--resume together with --vary"),
        (["--resume", "nowhere", "--robustness"], "--resume together with --robustness"),
    ],
)
def test_wrong_use_is_refused_in_three_parts(fakes, run_main, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_main(run, *words)
    assert code == 2 and out == ""
    assert says in err and err.startswith("error: ") and "\n  expected: " in err and "\n  what to do: " in err
    assert not (tmp_path / "log").exists() and not (tmp_path / "reports").exists()


def test_what_was_asked_for_is_kept(fakes, run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_main(run, "--scratch", "--name", "quick", "--device", "cpu")[0] == 0
    trainings = [plan.Training("scratch_fake", "scratch_fake", ("--device", "cpu"))]
    assert plan_file.read(Path("reports/quick")) == ("quick", trainings, {})


def test_a_recipe_file_may_be_moved_and_changed_once_it_was_read(fakes, run_main, tmp_path, monkeypatch):
    """What the comparison began with is what every training of it gets, wherever its folder lies by then."""
    monkeypatch.chdir(tmp_path)
    file, text = tmp_path / "mine.toml", 'base = "tuned"\n[pretrained_fake]\nimage_size = 96\n'
    file.write_text(text)
    monkeypatch.setenv("FAKE_scratch_fake", "interrupt")
    assert run_main(run, "--both", "--recipe", "mine.toml", "--name", "it")[0] == 130
    assert fakes()[0].startswith(f"scratch_fake --recipe {file} ")  # checked from where it was
    assert f"--recipe {tmp_path}/reports/it/mine.toml" in fakes()[-1]
    file.write_text("base = 1")
    (tmp_path / "reports" / "it").rename(tmp_path / "moved")
    kept = tmp_path / "moved" / "mine.toml"
    kept.write_text("base = 2")
    monkeypatch.setenv("FAKE_scratch_fake", "finish")
    assert run_main(run, "--resume", "moved")[0] == 0
    assert fakes()[-1].startswith(f"pretrained_fake --recipe {kept} ") and kept.read_text() == text


def test_what_trainings_are_sent_to_gets_the_page_as_well(fakes, run_main, tmp_path, monkeypatch):
    """Also where one was interrupted; a resumed comparison goes on sending, and a tool that fails costs nothing."""
    sent = []

    def send_files(key, title, files):
        sent.append((key, title, [path.name for path in files]))
        if len(sent) > 1:
            raise OSError("no room")

    monkeypatch.setitem(trackers.TOOLS, "mlflow", types.SimpleNamespace(send_files=send_files))
    monkeypatch.setenv("FAKE_pretrained_fake", "interrupt")
    out = tmp_path / "out"
    code, printed, _ = run_main(run, "--both", "--log", "mlflow", "--out", out)
    assert code == 130 and printed.splitlines()[-1] == str(out / "index.html")
    assert sent == [(sent[0][0], "out", ["index.html"])] and all("--log mlflow" in line for line in fakes())
    monkeypatch.setenv("FAKE_pretrained_fake", "finish")
    code, printed, err = run_main(run, "--resume", out)
    assert code == 0 and printed.splitlines()[-1] == str(out / "index.html")
    assert "--log mlflow: OSError: no room; the page was not sent there" in err
    assert sent[1] == sent[0] and fakes()[-1].startswith("pretrained_fake --log mlflow --resume")


def test_a_plan_of_several_trainings_is_checked_trained_and_gone_on_with(fakes, run_main, tmp_path, monkeypatch):
    """The words of each reach its branch, which is told new places when it goes on, but no control its weights."""
    out = tmp_path / "out"
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAKE_pretrained_fake", "interrupt")
    words = (
        "--run",
        "scratch_fake --depth 34",
        "--run",
        "pretrained_fake",
        "--run",
        "pretrained_fake --weights=random",
    )
    assert run_main(run, *words, "--data", "photos", "--out", out)[0] == 130
    monkeypatch.delenv("FAKE_pretrained_fake")
    (tmp_path / "photos").rename(tmp_path / "moved")
    code, printed, _ = run_main(run, "--resume", out, "--data", "moved", "--weights", "imagenet")
    assert code == 0 and "1 of 3 trainings are complete" in printed
    runs, here, there = out / "runs", f"--data {tmp_path / 'photos'}", f"--data {tmp_path / 'moved'}"
    begun = [
        f"scratch_fake {here} --depth 34 --out {runs / 'scratch_fake'}",
        f"pretrained_fake {here} --out {runs / 'pretrained_fake'}",
        f"pretrained_fake {here} --weights random --out {runs / 'pretrained_fake-weights-random'}",
    ]
    gone_on = [
        f"pretrained_fake {there} --weights imagenet --resume {runs / 'pretrained_fake'}",
        f"pretrained_fake {there} --weights random --out {runs / 'pretrained_fake-weights-random'}",
    ]
    checked = [f"{line} --check" for line in begun]
    assert fakes() == [*checked, *begun[:2], *(f"{line} --check" for line in gone_on), *gone_on]
    assert f"data in {tmp_path / 'moved'}" in (out / "index.html").read_text()


def test_a_branch_that_refuses_or_tells_no_time_is_named(fakes, run_main, tmp_path, monkeypatch):
    words = ("--both", "--out", tmp_path / "out", "--vary")
    code, _, err = run_main(run, "--run", "scratch_fake --told-nothing", "--out", tmp_path / "out")
    assert code == 2 and "the check of scratch_fake ended with no estimate" in err
    monkeypatch.setenv("FAKE_pretrained_fake", "refuse")
    code, _, err = run_main(run, *words, "depth=18,34")
    assert code == 2 and "so pretrained_fake-depth-18 was refused, and nothing was trained" in err
    assert all("--check" in line for line in fakes()) and not (tmp_path / "out").exists()


def test_recipes_on_other_data_are_refused_before_training(fakes, run_main, tmp_path):
    code, _, err = run_main(run, "--both", "--vary", "recipe=article,tuned,demo", "--out", tmp_path / "out")
    assert code == 2 and "that of scratch_fake-article, and another of scratch_fake-demo" in err
    assert "one for all" in err and "say which with --data" in err
    assert all("--check" in line for line in fakes()) and not (tmp_path / "out").exists()


def test_a_comparison_of_the_first_format_goes_on(fakes, run_main, tmp_path):
    """As written before there were plans: branches with options and seeds for all."""
    out = tmp_path / "out"
    out.mkdir()
    branches = {"scratch_fake": {"--recipe": "demo", "--robustness": None}, "pretrained_fake": {"--recipe": "demo"}}
    rest = {"name": "before", "branches": branches, "seeds": [5, 0]}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (out / "comparison.json").write_text(json.dumps(rest | {"sha256": digest}))
    assert run_main(run, "--resume", out)[0] == 0
    expected = [
        f"{branch}_fake --recipe demo{more} --seed {seed} --out {out / 'runs' / f'{branch}_fake-seed-{seed}'}"
        for seed in (5, 0)
        for branch, more in (("scratch", " --robustness"), ("pretrained", ""))
    ]
    assert fakes()[2:] == expected
    assert json.loads((out / "comparison.json").read_text())["format"] == 2
