"""Take the still pictures of the widgets, which a page shows without JavaScript and on paper: `make stills`.

    python site/stills.py [NAME ...] [--site FOLDER]

Opens each page of the built site (default: of `make book`) in headless Chromium, in the light theme and as wide as a
sheet of paper, and writes each widget as it comes up to site/static/stills/CHAPTER-Widget.webp, at most 30 kB. Every
widget of the site gets one; pictures of widgets that are no more are deleted. With names (such as vae-LatentGrid) only
those are taken and nothing is deleted. The next build puts the pictures into the pages (site/_ext/gentut_stills.py).
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "site" / "_ext"))

import gentut_stills  # noqa: E402

MOST = 30_000  # bytes
WIDTH = 800  # of the window, in CSS pixels: the text's column is then about as wide as a sheet
READY = """async (views) => {
  const areas = () => [...document.querySelectorAll(".gentut-widget-area")];
  const ready = () => areas().length === views && areas().every(a => a.querySelector(".gentut-widget[data-ready]"));
  while (!ready()) {
    const failed = document.querySelector(".gentut-widget-note");
    if (failed) throw new Error(failed.textContent);
    await new Promise(go => setTimeout(go, 50));
  }
  await document.fonts.ready;
}"""
# What Sphinx knows of a page's widgets, from the page itself: the classes in their order.
KINDS = """() => {
  const saved = [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')];
  const states = Object.assign({}, ...saved.map(tag => JSON.parse(tag.textContent).state));
  return [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')]
    .map(tag => states[JSON.parse(tag.textContent).model_id]?.state._anywidget_id).filter(Boolean);
}"""


def packed(shot: bytes) -> bytes:
    """A screenshot as WebP of at most MOST bytes, as good as they allow."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    for scale in (1, 0.75, 0.6, 0.5, 0.4, 0.3):
        small = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
        for quality in (85, 75, 65, 55, 45, 35, 25):
            out = io.BytesIO()
            small.save(out, "WEBP", quality=quality, method=6)
            if out.tell() <= MOST:
                return out.getvalue()
    raise SystemExit(f"a widget does not fit {MOST:,} bytes")


def take(page, path, wanted):
    """Yield (name, screenshot) of each widget of a page that is wanted."""
    page.goto(path.as_uri(), wait_until="load")
    kinds = [identifier.rpartition(".")[2] for identifier in page.evaluate(KINDS)]
    page.evaluate(READY, len(kinds))
    page.evaluate("() => window.MathJax?.startup?.promise")
    areas = page.locator(".gentut-widget-area").all()
    for name, area in zip(gentut_stills.names(path.stem, kinds), areas, strict=True):
        if not wanted or name in wanted:
            page.add_style_tag(content=".bd-header-article { display: none }")  # it would lie over the picture
            area.scroll_into_view_if_needed()
            page.mouse.move(0, 0)
            page.wait_for_timeout(300)  # canvases follow their size
            yield name, area.screenshot(animations="disabled", type="png")


def main():
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Take the still pictures of the widgets.")
    parser.add_argument("names", nargs="*", help="such as vae-LatentGrid; default: all")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "cpu" / "_build" / "html")
    args = parser.parse_args()
    found = sorted(args.site.resolve().glob("book/*.html"))
    pages = [path for path in found if "widget-view+json" in path.read_text("utf-8")]
    if not pages:
        raise SystemExit(f"no page with a widget in {args.site}: run `make book`, or name a built site with --site")
    gentut_stills.FOLDER.mkdir(exist_ok=True)
    taken = set()
    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        window = {"width": WIDTH, "height": 1000}
        page = browser.new_page(viewport=window, device_scale_factor=2, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(60_000)
        for path in pages:
            for name, shot in take(page, path, args.names):
                picture = gentut_stills.FOLDER / f"{name}.webp"
                picture.write_bytes(packed(shot))
                taken.add(picture)
                print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size:,} bytes")
        browser.close()
    unknown = sorted(set(args.names) - {path.stem for path in taken})
    if unknown:
        raise SystemExit(f"no such widget in {args.site}: {', '.join(unknown)}")
    for old in set() if args.names else set(gentut_stills.FOLDER.glob("*.webp")) - taken:
        print(f"{old.relative_to(ROOT)} deleted: its widget is no more")
        old.unlink()


if __name__ == "__main__":
    main()
