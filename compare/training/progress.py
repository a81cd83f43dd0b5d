"""The lines and bars of a run: on the terminal while it lasts, and in its log for good.

In a terminal an epoch has a live bar; elsewhere (a log file, a batch job) there is one plain line an epoch.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from compare.runs.schema import Row
from compare.system import processes

SECONDS_BETWEEN_UPDATES = 0.5


class Journal:
    """What one run says, line by line, by the first of its processes."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, soft_wrap=True, quiet=not processes.is_first())
        self._early_lines: list[str] = []  # said before there was a folder to log in
        self._log: Path | None = None

    @contextlib.contextmanager
    def kept_in(self, path: Path) -> Iterator[None]:
        """Append every line, and those said before, to the file at `path` as well."""
        self._log = path
        try:
            for text in self._early_lines:
                self.note(text)
            yield
        finally:
            self._log = None

    def line(self, text: str) -> None:
        """Say one line."""
        self.console.print(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a line to the log alone. Where the disk is full, a line is lost and not the training."""
        if self._log is None:
            self._early_lines.append(text)
        else:
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8", errors="replace") as log:
                log.write(text + "\n")

    @contextlib.contextmanager
    def epoch(self, title: str, num_images: int) -> Iterator["EpochBar"]:
        """A live bar over the `num_images` of one epoch, where there is a terminal."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
            refresh_per_second=1 / SECONDS_BETWEEN_UPDATES,
        ) as progress:
            yield EpochBar(progress, progress.add_task(title, total=num_images, figures=""))


class EpochBar:
    """The bar of one epoch, redrawn at most twice a second so that reading the figures never slows the training."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._start = self._last = time.perf_counter()

    def due(self) -> bool:
        """Whether it is time to look at the figures, seen or not: ask before paying for them."""
        return time.perf_counter() - self._last >= SECONDS_BETWEEN_UPDATES

    def show(self, num_seen: int, loss: float | None = None, accuracy: float | None = None) -> None:
        """Show how far the epoch has come, with the mean loss in nats and the accuracy as a fraction so far, if any."""
        self._last = time.perf_counter()
        figures = f"{num_seen / (self._last - self._start):,.0f} images/s"
        if loss is not None:
            figures = f"loss {loss:.4f}  accuracy {accuracy:.4f}  {figures}"
        self._progress.update(self._task, completed=num_seen, figures=figures)


def epoch_line(row: Row, num_epochs: int) -> str:
    """One history row in words: loss, train accuracy, watched accuracy and seconds, as the article prints them."""
    accuracies = {"train": row.train_accuracy, "test": row.test_accuracy, "validation": row.validation_accuracy}
    said = [f"{split} accuracy {accuracy:.4f}" for split, accuracy in accuracies.items() if accuracy is not None]
    return f"epoch {row.epoch}/{num_epochs}: loss {row.train_loss:.4f}, {', '.join(said)}, {row.seconds:.1f} s"
