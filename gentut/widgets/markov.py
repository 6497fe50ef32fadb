"""The Markov chapter's widget: a chain to edit, to walk on, and to follow to its stationary distribution."""

import anywidget
import traitlets

from gentut import Error, checks
from gentut.markov import DISHES, RESTAURANT, validate

from . import base

FEWEST, MOST = 2, 5  # states
MOST_STEPS = 200  # of pi_t
MOST_WALKED = 10_000


class MarkovChain(anywidget.AnyWidget):
    """A chain of 2 to 5 states: its graph and a walker, its matrix to edit, pi_t on its way, and its eigenvalues.

    A: the transition matrix (k, k), the restaurant by default; an edited row keeps the sum 1. names: of the states, k
    different ones, by default "1", "2", ... start: the state (0 to k - 1) that walker and pi_0 start in.

    In a notebook all three may be read and set, and so may `t` (steps of pi_t, 0 to 200), `walked` (steps of the
    walker, 0 to 10,000) and `seed`, which decides where the walker goes. A new A with another number of states brings
    names and, if need be, start back to their defaults.

    Raises Error for a matrix that gentut.markov.validate refuses, for fewer or more states, and for names or a start
    that do not fit.
    """

    _esm = base.esm("markov-chain.js")
    _css = base.css("common.css", "plot.css", "markov.css")

    A = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # (k, k)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    start = traitlets.Int(1).tag(sync=True)
    t = traitlets.Int(0, min=0, max=MOST_STEPS).tag(sync=True)
    walked = traitlets.Int(0, min=0, max=MOST_WALKED).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    most = traitlets.List(traitlets.Int(), [MOST_STEPS, MOST_WALKED]).tag(sync=True)

    def __init__(self, A=None, names=None, start=1, **more):
        if A is None:
            A, names = RESTAURANT, DISHES if names is None else names
        A = _chain(A)
        names = _names(_numbered(len(A)) if names is None else names, len(A))
        super().__init__(A=A, names=names, start=_start(start, len(A)), **more)

    @traitlets.validate("A")
    def _valid_chain(self, proposal):
        return _chain(proposal["value"])

    @traitlets.validate("names")
    def _valid_names(self, proposal):
        return _names(proposal["value"], len(self.A))

    @traitlets.validate("start")
    def _valid_start(self, proposal):
        return _start(proposal["value"], len(self.A))

    @traitlets.observe("A")
    def _fit(self, change):
        k = len(change["new"])
        if len(self.names) != k:
            self.names = _numbered(k)
        if not 0 <= self.start < k:
            self.start = 1


def _chain(A):
    """The matrix as lists, if it is one of 2 to 5 states."""
    A = validate(A)
    if not FEWEST <= len(A) <= MOST:
        raise Error(f"A must have {FEWEST} to {MOST} states, got {len(A)}")
    return A.tolist()


def _numbered(k):
    return [str(i + 1) for i in range(k)]


def _names(names, k):
    """The names as a list of k different texts."""
    given = names
    names = None if isinstance(names, str) else [str(name) for name in _iterated(names)]
    if names is None or len(names) != k or len(set(names)) != k or not all(name.strip() for name in names):
        raise Error(f"names must be {k} different names, one a state, got {given!r}")
    return names


def _iterated(names):
    try:
        return list(names)
    except TypeError:
        return []


def _start(start, k):
    start = checks.whole(start, "start")
    if start >= k:
        raise Error(f"start must be a state from 0 to {k - 1}, got {start}")
    return start
