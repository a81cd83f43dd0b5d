"""What a file of somebody's holds, and the ResNet50 in it: read by its content, whatever its name, without Keras.

Keras saves a network in three forms: HDF5 with every array under its layer's name (`.h5`, weights or whole networks),
HDF5 with layers counted by class (`.weights.h5`; newer versions write the layer's name beside it), and an archive of
the second (`.keras`). The network may lie in another one, or have a top. Arrays are read, and nothing else: no code, no
configuration, no link to elsewhere.
"""

import dataclasses
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

from compare.system import processes
from compare.system.errors import printable

MEMBER = "model.weights.h5"  # of a .keras archive
MAX_NUM_BYTES, MAX_NUM_ITEMS = 1_000_000_000, 20_000  # ten times the network, for optimizers that were saved with it
MAX_DEPTH = 50
INSPECTION_BYTES = 6_000_000_000
HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
# What else comes under the name of weights: where in the file, which bytes, and what it is.
OTHER_FILES = [
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself: git lfs pull fetches that"),
    (4, b"\0\0\0\0{", "safetensors, as PyTorch's networks are kept in"),
    (0, b"\x80", "a pickle, as PyTorch and others write them: it could run any code, and is never opened"),
    (0, b"<", "a web page or a server's error, saved under this name: download the file itself"),
    (0, b"{", "JSON, a text: it holds no weights"),
    (0, b"\x1f\x8b", "packed by gzip: unpack it first"),
    (0, b"BZh", "packed by bzip2: unpack it first"),
    (0, b"\xfd7zXZ", "packed by xz: unpack it first"),
    (0, b"7z\xbc\xaf", "packed by 7-Zip: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first, and name the file in it"),
    (0, b"\x93NUMPY", "a single array of NumPy's"),
    (4, b"TFL3", "a network for TensorFlow Lite"),
]
IN_OTHER_FOLDERS = {
    "saved_model.pb": "TensorFlow's SavedModel",
    "checkpoint": "TensorFlow's checkpoint",
    "model.safetensors": "that of a run or network of PyTorch",
    "pytorch_model.bin": "that of a network of PyTorch",
    MEMBER: f"an unpacked .keras archive: name the {MEMBER} in it",
}
# A layer that other networks have, in the order in which they are told apart.
OTHER_NETWORKS = {
    "res2a_branch2a": "a ResNet50 under the names that Keras gave its layers before 2.2.4",
    "conv_dw_1": "MobileNet",
    "Conv_1": "MobileNetV2",
    "expanded_conv_depthwise_bn": "MobileNetV3",
    "block14_sepconv1": "Xception",
    "block5_conv4": "VGG19",
    "block5_conv3": "VGG16",
    "conv_7b": "InceptionResNetV2",
    "pool2_conv": "DenseNet",
    "block1a_project_conv": "EfficientNet",
}
STAGES = {2: (64, 3), 3: (128, 4), 4: (256, 6), 5: (512, 3)}  # ResNet50's: channels, and how many blocks
DEPTHS = {6: 50, 23: 101, 36: 152}  # by the blocks of the fourth stage
ROLES = {"conv": ("kernel", "bias"), "bn": ("gamma", "beta", "moving_mean", "moving_variance")}
BLOCK = re.compile(r"conv([2-5])_block(\d+)_")
COUNTED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
CUT_SHORT = re.compile(r"truncated file: eof = (\d+).* stored_eof = (\d+)")


class Unfit(Exception):
    """What a file is that is not fit to be used, in words."""


@dataclasses.dataclass
class Layer:
    """A layer in a file.

    Attributes:
        place: the names of the groups that lead to it.
        name: its own; None where the file does not say it.
        arrays: by their names: kernel, bias, …, or 0, 1, …, or others.
        order: their places in the layer's `get_weights`, where the file lists it.
    """

    place: tuple[str, ...]
    name: str | None
    arrays: dict[str, np.ndarray]
    order: dict[str, int]


def resnet50_shapes() -> dict[str, list[tuple[int, ...]]]:
    """The shapes of the arrays of every layer of `keras.applications.ResNet50` without its top that has any, by the
    layers' names. Layers of one class stand in Keras' order."""
    shapes = {}

    def add(name: str, size: int, num_inputs: int, num_outputs: int) -> None:
        shapes[f"{name}_conv"] = [(size, size, num_inputs, num_outputs), (num_outputs,)]
        shapes[f"{name}_bn"] = [(num_outputs,)] * 4

    add("conv1", 7, 3, 64)
    num_inputs = 64
    for stage, (channels, num_blocks) in STAGES.items():
        for block in range(1, num_blocks + 1):
            name = f"conv{stage}_block{block}"
            add(f"{name}_1", 1, num_inputs, channels)
            add(f"{name}_2", 3, channels, channels)
            if block == 1:
                add(f"{name}_0", 1, num_inputs, 4 * channels)
            add(f"{name}_3", 1, channels, 4 * channels)
            num_inputs = 4 * channels
    return shapes


RESNET50 = resnet50_shapes()


def read_backbone(path: Path) -> tuple[dict[str, list[np.ndarray]], bool]:
    """The arrays of the ResNet50 in a file, float32, for each of its layers, in the order of the layer's `get_weights`;
    and whether the file holds more than those: a top, or a whole network around them.

    Raises:
        Unfit: it holds none, or several, or is no file of Keras'.
    """
    layers = read_layers(path)
    _name_by_order(layers)
    named = {}
    for layer in layers:
        named.setdefault(layer.name or layer.place[-1], []).append(layer)
    others = [name for name in named if BLOCK.match(name) and name not in RESNET50]
    missing = [name for name in RESNET50 if name not in named]
    if others or missing:
        raise Unfit(_another_network(named, missing))
    arrays = {}
    for name, expected in RESNET50.items():
        if len(named[name]) > 1:
            raise Unfit(f"it holds {len(named[name])} layers {name}: several networks, and which is meant is not said")
        arrays[name] = _in_order(named[name][0], name)
        found = [array.shape for array in arrays[name]]
        if found != expected:
            raise Unfit(f"its layer {name} has the shapes {_listed(found)}, and ResNet50's has {_listed(expected)}")
    return arrays, len(layers) > len(RESNET50)


def read_layers(path: Path) -> list[Layer]:
    """Every layer in a file that has arrays, those of an optimizer left out. Everything in the file is looked at.

    The links of an HDF5 file may lead to other files, its data sets may lie in them or be views of others, and a shape
    may ask for any amount of memory: none of it is in weights that Keras wrote.

    Raises:
        Unfit: it is no file that Keras wrote.
    """
    import h5py

    with path.open("rb") as file:
        start = file.read(512)
    try:
        if start.startswith(HDF5):
            with h5py.File(path, "r") as file:
                return _layers_of(file)
        if start.startswith(ZIP):
            with h5py.File(io.BytesIO(_member_of(path)), "r") as file:
                return _layers_of(file)
    except zipfile.BadZipFile as error:
        raise Unfit(f"an archive that is cut short or damaged ({error})") from error
    except Exception as error:  # h5py raises many kinds
        if isinstance(error, Unfit):
            raise
        if found := CUT_SHORT.search(str(error)):
            raise Unfit(f"it is cut short: {int(found[1]):,} of {int(found[2]):,} bytes are there") from error
        raise Unfit(f"it is damaged ({type(error).__name__}: {printable(str(error))[:200]})") from error
    raise Unfit(_another_file(start, path.name))


def what_folder(folder: Path) -> str:
    """What a folder is that somebody named in the place of a file, in words."""
    for name, words in IN_OTHER_FOLDERS.items():
        if (folder / name).exists():
            return f"a folder, {words}"
    return "a folder: name the file in it"


def _another_file(start: bytes, name: str) -> str:
    """What a file is that begins so and is neither HDF5 nor a zip archive."""
    if not start:
        return "it is empty"
    if re.search(r"\.(index|data-\d+-of-\d+)$", name):
        return "a part of TensorFlow's checkpoint"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for place, mark, words in OTHER_FILES:
        if start[place:].startswith(mark) or (place == 0 and mark in b"<{" and text.startswith(mark)):
            return words
    return "neither HDF5 nor an archive of Keras', by its first bytes"


def _member_of(path: Path) -> bytes:
    """The weights in an archive of Keras'."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise Unfit("PyTorch's: it could run any code, and is never opened")
        if MEMBER not in names:
            raise Unfit(f"a zip archive that holds no {MEMBER}, so not one of Keras'")
        if sum(member.file_size for member in archive.infolist()) > MAX_NUM_BYTES:
            raise Unfit(f"it unpacks to more than {MAX_NUM_BYTES:,} bytes")
        return archive.read(MEMBER)


def _layers_of(file) -> list[Layer]:
    import h5py

    layers, order, groups, num_items, num_bytes = {}, {}, [file], 0, 0
    while groups:
        group = groups.pop()
        attributes = dict(group.attrs)
        place = group.name.strip("/").split("/")  # of the layer, if this group has arrays
        if len(place) > MAX_DEPTH:  # or a group that holds itself
            raise Unfit(f"more than {MAX_DEPTH} groups lie in each other")
        for index, listed in enumerate(np.ravel(attributes.get("weight_names", []))):
            listed = listed.decode(errors="replace") if isinstance(listed, bytes) else str(listed)
            order["/".join([*place, listed])] = index
        if place[-1] == "vars":
            place, name = place[:-1] or [""], attributes.get("name")
            name = name if isinstance(name, str) else None
        else:  # one of TensorFlow's scopes, which may be numbered, lies in the layer's own group
            name = next((part for part in place if part in RESNET50), place[-1])
        for key in group:
            num_items += 1
            if num_items > MAX_NUM_ITEMS:
                raise Unfit(f"it holds more than {MAX_NUM_ITEMS:,} items")
            where = f"{printable(group.name).rstrip('/')}/{printable(key)}"[:200]
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise Unfit(f"{where} is a link, perhaps to another file")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append(item)
                continue
            if isinstance(item, h5py.Dataset) and item.dtype == "V2":
                raise Unfit(f"{where} holds bfloat16: save the network in float32")
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
                raise Unfit(f"{where} holds no numbers")
            if item.external or item.is_virtual:
                raise Unfit(f"{where} keeps its numbers elsewhere")
            num_bytes += item.nbytes
            if num_bytes > MAX_NUM_BYTES:
                raise Unfit(f"it holds more than {MAX_NUM_BYTES:,} bytes of numbers")
            dict(item.attrs)
            array = item[()]
            if not np.isfinite(array).all():
                raise Unfit(f"{where} holds numbers that are not finite")
            if place[:1] not in (["optimizer"], ["optimizer_weights"]):
                layer = layers.setdefault(group.name, Layer(tuple(place), name, {}, {}))
                role = key.partition(":")[0]  # TensorFlow's names end in :0
                layer.arrays[role] = np.asarray(array)
                if (listed := f"{group.name}/{key}".strip("/")) in order:
                    layer.order[role] = order[listed]
    return list(layers.values())


def _name_by_order(layers: list[Layer]) -> None:
    """Name the layers of a ResNet50 that a file only counts: the convolutions in one group whose shapes are, one after
    the other, those of all of ResNet50's, and batch normalisation alike."""
    counted = {}
    for layer in layers:
        if layer.name is None and (found := COUNTED.fullmatch(layer.place[-1])):
            kind = "conv" if found[1] == "conv2d" else "bn"
            counted.setdefault((layer.place[:-1], kind), []).append((int(found[2] or 0), layer))
    for (_, kind), some in counted.items():
        names = [name for name in RESNET50 if name.endswith(kind)]
        expected = [RESNET50[name] for name in names]
        some = [layer for _, layer in sorted(some, key=lambda one: one[0])]
        found = [[array.shape for _, array in sorted(layer.arrays.items())] for layer in some]
        for start in range(len(some) - len(names) + 1):  # twice only where there are two
            if found[start : start + len(names)] == expected:
                for layer, name in zip(some[start:], names, strict=False):
                    layer.name = name


def _in_order(layer: Layer, name: str) -> list[np.ndarray]:
    """A layer's arrays as `get_weights` has them, float32."""
    roles = ROLES[name.rpartition("_")[2]]
    if set(layer.arrays) == set(roles):
        keys = roles
    elif set(layer.arrays) == set(map(str, range(len(roles)))):
        keys = sorted(layer.arrays)
    elif len(layer.arrays) == len(layer.order) == len(roles):  # under Keras' names of 2017 and before
        keys = sorted(layer.order, key=layer.order.get)
    else:
        raise Unfit(f"its layer {name} has {_listed(sorted(layer.arrays))}, and ResNet50's has {_listed(roles)}")
    if any(array.dtype.kind != "f" for array in layer.arrays.values()):
        raise Unfit(f"its layer {name} holds whole numbers: save the network in float32")
    return [layer.arrays[key].astype(np.float32) for key in keys]


def _another_network(names, missing: list[str]) -> str:
    """Which network has layers of these names, and lacks some of ResNet50's."""
    if not names:
        return "it holds no weights"
    for mark, words in OTHER_NETWORKS.items():
        if mark in names:
            return f"it holds another network, {words}"
    num_blocks = max((int(found[2]) for name in names if (found := BLOCK.match(name)) and found[1] == "4"), default=0)
    if num_blocks in DEPTHS:
        version = "V2" if any("preact" in name for name in names) else ""
        network = f"ResNet{DEPTHS[num_blocks]}{version}"
        if network != "ResNet50":
            return f"it holds another network, {network}"
        return f"it holds a ResNet50 without {len(missing)} of its layers ({_listed(missing)})"
    return f"it holds another network, with the layers {_listed(names)}"


def _listed(some) -> str:
    """The first three, as text that can be shown."""
    some = list(some)
    return ", ".join(printable(str(one))[:60] for one in some[:3]) + (", …" if len(some) > 3 else "")


def main() -> None:
    """With a file: say as JSON what keeps it from being used, or whether it holds more than the ResNet50."""
    processes.end_with_parent()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (INSPECTION_BYTES, INSPECTION_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        print(json.dumps({"is_part": read_backbone(Path(sys.argv[1]))[1]}))
    except Unfit as problem:
        print(json.dumps({"problem": str(problem)}))


if __name__ == "__main__":
    main()
