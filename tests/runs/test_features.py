"""What a run keeps of the inside of its network. Truths: scikit-learn, numbers by hand."""

import numpy as np
import pytest
from fake_runs import write_run
from sklearn.covariance import LedoitWolf
from sklearn.metrics import pairwise_distances

from compare.runs import features
from compare.runs.record import read_run
from compare.system.errors import UserError


def test_distances_are_mahalanobis_to_the_nearest():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    kept = rng.normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 10 * labels[:, np.newaxis]
    training = features.Training.of(kept, labels)
    assert training.features.dtype == np.float16
    around = training.features.astype(np.float64)
    around -= np.array([around[labels == label].mean(axis=0) for label in range(3)])[labels]
    precision = LedoitWolf(assume_centered=True).fit(around).precision_
    new = rng.normal(size=(9, 5)) * 10
    expected = pairwise_distances(new / training.scale, training.features, "mahalanobis", VI=precision).min(axis=1)
    np.testing.assert_allclose(training.distances(new), expected, rtol=1e-5)
    np.testing.assert_allclose(training.distances(kept), 0, atol=0.05)  # float16 has three digits


def test_distances_of_huge_features_and_of_one_image_a_class_are_numbers():
    kept = 1e9 * np.eye(3)
    training = features.Training.of(kept, np.arange(3))
    np.testing.assert_allclose(training.distances(np.array([[1e9, 0, 2e9]])), np.sqrt(2), rtol=1e-3)


def test_maps_are_kept_small_each_from_its_least_to_its_most():
    maps = np.zeros((2, 3, 4), np.float32)
    maps[0, 2, 1], maps[0, 0, 0], maps[1] = 3, -1, 5
    small = features.small_maps(maps)
    assert small.dtype == np.uint8 and small.shape == (2, 3, 4)
    assert small[0, 2, 1] == 255 and small[0, 0, 0] == 0 and small[0, 1, 1] == 64 and not small[1].any()
    large = np.zeros((1, 14, 14), np.float32)
    large[0, 12:, :2] = 8
    expected = np.zeros((7, 7), np.uint8)
    expected[6, 0] = 255
    np.testing.assert_array_equal(features.small_maps(large)[0], expected)


def test_a_run_keeps_them_or_does_not(tmp_path):
    with_maps, without, none = (
        read_run(write_run(tmp_path / str(maps), data="digits", maps=maps)) for maps in (4, 1, None)
    )
    assert features.read(none) is None and features.read(without).test_maps is None
    assert features.read(with_maps).test_maps.shape == (200, 4, 4)
    (with_maps.folder / "features.npz").unlink()  # left behind: the run is whole without it
    assert features.read(read_run(with_maps.folder)) is None


def test_other_bytes_are_refused(tmp_path):
    run = write_run(tmp_path / "run", data="digits", maps=4)
    path = run / "features.npz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="(?s)other bytes.*features, or none"):
        read_run(run)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("training_features", np.full((20, 4), np.nan, np.float16)),
        ("training_features", np.zeros((20, 4))),
        ("training_labels", np.zeros(3, np.uint8)),
        ("scale", np.float32(0)),
        ("test_distances", np.zeros(3, np.float32)),
        ("test_maps", np.zeros((200, 8, 8), np.uint8)),
        ("test_maps", np.zeros((200, 4, 4))),
        ("test_distances", None),
    ],
)
def test_what_no_network_of_the_run_gives_is_refused(tmp_path, name, array):
    run = read_run(write_run(tmp_path / "run", data="digits", maps=4))
    path = run.folder / "features.npz"
    with np.load(path) as file:
        arrays = dict(file) | {name: array}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match="features.npz cannot be read"):
        features.read(run)


@pytest.mark.parametrize(("num_distances", "is_read"), [(200, True), (50, True), (49, False), (1, False)])
def test_without_maps_distances_are_of_all_test_images_or_of_as_many_as_are_kept(
    tmp_path, monkeypatch, num_distances, is_read
):
    run = read_run(write_run(tmp_path / "run", data="digits", maps=4))
    monkeypatch.setattr(features, "NUM_KEPT", 50)
    path = run.folder / "features.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "test_maps"}
    np.savez(path, **arrays | {"test_distances": np.ones(num_distances, np.float32)})
    if is_read:
        assert features.read(run).test_distances.shape == (num_distances,)
    else:
        with pytest.raises(UserError, match="of distances"):
            features.read(run)
