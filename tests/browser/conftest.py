"""Fixtures that open the built site in headless Chromium, cut off from every other host.

    site         the built site: site.url (a sub-path on 127.0.0.1), site.folder, site.pages (relative paths of pages)
    open_widget  open_widget(Kind): a widget (a subclass of hands.Widget) as the page's stored state makes it. Options:
                 device="phone", theme="dark", motion="reduce" (what the reader's system asks for), width=600 (pixels)
    page         a Playwright page, 1400 x 900, light
    phone        a Playwright page, 390 x 844, touch screen, light
    dark         a Playwright page, 1400 x 900, the system set to dark
    new_page     the factory behind the three: new_page(device="desktop" | "phone", theme="light" | "dark", **options);
                 options are those of Playwright's Browser.new_context
    stages       pages kept open, for tests that only read: stages.page(url, device="desktop", theme="light")

Loading a page of the book costs seconds of computing, most of them for its formulas. So `open_widget` loads each page
once and keeps it open. For each test it takes the page's widgets away and runs the site's loader again on the state
that is stored in the page: every model and view is made anew, in a tenth of the time. What tests do with a widget is
in hands.py. A test that needs a page of its own (`page.clock`, `page.route`) takes one of the other fixtures and
navigates itself: `page.goto(f"{site.url}/book/vae.html")`, or `Kind.on(page, site)`.

A test that takes `path` runs once for each page of the site. Each page carries `page.watch`, the record of what went
wrong while it was open: `outside` (requests to any other host; the browser can reach none), `failed` (HTTP status of
400 or more, or no answer), `console` (console errors and uncaught exceptions). When the test ends the fixtures assert
that all three are empty, so every browser test also proves that its page is self-contained. A test that provokes an
error on purpose calls `page.watch.clear()` at its end. `page.watch.received` maps each URL to the status it was
answered with.

The site is `_build/test/_build/html`, or the folder that GENTUT_SITE names. Where Chromium or the site is missing the
tests skip and say what to do; with GENTUT_REQUIRE_BROWSER=1 (set by .ci/run) they fail.
"""

import functools
import http.server
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.hands import SETTLED, STATE, visit

ROOT = Path(__file__).resolve().parents[2]
SUB_PATH = "/books/gentut"  # GitHub Pages serves a project under a sub-path; an absolute link would break there.
ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses to start as root (containers) with it.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
DEVICES = {
    "desktop": {"viewport": {"width": 1400, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def chromium() -> str | None:
    """Path of the browser: $GENTUT_CHROMIUM, or the first Chromium or Chrome on PATH."""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
    found = [os.environ.get("GENTUT_CHROMIUM"), *(shutil.which(name) for name in names)]
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    return next((path for path in [*found, mac] if path and Path(path).is_file()), None)


def unavailable(reason: str):
    """Skip, or fail where the browser tests are required."""
    if os.environ.get("GENTUT_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass(frozen=True)
class Site:
    """The built site and where it is served."""

    folder: Path
    url: str

    @property
    def pages(self) -> list[str]:
        """Relative paths of all pages, such as "book/vae.html"."""
        return site_pages(self.folder)

    def file_of(self, url: str) -> Path | None:
        """The file behind a URL of this site, over http or file."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.scheme == "file":
            return Path(path)
        return self.folder / path.removeprefix(SUB_PATH).lstrip("/") if url.startswith(self.url) else None


def site_folder() -> Path:
    """Where the built site lies."""
    return Path(os.environ.get("GENTUT_SITE", ROOT / "_build" / "test" / "_build" / "html")).resolve()


def site_pages(folder: Path) -> list[str]:
    """Relative paths of all HTML pages that a reader can reach."""
    pages = (path.relative_to(folder) for path in sorted(folder.rglob("*.html")))
    return [str(path) for path in pages if not path.parts[0].startswith("_")]


def pytest_generate_tests(metafunc):
    """A test with an argument `path` runs for each page of the site; tests of one page follow one another."""
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", site_pages(site_folder()) or ["index.html"], scope="module")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let the fixtures know at their end that the test failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@dataclass
class Watch:
    """What a page asked for and what went wrong."""

    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)

    def clear(self):
        """Forget everything seen so far."""
        for record in (self.outside, self.failed, self.console, self.received):
            record.clear()

    def problems(self) -> list[str]:
        """All that went wrong, one line each."""
        return [
            *(f"asked another host: {url}" for url in self.outside),
            *(f"not served: {line}" for line in self.failed),
            *(f"console: {line}" for line in self.console),
        ]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site under SUB_PATH, and nothing else."""

    def translate_path(self, path):
        """Paths outside of SUB_PATH lead nowhere."""
        if not path.startswith(f"{SUB_PATH}/"):
            return os.devnull + "/outside"
        return super().translate_path(path.removeprefix(SUB_PATH))

    def do_GET(self):
        """A browser asks the host, not the book, for an icon where a page names none."""
        if self.path == "/favicon.ico":
            self.send_response(http.HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        """Keep the test's output readable."""


class Server(http.server.ThreadingHTTPServer):
    """A browser that closes a connection early is no error worth a traceback."""

    daemon_threads = True

    def handle_error(self, *_):
        """Say nothing."""


@pytest.fixture(scope="session")
def site():
    """The built site, served under a sub-path on 127.0.0.1."""
    folder = site_folder()
    if not (folder / "index.html").is_file():
        unavailable(f"no built site in {folder}: `make test` builds it")
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Site(folder, f"http://127.0.0.1:{server.server_port}{SUB_PATH}")
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    executable = chromium()
    if executable is None:
        unavailable(
            "the browser tests need Chromium: `apt-get install chromium`, `brew install --cask chromium`, "
            "or set GENTUT_CHROMIUM to the path of a Chromium or Chrome"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=executable, headless=True, args=ARGUMENTS)
        yield instance
        instance.close()


def observe(page, site: Site) -> Watch:
    """Record requests that want to leave the site, failures and console errors."""
    watch = Watch()
    own = (f"{site.url}/", f"{site.folder.as_uri()}/", "blob:", "data:")

    # Only listening: ARGUMENTS leave the browser no other host, and a route would take each request through Python.
    def request(asked):
        if not asked.url.startswith(own):
            watch.outside.append(asked.url)

    def response(answer):
        watch.received[answer.url] = answer.status
        if answer.status >= 400:
            watch.failed.append(f"{answer.status} {answer.url}")

    def failure(request):
        # A page left before everything has arrived cancels the rest; that is no fault of the page.
        if request.url.startswith(own) and request.failure != "net::ERR_ABORTED":
            watch.failed.append(f"{request.failure} {request.url}")

    page.on("request", request)
    page.on("response", response)
    page.on("requestfailed", failure)
    page.on("console", lambda m: watch.console.append(f"{m.text} ({m.location})") if m.type == "error" else None)
    page.on("pageerror", lambda error: watch.console.append(f"uncaught: {error}"))
    return watch


def watched_page(browser, site: Site, device="desktop", theme="light", **options):
    """A page in a browser context of its own, observed."""
    context = browser.new_context(color_scheme=theme, service_workers="block", **{**DEVICES[device], **options})
    context.set_default_timeout(20_000)
    context.set_default_navigation_timeout(60_000)
    page = context.new_page()
    page.watch = observe(page, site)
    return page


# ---------------------------------------------------------------------------------------------------- pages kept open

# Before anything of a page runs: remember what can end a widget. Each one makes an AbortController and listens to it.
REMEMBER = """(() => {
  const made = new Set();
  window.AbortController = class extends AbortController { constructor() { super(); made.add(this); } };
  window.endWidgets = () => { for (const each of made) each.abort(); made.clear(); };
})()"""

# Take away all widgets, their timers, observers and styles.
END = f"""() => {{
  endWidgets();
  for (const area of document.querySelectorAll(".gentut-widget-area, .gentut-widget-note")) area.remove();
  const saved = [...document.querySelectorAll('{STATE}')].map(tag => JSON.parse(tag.textContent).state);
  const own = new Set(saved.flatMap(Object.values).map(entry => entry.state._css));
  for (const style of document.querySelectorAll("style")) if (own.has(style.textContent)) style.remove();
}}"""

# Run the loader of the site again, as at the end of loading; resolves when the widgets are up.
BEGIN = f"""async theme => {{
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  document.activeElement?.blur();
  getSelection().empty();
  scrollTo({{ top: 0, left: 0, behavior: "instant" }});
  const loader = document.querySelector("script[src*='anywidget-lite']"), again = document.createElement("script");
  again.src = loader.src;
  await new Promise((done, fail) => {{ again.onload = done; again.onerror = fail; loader.replaceWith(again); }});
  return ({SETTLED})();
}}"""


class Stages:
    """The pages opened last, loaded once each; `page` gives one to read, `anew` one whose widgets begin anew."""

    KEPT = 2  # a chapter's page on the desk and on the phone

    def __init__(self, browser, site: Site):
        self.browser, self.site, self.open, self.unsaid = browser, site, {}, []

    def page(self, url, device="desktop", theme="light", use="read"):
        """The page at a URL, loaded and settled. Pages whose widgets are used are others than those that are read."""
        key = url, device, theme, use
        if key not in self.open:
            while len(self.open) >= self.KEPT:
                self.close(next(iter(self.open.values())))
            page = watched_page(self.browser, self.site, device, theme)
            page.add_init_script(REMEMBER)
            self.open[key] = page
            try:
                visit(page, url)
            except BaseException:
                self.close(page)
                raise
            page.media, page.window = (theme, None), DEVICES[device]["viewport"]
            page.was_light = page.evaluate("() => document.documentElement.dataset.theme ?? null")
        self.open[key] = self.open.pop(key)  # the one used last comes last
        return self.open[key]

    def anew(self, path, device="desktop", theme="light", motion="no-preference", width=None):
        """A page of the site, its widgets made anew from the page's stored state, for a reader whose system says so."""
        page = self.page(f"{self.site.url}/{path}", device, use="widgets")
        try:
            window = {**DEVICES[device]["viewport"], **({"width": width} if width else {})}
            if page.window != window:
                page.set_viewport_size(window)
                page.window = window
            if page.media != (theme, motion):
                page.emulate_media(color_scheme=theme, reduced_motion=motion)
                page.media = theme, motion
            if device == "desktop":
                page.mouse.move(0, 0)
            page.evaluate(END)
            assert page.evaluate(BEGIN, page.was_light and theme), "a widget never came up"
        except BaseException:
            self.close(page)
            raise
        return page

    def end(self, page):
        """End a page's widgets and say what went wrong with it, and with pages closed, since this was last asked."""
        if page in self.open.values():
            try:
                page.evaluate(END)  # this also waits for messages under way
            except BaseException:
                self.close(page)
                raise
        problems, self.unsaid = [*self.unsaid, *page.watch.problems()], []
        page.watch.clear()
        return problems

    def close(self, page):
        """Close a page: its place is needed, or it may no longer be as it was."""
        self.open = {key: other for key, other in self.open.items() if other is not page}
        page.context.close()
        self.unsaid += page.watch.problems()
        page.watch.clear()


@pytest.fixture(scope="session")
def stages(browser, site):
    """The pages kept open."""
    kept = Stages(browser, site)
    yield kept
    for page in [*kept.open.values()]:
        kept.close(page)


@pytest.fixture
def open_widget(stages, request):
    """Factory of widgets in pages kept open; asserts at the end that none of the pages had a problem."""
    pages = []

    def make(kind, device="desktop", **reader):
        page = stages.anew(kind.path, device, **reader)
        if page not in pages:
            pages.append(page)
        return kind(page)

    yield make
    problems = [line for page in pages for line in stages.end(page)]
    if problems or request.node.stash.get(FAILED, False):
        for page in pages:
            stages.close(page)
    assert not problems, "\n".join(problems)


# ------------------------------------------------------------------------------------------------ pages of a test's own


@pytest.fixture
def new_page(browser, site):
    """Factory of watched pages; asserts at the end that none of them had a problem."""
    pages = []

    def make(device="desktop", theme="light", **options):
        page = watched_page(browser, site, device, theme, **options)
        pages.append(page)
        return page

    yield make
    for page in pages:
        page.context.close()
    problems = [line for page in pages for line in page.watch.problems()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(new_page):
    """A desktop page, 1400 x 900, light."""
    return new_page()


@pytest.fixture
def phone(new_page):
    """A phone's page, 390 x 844 with a touch screen, light."""
    return new_page("phone")


@pytest.fixture
def dark(new_page):
    """A desktop page for a reader whose system is dark."""
    return new_page(theme="dark")
