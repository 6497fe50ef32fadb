"""Diffusion: a fixed Markov chain turns data into noise, and a network learns to go back, one small step at a time.

    q(x_t | x_0) = N(√ᾱ_t x_0, (1 - ᾱ_t) I),        t = 1, ..., T

Sohl-Dickstein et al., arXiv:1503.03585; Ho et al. (DDPM), arXiv:2006.11239, equations 2, 4, 6 and 7; Song et al.
(DDIM), arXiv:2010.02502, equations 12 and 16; Salimans and Ho (v), arXiv:2202.00512. This module is the arithmetic of
both chapters on diffusion: schedules of noise, what is predicted, and one step back. It knows no network.

Time runs from 1 to T. Every array of a Schedule has T + 1 numbers and its index is t: index 0 is the data itself,
before any noise (β_0 = 0, α_0 = ᾱ_0 = 1).
"""

import math
import warnings

import torch

from gentut import Error, checks, choose

KINDS = ("eps", "x0", "v")  # what a network can be asked to predict: the noise, the data, or a mixture of both
VARIANCES = ("posterior", "beta")  # of a step back: that of q(x_{t-1} | x_t, x_0), or β_t
REACHED = 0.1  # a chain whose √ᾱ_T is larger has not forgotten the data


class Schedule:
    """How much noise each step adds: β_1, ..., β_T, and what follows from them.

    betas: (T,), each in (0, 1). Attributes, float64 tensors (T + 1,) whose index is t: betas; alphas = 1 - β;
    alpha_bar = Π α, the share of the data's variance that is left; snr = ᾱ / (1 - ᾱ), the signal-to-noise ratio.
    Raises Error for other betas, and warns if √ᾱ_T is above 0.1: then x_T is no pure noise, but sampling starts there.
    """

    def __init__(self, betas, name="own"):
        betas = checks.finite(betas, "betas").double().cpu()
        if betas.ndim != 1 or not len(betas):
            raise Error(f"betas must have shape (T,), one number for each step, got {tuple(betas.shape)}")
        if not ((betas > 0) & (betas < 1)).all():
            raise Error(f"betas must lie between 0 and 1, got {betas.min().item():g} to {betas.max().item():g}")
        self.name, self.T = name, len(betas)
        self.betas = torch.cat([betas.new_zeros(1), betas])
        self.alphas = 1 - self.betas
        self.alpha_bar = self.alphas.cumprod(0)
        self.snr = self.alpha_bar / (1 - self.alpha_bar)  # inf at t = 0
        left = math.sqrt(self.alpha_bar[-1].item())
        if left > REACHED:
            warnings.warn(
                f"the schedule does not reach noise: √ᾱ_T = {left:.3f}, so x_T keeps that much of the data, and "
                "pictures that start at pure noise start where the chain never was", stacklevel=2,
            )

    @classmethod
    def linear(cls, T, first=1e-4, last=0.02):
        """β rises evenly from `first` to `last`: Ho et al., arXiv:2006.11239, section 4 (with T = 1000)."""
        return cls(torch.linspace(first, last, _steps(T), dtype=torch.float64), "linear")

    @classmethod
    def cosine(cls, T, offset=0.008, most=0.999):
        """ᾱ falls along a squared cosine: Nichol and Dhariwal, arXiv:2102.09672, equation 17.

        offset keeps the first steps from being too small to matter; no β is larger than `most`.
        """
        t = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
        f = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls((1 - f[1:] / f[:-1]).clamp(max=most), "cosine")

    @classmethod
    def sigmoid(cls, T, first=1e-5, last=5e-3, reach=6.0):
        """β rises from about `first` to about `last` along a logistic curve from -reach to reach: the notes' schedule.

        With the notes' numbers and T = 100 it does not reach noise: √ᾱ_T = 0.88.
        """
        x = torch.linspace(-reach, reach, _steps(T), dtype=torch.float64)
        return cls(x.sigmoid() * (last - first) + first, "sigmoid")

    @classmethod
    def named(cls, name, T):
        """The schedule `name` ("linear", "cosine", "sigmoid") with its usual numbers."""
        return getattr(cls, choose("schedule", name, ("linear", "cosine", "sigmoid")))(T)

    def at(self, values, t, like):
        """values[t] for t (batch,), shaped to multiply `like` (batch, ...), in its type and on its device."""
        t = self.check(t, len(like)).cpu()
        return values[t].to(like).view(-1, *[1] * (like.ndim - 1))

    def check(self, t, n, low=1):
        """t as an int64 tensor (n,); a single number stands for all. Raises Error unless low <= t <= T."""
        try:
            t = torch.as_tensor(t)
        except (TypeError, ValueError, RuntimeError):
            raise Error(f"t must be a whole number, or {n} of them, got {t!r}") from None
        if t.dtype == torch.bool or t.is_floating_point() or t.ndim > 1 or (t.ndim == 1 and len(t) != n):
            raise Error(f"t must be a whole number, or {n} of them, got {t.dtype} {tuple(t.shape)}")
        if t.numel() and not (t.min() >= low and t.max() <= self.T):
            raise Error(f"t runs from {low} to T = {self.T}, got {t.min().item()} to {t.max().item()}")
        return t.long().expand(n) if t.ndim == 0 else t.long()

    # -- forward -----------------------------------------------------------------------------------------------------

    def q_step(self, x, t, eps):
        """One step of the chain: x_t = √α_t x_{t-1} + √(1 - α_t) ε. x, eps: (batch, ...); t: (batch,) or a number."""
        same_shape(x, eps)
        return self.at(self.alphas.sqrt(), t, x) * x + self.at(self.betas.sqrt(), t, x) * eps

    def q_sample(self, x0, t, eps):
        """All steps at once: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε. x0, eps: (batch, ...); t: (batch,) or a number."""
        same_shape(x0, eps)
        # the roots are taken in float64: 1 - ᾱ near ᾱ = 1 would lose most digits of a float32
        return self.at(self.alpha_bar.sqrt(), t, x0) * x0 + self.at((1 - self.alpha_bar).sqrt(), t, x0) * eps

    # -- back --------------------------------------------------------------------------------------------------------

    def posterior(self, x_t, x0, t):
        """q(x_{t-1} | x_t, x_0) is Gaussian: its (mean (batch, ...), variance (batch, 1, ...)).

        arXiv:2006.11239, equations 6 and 7. At t = 1 the variance is 0 and the mean is x_0.
        """
        same_shape(x_t, x0)
        t = self.check(t, len(x_t)).cpu()
        a, before, alpha = (v.view(-1, *[1] * (x_t.ndim - 1)) for v in
                            (self.alpha_bar[t], self.alpha_bar[t - 1], self.alphas[t]))
        on_x_t = alpha.sqrt() * (1 - before) / (1 - a)
        on_x0 = before.sqrt() * (1 - alpha) / (1 - a)
        variance = (1 - alpha) * (1 - before) / (1 - a)
        return on_x_t.to(x_t) * x_t + on_x0.to(x_t) * x0, variance.to(x_t)

    def timesteps(self, steps=None):
        """The times a sampler visits, T first: a list of `steps` whole numbers, as evenly spaced as they can be.

        The step after the last one is to t = 0. Raises Error unless 1 <= steps <= T.
        """
        steps = self.T if steps is None else checks.whole(steps, "steps", 1)
        if steps > self.T:
            raise Error(f"steps must be at most T = {self.T}, got {steps}")
        return [round(self.T * (steps - i) / steps) for i in range(steps)]

    def step_back(self, x_t, x0, t, s, *, eta=0.0, variance="posterior", noise=None):
        """x_s from x_t and a guess of x_0, for one pair of times t > s >= 0.

        DDIM (arXiv:2010.02502, equations 12 and 16): x_s = √ᾱ_s x_0 + √(1 - ᾱ_s - σ²) ε + σ z with the noise ε that
        x_t and x_0 imply, and σ = eta times the deviation of q(x_s | x_t, x_0). eta = 0 adds no noise; eta = 1 with
        s = t - 1 is DDPM's ancestral step. variance="beta" adds noise of variance 1 - ᾱ_t / ᾱ_s instead (β_t for
        s = t - 1), keeping the mean of eta = 1. noise: z like x_t, wanted where noise is added and s > 0.
        """
        same_shape(x_t, x0)
        choose("variance", variance, VARIANCES)
        t, s = checks.whole(t, "t"), checks.whole(s, "s")
        if not 0 <= s < t <= self.T:
            raise Error(f"a step back goes from t to s with 0 <= s < t <= {self.T}, got t = {t} and s = {s}")
        if not 0 <= eta <= 1:
            raise Error(f"eta must lie in 0 to 1, got {eta}")
        a_t, a_s = self.alpha_bar[t].item(), self.alpha_bar[s].item()
        added = 1 - a_t / a_s  # the variance that the chain adds between s and t
        sigma = eta * math.sqrt((1 - a_s) / (1 - a_t) * added)
        eps = (x_t - math.sqrt(a_t) * x0) / math.sqrt(1 - a_t)
        mean = math.sqrt(a_s) * x0 + math.sqrt(max(0.0, 1 - a_s - sigma**2)) * eps
        if variance == "beta" and s > 0:
            if eta != 1:
                raise Error(f"variance='beta' is DDPM's: it goes with eta=1, got {eta}")
            sigma = math.sqrt(added)
        if s == 0 or sigma == 0:
            return mean
        if noise is None:
            raise Error("this step adds noise: give `noise`, a tensor like x_t")
        return mean + sigma * same_shape(noise, x_t)


def _steps(T):
    return checks.whole(T, "T", 1)


def same_shape(a, b):
    """Raise Error unless both are floating-point tensors of one shape; return the first."""
    if not torch.is_tensor(a) or not torch.is_tensor(b) or a.shape != b.shape:
        shapes = [tuple(v.shape) if torch.is_tensor(v) else type(v).__name__ for v in (a, b)]
        raise Error(f"expected two tensors of one shape (batch, ...), got {shapes[0]} and {shapes[1]}")
    if not a.is_floating_point() or not b.is_floating_point():  # ᾱ as a whole number would be 0
        raise Error(f"expected floating-point tensors, got {a.dtype} and {b.dtype}: data.to_unit converts uint8")
    return a


# ------------------------------------------------------------------------------------- three ways to say the same thing


def target(kind, x0, eps, a):
    """What a network of a kind should give: "eps" the noise, "x0" the data, "v" = √ᾱ ε - √(1 - ᾱ) x_0.

    a: ᾱ_t, shaped to multiply x0. v is from Salimans and Ho, arXiv:2202.00512, section 4.
    """
    if choose("kind of prediction", kind, KINDS) == "eps":
        return eps
    return x0 if kind == "x0" else a.sqrt() * eps - (1 - a).sqrt() * x0


def to_x0(kind, prediction, x_t, a):
    """The guess of x_0 in a prediction made at x_t, where ᾱ_t is a. For "eps" it needs ᾱ_t > 0."""
    if choose("kind of prediction", kind, KINDS) == "eps":
        return (x_t - (1 - a).sqrt() * prediction) / a.sqrt()
    return prediction if kind == "x0" else a.sqrt() * x_t - (1 - a).sqrt() * prediction


def to_eps(kind, prediction, x_t, a):
    """The guess of the noise in a prediction made at x_t, where ᾱ_t is a. For "x0" it needs ᾱ_t < 1."""
    if choose("kind of prediction", kind, KINDS) == "x0":
        return (x_t - a.sqrt() * prediction) / (1 - a).sqrt()
    return prediction if kind == "eps" else (1 - a).sqrt() * x_t + a.sqrt() * prediction
