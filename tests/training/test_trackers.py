"""Trackers. Truth: each tool's own reader of what it keeps, in a process of its own, as the tools bring much along.

These tests need the extras `tensorboard`, `mlflow` and `wandb`, and are skipped where they are not installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import write_run, write_unfinished_run

from compare.runs import checkpoint, record
from compare.runs.schema import Row
from compare.system.errors import UserError
from compare.training import trackers
from compare.training.options import TRACKERS
from scratch_resnet import train

HERE = Path(__file__).parent
NEEDS = {name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}") for name in TRACKERS}
# A training of four epochs, killed after the second, resumed, interrupted after the third, and resumed to its end.
SENT = """
import json, sys
from pathlib import Path
from compare.runs import schema
from compare.training.trackers import Tracker, send_page
name, folder, *parts = sys.argv[1:]
content = json.loads(Path(folder, "content.json").read_text())
rows = [schema.Row(**row) for row in content.pop("history")]
del content["sha256"]
for part in parts:
    first, last, how = part.split(",")
    tracker = Tracker(name)
    record = schema.parse(content | {"history": [row.model_dump() for row in rows[: int(first)]]})
    tracker.begin(Path(folder), record, lambda said: sys.exit(said))
    for row in rows[int(first) : int(last)]:
        tracker.row(row)
    if how != "killed":
        tracker.end({"accuracy": 0.75} if how == "complete" else None)
send_page(name, Path(folder), "a comparison", sys.exit)
"""
READERS = {
    "tensorboard": """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
read = EventAccumulator(sys.argv[1] + "/tensorboard").Reload()
found = {tag: [(one.step, one.value) for one in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
(settings,) = read.Tensors("settings")
settings = settings.tensor_proto.string_val[0].decode()
told = {"curves": found, "settings": settings, "status": None, "files": []}
""",
    "mlflow": """
import mlflow
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("scratch-or-pretrained").experiment_id
runs = client.search_runs([experiment])
(run,) = [one for one in runs if one.data.params]
(page,) = [one for one in runs if not one.data.params]
found = {
    name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
    for name in run.data.metrics
}
files = sorted(one.path for one in client.list_artifacts(page.info.run_id))
told = {"curves": found, "settings": json.dumps(run.data.params), "status": run.info.status, "files": files}
""",
}


def ours(code: str, *words, **environment) -> subprocess.CompletedProcess:
    """Run Python with this project on its path."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A run's folder, with a report's page, and in a file of its own what the run's record says."""
    folder = write_run(tmp_path / "comparison" / "runs" / "one", num_epochs=4, recipe="tuned")
    (folder / "content.json").write_text(json.dumps(record.read_run(folder).record.as_json()))
    for name in trackers.PAGE_FILES:
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS[name]) for name in READERS])
def test_every_epoch_is_there_once_whatever_happens_meanwhile(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    place = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    sent = ours(SENT, name, folder, "0,2,killed", "2,3,stopped", "3,4,complete", **place)
    assert sent.returncode == 0, sent.stderr
    read = ours(f"import json, sys{READERS[name]}print('told', json.dumps(told))", folder, **place)
    assert read.returncode == 0, read.stderr
    told = json.loads(read.stdout.partition("told ")[2])
    rows = [trackers.numbers_of(row) for row in record.read_run(folder).record.history]
    assert told["curves"].pop("accuracy") == [[4, 0.75]]
    assert told["curves"].keys() == rows[0].keys() >= {"train_loss", "train_accuracy", "test_accuracy"}
    for curve, points in told["curves"].items():
        assert [step for step, _ in points] == [1, 2, 3, 4], curve
        assert [value for _, value in points] == pytest.approx([row[curve] for row in rows])
    assert "recipe.num_epochs" in told["settings"] and "ResNet-18" in told["settings"]
    if name == "mlflow":
        assert told["status"] == "FINISHED" and told["files"] == sorted(trackers.PAGE_FILES)


@NEEDS["mlflow"]
def test_mlflow_knows_of_a_run_that_was_stopped(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    assert ours(SENT, "mlflow", folder, "0,2,stopped", **place).returncode == 0
    read = ours(f"import json, sys{READERS['mlflow']}print('told', told['status'])", folder, **place)
    assert read.stdout.split()[-1] == "KILLED"


@NEEDS["wandb"]
def test_wandb_keeps_every_epoch_once_without_a_network(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("0,2,stopped", "2,4,complete"):
        sent = ours(SENT, "wandb", folder, part, WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
        assert sent.returncode == 0, sent.stderr
    reader = """
import json, struct, sys
from pathlib import Path
from wandb.proto import wandb_internal_pb2

def records(content):  # LevelDB's log, in blocks of 32 KB; 7 bytes before it say whose it is
    at, whole = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole, at = whole + content[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""

told, settings, summary, files = [], {}, {}, set()
for path in sorted(Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
    for one in records(path.read_bytes()):
        if one.HasField("history"):
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
            told.append(row | {"run": path.stem})
        if one.HasField("run"):
            settings |= {item.key: json.loads(item.value_json) for item in one.run.config.update}
        if one.HasField("summary"):
            summary |= {item.key or item.nested_key[0]: item.value_json for item in one.summary.update}
        if one.HasField("artifact"):
            files |= {item.path for item in one.artifact.manifest.contents}
        if one.HasField("request") and one.request.HasField("log_artifact"):
            files |= {item.path for item in one.request.log_artifact.artifact.manifest.contents}
print("told", json.dumps([told, settings, summary, sorted(files)]))
"""
    read = ours(reader, tmp_path)
    assert read.returncode == 0, read.stderr
    rows, settings, summary, files = json.loads(read.stdout.partition("told ")[2])
    expected = [trackers.numbers_of(row) for row in record.read_run(folder).record.history]
    rows = [row for row in rows if "train_loss" in row]
    assert [row["_step"] for row in rows] == [1, 2, 3, 4] and len({row["run"] for row in rows}) == 1
    assert [row["train_loss"] for row in rows] == pytest.approx([row["train_loss"] for row in expected])
    assert settings["recipe.name"] == "tuned" and summary["accuracy"] == "0.75"
    assert files == sorted(trackers.PAGE_FILES)


class Failing:
    """A tool that takes two epochs and no third."""

    first_epoch = 1

    def __init__(self, *_):
        self.asked = []

    def log(self, numbers, epoch):
        self.asked.append(epoch)
        if epoch == 3:
            raise ConnectionError("no\nserver")

    def end(self, *_):
        self.asked.append("end")


def test_a_tool_that_fails_is_told_of_once(tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TOOLS, "mlflow", Failing)
    run = checkpoint.read_unfinished_run(write_unfinished_run(tmp_path / "run", num_finished=2)).record
    said, tracker = [], trackers.Tracker("mlflow")
    tracker.begin(tmp_path, run, said.append)
    tool = tracker._tool
    for epoch in (3, 4):
        tracker.row(Row(epoch=epoch, train_loss=1.0))
    tracker.end({})
    assert tool.asked == [1, 2, 3]
    assert said == [
        "--log mlflow: ConnectionError: no\\nserver; nothing more is sent there, and training goes on",
    ]
    trackers.send_page("mlflow", tmp_path, "title", said.append)  # which has none to send to
    assert len(said) == 1


def test_what_is_missing_is_named_before_anything_is_trained(run_main, monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else found(name, *more)
    )
    with pytest.raises(UserError, match=r"wandb is not installed(?s:.*)--extra wandb"):
        trackers.check("wandb")
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(train, "--demo", "--log", "wandb")
    assert code == 2 and "--log wandb" in err and not list(tmp_path.iterdir())


@NEEDS["tensorboard"]
def test_a_training_sends_its_epochs_and_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "scratch_resnet.train", "--demo", "--epochs", "2", "--labels-per-class", "20"]
    weights = []
    for words in ([], ["--log", "tensorboard"]):
        out = tmp_path / str(len(weights))
        done = subprocess.run(
            [*command, *words, "--out", str(out)], capture_output=True, text=True, cwd=HERE.parents[1], check=False
        )
        assert done.returncode == 0, done.stderr
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    read = ours(f"import json, sys{READERS['tensorboard']}print('told', json.dumps(told))", out)
    curves = json.loads(read.stdout.partition("told ")[2])["curves"]
    run = record.read_run(out)
    assert [value for _, value in curves["train_loss"]] == pytest.approx([row.train_loss for row in run.record.history])
    accuracy = (run.test_probabilities.argmax(axis=1) == run.test_labels).mean()
    assert curves["accuracy"] == [[2, pytest.approx(accuracy)]]
