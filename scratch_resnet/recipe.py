"""The hyperparameters of `python -m scratch_resnet.train`, by name. Standard library only.

article  the article's program: 5 epochs on Fashion-MNIST at 96×96. Expect a test accuracy of 0.918 after 54 minutes
         on two fast CPU cores.
tuned    the same network at 32×32, one-cycle, mirrored images, label smoothing, batches of 256. Expect a test accuracy
         of 0.929 after 6 minutes on two fast CPU cores that compute in bfloat16.
best     the highest accuracy that this network gives, for a GPU: 60 epochs at 64×64, shifted images, weight decay.
         Not measured yet.
demo     scikit-learn's digits at 28×28: expect 0.96, in a quarter of a minute on two CPU cores.
"""

import dataclasses
import typing
from typing import Annotated, Any, Literal

Depth = Literal[18, 34, 50, 101, 152]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way to train, whole. Derive another with `dataclasses.replace` and add it to `RECIPES`, or in a TOML file
    (`compare.training.recipe_file`), which is held to the types and the intervals that stand here."""

    name: str
    """What `--recipe` calls it."""
    data: str
    """The data set, a name that `compare.data.dataset.load` knows."""
    depth: Depth
    """The network's layers with weights, as its name counts them: 18 is the article's ResNet-18."""
    validation_fraction: Annotated[float, "[0, 1)"]
    """Share of the training set, in [0, 1), that is held out and watched after every epoch. With 0 the test set is
    watched instead."""
    image_size: Annotated[int, "[8, 4096]"]
    """Pixels a side that the images are resized to."""
    horizontal_flip: bool
    """Whether every other training image, on average, is mirrored."""
    shift_pixels: Annotated[int, "[0, 4096]"]
    """Each training image is shifted, down and across, by up to this many of its own pixels; black comes in."""
    batch_size: Annotated[int, "[1, 4294967295]"]
    """Images a step."""
    num_epochs: Annotated[int, "[1, 10000]"]
    """Passes over the training images."""
    least_steps: Annotated[int, "[0, 4294967295]"]
    """The training takes no fewer: with few images each of them comes several times in an epoch."""
    learning_rate: Annotated[float, "(0, 1e100]"]
    """Adam's step size, no unit: constant, or the highest of the schedule."""
    schedule: Literal["constant", "one-cycle"]
    """constant, or one-cycle: up from nearly nothing and down to it again, once."""
    weight_decay: Annotated[float, "[0, 1e100]"]
    """Share of each convolution's and linear layer's weights, times the step size, that every step takes away."""
    label_smoothing: Annotated[float, "[0, 1)"]
    """Probability, in [0, 1), that the training targets spread evenly over all classes."""
    mirrored_predictions: bool
    """Whether a prediction is the mean of the logits of the image and of its mirror image."""
    precision: Literal["float32", "bfloat16"]
    """float32 (which PyTorch's convolutions on recent GPUs round to TF32); or bfloat16, for the convolutions on devices
    that compute in it, others keep float32."""
    fit: Literal["crop", "pad"] = "crop"
    """How images of a folder become squares: their middle, by the shorter side; or whole, on black."""
    class_weights: Literal["none", "balanced"] = "none"
    """How much a training image counts in the loss: none, as much as any other; or balanced, the more the fewer images
    its class has, so that every class counts alike."""
    crop_area: Annotated[float, "(0, 1]"] = 1.0
    """Each training image shows a part of itself, drawn anew: of its area this share or more, in (0, 1], and its sides
    in a ratio of 3:4 to 4:3, mirrored or not, and nothing else moves it. With 1 it shows the whole."""
    centre_crop: Annotated[float, "(0, 1]"] = 1.0
    """Share of each side, in (0, 1], whose middle is shown where nothing is drawn, as in the test: images of a folder
    are decoded to so much more than `image_size`."""
    colour_jitter: Annotated[float, "[0, 1]"] = 0.0
    """Brightness, contrast and saturation of each such part are multiplied by a factor each, drawn from 1 ± this."""
    standardised: bool = False
    """Whether of each channel the mean that photographs have is taken away, and the rest divided by their deviation."""
    on_photographs: dict[str, int | float] = dataclasses.field(default_factory=dict)
    """Fields that have other values where the images are photographs (`Dataset.are_photographs`). Of a run it is
    empty: they have them."""
    known_mistakes: tuple[str, ...] = ()
    """What is wrong with this recipe and kept on purpose, a sentence each."""

    def __post_init__(self) -> None:
        """Refuse a mode that there is not: another one would be trained without a word."""
        for field in dataclasses.fields(self):
            value, modes = getattr(self, field.name), typing.get_args(field.type)
            if typing.get_origin(field.type) is Literal and value not in modes:
                raise ValueError(f"{field.name} {value!r} in recipe {self.name}, not one of {modes}")
        if self.colour_jitter and self.crop_area == 1:
            raise ValueError(f"recipe {self.name} has a colour_jitter, which is of parts, and a crop_area of 1")
        if self.centre_crop < 1 and self.fit == "pad":
            raise ValueError(f"recipe {self.name} has a centre_crop, and fit='pad', which shows the whole")
        if self.on_photographs:
            others: dict[str, Any] = self.on_photographs
            dataclasses.replace(self, on_photographs={}, **others)

    @property
    def network(self) -> str:
        """What the network is called."""
        return f"ResNet-{self.depth}"

    @property
    def num_epochs_in_all(self) -> int:
        """How many rows the history of a complete run has."""
        return self.num_epochs


ARTICLE = Recipe(
    name="article",
    data="fashion-mnist",
    depth=18,
    validation_fraction=0.0,
    image_size=96,
    horizontal_flip=False,
    shift_pixels=0,
    batch_size=64,
    num_epochs=5,
    least_steps=0,
    learning_rate=0.001,
    schedule="constant",
    weight_decay=0.0,
    label_smoothing=0.0,
    mirrored_predictions=False,
    precision="float32",
    known_mistakes=(
        "The test set is watched after every epoch, so choosing anything by these curves is choosing by the test set.",
        "The learning rate stays constant to the last step, so the last epoch's accuracy is partly luck.",
    ),
)

PHOTOGRAPHS = {
    "image_size": 64,  # feature maps of 16, 8, 4 and 2 pixels
    "crop_area": 0.35,
    "centre_crop": 0.875,  # as 224 of 256 pixels, with which the field tests
    "colour_jitter": 0.2,
    "shift_pixels": 0,
    "standardised": True,
}

TUNED = dataclasses.replace(
    ARTICLE,
    name="tuned",
    validation_fraction=0.1,
    image_size=32,  # feature maps of 8, 4, 2 and 1 pixels: an epoch takes half a minute on two fast cores
    horizontal_flip=True,
    batch_size=256,
    num_epochs=10,
    least_steps=600,
    learning_rate=0.003,
    schedule="one-cycle",
    label_smoothing=0.1,
    mirrored_predictions=True,
    precision="bfloat16",
    on_photographs=PHOTOGRAPHS,
    known_mistakes=(),
)

BEST = dataclasses.replace(
    TUNED,
    name="best",
    image_size=64,
    on_photographs=PHOTOGRAPHS | {"image_size": 128},
    shift_pixels=1,
    weight_decay=0.05,
    num_epochs=60,
)

DEMO = dataclasses.replace(
    TUNED,
    name="demo",
    data="digits",
    image_size=28,
    on_photographs=PHOTOGRAPHS | {"image_size": 32},
    batch_size=64,
    num_epochs=12,
    least_steps=150,
    mirrored_predictions=False,
)

RECIPES = {recipe.name: recipe for recipe in (ARTICLE, TUNED, BEST, DEMO)}
