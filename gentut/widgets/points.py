"""The diffusion chapter's plane: points under noise and out of it again, and the learned noise as a field of arrows."""

import math
import numbers
import warnings

import anywidget
import numpy as np
import torch
import traitlets

from gentut import Error, checks, choose, diffusion, points

from . import base

STARTS = ("data", "noise")
ARROWS = ("noise", "step", "none")
MOST_POINTS = 1000  # of the data, and of what moves: more are drawn slower than the eye follows
MOST_OWN = 30  # points that a reader may drop
MOST_TURNS = 12
MOST_STEPS = 1000
FARTHEST = 100.0  # no dropped point lies further out, in units of x
MOST_BYTES = 700_000
SEEDS = 2**31 - 1
OWN = 2**16  # added to the number of a leg: dropped points have noise of their own


def noise(seed, leg, t, n, own=False):
    """The ε that the widget draws: (n, 2) float64 from N(0, I), a function of its arguments.

    seed: the widget's. leg: 0 up to the first turn, 1 after it, and so on. t: the time that the points come to; T with
    leg 0 also gives x_T where they start at noise. own: for the points that the reader dropped. Uniform numbers come
    from `base.uniforms`, and Box and Muller's formula makes a normal one of each two.
    """
    leg = leg + OWN if own else leg
    stream = (seed * 0x9E3779B1 + leg * 0x85EBCA77 + t * 0xC2B2AE3D) & 0xFFFFFFFF
    u = np.array(base.uniforms(stream, 4 * n)).reshape(-1, 2)
    return torch.from_numpy(np.sqrt(-2 * np.log1p(-u[:, 0])) * np.cos(2 * np.pi * u[:, 1])).view(n, 2)


class DiffusionField(anywidget.AnyWidget):
    """Points in the plane on their way from data to noise and back, and the noise that a network sees at every place.

    Made by `DiffusionField.from_net`. A run begins at the data (t = 0) and moves forward along the chain, or begins at
    N(0, I) (t = T) and moves back; it may turn around on its way. So what is shown is a function of these, which a
    notebook may read and set:
        start     "data" or "noise"
        turns     the times at which the run turned around, a list
        t         the time that is shown; a time before the last turn takes that turn back
        schedule  the name of one of the schedules
        eta       0 for DDIM's step back, 1 for DDPM's, or between
        seed      of all that is drawn at random: see `noise`
        dropped   the reader's own points, a list of [x, y, t, leg]: where, when and after how many turns
        arrows    "noise" (where the network would take noise away, -ε), "step" (DDIM's next step) or "none"
        trails    whether each point draws its way
        zoom      whether the window follows the points; `scale` is half its side where it does not
        speed     steps in a second while it plays

    Raises Error for values that do not fit.
    """

    _esm = base.esm("points-field.js")
    _css = base.css("common.css", "plot.css", "points.css")

    network = traitlets.Dict().tag(sync=True)
    raw = traitlets.Bytes().tag(sync=True)
    schedules = traitlets.List(traitlets.Dict()).tag(sync=True)
    known = traitlets.Int(0).tag(sync=True)  # points of the data, behind the weights in `raw`
    count = traitlets.Int(0).tag(sync=True)  # points that move
    schedule = traitlets.Unicode().tag(sync=True)
    start = traitlets.Unicode("noise").tag(sync=True)
    turns = traitlets.List(traitlets.Int()).tag(sync=True)
    t = traitlets.Int(0).tag(sync=True)
    eta = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    dropped = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    arrows = traitlets.Unicode("noise").tag(sync=True)
    trails = traitlets.Bool(False).tag(sync=True)
    zoom = traitlets.Bool(True).tag(sync=True)
    scale = traitlets.Float(1.0).tag(sync=True)
    speed = traitlets.Float(25.0).tag(sync=True)

    @classmethod
    def from_net(cls, net, data, *, schedules=None, schedule=None, start="noise", t=None, eta=0.0, seed=1, count=400,
                 scale=None):
        """Make the widget from a network and its data.

        net: a points.Net, as points.train gives it without a schedule: it must know all noise levels. data: (n, 2),
        what the chain starts from; of more than 1,000 points the first 1,000 are sent. schedules: {name:
        diffusion.Schedule}, all with one T of at most 1,000; by default cosine, linear and the notes' sigmoid, T = 100.
        schedule: the name of the one that is shown first. start, t, eta, seed: see the class; t is where the run
        begins, by default. count: points that move, at most 1,000. scale: half the side of a window that stands still;
        by default one that follows the points. Weights travel as float16. Raises Error for anything else.
        """
        if not isinstance(net, points.Net):
            raise Error(f"DiffusionField needs a points.Net, which points.train returns, got {type(net).__name__}")
        data = checks.finite(points.check_points(data, "data"), "data").detach().cpu()[:MOST_POINTS]
        network, raw = _packed(net, data)
        if len(raw) > MOST_BYTES:
            raise Error(f"this network and data have {len(raw):,} bytes; a page carries at most {MOST_BYTES:,}")
        sent = _sent(_usual() if schedules is None else schedules)
        last = len(sent[0]["alpha_bar"]) - 1
        choose("start", start, STARTS)
        if isinstance(eta, bool) or not isinstance(eta, numbers.Real):
            raise Error(f"eta must be a number in 0 to 1, got {eta!r}")
        follows, reach = scale is None, data.abs().max().item()
        return cls(
            network=network,
            raw=raw,
            known=len(data),
            count=_whole("count", count, 1, MOST_POINTS),
            schedules=sent,
            schedule=sent[0]["name"] if schedule is None else schedule,
            start=start,
            t=_whole("t", (0 if start == "data" else last) if t is None else t, 0, last),
            eta=float(eta),
            seed=_whole("seed", seed, 0, SEEDS),
            zoom=follows,
            scale=max(3.0, 1.15 * reach) if follows else checks.positive(scale, "scale").item(),
        )

    @property
    def last(self):
        """T, the last time."""
        return len(self.schedules[0]["alpha_bar"]) - 1 if self.schedules else 0

    @traitlets.validate("schedule")
    def _valid_schedule(self, proposal):
        return choose("schedule", proposal["value"], [s["name"] for s in self.schedules])

    @traitlets.validate("start")
    def _valid_start(self, proposal):
        return choose("start", proposal["value"], STARTS)

    @traitlets.validate("arrows")
    def _valid_arrows(self, proposal):
        return choose("arrows", proposal["value"], ARROWS)

    @traitlets.validate("t")
    def _valid_t(self, proposal):
        if not 0 <= proposal["value"] <= self.last:
            raise Error(f"t runs from 0 to T = {self.last}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("eta")
    def _valid_eta(self, proposal):
        if not 0 <= proposal["value"] <= 1:  # also refuses nan
            raise Error(f"eta must lie in 0 to 1, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("seed")
    def _valid_seed(self, proposal):
        return _whole("seed", proposal["value"], 0, SEEDS)

    @traitlets.validate("scale", "speed")
    def _valid_size(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if not 0 < value < math.inf:
            raise Error(f"{name} must be a positive number, got {value}")
        return value

    @traitlets.validate("turns")
    def _valid_turns(self, proposal):
        turns = proposal["value"]
        if len(turns) > MOST_TURNS:
            raise Error(f"a run turns around at most {MOST_TURNS} times, got {len(turns)}")
        at, forward = (0, True) if self.start == "data" else (self.last, False)
        for turn in turns:
            if not (at < turn <= self.last if forward else 0 <= turn < at):
                way = f"{at + 1} to {self.last}" if forward else f"0 to {at - 1}"
                raise Error(f"from t = {at} the run goes {'forward' if forward else 'back'}, so it can turn around at "
                            f"{way}, not at {turn}")
            at, forward = turn, not forward
        return turns

    @traitlets.validate("dropped")
    def _valid_dropped(self, proposal):
        dropped = proposal["value"]
        if len(dropped) > MOST_OWN:
            raise Error(f"at most {MOST_OWN} points can be dropped, got {len(dropped)}")
        for point in dropped:
            if len(point) != 4 or not all(abs(v) <= FARTHEST for v in point[:2]):
                raise Error(f"dropped must hold [x, y, t, leg], x and y within {FARTHEST:g} of 0, got {point}")
            _, _, t, leg = point
            if t != int(t) or leg != int(leg) or not 0 <= t <= self.last or not 0 <= leg <= len(self.turns):
                raise Error(f"a point is dropped at a whole t of 0 to {self.last}, after 0 to {len(self.turns)} turns, "
                            f"got t = {t:g} and leg = {leg:g}")
        return dropped

    @traitlets.observe("t", "start", "turns")
    def _agree(self, change):
        """t lies on the last leg: turns that it went back over are taken back, and points dropped after them. The page
        sends what agrees already: nothing is sent back."""
        turns = list(self.turns)
        while turns and not (self.t >= turns[-1] if _forward(self.start, turns) else self.t <= turns[-1]):
            turns.pop()
        kept = [point for point in self.dropped if point[3] <= len(turns)]
        if kept != self.dropped:
            self.dropped = kept
        if turns != self.turns:
            self.turns = turns


def _forward(start, turns):
    """Whether time runs forward after these turns."""
    return (start == "data") == (len(turns) % 2 == 0)


def _packed(net, data):
    """The network and the data as (description, bytes): weights and data float16, biases float32, one after another."""
    store = base.Store()

    def linear(layer):
        weight, bias = (v.detach().cpu().float().numpy() for v in (layer.weight, layer.bias))
        base.check_finite(layer, weight, bias)
        op = {"op": "linear", "in": layer.in_features, "out": layer.out_features, "type": "float16"}
        return op | {"weight": store.put(base.half(layer, weight)), "bias": store.put(bias.astype("<f4"))}

    spec = {"layers": [linear(layer) for layer in net.layers], "levels": [linear(level) for level in net.levels]}
    spec |= {"spread": net.spread.item(), "told": bool(net.told), "features": net.features, "reach": points.REACH}
    if data.abs().max() > FARTHEST:
        raise Error(f"data must lie within {FARTHEST:g} of 0, got {data.abs().max().item():g}")
    return spec | {"data": store.put(data.numpy().astype("<f2"))}, store.bytes()


def _usual():
    """Three schedules of 100 steps: two that reach noise, and the notes', which does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page says which of them do not reach noise
        return {
            "cosine": diffusion.Schedule.cosine(100),
            "linear": diffusion.Schedule.linear(100, 1e-3, 0.2),
            "notes\u2019 sigmoid": diffusion.Schedule.sigmoid(100),
        }


def _sent(schedules):
    """Schedules as the page gets them: [{"name", "alpha_bar"}]."""
    if not isinstance(schedules, dict) or not schedules:
        raise Error(f"schedules must be a dict of a name for each diffusion.Schedule, got {schedules!r:.60}")
    for name, schedule in schedules.items():
        if not isinstance(name, str) or not name.strip():
            raise Error(f"a schedule's name must be some text, got {name!r}")
        if not isinstance(schedule, diffusion.Schedule):
            raise Error(f"{name!r} must be a diffusion.Schedule, got {type(schedule).__name__}")
    lengths = {schedule.T for schedule in schedules.values()}
    if len(lengths) > 1 or max(lengths) > MOST_STEPS:
        given = ", ".join(map(str, sorted(lengths)))
        raise Error(f"all schedules must have one T of at most {MOST_STEPS}, got {given}")
    return [{"name": name, "alpha_bar": schedule.alpha_bar.tolist()} for name, schedule in schedules.items()]


def _whole(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise Error(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return int(value)
