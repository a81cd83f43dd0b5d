"""What a run ran on: versions, processor, memory, and the commit of the source."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python, the operating system and the installed ones among `packages`."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def processor_name() -> str:
    """The processor's name and the number of threads it runs at once."""
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} threads"


@functools.cache  # asked in every step
def processor_computes_in_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself; elsewhere they are slower than float32."""
    if sys.platform != "linux":
        return False
    words = Path("/proc/cpuinfo").read_text(errors="replace").split()
    return "avx512_bf16" in words or "amx_bf16" in words


def peak_memory_bytes() -> int:
    """The largest amount of main memory that this process has held."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def commit() -> str | None:
    """The commit of the source, with `+changes` where the working tree differs; None outside a checkout."""
    source = Path(__file__).parent
    try:
        git = ["git", "-C", str(source)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes.stdout else "")
