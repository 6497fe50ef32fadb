"""The book as one: the glossary and its links, what chapters need and unlock, the concept map, addresses, figures."""

import copy
import importlib.util
import json
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
# A script beside the site, not a part of the package.
_spec = importlib.util.spec_from_file_location("glossary_links", ROOT / "site" / "glossary_links.py")
glossary_links = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(glossary_links)

CHAPTERS = glossary_links.CHAPTERS
PAGES = sorted([*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")])
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def notebook(chapter):
    return json.loads((BOOK / f"{chapter}.ipynb").read_text(encoding="utf-8"))


def sources(path, kind="markdown"):
    """The texts of a page: the Markdown cells of a notebook, or a Markdown file as a whole."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")] if kind == "markdown" else []
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]+`", " ", text, flags=re.DOTALL)


def targets(path):
    """The addresses of all links and pictures of a page, as they are written."""
    text = without_code("\n\n".join(sources(path)))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\b(?:href|src)="([^"]+)"', text)


# --------------------------------------------------------------------------------------------------------- the glossary


def test_the_glossary_has_every_term_once_with_its_chinese_name_and_one_sentence():
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    terms = glossary_links.terms()
    assert len(terms) >= 90
    assert list(terms) == re.findall(r"^### (.+)$", text, re.MULTILINE), "an entry that is not in the one shape"
    assert len({glossary_links.slug(title) for title in terms}) == len(terms)
    for title, (_, chinese, chapter, definition) in terms.items():
        assert re.search(r"[\u4e00-\u9fff]", chinese), f"{title} has no Chinese name"
        assert chapter in CHAPTERS
        assert re.fullmatch(r"[A-Z].{20,180}\.", definition), title
        assert not re.search(r"[.!?] [A-Z]", definition), f"{title}: one sentence, please"
        assert not re.search(rf"^(an? |the )?{re.escape(title)} (is|are)\b", definition, re.IGNORECASE), title


def test_the_glossary_is_sorted():
    def order(title):
        plain = unicodedata.normalize("NFKD", title.lower())
        return "".join(c for c in plain if c.isalnum() or c == " ")

    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    titles = list(glossary_links.terms())
    assert titles == sorted(titles, key=order)
    for letter, section in re.findall(r"^## (\w)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        first = {order(title)[0].upper() for title in re.findall(r"^### (.+)$", section, re.MULTILINE)}
        assert first == {letter}


@every_chapter
def test_a_chapter_links_its_terms_where_it_first_uses_them(chapter):
    """The links are those that the script makes; if not, run site/glossary_links.py and look at what it changed."""
    terms, as_it_is = glossary_links.terms(), notebook(chapter)
    renewed = copy.deepcopy(as_it_is)
    linked = glossary_links.relink(renewed, chapter, terms)
    for old, new in zip(as_it_is["cells"], renewed["cells"], strict=True):
        assert "".join(old["source"]) == "".join(new["source"]), f"{old['id']}: run site/glossary_links.py"
    never = [title for title, (_, _, home, _) in terms.items() if home == chapter and title not in linked]
    assert not never, f"the glossary says that {chapter} introduces {never}"


GLOSSARY = {
    "Entropy": ([], "熵", "information", "..."),
    "Cross-entropy": ([], "交叉熵", "information", "..."),
    "Evidence lower bound": (["ELBO"], "证据下界", "variational", "..."),
    "Code": ([], "编码", "information", "..."),
}


def test_links_go_to_the_first_use_and_to_no_other_place():
    texts = [
        "# Entropy\n\n`entropy` and $entropy$ and [entropy](https://example.org), cross-entropy",
        "<summary>entropy</summary>\n\nThe **entropy** of entropy. An\nELBO, an elbo.\n\n## Further reading\n\nELBO",
    ]
    (first, second), linked = glossary_links.link(texts, "variational", GLOSSARY)
    assert first == texts[0].replace(", cross-entropy", ", [cross-entropy](glossary.md#cross-entropy)")
    assert second == texts[1].replace("**entropy**", "**[entropy](glossary.md#entropy)**").replace(
        "An\nELBO", "An\n[ELBO](glossary.md#evidence-lower-bound)"
    )
    assert linked == {"Entropy", "Cross-entropy", "Evidence lower bound"}
    assert glossary_links.link([first, second], "variational", GLOSSARY)[0] == [first, second]  # once is enough


def test_a_text_moved_before_a_link_is_noticed():
    texts, _ = glossary_links.link(["The entropy of a coin."], "information", GLOSSARY)
    again, _ = glossary_links.link(["What is entropy?", *texts], "information", GLOSSARY)
    assert again == ["What is [entropy](glossary.md#entropy)?", "The entropy of a coin."]


def test_an_entry_in_another_shape_is_no_entry():
    good = '### Entropy\n\n<span lang="zh">熵</span> · also: H · [Information](information.ipynb)\\\nThe average.\n'
    assert glossary_links.terms(good) == {"Entropy": (["H"], "熵", "information", "The average.")}
    assert glossary_links.terms(good.replace("\\\n", "\n")) == {}


# ---------------------------------------------------------------------------------------------- needs, unlocks, the map


def needed(chapter):
    """The chapters that a chapter's opening names."""
    goals = sources(BOOK / f"{chapter}.ipynb")[1]
    opening = re.fullmatch(r'<div class="admonition note">.*</div>\n\n\*\*You need:\*\* (.+)', goals, re.DOTALL)
    assert opening, f"{chapter}: the first box is followed by **You need:**, and by nothing else"
    return set(re.findall(r"\]\((\w+)\.ipynb\)", opening[1]))


def unlocked(chapter):
    """The chapters that a chapter's end names."""
    text = "\n\n".join(sources(BOOK / f"{chapter}.ipynb"))
    closing = re.search(r"\n## Summary\n.*\n\n\*\*This unlocks:\*\* ([^\n]+)\n\n## Further reading\n", text, re.DOTALL)
    assert closing, f"{chapter}: the summary ends with **This unlocks:**"
    assert text.count("**This unlocks:**") == text.count("**You need:**") == 1
    return set(re.findall(r"\]\((\w+)\.ipynb\)", closing[1]))


@every_chapter
def test_a_chapter_opens_with_what_it_needs_and_closes_with_what_it_unlocks(chapter):
    place = CHAPTERS.index(chapter)
    assert needed(chapter) <= set(CHAPTERS[:place])
    assert unlocked(chapter) - {"results"} <= set(CHAPTERS[place + 1 :])
    assert needed(chapter) or place == 0
    assert unlocked(chapter)
    for before in needed(chapter):
        assert chapter in unlocked(before), f"{before} does not say that it unlocks {chapter}"


SVG = "{http://www.w3.org/2000/svg}"


def test_the_concept_map_shows_what_the_chapters_say():
    root = ElementTree.parse(BOOK / "map.svg").getroot()
    drawn = {(path.get("data-from"), path.get("data-to")) for path in root.iter(f"{SVG}path") if path.get("data-from")}
    assert drawn == {(before, chapter) for chapter in CHAPTERS for before in needed(chapter)}
    boxes = {group.get("data-chapter"): group for group in root.iter(f"{SVG}g") if group.get("data-chapter")}
    assert tuple(boxes) == CHAPTERS  # in the order of reading
    for number, group in enumerate(boxes.values(), 1):
        assert group.find(f"{SVG}text").text.startswith(f"{number} ")


def test_the_concept_map_is_legible_on_any_ground_and_has_words_for_those_who_do_not_see_it():
    root = ElementTree.parse(BOOK / "map.svg").getroot()
    assert root.get("role") == "img" and root.get("aria-labelledby") == "title desc"
    assert len(root.find(f"{SVG}title").text) > 10 and root.find(f"{SVG}desc").text.count(" leads to ") >= 9
    _, _, width, height = map(float, root.get("viewBox").split())
    ground = root.find(f"{SVG}rect")  # the first thing that is drawn
    assert ground.get("fill") == "#ffffff"
    assert (float(ground.get("width")), float(ground.get("height"))) == (width, height)
    sizes = [float(text.get("font-size", 11)) for text in root.iter(f"{SVG}text")]
    assert width <= 360 and min(sizes) >= 10.5  # a phone shows it at its own size
    (alt,) = re.findall(r"!\[(.+)\]\(map\.svg\)", (BOOK / "intro.md").read_text(encoding="utf-8"))
    assert len(alt) > 100


def test_every_box_of_the_concept_map_is_a_link():
    """An SVG shown as a picture has no links: the page lays transparent ones over it, at the same places."""
    root = ElementTree.parse(BOOK / "map.svg").getroot()
    text = (BOOK / "intro.md").read_text(encoding="utf-8")
    overlay = ElementTree.fromstring(re.search(r"<svg.*?</svg>", text, re.DOTALL)[0])
    assert overlay.get("viewBox") == root.get("viewBox")
    links = {a.get("href"): a for a in overlay.iter("a")}
    for group in root.iter(f"{SVG}g"):
        page = group.get("data-chapter") or group.get("data-page")
        if page:
            box, area = group.find(f"{SVG}rect"), links.pop(f"{page}.html").find("rect")
            assert all(box.get(side) == area.get(side) for side in ("x", "y", "width", "height"))
    assert not links
    assert all(len(a.get("aria-label")) > 3 for a in overlay.iter("a"))


# ---------------------------------------------------------------------------------------------------------------- links


@every_page
def test_links_within_the_book_lead_somewhere(path):
    for address in targets(path):
        if re.match(r"[a-z]+:", address):
            continue
        name, _, anchor = address.partition("#")
        there = (path.parent / name) if name else path
        if there.suffix == ".html":  # the overlay of the concept map: the site's address of a page
            there = there.with_suffix(".ipynb")
        assert there.exists(), f"{address} in {path.name}"
        if anchor:
            titles = re.findall(r"^#{1,3} (.+)$", "\n\n".join(map(without_code, sources(there))), re.MULTILINE)
            assert anchor in {glossary_links.slug(title) for title in titles}, f"{address} in {path.name}"


@every_page
def test_addresses_outside_are_written_rightly(path):
    """Only their form: no test goes to the network."""
    for address in targets(path):
        if not re.match(r"[a-z]+:", address):
            continue
        assert re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/[^\s<>\"]*)?", address), f"{address} in {path.name}"
        assert not re.search(r"[.,;]$", address), address
        if "//arxiv.org" in address:
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", address), address
        if "//doi.org" in address:
            assert re.fullmatch(r"https://doi\.org/10\.\d{4,9}/\S+", address), address


# -------------------------------------------------------------------------------------------------------------- figures

# Beside the colours of figures.py: greys of guide lines, and the lighter blues of areas that lie behind a line.
TINTS = {"#8a8a8a", "#bcd4e6", "#c8c8c8", "#c9d9e8", "#d8d8d8", "#eeeeee"}
NAMED = {"black", "white", "none"}


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.ipynb")), ids=lambda path: path.stem)
def test_figures_have_one_style(path):
    code = sources(path, "code")
    assert sum(cell.count("figures.style()") for cell in code) == 1
    styled = next(k for k, cell in enumerate(code) if "figures.style()" in cell)
    assert not any(re.search(r"\bplt\.|figures\.(tiles|strips)", cell.split("import")[0]) for cell in code[:styled])
    for cell in code:
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", cell)) <= TINTS, f"a colour of its own:\n{cell[:200]}"
        named = re.findall(r"\b(?:color|colors|c|facecolor|edgecolor)=[\"'](\w+)[\"']", cell)
        assert set(named) <= NAMED, f"{named}: take figures.DATA, LEARNED, NOISE or TRUTH"
        assert not re.search(r"rcParams|style\.use|transparent=True", cell)
