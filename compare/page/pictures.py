"""The report's pictures: what is drawn of which runs, and what it shows in words, for those who cannot see it. How it
looks is in `curves`, `confidence_figures` and `matrices`."""

import html
import re
from collections.abc import Iterable
from typing import Any

import markupsafe
import matplotlib.text
import numpy as np

from compare.findings.findings import Findings
from compare.page import confidence_figures, curves, figures, matrices
from compare.page.curves import Curves
from compare.page.figures import Figure
from compare.page.language import Text, joined, known, say, translations_of
from compare.page.shown import Shown, aside, by_seeds, label_of, of_compared, verdict_pair, with_matrix
from compare.page.words import duration, kind_in_words

# what the article's program printed after each of its epochs, in the PyTorch port of *Dive into Deep Learning*
ARTICLE_ACCURACIES = (0.885, 0.899, 0.911, 0.916, 0.926)


def draw(found: Findings, shown: list[Shown]) -> dict[str, list[dict[str, Any]]]:
    """All pictures of the runs that are compared as plain data: `curves`, `calibration` and `robustness`, which are on
    the page, and `matrices`, of which it has tables instead. None without a run."""
    if not shown:
        return {"curves": [], "calibration": [], "robustness": [], "matrices": []}
    found, shown = of_compared(found, shown)
    runs, calibrated = curves_of(shown), of_seeds(shown, "calibration")
    as_printed = any(
        (one.record.branch, one.record.recipe.name, one.record.overrides) == ("scratch_resnet", "article", {})
        for one in shown
    )
    printed, baselines = ARTICLE_ACCURACIES if as_printed else (), baselines_of(shown)
    drawn: dict[str, list[dict[str, Any]]] = {"curves": [], "robustness": []}
    behind = aside(found, shown)
    with figures.drawing():
        is_told = any(one.record.history for one in shown)  # not of another program's predictions
        for over, ending in (("epochs", ""), ("time", "-over-time")) if is_told else ():
            for quantity in ("accuracy", "loss"):
                if quantity == "accuracy":
                    figure = curves.accuracy_curves(runs, over=over, baselines=baselines, printed=printed, aside=behind)
                else:
                    figure = curves.loss_curves(runs, over=over, aside=behind)
                title, alt = curves_title(quantity, over), curves_alt(runs, quantity, over, baselines)
                drawn["curves"].append(picture(f"{quantity}{ending}", title, alt, figure))
        title = say("Accuracy against confidence")
        reliability = confidence_figures.reliability(calibrated, aside=behind)
        selective = confidence_figures.selective(calibrated, aside=behind)
        drawn["calibration"] = [
            picture("reliability", title, reliability_alt(shown), reliability),
            picture("selective", say("Errors among the surest images"), selective_alt(shown), selective),
        ]
        if robust := [shown[place] for place in found.same_corruptions]:
            title = say("Accuracy on corrupted images")
            figure = robustness_panels(robust, aside=behind)
            drawn["robustness"] = [picture("robustness", title, robustness_alt(robust), figure)]
            drawn["robustness"][0]["panels"] = confidence_figures.panels(len(robust[0].strengths))
        return drawn | {"matrices": _draw_matrices(found, shown)}


def robustness_panels(robust: list[Shown], *, aside: frozenset[int]) -> Figure:
    """The accuracies on corrupted images of runs that predicted the same of them; those of some looks are aside."""
    titles = [kind_in_words(kind, amounts, robust[0].record.data) for kind, amounts in robust[0].strengths.items()]
    return confidence_figures.robustness(of_seeds(robust, "robustness"), titles, aside=aside)


def confusion(found: Findings, shown: list[Shown], index: int) -> Figure:
    """The confusion matrix of the run at `index`, in colours that mean the same for all runs."""
    one, order = shown[index], list(found.together)
    return matrices.confusion(
        one.result.counts[np.ix_(order, order)],
        [one.record.data.class_names[index] for index in order],
        title=one.label,
        largest=matrices.largest_mistake(*(other.result.counts for other in shown)),
    )


def confusion_difference(found: Findings, shown: list[Shown]) -> Figure:
    """The difference of the confusion matrices of the two runs that the verdict is about."""
    first, second = verdict_pair(found, shown)
    order = list(found.together)
    return matrices.confusion_difference(
        (first.result.counts - second.result.counts)[np.ix_(order, order)],
        [first.record.data.class_names[index] for index in order],
        title=f"{first.label}\nless {second.label}, images",
        looks=(first.look, second.look),
    )


def _draw_matrices(found: Findings, shown: list[Shown]) -> list[dict[str, Any]]:
    """The confusion matrices: their files, and what the page draws where there are too many classes for tables."""
    drawn = {
        one.label: (f"confusion-{one.slug}", confusion(found, shown, shown.index(one)))
        for one in with_matrix(found, shown)
    }
    if len(shown) > 1:
        drawn[difference_title(found, shown)] = ("confusion-difference", confusion_difference(found, shown))
    return [
        picture(name, title, say("Confusion matrix, {title}", title=title), figure)
        for title, (name, figure) in drawn.items()
    ]


def difference_title(found: Findings, shown: list[Shown]) -> str:
    """What the difference of the confusion matrices of the verdict's two runs is called."""
    first, second = verdict_pair(found, shown)
    return say("{first} less {second}", first=first.label, second=second.label)


def picture(name: str, title: str, alt: str, figure: Figure) -> dict[str, Any]:
    """One picture of the page: the name and the bytes of its files, PNG and SVG, and what the page itself draws, from
    the same SVG, in a view of that size."""
    svg = whole = figures.svg(figure)
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    beside: dict[str, str] = {text: translations_of(text) for text in texts if isinstance(text, Text)}
    if figure.aside:
        with figure.with_all():
            whole = figures.svg(figure)
    view, drawing = _on_page(whole.decode(), name, beside, figure.aside)
    files = {"png": figures.png(figure), "svg": svg}
    return {"name": name, "title": title, "alt": alt, "view": view, "drawing": drawing} | files


def _on_page(svg: str, name: str, beside: dict[str, str], aside: frozenset[int]) -> tuple[str, markupsafe.Markup]:
    """An SVG's view box, and what is in it, in the page's colours, which change with its look, and with what stands
    `beside` its texts in their tags, the translations. Ids begin with `name`, as a page has each only once. What is of
    the looks in `aside` is marked."""
    view, *_ = re.findall(r'viewBox="([^"]+)"', svg)
    drawing = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]  # without matplotlib's own style
    drawing = re.sub(r' id="(?:figure|patch|axes|matplotlib|[xy]tick|line2d|text|legend)[^"]*"', "", drawing)
    drawing = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    for look in aside:
        drawing = re.sub(rf'class="(\w+)"(?=[^>]* data-of="{look}")', r'class="\1 aside"', drawing)
    for english, translations in beside.items():
        text = f">{html.escape(english, quote=False)}</text>"
        drawing = drawing.replace(text, f"{translations}{text}")
    for variable, colour in figures.DRAWN.variables.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return view, markupsafe.Markup(re.sub(r"\s+", " ", drawing))


def curves_of(shown: list[Shown]) -> list[Curves]:
    """What the curves are drawn from: runs that differ in their seeds alone are one of them."""
    found = []
    for group in by_seeds(shown):
        one, *others = group
        watched = one.watched if all(other.watched == one.watched for other in others) else None
        histories = [run.record.history for run in group]
        seconds_before = [run.record.seconds.extracting or 0.0 for run in group]
        found.append(Curves(label_of(group), one.look, histories, watched, seconds_before))
    return found


def baselines_of(shown: list[Shown]) -> tuple[tuple[str, float], ...]:
    """What a picture calls logistic regression on the pixels, and its accuracy: one for each number of images. Before
    these always saying the most frequent class, where that is a baseline."""
    named = {say("the most frequent class"): one.majority.accuracy for one in shown if one.majority is not None}
    named |= {
        say("logistic regression · {number:,} images", number=one.baseline.num_images): one.baseline.accuracy
        for one in shown
        if one.baseline is not None
    }
    return tuple(named.items())


def of_seeds(shown: list[Shown], name: str) -> list[tuple[str, int, list[Any]]]:
    """What calibration or robustness, called `name`, is drawn from: a label, a look and that of each seed, where runs
    that differ in their seeds alone are together."""
    return [(label_of(group), group[0].look, [getattr(run, name) for run in group]) for group in by_seeds(shown)]


def curves_alt(runs: list[Curves], quantity: str, over: str, baselines: tuple[tuple[str, float], ...]) -> str:
    """What the curves of `quantity`, accuracy or loss, over epochs or time show, for those who cannot see them."""
    parts = []
    for run in runs:
        num_epochs = len(run.histories[0])
        if not num_epochs:
            parts.append(say("{run}: none", run=run.label))
            continue
        length: str = say("1 epoch") if num_epochs == 1 else say("{number} epochs", number=num_epochs)
        if over == "time":
            length = duration(run.seconds[:, -1].mean())
        last = {split: run.values(f"{split}_{quantity}")[:, -1].mean() for split in run.splits}
        ends = [
            say("{split} {value:.4f}", split=known(split, of="split"), value=value) for split, value in last.items()
        ]
        parts.append(say("{run}, {length}: {ends}", run=run.label, length=length, ends=joined(ends)))
    if quantity == "accuracy":
        parts += [say("{run} {accuracy:.4f}", run=name, accuracy=accuracy) for name, accuracy in baselines]
    return described(curves_title(quantity, over), parts)


def described(title: str, parts: Iterable[str]) -> str:
    """What a picture of that title shows of each run, for those who cannot see it."""
    return say("{title}, at the end of each run: {parts}.", title=title, parts=joined(parts, "; "))


def curves_title(quantity: str, over: str) -> str:
    """What the curves of `quantity`, accuracy or loss, over epochs or time are called."""
    if over == "time":
        return say("Accuracy over time") if quantity == "accuracy" else say("Loss over time")
    return say("Accuracy over epochs") if quantity == "accuracy" else say("Loss over epochs")


def reliability_alt(shown: list[Shown]) -> str:
    """What the reliability diagram shows, for those who cannot see it."""
    errors = [(one.label, one.calibration.error) for one in shown]
    parts = [say("{run}: expected calibration error {value:.4f}", run=label, value=error) for label, error in errors]
    return say("Accuracy against confidence; {parts}.", parts=joined(parts, "; "))


def selective_alt(shown: list[Shown]) -> str:
    """What the curves of selective prediction show, for those who cannot see them."""
    parts = []
    for one in shown:
        most, more, every = (f"{100 * (1 - one.calibration.accuracy_kept[kept]):.1f}" for kept in (80, 90, 100))
        parts.append(
            say(
                "{run}: {most} % of the surest 80 %, {more} % of the surest 90 %, {every} % of all",
                run=one.label,
                most=most,
                more=more,
                every=every,
            )
        )
    return say("How many images are wrong, by how many are kept, the surest first; {parts}.", parts=joined(parts, "; "))


def robustness_alt(shown: list[Shown]) -> str:
    """What the curves of robustness show, for those who cannot see them."""
    parts = [
        say(
            "{run}: {clean:.4f} on clean images, {mean:.4f} on average over all copies, {lowest:.4f} at worst",
            run=one.label,
            clean=found.clean,
            mean=found.mean,
            lowest=found.accuracy.min(),
        )
        for one in shown
        if (found := one.robustness)
    ]
    words = joined(parts, "; ")
    return say("Accuracy against the strength of corruption, a panel for each kind; {parts}.", parts=words)
