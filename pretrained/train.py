"""Train a new head on a frozen ImageNet ResNet50: `python -m pretrained.train`.

Recipe `article` on Fashion-MNIST, 10 epochs: about 17 minutes on two fast CPU cores (see `reports/reference`). `--demo`
takes under a minute. The loop itself is in `loop.py`.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: then its own folder is on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compare.system.command import Parser
from compare.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UserError
from compare.training.options import DEFAULT_RECIPE, OVERRIDES, add_backbone_options, add_branch_options
from compare.training.stopping import run_training
from pretrained.recipe import RECIPES

EXAMPLES = """examples:
  python -m pretrained.train --demo                              a minute, to see it work
  python -m pretrained.train                                     the article's snippet, with ImageNet weights
  python -m pretrained.train --recipe tuned                      the best head on the same network, in less time
  python -m pretrained.train --recipe tuned --unfreeze last-stage  and then its last stage fine-tuned
  python -m pretrained.train --weights random                    the control: the same without pretraining
  python -m pretrained.train --weights FILE --keras-backend jax  weights from a file, on JAX
  python -m pretrained.train --resume DIR                        go on with an interrupted run
"""
SMALLER = "the images (--image-size), or in fine-tuning the batch (--batch-size),"  # so when memory runs out
NUM_BYTES = 100_000_000  # of the whole network on disk
UNFROZEN_WORDS = {"none": "frozen", "last-stage": "its last stage fine-tuned", "backbone": "fine-tuned as a whole"}


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m pretrained.train",
        description="Train a new head on a frozen ImageNet ResNet50, in Keras 3.",
        epilog=EXAMPLES,
    )
    add_branch_options(parser, recipes=list(RECIPES))
    add_backbone_options(parser)
    return parser.parse_args()


def num_bytes(recipe) -> int:
    """The room that a run needs: the network, the features that are kept, and two checkpoints with all that is trained
    and a third that replaces one."""
    features = recipe.num_epochs * 60_000 * 4096 if recipe.solver == "lbfgs" else 0
    return 2 * NUM_BYTES + features + (9 * NUM_BYTES if recipe.unfreeze != "none" else 0)


def main() -> int:
    """Parse, check, train."""
    arguments = parse()

    from compare.training.preparation import prepare
    from pretrained import backend, weights

    check_of_use(arguments)
    words = {"--keras-backend": arguments.keras_backend, "--device": arguments.device}
    words = {word: value for word, value in words.items() if value != "auto"}
    overrides = OVERRIDES | {"weights": "--weights", "unfreeze": "--unfreeze"}
    prepared = prepare("pretrained", arguments, RECIPES, overrides=overrides, words=words, num_bytes=num_bytes)
    weights_word, backend_word = arguments.weights or prepared.recipe.weights, arguments.keras_backend
    if prepared.checkpoint is not None:  # resumed: by default as it was begun
        begun = prepared.record
        weights_word = arguments.weights or begun["weights"]["kind"]
        if weights_word == "file":
            raise UserError(
                f"--resume {prepared.folder}, which began with weights from a file of yours",
                "that file's path again: a record keeps its hash, not its place",
                f"--resume {shlex.quote(str(prepared.folder))} --weights FILE",
            )
        backend_begun = begun["versions"].get("keras backend", backend_word)
        if backend_word not in ("auto", backend_begun):
            raise UserError(
                f"--keras-backend {backend_word}, and the run in {prepared.folder} was begun on {backend_begun}",
                "the same backend to the end: the numbers of two differ",
                f"leave --keras-backend out, or say {backend_begun}",
            )
        backend_word = backend_begun
    found = weights.find(weights_word)
    backend_name = backend.choose(backend_word, arguments.device)
    return train(prepared, found, backend_name, device_name=arguments.device, check_only=arguments.check)


def check_of_use(arguments: argparse.Namespace) -> None:
    """Refuse a step size or a batch for a head that is brought to its optimum without either.

    Raises:
        UserError: it was given.
    """
    recipe = RECIPES[arguments.recipe or DEFAULT_RECIPE]
    fine_tunes = (arguments.unfreeze or recipe.unfreeze) != "none"
    for name, used in (("learning_rate", False), ("batch_size", fine_tunes)):
        if recipe.solver == "lbfgs" and getattr(arguments, name) is not None and not used:
            raise UserError(
                f"{OVERRIDES[name]} with recipe {recipe.name} of the pretrained branch, which makes no use of it: the "
                "head is brought to its optimum",
                "it with a recipe that trains by gradient descent, as the article's does",
                f"leave it out; for the other branch alone, say {OVERRIDES[name]} scratch=…",
            )


def train(job, found, backend_name: str, *, device_name: str, check_only: bool) -> int:
    """Train what `job` holds to a complete run in its folder, on the weights that were found."""
    from compare.system import disk, machine
    from compare.training.job import NUM_SEEN, limits_in_words
    from pretrained import backend

    with backend.quiet_start():
        import keras

        from pretrained import loop, model, solver

    recipe, record, data = job.recipe, job.record, job.data
    with backend.quiet_start():
        device_kind, gpu_name = backend.describe_device(backend_name, device_name)
    name = gpu_name or machine.processor_name()
    precision = backend.precision(recipe, backend_name, device_kind)
    num_classes = len(data.class_names)

    backbone = model.build_backbone(found, seed=job.seed, precision=precision)
    job.check_same("precision", precision)
    loaded = model.frozen_fingerprint(backbone, "none")
    if job.checkpoint is not None:
        check_same_backbone(record, loaded)
    extractor = model.build_feature_extractor(
        backbone, image_size=recipe.image_size, preprocessing=recipe.preprocessing
    )
    normalize, rate = recipe.normalize_features, recipe.learning_rate
    head = model.build_head(num_classes, normalize_features=normalize, learning_rate=rate)
    whole = None
    if recipe.unfreeze != "none":
        model.unfreeze(backbone, recipe.unfreeze)  # of no consequence before `whole` is trained
        whole = model.build_whole(extractor, head, learning_rate=recipe.unfrozen_learning_rate)
    with limits_in_words(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
        epochs, predicting = loop.estimate_epochs(job, extractor, head, whole)
    words = {"imagenet": "ImageNet weights", "random": "random weights: no pretraining", "file": "weights from a file"}
    of_whole = ", the backbone of a whole network" if found.is_part else ""
    where = f"{name} in {precision} with Keras on {backend_name}, {words[found.kind]}{of_whole}"
    job.announce(epochs, predicting, how=plan(recipe), where=where)
    if check_only:
        return EXIT_DONE

    record |= {
        "model": {
            "name": f"ResNet50, {UNFROZEN_WORDS[recipe.unfreeze]}, with a linear head",
            "num_parameters": model.num_parameters(backbone.weights + head.weights),
            "num_trainable_parameters": model.num_parameters((whole or head).trainable_variables),
            "flops_per_image": model.flops_per_image(backbone, num_classes, recipe.image_size),
        },
        "weights": {"kind": found.kind, "sha256": found.sha256, "is_part_of_file": found.is_part},
        "backbone": {
            "sha256_loaded": loaded,
            "sha256_before": model.frozen_fingerprint(backbone, recipe.unfreeze),
        },
        "device": {"kind": device_kind, "name": name},
        "precision": precision,
        "versions": machine.versions("keras", backend_name, "numpy", "scipy", "scikit-learn")
        | {"keras backend": backend_name},
    }
    gpu = 0 if device_kind == "cuda" else None  # the first of those that are visible
    with job.running(gpu), limits_in_words(recipe, exit_code=EXIT_FAILED, smaller=SMALLER):
        if job.checkpoint is None:
            job.write_checkpoint(loop.checkpoint_arrays(head))
        else:
            num_finished = len(record["history"]) + bool(job.under_way)
            loop.restore(whole if num_finished > recipe.num_epochs else head, job.checkpoint)
        watched = None
        if len(record["history"]) < recipe.num_epochs:
            if recipe.solver == "sgd":
                watched = loop.descend(
                    job, head, feature_extractor=extractor, last_epoch=recipe.num_epochs, learning_rate=rate
                )
            else:
                watched = loop.solve_head(job, extractor, head)
        solver.remove_kept(job.folder)
        if whole is not None:
            rate, last = recipe.unfrozen_learning_rate, recipe.num_epochs + recipe.num_unfrozen_epochs
            watched = loop.descend(
                job, whole, feature_extractor=None, last_epoch=last, learning_rate=rate, phase="fine-tuning"
            )

        def predict(images):
            if whole is not None:
                return loop.predict(whole, loop.grey(images))
            return loop.predict(head, loop.extract(extractor, images))

        start = time.perf_counter()
        if watched is None:  # resumed after its last epoch
            watched = predict(job.watched_images_and_labels[0])
        probabilities = {job.watched: watched}
        if job.watched != "test":
            probabilities["test"] = predict(data.test_images)
        predicting_seconds = time.perf_counter() - start
        corrupted = job.predict_corrupted(predict)
        training_images, _ = job.train_images_and_labels
        seen = [
            loop.grey(data.test_images[:NUM_SEEN]),
            loop.first_of(NUM_SEEN, training_images, recipe=recipe, seed=job.seed, epoch=1),
        ]
        size, preprocessing = recipe.image_size, recipe.preprocessing
        seen = [model.network_input(images, image_size=size, preprocessing=preprocessing) for images in seen]
        channels = "BGR" if preprocessing == "imagenet" else "RGB"
        seen = job.keep_seen(*map(keras.ops.convert_to_numpy, seen), channels=channels)
        record["backbone"]["sha256_after"] = model.frozen_fingerprint(backbone, recipe.unfreeze)
        if precision != "float32":
            extractor = model.build_feature_extractor(
                model.in_float32(backbone), image_size=recipe.image_size, preprocessing=recipe.preprocessing
            )
        # Its count of steps is saved with it, means nothing at a constant rate, and fine-tuning's checkpoints lack it.
        head.optimizer.iterations.assign(0)
        with disk.replacing(job.folder / "model.keras") as partial, disk.temporary_in(job.folder):
            model.join(extractor, head).save(partial)
        device_bytes = backend.peak_gpu_memory_bytes(backend_name) if device_kind == "cuda" else None
        job.finish(probabilities, predicting_seconds=predicting_seconds, device_bytes=device_bytes, **corrupted, **seen)
    return EXIT_DONE


def plan(recipe) -> str:
    """How the recipe trains, in words."""
    words = f"head by gradient descent, batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}"
    if recipe.solver == "lbfgs":
        words = f"head to its optimum on the features of {recipe.num_epochs} augmented views"
    if recipe.unfreeze != "none":
        words += f", then {UNFROZEN_WORDS[recipe.unfreeze]} at {recipe.unfrozen_learning_rate:g}"
    return words


def check_same_backbone(record: dict, fingerprint: str) -> None:
    """Refuse to go on with another backbone than the run began with.

    Raises:
        UserError: the arrays differ.
    """
    if fingerprint != record["backbone"]["sha256_loaded"]:
        raise UserError(
            f"the backbone here is not the one that the run began with ({record['weights']['kind']} weights, "
            f"Keras on {record['versions']['keras backend']} {record['versions'].get('keras')}): "
            f"its arrays' hash is {fingerprint[:12]}, and was {record['backbone']['sha256_loaded'][:12]}",
            "the same weights: every feature so far came from them",
            "give the same --weights and --keras-backend with --resume, in the same versions, or start a new run",
        )


if __name__ == "__main__":
    run_training("pretrained", main)
