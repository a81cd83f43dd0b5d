"""The block that repeats a comparison, as a reader copies it from the page."""

import html
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from fake_runs import write_run
from pages import write

from compare import plan, run
from compare.page import repeat
from compare.runs import record

RECIPES = (("scratch_resnet", "tuned", None), ("pretrained", "frozen", "random"))


def copied(page):
    """The commands of the page's first block, as a shell reads them: what ends in a backslash goes on."""
    (block, *_) = re.findall(r'<pre class="copied"[^>]*><code>(.*?)</code>', page.source, re.DOTALL)
    return html.unescape(block).replace("\\\n", "").split("\n")


def trainings_of(lines, monkeypatch):
    """What the block's commands would train, by the command's own parser."""
    found = []
    for line in (line for line in lines if line.startswith("python")):
        program, *words = shlex.split(line, comments=True)
        if words[:2] == ["-m", "compare.run"]:
            monkeypatch.setattr(sys, "argv", [program, *words[2:]])
            found += plan.planned(run.parse())
    return [(one.branch, plan.by_option(one.words)) for one in found]


def test_the_block_trains_what_the_runs_say(tmp_path, monkeypatch):
    """Every labels and seed of two strategies, one of which has a seed less."""
    folders, expected = [], []
    for branch, recipe, weights in RECIPES:
        for labels in (5, 1000):
            for seed in (0, 1, 2)[: 3 - (weights is not None)]:
                words = ["--recipe", recipe, "--seed", str(seed), "--labels-per-class", str(labels)]
                words += ["--weights", weights] if weights else []
                command = shlex.join(["python", "-m", f"{branch}.train", *words, "--subset-seed", str(seed)])
                folders.append(
                    write_run(
                        tmp_path / "runs" / f"{branch}-{labels}-{seed}",
                        branch=branch,
                        recipe=recipe,
                        weights=weights,
                        seed=seed,
                        labels=labels,
                        changes={"command": command},
                    )
                )
                expected.append((branch, plan.by_option(words)))
    lines = copied(write(tmp_path / "out", *folders))
    found = trainings_of(lines, monkeypatch)
    assert sorted(map(repr, map(sorted_options, found))) == sorted(map(repr, map(sorted_options, expected)))
    assert sum("compare.run" in line for line in lines) == 2  # and what they leave, together
    assert "python -m compare.report reports/again-*/runs/* --out reports/again" in lines
    one = record.read_run(folders[-1]).record
    text = "\n".join(lines)
    assert f"git checkout {one.commit}" in text and "numpy==2.4.6" in text and "keras==3.15.1" in text
    assert one.data.fingerprint in text and one.weights.sha256 in text
    assert repeat.page_alone(folders) == "python -m compare.report runs/*"
    assert repeat.page_alone(folders[:5]).count("runs/") == 5


def sorted_options(training):
    branch, options = training
    return branch, sorted(options.items())


def test_what_several_processes_trained_is_repeated_by_one_and_that_is_said(tmp_path, monkeypatch):
    words = ["--recipe", "tuned", "--seed", "2"]
    command = shlex.join(["torchrun", "--nproc-per-node=4", "-m", "scratch_resnet.train", *words])
    run_folder = write_run(tmp_path / "run", changes={"command": command, "num_processes": 4})
    lines = copied(write(tmp_path / "out", run_folder))
    ((branch, options),) = trainings_of(lines, monkeypatch)
    assert branch == "scratch_resnet" and plan.by_option(words).items() <= options.items()
    assert any(line.startswith("# computed on cpu") and "by 4 processes together" in line for line in lines)


def test_the_block_clones_from_where_the_runs_source_was_cloned(tmp_path):
    address = "https://example.org/a/b.git"
    lines = copied(write(tmp_path / "out", write_run(tmp_path / "run", changes={"repository": address})))
    assert lines[0] == f"git clone {address} scratch-or-pretrained && cd scratch-or-pretrained"


def test_what_no_command_trained_is_said(tmp_path):
    lines = copied(write(tmp_path / "out", write_run(tmp_path / "forest", branch="forest", changes={"command": "x"})))
    assert "# forest: another program's, which tells no command" in lines
    assert not any("compare.run" in line for line in lines)


@pytest.mark.parametrize("words", ["--seed", "--seed abc", "--labels-per-class", "--labels-per-class 1,2", "--note 'x"])
def test_what_no_command_of_ours_would_take_is_said(tmp_path, words):
    changes = {"command": f"python -m scratch_resnet.train {words}"}
    lines = copied(write(tmp_path / "out", write_run(tmp_path / "run", changes=changes)))
    assert "# ResNet-18 · from scratch: another program's, which tells no command" in lines


def test_the_command_passes_its_own_check(tmp_path):
    """The digits are at hand, and nothing is trained."""
    page = write(tmp_path / "page", write_run(tmp_path / "a", data="digits", recipe="demo"))
    (line,) = (line for line in copied(page) if "compare.run" in line)
    _, *words = shlex.split(line)
    done = subprocess.run(
        [sys.executable, *words, "--check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ("--data-dir /home/me/pictures --recipe a --seed 3", "--data-dir pictures"),
        ("--recipe a --seed 3 --allow-leaks", "--allow-leaks"),
    ],
)
def test_it_tells_no_place_of_who_made_it(tmp_path, commands, said):
    command = f"python -m scratch_resnet.train {commands}"
    lines = copied(write(tmp_path / "out", write_run(tmp_path / "a", changes={"command": command})))
    assert "/home" not in "\n".join(lines) and any(said in line and "--seeds 3" in line for line in lines)


def test_recipe_files_are_written_out_as_the_runs_had_them(tmp_path, monkeypatch):
    """Both branches' parts in one file; what was changed between two runs in another. A shell writes them, and the
    commands take them."""
    folders, files = [], [("scratch_resnet", 32), ("pretrained", 32), ("scratch_resnet", 48)]
    for number, (branch, size) in enumerate(files):
        fields = {"image_size": size, "known_mistakes": ["it's\nEND\n$HOME"], "a b": {"x": 1e-05, "y": True}}
        changes = {
            "command": f"python -m {branch}.train --recipe mine.toml --seed {number}",
            "recipe_file": {"base": "tuned", "fields": fields},
        }
        folders.append(write_run(tmp_path / str(number), branch=branch, recipe="mine", seed=number, changes=changes))
    lines = copied(write(tmp_path / "out", *folders))
    written = "\n".join(lines[: next(at for at, line in enumerate(lines) if "compare.run" in line)])
    script = written[written.index("cat >") :]
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    read = {name: tomllib.loads((tmp_path / name).read_text(encoding="utf-8")) for name in ("mine.toml", "mine-2.toml")}
    said = {"base": "tuned", "known_mistakes": ["it's\nEND\n$HOME"], "a b": {"x": 1e-05, "y": True}}
    assert read["mine.toml"] == {branch: said | {"image_size": 32} for branch in ("scratch_resnet", "pretrained")}
    assert read["mine-2.toml"] == {"scratch_resnet": said | {"image_size": 48}}
    monkeypatch.chdir(tmp_path)
    found = [(branch, options["--recipe"], options["--seed"]) for branch, options in trainings_of(lines, monkeypatch)]
    assert sorted(found) == [
        ("pretrained", [str(tmp_path / "mine.toml")], ["1"]),
        ("scratch_resnet", [str(tmp_path / "mine-2.toml")], ["2"]),
        ("scratch_resnet", [str(tmp_path / "mine.toml")], ["0"]),
    ]


def test_a_recipe_file_is_written_nowhere_but_here(tmp_path):
    changes = {
        "command": "python -m scratch_resnet.train --recipe x.toml",
        "recipe_file": {"base": "tuned", "fields": {"x\nEND\nrm -rf ~": None}},
    }
    lines = copied(write(tmp_path / "out", write_run(tmp_path / "a", recipe="../../home/$(me)", changes=changes)))
    assert "cat > home-me.toml << 'END'" in lines and lines.count("END") == 1
    assert not any("rm -rf" in line and not line.startswith('"') for line in lines)
