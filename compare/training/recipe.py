"""What a recipe is to `compare`: the fields that it uses of every branch's, whose `recipe.py` says what each means."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar


@dataclasses.dataclass(frozen=True, match_args=False)
class Recipe(Protocol):
    """A frozen dataclass that has these, as fields or properties, whatever else it has."""

    name: str
    data: str
    validation_fraction: float
    image_size: int
    fit: Literal["crop", "pad"]
    horizontal_flip: bool
    crop_area: float
    centre_crop: float
    colour_jitter: float
    class_weights: Literal["none", "balanced"]
    batch_size: int
    least_steps: int
    num_epochs_in_all: int
    on_photographs: Mapping[str, Any]


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
