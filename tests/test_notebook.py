"""Commands and the Python API in a notebook: a kernel that is somebody's, and goes on afterwards; and the notebooks for
newcomers, which are run as they stand."""

import csv
import html
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import jupyter_client
import pytest

ROOT = Path(__file__).parent.parent
STATE = """{} = [
    dict(os.environ), list(sys.path), list(sys.argv), [signal.getsignal(one) for one in signal.valid_signals()],
    [type(one) for one in sys.meta_path], os.getcwd(), 'torch' in sys.modules, sys.stdout, sys.stderr,
]"""
TRAINS = "epoch 1/"  # what a training says after its first epoch: a cell has no bar
NOTEBOOKS = ROOT / "docs/notebooks"
IPYTHONS = {"profile_default"}  # what a kernel itself leaves
SHOWN_AT_ONCE = 3_000_000  # bytes that a Jupyter server takes from a kernel before it drops some


class Notebook:
    """A kernel as Jupyter begins it, with the variables that it exports, and what its cells put out."""

    def __init__(self, folder: Path):
        self.manager = jupyter_client.KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = sys.executable
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        variables = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder)}
        for name in ("PYTHONWARNINGS", "MPLBACKEND", "PYTEST_CURRENT_TEST"):  # with the last one it hears no processes
            variables.pop(name, None)
        self.manager.start_kernel(cwd=str(folder), env=variables)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, cell: str, *, interrupted_at: str | None = None, seconds: int = 240) -> tuple[str, list[dict]]:
        """What a cell printed, and what it showed, by media type; interrupted once it has printed some text."""
        printed, shown = [], []

        def hear(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            if message["msg_type"] in ("execute_result", "display_data"):
                shown.append(content["data"])
            if message["msg_type"] == "error":
                printed.append("\n".join(content["traceback"]))
            if interrupted_at is not None and interrupted_at in "".join(printed) and not heard.is_set():
                heard.set()
                self.manager.interrupt_kernel()

        heard = threading.Event()
        self.ended = self.client.execute_interactive(cell, output_hook=hear, timeout=seconds)["content"]["status"]
        text = "".join(printed)
        assert interrupted_at is None or heard.is_set(), text
        assert not re.search(r"\x1b\[[0-9]*[A-K]", text), text  # what moves the cursor or wipes stays to be seen there
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text), shown

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    kernel = Notebook(tmp_path_factory.mktemp("notebook"))
    yield kernel
    kernel.close()


@pytest.mark.parametrize("which", ["--scratch", pytest.param("--both", marks=pytest.mark.thorough)])
def test_the_demo_runs_from_a_notebook_and_the_kernel_stays_as_it_was(notebook, which):
    asked = f"{which} --demo --epochs 1 --offline"
    exported, _ = notebook.run("import os, signal, sys\nprint(os.environ['MPLBACKEND'])\n" + STATE.format("before"))
    assert exported == "module://matplotlib_inline.backend_inline\n"

    for command, out in (
        (f"%run -m compare.run -- {asked}", f"run{which}"),
        (f"%run -m compare.report -- run{which}/runs/*", f"page{which}"),
        (f"!python -m compare.report run{which}/runs/*", f"shell{which}"),
    ):
        printed, _ = notebook.run(f"{command} --out {out}")
        assert printed.splitlines()[-1] == str(Path(out, "index.html")), printed

    printed, shown = notebook.run(
        "from compare import compare_runs, load_run\n"
        f"comparison = compare_runs(load_run('run{which}/runs/scratch_resnet'))\n"
        "comparison"
    )
    assert "<svg" in shown[0]["text/html"] and not printed
    (figure,) = notebook.run("comparison.confusion(0)")[1]
    assert figure["image/png"]
    assert notebook.run("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")[1][-1]["image/png"]
    changed = "[(one, two) for one, two in zip(before, after) if one != two]"
    assert notebook.run(STATE.format("after") + "\n" + changed)[1] == [{"text/plain": "[]"}]


@pytest.mark.parametrize(
    "begin", ["%run -m compare.run -- ", pytest.param("!python -m compare.run ", marks=pytest.mark.thorough)]
)
def test_a_training_is_interrupted_and_the_kernel_goes_on(notebook, begin):
    out = f"interrupted{begin[0]}"
    printed, _ = notebook.run(f"{begin}--scratch --demo --epochs 200 --offline --out {out}", interrupted_at=TRAINS)
    if begin.startswith("%"):  # to what ! began, IPython leaves no time for a word
        assert f"to go on: python -m compare.run --resume {out}" in printed, printed
    assert "stopping after this step" in printed and "Traceback" not in printed, printed
    assert notebook.run(f"import glob\nlen(glob.glob('{out}/runs/scratch_resnet/checkpoint-*')) > 0")[1] == [
        {"text/plain": "True"}
    ]


@pytest.mark.parametrize("branch", ["scratch_resnet", "pretrained"])
def test_a_program_that_has_a_framework_loaded_is_not_trained_in(branch, tmp_path):
    program = (
        "import runpy, sys, types\n"
        "sys.modules['keras'] = types.ModuleType('keras')\n"
        f"sys.argv = ['train', '--demo', '--out', {str(tmp_path / 'run')!r}]\n"
        f"runpy.run_module('{branch}.train', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: a training in a process that has keras loaded\n")
    assert f"python -m {branch}.train" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("branch", ["scratch_resnet", "pretrained"])
def test_a_process_that_is_somebody_elses_is_not_trained_in(notebook, branch):
    for begin in ("", "import torch", "import keras"):
        notebook.run(begin)
        printed, _ = notebook.run(f"%run -m {branch}.train -- --demo --out refused")
        assert printed.startswith("error: a training in an interactive Python or a notebook\n  expected: "), printed
        assert "!" in printed and f"python -m {branch}.train" in printed and "Traceback" not in printed
    assert notebook.run("torch.zeros(1)")[1]  # it can still be imported, and used


# ---- the notebooks for newcomers


def cells_of(name: str, kind: str) -> dict[str, str]:
    """The sources of a notebook's cells of one kind, by their ids."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == kind}


def run_whole(name: str, folder: Path) -> dict[str, tuple[str, list[dict]]]:
    """Run a notebook's cells as they stand, in a folder: what each printed and showed, by its id. Each ends well, and
    so does every command, but for the doctor's, who misses weights where there is no network."""
    kernel, found = Notebook(folder), {}
    try:
        for cell, source in cells_of(name, "code").items():
            found[cell] = kernel.run(source, seconds=3600)
            assert kernel.ended == "ok" and "WARNING" not in found[cell][0], found[cell][0]
            [code] = kernel.run("get_ipython().user_ns.get('_exit_code', 0)")[1]
            assert code == {"text/plain": "2" if cell == "doctor" else "0"}, found[cell][0]
    finally:
        kernel.close()
    return found


def check_shown_page(found: dict[str, tuple[str, list[dict]]], page: Path) -> None:
    """The page is in the notebook, whole, and no larger than what servers let through."""
    [shown] = found["page"][1]
    text = page.read_text(encoding="utf-8")
    headline = re.search(r"<h1[^>]*>(.+?)</h1>", text, re.S)[0]
    assert html.escape(headline) in shown["text/html"] and len(shown["text/html"].encode()) < SHOWN_AT_ONCE
    srcdoc = re.search(r'srcdoc="([^"]+)"', shown["text/html"])[1]
    assert html.unescape(srcdoc).replace('<base href="about:srcdoc">', "", 1) == text


@pytest.mark.parametrize("name", [one.stem for one in sorted(NOTEBOOKS.glob("*.ipynb"))])
def test_a_notebook_is_kept_without_what_it_showed_and_in_two_languages(name):
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    texts = cells_of(name, "markdown")
    assert len(texts) + len(cells_of(name, "code")) == len(notebook["cells"])  # no id is there twice
    for text in texts.values():
        english, chinese = text.split("\n\n")[-2:]
        assert re.search("[\u4e00-\u9fff]", chinese) and not re.search("[\u4e00-\u9fff]", english), text


@pytest.mark.thorough
def test_the_notebook_to_start_with_runs_as_it_stands(tmp_path):
    found = run_whole("start", tmp_path)
    assert not any(found["install"])
    assert "scikit-learn" in found["doctor"][0]
    report = tmp_path / "reports/start"
    assert found["run"][0].splitlines()[-1] == str(Path("reports/start/index.html")), found["run"][0]
    check_shown_page(found, report / "index.html")
    assert "image/png" in found["compare"][1][0] and "image/png" in found["confusion"][1][0]
    with (report / "metrics.csv").open(encoding="utf-8", newline="") as file:
        accuracies = [float(row["test_accuracy"]) for row in csv.DictReader(file)]
    shown = [float(one) for one in re.findall(r"0\.\d+", found["accuracy"][1][0]["text/plain"])]
    assert len(shown) == 9 and sorted(shown) == pytest.approx(sorted(accuracies), rel=1e-6)
    assert {one.name for one in tmp_path.iterdir()} - IPYTHONS == {"reports"}


def test_the_notebook_for_pictures_runs_as_it_stands(tmp_path):
    found = run_whole("your-own-pictures", tmp_path)
    assert "240 images of 3 classes" in found["inspect"][0]
    report = tmp_path / "reports/mine"
    assert found["run"][0].splitlines()[-1] == str(Path("reports/mine/index.html")), found["run"][0]
    check_shown_page(found, report / "index.html")
    runs = sorted(one.name for one in (report / "runs").iterdir())
    assert len(runs) == 3 and all(one in found["predict"][0] for one in runs)
    assert "image/png" in found["predict"][1][0]
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        assert {"index.html", *(f"runs/{one}/record.json" for one in runs)} <= set(archive.namelist())
    assert "report.zip" in found["download"][1][0]["text/html"]
    assert {one.name for one in tmp_path.iterdir()} - IPYTHONS == {
        "reports",
        "shapes",
        "new.png",
        "looked.png",
        "report.zip",
    }
