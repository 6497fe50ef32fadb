"""probability.py: the board's laws, the urn's estimate, cross-entropy as likelihood, generators to the last digit."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from gentut import Error, figures, probability
from gentut.probability import DARTS, LCG, DartBoard

SHARE = st.floats(0, 1, allow_nan=False)
INSIDE = st.floats(0.01, 0.99)


@st.composite
def boards(draw):
    """A random mixture of one to four Gaussians, none of them too thin."""
    k = draw(st.integers(1, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.01
    means = 2 * torch.randn(k, 2, generator=g, dtype=torch.float64)
    roots = torch.randn(k, 2, 2, generator=g, dtype=torch.float64)
    return DartBoard(weights / weights.sum(), means, roots @ roots.mT + 0.1 * torch.eye(2, dtype=torch.float64))


def grid(board, axis, points=4001, widths=9.0):
    """Points and their spacing that cover one coordinate of a board by far."""
    i = "xy".index(axis)
    reach = widths * board.covariances[:, i, i].sqrt()
    low, high = (board.means[:, i] - reach).min(), (board.means[:, i] + reach).max()
    at = torch.linspace(low, high, points, dtype=torch.float64)
    return at, (high - low) / (points - 1)


def close(a, b, tolerance=1e-9):
    a, b = (torch.as_tensor(t, dtype=torch.float64) for t in (a, b))
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------------------- the dart board


@given(boards(), st.floats(-3, 3), st.floats(-3, 3))
def test_the_joint_is_the_mixture_that_scipy_computes(board, x, y):
    lumps = zip(board.weights, board.means, board.covariances, strict=True)
    expected = sum(w.item() * multivariate_normal(m.numpy(), c.numpy()).pdf([x, y]) for w, m, c in lumps)
    assert close(board.joint(x, y), expected)


@given(boards(), st.floats(-3, 3), st.sampled_from(["x", "y"]))
def test_integrating_the_joint_over_one_coordinate_gives_the_marginal_of_the_other(board, at, axis):
    other = "y" if axis == "x" else "x"
    points, step = grid(board, other)
    density = board.joint(at, points) if axis == "x" else board.joint(points, at)
    assert close(density.sum() * step, board.marginal(axis, at), 1e-6)


@given(boards(), st.floats(-3, 3), st.floats(-3, 3))
def test_both_orders_of_the_product_rule_give_the_joint_which_is_bayes_rule(board, x, y):
    joint = board.joint(x, y)
    assert close(board.marginal("x", x) * board.conditional("y", y, given=x), joint)
    assert close(board.marginal("y", y) * board.conditional("x", x, given=y), joint)


@given(boards(), st.floats(-30, 30), st.sampled_from(["x", "y"]))
def test_every_conditional_is_a_density_even_where_the_joint_underflows(board, given, axis):
    slope = (board.covariances[:, 0, 1] / board.covariances.diagonal(dim1=1, dim2=2).T).abs().max()
    points, _ = grid(board, axis)
    reach = 100 * (1 + slope.item())  # far out the conditional wanders off along the lumps' slopes
    at = torch.linspace(points[0] - reach, points[-1] + reach, 200_001, dtype=torch.float64)
    assert close(torch.trapezoid(board.conditional(axis, at, given), at), 1.0, 1e-6)


@given(boards(), st.floats(-2, 2), st.floats(-2, 2), st.sampled_from(["x", "y"]))
def test_distribution_functions_have_the_densities_as_derivatives(board, at, given, axis):
    at = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(board.marginal_cdf(axis, at), at)
    assert close(slope, board.marginal(axis, at.detach()))
    (slope,) = torch.autograd.grad(board.conditional_cdf(axis, at, given), at)
    assert close(slope, board.conditional(axis, at.detach(), given))
    assert board.marginal_cdf(axis, -1e3) == 0 and close(board.marginal_cdf(axis, 1e3), 1.0)
    assert close(board.conditional_cdf(axis, -1e4, given), 0.0) and close(board.conditional_cdf(axis, 1e4, given), 1.0)


def test_the_books_board_is_the_stated_one_and_its_functions_broadcast():
    assert DARTS.weights.tolist() == [0.6, 0.4] and DARTS.means.tolist() == [[-0.6, -0.5], [0.9, 0.8]]
    assert DARTS.covariances.tolist() == [[[0.36, 0.2], [0.2, 0.25]], [[0.16, -0.06], [-0.06, 0.25]]]
    x, y = torch.zeros(3, 1), torch.zeros(4)
    assert DARTS.joint(x, y).shape == DARTS.conditional("x", x, y).shape == DARTS.conditional_cdf("y", x, y).shape
    assert DARTS.joint(x, y).shape == (3, 4) and DARTS.joint(x, y).dtype == torch.float64
    assert DARTS.marginal("x", x).shape == DARTS.marginal_cdf("y", x).shape == (3, 1)
    assert DARTS.conditional("y", 0.0, given=1e4).isfinite()  # where joint and marginal are both 0


def test_darts_land_where_the_density_says():
    darts = DARTS.sample(200_000, generator=0)
    assert darts.shape == (200_000, 2) and darts.dtype == torch.float64
    assert torch.equal(darts[:5], DARTS.sample(200_000, torch.Generator().manual_seed(0))[:5])
    mean = DARTS.weights @ DARTS.means
    assert (darts.mean(0) - mean).abs().max() < 6 * darts.std(0).max() / len(darts) ** 0.5
    offset = DARTS.means - mean
    covariance = torch.einsum("k,kij->ij", DARTS.weights, DARTS.covariances)
    covariance += torch.einsum("k,ki,kj->ij", DARTS.weights, offset, offset)
    assert (darts.T.cov() - covariance).abs().max() < 0.02
    for axis, values in zip("xy", darts.T, strict=True):
        u = DARTS.marginal_cdf(axis, values.sort().values)  # uniform, if the darts follow the marginal
        even = (torch.arange(len(u)) + 0.5) / len(u)
        assert (u - even).abs().max() < 1.95 / len(u) ** 0.5  # Kolmogorov-Smirnov: exceeded once in a thousand
    u = DARTS.conditional_cdf("y", darts[:, 1], given=darts[:, 0]).sort().values
    assert (u - even).abs().max() < 1.95 / len(u) ** 0.5
    assert DARTS.sample(0, generator=0).shape == (0, 2)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ((0.6, 0.5), DARTS.means, DARTS.covariances, r"weights must sum to 1 .* it sums to 1.1"),
        ((1.0,), DARTS.means, DARTS.covariances, r"shapes \(k,\), \(k, 2\), \(k, 2, 2\), got \(1,\), \(2, 2\)"),
        ((0.6, 0.4), DARTS.means, -DARTS.covariances, "symmetric and positive definite"),
        ((0.6, 0.4), DARTS.means, [[[1, 0.5], [0.4, 1]]] * 2, "symmetric and positive definite"),
        ((0.6, 0.4), [[0, math.inf], [0, 0]], DARTS.covariances, "means must be finite, got inf"),
    ],
)
def test_what_is_no_board_is_refused(weights, means, covariances, message):
    with pytest.raises(Error, match=message):
        DartBoard(weights, means, covariances)


def test_bad_questions_to_the_board_are_refused():
    with pytest.raises(Error, match="unknown axis 'z'. There are: x, y"):
        DARTS.marginal("z", 0.0)
    with pytest.raises(Error, match="x holds NaN"):
        DARTS.joint(math.nan, 0.0)
    with pytest.raises(Error, match="n must be at least 0, got -1"):
        DARTS.sample(-1, generator=0)
    with pytest.raises(Error, match="needs a generator or a seed"):
        DARTS.sample(3, generator=None)


# -------------------------------------------------------------------------------------------------------------- the urn


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 10))
def test_the_likelihood_is_the_product_over_the_draws_exactly(red, blue, tenths):
    theta = Fraction(tenths, 10)
    expected = theta**red * (1 - theta) ** blue
    assert close(probability.likelihood(tenths / 10, red, blue), float(expected), 1e-12)
    log = probability.log_likelihood(tenths / 10, red, blue).item()
    assert math.isclose(log, math.log(expected), rel_tol=1e-12, abs_tol=1e-12) if expected else log == -math.inf


def test_the_ends_of_the_likelihood_are_exact():
    ends = torch.tensor([0.0, 1.0])
    assert probability.log_likelihood(ends, 0, 5).tolist() == [0.0, -math.inf]
    assert probability.log_likelihood(ends, 5, 0).tolist() == [-math.inf, 0.0]
    assert probability.likelihood(ends, 0, 0).tolist() == [1.0, 1.0]


@given(st.integers(0, 1000), st.integers(0, 1000), SHARE)
def test_no_theta_is_likelier_than_the_estimate(red, blue, theta):
    if red + blue:
        best = probability.maximum_likelihood(red, blue)
        assert best == red / (red + blue)
        most = probability.log_likelihood(best, red, blue)
        assert probability.log_likelihood(theta, red, blue) <= most + 1e-9 * (1 + most.abs())


def test_the_notes_urn():
    assert probability.maximum_likelihood(30, 70) == 0.3
    theta = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert theta[probability.likelihood(theta, 30, 70).argmax()] == 0.3
    assert probability.likelihood(0.3, 30, 70) == pytest.approx(0.3**30 * 0.7**70, rel=1e-12)
    assert probability.likelihood(0.3, 600, 1400) == 0  # underflows ...
    assert probability.log_likelihood(0.3, 600, 1400) == pytest.approx(600 * math.log(0.3) + 1400 * math.log(0.7))


def test_draws_with_replacement_are_independent_and_red_with_probability_theta():
    draws = probability.draw_urn(200, theta=0.3, urns=5000, generator=0).double()  # (5000, 200)
    assert draws.unique().tolist() == [0, 1]
    assert abs(draws.mean() - 0.3) < 6 * 0.4583 / 1e3
    shares = draws.mean(1)
    error = probability.standard_error(0.3, 200)
    assert error == pytest.approx(math.sqrt(0.3 * 0.7 / 200))
    assert abs(shares.std() / error - 1) < 6 / (2 * 5000) ** 0.5
    correlation = torch.corrcoef(torch.stack([draws[:, :-1].flatten(), draws[:, 1:].flatten()]))[0, 1]
    assert abs(correlation) < 6 / 1e3


@given(st.integers(1, 30), st.data())
def test_without_replacement_the_whole_urn_holds_exactly_its_red_balls(size, data):
    red = data.draw(st.integers(0, size))
    seed = data.draw(st.integers(0, 100))
    draws = probability.draw_urn(size, theta=red / size, replacement=False, size=size, urns=3, generator=seed)
    assert draws.shape == (3, size) and (draws.sum(1) == red).all()


def test_without_replacement_every_draw_is_red_with_probability_theta_and_the_share_varies_less():
    draws = probability.draw_urn(5, theta=0.3, replacement=False, size=10, urns=40_000, generator=0).double()
    assert (draws.mean(0) - 0.3).abs().max() < 6 * 0.4583 / 200
    narrower = math.sqrt((10 - 5) / (10 - 1))  # the finite population correction
    assert abs(draws.mean(1).std() / (probability.standard_error(0.3, 5) * narrower) - 1) < 6 / (2 * 40_000) ** 0.5


@pytest.mark.parametrize("stick", [0.0, 0.5, 0.8, 1.0])
def test_a_sticky_urn_repeats_itself_and_the_share_varies_more(stick):
    n, urns = 400, 4000
    draws = probability.draw_sticky_urn(n, 0.3, stick, urns=urns, generator=1).double()
    assert abs(draws[:, 0].mean() - 0.3) < 6 * 0.4583 / urns**0.5
    assert abs(draws[:, -1].mean() - 0.3) < 6 * 0.4583 / urns**0.5
    changed = (draws[:, 1:] != draws[:, :-1]).double().mean()
    assert abs(changed - (1 - stick) * 2 * 0.3 * 0.7) < 0.01
    if stick in (0.5, 0.8):
        wider = math.sqrt((1 + stick) / (1 - stick))
        assert abs(draws.mean(1).std() / (probability.standard_error(0.3, n) * wider) - 1) < 0.07
    if stick == 1:
        assert (draws == draws[:, :1]).all()


def test_shapes_and_seeds_of_draws():
    for draw in (probability.draw_urn, probability.draw_sticky_urn):
        assert draw(7, generator=0).shape == (7,) and draw(7, generator=0).dtype == torch.int64
        assert draw(0, generator=0).shape == (0,) and draw(0, urns=2, generator=0).shape == (2, 0)
        assert torch.equal(draw(50, generator=3), draw(50, generator=3))
        assert not torch.equal(draw(50, generator=3), draw(50, generator=4))
        assert draw(20, theta=0.0, generator=0).sum() == 0 and draw(20, theta=1.0, generator=0).sum() == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability.draw_urn(11, replacement=False, generator=0), "cannot draw 11 .* the urn holds 10"),
        (lambda: probability.draw_urn(2, 0.25, False, generator=0), "10 balls cannot have the share 0.25.*that is 2.5"),
        (lambda: probability.draw_urn(2, 1.5, generator=0), "theta must lie between 0 and 1, got 1.5"),
        (lambda: probability.draw_urn(2, [0.5, 0.5], generator=0), r"theta must be one number, got the shape \(2,\)"),
        (lambda: probability.draw_urn(2.5, generator=0), "n must be a whole number, got 2.5"),
        (lambda: probability.draw_urn(2), "needs a generator or a seed"),
        (lambda: probability.draw_sticky_urn(2, stick=-1, generator=0), "stick must lie between 0 and 1, got -1"),
        (lambda: probability.likelihood(0.3, -1, 2), r"red must count draws \(0, 1, 2, ...\), got -1"),
        (lambda: probability.log_likelihood(0.3, 1, 2.5), r"blue must count draws \(0, 1, 2, ...\), got 2.5"),
        (lambda: probability.log_likelihood([0.3, -0.1], 1, 2), "theta must lie between 0 and 1, got -0.1"),
        (lambda: probability.likelihood(math.nan, 1, 2), "theta holds NaN"),
        (lambda: probability.maximum_likelihood(0, 0), r"red \+ blue must be at least 1"),
        (lambda: probability.standard_error(0.3, 0), "n must be positive, got 0"),
    ],
)
def test_bad_urns_are_refused(call, message):
    with pytest.raises(Error, match=message):
        call()


# ----------------------------------------------------------------------- maximum likelihood, cross-entropy, and softmax


@st.composite
def distributions(draw, k=None):
    k = k or draw(st.integers(2, 8))
    raw = torch.tensor(draw(st.lists(st.floats(0.001, 1), min_size=k, max_size=k)), dtype=torch.float64)
    return raw / raw.sum()


@given(distributions(k=5), distributions(k=5), st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_the_negative_log_likelihood_is_the_divergence_plus_a_constant(p, q, data):
    shares = probability.empirical(data, 5)
    for model in (p, q):
        assert close(probability.nll(model, data), -model.log()[data].mean())

    def divergence(model):
        return torch.special.xlogy(shares, shares / model).sum()

    difference = probability.nll(p, data) - probability.nll(q, data)
    assert close(difference, divergence(p) - divergence(q))
    assert probability.nll(shares, data) <= probability.nll(p, data) + 1e-12  # no model is better than the shares


def test_nll_takes_many_models_and_zeros():
    models = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    out = probability.nll(models, [0, 1])
    assert out.shape == (2,) and out.dtype == torch.float32
    assert out[0] == pytest.approx(math.log(2))
    assert probability.nll(models, [2]).tolist() == [math.inf, pytest.approx(math.log(2))]
    assert probability.empirical(torch.tensor([[0, 2], [2, 2]]), 4).tolist() == [0.25, 0, 0.75, 0]


@given(st.integers(1, 6), st.integers(2, 9), st.sampled_from([1.0, 30.0, 1e4]), st.integers(0, 1000))
def test_softmax_cross_entropy_is_torchs_and_the_divergence_from_the_one_hot(batch, k, size, seed):
    g = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(batch, k, generator=g, dtype=torch.float64)
    labels = torch.randint(k, (batch,), generator=g)
    ours = probability.softmax_cross_entropy(logits, labels)
    assert ours.shape == (batch,) and ours.isfinite().all()
    assert close(ours, F.cross_entropy(logits, labels, reduction="none"))
    if size == 1.0:
        hot = F.one_hot(labels, k).double()
        assert close(ours, torch.special.xlogy(hot, hot / logits.softmax(1)).sum(1))
        assert close(ours.mean(), probability.nll(logits[:1].softmax(1)[0], labels[:1])) or batch > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability.nll([0.5, 0.6], [0]), r"p_theta must sum to 1 .*\(tolerance 1e-09\), it sums to 1.1"),
        (lambda: probability.nll([0.5, 0.5], [0, 2]), "data must be whole numbers from 0 to 1, got 2"),
        (lambda: probability.nll([0.5, 0.5], [0.5]), "data must be whole numbers from 0 to 1, got torch.float32"),
        (lambda: probability.nll([0.5, 0.5], torch.zeros(0, dtype=torch.long)), "at least one outcome"),
        (lambda: probability.softmax_cross_entropy([[1.0, 2.0]], [0, 1]), r"one label for each row.*\(2,\) for \(1, 2"),
        (lambda: probability.softmax_cross_entropy([1.0, 2.0], [0]), r"shape \(batch, k\), got \(2,\)"),
        (lambda: probability.softmax_cross_entropy([[1.0, math.inf]], [0]), "logits must be finite, got inf"),
        (lambda: probability.softmax_cross_entropy([[1.0, 2.0]], [-1]), "labels must be whole numbers from 0 to 1"),
    ],
)
def test_bad_models_and_data_are_refused(call, message):
    with pytest.raises(Error, match=message):
        call()


# ------------------------------------------------------------------------------------------------------- random numbers


def walk(generator, n):
    """The numbers one by one, in Python's whole numbers."""
    x, out = generator.seed, []
    for _ in range(n):
        x = (generator.multiplier * x + generator.increment) % generator.modulus
        out.append(x)
    return out


@given(st.integers(2, 2**32), st.data(), st.integers(0, 70))
@settings(max_examples=200)
def test_integers_are_exact_for_every_modulus(modulus, data, n):
    a = data.draw(st.integers(1, modulus - 1))
    c = data.draw(st.integers(0, modulus - 1))
    seed = data.draw(st.integers(0 if c else 1, modulus - 1))
    generator = LCG(a, c, modulus, seed)
    x = generator.integers(n)
    assert x.dtype == torch.int64 and x.tolist() == walk(generator, n)


def test_the_largest_products_do_not_overflow():
    generator = LCG(2**32 - 1, 2**32 - 1, 2**32, seed=2**32 - 1)
    assert generator.integers(300).tolist() == walk(generator, 300)


@pytest.mark.parametrize(
    ("name", "seed", "at", "published"),
    [
        ("minimal-standard", 1, 1, 16807),
        ("minimal-standard", 1, 10_000, 1043618065),  # Park and Miller 1988: their test of an implementation
        ("minimal-standard-1993", 1, 10_000, 399268537),  # the C++ standard's, for minstd_rand
        ("randu", 1, 2, 393225),  # OEIS A096555
        ("randu", 1, 24, 153401569),
        ("numerical-recipes", 0, 1, 0x3C6EF35F),  # Numerical Recipes, section 7.1
        ("numerical-recipes", 0, 8, 0xA3D95FA8),
    ],
)
def test_classic_generators_give_their_published_values(name, seed, at, published):
    assert LCG.preset(name, seed).integers(at)[-1] == published


def test_randu_lies_in_fifteen_planes_and_the_minimal_standard_does_not():
    u, v, w = LCG.preset("randu").uniform(30_002).unfold(0, 3, 1).T
    level = 9 * u - 6 * v + w
    assert close(level, level.round()) and level.round().unique().tolist() == list(range(-5, 10))
    u, v, w = LCG.preset("minimal-standard").uniform(3002).unfold(0, 3, 1).T
    level = 9 * u - 6 * v + w
    assert len((level * 1000).round().unique()) > 1000


def test_uniforms_lie_in_the_unit_interval_and_periods_are_found():
    for name in probability.PRESETS:
        u = LCG.preset(name).uniform(10_000)
        assert u.dtype == torch.float64 and u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.02
    toy = LCG.preset("toy")
    assert toy.period() == 256 and toy.integers(256).unique().numel() == 256
    assert LCG(5, 0, 16, seed=1).period() == 4  # 5, 9, 13, 1
    assert LCG(2, 0, 16, seed=1).period() == 1  # 2, 4, 8, 0, 0, ...
    with pytest.raises(Error, match=r"at most 2\^20"):
        LCG.preset("randu").period()


@given(st.integers(2, 60), st.data())
def test_the_period_is_the_length_of_the_cycle(modulus, data):
    a, c = data.draw(st.integers(1, modulus - 1)), data.draw(st.integers(0, modulus - 1))
    generator = LCG(a, c, modulus, data.draw(st.integers(0 if c else 1, modulus - 1)))
    x = walk(generator, 3 * modulus)
    period = next(k for k in range(1, modulus + 1) if x[modulus] == x[modulus + k])
    assert generator.period() == period


def test_torchs_generator_on_the_cpu_is_the_mersenne_twister():
    for seed in (0, 1, 12345):
        raw = np.random.RandomState(seed)._bit_generator.random_raw(8).astype(np.int64)
        u = torch.rand(8, generator=torch.Generator().manual_seed(seed))
        assert (u.double() * 2**24).tolist() == (raw % 2**24).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 0, 16, 0), "seed must not be 0 where the increment is 0"),
        ((16, 0, 16, 1), "multiplier must be below the modulus 16, got 16"),
        ((0, 1, 16, 1), "multiplier must be at least 1, got 0"),
        ((5, -1, 16, 1), "increment must be at least 0, got -1"),
        ((5, 1, 2**33, 1), r"modulus must be at most 2\^32"),
        ((5, 1, 1, 0), "modulus must be at least 2"),
        ((5.0, 1, 16, 1), "multiplier must be a whole number, got 5.0"),
    ],
)
def test_what_is_no_generator_is_refused(arguments, message):
    with pytest.raises(Error, match=message):
        LCG(*arguments)
    with pytest.raises(Error, match=r"unknown generator 'rand'.*Did you mean 'randu'\?"):
        LCG.preset("rand")


# ---------------------------------------------------------------------------------------------------- inverse transform


@given(st.floats(0, 1, exclude_max=True), st.floats(0.01, 100))
def test_the_exponential_quantile_inverts_its_distribution_function(u, rate):
    x = probability.exponential_quantile(u, rate)
    assert x >= 0 and close(-torch.expm1(-rate * x), u)


@given(boards(), st.lists(INSIDE, min_size=1, max_size=5))
def test_bisection_inverts_any_distribution_function(board, u):
    points, _ = grid(board, "x")
    u = torch.tensor(u, dtype=torch.float64)

    def cdf(at):
        return board.marginal_cdf("x", at)

    x = probability.inverse_transform(u, lambda u: probability.numerical_quantile(cdf, u, points[0], points[-1]))
    assert x.shape == u.shape and close(cdf(x), u)


def test_bisection_returns_the_nearer_end_where_u_is_not_reached():
    u = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    x = probability.numerical_quantile(torch.special.ndtr, u, -3.0, 3.0)
    assert close(x, [-3.0, 0.0, 3.0])
    x = probability.numerical_quantile(torch.special.ndtr, u.float(), -3.0, 3.0)
    assert x.dtype == torch.float32 and close(x, [-3.0, 0.0, 3.0], 1e-6)


@given(distributions(), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_a_categorical_draw_is_the_first_outcome_whose_cumulative_probability_exceeds_u(p, u):
    total = p.cumsum(0).tolist()
    expected = [next((k for k, c in enumerate(total) if c > v), len(p) - 1) for v in u]
    out = probability.categorical_from_uniform(torch.tensor(u, dtype=torch.float64), p)
    assert out.dtype == torch.int64 and out.tolist() == expected


def test_a_categorical_draw_is_safe_at_both_ends():
    almost_one = 1 - 2**-53
    p = torch.full((10,), 0.1, dtype=torch.float64)
    assert p.cumsum(0)[-1] <= almost_one  # so nothing exceeds u
    assert probability.categorical_from_uniform(almost_one, p) == 9
    assert probability.categorical_from_uniform([0.0, almost_one], [0.0, 0.5, 0.5, 0.0]).tolist() == [1, 2]
    assert probability.categorical_from_uniform([[0.0], [0.5]], [0.5, 0.5]).tolist() == [[0], [1]]
    assert probability.categorical_from_uniform([0.5, 0.25], [0.25, 0.25, 0.5]).tolist() == [2, 1]


def test_categorical_draws_have_the_stated_shares():
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    u = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    shares = probability.empirical(probability.categorical_from_uniform(u, p), 4)
    assert (shares - p).abs().max() < 6 * 0.5 / 100_000**0.5 and shares[1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability.inverse_transform([0.2, 1.2], torch.sqrt), "u must lie between 0 and 1, got 1.2"),
        (lambda: probability.exponential_quantile(0.5, 0.0), "rate must be positive, got 0"),
        (lambda: probability.numerical_quantile(torch.sigmoid, 0.5, 1.0, 1.0), "low must be below high"),
        (lambda: probability.numerical_quantile(torch.sigmoid, 0.5, -math.inf, 1.0), "low must be finite"),
        (lambda: probability.categorical_from_uniform(1.0, [0.5, 0.5]), "u must be below 1"),
        (lambda: probability.categorical_from_uniform(0.5, [[0.5, 0.5]]), r"one distribution \(k,\)"),
        (lambda: probability.categorical_from_uniform(0.5, [0.5, 0.4]), "it sums to 0.9"),
    ],
)
def test_bad_uniforms_are_refused(call, message):
    with pytest.raises(Error, match=message):
        call()


# ------------------------------------------------------------------------------------------------- the chapter's claims

CHAPTER = Path(__file__).parents[1] / "book" / "probability.ipynb"


def cell(name):
    """The text of one cell of the chapter."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    return next("".join(c["source"]) for c in cells if c["id"] == name)


def test_the_symptoms_of_break_it_pass_their_stated_thresholds():
    scope = {"torch": torch, "probability": probability, "figures": figures}
    exec(cell("break-table"), scope)
    text = " ".join(cell("break-read").split())
    assert "from 1,000 draws on, the multiplied estimate is exactly 0, off by more than 0.2" in text
    assert "while the added one is off by less than 0.1" in text
    assert list(scope["symptoms"]) == [10, 100, 1000, 10_000]
    assert scope["symptoms"][10][0] == scope["symptoms"][10][1] > 0  # short sequences hide the bug
    estimate = scope["estimate"]
    for seed in range(20):  # not of one lucky urn only
        for n in (1000, 10_000):
            draws = probability.draw_urn(n, theta=0.3, generator=seed)
            assert estimate(draws, multiply=True) == 0
            assert abs(estimate(draws) - 0.3) < 0.1
    for added, multiplied in list(scope["symptoms"].values())[2:]:
        assert multiplied == 0 and 0.3 - multiplied > 0.2 and abs(added - 0.3) < 0.1
