"""The contact sheet in a real browser: headless Chromium, where one is installed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support import browser
from support.browser import Browser
from support.sheets import failed, flat, scored, write_page

pytestmark = [
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium installed"),
    pytest.mark.xdist_group("browser"),
]

#: Images of the small page: number i has score i, in the order that this list has.
SCORES = [(number * 17) % 41 for number in range(41)]
MANY = 3000

NAMES = "[...document.querySelectorAll('#sheet .name')].map((node) => node.textContent)"
STATUS = "document.getElementById('status').textContent"
OPEN = "document.getElementById('details').open"
DIALOG = "document.getElementById('details-name').textContent"
FOCUSED = "document.activeElement.querySelector('.name')?.textContent ?? document.activeElement.id"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.running(tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with small.html, with two failed images and maps of two, and many.html."""
    folder = tmp_path_factory.mktemp("pages")
    Image.fromarray(flat(5, (350, 950))).save(folder / "drawn.png")
    records = [scored(f"trip/{score:02d}.jpg", float(score)) for score in SCORES]
    records[3:3] = [failed("trip/broken.jpg", "damaged or truncated"), failed("trip/notes.jpg")]
    maps = [folder / "drawn.png" if record.score in {0.0, 2.0} else None for record in records]
    write_page(folder / "small.html", records, maps)
    many = [scored(f"{number:04d}.jpg", number * 100 / MANY) for number in range(MANY)]
    write_page(folder / "many.html", many)
    return folder


@pytest.fixture
def small(chromium: Browser, pages: Path) -> Iterator[Browser]:
    """The small page on a desk; whatever a test does, the console and the network stay silent."""
    yield from opened(chromium, pages / "small.html")


@pytest.fixture
def many(chromium: Browser, pages: Path) -> Iterator[Browser]:
    yield from opened(chromium, pages / "many.html")


def opened(chromium: Browser, page: Path) -> Iterator[Browser]:
    chromium.view(1280, 900)
    chromium.open(page)
    yield chromium
    assert chromium.console == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [page.as_uri()]


def name(score: int) -> str:
    return f"{score:02d}.jpg"


def choose(page: Browser, order: str) -> None:
    page.value(
        f"(() => {{ const node = document.getElementById('order'); node.value = '{order}';"
        " node.dispatchEvent(new Event('change')); })()"
    )
    page.settle()


def colour(page: Browser, selector: str) -> list[int]:
    """Return the colour of the first pixel of a picture."""
    found: list[int] = page.value(
        "(() => { const canvas = new OffscreenCanvas(1, 1).getContext('2d');"
        f" canvas.drawImage(document.querySelector({json.dumps(selector)}), 0, 0);"
        " return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)]; })()"
    )
    return found


def focus(page: Browser, selector: str) -> None:
    page.value(f"document.querySelector({json.dumps(selector)}).focus()")


@pytest.mark.parametrize(
    ("order", "expected"),
    [("worst", range(6)), ("best", range(40, 34, -1)), ("name", range(6))],
)
def test_images_are_sorted(small: Browser, order: str, expected: range) -> None:
    choose(small, "best")
    choose(small, order)
    assert small.value(NAMES)[:6] == [name(score) for score in expected]
    small.value("scrollTo(0, document.body.scrollHeight)")
    small.settle()
    assert small.value(NAMES)[-2:] == ["broken.jpg", "notes.jpg"]


def test_a_card_shows_the_picture_and_the_numbers_of_its_image(small: Browser) -> None:
    focus(small, "#words")
    small.type("07.JPG trip")
    assert small.value(NAMES) == [name(7)] and small.value(STATUS) == "Showing 1 of 43 images"
    label = small.value("document.querySelector('.card').getAttribute('aria-label')")
    assert (
        label == "trip/07.jpg: score 7.0, expected \u22128 to 19, content +1.0, quality \u22122.0"
    )
    shown = small.value("document.querySelector('.card').innerText").split("\n")
    assert shown[-3:] == ["7.0 expected \u22128 to 19", "Content +1.0 Quality \u22122.0", name(7)]
    position = SCORES.index(7) + 2  # after the two failed images
    assert colour(small, ".card img") == pytest.approx(flat(position)[0, 0].tolist(), abs=6)


def test_the_range_and_the_text_filter_together_and_are_reset(small: Browser) -> None:
    focus(small, "#low")
    small.press(*["ArrowRight"] * 4)
    focus(small, "#high")
    small.press("Home", *["ArrowRight"] * 3)  # stops at the lower end
    assert small.value(NAMES) == [name(score) for score in range(4, 8)]
    assert small.value("document.getElementById('bounds').textContent") == "4 to 7"
    focus(small, "#words")
    small.type("6")
    assert small.value(NAMES) == [name(6)]
    small.click("#reset")
    assert small.value(STATUS) == "Showing all 43 images"
    assert small.value("document.getElementById('words').value") == ""


def test_nothing_that_matches_is_said(small: Browser) -> None:
    focus(small, "#words")
    small.type("no such name")
    assert small.value("document.getElementById('sheet').innerText") == (
        "No image matches these filters."
    )


def test_failed_images_are_counted_and_shown_with_their_errors(small: Browser) -> None:
    summary = small.value("document.getElementById('summary').textContent")
    assert summary == "43 images \u00b7 2 failed \u00b7 median score 20.0 \u00b7 scorer lite-1"
    small.click("#failed")
    assert small.value(NAMES) == ["broken.jpg", "notes.jpg"]
    assert "damaged or truncated" in small.value("document.querySelector('.card').innerText")
    small.click("#sheet .card")
    assert small.value("document.getElementById('problem').textContent") == "damaged or truncated"
    assert not small.value("document.querySelector('.facts').checkVisibility()")


def test_a_map_opens_by_click(small: Browser) -> None:
    small.click("#sheet .card")
    assert small.value(OPEN) and small.value(DIALOG) == "trip/00.jpg"
    width, height, alt = small.value(
        "(({ naturalWidth, naturalHeight, alt }) => [naturalWidth, naturalHeight, alt])"
        "(document.querySelector('#picture img'))"
    )
    assert (width, height) == (950, 350) and "map" in alt
    small.click("#next")
    assert small.value(DIALOG) == "trip/01.jpg"
    assert small.value("document.querySelector('#picture img').naturalWidth") == 64
    small.click("#close")
    assert not small.value(OPEN) and small.value(FOCUSED) == name(1)


def test_a_map_opens_by_keyboard(small: Browser) -> None:
    focus(small, "#order")
    small.press("Tab", "Tab")  # the button of the failed, then the first card
    assert small.value(FOCUSED) == name(0)
    small.press("ArrowRight", "ArrowRight", "Enter")
    assert small.value(OPEN) and small.value(DIALOG) == "trip/02.jpg"
    assert small.value("document.querySelector('#picture img').naturalWidth") == 950
    small.press("ArrowLeft")
    assert small.value(DIALOG) == "trip/01.jpg"
    small.press("ArrowLeft", "ArrowLeft")  # nothing before the first
    assert small.value(DIALOG) == "trip/00.jpg"
    small.press("ArrowRight", "Escape")
    assert not small.value(OPEN) and small.value(FOCUSED) == name(1)


def test_the_last_image_does_not_take_the_keyboard_away(small: Browser) -> None:
    focus(small, "#sheet .card")
    small.press("End", "Enter")
    assert small.value(DIALOG) == "trip/notes.jpg"
    small.click("#next")
    small.press("ArrowLeft")
    assert small.value(DIALOG) == "trip/broken.jpg"


def test_the_policy_blocks_what_is_not_in_the_page(small: Browser) -> None:
    blocked = small.value(
        "new Promise((done) => {"
        " addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));"
        " new Image().src = 'http://localhost/a.png'; })"
    )
    assert blocked == "img-src"
    small.value(
        "(() => { const script = document.createElement('script');"
        " script.textContent = 'window.ran = true'; document.body.append(script); })()"
    )
    assert small.value("window.ran === undefined")
    # Both are reported to the console, and the first one to the network log.
    assert len(small.console) == 2
    small.console.clear()
    small.requests[:] = [url for url in small.requests if "localhost" not in url]


def test_names_are_shown_and_not_run(chromium: Browser, tmp_path: Path) -> None:
    names = [
        "<img src=x onerror=ran=1>.png",
        "</script><script>ran=1</script>.png",
        "<!--<script>.png",
        "javascript:ran=1.png",
    ]
    write_page(tmp_path / "page.html", [scored(text, 1.0) for text in names], title=names[1])
    chromium.open(tmp_path / "page.html")
    assert sorted(
        chromium.value("[...document.querySelectorAll('.card')].map((node) => node.title)")
    ) == sorted(names)
    assert chromium.value("document.querySelector('h1').textContent") == names[1]
    for _ in names:
        chromium.press("Tab")
    chromium.click("#sheet .card")
    for _ in names:
        assert chromium.value("document.getElementById('link').protocol") == "file:"
        chromium.press("ArrowRight")
    assert chromium.value("typeof ran") == "undefined" and chromium.console == []


# --- many images


#: Every point of the viewport below the controls that must lie on a card, but does not.
GAPS = """
(() => {
  const box = document.querySelector('#sheet li').getBoundingClientRect();
  const from = Math.max(document.getElementById('controls').getBoundingClientRect().bottom, 0);
  const missed = [];
  for (let y = from + 20; y < innerHeight - 20; y += box.height / 2) {
    const under = [y - 8, y + 8].map((at) => document.elementFromPoint(box.x + 20, at));
    if (!under.some((node) => node?.closest('.card'))) missed.push(y);
  }
  return missed;
})()
"""
NODES = "document.getElementsByTagName('*').length"


def test_thousands_of_images_are_few_nodes_wherever_one_scrolls(many: Browser) -> None:
    assert many.value(STATUS) == "Showing all 3,000 images"
    height = many.value("document.scrollingElement.scrollHeight")
    for share in (0, 0.1, 0.5003, 0.9, 1):
        many.value(f"scrollTo(0, {share} * {height})")
        many.settle()
        assert many.value(NODES) < 1200
        assert many.value("document.scrollingElement.scrollHeight") == height
        if share < 1:
            assert many.value(GAPS) == []
    assert many.value(NAMES)[-1] == "2999.jpg"
    last = colour(many, "#sheet li:last-child img")
    assert last == pytest.approx(flat(2999)[0, 0].tolist(), abs=6)


def test_the_keyboard_reaches_all_of_thousands(many: Browser) -> None:
    focus(many, "#sheet .card")
    many.press("End")
    assert many.value(FOCUSED) == "2999.jpg"
    many.press("ArrowLeft")
    assert many.value(FOCUSED) == "2998.jpg"
    many.press("Home", "ArrowDown")
    columns = many.value("getComputedStyle(sheet).gridTemplateColumns.split(' ').length")
    assert many.value(FOCUSED) == f"{columns:04d}.jpg"
    many.value("scrollTo(0, document.body.scrollHeight / 2)")
    many.settle()
    many.press("ArrowRight")  # from where the keyboard was, though it is out of sight
    assert many.value(FOCUSED) == f"{columns + 1:04d}.jpg"
    assert many.value(NODES) < 1200


def test_a_filter_of_thousands_starts_at_its_first_image(many: Browser) -> None:
    many.value("scrollTo(0, document.body.scrollHeight / 2)")
    many.settle()
    choose(many, "best")
    assert many.value(NAMES)[0] == "2999.jpg"
    top, bottom = many.value(
        "[document.querySelector('.card').getBoundingClientRect().top,"
        " document.getElementById('controls').getBoundingClientRect().bottom]"
    )
    assert bottom <= top < bottom + 100


# --- devices


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_sideways_scrolling(small: Browser, pages: Path, dark: bool) -> None:
    small.view(360, 740, dark=dark, phone=True)
    small.open(pages / "small.html")
    assert small.value("document.scrollingElement.scrollWidth") == 360
    lefts = small.value(
        "[...document.querySelectorAll('#sheet li')].map((n) => n.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 2
    # Rows of failed images are as high as others: a window of rows needs one height.
    heights = "[...document.querySelectorAll('#sheet li')].map((node) => node.offsetHeight)"
    small.click("#failed")
    of_failed = small.value(heights)
    small.click("#failed")
    assert len({*of_failed, *small.value(heights)}) == 1
    spills = (
        "[...document.querySelectorAll('body *')].filter((node) => node.checkVisibility()"
        " && !node.closest('#picture, .skip, .hidden')"
        " && node.getBoundingClientRect().right > 360.5).map((node) => node.outerHTML)"
    )
    assert small.value(spills) == []
    small.value("document.querySelector('#sheet li').scrollIntoView()")
    small.click("#sheet .card")
    box = small.value("document.getElementById('details').getBoundingClientRect().toJSON()")
    assert (box["width"], box["height"]) == (360, 740)
    assert small.value(spills) == []
    # A map is wider than the phone, and scrolled within its frame to the map's own half.
    scrolled, frame, whole = small.value(
        "(({ scrollLeft, clientWidth, scrollWidth }) => [scrollLeft, clientWidth, scrollWidth])"
        "(document.getElementById('picture'))"
    )
    assert frame == 360 < whole and scrolled == pytest.approx(whole - frame, abs=1)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_follows_the_colour_scheme(small: Browser, dark: bool) -> None:
    small.view(1280, 900, dark=dark)
    brightness = (
        "(([r, g, b]) => (r + g + b) / 3)"
        "(getComputedStyle({}).{}.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    page = small.value(brightness.format("document.body", "backgroundColor"))
    ink = small.value(brightness.format("document.body", "color"))
    card = small.value(brightness.format("document.querySelector('.card')", "backgroundColor"))
    assert (page < 60 < 180 < ink and card < 60) if dark else (page > 220 and card > 220 > 60 > ink)


def test_the_focus_is_visible(small: Browser) -> None:
    reached = []
    for _ in range(8):
        small.press("Tab")
        reached.append(small.value("document.activeElement.id || document.activeElement.className"))
        # The thumb of a slider has the outline, and its style cannot be asked for.
        if reached[-1] not in {"low", "high"}:
            style = small.value("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", reached
    assert reached == ["skip", "", "words", "low", "high", "order", "failed", "card mapped"]
