"""The training of `pretrained`: the frozen backbone turns augmented images into features, the head learns from them.

The features of an augmented image depend on that image alone, so they can be computed in large batches and handed to
the head in the article's small ones: the same result as training the whole network with `fit`, in less time.
"""

import time

import keras
import numpy as np

from compare.progress import EpochBar
from pretrained import augment

PREDICTION_BATCH_SIZE = 256
IMAGES_AT_ONCE = 2048  # augmented, turned into features and learned from, before the next ones are


def extract(feature_extractor: keras.Model, images: np.ndarray) -> np.ndarray:
    """The features, float32 (num_images, 2048), of images (num_images, 28, 28) or (num_images, 28, 28, 1) in 0…255."""
    images = images.reshape(-1, 28, 28, 1).astype(np.float32)
    return feature_extractor.predict(images, batch_size=PREDICTION_BATCH_SIZE, verbose=0)


def train_epoch(
    feature_extractor: keras.Model,
    head: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> tuple[float, float]:
    """Train the head on every image once, each augmented anew. The draws depend on the seed and the epoch alone, so
    that a resumed run meets the images of an uninterrupted one.

    Returns:
        The mean loss in nats an image and the accuracy as a fraction, both over the epoch as it went: each image
        counted before the step that it took part in.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(images))
    maps = augment.draw(len(images), rng, recipe)
    loss_sum = num_correct = 0.0
    stride = recipe.batch_size * max(1, IMAGES_AT_ONCE // recipe.batch_size)
    for start in range(0, len(images), stride):
        rows = order[start : start + stride]
        augmented = augment.apply(images[rows], maps[start : start + stride])  # (rows, 28, 28, 1)
        features = extract(feature_extractor, augmented)  # (rows, 2048)
        means = head.fit(features, labels[rows], batch_size=recipe.batch_size, shuffle=False, verbose=0).history
        loss_sum += means["loss"][0] * len(rows)
        num_correct += means["accuracy"][0] * len(rows)
        if bar.due():
            num_seen = start + len(rows)
            bar.show(num_seen, loss_sum / num_seen, num_correct / num_seen)
    return loss_sum / len(images), num_correct / len(images)


def evaluate(head: keras.Model, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean loss in nats an image, and the accuracy as a fraction."""
    loss, accuracy = head.evaluate(features, labels, batch_size=PREDICTION_BATCH_SIZE, verbose=0)
    return loss, accuracy


def predict(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """The class probabilities, float32 (num_images, num_classes)."""
    return head.predict(features, batch_size=PREDICTION_BATCH_SIZE, verbose=0)


def measure(feature_extractor: keras.Model, head: keras.Model, images: np.ndarray, labels: np.ndarray, recipe) -> float:
    """The seconds that training on one image takes, by a few steps of a head that is thrown away."""
    images, labels = images[: 2 * PREDICTION_BATCH_SIZE], labels[: 2 * PREDICTION_BATCH_SIZE]
    maps = augment.draw(len(images), np.random.default_rng(0), recipe)
    for _ in range(2):  # the first time compiles
        start = time.perf_counter()
        features = extract(feature_extractor, augment.apply(images, maps))
        head.fit(features, labels, batch_size=recipe.batch_size, shuffle=False, verbose=0)
    return (time.perf_counter() - start) / len(images)


def checkpoint_arrays(head: keras.Model) -> dict[str, np.ndarray]:
    """The head and its optimizer's state as arrays, by name."""
    arrays = {f"head/{index}": array for index, array in enumerate(head.get_weights())}
    for index, variable in enumerate(head.optimizer.variables):
        arrays[f"optimizer/{index}"] = keras.ops.convert_to_numpy(variable)
    return arrays


def restore(head: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `checkpoint_arrays` gave."""
    head.set_weights([arrays[f"head/{index}"] for index in range(len(head.weights))])
    for index, variable in enumerate(head.optimizer.variables):
        variable.assign(arrays[f"optimizer/{index}"])
