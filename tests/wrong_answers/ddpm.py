"""Typical wrong answers to the DDPM chapter's exercises: (exercise, attempt, what the refusal must say)."""

import torch


def embedding(t, width, by=None, sign=-1, turn=1.0, parts=(torch.sin, torch.cos)):
    half = width // 2
    angle = turn * t.float()[:, None] * 10_000.0 ** (sign * torch.arange(half) / (by or half))
    return torch.cat([part(angle) for part in parts], dim=1)


def interleaved(t, width):
    return embedding(t, width).unflatten(1, (2, -1)).transpose(1, 2).flatten(1)


def guess(x_t, eps, a):
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt()


def by_noise(v, x_t, a):  # the right answer, but for a = 0
    eps = (v + (1 - a).sqrt() / a.sqrt() * x_t) / (a.sqrt() + (1 - a) / a.sqrt())
    return guess(x_t, eps, a)


def posterior_mean(x_t, eps, a, b):
    kept = a / b
    return kept.sqrt() * (1 - b) / (1 - a) * x_t + b.sqrt() * (1 - kept) / (1 - a) * guess(x_t, eps, a)


def column(values):
    return values.view(-1, 1, 1, 1)


def noised(x0, t, eps, alpha_bar):
    a = column(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def each(difference):
    return difference.square().flatten(1).mean(1)


def loss(model, x0, t, eps, alpha_bar, told=0, made=0, target=None):
    prediction = model(noised(x0, t + made, eps, alpha_bar), t + told)
    return each(prediction - {None: eps, "x0": x0}[target])


def without_roots(model, x0, t, eps, alpha_bar):
    a = column(alpha_bar[t])
    return each(model(a * x0 + (1 - a) * eps, t) - eps)


def by_columns(model, x0, t, eps, alpha_bar):  # raises nothing where the batch is as large as the pictures are wide
    a = alpha_bar[t] if len(t) == x0.shape[-1] else column(alpha_bar[t])
    return each(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps)


def one_time_for_all(model, x0, t, eps, alpha_bar):
    return loss(model, x0, t[:1].expand(len(t)), eps, alpha_bar)


def second_note(model, x0, t, eps, alpha_bar):  # x_T against x_0, and no network
    return each(noised(x0, torch.full_like(t, len(alpha_bar) - 1), eps, alpha_bar) - x0)


def between(cond, uncond, w):
    return (cond + w * uncond) / (1 + w)


WRONG = [
    ("ddpm.embedding", lambda t, w: embedding(t, w, parts=(torch.cos, torch.sin)), "the cosines stand first"),
    ("ddpm.embedding", interleaved, "sines and cosines alternate"),
    ("ddpm.embedding", lambda t, w: embedding(t, w, by=w // 2 - 1), "the lowest frequency is 1/10,000"),
    ("ddpm.embedding", lambda t, w: embedding(t, w, by=w), "the exponent is -2k / width"),
    ("ddpm.embedding", lambda t, w: embedding(t, w, sign=1), "the frequencies rise"),
    ("ddpm.embedding", lambda t, w: embedding(t, w, turn=6.283185307), "2π too much"),
    ("ddpm.embedding", lambda t, w: embedding(t, w, parts=(torch.sin, torch.sin)), "there are only sines"),
    ("ddpm.embedding", lambda t, w: embedding(t, w).T, "on its side"),
    ("ddpm.embedding", lambda t, w: embedding(t, 2 * w), r"the shape \(1, 4\) was expected"),
    ("ddpm.embedding", lambda t, w: embedding(t / 1000, w), "frequencies are 1 and"),
    ("ddpm.v", lambda v, x, a: a.sqrt() * x + (1 - a).sqrt() * v, "the sign of v is wrong"),
    ("ddpm.v", lambda v, x, a: (1 - a).sqrt() * x + a.sqrt() * v, "this is the noise"),
    ("ddpm.v", lambda v, x, a: (1 - a).sqrt() * x - a.sqrt() * v, "the two factors are swapped"),
    ("ddpm.v", lambda v, x, a: a * x - (1 - a) * v, "the square roots are missing"),
    ("ddpm.v", lambda v, x, a: (x - (1 - a).sqrt() * v) / a.sqrt(), "v was taken for the noise"),
    ("ddpm.v", by_noise, "finite numbers were expected.*nothing may be divided"),
    ("ddpm.v", lambda v, x, a: v, "given back as it is"),
    ("ddpm.v", lambda v, x, a: a[0].sqrt() * x - (1 - a[0]).sqrt() * v, "Each picture has an ᾱ of its own"),
    ("ddpm.ddim", lambda x, e, a, b: guess(x, e, a), "this is the guess of x_0"),
    ("ddpm.ddim", lambda x, e, a, b: b.sqrt() * guess(x, e, a), "the noise of s is missing"),
    ("ddpm.ddim", lambda x, e, a, b: b.sqrt() * guess(x, e, a) + (1 - a).sqrt() * e, "x_s has the noise of t"),
    ("ddpm.ddim", lambda x, e, a, b: b.sqrt() * guess(x, e, a) + (1 - b) * e, "square root of 1 - ᾱ_s is missing"),
    ("ddpm.ddim", lambda x, e, a, b: b * guess(x, e, a) + (1 - b).sqrt() * e, "square root of ᾱ_s is missing"),
    ("ddpm.ddim", lambda x, e, a, b: a.sqrt() * guess(x, e, b) + (1 - a).sqrt() * e, "are swapped"),
    ("ddpm.ddim", posterior_mean, "the mean of the posterior"),
    ("ddpm.ddim", lambda x, e, a, b: x - (1 - a).sqrt() * e, "not divided by √ᾱ_t"),
    ("ddpm.ddim", lambda x, e, a, b: (b / a).sqrt() * x, "x_t was only made larger"),
    ("ddpm.guidance", lambda c, u, w: u + w * (c - u), "the other convention"),
    ("ddpm.guidance", lambda c, u, w: (1 + w) * u - w * c, "the two are swapped"),
    ("ddpm.guidance", lambda c, u, w: (1 + w) * c + w * u, "subtracted, not added"),
    ("ddpm.guidance", lambda c, u, w: c - w * u, "must sum to 1"),
    ("ddpm.guidance", lambda c, u, w: w * (c - u), "only the label's part"),
    ("ddpm.guidance", lambda c, u, w: ((1 + w) * c - w * u).clamp(-1, 1), "you clipped the prediction"),
    ("ddpm.guidance", between, "this lies between the two"),
    ("ddpm.loss", lambda *given: loss(*given).mean(), "the mean over the batch"),
    ("ddpm.loss", lambda model, x0, *rest: loss(model, x0, *rest) * x0[0].numel(), "the sum over the pixels"),
    ("ddpm.loss", lambda *given: loss(*given, target="x0"), "compared with x_0"),
    ("ddpm.loss", lambda *given: loss(*given, made=-1), "ᾱ of t - 1"),
    ("ddpm.loss", lambda *given: loss(*given, told=-1), "the network was told t - 1"),
    ("ddpm.loss", without_roots, "the square roots are missing"),
    ("ddpm.loss", by_columns, "alpha_bar\\[t\\] multiplied columns"),
    ("ddpm.loss", one_time_for_all, "Each picture has a time of its own"),
    ("ddpm.loss", lambda model, x0, t, eps, a: each(model(x0, t) - eps), "the network was given x_0"),
    ("ddpm.loss", lambda model, x0, t, eps, a: each(model(x0 + eps, t) - eps), "at full strength"),
    ("ddpm.loss", second_note, "the network was never asked"),
    ("ddpm.loss", lambda model, x0, t, eps, a: (model(noised(x0, t, eps, a), t) - eps).abs().flatten(1).mean(1),
     "absolute differences"),
]
