"""Autoencoder and variational autoencoder, from one code.

An encoder turns a picture x into the mean and log-variance of a Gaussian over codes, a decoder turns a code z into the
logits of the pixels. Trained together they raise the evidence lower bound

    ELBO(x) = E_{z ~ q(z|x)}[log p(x|z)] - D(q(z|x) ‖ p(z)),     q(z|x) = N(mu(x), sigma(x)²),  p(z) = N(0, I).

Kingma and Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114, equations 3 and 10. With `noise=False, beta=0`
the same network is a plain autoencoder. All losses are in nats per image: summed over pixels and over latents.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn

from gentut import Error, checkpoints, choose, data, metrics, training
from gentut.networks import mlp

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class Config(training.Config):
    """The settings of a VAE; the defaults are the notes' network."""

    latent: int = 2  # numbers in a code
    encoder: tuple = (256,)  # widths of the encoder's hidden layers
    decoder: tuple = (256,)  # widths of the decoder's hidden layers
    activation: str = "relu"
    beta: float = 1.0  # weight of the KL term; 1 is the ELBO, 0 forgets the prior
    noise: bool = True  # False: the code is mu itself
    binary: bool = False  # draw every picture black or white anew at each step, P(white) = grey
    binarise_input: bool = False  # show the encoder such a draw of a grey picture: it then overfits less
    kl: str = "sum"  # "mean" plants a classic bug: the KL averaged over batch and latents while the rest is summed
    relu_after_encoder: bool = False  # True plants another: mu and log_var cannot be negative

    def __post_init__(self):
        super().__post_init__()
        choose("activation", self.activation, ACTIVATIONS)
        choose("kl", self.kl, ("sum", "mean"))
        if self.latent < 1 or self.beta < 0:
            raise Error(f"need latent >= 1 and beta >= 0, got {self.latent} and {self.beta}")

    @classmethod
    def preset(cls, scale):
        """The notes' network with as much training as a scale of the book allows."""
        choose("scale", scale, SCALES)
        return cls(**SCALES[scale])


SCALES = {
    "test": {"data": "mnist-mini", "epochs": 2, "validation": 1000, "keep_best": True},
    "cpu": {"data": "mnist-mini", "epochs": 40, "validation": 1000, "keep_best": True},
    "gpu": {"data": "mnist", "epochs": 20, "validation": 5000, "keep_best": True},
}


# The settings behind every published network: `gentut reproduce NAME` runs them again.
# They train on all 60,000 pictures; nothing is selected, so nothing is held out but in the notes' own recipe.
_LONG = Config(activation="silu", learning_rate=2e-3, warmup=500, decay="cosine", ema=0.999, binarise_input=True)
_PAGE = {"encoder": (192, 192, 128), "decoder": (64, 128, 256, 224)}
_BIG = {"latent": 20, "encoder": (512, 512), "decoder": (512, 512)}
PUBLISHED = {
    "vae-2d": _LONG.replace(**_PAGE, epochs=200),
    "vae-20d": _LONG.replace(**_BIG, epochs=50),
    "vae-20d-binary": _LONG.replace(**_BIG, epochs=50, binary=True, binarise_input=False),
    "ae-2d": _LONG.replace(**_PAGE, epochs=60, noise=False, beta=0.0, binarise_input=False),
    "vae-notes-20": Config(epochs=20, validation=5000, keep_best=True),
    "vae-notes-100": Config(epochs=100, validation=5000, keep_best=True),
}


class VAE(nn.Module):
    """Encoder and decoder as in Config. Called as model(x), it gives the reconstruction from the posterior's mean."""

    def __init__(self, config, size=28):
        super().__init__()
        self.config, self.latent = config, config.latent
        activation = ACTIVATIONS[config.activation]
        pixels = size * size
        self.encoder = nn.Sequential(nn.Flatten(), *mlp((pixels, *config.encoder, 2 * self.latent), activation))
        if config.relu_after_encoder:
            self.encoder.append(nn.ReLU())
        self.decoder = nn.Sequential(
            *mlp((self.latent, *config.decoder, pixels), activation), nn.Unflatten(1, (1, size, size))
        )

    def encode(self, x):
        """x (batch, 1, 28, 28) in [0, 1] → mu, log_var of q(z|x), (batch, latent) each."""
        mu, log_var = self.encoder(x).chunk(2, dim=1)  # (batch, 2 · latent) → twice (batch, latent)
        return mu, log_var

    def decode(self, z):
        """z (batch, latent) → logits (batch, 1, 28, 28) of the pixels."""
        return self.decoder(z)

    def forward(self, x):
        """x (batch, 1, 28, 28) → its reconstruction from z = mu(x), the same shape, in [0, 1]."""
        return self.decode(self.encode(x)[0]).sigmoid()


def build(config):
    """The untrained network of a configuration; the same seed gives the same weights."""
    return training.seeded(VAE, config)


# -------------------------------------------------------------------------------------------------- the loss, piecewise


def reparameterise(mu, log_var, eps):
    """z = mu + sigma · eps: a sample through which gradients flow; all (batch, latent)."""
    return mu + (0.5 * log_var).exp() * eps


def kl_to_standard_normal(mu, log_var):
    """D(N(mu, sigma²) ‖ N(0, 1)) of each latent, in nats: (batch, latent).

    It is ½(mu² + sigma² - log sigma² - 1).
    """
    return 0.5 * (mu**2 + log_var.exp() - log_var - 1)


def reconstruction_nats(logits, x):
    """-log p(x|z) for Bernoulli pixels, summed over pixels: (batch,).

    For grey x it is the cross-entropy instead.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def elbo_terms(model, x, eps=None, generator=None):
    """The two parts of -ELBO with one sample of z: (-log p(x|z), D(q(z|x) ‖ p(z))), nats per image, (batch,) each.

    x: (batch, 1, 28, 28) in [0, 1]. eps: N(0, 1) numbers (batch, latent); by default drawn from `generator`.
    """
    mu, log_var = model.encode(_checked(model, x))
    if eps is None:
        eps = _normal(mu.shape, generator, mu.device)
    elif eps.shape != mu.shape:  # which broadcasting would hide
        raise Error(f"eps must have the shape {tuple(mu.shape)} of mu, got {tuple(eps.shape)}")
    logits = model.decode(reparameterise(mu, log_var, eps))
    return reconstruction_nats(logits, x), kl_to_standard_normal(mu, log_var).sum(1)


def losses(model, x, labels, noise):
    """What training makes smaller, and its parts, (batch,) each. `noise` is a training.Noise."""
    c = model.config
    seen = (noise.uniform(*x.shape[1:]) < x).float() if c.binary or c.binarise_input else x
    mu, log_var = model.encode(seen)
    z = reparameterise(mu, log_var, noise.normal(c.latent)) if c.noise else mu
    reconstruction = reconstruction_nats(model.decode(z), seen if c.binary else x)
    kl = kl_to_standard_normal(mu, log_var)
    weighted = kl.sum(1) if c.kl == "sum" else kl.mean() / len(x)  # the bug: 1 / (batch · latent) of what it should be
    return {"loss": reconstruction + c.beta * weighted, "reconstruction": reconstruction, "kl": kl.sum(1)}


def train(config, *, images=None, out=None, resume=False, device=None, watch=None):
    """Train on the data set of the configuration, or on `images` (uint8 (n, 28, 28)); see training.fit."""
    if images is None:
        images = data.load(config.data).train_images
    elif not torch.is_tensor(images) or images.shape[1:] != (28, 28):
        what = tuple(images.shape) if torch.is_tensor(images) else type(images).__name__
        raise Error(f"expected a tensor of uint8 pictures of shape (n, 28, 28), got {what}")
    run = training.fit(build(config), config, losses, images, out=out, resume=resume, device=device, watch=watch)
    checkpoints.describe(run, "vae")
    return run


def reproduce(name, out, *, resume=False, device=None):
    """Train the published network `name` again and measure it; weights and card go into the folder `out`.

    Returns the card (None in processes other than the first).
    """
    config = PUBLISHED[choose("published network", name, PUBLISHED)]
    run = train(config, out=out, resume=resume, device=device)
    return checkpoints.finish(run, "vae", name, lambda model: {
        "test": evaluate(model, config.data),
        "train": evaluate(model, config.data, n=10_000, split="train"),
        "mini": evaluate(model, "mnist-mini", n=1000),  # the test of the card re-measures this one
        **({"few": evaluate(model, "mnist-mini", n=20)} if config.binary else {}),  # and this, with its thousand codes
    })


def evaluate(model, name="mnist", *, n=None, split="test", seed=0, k=1000):
    """Nats per image of a trained model on the data set `name`: a dict with the numbers, n and the exact subset.

    Uses the first n pictures of the split (default: all). One code per picture is drawn, from `seed`; a plain
    autoencoder (noise=False) is scored by its reconstruction alone. A binary model is scored on the fixed binarisation
    of the pictures (data.binarise, seed 0), and by the importance-weighted bound with k codes on the test split.
    """
    images = getattr(data.load(name), f"{split}_images")
    if n is not None and not 2 <= n <= len(images):
        raise Error(f"n must lie between 2 and the {len(images)} {split} pictures of {name}, got {n}")
    images = images[:n]
    c = model.config
    device = next(model.parameters()).device
    g = torch.Generator().manual_seed(seed)
    x = (data.binarise(images) if c.binary else data.to_unit(images)).to(device)
    eps = torch.randn(len(x), c.latent, generator=g).to(device) * float(c.noise)
    with torch.no_grad():
        parts = [torch.stack(elbo_terms(model, a, b)) for a, b in zip(x.split(2000), eps.split(2000), strict=True)]
    reconstruction, kl = torch.cat(parts, dim=1).double().cpu()
    nats, error = metrics.mean_and_error(reconstruction + kl * float(c.noise))
    result = {
        "nats": nats, "standard_error": error,
        "reconstruction": reconstruction.mean().item(),
        "active_units": int(active_units(model, x).sum()), "n": len(x), "seed": seed,
        "pictures": f"the first {len(x)} {split} pictures of {name}, " + ("binarised, seed 0" if c.binary else "grey"),
    }
    if c.noise:  # a plain autoencoder has no posterior whose KL would mean something
        result["kl"] = kl.mean().item()
    if not c.binary:
        result["floor"] = metrics.grey_floor(images).mean().item()
    else:
        result["binarised_sha256"] = data.digest(x.to(torch.uint8))
    if c.binary and split == "test":
        bound = log_likelihood(model, x, k, generator=g)
        result |= {"importance_weighted_nats": -bound.double().mean().item(), "k": k}
    return result


# ------------------------------------------------------------------------------------------- what a trained one can do


@torch.no_grad()
def log_likelihood(model, x, k=1000, generator=None, chunk=50_000):
    """Importance-weighted lower bound on log p(x), nats per image, (batch,); it rises to log p(x) as k grows.

    log 1/k Σ_i p(x|z_i) p(z_i) / q(z_i|x), z_i ~ q(z|x): Burda et al., arXiv:1509.00519, equation 8. Only for black or
    white pictures: a grey pixel has no probability under a Bernoulli. `chunk` bounds the codes decoded at once.
    """
    _checked(model, x)
    if k < 1:
        raise Error(f"k must be at least 1, got {k}")
    if not ((x == 0) | (x == 1)).all():
        raise Error("log_likelihood needs pictures of 0 and 1: data.binarise makes them from grey ones")
    if not model.config.binary:
        raise Error("a model of grey pictures bounds no log p(x): use one trained with binary=True")
    parts = []
    for xs in x.split(max(1, chunk // k)):
        mu, log_var = model.encode(xs)
        eps = _normal((k, *mu.shape), generator, mu.device)  # (k, batch, latent)
        z = reparameterise(mu, log_var, eps)
        logits = model.decode(z.flatten(0, 1)).view(k, *xs.shape)
        log_p_x = F.logsigmoid(torch.where(xs == 1, logits, -logits)).flatten(2).sum(2)  # (k, batch)
        log_ratio = 0.5 * (eps**2 + log_var - z**2).sum(2)  # log p(z) - log q(z|x): the constants cancel
        parts.append((log_p_x + log_ratio).logsumexp(0) - math.log(k))
    return torch.cat(parts)


@torch.no_grad()
def sample(model, n, *, generator=None):
    """Decode n codes drawn from N(0, I): pictures float32 (n, 1, 28, 28) in [0, 1]."""
    if n < 1:
        raise Error(f"n must be at least 1, got {n}")
    device = next(model.parameters()).device
    return model.decode(_normal((n, model.latent), generator, device)).sigmoid()


@torch.no_grad()
def latent_grid(model, n=20):
    """Decode an n × n grid over a 2-D latent space: (n, n, 28, 28) in [0, 1].

    Codes stand at norm.ppf(linspace(0.05, 0.95, n)) on both axes (-1.645 to 1.645), so that equal numbers of prior
    samples fall between neighbours. The top row has the largest z2, the left column the smallest z1.
    """
    if n < 1:
        raise Error(f"n must be at least 1, got {n}")
    if model.latent != 2:
        raise Error(f"a grid needs a model with 2 latents, this one has {model.latent}")
    device = next(model.parameters()).device
    at = torch.from_numpy(norm.ppf(torch.linspace(0.05, 0.95, n, dtype=torch.float64).numpy())).float().to(device)
    z2, z1 = torch.meshgrid(at.flip(0), at, indexing="ij")  # rows from the top, columns from the left
    return model.decode(torch.stack([z1, z2], dim=-1).reshape(-1, 2)).sigmoid().view(n, n, 28, 28)


@torch.no_grad()
def active_units(model, x, threshold=0.01):
    """Which latents the encoder uses: bool (latent,). A latent is active if Var_x[mu(x)] > threshold.

    The others have collapsed to the prior (posterior collapse). Burda et al., arXiv:1509.00519, section 5.2.
    """
    if len(x) < 2:
        raise Error(f"a variance over pictures needs at least 2 of them, got {len(x)}")
    return model.encode(_checked(model, x))[0].var(dim=0) > threshold


class PCA:
    """The best linear autoencoder: project on the k directions of greatest variance (Eckart and Young, 1936)."""

    def __init__(self, mean, components):
        self.mean, self.components = mean, components  # (pixels,), (k, pixels) with orthonormal rows

    @classmethod
    def fit(cls, x, k):
        """From pictures x (n, 1, 28, 28)."""
        flat = x.flatten(1).double()
        if not 1 <= k <= min(flat.shape):
            raise Error(f"k must lie between 1 and {min(flat.shape)} for {len(flat)} pictures, got {k}")
        mean = flat.mean(0)
        centred = flat - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # eigenvalues rise
        return cls(mean.float(), vectors.flip(1)[:, :k].T.contiguous().float())

    def encode(self, x):
        """(batch, 1, 28, 28) → codes (batch, k)."""
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z):
        """Codes (batch, k) → pictures (batch, 1, 28, 28), not clipped to [0, 1]."""
        side = math.isqrt(len(self.mean))
        return (z @ self.components + self.mean).view(-1, 1, side, side)

    def squared_error(self, x):
        """Squared error of the reconstruction summed over pixels, (batch,)."""
        return (self.decode(self.encode(x)) - x).flatten(1).square().sum(1)


def _checked(model, x):
    """Raise Error unless x are pictures of the network's own type; return them."""
    kind = next(model.parameters()).dtype
    if data.check_pictures(x).dtype != kind:
        raise Error(f"pictures must be {kind} like the network's weights, got {x.dtype}")
    return x


def _normal(shape, generator, device):
    where = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=where).to(device)
