"""Before the first minute of training: everything is checked, and the command line becomes a `Job`, new or resumed."""

import argparse
import dataclasses
import datetime
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.data import corruptions, dataset
from compare.runs import checkpoint, out_folder, record
from compare.runs.schema import Data, RecipeFile, Record, Robustness
from compare.system import environment, machine, processes
from compare.system.errors import UserError
from compare.training import crops, trackers
from compare.training.job import UNDER_WAY, Job, subset
from compare.training.options import ANEW_FOR_EPOCHS, DEFAULT_RECIPE, DEFAULT_SEED, RECIPE_ENDING
from compare.training.recipe import AnyRecipe

SAME_VERSIONS = ("torch", "keras", "tensorflow", "jax", "numpy", "scipy")  # major and minor, from beginning to end


def prepare(
    branch: str,
    arguments: argparse.Namespace,
    recipes: Mapping[str, AnyRecipe],
    *,
    overrides: dict[str, str],
    words: dict[str, str],
    recipe_file: RecipeFile | None = None,
) -> Job[AnyRecipe]:
    """Check everything that needs no framework and bring it together.

    Args:
        arguments: what `options.add_branch_options` parsed.
        recipes: by the words that choose them.
        overrides: the recipe's fields that the command line can change, and their options.
        words: further words of the branch's command line that a repetition needs.
        recipe_file: what the file says that the recipe came from, if it did.

    Raises:
        UserError: a check failed; nothing was written.
    """
    started, load = time.perf_counter(), environment.Load()
    trackers.check(arguments.log)
    overrides = overrides | {"data": "--data"}
    changes = {name: value for name in overrides if (value := getattr(arguments, name)) is not None}
    for name, value in changes.items():
        if isinstance(value, str):  # a record keeps the name of a file, not where it lay
            changes[name] = os.path.basename(os.path.abspath(value))
    if arguments.resume is not None:
        folder = arguments.resume
        check_resumed_alone(arguments, {overrides[name]: value for name, value in changes.items()})
        arrays, so_far = checkpoint.read(folder, branch)
        check_same_versions(folder, so_far.versions)
        check_same_program(folder, so_far)
        labels_per_class, subset_seed = so_far.data.labels_per_class, so_far.data.subset_seed
        group_by, allow_leaks = so_far.data.group_by, bool(so_far.data.num_leaks)  # allowed then, or there are none
        recipe, seed = recipe_so_far(folder, so_far, type(recipes[DEFAULT_RECIPE])), so_far.seed or DEFAULT_SEED
    else:
        recipe = dataclasses.replace(recipes[arguments.recipe or DEFAULT_RECIPE], **changes)
        seed = DEFAULT_SEED if arguments.seed is None else arguments.seed
        labels_per_class, subset_seed = subset_asked(arguments, seed)
        group_by, allow_leaks = arguments.group_by, arguments.allow_leaks
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        place = out_folder.unshared(Path("reports", f"{branch}-{recipe.name}-{now}"))
        folder = arguments.out or place / "runs" / branch
        out_folder.check(folder, num_bytes=0)  # how many the run needs, its branch knows once it has the network
        arrays, so_far = {}, None

    others = {name: value for name, value in recipe.on_photographs.items() if name not in changes}
    recipe, on_photographs = (dataclasses.replace(recipe, on_photographs={}, **fields) for fields in ({}, others))
    data = dataset.load(
        arguments.data or recipe.data,
        arguments.data_dir,
        image_size=recipe.image_size,
        photograph_size=crops.side_to_decode(on_photographs),
        fit=recipe.fit,
        split=arguments.split,
        group_by=group_by,
        unreadable=arguments.unreadable,
        allow_leaks=allow_leaks,
    )
    recipe = on_photographs if data.are_photographs else recipe
    if not data.mirror_alike:
        mirrors = [name for name in ("horizontal_flip", "mirrored_predictions") if getattr(recipe, name, False)]
        others = dict.fromkeys(mirrors, False)
        recipe = dataclasses.replace(recipe, **others)
    recipe, train_rows, validation_rows = subset(
        data, recipe, labels_per_class=labels_per_class, subset_seed=subset_seed, batch_asked=changes.get("batch_size")
    )
    split_name = None if arguments.split is None else arguments.split.name
    said = {"--split": split_name, "--group-by": group_by, "--unreadable": arguments.unreadable}
    said |= {"--labels-per-class": labels_per_class, "--subset-seed": subset_seed}
    recipe_word = recipe.name if recipe_file is None else recipe.name + RECIPE_ENDING
    options = {"--recipe": recipe_word, "--seed": seed, **{overrides[name]: changes[name] for name in changes}}
    options |= {option: value for option, value in said.items() if value is not None} | words
    command = [str(word) for option in options.items() for word in option]
    new = record.start_record(
        branch=branch,
        command=command + ["--allow-leaks"] * allow_leaks + ["--robustness"] * arguments.robustness,
        recipe=recipe,
        num_epochs=recipe.num_epochs_in_all,
        overrides=changes,
        seed=seed,
        dataset=data,
        split=(train_rows, validation_rows),
        labels_per_class=labels_per_class,
        subset_seed=subset_seed,
        recipe_file=recipe_file,
    )
    if arguments.robustness:
        num_images = min(corruptions.NUM_IMAGES, len(data.test_labels))
        strengths = {kind: list(amounts) for kind, amounts in corruptions.STRENGTHS.items()}
        new.robustness = Robustness(strengths=strengths, num_images=num_images)
    if so_far is not None:
        check_same_data(folder, so_far.data, new.data)
        if environment.THREADS not in os.environ:
            os.environ[environment.THREADS] = str(so_far.num_threads or load.num_threads())  # as it was begun
    new.num_threads, new.environment = load.num_threads(), environment.recorded()
    environment.compute_with(new.num_threads)
    record.check_readable((so_far or new).as_json())
    job = Job(
        folder=folder,
        recipe=recipe,
        record=so_far or new,
        checkpoint=None if so_far is None else arrays,
        under_way={name.removeprefix(UNDER_WAY): array for name, array in arrays.items() if UNDER_WAY in name},
        data=data,
        train_rows=train_rows,
        validation_rows=validation_rows,
        started=started,
        is_unnamed=arguments.resume is None and arguments.out is None,
        tracker=trackers.Tracker(arguments.log if processes.is_first() else None),
    )
    launcher = " ".join(processes.launcher(job.record.num_processes))
    job.check_same("num_processes", new.num_processes, advice=f"resume it with {launcher} {branch}.train")
    job.check_same("num_threads", new.num_threads, advice=f"unset {environment.THREADS}, or set it to that")
    job.check_same("environment", new.environment, advice="set these variables as they were")
    return job


def subset_asked(arguments: argparse.Namespace, seed: int) -> tuple[int | None, int | None]:
    """How many labels of every class the command line asks for, and by which seed they are drawn; None for all.

    Raises:
        UserError: a seed for what is not drawn.
    """
    if arguments.labels_per_class is None and arguments.subset_seed is not None:
        raise UserError(
            f"--subset-seed {arguments.subset_seed}, and all labels are taken",
            "it with --labels-per-class N, whose images it draws",
            "leave it out, or say how many labels of every class to take",
        )
    if arguments.labels_per_class in (None, "all"):
        return None, None
    return arguments.labels_per_class, seed if arguments.subset_seed is None else arguments.subset_seed


def check_resumed_alone(arguments: argparse.Namespace, changes: dict[str, Any]) -> None:
    """Refuse words that would change a run which is gone on with; data and weights may have moved."""
    words = {option: value for option, value in changes.items() if option not in ("--weights", "--data")}
    names = ("recipe", "seed", "out", "labels_per_class", "subset_seed", "group_by", "unreadable")
    chosen = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in names}
    words |= {option: value for option, value in chosen.items() if value is not None}
    flags = ["--robustness"] * arguments.robustness + ["--allow-leaks"] * arguments.allow_leaks
    if words or flags:
        said = [f"{option} {value}" for option, value in words.items()] + flags
        advice = "leave the others out, or start a new run"
        if "--epochs" in words:
            advice = ANEW_FOR_EPOCHS.format(value=words["--epochs"])
        raise UserError(
            f"--resume together with {', '.join(said)}", f"--resume alone: {begun_with(arguments.resume)}", advice
        )


def recipe_so_far(folder: Path, begun: Record, kind: type[AnyRecipe]) -> AnyRecipe:
    """The recipe, of that kind, by which the run in `folder` was begun; a version's with other fields is refused."""
    fields = begun.recipe.as_json()
    fields |= {name: tuple(one) for name, one in fields.items() if isinstance(one, list)}
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the run in {folder} was begun with a recipe of other fields ({error})",
            "a run of this version",
            "resume it with the version that began it, or start anew",
        ) from error


def begun_with(folder: Path) -> str:
    """What the run in `folder` keeps, in words."""
    if (folder / record.RECORD).exists():
        return f"{folder} holds a complete run"
    begun = checkpoint.read_unfinished_run(folder).record
    if begun is None:
        return "an unfinished run keeps its recipe, its changes and its folder"
    kept = [f"{name} {value}" for name, value in begun.overrides.items()]
    kept += ["robustness"] if begun.robustness else []
    said = ", ".join([f"seed {begun.seed}", *kept])
    return f"the run in {folder} keeps what it was begun with, recipe {begun.recipe.name}, {said}"


def check_same_versions(folder: Path, begun: dict[str, str]) -> None:
    """Refuse to go on with other versions, but for patches: their numbers may differ."""
    here = machine.versions(*SAME_VERSIONS)
    others = [name for name in SAME_VERSIONS if name in begun and _minor(begun[name]) != _minor(here.get(name, "none"))]
    if others:
        now, then = ([f"{name} {versions.get(name, 'none')}" for name in others] for versions in (here, begun))
        wanted = " ".join(f"{name}=={_minor(begun[name])}.*" for name in others)
        raise UserError(
            f"here is {', '.join(now)}, and the run in {folder} was begun with {', '.join(then)}",
            "the same versions to the end, up to the second number",
            f"install them (pip install {wanted}), or start anew",
        )


def check_same_data(folder: Path, begun: Data, here: Data) -> None:
    """Refuse to go on with other data, and name what is not the same."""
    others = [name for name in Data.model_fields if getattr(begun, name) != getattr(here, name)]
    if others:
        now, then = (", ".join(f"{name} {str(getattr(one, name))[:60]}" for name in others) for one in (here, begun))
        raise UserError(
            f"the data found here has {now}, and the run in {folder} began with {then}",
            "the same images, labels and split",
            "name the folder of the same data with --data-dir",
        )


def check_same_program(folder: Path, begun: Record) -> None:
    """Refuse to go on by other rules than those by which the run began."""
    if begun.source not in (None, machine.source_sha256()):
        then = f"commit {begun.commit[:12]}" if begun.commit else "another version"
        raise UserError(
            f"the program has changed since the run in {folder} was begun, with {then}",
            "the same program to the end",
            "go back to that version (git checkout COMMIT), resume the run and return; or start anew",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
