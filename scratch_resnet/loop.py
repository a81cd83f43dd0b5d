"""The training loop of `scratch_resnet`, and what it needs of PyTorch: the device, the measuring, the checkpoint."""

import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compare.command import UserError
from compare.progress import EpochBar
from scratch_resnet.batches import Batches
from scratch_resnet.model import ResNet


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    bar: EpochBar,
) -> tuple[float, float]:
    """Train on every image once.

    Returns:
        The mean loss in nats an image and the accuracy as a fraction, both over the epoch as it went: each image
        counted before the step that it took part in.
    """
    model.train()
    num_seen = 0
    # Summed on the device: reading a number in every step would make the device wait for Python.
    loss_sum = torch.zeros((), device=batches.labels.device)
    num_correct = torch.zeros((), device=batches.labels.device)
    for images, labels in batches.shuffled(batch_size, seed=seed, epoch=epoch):
        logits = model(images)  # (batch, num_classes)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        num_seen += len(labels)
        loss_sum += loss.detach() * len(labels)
        num_correct += (logits.detach().argmax(dim=1) == labels).sum()
        if bar.due():
            bar.show(num_seen, loss_sum.item() / num_seen, num_correct.item() / num_seen)
    return loss_sum.item() / num_seen, num_correct.item() / num_seen


@torch.inference_mode()
def infer(model: nn.Module, batches: Batches) -> Tensor:
    """The logits of all images in their own order, float32 (num_images, num_classes), on the device."""
    model.eval()
    return torch.cat([model(images) for images, _ in batches.in_order(batches.prediction_size)])


def evaluate(model: nn.Module, batches: Batches) -> tuple[float, float]:
    """The mean loss in nats an image, and the accuracy as a fraction."""
    logits = infer(model, batches)
    loss = F.cross_entropy(logits, batches.labels)
    accuracy = (logits.argmax(dim=1) == batches.labels).float().mean()
    return loss.item(), accuracy.item()


def predict(model: nn.Module, batches: Batches) -> np.ndarray:
    """The class probabilities of all images in their own order, float32 (num_images, num_classes)."""
    return infer(model, batches).softmax(dim=1).cpu().numpy()


def new_model(num_classes: int, *, seed: int, device: torch.device) -> ResNet:
    """The article's network, initialised by PyTorch's defaults from `seed`, on the device."""
    torch.manual_seed(seed)
    # channels_last is a layout, not another network: 1.1 times faster on CPUs with AVX-512, and what tensor cores want
    return ResNet(num_classes).to(device, memory_format=torch.channels_last)


def new_optimizer(model: nn.Module, recipe) -> torch.optim.Optimizer:
    """The article's Adam, with PyTorch's defaults but for the step size."""
    return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)


def choose_device(name: str) -> torch.device:
    """The device that `--device` names: auto takes a GPU where PyTorch sees one.

    Raises:
        UserError: there is no such device.
    """
    num_gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if num_gpus else "cpu"
    if name != "cpu" and int(name.partition(":")[2] or 0) >= num_gpus:
        raise UserError(
            f"--device {name}, but PyTorch {torch.__version__} sees {num_gpus} CUDA GPUs here",
            "a GPU with that number, its driver, and a PyTorch built for CUDA",
            "choose --device cpu, or a lower number, or mend the driver (nvidia-smi should list the GPU)",
        )
    return torch.device(name)


def measure(batches: Batches, num_classes: int, *, recipe, device: torch.device) -> tuple[float, float]:
    """Measure a few steps of a network that is thrown away.

    Returns:
        The seconds that training on one image takes, and those that predicting one takes.
    """
    model = new_model(num_classes, seed=0, device=device)
    optimizer = new_optimizer(model, recipe)

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    steps = []
    for images, labels in batches.in_order(recipe.batch_size):
        start = clock()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append((clock() - start) / len(labels))
        if len(steps) == 4:
            break
    model.eval()
    start = clock()
    with torch.inference_mode():
        images, _ = next(batches.in_order(batches.prediction_size))
        model(images)
    return min(steps), (clock() - start) / len(images)  # the least: the first step of all warms up


def checkpoint_arrays(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """The network and the optimizer's state as arrays, by name."""
    arrays = {f"model/{name}": tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": tensor.cpu().numpy() for name, tensor in state.items()}
    return arrays


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `checkpoint_arrays` gave."""
    model_state, optimizer_state = {}, {}
    for path, array in arrays.items():
        kind, _, name = path.partition("/")
        if kind == "model":
            model_state[name] = torch.from_numpy(array)
        else:
            index, _, name = name.partition("/")
            optimizer_state.setdefault(int(index), {})[name] = torch.from_numpy(array)
    model.load_state_dict(model_state)
    optimizer.load_state_dict({"state": optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
