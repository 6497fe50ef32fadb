"""Link the glossary's terms where the chapters first use them: python site/glossary_links.py

A chapter links each term that it introduces, and the terms of earlier chapters that a reader may have forgotten, once:
at the first place in its text. Not in headings, formulas, code, tables, boxes written as HTML, links, the reading list.
Run it after changing a chapter's text or `book/glossary.md`; a second run changes nothing, and a test asks for that.
"""

import json
import re
import sys
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1] / "book"
CHAPTERS = ("probability", "information", "variational", "markov", "pixelcnn", "vae", "gan", "diffusion", "ddpm")

# How a chapter names a term when it introduces it, where that is not the term itself. Only that chapter is searched.
ITS_OWN_WORDS = {
    "Active unit": ["active"],
    "Ancestral sampling": ["ancestral"],
    "Autoregressive model": ["autoregressive"],
    "Conditional distribution": ["conditional"],
    "Discriminator score": ["score"],
    "Explicit density": ["explicit"],
    "Huffman code": ["Huffman"],
    "Implicit density": ["implicit"],
    "Information": ["information"],
    "Joint distribution": ["joint"],
    "Marginal distribution": ["marginal"],
    "Non-saturating loss": ["non-saturating"],
    "One-hot distribution": ["one-hot"],
    "Posterior collapse": ["collapsed"],
    "Saturating loss": ["saturating"],
    "Score-function estimator": ["score-function"],
    "Spherical interpolation": ["spherical"],
    "Stationary distribution": ["stationary"],
    "Truncated normal distribution": ["truncated normal"],
}
# Terms that are everyday words too: linked by the chapter that introduces them, and by no other.
ONCE = {
    "Bit", "Chain rule", "Code", "Density", "Epoch", "Evidence", "Expectation", "Features", "Floor", "Gate",
    "Generator", "Guidance", "Independent", "Information", "Level", "Likelihood", "Lower bound", "Mask",
    "Mixture", "Mode", "Nat", "Period", "Precision", "Recall", "Reversible", "Schedule", "Score", "Seed",
    "State", "Temperature", "Transient", "Validation",
}  # fmt: skip

# A word that means something else in a chapter.
NOT_HERE = {("ddpm", "Prior")}

LINK = re.compile(r"\[([^\]]+)\]\(glossary\.md#[^)\s]+\)")
# What a link may not be put into. The reading list is cut off before.
CLOSED = re.compile(
    r"```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|<div class=\"admonition.*?</div>|<summary>.*?</summary>|<[^>]+>"
    r"|!?\[[^\]]*\]\([^)]*\)|^#.*?$|^\|.*?$|^\s*\*\*You need:\*\*.*?$|^\*\*This unlocks:\*\*.*?(?=\n\n|\Z)",
    re.DOTALL | re.MULTILINE,
)


def slug(title):
    """The anchor that GitHub and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def terms(text=None):
    """title -> (other names, Chinese, chapter, definition), in the order of the glossary (or of a text like it)."""
    text = text if text is not None else (BOOK / "glossary.md").read_text(encoding="utf-8")
    entry = re.compile(
        r'^### (.+)\n\n<span lang="zh">(.+)</span>(?: · also: (.+))? · \[.+\]\((\w+)\.ipynb\)\\\n(.+)$', re.MULTILINE
    )
    found = {}
    for title, chinese, also, chapter, definition in entry.findall(text):
        found[title] = (also.split(", ") if also else [], chinese, chapter, definition)
    return found


def pattern(form):
    """Finds a form of a term as words of their own. Names in capitals are found as they are, the rest in any case."""
    words = r"\s+".join(map(re.escape, form.split()))
    if sum(c.isupper() for c in form) < 2 or " " in form:
        words = f"(?i:{words})"
    return rf"(?<![\w\-]){words}(?:s|es)?(?![\w\-])"


def searched(chapter, glossary):
    """(title, form) for each form that a chapter's text is searched for, the longest forms first."""
    forms = []
    for title, (also, _, introduced_in, _) in glossary.items():
        if (chapter, title) in NOT_HERE:
            continue
        here = introduced_in == chapter
        if here or (title not in ONCE and CHAPTERS.index(introduced_in) < CHAPTERS.index(chapter)):
            own = ITS_OWN_WORDS.get(title, []) if here else []
            forms += [(title, form) for form in (title, *also, *own)]
    return sorted(forms, key=lambda pair: -len(pair[1]))


def blanked(text):
    """The text with everything that may not hold a link blanked out, of the same length."""
    text = re.split(r"^## Further reading$", text, flags=re.MULTILINE)[0].ljust(len(text))
    return CLOSED.sub(lambda m: re.sub(r"[^\n]", "\0", m[0]), text)


def link(texts, chapter, glossary):
    """Markdown cells with the links as they should be, and the titles that were linked. The first box is left alone."""
    texts = [LINK.sub(r"\1", text) for text in texts]
    forms = searched(chapter, glossary)
    linked = set()
    for k, text in enumerate(texts):
        if 'class="admonition-title">What you will be able to do' in text:
            continue
        open_text, found = blanked(text), []
        taken = [False] * len(text)
        for title, form in forms:  # a longer form keeps its words from a shorter one
            for match in re.finditer(pattern(form), open_text):
                if not any(taken[match.start() : match.end()]):
                    taken[match.start() : match.end()] = [True] * (match.end() - match.start())
                    found.append((match.start(), match.end(), title))
        first = []
        for start, end, title in sorted(found):
            if title not in linked:
                linked.add(title)
                first.append((start, end, title))
        for start, end, title in reversed(first):
            text = f"{text[:start]}[{text[start:end]}](glossary.md#{slug(title)}){text[end:]}"
        texts[k] = text
    return texts, linked


def relink(notebook, chapter, glossary):
    """Renew the links of a notebook (a dict, changed in place). Returns the titles that it links."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    texts, linked = link(["".join(cell["source"]) for cell in cells], chapter, glossary)
    for cell, text in zip(cells, texts, strict=True):
        cell["source"] = text.splitlines(keepends=True)
    return linked


def main():
    """Renew the links of all chapters, or of those that are named."""
    glossary = terms()
    for chapter in sys.argv[1:] or CHAPTERS:
        path = BOOK / f"{chapter}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        linked = relink(notebook, chapter, glossary)
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        missing = [t for t, (_, _, home, _) in glossary.items() if home == chapter and t not in linked]
        print(f"{chapter}: {len(linked)} terms linked" + (f"; never used: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
