"""The report in a real browser, as its reader has it: opened from disk, clicked, typed at, printed, without scripts.

The browser is the machine's own Chromium; Playwright drives it, axe-core looks for barriers.
"""

import io
import itertools
import re
import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from fake_runs import write_run
from pages import MARKED
from PIL import Image
from test_labels import write_curve

from compare import report, save_run
from compare.data import dataset
from compare.page.catalogues import LANGUAGES
from compare.runs import record

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LABELS = ("ResNet-18 · from scratch", "ResNet50 · frozen")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


IN_ALL_LOOKS = pytest.mark.parametrize(
    ("width", "colours"),
    [
        (390, "dark"),
        (1440, "light"),
        pytest.param(390, "light", marks=pytest.mark.thorough),
        pytest.param(1440, "dark", marks=pytest.mark.thorough),
    ],
)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on scikit-learn's digits, whose images are on every machine."""
    folder = tmp_path_factory.mktemp("browser")
    return [
        record.read_run(
            write_run(
                folder / branch,
                branch=branch,
                data="digits",
                num_test=None,
                accuracy=accuracy,
                robustness=0.5,
                seen=True,
            )
        )
        for branch, accuracy in (("scratch_resnet", 0.8), ("pretrained", 0.7))
    ]


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return report.write_report(folder, runs, title="In a browser").as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page; whatever the browser complains of or asks for beside it fails the test."""
    contexts, problems = [], []

    def open_page(**settings):
        context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"} | settings
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))
        asked = []
        page.goto(address)
        assert asked == [address]
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def most_confused(run) -> tuple[int, int]:
    """The true and predicted class of the run's most frequent mistake."""
    predicted = run.test_probabilities.argmax(axis=1)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (run.test_labels, predicted), 1)
    np.fill_diagonal(counts, 0)
    return tuple(map(int, np.unravel_index(counts.argmax(), counts.shape)))


def numbers_in(page) -> list[int]:
    """The rows of the test images that the open gallery shows."""
    labels = page.locator("#gallery .tile").evaluate_all("all => all.map(one => one.ariaLabel)")
    return [int(label.split(",")[0].removeprefix("Test image ")) for label in labels]


@pytest.mark.parametrize("how", ["mouse", "Enter", "Space"])
def test_a_cell_shows_its_images(opened, runs, how):
    page = opened()
    true, predicted = most_confused(runs[1])
    cell = page.locator(f'.matrix button[data-cell="1,{true},{predicted}"]')
    if how == "mouse":
        cell.click()
    else:
        cell.focus()
        page.keyboard.press(how)
    assert page.locator("#gallery-title").inner_text() == f"“{true}” taken for “{predicted}”"
    answers = [run.test_probabilities.argmax(axis=1) for run in runs]
    there = (runs[1].test_labels == true) & (answers[1] == predicted)
    rows = np.flatnonzero(there).tolist()
    assert 12 < len(rows) <= 24 and numbers_in(page) == rows[:12]
    page.locator("#gallery [data-more]").click()
    assert numbers_in(page) == rows
    lines = "all => all.map(one => [...one.querySelectorAll('.guess')].map(line => line.textContent))"
    for said, row in zip(page.locator("#gallery li").evaluate_all(lines), rows, strict=True):
        for line, run, marker, label in zip(said, runs, "●■", LABELS, strict=True):
            probabilities = run.test_probabilities[row]
            assert line == f"{marker} {label}:“{probabilities.argmax()}” {100 * probabilities.max():.0f}\xa0%"
    image = Image.open(io.BytesIO(page.locator("#gallery .tile").first.screenshot())).convert("L")
    seen = np.asarray(image.resize((28, 28), Image.Resampling.BOX), float)
    assert np.abs(seen - dataset.load("digits").test_images[rows[0], ..., 0]).mean() < 20

    page.locator("#gallery-choice").get_by_label("both", exact=True).check()
    assert numbers_in(page) == np.flatnonzero(there & (answers[0] == predicted)).tolist()
    page.keyboard.press("Escape")
    assert not page.locator("#gallery").is_visible()
    assert cell.evaluate("one => one === document.activeElement")


def test_images_come_some_at_a_time_and_of_the_right_ones_forty_are_kept(opened, runs):
    page = opened()
    page.locator('.matrix button[data-cell="0,3,3"]').click()
    mine, other = ((run.test_probabilities.argmax(axis=1) == 3) & (run.test_labels == 3) for run in runs)
    kept = {*np.flatnonzero(mine & ~other), *np.flatnonzero(mine)[:40], *np.flatnonzero(mine & other)[:40]}
    kept |= set(np.flatnonzero(other)[:40]) & set(np.flatnonzero(mine))
    assert 36 < len(kept) <= 48
    more = page.locator("#gallery").get_by_role("button", name="Show more")
    for number in (12, 24, 36):
        assert numbers_in(page) == sorted(kept)[:number]
        more.press("Enter")
    assert numbers_in(page) == sorted(kept) and not more.is_visible()
    page.keyboard.press("Enter")  # on the button that closes, which has the focus now
    assert not page.locator("#gallery").is_visible()


def test_a_page_of_one_run(browser, runs, tmp_path):
    page = browser.new_page()
    page.goto(report.write_report(tmp_path, runs[:1], title="Alone").as_uri())
    true, predicted = most_confused(runs[0])
    page.locator(f'.matrix button[data-cell="0,{true},{predicted}"]').click()
    there = (runs[0].test_labels == true) & (runs[0].test_probabilities.argmax(axis=1) == predicted)
    assert numbers_in(page) == np.flatnonzero(there).tolist()
    assert page.locator("#gallery-choice input").is_checked()
    page.keyboard.press("Escape")
    page.locator("#language").click()  # whose names of sections must differ as well
    assert axe.Axe().run(page).response["violations"] == []
    page.close()


def test_the_list_of_reports(browser, runs, tmp_path):
    for name in ("one", "other"):
        report.write_report(tmp_path / "reports" / name, runs, title=name)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "reports" / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("img").first.evaluate("one => one.naturalWidth") > 100
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
    page.locator("li", has_text="other").get_by_role("link").click()
    assert page.title() == "other"
    page.close()


def test_the_switches_change_what_cells_say_and_where_they_stand(opened, runs):
    page = opened()
    shown = page.locator(".matrix:visible").first
    true, predicted = most_confused(runs[0])
    cell = page.locator(f'.matrix [data-cell="0,{true},{predicted}"]')
    num_images = int(cell.inner_text())
    page.get_by_label("% of the true class").check()
    support = int((runs[0].test_labels == true).sum())
    assert float(cell.inner_text()) == pytest.approx(100 * num_images / support, abs=0.051)
    together = shown.locator("tbody th").all_inner_texts()
    assert shown.locator("thead th:not(:first-child)").all_inner_texts() == together
    page.get_by_label("in the data’s order").check()
    in_order = shown.locator("tbody th").all_inner_texts()
    assert in_order == [str(n) for n in range(10)] and sorted(together) == in_order != together
    assert shown.locator("thead th:not(:first-child)").all_inner_texts() == in_order
    row = shown.locator("tbody tr").nth(true).locator("td").nth(predicted)
    assert row.inner_text() == cell.inner_text() and "0," in row.locator("button").get_attribute("data-cell")


@IN_ALL_LOOKS
def test_nobody_is_kept_out(opened, width, colours):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=colours)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
    page.locator(".matrix button[data-cell]").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


@IN_ALL_LOOKS
def test_it_speaks_the_reader_s_language(opened, runs, width, colours):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=colours, locale="zh-CN")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.locator("h2").first.inner_text() == "结论"
    drawing = page.locator("#curves svg.drawing").first
    assert "ResNet-18 · 从头训练" in drawing.get_attribute("aria-label")
    assert "轮次" in drawing.locator("text").all_text_contents()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    true, predicted = most_confused(runs[1])
    cell = page.locator(f'.matrix button[data-cell="1,{true},{predicted}"]')
    assert cell.get_attribute("aria-label").startswith(f"“{true}”被误判为“{predicted}”：")
    cell.click()
    assert page.locator("#gallery-title").inner_text() == f"“{true}”被误判为“{predicted}”"
    assert page.locator("#gallery [data-count]").inner_text().startswith("已显示")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
    page.keyboard.press("Escape")

    before = page.locator("body").inner_text()
    page.locator("#language").press("Enter")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h2").first.inner_text() == "Verdict"
    assert not re.search(r"[\u4e00-\u9fff]", page.locator("main").inner_text())
    assert cell.get_attribute("aria-label").startswith(f"“{true}” taken for “{predicted}”: ")
    page.locator("#language").click()
    assert page.locator("body").inner_text() == before


def test_the_button_goes_round_all_languages(browser, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(LANGUAGES, "eo", MARKED)
    address = report.write_report(tmp_path, runs, title="In three").as_uri()
    page = browser.new_page(locale="eo")
    page.goto(address)
    title, button = page.locator("h2").first, page.locator("#language")
    label = page.locator("#curves svg.drawing").first
    for code, summary, drawn, following in 2 * [
        ("eo", "~Verdict", "~Accuracy over epochs", "中文"),
        ("zh-Hans", "结论", "准确率", "English"),
        ("en", "Verdict", "Accuracy over epochs", "Esperanto"),
    ]:
        assert page.locator("html").get_attribute("lang") == code and title.inner_text() == summary
        assert drawn in label.get_attribute("aria-label") and button.inner_text() == following
        button.click()
    page.locator("[data-cell]").first.click()
    names = page.locator("#gallery .guess")
    assert names.first.get_attribute("title") == f"~{LABELS[0]}"
    page.close()


def test_images_that_runs_differ_on_are_chosen_by_who_is_right_and_by_class(opened, runs):
    page = opened()
    right = [run.test_probabilities.argmax(axis=1) == run.test_labels for run in runs]
    sure = [run.test_probabilities.max(axis=1) for run in runs]
    shown = page.locator("[data-group]:visible")
    for number, (mask, confidence) in enumerate(
        (
            (right[0] & ~right[1], sure[1]),
            (right[1] & ~right[0], sure[0]),
            (~right[0] & ~right[1], np.minimum(*sure)),
        )
    ):
        page.locator(f"#who-{number}").check()
        rows = sorted(np.flatnonzero(mask), key=lambda row: -confidence[row])
        assert shown.count() == 1 and shown.locator("li").count() == min(12, len(rows))
        assert f"of {len(rows)} shown" in shown.locator("[data-count]").inner_text()
        first = shown.locator(".tile").first.get_attribute("aria-label")
        assert first == f"Test image {rows[0]}, “{runs[0].test_labels[rows[0]]}”"
    page.locator("#who-0").check()
    page.get_by_label("Images of").select_option("“3”")
    number = int((right[0] & ~right[1] & (runs[0].test_labels == 3)).sum())
    assert shown.locator("li strong").all_inner_texts() == ["“3”"] * min(12, number)
    assert shown.locator("[data-count]").inner_text() == f"{min(12, number)} of {number} shown"


def test_three_images_stand_beside_each_other_on_a_phone(opened):
    page = opened(viewport={"width": 360, "height": 800})
    boxes = [page.locator("[data-group]:visible .tile").nth(number).bounding_box() for number in range(4)]
    assert len({box["y"] for box in boxes[:3]}) == 1 and boxes[3]["y"] > boxes[0]["y"] + 90
    assert all(box["width"] > 90 for box in boxes)


def test_without_scripts_all_but_the_clicking_works(opened):
    page = opened(java_script_enabled=False, locale="zh-CN")
    assert page.locator(".overline strong").inner_text() == "In a browser"
    assert not page.locator("#language").is_visible()
    assert page.locator(".matrix:visible").count() == 3
    assert not page.locator("#matrix-switches").is_visible()
    page.locator("#who-2").check()
    assert page.locator("[data-group] li:visible").count() == page.locator('[data-group="2"] li').count() > 0
    page.locator("summary", has_text="The numbers of the curves").click()
    assert page.get_by_text("losses in nats an image").first.is_visible()


def test_it_prints_a_brief_and_then_an_appendix(opened, tmp_path):
    page = opened()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 1000})  # an A4 page without its margins
    assert not page.locator("nav").is_visible() and not page.locator("details.data").first.is_visible()
    # what is folded away on the screen is on paper
    assert page.locator("details:not([open]) table:visible").first.evaluate("one => one.offsetHeight") > 50
    edges = "all => all.filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect().right)"
    assert max(page.locator("table, figure, p, .banner").evaluate_all(edges)) <= 691
    places = [
        page.locator(f"#{name}-title").bounding_box()["y"] for name in ("summary", "audit", "confusion", "curves")
    ]
    assert places == sorted(places)
    assert page.locator("#audit + section").evaluate("one => getComputedStyle(one).breakBefore") == "page"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_label_curve_on_paper_is_not_cut(browser, tmp_path):
    page = browser.new_page(viewport={"width": 690, "height": 1000})
    page.goto(report.write_report(tmp_path / "page", write_curve(tmp_path), title="A curve").as_uri())
    page.emulate_media(media="print")
    edges = page.locator("#labels :is(table, figure)").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert edges and max(edges) <= 691
    picture, table = (page.locator(f"#labels .row {one}").first.bounding_box() for one in ("figure", "table"))
    assert table["y"] >= picture["y"] + picture["height"]  # below it, where it has room
    checks = page.locator(".audit details:has(.passed) p")  # a brief has what failed and what was not run
    assert checks.count() and not any(one.is_visible() for one in checks.all())
    page.close()


@pytest.fixture(scope="module")
def of_many_classes(tmp_path_factory):
    """A page of two runs on forty classes, the first of which are never predicted or have long names."""
    folder = tmp_path_factory.mktemp("many")
    names = ["金毛寻回犬", "Donaudampfschifffahrtsgesellschaftskapitänsmütze", *(f"class {n}" for n in range(2, 40))]
    labels = np.repeat(np.arange(40), 5)
    for number, step in enumerate((3, 4)):
        predicted = np.where(np.arange(len(labels)) % step, labels, (labels + 1) % 40)
        predicted[predicted == 0] = 1
        probabilities = np.full((len(labels), 40), 0.1 / 39)
        probabilities[np.arange(len(labels)), predicted] = 0.9
        title = f"network {number}"
        save_run(
            folder / title,
            title=title,
            class_names=names,
            test_probabilities=probabilities,
            test_labels=labels,
        )
    runs = [record.read_run(folder / f"network {number}") for number in (0, 1)]
    return runs, report.write_report(folder / "page", runs, title="Forty classes").as_uri()


@pytest.fixture(scope="module")
def of_many_strategies(tmp_path_factory):
    """A page of six strategies, the first of which are the best, without images."""
    folder = tmp_path_factory.mktemp("strategies")
    runs = [
        record.read_run(
            write_run(folder / f"r{number}", recipe=f"r{number}", accuracy=0.9 - 0.05 * number, robustness=0.5)
        )
        for number in range(6)
    ]
    return report.write_report(folder / "page", runs, title="Six strategies").as_uri()


def strategies_on(page) -> list[set[str]]:
    """The recipes that each part of a page is about which can show some alone."""
    heads = page.locator("#audit thead th:visible").all_inner_texts()[1:]
    legend = page.locator("#classes .legend span[data-of]:visible").all_inner_texts()
    matrices = page.locator("#matrices > [data-of] h3").all_inner_texts()
    curves = page.locator("#curves .drawing").first.locator(".name[data-of]:visible").all_text_contents()
    rows = page.locator("#confidence tr[data-of]:not(.aside):visible").all_inner_texts()
    return [
        {name for one in part for name in re.findall(r"r\d", one)} for part in (heads, legend, matrices, curves, rows)
    ]


def test_what_is_pinned_is_shown_sent_and_printed(browser, of_many_strategies):
    page = browser.new_page(locale="en-GB")
    page.goto(of_many_strategies)
    assert strategies_on(page) == 5 * [{"r0", "r1", "r2", "r3"}]
    box = page.locator('#summary input[name="pinned"]')
    assert box.evaluate_all("all => all.map((one) => one.checked)") == 4 * [True] + 2 * [False]
    panels = page.locator("#robustness .panels")
    before = panels.screenshot()
    box.nth(5).check()  # the fifth: what was pinned first goes
    assert panels.screenshot() != before  # each shows a part of one drawing
    box.nth(2).uncheck()
    assert strategies_on(page) == 5 * [{"r1", "r3", "r5"}]
    extents = (
        page.locator("#curves .drawing")
        .first.locator(".name:not(.aside)")
        .evaluate_all("all => all.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => [top, bottom])")
    )
    extents.sort()
    assert all(above[1] <= below[0] + 3 for above, below in itertools.pairwise(extents))
    sent = browser.new_page(locale="en-GB")
    sent.goto(page.url)
    assert strategies_on(sent) == 5 * [{"r1", "r3", "r5"}]
    assert sent.locator(
        "#audit tbody th p:visible"
    ).count()  # what the first, which is aside, has to do the others have too
    sent.emulate_media(media="print")
    assert strategies_on(sent)[:2] == 2 * [{"r1", "r3", "r5"}]
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
    for number in (1, 3, 5):
        box.nth(number).uncheck()
    heads, _, _, curves, _ = strategies_on(page)
    assert heads == curves == {f"r{number}" for number in range(6)}
    without = browser.new_context(java_script_enabled=False).new_page()
    without.goto(of_many_strategies)
    assert strategies_on(without)[0] == {f"r{number}" for number in range(6)}
    assert not without.locator(".pins:visible").count()


# presses everything that can be pressed, and returns what did nothing by it
WITHOUT_EFFECT = """() => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  const look = (words) => document.documentElement.outerHTML + document.querySelector(":popover-open")?.id +
    (words ? document.body.innerText : "");
  const idle = [], pressed = [];
  const press = (room) => {
    for (const control of room.querySelectorAll("summary, button, input, select")) {
      if (!control.checkVisibility({ visibilityProperty: true })) continue;
      const isChoice = ["radio", "checkbox"].includes(control.type);
      if (isChoice && control.checked) room.querySelector(`[name="${control.name}"]:not(:checked)`)?.click();
      const before = look(isChoice);
      if (control.type === "search") {
        control.value = "class 1";
        control.dispatchEvent(new Event("input"));
      } else if (control.localName === "select") {
        control.selectedIndex = 1;
        control.dispatchEvent(new Event("change", { bubbles: true }));
      } else control.click();
      pressed.push(control.className || control.localName);
      if (look(isChoice) === before) idle.push(control.outerHTML);
      const dialog = document.querySelector("dialog[open]");
      if (dialog && room !== dialog && !pressed.includes("in a dialog")) {
        pressed.push("in a dialog");
        press(dialog);
      }
      if (room !== dialog) dialog?.close();
      document.querySelector(":popover-open")?.hidePopover();
      if (control.id === "language") control.click();
    }
  };
  press(document.body);
  return [idle, pressed];
}"""


@pytest.mark.parametrize("of_many", [False, True])
def test_every_link_leads_somewhere_and_every_control_does_something(browser, address, of_many, request):
    if of_many:
        _, address = request.getfixturevalue("of_many_classes")
    page = browser.new_page(reduced_motion="reduce", locale="en-GB")
    page.goto(address)
    links = page.locator("a").evaluate_all("all => all.map((one) => [one.getAttribute('href'), one.href])")
    assert len(links) > 20
    for written, whole in links:
        if written.startswith("#"):
            assert page.locator(f"[id='{written[1:]}']").count() == 1, written
        else:
            place = Path(url2pathname(urlparse(whole).path))
            assert place.parent == Path(url2pathname(urlparse(address).path)).parent and place.is_file(), written
    idle, pressed = page.evaluate(WITHOUT_EFFECT)
    assert idle == []
    assert {"term", "language", "summary", *([] if of_many else ["input", "in a dialog"])} <= set(pressed)
    page.close()


@pytest.mark.parametrize(("width", "colours", "locale"), [(390, "dark", "zh-CN"), (1440, "light", "en-GB")])
def test_forty_classes_are_drawn_sorted_and_searched(browser, of_many_classes, width, colours, locale):
    runs, address = of_many_classes
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=colours, locale=locale, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table.matrix").count() == 0 and page.locator("#confusion svg.drawing").count() == 3
    assert page.locator(".cards > li:visible").count() == 12  # of the most frequent mistakes
    page.locator("details:has(#table-of-classes) summary").click()
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []

    table = page.locator("#table-of-classes")
    names = table.locator("tbody th").all_inner_texts()
    precision = table.locator("thead th").nth(4)  # of the first run, after two heads of both runs, class, images
    precision.get_by_role("button").press("Enter")
    assert precision.get_attribute("aria-sort") == "ascending"
    values = [text.strip("\u2190 \u00a0") for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert values[-1] == "–" and values[:-1] == sorted(values[:-1]) and len(set(values)) > 2
    precision.get_by_role("button").press("Enter")
    values = [text.strip("\u2190 \u00a0") for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert values[-1] == "–" and values[:-1] == sorted(values[:-1], reverse=True)
    precision.get_by_role("button").press("Enter")
    assert precision.get_attribute("aria-sort") is None and table.locator("tbody th").all_inner_texts() == names
    class_head = table.locator("thead th").nth(2).get_by_role("button")
    class_head.click()
    class_head.click()
    assert table.locator("tbody th").all_inner_texts()[-2:] == ["class 3", "class 2"] or locale == "zh-CN"

    page.get_by_role("searchbox").fill("CLASS 1")
    assert table.locator("tbody tr:visible").count() == 10 and page.get_by_text("10 / 40").is_visible()
    page.get_by_role("searchbox").fill("金毛")
    assert table.locator("tbody th:visible").all_inner_texts() == ["金毛寻回犬"]
    context.close()


def test_a_press_shows_where_each_run_looked(browser, tmp_path):
    """The maps that made-up runs keep have their one bright place in the corner that the image's row says."""
    runs = [
        record.read_run(write_run(tmp_path / name, branch=name, data="digits", num_test=None, maps=side))
        for name, side in (("scratch_resnet", 4), ("pretrained", 5), ("other", 1))
    ]
    page = browser.new_page(reduced_motion="reduce")
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(report.write_report(tmp_path / "page", runs, title="Where").as_uri())
    button, status = page.locator("button.where"), page.locator("[data-where-status]").first
    assert button.inner_text() == f"Show where {LABELS[0]} looked" and page.locator("canvas").count() == 0
    said = "No picture of where other looked: the last maps are too coarse, under 4×4"
    assert said in page.inner_text("#differences")
    button.focus()
    page.keyboard.press("Enter")
    assert status.inner_text() == f"Over the images: where {LABELS[0]} looked."
    tiles = page.locator("#differences .tile")
    assert page.locator("#differences canvas").count() == tiles.count() > 10
    brightest = """tile => {
      const canvas = tile.querySelector("canvas"), size = canvas.width;
      const bytes = canvas.getContext("2d").getImageData(0, 0, size, size).data;
      const alphas = [...Array(size * size).keys()].map((place) => bytes[4 * place + 3]);
      return [alphas.indexOf(Math.max(...alphas)), size];
    }"""
    for place in range(8):
        row = int(tiles.nth(place).get_attribute("aria-label").split(",")[0].removeprefix("Test image "))
        place, size = tiles.nth(place).evaluate(brightest)
        assert size == 4 and divmod(place, 4) == (3 * (row % 2), 3 * (row // 2 % 2))
    page.keyboard.press("Enter")
    assert tiles.first.evaluate(brightest)[1] == 5  # the other run's
    page.locator("button[data-cell]").first.click()  # what is opened now has them, too
    assert page.locator("#gallery canvas").count() == page.locator("#gallery .tile").count() > 0
    page.locator("#language").evaluate("button => button.click()")
    assert button.text_content() == "只显示图像"
    assert axe.Axe().run(page).response["violations"] == []
    page.locator("#gallery button[data-where]").click()
    assert page.locator("canvas").count() == 0 and status.text_content() == ""
    page.close()
    assert problems == []
