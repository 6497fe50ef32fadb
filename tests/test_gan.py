"""The GAN: every loss against its formula, every constraint against what it promises, every mistake one clear error."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from gentut import Error, checkpoints, data, gan, metrics, runs

TINY = gan.Config(
    data="mnist-mini", latent=5, generator=(8, 4, 4), discriminator=(4, 8, 8), steps=4, batch_size=16, log_every=1
)
FLAT = gan.Config(
    data="mnist-mini", kind="mlp", latent=5, generator=(16,), discriminator=(16,), steps=4, batch_size=16, log_every=1
)
scores = st.floats(-25, 25)  # beyond, 1 - D by hand has hardly a digit left


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def greys(n=6, seed=0):
    return torch.rand(n, 1, 28, 28, generator=generator(seed))


def pictures(n=64, seed=0):
    return (greys(n, seed)[:, 0] * 255).to(torch.uint8)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def fit(config, **options):
    return gan.train(config, images=options.pop("images", pictures()), device="cpu", **options)


class Fixed:
    """A training.Noise whose numbers are known."""

    def __init__(self, z, u=None):
        self.z, self.u = z, u

    def normal(self, *shape):
        assert self.z.shape[1:] == shape
        return self.z

    def uniform(self, *shape):
        assert self.u.shape[1:] == shape
        return self.u


# --------------------------------------------------------------------------------------------------------- the losses

# In terms of the score, with D = 1 / (1 + e^-score): what the papers write down.
DISCRIMINATOR = {
    "saturating": lambda r, f: -math.log(1 / (1 + math.exp(-r))) - math.log(1 - 1 / (1 + math.exp(-f))),
    "non-saturating": lambda r, f: -math.log(1 / (1 + math.exp(-r))) - math.log(1 - 1 / (1 + math.exp(-f))),
    "least-squares": lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2,
    "wgan-gp": lambda r, f: f - r,
}
GENERATOR = {
    "saturating": lambda f: math.log(1 - 1 / (1 + math.exp(-f))),
    "non-saturating": lambda f: -math.log(1 / (1 + math.exp(-f))),
    "least-squares": lambda f: 0.5 * (f - 1) ** 2,
    "wgan-gp": lambda f: -f,
}


def test_each_loss_has_its_formula_here():
    assert tuple(DISCRIMINATOR) == tuple(GENERATOR) == gan.LOSSES


@pytest.mark.parametrize("kind", gan.LOSSES)
@given(scores, scores)
def test_losses_are_their_formulas(kind, real, fake):
    want_d, want_g = DISCRIMINATOR[kind](real, fake), GENERATOR[kind](fake)
    one = dict(rel=1e-9, abs=1e-3 if max(abs(real), abs(fake)) > 20 else 1e-6)  # log(1 - D) by hand loses digits
    assert gan.discriminator_loss(kind, double(real), double(fake)).item() == pytest.approx(want_d, **one)
    assert gan.generator_loss(kind, double(fake)).item() == pytest.approx(want_g, **one)


@pytest.mark.parametrize("kind", gan.LOSSES)
@given(scores, scores)
def test_gradients_of_the_losses_by_finite_differences(kind, real, fake):
    h = 1e-5
    assume(all(abs(abs(v) - 20) > 2 * h for v in (real, fake)))  # there PyTorch's softplus jumps by e^-20 to a line
    r, f = (double(v).requires_grad_() for v in (real, fake))
    by_r, by_f = torch.autograd.grad(gan.discriminator_loss(kind, r, f).sum(), (r, f))
    (by_g,) = torch.autograd.grad(gan.generator_loss(kind, f).sum(), f)
    with torch.no_grad():
        for got, loss in [
            (by_r, lambda d: gan.discriminator_loss(kind, r + d, f)),
            (by_f, lambda d: gan.discriminator_loss(kind, r, f + d)),
            (by_g, lambda d: gan.generator_loss(kind, f + d)),
        ]:
            assert got.item() == pytest.approx(((loss(h) - loss(-h)) / (2 * h)).item(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", gan.LOSSES)
def test_losses_are_finite_where_a_probability_would_not_be(kind):
    extreme = torch.tensor([-1e4, 0.0, 1e4])  # sigmoid gives exactly 0 and 1
    for real, fake in itertools.product(extreme, extreme):
        assert gan.discriminator_loss(kind, real, fake).isfinite() and gan.generator_loss(kind, fake).isfinite()
    assert gan.discriminator_loss(kind, extreme, extreme).shape == gan.generator_loss(kind, extreme).shape == (3,)


@given(scores)
def test_the_saturating_game_is_zero_sum_and_loses_its_gradient(fake):
    f = double(fake)
    unsure = gan.discriminator_loss("saturating", double(100.0), f)  # D is right about the real ones: e^-100
    assert gan.generator_loss("saturating", f).item() == pytest.approx(-unsure.item(), abs=1e-12)
    f.requires_grad_()
    p = torch.sigmoid(f.detach()).item()
    (saturating,) = torch.autograd.grad(gan.generator_loss("saturating", f).sum(), f)
    (other,) = torch.autograd.grad(gan.generator_loss("non-saturating", f).sum(), f)
    # Nothing where D is sure: D(G(z)) near 0. (Beyond 20 PyTorch's softplus is a straight line: e^-20 = 2e-9 off.)
    assert saturating.item() == pytest.approx(-p, rel=3e-9)
    assert other.item() == pytest.approx(p - 1, rel=1e-6, abs=1e-12)  # there it is 1
    assert saturating < 0 and other <= 0  # both want a higher score


@given(st.floats(0.01, 0.99))
def test_the_best_discriminator_is_p_over_p_plus_q(p):
    """At a place where real pictures have the density p and generated ones q, no other score does better."""
    q = 1 - p
    for kind, best in [("non-saturating", math.log(p / q)), ("least-squares", p / (p + q))]:
        s = double(best).requires_grad_()

        def expected(s, kind=kind):
            zero = torch.zeros_like(s)
            on_real = gan.discriminator_loss(kind, s, zero) - gan.discriminator_loss(kind, zero, zero) / 2
            on_fake = gan.discriminator_loss(kind, zero, s) - gan.discriminator_loss(kind, zero, zero) / 2
            return p * on_real + q * on_fake

        (slope,) = torch.autograd.grad(expected(s).sum(), s)
        assert slope.item() == pytest.approx(0, abs=1e-9)
        for other in (-0.3, 0.3):
            assert expected(s + other).item() > expected(s).item()


def test_at_a_draw_the_discriminator_pays_two_log_2():
    zero = double(0.0)
    assert gan.discriminator_loss("saturating", zero, zero).item() == pytest.approx(2 * math.log(2))
    assert gan.generator_loss("saturating", zero).item() == pytest.approx(-math.log(2))
    assert gan.generator_loss("non-saturating", zero).item() == pytest.approx(math.log(2))


# ------------------------------------------------------------------------------------------------ the gradient penalty


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(lambda w: any(abs(v) > 0.1 for v in w)),
       st.integers(0, 1000))
def test_the_penalty_of_a_linear_critic_is_known(w, seed):
    w = double(*w)
    g = generator(seed)
    real, fake = torch.randn(2, 5, 4, generator=g, dtype=torch.float64)
    u = torch.rand(5, generator=g, dtype=torch.float64)
    want = (w.norm() - 1) ** 2
    for critic in (lambda x: x @ w, lambda x: (x @ w)[:, None] + 3.0):  # (batch,) or (batch, 1), with a bias or not
        got = gan.gradient_penalty(critic, real, fake, u)
        assert got.shape == (5,) and torch.allclose(got, want.expand(5), rtol=1e-9, atol=1e-12)


def test_the_penalty_of_a_linear_critic_of_pictures_and_its_gradient():
    w = torch.randn(1, 28, 28, generator=generator(), dtype=torch.float64).requires_grad_()
    real, fake = greys(6).double(), greys(6, seed=1).double().requires_grad_()
    penalty = gan.gradient_penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake, greys(6)[:, 0, 0, 0].double())
    assert torch.allclose(penalty, (w.norm() - 1).square().expand(6))
    (by_w,) = torch.autograd.grad(penalty.mean(), w)
    assert torch.allclose(by_w, 2 * (w.norm() - 1) * w / w.norm())  # the critic learns from it
    assert fake.grad is None


@given(st.integers(0, 1000))
def test_the_penalty_is_taken_between_a_real_and_a_generated_one(seed):
    """critic = ½‖x‖² has the slope x: the penalty says where it was taken, and each picture only knows its own."""
    g = generator(seed)
    real, fake = torch.randn(2, 3, 2, 4, generator=g, dtype=torch.float64)
    for u in (torch.rand(3, generator=g, dtype=torch.float64), double(0, 0.5, 1)):
        got = gan.gradient_penalty(lambda x: x.square().sum((1, 2)) / 2, real, fake, u)
        for n in range(3):
            place = u[n] * real[n] + (1 - u[n]) * fake[n]
            assert got[n].item() == pytest.approx((place.norm().item() - 1) ** 2, rel=1e-9, abs=1e-12)


def test_the_penalty_refuses_shapes_that_do_not_fit():
    def critic(x):
        return x.sum(1)

    for real, fake, u in [((4, 3), (4, 2), 4), ((4, 3), (3, 3), 4), ((4, 3), (4, 3), 3)]:
        with pytest.raises(Error, match="real and fake must have one shape, and u one number each"):
            gan.gradient_penalty(critic, torch.zeros(real), torch.zeros(fake), torch.zeros(u))
    with pytest.raises(Error, match=r"got \(4, 3\), \(4, 3\) and \(4, 1\)"):
        gan.gradient_penalty(critic, torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, 1))


# ------------------------------------------------------------------------------------------------------- spectral norm


def largest(model):
    """The largest singular value of each of the discriminator's weights, seen as a matrix (out, rest)."""
    layers = [m for m in model.discriminator if hasattr(m, "weight")]
    return [torch.linalg.svdvals(m.weight.detach().flatten(1))[0].item() for m in layers]


@pytest.mark.parametrize("config", [TINY, FLAT.replace(discriminator=(64, 32))])
def test_spectral_norm_keeps_the_largest_singular_values_at_one(config):
    model = gan.build(config)
    with torch.no_grad():
        for name, value in model.discriminator.named_parameters():
            if name.endswith("original"):
                value.mul_(7.0)  # however large the weights grow
        for _ in range(30):  # each use in training refines the estimate of the singular value
            model.discriminator(greys())
    values = largest(model.eval())
    assert len(values) == 4 - (config.kind == "mlp") and all(0.99 < v < 1.01 for v in values)
    free = gan.build(config.replace(spectral_norm=False))
    with torch.no_grad():
        for p in free.discriminator.parameters():
            p.mul_(7.0)
    assert all(v > 2 for v in largest(free))


def test_spectral_norm_holds_in_training():
    config = TINY.replace(steps=40, learning_rate=0.01)
    held = largest(fit(config).model)
    assert all(0.95 < v < 1.05 for v in held)  # one step of the power iteration at each use runs a little behind
    assert max(largest(fit(config.replace(spectral_norm=False)).model)) > 1.5


def test_an_mlp_with_spectral_norm_is_as_steep_as_one_at_most():
    """Layers of slope 1 and leaky ReLUs in a row: scores of two pictures differ by no more than the pictures do."""
    model = gan.build(FLAT.replace(discriminator=(32, 32, 32)))
    with torch.no_grad():
        for _ in range(30):
            model.discriminator(greys())
        model.eval()
        a, b = greys(200), greys(200, seed=1)
        b[100:] = (a[100:] + 0.01 * (b[100:] - 0.5)).clamp(0, 1)
        change = (model.score(a) - model.score(b)).abs()
        assert (change <= 1.02 * 2 * (a - b).flatten(1).norm(dim=1)).all()  # [0, 1] becomes [-1, 1]: twice as far


# ------------------------------------------------------------------------------------------------------- the networks


def test_the_notes_networks():
    config = gan.Config(**gan.NOTES)
    model = gan.build(config)
    linear = [[(m.in_features, m.out_features) for m in part if isinstance(m, nn.Linear)]
              for part in (model.generator, model.discriminator)]
    assert linear[0] == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    assert linear[1] == [(784, 1024), (1024, 512), (512, 256), (256, 1)]
    names = [[type(m).__name__ for m in part] for part in (model.generator, model.discriminator)]
    assert names[0] == ["Linear", "ReLU"] * 4 + ["Linear", "Unflatten", "Tanh"]
    assert names[1] == ["Flatten"] + ["Linear", "LeakyReLU"] * 3 + ["Linear"]
    assert all(m.negative_slope == 0.2 for m in model.discriminator if isinstance(m, nn.LeakyReLU))
    assert (config.learning_rate, config.beta1, config.beta2, config.epochs) == (2e-4, 0.5, 0.999, 100)
    assert model(torch.zeros(3, 100)).shape == (3, 1, 28, 28)


def test_the_published_generator():
    config = gan.PUBLISHED["dcgan"]
    model = gan.build(config)
    assert sum(p.numel() for p in model.generator.parameters()) == 279_809 <= 300_000
    assert (config.kind, config.latent, config.data, config.seed) == ("dcgan", 20, "mnist", 0)
    shapes, x = [], torch.randn(2, 20, generator=generator())
    for layer in model.generator:
        x = layer(x)
        shapes.append((type(layer).__name__, *x.shape[1:]))
    assert [s for s in shapes if s[0] not in ("GroupNorm", "SiLU")] == [
        ("Linear", 6272), ("Unflatten", 128, 7, 7), ("ConvTranspose2d", 64, 14, 14), ("ConvTranspose2d", 16, 28, 28),
        ("Conv2d", 1, 28, 28), ("Tanh", 1, 28, 28),
    ]
    x, shapes = greys(2), []
    for layer in model.discriminator:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[::2] == [(32, 14, 14), (64, 7, 7), (128, 4, 4), (2048,)] and shapes[-1] == (1,)


@given(st.sampled_from(("dcgan", "mlp")), st.integers(1, 6), st.booleans(), st.integers(1, 3), st.integers(1, 4))
def test_shapes_and_ranges_of_any_network(kind, latent, spectral_norm, size, batch):
    widths = (4 * size,) * (3 if kind == "dcgan" else size)
    config = gan.Config(
        kind=kind, latent=latent, generator=widths, discriminator=widths, spectral_norm=spectral_norm
    )
    model = gan.build(config)
    x = model(10 * torch.randn(batch, latent, generator=generator()))
    assert x.shape == (batch, 1, 28, 28) and x.min() >= -1 and x.max() <= 1
    assert model.score(greys(batch)).shape == (batch,)


@pytest.mark.parametrize("config", [TINY, FLAT])
def test_a_picture_does_not_depend_on_the_others_of_its_batch(config):
    model, z = gan.build(config).eval(), torch.randn(4, 5, generator=generator())
    x = greys(4)
    with torch.no_grad():
        assert torch.allclose(model(z)[1:2], model(z[1:2]), atol=1e-6)
        assert torch.allclose(model.score(x)[1:2], model.score(x[1:2]), atol=1e-6)


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b, c = gan.build(TINY), gan.build(TINY), gan.build(TINY.replace(seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = weights(a), weights(b), weights(c)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["generator.0.weight"], c["generator.0.weight"])


def test_the_score_is_the_discriminators_on_pictures_of_its_range():
    model = gan.build(TINY.replace(spectral_norm=False))
    x = greys()
    assert torch.equal(model.score(x), model.discriminator(2 * x - 1)[:, 0])


# ------------------------------------------------------------------------------------------------------------ the turns


def logits(model, x):
    """The discriminator's scores with its state of the power iteration left as it is."""
    was = model.training
    try:
        return model.eval().discriminator(x)[:, 0]
    finally:
        model.train(was)


@pytest.mark.parametrize("loss", gan.LOSSES)
@pytest.mark.parametrize("config", [TINY, FLAT], ids=["dcgan", "mlp"])
def test_the_turns_by_hand(config, loss):
    model = gan.build(config.replace(loss=loss, penalty=3.0, spectral_norm=False)).train()
    x, z, u = greys(), torch.randn(6, 5, generator=generator(1)), torch.rand(6, generator=generator(2))
    terms = gan.discriminator_turn(model, x, None, Fixed(z, u))
    fake = model(z)
    on_real, on_fake = logits(model, 2 * x - 1), logits(model, fake)
    want = gan.discriminator_loss(loss, on_real, on_fake)
    if loss == "wgan-gp":
        want = want + 3.0 * gan.gradient_penalty(model.discriminator, 2 * x - 1, fake, u)
    assert torch.allclose(terms["discriminator_loss"], want, rtol=1e-4, atol=1e-6)
    assert torch.allclose(terms["score_real"], on_real, atol=1e-5)
    assert torch.allclose(terms["score_fake"], on_fake, atol=1e-5)
    turn = gan.generator_turn(model, x, None, Fixed(z))
    assert turn.keys() == {"generator_loss"}
    assert torch.allclose(turn["generator_loss"], gan.generator_loss(loss, on_fake), rtol=1e-4, atol=1e-6)
    for values in (*terms.values(), *turn.values()):
        assert values.shape == (6,)
    # the generator stands still in the discriminator's turn, however its weights are marked; not so in its own
    terms["discriminator_loss"].mean().backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())
    turn["generator_loss"].mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.generator.parameters() if p.ndim > 1)


def test_right_is_the_share_of_correct_verdicts():
    class Knows(nn.Module):
        """A discriminator whose score is the first pixel."""

        def forward(self, x):
            return x[:, :1, 0, 0]

    class Gives(nn.Module):
        """A generator whose first pixel is the first latent."""

        def forward(self, z):
            return F.pad(z[:, :1], (0, 783)).view(-1, 1, 28, 28)

    x = torch.zeros(4, 1, 28, 28)
    x[:, 0, 0, 0] = torch.tensor([0.9, 0.7, 0.6, 0.1])  # scores 0.8, 0.4, 0.2, -0.8
    for loss, right in [("non-saturating", [1, 1, 0.5, 0]), ("saturating", [1, 1, 0.5, 0]),
                        ("least-squares", [1, 0.5, 0.5, 0.5])]:  # whose scores are drawn to 1 and 0: the middle is 1/2
        model = gan.build(TINY.replace(loss=loss))
        model.discriminator = Knows()
        model.generator = Gives()
        terms = gan.discriminator_turn(model, x, None, Fixed(double([-0.9], [-0.1], [0.3], [0.4]).float().expand(4, 5)))
        assert terms["right"].tolist() == right, loss


@pytest.mark.parametrize("scale_real", [True, False])
def test_the_planted_slip_leaves_real_pictures_in_zero_to_one(scale_real):
    model = gan.build(TINY.replace(scale_real=scale_real))
    x, seen = greys(), []
    model.discriminator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    z = torch.randn(6, 5, generator=generator(1))
    gan.discriminator_turn(model, x, None, Fixed(z))
    real, fake = seen.pop().chunk(2)
    assert torch.equal(real, 2 * x - 1 if scale_real else x)
    assert torch.allclose(fake, model(z), atol=1e-6) and fake.min() < -0.01  # generated ones are the same
    model.score(x)
    assert torch.equal(seen.pop(), real)  # the same scale where scores are shown


def test_the_turns_are_what_the_configuration_says():
    first, second = gan.turns(TINY.replace(critic_steps=5, discriminator_rate=0.25, beta1=0.1, beta2=0.9))
    assert (first.part, first.loss, first.rate, first.betas, first.every, first.average) == (
        "discriminator", "discriminator_loss", 0.25, (0.1, 0.9), 1, False)
    assert (second.part, second.loss, second.rate, second.betas, second.every, second.average) == (
        "generator", "generator_loss", 1.0, (0.1, 0.9), 5, True)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize(("base", "changes"), [
    *[(base, {"loss": loss}) for base in (TINY, FLAT) for loss in gan.LOSSES],
    (TINY, {"loss": "wgan-gp", "critic_steps": 2}),
    (TINY, {"loss": "wgan-gp", "spectral_norm": False, "discriminator_rate": 2.0}),
    (TINY, {"spectral_norm": False}),
    (TINY, {"scale_real": False}),
    (TINY, {"loss": "wgan-gp", "precision": "bf16"}),
    (TINY, {"precision": "bf16", "ema": 0.9}),
], ids=str)
def test_every_game_trains(base, changes):
    config = base.replace(**changes)
    run = fit(config)
    assert run.complete and run.step == 4 and not run.model.training
    first = weights(gan.build(config))
    for name, value in weights(run.model).items():
        assert value.isfinite().all(), name
        if "weight" in name and "_u" not in name and "_v" not in name:
            assert not torch.equal(value, first[name]), f"{name} has not moved"
    names = {"discriminator_loss", "score_real", "score_fake", "generator_loss"}
    names |= {"right"} if config.loss != "wgan-gp" else set()  # a critic gives no verdict
    for row in run.history:
        moved = row["step"] % config.critic_steps == 0
        assert row.keys() - {"step", "epoch", "seconds"} == names - (set() if moved else {"generator_loss"})
        assert all(math.isfinite(row[name]) for name in names & row.keys()) and 0 <= row.get("right", 0) <= 1
    picture = gan.sample(run.model, 2, generator=generator())
    assert picture.shape == (2, 1, 28, 28)


def test_training_is_seeded():
    a, b, c = (weights(fit(TINY.replace(seed=s)).model) for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_the_moving_average_is_the_generators_alone():
    plain, averaged = (weights(fit(TINY.replace(steps=12, ema=ema)).model) for ema in (0.0, 0.9))
    for name, value in plain.items():
        same = torch.equal(value, averaged[name])
        assert same == name.startswith("discriminator"), name


def test_a_generator_learns_the_one_picture_there_is():
    one = data.load("mnist-mini").train_images[:1]
    config = FLAT.replace(steps=200, batch_size=16, generator=(64,), discriminator=(64,), learning_rate=2e-3)
    run = fit(config, images=one.expand(64, 28, 28).contiguous())
    x, z = data.to_unit(one), torch.randn(50, 5, generator=generator())

    def distance(model):
        return (gan.sample(model, 50, z=z) - x).square().flatten(1).sum(1).mean().item()

    assert run.complete
    before, after = distance(gan.build(config)), distance(run.model)
    assert after < before / 4, (before, after)


def test_a_run_has_its_folder_and_goes_on(tmp_path):
    run = fit(TINY.replace(ema=0.9), out=tmp_path / "run")
    kept = checkpoints.read_weights((tmp_path / "run/weights.safetensors").read_bytes())
    assert all(torch.equal(v, kept[k]) for k, v in weights(run.model).items())
    assert runs.read_json(tmp_path / "run/results.json")["steps"] == 4
    again = fit(TINY.replace(ema=0.9), out=tmp_path / "run", resume=True)
    assert again.step == 4 and all(torch.equal(v, kept[k]) for k, v in weights(again.model).items())


def test_presets():
    test, cpu, gpu = (gan.Config.preset(s) for s in ("test", "cpu", "gpu"))
    assert test.data == cpu.data == "mnist-mini" and gpu.data == "mnist"
    for preset in (test, cpu, gpu):
        assert (preset.kind, preset.latent, preset.loss) == ("dcgan", 20, gan.PUBLISHED["dcgan"].loss) and preset.ema
    with pytest.raises(Error, match=r"unknown scale 'gpus'. There are: test, cpu, gpu. Did you mean 'gpu'\?"):
        gan.Config.preset("gpus")


# ------------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("config", [TINY, FLAT])
def test_samples_are_seeded_and_lie_in_zero_to_one(config):
    model = gan.build(config).eval()
    before = torch.get_rng_state()
    a, b, c = (gan.sample(model, 7, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert a.shape == (7, 1, 28, 28) and a.dtype == torch.float32 and not a.requires_grad
    assert a.min() >= 0 and a.max() <= 1 and data.check_pictures(a) is a
    assert torch.equal(a, b) and not torch.equal(a, c)
    z = torch.randn(7, 5, generator=generator(0))
    assert torch.equal(gan.sample(model, 7, z=z), a)
    assert torch.equal(a, ((model(z) + 1) / 2).detach())
    torch.manual_seed(3)
    loose = gan.sample(model, 3)
    torch.manual_seed(3)
    assert torch.equal(loose, gan.sample(model, 3)) and not torch.equal(loose, gan.sample(model, 3))


def test_many_samples_come_in_pieces():
    model, z = gan.build(FLAT).eval(), torch.randn(2100, 5, generator=generator())
    together = gan.sample(model, 2100, z=z)
    assert together.shape == (2100, 1, 28, 28)
    apart = torch.cat([gan.sample(model, 700, z=part) for part in z.split(700)])
    assert torch.allclose(together, apart, atol=1e-6)


def test_evaluate_measures_what_the_seed_draws(monkeypatch):
    model, asked = gan.build(TINY).eval(), []

    def likeness(x, seed):
        asked.append((x, seed))
        return {"n": len(x)}

    monkeypatch.setattr(metrics, "likeness", likeness)
    assert gan.evaluate(model, "mnist-mini", n=70, seed=3) == {"n": 70, "seed": 3}
    x, seed = asked.pop()
    assert seed == 3 and torch.equal(x, gan.sample(model, 70, generator=generator(3)))
    assert gan.evaluate(model, n=None)["n"] == 10_000


def test_reproduce_trains_measures_and_writes_a_card(tmp_path, monkeypatch):
    config = TINY.replace(ema=0.5)
    monkeypatch.setitem(gan.PUBLISHED, "tiny", config)
    monkeypatch.setattr(metrics, "likeness", lambda x, seed: {"n": len(x), "mean": x.double().mean().item()})
    out = tmp_path / "tiny"
    card = gan.reproduce("tiny", out, device="cpu")
    path = out / "tiny.safetensors"
    assert card == checkpoints.card(path) and gan.Config(**card["config"]) == config
    model = checkpoints.load(path, "cpu")
    assert isinstance(model, gan.GAN) and not model.training
    again, mini = gan.evaluate(model, "mnist-mini", n=1000), card["metrics"]["mini"]  # of the float16 weights
    assert (again["n"], again["seed"]) == (mini["n"], mini["seed"]) == (1000, 0)
    assert again["mean"] == pytest.approx(mini["mean"], rel=1e-7)  # rounding differs with the layout in memory
    assert card["metrics"]["test"]["n"] == 10_000
    assert (card["family"], card["seed"], card["steps"]) == ("gan", 0, 4)
    assert card["data_sha256"] == data.digest(data.load("mnist-mini").train_images)


# ----------------------------------------------------------------------------------------------------------- bad input


def test_the_published_network_reaches_the_books_goals():
    """test_checkpoints measures part of the card again, so what it says can be relied on."""
    card = checkpoints.card("dcgan")
    test = card["metrics"]["test"]
    assert test["n"] == 10_000 and test["ratio"] <= 5
    assert test["ratio"] == pytest.approx(test["frechet"] / test["floor"])
    assert all(0.05 <= share <= 0.15 for share in test["shares"])  # every digit within half of its share
    generator = checkpoints.load("dcgan", "cpu").generator
    assert sum(p.numel() for p in generator.parameters()) <= 300_000



@pytest.mark.parametrize("wrong", [
    torch.zeros(3, 4), torch.zeros(3, 6), torch.zeros(5), torch.zeros(1, 3, 5), torch.zeros(3, 5, 1), [0.0] * 5, None,
], ids=lambda w: str(tuple(w.shape)) if torch.is_tensor(w) else str(w))
def test_a_latent_of_the_wrong_size_is_refused(wrong):
    model = gan.build(TINY)
    what = tuple(wrong.shape) if torch.is_tensor(wrong) else type(wrong).__name__
    with pytest.raises(Error) as caught:
        model(wrong)
    assert str(caught.value) == f"z must have shape (batch, 5), got {what}"
    if wrong is not None:
        with pytest.raises(Error) as caught:
            gan.sample(model, 3, z=wrong)
        assert str(caught.value) == f"z must have shape (3, 5), got {what}"


@pytest.mark.parametrize("wrong", [
    2 * greys() - 1, greys() * 1.1, greys().mul(255).to(torch.uint8), greys()[:, 0], greys().flatten(1),
    torch.rand(2, 3, 28, 28), torch.rand(2, 1, 32, 32), torch.full((2, 1, 28, 28), math.nan), greys().numpy(),
], ids=["signed", "above 1", "uint8", "no channel", "flat", "colour", "large", "nan", "numpy"])
def test_pictures_out_of_range_are_refused(wrong):
    with pytest.raises(Error, match="pictures must"):
        gan.build(TINY).score(wrong)


@pytest.mark.parametrize(("images", "what"), [
    (greys(64)[:, 0], "uint8"), (pictures()[:, :27], r"expected pictures of shape \(n, 28, 28\), got \(64, 27, 28\)"),
    (pictures()[0], "uint8"), (pictures().numpy(), "ndarray"), (pictures()[:15], "batch_size=16 is more than the 15"),
])
def test_wrong_training_pictures_are_refused(images, what, tmp_path):
    with pytest.raises(Error, match=what):
        gan.train(TINY, images=images, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_unknown_loss_is_refused_everywhere():
    what = r"unknown loss 'wgan'. There are: saturating, non-saturating, least-squares, wgan-gp. Did you mean 'wgan-gp'"
    for ask in (
        lambda: gan.discriminator_loss("wgan", torch.zeros(1), torch.zeros(1)),
        lambda: gan.generator_loss("wgan", torch.zeros(1)),
        lambda: gan.Config(loss="wgan"),
        lambda: TINY.replace(loss="wgan"),
        lambda: TINY.with_assignments(["loss=wgan"]),
    ):
        with pytest.raises(Error, match=what):
            ask()


@pytest.mark.parametrize(("changes", "what"), [
    ({"kind": "cnn"}, "unknown kind 'cnn'. There are: dcgan, mlp"),
    ({"latent": 0}, "latent >= 1"),
    ({"latent": -1}, "latent >= 1"),
    ({"critic_steps": 0}, "critic_steps >= 1"),
    ({"generator": (8, 4)}, r"a dcgan has three widths .* got \(8, 4\) and \(4, 8, 8\)"),
    ({"discriminator": (8, 4, 4, 4)}, "a dcgan has three widths"),
    ({"generator": ()}, "a dcgan has three widths"),
    ({"kind": "mlp", "generator": ()}, "at least one width in each network"),
    ({"kind": "mlp", "discriminator": ()}, "at least one width in each network"),
    ({"generator": (8, 6, 4)}, r"multiples of 4, got \(8, 6, 4\)"),
    ({"generator": (8, 0, 4)}, "positive whole numbers"),
    ({"generator": 8}, "generator takes a value of type tuple"),
    ({"penalty": -1.0}, "need penalty >= 0"),
    ({"penalty": math.nan}, "penalty takes a finite number"),
    ({"discriminator_rate": 0.0}, "discriminator_rate > 0"),
    ({"discriminator_rate": math.inf}, "discriminator_rate takes a finite number"),
    ({"beta1": 1.0}, "need 0 <= beta1 < 1"),
    ({"beta1": -0.1}, "need 0 <= beta1 < 1"),
    ({"beta2": 1.0}, "0 <= beta2 < 1"),
    ({"validation": 100}, "a game has no validation loss: set validation=0"),
    ({"spectral_norm": 1}, "spectral_norm takes a value of type bool"),
    ({"latent": 2.5}, "latent takes a value of type int"),
    ({"latents": 5}, "unknown setting 'latents'.*Did you mean 'latent'"),
    ({"data": "minst"}, "unknown data set 'minst'.*Did you mean 'mnist'"),
], ids=str)
def test_bad_configurations_are_refused(changes, what):
    with pytest.raises(Error, match=what):
        TINY.replace(**changes)


def test_other_things_are_refused():
    model = gan.build(TINY)
    for ask, what in [
        (lambda: gan.sample(model, 0), "n must be at least 1, got 0"),
        (lambda: gan.sample(model, -3), "n must be at least 1, got -3"),
        (lambda: gan.evaluate(model, "fashion-mnist"), "knows digits: evaluate on mnist or mnist-mini"),
        (lambda: gan.evaluate(model, "minst"), "unknown data set 'minst'.*Did you mean 'mnist'"),
        (lambda: gan.evaluate(model, n=0), "n must be at least 1, got 0"),
        (lambda: gan.reproduce("dcgans", "nowhere"), "unknown published network 'dcgans'.*Did you mean 'dcgan'"),
    ]:
        with pytest.raises(Error, match=what):
            ask()


def test_too_few_pictures_for_the_frechet_distance_say_how_many_are_needed():
    """Fewer samples than the classifier has features: the covariance would be singular."""
    with pytest.raises(Error, match=r"needs at least 65 pictures.*got 64"):
        gan.evaluate(gan.build(TINY).eval(), n=64)
