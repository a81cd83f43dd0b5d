"""The head's optimum by `pretrained.solver` and by scikit-learn's `LogisticRegression`, which has the same objective:
in turns, in one process. Prints one line of JSON.

    python tests/benchmarks/solver.py --images 10000

The features are those of a network with random weights on scikit-learn's digits and noise: as much alike as a
backbone's. Memory is what NumPy allocates at most, beside the features as they are given: on disk for the one, in
memory for the other.
"""

import argparse
import json
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from compare.data import dataset
from pretrained import solver

NUM_FEATURES, PENALTIES = 2048, (1e-2, 1e-3, 1e-4)


def made_up(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, float32 (num_images, 2048), and labels, (num_images,)."""
    rng = np.random.default_rng(0)
    digits = dataset.load("digits")
    rows = rng.integers(0, len(digits.train_labels), num_images)
    pixels = digits.train_images[rows].reshape(num_images, -1) / 255  # (num_images, 784)
    hidden = (pixels + rng.normal(0, 0.3, pixels.shape)) @ rng.normal(0, 0.05, (784, 1024))
    features = np.maximum(hidden, 0) @ rng.normal(0, 0.05, (1024, NUM_FEATURES))
    return np.maximum(features, 0).astype(np.float32), digits.train_labels[rows]


def ours(kept, penalty: float) -> np.ndarray:
    """The solution, (2049, 10), as the branch finds it."""
    return solver.solve(kept, 1, 10, penalty, along=solver.directions(kept))[0]


def scikit_learns(scaled: np.ndarray, labels: np.ndarray, penalty: float, max_iter: int) -> np.ndarray:
    """The same from scikit-learn: float32 is the smallest that it computes in."""
    found = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=max_iter)
    found.fit(scaled, labels)
    return np.vstack([found.coef_.T, found.intercept_])


def objective(solution: np.ndarray, features: np.ndarray, labels: np.ndarray, penalty: float) -> float:
    """Nats an image, the penalty included."""
    of_truth = log_softmax(features @ solution[:-1] + solution[-1], axis=1)[np.arange(len(labels)), labels]
    return float(penalty / 2 * (solution[:-1] ** 2).sum() - of_truth.mean())


def measured(find, features, labels, penalty: float) -> dict:
    """Seconds, bytes and the objective that was reached; the bytes in a turn of their own, which is slower."""
    start = time.perf_counter()
    solution = find()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    find()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "seconds": round(seconds, 2),
        "megabytes": round(peak / 1e6),
        "objective": round(objective(solution, features, labels, penalty), 5),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=1000, help="at most, of scikit-learn's")
    arguments = parser.parse_args()
    features, labels = made_up(arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        kept = solver.KeptFeatures(Path(folder), solver.Scale.of(features), labels)
        for rows in kept.rows():
            kept.keep(1, rows.start, features[rows])
        scaled = kept.scaled(features)
        features = scaled.astype(np.float64)
        result = {}
        for penalty in PENALTIES:
            for name, find in (
                ("ours", lambda penalty=penalty: ours(kept, penalty)),
                ("scikit-learn", lambda p=penalty: scikit_learns(scaled, labels, p, arguments.iterations)),
            ):
                result[f"{name}, penalty {penalty:g}"] = measured(find, features, labels, penalty)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
