"""Typical wrong answers to the GAN chapter's exercises: (exercise, attempt, what the refusal must say)."""

import torch
import torch.nn.functional as F


def inverse(u, points, cdf, right=False, shift=0):
    return points[(torch.searchsorted(cdf, u, right=right) + shift).clamp(0, len(points) - 1)]


def between(u, points, cdf):  # a good answer to another question
    place = torch.searchsorted(cdf, u).clamp(max=len(points) - 1)
    before = (place - 1).clamp(min=0)
    t = ((u - cdf[before]) / (cdf[place] - cdf[before]).clamp(min=1e-12)).clamp(0, 1)
    return points[before] + t * (points[place] - points[before])


def of_d(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def of_g(fake):
    return F.softplus(-fake).mean()


def by_sigmoid(real, fake):
    real, fake = real.sigmoid(), fake.sigmoid()
    return -(real.log().mean() + (1 - fake).log().mean()), -fake.log().mean()


def bce(real, fake):  # one batch of both: each kind counts by its number
    scores, labels = torch.cat([real, fake]), torch.cat([torch.ones_like(real), torch.zeros_like(fake)])
    return F.binary_cross_entropy_with_logits(scores, labels), of_g(fake)


def distances(samples, centres):
    return (samples[:, None] - centres).norm(dim=2)


def nearest(samples, centres, radius):
    return distances(samples, centres).argmin(1).unique().numel()


def in_a_box(samples, centres, radius):
    return int(((samples[:, None] - centres).abs() <= radius).all(2).any(0).sum())


def squared(samples, centres, radius):
    return int((((samples[:, None] - centres) ** 2).sum(2) <= radius).any(0).sum())


def of_the_nearest(samples, centres, radius):  # a sample may be near two centres
    d, which = distances(samples, centres).min(1)
    return which[d <= radius].unique().numel()


WRONG = [
    ("gan.inverse", lambda u, points, cdf: inverse(u, points, cdf, shift=-1), "last point whose F is below u"),
    ("gan.inverse", lambda u, points, cdf: inverse(u, points, cdf, right=True), "F must be at least u"),
    ("gan.inverse", between, "lies between two points of the table"),
    ("gan.inverse", lambda u, points, cdf: points[torch.searchsorted(cdf, u)], "0.999.*raised IndexError"),
    ("gan.inverse", lambda u, points, cdf: torch.searchsorted(cdf, u), "The point itself was asked"),
    ("gan.inverse", lambda u, points, cdf: inverse(u, cdf, cdf), "The point itself was asked"),
    ("gan.inverse", lambda u, points, cdf: inverse(u, cdf, points), "smallest point whose F"),  # F, not F⁻¹
    ("gan.inverse", lambda u, points, cdf: inverse(u, points, cdf.cumsum(0)), "smallest point"),  # F is a sum already
    ("gan.optimal", lambda p, q: q / (p + q), "probability of a generated point"),
    ("gan.optimal", lambda p, q: p / q, "odds p : q"),
    ("gan.optimal", lambda p, q: (p > q).float(), "this is a verdict"),
    ("gan.optimal", lambda p, q: p / (p + q).sum(), "Each x is judged by itself"),
    ("gan.optimal", lambda p, q: p - q, "which share of the points there is real"),
    ("gan.losses", lambda real, fake: (of_d(real, fake), -F.softplus(fake).mean()), "saturating loss"),
    ("gan.losses", lambda real, fake: (of_d(real, fake), F.softplus(fake).mean()), "paid for being found out"),
    ("gan.losses", lambda real, fake: (of_d(-real, -fake), of_g(fake)), "labels are swapped"),
    ("gan.losses", lambda real, fake: (-of_d(real, fake), of_g(fake)), "wrong sign"),
    ("gan.losses", bce, "each have a mean of their own"),
    ("gan.losses", lambda real, fake: (F.softplus(-real).sum() + F.softplus(fake).sum(), of_g(fake)), "take the means"),
    ("gan.losses", by_sigmoid, "log\\(1 \\+ e\\^score\\)"),
    ("gan.losses", lambda real, fake: (of_d(real, fake), F.softplus(-fake)), "G's loss is one number for the batch"),
    ("gan.losses", lambda real, fake: (of_d(real, fake), of_g(real)), "G's loss with six scores"),
    ("gan.losses", of_d, "a tuple of 2 losses was expected, D's and G's, got Tensor"),
    ("gan.frechet", lambda a, s, b, t: ((a - b) ** 2 + (s - t) ** 2) ** 0.5, "took a square root"),
    ("gan.frechet", lambda a, s, b, t: (a - b) ** 2 + (s**2 - t**2) ** 2, "compared variances"),
    ("gan.frechet", lambda a, s, b, t: (a - b) ** 2 + s**2 + t**2 - s * t, "counts twice"),
    ("gan.frechet", lambda a, s, b, t: (a - b) ** 2, "Only the standard deviations differ"),
    ("gan.frechet", lambda a, s, b, t: abs(a - b) + (s - t) ** 2, "took a square root"),
    ("gan.modes", lambda s, c, r: int((distances(s, c) <= r).any(1).sum()), "these are the samples near any centre"),
    ("gan.modes", nearest, "must lie within the radius"),
    ("gan.modes", in_a_box, "square root of the summed squares"),
    ("gan.modes", squared, "square root of the summed squares"),
    ("gan.modes", of_the_nearest, "Either sample is near both modes"),
    ("gan.modes", lambda s, c, r: (distances(s, c) <= r).any(0), "one number was asked"),
    ("gan.modes", lambda s, c, r: len(c), "near two modes"),
    ("gan.penalty", lambda w: (w @ w - 1) ** 2, "compared the squared norm"),
    ("gan.penalty", lambda w: w.norm() - 1, "The penalty is its square"),
    ("gan.penalty", lambda w: ((w.abs() - 1) ** 2).sum(), "each entry was compared"),
    ("gan.penalty", lambda w: (w.norm() - 1).clamp(min=0) ** 2, "a slope below 1 is paid for too"),
    ("gan.penalty", lambda w: 10 * (w.norm() - 1) ** 2, "norm of the gradient is 5"),
]
