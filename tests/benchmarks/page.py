"""How fast a report's page is in Chromium: the time to its first view, and the frames while it scrolls.

    python tests/benchmarks/page.py reports/NAME/index.html

Each is measured five times in a window of 1440×900; printed are the median and the range. A frame of 1/60 s is on time
when it comes within 1.5 times that.
"""

import shutil
import statistics
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NUM_REPEATS = 5
FIRST_VIEW = """() => new Promise((resolve) =>
  new PerformanceObserver((list) => resolve(list.getEntriesByName('first-contentful-paint')[0].startTime))
    .observe({ type: 'paint', buffered: true }))"""
# scrolls at 1,200 pixels a second, from one place of the page to another; returns the milliseconds between frames
SCROLL = """([begin, end]) => new Promise((resolve) => {
  const times = [];
  const step = (now) => {
    times.push(now);
    scrollTo({ top: begin + times.length * 20, behavior: 'instant' });
    if (begin + times.length * 20 < end) requestAnimationFrame(step);
    else resolve(times.slice(1).map((time, index) => time - times[index]));
  };
  scrollTo({ top: begin, behavior: 'instant' });
  setTimeout(() => requestAnimationFrame(step), 500); // a jump is drawn anew, and is no scrolling
})"""
# from a screen above, so that the sprite is decoded on the way, as for a reader
GALLERIES = """() => {
  const { offsetTop, offsetHeight } = document.getElementById('differences');
  return [offsetTop - innerHeight, offsetTop + offsetHeight - innerHeight];
}"""
WHOLE_PAGE = "() => [0, document.documentElement.scrollHeight - innerHeight]"
ON_TIME = 1.5 * 1000 / 60


def main():
    address = Path(sys.argv[1]).absolute().as_uri()
    measured = {"first view after": ("ms", [])}
    with sync_playwright() as driver:
        for _ in range(NUM_REPEATS):
            for place, ends in (("galleries", GALLERIES), ("whole page", WHOLE_PAGE)):
                browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(address)
                measured["first view after"][1].append(page.evaluate(FIRST_VIEW))
                frames = page.evaluate(SCROLL, page.evaluate(ends))
                on_time = 100 * sum(frame <= ON_TIME for frame in frames) / len(frames)
                measured.setdefault(f"{place}: frames on time", ("%", []))[1].append(on_time)
                measured.setdefault(f"{place}: longest frame", ("ms", []))[1].append(max(frames))
                browser.close()
    for name, (unit, values) in measured.items():
        print(f"{name:<27} {statistics.median(values):6.1f} {unit:<2}  ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
