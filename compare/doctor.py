"""What is here, what is missing, and what to do about it: `python -m compare.doctor`.

It trains nothing, downloads nothing and is done in under 20 seconds. Everything slow is asked at once, and the
frameworks in processes of their own: they cannot share one, and a broken installation may end its process or never
answer.
"""

import os
import sys

if not __package__:  # run as a file: then its own folder, which has an `inspect` as Python does, is on the path
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
FOR_DEVELOPERS = ("test", "dev", "docs")  # extras that no option asks for
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
    """One line of the answer: what was looked at, what is so, what to do about it if anything, and whether `--both`
    cannot run like this."""

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
    else:
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

    try:
        data_mirrors = download.urls(fashion_mnist.MIRRORS, f"{next(iter(fashion_mnist.FILES))}.gz")
    except UserError as error:
        return [Finding("mirrors", str(error), "see there", blocks=True)]

    def weights_and_mirrors() -> dict[str, Any]:
        weights = weights_paths()
        return weights | {"reached": reached(download.urls(weights["mirrors"], weights["name"]))}

    questions: dict[str, Callable[[], Any]] = {name: functools.partial(probe, name) for name in KERAS_BACKENDS}
    questions |= {
        "data": lambda: dict(fashion_mnist.whereabouts()),
        "data mirrors": lambda: reached(data_mirrors),
        "weights": weights_and_mirrors,
    }
    answers = ask(questions, SECONDS)
    weights = answers.get("weights", {"paths": None, "installed": {}, "reached": {}, "advice": ""})
    mirrors = {"data": answers.get("data mirrors", {}), "weights": weights["reached"]}
    data_missing = Finding("data", "Fashion-MNIST is not here", fashion_mnist.ADVICE, blocks=True)
    weights_missing = Finding("weights", "ImageNet's are not here", weights["advice"], blocks=True)
    return [
        *file_findings(data_missing, "Fashion-MNIST", 31, answers.get("data"), None in mirrors["data"].values()),
        *file_findings(weights_missing, "ImageNet's", 95, weights["paths"], None in mirrors["weights"].values()),
        *(
            Finding("weights", problem or f"{title}'s are installed: --backbone needs no network for them")
            for title, problem in weights["installed"].items()
        ),
        *mirror_findings(mirrors),
        *backend_findings({name: answers.get(name, NO_ANSWER) for name in KERAS_BACKENDS}),
        *machine_findings(),
        *environment_findings(),
    ]


def ask(questions: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """The answers to questions that are asked at once, as far as they come in time. Each has a thread that nobody waits
    for at the end: a server and a network disk may never answer."""
    answers = {}

    def answer(name: str) -> None:
        with contextlib.suppress(Exception):  # then there is none
            answers[name] = questions[name]()

    threads = [threading.Thread(target=answer, args=(name,), daemon=True) for name in questions]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)


# ---- what is asked


def needs() -> tuple[list[str], dict[str, list[str]]]:
    """What the project needs, a line for each package, and what each of its extras does."""
    import importlib.metadata
    import tomllib

    try:
        source = Path(__file__).parent.parent / "pyproject.toml"
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        return project["dependencies"], project["optional-dependencies"]
    except OSError:  # installed without its sources; what has a marker is an extra's
        lines: list[str] = []
        extras: dict[str, list[str]] = {}
        for line in importlib.metadata.requires("scratch-or-pretrained") or []:
            needed, _, marker = map(str.strip, line.partition(";"))
            (extras.setdefault(re.split("['\"]", marker)[1], []) if marker else lines).append(needed)
        return lines, extras


def packages() -> list[Finding]:
    """Every package that pyproject.toml names, beside the oldest version that will do, and the extras that are not
    installed."""
    import importlib.metadata

    lines, extras = needs()
    found, findings = [f"Python {platform.python_version()}"], []
    for line in lines:
        name = re.split(r"[^\w.-]", line)[0]
        needed, install = line.removeprefix(name), f"pip install '{line}'"
        try:
            version = importlib.metadata.version(name)
            from packaging.specifiers import SpecifierSet

            is_enough = SpecifierSet(needed).contains(version, prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "is not installed", install, blocks=True))
            continue
        except ModuleNotFoundError:  # `packaging` is among the missing
            is_enough = True
        if is_enough:
            found.append(f"{name} {version}")
        else:
            advice = f"{install}: older ones have known holes or lack what is used here"
            findings.append(Finding(name, f"{version}, expected {needed}", advice))
    absent = [extra for extra, lines in extras.items() if extra not in FOR_DEVELOPERS and not all(map(is_there, lines))]
    if absent:
        brings = "pip install 'scratch-or-pretrained[NAME]' brings one"
        findings.append(Finding("extras", f"not installed, and need not be: {', '.join(absent)}; {brings}"))
    return [Finding("packages", ", ".join(found)), *findings]


def is_there(line: str) -> bool:
    """Whether the package that a requirement names is installed, in whatever version."""
    import importlib.metadata

    try:
        return bool(importlib.metadata.version(re.split(r"[^\w.-]", line)[0]))
    except importlib.metadata.PackageNotFoundError:
        return False


def weights_paths() -> dict[str, Any]:
    """What `python -m pretrained.weights` says of ImageNet's: compare does not import the branches."""
    with processes.tied() as arguments:
        command = [sys.executable, "-m", "pretrained.weights"]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **arguments).stdout)
    problems = {path: problem and f"{path} {problem}" for path, problem in said["paths"].items()}
    there = {path: problem for path, problem in problems.items() if said["paths"][path] != "is not there"}
    return said | {"paths": there}


def probe(backend: str) -> str | None:
    """What a backend computes on, or in words why it does not; None where it is not installed."""
    if importlib.util.find_spec(backend) is None:
        return None
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
    said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    return f"failed with {'exit code' if done.returncode >= 0 else 'signal'} {abs(done.returncode)}: {said[:300]}"


def reached(urls: list[str]) -> dict[str, str | None]:
    """Why each of the URLs cannot be had, or None; nothing where no connection is to be opened."""
    from compare.data import download

    if download.is_offline():
        return {}
    answers = ask({url: functools.partial(reach, url) for url in urls}, PROBE_SECONDS)
    return {url: answers.get(url, f"no answer in {PROBE_SECONDS} s") for url in urls}


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


def file_findings(
    missing: Finding, what: str, num_megabytes: int, problems: dict[str, str | None] | None, can_fetch: bool
) -> list[Finding]:
    """Files that a comparison needs.

    Args:
        missing: what is found where they are neither here nor to be had.
        problems: of each place that has them, in words, or None where they are good; None if this is not known.
        can_fetch: whether a mirror answers.
    """
    topic = missing.topic
    if problems is None:
        return [Finding(topic, NO_ANSWER, ASK_AGAIN)]
    good = [place for place, problem in problems.items() if problem is None]
    if good:
        first = Finding(topic, f"{what} in {good[0]}")
    elif can_fetch:
        first = Finding(topic, f"not here; will be downloaded ({num_megabytes} MB) when first needed")
    else:
        first = missing
    return [first, *(Finding(topic, problem, LEFT_ALONE) for problem in problems.values() if problem is not None)]


def mirror_findings(mirrors: dict[str, dict[str, str | None]]) -> list[Finding]:
    """Every address that a download would be tried from, by what is had there."""
    from compare.data import download

    if download.is_offline():
        return [Finding("mirrors", "not asked: --offline")]
    findings = []
    for kind, reached in mirrors.items():
        for url, problem in reached.items():
            shown = download.without_password(url).rpartition("/")[0]
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
        found, advice = answer or "is not installed", ""
        if answer is None and name not in needed:
            found = "is not installed, and need not be"
        elif name not in works:
            advice = f"pip install --force-reinstall {name}, or mend its driver"
            advice = f"{ASK_AGAIN}; if it stays so, {advice}" if answer == NO_ANSWER else advice
            advice += f"; or say --keras-backend {works[0]}" if works and name != PYTORCH else ""
        blocks = bool(advice) and name in needed and answer != NO_ANSWER
        findings.append(Finding(f"{name}, and Keras on it", found, advice, blocks))
    return findings


def machine_findings() -> list[Finding]:
    """The processor, memory and disks."""
    from compare.data import download
    from compare.runs import out_folder
    from compare.system import machine

    words = ", bfloat16" if machine.processor_computes_in_bfloat16() else ""
    memory = machine.available_memory_bytes()
    advice = f"a branch takes about {NUM_MEMORY_BYTES / 1e9:.1f} GB: end other programs"
    findings = [
        Finding("processor", machine.processor_name() + words),
        Finding("memory", f"{memory / 1e9:.1f} GB free", advice if memory < NUM_MEMORY_BYTES else ""),
    ]
    for topic, folder in (("output", Path("reports")), ("cache", download.cache_folder())):
        try:
            free = shutil.disk_usage(out_folder.check_writable(folder)).free
        except UserError as error:
            advice = "say --out FOLDER" if topic == "output" else "set XDG_CACHE_HOME to a folder that can be written"
            findings.append(Finding(topic, error.came, advice, blocks=topic == "output"))
            continue
        short = free < NUM_DISK_BYTES and topic == "output"
        advice = f"free up to {NUM_DISK_BYTES / 1e9:.0f} GB, or say --out on another disk" if short else ""
        findings.append(Finding(topic, f"{folder.absolute()}: {free / 1e9:,.1f} GB free", advice, blocks=short))
    return findings


def environment_findings() -> list[Finding]:
    """What of the environment decides how downloads go."""
    from compare.data import download

    names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "KERAS_HOME"]
    names += ["KERAS_BACKEND", environment.THREADS, *environment.recorded()]
    names += [download.MIRRORS_VARIABLE, OFFLINE_VARIABLE]
    values = {name: os.environ.get(name) or os.environ.get(name.lower()) for name in names}
    said = [f"{name}={download.without_password(value)}" for name, value in values.items() if value]
    findings = [Finding("environment", ", ".join(said))] if said else []
    if not download.cache_folder().is_absolute():
        findings.append(Finding("home", "there is none to keep downloads in", "set HOME, or XDG_CACHE_HOME"))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if (value := values[name]) and not Path(value).exists():
            findings.append(Finding(name, f"{value} is not there", "unset it, or name a file that is"))
    return findings


# ---- how it is shown


def show(findings: list[Finding]) -> None:
    """A table on a terminal; elsewhere, and where what draws it is missing, a line each, with tabs between."""
    rows = [(finding.mark, finding.topic, finding.found, finding.advice) for finding in findings]
    with contextlib.suppress(ModuleNotFoundError):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        if (console := Console()).is_terminal:
            table = Table("", "", "found", "what to do", box=None, padding=(0, 2, 0, 0))
            styles = {"GAP": "bold red", "note": "yellow", "ok": "green"}
            for mark, *rest in rows:
                table.add_row(Text(mark, styles[mark]), *map(Text, rest))
            console.print(table)
            return
    for row in rows:
        print("\t".join(filter(None, row)))


if __name__ == "__main__":
    run_command(main)
