"""What a file of somebody's holds, and the backbone in it: read by its content, whatever its name, without Keras.

Keras saves a network in three forms: HDF5 with every array under its layer's name (`.h5`, weights or whole networks),
HDF5 with layers counted by class (`.weights.h5`; newer versions write the layer's name beside it), and an archive of
the second (`.keras`). The network may lie in another one, or have a top. Arrays are read, and nothing else: no code, no
link to elsewhere, and of a configuration no more than whether it says one thing (`divides_by_deviation`).
"""

import dataclasses
import io
import json
import re
import sys
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare.system import processes
from compare.system.errors import printable

if TYPE_CHECKING:
    import h5py

MEMBER = "model.weights.h5"  # of a .keras archive
MAX_NUM_BYTES, MAX_NUM_ITEMS = 1_500_000_000, 20_000  # ConvNeXt-XLarge; or ResNet50 and optimizers saved with it
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
# A layer that a network has, as a pattern, and its name; in the order in which they are told apart.
NETWORKS = {
    "res2a_branch2a": "a ResNet50 under the names that Keras gave its layers before 2.2.4",
    "conv_dw_1": "MobileNet",
    "Conv_1": "MobileNetV2",
    "expanded_conv_11_.*": "MobileNetV3-Large",
    "expanded_conv_(depthwise_bn|depthwise_BatchNorm)": "MobileNetV3-Small",
    "block14_sepconv1": "Xception",
    "block5_conv4": "VGG19",
    "block5_conv3": "VGG16",
    "conv_7b": "Inception-ResNet-v2",
    "stem_bn1": "NASNet",
    "conv4_block48_0_bn": "DenseNet-201",
    "conv4_block32_0_bn": "DenseNet-169",
    "pool2_conv": "DenseNet-121",
    "conv4_block36_preact_bn": "ResNet152V2",
    "conv4_block23_preact_bn": "ResNet101V2",
    "conv4_block6_preact_bn": "ResNet50V2",
    "conv4_block36_1_conv": "ResNet152",
    "conv4_block23_1_conv": "ResNet101",
    "conv4_block6_1_conv": "ResNet50",
    "convnext_(tiny|small|base|large|xlarge)_stem_conv": "ConvNeXt",
    "block1a_dwconv": "EfficientNet",
    "block1a_project_conv": "EfficientNetV2",
    "block0_depthwise_conv": "EfficientNet-Lite0",
}
IMAGENET_SCALE = re.compile(r'"scale":\s*\[\s*2\.08[89]')  # 1 / sqrt(0.229) and so on, as Keras' EfficientNet divides
CUT_SHORT = re.compile(r"truncated file: eof = (\d+).* stored_eof = (\d+)")


class Unfit(Exception):
    """What a file is that is not fit to be used, in words."""


@dataclasses.dataclass
class Layer:
    """A layer in a file.

    Attributes:
        place: the names of the groups that lead to it.
        name: its own; None where the file does not say it, or says it by its place.
        is_counted: whether its place is a number among the layers of its class.
        arrays: by their names: kernel, bias, …, or 0, 1, …, or others.
        order: their places in the layer's `get_weights`, where the file lists it.
    """

    place: tuple[str, ...]
    name: str | None
    is_counted: bool
    arrays: dict[str, np.ndarray]
    order: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Expected:
    """A layer that a network has, as its Keras object says (`pretrained.extractor.expected_layers`).

    Attributes:
        kind: its class, as Keras counts layers by it: conv2d, batch_normalization, …
        roles: the names of its arrays, in the order of its `get_weights`.
        shapes: theirs.
        whole_numbers: those of the roles that count.
    """

    kind: str
    roles: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    whole_numbers: tuple[str, ...] = ()


def read_backbone(path: Path, expected: dict[str, Expected], title: str) -> dict[str, list[np.ndarray]]:
    """The arrays of a network in a file, for each of its layers in the order of the layer's `get_weights`.

    Args:
        path: the file.
        expected: the network's layers that have arrays, by their names, in the network's order.
        title: the network's, for words.

    Raises:
        Unfit: it holds no such network, or several, or is no file of Keras'.
    """
    named = _named_by_order(read_layers(path), expected)
    missing = [name for name in expected if name not in named]
    if missing or _more_of_its_kind(named, expected):
        raise Unfit(_another_network(named, missing, title))
    arrays = {}
    for name, one in expected.items():
        if len(named[name]) > 1:
            raise Unfit(f"it holds {len(named[name])} layers {name}: several networks, and which is meant is not said")
        arrays[name] = _in_order(named[name][0], name, one, title)
        found = [array.shape for array in arrays[name]]
        if found != list(one.shapes):
            of_title = f"its layer {name} has the shapes {_listed(found)}, and {title}'s has {_listed(one.shapes)}"
            raise Unfit(of_title)
    return arrays


def divides_by_deviation(path: Path, *, is_part: bool) -> bool | None:
    """Whether the EfficientNet in a file divides its input by the roots of ImageNet's deviations, as Keras builds it
    for `weights="imagenet"` and for nothing else, in a layer without arrays; None where the file does not say.

    Without a configuration such layers are counted, unless the file holds more (`is_part`), with some of its own."""
    import h5py

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "config.json" not in archive.namelist():
                return None
            return IMAGENET_SCALE.search(archive.read("config.json").decode(errors="replace")) is not None
    with h5py.File(path, "r") as file:
        if "model_config" in file.attrs:
            return IMAGENET_SCALE.search(str(file.attrs["model_config"])) is not None
        if is_part:
            return None
        places: list[str] = []
        file.visit(places.append)
    heads = {place.rpartition("/")[0] for place in places if re.fullmatch(r"(.*/)?(stem_conv|normalization)", place)}
    num_rescalings = {
        sum(re.fullmatch(rf"{re.escape(head)}/?rescaling(_\d+)?", place) is not None for place in places)
        for head in heads
    } - {0}
    return {1: False, 2: True}.get(num_rescalings.pop()) if len(num_rescalings) == 1 else None


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


def _layers_of(file: "h5py.File") -> list[Layer]:
    import h5py

    layers: dict[str, Layer] = {}
    order: dict[str, int] = {}
    groups, num_items, num_bytes = [file], 0, 0
    while groups:
        group = groups.pop()
        attributes = dict(group.attrs)
        place = group.name.strip("/").split("/")  # of the layer, if this group has arrays
        if len(place) > MAX_DEPTH:  # or a group that holds itself
            raise Unfit(f"more than {MAX_DEPTH} groups lie in each other")
        for index, listed in enumerate(np.ravel(attributes.get("weight_names", []))):
            listed = listed.decode(errors="replace") if isinstance(listed, bytes) else str(listed)
            order["/".join([*place, listed])] = index
        is_counted, name = place[-1] == "vars", None
        if is_counted:
            place, name = place[:-1] or [""], attributes.get("name")
            name = name if isinstance(name, str) else None
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
                layer = layers.setdefault(group.name, Layer(tuple(place), name, is_counted, {}, {}))
                role = key.partition(":")[0]  # TensorFlow's names end in :0
                layer.arrays[role] = np.asarray(array)
                if (listed := f"{group.name}/{key}".strip("/")) in order:
                    layer.order[role] = order[listed]
    return list(layers.values())


def _named_by_order(layers: list[Layer], expected: dict[str, Expected]) -> dict[str, list[Layer]]:
    """The layers of a file by their names as the network expects them.

    Where a file only counts layers, or Keras itself gave them numbers for names, which depend on what it had built
    before, they are known by their order: those in one group of one class whose shapes are, one after the other, those
    of all such layers of the network.
    """
    counted = re.compile(rf"({'|'.join({one.kind for one in expected.values()})})(?:_(\d+))?")
    runs: dict[tuple[tuple[str, ...], str, bool], list[tuple[int, Layer]]] = {}
    for layer in layers:
        if layer.name is None and not layer.is_counted:
            # one of TensorFlow's scopes, which may be numbered, lies in the layer's own group
            layer.name = next((part for part in layer.place if part in expected), layer.place[-1])
        if found := counted.fullmatch(name := layer.name or layer.place[-1]):
            above = layer.place[: layer.place.index(name)] if name in layer.place else layer.place[:-1]
            run = runs.setdefault((above, found[1], layer.name is None), [])
            run.append((int(found[2] or 0), layer))
            layer.name = None
    for (_, kind, only_counted), run in runs.items():
        names = [name for name, one in expected.items() if one.kind == kind]
        if not only_counted:
            numbers = {name: int(found[2] or 0) for name in names if (found := counted.fullmatch(name))}
            names = sorted(numbers, key=numbers.__getitem__)
        some = [layer for _, layer in sorted(run, key=lambda one: one[0])]
        for start in range(len(some) - len(names) + 1 if names else 0):  # twice only where there are two
            if all(map(_is_alike, some[start:], (expected[name] for name in names))):
                for layer, name in zip(some[start:], names, strict=False):
                    layer.name = name
    named: dict[str, list[Layer]] = {}
    for layer in layers:
        named.setdefault(layer.name or "/".join(layer.place), []).append(layer)
    return named


def _is_alike(layer: Layer, one: Expected) -> bool:
    """Whether a layer has arrays of the shapes that another has."""
    keys = _keys(layer, one)
    return keys is not None and [layer.arrays[key].shape for key in keys] == list(one.shapes)


def _keys(layer: Layer, one: Expected) -> list[str] | None:
    """The names of a layer's arrays in the order of `get_weights`; None where it has others."""
    if set(layer.arrays) == set(one.roles):
        return list(one.roles)
    if set(layer.arrays) == set(map(str, range(len(one.roles)))):
        return sorted(layer.arrays, key=int)
    if len(layer.arrays) == len(layer.order) == len(one.roles):  # under names of older versions
        return sorted(layer.order, key=layer.order.__getitem__)
    return None


def _in_order(layer: Layer, name: str, one: Expected, title: str) -> list[np.ndarray]:
    """A layer's arrays as `get_weights` has them: float32, but for those that count."""
    keys = _keys(layer, one)
    if keys is None:
        raise Unfit(f"its layer {name} has {_listed(sorted(layer.arrays))}, and {title}'s has {_listed(one.roles)}")
    arrays = []
    for key, role in zip(keys, one.roles, strict=True):
        array = layer.arrays[key]
        if role not in one.whole_numbers:
            if array.dtype.kind != "f":
                raise Unfit(f"its layer {name} holds whole numbers: save the network in float32")
            array = array.astype(np.float32)
        arrays.append(array)
    return arrays


def _more_of_its_kind(named: Iterable[str], expected: dict[str, Expected]) -> bool:
    """Whether there are layers that differ from the network's in their numbers alone: those of a deeper one."""
    patterns = {re.sub(r"\d+[a-z]?(?=_|$)", "#", name) for name in expected} - {one.kind for one in expected.values()}
    patterns -= {f"{one.kind}_#" for one in expected.values()}
    more = {re.sub(r"\d+[a-z]?(?=_|$)", "#", name) for name in named if name not in expected}
    return bool(more & {pattern for pattern in patterns if "#" in pattern})


def _another_network(names: Collection[str], missing: list[str], title: str) -> str:
    """Which network has layers of these names, and lacks some of those of `title`, or has more."""
    if not names:
        return "it holds no weights"
    found = next((words for mark, words in NETWORKS.items() if any(re.fullmatch(mark, name) for name in names)), None)
    if found is None:
        return f"it holds another network, with the layers {_listed(names)}"
    if found != title and not title.startswith(f"{found}-"):
        return f"it holds another network, {found}"
    of_its_own = (
        f"without {len(missing)} of its layers ({_listed(missing)})" if missing else "with more layers than it has"
    )
    return f"it holds a {title} {of_its_own}" if found == title else f"it holds another {found}: {title} {of_its_own}"


def _listed(some: Iterable[object]) -> str:
    """The first three, as text that can be shown."""
    some = list(some)
    return ", ".join(printable(str(one))[:60] for one in some[:3]) + (", …" if len(some) > 3 else "")


def main() -> None:
    """With a file: say as JSON what keeps it from being used, or how many layers with arrays it holds."""
    processes.end_with_parent()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (INSPECTION_BYTES, INSPECTION_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps(inspect(Path(sys.argv[1]))))


def inspect(path: Path) -> dict[str, Any]:
    """What keeps a file from being used, as `problem`; or `num_layers`, how many layers with arrays it holds."""
    try:
        num_layers = len(read_layers(path))
        return {"num_layers": num_layers} if num_layers else {"problem": "it holds no weights"}
    except Unfit as problem:
        return {"problem": str(problem)}


if __name__ == "__main__":
    main()
