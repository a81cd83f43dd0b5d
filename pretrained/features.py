"""The features of images as they are or augmented, as a backbone makes them, and where they are kept."""

import math
from collections.abc import Iterator

import keras
import numpy as np

from compare.data.images import take
from compare.system import disk, machine
from compare.system.errors import EXIT_FAILED, UserError
from compare.training import crops
from compare.training.job import Job
from compare.training.limits import diverged
from compare.training.progress import EpochBar
from pretrained import augment, feature_network, model, solver
from pretrained.feature_cache import FeatureCache, Split, in_turns
from pretrained.recipe import Recipe

PREDICTION_BATCH_SIZE = 256
PIXELS_IN_BATCH = 256 * 128**2  # of prediction, as they enter the backbone: of larger images there are fewer
IMAGES_AT_ONCE = 2048  # augmented, turned into features and learned from, before the next ones are
VALUES_AT_ONCE = 2**24  # in them, at most: of larger images fewer are in memory as float32
BAD_FEATURES = "look at the weights: the features that they make are not numbers"


def all_rows(images: np.ndarray) -> np.ndarray:
    """The indices of all images."""
    return np.arange(len(images))


def at_once(images: np.ndarray, *, batch_size: int, most: int | None = None) -> int:
    """How many images are worked on at a time: `IMAGES_AT_ONCE` and no more than `most`, or fewer where they are large;
    whole batches."""
    num_values = math.prod(images.shape[1:])
    return batch_size * max(1, min(most or IMAGES_AT_ONCE, IMAGES_AT_ONCE, VALUES_AT_ONCE // num_values) // batch_size)


def predict_images(
    network: keras.Model,
    images: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    recipe: Recipe,
    whole_batches: bool = False,
) -> np.ndarray:
    """What a network gives for images: features or probabilities, float32 (num_rows, …).

    Args:
        network: takes images, float32 (batch, height, width, channels) in 0…255.
        images: (num_images, height, width, channels), uint8, or float32 where they were augmented. Of the first the
            network gets what is shown in the test (`feature_network.shown`), where the others are crops.
        rows: which of them, all if None. They are taken out of `images` some at a time.
        recipe: its size of images bounds the batch.
        whole_batches: fill the last one with zeros: XLA compiles the network anew for every size that it meets.
    """
    rows = all_rows(images) if rows is None else rows
    batch_size = max(1, min(PREDICTION_BATCH_SIZE, PIXELS_IN_BATCH // recipe.image_size**2))
    whole_batches = whole_batches and len(rows) > batch_size
    step, parts = at_once(images, batch_size=batch_size), []
    for begin in range(0, len(rows), step):
        inputs = take(images, rows[begin : begin + step])
        if recipe.crop_area < 1 and inputs.dtype == np.uint8:
            inputs = keras.ops.convert_to_numpy(feature_network.shown(inputs.astype(np.float32), recipe))
        inputs = inputs.astype(np.float32)
        num_inputs = len(inputs)
        if whole_batches:
            inputs = np.pad(inputs, [(0, -num_inputs % batch_size)] + 3 * [(0, 0)])
        parts.append(network.predict(inputs, batch_size=batch_size, verbose=0)[:num_inputs])
    return np.concatenate(parts)


def extract(
    feature_extractor: keras.Model, images: np.ndarray, rows: np.ndarray | None = None, *, recipe: Recipe
) -> np.ndarray:
    """The features, float32 (num_rows, num_features), of images as in `predict_images`."""
    return predict_images(feature_extractor, images, rows, recipe=recipe, whole_batches=True)


def augmented(
    images: np.ndarray,
    rows: np.ndarray,
    *,
    recipe: Recipe,
    seed: int,
    epoch: int,
    most: int | None = None,
    begin: int = 0,
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
    order, draws = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=True)
    stride = at_once(images, batch_size=recipe.batch_size, most=most)
    for start in range(begin, len(rows), stride):
        part = order[start : start + stride]
        yield part, _moved(take(images, rows[part]), draws[start : start + stride], recipe)


def first_of(
    num_first: int, images: np.ndarray, rows: np.ndarray, *, recipe: Recipe, seed: int, epoch: int
) -> np.ndarray:
    """The first training images as that epoch of the head's training draws them, float32 (num_first, height, width,
    channels) in 0…255, out of all of them, as in `augmented`; as they are, uint8, where it does not."""
    if recipe.num_epochs and not recipe.augmented_head:
        return take(images, rows[:num_first])
    shuffle = recipe.solver == "sgd" or not recipe.num_epochs
    order, draws = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=shuffle)
    return _moved(take(images, rows[:num_first]), draws[order.argsort()[:num_first]], recipe)


def _drawn(
    images: np.ndarray, num_rows: int, *, recipe: Recipe, seed: int, epoch: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch's images, and in that order their maps, as `augment.draw` gives them, or of photographs
    what `crops.draw` does."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_rows) if shuffle else np.arange(num_rows)
    height, width = images.shape[1:3]
    draw = crops.draw if recipe.crop_area < 1 else augment.draw
    return order, draw(num_rows, rng, recipe, height=height, width=width)


def _moved(images: np.ndarray, draws: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Images with what was drawn for them, float32 in 0…255."""
    return augment.cropped(images, draws, recipe.image_size) if recipe.crop_area < 1 else augment.apply(images, draws)


def feature_cache(job: Job[Recipe], networks: model.Networks) -> FeatureCache:
    """Where the features of images as they are are kept, for all runs of this network on this data."""
    record, recipe = job.record, job.recipe
    what_went_in = {name: str(getattr(recipe, name)) for name in ("backbone", "image_size", "preprocessing")}
    if job.data.are_photographs:  # whose fingerprint tells of the files, not of how they were decoded
        what_went_in |= {name: str(getattr(recipe, name)) for name in ("fit", "centre_crop")}
        what_went_in["image_shape"] = str(job.data.image_shape)
    what_went_in |= record.versions | {"arrays": networks.loaded, "precision": networks.network.compute_dtype}
    return FeatureCache(
        job.data,
        what_went_in | {"processor": machine.processor_name()},
        num_features=networks.network.output_shape[1],
        extract=lambda images, rows: extract(networks.extractor, images, rows, recipe=recipe),
    )


def rows_needed(job: Job[Recipe], networks: model.Networks) -> dict[Split, np.ndarray]:
    """Of which images as they are this run needs the features: rows by split."""
    needed: dict[Split, np.ndarray] = {"train": np.concatenate([job.train_rows, job.validation_rows])}
    return needed if networks.whole is not None else needed | {"test": all_rows(job.data.test_images)}


def fill_cache(job: Job[Recipe], cache: FeatureCache, needed: dict[Split, np.ndarray]) -> None:
    """Compute and keep the features of these rows that are not in the cache yet. Where they cannot be kept there, each
    run computes those that it needs."""
    to_fill = {split: cache.missing(split, rows) for split, rows in needed.items()}  # before others make any
    for split, missing in to_fill.items():
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
    recipe: Recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> None:
    """Keep the features of the training images `rows`, augmented anew, or as they are out of the cache, as the pass
    `epoch`, in their own order, together with other processes that do so; what is kept of it already stays.

    Raises:
        UserError: they are not finite, or the disk is full.
    """
    _, draws = _drawn(images, len(rows), recipe=recipe, seed=seed, epoch=epoch, shuffle=False)
    step = at_once(images, batch_size=PREDICTION_BATCH_SIZE)

    def make(file: slice) -> None:
        if file not in kept.missing(epoch):
            return
        if cache is not None:
            features = cache.features_of("train", rows[file])
        else:
            parts = [slice(begin, min(begin + step, file.stop)) for begin in range(file.start, file.stop, step)]
            inputs = (_moved(take(images, rows[part]), draws[part], recipe) for part in parts)
            features = np.concatenate([extract(feature_extractor, some, recipe=recipe) for some in inputs])
        if not np.isfinite(features).all():
            raise diverged(
                f"features of the images {file.start:,} to {file.stop - 1:,} in pass {epoch} are not numbers",
                BAD_FEATURES,
            )
        kept.keep(epoch, file.start, features)

    try:
        for file in in_turns(kept.missing(epoch), lambda file: kept.path(epoch, file.start), make):
            if bar.due():
                bar.show(file.stop)
    except OSError as error:
        came = f"{kept.folder} could not be written to"
        raise disk.cannot_write(came, kept.folder, error, exit_code=EXIT_FAILED) from error
