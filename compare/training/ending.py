"""What follows the last epoch of a training, alike in every branch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from compare.data import corruptions, dataset, layouts
from compare.data.images import stratified_sample
from compare.runs import checkpoint, features, record, schema
from compare.runs.schema import Input, PeakMemory
from compare.system import disk, machine
from compare.system.errors import EXIT_FAILED
from compare.training.job import Job
from compare.training.limits import diverged
from compare.training.looking import Looked, are_large_enough
from compare.training.recipe import AnyRecipe

Predict = Callable[[np.ndarray, np.ndarray | None], np.ndarray]  # see `end`
LookAt = Callable[[Literal["train", "test"], np.ndarray], Looked]  # see `end`
IMAGES_AT_ONCE = 2048  # that are looked at, of which the network's features are in memory
NUM_SEEN = 5  # test images, and as many training images, that a run keeps as they entered the network


def end(
    job: Job[AnyRecipe],
    *,
    predict: Predict,
    watched: np.ndarray | None,
    seen: Callable[[], tuple[np.ndarray, np.ndarray]],
    channels: str,
    save: Callable[[Path], None],
    look_at: LookAt,
    device_bytes: Callable[[], int | None],
) -> None:
    """What follows the last epoch: predict what is not predicted yet, keep some images as they entered the network,
    save the weights, and make the run complete.

    Args:
        predict: gives probabilities (num_rows, num_classes) for rows of images, uint8 as the data set has them;
            for all of them where the rows are None.
        watched: those of the watched split, as the last epoch left them; None where no epoch was left to train, or
            nothing is watched.
        seen: gives the first `NUM_SEEN` test images, and training images as the first epoch draws them, as they enter
            the network: float32, (num_images, size, size, num_channels). Those of grey images differ in their range.
        channels: their order: grey, RGB or BGR.
        save: writes the weights into the run's folder.
        look_at: looks inside the network that was saved, at rows of the images to train on or of the test images.
        device_bytes: tells the GPU's peak memory; None without a GPU.
    """
    start = time.perf_counter()
    if watched is None and job.watched is not None:
        images, _, rows = job.watched_images
        watched = predict(images, rows)
    test = predict(job.data.test_images, None) if watched is None or job.watched != "test" else watched
    predicting_seconds = time.perf_counter() - start
    arrays = {"test_probabilities": test.astype(np.float32), "test_labels": job.data.test_labels}
    if watched is not None and job.watched == "validation":
        arrays["validation_probabilities"] = watched.astype(np.float32)
        arrays["validation_labels"] = job.data.train_labels[job.validation_rows]
    arrays |= predict_corrupted(job, predict) | keep_seen(job, *seen(), channels=channels)
    save(job.folder)
    if not (np.isfinite(test).all() and (watched is None or np.isfinite(watched).all())):
        raise diverged("some of the predicted probabilities are not numbers", "start anew with smaller steps")
    keep_inside(job, look_at)
    history = job.record.history
    joules = [row.energy_joules for row in history if row.energy_joules is not None]
    training_seconds = sum(row.seconds or 0.0 for row in history)
    with record.readable(exit_code=EXIT_FAILED):
        job.record.seconds.training = training_seconds
        job.record.seconds.predicting = predicting_seconds
        job.record.energy_joules = sum(joules) if len(joules) == len(history) else None
        job.record.processor_seconds = sum(row.processor_seconds or 0.0 for row in history)
        job.record.peak_memory_bytes = PeakMemory(main=machine.peak_memory_bytes(), device=device_bytes())
    if job.data.files is not None:
        disk.write_atomically(job.folder / record.SPLIT, split_table(job, job.data.files))
    record.check_readable(job.record.as_json(), schema.parse_complete, exit_code=EXIT_FAILED)
    job.stopping.never()  # from here on it is complete sooner than it is stopped
    record.finish_run(job.folder, job.record, arrays)
    for path in checkpoint.found(job.folder):
        path.unlink()
    accuracy = float((test.argmax(axis=1) == job.data.test_labels).mean())
    job.tracker.end({"accuracy": accuracy, "training_seconds": training_seconds})
    said = f"{job.record.branch}: complete"
    job.journal.console.print(f"{said}, in {job.folder}")
    job.journal.note(said)  # a log is handed on with its run: where that lay is nobody's concern


def split_table(job: Job[AnyRecipe], files: tuple[str, ...]) -> bytes:
    """A CSV of the files of a folder, their classes and their sides, by which `--split` gives the same again. A subset
    is drawn out of all images to train on, and they are told as such."""
    data = job.data
    held = data.validation_rows
    if held is None:
        held = job.validation_rows[: None if job.record.data.labels_per_class is None else 0]
    parts = np.full(len(files), "test", "U10")
    parts[: len(data.train_labels)] = "train"
    parts[held] = "validation"
    labels = [data.class_names[label] for label in np.concatenate([data.train_labels, data.test_labels])]
    return layouts.as_table(list(files), labels, parts.tolist())


def predict_corrupted(job: Job[AnyRecipe], predict: Predict) -> dict[str, np.ndarray]:
    """Predict corrupted copies of a sample of the test images, where the command line asked for it. Returns arrays as
    `record.Run` names them."""
    if job.record.robustness is None:
        return {}
    start = time.perf_counter()
    rows = corruptions.sample(job.data.test_labels)
    images = job.data.test_images[rows]
    copies = [
        corruptions.corrupt(images, kind, amount)
        for kind, amounts in corruptions.STRENGTHS.items()
        for amount in amounts
    ]
    predictions = []
    with job.journal.epoch("corrupted copies", job.num_corrupted_images) as bar:
        for corrupted in copies:
            predictions.append(predict(corrupted, None).argmax(axis=1))
            if bar.due():
                bar.show(len(predictions) * len(rows))
    job.record.robustness.fingerprint = dataset.fingerprint(rows, *copies)
    job.record.seconds.robustness = seconds = time.perf_counter() - start
    job.journal.line(f"{job.num_corrupted_images:,} corrupted copies of test images predicted in {seconds:.1f} s")
    shape = (len(corruptions.STRENGTHS), -1, len(rows))
    predicted = np.array(predictions, job.data.test_labels.dtype).reshape(shape)
    return {"robustness_rows": rows, "robustness_predicted": predicted}


def keep_inside(job: Job[AnyRecipe], look_at: LookAt) -> None:
    """Keep what later pictures are compared with, and where the network looked in each test image: `features`. Without
    maps that tell places apart a sample of the test images is looked at, for their distances."""
    labels = job.data.train_labels[job.train_rows]
    rows = job.train_rows[stratified_sample(labels, features.NUM_KEPT, seed=0)]
    kept = look_at("train", rows)
    training = features.Training.of(kept.features, job.data.train_labels[rows])
    test_rows = np.arange(len(job.data.test_labels))
    if not are_large_enough(kept.maps):
        test_rows = stratified_sample(job.data.test_labels, features.NUM_KEPT, seed=0)
    distances, maps = [], []
    for start in range(0, len(test_rows), IMAGES_AT_ONCE):
        looked = look_at("test", test_rows[start : start + IMAGES_AT_ONCE])
        distances.append(training.distances(looked.features))
        if are_large_enough(looked.maps):
            maps.append(features.small_maps(looked.maps))
    found = features.Features(training, np.concatenate(distances), np.concatenate(maps) if maps else None)
    features.write(job.folder, found)


def keep_seen(job: Job[AnyRecipe], test: np.ndarray, training: np.ndarray, *, channels: str) -> dict[str, np.ndarray]:
    """Keep the images that `seen` of `end` gave: their range in the record, and what they look like, in arrays as
    `record.Run` names them."""
    images = np.concatenate([test, training]).astype(np.float64)
    lowest, highest = images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))  # (num_channels,)
    job.record.seen = Input(channels=channels, lowest=lowest.round(4).tolist(), highest=highest.round(4).tolist())
    span = np.where(highest > lowest, highest - lowest, 1.0)
    scaled = np.rint(255 * (images - lowest) / span).astype(np.uint8)  # (num_images, size, size, num_channels)
    if job.data.image_shape[2] == 1:  # all channels are alike
        scaled = scaled[..., 0]
    elif channels == "BGR":
        scaled = scaled[..., ::-1]
    return {"seen_test": scaled[: len(test)], "seen_training": scaled[len(test) :]}
