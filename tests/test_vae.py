"""The VAE: every formula against a second way to know it, every bound against the truth where it is known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm
from torch import nn

from gentut import Error, checkpoints, data, runs, vae

TINY = vae.Config(data="mnist-mini", encoder=(16,), decoder=(16,), steps=4, batch_size=32)
BINARY = TINY.replace(binary=True, latent=1)
finite = st.floats(-5, 5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def greys(n=6, seed=0):
    return torch.rand(n, 1, 28, 28, generator=generator(seed))


def bits(n=6, seed=0):
    return (greys(n, seed) < 0.3).float()


# -------------------------------------------------------------------------------------------------------- the pieces


@given(finite, finite)
def test_kl_is_not_negative_and_zero_only_at_the_prior(mu, log_var):
    kl = vae.kl_to_standard_normal(*torch.tensor([mu, log_var], dtype=torch.float64)).item()
    assert kl >= 0
    if max(abs(mu), abs(log_var)) > 1e-3:
        assert kl > 1e-8
    assert vae.kl_to_standard_normal(torch.zeros(1), torch.zeros(1)).item() == 0


@given(finite, finite)
def test_kl_is_that_of_torch_distributions(mu, log_var):
    mu, log_var = torch.tensor([mu, log_var], dtype=torch.float64)
    q = torch.distributions.Normal(mu, (log_var / 2).exp())
    known = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    assert vae.kl_to_standard_normal(mu, log_var).item() == pytest.approx(known.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("mu", "log_var"), [(0.0, 0.0), (1.5, -1.0), (-0.7, 1.2)])
def test_kl_is_what_sampling_says(mu, log_var):
    sigma, n = math.exp(log_var / 2), 400_000
    z = mu + sigma * np.random.RandomState(0).randn(n)
    ratio = norm.logpdf(z, mu, sigma) - norm.logpdf(z)
    kl = vae.kl_to_standard_normal(torch.tensor([[mu]]), torch.tensor([[log_var]]))
    assert kl.shape == (1, 1)
    assert abs(kl.item() - ratio.mean()) < 4 * ratio.std() / math.sqrt(n) + 1e-6


@given(st.lists(finite, min_size=3, max_size=3), st.lists(finite, min_size=3, max_size=3))
def test_reparameterised_values_and_gradients(mu, log_var):
    mu, log_var = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mu, log_var))
    # Gauss-Hermite quadrature is exact for polynomials: E[z²] = mu² + sigma², so the gradients are 2 mu and sigma²
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    expectation = sum(
        w / math.sqrt(2 * math.pi) * vae.reparameterise(mu, log_var, torch.full_like(mu, e)).square().sum()
        for e, w in zip(nodes, weights, strict=True)
    )
    assert expectation.item() == pytest.approx((mu.square() + log_var.exp()).sum().item(), rel=1e-9)
    expectation.backward()
    assert torch.allclose(mu.grad, 2 * mu.detach(), rtol=1e-7, atol=1e-9)
    assert torch.allclose(log_var.grad, log_var.detach().exp(), rtol=1e-7)


def test_reparameterised_gradients_of_one_draw():
    parts = [torch.randn(4, generator=generator(s), dtype=torch.float64, requires_grad=s < 2) for s in range(3)]
    assert torch.autograd.gradcheck(vae.reparameterise, parts)


def test_reparameterised_samples_have_the_right_moments():
    z = vae.reparameterise(torch.tensor(2.0), torch.tensor(math.log(9.0)), torch.randn(200_000, generator=generator()))
    assert z.mean().item() == pytest.approx(2, abs=0.03) and z.std().item() == pytest.approx(3, abs=0.03)


def test_reconstruction_by_hand():
    x, logits = greys(3), torch.randn(3, 1, 28, 28, generator=generator())
    y = logits.double().sigmoid()
    by_hand = -(x * y.log() + (1 - x) * (1 - y).log()).sum((1, 2, 3))
    got = vae.reconstruction_nats(logits, x)
    assert got.shape == (3,) and torch.allclose(got.double(), by_hand, rtol=1e-6)
    for extreme in (-1e4, 1e4):  # a logit, not a probability, is what keeps this finite
        assert torch.isfinite(vae.reconstruction_nats(torch.full_like(x, extreme), x)).all()


def test_elbo_terms_by_hand():
    model, x, eps = vae.build(TINY), greys(), torch.randn(6, 2, generator=generator(1))
    first, last = model.encoder[1], model.encoder[3]
    hidden = (x.view(6, 784) @ first.weight.T + first.bias).clamp(min=0)
    code = hidden @ last.weight.T + last.bias
    mu, log_var = code[:, :2], code[:, 2:]
    z = mu + torch.exp(log_var).sqrt() * eps
    first, last = model.decoder[0], model.decoder[2]
    y = torch.sigmoid((z @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias)
    reconstruction = F.binary_cross_entropy(y, x.view(6, 784), reduction="none").sum(1)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (log_var / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
    a, b = vae.elbo_terms(model, x, eps)
    assert a.shape == b.shape == (6,)
    assert torch.allclose(a, reconstruction, rtol=1e-5) and torch.allclose(b, kl, rtol=1e-4, atol=1e-6)


def test_elbo_terms_draw_from_the_generator():
    model, x = vae.build(TINY), greys()
    draws = [vae.elbo_terms(model, x, generator=generator(s))[0] for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    eps = torch.randn(6, 2, generator=generator(0))
    assert torch.equal(draws[0], vae.elbo_terms(model, x, eps)[0])


# --------------------------------------------------------------------------------------------------------- the bounds


def sharp(config=BINARY, seed=0):
    """An untrained model whose pictures really depend on the code."""
    model = vae.build(config.replace(seed=seed))
    with torch.no_grad():
        for value in model.decoder.parameters():
            value.mul_(1.3)
    return model.eval().requires_grad_(False)


GRID = torch.linspace(-9, 9, 6001).unsqueeze(1)


def exact(model, x):
    """log p(x) of a model with one latent, integrated on a grid, (batch,)."""
    logits = model.decode(GRID).double()
    prior = torch.from_numpy(norm.logpdf(GRID[:, 0].double()))
    step = math.log(GRID[1].item() - GRID[0].item())
    joint = torch.stack([prior - F.binary_cross_entropy_with_logits(
        logits, one.double().expand_as(logits), reduction="none").flatten(1).sum(1) for one in x])
    return torch.from_numpy(logsumexp(joint.numpy(), axis=1)) + step, joint


def exact_elbo(model, x):
    """The ELBO with its expectation integrated on a grid of eps, (batch,)."""
    total = 0
    grid = torch.linspace(-7, 7, 701)
    for e in grid:
        reconstruction, kl = vae.elbo_terms(model, x, torch.full((len(x), 1), e.item()))
        total = total - norm.pdf(e.item()) * (grid[1] - grid[0]).double() * reconstruction.double()
    return total - kl


@pytest.mark.parametrize("seed", range(3))
def test_the_elbo_is_below_log_p_by_the_divergence_to_the_posterior(seed):
    model, x = sharp(seed=seed), bits(seed=seed)
    log_p, joint = exact(model, x)
    elbo = exact_elbo(model, x)
    assert (elbo < log_p).all()
    mu, log_var = model.encode(x)
    step = (GRID[1] - GRID[0]).item()
    log_q = norm.logpdf(GRID[:, 0].double(), mu.double(), (log_var.double() / 2).exp())  # (batch, grid)
    log_q = torch.from_numpy(log_q)
    divergence = (log_q.exp() * (log_q - (joint - log_p[:, None]))).nan_to_num(0).sum(1) * step
    assert divergence.min() > 0.01  # the gap is a real one
    assert torch.allclose(log_p - elbo, divergence, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_the_importance_weighted_bound_rises_to_log_p(seed):
    model, x = sharp(seed=seed), bits(8, seed=seed)
    log_p, _ = exact(model, x)
    means, g = [], generator(seed)
    for k, repeats in ((1, 600), (3, 300), (10, 100), (100, 20)):
        bound = vae.log_likelihood(model, x.repeat(repeats, 1, 1, 1), k, generator=g).view(repeats, 8).double()
        means.append(bound.mean(0))
        if k == 1:  # one code: the ELBO
            assert ((means[0] - exact_elbo(model, x)).abs() < 4.5 * bound.std(0) / math.sqrt(repeats)).all()
    overall = [m.mean().item() for m in [*means, log_p]]
    assert overall == sorted(overall) and overall[0] < overall[-1] - 0.1
    many = vae.log_likelihood(model, x, 10_000, generator=g)
    assert many.shape == (8,) and torch.allclose(many.double(), log_p, atol=0.06)


@pytest.mark.parametrize("k", [1, 7])
def test_the_bound_is_exact_where_the_posterior_is_the_prior(k):
    model = sharp(BINARY.replace(latent=3))
    with torch.no_grad():
        model.decoder[-2].weight.zero_()  # pictures do not depend on the code ...
        model.decoder[-2].bias.normal_(generator=generator())
        model.encoder[-1].weight.zero_()  # ... and the encoder knows it
        model.encoder[-1].bias.zero_()
    x, p = bits(), model.decoder[-2].bias.view(1, 28, 28).double().sigmoid()
    log_p = torch.where(x == 1, p, 1 - p).log().sum((1, 2, 3))
    assert torch.allclose(vae.log_likelihood(model, x, k, generator=generator()).double(), log_p, rtol=1e-6)
    reconstruction, kl = vae.elbo_terms(model, x, generator=generator())
    assert torch.allclose(-reconstruction.double(), log_p, rtol=1e-6) and (kl == 0).all()


def test_the_pieces_in_which_the_bound_is_computed_do_not_matter():
    model, x = sharp(), bits(5)
    exact_enough = [vae.log_likelihood(model, x, 4000, generator=generator(), chunk=c) for c in (1, 9000, 10**6)]
    for other in exact_enough[1:]:
        assert torch.allclose(exact_enough[0], other, atol=0.2)
    assert torch.equal(exact_enough[0], vae.log_likelihood(model, x, 4000, generator=generator(), chunk=1))


# ------------------------------------------------------------------------------------------------- what training sees


class Fixed:
    """A training.Noise whose numbers are known."""

    def __init__(self, uniform, normal):
        self.u, self.z = uniform, normal

    def uniform(self, *shape):
        assert self.u.shape[1:] == shape
        return self.u

    def normal(self, *shape):
        assert self.z.shape[1:] == shape
        return self.z


@pytest.fixture
def noise():
    return Fixed(greys(seed=5), torch.randn(6, 2, generator=generator(6)))


def of(drawn, **changes):
    return vae.losses(vae.build(TINY.replace(**changes)), greys(), None, drawn)


def test_the_loss_is_minus_the_elbo(noise):
    terms, (reconstruction, kl) = of(noise), vae.elbo_terms(vae.build(TINY), greys(), noise.z)
    assert torch.equal(terms["reconstruction"], reconstruction) and torch.equal(terms["kl"], kl)
    assert torch.equal(terms["loss"], reconstruction + kl)


def test_beta_weighs_the_kl(noise):
    for beta in (0.0, 0.5, 4.0):
        terms = of(noise, beta=beta)
        assert torch.allclose(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
        assert torch.equal(terms["kl"], of(noise)["kl"])


def test_an_autoencoder_has_no_noise_and_no_prior(noise):
    terms, model = of(noise, noise=False, beta=0.0), vae.build(TINY)
    y = F.binary_cross_entropy(model(greys()), greys(), reduction="none").sum((1, 2, 3))
    assert torch.equal(terms["loss"], terms["reconstruction"]) and torch.allclose(terms["loss"], y, rtol=1e-5)


@pytest.mark.parametrize(("changes", "seen_is_binary", "target_is_binary"), [
    ({}, False, False), ({"binary": True}, True, True), ({"binarise_input": True}, True, False),
])
def test_what_the_encoder_sees_and_the_decoder_is_held_to(noise, changes, seen_is_binary, target_is_binary):
    model, x = vae.build(TINY.replace(**changes)), greys()
    drawn, seen = (noise.u < x).float(), []
    model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    terms = vae.losses(model, x, None, noise)
    assert torch.equal(seen[0], drawn if seen_is_binary else x)
    mu, log_var = model.encode(drawn if seen_is_binary else x)
    logits = model.decode(vae.reparameterise(mu, log_var, noise.z))
    assert torch.equal(terms["reconstruction"], vae.reconstruction_nats(logits, drawn if target_is_binary else x))


def test_black_and_white_are_never_flipped_by_the_draw():
    x = torch.tensor([0.0, 1.0]).repeat(392).view(1, 1, 28, 28)
    seen = []
    model = vae.build(TINY.replace(binary=True))
    model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for u in (0.0, 1 - 2**-24):  # the ends of [0, 1)
        vae.losses(model, x, None, Fixed(torch.full_like(x, u), torch.zeros(1, 2)))
    assert all(torch.equal(s, x) for s in seen)


def test_the_planted_bug_of_the_mean_divides_the_kl_by_batch_times_latents(noise):
    good, bad = of(noise), of(noise, kl="mean")
    for name in ("reconstruction", "kl"):  # what is logged stays true
        assert torch.equal(good[name], bad[name])
    weight = (bad["loss"] - bad["reconstruction"]).mean() / bad["kl"].mean()
    assert weight.item() == pytest.approx(1 / (6 * 2), rel=1e-3)


def test_the_planted_relu_cuts_off_half_of_the_codes():
    good, bad = (vae.build(TINY.replace(latent=20, relu_after_encoder=bug)) for bug in (False, True))
    for a, b in zip(good.encode(greys()), bad.encode(greys()), strict=True):
        assert torch.equal(a.clamp(min=0), b) and (a < 0).any()


def test_no_learning_without_noise_in_the_gradient_of_sigma(noise):
    model = vae.build(TINY.replace(noise=False, beta=0.0))
    vae.losses(model, greys(), None, noise)["loss"].mean().backward()
    assert (model.encoder[-1].weight.grad[2:] == 0).all() and (model.encoder[-1].weight.grad[:2] != 0).any()


# ---------------------------------------------------------------------------------------------------------- building


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a = vae.build(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    b, c = vae.build(TINY), vae.build(TINY.replace(seed=1))
    pairs = list(zip(a.parameters(), b.parameters(), c.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q, _ in pairs) and not any(torch.equal(p, r) for p, _, r in pairs)


def test_the_notes_network():
    model = vae.build(vae.Config())
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(256, 784), (256,), (4, 256), (4,), (256, 2), (256,), (784, 256), (784,)]
    assert [type(m).__name__ for m in model.encoder] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert [type(m).__name__ for m in model.decoder] == ["Linear", "ReLU", "Linear", "Unflatten"]


@given(st.lists(st.integers(1, 9), max_size=3), st.lists(st.integers(1, 9), max_size=3), st.integers(1, 5))
def test_shapes_of_any_network(encoder, decoder, latent):
    model = vae.build(TINY.replace(encoder=tuple(encoder), decoder=tuple(decoder), latent=latent, activation="tanh"))
    mu, log_var = model.encode(greys(3))
    assert mu.shape == log_var.shape == (3, latent)
    assert model.decode(mu).shape == (3, 1, 28, 28)
    y = model(greys(3))
    assert torch.equal(y, model.decode(mu).sigmoid()) and y.min() >= 0 and y.max() <= 1


def test_presets():
    test, cpu, gpu = (vae.Config.preset(s) for s in ("test", "cpu", "gpu"))
    assert test.data == cpu.data == "mnist-mini" and gpu.data == "mnist"
    for preset in (test, cpu, gpu):
        assert preset.validation and preset.keep_best
        assert (preset.latent, preset.encoder, preset.decoder) == (2, (256,), (256,))
        assert preset.batch_size == 128 and preset.learning_rate == 1e-3  # as in the notes
    with pytest.raises(Error, match=r"unknown scale 'gpus'. There are: test, cpu, gpu. Did you mean 'gpu'\?"):
        vae.Config.preset("gpus")


# -------------------------------------------------------------------------------------------------- grids and samples


class Show(nn.Module):
    """A model whose pictures show the code: latent i is the logit of pixel i."""

    def __init__(self, latent=2):
        super().__init__()
        self.latent, self.weight = latent, nn.Parameter(torch.zeros(1))

    def decode(self, z):
        return F.pad(z, (0, 784 - self.latent)).view(-1, 1, 28, 28)

    def encode(self, x):
        return x.flatten(1)[:, : self.latent], torch.zeros(len(x), self.latent)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_the_grid_is_the_notes_grid_seen_the_right_way_up(n):
    grid = vae.latent_grid(Show(), n)
    assert grid.shape == (n, n, 28, 28)
    at = torch.from_numpy(norm.ppf(np.linspace(0.05, 0.95, n))).float()
    z1, z2 = grid[..., 0, 0].logit(), grid[..., 0, 1].logit()
    for i in range(n):
        assert torch.allclose(z1[i], at, atol=1e-5)  # from left to right, z1 grows
        assert torch.allclose(z2[:, i], at.flip(0), atol=1e-5)  # from top to bottom, z2 falls
    if n > 1:
        assert at[-1].item() == pytest.approx(1.645, abs=1e-3) and at[0] == -at[-1]


def test_samples_are_decoded_draws_of_the_prior():
    pictures = vae.sample(Show(3), 20_000, generator=generator())
    assert pictures.shape == (20_000, 1, 28, 28) and pictures.min() >= 0 and pictures.max() <= 1
    z = pictures.flatten(1)[:, :3].logit()
    assert z.mean(0).abs().max() < 0.03 and (torch.cov(z.T) - torch.eye(3)).abs().max() < 0.04


def test_samples_are_seeded():
    model = vae.build(TINY)
    a, b, c = (vae.sample(model, 5, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and not a.requires_grad
    before = torch.get_rng_state()
    vae.sample(model, 5, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_collapsed_latents_are_found():
    x = torch.zeros(50, 1, 28, 28)
    x[:, 0, 0, 0] = torch.linspace(0, 1, 50)  # variance 0.087
    x[:, 0, 0, 1] = torch.linspace(0.4, 0.6, 50)  # 0.0035
    active = vae.active_units(Show(3), x)
    assert active.dtype == torch.bool and active.tolist() == [True, False, False]
    assert vae.active_units(Show(3), x, threshold=0.001).tolist() == [True, True, False]


# ---------------------------------------------------------------------------------------------------------------- PCA


def test_pca_is_the_singular_value_decomposition():
    x = data.to_unit(data.load("mnist-mini").train_images[:300])
    flat = x.flatten(1).double().numpy()
    _, singular, rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    pca = vae.PCA.fit(x, 10)
    assert pca.components.shape == (10, 784)
    assert torch.allclose(pca.components @ pca.components.T, torch.eye(10), atol=1e-5)
    assert np.abs((pca.components.numpy() * rows[:10]).sum(1)) == pytest.approx(np.ones(10), abs=1e-4)
    assert pca.squared_error(x).sum().item() == pytest.approx((singular[10:] ** 2).sum(), rel=1e-4)
    codes = pca.encode(x)
    assert codes.shape == (300, 10) and pca.decode(codes).shape == x.shape
    assert codes.mean(0).abs().max() < 1e-3
    variances = codes.var(0)
    assert (variances[:-1] >= variances[1:]).all()
    assert torch.allclose(pca.encode(pca.decode(codes)), codes, atol=1e-3)


def test_more_components_are_never_worse_and_all_are_perfect():
    x = greys(12)
    errors = [vae.PCA.fit(x, k).squared_error(x).sum().item() for k in (1, 4, 8, 11)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 and errors[-1] < 1e-3  # 12 points span 11 dimensions


@pytest.mark.parametrize("k", [0, 13])
def test_pca_of_too_many_components(k):
    with pytest.raises(Error, match=f"k must lie between 1 and 12 for 12 pictures, got {k}"):
        vae.PCA.fit(greys(12), k)


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("wrong", [
    greys().mul(255).to(torch.uint8), greys()[:, 0], greys().flatten(1), greys() * 1.1, greys() - 0.1, greys().double(),
    greys().half(), torch.rand(2, 3, 28, 28), torch.full((2, 1, 28, 28), math.nan), greys().numpy(),
    torch.rand(2, 1, 32, 32),
], ids=["uint8", "no channel", "flat", "above 1", "below 0", "double", "half", "colour", "nan", "numpy", "large"])
def test_wrong_pictures_are_refused(wrong):
    model = vae.build(BINARY)
    for ask in (vae.elbo_terms, vae.log_likelihood, vae.active_units):
        with pytest.raises(Error, match="pictures must"):
            ask(model, wrong)


def test_other_things_are_refused():
    model, binary = vae.build(TINY), vae.build(BINARY)
    for ask, what in [
        (lambda: vae.log_likelihood(binary, greys()), "needs pictures of 0 and 1: data.binarise makes them"),
        (lambda: vae.log_likelihood(model, bits()), "binary=True"),
        (lambda: vae.log_likelihood(binary, bits(), k=0), "k must be at least 1, got 0"),
        (lambda: vae.sample(model, 0), "n must be at least 1, got 0"),
        (lambda: vae.latent_grid(model, 0), "n must be at least 1, got 0"),
        (lambda: vae.latent_grid(binary), "needs a model with 2 latents, this one has 1"),
        (lambda: vae.active_units(model, greys(1)), "needs at least 2 of them, got 1"),
        (lambda: vae.elbo_terms(model, greys(), torch.zeros(6, 1)), r"eps must have the shape \(6, 2\) .*\(6, 1\)"),
        (lambda: vae.elbo_terms(model, greys(), torch.zeros(2)), r"eps must have the shape \(6, 2\)"),
        (lambda: vae.evaluate(model, "mnist-mini", n=1), "n must lie between 2 and the 2000 test pictures"),
        (lambda: vae.evaluate(model, "mnist-mini", n=2001), "n must lie between 2 and the 2000 test pictures"),
        (lambda: vae.reproduce("vae-2", "nowhere"), "unknown published network 'vae-2'.*Did you mean 'vae-2d'"),
    ]:
        with pytest.raises(Error, match=what):
            ask()


# ----------------------------------------------------------------------------------------- trained, measured, published


@pytest.fixture(scope="module")
def trained():
    return vae.train(vae.Config.preset("test"), device="cpu")


def test_a_small_training_learns_digits(trained):
    steps, values = trained.curve("validation_loss")
    assert steps == [70, 140] and values[-1] < min(values[0], 200)  # an untrained network has 543
    metrics = vae.evaluate(trained.model, "mnist-mini")
    assert abs(metrics["nats"] - values[-1]) < 10 and metrics["active_units"] == 2
    assert metrics["kl"] > 1 and metrics["floor"] == pytest.approx(45.83, abs=1)


def test_evaluate_says_what_it_measured(trained):
    got = vae.evaluate(trained.model, "mnist-mini", n=100, seed=3)
    assert (got["n"], got["seed"], got["pictures"]) == (100, 3, "the first 100 test pictures of mnist-mini, grey")
    assert got["nats"] == pytest.approx(got["reconstruction"] + got["kl"])
    x = data.to_unit(data.load("mnist-mini").test_images[:100])
    a, b = vae.elbo_terms(trained.model, x, torch.randn(100, 2, generator=generator(3)))
    assert got["nats"] == pytest.approx((a + b).mean().item(), rel=1e-6)
    assert got["standard_error"] == pytest.approx((a + b).std().item() / 10, rel=1e-4)
    assert got == vae.evaluate(trained.model, "mnist-mini", n=100, seed=3)
    train = vae.evaluate(trained.model, "mnist-mini", n=100, split="train")
    assert "train pictures" in train["pictures"] and train["nats"] != got["nats"]


def test_evaluate_a_binary_model():
    model = vae.build(BINARY)
    got = vae.evaluate(model, "mnist-mini", n=50, k=20)
    assert got["pictures"].endswith("binarised, seed 0") and got["k"] == 20 and "floor" not in got
    x = data.binarise(data.load("mnist-mini").test_images[:50])
    a, b = vae.elbo_terms(model, x, torch.randn(50, 1, generator=generator(0)))
    assert got["nats"] == pytest.approx((a + b).mean().item(), rel=1e-6)
    bound = vae.log_likelihood(model, x, 400, generator=generator())
    assert got["importance_weighted_nats"] == pytest.approx(-bound.mean().item(), abs=0.5)
    assert got["importance_weighted_nats"] < got["nats"]


def test_evaluate_an_autoencoder_by_its_reconstruction_alone():
    config = TINY.replace(noise=False, beta=0.0)
    got = vae.evaluate(vae.build(config), "mnist-mini", n=20)
    assert got["nats"] == got["reconstruction"]
    assert got["nats"] == vae.evaluate(vae.build(config), "mnist-mini", n=20, seed=9)["nats"]


def test_training_on_own_pictures():
    moons = (data.moon(torch.linspace(0, 1, 32))[:, 0] * 255).to(torch.uint8)
    run = vae.train(TINY.replace(latent=1, steps=60, batch_size=16, learning_rate=0.01), images=moons, device="cpu")
    assert run.curve("loss")[1][-1] < 300 and run.data_sha256 == data.digest(moons)
    assert vae.sample(run.model, 3).shape == (3, 1, 28, 28)


def test_reproduce_trains_measures_and_writes_a_card(tmp_path, monkeypatch):
    config = TINY.replace(steps=30)
    monkeypatch.setitem(vae.PUBLISHED, "tiny", config)
    out = tmp_path / "tiny"
    card = vae.reproduce("tiny", out, device="cpu")
    path = out / "tiny.safetensors"
    assert card == checkpoints.card(path) and vae.Config(**card["config"]) == config
    model = checkpoints.load(path, "cpu")
    for part, ask in [("test", {}), ("train", {"n": 10_000, "split": "train"}), ("mini", {"n": 1000})]:
        assert vae.evaluate(model, "mnist-mini", **ask) == card["metrics"][part]  # of the float16 weights
    assert card["data_sha256"] == data.digest(data.load("mnist-mini").train_images)
    assert (card["family"], card["seed"], card["steps"]) == ("vae", 0, 30) and card["seconds"] >= 0
    with pytest.raises(Error, match="already holds"):
        vae.reproduce("tiny", out, device="cpu")
    path.unlink()
    again = vae.reproduce("tiny", out, resume=True, device="cpu")
    assert again["sha256"] == card["sha256"] and runs.sha256(path.read_bytes()) == card["sha256"]
