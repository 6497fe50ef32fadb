"""information.py: exact values, laws over random inputs, corners (0, ∞, derivatives), speed, and every refusal."""

import json
import math
import re
import statistics
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from gentut import Error, figures, information


def tensor(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def near(a, b, tolerance=1e-12):
    a, b = (x.double() if torch.is_tensor(x) else torch.tensor(x, dtype=torch.float64) for x in (a, b))
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


weights = st.one_of(st.just(0.0), st.floats(1e-6, 1), st.floats(1e-300, 1e-200))


@st.composite
def distributions(draw, how_many=1, least=1, most=8, positive=False):
    """`how_many` distributions over the same outcomes; some have zeros and very small values."""
    k = draw(st.integers(least, most))
    rows = []
    for _ in range(how_many):
        row = draw(st.lists(st.floats(1e-6, 1) if positive else weights, min_size=k, max_size=k))
        assume(sum(row) > 1e-7)
        row = torch.tensor(row, dtype=torch.float64)
        rows.append(row / row.sum())
    return rows if how_many > 1 else rows[0]


@st.composite
def joints(draw, positive=False):
    """A table p(x, y) of 1 to 5 by 1 to 5 outcomes."""
    a, b = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    values = draw(st.lists(st.floats(1e-6, 1) if positive else weights, min_size=a * b, max_size=a * b))
    assume(sum(values) > 1e-7)
    table = torch.tensor(values, dtype=torch.float64).reshape(a, b)
    return table / table.sum()


# -------------------------------------------------------------------------------------------------------- exact values


def test_the_coins_of_the_chapter_in_bits():
    fair, bent = tensor(0.5, 0.5), tensor(0.2, 0.8)
    near(information.information(fair, base=2), tensor(1, 1))
    near(information.information(bent, base=2), tensor(math.log2(5), math.log2(5 / 4)))
    near(information.entropy(fair, base=2), 1.0)
    near(information.entropy(bent, base=2), 0.2 * math.log2(5) + 0.8 * math.log2(1.25))
    rounded = [information.information(bent, base=2)[0], information.information(bent, base=2)[1]]
    rounded += [information.entropy(bent, base=2), information.cross_entropy(fair, bent, base=2)]
    rounded += [information.cross_entropy(fair, tensor(0.4, 0.6), base=2)]
    assert [round(x.item(), 2) for x in rounded] == [2.32, 0.32, 0.72, 1.32, 1.03]


def test_dyadic_distributions_are_exact():
    p = tensor(0.5, 0.25, 0.125, 0.125)
    assert information.entropy(p, base=2).item() == 1.75
    assert information.cross_entropy(p, tensor(0.25, 0.25, 0.25, 0.25), base=2).item() == 2
    assert information.kl(p, tensor(0.25, 0.25, 0.25, 0.25), base=2).item() == pytest.approx(0.25, abs=1e-15)
    assert information.huffman(p)[1].tolist() == [1, 2, 3, 3]


def test_a_sure_outcome_tells_nothing_and_has_no_minus_sign():
    for value in (information.information(1.0), information.entropy([1.0, 0.0]), information.entropy([1.0])):
        assert value.item() == 0 and math.copysign(1, value.item()) == 1
    value = information.cross_entropy([1.0, 0.0], [1.0, 0.0])
    assert value.item() == 0 and math.copysign(1, value.item()) == 1
    assert math.copysign(1, information.mutual_information_normal(0.0).item()) == 1


def test_zero_probability_is_exact():
    assert information.information(0.0).item() == math.inf
    assert information.entropy([0.0, 0.5, 0.5], base=2).item() == 1
    assert information.cross_entropy([0.0, 1.0], [0.0, 1.0]).item() == 0
    assert information.kl([0.0, 1.0], [0.0, 1.0]).item() == 0
    assert information.kl([0.0, 1.0], [0.5, 0.5], base=2).item() == pytest.approx(1, abs=1e-15)
    assert information.kl([0.5, 0.5], [0.0, 1.0]).item() == math.inf
    assert information.cross_entropy([0.5, 0.5], [0.0, 1.0]).item() == math.inf
    batch = information.kl([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0], [0.25, 0.75]])
    assert batch[0] == math.inf and batch[1] == 0 and batch[2].item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_too_small_to_divide_by_are_not_taken_for_zero(dtype):
    small = torch.finfo(dtype).tiny / 64  # a subnormal number: 1 / small is no float
    p, q = tensor(0.5, 0.5, dtype=dtype), tensor(1.0, small, dtype=dtype)
    exact = 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - math.log(q[1].item()))
    near(information.kl(p, q), exact, 1e-6)
    near(information.kl(q, p), math.log(2), 1e-6)


def test_types_and_batch_shapes_are_kept():
    p = torch.rand(2, 3, 4, 5).softmax(-1)
    q = torch.rand(2, 3, 4, 5).softmax(-1)
    for value in (information.entropy(p), information.cross_entropy(p, q), information.kl(p, q)):
        assert value.shape == (2, 3, 4) and value.dtype == torch.float32
    for i in np.ndindex(2, 3, 4):
        near(information.kl(p, q)[i], information.kl(p[i], q[i]), 1e-6)
    assert information.information(p).shape == p.shape
    assert information.entropy([0.5, 0.5]).dtype == torch.float64
    assert information.kl(p, q.double()[:, :] / q.double().sum(-1, keepdim=True)).dtype == torch.float64
    joint = torch.rand(7, 2, 3, 4).flatten(2).softmax(-1).view(7, 2, 3, 4)
    assert information.mutual_information(joint).shape == (7, 2)
    assert information.info_nce(torch.zeros(7, 2, 3, 3)).shape == (7, 2)
    assert information.entropy(torch.empty(0, 3)).shape == information.kl(*[torch.empty(0, 3)] * 2).shape == (0,)
    assert information.mutual_information(torch.empty(0, 2, 2)).shape == (0,)


# ---------------------------------------------------------------------------------------------------------------- laws


@given(distributions(2))
def test_kl_is_cross_entropy_minus_entropy_and_never_negative(pair):
    p, q = pair
    divergence = information.kl(p, q)
    assert divergence >= 0 and not divergence.isnan()
    expected = information.cross_entropy(p, q) - information.entropy(p)
    near(divergence, expected, 1e-9)
    assert (divergence == math.inf) == bool(((p > 0) & (q == 0)).any())


@given(distributions(2))
def test_kl_is_zero_only_between_equals(pair):
    p, q = pair
    assert information.kl(p, p) == 0
    distance = (p - q).abs().sum().item()
    # Pinsker's inequality: D ≥ ½ ‖p - q‖₁², so D = 0 leaves no room for a difference
    assert information.kl(p, q).item() >= 0.5 * distance**2 * (1 - 1e-9) - 1e-30


@given(distributions(positive=True, least=2), st.floats(-12, -1), st.integers(0, 2**31))
def test_kl_of_near_neighbours_keeps_its_digits(p, exponent, seed):
    """Where p and q differ in the 12th digit, D is of order 1e-24, far below what H(p, q) - H(p) can resolve."""
    noise = torch.rand(len(p), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q = p * (1 + 10**exponent * noise)
    q = q / q.sum()
    exact = 0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        a, b = Fraction(a), Fraction(b)
        d = (a - b) / b
        if abs(d) < Fraction(1, 1000):  # (1 + d) log(1 + d) - d as a series
            exact += b * sum((-1) ** n * d**n / (n * (n - 1)) for n in range(2, 9))
        else:
            exact += Fraction(a.numerator, a.denominator) * Fraction(math.log(a / b)) - a + b
    assume(exact > 1e-26)
    assert information.kl(p, q).item() == pytest.approx(float(exact), rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_is_never_negative_in_floating_point(dtype):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 10, generator=g, dtype=torch.float64)
    negative = 0
    for distance in (1e-16, 1e-15, 1e-12, 1e-8, 1e-7, 1e-4, 1.0):
        shifted = logits + distance * torch.randn(logits.shape, generator=g, dtype=torch.float64)
        p, q = logits.softmax(-1).to(dtype), shifted.softmax(-1).to(dtype)
        assert (information.kl(p, q) >= 0).all()
        negative += ((p * (p / q).log()).sum(-1) < 0).sum().item()
    assert negative > 10_000  # the formula as it is usually written is, often


@given(distributions(), st.sampled_from([2, 10, 0.5, 3.7]))
def test_another_base_is_another_unit(p, base):
    q = torch.full_like(p, 1 / len(p))
    unit = math.log(base)
    near(information.entropy(p, base) * unit, information.entropy(p), 1e-9)
    near(information.cross_entropy(p, q, base) * unit, information.cross_entropy(p, q), 1e-9)
    near(information.kl(p, q, base) * unit, information.kl(p, q), 1e-9)
    near(information.information(q, base) * unit, information.information(q), 1e-9)
    near(information.kl_normal(1.5, 0.3, base) * unit, information.kl_normal(1.5, 0.3))
    near(information.kl_normals(1.5, 0.3, 2.0, 0.1, base) * unit, information.kl_normals(1.5, 0.3, 2.0, 0.1))
    joint = torch.outer(p, q)
    near(information.mutual_information(joint, base) * unit, information.mutual_information(joint))
    near(information.mutual_information_normal(0.5, base) * unit, information.mutual_information_normal(0.5))
    near(information.info_nce(torch.eye(3), base) * unit, information.info_nce(torch.eye(3)), 1e-6)
    mean, error = information.monte_carlo_kl(torch.sin, torch.cos, torch.arange(5.0), base)
    in_nats = information.monte_carlo_kl(torch.sin, torch.cos, torch.arange(5.0))
    near(torch.stack([mean * unit, error * abs(unit)]), torch.stack(in_nats), 1e-5)


@given(distributions())
def test_entropy_is_between_zero_and_the_log_of_the_outcomes(p):
    h = information.entropy(p).item()
    assert -1e-15 <= h <= math.log(len(p)) + 1e-12
    near(information.kl(p, torch.full_like(p, 1 / len(p))), math.log(len(p)) - h, 1e-9)


@given(distributions(), distributions())
def test_independent_events_add(p, q):
    both = torch.outer(p, q)
    near(information.entropy(both.flatten()), information.entropy(p) + information.entropy(q), 1e-9)
    seen = both > 1e-290  # smaller products round
    sums = information.information(p)[:, None] + information.information(q)[None, :]
    near(information.information(both)[seen], sums[seen], 1e-9)


@given(joints())
def test_chain_rule_of_entropy(joint):
    """H(X, Y) = H(X) + H(Y | X), with H(Y | X) the average entropy of a row."""
    p_x = joint.sum(1)
    rows = [p_x[i] * information.entropy(joint[i] / p_x[i]) for i in range(len(p_x)) if p_x[i] > 1e-100]
    near(information.entropy(joint.flatten()), information.entropy(p_x) + sum(rows), 1e-9)


@given(distributions(2), st.integers(1, 5), st.integers(0, 2**31))
def test_data_processing_never_adds_divergence(pair, outcomes, seed):
    """What one does to the outcomes, the same for both, cannot make p and q easier to tell apart."""
    p, q = pair
    channel = torch.rand(len(p), outcomes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4
    channel = channel / channel.sum(1, keepdim=True)
    after = information.kl(p @ channel, q @ channel).item()
    assert after <= information.kl(p, q).item() * (1 + 1e-9) + 1e-12


@given(joints(), st.integers(1, 5), st.integers(0, 2**31))
def test_data_processing_never_adds_mutual_information(joint, outcomes, seed):
    channel = torch.rand(joint.shape[1], outcomes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    channel = channel / channel.sum(1, keepdim=True)  # Y → Z
    before = information.mutual_information(joint).item()
    assert information.mutual_information(joint @ channel).item() <= before + 1e-12


@given(joints())
def test_mutual_information_is_symmetric_and_a_divergence(joint):
    value = information.mutual_information(joint)
    p_x, p_y = joint.sum(1), joint.sum(0)
    assert value >= 0 and value <= min(information.entropy(p_x), information.entropy(p_y)) + 1e-9
    near(value, information.mutual_information(joint.T), 1e-12)
    sums = information.entropy(p_x) + information.entropy(p_y) - information.entropy(joint.flatten())
    near(value, sums, 1e-9)
    product = torch.outer(p_x, p_y)
    if not ((product == 0) & (joint > 0)).any():  # the product may be too small for a float
        near(value, information.kl(joint.flatten(), (product / product.sum()).flatten()), 1e-9)


@given(distributions(), distributions())
def test_independent_variables_share_nothing(p, q):
    assert 0 <= information.mutual_information(torch.outer(p, q)).item() < 1e-28


def test_mutual_information_of_a_copy_is_the_entropy():
    p = tensor(0.5, 0.25, 0.25)
    near(information.mutual_information(torch.diag(p), base=2), 1.5, 1e-15)
    with_rare_x = torch.diag(tensor(1 - 1e-200, 1e-200))  # p(x) p(y) would be 0 here
    assert information.mutual_information(with_rare_x).isfinite()


# --------------------------------------------------------------------------------------------------------- derivatives


@given(distributions(2, least=2, positive=True))
def test_gradient_of_the_divergence_is_that_of_the_cross_entropy(pair):
    p, q = pair
    logits = q.log().requires_grad_()
    of_d = torch.autograd.grad(information.kl(p, logits.softmax(-1)), logits)[0]
    of_h = torch.autograd.grad(information.cross_entropy(p, logits.softmax(-1)), logits)[0]
    near(of_d, of_h, 1e-12)
    near(of_d, q - p, 1e-9)  # the gradient of softmax and cross-entropy together


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: information.entropy(a.softmax(-1)),
        lambda a, b: information.cross_entropy(a.softmax(-1), b.softmax(-1)),
        lambda a, b: information.kl(a.softmax(-1), b.softmax(-1)),
        lambda a, b: information.mutual_information((a[:, None] * b[None, :]).flatten().softmax(-1).view(4, 4)),
        lambda a, b: information.kl_normal(a, b.exp()),
        lambda a, b: information.kl_normals(a, b.exp(), b, a.exp()),
        lambda a, b: information.mutual_information_normal(a.tanh()),
        lambda a, b: information.info_nce(a[:, None] * b[None, :]),
    ],
)
def test_derivatives_are_those_of_finite_differences(function):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(function, (a.requires_grad_(), b.requires_grad_()))
    assert torch.autograd.gradgradcheck(function, (a, b))


def test_derivatives_are_finite_at_zero_probability():
    logits = tensor(0.3, -math.inf, 1.0, 0.2).requires_grad_()
    other = tensor(0.1, -math.inf, -0.7, 0.4).requires_grad_()
    p, q = logits.softmax(-1), other.softmax(-1)
    p.retain_grad()
    q.retain_grad()
    information.kl(p, q).backward(retain_graph=True)
    assert p.grad[1] == 0 and q.grad[1] == 0
    near(q.grad, torch.where(p > 0, -p / q, 0).detach())
    for a in (logits, other):
        assert a.grad.isfinite().all() and a.grad[1] == 0
    # what remains is the gradient of the problem without that outcome
    keep = [0, 2, 3]
    few, few_other = logits.detach()[keep].requires_grad_(), other.detach()[keep].requires_grad_()
    information.kl(few.softmax(-1), few_other.softmax(-1)).backward()
    near(logits.grad[keep], few.grad)
    near(other.grad[keep], few_other.grad)


@pytest.mark.parametrize("p", [[0.0, 1.0], [0.0, 0.4, 0.6], [1.0]])
def test_derivatives_at_zero_where_the_model_has_mass(p):
    p = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    q = torch.full_like(p, 1 / len(p)).requires_grad_()
    for value in (information.kl(p, q), information.cross_entropy(p, q), information.entropy(p)):
        gradients = torch.autograd.grad(value, (p, q), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients)
    on_p, on_q = torch.autograd.grad(information.cross_entropy(p, q), (p, q))
    near(on_p, -q.log())
    near(on_q, -p / q)
    near(torch.autograd.grad(information.kl(p, q), q)[0], -p / q)


def test_an_infinite_divergence_spoils_no_other_row():
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    p = tensor(0.25, 0.75).expand(2, 2)
    q = torch.stack([logits[0].softmax(-1), tensor(1.0, 0.0)])
    value = information.kl(p, q)
    assert value[1] == math.inf
    near(torch.autograd.grad(value[0], logits)[0][0], tensor(0.25, -0.25))


# ------------------------------------------------------------------------------------------------------------- normals


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.3, 3))
def test_kl_of_normals_against_quadrature_and_torch(mu_p, sigma_p, mu_q, sigma_q):
    value = information.kl_normals(mu_p, sigma_p, mu_q, sigma_q).item()
    p, q = stats.norm(mu_p, sigma_p), stats.norm(mu_q, sigma_q)
    area = integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), mu_p - 12 * sigma_p, mu_p + 12 * sigma_p, points=[mu_p]
    )[0]
    assert value == pytest.approx(area, abs=1e-7)
    normal = torch.distributions.Normal
    pair = normal(tensor(mu_p), tensor(sigma_p)), normal(tensor(mu_q), tensor(sigma_q))
    assert value == pytest.approx(torch.distributions.kl_divergence(*pair).item(), abs=1e-9, rel=1e-9)
    near(information.kl_normals(mu_p, sigma_p, 0.0, 1.0), information.kl_normal(mu_p, sigma_p), 1e-12)


def test_kl_normal_is_the_formula_and_exact_near_zero():
    mu, sigma = tensor(0.0, 1.0, 2.0), tensor(1.0, 2.0, 0.5)
    near(information.kl_normal(mu, sigma), 0.5 * (-(sigma**2).log() + mu**2 + sigma**2 - 1))
    assert information.kl_normal(0, 1).item() == 0
    small = 1e-6  # D(N(0, (1 + e)²) ‖ N(0, 1)) = e² - e³/3 + ...
    assert information.kl_normal(0.0, 1 + small).item() == pytest.approx(small**2, rel=1e-5)
    assert information.kl_normal(0.0, 1e-200).isfinite() and information.kl_normal(1e100, 1e100).isfinite()
    assert information.kl_normal(torch.zeros(3, 1), torch.ones(4)).shape == (3, 4)
    assert information.kl_normal(torch.zeros(3), 2.0).dtype == torch.float32


@given(st.floats(-0.999, 0.999))
def test_mutual_information_of_normals(rho):
    value = information.mutual_information_normal(rho).item()
    assert value == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-9)
    # given x, y is N(rho x, 1 - rho²): the mean divergence from N(0, 1) over x ~ N(0, 1)
    x, weight = np.polynomial.hermite_e.hermegauss(10)
    slices = information.kl_normal(rho * torch.from_numpy(x), tensor(math.sqrt(1 - rho**2)))
    weight = torch.from_numpy(weight / weight.sum())
    assert value == pytest.approx((weight * slices).sum().item(), abs=1e-9)


# --------------------------------------------------------------------------------------------------------- Monte Carlo


def estimates(n, repeats, seed=0):
    p, q = torch.distributions.Normal(1.0, 0.5), torch.distributions.Normal(0.0, 1.0)
    draws = 1 + 0.5 * torch.randn(n, repeats, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return information.monte_carlo_kl(p.log_prob, q.log_prob, draws)


def test_monte_carlo_is_unbiased_and_its_error_bar_is_honest():
    truth = information.kl_normal(1.0, 0.5).item()
    mean, error = estimates(200, 4000)
    assert mean.shape == error.shape == (4000,)
    assert abs(mean.mean() - truth) < 4 * mean.std() / math.sqrt(4000)
    assert error.mean() == pytest.approx(mean.std().item(), rel=0.05)
    assert ((mean - truth).abs() < 2 * error).float().mean() == pytest.approx(0.95, abs=0.02)


def test_the_error_bar_shrinks_with_the_root_of_n():
    wide, narrow = estimates(100, 500)[1].mean(), estimates(10_000, 500)[1].mean()
    assert wide / narrow == pytest.approx(10, rel=0.03)


def test_monte_carlo_with_a_draw_that_q_rules_out_is_infinite():
    uniform = torch.distributions.Uniform(0.0, 1.0, validate_args=False)
    mean, error = information.monte_carlo_kl(
        torch.distributions.Normal(0.0, 1.0).log_prob, uniform.log_prob, tensor(0.5, 2.0)
    )
    assert mean == math.inf and error == math.inf


def correlated(rho, batches, n, seed=0):
    x, noise = torch.randn(2, batches, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * noise
    x, y = x[:, :, None], y[:, None, :]  # the log-ratio log p(y | x) - log p(y) of every pair
    return -0.5 * math.log(1 - rho**2) - (y - rho * x) ** 2 / (2 * (1 - rho**2)) + y**2 / 2


@given(st.integers(1, 20), st.floats(0, 100), st.integers(0, 2**31))
def test_info_nce_never_exceeds_log_n(n, size, seed):
    scores = size * torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert information.info_nce(scores).item() <= math.log(n) + 1e-12
    shift = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    near(information.info_nce(scores), information.info_nce(scores + shift), 1e-9)  # any c(x) may be added


@pytest.mark.parametrize(("rho", "n"), [(0.0, 8), (0.5, 2), (0.9, 8), (0.999, 8)])
def test_info_nce_is_a_lower_bound_on_average(rho, n):
    truth = information.mutual_information_normal(rho).item()
    values = information.info_nce(correlated(rho, 2000, n))
    error = values.std().item() / math.sqrt(2000)
    assert values.mean().item() <= min(truth, math.log(n)) + 4 * error
    if rho == 0.999:
        assert math.log(8) - 0.5 < values.mean().item() < math.log(8) < truth - 1  # held down by the ceiling


def test_info_nce_comes_close_with_many_pairs_and_a_worse_score_gives_less():
    truth = information.mutual_information_normal(0.8).item()
    scores = correlated(0.8, 20, 512)
    assert information.info_nce(scores).mean().item() == pytest.approx(truth, abs=0.02)
    assert information.info_nce(0.3 * scores).mean() < information.info_nce(scores).mean() - 0.02
    assert information.info_nce(torch.zeros(5, 5)).abs() < 1e-6


# -------------------------------------------------------------------------------------------------------------- coding


@given(distributions(most=40))
def test_huffman_words_are_a_prefix_code_within_a_bit_of_entropy(p):
    code, lengths = information.huffman(p)
    assert lengths.dtype == torch.int64 and [len(word) for word in code] == lengths.tolist()
    if len(p) > 1:
        assert sum(Fraction(1, 2**n) for n in lengths.tolist()) == 1  # Kraft's sum, and no word is wasted
    assert not any(a != b and b.startswith(a) for a in code for b in code) and len(set(code)) == len(p)
    mean, h = (p * lengths).sum().item(), information.entropy(p, base=2).item()
    assert h - 1e-9 <= mean <= h + 1 + 1e-9
    if (p > 1e-3).all():
        assert mean < h + 1


@given(distributions(most=5, least=2))
def test_no_prefix_code_is_shorter_on_average(p):
    """Against every choice of lengths that Kraft allows."""
    best = min(
        sum(a * b for a, b in zip(p.tolist(), lengths, strict=True))
        for lengths in np.ndindex(*[len(p)] * len(p))
        if sum(Fraction(1, 2**n) for n in lengths) <= 1
    )
    assert (p * information.huffman(p)[1]).sum().item() == pytest.approx(best, abs=1e-12)


def test_huffman_small_cases():
    assert information.huffman([1.0])[0] == [""]
    assert sorted(information.huffman([1.0, 0.0])[0]) == ["0", "1"]
    assert information.huffman([0.2, 0.8])[1].tolist() == [1, 1]
    assert information.huffman(torch.full((5000,), 1 / 5000, dtype=torch.float64))[1].max() == 13


# --------------------------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize(("dtype", "zeros", "allowed"), [
    (torch.float32, False, 3), (torch.float64, False, 3), (torch.float32, True, 4.5), (torch.float64, True, 4.5),
])  # fmt: skip
def test_a_million_divergences_cost_little_more_than_the_bare_expression(dtype, zeros, allowed):
    g = torch.Generator().manual_seed(0)
    p, q = (torch.randn(1_000_000, 10, generator=g, dtype=dtype).softmax(-1) for _ in range(2))
    if zeros:
        p[:, 0] = 0
        p /= p.sum(-1, keepdim=True)

    def seconds(f):
        start = time.process_time()  # of this process only: others on the machine do not count
        f()
        return time.process_time() - start

    pairs = [(seconds(lambda: information.kl(p, q)), seconds(lambda: (p * (p / q).log()).sum(-1))) for _ in range(7)]
    ratio = statistics.median(ours / bare for ours, bare in pairs)  # side by side: each against its neighbour
    assert ratio <= allowed, f"{ratio:.2f} times the bare expression"


# ----------------------------------------------------------------------------------------------------------- bad input

good = [0.5, 0.5]


@pytest.mark.parametrize(("call", "why"), [
    (lambda: information.entropy([0.5, 0.6]), r"p must sum to 1 .*tolerance 1e-09.*sums to 1\.1"),
    (lambda: information.entropy(torch.tensor([0.5, 0.6])), r"tolerance 1e-05.*sums to 1\.1"),
    (lambda: information.entropy([1.5, -0.5]), "p must not be negative, got -0.5"),
    (lambda: information.entropy([math.nan, 1.0]), "p holds NaN at"),
    (lambda: information.entropy([[0.5, 0.5], [0.5, 0.4]]), r"sums to 0\.9 at \[1\]"),
    (lambda: information.entropy(0.5), "at least one outcome"),
    (lambda: information.entropy("coin"), "p must be numbers"),
    (lambda: information.information(1.2), r"p must lie in \[0, 1\], got 1.2"),
    (lambda: information.information(-0.1), r"p must lie in \[0, 1\], got -0.1"),
    (lambda: information.information(math.nan), "p holds NaN"),
    (lambda: information.kl(good, [0.2, 0.9]), r"q must sum to 1 .*1\.1"),
    (lambda: information.kl(good, [1.2, -0.2]), "q must not be negative"),
    (lambda: information.kl(good, [0.2, 0.3, 0.5]), r"same shape, got \(2,\) and \(3,\)"),
    (lambda: information.cross_entropy([good], good), r"same shape, got \(1, 2\) and \(2,\)"),
    (lambda: information.cross_entropy([math.nan, 1], good), "p holds NaN"),
    (lambda: information.mutual_information([[0.5, 0.1], [0.2, 0.1]]), r"joint must sum to 1 .*0\.9"),
    (lambda: information.mutual_information(good), "joint must have at least one outcome"),
    (lambda: information.kl_normal(0, 0), "sigma must be positive, got 0"),
    (lambda: information.kl_normal(0, -1), "sigma must be positive, got -1"),
    (lambda: information.kl_normal(math.inf, 1), "mu must be finite, got inf"),
    (lambda: information.kl_normal([0, 1, 2], [1, 1]), r"do not fit together: mu \(3,\), sigma \(2,\)"),
    (lambda: information.kl_normals(0, 1, 0, -2), "sigma_q must be positive, got -2"),
    (lambda: information.kl_normals(0, 0, 0, 1), "sigma_p must be positive, got 0"),
    (lambda: information.kl_normals(0, 1, math.nan, 1), "mu_q holds NaN"),
    (lambda: information.mutual_information_normal([0.2, 1.0]), "rho must lie strictly between -1 and 1, got 1"),
    (lambda: information.info_nce(torch.zeros(2, 3)), r"scores must be \(..., n, n\).*\(2, 3\)"),
    (lambda: information.info_nce(torch.zeros(0, 0)), "scores must be"),
    (lambda: information.info_nce([1.0]), "scores must be"),
    (lambda: information.info_nce([[math.inf]]), "scores must be finite"),
    (lambda: information.huffman([[0.5, 0.5]]), "one distribution, of shape"),
    (lambda: information.huffman([0.5, 0.4]), "sum to 1"),
    (lambda: information.monte_carlo_kl(torch.sin, torch.sin, torch.zeros(1)), "at least two draws"),
    (lambda: information.monte_carlo_kl(torch.sin, lambda x: x[:2], torch.zeros(3)), "same shape"),
    (lambda: information.monte_carlo_kl(torch.log, torch.sin, tensor(-1, 1)), "NaN"),
    (lambda: information.monte_carlo_kl(torch.log, torch.log, tensor(0, 1)), "log_p - log_q holds NaN"),
])  # fmt: skip
def test_bad_input_ends_in_one_clear_error(call, why):
    with pytest.raises(Error, match=why):
        call()


@pytest.mark.parametrize("base", [0, 1, -2, 1.0, math.nan, math.inf, "2", True, None])
@pytest.mark.parametrize("call", [
    lambda b: information.information(0.5, b),
    lambda b: information.entropy(good, b),
    lambda b: information.cross_entropy(good, good, b),
    lambda b: information.kl(good, good, b),
    lambda b: information.kl_normal(0, 1, b),
    lambda b: information.kl_normals(0, 1, 0, 1, b),
    lambda b: information.mutual_information([good, [0, 0]], b),
    lambda b: information.mutual_information_normal(0.5, b),
    lambda b: information.info_nce(torch.eye(2), b),
    lambda b: information.monte_carlo_kl(torch.sin, torch.sin, torch.zeros(3), b),
])  # fmt: skip
def test_a_base_must_be_one(call, base):
    with pytest.raises(Error, match="base must be a positive number other than 1"):
        call(base)


# --------------------------------------------------------------------------------------------------------- the chapter

NOTEBOOK = Path(__file__).parents[1] / "book" / "information.ipynb"


def source(cell):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next("".join(c["source"]) for c in cells if c["id"] == cell))


@pytest.fixture
def chapter():
    """Runs cells of the chapter by their ids, with the names and the precision that it sets up; returns all names."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    scope = {
        "math": math, "torch": torch, "F": F, "figures": figures, "information": information, "scale": "test",
        "seeded": lambda number: torch.Generator().manual_seed(number),
    }  # fmt: skip

    def run(*cells):
        for cell in cells:
            exec(source(cell), scope)
        return scope

    yield run
    torch.set_default_dtype(before)


def test_the_symptoms_of_break_it_pass_their_stated_thresholds(chapter):
    of = chapter("break-table")["symptoms"]
    assert list(of) == ["healthy", "no logarithm", "arguments swapped"]
    text = re.sub(r"\s+", " ", source("break-read"))
    for stated in ("below −1 nat", "stays above 0", "more than half", "more than 5 nats", "is less than 1"):
        assert stated in text
    (loss, divergence, _), (negative, infinite, largest), (reverse, forgotten, _) = of.values()
    assert loss == pytest.approx(divergence, rel=1e-3) and 0 < loss < 1  # healthy: it reports what is meant
    assert negative < -1 and infinite == math.inf and largest > 0.5
    assert forgotten > 5 and 0 < reverse < loss  # "it even ends below the healthy one"


def test_forward_covers_and_reverse_chooses(chapter):
    scope = chapter("two-modes-fit")
    p = scope["log_p"].exp() * scope["dx"]
    mean = (p * scope["x"]).sum()
    deviation = (p * (scope["x"] - mean) ** 2).sum().sqrt()
    for path in scope["paths"]["forward"]:
        near(path[-1], torch.stack([mean, deviation]), 1e-3)
    left, right = (path[-1] for path in scope["paths"]["reverse"])
    near(left, tensor(-2.5, 0.7), 0.02)
    near(right, tensor(2.5, 0.7), 0.02)


def test_huffman_sends_the_text_near_its_entropy_and_each_language_is_cheaper_in_its_own_code(chapter):
    scope = chapter("huffman", "huffman-decode", "languages")
    assert scope["received"] == scope["english"]
    h = information.entropy(scope["p"], base=2).item() * len(scope["english"])
    assert h <= len(scope["sent"]) < 1.05 * h
    (own, _), (other, _), (foreign, _), (native, _) = (row[2:] for row in scope["rows"])
    assert own < other and native < foreign
    assert all(ideal <= length for _, _, length, ideal in scope["rows"])


def test_blocks_come_close_to_the_entropy(chapter):
    scope = chapter("coins")
    scope["plt"] = pytest.importorskip("matplotlib.pyplot")
    costs, h = chapter("blocks")["per_toss"], information.entropy([0.2, 0.8], base=2).item()
    scope["plt"].close("all")
    assert costs[0] == pytest.approx(1) and costs[-1] < h + 0.01
    assert all(h <= cost < h + 1 / (n + 1) for n, cost in enumerate(costs))


def test_info_nce_of_the_chapter_stays_under_truth_and_ceiling(chapter):
    scope = chapter("info-nce-run")
    for n, values in scope["played"].items():
        for truth, (mean, error) in zip(scope["truths"], values.tolist(), strict=True):
            assert mean <= min(truth, math.log(n)) + 4 * error + 1e-9
        assert values[-1, 0] > 0.9 * math.log(n)
