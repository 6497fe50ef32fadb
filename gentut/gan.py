"""Generative adversarial networks: a generator learns from a discriminator that tells its pictures from real ones.

    min_G max_D  E_{x ~ data}[log D(x)] + E_{z ~ N(0, I)}[log(1 - D(G(z)))]

Goodfellow et al., arXiv:1406.2661, equation 1; the convolutional networks follow Radford et al. (DCGAN),
arXiv:1511.06434. The networks speak in pictures of [-1, 1], the range of the generator's tanh; `sample` gives them in
[0, 1] like every other chapter. The discriminator gives a score, the log odds of "real": D(x) = sigmoid(score).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gentut import Error, checkpoints, choose, data, metrics, training
from gentut.networks import mlp

LOSSES = ("saturating", "non-saturating", "least-squares", "wgan-gp")


@dataclass(frozen=True)
class Config(training.Config):
    """The settings of a GAN; the defaults are a small DCGAN."""

    kind: str = "dcgan"  # or "mlp": the notes' network
    latent: int = 20  # numbers in a z
    generator: tuple = (64, 32, 16)  # dcgan: features at 7 x 7, 14 x 14, 28 x 28; mlp: hidden widths
    discriminator: tuple = (32, 64, 128)  # dcgan: features at 14 x 14, 7 x 7, 4 x 4; mlp: hidden widths
    loss: str = "non-saturating"
    spectral_norm: bool = True  # keep each layer of the discriminator from stretching much: see `discriminator`
    penalty: float = 10.0  # weight of the gradient penalty in "wgan-gp"
    critic_steps: int = 1  # the discriminator moves in every update, the generator in every so many-th
    discriminator_rate: float = 1.0  # the discriminator's learning rate as a multiple of the generator's
    beta1: float = 0.5  # Adam's memory of past gradients: shorter than usual, because the opponent moves
    beta2: float = 0.999
    scale_real: bool = True  # False plants the notes' slip: real pictures stay in [0, 1]

    def __post_init__(self):
        super().__post_init__()
        choose("kind", self.kind, ("dcgan", "mlp"))
        choose("loss", self.loss, LOSSES)
        if self.kind == "dcgan" and (len(self.generator) != 3 or len(self.discriminator) != 3):
            raise Error("a dcgan has three widths in its generator and three in its discriminator, got "
                        f"{self.generator} and {self.discriminator}")
        if self.kind == "dcgan" and any(w % 4 for w in self.generator):
            raise Error(f"group norm makes 4 groups: generator takes multiples of 4, got {self.generator}")
        if self.latent < 1 or self.critic_steps < 1 or not self.generator or not self.discriminator:
            raise Error("need latent >= 1, critic_steps >= 1 and at least one width in each network, got "
                        f"{self.latent}, {self.critic_steps}, {self.generator} and {self.discriminator}")
        if self.penalty < 0 or not self.discriminator_rate > 0:
            raise Error("need penalty >= 0 and discriminator_rate > 0, got "
                        f"{self.penalty} and {self.discriminator_rate}")
        if not 0 <= self.beta1 < 1 or not 0 <= self.beta2 < 1:
            raise Error(f"need 0 <= beta1 < 1 and 0 <= beta2 < 1, got {self.beta1} and {self.beta2}")
        if self.validation:
            raise Error("a game has no validation loss: set validation=0")

    @classmethod
    def preset(cls, scale):
        """A small DCGAN with as much training as a scale of the book allows."""
        choose("scale", scale, SCALES)
        return cls(**SCALES[scale])


# What learned fastest of what was tried on two CPU cores: a critic with a gradient penalty, and no memory of past
# gradients.
_GAME = {"loss": "wgan-gp", "spectral_norm": False, "beta1": 0.0, "beta2": 0.9, "learning_rate": 1e-3,
         "batch_size": 64}
SCALES = {
    "test": {**_GAME, "data": "mnist-mini", "steps": 12, "batch_size": 32, "log_every": 4, "ema": 0.9},
    "cpu": {**_GAME, "data": "mnist-mini", "steps": 400, "ema": 0.99, "log_every": 20, "precision": "bf16"},
    "gpu": {**_GAME, "data": "mnist", "epochs": 12, "generator": (128, 64, 16), "ema": 0.999, "decay": "cosine"},
}
# The notes' network and settings, but for the real pictures' range.
NOTES = {"kind": "mlp", "latent": 100, "generator": (128, 256, 512, 1024), "discriminator": (1024, 512, 256),
         "spectral_norm": False, "learning_rate": 2e-4, "epochs": 100}

# The settings behind every published network: `gentut reproduce NAME` runs them again.
PUBLISHED = {
    "dcgan": Config(**_GAME, generator=(128, 64, 16), epochs=18, ema=0.999, decay="cosine", precision="bf16"),
}


# -------------------------------------------------------------------------------------------------------- the networks


def generator(config):
    """z (batch, latent) → pictures (batch, 1, 28, 28) in [-1, 1], as an nn.Sequential.

    The DCGAN's grows a picture of 7 x 7 to 28 x 28 by two transposed convolutions. It has group norm where the paper
    has batch norm: so a picture does not depend on the others of its batch, nor on how many processes share it.
    """
    c = config
    if c.kind == "mlp":
        return nn.Sequential(*mlp((c.latent, *c.generator, 784), nn.ReLU), nn.Unflatten(1, (1, 28, 28)), nn.Tanh())
    a, b, d = c.generator
    return nn.Sequential(
        nn.Linear(c.latent, a * 49), nn.Unflatten(1, (a, 7, 7)), nn.GroupNorm(4, a), nn.SiLU(),
        nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.GroupNorm(4, b), nn.SiLU(),  # (batch, b, 14, 14)
        nn.ConvTranspose2d(b, d, 4, stride=2, padding=1), nn.GroupNorm(4, d), nn.SiLU(),  # (batch, d, 28, 28)
        nn.Conv2d(d, 1, 3, padding=1), nn.Tanh(),
    )


def discriminator(config):
    """Pictures (batch, 1, 28, 28) in [-1, 1] → scores (batch, 1): the log odds of "real", as an nn.Sequential.

    With spectral_norm every weight, taken as a matrix with a row for each output, is divided by its largest singular
    value: Miyato et al., arXiv:1802.05957. That bounds a linear layer's slope by 1, a convolution's only roughly.
    """
    c = config

    def leaky():
        return nn.LeakyReLU(0.2)

    if c.kind == "mlp":
        layers = [nn.Flatten(), *mlp((784, *c.discriminator, 1), leaky)]
    else:
        a, b, d = c.discriminator
        layers = [
            nn.Conv2d(1, a, 4, stride=2, padding=1), leaky(),  # (batch, a, 14, 14)
            nn.Conv2d(a, b, 4, stride=2, padding=1), leaky(),  # (batch, b, 7, 7)
            nn.Conv2d(b, d, 3, stride=2, padding=1), leaky(),  # (batch, d, 4, 4)
            nn.Flatten(), nn.Linear(d * 16, 1),
        ]
    if c.spectral_norm:
        layers = [spectral_norm(m) if hasattr(m, "weight") else m for m in layers]
    return nn.Sequential(*layers)


class GAN(nn.Module):
    """Both players. model(z) gives the generator's pictures, model.score(x) the discriminator's opinion of pictures."""

    def __init__(self, config):
        super().__init__()
        self.config, self.latent = config, config.latent
        self.generator, self.discriminator = generator(config), discriminator(config)

    def forward(self, z):
        """z (batch, latent) → pictures (batch, 1, 28, 28) in [-1, 1]."""
        if not torch.is_tensor(z) or z.ndim != 2 or z.shape[1] != self.latent:
            what = tuple(z.shape) if torch.is_tensor(z) else type(z).__name__
            raise Error(f"z must have shape (batch, {self.latent}), got {what}")
        return self.generator(z)

    def score(self, x):
        """Pictures (batch, 1, 28, 28) in [0, 1] → the log odds of "real" (in wgan-gp the critic's value), (batch,)."""
        data.check_pictures(x)
        return self.discriminator(data.to_signed(x) if self.config.scale_real else x)[:, 0]


def build(config):
    """The untrained networks of a configuration; the same seed gives the same weights."""
    return training.seeded(GAN, config)


# ---------------------------------------------------------------------------------------------------------- the losses


def discriminator_loss(kind, real, fake):
    """What the discriminator makes smaller, from its scores of real and generated pictures, (batch,) each.

    "saturating" and "non-saturating": -log D(x) - log(1 - D(G(z))), with D = sigmoid(score). "least-squares": half the
    squared distance of scores from 1 and 0 (Mao et al., arXiv:1611.04076, equation 9). "wgan-gp": the difference of the
    scores (Gulrajani et al., arXiv:1704.00028); the gradient penalty comes on top.
    """
    choose("loss", kind, LOSSES)
    if kind == "least-squares":
        return ((real - 1) ** 2 + fake**2) / 2
    if kind == "wgan-gp":
        return fake - real
    return F.softplus(-real) + F.softplus(fake)


def generator_loss(kind, fake):
    """What the generator makes smaller, from the scores of its pictures, (batch,).

    "saturating": log(1 - D(G(z))), the game's own value. "non-saturating": -log D(G(z)), which has a gradient where D
    is sure; Goodfellow et al., section 3. "least-squares": half the squared distance from 1. "wgan-gp": minus
    the critic's value.
    """
    choose("loss", kind, LOSSES)
    if kind == "saturating":
        return -F.softplus(fake)
    if kind == "least-squares":
        return (fake - 1) ** 2 / 2
    return -fake if kind == "wgan-gp" else F.softplus(-fake)


def gradient_penalty(critic, real, fake, u):
    """(‖∇ critic(x)‖ - 1)² at x = u · real + (1 - u) · fake, (batch,): arXiv:1704.00028, equation 3.

    real, fake: (batch, ...). u: (batch,), uniform on [0, 1). critic(x) → (batch, 1) or (batch,).
    """
    if real.shape != fake.shape or u.shape != real.shape[:1]:
        raise Error("real and fake must have one shape, and u one number each: got "
                    f"{tuple(real.shape)}, {tuple(fake.shape)} and {tuple(u.shape)}")
    u = u.view(-1, *[1] * (real.ndim - 1))
    x = (u * real + (1 - u) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1) ** 2


def discriminator_turn(model, x, labels, noise):
    """The discriminator's losses, (batch,) each, on real pictures x in [0, 1]. `noise` is a training.Noise."""
    c = model.config
    real = data.to_signed(x) if c.scale_real else x
    with torch.no_grad():  # the generator does not learn now: nothing of it need be remembered
        fake = model.generator(noise.normal(c.latent))
    on_real, on_fake = model.discriminator(torch.cat([real, fake.to(real.dtype)]))[:, 0].float().chunk(2)
    loss = discriminator_loss(c.loss, on_real, on_fake)
    if c.loss == "wgan-gp":
        loss = loss + c.penalty * gradient_penalty(model.discriminator, real, fake.to(real.dtype), noise.uniform())
    terms = {"discriminator_loss": loss, "score_real": on_real, "score_fake": on_fake}
    if c.loss != "wgan-gp":  # a critic's score has no zero that would divide real from generated
        middle = 0.5 if c.loss == "least-squares" else 0.0  # its scores are drawn to 1 and 0
        terms["right"] = ((on_real > middle).float() + (on_fake < middle).float()) / 2
    return terms


def generator_turn(model, x, labels, noise):
    """The generator's loss, (batch,), on as many new pictures as there are real ones."""
    fake = model.generator(noise.normal(model.config.latent))
    return {"generator_loss": generator_loss(model.config.loss, model.discriminator(fake)[:, 0].float())}


# ----------------------------------------------------------------------------------------------------------- training


def turns(config):
    """The game as training.fit plays it: the discriminator's turn, then the generator's."""
    c = config
    betas = (c.beta1, c.beta2)
    return (
        training.Turn(discriminator_turn, "discriminator", "discriminator_loss", rate=c.discriminator_rate, betas=betas,
                      average=False),
        training.Turn(generator_turn, "generator", "generator_loss", betas=betas, every=c.critic_steps),
    )


def train(config, *, images=None, out=None, resume=False, device=None, watch=None):
    """Train on the data set of the configuration, or on `images` (uint8 (n, 28, 28)); see training.fit."""
    if images is None:
        images = data.load(config.data).train_images
    data.check_images(images)
    if tuple(images.shape[1:]) != (28, 28):
        raise Error(f"expected pictures of shape (n, 28, 28), got {tuple(images.shape)}")
    run = training.fit(build(config), config, turns(config), images, out=out, resume=resume, device=device, watch=watch)
    checkpoints.describe(run, "gan")
    return run


def reproduce(name, out, *, resume=False, device=None):
    """Train the published network `name` again and measure it; weights and card go into the folder `out`.

    Returns the card (None in processes other than the first).
    """
    config = PUBLISHED[choose("published network", name, PUBLISHED)]
    run = train(config, out=out, resume=resume, device=device)
    return checkpoints.finish(run, "gan", name, lambda model: {
        "test": evaluate(model, config.data),
        "mini": evaluate(model, "mnist-mini", n=1000),  # the test of the card re-measures this one
    })


def evaluate(model, name="mnist", *, n=None, seed=0):
    """How like real digits the generator's are: metrics.likeness of n pictures (default 10,000) drawn from `seed`.

    Of a folder of pictures: pictures.likeness, of as many as are held out there.
    """
    if data.check_name(name) == "fashion-mnist":
        raise Error("the classifier that compares pictures knows digits: evaluate on mnist or mnist-mini")
    if not data.has_labels(name):
        from gentut import pictures

        dataset, g = data.load(name), torch.Generator().manual_seed(seed)
        drawn = sample(model, len(dataset.test_images) if n is None else n, generator=g)
        return pictures.likeness(drawn, dataset) | {"seed": seed}
    n = 10_000 if n is None else n
    return metrics.likeness(sample(model, n, generator=torch.Generator().manual_seed(seed)), seed=seed) | {"seed": seed}


@torch.no_grad()
def sample(model, n, *, generator=None, z=None):
    """n generated pictures float32 (n, 1, 28, 28) in [0, 1], from z ~ N(0, I), or from `z` (n, latent)."""
    if n < 1:
        raise Error(f"n must be at least 1, got {n}")
    device = next(model.parameters()).device
    if z is None:
        z = torch.randn(n, model.latent, generator=generator, device=generator.device if generator else None)
    elif not torch.is_tensor(z) or tuple(z.shape) != (n, model.latent):
        what = tuple(z.shape) if torch.is_tensor(z) else type(z).__name__
        raise Error(f"z must have shape ({n}, {model.latent}), got {what}")
    return torch.cat([data.from_signed(model(part)) for part in z.to(device).split(1000)])
