"""Terms that a press explains where they stand."""

import markupsafe

from compare.page.language import changed, in_each, on_page, say

# By what stands in every language's text: the id of the explanation, and it.
TERMS = {
    "95 %": (
        "interval",
        say(
            "95 % interval: of a hundred test sets drawn like this one, about 95 would give an interval that holds the "
            "true value. It covers the luck of the test images alone, not that of training once more."
        ),
    ),
    "McNemar": (
        "mcnemar",
        say(
            "McNemar’s exact test takes the images that only one of two is right on. p is how likely these would "
            "divide at least as unevenly, were both equally good."
        ),
    ),
    "Welch": (
        "welch",
        say(
            "Welch’s t test takes the accuracies of each one’s seeds. p is how likely their means would lie at least "
            "as far apart, were both equally good."
        ),
    ),
}


def with_terms(text: str) -> markupsafe.Markup:
    """A text in every language, as `on_page`, the first of each of its terms a button that shows what it means."""
    pieces: list[str] = []
    rest = text
    for term in sorted(TERMS, key=text.find):
        if all(term in one for one in in_each(rest).values()):
            pieces += [_beside(term, rest, 0), button(term)]
            rest = _beside(term, rest, 2)
    return markupsafe.Markup().join(map(on_page, [*pieces, rest]))


def _beside(term: str, text: str, place: int) -> str:
    """What stands before the first of a term, at place 0, or after it, at place 2."""
    return changed(text, lambda some: some.partition(term)[place])


def button(term: str) -> markupsafe.Markup:
    """A term as a button."""
    form = markupsafe.Markup('<button type="button" class="term" popovertarget="term-{}">{}</button>')
    return form.format(TERMS[term][0], on_page(term))
