"""Train a new head on a frozen network, ImageNet's ResNet50 or another one: `python -m pretrained.train`.

What each recipe takes and gives stands in `recipe.py`, the loop itself in `loop.py`.
"""

import argparse
import functools
import math
import shlex
import sys
from collections.abc import Collection
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import Parser
from compare.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UserError
from compare.training.options import (
    DEFAULT_RECIPE,
    OVERRIDES,
    WEIGHTS_WORDS,
    add_backbone_options,
    add_branch_options,
)
from compare.training.stopping import run_training
from pretrained.backbones import BACKBONES
from pretrained.recipe import RECIPES, Recipe

EXAMPLES = """examples:
  python -m pretrained.train --demo                              a minute, to see it work
  python -m pretrained.train                                     the article's snippet, with ImageNet weights
  python -m pretrained.train --recipe tuned                      the best head on the same network, in less time
  python -m pretrained.train --recipe tuned --unfreeze last-stage  and then its last stage fine-tuned
  python -m pretrained.train --recipe tuned --backbone EfficientNetV2B0 --image-size 96  on another network
  python -m pretrained.train --weights random                    the control: the same without pretraining
  python -m pretrained.train --weights FILE --keras-backend jax  weights from a file, on JAX
  python -m pretrained.train --resume DIR                        go on with an interrupted run
"""
SMALLER = "the images (--image-size), or in fine-tuning the batch (--batch-size),"  # so when memory runs out
UNFROZEN_WORDS = {"last-stage": "its last stage fine-tuned", "backbone": "fine-tuned as a whole", "all": "all of it"}


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m pretrained.train",
        description="Train a new head on a frozen ImageNet ResNet50, or on another network (--backbone), in Keras 3.",
        epilog=EXAMPLES,
    )
    add_branch_options(parser, recipes=list(RECIPES))
    add_backbone_options(parser, names=list(BACKBONES))
    return parser.parse_args()


def num_bytes(recipe, *, num_images: int, num_features: int, num_parameters: int, num_trainable: int) -> int:
    """The room on disk that a run needs: the network, which Keras writes twice before one is left, two checkpoints of
    twelve bytes a trained parameter and a third that replaces one, and the features where they are kept, as float32."""
    features = 4 * recipe.num_epochs * num_images * num_features if recipe.solver == "lbfgs" else 0
    return 2 * 4 * num_parameters + 3 * 12 * num_trainable + features


def main() -> int:
    """Parse, check, train."""
    arguments = parse()

    from compare.training import recipe_file
    from compare.training.preparation import prepare
    from pretrained import backend, weights

    choices = {"backbone": BACKBONES, "weights": WEIGHTS_WORDS}
    recipes, file = recipe_file.with_file(RECIPES, arguments.recipe, "pretrained", choices=choices)
    check_of_use(arguments, recipes[arguments.recipe or DEFAULT_RECIPE], {} if file is None else file.fields)
    words = {"--keras-backend": arguments.keras_backend, "--device": arguments.device}
    words = {word: value for word, value in words.items() if value != "auto"}
    overrides = OVERRIDES | {"backbone": "--backbone", "weights": "--weights", "unfreeze": "--unfreeze"}
    prepared = prepare("pretrained", arguments, recipes, overrides=overrides, words=words, recipe_file=file)
    weights_word, backend_word = arguments.weights or prepared.recipe.weights, arguments.keras_backend
    if prepared.checkpoint is not None:  # resumed: by default as it was begun
        begun = prepared.record
        weights_word = arguments.weights or begun.weights.kind
        if weights_word == "file":
            raise UserError(
                f"--resume {prepared.folder}, which began with weights from a file of yours",
                "that file's path again: a record keeps its hash, not its place",
                f"--resume {shlex.quote(str(prepared.folder))} --weights FILE",
            )
        backend_begun = begun.versions.get("keras backend", backend_word)
        if backend_word not in ("auto", backend_begun):
            raise UserError(
                f"--keras-backend {backend_word}, and the run in {prepared.folder} was begun on {backend_begun}",
                "the same backend to the end: the numbers of two differ",
                f"leave --keras-backend out, or say {backend_begun}",
            )
        backend_word = backend_begun
    found = weights.find(weights_word, BACKBONES[prepared.recipe.backbone])
    backend_name = backend.choose(backend_word, arguments.device)
    return train(prepared, found, backend_name, device_name=arguments.device, check_only=arguments.check)


def check_of_use(arguments: argparse.Namespace, recipe: Recipe, file_fields: Collection[str]) -> None:
    """Refuse a step size or a batch for a head that is brought to its optimum without either, and another backbone with
    what is made for the recipe's own.

    Args:
        arguments: of the command line.
        recipe: which it chooses.
        file_fields: those that the recipe's file sets, if it came from one.

    Raises:
        UserError: it was given.
    """
    backbone = BACKBONES[arguments.backbone or recipe.backbone]
    size = arguments.image_size or recipe.image_size
    if arguments.resume is None and backbone.name != recipe.backbone and recipe.preprocessing == "unit":
        raise UserError(
            f"--backbone {backbone.name} with recipe {recipe.name}, which divides pixels by 255: its mistake with "
            f"{recipe.backbone}",
            "a recipe that gives each network what it expects",
            "say --recipe tuned, or leave --backbone out",
        )
    if arguments.resume is None and size < backbone.smallest_side:
        raise UserError(
            f"--backbone {backbone.name} with images of {size}×{size}",
            f"at least {backbone.smallest_side}×{backbone.smallest_side}, which this network needs",
            f"say --image-size {backbone.smallest_side} or more: smaller images are enlarged to it",
        )
    if not recipe.augmented_head and (arguments.num_epochs or 1) > 1:
        raise UserError(
            f"--epochs {arguments.num_epochs} with recipe {recipe.name}, whose head learns from the images as they are",
            "one epoch: their features are the same in every pass",
            "leave --epochs out, or take recipe tuned, which augments them",
        )
    fine_tunes = (arguments.unfreeze or recipe.unfreeze) != "none"
    for name, used in (("learning_rate", False), ("batch_size", fine_tunes)):
        is_given = getattr(arguments, name) is not None
        if recipe.solver == "lbfgs" and (is_given or name in file_fields) and not used:
            raise UserError(
                f"{OVERRIDES[name] if is_given else name} with recipe {recipe.name} of the pretrained branch, which "
                "makes no use of it: the head is brought to its optimum",
                "it with a recipe that trains by gradient descent, as the article's does",
                f"leave it out; for the other branch alone, say {OVERRIDES[name]} scratch=…"
                if is_given
                else "leave it out; for the other branch alone, put it in [scratch_resnet]",
            )


def train(job, found, backend_name: str, *, device_name: str, check_only: bool) -> int:
    """Train what `job` holds to a complete run in its folder, on the weights that were found."""
    from compare.runs.record import readable
    from compare.runs.schema import Device
    from compare.system import machine
    from compare.training.limits import limits_in_words
    from pretrained import backend

    with backend.quiet_start():
        from pretrained import feature_network, loop, model, solver

    recipe, record, data = job.recipe, job.record, job.data
    with backend.quiet_start():
        device_kind, gpu_name = backend.describe_device(backend_name, device_name)
    computed_on = gpu_name or machine.processor_name()
    precision = backend.precision(recipe, backend_name, device_kind)
    job.check_same("precision", precision)
    networks = model.build_networks(
        BACKBONES[recipe.backbone],
        found,
        recipe=recipe,
        image_shape=data.image_shape,
        num_classes=len(data.class_names),
        num_steps=recipe.num_unfrozen_epochs
        * math.ceil(len(job.rows_of_epoch(recipe.num_unfrozen_epochs)) / recipe.batch_size),
        seed=job.seed,
        precision=precision,
        class_weights=job.class_weights,
    )
    if job.checkpoint is not None:
        check_same_backbone(record, networks.loaded)
    versions = machine.versions("keras", backend_name, "numpy", "scipy", "scikit-learn")
    record.versions = versions | {"keras backend": backend_name}
    needed = num_bytes(
        recipe,
        num_images=len(job.train_rows),
        num_features=networks.network.output_shape[1],
        num_parameters=model.num_parameters(networks.network.weights + networks.head.weights),
        num_trainable=model.num_parameters((networks.whole or networks.head).trainable_variables),
    )
    job.check_room(needed)

    def measure():
        with limits_in_words(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
            speeds = loop.measure(job, networks)
        return lambda one: loop.seconds_expected(one, networks, speeds, after=None if one is job else job)

    of_file = ", the backbone of a whole network" if feature_network.is_part_of_file(networks.network, found) else ""
    where = f"{computed_on} in {precision} with Keras on {backend_name}"
    job.announce(
        measure,
        how=plan(recipe)
        + ", classes weighted" * (job.class_weights is not None)
        + (job.repeats_in_words(recipe.num_unfrozen_epochs) if networks.whole is not None else ""),
        where=f"{where}, {weights_words(recipe, found)}{of_file}",
    )
    if check_only:
        return EXIT_DONE

    with readable():
        model.note_facts(record, networks, found, recipe=recipe, num_classes=len(data.class_names))
        record.device, record.precision = Device(kind=device_kind, name=computed_on), precision
    gpu = 0 if device_kind == "cuda" else None  # the first of those that are visible
    with job.running(gpu), limits_in_words(recipe, exit_code=EXIT_FAILED, smaller=SMALLER):
        loop.begin_or_go_on(job, networks)
        watched = None  # the probabilities of the watched split, once they are known
        if len(record.history) < recipe.num_epochs:
            watched = (loop.descend_head if recipe.solver == "sgd" else loop.solve_head)(job, networks)
        solver.remove_kept(job.folder)
        if networks.whole is not None:
            watched = loop.fine_tune(job, networks)
        end(
            job,
            networks,
            watched,
            device_bytes=lambda: backend.peak_gpu_memory_bytes(backend_name) if device_kind == "cuda" else None,
        )
    return EXIT_DONE


def end(job, networks, watched, *, device_bytes) -> None:
    """Predict what is left to predict, keep what entered the network and the weights, and make the run complete.

    Args:
        job, networks: whose training is over.
        watched: the probabilities of the watched split; None where no epoch was left to train, or nothing is watched.
        device_bytes: tells the GPU's peak memory.
    """
    import keras
    import numpy as np

    from compare.data.images import take
    from compare.system import disk
    from compare.training import ending
    from compare.training.ending import NUM_SEEN
    from compare.training.looking import Looked
    from pretrained import feature_network, features, loop, model
    from pretrained.looking import Inside, features_suffice

    recipe, data = job.recipe, job.data
    only_features = features_suffice(networks, recipe)  # as the network was trained: saving turns it to float32

    def as_entered(images: np.ndarray) -> np.ndarray:
        is_cut = recipe.crop_area < 1 and images.dtype != np.uint8
        preprocessed = feature_network.network_input(
            images.astype(np.float32),
            image_size=recipe.image_size,
            preprocessing=recipe.preprocessing,
            backbone=networks.backbone,
            centre_crop=1.0 if is_cut else recipe.centre_crop,
        )
        return keras.ops.convert_to_numpy(preprocessed)

    def seen() -> tuple[np.ndarray, np.ndarray]:
        training = features.first_of(NUM_SEEN, data.train_images, job.train_rows, recipe=recipe, seed=job.seed, epoch=1)
        return as_entered(data.test_images[:NUM_SEEN]), as_entered(training)

    def save(folder: Path) -> None:
        """Write the whole network in float32, wherever it was trained, for images as the data set has them."""
        if recipe.unfreeze != "all":  # of which nothing should stay
            job.record.frozen.sha256_after = model.frozen_fingerprint(networks.network, recipe.unfreeze)
        extractor = networks.extractor
        if job.record.precision != "float32" or recipe.crop_area < 1:
            model.compute_in_float32(networks.network)
            extractor = feature_network.build_feature_extractor(
                networks.network,
                networks.backbone,
                image_shape=data.image_shape,
                image_size=recipe.image_size,
                preprocessing=recipe.preprocessing,
                centre_crop=recipe.centre_crop,
            )
        if job.class_weights is not None:  # what it learned by is saved with it, and Keras' own alone can be loaded
            networks.head.compile(networks.head.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        # Its count of steps is saved with it, means nothing at a constant rate, and fine-tuning's checkpoints lack it.
        networks.head.optimizer.iterations.assign(0)
        with disk.replacing(folder / "model.keras") as partial, disk.temporary_in(folder):
            model.join(extractor, networks.head).save(partial)

    @functools.cache
    def inside() -> Inside:  # which computes in float32 by now, as what was saved does
        return Inside(
            networks.network,
            networks.head,
            backbone=networks.backbone,
            recipe=recipe,
            image_shape=data.image_shape,
            whole_batches=True,
        )

    def look_at(split: str, rows: np.ndarray) -> Looked:
        if only_features:
            return Looked(np.empty((len(rows), 0), np.float32), features.feature_cache(job, networks).features_of(split, rows), None)
        return inside().look(take(data.train_images if split == "train" else data.test_images, rows))

    def predict(images: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        if networks.whole is not None:
            return features.predict_images(networks.whole, images, rows, recipe=recipe)
        if images is data.test_images and not recipe.augmented_head:
            found = features.feature_cache(job, networks).features_of("test", features.all_rows(images))
        else:
            found = features.extract(networks.extractor, images, rows, recipe=recipe)
        return loop.predict(networks.head, found)

    ending.end(
        job,
        predict=predict,
        watched=watched,
        seen=seen,
        channels="RGB" if recipe.preprocessing == "unit" else feature_network.channels(networks.backbone),
        save=save,
        look_at=look_at,
        device_bytes=device_bytes,
    )


def weights_words(recipe, found) -> str:
    """Which network begins with which weights, in words."""
    if found.kind == "imagenet" and BACKBONES[recipe.backbone].digest is None:
        return f"{recipe.backbone} with ImageNet weights, of which Keras publishes no digest to compare"
    words = {"imagenet": "ImageNet weights", "random": "random weights: no pretraining", "file": "weights from a file"}
    return words[found.kind] if recipe.backbone == "ResNet50" else f"{recipe.backbone} with {words[found.kind]}"


def plan(recipe) -> str:
    """How the recipe trains, in words."""
    words = f"head by gradient descent, batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}"
    if recipe.solver == "lbfgs":
        views = f"{recipe.num_epochs} augmented view{'s' * (recipe.num_epochs != 1)}"
        words = f"head to its optimum on the features of {views if recipe.augmented_head else 'the images as they are'}"
    steps = f"{UNFROZEN_WORDS.get(recipe.unfreeze)} at {recipe.unfrozen_learning_rate:g}, {recipe.schedule}"
    if recipe.num_epochs == 0:
        return steps
    return words if recipe.unfreeze == "none" else f"{words}, then {steps}"


def check_same_backbone(record, fingerprint: str) -> None:
    """Refuse to go on with another backbone than the run began with.

    Raises:
        UserError: the arrays differ.
    """
    begun = record.frozen.sha256_loaded
    if fingerprint != begun:
        raise UserError(
            f"the backbone here is not the one that the run began with ({record.weights.kind} weights, "
            f"Keras on {record.versions['keras backend']} {record.versions.get('keras')}): "
            f"its arrays' hash is {fingerprint[:12]}, and was {begun[:12]}",
            "the same weights: every feature so far came from them",
            "give the same --weights and --keras-backend with --resume, in the same versions, or start a new run",
        )


if __name__ == "__main__":
    run_training("pretrained", main)
