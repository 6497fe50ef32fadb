"""Every page of the built site: self-contained, whole, readable in the dark and on a phone, also from a file."""

import gzip
import re
import time

import pytest

PAYLOAD = 1_500_000  # bytes of a page's own, gzipped
SHARED = "_static/"  # the same file for every page, cached by the browser

# What sticks out of the window, and would have to be reached by pushing the whole text sideways. Code, formulas and
# tables that are too wide scroll in a box of their own.
CUT_OFF = """() => {
  const heading = document.querySelector("article h1");
  const scrolls = (element) => getComputedStyle(element).overflowX !== "visible";
  const inOwnBox = (element) => {
    for (let box = element.parentElement; box && !box.contains(heading); box = box.parentElement) {
      if (scrolls(box) && box.getBoundingClientRect().right <= window.innerWidth + 1) return true;
    }
    return false;
  };
  return [...document.querySelectorAll("article.bd-article *")]
    .filter((element) => element.getBoundingClientRect().right > window.innerWidth + 1 && !inOwnBox(element))
    .filter((element) => !element.closest("mjx-assistive-mml"))
    .map((element) => element.outerHTML.slice(0, 120));
}"""

# MathJax's own error, or a command that it does not know and prints in red.
FAILED_MATHS = "mjx-merror, [data-mjx-error], mjx-mtext[style*='color: red']"

# What of the page is drawn: its stills, its live widgets, what only a screen can use.
DRAWN = """() => {
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.getClientRects().length);
  const side = ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer, .bd-footer";
  return {
    stills: seen("figure.gentut-still img").length,
    widgets: seen(".gentut-widget").length,
    screen: seen(`${side}, .headerlink, .copybtn, #pst-back-to-top, .skip-link`).map((e) => e.outerHTML.slice(0, 100)),
    ground: getComputedStyle(document.body).backgroundColor,
    ink: [...new Set(["main p", "main h1", "main pre span"].map((part) => document.querySelector(part))
      .filter(Boolean).map((e) => getComputedStyle(e).color))],
    code: seen("article pre").filter((e) => getComputedStyle(e).whiteSpace !== "pre-wrap").length,
  };
}"""


def luminance(colour):
    """Relative luminance (WCAG 2) of a CSS colour such as "rgb(18, 18, 18)"."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page, selector):
    """Contrast of an element's text with the page behind it, from 1 to 21."""
    text = page.locator(selector).first.evaluate("element => getComputedStyle(element).color")
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    darker, lighter = sorted([luminance(text), luminance(ground)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture
def by_day(stages, site, path):
    """The page on a desk, in the light, from the server; it asserts as `page` does that nothing went wrong."""
    page = stages.page(f"{site.url}/{path}")
    yield page
    assert page.watch.problems() == []


@pytest.fixture
def by_night(stages, site, path):
    """The page on a phone whose system is dark, from a file; it asserts the same."""
    page = stages.page((site.folder / path).as_uri(), "phone", "dark")
    yield page
    assert page.watch.problems() == []


def test_page_needs_no_other_host_and_draws_every_formula(by_day):
    # `by_day` itself asserts at its end: nothing asked of another host, no HTTP error, no console error.
    assert by_day.locator(FAILED_MATHS).count() == 0
    written = by_day.locator(".math").count()
    assert by_day.locator("mjx-container").count() >= written, f"{written} formulas written"
    assert by_day.locator(".gentut-widget-note").count() == 0, "a widget of this page is dead"
    assert luminance(by_day.evaluate("() => getComputedStyle(document.body).backgroundColor")) > 0.9
    assert contrast(by_day, "main") >= 7
    assert by_day.locator("html").get_attribute("lang") == "en"
    assert by_day.locator("img:not([alt])").count() == 0, "a picture without alternative text"


def test_page_is_light_to_load(by_day, site):
    compressed = {
        url: len(gzip.compress(file.read_bytes(), 6))
        for url in {*by_day.watch.received, *by_day.evaluate("() => [...document.images].map(image => image.src)")}
        if (file := site.file_of(url)) and file.is_file() and SHARED not in url
    }
    assert site.file_of(by_day.url) in map(site.file_of, compressed)
    assert sum(compressed.values()) <= PAYLOAD, compressed


def test_page_holds_no_address_that_a_browser_would_load_from_elsewhere(site, path):
    # The browser only loads what it meets; a lazy or conditional script would wait for the reader's click.
    html = (site.folder / path).read_text(encoding="utf-8")
    loading = r"<(?:script|img|iframe|source|video|audio)\b[^>]*?\ssrc=[\"'](?:https?:)?//[^\"']+"
    kinds = "stylesheet|preload|preconnect|icon"
    styles = rf"<link\b(?=[^>]*\brel=[\"']?(?:{kinds}))[^>]*?\shref=[\"'](?:https?:)?//[^\"']+"
    assert re.findall(loading, html) + re.findall(styles, html) == []
    assert not re.search(r"unpkg\.com|jsdelivr\.net|cdnjs\.|fonts\.googleapis", html)


def test_page_works_from_a_file(by_night):
    assert by_night.url.startswith("file://")
    assert by_night.locator(FAILED_MATHS).count() == 0
    assert by_night.locator(".gentut-widget-note").count() == 0


def test_a_wide_formula_begins_at_its_left_end_on_a_phone(by_night):
    cut = by_night.evaluate("""() => [...document.querySelectorAll("div.math mjx-container")].filter(formula =>
      formula.getBoundingClientRect().left < formula.closest("div.math").getBoundingClientRect().left - 1).length""")
    assert cut == 0


def test_what_scrolls_sideways_can_be_reached_with_the_tab_key(by_night):
    out_of_reach = """() => [...document.querySelectorAll("article *")].filter(box =>
      ["auto", "scroll"].includes(getComputedStyle(box).overflowX) && box.scrollWidth > box.clientWidth + 1
      && box.tabIndex < 0 && !box.querySelector("a[href], button, input, select, [tabindex='0']"))
      .map(box => box.outerHTML.slice(0, 120))"""
    end = time.monotonic() + 5  # boxes are marked in the frame after the last formula is drawn
    while by_night.evaluate(out_of_reach) and time.monotonic() < end:
        by_night.wait_for_timeout(50)
    assert by_night.evaluate(out_of_reach) == []


def test_every_formula_is_there_for_a_screen_reader(by_day):
    bare = by_day.locator("mjx-container").evaluate_all("""all => all.filter(formula =>
      !formula.querySelector("mjx-assistive-mml > math *")
      || formula.querySelector("mjx-math")?.getAttribute("aria-hidden") !== "true").length""")
    assert bare == 0


def test_page_fits_a_phone(by_night):
    # A phone's browser widens its window to content that is too wide.
    widths = by_night.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [390, 390], "the page can be pushed sideways"
    assert by_night.evaluate(CUT_OFF) == []


def test_page_is_readable_for_a_reader_whose_system_is_dark(by_night):
    assert luminance(by_night.evaluate("() => getComputedStyle(document.body).backgroundColor")) < 0.05
    assert contrast(by_night, "main") >= 7
    assert contrast(by_night, "main h1") >= 7


def test_a_page_on_paper_is_black_on_white_and_whole(by_night, site, path):
    # From a dark phone, the hardest case. On paper each widget is its still picture.
    by_night.emulate_media(media="print", color_scheme="dark")
    drawn = by_night.evaluate(DRAWN)
    by_night.emulate_media(media="null", color_scheme="dark")
    view = '<script type="application/vnd.jupyter.widget-view+json">'
    alive = (site.folder / path).read_text(encoding="utf-8").count(view)
    assert (drawn["stills"], drawn["widgets"]) == (alive, 0)
    assert drawn["screen"] == []
    if path != "404.html":  # nobody prints that
        assert luminance(drawn["ground"]) > 0.95 or drawn["ground"] == "rgba(0, 0, 0, 0)"
        assert all(luminance(colour) < 0.02 for colour in drawn["ink"]), drawn["ink"]
    assert drawn["code"] == 0, "a long line of code would be cut"


def test_links_within_the_book_lead_somewhere(site, path):
    html = (site.folder / path).read_text(encoding="utf-8")
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)
    dead = []
    for link in re.findall(r"<a\b[^>]*?\shref=[\"']([^\"']+)", html):
        if re.match(r"[a-z]+:|//", link):
            continue
        file, _, anchor = link.partition("#")
        target = (site.folder / path).parent / file.split("?")[0] if file else site.folder / path
        whole = not anchor or target.suffix != ".html"
        if not target.is_file() or not (whole or f'id="{anchor}"' in target.read_text(encoding="utf-8")):
            dead.append(link)
    assert dead == []


def test_the_entry_leads_to_the_introduction(page, site):
    page.goto(f"{site.url}/index.html")
    page.wait_for_url("**/book/intro.html")
    page.wait_for_load_state("networkidle")
    assert page.locator("article h1").count() == 1


def test_search_finds_the_chapter(page, site):
    page.goto(f"{site.url}/search.html?q=reparameterisation")
    page.locator("#search-results a", has_text=re.compile("autoencoder|VAE", re.IGNORECASE)).first.wait_for()


def test_the_page_bar_offers_colab_with_this_repository(site):
    html = (site.folder / "book" / "vae.html").read_text(encoding="utf-8")
    link = re.search(r'<a\b[^>]*?\shref="(https://colab\.research\.google\.com/github/[^"]+)"', html)[1]
    assert link.endswith("/blob/main/book/vae.ipynb")
