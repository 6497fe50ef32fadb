"""Small games: GANs for numbers and for points of the plane, played in seconds and recorded to be looked at.

    D: score(x) = log odds that x is real,        G: x = G(z), z ~ N(0, I)

The two networks are multilayer perceptrons with tanh, the targets are mixtures (`gentut.mixtures`) whose density is
known but of which the players see samples only. The losses are those of `gentut.gan`. All is computed in float64: the
games are small, and so another program can follow them number by number.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from gentut import Error, checks, choose, gan, training
from gentut.mixtures import (  # noqa: F401 (the chapter calls all of them by this module's name)
    Mixture,
    earth_movers_distance,
    jensen_shannon,
    modes_found,
    optimal_discriminator,
    pair,
    ring,
    value,
)
from gentut.networks import mlp
from gentut.settings import Settings

CHECKED = 20  # first steps whose batches and losses a record keeps


@dataclass(frozen=True)
class Game(Settings):
    """The rules of a game; a step is `discriminator_steps` moves of D and one of G."""

    dim: int = 1  # numbers in a point: 1 or 2
    latent: int = 1  # numbers in a z
    hidden: tuple = (32, 32)  # widths of both players' hidden layers
    loss: str = "non-saturating"  # one of gan.LOSSES
    learning_rate: float = 1e-3  # G's
    discriminator_rate: float = 1.0  # D's learning rate as a multiple of G's
    discriminator_steps: int = 1  # moves of D before each move of G
    penalty: float = 0.0  # weight of gan.gradient_penalty, with whichever loss
    beta1: float = 0.5  # Adam's memory of past gradients, and of their squares
    beta2: float = 0.999
    batch_size: int = 128  # points of either kind in one move
    steps: int = 2000
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        choose("loss", self.loss, gan.LOSSES)
        choose("dim", self.dim, (1, 2))
        for name in ("latent", "discriminator_steps", "batch_size", "steps"):
            if getattr(self, name) < 1:
                raise Error(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.hidden:
            raise Error("hidden needs at least one width")
        if not self.learning_rate > 0 or not self.discriminator_rate > 0 or self.penalty < 0:
            raise Error("need learning_rate > 0, discriminator_rate > 0 and penalty >= 0, got "
                        f"{self.learning_rate}, {self.discriminator_rate} and {self.penalty}")
        if not 0 <= self.beta1 < 1 or not 0 <= self.beta2 < 1:
            raise Error(f"need 0 <= beta1 < 1 and 0 <= beta2 < 1, got {self.beta1} and {self.beta2}")

    @classmethod
    def healthy(cls, dim):
        """A game that ends well: near pair() (dim 1), on all eight modes of ring() (dim 2)."""
        return cls(dim=dim, **HEALTHY[choose("dim", dim, HEALTHY)])

    @classmethod
    def collapsed(cls, dim):
        """The same with a D that lags behind: a tenth of G's learning rate, and long memories of past gradients.

        All of G runs to where D's score is highest, and past it, before D has learned to refuse that place: mode
        collapse. The samples then move about as one clump, from one part of the data to another, and never settle.
        """
        return cls.healthy(dim).replace(**COLLAPSED)


HEALTHY = {
    1: {"latent": 1, "hidden": (32, 32), "learning_rate": 1e-3, "batch_size": 128, "steps": 1500},
    2: {"latent": 4, "hidden": (64, 64), "learning_rate": 2e-3, "discriminator_rate": 2.0, "batch_size": 64,
        "steps": 1200},
}
COLLAPSED = {"discriminator_rate": 0.1, "beta1": 0.9}


# --------------------------------------------------------------------------------------------------------- the players


def players(game):
    """(generator, discriminator) before their first move, as nn.Sequential of Linear and Tanh, in float64.

    generator: z (batch, latent) → x (batch, dim). discriminator: x → score (batch, 1), the log odds of "real".
    """
    def networks(game):
        generator = nn.Sequential(*mlp((game.latent, *game.hidden, game.dim), nn.Tanh))
        discriminator = nn.Sequential(*mlp((game.dim, *game.hidden, 1), nn.Tanh))
        return generator.double(), discriminator.double()

    return training.seeded(networks, game)


def optimizers(game, generator, discriminator):
    """Adam for either player: (the generator's, the discriminator's)."""
    betas = (game.beta1, game.beta2)
    rate = game.learning_rate
    return (torch.optim.Adam(generator.parameters(), rate, betas, fused=True),
            torch.optim.Adam(discriminator.parameters(), rate * game.discriminator_rate, betas, fused=True))


def discriminator_step(game, generator, discriminator, optimizer, x, z, u=None):
    """One move of D on real points x (batch, dim) and generated ones from z (batch, latent); returns its loss.

    u: (batch,), uniform numbers: where between x and G(z) the penalty looks; needed if game.penalty > 0.
    """
    fake = generator(z).detach()  # G stands still
    real_scores, fake_scores = discriminator(torch.cat([x, fake]))[:, 0].chunk(2)
    loss = gan.discriminator_loss(game.loss, real_scores, fake_scores).mean()
    if game.penalty:
        if u is None:
            raise Error("the penalty needs u, one uniform number for each pair of points")
        loss = loss + game.penalty * gan.gradient_penalty(discriminator, x, fake, u).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def generator_step(game, generator, discriminator, optimizer, z):
    """One move of G on the points from z (batch, latent); returns its loss. D has its opinion and stands still."""
    loss = gan.generator_loss(game.loss, discriminator(generator(z))[:, 0]).mean()
    optimizer.zero_grad()
    loss.backward(inputs=list(generator.parameters()))
    optimizer.step()
    return loss.item()


# ------------------------------------------------------------------------------------------------ a game and its record


@dataclass(frozen=True, eq=False)
class Record:
    """A played game, in float32 but for `first` and `batches`. Frame 0 shows the players before their first move.

    first: {"generator": state dict, "discriminator": state dict} before the first move, float64.
    batches: of the first steps (at most 20; k = discriminator_steps), float64: x (steps, k, batch, dim) and
    z (steps, k, batch, latent) and u (steps, k, batch) of D's moves, generator_z (steps, batch, latent) of G's, and the
    losses that they gave: discriminator_loss (steps, k), generator_loss (steps,).
    """

    game: Game
    target: Mixture
    steps: torch.Tensor  # (frames,) int64: steps made before each frame; every frame later than the one before
    z: torch.Tensor  # (m, latent), the same at every frame
    real: torch.Tensor  # (m, dim): draws of the target, the same at every frame
    samples: torch.Tensor  # (frames, m, dim): G(z)
    arrows: torch.Tensor  # (frames, m, dim): minus the gradient of G's loss of each sample by that sample
    grid: torch.Tensor  # (101, 1); or (625, 2): 25 rows of 25, from the lowest y, x growing along a row
    scores: torch.Tensor  # (frames, len(grid)): D's log odds of "real"
    density: torch.Tensor  # (frames, len(grid)): the mean of G's density over each cell; None unless dim = latent = 1
    curves: dict  # {name: (frames,)}: see `look`
    first: dict
    batches: dict


def play(game, target, frames=60, m=256):
    """Play a game for a Mixture from its first to its last step and record it; see Record.

    frames: pictures kept, closer together at the start (fewer if there are fewer steps). m: samples shown in each.
    """
    _check_target(game, target)
    if frames < 2 or m < 1:
        raise Error(f"need frames >= 2 and m >= 1, got {frames} and {m}")
    g = torch.Generator().manual_seed(training.seed_of(game.seed, "shown"))
    z, real, points = shown_z(game, m), target.sample(m, generator=g), grid(target)
    steps = (torch.linspace(0, 1, frames, dtype=torch.float64) ** 1.5 * game.steps).round().long().unique()
    generator, discriminator = players(game)
    first = {"generator": _copy(generator), "discriminator": _copy(discriminator)}
    of_generator, of_discriminator = optimizers(game, generator, discriminator)
    looks, kept = [], []
    for step, draws in enumerate(rounds(game, target)):
        if step == steps[len(looks)]:
            looks.append(look(game, generator, discriminator, target, z, real, points))
        if step == game.steps:
            break
        d = [discriminator_step(game, generator, discriminator, of_discriminator, *draw)
             for draw in zip(draws["x"], draws["z"], draws["u"], strict=True)]
        g = generator_step(game, generator, discriminator, of_generator, draws["generator_z"])
        if not math.isfinite(sum(d) + g):
            raise Error(f"the losses are no longer finite at step {step}: {d} and {g}")
        if step < CHECKED:
            kept.append(draws | {"discriminator_loss": _numbers(d), "generator_loss": _numbers(g)})
    shown = {k: torch.stack([one[k] for one in looks]).float() for k in looks[0]}
    parts = {k: shown.pop(k, None) for k in ("samples", "arrows", "scores", "density")}
    return Record(game=game, target=target, steps=steps, z=z.float(), real=real.float(), grid=points.float(), **parts,
                  curves=shown, first=first, batches={k: torch.stack([one[k] for one in kept]) for k in kept[0]})


def rounds(game, target):
    """What the players are dealt, step after step without end: dicts of x, z, u and generator_z as in Record.batches.

    A function of game.seed.
    """
    g = torch.Generator().manual_seed(training.seed_of(game.seed, "dealt"))
    k, n = game.discriminator_steps, game.batch_size
    while True:
        yield {
            "x": target.sample(k * n, generator=g).view(k, n, game.dim),
            "z": _normal(g, k, n, game.latent),
            "u": torch.rand(k, n, generator=g, dtype=torch.float64),
            "generator_z": _normal(g, n, game.latent),
        }


def shown_z(game, m):
    """The z whose samples are looked at, (m, latent): N(0, 1) numbers, a function of game.seed.

    Where z is one number: m equally likely ones, from the lowest to the highest, so that chance has no part in what
    the samples show.
    """
    if game.latent == 1:
        return torch.special.ndtri((torch.arange(m, dtype=torch.float64) + 0.5) / m)[:, None]
    return _normal(torch.Generator().manual_seed(training.seed_of(game.seed, "shown z")), m, game.latent)


def look(game, generator, discriminator, target, z, real, points):
    """What a frame shows, as a dict of tensors: samples, arrows, scores, in 1-D density, and one number each of

    discriminator_loss (without penalty), generator_loss, score_real, score_fake (means), right (the share of D's
    verdicts that are right, a score above 0 being "real"; it says nothing of a critic, whose scores have no zero), and
    in 1-D distance (earth mover's, between samples and target), in 2-D modes (found) and near (share of samples near
    any mode).
    """
    with torch.no_grad():
        samples, scores, on_real = generator(z), discriminator(points)[:, 0], discriminator(real)[:, 0]
    arrows, on_fake = pulls(game.loss, discriminator, samples)
    result = {
        "samples": samples, "arrows": arrows, "scores": scores,
        "discriminator_loss": gan.discriminator_loss(game.loss, on_real, on_fake).mean(),
        "generator_loss": gan.generator_loss(game.loss, on_fake).mean(),
        "score_real": on_real.mean(), "score_fake": on_fake.mean(),
        "right": ((on_real > 0).double().mean() + (on_fake < 0).double().mean()) / 2,
    }
    if game.dim == 2:
        return result | dict(zip(("modes", "near"), map(_numbers, modes_found(samples, target)), strict=True))
    if game.latent == 1:
        result["density"] = density(generator, points[:, 0])
    return result | {"distance": _numbers(earth_movers_distance(samples, target))}


def pulls(loss, discriminator, x):
    """Where D pushes samples x (n, dim): (minus the gradient of G's loss of each by x (n, dim), D's scores (n,)).

    What reaches G's weights is this, times how x depends on them.
    """
    x = x.detach().requires_grad_()
    scores = discriminator(x)[:, 0]
    (gradient,) = torch.autograd.grad(gan.generator_loss(loss, scores).sum(), x)
    return -gradient, scores.detach()


@torch.no_grad()
def density(generator, at, n=4000):
    """The density of G(z), z ~ N(0, 1), of a generator from the line to the line: its mean over each cell of a grid.

    at: (g,), the middles of equal cells. G is followed along n + 1 values of z, n equally likely pieces; on each it
    counts as straight, so its share 1 / n spreads evenly between the ends.
    """
    at = checks.finite(at, "at").double()
    if at.ndim != 1 or len(at) < 2:
        raise Error(f"at must be the middles of two or more cells, (g,), got the shape {tuple(at.shape)}")
    u = torch.linspace(0, 1, n + 1, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)  # the ends lie at -6 and 6
    x = generator(torch.special.ndtri(u)[:, None])[:, 0]
    low, high = torch.minimum(x[:-1], x[1:]), torch.maximum(x[:-1], x[1:])
    width = (at[-1] - at[0]) / (len(at) - 1)
    edges = torch.cat([at - width / 2, at[-1:] + width / 2])
    below = ((edges[:, None] - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).mean(1)  # share of G(z) below an edge
    return below.diff() / width


def grid(target):
    """Points over and around a Mixture: (101, 1) in one dimension, (625, 2) in two, as in Record.grid."""
    reach = 4 * target.sigmas[:, None]
    low, high = (target.means - reach).amin(0), (target.means + reach).amax(0)
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    if target.dim == 1:
        return torch.linspace(low.item(), high.item(), 101, dtype=torch.float64)[:, None]
    x, y = (torch.linspace(a, b, 25, dtype=torch.float64) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2)


# --------------------------------------------------------------------------------------------------- a sure opponent


def vanishing(game, target, steps=300, frames=31):
    """Train D alone against a generator that stands still, and see what gradient each loss would leave it.

    Returns a dict of tensors (frames,): steps, right (the share of D's verdicts that are right), score_fake (their
    mean), and for each of gan.LOSSES the mean length of the gradient of G's loss by a generated point. D is trained
    with the loss of the game; the other losses are only asked.
    """
    _check_target(game, target)
    g = torch.Generator().manual_seed(training.seed_of(game.seed, "shown"))
    z, real = shown_z(game, 256), target.sample(256, generator=g)
    generator, discriminator = players(game)
    samples = generator(z).detach()
    _, optimizer = optimizers(game, generator, discriminator)
    at, rows = torch.linspace(0, steps, frames).round().long().unique(), []
    for step, draws in enumerate(rounds(game.replace(discriminator_steps=1), target)):
        if step == at[len(rows)]:
            arrows = {loss: pulls(loss, discriminator, samples)[0].norm(dim=1).mean() for loss in gan.LOSSES}
            with torch.no_grad():
                on_real, on_fake = discriminator(real)[:, 0], discriminator(samples)[:, 0]
            right = ((on_real > 0).double().mean() + (on_fake < 0).double().mean()) / 2
            rows.append(arrows | {"right": right, "score_fake": on_fake.mean()})
        if step == steps:
            return {"steps": at} | {k: torch.stack([row[k] for row in rows]) for k in rows[0]}
        discriminator_step(game, generator, discriminator, optimizer, draws["x"][0], draws["z"][0], draws["u"][0])


def _check_target(game, target):
    if not isinstance(target, Mixture) or target.dim != game.dim:
        what = f"one in {target.dim}" if isinstance(target, Mixture) else type(target).__name__
        raise Error(f"the target of this game must be a Mixture in dimension {game.dim}, got {what}")


def _copy(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def _normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _numbers(x):
    return torch.tensor(x, dtype=torch.float64)
