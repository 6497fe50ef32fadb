"""Variational inference on a model small enough to know the truth: the ELBO, families to maximise it over, and the gap.

A hidden z >= 0 makes an observation x:  p(z) = e^{-z},  x | z ~ N(z, 1).  Completing the square in z gives everything:

    p(x, z) = e^{1/2 - x} N(z; x - 1, 1)  for z >= 0,     log p(x) = 1/2 - x + log Phi(x - 1),
    p(z | x) = N(x - 1, 1) cut off below 0,               log p(x) = ELBO(q; x) + D(q(z) ‖ p(z | x)),

where ELBO(q; x) = E_q[log p(x, z) - log q(z)] and Phi is the distribution function of N(0, 1). So the bound, and the
gap that it leaves, can be checked for any q. All results are in nats.

Jordan, Ghahramani, Jaakkola and Saul, "An Introduction to Variational Methods for Graphical Models", Machine Learning
37, 1999; Blei, Kucukelbir and McAuliffe, "Variational Inference: A Review for Statisticians", arXiv:1601.00670.
"""

import math
from dataclasses import dataclass

import torch

from gentut import Error, checks, choose
from gentut.families import (
    FAMILIES,
    LOG_ROOT_2PI,
    Exponential,
    Family,
    Gamma,
    LogNormal,
    Normal,
    TruncatedNormal,
    expectation,
)

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


# ------------------------------------------------------------------------------------------------ the bound and the gap


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
