"""The features of one training made by several processes, as `torchrun` begins them on one machine: each makes files of
features that no other is making (`feature_cache.in_turns`), and the first goes on alone with all of them.

Keras may run on any backend, so no framework carries words between them: they lie in the folder that torchrun made for
its processes' logs. Where one fails, torchrun ends all.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from compare.runs.schema import Record
from compare.system import disk, processes
from compare.system.errors import EXIT_FAILED, EXIT_REFUSED, UserError
from pretrained.recipe import Recipe

Made = TypeVar("Made")
TORCHRUN = os.getppid()
SECONDS_BETWEEN_LOOKS = 0.05
ALONE = "begin it by one process: python -m pretrained.train"


def meet(where: str, said: str = "") -> list[str]:
    """Wait until all processes are at the place of this name, and give what each has said there.

    Raises:
        UserError: torchrun, which would end them all where one fails, has itself ended.
    """
    if processes.num_together() == 1:
        return [said]
    logs = Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parents[1]  # of all of them, each by its number
    places = [logs / str(number) / where for number in range(processes.num_together())]
    disk.write_atomically(places[int(os.environ["LOCAL_RANK"])], said.encode())
    while not all(place.exists() for place in places):
        if os.getppid() != TORCHRUN:
            if not processes.is_first():
                raise SystemExit(EXIT_FAILED)
            raise UserError(
                "torchrun has ended, and with it perhaps others of its processes",
                "all of them to the end",
                "see what ended it",
                exit_code=EXIT_FAILED,
            ) from ConnectionError("torchrun")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return [place.read_text() for place in places]


def in_turn(make: Callable[[], Made]) -> Made:
    """What `make` gives in this process, once it is done in the first: what that refuses it refuses for all, and what
    it downloads or decodes the others find in the caches."""
    if not processes.is_first():
        meet("checked")
    made = make()
    if processes.is_first():
        meet("checked")
    return made


def total(value: float) -> float:
    """What all processes come to, where this one comes to `value`: nobody asks the others what they took."""
    return value if processes.num_together() == 1 else math.nan


def note_number(record: Record) -> None:
    """Say in a record, which another number of processes may have begun, by how many it is gone on with."""
    begun, now = (" ".join(processes.launcher(number)) for number in (record.num_processes, processes.num_together()))
    record.command = record.command and record.command.replace(begun, now, 1)
    record.num_processes = processes.num_together()


def check_place() -> None:
    """Refuse processes that cannot reach one another.

    Raises:
        UserError: they are on several machines, or torchrun keeps no logs. The first on each machine says so.
    """
    if processes.num_together() == 1:
        return
    here, num_together = int(os.environ["LOCAL_WORLD_SIZE"]), processes.num_together()
    if here == num_together and os.environ.get("TORCHELASTIC_ERROR_FILE"):
        return
    if not processes.is_first("LOCAL_RANK"):
        raise SystemExit(EXIT_REFUSED)
    raise UserError(
        f"torchrun with {here} of {num_together} processes on this machine"
        + ", and without a folder for their logs" * (here == num_together),
        "all of them on one machine, where they share out the features by that folder",
        "say torchrun --nproc-per-node=N alone, or " + ALONE,
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse several processes where they would have nothing to share out.

    Raises:
        UserError: of this recipe no features are kept.
    """
    if processes.num_together() == 1 or (recipe.solver == "lbfgs" and recipe.num_epochs):
        return
    why = "makes them anew in every epoch and keeps none" if recipe.num_epochs else "trains the whole network alone"
    raise UserError(
        f"torchrun with {processes.num_together()} processes, which share out the features of the images, and recipe "
        f"{recipe.name}, which {why}",
        "a recipe whose features are kept, as those of tuned, best, frozen and fine-tuned are",
        ALONE + ", or take one of those recipes",
    )


def check_same_device(kind: str, how: str) -> None:
    """Refuse, by the first, processes that compute on other devices than it, or would all take the same.

    Args:
        kind: of this process' device.
        how: it computes there, in words.
    """
    said = meet("device", f"{kind} in {how}")
    if not processes.is_first() or len(said) == 1 or (len(set(said)) == 1 and kind in ("cpu", "cuda")):
        return
    raise UserError(
        f"{len(said)} processes together, on " + " and ".join(dict.fromkeys(said)),
        "a GPU of one kind for each of them, or processors",
        "begin no more processes than there are GPUs, or say --device cpu",
    )
