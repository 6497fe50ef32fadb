"""The variational chapter's widget: its JavaScript against gentut.variational, what it sends, and what it refuses."""

import json
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gentut import Error, variational
from gentut.widgets import ElboExplorer
from gentut.widgets.variational import LIMITS, REACH
from tests.javascript import call, node

MATHS = "variational-maths.js"


def ask(function, loc, scale, x):
    """What a function of (loc, scale, x) gives for each of many inputs."""
    return call(MATHS, f"loc.map((v, i) => {function}(v, scale[i], x[i]))", loc=loc, scale=scale, x=x)


def inputs(n=2000, far=False, seed=0):
    """n random loc, scale and x: such as the page can show, or far out."""
    rng = np.random.default_rng(seed)
    ranges = {"loc": (-40, 20), "scale": (0.05, 7), "x": (-30, 30)} if far else LIMITS
    return tuple(torch.from_numpy(rng.uniform(*ranges[name], n)) for name in ("loc", "scale", "x"))


# ---------------------------------------------------------------------------------------------- JavaScript = the module


def test_the_log_of_phi_is_torchs_in_both_tails():
    """Relative error below 1e-10 from -1,000 to 1,000; beyond 38 both are 0."""
    seams = [-2, 2, -2 - 1e-12, 2 + 1e-12, 0]
    x = np.concatenate([np.linspace(-1000, 1000, 2001), np.linspace(-40, 37.5, 7751), seams])
    shown = np.array(call(MATHS, "x.map(logNdtr)", x=x))
    want = torch.special.log_ndtr(torch.from_numpy(x)).numpy()
    assert (np.abs(shown - want) <= 1e-10 * np.abs(want) + 1e-307).all()
    assert np.abs(want).max() > 4e5 and want[want < 0].max() > -1e-300  # both tails were reached


@pytest.mark.parametrize(("far", "tolerance"), [(False, 1e-11), (True, 1e-10)])
def test_bound_gap_and_moments_are_the_modules(far, tolerance):
    loc, scale, x = inputs(far=far)
    q = variational.TruncatedNormal(loc, scale)
    entropy = variational.expectation(q, lambda z: -q.log_prob(z))
    want = {
        "elbo": variational.elbo(q, x),
        "kl": variational.kl(q, x),
        "evidence": variational.log_evidence(x),
        "mean": q.mean,
        "variance": q.variance,
        "entropy": entropy,
        "logJoint": variational.expectation(q, lambda z: variational.log_joint(x, z)),
        "logLikelihood": variational.expectation(q, lambda z: variational.log_joint(x, z) + z),
        "priorKl": variational.expectation(q, lambda z: q.log_prob(z) + z),
    }
    shown = ask("bound", loc, scale, x)
    assert set(shown[0]) == set(want)
    for name, values in want.items():
        off = np.abs(np.array([each[name] for each in shown]) - values.numpy()) / (1 + values.abs().numpy())
        assert off.max() <= tolerance, (name, off.max())


@pytest.mark.parametrize("far", [False, True])
def test_the_bound_is_never_above_log_p_and_the_gap_is_kl(far):
    shown = ask("bound", *inputs(far=far, seed=1))
    for each in shown:
        assert each["elbo"] <= each["evidence"] + 1e-9
        assert each["kl"] >= 0
        assert each["elbo"] + each["kl"] == pytest.approx(each["evidence"], rel=1e-12, abs=1e-12)
        assert each["logLikelihood"] - each["priorKl"] == pytest.approx(each["elbo"], rel=1e-12, abs=1e-12)


def test_at_the_posterior_the_gap_is_closed_and_the_gradient_is_0():
    x = torch.linspace(-30, 30, 601, dtype=torch.float64)
    one = torch.ones_like(x)
    assert max(each["kl"] for each in ask("bound", x - 1, one, x)) <= 1e-12
    assert np.abs(ask("elboGradient", x - 1, one, x)).max() <= 1e-11


def test_the_gradient_is_the_modules():
    loc, scale, x = inputs(seed=2)
    want = torch.stack(variational.elbo_gradient(loc, scale, x), 1).numpy()
    shown = np.array(ask("elboGradient", loc, scale, x))
    assert (np.abs(shown - want) <= 1e-10 * (1 + np.abs(want))).all()
    by_hand = variational.gradient(variational.TruncatedNormal(loc, scale), x).numpy()  # autograd, through quadrature
    assert (np.abs(shown - by_hand) <= 1e-8 * (1 + np.abs(by_hand))).all()


@pytest.mark.parametrize("steps", [1, 20])
def test_steps_are_the_modules(steps):
    rng = np.random.default_rng(3)
    loc, scale, x = (torch.from_numpy(rng.uniform(*REACH[name], 200)) for name in ("loc", "scale", "x"))
    walk = "loc.map((v, i) => Array(n).fill(0).reduce(at => ascend(...at, x[i]), [v, scale[i]]))"
    shown = np.array(call(MATHS, walk, loc=loc, scale=scale, x=x, n=steps))
    for _ in range(steps):
        loc, scale = variational.ascend(loc, scale, x)
    assert np.abs(shown - torch.stack([loc, scale], 1).numpy()).max() <= 1e-9


def test_densities_are_the_modules():
    z = torch.linspace(0, 7, 29, dtype=torch.float64)
    for loc, scale, x in zip(*(v.tolist() for v in inputs(20, seed=4)), strict=True):
        shown = call(MATHS, "[z.map(qDensity(loc, scale)), z.map(jointDensity(x))]", z=z, loc=loc, scale=scale, x=x)
        q = variational.TruncatedNormal(torch.tensor(loc).double(), torch.tensor(scale).double())
        want = torch.stack([q.log_prob(z).exp(), variational.log_joint(x, z).exp()]).numpy()
        np.testing.assert_allclose(shown, want, rtol=1e-6, atol=1e-9)


def test_an_ascent_from_anywhere_the_knobs_reach_rises_and_stays_on_the_chart():
    """So a page never sends a state that Python refuses, and the ELBO's line never falls."""
    grid = [torch.linspace(*REACH[name], n, dtype=torch.float64) for name, n in [("loc", 15), ("scale", 15), ("x", 11)]]
    loc, scale, x = (v.flatten() for v in torch.meshgrid(*grid, indexing="ij"))
    walk = """loc.map((v, i) => {
      let at = [v, scale[i]], elbo = bound(...at, x[i]).elbo, out = { fall: 0, loc: [v, v], scale: [at[1], at[1]] };
      for (let k = 0; k < 300; k++) {
        at = ascend(...at, x[i]);
        const next = bound(...at, x[i]).elbo;
        out.fall = Math.max(out.fall, elbo - next);
        elbo = next;
        ["loc", "scale"].forEach((name, j) => {
          out[name] = [Math.min(out[name][0], at[j]), Math.max(out[name][1], at[j])];
        });
      }
      return out; })"""
    runs = call(MATHS, walk.replace("\n", " "), loc=loc, scale=scale, x=x)
    assert len(runs) == len(x)
    assert max(run["fall"] for run in runs) <= 1e-12
    for name in ("loc", "scale"):
        low, high = LIMITS[name]
        assert low < min(run[name][0] for run in runs) and max(run[name][1] for run in runs) < high


def test_ranges_of_the_charts_hold_what_they_show():
    file = "variational-elbo-explorer.js"
    peaks, floors, counts = np.geomspace(0.1, 10, 60), -np.geomspace(1.2, 55, 60), [0, 1, 20, 21, 55, 130, 999, 4000]
    for peak, top in zip(peaks, call(file, "v.map(topFor)", v=peaks), strict=True):
        assert peak * 1.05 <= top and top <= max(0.8, 2 * peak)
    for lowest, floor in zip(floors, call(file, "v.map(floorFor)", v=floors), strict=True):
        assert floor <= lowest and floor >= min(-4, 2 * lowest)
    assert call(file, "v.map(stepsFor)", v=counts) == [20, 20, 20, 50, 100, 200, 1000, 5000]


# -------------------------------------------------------------------------------------------------------- what is sent


def test_defaults_and_what_was_given_are_the_state():
    assert [ElboExplorer().x, ElboExplorer().loc, ElboExplorer().scale] == ElboExplorer().start == [1.5, 2.5, 0.6]
    widget = ElboExplorer(3, loc=-2, scale=torch.tensor(3.0).item())
    assert (widget.x, widget.loc, widget.scale, widget.start) == (3, -2, 3, [3, -2, 3])
    widget.scale = 0.25
    assert widget.scale == 0.25 and widget.start == [3, -2, 3]


def test_the_state_is_small():
    state = {k: v for k, v in ElboExplorer().get_state().items() if k not in ("layout", "tabbable", "tooltip")}
    assert len(json.dumps(state)) <= 60_000


def test_the_joined_module_is_one_that_a_page_can_load(tmp_path):
    (tmp_path / "joined.mjs").write_text(str(ElboExplorer._esm), encoding="utf-8")
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"x": "1"}, "x must be a finite number, got '1'"),
        ({"x": 4.5}, "x must lie between -1 and 4, got 4.5"),
        ({"loc": float("nan")}, "loc must be a finite number, got nan"),
        ({"loc": -2.1}, "loc must lie between -2 and 5, got -2.1"),
        ({"scale": 0}, "scale must lie between 0.2 and 3, got 0"),
        ({"scale": True}, "scale must be a finite number, got True"),
        ({"scale": float("inf")}, "scale must be a finite number, got inf"),
        ({"loc": None}, "loc must be a finite number, got None"),
    ],
)
def test_the_constructor_refuses(given_, said):
    with pytest.raises(Error, match=f"^{said}$"):
        ElboExplorer(**given_)


@pytest.mark.parametrize(("name", "value"), [("x", -1.5), ("loc", 9.0), ("scale", -1.0), ("scale", float("nan"))])
def test_values_set_later_are_held_to_what_the_chart_shows(name, value):
    widget = ElboExplorer()
    before = getattr(widget, name)
    with pytest.raises(Error, match=f"^{name} must"):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@settings(max_examples=50, deadline=None)
@given(st.floats(*REACH["x"]), st.floats(*REACH["loc"]), st.floats(*REACH["scale"]))
def test_what_an_ascent_reaches_may_be_set(x, loc, scale):
    widget = ElboExplorer(x, loc, scale)
    loc, scale = variational.ascend(loc, scale, x)
    widget.loc, widget.scale = loc.item(), scale.item()
    assert (widget.loc, widget.scale) == (loc.item(), scale.item())
