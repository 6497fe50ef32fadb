"""The best denoiser against integration and against the score; the bound against closed forms and quadrature."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gentut import Error, bounds, points
from gentut.diffusion import Schedule
from gentut.mixtures import Mixture, pair, ring

PLANE = Mixture([[-1.0, 0.0], [0.5, 1.0], [0.3, -0.7]], [0.3, 0.1, 0.6], [0.5, 0.2, 0.3])


def exact(mixture):
    return functools.partial(bounds.exact_eps, mixture)


def nothing(x, a):  # a denoiser that finds no noise anywhere
    return torch.zeros_like(x)


# ---------------------------------------------------------------------------------------------------- the best denoiser


@pytest.mark.parametrize("a", [0.0, 0.02, 0.5, 0.98, 0.9999])
def test_the_exact_denoiser_equals_integration(a):
    mixture = pair()
    x0 = torch.linspace(-6, 6, 24_001, dtype=torch.float64)
    x_t = torch.tensor([-2.5, -0.8, 0.0, 0.3, 1.4], dtype=torch.float64)
    eps = (x_t[:, None] - math.sqrt(a) * x0) / math.sqrt(1 - a)
    joint = mixture.log_density(x0).exp() * (-0.5 * eps**2).exp()  # p(x_0) N(x_t; √a x_0, 1 - a), up to a factor
    by_hand = (joint * eps).sum(1) / joint.sum(1)
    assert torch.allclose(bounds.exact_eps(mixture, x_t[:, None], a)[:, 0], by_hand, rtol=1e-6, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999), st.integers(0, 99))
def test_the_exact_denoiser_is_the_score_turned_round(a, seed):
    x = 2 * torch.randn(5, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x.requires_grad_()
    (score,) = torch.autograd.grad(bounds.noised(PLANE, a).log_density(x).sum(), x)
    found = bounds.exact_eps(PLANE, x.detach(), a)
    assert torch.allclose(found, -math.sqrt(1 - a) * score, rtol=1e-8, atol=1e-10)


def test_the_exact_denoiser_takes_a_level_for_each_point_and_keeps_the_type():
    x, a = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5, 0.9, 1.0])
    found = bounds.exact_eps(PLANE, x, a)
    assert found.dtype == torch.float32 and (found[3] == 0).all()  # no noise, none found
    for i in range(4):
        assert torch.allclose(found[i], bounds.exact_eps(PLANE, x[i : i + 1], a[i])[0], atol=1e-6)
    assert torch.allclose(bounds.exact_eps(PLANE, x, 0.0), x)  # nothing but noise
    assert torch.allclose(bounds.exact_eps(PLANE, 1e4 * x, 0.5).double(),  # far outside: no 0 / 0
                          math.sqrt(0.5) / (0.36 / 2 + 0.5) * 1e4 * x.double(), rtol=1e-3)


def test_the_noised_mixture_is_what_the_chain_makes():
    g = torch.Generator().manual_seed(0)
    schedule = Schedule.cosine(50)
    x_t = schedule.q_sample(PLANE.sample(20_000, generator=g), 20,
                            torch.randn(20_000, 2, generator=g, dtype=torch.float64))
    made = bounds.noised(PLANE, schedule.alpha_bar[20])
    drawn = made.sample(20_000, generator=g)
    assert (x_t.mean(0) - drawn.mean(0)).abs().max() < 0.05 and (x_t.std(0) - drawn.std(0)).abs().max() < 0.05
    assert (made.log_density(x_t).mean() - made.log_density(drawn).mean()).abs() < 0.05


# ------------------------------------------------------------------------------------------------------------ the bound


@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_every_term_of_a_gaussian_is_known(sigma, variance):
    schedule, d = Schedule.cosine(12), 2
    one = Mixture([[0.0, 0.0]], [sigma])
    found = bounds.bound(one, schedule, exact(one), 4000, variance=variance, generator=1)
    a, beta, expected = schedule.alpha_bar, schedule.betas, torch.zeros(13, dtype=torch.float64)
    missed = d * (1 - a) * sigma**2 / (a * sigma**2 + 1 - a)  # E‖x_0 - E[x_0 | x_t]‖²
    expected[1] = d / 2 * (2 * math.pi * beta[1]).log() + missed[1] / (2 * beta[1])
    for t in range(2, 13):
        narrow = beta[t] * (1 - a[t - 1]) / (1 - a[t])
        wide = beta[t] if variance == "beta" else narrow
        on_x0 = a[t - 1].sqrt() * beta[t] / (1 - a[t])
        expected[t] = on_x0**2 * missed[t] / (2 * wide) + d / 2 * (narrow / wide - 1 - (narrow / wide).log())
    assert torch.allclose(found["each"], expected, rtol=0.1, atol=0.05)
    assert found["each"][0] == 0 and found["each"][1].item() == pytest.approx(found["reconstruction"])
    assert found["steps"] == pytest.approx(found["each"][2:].sum().item())
    prior = d / 2 * (a[-1] * sigma**2 - a[-1] - (1 - a[-1]).log()).item()
    for name, value in (("prior", prior), ("steps", expected[2:].sum().item()),
                        ("reconstruction", expected[1].item()),
                        ("entropy", d / 2 * math.log(2 * math.pi * math.e * sigma**2))):
        assert abs(found[name] - value) < 5 * found["errors"][name] + 1e-9, name
    assert found["total"] == pytest.approx(found["prior"] + found["steps"] + found["reconstruction"])
    assert found["gap"] == pytest.approx(found["total"] - found["entropy"])


def test_the_bound_equals_quadrature_where_a_grid_can_do_it():
    """T = 2 on the line: all three terms as integrals, with a denoiser that is wrong."""
    mixture, schedule = pair(), Schedule([0.3, 0.99])
    a, beta = schedule.alpha_bar, schedule.betas

    def denoiser(x, level):
        return 0.7 * bounds.exact_eps(mixture, x, level) + 0.1

    found = bounds.bound(mixture, schedule, denoiser, 20_000, generator=0)
    x0 = torch.linspace(-4, 4, 801, dtype=torch.float64)
    noise = torch.linspace(-6, 6, 601, dtype=torch.float64)
    weight = mixture.log_density(x0).exp()[:, None] * (-noise**2 / 2).exp()
    weight = weight / weight.sum()
    terms = {"prior": (weight.sum(1) * (a[2] * x0**2 - a[2] - (1 - a[2]).log()) / 2).sum()}
    for t, name in ((1, "reconstruction"), (2, "steps")):
        x_t = a[t].sqrt() * x0[:, None] + (1 - a[t]).sqrt() * noise
        guess = (x_t - (1 - a[t]).sqrt() * denoiser(x_t.view(-1, 1), a[t]).view_as(x_t)) / a[t].sqrt()
        if t == 1:
            density = torch.distributions.Normal(guess, beta[1].sqrt()).log_prob(x0[:, None].expand_as(guess))
            terms[name] = -(weight * density).sum()
        else:
            on_x0, narrow = a[1].sqrt() * beta[2] / (1 - a[2]), beta[2] * (1 - a[1]) / (1 - a[2])
            q = torch.distributions.Normal(on_x0 * x0[:, None].expand_as(guess), narrow.sqrt())
            p = torch.distributions.Normal(on_x0 * guess, beta[2].sqrt())
            terms[name] = (weight * torch.distributions.kl_divergence(q, p)).sum()
    for name, value in terms.items():
        assert abs(found[name] - value.item()) < 5 * found["errors"][name], name


def test_the_gap_is_what_a_finite_number_of_steps_costs():
    mixture = ring(4, sigma=0.3)
    gaps = {T: bounds.bound(mixture, Schedule.cosine(T), exact(mixture), 2000, generator=2) for T in (3, 10, 60)}
    for found in gaps.values():
        assert found["total"] > found["entropy"] - 4 * found["errors"]["gap"]
    assert gaps[3]["gap"] > gaps[10]["gap"] + 0.1 > gaps[60]["gap"] + 0.2
    assert gaps[60]["gap"] < 0.1


def test_a_worse_denoiser_adds_exactly_its_error():
    """E‖ε - ε̂‖² grows by E‖ε̂ - E[ε | x_t]‖², so each step's term grows by that times its weight."""
    mixture, schedule, off = PLANE, Schedule.cosine(8), 0.2
    best = bounds.bound(mixture, schedule, exact(mixture), 4000, generator=3)
    worse = bounds.bound(mixture, schedule, lambda x, a: bounds.exact_eps(mixture, x, a) + off, 4000, generator=3)
    a, beta = schedule.alpha_bar[1:], schedule.betas[1:]
    added = 2 * off**2 * beta / (2 * (1 - beta) * (1 - a))  # of the weight in equation 12 of Ho et al., with σ² = β
    added = added.sum().item()
    assert added > 0.1 and worse["gap"] - best["gap"] == pytest.approx(added, abs=5 * worse["errors"]["gap"])


def test_each_variance_is_right_for_one_kind_of_data():
    """β_t for data as wide as the noise, the posterior's for data that are one point: Ho et al., section 3.2."""
    schedule = Schedule.linear(30, 0.02, 0.5)
    for sigma, better, worse in ((1.0, "beta", "posterior"), (1e-3, "posterior", "beta")):
        one = Mixture([[0.0, 0.0]], [sigma])
        steps = {v: bounds.bound(one, schedule, exact(one), 500, variance=v, generator=0)["steps"]
                 for v in (better, worse)}
        assert steps[better] < steps[worse] - 0.1


def test_the_bound_is_the_same_on_average_with_few_points_and_with_many():
    mixture, schedule, g = PLANE, Schedule.cosine(5), torch.Generator().manual_seed(0)
    few = torch.tensor([bounds.bound(mixture, schedule, exact(mixture), 4, generator=g)["gap"] for _ in range(300)],
                       dtype=torch.float64)
    many = bounds.bound(mixture, schedule, exact(mixture), 20_000, generator=g)
    error = math.hypot(few.std().item() / math.sqrt(len(few)), many["errors"]["gap"])
    assert abs(few.mean().item() - many["gap"]) < 5 * error


def test_the_standard_errors_are_those_of_repeated_bounds():
    mixture, schedule, g = PLANE, Schedule.cosine(5), torch.Generator().manual_seed(0)
    runs = [bounds.bound(mixture, schedule, exact(mixture), 200, generator=g) for _ in range(100)]
    for name in ("steps", "reconstruction", "total", "gap"):
        seen = torch.tensor([run[name] for run in runs]).std().item()
        said = sum(run["errors"][name] for run in runs) / len(runs)
        assert 0.6 < seen / said < 1.6, name


def test_a_network_can_be_bounded_too():
    found = bounds.bound(ring(), Schedule.cosine(4), points.Net(8), 50, generator=0)
    assert math.isfinite(found["total"]) and found["gap"] > 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: bounds.bound(ring(), Schedule.cosine(4), nothing), "needs a generator or a seed"),
    (lambda: bounds.bound(ring(), Schedule.cosine(4), nothing, 1, generator=0), "n must be at least 2, got 1"),
    (lambda: bounds.bound(ring(), Schedule.cosine(4), nothing, variance="bta", generator=0), "Did you mean 'beta'"),
    (lambda: bounds.bound(ring(), "cosine", nothing, generator=0), "schedule must be a Schedule, got str"),
    (lambda: bounds.bound(torch.zeros(3, 2), Schedule.cosine(4), nothing, generator=0), "a Mixture, got Tensor"),
    (lambda: bounds.exact_eps(ring(), torch.zeros(3, 1), 0.5), "x_t must have shape"),
    (lambda: bounds.exact_eps(ring(), torch.zeros(3, 2), 1.5), "lies in .0, 1., got 1.5 to 1.5"),
    (lambda: bounds.exact_eps(ring(), torch.zeros(3, 2), torch.zeros(2)), "one number, or 3 of them"),
    (lambda: bounds.exact_eps(None, torch.zeros(3, 2), 0.5), "a Mixture, got NoneType"),
    (lambda: bounds.noised(ring(), -0.1), "lies in .0, 1., got -0.1"),
])
def test_wrong_input_is_one_clear_error(make, message):
    with pytest.raises(Error, match=message):
        make()
