"""The page of `compare.inspect` in a real browser: every picture in its place, without barriers."""

import io
import re

import numpy as np
import pytest
from picture_folders import HOSTILE, folder_of, some, write
from PIL import Image

from compare.data import image_folder, reading
from compare.findings import folder as findings
from compare.page import inspection

browsers = pytest.importorskip("test_page_in_browser", reason="Playwright or axe-playwright-python is not installed")
pytestmark = browsers.pytestmark
browser = browsers.browser


@pytest.fixture(scope="module")
def page_of_copies(tmp_path_factory):
    """A folder with copies, names of every kind and a file that is none; its page and its images."""
    own = tmp_path_factory.mktemp("own")
    images = np.repeat(np.repeat(some(30, 8, 8, 3), 8, axis=1), 8, axis=2)
    folder_of(own, images, [0, 1] * 15, ("a", "<b>羊</b>"), "train")
    folder_of(own, np.repeat(np.repeat(some(6, 8, 8, 3), 8, axis=1), 8, axis=2), [0, 1] * 3, ("a", "<b>羊</b>"), "test")
    for row, name in enumerate(HOSTILE):
        write(own / "test" / "a" / name, images[row])
    (own / "train" / "a" / ("long" * 50 + ".jpg")).write_bytes(b"")
    read = reading.read(own, image_size=64, fit="crop", split=None, group_by=None, most_unreadable=1.0)
    found = findings.find(read)
    out = tmp_path_factory.mktemp("look")
    page = inspection.write_page(out, read, found, image_folder.problems(read, allow_leaks=False))
    return page, dict(zip((one.file.name for one in read.found), read.images, strict=True))


@pytest.mark.parametrize(
    ("width", "colours", "locale"), [(390, "dark", "zh-CN"), (1440, "light", "en-US"), (390, "light", "en-US")]
)
def test_the_page_of_a_folder(browser, page_of_copies, width, colours, locale):
    address, images = page_of_copies
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": colours, "locale": locale}
    context = browser.new_context(**settings, reduced_motion="reduce")
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h2").first.inner_text() == {"zh-CN": "概况", "en-US": "What is there"}[locale]
    found = browsers.axe.Axe().run(page).response["violations"]
    assert found == [], [(one["id"], one["nodes"][0]["html"]) for one in found]
    if locale == "zh-CN":  # but for names, what an error says, and formats
        page.evaluate("for (const one of document.querySelectorAll('pre, code, bdi')) one.remove()")
        text = page.locator("body").inner_text()
        assert not re.search(
            r"[A-Za-z]{3}", re.sub(r"English|PNG|JPEG|RGB|train|test|羊|<b>|</b>|long|own\d*", "", text)
        )
    tiles = page.locator(".tile")
    for place in range(0, tiles.count(), 5):  # what is seen is the image that is named
        tile = tiles.nth(place)
        name = tile.get_attribute("aria-label")
        if name in images:
            tile.scroll_into_view_if_needed()
            seen = Image.open(io.BytesIO(tile.screenshot())).convert("RGB").resize((8, 8), Image.Resampling.BOX)
            right = images[name].reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
            assert np.abs(np.asarray(seen, float)[1:7, 1:7] - right[1:7, 1:7]).mean() < 30, name
    assert problems == []
    context.close()
