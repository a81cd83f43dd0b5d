"""The hyperparameters of `python -m pretrained.train`, by name. Standard library only.

article  the article's Keras snippet: 10 epochs on Fashion-MNIST at 28×28. With random weights expect a test accuracy
         of 0.226 after 13 minutes on two fast CPU cores; with ImageNet's it has not been measured here.
tuned    the same network and a linear head, with what the weights expect, 48×48 pixels, and a head at its optimum: some
         five minutes there. With ImageNet's weights it has not been measured here.
best     larger images, more views, then the whole backbone fine-tuned, for a GPU. Not measured yet.
frozen, fine-tuned, from-scratch
         EfficientNet-Lite0 at 96×96, whose ImageNet weights come with a package: a head on it at its optimum; that and
         then the whole backbone; and the control, which begins with random weights. What `--label-curve` compares.
demo, demo-fine-tuned
         `frozen` and `fine-tuned` on scikit-learn's digits at 64×64: expect 0.91 and 0.98, in less than half a minute.
"""

import dataclasses
import typing
from typing import Annotated, Any, Literal


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way to train, whole. Derive another with `dataclasses.replace` and add it to `RECIPES`, or in a TOML file
    (`compare.training.recipe_file`), which is held to the types and the intervals that stand here."""

    name: str
    """What `--recipe` calls it."""
    data: str
    """The data set, a name that `compare.data.dataset.load` knows."""
    validation_fraction: Annotated[float, "[0, 1)"]
    """Share of the training set, in [0, 1), that is held out and watched after every epoch. With 0 the test set is
    watched instead."""
    backbone: str
    """The network that is pretrained, as `pretrained.backbones` names it."""
    weights: Literal["imagenet", "random"] | str
    """The backbone's weights if `--weights` names none: imagenet (found or downloaded), or random. In the recipe of a
    run it may be the name of somebody's file."""
    image_size: Annotated[int, "[8, 4096]"]
    """Pixels a side that images are resized to, after augmentation: of others than square ones the longer side, and
    the rest is black, in equal parts before and after."""
    preprocessing: Literal["unit", "imagenet"]
    """unit: levels divided by 255. imagenet: what the backbone's weights expect, `preprocess_input` of its module in
    `keras.applications`; for ResNet50 BGR in 0…255 with ImageNet's mean subtracted."""
    shear_degrees: Annotated[float, "[0, 90)"]
    """Each training image is sheared by an angle drawn from ± this many degrees."""
    zoom_range: Annotated[float, "[0, 1)"]
    """Width and height are each zoomed by a factor drawn from 1 ± this."""
    horizontal_flip: bool
    """Whether every other training image, on average, is mirrored."""
    augmented_head: bool
    """Whether the head learns from augmented images; or else, with lbfgs, from the images as they are, whose features
    are kept for other runs (`pretrained.feature_cache`)."""
    normalize_features: bool
    """Whether the head begins with a batch normalisation of the features (without scale and offset of its own)."""
    num_epochs: Annotated[int, "[0, 10000]"]
    """Passes over the training images, each augmented anew, for the head on the frozen backbone."""
    solver: Literal["sgd", "lbfgs"]
    """sgd: the head learns batch by batch while the images pass, by plain gradient descent. lbfgs: the features of
    every pass are kept, and after each pass the head is brought to its optimum on all of them."""
    batch_size: Annotated[int, "[1, 4294967295]"]
    """Images a step, with sgd and in fine-tuning."""
    learning_rate: Annotated[float, "(0, 1e100]"]
    """With sgd: its step size, constant; no unit."""
    penalties: Annotated[tuple[float, ...], "(0, 1e100]"]
    """With lbfgs: the penalty is half the sum of squares of the head's weights, on scaled features
    (`pretrained.solver.Scale`), times one of these, the strongest first; the loss on the validation split chooses
    which, after the first pass. Where too few labels leave no such split, the middle one (of an even number the
    weaker) is taken."""
    unfreeze: Literal["none", "last-stage", "backbone", "all"]
    """What is trained together with the head after that: none, last-stage (of the backbone, what works at the
    size of its last maps: ResNet50's `conv5`), backbone (all of it, but batch normalisation stays as it was), or all,
    batch normalisation with its statistics too."""
    num_unfrozen_epochs: Annotated[int, "[1, 10000]"]
    """Passes over the training images, each augmented anew, for this fine-tuning."""
    least_steps: Annotated[int, "[0, 4294967295]"]
    """Gradient descent takes no fewer: with few images each of them comes several times in an epoch."""
    unfrozen_learning_rate: Annotated[float, "(0, 1e100]"]
    """Adam's step size in fine-tuning, constant, or the highest of the schedule; no unit."""
    schedule: Literal["constant", "one-cycle"]
    """Of that step size: constant, or one-cycle: up from nearly nothing and down to it again, once."""
    label_smoothing: Annotated[float, "[0, 1)"]
    """Probability, in [0, 1), that the targets of fine-tuning spread evenly over all classes."""
    precision: Literal["float32", "bfloat16"]
    """float32; or bfloat16, for the backbone on devices that compute in it, others keep float32."""
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
    on_photographs: dict[str, int | float] = dataclasses.field(default_factory=dict)
    """Fields that have other values where the images are photographs (`Dataset.are_photographs`). Of a run it is
    empty: they have them."""
    known_mistakes: tuple[str, ...] = ()
    """What is wrong with this recipe and kept on purpose, a sentence each."""

    def __post_init__(self) -> None:
        """Refuse a mode that there is not, a recipe that would choose by the test set, and a head that has no optimum
        to find."""
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is Literal and getattr(self, name) not in typing.get_args(hint):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(typing.get_args(hint))}")
        if self.solver == "lbfgs" and not (self.validation_fraction and self.penalties and not self.normalize_features):
            raise ValueError("lbfgs needs penalties, a validation split to choose by, and features as they are")
        if not self.augmented_head and (self.solver != "lbfgs" or self.num_epochs > 1):
            raise ValueError("images as they are have the same features in every pass: lbfgs in one epoch is for them")
        if not self.num_epochs_in_all:
            raise ValueError("no epoch of the head and none of fine-tuning trains nothing")
        if self.colour_jitter and self.crop_area == 1:
            raise ValueError(f"recipe {self.name} has a colour_jitter, which is of parts, and a crop_area of 1")
        if self.centre_crop < 1 and self.fit == "pad":
            raise ValueError(f"recipe {self.name} has a centre_crop, and fit='pad', which shows the whole")
        if self.on_photographs:
            others: dict[str, Any] = self.on_photographs
            dataclasses.replace(self, on_photographs={}, **others)

    @property
    def num_epochs_in_all(self) -> int:
        """How many rows the history of a complete run has."""
        return self.num_epochs + (0 if self.unfreeze == "none" else self.num_unfrozen_epochs)


ARTICLE = Recipe(
    name="article",
    data="fashion-mnist",
    validation_fraction=0.0,
    backbone="ResNet50",
    weights="imagenet",
    image_size=28,
    preprocessing="unit",
    shear_degrees=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
    augmented_head=True,
    normalize_features=False,
    num_epochs=10,
    solver="sgd",
    batch_size=32,
    learning_rate=0.001,
    penalties=(),
    unfreeze="none",
    num_unfrozen_epochs=1,
    least_steps=0,
    unfrozen_learning_rate=1e-5,
    schedule="constant",
    label_smoothing=0.0,
    precision="float32",
    known_mistakes=(
        "Pixels are divided by 255, but the ImageNet weights expect BGR in 0…255 with ImageNet's mean subtracted.",
        "The shear of 0.2 is in degrees, which is next to none.",
        "28×28 is below the 32×32 that ResNet50 is made for and leaves a 1×1 feature map.",
        "Ten epochs of gradient descent at 0.001 leave the head far from its optimum.",
        "The test set is watched after every epoch, so choosing anything by these curves is choosing by the test set.",
    ),
)

PHOTOGRAPHS = {
    "image_size": 96,
    "crop_area": 0.35,
    "centre_crop": 0.875,  # as 224 of 256 pixels, with which the field tests
    "colour_jitter": 0.2,
    "zoom_range": 0.0,
}

TUNED = dataclasses.replace(
    ARTICLE,
    name="tuned",
    validation_fraction=0.1,
    image_size=48,
    preprocessing="imagenet",
    shear_degrees=0.0,
    zoom_range=0.1,
    num_epochs=2,
    solver="lbfgs",
    penalties=(1e-2, 1e-3, 1e-4),
    precision="bfloat16",
    on_photographs=PHOTOGRAPHS,
    known_mistakes=(),
)

BEST = dataclasses.replace(
    TUNED,
    name="best",
    image_size=128,
    on_photographs=PHOTOGRAPHS | {"image_size": 224},
    num_epochs=4,
    unfreeze="backbone",
    num_unfrozen_epochs=3,
)

FROZEN = dataclasses.replace(
    TUNED,
    name="frozen",
    backbone="EfficientNetLite0",
    image_size=96,
    zoom_range=0.0,
    augmented_head=False,
    on_photographs={"centre_crop": PHOTOGRAPHS["centre_crop"]},
    num_epochs=1,
    penalties=(1.0, 1e-1, 1e-2, 1e-3),
    precision="float32",  # processors go backward through depthwise convolutions in bfloat16 at a fifth of this speed
)

FINE_TUNED = dataclasses.replace(
    FROZEN,
    name="fine-tuned",
    unfreeze="backbone",
    on_photographs=PHOTOGRAPHS,
    batch_size=64,
    num_unfrozen_epochs=4,
    least_steps=400,
    unfrozen_learning_rate=1e-3,
    schedule="one-cycle",
    label_smoothing=0.1,
)

FROM_SCRATCH = dataclasses.replace(
    FINE_TUNED,
    name="from-scratch",
    weights="random",
    num_epochs=0,
    unfreeze="all",
    num_unfrozen_epochs=10,
    unfrozen_learning_rate=3e-3,
)

DEMO = dataclasses.replace(FROZEN, name="demo", data="digits", image_size=64)

DEMO_FINE_TUNED = dataclasses.replace(
    FINE_TUNED,
    name="demo-fine-tuned",
    data="digits",
    image_size=64,
    on_photographs=PHOTOGRAPHS | {"image_size": 64},
    batch_size=32,
    least_steps=100,
)

RECIPES = {
    recipe.name: recipe for recipe in (ARTICLE, TUNED, BEST, DEMO, DEMO_FINE_TUNED, FROZEN, FINE_TUNED, FROM_SCRATCH)
}
