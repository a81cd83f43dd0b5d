"""The hyperparameters of `python -m scratch_resnet.train`, by name. Standard library only.

article  the article's program: 5 epochs on Fashion-MNIST at 96×96. Expect a test accuracy near 0.92; about an hour
         on two fast CPU cores.
demo     scikit-learn's digits at 28×28: expect about 0.90, in under a minute on two CPU cores.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way to train, whole. Derive another with `dataclasses.replace` and add it to `RECIPES`."""

    name: str
    """What `--recipe` calls it."""
    data: str
    """The data set, a name that `compare.dataset.load` knows."""
    validation_fraction: float
    """Share of the training set, in [0, 1), that is held out and watched after every epoch. With 0 the test set is
    watched instead."""
    image_size: int
    """Pixels a side that the 28×28 images are resized to."""
    batch_size: int
    """Images a step."""
    num_epochs: int
    """Passes over the training images."""
    learning_rate: float
    """Adam's step size, constant; no unit."""
    known_mistakes: tuple[str, ...] = ()
    """What is wrong with this recipe and kept on purpose, a sentence each."""


ARTICLE = Recipe(
    name="article",
    data="fashion-mnist",
    validation_fraction=0.0,
    image_size=96,
    batch_size=64,
    num_epochs=5,
    learning_rate=0.001,
    known_mistakes=(
        "The test set is watched after every epoch, so choosing anything by these curves is choosing by the test set.",
        "The learning rate stays constant to the last step, so the last epoch's accuracy is partly luck.",
    ),
)

DEMO = dataclasses.replace(
    ARTICLE,
    name="demo",
    data="digits",
    validation_fraction=0.1,
    image_size=28,
    num_epochs=5,
    known_mistakes=(),
)

RECIPES = {recipe.name: recipe for recipe in (ARTICLE, DEMO)}
