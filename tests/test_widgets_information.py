"""The information chapter's widgets: state, what they refuse, and that a page's numbers are gentut.information's."""

import json
import math
import subprocess

import numpy as np
import pytest
import torch
import traitlets
from scipy.integrate import quad

from gentut import Error, information
from gentut.widgets import InformationBars, KLNormals
from tests.javascript import call, node

MATHS = "information-maths.js"
INF = math.inf
TOTALS = ("p", "q", "cross", "forward", "reverse")


def pairs(n=300):
    """Random pairs of distributions over 2 to 6 outcomes; zeros, sure outcomes, near and far pairs among them."""
    random, found = np.random.default_rng(0), []
    for i in range(n):
        k = int(random.integers(2, 7))
        p, q = (random.dirichlet(np.full(k, random.choice([0.05, 0.5, 5]))) for _ in range(2))
        if i % 3 == 0:
            p[random.integers(k)] = 0
        if i % 4 == 0:
            q[random.integers(k)] = 0
        if i % 5 == 0:
            p[:] = np.eye(k)[0]
        if i % 7 == 0:
            q = p * (1 + 1e-7 * random.standard_normal(k))
        if not p.sum():
            p[-1] = 1
        if not q.sum():
            q[-1] = 1
        found.append(((p / p.sum()).tolist(), (q / q.sum()).tolist()))
    return [*found, ([1, 0], [0, 1]), ([0.5, 0.5], [0.2, 0.8]), ([1, 0], [1, 0]), ([0.5, 0.5], [5e-324, 1])]


def python_totals(p, q):
    p, q = torch.tensor([p, q], dtype=torch.float64)
    found = [information.entropy(p), information.entropy(q), information.cross_entropy(p, q)]
    return [v.item() for v in (*found, information.kl(p, q), information.kl(q, p))]


def normals(n=200):
    """Random Gaussians of what the widget shows, and its corners."""
    random = np.random.default_rng(1)
    found = np.stack([random.uniform(-3, 3, n), np.exp(random.uniform(np.log(0.1), np.log(4), n))], 1)
    corners = [[-3, 0.1], [3, 0.1], [3, 4], [0, 1], [0, 1], [0, 1.0000001]]
    return np.concatenate([found, corners]), np.concatenate([np.roll(found, 1, 0), np.roll(corners, -1, 0)])


# -------------------------------------------------------------------------------------------------------------- numbers


def test_totals_are_pythons():
    given = pairs()
    shown = call(MATHS, "given.map(([p, q]) => totals(p, q))", given=given)
    infinite = 0
    for (p, q), found in zip(given, shown, strict=True):
        want = python_totals(p, q)
        assert [found[key] for key in TOTALS] == pytest.approx(want, rel=1e-12, abs=1e-15), (p, q)
        infinite += math.isinf(found["forward"])
    assert infinite >= 30


def test_close_distributions_keep_their_digits():
    """D of order 1e-14 would be lost in H(p, q) - H(p)."""
    p = [0.3, 0.7]
    q = [0.3 + 1e-7, 0.7 - 1e-7]
    found, want = call(MATHS, "kl(p, q)", p=p, q=q), information.kl(p, q).item()
    assert want == pytest.approx(1e-14 / 2 / 0.21, rel=1e-5)  # the square of the difference by twice the variance
    assert found == pytest.approx(want, rel=1e-8)


def test_information_is_pythons():
    p = [0, 1e-300, 0.2, 0.5, 0.8, 1]
    found = call(MATHS, "p.map(information)", p=p)
    assert found == pytest.approx(information.information(p).tolist(), rel=1e-14)
    assert found[0] == INF and math.copysign(1, found[-1]) == 1


def test_the_notes_coins():
    """0.72 bits; 1.32 and 1.03 bits for guesses at a fair coin."""
    bits = "totals(p, q)[name] / BIT"
    assert round(call(MATHS, bits, p=[0.2, 0.8], q=[0.5, 0.5], name="p"), 2) == 0.72
    assert round(call(MATHS, bits, p=[0.5, 0.5], q=[0.2, 0.8], name="cross"), 2) == 1.32
    assert round(call(MATHS, bits, p=[0.5, 0.5], q=[0.4, 0.6], name="cross"), 2) == 1.03


def test_what_is_ruled_out_is_named():
    names, file = ["a", "b", "c"], "information-bars.js"
    words = "why(p, q, names)"
    said = call(file, words, p=[0.5, 0.25, 0.25], q=[1, 0, 0], names=names)
    assert said == "D(p ‖ q) is infinite: q gives b, c probability 0, and p allows them."
    said = call(file, words, p=[0.5, 0.5, 0], q=[0.5, 0, 0.5], names=names)
    assert "q gives b probability 0, and p allows it." in said and "p gives c probability 0, and q allows it." in said
    assert "0.322 bits" in call(file, words, p=[0.5, 0.5], q=[0.2, 0.8], names=names[:2])
    assert "nothing is wasted" in call(file, words, p=[0.5, 0.5, 0], q=[0.5, 0.5, 0], names=names)


def test_rescaling_keeps_the_sum_and_the_proportions_of_the_others():
    given = [(p, value) for p, _ in pairs(60) for value in (0, 0.37, 1)]
    shown = call(MATHS, "given.map(([p, value]) => rescale(p, p.length - 1, value))", given=given)
    for (p, value), new in zip(given, shown, strict=True):
        others, was = new[:-1], p[:-1]
        assert new[-1] == value and sum(new) == pytest.approx(1, abs=1e-15) and min(new) >= 0
        if value == 1:
            assert others == [0] * len(others)
        elif sum(was):
            assert np.array(others) == pytest.approx(np.array(was) / sum(was) * (1 - value), abs=1e-15)
        else:  # a sure outcome gives way: the others share
            assert others == pytest.approx([(1 - value) / len(others)] * len(others))


def test_outcomes_come_and_go():
    p = [0.2, 0.5, 0.3]
    more, less, back = call(MATHS, "[grown(p), shrunk(p), shrunk(grown(p))]", p=p)
    assert more == pytest.approx([0.15, 0.375, 0.225, 0.25]) and less == pytest.approx([2 / 7, 5 / 7])
    assert back == pytest.approx(p)
    assert call(MATHS, "shrunk(p)", p=[0, 0, 1]) == [0.5, 0.5]
    name = "nextName(names)"
    assert call(MATHS, name, names=["heads", "tails"]) == "C"
    assert call(MATHS, name, names=["1", "2", "3"]) == "4"
    assert call(MATHS, name, names=["D", "x", "y"]) == "E"


def test_divergences_of_normals_are_pythons():
    p, q = normals()
    found = call(MATHS, "p.map((v, i) => klNormals(v, q[i]))", p=p, q=q)
    want = information.kl_normals(*torch.tensor(p).T, *torch.tensor(q).T)
    assert found == pytest.approx(want.tolist(), rel=1e-12, abs=1e-16)
    assert max(found) > 1000 and min(found) == 0
    to_standard = call(MATHS, "p.map(v => klNormal(...v))", p=p)
    assert to_standard == pytest.approx(information.kl_normal(*torch.tensor(p).T).tolist(), rel=1e-12, abs=1e-16)


def test_the_area_is_the_closed_form():
    p, q = normals()
    found = call(MATHS, "p.map((v, i) => areas(v, q[i]))", p=p, q=q)
    want = information.kl_normals(*torch.tensor(p).T, *torch.tensor(q).T).tolist()
    assert [each["signed"] for each in found] == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert all(each["negative"] >= 0 and each["positive"] >= each["negative"] - 1e-12 for each in found)


def test_integrand_and_its_parts_are_scipys():
    p, q = (0.5, 1.2), (1.5, 0.7)
    log_p, log_q = (torch.distributions.Normal(*torch.tensor(v, dtype=torch.float64)).log_prob for v in (p, q))
    x = torch.linspace(-6, 6, 97, dtype=torch.float64)
    want = log_p(x).exp() * (log_p(x) - log_q(x))
    assert call(MATHS, "x.map(v => integrand(v, p, q))", x=x, p=p, q=q) == pytest.approx(want.tolist(), abs=1e-13)
    cuts, found = call(MATHS, "[crossings(p, q), areas(p, q)]", p=p, q=q)
    assert len(cuts) == 2
    at = torch.tensor(cuts, dtype=torch.float64)
    assert torch.allclose(log_p(at), log_q(at), atol=1e-12)

    def part(sign):
        def of(x):
            x = torch.tensor(x, dtype=torch.float64)
            return max(0, sign * (log_p(x).exp() * (log_p(x) - log_q(x))).item())

        return quad(of, -12, 12, points=cuts, limit=200, epsabs=1e-11)[0]

    assert (found["positive"], found["negative"]) == pytest.approx((part(1), part(-1)), abs=1e-9)


def test_crossings_in_every_case():
    p, q = normals()
    every = call(MATHS, "p.map((v, i) => crossings(v, q[i]))", p=p, q=q)
    for one, other, cuts in zip(p, q, every, strict=True):
        same = (one == other).all()
        assert len(cuts) == (0 if same else 1 if one[1] == other[1] else 2)
        assert cuts == sorted(cuts)
    assert call(MATHS, "crossings(p, q)", p=[-1, 1], q=[1, 1]) == [0]


# ---------------------------------------------------------------------------------------------------------------- state


def test_defaults_are_what_the_notebook_shows():
    bars, normals_ = InformationBars(), KLNormals()
    assert (bars.p, bars.q, bars.names) == ([0.5, 0.5], [0.2, 0.8], ["heads", "tails"])
    assert (normals_.p, normals_.q, normals_.direction) == ([0, 1], [1.5, 0.7], "forward")


def test_names_follow_the_number_of_outcomes():
    assert InformationBars([1 / 6] * 6, [1 / 6] * 6).names == list("123456")
    assert InformationBars([0.2, 0.3, 0.5], [0.5, 0.5, 0]).names == list("ABC")
    assert InformationBars(names=("yes", "no")).names == ["yes", "no"]


def test_tensors_of_any_precision_are_taken():
    p = torch.tensor([0.2, 0.7, 0.1])
    bars = InformationBars(p, np.array([0.25, 0.25, 0.5]))
    assert bars.p == pytest.approx(p.tolist()) and sum(bars.p) == pytest.approx(1, abs=1e-15)
    assert information.entropy(bars.p) > 0  # float64's tolerance holds
    assert KLNormals(p=torch.tensor([0.5, 2.0]), q=[0, 1]).p == [0.5, 2.0]


def test_state_can_be_set():
    bars = InformationBars()
    bars.p = [0, 1]
    assert bars.p == [0, 1]
    bars.show([0.2, 0.3, 0.5], [1, 0, 0], ["x", "y", "z"])
    assert (bars.p, bars.q, bars.names) == ([0.2, 0.3, 0.5], [1, 0, 0], ["x", "y", "z"])
    bars.show([0.5, 0.5], [1, 0])
    assert bars.names == ["heads", "tails"]
    normals_ = KLNormals()
    normals_.q, normals_.direction = (0, 1), "reverse"
    assert normals_.q == [0, 1] and normals_.direction == "reverse"


def test_what_a_page_sends_back_is_taken():
    """All three traits of another number of outcomes in one message, as a view sends them."""
    bars = InformationBars()
    bars.set_state({"p": [0.25, 0.5, 0.25], "q": [0.4, 0.2, 0.4], "names": ["a", "b", "c"]})
    assert (bars.p, bars.q, bars.names) == ([0.25, 0.5, 0.25], [0.4, 0.2, 0.4], ["a", "b", "c"])


def test_a_refused_change_leaves_everything_as_it_was():
    bars = InformationBars()
    for name, value, said in [
        ("p", [0.5, 0.6], "p must sum to 1 .* it sums to 1.1"),
        ("q", [0.2, 0.3, 0.5], "as many outcomes as each other, got p 2, q 3, names 2: show"),
        ("names", ["a", "a"], "different"),
    ]:
        with pytest.raises(Error, match=said):
            setattr(bars, name, value)
    with pytest.raises(Error, match="as many outcomes"), bars.hold_trait_notifications():
        bars.p, bars.q = [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]
    assert (bars.p, bars.q, bars.names) == ([0.5, 0.5], [0.2, 0.8], ["heads", "tails"])
    normals_ = KLNormals()
    with pytest.raises(Error, match="sigma of q"):
        normals_.q = [0, 0]
    with pytest.raises(Error, match="unknown direction 'up'"):
        normals_.direction = "up"
    assert normals_.q == [1.5, 0.7] and normals_.direction == "forward"
    with pytest.raises(traitlets.TraitError):
        bars.p = "half"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: InformationBars([0.5, 0.6]), r"must sum to 1 along the last axis \(tolerance 1e-09\), it sums to 1.1"),
        (lambda: InformationBars(q=[1.5, -0.5]), "q must not be negative, got -0.5"),
        (lambda: InformationBars([0.5, math.nan]), "p holds NaN"),
        (lambda: InformationBars([1.0], [1.0]), r"p must be 2 to 6 probabilities, got the shape \(1,\)"),
        (lambda: InformationBars([1 / 7] * 7, [1 / 7] * 7), r"got the shape \(7,\)"),
        (lambda: InformationBars([[0.5, 0.5]]), r"got the shape \(1, 2\)"),
        (lambda: InformationBars([0.5, 0.5], [0.2, 0.3, 0.5]), "as many outcomes as each other, got 2 and 3"),
        (lambda: InformationBars(names=["a"]), "names must be 2, one an outcome, got 1"),
        (lambda: InformationBars(names=["a", "a"]), "names must be different"),
        (lambda: InformationBars(names=["a", " "]), "names must be different from each other and not empty"),
        (lambda: InformationBars(names="ab"), "names must be a list of names, .* got the one 'ab'"),
        (lambda: InformationBars("fair"), "p must be numbers, got str: 'fair'"),
        (lambda: KLNormals(p=(0, 0)), "the sigma of p must lie between 0.1 and 4, got 0"),
        (lambda: KLNormals(q=(0, -1)), "the sigma of q must lie between 0.1 and 4, got -1"),
        (lambda: KLNormals(p=(5, 1)), "the mean of p must lie between -3 and 3, got 5"),
        (lambda: KLNormals(p=(0, math.inf)), "p must be finite, got inf"),
        (lambda: KLNormals(p=(0, 1, 2)), r"p must be a pair \(mean, sigma\), got the shape \(3,\)"),
        (lambda: KLNormals(q=1), r"q must be a pair \(mean, sigma\), got the shape \(\)"),
        (lambda: KLNormals(direction="back"), "unknown direction 'back'. There are: forward, reverse"),
    ],
)
def test_constructors_refuse(make, said):
    with pytest.raises(Error, match=said):
        make()


@pytest.mark.parametrize("widget", [InformationBars, KLNormals])
def test_the_joined_module_is_one_that_a_page_can_load(widget, tmp_path):
    """As a blob: nothing left to import, no name declared twice, a default export with render."""
    code = str(widget._esm)
    (tmp_path / "joined.mjs").write_text(code, encoding="utf-8")
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert set(part for part in code.split('"') if "http" in part) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("widget", [InformationBars, KLNormals])
def test_the_state_is_small(widget):
    """Code and style included."""
    assert len(json.dumps(widget().get_state(), default=str)) <= 60_000
