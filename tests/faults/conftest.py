"""What is injected is counted, and so is what came of it; the counts are said at the end of the run.

Each fault must end in a clear refusal or in the right bytes, and leave the user's files as they were.
"""

import contextlib
import dataclasses
from pathlib import Path

import faulty_server
import pytest

from compare.data import download
from compare.system.errors import UserError


@dataclasses.dataclass
class Faults:
    """The counts of a run of the suite."""

    injected: int = 0
    refused: int = 0  # clearly
    survived: int = 0  # with the right result
    wrong_bytes: int = 0  # of wrong data used
    user_files: int = 0  # touched

    def meets(self, call, *, right):
        """Inject one fault: `call` raises a clear refusal, which is returned, or gives what `right` finds right."""
        self.injected += 1
        try:
            got = call()
        except UserError as error:
            self.refusal(str(error))
            return error
        wrong = 0 if right(got) else 1
        self.wrong_bytes += wrong
        self.survived += 1 - wrong
        assert not wrong, "wrong data was used"
        return None

    def ends(self, done, code: int) -> None:
        """Count a fault that a command met, a process that has ended with its standard error as text: it ends with
        `code`, right or with a clear refusal."""
        self.injected += 1
        assert done.returncode == code, done.stderr
        if code:
            self.refusal(done.stderr)
        else:
            assert "Traceback" not in done.stderr, done.stderr
            self.survived += 1

    def refusal(self, text: str) -> None:
        """Count a refusal, which has its three parts and is no stack of calls."""
        parts = [text.find(words) for words in ("error: ", "\n  expected: ", "\n  what to do: ")]
        assert min(parts) >= 0 and parts == sorted(parts) and "Traceback" not in text, text
        self.refused += 1

    @contextlib.contextmanager
    def leaving(self, *folders: Path):
        """The user's files below `folders` are the same afterwards, by name and content."""
        before = [contents(folder) for folder in folders]
        yield
        touched = sum(
            old.get(name) != new.get(name)
            for old, new in zip(before, map(contents, folders), strict=True)
            for name in {*old, *new}
        )
        self.user_files += touched
        assert not touched, "the user's files were touched"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the locks of downloads."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


COUNTS = Faults()


@pytest.fixture
def faults():
    return COUNTS


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes of pytest-xdist, which add up
        session.config.workeroutput["faults"] = dataclasses.asdict(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for name, number in getattr(node, "workeroutput", {}).get("faults", {}).items():
        setattr(COUNTS, name, getattr(COUNTS, name) + number)


def pytest_terminal_summary(terminalreporter):
    if COUNTS.injected:
        terminalreporter.write_line(
            f"faults injected {COUNTS.injected:,}: refused clearly {COUNTS.refused:,}, right all the same "
            f"{COUNTS.survived:,}; wrong data used {COUNTS.wrong_bytes}, user files touched {COUNTS.user_files}"
        )


@pytest.fixture
def impatient(monkeypatch):
    """Limits of a second or less, so that a stall is over soon."""
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)
    monkeypatch.setattr(download, "STALL_SECONDS", 1.0)


@pytest.fixture
def faulty():
    """A server whose every path has a fault of its own, and that counts what is asked for."""
    with faulty_server.running() as server:
        yield server
