"""What a device, or a training's numbers, cannot do, in words."""

import contextlib
import re
from collections.abc import Iterator

from compare.system.errors import EXIT_FAILED, UserError
from compare.training.recipe import Recipe

NO_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory|resource ?exhausted|alloc failed")

MPS_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"  # a variable of the environment that PyTorch reads


def diverged(came: str, advice: str) -> UserError:
    """The error of a training whose numbers are no longer finite."""
    return UserError(came, "finite numbers: the training has diverged", advice, exit_code=EXIT_FAILED)


@contextlib.contextmanager
def limits_in_words(recipe: Recipe, *, exit_code: int, smaller: str) -> Iterator[None]:
    """Turn what a device cannot do inside the block, in whichever framework, into words: a want of memory, into the
    article's own hint (`smaller` says what can be made so), and an operation that it lacks, as Apple's GPUs do some."""
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}".replace("_", " ").lower()
        is_lacking = isinstance(error, NotImplementedError) and "aten::" in said
        if is_lacking or "mps framework" in said:  # it has no float64
            on_processor = f"set {MPS_FALLBACK}=1, so that the processor computes what the GPU cannot, or "
            raise UserError(
                f"the device lacks an operation: {str(error).partition('. ')[0][:300]}",
                "one that has all that this training computes",
                f"{on_processor if MPS_FALLBACK in str(error) else ''}choose --device cpu, or a newer PyTorch",
                exit_code=exit_code,
            ) from error
        if not isinstance(error, MemoryError) and not NO_MEMORY.search(said):
            raise
        raise UserError(
            f"out of memory with images of {recipe.image_size}×{recipe.image_size}",
            "a step that fits into the device's memory",
            f"make {smaller} smaller",
            exit_code=exit_code,
        ) from error
