"""What of the environment changes results. Truths: made-up counters of the processors, and the frameworks themselves in
processes of their own."""

import collections
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from joblib.externals.loky.backend import context

from compare.system import environment
from compare.system.environment import Load
from compare.system.errors import UserError
from compare.training.options import KERAS_BACKENDS
from pretrained import backend

ROOT = Path(__file__).parents[2]


@pytest.fixture
def processors(monkeypatch):
    """Four processors, all this process' own, whose counters and whose clock go on by what the test says."""
    now = types.SimpleNamespace(seconds=0.0, idle=0.0, others=0.0, own=0.0, asleep=lambda: None)
    monkeypatch.delenv(environment.THREADS)
    monkeypatch.setattr(environment, "_processors", lambda: [0, 1, 2, 3])
    monkeypatch.setattr("joblib.cpu_count", lambda only_physical_cores: 4)
    monkeypatch.setattr("time.monotonic", lambda: now.seconds)
    monkeypatch.setattr("time.sleep", lambda _: now.asleep())
    monkeypatch.setattr("os.times", lambda: os.times_result((now.own, 0.0, 0.0, 0.0, now.seconds)))

    counters = collections.namedtuple("scputimes", ["user", "idle", "iowait"])
    monkeypatch.setattr(
        "psutil.cpu_times", lambda percpu: [counters((now.others + now.own) / 4, now.idle / 4, 0.0)] * 4
    )
    return now


@pytest.mark.parametrize(
    ("others", "own", "num_threads"),
    [(0, 10, 4), (3, 10, 4), (10, 10, 3), (19, 9, 2), (20, 20, 2), (36, 4, 1), (40, 0, 1)],
)
def test_threads_leave_out_what_others_keep_busy(processors, others, own, num_threads):
    load = Load()
    processors.seconds, processors.others, processors.own = 10.0, others, own
    processors.idle = 40.0 - others - own

    def asleep():  # the others go on as before
        processors.seconds, processors.idle = 15.0, processors.idle + 5 * (4 - others / 10)
        processors.others += 5 * others / 10

    processors.asleep = lambda: setattr(processors, "asleep", asleep)  # the first time there is nothing to wait for
    assert load.num_threads() == num_threads


def test_what_is_over_a_moment_later_takes_no_thread(processors):
    load = Load()
    processors.seconds, processors.others, processors.own = 10.0, 30.0, 10.0

    def asleep():  # the second time: now nothing else runs
        processors.seconds, processors.idle = processors.seconds + 5, processors.idle + 20
        processors.asleep = asleep if processors.seconds < 20 else lambda: None

    processors.asleep = lambda: setattr(processors, "asleep", asleep)
    assert load.num_threads() == 4


def test_where_nothing_is_counted_every_core_computes(processors):
    load = Load()
    processors.seconds = 10.0
    assert load.num_threads() == 4


def test_a_container_has_its_share_of_the_cores(processors, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda only_physical_cores: 2)
    load = Load()
    processors.seconds, processors.idle = 10.0, 40.0
    assert load.num_threads() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="joblib asks each system in another way")
def test_a_system_that_does_not_tell_its_cores_costs_no_traceback(monkeypatch, capsys):
    monkeypatch.delenv(environment.THREADS, raising=False)
    monkeypatch.setattr(context, "physical_cores_cache", None)
    monkeypatch.setattr(context, "_count_physical_cores_linux", lambda: 0)
    assert Load().num_threads() >= 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("word", "num_threads"), [("3", 3), ("2,1", 2), ("0", 1), ("many", 4), ("", 4)])
def test_the_user_has_the_word_on_threads(processors, monkeypatch, word, num_threads):
    monkeypatch.setenv(environment.THREADS, word)
    load = Load()
    processors.seconds, processors.idle = 10.0, 40.0
    assert load.num_threads() == num_threads


SHOW_THREADS = """
import json, os, sys
from compare.system import environment
environment.settle()
import numpy, scipy.linalg  # loaded before the number is known, as in the commands
environment.compute_with(int(sys.argv[2]))
from pretrained import backend
backend.choose(sys.argv[1], "cpu")
with backend.quiet_start():
    import keras
    network = keras.Sequential([keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(3)])
    network.predict(numpy.ones((8, 32, 32, 3), "float32"), verbose=0)
import threadpoolctl
numbers = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
if sys.argv[1] == "torch":
    import torch
    numbers.add(torch.get_num_threads())
else:  # these have threads of their own, known by name
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    numbers.add(sum(name.startswith(("tf_Compute", "tf_XLAEigen")) for name in names))
print(json.dumps(sorted(numbers)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names to ask for on Linux")
@pytest.mark.parametrize("name", KERAS_BACKENDS)
def test_every_framework_computes_with_so_many_threads(name):
    num_threads = 1 if (os.cpu_count() or 1) > 1 else 2  # not what it would take by itself
    command = [sys.executable, "-c", SHOW_THREADS, name, str(num_threads)]
    words = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=words, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [num_threads]


def test_what_would_train_another_thing_has_no_effect(monkeypatch, capsys):
    for name in environment.IGNORED:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    environment.settle()
    assert not set(environment.IGNORED) & set(os.environ) and os.environ["MPLBACKEND"] == "agg"
    assert capsys.readouterr().err.splitlines() == [
        f"note: {name} is set, and has no effect here" for name in environment.IGNORED
    ]


def test_what_may_change_numbers_is_recorded_and_no_place_is(monkeypatch):
    for name in os.environ:
        if environment.MAY_CHANGE_NUMBERS.fullmatch(name):
            monkeypatch.delenv(name)
    wanted = {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "ATEN_CPU_CAPABILITY": "default",
        "XLA_FLAGS": "a" * 300,
        "OMP_DYNAMIC": "1",
    }
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MKL_CBWR", os.fsdecode(b"a\x07\xe9"))
    places = ("TORCH_HOME", "KERAS_HOME", "JAX_COMPILATION_CACHE_DIR", "PATH", "TFOO")
    others = ("TF_CLI_CONFIG_FILE", "TF_VAR_REGION", "TF_TOKEN_EXAMPLE_COM", "KERAS_API_KEY")  # secrets among them
    for name in (*places, *others, "MKL_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "/home/me")
    assert environment.recorded() == wanted | {"XLA_FLAGS": "a" * 200, "MKL_CBWR": "a\\x07\\udce9"}


@pytest.mark.parametrize("keras_json", [b'{"floatx": "float64", "epsilon": 1}', b"\xff"])
def test_keras_finds_no_settings_of_somebodys(tmp_path, keras_json):
    (tmp_path / "keras.json").write_bytes(keras_json)
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")  # nor matplotlib's, in the current folder
    show = (
        "from pretrained import backend; backend.choose('jax', 'cpu'); import keras; "
        "print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())"
    )
    words = os.environ | {"KERAS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, cwd=tmp_path, env=words)
    assert done.stdout.split() == ["float32", "1e-07", "channels_last"], done.stderr


def test_the_variable_of_keras_is_heeded_under_auto(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("KERAS_HOME", "KERAS_TORCH_DEVICE", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    for word, named, chosen in (("auto", "jax", "jax"), ("torch", "jax", "torch"), ("auto", "", "tensorflow")):
        monkeypatch.setenv("KERAS_BACKEND", named)
        assert backend.choose(word, "cpu") == chosen
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(UserError, match="KERAS_BACKEND=openvino"):
        backend.choose("auto", "cpu")
