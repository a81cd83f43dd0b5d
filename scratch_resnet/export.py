"""Write the network of a finished run of this branch for other programs: `python -m scratch_resnet.export`."""

import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor, nn

from compare.runs.record import Run
from compare.system.command import run_command
from compare.training import exporting
from scratch_resnet import predict
from scratch_resnet.batches import network_input


class Exported(nn.Module):
    """A run's network with its preprocessing: images uint8 (batch, height, width, channels) to probabilities float32
    (batch, num_classes)."""

    def __init__(self, run: Run):
        super().__init__()
        # a file holds plain arrays, whatever layout the training had them in
        self.network = predict.load(run).to(memory_format=torch.contiguous_format)
        recipe = predict.recipe_of(run)
        self.image_size, self.centre_crop = recipe.image_size, recipe.centre_crop
        self.mirrored = recipe.mirrored_predictions

    def forward(self, images: Tensor) -> Tensor:
        """The probabilities of a batch of images."""
        x = network_input(images, self.image_size, self.centre_crop)
        logits = self.network(x)
        if self.mirrored:
            logits = (logits + self.network(x.flip(3))) / 2
        return logits.softmax(dim=1)


def example(run: Run) -> Tensor:
    """Two images of the run's shape, by which a network is traced."""
    return torch.zeros((2, *run.record.data.shape), dtype=torch.uint8)


def exported(run: Run) -> torch.export.ExportedProgram:
    """A run's network as PyTorch's exporter has it, for any number of images."""
    return torch.export.export(Exported(run).eval(), (example(run),), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_torch(run: Run, path: Path, said: dict[str, str]) -> None:
    """Write what `torch.export.load` reads. TorchScript was for this, and PyTorch calls it deprecated wherever it is
    made or read."""
    torch.export.save(exported(run), path, extra_files=said)


def read_torch(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file as a function of images uint8."""
    network = torch.export.load(path).module()

    def probabilities(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return probabilities


def write_onnx(run: Run, path: Path, said: dict[str, str]) -> None:
    """Write ONNX."""
    torch.onnx.export(
        exported(run),
        f=path,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["images"],
        output_names=["probabilities"],
    )
    exporting.add_metadata(path, said)


FORMATS = {
    "onnx": (write_onnx, exporting.onnx_network),
    "torch": (write_torch, read_torch),
}


def main() -> int:
    """Parse, write, read again."""
    return exporting.export("scratch_resnet", predict.WEIGHTS, FORMATS)


if __name__ == "__main__":
    run_command(main)
