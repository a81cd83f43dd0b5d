"""Train a new head on a frozen ImageNet ResNet50: `python -m pretrained.train`.

Recipe `article` on Fashion-MNIST, 10 epochs: about 15 minutes on two fast CPU cores (`reports/reference` has a
measured epoch). `--demo` takes under a minute. The loop itself is in `loop.py`.
"""

import argparse
import time

from compare.command import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    OVERRIDES,
    Parser,
    UserError,
    add_backbone_options,
    add_branch_options,
    run_command,
)
from pretrained.recipe import RECIPES

EXAMPLES = """examples:
  python -m pretrained.train --demo                              a minute, to see it work
  python -m pretrained.train                                     the article's snippet, with ImageNet weights
  python -m pretrained.train --weights random                    the control: the same without pretraining
  python -m pretrained.train --weights FILE --keras-backend jax  weights from a file, on JAX
  python -m pretrained.train --resume DIR                        go on with an interrupted run
"""
SMALLER = "the images (--image-size)"  # what to make so when memory runs out
NUM_BYTES = 200_000_000  # the whole network is 95 MB; a checkpoint holds the head alone


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


def main() -> int:
    """Parse, check, train."""
    arguments = parse()

    from compare import job
    from pretrained import backend, weights

    words = {"--keras-backend": arguments.keras_backend, "--device": arguments.device}
    words = {word: value for word, value in words.items() if value != "auto"}
    overrides = OVERRIDES | {"weights": "--weights"}
    prepared = job.prepare("pretrained", arguments, RECIPES, overrides=overrides, words=words, num_bytes=NUM_BYTES)
    weights_word, backend_word = arguments.weights or prepared.recipe.weights, arguments.keras_backend
    if prepared.checkpoint is not None:  # resumed: by default as it was begun
        begun = prepared.record
        weights_word = arguments.weights or begun["weights"]["kind"]
        if weights_word == "file":
            raise UserError(
                f"--resume {prepared.folder}, which began with weights from a file of yours",
                "that file's path again: a record keeps its hash, not its place",
                f"--resume {prepared.folder} --weights FILE",
            )
        if backend_word == "auto":
            backend_word = begun["versions"]["keras backend"]
    found = weights.find(weights_word)
    backend_name = backend.choose(backend_word, arguments.device)
    return train(prepared, found, backend_name, device_name=arguments.device, check_only=arguments.check)


def train(job, found, backend_name: str, *, device_name: str, check_only: bool) -> int:
    """Train what `job` holds to a complete run in its folder, on the weights that were found."""
    from compare import disk, machine
    from compare import record as run_record
    from compare.job import memory_hint
    from pretrained import backend

    with backend.quiet_start():
        import keras

        from pretrained import loop, model

    # Somebody's keras.json may say otherwise; the recipes mean these.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    recipe, record, data = job.recipe, job.record, job.data
    with backend.quiet_start():
        device_kind, gpu_name = backend.describe_device(backend_name, device_name)
    name = gpu_name or machine.processor_name()
    num_classes = len(data.class_names)

    backbone = model.build_backbone(found, seed=job.seed)
    extractor = model.build_feature_extractor(
        backbone, image_size=recipe.image_size, preprocessing=recipe.preprocessing
    )
    head_settings = {"normalize_features": recipe.normalize_features, "learning_rate": recipe.learning_rate}
    head = model.build_head(num_classes, **head_settings)
    before = model.arrays_fingerprint(backbone)
    if job.checkpoint is not None:
        check_same_backbone(record, before)
        loop.restore(head, job.checkpoint)

    train_images, train_labels = data.train_images[job.train_rows], data.train_labels[job.train_rows]
    watched_images, watched_labels = job.watched_images_and_labels
    throwaway = model.build_head(num_classes, **head_settings)
    with memory_hint(recipe, exit_code=EXIT_REFUSED, smaller=SMALLER):
        seconds_per_image = loop.measure(extractor, throwaway, train_images, train_labels, recipe)
    epochs_left = recipe.num_epochs - len(record["history"])
    num_images = epochs_left * len(train_images) + len(watched_images) + job.num_more_test_images
    words = {"imagenet": "ImageNet weights", "random": "random weights: no pretraining", "file": "weights from a file"}
    on = f"{name} with Keras on {backend_name}, {words[found.kind]}"
    job.announce(num_images * seconds_per_image, on)
    if check_only:
        return EXIT_DONE

    record |= {
        "model": {
            "name": "ResNet50, frozen, with a linear head",
            "num_parameters": model.num_parameters(backbone.weights + head.weights),
            "num_trainable_parameters": model.num_parameters(head.trainable_variables),
            "flops_per_image": model.flops_per_image(backbone, num_classes, recipe.image_size),
        },
        "weights": {"kind": found.kind, "sha256": found.sha256},
        "backbone": {"sha256_before": before},
        "device": {"kind": device_kind, "name": name},
        "versions": machine.versions("keras", backend_name, "numpy", "scikit-learn") | {"keras backend": backend_name},
    }
    with job.running(), memory_hint(recipe, exit_code=EXIT_FAILED, smaller=SMALLER):
        run_record.write_checkpoint(job.folder, loop.checkpoint_arrays(head), record)
        # These are never augmented: once is enough for all epochs.
        start = time.perf_counter()
        watched_features = loop.extract(extractor, watched_images)  # (num_watched, 2048)
        extracting_seconds = time.perf_counter() - start
        for epoch in range(len(record["history"]) + 1, recipe.num_epochs + 1):
            start = time.perf_counter()
            with job.journal.epoch(f"epoch {epoch}/{recipe.num_epochs}", len(train_images)) as bar:
                train_means = loop.train_epoch(
                    *(extractor, head, train_images, train_labels),
                    recipe=recipe,
                    seed=job.seed,
                    epoch=epoch,
                    bar=bar,
                )
            training_seconds = time.perf_counter() - start
            job.end_epoch(
                train=train_means,
                watched=loop.evaluate(head, watched_features, watched_labels),
                learning_rate=recipe.learning_rate,
                training_seconds=training_seconds,
                seconds=time.perf_counter() - start + extracting_seconds,
                arrays=loop.checkpoint_arrays(head),
            )
            extracting_seconds = 0.0  # told once, with the first epoch

        start = time.perf_counter()
        test_features = watched_features if job.watched == "test" else loop.extract(extractor, data.test_images)
        probabilities = loop.predict(head, test_features)
        predicting_seconds = time.perf_counter() - start
        record["backbone"]["sha256_after"] = model.arrays_fingerprint(backbone)
        with disk.replacing(job.folder / "model.keras") as partial:
            model.join(extractor, head).save(partial)
        device_bytes = backend.peak_gpu_memory_bytes(backend_name) if device_kind == "cuda" else None
        job.finish(probabilities, predicting_seconds=predicting_seconds, device_bytes=device_bytes)
    return EXIT_DONE


def check_same_backbone(record: dict, fingerprint: str) -> None:
    """Refuse to go on with another backbone than the run began with.

    Raises:
        UserError: the arrays differ.
    """
    if fingerprint != record["backbone"]["sha256_before"]:
        raise UserError(
            f"the backbone here is not the one that the run began with ({record['weights']['kind']} weights, "
            f"Keras on {record['versions']['keras backend']} {record['versions'].get('keras')})",
            "the same weights: every feature so far came from them",
            "give the same --weights and --keras-backend with --resume, in the same versions, or start a new run",
        )


if __name__ == "__main__":
    run_command(main, unforeseen=EXIT_REFUSED)  # what happens in training is foreseen in `Job.running`
