"""Fixtures that open the built site in headless Chromium, cut off from every other host.

    site       the built site: site.url (a sub-path on 127.0.0.1), site.folder, site.pages (relative paths of all pages)
    page       a Playwright page, 1400 x 900, light
    phone      a Playwright page, 390 x 844, touch screen, light
    dark       a Playwright page, 1400 x 900, the system set to dark
    new_page   the factory behind the three: new_page(device="desktop" | "phone", theme="light" | "dark", **options);
               options are those of Playwright's Browser.new_context

A test that takes `path` runs once for each page of the site. A test navigates itself:
`page.goto(f"{site.url}/book/vae.html")`. Each page carries `page.watch`, the record of what went wrong while it was
open: `outside` (requests to any other host; they are refused), `failed` (HTTP status of 400 or more, or no answer),
`console` (console errors and uncaught exceptions). When the test ends the fixture asserts that all three are empty, so
every browser test also proves that its page is self-contained. A test that provokes an error on purpose calls
`page.watch.clear()` at its end. `page.watch.received` maps each URL to the status it was answered with.

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
    """A test with an argument `path` runs for each page of the site."""
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", site_pages(site_folder()) or ["index.html"])


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
    """Refuse and record requests that leave the site; record failures and console errors."""
    watch = Watch()
    own = (f"{site.url}/", f"{site.folder.as_uri()}/", "blob:", "data:")

    def route(request_route):
        url = request_route.request.url
        if url.startswith(own):
            request_route.continue_()
        else:
            watch.outside.append(url)
            request_route.abort()

    def response(answer):
        watch.received[answer.url] = answer.status
        if answer.status >= 400:
            watch.failed.append(f"{answer.status} {answer.url}")

    def failure(request):
        # A page left before everything has arrived cancels the rest; that is no fault of the page.
        if request.url.startswith(own) and request.failure != "net::ERR_ABORTED":
            watch.failed.append(f"{request.failure} {request.url}")

    page.route("**/*", route)
    page.on("response", response)
    page.on("requestfailed", failure)
    page.on("console", lambda m: watch.console.append(f"{m.text} ({m.location})") if m.type == "error" else None)
    page.on("pageerror", lambda error: watch.console.append(f"uncaught: {error}"))
    return watch


@pytest.fixture
def new_page(browser, site):
    """Factory of watched pages; asserts at the end that none of them had a problem."""
    contexts, watches = [], []

    def make(device="desktop", theme="light", **options):
        context = browser.new_context(color_scheme=theme, service_workers="block", **{**DEVICES[device], **options})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.watch = observe(page, site)
        watches.append(page.watch)
        return page

    yield make
    for context in contexts:
        context.close()
    problems = [line for watch in watches for line in watch.problems()]
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
