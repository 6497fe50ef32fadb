"""Checks of the Markov chapter's exercises."""

import torch

from gentut import markov
from gentut.exercises import Wrong, call, compare, exercise

DOUBLE = torch.float64


def _tensor(rows):
    return torch.tensor(rows, dtype=DOUBLE)


def _real(answer, shown):
    """Compare would take the real part of complex numbers in silence; the exercise asks for it to be taken."""
    if torch.is_tensor(answer) and answer.is_complex():
        raise Wrong(f"For {shown} real numbers were expected, got {answer.dtype}: take the real part.")
    return answer


@exercise("markov.evolve")
def _evolve(attempt):
    A, pizza = markov.RESTAURANT, _tensor([0, 1, 0])
    side = "The distribution is a row vector and stands on the left."
    power = "A**n raises each entry to the power n by itself."
    for n, hint in ((1, side), (2, power), (0, "No step changes nothing."), (7, "")):
        shown = f"the restaurant, from pizza, n = {n}"
        compare(call(attempt, pizza, A.clone(), n, shown=shown), markov.evolve(pizza, A, n), shown, hint)
    alternating, start = _tensor([[0, 1], [1, 0]]), _tensor([[0.9, 0.1], [0.3, 0.7]])
    shown = "a chain that alternates, a batch of 2 starts, n = 100001"
    answer = call(attempt, start, alternating, 100_001, shown=shown)
    compare(answer, start.flip(-1), shown, "After an odd number of steps the two states have changed places.")


@exercise("markov.stationary")
def _stationary(attempt):
    random = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    chains = {
        "the restaurant": markov.RESTAURANT,
        "a random chain of 5 states": random / random.sum(1, keepdim=True),
        "the periodic chain [[0, 1, 0], [0.3, 0, 0.7], [0, 1, 0]]": _tensor([[0, 1, 0], [0.3, 0, 0.7], [0, 1, 0]]),
    }
    for shown, A in chains.items():
        answer = _real(call(attempt, A.clone(), shown=shown), shown)
        hint = ""
        if torch.is_tensor(answer) and answer.shape == A.shape[:1] and answer.isfinite().all():
            answer = answer.detach().double()
            total = answer.sum().item()
            if abs(total - 1) > 1e-4:
                hint = f"A distribution sums to 1, this sums to {total:.4f}."
            elif (answer - answer[0]).abs().max() < 1e-4:
                hint = "All entries are the same: that is the right eigenvector. You need the left one, that of A.T."
            elif (answer @ A - answer).abs().max() > 1e-4:
                hint = "One more step changes it, so it is not stationary."
        compare(answer, markov.stationary(A)[0], shown, hint)


@exercise("markov.estimate")
def _estimate(attempt):
    short = torch.tensor([0, 1, 1, 0, 1, 1])
    shown = "the path 0 1 1 0 1 1 through 2 states"
    expected = _tensor([[0, 1], [1 / 3, 2 / 3]])
    answer = call(attempt, short, 2, shown=shown)
    hint = "0 is twice followed by 1; 1 once by 0, twice by 1. The last day has no next day."
    if torch.is_tensor(answer) and answer.shape == (2, 2):
        rows, columns = answer.sum(1).double(), answer.sum(0).double()
        if not torch.allclose(rows, torch.ones(2, dtype=DOUBLE), atol=1e-4):
            hint = "Each row must sum to 1: of the days in state i, which share is followed by j?"
            if torch.allclose(columns, torch.ones(2, dtype=DOUBLE), atol=1e-4):
                hint += " Here the columns do."
    compare(answer, expected, shown, hint)
    path = markov.simulate(markov.RESTAURANT, 1, 50_000, generator=0)
    shown = "a path of 50,001 days through the restaurant"
    pairs = torch.zeros(3, 3, dtype=DOUBLE)
    pairs.index_put_((path[:-1], path[1:]), torch.ones(50_000, dtype=DOUBLE), accumulate=True)
    compare(call(attempt, path.clone(), 3, shown=shown), pairs / pairs.sum(1, keepdim=True), shown)


@exercise("markov.metropolis")
def _metropolis(attempt):
    lazy = 0.5 * torch.eye(4, dtype=DOUBLE) + 0.125  # proposes to stay now and then
    problems = {
        "weights 1 and 4, always proposing the other state": (_tensor([1, 4]), _tensor([[0, 1], [1, 0]])),
        "weights 2, 1, 1, 6 and a proposal that may stay": (_tensor([2, 1, 1, 6]), lazy),
    }
    for shown, (weights, Q) in problems.items():
        answer = call(attempt, weights.clone(), Q.clone(), shown=shown)
        hint = "From a small weight to a large one every proposal is accepted."
        if torch.is_tensor(answer) and answer.shape == Q.shape:
            total = answer.sum(1).double()
            if not torch.allclose(total, torch.ones_like(total), atol=1e-4):
                i = (total - 1).abs().argmax().item()
                hint = f"Row {i} sums to {total[i].item():.4f}, not to 1: refused steps stay, on the diagonal."
            elif torch.allclose(weights.flip(0) @ answer.double(), weights.flip(0), atol=1e-4):
                hint = "This chain prefers small weights: is the ratio upside down?"
        compare(answer, markov.metropolis(weights, Q), shown, hint)


@exercise("markov.mixing-time")
def _mixing_time(attempt):
    # Four states: with three, the largest single difference always is the total variation distance.
    sticky = _tensor([[0.5, 0.46, 0.04, 0], [0.4, 0.6, 0, 0], [0.1, 0, 0.4, 0.5], [0, 0, 0.3, 0.7]])
    chains = {"the restaurant": markov.RESTAURANT, "two rooms with a door": sticky}
    for name, A in chains.items():
        for epsilon in (0.9, 0.25, 0.01):
            shown, pi = f"{name}, epsilon = {epsilon}", markov.stationary(A)[0]
            answer = call(attempt, A.clone(), pi, epsilon, shown=shown)
            expected = markov.mixing_time(A, epsilon)
            if torch.is_tensor(answer) and answer.ndim == 0:
                answer = answer.item()
            if isinstance(answer, bool) or not isinstance(answer, (int, float)):
                raise Wrong(f"For {shown} a whole number was expected, got {type(answer).__name__}.")
            if answer != expected:
                near = markov.distances(A, max(expected, 1))[max(expected - 1, 0) :].tolist()
                why = f"d({max(expected - 1, 0)}) = {near[0]:.4f}, d({max(expected, 1)}) = {near[1]:.4f}"
                raise Wrong(f"For {shown} t = {expected} was expected, got {answer}: {why}.")


@exercise("markov.gaussian")
def _gaussian(attempt):
    cases = [
        (_tensor([2.0, -1.0]), _tensor([0.9])),
        (_tensor([2.0, -1.0]), _tensor([0.9, 0.5, 0.8])),
        (_tensor([[1.0], [3.0]]), torch.linspace(0.999, 0.98, 200, dtype=DOUBLE)),
        (_tensor([2.0]), _tensor([])),
    ]
    for x0, alphas in cases:
        listed = ", ".join(f"{a:g}" for a in alphas.tolist()) if len(alphas) < 5 else f"{len(alphas)} of them"
        shown = f"x0 of shape {tuple(x0.shape)} and alphas {listed or 'none (t = 0)'}"
        answer = call(attempt, x0.clone(), alphas.clone(), shown=shown)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f"For {shown} a pair (mean, variance) was expected, got {type(answer).__name__}.")
        mean, variance = x0, torch.zeros((), dtype=DOUBLE)
        for alpha in alphas:  # one step after the other
            mean, variance = alpha.sqrt() * mean, alpha * variance + 1 - alpha
        hint = "Each step multiplies the mean by the root of its alpha."
        compare(answer[0], mean, f"{shown}, the mean,", hint)
        hint = "Noise that came early is shrunk by all later steps. The mean and the variance share the same product."
        compare(answer[1], variance, f"{shown}, the variance,", hint)
