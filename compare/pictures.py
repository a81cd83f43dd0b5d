"""The report's pictures: what is drawn of which runs, and what it shows in words, for those who cannot see it. How it
looks is in `figures`."""

import re
from typing import TYPE_CHECKING

import markupsafe
from matplotlib.figure import Figure

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
    calibrated = [(one.label, one.look, one.calibration) for one in shown]
    with figures.drawing():
        over_what = []
        for over, ending in (("epochs", ""), ("time", "-over-time")):
            accuracy = figures.accuracy_curves(curves, over=over, printed=printed)
            loss = figures.loss_curves(curves, over=over)
            over_what += [
                picture(f"accuracy{ending}", f"Accuracy over {over}", curves_alt(shown, "accuracy", over), accuracy),
                picture(f"loss{ending}", f"Loss over {over}", curves_alt(shown, "loss", over), loss),
            ]
        reliability, selective = figures.reliability(calibrated), figures.selective(calibrated)
        calibration = [
            picture("reliability", "Accuracy against confidence", reliability_alt(shown), reliability),
            picture("selective", "Accuracy on the most confident images", selective_alt(shown), selective),
        ]
        return {"curves": over_what, "calibration": calibration, "matrices": _draw_matrices(shown)}


def _draw_matrices(shown: "list[Shown]") -> list[dict]:
    """The confusion matrices' files: their names and bytes."""
    class_names = shown[0].record["data"]["class_names"]
    largest_count = max(int(one.result.counts.max()) for one in shown)
    drawn = {
        f"confusion-{one.slug}": figures.confusion(
            one.result.counts, class_names, title=one.label, largest=largest_count
        )
        for one in shown
    }
    if len(shown) > 1:
        first, second = verdict.headline(shown)
        drawn["confusion-difference"] = figures.confusion_difference(
            first.result.counts - second.result.counts,
            class_names,
            title=f"{first.label} less {second.label}, images",
            looks=(first.look, second.look),
        )
    return [{"name": name, "png": figures.png(figure), "svg": figures.svg(figure)} for name, figure in drawn.items()]


def picture(name: str, title: str, alt: str, figure: Figure) -> dict:
    """One picture of the page: the name and the bytes of its files, PNG and SVG, and what the page itself draws, from
    the same SVG, in a view of that size."""
    svg = figures.svg(figure)
    view, drawing = _on_page(svg.decode(), name)
    files = {"png": figures.png(figure), "svg": svg}
    return {"name": name, "title": title, "alt": alt, "view": view, "drawing": drawing} | files


def _on_page(svg: str, name: str) -> tuple[str, markupsafe.Markup]:
    """An SVG's view box, and what is in it, in the page's colours, which change with its look. Ids begin with `name`,
    as a page has each only once."""
    view = re.search(r'viewBox="([^"]+)"', svg)[1]
    drawing = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]  # without matplotlib's own style
    drawing = re.sub(r' id="(?:figure|patch|axes|matplotlib|[xy]tick|line2d|text|legend)[^"]*"', "", drawing)
    drawing = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    for variable, colour in figures.DRAWN.variables.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return view, markupsafe.Markup(re.sub(r"\s+", " ", drawing))


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
