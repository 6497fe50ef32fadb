"""Markov chains: every result against exact fractions, a second way to compute it, or a law of all chains."""

import itertools
import json
import math
import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, markov
from gentut.markov import RESTAURANT

TWO_ROOMS = [[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.2, 0.8]]
ALTERNATING = [[0.0, 1.0], [1.0, 0.0]]
FALSE_ALARM = 1e-6  # of each statistical test, if its seed were drawn anew


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ chains to test with


def block(period, width, random):
    """An irreducible matrix of period · width states and exactly this period: group g goes to group g + 1 only."""
    A = np.zeros((period * width, period * width))
    for g in range(period):
        to = (g + 1) % period
        A[g * width : (g + 1) * width, to * width : (to + 1) * width] = random.uniform(0.05, 1, (width, width))
    return A


UP_TO_3, NONE_TO_3 = st.integers(1, 3), st.integers(0, 3)


@st.composite
def chains(draw, closed=UP_TO_3, periods=UP_TO_3, transient=NONE_TO_3):
    """(A, closed classes, their periods): a chain put together from known blocks, its states shuffled."""
    random = np.random.RandomState(draw(st.integers(0, 10**6)))
    given = [(draw(periods), draw(st.integers(1, 2))) for _ in range(draw(closed))]
    blocks = [block(*shape, random) for shape in given]
    k, extra = sum(map(len, blocks)), draw(transient)
    A, members, at = np.zeros((k + extra, k + extra)), [], 0
    for part in blocks:
        A[at : at + len(part), at : at + len(part)] = part
        members.append(list(range(at, at + len(part))))
        at += len(part)
    for i in range(k, k + extra):  # a transient state reaches a closed class at once, and some of its like
        A[i] = random.uniform(0, 1, k + extra) * (random.uniform(size=k + extra) < 0.5)
        A[i, random.randint(k)] = 0.3
    A /= A.sum(1, keepdims=True)
    order = random.permutation(k + extra)  # new state i is the old order[i]
    place = np.argsort(order)
    shuffled = sorted(
        (sorted(place[part].tolist()), period) for part, (period, _) in zip(members, given, strict=True)
    )
    return tensor(A[np.ix_(order, order)]), [c for c, _ in shuffled], [p for _, p in shuffled]


settling = chains(closed=st.just(1), periods=st.just(1))  # one closed class, aperiodic: these mix


@st.composite
def a_chain_and_distributions(draw, chain=None):
    A = draw(chain or chains())[0]
    random = np.random.RandomState(draw(st.integers(0, 10**6)))
    return A, tensor(random.dirichlet(np.ones(len(A)), size=draw(st.integers(1, 3))))


def exactly(rows):
    """Decimal fractions as they are written: 0.2 is 1/5."""
    return [[Fraction(str(x)) for x in row] for row in rows]


def exact_step(pi, A):
    return [sum(p * row[j] for p, row in zip(pi, A, strict=True)) for j in range(len(A))]


def exact_stationary(A):
    """The solution of pi = pi A, sum pi = 1 for an irreducible matrix, by elimination; diagonals unread."""
    k = len(A)
    rates = [[A[i][j] if i != j else -sum(A[i][m] for m in range(k) if m != i) for j in range(k)] for i in range(k)]
    # one equation a column, the last of which the sum replaces; unknowns pi_0 .. pi_{k-1}, then the right-hand side
    M = [[rates[i][j] for i in range(k)] + [Fraction(0)] for j in range(k - 1)] + [[Fraction(1)] * (k + 1)]
    for c in range(k):
        pivot = next(r for r in range(c, k) if M[r][c] != 0)
        M[c], M[pivot] = M[pivot], M[c]
        M[c] = [x / M[c][c] for x in M[c]]
        for r in range(k):
            if r != c:
                M[r] = [x - M[r][c] * y for x, y in zip(M[r], M[c], strict=True)]
    return [row[-1] for row in M]


# ------------------------------------------------------------------------------------------------------ the restaurant


def test_the_restaurant_of_the_notes():
    assert markov.DISHES == ("hamburger", "pizza", "hot dog")
    assert RESTAURANT.tolist() == [[0.2, 0.6, 0.2], [0.3, 0, 0.7], [0.5, 0, 0.5]]
    assert torch.equal(markov.validate(RESTAURANT), RESTAURANT)
    assert markov.evolve([0.0, 1.0, 0.0], RESTAURANT, 1).tolist() == [0.3, 0.0, 0.7]


def test_the_restaurants_stationary_distribution_is_25_15_31_over_71():
    wanted = [Fraction(25, 71), Fraction(15, 71), Fraction(31, 71)]
    A = exactly(RESTAURANT.tolist())
    assert exact_step(wanted, A) == wanted == exact_stationary(A)
    found = markov.stationary(RESTAURANT)
    assert found.shape == (1, 3) and found.dtype == torch.float64
    assert found[0].tolist() == pytest.approx([float(p) for p in wanted], rel=4e-16, abs=0)


def test_the_restaurants_second_eigenvalue_is_the_root_of_12_hundredths():
    (a, b, c), (d, e, f), (g, h, i) = exactly(RESTAURANT.tolist())
    trace, minors = a + e + i, (a * e - b * d) + (a * i - c * g) + (e * i - f * h)
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    # z³ - trace z² + minors z - det = (z - 1)(z² + (1 - trace) z + det), with complex roots: their modulus² is det
    assert 1 - trace + minors - det == 0 and (1 - trace) ** 2 < 4 * det and det == Fraction(12, 100)
    assert markov.second_eigenvalue(RESTAURANT) == pytest.approx(math.sqrt(0.12), rel=1e-14)
    assert round(math.sqrt(0.12), 3) == 0.346
    found = markov.eigenvalues(RESTAURANT)
    root = complex(-0.15, math.sqrt(0.12 - 0.15**2))
    assert found.dtype == torch.complex128
    assert np.allclose(found.numpy(), [1, root, root.conjugate()], rtol=0, atol=1e-14)


def test_fifty_days_in_the_restaurant_in_fractions():
    A, pi = exactly(RESTAURANT.tolist()), [Fraction(0), Fraction(1), Fraction(0)]
    for day in range(51):
        found = markov.evolve([0, 1, 0], RESTAURANT, day)
        assert found.tolist() == pytest.approx([float(p) for p in pi], rel=1e-14, abs=1e-16), day
        pi = exact_step(pi, A)


# ------------------------------------------------------------------------------------------------------------ evolution


@given(a_chain_and_distributions(), st.integers(0, 40))
def test_n_steps_at_once_are_n_single_steps(case, n):
    A, pi = case
    one_by_one = pi
    for _ in range(n):
        one_by_one = one_by_one @ A
    found = markov.evolve(pi, A, n)
    assert found.shape == pi.shape and torch.allclose(found, one_by_one, rtol=0, atol=1e-13)


@given(a_chain_and_distributions(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_m_plus_n_steps_are_m_steps_and_then_n(case, m, n):
    A, pi = case
    # A itself is known to 1e-16 only, and a period turns that into an error that grows with the number of steps
    assert torch.allclose(
        markov.evolve(pi, A, m + n), markov.evolve(markov.evolve(pi, A, m), A, n), rtol=0, atol=1e-10
    )


@given(a_chain_and_distributions(), st.integers(0, 10**24))
def test_a_distribution_stays_one_however_many_the_steps(case, n):
    A, pi = case
    found = markov.evolve(pi, A, n)
    assert (found >= 0).all() and torch.allclose(found.sum(-1), tensor(1.0), rtol=0, atol=1e-15 * len(A))
    rows = markov.evolve(torch.eye(len(A), dtype=torch.float64), A, n)  # A^n itself
    assert torch.allclose(rows.sum(1), torch.ones_like(rows[0]), rtol=0, atol=1e-15 * len(A))


def test_rounding_in_the_input_does_not_grow_with_the_number_of_steps():
    third = [[0.3333333333, 0.6666666666], [0.6666666666, 0.3333333333]]  # rows sum to 0.9999999999
    found = markov.evolve([1.0, 0.0], third, 10**12)
    assert found.tolist() == pytest.approx([0.5, 0.5], rel=1e-15)
    single = torch.tensor(third, dtype=torch.float32)  # off by far more, as float32 is
    assert markov.evolve([1.0, 0.0], single, 10**12).tolist() == pytest.approx([0.5, 0.5], rel=1e-15)


def test_no_step_changes_nothing_and_the_type_of_pi_is_kept():
    for kind in (torch.float32, torch.float64):
        pi = torch.tensor([[0.25, 0.5, 0.25], [1, 0, 0]], dtype=kind)
        same, later = markov.evolve(pi, RESTAURANT, 0), markov.evolve(pi, RESTAURANT.float(), 3)
        assert same.dtype == later.dtype == kind and torch.equal(same, pi)
    assert markov.evolve([0, 1, 0], RESTAURANT.tolist(), np.int64(2)).dtype == torch.float64
    batch = markov.evolve(torch.eye(3).expand(2, 4, 3, 3), RESTAURANT, 2)
    assert batch.shape == (2, 4, 3, 3) and torch.allclose(batch[1, 3].double(), RESTAURANT @ RESTAURANT)


def test_huge_numbers_of_steps_end_at_the_stationary_distribution():
    pi = markov.stationary(RESTAURANT)[0]
    for n in (10**6, 2**63, 10**30):
        assert torch.allclose(markov.evolve([0, 1, 0], RESTAURANT, n), pi, rtol=1e-15, atol=0)
    assert markov.evolve([1, 0], ALTERNATING, 10**30).tolist() == [1, 0]
    assert markov.evolve([1, 0], ALTERNATING, 10**30 + 1).tolist() == [0, 1]


def test_a_million_steps_take_under_10_ms():
    times = []
    for _ in range(9):
        start = time.perf_counter()
        markov.evolve([0.0, 1.0, 0.0], RESTAURANT, 10**6)
        times.append(time.perf_counter() - start)
    assert sorted(times)[4] < 0.010, times


# ------------------------------------------------------------------------------------------------------------ structure


@given(chains())
def test_closed_classes_and_period_are_those_that_were_built_in(case):
    A, closed, periods = case
    assert markov.closed_classes(A) == closed
    assert markov.period(A) == math.lcm(*periods)
    found = markov.classes(A)
    assert sorted(itertools.chain(*found)) == list(range(len(A))) and all(c in found for c in closed)
    assert found == sorted(found)
    reach = torch.linalg.matrix_power(torch.eye(len(A)) + (A > 0).float(), len(A)) > 0  # in at most k steps
    label = {state: n for n, c in enumerate(found) for state in c}
    for i in range(len(A)):
        for j in range(len(A)):
            assert (label[i] == label[j]) == bool(reach[i, j] and reach[j, i])


@given(chains())
def test_stationary_distributions_one_for_each_closed_class(case):
    A, closed, _ = case
    rows = markov.stationary(A)
    assert rows.shape == (len(closed), len(A))
    assert torch.allclose(rows @ A, rows, rtol=0, atol=1e-15)
    assert torch.allclose(rows.sum(1), torch.ones(len(closed), dtype=torch.float64), rtol=0, atol=1e-15)
    for row, members in zip(rows, closed, strict=True):
        assert row.nonzero().flatten().tolist() == members  # positive in the class, 0 elsewhere
    weights = torch.rand(len(closed), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixture = weights / weights.sum() @ rows
    assert torch.allclose(mixture @ A, mixture, rtol=0, atol=1e-15)
    # and there are no others: the solutions of x = x A form a space of just this dimension
    assert len(A) - torch.linalg.matrix_rank(A - torch.eye(len(A)), atol=1e-9) == len(closed)


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=4, max_size=4))
def test_stationary_against_fractions(rows):
    for i, row in enumerate(rows):
        row[(i + 1) % 4] += 1  # a tour through all states: irreducible
    A = [[Fraction(x, sum(row)) for x in row] for row in rows]
    found = markov.stationary([[float(x) for x in row] for row in A])
    assert found[0].tolist() == pytest.approx([float(p) for p in exact_stationary(A)], rel=1e-14, abs=0)


@pytest.mark.parametrize("leak", [1e-6, 1e-12, 1e-15, 1e-100])
def test_two_rooms_with_hardly_a_door_keep_all_their_digits(leak):
    A = tensor(TWO_ROOMS)
    A[0, 2], A[3, 1] = leak, 3 * leak
    A[0, 0] -= leak
    A[3, 3] -= 3 * leak
    exact = exact_stationary([[Fraction(x) for x in row] for row in A.tolist()])  # the doubles themselves
    assert markov.stationary(A)[0].tolist() == pytest.approx([float(p) for p in exact], rel=1e-14, abs=0)


def test_small_probabilities_are_arrows_all_the_same():
    A = [[1 - 1e-12, 1e-12], [0, 1]]
    assert markov.classes(A) == [[0], [1]] and markov.closed_classes(A) == [[1]]
    assert markov.stationary(A).tolist() == [[0, 1]]


def test_a_ladder_of_probabilities_beyond_the_range_of_float64_works_or_says_so():
    k = 60  # up with 1e-10, down with 1/2: pi falls by 2e-10 a step, down to 0
    A = np.zeros((k, k))
    for i in range(k - 1):
        A[i, i + 1], A[i + 1, i] = 1e-10, 0.5
    A += np.diag(1 - A.sum(1))
    for shuffled in (A, A[::-1, ::-1]):
        pi = markov.stationary(shuffled.copy())[0]
        pi = pi if shuffled is A else pi.flip(0)
        assert pi[1].item() == pytest.approx(2e-10, rel=1e-9) and pi[2].item() == pytest.approx(4e-20, rel=1e-9)
        assert pi.sum().item() == pytest.approx(1, rel=1e-15)
    with pytest.raises(Error, match="differ too much for float64"):
        markov.stationary([[0, 1, 0], [0, 1, 1e-200], [1e-200, 1, 0]])


# ----------------------------------------------------------------------------------------------- eigenvalues and mixing


@given(chains())
def test_eigenvalues_on_the_unit_circle_count_closed_classes_and_periods(case):
    A, closed, periods = case
    found = markov.eigenvalues(A)
    modulus = found.abs()
    assert (modulus <= 1 + 1e-9).all() and (modulus[:-1] >= modulus[1:] - 1e-8).all()
    assert abs(found[0] - 1) < 1e-9
    assert ((found - 1).abs() < 1e-6).sum() == len(closed)
    assert (modulus > 1 - 1e-6).sum() == sum(periods)
    assert (markov.second_eigenvalue(A) < 1 - 1e-6) == (sum(periods) == 1)
    assert found.sum().real.item() == pytest.approx(A.trace().item(), abs=1e-9)


def test_eigenvalues_of_special_chains():
    wheel = torch.eye(5).roll(1, 1)
    around = [np.exp(2j * np.pi * n / 5) for n in range(5)]
    assert np.allclose(sorted(markov.eigenvalues(wheel).tolist(), key=np.angle), sorted(around, key=np.angle))
    assert markov.second_eigenvalue([[1.0]]) == 0 and markov.second_eigenvalue(torch.eye(2)) == 1
    assert markov.eigenvalues(ALTERNATING).real.tolist() == pytest.approx([1, -1])


@given(a_chain_and_distributions(), st.integers(1, 30))
def test_no_step_drives_two_distributions_apart(case, n):
    A, pi = case
    other = pi.flip(-1)
    before, after = (
        markov.total_variation(markov.evolve(pi, A, t), markov.evolve(other, A, t)) for t in (n - 1, n)
    )
    assert (after <= before + 1e-14).all() and (after >= 0).all() and (before <= 1).all()


@given(a_chain_and_distributions())
def test_total_variation_is_the_largest_difference_of_any_event(case):
    p, q = case[1][0], case[1][0].flip(-1).roll(1)
    events = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * len(p)).reshape(-1, len(p))
    assert markov.total_variation(p, q).item() == pytest.approx((events @ (p - q)).max().item(), abs=1e-15)
    assert markov.total_variation([1, 0], [0, 1]).item() == 1


@given(settling, st.sampled_from([0.25, 0.5, 0.01, 1e-4]))
def test_mixing_time_is_the_first_time_that_the_worst_start_is_close(case, epsilon):
    A = case[0]
    t = markov.mixing_time(A, epsilon)
    pi = markov.stationary(A)[0]
    worst = [
        max(markov.total_variation(row, pi).item() for row in torch.linalg.matrix_power(A, n)) for n in range(t + 3)
    ]
    assert all(a >= b - 1e-14 for a, b in itertools.pairwise(worst))
    assert markov.distances(A, t + 2).tolist() == pytest.approx(worst, abs=1e-14)
    assert worst[t] <= epsilon and all(d > epsilon for d in worst[:t])


@pytest.mark.parametrize(("p", "q"), [(0.3, 0.2), (0.9, 0.8), (1e-3, 2e-3), (1e-9, 1e-9), (1e-15, 1e-15)])
@pytest.mark.parametrize("epsilon", [0.25, 0.01])
def test_mixing_time_of_two_states_is_known(p, q, epsilon):
    # d(t) = max(p, q) / (p + q) · |1 - p - q|^t
    known = math.log(epsilon * (p + q) / max(p, q)) / math.log1p(-p - q if p + q < 1 else p + q - 2)
    t = markov.mixing_time([[1 - p, p], [q, 1 - q]], epsilon)
    assert t == (math.ceil(known) if known < 1e6 else pytest.approx(known, rel=1e-5))


def test_mixing_times_that_need_no_search():
    assert markov.mixing_time([[1.0]]) == 0
    assert markov.mixing_time([[0.5, 0.5], [0.5, 0.5]]) == 1 and markov.mixing_time([[0.5, 0.5], [0.5, 0.5]], 0.5) == 0
    assert markov.mixing_time([[0, 1], [0, 1.0]]) == 1  # one closed class, entered at once


def test_what_never_mixes_says_why():
    with pytest.raises(Error, match=r"never mixes: the chain has 2 closed classes \(\[0, 1\], \[2, 3\]\)"):
        markov.mixing_time(TWO_ROOMS)
    with pytest.raises(Error, match="never mixes: it is periodic, the long run repeats every 2 steps"):
        markov.mixing_time(ALTERNATING)
    with pytest.raises(Error, match="2 closed classes"):
        markov.distances(TWO_ROOMS, 3)
    with pytest.raises(Error, match="so slowly that float64 cannot tell"):  # half of 5e-324 is 0
        markov.mixing_time([[0.5, 0.5, 5e-324], [0.5, 0.5, 0], [0, 0, 1]])


@given(settling)
def test_the_distance_shrinks_like_the_second_eigenvalue(case):
    A = case[0]
    rate, d = markov.second_eigenvalue(A), markov.distances(A, 60)
    # for any norm |A^t - 1 pi|^(1/t) → rate; a polynomial in t may stand before the power, so allow for it
    assert d[60].item() <= 1e4 * rate**60 * 60**3 + 1e-12
    if rate > 0.5:
        assert d[60].item() >= 1e-4 * rate**60 / len(A)


# ------------------------------------------------------------------------------------------------------------- walking


def p_of_counts(counts, probabilities):
    """The p-value of a chi-square test of counts against probabilities; impossible outcomes must not occur."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    assert (counts[probabilities == 0] == 0).all()
    possible = probabilities > 0
    return scipy.stats.chisquare(counts[possible], counts.sum() * probabilities[possible]).pvalue


def transitions(path, k):
    """Counts of i → j in paths (..., n)."""
    counts = torch.zeros(k, k, dtype=torch.int64)
    pairs = torch.stack([path[..., :-1].flatten(), path[..., 1:].flatten()])
    return counts.index_put_(tuple(pairs), torch.ones_like(pairs[0]), accumulate=True)


@pytest.mark.parametrize("walkers", [1, 5, 64, 300])
def test_every_transition_is_as_frequent_as_its_probability(walkers):
    path = markov.simulate(RESTAURANT, [1] * walkers, 300_000 // walkers, generator=0)
    for row, counts in zip(RESTAURANT, transitions(path, 3), strict=True):
        assert p_of_counts(counts, row) > FALSE_ALARM


def test_many_walkers_after_n_steps_are_distributed_as_evolve_says():
    for n in (1, 2, 3, 7):
        last = markov.simulate(RESTAURANT, torch.ones(100_000, dtype=torch.int64), n, generator=n)[:, -1]
        assert p_of_counts(last.bincount(minlength=3), markov.evolve([0, 1, 0], RESTAURANT, n)) > FALSE_ALARM


def test_the_frequencies_of_one_long_walk_come_to_the_stationary_distribution():
    n, pi = 1_000_000, markov.stationary(RESTAURANT)[0]
    found = markov.empirical(markov.simulate(RESTAURANT, 0, n, generator=3), 3)
    # The days are not independent. With Z = (I - A + 1 pi)^-1, n · variance of a frequency → pi (2 f Z f - f²).
    Z = torch.linalg.inv(torch.eye(3) - RESTAURANT + pi)
    f = torch.eye(3, dtype=torch.float64) - pi[:, None]  # f[state] = indicator of the state minus its mean
    error = torch.stack([(pi * (2 * g * (Z @ g) - g * g)).sum() / n for g in f]).sqrt()
    z = (found - pi) / error
    assert (z.abs() < scipy.stats.norm.isf(FALSE_ALARM / 6)).all() and (error < 1e-3).all()
    alternating = markov.simulate(ALTERNATING, 0, 1001, generator=0)
    assert markov.empirical(alternating, 2).tolist() == [0.5, 0.5]  # frequencies settle, pi_t does not


def test_a_walk_is_reproducible_and_ways_to_walk_agree():
    starts = torch.arange(200) % 3
    many = markov.simulate(RESTAURANT, starts, 50, generator=7)
    assert many.shape == (200, 51) and many.dtype == torch.int64 and torch.equal(many[:, 0], starts)
    assert torch.equal(many, markov.simulate(RESTAURANT, starts, 50, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(many[:20], markov.simulate(RESTAURANT, starts[:20], 50, generator=7))  # the other code path
    assert torch.equal(many[0], markov.simulate(RESTAURANT, 0, 50, generator=7))
    u = torch.rand(200, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    for t in range(50):  # the rule: the first state whose cumulative probability is above u
        assert torch.equal(many[:, t + 1], (RESTAURANT[many[:, t]].cumsum(1) > u[:, t, None]).int().argmax(1))
    assert not torch.equal(many, markov.simulate(RESTAURANT, starts, 50, generator=8))


@pytest.mark.parametrize("walkers", [1, 100])
@pytest.mark.parametrize(("u", "to"), [(0.0, 1), (1 - 2**-53, 10)])
def test_an_impossible_step_is_never_taken_whatever_the_rounding(walkers, u, to, monkeypatch):
    A = torch.eye(12, dtype=torch.float64)
    A[0] = tensor([0] + [0.1] * 10 + [0])
    assert A[0].numpy().cumsum()[10] < 1  # ten tenths are less than 1 in float64
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.full(size, u, dtype=torch.float64))
    path = markov.simulate(A, [0] * walkers, 2, generator=0)
    assert (path == torch.tensor([0, to, to])).all()


def test_walks_of_no_step_and_long_walks():
    assert markov.simulate(RESTAURANT, 2, 0, generator=0).tolist() == [2]
    assert markov.simulate(RESTAURANT, [2] * 70, 0, generator=0).tolist() == [[2]] * 70
    start = time.perf_counter()
    markov.simulate(RESTAURANT, 0, 300_000, generator=0)
    assert time.perf_counter() - start < 2  # torch calls in every step would take longer; this takes about 0.06 s


@given(a_chain_and_distributions(), st.integers(0, 30), st.integers(0, 10**6))
def test_a_walk_only_takes_arrows_that_exist(case, n, seed):
    A = case[0]
    path = markov.simulate(A, list(range(len(A))), n, generator=seed)
    assert (A[path[:, :-1], path[:, 1:]] > 0).all()
    frequencies = markov.empirical(path, len(A))
    assert frequencies.shape == A.shape and torch.allclose(frequencies.sum(1), tensor(1.0))
    assert torch.allclose(frequencies[0] * (n + 1), path[0].bincount(minlength=len(A)).double())


# ---------------------------------------------------------------------------------------- detailed balance, Metropolis


@st.composite
def metropolis_problems(draw):
    random = np.random.RandomState(draw(st.integers(0, 10**6)))
    k = draw(st.integers(2, 6))
    weights = draw(st.lists(st.sampled_from([0.0, 1e-6, 0.5, 1.0, 7.0, 1e5]), min_size=k, max_size=k))
    weights[draw(st.integers(0, k - 1))] = 2.0
    Q = random.uniform(0, 1, (k, k))
    Q *= random.uniform(size=(k, k)) < draw(st.sampled_from([0.5, 1.0]))
    Q += 1e-3 * np.eye(k)
    return tensor(weights), tensor(Q / Q.sum(1, keepdims=True))


@given(metropolis_problems())
def test_metropolis_is_in_detailed_balance_with_its_target(case):
    target, Q = case
    A = markov.metropolis(target, Q)
    assert torch.allclose(markov.validate(A), A, rtol=0, atol=1e-15)
    pi = target / target.sum()
    assert torch.allclose(pi @ A, pi, rtol=0, atol=1e-15)
    assert markov.is_reversible(A, pi)
    flow = pi[:, None] * A
    assert torch.allclose(flow, flow.T, rtol=1e-12, atol=0)
    off = ~torch.eye(len(Q), dtype=torch.bool)
    assert (A[off] <= Q[off] * (1 + 1e-15)).all()  # it goes nowhere more often than proposed
    for i, j in off.nonzero().tolist():  # and accepts with the stated probability
        asked = target[i] * Q[i, j]
        accept = 1.0 if asked == 0 else min(1.0, (target[j] * Q[j, i] / asked).item())
        assert A[i, j].item() == pytest.approx(Q[i, j].item() * accept, rel=1e-12)


def test_metropolis_finds_a_target_known_up_to_a_factor():
    ring = (torch.eye(6).roll(1, 1) + torch.eye(6).roll(-1, 1)) / 2
    weights = tensor([1, 5, 2, 8, 3, 1])
    for factor in (1.0, 1e-300, 1e300):
        A = markov.metropolis(factor * weights, ring)
        assert torch.allclose(markov.stationary(A)[0], weights / 20, rtol=1e-14)
        assert markov.mixing_time(A) > 1
    extreme = markov.metropolis([1e-200, 1e200, 1e-200], [[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]])
    assert torch.allclose(extreme, tensor([[0, 1, 0], [0, 1, 0], [0, 1, 0]]))


@given(chains(closed=st.just(1)))
def test_reversible_means_that_the_film_may_run_backwards(case):
    A = case[0]
    pi = markov.stationary(A)[0]
    backwards = pi[None, :] * A.T / torch.where(pi > 0, pi, 1)[:, None]
    same = torch.allclose(backwards[pi > 0], A[pi > 0], rtol=0, atol=1e-9)
    assert markov.is_reversible(A, tolerance=1e-10) == same


def test_the_restaurant_is_not_reversible_and_every_chain_of_two_states_is():
    assert not markov.is_reversible(RESTAURANT)
    assert markov.is_reversible([[0.3, 0.7], [0.4, 0.6]])
    assert not markov.is_reversible([[0.3, 0.7], [0.4, 0.6]], [0.5, 0.5])


# --------------------------------------------------------------------------------------------------- the Gaussian chain


@given(st.floats(-5, 5), st.floats(0, 1), st.integers(0, 50), st.integers(0, 50))
def test_moments_of_m_plus_n_steps_are_those_of_m_then_n(x0, alpha, m, n):
    mean, variance = markov.gaussian_moments(x0, alpha, m)
    further, added = markov.gaussian_moments(mean, alpha, n)
    at_once, total = markov.gaussian_moments(x0, alpha, m + n)
    assert at_once.item() == pytest.approx(further.item(), rel=1e-12, abs=1e-300)
    assert total.item() == pytest.approx((alpha**n * variance + added).item(), rel=1e-9, abs=1e-15)


@given(st.fractions(0, 1, max_denominator=64), st.integers(0, 20))
def test_moments_follow_the_recursion_of_one_step(alpha, t):
    variance = Fraction(0)
    for _ in range(t):
        variance = alpha * variance + 1 - alpha
    mean, found = markov.gaussian_moments([[3.0, -1.0]], float(alpha), t)
    assert found.shape == () and found.item() == pytest.approx(float(variance), rel=1e-12, abs=1e-15)
    assert mean.shape == (1, 2)
    assert mean.tolist()[0] == pytest.approx([3 * float(alpha) ** (t / 2), -(float(alpha) ** (t / 2))], rel=1e-12)


def test_a_little_noise_keeps_its_digits():
    assert markov.gaussian_moments(0.0, 1 - 2**-50, 3)[1].item() == pytest.approx(3 * 2**-50, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 0.99])
def test_simulated_walkers_have_the_moments_and_the_shape_that_theory_says(alpha):
    n = 20_000
    path = markov.gaussian_chain(torch.full((n,), 3.0, dtype=torch.float64), alpha, 40, generator=0)
    assert path.shape == (41, n) and (path[0] == 3).all()
    for t in (1, 2, 10, 40):
        mean, variance = markov.gaussian_moments(3.0, alpha, t)
        z = (path[t] - mean) / variance.sqrt()
        assert scipy.stats.kstest(z.numpy(), "norm").pvalue > FALSE_ALARM
        assert abs(z.mean().item()) * math.sqrt(n) < scipy.stats.norm.isf(FALSE_ALARM / 2)
        low, high = scipy.stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n)
        assert low < z.square().sum().item() < high
    # x_t and x_{t+1} of the same walker: covariance sqrt(alpha) times the variance of x_t, given x_0
    t, (mean, variance) = 10, markov.gaussian_moments(3.0, alpha, 10)
    product = (path[t] - mean) * (path[t + 1] - markov.gaussian_moments(3.0, alpha, 11)[0])
    error = product.std().item() / math.sqrt(n)
    assert abs(product.mean().item() - math.sqrt(alpha) * variance.item()) < 5 * error


def test_the_gaussian_chain_is_its_recursion_and_reproducible():
    x0 = torch.tensor([[1.0, -2.0]], dtype=torch.float32)
    path = markov.gaussian_chain(x0, 0.7, 30, generator=5)
    assert path.shape == (31, 1, 2) and path.dtype == torch.float32
    eps = torch.randn(30, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x = x0.double()
    for t in range(30):
        x = math.sqrt(0.7) * x + math.sqrt(0.3) * eps[t]
        assert torch.allclose(path[t + 1].double(), x, rtol=1e-6, atol=1e-6)
    assert torch.equal(path, markov.gaussian_chain(x0, 0.7, 30, generator=torch.Generator().manual_seed(5)))
    still = markov.gaussian_chain([2.0], 1, 5, generator=0)
    assert still.tolist() == [[2.0]] * 6 and markov.gaussian_chain(2.0, 0.5, 0, generator=0).tolist() == [2.0]


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("A", "why"),
    [
        ([[0.5, 0.5]], r"square matrix.*got the shape \(1, 2\)"),
        ([0.5, 0.5], r"square matrix.*got the shape \(2,\)"),
        ([], r"square matrix"),
        (torch.ones(2, 1, 1), r"square matrix.*\(2, 1, 1\)"),
        (torch.ones(0, 0), "square matrix"),
        ([[1.5, -0.5], [0, 1]], "negative, got -0.5 in row 0, column 1"),
        ([[1, 0], [0.5, 0.4]], r"must sum to 1 \(tolerance 1e-09\), row 1 sums to 0.9$"),
        ([[1, 0], [0.5, 0.5 + 2e-9]], r"row 1 sums to 1.000000002"),
        (torch.tensor([[1, 0], [0.5, 0.4]]), r"tolerance 1e-05\), row 1"),
        ([[0.2, 0.3], [0.8, 0.7]], "row 0 sums to 0.5. Its columns do: is it transposed"),
        ([[math.inf, 0], [0, 1]], "row 0 sums to inf"),
        ([[math.nan, 1], [0, 1]], r"A holds NaN at \[0, 0\]"),
        ([["a"]], "A must be numbers"),
        ([[1, 0], [1]], "A must be numbers"),
        (torch.eye(2, dtype=torch.complex64), "real numbers"),
    ],
)
def test_a_matrix_that_is_no_chain_is_refused(A, why):
    functions = (
        markov.validate, markov.classes, markov.period, markov.stationary, markov.eigenvalues, markov.mixing_time,
        markov.is_reversible, lambda A: markov.evolve([1.0], A, 1), lambda A: markov.distances(A, 1),
        lambda A: markov.simulate(A, 0, 1, generator=0), markov.closed_classes, markov.second_eigenvalue,
    )  # fmt: skip
    for function in functions:
        with pytest.raises(Error, match=why):
            function(A)
    with pytest.raises(Error, match=re.sub(r"\bA (holds|must)", r"proposal \1", why)):
        markov.metropolis([1.0, 1.0], A)


ring = [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: markov.evolve([1, 0], RESTAURANT, 1), r"each of the 3 states, got the shape \(2,\)"),
        (lambda: markov.evolve([0.5, 0.6, 0], RESTAURANT, 1), "pi must sum to 1 .*it sums to 1.1"),
        (lambda: markov.evolve([-0.5, 1.5, 0], RESTAURANT, 1), "pi must not be negative, got -0.5"),
        (lambda: markov.evolve([math.nan, 1, 0], RESTAURANT, 1), "pi holds NaN"),
        (lambda: markov.evolve([1, 0, 0], RESTAURANT, -1), "n must be at least 0, got -1"),
        (lambda: markov.evolve([1, 0, 0], RESTAURANT, 1.0), "n must be a whole number, got 1.0"),
        (lambda: markov.simulate(RESTAURANT, 3, 5, generator=0), "start must be states from 0 to 2, got 3"),
        (lambda: markov.simulate(RESTAURANT, [0, -1], 5, generator=0), "from 0 to 2, got -1"),
        (lambda: markov.simulate(RESTAURANT, 0.0, 5, generator=0), "whole numbers from 0 to 2, got 0.0"),
        (lambda: markov.simulate(RESTAURANT, True, 5, generator=0), "whole numbers from 0 to 2, got True"),
        (lambda: markov.simulate(RESTAURANT, "pizza", 5, generator=0), "whole numbers from 0 to 2, got 'pizza'"),
        (lambda: markov.simulate(RESTAURANT, [], 5, generator=0), r"whole numbers from 0 to 2, got \[\]"),
        (lambda: markov.simulate(RESTAURANT, [[0], [0, 1]], 5, generator=0), "whole numbers from 0 to 2"),
        (lambda: markov.simulate(RESTAURANT, [[0]], 5, generator=0), r"one state or a list of states, .*\(1, 1\)"),
        (lambda: markov.simulate(RESTAURANT, 0, -5, generator=0), "n must be at least 0, got -5"),
        (lambda: markov.simulate(RESTAURANT, 0, 5, generator=None), "needs a generator or a seed"),
        (lambda: markov.empirical([0, 1, 2], 2), "path must be states from 0 to 1, got 2"),
        (lambda: markov.empirical([], 2), "path must be states"),
        (lambda: markov.empirical([0], 0), "k must be at least 1"),
        (lambda: markov.total_variation([1.0], [0.5, 0.5]), "same number of outcomes, got 1 and 2"),
        (lambda: markov.mixing_time(RESTAURANT, 0), r"epsilon must be a number from 1e-9 to below 1, got 0"),
        (lambda: markov.mixing_time(RESTAURANT, 1), "epsilon must be"),
        (lambda: markov.mixing_time(RESTAURANT, "0.1"), "epsilon must be"),
        (lambda: markov.mixing_time(RESTAURANT, math.nan), "epsilon must be"),
        (lambda: markov.distances(RESTAURANT, -1), "n must be at least 0"),
        (lambda: markov.is_reversible(TWO_ROOMS), "2 closed classes"),
        (lambda: markov.is_reversible(RESTAURANT, [[1.0, 0, 0]]), r"one distribution, got the shape \(1, 3\)"),
        (lambda: markov.metropolis([1.0, 2.0, 3.0], ring), r"each of the 2 states, got the shape \(3,\)"),
        (lambda: markov.metropolis([1.0, -2.0], ring), r"weights >= 0, one of them positive, got \[1.0, -2.0\]"),
        (lambda: markov.metropolis([0.0, 0.0], ring), "one of them positive"),
        (lambda: markov.metropolis([math.inf, 0.0], ring), "target must be finite"),
        (lambda: markov.metropolis([1.0, 1.0], [[1.0, 1.0], [0, 1]]), "row of proposal must sum to 1"),
        (lambda: markov.gaussian_chain([0.0], 1.1, 5, generator=0), "alpha must be a number from 0 to 1, got 1.1"),
        (lambda: markov.gaussian_chain([0.0], -0.1, 5, generator=0), "alpha must be"),
        (lambda: markov.gaussian_chain([0.0], math.nan, 5, generator=0), "alpha must be"),
        (lambda: markov.gaussian_chain([0.0], True, 5, generator=0), "alpha must be"),
        (lambda: markov.gaussian_chain([math.inf], 0.5, 5, generator=0), "x0 must be finite"),
        (lambda: markov.gaussian_chain([0.0], 0.5, -1, generator=0), "n must be at least 0"),
        (lambda: markov.gaussian_moments(0.0, 0.5, -1), "t must be at least 0"),
        (lambda: markov.gaussian_moments(0.0, "a", 1), "alpha must be"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(call, why):
    with pytest.raises(Error, match=why):
        call()


# ----------------------------------------------------------------------------------------------- the chapter's own code


def cell(name):
    """The source of one cell of the chapter."""
    notebook = json.loads((Path(__file__).parents[1] / "book" / "markov.ipynb").read_text(encoding="utf-8"))
    return next("".join(c["source"]) for c in notebook["cells"] if c["id"] == name)


@pytest.fixture(scope="module")
def chapter():
    """What the chapter's cells up to "Break it" define, at scale test; no figure and no widget."""
    from gentut import figures

    def seeded(number):
        return torch.Generator().manual_seed(number)

    def row(values):
        return "  ".join(f"{value:.4f}" for value in values)

    scope = {"torch": torch, "math": math, "markov": markov, "figures": figures, "Fraction": Fraction, "A": RESTAURANT}
    scope |= {"seeded": seeded, "row": row, "scale": "test", "dishes": markov.DISHES}
    for name in ("counting-table", "fractions", "metropolis-walk", "metropolis-exact", "metropolis-continuous"):
        exec(cell(name), scope)
    return scope


def test_the_symptoms_of_break_it_pass_their_stated_thresholds(chapter):
    scope = dict(chapter)
    exec(cell("break-table"), scope)
    healthy, transposed = scope["symptoms"].values()
    assert list(scope["symptoms"]) == ["healthy", "transposed"] and len(healthy) == len(transposed) == 51
    assert all(abs(total - 1) < 1e-12 for *_, total in healthy)
    assert all(abs(total - 1) > 1 / 3 for *_, total in transposed[1:])
    last = transposed[-1][1:4]
    assert max(last) - min(last) < 1e-12 and last[0] == pytest.approx(15 / 71)  # pi of the start, three times
    assert healthy[-1][1:4] == pytest.approx([25 / 71, 15 / 71, 31 / 71])

    right, wrong = scope["distances"].values()
    assert list(scope["distances"]) == ["healthy", "refused not counted"] and wrong > 10 * right
    moves = 1 - scope["lake"].diagonal()
    predicted = scope["target"] * moves / (scope["target"] @ moves)
    found = markov.empirical(scope["lake_walks"]["refused not counted"], 10)
    assert markov.total_variation(found, predicted) < wrong / 10  # it has settled, on what the text says
    text = re.sub(r"\s+", " ", cell("break-read"))
    for stated in ("more than a third", "more than 10 times", "all three numbers are the same"):
        assert stated in text


def test_the_chapter_counts_what_it_says(chapter):
    assert len(chapter["rows"]) == 6
    for _, walkers, share, error, exact in chapter["rows"]:
        assert walkers > 1000 and abs(share - exact) < 5 * error
    assert [row[-1] for row in chapter["rows"]] == [0.7] * 3 + [0.5] * 3
    assert chapter["guess"] == [Fraction(25, 71), Fraction(15, 71), Fraction(31, 71)] == chapter["after"]


def test_the_chapters_walks_have_their_targets(chapter):
    assert markov.total_variation(chapter["found"], chapter["target"]) < 0.03
    assert chapter["same"] and markov.is_reversible(chapter["lake"])
    # The walk on the ring is the chain of the matrix: count its transitions.
    path, lake = chapter["visits"], chapter["lake"]
    for row, counts in zip(lake, transitions(path, 10), strict=True):
        assert p_of_counts(counts, row) > FALSE_ALARM
    # On the line: with a good step width, the share of days left of 0 is that of the density.
    left = scipy.stats.norm.cdf(0, -1.5, 0.5) * 0.5 + scipy.stats.norm.cdf(0, 1.5, 1) * 0.5  # both hills weigh the same
    shares = {width: (path < 0).double().mean().item() for width, path in chapter["line_walks"].items()}
    assert abs(shares[3.0] - left) < 0.04
    moved = {w: (path[1:] != path[:-1]).double().mean().item() for w, path in chapter["line_walks"].items()}
    assert moved[0.05] > 0.9 and 0.2 < moved[3.0] < 0.7 and moved[100.0] < 0.05
