"""A training of each branch on the digits, by steps at a constant rate, as small and plain as can be."""

import dataclasses

import pretrained.recipe
import scratch_resnet.recipe

SCRATCH = dataclasses.replace(
    scratch_resnet.recipe.ARTICLE,
    name="demo",
    data="digits",
    validation_fraction=0.1,
    image_size=28,
    known_mistakes=(),
)
PRETRAINED = dataclasses.replace(
    pretrained.recipe.ARTICLE,
    name="demo",
    data="digits",
    validation_fraction=0.1,
    weights="random",
    image_size=32,
    preprocessing="imagenet",
    shear_degrees=10.0,
    zoom_range=0.1,
    horizontal_flip=False,
    normalize_features=True,
    num_epochs=5,
    learning_rate=0.03,
    known_mistakes=(),
)
