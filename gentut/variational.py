"""Variational inference on a model small enough to know the truth: the ELBO, families to maximise it over, and the gap.

A hidden z >= 0 makes an observation x:  p(z) = e^{-z},  x | z ~ N(z, 1).  Completing the square in z gives everything:

    p(x, z) = e^{1/2 - x} N(z; x - 1, 1)  for z >= 0,     log p(x) = 1/2 - x + log Phi(x - 1),
    p(z | x) = N(x - 1, 1) cut off below 0,               log p(x) = ELBO(q; x) + D(q(z) ‖ p(z | x)),

where ELBO(q; x) = E_q[log p(x, z) - log q(z)] and Phi is the distribution function of N(0, 1). So the bound, and the
gap that it leaves, can be checked for any q. All results are in nats.

Jordan, Ghahramani, Jaakkola and Saul, "An Introduction to Variational Methods for Graphical Models", Machine Learning
37, 1999; Blei, Kucukelbir and McAuliffe, "Variational Inference: A Review for Statisticians", arXiv:1601.00670.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri_exp

from gentut import Error, checks, choose

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
# The quadrature goes out to where a density has fallen by e^-85 from its peak: far below the rounding of float64, so
# that the tails still count when they are multiplied by z² or by log z.
FAR = 85.0


# ------------------------------------------------------------------------------------------------------------ the model


def log_joint(x, z):
    """log p(x, z) = -z - ½(x - z)² - ½ log 2π in nats, and -inf where z < 0; x and z broadcast."""
    x, z = checks.numbers_of(x, "x"), checks.numbers_of(z, "z")
    inside = -z - 0.5 * (x - z).square() - LOG_ROOT_2PI
    return torch.where(z < 0, -torch.inf, inside)


def log_evidence(x):
    """log p(x) = ½ - x + log Phi(x - 1) in nats, in the shape of x, exact to rounding far into both tails.

    Raises Error if x is not finite.
    """
    x = checks.finite(x, "x")
    return 0.5 - x + torch.special.log_ndtr(x - 1)  # log of Phi would be log 0 from x = -38 on; log_ndtr is not


def posterior(x):
    """The true posterior p(z | x): N(x - 1, 1) cut off below 0."""
    x = checks.finite(x, "x")
    return TruncatedNormal(x - 1, torch.ones_like(x))


def log_posterior(z, x):
    """log p(z | x) in nats, -inf where z < 0; z and x broadcast."""
    return posterior(x).log_prob(z)


# --------------------------------------------------------------------------------------------------------- the families


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


# ------------------------------------------------------------------------------------------------ the bound and the gap


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


def elbo(q, x, joint=log_joint):
    """ELBO(q; x) = E_q[log p(x, z) - log q(z)] in nats by quadrature, float64, in the broadcast shape of q and x.

    It is -inf if q has any mass below 0. `joint(x, z)` may be the log-density of another model on z >= 0.
    """
    return _average(q, x, lambda q, x, z: joint(x, z) - q.log_prob(z), -math.inf)


def kl(q, x):
    """D(q(z) ‖ p(z | x)) in nats by quadrature, float64; +inf if q has any mass below 0.

    It uses the true posterior, which one has only in a model as small as this.
    """
    return _average(q, x, lambda q, x, z: q.log_prob(z) - log_posterior(z, x), math.inf)


def _average(q, x, function, without_support):
    q, x = _paired(q, x)
    if q.lowest < 0:
        return torch.full(x.shape, without_support, dtype=torch.float64)
    return expectation(q, lambda z: function(q, x, z))


def elbo_monte_carlo(q, x, n, generator, joint=log_joint):
    """ELBO(q; x) from n draws of z: (mean, standard error of the mean), in the broadcast shape of q and x.

    One draw at which p(x, z) = 0 makes the mean -inf (and its standard error inf). n must be at least 2.
    """
    q, x = _paired(q, x, torch.result_type(q.parameters[0], checks.finite(x, "x")))
    with torch.no_grad():
        z = q.rsample(checks.whole(n, "n", 2), generator)  # (n, *batch)
        values = joint(x, z) - q.log_prob(z)
        mean = values.mean(0)
        return mean, torch.where(mean.isinf(), torch.inf, values.std(0) / math.sqrt(n))


def _paired(q, x, dtype=torch.float64):
    """q and x with the same batch shape and type."""
    if not isinstance(q, Family):
        raise Error(f"q must be a distribution such as TruncatedNormal(2.0, 0.5), got {type(q).__name__}: {q!r}")
    x = checks.finite(x, "x")
    try:
        shape = torch.broadcast_shapes(q.batch, x.shape)
    except RuntimeError:
        raise Error(f"q and x must broadcast, got the shapes {tuple(q.batch)} and {tuple(x.shape)}") from None
    return q.map(lambda p: p.to(dtype).expand(shape)), x.to(dtype).expand(shape)


# ------------------------------------------------------------------------------------------------------------ gradients

ESTIMATORS = ("score", "score, baseline", "reparameterised", "path")


def gradient(q, x):
    """The exact gradient of the ELBO with respect to q.unconstrained, (*batch, k), through the quadrature."""
    q, x = _paired(q, x)
    free = q.unconstrained.detach().clone().requires_grad_()
    return torch.autograd.grad(elbo(type(q).from_unconstrained(free), x).sum(), free)[0]


def draw_gradients(q, x, n, estimator, generator):
    """n estimates of that gradient from one draw of z each, (n, k), for a q and an x without a batch.

    All four have the exact gradient as their expectation. With f(z) = log p(x, z) - log q(z) and parameters φ of q:

    "score"             f(z) ∂ log q(z) / ∂φ, needs no derivative of the model (Ranganath et al., arXiv:1401.0118)
    "score, baseline"   the same with f minus its mean over the other draws
    "reparameterised"   ∂ f(z(u, φ)) / ∂φ, u the noise behind z (Kingma and Welling, arXiv:1312.6114)
    "path"              the same without ∂ log q(z) / ∂φ at fixed z, whose mean is 0 (Roeder et al., arXiv:1703.09194)
    """
    choose("estimator", estimator, ESTIMATORS)
    q, x = _paired(q, x)
    if x.ndim:
        raise Error(f"draw_gradients takes one q and one x, got the batch shape {tuple(x.shape)}")
    if q.lowest < 0:
        raise Error(f"the ELBO of {type(q).__name__} is -inf, which has no gradient")
    free = q.unconstrained.detach().expand(checks.whole(n, "n", 2), -1).clone().requires_grad_()
    moving = type(q).from_unconstrained(free)  # n copies of q, so that each draw has a gradient of its own
    still = type(q).from_unconstrained(free.detach())
    if estimator.startswith("score"):
        z = still.rsample(1, generator)[0]
        f = log_joint(x, z) - still.log_prob(z)
        if "baseline" in estimator:
            f = f - (f.sum() - f) / (n - 1)
        total = f * moving.log_prob(z)
    else:
        z = moving.rsample(1, generator)[0]
        total = log_joint(x, z) - (still if estimator == "path" else moving).log_prob(z)
    return torch.autograd.grad(total.sum(), free)[0]


def elbo_gradient(loc, scale, x):
    """The ELBO of TruncatedNormal(loc, scale): its exact gradient (∂/∂loc, ∂/∂log scale).

    log p(x, z) - log q(z) is c1 z + c2 z² + constant, with c1 = x - 1 - loc / scale² and c2 = ½(1 / scale² - 1), and a
    gradient is a covariance under q: ∂ELBO/∂φ = Cov(∂ log q(z)/∂φ, c1 z + c2 z²). At loc = x - 1, scale = 1 it is 0.
    """
    q, x = _paired(TruncatedNormal(loc, scale), x)
    loc, precision = q.loc, q.scale**-2
    c1, c2 = x - 1 - loc * precision, 0.5 * (precision - 1)

    def centred(function):
        mean = expectation(q, function)
        return lambda z: function(z) - mean

    rest = centred(lambda z: c1 * z + c2 * z.square())
    by_loc = centred(lambda z: precision * z)
    by_log_scale = centred(lambda z: precision * (z.square() - 2 * loc * z))
    return tuple(expectation(q, lambda z, s=score: s(z) * rest(z)) for score in (by_loc, by_log_scale))


def ascend(loc, scale, x, rate=0.1):
    """One step of gradient ascent on the ELBO of TruncatedNormal(loc, scale): the new (loc, scale), float64.

    loc += rate · ∂ELBO/∂loc and log scale += rate · ∂ELBO/∂log scale, both exact.
    """
    rate = checks.positive(rate, "rate")
    by_loc, by_log_scale = elbo_gradient(loc, scale, x)
    q, _ = _paired(TruncatedNormal(loc, scale), x)
    return q.loc + rate * by_loc, q.scale * (rate * by_log_scale).exp()


# ------------------------------------------------------------------------------------------------------------- to fit q


def fit(family, x, *, steps=1000, learning_rate=0.1, draws=64, generator, start=None):
    """Maximise the ELBO over a family by gradient ascent; returns the fitted q, with its estimates in q.history.

    family: a class of this module, or its name in FAMILIES. x: any shape; each x gets its own q, all at once. Each step
    follows the mean of `draws` gradients ("path" of draw_gradients) with Adam, whose step size falls to 0 along a half
    cosine. `start` is the first q; by default one near the right place (start_of).
    Raises Error for an unknown family, x not finite, numbers that are not positive, and a fit that diverges.
    """
    family = FAMILIES[choose("family", family, FAMILIES)] if isinstance(family, str) else family
    if not (isinstance(family, type) and issubclass(family, Family) and family is not Family):
        raise Error(f"family must be one of {', '.join(FAMILIES)} or its class, got {family!r}")
    x = checks.finite(x, "x").detach().double()
    steps, draws = checks.whole(steps, "steps", 1), checks.whole(draws, "draws", 1)
    rate, generator = checks.positive(learning_rate, "learning_rate"), checks.generator(generator)
    start = start_of(family, x) if start is None else start
    if not isinstance(start, family):
        raise Error(f"start must be a {family.__name__}, got {start!r}")
    start, x = _paired(start, x)
    free = start.unconstrained.detach().clone().requires_grad_()
    adam = torch.optim.Adam([free], lr=float(rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    history = torch.empty(steps, *x.shape, dtype=torch.float64)
    for step in range(steps):
        try:
            moving, still = family.from_unconstrained(free), family.from_unconstrained(free.detach())
        except Error as why:
            raise Error(f"the fit diverged in step {step}: {why}. Try a smaller learning_rate.") from None
        z = moving.rsample(draws, generator)  # (draws, *batch)
        estimate = (log_joint(x, z) - still.log_prob(z)).mean(0)
        history[step] = estimate.detach()
        adam.zero_grad()
        (-estimate.sum()).backward()
        adam.step()
        schedule.step()
    fitted = family.from_unconstrained(free.detach())
    fitted.history = history
    return fitted


def start_of(family, x):
    """A q of the family to begin a fit with: about as far from 0 and as wide as the posterior, which is not used."""
    x = checks.finite(x, "x")
    centre = torch.where(x > 2, x - 1, 1 / (1 + (2 - x).clamp_min(0)))
    width = centre.clamp_max(1)
    return {
        TruncatedNormal: lambda: TruncatedNormal(x, torch.ones_like(x)),
        Normal: lambda: Normal(centre, width),
        LogNormal: lambda: LogNormal(centre.log(), width / centre),
        Gamma: lambda: Gamma((centre / width).square(), centre / width.square()),
        Exponential: lambda: Exponential(1 / centre),
    }[family]()


# ----------------------------------------------------------------------------------------------------------- mean field


@dataclass(frozen=True)
class MeanField:
    """What coordinate ascent found: q(z) = the product over i of N(mean_i, variance_i)."""

    means: torch.Tensor  # (1 + steps · d, *batch, d): the start, then after each single coordinate's update
    variances: torch.Tensor  # (*batch, d), which no step changes
    kl: torch.Tensor  # (1 + steps · d, *batch): D(q ‖ p) in nats along the way

    @property
    def mean(self):
        """The last mean, (*batch, d)."""
        return self.means[-1]


def coordinate_ascent(mean, covariance, steps=20, start=None):
    """Fit q(z) = Π_i q_i(z_i) to p = N(mean, covariance) by coordinate ascent (CAVI), one factor at a time.

    With the precision matrix P = covariance⁻¹, the best factor i given the others is normal with variance 1 / P_ii and
    mean  mean_i - Σ_{j ≠ i} P_ij (m_j - mean_j) / P_ii.  1 / P_ii is the variance of z_i when all others are known:
    never more than covariance_ii, the variance of z_i. Blei, Kucukelbir and McAuliffe, arXiv:1601.00670, section 2.4;
    Bishop, "Pattern Recognition and Machine Learning", 2006, section 10.1.2.

    mean: (*batch, d). covariance: (*batch, d, d), symmetric and positive definite. steps: sweeps over all coordinates.
    start: the means to begin with (*batch, d), default 0. Returns MeanField, float64.
    """
    mean, covariance = checks.finite(mean, "mean").double(), checks.finite(covariance, "covariance").double()
    steps = checks.whole(steps, "steps", 1)
    d = mean.shape[-1] if mean.ndim else 0
    if not d or covariance.shape[-2:] != (d, d):
        shapes = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
        raise Error(f"mean must be (..., d) and covariance (..., d, d), got the shapes {shapes}")
    if not torch.allclose(covariance, covariance.mT, rtol=1e-9, atol=0):
        raise Error("covariance must be symmetric")
    root, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():
        raise Error("covariance must be positive definite")
    m = torch.zeros_like(mean) if start is None else checks.finite(start, "start").double()
    try:
        shape = torch.broadcast_shapes(mean.shape, covariance.shape[:-1], m.shape)
    except RuntimeError:
        shapes = ", ".join(str(tuple(t.shape)) for t in (mean, covariance, m))
        raise Error(f"mean, covariance and start must broadcast, got the shapes {shapes}") from None
    mean, m = mean.expand(shape), m.expand(shape).clone()
    precision = torch.cholesky_inverse(root)  # (*batch, d, d)
    diagonal = precision.diagonal(dim1=-2, dim2=-1)  # (*batch, d)
    means = [m.clone()]
    for _ in range(steps):
        for i in range(d):
            pull = (precision[..., i, :] * (m - mean)).sum(-1) - diagonal[..., i] * (m[..., i] - mean[..., i])
            m[..., i] = mean[..., i] - pull / diagonal[..., i]
            means.append(m.clone())
    means = torch.stack(means)
    off = means - mean
    distance = (off * (precision @ off.unsqueeze(-1)).squeeze(-1)).sum(-1)  # (1 + steps · d, *batch)
    # D = ½ (distance + log det covariance - Σ_i log variance_i); the trace is Σ_i P_ii / P_ii = d and cancels -d.
    log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return MeanField(means, (1 / diagonal).expand(shape), 0.5 * (distance + log_det + diagonal.log().sum(-1)))
