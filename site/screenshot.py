"""Make site/images/vae-page.png, the README's picture: the VAE chapter as built by `make book`, its widget in use."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build" / "cpu" / "_build" / "html" / "book" / "vae.html"
PICTURE = ROOT / "site" / "images" / "vae-page.png"


def main():
    """Open the page from its file, give the widget a test digit, and take the picture."""
    if not PAGE.is_file():
        raise SystemExit(f"{PAGE.relative_to(ROOT)} is missing: run `make book`")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(PAGE.as_uri())
        widget = page.locator(".gentut-latent-grid[data-ready='1']").first
        widget.wait_for()
        page.evaluate("() => window.MathJax?.startup?.promise")
        widget.get_by_role("button", name="Test digit 3").click()  # it goes through the encoder
        top = "element.getBoundingClientRect().top + window.scrollY - 90"
        widget.evaluate(f"element => window.scrollTo({{ top: {top}, behavior: 'instant' }})")
        page.wait_for_timeout(300)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
