"""Which backend Keras runs on, and what that backend sees of the hardware.

The backend and the visible GPUs are settled in the environment before Keras is imported; afterwards it is too late.
TensorFlow and PyTorch are never imported into the same process: their current releases abort together.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

from compare.system import machine, processes
from compare.system.errors import UserError
from compare.training.options import KERAS_BACKENDS
from pretrained.recipe import Recipe

TIED = "from compare.system import processes; processes.end_with_parent(); "
NUM_GPUS = {
    "tensorflow": TIED + "import tensorflow; print(len(tensorflow.config.list_physical_devices('GPU')))",
    "torch": TIED
    + "import torch; print(torch.cuda.device_count() + torch.xpu.device_count() + torch.backends.mps.is_available())",
}
ONLY_TORCH = ("mps", "xpu")  # the devices that no other backend has: Apple's GPU and Intel's
DRIVER_FILES = ("nvidia*", "nvhost*", "kfd", "dxg")  # NVIDIA's, its small computers', AMD's, Windows' below Linux


def choose(backend: str, device: str) -> str:
    """Settle backend and device in the environment, for the import of Keras that follows.

    Args:
        backend: one of `KERAS_BACKENDS`, or auto: the one that the variable KERAS_BACKEND names, else TensorFlow,
            unless PyTorch alone sees the GPU.
        device: auto, cpu, cuda, cuda:N, or mps or xpu, which only PyTorch has.

    Returns:
        The backend's name.

    Raises:
        UserError: the backend is not installed, or is none of these, or does not have the device.
    """
    named = os.environ.get("KERAS_BACKEND", "auto") or "auto"
    if backend == "auto" and named not in ("auto", *KERAS_BACKENDS):
        raise UserError(
            f"KERAS_BACKEND={named} in the environment",
            f"one of {', '.join(KERAS_BACKENDS)}",
            "unset it, set one of these, or say which with --keras-backend",
        )
    backend = named if backend == "auto" else backend
    if device in ONLY_TORCH and backend not in ("auto", "torch"):
        raise UserError(
            f"--device {device} with Keras on {backend}",
            "PyTorch, which alone has that device",
            "say --keras-backend torch, or leave out one of the two",
        )
    index = device.partition(":")[2]
    if (num_processes := processes.num_together()) > 1 and device != "cpu":
        if device not in ("auto", "cuda"):
            raise UserError(
                f"--device {device} for {num_processes} processes together",
                "a GPU for each of them, by its number; or processors",
                "say --device cuda or cpu, or leave it out",
            )
        index = os.environ["LOCAL_RANK"]
    # Somebody's keras.json may say other numbers than the recipes mean, or be no JSON at all: Keras shall find none.
    os.environ["KERAS_HOME"] = os.devnull
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif index:
        # N counts among the GPUs that this process may see, as it does for PyTorch.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible is not None else None
        if names is None:
            os.environ["CUDA_VISIBLE_DEVICES"] = index
        else:  # -1 is none, which is refused later
            os.environ["CUDA_VISIBLE_DEVICES"] = names[int(index)] if int(index) < len(names) else "-1"
    if device == "cpu":
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"
    elif device != "auto":  # then Keras takes the GPU that PyTorch sees
        os.environ.pop("KERAS_TORCH_DEVICE", None)
    installed = [name for name in KERAS_BACKENDS if importlib.util.find_spec(name)]
    if backend == "auto":
        backend = installed[0] if installed else KERAS_BACKENDS[0]
        if device in ONLY_TORCH:
            backend = "torch"
        elif device != "cpu" and backend == "tensorflow" and "torch" in installed:
            if _num_gpus_elsewhere("torch") > 0 and _num_gpus_elsewhere("tensorflow") == 0:
                backend = "torch"
    if backend not in installed:
        raise UserError(
            f"--keras-backend {backend}, which is not installed here",
            f"one of the installed backends: {', '.join(installed)}",
            f"choose one of those, or install it (pip install {backend})",
        )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its notes on every start, not its errors in Python
    # It compiles a network anew for every size of batch, which is meant, and says so as if it were a fault.
    logging.getLogger("tensorflow").addFilter(lambda said: "tf.function retracing" not in said.getMessage())
    # Keras would import matplotlib, which no training needs, and with it somebody's settings of it.
    sys.meta_path.insert(0, _Absent("torch" if backend == "tensorflow" else "tensorflow", "matplotlib"))
    return backend


class _Absent(importlib.abc.Loader):
    """Makes packages look as if they were not installed: Keras imports TensorFlow wherever it finds it, for its random
    seed alone, and then two frameworks would share the process."""

    def __init__(self, *packages: str):
        self.packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in self.packages else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        raise ModuleNotFoundError(f"{spec.name} is kept out of this process, which needs it for nothing")

    def exec_module(self, module: types.ModuleType) -> None:
        """Never reached; Python asks that a loader have it."""


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keep what native libraries write to standard error while they load (TensorFlow greets every start with four
    lines that nobody can turn off) and show it only if loading fails."""
    sys.stderr.flush()
    kept_stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(kept_stderr, file.read())
            raise
        finally:
            os.dup2(kept_stderr, 2)
            os.close(kept_stderr)


def _has_gpu_driver() -> bool:
    """Whether a process may reach a GPU here: on Linux, where its driver has files; of Intel's small ones, which are
    everywhere, only a PyTorch that is built for Intel's makes use."""
    names: tuple[str, ...] = DRIVER_FILES
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        names += ("dri/renderD*",) if "+xpu" in importlib.metadata.version("torch") else ()
    return sys.platform != "linux" or any(any(Path("/dev").glob(name)) for name in names)


def _num_gpus_elsewhere(backend: str) -> int:
    """How many GPUs a backend sees, asked in a process of its own, which takes seconds."""
    if not _has_gpu_driver():
        return 0
    command = [sys.executable, "-c", NUM_GPUS[backend]]
    with processes.tied() as arguments:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", **arguments)
    last = answer.stdout.split()[-1:]
    return int(last[0]) if answer.returncode == 0 and last else 0


def describe_device(backend: str, device: str) -> tuple[str, str | None]:
    """What Keras computes on, by where it puts a tensor: the kind, cpu, cuda, mps or xpu, and the GPU's name.

    Raises:
        UserError: `--device` asks for another, as this backend does not see it, or Keras runs on another backend.
    """
    import keras

    if keras.backend.backend() != backend:
        raise UserError(
            f"Keras runs on {keras.backend.backend()} in this process already, and {backend} was chosen",
            "a process in which nobody has imported Keras yet",
            "run it in one of its own: python -m pretrained.train",
        )
    tensor, name = keras.ops.zeros(1), None
    if backend == "tensorflow":
        import tensorflow as tf

        kind = "cpu" if "CPU" in tensor.device else "mps" if sys.platform == "darwin" else "cuda"
        if kind != "cpu":
            (gpu, *_) = tf.config.list_physical_devices("GPU")
            name = tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    elif backend == "torch":
        import torch

        kind = tensor.device.type
        if kind != "cpu":
            name = machine.APPLE_GPU if kind == "mps" else kind
        if kind in ("cuda", "xpu"):
            name = torch.get_device_module(kind).get_device_name(tensor.device)
    else:
        (found,) = tensor.devices()
        kind = {"gpu": "cuda"}.get(found.platform, found.platform)
        if kind != "cpu":
            name = found.device_kind
    if device != "auto" and kind != device.partition(":")[0]:
        raise UserError(
            f"--device {device}, but {backend} sees no such GPU here",
            "a GPU with that number, its driver, and a backend built for it",
            "choose --device cpu or another --keras-backend, or mend the driver (nvidia-smi should list the GPU)",
        )
    return kind, name


def precision(recipe: Recipe, backend: str, device_kind: str) -> str:
    """What the backbone is computed in: the recipe's precision where the device is made for it, else float32."""
    if recipe.precision != "bfloat16":
        return recipe.precision
    if device_kind == "mps":
        native = False
    elif device_kind == "xpu":
        import torch

        native = torch.xpu.is_bf16_supported(including_emulation=False)
    elif device_kind == "cpu":
        native = machine.processor_computes_in_bfloat16()
    elif backend == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        native = details.get("compute_capability", (0, 0)) >= (8, 0)
    elif backend == "torch":
        import torch

        native = torch.cuda.get_device_capability() >= (8, 0)
    else:
        import jax

        native = False
        with contextlib.suppress(AttributeError, ValueError):  # other makers' GPUs have no such number
            native = float(jax.devices()[0].compute_capability) >= 8
    return "bfloat16" if native else "float32"


def peak_gpu_memory_bytes(backend: str) -> int:
    """The largest amount of GPU memory that this process has held."""
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated()
    import jax

    return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
