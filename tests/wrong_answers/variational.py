"""Typical wrong answers to the variational chapter's exercises: (exercise, attempt, what the refusal must say)."""

import math

import torch
from torch.special import log_ndtr, ndtr, ndtri

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def joint(x, z):
    """log p(x, z) without a thought for z < 0."""
    return -z - 0.5 * (x - z) ** 2 - HALF_LOG_2PI


def cut(x, z):
    return torch.where(z < 0, -math.inf, joint(x, z))


def clamped(u, loc, scale):
    return (loc + scale * ndtri(u)).clamp(min=0)


def plain(u, loc, scale):
    return loc + scale * ndtri(u)


def truncated(u, loc, scale):
    below = ndtr(-loc / scale)
    return loc + scale * ndtri(below + u * (1 - below))


def mirrored(u, loc, scale):
    return (loc + scale * ndtri(u)).abs()


def half_detached(u, loc, scale):
    below = ndtr(-loc / scale).detach()
    return loc + scale * ndtri(below + u * (1 - below))


def update(mean, covariance, mu, i, own=False, variance=None):
    precision = torch.linalg.inv(covariance)
    off = mu - mean
    others = precision[i] @ off - (0 if own else precision[i, i] * off[i])
    return torch.stack([mean[i] - others / precision[i, i], 1 / precision[i, i] if variance is None else variance])


def without_inverse(mean, covariance, mu, i):
    off = mu - mean
    others = covariance[i] @ off - covariance[i, i] * off[i]
    return torch.stack([mean[i] - others / covariance[i, i], 1 / covariance[i, i]])


def wrong_sign(mean, covariance, mu, i):
    new, variance = update(mean, covariance, mu, i)
    return torch.stack([2 * mean[i] - new, variance])


WRONG = [
    ("variational.log-evidence", lambda x: 0.5 - x + ndtr(x - 1).log(), "finite numbers were expected"),
    ("variational.log-evidence", lambda x: -0.5 - x + log_ndtr(x - 1), "At x = 1"),  # the square completed wrongly
    ("variational.log-evidence", lambda x: 0.5 - x + log_ndtr(x), "At x = 1"),  # the bell is at x - 1
    ("variational.log-evidence", lambda x: -0.5 * x**2 + log_ndtr(x - 1), "-1.3689 was expected"),
    ("variational.log-evidence", lambda x: -0.5 * x + log_ndtr(x - 1), "Look at the signs"),
    ("variational.elbo", lambda x, z, log_q: cut(x, z).mean(), "log q is missing"),
    ("variational.elbo", lambda x, z, log_q: (cut(x, z) + log_q).mean(), "subtracted, not added"),
    ("variational.elbo", lambda x, z, log_q: (cut(x, z) + z - log_q).mean(), "the prior is missing"),
    ("variational.elbo", lambda x, z, log_q: (cut(x, z) + HALF_LOG_2PI - log_q).mean(), "constant of the normal"),
    ("variational.elbo", lambda x, z, log_q: cut(x, z) - log_q, "average over the draws"),
    ("variational.elbo", lambda x, z, log_q: (cut(x, z) - log_q).sum(), "It is the mean"),
    ("variational.elbo", lambda x, z, log_q: (joint(x, z) - log_q).mean(), "minus infinity was expected, got -"),
    (
        "variational.elbo",  # impossible draws thrown away: the Break it of the chapter
        lambda x, z, log_q: (joint(x, z) - log_q)[z >= 0].mean(),
        "minus infinity was expected",
    ),
    ("variational.sample", clamped, "draws are exactly 0"),  # the exercise's own
    ("variational.sample", plain, "must not be below 0"),
    ("variational.sample", mirrored, "Spread u"),
    ("variational.sample", lambda u, loc, scale: truncated(u, loc, scale).detach(), "no gradient reaches"),
    ("variational.sample", half_detached, "a part of the formula detached"),
    ("variational.sample", lambda u, loc, scale: loc + scale * u, "Spread u"),
    ("variational.sample", lambda u, loc, scale: loc, "shape of u was expected"),
    ("variational.baseline", lambda f, score: f[:, None] * score, "nothing was subtracted"),
    ("variational.baseline", lambda f, score: (f - f.mean())[:, None] * score, "contains the draw's own"),
    ("variational.baseline", lambda f, score: f - (f.sum() - f) / (len(f) - 1), "shape \\(2, 1\\) was expected"),
    ("variational.coordinate", lambda m, c, mu, i: update(m, c, mu, i, own=True), "leave out j = i"),
    ("variational.coordinate", lambda m, c, mu, i: update(m, c, mu, i, variance=c[i, i]), "that of the posterior"),
    ("variational.coordinate", without_inverse, "inverse of the covariance"),
    ("variational.coordinate", wrong_sign, "First the new mean"),
    ("variational.coordinate", lambda m, c, mu, i: update(m, c, mu, i)[0], "shape \\(2,\\) was expected"),
]
