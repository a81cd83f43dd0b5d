"""What a run ran on: versions, processor, memory, energy, and the commit of the source."""

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import os
import platform
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import psutil
import pynvml

from compare import start

COMMIT = "COMPARE_COMMIT"  # in the environment: of the source, where this is a copy of it that no repository knows
POWERCAP = Path("/sys/class/powercap")
APPLE_GPU = "Apple's GPU"
SECONDS_BETWEEN_READINGS = 60  # a processor's counter may begin anew after some ten minutes


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python, the operating system, and this project and `packages` where they are installed."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in ("scratch-or-pretrained", *packages):
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
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory_bytes() -> int:
    """The main memory that a new process can have."""
    limits = [psutil.virtual_memory().available]
    for place in ("memory.max", "memory/memory.limit_in_bytes"):  # a container's
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", place).read_text()))
    return min(limits)


def processor_seconds(process: int) -> float | None:
    """The processor time of a process and of its children that have ended; None where Linux does not tell."""
    if sys.platform != "linux":  # on Windows it may be a launcher, whose child computes
        return None
    try:
        return sum(psutil.Process(process).cpu_times()[:4])
    except psutil.Error:
        return None


def visible_gpus() -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` calls the NVIDIA GPUs that a process started here may use: numbers, or its own words;
    none without their driver."""
    try:
        pynvml.nvmlInit()
        here = [str(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = here if asked is None else [name.strip() for name in asked.split(",")]
    # as CUDA has it, the first one that is not there hides those after it
    return list(itertools.takewhile(lambda name: name in here or name.startswith(("GPU-", "MIG-")), names))


class EnergyMeter:
    """The energy that the device of a training takes, whatever else runs on it: a GPU board by the counter of NVIDIA's
    driver, or the processor by Linux' powercap counters, its packages together, without memory, disks and fans.

    Args:
        gpu: the GPU's number among the visible ones; None for the processor.
        is_shared: whether other trainings are known to run on it: then no part is known to be this one's.
    """

    def __init__(self, gpu: int | None = None, *, is_shared: bool = False):
        # each is read in joules, and begins anew at its second number
        self._counters = [] if is_shared else _processor_counters(POWERCAP) if gpu is None else _gpu_counters(gpu)
        self._lock, self._joules = threading.Lock(), 0.0
        self._before = [read() for read, _ in self._counters]
        if self._counters:
            threading.Thread(target=self._keep_reading, daemon=True).start()

    def taken(self) -> float | None:
        """The joules since this was last asked, at first since the beginning; None where the device does not tell."""
        self._read()
        with self._lock:
            joules, self._joules = self._joules, 0.0
            return joules if self._counters else None

    def _keep_reading(self) -> None:
        """So that no counter begins anew twice between two readings."""
        while self._counters:
            time.sleep(SECONDS_BETWEEN_READINGS)
            self._read()

    def _read(self) -> None:
        with self._lock:
            try:
                now = [read() for read, _ in self._counters]
            except (OSError, ValueError, pynvml.NVMLError):  # no longer to be read
                self._counters, self._before, now = [], [], []
            for before, after, (_, largest) in zip(self._before, now, self._counters, strict=True):
                self._joules += after - before + (largest if after < before else 0.0)
            self._before = now


def _processor_counters(powercap: Path) -> list[tuple[Callable[[], float], float]]:
    """The counters of the processor's packages. There are none on other systems, in most virtual machines, and where
    only the administrator may read them. A zone's parts, such as its cores, are counted in it."""
    counters: list[tuple[Callable[[], float], float]] = []
    with contextlib.suppress(OSError, ValueError):
        for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's are called so, too
            if (zone / "name").read_text().startswith("package"):
                energy = functools.partial(_joules, zone / "energy_uj")
                energy()
                counters.append((energy, _joules(zone / "max_energy_range_uj")))
        return counters
    return []  # some packages alone would tell too little


def _joules(microjoules: Path) -> float:
    return int(microjoules.read_text()) / 1e6


def _gpu_counters(gpu: int) -> list[tuple[Callable[[], float], float]]:
    """The counter of a GPU since its driver was loaded, which GPUs from Volta on have."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = visible.split(",")[gpu].strip() if visible else str(gpu)  # a number, or a UUID
    try:
        pynvml.nvmlInit()
        find = pynvml.nvmlDeviceGetHandleByIndex if name.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID
        device = find(int(name) if name.isdecimal() else name)

        def read() -> float:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1000  # millijoules

        return [(read, 0.0)] if read() > 0 else []
    except pynvml.NVMLError:  # no such library, an old one, or an old GPU
        return []


def source_sha256() -> str:
    """The SHA-256 of this project's own Python files: what a training goes by."""
    digest, packages = hashlib.sha256(), Path(start.ROOT)
    for package in start.OURS:
        for path in sorted((packages / package).glob("**/*.py")):
            digest.update(path.relative_to(packages).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def commit() -> str | None:
    """The commit of the source, with `+changes` where the working tree differs; None outside a checkout, and where the
    checkout is somebody's in which this is installed: then its version tells."""
    if (told := os.environ.get(COMMIT)) is not None:
        return told or None
    is_ours = ["git", "-C", start.ROOT, "ls-files", "--error-unmatch", "compare/start.py"]
    describe = ["git", "-C", start.ROOT, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+changes"]
    try:
        subprocess.run(is_ours, capture_output=True, check=True)
        return subprocess.run(describe, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def repository() -> str | None:
    """The address that the source was cloned from, without a name and password of anybody's; None outside a checkout,
    and where it was a folder."""
    if commit() is None or COMMIT in os.environ:
        return None
    asked = ["git", "-C", start.ROOT, "remote", "get-url", "origin"]
    address = subprocess.run(asked, capture_output=True, check=False, text=True).stdout.strip()
    if re.match(r"git@[\w.-]+:", address):  # everybody's
        return address
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("https", "http", "ssh", "git") or not parts.hostname:
        return None
    whose, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"git@{host}" if whose == "git" else host).geturl()  # git is everybody
