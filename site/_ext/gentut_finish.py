"""The written pages: what they say of themselves to other sites, what they need not load, and the files beside them."""

import html
import json
import re
from pathlib import Path
from urllib.parse import urljoin

import gentut_stills
from docutils import nodes
from PIL import Image

ICON = re.compile(r'(?<=[{,])"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[^"]*",("[^"]*"|\["[^"]*","[^"]*"\])\]')
PLACE = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)></\1>')
STYLES = {"fab": 0, "fa-brands": 0, "far": 1, "fa-regular": 1, "fas": 2, "fa": 2, "fa-solid": 2}
SEARCH = re.compile(r'\s*<script src="[^"]*(?:_static/searchtools|_static/language_data|searchindex)\.js"></script>')
PLOT = re.compile(r'<img (?![^>]*\b(?:loading|width|style)=)([^>]*?\bsrc="[^"]*(_images/[^"]+)"[^>]*?)\s*/?>')
FONT_AWESOME = re.compile(r'\s*<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>')
HEAVY = 50_000  # bytes of a plot
CONTENT = re.compile(r"[0-9a-f]{64}")  # the name of a notebook's picture: the SHA-256 of what is in it
LONGEST = 200  # characters of a description


# ------------------------------------------------------------------------------------------- what a page says of itself


def description(doctree):
    """A page's first paragraph of its own text, outside of boxes, cut after a sentence or a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        node = paragraph.parent
        while node is not None and isinstance(node, nodes.section):
            node = node.parent
        # No formulas: they would be TeX.
        if node is doctree and not next(iter(paragraph.findall(nodes.math)), None):
            text = " ".join(paragraph.astext().split())
            if len(text) < 40:
                continue
            if len(text) <= LONGEST:
                return text
            sentences = text[: LONGEST + 1].rpartition(". ")[0]
            return f"{sentences}." if len(sentences) > 60 else text[:LONGEST].rpartition(" ")[0].rstrip(",;:") + " …"
    return ""


def introduce(app, pagename, templatename, context, doctree):
    """Description and Open Graph: what search engines and other sites show of a page. Without JavaScript a note."""
    site = app.config.html_baseurl
    if doctree is None or not site:
        return
    title = re.sub(r"<[^>]+>", "", html.unescape(context.get("title") or app.config.html_title))
    shares = sorted(path.stem for path in gentut_stills.FOLDER.glob("*.webp"))
    still, alt = context.get("gentut_still") or (shares[0] if shares else None, app.config.html_title)
    tags = {
        "og:type": "article" if context.get("prev") else "website",
        "og:site_name": app.config.project, "og:title": title, "og:url": context["pageurl"],
        "og:description": description(doctree),
        "og:image": still and urljoin(site, f"_static/stills/{still}.webp"), "og:image:alt": still and alt,
    }
    lines = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in tags.items() if text]
    if tags["og:description"]:
        lines.append(f'<meta name="description" content="{html.escape(tags["og:description"])}" />')
    if tags["og:image"]:
        lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)

    moving, maths = "gentut_still" in context, next(iter(doctree.findall(nodes.math)), None) is not None
    told = ["formulas stay as they were typed, in TeX"] * maths + ["figures that move are still pictures"] * moving
    if told:
        note = f'<noscript><p class="gentut-noscript">Without JavaScript {", and ".join(told)}.</p></noscript>'
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{note}", 1)


# ------------------------------------------------------------------------------------------------ what a page needs not


def icons(script):
    """The theme's Font Awesome script → {(style, name): (width, height, path)}; style 0 brands, 1 regular, 2 solid."""
    found, style, end = {}, -1, 0
    for match in ICON.finditer(script):
        # The script has three lists. Between two of them lies code, between two entries of one a comma.
        style += match.start() - end > 100 or style < 0
        end = match.end()
        name, width, height, aliases, path = match.groups()
        drawn = json.loads(path)
        entry = int(width), int(height), drawn if isinstance(drawn, str) else drawn[1]
        for each in [name, *re.findall(r'"([a-z0-9-]+)"', aliases)]:
            found[style, each] = entry
    return found


def draw_icons(page, known):
    """Replace the places of icons by their drawings, as Font Awesome's script would do in each reader's browser."""

    def draw(match):
        classes, attributes = match[2].split(), match[3]
        style = next((STYLES[name] for name in classes if name in STYLES), 2)
        drawing = next((known[style, name[3:]] for name in classes if (style, name[3:]) in known), None)
        if drawing is None:
            raise ValueError(f"Font Awesome has no icon for {match.group()}")
        width, height, path = drawing
        kept = " ".join(name for name in classes if name not in STYLES)
        rest = re.sub(r'\s+(?:title|aria-hidden)="[^"]*"', "", attributes)
        return (
            f'<svg class="svg-inline--fa {kept}"{rest} aria-hidden="true" viewBox="0 0 {width} {height}">'
            f'<path fill="currentColor" d="{path}"/></svg>'
        )

    return PLACE.sub(draw, page)


def trim_pages(app, exception):
    """Take out of the pages what the theme loads everywhere and no page needs.

    Font Awesome (1.5 MB, half a second of a slow machine) becomes the few drawings that are used. The search index
    stays on the search page: the book does not search while one types. Plots come when the reader is near them; their
    size stands in the page, so that the text keeps its place.
    """
    out = Path(app.outdir)
    script = out / "_static" / "scripts" / "fontawesome.js"
    if exception or app.builder.name != "html" or not script.is_file():
        return
    known = icons(script.read_text(encoding="utf-8"))
    for path in pages(out):
        text = path.read_text(encoding="utf-8")
        new = draw_icons(FONT_AWESOME.sub("", text), known)
        new = PLOT.sub(lambda match: with_size(match, out), new)
        if path.name != "search.html":
            new = SEARCH.sub("", new)
        if new != text:
            path.write_text(new, encoding="utf-8")
    script.unlink()  # its licence stays, for the drawings
    script.with_suffix(".js.map").unlink(missing_ok=True)


def with_size(match, out):
    """An <img> of a plot with its size in pixels."""
    path = out / match[2]
    if path.suffix == ".svg":
        return f'<img {match[1]} loading="lazy">'
    with Image.open(path) as picture:
        width, height = picture.size
    return f'<img {match[1]} width="{width}" height="{height}" loading="lazy">'


def pages(out):
    """All pages that a reader can reach."""
    return [path for path in out.rglob("*.html") if not path.relative_to(out).parts[0].startswith("_")]


def trim_pictures(app, exception):
    """Turn plots from PNG into lossless WebP of at most 256 colours: half the bytes, and a plot has few colours."""
    out = Path(app.outdir)
    if exception or app.builder.name != "html":
        return
    done = {}
    for path in (out / "_images").glob("*.png"):
        small = path.with_suffix(".webp")
        if not (CONTENT.fullmatch(path.stem) and small.exists()):  # else made by an earlier build, of the same picture
            with Image.open(path) as picture:
                if picture.convert("RGBA").getextrema()[3] != (255, 255):
                    continue  # transparent: a palette would lose that
                plain = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).convert("RGB")
            plain.save(small, lossless=True, quality=80)
            if small.stat().st_size > HEAVY:  # hundreds of digits, or a cloud of a thousand points: no plain plot
                with Image.open(path) as picture:
                    picture.convert("RGB").save(small, quality=85, method=6)
        if small.stat().st_size < path.stat().st_size:
            path.unlink()
            done[f"_images/{path.name}"] = f"_images/{small.name}"
        else:
            small.unlink()
    for page in out.rglob("*.html") if done else ():
        text = page.read_text(encoding="utf-8")
        new = re.sub(r"_images/[\w.-]+", lambda match: done.get(match.group(), match.group()), text)
        if new != text:
            page.write_text(new, encoding="utf-8")


# ----------------------------------------------------------------------------------------------- files beside the pages


def write_around(app, exception):
    """sitemap.xml, robots.txt and 404.html.

    A host shows 404.html in place of a missing page at any depth, so it needs no other file and its links are whole
    addresses.
    """
    out, site, env = Path(app.outdir), app.config.html_baseurl, app.env
    if exception or app.builder.name != "html" or not site:
        return
    order = [app.config.root_doc, *env.toctree_includes.get(app.config.root_doc, [])]
    listed = [name for name in order if name in env.found_docs]
    address = {name: urljoin(site, app.builder.get_target_uri(name)) for name in listed}
    entries = "".join(f"  <url><loc>{html.escape(address[name])}</loc></url>\n" for name in listed)
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{entries}</urlset>\n", encoding="utf-8",
    )
    (out / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {urljoin(site, 'sitemap.xml')}\n")
    titles = {name: html.escape(env.titles[name].astext()) for name in listed}
    links = "".join(f'<li><a href="{html.escape(address[name])}">{titles[name]}</a></li>\n' for name in listed)
    template = (Path(app.confdir) / "site" / "404.html").read_text(encoding="utf-8")
    logo = (Path(app.confdir) / "site" / "static" / "logo.svg").read_text(encoding="utf-8").strip()
    for mark, text in {"LINKS": links, "LOGO": logo}.items():
        template = template.replace(f"<!-- {mark} -->", text)
    (out / "404.html").write_text(template, encoding="utf-8")
