"""The file with the backbone's weights: found or downloaded, and verified before anything opens it.

Keras' own cache deletes a file of the user's whose hash is wrong; this module reads that cache and never writes to it.
"""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from compare import download, processes
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

MEMBER = "model.weights.h5"  # of a .keras archive
MAX_NUM_BYTES, MAX_NUM_ITEMS = 1_000_000_000, 20_000  # ten times the network, for optimizers that were saved with it
INSPECTION_SECONDS, INSPECTION_BYTES = 60, 6_000_000_000


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
        if problem_with_imagenet(path) is None:
            return Weights("imagenet", *_with_sha256(path))
        found = Weights("file", *_with_sha256(path))
    except OSError as error:
        raise UserError(f"--weights {path} cannot be read ({error.strerror})", expected, advice) from error
    problem = _problem_elsewhere(path)
    if problem is not None:
        raise UserError(f"--weights {path}: {problem}", expected, advice)
    return found


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


def _problem_elsewhere(path: Path) -> str | None:
    """What `problem_with_file` says in a process of its own: a damaged file can end the HDF5 library's process, keep it
    busy for ever or make it ask for any amount of memory."""
    command = [sys.executable, "-m", __name__, str(path.absolute())]
    try:
        with processes.tied() as arguments:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=INSPECTION_SECONDS, **arguments
            )
    except subprocess.TimeoutExpired:
        return f"it takes more than {INSPECTION_SECONDS} s to read"
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"it cannot be read: {said[:200]}"
    return done.stdout.strip() or None


def problem_with_file(path: Path) -> str | None:
    """What keeps a file from being weights that are safe to load, or None. Everything in it is read.

    The links of an HDF5 file may lead to other files, its data sets may lie in them or be views of others, and a shape
    may ask for any amount of memory: none of it is in weights that Keras wrote.
    """
    import h5py

    if path.suffix != ".keras":
        with h5py.File(path, "r") as file:
            return _problem_with_hdf5(file)
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            return f"it holds no {MEMBER}"
        if sum(member.file_size for member in archive.infolist()) > MAX_NUM_BYTES:
            return f"it unpacks to more than {MAX_NUM_BYTES:,} bytes"
        content = archive.read(MEMBER)
    with h5py.File(io.BytesIO(content), "r") as file:
        return _problem_with_hdf5(file)


def _problem_with_hdf5(file) -> str | None:
    import h5py
    import numpy as np

    groups, num_items, num_bytes = [file], 0, 0
    while groups:
        group = groups.pop()
        dict(group.attrs)
        for name in group:
            num_items += 1
            if num_items > MAX_NUM_ITEMS:  # or a group that holds itself
                return f"it holds more than {MAX_NUM_ITEMS:,} items"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"{group.name}/{name} is a link, perhaps to another file"
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
                continue
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
                return f"{item.name} holds no numbers"
            if item.external or item.is_virtual:
                return f"{item.name} keeps its numbers elsewhere"
            num_bytes += item.nbytes
            if num_bytes > MAX_NUM_BYTES:
                return f"it holds more than {MAX_NUM_BYTES:,} bytes of numbers"
            dict(item.attrs)
            if not np.isfinite(item[()]).all():
                return f"{item.name} holds numbers that are not finite"
    return None


def _with_sha256(path: Path) -> tuple[Path, str]:
    return path, _digest(path, "sha256")


def _md5():
    return hashlib.md5(usedforsecurity=False)  # else some computers of offices and states refuse it


def _digest(path: Path, algorithm) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def main() -> None:
    """Without a word: say where ImageNet's weights may be, for `compare.doctor`, which does not import the branches.
    With a file: say what `problem_with_file` finds, for `_problem_elsewhere`."""
    processes.end_with_parent()
    if len(sys.argv) == 1:
        paths = {str(path): problem_with_imagenet(path) for path in _usual_paths()}
        answer = {"paths": paths, "mirrors": IMAGENET_MIRRORS, "name": IMAGENET_FILE, "advice": IMAGENET_ADVICE}
        print(json.dumps(answer))
        return
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (INSPECTION_BYTES, INSPECTION_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(problem_with_file(Path(sys.argv[1])) or "")


if __name__ == "__main__":
    main()
