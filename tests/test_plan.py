"""What is made of the words of the main command: names, order, products, limits, refusals; nothing is started."""

import json
import re
import sys
import typing

import pytest

from compare import plan, plan_file, run
from compare.system.errors import UserError
from compare.training import options
from scratch_resnet import recipe


def planned(monkeypatch, *words) -> list[plan.Training]:
    """The plan that these words make."""
    monkeypatch.setattr(sys, "argv", ["compare.run", *words])
    return plan.planned(run.parse())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--both"], ["scratch_resnet", "pretrained"]),
        (["--run", "scratch_resnet --recipe tuned", "--run", "pretrained"], ["scratch_resnet", "pretrained"]),
        (
            ["--run", "scratch_resnet", "--run", "scratch_resnet --recipe tuned --depth 34"],
            ["scratch_resnet", "scratch_resnet-tuned-depth-34"],
        ),
        (
            [
                "--run",
                "pretrained --backbone EfficientNetV2B0 --unfreeze backbone",
                "--run",
                "pretrained --recipe tuned",
            ],
            ["pretrained-EfficientNetV2B0-unfreeze-backbone", "pretrained-tuned"],
        ),
        (
            ["--both", "--vary", "image-size=32,64", "--seeds", "3,0"],
            [
                f"{branch}-image-size-{size}-seed-{seed}"
                for seed in (3, 0)
                for branch in ("scratch_resnet", "pretrained")
                for size in (32, 64)
            ],
        ),
        (
            ["--scratch", "--vary", "recipe=article,tuned", "--vary", "epochs=1,2"],
            [f"scratch_resnet-{recipe}-epochs-{epochs}" for recipe in ("article", "tuned") for epochs in (1, 2)],
        ),
        (
            ["--run", "pretrained --weights a/b:c.h5", "--run", "pretrained --weights 权重.h5"],
            ["pretrained-weights-b-c.h5", "pretrained-weights-权重.h5"],
        ),
        # what no name can tell apart
        (["--scratch", "--vary", "odd=a?,a!,A?"], [f"scratch_resnet-odd-{end}" for end in ("a", "a-2", "A-3")]),
        (
            ["--scratch", "--vary", f"odd={'x' * 99}1,{'x' * 99}2"],
            [f"scratch_resnet-odd-{'x' * 41}", f"scratch_resnet-odd-{'x' * 41}-2"],
        ),
    ],
)
def test_names(monkeypatch, tmp_path, words, expected):
    """They are folders' names, of which no two differ in capitals alone, and what is kept is read again."""
    trainings = planned(monkeypatch, *words)
    assert [training.name for training in trainings] == expected
    plan_file.write(tmp_path, "name", trainings)
    assert plan_file.read(tmp_path) == ("name", trainings, {})
    for training in trainings:
        (tmp_path / training.name).mkdir()


def test_words_of_its_own_come_before_what_all_are_told(monkeypatch):
    """And what is varied before both."""
    words = ["--run", "pretrained --recipe best --image-size=48", "--recipe", "tuned", "--seed", "4", "--epochs", "2"]
    (training,) = planned(monkeypatch, *words)
    assert training.words == ("--recipe", "best", "--seed", "4", "--epochs", "2", "--image-size", "48")
    small, large = planned(monkeypatch, *words, "--vary", "image-size=32,64")
    assert small.words[-2:] == ("--image-size", "32") and large.words[:-1] == training.words[:-1]
    assert small.variant != large.variant and "--seed" not in small.variant


def test_places_are_kept_by_their_full_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("photos", "digits"):
        (tmp_path / name).mkdir()
    for given, kept in (("photos", tmp_path / "photos"), ("~/photos", tmp_path / "photos"), ("digits", "digits")):
        for words in (["--scratch", "--data", given], ["--run", f"scratch_resnet --data '{given}'"]):
            assert planned(monkeypatch, *words)[0].words == ("--data", str(kept))


def test_a_package_of_ones_own_is_a_branch_if_it_has_a_module_train(monkeypatch, tmp_path):
    """It is found, and not imported."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, module in (("third_branch", "train"), ("no_branch", "test")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{module}.py").write_text("raise RuntimeError")
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError")
    first, _ = planned(monkeypatch, "--run", "third_branch --depth 7", "--run", "scratch_resnet", "--device", "cpu")
    assert first == plan.Training("third_branch", "third_branch", ("--device", "cpu", "--depth", "7"))
    assert not {"third_branch", "no_branch"} & set(sys.modules)
    with pytest.raises(UserError, match="no package 'no_branch' with a module train"):
        planned(monkeypatch, "--run", "no_branch")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--run", ""], "no package ''"),
        (["--run", "keras --recipe tuned"], "no package 'keras'"),
        (["--run", "compare.runs"], "no package 'compare.runs'"),
        (["--run", "pretrained --weights 'a b"], "No closing quotation"),
        (["--run", "pretrained --epochs 1 --epochs 2"], "--epochs twice"),
        (["--run", "pretrained --out here"], "--out in --run"),
        (["--run", "pretrained --check"], "--check in --run"),
        (["--run", "pretrained\x1b"], "control characters"),
        (["--run", "pretrained --seed 1", "--seeds", "1,2"], "--seed together with --seeds"),
        (["--run", "pretrained", "--run", "pretrained"], "twice the same training: pretrained"),
        (["--run", "pretrained --recipe demo --epochs 1", "--run", "pretrained --epochs=1 --recipe=demo"], "twice"),
        (["--run", "pretrained", "--run", "scratch_resnet", "--learning-rate", "1"], "for both branches"),
        (["--both", "--vary", "image-size"], "--vary image-size"),
        (["--both", "--vary", "--image-size=32"], "expected one argument"),
        (["--both", "--vary", "image-size=32,,64"], "each once"),
        (["--both", "--vary", "image-size=32,32"], "each once"),
        (["--both", "--vary", "seed=1,2"], "say --seeds"),
        (["--both", "--vary", "out=a,b"], "--vary out=a,b"),
        (["--both", "--vary", "epochs=1", "--vary", "epochs=2"], "--vary twice"),
        (["--both", "--vary", "data=digits,fashion-mnist"], "several --data"),
        (
            ["--both", "--vary", f"epochs={','.join(map(str, range(1, 99)))}", "--seeds", "0,1"],
            "a plan of 392 trainings",
        ),
    ],
)
def test_what_is_no_plan_is_refused(monkeypatch, words, says):
    with pytest.raises(UserError, match=re.escape(says)):
        planned(monkeypatch, *words)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3},
        {"more": 1},
        {"name": None},
        {"trainings": []},
        {"trainings": [{"name": "../up", "branch": "pretrained", "words": []}]},
        {"trainings": [{"name": "a", "branch": "json", "words": []}]},
        {"trainings": [{"name": "a", "branch": "pretrained", "words": "--seed"}]},
        {"trainings": [{"name": "a", "branch": "pretrained", "words": [1]}]},
        {"trainings": [{"name": one, "branch": "pretrained", "words": []} for one in "aA"]},
        {"recipes": {"../up.toml": ""}},
        {"recipes": {"record.json": ""}},
        {"recipes": {"mine.toml": 1}},
        {"recipes": ["mine.toml"]},
        {"trainings": [{"name": str(one), "branch": "pretrained", "words": []} for one in range(301)]},
    ],
)
def test_what_was_asked_for_is_read_strictly(tmp_path, change):
    content = plan_file.as_json("n", [plan.Training("pretrained", "pretrained", ())]) | change
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="holds no comparison to go on with"):
        plan_file.read(tmp_path)


def test_depths_are_those_that_there_are():
    assert options.DEPTHS == typing.get_args(recipe.Depth)


def test_recipe_files_keep_their_place_and_name_their_trainings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "other/mine.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('base = "tuned"')
    for words in (["--scratch", "--recipe", "mine.toml"], ["--run", "scratch_resnet --recipe mine.toml"]):
        (one,) = planned(monkeypatch, *words)
        assert one.words == ("--recipe", str(tmp_path / "mine.toml"))
    trainings = planned(monkeypatch, "--scratch", "--vary", "recipe=mine.toml,tuned")
    assert [one.name for one in trainings] == ["scratch_resnet-mine", "scratch_resnet-tuned"]
    assert plan_file.recipes_of(trainings) == {"mine.toml": 'base = "tuned"'}
    for values, says in (
        ("mine.toml,other/mine.toml", "which are called alike"),
        ("none.toml", "none.toml cannot be read"),
        ("-x!.toml", "letters, digits"),
    ):
        with pytest.raises(UserError, match=says):
            plan_file.recipes_of(planned(monkeypatch, "--scratch", "--vary", f"recipe={values}"))


def test_a_label_curve_is_three_strategies_at_every_number_of_labels(monkeypatch):
    trainings = planned(monkeypatch, "--label-curve", "--labels-per-class", "all,5", "--seeds", "1")
    assert [(one.branch, *one.words) for one in trainings] == [
        (branch, "--recipe", recipe, "--labels-per-class", labels, "--seed", "1")
        for branch, recipe in (("scratch_resnet", "tuned"), ("pretrained", "frozen"), ("pretrained", "fine-tuned"))
        for labels in ("all", "5")
    ]
    assert len({one.name for one in trainings}) == 6
    assert len(planned(monkeypatch, "--label-curve")) == 3 * 7 * 3
    recipes = {one.words[1] for one in planned(monkeypatch, "--label-curve", "--demo")}
    assert recipes == {"demo", "demo-fine-tuned"} and len(planned(monkeypatch, "--label-curve", "--demo")) == 3 * 3


def test_a_label_curve_has_recipes_of_its_own(monkeypatch):
    with pytest.raises(UserError, match="--label-curve together with --recipe article"):
        planned(monkeypatch, "--label-curve", "--recipe", "article")


@pytest.mark.parametrize("words", ["--labels-per-class", "--labels-per-class few", "--labels-per-class 1 2"])
def test_labels_that_are_none_are_left_to_the_branch(words):
    one = plan.Training("one", "scratch_resnet", tuple(words.split()))
    assert one.labels is None and one.strategy == ("scratch_resnet", *words.split())
    assert plan.Training("one", "scratch_resnet", ("--labels-per-class", "5")).strategy == ("scratch_resnet",)
