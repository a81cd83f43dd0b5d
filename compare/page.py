"""What the report's page says: sentences, tables and pictures, made from runs as plain data for the template.

Warnings are in `banners`, names and numbers in `words`.
"""

import base64
import dataclasses
import os
import re
import shlex
from pathlib import Path

from compare import banners, figures, metrics
from compare.figures import Curves
from compare.metrics import Paired, Result
from compare.progress import duration
from compare.record import Run, UnfinishedRun
from compare.words import (
    NOTHING,
    WEIGHT_WORDS,
    branch_in_words,
    data_in_words,
    folder_name,
    gigabytes,
    in_words,
    or_nothing,
    run_name,
    with_prefix,
    without_folders,
)

MARKERS = ("●", "■", "▲", "◆", "▼", "✚")  # figures.MARKERS as characters
MORE_THAN_CHANCE = 0.05  # a p value below this is called so
ARTICLE_ACCURACY = 0.926  # what the article's program printed after its fifth and last epoch


@dataclasses.dataclass(frozen=True)
class Shown:
    """A run as the page shows it: what it is called, a short name for files and ids, its look, and its results."""

    label: str
    slug: str
    look: int
    marker: str
    run: Run
    result: Result

    @property
    def record(self) -> dict:
        """The run's record."""
        return self.run.record

    @property
    def watched(self) -> str | None:
        """The split that was watched after every epoch: test or validation; None if none was."""
        rows = self.record["history"]
        return next((split for split in ("test", "validation") if rows and f"{split}_accuracy" in rows[0]), None)

    @property
    def more_columns(self) -> list[str]:
        """What some of the history's rows hold that most runs' do not."""
        return [name for name in ("penalty", "phase") if any(name in row for row in self.record["history"])]


def show(runs: list[Run]) -> list[Shown]:
    """Give every run a name of its own, its network's where that is enough, and a look, and compute its results."""
    branches = [run.record["branch"] for run in runs]
    words = [branch_in_words(run.record) for run in runs]
    recipes = [run.record["recipe"]["name"] for run in runs]
    labels, slugs = [], []
    for run, branch, label, recipe in zip(runs, branches, words, recipes, strict=True):
        slug = branch
        if words.count(label) > 1 or branches.count(branch) > 1:
            # its recipe tells it from the others, or its name does
            alike = [word for word, other in zip(words, recipes, strict=True) if other == recipe]
            name = recipe if alike.count(label) == 1 else run_name(run.folder)
            label, slug = (f"{label}, {name}" if words.count(label) > 1 else label), f"{slug}-{name}"
        labels.append(_unique(label, labels))
        slugs.append(_unique(re.sub(r"[^A-Za-z0-9_-]+", "-", slug).strip("-") or "run", slugs))
    return [
        Shown(label, slug, look, MARKERS[look], run, metrics.evaluate(run))
        for label, slug, look, run in zip(labels, slugs, figures.looks(branches), runs, strict=True)
    ]


def content(shown: list[Shown], unfinished: list[UnfinishedRun], pictures: dict) -> dict:
    """Everything that the template prints but the title.

    Args:
        shown: the complete runs.
        unfinished: the others.
        pictures: what `draw` made of the complete runs, with its bytes.
    """
    return {
        "styles": figures.STYLES,
        "banners": banners.of([(one.label, one.record) for one in shown], unfinished),
        "subtitle": subtitle(shown),
        "sentences": summary_sentences(shown),
        "runs": shown,
        "summary": summary_rows(shown),
        "pairs": [(first, second, metrics.paired(first.run, second.run)) for first, second in _pairs(shown)],
        "pictures": pictures,
        "class_names": shown[0].record["data"]["class_names"] if shown else [],
        "best_f1": best_f1(shown),
        "settings": settings(shown),
        "rebuild": rebuild_command([*(one.run.folder for one in shown), *(run.folder for run in unfinished)]),
    }


# ---- the summary


def subtitle(shown: list[Shown]) -> str:
    """The data that all runs share, in words."""
    if not shown:
        return "No run has finished."
    data = shown[0].record["data"]
    num_images, held_out = data["num_train"] + data["num_validation"], ""
    if len({one.record["data"]["split_fingerprint"] for one in shown}) == 1 and data["num_validation"]:
        held_out = f", {data['num_validation']:,} of them held out for validation"
    return f"{data_in_words(data)}: {num_images:,} training images{held_out}, {data['num_test']:,} test images"


def summary_sentences(shown: list[Shown]) -> list[str]:
    """What the numbers say, the most important first."""
    if not shown:
        return ["No run has finished, so there is no result."]
    if len(shown) == 1:
        one, result = shown[0], shown[0].result
        return [
            f"{one.label} classifies {100 * result.accuracy:.2f} % of the {result.num_images:,} test images of "
            f"{data_in_words(one.record['data'])} right.",
            "It is one run with one seed: this says nothing about the spread over seeds.",
        ]
    sentences = []
    for first, second in _pairs(shown):
        sentences += pair_sentences(first, second, metrics.paired(first.run, second.run))
    if any(one.record["device"] != shown[0].record["device"] for one in shown):
        sentences.append("The runs had different devices, so their times and memory do not compare.")
    sentences.append("Each run is one seed: this says nothing about the spread over seeds.")
    return sentences


def pair_sentences(first: Shown, second: Shown, paired: Paired) -> list[str]:
    """Which of two runs is ahead on the test set, by how much, and how easily that comes by chance."""
    accuracies = f"({first.result.accuracy:.4f} against {second.result.accuracy:.4f})"
    test_images = f"the {first.result.num_images:,} test images of {data_in_words(first.record['data'])}"
    if paired.points_ahead == 0:
        lead = f"{first.label} and {second.label} are level on {test_images} {accuracies}."
    else:
        lead = (
            f"{first.label} is ahead of {second.label} by {paired.points_ahead:.2f} percentage points "
            f"on {test_images} {accuracies}."
        )
    if paired.num_only_first + paired.num_only_second == 0:
        return [lead, "They are right and wrong on the same images."]
    if paired.points_ahead == 0:
        return [lead, f"Each is right on {paired.num_only_first:,} images that the other takes for a wrong class."]
    verdict = "more than chance explains" if paired.p_value < MORE_THAN_CHANCE else "a gap that may well be chance"
    return [
        lead,
        f"Only {first.label} is right on {paired.num_only_first:,} images, only {second.label} on "
        f"{paired.num_only_second:,}: {verdict}. Were both equally good, images would divide this unevenly "
        f"{chance_in_words(paired.p_value)} (exact McNemar test, {p_in_words(paired.p_value)}).",
    ]


def chance_in_words(p_value: float) -> str:
    """A probability as a frequency."""
    if p_value < 0.001:
        return "in fewer than 1 of 1,000 cases"
    if p_value < 0.1:
        return f"in about {1000 * p_value:.0f} of 1,000 cases"
    return f"in about {100 * p_value:.0f} of 100 cases"


def p_in_words(p_value: float) -> str:
    """A p value with as many digits as matter."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def summary_rows(shown: list[Shown]) -> list[tuple[str, list[str]]]:
    """The summary table: a row's name, and a cell for every run."""
    if not shown:
        return []
    rows = {
        "Test accuracy": lambda one: f"{one.result.accuracy:.4f}",
        "95 % interval": lambda one: f"{one.result.accuracy_low:.4f} to {one.result.accuracy_high:.4f}",
        "Test log loss (nats an image)": lambda one: f"{one.result.log_loss:.4f}",
        "Training time": lambda one: duration(one.record["seconds"]["training"]),
        f"Training time to {ARTICLE_ACCURACY} on the test set": lambda one: time_to_article_accuracy(one),
        "Training images a second": lambda one: or_nothing(metrics.images_per_second(one.record["history"]), ",.0f"),
        "Parameters": lambda one: f"{one.record['model']['num_parameters']:,}",
        "Trainable parameters": lambda one: f"{one.record['model']['num_trainable_parameters']:,}",
        "FLOPs an image": lambda one: with_prefix(one.record["model"]["flops_per_image"]),
        "Peak main memory": lambda one: gigabytes(one.record["peak_memory_bytes"].get("main")),
        "Peak device memory": lambda one: gigabytes(one.record["peak_memory_bytes"].get("device")),
        "Recipe": lambda one: one.record["recipe"]["name"],
        "Epochs": lambda one: str(len(one.record["history"])),
        "Data": lambda one: data_in_words(one.record["data"]),
        "Weights": lambda one: WEIGHT_WORDS.get(one.record["weights"]["kind"], one.record["weights"]["kind"]),
        "Device": lambda one: f"{one.record['device']['kind']}: {one.record['device']['name']}",
    }
    if shown[0].record["data"]["name"] != "fashion-mnist":
        del rows[f"Training time to {ARTICLE_ACCURACY} on the test set"]
    return [(name, [cell(one) for one in shown]) for name, cell in rows.items()]


def time_to_article_accuracy(one: Shown) -> str:
    """How long a run trained until it was seen to be as accurate as the article's program."""
    seconds = metrics.seconds_to_accuracy(one.run, ARTICLE_ACCURACY)
    return "not reached" if seconds is None else duration(seconds)


def best_f1(shown: list[Shown]) -> list[list[Shown]]:
    """For every class the runs to mark: those with its highest F1, unless all are equal."""
    marked = []
    for values in zip(*(one.result.f1 for one in shown), strict=True):
        best = [one for one, value in zip(shown, values, strict=True) if value == max(values)]
        marked.append(best if len(best) < len(shown) else [])
    return marked


# ---- pictures


def draw(shown: list[Shown]) -> dict:
    """All pictures as plain data: `curves`, a list, and `matrices`, a list for every run. None without a run."""
    if not shown:
        return {"curves": [], "matrices": []}
    curves = [Curves(one.label, one.look, one.record["history"], one.watched) for one in shown]
    class_names = shown[0].record["data"]["class_names"]
    largest_count = max(int(one.result.counts.max()) for one in shown)
    matrices = []
    for one in shown:
        pair = []
        for percent, matrix, largest in ((False, one.result.counts, largest_count), (True, one.result.shares, 1.0)):
            pair.append(
                _picture(
                    f"confusion-{one.slug}{'-percent' if percent else ''}.png",
                    "Percent of each true class" if percent else "Counts",
                    confusion_alt(one, percent=percent),
                    lambda style, m=matrix, p=percent, top=largest, label=one.label: figures.confusion(
                        m, class_names, title=label, percent=p, largest=top, style=style
                    ),
                )
            )
        matrices.append(pair)
    return {
        "curves": [
            _picture(
                "accuracy.png",
                "Accuracy",
                curves_alt(shown, "accuracy"),
                lambda style: figures.accuracy_curves(curves, style),
            ),
            _picture("loss.png", "Loss", curves_alt(shown, "loss"), lambda style: figures.loss_curves(curves, style)),
        ],
        "matrices": matrices,
    }


def _picture(file: str, title: str, alt: str, figure_in) -> dict:
    """One picture: its file and the file's bytes (PNG, light), and both variants as SVG in data URIs."""
    picture = {"file": file, "title": title, "alt": alt}
    for name, style in figures.STYLES.items():
        with figures.drawing(style):
            figure = figure_in(style)
            picture[name] = "data:image/svg+xml;base64," + base64.b64encode(figures.svg(figure)).decode()
            if name == "light":
                picture["png"] = figures.png(figure)
                picture["width"], picture["height"] = (round(96 * inches) for inches in figure.get_size_inches())
    return picture


def curves_alt(shown: list[Shown], quantity: str) -> str:
    """What the curves of `quantity`, accuracy or loss, show, for who cannot see them."""
    parts = [f"{quantity.capitalize()} curves over epochs"]
    for one in shown:
        rows = one.record["history"]
        if not rows:
            parts.append(f"{one.label}: none")
            continue
        ends = [f"final train {quantity} {rows[-1][f'train_{quantity}']:.4f}"]
        if one.watched:
            ends.append(f"final {one.watched} {quantity} {rows[-1][f'{one.watched}_{quantity}']:.4f}")
        parts.append(f"{one.label}, {len(rows)} {'epoch' if len(rows) == 1 else 'epochs'}: {', '.join(ends)}")
    return "; ".join(parts) + "."


def confusion_alt(one: Shown, *, percent: bool) -> str:
    """What a confusion matrix shows, for who cannot see it."""
    result, names = one.result, one.record["data"]["class_names"]
    what = "in percent of each true class" if percent else "in counts"
    start = f"Confusion matrix of {one.label} {what}: {result.num_correct:,} of {result.num_images:,} test images right"
    if not result.most_confused:
        return start + ", no mistake."
    worst = result.most_confused[0]
    number = f"{100 * worst.share:.1f} %" if percent else f"{worst.num_images:,} times"
    return f"{start}; the most frequent mistake is {names[worst.true]} taken for {names[worst.predicted]}, {number}."


# ---- settings


def settings(shown: list[Shown]) -> list[dict]:
    """The tables of settings and environment: each a caption and rows of a name and a cell for every run."""
    groups = {
        "Recipe, as it ran": lambda record: {k: v for k, v in record["recipe"].items() if k != "known_mistakes"},
        "Run": lambda record: {
            "changed on the command line": ", ".join(f"{k} {in_words(v)}" for k, v in record["overrides"].items()),
            "seed": record["seed"],
            "command": without_folders(record["command"]),
            "started": record["started"],
            "commit": record["commit"],
            "network": record["model"]["name"],
            "device": f"{record['device']['kind']}: {record['device']['name']}",
            "precision": record.get("precision"),
            "weights' SHA-256": record["weights"].get("sha256"),
            "what is frozen is unchanged": {
                None: NOTHING,
                True: "yes: checked, the same before and after",
                False: "NO",
            }[banners.frozen(record)],
            "seconds preparing": f"{record['seconds']['preparing']:.1f}",
            "seconds training": f"{record['seconds']['training']:.1f}",
            "seconds predicting": f"{record['seconds']['predicting']:.1f}",
        },
        "Versions": lambda record: record["versions"],
        "Data": lambda record: {
            "name": record["data"]["name"],
            "training images": f"{record['data']['num_train']:,}",
            "validation images": f"{record['data']['num_validation']:,}",
            "test images": f"{record['data']['num_test']:,}",
            "fingerprint of images and labels": record["data"]["fingerprint"],
            "fingerprint of the split": record["data"]["split_fingerprint"],
            "fingerprint of the test labels": record["data"]["test_labels_fingerprint"],
        },
    }
    tables = []
    for caption, of in groups.items():
        columns = [of(one.record) for one in shown]
        names = dict.fromkeys(name for column in columns for name in column)
        rows = [(name, [in_words(column.get(name)) for column in columns]) for name in names]
        tables.append({"caption": caption, "rows": rows})
    return tables


def rebuild_command(folders: list[Path]) -> str:
    """The command that makes this page from the same runs. It names them by what the reader of the page can see."""
    in_runs = all(Path(os.path.abspath(folder)).parent.name == "runs" for folder in folders)
    names = [("runs/" if in_runs else "") + folder_name(folder) for folder in folders]
    return shlex.join(["python", "-m", "compare.report", *names])


def _pairs(shown: list[Shown]) -> list[tuple[Shown, Shown]]:
    """The most accurate run with each of the others."""
    ranked = sorted(shown, key=lambda one: -one.result.accuracy)
    return [(ranked[0], other) for other in ranked[1:]]


def _unique(name: str, taken: list[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
