"""The book's matplotlib style and the few pictures that several chapters draw.

One colour, one meaning: DATA is what was given, LEARNED is what a network made of it, NOISE is what was drawn at
random, TRUTH is what the theory says. The four, and the ten of CLASSES, stay apart for colour-blind readers, and no
picture relies on colour alone. Figures have a white ground of their own, so they read the same on a dark page.
"""

import html

import numpy as np
import torch

from gentut import Error

DATA = "#0072b2"  # blue
LEARNED = "#d55e00"  # vermilion
NOISE = "#009e73"  # green
TRUTH = "#4d4d4d"  # dark grey
CLASSES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip


def style():
    """Set matplotlib's defaults for the book. Call it once, in a chapter's first cell."""
    import matplotlib

    matplotlib.rcParams.update({
        "figure.figsize": (7.2, 3.0),
        "figure.dpi": 110,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "axes.facecolor": "white",
        "axes.edgecolor": "#7a7a7a",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "axes.grid": False,
        "axes.prop_cycle": matplotlib.cycler(color=[LEARNED, DATA, NOISE, TRUTH]),
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
    })


# ------------------------------------------------------------------------------------------------------------ pictures


def sheet(images, columns, gap=1):
    """Lay pictures out on one sheet, row by row, as a numpy array (height, width) in [0, 1].

    images: (n, 28, 28) or (n, 1, 28, 28), uint8 or float; the last row is filled up with white. `gap` is the width of
    the white lines between the pictures, in pixels.
    """
    images = torch.as_tensor(images).detach().cpu()
    if images.dtype == torch.uint8:
        images = images.float() / 255
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or not len(images):
        raise Error(f"expected pictures of shape (n, height, width) or (n, 1, ...), got {tuple(images.shape)}")
    if columns < 1:
        raise Error(f"columns must be at least 1, got {columns}")
    n, height, width = images.shape
    rows = -(-n // columns)
    page = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap), dtype=np.float32)
    for k, image in enumerate(images.float().clamp(0, 1).numpy()):
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def tiles(images, columns=None, title=None, ax=None, gap=1):
    """Show pictures side by side, `columns` to a row (default: all in one row). Returns the axes."""
    ax = ax or _axes()
    ax.imshow(sheet(images, columns or len(images), gap), vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title, loc="left")
    return ax


def strips(rows, title=None):
    """Show several rows of pictures, each with its name at the left. rows: name → pictures. Returns the axes."""
    import matplotlib.pyplot as plt

    columns = max(len(images) for images in rows.values())
    _, axes = plt.subplots(len(rows), 1, figsize=(7.2, 7.0 / columns * len(rows) + 0.1 + 0.25 * bool(title)))
    axes = np.atleast_1d(axes)
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        tiles(images, columns, ax=ax)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    if title:
        axes[0].set_title(title, loc="left")
    return axes


# -------------------------------------------------------------------------------------------------------- codes, curves


def codes(z, labels, ax=None, title=None, size=3):
    """Scatter 2-D codes (n, 2), a colour for each of the ten classes and its digit at the median of its codes."""
    ax = ax or _axes((4.6, 4.2))
    z, labels = np.asarray(torch.as_tensor(z).detach().cpu()), np.asarray(torch.as_tensor(labels).cpu())
    if z.ndim != 2 or z.shape[1] != 2 or len(z) != len(labels):
        raise Error(f"expected codes (n, 2) and n labels, got {z.shape} and {labels.shape}")
    ax.scatter(z[:, 0], z[:, 1], s=size, c=[CLASSES[k % 10] for k in labels], linewidths=0, alpha=0.7, rasterized=True)
    for k in np.unique(labels):
        ax.text(
            *np.median(z[labels == k], axis=0), str(k), ha="center", va="center", fontsize=10, fontweight="bold",
            clip_on=True,  # where the axes show a part of the codes only
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": CLASSES[k % 10], "alpha": 0.85},
        )  # fmt: skip
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    if title:
        ax.set_title(title, loc="left")
    return ax


def learning_curves(run, name="loss", ax=None, label="nats per image"):
    """Plot one quantity of a run against the epoch: while training, and on the pictures held out for validation.

    Rings the validation point whose weights were kept, if the run keeps the best. Returns the axes.
    """
    ax = ax or _axes((5.4, 3.0))
    train = [(row["epoch"], row[name]) for row in run.history if name in row]
    if not train:
        known = sorted({key for row in run.history for key in row})
        raise Error(f"the run has no quantity {name!r}; it has: {', '.join(known)}")
    ax.plot(*zip(*train, strict=True), color=LEARNED, label="training (running mean)")
    held = [(row["epoch"], row[f"validation_{name}"]) for row in run.history if f"validation_{name}" in row]
    if held:
        ax.plot(*zip(*held, strict=True), color=DATA, marker="o", markersize=3.5, linestyle="--", label="validation")
        if run.config.keep_best:
            best = min((r for r in run.history if "validation_loss" in r), key=lambda r: r["validation_loss"])
            ax.plot(
                best["epoch"], best[f"validation_{name}"], "o", markersize=12, markerfacecolor="none",
                markeredgecolor=TRUTH, label="kept (best on validation)",
            )  # fmt: skip
    ax.set(xlabel="epoch", ylabel=label)
    ax.legend()
    return ax


# --------------------------------------------------------------------------------------------------------------- tables


# Of a cell that stays while the table is scrolled; the grounds are those of the site, of JupyterLab, of anything else.
STAYS = ("text-align: left; font-weight: normal; white-space: nowrap; position: sticky; left: 0; "
         "background: var(--pst-color-background, var(--jp-layout-color0, Canvas))")


class Table:
    """A table that reads well in a notebook, on the page and as plain text: rows of values under headings.

    Floats are shown with `digits` decimals (one number for all columns, or one for each); None is shown as a dash.
    groups: (title, number of columns) from left to right, for a row of titles above the headings.
    """

    def __init__(self, headings, rows, caption=None, digits=1, groups=None):
        self.headings, self.rows, self.caption, self.groups = list(headings), [list(r) for r in rows], caption, groups
        self.digits = [digits] * len(self.headings) if isinstance(digits, int) else list(digits)
        for row in self.rows:
            if len(row) != len(self.headings):
                raise Error(f"a row has {len(row)} values, but there are {len(self.headings)} headings: {row}")
        if len(self.digits) != len(self.headings):
            raise Error(f"digits are needed for {len(self.headings)} columns, got {len(self.digits)}")
        if groups and sum(span for _, span in groups) != len(self.headings):
            raise Error(f"the groups span {sum(span for _, span in groups)} of {len(self.headings)} columns")

    def _text(self, value, digits):
        if value is None:
            return "–"
        if isinstance(value, float):
            return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

    def _texts(self, row):
        return [self._text(value, digits) for value, digits in zip(row, self.digits, strict=True)]

    def _is_number(self, column):
        return all(isinstance(row[column], (int, float, type(None))) for row in self.rows)

    def _repr_html_(self):
        kind = ["right" if self._is_number(i) else "left" for i in range(len(self.headings))]

        def cells(texts, tag, more=""):
            def whole(text):  # a name such as vae-2d is not broken
                return more or ("; white-space: nowrap" if "-" in text and " " not in text else "")

            pairs = zip(texts, kind[-len(texts):], strict=True)
            return "".join(f'<{tag} style="text-align: {k}{whole(t)}">{html.escape(t)}</{tag}>' for t, k in pairs)

        def row(texts):  # where a wide table is scrolled sideways, its first column stays
            if not self.groups:
                return f"<tr>{cells(texts, 'td')}</tr>"
            first = f'<th scope="row" style="{STAYS}">{html.escape(texts[0])}</th>'
            return f"<tr>{first}{cells(texts[1:], 'td', '; white-space: nowrap')}</tr>"

        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        above = "".join(
            f'<th colspan="{span}" scope="colgroup" style="text-align: left">{html.escape(title)}</th>' if title else
            f'<td colspan="{span}"></td>' for title, span in self.groups or ())
        body = "".join(row(self._texts(values)) for values in self.rows)
        head = f"<thead>{f'<tr>{above}</tr>' if above else ''}<tr>{cells(self.headings, 'th')}</tr></thead>"
        return f'<table class="table">{caption}{head}<tbody>{body}</tbody></table>'

    def __repr__(self):
        table = [self.headings, *map(self._texts, self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.headings))]
        lines = ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join(([self.caption] if self.caption else []) + [lines[0], "-" * len(lines[0]), *lines[1:]])

    def markdown(self):
        """The table in Markdown, for a README; without its caption and its groups."""
        marks = ["--:" if self._is_number(i) else "---" for i in range(len(self.headings))]
        rows = [self.headings, marks, *map(self._texts, self.rows)]
        return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in row) + " |" for row in rows)


def _axes(size=None):
    """New axes on a figure of their own."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size)[1]
