"""What a run keeps of the inside of its network, in features.npz: what a new picture is compared with, and where the
network looked. Small copies of runs, other programs' runs and those of earlier versions are without it.

    training_features  float16 (num_kept, num_features), of at most `NUM_KEPT` of the images that were trained on, each
                       class with its share, divided by `scale`
    training_labels    (num_kept,), of these
    scale              float32 (), their mean length, without which float16 would not hold them all
    test_distances     float32 (num_test,), as `Training.distances` has them; where there are no maps, of
                       `NUM_KEPT` of the test images at most, each class with its share
    test_maps          uint8 (num_test, height, width), up to 7×7, class activation maps of each test image's predicted
                       class, from the least that a place of it adds (0) to the most (255); where the last maps of the
                       network have 4×4 places at least
"""

import dataclasses
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist

from compare.runs.record import FEATURES, MAX_PREDICTIONS_BYTES, RESTORE, Run, packed
from compare.system import disk
from compare.system.errors import UserError

NUM_KEPT = 1000
# Places a side. Of few the maximum can lie a place beside what decides: with a frozen EfficientNet-Lite0 in all of 16
# made pictures at 3×3, in two of them at 4×4, in none at 6×6.
SMALLEST_MAP, LARGEST_MAP = 4, 7


@dataclasses.dataclass(frozen=True)
class Training:
    """Features of images that were trained on, as the module says of `training_features`, `training_labels` and
    `scale`."""

    features: np.ndarray
    labels: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray) -> "Training":
        """Of features (num_kept, num_features) as the network gives them."""
        scale = np.array(np.linalg.norm(features, axis=1).mean() or 1, np.float32)
        return cls((features / scale).astype(np.float16), labels, scale)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far images lie from all that was trained on, by their features (num_images, num_features): float32
        (num_images,), the distance to the nearest of those that are kept (Y. Sun et al., *Out-of-Distribution Detection
        with Deep Nearest Neighbors*, 2022, arXiv 2204.06507), as Mahalanobis has it under the covariance that all
        classes share (K. Lee et al., *A Simple Unified Framework for Detecting Out-of-Distribution Samples*, 2018,
        arXiv 1807.03888), which of so few images is shrunk towards a sphere (O. Ledoit and M. Wolf, 2004). Of the two
        alone, the first does not tell inverted digits from digits, and the second is a little worse than both."""
        ours = (features / self.scale).astype(np.float64)
        return cdist(ours @ self._whitening, self._whitened).min(axis=1).astype(np.float32)

    @functools.cached_property
    def _whitening(self) -> np.ndarray:
        """The matrix that makes the classes' covariance a unit sphere, (num_features, num_features)."""
        from sklearn.covariance import LedoitWolf  # takes a second to import, which most readers of runs need not wait

        features = self.features.astype(np.float64)
        _, places = np.unique(self.labels, return_inverse=True)
        means = np.array([features[places == place].mean(axis=0) for place in range(places.max() + 1)])
        around = features - means[places]
        if not around.any():  # one image a class: no direction is known to be wider than another
            return np.eye(features.shape[1])
        fitted = LedoitWolf(store_precision=False, assume_centered=True).fit(around)
        values, vectors = np.linalg.eigh(fitted.covariance_)
        return vectors / np.sqrt(np.maximum(values, 1e-6 * values[-1]))

    @functools.cached_property
    def _whitened(self) -> np.ndarray:
        return self.features.astype(np.float64) @ self._whitening  # (num_kept, num_features)


@dataclasses.dataclass(frozen=True)
class Features:
    """What features.npz holds, as the module says; `test_maps` is None where there are none."""

    training: Training
    test_distances: np.ndarray
    test_maps: np.ndarray | None


def small_maps(maps: np.ndarray) -> np.ndarray:
    """Class activation maps (num_images, height, width) as they are kept: uint8, of `LARGEST_MAP` places a side at
    most."""
    height, width = (min(side, LARGEST_MAP) for side in maps.shape[1:])
    if (height, width) != maps.shape[1:]:
        pictures = map(Image.fromarray, maps.astype(np.float32))
        maps = np.array([np.asarray(one.resize((width, height), Image.Resampling.BOX)) for one in pictures])
    lowest = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - lowest
    return np.rint(255 * (maps - lowest) / np.where(span > 0, span, 1)).astype(np.uint8)


def write(folder: Path, features: Features) -> None:
    """Write features.npz into a run's folder, before its record; raises as `disk.replacing` does."""
    arrays = {
        "training_features": features.training.features,
        "training_labels": features.training.labels,
        "scale": features.training.scale,
        "test_distances": features.test_distances,
    }
    if features.test_maps is not None:
        arrays["test_maps"] = features.test_maps
    disk.write_atomically(folder / FEATURES, packed(arrays))


def read(run: Run) -> Features | None:
    """What a run keeps, if it does; that it is the run's own `record.read_run` has seen.

    Raises:
        UserError: it is not what the run's network could have given.
    """
    path = run.folder / FEATURES
    if FEATURES not in run.record.files or not path.is_file():
        return None
    try:
        content = disk.read_within(path, MAX_PREDICTIONS_BYTES)
        disk.check_zip(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            training = Training(*(file[name] for name in ("training_features", "training_labels", "scale")))
            distances = file["test_distances"]
            maps = file["test_maps"] if "test_maps" in file.files else None
        shape = training.features.shape
        if len(shape) != 2 or training.features.dtype != np.float16 or not 0 < shape[0] <= NUM_KEPT or not shape[1]:
            raise ValueError(f"it holds {training.features.dtype} {shape} of features")
        known = np.isfinite(training.features).all() and training.scale.shape == () and training.scale > 0
        if not known or training.labels.shape != shape[:1]:
            raise ValueError("it holds features that are not numbers, or labels of others")
        num_test = run.record.data.num_test
        is_known = distances.shape == (num_test,) or (maps is None and distances.shape == (min(num_test, NUM_KEPT),))
        if not is_known or not np.isfinite(distances).all():
            raise ValueError(f"it holds {distances.dtype} {distances.shape} of distances")
        sides = () if maps is None else maps.shape[1:]
        if maps is not None and (
            maps.dtype != np.uint8
            or maps.shape[:1] != distances.shape
            or len(sides) != 2
            or not all(SMALLEST_MAP <= side <= LARGEST_MAP for side in sides)
        ):
            raise ValueError(f"it holds {maps.dtype} {maps.shape} of maps")
    except Exception as error:  # zipfile and NumPy raise many kinds on bytes that are not theirs
        raise UserError(f"{path} cannot be read ({error})", "what belongs to the record beside it", RESTORE) from error
    return Features(training, distances, maps)
