"""How fast a report's page is in Chromium: the time to its first view, and the frames while its galleries scroll.

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
# scrolls through the galleries, as far as they go, in some two seconds, and returns the milliseconds between frames
SCROLL = """() => new Promise((resolve) => {
  const section = document.getElementById('differences');
  const begin = section.offsetTop, end = begin + section.offsetHeight - innerHeight, times = [];
  const step = (now) => {
    times.push(now);
    scrollTo({ top: begin + (end - begin) * (times.length / 120), behavior: 'instant' });
    if (times.length < 120) requestAnimationFrame(step);
    else resolve(times.slice(1).map((time, index) => time - times[index]));
  };
  scrollTo({ top: begin, behavior: 'instant' });
  requestAnimationFrame(step);
})"""


def main():
    address = Path(sys.argv[1]).absolute().as_uri()
    first_views, on_time, longest = [], [], []
    with sync_playwright() as driver:
        for _ in range(NUM_REPEATS):
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address)
            first_views.append(page.evaluate(FIRST_VIEW))
            frames = page.evaluate(SCROLL)
            on_time.append(100 * sum(frame <= 1.5 * 1000 / 60 for frame in frames) / len(frames))
            longest.append(max(frames))
            browser.close()
    for name, values, unit in (
        ("first view after", first_views, "ms"),
        ("frames on time", on_time, "%"),
        ("longest frame", longest, "ms"),
    ):
        print(f"{name:<18} {statistics.median(values):6.0f} {unit:<2}  ({min(values):.0f} to {max(values):.0f})")


if __name__ == "__main__":
    main()
