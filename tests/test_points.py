"""Diffusion in the plane: the data, the network's frame, the chain and its way back, training, distances."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gentut import Error, points
from gentut.diffusion import Schedule
from gentut.mixtures import Mixture, ring

COSINE = Schedule.cosine(40)
RING = ring(5, sigma=0.2)


def exact(mixture):
    return functools.partial(points.exact_eps, mixture)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


# ------------------------------------------------------------------------------------------------------------- the data


def test_the_s_curve_is_an_s():
    x = points.s_curve(5000, noise=0.0, generator=0, scale=1.0)
    assert x.shape == (5000, 2) and x.dtype == torch.float32
    upper = x[:, 1] < 0  # where u is positive: a circle of radius 1 about (0, -1), the other half one about (0, 1)
    centre = torch.where(upper, -1.0, 1.0)
    assert torch.allclose(torch.hypot(x[:, 0], x[:, 1] - centre), torch.ones(5000), atol=1e-5)
    assert x[:, 1].min() < -1.99 and x[:, 1].max() > 1.99 and x[:, 0].abs().max() > 0.999
    assert not ((x[:, 0] < -0.1) & (x[:, 1] < -0.1) & (x[:, 1] > -0.9)).any()  # open there, as an S is
    assert upper.float().mean() == pytest.approx(0.5, abs=0.05)


def test_noise_and_scale_of_the_s_curve():
    clean, noisy, big = (points.s_curve(4000, n, generator=3, scale=s) for n, s in ((0.0, 0.1), (0.1, 0.1), (0.1, 1.0)))
    assert (noisy - clean).std().item() == pytest.approx(0.01, rel=0.1)
    assert torch.allclose(big, 10 * noisy, atol=1e-6)
    assert torch.equal(noisy, points.s_curve(4000, generator=generator(3)))


# ---------------------------------------------------------------------------------------------------------- the network


def test_the_features_of_a_level_are_what_is_written():
    a = torch.tensor([0.0, 0.001, 0.5, 0.9, 1.0], dtype=torch.float64)
    found = points.level_features(a, 3)
    for i, level in enumerate((-12.0, math.log(0.001 / 0.999), 0.0, math.log(9), 12.0)):
        theta = math.pi * (level + 12) / 24
        by_hand = [math.sin(k * theta) for k in (1, 2, 3)] + [math.cos(k * theta) for k in (1, 2, 3)]
        assert found[i].tolist() == pytest.approx(by_hand, abs=1e-12)
    assert points.level_features(a).shape == (5, 16) and found.dtype == torch.float64


def by_hand(net, x, a):
    """The network's answer for one point, one number after the other."""
    spread = net.spread.item()
    v = a * spread**2 + 1 - a
    h, features = x / math.sqrt(v), points.level_features(torch.tensor([a]), net.features)[0].float()
    for i, layer in enumerate(net.layers[:-1]):
        s = layer.weight @ h + layer.bias + net.levels[i].weight @ features + net.levels[i].bias
        h = s * s.sigmoid()
    g = net.layers[-1].weight @ h + net.layers[-1].bias
    return math.sqrt(1 - a) / v * x + math.sqrt(a) * spread / math.sqrt(v) * g


def test_the_network_is_what_is_written():
    net = points.Net(7, 2, spread=0.3)
    assert [tuple(layer.weight.shape) for layer in net.layers] == [(7, 2), (7, 7), (2, 7)]
    assert [tuple(level.weight.shape) for level in net.levels] == [(7, 16)] * 2
    x, a = torch.randn(4, 2, generator=generator()), torch.tensor([0.0, 0.3, 0.9, 1.0])
    found = net(x, a)
    assert found.dtype == torch.float32 and found.shape == (4, 2)
    for i in range(4):
        assert torch.allclose(found[i], by_hand(net, x[i], a[i].item()), atol=1e-5)
    assert torch.allclose(net(x, 0.4), net(x, torch.full((4,), 0.4)), atol=1e-6)
    in_double = net(x.double(), a)
    assert in_double.dtype == torch.float64 and torch.allclose(in_double.float(), found, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0.05, 3))
def test_without_its_perceptron_the_frame_is_exact_for_gaussian_data(a, spread):
    net = points.Net(3, 1, spread=spread)
    torch.nn.init.zeros_(net.layers[-1].weight)
    torch.nn.init.zeros_(net.layers[-1].bias)
    x = torch.randn(6, 2, generator=generator(), dtype=torch.float64)
    expected = points.exact_eps(Mixture([[0.0, 0.0]], [spread]), x, a)
    assert torch.allclose(net(x, a), expected, rtol=1e-4, atol=1e-6)


def test_at_pure_noise_the_network_cannot_be_wrong_and_a_blind_one_gives_one_answer_at_all_levels():
    x = torch.randn(5, 2, generator=generator())
    assert torch.allclose(points.Net()(x, 0.0), x)
    blind, seeing = points.Net(8, told=False), points.Net(8)
    assert torch.equal(blind(x, 0.1), blind(x, 0.9)) and not torch.allclose(seeing(x, 0.1), seeing(x, 0.9))


# ------------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_the_chain_has_the_moments_of_the_closed_form(name):
    schedule = Schedule.named(name, 30) if name == "cosine" else Schedule.linear(30, 0.01, 0.4)
    g = generator()
    x0 = RING.sample(20_000, generator=g) + 1
    chain = points.noising(x0, schedule, generator=g)
    assert chain.shape == (31, 20_000, 2) and torch.equal(chain[0], x0)
    for t in (1, 7, 18, 30):
        made = points.noised(Mixture(RING.means + 1, RING.sigmas), schedule.alpha_bar[t])
        mean = made.means.mean(0)
        variance = made.means.var(0, correction=0) + made.sigmas[0] ** 2
        assert (chain[t].mean(0) - mean).abs().max() < 6 * variance.max().sqrt() / math.sqrt(20_000)
        assert torch.allclose(chain[t].var(0), variance, rtol=0.08)


@pytest.mark.parametrize(("eta", "steps"), [(0.0, None), (0.5, None), (1.0, None), (0.0, 20)])
def test_the_best_denoiser_brings_noise_back_to_the_data(eta, steps):
    schedule, g, n = Schedule.cosine(80), generator(4), 1500
    made = points.sample(exact(RING), schedule, n, eta=eta, steps=steps, generator=g)
    draw = functools.partial(lambda n, generator: RING.sample(n, generator=generator))
    mean, deviation = points.floor(draw, n, generator=g, pairs=8)
    distance = points.energy_distance(made.double(), RING.sample(n, generator=g))
    gaussian = points.energy_distance(0.75 * torch.randn(n, 2, generator=g), RING.sample(n, generator=g))
    assert distance < mean + 6 * deviation + 0.1 * gaussian and distance < gaussian / 3


def test_a_path_starts_at_noise_and_ends_at_the_sample():
    net = points.Net(6)
    path = points.path(net, COSINE, 9, steps=5, eta=0.7, generator=2)
    assert path.shape == (6, 9, 2) and not path.requires_grad
    assert torch.equal(path[0], torch.randn(9, 2, generator=generator(2)))
    assert torch.equal(path[-1], points.sample(net, COSINE, 9, steps=5, eta=0.7, generator=2))
    assert points.path(net, COSINE, 3, generator=0).shape == (41, 3, 2)
    start = torch.randn(4, 2, generator=generator(1))
    again = points.path(net, COSINE, 4, eta=0.0, start=start)  # nothing random is left
    assert torch.equal(again[0], start) and torch.equal(again, points.path(net, COSINE, 4, eta=0.0, start=start))


def test_a_step_of_a_path_is_the_schedules():
    net, x = points.Net(6), torch.randn(3, 2, generator=generator())
    path = points.path(net, COSINE, 3, steps=2, eta=0.0, start=x)
    a = COSINE.alpha_bar[40].float()
    with torch.no_grad():
        x0 = (x - (1 - a).sqrt() * net(x, COSINE.alpha_bar[40])) / a.sqrt()
        assert torch.allclose(path[1], COSINE.step_back(x, x0, 40, 20), atol=1e-4)


def test_the_notes_schedule_harms_the_sampler_without_noise_of_its_own():
    """x_T keeps √ᾱ_T = 0.88 of the data, which are a tenth of the noise. From N(0, I) the path without noise ends far
    off. With noise the steps forget the start, and the fault can hide."""
    with pytest.warns(UserWarning, match="does not reach noise: √ᾱ_T = 0.882"):
        notes = Schedule.sigmoid(100)
    u = 3 * math.pi * ((torch.arange(40) + 0.5) / 40 - 0.5)
    curve = Mixture(0.1 * torch.stack([u.sin(), u.sign() * (u.cos() - 1)], dim=1), [0.015] * 40)
    fresh, g = curve.sample(500, generator=0), generator(1)
    start = torch.randn(500, 2, generator=g, dtype=torch.float64)
    kept = notes.q_sample(curve.sample(500, generator=g), 100, start)
    found = {
        "as in the notes": points.sample(exact(curve), notes, 500, eta=0.0, start=start),
        "from the chain's end": points.sample(exact(curve), notes, 500, eta=0.0, start=kept),
        "a schedule that reaches noise": points.sample(exact(curve), Schedule.cosine(100), 500, eta=0.0, start=start),
        "with noise": points.sample(exact(curve), notes, 500, eta=1.0, start=start, generator=g),
    }
    far = {name: points.energy_distance(x, fresh) for name, x in found.items()}
    harmed = far.pop("as in the notes")
    assert harmed > 0.003 and all(harmed > 2 * distance for distance in far.values()), (harmed, far)


# ------------------------------------------------------------------------------------------------------------- training

SEEDS = (0, 1)  # two, and each judged with room to spare


@functools.cache
def trained(seed, told=True):
    data = points.s_curve(5000, generator=5)
    return points.train(data, steps=900, seed=seed, width=64, told=told)


def how_far(net, seed):
    """Energy distance of samples to fresh data, in the unit of x."""
    g = generator(seed)
    return points.energy_distance(points.sample(net, Schedule.cosine(100), 1000, eta=0.0, generator=g),
                                  points.s_curve(1000, generator=77))


@pytest.mark.parametrize("seed", SEEDS)
def test_training_learns_the_curve(seed):
    net, losses = trained(seed)
    assert losses.shape == (900,) and losses[-50:].mean() < 0.95 * losses[:20].mean()
    assert not net.training and net.spread.item() == pytest.approx(0.11, abs=0.01)
    gaussian = functools.partial(points.exact_eps, Mixture([[0.0, 0.0]], [net.spread.item()]))
    assert how_far(net, seed) < 0.75 * how_far(gaussian, seed)  # of data as wide, but without a shape


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_is_not_told_the_level_does_worse(seed):
    (blind, its_losses), (net, losses) = trained(seed, told=False), trained(seed)
    assert its_losses[-100:].mean() > 1.1 * losses[-100:].mean()
    assert how_far(blind, seed) > 5 * how_far(net, seed)


def test_training_is_a_function_of_its_arguments_and_leaves_torchs_random_numbers_alone():
    data = points.s_curve(100, generator=0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, again, other = (points.train(data, COSINE, steps=3, batch_size=8, width=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(one[0]), weights(again[0])) and torch.equal(one[1], again[1])
    assert not torch.equal(weights(one[0]), weights(other[0]))
    without = points.train(data, steps=3, batch_size=8, width=5)
    assert not torch.equal(weights(one[0]), weights(without[0]))  # other noise levels


def test_the_first_loss_is_that_of_the_formula(monkeypatch):
    seen = []
    monkeypatch.setattr(points.Net, "forward", lambda self, x, a: seen.append((x, a)) or 0 * self.layers[-1].bias + x)
    data = torch.tensor([[2.0, -1.0]])  # one point: its noise can be read off x_t
    _, losses = points.train(data, COSINE, steps=2, batch_size=500)
    x, a = seen[0]
    eps = (x - a.sqrt().float()[:, None] * data) / (1 - a).sqrt().float()[:, None]
    assert losses[0].item() == pytest.approx((eps - x).square().sum(1).mean().item(), rel=1e-3)
    assert eps.mean().abs() < 0.2 and eps.std().item() == pytest.approx(1, abs=0.15)
    assert set(a.tolist()) <= set(COSINE.alpha_bar[1:].tolist()) and len(set(a.tolist())) > 35
    seen.clear()
    points.train(data, steps=1, batch_size=2000)
    levels = torch.special.logit(seen[0][1])
    assert levels.min() < -9.5 and levels.max() > 9.5 and levels.abs().max() <= 10 and levels.mean().abs() < 1


# ------------------------------------------------------------------------------------------------------------ distances


def test_the_energy_distance_by_hand():
    a, b = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 4.0]])
    assert points.energy_distance(a, b) == pytest.approx(2 * (4 + 3) / 2 - 5 / 2 - 0)
    assert points.energy_distance(a, a) == 0 and points.energy_distance(a, a.flip(0)) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 999))
def test_the_energy_distance_is_a_distance_between_distributions(n, m, seed):
    g = generator(seed)
    a, b = torch.randn(n, 2, generator=g), 2 * torch.randn(m, 2, generator=g) + 1
    found = points.energy_distance(a, b)
    assert found > -1e-12 and found == pytest.approx(points.energy_distance(b, a), abs=1e-12)
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert points.energy_distance(a @ turned + 5, b @ turned + 5) == pytest.approx(found, abs=1e-5)
    assert points.energy_distance(3 * a, 3 * b) == pytest.approx(3 * found, abs=1e-5)
    assert points.energy_distance(torch.cat([a, a]), b) == pytest.approx(found, abs=1e-6)


def test_the_sliced_distance_of_a_shift_and_of_single_points():
    a = torch.randn(200, 2, generator=generator())
    shift = torch.tensor([0.6, 0.8])
    assert points.sliced_wasserstein(a, a + shift) == pytest.approx(2 / math.pi, rel=1e-3)  # the mean of |cos|
    assert points.sliced_wasserstein(a, a[torch.randperm(200, generator=generator())]) == 0
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert points.sliced_wasserstein(one, other, directions=2) == pytest.approx(0.5)


def test_the_floor_falls_as_one_over_n_and_is_what_fresh_data_get():
    few, many = (points.floor(points.s_curve, n, generator=0)[0] for n in (100, 800))
    assert 3 < few / many < 20
    mean, deviation = points.floor(points.s_curve, 200, points.sliced_wasserstein, pairs=30, generator=1)
    g = generator(9)
    found = points.sliced_wasserstein(points.s_curve(200, generator=g), points.s_curve(200, generator=g))
    assert 0 < deviation < mean and abs(found - mean) < 8 * deviation
    draws = generator(5)
    pair = [points.energy_distance(points.s_curve(50, generator=draws), points.s_curve(50, generator=draws))
            for _ in range(2)]
    assert points.floor(points.s_curve, 50, pairs=2, generator=5)[0] == pytest.approx(sum(pair) / 2)


# ---------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(("make", "message"), [
    (lambda: points.s_curve(0, generator=0), "n must be at least 1, got 0"),
    (lambda: points.s_curve(5), "needs a generator or a seed"),
    (lambda: points.s_curve(5, generator=0, scale=0.0), "scale must be positive"),
    (lambda: points.s_curve(5, -0.1, generator=0), "noise must not be negative"),
    (lambda: points.Net(0), "width must be at least 1"),
    (lambda: points.Net(layers=0), "layers must be at least 1"),
    (lambda: points.Net(spread=0.0), "spread must be positive"),
    (lambda: points.Net(4)(torch.zeros(3), 0.5), "x must be points .n, 2. as a float tensor, got torch.float32 .3,."),
    (lambda: points.Net(4)(torch.zeros(3, 2).long(), 0.5), "got torch.int64"),
    (lambda: points.Net(4)([[0.0, 1.0]], 0.5), "got list"),
    (lambda: points.Net(4)(torch.zeros(3, 2), 1.1), "lies in .0, 1., got 1.1"),
    (lambda: points.Net(4)(torch.zeros(3, 2), torch.zeros(2)), "one number, or 3 of them"),
    (lambda: points.train(torch.zeros(5, 3)), "data must be points"),
    (lambda: points.train(torch.zeros(5, 2)), "spread must be positive"),  # no data has all its points at one place
    (lambda: points.train(torch.ones(5, 2), steps=0), "steps must be at least 1"),
    (lambda: points.train(torch.ones(5, 2), batch_size=0), "batch_size must be at least 1"),
    (lambda: points.train(torch.ones(5, 2), "cosine"), "schedule must be a Schedule or None, got str"),
    (lambda: points.train(torch.ones(5, 2), steps=60, learning_rate=1e30), "no longer finite"),
    (lambda: points.noising(torch.zeros(5, 3), COSINE, generator=0), "x0 must be points"),
    (lambda: points.noising(torch.zeros(5, 2), COSINE), "needs a generator or a seed"),
    (lambda: points.sample(points.Net(4), COSINE, 0, generator=0), "n must be at least 1"),
    (lambda: points.sample(points.Net(4), COSINE, 5), "needs a generator or a seed"),
    (lambda: points.sample(points.Net(4), COSINE, 5, steps=41, generator=0), "steps must be at most T = 40, got 41"),
    (lambda: points.sample(points.Net(4), COSINE, 5, eta=1.5, generator=0), "eta must lie in 0 to 1"),
    (lambda: points.sample(points.Net(4), COSINE, 5, variance="bta", generator=0), "Did you mean 'beta'"),
    (lambda: points.sample(points.Net(4), COSINE, 5, start=torch.zeros(4, 2), generator=0), "start has 4 points"),
    (lambda: points.sample(points.Net(4), COSINE, 5, start=torch.zeros(5, 2)), "needs a generator or a seed"),
    (lambda: points.energy_distance(torch.zeros(3, 2), torch.zeros(3)), "b must be points"),
    (lambda: points.sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2)), "as many points, got 3 and 4"),
    (lambda: points.floor(points.s_curve, 10, pairs=1, generator=0), "pairs must be at least 2"),
])
def test_wrong_input_is_one_clear_error(make, message):
    with pytest.raises(Error, match=message):
        make()
