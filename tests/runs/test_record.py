"""The run on disk: complete or absent, read back as written, refused where it does not belong together."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import filelock
import numpy as np
import pytest
from fake_runs import write_run, write_unfinished_run
from systems import needs_posix

from compare.runs import checkpoint, out_folder, record, schema
from compare.system import disk
from compare.system.errors import UserError


def change(folder, **fields):
    """Put other fields into the record, as a program would that hashes it anew."""
    path = folder / record.RECORD
    changed = json.loads(path.read_text()) | fields
    changed = {name: value for name, value in changed.items() if value is not None}
    path.write_text(json.dumps(changed | {"sha256": disk.own_sha256(changed)}))


def keep(folder, content):
    """A checkpoint with any record."""
    checkpoint.write(folder, {}, types.SimpleNamespace(as_json=lambda: content))


def reorder(folder, rows):
    """Put these rows of the history in its place."""
    history = json.loads((folder / record.RECORD).read_text())["history"]
    change(folder, history=[history[row] for row in rows])


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = record.read_run(write_run(tmp_path / "run", accuracy=0.9, num_test=200, num_epochs=3))
    assert run.test_probabilities.shape == (200, 10) and run.test_probabilities.dtype == np.float32
    assert (run.test_probabilities.argmax(axis=1) == run.test_labels).mean() == pytest.approx(0.9)
    assert [row.epoch for row in run.record.history] == [1, 2, 3]
    assert not list(run.folder.glob(".partial*")) and not checkpoint.found(run.folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / record.RECORD).unlink(), "holds no record.json"),
        (lambda folder: (folder / record.RECORD).write_text("{"), "cannot be read"),
        (lambda folder: (folder / record.RECORD).write_text("[]"), "not a JSON object"),
        (lambda folder: change(folder, format=99), "format 99"),
        (lambda folder: change(folder, seed="0"), "seed is '0'"),
        (lambda folder: change(folder, model={}), "model.name is missing"),
        (lambda folder: change(folder, history=[{"epoch": "1"}]), "history.0.epoch is '1'"),
        (lambda folder: change(folder, history=[]), "the history has 0 epochs, and 3 were planned"),
        (lambda folder: reorder(folder, [0, 1]), "the history has 2 epochs, and 3 were planned"),
        (lambda folder: reorder(folder, [0, 1, 1]), r"epochs \[1, 2, 2\], not 1, 2, … in order"),
        (lambda folder: reorder(folder, [0, 2, 1]), r"epochs \[1, 3, 2\], not 1, 2, … in order"),
        (lambda folder: reorder(folder, [1, 2]), r"epochs \[2, 3\], not 1, 2, … in order"),
        (lambda folder: (folder / record.PREDICTIONS).unlink(), "predictions.npz cannot be read"),
        (lambda folder: (folder / record.PREDICTIONS).write_bytes(b"PK\x03\x04 no"), "other bytes than the run wrote"),
        (lambda folder: change(folder, seed=True), "seed is 'True'"),
        (lambda folder: change(folder, branch="x" * 300), "branch is 'xxx"),
        (lambda folder: (folder / record.RECORD).write_text("[" * 100_000), "nested too deeply"),
        (lambda folder: (folder / record.RECORD).write_text('{"a": NaN}'), "NaN is not a finite number"),
        (lambda folder: (folder / record.RECORD).write_text('{"a": "\\u0007"}'), "control characters"),
        (lambda folder: (folder / record.RECORD).write_text('{"a": "\\ud800"}'), "surrogates not allowed"),
    ],
)
def test_what_is_not_a_run_is_refused_by_name(tmp_path, damage, words):
    folder = write_run(tmp_path / "run")
    damage(folder)
    with pytest.raises(UserError, match=words):
        record.read_run(folder)


def test_a_newer_record_asks_for_a_newer_version(tmp_path):
    """Whatever else is other in it; an older one, or none, is a matter of the run."""
    for number, advice in ((schema.FORMAT + 1, "a newer version of this project"), (0, "train the run anew")):
        folder = write_run(tmp_path / str(number))
        change(folder, format=number, recipe="of another kind")
        with pytest.raises(UserError, match=f"format {number}") as refused:
            record.read_run(folder)
        assert advice in str(refused.value)
    keep(tmp_path, {"format": schema.FORMAT + 1, "branch": "scratch_resnet", "recipe": "of another kind"})
    with pytest.raises(UserError, match="format 3") as refused:
        checkpoint.read(tmp_path, "scratch_resnet")
    assert "the version that began it" in str(refused.value)


def test_a_checkpoint_with_epochs_twice_is_refused(tmp_path):
    folder = write_unfinished_run(tmp_path / "run", num_finished=2)
    arrays, so_far = checkpoint.read(folder, "pretrained")
    so_far.history[1] = so_far.history[0]
    checkpoint.write(folder, arrays, so_far)
    with pytest.raises(UserError, match=r"the history has epochs \[1, 1\]"):
        checkpoint.read(folder, "pretrained")
    assert checkpoint.read_unfinished_run(folder).record is None


def test_the_committed_runs_are_read():
    runs = sorted((Path(__file__).parents[2] / "reports" / "article" / "runs").iterdir())
    assert len(runs) == 3 and all(record.read_run(run).record.history for run in runs)


def test_predictions_of_another_run_are_refused(tmp_path):
    first, second = write_run(tmp_path / "first"), write_run(tmp_path / "second", seed=1)
    (second / record.PREDICTIONS).write_bytes((first / record.PREDICTIONS).read_bytes())
    with pytest.raises(UserError, match="other bytes than the run wrote"):
        record.read_run(second)


def test_a_record_has_the_hashes_of_all_files_and_its_own(tmp_path):
    folder = write_run(tmp_path / "run", weights_file=b"weights")
    content = json.loads((folder / record.RECORD).read_text())
    for name in (record.PREDICTIONS, "model.safetensors"):
        assert content["files"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    own = content.pop("sha256")
    assert own == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "model.safetensors").write_bytes(b"waights")
    with pytest.raises(UserError, match="model.safetensors holds other bytes than the run wrote"):
        record.read_run(folder)
    (folder / "model.safetensors").unlink()  # it is large, and no report needs it
    assert record.read_run(folder)
    path = folder / record.RECORD
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="record.json: other content than the run wrote"):
        record.read_run(folder)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (np.full((200, 9), 1 / 9, np.float32), r"float32 \(200, 9\), not float32 \(200, 10\)"),
        (np.full((200, 10), 0.2, np.float32), "not probabilities"),
        (np.full((200, 10), np.nan, np.float32), "not probabilities"),
    ],
)
def test_predictions_that_are_none_are_refused(tmp_path, probabilities, words):
    run = record.read_run(write_run(tmp_path / "run", num_test=200))
    record.finish_run(run.folder, run.record, {"test_probabilities": probabilities, "test_labels": run.test_labels})
    with pytest.raises(UserError, match=words):
        record.read_run(run.folder)


def test_validation_predictions_are_read_as_they_were_written(tmp_path):
    run = record.read_run(write_run(tmp_path / "held-out", watched="validation"))
    assert run.validation_probabilities.shape == (4, 10) and run.validation_labels.tolist() == [6, 7, 8, 9]
    without = record.read_run(write_run(tmp_path / "not"))
    assert without.validation_probabilities is None and without.validation_labels is None


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (np.full((3, 10), 0.1), np.zeros(3, np.uint8), r"float32 \(3, 10\), not float32 \(4, 10\)"),
        (np.full((4, 10), 0.2), np.zeros(4, np.uint8), "not probabilities"),
        (np.full((4, 10), 0.1), np.full(4, 10, np.uint8), "validation labels that are not 4 numbers below 10"),
        (np.full((4, 10), 0.1), np.zeros(5, np.uint8), "validation labels that are not 4 numbers below 10"),
    ],
)
def test_validation_predictions_that_are_none_are_refused(tmp_path, probabilities, labels, words):
    run = record.read_run(write_run(tmp_path / "run", watched="validation"))
    arrays = {"validation_probabilities": probabilities.astype(np.float32), "validation_labels": labels}
    with pytest.raises(UserError, match=words):
        record.read_run(rewritten(run.folder, {}, **arrays))
    with pytest.raises(UserError, match="without the other"):
        record.read_run(rewritten(write_run(tmp_path / "half"), {}, validation_labels=labels))


def rewritten(folder, changed: dict, **arrays):
    """The run in `folder` with other fields of the record and other arrays beside the predictions, hashed as its own;
    None takes one away."""
    run = record.read_run(folder)
    names = ("test_probabilities", "test_labels", *schema.ROBUSTNESS, *schema.SEEN, *schema.HELD_OUT)
    arrays = {name: getattr(run, name) for name in names} | arrays
    record.finish_run(folder, run.record, {name: array for name, array in arrays.items() if array is not None})
    change(folder, **changed)
    return folder


def test_corrupted_images_and_what_was_seen_are_read_as_written(tmp_path):
    old = record.read_run(write_run(tmp_path / "old"))
    assert old.robustness_rows is None and old.seen_test is None
    run = record.read_run(write_run(tmp_path / "run", num_test=200, robustness=0.5, seen=True))
    assert run.robustness_predicted.shape == (6, 5, 200) and run.robustness_rows.tolist() == list(range(200))
    assert run.seen_test.shape == run.seen_training.shape == (5, 8, 8) and run.seen_test.dtype == np.uint8
    again = record.read_run(rewritten(tmp_path / "run", {}))
    assert np.array_equal(again.robustness_predicted, run.robustness_predicted)
    assert record.same_corruptions(run, again) and not record.same_corruptions(run, old)
    for name, other in (("fingerprint", "another"), ("strengths", {"shift": [1, 2, 3, 4, 5]}), ("num_images", 3)):
        robustness = run.record.robustness.model_copy(update={name: other})
        changed = run.record.model_copy(update={"robustness": robustness})
        assert not record.same_corruptions(run, dataclasses.replace(run, record=changed))


ROWS, COPIES = np.arange(200), np.zeros((6, 5, 200), np.uint8)
IMAGES = np.zeros((5, 8, 8), np.uint8)
KEPT = {"strengths": {kind: [1, 2, 3, 4, 5] for kind in "abcdef"}, "num_images": 200, "fingerprint": "f"}
RANGE = {"channels": "grey", "lowest": [0.0], "highest": [1.0]}


@pytest.mark.parametrize(
    ("changed", "arrays", "words"),
    [
        ({}, {"robustness_predicted": None}, "do not agree on whether corrupted images"),
        ({}, {"robustness_rows": None, "robustness_predicted": None}, "do not agree on whether corrupted images"),
        ({"robustness": None}, {}, "do not agree on whether corrupted images"),
        ({"robustness": []}, {}, r"robustness is '\[\]'"),
        ({"robustness": {"num_images": 200}}, {}, "robustness.strengths is missing"),
        ({"robustness": KEPT | {"strengths": {}}}, {}, "robustness.strengths is '{}'"),
        ({"robustness": KEPT | {"strengths": {"a": [1, 2], "b": [1]}}}, {}, "uneven strengths"),
        ({"robustness": KEPT | {"strengths": {"a": ["1"]}}}, {}, r"robustness.strengths.a.0.* is '1'"),
        ({"robustness": KEPT | {"num_images": 100}}, {}, r"int64 \(200,\) of corrupted images, not int64 \(100,\)"),
        ({}, {"robustness_rows": ROWS.astype(np.int32)}, "int32"),
        ({}, {"robustness_rows": ROWS[::-1]}, "not ascending rows"),
        ({}, {"robustness_rows": ROWS + 1}, "not ascending rows"),
        (
            {},
            {"robustness_predicted": COPIES[:, :4]},
            r"\(6, 4, 200\) of corrupted images, not unsigned numbers \(6, 5, 200\)",
        ),
        ({}, {"robustness_predicted": COPIES.astype(np.int8)}, "int8"),
        ({}, {"robustness_predicted": COPIES + np.uint8(10)}, "classes of corrupted images that there are not"),
        ({}, {"seen_test": None}, "do not agree on whether images are there"),
        ({"seen": None}, {}, "do not agree on whether images are there"),
        ({"seen": RANGE | {"lowest": 0}}, {}, "seen.lowest is '0'"),
        ({"seen": RANGE | {"lowest": [0, 0]}}, {}, "as many lowest as highest"),
        ({"seen": RANGE | {"lowest": ["low"]}}, {}, "seen.lowest.0 is 'low'"),
        ({}, {"seen_test": IMAGES.astype(float)}, "float64"),
        ({}, {"seen_test": IMAGES[:, :4]}, r"\(5, 4, 8\)"),
        ({}, {"seen_training": IMAGES[:, :4, :4]}, r"\(5, 4, 4\) of images as they entered the network"),
        ({}, {"seen_training": IMAGES[:0]}, r"\(0, 8, 8\)"),
    ],
)
def test_corrupted_images_that_do_not_belong_are_refused_in_three_parts(tmp_path, changed, arrays, words):
    folder = write_run(tmp_path / "run", num_test=200, robustness=0.5, seen=True)
    with pytest.raises(UserError, match=words) as caught:
        record.read_run(rewritten(folder, changed, **arrays))
    assert "\n  expected: " in str(caught.value) and "\n  what to do: " in str(caught.value)


def test_nothing_is_unpickled(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / record.PREDICTIONS
    np.savez(path, test_probabilities=np.array([object()]), test_labels=np.zeros(1))
    change(folder, files={record.PREDICTIONS: hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(UserError, match="allow_pickle=False"):
        record.read_run(folder)


def test_only_the_same_data_is_compared(tmp_path):
    runs = [record.read_run(write_run(tmp_path / name, seed=seed)) for seed, name in enumerate(("first", "second"))]
    record.check_comparable(runs)
    for field, words in record.MUST_MATCH.items():
        other = ["something", "else"] if field == "class_names" else "something else"
        runs[1].record.data = runs[0].record.data.model_copy(update={field: other})
        with pytest.raises(UserError, match=f"first and .*second differ in their {words}"):
            record.check_comparable(runs)


# ---- writing


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3).T,
        "number": np.array(3, np.int64),
        "none": np.zeros((0, 2), np.float32),
    }
    so_far = record.read_run(write_run(tmp_path / "whole", num_epochs=1, recipe="é")).record
    checkpoint.write(tmp_path, arrays, so_far)
    got, got_record = checkpoint.read(tmp_path, "scratch_resnet")
    assert got_record == so_far
    for name, array in arrays.items():
        assert np.array_equal(got[name], array) and got[name].shape == array.shape and got[name].dtype == array.dtype
    with pytest.raises(UserError, match="of branch 'scratch_resnet'"):
        checkpoint.read(tmp_path, "pretrained")
    assert checkpoint.read_unfinished_run(tmp_path).record == so_far

    (path,) = checkpoint.found(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(tmp_path, "scratch_resnet")
    path.unlink()
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.read(tmp_path, "scratch_resnet")
    assert checkpoint.read_unfinished_run(tmp_path).record is None


def test_two_checkpoints_are_kept_and_a_damaged_one_makes_no_room(tmp_path):
    so_far = record.read_run(write_run(tmp_path / "of another", branch="pretrained")).record
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()

    def write(number):
        checkpoint.write(tmp_path, {"number": np.array(number)}, so_far)

    def read():
        return int(checkpoint.read(tmp_path, "pretrained")[0]["number"])

    for number in range(1, 12):  # 10 is after 9
        write(number)
        assert read() == number and len(list(tmp_path.iterdir())) == min(number, 2)
    newest, before = checkpoint.found(tmp_path)
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert read() == 10 and checkpoint.read_unfinished_run(tmp_path).record == so_far
    assert checkpoint.set_damaged_aside(tmp_path) == [newest.name] and checkpoint.set_damaged_aside(tmp_path) == []
    write(12)
    assert read() == 12 and checkpoint.found(tmp_path)[1] == before
    for path in checkpoint.found(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=f"{before.name} in .*: damaged") as refused:
        read()
    assert "start the run anew" in str(refused.value)


@needs_posix
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    """A process that may not write files over 10 kB stands for the full disk."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    code = (
        "import pathlib, resource, signal\n"
        "from compare.system import disk\n"
        "from compare.system.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"try: disk.write_atomically(pathlib.Path({str(path)!r}), bytes(100_000))\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd())
    assert "file could not be written: File too large" in done.stdout, done.stderr
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_folders_that_cannot_take_a_run_are_refused_untouched(tmp_path):
    new = tmp_path / "new" / "run"
    out_folder.check(new, 1000)
    assert not new.parent.exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("")
    (tmp_path / "cut").mkdir()
    keep(tmp_path / "cut", {})
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / record.LOG).write_text("ended before its first checkpoint")
    (tmp_path / "log" / ".partial-7-checkpoint-1-0123456789abcdef.safetensors").write_bytes(b"half of the first")
    out_folder.check(tmp_path / "log", 1000)
    for place, words in [
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "is a file|cannot be written"),
        (tmp_path / "notes", "holds other files"),
        (write_run(tmp_path / "done"), "holds a finished run already"),
        (tmp_path / "cut", "holds an unfinished run"),
    ]:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match=words):
            out_folder.check(place, 1000)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UserError, match=r"at least 1,000,000,000 MB"):
        out_folder.check(new, 10**15)


def test_a_folder_is_claimed_by_one(tmp_path):
    with out_folder.claim(tmp_path / "run"):
        with pytest.raises(UserError, match="written by another process"), out_folder.claim(tmp_path / "run"):
            pass
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(tmp_path / "run" / out_folder.LOCK).acquire(blocking=False)
    with pytest.raises(KeyError), out_folder.claim(tmp_path / "run"):
        raise KeyError
    assert list((tmp_path / "run").iterdir()) == []
