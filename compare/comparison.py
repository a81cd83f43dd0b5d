"""Runs compared from Python, and in notebooks, where a `Comparison` shows itself."""

import html
import typing
from pathlib import Path
from typing import Any, Literal

from compare import report
from compare.findings.findings import find
from compare.page import (
    answer,
    cautions,
    confidence_figures,
    curves,
    figures,
    gallery,
    label_figures,
    labels,
    pictures,
    report_files,
    tables,
    verdict,
)
from compare.page.figures import Figure
from compare.page.language import say
from compare.page.shown import aside, of_compared, show
from compare.runs import out_folder, record
from compare.runs.record import Run
from compare.system.errors import UserError

Over = Literal["epochs", "time"]


def load_run(folder: str | Path) -> Run:
    """Read a complete run.

    Raises:
        UserError: there is none in `folder`, or it is damaged.
    """
    return record.read_run(Path(folder))


def compare_runs(*runs: Run) -> "Comparison":
    """Compare one run or more on the same test set.

    Raises:
        UserError: there is none, or one is no run, or is there twice, or the runs' data differ.
    """
    others = [one for one in runs if not isinstance(one, Run)]
    if others or not runs:
        raise UserError(
            f"compare_runs({', '.join(repr(one)[:100] for one in others)})",
            "runs, as load_run reads them from their folders: compare_runs(first, second)",
            'read each first: compare_runs(load_run("FOLDER"), load_run("OTHER FOLDER"))',
        )
    record.check_comparable(list(runs))
    return Comparison(list(runs))


class Comparison:
    """What the report says about some runs: its sentences, its numbers, its figures, and the report itself.

    Attributes:
        runs: the runs.
        sentences: the verdict, the most important first, which is the claim.
        cautions: what could change it.
        rows: a dict of single values for every run, as in `metrics.csv`.
    """

    def __init__(self, runs: list[Run]):
        self.runs = runs
        self._found = find(runs, gallery.data_of(runs))
        self._shown = show(self._found)
        found, self._compared = of_compared(self._found, self._shown)
        self._aside = aside(found, self._compared)
        self.sentences = [answer.claim(self._found, self._shown), *verdict.sentences(self._found, self._shown)]
        self.cautions = cautions.of(self._found, self._shown)
        self.rows = [report_files.of_run(one) for one in self._shown]

    def table(self) -> Any:
        """`rows` as a pandas DataFrame, a column for every run. pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.rows).set_index("run").T

    def accuracy_curves(self, over: Over = "epochs") -> Figure:
        """The accuracies over epochs or time.

        Raises:
            UserError: over something else.
        """
        check_over(over)
        with figures.drawing():
            return curves.accuracy_curves(
                pictures.curves_of(self._compared),
                over=over,
                baselines=pictures.baselines_of(self._compared),
                aside=self._aside,
            )

    def loss_curves(self, over: Over = "epochs") -> Figure:
        """The losses, nats an image, over epochs or time.

        Raises:
            UserError: over something else.
        """
        check_over(over)
        with figures.drawing():
            return curves.loss_curves(pictures.curves_of(self._compared), over=over, aside=self._aside)

    def label_curve(self) -> Figure:
        """Test error against labels a class, by strategy, and where they cross.

        Raises:
            UserError: no strategy was trained on two numbers of labels.
        """
        if self._found.label_curve is None:
            raise UserError(
                "no label curve of these runs",
                "runs of a strategy on two numbers of labels a class or more",
                "train more of them, with --labels-per-class",
            )
        with figures.drawing():
            return label_figures.label_curve(*labels.to_draw(self._found, self._shown), labels.baselines(self._found))

    def confusion(self, index: int = 0) -> Figure:
        """The confusion matrix of the run at `index`, counted from 0.

        Raises:
            UserError: there is no such run.
        """
        if index not in range(len(self.runs)):
            raise UserError(
                f"confusion({index!r})",
                f"the number of one of the {len(self.runs)} runs, from 0 to {len(self.runs) - 1}",
                "say confusion(0) for the first of them",
            )
        with figures.drawing():
            return pictures.confusion(self._found, self._shown, index)

    def confusion_difference(self) -> Figure:
        """The difference of the confusion matrices of the two runs that the verdict is about.

        Raises:
            UserError: there is one run alone.
        """
        if len(self.runs) < 2:
            raise UserError(
                f"the difference of {self.runs[0].folder} to no other run",
                "two runs or more",
                "compare it with another: compare_runs(first, second)",
            )
        with figures.drawing():
            return pictures.confusion_difference(self._found, self._shown)

    def reliability(self) -> Figure:
        """Accuracy against confidence."""
        with figures.drawing():
            return confidence_figures.reliability(pictures.of_seeds(self._compared, "calibration"), aside=self._aside)

    def selective(self) -> Figure:
        """How many images are wrong among the surest, by their share."""
        with figures.drawing():
            return confidence_figures.selective(pictures.of_seeds(self._compared, "calibration"), aside=self._aside)

    def robustness(self) -> Figure:
        """Accuracy on corrupted images. Some run must have been trained with `--robustness`.

        Raises:
            UserError: none was.
        """
        robust = [self._shown[place] for place in self._found.same_corruptions]
        if not robust:
            raise UserError(
                "none of these runs predicted corrupted images",
                "a run that was trained with --robustness",
                "train one: python -m compare.run --both --robustness",
            )
        with figures.drawing():
            return pictures.robustness_panels(robust, aside=self._aside)

    def write(self, folder: str | Path, *, title: str = say("From scratch or pretrained")) -> Path:
        """Write the whole report; the path of its page."""
        report.check_report_folder(Path(folder))
        with out_folder.claim(Path(folder)):
            return report.write_report(Path(folder), self.runs, title=title)

    def __repr__(self) -> str:
        """The verdict."""
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        """The verdict, the summary table and the curves, for a notebook."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for name, cells in tables.summary_rows(self._compared)
        )
        names = "".join(f"<th>{html.escape(one.label)}</th>" for one in self._compared)
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.sentences)
        with figures.drawing():
            drawing = figures.svg(self.accuracy_curves()).decode()
        drawing = drawing[drawing.index("<svg") :]
        return f"{said}<table><thead><tr><th></th>{names}</tr></thead><tbody>{rows}</tbody></table>{drawing}"


def check_over(over: Over) -> None:
    """Refuse to draw curves over anything else.

    Raises:
        UserError: it is something else.
    """
    if over not in typing.get_args(Over):
        words = " or ".join(f'"{one}"' for one in typing.get_args(Over))
        raise UserError(f"over={over!r}", words, 'say over="time" for the time of training')
