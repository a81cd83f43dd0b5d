"""The training loop of `scratch_resnet`, and what it needs of PyTorch: the device, the measuring, the checkpoint."""

import contextlib
import ctypes
import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compare.system import machine
from compare.system.errors import UserError
from compare.training import estimate
from compare.training.job import diverged
from compare.training.progress import EpochBar
from scratch_resnet.batches import Batches, network_input
from scratch_resnet.model import ResNet

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3  # mallopt's numbers for them, in glibc's malloc.h


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    figures: Tensor,
    *,
    recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
    begin: int = 0,
) -> Iterator[int]:
    """Train on every image once.

    Args:
        model, optimizer: are changed.
        batches: the training images.
        figures: float32, (2, num_steps), on the device: here each step writes its loss, in nats, summed over its
            images, and how many of them were right; both before the step, and the loss without label smoothing.
        recipe, seed, epoch: of the batches, and of the learning rate.
        bar: is kept up to date.
        begin: how many steps were done already.

    Yields:
        After every step, how many are done.

    Raises:
        UserError: the loss is not finite; noticed within half a second.
    """
    model.train()
    device = batches.labels.device
    num_steps = figures.shape[1]
    for step, (images, labels) in enumerate(batches.shuffled(recipe, seed=seed, epoch=epoch, begin=begin), begin):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, epoch, step, num_steps)
        with autocast(recipe, device):
            logits = model(images)  # (batch, num_classes)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        # Kept on the device: reading a number in every step would make the device wait for Python.
        figures[0, step] = F.cross_entropy(logits.detach(), labels, reduction="sum")
        figures[1, step] = (logits.detach().argmax(dim=1) == labels).sum()
        if bar.due() or step + 1 == num_steps:
            num_seen = min(recipe.batch_size * (step + 1), len(batches))
            loss, accuracy = means(figures, num_seen)
            if not math.isfinite(loss):
                at = int(torch.nonzero(~figures[0].isfinite())[0])
                raise diverged(
                    f"the loss of step {at + 1:,} of {num_steps:,} in epoch {epoch} is {figures[0, at]:g}, "
                    f"at a learning rate of {learning_rate(recipe, epoch, at, num_steps):.3g}",
                    f"start anew with a smaller --learning-rate than {recipe.learning_rate:g}",
                )
            bar.show(num_seen, loss, accuracy)
        yield step + 1


def learning_rate(recipe, epoch: int, step: int, num_steps: int) -> float:
    """The step size of a step, counted from 0, of an epoch of so many, counted from 1."""
    return recipe.learning_rate_at((epoch - 1 + step / num_steps) / recipe.num_epochs)


def means(figures: Tensor, num_images: int) -> tuple[float, float]:
    """The mean loss in nats an image and the accuracy as a fraction, over an epoch as it went, of what `train_epoch`
    wrote down for its first `num_images`."""
    loss_sum, num_correct = figures.cpu().double().sum(dim=1).tolist()
    return loss_sum / num_images, num_correct / num_images


@torch.inference_mode()
def infer(model: nn.Module, batches: Batches, *, recipe) -> Tensor:
    """The logits of all images in their own order, float32 (num_images, num_classes), on the device."""
    model.eval()
    batch_size = 4 * recipe.batch_size  # without gradients it needs less memory than a step of training
    parts = []
    with autocast(recipe, batches.labels.device):
        for images, _ in batches.in_order(batch_size, image_size=recipe.image_size):
            logits = model(images)
            if recipe.mirrored_predictions:
                logits = (logits + model(images.flip(3))) / 2
            parts.append(logits)
    return torch.cat(parts)


def evaluate(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean loss in nats an image, and the accuracy as a fraction, of logits (num_images, num_classes)."""
    loss = F.cross_entropy(logits, labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return loss.item(), accuracy.item()


def probabilities(logits: Tensor) -> np.ndarray:
    """The class probabilities of logits, float32 (num_images, num_classes)."""
    return logits.softmax(dim=1).cpu().numpy()


def new_model(num_classes: int, *, seed: int, device: torch.device) -> ResNet:
    """The article's network, initialised by PyTorch's defaults from `seed`, on the device."""
    torch.manual_seed(seed)
    # channels_last is a layout, not another network: 1.1 times faster on CPUs with AVX-512, and what tensor cores want
    return ResNet(num_classes).to(device, memory_format=torch.channels_last)


def new_optimizer(model: nn.Module, recipe) -> torch.optim.Optimizer:
    """The article's Adam, with PyTorch's defaults but for the step size. Weight decay is AdamW's (I. Loshchilov and
    F. Hutter, 2017, arXiv 1711.05101), for matrices and filters alone; without it AdamW is Adam."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]  # biases, normalisation
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def precision(recipe, device: torch.device) -> str:
    """What the convolutions are computed in: the recipe's precision where the device is made for it, else float32."""
    if recipe.precision == "bfloat16":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            return "bfloat16"
        if device.type == "cpu" and machine.processor_computes_in_bfloat16():
            return "bfloat16"
    return "float32"


def autocast(recipe, device: torch.device) -> torch.autocast:
    """The context in which the network computes in `precision`. Its weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(recipe, device) == "bfloat16")


def keep_freed_memory() -> None:
    """Keep what a step frees for the next one. By default glibc gives every large array back to the kernel, which then
    hands it out anew page by page: 5 % of a step of the article's training. Without glibc this does nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        # before its version 2.35 it takes no more than 32 MB
        if libc.mallopt(MALLOC_MMAP_THRESHOLD, 2**30) or libc.mallopt(MALLOC_MMAP_THRESHOLD, 2**25):
            libc.mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)


def choose_device(name: str) -> torch.device:
    """The device that `--device` names: auto takes a GPU where PyTorch sees one.

    Raises:
        UserError: there is no such device.
    """
    num_gpus, has_mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if num_gpus else "mps" if has_mps else "cpu"
    if name == "mps" and not has_mps:
        raise UserError(
            f"--device mps, but PyTorch {torch.__version__} has none here",
            "a Mac with Apple's own processor, and a PyTorch built for it",
            "choose --device cpu, or leave it out",
        )
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= num_gpus:
        raise UserError(
            f"--device {name}, but PyTorch {torch.__version__} sees {num_gpus} CUDA GPUs here",
            "a GPU with that number, its driver, and a PyTorch built for CUDA",
            "choose --device cpu, or a lower number, or mend the driver (nvidia-smi should list the GPU)",
        )
    return torch.device(name)


def measure(batches: Batches, num_classes: int, *, recipe, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Measure some steps of a network that is thrown away.

    Returns:
        The seconds that training on one image takes, and those that predicting one takes, as pairs (`estimate`).
    """
    model = new_model(num_classes, seed=0, device=device)
    optimizer = new_optimizer(model, recipe)
    few = itertools.chain.from_iterable(batches.shuffled(recipe, seed=0, epoch=epoch) for epoch in itertools.count(1))
    many = network_input(batches.images[: 4 * recipe.batch_size], recipe.image_size)

    def train():
        images, labels = next(few)
        with autocast(recipe, device):
            logits = model(images)
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        wait_for(device)

    def predict():
        with torch.inference_mode(), autocast(recipe, device):
            model(many)
        wait_for(device)

    batch_size = min(recipe.batch_size, len(batches))
    training = estimate.measured(train, num_images=batch_size, seconds=3.0, warm_up=2)
    model.eval()
    predicting = estimate.measured(predict, num_images=len(many), seconds=0.5)
    return training, (1 + recipe.mirrored_predictions) * predicting


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def checkpoint_arrays(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """The network and the optimizer's state as arrays, by name."""
    arrays = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    return {name: tensor.cpu().numpy() for name, tensor in arrays.items()}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `checkpoint_arrays` gave."""
    model_state, optimizer_state = {}, {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for path, array in arrays.items():
        kind, _, name = path.partition("/")
        tensor = torch.from_numpy(array)
        if kind == "model":
            model_state[name] = tensor
        if kind != "optimizer":
            continue
        index, _, name = name.partition("/")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:  # the fused optimizer takes it that both lie alike in memory
            tensor = torch.empty_like(parameter).copy_(tensor)
        optimizer_state.setdefault(int(index), {})[name] = tensor
    model.load_state_dict(model_state)
    optimizer.load_state_dict({"state": optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
