"""A still picture in place of each widget, for a page without JavaScript and for paper.

site/stills.py takes the pictures, of the built site; they lie in site/static/stills as CHAPTER-Widget.webp, and
CHAPTER-Widget-2.webp for the second of a kind on a page. Here they enter the pages. The picture's text comes from the
widget's docstring. A widget without a picture (a new one) gets the text alone, and a browser test fails.
"""

import html
import importlib
import inspect
import json
import posixpath
import re
from collections import Counter
from pathlib import Path

from PIL import Image
from sphinx.util import logging

logger = logging.getLogger(__name__)

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL)
FOLDER = Path(__file__).resolve().parents[1] / "static" / "stills"
ALIVE = "A still picture: this figure is alive, with JavaScript, on the page"


def names(pagename, kinds):
    """Names of the stills of a page's widgets, given their classes' names in the page's order."""
    seen = Counter()
    for kind in kinds:
        seen[kind] += 1
        yield f"{posixpath.basename(pagename)}-{kind}" + (f"-{seen[kind]}" if seen[kind] > 1 else "")


def describe(identifier):
    """What a widget (identifier: such as gentut.widgets.vae.LatentGrid) shows: the start of its class's docstring."""
    module, _, name = identifier.rpartition(".")
    paragraph = inspect.getdoc(getattr(importlib.import_module(module), name)).split("\n\n")[0]
    return " ".join(paragraph.replace("`", "").split())


def models(scripts):
    """The widget models in a page's scripts, by their identifiers."""
    bodies = (getattr(script, "attributes", {}) for script in scripts)
    saved = (json.loads(a["body"])["state"] for a in bodies if a.get("type") == STATE)
    return {name: model["state"] for state in saved for name, model in state.items()}


def widgets(body, states):
    """[(match, identifier)] of the views in a page's HTML whose model is an anywidget of this book."""
    found = [(match, states.get(json.loads(match[1])["model_id"], {})) for match in VIEW.finditer(body)]
    return [(match, state["_anywidget_id"]) for match, state in found if "_anywidget_id" in state]


def picture(still, text, context):
    """The HTML of one still."""
    place, uri = context.get("pageurl") or "", f"_static/stills/{still}.webp"
    path = FOLDER / f"{still}.webp"
    shown = f"<p>{html.escape(text)}</p>"
    if path.is_file():
        with Image.open(path) as image:
            width, height = image.size
        shown = (
            f'<img src="{html.escape(context["pathto"](uri, 1))}" alt="{html.escape(text)}" loading="lazy"'
            f' width="{width}" height="{height}">'
        )
    else:
        logger.info("%s is missing: run `make stills`", path.relative_to(FOLDER.parents[2]))
    where = f' <a href="{html.escape(place)}">{html.escape(place)}</a>' if place else ""
    caption = f"<figcaption>{ALIVE}{where}.</figcaption>"
    return f'<noscript class="gentut-still"><figure class="gentut-still">{shown}{caption}</figure></noscript>'


def put_in(app, pagename, templatename, context, doctree):
    """Put after each widget's place its still; remember the page's first one for those who link to the page."""
    body = context.get("body") or ""
    found = widgets(body, models(context.get("script_files", [])))
    if not found:
        return
    stills = list(names(pagename, [identifier.rpartition(".")[2] for _, identifier in found]))
    parts, end = [], 0
    for (match, identifier), still in zip(found, stills, strict=True):
        parts += [body[end : match.end()], picture(still, describe(identifier), context)]
        end = match.end()
    context["body"] = "".join([*parts, body[end:]])
    context["gentut_still"] = next(
        ((still, describe(identifier)) for still, (_, identifier) in zip(stills, found, strict=True)
         if (FOLDER / f"{still}.webp").is_file()), None,
    )
