"""The data: found, verified, downloaded, split. Truths: scikit-learn, published hashes, a server on this machine."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from compare import dataset, download
from compare.command import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_digits_are_scikit_learns_at_28_pixels():
    data = dataset.load("digits")
    original = sklearn.datasets.load_digits()
    assert data.train_images.shape == (1297, 28, 28) and data.test_images.shape == (500, 28, 28)
    assert np.array_equal(np.concatenate([data.train_labels, data.test_labels]), original.target)
    # The middle of each 3×3 block is the original's pixel, 0…16 brought to 0…255.
    middle = data.test_images[:, 3:26:3, 3:26:3]
    assert np.array_equal(middle, np.round(original.images[1297:] * 255 / 16))
    assert set(np.unique(data.test_labels)) == set(range(10))


def test_digits_take_no_data_dir(tmp_path):
    with pytest.raises(UserError, match="come with scikit-learn"):
        dataset.load("digits", tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw", "fashion-mnist"])
def test_files_are_found_plain_and_gzipped(small, tmp_path, ending, below):
    compress = gzip.compress if ending else bytes
    write(tmp_path / "data" / below, {name + ending: compress(content) for name, content in small.items()})
    data = dataset.load("fashion-mnist", tmp_path / "data")
    assert data.train_images.tobytes() == small["train-images-idx3-ubyte"][16:]
    assert data.test_labels.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda files: files.pop("t10k-labels-idx1-ubyte"), "lacks t10k-labels-idx1-ubyte"),
        (
            lambda files: files.update({"train-labels-idx1-ubyte": files["t10k-labels-idx1-ubyte"]}),
            "data lacks train-l",
        ),
        (
            lambda files: files.update({"train-images-idx3-ubyte": files["train-images-idx3-ubyte"] + b"0"}),
            "15,681 bytes, and its beginning says 15,680",
        ),
        (
            lambda files: files.update({"t10k-images-idx3-ubyte": bytes(7856)}),
            "t10k-images-idx3-ubyte is damaged, or holds something else",
        ),
        (
            lambda files: files.update({"t10k-images-idx3-ubyte": b""}),
            "t10k-images-idx3-ubyte is damaged, or holds something else",
        ),
    ],
)
def test_wrong_files_are_refused_by_name(small, tmp_path, damage, words):
    damage(small)
    folder = write(tmp_path / "data", small)
    with pytest.raises(UserError, match=words):
        dataset.load("fashion-mnist", folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(small)  # nothing of the user's was touched


def test_gzip_cut_short_is_refused(small, tmp_path):
    files = {f"{name}.gz": gzip.compress(content) for name, content in small.items()}
    files["t10k-images-idx3-ubyte.gz"] = files["t10k-images-idx3-ubyte.gz"][:-20]
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is damaged or cut short"):
        dataset.load("fashion-mnist", write(tmp_path / "data", files))


def test_download_takes_the_next_mirror_and_keeps_only_right_bytes(small, server, monkeypatch):
    monkeypatch.setattr(dataset, "FASHION_MNIST_MIRRORS", [f"{server.url}/{n}/" for n in range(4)])
    for name, content in small.items():
        server.answers[f"/0/{name}.gz"] = (503, b"busy")
        server.answers[f"/1/{name}.gz"] = (200, b"<html>please log in</html>")
        server.answers[f"/2/{name}.gz"] = (200, gzip.compress(content[:-1] + b"?"))
        server.answers[f"/3/{name}.gz"] = (200, gzip.compress(content))
    data = dataset.load("fashion-mnist")
    assert data.test_images.tobytes() == small["t10k-images-idx3-ubyte"][16:]
    assert len(server.asked) == 16
    folder = download.cache_folder() / "fashion-mnist"
    assert sorted(path.name for path in folder.glob("[!.]*")) == sorted(f"{name}.gz" for name in small)

    dataset.load("fashion-mnist")
    assert len(server.asked) == 16  # the second time nothing was asked for


def test_download_that_fails_everywhere_says_why_and_leaves_nothing(small, server, monkeypatch):
    monkeypatch.setattr(dataset, "FASHION_MNIST_MIRRORS", [f"{server.url}/", "http://127.0.0.1:1/"])
    with pytest.raises(UserError) as error:
        dataset.load("fashion-mnist")
    assert "HTTP status 404" in str(error.value) and "ConnectionError" in str(error.value)
    assert "--data-dir" in str(error.value)
    assert not list((download.cache_folder() / "fashion-mnist").glob("[!.]*"))  # but for the locks


def test_split_is_stratified_seeded_and_whole():
    labels = np.repeat(np.arange(10), 50).astype(np.uint8)
    train, validation = dataset.split(labels, 0.1, seed=3)
    assert np.bincount(labels[validation]).tolist() == [5] * 10
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(500))
    again = dataset.split(labels, 0.1, seed=3)
    assert np.array_equal(validation, again[1]) and not np.array_equal(validation, dataset.split(labels, 0.1, 4)[1])
    assert [len(part) for part in dataset.split(labels, 0.0, seed=3)] == [500, 0]


def test_fingerprint_tells_bytes_shapes_and_types_apart():
    a = np.arange(6, dtype=np.uint8)
    others = [a.reshape(2, 3), a[::-1], a.astype(np.int8), a[:5]]
    assert dataset.fingerprint(a) == dataset.fingerprint(a.copy())
    assert len({dataset.fingerprint(array) for array in [a, *others]}) == 5


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_real_fashion_mnist():
    data = dataset.load("fashion-mnist")
    assert data.train_images.shape == (60000, 28, 28) and data.test_images.shape == (10000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    assert data.class_names[data.train_labels[0]] == "Ankle boot"  # the best-known picture of the set
