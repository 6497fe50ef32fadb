"""Typical wrong answers to the information chapter's exercises: (exercise, attempt, what the refusal must say)."""

import math

import torch
import torch.nn.functional as F


def entr(p):
    return torch.special.entr(p)


def rows_of(joint):
    return joint / joint.sum(1, keepdim=True)


def swapped_normals(mu_p, sigma_p, mu_q, sigma_q):
    mu, sigma = (mu_q - mu_p) / sigma_p, sigma_q / sigma_p
    return 0.5 * (mu**2 + sigma**2 - 1) - sigma.log()


WRONG = [
    ("information.entropy", lambda p: entr(p).sum(-1), "smaller than bits by log 2"),  # nats
    ("information.entropy", lambda p: (p * p.log2()).sum(-1), "was expected, got -1"),  # the sign
    ("information.entropy", lambda p: -(p * p.log2()).sum(-1), "got nan. 0 · log 0"),
    ("information.entropy", lambda p: entr(p).sum() / math.log(2), "shape \\(2, 3\\) was expected, got \\(\\)"),
    ("information.entropy", lambda p: entr(p).mean(-1) / math.log(2), "was expected, got 0.5"),
    ("information.kl-div", lambda p, q: F.kl_div(p, q), "shape \\(2,\\) was expected, got \\(\\)"),  # buggy_kl itself
    ("information.kl-div", lambda p, q: F.kl_div(p.log(), q, reduction="none").sum(-1), "These are D\\(q ‖ p\\)"),
    ("information.kl-div", lambda p, q: F.kl_div(q, p, reduction="none").sum(-1), "negative divergence"),
    ("information.kl-div", lambda p, q: F.kl_div(q.log(), p, reduction="none").mean(-1), "half of what they should be"),
    ("information.kl-div", lambda p, q: F.kl_div(q.log(), p, reduction="batchmean"), "\\(2,\\) was expected"),
    ("information.kl-div", lambda p, q: (p * (p / q).log()).sum(-1), "got nan. F.kl_div takes care"),
    ("information.kl-normals", swapped_normals, "this is D\\(q ‖ p\\)"),
    ("information.kl-normals", lambda m, s, n, t: 0.5 * ((m - n) ** 2 + (s / t) ** 2 - 1) - (s / t).log(), "units of"),
    ("information.kl-normals", lambda m, s, n, t: 0.5 * ((m - n) ** 2 / t**2 + s / t - 1 - (s / t).log()), "log σ²"),
    ("information.kl-normals", lambda m, s, n, t: ((m - n) / t) ** 2 + (s / t) ** 2 - 1 - 2 * (s / t).log(), "a half"),
    ("information.mutual-information", lambda j: entr(j.sum(1)).sum() + entr(j.sum(0)).sum(), "are independent here"),
    (
        "information.mutual-information",
        lambda j: (j * (j / torch.outer(j.sum(1), j.sum(0))).log()).sum(),
        "Somewhere 0 log 0",
    ),
    (
        "information.mutual-information",
        lambda j: (entr(j.sum(1)).sum() + entr(j.sum(0)).sum() - entr(j).sum()) / math.log(2),
        "entropy of a fair coin",
    ),
    ("information.mutual-information", lambda j: entr(j.sum(0)).sum() - entr(rows_of(j)).sum(), "are independent here"),
    ("information.positive-terms", lambda p, q: p - q, "% of the terms are negative"),
    ("information.positive-terms", lambda p, q: (p - q).abs(), "changes the mean"),
    ("information.positive-terms", lambda p, q: (p - q).clamp(min=0), "changes the mean"),
    ("information.positive-terms", lambda p, q: (p - q).mean().expand(len(p)), "All terms are the same"),
    ("information.positive-terms", lambda p, q: (p - q).mean(), "a tensor of shape \\(100000,\\) was expected"),
    ("information.positive-terms", lambda p, q: (p - q).expm1() - (p - q), "the mean should be"),  # r the wrong way up
    ("information.info-nce", lambda s: -F.cross_entropy(s, torch.arange(len(s))), "Add log n"),
    ("information.info-nce", lambda s: F.cross_entropy(s, torch.arange(len(s))) + math.log(len(s)), "bound is 0"),
    ("information.info-nce", lambda s: math.log(len(s)) - F.cross_entropy(s.T, torch.arange(len(s))), "the wrong axis"),
    (
        "information.info-nce",
        lambda s: (s.exp().diagonal() / s.exp().mean(1)).log().mean(),
        "got (nan|-?inf). exp overflows",
    ),
]
