"""DiffusionField: its JavaScript follows torch step by step, its traits agree with one another, and what it refuses."""

import json
import subprocess
import warnings

import numpy as np
import pytest
import torch

from gentut import Error, diffusion, points
from gentut.widgets import DiffusionField, base
from gentut.widgets.points import MOST_OWN, MOST_TURNS, noise
from tests.javascript import call, node

MATHS = "points-maths.js"
NET = "denoiser(spec, Uint8Array.from(raw), room)"


def build(width=128, seed=0, **changes):
    """An untrained network whose perceptron has a say, as a trained one's has."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = points.Net(width, **{"spread": 0.3} | changes).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)
    return net


def schedules(steps=100):
    return {
        "cosine": diffusion.Schedule.cosine(steps),
        "linear": diffusion.Schedule.linear(steps, 0.1 / steps, min(0.9, 20 / steps)),
    }


def widget(net=None, schedules=None, **options):
    data = points.s_curve(300, generator=1)
    return DiffusionField.from_net(net or build(16), data, schedules=schedules, **{"count": 5} | options)


def given(shown):
    """What the page's code gets of a widget."""
    return {"spec": shown.network, "raw": list(shown.raw)}


# --------------------------------------------------------------------------------------------------- JavaScript = torch


@pytest.mark.parametrize(
    "changes", [{}, {"width": 24, "layers": 1, "features": 3}, {"told": False}, {"width": 33, "spread": 1.7}]
)
@torch.no_grad()
def test_the_network_in_the_page_is_torchs(changes):
    """ε and the guess of x_0 at every kind of level: on the weights as sent to 1e-4, on the given ones to 1 %."""
    net = build(**changes)
    levels = [0.0, 1e-7, 0.001, 0.3, 0.778, 0.99, 1 - 1e-6, 1.0]
    x = 1.5 * torch.randn(7, 2, generator=torch.Generator().manual_seed(1))
    code = f"""(net => levels.map(a => [[...net.noise(x, 7, a)], [...net.origin(x, 7, a)],
      ...x.flatMap((_, i) => (i % 2 ? [] : [[...net.noise(x.slice(i, i + 2), 1, a)]]))]))({NET})"""
    shown = widget(net)
    got = call(MATHS, code, room=7, levels=levels, x=x.flatten(), **given(shown))
    twin = network_of(shown.network, shown.raw)
    for a, (eps, origin, *alone) in zip(levels, got, strict=True):
        want = twin(x, torch.tensor(a, dtype=torch.float64))
        np.testing.assert_allclose(np.reshape(eps, (7, 2)), want, atol=1e-4, err_msg=f"a = {a}")
        np.testing.assert_allclose(np.concatenate(alone), np.array(eps), atol=1e-5)
        np.testing.assert_allclose(np.reshape(eps, (7, 2)), net(x, torch.tensor(a, dtype=torch.float64)), atol=0.01)
        if a >= 0.001:  # below, torch's own subtraction leaves few digits
            guess = (x - (1 - a) ** 0.5 * want) / a**0.5
            np.testing.assert_allclose(np.reshape(origin, (7, 2)), guess, atol=1e-4 / a**0.5)
    if net.told:
        assert twin(x, torch.tensor(0.3)).sub(twin(x, torch.tensor(0.9))).abs().max() > 0.05, "levels must matter here"


def test_level_features_are_those_of_the_module():
    levels = torch.tensor([0.0, 1e-9, 1e-4, 0.2, 0.5, 0.9, 1 - 1e-9, 1.0], dtype=torch.float64)
    for k in (1, 8):
        got = call(MATHS, "a.map(v => levelFeatures(v, k, reach))", a=levels, k=k, reach=points.REACH)
        np.testing.assert_allclose(got, points.level_features(levels, k), atol=1e-6)


def test_the_pages_noise_is_pythons():
    asked = [(0, 0, 0), (1, 0, 100), (1, 3, 50), (2**31 - 1, 12, 1000)]
    for own in (False, True):
        got = call(MATHS, "asked.map(([s, leg, t]) => draws(s, leg, t, 20, own))", asked=asked, own=own)
        want = torch.stack([noise(*each, 20, own=own) for each in asked]).flatten(1)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid"])
def test_a_step_is_the_schedules(name):
    """Forward and back, for any η, at the first, a middle and the last time."""
    with pytest.warns(UserWarning) if name != "cosine" else torch.random.fork_rng(devices=[]):
        schedule = diffusion.Schedule.named(name, 100)
    g = torch.Generator().manual_seed(0)
    x, eps, z = torch.randn(3, 6, 2, generator=g, dtype=torch.float64)
    times, etas = (1, 2, 50, 100), (0.0, 0.4, 1.0)
    levels = [(schedule.alpha_bar[t].item(), schedule.alpha_bar[t - 1].item()) for t in times]
    code = """levels.map(([a, before]) => [stepForward(x, before, a, z), ...etas.map(
      eta => stepBack(x, eps, a, before, eta, z))])"""
    got = call(MATHS, code, x=x.flatten(), eps=eps.flatten(), z=z.flatten(), levels=levels, etas=etas)
    for t, (forward, *back) in zip(times, got, strict=True):
        np.testing.assert_allclose(np.reshape(forward, (6, 2)), schedule.q_step(x, t, z), atol=1e-6)
        for eta, there in zip(etas, back, strict=True):
            x0 = diffusion.to_x0("eps", eps, x, schedule.alpha_bar[t])
            want = schedule.step_back(x, x0, t, t - 1, eta=eta, noise=z)
            np.testing.assert_allclose(np.reshape(there, (6, 2)), want, rtol=1e-6, atol=1e-5)


@torch.no_grad()
def network_of(spec, raw):
    """The network that travelled, read by numpy and not by the page's code."""
    widths = [op["out"] for op in spec["levels"]]
    net = points.Net(widths[0], len(widths), spread=spec["spread"], told=spec["told"], features=spec["features"]).eval()
    for ops, layers in ((spec["layers"], net.layers), (spec["levels"], net.levels)):
        for op, layer in zip(ops, layers, strict=True):
            weight = np.frombuffer(raw, "<f2", layer.weight.numel(), op["weight"]).astype("f4")
            layer.weight.copy_(torch.from_numpy(weight).view_as(layer.weight))
            layer.bias.copy_(torch.from_numpy(np.frombuffer(raw, "<f4", op["out"], op["bias"]).copy()))
    return net


def cloud_of(state):
    """The data that travelled, (known, 2) float32."""
    numbers = np.frombuffer(state["raw"], "<f2", 2 * state["known"], state["network"]["data"]).astype("f4")
    return torch.from_numpy(numbers).view(-1, 2)


@torch.no_grad()
def positions(state, own=False):
    """Where the points of a widget are, or the reader's own: gentut's steps in torch, on the noise of `noise`.

    state: the widget's traits by their names.
    """
    net, seed = network_of(state["network"], state["raw"]), state["seed"]
    alpha_bar = next(s["alpha_bar"] for s in state["schedules"] if s["name"] == state["schedule"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some schedules do not reach noise, and say so
        schedule = diffusion.Schedule(1 - torch.tensor(alpha_bar[1:]).double() / torch.tensor(alpha_bar[:-1]).double())
    n = len(state["dropped"]) if own else state["count"]
    if own:
        x = torch.full((n, 2), float("nan"))
    elif state["start"] == "noise":
        x = noise(seed, 0, schedule.T, n).float()
    else:
        drawn = base.uniforms(seed * 0x9E3779B1 & 0xFFFFFFFF, n)
        x = cloud_of(state)[[int(u * state["known"]) for u in drawn]]
    at, forward = (0, True) if state["start"] == "data" else (schedule.T, False)
    for leg, to in enumerate([*state["turns"], state["t"]]):
        x = joined(x, state["dropped"], at, leg) if own else x
        while at != to:
            at, came = at + (1 if forward else -1), at
            z = noise(seed, leg, at, n, own=own).float()
            if forward:
                x = schedule.q_step(x, at, z)
            else:
                a = schedule.alpha_bar[came]
                x0 = diffusion.to_x0("eps", net(x, a), x, a.float())
                x = schedule.step_back(x, x0, came, at, eta=state["eta"], noise=z)
            x = joined(x, state["dropped"], at, leg) if own else x
        forward = not forward
    return x


def joined(x, dropped, t, leg):
    """x (n, 2) with the points that are dropped here where they are dropped."""
    rows = [torch.tensor(p[:2]) if (p[2], p[3]) == (t, leg) else x[i] for i, p in enumerate(dropped)]
    return torch.stack(rows).float() if rows else x


@pytest.mark.parametrize(("start", "turns", "t"), [
    ("noise", [], 0), ("noise", [], 9), ("data", [], 20), ("data", [20], 0), ("data", [12, 4, 15], 2),
    ("noise", [6], 20),
])
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_a_run_is_torchs(start, turns, t, eta):
    """There and back with turns, and points dropped on the way: the page's positions are torch's."""
    net, every = build(32), schedules(20)
    shown = widget(net, every, start=start, eta=eta, seed=3)
    shown.turns = turns
    shown.t = t
    shown.dropped = [[0.5, -0.2, 20.0 if start == "noise" else 0.0, 0.0], [-1.0, 1.0, float(t), float(len(turns))]]
    assert shown.turns == turns and len(shown.dropped) == 2
    name = "linear"
    shown.schedule = name
    code = f"""(net => {{
      const eps = (x, n, a) => net.noise(x, n, a), legs = legsOf(start, turns, T), last = legs.length - 1;
      const given = {{ alphaBar, eps, legs, eta, seed }}, k = Math.abs(t - legs[last].from);
      const cloud = cloudOf(spec, Uint8Array.from(raw), known);
      const all = flow({{ ...given, first: beginning(start, seed, T, cloud), n: count }});
      const own = flow({{ ...given, joins: dropped }});
      all.reach(last, k); own.reach(last, k);
      return [[...all.at(last, k)], [...own.at(last, k)]];
    }})({NET})"""
    state = {k: getattr(shown, k) for k in ("start", "turns", "t", "eta", "seed", "dropped", "count", "known")}
    alpha_bar = next(s["alpha_bar"] for s in shown.schedules if s["name"] == name)
    got = call(MATHS, code, room=5, T=20, alphaBar=alpha_bar, **state, **given(shown))
    for numbers, own in zip(got, (False, True), strict=True):
        want = positions(shown.get_state(), own=own)
        assert want.isfinite().all()
        np.testing.assert_allclose(np.reshape(numbers, (-1, 2)), want, atol=2e-3 * max(1, want.abs().max().item()))


def test_the_energy_distance_is_the_modules_and_chance_is_its_floor():
    a, b = points.s_curve(150, generator=0), points.s_curve(200, generator=1)
    got = call(MATHS, "energyDistance(a, b)", a=a.flatten(), b=b.flatten())
    assert got["value"] == pytest.approx(points.energy_distance(a, b), rel=1e-9)
    pairs = [(points.s_curve(150, generator=i), points.s_curve(150, generator=100 + i)) for i in range(40)]
    mean = np.mean([points.energy_distance(*pair) for pair in pairs])  # its own standard error is about 6 %
    chance = call(MATHS, "energyDistance(a, b).chance", a=pairs[0][0].flatten(), b=pairs[0][1].flatten())
    assert mean == pytest.approx(chance, rel=0.35)


# ------------------------------------------------------------------------------------------------------- what is stored


def test_data_and_schedules_arrive():
    every = schedules(50)
    shown = widget(schedules=every)
    got = call(MATHS, "cloudOf(spec, Uint8Array.from(raw), known)", known=shown.known, **given(shown))
    np.testing.assert_array_equal(np.reshape(got, (-1, 2)), points.s_curve(300, generator=1).half().float())
    assert [s["name"] for s in shown.schedules] == list(every)
    for stored, schedule in zip(shown.schedules, every.values(), strict=True):
        assert stored["alpha_bar"] == schedule.alpha_bar.tolist(), "to the last digit"


def test_the_usual_schedules_are_two_that_reach_noise_and_the_notes(recwarn):
    shown = widget()
    assert not recwarn.list, "the page says it"
    left = {s["name"]: s["alpha_bar"][-1] for s in shown.schedules}
    assert [v < 0.01 for v in left.values()] == [True, True, False]
    assert list(left.values())[2] == pytest.approx(0.778, abs=0.001)
    assert shown.last == 100


def test_the_raw_state_stays_within_its_budget():
    """The chapter's network, the most data and the longest schedules."""
    shown = DiffusionField.from_net(build(128), points.s_curve(5000, generator=0), schedules=schedules(1000))
    assert shown.known == 1000
    state = {k: v for k, v in shown.get_state().items() if k not in ("layout", "tabbable", "tooltip", "raw")}
    assert len(shown.raw) + len(json.dumps(state)) <= 350_000


def test_the_code_is_one_module_that_names_no_address(tmp_path):
    code = str(DiffusionField._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")


# ------------------------------------------------------------------------------------------------------ the Python side


def test_it_opens_where_its_run_begins():
    shown = widget()
    assert (shown.start, shown.t, shown.turns, shown.schedule, shown.eta) == ("noise", 100, [], "cosine", 0.0)
    assert shown.zoom and shown.scale == 3.0
    shown = widget(start="data", schedule="linear", eta=1.0, scale=0.5, seed=7)
    assert (shown.start, shown.t, shown.schedule, shown.eta, shown.seed) == ("data", 0, "linear", 1.0, 7)
    assert not shown.zoom and shown.scale == 0.5
    far = DiffusionField.from_net(build(8), 10 * torch.ones(4, 2))
    assert far.scale == pytest.approx(11.5)
    assert widget(t=40).t == 40


def test_going_back_over_a_turn_takes_it_back():
    shown = widget(start="data", t=60)
    shown.turns = [60]
    shown.t = 20
    shown.turns = [60, 20]
    shown.t = 90
    shown.dropped = [[0.0, 0.0, 10.0, 0.0], [0.1, 0.1, 30.0, 1.0], [0.1, 0.1, 50.0, 2.0]]
    assert shown.turns == [60, 20] and len(shown.dropped) == 3
    shown.t = 15  # before the second turn: back on the way down from 60
    assert shown.turns == [60] and len(shown.dropped) == 2
    shown.t = 70
    assert shown.turns == [] and shown.dropped == [[0.0, 0.0, 10.0, 0.0]]
    shown.t = 5
    assert shown.turns == []


@pytest.mark.parametrize("start", ["data", "noise"])
def test_taking_turns_back_is_the_pages(start):
    """Python and JavaScript agree on which turns are left, for every time."""
    turns = [70, 20, 90] if start == "data" else [30, 80, 10]
    want = call(MATHS, "times.map(t => turnsUpTo(start, turns, t, 100))", times=[*range(101)], start=start, turns=turns)
    shown = widget(start=start)
    for t, left in enumerate(want):
        with shown.hold_trait_notifications():
            shown.turns, shown.t = turns, t
        assert shown.turns == left, t


@pytest.mark.parametrize(("name", "value", "message"), [
    ("schedule", "cosin", "unknown schedule 'cosin'.*Did you mean 'cosine'"),
    ("start", "middle", "unknown start 'middle'"),
    ("arrows", "score", "unknown arrows 'score'"),
    ("t", -1, "t runs from 0 to T = 100, got -1"),
    ("t", 101, "t runs from 0 to T = 100, got 101"),
    ("eta", 1.5, "eta must lie in 0 to 1"),
    ("eta", float("nan"), "eta must lie in 0 to 1"),
    ("seed", -1, "seed must be a whole number from 0"),
    ("scale", 0.0, "scale must be a positive number"),
    ("speed", float("inf"), "speed must be a positive number"),
    ("turns", [101], "from t = 100 the run goes back, so it can turn around at 0 to 99, not at 101"),
    ("turns", [50, 40], "from t = 50 the run goes forward, so it can turn around at 51 to 100, not at 40"),
    ("turns", [50, 60] * 7, f"at most {MOST_TURNS} times"),
    ("dropped", [[0.0, 0.0, 50.0]], r"must hold \[x, y, t, leg\]"),
    ("dropped", [[float("nan"), 0.0, 50.0, 0.0]], r"must hold \[x, y, t, leg\]"),
    ("dropped", [[1e9, 0.0, 50.0, 0.0]], r"must hold \[x, y, t, leg\]"),
    ("dropped", [[0.0, 0.0, 50.5, 0.0]], "at a whole t of 0 to 100"),
    ("dropped", [[0.0, 0.0, 500.0, 0.0]], "at a whole t of 0 to 100"),
    ("dropped", [[0.0, 0.0, 50.0, 1.0]], "after 0 to 0 turns"),
    ("dropped", [[0.0, 0.0, 50.0, 0.0]] * (MOST_OWN + 1), f"at most {MOST_OWN} points"),
])
def test_wrong_values_are_refused_and_change_nothing(name, value, message):
    shown = widget(t=50)
    before = getattr(shown, name)
    with pytest.raises(Error, match=message):
        setattr(shown, name, value)
    assert getattr(shown, name) == before


def infinite():
    net = build(8)
    with torch.no_grad():
        net.layers[1].weight[0, 0] = float("inf")
    return net


@pytest.mark.parametrize(("net", "data", "options", "message"), [
    (torch.nn.Linear(2, 2), None, {}, "needs a points.Net, which points.train returns, got Linear"),
    (infinite, None, {}, "weights that are not finite"),
    (lambda: build(700), None, {}, "a page carries at most 700,000"),
    (None, [[1.0, 2.0]], {}, "data must be points"),
    (None, torch.zeros(3, 3), {}, "data must be points"),
    (None, torch.full((3, 2), float("nan")), {}, "data"),
    (None, torch.full((3, 2), 1e4), {}, "data must lie within 100 of 0"),
    (None, None, {"schedules": {}}, "schedules must be a dict"),
    (None, None, {"schedules": [1]}, "schedules must be a dict"),
    (None, None, {"schedules": {"": None}}, "name must be some text"),
    (None, None, {"schedules": {"a": 3}}, "'a' must be a diffusion.Schedule, got int"),
    (None, None, {"schedules": lambda: schedules(10) | {"b": diffusion.Schedule.cosine(12)}}, "one T of at most 1000"),
    (None, None, {"schedules": lambda: {"a": diffusion.Schedule.cosine(1001)}}, "one T of at most 1000, got 1001"),
    (None, None, {"schedule": "sigmoid"}, "unknown schedule"),
    (None, None, {"start": "here"}, "unknown start"),
    (None, None, {"count": 0}, "count must be a whole number from 1 to 1000"),
    (None, None, {"count": 2.5}, "count must be a whole number from 1 to 1000"),
    (None, None, {"scale": -1}, "scale"),
    (None, None, {"t": 101}, "t must be a whole number from 0 to 100"),
    (None, None, {"seed": 1.5}, "seed must be a whole number"),
    (None, None, {"eta": "DDIM"}, "eta must be a number in 0 to 1"),
    (None, None, {"eta": 2}, "eta must lie in 0 to 1"),
])
def test_wrong_arguments_are_refused(net, data, options, message):
    net = build(8) if net is None else net if isinstance(net, torch.nn.Module) else net()
    data = points.s_curve(20, generator=0) if data is None else data
    options = {k: v() if callable(v) else v for k, v in options.items()}
    with pytest.raises(Error, match=message):
        DiffusionField.from_net(net, data, **options)
