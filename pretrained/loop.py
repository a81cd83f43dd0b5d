"""The training of `pretrained`: the frozen backbone turns augmented images into features, the head learns from them.

The features of an augmented image depend on that image alone, so they can be computed in large batches and handed to
the head in the article's small ones: the same result as training the whole network with `fit`, in less time. What is
fine-tuned after that goes through `fit` as one network.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from compare.data.images import take
from compare.system import disk, machine
from compare.system.errors import UserError
from compare.training import ending
from compare.training.ending import NUM_SEEN
from compare.training.estimate import measured
from compare.training.job import Job
from compare.training.limits import diverged
from compare.training.progress import EpochBar
from pretrained import augment, model, solver
from pretrained.feature_cache import FeatureCache, Split

PREDICTION_BATCH_SIZE = 256
PIXELS_IN_BATCH = 256 * 128**2  # of prediction, as they enter the backbone: of larger images there are fewer
IMAGES_AT_ONCE = 2048  # augmented, turned into features and learned from, before the next ones are
VALUES_AT_ONCE = 2**24  # in them, at most: of larger images fewer are in memory as float32
UNFROZEN_IMAGES_AT_ONCE = 512  # the same in fine-tuning, where they take longer; a signal to stop waits for them
BAD_FEATURES = "look at the weights: the features that they make are not numbers"
NUM_SCALE_IMAGES = 2048  # not augmented, by which kept features are scaled


def all_rows(images: np.ndarray) -> np.ndarray:
    """The indices of all images."""
    return np.arange(len(images))


def at_once(images: np.ndarray, *, batch_size: int, most: int | None = None) -> int:
    """How many images are worked on at a time: `most`, `IMAGES_AT_ONCE` if None, or fewer where they are large; whole
    batches."""
    num_values = math.prod(images.shape[1:])
    return batch_size * max(1, min(most or IMAGES_AT_ONCE, VALUES_AT_ONCE // num_values) // batch_size)


def predict_images(
    network: keras.Model, images: np.ndarray, rows: np.ndarray | None = None, *, recipe, whole_batches: bool = False
) -> np.ndarray:
    """What a network gives for images: features or probabilities, float32 (num_rows, …).

    Args:
        network: takes images, float32 (batch, height, width, channels) in 0…255.
        images: (num_images, height, width, channels), uint8, or float32 where they were augmented.
        rows: which of them, all if None. They are taken out of `images` some at a time.
        recipe: its size of images bounds the batch.
        whole_batches: fill the last one with zeros: XLA compiles the network anew for every size that it meets.
    """
    rows = all_rows(images) if rows is None else rows
    batch_size = max(1, min(PREDICTION_BATCH_SIZE, PIXELS_IN_BATCH // recipe.image_size**2))
    whole_batches = whole_batches and len(rows) > batch_size
    step, parts = at_once(images, batch_size=batch_size), []
    for begin in range(0, len(rows), step):
        inputs = take(images, rows[begin : begin + step]).astype(np.float32)
        num_inputs = len(inputs)
        if whole_batches:
            inputs = np.pad(inputs, [(0, -num_inputs % batch_size)] + 3 * [(0, 0)])
        parts.append(network.predict(inputs, batch_size=batch_size, verbose=0)[:num_inputs])
    return np.concatenate(parts)


def extract(
    feature_extractor: keras.Model, images: np.ndarray, rows: np.ndarray | None = None, *, recipe
) -> np.ndarray:
    """The features, float32 (num_rows, num_features), of images as in `predict_images`."""
    return predict_images(feature_extractor, images, rows, recipe=recipe, whole_batches=True)


def augmented(
    images: np.ndarray, rows: np.ndarray, *, recipe, seed: int, epoch: int, most: int | None = None, begin: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The training images once, shuffled and each augmented anew, some at a time. The draws depend on the seed and the
    epoch alone, so that a resumed run meets the images of an uninterrupted one.

    Args:
        images: uint8, (num_images, height, width, channels).
        rows: (num_rows,), which of them to train on.
        recipe: says how to augment; its batches divide all parts but the last.
        seed, epoch: of the draws.
        most: how many at a time, as in `at_once`.
        begin: how many are left out: some first parts.

    Yields:
        Indices into `rows`, (part,), and their images, float32 (part, height, width, channels) in 0…255.
    """
    order, maps = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=True)
    stride = at_once(images, batch_size=recipe.batch_size, most=most)
    for start in range(begin, len(rows), stride):
        part = order[start : start + stride]
        yield part, augment.apply(take(images, rows[part]), maps[start : start + stride])


def first_of(num_first: int, images: np.ndarray, rows: np.ndarray, *, recipe, seed: int, epoch: int) -> np.ndarray:
    """The first training images as that epoch of the head's training draws them, float32 (num_first, height, width,
    channels) in 0…255, out of all of them, as in `augmented`."""
    if recipe.num_epochs and not recipe.augmented_head:
        return take(images, rows[:num_first]).astype(np.float32)
    shuffle = recipe.solver == "sgd" or not recipe.num_epochs
    order, maps = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=shuffle)
    return augment.apply(take(images, rows[:num_first]), maps[order.argsort()[:num_first]])


def _drawn(
    images: np.ndarray, num_rows: int, *, recipe, seed: int, epoch: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch's images, and in that order their maps, as `augment.draw` gives them."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_rows) if shuffle else np.arange(num_rows)
    height, width = images.shape[1:3]
    return order, augment.draw(num_rows, rng, recipe, height=height, width=width)


def train_epoch(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
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
    most = None if feature_extractor is not None else min(UNFROZEN_IMAGES_AT_ONCE, IMAGES_AT_ONCE)
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
        loss = means.get("crossentropy", means["loss"])[0]  # without label smoothing
        sums += len(part) * np.array([1, loss, means["accuracy"][0]])
        if bar.due():
            bar.show(sums[0], sums[1] / sums[0], sums[2] / sums[0])
        yield int(sums[0])


def feature_cache(job: Job, networks: model.Networks) -> FeatureCache:
    """Where the features of images as they are are kept, for all runs of this network on this data."""
    record, recipe = job.record, job.recipe
    what_went_in = {name: str(getattr(recipe, name)) for name in ("backbone", "image_size", "preprocessing")}
    what_went_in |= record.versions | {"arrays": networks.loaded, "precision": networks.network.compute_dtype}
    return FeatureCache(
        job.data,
        what_went_in | {"processor": machine.processor_name()},
        num_features=networks.network.output_shape[1],
        extract=lambda images, rows: extract(networks.extractor, images, rows, recipe=recipe),
    )


def rows_needed(job: Job, networks: model.Networks) -> dict[Split, np.ndarray]:
    """Of which images as they are this run needs the features: rows by split."""
    needed = {"train": np.concatenate([job.train_rows, job.validation_rows])}
    return needed if networks.whole is not None else needed | {"test": all_rows(job.data.test_images)}


def fill_cache(job: Job, cache: FeatureCache, needed: dict[Split, np.ndarray]) -> None:
    """Compute and keep the features of these rows that are not in the cache yet. Where they cannot be kept there, each
    run computes those that it needs."""
    for split, rows in needed.items():
        missing = cache.missing(split, rows)
        with job.journal.epoch(f"features, {split}", sum(map(len, missing))) as bar:
            try:
                cache.fill(split, missing, bar.show)
            except UserError as error:
                job.journal.line(f"features are not kept for other runs: {error.came}")


def keep_pass(
    feature_extractor: keras.Model,
    kept: solver.KeptFeatures,
    images: np.ndarray,
    rows: np.ndarray,
    *,
    cache: FeatureCache | None,
    recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> None:
    """Keep the features of the training images `rows`, augmented anew, or as they are out of the cache, as the pass
    `epoch`, in their own order; what is kept of it already stays.

    Raises:
        UserError: they are not finite, or the disk is full.
    """
    _, maps = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=False)
    step = at_once(images, batch_size=PREDICTION_BATCH_SIZE)
    for file in kept.missing(epoch):
        if cache is not None:
            features = cache.features_of("train", rows[file])
        else:
            parts = [slice(begin, min(begin + step, file.stop)) for begin in range(file.start, file.stop, step)]
            inputs = (augment.apply(take(images, rows[part]), maps[part]) for part in parts)
            features = np.concatenate([extract(feature_extractor, some, recipe=recipe) for some in inputs])
        if not np.isfinite(features).all():
            raise diverged(
                f"features of the images {file.start:,} to {file.stop - 1:,} in pass {epoch} are not numbers",
                BAD_FEATURES,
            )
        kept.keep(epoch, file.start, features)
        if bar.due():
            bar.show(file.stop)


def evaluate(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean loss in nats an image and the accuracy as a fraction, of probabilities (num_images, num_classes)."""
    losses = keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(labels, probabilities))
    return float(losses.mean()), float((probabilities.argmax(axis=1) == labels).mean())


def predict(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """The class probabilities, float32 (num_images, num_classes), of the head by features."""
    return head.predict(features, batch_size=PREDICTION_BATCH_SIZE, verbose=0)


# ---- the phases of a run


def descend(
    job: Job,
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


def descend_head(job: Job, networks: model.Networks) -> np.ndarray | None:
    """Train the head on the frozen backbone, as `descend` does."""
    return descend(
        job,
        networks.head,
        feature_extractor=networks.extractor,
        train_rows=job.rows_of_epoch(job.recipe.num_epochs),
        last_epoch=job.recipe.num_epochs,
    )


def solve_head(job: Job, networks: model.Networks) -> np.ndarray | None:
    """Keep the features of one more pass over the training images, bring the head to its optimum on all that are kept,
    and so on for the passes that are left. Returns the probabilities of the watched split, which chooses the penalty,
    after the last; None where too few labels leave no such split."""
    recipe, images, rows = job.recipe, job.data.train_images, job.train_rows
    feature_extractor, head = networks.extractor, networks.head
    start = time.perf_counter()
    cache = None if recipe.augmented_head else feature_cache(job, networks)
    if cache is not None:
        fill_cache(job, cache, rows_needed(job, networks))

    def features_of(some: np.ndarray) -> np.ndarray:
        if cache is not None:
            return cache.features_of("train", some)
        return extract(feature_extractor, images, some, recipe=recipe)

    watched_features, watched_labels = None, job.data.train_labels[job.validation_rows]
    if job.watched is not None:
        watched_features = features_of(job.validation_rows)
    checkpoint = job.checkpoint or {}
    if "scale/mean" in checkpoint:  # what is kept already is scaled so
        scale = solver.Scale(checkpoint["scale/mean"], checkpoint["scale/deviation"])
    else:
        scale = solver.Scale.of(features_of(rows[:NUM_SCALE_IMAGES]))
    kept = solver.KeptFeatures(job.folder, scale, job.data.train_labels[rows])
    extracting_seconds = time.perf_counter() - start
    solution = checkpoint.get("solution")
    along = None
    for epoch in range(len(job.record.history) + 1, recipe.num_epochs + 1):
        start = time.perf_counter()
        for earlier in range(1, epoch + 1):  # one pass more; or several, where a run goes on elsewhere
            if missing := kept.missing(earlier):
                if damaged := [path.name for rows in missing if (path := kept.path(earlier, rows.start)).exists()]:
                    job.journal.line(f"{', '.join(damaged)}: damaged, and made anew")
                with job.epoch_bar(earlier, len(rows)) as bar:
                    keep_pass(
                        feature_extractor,
                        kept,
                        images,
                        rows,
                        cache=cache,
                        recipe=recipe,
                        seed=job.seed,
                        epoch=earlier,
                        bar=bar,
                    )
        along = solver.directions(kept) if along is None else along
        found = []
        # The first pass chooses the penalty: with weaker ones the watched loss falls, until they are too weak.
        for penalty in penalties_to_try(job) if epoch == 1 else (job.record.history[-1].penalty,):
            solution, *train_means = solver.solve(
                kept, epoch, head.output_shape[1], penalty, along=along, start=solution
            )
            head.set_weights(scale.on_features(solution))
            probabilities = watched_means = None
            if watched_features is not None:
                probabilities = predict(head, watched_features)
                watched_means = evaluate(probabilities, watched_labels)
            found.append((penalty, solution, train_means, watched_means, probabilities))
            if len(found) > 1 and found[-1][3][0] > found[-2][3][0]:
                break
        if len(found) > 1:
            found.sort(key=lambda one: one[3][0])  # the watched loss
        penalty, solution, train_means, watched_means, probabilities = found[0]
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


def penalties_to_try(job: Job) -> tuple[float, ...]:
    """The recipe's penalties, among which the watched loss chooses; the one in the middle where nothing is watched."""
    penalties = job.recipe.penalties
    return penalties if job.watched is not None else (penalties[len(penalties) // 2],)


def fine_tune(job: Job, networks: model.Networks) -> np.ndarray | None:
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


# ---- after them


def probabilities_of(
    networks: model.Networks, images: np.ndarray, rows: np.ndarray | None = None, *, recipe
) -> np.ndarray:
    """The class probabilities, float32 (num_rows, num_classes), of images as in `predict_images`, by what was
    trained."""
    if networks.whole is not None:
        return predict_images(networks.whole, images, rows, recipe=recipe)
    return predict(networks.head, extract(networks.extractor, images, rows, recipe=recipe))


def end(job: Job, networks: model.Networks, watched: np.ndarray | None, *, device_bytes) -> None:
    """What follows the last epoch, as `ending.end` does it.

    Args:
        job, networks: whose training is over.
        watched: the probabilities of the watched split; None where no epoch was left to train.
        device_bytes: tells the GPU's peak memory.
    """
    recipe, data = job.recipe, job.data

    def as_entered(images: np.ndarray) -> np.ndarray:
        preprocessed = model.network_input(
            images, image_size=recipe.image_size, preprocessing=recipe.preprocessing, backbone=networks.backbone
        )
        return keras.ops.convert_to_numpy(preprocessed)

    def seen() -> tuple[np.ndarray, np.ndarray]:
        training = first_of(NUM_SEEN, data.train_images, job.train_rows, recipe=recipe, seed=job.seed, epoch=1)
        return as_entered(data.test_images[:NUM_SEEN].astype(np.float32)), as_entered(training)

    def save(folder: Path) -> None:
        """Write the whole network in float32, wherever it was trained."""
        if recipe.unfreeze != "all":  # of which nothing should stay
            job.record.frozen.sha256_after = model.frozen_fingerprint(networks.network, recipe.unfreeze)
        extractor = networks.extractor
        if job.record.precision != "float32":
            model.compute_in_float32(networks.network)
            extractor = model.build_feature_extractor(
                networks.network,
                networks.backbone,
                image_shape=data.image_shape,
                image_size=recipe.image_size,
                preprocessing=recipe.preprocessing,
            )
        # Its count of steps is saved with it, means nothing at a constant rate, and fine-tuning's checkpoints lack it.
        networks.head.optimizer.iterations.assign(0)
        with disk.replacing(folder / "model.keras") as partial, disk.temporary_in(folder):
            model.join(extractor, networks.head).save(partial)

    def predict_rows(images: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        if images is data.test_images and networks.whole is None and not recipe.augmented_head:
            return predict(networks.head, feature_cache(job, networks).features_of("test", all_rows(images)))
        return probabilities_of(networks, images, rows, recipe=recipe)

    ending.end(
        job,
        predict=predict_rows,
        watched=watched,
        seen=seen,
        channels="RGB" if recipe.preprocessing == "unit" else model.channels(networks.backbone),
        save=save,
        device_bytes=device_bytes,
    )


# ---- before and between them


def begin_or_go_on(job: Job, networks: model.Networks) -> None:
    """Write the first checkpoint, or put back what the last one holds."""
    if job.checkpoint is None:
        job.write_checkpoint(checkpoint_arrays(networks.head))
        return
    num_begun = len(job.record.history) + bool(job.under_way)
    restore(networks.whole if num_begun > job.recipe.num_epochs else networks.head, job.checkpoint)


def estimate_epochs(job: Job, networks: model.Networks) -> tuple[list[np.ndarray], np.ndarray]:
    """How long the rest of the run takes, by some measured steps. All is as before afterwards.

    Args:
        job: what is left to do.
        networks: what is trained.

    Returns:
        The seconds of every epoch to come, and those of the predictions after them, as pairs (`compare.estimate`).
    """
    feature_extractor, head, whole = networks.extractor, networks.head, networks.whole
    recipe, images, rows = job.recipe, job.data.train_images, job.train_rows
    num_watched, num_finished = len(job.watched_images[2]), len(job.record.history)
    trained = [network for network in (head, whole) if network is not None]
    before = [checkpoint_arrays(network) for network in trained]

    part, some = next(augmented(images, rows, recipe=recipe, seed=0, epoch=1))
    labels = job.data.train_labels[rows[part]]
    augmenting = measured(
        lambda: next(augmented(images, rows, recipe=recipe, seed=0, epoch=1)), num_images=len(part), seconds=0.2
    )
    extracting = measured(lambda: extract(feature_extractor, some, recipe=recipe), num_images=len(part))
    features = extract(feature_extractor, some, recipe=recipe)
    epochs = []
    if recipe.solver == "sgd":
        learn = {"batch_size": recipe.batch_size, "verbose": 0}
        learning = measured(lambda: head.fit(features, labels, **learn), num_images=len(part))
        epochs += [len(rows) * (augmenting + extracting + learning)] * (recipe.num_epochs - num_finished)
    else:
        evaluating = solver.measure(features, head.output_shape[1])
        making = augmenting + extracting if recipe.augmented_head else 0 * extracting
        for number in range(num_finished + 1, recipe.num_epochs + 1):
            num_evaluations = solver.evaluations_expected(number, len(penalties_to_try(job)))
            epochs.append(len(rows) * (making + num_evaluations * evaluating))
    if epochs and recipe.augmented_head:
        num_scaled = NUM_SCALE_IMAGES if recipe.solver == "lbfgs" else 0
        epochs[0] = epochs[0] + (num_watched + num_scaled) * extracting
    elif epochs:
        cache = feature_cache(job, networks)
        num_missing = sum(cache.num_to_extract(*one) for one in rows_needed(job, networks).items())
        epochs[0] = epochs[0] + num_missing * extracting
    if whole is not None:
        few = slice(0, 8 * recipe.batch_size)
        tuning = measured(
            lambda: whole.fit(some[few], labels[few], batch_size=recipe.batch_size, verbose=0),
            num_images=len(labels[few]),
        )
        num_tuned = len(job.rows_of_epoch(recipe.num_unfrozen_epochs))
        epoch = num_tuned * (augmenting + tuning) + num_watched * extracting
        epochs += [epoch] * (len(job.epochs_left) - len(epochs))
    for network, arrays in zip(trained, before, strict=True):
        restore(network, arrays)
    num_test = 0 if whole is None and not recipe.augmented_head else job.num_more_test_images
    return epochs, (num_test + job.num_corrupted_images) * extracting


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
