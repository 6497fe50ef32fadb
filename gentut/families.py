"""Families of distributions on z >= 0 that the variational chapter fits: log-density, draws with gradients, moments.

Each draw is a differentiable function of noise that does not depend on the parameters. Where no formula for it exists
(truncated normal, gamma), it is differentiated implicitly, through F(z) = u: Figurnov, Mohamed and Mnih, "Implicit
Reparameterization Gradients", arXiv:1805.08498. The plain normal is here too, which has mass below 0: it is the
mistake of "Break it".
"""

import functools
import math

import numpy as np
import torch
from scipy.special import ndtri_exp

from gentut import Error, checks

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
# The quadrature goes out to where a density has fallen by e^-85 from its peak: far below the rounding of float64, so
# that the tails still count when they are multiplied by z² or by log z.
FAR = 85.0


class Family:
    """A distribution q(z) with tensors as parameters, any batch shape; scalars are a batch of shape ().

    Parameters that must be positive are seen by gradient ascent through their logarithm, so that it may go anywhere:
    `unconstrained` (*batch, k) holds these free numbers, `from_unconstrained` is the way back.
    """

    names = ()  # of the parameters, in the constructor's order
    positive = ()  # which of them must be positive
    lowest = 0.0  # q has no mass below it
    history = None  # after `fit`: the estimate of the ELBO at each step, (steps, *batch)

    def _set(self, *values):
        pairs = zip(self.names, self.positive, values, strict=True)
        values = [checks.positive(v, name) if above else checks.finite(v, name) for name, above, v in pairs]
        try:
            values = torch.broadcast_tensors(*values)
        except RuntimeError:
            shapes = " and ".join(str(tuple(v.shape)) for v in values)
            raise Error(f"{' and '.join(self.names)} must broadcast, got the shapes {shapes}") from None
        for name, value in zip(self.names, values, strict=True):
            setattr(self, name, value)

    @property
    def parameters(self):
        """The parameters, in the constructor's order."""
        return tuple(getattr(self, name) for name in self.names)

    @property
    def batch(self):
        """The batch shape."""
        return self.parameters[0].shape

    def map(self, function):
        """The same family with `function` applied to each parameter."""
        return type(self)(*map(function, self.parameters))

    def expand(self, shape):
        """The same distribution, repeated to the batch shape `shape`."""
        return self.map(lambda p: p.expand(shape))

    @property
    def unconstrained(self):
        """The free numbers of gradient ascent, (*batch, k): each parameter, or its logarithm if it must be positive."""
        pairs = zip(self.parameters, self.positive, strict=True)
        return torch.stack([p.log() if above else p for p, above in pairs], dim=-1)

    @classmethod
    def from_unconstrained(cls, free):
        """The distribution with the free numbers (*batch, k); gradients flow through."""
        pairs = zip(free.unbind(-1), cls.positive, strict=True)
        return cls(*[p.exp() if above else p for p, above in pairs])

    def __repr__(self):
        shown = (f"{name}={getattr(self, name).detach().tolist()}" for name in self.names)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _noise(self, draw, n, generator):
        """Noise (n, *batch) from `draw` (torch.rand or torch.randn), in float64."""
        shape = (checks.whole(n, "n", 1), *self.batch)
        return draw(shape, generator=checks.generator(generator), dtype=torch.float64)


class TruncatedNormal(Family):
    """N(loc, scale²) cut off below 0: the density is N(z; loc, scale²) / Phi(loc / scale) on z >= 0.

    loc and scale are those of the normal before it is cut. Stable however far below 0 loc lies.
    """

    names, positive = ("loc", "scale"), (False, True)

    def __init__(self, loc, scale):
        self._set(loc, scale)

    def log_prob(self, z):
        """log q(z), -inf where z < 0."""
        z = checks.numbers_of(z, "z")
        a, y = self.loc / self.scale, z / self.scale
        # Two forms of log N(y; a, 1) - log Phi(a). Far below 0 the first is a difference of huge numbers.
        direct = -0.5 * (y - a).square() - LOG_ROOT_2PI - torch.special.log_ndtr(a)
        tail = a * y - 0.5 * y.square() - _log_mills(a)
        return torch.where(z < 0, -torch.inf, torch.where(a < 0, tail, direct) - self.scale.log())

    def rsample(self, n, generator):
        """n draws (n, *batch) that loc and scale have gradients through.

        Inverse transform: draw u uniformly, and solve P(Z > z) = 1 - u. The last Newton step towards the solution is
        left in the graph of autograd. It polishes the draw, and its derivative is the implicit one, -(∂F/∂φ) / q(z):
        Figurnov, Mohamed and Mnih, arXiv:1805.08498.
        """
        u = self._noise(torch.rand, n, generator).clamp_min(2.0**-54)
        log_survival = torch.log1p(-u)
        with torch.no_grad():
            loc, scale = self.loc.double(), self.scale.double()
            target = log_survival + torch.special.log_ndtr(loc / scale)
            z = (loc - scale * torch.from_numpy(np.asarray(ndtri_exp(target.numpy())))).clamp_min(0)
            for _ in range(2):  # where loc is far below 0, loc - scale · quantile has lost digits
                z = (z + (_log_survival(z, loc, scale) - log_survival) / _hazard(z, loc, scale)).clamp_min(0)
            hazard = _hazard(z, loc, scale)
        z = z + (_log_survival(z, self.loc.double(), self.scale.double()) - log_survival) / hazard
        return z.clamp_min(0).to(self.loc.dtype)

    @property
    def mean(self):
        """E[z]."""
        return expectation(self, lambda z: z).to(self.loc.dtype)

    @property
    def variance(self):
        """Var[z]. By quadrature, like the mean: the closed form cancels where loc is far below 0."""
        mean = expectation(self, lambda z: z)
        return expectation(self, lambda z: (z - mean).square()).to(self.loc.dtype)

    def _panels(self):
        a = self.loc / self.scale
        peak, low = a.clamp_min(0), a.clamp_max(0)
        above = 2 * FAR / (low.abs() + (low.square() + 2 * FAR).sqrt())  # solves ½ y² - low · y = FAR
        edges = torch.stack([(peak - math.sqrt(2 * FAR)).clamp_min(0), peak + above])
        return "z", edges * self.scale


class LogNormal(Family):
    """log z ~ N(loc, scale²)."""

    names, positive = ("loc", "scale"), (False, True)

    def __init__(self, loc, scale):
        self._set(loc, scale)

    def log_prob(self, z):
        """log q(z), -inf where z <= 0."""
        z = checks.numbers_of(z, "z")
        log_z = torch.where(z > 0, z, 1).log()
        inside = -0.5 * ((log_z - self.loc) / self.scale).square() - log_z - self.scale.log() - LOG_ROOT_2PI
        return torch.where(z > 0, inside, -torch.inf)

    def rsample(self, n, generator):
        """n draws (n, *batch): exp(loc + scale · ε), ε ~ N(0, 1)."""
        return (self.loc + self.scale * self._noise(torch.randn, n, generator).to(self.loc.dtype)).exp()

    @property
    def mean(self):
        """E[z]."""
        return (self.loc + 0.5 * self.scale.square()).exp()

    @property
    def variance(self):
        """Var[z]."""
        return torch.expm1(self.scale.square()) * self.mean.square()

    def _panels(self):
        out = math.sqrt(2 * FAR) * self.scale  # and 2 scale² more, which is how far z² moves the peak
        return "log z", torch.stack([self.loc - out, self.loc + out + 2 * self.scale.square()])


class Gamma(Family):
    """Density rate^concentration z^(concentration - 1) e^(-rate z) / Gamma(concentration)."""

    names, positive = ("concentration", "rate"), (True, True)

    def __init__(self, concentration, rate):
        self._set(concentration, rate)

    def log_prob(self, z):
        """log q(z), -inf where z < 0."""
        z = checks.numbers_of(z, "z")
        inside = torch.special.xlogy(self.concentration - 1, z.clamp_min(0)) - self.rate * z
        constant = self.concentration * self.rate.log() - torch.lgamma(self.concentration)
        return torch.where(z < 0, -torch.inf, inside + constant)

    def rsample(self, n, generator):
        """n draws (n, *batch).

        No closed quantile function exists. torch draws by rejection and differentiates the distribution function
        instead (implicit reparameterisation, arXiv:1805.08498), as torch.distributions.Gamma.rsample does.
        """
        shape = (checks.whole(n, "n", 1), *self.batch)
        z = torch._standard_gamma(self.concentration.expand(shape), generator=checks.generator(generator)) / self.rate
        return z.clamp_min(torch.finfo(z.dtype).tiny)  # a small concentration draws numbers that round to 0

    @property
    def mean(self):
        """E[z]."""
        return self.concentration / self.rate

    @property
    def variance(self):
        """Var[z]."""
        return self.mean / self.rate

    def _panels(self):
        k = self.concentration
        peak = (k / self.rate).log()  # of the density of log z, which falls like z^k to the left
        below = FAR / k + (2 * FAR / k).sqrt()
        above = torch.minimum(torch.log1p(2 * FAR / k) + 1, (3 * FAR / k).sqrt() + 4 / k)
        return "log z", torch.stack([peak - below, peak - below.clamp_max(3), peak, peak + above])


class Exponential(Family):
    """Density rate · e^(-rate z) on z >= 0."""

    names, positive = ("rate",), (True,)

    def __init__(self, rate):
        self._set(rate)

    def log_prob(self, z):
        """log q(z), -inf where z < 0."""
        z = checks.numbers_of(z, "z")
        return torch.where(z < 0, -torch.inf, self.rate.log() - self.rate * z)

    def rsample(self, n, generator):
        """n draws (n, *batch): -log(1 - u) / rate, u uniform."""
        return -torch.log1p(-self._noise(torch.rand, n, generator)).to(self.rate.dtype) / self.rate

    @property
    def mean(self):
        """E[z]."""
        return 1 / self.rate

    @property
    def variance(self):
        """Var[z]."""
        return self.rate**-2

    def _panels(self):
        return "z", torch.stack([torch.zeros_like(self.rate), FAR / self.rate])


class Normal(Family):
    """N(loc, scale²) on the whole line. It has mass below 0, where p(z | x) = 0: its ELBO is -inf."""

    names, positive, lowest = ("loc", "scale"), (False, True), -math.inf

    def __init__(self, loc, scale):
        self._set(loc, scale)

    def log_prob(self, z):
        """log q(z)."""
        z = checks.numbers_of(z, "z")
        return -0.5 * ((z - self.loc) / self.scale).square() - self.scale.log() - LOG_ROOT_2PI

    def rsample(self, n, generator):
        """n draws (n, *batch): loc + scale · ε, ε ~ N(0, 1)."""
        return self.loc + self.scale * self._noise(torch.randn, n, generator).to(self.loc.dtype)

    @property
    def mean(self):
        """E[z]."""
        return self.loc

    @property
    def variance(self):
        """Var[z]."""
        return self.scale.square()

    def _panels(self):
        out = math.sqrt(2 * FAR) * self.scale
        return "z", torch.stack([self.loc - out, self.loc + out])


FAMILIES = {
    "truncated normal": TruncatedNormal, "log-normal": LogNormal, "gamma": Gamma, "exponential": Exponential,
    "normal": Normal,
}  # fmt: skip


def _log_mills(t):
    """log(Phi(t) / N(t; 0, 1)); about -log(-t) far below 0, where both are 0 in floating point."""
    low, high = t.clamp_max(0), t.clamp_min(0)  # each branch sees only what it can take: `where` differentiates both
    below = torch.special.erfcx(-low * math.sqrt(0.5)).log() + 0.5 * math.log(math.pi / 2)
    above = torch.special.log_ndtr(high) + 0.5 * high.square() + LOG_ROOT_2PI
    return torch.where(t < 0, below, above)


def _log_survival(z, loc, scale):
    """log P(Z > z) of a truncated normal: log Phi((loc - z) / scale) - log Phi(loc / scale), without cancellation."""
    a, y = loc / scale, z / scale
    tail = a * y - 0.5 * y.square() + _log_mills(a - y) - _log_mills(a.clamp_max(0))
    direct = torch.special.log_ndtr(a - y) - torch.special.log_ndtr(a)
    return torch.where(a < 0, tail, direct)


def _hazard(z, loc, scale):
    """-d log P(Z > z) / dz of a truncated normal."""
    return (-_log_mills((loc - z) / scale)).exp() / scale


# --------------------------------------------------------------------------------------------------- averages over them


@functools.cache
def _gauss_legendre(n):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def expectation(q, function, points=256):
    """E_q[function(z)] by Gauss-Legendre quadrature where q has its mass, float64 (*batch).

    `function` takes z (nodes, *batch). Meant for smooth functions that grow like powers of z or log z, for which it
    is good to about 12 digits. Gradients flow through the parameters of q and through what `function` uses.
    """
    nodes, weights = _gauss_legendre(checks.whole(points, "points", 2))
    with torch.no_grad():  # where the nodes lie does not change the integral
        coordinate, edges = q.map(lambda p: p.detach().double())._panels()  # (panels + 1, *batch)
        middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        shape = (len(nodes), *(1 for _ in range(half.ndim)))
        t = middle + half * nodes.view(shape)  # (points, panels, *batch)
        weight = half * weights.view(shape)
        z = t if coordinate == "z" else t.exp()
        z, weight = z.flatten(0, 1), (weight * (1 if coordinate == "z" else z)).flatten(0, 1)
    mass = weight * q.map(torch.Tensor.double).log_prob(z).exp()  # (points · panels, *batch)
    # A node without mass adds nothing, whatever the function is there.
    return torch.where(mass > 0, mass * torch.where(mass > 0, function(z), 0), 0).sum(0)
