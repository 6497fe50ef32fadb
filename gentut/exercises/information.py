"""Checks of the information chapter's exercises."""

import math

import torch

from gentut import information
from gentut.exercises import Wrong, call, compare, exercise


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def _is(answer, value):
    """Whether an answer is a certain wrong one."""
    return torch.is_tensor(answer) and answer.shape == value.shape and torch.isclose(answer.double(), value).all()


def _finite(answer, shown, hint):
    """Raise Wrong where a tensor holds NaN or an infinity."""
    if torch.is_tensor(answer) and not torch.isfinite(answer).all():
        got = answer[~torch.isfinite(answer)].flatten()[0].item()
        raise Wrong(f"For {shown} finite numbers were expected, got {got}. {hint}")


@exercise("information.entropy")
def _entropy(attempt):
    for p, shown, hint in (
        (_tensor(0.5, 0.5), "p = (0.5, 0.5)", "A fair coin has 1 bit. Nats are smaller than bits by log 2."),
        (_tensor(0.5, 0.25, 0.25), "p = (0.5, 0.25, 0.25)", "Sum over the outcomes, do not average."),
    ):
        compare(call(attempt, p, shown=shown), information.entropy(p, base=2), shown, hint)
    sure = _tensor(0.0, 1.0, 0.0)
    shown = "p = (0, 1, 0)"
    answer = call(attempt, sure, shown=shown)
    _finite(answer, shown, "0 · log 0 is NaN in floating point. It should count as 0.")
    compare(answer, information.entropy(sure, base=2), shown)
    many = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    shown = "p of shape (2, 3, 4)"
    compare(call(attempt, many, shown=shown), information.entropy(many, base=2), shown, "Sum over the last axis only.")


@exercise("information.kl-div")
def _kl_div(attempt):
    p, q = _tensor([0.5, 0.5], [0.9, 0.1]), _tensor([0.2, 0.8], [0.3, 0.7])
    shown = "p = ((0.5, 0.5), (0.9, 0.1)) and q = ((0.2, 0.8), (0.3, 0.7))"
    answer = call(attempt, p, q, shown=shown)
    if torch.is_tensor(answer) and answer.shape == (2,):
        if _is(answer, information.kl(q, p)):
            raise Wrong("These are D(q ‖ p). F.kl_div wants the model, q, first.")
        if (answer < 0).any():
            least = answer.min().item()
            raise Wrong(f"For {shown} there is a negative divergence, {least:.4f}. The model goes in as logarithms.")
        if _is(answer, information.kl(p, q) / 2):
            raise Wrong("All numbers are half of what they should be: sum over the outcomes, do not average.")
    hint = "One number for each row: choose the reduction, then sum over the last axis."
    compare(answer, information.kl(p, q), shown, hint)
    p, q = _tensor([0.0, 1.0]), _tensor([0.5, 0.5])
    shown = "p = (0, 1) and q = (0.5, 0.5)"
    answer = call(attempt, p, q, shown=shown)
    _finite(answer, shown, "F.kl_div takes care of p = 0 by itself, if the target are probabilities.")
    compare(answer, information.kl(p, q), shown)


@exercise("information.kl-normals")
def _kl_normals(attempt):
    for values, hint in (
        ((0.0, 1.0, 0.0, 1.0), "This is D(p ‖ p)."),
        ((2.0, 1.0, 0.0, 1.0), "Only the means differ here: the distance counts squared, by a half."),
        ((0.0, 2.0, 0.0, 1.0), "Only the widths differ. Is it log σ or log σ²? And which of the two is p?"),
        ((1.0, 0.5, -1.0, 2.0), "A distance of means counts in units of sigma_q."),
    ):
        arguments = [_tensor(v) for v in values]
        shown = "mu_p = {:g}, sigma_p = {:g}, mu_q = {:g}, sigma_q = {:g}".format(*values)
        answer, expected = call(attempt, *arguments, shown=shown), information.kl_normals(*arguments)
        other = information.kl_normals(*arguments[2:], *arguments[:2])
        if not torch.isclose(expected, other) and _is(answer, other):
            raise Wrong(f"For {shown} this is D(q ‖ p); the truth p comes first.")
        compare(answer, expected, shown, hint)


@exercise("information.mutual-information")
def _mutual_information(attempt):
    for joint, shown, hint in (
        (_tensor([0.25, 0.25], [0.25, 0.25]), "four cells of 0.25", "X and Y are independent here."),
        (_tensor([0.5, 0.0], [0.0, 0.5]), "the diagonal (0.5, 0.5)", "Here X is Y: I is the entropy of a fair coin."),
        (_tensor([0.2, 0.05], [0.1, 0.65]), "rain and umbrellas", "Nats, from p(x), p(y) and p(x, y)."),
        (_tensor([0.1, 0.2, 0.0], [0.3, 0.0, 0.4]), "a table of 2 by 3 with zeros", "0 log 0 counts as 0."),
        (_tensor([0.3, 0.7], [0.0, 0.0]), "a table whose second row is 0", "A row may never happen: p(x) = 0."),
    ):
        answer = call(attempt, joint, shown=shown)
        _finite(answer, shown, "Somewhere 0 log 0 or 0 / 0 was computed.")
        compare(answer, information.mutual_information(joint), shown, hint)


@exercise("information.positive-terms")
def _positive_terms(attempt):
    n = 100_000
    g = torch.Generator().manual_seed(0)
    for mu, sigma in ((0.5, 0.8), (0.0, 1.0), (-1.0, 0.6)):
        x = mu + sigma * torch.randn(n, generator=g, dtype=torch.float64)
        log_p = -0.5 * ((x - mu) / sigma) ** 2 - math.log(sigma)
        log_q = -0.5 * x**2
        shown = f"{n:,} draws of p = N({mu:g}, {sigma:g}²) and q = N(0, 1)"
        terms = call(attempt, log_p, log_q, shown=shown)
        if not torch.is_tensor(terms) or terms.shape != (n,):
            got = tuple(terms.shape) if torch.is_tensor(terms) else type(terms).__name__
            raise Wrong(f"For {shown} a tensor of shape {(n,)} was expected, got {got}.")
        if not terms.isfinite().all():
            raise Wrong(f"For {shown} some terms are not finite.")
        truth = information.kl_normal(mu, sigma).item()
        if truth > 0 and terms.std() < 1e-9:
            raise Wrong("All terms are the same. Each must come from its own draw.")
        mean, error = terms.mean().item(), terms.std().item() / math.sqrt(n)
        if abs(mean - truth) > 6 * error + 1e-9:  # a right answer is that far off once in a billion
            why = "Taking absolute values or cutting off changes the mean." if mean > truth else "Which sign has r - 1?"
            raise Wrong(f"For {shown} the mean should be {truth:.4f}, but it is {mean:.4f} ± {error:.4f}. {why}")
        if (terms < -1e-12).any():
            raise Wrong(
                f"For {shown} the mean is right, but {(terms < -1e-12).double().mean():.0%} of the terms are negative."
            )


@exercise("information.info-nce")
def _info_nce(attempt):
    g = torch.Generator().manual_seed(0)
    for scores, shown, hint in (
        (torch.zeros(4, 4, dtype=torch.float64), "scores of 0", "Nothing is told apart, so the bound is 0. Add log n."),
        (50 * torch.eye(4, dtype=torch.float64), "50 on the diagonal, n = 4", "Perfect guesses reach log n, not more."),
        (torch.randn(5, 5, generator=g, dtype=torch.float64), "random scores, n = 5", "Row i: x_i against every y_j."),
    ):
        answer, expected = call(attempt, scores, shown=shown), information.info_nce(scores)
        turned = information.info_nce(scores.T)
        if not torch.isclose(expected, turned) and _is(answer, turned):
            raise Wrong(f"For {shown} the softmax runs over the wrong axis: each row holds one x and all y.")
        compare(answer, expected, shown, hint)
    scores = 1000 * torch.eye(3, dtype=torch.float64) - 1000
    shown = "scores of 0 and -1000"
    for case in (scores, scores + 2000):
        answer = call(attempt, case, shown=shown)
        _finite(answer, shown, "exp overflows. Use logsumexp or log_softmax.")
        compare(answer, information.info_nce(case), shown)
        shown = "scores of 2000 and 1000"
