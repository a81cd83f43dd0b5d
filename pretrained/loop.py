"""The training of `pretrained`: the frozen backbone turns augmented images into features, the head learns from them.

The features of an augmented image depend on that image alone, so they can be computed in large batches and handed to
the head in the article's small ones: the same result as training the whole network with `fit`, in less time. What is
fine-tuned after that goes through `fit` as one network.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import keras
import numpy as np

from compare.data.images import stratified_sample
from compare.system import processes
from compare.system.errors import UserError
from compare.training.estimate import measured
from compare.training.job import Job
from compare.training.limits import diverged
from compare.training.progress import EpochBar
from pretrained import looking, model, solver
from pretrained.features import (
    BAD_FEATURES,
    PREDICTION_BATCH_SIZE,
    augmented,
    extract,
    feature_cache,
    fill_cache,
    keep_pass,
    predict_images,
    rows_needed,
)
from pretrained.recipe import Recipe

UNFROZEN_IMAGES_AT_ONCE = 512  # the same in fine-tuning, where they take longer; a signal to stop waits for them
NUM_SCALE_IMAGES = 2048  # not augmented, by which kept features are scaled


def train_epoch(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    sums: np.ndarray,
    *,
    feature_extractor: keras.Model | None,
    recipe: Recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> Iterator[int]:
    """Train on every image once, by gradient descent.

    Args:
        network: the head, or the whole network.
        images, labels: uint8, (num_images, height, width, channels), and (num_images,).
        rows: (num_rows,), which of them to train on.
        sums: float64, (3,): here are added up the images that were learned from, their losses in nats, and how many of
            them were right; each image counted before the step that it took part in. It goes on after as many images as
            it has already.
        feature_extractor: makes what the head learns from; None for the whole network, which takes images.
        recipe: batches and augmentation.
        seed, epoch: of the draws.
        bar: is kept up to date.

    Yields:
        After every part, how many images were learned from.

    Raises:
        UserError: the loss is not finite.
    """
    most = None if feature_extractor is not None else UNFROZEN_IMAGES_AT_ONCE
    for part, inputs in augmented(images, rows, recipe=recipe, seed=seed, epoch=epoch, most=most, begin=int(sums[0])):
        if feature_extractor is not None:
            inputs = extract(feature_extractor, inputs, recipe=recipe)  # (part, num_features)
        means = network.fit(inputs, labels[rows[part]], batch_size=recipe.batch_size, shuffle=False, verbose=0).history
        if not np.isfinite(means["loss"][0]):
            first, last = sums[0] // recipe.batch_size + 1, -(-(sums[0] + len(part)) // recipe.batch_size)
            rate = float(network.optimizer.learning_rate)
            raise diverged(
                f"the loss in steps {first:,.0f} to {last:,.0f} of epoch {epoch} is {means['loss'][0]}, "
                f"at a learning rate of {rate:.3g}",
                f"start anew with a smaller --learning-rate than {rate:.3g}"
                if feature_extractor is not None
                else "start anew without --unfreeze, or with a smaller unfrozen_learning_rate in the recipe",
            )
        loss = means.get("crossentropy", means["loss"])[0]  # without label smoothing and weights
        sums += len(part) * np.array([1, loss, means["accuracy"][0]])
        if bar.due():
            bar.show(sums[0], sums[1] / sums[0], sums[2] / sums[0])
        yield int(sums[0])


def evaluate(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean loss in nats an image and the accuracy as a fraction, of probabilities (num_images, num_classes)."""
    return float(losses(probabilities, labels).mean()), float((probabilities.argmax(axis=1) == labels).mean())


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss of each image, nats, float32 (num_images,)."""
    return keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(labels, probabilities))


def predict(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """The class probabilities, float32 (num_images, num_classes), of the head by features."""
    return head.predict(features, batch_size=PREDICTION_BATCH_SIZE, verbose=0)


# ---- the phases of a run


def descend(
    job: Job[Recipe],
    network: keras.Model,
    *,
    feature_extractor: keras.Model | None,
    train_rows: np.ndarray,
    last_epoch: int,
    phase: str | None = None,
) -> np.ndarray | None:
    """Train by gradient descent, the epochs that are left up to `last_epoch`.

    Args:
        job: the run.
        network, feature_extractor: as in `train_epoch`.
        train_rows: of every epoch, as `Job.rows_of_epoch` gives them.
        last_epoch: counted from 1.
        phase: for the history's rows.

    Returns:
        The probabilities of the watched split after the last epoch; None where no epoch was left, or nothing is
        watched.
    """
    recipe, data = job.recipe, job.data
    images, labels, rows = job.watched_images
    start = time.perf_counter()
    features = None  # never augmented: once is enough for all epochs
    if feature_extractor is not None and job.watched is not None:
        features = extract(feature_extractor, images, rows, recipe=recipe)
    extracting_seconds = time.perf_counter() - start
    probabilities = None
    for epoch in range(len(job.record.history) + 1, last_epoch + 1):
        start = time.perf_counter() - job.seconds_under_way
        sums = job.under_way.get("sums", np.zeros(3))
        with job.stopping.finishing(), job.epoch_bar(epoch, len(train_rows)) as bar:
            for _ in train_epoch(
                network,
                data.train_images,
                data.train_labels,
                train_rows,
                sums,
                feature_extractor=feature_extractor,
                recipe=recipe,
                seed=job.seed,
                epoch=epoch,
                bar=bar,
            ):
                if job.must_keep():
                    job.keep(checkpoint_arrays(network), {"sums": sums}, seconds=time.perf_counter() - start)
        training_seconds = time.perf_counter() - start
        if features is not None:
            probabilities = predict(network, features)
        elif job.watched is not None:
            probabilities = predict_images(network, images, rows, recipe=recipe)
        job.end_epoch(
            train=(sums[1] / sums[0], sums[2] / sums[0]),
            watched=None if probabilities is None else evaluate(probabilities, labels[rows]),
            learning_rate=float(f"{float(network.optimizer.learning_rate):.6g}"),  # float32 has no more digits
            num_images=len(train_rows),
            training_seconds=training_seconds,
            seconds=time.perf_counter() - start + extracting_seconds,
            arrays=checkpoint_arrays(network),
            phase=phase,
        )
        extracting_seconds = 0.0  # told once, with the first epoch
    return probabilities


def descend_head(job: Job[Recipe], networks: model.Networks) -> np.ndarray | None:
    """Train the head on the frozen backbone, as `descend` does."""
    return descend(
        job,
        networks.head,
        feature_extractor=networks.extractor,
        train_rows=job.rows_of_epoch(job.recipe.num_epochs),
        last_epoch=job.recipe.num_epochs,
    )


def solve_head(job: Job[Recipe], networks: model.Networks) -> np.ndarray | None:
    """Keep the features of one more pass over the training images, bring the head to its optimum on all that are kept,
    and so on for the passes that are left. Returns the probabilities of the watched split, which chooses the penalty,
    after the last; None where too few labels leave no such split, and in a process that helps the first with the
    features alone."""
    recipe, images, rows = job.recipe, job.data.train_images, job.train_rows
    feature_extractor, head = networks.extractor, networks.head
    start = time.perf_counter()
    cache = None if recipe.augmented_head else feature_cache(job, networks)
    if cache is not None:
        fill_cache(job, cache, rows_needed(job, networks))
        if not processes.is_first():
            return None

    def features_of(some: np.ndarray) -> np.ndarray:
        if cache is not None:
            return cache.features_of("train", some)
        return extract(feature_extractor, images, some, recipe=recipe)

    watched_features, watched_labels = None, job.data.train_labels[job.validation_rows]
    if job.watched is not None and processes.is_first():
        watched_features = features_of(job.validation_rows)
    checkpoint = job.checkpoint or {}
    if "scale/mean" in checkpoint:  # what is kept already is scaled so
        scale = solver.Scale(checkpoint["scale/mean"], checkpoint["scale/deviation"])
    else:
        # of every class: the images of a folder lie class by class
        some = stratified_sample(job.data.train_labels[rows], NUM_SCALE_IMAGES, seed=0)
        scale = solver.Scale.of(features_of(rows[some]))
    kept = solver.KeptFeatures(job.folder, scale, job.data.train_labels[rows])
    extracting_seconds = time.perf_counter() - start

    def keep(number: int) -> None:
        there = set(job.folder.glob("features-*"))  # before others make more
        if missing := kept.missing(number):
            if damaged := [path.name for rows in missing if (path := kept.path(number, rows.start)) in there]:
                job.journal.line(f"{', '.join(damaged)}: damaged, and made anew")
            with job.epoch_bar(number, len(rows)) as bar:
                keep_pass(
                    feature_extractor,
                    kept,
                    images,
                    rows,
                    cache=cache,
                    recipe=recipe,
                    seed=job.seed,
                    epoch=number,
                    bar=bar,
                )

    if not processes.is_first():
        with contextlib.suppress(UserError):  # of what the first will meet as well, and say
            for number in range(1, recipe.num_epochs + 1):
                keep(number)
        return None
    solution = checkpoint.get("solution")
    along, class_weights = None, job.class_weights
    for epoch in range(len(job.record.history) + 1, recipe.num_epochs + 1):
        start = time.perf_counter()
        for earlier in range(1, epoch + 1):  # one pass more; or several, where a run goes on elsewhere
            keep(earlier)
        along = solver.directions(kept) if along is None else along
        found = []
        # The first pass chooses the penalty: with weaker ones the watched loss falls, until they are too weak.
        for penalty in penalties_to_try(job):
            solution, loss, accuracy = solver.solve(
                kept, epoch, head.output_shape[1], penalty, along=along, start=solution, class_weights=class_weights
            )
            head.set_weights(scale.on_features(solution))
            probabilities, watched_means, watched_loss = None, None, 0.0
            if watched_features is not None:
                probabilities = predict(head, watched_features)
                watched_means = evaluate(probabilities, watched_labels)
                watched_loss = watched_means[0]
                if class_weights is not None:  # what is brought to its optimum is what chooses
                    counts = class_weights[watched_labels]
                    watched_loss = np.average(losses(probabilities, watched_labels), weights=counts)
            found.append((watched_loss, penalty, solution, (loss, accuracy), watched_means, probabilities))
            if len(found) > 1 and found[-1][0] > found[-2][0]:
                break
        if len(found) > 1:
            found.sort(key=lambda one: one[0])
        _, penalty, solution, train_means, watched_means, probabilities = found[0]
        head.set_weights(scale.on_features(solution))
        seconds = time.perf_counter() - start
        arrays = {"solution": solution, "scale/mean": scale.mean, "scale/deviation": scale.deviation}
        if cache is not None:
            job.record.seconds.extracting = cache.saved_seconds
        job.end_epoch(
            train=train_means,
            watched=watched_means,
            learning_rate=None,
            num_images=len(rows),
            training_seconds=seconds,
            seconds=seconds + extracting_seconds,
            arrays=checkpoint_arrays(head) | arrays,
            advice=BAD_FEATURES,
            penalty=penalty,
        )
        extracting_seconds = 0.0
    return probabilities


def penalties_to_try(job: Job[Recipe]) -> tuple[float, ...]:
    """The recipe's penalties, among which the watched loss chooses; the one in the middle where nothing is watched; and
    once one is chosen, that."""
    if chosen := [row.penalty for row in job.record.history if row.penalty is not None]:
        return (chosen[-1],)
    penalties = job.recipe.penalties
    return penalties if job.watched is not None else (penalties[len(penalties) // 2],)


def fine_tune(job: Job[Recipe], networks: model.Networks) -> np.ndarray | None:
    """Train the whole network after the head, as `descend` does."""
    recipe = job.recipe
    return descend(
        job,
        networks.whole,
        feature_extractor=None,
        train_rows=job.rows_of_epoch(recipe.num_unfrozen_epochs),
        last_epoch=recipe.num_epochs + recipe.num_unfrozen_epochs,
        phase="fine-tuning",
    )


# ---- before and between them


def begin_or_go_on(job: Job[Recipe], networks: model.Networks) -> None:
    """Write the first checkpoint, or put back what the last one holds."""
    if job.checkpoint is None:
        job.write_checkpoint(checkpoint_arrays(networks.head))
        return
    num_begun = len(job.record.history) + bool(job.under_way)
    restore(networks.whole if num_begun > job.recipe.num_epochs else networks.head, job.checkpoint)


@dataclasses.dataclass(frozen=True)
class Speeds:
    """Seconds an image, as pairs (`estimate`), by some measured steps.

    Attributes:
        augmenting, extracting: a training image, and its features.
        learning: the head, in an epoch of gradient descent, or in one evaluation of the solver.
        tuning: the whole network; None where it is not trained.
    """

    augmenting: np.ndarray
    extracting: np.ndarray
    learning: np.ndarray
    tuning: np.ndarray | None


def measure(job: Job[Recipe], networks: model.Networks) -> Speeds:
    """Measure some steps of what the job trains. All is as before afterwards."""
    head, whole = networks.head, networks.whole
    recipe, images, rows = job.recipe, job.data.train_images, job.train_rows
    trained = [network for network in (head, whole) if network is not None]
    before = [checkpoint_arrays(network) for network in trained]

    def draw() -> tuple[np.ndarray, np.ndarray]:
        return next(augmented(images, rows, recipe=recipe, seed=0, epoch=1))

    part, some = draw()
    labels = job.data.train_labels[rows[part]]
    features, steps = extract(networks.extractor, some, recipe=recipe), {"batch_size": recipe.batch_size, "verbose": 0}
    few, tuning = slice(0, 8 * recipe.batch_size), None
    if whole is not None:
        tuning = measured(lambda: whole.fit(some[few], labels[few], **steps), num_images=len(labels[few]))
    found = Speeds(
        augmenting=measured(draw, num_images=len(part), seconds=0.2),
        extracting=measured(lambda: extract(networks.extractor, some, recipe=recipe), num_images=len(part)),
        learning=solver.measure(features, head.output_shape[1])
        if recipe.solver == "lbfgs"
        else measured(lambda: head.fit(features, labels, **steps), num_images=len(part)),
        tuning=tuning,
    )
    for network, arrays in zip(trained, before, strict=True):
        restore(network, arrays)
    return found


def seconds_expected(
    job: Job[Recipe], networks: model.Networks, speeds: Speeds, *, after: Job[Recipe] | None = None
) -> list[np.ndarray]:
    """The seconds of every epoch that is left, and of what follows them, as pairs (`estimate`).

    Args:
        job: what is left to do.
        networks: what is trained.
        speeds: of an image.
        after: the training that comes before, and has kept the features of its images by then.
    """
    recipe, num_rows, num_finished = job.recipe, len(job.train_rows), len(job.record.history)
    num_watched, num_sharing = len(job.watched_images[2]), processes.num_together()
    epochs = []
    for number in range(num_finished + 1, recipe.num_epochs + 1):
        seconds = (
            num_rows / num_sharing * (speeds.augmenting + speeds.extracting) if recipe.augmented_head else np.zeros(2)
        )
        num_looks = 1
        if recipe.solver == "lbfgs":
            num_looks = solver.evaluations_expected(number, len(penalties_to_try(job)))
        epochs.append(seconds + num_looks * num_rows * speeds.learning)
    if epochs and recipe.augmented_head:
        num_scaled = NUM_SCALE_IMAGES if recipe.solver == "lbfgs" else 0
        epochs[0] += (num_watched + num_scaled) * speeds.extracting
    elif epochs:
        cache, kept = feature_cache(job, networks), {} if after is None else rows_needed(after, networks)
        for split, rows in rows_needed(job, networks).items():
            if split not in kept or not cache.missing(split, kept[split]):
                epochs[0] += cache.num_to_extract(split, rows) / num_sharing * speeds.extracting
    if speeds.tuning is not None:
        num_tuned = len(job.rows_of_epoch(recipe.num_unfrozen_epochs))
        epoch = num_tuned * (speeds.augmenting + speeds.tuning) + num_watched * speeds.extracting
        epochs += [epoch] * (len(job.epochs_left) - len(epochs))
    num_test = 0 if networks.whole is None and not recipe.augmented_head else job.num_more_test_images
    num_looked_at = 0 if looking.features_suffice(networks, recipe) else job.num_looked_at
    return [*epochs, (num_test + num_looked_at + job.num_corrupted_images) * speeds.extracting]


def checkpoint_arrays(network: keras.Model) -> dict[str, np.ndarray]:
    """The network that is being trained, head or whole, and its optimizer's state as arrays, by name."""
    arrays = {f"network/{index}": array for index, array in enumerate(network.get_weights())}
    for index, variable in enumerate(network.optimizer.variables):
        arrays[f"optimizer/{index}"] = keras.ops.convert_to_numpy(variable)
    return arrays


def restore(network: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `checkpoint_arrays` gave."""
    network.set_weights([arrays[f"network/{index}"] for index in range(len(network.weights))])
    for index, variable in enumerate(network.optimizer.variables):
        variable.assign(arrays[f"optimizer/{index}"])
