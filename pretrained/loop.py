"""The training of `pretrained`: the frozen backbone turns augmented images into features, the head learns from them.

The features of an augmented image depend on that image alone, so they can be computed in large batches and handed to
the head in the article's small ones: the same result as training the whole network with `fit`, in less time. What is
fine-tuned after that goes through `fit` as one network.
"""

import time
from collections.abc import Iterator

import keras
import numpy as np

from compare.training.estimate import measured
from compare.training.job import Job, diverged
from compare.training.progress import EpochBar
from pretrained import augment, solver

PREDICTION_BATCH_SIZE = 256
IMAGES_AT_ONCE = 2048  # augmented, turned into features and learned from, before the next ones are
UNFROZEN_IMAGES_AT_ONCE = 512  # the same in fine-tuning, where they take longer; a signal to stop waits for them
BAD_FEATURES = "look at the weights: the features that they make are not numbers"
NUM_SCALE_IMAGES = 2048  # not augmented, by which kept features are scaled


def extract(feature_extractor: keras.Model, images: np.ndarray) -> np.ndarray:
    """The features, float32 (num_images, 2048), of images (num_images, 28, 28) or (num_images, 28, 28, 1) in 0…255."""
    inputs = grey(images)
    if (
        len(images) > PREDICTION_BATCH_SIZE
    ):  # to whole batches: XLA compiles the network anew for every size that it meets
        inputs = np.pad(inputs, [(0, -len(images) % PREDICTION_BATCH_SIZE)] + 3 * [(0, 0)])
    return feature_extractor.predict(inputs, batch_size=PREDICTION_BATCH_SIZE, verbose=0)[: len(images)]


def grey(images: np.ndarray) -> np.ndarray:
    """Images (num_images, 28, 28), or with the one channel that they have, as float32 (num_images, 28, 28, 1)."""
    return images.reshape(-1, 28, 28, 1).astype(np.float32)


def augmented(
    images: np.ndarray, *, recipe, seed: int, epoch: int, at_once: int | None = None, begin: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All images once, shuffled and each augmented anew, some at a time. The draws depend on the seed and the epoch
    alone, so that a resumed run meets the images of an uninterrupted one.

    Args:
        images: uint8, (num_images, 28, 28).
        recipe: says how to augment; its batches divide all parts but the last.
        seed, epoch: of the draws.
        at_once: how many at a time, at most but for one batch; `IMAGES_AT_ONCE` if None.
        begin: how many are left out: some first parts.

    Yields:
        The images' indices, (part,), and they themselves, float32 (part, 28, 28, 1) in 0…255.
    """
    order, maps = _drawn(len(images), recipe=recipe, seed=seed, epoch=epoch, shuffle=True)
    stride = recipe.batch_size * max(1, (at_once or IMAGES_AT_ONCE) // recipe.batch_size)
    for start in range(begin, len(images), stride):
        rows = order[start : start + stride]
        yield rows, augment.apply(images[rows], maps[start : start + stride])


def first_of(num_first: int, images: np.ndarray, *, recipe, seed: int, epoch: int) -> np.ndarray:
    """The first images as that epoch of the head's training draws them, float32 (num_first, 28, 28, 1) in 0…255, out of
    all of them, as in `augmented`."""
    order, maps = _drawn(len(images), recipe=recipe, seed=seed, epoch=epoch, shuffle=recipe.solver == "sgd")
    return augment.apply(images[:num_first], maps[order.argsort()[:num_first]])


def _drawn(num_images: int, *, recipe, seed: int, epoch: int, shuffle: bool) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch's images, and in that order their maps, as `augment.draw` gives them."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_images) if shuffle else np.arange(num_images)
    return order, augment.draw(num_images, rng, recipe)


def train_epoch(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    sums: np.ndarray,
    *,
    feature_extractor: keras.Model | None,
    recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> Iterator[int]:
    """Train on every image once, by gradient descent.

    Args:
        network: the head, or the whole network.
        images, labels: uint8, (num_images, 28, 28), and (num_images,).
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
    at_once = IMAGES_AT_ONCE if feature_extractor is not None else min(UNFROZEN_IMAGES_AT_ONCE, IMAGES_AT_ONCE)
    draws = {"recipe": recipe, "seed": seed, "epoch": epoch}
    for rows, inputs in augmented(images, **draws, at_once=at_once, begin=int(sums[0])):
        if feature_extractor is not None:
            inputs = extract(feature_extractor, inputs)  # (rows, 2048)
        means = network.fit(inputs, labels[rows], batch_size=recipe.batch_size, shuffle=False, verbose=0).history
        if not np.isfinite(means["loss"][0]):
            first, last = sums[0] // recipe.batch_size + 1, -(-(sums[0] + len(rows)) // recipe.batch_size)
            rate = float(network.optimizer.learning_rate)
            raise diverged(
                f"the loss in steps {first:,.0f} to {last:,.0f} of epoch {epoch} is {means['loss'][0]}, "
                f"at a learning rate of {rate:.3g}",
                f"start anew with a smaller --learning-rate than {rate:.3g}"
                if feature_extractor is not None
                else "start anew without --unfreeze, or with a smaller unfrozen_learning_rate in the recipe",
            )
        sums += len(rows) * np.array([1, means["loss"][0], means["accuracy"][0]])
        if bar.due():
            bar.show(sums[0], sums[1] / sums[0], sums[2] / sums[0])
        yield int(sums[0])


def keep_pass(
    feature_extractor: keras.Model,
    kept: solver.KeptFeatures,
    images: np.ndarray,
    *,
    recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> None:
    """Keep the features of every image, augmented anew, as the pass `epoch`, in the images' own order; what is kept of
    it already stays.

    Raises:
        UserError: they are not finite, or the disk is full.
    """
    _, maps = _drawn(len(images), recipe=recipe, seed=seed, epoch=epoch, shuffle=False)
    for rows in kept.missing(epoch):
        features = extract(feature_extractor, augment.apply(images[rows], maps[rows]))
        if not np.isfinite(features).all():
            raise diverged(
                f"features of the images {rows.start:,} to {rows.stop - 1:,} in pass {epoch} are not numbers",
                BAD_FEATURES,
            )
        kept.keep(epoch, rows.start, features)
        if bar.due():
            bar.show(rows.stop)


def evaluate(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean loss in nats an image and the accuracy as a fraction, of probabilities (num_images, num_classes)."""
    losses = keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(labels, probabilities))
    return float(losses.mean()), float((probabilities.argmax(axis=1) == labels).mean())


def predict(network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The class probabilities, float32 (num_images, num_classes), of the head by features or the whole by images."""
    return network.predict(inputs, batch_size=PREDICTION_BATCH_SIZE, verbose=0)


# ---- the phases of a run


def descend(
    job: Job,
    network: keras.Model,
    *,
    feature_extractor: keras.Model | None,
    last_epoch: int,
    learning_rate: float,
    **more,
) -> np.ndarray | None:
    """Train by gradient descent, the epochs that are left up to `last_epoch`.

    Args:
        job: the run.
        network, feature_extractor: as in `train_epoch`.
        last_epoch: counted from 1.
        learning_rate: the network's, for the record.
        more: for the history's rows.

    Returns:
        The probabilities of the watched split after the last epoch; None where no epoch was left.
    """
    recipe, (images, labels) = job.recipe, job.train_images_and_labels
    watched_images, watched_labels = job.watched_images_and_labels
    start = time.perf_counter()
    # never augmented: once is enough for all epochs
    watched = grey(watched_images) if feature_extractor is None else extract(feature_extractor, watched_images)
    extracting_seconds = time.perf_counter() - start
    probabilities = None
    for epoch in range(len(job.record["history"]) + 1, last_epoch + 1):
        start = time.perf_counter() - job.seconds_under_way
        sums = job.under_way.get("sums", np.zeros(3))
        with job.finishing(), job.epoch_bar(epoch) as bar:
            for _ in train_epoch(
                *(network, images, labels, sums),
                feature_extractor=feature_extractor,
                recipe=recipe,
                seed=job.seed,
                epoch=epoch,
                bar=bar,
            ):
                if job.must_keep():
                    job.keep(checkpoint_arrays(network), {"sums": sums}, seconds=time.perf_counter() - start)
        training_seconds = time.perf_counter() - start
        probabilities = predict(network, watched)
        job.end_epoch(
            train=(sums[1] / sums[0], sums[2] / sums[0]),
            watched=evaluate(probabilities, watched_labels),
            learning_rate=learning_rate,
            training_seconds=training_seconds,
            seconds=time.perf_counter() - start + extracting_seconds,
            arrays=checkpoint_arrays(network),
            **more,
        )
        extracting_seconds = 0.0  # told once, with the first epoch
    return probabilities


def solve_head(job: Job, feature_extractor: keras.Model, head: keras.Model) -> np.ndarray:
    """Keep the features of one more pass over the training images, bring the head to its optimum on all that are kept,
    and so on for the passes that are left. Returns the probabilities of the watched split, which chooses the penalty,
    after the last."""
    recipe, (images, labels) = job.recipe, job.train_images_and_labels
    watched_images, watched_labels = job.watched_images_and_labels
    start = time.perf_counter()
    watched_features = extract(feature_extractor, watched_images)
    checkpoint = job.checkpoint or {}
    if "scale/mean" in checkpoint:  # what is kept already is scaled so
        scale = solver.Scale(checkpoint["scale/mean"], checkpoint["scale/deviation"])
    else:
        scale = solver.Scale.of(extract(feature_extractor, images[:NUM_SCALE_IMAGES]))
    kept = solver.KeptFeatures(job.folder, scale, labels)
    extracting_seconds = time.perf_counter() - start
    solution = checkpoint.get("solution")
    along = None
    for epoch in range(len(job.record["history"]) + 1, recipe.num_epochs + 1):
        start = time.perf_counter()
        for earlier in range(1, epoch + 1):  # one pass more; or several, where a run goes on elsewhere
            if missing := kept.missing(earlier):
                if damaged := [path.name for rows in missing if (path := kept.path(earlier, rows.start)).exists()]:
                    job.journal.line(f"{', '.join(damaged)}: damaged, and made anew")
                with job.epoch_bar(earlier) as bar:
                    keep_pass(feature_extractor, kept, images, recipe=recipe, seed=job.seed, epoch=earlier, bar=bar)
        along = solver.directions(kept) if along is None else along
        found = []
        # The first pass chooses the penalty: with weaker ones the watched loss falls, until they are too weak.
        for penalty in recipe.penalties if epoch == 1 else (job.record["history"][-1]["penalty"],):
            solution, *train_means = solver.solve(
                kept, epoch, head.output_shape[1], penalty, along=along, start=solution
            )
            head.set_weights(scale.on_features(solution))
            probabilities = predict(head, watched_features)
            found.append((penalty, solution, train_means, evaluate(probabilities, watched_labels), probabilities))
            if len(found) > 1 and found[-1][3][0] > found[-2][3][0]:
                break
        penalty, solution, train_means, watched_means, probabilities = min(found, key=lambda one: one[3][0])  # the loss
        head.set_weights(scale.on_features(solution))
        seconds = time.perf_counter() - start
        arrays = {"solution": solution, "scale/mean": scale.mean, "scale/deviation": scale.deviation}
        job.end_epoch(
            train=train_means,
            watched=watched_means,
            learning_rate=None,
            training_seconds=seconds,
            seconds=seconds + extracting_seconds,
            arrays=checkpoint_arrays(head) | arrays,
            advice=BAD_FEATURES,
            penalty=penalty,
        )
        extracting_seconds = 0.0
    return probabilities


# ---- before and between them


def estimate_epochs(
    job: Job, feature_extractor: keras.Model, head: keras.Model, whole: keras.Model | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """How long the rest of the run takes, by some measured steps. All is as before afterwards.

    Args:
        job: what is left to do.
        feature_extractor, head: what is trained first.
        whole: what is fine-tuned after that, if anything.

    Returns:
        The seconds of every epoch to come, and those of the predictions after them, as pairs (`compare.estimate`).
    """
    recipe, (images, labels) = job.recipe, job.train_images_and_labels
    num_watched, num_finished = len(job.watched_images_and_labels[1]), len(job.record["history"])
    num_test = job.num_more_test_images + job.num_corrupted_images
    networks = [network for network in (head, whole) if network is not None]
    before = [checkpoint_arrays(network) for network in networks]

    rows, some = next(augmented(images, recipe=recipe, seed=0, epoch=1))
    augmenting = measured(
        lambda: next(augmented(images, recipe=recipe, seed=0, epoch=1)), num_images=len(rows), seconds=0.2
    )
    extracting = measured(lambda: extract(feature_extractor, some), num_images=len(rows))
    features = extract(feature_extractor, some)
    epochs = []
    if recipe.solver == "sgd":
        learn = {"batch_size": recipe.batch_size, "verbose": 0}
        learning = measured(lambda: head.fit(features, labels[rows], **learn), num_images=len(rows))
        epochs += [len(images) * (augmenting + extracting + learning)] * (recipe.num_epochs - num_finished)
    else:
        evaluating = solver.measure(features, head.output_shape[1])
        for number in range(num_finished + 1, recipe.num_epochs + 1):
            num_evaluations = solver.evaluations_expected(number, len(recipe.penalties))
            epochs.append(len(images) * (augmenting + extracting + num_evaluations * evaluating))
    if epochs:
        num_scaled = NUM_SCALE_IMAGES if recipe.solver == "lbfgs" else 0
        epochs[0] = epochs[0] + (num_watched + num_scaled) * extracting
    if whole is not None:
        few = slice(0, 8 * recipe.batch_size)
        tuning = measured(
            lambda: whole.fit(some[few], labels[rows][few], batch_size=recipe.batch_size, verbose=0),
            num_images=len(labels[rows][few]),
        )
        epoch = len(images) * (augmenting + tuning) + num_watched * extracting
        epochs += [epoch] * (len(job.epochs_left) - len(epochs))
    for network, arrays in zip(networks, before, strict=True):
        restore(network, arrays)
    return epochs, num_test * extracting


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
