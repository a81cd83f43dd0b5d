"""Two peers: a frozen ResNet50 with a new head as the article's Keras snippet trains it, and as Keras' guide *Transfer
learning & fine-tuning* does. Both with the product's network, random weights and TensorFlow. Prints one line of JSON.

    python tests/benchmarks/keras_ways.py snippet --images 3200
    python tests/benchmarks/keras_ways.py guide --images 3200

snippet  Keras 2's `ImageDataGenerator` augments image by image in Python; `fit` sends every batch of 32 through the
         whole network, and the test set again after every epoch
guide    the images are in a tf.data pipeline, the random layers of Keras 3 are part of it; `fit` as above
"""

import argparse
import json
import time

from compare.data import dataset
from compare.system import machine
from pretrained import backend

backend.choose("tensorflow", "auto")

with backend.quiet_start():
    import keras
    import numpy as np
    import tensorflow as tf

    from pretrained import feature_network
    from pretrained.backbones import BACKBONES
    from pretrained.recipe import ARTICLE
    from pretrained.weights import Weights

BATCH_SIZE = ARTICLE.batch_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=["snippet", "guide"])
    parser.add_argument("--images", type=int, default=3200, help="training images of the epoch that is timed")
    arguments = parser.parse_args()
    data = dataset.load("fashion-mnist")
    rows = slice(0, arguments.images)
    train_images, train_labels = data.train_images[rows], data.train_labels[rows]

    # What both ways share: three channels at 28×28, the frozen backbone, the article's head and optimizer.
    backbone = feature_network.build_backbone(BACKBONES["ResNet50"], Weights("random"), seed=0, image_size=28)
    inputs = keras.Input((28, 28, 3))
    features = backbone(inputs, training=False)
    network = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(features))
    network.compile(keras.optimizers.SGD(0.001), "categorical_crossentropy", metrics=["accuracy"])

    ways = {"snippet": snippet, "guide": guide}
    train, test = ways[arguments.way](train_images, train_labels, data.test_images, data.test_labels)
    network.fit(train, steps_per_epoch=4, verbose=0)  # compiles
    network.evaluate(test, steps=4, verbose=0)
    start = time.perf_counter()
    network.fit(train, steps_per_epoch=len(train_labels) // BATCH_SIZE, verbose=0)
    trained = time.perf_counter()
    loss, accuracy = network.evaluate(test, steps=len(data.test_labels) // BATCH_SIZE, verbose=0)
    print(
        json.dumps(
            {
                "images_per_second": len(train_labels) // BATCH_SIZE * BATCH_SIZE / (trained - start),
                "test_seconds": time.perf_counter() - trained,
                "test_accuracy": accuracy,
                "peak_memory_bytes": machine.peak_memory_bytes(),
            }
        )
    )


def three_channels(images: np.ndarray) -> np.ndarray:
    """Grey images (num_images, 28, 28) as float32 (num_images, 28, 28, 3)."""
    return np.repeat(images[..., np.newaxis].astype(np.float32), 3, axis=-1)


def snippet(train_images, train_labels, test_images, test_labels):
    """Generators of augmented training images and of plain test images, for ever."""
    import scipy.ndimage

    scipy.ndimage.interpolation = scipy.ndimage  # the name that the legacy generator calls it by; SciPy took it away
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    augmenting = ImageDataGenerator(rescale=1 / 255, shear_range=0.2, zoom_range=0.2, horizontal_flip=True)
    plain = ImageDataGenerator(rescale=1 / 255)
    one_hot = keras.utils.to_categorical
    return (
        augmenting.flow(three_channels(train_images), one_hot(train_labels, 10), batch_size=BATCH_SIZE),
        plain.flow(three_channels(test_images), one_hot(test_labels, 10), batch_size=BATCH_SIZE, shuffle=False),
    )


def guide(train_images, train_labels, test_images, test_labels):
    """tf.data pipelines with the same augmentation by Keras' random layers, prefetched."""
    augmenting = keras.Sequential(
        [
            keras.layers.RandomShear(x_factor=float(np.deg2rad(0.2))),
            keras.layers.RandomZoom((-0.2, 0.2), (-0.2, 0.2), fill_mode="nearest"),
            keras.layers.RandomFlip("horizontal"),
        ]
    )
    one_hot = keras.utils.to_categorical

    def pipeline(images, labels, augment: bool):
        pairs = tf.data.Dataset.from_tensor_slices((three_channels(images), one_hot(labels, 10)))
        pairs = pairs.shuffle(len(images)) if augment else pairs
        pairs = pairs.batch(BATCH_SIZE).map(lambda x, y: (x / 255, y), num_parallel_calls=tf.data.AUTOTUNE)
        if augment:
            pairs = pairs.map(lambda x, y: (augmenting(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
        return pairs.repeat().prefetch(tf.data.AUTOTUNE)

    return pipeline(train_images, train_labels, True), pipeline(test_images, test_labels, False)


if __name__ == "__main__":
    main()
