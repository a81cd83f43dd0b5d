"""The report's two languages, English and simplified Chinese.

Every text of the page is said in English where it is needed, `say("{run} is ahead", run=label)`, and the catalogue in
`chinese` has its translation under the same words. The result is a string, the English one, that knows the Chinese
one; the page carries both, and its reader's browser, or the switch at its top, chooses. In a template `{{ say("…") }}`
stands in text, and `{{ say("…") | attribute("aria-label") }}` in a tag.

A text that the catalogue lacks is an error, found when it is said, and by `tests/page/test_language.py` before that.
"""

from collections.abc import Iterable

import markupsafe

from compare.page.chinese import KNOWN, TEXTS


class Text(str):
    """A text in both languages: as a string it is the English one.

    Attributes:
        chinese: the Chinese one.
    """

    def __new__(cls, english: str, chinese: str) -> "Text":
        """The text of these two."""
        text = super().__new__(cls, english)
        text.chinese = chinese
        return text

    def __str__(self) -> "Text":
        """Itself: libraries that call `str`, as matplotlib does, keep both languages."""
        return self


def say(english: str, /, **values) -> Text:
    """A text of the catalogue with values, which may be texts themselves, in its places.

    Raises:
        KeyError: the catalogue has no such text.
    """
    chinese = TEXTS[english]
    return Text(english.format(**values), chinese.format(**{name: in_chinese(value) for name, value in values.items()}))


def known(text: str) -> str:
    """A text that comes from a record, such as a class's name, in both languages where the catalogue has it, else as it
    is."""
    return Text(text, KNOWN[text]) if text in KNOWN else text


def joined(texts: Iterable[str], separator: str = ", ") -> Text:
    """Texts as a list. The Chinese one has the marks of Chinese: 、 for a comma, ； for a semicolon, 。 for a space
    between sentences."""
    texts = list(texts)
    marks = {", ": "、", "; ": "；", " ": "", " and ": "和"}
    return Text(separator.join(texts), marks[separator].join(in_chinese(text) for text in texts))


def in_chinese(value):
    """The Chinese of a text, and anything else as it is."""
    return value.chinese if isinstance(value, Text) else value


def on_page(value):
    """A text as an element that carries both languages; anything else as it is. A number and its percent sign stay on
    one line."""
    if type(value) is str:
        return value.replace(" %", "\N{NO-BREAK SPACE}%")
    if not isinstance(value, Text):
        return value
    english, chinese = (text.replace(" %", "\N{NO-BREAK SPACE}%") for text in (value, value.chinese))
    if english == chinese:
        return str.__str__(english)
    return markupsafe.Markup('<span data-zh="{}">{}</span>').format(chinese, english)


def attribute(text: str, name: str) -> markupsafe.Markup:
    """The attribute of a tag with this text, and beside it the Chinese one for the page's script."""
    chinese = in_chinese(text)
    beside = markupsafe.Markup(' data-zh-{}="{}"').format(name, chinese) if chinese != text else ""
    return markupsafe.Markup('{}="{}"{}').format(name, str.__str__(text), beside)
