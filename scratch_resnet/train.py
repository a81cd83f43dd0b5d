"""Train the article's ResNet-18 from scratch: `python -m scratch_resnet.train`.

Recipe `article` on Fashion-MNIST, 5 epochs: expect about 0.92 test accuracy, in about an hour on two AVX-512 cores
(`reports/reference` has a measured epoch). `--demo` takes under a minute. The loop itself is in `loop.py`.
"""

import argparse
import math
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import Parser
from compare.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UserError
from compare.training.options import OVERRIDES, add_branch_options
from compare.training.stopping import run_training
from scratch_resnet.recipe import RECIPES

EXAMPLES = """examples:
  python -m scratch_resnet.train --demo                      a minute, to see it work
  python -m scratch_resnet.train                             the article's training
  python -m scratch_resnet.train --epochs 1 --device cuda:1  one epoch on the second GPU
  python -m scratch_resnet.train --resume DIR                go on with an interrupted run
"""
SMALLER = "the batch (--batch-size) or the images (--image-size)"  # what to make so when memory runs out

NUM_BYTES = 450_000_000  # two checkpoints of 134 MB and a third that replaces one, and the weights


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m scratch_resnet.train",
        description="Train the article's ResNet-18 from scratch, in PyTorch.",
        epilog=EXAMPLES,
    )
    add_branch_options(parser, recipes=list(RECIPES))
    network = parser.add_argument_group("network")
    network.add_argument("--describe", action="store_true", help="print the network's shapes at 1×1×224×224, and stop")
    return parser.parse_args()


def main() -> int:
    """Parse, check, train."""
    arguments = parse()
    if arguments.describe:
        return describe()

    from compare.training.preparation import prepare

    words = {"--device": arguments.device} if arguments.device != "auto" else {}
    prepared = prepare(
        "scratch_resnet", arguments, RECIPES, overrides=OVERRIDES, words=words, num_bytes=lambda recipe: NUM_BYTES
    )
    return train(prepared, device_name=arguments.device, check_only=arguments.check)


def train(job, *, device_name: str, check_only: bool) -> int:
    """Train what `job` holds to a complete run in its folder."""
    import numpy as np
    import safetensors.numpy
    import torch

    from compare.system import disk, machine
    from compare.training.job import NUM_SEEN, limits_in_words
    from scratch_resnet import loop
    from scratch_resnet.batches import Batches, network_input
    from scratch_resnet.model import flops_per_image, num_parameters

    recipe, record, data = job.recipe, job.record, job.data
    device = loop.choose_device(device_name)
    name = machine.APPLE_GPU if device.type == "mps" else machine.processor_name()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    num_classes = len(data.class_names)
    if (len(job.train_rows) % recipe.batch_size or recipe.batch_size) == 1 and recipe.image_size <= 32:
        raise UserError(
            f"{len(job.train_rows):,} images in batches of {recipe.batch_size}: one batch is a single image",
            "two or more: up to 32×32 the last feature map is 1×1, and one value has no variance to normalise by",
            "choose another --batch-size, or an --image-size above 32",
        )
    loop.keep_freed_memory()
    with limits_in_words(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
        train_batches, watched_batches, test_batches = (
            Batches(images, labels, device=device)
            for images, labels in (
                job.train_images_and_labels,
                job.watched_images_and_labels,
                (data.test_images, data.test_labels),
            )
        )
        step_seconds, predict_seconds = loop.measure(train_batches, num_classes, recipe=recipe, device=device)
    epoch_seconds = len(train_batches) * step_seconds + len(watched_batches) * predict_seconds
    num_predicted = job.num_more_test_images + job.num_corrupted_images
    job.check_same("precision", loop.precision(recipe, device))
    job.announce(
        [epoch_seconds] * len(job.epochs_left),
        num_predicted * predict_seconds,
        how=f"batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}, {recipe.schedule}",
        where=f"{device} ({name}) in {loop.precision(recipe, device)}",
    )
    if check_only:
        return EXIT_DONE

    model = loop.new_model(num_classes, seed=job.seed, device=device)
    optimizer = loop.new_optimizer(model, recipe)
    if job.checkpoint is not None:
        loop.restore(model, optimizer, job.checkpoint)
    record |= {
        "model": {
            "name": "ResNet-18 of the article",
            "num_parameters": num_parameters(model),
            "num_trainable_parameters": num_parameters(model),
            "flops_per_image": flops_per_image(model, recipe.image_size),
        },
        "weights": {"kind": "none", "sha256": None},
        "device": {"kind": device.type, "name": name},
        "precision": loop.precision(recipe, device),
        "versions": machine.versions("torch", "numpy", "scikit-learn"),
    }
    gpu = device.index or 0 if device.type == "cuda" else None
    with job.running(gpu), limits_in_words(recipe, exit_code=EXIT_FAILED, smaller=SMALLER):
        if job.checkpoint is None:
            job.write_checkpoint(loop.checkpoint_arrays(model, optimizer))
        logits = None
        for epoch in job.epochs_left:
            start = time.perf_counter() - job.seconds_under_way
            num_steps = math.ceil(len(train_batches) / recipe.batch_size)
            figures = torch.zeros(2, num_steps, device=device)
            begin = int(job.under_way.get("steps", 0))
            if begin:  # resumed within it
                figures.copy_(torch.from_numpy(job.under_way["figures"]))
            with job.finishing(), job.epoch_bar(epoch) as bar:
                for num_done in loop.train_epoch(
                    *(model, optimizer, train_batches, figures),
                    recipe=recipe,
                    seed=job.seed,
                    epoch=epoch,
                    bar=bar,
                    begin=begin,
                ):
                    if job.must_keep():
                        job.keep(
                            loop.checkpoint_arrays(model, optimizer),
                            {"steps": np.array(num_done), "figures": figures.cpu().numpy()},
                            seconds=time.perf_counter() - start,
                        )
            training_seconds = time.perf_counter() - start
            logits = loop.infer(model, watched_batches, recipe=recipe)
            job.end_epoch(
                train=loop.means(figures, len(train_batches)),
                watched=loop.evaluate(logits, watched_batches.labels),
                learning_rate=loop.learning_rate(recipe, epoch, num_steps - 1, num_steps),
                training_seconds=training_seconds,
                seconds=time.perf_counter() - start,
                arrays=loop.checkpoint_arrays(model, optimizer),
            )

        start = time.perf_counter()
        if logits is None:  # resumed after its last epoch
            logits = loop.infer(model, watched_batches, recipe=recipe)
        probabilities = {job.watched: loop.probabilities(logits)}
        if job.watched != "test":
            probabilities["test"] = loop.probabilities(loop.infer(model, test_batches, recipe=recipe))
        predicting_seconds = time.perf_counter() - start
        corrupted = job.predict_corrupted(
            lambda images: loop.probabilities(
                loop.infer(model, Batches(images, np.zeros(len(images)), device=device), recipe=recipe)
            )
        )
        seen = [
            network_input(test_batches.images[:NUM_SEEN], recipe.image_size),
            train_batches.first_of(NUM_SEEN, recipe, seed=job.seed, epoch=1),
        ]
        seen = job.keep_seen(*(images.permute(0, 2, 3, 1).cpu().numpy() for images in seen), channels="grey")
        weights = {name: tensor.cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}
        disk.write_atomically(job.folder / "model.safetensors", safetensors.numpy.save(weights))
        device_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        job.finish(probabilities, predicting_seconds=predicting_seconds, device_bytes=device_bytes, **corrupted, **seen)
    return EXIT_DONE


def describe() -> int:
    """Print what the article prints: each part's output shape, and beside it parameters and FLOPs."""
    from scratch_resnet.model import ResNet, num_parameters, shape_walk

    model = ResNet()
    print(f"{'part':<20} {'output shape':<20} {'parameters':>12} {'MFLOP':>10}")
    total = 0
    for part, shape, parameters, flops in shape_walk(model, 224):
        print(f"{part:<20} {'×'.join(map(str, shape)):<20} {parameters:>12,} {flops / 1e6:>10,.1f}")
        total += flops
    print(f"{'all':<20} {'':<20} {num_parameters(model):>12,} {total / 1e6:>10,.1f}")
    return EXIT_DONE


if __name__ == "__main__":
    run_training("scratch_resnet", main)
