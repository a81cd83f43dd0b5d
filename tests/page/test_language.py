"""Every text of the report is there in every language."""

import ast
import html.parser
import json
import re
import typing
from pathlib import Path

import jinja2
import pytest
from fake_runs import write_run, write_unfinished_run
from pages import MARKED

import pretrained.recipe
import scratch_resnet.recipe
from compare import report
from compare.data import fashion_mnist
from compare.page import tables
from compare.page.catalogues import LANGUAGES, chinese
from compare.page.language import Text, attribute, in_language, joined, known, on_page, say
from compare.page.line_ends import lines_of
from compare.page.words import class_in_words, duration, setting_in_words, settings_in_words, shortened
from compare.runs import checkpoint, record

ROOM = Path(report.__file__).parent
BRANCHES = ("scratch_resnet", "pretrained")
# the English terms, and what each is in every Chinese text
TERMS = {
    "accuracy": "准确率",
    "audit": "核查",
    "backbones?": "骨干网络",
    "calibration": "校准",
    "checks|1 check": "检查",
    "confidence": "置信度",
    "corrupted|corruptions?": "扰动",
    "epochs?": "轮",
    "fine-tun(?:ed|ing)": "微调",
    "from scratch": "从头训练",
    "frozen": "冻结",
    "label smoothing": "标签平滑",
    "labels?": "标签",
    "learning rate": "学习率",
    "log loss": "对数损失",
    "95 % intervals?": "95 % 置信区间",
    "on the pixels": "像素",
    "points ahead": "领先",
    "precision": "精确率|数值精度",
    "pretrain(?:ed|ing)": "预训练",
    "recall": "召回率",
    "recipes?": r"配方|\{recipe\}",
    "robust(?:ness)?": "鲁棒性",
    "runs?": "运行",
    "seeds?": "种子",
    "strateg(?:y|ies)": "策略",
    "temperature": "温度",
    "test set": "测试集",
    "validation split": "验证集",
    "winner": "胜",
}
# what reads the same in all: times of day, hashes, formats, numbers and their units
SAME_IN_ALL = re.compile(r"\d+-\d+-\d+T[\d:]+Z|SHA-256 [0-9a-f]{8}…|\b(p|PNG|SVG|GB|M|G)\b")


def said() -> dict[str | None, str]:
    """Every text that the code or a template says, and where; under None what is not a literal."""
    found = {}
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                found[getattr(node.args[0], "value", None)] = path.name
    for path in (ROOM / "page" / "templates").glob("*.j2"):
        for node in jinja2.Environment().parse(path.read_text(encoding="utf-8")).find_all(jinja2.nodes.Call):
            if getattr(node.node, "name", "") == "say":
                found[getattr(node.args[0], "value", None)] = path.name
    return found


@pytest.mark.parametrize("catalogue", LANGUAGES.values(), ids=LANGUAGES)
def test_a_catalogue_has_every_text_and_no_other(catalogue):
    found = said()
    assert None not in found, f"say() with something else than a literal, in {found[None]}"
    assert len(found) > 250
    assert {text: where for text, where in found.items() if text not in catalogue.TEXTS} == {}
    assert catalogue.TEXTS.keys() - found.keys() == set()
    assert catalogue.MARKS.keys() == {", ", "; ", " ", " and "} and catalogue.UNITS_OF_TIME.keys() == {"h", "min", "s"}


def test_languages_have_names_of_their_own():
    names = [[catalogue.NAME, catalogue.NAME_IN_ENGLISH] for catalogue in LANGUAGES.values()]
    assert all(len({*column}) == len(LANGUAGES) for column in zip(*names, strict=True))
    assert all(re.fullmatch("[a-z_]+", name) and name != "english" for _, name in names)
    assert all(re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]+)*", code) for code in LANGUAGES)


@pytest.mark.parametrize("catalogue", LANGUAGES.values(), ids=LANGUAGES)
def test_translations_have_the_same_places(catalogue):
    for english, translated in [*catalogue.TEXTS.items(), *catalogue.KNOWN.items()]:
        places = [sorted(re.findall(r"\{[^{}]*\}", text)) for text in (english, translated)]
        assert places[0] == places[1], english


def test_the_chinese_is_chinese():
    for english, translated in [*chinese.TEXTS.items(), *chinese.KNOWN.items()]:
        bare = re.sub(r"\{[^{}]*\}", "", english)
        assert re.search(r"[\u4e00-\u9fff（）：、，。]", translated) or not re.search(r"[A-Za-z]", bare), english


def test_a_term_is_the_same_in_every_chinese_text():
    for english, translated in [*chinese.TEXTS.items(), *chinese.KNOWN.items()]:
        bare = re.sub(r"\{[^{}]*\}|python -m \S+|--\S+|/\S+", "", english)  # without places, commands and options
        for term, chinese_terms in TERMS.items():
            assert not re.search(rf"(?i)\b(?:{term})\b", bare) or re.search(chinese_terms, translated), (term, english)


@pytest.mark.parametrize("catalogue", LANGUAGES.values(), ids=LANGUAGES)
def test_what_records_say_of_ours_is_known(catalogue):
    """Every field of a recipe that the page shows, its modes but those that are names, recipes and their mistakes."""
    ours = {f"split {split}" for split in ("train", "test", "validation", "Test", "Validation")}
    kinds = {"setting", "recipe", "split"}
    for room in (scratch_resnet.recipe, pretrained.recipe):
        ours |= {f"recipe {name}" for name in room.RECIPES}
        for name, hint in typing.get_type_hints(room.Recipe).items():
            if name in tables.SAID_ELSEWHERE:
                continue
            hints = [part for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is typing.Literal]
            modes = {mode for part in hints for mode in typing.get_args(part) if isinstance(mode, str)}
            ours |= {f"setting {name}", *(f"{name} {mode}" for mode in modes)}
            kinds.add(name)
        for recipe in room.RECIPES.values():
            assert set(recipe.known_mistakes) <= catalogue.KNOWN.keys()
    assert {text for text in catalogue.KNOWN if text.split()[0] in kinds} == ours
    assert set(fashion_mnist.CLASS_NAMES) <= catalogue.KNOWN.keys()


def test_settings_are_called_alike_in_words():
    changes = {"label_smoothing": 0.1, "num_unfrozen_epochs": 2, "unfreeze": "none", "drop_path": "linear"}
    said = settings_in_words(changes)
    assert said == "label smoothing 0.1, number of unfrozen epochs 2, unfreeze none, drop_path linear"
    assert in_language(said, "zh-Hans") == "标签平滑 = 0.1、微调轮数 = 2、微调范围 = 不微调、drop_path = linear"
    assert type(setting_in_words("drop_path")) is str  # a field of somebody's own branch


def test_classes_may_be_called_what_settings_and_splits_are():
    for name in ("train", "test", "frozen", "best", "crop", "none", "all", "weights"):
        assert type(class_in_words(name)) is str


def test_a_text_is_a_string_with_its_translations():
    network = say("{network} · from scratch", network="ResNet-18")
    text = say("{run} is the stronger on {classes}", run=network, classes=joined(["a", "b"]))
    assert text == "ResNet-18 · from scratch is the stronger on a, b"
    assert in_language(text, "zh-Hans") == "ResNet-18 · 从头训练 占优的类别：a、b"
    assert isinstance(str(text), Text)  # as matplotlib calls it
    *_, recipe = lines_of(say("{network} · {name}", network=network, name=known("tuned", of="recipe")))
    assert in_language(recipe, "zh-Hans") == "调优配方"
    assert in_language([known("Coat"), "a", 3], "zh-Hans") == ["外套", "a", 3]
    assert type(known("a class of yours")) is str
    with pytest.raises(KeyError):
        say("What nobody translated.")


def test_every_language_stands_on_the_page_escaped():
    text = Text('<b> & "5 %"', {"zh-Hans": '<i> & "中 %"'})
    assert on_page(text) == (
        '<span data-zh-hans="&lt;i&gt; &amp; &#34;中\xa0%&#34;">&lt;b&gt; &amp; &#34;5\xa0%&#34;</span>'
    )
    assert attribute(Text("a <b>", {"zh-Hans": "中"}), "title") == 'title="a &lt;b&gt;" data-zh-hans-title="中"'
    assert attribute('"x"', "title") == 'title="&#34;x&#34;"'
    same = Text("same", {"zh-Hans": "same"})
    assert on_page(same) == "same" and type(on_page(same)) is str
    assert on_page(3) == 3


def in_all(attributes, ending="") -> bool:
    """Whether a tag has its text, or an attribute of it, in every language."""
    return all(f"data-{code.lower()}{ending}" in attributes for code in LANGUAGES)


class Untranslated(html.parser.HTMLParser):
    """Collects the English of a page that has not every other language beside it."""

    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "link", "input", "br", "img", "source"):
            self.open.append((tag, attributes))
        for name in ("alt", "aria-label", "title"):
            if attributes.get(name) and not in_all(attributes, f"-{name}"):
                self.check(attributes[name])
            assert "<span" not in (attributes.get(name) or "")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = {tag for tag, _ in self.open}
        translated = any(in_all(attributes) for _, attributes in self.open)
        # the tables of settings hold values as the program has them
        is_value = "td" in tags and any(attributes.get("class") == "settings" for _, attributes in self.open)
        if not translated and not is_value and not {"script", "style", "code", "pre"} & tags:
            self.check(data)

    def check(self, text):
        if re.search(r"[A-Za-z]", SAME_IN_ALL.sub("", text)):
            self.found.append(text.strip())


@pytest.mark.parametrize("kind", ["two", "one", "seeds", "unfinished"])
def test_no_english_is_alone(tmp_path, kind):
    branches = {"one": BRANCHES[:1]}
    if kind == "seeds":
        folders = [
            write_run(
                tmp_path / f"{branch}{seed}",
                branch=branch,
                seed=seed,
                data="digits",
                num_test=None,
                robustness=None if seed == 2 else 0.9 - 0.3 * (branch == "pretrained"),
                seen=True,
            )
            for branch in BRANCHES
            for seed in (0, 1, 2)
        ]
    else:
        folders = [
            write_run(tmp_path / branch, branch=branch, watched="validation", weights=weights)
            for branch, weights in zip(branches.get(kind, BRANCHES), ("random", "file"), strict=False)
        ]
    unfinished = []
    if kind == "unfinished":
        unfinished = [checkpoint.read_unfinished_run(write_unfinished_run(tmp_path / "left"))]
    runs = [record.read_run(folder) for folder in folders]
    title = say("From scratch or pretrained: {name}", name="1")
    page = report.write_report(tmp_path / "reports" / "1", runs, unfinished, title=title)
    names = {"McNemar", "Welch", "Fashion-MNIST", "ImageNet", "ResNet-18", "ResNet50", "report.json", "metrics.csv"}
    names |= {run.record.recipe.name for run in runs}
    names |= {f"{run.record.device.kind}: {run.record.device.name}" for run in runs}
    names |= {program for run in runs for program in run.record.versions}
    for path in (page, tmp_path / "reports" / "index.html"):
        reader = Untranslated()
        reader.feed(path.read_text(encoding="ascii"))
        assert [text for text in reader.found if text not in names] == []


def test_a_third_language_is_a_catalogue_and_a_line(tmp_path, monkeypatch):
    folders = [write_run(tmp_path / branch, branch=branch, data="digits", num_test=None) for branch in BRANCHES]
    runs = [record.read_run(folder) for folder in folders]
    report.write_report(tmp_path / "reports" / "older", runs, title="by a program that does not know it")
    monkeypatch.setitem(LANGUAGES, "eo", MARKED)
    text = say("{run} is the stronger on {classes}", run=known("Coat"), classes=joined(["a", "b"]))
    assert in_language(text, "eo") == "~Mantelo is the stronger on a | b" and text.translations["zh-Hans"][:2] == "外套"
    assert in_language(known("Bag"), "eo") == "Bag"
    assert in_language(duration(70), "eo") == "1 min 10 sek"
    assert in_language(shortened(text, 6), "eo") == "~Mant…"
    assert on_page(known("Bag")) == '<span data-zh-hans="包" data-eo="Bag">Bag</span>'
    assert attribute(known("Coat"), "title") == 'title="Coat" data-zh-hans-title="外套" data-eo-title="Mantelo"'

    page = report.write_report(tmp_path / "reports" / "newer", runs, title=say("Verdict")).read_text("ascii")
    assert ' data-eo="~Verdict">Verdict</title>' in page and ' data-eo="~Epoch">' in page
    assert '"eo": "Esperanto"' in page and ' data-eo-aria-label="~Sections"' in page
    drawing = "".join(re.findall(r'<svg class="drawing".*?</svg>', page))
    assert re.search(r'<text [^>]* data-eo="~epoch">epoch</text>', drawing, re.I)
    said = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page)[1])
    assert said["names"]["eo"][0] == "~ResNet-18 · from scratch" and len(said["classes"]["eo"]) == 10
    assert said["texts"]["number"]["eo"] == "no. {number}"  # said when its module was imported, before the line
    numbers = json.loads((tmp_path / "reports" / "newer" / "report.json").read_text("utf-8"))
    assert len(numbers["sentences_in_esperanto"]) == len(numbers["sentences_in_chinese"]) == len(numbers["sentences"])
    assert numbers["runs"][0]["run_in_esperanto"] == "~ResNet-18 · from scratch"
    older = json.loads((tmp_path / "reports" / "older" / "report.json").read_text("utf-8"))
    assert "sentences_in_esperanto" not in older and "sentences_in_chinese" in older
    listed = (tmp_path / "reports" / "index.html").read_text("ascii")
    assert "~ResNet-18 &#183; from scratch" in listed and "Not listed" not in listed
    assert ' data-eo="' + older["claim"][:9] in listed
