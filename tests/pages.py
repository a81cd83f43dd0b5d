"""Pages read back as a browser would read them."""

import base64
import hashlib
import html.parser
import re
import types

from compare import report
from compare.page.catalogues import LANGUAGES
from compare.runs import checkpoint, record


class Marked(dict):
    """Translations of whatever is asked for, by a mark before it."""

    def __missing__(self, english):
        return f"~{english}"


# a third language, for tests that register it
MARKED = types.SimpleNamespace(
    NAME="Esperanto",
    NAME_IN_ENGLISH="esperanto",
    MARKS={", ": " | ", "; ": " ; ", " ": " ", " and ": " kaj "},
    UNITS_OF_TIME={"s": "sek"},
    TEXTS=Marked(),
    KNOWN={"Coat": "Mantelo"},
)


class Page(html.parser.HTMLParser):
    """A page taken apart: its tags with their attributes, and its English text without tags. In `source` nothing marks
    what has a translation: `test_language` looks at that."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        translation = rf' data-(?:{"|".join(LANGUAGES).lower()})(?:-[a-z]+)*="[^"]*"'
        written = re.sub(rf"<span(?:{translation})+>([^<]*)</span>", r"\1", path.read_text(encoding="ascii"))
        self.source = re.sub(translation, "", written)
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def row(self, name):
        """The text of the table row that begins with `name`."""
        rows = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", self.source)
        return next(re.sub(r"<[^>]+>", " ", row) for row in rows if row.startswith(name))


def permitted(script):
    """How a page's policy names a script by what is in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def write(folder, *runs, title="a title", images="wrong"):
    complete = [record.read_run(run) for run in runs if (run / record.RECORD).exists()]
    unfinished = [checkpoint.read_unfinished_run(run) for run in runs if not (run / record.RECORD).exists()]
    return Page(report.write_report(folder, complete, unfinished, title=title, images=images))
