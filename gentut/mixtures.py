"""Distributions whose density is known, so that a game played for them has a right answer.

A mixture of Gaussians can be drawn from and has a density p. If the generator's density q is known too, then so are
the best discriminator and the value of the game against it:

    D*(x) = p(x) / (p(x) + q(x)),        V(D*) = 2 JS(p, q) - log 4

Goodfellow et al., arXiv:1406.2661, proposition 1 and theorem 1. Densities are given on a grid of equal cells.
"""

import math
from dataclasses import dataclass

import torch

from gentut import Error, checks, probability


@dataclass(frozen=True, eq=False)
class Mixture:
    """Round Gaussians in `dim` dimensions.

    means: (k, dim), or (k,) in one dimension. sigmas: (k,), the standard deviation of each along every axis. weights:
    (k,), by default equal. All are turned into float64 tensors, and all answers are float64. Raises Error where the
    shapes do not fit, a sigma or a weight is not positive, or the weights do not sum to 1.
    """

    means: torch.Tensor
    sigmas: torch.Tensor
    weights: torch.Tensor = None

    def __post_init__(self):
        means = checks.finite(self.means, "means").double()
        means = means[:, None] if means.ndim == 1 else means
        sigmas = checks.positive(self.sigmas, "sigmas").double()
        k = len(means) if means.ndim == 2 and means.shape[1] else 0
        even = torch.full((k,), 1 / max(k, 1), dtype=torch.float64)
        weights = even if self.weights is None else checks.positive(self.weights, "weights").double()
        if not k or sigmas.shape != (k,) or weights.shape != (k,):
            shapes = ", ".join(str(tuple(t.shape)) for t in (means, sigmas, weights))
            raise Error(f"means, sigmas and weights must have the shapes (k, dim), (k,) and (k,), got {shapes}")
        checks.probabilities(weights, "weights")
        for name, value in (("means", means), ("sigmas", sigmas), ("weights", weights)):
            object.__setattr__(self, name, value)

    @property
    def dim(self):
        """Numbers in a point."""
        return self.means.shape[1]

    def log_density(self, x):
        """log p(x) in nats at the points x (n, dim), or (n,) in one dimension: (n,)."""
        x = self.points(x)
        squares = ((x[:, None] - self.means) ** 2).sum(2) / self.sigmas**2  # (n, k)
        log_bumps = -0.5 * squares - self.dim * (self.sigmas.log() + 0.5 * math.log(2 * math.pi))
        return (log_bumps + self.weights.log()).logsumexp(1)

    def sample(self, n, *, generator=None):
        """n points, (n, dim). generator: a torch.Generator or a seed."""
        g = checks.generator(generator)
        which = torch.multinomial(self.weights, checks.whole(n, "n", 1), replacement=True, generator=g)
        noise = torch.randn(n, self.dim, generator=g, dtype=torch.float64)
        return self.means[which] + self.sigmas[which, None] * noise

    def cdf(self, x):
        """F(x), the probability of a number below x, in one dimension: the shape of x. Raises Error in more."""
        self._on_the_line("distribution function")
        x = checks.numbers_of(x, "x").double()
        return torch.special.ndtr((x[..., None] - self.means[:, 0]) / self.sigmas) @ self.weights

    def quantile(self, u):
        """F⁻¹(u) by bisection, in one dimension, for u in [0, 1]: the shape of u. Raises Error in more.

        0 and 1 give the ends of the interval that is searched: 9 sigmas outside the bumps.
        """
        self._on_the_line("quantile function")
        low, high = (self.means[:, 0] - 9 * self.sigmas).min(), (self.means[:, 0] + 9 * self.sigmas).max()
        return probability.numerical_quantile(self.cdf, checks.numbers_of(u, "u").double(), low, high)

    def points(self, x, name="x"):
        """The argument as float64 points (n, dim) of this mixture's space; raises Error for another shape."""
        x = checks.numbers_of(x, name).double()
        x = x[:, None] if x.ndim == 1 and self.dim == 1 else x
        if x.ndim != 2 or x.shape[1] != self.dim or not len(x):
            raise Error(f"{name} must have shape (n, {self.dim}) with n of at least 1, got {tuple(x.shape)}")
        return x

    def _on_the_line(self, what):
        if self.dim != 1:
            raise Error(f"a {what} needs numbers in one dimension, this mixture has {self.dim}")


def pair():
    """The chapter's mixture on the line: a wide bump at -1 with 60 % of the numbers, a narrow one at 1 with 40 %."""
    return Mixture([-1.0, 1.0], [0.4, 0.2], [0.6, 0.4])


def ring(modes=8, radius=1.0, sigma=0.05):
    """Equal Gaussians on a circle in the plane, the classic test for dropped modes."""
    modes = checks.whole(modes, "modes", 1)
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    radius = checks.positive(radius, "radius").double()
    return Mixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), [float(sigma)] * modes)


# -------------------------------------------------------------------------------------------------- the game's answers


def optimal_discriminator(log_p, log_q):
    """D*(x) = p / (p + q) from the two log densities at the same points, the same shape.

    It is the logistic function of log p - log q, so neither a tiny nor a huge density overflows. Where both are 0 no
    point ever comes from either, and the answer is 1/2.
    """
    log_p, log_q = checks.numbers_of(log_p, "log_p"), checks.numbers_of(log_q, "log_q")
    checks.same_shape(log_p, log_q, ("log_p", "log_q"))
    return torch.where(log_p == log_q, 0.0, log_p - log_q).sigmoid()


def value(d, p, q, width):
    """V(D) = ∫ p log D + q log(1 - D) dx in nats, as a sum over a grid of cells of size `width`; a 0-d tensor.

    d: the discriminator's D(x) in [0, 1]; p, q: the data's and the generator's density; all (n,). D is kept off 0 and 1
    by the smallest step of its type: being sure and wrong costs much (37 nats in float64), but not infinitely.
    """
    d, p, q = _on_a_grid(d, p, q)
    if (d < 0).any() or (d > 1).any():
        raise Error(f"d must lie in [0, 1], got values from {d.min():g} to {d.max():g}")
    kind = torch.finfo(d.dtype)
    d = d.clamp(kind.tiny, 1 - kind.eps / 2)
    return (p * d.log() + q * (-d).log1p()).sum() * checks.positive(width, "width")


def jensen_shannon(p, q, width):
    """JS(p, q) = ½ D(p ‖ m) + ½ D(q ‖ m), m = (p + q) / 2, in nats, over a grid of cells of size `width`; 0-d."""
    p, q = _on_a_grid(p, q)
    middle = ((p + q) / 2).clamp(min=torch.finfo(p.dtype).tiny)  # 0 / 0: no point ever falls there
    return ((torch.xlogy(p, p / middle) + torch.xlogy(q, q / middle)).sum() / 2) * checks.positive(width, "width")


def _on_a_grid(*given):
    """Densities or other values at the same cells, not negative."""
    given = [checks.finite(v, "a density") for v in given]
    if any(v.shape != given[0].shape for v in given):
        shapes = ", ".join(str(tuple(v.shape)) for v in given)
        raise Error(f"all values must be given at the same cells, got the shapes {shapes}")
    if any((v < 0).any() for v in given[-2:]):
        raise Error("densities must not be negative")
    return given


# ------------------------------------------------------------------------------------------- how near samples are to it


def modes_found(samples, mixture, within=3.0, share=0.25):
    """(number of modes found, share of samples near any mode), from samples (n, dim).

    A sample is near a mode if it lies within `within` sigmas of its mean. A mode is found if at least `share` of the
    samples that its weight would give it are near it: with 8 equal modes and a quarter, one sample in 32.
    """
    samples = mixture.points(samples, "samples")
    near = torch.cdist(samples, mixture.means) <= within * mixture.sigmas  # (n, k)
    found = near.double().mean(0) >= share * mixture.weights
    return int(found.sum()), near.any(1).double().mean().item()


def earth_movers_distance(samples, mixture):
    """How far samples (n,) or (n, 1) must move on average to become the mixture, in the unit of x: W₁ on the line.

    The i-th smallest of n samples goes to the quantile (i - 1/2) / n.
    """
    samples = mixture.points(samples, "samples")
    n = len(samples)
    targets = mixture.quantile((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    return (samples[:, 0].sort().values - targets).abs().mean().item()
