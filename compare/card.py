"""A model card in a run's folder, as Hugging Face's readers take it: a README.md that begins with YAML.

`compare.run` writes it beside its report, and not a training at its end: the numbers are those of `compare.findings`,
which a training does not compute. `compare.export` writes another one, which knows the file that somebody is about to
hand on. What is not known, as the licence, is left out.
"""

import json
import sys

from compare.findings.calibration import calibration
from compare.findings.metrics import Result, evaluate
from compare.page.words import duration, network_in_words, without_folders
from compare.runs.record import Run
from compare.system import disk
from compare.system.errors import UserError

NAME = "README.md"
LIBRARIES = {"onnx": "onnx", "keras": "keras", "torch": "pytorch"}  # by the file's format
HUB_NAMES = {"fashion-mnist": "zalando-datasets/fashion_mnist"}  # what the Hub calls data that have a name here
USE_OF_RUN = [
    *("## Use", "", "In this folder, with the program that trained it:", "", "```"),
    *("python -m compare.predict . PICTURE", "python -m compare.export . --format onnx", "```", ""),
]
NUM_WEAKEST = 3  # classes
USE = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession({file})
(probabilities,) = session.run(None, {{session.get_inputs()[0].name: images}})""",
    "keras": """import keras

probabilities = keras.saving.load_model({file}, compile=False).predict(images)""",
    "torch": """import torch

probabilities = torch.export.load({file}).module()(torch.from_numpy(images))""",
}


def text(run: Run, form: str | None = None, file_name: str = "") -> str:
    """The card of a run.

    Args:
        run: the run, whole.
        form: the format of the file that its network was exported to, one of `compare.export.ENDINGS`; None where it
            was not.
        file_name: what that is called.
    """
    result, error = evaluate(run), calibration(run).error
    name = _in_a_line(f"{network_in_words(run.record)}, {run.record.data.title}")
    parts = [
        *_front_matter(run, LIBRARIES[form] if form else None, name, result, error),
        f"# {name}",
        *_made(run),
        *(_use(run, form, file_name) if form else USE_OF_RUN if run.record.data.image_shape else []),
        *_results(run, result, error),
        *_limits(run),
        *_settings(run),
    ]
    return "\n".join(parts) + "\n"


def _front_matter(run: Run, library: str | None, name: str, result: Result, error: float) -> list[str]:
    data = run.record.data
    metrics = {
        "accuracy": ("Accuracy", result.accuracy),
        "balanced_accuracy": ("Balanced accuracy", result.balanced_accuracy),
        "f1": ("Macro F1", result.macro_f1),
        "log_loss": ("Log loss, nats an image", result.log_loss),
        "expected_calibration_error": ("Expected calibration error", error),
    }
    metrics = {kind: found for kind, found in metrics.items() if found[1] is not None}
    hub_name = HUB_NAMES.get(data.name)
    lines = [f"library_name: {library}"] * bool(library)
    lines += ["pipeline_tag: image-classification", "tags:", "- image-classification"]
    lines += ["datasets:", f"- {hub_name}"] if hub_name else []
    lines += ["metrics:", *(f"- {kind}" for kind in metrics)]
    lines += ["model-index:", f"- name: {_quoted(name)}", "  results:"]
    lines += ["  - task:", "      type: image-classification", "      name: Image classification"]
    lines += ["    dataset:", f"      type: {_quoted(hub_name or data.name)}", f"      name: {_quoted(data.title)}"]
    lines += ["      split: test", "    metrics:"]
    for kind, (title, value) in metrics.items():
        lines += [f"    - type: {kind}", f"      name: {_quoted(title)}", f"      value: {value:.4f}"]
    return ["---", *lines, "---", ""]


def _made(run: Run) -> list[str]:
    record, data = run.record, run.record.data
    number = "" if data.num_train is None else f" on {data.num_train:,} images"
    return [
        "",
        f"It tells {len(data.class_names)} classes of images apart, and was trained{number} of "
        f"{_in_a_line(data.title)}, by the recipe {_in_a_line(record.recipe.name)}.",
        "",
    ]


def _use(run: Run, form: str, file_name: str) -> list[str]:
    data = run.record.data
    height, width, num_channels = data.shape
    levels = "levels of grey" if num_channels == 1 else "red, green and blue"
    fit = "whole, on black" if run.record.recipe.fit == "pad" else "their middle"
    square = f"; others are made squares first ({fit})" if height == width else ""
    return [
        "## Use",
        "",
        "Bytes of images in, probabilities out: the preprocessing is inside.",
        "",
        "```python",
        "import numpy as np",
        USE[form]
        .format(file=_quoted(file_name))
        .replace(
            "\n\n",
            f"\n\nimages = np.zeros((1, {height}, {width}, {num_channels}), np.uint8)  # {levels}, 0 to 255\n",
            1,
        ),
        "```",
        "",
        f"Images are {height}×{width}{square}. The probabilities are of these classes, in this order: "
        f"{', '.join(map(_in_a_line, data.class_names))}.",
        "",
    ]


def _results(run: Run, result: Result, error: float) -> list[str]:
    rows = {
        "Accuracy": f"{result.accuracy:.4f} (95 % interval {result.accuracy_low:.4f} to {result.accuracy_high:.4f})",
        "Balanced accuracy": f"{result.balanced_accuracy:.4f}",
        "Macro F1": f"{result.macro_f1:.4f}",
        "Log loss": None if result.log_loss is None else f"{result.log_loss:.4f} nats an image",
        "Expected calibration error": f"{error:.4f}",
    }
    there = [index for index in result.recall.argsort(kind="stable") if result.support[index]]
    weakest = [
        f"{_in_a_line(run.record.data.class_names[index])} ({result.recall[index]:.3f})"
        for index in there[:NUM_WEAKEST]
    ]
    return [
        "## Results",
        "",
        f"On {result.num_images:,} test images:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items() if value is not None),
        "",
        "The interval covers the luck of drawing these images, not that of training once more. Recognised least, by "
        f"their recall: {', '.join(weakest)}.",
        "",
    ]


def _limits(run: Run) -> list[str]:
    record = run.record
    said = ["It was tested on images of the same source alone: on those of another it may do worse."]
    if record.data.is_demonstration:
        said.append("These images are only a demonstration: what they say of networks holds for nothing larger.")
    if record.watched == "test":
        said.append("The test set was watched after every epoch.")
    if record.data.num_leaks:
        said.append(f"{record.data.num_leaks:,} of the test images were trained on as well.")
    if record.is_control:
        said.append("It stands in for a pretrained network, and began with random weights.")
    return ["## Limits", "", *(f"- {_in_a_line(one)}" for one in said + record.recipe.known_mistakes), ""]


def _settings(run: Run) -> list[str]:
    record = run.record
    left_out = ("name", "known_mistakes", "on_photographs", "data")
    rows = {
        "recipe": record.recipe.name,
        **{name: value for name, value in record.recipe.as_json().items() if name not in left_out},
        "seed": record.seed,
        "training time": duration(record.seconds.training) if record.seconds.training else None,
        "device": record.device and record.device.name,
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "command": without_folders(record.command or ""),
    }
    told = {name: value for name, value in rows.items() if value not in (None, "", [])}
    return ["## Training", "", "| | |", "|---|---|", *(f"| {name} | {_in_a_cell(told[name])} |" for name in told)]


def write_beside(run: Run) -> None:
    """Write the card into a run's folder, where none is; where it cannot be written, say so: nothing else needs it."""
    path = run.folder / NAME
    try:
        if not path.exists():
            disk.write_atomically(path, text(run).encode())
    except UserError as error:
        print(f"the model card: {error.came}", file=sys.stderr)


def _quoted(text: str) -> str:
    """A text in quotation marks, as JSON, YAML and Python have it."""
    return json.dumps(_in_a_line(text), ensure_ascii=False)


def _in_a_line(text: str) -> str:
    return " ".join(str(text).split())  # also at the line ends that only Unicode and YAML know


def _in_a_cell(value: object) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return _in_a_line(words).replace("|", "\\|")
