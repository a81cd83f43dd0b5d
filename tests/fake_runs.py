"""Made-up runs, so that whatever reads runs can be tested without training."""

import dataclasses
from pathlib import Path

import numpy as np

from compare.data import corruptions, dataset, fashion_mnist
from compare.data.images import Dataset
from compare.runs import checkpoint, features, record
from compare.runs.schema import Device, Frozen, Input, Model, PeakMemory, Record, Robustness, Row, Seconds, Weights

SCRATCH = Model(
    name="ResNet-18",
    start="random",
    trained="all",
    depth=18,
    num_parameters=11_172_810,
    num_trainable_parameters=11_172_810,
    flops_per_image=665_000_000,
)
PRETRAINED = Model(
    name="ResNet50",
    start="pretrained",
    trained="head",
    backbone="ResNet50",
    num_parameters=23_608_202,
    num_trainable_parameters=20_490,
    flops_per_image=170_000_000,
)
EXPECTS = Input(channels="BGR", lowest=[-103.939, -116.779, -123.68], highest=[151.061, 138.221, 131.32])
NUM_VALIDATION = 4


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The fields that both branches' recipes have."""

    name: str
    data: str
    validation_fraction: float
    image_size: int
    batch_size: int
    num_epochs: int
    learning_rate: float
    known_mistakes: tuple[str, ...]


def write_run(
    folder: Path,
    *,
    branch: str = "scratch_resnet",
    accuracy: float = 0.9,
    num_epochs: int = 3,
    watched: str = "test",
    data: str = "fashion-mnist",
    num_test: int | None = 200,
    recipe: str = "article",
    known_mistakes: tuple[str, ...] = (),
    overrides: dict | None = None,
    weights: str | None = None,
    seed: int = 0,
    labels: int | None = None,
    changes: dict | None = None,
    robustness: float | None = None,
    seen: bool = False,
    maps: int | None = None,
    weights_file: bytes | None = None,
) -> Path:
    """Write a complete run that was never trained, and return its folder.

    The images and labels depend on `data` and `num_test` alone, so runs that share these can be compared; everything
    else is drawn from `seed` and the branch.

    Args:
        folder: the new run.
        branch: scratch_resnet, pretrained, or any other name.
        accuracy: fraction of the test images to be predicted right, to the nearest image.
        num_epochs: rows of the history.
        watched: the split in the history rows beside train: test or validation.
        data: fashion-mnist or digits.
        num_test: test images, black; a multiple of 10 gives all classes as many. None takes the real data set.
        recipe: the recipe's name.
        known_mistakes: the recipe's.
        overrides: recipe fields that the command line is said to have changed.
        weights: the weights' kind; by default what the branch usually has.
        seed: of the made-up numbers, and the record's.
        labels: of each class, that the record says were taken, drawn by `seed`.
        changes: fields of the record to put in place of these, each whole.
        robustness: predict corrupted copies, of which at the highest strength this fraction of those that are right
            otherwise is right; None predicts none.
        seen: keep five test and training images, 8×8, as a network could have got them.
        maps: places a side of the maps that it keeps of where it looked, each with its most in another corner; of less
            than four it keeps the rest of features.npz alone, and None keeps nothing.
        weights_file: the content of its model.safetensors, if it has one.
    """
    folder.mkdir(parents=True)
    if weights_file is not None:
        (folder / "model.safetensors").write_bytes(weights_file)
    run = _record(branch, num_epochs, watched, data, num_test, recipe, known_mistakes, overrides or {}, weights, seed)
    if labels is not None:
        run.data.labels_per_class, run.data.subset_seed = labels, seed
    random = np.random.default_rng([seed, len(branch)])
    run.history = _history(random, accuracy, num_epochs, watched)
    run.seconds = Seconds(preparing=2.5, training=41.0 * num_epochs, predicting=3.25)
    fake = _dataset(data, num_test)
    labels = fake.test_labels
    probabilities = _probabilities(random, labels, accuracy)
    arrays = {"test_probabilities": probabilities, "test_labels": labels}
    if robustness is not None:
        arrays |= _robustness(random, run, probabilities, labels, robustness)
    if seen:
        arrays |= _seen(run, pretrained=branch == "pretrained")
    if maps is not None:
        _write_features(folder, random, len(labels), maps)
    if watched == "validation":
        held_out = fake.train_labels[-NUM_VALIDATION:]
        arrays |= {
            "validation_probabilities": _probabilities(random, held_out, accuracy),
            "validation_labels": held_out,
        }
    if changes:
        run = Record.model_validate(run.as_json() | changes)
    record.finish_run(folder, run, arrays)
    (folder / record.LOG).write_text(f"{branch}: complete\n", encoding="utf-8")
    return folder


def write_unfinished_run(
    folder: Path,
    *,
    branch: str = "pretrained",
    num_epochs: int = 3,
    num_finished: int = 1,
    log: str = "epoch 1/3: loss 0.7\nout of memory\n",
    kept: bool = True,
) -> Path:
    """Write what a run of `num_epochs` leaves that ended after `num_finished` epochs, and return its folder.

    Without `kept` it left its log alone.
    """
    folder.mkdir(parents=True)
    run = _record(branch, num_epochs, "test", "fashion-mnist", 200, "article", (), {}, None, 0)
    run.history = _history(np.random.default_rng(0), 0.9, num_epochs, "test")[:num_finished]
    if run.frozen is not None:
        run.frozen.sha256_after = None
    if kept:
        checkpoint.write(folder, {"weight": np.zeros(3, np.float32)}, run)
    (folder / record.LOG).write_text(log, encoding="utf-8")
    return folder


def _dataset(name: str, num_test: int | None) -> Dataset:
    """Black images, and labels that go round all classes; or the real data set."""
    if num_test is None:
        return dataset.load(name)
    labels = np.arange(num_test, dtype=np.uint8) % 10
    images = np.zeros((num_test, 28, 28, 1), np.uint8)
    is_digits = name == "digits"
    return Dataset(
        name=name,
        title="scikit-learn's digits" if is_digits else "Fashion-MNIST",
        class_names=tuple("0123456789") if is_digits else fashion_mnist.CLASS_NAMES,
        train_images=np.zeros((20, 28, 28, 1), np.uint8),
        train_labels=np.arange(20, dtype=np.uint8) % 10,
        test_images=images,
        test_labels=labels,
        is_demonstration=is_digits,
    )


def _record(branch, num_epochs, watched, data, num_test, recipe, known_mistakes, overrides, weights, seed) -> Record:
    num_validation = NUM_VALIDATION if watched == "validation" else 0
    run = record.start_record(
        branch=branch,
        command=["--recipe", recipe, "--seed", str(seed)],
        recipe=Recipe(recipe, data, num_validation / 20, 28, 64, num_epochs, 0.001, known_mistakes),
        num_epochs=num_epochs,
        overrides=overrides,
        seed=seed,
        dataset=_dataset(data, num_test),
        split=(np.arange(20 - num_validation), np.arange(20 - num_validation, 20)),
    )
    run.model, run.weights = SCRATCH.model_copy(), Weights(kind=weights or "none")
    run.versions = {"python": "3.11.7", "platform": "Linux x86_64", "numpy": "2.4.6"}
    if branch == "pretrained":
        kind = weights or "imagenet"
        start = "random" if kind == "random" else "pretrained"
        run.model = PRETRAINED.model_copy(update={"start": start})
        run.weights = Weights(kind=kind, sha256="c0ffee", expects=EXPECTS if kind == "imagenet" else None)
        run.frozen = Frozen(sha256_before="beef" * 16, sha256_after="beef" * 16)
        run.versions |= {"keras": "3.15.1", "keras backend": "tensorflow"}
    elif branch != "scratch_resnet":
        run.model.title = branch
    run.device = Device(kind="cpu", name="a made-up processor, 2 threads")
    run.peak_memory_bytes = PeakMemory(main=1_234_567_890)
    # neither the clock nor the checkout may change a made-up run
    run.commit, run.source, run.repository = "0123456789abcdef0123456789abcdef01234567", None, None
    run.started = "2026-01-02T03:04:05Z"
    return run


def _history(random, accuracy: float, num_epochs: int, watched: str) -> list[Row]:
    """Curves that end at `accuracy`, with train a little above."""
    rows = []
    for epoch in range(1, num_epochs + 1):
        error = (1 - accuracy) * (num_epochs / epoch) ** 0.5
        loss = 2.5 * error
        row = Row(
            epoch=epoch,
            seconds=41.0,
            images_per_second=1500 + float(random.integers(0, 50)),
            learning_rate=0.001,
            train_loss=0.9 * loss,
            train_accuracy=max(0.0, 1 - 0.9 * error),
        )
        setattr(row, f"{watched}_loss", loss)
        setattr(row, f"{watched}_accuracy", max(0.0, 1 - error))
        rows.append(row)
    return rows


def _probabilities(random, labels: np.ndarray, accuracy: float) -> np.ndarray:
    """Probabilities, float32 (num_test, 10), that are right for the fraction `accuracy` of the images."""
    num_test, num_classes = len(labels), 10
    predicted = labels.astype(np.int64)
    wrong = random.permutation(num_test)[round(accuracy * num_test) :]
    # a mistake is mostly the next class but one, sometimes any other
    near = random.random(len(wrong)) < 0.7
    predicted[wrong] += np.where(near, 2, random.integers(1, num_classes, len(wrong)))
    predicted %= num_classes
    confidence = random.uniform(0.5, 0.99, num_test)
    probabilities = np.repeat(((1 - confidence) / (num_classes - 1))[:, None], num_classes, axis=1)
    probabilities[np.arange(num_test), predicted] = confidence
    return probabilities.astype(np.float32)


def _robustness(random, run: Record, probabilities: np.ndarray, labels: np.ndarray, robustness: float) -> dict:
    """Classes predicted for corrupted copies: what is wrong stays so, and the stronger the more."""
    rows = corruptions.sample(labels)
    strengths = corruptions.STRENGTHS
    strengths_listed = {kind: list(amounts) for kind, amounts in strengths.items()}
    run.robustness = Robustness(strengths=strengths_listed, num_images=len(rows), fingerprint="c0ffee")
    run.seconds.robustness = 12.5
    clean = probabilities.argmax(axis=1)[rows]
    share = 1 - (1 - robustness) * np.arange(1, 6)[:, None] / 5  # (num_strengths, 1)
    lost = random.random((len(strengths), 5, len(rows))) > share
    predicted = np.where(lost, (labels[rows] + 1) % 10, clean)
    return {"robustness_rows": rows, "robustness_predicted": predicted.astype(np.uint8)}


def _write_features(folder: Path, random, num_test: int, side: int) -> None:
    """Features of twenty images, and maps whose one bright place goes round the corners."""
    training = features.Training.of(random.normal(size=(20, 4)), np.arange(20, dtype=np.uint8) % 10)
    maps = None
    if side >= features.SMALLEST_MAP:
        maps = np.zeros((num_test, side, side), np.uint8)
        for row in range(num_test):
            maps[row, -(row % 2), -(row // 2 % 2)] = 255
    distances = training.distances(random.normal(size=(num_test, 4)))
    features.write(folder, features.Features(training, distances, maps))


def _seen(run: Record, *, pretrained: bool) -> dict:
    """Five test and five training images, each a ramp of grey levels."""
    run.seen = EXPECTS if pretrained else Input(channels="grey", lowest=[0.0], highest=[1.0])
    ramp = np.linspace(0, 255, 5 * 8 * 8).astype(np.uint8).reshape(5, 8, 8)
    return {"seen_test": ramp, "seen_training": ramp[::-1].copy()}
