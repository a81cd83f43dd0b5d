"""The file with the backbone's weights: found or downloaded, and verified before anything opens it.

Keras' own cache deletes a file of the user's whose hash is wrong; this module reads that cache and never writes to it.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from compare import download
from compare.command import UserError

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_NUM_BYTES = 94765736
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # the hash that Keras publishes for this file
IMAGENET_MIRRORS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/",
    "https://github.com/keras-team/keras-applications/releases/download/resnet/",
)
IMAGENET_ADVICE = (
    "connect to a network or set HTTPS_PROXY; or get the file elsewhere and name it with --weights FILE; or take "
    "--weights random, which has learned nothing"
)
# What Keras reads, by ending, and the bytes that such a file begins with.
SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".hdf5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK\x03\x04"}


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where the backbone's weights come from.

    Attributes:
        kind: imagenet, random, or file (somebody's own).
        path: the file; None for random.
        sha256: of the file's bytes; None for random.
    """

    kind: str
    path: Path | None = None
    sha256: str | None = None


def find(word: str) -> Weights:
    """The weights that `--weights` or the recipe asks for.

    Args:
        word: imagenet (found, else downloaded), random, local (ImageNet's if found, else random), or a file's path.

    Raises:
        UserError: they cannot be had, or are not what they should be.
    """
    if word == "random":
        return Weights("random")
    if word in ("imagenet", "local"):
        path = next((path for path in _usual_paths() if problem_with_imagenet(path) is None), None)
        if path is None and word == "local":
            return Weights("random")
        return Weights("imagenet", *_with_sha256(path or _fetch()))
    return _user_file(Path(word))


def problem_with_imagenet(path: Path) -> str | None:
    """What keeps the file at `path` from being Keras' ImageNet weights, or None."""
    try:
        if not path.is_file():
            return "is not there"
        if path.stat().st_size != IMAGENET_NUM_BYTES:
            return f"has {path.stat().st_size:,} bytes, not {IMAGENET_NUM_BYTES:,}"
        return None if _digest(path, _md5) == IMAGENET_MD5 else "holds other bytes"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _usual_paths() -> list[Path]:
    """Keras' cache and our own downloads."""
    keras_home = Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")))
    return [keras_home / "models" / IMAGENET_FILE, download.cache_folder() / IMAGENET_FILE]


def _fetch() -> Path:
    return download.fetch(
        IMAGENET_MIRRORS,
        download.cache_folder() / IMAGENET_FILE,
        max_bytes=IMAGENET_NUM_BYTES,
        problem_with=problem_with_imagenet,
        advice=IMAGENET_ADVICE,
    )


def _user_file(path: Path) -> Weights:
    expected = f"imagenet, random, or a Keras weights file of ResNet50 without its top ({', '.join(SIGNATURES)})"
    advice = "name such a file, or take --weights imagenet"
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file", expected, advice)
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if path.suffix not in SIGNATURES or not start.startswith(SIGNATURES[path.suffix]):
            raise UserError(f"--weights {path}: not a Keras weights file, by its name or first bytes", expected, advice)
        kind = "imagenet" if problem_with_imagenet(path) is None else "file"
        return Weights(kind, *_with_sha256(path))
    except OSError as error:
        raise UserError(f"--weights {path} cannot be read ({error.strerror})", expected, advice) from error


def _with_sha256(path: Path) -> tuple[Path, str]:
    return path, _digest(path, "sha256")


def _md5():
    return hashlib.md5(usedforsecurity=False)  # else some computers of offices and states refuse it


def _digest(path: Path, algorithm) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


if __name__ == "__main__":  # for `compare.doctor`, which does not import the branches
    paths = {str(path): problem_with_imagenet(path) for path in _usual_paths()}
    print(json.dumps({"paths": paths, "mirrors": IMAGENET_MIRRORS, "name": IMAGENET_FILE, "advice": IMAGENET_ADVICE}))
