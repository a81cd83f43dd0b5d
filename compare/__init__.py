"""Should I train from scratch or fine-tune a pretrained network? The part that answers, free of any framework.

    start     what must hold before anything else is imported
    system/   the machine, the terminal, the process: what every other wing stands on
    data/     the images and labels that every branch sees
    runs/     the run on disk: what a branch hands over
    training/ what surrounds a training, alike in every branch
    findings/ what is computed from runs
    page/     what is said and drawn of findings
    run       the main command: `python -m compare.run --both`
    plan      which trainings that is, out of the words of the command line; `plan_file` keeps them
    jobs      how many at a time, and what of the machine each has
    supervise the process of each, watched over
    cluster   the same on other machines, by Ray
    report    a report from finished runs: `python -m compare.report RUN [RUN …]`
    comparison  the same from Python and in notebooks: `from compare import load_run, compare_runs`
    inspect   what is in a folder of images, and what is wrong with it: `python -m compare.inspect FOLDER`
    predict   what trained networks take pictures for: `python -m compare.predict RUN PICTURE`
    export    one as a file for other programs: `python -m compare.export RUN --format onnx`
    card      the model card beside it
    rates     draws what a range test of learning rates has found
    doctor    what is here, what is missing, and what to do: `python -m compare.doctor`
    __main__  what there is: `python -m compare`

A wing uses what stands above it, but `findings` and `page` train nothing; the branches use the first four. Nothing here
imports a branch or a deep-learning framework. A wing's `__init__.py` says in a line what each of its files is for.
"""

from compare import start

start.check()

TYPE_CHECKING = False  # as in `start`
if TYPE_CHECKING:
    from typing import Any

    from compare.comparison import compare_runs, load_run
    from compare.runs.saving import save_run

__all__ = ["compare_runs", "load_run", "save_run"]


def __getattr__(name: str) -> "Any":
    # only when they are asked for: they bring NumPy, matplotlib and scikit-learn
    if name in __all__:
        import importlib

        module = "compare.runs.saving" if name == "save_run" else "compare.comparison"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
