"""Copies of images that are harder to recognise: six kinds of corruption, each at five strengths.

After D. Hendrycks and T. Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*
(2019, arXiv 1903.12261), and N. Mu and J. Gilmer, *MNIST-C: A Robustness Benchmark for Computer Vision* (2019, arXiv
1906.02337), whose images are of 28×28 pixels as well. Shift, scale and noise have MNIST-C's strengths, contrast those
of the former's CIFAR-10-C; rotation has about half of MNIST-C's angles, and blur lies between both.
"""

import numpy as np
from scipy import ndimage

from compare.data.images import stratified_sample

SEED = 0  # of sample and corruptions. It is not the run's seed, so that all runs see the same images
NUM_IMAGES = 2000  # of the test set: an accuracy of 0.9 is known to ± 1.3 percentage points
STRENGTHS = {
    "shift": (1, 2, 3, 4, 5),
    "rotation": (6, 12, 18, 24, 30),
    "scale": (0.9, 0.8, 0.7, 0.6, 0.5),
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),
}
"""Every kind's amounts, the mildest first. shift: pixels, were the shorter side of 28, both across and down. rotation:
degrees. scale: the new size as a fraction of the old. noise: standard deviation as a fraction of white. contrast: the
distances of the levels from the image's mean that are left, as a fraction. blur: standard deviation of the Gaussian in
pixels, were the shorter side of 28."""
IN_PIXELS = ("shift", "blur")


def sample(labels: np.ndarray, num_images: int = NUM_IMAGES) -> np.ndarray:
    """Which images are corrupted: `num_images` of them, or all where there are fewer, each class with its share.

    Args:
        labels: (num_test,), of the test set.
        num_images: how many.

    Returns:
        Their rows in the test file, from 0, int64, ascending.
    """
    return stratified_sample(labels, num_images, seed=SEED)


def corrupt(images: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """Corrupt images, each in its own way: directions and noise are drawn, from the image's place and the kind alone,
    so that a greater amount takes an image further on the same way.

    Args:
        images: uint8 in 0…255, (num_images, height, width, channels).
        kind: a key of `STRENGTHS`.
        amount: how much, in the units that are told there.

    Returns:
        uint8 in 0…255, as `images`; all channels of an image are moved alike. Bilinear between pixels; what comes in
        from beyond the edges is black.
    """
    rng = np.random.default_rng([SEED, list(STRENGTHS).index(kind)])
    levels = images.astype(np.float64)
    if kind in IN_PIXELS:
        amount = amount * min(images.shape[1:3]) / 28
    if kind == "noise":
        changed = levels + rng.normal(0, 255 * amount, images.shape)
    elif kind == "contrast":
        mean = levels.mean(axis=(1, 2, 3), keepdims=True)
        changed = mean + amount * (levels - mean)
    elif kind == "blur":
        changed = ndimage.gaussian_filter(levels, (0, amount, amount, 0), mode="constant")
    else:
        signs = rng.choice([-1, 1], (len(images), 2))
        changed = np.empty_like(levels)
        for image, sign, out in zip(levels, signs, changed, strict=True):
            for channel in range(image.shape[2]):
                out[..., channel] = _moved(image[..., channel], kind, amount, sign)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _moved(image: np.ndarray, kind: str, amount: float, sign: np.ndarray) -> np.ndarray:
    """One channel (height, width), shifted, rotated or scaled about its centre; `sign` (2,) says which way."""
    matrix, shift = np.eye(2), np.zeros(2)  # from output to input pixels, (row, column) from the centre
    if kind == "shift":
        shift = amount * sign
    elif kind == "rotation":
        angle = np.deg2rad(amount) * sign[0]
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    else:
        matrix = matrix / amount
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, matrix, centre - matrix @ centre - shift, order=1, mode="grid-constant")
