"""What PyTorch computes on, and how: the device, its precision, its memory."""

import contextlib
import ctypes

import torch

from compare.system import machine
from compare.system.errors import UserError

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3  # mallopt's numbers for them, in glibc's malloc.h


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


def device_name(device: torch.device) -> str:
    """What the hardware behind a device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return machine.APPLE_GPU if device.type == "mps" else machine.processor_name()


def free_bytes(device: torch.device) -> int:
    """The free memory of a GPU; of Apple's, which shares the processor's, as much as PyTorch should take of it."""
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return torch.cuda.mem_get_info(device)[0]


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


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def keep_freed_memory() -> None:
    """Keep what a step frees for the next one. By default glibc gives every large array back to the kernel, which then
    hands it out anew page by page: 5 % of a step of the article's training. Without glibc this does nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        # before its version 2.35 it takes no more than 32 MB
        if libc.mallopt(MALLOC_MMAP_THRESHOLD, 2**30) or libc.mallopt(MALLOC_MMAP_THRESHOLD, 2**25):
            libc.mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)
