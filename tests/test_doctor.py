"""The doctor: what it finds on machines that lack this or that, and what it says to do."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare import doctor
from compare.data import download, fashion_mnist

ROOT = Path(__file__).parent.parent
WORKS = "works, on the processor"


@pytest.fixture
def healthy(monkeypatch, server):
    """A machine with everything at hand, asked quickly."""
    monkeypatch.setattr(doctor, "probe", lambda name: WORKS)
    monkeypatch.setattr(fashion_mnist, "whereabouts", lambda: [("/data", None)])
    weights = {"installed": {"Some Net": None}, "paths": {"/w.h5": None}}
    weights |= {"mirrors": [f"{server.url}/weights"], "name": "w.h5", "advice": "take random"}
    monkeypatch.setattr(doctor, "weights_paths", lambda: weights)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", [f"{server.url}/data"])
    return weights


def test_where_everything_is_there_nothing_is_to_be_done(healthy, run_main):
    code, out, err = run_main(doctor)
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[-1] == "python -m compare.run --both can run here"
    assert "ok\tdata\tFashion-MNIST in /data" in lines and "ok\tweights\tImageNet's in /w.h5" in lines
    assert "ok\tweights\tSome Net's are installed: --backbone needs no network for them" in lines
    assert [line for line in lines if line.startswith("GAP")] == []
    assert sum(line.startswith("note\tmirror") for line in lines) == 2  # the server here knows neither file


def test_what_can_be_downloaded_is_no_gap(healthy, run_main, monkeypatch, server):
    healthy["paths"] = {"/w.h5": "/w.h5 holds other bytes"}
    monkeypatch.setattr(fashion_mnist, "whereabouts", lambda: [("/data", "/data/train is damaged")])
    server.answers = {"/weights/w.h5": (200, b"w"), f"/data/{next(iter(fashion_mnist.FILES))}.gz": (200, b"d")}
    code, out, _ = run_main(doctor)
    assert code == 0 and "will be downloaded (95 MB)" in out and "will be downloaded (31 MB)" in out
    assert f"note\tweights\t/w.h5 holds other bytes\t{doctor.LEFT_ALONE}" in out
    assert f"note\tdata\t/data/train is damaged\t{doctor.LEFT_ALONE}" in out

    server.answers.clear()
    code, out, _ = run_main(doctor)
    assert code == 2 and out.splitlines()[-1] == "python -m compare.run --both cannot run here: data, weights"
    assert "GAP\tweights\tImageNet's are not here\ttake random" in out and "apt install dataset-fashion-mnist" in out


def test_offline_opens_no_socket(healthy, run_main, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    healthy["paths"] = {}
    code, out, _ = run_main(doctor, "--offline")
    assert code == 2 and "ok\tmirrors\tnot asked: --offline" in out and "cannot run here: weights" in out


@pytest.mark.parametrize(
    ("answers", "blocking"),
    [
        ((WORKS, WORKS, None), []),
        ((None, WORKS, None), []),
        (("failed with signal 11", WORKS, WORKS), ["tensorflow"]),
        ((WORKS, "failed with exit code 1", None), ["torch"]),
        ((WORKS, None, None), ["torch"]),
        ((None, doctor.NO_ANSWER, None), []),
        ((WORKS, WORKS, "failed with exit code 1"), []),
    ],
)
def test_pytorch_and_the_first_backend_have_to_work(answers, blocking):
    findings = doctor.backend_findings(dict(zip(doctor.KERAS_BACKENDS, answers, strict=True)))
    assert [finding.topic.partition(",")[0] for finding in findings if finding.blocks] == blocking
    assert all(finding.advice for finding in findings if finding.blocks or finding.found.startswith("failed"))


def test_what_did_not_answer_is_not_known(healthy, run_main, monkeypatch):
    """A busy machine is no broken one."""
    monkeypatch.setattr(doctor, "probe", lambda name: doctor.NO_ANSWER)
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    for module, slow in ((fashion_mnist, "whereabouts"), (doctor, "weights_paths")):
        monkeypatch.setattr(module, slow, lambda: time.sleep(2))
    code, out, _ = run_main(doctor)
    last = out.splitlines()[-1]
    assert code == 0 and "GAP" not in out and "cannot run here" not in out
    assert last.startswith("whether python -m compare.run --both can run here is not known: ")
    assert all(topic in last for topic in ("data", "weights", "tensorflow", "torch"))


def test_a_backend_is_asked_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 120)
    assert doctor.probe("torch") == WORKS
    with monkeypatch.context() as busy:  # then nothing answers, but what is not here is known
        busy.setattr(doctor, "SECONDS", 0)
        assert doctor.probe("nosuch") is None and doctor.probe("torch") == doctor.NO_ANSWER
    monkeypatch.setattr(doctor, "PROBE", "import os; os.abort()")
    assert doctor.probe("torch").startswith("failed with signal 6")
    monkeypatch.setattr(doctor, "SECONDS", 1)
    monkeypatch.setattr(doctor, "PROBE", "import time; time.sleep(60)")
    start = time.monotonic()
    assert doctor.probe("torch") == doctor.NO_ANSWER and time.monotonic() - start < 20


def test_mirrors_are_asked_for_a_head_and_else_for_a_byte(server):
    server.answers["/file"] = (200, b"content")  # this server knows no HEAD
    assert doctor.reach(f"{server.url}/file") is None
    assert doctor.reach(f"{server.url}/other") == "HTTP status 404"
    assert doctor.reach("http://127.0.0.1:1/") == "ConnectionError, no connection"


def test_an_answer_that_never_comes_is_not_waited_for():
    start = time.monotonic()
    assert doctor.ask({"slow": lambda: time.sleep(30), "quick": lambda: 1}, 0.5) == {"quick": 1}
    assert time.monotonic() - start < 5


def test_an_old_or_absent_package_is_named(monkeypatch):
    import importlib.metadata

    version = importlib.metadata.version

    def pretend(name):
        if name == "keras":
            return "3.11.0"
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", pretend)
    findings = {finding.topic: finding for finding in doctor.packages()}
    assert findings["keras"].found.startswith("3.11.0, expected >=") and not findings["keras"].blocks
    assert findings["torch"].blocks and "pip install 'torch>=" in findings["torch"].advice.replace('"', "'")


def test_an_extra_that_lacks_one_of_its_packages_is_named_and_no_gap(monkeypatch):
    import importlib.metadata

    def pretend(name):
        if name == "sqlalchemy":
            raise importlib.metadata.PackageNotFoundError
        return "99"

    monkeypatch.setattr(importlib.metadata, "version", pretend)
    (finding,) = [finding for finding in doctor.packages() if finding.topic == "extras"]
    assert finding.found.startswith("not installed, and need not be: mlflow; pip install 'scratch-or-pretrained[")
    assert finding.mark == "ok"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    assert not any(finding.topic == "extras" for finding in doctor.packages())


def test_passwords_are_not_shown(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128")
    monkeypatch.setenv(download.MIRRORS_VARIABLE, "https://me:secret@mirror/a https://b/")
    (said,) = [finding.found for finding in doctor.environment_findings() if finding.topic == "environment"]
    assert "secret" not in said and "//***@proxy:3128" in said and "//***@mirror/a" in said


def test_weights_are_asked_of_the_branch():
    command = [sys.executable, "-m", "pretrained.weights"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
    assert len(said["mirrors"]) == 2 and said["name"].endswith(".h5")
    assert set(said["paths"].values()) == {"is not there"} and said["installed"] == {"EfficientNet-Lite0": None}
