"""A folder of one's own, the whole way: what a training says of it first, the split that its run keeps and that gives
the same again, what a resume takes along, and what the page says of leaks and of files that were left out."""

import functools
import json
import sys

import numpy as np
import pytest
from pages import Page
from picture_folders import folder_of, people, some, write

from compare import plan, report, run
from compare.data import dataset
from compare.runs.record import read_run
from compare.system.errors import UserError
from compare.training.preparation import prepare
from pretrained import train as pretrained
from pretrained.recipe import RECIPES as PRETRAINED
from scratch_resnet import loop, model
from scratch_resnet import train as scratch
from scratch_resnet.recipe import RECIPES as SCRATCH

GROUPS = "patient-([0-9]+)"


@pytest.fixture
def narrow(monkeypatch, at_a_glance):
    """A narrow network, and nothing measured."""
    monkeypatch.setattr(loop, "ResNet", functools.partial(model.ResNet, channels=(8, 16, 32, 64)))
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    return monkeypatch


def words(folder, *more):
    return ["--recipe", "tuned", "--data", folder, "--epochs", 2, "--image-size", 8, "--batch-size", 8, *more]


def test_a_run_keeps_its_split_which_gives_the_same_again(narrow, run_main, tmp_path):
    people(tmp_path / "own")
    (tmp_path / "own" / "a" / "bad.png").write_bytes(b"")
    code, out, err = run_main(scratch, *words(tmp_path / "own", "--group-by", GROUPS, "--out", tmp_path / "run"))
    assert code == 0, err
    assert out.splitlines()[0].startswith("own: 120 images of 2 classes, 60 to 60 each; 96 to train on, 0 to validate")
    assert "left out, as they cannot be read: 1 (empty 1); 20 groups" in out.splitlines()[2]
    first = read_run(tmp_path / "run").record
    assert first.data.unreadable == {"empty": 1} and first.data.group_by == GROUPS and first.data.num_leaks is None
    assert f"--group-by '{GROUPS}'" in first.command
    lines = (tmp_path / "run" / "split.csv").read_text().splitlines()
    assert lines[0] == '"file_name","label","split"' and len(lines) == 121
    by_side = {"train": set(), "validation": set(), "test": set()}
    for line in lines[1:]:
        name, _, side = line.strip('"').split('","')
        by_side[side].add(name.partition("_")[0])
    assert all(by_side.values()) and not by_side["train"] & by_side["test"]
    assert not by_side["train"] & by_side["validation"] and sum(map(len, by_side.values())) == 20

    split = tmp_path / "run" / "split.csv"
    code, _, err = run_main(scratch, *words(tmp_path / "own", "--split", split, "--out", tmp_path / "again"))
    assert code == 0, err
    again = read_run(tmp_path / "again").record
    for name in ("fingerprint", "split_fingerprint", "test_labels_fingerprint", "num_train", "num_validation"):
        assert getattr(again.data, name) == getattr(first.data, name)
    assert (tmp_path / "again" / "split.csv").read_bytes() == split.read_bytes()
    assert "--split split.csv" in again.command

    out = tmp_path / "page"
    code, _, err = run_main(report, tmp_path / "run", tmp_path / "again", "--out", out, "--data-dir", tmp_path / "own")
    assert code == 0, err
    page = Page(out / "index.html")
    assert "Files of the folder that could not be read as images, and were left out: 1 (empty 1)." in page.text
    assert page.source.count("data:image/webp") >= 2 and "Trained on test images" not in page.text
    assert GROUPS in page.text


def test_a_run_on_leaks_says_so_on_top_and_a_resume_takes_its_options_along(narrow, run_main, tmp_path):
    images = some(24, 8, 8)
    folder_of(tmp_path / "own", images, [0, 1] * 12, ("a", "b"), "train")
    folder_of(tmp_path / "own", some(8, 8, 8), [0, 1] * 4, ("a", "b"), "test")
    write(tmp_path / "own" / "test" / "a" / "leak.bmp", images[0])
    code, _, err = run_main(scratch, *words(tmp_path / "own", "--out", tmp_path / "run"))
    assert code == 2 and "1 of 9 test images" in err and not (tmp_path / "run").exists()
    end_epoch = loop.Job.end_epoch

    def end_epoch_and_stop(job, **given):
        end_epoch(job, **given)
        raise KeyboardInterrupt

    with narrow.context() as stopped:
        stopped.setattr(loop.Job, "end_epoch", end_epoch_and_stop)
        assert run_main(scratch, *words(tmp_path / "own", "--allow-leaks", "--out", tmp_path / "run"))[0] == 130
    code, _, err = run_main(scratch, "--resume", tmp_path / "run", "--data", tmp_path / "own", "--allow-leaks")
    assert code == 2 and "--resume together with --allow-leaks" in err
    code, _, err = run_main(scratch, "--resume", tmp_path / "run", "--data", tmp_path / "own")
    assert code == 0, err
    record = read_run(tmp_path / "run").record
    assert record.data.num_leaks == 1 and record.command.endswith("--allow-leaks")
    assert run_main(report, tmp_path / "run", "--out", tmp_path / "page", "--data-dir", tmp_path / "own")[0] == 0
    page = Page(tmp_path / "page" / "index.html")
    assert "Trained on test images. 1 of 9 test images are training images as well" in page.text
    assert "1 are also training images" in page.text  # the audit says the same
    said = json.loads((tmp_path / "page" / "report.json").read_text())["runs"][0]
    assert said["data"]["num_leaks"] == 1


def test_both_branches_see_the_same_split(tmp_path, monkeypatch):
    people(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    jobs = []
    for branch, main, recipes in (("scratch_resnet", scratch, SCRATCH), ("pretrained", pretrained, PRETRAINED)):
        for more in ((), ("--labels-per-class", "20")):
            told = ["--recipe", "tuned", "--data", "own", "--group-by", GROUPS, *more]
            monkeypatch.setattr(sys, "argv", [branch, *told])
            jobs.append(prepare(branch, main.parse(), recipes, overrides={"batch_size": "--batch-size"}, words={}))
    assert len({job.record.data.fingerprint for job in jobs}) == 1
    assert jobs[0].recipe.image_size != jobs[2].recipe.image_size
    assert [job.record.data.split_fingerprint for job in jobs[:2]] == [
        job.record.data.split_fingerprint for job in jobs[2:]
    ]


def test_the_main_command_hands_the_options_on(monkeypatch, tmp_path):
    (tmp_path / "split.csv").write_text("")
    told = ["--split", str(tmp_path / "split.csv"), "--group-by", "x", "--unreadable", "refuse", "--allow-leaks"]
    monkeypatch.setattr(sys, "argv", ["run", "--both", "--data", str(tmp_path), *told])
    for training in plan.planned(run.parse()):
        options = plan.by_option(training.words)
        assert options["--group-by"] == ["x"] and options["--unreadable"] == ["refuse"]
        assert options["--split"] == [str(tmp_path / "split.csv")] and options["--allow-leaks"] == []
    assert "--split" in plan.PLACE_WORDS


def test_options_that_are_none_are_refused(monkeypatch):
    for told, says in (
        (["--group-by", "("], "a regular expression of Python's"),
        (["--unreadable", "sikp"], "invalid choice"),
    ):
        monkeypatch.setattr(sys, "argv", ["run", "--both", *told])
        with pytest.raises(UserError, match=says):
            run.parse()


def test_the_report_finds_the_images_of_a_split_that_was_given(narrow, run_main, tmp_path):
    """By the run's own table: the folder alone would hold out others."""
    for row, image in enumerate(some(30, 8, 8)):
        write(tmp_path / "own" / "ab"[row % 2] / f"{row}.png", image)
    split = tmp_path / "mine.csv"
    rows = [f"{'ab'[row % 2]}/{row}.png,{'ab'[row % 2]},{'test' if row > 20 else 'train'}" for row in range(30)]
    split.write_text("\n".join(["file,class,part", *rows]))
    code, _, err = run_main(scratch, *words(tmp_path / "own", "--split", split, "--out", tmp_path / "run"))
    assert code == 0, err
    assert read_run(tmp_path / "run").record.data.num_test == 9
    assert run_main(report, tmp_path / "run", "--out", tmp_path / "page", "--data-dir", tmp_path / "own")[0] == 0
    assert Page(tmp_path / "page" / "index.html").source.count("data:image/webp") >= 2
    assert dataset.load(str(tmp_path / "own")).fingerprint != read_run(tmp_path / "run").record.data.fingerprint
