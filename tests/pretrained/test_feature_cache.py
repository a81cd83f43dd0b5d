"""Features that are kept for other runs: never others than the images have, whatever is on the disk."""

import dataclasses
import os
import threading
import time

import numpy as np
import pytest

from compare.data import download
from compare.data.images import Dataset
from pretrained import feature_cache
from pretrained.feature_cache import FeatureCache

NUM_IMAGES = 50


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(feature_cache, "IMAGES_IN_FILE", 16)
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 4, 4, 1), np.uint8)
    return Dataset(
        name="made-up",
        title="Made up",
        class_names=("a", "b"),
        train_images=images,
        train_labels=np.zeros(NUM_IMAGES, np.uint8),
        test_images=images[:20],
        test_labels=np.zeros(20, np.uint8),
    )


def features(images, rows):
    return images[rows].reshape(len(rows), 16).astype(np.float32) / 3


def cache_of(data, looked_at, **what_went_in):
    def extract(images, rows):
        looked_at.extend(rows.tolist())
        return features(images, rows)

    return FeatureCache(data, {"backbone": "made up"} | what_went_in, num_features=16, extract=extract)


def filled(data) -> FeatureCache:
    cache, rows = cache_of(data, []), np.arange(NUM_IMAGES)
    cache.fill("train", cache.missing("train", rows), lambda num_images: None)
    return cache


def test_once_kept_nothing_is_looked_at_again(data):
    filled(data)
    looked_at, rows = [], np.array([0, 15, 16, 49])
    cache = cache_of(data, looked_at)
    assert cache.missing("train", rows) == [] and cache.num_to_extract("train", rows) == 0
    np.testing.assert_array_equal(cache.features_of("train", rows), features(data.train_images, rows))
    assert looked_at == []


def test_two_at_the_same_time_make_each_file_once(data):
    """While the first makes its first file the second makes the others, and waits for that one."""
    rows, looked_at, seconds_thread = np.arange(NUM_IMAGES), [[], []], []
    second = cache_of(data, looked_at[1])

    def extract(images, some):
        if not seconds_thread:
            fill = threading.Thread(target=second.fill, args=("train", second.missing("train", rows), print))
            seconds_thread.append(fill)
            fill.start()
            while looked_at[1] != list(range(16, NUM_IMAGES)):
                time.sleep(0.01)
        looked_at[0].extend(some.tolist())
        return features(images, some)

    first = FeatureCache(data, {"backbone": "made up"}, num_features=16, extract=extract)
    first.fill("train", first.missing("train", rows), lambda num_images: None)
    seconds_thread[0].join()
    assert first.folder == second.folder and looked_at == [list(range(16)), list(range(16, NUM_IMAGES))]
    for cache in (first, second):
        np.testing.assert_array_equal(cache.features_of("train", rows), features(data.train_images, rows))
    assert sum(map(len, looked_at)) == NUM_IMAGES


def test_what_a_killed_process_left_is_deleted(data):
    folder = cache_of(data, []).folder
    folder.mkdir(parents=True)
    left, still_written = folder / ".partial-1-train-0.float32", folder / ".partial-2-train-16.float32"
    for path in (left, still_written):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    filled(data)
    assert not left.exists() and still_written.exists()


def test_features_of_another_run_are_told_by_what_they_had_taken(data, monkeypatch):
    """Files of 16 images, of which each takes ten seconds, and the last one's two as well."""
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(feature_cache.time, "perf_counter", lambda: next(clock))
    cache, rows = filled(data), np.array([0, 15, 16, 49])
    cache.features_of("train", rows)
    assert cache.saved_seconds == 0  # its own
    later = cache_of(data, [])
    later.features_of("train", rows)
    assert later.saved_seconds == pytest.approx(10 * (2 / 16 + 1 / 16 + 1 / 2))
    later.features_of("test", rows[:1])  # not kept
    assert later.saved_seconds == pytest.approx(10 * (2 / 16 + 1 / 16 + 1 / 2))


def flip_a_bit(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: flip_a_bit(content, 5),
        lambda content: flip_a_bit(content, len(content) - 1),
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content + content,
    ],
)
def test_a_damaged_file_is_not_used_and_is_made_anew(data, damage):
    folder = filled(data).folder
    path = folder / "train-16.float32"
    path.write_bytes(damage(whole := path.read_bytes()))
    looked_at, rows = [], np.arange(NUM_IMAGES)
    cache = cache_of(data, looked_at)
    np.testing.assert_array_equal(cache.features_of("train", rows), features(data.train_images, rows))
    assert looked_at == list(range(16, 32))
    cache.fill("train", cache.missing("train", rows), lambda num_images: None)
    assert path.read_bytes()[:-40] == whole[:-40]  # but for the seconds that it took, and the hash


def test_files_that_changed_places_are_not_used(data):
    folder = filled(data).folder
    (folder / "train-0.float32").replace(folder / "train-16.float32")
    assert cache_of(data, []).missing("train", np.arange(NUM_IMAGES)) == [range(16), range(16, 32)]


def test_whatever_went_in_tells_them_apart(data):
    folders = {cache_of(data, []).folder, cache_of(data, [], precision="bfloat16").folder}
    other = dataclasses.replace(data, train_labels=np.ones(NUM_IMAGES, np.uint8))
    assert len(folders | {cache_of(other, []).folder}) == 3


def test_a_few_images_are_looked_at_alone(data):
    looked_at, rows = [], np.array([3, 40])
    cache = cache_of(data, looked_at)
    assert cache.missing("train", rows) == [] and cache.num_to_extract("train", rows) == 2
    np.testing.assert_array_equal(cache.features_of("train", rows), features(data.train_images, rows))
    assert looked_at == [3, 40] and not cache.folder.exists()


def test_what_is_not_kept_is_looked_at_once_and_all_together(data):
    """Few images of every file: not worth a file, and a batch of a few would be padded."""
    calls = []
    cache = FeatureCache(data, {}, num_features=16, extract=lambda *asked: calls.append(asked[1]) or features(*asked))
    rows = np.array([49, 1, 17, 33])
    assert cache.missing("train", rows) == []
    for some in (rows, rows[::-1], rows[:2], np.array([33, 2])):
        np.testing.assert_array_equal(cache.features_of("train", some), features(data.train_images, some))
    assert [sorted(asked.tolist()) for asked in calls] == [[1, 17, 33, 49], [2]]
