"""ImageNet's weights of EfficientNet-Lite0 out of the package that has them, in PyTorch's form, for Keras: a command of
its own, as PyTorch and TensorFlow share no process.

    python -m pretrained.packaged_weights SOURCE.pth FOLDER
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from compare.system import disk, processes
from compare.system.errors import UserError

LAYERS = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
    "_fc": "predictions",
}
OF_BLOCK = {"_bn0": "expand_bn", "_bn1": "depthwise_bn", "_bn2": "project_bn"}
PLACES = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}  # in a layer's `get_weights`


def in_keras(name: str) -> str | None:
    """What an array is called for Keras: its layer, and its place in the layer's `get_weights`; None for one that it
    has not."""
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
    if found is None or found[3] not in PLACES:
        return None
    block, layer, role = found.groups()
    ours = LAYERS[layer] if block is None else f"block{block}_{OF_BLOCK.get(layer, layer.removeprefix('_'))}"
    return f"{ours}.{PLACES[role]}"


def axes(name: str, num_axes: int) -> tuple[int, ...]:
    """The order of the axes of an array of PyTorch's in Keras: (out, in, height, width) becomes (height, width, in,
    out), (channels, 1, height, width) of a depthwise convolution (height, width, channels, 1), (out, in) (in, out)."""
    if num_axes < 4:
        return tuple(reversed(range(num_axes)))
    return (2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0)


def main() -> None:
    """Convert, and name the file by its own SHA-256; say its path, or what is the problem, as JSON."""
    processes.end_with_parent()
    import numpy as np
    import safetensors.numpy
    import torch

    source, folder = map(Path, sys.argv[1:])
    arrays = {}
    for name, tensor in torch.load(source, map_location="cpu", weights_only=True).items():
        if ours := in_keras(name):
            arrays[ours] = np.ascontiguousarray(tensor.numpy().transpose(axes(name, tensor.ndim)))
    content = safetensors.numpy.save(arrays)
    path = folder / f"{source.stem}-{hashlib.sha256(content).hexdigest()}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, content)
        print(json.dumps({"path": str(path)}))
    except (OSError, UserError) as error:
        print(json.dumps({"problem": str(getattr(error, "strerror", None) or error)}))


if __name__ == "__main__":
    main()
