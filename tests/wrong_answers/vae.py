"""Typical wrong answers to the VAE chapter's exercises: (exercise, attempt, what the refusal must say)."""

import torch
import torch.nn.functional as F
from scipy.stats import norm


def evenly_spaced(n):
    axis = torch.linspace(norm.ppf(0.05), norm.ppf(0.95), n)
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([z1, z2], -1)


def quantiles(n):
    return torch.from_numpy(norm.ppf(torch.linspace(0.05, 0.95, n).double().numpy())).float()


def upside_down(n):
    z2, z1 = torch.meshgrid(quantiles(n), quantiles(n), indexing="ij")
    return torch.stack([z1, z2], -1)


def swapped(n):
    return upside_down(n).flip(0).flip(-1)


bce = F.binary_cross_entropy_with_logits
WRONG = [
    ("vae.kl", lambda m, v: 0.5 * (m**2 + v.exp() + v - 1), "log σ²"),  # sign of the logarithm
    ("vae.kl", lambda m, v: 0.5 * (m**2 + v**2 - 2 * v.abs().log() - 1), "D\\(p ‖ p\\)"),  # log_var taken for sigma
    ("vae.kl", lambda m, v: (0.5 * (m**2 + v.exp() - v - 1)).sum(-1), "shape \\(1, 1\\) was expected, got \\(1,\\)"),
    ("vae.kl", lambda m, v: 0.5 * (v.exp() - v - 1), "term in mu"),  # the mean forgotten
    ("vae.reconstruction", lambda a, x: bce(a, x), "shape \\(3,\\) was expected, got \\(\\)"),  # all averaged
    ("vae.reconstruction", lambda a, x: bce(a, x, reduction="none").flatten(1).mean(1), "summed over the 784"),
    ("vae.reconstruction", lambda a, x: -bce(a, x, reduction="none").flatten(1).sum(1), "positive"),
    (
        "vae.reconstruction",
        lambda a, x: -(x * a.sigmoid().log() + (1 - x) * (1 - a.sigmoid()).log()).flatten(1).sum(1),
        "a finite number was expected, got (inf|nan)",
    ),
    ("vae.sample-code", lambda m, v: m + v.exp() * torch.rand_like(m), "mean of 40,000 codes"),  # the exercise's own
    ("vae.sample-code", lambda m, v: m + v.exp() * torch.randn_like(m), "standard deviation"),
    ("vae.sample-code", lambda m, v: m + (v / 2).exp() * (torch.rand_like(m) - 0.5) * 12**0.5, "not normally"),
    ("vae.sample-code", lambda m, v: m + (v.detach() / 2).exp() * torch.randn_like(m), "no gradient reaches log_var"),
    ("vae.sample-code", lambda m, v: torch.normal(m, (v / 2).exp()).detach(), "no gradient reaches mu"),
    ("vae.importance-bound", lambda w: w.mean(0), "before the logarithm"),
    ("vae.importance-bound", lambda w: w.exp().mean(0).log(), "got -inf"),
    ("vae.importance-bound", lambda w: w.logsumexp(0), "was expected"),  # log k forgotten
    ("vae.grid", evenly_spaced, "evenly spaced"),
    ("vae.grid", upside_down, "upside down"),
    ("vae.grid", swapped, "swapped"),
    ("vae.active-units", lambda mu: mu.mean(0).abs() > 0.01, "value 0.0000 was expected"),
    ("vae.active-units", lambda mu: mu.var(1) > 0.01, "shape \\(4,\\) was expected, got \\(500,\\)"),
    ("vae.active-units", lambda mu: mu.var(0), "True and False"),
]
