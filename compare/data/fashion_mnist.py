"""Fashion-MNIST: found on this machine or downloaded, and never used before the SHA-256 of its decompressed bytes was
right: mirrors and Linux packages compress the same bytes differently. Files of other names and forms are read by
`recognition`."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from compare.data import download
from compare.data.images import Dataset
from compare.system.errors import UserError

# name: bytes and SHA-256, both of the decompressed content
FILES = {
    "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
    "https://dataset.bj.bcebos.com/fashion_mnist/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # no encryption: last, and the hash decides
)
ADVICE = (
    "connect to a network or set HTTPS_PROXY; or get the four files elsewhere (Debian and Ubuntu: "
    "apt install dataset-fashion-mnist) and name their folder with --data-dir"
)
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load(data_dir: Path | None, *, download: bool) -> Dataset:
    """Fashion-MNIST from what the user names, else from the usual places, else, if it may, from the mirrors.

    Raises:
        UserError: it is not there, not whole or not the real one.
    """
    contents = _read_given(data_dir) if data_dir is not None else _find_or_fetch(may_fetch=download)
    images = {name: np.frombuffer(content, np.uint8, offset=16) for name, content in contents.items()}
    return Dataset(
        name="fashion-mnist",
        title="Fashion-MNIST",
        class_names=CLASS_NAMES,
        train_images=images["train-images-idx3-ubyte"].reshape(-1, 28, 28, 1),
        train_labels=np.frombuffer(contents["train-labels-idx1-ubyte"], np.uint8, offset=8),
        test_images=images["t10k-images-idx3-ubyte"].reshape(-1, 28, 28, 1),
        test_labels=np.frombuffer(contents["t10k-labels-idx1-ubyte"], np.uint8, offset=8),
    )


def _usual_folders() -> list[Path]:
    """Where Fashion-MNIST may stand already: the caches of Keras, torchvision, Paddle, MXNet, MLX and Kaggle's own
    downloader, the Linux package, our own downloads."""
    folders = (
        Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets/fashion-mnist"),
        *(Path(root, "FashionMNIST/raw") for root in ("~/Datasets/FashionMNIST", "~/data", "data")),
        *(Path("~/.cache", place) for place in ("paddle/dataset/fashion-mnist", "mlx.data/fashion-mnist")),
        Path("~/.mxnet/datasets/fashion-mnist"),
        Path("~/.cache/kagglehub/datasets/zalando-research/fashionmnist/versions/4"),
        Path("/usr/share/datasets/fashion-mnist"),
        download.cache_folder() / "fashion-mnist",
    )
    return [Path(os.path.expanduser(folder)) for folder in folders]  # Path's own minds that there is no home


def whereabouts() -> list[tuple[Path, str | None]]:
    """The usual folders that hold some of the four files, each with what is wrong with them, or None."""
    found: list[tuple[Path, str | None]] = []
    for folder in _usual_folders():
        try:
            if any(_existing(folder, name) for name in FILES):
                _read_folder(folder)
                found.append((folder, None))
        except (UserError, OSError) as error:
            found.append((folder, str(error).splitlines()[0].removeprefix("error: ")))
    return found


def _find_or_fetch(*, may_fetch: bool) -> dict[str, bytes]:
    """The content of the four files, from the first folder that has them whole, else from the mirrors."""
    for folder in _usual_folders():
        try:
            return _read_folder(folder)
        except (UserError, OSError):
            continue  # somebody else's folder: not there or not whole, and not ours to mend
    if not may_fetch:
        raise UserError(
            "Fashion-MNIST is in none of the usual places",
            f"its four files: {', '.join(FILES)}",
            "name the folder that holds them with --data-dir",
        )
    folder = download.cache_folder() / "fashion-mnist"
    for name in FILES:

        def problem_with(path: Path, name: str = name) -> str | None:
            return _read_file(path, name)[1]

        download.fetch(
            MIRRORS,
            folder / f"{name}.gz",
            max_bytes=_most_gzipped_bytes(name),
            problem_with=problem_with,
            advice=ADVICE,
        )
    return _read_folder(folder)


def _read_given(path: Path) -> dict[str, bytes]:
    """The content of the four files from what the user names: by their names if possible, else by what is there."""
    try:
        return _read_folder(path)
    except (UserError, OSError):
        from compare.data import recognition

        return recognition.find(path, FILES)


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The verified content of the four files in `folder`, or in the folder that Keras or torchvision make below it."""
    refused = []
    for place in (folder, folder / "FashionMNIST/raw", folder / "fashion-mnist"):  # a stray file hides no whole set
        paths = {name: _existing(place, name) for name in FILES}
        try:
            if missing := [name for name, found in paths.items() if not found]:
                raise UserError(
                    f"{place} lacks {', '.join(missing)}",
                    f"the four Fashion-MNIST files, gzipped or not: {', '.join(FILES)}",
                    "name the folder that holds them with --data-dir",
                )
            return {name: _read_first_right(found, name) for name, found in paths.items()}
        except UserError as error:
            refused.append(error)
    raise refused[0]


def _existing(folder: Path, name: str) -> list[Path]:
    """The files of that name in `folder`, plain and gzipped."""
    return [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]


def _read_first_right(paths: list[Path], name: str) -> bytes:
    """The decompressed content of the first of one file's forms that is right."""
    problems = []
    for path in paths:
        content, problem = _read_file(path, name)
        if problem is None:
            return content
        problems.append(f"{path} {problem}")
    raise UserError(
        "; ".join(problems),
        f"Fashion-MNIST's {name}, whose decompressed bytes have the SHA-256 {FILES[name][1]}",
        "replace the file, or leave --data-dir out to have a good copy found or downloaded",
    )


def _most_gzipped_bytes(name: str) -> int:
    """How large the gzipped file can be: deflate adds at most a thousandth to what it cannot compress."""
    return FILES[name][0] * 1001 // 1000 + 1000


def _read_file(path: Path, name: str) -> tuple[bytes, str | None]:
    """The decompressed content of one file, and what is wrong with it (None when nothing is)."""
    num_bytes, sha256 = FILES[name]
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        if path.stat().st_size > _most_gzipped_bytes(name):  # gzip can make a long way to the first byte
            return b"", f"has {path.stat().st_size:,} bytes, more than it can have"
        with opener(path, "rb") as file:
            content = file.read(num_bytes + 1)  # one more than right: a larger file is wrong, however large
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b"", "is damaged or cut short"
    except OSError as error:
        return b"", f"cannot be read ({error.strerror or error})"
    if len(content) < num_bytes:
        return content, f"holds {len(content):,} bytes, not {num_bytes:,}"
    if hashlib.sha256(content).hexdigest() != sha256:
        return content, "holds other bytes"
    return content, None
