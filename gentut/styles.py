"""What StyleGAN changes in a generator, as small functions, and what they do to a generator that was trained without.

A DCGAN is told z once, at its first layer. StyleGAN turns z into a w by a mapping network, tells w to every layer as a
style s, one number for each input channel, and adds a picture of noise at every layer. The style scales the layer's
weights, and the scaled weights are brought back to length 1, so that no layer's output grows out of hand:

    w'_ijk = s_i · w_ijk        w''_ijk = w'_ijk / sqrt(Σ_ik w'_ijk² + ε)

with i an input channel, j an output channel and k a place in the kernel: Karras et al., arXiv:1912.04958, equations 1
to 3. The mapping network and the noise are those of their first paper, arXiv:1812.04948. No StyleGAN is trained here:
`restyled` puts styles and noise into the convolutions of our own DCGAN, to show what each of them moves.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, data
from gentut.networks import mlp


def modulate(weight, style, *, demodulate=True, eps=1e-8):
    """The weights of a convolution as each picture's style makes them: arXiv:1912.04958, equations 1 to 3.

    weight: (out, in, k, k). style: (batch, in). Returns (batch, out, in, k, k). With `demodulate` the weights of each
    output channel have length 1, so independent inputs of variance 1 give outputs of variance 1, whatever the style.
    """
    if weight.ndim != 4 or style.ndim != 2 or style.shape[1] != weight.shape[1]:
        raise Error("need weight (out, in, k, k) and style (batch, in), got "
                    f"{tuple(weight.shape)} and {tuple(style.shape)}")
    w = style[:, None, :, None, None] * weight  # (batch, out, in, k, k)
    return w * (w.square().sum((2, 3, 4), keepdim=True) + eps).rsqrt() if demodulate else w


def modulated_conv2d(x, weight, style, *, demodulate=True, stride=1, padding=0, transposed=False):
    """A convolution whose weights are modulated by a style, another for each picture.

    x: (batch, in, height, width). style: (batch, in). weight: (out, in, k, k), or for a transposed convolution
    (in, out, k, k), as PyTorch has them. A transposed convolution of stride t shows each output only about one in t²
    of the kernel's places: there demodulation gives outputs of variance about 1 / t².
    """
    if transposed:
        weight = weight.transpose(0, 1)
    if x.ndim != 4 or tuple(x.shape[:2]) != tuple(style.shape):
        raise Error(f"need x (batch, in, height, width) and style (batch, in), got {tuple(x.shape)} and "
                    f"{tuple(style.shape)}")
    w = modulate(weight, style, demodulate=demodulate)
    n, out, channels = w.shape[:3]
    x = x.reshape(1, n * channels, *x.shape[2:])  # a group of channels for each picture
    if transposed:
        w = w.transpose(1, 2).reshape(n * channels, out, *w.shape[3:])
        y = F.conv_transpose2d(x, w, stride=stride, padding=padding, groups=n)
    else:
        y = F.conv2d(x, w.flatten(0, 1), stride=stride, padding=padding, groups=n)
    return y.view(n, out, *y.shape[2:])


class Normalise(nn.Module):
    """z (batch, latent) → z scaled to a root mean square of 1: only its direction counts."""

    def forward(self, z):
        return z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def mapping(latent, width=64, depth=8):
    """A mapping network, z (batch, latent) → w (batch, width), as an nn.Sequential: arXiv:1812.04948, figure 1b.

    A w need not be spread evenly in all directions as z is: the network learns to bend the space to what the pictures
    vary in.
    """
    if min(latent, width, depth) < 1:
        raise Error(f"latent, width and depth must be at least 1, got {latent}, {width} and {depth}")

    def leaky():
        return nn.LeakyReLU(0.2)

    return nn.Sequential(Normalise(), *mlp((latent, *[width] * depth), leaky), leaky())


def add_noise(x, noise, strength):
    """x + strength · noise: one picture of noise, (batch, 1, height, width), on all features (batch, c, height, width).

    strength: a number, or one for each feature, (c,); a StyleGAN learns it.
    """
    if noise.shape != (len(x), 1, *x.shape[2:]):
        raise Error(f"noise must have shape {(len(x), 1, *x.shape[2:])} for features {tuple(x.shape)}, got "
                    f"{tuple(noise.shape)}")
    strength = torch.as_tensor(strength, dtype=x.dtype, device=x.device)
    if strength.ndim > 1 or (strength.ndim and len(strength) != x.shape[1]):
        raise Error(f"strength must be one number, or one for each of {x.shape[1]} features, got "
                    f"{tuple(strength.shape)}")
    return x + strength.view(-1, 1, 1) * noise


def channel_scales(x):
    """Features (batch, c, height, width) → the standard deviation of each channel over its places, (batch, c).

    The channels' scales say how strongly each feature is there, not where: StyleGAN's "style" of a picture.
    """
    return x.flatten(2).std(2, correction=0)


# --------------------------------------------------------------------------------------------------- on our generator


def convolutions(model):
    """The convolutions of a gan.GAN's generator in order; restyled counts them 0, 1, 2. Raises Error if it has none."""
    found = [m for m in model.generator if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    if not found:
        raise Error("styles work on convolutions: this generator has none (kind='mlp')")
    return found


@torch.no_grad()
def features(model, z):
    """What each convolution of the generator is given: a list of (batch, channels, height, width), as in restyled."""
    given, handles = [], []
    for conv in convolutions(model):
        handles.append(conv.register_forward_pre_hook(lambda module, args: given.append(args[0])))
    try:
        model(z)
    finally:
        for handle in handles:
            handle.remove()
    return given


@torch.no_grad()
def restyled(model, z, styles=None, noise=None, *, demodulate=True, generator=None):
    """The pictures of z with styles and noise put into the generator, (batch, 1, 28, 28) in [0, 1].

    styles: {convolution: style (batch, channels) or (channels,)}, as `convolutions` counts them. Demodulation brings
    each output channel's weights back to the length that training gave them, not to 1: so a style of ones
    changes nothing, and all that is seen is the style's doing.
    noise: {convolution: strength}, added to what the convolution gives, N(0, 1) from `generator`, one for each place.

    This generator never learned to use either. Its group norm, which follows each convolution but the last, takes back
    what scales all channels of a group alike.
    """
    styles, noise = styles or {}, noise or {}
    convs = convolutions(model)
    for k in (*styles, *noise):
        if k not in range(len(convs)):
            raise Error(f"there is no convolution {k!r}: the generator has 0 to {len(convs) - 1}")

    def changed(k, conv):
        def hook(module, args, y):
            x = args[0]
            if k in styles:
                y = _styled(conv, x, _style(styles[k], x), demodulate)
            if k in noise:
                where = generator.device if generator else None
                eps = torch.randn(len(y), 1, *y.shape[2:], generator=generator, device=where)
                y = add_noise(y, eps.to(y.device), noise[k])
            return y

        return hook

    handles = [conv.register_forward_hook(changed(k, conv)) for k, conv in enumerate(convs)]
    try:
        return data.from_signed(model(z))
    finally:
        for handle in handles:
            handle.remove()


def _style(style, x):
    """A style as (batch, channels) for the features x, or Error."""
    style = torch.as_tensor(style, dtype=x.dtype, device=x.device)
    if tuple(style.shape) not in ((x.shape[1],), tuple(x.shape[:2])):
        raise Error(f"a style here has shape ({x.shape[1]},) or {tuple(x.shape[:2])}, got {tuple(style.shape)}")
    return style.expand(x.shape[:2])


def _styled(conv, x, style, demodulate):
    """What `conv` gives with modulated weights; demodulated to the length that each output channel had."""
    transposed = isinstance(conv, nn.ConvTranspose2d)
    weight = conv.weight
    options = {"stride": conv.stride, "padding": conv.padding, "transposed": transposed}
    y = modulated_conv2d(x, weight, style, demodulate=demodulate, **options)
    if demodulate:
        y = y * (weight.transpose(0, 1) if transposed else weight).flatten(1).norm(dim=1).view(-1, 1, 1)
    return y + conv.bias.view(-1, 1, 1)


def random_style(channels, strength, generator=None):
    """A style for experiments, (channels,): log s_i ~ N(0, strength²), so that weaker and stronger are as likely."""
    if channels < 1 or not (strength >= 0 and math.isfinite(strength)):
        raise Error(f"need channels >= 1 and a strength of 0 or more, got {channels} and {strength}")
    return (strength * torch.randn(channels, generator=generator)).exp()
