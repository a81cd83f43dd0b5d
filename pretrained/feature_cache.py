"""The features of images as they are, kept for other runs: those of a backbone that stays frozen depend on nothing
else, so that all subsets of a label curve and all its seeds need them once.

They lie in the user's caches, below the digest of everything that went in, and may be deleted at any time.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from compare.data import download
from compare.data.images import Dataset
from compare.system import disk, processes

MOST_HELD_BYTES = 2**27  # of features in memory, so that those of a subset are made or read once
IMAGES_IN_FILE = 2048  # whose features are computed, and kept, together
SECONDS_TO_WAIT = 300  # for those that another process computes; less than what `compare.supervise` takes for hanging
Split = Literal["train", "test"]
Part = TypeVar("Part")


def in_turns(parts: list[Part], path: Callable[[Part], Path], make: Callable[[Part], None]) -> Iterator[Part]:
    """Have the files at `path` of these parts made together with other processes that do so at the same time, and tell
    each part that is done: `make` finds it made already or makes it, while no other does; what another process is
    making comes last."""
    for seconds in (0.0, SECONDS_TO_WAIT):
        for part in list(parts):
            with download.alone(path(part), seconds=seconds) as is_alone:
                if not is_alone and not seconds:
                    continue
                make(part)
            parts = [other for other in parts if other != part]
            yield part


class FeatureCache:
    """The features of a data set's images, float32 (num_images, num_features), in files that hold what they took to
    make, too, and end with their own hash: one that is damaged is made anew.

    Args:
        data: whose images.
        what_went_in: whatever else the features depend on.
        num_features: of an image.
        extract: gives the features of rows of images, float32 (num_rows, num_features).

    Attributes:
        folder: where they are.
        saved_seconds: what the features that `features_of` gave had taken to make, where another run made them.
    """

    def __init__(
        self,
        data: Dataset,
        what_went_in: dict[str, str],
        *,
        num_features: int,
        extract: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ):
        self._images = {"train": data.train_images, "test": data.test_images}
        self._num_features, self._extract = num_features, extract
        self._held: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # rows of each split, and their features
        self._made_here: set[tuple[Split, int]] = set()
        self.saved_seconds = 0.0
        told = json.dumps({"data": data.fingerprint} | what_went_in, sort_keys=True)
        self.folder = download.cache_folder() / "features" / hashlib.sha256(told.encode()).hexdigest()

    def missing(self, split: Split, rows: np.ndarray) -> list[range]:
        """What `fill` would compute for these rows, as ranges of rows: nothing where that is more than twice as many
        images, as of a small subset, or where there is no home folder for a cache."""
        missing = self._not_there(split, rows)
        is_worth_it = self.folder.is_absolute() and sum(map(len, missing)) <= 2 * len(rows)
        return missing if is_worth_it else []

    def num_to_extract(self, split: Split, rows: np.ndarray) -> int:
        """How many images have to be looked at for the features of these rows."""
        if to_fill := self.missing(split, rows):
            return sum(map(len, to_fill))
        return sum(int(np.isin(rows, part).sum()) for part in self._not_there(split, rows))

    def fill(self, split: Split, missing: list[range], done: Callable[[int], None]) -> None:
        """Compute and keep what `missing` gave, together with other processes that do so at the same time; `done` is
        told how many images that were so far.

        Raises:
            UserError: it cannot be written.
        """
        num_done = 0
        download.sweep(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in in_turns(missing, lambda part: self._path(split, part), lambda part: self._make(split, part)):
                num_done += len(part)
                done(num_done)
        except OSError as error:
            raise disk.cannot_write(f"{self.folder} could not be made or written to", self.folder, error) from error

    def _make(self, split: Split, part: range) -> None:
        if processes.num_together() > 1:  # whoever of them makes it
            self._made_here.add((split, part.start))
        if self._read(split, part) is not None:
            return
        start = time.perf_counter()
        features = self._extract(self._images[split], np.array(part))
        seconds = np.float64(time.perf_counter() - start)
        disk.write_with_hash(self._path(split, part), features.tobytes() + seconds.tobytes())
        self._made_here.add((split, part.start))

    def features_of(self, split: Split, rows: np.ndarray) -> np.ndarray:
        """The features of these rows of a split, (num_rows, num_features): those that were asked for before, out of the
        cache where they are there, or computed."""
        held, features = self._held.get(split, (rows[:0], np.empty((0, self._num_features), np.float32)))
        new = np.setdiff1d(rows, held)
        if len(new):
            held, features = np.concatenate([held, new]), np.concatenate([features, self._found(split, new)])
        if features.nbytes <= MOST_HELD_BYTES:
            self._held[split] = held, features
        order = np.argsort(held)
        return features[order[np.searchsorted(held, rows, sorter=order)]]

    def _found(self, split: Split, rows: np.ndarray) -> np.ndarray:
        found, is_there = np.empty((len(rows), self._num_features), np.float32), np.zeros(len(rows), bool)
        for part in self._parts(split, rows):
            if (kept := self._read(split, part)) is not None:
                here = (part.start <= rows) & (rows < part.stop)
                features, seconds = kept
                found[here], is_there[here] = features[rows[here] - part.start], True
                if (split, part.start) not in self._made_here:
                    self.saved_seconds += seconds * here.sum() / len(part)
        if not is_there.all():  # all at once: few images at a time do not fill a batch
            found[~is_there] = self._extract(self._images[split], rows[~is_there])
        return found

    def _not_there(self, split: Split, rows: np.ndarray) -> list[range]:
        return [part for part in self._parts(split, rows) if self._read(split, part) is None]

    def _read(self, split: Split, part: range) -> tuple[np.ndarray, float] | None:
        content, num_bytes = disk.read_with_hash(self._path(split, part)), 4 * len(part) * self._num_features
        if content is None or len(content) != num_bytes + 8:
            return None
        features = np.frombuffer(content[:num_bytes], np.float32).reshape(len(part), self._num_features)
        return features, float(np.frombuffer(content[num_bytes:], np.float64)[0])

    def _parts(self, split: Split, rows: np.ndarray) -> list[range]:
        """The files in which these rows are, each by its rows."""
        num_images = len(self._images[split])
        begins = np.unique(rows // IMAGES_IN_FILE * IMAGES_IN_FILE).tolist()
        return [range(begin, min(begin + IMAGES_IN_FILE, num_images)) for begin in begins]

    def _path(self, split: Split, part: range) -> Path:
        return self.folder / f"{split}-{part.start}.float32"
