"""StyleGAN's pieces: each equation against a second way to know it, and what a style and noise can and cannot move."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gentut import Error, gan, styles

CONFIG = gan.Config(generator=(16, 8, 8), discriminator=(4, 4, 4))


def normal(*shape, seed=0, kind=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


@pytest.fixture(scope="module")
def model():
    return gan.build(CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def z():
    return normal(5, 20, kind=torch.float32)


# ------------------------------------------------------------------------------------------- the modulated convolution


def test_equations_1_to_3_number_by_number():
    weight, style = normal(3, 2, 2, 2), normal(4, 2, seed=1)
    got = styles.modulate(weight, style)
    plain = styles.modulate(weight, style, demodulate=False)
    assert got.shape == plain.shape == (4, 3, 2, 2, 2)
    for n in range(4):
        for j in range(3):
            scaled = {(i, a, b): style[n, i].item() * weight[j, i, a, b].item()
                      for i in range(2) for a in range(2) for b in range(2)}
            sigma = math.sqrt(sum(w * w for w in scaled.values()) + 1e-8)
            for (i, a, b), w in scaled.items():
                assert plain[n, j, i, a, b].item() == pytest.approx(w, rel=1e-12)
                assert got[n, j, i, a, b].item() == pytest.approx(w / sigma, rel=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_each_picture_is_convolved_with_weights_of_its_own(transposed, stride, padding):
    x, style = normal(4, 6, 9, 7), normal(4, 6, seed=1)
    weight = normal(6, 5, 4, 4, seed=2) if transposed else normal(5, 6, 4, 4, seed=2)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    for demodulate in (False, True):
        got = styles.modulated_conv2d(
            x, weight, style, demodulate=demodulate, stride=stride, padding=padding, transposed=transposed
        )
        for n in range(4):
            w = styles.modulate(weight.transpose(0, 1) if transposed else weight, style[n : n + 1],
                                demodulate=demodulate)[0]
            own = convolve(x[n : n + 1], w.transpose(0, 1) if transposed else w, stride=stride, padding=padding)
            assert torch.allclose(got[n : n + 1], own, rtol=1e-10, atol=1e-12)


@given(st.integers(0, 1000), st.booleans())
def test_modulating_weights_is_scaling_the_inputs(seed, transposed):
    """Without demodulation the style may as well act on the inputs; with it, on inputs and outputs."""
    x, style = normal(3, 4, 6, 6, seed=seed), normal(3, 4, seed=seed + 1)
    weight = normal(4, 5, 3, 3, seed=seed + 2) if transposed else normal(5, 4, 3, 3, seed=seed + 2)
    scaled = (F.conv_transpose2d if transposed else F.conv2d)(x * style[:, :, None, None], weight)
    plain = styles.modulated_conv2d(x, weight, style, demodulate=False, transposed=transposed)
    assert torch.allclose(plain, scaled, atol=1e-12)
    squares = (weight.transpose(0, 1) if transposed else weight).square().sum((2, 3))  # (out, in)
    sigma = (style.square() @ squares.T + 1e-8).sqrt()
    got = styles.modulated_conv2d(x, weight, style, transposed=transposed)
    assert torch.allclose(got, scaled / sigma[:, :, None, None], atol=1e-12)


@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_demodulated_weights_have_length_one_whatever_the_size_of_the_style(size, seed):
    weight, style = normal(3, 4, 3, 3, seed=seed), normal(2, 4, seed=seed + 1)
    w = styles.modulate(weight, size * style)
    lengths = w.flatten(2).norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)
    assert (lengths <= 1).all()
    assert torch.allclose(w, styles.modulate(weight, style), atol=2e-3)  # only the style's direction counts
    assert torch.allclose(w, -styles.modulate(weight, -size * style))


def test_demodulation_keeps_the_variance_at_one():
    x, weight = normal(8, 16, 40, 40), 3 * normal(4, 16, 3, 3, seed=1)
    style = normal(8, 16, seed=2).exp()
    variances = styles.modulated_conv2d(x, weight, style).var((2, 3))
    assert variances.mean().item() == pytest.approx(1, abs=0.03) and (variances - 1).abs().max() < 0.25
    grown = styles.modulated_conv2d(x, weight, style, demodulate=False).var((2, 3))
    assert grown.min() > 100  # what would go on growing from layer to layer
    # a transposed one of stride 2 shows each output one in four of the kernel's places
    up = styles.modulated_conv2d(x, normal(16, 4, 4, 4, seed=1), style, stride=2, padding=1, transposed=True)
    assert up[..., 1:-1, 1:-1].var((2, 3)).mean().item() == pytest.approx(1 / 4, abs=0.02)


def test_a_style_of_zeros_gives_zeros_and_not_nan():
    y = styles.modulated_conv2d(normal(2, 3, 5, 5), normal(4, 3, 3, 3), torch.zeros(2, 3, dtype=torch.float64))
    assert (y == 0).all()


def test_gradients_reach_pictures_weights_and_styles():
    parts = [normal(*shape, seed=s).requires_grad_() for s, shape in enumerate([(2, 3, 4, 4), (2, 3, 3, 3), (2, 3)])]
    assert torch.autograd.gradcheck(styles.modulated_conv2d, parts)


# -------------------------------------------------------------------------------------------- the mapping and the noise


def test_the_mapping_network():
    net = styles.mapping(20, width=12, depth=3)
    assert [type(m).__name__ for m in net] == ["Normalise"] + ["Linear", "LeakyReLU"] * 3
    assert [tuple(m.weight.shape) for m in net if isinstance(m, nn.Linear)] == [(12, 20), (12, 12), (12, 12)]
    assert sum(isinstance(m, nn.Linear) for m in styles.mapping(20)) == 8  # as in the paper
    z = normal(6, 20, kind=torch.float32)
    w = net(z)
    assert w.shape == (6, 12)
    assert torch.allclose(net(7 * z), w, atol=1e-6) and not torch.allclose(net(-z), w, atol=1e-3)


@given(st.integers(1, 30), st.floats(0.1, 1e3), st.integers(0, 1000))
def test_normalised_codes_have_a_root_mean_square_of_one(latent, size, seed):
    z = normal(4, latent, seed=seed) + 0.1
    out = styles.Normalise()(size * z)
    assert torch.allclose(out.square().mean(1), torch.ones(4, dtype=out.dtype), atol=1e-2)
    assert torch.allclose(F.cosine_similarity(out, z), torch.ones(4, dtype=out.dtype))


def test_noise_is_one_picture_for_all_features():
    x, noise = normal(3, 4, 5, 6), normal(3, 1, 5, 6, seed=1)
    assert torch.equal(styles.add_noise(x, noise, 0.0), x)
    assert torch.allclose(styles.add_noise(x, noise, 0.5) - x, 0.5 * noise.expand_as(x))
    strength = torch.tensor([0.0, 1.0, -2.0, 3.0], dtype=x.dtype)
    each = styles.add_noise(x, noise, strength) - x
    for c in range(4):
        assert torch.allclose(each[:, c], strength[c] * noise[:, 0], atol=1e-12)


def test_channel_scales_are_standard_deviations():
    x = normal(3, 4, 5, 6)
    assert torch.allclose(styles.channel_scales(x), torch.from_numpy(x.numpy().std(axis=(2, 3))))
    factors = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=x.dtype)
    assert torch.allclose(styles.channel_scales(x * factors[:, None, None] + 7), styles.channel_scales(x) * factors)


def test_random_styles():
    a, b = (styles.random_style(5000, 0.5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and (a > 0).all()
    assert a.log().mean().abs() < 0.03 and a.log().std().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(styles.random_style(3, 0.0), torch.ones(3))


# --------------------------------------------------------------------------------------------------- on our generator


def test_the_convolutions_and_what_they_are_given(model, z):
    convs, given = styles.convolutions(model), styles.features(model, z)
    assert [type(c).__name__ for c in convs] == ["ConvTranspose2d", "ConvTranspose2d", "Conv2d"]
    assert [tuple(x.shape) for x in given] == [(5, 16, 7, 7), (5, 8, 14, 14), (5, 8, 28, 28)]
    parts = [m for m in model.generator]
    assert torch.allclose(given[0], nn.Sequential(*parts[: parts.index(convs[0])])(z))
    assert torch.equal(nn.Sequential(*parts[parts.index(convs[2]) :])(given[2]), model(z))


def test_styles_of_ones_and_noise_of_strength_zero_change_nothing(model, z):
    plain = gan.sample(model, 5, z=z)
    assert torch.equal(styles.restyled(model, z), plain)
    ones = {k: torch.ones(c) for k, c in enumerate((16, 8, 8))}
    for demodulate in (True, False):
        assert torch.allclose(styles.restyled(model, z, ones, demodulate=demodulate), plain, atol=1e-6)
    assert torch.allclose(styles.restyled(model, z, noise={0: 0.0, 1: 0.0, 2: 0.0}), plain, atol=1e-7)
    assert torch.equal(gan.sample(model, 5, z=z), plain)  # the hooks are gone


def by_hand(model, z, k, style, length):
    """The pictures with convolution k's weights scaled by one style and, if `length`, brought back to their length."""
    with torch.no_grad():
        changed = gan.build(CONFIG)
        changed.load_state_dict(model.state_dict())
        conv = styles.convolutions(changed)[k]
        transposed = isinstance(conv, nn.ConvTranspose2d)
        own = (0, 2, 3) if transposed else (1, 2, 3)  # all but the output channels
        before = conv.weight.square().sum(own, keepdim=True).sqrt()
        conv.weight.mul_(style.view((-1, 1, 1, 1) if transposed else (1, -1, 1, 1)))
        if length:
            conv.weight.mul_(before / conv.weight.square().sum(own, keepdim=True).sqrt())
        return gan.sample(changed, len(z), z=z)


@pytest.mark.parametrize(("k", "channels"), [(0, 16), (1, 8), (2, 8)])
def test_a_style_is_what_scaled_weights_do(model, z, k, channels):
    style = styles.random_style(channels, 1.0, torch.Generator().manual_seed(k))
    for demodulate in (True, False):
        got = styles.restyled(model, z, {k: style}, demodulate=demodulate)
        assert torch.allclose(got, by_hand(model, z, k, style, demodulate), atol=1e-5)
        assert (got - gan.sample(model, 5, z=z)).abs().max() > 0.01
    assert torch.allclose(  # demodulated, only the style's direction counts
        styles.restyled(model, z, {k: style}), styles.restyled(model, z, {k: 50 * style}), atol=1e-4
    )


def test_each_picture_has_its_own_style(model, z):
    each = torch.stack([styles.random_style(8, 1.0, torch.Generator().manual_seed(n)) for n in range(5)])
    together = styles.restyled(model, z, {1: each})
    for n in range(5):
        alone = styles.restyled(model, z[n : n + 1], {1: each[n]})
        assert torch.allclose(together[n : n + 1], alone, atol=1e-5)


def test_styles_of_several_layers_and_noise_go_together(model, z):
    at = {0: styles.random_style(16, 1.0, torch.Generator().manual_seed(0)),
          2: styles.random_style(8, 1.0, torch.Generator().manual_seed(1))}
    both, one = styles.restyled(model, z, at), styles.restyled(model, z, {0: at[0]})
    assert not torch.allclose(both, one, atol=1e-3)
    draws = [styles.restyled(model, z, at, {1: 0.5}, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    for p in (both, *draws):
        assert p.shape == (5, 1, 28, 28) and p.min() >= 0 and p.max() <= 1 and not p.requires_grad


def test_noise_is_added_to_what_the_convolution_gives(model, z):
    eps = torch.randn(5, 1, 14, 14, generator=torch.Generator().manual_seed(4))
    parts, conv = list(model.generator), styles.convolutions(model)[0]
    at = parts.index(conv) + 1
    with torch.no_grad():
        y = nn.Sequential(*parts[:at])(z) + 0.3 * eps
        want = (nn.Sequential(*parts[at:])(y) + 1) / 2
    got = styles.restyled(model, z, noise={0: 0.3}, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(got, want, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ refused


def test_wrong_things_are_refused(model, z):
    x, w, s = normal(2, 3, 5, 5), normal(4, 3, 3, 3), normal(2, 3)
    mlp = gan.build(gan.Config(kind="mlp", generator=(8,), discriminator=(8,)))
    for ask, what in [
        (lambda: styles.modulate(w[0], s), r"weight \(out, in, k, k\) and style .*\(3, 3, 3\) and \(2, 3\)"),
        (lambda: styles.modulate(w, s[:, :2]), r"got \(4, 3, 3, 3\) and \(2, 2\)"),
        (lambda: styles.modulated_conv2d(x, w, s[:1]), r"got \(2, 3, 5, 5\) and \(1, 3\)"),
        (lambda: styles.modulated_conv2d(x[0], w, s), r"got \(3, 5, 5\) and \(2, 3\)"),
        (lambda: styles.modulated_conv2d(x, w, s, transposed=True), r"got \(3, 4, 3, 3\) and \(2, 3\)"),
        (lambda: styles.mapping(0), "latent, width and depth must be at least 1, got 0, 64 and 8"),
        (lambda: styles.mapping(20, depth=0), "got 20, 64 and 0"),
        (lambda: styles.add_noise(x, normal(2, 3, 5, 5), 1.0), r"noise must have shape \(2, 1, 5, 5\).*\(2, 3, 5, 5\)"),
        (lambda: styles.add_noise(x, normal(2, 1, 5, 5), [1.0, 2.0]), r"one for each of 3 features, got \(2,\)"),
        (lambda: styles.random_style(0, 1.0), "channels >= 1"),
        (lambda: styles.random_style(3, -1.0), "strength of 0 or more"),
        (lambda: styles.random_style(3, math.nan), "strength of 0 or more"),
        (lambda: styles.convolutions(mlp), "this generator has none"),
        (lambda: styles.restyled(mlp, z), "this generator has none"),
        (lambda: styles.restyled(model, z, {3: torch.ones(8)}), "no convolution 3: the generator has 0 to 2"),
        (lambda: styles.restyled(model, z, noise={-1: 1.0}), "no convolution -1"),
        (lambda: styles.restyled(model, z, {0: torch.ones(8)}), r"has shape \(16,\) or \(5, 16\), got \(8,\)"),
        (lambda: styles.restyled(model, z, {0: torch.ones(2, 16)}), r"got \(2, 16\)"),
        (lambda: styles.restyled(model, z[:, :3]), r"z must have shape \(batch, 20\), got \(5, 3\)"),
    ]:
        with pytest.raises(Error, match=what):
            ask()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())  # also after an error
