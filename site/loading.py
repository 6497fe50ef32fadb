"""How soon can a reader use a page? Loads it as over a slow line on a slow machine, and says what came when.

    python site/loading.py [PAGE ...] [--site FOLDER] [--loads 3]

The line: 10 Mbit/s down, 40 ms there and back, answers gzipped, nothing in the browser's cache. The machine: Chromium
on a quarter of this one's speed. Prints for each page (default: all with widgets, as built by `make book`) the best of
some loads, for other programs only ever slow a page down:

    gzipped   bytes of all answers, as sent
    first     seconds from the click on a link to the first widget of the page, drawn and listening
    usable    the same, until the page answers it: nothing else keeps the page busy at that moment
    all       seconds until every widget and every formula stands
    needs     seconds until `usable` as computed from the page's work, which no other program disturbs

`needs` is what the browser tests hold to the budget, because a busy machine makes all clocks run slow. It adds up what
in truth partly runs side by side: the bytes that came before the widget at 10 Mbit/s, three ways there and back, and
four times the processor time of the page's main thread. That time is counted in units of a fixed piece of work (build a
long text, lay it out), done in the same browser just before, and a unit counts as 0.1 s whatever the machine: so the
answer is the same on a fast and on a slow one, and where two busy threads share a core.
"""

import argparse
import contextlib
import functools
import gzip
import http.server
import mimetypes
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
LINE = {"offline": False, "latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
SLOWER = 4  # times
BUDGET = 3.0  # seconds until the first widget of a page is usable
UNIT = 0.1  # seconds of processor time: the budget's machine is one that does REFERENCE in this
VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]'

# In the page from its start: the moment at which the first widget is there, and the first at which the page is free.
WATCH = """(() => {
  const seen = window.gentutLoading = { long: [] };
  new PerformanceObserver(list => {
    for (const task of list.getEntries()) seen.long.push([task.startTime, task.duration]);
  }).observe({ type: "longtask", buffered: true });
  new MutationObserver((_, observer) => {
    if (!document.querySelector(SELECTOR)) return;
    observer.disconnect();
    seen.first = performance.now();
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      seen.usable = performance.now();
      performance.mark("gentut-usable");
    };
    performance.mark("gentut-first");
    requestAnimationFrame(() => channel.port2.postMessage(0));
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready", "class"] });
})()"""
READY = ".gentut-widget[data-ready]"

# The piece of work that is the unit: like a page's, but always the same.
REFERENCE = """() => {
  performance.mark("gentut-begin");
  const box = document.createElement("div");
  let text = "";
  for (let i = 0; i < 3000; i++) text += `<p class="c${i % 7}">word ${i} <b>and</b> <i>${i * i}</i></p>`;
  box.innerHTML = text;
  document.body.append(box);
  box.getBoundingClientRect();
  box.style.fontSize = "15px";
  box.getBoundingClientRect();
  box.remove();
  performance.mark("gentut-end");
}"""


@functools.lru_cache(maxsize=256)
def packed(path: Path, _changed: float) -> bytes:
    """A file gzipped, once."""
    return gzip.compress(path.read_bytes(), 6)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder gzipped, with connections that stay open, as a host of static pages does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """One file."""
        asked = unquote(urlsplit(self.path).path).lstrip("/")
        path = self.server.folder / asked
        found = ".." not in asked.split("/") and path.is_file()
        body = packed(path, path.stat().st_mtime) if found else b""
        self.send_response(http.HTTPStatus.OK if found else http.HTTPStatus.NOT_FOUND)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("Content-Type", mimetypes.guess_type(path.name)[0] or "application/octet-stream")
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server of one folder on a free port; `with Server(folder) as server:` and then server.url."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.url = Path(folder).resolve(), f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """A browser that closes a connection early is no error."""


def load(browser, url, ready=READY, *, slower=SLOWER, line=LINE):
    """Load a page once, in a browser context of its own.

    browser: Playwright's Chromium. ready: selector of a widget that stands. line: CDP's network conditions or None.
    Returns a dict: gzipped (bytes), requests, first, usable, all (seconds), blocked (seconds, the longest time after
    `first` for which the page did not answer).
    """
    context = browser.new_context(viewport={"width": 1400, "height": 900}, service_workers="block")
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(WATCH.replace("SELECTOR", repr(ready)))
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sizes = {}
        session.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
        if line:
            session.send("Network.emulateNetworkConditions", line)
        session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.goto(url, wait_until="load", timeout=60_000)
        page.wait_for_function("() => window.gentutLoading.usable", polling=100)
        page.evaluate("() => window.MathJax?.startup?.promise")
        end = page.evaluate("""async () => {
          const settled = () => !document.querySelector(".gentut-widget-area[aria-busy]");
          while (!settled()) await new Promise(go => setTimeout(go, 20));
          return performance.now();
        }""")
        seen = page.evaluate("() => window.gentutLoading")
        after = [start + long - max(start, seen["first"]) for start, long in seen["long"]]
        return {
            "gzipped": round(sum(sizes.values())), "requests": len(sizes),
            "first": seen["first"] / 1000, "usable": seen["usable"] / 1000, "all": end / 1000,
            "blocked": max([0, *after]) / 1000,
        }
    finally:
        context.close()


def traced(browser, run):
    """Run run() under Chromium's tracing; returns (what it returned, the trace's events)."""
    session, events, ended = browser.new_browser_cdp_session(), [], []
    session.on("Tracing.dataCollected", lambda e: events.extend(e["value"]))
    session.on("Tracing.tracingComplete", lambda e: ended.append(True))
    config = {"includedCategories": ["blink.user_timing", "toplevel"], "excludedCategories": ["*"]}
    session.send("Tracing.start", {"traceConfig": config, "transferMode": "ReportEvents"})
    try:
        result, page = run()
    finally:
        session.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(20)
    session.detach()
    return result, events


def needs(browser, url, ready=READY):
    """Seconds until the first widget of a page is usable, computed from the page's work (the module says how).

    Returns a dict: needs (seconds), processor (seconds of the main thread until then, as counted), unit (seconds that
    REFERENCE took, as counted), before (bytes that had come by then).
    """
    context = browser.new_context(viewport={"width": 1400, "height": 900}, service_workers="block")
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)

        def run():
            for _ in range(4):
                page.evaluate(REFERENCE)
            page.add_init_script(WATCH.replace("SELECTOR", repr(ready)))
            page.goto(url, wait_until="load", timeout=60_000)
            page.wait_for_function("() => window.gentutLoading.usable", polling=100)
            return page.evaluate("""() => [...performance.getEntriesByType("navigation"),
              ...performance.getEntriesByType("resource").filter(e => e.startTime <= window.gentutLoading.first)
            ].reduce((sum, entry) => sum + entry.encodedBodySize + 300, 0)"""), page

        before, events = traced(browser, run)
    finally:
        context.close()
    marks = [e for e in events if "user_timing" in e.get("cat", "")]
    begins, ends = ([e["tts"] for e in marks if e["name"] == f"gentut-{name}"] for name in ("begin", "end"))
    unit = min(end - begin for begin, end in zip(begins, ends, strict=True)) / 1e6
    (usable,) = (e for e in marks if e["name"] == "gentut-usable")
    begun = [e for e in marks if e["name"] == "navigationStart"]  # of the page, not of a frame in it
    (start,) = {e["ts"] for e in begun if e["args"]["data"].get("documentLoaderURL") == url}
    processor = sum(
        e.get("tdur", 0) for e in events
        if e.get("ph") == "X" and e["name"].endswith("RunTask") and start <= e["ts"] <= usable["ts"]
        and (e["pid"], e["tid"]) == (usable["pid"], usable["tid"])
    ) / 1e6
    line = before / LINE["downloadThroughput"] + 3 * LINE["latency"] / 1000
    return {"needs": line + SLOWER * processor * UNIT / unit, "processor": processor, "unit": unit, "before": before}


def best(loads):
    """Of several loads of one page the least of each number: what the page itself needs."""
    return {key: min(each[key] for each in loads) for key in loads[0]}


def pages_with_widgets(folder):
    """Relative paths of the pages in which widgets live, those with the most bytes first."""
    pages = Path(folder).glob("book/*.html")
    alive = [path for path in pages if "widget-view+json" in path.read_text(encoding="utf-8")]
    alive.sort(key=lambda path: len(packed(path, path.stat().st_mtime)), reverse=True)
    return [str(path.relative_to(folder)) for path in alive]


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description="How soon can a reader use a page?")
    parser.add_argument("pages", nargs="*", help="such as book/vae.html")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "cpu" / "_build" / "html")
    parser.add_argument("--loads", type=int, default=3)
    args = parser.parse_args()
    if not (args.site / "index.html").is_file():
        raise SystemExit(f"no built site in {args.site}: run `make book`, or name one with --site")
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, Server(args.site) as server:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        columns = ("first", "usable", "all", "blocked", "needs")
        print(f"{'page':24}{'gzipped':>10}" + "".join(f"{name:>9}" for name in columns))
        for path in args.pages or pages_with_widgets(args.site):
            url = f"{server.url}/{path}"
            one = best([load(browser, url) | needs(browser, url) for _ in range(args.loads)])
            print(f"{path:24}{one['gzipped']:>10,}" + "".join(f"{one[name]:9.2f}" for name in columns))
        browser.close()


if __name__ == "__main__":
    main()
