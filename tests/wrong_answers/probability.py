"""Typical wrong answers to the probability chapter's exercises: (exercise, attempt, what the refusal must say)."""

import torch


def lcg(first=0, floats=False, order="mac"):
    """Generators with a slip: the seed counted in, kept as floats, or the remainder taken too early."""

    def attempt(a, c, m, seed, n):
        x, out = seed, [seed] * first
        for _ in range(n - first):
            x = (a * x + c) % m if order == "mac" else a * x % m + c
            out.append(x / m if floats else x)
        return torch.tensor(out)

    return attempt


def product(theta, draws):
    return torch.where(draws[:, None] == 1, theta, 1 - theta).prod(0).log()


def each(theta, draws):
    return torch.where(draws[:, None] == 1, theta, 1 - theta).log()


def overflowing(a, c, m, seed, n):
    x, out = torch.tensor(seed, dtype=torch.int32 if seed < 2**31 else torch.int64), []
    for _ in range(n):
        x = (a * x + c) % m
        out.append(x.item())
    return torch.tensor(out, dtype=torch.int64)


def naive_softmax(logits, labels):
    e = logits.exp()
    return -(e / e.sum(1, keepdim=True))[range(len(labels)), labels].log()


WRONG = [
    ("probability.conditional", lambda p: p / p.sum(0), "columns sum to 1: that is p\\(x \\| y\\)"),
    ("probability.conditional", lambda p: p / p.sum(), "only its row is left"),
    ("probability.conditional", lambda p: p.sum(1), "shape \\(2, 2\\) was expected, got \\(2,\\)"),
    ("probability.conditional", lambda p: p / p.sum(1), "each row by its own sum"),  # broadcast along the wrong axis
    ("probability.posterior", lambda w, q: q / q.sum(1, keepdim=True), "the prior is missing"),
    ("probability.posterior", lambda w, q: w * q, "rows do not sum to 1"),
    ("probability.posterior", lambda w, q: w * q / (w * q).sum(0), "divided by the sum over the lumps"),
    ("probability.posterior", lambda w, q: (w * q).softmax(1), "divided by the sum over the lumps"),
    ("probability.log-likelihood", product, "underflows to 0"),
    ("probability.log-likelihood", lambda t, d: each(t, d).mean(0), "is their sum"),
    ("probability.log-likelihood", lambda t, d: each(1 - t, d).sum(0), "swapped"),
    ("probability.log-likelihood", lambda t, d: d.sum() * t.log(), "for each blue"),
    ("probability.log-likelihood", lambda t, d: each(t, d).sum(), "shape \\(3,\\) was expected, got \\(\\)"),
    ("probability.cross-entropy", naive_softmax, "exp\\(1000\\) is infinite"),
    ("probability.cross-entropy", lambda a, c: -a.softmax(1)[range(len(c)), c].log(), "finite numbers were expected"),
    ("probability.cross-entropy", lambda a, c: (a.logsumexp(1) - a[range(len(c)), c]).mean(), "shape \\(4,\\)"),
    ("probability.cross-entropy", lambda a, c: a.logsumexp(1) - a.max(1).values, "the logit of its label"),
    ("probability.cross-entropy", lambda a, c: a.log_softmax(1)[range(len(c)), c], "the logit of its label"),  # sign
    ("probability.lcg", lcg(first=1), "yours is the seed itself"),
    ("probability.lcg", lcg(floats=True), "whole numbers \\(torch.int64\\)"),
    ("probability.lcg", lcg(order="mca"), "then take the remainder"),
    ("probability.lcg", overflowing, "was expected, got"),
    ("probability.rayleigh", lambda u: (-2 * u.log()).sqrt(), "1 - u belongs"),
    ("probability.rayleigh", lambda u: -torch.log1p(-u), "root or a factor is missing"),
    ("probability.rayleigh", lambda u: -2 * torch.log1p(-u), "root or a factor is missing"),
    ("probability.rayleigh", lambda u: (-torch.log1p(-u)).sqrt(), "must be u again"),
    ("probability.categorical", lambda u, p: (p.cumsum(0) < u[:, None]).sum(1), "outcome 0 was drawn, whose prob"),
    ("probability.categorical", lambda u, p: (p.cumsum(0) <= u[:, None]).sum(1), "outcome 10 was drawn; the last"),
    (
        "probability.categorical",
        lambda u, p: (p.cumsum(0) < u[:, None]).sum(1).clamp(max=len(p) - 1),
        "whose probability is 0",
    ),
    ("probability.categorical", lambda u, p: (p.cumsum(0) > u[:, None]).sum(1), "was drawn; the last|was expected at"),
    ("probability.categorical", lambda u, p: torch.multinomial(p, len(u), replacement=True), "was expected at \\[\\d"),
]
