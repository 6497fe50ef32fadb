"""The Markov chapter's widget: what its JavaScript computes is gentut.markov's, and what it refuses."""

import itertools
import json
import subprocess

import numpy as np
import pytest
import torch
from javascript import call, node

from gentut import Error, markov
from gentut.widgets import MarkovChain

FILE = "markov-maths.js"
VIEW = "markov-chain.js"


def chains(n=400, seed=0):
    """Random chains of 2 to 5 states: dense, spiky, with many zeros, permutations, and functions of the state."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(n):
        k = int(random.integers(2, 6))
        A = random.dirichlet(np.full(k, random.choice([0.3, 1, 5])), size=k)
        if number % 5 == 1:  # reducible, or periodic, or both
            A = A * (random.random((k, k)) < 0.4)
            for row in A:
                row[random.integers(k)] += row.sum() == 0
        if number % 5 == 2:
            A = np.eye(k)[random.permutation(k)]
        if number % 5 == 3:
            A = np.eye(k)[random.integers(k, size=k)]
        found.append((A / A.sum(1, keepdims=True)).tolist())
    return found


EXACT = {  # eigenvalues known without computing, multiple ones among them
    "one after the other": ([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]], [1, 0.5, 0.5, 0.5]),
    "and backwards": ([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]], [1, 0.5, 0.5, 0.5]),
    "forgets at once": ([[0.1, 0.2, 0.3, 0.15, 0.25]] * 5, [1, 0, 0, 0, 0]),
    "two coins in a row": (
        [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]],
        [1, 0, 0, 0],
    ),
    "stands still": (np.eye(5).tolist(), [1] * 5),
    "goes round": (np.roll(np.eye(5), 1, axis=1).tolist(), np.exp(2j * np.pi * np.arange(5) / 5).tolist()),
    "to and fro": ([[0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]], [1, -1, 0, 0]),
    "two alike": ([[0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], [0, 0, 0.9, 0.1], [0, 0, 0.2, 0.8]], [1, 1, 0.7, 0.7]),
}


def apart(got, want):
    """The largest distance between two sets of eigenvalues, paired as well as can be."""
    got, want = np.array(got, complex), np.array(want, complex)
    orders = np.array(list(itertools.permutations(range(len(got)))))
    return np.abs(got[orders] - want).max(1).min()


def as_complex(pairs):
    return [complex(*z) for z in pairs]


# ------------------------------------------------------------------------------------------------------------ the maths


def test_eigenvalues_are_those_of_python_in_the_same_order():
    given = chains()
    got = call(FILE, "list.map(eigenvaluesOf)", list=given)
    simple = 0
    for A, values in zip(given, map(as_complex, got), strict=True):
        want = markov.eigenvalues(A).tolist()
        gap = min(abs(a - b) for a, b in itertools.combinations(want, 2))
        assert apart(values, want) <= (1e-8 if gap > 1e-6 else 1e-4), A
        assert values[0] == pytest.approx(1, abs=1e-12)
        assert abs(values[1]) == pytest.approx(markov.second_eigenvalue(A), abs=1e-8 if gap > 1e-6 else 1e-4)
        if gap > 1e-6:
            simple += 1
            np.testing.assert_allclose(values, want, atol=1e-8)
    assert simple > 200, "most chains must have simple eigenvalues, or little was tested"


@pytest.mark.parametrize("name", EXACT)
def test_multiple_eigenvalues_are_found(name):
    A, want = EXACT[name]
    got = as_complex(call(FILE, "eigenvaluesOf(A)", A=A))
    assert apart(got, want) <= (1e-8 if len(set(np.round(want, 6))) == len(want) else 1e-4)


def test_eigenvalues_of_one_block_each_are_exact():
    """A chain that only moves on has its diagonal as eigenvalues, however often a value occurs."""
    for name in ("one after the other", "and backwards", "stands still"):
        A, want = EXACT[name]
        assert call(FILE, "eigenvaluesOf(A)", A=A) == [[v, 0] for v in want]


def test_classes_periods_and_stationary_distributions():
    given = chains(seed=1)
    got = call(FILE, "list.map(A => ({ found: communicating(A), rows: stationaryRows(A) }))", list=given)
    several = periodic = 0
    for A, answer in zip(given, got, strict=True):
        found = answer["found"]
        closed = [c for c in found if c["closed"]]
        assert [c["states"] for c in found] == markov.classes(A)
        assert [c["states"] for c in closed] == markov.closed_classes(A)
        assert np.lcm.reduce([c["period"] for c in closed]) == markov.period(A)
        want = markov.stationary(A).numpy()
        np.testing.assert_allclose(answer["rows"], want, rtol=1e-12, atol=0)
        several += len(closed) > 1
        periodic += markov.period(A) > 1
    assert several > 20 and periodic > 20


def test_tiny_probabilities_keep_their_digits():
    e = 1e-12
    A = [[1 - e, e, 0], [0, 1 - 3 * e, 3 * e], [1e-200, 0, 1]]
    A[2][2] = 1.0
    got = call(FILE, "stationaryRows(A)[0]", A=A)
    np.testing.assert_allclose(got, markov.stationary(A)[0], rtol=1e-12)


def test_the_way_of_the_distribution():
    given = chains(60, seed=2)
    code = "list.map(A => distributions(A, 1, 40)).map(path => [path, totalVariation(path[3], path[7])])"
    for A, (path, distance) in zip(given, call(FILE, code, list=given), strict=True):
        start = torch.eye(len(A), dtype=torch.float64)[1]
        for t in (0, 1, 2, 3, 7, 40):
            np.testing.assert_allclose(path[t], markov.evolve(start, A, t), atol=1e-13)
        assert distance == pytest.approx(markov.total_variation(path[3], path[7]).item(), abs=1e-13)


def test_where_the_chain_ends():
    """The limit of the lazy chain, which has no period and the same classes, is the mixture that the page draws."""
    given = chains(200, seed=3)
    code = "list.map(A => A.map((_, s) => { const w = endings(A, s); return [w, mixture(stationaryRows(A), w)]; }))"
    for A, answers in zip(given, call(FILE, code, list=given), strict=True):
        lazy = (torch.tensor(A, dtype=torch.float64) + torch.eye(len(A), dtype=torch.float64)) / 2
        for start, (weights, target) in enumerate(answers):
            assert sum(weights) == pytest.approx(1)
            limit = markov.evolve(torch.eye(len(A), dtype=torch.float64)[start], lazy, 2**60)
            np.testing.assert_allclose(target, limit, atol=1e-7)
            rows = [row for row, c in zip(markov.stationary(A), markov.closed_classes(A), strict=True) if start in c]
            if rows:  # it starts where it stays
                np.testing.assert_allclose(target, rows[0], atol=1e-12)


def test_an_edited_row_keeps_its_sum_and_its_proportions():
    random = np.random.default_rng(4)
    cases = []
    for A in chains(200, seed=4):
        i, j = random.integers(len(A), size=2).tolist()
        cases.append([A, i, j, float(random.choice([0, 1, random.random()]))])
    got = call(FILE, "list.map(([A, i, j, v]) => withEntry(A, i, j, v))", list=cases)
    for (A, i, j, v), B in zip(cases, got, strict=True):
        A, B = np.array(A), np.array(B)
        markov.validate(B)
        np.testing.assert_allclose(B.sum(1), 1, atol=1e-15 * 8)
        assert B[i, j] == v
        assert (np.delete(A, i, 0) == np.delete(B, i, 0)).all(), "other rows stay"
        before, after = np.delete(A[i], j), np.delete(B[i], j)
        if before.sum() > 0:
            np.testing.assert_allclose(after * before.sum(), before * (1 - v), atol=1e-14)
        else:
            np.testing.assert_allclose(after, (1 - v) / len(after))


def test_a_movement_of_the_hand_through_1_brings_the_row_back():
    A = markov.RESTAURANT.tolist()
    code = "withEntry(withEntry(A, 0, 1, 1), 0, 1, 0.6, A[0])"
    np.testing.assert_allclose(call(FILE, code, A=A), A, atol=1e-15)
    assert call(FILE, "withEntry(withEntry(A, 0, 1, 1), 0, 1, 0.6)", A=A)[0] == pytest.approx([0.2, 0.6, 0.2])
    assert call(FILE, "withEntry(A, 0, 1, 7)", A=A)[0] == [0, 1, 0]
    assert call(FILE, "withEntry(A, 0, 1, -7)", A=A)[0] == pytest.approx([0.5, 0, 0.5])


def test_the_walker_goes_by_the_matrix():
    row = [0.2, 0, 0.5, 0.3, 0]
    us = np.linspace(0, 1, 10_001)[:-1]
    got = np.bincount(call(FILE, "us.map(u => nextState(row, u))", us=us, row=row), minlength=5)
    np.testing.assert_allclose(got / 10_000, row, atol=2e-4)
    thirds = [1 / 3, 1 / 3, 1 / 3 - 1e-10, 0]  # the sum is below the largest u: still no step of probability 0
    assert call(FILE, "nextState(row, 1 - 2 ** -53)", row=thirds) == 2
    assert call(FILE, "nextState(row, 0)", row=[0, 0, 1]) == 2


def test_presets():
    presets = call(FILE, "PRESETS")
    assert list(presets) == ["restaurant", "periodic", "closed"]
    assert presets["restaurant"]["A"] == markov.RESTAURANT.tolist()
    assert presets["restaurant"]["names"] == list(markov.DISHES)
    assert markov.period(presets["periodic"]["A"]) == 3
    assert len(markov.stationary(presets["closed"]["A"])) == 2
    for preset in presets.values():
        MarkovChain(preset["A"], preset["names"], preset["start"])


# -------------------------------------------------------------------------------------------------- graph and words


def test_labels_of_the_graph_touch_neither_states_nor_each_other():
    given = chains(120, seed=5)
    labels = 0
    for width in (290, 330, 450):
        code = "list.map(A => [layout(A, w, tallness(A.length, w)), tallness(A.length, w)])"
        plans = call(VIEW, code, list=given, w=width)
        for A, (plan, height) in zip(given, plans, strict=True):
            k = len(A)
            assert len(plan["edges"]) == (np.array(A) > 0).sum()
            places = np.array(plan["places"])
            r = plan["radius"]
            gaps = [np.hypot(*(a - b)) for a, b in itertools.combinations(places, 2)]
            assert min(gaps) > 2 * r + 12, "states are apart, with room for an arrow"
            assert (places >= r).all() and (places <= np.array([width, height]) - r).all()
            boxes = [(box["x"], box["y"], box["half"]) for box in plan["labels"]]
            for x, y, half in boxes:
                assert half <= x <= width - half and 6 <= y <= height - 6
                for a, b in places:
                    assert np.hypot(max(0, abs(x - a) - half), max(0, abs(y - b) - 6)) >= r
            for (x, y, half), (u, v, other) in itertools.combinations(boxes, 2):
                assert abs(x - u) >= half + other or abs(y - v) >= 15
            labels += len(boxes)
            if k <= 3:
                assert len(boxes) == len(plan["edges"]), "three states have room for every probability"
    assert labels > 1000


@pytest.mark.parametrize(
    ("p", "text"),
    [(0, "0"), (1, "1"), (0.5, "0.5"), (1 / 3, "0.33"), (0.004, "<0.01"), (0.9999, ">0.99"), (1e-9, "<0.01")],
)
def test_a_probability_in_few_signs(p, text):
    assert call(VIEW, "chance(p)", p=p) == text


def test_eigenvalues_in_words():
    lines = call(VIEW, "eigenvalueLines(z)", z=[[1, 0], [-0.15, 0.3122], [-0.15, -0.3122], [0, 0], [0, 0]])
    assert lines == ["λ₁ = 1", "λ₂, λ₃ = −0.150 ± 0.312 i", "λ₄, λ₅ = 0"]


def said(A, names, start):
    code = "verdict({ closed: found.filter(c => c.closed), weights, period }, names, start)"
    found = call(FILE, "communicating(A)", A=A)
    weights = call(FILE, "endings(A, s)", A=A, s=start)
    return call(VIEW, code, found=found, weights=weights, period=markov.period(A), names=names, start=start)


def test_the_verdict_names_what_is_there():
    assert said(markov.RESTAURANT.tolist(), markov.DISHES, 0).startswith("One stationary distribution π: wherever")
    presets = call(FILE, "PRESETS")
    text = said(presets["periodic"]["A"], presets["periodic"]["names"], 0)
    assert "One stationary distribution π." in text and "periodic, with period 3" in text
    text = said(presets["closed"]["A"], presets["closed"]["names"], 2)
    assert text.startswith("2 stationary distributions, and all their mixtures: π₁ on a, b; π₂ on d, e.")
    assert "From c it ends in π₁ with probability 0.429, in π₂ with probability 0.571" in text
    assert "From a it ends in π₁ for sure" in said(presets["closed"]["A"], presets["closed"]["names"], 0)


# ------------------------------------------------------------------------------------------------------ the Python side


def test_defaults_are_the_restaurant_at_pizza():
    widget = MarkovChain()
    assert torch.tensor(widget.A, dtype=torch.float64).equal(markov.RESTAURANT)
    assert (widget.names, widget.start) == (list(markov.DISHES), 1)
    assert (widget.t, widget.walked, widget.seed) == (0, 0, 0)


def test_a_chain_of_ones_own():
    widget = MarkovChain(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), names=("sun", "rain"), start=0, t=3)
    assert widget.A == [[0.5, 0.5], [0.25, 0.75]]
    assert (widget.names, widget.start, widget.t) == (["sun", "rain"], 0, 3)
    assert MarkovChain(np.eye(4)).names == ["1", "2", "3", "4"]


def test_traits_may_be_set_and_are_held_to_the_same_rules():
    widget = MarkovChain(start=2)
    widget.A = [[0, 1], [1, 0]]
    assert (widget.names, widget.start) == (["1", "2"], 1)
    widget.names = ["tick", "tock"]
    with pytest.raises(Error, match="row 0 sums to 1.5"):
        widget.A = [[0.5, 1.0], [1, 0]]
    with pytest.raises(Error, match="start must be a state from 0 to 1, got 2"):
        widget.start = 2
    with pytest.raises(Error, match="names must be 2 different names"):
        widget.names = ["tick"]
    assert (widget.A, widget.names, widget.start) == ([[0, 1], [1, 0]], ["tick", "tock"], 1)


def test_a_chain_that_the_page_chose_arrives_whole():
    """One message from the page with another number of states: A, names and start belong together."""
    widget = MarkovChain()
    preset = call(FILE, "PRESETS.closed")
    widget.set_state({"A": preset["A"], "names": preset["names"], "start": preset["start"], "t": 0, "walked": 0})
    assert (widget.A, widget.names, widget.start) == (preset["A"], preset["names"], 2)
    widget.set_state({"start": 0, "names": ["x", "y"], "A": [[0.5, 0.5], [0, 1]]})
    assert (widget.A, widget.names, widget.start) == ([[0.5, 0.5], [0, 1]], ["x", "y"], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"A": [[1.0]]}, "A must have 2 to 5 states, got 1"),
        ({"A": np.eye(6)}, "A must have 2 to 5 states, got 6"),
        ({"A": [[0.5, 0.5]]}, "square matrix"),
        ({"A": [[0.5, 0.4], [0, 1]]}, "row 0 sums to 0.9"),
        ({"A": [[1.5, -0.5], [0, 1]]}, "must not be negative"),
        ({"A": [[float("nan"), 1], [0, 1]]}, "NaN"),
        ({"A": "pizza"}, "A must be numbers"),
        ({"names": ["a", "b"]}, "names must be 3 different names, one a state, got"),
        ({"names": ["a", "a", "b"]}, "3 different names"),
        ({"names": ["a", " ", "b"]}, "3 different names"),
        ({"names": "abc"}, "3 different names"),
        ({"names": 3}, "3 different names"),
        ({"start": 3}, "start must be a state from 0 to 2, got 3"),
        ({"start": -1}, "start must be at least 0"),
        ({"start": "pizza"}, "start must be a whole number"),
        ({"start": True}, "start must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(Error, match=message):
        MarkovChain(**options)


def test_the_state_is_small_and_the_code_is_one_module(tmp_path):
    widget = MarkovChain(np.full((5, 5), 0.2))
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip")}
    assert len(json.dumps(state)) <= 90_000, "code and style included"
    assert len(json.dumps({k: v for k, v in state.items() if not k.startswith("_")})) <= 1000
    code = str(widget._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", ""), "a widget names no address"
