"""What of the environment changes results, or keeps a command from running: settled before anything large is imported.

Frameworks and libraries read some hundred variables and settings files. Those that would silently train something else
are taken away (`IGNORED`), those that change numbers stand in the record (`recorded`), and how many threads compute is
chosen by what is free (`Load`), since threads that wait for one another crawl where each waits for a processor.
"""

import contextlib
import io
import os
import re
import sys
import time
import warnings

from compare import start
from compare.system import processes

# For debugging, or for programs of another kind: with these a training would be another one than its record says.
IGNORED = (
    *("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"),
    *("JAX_ENABLE_X64", "JAX_DISABLE_JIT", "JAX_DEFAULT_DTYPE_BITS", "JAX_DEBUG_NANS", "JAX_DEBUG_INFS"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "NPY_PROMOTION_STATE"),
)
# What frameworks and their libraries read, but for places, waiting and threads, which change no number or stand in the
# record already.
MAY_CHANGE_NUMBERS = re.compile(
    "(KERAS|TF|XLA|JAX|TORCH|PYTORCH|ATEN|ONEDNN|DNNL|MKL|OPENBLAS|BLIS|NPY|CUBLAS|CUDNN|NVIDIA_TF32|OMP)_[A-Z0-9_]+"
)
CHANGES_NONE = re.compile(
    "HOME|DIR|PATH|CACHE|LOG|VERBOSE|THREADS|WAIT_POLICY|PROC_BIND|PLACES|DISPLAY|STACKSIZE|ALLOC"
    "|KERAS_BACKEND|KERAS_TORCH_DEVICE|NCCL_ASYNC_ERROR_HANDLING|PLATFORMS|FILE|TOKEN|SECRET|PASSWORD|CREDENTIAL|API_KEY"
    "|^TF_(VAR|CLI|INPUT|IN_AUTOMATION|WORKSPACE|CLOUD|REATTACH|REGISTRY|IGNORE|STATE)"  # Terraform's, not TensorFlow's
)
OFFLINE_VARIABLE = "SCRATCH_OR_PRETRAINED_OFFLINE"  # what --offline sets, so that every process started hears of it
MAX_VALUE = 200  # characters of a variable's value that are kept

SECONDS_TO_LOOK, SECONDS_TO_LOOK_AGAIN = 1.0, 5.0  # at what else runs: at least, and where that is much
THREADS = "OMP_NUM_THREADS"  # what PyTorch and most others heed; here it is the user's word on all of them
# The same for those that do not: OpenBLAS and MKL, TensorFlow, and JAX.
OTHER_THREADS = (
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"),
)


def settle() -> None:
    """Take from the environment, and so from processes that are started, what would make them train another thing or
    not run at all, and say so once. A plotting backend is somebody's window or notebook; here pictures are files, but
    who works in this process goes on to plot."""
    if not processes.is_in_shell():
        os.environ["MPLBACKEND"] = "agg"
    if sys.path[:1] == [start.ROOT]:  # run as a file, perhaps in another folder, where no process would find us
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [start.ROOT, os.environ.get("PYTHONPATH")]))
    for name in IGNORED:
        if os.environ.pop(name, None) is not None:
            print(f"note: {name} is set, and has no effect here", file=sys.stderr)


def threads_asked() -> int | None:
    """What the user says by `OMP_NUM_THREADS`; None where that is not set, or no number."""
    with contextlib.suppress(ValueError):
        return max(1, int(os.environ.get(THREADS, "").partition(",")[0]))
    return None


def recorded() -> dict[str, str]:
    """The variables that are set and may change numbers."""
    names = (name for name in os.environ if MAY_CHANGE_NUMBERS.fullmatch(name) and not CHANGES_NONE.search(name))
    return {name: os.environ[name].encode("unicode_escape").decode()[:MAX_VALUE] for name in sorted(names)}


class Load:
    """How busy the processors that this process may use are, looked at from its construction on."""

    def __init__(self) -> None:
        self._before = self._now()

    def num_threads(self) -> int:
        """How many threads should compute: `OMP_NUM_THREADS` where that is set, else the cores that this process may
        use (its affinity and its container's share), less those that others keep busy; one at least.

        Beside a process that keeps both of two cores busy, two threads of PyTorch train at 2 to 38 % of their quiet
        speed, as each waits at every step's hundred barriers for the other to be let in; one does at 48 to 59 %.
        """
        return threads_asked() or self.num_cores_free()

    def num_cores_free(self) -> int:
        """Those cores, whatever `OMP_NUM_THREADS` says."""
        import joblib

        # where the system does not tell cores from threads, as in a bare chroot, joblib warns and prints a traceback
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            num_cores = joblib.cpu_count(only_physical_cores=True)
        time.sleep(max(0.0, self._before[0] + SECONDS_TO_LOOK - time.monotonic()))
        num_free = min(num_cores, self._num_free())
        if num_free < num_cores:  # for a training of hours, what somebody started a moment ago may be over
            self._before = self._now()
            time.sleep(SECONDS_TO_LOOK_AGAIN)
            num_free = max(num_free, min(num_cores, self._num_free()))
        return max(1, num_free)

    def _num_free(self) -> int:
        """The processors that others have left free since the last look, to the nearest whole one."""
        seconds, own, idle, counted = (now - before for now, before in zip(self._now(), self._before, strict=True))
        num_processors = len(_processors())
        return round(num_processors * idle / counted + own / seconds) if counted else num_processors  # some hide them

    def _now(self) -> tuple[float, float, float, float]:
        """In seconds: the time, what this process and its children have computed, what the processors were idle, and
        all that is counted of them."""
        import psutil

        times = os.times()
        every = psutil.cpu_times(percpu=True)
        counters = [every[number] for number in _processors() if number < len(every)]
        idle = sum(one.idle + getattr(one, "iowait", 0.0) for one in counters)
        return time.monotonic(), sum(times[:4]), idle, sum(map(sum, counters))


def _processors() -> list[int]:
    """The numbers of the processors that this process may use."""
    import psutil

    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    return affinity() if affinity else list(range(psutil.cpu_count() or 1))


def compute_with(num_threads: int) -> None:
    """Let everything in this process compute with so many threads: what is loaded already, and what will be."""
    import threadpoolctl

    os.environ |= dict.fromkeys((THREADS, *OTHER_THREADS), str(num_threads))
    threadpoolctl.threadpool_limits(num_threads)
