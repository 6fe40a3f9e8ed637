"""The page in a real browser: headless Chromium, where one is installed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reiqa import layout

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium installed")

# Measures the page in the frame once it and its pictures are loaded, and leaves JSON behind.
PROBE = """
addEventListener("load", () => {
  const frame = document.querySelector("iframe");
  const page = frame.contentDocument;
  const pictures = [...page.images];
  const box = (node) => node.getBoundingClientRect();
  const spills = (node) =>
    !node.closest(".scroll, svg, pre") && box(node).right > frame.clientWidth + 0.5;
  const output = document.createElement("output");
  output.textContent = JSON.stringify({
    scroll: page.scrollingElement.scrollWidth,
    ground: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    broken: pictures.filter((picture) => !picture.naturalWidth).map((picture) => picture.alt),
    spilt: [...page.querySelectorAll("body *")].filter(spills).map((n) => n.outerHTML.slice(0, 99)),
    charts: [...page.querySelectorAll("svg.chart")].map((chart) => ({
      id: chart.parentElement.id,
      width: box(chart).width,
      height: box(chart).height,
      letters: Math.min(...[...chart.querySelectorAll("text")].map((text) => box(text).height)),
    })),
  });
  document.body.append(output);
});
"""


def look(folder: Path, width: int, dark: bool = False) -> tuple[dict, str]:
    """Open the report in a frame of a given width; return what was measured, and the log."""
    # Lazy pictures would be loaded only when scrolled to, and never here.
    text = layout.REPORT.read_text(encoding="utf-8").replace('loading="lazy"', "")
    page = html.escape(text)
    wrapper = folder / f"wrapper-{width}.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<script>{PROBE}</script><body style="margin:0">'
        f'<iframe style="border:0;width:{width}px;height:30000px" srcdoc="{page}"></iframe>',
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", "--window-size=1400,900",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--dump-dom", wrapper.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<output>(.*?)</output>", done.stdout, re.DOTALL)
    assert found, f"the page was not measured: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1])), done.stderr


def test_on_a_phone_nothing_spills_over_and_every_figure_is_there(written, tmp_path):
    seen, log = look(tmp_path, 360)
    assert "CONSOLE" not in log, log
    assert seen["scroll"] <= 360 and seen["spilt"] == []
    assert seen["broken"] == []
    assert len(seen["charts"]) == 15
    for chart in seen["charts"]:
        assert chart["width"] > 250 and chart["height"] > 60, chart
        assert chart["letters"] > 7, chart


def test_on_a_desk_in_the_dark_the_page_is_dark_and_whole(written, tmp_path):
    seen, log = look(tmp_path, 1280, dark=True)
    assert "CONSOLE" not in log, log
    assert seen["scroll"] <= 1280 and seen["broken"] == []
    assert max(int(part) for part in re.findall(r"\d+", seen["ground"])[:3]) < 64
