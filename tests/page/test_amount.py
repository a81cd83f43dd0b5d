"""How much a reader has to read: words with letters that stand on the page as it opens."""

import html.parser
import re

import pytest
from fake_runs import write_run
from pages import write

from compare.findings.findings import find
from compare.page import verdict
from compare.page.shown import show
from compare.runs import record

MOST_ON_A_PAGE, MOST_OF_A_VERDICT = 1200, 120
ALONE = {"br", "img", "input", "meta", "path", "use", "rect", "circle", "line", "image"}


class Visible(html.parser.HTMLParser):
    """The English text outside of what is folded or hidden; pictures are looked at, not read."""

    def __init__(self):
        super().__init__()
        self.folded, self.text = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ALONE:
            return
        classes = {*(attributes.get("class") or "").split()}
        if tag == "table":
            self.of_table = classes
        unseen = (
            (tag == "caption" and {"matrix", "recalls"} & self.of_table)  # for those who hear the page
            or tag in ("script", "style", "svg", "title", "dialog")
            or (tag == "details" and "open" not in attributes)
            or {"popover", "hidden"} & attributes.keys()
            or {"hidden", "skip"} & classes
        )
        self.folded.append((tag, bool(unseen), tag == "summary"))

    def handle_endtag(self, tag):
        if tag in ALONE:
            return
        while self.folded and self.folded.pop()[0] != tag:
            pass

    def handle_data(self, data):
        unseen = [place for place, (_, is_unseen, _) in enumerate(self.folded) if is_unseen]
        # the summary of what is folded is seen
        tags = [tag for tag, _, _ in self.folded]
        if unseen and not (tags[unseen[0]] == "details" and tags[unseen[0] + 1 : unseen[0] + 2] == ["summary"]):
            return
        self.text.append(data)


def words_of(path):
    reader = Visible()
    reader.feed(path.read_text(encoding="ascii"))
    return re.findall(r"\S*[A-Za-z]\S*", " ".join(reader.text))


def test_what_counts():
    reader = Visible()
    reader.feed(
        "<p>one<br>two <b>3</b></p><details><summary>three</summary><p>no</p></details><style>no</style>"
        "<details open><summary>four</summary><p>five</p></details><svg><text>no</text></svg>"
        '<div popover id="a">no</div>'
    )
    assert re.findall(r"[a-z]+", " ".join(reader.text)) == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_page_of_two_strategies_is_short(tmp_path, seeds):
    folders = [
        write_run(
            tmp_path / f"{branch}-{seed}",
            branch=branch,
            seed=seed,
            accuracy=accuracy + seed / 100,
            watched="validation",
            robustness=0.9 - accuracy / 2,
            seen=True,
        )
        for branch, accuracy in (("scratch_resnet", 0.9), ("pretrained", 0.8))
        for seed in range(seeds)
    ]
    write(tmp_path / "out", *folders)
    assert len(words_of(tmp_path / "out" / "index.html")) <= MOST_ON_A_PAGE
    found = find([record.read_run(folder) for folder in folders])
    assert len(" ".join(verdict.sentences(found, show(found))).split()) <= MOST_OF_A_VERDICT
