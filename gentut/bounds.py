"""The best denoiser there is, and the bound that a denoiser gives, where the data's density is known.

    H(p_data) ≤ E[-ELBO] = L_T + Σ_{t=2..T} L_{t-1} + L_0

Ho et al., arXiv:2006.11239, equation 5: what the chain leaves of the data at T, what each step back gets wrong, and
the last step to the data itself. The data come from a `mixtures.Mixture` in any number of dimensions, so that their
entropy is known and the bound can be held against it.
"""

import math

import torch

from gentut import Error, checks, choose
from gentut.diffusion import VARIANCES, Schedule
from gentut.metrics import mean_and_error
from gentut.mixtures import Mixture


def noised(mixture, a):
    """q(x_t) at the noise level a = ᾱ_t in [0, 1], again a Mixture: means √a μ_k, variances a σ_k² + 1 - a."""
    _check(mixture)
    a = check_levels(a, 1)[0]
    return Mixture(a.sqrt() * mixture.means, (a * mixture.sigmas**2 + 1 - a).sqrt(), mixture.weights)


def exact_eps(mixture, x_t, a):
    """E[ε | x_t], the denoiser with the smallest squared error: x_t (n, dim), a = ᾱ_t (n,) or a number → (n, dim).

    x_t lies in component k with probability r_k ∝ w_k N(x_t; √a μ_k, v_k I), v_k = a σ_k² + 1 - a, and there the noise
    is √(1 - a) (x_t - √a μ_k) / v_k on average. It is -√(1 - a) ∇ log q(x_t). In the type of x_t.
    """
    x = _check(mixture).points(x_t, "x_t")
    a = check_levels(a, len(x)).to(x)[:, None]  # (n, 1)
    away = x[:, None] - a[:, :, None].sqrt() * mixture.means  # (n, k, dim)
    v = a * mixture.sigmas**2 + 1 - a  # (n, k)
    share = (mixture.weights.log() - away.square().sum(2) / (2 * v) - mixture.dim / 2 * v.log()).softmax(1)
    return ((1 - a).sqrt() * ((share / v)[:, :, None] * away).sum(1)).to(x_t)


@torch.no_grad()
def bound(mixture, schedule, denoiser, n=1000, *, variance="beta", generator=None):
    """The three terms of E[-ELBO] for data from a Mixture, in nats for a point, from n points; a dict.

    denoiser: a function (x_t (n, dim), a (n,)) → ε, such as a Net, or exact_eps with its mixture filled in. variance:
    of the steps back, "beta" (β_t) or "posterior"; the last step's is β_1 with either.

    prior: L_T, the KL of q(x_T | x_0) from N(0, I). steps: Σ L_{t-1}, the KLs of q(x_{t-1} | x_t, x_0) from the steps
    back. reconstruction: L_0 = -log N(x_0; μ(x_1), β_1 I). total: their sum. entropy: H(p_data), as the mean of -log p
    at the same points. gap: total - entropy, at least 0. errors: their standard errors, a dict. each: (T + 1,) with
    index t, the term of the step from t to t - 1; each[1] is L_0, and each[0] is 0.
    """
    choose("variance", variance, VARIANCES)
    if not isinstance(schedule, Schedule):
        raise Error(f"schedule must be a Schedule, got {type(schedule).__name__}")
    g, d = checks.generator(generator), _check(mixture).dim
    x0 = mixture.sample(checks.whole(n, "n", 2), generator=g)  # (n, dim) float64
    each = torch.zeros(schedule.T + 1, n, dtype=torch.float64)
    for t in range(1, schedule.T + 1):
        a, eps = schedule.alpha_bar[t], torch.randn(x0.shape, generator=g, dtype=x0.dtype)
        x_t = schedule.q_sample(x0, t, eps)
        guess = (x_t - (1 - a).sqrt() * denoiser(x_t, a.expand(n))) / a.sqrt()
        if t == 1:
            beta = schedule.betas[1]
            missed, rest = (x0 - guess).square().sum(1) / (2 * beta), d / 2 * (2 * math.pi * beta).log()
        else:
            (mean, narrow), (guessed, _) = schedule.posterior(x_t, x0, t), schedule.posterior(x_t, guess, t)
            wide = schedule.betas[t] if variance == "beta" else narrow[0, 0]
            ratio = narrow[0, 0] / wide
            missed, rest = (mean - guessed).square().sum(1) / (2 * wide), d / 2 * (ratio - 1 - ratio.log())
        # |ε|² - d is 0 on average and moves with the miss: without its part, far fewer points tell the mean as well.
        # How much that part is, each point is told by all the others, so that it stays 0 on average.
        luck = eps.square().sum(1) - d
        part = ((missed * luck).sum() - missed * luck) / ((n - 1) * 2 * d)
        each[t] = missed + rest - part * luck
    left = schedule.alpha_bar[-1]
    terms = {
        "prior": (left * x0.square().sum(1) - d * (left + (1 - left).log())) / 2,
        "steps": each[2:].sum(0),
        "reconstruction": each[1],
    }
    terms["total"] = sum(terms.values())
    terms["entropy"] = -mixture.log_density(x0)
    terms["gap"] = terms["total"] - terms["entropy"]
    found = {name: mean_and_error(values) for name, values in terms.items()}
    return ({name: mean for name, (mean, _) in found.items()}
            | {"errors": {name: error for name, (_, error) in found.items()}, "each": each.mean(1)})


def check_levels(a, n):
    """Noise levels ᾱ as float64 (n,); a single number stands for all. Raises Error unless they lie in [0, 1]."""
    a = checks.numbers_of(a, "a").double()
    if a.shape not in ((), (n,)):
        raise Error(f"a must be one number, or {n} of them, got the shape {tuple(a.shape)}")
    if a.numel() and not ((a >= 0) & (a <= 1)).all():
        raise Error(f"a is a share of variance and lies in [0, 1], got {a.min().item():g} to {a.max().item():g}")
    return a.expand(n)


def _check(mixture):
    if not isinstance(mixture, Mixture):
        raise Error(f"the data must come from a Mixture, got {type(mixture).__name__}")
    return mixture
