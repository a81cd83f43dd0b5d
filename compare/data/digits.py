"""scikit-learn's digits, the data of `--demo`: they come with the package and need no network."""

import numpy as np

from compare.data.images import Dataset

NUM_TRAIN = 1297  # of 1797; the file's last 500 are the test set


def load() -> Dataset:
    """1,797 handwritten digits: 8×8 pixels in 0…16, made 28×28 in 0…255 as MNIST would have them."""
    from sklearn.datasets import load_digits  # here: it takes seconds, and most imports never load them

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    images = np.round(images * (255 / 16)).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)  # (1797, 24, 24)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., np.newaxis]  # (1797, 28, 28, 1)
    labels = labels.astype(np.uint8)
    return Dataset(
        name="digits",
        title="scikit-learn's digits",
        class_names=tuple("0123456789"),
        train_images=images[:NUM_TRAIN],
        train_labels=labels[:NUM_TRAIN],
        test_images=images[NUM_TRAIN:],
        test_labels=labels[NUM_TRAIN:],
        mirror_alike=False,
        is_demonstration=True,
    )
