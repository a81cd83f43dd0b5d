"""What PyTorch computes on, and how: the device, its precision, its memory."""

import contextlib
import ctypes
import os

import torch

from compare.system import machine, processes
from compare.system.errors import UserError
from scratch_resnet.recipe import Recipe

# The GPUs that PyTorch has, in the order in which auto takes them, what to call them, and what they need.
GPUS = {
    "cuda": ("CUDA GPUs", "a GPU with that number, its driver, and a PyTorch built for CUDA, or for AMD's ROCm"),
    "xpu": ("GPUs of Intel's", "one of them, its driver, and a PyTorch built for XPU"),
    "mps": ("GPUs of Apple's", "a Mac with Apple's own processor, and a PyTorch built for it"),
}
MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3  # mallopt's numbers for them, in glibc's malloc.h


def choose_device(name: str) -> torch.device:
    """The device that `--device` names: auto takes a GPU where PyTorch sees one. Of several processes together each
    takes the GPU of its own number.

    Raises:
        UserError: there is no such device.
    """
    num_gpus = {
        "cuda": torch.cuda.device_count(),
        "xpu": torch.xpu.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    advice = "choose --device cpu, or leave it out"
    if name.startswith("cuda"):
        advice = "choose --device cpu, or a lower number, or mend the driver (nvidia-smi should list the GPU)"
    if (num_processes := processes.num_together()) > 1:
        if ":" in name or name == "mps":
            raise UserError(
                f"--device {name} for {num_processes} processes together",
                "a GPU for each of them, by its number on its machine; or processors",
                "say --device cuda or cpu, or leave it out",
            )
        num_gpus["mps"] = 0  # a Mac has one, and processors for several
        advice = "begin no more processes than there are GPUs, or say --device cpu"
    if name == "auto":
        name = next((kind for kind in GPUS if num_gpus[kind]), "cpu")
    if name != "cpu" and num_processes > 1:
        name = f"{name}:{os.environ['LOCAL_RANK']}"
    kind, _, index = name.partition(":")
    if kind != "cpu" and int(index or 0) >= num_gpus[kind]:
        called, needed = GPUS[kind]
        raise UserError(
            f"--device {name}, but PyTorch {torch.__version__} sees {num_gpus[kind]} {called} here", needed, advice
        )
    if kind != "cpu" and num_processes > 1:
        torch.accelerator.set_device_index(int(index))  # where what names no number is put
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What the hardware behind a device calls itself."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).get_device_name(device)
    return machine.APPLE_GPU if device.type == "mps" else machine.processor_name()


def free_bytes(device: torch.device) -> int:
    """The free memory of a GPU; of Apple's, which shares the processor's, as much as PyTorch should take of it."""
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return torch.get_device_module(device).mem_get_info(device)[0]


def peak_bytes(device: torch.device) -> int | None:
    """The largest amount of a GPU's memory that this process has held; None where that is not told."""
    return torch.get_device_module(device).max_memory_allocated(device) if device.type in ("cuda", "xpu") else None


def precision(recipe: Recipe, device: torch.device) -> str:
    """What the convolutions are computed in: the recipe's precision where the device is made for it, else float32."""
    if recipe.precision == "bfloat16":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            return "bfloat16"
        if device.type == "xpu" and torch.xpu.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        if device.type == "cpu" and machine.processor_computes_in_bfloat16():
            return "bfloat16"
    return "float32"


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
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
