"""Places that cannot take a run or a report, or are strange: what was there before stays as it was, byte for byte."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_branches
import pytest
from fake_runs import write_run
from systems import skip_elsewhere

from compare import plan_file, report, run
from compare.page.language import say
from compare.runs import checkpoint, out_folder, record
from compare.system import disk
from compare.system.errors import UserError

skip_elsewhere()
ROOT = Path(__file__).parent.parent.parent
HAS_MOUNTS = sys.platform == "linux" and not subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
needs_mounts = pytest.mark.skipif(not HAS_MOUNTS, reason="file systems cannot be mounted here")
TWO_AND_EIGHT = [2, pytest.param(8, marks=pytest.mark.thorough)]
TITLE = say("From scratch or pretrained: {name}", name="report")
REPORT = f"{shlex.quote(sys.executable)} -m compare.report"
SCRATCH = f"{shlex.quote(sys.executable)} -m scratch_resnet.train"
# Strange to shells, to HTML, to Python's formats and to those who split lines.
NAMES = ["a folder", "ordner-für-größe-数据", 'it\'s "quoted" $HOME `x`', "two\nlines", "{braces} %s <b>&amp;"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two runs of few images, the second with more pictures, and a report of the first."""
    folder = tmp_path_factory.mktemp("written")
    first = write_run(folder / "first", num_test=50)
    write_run(folder / "second", branch="pretrained", num_test=50, robustness=0.5)
    report.write_report(folder / "report", [record.read_run(first)], title="before", images="none")
    return folder


@pytest.fixture
def runs(tmp_path, written):
    """The two runs and the report, of the test's own."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "first", tmp_path / "second", tmp_path / "report"


def shell(script: str, *words, **environment) -> subprocess.CompletedProcess:
    """Run a script, its words $1, $2, … Where it can be had, it sees a mount namespace of its own."""
    apart = ["unshare", "-rm"] if HAS_MOUNTS else []
    command = [*apart, "bash", "-ec", script, "bash", *map(str, words)]
    environment = {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in environment.items()}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, timeout=500)


# ---- full disks


def refuses(folder: Path, first: Path, second: Path, told: str, faults) -> None:
    """A report of both runs in `folder` ends in a refusal, and what lies there is as before."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    both = [record.read_run(first), record.read_run(second)]
    error = faults.meets(lambda: report.write_report(folder, both, title="after", images="none"), right=lambda _: False)
    assert error is not None and told in str(error)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.thorough
@needs_mounts
def test_a_report_on_a_full_disk(runs, tmp_path, faults):
    """A disk of 3 MB with room for a half of the page, of the pictures, and nearly all."""
    first, second, before = runs
    (tmp_path / "disk").mkdir()
    script = f"""
    mount -t tmpfs -o size=3m none "$1/disk"
    cp -r "$1/report" "$1/disk/report"
    for kilobytes in 0 20 150 400; do
        rm -f "$1/disk/filling"
        free=$(df --output=avail -k "$1/disk" | tail -1)
        head -c $(( (free - kilobytes) * 1024 )) /dev/zero > "$1/disk/filling"
        {REPORT} "$1/first" "$1/second" --no-images --out "$1/disk/report" 2>&1 || echo "CODE $?"
        diff -r "$1/report" "$1/disk/report" && echo "SAME"
    done
    rm "$1/disk/filling"
    {REPORT} "$1/first" "$1/second" --no-images --out "$1/disk/report"
    cp -r "$1/disk/report" "$1/after"
    """
    with faults.leaving(first, second, before):
        done = shell(script, tmp_path)
    assert done.returncode == 0 and done.stdout.count("\nSAME") == 4 and done.stdout.count("\nCODE 1") == 4, done
    for text in done.stdout.split("SAME")[:4]:
        faults.injected += 1
        faults.refusal(text)
        assert "No space left on device" in text and "free some space" in text
    assert (tmp_path / "after" / "confusion-pretrained.png").is_file()  # which the one before had not


@pytest.mark.parametrize(
    "size", [0, 200_000, *(pytest.param(size, marks=pytest.mark.thorough) for size in (1000, 60_000))]
)
def test_a_report_where_files_may_not_grow(runs, faults, size):
    """As `ulimit -f` has it; the page is larger than any picture."""
    import resource

    first, second, folder = runs
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        refuses(folder, first, second, "raise it (see ulimit -f)", faults)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_report_over_the_quota(runs, faults):
    """The kernel's answer to a flush is replaced: a file server may tell only then that the quota is spent."""
    first, second, folder = runs
    code = (
        "import sys; from pathlib import Path; from compare import report; from compare.runs import record\n"
        "from compare.system.command import run_command\n"
        "folder, *runs = map(Path, sys.argv[1:]); runs = [record.read_run(run) for run in runs]\n"
        "run_command(lambda: report.write_report(folder, runs, title='after', images='none') and 0)"
    )
    for number in (1, 5):
        trace = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "-e",
            f"inject=fsync:error=EDQUOT:when={number}",
        ]
        with faults.leaving(first, second, folder):
            command = [*trace, sys.executable, "-c", code, folder, first, second]
            faults.ends(done := subprocess.run(command, capture_output=True, text=True, cwd=ROOT), 1)
        assert "Disk quota exceeded" in done.stderr and "free some space" in done.stderr


@pytest.mark.thorough
def test_a_comparison_whose_report_finds_no_room_goes_on_later(fakes, tmp_path, faults):
    """Both branches are trained, and their runs stay: the command that is told writes the report alone."""
    import resource

    out = tmp_path / "out"
    command = fake_branches.command("--both", "--out", out)
    limit = (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    faults.ends(done, 1)
    assert "index.html could not be written" in done.stderr and not (out / "index.html").exists()
    assert f"to go on: python -m compare.run --resume {out}\n" in done.stderr
    num_trained = len(fakes())
    with faults.leaving(out / "runs"):
        done = subprocess.run(fake_branches.command("--resume", out), capture_output=True, text=True)
    assert done.returncode == 0 and (out / "index.html").is_file() and len(fakes()) == num_trained


@needs_mounts
def test_a_comparison_on_a_full_or_read_only_disk_is_refused_before_it_begins(fakes, tmp_path, faults):
    (tmp_path / "disk").mkdir()
    for options, words in (("size=1m", "1 MB free"), ("ro", "Read-only file system")):
        command = shlex.join(fake_branches.command("--both", "--out", tmp_path / "disk" / "out"))
        done = shell(f'mount -t tmpfs -o {options} none "$1"\n{command}', tmp_path / "disk", **fake_env(tmp_path))
        faults.ends(done, 2)
        assert words in done.stderr and not (tmp_path / "log").exists()


def fake_env(folder: Path) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH", "FAKE_LOG")}


@pytest.mark.thorough
@needs_mounts
def test_what_lies_on_a_read_only_disk(runs, fakes, tmp_path, faults):
    """A report of runs there is written elsewhere; there nothing is written, a comparison cannot go on, and all say
    so."""
    first, second, folder = runs
    subprocess.run(
        fake_branches.command("--scratch", "--out", tmp_path / "comparison"), check=True, capture_output=True
    )
    resume = shlex.join(fake_branches.command("--resume", tmp_path / "comparison"))
    script = """
    mount --bind "$1" "$1"
    mount -o remount,bind,ro "$1"
    cd /
    $2
    """
    with faults.leaving(tmp_path / "comparison", first, second, folder):
        there = shell(script.replace("$2", f'{REPORT} "$1/first" "$1/second" --out "$1/report"'), tmp_path)
        goes_on = shell(script.replace("$2", resume), tmp_path, **fake_env(tmp_path))
    for done in (there, goes_on):
        faults.ends(done, 2)
        assert "Read-only file system" in done.stderr and "permit writing there, or choose another" in done.stderr
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    words = f'{REPORT} "$1/first" "$1/second" --out {shlex.quote(str(elsewhere))}'
    faults.ends(shell(script.replace("$2", words), tmp_path), 0)
    assert (elsewhere / "index.html").is_file()


@needs_mounts
def test_a_disk_that_becomes_read_only_is_told_as_such(tmp_path, faults):
    """The temporary file cannot be taken away then: that is not what is told."""
    code = """
import subprocess, sys
from pathlib import Path
from compare.system import disk
from compare.system.command import run_command
def main():
    with disk.replacing(Path(sys.argv[1], "file")) as partial:
        partial.write_bytes(b"new")
        subprocess.run(["mount", "-o", "remount,bind,ro", sys.argv[1]], check=True)
run_command(main)
"""
    script = f'mount -t tmpfs none "$1"\necho old > "$1/file"\n{sys.executable} -c "$2" "$1" || (cat "$1/file"; exit 7)'
    done = shell(script, tmp_path, code)
    assert done.returncode == 7 and done.stdout == "old\n"
    faults.injected += 1
    faults.refusal(done.stderr)
    assert "file could not be written: Read-only file system" in done.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_folders_of_somebody_else(fakes, runs, tmp_path, faults):
    """Commands without any right of an administrator, on a folder that another user keeps closed."""
    first, *_ = runs
    closed = tmp_path / "closed"
    shutil.copytree(first, closed / "run")
    closed.chmod(0o700 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        os.chown(closed, 12345, 12345)
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    with_report = [sys.executable, "-m", "compare.report"]
    for command in (
        [*with_report, closed / "run", "--out", tmp_path / "new"],
        [*with_report, first, "--out", closed],
        [*with_report, first, "--out", closed / "new"],
        fake_branches.command("--both", "--out", closed / "new"),
        fake_branches.command("--both", "--out", tmp_path / ("x" * 300)),
    ):
        done = subprocess.run([*without, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
        faults.ends(done, 2)
        assert "Permission denied" in done.stderr or "File name too long" in done.stderr
        assert "not foreseen" not in done.stderr
    closed.chmod(0o700)
    assert not (tmp_path / "log").exists() and not (tmp_path / "new").exists()


# ---- links


def test_links_that_lead_nowhere_or_round_are_refused_and_stay(fakes, runs, run_main, tmp_path, faults):
    first, *_ = runs
    dangling, loop, other = (tmp_path / name for name in ("dangling", "loop", "other"))
    dangling.symlink_to(tmp_path / "gone")
    loop.symlink_to(other)
    other.symlink_to(loop)
    for link in (dangling, loop):
        for place in (link, link / "below"):
            for words in ((report, first, "--out", place), (run, "--both", "--out", place)):
                code, _, err = run_main(*words)
                faults.injected += 1
                faults.refusal(err)
                assert code == 2 and "is a link that leads nowhere" in err
            with pytest.raises(UserError, match="is a link that leads nowhere"):
                out_folder.check(place, 0)
        code, _, err = run_main(report, link, first, "--out", tmp_path / "report")
        faults.injected += 1
        faults.refusal(err)
        assert code == 2 and "does not exist" in err
        code, _, err = run_main(run, "--resume", link)
        assert code == 2 and "holds no comparison" in err
        assert link.is_symlink() and not link.exists()
    assert not (tmp_path / "gone").exists() and not (tmp_path / "log").exists()


def test_a_linked_folder_is_written_through_the_link(fakes, run_main, tmp_path, faults):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    code, printed, _ = run_main(run, "--scratch", "--out", tmp_path / "link")
    faults.injected, faults.survived = faults.injected + 1, faults.survived + 1
    assert code == 0 and (tmp_path / "link").is_symlink() and (tmp_path / "real" / "index.html").is_file()
    assert record.read_run(tmp_path / "real" / "runs" / "scratch_fake")


def test_a_run_given_twice_by_a_link_is_one(runs, run_main, tmp_path, faults):
    first, *_ = runs
    (tmp_path / "again").symlink_to(first)
    code, _, err = run_main(report, first, tmp_path / "again", "--out", tmp_path / "new")
    faults.injected += 1
    faults.refusal(err)
    assert code == 2 and "came twice" in err


# ---- names


@pytest.mark.parametrize(
    "name", [NAMES[2] + NAMES[3] + NAMES[1], *(pytest.param(n, marks=pytest.mark.thorough) for n in NAMES)]
)
def test_strange_names_of_folders(fakes, run_main, tmp_path, monkeypatch, faults, name):
    """The command that is told goes on, pasted into a shell, and so does the report alone."""
    out = tmp_path / name / name
    monkeypatch.setenv("FAKE_pretrained_fake", "crash")
    code, _, err = run_main(run, "--both", "--out", out)
    words = shlex.split(err.partition("to go on: ")[2])
    assert code == 1 and words[:3] == ["python", "-m", "compare.run"] and "Traceback" not in err
    monkeypatch.setenv("FAKE_pretrained_fake", "finish")
    code, printed, _ = run_main(run, *words[3:])
    assert code == 0 and printed.endswith(f"{out / 'index.html'}\n")
    assert (out / "runs" / "pretrained_fake" / "record.json").exists()
    assert run_main(report, *sorted((out / "runs").iterdir()), "--out", out)[0] == 0
    faults.injected, faults.survived = faults.injected + 1, faults.survived + 1


# ---- a folder that several want at once


def together(commands: list[list], **more) -> list[subprocess.CompletedProcess]:
    """Run them all at once, and wait for all."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(list(map(str, command)), **pipes, **more) for command in commands]
    ended = [(process, *process.communicate(timeout=500)) for process in processes]
    return [subprocess.CompletedProcess(process.args, process.returncode, *texts) for process, *texts in ended]


@pytest.mark.parametrize("number", TWO_AND_EIGHT)
def test_comparisons_that_want_the_same_folder(fakes, tmp_path, faults, number):
    """One has it, with the seed that it was asked for; the others are refused and change nothing."""
    out = tmp_path / "out"
    commands = [fake_branches.command("--scratch", "--seed", seed, "--out", out) for seed in range(number)]
    done = together(commands)
    codes = sorted(one.returncode for one in done)
    assert codes == [0] + [2] * (number - 1), [one.stderr for one in done]
    for one in done:
        faults.ends(one, one.returncode)
    (seed,) = (seed for seed, one in enumerate(done) if one.returncode == 0)
    assert plan_file.read(out)[1][0].words == ("--seed", str(seed))
    assert len([line for line in fakes() if "--check" not in line]) == 1
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("number", TWO_AND_EIGHT)
def test_reports_that_want_the_same_folder(runs, tmp_path, faults, number):
    """Of two reports with other pictures the folder holds one, whole; who comes too early is refused."""
    first, second, folder = runs
    whole = []
    for name, of in (("one", [first]), ("two", [first, second])):
        report.write_report(
            tmp_path / name / "report", [record.read_run(run) for run in of], title=TITLE, images="none"
        )
        whole.append({path.name: path.read_bytes() for path in (tmp_path / name / "report").iterdir()})
    command = [sys.executable, "-m", "compare.report", "--no-images", "--out", folder, first]
    done = together([[*command, second] if number % 2 else command for number in range(number)], cwd=ROOT)
    for one in done:
        assert one.returncode == 0 or "is being written by another process" in one.stderr
        faults.ends(one, one.returncode)
    assert min(one.returncode for one in done) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} in whole


@pytest.mark.thorough
@pytest.mark.parametrize("number", [2, 8])
def test_branches_that_want_the_same_folder(tmp_path, faults, number):
    """Real ones, from their first check on."""
    command = [sys.executable, "-m", "scratch_resnet.train", "--demo", "--epochs", "1", "--out", tmp_path / "run"]
    done = together([command] * number, cwd=ROOT)
    assert sorted(one.returncode for one in done) == [0] + [2] * (number - 1), [one.stderr for one in done]
    for one in done:
        faults.ends(one, one.returncode)
    assert record.read_run(tmp_path / "run").record.seed == 0


# ---- a lock that a process left


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path, faults):
    """The lock is the kernel's and ends with its process; half-written files are taken away, the user's are not."""
    folder = tmp_path / "run"
    code = f"""
import os, signal
from pathlib import Path
from compare.runs import out_folder
from compare.system import disk
with out_folder.claim(Path({str(folder)!r})), disk.replacing(Path({str(folder)!r}, "model.safetensors")) as partial:
    partial.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    faults.injected += 1
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    left = {path.name for path in folder.iterdir()}
    assert len(left) == 2 and out_folder.LOCK in left
    out_folder.check(folder, 0)
    (folder / ".partial-mine").write_text("a note")
    with out_folder.claim(folder, new=True):
        assert {path.name for path in folder.iterdir()} == {out_folder.LOCK, ".partial-mine"}
    assert [path.name for path in folder.iterdir()] == [".partial-mine"]
    faults.survived += 1


# ---- no home, little shared memory


@pytest.mark.thorough
@needs_mounts
@pytest.mark.parametrize("home", ["unset", "read-only", "a file"])
def test_a_comparison_without_a_home(tmp_path, faults, home):
    """Both branches and their report, for real."""
    (tmp_path / "home").mkdir()
    (tmp_path / "file").touch()
    before = {
        "unset": "unset HOME XDG_CACHE_HOME KERAS_HOME MPLCONFIGDIR",
        "read-only": 'export HOME="$1/home"; unset MPLCONFIGDIR\nmount -t tmpfs -o ro none "$1/home"',
        "a file": 'export HOME="$1/file"; unset MPLCONFIGDIR XDG_CACHE_HOME KERAS_HOME',
    }[home]
    command = f'{sys.executable} -m compare.run --both --demo --epochs 1 --weights random --out "$1/out"'
    done = shell(f"{before}\n{command}", tmp_path)
    faults.ends(done, 0)
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.thorough
@needs_mounts
def test_a_comparison_with_a_megabyte_of_shared_memory(tmp_path, faults):
    command = f'{sys.executable} -m compare.run --both --demo --epochs 1 --weights random --out "$1/out"'
    done = shell(f"mount -t tmpfs -o size=1m none /dev/shm\n{command}", tmp_path)
    faults.ends(done, 0)
    assert len(list((tmp_path / "out" / "runs").glob("*/record.json"))) == 2


# ---- a branch


@pytest.mark.thorough
def test_a_branch_that_finds_no_room_says_so_and_goes_on_later(tmp_path, faults):
    """Its files may not grow beyond what its log needs: no checkpoint can be written, and none is left broken."""
    command = f'ulimit -f 2000\n{SCRATCH} --demo --epochs 1 --out "$1/run"'
    done = shell(command, tmp_path)
    faults.ends(done, 1)
    assert "could not be written: File too large" in done.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {record.LOG}
    faults.ends(shell(f'{SCRATCH} --demo --epochs 1 --out "$1/run"', tmp_path), 0)
    assert record.read_run(tmp_path / "run")


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_branch_over_the_quota_keeps_its_last_checkpoint(tmp_path, faults):
    """From the third flush on the file server answers that the quota is spent: the first epoch's checkpoint stays."""
    words = [sys.executable, "-m", "scratch_resnet.train", "--demo", "--epochs", "3", "--out", tmp_path / "run"]
    trace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EDQUOT:when=5+"]
    done = subprocess.run([*trace, *words], capture_output=True, text=True, cwd=ROOT)
    faults.ends(done, 1)
    assert "Disk quota exceeded" in done.stderr
    _, so_far = checkpoint.read(tmp_path / "run", "scratch_resnet")
    assert so_far.history
    words[-2:] = ["--resume", tmp_path / "run"]
    del words[3:6]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    faults.ends(done, 0)
    assert len(record.read_run(tmp_path / "run").record.history) == 3


# ---- kills while a report is written

KILLED = """
import os, signal, sys
from pathlib import Path
from compare import report
from compare.runs import out_folder, record
from compare.system import disk
moment, folder, *runs = sys.argv[1:]
name, number = moment.split()
left = [int(number)]
real = getattr(os, name)
def counted(*words, **more):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*words, **more)
setattr(os, name, counted)
runs = [record.read_run(Path(run)) for run in runs]
with out_folder.claim(Path(folder)):
    report.write_report(Path(folder), runs, title="after", images="none")
"""


def killed(folder: Path, runs: list[Path], moment: str) -> bool:
    """A process that writes a report and is killed, by itself, at the n-th call of a function of the system; whether it
    came so far."""
    done = subprocess.run([sys.executable, "-c", KILLED, moment, folder, *runs], cwd=ROOT, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def visible(folder: Path) -> dict[str, bytes]:
    """What of a report a reader sees."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_files_written_together_killed_at_every_moment(tmp_path, faults):
    """Until the first takes its name all are as before, whichever call of the system is the last."""
    code = """
import os, signal, sys
from pathlib import Path
from compare.system import disk
folder, old = Path(sys.argv[1]), {name: b"old" for name in "abc"}
for call, number in [("fsync", 1), ("fsync", 2), ("fsync", 3), ("replace", 1), ("replace", 2), ("replace", 3), ("", 0)]:
    disk.write_together(folder, old | {"stale": b"old"})
    if not os.fork():
        left, real = [number], getattr(os, call, None)
        def counted(*words):
            left[0] -= 1
            return real(*words) if left[0] else os.kill(os.getpid(), signal.SIGKILL)
        setattr(os, call, counted)
        disk.write_together(folder, {name: b"new" for name in old}, [folder / "stale"])
        os._exit(0)
    status = os.wait()[1]
    print(status, *(path.read_text() for path in sorted(folder.iterdir()) if path.name[0] != "."))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT)
    as_before = "9 old old old old"
    expected = [*[as_before] * 4, "9 new old old old", "9 new new old", "0 new new new"]
    assert done.stdout.splitlines() == expected, done.stderr
    faults.injected, faults.survived = faults.injected + 6, faults.survived + 6


@pytest.mark.thorough
@pytest.mark.parametrize("moment", ["fsync 1", "fsync 12", "replace 1", "replace 8"])
def test_a_report_killed_at_a_moment_of_its_writing(runs, tmp_path, faults, moment):
    first, second, folder = runs
    after = tmp_path / "undisturbed"
    both = [record.read_run(first), record.read_run(second)]
    report.write_report(after, both, title="after", images="none")
    old, new = visible(folder), visible(after)
    faults.injected += 1
    assert killed(folder, [first, second], moment)
    got = visible(folder)
    assert got["index.html"] == old["index.html"]
    if moment.startswith("fsync") or moment == "replace 1":
        assert got == old
    assert all(content in (old.get(name), new.get(name)) for name, content in got.items())
    with out_folder.claim(folder):
        report.write_report(folder, both, title="after", images="none")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == new
    faults.survived += 1


@pytest.mark.thorough
def test_reports_killed_at_thirty_moments(runs, tmp_path, faults):
    """By the clock, anywhere: while Python starts, while pictures are drawn, while files are written; each time a
    report with other pictures than lie there."""
    first, second, folder = runs
    undisturbed = []
    for number, of in enumerate(([first], [first, second])):
        place = tmp_path / f"undisturbed-{number}" / "report"
        report.write_report(place, [record.read_run(one) for one in of], title=TITLE, images="none")
        undisturbed.append(visible(place))
    command = [sys.executable, "-m", "compare.report", "--no-images", "--out", folder, first]
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    seconds = time.monotonic() - start
    state = 0
    for number in range(30):
        whole = visible(folder)
        assert whole == undisturbed[state]
        words = [*command, second] if state == 0 else command
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds * (number + 1) / 28)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        faults.injected += 1
        got = visible(folder)
        assert got in undisturbed
        faults.survived += 1
        state = undisturbed.index(got)
    subprocess.run([*command, second], cwd=ROOT, check=True, capture_output=True)
    assert visible(folder) == undisturbed[1] and not list(folder.glob(".*"))


def test_a_picture_of_the_users_beside_a_report_stays(runs, tmp_path, faults):
    """Even where it is called as pictures of reports may be; those of the report before go."""
    first, second, folder = runs
    (folder / "confusion-mine.png").write_bytes(b"mine")
    both = [record.read_run(first), record.read_run(second)]
    report.write_report(folder, both, title="", images="none")
    assert (folder / "confusion-pretrained.png").exists()
    report.write_report(folder, both[:1], title="", images="none")
    assert not (folder / "confusion-pretrained.png").exists()
    assert (folder / "confusion-mine.png").read_bytes() == b"mine"


def test_a_pipe_in_the_place_of_a_page_is_not_waited_for(tmp_path, faults):
    os.mkfifo(tmp_path / "index.html")
    os.mkfifo(tmp_path / "report.json")
    assert not disk.is_marked(tmp_path / "index.html", "x")
    error = faults.meets(lambda: report.check_report_folder(tmp_path), right=lambda _: False)
    assert "holds other files" in str(error)
