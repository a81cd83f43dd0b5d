"""Downloads from a server that does everything wrong: never a wrong byte used, never a wait without end."""

import gzip
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faulty_server
import pytest
from systems import needs_posix

from compare.data import dataset, download, fashion_mnist
from compare.system.environment import OFFLINE_VARIABLE
from compare.system.errors import UserError

FILE = "train-images-idx3-ubyte"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(small, faulty, monkeypatch):
    """The folder of downloads, which lacks one file; the server has all."""
    faulty.files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in small.items()}
    folder = download.cache_folder() / "fashion-mnist"
    folder.mkdir(parents=True)
    for name, content in faulty.files.items():
        (folder / name).write_bytes(content)
    (folder / f"{FILE}.gz").unlink()
    return folder


@pytest.fixture
def from_mirrors(small, faulty, folder, monkeypatch):
    """Load the data where the mirrors have these faults, in this order: the bytes of the file that was not there."""

    def load(*answers):
        urls = [answer if "://" in answer else f"{faulty.url}/{answer}/" for answer in answers]
        monkeypatch.setattr(fashion_mnist, "MIRRORS", urls)
        return dataset.load("fashion-mnist").train_images.tobytes()

    return load


@pytest.fixture
def is_right(small):
    return lambda got: got == small[FILE][16:]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("fault", [fault.__name__ for fault in faulty_server.FAULTS])
def test_each_fault_alone_is_refused_with_its_reason(fault, from_mirrors, folder, faults, impatient):
    start = time.monotonic()
    with faults.leaving(folder):
        error = faults.meets(lambda: from_mirrors(fault), right=lambda _: False)
    assert f"/{fault}/{FILE}.gz: " in str(error) and "on another machine and place it as" in str(error)
    assert time.monotonic() - start < 5
    assert f"{FILE}.gz" not in left_in(folder) and len(left_in(folder)) == 3


def test_after_every_fault_the_next_mirror_counts(from_mirrors, is_right, folder, faults, impatient):
    names = [fault.__name__ for fault in faulty_server.FAULTS]
    faults.injected += len(names) - 1
    faults.survived += len(names) - 1
    assert faults.meets(lambda: from_mirrors(*names, "http://127.0.0.1:1/", "chunked"), right=is_right) is None
    assert len(left_in(folder)) == 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("busy", "HTTP status 503"),
        ("dropped", "IncompleteRead|broke off"),
        ("trickles", "stalled: 1?[0-9] bytes in 1.0 s"),
        ("trickles_its_header", "stalled: 0 bytes in 1.0 s"),
        ("stalls_midway", "ReadTimeout|stalled"),
        ("endless", "sends more than the"),
        ("wrong_bytes", "is damaged or cut short"),
        ("html", "is damaged or cut short"),
        ("bomb", "holds other bytes"),
        ("other_content", "holds other bytes"),
        ("redirects_for_ever", "redirects without end"),
        ("https://127.0.0.1:1/", "ConnectionError, no connection"),
    ],
)
def test_reasons_are_in_words(fault, says, from_mirrors, faults, impatient):
    with pytest.raises(UserError, match=says) as error:
        from_mirrors(fault)
    faults.injected += 1
    faults.refusal(str(error.value))


def test_a_bad_file_is_kept_beside_the_good_one(from_mirrors, is_right, folder, faults, capsys):
    for number, content in enumerate((b"the user's half a file", b"", gzip.compress(b"other")), 1):
        (folder / f"{FILE}.gz").write_bytes(content)
        faults.meets(lambda: from_mirrors("good"), right=is_right)
        assert (folder / f"{FILE}.gz.bad-{number}").read_bytes() == content
        assert f"kept as {FILE}.gz.bad-{number}" in capsys.readouterr().err
    # and stays where it is as long as there is nothing better
    (folder / f"{FILE}.gz").write_bytes(b"again")
    with faults.leaving(folder):
        error = faults.meets(lambda: from_mirrors("busy"), right=lambda _: False)
    assert f"{FILE}.gz is damaged or cut short, and could not be downloaded" in str(error)


def test_a_plain_bad_file_does_not_hide_the_good_one(from_mirrors, is_right, folder, faults):
    (folder / FILE).write_bytes(b"no idx file")
    with faults.leaving(folder):
        faults.meets(lambda: from_mirrors("good"), right=is_right)
        (folder / f"{FILE}.gz").unlink()


def test_mirrors_of_the_users_come_first(from_mirrors, is_right, faulty, folder, monkeypatch, faults):
    monkeypatch.setenv(download.MIRRORS_VARIABLE, f"{faulty.url}/busy {faulty.url}/my/good/")
    assert is_right(from_mirrors("html"))
    assert faulty.asked == [f"/busy/{FILE}.gz", f"/my/good/{FILE}.gz"]
    (folder / f"{FILE}.gz").unlink()
    monkeypatch.setenv(download.MIRRORS_VARIABLE, "file:///srv/data")
    error = faults.meets(lambda: from_mirrors("good"), right=lambda _: False)
    assert "SCRATCH_OR_PRETRAINED_MIRRORS lists file:///srv/data" in str(error)
    monkeypatch.setenv(download.MIRRORS_VARIABLE, f"{faulty.url.replace('//', '//me:secret@')}/busy")
    error = faults.meets(lambda: from_mirrors("busy"), right=lambda _: False)
    assert "//***@127.0.0.1" in str(error) and "secret" not in str(error)


def test_offline_opens_no_socket(from_mirrors, folder, faulty, monkeypatch, faults):
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    monkeypatch.setattr("socket.socket", None)
    error = faults.meets(lambda: from_mirrors("good"), right=lambda _: False)
    assert f"{folder / FILE}.gz is not there, and --offline forbids" in str(error) and "place it as" in str(error)
    assert faulty.asked == [] and len(left_in(folder)) == 3


WATCH = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["SOCKETS"], "a") as file:
            print(event, arguments[1:], file=file)
sys.addaudithook(note)

import pathlib  # the machine may have the data: hide it
is_file = pathlib.Path.is_file
pathlib.Path.is_file = lambda self: "ubyte" not in self.name and is_file(self)
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("compare.run", ["--both"]),
        pytest.param("scratch_resnet.train", ["--check"], marks=pytest.mark.thorough),
        pytest.param("pretrained.train", ["--demo", "--weights", "imagenet"], marks=pytest.mark.thorough),
        pytest.param("compare.run", ["--pretrained", "--demo", "--weights", "imagenet"], marks=pytest.mark.thorough),
    ],
)
def test_offline_holds_in_every_command_and_the_processes_it_starts(module, words, tmp_path, faults):
    """What Python audits is asked in every process: not one name is looked up, not one connection opened."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "home").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "SOCKETS": str(tmp_path / "sockets")}
    command = [sys.executable, "-m", module, *words, "--offline"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path / "home")
    assert done.returncode == 2, done.stderr
    faults.injected += 1
    faults.refusal(done.stderr)
    assert "--offline forbids its download" in done.stderr and not (tmp_path / "sockets").exists()
    assert list((tmp_path / "home").iterdir()) == []


# ---- the way to a server


def test_a_proxy_is_asked(small, from_mirrors, is_right, faulty, monkeypatch, faults, impatient):
    monkeypatch.setenv("http_proxy", faulty.url)
    assert is_right(from_mirrors("http://no.such.host.invalid/good/"))
    assert faulty.asked == [f"http://no.such.host.invalid/good/{FILE}.gz"]


def test_a_dead_proxy_is_named(from_mirrors, monkeypatch, faults, impatient):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    error = faults.meets(lambda: from_mirrors("http://no.such.host.invalid/good/"), right=lambda _: False)
    assert "ProxyError, the proxy refuses or is not there" in str(error)


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed")
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h"])
def test_a_socks_proxy_names_the_package_that_it_needs(from_mirrors, monkeypatch, faults, impatient, variable, scheme):
    monkeypatch.setenv(variable, f"{scheme}://me:secret@127.0.0.1:9")
    error = faults.meets(lambda: from_mirrors("http://no.such.host.invalid/good/"), right=lambda _: False)
    done, advice = str(error).split("what to do: ")
    assert "the proxy is one of SOCKS" in done and advice.startswith("install PySocks") and "secret" not in done


def test_a_socks_proxy_without_its_version_is_told_how_to_name_it():
    error = ValueError("Unable to determine SOCKS version from socks://me:secret@127.0.0.1:9")  # by urllib3
    assert "socks5h://" in download.reason(error) and "secret" not in download.reason(error)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine that nobody knows, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("certificate") / "here.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    key = path.with_suffix(".key")
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.fixture
def secure(certificate, faulty, monkeypatch):
    """The same server by https, which redirects to http what is asked for below /down/."""

    def down(connection, body, server):
        connection.sendall(
            faulty_server.answer(b"", status="302 Found", more=f"Location: {faulty.url}/good/{FILE}.gz\r\n")
        )

    monkeypatch.setitem(faulty_server.ANSWERS, "down", down)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with faulty_server.running(certificate) as server:
        server.files = faulty.files
        yield server


def test_certificates_are_checked_and_can_be_named(
    from_mirrors, is_right, folder, secure, certificate, monkeypatch, faults
):
    error = faults.meets(lambda: from_mirrors(f"{secure.url}/good/"), right=lambda _: False)
    assert "SSLError, its certificate is not trusted here" in str(error)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert is_right(from_mirrors(f"{secure.url}/good/"))
    (folder / f"{FILE}.gz").unlink()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    assert is_right(from_mirrors(f"{secure.url}/good/"))
    (folder / f"{FILE}.gz").unlink()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    error = faults.meets(lambda: from_mirrors(f"{secure.url}/good/"), right=lambda _: False)
    assert "/no/such/file" in str(error)


def test_https_is_not_left_by_a_redirect(from_mirrors, faulty, secure, certificate, monkeypatch, faults):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    error = faults.meets(lambda: from_mirrors(f"{secure.url}/down/"), right=lambda _: False)
    assert "redirects from https to http, which is not followed" in str(error)
    assert faulty.asked == []  # not one byte went over the open line


# ---- many processes, and their ends

ONE = """
import json, sys
from pathlib import Path
from compare.data import dataset, download, fashion_mnist
words = json.loads(sys.argv[1])
fashion_mnist.FILES = {name: tuple(value) for name, value in words["files"].items()}
fashion_mnist.MIRRORS = [words["mirror"]]
fashion_mnist._usual_folders = lambda: [download.cache_folder() / "fashion-mnist"]
from compare.system.command import run_command
def main():
    print(dataset.fingerprint(dataset.load("fashion-mnist").train_images))
    return 0
run_command(main)
"""


def start(faulty, answer="good", preexec_fn=None):
    """Load the data in a process of its own."""
    words = json.dumps({"files": fashion_mnist.FILES, "mirror": f"{faulty.url}/{answer}/"})
    return subprocess.Popen(
        [sys.executable, "-c", ONE, words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


@pytest.fixture
def fingerprint(small):
    import numpy as np

    return dataset.fingerprint(np.frombuffer(small[FILE], np.uint8, offset=16).reshape(-1, 28, 28))


@pytest.mark.parametrize("num_processes", [2, pytest.param(8, marks=pytest.mark.thorough)])
def test_processes_at_once_download_once(num_processes, folder, faulty, fingerprint, faults):
    shutil.rmtree(folder)
    faulty.seconds_before = 0.3
    processes = [start(faulty) for _ in range(num_processes)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        faults.injected += 1
        assert process.returncode == 0, err
        assert out.strip() == fingerprint
        faults.survived += 1
    assert sorted(faulty.asked) == sorted(f"/good/{name}" for name in faulty.files)
    assert left_in(folder) == sorted(faulty.files)


@needs_posix
@pytest.mark.parametrize("num_kills", [3, pytest.param(30, marks=pytest.mark.thorough)])
def test_killed_at_any_moment_it_is_begun_anew(num_kills, folder, faulty, fingerprint, faults, monkeypatch):
    """SIGKILL while the bytes come, at random: the next process has the right data, and what was left is swept away."""

    def slowly(connection, body, server):
        connection.sendall(faulty_server.answer(b"", length=len(body)))
        for number in range(0, len(body), 100):
            connection.sendall(body[number : number + 100])
            time.sleep(0.002)

    monkeypatch.setitem(faulty_server.ANSWERS, "slowly", slowly)
    chance = random.Random(0)
    for _ in range(num_kills):
        shutil.rmtree(folder)
        faulty.asked.clear()
        process = start(faulty, "slowly")
        while not faulty.asked:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in left_in(folder):
            if not path.startswith(".partial"):
                assert fashion_mnist._read_file(folder / path, path.removesuffix(".gz"))[1] is None
        monkeypatch.setattr(download, "STALE_SECONDS", -1)
        monkeypatch.setattr(fashion_mnist, "MIRRORS", [f"{faulty.url}/good/"])
        faults.meets(
            lambda: dataset.load("fashion-mnist"),
            right=lambda data: dataset.fingerprint(data.train_images) == fingerprint,
        )
        assert not [path for path in left_in(folder) if path.startswith(".partial")] or process.returncode == 0


def test_without_a_home_nothing_is_put_into_the_working_folder(from_mirrors, tmp_path, monkeypatch, faults):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download.platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache"))
    error = faults.meets(lambda: from_mirrors("good"), right=lambda _: False)
    assert "no home folder" in str(error) and not list(tmp_path.glob("~*"))


def test_what_a_living_download_writes_is_not_swept(tmp_path):
    young = tmp_path / ".partial-young"
    young.mkdir()
    (young / "file").write_bytes(b"")
    old = tmp_path / ".partial-old"
    old.mkdir()
    os.utime(old, (0, 0))
    download.sweep(tmp_path)
    assert young.exists() and not old.exists()


@needs_posix
def test_a_full_disk_is_named_and_leaves_nothing(folder, faulty, faults):
    """A process that may not write files over 3 kB stands for the full disk."""
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    with faults.leaving(folder):
        process = start(faulty, preexec_fn=limit)
        _, err = process.communicate(timeout=60)
    faults.injected += 1
    assert process.returncode == 2
    faults.refusal(err)
    assert "could not be written (File too large)" in err and len(left_in(folder)) == 3
