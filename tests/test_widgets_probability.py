"""The probability chapter's widgets: their state, what they refuse, and that their JavaScript agrees with Python."""

import itertools
import json
import math
import subprocess
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gentut import Error, probability
from gentut.widgets import DartBoard, Urn
from tests.javascript import call, node

BOARD, URN = "probability-dart-board.js", "probability-urn.js"
FEW = settings(max_examples=10, deadline=None)  # each example starts node
DENSITY = {name: getattr(probability.DARTS, name) for name in ("weights", "means", "covariances")}


@st.composite
def boards(draw):
    """A mixture of 1 to 4 Gaussians with any orientation."""
    k, seed = draw(st.integers(1, 4)), draw(st.integers(0, 10**6))
    random = np.random.default_rng(seed)
    roots = random.normal(size=(k, 2, 2))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(2)
    covariances[:, 1, 0] = covariances[:, 0, 1]  # the same to the last bit
    return probability.DartBoard(random.dirichlet(np.ones(k)), random.normal(size=(k, 2)), covariances)


# ------------------------------------------------------------------------------------------ DartBoard: the page's maths


@FEW
@given(boards(), st.integers(0, 10**6))
def test_joint_marginal_and_conditional_are_pythons(board, seed):
    random = np.random.default_rng(seed)
    x, y = random.uniform(-4, 4, (2, 12))
    x[:2], y[:2] = [30, -45], [-40, 60]  # far out, where joint and marginal are 0 and the conditional is not
    expression = """(() => {
      const d = mixture({ weights, means, covariances });
      return x.map((_, i) => [d.joint(x[i], y[i]), d.marginal("x", x[i]), d.marginal("y", y[i]),
        d.conditional("y", y[i], x[i]), d.conditional("x", x[i], y[i]), d.slice("y", x[i])(y[i])]);
    })()"""
    parts = {name: getattr(board, name) for name in DENSITY}
    shown = np.array(call(BOARD, expression, x=x, y=y, **parts)).T
    given_x = board.conditional("y", y, x)
    want = [board.joint(x, y), board.marginal("x", x), board.marginal("y", y), given_x, board.conditional("x", x, y)]
    for ours, theirs in zip(shown, [*want, given_x], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_the_darts_follow_the_density(seed):
    """Kolmogorov and Smirnov: x against its marginal, then y against its conditional given that x: the joint."""
    expression = "Array.from(mixture({ weights, means, covariances }).sample(5000, seed))"
    darts = np.array(call(BOARD, expression, seed=seed, **DENSITY)).reshape(-1, 2)
    board = probability.DARTS
    assert stats.kstest(board.marginal_cdf("x", darts[:, 0]), "uniform").pvalue > 1e-3
    assert stats.kstest(board.conditional_cdf("y", darts[:, 1], darts[:, 0]), "uniform").pvalue > 1e-3
    wrong = probability.DartBoard(board.weights, board.means, board.covariances.diagonal(dim1=1, dim2=2).diag_embed())
    assert stats.kstest(wrong.conditional_cdf("y", darts[:, 1], darts[:, 0]), "uniform").pvalue < 1e-4


def test_more_darts_leave_the_first_where_they_are():
    expression = "(d => [[0, 100], [0, 300], [1, 100]].map(([s, n]) => [...d.sample(n, s)]))(mixture(density))"
    few, many, others = call(BOARD, expression, density=DENSITY)
    assert len(few) == 200 and len(many) == 600
    assert many[:200] == few != others


def test_the_heat_map_is_the_joint_density_the_right_way_up():
    values = np.array(call(BOARD, "field(mixture({ weights, means, covariances }).joint, 2.5, 21)", **DENSITY))
    axis = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)
    want = probability.DARTS.joint(axis[None, :], axis.flip(0)[:, None])  # rows from the top: y falls
    np.testing.assert_allclose(values.reshape(21, 21), want, rtol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_contours_are_closed_and_lie_on_their_level(share):
    n, reach = 161, 2.5
    expression = "(values => contour(values, n, share * Math.max(...values)))(field(mixture({ weights, means, covariances }).joint, reach, n))"  # noqa: E501
    pieces = np.array(call(BOARD, expression, n=n, share=share, reach=reach, **DENSITY))
    ends = pieces.reshape(-1, 2)
    x, y = reach * (2 * ends[:, 0] / (n - 1) - 1), -reach * (2 * ends[:, 1] / (n - 1) - 1)
    axis = torch.linspace(-reach, reach, n, dtype=torch.float64)
    top = probability.DARTS.joint(axis[None, :], axis[:, None]).max()
    np.testing.assert_allclose(probability.DARTS.joint(x, y) / top, share, atol=2e-3)
    _, often = np.unique(ends.round(6), axis=0, return_counts=True)
    assert len(pieces) > 20 and (often == 2).all(), "each end must be the start of another piece"


def test_a_saddle_is_two_pieces():
    corners = [1, 0, 0, 1]  # a 2 × 2 grid, high at two opposite corners
    pieces = call(BOARD, "contour(corners, 2, 0.5)", corners=corners)
    assert len(pieces) == 2
    assert call(BOARD, "contour(corners, 2, 1.5)", corners=corners) == []


@FEW
@given(st.lists(st.integers(-192, 192).map(lambda k: k / 64), max_size=60))  # edges of bars among them
def test_histograms_are_numpys(values):
    bars = call(BOARD, "histogram(values, -2.5, 2.5, BIN)", values=values)
    edges = np.linspace(-2.5, 2.5, 21)
    inside = [v for v in values if v != 2.5]  # numpy's last bin is closed
    want = np.histogram(inside, edges)[0] / max(1, len(values)) / 0.25
    np.testing.assert_allclose(bars, want, atol=1e-12)


@pytest.mark.parametrize(("axis", "at"), [("x", -0.6), ("y", 0.5)])
def test_the_strip_keeps_the_darts_beside_the_slice(axis, at):
    darts = probability.DARTS.sample(500, generator=0).numpy()
    kept = call(BOARD, "strip(darts, axis, at, HALF)", darts=darts.flatten(), axis=axis, at=at)
    i = "xy".index(axis)
    want = darts[np.abs(darts[:, i] - at) <= 0.1, 1 - i]
    assert len(want) > 5 and kept == want.tolist()


# ------------------------------------------------------------------------------------------------ Urn: the page's maths

counts = st.integers(0, 3000)


@FEW
@given(st.lists(st.tuples(st.floats(0, 1), counts, counts), min_size=1, max_size=30))
def test_the_log_likelihood_is_pythons(cases):
    cases = [*cases, (0, 0, 5), (0, 1, 5), (1, 5, 0), (1, 5, 1), (0.3, 0, 0), (0.3, 30, 70)]
    theta, red, blue = (torch.tensor(v, dtype=torch.float64) for v in zip(*cases, strict=True))
    shown = call(URN, "cases.map(c => logLikelihood(...c))", cases=cases)
    np.testing.assert_allclose(shown, probability.log_likelihood(theta, red, blue), rtol=1e-12)


@FEW
@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=20))
def test_the_interval_ends_two_nats_below_the_maximum(cases):
    cases = [*cases, (30, 70), (0, 1), (0, 50), (50, 0), (1, 0), (5000, 5000)]
    for (red, blue), (low, high) in zip(cases, call(URN, "cases.map(c => likelihoodInterval(...c))", cases=cases), strict=True):  # noqa: E501
        if red + blue == 0:
            assert (low, high) == (0, 1)
            continue
        best = probability.maximum_likelihood(red, blue)
        top = probability.log_likelihood(best, red, blue)
        assert low <= best <= high
        for end, sealed in ((low, red == 0 and 0), (high, blue == 0 and 1)):
            if sealed is not False:
                assert end == sealed
            else:
                assert probability.log_likelihood(end, red, blue) == pytest.approx(top.item() - 2, abs=1e-8)


def test_two_nats_are_about_two_standard_errors():
    low, high = call(URN, "likelihoodInterval(3000, 7000)")
    error = probability.standard_error(0.3, 10_000).item()
    assert [low, high] == pytest.approx([0.3 - 2 * error, 0.3 + 2 * error], abs=0.02 * error)


def test_the_urns_own_likelihood_is_exact():
    """Every urn of ten and every pair of counts, against fractions; and against all orders of a smaller urn."""
    cases = [(10, k, red, blue) for k in range(11) for red in range(11) for blue in range(11 - red)]
    for (balls, k, red, blue), shown in zip(cases, call(URN, "cases.map(c => urnLogLikelihood(...c))", cases=cases), strict=True):  # noqa: E501
        exact = Fraction(math.perm(k, red) * math.perm(balls - k, blue), math.perm(balls, red + blue))
        assert math.exp(shown) == pytest.approx(float(exact), rel=1e-12)
    assert call(URN, "[urnLogLikelihood(10, 10, 10, 0), urnLogLikelihood(10, 0, 0, 7)]") == [0, 0], "certain, exactly"
    orders = list(itertools.permutations("rrrbb"))
    share = Fraction(sum("".join(o[:3]) == "rbr" for o in orders), len(orders))
    assert math.exp(call(URN, "urnLogLikelihood(5, 3, 2, 1)")) == pytest.approx(float(share))


def more(n, seeds, draws="", **urn):
    settings_ = {"redBalls": 3, "balls": 10, "replacement": True} | urn
    expression = "seeds.map(seed => drawMore(draws, n, { ...urn, seed }))"
    return call(URN, expression, seeds=list(seeds), draws=draws, n=n, urn=settings_)


@pytest.mark.parametrize("red", [0, 3, 7, 10])
def test_put_back_the_draws_are_independent_with_the_share_of_the_urn(red):
    (draws,) = more(10_000, [5], redBalls=red)
    seen = np.array([d == "r" for d in draws])
    assert stats.binomtest(int(seen.sum()), len(seen), red / 10).pvalue > 1e-3
    if red in (3, 7):  # what follows a red ball and what follows a blue one
        table = [[((seen[:-1] == a) & (seen[1:] == b)).sum() for b in (0, 1)] for a in (0, 1)]
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_kept_out_the_draws_are_hypergeometric_and_end_exact():
    draws = more(99, range(3000), replacement=False)
    assert {len(d) for d in draws} == {10} and {d.count("r") for d in draws} == {3}
    assert min(d.index("r") for d in draws) == 0 and max(d.rindex("r") for d in draws) == 9
    seen = np.bincount([d[:4].count("r") for d in draws], minlength=4)
    want = stats.hypergeom(10, 3, 4).pmf(range(4)) * len(draws)
    assert stats.chisquare(seen, want).pvalue > 1e-3
    theirs = probability.draw_urn(4, replacement=False, urns=3000, generator=0).sum(1).bincount(minlength=4)
    assert stats.chi2_contingency([seen, theirs.numpy()]).pvalue > 1e-3


@pytest.mark.parametrize("replacement", [True, False])
def test_ten_draws_are_the_same_at_once_or_one_by_one(replacement):
    (whole,) = more(10, [3], replacement=replacement)
    (part,) = more(4, [3], replacement=replacement)
    (rest,) = more(6, [3], draws=part, replacement=replacement)
    assert rest == whole and len(whole) == 10
    assert len(set(more(10, range(5), replacement=replacement))) > 1


def test_every_order_of_given_counts_is_as_likely():
    orders = call(URN, "Array.from({ length: 3000 }, (_, s) => shuffled(2, 2, s))")
    names, often = np.unique(orders, return_counts=True)
    assert len(names) == 6 and {n.count("r") for n in names} == {2}
    assert stats.chisquare(often).pvalue > 1e-3
    assert call(URN, "shuffled(0, 0, 1)") == ""


@pytest.mark.parametrize("n", [0, 1, 7, 300, 10_000])
def test_the_way_of_the_estimate(n):
    draws = "".join(np.random.default_rng(n).choice(["r", "b"], n, p=[0.3, 0.7]))
    way = call(URN, "settling(draws)", draws=draws)
    shares = np.cumsum([d == "r" for d in draws]) / np.arange(1, n + 1)
    assert len(way) <= 320 and all(share == pytest.approx(shares[int(k) - 1]) for k, share in way)
    steps = [int(k) for k, _ in way]
    assert steps == sorted(set(steps)) and (not n or (steps[0], steps[-1]) == (1, n))
    if n <= 100:
        assert steps == list(range(1, n + 1)), "a short way is drawn whole"


def test_the_spread_that_theory_expects():
    for theta, n in [(0.3, 1), (0.3, 100), (0.8, 7)]:
        put_back = call(URN, "shareDeviation(theta, n, 10, true)", theta=theta, n=n)
        assert put_back == pytest.approx(probability.standard_error(theta, n).item())
        if n <= 10:
            kept_out = call(URN, "shareDeviation(theta, n, 10, false)", theta=theta, n=n)
            assert kept_out == pytest.approx(stats.hypergeom(10, round(10 * theta), n).std() / n)
    assert call(URN, "shareDeviation(0.3, 10, 10, false)") == 0


# ----------------------------------------------------------------------------------------------------------- in Python


def test_the_density_travels_with_the_board():
    widget = DartBoard()
    for name, value in DENSITY.items():
        assert torch.equal(torch.tensor(getattr(widget, name), dtype=torch.float64), value)
    assert (widget.x, widget.y, widget.axis, widget.thrown, widget.reach) == (-0.6, -0.5, "x", 0, 2.5)
    sent = widget.get_state()
    assert {*DENSITY, "x", "y", "axis", "thrown", "seed", "reach"} <= set(sent)
    widget.x, widget.axis = 1, "y"
    assert (widget.x, widget.axis) == (1, "y")


def test_the_urn_starts_with_the_notes_draws():
    widget = Urn()
    assert (widget.red, widget.blue, widget.theta, widget.replacement) == (30, 70, 0.3, True)
    widget = Urn(red=0, blue=0, theta=torch.tensor(0.7, dtype=torch.float64))
    assert (widget.red, widget.blue, widget.theta) == (0, 0, 0.7)
    assert Urn(theta=1 - 0.9).theta == 0.1, "rounding errors of a share are mended"
    assert [Urn(theta=k / 10).theta for k in range(11)] == [k / 10 for k in range(11)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DartBoard(x=2.6), r"x must be a number from -2.5 to 2.5, got 2\.6"),
        (lambda: DartBoard(y="0"), r"y must be a number from -2.5 to 2.5, got '0'"),
        (lambda: DartBoard(y=float("nan")), "y must be a number"),
        (lambda: DartBoard(x=True), "x must be a number"),
        (lambda: DartBoard(axis="z"), "unknown axis 'z'. There are: x, y"),
        (lambda: Urn(red=-1), "red must be at least 0, got -1"),
        (lambda: Urn(blue=2.5), "blue must be a whole number, got 2.5"),
        (lambda: Urn(red=9000, blue=2000), r"red \+ blue must be at most 10000, got 11000"),
        (lambda: Urn(theta=1.2), "theta must be a number from 0 to 1, got 1.2"),
        (lambda: Urn(theta=0.25), "theta must be a whole number of tenths, as the urn holds 10 balls, got 0.25"),
        (lambda: Urn(theta=None), "theta must be a number"),
        (lambda: setattr(Urn(), "theta", 0.55), "whole number of tenths"),
    ],
)
def test_the_widgets_refuse(make, said):
    with pytest.raises(Error, match=said):
        make()


@pytest.mark.parametrize("widget", [DartBoard, Urn])
def test_a_page_can_load_the_joined_module_and_its_state_is_small(widget, tmp_path):
    code = str(widget._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", ""), "a widget names no address"
    state = widget().get_state()
    own = {k: v for k, v in state.items() if not k.startswith("_") and k not in ("layout", "tabbable", "tooltip")}
    assert len(json.dumps(own)) <= 1000
    assert len(json.dumps({k: v for k, v in state.items() if k not in ("layout", "tabbable", "tooltip")})) <= 80_000
