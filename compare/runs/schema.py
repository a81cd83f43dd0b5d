"""What a run must hold to be believed: somebody else may have written it, and the page is made of it.

A record is declared here, a field a line: its type, its bounds and, where it is not plain, what it means. Losses are in
nats an image, accuracies fractions, times seconds, sizes bytes. None is what nobody knows, and the page says so.
"""

from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import pydantic
from pydantic import Field

from compare.data.images import MAX_CLASSES, fingerprint
from compare.runs.format_1 import upgraded
from compare.system import disk
from compare.system.command import MAX_EPOCHS, MAX_NUMBER

# The arrays of predictions.npz.
ROBUSTNESS, SEEN = ("robustness_rows", "robustness_predicted"), ("seen_test", "seen_training")
HELD_OUT = ("validation_probabilities", "validation_labels")
HIGHEST = ("test_predicted", "test_thousandths")
ARRAYS = ("test_probabilities", *HIGHEST, "test_labels", *ROBUSTNESS, *SEEN, *HELD_OUT)
FORMAT: Final = 2  # of record.json and checkpoint metadata; raised when a field changes its meaning
MAX_NAME_LENGTH, MAX_TEXT_LENGTH = 200, 10_000
MAX_DEPTH = 20  # less than other JSON may have: report.json has records in it

Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]


class Part(pydantic.BaseModel):
    """A part of a record. Nothing is converted: a text is no number, and neither is true. Fields that it does not have
    are passed over."""

    model_config = pydantic.ConfigDict(strict=True, validate_assignment=True)


class Recipe(Part):
    """The hyperparameters, which are the branch's own; here are those that a reader makes something of."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow")

    name: Name
    known_mistakes: list[Text] = []
    image_size: PositiveCount | None = None
    fit: Literal["crop", "pad"] = "crop"
    class_weights: Literal["none", "balanced"] = "none"
    crop_area: Fraction = 1.0
    """The least share of an image's area that training shows of it."""
    centre_crop: Fraction = 1.0
    """The share of each side that the test shows, its middle."""
    label_smoothing: Fraction | None = None

    def as_json(self) -> dict[str, Any]:
        """The recipe as its branch wrote it."""
        return self.model_dump(exclude_unset=True)


class RecipeFile(Part):
    """The file of somebody's that a recipe came from, which is called as it is."""

    base: Name
    """The recipe by name that it began with."""
    fields: dict[Name, Any]
    """What it says on top."""


class Data(Part):
    """What was trained on and tested with."""

    name: Name
    title: Name
    is_demonstration: bool = False
    image_shape: Annotated[list[PositiveCount], Field(min_length=3, max_length=3)] | None = None
    """Height, width and channels."""
    num_train: Count | None = None
    num_validation: Count = 0
    num_test: PositiveCount
    labels_a_class: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    """The fewest and the most labelled images of a class, training and validation together."""
    labels_per_class: PositiveCount | None = None
    """How many labelled images of every class were taken, where that was asked for; of a class with fewer all."""
    subset_seed: Count | None = None
    """Of the draw of these."""
    class_names: Annotated[list[Name], Field(min_length=2, max_length=MAX_CLASSES)]
    unreadable: dict[Name, PositiveCount] | None = None
    """How many files were left out that could not be read, by the kind of the reason."""
    num_leaks: PositiveCount | None = None
    """How many test images were trained on as well, or of a group that was, where that was allowed."""
    group_by: Text | None = None
    """The expression by which images of one source were kept on one side."""
    fingerprint: Text | None = None
    split_fingerprint: Text | None = None
    test_labels_fingerprint: Text

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a run that must have them.

        Raises:
            ValueError: it has not; whoever needs them has to refuse it before.
        """
        if self.image_shape is None:
            raise ValueError(f"the size of the images of {self.title} is not known")
        height, width, num_channels = self.image_shape
        return height, width, num_channels

    @pydantic.field_validator("class_names")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("class names come twice")
        return names


class Model(Part):
    """The network."""

    name: Name
    """Its architecture, as people call it: `ResNet-18`."""
    title: Name | None = None
    """What the page calls it, where that does not follow from the fields below."""
    start: Literal["random", "pretrained"] | None = None
    trained: Literal["all", "head", "last stage", "backbone"] | None = None
    """What was trained: the last two together with the head, and after it."""
    depth: PositiveCount | None = None
    backbone: Name | None = None
    num_parameters: PositiveCount | None = None
    num_trainable_parameters: PositiveCount | None = None
    flops_per_image: PositiveCount | None = None


class Input(Part):
    """What enters a network: its channels, as `RGB`, `BGR` or `grey`, and the range of each."""

    channels: Text
    lowest: list[Number]
    highest: list[Number]

    @pydantic.model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.lowest) != len(self.highest):
            raise ValueError("as many lowest as highest values")
        return self


class Weights(Part):
    """What the network began with."""

    kind: Name | None = "none"
    """none, random (of a network that is otherwise pretrained), imagenet or file; or another program's word."""
    sha256: Text | None = None
    is_part_of_file: bool = False
    expects: Input | None = None
    """What pretrained weights were trained on."""


class Frozen(Part):
    """The hashes of what training should leave alone."""

    sha256_loaded: Text | None = None
    sha256_before: Text
    sha256_after: Text | None = None


class Row(Part):
    """An epoch."""

    epoch: PositiveCount
    seconds: Positive | None = None
    images_per_second: Positive | None = None
    learning_rate: Amount | None = None
    penalty: Amount | None = None
    phase: Name | None = None
    train_loss: Number | None = None
    train_accuracy: Fraction | None = None
    validation_loss: Number | None = None
    validation_accuracy: Fraction | None = None
    test_loss: Number | None = None
    test_accuracy: Fraction | None = None
    energy_joules: Amount | None = None
    processor_seconds: Amount | None = None


class Seconds(Part):
    """What the parts of a run took."""

    preparing: Amount | None = None
    training: Positive | None = None
    predicting: Amount | None = None
    robustness: Amount | None = None
    extracting: Amount | None = None
    """What the features had taken to make that another run had left in a cache: not in `training`."""

    @property
    def training_alone(self) -> float | None:
        """What training takes where no other run has left anything to use."""
        return None if self.training is None else self.training + (self.extracting or 0)


class UnderWay(Part):
    """What an epoch has taken that is not finished."""

    seconds: Amount
    energy_joules: Amount | None = None
    processor_seconds: Amount = 0.0


class PeakMemory(Part):
    """Of the process, of several the first, and of its device."""

    main: Count | None = None
    device: Count | None = None


class Device(Part):
    """What computed."""

    kind: Name
    name: Name


class Robustness(Part):
    """The corrupted copies that were predicted: kinds, and the amounts of each from weak to strong."""

    strengths: Annotated[dict[Name, list[int | Number]], Field(min_length=1)]
    num_images: PositiveCount
    fingerprint: Text | None = None

    @pydantic.field_validator("strengths")
    @classmethod
    def _even(cls, strengths: dict[str, list[float]]) -> dict[str, list[float]]:
        if len(set(map(len, strengths.values()))) != 1 or not all(strengths.values()):
            raise ValueError("uneven strengths of corruption")
        return strengths


class Record(Part):
    """All that is known of a run; of one that is not complete, all that is known so far."""

    format: Literal[2] = FORMAT
    branch: Name
    """The package that trained it, or another program's name for itself."""
    command: Text | None = None
    recipe: Recipe
    recipe_file: RecipeFile | None = None
    overrides: dict[Name, Any] = {}
    """The recipe's fields that the command line changed."""
    num_epochs: Annotated[int, Field(ge=0, le=MAX_EPOCHS)]
    """How many were planned; a complete run's history has as many."""
    seed: Count | None = None
    data: Data
    model: Model | None = None
    weights: Weights = Weights()
    frozen: Frozen | None = None
    history: Annotated[list[Row], Field(max_length=MAX_EPOCHS)] = []
    under_way: UnderWay | None = None
    seconds: Seconds = Seconds()
    energy_joules: Amount | None = None
    processor_seconds: Amount | None = None
    peak_memory_bytes: PeakMemory = PeakMemory()
    device: Device | None = None
    num_processes: PositiveCount = 1
    """How many trained it together, each a share of every batch."""
    num_threads: PositiveCount | None = None
    """Of each process."""
    precision: Text | None = None
    versions: dict[Name, Text] = {}
    environment: dict[Name, Text] = {}
    robustness: Robustness | None = None
    seen: Input | None = None
    """What entered the network, where the run keeps images of that."""
    commit: Text | None = None
    repository: Text | None = None
    """The address that it was cloned from, without a password; None where that is a folder."""
    source: Text | None = None
    started: Text | None = None
    only_highest: bool = False
    """Whether each image's highest probability alone was kept, and the other classes have equal parts of the rest."""
    files: dict[Name, Text] = {}
    sha256: Text | None = None

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Self:
        epochs = [row.epoch for row in self.history]
        if epochs != list(range(1, len(epochs) + 1)):
            raise ValueError(f"the history has epochs {str(epochs)[:100]}, not 1, 2, … in order")
        return self

    @property
    def is_from_scratch(self) -> bool:
        """Whether nothing but this data has taught the network, and all of it was trained."""
        return self.model is not None and (self.model.start, self.model.trained) == ("random", "all")

    @property
    def is_pretrained(self) -> bool:
        """Whether the network began with what other data has taught it."""
        return self.model is not None and self.model.start == "pretrained"

    @property
    def is_control(self) -> bool:
        """Whether it stands in for a pretrained network, and nothing has taught its frozen part."""
        return self.model is not None and self.model.start == "random" and self.model.trained != "all"

    @property
    def watched(self) -> Literal["test", "validation"] | None:
        """The split that was watched after every epoch; None if none was."""
        for split in ("test", "validation"):
            names = (f"{split}_loss", f"{split}_accuracy")
            if self.history and all(getattr(row, name) is not None for row in self.history for name in names):
                return split
        return None

    @property
    def stayed_frozen(self) -> bool | None:
        """Whether what should stay as it was did; None where nothing should, or is not known yet."""
        frozen = self.frozen
        return frozen.sha256_before == frozen.sha256_after if frozen and frozen.sha256_after else None

    def as_json(self) -> dict[str, Any]:
        """The record as it is written: what is not known is left out, but a recipe is whole."""
        return self.model_dump(exclude_none=True) | {"recipe": self.recipe.as_json()}


def parse(content: object) -> Record:
    """A record of this format or an earlier one, complete or not, from JSON.

    Raises:
        ValueError: it is none, in a line.
    """
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    if disk.is_changed(content):
        raise ValueError("other content than the run wrote")
    if disk.depth(content) > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if content.get("format") == 1:
        content = upgraded(content)
    if content.get("format") != FORMAT:
        raise ValueError(f"format {str(content.get('format'))[:100]}")
    try:
        return Record.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(in_words(error)) from error


def parse_complete(content: object) -> Record:
    """The same of a complete run; raises as `parse`."""
    record = parse(content)
    if record.model is None:
        raise ValueError("model is missing")
    if len(record.history) != record.num_epochs:
        raise ValueError(f"the history has {len(record.history)} epochs, and {record.num_epochs} were planned")
    return record


def in_words(error: pydantic.ValidationError) -> str:
    """The first thing that a part found wrong, in a line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{place} is missing"
    said = first["msg"].removeprefix("Value error, ")
    return f"{place} is {str(first['input'])[:100]!r}: {said}" if place else said


def with_equal_rest(predicted: np.ndarray, thousandths: np.ndarray, num_classes: int) -> np.ndarray:
    """Probabilities, float32 (num_images, num_classes), of which the highest alone was kept: `predicted` is whose, and
    the other classes have equal parts of what the thousandths leave."""
    highest = thousandths / np.float32(1000)  # (num_images,)
    probabilities = np.repeat(((1 - highest) / (num_classes - 1))[:, np.newaxis], num_classes, axis=1)
    np.put_along_axis(probabilities, predicted[:, np.newaxis].astype(np.int64), highest[:, np.newaxis], axis=1)
    return probabilities


def check_predictions(record: Record, arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays of predictions.npz that do not belong to the record beside it.

    Raises:
        ValueError: what is wrong with them, in a line.
    """
    num_classes = len(record.data.class_names)
    if fingerprint(arrays["test_labels"]) != record.data.test_labels_fingerprint:
        raise ValueError("it holds other test labels than the record's")
    if len(arrays.keys() & set(HELD_OUT)) == 1:
        raise ValueError(f"it holds one of {' and '.join(HELD_OUT)} without the other")
    for names, part, what in (
        (ROBUSTNESS, record.robustness, "corrupted images were predicted"),
        (SEEN, None if record.only_highest else record.seen, "images are there as they entered the network"),
    ):
        if {name in arrays for name in names} != {part is not None}:
            raise ValueError(f"it and the record do not agree on whether {what}")

    _check_split("test", arrays, record.data.num_test, num_classes)
    if HELD_OUT[0] in arrays:
        _check_split("validation", arrays, record.data.num_validation, num_classes)
    if record.robustness is not None:
        _check_corrupted(record.robustness, record.data, *(arrays[name] for name in ROBUSTNESS))
    for array in (arrays[name] for name in SEEN if name in arrays):
        square = array.ndim in (3, 4) and array.shape[1] == array.shape[2] and array.shape[3:] in ((), (3,))
        if not square or array.dtype != np.uint8 or array.shape[1:] != arrays[SEEN[0]].shape[1:] or not array.size:
            came = f"it holds {array.dtype} {array.shape} of images as they entered the network"
            raise ValueError(f"{came}, not squares of uint8")


def _check_split(split: str, arrays: dict[str, np.ndarray], num_images: int, num_classes: int) -> None:
    probabilities, labels = arrays[f"{split}_probabilities"], arrays[f"{split}_labels"]
    shape = (num_images, num_classes)
    if probabilities.shape != shape or probabilities.dtype != np.float32:
        raise ValueError(f"it holds {probabilities.dtype} {probabilities.shape}, not float32 {shape}")
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("it holds rows that are not probabilities")
    if labels.shape != shape[:1] or labels.dtype.kind != "u" or not len(labels) or labels.max() >= num_classes:
        raise ValueError(f"it holds {split} labels that are not {num_images} numbers below {num_classes}")


def _check_corrupted(robustness: Robustness, data: Data, rows: np.ndarray, predicted: np.ndarray) -> None:
    strengths, num_images = robustness.strengths, robustness.num_images
    shape = (len(strengths), len(next(iter(strengths.values()))), num_images)
    if rows.shape != (num_images,) or rows.dtype != np.int64:
        raise ValueError(f"it holds {rows.dtype} {rows.shape} of corrupted images, not int64 {(num_images,)}")
    if predicted.shape != shape or predicted.dtype.kind != "u":
        came = f"it holds {predicted.dtype} {predicted.shape} of corrupted images"
        raise ValueError(f"{came}, not unsigned numbers {shape}")
    if predicted.max() >= len(data.class_names):
        raise ValueError("it holds classes of corrupted images that there are not")
    if rows[0] < 0 or rows[-1] >= data.num_test or not (np.diff(rows) > 0).all():
        raise ValueError("it holds rows of corrupted images that are not ascending rows of the test file")
