"""Train the article's ResNet-18, or a deeper one, from scratch: `python -m scratch_resnet.train`.

What each recipe takes and gives stands in `recipe.py`, the loop itself in `loop.py`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system import processes
from compare.system.command import Parser, place
from compare.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UserError
from compare.training.options import DEFAULT_RECIPE, OVERRIDES, add_branch_options, add_depth_option
from compare.training.stopping import run_training
from scratch_resnet.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    import numpy as np
    import torch

    from compare.runs.schema import RecipeFile, Record
    from compare.training.job import Job
    from compare.training.looking import Looked
    from scratch_resnet.batches import Batches
    from scratch_resnet.model import ResNet

EXAMPLES = """examples:
  python -m scratch_resnet.train --demo                      a minute, to see it work
  python -m scratch_resnet.train                             the article's training
  python -m scratch_resnet.train --epochs 1 --device cuda:1  one epoch on the second GPU
  python -m scratch_resnet.train --recipe tuned --depth 50   the network of fifty layers
  python -m scratch_resnet.train --recipe tuned --find-learning-rate rates.png  which learning rate, in a minute
  python -m scratch_resnet.train --resume DIR                go on with an interrupted run
  torchrun --nproc-per-node=4 -m scratch_resnet.train        the same training by four GPUs together
"""
SMALLER = "the batch (--batch-size) or the images (--image-size)"  # what to make so when memory runs out


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m scratch_resnet.train",
        description="Train the article's ResNet-18 from scratch, in PyTorch.",
        epilog=EXAMPLES,
    )
    add_branch_options(parser, recipes=list(RECIPES))
    network = parser.add_argument_group("network")
    add_depth_option(network)
    network.add_argument("--describe", action="store_true", help="print the network's shapes at 1×1×224×224, and stop")
    words = "try learning rates for a minute on a network that is thrown away, draw the losses, suggest one, and stop"
    network.add_argument("--find-learning-rate", type=place, metavar="PNG", help=words)
    return parser.parse_args()


def main() -> int:
    """Parse, check, train."""
    arguments = parse()

    from compare.training import range_test, recipe_file

    recipes, file = recipe_file.with_file(RECIPES, arguments.recipe, "scratch_resnet")
    if arguments.describe:
        return describe(arguments.depth or recipes[arguments.recipe or DEFAULT_RECIPE].depth)
    if arguments.find_learning_rate is not None:
        if arguments.resume is not None or processes.num_together() > 1:
            raise UserError(
                "--find-learning-rate together with " + ("--resume" if arguments.resume is not None else "torchrun"),
                "it before a training begins, and by one process",
                "leave that out: a run keeps its learning rate to the end, whoever trains it",
            )
        range_test.check_place(arguments.find_learning_rate)
        job = prepared(arguments, recipes, file)
        return find_learning_rate(job, device_name=arguments.device, picture=arguments.find_learning_rate)
    if processes.num_together() == 1:
        return train(prepared(arguments, recipes, file), device_name=arguments.device, check_only=arguments.check)

    from scratch_resnet import several

    with several.together():
        job = several.in_turn(lambda: prepared(arguments, recipes, file))
        job.total = several.total
        return train(job, device_name=arguments.device, check_only=arguments.check)


def prepared(arguments: argparse.Namespace, recipes: dict[str, Recipe], file: "RecipeFile | None") -> "Job[Recipe]":
    """The training that the command line asks for, checked, by one of `recipes`, which may be of a file."""
    from compare.training.preparation import prepare

    job = prepare(
        "scratch_resnet",
        arguments,
        recipes,
        overrides=OVERRIDES | {"depth": "--depth"},
        words={"--device": arguments.device} if arguments.device != "auto" else {},
        recipe_file=file,
    )
    launcher = " ".join(processes.launcher(job.record.num_processes))
    job.check_same("num_processes", processes.num_together(), advice=f"resume it with {launcher} scratch_resnet.train")
    return job


def num_bytes(recipe: Recipe, *, num_classes: int, num_channels: int) -> int:
    """The room on disk that a run needs: two checkpoints of twelve bytes a parameter and a third that replaces one, and
    the weights."""
    import torch

    from scratch_resnet import loop, model

    with torch.device("meta") as nowhere:  # shapes alone
        network = loop.new_model(num_classes, num_channels=num_channels, recipe=recipe, seed=0, device=nowhere)
    return (3 * 12 + 4) * model.num_parameters(network)


def train(job: "Job[Recipe]", *, device_name: str, check_only: bool) -> int:
    """Train what `job` holds to a complete run in its folder."""
    from compare.runs.record import readable
    from compare.training.limits import limits_in_words
    from scratch_resnet import hardware, loop, several

    recipe, num_classes, num_channels = job.recipe, len(job.data.class_names), job.data.train_images.shape[3]
    job.check_room(num_bytes(recipe, num_classes=num_classes, num_channels=num_channels))
    device = hardware.choose_device(device_name)
    precision = hardware.precision(recipe, device)
    job.check_same("precision", precision)
    hardware.keep_freed_memory()
    with limits_in_words(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
        train_batches, watched_batches, test_batches = batches_of(job, device)
        check_last_batch(job)

    def measure() -> "Callable[[Job[Recipe]], list[np.ndarray]]":
        with limits_in_words(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
            training, predicting = loop.seconds_an_image(train_batches, num_classes, recipe=recipe)

        def seconds_of(one: "Job[Recipe]") -> "list[np.ndarray]":
            check_last_batch(one)
            return loop.seconds_expected(one, training=training, predicting=predicting)

        return seconds_of

    job.announce(
        measure,
        how=f"batches of {recipe.batch_size}{job.repeats_in_words(recipe.num_epochs)}, learning rate "
        f"{recipe.learning_rate:g}, {recipe.schedule}" + ", classes weighted" * (job.class_weights is not None),
        where=f"{device} ({hardware.device_name(device)}) in {precision}",
    )
    if check_only:
        return EXIT_DONE

    model = loop.new_model(num_classes, num_channels=num_channels, recipe=recipe, seed=job.seed, device=device)
    optimizer = loop.new_optimizer(model, recipe)
    if job.checkpoint is not None:
        loop.restore(model, optimizer, job.checkpoint)
    with readable():
        note_facts(job.record, model, recipe, device)
    gpu = device.index or 0 if device.type == "cuda" else None
    in_words = limits_in_words(recipe, exit_code=EXIT_FAILED, smaller=SMALLER)
    with job.running(gpu), several.loss_in_words(exit_code=EXIT_FAILED), in_words:
        if job.checkpoint is None:
            job.write_checkpoint(loop.checkpoint_arrays(model, optimizer))
        logits = loop.train_epochs(job, model, optimizer, train_batches=train_batches, watched_batches=watched_batches)
        several.leave()
        if processes.is_first():  # what is left takes less than an epoch
            end(job, model, logits, train_batches=train_batches, test_batches=test_batches)
    return EXIT_DONE


def find_learning_rate(job: "Job[Recipe]", *, device_name: str, picture: Path) -> int:
    """Try learning rates on the network that `job` would train, and suggest one (`compare.training.range_test`)."""
    from compare.training import range_test
    from compare.training.limits import limits_in_words
    from scratch_resnet import hardware, loop

    recipe, device = job.recipe, hardware.choose_device(device_name)
    hardware.keep_freed_memory()
    job.journal.line(
        f"trying learning rates from {range_test.LOWEST:g} to {range_test.HIGHEST:g} on {job.data.title} at "
        f"{recipe.image_size}×{recipe.image_size}, {range_test.NUM_STEPS} steps of {recipe.batch_size} images"
    )
    with limits_in_words(recipe, exit_code=EXIT_FAILED, smaller=SMALLER):
        train_batches, _, _ = batches_of(job, device)
        check_last_batch(job)
        step = loop.trial_step(
            train_batches,
            len(job.data.class_names),
            recipe=recipe,
            seed=job.seed,
            class_weights=loop.weights_of_classes(job, device),
        )
        rates, losses = range_test.try_rates(step)
    rate = range_test.suggested(rates, losses)
    title = f"{recipe.network} from scratch on {job.data.title}, recipe {recipe.name}"
    range_test.draw(picture, rates, losses, title=title, planned=recipe.learning_rate)
    job.journal.line(
        f"suggested: --learning-rate {rate:g}, a tenth of where the loss is back where it began; the recipe has "
        f"{recipe.learning_rate:g} ({recipe.schedule}). {picture} shows the losses; nothing else was kept"
    )
    return EXIT_DONE


def check_last_batch(job: "Job[Recipe]") -> None:
    """Refuse an epoch whose last batch is one image that has become one pixel.

    Raises:
        UserError: it would be.
    """
    recipe, num_images = job.recipe, len(job.rows_of_epoch(job.recipe.num_epochs))
    if (num_images % recipe.batch_size or recipe.batch_size) == 1 and recipe.image_size <= 32:
        raise UserError(
            f"{num_images:,} images in batches of {recipe.batch_size}: one batch is a single image",
            "two or more: up to 32×32 the last feature map is 1×1, and one value has no variance to normalise by",
            "choose another --batch-size, or an --image-size above 32",
        )


def batches_of(job: "Job[Recipe]", device: "torch.device") -> "tuple[Batches, Batches | None, Batches]":
    """The images to train on, those that are watched, if any are, and those of the test set, as `Batches`."""
    from scratch_resnet.batches import Batches

    data = job.data
    rows = job.rows_of_epoch(job.recipe.num_epochs)
    train = Batches(data.train_images, data.train_labels, rows=rows, device=device)
    test = Batches(data.test_images, data.test_labels, device=device)
    watched = test if job.watched == "test" else None
    if job.watched == "validation":
        watched = Batches(data.train_images, data.train_labels, rows=job.validation_rows, device=device)
    return train, watched, test


def note_facts(record: "Record", model: "ResNet", recipe: Recipe, device: "torch.device") -> None:
    """Say in the record what the network is, and what computes it."""
    from compare.runs.schema import Device, Model
    from compare.system import machine
    from scratch_resnet import hardware
    from scratch_resnet.model import flops_per_image, num_parameters

    record.model = Model(
        name=recipe.network,
        start="random",
        trained="all",
        depth=recipe.depth,
        num_parameters=num_parameters(model),
        num_trainable_parameters=num_parameters(model),
        flops_per_image=flops_per_image(model, recipe.image_size),
    )
    record.device = Device(kind=device.type, name=hardware.device_name(device))
    record.precision = hardware.precision(recipe, device)
    record.versions = machine.versions("torch", "numpy", "scikit-learn")


def end(
    job: "Job[Recipe]",
    model: "ResNet",
    logits: "torch.Tensor | None",
    *,
    train_batches: "Batches",
    test_batches: "Batches",
) -> None:
    """Predict what is left to predict, keep what entered the network and the weights, and make the run complete.

    Args:
        job, model: whose training is over.
        logits: of the watched images; None where there are none, or they were not predicted since the run was resumed.
        train_batches, test_batches: as `batches_of` gives them.
    """
    import numpy as np
    import safetensors.numpy

    from compare.system import disk
    from compare.training import ending
    from compare.training.ending import NUM_SEEN
    from scratch_resnet import hardware, loop
    from scratch_resnet.batches import Batches

    recipe, device = job.recipe, test_batches.device

    def predict(images: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        batches = Batches(images, np.zeros(len(images), np.uint8), rows=rows, device=device)
        return loop.probabilities(loop.infer(model, batches, recipe=recipe))

    def as_entered(images: "torch.Tensor") -> np.ndarray:
        return images.permute(0, 2, 3, 1).cpu().numpy()

    def seen() -> tuple[np.ndarray, np.ndarray]:
        test, _ = next(test_batches.in_order(NUM_SEEN, image_size=recipe.image_size, centre_crop=recipe.centre_crop))
        training = train_batches.first_of(NUM_SEEN, recipe, seed=job.seed, epoch=1)
        return as_entered(test), as_entered(training)

    def look_at(split: Literal["train", "test"], rows: np.ndarray) -> "Looked":
        images = job.data.train_images if split == "train" else job.data.test_images
        batches = Batches(images, np.zeros(len(images), np.uint8), rows=rows, device=device)
        return loop.look(model, batches, recipe=recipe)

    def save(folder: Path) -> None:
        weights = {name: tensor.cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}
        disk.write_atomically(folder / "model.safetensors", safetensors.numpy.save(weights))

    ending.end(
        job,
        predict=predict,
        watched=None if logits is None else loop.probabilities(logits),
        seen=seen,
        channels="grey" if test_batches.num_channels == 1 else "RGB",
        save=save,
        look_at=look_at,
        device_bytes=lambda: hardware.peak_bytes(device),
    )


def describe(depth: int) -> int:
    """Print what the article prints: each part's output shape, and beside it parameters and FLOPs."""
    from scratch_resnet.model import ResNet, num_parameters, shape_walk

    model = ResNet(depth=depth)
    print(f"{'part':<20} {'output shape':<20} {'parameters':>12} {'MFLOP':>10}")
    total = 0
    for part, shape, parameters, flops in shape_walk(model, 224):
        print(f"{part:<20} {'×'.join(map(str, shape)):<20} {parameters:>12,} {flops / 1e6:>10,.1f}")
        total += flops
    print(f"{'all':<20} {'':<20} {num_parameters(model):>12,} {total / 1e6:>10,.1f}")
    return EXIT_DONE


if __name__ == "__main__":
    run_training("scratch_resnet", main, is_shared=True)
