"""What the writers write, their readers read: whatever names, texts and numbers go into a record, a checkpoint, a
comparison, a report or a command line, they are refused before training or come back as they were."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_recipes
from fake_runs import write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare import comparison, plan_file, report, run
from compare.data import dataset
from compare.findings.findings import find
from compare.page import listing, report_files
from compare.page.shown import show
from compare.runs import checkpoint, record, schema
from compare.system import command, disk, machine
from compare.system.command import MAX_EPOCHS
from compare.system.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, UserError
from compare.training import ending, options, preparation
from compare.training.looking import Looked
from pretrained import recipe as pretrained_recipe
from pretrained import train as pretrained
from scratch_resnet import train as scratch

OFTEN = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = ("\x07", "\udce9", "\x1b", "\r", "\x7f", "\x85")  # a bell, half of a Latin-1 é, an escape, …


@st.composite
def one_odd(draw, **kinds):
    """A value of each kind; one of them, or none, is any value and not one that is to be taken."""
    odd = draw(st.sampled_from([None, *kinds]))
    return {name: draw(every if name == odd else good) for name, (good, every) in kinds.items()}


# What is to be taken, and what perhaps not. Names are such as a file can have: some are like options, like homes and
# like what a shell computes.
NAME = (
    st.sampled_from(["a", "-x", "=", "$(x)", "it's", '"', "é", "two\nlines", "a\tb", "~", "数据 ", "#", "\\udce9"]),
    st.builds("{}{}{}".format, st.sampled_from(["", "a", "-", "~"]), st.sampled_from(ODD), st.text("ab", max_size=3))
    | st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(lambda text: text.strip(".")),
)
DEVICE = (NAME[0], NAME[1] | st.sampled_from(["", 201 * "x", 20_000 * "x"]))
EPOCHS = (st.sampled_from([1, 2, 3]), st.sampled_from([0, MAX_EPOCHS - 1, MAX_EPOCHS, MAX_EPOCHS + 1, 2**32, 2**70]))
FLOATS = st.sampled_from([float("nan"), float("inf"), 1.1e100, -1.1e100, 1e308, 0.0, -1.0])
RATE, LOSS = (st.floats(1e-320, 1e100), FLOATS), (st.floats(0, 1e100), FLOATS)
SIZE = (st.sampled_from([28, 50, 80]), st.integers(-1, 2**34) | st.sampled_from([2**32 - 1, 2**32, 2**63]))
SEED = (st.integers(0, 2**32 - 1), st.sampled_from([-1, 2**32, 2**64]))
UNFREEZE = (st.sampled_from(["none", "last-stage"]), st.just("backbone"))


@pytest.fixture
def few(monkeypatch):
    """Only some of the digits."""
    digits = dataset.load("digits")
    small = dataclasses.replace(
        digits,
        train_images=digits.train_images[:100],
        train_labels=digits.train_labels[:100],
        test_images=digits.test_images[:20],
        test_labels=digits.test_labels[:20],
    )
    monkeypatch.setattr(dataset, "load", lambda *_, **__: small)
    monkeypatch.setitem(pretrained_recipe.RECIPES, "demo", small_recipes.PRETRAINED)


def prepared(*words):
    """The job that these words of the pretrained branch's command line ask for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        arguments = pretrained.parse()
    overrides = options.OVERRIDES | {"weights": "--weights", "unfreeze": "--unfreeze"}
    more = {"overrides": overrides, "words": {}}
    return preparation.prepare("pretrained", arguments, pretrained_recipe.RECIPES, **more)


def train(job, *, device: str, loss: float) -> None:
    """What a branch does with a job, on a device of this name, but for the framework: all epochs but the last two are
    there already, and those have this loss."""
    job.record.model = schema.Model(name="m")
    job.record.weights = schema.Weights(kind="file", sha256="c0ffee")
    with record.readable():
        job.record.device, job.record.versions = schema.Device(kind="cpu", name=device), {"python": device}
    row = {"seconds": 1.0, "images_per_second": 9.0, "learning_rate": 0.1, "train_loss": 1.0, "train_accuracy": 0.5}
    row |= {"processor_seconds": 1.0}
    job.record.history = [schema.Row(epoch=epoch, **row) for epoch in range(1, job.record.num_epochs - 1)]
    with job.running(None):
        for _ in job.epochs_left:
            means = {"train": (loss, 0.5), "watched": (loss, 0.5)}
            seconds = {"training_seconds": 1.0, "seconds": 1.0, "num_images": 1}
            job.end_epoch(**means, **seconds, learning_rate=job.recipe.learning_rate, arrays={"a": np.ones(1)})
            assert checkpoint.read(job.folder, "pretrained")[1] == job.record
        seen = np.zeros((2, 8, 8, 1), np.float32)
        ending.end(
            job,
            predict=lambda images, rows: np.full((len(images if rows is None else rows), 10), 0.1),
            watched=None,
            seen=lambda: (seen, seen),
            channels="grey",
            save=lambda folder: None,
            look_at=lambda split, rows: Looked(np.full((len(rows), 10), 0.1), np.zeros((len(rows), 4)), None),
            device_bytes=lambda: None,
        )


@OFTEN
@given(
    one_odd(
        **{"--out": NAME, "--weights": NAME, "--epochs": EPOCHS, "--image-size": SIZE, "--batch-size": SIZE},
        **{"--learning-rate": RATE, "--seed": SEED, "--unfreeze": UNFREEZE, "loss": LOSS, "device": DEVICE},
    )
)
def check_a_run(few, faults, folder, values):
    """The whole way of a run but for the framework. The branch's own parser judges its words."""
    shutil.rmtree(folder, ignore_errors=True)
    faults.injected += 1
    out = folder / values["--out"]
    words = {option: value for option, value in values.items() if option[0] == "-"} | {"--out": out, "--recipe": "demo"}
    try:
        job = prepared(*(f"{option}={value}" for option, value in words.items()))
        train(job, device=values["device"], loss=values["loss"])
    except UserError as error:
        faults.refusal(str(error))
        assert error.exit_code == EXIT_REFUSED or (error.exit_code == EXIT_FAILED and "diverged" in str(error))
        assert out.exists() == (error.exit_code == EXIT_FAILED)
        return
    run = record.read_run(out)
    num_epochs = values["--epochs"] + (values["--unfreeze"] != "none")
    assert (run.record.seed, len(run.record.history)) == (values["--seed"], num_epochs)
    kept = command.place(values["--weights"]).name
    assert run.record.overrides["weights"] == kept and run.record.device.name == values["device"]
    words = shlex.split(run.record.command)
    assert words[words.index("--weights") + 1] == kept
    found = find([run])
    written = report_files.as_json(found, show(found), title="t", claim="c", sentences=[], cautions=[])
    assert disk.parse_json(written)["runs"][0]["folder"] == values["--out"]
    faults.survived += 1


def test_a_run_that_is_trained_is_read(few, faults, tmp_path):
    before = faults.survived
    check_a_run(few, faults, tmp_path / "runs")
    assert faults.survived - before > 10  # the others are refused


def by_option(training) -> dict[str, str]:
    """The words of a training whose options all have values."""
    return dict(zip(training.words[::2], training.words[1::2], strict=True))


@OFTEN
@given(
    one_odd(
        **{"--out": NAME, "--name": NAME, "--data-dir": NAME, "--recipe": NAME, "--weights": NAME},
        **{"--learning-rate": RATE, "--seeds": SEED},
    )
)
def check_a_comparison(faults, folder, values):
    """The command that is told, pasted, is of the folder that holds what was asked for."""
    shutil.rmtree(folder, ignore_errors=True)
    faults.injected += 1
    words = values | {"--out": folder / values["--out"], "--data-dir": folder / values["--data-dir"]}
    words["--learning-rate"] = f"pretrained={values['--learning-rate']}"
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        patch.setattr(run, "check", lambda *_: 0)
        patch.setattr(run, "train", lambda *_: EXIT_INTERRUPTED)
        patch.setattr(sys, "argv", ["run", "--both", *(f"{option}={value}" for option, value in words.items())])
        try:
            assert run.main() == EXIT_INTERRUPTED
        except UserError as error:
            faults.refusal(str(error))
            assert error.exit_code == EXIT_REFUSED and not folder.exists()
            return
        pasted = shlex.split(said.getvalue().partition("to go on: ")[2])
        assert pasted[:3] == ["python", "-m", "compare.run"]
        patch.setattr(sys, "argv", ["run", *pasted[3:]])
        name, trainings, _ = plan_file.read(run.parse().resume)
    kept = by_option(next(one for one in trainings if one.branch == "pretrained"))
    assert name == values["--name"] and kept["--seed"] == str(values["--seeds"])
    assert kept["--data-dir"] == str(words["--data-dir"]) and kept["--recipe"] == values["--recipe"]
    assert float(kept["--learning-rate"]) == values["--learning-rate"]
    faults.survived += 1


def test_a_comparison_that_begins_can_go_on(faults, tmp_path):
    before = faults.survived
    check_a_comparison(faults, tmp_path / "comparisons")
    assert faults.survived - before > 10


PATHS = [  # a command, its words, and the option, or None for a place among the words, that takes a path
    *((run, ["--both"], option) for option in ("--out", "--data-dir", "--weights", "--name")),
    (run, [], "--resume"),
    *((module, [], option) for module in (scratch, pretrained) for option in ("--out", "--data-dir", "--resume")),
    (pretrained, [], "--weights"),
    (report, ["run"], "--out"),
    (report, ["run"], "--data-dir"),
    (report, [], None),
]
IDS = [f"{module.__name__} {option}" for module, _, option in PATHS]


def given_path(monkeypatch, module, words: list[str], option: str | None, path: str):
    """The command's arguments with that path, as text, where it takes one."""
    monkeypatch.setattr(sys, "argv", ["command", *words, path if option is None else f"{option}={path}"])
    arguments = module.parse()
    return str(arguments.runs[-1] if option is None else vars(arguments)[option.strip("-").replace("-", "_")])


@pytest.mark.parametrize(("module", "words", "option"), PATHS, ids=IDS)
@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_a_path_that_no_record_can_hold_is_refused_at_once(monkeypatch, faults, module, words, option, odd):
    error = faults.meets(lambda: given_path(monkeypatch, module, words, option, f"caf{odd}"), right=lambda _: False)
    assert "holds control characters, or bytes that are no text" in str(error)
    assert f"caf{ascii(odd)[1:-1]}" in str(error) and odd not in str(error)


PLACES = [one for one in PATHS if one[2] != "--name"]


@pytest.mark.parametrize(("module", "words", "option"), PLACES, ids=[one for one in IDS if "--name" not in one])
def test_a_home_is_found_wherever_a_path_is_given(monkeypatch, faults, module, words, option):
    home = os.environ["HOME"]
    assert given_path(monkeypatch, module, words, option, "~/runs") == f"{home}/runs"
    assert given_path(monkeypatch, module, words, option, "~") == home
    assert given_path(monkeypatch, module, words, option, "a/~") == "a/~"
    if option is not None:
        assert given_path(monkeypatch, module, words, option, "-x") == os.path.abspath("-x")
    unknown = faults.meets(
        lambda: given_path(monkeypatch, module, words, option, "~nobody-is-called-so/x"), right=lambda _: False
    )
    assert "~nobody-is-called-so/x: no home is known" in str(unknown)


@pytest.mark.skipif(sys.platform == "win32", reason="homes are looked up otherwise")
def test_without_a_home_the_tilde_is_refused(monkeypatch, faults):
    import pwd

    def nobody(_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    error = faults.meets(lambda: command.place("~/runs"), right=lambda _: False)
    assert "~/runs: no home is known" in str(error)
    assert command.place("runs") == Path("runs")


def test_a_folder_of_such_a_name_is_refused_whatever_is_named_in_it(tmp_path, monkeypatch, faults):
    """A relative path is part of a longer one, which stands in comparison.json."""
    there = tmp_path / "caf\udce9"
    there.mkdir()
    monkeypatch.chdir(there)
    for one in PLACES:
        if one[-1] == "--weights":
            assert given_path(monkeypatch, *one, "imagenet") == "imagenet"
            continue
        error = faults.meets(lambda one=one: given_path(monkeypatch, *one, "x"), right=lambda _: False)
        assert "holds control characters" in str(error) and r"caf\udce9/" in str(error)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_shell_reads_the_command_as_it_was_meant(tmp_path):
    for name in ("a b", "it's", "$HOME", "`x`", "*", "two\nlines", "-x", "./-x", "./~", "./~x", "数据", "#x", "a\tb"):
        place = command.place(name)
        assert command.place(str(place)) == place and str(place.absolute()) == os.path.abspath(name)
        told = shlex.join(["python", "-m", "compare.run", "--resume", str(place)])
        done = subprocess.run(["bash", "-c", f"printf '%s\\0' {told}"], capture_output=True, cwd=tmp_path, check=True)
        assert done.stdout.decode().split("\0")[-2] == str(place)


@pytest.mark.parametrize(("option", "least", "most"), [("--epochs", 1, MAX_EPOCHS), ("--seed", 0, 2**32 - 1)])
def test_whole_numbers_have_the_bounds_of_the_record(monkeypatch, option, least, most):
    for number in (least - 1, least, most, most + 1):
        monkeypatch.setattr(sys, "argv", ["train", f"{option}={number}"])
        told = contextlib.nullcontext() if least <= number <= most else pytest.raises(UserError, match=option)
        with told:
            scratch.parse()


def test_epochs_of_both_parts_together_are_bounded(few, tmp_path):
    words = ["--recipe=demo", f"--epochs={MAX_EPOCHS}", f"--out={tmp_path / 'run'}"]
    assert prepared(*words)
    with pytest.raises(UserError, match="num_epochs is '10001'"):
        prepared(*words, "--unfreeze=last-stage")


def test_what_comes_up_in_training_costs_no_checkpoint(few, tmp_path, monkeypatch, faults):
    """A number that no reader takes, measured at the end: a bug, but the training is still there."""
    job = prepared("--recipe=demo", "--epochs=2", f"--out={tmp_path / 'run'}")
    monkeypatch.setattr(machine, "peak_memory_bytes", lambda: -1)
    error = faults.meets(lambda: train(job, device="a", loss=1.0), right=lambda _: False)
    assert error.exit_code == EXIT_FAILED and "main is '-1'" in str(error)
    assert len(checkpoint.read(tmp_path / "run", "pretrained")[1].history) == 2
    assert not (tmp_path / "run" / record.RECORD).exists()


def test_an_energy_counter_that_begins_anew_tells_nothing(few, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.EnergyMeter, "taken", lambda self: -1.0)
    train(prepared("--recipe=demo", "--epochs=2", f"--out={tmp_path / 'run'}"), device="a", loss=1.0)
    assert [row.energy_joules for row in record.read_run(tmp_path / "run").record.history] == [None, None]


# ---- what is made of runs that others wrote, in folders that others named


@pytest.fixture
def strange(tmp_path):
    """The folder of a run with a name that is no text, in the way of a system that is not ours."""
    folder = tmp_path / "reports" / "caf\udce9\x07"
    try:
        return write_run(folder)
    except OSError:
        pytest.skip("no such name here")


def test_reports_and_lists_name_folders_that_are_no_text(strange, tmp_path):
    """Where no command line names them: from Python, and those that lie beside a report."""
    both = [comparison.load_run(strange), comparison.load_run(write_run(tmp_path / "b", changes={"started": "later"}))]
    comparison.compare_runs(*both).write(tmp_path / "reports" / "one", title="a\x07b")
    written = disk.read_json(tmp_path / "reports" / "one" / report.NUMBERS)
    assert written["title"] == r"a\x07b" and written["runs"][0]["folder"] == r"caf\udce9\x07"
    assert r"caf\udce9\x07" in (tmp_path / "reports" / "one" / report.PAGE).read_text()
    comparison.compare_runs(both[0]).write(tmp_path / "reports" / "two\udce9")
    page = listing.write_listing(tmp_path / "reports").read_text()
    assert 'href="two%E9/index.html"' in page and r">two\udce9<" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_a_record_is_a_formula(tmp_path, start):
    """Every text that a foreign record brings into metrics.csv, in every column; numbers stay numbers."""
    cell = f"{start}cmd|' /C calc'!A0"
    good = record.read_run(write_run(tmp_path / "run")).record
    changes = {"branch": cell, "commit": cell, "started": cell, "weights": {"kind": cell}}
    changes |= {"recipe": good.recipe.as_json() | {"name": cell}, "device": {"kind": cell, "name": cell}}
    changes["model"] = good.as_json()["model"] | {"title": cell}
    folder = write_run(tmp_path / f"{start}folder", branch="x", changes=changes)
    shown = show(find([record.read_run(folder), record.read_run(tmp_path / "run")]))
    row, _ = csv.DictReader(io.StringIO(report_files.as_csv(shown).decode(), newline=""))
    assert not [name for name, value in row.items() if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    touched = {name for name, value in row.items() if command.printable(cell) in value}
    assert {"branch", "recipe_name", "weights", "commit", "started", "device", "run"} <= touched
    assert {row["branch"], row["folder"][0]} <= {f"'{cell}", "'", command.printable(cell), "\\"}


def test_numbers_below_zero_stay_numbers():
    assert report_files._no_formula(-0.5) == -0.5 and report_files._no_formula("0.5") == "0.5"


def test_what_is_nested_is_read_as_deeply_as_a_report_can_hold(tmp_path):
    """A record that is taken can be made a report of, and that one is read."""
    good = json.loads((write_run(tmp_path / "run") / record.RECORD).read_text())
    del good["sha256"]
    taken = 0
    for depth in (1, 10, 17, 18, 50, 98, 99, 400, 900):
        text = json.dumps(good).replace('"known_mistakes"', f'"deep": {"[" * depth}{"]" * depth}, "known_mistakes"')
        (tmp_path / "run" / record.RECORD).write_text(text)
        try:
            found = find([record.read_run(tmp_path / "run")])
        except UserError as error:
            assert "nested too deeply" in str(error)
            continue
        taken += 1
        disk.parse_json(report_files.as_json(found, show(found), title="", claim="", sentences=[], cautions=[]))
    assert taken == 4  # and the record's own two
