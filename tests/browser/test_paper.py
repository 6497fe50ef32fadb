"""A page without JavaScript, on paper, and where there is no page; what pages say of themselves to other sites."""

import html
import re
import xml.etree.ElementTree as ElementTree

from PIL import Image

MANAGED = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">')


def alive(site, path):
    """How many widgets a page has, by its HTML."""
    return len(MANAGED.findall((site.folder / path).read_text(encoding="utf-8")))


def test_each_widget_has_a_still_picture(site):
    missing = []
    for path in site.pages:
        text = (site.folder / path).read_text(encoding="utf-8")
        places = re.findall(r'<noscript class="gentut-still">(.*?)</noscript>', text, re.DOTALL)
        assert len(places) == alive(site, path), f"{path}: a widget without a place for its still"
        for place in places:
            found = re.search(r'<img src="([^"]+)" alt="([^"]+)"', place)
            if not found or not (site.folder / path).parent.joinpath(found[1]).is_file():
                missing.append(f"{path}: {html.unescape(re.sub('<[^>]+>', '', place))[:80]}")
            else:
                assert len(html.unescape(found[2])) >= 40, f"{path}: {found[2]} says too little"
    assert missing == [], "no still picture of these widgets: run `make stills` (CONTRIBUTING.md)"


def test_a_page_without_javascript_shows_pictures_and_says_what_is_missing(new_page, site):
    page = new_page(java_script_enabled=False)
    path = "book/variational.html"
    page.goto(f"{site.url}/{path}")
    stills = page.locator("figure.gentut-still img")
    assert stills.count() == alive(site, path) > 0
    first = stills.first
    first.scroll_into_view_if_needed()
    assert first.is_visible() and first.bounding_box()["width"] > 300
    page.wait_for_load_state("networkidle")
    assert any(f"/{first.get_attribute('src').rpartition('/')[2]}" in url for url in page.watch.received)
    assert page.locator(".gentut-noscript").is_visible()
    assert "TeX" in page.locator(".gentut-noscript").inner_text()
    assert "\\(" in page.locator("span.math").first.inner_text(), "a formula's source stays readable"
    assert page.locator("article h1").is_visible()
    # Chromium says that it leaves out the scripts, which the page's head names.
    assert all(line.startswith("csp ") for line in page.watch.failed)
    page.watch.failed.clear()


def test_paper_opens_proofs_and_leaves_answers_closed(stages, site):
    page = stages.page(f"{site.url}/book/vae.html")
    folds = """() => [...document.querySelectorAll("article details")].map(
      (fold) => [fold.querySelector("summary").textContent.trim(), fold.open])"""
    before = page.evaluate(folds)
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    paper = page.evaluate(folds)
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folds) == before
    answers = [was_open for name, was_open in paper if re.match(r"Hint|Solution|\d+\.", name)]
    others = [was_open for name, was_open in paper if not re.match(r"Hint|Solution|\d+\.", name)]
    assert answers and not any(answers) and all(others)


def test_a_printed_page_has_its_pictures(page, site, tmp_path):
    # They load lazily, and a still is on no screen: printing has to wait for both.
    page.goto(f"{site.url}/book/variational.html")
    page.wait_for_selector(".gentut-widget[data-ready]")
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    loaded = page.evaluate("""() => [...document.querySelectorAll("article img")].map((e) => e.naturalWidth)""")
    assert len(loaded) > 5 and all(loaded), loaded
    assert (tmp_path / "page.pdf").stat().st_size > 100_000


def test_a_missing_page_at_any_depth_leads_back(page, site):
    answer = (site.folder / "404.html").read_text(encoding="utf-8")
    page.route("**/no/such/page.html", lambda route: route.fulfill(status=404, body=answer, content_type="text/html"))
    page.goto(f"{site.url}/no/such/page.html")
    assert page.locator("h1").inner_text() == "There is no such page"
    assert page.locator("main svg").bounding_box()["width"] > 30
    links = page.locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    vae = (site.folder / "book/vae.html").read_text(encoding="utf-8")
    home = re.search(r'<link rel="canonical" href="([^"]+)book/vae\.html"', vae)[1]
    assert len(links) > 10
    assert [link for link in links if not (site.folder / link.removeprefix(home)).is_file()] == []
    assert [url for url in page.watch.received if "no/such/page" not in url] == [], "it needs no other file"
    page.watch.clear()


def test_a_page_says_what_it_is(site):
    described = {}
    for path in site.pages:
        text = (site.folder / path).read_text(encoding="utf-8")
        if not path.startswith("book/"):
            continue
        tags = dict(re.findall(r'<meta (?:property|name)="((?:og:|twitter:)?[\w:]+)" content="([^"]*)"', text))
        address = re.search(r'<link rel="canonical" href="([^"]+)"', text)[1]
        home = address.removesuffix(path)
        assert home != address and home.startswith("https://"), address
        assert tags["og:url"] == address and tags["og:site_name"] == "gentut" and tags["og:title"]
        assert 40 <= len(html.unescape(tags["description"])) <= 210, (path, tags["description"])
        assert tags["og:description"] == tags["description"] and "\\(" not in tags["description"]
        with Image.open(site.folder / tags["og:image"].removeprefix(home)) as picture:
            assert min(picture.size) >= 300
        assert len(tags["og:image:alt"]) >= 40 or tags["og:image:alt"]
        described[path] = tags["description"]
    assert len(described) > 10 and len(set(described.values())) == len(described), "two pages say the same"


def test_the_site_map_lists_every_page_of_the_book(site):
    tree = ElementTree.parse(site.folder / "sitemap.xml")
    listed = [entry.text for entry in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    home = listed[0].partition("book/")[0]
    assert sorted(listed) == sorted(home + path for path in site.pages if path.startswith("book/"))
    assert f"Sitemap: {home}sitemap.xml" in (site.folder / "robots.txt").read_text()
