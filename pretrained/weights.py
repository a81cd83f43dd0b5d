"""The file with the backbone's weights: found or downloaded, and verified before anything opens it.

Keras' own cache deletes a file of the user's whose hash is wrong; this module reads that cache and never writes to it.
"""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from compare.data import download
from compare.system import processes
from compare.system.errors import UserError, printable
from pretrained import weights_file

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_NUM_BYTES = 94765736
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # the hash that Keras publishes for this file
IMAGENET_WITH_TOP_MD5 = "2cb95161c43110f7111970584f804107"  # and for the one with the top
IMAGENET_MIRRORS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/",
    "https://github.com/keras-team/keras-applications/releases/download/resnet/",
)
IMAGENET_ADVICE = (
    "connect to a network or set HTTPS_PROXY; or get the file elsewhere and name it with --weights FILE; or take "
    "--weights random, which has learned nothing"
)
RUN_WEIGHTS = "model.keras"  # of a run of this branch
INSPECTION_SECONDS = 60
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a drive of Windows has one letter


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where the backbone's weights come from.

    Attributes:
        kind: imagenet, random, or file (somebody's own).
        path: the file; None for random.
        sha256: of the file's bytes; None for random.
        is_part: whether the file holds more than the backbone: a top, or a whole network around it.
    """

    kind: str
    path: Path | None = None
    sha256: str | None = None
    is_part: bool = False


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
    return _user_file(word)


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


def _user_file(word: str) -> Weights:
    expected = "imagenet, random, or a file in which Keras saved a ResNet50, alone or in a whole network"
    advice, path, problem = "name such a file, or take --weights imagenet", Path(word), None
    try:
        if ADDRESS.match(word):
            problem, advice = "an address, not a file", "download it, and name the file"
        elif path.is_dir():
            if not (path / RUN_WEIGHTS).is_file():
                problem = weights_file.what_folder(path)
            path = path / RUN_WEIGHTS
        elif not path.is_file():
            problem = "there is no such file"
            if path.exists():
                problem = "not a file, but a pipe or a device"
            elif path.with_name(f"{path.name}.index").is_file():
                problem = "TensorFlow's checkpoint"
        if problem is None:
            path, sha256 = _with_sha256(path)
            kind = "imagenet" if _digest(path, _md5) in (IMAGENET_MD5, IMAGENET_WITH_TOP_MD5) else "file"
            found = _inspect_elsewhere(path)
            problem = found.get("problem")
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    if problem is not None:
        raise UserError(f"--weights {printable(word)}: {problem}", expected, advice)
    return Weights(kind, path, sha256, is_part=found["is_part"])


def check_unchanged(weights: Weights) -> None:
    """Refuse a file that was written to after it was verified.

    Raises:
        UserError: it has other bytes now.
    """
    if _digest(weights.path, "sha256") != weights.sha256:
        raise UserError(
            f"{weights.path} has changed since it was verified",
            "a file that nothing writes to",
            "wait until whatever writes it is done, and start again",
        )


def _inspect_elsewhere(path: Path) -> dict:
    """What `weights_file` says of a file in a process of its own: a damaged file can end the HDF5 library's process,
    keep it busy for ever or make it ask for any amount of memory."""
    command = [sys.executable, "-m", weights_file.__name__, str(path.absolute())]
    try:
        with processes.tied() as arguments:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=INSPECTION_SECONDS, **arguments
            )
    except subprocess.TimeoutExpired:
        return {"problem": f"it takes more than {INSPECTION_SECONDS} s to read"}
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"problem": f"it cannot be read: {printable(said)[:200]}"}
    return json.loads(done.stdout)


def _with_sha256(path: Path) -> tuple[Path, str]:
    return path, _digest(path, "sha256")


def _md5():
    return hashlib.md5(usedforsecurity=False)  # else some computers of offices and states refuse it


def _digest(path: Path, algorithm) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def main() -> None:
    """Say where ImageNet's weights may be, for `compare.doctor`, which does not import the branches."""
    processes.end_with_parent()
    paths = {str(path): problem_with_imagenet(path) for path in _usual_paths()}
    print(json.dumps({"paths": paths, "mirrors": IMAGENET_MIRRORS, "name": IMAGENET_FILE, "advice": IMAGENET_ADVICE}))


if __name__ == "__main__":
    main()
