"""The variational chapter's widget: a q to move and widen under its ceiling, log p(x)."""

import math
import numbers

import anywidget
import traitlets

from gentut import Error

from . import base

REACH = {"x": (-1, 4), "loc": (-2, 5), "scale": (0.2, 3)}  # where the handles go, and what one may start from
LIMITS = {"x": (-1, 4), "loc": (-3, 7), "scale": (0.1, 5)}  # what the chart shows: gradient ascent stays within


def _within(value, name, limits):
    """The value as a float within the limits of its name; raises Error for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise Error(f"{name} must be a finite number, got {value!r}")
    low, high = limits[name]
    if not low <= value <= high:
        raise Error(f"{name} must lie between {low} and {high}, got {value!r}")
    return float(value)


class ElboExplorer(anywidget.AnyWidget):
    """q(z) = N(loc, scale²) cut off below 0, moved by hand or by gradient ascent, and the stack ELBO + KL = log p(x).

    x: what was observed, -1 to 4. loc: -2 to 5. scale: 0.2 to 3, both of the normal before it is cut. In a notebook all
    three may be read and set; `start` holds the [x, loc, scale] that the button Reset goes back to. One step on the
    page is gentut.variational.ascend with its rate of 0.1.

    Raises Error for anything but finite numbers in these ranges.
    """

    _esm = base.esm("variational-elbo-explorer.js")
    _css = base.css("common.css", "plot.css", "variational.css")

    x = traitlets.Float(1.5).tag(sync=True)
    loc = traitlets.Float(2.5).tag(sync=True)
    scale = traitlets.Float(0.6).tag(sync=True)
    start = traitlets.List(traitlets.Float(), [1.5, 2.5, 0.6], minlen=3, maxlen=3).tag(sync=True)

    def __init__(self, x=1.5, loc=2.5, scale=0.6, **more):
        given = {"x": x, "loc": loc, "scale": scale}
        given = {name: _within(value, name, REACH) for name, value in given.items()}
        super().__init__(**{"start": list(given.values()), **given, **more})

    @traitlets.validate("x", "loc", "scale")
    def _shown(self, proposal):
        return _within(proposal["value"], proposal["trait"].name, LIMITS)
