"""A peer: the article's way to train its ResNet-18, written anew. Every image is resized by PIL in one of four loader
processes, and every step waits three times for a number. Prints one line of JSON.

    python tests/benchmarks/article_loop.py --steps 20
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision import transforms

from compare.data import dataset
from compare.system import machine
from scratch_resnet.model import ResNet

NUM_WARM_UP_STEPS = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    num_steps = parser.parse_args().steps

    with tempfile.TemporaryDirectory() as root:
        write_as_torchvision_expects(Path(root))
        steps = transforms.Compose([transforms.Resize(96), transforms.ToTensor()])
        images = torchvision.datasets.FashionMNIST(root, train=True, transform=steps)
        loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, num_workers=4)

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = ResNet().to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
        loss_of = nn.CrossEntropyLoss()
        loss_sum = num_correct = num_seen = 0
        times = [time.perf_counter()]
        network.train()
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            logits = network(x)
            loss = loss_of(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.cpu().item()
            num_correct += (logits.argmax(dim=1) == y).sum().cpu().item()
            num_seen += y.shape[0]
            times.append(time.perf_counter())
            if len(times) > NUM_WARM_UP_STEPS + num_steps:
                break
    steps = [after - before for before, after in zip(times, times[1:], strict=False)][NUM_WARM_UP_STEPS:]
    print(
        json.dumps(
            {
                "images_per_second": 64 / statistics.median(steps),
                "peak_memory_bytes": machine.peak_memory_bytes(),  # of the main process; each loader adds its own
            }
        )
    )


def write_as_torchvision_expects(root: Path) -> None:
    """The training set as unpacked idx files, in the folder in which torchvision looks for them."""
    data = dataset.load("fashion-mnist")
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in (
        ("train-images-idx3-ubyte", data.train_images),
        ("train-labels-idx1-ubyte", data.train_labels),
        ("t10k-images-idx3-ubyte", data.test_images),
        ("t10k-labels-idx1-ubyte", data.test_labels),
    ):
        header = (0x0800 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (folder / name).write_bytes(header + array.tobytes())


if __name__ == "__main__":
    main()
