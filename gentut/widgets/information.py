"""The information chapter's widgets: bars of two distributions, and two Gaussians with the divergence between them."""

import anywidget
import torch
import traitlets

from gentut import Error, checks, choose

from . import base

FEWEST, MOST = 2, 6  # outcomes
MEANS, SIGMAS = (-3.0, 3.0), (0.1, 4.0)  # what KLNormals shows
DIRECTIONS = ("forward", "reverse")


class _Refused(Error, traitlets.TraitError):
    """An Error that traitlets knows too: setting several traits at once is then undone as a whole."""


def _checked(check):
    """A traitlets validator out of a check of (widget, name of the trait, value) that raises Error."""

    def validate(self, proposal):
        try:
            return check(self, proposal["trait"].name, proposal["value"])
        except Error as why:
            raise _Refused(str(why)) from None

    return validate


class InformationBars(anywidget.AnyWidget):
    """Two distributions as bars to drag: information of each outcome, entropies, cross-entropy, divergences.

    p: the true distribution, q: the guess, each 2 to 6 probabilities; names: the outcomes'. Without names two outcomes
    are heads and tails, six are 1 to 6, others A, B, C, ... In a notebook `widget.p`, `widget.q` and `widget.names` may
    be read and set; `widget.show(p, q, names)` sets all three, which another number of outcomes needs.

    Raises Error for anything but two distributions over the same outcomes, and for names that are not different words.
    """

    _esm = base.esm("information-bars.js")
    _css = base.css("common.css", "plot.css", "information.css")

    p = traitlets.List(traitlets.Float(), [0.5, 0.5]).tag(sync=True)
    q = traitlets.List(traitlets.Float(), [0.2, 0.8]).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), ["heads", "tails"]).tag(sync=True)

    def __init__(self, p=(0.5, 0.5), q=(0.2, 0.8), names=None, **more):
        super().__init__(**_bars(p, q, names), **more)

    def show(self, p, q, names=None):
        """Show two other distributions."""
        with self.hold_trait_notifications():
            for name, value in _bars(p, q, names).items():
                setattr(self, name, value)

    @traitlets.validate("p", "q", "names")
    @_checked
    def _validate(self, name, value):
        value = _names(value) if name == "names" else _distribution(value, name)
        sizes = {each: len(value if each == name else getattr(self, each)) for each in ("p", "q", "names")}
        if len(set(sizes.values())) > 1:
            given = ", ".join(f"{each} {size}" for each, size in sizes.items())
            raise Error(f"p, q and names must have as many outcomes as each other, got {given}: show(p, q) sets all")
        return value


class KLNormals(anywidget.AnyWidget):
    """Two Gaussian densities to drag, and the integrand whose signed area is the divergence between them.

    p, q: (mean, sigma), means from -3 to 3, sigmas from 0.1 to 4. direction: "forward" for D(p ‖ q) and its integrand
    p log(p / q), "reverse" for D(q ‖ p). In a notebook all three may be read and set.

    Raises Error for other numbers and another direction.
    """

    _esm = base.esm("information-normals.js")
    _css = base.css("common.css", "plot.css", "information.css")

    p = traitlets.List(traitlets.Float(), [0.0, 1.0]).tag(sync=True)
    q = traitlets.List(traitlets.Float(), [1.5, 0.7]).tag(sync=True)
    direction = traitlets.Unicode("forward").tag(sync=True)

    def __init__(self, p=(0.0, 1.0), q=(1.5, 0.7), direction="forward", **more):
        p, q = _normal(p, "p"), _normal(q, "q")
        super().__init__(p=p, q=q, direction=choose("direction", direction, DIRECTIONS), **more)

    @traitlets.validate("p", "q", "direction")
    @_checked
    def _validate(self, name, value):
        return choose(name, value, DIRECTIONS) if name == "direction" else _normal(value, name)


def _bars(p, q, names):
    """The traits of InformationBars."""
    p, q = _distribution(p, "p"), _distribution(q, "q")
    if len(p) != len(q):
        raise Error(f"p and q must have as many outcomes as each other, got {len(p)} and {len(q)}")
    names = _names(_usual(len(p)) if names is None else names)
    if len(names) != len(p):
        raise Error(f"names must be {len(p)}, one an outcome, got {len(names)}")
    return {"p": p, "q": q, "names": names}


def _usual(n):
    """Names for n outcomes that were given none."""
    return ["heads", "tails"] if n == 2 else [str(i + 1) for i in range(n)] if n == 6 else list("ABCDEF"[:n])


def _distribution(p, name):
    """2 to 6 probabilities as a list of Python's floats, which sum to 1 as closely as float64 can."""
    p = checks.probabilities(p, name)
    if p.ndim != 1 or not FEWEST <= len(p) <= MOST:
        raise Error(f"{name} must be {FEWEST} to {MOST} probabilities, got the shape {tuple(p.shape)}")
    if p.dtype != torch.float64:  # single precision leaves the sum off by more than float64 is allowed
        p = p.double() / p.double().sum()
    return p.tolist()


def _names(names):
    """Different, non-empty names as a list."""
    if isinstance(names, str):
        raise Error(f"names must be a list of names, one an outcome, got the one {names!r}")
    names = [str(name) for name in names]
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise Error(f"names must be different from each other and not empty, got {names}")
    return names


def _normal(given, name):
    """[mean, sigma] within what the charts show."""
    pair = checks.finite(given, name)
    if tuple(pair.shape) != (2,):
        raise Error(f"{name} must be a pair (mean, sigma), got the shape {tuple(pair.shape)}")
    mean, sigma = pair.tolist()
    for what, value, (low, high) in (("mean", mean, MEANS), ("sigma", sigma, SIGMAS)):
        if not low <= value <= high:
            raise Error(f"the {what} of {name} must lie between {low:g} and {high:g}, got {value:g}")
    return [mean, sigma]
