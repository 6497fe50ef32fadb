"""Typical wrong answers to the exercises on diffusion: (exercise, attempt, what the refusal must say)."""

import torch


def with_one(values):
    return torch.cat([values.new_ones(1), values])


def noisy(x0, alpha_bar, t, eps, on_x0, on_eps):
    a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
    return on_x0(a) * x0 + on_eps(a) * eps


def root(a):
    return a**0.5


def rest(a):
    return (1 - a) ** 0.5


def across(x0, alpha_bar, t, eps):  # right for one t, wrong for two, an error for three
    a = alpha_bar[t] if x0.shape == (2, 2) else alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
    return root(a) * x0 + rest(a) * eps


def factors(alpha_bar, t):
    a, before = alpha_bar[t], alpha_bar[t - 1]
    alpha = a / before
    left = (1 - before) / (1 - a)
    return root(alpha) * left, root(before) * (1 - alpha) / (1 - a), (1 - alpha) * left


def posterior(change):
    """An answer whose parts (x_t, x_0, their factors, the variance, the α of the step) went through `change`."""
    def attempt(x_t, x0, alpha_bar, t):
        return change(x_t, x0, *factors(alpha_bar, t), alpha_bar[t] / alpha_bar[t - 1])

    return attempt


def late(x_t, x0, alpha_bar, t):  # as if index 0 held t = 1
    a, before, _, narrow = alpha_bar[t - 1], alpha_bar[max(t - 2, 0)], *factors(alpha_bar, t)[1:]
    alpha = a / before
    return root(alpha) * (1 - before) / (1 - a + 1e-9) * x_t + root(before) * (1 - alpha) / (1 - a + 1e-9) * x0, narrow


WRONG = [
    ("diffusion.schedule", lambda betas: (1 - betas).cumprod(0), "T \\+ 1 numbers"),
    ("diffusion.schedule", lambda betas: with_one((1 - betas).cumprod(0))[:-1], "the last step is missing"),
    ("diffusion.schedule", lambda betas: with_one(1 - betas), "α of single steps"),
    ("diffusion.schedule", lambda betas: with_one(betas.cumprod(0)), "you multiplied the β"),
    ("diffusion.schedule", lambda betas: with_one(1 - betas.cumsum(0)), "you added the β up"),
    ("diffusion.schedule", lambda betas: with_one((1 - betas).cumprod(0).sqrt()), "√ᾱ, the factor before x_0"),
    ("diffusion.schedule", lambda betas: torch.cat([betas.new_zeros(1), (1 - betas).cumprod(0)]), "ᾱ_0 = 1"),
    ("diffusion.q-sample", lambda *a: noisy(*a, lambda v: v, lambda v: 1 - v), "lack their square roots"),
    ("diffusion.q-sample", lambda *a: noisy(*a, root, lambda v: 1 - root(v)), "The variances must add to 1"),
    ("diffusion.q-sample", lambda *a: noisy(*a, root, lambda v: 1 - v), "its variance"),
    ("diffusion.q-sample", lambda *a: noisy(*a, rest, root), "factors are swapped"),
    ("diffusion.q-sample", lambda x0, a, t, eps: noisy(x0, a, t - 1, eps, root, rest), "you read ᾱ at t - 1"),
    ("diffusion.q-sample", across, "went to the two coordinates"),
    ("diffusion.q-sample", lambda x0, a, t, eps: root(a[t]) * x0 + rest(a[t]) * eps, "raised RuntimeError"),
    ("diffusion.q-sample", lambda x0, a, t, eps: root(a[t[0]]) * x0 + rest(a[t[0]]) * eps, "each point's own t"),
    ("diffusion.merge", lambda one, two: 2 - one - two, "shrinks what is there"),
    ("diffusion.merge", lambda one, two: (1 - one * two) ** 0.5, "standard deviation"),
    ("diffusion.merge", lambda one, two: one * two, "left of the data's variance"),
    ("diffusion.merge", lambda one, two: ((1 - one) ** 0.5 + (1 - two) ** 0.5) ** 2, "variances add"),
    ("diffusion.merge", lambda one, two: ((two - one * two) ** 0.5 + (1 - two) ** 0.5) ** 2, "variances add"),
    ("diffusion.merge", lambda one, two: two**0.5 * (1 - one) + 1 - two, "so its variance by α_2"),
    ("diffusion.merge", lambda one, two: (1 - one) * (1 - two), "It is the α that multiply"),
    ("diffusion.merge", lambda one, two: (two**0.5 * (1 - one) ** 0.5 + (1 - two) ** 0.5), "made smaller"),
    ("diffusion.posterior", posterior(lambda x, x0, on_x, on_x0, v, a: (on_x0 * x + on_x * x0, v)), "are swapped"),
    ("diffusion.posterior", posterior(lambda x, x0, on_x, on_x0, v, a: (x / root(a), v)), "the mean needs both"),
    ("diffusion.posterior", posterior(lambda x, x0, on_x, on_x0, v, a: (on_x * x + on_x0 * x0, root(v))),
     "standard deviation"),
    ("diffusion.posterior", posterior(lambda x, x0, on_x, on_x0, v, a: (on_x * x + on_x0 * x0, 1 - a)), "this is β_t"),
    ("diffusion.posterior", posterior(lambda x, x0, on_x, on_x0, v, a: (on_x * x + on_x0 * x0, v / (1 - a))),
     "lacks its factor β_t"),
    ("diffusion.posterior", lambda x, x0, a, t: (factors(a, t)[0] * x + factors(a, t)[1] * x0, 1 - a[t - 1]),
     "given x_0 alone"),
    ("diffusion.posterior", lambda x, x0, a, t: (
        a[t] / a[t - 1] * (1 - a[t - 1]) / (1 - a[t]) * x + a[t - 1] * (1 - a[t] / a[t - 1]) / (1 - a[t]) * x0,
        factors(a, t)[2]), "lack the square roots"),
    ("diffusion.posterior", late, "the mean at t = 3.* was expected"),
    ("diffusion.posterior", lambda x, x0, a, t: factors(a, t)[0] * x + factors(a, t)[1] * x0, "a tuple .mean, var"),
    ("diffusion.score", lambda eps, a: eps / (1 - a) ** 0.5, "the sign is wrong"),
    ("diffusion.score", lambda eps, a: -eps / (1 - a), "by the noise's variance"),
    ("diffusion.score", lambda eps, a: -eps * (1 - a) ** 0.5, "you multiplied"),
    ("diffusion.score", lambda eps, a: -eps, "the direction only"),
    ("diffusion.score", lambda eps, a: -eps / a**0.5 if a else -eps, "divided by √a"),
]
