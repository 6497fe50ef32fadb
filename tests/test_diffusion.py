"""Diffusion's arithmetic: each closed form against the chain itself, against Bayes' rule, or against another form."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from gentut import Error, diffusion
from gentut.diffusion import KINDS, VARIANCES, Schedule

NAMES = ("linear", "cosine", "sigmoid")
steps = st.floats(1e-4, 0.98)  # one β
own = st.lists(steps, min_size=1, max_size=30)
numbers = st.floats(-4, 4)


def quiet(make, *args, **kwargs):
    """A schedule without its warning that it does not reach noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make(*args, **kwargs)


@st.composite
def schedules(draw, low=1, high=60):
    """Any schedule: one of the three of the book, or betas of any size in any order."""
    name = draw(st.sampled_from((*NAMES, "own")))
    if name == "own":
        return quiet(Schedule, draw(st.lists(steps, min_size=low, max_size=30)))
    return quiet(Schedule.named, name, draw(st.integers(low, high)))


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def factors(step):
    """What step(x, noise) multiplies x and the noise by, as it is linear in both: probed with 1 and 0."""
    one, zero = double(1.0), double(0.0)
    return step(one, zero).item(), step(zero, one).item()


def close(value, **options):
    return pytest.approx(value, **({"rel": 1e-9, "abs": 1e-12} | options))


# ------------------------------------------------------------------------------------------------------------ schedules


@given(own)
def test_the_index_of_every_array_is_t_and_index_0_is_the_data(betas):
    schedule = quiet(Schedule, betas)
    assert (schedule.T, schedule.name) == (len(betas), "own")
    for array in (schedule.betas, schedule.alphas, schedule.alpha_bar, schedule.snr):
        assert array.shape == (schedule.T + 1,) and array.dtype == torch.float64
    assert (schedule.betas[0], schedule.alphas[0], schedule.alpha_bar[0]) == (0, 1, 1) and schedule.snr[0] == math.inf
    left = 1.0
    for t, beta in enumerate(betas, start=1):
        left *= 1 - beta
        assert schedule.betas[t].item() == beta and schedule.alphas[t].item() == 1 - beta
        assert schedule.alpha_bar[t].item() == close(left)
        assert schedule.snr[t].item() == close(left / (1 - left))


@given(schedules())
def test_the_data_only_ever_gets_less(schedule):
    for falling in (schedule.alpha_bar, schedule.snr):
        assert (falling[1:] < falling[:-1]).all()
    assert schedule.alpha_bar.min() > 0 and (schedule.betas[1:] > 0).all() and (schedule.betas < 1).all()


def test_the_linear_schedule_is_that_of_ddpm():
    schedule = Schedule.linear(1000)
    assert schedule.name == "linear"
    for t in (1, 2, 500, 1000):
        assert schedule.betas[t].item() == close(1e-4 + (t - 1) / 999 * (0.02 - 1e-4))
    assert schedule.alpha_bar[-1].item() == pytest.approx(4.036e-5, rel=1e-3)
    other = quiet(Schedule.linear, 3, first=0.1, last=0.3)
    assert other.betas.tolist() == [0, close(0.1), close(0.2), close(0.3)]
    assert quiet(Schedule.linear, 1).betas.tolist() == [0, close(1e-4)]


def test_the_cosine_schedule_is_that_of_nichol_and_dhariwal():
    def f(t, total):
        return math.cos((t / total + 0.008) / 1.008 * math.pi / 2) ** 2

    for total in (1, 2, 7, 50, 1000):
        schedule = Schedule.cosine(total)
        assert schedule.name == "cosine" and schedule.betas.max() <= 0.999
        for t in range(total):  # at the last step f is 0 and β is cut
            assert schedule.alpha_bar[t].item() == close(f(t, total) / f(0, total), rel=1e-6)
        assert schedule.betas[-1].item() == 0.999
    assert Schedule.cosine(50, most=0.5).betas.max() == 0.5
    plain = Schedule.cosine(50, offset=0.0)
    assert plain.alpha_bar[25].item() == close(0.5)  # cos²(π/4)


def test_the_sigmoid_schedule_is_the_notes():
    schedule = quiet(Schedule.sigmoid, 100)
    assert schedule.name == "sigmoid"
    for t in (1, 2, 50, 99, 100):
        x = -6 + 12 * (t - 1) / 99
        assert schedule.betas[t].item() == close((0.005 - 1e-5) / (1 + math.exp(-x)) + 1e-5)
    assert schedule.alpha_bar[-1].item() == pytest.approx(0.778, abs=5e-4)
    other = quiet(Schedule.sigmoid, 3, first=0.1, last=0.5, reach=2.0)
    assert other.betas[2].item() == close(0.3) and (other.betas[1] + other.betas[3]).item() == close(0.6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 10, 300])
def test_schedules_by_name(name, total):
    named, direct = quiet(Schedule.named, name, total), quiet(getattr(Schedule, name), total)
    assert (named.name, named.T) == (name, total) and torch.equal(named.betas, direct.betas)


@given(own)
def test_a_schedule_that_does_not_reach_noise_says_what_is_left(betas):
    left = math.sqrt(math.prod(1 - b for b in betas))
    assume(abs(left - 0.1) > 1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Schedule(betas)
    assert len(caught) == (left > 0.1)
    for warning in caught:
        assert warning.category is UserWarning
        assert f"the schedule does not reach noise: √ᾱ_T = {left:.3f}, so x_T" in str(warning.message)


def test_which_schedules_of_the_book_reach_noise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for good in (Schedule.linear(1000), Schedule.cosine(1), Schedule.cosine(10), Schedule.cosine(1000)):
            assert good.alpha_bar[-1].sqrt() <= diffusion.REACHED == 0.1
    for name, total, left in [("linear", 300, "0.219"), ("sigmoid", 100, "0.882"), ("linear", 100, "0.603")]:
        with pytest.warns(UserWarning, match=f"√ᾱ_T = {left}"):
            Schedule.named(name, total)


# -------------------------------------------------------------------------------------------------------------- forward


@given(schedules())
def test_the_closed_form_is_the_chain(schedule):
    """One step's factors, multiplied up: mean and variance of x_t given x_0, exactly."""
    mean, variance = 1.0, 0.0
    for t in range(1, schedule.T + 1):
        keep, add = factors(lambda x, e, t=t: schedule.q_step(x, t, e))
        assert keep**2 + add**2 == close(1) and add**2 == close(schedule.betas[t].item())
        mean, variance = keep * mean, keep**2 * variance + add**2
        at_once = factors(lambda x, e, t=t: schedule.q_sample(x, t, e))
        assert at_once[0] == close(mean) and at_once[1] ** 2 == close(variance)


@pytest.mark.parametrize("schedule", [quiet(Schedule.named, name, 20) for name in NAMES] + [
    quiet(Schedule, [0.3, 0.01, 0.6, 0.2])], ids=(*NAMES, "own"))
def test_the_simulated_chain_has_the_moments_of_the_closed_form(schedule):
    """From one x_0, n chains: means, variances and the covariance of x_s and x_t, within 5 standard errors."""
    n, x0, g = 40_000, 1.7, generator()
    x, chain = torch.full((n,), x0, dtype=torch.float64), []
    for t in range(1, schedule.T + 1):
        x = schedule.q_step(x, t, torch.randn(n, generator=g, dtype=torch.float64))
        chain.append(x)
    for t, x in enumerate(chain, start=1):
        a = schedule.alpha_bar[t].item()
        assert abs(x.mean().item() - math.sqrt(a) * x0) < 5 * math.sqrt((1 - a) / n)
        assert abs(x.var().item() / (1 - a) - 1) < 5 * math.sqrt(2 / n)
        jump = schedule.q_sample(torch.full((n,), x0).double(), t, torch.randn(n, generator=g, dtype=torch.float64))
        spread = math.sqrt((1 - a) / n)
        assert abs((jump.mean() - x.mean()).item()) < 5 * math.sqrt(2) * spread
        assert abs((jump.std() / x.std()).item() - 1) < 5 / math.sqrt(n)
        grid = torch.linspace(-2, 2, 9, dtype=torch.float64) * math.sqrt(1 - a) + math.sqrt(a) * x0
        for at in grid:  # the whole distribution, not two moments of it
            assert abs((x < at).double().mean() - (jump < at).double().mean()) < 5 * math.sqrt(0.5 / n)
    for s, t in [(1, schedule.T), (schedule.T // 2, schedule.T)]:
        a_s, a_t = schedule.alpha_bar[s].item(), schedule.alpha_bar[t].item()
        covariance = torch.cov(torch.stack([chain[s - 1], chain[t - 1]]))[0, 1].item()
        want, error = math.sqrt(a_t / a_s) * (1 - a_s), math.sqrt(2 * (1 - a_s) * (1 - a_t) / n)
        assert abs(covariance - want) < 5 * error


@given(schedules(low=2), st.data())
def test_steps_merge_into_one(schedule, data):
    """From s to t in one Gaussian step: x_s keeps √(ᾱ_t / ᾱ_s), and the noises' variances add to the rest."""
    s = data.draw(st.integers(0, schedule.T - 1))
    t = data.draw(st.integers(s + 1, schedule.T))
    keep, variance = 1.0, 0.0
    for u in range(s + 1, t + 1):
        k, add = factors(lambda x, e, u=u: schedule.q_step(x, u, e))
        keep, variance = keep * k, variance * k**2 + add**2
    share = (schedule.alpha_bar[t] / schedule.alpha_bar[s]).item()
    assert keep == close(math.sqrt(share)) and variance == close(1 - share)
    merged = quiet(Schedule, [1 - share])
    assert factors(lambda x, e: merged.q_step(x, 1, e)) == close((keep, math.sqrt(variance)))


def test_two_steps_merge_as_distributions():
    n, g, two = 100_000, generator(1), quiet(Schedule, [0.3, 0.5])
    e = torch.randn(3, n, generator=g)
    apart = two.q_step(two.q_step(torch.full((n,), -2.0), 1, e[0]), 2, e[1])
    once = quiet(Schedule, [1 - 0.7 * 0.5]).q_sample(torch.full((n,), -2.0), 1, e[2])
    for level in (0.01, 0.1, 0.5, 0.9, 0.99):
        at = once.quantile(level)
        assert abs((apart < at).float().mean().item() - level) < 5 * math.sqrt(2 * level * (1 - level) / n)


@given(schedules(), st.integers(1, 5), st.integers(0, 1000))
def test_each_of_a_batch_has_a_time_of_its_own(schedule, n, seed):
    g = generator(seed)
    x, eps = torch.randn(2, n, 3, 4, generator=g)
    t = torch.randint(1, schedule.T + 1, (n,), generator=g)
    for step in (schedule.q_step, schedule.q_sample):
        together = step(x, t, eps)
        assert together.shape == x.shape and together.dtype == torch.float32
        for i in range(n):
            assert torch.equal(together[i], step(x[i : i + 1], t[i].item(), eps[i : i + 1])[0])
    at = schedule.at(schedule.alpha_bar, t, x)
    assert at.shape == (n, 1, 1) and torch.allclose(at.flatten().double(), schedule.alpha_bar[t])


def test_a_list_a_number_and_any_whole_type_are_times():
    schedule, x, eps = Schedule.cosine(9), *torch.randn(2, 2, 5, generator=generator())
    want = schedule.q_sample(x, torch.tensor([4, 4]), eps)
    for t in (4, [4, 4], np.array([4, 4]), torch.tensor(4), torch.tensor([4, 4], dtype=torch.uint8), np.int32(4)):
        assert torch.equal(schedule.q_sample(x, t, eps), want)


# -------------------------------------------------------------------------------------------------------- the posterior


def log_normal(x, mean, variance):
    return -((x - mean) ** 2) / (2 * variance)


@given(st.lists(st.floats(0.01, 0.95), min_size=2, max_size=8), numbers, numbers, st.data())
def test_the_posterior_is_bayes_rule_on_a_grid(betas, x0, z, data):
    schedule = quiet(Schedule, betas)
    t = data.draw(st.integers(2, schedule.T))
    alpha, before, a = (v.item() for v in (schedule.alphas[t], schedule.alpha_bar[t - 1], schedule.alpha_bar[t]))
    x_t = math.sqrt(a) * x0 + math.sqrt(1 - a) * z
    middle, spread = math.sqrt(before) * x0, math.sqrt(1 - before)
    x = np.linspace(middle - 12 * spread, middle + 12 * spread, 40_001)
    joint = log_normal(x, middle, 1 - before) + log_normal(x_t, math.sqrt(alpha) * x, 1 - alpha)
    p = np.exp(joint - joint.max())
    p /= p.sum()
    mean = (p * x).sum()
    variance = (p * (x - mean) ** 2).sum()
    got_mean, got_variance = schedule.posterior(double(x_t), double(x0), t)
    assert got_mean.item() == pytest.approx(mean, rel=1e-6, abs=1e-6)
    assert got_variance.item() == pytest.approx(variance, rel=1e-5)
    # and it is a Gaussian: its logarithm is a parabola, in the place and with the width that was said
    inside = p > 1e-12
    parabola = log_normal(x[inside], got_mean.item(), got_variance.item())
    difference = np.log(p[inside]) - parabola
    assert np.ptp(difference) < 1e-4


@given(schedules(), numbers)
def test_the_posterior_leads_back_to_the_marginal_of_the_step_before(schedule, x0):
    """x_t drawn from q(x_t | x_0), then x_{t-1} from the posterior: together q(x_{t-1} | x_0), exactly."""
    for t in range(1, schedule.T + 1):
        a, before = schedule.alpha_bar[t].item(), schedule.alpha_bar[t - 1].item()

        def mean_of(x_t, t=t):
            return schedule.posterior(x_t, double(x0), t)[0]

        middle = mean_of(double(math.sqrt(a) * x0)).item()
        slope = (mean_of(double(1.0)) - mean_of(double(0.0))).item()
        variance = schedule.posterior(double(0.0), double(x0), t)[1].item()
        assert middle == close(math.sqrt(before) * x0)
        assert slope**2 * (1 - a) + variance == close(1 - before)
        assert 0 <= variance <= schedule.betas[t].item() * (1 + 1e-12)


@given(schedules(), numbers, numbers)
def test_the_posterior_of_the_first_step_is_the_data(schedule, x_t, x0):
    mean, variance = schedule.posterior(double(x_t), double(x0), 1)
    assert mean.item() == close(x0) and variance.item() == 0


def test_the_posteriors_shapes():
    schedule = Schedule.cosine(10)
    x_t, x0 = torch.randn(2, 4, 1, 3, 3, generator=generator())
    t = torch.tensor([1, 10, 5, 2])
    mean, variance = schedule.posterior(x_t, x0, t)
    assert mean.shape == (4, 1, 3, 3) and variance.shape == (4, 1, 1, 1) and mean.dtype == variance.dtype == x_t.dtype
    for i in range(4):
        one = schedule.posterior(x_t[i : i + 1], x0[i : i + 1], t[i].item())
        assert torch.equal(mean[i], one[0][0]) and torch.equal(variance[i], one[1][0])
    assert variance[0] == 0 and torch.allclose(mean[0], x0[0])


# ---------------------------------------------------------------------------------------------------- what is predicted


def share(a):
    return double(a)


shares = st.floats(1e-4, 1 - 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@given(numbers, numbers, shares)
def test_every_prediction_says_the_same(kind, x0, eps, a):
    x0, eps, a = double(x0), double(eps), share(a)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    right = diffusion.target(kind, x0, eps, a)
    assert diffusion.to_x0(kind, right, x_t, a).item() == close(x0.item(), abs=1e-9)
    assert diffusion.to_eps(kind, right, x_t, a).item() == close(eps.item(), abs=1e-9)


@pytest.mark.parametrize(("kind", "other"), list(itertools.product(KINDS, KINDS)))
@given(numbers, numbers, shares)
def test_a_prediction_right_or_wrong_goes_round(kind, other, x_t, prediction, a):
    """To data and noise, from there to another kind, and back: the same number, and x_t is made of the two."""
    x_t, prediction, a = double(x_t), double(prediction), share(a)
    x0, eps = diffusion.to_x0(kind, prediction, x_t, a), diffusion.to_eps(kind, prediction, x_t, a)
    assert (a.sqrt() * x0 + (1 - a).sqrt() * eps).item() == close(x_t.item(), abs=1e-8)
    there = diffusion.target(other, x0, eps, a)
    back = diffusion.target(kind, diffusion.to_x0(other, there, x_t, a), diffusion.to_eps(other, there, x_t, a), a)
    assert back.item() == close(prediction.item(), rel=1e-6, abs=1e-6)


@given(numbers, numbers, shares)
def test_v_is_x_t_turned_by_a_right_angle(x0, eps, a):
    x0, eps, a = double(x0), double(eps), share(a)
    x_t, v = a.sqrt() * x0 + (1 - a).sqrt() * eps, diffusion.target("v", x0, eps, a)
    assert (x_t**2 + v**2).item() == close((x0**2 + eps**2).item())
    angle = torch.atan2((1 - a).sqrt(), a.sqrt()).requires_grad_()  # x_t = cos φ x_0 + sin φ ε, v = dx_t / dφ
    (slope,) = torch.autograd.grad((angle.cos() * x0 + angle.sin() * eps).sum(), angle)
    assert v.item() == close(slope.item(), abs=1e-9)


@given(numbers, numbers, numbers, shares)
def test_what_an_error_costs_in_each_prediction(x0, eps, off, a):
    """One wrong guess: its squared error in ε is SNR times that in x_0, in v SNR + 1 times."""
    x0, eps, a = double(x0), double(eps), share(a)
    x_t, snr = a.sqrt() * x0 + (1 - a).sqrt() * eps, (a / (1 - a)).item()
    guess = x0 + off
    noise = diffusion.to_eps("x0", guess, x_t, a)
    v = diffusion.target("v", guess, noise, a)
    assert ((noise - eps) ** 2).item() == close(snr * off**2, rel=1e-6, abs=1e-9)
    assert ((v - diffusion.target("v", x0, eps, a)) ** 2).item() == close((snr + 1) * off**2, rel=1e-6, abs=1e-9)


def test_the_ends_of_time():
    x0, eps, one, zero = *torch.randn(2, 5, generator=generator()), torch.ones(1), torch.zeros(1)
    assert torch.equal(diffusion.target("v", x0, eps, one), eps) and torch.equal(diffusion.to_x0("v", eps, x0, one), x0)
    assert torch.equal(diffusion.target("v", x0, eps, zero), -x0)  # there ε is in x_t, and v says x_0 all the same
    assert torch.equal(diffusion.to_x0("v", -x0, eps, zero), x0) and torch.equal(diffusion.to_eps("v", -x0, eps, zero),
                                                                                  eps)
    assert torch.equal(diffusion.to_x0("eps", eps, x0, one), x0)
    assert torch.equal(diffusion.to_eps("x0", x0, eps, zero), eps)


# ---------------------------------------------------------------------------------------------------------- a step back


def parts(schedule, t, s, **options):
    """What a step back multiplies x_t, the guess of x_0 and the noise by; x_s is linear in the three."""
    zero, one = double(0.0), double(1.0)

    def step(x_t, x0, noise):
        return schedule.step_back(x_t, x0, t, s, noise=noise, **options).item()

    return step(one, zero, zero), step(zero, one, zero), step(zero, zero, one)


@st.composite
def pairs(draw):
    """A schedule and two of its times, t > s >= 0."""
    schedule = draw(schedules())
    t = draw(st.integers(1, schedule.T))
    return schedule, t, draw(st.integers(0, t - 1))


@given(schedules())
def test_eta_1_by_one_step_is_the_posterior(schedule):
    for t in range(1, schedule.T + 1):
        on_x_t, on_x0, on_noise = parts(schedule, t, t - 1, eta=1.0)
        assert on_x_t == close(schedule.posterior(double(1.0), double(0.0), t)[0].item(), abs=1e-9)
        assert on_x0 == close(schedule.posterior(double(0.0), double(1.0), t)[0].item(), abs=1e-9)
        assert on_noise**2 == close(schedule.posterior(double(0.0), double(0.0), t)[1].item(), abs=1e-9)


@given(pairs())
def test_eta_1_by_a_longer_step_is_the_posterior_of_the_merged_chain(pair):
    """q(x_s | x_t, x_0): of the chain that goes to s in one step and on to t in another."""
    schedule, t, s = pair
    a_t, a_s = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()
    got = parts(schedule, t, s, eta=1.0)
    if s == 0:
        assert got == close((0, 1, 0), abs=1e-9)
        return
    merged = quiet(Schedule, [1 - a_s, 1 - a_t / a_s])
    mean, variance = merged.posterior(double(1.0), double(0.0), 2)
    assert got[0] == close(mean.item(), abs=1e-9) and got[2] ** 2 == close(variance.item(), abs=1e-9)
    assert got[1] == close(merged.posterior(double(0.0), double(1.0), 2)[0].item(), abs=1e-9)


@given(pairs(), st.floats(0, 1))
def test_every_eta_keeps_the_marginals(pair, eta):
    """With the true x_0, a step from q(x_t | x_0) lands in q(x_s | x_0), however much noise is added on the way."""
    schedule, t, s = pair
    a_t, a_s = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()
    on_x_t, on_x0, on_noise = parts(schedule, t, s, eta=eta)
    assert on_x_t * math.sqrt(a_t) + on_x0 == close(math.sqrt(a_s), abs=1e-9)
    assert on_x_t**2 * (1 - a_t) + on_noise**2 == close(1 - a_s, abs=1e-9)
    most = (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    assert on_noise == close(eta * math.sqrt(most), abs=1e-9)


@given(pairs(), numbers, numbers)
def test_eta_0_keeps_the_noise_and_changes_its_share(pair, x0, eps):
    schedule, t, s = pair
    x0, eps = double(x0), double(eps)
    x_t = schedule.q_sample(x0, t, eps)
    x_s = schedule.step_back(x_t, x0, t, s)
    want = schedule.q_sample(x0, s, eps) if s else x0
    assert x_s.item() == close(want.item(), abs=1e-9)


@given(schedules())
def test_the_variance_beta_is_beta(schedule):
    for t in range(2, schedule.T + 1):
        posterior, beta = (parts(schedule, t, t - 1, eta=1.0, variance=v) for v in VARIANCES)
        assert beta[:2] == posterior[:2]  # the same mean
        assert beta[2] ** 2 == close(schedule.betas[t].item(), abs=1e-12)
        assert posterior[2] < beta[2]


@given(pairs())
def test_the_variance_beta_of_a_longer_step_is_what_the_chain_adds(pair):
    schedule, t, s = pair
    assume(s > 0)
    on_noise = parts(schedule, t, s, eta=1.0, variance="beta")[2]
    assert on_noise**2 == close(1 - (schedule.alpha_bar[t] / schedule.alpha_bar[s]).item(), abs=1e-12)


@given(schedules(), st.sampled_from(VARIANCES))
def test_the_last_step_adds_no_noise(schedule, variance):
    x, x0 = torch.randn(2, 3, 2, generator=generator())
    for t in range(1, schedule.T + 1):
        want = schedule.step_back(x, x0, t, 0, eta=1.0, variance=variance)  # and asks for none
        assert torch.allclose(want, x0, atol=1e-5)
        assert torch.equal(want, schedule.step_back(x, x0, t, 0, eta=1.0, variance=variance, noise=x))


@pytest.mark.parametrize(("eta", "variance"), [(0.0, "posterior"), (0.5, "posterior"), (1.0, "posterior"),
                                               (1.0, "beta")])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_way_back_gives_gaussian_data_back(name, eta, variance):
    """Data N(m, s²): its best denoiser is known and linear, so mean and variance of what comes out are exact."""
    m, s = 0.7, 0.3

    def end(steps):
        schedule = Schedule.named(name, 1000)
        mean, spread = 0.0, 1.0  # of x_T, which starts as pure noise
        for t, before in itertools.pairwise([*schedule.timesteps(steps), 0]):
            a = schedule.alpha_bar[t].item()
            slope = math.sqrt(a) * s**2 / (a * s**2 + 1 - a)  # E[x_0 | x_t] = m + slope (x_t - √ᾱ m)
            p = parts(schedule, t, before, eta=eta, variance=variance)
            factor = p[0] + p[1] * slope
            mean, spread = factor * mean + p[1] * (m - slope * math.sqrt(a) * m), factor**2 * spread + p[2] ** 2
        return mean, math.sqrt(spread)

    mean, deviation = end(1000)
    assert mean == pytest.approx(m, abs=0.01) and deviation == pytest.approx(s, rel=0.02)
    errors = [abs(end(steps)[1] - s) for steps in (10, 100, 1000)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 5 * errors[-1]  # few steps miss the width


@given(schedules(), st.data())
def test_the_times_a_sampler_visits(schedule, data):
    steps = data.draw(st.integers(1, schedule.T))
    times = schedule.timesteps(steps)
    assert len(times) == steps and times[0] == schedule.T and all(type(t) is int for t in times)
    gaps = [t - s for t, s in itertools.pairwise([*times, 0])]
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1  # as even as whole numbers can be
    assert schedule.timesteps() == schedule.timesteps(schedule.T) == list(range(schedule.T, 0, -1))


def test_times_are_rounded_to_the_nearest():
    assert Schedule.cosine(1000).timesteps(3) == [1000, 667, 333]
    assert Schedule.cosine(1000).timesteps(20) == list(range(1000, 0, -50))


# ------------------------------------------------------------------------------------------------------------ bad input

SCHEDULE = Schedule.cosine(10)
X = torch.zeros(2, 3)


@pytest.mark.parametrize("t", [0, -1, 11, [1, 0], [10, 11], torch.tensor([1, 11])], ids=str)
@pytest.mark.parametrize("ask", ["q_step", "q_sample", "posterior"])
def test_a_time_out_of_1_to_t_is_refused(ask, t):
    given = (X, t, X) if ask != "posterior" else (X, X, t)
    with pytest.raises(Error, match=r"t runs from 1 to T = 10, got -?\d+ to -?\d+"):
        getattr(SCHEDULE, ask)(*given)


@pytest.mark.parametrize("t", [
    1.0, True, "a", None, [1.0, 2.0], [1, 2, 3], [[1], [2]], torch.tensor([True, False]), torch.tensor([[1, 2]]), [],
    ["a", "b"], [1, None], math.nan,
], ids=str)
@pytest.mark.parametrize("ask", ["q_step", "q_sample", "posterior"])
def test_what_is_no_time_is_refused(ask, t):
    given = (X, t, X) if ask != "posterior" else (X, X, t)
    with pytest.raises(Error, match="t must be a whole number, or 2 of them, got"):
        getattr(SCHEDULE, ask)(*given)


@pytest.mark.parametrize(("a", "b", "what"), [
    (X, torch.zeros(3, 2), r"expected two tensors of one shape \(batch, ...\), got \(2, 3\) and \(3, 2\)"),
    (X, torch.zeros(2, 1), "of one shape"),
    (X, torch.zeros(3), "of one shape"),
    (X, 0.0, "got .* float"),
    ([0.0, 0.0], X, "got list and"),
    (None, X, "got NoneType and"),
    (X.long(), X.long(), "expected floating-point tensors, got torch.int64 and torch.int64: data.to_unit converts"),
    (X.to(torch.uint8), X, "expected floating-point tensors, got torch.uint8 and torch.float32"),
], ids=str)
def test_pictures_and_noise_must_fit(a, b, what):
    for ask in (
        lambda: SCHEDULE.q_step(a, 3, b), lambda: SCHEDULE.q_sample(a, 3, b), lambda: SCHEDULE.posterior(a, b, 3),
        lambda: SCHEDULE.step_back(a, b, 3, 2),
    ):
        with pytest.raises(Error, match=what):
            ask()


@pytest.mark.parametrize(("betas", "what"), [
    ([0.1, 0.0], "betas must lie between 0 and 1, got 0 to 0.1"),
    ([0.1, 1.0], "betas must lie between 0 and 1, got 0.1 to 1"),
    ([-0.1, 0.2], "betas must lie between 0 and 1, got -0.1 to 0.2"),
    ([0.1, 1.5], "betas must lie between 0 and 1"),
    ([0.1, math.nan], r"betas holds NaN at \[1\]"),
    ([0.1, math.inf], "betas must be finite, got inf"),
    ([], r"betas must have shape \(T,\), one number for each step, got \(0,\)"),
    (0.5, r"betas must have shape \(T,\)"),
    ([[0.1, 0.2]], r"betas must have shape \(T,\).*got \(1, 2\)"),
    ("linear", "betas must be numbers, got str"),
    (None, "betas must be numbers"),
], ids=str)
def test_betas_that_are_none_are_refused(betas, what):
    with pytest.raises(Error, match=what):
        Schedule(betas)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("total", "what"), [
    (0, "T must be at least 1, got 0"), (-5, "T must be at least 1, got -5"),
    (2.5, "T must be a whole number, got 2.5"), (True, "T must be a whole number, got True"),
    ("10", "T must be a whole number, got '10'"), (None, "T must be a whole number, got None"),
])
def test_a_number_of_steps_that_is_none_is_refused(name, total, what):
    for make in (lambda: getattr(Schedule, name)(total), lambda: Schedule.named(name, total)):
        with pytest.raises(Error, match=what):
            make()


def test_schedules_that_leave_0_to_1_are_refused():
    for make in (
        lambda: Schedule.linear(10, first=0.0), lambda: Schedule.linear(10, last=1.0),
        lambda: Schedule.linear(10, first=-1.0), lambda: Schedule.cosine(10, most=1.0),
        lambda: Schedule.sigmoid(10, first=-0.1), lambda: Schedule.sigmoid(10, last=1.1),
    ):
        with pytest.raises(Error, match="betas must lie between 0 and 1"):
            make()


@pytest.mark.parametrize(("options", "what"), [
    ({"t": 0}, "from t to s with 0 <= s < t <= 10, got t = 0 and s = 2"),
    ({"t": 11}, "0 <= s < t <= 10, got t = 11 and s = 2"),
    ({"s": -1}, "s must be at least 0, got -1"),
    ({"s": 3}, "0 <= s < t <= 10, got t = 3 and s = 3"),
    ({"s": 4}, "got t = 3 and s = 4"),
    ({"t": 3.0}, "t must be a whole number, got 3.0"),
    ({"t": True, "s": 0}, "t must be a whole number, got True"),
    ({"s": "0"}, "s must be a whole number, got '0'"),
    ({"s": None}, "s must be a whole number, got None"),
    ({"eta": -0.1}, "eta must lie in 0 to 1, got -0.1"),
    ({"eta": 1.1}, "eta must lie in 0 to 1, got 1.1"),
    ({"eta": math.nan}, "eta must lie in 0 to 1, got nan"),
    ({"eta": 1.0}, "this step adds noise: give `noise`, a tensor like x_t"),
    ({"eta": 0.5}, "this step adds noise"),
    ({"eta": 1.0, "variance": "beta"}, "this step adds noise"),
    ({"variance": "betas", "eta": 1.0}, "unknown variance 'betas'. There are: posterior, beta. Did you mean 'beta'"),
    ({"variance": "beta"}, "variance='beta' is DDPM's: it goes with eta=1, got 0"),
    ({"variance": "beta", "eta": 0.5, "noise": X}, "variance='beta' is DDPM's: it goes with eta=1, got 0.5"),
    ({"eta": 1.0, "noise": torch.zeros(2, 4)}, r"of one shape \(batch, ...\), got \(2, 4\) and \(2, 3\)"),
    ({"eta": 1.0, "noise": 0.5}, "got float and"),
], ids=str)
def test_a_step_back_that_cannot_be_is_refused(options, what):
    with pytest.raises(Error, match=what):
        SCHEDULE.step_back(**({"x_t": X, "x0": X, "t": 3, "s": 2} | options))


@pytest.mark.parametrize(("steps", "what"), [
    (11, "steps must be at most T = 10, got 11"), (0, "steps must be at least 1, got 0"),
    (-3, "steps must be at least 1, got -3"), (2.0, "steps must be a whole number, got 2.0"),
    (True, "steps must be a whole number, got True"), ("5", "steps must be a whole number, got '5'"),
])
def test_steps_that_cannot_be_are_refused(steps, what):
    with pytest.raises(Error, match=what):
        SCHEDULE.timesteps(steps)


def test_unknown_names_are_refused():
    with pytest.raises(Error, match="unknown schedule 'cosin'. There are: linear, cosine, sigmoid. Did you mean 'cos"):
        Schedule.named("cosin", 10)
    for ask in (diffusion.target, diffusion.to_x0, diffusion.to_eps):
        with pytest.raises(Error, match="unknown kind of prediction 'epsilon'. There are: eps, x0, v"):
            ask("epsilon", X, X, double(0.5))
