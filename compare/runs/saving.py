"""Runs out of what is there already: of any other program's predictions, and as a small copy of another run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compare.data.images import fingerprint, label_dtype
from compare.runs import out_folder, record, schema
from compare.system import disk
from compare.system.errors import UserError

NOT_KNOWN = "–"


def save_run(
    folder: str | Path,
    *,
    title: str,
    class_names: Sequence[str],
    test_probabilities: np.ndarray,
    test_labels: np.ndarray,
    validation_probabilities: np.ndarray | None = None,
    validation_labels: np.ndarray | None = None,
    data_title: str = NOT_KNOWN,
    num_train: int | None = None,
    start: Literal["random", "pretrained"] | None = None,
    trained: Literal["all", "head", "last stage", "backbone"] | None = None,
    history: Sequence[dict[str, Any]] = (),
    training_seconds: float | None = None,
    predicting_seconds: float | None = None,
    num_parameters: int | None = None,
    num_trainable_parameters: int | None = None,
    flops_per_image: int | None = None,
    seed: int | None = None,
    recipe: dict[str, Any] | None = None,
    device: str | None = None,
) -> Path:
    """Write a run that any report takes, from what another program has computed.

    Args:
        folder: of the run; new or empty.
        title: what the page calls the network.
        class_names: of every class, in the order of the probabilities' columns.
        test_probabilities: (num_test, num_classes), in the order of the test file; each row sums to 1.
        test_labels: whole numbers, (num_test,), indices into `class_names`.
        validation_probabilities, validation_labels: the same of images that were held out of the training set; with
            them a temperature is fitted.
        data_title: what the page calls the data.
        num_train: training images.
        start: what the network knew before: nothing, or what other data has taught it.
        trained: how much of it was trained; `head` and the rest are parts of a pretrained network.
        history: a row an epoch, with any of `schema.Row`'s fields: `train_loss`, `test_accuracy`, `seconds`, ….
        training_seconds, predicting_seconds: what these took.
        num_parameters, num_trainable_parameters, flops_per_image: of the network.
        seed: of the training.
        recipe: any settings, as JSON takes them; its `name` is the recipe's.
        device: what computed.

    Returns:
        The folder. What was not said stands on the page as not known.

    Raises:
        UserError: these are no such arrays, texts or numbers, or the folder cannot be written or holds other files.
    """
    folder = Path(folder)
    arrays = as_predictions("test", test_probabilities, test_labels, len(class_names))
    if validation_probabilities is not None or validation_labels is not None:
        arrays |= as_predictions("validation", validation_probabilities, validation_labels, len(class_names))
    with record.readable():
        run = schema.Record(
            branch=title,
            recipe=schema.Recipe.model_validate({"name": NOT_KNOWN} | (recipe or {})),
            num_epochs=len(history),
            seed=seed,
            data=schema.Data(
                name=data_title,
                title=data_title,
                num_train=num_train,
                num_validation=len(arrays.get("validation_labels", ())),
                num_test=len(arrays["test_labels"]),
                class_names=list(class_names),
                test_labels_fingerprint=fingerprint(arrays["test_labels"]),
            ),
            model=schema.Model(
                name=title,
                title=title,
                start=start,
                trained=trained,
                num_parameters=num_parameters,
                num_trainable_parameters=num_trainable_parameters,
                flops_per_image=flops_per_image,
            ),
            weights=schema.Weights(kind="none" if start == "random" else None),
            history=[schema.Row.model_validate({"epoch": number} | row) for number, row in enumerate(history, 1)],
            seconds=schema.Seconds(training=training_seconds, predicting=predicting_seconds),
            device=None if device is None else schema.Device(kind=NOT_KNOWN, name=device),
        )
        schema.check_predictions(run, arrays)
    record.check_readable(run.as_json(), schema.parse_complete)
    out_folder.check(folder, sum(array.nbytes for array in arrays.values()))
    with out_folder.claim(folder, new=True):
        record.finish_run(folder, run, arrays)
    return folder


def small_copy(run: record.Run, folder: Path) -> record.Run:
    """Write a copy of a run, in a new folder, that is small enough to pass on by the dozen: some 20 KB with 10,000 test
    images. Of its predictions it keeps what each image was taken for and how sure the network was of that, to a
    thousandth; no weights, nothing of the validation split, no pictures. Of a folder of images it keeps which were on
    which side.

    Raises:
        UserError: the folder cannot be written, or holds something.
    """
    num_classes = run.test_probabilities.shape[1]
    thousandths = np.round(1000 * run.test_probabilities.max(axis=1)).astype(np.uint16)
    arrays = {
        "test_predicted": run.test_probabilities.argmax(axis=1).astype(label_dtype(num_classes)),
        "test_thousandths": np.maximum(thousandths, 1000 // num_classes + 1),  # no other class is as likely
        "test_labels": run.test_labels,
    }
    if run.record.robustness is not None:
        arrays |= {name: getattr(run, name) for name in schema.ROBUSTNESS}
    with out_folder.claim(folder, new=True):
        if (run.folder / record.SPLIT).is_file():  # without it a report does not find the test images
            disk.write_atomically(folder / record.SPLIT, (run.folder / record.SPLIT).read_bytes())
        record.finish_run(folder, run.record.model_copy(update={"only_highest": True}), arrays)
    return record.read_run(folder)


def as_predictions(
    split: str, probabilities: np.ndarray | None, labels: np.ndarray | None, num_classes: int
) -> dict[str, np.ndarray]:
    """A split's probabilities as float32, and its labels in the smallest type that holds them, as `Run` names them.

    Raises:
        UserError: they are not that.
    """
    try:
        probabilities, labels = np.asarray(probabilities, np.float32), np.asarray(labels)
    except (TypeError, ValueError) as error:
        came = f"{split} predictions that are no arrays ({error})"
        raise UserError(came, "arrays of numbers", "mend them") from error
    whole = labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size
    if not whole or labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{split} labels of type {labels.dtype} and shape {labels.shape}",
            f"whole numbers from 0 to {num_classes - 1}, (num_images,)",
            "give each image the index of its class's name",
        )
    labels = labels.astype(label_dtype(num_classes))
    return {f"{split}_probabilities": probabilities, f"{split}_labels": labels}
