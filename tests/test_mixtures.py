"""Mixtures: density, samples, distribution function and quantiles against each other; the game's answers as laws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest, norm, wasserstein_distance

from gentut import Error, mixtures
from gentut.mixtures import Mixture, pair, ring

shares = st.floats(0, 1)
places = st.floats(-4, 4)
bumps = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 2), st.floats(0.1, 1)), min_size=1, max_size=4)
GRID = torch.linspace(-20, 20, 8001, dtype=torch.float64)  # 8 deviations beyond the outermost bump
WIDTH = 40 / 8000


def mixture(bumps):
    means, sigmas, weights = torch.tensor(bumps, dtype=torch.float64).T
    return Mixture(means, sigmas, weights / weights.sum())


def density(bumps):
    return mixture(bumps).log_density(GRID).exp()


# ----------------------------------------------------------------------------------------------------------- a mixture


@pytest.mark.parametrize("target", [pair(), ring(), ring(3, 2.0, 0.5), Mixture([[1.0, 2.0, 3.0]], [0.5])])
def test_the_density_is_that_of_torch_distributions(target):
    d = torch.distributions
    each = d.Independent(d.Normal(target.means, target.sigmas[:, None].expand_as(target.means)), 1)
    known = d.MixtureSameFamily(d.Categorical(target.weights), each)
    x = target.sample(50, generator=0)
    assert x.shape == (50, target.dim) and x.dtype == torch.float64
    assert torch.allclose(target.log_density(x), known.log_prob(x), rtol=1e-12, atol=1e-12)


@given(bumps)
def test_the_density_sums_to_one_and_is_the_slope_of_the_distribution_function(bumps):
    target = mixture(bumps)
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    step = 1e-5
    slope = (target.cdf(x + step) - target.cdf(x - step)) / (2 * step)
    assert torch.allclose(slope, target.log_density(x).exp(), rtol=1e-6, atol=1e-8)
    assert target.log_density(GRID).exp().sum() * WIDTH == pytest.approx(1, abs=1e-6)


def test_the_density_in_the_plane_sums_to_one():
    x = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    total = ring().log_density(torch.cartesian_prod(x, x)).exp().sum() * 0.01**2
    assert total == pytest.approx(1, abs=1e-9)


@given(bumps, shares)
def test_the_quantile_inverts_the_distribution_function(bumps, u):
    target = mixture(bumps)
    x = target.quantile(torch.tensor([u], dtype=torch.float64))
    assert x.shape == (1,) and target.cdf(x).item() == pytest.approx(u, abs=1e-9)


def test_the_quantile_of_one_bump_is_the_normals():
    u = torch.tensor([[0.001, 0.2], [0.5, 0.99]], dtype=torch.float64)
    known = norm.ppf(u.numpy(), loc=2, scale=3)
    assert Mixture([2.0], [3.0]).quantile(u).numpy() == pytest.approx(known, abs=1e-9)


def test_samples_follow_the_distribution_function():
    target = pair()
    x = target.sample(20_000, generator=0)[:, 0]
    assert kstest(x.numpy(), lambda v: target.cdf(torch.from_numpy(v)).numpy()).pvalue > 0.01
    u = torch.rand(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert kstest(target.quantile(u).numpy(), x.numpy()).pvalue > 0.01  # inverse transform draws the same
    assert kstest(x.numpy(), norm.cdf).pvalue < 1e-9  # and the test can say no


def test_samples_are_a_function_of_the_seed():
    draws = [ring().sample(20, generator=g) for g in (0, torch.Generator().manual_seed(0), 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_the_chapters_mixtures():
    assert pair().dim == 1 and ring().dim == 2
    lengths = ring(5, 2.0).means.norm(dim=1)
    assert torch.allclose(lengths, torch.full((5,), 2.0, dtype=torch.float64))
    assert ring().weights.tolist() == [1 / 8] * 8
    gap = torch.pdist(ring().means).min()
    assert gap > 6 * 0.05 * 2  # a sample is near one mode of the ring at most


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Mixture([0.0, 1.0], [1.0]), r"shapes \(k, dim\), \(k,\) and \(k,\), got \(2, 1\), \(1,\)"),
    (lambda: Mixture(torch.zeros(2, 2, 2), [1.0, 1.0]), "means, sigmas and weights must have the shapes"),
    (lambda: Mixture(0.0, 1.0), "means, sigmas and weights must have the shapes"),
    (lambda: Mixture([], []), "means, sigmas and weights must have the shapes"),
    (lambda: Mixture([0.0], [0.0]), "sigmas must be positive, got 0"),
    (lambda: Mixture([0.0], [-1.0]), "sigmas must be positive, got -1"),
    (lambda: Mixture([math.nan], [1.0]), "means holds NaN"),
    (lambda: Mixture([0.0, 1.0], [1.0, 1.0], [1.0, 0.0]), "weights must be positive, got 0"),
    (lambda: Mixture([0.0, 1.0], [1.0, 1.0], [0.5, 0.6]), "weights must sum to 1"),
    (lambda: Mixture([0.0, 1.0], [1.0, 1.0], [1.0]), "means, sigmas and weights must have the shapes"),
    (lambda: pair().log_density(torch.zeros(3, 2)), r"x must have shape \(n, 1\) .* got \(3, 2\)"),
    (lambda: ring().log_density(torch.zeros(3)), r"x must have shape \(n, 2\) .* got \(3,\)"),
    (lambda: pair().quantile([1.1]), "u must lie"),
    (lambda: ring().quantile([0.5]), "quantile function needs numbers in one dimension, this mixture has 2"),
    (lambda: ring().cdf([0.5]), "distribution function needs numbers in one dimension"),
    (lambda: pair().sample(0, generator=0), "n must be at least 1, got 0"),
    (lambda: pair().sample(5), "needs a generator or a seed"),
    (lambda: ring(0), "modes must be at least 1"),
    (lambda: ring(8, -1.0), "radius must be positive"),
    (lambda: mixtures.modes_found(torch.zeros(3), ring()), r"samples must have shape \(n, 2\)"),
    (lambda: mixtures.modes_found(torch.zeros(0, 2), ring()), "n of at least 1, got \\(0, 2\\)"),
    (lambda: mixtures.earth_movers_distance(torch.zeros(3, 2), ring()), "in one dimension"),
])
def test_what_is_no_mixture_or_no_point_of_it_is_one_clear_error(make, message):
    with pytest.raises(Error, match=message):
        make()


# -------------------------------------------------------------------------------------------------- the game's answers


@given(st.floats(-600, 600), st.floats(-600, 600))
def test_the_optimal_discriminator_is_a_share(log_p, log_q):
    log_p, log_q = torch.tensor([log_p, log_q], dtype=torch.float64)
    d = mixtures.optimal_discriminator(log_p, log_q)
    assert 0 <= d <= 1
    assert d.item() == pytest.approx(log_p.exp().item() / (log_p.exp() + log_q.exp()).item(), rel=1e-9)
    assert (d + mixtures.optimal_discriminator(log_q, log_p)).item() == pytest.approx(1)


def test_the_optimal_discriminator_does_not_overflow():
    infinity = math.inf
    log_p = torch.tensor([-1e5, 1e5, -infinity, 0.0, -infinity])
    log_q = torch.tensor([1e5, -1e5, 0.0, -infinity, -infinity])
    assert mixtures.optimal_discriminator(log_p, log_q).tolist() == [0, 1, 0, 1, 0.5]
    with pytest.raises(Error, match="same shape"):
        mixtures.optimal_discriminator(log_p, log_q[:2])


@given(bumps, bumps)
def test_the_value_at_the_optimum_is_two_js_minus_log_four(one, other):
    p, q = density(one), density(other)
    best = mixtures.value(mixtures.optimal_discriminator(p.log(), q.log()), p, q, WIDTH)
    js = mixtures.jensen_shannon(p, q, WIDTH)
    assert best.item() == pytest.approx(2 * js.item() - math.log(4), abs=1e-6)
    assert -1e-9 <= js <= math.log(2) + 1e-6
    assert js.item() == pytest.approx(mixtures.jensen_shannon(q, p, WIDTH).item(), abs=1e-12)


@given(bumps, bumps, st.floats(0.1, 10), st.floats(-3, 3))
def test_no_other_discriminator_does_better(one, other, slope, shift):
    p, q = density(one), density(other)
    score = mixture(one).log_density(GRID) - mixture(other).log_density(GRID)
    best = mixtures.value(score.sigmoid(), p, q, WIDTH)
    assert mixtures.value((slope * score + shift).sigmoid(), p, q, WIDTH) <= best + 1e-9
    assert mixtures.value(torch.full_like(p, 0.5), p, q, WIDTH) <= best + 1e-9


def test_the_value_of_equal_and_of_disjoint_distributions():
    p, q = density([(-3, 0.1, 1)]), density([(3, 0.1, 1)])
    half = torch.full_like(p, 0.5)
    assert mixtures.value(half, p, p, WIDTH).item() == pytest.approx(-math.log(4))
    assert mixtures.jensen_shannon(p, p, WIDTH).item() == pytest.approx(0, abs=1e-12)
    assert mixtures.jensen_shannon(p, q, WIDTH).item() == pytest.approx(math.log(2))
    sure = (GRID < 0).double()  # 0 and 1 themselves
    assert mixtures.value(sure, p, q, WIDTH).item() == pytest.approx(0, abs=1e-9)
    assert -1e4 < mixtures.value(1 - sure, p, q, WIDTH) < -70  # sure and wrong: dear, not infinite


def test_jensen_shannon_is_what_quadrature_says():
    def integrand(x):
        p, q = norm.pdf(x), norm.pdf(x, 1, 2)
        return (p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))) / 2

    js = mixtures.jensen_shannon(density([(0, 1, 1)]), density([(1, 2, 1)]), WIDTH)
    assert js.item() == pytest.approx(quad(integrand, -11, 12)[0], abs=1e-8)


@pytest.mark.parametrize(("call", "message"), [
    (lambda p: mixtures.value(torch.full((4,), 1.5), p, p, 0.1), r"d must lie in \[0, 1\], got values from 1.5 to 1.5"),
    (lambda p: mixtures.value(-p, p, p, 0.1), r"d must lie in \[0, 1\]"),
    (lambda p: mixtures.value(p, -p, p, 0.1), "densities must not be negative"),
    (lambda p: mixtures.value(p, p, p[:2], 0.1), r"got the shapes \(4,\), \(4,\), \(2,\)"),
    (lambda p: mixtures.value(p, p, p, 0.0), "width must be positive"),
    (lambda p: mixtures.jensen_shannon(p, -p, 0.1), "densities must not be negative"),
    (lambda p: mixtures.jensen_shannon(p, p[:1], 0.1), "at the same cells"),
])
def test_wrong_values_on_a_grid(call, message):
    with pytest.raises(Error, match=message):
        call(torch.full((4,), 0.25))


# ------------------------------------------------------------------------------------------- how near samples are to it


def test_modes_by_hand():
    target = Mixture([[0.0, 0.0], [4.0, 0.0]], [1.0, 0.5], [0.8, 0.2])
    samples = torch.tensor([[2.9, 0.0], [0.0, -2.9], [3.1, 0.0], [4.0, 1.4], [4.0, 1.6], [9.0, 9.0], [-3.1, 0], [8, 8]])
    # 2 of 8 are within 3 of the first, and 2 of 8 within 1.5 of the second; 4 of 8 are near neither
    assert mixtures.modes_found(samples, target) == (2, 0.5)
    assert mixtures.modes_found(samples, target, share=0.5) == (1, 0.5)  # the first should have 0.4 of all
    assert mixtures.modes_found(samples, target, within=0.5) == (0, 0.0)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_modes_of_a_ring_with_some_left_out(kept):
    x = ring().sample(4000, generator=0)
    x = x[torch.cdist(x, ring().means).argmin(1) < kept]
    found, near = mixtures.modes_found(x, ring())
    assert found == kept and near == pytest.approx(1 - math.exp(-4.5), abs=0.01)  # the chi distribution of radius 3


def test_modes_on_the_line():
    x = pair().sample(1000, generator=0)[:, 0]
    assert mixtures.modes_found(x, pair())[0] == 2 and mixtures.modes_found(x[x < 0], pair())[0] == 1


@given(bumps, st.floats(-5, 5))
def test_the_earth_movers_distance_of_moved_quantiles_is_the_move(bumps, shift):
    target = mixture(bumps)
    x = target.quantile((torch.arange(40, dtype=torch.float64) + 0.5) / 40)
    assert mixtures.earth_movers_distance(x.flip(0) + shift, target) == pytest.approx(abs(shift), abs=1e-9)


def test_the_earth_movers_distance_is_scipys():
    x = torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = pair().quantile((torch.arange(30_000, dtype=torch.float64) + 0.5) / 30_000)
    known = wasserstein_distance(x.numpy(), many.numpy())
    assert mixtures.earth_movers_distance(x[:, None], pair()) == pytest.approx(known, abs=3e-3)
