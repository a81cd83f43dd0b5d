"""One training by several processes, as `torchrun` begins them: each computes its share of every batch, and what is
summed over a batch is summed over all of them, so that the result is that of one process but for rounding.

Between `together` and `leave` the functions here speak with the other processes; else `number` is 1, and they give what
a single process computes by itself.
"""

import contextlib
import datetime
import functools
import re
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from compare.system import processes
from compare.system.errors import EXIT_REFUSED, Terminated, UserError
from compare.training.job import Job
from scratch_resnet.model import ResNet
from scratch_resnet.recipe import Recipe

LONGEST_WAIT = datetime.timedelta(days=1)  # for another process, as one that decodes a folder of photographs for all
LOST = re.compile("gloo|nccl|xccl|connection|broken pipe|timed out", re.IGNORECASE)  # what a lost one leaves


def number() -> int:
    """How many processes train together now."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


# ---- beginning and end


@contextlib.contextmanager
def together() -> Iterator[None]:
    """The time from which on the processes that torchrun began speak with one another."""
    dist.init_process_group(timeout=LONGEST_WAIT)  # of tensors on processors by gloo, on NVIDIA's GPUs by NCCL
    with loss_in_words(exit_code=EXIT_REFUSED):
        yield
    leave()


def leave() -> None:
    """From here on this process is alone."""
    if number() > 1:
        dist.destroy_process_group()


def in_turn(make: Callable[[], Job[Recipe]]) -> Job[Recipe]:
    """What `make` gives in this process, once it is done in the first: what that refuses it refuses for all, and what
    it downloads or decodes the others find in the caches."""
    if processes.is_first():
        made = make()
    summed(torch.zeros(1))  # waits for all
    if not processes.is_first():
        made = make()
    summed(torch.zeros(1))
    return made


@contextlib.contextmanager
def loss_in_words(*, exit_code: int) -> Iterator[None]:
    """Say in words, once, that another process has ended in the midst of what all compute."""
    try:
        yield
    except RuntimeError as error:
        if number() == 1 or not LOST.search(str(error)):
            raise
        if not processes.is_first():
            raise SystemExit(exit_code) from error
        raise UserError(
            f"one of the {number()} processes of this training has ended ({str(error).splitlines()[0][:200]})",
            "all of them to the end",
            "see above what it said, and mend that",
            exit_code=exit_code,
        ) from ConnectionError(str(error))


def must_keep(job: Job[Recipe]) -> bool:
    """Whether any process must `keep`; where one was asked to stop, all are, between the same two steps."""
    if number() == 1:
        return job.must_keep()
    asked = job.stopping.asked
    wishes = [job.must_keep(), asked is Terminated, asked is KeyboardInterrupt]
    num_due, num_terminated, num_interrupted = summed(torch.tensor(wishes, dtype=torch.int32)).tolist()
    if num_terminated or num_interrupted:
        job.stopping.asked = Terminated if num_terminated else KeyboardInterrupt
    return num_due > 0


# ---- what is shared out and summed


def share(begin: int, end: int) -> slice:
    """Which of the images from `begin` to `end` this process computes."""
    return slice(begin, end) if number() == 1 else slice(begin + dist.get_rank(), end, number())


def joined(rows: Tensor, num_rows: int) -> Tensor:
    """All rows (num_rows, …), of which every process has computed its `share`."""
    if number() == 1:
        return rows
    whole = rows.new_zeros(num_rows, *rows.shape[1:])
    whole[share(0, num_rows)] = rows
    return summed(whole)


def summed(tensor: Tensor) -> Tensor:
    """The sum of what the processes have: a new tensor, the same in all of them."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(tensor)
    return tensor


def total(value: float) -> float:
    """The same of a number."""
    return value if number() == 1 else summed(torch.tensor(value, dtype=torch.float64)).item()


def mean_loss(logits: Tensor, labels: Tensor, *, class_weights: Tensor | None, label_smoothing: float) -> Tensor:
    """The mean of the cross entropy over a batch, to which the processes' results, each of its share, add up.

    Args:
        logits: float32, (share, num_classes).
        labels: int64, (share,).
        class_weights: what an image of each class counts in it, (num_classes,); None where all count alike.
        label_smoothing: of the targets.
    """
    loss = functools.partial(F.cross_entropy, logits, labels, weight=class_weights, label_smoothing=label_smoothing)
    if number() == 1:
        return loss()
    counted = labels.new_ones(len(labels)) if class_weights is None else class_weights[labels]
    return loss(reduction="sum") / summed(counted.sum())


def add_up(model: nn.Module, more: Tensor) -> None:
    """Let the gradients, and `more` with them, be the sums over the processes: one message, as each has its delay."""
    if number() == 1:
        return
    tensors = []
    for parameter in model.parameters():
        if parameter.grad is None:  # where the share is empty
            parameter.grad = torch.zeros_like(parameter)
        tensors.append(parameter.grad)
    tensors.append(more)
    sums = summed(torch.cat([tensor.flatten() for tensor in tensors]))
    for tensor, part in zip(tensors, sums.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


# ---- batch normalisation


def normalised_together(model: ResNet) -> ResNet:
    """The same network, whose batch normalisation is by the means over the whole batch."""
    if number() == 1:
        return model
    if next(model.parameters()).device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = NormalisedTogether  # its parameters stay where they are
    return model


class NormalisedTogether(nn.BatchNorm2d):
    """`nn.SyncBatchNorm` on processors, for which PyTorch has none."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(share, channels, height, width) to the same."""
        if not self.training:
            return super().forward(x)
        values = x.to(self.weight.dtype)
        num_values = values.new_tensor([values.numel() // values.shape[1]])
        *sums, num_values = Sum.apply(torch.cat([values.sum(dim=(0, 2, 3)), num_values])).split([self.num_features, 1])
        mean = sums[0] / num_values  # (channels,)
        centred = values - mean[:, None, None]
        variance = Sum.apply(centred.square().sum(dim=(0, 2, 3))) / num_values  # (channels,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * num_values / (num_values - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class Sum(torch.autograd.Function):
    """The sum over the processes, through which gradients go: each gets the sum of theirs."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        return summed(tensor)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return summed(gradient)
