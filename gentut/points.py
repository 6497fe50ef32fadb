"""Diffusion of points in the plane: all of the theory at a size where it trains in seconds and can be seen.

    L = E_{x_0, a, ε} ‖ε - f(x_t, a)‖²,        x_t = √a x_0 + √(1 - a) ε,        a = ᾱ_t

Ho et al., arXiv:2006.11239, equation 14 and algorithms 1 and 2. The network is told the noise level a and not the time
t, so that one network serves every schedule. What makes that work is the frame around it, from Karras et al.,
arXiv:2206.00364, section 5: the network adds to the best answer that is a straight line in x_t.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, checks
from gentut.bounds import bound, check_levels, exact_eps, noised  # noqa: F401 (the chapter calls all by this name)
from gentut.diffusion import Schedule
from gentut.randomness import seed_of

REACH = 12.0  # log SNR is told to the network within -REACH to REACH nats
TRAINED = 10.0  # without a schedule, training draws log SNR evenly from -TRAINED to TRAINED


def s_curve(n, noise=0.1, *, generator=None, scale=0.1):
    """n points along an S, (n, 2) float32, times `scale`: the notes' data, which they divide by 10.

    x = sin u, y = sign(u) (cos u - 1) with u even on -3π/2 to 3π/2, and Gaussian noise of standard deviation `noise` on
    both, before scaling. generator: a torch.Generator or a seed.
    """
    g = checks.generator(generator)
    checks.positive(scale, "scale")
    if not noise >= 0:
        raise Error(f"noise must not be negative, got {noise}")
    u = 3 * math.pi * (torch.rand(checks.whole(n, "n", 1), generator=g) - 0.5)
    curve = torch.stack([u.sin(), u.sign() * (u.cos() - 1)], dim=1)
    return scale * (curve + noise * torch.randn(n, 2, generator=g))


# --------------------------------------------------------------------------------------------------------- the network


def level_features(a, k=8):
    """What the network is told of the noise level a = ᾱ, (n,) in [0, 1]: (n, 2k) numbers in [-1, 1], float64.

    λ = log a - log(1 - a), the log SNR, kept within -12 to 12; θ = π (λ + 12) / 24, which runs from 0 to π; then
    sin θ, sin 2θ, ..., sin kθ, cos θ, cos 2θ, ..., cos kθ.
    """
    a = a.double()
    theta = math.pi * ((a.log() - (1 - a).log()).clamp(-REACH, REACH) + REACH) / (2 * REACH)
    angles = theta[:, None] * torch.arange(1, k + 1, device=a.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Net(nn.Module):
    """A multilayer perceptron 2-width-...-width-2 that finds the noise: model(x_t (n, 2), a (n,)) → ε (n, 2).

    layers: hidden layers. spread: the data's root mean square along an axis. With v = a spread² + 1 - a, the variance
    of x_t, the answer is √(1 - a) / v · x_t + √a spread / √v · g(x_t / √v, a), g the perceptron: SiLU after each hidden
    layer, to whose sum a linear layer of level_features(a) was added before. If the data were Gaussian, g = 0 would be
    exact. told=False plants a fault: the network takes every a for 1/2.
    """

    def __init__(self, width=128, layers=3, *, spread=1.0, told=True, features=8):
        super().__init__()
        widths = [2] + [checks.whole(width, "width", 1)] * checks.whole(layers, "layers", 1)
        self.layers = nn.ModuleList(map(nn.Linear, widths, [*widths[1:], 2]))
        self.levels = nn.ModuleList(nn.Linear(2 * features, width) for _ in range(layers))
        self.register_buffer("spread", checks.positive(spread, "spread").float())
        self.told, self.features = told, features

    def forward(self, x, a):
        """x (n, 2), a (n,) or one number in [0, 1] → (n, 2), in the type of x; inside, in that of the weights."""
        check_points(x)
        a = check_levels(a if self.told else 0.5, len(x))
        features = level_features(a, self.features).to(self.spread)  # (n, 2 features)
        a = a[:, None]
        v = a * self.spread**2 + 1 - a
        h = (x / v.sqrt()).to(self.spread)  # (n, 2)
        for layer, level in zip(self.layers, self.levels, strict=False):  # all but the last
            h = F.silu(layer(h) + level(features))  # (n, width)
        return ((1 - a).sqrt() / v).to(x) * x + ((a / v).sqrt() * self.spread).to(x) * self.layers[-1](h)


def check_points(x, name="x"):
    """Raise Error unless x is a float tensor (n, 2); return it."""
    if not torch.is_tensor(x) or not x.is_floating_point() or x.ndim != 2 or x.shape[1] != 2 or not len(x):
        given = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise Error(f"{name} must be points (n, 2) as a float tensor, got {given}")
    return x


def train(data, schedule=None, *, steps=6000, batch_size=256, learning_rate=3e-3, seed=0, width=128, told=True):
    """Train a Net on points (n, 2) by Ho et al.'s algorithm 1; returns (network, losses (steps,)).

    schedule: noise levels are ᾱ_t with t drawn evenly from 1..T. Without one, log SNR is drawn evenly from -10 to 10,
    which serves every schedule. The learning rate falls along half a cosine. A function of the arguments alone.
    """
    check_points(data, "data")
    if schedule is not None and not isinstance(schedule, Schedule):
        raise Error(f"schedule must be a Schedule or None, got {type(schedule).__name__}")
    g = torch.Generator().manual_seed(seed_of(checks.whole(seed, "seed"), "points"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        net = Net(width, spread=data.double().square().mean().sqrt().item(), told=told)
    optimizer = torch.optim.Adam(net.parameters(), learning_rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, checks.whole(steps, "steps", 1))
    losses = torch.zeros(steps)
    for step in range(steps):
        x0 = data[torch.randint(len(data), (checks.whole(batch_size, "batch_size", 1),), generator=g)]
        eps = torch.randn(x0.shape, generator=g)
        if schedule is None:
            a = (TRAINED * (2 * torch.rand(len(x0), generator=g, dtype=torch.float64) - 1)).sigmoid()
        else:
            a = schedule.alpha_bar[torch.randint(1, schedule.T + 1, (len(x0),), generator=g)]
        x_t = a.sqrt().to(x0)[:, None] * x0 + (1 - a).sqrt().to(x0)[:, None] * eps
        loss = (eps - net(x_t, a)).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        losses[step] = loss.detach()
    if not losses.isfinite().all():
        raise Error("the loss is no longer finite: try a smaller learning_rate")
    return net.eval(), losses


# ---------------------------------------------------------------------------------------------------- there and back


def noising(x0, schedule, *, generator=None):
    """The chain itself, step by step: (T + 1, n, 2) whose index is t, from points x0 (n, 2)."""
    g, x = checks.generator(generator), check_points(x0, "x0")
    kept = [x]
    for t in range(1, schedule.T + 1):
        x = schedule.q_step(x, t, torch.randn(x.shape, generator=g, dtype=x.dtype))
        kept.append(x)
    return torch.stack(kept)


@torch.no_grad()
def path(net, schedule, n, *, steps=None, eta=1.0, variance="posterior", generator=None, start=None):
    """Sampling step by step: (steps + 1, n, 2), x_T first and x_0 last, at the times [*schedule.timesteps(steps), 0].

    net: any function (x_t (n, 2), a (n,)) → ε. steps: T by default. eta: 1 is Ho et al.'s algorithm 2, 0 DDIM's, which
    draws nothing after x_T; variance: see Schedule.step_back. start: x_T, N(0, I) by default.
    """
    g = checks.generator(0 if start is not None and eta == 0 and generator is None else generator)
    x = torch.randn(checks.whole(n, "n", 1), 2, generator=g) if start is None else check_points(start, "start")
    if len(x) != n:
        raise Error(f"start has {len(x)} points, but n = {n}")
    times = [*schedule.timesteps(steps), 0]
    kept = [x]
    for t, s in itertools.pairwise(times):
        a = schedule.alpha_bar[t]
        x0 = (x - (1 - a).sqrt() * net(x, a.expand(n))) / a.sqrt()
        noise = torch.randn(x.shape, generator=g, dtype=x.dtype) if eta > 0 else None
        x = schedule.step_back(x, x0, t, s, eta=eta, variance=variance, noise=noise)
        kept.append(x)
    return torch.stack(kept)


def sample(net, schedule, n, **options):
    """n points out of noise, (n, 2): the last of `path`, with its options."""
    return path(net, schedule, n, **options)[-1]


# ------------------------------------------------------------------------------------------- how near to fresh data


def energy_distance(a, b):
    """2 E‖X - Y‖ - E‖X - X'‖ - E‖Y - Y'‖ between the points a (n, 2) and b (m, 2), in the unit of x; a number.

    0 only for equal distributions: Székely and Rizzo, doi:10.1016/j.jspi.2013.03.018. Means are over all pairs, a point
    with itself among them, so it is never negative, and of the order of 1 / n for two draws of one distribution.
    """
    a, b = check_points(a, "a").double(), check_points(b, "b").double()
    return (2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)).item()


def _mean_distance(a, b):
    exactly = "donot_use_mm_for_euclid_dist"  # the quick way loses small distances
    return torch.stack([torch.cdist(part, b, compute_mode=exactly).sum() for part in a.split(1000)]).sum() / (
        len(a) * len(b))


def sliced_wasserstein(a, b, directions=64):
    """How far the points a (n, 2) must move on average to cast the shadows of b (n, 2), in the unit of x; a number.

    The earth mover's distance of the shadows on a line, averaged over evenly spaced directions: Bonneel et al.,
    doi:10.1007/s10851-014-0506-3, with distances in place of their squares.
    """
    a, b = check_points(a, "a").double(), check_points(b, "b").double()
    if len(a) != len(b):
        raise Error(f"both sets need as many points, got {len(a)} and {len(b)}")
    angle = math.pi * torch.arange(checks.whole(directions, "directions", 1), dtype=torch.float64) / directions
    lines = torch.stack([angle.cos(), angle.sin()])  # (2, directions)
    return ((a @ lines).sort(dim=0).values - (b @ lines).sort(dim=0).values).abs().mean().item()


def floor(draw, n, distance=energy_distance, *, pairs=20, generator=None):
    """The distance of fresh data from fresh data: (mean, standard deviation) over pairs of draws of n points each.

    draw: a function such as s_curve, called as draw(n, generator=...). No sampler can be expected below the mean.
    """
    g = checks.generator(generator)
    found = [distance(draw(n, generator=g), draw(n, generator=g)) for _ in range(checks.whole(pairs, "pairs", 2))]
    found = torch.tensor(found, dtype=torch.float64)
    return found.mean().item(), found.std().item()
