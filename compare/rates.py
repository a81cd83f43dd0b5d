"""Draw what a range test of learning rates has found, for the branch that made it: `python -m compare.rates FILE.png`.

What to draw comes as JSON on standard input; `compare.training.range_test` says what, and begins this.
"""

import json
import sys
from pathlib import Path

from compare.system.command import run_command
from compare.system.errors import EXIT_DONE


def main() -> int:
    """Read, draw, write."""
    from compare.page import figures
    from compare.system import disk

    told = json.load(sys.stdin)
    with figures.drawing():
        figure = figures.Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(told["rates"], told["losses"], color=figures.DRAWN.grid, label="each step")
        axes.plot(told["rates"], told["smoothed"], color=figures.DRAWN.colour(0), label="smoothed")
        for look, (name, rate) in enumerate(told["marked"].items(), start=1):
            axes.axvline(rate, color=figures.DRAWN.colour(look), linestyle=(0, (4, 2)), label=f"{name}: {rate:g}")
        lowest, first = min(told["smoothed"]), told["smoothed"][0]
        axes.set(
            xscale="log",
            xlabel="learning rate",
            ylabel="loss, nats an image",
            title=told["title"],
            ylim=(0.9 * lowest, 1.5 * first),  # what leaps leaves the picture
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend()
        disk.write_atomically(Path(sys.argv[1]), figures.png(figures.laid_out(figure)))
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
