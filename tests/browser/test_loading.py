"""How soon the first widget of a page is usable: at most 3 s on a slow line and a slow machine (site/loading.py)."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def loading():
    """site/loading.py."""
    spec = importlib.util.spec_from_file_location("gentut_site_loading", ROOT / "site" / "loading.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server(loading, site):
    """The site, served gzipped."""
    with loading.Server(site.folder) as server:
        yield server


def hardest(loading, site):
    """The page with the most bytes, and the one with the most formulas among those with widgets."""
    pages = loading.pages_with_widgets(site.folder)
    formulas = {page: (site.folder / page).read_text(encoding="utf-8").count('class="math') for page in pages}
    return list(dict.fromkeys([pages[0], max(pages, key=formulas.get)]))


def test_the_first_widget_is_usable_within_the_budget(loading, server, site, browser):
    # A busy machine slows some loads, a slow page all of them: one good load shows what the page needs.
    for page in hardest(loading, site):
        found = []
        while len(found) < 6 and not any(one["needs"] <= loading.BUDGET for one in found):
            found.append(loading.needs(browser, f"{server.url}/{page}"))
        assert min(one["needs"] for one in found) <= loading.BUDGET, (page, found)


def test_a_page_that_works_too_long_before_its_widget_is_found_out(loading, server, site, browser, tmp_path):
    page = loading.pages_with_widgets(site.folder)[-1]
    text = (site.folder / page).read_text(encoding="utf-8")
    unit = re.search(r"\{(.*)\}", loading.REFERENCE, re.DOTALL)[1]
    unit = re.sub(r"performance\.mark\([^)]*\);", "", unit)
    slow = f"addEventListener('DOMContentLoaded', () => {{ for (let k = 0; k < 12; k++) {{ {unit} }} }});"
    (tmp_path / "book").mkdir()
    (tmp_path / "_static").symlink_to(site.folder / "_static")
    (tmp_path / page).write_text(text.replace("</head>", f"<script>{slow}</script></head>", 1), encoding="utf-8")
    with loading.Server(tmp_path) as other:
        found = loading.needs(browser, f"{other.url}/{page}")
    assert found["needs"] > loading.BUDGET, found


def test_formulas_wait_for_the_first_widget_and_all_are_drawn(site, page):
    order = """(() => {
      window.order = [];
      new MutationObserver(() => {
        if (!order.includes("widget") && document.querySelector(".gentut-widget[data-ready]")) order.push("widget");
        if (!order.includes("maths") && document.querySelector("mjx-container")) order.push("maths");
      }).observe(document, { subtree: true, childList: true, attributeFilter: ["data-ready"] });
    })()"""
    page.add_init_script(order)
    page.goto(f"{site.url}/book/variational.html")
    page.evaluate("() => window.MathJax.startup.promise")
    assert page.evaluate("order") == ["widget", "maths"]
    written = page.locator(".math").count()
    assert written > 100 and page.locator("mjx-container").count() >= written


def test_formulas_come_though_the_widget_does_not(site, page):
    # Its module never arrives: after some seconds the formulas no longer wait.
    page.clock.install()
    page.add_init_script("URL.createObjectURL = () => 'data:text/javascript,await new Promise(() => {})';")
    page.goto(f"{site.url}/book/variational.html", wait_until="domcontentloaded")
    page.clock.run_for(3000)
    assert page.locator("mjx-container").count() == 0
    page.clock.run_for(2000)
    page.clock.resume()
    page.locator("mjx-container").first.wait_for()
