"""Sphinx extension of the book: pages that need no other host, and a notebook cache that knows when it is stale.

gentut_finish.py does what needs the written pages, gentut_stills.py the pictures in place of widgets.
"""

import hashlib
import os
import platform
import shutil
from pathlib import Path

import gentut_finish
import gentut_stills
from docutils import nodes
from gentut_stills import STATE
from sphinx.util import logging

logger = logging.getLogger(__name__)


def digest(root: Path) -> str:
    """SHA-256 over what a notebook's outputs depend on beside its own code: package, results, pins, Python, scale."""
    sha = hashlib.sha256()
    package = (path for path in sorted((root / "gentut").rglob("*")) if "__pycache__" not in path.parts)
    for path in [*package, *sorted((root / "benchmarks" / "results").glob("*.json")), root / "constraints.txt"]:
        if path.is_file():
            sha.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    sha.update(f"{platform.python_version()}\0{os.environ.get('GENTUT_SCALE', '')}".encode())
    return sha.hexdigest()


def fresh_cache(root: Path, build: Path) -> str:
    """The folder of the notebook cache in `build`, emptied if it is stale.

    jupyter-cache compares a notebook's code only: forget everything when something else that counts has changed.
    """
    cache = build / ".jupyter_cache"
    stamp = cache / "gentut.sha256"
    now = digest(root)
    if cache.exists() and not (stamp.exists() and stamp.read_text() == now):
        logger.info("gentut, its pins or the scale have changed: all notebooks run again")
        shutil.rmtree(cache)
    cache.mkdir(parents=True, exist_ok=True)
    stamp.write_text(now)
    return str(cache)


def use_cache(app, config):
    """Tell myst-nb where the notebooks' outputs are."""
    config.nb_execution_cache_path = fresh_cache(Path(app.confdir), Path(app.outdir).parent)


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

    The loader of the widgets goes before everything else that takes a while. Thebe goes altogether: it names a CDN,
    and Jupyter Book loads it even where no page offers it.
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


def setup(app):
    """Connect the functions above."""
    app.connect("config-inited", use_cache, priority=100)  # before myst-nb reads the cache's path
    app.connect("doctree-read", keep_tags)
    app.connect("html-page-context", gentut_stills.put_in, priority=998)  # needs the scripts where Sphinx puts them
    app.connect("html-page-context", gentut_finish.introduce, priority=999)  # knows the stills
    app.connect("html-page-context", arrange_scripts, priority=999)  # after everybody has added theirs
    for step in (gentut_finish.trim_pictures, gentut_finish.trim_pages, gentut_finish.write_around):
        app.connect("build-finished", step)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
