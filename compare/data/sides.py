"""Who lies on which side of a split: what is held out of a folder that has no test set, and what lies on both sides
of one that has."""

import warnings
from collections.abc import Hashable, Sequence

import numpy as np

from compare.data.images import stratified_sample

TEST_FRACTION, TEST_SEED = 0.2, 0  # of a folder that has no test set of its own


def numbered(keys: Sequence[Hashable]) -> np.ndarray:
    """A number for each key, alike for those that are alike, in the order in which they come: int64 (num_keys,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def together(*keys: np.ndarray) -> np.ndarray:
    """Who belongs together, where whoever shares one of several keys does, and so on from one to the next.

    Args:
        keys: numbers as `numbered` gives them, int64 (num_images,) each.

    Returns:
        A number for each of the sets, int64 (num_images,).
    """
    if len(keys) == 1:
        return keys[0]
    from scipy.sparse import coo_array  # here: it takes a while, and most imports never join
    from scipy.sparse.csgraph import connected_components

    rows, places, num_nodes = [], [], len(keys[0])
    for key in keys:  # images and keys are the nodes of a graph
        rows.append(np.arange(len(key)))
        places.append(num_nodes + key)
        num_nodes += int(key.max(initial=-1)) + 1
    ends = np.concatenate(rows), np.concatenate(places)
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(num_nodes, num_nodes))
    return numbered(connected_components(graph, directed=False)[1][: len(keys[0])].tolist())


def held_out(labels: np.ndarray, sha256s: Sequence[str], pixels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Draw a fifth of the images to test with, each class with its share; copies stay on one side: held out beside the
    others, they would test what was learned by heart.

    Args:
        labels: int64 (num_images,).
        sha256s: of the files, which are drawn each once, whatever pixels they become at a size.
        pixels: a number for each image, alike for copies of each other.
        groups: a number for each, alike for those that stay on one side, too; None for no groups.

    Returns:
        Their rows, int64, ascending.
    """
    if groups is not None:
        return held_out_groups(labels, together(groups, pixels), TEST_FRACTION, seed=TEST_SEED)
    first_rows: dict[str, int] = {}
    for row, sha256 in enumerate(sha256s):
        first_rows.setdefault(sha256, row)
    first = np.array(list(first_rows.values()), np.int64)
    drawn = first[stratified_sample(labels[first], round(TEST_FRACTION * len(first)), seed=TEST_SEED)]
    is_held = np.isin(pixels, pixels[drawn])
    for label in np.unique(labels):
        if is_held[labels == label].all():  # copies of them would leave nothing of the class to train on
            is_held &= ~np.isin(pixels, pixels[labels == label])
    return np.flatnonzero(is_held)


def held_out_groups(labels: np.ndarray, groups: np.ndarray, fraction: float, *, seed: int) -> np.ndarray:
    """Draw a share of the images in whole groups, each class with its share as far as that goes, by scikit-learn's
    StratifiedGroupKFold: that of its folds which comes nearest to the share and leaves images of every class.

    Returns:
        Their rows, int64, ascending; none where no fold will do.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # here: it takes seconds, and most imports never split

    num_folds = min(max(2, round(1 / fraction)), int(np.bincount(labels).max(initial=0)), len(np.unique(groups)))
    if num_folds < 2:
        return np.arange(0)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of classes with fewer images than folds
        folds = list(StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(labels, labels, groups))
    wanted, num_classes = fraction * len(labels), len(np.unique(labels))
    fitting = [held for rest, held in folds if len(held) and len(np.unique(labels[rest])) == num_classes]
    return np.sort(min(fitting, key=lambda held: abs(len(held) - wanted))) if fitting else np.arange(0)


def on_other_sides(keys: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """For each image a row with the same key on another side, int64 (num_images,); -1 where there is none.

    Args:
        keys: int64 (num_images,).
        sides: (num_images,), of any type that can be compared.
    """
    partners = np.full(len(keys), -1, np.int64)
    order = np.argsort(keys, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if len(rows) > 1 and len(np.unique(sides[rows])) > 1:
            for side in np.unique(sides[rows]):
                here = sides[rows] == side
                partners[rows[here]] = rows[~here][0]
    return partners
