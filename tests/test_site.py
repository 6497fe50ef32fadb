"""What the site's build makes of pages, checked without building: stills, icons, descriptions, links in the sources."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils import nodes
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "site" / "_ext"))

import gentut_finish  # noqa: E402
import gentut_stills  # noqa: E402

SCRIPT = (
    'x={"github":[496,512,[],"f09b","M1"],monero:[1,2,[],"f3d0","M2"]};' + " " * 200
    + '{file:[384,512,[128459,"document"],"f15b","M3"]};' + " " * 200
    + '{file:[384,512,[128459],"f15b","M4"],"circle-half-stroke":[512,512,[9680,"adjust"],"f042",["M5a","M5b"]]}'
)


def tool(name):
    """A module of site/."""
    spec = importlib.util.spec_from_file_location(f"gentut_site_{name}", ROOT / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --------------------------------------------------------------------------------------------------------------- stills


def test_stills_are_small_pictures():
    stills = sorted(gentut_stills.FOLDER.glob("*"))
    assert stills, "run `make stills`"
    for path in stills:
        assert path.suffix == ".webp" and path.stat().st_size <= 30_000, path
        with Image.open(path) as picture:
            assert picture.format == "WEBP" and min(picture.size) >= 300, (path, picture.size)
            assert len(picture.convert("L").resize((64, 64)).getcolors()) > 4, f"{path} shows nothing"


def test_two_widgets_of_a_kind_have_stills_of_their_own():
    assert list(gentut_stills.names("book/gan", ["LatentWalk", "GanReplay", "LatentWalk"])) == [
        "gan-LatentWalk", "gan-GanReplay", "gan-LatentWalk-2"]


def view(model):
    """A page's tag for the view of a model."""
    return f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps({"model_id": model})}</script>'


def page_with(*models):
    """Scripts, body and context of a page with a view of each model; a model is (identifier of its class or None)."""
    state = {f"m{i}": {"state": {"_anywidget_id": name} if name else {}} for i, name in enumerate(models)}
    script = SimpleNamespace(attributes={"type": gentut_stills.STATE, "body": json.dumps({"state": state})})
    return {
        "script_files": [SimpleNamespace(attributes={}), script],
        "body": "".join(f"<p>{view(name)}</p>" for name in state),
        "pathto": lambda uri, _: f"../{uri}", "pageurl": "https://a.b/book/vae.html",
    }


def test_a_widget_gets_its_still_with_words_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(gentut_stills, "FOLDER", tmp_path / "site" / "static" / "stills")
    gentut_stills.FOLDER.mkdir(parents=True)
    Image.new("RGB", (700, 500)).save(gentut_stills.FOLDER / "vae-MoonMorph.webp")
    context = page_with("gentut.widgets.vae.LatentGrid", None, "gentut.widgets.vae.MoonMorph")
    gentut_stills.put_in(None, "book/vae", "page.html", context, None)
    stills = re.findall(r'<noscript class="gentut-still">(.*?)</noscript>', context["body"])
    assert len(stills) == 2, "a view that is no widget of the book gets none"
    missing, there = stills
    assert "<img" not in missing and "A 2-D latent space" in missing, "the words stand where the picture is missing"
    assert 'src="../_static/stills/vae-MoonMorph.webp" alt="From full moon' in there
    assert 'width="700" height="500"' in there
    assert context["gentut_still"][0] == "vae-MoonMorph"


def test_a_page_without_widgets_stays_as_it_is():
    context = {"body": "<h1>x</h1>", "script_files": []}
    gentut_stills.put_in(None, "book/intro", "page.html", context, None)
    assert context == {"body": "<h1>x</h1>", "script_files": []}


def test_every_widget_can_be_described():
    from gentut import widgets

    for name in widgets.__all__:
        kind = getattr(widgets, name)
        if isinstance(kind, type):
            words = gentut_stills.describe(f"{kind.__module__}.{kind.__name__}")
            assert len(words) >= 40 and "`" not in words and "\n" not in words, (name, words)


def test_a_still_is_made_to_fit(monkeypatch):
    import io

    import numpy as np

    stills = tool("stills")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8))
    shot = io.BytesIO()
    noise.save(shot, "PNG")
    assert len(shot.getvalue()) > 10 * stills.MOST
    small = stills.packed(shot.getvalue())
    assert len(small) <= stills.MOST and Image.open(io.BytesIO(small)).format == "WEBP"
    monkeypatch.setattr(stills, "MOST", 100)
    with pytest.raises(SystemExit, match="does not fit"):
        stills.packed(shot.getvalue())


# ---------------------------------------------------------------------------------------------------------------- icons


def test_icons_are_drawn_into_the_page():
    known = gentut_finish.icons(SCRIPT)
    assert known[0, "github"] == (496, 512, "M1") and known[1, "document"][2] == "M3" and known[2, "file"][2] == "M4"
    page = '<i class="theme-switch fas fa-adjust fa-lg" data-mode="auto" title="x"></i><span class="fab fa-github">'
    page += "</span>"
    drawn = gentut_finish.draw_icons(page, known)
    assert "<i" not in drawn and "<span" not in drawn and "title" not in drawn
    assert 'class="svg-inline--fa theme-switch fa-adjust fa-lg" data-mode="auto" aria-hidden="true"' in drawn
    assert 'd="M5b"' in drawn and 'viewBox="0 0 496 512"' in drawn


def test_an_icon_that_nobody_drew_is_an_error():
    with pytest.raises(ValueError, match="fa-unicorn"):
        gentut_finish.draw_icons('<i class="fas fa-unicorn"></i>', gentut_finish.icons(SCRIPT))


# ------------------------------------------------------------------------------------------- what a page says of itself


def document(*paragraphs):
    """A page: a section with a box, then these paragraphs."""
    section = nodes.section("", nodes.title("", "T"), nodes.note("", nodes.paragraph("", "In a box. " * 20)))
    section += [nodes.paragraph("", text) for text in paragraphs]
    page = nodes.document(None, None)
    page += section
    return page


def test_a_description_is_the_first_text_outside_of_boxes():
    assert gentut_finish.description(document("Short.", "A text that is as long as a description must be.")) == (
        "A text that is as long as a description must be.")
    long = "The first sentence of this text says enough to stand for itself. " + "More words follow here " * 20 + "."
    assert gentut_finish.description(document(long)) == long.split(". ")[0] + "."
    endless = gentut_finish.description(document("word " * 100))
    assert endless.endswith("word …") and len(endless) <= gentut_finish.LONGEST + 2
    assert gentut_finish.description(document()) == ""


def test_the_sites_address_follows_from_the_repositorys():
    repository = tool("repository")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["html"]["baseurl"] == repository.addresses(repository.current())[3] + "/"


def test_the_page_for_missing_pages_needs_no_other_file():
    text = (ROOT / "site" / "404.html").read_text(encoding="utf-8")
    assert text.count("<!-- LINKS -->") == 1 and text.count("<!-- LOGO -->") == 1
    assert not re.search(r'\b(?:src|href)="(?!data:)', text), "a relative address would be wrong at another depth"


# ---------------------------------------------------------------------------------------------------------------- links


def slug(heading):
    """The anchor that GitHub, JupyterLab and MyST make of a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def markdown(path):
    """The Markdown of a page's source, code blocks left out."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


SOURCES = sorted(path for pattern in ("*.md", "*.ipynb") for path in (ROOT / "book").glob(pattern))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_links_between_the_sources_lead_somewhere(path):
    # They work raw as well, on GitHub and in JupyterLab, where nobody turns them into links to the site.
    text = re.sub(r"`[^`\n]*`", "", markdown(path))
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text)
    dead = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if target.suffix == ".html":  # in a drawing that only the site shows
            target = next((twin for end in (".ipynb", ".md") if (twin := target.with_suffix(end)).is_file()), target)
        if not target.is_file():
            dead.append(link)
        elif anchor and target.suffix in (".md", ".ipynb"):
            there = markdown(target)
            anchors = {slug(line) for line in re.findall(r"^#{1,6} +(.+?) *$", there, re.MULTILINE)}
            anchors |= set(re.findall(r'\bid="([^"]+)"', there))
            if anchor not in anchors:
                dead.append(link)
    assert dead == []
