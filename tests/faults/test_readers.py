"""Everything that reads bytes, on bytes that somebody damaged or forged: a clear refusal or the right result, soon."""

import ast
import dataclasses
import functools
import gzip
import hashlib
import html.parser
import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
import tracemalloc
import types
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from data_forms import PARTS, write_form, zipped
from fake_runs import write_run, write_unfinished_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from systems import needs_posix

from compare import plan, plan_file, report
from compare.data import dataset, fashion_mnist, recognition
from compare.findings import metrics
from compare.findings.findings import find
from compare.page import answer, cautions, document, listing, report_files, verdict
from compare.page.shown import show
from compare.runs import checkpoint, out_folder, record, schema
from compare.system import disk
from compare.system.errors import UserError
from pretrained import weights, weights_file
from pretrained.backbones import BACKBONES

ROOT = Path(__file__).parent.parent.parent
NUM_PLACES = 50
RESNET50 = BACKBONES["ResNet50"]


def often(num_examples):
    """Ask hypothesis for that many cases, always the same ones."""
    return settings(
        max_examples=num_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


MANY = [pytest.param(100, id="quick"), pytest.param(3000, id="thorough", marks=pytest.mark.thorough)]


@st.composite
def mutations(draw, content: bytes):
    """The content with some bytes set, cut out, doubled or put in between."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([1, 1, 2, 4, 8, 100, len(content)]))
        change = draw(st.sampled_from(["set", "set", "cut", "double", "insert", "truncate"]))
        if change == "truncate":
            del content[place:]
        elif change == "cut":
            del content[place : place + length]
        elif change == "double":
            content[place:place] = content[place : place + length]
        else:
            new = draw(st.binary(min_size=1, max_size=8))
            content[place : place + (len(new) if change == "set" else 0)] = new
    return bytes(content)


def damages(content: bytes):
    """A truncation, a run of zeros and a flipped bit at every 1/50 of the length."""
    for number in range(NUM_PLACES):
        place, end = (len(content) * n // NUM_PLACES for n in (number, number + 1))
        yield content[:place]
        yield content[:place] + bytes(end - place) + content[end:]
        yield content[:place] + bytes([content[place] ^ 1 << number % 8]) + content[place + 1 :]


# ---- the data


@pytest.fixture
def data_folder(small, tmp_path):
    for name, content in small.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_data_damaged_anywhere(small, data_folder, faults, ending):
    whole = dataset.load("fashion-mnist", data_folder)
    for name, content in small.items():
        path = data_folder / f"{name}{ending}"
        (data_folder / name).unlink()
        good = gzip.compress(content, mtime=0) if ending else content
        for damaged in damages(good):
            path.write_bytes(damaged)
            faults.meets(
                lambda: dataset.load("fashion-mnist", data_folder),
                right=lambda data: all(
                    np.array_equal(getattr(data, part), getattr(whole, part))
                    for part in ("train_images", "train_labels", "test_images", "test_labels")
                ),
            )
            assert path.read_bytes() == damaged
        path.write_bytes(good)


@pytest.mark.parametrize("num_examples", MANY)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_data_mutated_at_random(small, data_folder, faults, ending, num_examples):
    name = "t10k-images-idx3-ubyte"
    good = gzip.compress(small[name], mtime=0) if ending else small[name]
    path = data_folder / f"mutated{ending}"

    @often(num_examples)
    @given(mutations(good))
    def check(content):
        path.write_bytes(content)
        read, problem = fashion_mnist._read_file(path, name)
        faults.injected += 1
        faults.refused += problem is not None
        faults.survived += problem is None
        assert problem is not None or read == small[name]

    check()


def test_data_that_unpacks_without_end(small, data_folder, faults):
    (data_folder / "train-labels-idx1-ubyte").unlink()
    path = data_folder / "train-labels-idx1-ubyte.gz"
    for content in (
        gzip.compress(bytes(1_000_000)),
        gzip.compress(b"") * 40,  # files in a row, all empty
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a name without an end" * 30,
        b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + bytes(900),
        bytes(5_000_000),
    ):
        path.write_bytes(content)
        assert faults.meets(lambda: dataset.load("fashion-mnist", data_folder), right=lambda _: False) is not None


BUILT = ["Keras' arrays", "Kaggle's pair", "a packed pair", "Kaggle's archive of text", "a data hub's tables"]


@pytest.mark.parametrize("form", BUILT)
def test_other_forms_of_the_data_damaged_anywhere(small, tmp_path, faults, form):
    if "hub" in form:
        pytest.importorskip("pyarrow")
    write_form(form, small, tmp_path / "data")
    whole = dataset.load("fashion-mnist", tmp_path / "data")
    path = max(tmp_path.glob("data/**/*"), key=lambda path: path.stat().st_size * path.is_file())
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        faults.meets(
            lambda: dataset.load("fashion-mnist", tmp_path / "data"),
            right=lambda data: all(np.array_equal(getattr(data, part), getattr(whole, part)) for part in PARTS),
        )
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("num_examples", MANY)
@pytest.mark.parametrize("form", BUILT)
def test_other_forms_of_the_data_mutated_at_random(small, tmp_path, faults, form, num_examples):
    if "hub" in form:
        pytest.importorskip("pyarrow")
    write_form(form, small, tmp_path / "data")
    path = min(tmp_path.glob("data/**/*.*"), key=lambda path: path.stat().st_size)

    @often(num_examples)
    @given(mutations(path.read_bytes()))
    def check(content):
        path.write_bytes(content)
        faults.meets(lambda: recognition.find(tmp_path, fashion_mnist.FILES), right=lambda found: found == small)

    check()


def dictionary_bomb() -> bytes:
    """A table with one large value that stands in every row."""
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    images = [{"bytes": bytes(1_000_000), "path": None}] * 500
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": [1] * 500}), file, compression="zstd")
    return file.getvalue()


def archives_in_archives(depth: int) -> bytes:
    content = zipped({"x": bytes(1000)})
    for _ in range(depth):
        content = zipped({str(number): content for number in range(10)})
    return content


BOMBS = {
    "mnist.gz": lambda: gzip.compress(bytes(40_000_000)),
    "mnist-of-nothing.gz": lambda: gzip.compress(b"") * 100_000,
    "mnist-name.gz": lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"a name without an end" * 100_000,
    "bomb.zip": lambda: zipped({f"{number}.idx3": b"\0\0\x08\x03" + bytes(9_999_999) for number in range(30)}),
    "nested.zip": lambda: archives_in_archives(5),
    "deep.zip": lambda: functools.reduce(lambda content, _: zipped({"x": content}), range(300), b""),
    "array.npy": lambda: (
        b"\x93NUMPY\1\0\x46\0{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"9" * 13 + b", ), }\n"
    ),
    "objects.npy": lambda: b"\x93NUMPY\1\0\x36\0{'descr': '|O', 'fortran_order': False, 'shape': (1, ), }",
    "sizes-idx3": lambda: b"\0\0\x08\x04" + b"\xff" * 16 + bytes(100),
    "nothing-idx3": lambda: b"\0\0\x08\x03" + bytes(12),
    "no-lines.csv": lambda: b"label" + b",pixel" * 784 + b"\n",
    "a-line.csv": lambda: b"label" + b",pixel" * 784 + b"\n" + b"1," * 4_000_000,
    "lines.csv": lambda: (b",".join([b"1"] * 785) + b"\n") * 3000,
    "table.parquet": dictionary_bomb,
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_unpack_without_end_or_say_so(small, tmp_path, faults, monkeypatch, name):
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(recognition, "MAX_FILE_BYTES", 10_000_000)
    monkeypatch.setattr(recognition, "MAX_TOTAL_BYTES", 100_000_000)
    monkeypatch.setattr(recognition, "MAX_NUM_ENTRIES", 1000)
    monkeypatch.setattr(recognition, "MAX_NUM_ROWS", 1000)
    (tmp_path / name).write_bytes(BOMBS[name]())
    tracemalloc.start()
    start = time.monotonic()
    assert faults.meets(lambda: dataset.load("fashion-mnist", tmp_path), right=lambda _: False)
    seconds, (_, num_bytes) = time.monotonic() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 20 and num_bytes < 200_000_000


@needs_posix
def test_the_search_for_data_has_an_end(small, tmp_path, faults, monkeypatch):
    """Pipes, devices, links that go round, folders without end and names that are none."""
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    os.mkfifo(tmp_path / "x.npz")
    (tmp_path / "zero-ubyte").symlink_to("/dev/zero")
    (tmp_path / "loop-ubyte").symlink_to("loop-ubyte")
    (tmp_path / "round").symlink_to(".", target_is_directory=True)
    (tmp_path / ".hidden").mkdir()
    for name in (b"ubyte-\x1b[31m\n", b"ubyte-\xff", b"ubyte" * 40):
        (tmp_path / os.fsdecode(name)).write_bytes(b"?")
    (tmp_path / "x.zip").write_bytes(zipped({"../../ubyte\x1b]0;": b"?"}))
    deep = tmp_path.joinpath(*"d" * 30)
    deep.mkdir(parents=True)
    for number in range(200):
        (tmp_path / f"many-{number}").mkdir()
    for name, content in small.items():
        (deep / name).write_bytes(content)
    error = faults.meets(lambda: dataset.load("fashion-mnist", tmp_path), right=lambda _: False)
    assert "lacks train-images-idx3-ubyte, train-labels" in str(error) and "\x1b" not in str(error)
    assert "and 1 more" not in str(error) and str(error).count("\n") < 15
    str(error).encode(errors="backslashreplace")
    for folder in (Path("/proc/self"), Path("/dev")):
        assert faults.meets(lambda folder=folder: dataset.load("fashion-mnist", folder), right=lambda _: False)
    for name, content in small.items():
        (tmp_path / "d" / name).write_bytes(content)
    assert faults.meets(lambda: dataset.load("fashion-mnist", tmp_path), right=lambda _: True) is None
    monkeypatch.setattr(recognition, "MAX_NUM_ENTRIES", 50)
    assert faults.meets(lambda: recognition.find(tmp_path, fashion_mnist.FILES), right=lambda _: False)


# ---- runs


@pytest.fixture(scope="module")
def good_run(tmp_path_factory):
    """A run of few images, with weights."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    content = safetensors.numpy.save({"weight": np.arange(100, dtype=np.float32)})
    return write_run(folder, num_test=50, robustness=0.5, seen=True, weights_file=content)


@pytest.fixture
def run_folder(good_run, tmp_path):
    return Path(shutil.copytree(good_run, tmp_path / "run"))


@pytest.mark.parametrize("name", [record.RECORD, record.PREDICTIONS, "model.safetensors"])
def test_runs_damaged_anywhere(run_folder, faults, name):
    whole = record.read_run(run_folder)

    def is_right(got):
        return (
            got.record.model_copy(update={"sha256": None}) == whole.record.model_copy(update={"sha256": None})
            and np.array_equal(got.test_probabilities, whole.test_probabilities)
            and np.array_equal(got.test_labels, whole.test_labels)
        )

    for damaged in damages((run_folder / name).read_bytes()):
        (run_folder / name).write_bytes(damaged)
        error = faults.meets(lambda: record.read_run(run_folder), right=is_right)
        assert error is None or name in str(error)
        assert error is not None or name == record.RECORD


def test_what_was_asked_for_damaged_anywhere(tmp_path, faults):
    """No comparison goes on with another seed, or more or fewer branches, than it was begun with."""
    trainings = [
        plan.Training("scratch_resnet-seed-1", "scratch_resnet", ("--recipe", "demo", "--seed", "1")),
        plan.Training("pretrained-seed-23", "pretrained", ("--epochs", "12", "--seed", "23")),
    ]
    asked = plan_file.as_json("n", trainings, {})
    rest = json.dumps(asked, sort_keys=True).encode()
    content = json.dumps(asked | {"sha256": hashlib.sha256(rest).hexdigest()}, indent=1).encode()
    path = tmp_path / out_folder.COMPARISON
    path.write_bytes(content)
    assert plan_file.read(tmp_path) == ("n", trainings, {})
    for damaged in damages(content):
        path.write_bytes(damaged)
        faults.meets(lambda: plan_file.read(tmp_path), right=lambda got: got == ("n", trainings, {}))


def test_numbers_of_reports_damaged_anywhere(run_folder, tmp_path, faults):
    """The list of reports has them as they were, or names the file."""
    folder = tmp_path / "reports" / "one"
    report.write_report(folder, [record.read_run(run_folder)], [], title="one", images="none")
    listed, content = (folder.parent / "index.html").read_bytes(), (folder / "report.json").read_bytes()
    for damaged in damages(content):
        (folder / "report.json").write_bytes(damaged)
        faults.injected += 1
        got = listing.write_listing(folder.parent).read_bytes()
        faults.survived += got == listed
        faults.refused += got != listed
        assert got == listed or (b"report.json cannot be read" in got and b"0.9000" not in got)


def test_unfinished_runs_damaged_anywhere(tmp_path, faults):
    """Cut, overwritten with zeros, or with a flipped bit."""
    folder = write_unfinished_run(tmp_path / "run")
    (path,) = checkpoint.found(folder)
    arrays, _ = checkpoint.read(folder, "pretrained")
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        faults.meets(
            lambda: checkpoint.read(folder, "pretrained")[0],
            right=lambda got: all(np.array_equal(got[name], array) for name, array in arrays.items()),
        )
        checkpoint.read_unfinished_run(folder)  # never fails
    for damaged in damages((folder / record.LOG).read_bytes()):
        (folder / record.LOG).write_bytes(damaged)
        faults.injected, faults.survived = faults.injected + 1, faults.survived + 1
        assert all(isinstance(line, str) for line in checkpoint.read_unfinished_run(folder).log_lines)
    (folder / record.LOG).write_bytes(b"\xff\x00" * 10_000_000)
    assert checkpoint.read_unfinished_run(folder).log_lines


@pytest.mark.parametrize("num_examples", MANY)
def test_predictions_forged_at_random(run_folder, faults, num_examples):
    """The record says the forged file's hash, so that the reader opens it."""
    good, said = (run_folder / record.PREDICTIONS).read_bytes(), json.loads((run_folder / record.RECORD).read_text())
    del said["sha256"]

    @often(num_examples)
    @given(mutations(good))
    def check(content):
        (run_folder / record.PREDICTIONS).write_bytes(content)
        said["files"] = {record.PREDICTIONS: hashlib.sha256(content).hexdigest()}
        (run_folder / record.RECORD).write_text(json.dumps(said))
        faults.meets(lambda: record.read_run(run_folder), right=lambda got: got.test_probabilities.shape == (50, 10))

    check()


@st.composite
def forged(draw, content):
    """A JSON value with some of its parts replaced or left out."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        place, parent, key = content, None, None
        while isinstance(place, (dict, list)) and place and (parent is None or draw(st.integers(0, 3))):
            parent = place
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            place = parent[key]
        if parent is None:
            break
        if draw(st.integers(0, 4)) == 0:
            del parent[key]
            continue
        parent[key] = draw(
            st.one_of(
                st.sampled_from([None, True, 0, -1, 1, 2**62, 2**70, 0.0, -0.5, 1e308, 1e-308, "", "x", [], {}, [[]]]),
                st.text(max_size=20),
                st.floats(),
                st.lists(st.none() | st.text(max_size=3) | st.integers(), max_size=3),
                st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3) | st.floats(), max_size=2),
            )
        )
    return content


@pytest.mark.parametrize("num_examples", MANY)
def test_records_forged_at_random(run_folder, faults, num_examples):
    """What the reader takes, the page and the tables can be made of."""
    good = json.loads((run_folder / record.RECORD).read_text())
    del good["sha256"]
    partner = write_run(run_folder.parent / "partner", branch="pretrained", num_test=50, robustness=0.5)
    partner = record.read_run(partner)

    def used():
        got = record.read_run(run_folder)
        for runs in ([got], [got, partner]):
            try:
                record.check_comparable(runs)
            except UserError:
                continue
            found = find(runs)
            shown = show(found)
            sentences = verdict.sentences(found, shown)
            content = document.content(found, shown, [], {"labels": [], "answer": []}, None)
            report_files.as_csv(shown)
            report_files.as_json(
                found,
                shown,
                title="",
                claim=answer.claim(found, shown),
                sentences=sentences,
                cautions=cautions.of(found, shown),
            )
            assert content and metrics.is_right(got).shape == (50,)
        return got

    @often(num_examples)
    @given(forged(good))
    def check(content):
        (run_folder / record.RECORD).write_text(json.dumps(content))
        faults.meets(used, right=lambda got: True)

    check()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # matplotlib's, of numbers without measure
def test_what_the_reader_takes_can_be_drawn(run_folder, tmp_path, faults):
    """As above, to the end: a whole report of each record that is taken, with numbers at the limits of their kinds."""
    good = json.loads((run_folder / record.RECORD).read_text())
    del good["sha256"]
    numbers = st.sampled_from([0, 1, 2**62, 0.0, 1e-308, 1e308, -1e308, 0.5])

    @often(40)
    @given(st.dictionaries(st.sampled_from(sorted(schema.Row.model_fields)), numbers, max_size=2))
    def check(changes):
        content = good | {"history": [*good["history"][:-1], good["history"][-1] | changes]}
        (run_folder / record.RECORD).write_text(json.dumps(content))
        faults.meets(
            lambda: report.write_report(
                tmp_path / "report", [record.read_run(run_folder)], [], title="", images="none"
            ).is_file(),
            right=bool,
        )

    check()


@pytest.mark.parametrize("num_examples", MANY)
def test_records_of_unfinished_runs_forged_at_random(tmp_path, faults, num_examples):
    folder = write_unfinished_run(tmp_path / "run")
    good = checkpoint.read_unfinished_run(folder).record.as_json()

    @often(num_examples)
    @given(forged(good))
    def check(content):
        checkpoint.write(folder, {"weight": np.zeros(3)}, types.SimpleNamespace(as_json=lambda: content))
        document.content(find([]), [], [checkpoint.read_unfinished_run(folder)], {"labels": [], "answer": []}, None)
        faults.meets(lambda: checkpoint.read(folder, "pretrained"), right=lambda got: type(got[1]) is schema.Record)

    check()


@pytest.mark.parametrize("num_examples", MANY)
def test_what_was_asked_for_and_reports_forged_at_random(run_folder, tmp_path, faults, num_examples):
    folder = tmp_path / "reports" / "one"
    report.write_report(folder, [record.read_run(run_folder)], [], title="", images="none")
    good = json.loads((folder / "report.json").read_text())
    begun_before = {"name": "n", "branches": {"scratch_resnet": {"--seed": "1"}, "pretrained": {"--device": "cpu"}}}
    asked = plan_file.upgraded(begun_before)

    @often(num_examples // 4)
    @given(forged(good), forged(asked) | forged(begun_before), mutations(json.dumps(asked).encode()))
    def check(content, comparison, damaged):
        (folder / "report.json").write_text(json.dumps(content))
        listing.write_listing(folder.parent)
        for written in (json.dumps(comparison).encode(), damaged):
            (folder / "comparison.json").write_bytes(written)
            faults.meets(
                lambda: plan_file.read(folder), right=lambda got: all(plan.is_branch(one.branch) for one in got[1])
            )

    check()


@needs_posix
def test_nothing_waits_for_a_pipe(run_folder, faults):
    import os

    for name in (record.RECORD, record.PREDICTIONS):
        (run_folder / name).unlink()
        os.mkfifo(run_folder / name)
        assert faults.meets(lambda: record.read_run(run_folder), right=lambda _: False) is not None
        (run_folder / name).unlink()
        write_run(run_folder.parent / name)
        shutil.copy(run_folder.parent / name / name, run_folder / name)


def test_predictions_that_unpack_without_end(run_folder, faults, monkeypatch):
    monkeypatch.setattr(disk, "MAX_UNPACKED_BYTES", 10_000_000)
    path, said = run_folder / record.PREDICTIONS, json.loads((run_folder / record.RECORD).read_text())
    del said["sha256"]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test_probabilities.npy", header.getvalue() + bytes(1000))
        archive.writestr("test_labels.npy", bytes(10))
    for content in (path.read_bytes(), bomb_of_zeros(path, "test_probabilities.npy", 11)):
        path.write_bytes(content)
        said["files"] = {record.PREDICTIONS: hashlib.sha256(content).hexdigest()}
        (run_folder / record.RECORD).write_text(json.dumps(said))
        error = faults.meets(lambda: record.read_run(run_folder), right=lambda _: False)
        assert error is not None
    assert "unpacks to 11,000,000 bytes" in str(error)


# ---- weights


def write_h5(path: Path) -> Path:
    """A small file like those that Keras writes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", data=np.linspace(0, 1, 200, dtype=np.float32).reshape(20, 10), compression="gzip")
        group.create_dataset("1", data=np.zeros(10, np.float32))
    return path


def write_keras(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", write_h5(path.with_suffix(".h5")).read_bytes())
    return path


INSPECT = """
import resource, sys
from pathlib import Path
from pretrained.weights_file import Unfit, read_layers
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
print("ready", flush=True)
for line in sys.stdin:
    try:
        read_layers(Path(line.rstrip("\\n")))
        print("found None", flush=True)
    except Unfit as problem:
        print(f"found {problem}", flush=True)
"""


class Inspector:
    """Calls `read_layers` in one process for many files, as `--weights` does in one for each."""

    num_crashes = 0

    def __init__(self):
        self.start()

    def start(self):
        command = [sys.executable, "-c", INSPECT]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def ask(self, path: Path) -> str | None:
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        ready, *_ = select.select([self.process.stdout], [], [], 60)
        answer = self.process.stdout.readline() if ready else ""
        if answer:
            return None if answer == "found None\n" else answer
        self.num_crashes += 1
        self.stop()
        self.start()
        return "crashed or stalled"


@pytest.fixture
def inspector():
    inspector = Inspector()
    yield inspector
    inspector.stop()


@needs_posix
@pytest.mark.parametrize("write", [write_h5, write_keras])
@pytest.mark.parametrize("num_examples", MANY)
def test_weights_damaged_and_mutated(tmp_path, faults, inspector, write, num_examples):
    ending = ".h5" if write is write_h5 else ".keras"
    good = write(tmp_path / f"good{ending}").read_bytes()
    path = tmp_path / f"bad{ending}"

    def inspect(content):
        path.write_bytes(content)
        faults.injected += 1
        found = inspector.ask(path)
        faults.refused += found is not None
        faults.survived += found is None

    assert inspector.ask(tmp_path / f"good{ending}") is None
    for content in damages(good):
        inspect(content)

    @often(num_examples)
    @given(mutations(good))
    def check(content):
        inspect(content)

    check()


def hostile_files(folder: Path):
    """Files that HDF5 and zip can express and that no network's weights need, and what is said of them."""
    secret = folder / "secret.bin"
    secret.write_bytes(bytes(4000))
    other = write_h5(folder / "other.h5")

    def h5(name, fill):
        path = write_h5(folder / f"{name}.h5")
        with h5py.File(path, "a") as file:
            fill(file, file["layers/dense/vars"])
        return path

    def soft(file, group):
        group["2"] = h5py.SoftLink("/layers/dense/vars/0")

    def external(file, group):
        group["2"] = h5py.ExternalLink(str(other), "/layers/dense/vars/0")

    def outside(file, group):
        group.create_dataset("2", shape=(1000,), dtype="f4", external=[(str(secret), 0, 4000)])

    def view(file, group):
        layout = h5py.VirtualLayout((20, 10), "f4")
        layout[:] = h5py.VirtualSource(str(other), "layers/dense/vars/0", shape=(20, 10))
        group.create_virtual_dataset("2", layout)

    def absurd(file, group):
        group.create_dataset("2", shape=(1 << 40,), dtype="f4", chunks=(1 << 20,))

    def bomb(file, group):
        group.create_dataset("2", shape=(400_000_000,), dtype="f4", chunks=(1 << 20,), compression="gzip")

    def many(file, group):
        for name in range(20_000):
            file.create_group(str(name))

    def texts(file, group):
        group.create_dataset("2", data=["a", "b"])

    def endless(file, group):
        group["again"] = file["layers"]

    def nan(file, group):
        group["1"][3] = np.nan

    yield h5("soft", soft), "is a link"
    yield h5("external", external), "is a link"
    yield h5("outside", outside), "keeps its numbers elsewhere"
    yield h5("view", view), "keeps its numbers elsewhere"
    yield h5("absurd", absurd), "holds more than 1,500,000,000 bytes"
    yield h5("bomb", bomb), "holds more than 1,500,000,000 bytes"
    yield h5("texts", texts), "holds no numbers"
    yield h5("endless", endless), "more than 50 groups lie in each other"
    yield h5("many", many), "holds more than 20,000 items"
    yield h5("nan", nan), "not finite"

    path = folder / "without.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    yield path, "holds no model.weights.h5"


def bomb_of_zeros(path: Path, member: str, num_megabytes: int) -> bytes:
    """A zip archive with a member of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as file:
        for _ in range(num_megabytes):
            file.write(bytes(1_000_000))
    return path.read_bytes()


@needs_posix
@pytest.mark.thorough
def test_an_archive_of_weights_that_unpacks_without_end(tmp_path, faults, inspector):
    bomb_of_zeros(tmp_path / "bomb.keras", weights_file.MEMBER, 1600)
    faults.injected += 1
    assert "unpacks to more than 1,500,000,000 bytes" in inspector.ask(tmp_path / "bomb.keras")
    faults.refused += 1


@needs_posix
def test_hostile_weights_are_refused(tmp_path, faults, inspector):
    for path, words in hostile_files(tmp_path):
        faults.injected += 1
        assert words in (inspector.ask(path) or ""), path.name
        faults.refused += 1
    assert inspector.num_crashes == 0


@needs_posix
def test_a_process_that_dies_of_a_file_is_a_refusal(tmp_path, faults, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = write_h5(tmp_path / "own.h5")
    monkeypatch.setattr(weights, "INSPECTION_SECONDS", 0.01)
    error = faults.meets(lambda: weights.find(str(path), RESNET50), right=lambda _: False)
    assert "takes more than 0.01 s to read" in str(error)
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(weights.sys, "executable", "/bin/false")
    error = faults.meets(lambda: weights.find(str(path), RESNET50), right=lambda _: False)
    assert "cannot be read: exit code 1" in str(error)


def other_files():
    """How files of other kinds begin that come as weights, and what is said of them."""
    import pickle

    import torch

    class Bad:
        def __reduce__(self):
            return (Path.touch, (Path("ran"),))

    def archive(**members: bytes) -> bytes:
        with zipfile.ZipFile(content := io.BytesIO(), "w") as file:
            for name, member in members.items():
                file.writestr(name, member)
        return content.getvalue()

    def saved(zipped: bool) -> bytes:
        torch.save({"conv1.weight": torch.zeros(3)}, content := io.BytesIO(), _use_new_zipfile_serialization=zipped)
        return content.getvalue()

    np.save(array := io.BytesIO(), np.zeros(3))
    np.savez(arrays := io.BytesIO(), a=np.zeros(3))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 94765736\n"
    yield pickle.dumps(Bad()), "a pickle"
    yield saved(zipped=False), "a pickle"
    yield saved(zipped=True), "PyTorch's: it could run any code, and is never opened"
    yield safetensors.numpy.save({"conv1.weight": np.zeros(3)}), "safetensors"
    yield pointer, "a pointer of Git LFS"
    yield b"\n<!DOCTYPE html>\n<title>Sign in</title>", "a web page"
    yield b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a server's error"
    yield b'{"class_name": "Functional"}', "JSON, a text"
    yield gzip.compress(b"weights"), "packed by gzip"
    yield array.getvalue(), "a single array of NumPy's"
    yield arrays.getvalue(), "a zip archive that holds no model.weights.h5"
    yield archive(**{"resnet/resnet50.h5": b"weights"}), "a zip archive that holds no model.weights.h5"
    yield b"", "it is empty"
    yield b"some text", "neither HDF5 nor an archive of Keras', by its first bytes"


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.h5", "a.H5", "a.keras", "a"])
def test_no_other_kind_of_file_is_opened_and_each_is_called_by_its_name(tmp_path, faults, monkeypatch, name):
    monkeypatch.setattr(weights, "_inspect_elsewhere", inspect_here)
    monkeypatch.chdir(tmp_path)
    for content, words in other_files():
        Path(name).write_bytes(content)
        error = faults.meets(lambda: weights.find(name, RESNET50), right=lambda _: False)
        assert f"--weights {name}: " in str(error) and words in str(error)
        assert not Path("ran").exists()


def inspect_here(path: Path) -> dict:
    """What `weights_file` says in a process of its own, said in this one."""
    return weights_file.inspect(path)


@needs_posix
def test_places_that_are_no_file_are_told_apart(tmp_path, faults, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, file, words in (
        ("saved", "saved_model.pb", "TensorFlow's SavedModel"),
        ("checkpoints", "checkpoint", "TensorFlow's checkpoint"),
        ("scratch", "model.safetensors", "a run or network of PyTorch"),
        ("unpacked", "model.weights.h5", "an unpacked .keras archive: name the model.weights.h5 in it"),
        ("empty", ".keep", "a folder: name the file in it"),
    ):
        Path(folder).mkdir()
        Path(folder, file).write_bytes(b"")
        assert words in str(faults.meets(lambda folder=folder: weights.find(folder, RESNET50), right=lambda _: False))
    Path("model.ckpt.index").write_bytes(b"")
    for name, words in (
        ("model.ckpt", "TensorFlow's checkpoint"),
        ("https://a.example/b.h5", "--weights https://a.example/b.h5: an address, not a file"),
        ("file:///b.h5", "an address"),
        ("none.h5", "there is no such file"),
        ("n" * 300, "cannot be read (File name too long)"),
    ):
        assert words in str(faults.meets(lambda name=name: weights.find(name, RESNET50), right=lambda _: False))
    os.mkfifo("pipe.h5")
    assert "a pipe" in str(faults.meets(lambda: weights.find("pipe.h5", RESNET50), right=lambda _: False))


@pytest.mark.parametrize("write", [write_h5, write_keras])
def test_weights_cut_short_are_called_so(tmp_path, faults, monkeypatch, write):
    monkeypatch.chdir(ROOT)
    path = write(tmp_path / "own")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    error = faults.meets(lambda: weights.find(str(path), RESNET50), right=lambda _: False)
    words = f"it is cut short: {len(whole) // 2:,} of {len(whole):,} bytes are there"
    assert (words if write is write_h5 else "an archive that is cut short or damaged") in str(error)


def test_imagenet_weights_damaged_anywhere_are_not_used(tmp_path, faults, monkeypatch):
    good = write_h5(tmp_path / "good.h5").read_bytes()
    path = tmp_path / RESNET50.file_name
    backbone = dataclasses.replace(RESNET50, digest=hashlib.md5(good).hexdigest())
    monkeypatch.setattr(weights, "_usual_paths", lambda _: [path])
    fetched = write_h5(tmp_path / "fetched.h5")
    monkeypatch.setattr(weights, "_fetch", lambda _: fetched)
    path.write_bytes(good)
    assert weights.find("imagenet", backbone).path == path
    for damaged in damages(good):
        path.write_bytes(damaged)
        faults.injected += 1
        assert weights.find("imagenet", backbone).path == (path if damaged == good else fetched)
        faults.refused += 1
        assert path.read_bytes() == damaged


def test_weights_that_change_after_they_were_verified_are_refused(tmp_path, faults):
    path = write_h5(tmp_path / "own.h5")
    found = weights.Weights("file", *weights._with_sha256(path))
    weights.check_unchanged(found)
    path.write_bytes(path.read_bytes() + b"more")
    assert faults.meets(lambda: weights.check_unchanged(found), right=lambda _: False) is not None


# ---- names, and what is never done


class Elements(html.parser.HTMLParser):
    """Counts the elements of a page with the names of their attributes. Of what a picture is drawn with, it is only
    asked whether it is there: longer names leave room for fewer ticks."""

    def __init__(self):
        super().__init__()
        self.counts, self.drawn = Counter(), set()

    def handle_starttag(self, tag, attributes):
        element = (tag, *sorted(name for name, _ in attributes))
        if tag in ("g", "use", "path", "defs", "text", "tspan"):
            self.drawn.add(element)
        else:
            self.counts[element] += 1


def elements_of(path: Path) -> tuple[Counter, set]:
    parser = Elements()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.counts, parser.drawn


HOSTILE = (
    "</script></style></title><script>alert(N)</script><img src=x onerror=alert(N)>",
    "\" onmouseover='alert(N)' x=\"",
    "../../N/evil",
    "{{ N }} {% raw %} $\\frac{N $ %s {0} &lt;b&gt;",
)


@pytest.mark.thorough  # tests/test_report.py has a quick one
@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_records_are_text_on_the_page(tmp_path, faults, name):
    """Whatever they say, the page has the same elements with the same attributes, and nothing lies outside."""

    def write(folder, name):
        """A report of a run, another and one that failed, in all of whose texts `name` makes a number of words."""
        folder.mkdir()
        words = iter(name.replace("N", str(number)) for number in range(100))
        first = write_run(folder / "runs" / "first", recipe=next(words), num_test=50)
        said = json.loads((first / record.RECORD).read_text()) | {"branch": next(words)}
        class_names = [next(words)[-28:] for _ in range(10)]  # longer ones leave the matrices no room
        said["data"]["class_names"] = class_names
        said["recipe"]["known_mistakes"] = [next(words)]
        said["device"] = {"kind": next(words), "name": next(words)}
        said["versions"] = {"python": next(words), next(words): next(words)}
        said["overrides"] = {next(words): next(words)}
        said |= {"commit": next(words), "started": next(words), "command": next(words), "precision": next(words)}
        said["model"]["name"], said["weights"]["kind"] = next(words), next(words)
        del said["sha256"]  # which finds accidents, not forgery
        (first / record.RECORD).write_text(json.dumps(said))
        second = write_run(folder / "runs" / "second", branch="pretrained", num_test=50)
        said = json.loads((second / record.RECORD).read_text())
        said["data"]["class_names"] = class_names  # of others nothing would be compared
        del said["sha256"]
        (second / record.RECORD).write_text(json.dumps(said))
        failed = write_unfinished_run(folder / "runs" / "failed", branch=next(words), log=f"{next(words)}\n")
        runs = [record.read_run(first), record.read_run(second)]
        made = report.write_report(folder / "report", runs, [checkpoint.read_unfinished_run(failed)], title=next(words))
        listing.write_listing(folder)
        return elements_of(made), elements_of(folder / "index.html")

    plain = write(tmp_path / "plain", re.sub(r"[^\w ]", "x", name))  # as long: what is cut short tells the whole name
    before = set(tmp_path.rglob("*"))
    faults.injected += 1
    assert write(tmp_path / "hostile", name) == plain
    assert all(path.is_relative_to(tmp_path / "hostile") for path in set(tmp_path.rglob("*")) - before)
    faults.survived += 1


def test_nothing_unpickles_or_runs_what_it_reads():
    forbidden = {"pickle", "dill", "marshal", "shelve", "exec", "load_model", "from_config"}
    for package in ("compare", "scratch_resnet", "pretrained"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)}
                names |= {alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)}
                # an export reads again what it has just written
                allowed = {"load_model"} if path.parent.name == "pretrained" and path.name == "export.py" else set()
                assert not names & forbidden - allowed, f"{path.name}: {names & forbidden}"
                if getattr(getattr(node, "value", None), "id", None) == "joblib":  # it unpickles, and it counts
                    assert node.attr == "cpu_count"
                assert not isinstance(node, ast.ImportFrom) or node.module != "joblib"
                assert getattr(node, "id", None) != "eval", path.name
                if ast.unparse(node) == "torch.load":  # of a package's file, whose hash was right before
                    assert path.name == "packaged_weights.py"
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in ast.unparse(node)
                if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                    assert node.value.value is False, path.name
