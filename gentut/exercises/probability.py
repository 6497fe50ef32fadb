"""Checks of the probability chapter's exercises."""

import math

import torch
import torch.nn.functional as F

from gentut import probability
from gentut.exercises import Wrong, call, compare, exercise


@exercise("probability.conditional")
def _conditional(attempt):
    for joint in (
        torch.tensor([[0.4, 0.2], [0.1, 0.3]], dtype=torch.float64),
        torch.tensor([[0.1, 0.2, 0.1], [0.0, 0.06, 0.54]], dtype=torch.float64),
    ):
        shown = f"the table {[[round(v, 2) for v in row] for row in joint.tolist()]}"
        answer = call(attempt, joint.clone(), shown=shown)
        if torch.is_tensor(answer) and answer.shape == joint.shape:
            if torch.allclose(answer, joint / joint.sum(0)):
                raise Wrong(f"For {shown} your columns sum to 1: that is p(x | y). In p(y | x) each row sums to 1.")
            if torch.allclose(answer, joint / joint.sum()):
                raise Wrong(f"For {shown} you divided by the sum of all entries. Given x, only its row is left.")
        compare(answer, joint / joint.sum(1, keepdim=True), shown, "Divide each row by its own sum.")


@exercise("probability.posterior")
def _posterior(attempt):
    board = probability.DARTS
    darts = board.sample(6, generator=0)
    density = torch.stack(
        [
            probability.DartBoard((1.0,), board.means[[k]], board.covariances[[k]]).joint(*darts.T)
            for k in range(len(board.weights))
        ],
        dim=1,
    )
    three = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    for prior, likelihood, shown in (
        (board.weights, density, "six darts and the board's two lumps"),
        (three, torch.tensor([[0.1, 0.4, 0.1], [2.0, 2.0, 2.0]], dtype=torch.float64), "two darts and three lumps"),
    ):
        expected = prior * likelihood
        expected = expected / expected.sum(1, keepdim=True)
        answer = call(attempt, prior.clone(), likelihood.clone(), shown=shown)
        if torch.is_tensor(answer) and answer.shape == expected.shape:
            if torch.allclose(answer, likelihood / likelihood.sum(1, keepdim=True)):
                raise Wrong(f"For {shown} the prior is missing: a rare lump needs a higher density to be believed.")
            if torch.allclose(answer, prior * likelihood):
                raise Wrong(f"For {shown} this is the joint: the rows do not sum to 1. Divide by what they sum to.")
        compare(answer, expected, shown, "Prior times likelihood, divided by the sum over the lumps.")


@exercise("probability.log-likelihood")
def _log_likelihood(attempt):
    theta = torch.tensor([0.2, 0.3, 0.6], dtype=torch.float64)
    for n in (5, 100, 100_000):
        draws = probability.draw_urn(n, 0.3, generator=1)
        red = draws.sum()
        expected = probability.log_likelihood(theta, red, n - red)
        shown = f"{n:,} draws, {red.item():,} of them red, and theta = 0.2, 0.3, 0.6"
        answer = call(attempt, theta.clone(), draws.clone(), shown=shown)
        if torch.is_tensor(answer) and answer.shape == expected.shape:
            if not answer.isfinite().all():
                raise Wrong(
                    f"For {shown} finite numbers were expected, got {answer[~answer.isfinite()][0].item()}. "
                    "The product underflows to 0 before you take its logarithm."
                )
            if torch.allclose(answer.double(), expected / n):
                raise Wrong(f"For {shown} you took the mean over the draws. The log-likelihood is their sum.")
            if torch.allclose(answer.double(), probability.log_likelihood(theta, n - red, red)):
                raise Wrong(f"For {shown} red and blue are swapped: a 1 is a red ball, and has probability theta.")
        compare(answer, expected, shown, "The sum of log theta for each red ball and log(1 - theta) for each blue.")


@exercise("probability.cross-entropy")
def _cross_entropy(attempt):
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(4, 3, generator=g), torch.tensor([0, 2, 1, 1])
    shown = "four examples and three classes"
    expected = F.cross_entropy(logits, labels, reduction="none")
    hint = "One number for each example: the log-sum-exp of its logits minus the logit of its label."
    compare(call(attempt, logits.clone(), labels.clone(), shown=shown), expected, shown, hint)
    logits, labels = torch.tensor([[1000.0, 0.0], [0.0, 1000.0], [-1000.0, -1000.0]]), torch.tensor([0, 0, 1])
    shown = "logits of 1000 and 0"
    answer = call(attempt, logits.clone(), labels.clone(), shown=shown)
    if torch.is_tensor(answer) and not answer.isfinite().all():
        got = answer[~answer.isfinite()][0].item()
        raise Wrong(f"For {shown} finite numbers were expected, got {got}: exp(1000) is infinite in floating point.")
    compare(answer, F.cross_entropy(logits, labels, reduction="none"), shown, hint)


@exercise("probability.lcg")
def _lcg(attempt):
    for a, c, m, seed, n in (
        (5, 3, 16, 7, 6),
        (21, 17, 256, 1, 300),
        (16807, 0, 2**31 - 1, 1, 10_000),
        (1664525, 1013904223, 2**32, 2**32 - 1, 50),
    ):
        expected = probability.LCG(a, c, m, seed).integers(n)
        shown = f"a = {a}, c = {c}, m = {m}, seed {seed} and n = {n}"
        answer = call(attempt, a, c, m, seed, n, shown=shown)
        if not torch.is_tensor(answer) or answer.shape != (n,):
            got = tuple(answer.shape) if torch.is_tensor(answer) else type(answer).__name__
            raise Wrong(f"For {shown} a tensor of shape ({n},) was expected, got {got}.")
        if answer.dtype != torch.int64:
            raise Wrong(f"For {shown} whole numbers (torch.int64) were expected, got {answer.dtype}.")
        if answer[0] == seed and torch.equal(answer[1:], expected[:-1]):
            raise Wrong(f"For {shown} the first number must be x_1 = {expected[0].item()}; yours is the seed itself.")
        wrong = (answer != expected).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise Wrong(
                f"For {shown} x_{i + 1} = {expected[i].item()} was expected, got {answer[i].item()}. "
                "Multiply, add, then take the remainder, all in whole numbers."
            )


@exercise("probability.rayleigh")
def _rayleigh(attempt):
    u = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    expected = torch.sqrt(-2 * torch.log1p(-u))
    shown = "u = 0, 0.1, 0.5, 0.9, 0.999"
    answer = call(attempt, u.clone(), shown=shown)
    if torch.is_tensor(answer) and answer.shape == u.shape:
        if torch.allclose(answer[1:].double(), torch.sqrt(-2 * u[1:].log())):
            raise Wrong(
                f"For {shown} you used u where 1 - u belongs. The draws would have the right distribution, since 1 - U "
                "is uniform too; but it is not the inverse of F, which increases and is 0 at u = 0."
            )
        if torch.allclose(answer.double(), expected**2 / 2) or torch.allclose(answer.double(), expected**2):
            raise Wrong(f"For {shown} a root or a factor is missing: F(x) has x² / 2 in its exponent.")
    compare(answer, expected, shown, f"F of your answer must be u again, such as F({expected[2]:.4f}) = 0.5.")


@exercise("probability.categorical")
def _categorical(attempt):
    almost_one = math.nextafter(1.0, 0.0)
    g = torch.Generator().manual_seed(0)
    cases = (
        (torch.rand(1000, generator=g, dtype=torch.float64), (0.1, 0.2, 0.3, 0.4), "a thousand u and four outcomes"),
        ((0.0, 0.0), (0.0, 0.5, 0.5), "u = 0 and p = (0, 0.5, 0.5)"),
        ((0.25, 0.5), (0.25, 0.25, 0.0, 0.5), "u = 0.25 and 0.5, and p = (0.25, 0.25, 0, 0.5)"),
        ((almost_one,), (0.1,) * 10, "the largest u below 1 and ten outcomes of probability 0.1"),
    )
    for u, p, shown in cases:
        u, p = torch.as_tensor(u, dtype=torch.float64), torch.tensor(p, dtype=torch.float64)
        expected = probability.categorical_from_uniform(u, p)
        answer = call(attempt, u.clone(), p.clone(), shown=shown)
        if not torch.is_tensor(answer) or answer.shape != u.shape or answer.is_floating_point():
            got = f"{tuple(answer.shape)}, {answer.dtype}" if torch.is_tensor(answer) else type(answer).__name__
            raise Wrong(f"For {shown} whole numbers of the shape {tuple(u.shape)} were expected, got {got}.")
        if answer.max() >= len(p):
            raise Wrong(f"For {shown} outcome {answer.max().item()} was drawn; the last one is {len(p) - 1}.")
        impossible = (p[answer] == 0).nonzero()
        if len(impossible):
            raise Wrong(f"For {shown} outcome {answer[impossible[0]].item()} was drawn, whose probability is 0.")
        wrong = (answer != expected).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise Wrong(
                f"For {shown} the outcome {expected[i].item()} was expected at [{i}], where u = {u[i].item():.4f}, "
                f"got {answer[i].item()}. It is the first whose cumulative probability is above u."
            )
