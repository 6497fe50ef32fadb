"""The VAE chapter's widgets: a latent space under the pointer, and moons between two codes."""

import anywidget
import numpy as np
import torch
import traitlets
from torch import nn

from gentut import Error, data

from . import base

NOTES_EXTENT = 1.6448536269514722  # norm.ppf(0.95): where the notes' grid of norm.ppf(linspace(0.05, 0.95, n)) ends
MOST_CODES = 2000
EXAMPLES = 2  # test digits a class that the reader can take instead of drawing
DIGITS = tuple("0123456789")


class LatentGrid(anywidget.AnyWidget):
    """A 2-D latent space: codes of test pictures, decoded tiles, and a pad to draw a digit that is encoded in the page.

    Made by `LatentGrid.from_model`. In a notebook `widget.z` is the point the reader chose (and may be set),
    `widget.drawing` the digit that the encoder was given: 784 whole numbers from 0 to 255, or [] before one is drawn.
    """

    _esm = base.esm("vae-latent-grid.js")
    _css = base.css("common.css", "vae.css")

    networks = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)  # float16 (n, 2)
    labels = traitlets.Bytes().tag(sync=True)  # uint8 (n,), index into classes
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    examples = traitlets.Bytes().tag(sync=True)  # uint8 (m, 28, 28)
    example_labels = traitlets.List(traitlets.Int()).tag(sync=True)
    reach = traitlets.Float(3.0).tag(sync=True)  # the map shows -reach to reach on both axes
    z = traitlets.List(traitlets.Float(), [0.0, 0.0], minlen=2, maxlen=2).tag(sync=True)
    n = traitlets.Int(20, min=5, max=20).tag(sync=True)
    extent = traitlets.Float(NOTES_EXTENT, min=0.25).tag(sync=True)
    drawing = traitlets.List(traitlets.Int()).tag(sync=True)

    @classmethod
    def from_model(cls, model, *, images, labels, n=20, extent=NOTES_EXTENT, classes=DIGITS, precision="int8"):
        """Make the widget from a VAE with two latents.

        model: has `.encoder`, pictures (batch, 1, 28, 28) → (batch, 4) = mu and log_var, and `.decoder`, codes
        (batch, 2) → logits of 784 pixels, both nn.Sequential of layers that `pack` knows.
        images: uint8 (m, 28, 28); labels: whole numbers (m,), indices into `classes` (at most 10 names). The first
        2,000 are shown as points.
        n: tiles a side, 5 to 20. extent: the outermost tiles lie at ±extent; the others follow the quantiles of
        N(0, 1) as in norm.ppf(linspace(0.05, 0.95, n)), which is exactly the default.
        precision: how weights travel, "int8" rows or "float16".

        Raises Error for a model of another kind and for pictures or labels of the wrong shape, type or range.
        """
        encoder, decoder = _halves(model, 2, cls.__name__)
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
        if images.dtype != torch.uint8 or images.ndim != 3 or tuple(images.shape[1:]) != (28, 28) or not len(images):
            raise Error(f"images must be uint8 of shape (n, 28, 28), got {images.dtype} {tuple(images.shape)}")
        if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape != images.shape[:1]:
            given = f"{labels.dtype} {tuple(labels.shape)}"
            raise Error(f"labels must be whole numbers of shape ({len(images)},), one an image, got {given}")
        classes = [str(name) for name in classes]
        if not 1 <= len(classes) <= 10:
            raise Error(f"classes must be 1 to 10 names, got {len(classes)}")
        if labels.min() < 0 or labels.max() >= len(classes):
            given = f"{labels.min().item()} to {labels.max().item()}"
            raise Error(f"labels must lie in 0 to {len(classes) - 1}, the indices of `classes`, got {given}")
        if not isinstance(n, int) or isinstance(n, bool) or not 5 <= n <= 20:
            raise Error(f"n must be a whole number from 5 to 20, got {n!r}")

        images, labels = images[:MOST_CODES].cpu(), labels[:MOST_CODES].cpu()
        pictures = data.to_unit(images)
        mu = _run(model.encoder, pictures)[:, :2]  # (batch, 2)
        if not mu.isfinite().all() or mu.abs().max() > 1000:
            raise Error("the encoder's codes must be finite and below 1000: was this network trained?")
        # The map is as wide as 99 % of the codes need, at least ±3, at most ±8: a few strays must not shrink the rest.
        reach = float(np.clip(np.ceil(2 * np.quantile(mu.abs().amax(1).numpy(), 0.99)) / 2, 3, 8))
        if not 0.25 <= extent <= reach:
            raise Error(f"extent must lie between 0.25 and {reach:g}, half the width of the map, got {extent!r}")
        chosen = [i for k in range(len(classes)) for i in (labels == k).nonzero()[:EXAMPLES, 0].tolist()]
        axis = torch.linspace(-reach, reach, 45)
        seen = {"encoder": pictures.flatten(1), "decoder": torch.cat([torch.cartesian_prod(axis, axis), mu])}
        networks, weights = base.pack_all({"encoder": encoder, "decoder": decoder}, precision, seen)
        return cls(
            networks=networks,
            weights=weights,
            codes=mu.numpy().astype("<f2").tobytes(),
            labels=labels.numpy().astype("u1").tobytes(),
            classes=classes,
            examples=images[chosen].numpy().tobytes(),
            example_labels=labels[chosen].tolist(),
            reach=reach,
            n=n,
            extent=float(extent),
        )


class MoonMorph(anywidget.AnyWidget):
    """From full moon to half moon through the codes of an autoencoder and of a VAE, and moons from N(0, 1) codes.

    Made by `MoonMorph.from_models`. `widget.position` is the slider: 0 at the full moon, 1 at the half moon.
    """

    _esm = base.esm("vae-moon-morph.js")
    _css = base.css("common.css", "vae.css")

    networks = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    ends = traitlets.Dict().tag(sync=True)  # name of a network → [code of the full moon, code of the half moon]
    trained = traitlets.Unicode("many").tag(sync=True)  # which pair is shown: "many" or "two"
    position = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    @classmethod
    def from_models(cls, *, many, two, precision="int8"):
        """Make the widget from two pairs (autoencoder, VAE) of networks with one latent, trained on moons.

        many: the pair that saw many phases in training. two: the pair that saw only the full and the half moon.
        Raises Error for anything but pairs of such networks.
        """
        models = {}
        for name, pair in {"many": many, "two": two}.items():
            try:
                autoencoder, vae = pair
            except (TypeError, ValueError):
                raise Error(f"{name} must be a pair (autoencoder, VAE), got {type(pair).__name__}") from None
            models |= {f"{name}-ae": autoencoder, f"{name}-vae": vae}
        decoders = {name: _halves(model, 1, cls.__name__)[1] for name, model in models.items()}
        moons = data.moon(torch.tensor([1.0, 0.0]))  # full, half
        ends = {name: _run(model.encoder, moons)[:, 0].tolist() for name, model in models.items()}
        seen = {name: torch.linspace(min(-4, *codes), max(4, *codes), 400)[:, None] for name, codes in ends.items()}
        networks, weights = base.pack_all(decoders, precision, seen)
        return cls(networks=networks, weights=weights, ends=ends)


def _halves(model, latent, widget):
    """Encoder and decoder of a network on 28 x 28 pictures with `latent` latents; the decoder ends in [0, 1]."""
    for part in ("encoder", "decoder"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise Error(
                f"{widget} needs a network with an `encoder` and a `decoder`; {type(model).__name__} has no {part}"
            )
    expected = {"encoder": (784, 2 * latent), "decoder": (latent, 784)}
    for part, sizes in expected.items():
        given = tuple(base.width(getattr(model, part), which) for which in ("in", "out"))
        if given != sizes:
            raise Error(
                f"{widget} needs a network on 28 x 28 pictures with latent={latent}: "
                f"{part} {sizes[0]} → {sizes[1]}; this one's is {given[0]} → {given[1]}"
            )
    return model.encoder, nn.Sequential(model.decoder, nn.Sigmoid())


@torch.no_grad()
def _run(module, x):
    """The module's output for x, computed on the module's device, as float32 on the CPU."""
    device = next(module.parameters()).device
    return module(x.to(device)).float().cpu()
