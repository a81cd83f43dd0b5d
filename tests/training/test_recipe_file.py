"""Recipes out of TOML files: what they give, and what is refused of them."""

import dataclasses
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from compare.page import repeat
from compare.runs.schema import RecipeFile
from compare.system.errors import UserError
from compare.training import recipe_file
from compare.training.options import OVERRIDES
from pretrained import recipe as pretrained_recipe
from pretrained import train as pretrained
from pretrained.backbones import BACKBONES
from scratch_resnet import recipe as scratch_recipe
from scratch_resnet import train as scratch

BRANCHES = {"scratch_resnet": scratch_recipe, "pretrained": pretrained_recipe}
CHOICES = {"backbone": BACKBONES, "weights": ("imagenet", "random")}


def read(folder, text, branch="scratch_resnet", name="mine"):
    """What a file with this text gives a branch."""
    path = folder / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    recipes, file = recipe_file.with_file(BRANCHES[branch].RECIPES, str(path), branch, choices=CHOICES)
    return recipes[str(path)], file


def test_the_file_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found, file = read(tmp_path, text)
    left = {name: value for name, value in scratch_recipe.TUNED.on_photographs.items() if name != "image_size"}
    tuned = dataclasses.replace(scratch_recipe.TUNED, name="mine", on_photographs=left)
    assert found == dataclasses.replace(tuned, image_size=48, num_epochs=20, learning_rate=0.002)
    assert file == RecipeFile(base="tuned", fields={"image_size": 48, "num_epochs": 20, "learning_rate": 0.002})
    found, file = read(tmp_path, text, "pretrained")
    left = {name: value for name, value in pretrained_recipe.FINE_TUNED.on_photographs.items() if name != "image_size"}
    tuned = dataclasses.replace(pretrained_recipe.FINE_TUNED, name="mine", on_photographs=left)
    assert found == dataclasses.replace(tuned, image_size=48, num_unfrozen_epochs=8)
    assert file.base == "fine-tuned"


@pytest.mark.parametrize(
    ("branch", "name"), [(branch, name) for branch, recipes in BRANCHES.items() for name in recipes.RECIPES]
)
def test_every_recipe_can_be_said_in_a_file(tmp_path, branch, name):
    """All of its fields lie in their own intervals; what the page writes of them is read as the same."""
    recipe = BRANCHES[branch].RECIPES[name]
    fields = json.loads(json.dumps(dataclasses.asdict(recipe)))
    del fields["name"]
    lines = [f"{field} = {repeat._toml(value)}" for field, value in fields.items()]
    assert tomllib.loads("\n".join(lines)) == fields
    found, file = read(tmp_path, "\n".join(['base = "article"', *lines]), branch)
    assert found == dataclasses.replace(recipe, name="mine")
    assert file.fields == fields and type(file.fields["learning_rate"]) is float


def test_a_whole_number_is_a_number_and_what_photographs_have_may_be_said(tmp_path):
    found, _ = read(tmp_path, 'base = "tuned"\nlearning_rate = 1\non_photographs = { image_size = 96 }')
    assert type(found.learning_rate) is float and found.on_photographs == {"image_size": 96}
    assert read(tmp_path, 'base = "tuned"\n[on_photographs]\nstandardised = true')[0].on_photographs == {
        "standardised": True
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "says nothing of scratch_resnet"),
        ("[pretrained]\nbase = 'tuned'", "train what it is for: pretrained"),
        ("num_epochs = 3", "has no base for scratch_resnet"),
        ("base = 'tunned'", "one of article, tuned, best, demo"),
        ("base = 3", "base = 3"),
        ("base = 'tuned'\nnum_epoch = 3", "say num_epochs"),
        ("base = 'tuned'\nname = 'x'", "name = 'x', which is not known"),
        ("base = 'tuned'\nbackbone = 'ResNet50'", "put it in the table of the branch that has it"),
        ("base = 'tuned'\n[scratch_resnt]\nnum_epochs = 3", "say scratch_resnet"),
        ("base = 'tuned'\nscratch_resnet = 3", "write it [scratch_resnet]"),
        ("base = 'tuned'\n[num_epochs]\na = 1", "[num_epochs]"),
        ("base = 'tuned'\nnum_epochs = '3'", "a whole number in [1, 10000]"),
        ("base = 'tuned'\nnum_epochs = 3.0", "a whole number in [1, 10000]"),
        ("base = 'tuned'\nnum_epochs = true", "num_epochs = True"),
        ("base = 'tuned'\nvalidation_fraction = 1.0", "a number in [0, 1)"),
        ("base = 'tuned'\nlearning_rate = nan", "a number in (0, 1e100]"),
        ("base = 'tuned'\nlearning_rate = inf", "a number in (0, 1e100]"),
        ("base = 'tuned'\nlearning_rate = 1979-05-27", "a number in (0, 1e100]"),
        ("base = 'tuned'\nhorizontal_flip = 1", "true or false"),
        ("base = 'tuned'\nschedule = 'one-cicle'", "one of constant, one-cycle"),
        ("base = 'tuned'\ndepth = 19", "one of 18, 34, 50, 101, 152"),
        ("base = 'tuned'\ndata = 'photos'", "one of fashion-mnist, digits"),
        ("base = 'tuned'\nknown_mistakes = 'none'", "a list, of which each is a text"),
        ("base = 'tuned'\nknown_mistakes = [\"\\u0007\"]", "control characters"),
        ("base = 'tuned'\non_photographs = 1", "a table of fields"),
        ("base = 'tuned'\n[on_photographs]\nimage_sise = 1", "say image_size"),
        ("base = 'tuned'\n[on_photographs]\nimage_size = 1", "a whole number in [8, 4096]"),
        ("base = 'tuned'\n[on_photographs]\non_photographs = {}", "a table of fields"),
        ("base = 'tuned'\nfit = 'pad'", "for scratch_resnet: recipe mine has a centre_crop"),
        ("base = ", "cannot be read (Invalid value"),
        (b"base = '\xff'", "cannot be read ('utf-8'"),
        ("a = " + "[" * 10_000, "cannot be read"),
        (b"# " + b"x" * 1_000_000, "more than"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path, text, says):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("backbone = 'ResNet5'", "one of ResNet50, "),
        ("weights = '/home/me/own.h5'", "one of imagenet, random"),
        ("penalties = [0.0]", "a list, of which each is a number in (0, 1e100]"),
        ("penalties = []", "lbfgs needs penalties"),
        ("augmented_head = false", "lbfgs in one epoch"),
        ("num_epochs = 0", "trains nothing"),
        ("depth = 34", "depth = 34, which is not known"),
    ],
)
def test_what_is_no_recipe_of_the_pretrained_branch_is_refused(tmp_path, text, says):
    with pytest.raises(UserError) as caught:
        read(tmp_path, f"base = 'tuned'\n{text}", "pretrained")
    assert says in str(caught.value)


def test_it_needs_a_name_of_its_own_and_has_to_be_there(tmp_path):
    with pytest.raises(UserError, match="a name of its own"):
        read(tmp_path, "base = 'tuned'", name="tuned")
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            recipe_file.with_file(scratch_recipe.RECIPES, f"{path}/.toml", "scratch_resnet")


@pytest.mark.parametrize(("branch", "command"), [("scratch_resnet", scratch), ("pretrained", pretrained)])
@pytest.mark.parametrize(
    ("field", "values"),
    {
        "num_epochs": (1, 10_000, 10_001, -1),
        "batch_size": (0, 1, 2**32 - 1, 2**32),
        "image_size": (7, 8, 4096, 4097),
        "learning_rate": (0.0, 1e-9, 1e100, 2e100),
        "class_weights": ("none", "balanced", "some"),
    }.items(),
)
def test_fields_are_held_to_what_the_command_line_is_held_to(tmp_path, monkeypatch, branch, command, field, values):
    assert field in OVERRIDES

    def refuses(call):
        try:
            call()
        except UserError:
            return True
        return False

    for value in values:
        monkeypatch.setattr(sys, "argv", ["train", f"{OVERRIDES[field]}={value}"])
        in_file = refuses(
            lambda value=value: read(tmp_path, f'base = "article"\n{field} = {json.dumps(value)}', branch)
        )
        assert in_file == refuses(command.parse), value


@pytest.mark.parametrize("command", [scratch, pretrained])
def test_a_name_that_there_is_not_is_refused_with_the_nearest(run_main, command):
    code, _, err = run_main(command, "--recipe", "tunde")
    assert code == 2 and "say tuned" in err and "ends with .toml" in err


def test_a_head_at_its_optimum_has_no_learning_rate_to_set(run_main, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("base = 'tuned'\nlearning_rate = 0.1")
    code, _, err = run_main(pretrained, "--recipe", path)
    assert code == 2 and "learning_rate with recipe mine" in err and "put it in [scratch_resnet]" in err
