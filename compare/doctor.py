"""What is here, what is missing, and what to do about it: `python -m compare.doctor`.

It trains nothing, downloads nothing and is done in under 20 seconds. Everything slow is asked at once, and the
frameworks in processes of their own: they cannot share one, and a broken installation may end its process or never
answer.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system import environment, processes
from compare.system.command import Parser, run_command
from compare.system.environment import OFFLINE_VARIABLE
from compare.system.errors import EXIT_DONE, EXIT_REFUSED, INSTALL, UserError, not_installed
from compare.training.options import KERAS_BACKENDS, Offline

EXAMPLES = """examples:
  python -m compare.doctor             what is here, what can be reached, which backends work
  python -m compare.doctor --offline   the same without opening a connection
"""
SECONDS = 16  # for all that is asked at once
PROBE_SECONDS = 6  # of it for a mirror
NO_ANSWER = f"no answer in {SECONDS} s, so this is not known"  # a busy machine, or a broken installation
ASK_AGAIN = "ask again when the machine is less busy"
# Each keeps a processor busy for some seconds; on two of them, those that are needed come first.
PROBES_AT_ONCE = threading.Semaphore(max(2, (os.cpu_count() or 2) // 2))
LEFT_ALONE = "not used, and left alone: replace it, or do nothing"
NUM_DISK_BYTES = 1_000_000_000  # what the runs and the report of both branches take, with room to spare
NUM_MEMORY_BYTES = 2_500_000_000  # the branches train one after the other; see `peak_memory_bytes` in a record
# Prints what Keras computes on; each backend has a process of its own, as `pretrained.backend` explains.
PROBE = """
import sys
from compare.system import processes
processes.end_with_parent()
from pretrained import backend
name = backend.choose(sys.argv[1], "auto")
with backend.quiet_start():
    import keras
    kind, gpu = backend.describe_device(name, "auto")
    ones = keras.ops.ones((8, 8))
    assert float(keras.ops.sum(keras.ops.matmul(ones, ones))) == 512
print(gpu or "works, on the processor")
"""
PYTORCH = "torch"  # the backend that the branch from scratch is written in: what is true of Keras on it is true of it


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        topic: what was looked at.
        found: what is so.
        advice: what to do about it; empty where nothing is to be done.
        blocks: whether `--both` cannot run like this.
    """

    topic: str
    found: str
    advice: str = ""
    blocks: bool = False

    @property
    def mark(self) -> str:
        """`ok`, `note` or `GAP`."""
        return "GAP" if self.blocks else "note" if self.advice else "ok"


def main() -> int:
    """Look, print, and say whether `--both` can run."""
    parse()
    findings = examine()
    show(findings)
    blocking = [finding.topic for finding in findings if finding.blocks]
    if blocking:
        print(f"python -m compare.run --both cannot run here: {', '.join(blocking)}")
        return EXIT_REFUSED
    unknown = [finding.topic.partition(",")[0] for finding in findings if finding.found == NO_ANSWER]
    if unknown:
        print(f"whether python -m compare.run --both can run here is not known: {', '.join(unknown)} did not answer")
        return EXIT_DONE
    print("python -m compare.run --both can run here")
    return EXIT_DONE


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.doctor",
        description="Say what is here, what is missing, and what to do about it. Nothing is trained or downloaded.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--offline", action=Offline, help="open no connection, so ask no mirror")
    return parser.parse_args()


def examine() -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown."""
    installed = packages()
    try:
        return [*installed, *examine_more()]
    except ModuleNotFoundError as error:
        found = f"cannot be looked at: {not_installed(error.name or str(error)).came}"
        return [*installed, Finding("all else", found, INSTALL, blocks=True)]


def examine_more() -> list[Finding]:
    """All but the packages, by means of them."""
    from compare.data import download, fashion_mnist

    backends = {name: lambda name=name: probe(name) for name in KERAS_BACKENDS}
    answers = Answers(backends | {"data": data_folders, "weights": weights_paths}, time.monotonic() + SECONDS)
    weights = answers.get("weights", {"paths": {}, "mirrors": [], "name": "", "problem": NO_ANSWER})
    mirrors = {}
    for kind, bases, name in (
        ("data", fashion_mnist.MIRRORS, f"{next(iter(fashion_mnist.FILES))}.gz"),
        ("weights", weights["mirrors"], weights["name"]),
    ):
        try:
            mirrors[kind] = download.urls(bases, name)
        except UserError as error:
            return [Finding("mirrors", str(error), "see there", blocks=True)]
    reached = {}
    if not download.is_offline():
        urls = {url for several in mirrors.values() for url in several}
        waiting = Answers({url: lambda url=url: reach(url) for url in urls}, time.monotonic() + PROBE_SECONDS)
        reached = {url: waiting.get(url, f"no answer in {PROBE_SECONDS} s") for url in urls}
    return [
        *data_findings(answers.get("data", NO_ANSWER), reachable(mirrors["data"], reached)),
        *weights_findings(weights, reachable(mirrors["weights"], reached)),
        *mirror_findings(mirrors, reached),
        *backend_findings({name: answers.get(name, NO_ANSWER) for name in backends}),
        *machine_findings(),
        *environment_findings(),
    ]


class Answers:
    """Questions asked at once, each in a thread that is left behind if it does not answer in time: a name server and a
    network disk may never."""

    def __init__(self, questions: dict[str, Callable], deadline: float):
        self._answers, self._deadline = {}, deadline
        self._threads = {
            name: threading.Thread(target=self._ask, args=(name, ask), daemon=True) for name, ask in questions.items()
        }
        for thread in self._threads.values():
            thread.start()

    def _ask(self, name: str, ask: Callable) -> None:
        with contextlib.suppress(Exception):  # then there is no answer
            self._answers[name] = ask()

    def get(self, name: str, otherwise):
        """The answer, waited for until the deadline; `otherwise` if there is none."""
        self._threads[name].join(max(0.0, self._deadline - time.monotonic()))
        return self._answers.get(name, otherwise)


# ---- what is asked


def packages() -> list[Finding]:
    """Every package that pyproject.toml names, beside the oldest version that will do."""
    import importlib.metadata
    import tomllib

    source = Path(__file__).parent.parent / "pyproject.toml"
    try:
        lines = tomllib.loads(source.read_text(encoding="utf-8"))["project"]["dependencies"]
    except OSError:  # installed without its sources
        lines = importlib.metadata.requires("scratch-or-pretrained")
    found, findings = [f"Python {platform.python_version()}"], []
    for line in lines:
        needed, _, marker = line.partition(";")
        if marker:  # an extra's
            continue
        name = re.match(r"[\w.-]+", needed)[0]
        install = f"pip install '{needed}'"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "is not installed", install, blocks=True))
            continue
        if enough(version, needed.removeprefix(name)):
            found.append(f"{name} {version}")
        else:
            advice = f"{install}: older ones have known holes or lack what is used here"
            findings.append(Finding(name, f"{version}, expected {needed.removeprefix(name)}", advice))
    return [Finding("packages", ", ".join(found)), *findings]


def enough(version: str, specifier: str) -> bool:
    """Whether a version is one of those that will do; where that cannot be told, `packaging` is among the missing."""
    try:
        from packaging.specifiers import SpecifierSet
    except ModuleNotFoundError:
        return True
    return SpecifierSet(specifier).contains(version, prereleases=True)


def data_folders() -> dict[str, str | None]:
    """The usual folders that hold something of Fashion-MNIST, each with what is wrong with it, or None."""
    from compare.data import fashion_mnist

    return {str(folder): problem for folder, problem in fashion_mnist.whereabouts()}


def weights_paths() -> dict:
    """What `python -m pretrained.weights` says: compare does not import the branches."""
    command = [sys.executable, "-m", "pretrained.weights"]
    with processes.tied() as arguments:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **arguments)
    return json.loads(done.stdout)


def probe(backend: str) -> str | None:
    """What a backend computes on, or in words why it does not; None where it is not installed."""
    command = [sys.executable, "-c", PROBE, backend]
    try:
        with PROBES_AT_ONCE, processes.tied() as arguments:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS, **arguments
            )
    except subprocess.TimeoutExpired:
        return NO_ANSWER
    if done.returncode == 0 and done.stdout.strip():
        return done.stdout.strip().splitlines()[-1]
    if "which is not installed here" in done.stderr:
        return None
    said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    return f"failed with {'exit code' if done.returncode >= 0 else 'signal'} {abs(done.returncode)}: {said[:300]}"


def reach(url: str) -> str | None:
    """Why a URL cannot be had, or None. A server that does not like to be asked for a head is asked for the file."""
    from compare.data import download

    status = 0
    try:
        for method in ("HEAD", "GET"):
            with download.open_url(url, method=method, seconds=PROBE_SECONDS) as response:
                status = response.status_code
                if status == 200 and (method == "HEAD" or response.raw.read1(1)):
                    return None
    except Exception as error:  # as in `download`
        return download.reason(error)
    return f"HTTP status {status}"


# ---- what it means


def reachable(urls: list[str], reached: dict[str, str | None]) -> bool:
    """Whether one of them answered."""
    return any(reached.get(url, "") is None for url in urls)


def data_findings(folders: dict[str, str | None] | str, can_fetch: bool) -> list[Finding]:
    """Fashion-MNIST."""
    from compare.data import fashion_mnist

    if folders == NO_ANSWER:
        return [Finding("data", NO_ANSWER, ASK_AGAIN)]
    good = [folder for folder, problem in folders.items() if problem is None]
    if good:
        finding = Finding("data", f"Fashion-MNIST in {good[0]}")
    elif can_fetch:
        finding = Finding("data", "not here; will be downloaded (31 MB) when it is first needed")
    else:
        finding = Finding("data", "Fashion-MNIST is not here", fashion_mnist.ADVICE, blocks=True)
    bad = [problem for problem in folders.values() if problem is not None]
    return [finding, *(Finding("data", problem, LEFT_ALONE) for problem in bad)]


def weights_findings(weights: dict, can_fetch: bool) -> list[Finding]:
    """ImageNet's weights of the ResNet50."""
    if "problem" in weights:
        return [Finding("weights", weights["problem"], ASK_AGAIN)]
    good = [path for path, problem in weights["paths"].items() if problem is None]
    if good:
        finding = Finding("weights", f"ImageNet's in {good[0]}")
    elif can_fetch:
        finding = Finding("weights", "not here; will be downloaded (95 MB) when they are first needed")
    else:
        finding = Finding("weights", "ImageNet's are not here", weights["advice"], blocks=True)
    bad = {path: problem for path, problem in weights["paths"].items() if problem not in (None, "is not there")}
    return [finding, *(Finding("weights", f"{path} {problem}", LEFT_ALONE) for path, problem in bad.items())]


def mirror_findings(mirrors: dict[str, list[str]], reached: dict[str, str | None]) -> list[Finding]:
    """Every address that a download would be tried from."""
    from compare.data import download

    if not reached:
        return [Finding("mirrors", "not asked: --offline")]
    findings = []
    for kind, urls in mirrors.items():
        for url in urls:
            problem, shown = reached[url], download.without_password(url).rpartition("/")[0]
            advice = "nothing, if another mirror answers or the file is here" if problem else ""
            findings.append(Finding(f"mirror, {kind}", f"{shown}: {problem or 'answers'}", advice))
    return findings


def backend_findings(answers: dict[str, str | None]) -> list[Finding]:
    """PyTorch has to work, for the one branch; and so has the first backend that is installed, because Keras takes it
    for the other if nothing else is said."""
    findings = []
    failed = {name for name, answer in answers.items() if answer == NO_ANSWER or (answer or "").startswith("failed")}
    works = [name for name, answer in answers.items() if answer is not None and name not in failed]
    first = next(name for name in answers if answers[name] is not None or name == PYTORCH)
    needed = {PYTORCH, named if (named := os.environ.get("KERAS_BACKEND")) in answers else first}
    for name, answer in answers.items():
        topic = f"{name}, and Keras on it"
        if name in works:
            findings.append(Finding(topic, answer))
        elif answer is None and name not in needed:
            findings.append(Finding(topic, "is not installed, and need not be"))
        else:
            advice = f"pip install --force-reinstall {name}, or mend its driver"
            if answer == NO_ANSWER:
                advice = f"{ASK_AGAIN}; if it stays so, {advice}"
            if works and name != PYTORCH:
                advice += f"; or say --keras-backend {works[0]}"
            findings.append(
                Finding(topic, answer or "is not installed", advice, blocks=name in needed and answer != NO_ANSWER)
            )
    return findings


def machine_findings() -> list[Finding]:
    """The processor, memory and disks."""
    import shutil

    from compare.data import download
    from compare.runs import out_folder
    from compare.system import machine

    words = ", bfloat16" if machine.processor_computes_in_bfloat16() else ""
    findings = [Finding("processor", machine.processor_name() + words)]
    memory = available_memory_bytes()
    if memory is not None:
        short = memory < NUM_MEMORY_BYTES
        advice = f"a branch takes about {NUM_MEMORY_BYTES / 1e9:.1f} GB: end other programs" if short else ""
        findings.append(Finding("memory", f"{memory / 1e9:.1f} GB free", advice))
    with contextlib.suppress(OSError):
        shared = shutil.disk_usage("/dev/shm")
        findings.append(Finding("/dev/shm", f"{shared.free / 1e6:,.0f} MB free; nothing here needs it"))
    for topic, folder in (("output", lambda: Path("reports")), ("cache", download.cache_folder)):
        try:
            place = out_folder.check_writable(folder())
        except UserError as error:
            advice = "say --out FOLDER" if topic == "output" else "set XDG_CACHE_HOME to a folder that can be written"
            findings.append(Finding(topic, str(error).splitlines()[0], advice, blocks=topic == "output"))
            continue
        free = shutil.disk_usage(place).free
        short = free < NUM_DISK_BYTES and topic == "output"
        advice = f"free up to {NUM_DISK_BYTES / 1e9:.0f} GB, or say --out on another disk" if short else ""
        findings.append(Finding(topic, f"{folder().absolute()}: {free / 1e9:,.1f} GB free", advice, blocks=short))
    return findings


def available_memory_bytes() -> int | None:
    """The memory that a new process can have, or None where the system does not say."""
    if sys.platform == "win32":
        import psutil

        return psutil.virtual_memory().available
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    for place in ("memory.max", "memory/memory.limit_in_bytes"):  # a container's
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", place).read_text()))
    if not limits:
        with contextlib.suppress(OSError, ValueError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def environment_findings() -> list[Finding]:
    """What of the environment decides how downloads go."""
    from compare.data import download

    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "KERAS_HOME")
    names += ("KERAS_BACKEND", environment.THREADS, *environment.recorded())
    names += (download.MIRRORS_VARIABLE, OFFLINE_VARIABLE)
    values = {name: os.environ.get(name) or os.environ.get(name.lower()) for name in names}
    said = [f"{name}={download.without_password(value)}" for name, value in values.items() if value]
    findings = [Finding("environment", ", ".join(said))] if said else []
    if not download.cache_folder().is_absolute():
        findings.append(Finding("home", "there is none to keep downloads in", "set HOME, or XDG_CACHE_HOME"))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if values[name] and not Path(values[name]).exists():
            findings.append(Finding(name, f"{values[name]} is not there", "unset it, or name a file that is"))
    return findings


# ---- how it is shown


def show(findings: list[Finding]) -> None:
    """A table on a terminal; elsewhere, and where what draws it is missing, a line each, with tabs between."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console()
    except ModuleNotFoundError:
        console = None
    if console is None or not console.is_terminal:
        for finding in findings:
            print("\t".join(filter(None, (finding.mark, finding.topic, finding.found, finding.advice))))
        return
    table = Table("", "", "found", "what to do", box=None, padding=(0, 2, 0, 0))
    for finding in findings:
        style = {"GAP": "bold red", "note": "yellow", "ok": "green"}[finding.mark]
        table.add_row(Text(finding.mark, style), *map(Text, (finding.topic, finding.found, finding.advice)))
    console.print(table)


if __name__ == "__main__":
    run_command(main)
