"""The report's pictures: what is drawn of which runs, and what it shows in words, for those who cannot see it. How it
looks is in `figures`."""

import base64
from typing import TYPE_CHECKING

from compare import figures, verdict
from compare.figures import Curves
from compare.progress import duration
from compare.words import fraction

if TYPE_CHECKING:
    from compare.page import Shown

# what the article's program printed after each of its epochs, in the PyTorch port of *Dive into Deep Learning*
ARTICLE_ACCURACIES = (0.885, 0.899, 0.911, 0.916, 0.926)


def draw(shown: "list[Shown]") -> dict[str, list[dict]]:
    """All pictures as plain data: `curves` and `calibration`, which are on the page, and `matrices`, whose page has
    tables instead. None without a run."""
    if not shown:
        return {"curves": [], "calibration": [], "matrices": []}
    curves = [Curves(one.label, one.look, one.record["history"], one.watched) for one in shown]
    as_printed = any(
        (one.record["branch"], one.record["recipe"]["name"], one.record["overrides"])
        == ("scratch_resnet", "article", {})
        for one in shown
    )
    printed = ARTICLE_ACCURACIES if as_printed else ()
    over_what = []
    for over, ending in (("epochs", ""), ("time", "-over-time")):
        over_what += [
            _picture(
                f"accuracy{ending}",
                f"Accuracy over {over}",
                curves_alt(shown, "accuracy", over),
                lambda style, over=over: figures.accuracy_curves(curves, style, over=over, printed=printed),
            ),
            _picture(
                f"loss{ending}",
                f"Loss over {over}",
                curves_alt(shown, "loss", over),
                lambda style, over=over: figures.loss_curves(curves, style, over=over),
            ),
        ]
    calibrated = [(one.label, one.look, one.calibration) for one in shown]
    calibration = [
        _picture(
            "reliability",
            "Accuracy against confidence",
            reliability_alt(shown),
            lambda style: figures.reliability(calibrated, style),
        ),
        _picture(
            "selective",
            "Accuracy on the most confident images",
            selective_alt(shown),
            lambda style: figures.selective(calibrated, style),
        ),
    ]
    return {"curves": over_what, "calibration": calibration, "matrices": _draw_matrices(shown)}


def _draw_matrices(shown: "list[Shown]") -> list[dict]:
    """The confusion matrices' files, light alone: their names and bytes."""
    class_names = shown[0].record["data"]["class_names"]
    largest_count = max(int(one.result.counts.max()) for one in shown)
    style = figures.STYLES["light"]
    drawn = {}
    with figures.drawing(style):
        for one in shown:
            drawn[f"confusion-{one.slug}"] = figures.confusion(
                one.result.counts, class_names, title=one.label, largest=largest_count, style=style
            )
        if len(shown) > 1:
            first, second = verdict.headline(shown)
            drawn["confusion-difference"] = figures.confusion_difference(
                first.result.counts - second.result.counts,
                class_names,
                title=f"{first.label} less {second.label}, images",
                looks=(first.look, second.look),
                style=style,
            )
        return [
            {"name": name, "png": figures.png(figure), "svg": figures.svg(figure)} for name, figure in drawn.items()
        ]


def _picture(name: str, title: str, alt: str, figure_in) -> dict:
    """One picture of the page: its files' name and their bytes (PNG and SVG, light), and both variants as SVG in data
    URIs."""
    picture = {"name": name, "title": title, "alt": alt}
    for variant, style in figures.STYLES.items():
        with figures.drawing(style):
            figure = figure_in(style)
            svg = figures.svg(figure)
            picture[variant] = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
            if variant == "light":
                picture["png"], picture["svg"] = figures.png(figure), svg
                picture["width"], picture["height"] = (round(96 * inches) for inches in figure.get_size_inches())
    return picture


def curves_alt(shown: "list[Shown]", quantity: str, over: str) -> str:
    """What the curves of `quantity`, accuracy or loss, over epochs or time show, for those who cannot see them."""
    parts = [f"{quantity.capitalize()} curves over {over}"]
    for one in shown:
        rows = one.record["history"]
        if not rows:
            parts.append(f"{one.label}: none")
            continue
        ends = [f"final train {quantity} {rows[-1][f'train_{quantity}']:.4f}"]
        if one.watched:
            ends.append(f"final {one.watched} {quantity} {rows[-1][f'{one.watched}_{quantity}']:.4f}")
        length = f"{len(rows)} {'epoch' if len(rows) == 1 else 'epochs'}"
        if over == "time":
            length = duration(sum(row["seconds"] for row in rows))
        parts.append(f"{one.label}, {length}: {', '.join(ends)}")
    return "; ".join(parts) + "."


def reliability_alt(shown: "list[Shown]") -> str:
    """What the reliability diagram shows, for those who cannot see it."""
    parts = [f"{one.label}: expected calibration error {one.calibration.error:.4f}" for one in shown]
    return f"Accuracy against confidence; {'; '.join(parts)}."


def selective_alt(shown: "list[Shown]") -> str:
    """What the curves of selective prediction show, for those who cannot see them."""
    parts = []
    for one in shown:
        half, most, every = one.calibration.accuracy_kept[[50, 90, 100]]
        parts.append(
            f"{one.label}: {fraction(half, 4)} on the most confident half, {fraction(most, 4)} on 90 %, "
            f"{fraction(every, 4)} on all"
        )
    return f"Accuracy against the share of images kept, the most confident first; {'; '.join(parts)}."
