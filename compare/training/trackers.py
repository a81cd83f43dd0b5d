"""What a training sends to a tool that people watch trainings with: `--log tensorboard`, `mlflow` or `wandb`.

An epoch is sent when it is safe on the disk, by its row of the record, and what a resumed run has sent before is not
sent twice. A tool that fails is told of once, and asked no more: no training ends with it, or waits for it for longer
than a minute, once. Where each keeps what it gets is its own settings' (MLFLOW_TRACKING_URI, WANDB_MODE, …);
TensorBoard's lies in the run's folder.
"""

import hashlib
import importlib.util
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare.runs.schema import Record, Row
from compare.system.environment import OFFLINE_VARIABLE
from compare.system.errors import extra_missing, in_a_line

if TYPE_CHECKING:
    import wandb
    from mlflow import MlflowClient

PROJECT = "scratch-or-pretrained"  # what MLflow's experiment and the project of Weights & Biases are called by default
# MLflow waits minutes for a server that is not there, and tells its makers of its use, unless it is told otherwise.
# With these a server that does not answer takes half a minute.
MLFLOW = {"HTTP_REQUEST_MAX_RETRIES": "1", "HTTP_REQUEST_TIMEOUT": "10", "DISABLE_TELEMETRY": "true"}
Settings = dict[str, str | int | float | bool]
PAGE_FILES = ("index.html", "report.json", "metrics.csv")


def check(name: str | None) -> None:
    """Refuse to begin where the package is missing that `--log` needs.

    Raises:
        UserError: it is.
    """
    if name is not None and importlib.util.find_spec(name) is None:
        raise extra_missing(f"--log {name}, and {name} is not installed", name)


class Tracker:
    """Sends one training to the tool that `--log` names; None names none."""

    def __init__(self, name: str | None) -> None:
        self._name, self._num_epochs = name or "", 0
        self._tool: Tool | None = None

    def begin(self, folder: Path, record: Record, tell: Callable[[str], None]) -> None:
        """Send the settings, and the epochs so far that were not sent yet. `tell` is told what goes wrong."""
        self._tell, self._num_epochs = tell, len(record.history)

        def begin() -> None:
            self._tool = tool = TOOLS[self._name](folder, key_of(record), settings_of(record), len(record.history))
            for row in record.history:
                if row.epoch >= tool.first_epoch:
                    tool.log(numbers_of(row), row.epoch)

        if self._name:
            self._try(begin)

    def row(self, row: Row) -> None:
        """Send an epoch."""
        self._num_epochs = row.epoch
        if (tool := self._tool) is not None:
            self._try(lambda: tool.log(numbers_of(row), row.epoch))

    def end(self, numbers: dict[str, float] | None = None) -> None:
        """Send what a complete run came to, or that it ended without that; once."""
        if (tool := self._tool) is not None:
            self._try(lambda: tool.end(numbers, self._num_epochs))
        self._tool = None

    def _try(self, call: Callable[[], None]) -> None:
        try:
            _quietly(call)
        except Exception as error:  # of any kind: the tools, their servers and their disks are not ours
            self._tool = None
            self._tell(f"{_in_words(self._name, error)}; nothing more is sent there, and training goes on")


def send_page(name: str, folder: Path, title: str, tell: Callable[[str], None]) -> None:
    """Send a comparison's page, which lies in `folder`, with the numbers beside it, to a tool that keeps files."""
    files = [path for path in (folder / name for name in PAGE_FILES) if path.is_file()]
    key = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]  # a later page takes the place of this one
    try:
        if (send := getattr(TOOLS.get(name), "send_files", None)) is not None:
            _quietly(lambda: send(key, title, files))
    except Exception as error:
        tell(f"{_in_words(name, error)}; the page was not sent there")


def _quietly(call: Callable[[], None]) -> None:
    with warnings.catch_warnings(action="ignore"):  # of the tools' own doing, in the midst of a training's lines
        call()


def _in_words(name: str, error: Exception) -> str:
    return f"--log {name}: {type(error).__name__}: {in_a_line(str(error).strip())[:300]}"


def key_of(record: Record) -> str:
    """What a run is known by to a tool, before and after it is resumed."""
    return hashlib.sha256(f"{record.started} {record.command} {record.source}".encode()).hexdigest()[:16]


def settings_of(record: Record) -> Settings:
    """What was set, and what it was set on."""
    told = {
        **{f"recipe.{name}": value for name, value in record.recipe.as_json().items()},
        "branch": record.branch,
        "model": record.model and record.model.name,
        "data": record.data.title,
        "num_train": record.data.num_train,
        "labels_per_class": record.data.labels_per_class,
        "seed": record.seed,
        "device": record.device and record.device.name,
        "precision": record.precision,
        "command": record.command,
        "commit": record.commit,
    }
    plain = (str, int, float, bool)
    return {
        name: value if isinstance(value, plain) else json.dumps(value)
        for name, value in told.items()
        if value is not None
    }


def numbers_of(row: Row) -> dict[str, float]:
    """The curves' values of an epoch."""
    return row.model_dump(exclude_none=True, exclude={"epoch", "phase"})


def run_name(folder: Path) -> str:
    """What a run is called in a tool: as its folder is, with the comparison's."""
    return "/".join(part for part in folder.absolute().parts[-3:] if part != "runs")


# ---- the tools. Each begins or goes on with a run; wants its epochs from `first_epoch` on; and is told how it ended


class TensorBoard:
    """Event files below the run's folder, by TensorBoard's own package, which needs no TensorFlow for that. All is
    written anew where a run goes on, and what a server has read before is taken back."""

    first_epoch = 1

    def __init__(self, folder: Path, key: str, settings: Settings, num_epochs: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        place = folder / "tensorboard"
        place.mkdir(exist_ok=True)
        before = list(place.glob("events.out.tfevents.*"))
        path = place / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._event, self._records = Event, RecordWriter(path.open("wb", buffering=0))
        self._write(file_version="brain.Event:2")
        self._write(session_log=SessionLog(status=SessionLog.START))
        table = "\n".join(["|||", "|-|-|", *(f"|{name}|{value}|" for name, value in settings.items())])
        self._write(summary=text_pb("settings", table))
        self._write(summary=hparams_pb(settings, trial_id=key))
        for left in before:
            left.unlink()

    def _write(self, *, step: int = 0, **parts: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), step=step, **parts).SerializeToString())

    def log(self, numbers: dict[str, float], epoch: int) -> None:
        """Write a point of every curve."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(step=epoch, summary=Summary(value=values))

    def end(self, numbers: dict[str, float] | None, epoch: int) -> None:
        """Write the last points, if it came to any."""
        if numbers is not None:
            self.log(numbers, epoch)
        self._records.close()


class MLflow:
    """A run of MLflow's, by its client, wherever it is told to keep runs."""

    def __init__(self, folder: Path, key: str, settings: Settings, num_epochs: int) -> None:
        from mlflow.entities import Param

        self._client, self._run = _mlflow_run(key, run_name(folder))
        if num_epochs:  # resumed, perhaps where the device is called otherwise: its settings stay
            steps = [one.step for one in self._client.get_metric_history(self._run, "train_loss")]
            self.first_epoch = max(steps, default=0) + 1
        else:
            self.first_epoch = 1
            params = [Param(name, str(value)[:6000]) for name, value in settings.items()]  # it refuses longer ones
            self._client.log_batch(self._run, params=params)

    def log(self, numbers: dict[str, float], epoch: int) -> None:
        """Send a point of every curve."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, epoch) for name, value in numbers.items()])

    def end(self, numbers: dict[str, float] | None, epoch: int) -> None:
        """Send the last points, if it came to any, and how it ended."""
        if numbers is not None:
            self.log(numbers, epoch)
        self._client.set_terminated(self._run, "KILLED" if numbers is None else "FINISHED")

    @staticmethod
    def send_files(key: str, title: str, files: list[Path]) -> None:
        """Keep these in a run of their own."""
        client, run = _mlflow_run(key, title)
        for path in files:
            client.log_artifact(run, str(path))
        client.set_terminated(run, "FINISHED")


def _mlflow_run(key: str, name: str) -> tuple["MlflowClient", str]:
    """MLflow's client, and its run of this key, begun or gone on with."""
    for variable, value in MLFLOW.items():
        os.environ.setdefault(f"MLFLOW_{variable}", value)
    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    client = mlflow.MlflowClient()
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    experiment = client.get_experiment_by_name(project)
    place = client.create_experiment(project) if experiment is None else experiment.experiment_id
    for run in client.search_runs([place], f"tags.`{PROJECT}` = '{key}'"):
        client.update_run(run.info.run_id, "RUNNING")
        return client, run.info.run_id
    return client, client.create_run(place, tags={PROJECT: key}, run_name=name).info.run_id


class WandB:
    """A run of Weights & Biases'. Without its server nobody knows what an earlier process has sent: that is not sent
    again."""

    def __init__(self, folder: Path, key: str, settings: Settings, num_epochs: int) -> None:
        self._run = _wandb_run(key, run_name(folder), config=settings)
        self.first_epoch = num_epochs + 1 if self._run.offline else max(self._run.step, 1)

    def log(self, numbers: dict[str, float], epoch: int) -> None:
        """Send a point of every curve."""
        self._run.log(numbers, step=epoch)

    def end(self, numbers: dict[str, float] | None, epoch: int) -> None:
        """Send the last numbers, if it came to any, and how it ended."""
        self._run.summary.update(numbers or {})
        self._run.finish(exit_code=int(numbers is None))

    @staticmethod
    def send_files(key: str, title: str, files: list[Path]) -> None:
        """Keep these as an artifact of a run of their own."""
        import wandb

        with _wandb_run(key, title, job_type="report") as run:
            artifact = wandb.Artifact(f"report-{key}", type="report")
            for path in files:
                artifact.add_file(str(path))
            run.log_artifact(artifact)


def _wandb_run(key: str, name: str, **more: Any) -> "wandb.Run":
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=key,
        name=name,
        resume="allow",
        mode="offline" if os.environ.get(OFFLINE_VARIABLE) else None,
        settings=wandb.Settings(
            console="off", silent=True, login_timeout=60, init_timeout=60, finish_timeout=60, finish_timeout_raises=True
        ),
        **more,
    )


Tool = TensorBoard | MLflow | WandB
TOOLS: dict[str, type[Tool]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
