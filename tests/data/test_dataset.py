"""The data: found, verified, downloaded, split. Truths: scikit-learn, published hashes, a server on this machine."""

import gzip
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from data_forms import CSV, FORMS, arrays, csv, npz, tables, write_form, zipped
from systems import needs_posix

from compare.data import dataset, download, fashion_mnist, recognition
from compare.system.errors import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
USUAL_FOLDERS = fashion_mnist._usual_folders


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_digits_are_scikit_learns_at_28_pixels():
    data = dataset.load("digits")
    original = sklearn.datasets.load_digits()
    assert data.train_images.shape == (1297, 28, 28, 1) and data.test_images.shape == (500, 28, 28, 1)
    assert np.array_equal(np.concatenate([data.train_labels, data.test_labels]), original.target)
    # The middle of each 3×3 block is the original's pixel, 0…16 brought to 0…255.
    middle = data.test_images[:, 3:26:3, 3:26:3, 0]
    assert np.array_equal(middle, np.round(original.images[1297:] * 255 / 16))
    assert set(np.unique(data.test_labels)) == set(range(10))


def test_digits_take_no_data_dir(tmp_path):
    with pytest.raises(UserError, match="with the data digits"):
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


@pytest.mark.parametrize("form", FORMS)
def test_the_data_are_recognised_by_what_files_hold(small, tmp_path, form):
    if "hub" in form:
        pytest.importorskip("pyarrow")
    write_form(form, small, tmp_path / "data")
    data = dataset.load("fashion-mnist", tmp_path / "data")
    for part, array in arrays(small).items():
        loaded = getattr(data, part)
        assert loaded.dtype == np.uint8 and len(loaded) == len(array) and loaded.tobytes() == array.tobytes(), part


@needs_posix
def test_a_file_alone_and_links_to_files_are_data(small, tmp_path):
    write(tmp_path / "blobs", {"0a": npz(small)})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "fashion-mnist.npz").symlink_to("../blobs/0a")
    for place in (tmp_path / "blobs" / "0a", tmp_path / "snapshot", tmp_path / "snapshot" / "fashion-mnist.npz"):
        assert dataset.load("fashion-mnist", place).test_labels.tolist() == list(range(10))


def test_files_in_their_places_are_not_searched_for(small, tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "find", None)
    dataset.load("fashion-mnist", write(tmp_path / "data", small))


@pytest.mark.parametrize(
    "place",
    [
        ".keras/datasets/fashion-mnist",
        "data/FashionMNIST/raw",
        ".cache/paddle/dataset/fashion-mnist",
        ".cache/mlx.data/fashion-mnist",
        ".mxnet/datasets/fashion-mnist",
        ".cache/kagglehub/datasets/zalando-research/fashionmnist/versions/4",
    ],
)
def test_where_other_programs_keep_it_it_is_found(small, tmp_path, monkeypatch, place):
    monkeypatch.setattr(fashion_mnist, "_usual_folders", USUAL_FOLDERS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME")
    write(tmp_path / place, small)
    expected = small["train-images-idx3-ubyte"][16:]
    assert dataset.load("fashion-mnist", download=False).train_images.tobytes() == expected


@pytest.mark.parametrize("below", ["FashionMNIST/raw", "fashion-mnist", "copies/of/mine"])
@pytest.mark.parametrize("which", ["one", "all"])
def test_a_stray_file_does_not_hide_a_whole_set(small, tmp_path, monkeypatch, below, which):
    strays = dict.fromkeys(list(small)[: 1 if which == "one" else 4], b"foreign")
    write(tmp_path / "data", strays)
    write(tmp_path / "data" / below, small)
    expected = small["train-images-idx3-ubyte"][16:]
    assert dataset.load("fashion-mnist", tmp_path / "data").train_images.tobytes() == expected
    monkeypatch.setattr(fashion_mnist, "_usual_folders", lambda: [tmp_path / "first", tmp_path / "data" / below])
    write(tmp_path / "first", strays)
    assert dataset.load("fashion-mnist", download=False).train_images.tobytes() == expected


def mnist_labels(files, name, first):
    labels = np.resize(np.array(first, np.uint8), len(files[name]) - 8)
    return {name: files[name][:8] + labels.tobytes()}


def shuffled(images, labels):
    order = np.random.default_rng(0).permutation(len(labels))
    return csv(images[order], labels[order])


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def mnist_images(files):
    """Of the mean that MNIST's training images have."""
    images = np.full((1000, 784), 33, np.uint8)
    images[:318] += 1
    return {"train.idx3": struct.pack(">iiii", 2051, 1000, 28, 28) + images.tobytes()}


ALMOST = {
    "MNIST's training labels": (
        lambda files: mnist_labels(files, "train-labels-idx1-ubyte", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
        ["train-labels-idx1-ubyte holds MNIST's labels, not Fashion-MNIST's"],
    ),
    "MNIST's test labels": (
        lambda files: mnist_labels(files, "t10k-labels-idx1-ubyte", [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
        ["t10k-labels-idx1-ubyte holds MNIST's labels"],
    ),
    "MNIST's images": (mnist_images, ["train.idx3 holds what by their mean are MNIST's images"]),
    "another order": (
        lambda files: tables(files, shuffled, CSV),
        [
            "fashion-mnist_train.csv holds the training set, but its images in another order",
            "_test.csv holds the test set, but",
            "what to do: take the idx files instead",
        ],
    ),
    "one of two pairs": (
        lambda files: {name: content for name, content in files.items() if "train" in name},
        ["lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte\n  expected"],
    ),
    "part of the images": (
        lambda files: {"0": struct.pack(">iiii", 2051, 9, 28, 28) + bytes(9 * 784)},
        ["0 holds 9 images, not 20 or 10"],
    ),
    "other labels": (
        lambda files: {"0": struct.pack(">ii", 2049, 20) + bytes(20)},
        ["0 holds 20 labels, but other ones"],
    ),
    "cut short": (
        lambda files: {"0": files["t10k-images-idx3-ubyte"][:-1]},
        ["0 is damaged or cut short: 7,839 bytes"],
    ),
    "arrays of fractions": (
        lambda files: {"x.npy": npy(arrays(files)["test_images"] / 255)},
        ["x.npy holds 7,840 numbers of the kind float64; whole ones in 0…255 are expected"],
    ),
    "floating point": (
        lambda files: {"0": b"\0\0\x0d\x03" + files["t10k-images-idx3-ubyte"][4:]},
        ["0 holds float32 numbers; uint8 is expected"],
    ),
    "text with fractions": (
        lambda files: {"my.csv": csv(*(array for array in list(arrays(files).values())[:2])).replace(b",7,", b",.7,")},
        ["my.csv is damaged or cut short"],
    ),
    "a web page": (
        lambda files: {"train-images-idx3-ubyte.gz": b"<!doctype html>Please log in"},
        ["train-images-idx3-ubyte.gz is damaged, or holds something else than its name says"],
    ),
}


@pytest.mark.parametrize("case", ALMOST)
def test_what_is_almost_right_says_what_it_is(small, tmp_path, monkeypatch, case):
    *training, test_images, test_labels = (array.reshape(len(array), -1) for array in arrays(small).values())
    monkeypatch.setitem(recognition.IN_ANY_ORDER, "training", recognition.in_any_order(*training))
    monkeypatch.setitem(recognition.IN_ANY_ORDER, "test", recognition.in_any_order(test_images, test_labels))
    write_files, words = ALMOST[case]
    folder = write(tmp_path / "data", write_files(small))
    with pytest.raises(UserError) as error:
        dataset.load("fashion-mnist", folder)
    for word in words:
        assert word in str(error.value)


def test_old_files_of_torchvision_point_to_raw(small, tmp_path):
    (tmp_path / "processed").mkdir()
    for name, is_archive in (("training.pt", False), ("test.pt", True)):  # in the form of old versions and of new ones
        tensors = (torch.zeros(20, 28, 28), torch.zeros(20))
        torch.save(tensors, tmp_path / "processed" / name, _use_new_zipfile_serialization=is_archive)
    with pytest.raises(UserError) as error:
        dataset.load("fashion-mnist", tmp_path)
    for name in ("test.pt", "training.pt"):
        assert f"{name} is a file of torch.save, as torchvision wrote them to processed/" in str(error.value)
    assert "what to do: point to the folder raw/ beside" in str(error.value)
    write(tmp_path / "raw", small)
    dataset.load("fashion-mnist", tmp_path)


def test_what_is_not_like_the_data_is_not_spoken_of(small, tmp_path):
    write(tmp_path / "project", {"mnist_reader.py": b"?", "x.npy": npy(np.zeros((7, 10))), "notes.csv": b"a,b"})
    (tmp_path / "project" / "x.zip").write_bytes(zipped({"a": b"b"}))
    torch.save(torch.zeros(3), tmp_path / "project" / "checkpoint.pt")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte\n  expected") as error:
        dataset.load("fashion-mnist", tmp_path)
    assert "project" not in str(error.value) and "raw/" not in str(error.value)


def test_tables_ask_for_their_package_in_words(small, tmp_path, monkeypatch):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match=r"train.parquet is a Parquet file, and pyarrow is not (?s:.*)pip install pyarrow"
    ):
        dataset.load("fashion-mnist", tmp_path)
    write(tmp_path / "below", small)
    dataset.load("fashion-mnist", tmp_path)  # it is not asked for where it is not needed


def test_download_takes_the_next_mirror_and_keeps_only_right_bytes(small, server, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "MIRRORS", [f"{server.url}/{n}/" for n in range(4)])
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
    monkeypatch.setattr(fashion_mnist, "MIRRORS", [f"{server.url}/", "http://127.0.0.1:1/"])
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
    assert data.train_images.shape == (60000, 28, 28, 1) and data.test_images.shape == (10000, 28, 28, 1)
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    assert data.class_names[data.train_labels[0]] == "Ankle boot"  # the best-known picture of the set
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    for (images, labels), sha256 in zip((train, test), recognition.IN_ANY_ORDER.values(), strict=True):
        order = np.random.default_rng(0).permutation(len(labels))
        assert recognition.in_any_order(images.reshape(-1, 784)[order], labels.reshape(-1, 1)[order]) == sha256
