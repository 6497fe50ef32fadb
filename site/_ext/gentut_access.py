"""Sphinx extension: small repairs to the theme's HTML for readers who use a screen reader or no mouse.

`reach.js` goes with it: it gives the Tab key a stop at each box that scrolls sideways.
"""

import re
from pathlib import Path

# (what the theme or docutils writes, what it should be), as regular expressions.
REPAIRS = [
    # The name that is read out must hold the words that are seen: "Search Ctrl+K", not "Search".
    (r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"', r"\1"),
    # The icons of the button "Color mode" bring names that belong to modes which are not shown.
    (r'(<i class="theme-switch [^>]*?)\s+title="[^"]*"', r'\1 aria-hidden="true"'),
    # Everything lies in a landmark: the logo too.
    (r'(<div class="sidebar-primary-item")(?=>\s*<a class="navbar-brand)', r'\1 role="navigation" aria-label="Home"'),
    # The corner of a table is a heading of nothing.
    (r"<th\b([^>]*)>(\s*(?:<p>\s*</p>)?\s*)</th>", r"<td\1>\2</td>"),
]


def repair(text: str) -> str:
    """The HTML of a page with all repairs; scripts, which may quote HTML, stay as they are."""
    parts = re.split(r"(<script\b.*?</script>)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        for old, new in REPAIRS:
            parts[i] = re.sub(old, new, parts[i])
    return "".join(parts)


def repair_pages(app, exception):
    """Repair every page that was written."""
    if exception or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        new = repair(text)
        if new != text:
            page.write_text(new, encoding="utf-8")


def setup(app):
    """Connect the functions above."""
    app.add_js_file("reach.js", defer="defer")
    app.connect("build-finished", repair_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
