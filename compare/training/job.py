"""What surrounds the training, alike in both branches: the run's folder, its checkpoints, signals and failures."""

import contextlib
import dataclasses
import json
import math
import os
import shlex
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, Literal

import numpy as np
import psutil

from compare.data import corruptions, dataset
from compare.data.images import balanced_weights
from compare.runs import checkpoint, features, out_folder, record
from compare.runs.schema import Record, Row, UnderWay
from compare.system import machine, processes
from compare.system.command import MAX_NUMBER
from compare.system.display import duration
from compare.system.errors import EXIT_FAILED, Terminated, UserError
from compare.training import crops, estimate
from compare.training.limits import diverged
from compare.training.options import DEFAULT_SEED, ESTIMATE, EXPECTED, SHARED, TOLD
from compare.training.progress import EpochBar, Journal, epoch_line
from compare.training.recipe import AnyRecipe
from compare.training.stopping import Stopping
from compare.training.trackers import Tracker

Means = tuple[float, float]  # loss in nats an image, accuracy as a fraction
SECONDS_BETWEEN_CHECKPOINTS = 50.0  # in an epoch: with the step in progress and the writing, a minute
UNDER_WAY = "under way/"  # before the names, in a checkpoint, of what an epoch has come to


@dataclasses.dataclass
class Job(Generic[AnyRecipe]):
    """A run about to be trained.

    Attributes:
        folder: where the run will be.
        recipe: the branch's recipe, with the command line's changes.
        record: the record so far; its history has a row for every finished epoch.
        checkpoint: the arrays to go on from, or None to begin.
        under_way: what `keep` kept of the epoch to go on within; empty where one is to begin.
        train_rows, validation_rows: indices into the training images.
        started: when the process began to prepare it, as `time.perf_counter` has it.
        is_unnamed: whether nobody has named the folder, so that another may be taken where this one is.
        meter: of the energy that training takes, from its beginning; None where another process reads the same.
        total: adds up a number over the processes that train together (`processes.num_together`), all of which ask.
        tracker: sends it to the tool of `--log`.
    """

    folder: Path
    recipe: AnyRecipe
    record: Record
    checkpoint: dict[str, np.ndarray] | None
    under_way: dict[str, np.ndarray]
    data: dataset.Dataset
    train_rows: np.ndarray
    validation_rows: np.ndarray
    started: float
    is_unnamed: bool = False
    meter: machine.EnergyMeter | None = None
    total: Callable[[float], float] = float
    journal: Journal = dataclasses.field(default_factory=Journal)
    stopping: Stopping = dataclasses.field(default_factory=Stopping)
    tracker: Tracker = dataclasses.field(default_factory=lambda: Tracker(None))
    _estimated: list[np.ndarray] = dataclasses.field(default_factory=list)  # of the epochs to come, and what follows
    _taken: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))  # by the epochs so far, and estimated
    _processor: float = 0.0  # the seconds that this process had computed when that was last asked
    _kept: float = 0.0  # when the last checkpoint was written

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.record.seed or DEFAULT_SEED  # a run that a branch began has one

    @property
    def watched(self) -> Literal["validation", "test"] | None:
        """The split that is watched after every epoch: `test` where the recipe holds nothing out, and None where it
        would, but there are too few labels for that."""
        if len(self.validation_rows):
            return "validation"
        return None if self.recipe.validation_fraction else "test"

    @property
    def num_more_test_images(self) -> int:
        """How many test images are predicted at the end that were not watched before."""
        return 0 if self.watched == "test" else len(self.data.test_labels)

    @property
    def num_looked_at(self) -> int:
        """How many images are looked at with the finished network, at most: the test's, and some of those to train
        on."""
        return len(self.data.test_labels) + min(features.NUM_KEPT, len(self.train_rows))

    @property
    def num_corrupted_images(self) -> int:
        """How many corrupted copies of test images are predicted at the end."""
        if self.record.robustness is None:
            return 0
        num_copies = sum(map(len, corruptions.STRENGTHS.values()))
        return num_copies * min(corruptions.NUM_IMAGES, len(self.data.test_labels))

    @property
    def watched_images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The images among which the watched split is, uint8 (num_images, height, width, channels), all their labels,
        and which rows it is."""
        if self.watched == "test":
            return self.data.test_images, self.data.test_labels, np.arange(len(self.data.test_labels))
        return self.data.train_images, self.data.train_labels, self.validation_rows

    def epoch_bar(self, epoch: int, num_images: int) -> contextlib.AbstractContextManager[EpochBar]:
        """The bar of one epoch, counted from 1, over so many training images."""
        return self.journal.epoch(f"epoch {epoch}/{self.record.num_epochs}", num_images)

    def rows_of_epoch(self, num_epochs: int) -> np.ndarray:
        """The training rows of one of so many epochs: each once, or as often as it takes to the recipe's least number
        of steps."""
        least = self.recipe.least_steps * self.recipe.batch_size / num_epochs  # images of an epoch
        return np.tile(self.train_rows, max(1, math.ceil(least / len(self.train_rows))))

    @property
    def class_weights(self) -> np.ndarray | None:
        """What a training image of each class counts in the loss, float32 (num_classes,); None where all count 1."""
        if self.recipe.class_weights == "none":
            return None
        return balanced_weights(self.data.train_labels[self.train_rows], len(self.data.class_names))

    def repeats_in_words(self, num_epochs: int) -> str:
        """How often each training image comes in one of so many epochs, where that is more than once."""
        times = len(self.rows_of_epoch(num_epochs)) // len(self.train_rows)
        return f", each image {times:,} times an epoch" if times > 1 else ""

    @property
    def epochs_left(self) -> range:
        """The epochs to come, counted from 1."""
        return range(len(self.record.history) + 1, self.record.num_epochs + 1)

    @property
    def seconds_under_way(self) -> float:
        """What the epoch to go on within has taken already."""
        return self.record.under_way.seconds if self.record.under_way else 0.0

    def check_same(
        self, name: str, value: object, *, advice: str = "resume it on the device that it was begun on"
    ) -> None:
        """Refuse to go on with another value of a field of the record than the run began with."""
        begun = getattr(self.record, name)
        if self.checkpoint is not None and begun != value:
            raise UserError(
                f"the run in {self.folder} was begun with {name} {begun}, and here it would be {value}",
                f"the same {name} to the end",
                f"{advice}, or start anew",
            )

    def check_room(self, num_bytes: int) -> None:
        """Refuse to begin a run that needs more bytes than its disk has room for; raises as `out_folder.check` does."""
        if self.checkpoint is None:
            out_folder.check(self.folder, num_bytes)

    def announce(
        self, measure: Callable[[], Callable[["Job[AnyRecipe]"], list[np.ndarray]]], *, how: str, where: str
    ) -> None:
        """Say in words what is about to be done, how and where, and how long it takes by what was measured: by the
        check before, which `EXPECTED` tells of, or now, by `measure`, which gives the seconds that every epoch of a job
        to come, and then what follows them, take, as pairs (`estimate`)."""
        recipe, num_epochs = self.recipe, self.record.num_epochs
        self._estimated = [np.array(pair) for pair in json.loads(os.environ.get(EXPECTED, "[]"))]
        if ESTIMATE in os.environ or len(self._estimated) != len(self.epochs_left) + 1:
            seconds_of = measure()
            self._estimated = seconds_of(self)
        seconds = np.sum(self._estimated, axis=0)
        for line in self.data.summary:
            (self.journal.note if TOLD in os.environ else self.journal.line)(line)
        self.journal.line(
            f"{self.record.branch}: recipe {recipe.name}, {len(self.epochs_left)} of {num_epochs} epochs to train "
            f"on {len(self.train_rows):,} images of {self.data.title} at {recipe.image_size}×{recipe.image_size}, "
            f"{how}, seed {self.seed}"
        )
        if self.recipe.crop_area < 1 or self.recipe.centre_crop < 1:
            height, width, _ = self.data.image_shape
            self.journal.line(f"  {crops.in_words(self.recipe, height=height, width=width)}")
        if self.watched is None:
            self.journal.line("  none of them held out: that would take more labels of every class")
        threads = f"with {self.record.num_threads} thread{'s' * (self.record.num_threads != 1)}"
        if self.record.num_processes > 1:
            threads = f"by {self.record.num_processes} processes, each {threads}"
        self.journal.line(f"  on {where}, {threads}: {estimate.words(seconds)}, by some measured steps")
        if ESTIMATE in os.environ:
            # compare.run adds up what its runs take, each with what this one did so far, and compares the data; what
            # was measured stands for what a training does at first, as it compiles
            so_far = time.time() - psutil.Process().create_time()
            others = map(self._with_labels, os.environ[ESTIMATE].split())
            for epochs in (self._estimated, *map(seconds_of, others)):
                told = {"seconds": sum(epochs) + so_far, "epochs": epochs, "data": self.record.data.fingerprint}
                told["memory"] = machine.peak_memory_bytes()
                print(ESTIMATE, json.dumps(told, default=np.ndarray.tolist), flush=True)

    def _with_labels(self, labels: str) -> "Job[AnyRecipe]":
        """The same training with so many labels of every class, or all."""
        data = self.record.data
        recipe, train_rows, validation_rows = subset(
            self.data,
            self.recipe,
            labels_per_class=None if labels == "all" else int(labels),
            subset_seed=data.subset_seed,
            batch_asked=self.record.overrides.get("batch_size"),
        )
        return dataclasses.replace(self, recipe=recipe, train_rows=train_rows, validation_rows=validation_rows)

    def end_epoch(
        self,
        *,
        train: Means,
        watched: Means | None,
        learning_rate: float | None,
        num_images: int,
        training_seconds: float,
        seconds: float,
        arrays: dict[str, np.ndarray],
        advice: str = "start anew with a smaller --learning-rate",
        penalty: float | None = None,
        phase: str | None = None,
    ) -> None:
        """Add an epoch's row to the history and keep a checkpoint, so that the epoch cannot be lost.

        Args:
            train, watched: of the training images, and of the split that is watched, if any.
            learning_rate: the step size at the epoch's end; None where there is none.
            num_images: how many were trained on, one that came twice counted twice.
            training_seconds: what the training images took; `seconds` is what the whole epoch did, watching included.
            arrays: what training goes on from.
            advice: what to do where the loss is not finite.
            penalty: of the head's weights, where it was brought to its optimum under one.
            phase: what is trained, where that is not the same in every epoch.

        Raises:
            UserError: the loss is not finite, or too large for a record, or the checkpoint cannot be written.
        """
        epoch = len(self.record.history) + 1
        for split, means in (("train", train), (self.watched, watched)):
            if means is not None and not abs(means[0]) <= MAX_NUMBER:
                raise diverged(f"the {split} loss of epoch {epoch} is {means[0]}", advice)
        joules, processor_seconds = self._used()
        row = Row(
            epoch=epoch,
            seconds=seconds,
            images_per_second=num_images / training_seconds,
            learning_rate=learning_rate,
            penalty=penalty,
            phase=phase,
            train_loss=train[0],
            train_accuracy=train[1],
            energy_joules=joules,
            processor_seconds=processor_seconds,
        )
        if watched is not None and self.watched == "test":
            row.test_loss, row.test_accuracy = watched
        elif watched is not None:
            row.validation_loss, row.validation_accuracy = watched
        with self.stopping.finishing():
            self.record.history.append(row)
            self.record.under_way = None
            self.under_way = {}
            self.write_checkpoint(arrays)
            self.journal.line(epoch_line(row, self.record.num_epochs) + self._left(row))
            self.tracker.row(row)
            self._processor = time.process_time()  # what sending it took is no epoch's

    def write_checkpoint(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep the record so far and the arrays that training goes on from, as `checkpoint.write` does."""
        with self.stopping.finishing():
            if processes.is_first():
                checkpoint.write(self.folder, arrays, self.record)
            if self.record.under_way is None:  # between two epochs: this stands in no row's seconds
                self._processor = time.process_time()
        self._kept = time.perf_counter()

    def must_keep(self) -> bool:
        """Whether it is time to `keep`: most of a minute has passed, or a signal asks to stop."""
        return self.stopping.asked is not None or time.perf_counter() - self._kept >= SECONDS_BETWEEN_CHECKPOINTS

    def keep(self, arrays: dict[str, np.ndarray], under_way: dict[str, np.ndarray], *, seconds: float) -> None:
        """Keep a checkpoint between two steps of an epoch; stop then, if a signal asked to.

        Args:
            arrays: what training goes on from.
            under_way: what the epoch has come to so far, and how far that is; given back as `under_way`.
            seconds: what the epoch has taken so far.
        """
        joules, processor_seconds = self._used()
        self.record.under_way = UnderWay(seconds=seconds, energy_joules=joules, processor_seconds=processor_seconds)
        self.write_checkpoint(arrays | {UNDER_WAY + name: array for name, array in under_way.items()})
        if self.stopping.asked is not None:
            raise self.stopping.asked

    def _used(self) -> tuple[float | None, float]:
        """What the epoch under way has taken of energy, in joules, where that is known, and of the processors' time in
        seconds: beside its own the latter tell of a training that was paused, or had to share them."""
        before, now = self.record.under_way or UnderWay(seconds=0.0, energy_joules=0.0), time.process_time()
        joules = 0.0 if self.meter is None else self.meter.taken()
        joules = self.total(math.nan if joules is None else joules)
        joules = None if before.energy_joules is None or math.isnan(joules) else before.energy_joules + joules
        seconds, self._processor = self.total(now - self._processor), now
        # a counter may begin anew
        return None if joules is None or joules < 0 else joules, before.processor_seconds + seconds

    def _left(self, row: Row) -> str:
        """How long the rest takes, in words: as was estimated, as much longer as the epochs so far took. Those of
        another kind than the next, as the head's before fine-tuning, tell nothing of it."""
        if len(self._estimated) < 2:  # there is none, or none was estimated
            return ""
        estimated = self._estimated.pop(0)
        self._taken += row.seconds, estimate.likely(estimated)
        if not np.array_equal(estimated, self._estimated[0]):
            self._taken = np.zeros(2)
        actual, expected = self._taken if self._taken.any() else (1, 1)
        left = estimate.likely(np.sum(self._estimated, axis=0)) * actual / expected
        return f", about {duration(left)} left" if self.epochs_left else ""

    @contextlib.contextmanager
    def running(self, gpu: int | None) -> Iterator[None]:
        """The time of training: the folder is this run's alone, signals to stop are heard, and whatever ends it stands
        in the log. `gpu` is the number of the GPU that trains, None for the processor."""
        record.check_readable(self.record.as_json())
        if gpu is not None or processes.is_first("LOCAL_RANK"):  # which reads those of the processors, for all here
            self.meter = machine.EnergyMeter(gpu, is_shared=SHARED in os.environ)
        self._kept, self._processor = time.perf_counter(), time.process_time()
        if not processes.is_first():
            with self.stopping.heard():
                yield
            return
        if self.is_unnamed:
            self.folder = out_folder.unshared(self.folder.parents[1], make=True) / "runs" / self.folder.name
        claimed = out_folder.claim(self.folder, new=self.checkpoint is None)
        with claimed, self.journal.kept_in(self.folder / record.LOG), self.stopping.heard():
            seconds = self.record.seconds
            seconds.preparing = (seconds.preparing or 0.0) + time.perf_counter() - self.started
            launcher = processes.launcher(self.record.num_processes)
            resume = shlex.join([*launcher, f"{self.record.branch}.train", "--resume", str(self.folder)])
            try:
                for name in checkpoint.set_damaged_aside(self.folder):
                    self.journal.line(f"{name} is damaged and set aside: going on from the checkpoint beside it")
                with self.stopping.finishing():
                    self.tracker.begin(self.folder, self.record, self.journal.line)
                yield
            except KeyboardInterrupt as stop:
                said = "terminated" if isinstance(stop, Terminated) else "interrupted"
                self.journal.line(f"{said}; to go on: {resume}")
                raise
            except UserError as error:
                if isinstance(error.__cause__, OSError):  # of a disk or a connection: what was kept is still there
                    advice = f"{error.advice}, then go on: {resume}"
                    error = UserError(error.came, error.expected, advice, exit_code=error.exit_code)
                self.journal.note(str(error))
                raise error
            except Exception as error:
                self.journal.note(traceback.format_exc())
                raise UserError(
                    f"training ended with {type(error).__name__}: {str(error)[:500]}",
                    "no error here: this one was not foreseen",
                    f"the whole story is in {self.folder / record.LOG}; to go on: {resume}",
                    exit_code=EXIT_FAILED,
                ) from error
            finally:
                self.tracker.end()


def subset(
    data: dataset.Dataset,
    recipe: AnyRecipe,
    *,
    labels_per_class: int | None,
    subset_seed: int | None,
    batch_asked: int | None,
) -> tuple[AnyRecipe, np.ndarray, np.ndarray]:
    """What a training with so many labels of every class, None for all, learns from.

    Returns:
        The recipe, its batches no larger than there are images; the training rows; and the validation rows.

    Raises:
        UserError: no class has so many labels, or there are fewer images than somebody has asked for in a batch.
    """
    rows, validation_rows = dataset.train_and_validation(
        data, recipe.validation_fraction, labels_per_class=labels_per_class, subset_seed=subset_seed or 0
    )
    if (batch_asked or 1) > len(rows):
        raise UserError(f"--batch-size {batch_asked}", f"at most the {len(rows):,} training images", "make it smaller")
    if labels_per_class is not None:
        recipe = dataclasses.replace(recipe, batch_size=min(recipe.batch_size, len(rows)))
    return recipe, rows, validation_rows
