"""Sphinx extension of the book: pages that need no other host, and a notebook cache that knows when it is stale."""

import hashlib
import os
import platform
import re
import shutil
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.util import logging

logger = logging.getLogger(__name__)

STATE = "application/vnd.jupyter.widget-state+json"
ICON = re.compile(r'(?:(?<=[{,]))("?)([a-z0-9-]+)\1:\[\d+,\d+,\[[^\]]*\],"[^"]*",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')


def digest(root: Path) -> str:
    """SHA-256 over what a notebook's outputs depend on beside its own code: package, pins, Python, scale."""
    sha = hashlib.sha256()
    package = (path for path in sorted((root / "gentut").rglob("*")) if "__pycache__" not in path.parts)
    for path in [*package, root / "constraints.txt"]:
        if path.is_file():
            sha.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    sha.update(f"{platform.python_version()}\0{os.environ.get('GENTUT_SCALE', '')}".encode())
    return sha.hexdigest()


def drop_stale_cache(app, config):
    """jupyter-cache compares a notebook's code only: forget everything when something else that counts has changed."""
    cache = Path(app.outdir).parent / ".jupyter_cache"
    stamp = cache / "gentut.sha256"
    now = digest(Path(app.confdir))
    if cache.exists() and not (stamp.exists() and stamp.read_text() == now):
        logger.info("gentut, its pins or the scale have changed: all notebooks run again")
        shutil.rmtree(cache)
    cache.mkdir(parents=True, exist_ok=True)
    stamp.write_text(now)
    config.nb_execution_cache_path = str(cache)


def keep_tags(app, doctree):
    """Leave display formulas to MathJax as they are written.

    Sphinx wraps a formula that contains a line break in `split`, where the `\\tag` of a numbered equation is an error.
    """
    for block in doctree.findall(nodes.math_block):
        if r"\tag" in block.astext() and not block.get("nowrap"):
            block["nowrap"] = True
            block.children = [nodes.Text(rf"\[{block.astext()}\]")]


def arrange_scripts(app, pagename, templatename, context, doctree):
    """Let the text come first: the widgets' state (most of a page's bytes) moves from the head to the body's end.

    The loader of the widgets goes before MathJax, which takes a while. Thebe goes altogether: it names a CDN, and
    Jupyter Book loads it even where no page offers it.
    """
    first, rest = [], []
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        name, body = str(getattr(script, "filename", None) or script), attributes.get("body") or ""
        if "sphinx-thebe" in name or "THEBE_JS_URL" in body:
            continue
        if attributes.get("type") == STATE:
            context["body"] += f'<script type="{STATE}">{body}</script>\n'
        else:
            (first if "anywidget-lite" in name else rest).append(script)
    context["script_files"] = first + rest


def trim_icons(app, exception):
    """Keep in the theme's Font Awesome script (1.5 MB) only the icons that some page or script can show."""
    out = Path(app.outdir)
    script = out / "_static" / "scripts" / "fontawesome.js"
    if exception or app.builder.name != "html" or not script.is_file():
        return
    sources = [path for path in [*out.rglob("*.html"), *(out / "_static").rglob("*.js")] if path != script]
    used = {name for path in sources for name in re.findall(r"\bfa-([a-z0-9-]+)", path.read_text(errors="replace"))}

    def keep(match):
        entry = match.group(0)
        names = {match.group(2), *re.findall(r'"([a-z0-9-]+)"', entry.split("]")[0])}
        return entry if names & used else ""

    script.write_text(ICON.sub(keep, script.read_text()))


def trim_pictures(app, exception):
    """Turn plots from PNG into lossless WebP of at most 256 colours: half the bytes, and a plot has few colours."""
    out = Path(app.outdir)
    if exception or app.builder.name != "html":
        return
    done = {}
    for path in (out / "_images").glob("*.png"):
        with Image.open(path) as picture:
            if picture.convert("RGBA").getextrema()[3] != (255, 255):
                continue  # transparent: a palette would lose that
            plain = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).convert("RGB")
        small = path.with_suffix(".webp")
        plain.save(small, lossless=True, quality=80)
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


def setup(app):
    """Connect the functions above."""
    app.connect("config-inited", drop_stale_cache, priority=100)  # before myst-nb reads the cache's path
    app.connect("doctree-read", keep_tags)
    app.connect("html-page-context", arrange_scripts, priority=999)  # after everybody has added theirs
    app.connect("build-finished", trim_icons)
    app.connect("build-finished", trim_pictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
