"""The probability chapter's widgets: a dart board to slice, and an urn whose share of red balls is to be estimated."""

import math
import numbers

import anywidget
import torch
import traitlets

from gentut import Error, checks, choose
from gentut.probability import DARTS

from . import base

AXES = ("x", "y")
BALLS = 10  # in the urn
MOST_DARTS = 5000
MOST_DRAWS = 10_000


def _reach(board):
    """Half the width of the map: every lump's mean ± 3 standard deviations, rounded up to a half."""
    deviations = board.covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    return math.ceil(2 * (board.means.abs() + 3 * deviations).max().item()) / 2


REACH = _reach(DARTS)


class DartBoard(anywidget.AnyWidget):
    """Where a dart lands: the joint density of gentut.probability.DARTS, its marginals, and a slice to drag.

    x, y: the cross, from -2.5 to 2.5. axis: what is given, "x" for the vertical slice x = given, whose conditional
    p(y | x) is drawn beside p(y); "y" for the other way round. In a notebook all three may be read and set, and so may
    `thrown`, the number of darts (0 to 5,000), and `seed`, which decides where they land.

    Raises Error for a point off the map or another axis.
    """

    _esm = base.esm("probability-dart-board.js")
    _css = base.css("common.css", "plot.css", "probability.css")

    weights = traitlets.List(traitlets.Float()).tag(sync=True)  # (k,)
    means = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # (k, 2)
    covariances = traitlets.List(traitlets.List(traitlets.List(traitlets.Float()))).tag(sync=True)  # (k, 2, 2)
    reach = traitlets.Float(REACH).tag(sync=True)  # the map shows -reach to reach on both axes
    x = traitlets.Float(-0.6, min=-REACH, max=REACH).tag(sync=True)
    y = traitlets.Float(-0.5, min=-REACH, max=REACH).tag(sync=True)
    axis = traitlets.Enum(AXES, "x").tag(sync=True)
    thrown = traitlets.Int(0, min=0, max=MOST_DARTS).tag(sync=True)
    most = traitlets.Int(MOST_DARTS).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def __init__(self, x=-0.6, y=-0.5, axis="x", **more):
        density = {name: getattr(DARTS, name).tolist() for name in ("weights", "means", "covariances")}
        x, y = (_between(v, name, -REACH, REACH) for v, name in ((x, "x"), (y, "y")))
        super().__init__(x=x, y=y, axis=choose("axis", axis, AXES), **density, **more)


class Urn(anywidget.AnyWidget):
    """An urn of ten balls, draws from it, and the likelihood of its share of red balls.

    red, blue: what was drawn, at most 10,000 together. theta: the true share of red balls, 0, 0.1, ..., 1. In a
    notebook all three may be read and set, and so may `draws` (the draws in their order, such as "rbb"; where it
    does not count `red` and `blue`, some order is made), `replacement` (whether a ball is put back after each draw),
    `shown` (whether the urn is of glass), `guess` (a theta to compare with the best one) and `seed`.

    Raises Error for counts that are no whole numbers or too many, and for a share that ten balls cannot have.
    """

    _esm = base.esm("probability-urn.js")
    _css = base.css("common.css", "plot.css", "probability.css")

    red = traitlets.Int(30, min=0, max=MOST_DRAWS).tag(sync=True)
    blue = traitlets.Int(70, min=0, max=MOST_DRAWS).tag(sync=True)
    theta = traitlets.Float(0.3, min=0, max=1).tag(sync=True)
    guess = traitlets.Float(0.4, min=0, max=1).tag(sync=True)
    draws = traitlets.Unicode("").tag(sync=True)
    replacement = traitlets.Bool(True).tag(sync=True)
    shown = traitlets.Bool(True).tag(sync=True)
    balls = traitlets.Int(BALLS).tag(sync=True)
    most = traitlets.Int(MOST_DRAWS).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def __init__(self, red=30, blue=70, theta=0.3, **more):
        red, blue = checks.whole(red, "red"), checks.whole(blue, "blue")
        if red + blue > MOST_DRAWS:
            raise Error(f"red + blue must be at most {MOST_DRAWS}, got {red + blue}")
        super().__init__(red=red, blue=blue, theta=_tenth(theta), **more)

    @traitlets.validate("theta")
    def _whole_balls(self, proposal):
        return _tenth(proposal["value"])


def _tenth(theta):
    """The share of red balls that an urn of ten can have."""
    theta = _between(theta, "theta", 0, 1)
    count = round(BALLS * theta)
    if abs(count - BALLS * theta) > 1e-9:
        raise Error(f"theta must be a whole number of tenths, as the urn holds {BALLS} balls, got {theta:g}")
    return count / BALLS


def _between(value, name, low, high):
    """A number from low to high as a float; raises Error for anything else."""
    if torch.is_tensor(value) and value.ndim == 0:
        value = value.item()
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not low <= value <= high:
        raise Error(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)
