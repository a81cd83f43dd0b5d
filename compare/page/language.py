"""The report's languages: English, and those that have a catalogue in `catalogues`.

Every text of the page is said in English where it is needed, `say("{run} is ahead", run=label)`, and each catalogue has
its translation under the same words. The result is a string, the English one, that knows the others; the page carries
them all, and its reader's browser, or the button at its top, chooses. In a template `{{ say("…") }}` stands in text,
and `{{ say("…") | attribute("aria-label") }}` in a tag.

A text that a catalogue lacks is an error, found when it is said, and by `tests/page/test_language.py` before that.
"""

import functools
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import markupsafe

from compare.page.catalogues import LANGUAGES

ENGLISH = "en"
PARTED = " · "  # between the parts of a name, in every language


class Text(str):
    """A text in every language: as a string it is the English one.

    Attributes:
        translations: the others, by the languages' codes.
    """

    translations: Mapping[str, str]

    def __new__(cls, english: str, translations: Mapping[str, str]) -> "Text":
        """The text of these."""
        text = super().__new__(cls, english)
        text.translations = translations
        return text

    def __str__(self) -> "Text":
        """Itself: libraries that call `str`, as matplotlib does, keep every language."""
        return self


def say(english: str, /, **values: object) -> Text:
    """A text of the catalogues with values, which may be texts themselves, in its places.

    Raises:
        KeyError: a catalogue has no such text.
    """
    translations = {
        code: _filled(catalogue.TEXTS[english], {name: in_language(value, code) for name, value in values.items()})
        for code, catalogue in LANGUAGES.items()
    }
    return Text(english.format(**values), translations)


def known(text: str, of: str = "") -> str:
    """A text that comes from a record, such as a class's name, in the languages whose catalogues have it, else as it
    is. What is `of` a setting, a recipe or a split has its own translation: a class may be called `train`, too."""
    key = f"{of} {text}" if of else text
    translations = {code: catalogue.KNOWN[key] for code, catalogue in LANGUAGES.items() if key in catalogue.KNOWN}
    return Text(text, translations) if translations else text


def joined(texts: Iterable[str], separator: str = ", ") -> Text:
    """Texts as a list, in each language with its own marks."""
    texts = list(texts)
    translations = {
        code: functools.reduce(_beside, _between(in_language(texts, code), catalogue.MARKS[separator]), "")
        for code, catalogue in LANGUAGES.items()
    }
    return Text(separator.join(texts), translations)


def _between(texts: list[str], mark: str) -> list[str]:
    """Texts with a mark between each two."""
    return [part for text in texts for part in (mark, text)][1:]


def _filled(text: str, values: Mapping[str, object]) -> str:
    """A text with values in its places, as `str.format` fills it, and the spaces that Chinese has beside them."""
    written = ""
    for literal, name, form, _ in string.Formatter().parse(text):
        written = _beside(written, literal)
        written = written if name is None else _beside(written, format(values[name], form or ""))
    return written


def _beside(left: str, right: str) -> str:
    """Two texts, one after the other. Chinese stands apart from letters and digits, not from its own marks, and from
    Chinese only beside names of several parts."""
    before, after = left.rstrip(" ")[-1:], right.lstrip(" ")[:1]
    chinese = [bool(re.match(r"[\u4e00-\u9fff]", one)) for one in (before, after)]
    marked = "、，。；：（）"
    if all(chinese) and PARTED not in left + right or before and before in marked or after and after in marked:
        return left.rstrip(" ") + right.lstrip(" ")
    if any(chinese) and re.match(r"[A-Za-z0-9%+-]", after if chinese[0] else before):
        return left.rstrip(" ") + " " + right.lstrip(" ")
    return left + right


def parts_of(name: str) -> list[Text]:
    """What a name is put together of, as a network's with how it was trained."""
    translations = {code: in_language(name, code).split(PARTED) for code in LANGUAGES}
    return [
        Text(part, {code: parts[place] for code, parts in translations.items()})
        for place, part in enumerate(name.split(PARTED))
    ]


def changed(text: str, change: Callable[[str], str]) -> str:
    """A text changed in every language."""
    if not isinstance(text, Text):
        return change(text)
    return Text(change(str.__str__(text)), {code: change(other) for code, other in text.translations.items()})


def unbroken(text: str) -> str:
    """A text in which no line ends with a hyphen or begins with a dot: a large name is read at a glance."""
    return changed(
        text, lambda some: some.replace("-", "\N{NON-BREAKING HYPHEN}").replace(" · ", "\N{NO-BREAK SPACE}· ")
    )


def typeset(text: str) -> str:
    """A text whose numbers have a minus sign in the place of a hyphen, and stay on one line with their percent sign."""
    text = re.sub(r" %|(?<=\d)%(?![\w%])", "\N{NO-BREAK SPACE}%", text)  # an address has others
    return re.sub(r"(?<![^\s(])-(?=\d)", "\N{MINUS SIGN}", text)


def in_language(value: Any, code: str) -> Any:
    """A text in the language of that code, in English where it has none in it; of a list each; anything else as it
    is."""
    if isinstance(value, list):
        return [in_language(part, code) for part in value]
    return value.translations.get(code, str.__str__(value)) if isinstance(value, Text) else value


def in_each(value: str | list[str]) -> dict[str, Any]:
    """A text, or a list of texts, in every language, by their codes."""
    return {code: in_language(value, code) for code in own_names()}


def own_names() -> dict[str, str]:
    """What each language calls itself, by their codes."""
    return {ENGLISH: "English"} | {code: catalogue.NAME for code, catalogue in LANGUAGES.items()}


def report_keys(key: str) -> dict[str, str]:
    """What report.json calls a text in each language: `key` in English, and such as `sentences_in_chinese`."""
    return {ENGLISH: key} | {code: f"{key}_in_{catalogue.NAME_IN_ENGLISH}" for code, catalogue in LANGUAGES.items()}


def for_report(key: str, value: str | list[str]) -> dict[str, Any]:
    """A text, or a list of texts, as report.json has it: in every language."""
    return {name: in_language(value, code) for code, name in report_keys(key).items()}


def on_page(value: Any) -> Any:
    """A text as an element that carries every language, its numbers as `typeset` has them; anything else as it is."""
    if type(value) not in (str, Text):
        return value
    value = changed(value, typeset)
    written = str.__str__(value)
    if translations := translations_of(value):
        written = markupsafe.Markup("<span{}>{}</span>").format(translations, written)
    return written


def attribute(text: str, name: str) -> markupsafe.Markup:
    """The attribute of a tag with this text, and beside it its translations."""
    return markupsafe.Markup('{}="{}"{}').format(name, str.__str__(text), translations_of(text, name))


def translations_of(text: str, name: str = "") -> markupsafe.Markup:
    """What a tag holds for the page's script beside an English text, which is its content or its attribute `name`: the
    other languages' as `data-CODE` or `data-CODE-NAME`; nothing where all are the same."""
    texts = in_each(text)
    english = texts.pop(ENGLISH)
    if set(texts.values()) <= {english}:
        return markupsafe.Markup()
    beside = markupsafe.Markup(' data-{}{}="{}"')
    return markupsafe.Markup().join(
        beside.format(code.lower(), name and f"-{name}", translated) for code, translated in texts.items()
    )
