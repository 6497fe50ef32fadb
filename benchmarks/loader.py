"""Which program should bring the widgets of a page to life: the book's loader, or Jupyter's html-manager?

    npm install --prefix FOLDER @jupyter-widgets/html-manager@1.0.15 requirejs@2.3.8
    python benchmarks/loader.py FOLDER [--site _build/cpu/_build/html] [--pages variational vae] [--loads 3]

The same built pages are loaded with `anywidget-lite.js` and, in its place, with require.js, html-manager and the bundle
of anywidget, in turns, over the line and at the speed of site/loading.py; MathJax waits for the first widget in both.
Counted are the bytes of all answers (gzipped), the seconds until the first widget is usable as the clock has them (the
best of some loads), and the seconds that a page needs as computed from bytes and processor time. Other programs make
the clock's numbers grow and hardly touch the computed ones; the record holds the load average. The numbers go to
benchmarks/results/loader-cpu.json.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import anywidget
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "site")]

import loading  # noqa: E402
import torch  # noqa: E402
from surroundings import RESULTS, machine, versions  # noqa: E402

LITE = re.compile(r'<script defer="defer" src="\.\./_static/anywidget-lite\.js[^"]*"></script>')
# What html-manager needs to find its parts here and not at a CDN; formulas.js waits for the first widget as it does
# with the book's loader.
MANAGER = """<script>
window.gentutWidgets = { first: new Promise(done => new MutationObserver((_, observer) => {
  if (document.querySelector(".gentut-widget[data-ready]")) { observer.disconnect(); done(); }
}).observe(document, { subtree: true, childList: true, attributeFilter: ["data-ready"] })) };
</script>
<script defer src="../_static/manager/require.js"></script>
<script defer src="../_static/manager/config.js"></script>
<script defer src="../_static/manager/embed-amd.js" data-jupyter-widgets-cdn="/no-cdn/"></script>"""
CONFIG = 'window.requirejs.config({ baseUrl: new URL("../_static/manager/", document.baseURI).href });\n'


def with_manager(folder, npm, page):
    """Write page-manager.html, the page with html-manager in place of the book's loader; return its relative path."""
    static = folder / "_static" / "manager"
    static.mkdir(exist_ok=True)
    manager = npm / "node_modules" / "@jupyter-widgets" / "html-manager" / "dist"
    for file in [manager / "embed-amd.js", npm / "node_modules" / "requirejs" / "require.js"]:
        if not file.is_file():
            raise SystemExit(f"{file} is missing: see the command in this file's docstring")
        shutil.copy(file, static)
    for font in manager.glob("*.woff2"):
        for place in (static / "@jupyter-widgets", static / "@jupyter-widgets" / "html-manager" / "dist"):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(font, place)
    shutil.copy(Path(anywidget.__file__).parent / "nbextension" / "index.js", static / "anywidget.js")
    (static / "config.js").write_text(CONFIG)
    text = (folder / "book" / f"{page}.html").read_text(encoding="utf-8")
    if not LITE.search(text):
        raise SystemExit(f"the page {page} has no widget")
    (folder / "book" / f"{page}-manager.html").write_text(LITE.sub(lambda _: MANAGER, text), encoding="utf-8")
    return f"book/{page}-manager.html"


def main():
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description="The book's loader against html-manager.")
    parser.add_argument("npm", type=Path)
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "cpu" / "_build" / "html")
    parser.add_argument("--pages", nargs="+", default=["variational", "vae"])
    parser.add_argument("--loads", type=int, default=3)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary) / "html"
        shutil.copytree(args.site, folder)
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        chromium = browser.version
        with loading.Server(folder) as server:
            for page in args.pages:
                both = {"lite": f"book/{page}.html", "html-manager": with_manager(folder, args.npm, page)}
                loads = {name: [] for name in both}
                for _ in range(args.loads):
                    for name, path in both.items():
                        url = f"{server.url}/{path}"
                        loads[name].append(loading.load(browser, url) | loading.needs(browser, url))
                found[page] = {
                    name: {
                        "gzipped_bytes": min(one["gzipped"] for one in each),
                        "usable_seconds": min(one["usable"] for one in each),
                        "needs_seconds": {
                            "least": min(one["needs"] for one in each),
                            "median": statistics.median(one["needs"] for one in each),
                        },
                    }
                    for name, each in loads.items()
                }
                print(page, json.dumps(found[page]))
        browser.close()
    device = torch.device("cpu")
    packages = {name: importlib.metadata.version(name) for name in ("anywidget", "playwright")}
    record = {
        "benchmark": "loader", "command": "python benchmarks/loader.py FOLDER", "loads": args.loads,
        "line": loading.LINE, "slower": loading.SLOWER, "unit_seconds": loading.UNIT, "pages": found,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "machine": machine(device), "versions": versions() | packages | {"chromium": chromium},
        "html_manager": json.loads(
            (args.npm / "node_modules/@jupyter-widgets/html-manager/package.json").read_text())["version"],
    }
    (RESULTS / "loader-cpu.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
