"""Every test runs without a network, without the user's caches, and with Keras on PyTorch.

TensorFlow and PyTorch must not share a process; what needs TensorFlow or JAX is tested in processes of its own.
"""

import hashlib
import http.server
import os
import signal
import socket
import struct
import sys
import threading

import fake_branches
import matplotlib
import numpy as np
import pytest
from fake_runs import write_run
from pages import write

from compare import plan
from compare.data import download, fashion_mnist
from compare.data.download import MIRRORS_VARIABLE
from compare.system.environment import OFFLINE_VARIABLE
from compare.training import estimate
from pretrained import backend

# Before anything imports a framework: the arrays are small, and threads that wait for each other cost more than they
# bring, the more so where several tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
backend.choose("torch", "cpu")
# Without bytecode every process that a test starts compiles its framework anew, which takes longer than what is tested.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What is started in the background ignores Ctrl-C, or a closed terminal, and so would the processes that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of several processes each goes through files that lie together, and shares what they make once; who comes to the
    end takes from the others."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    """A home of the test's own, and no connection but to this machine."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # its list of fonts takes seconds to make
    for name in ("HOME", "USERPROFILE", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)  # this process' own, which the ones started need not share
    proxies = [f"{kind}_proxy" for kind in ("http", "https", "all")]
    for name in (OFFLINE_VARIABLE, MIRRORS_VARIABLE, *proxies, *map(str.upper, proxies)):
        monkeypatch.setenv(name, "")
    connect = socket.socket.connect

    def connect_here(self, address):
        assert isinstance(address, str) or address[0] in ("127.0.0.1", "::1"), f"a test connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture
def at_a_glance(monkeypatch):
    """How long a training takes is told by three steps of each kind, in the place of seconds of them."""
    with monkeypatch.context() as while_imported:
        while_imported.setenv("KERAS_BACKEND", "torch")  # which `alone` has hidden
        from pretrained import loop, solver  # and with them Keras, which few tests need

    measured = estimate.measured
    for module in (loop, solver):
        monkeypatch.setattr(module, "measured", lambda run, **words: measured(run, **words | {"seconds": 0.0}))


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Call a module's `main` with words, as its command does: the exit code, standard output and standard error."""
    from compare.system.command import run_command

    def call(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            run_command(module.main)
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """The runs that fake branches leave copies of."""
    fake_branches.make_up(folder := tmp_path_factory.mktemp("made-up"))
    return folder


@pytest.fixture
def fakes(monkeypatch, tmp_path, made_up):
    """Put fake branches in the place of both; returns a function that lists the commands they were run with."""
    for name, value in fake_branches.install(tmp_path, made_up).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.setattr(plan, "BRANCHES", fake_branches.BRANCHES)
    return lambda: (tmp_path / "log").read_text().splitlines()


@pytest.fixture
def server():
    """A server on this machine; `answers` maps a path to a status and a body, `asked` lists what was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            status, body = server.answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def idx_files() -> dict[str, bytes]:
    """Four small files in the format of Fashion-MNIST: 20 training and 10 test images."""
    rng = np.random.default_rng(0)
    files = {}
    for part, num_images in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (num_images, 28, 28), np.uint8)
        labels = np.arange(num_images, dtype=np.uint8) % 10
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">iiii", 2051, num_images, 28, 28) + images.tobytes()
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">ii", 2049, num_images) + labels.tobytes()
    return files


@pytest.fixture
def small(monkeypatch):
    """Let four small files be the real ones of Fashion-MNIST, and no folder of this machine be usual."""
    files = idx_files()
    table = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    monkeypatch.setattr(fashion_mnist, "FILES", table)
    monkeypatch.setattr(fashion_mnist, "_usual_folders", lambda: [download.cache_folder() / "fashion-mnist"])
    return files


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A report of two runs: its folder and its page."""
    folder = tmp_path_factory.mktemp("two")
    scratch = write_run(
        folder / "runs" / "scratch_resnet", accuracy=0.9, known_mistakes=("The <test> set is watched.",)
    )
    pretrained = write_run(
        folder / "runs" / "pretrained", branch="pretrained", accuracy=0.8, overrides={"num_epochs": 1}, weights="random"
    )
    return folder, write(folder, scratch, pretrained)
