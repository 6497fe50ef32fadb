"""Checks of the exercises in the chapter on diffusion."""

import warnings

import torch

from gentut.diffusion import Schedule
from gentut.exercises import Wrong, call, compare, exercise


def _same(answer, expected):
    """Whether an answer is a certain wrong one; a number counts as a 0-d tensor."""
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = torch.tensor(float(answer))
    if not torch.is_tensor(answer) or answer.shape != expected.shape:
        return False
    return torch.allclose(answer.detach().to(expected), expected, rtol=1e-4, atol=1e-6, equal_nan=True)


def _schedule(betas):
    with warnings.catch_warnings():  # short chains do not reach noise, and need not here
        warnings.simplefilter("ignore")
        return Schedule(betas)


@exercise("diffusion.schedule")
def _alpha_bar(attempt):
    for betas, shown in (
        (torch.tensor([0.5, 0.2]), "β = 0.5 and 0.2"),
        (torch.tensor([0.1]), "a chain of one step, β = 0.1"),
        (torch.linspace(1e-4, 0.02, 1000), "the linear schedule with T = 1000"),
        (torch.linspace(0.05, 0.9, 10), "ten steps from β = 0.05 to 0.9"),
    ):
        answer, expected = call(attempt, betas.clone(), shown=shown), _schedule(betas).alpha_bar.to(betas)
        if not _same(answer, expected):
            if _same(answer, expected[1:]):
                raise Wrong(f"For {shown} these are T numbers. The index is t and t = 0 is the data: T + 1 numbers, "
                            "the first is 1.")
            if _same(answer, expected[:-1]):
                raise Wrong(f"For {shown} the last step is missing: index T must hold the product of all α.")
            if _same(answer, torch.cat([betas.new_ones(1), 1 - betas])):
                raise Wrong(f"For {shown} these are the α of single steps. ᾱ_t is the product of all up to t.")
            if _same(answer, torch.cat([betas.new_ones(1), betas.cumprod(0)])):
                raise Wrong(f"For {shown} you multiplied the β. What stays of the data after a step is α = 1 - β.")
            if _same(answer, torch.cat([betas.new_ones(1), 1 - betas.cumsum(0)])):
                raise Wrong(f"For {shown} you added the β up. Each step takes its share of what is left: multiply.")
            if _same(answer, expected.sqrt()):
                raise Wrong(f"For {shown} this is √ᾱ, the factor before x_0. Asked was ᾱ, a share of variance.")
        compare(answer, expected, shown, "ᾱ_0 = 1, and ᾱ_t = ᾱ_{t-1} (1 - β_t).")


@exercise("diffusion.q-sample")
def _q_sample(attempt):
    g = torch.Generator().manual_seed(0)
    alpha_bar = _schedule(torch.tensor([0.1, 0.2, 0.4, 0.6])).alpha_bar.float()
    for shape, t, shown in (
        ((3, 2), [1, 2, 4], "three points of the plane at t = 1, 2 and 4"),
        ((2, 2), [1, 3], "two points of the plane at t = 1 and 3"),
        ((4, 1, 5, 5), [4, 3, 2, 1], "four small pictures at t = 4, 3, 2 and 1"),
        ((2, 2), [0, 0], "two points at t = 0"),
    ):
        x0, eps = torch.randn(2, *shape, generator=g)
        t = torch.tensor(t)
        answer = call(attempt, x0.clone(), alpha_bar.clone(), t.clone(), eps.clone(), shown=shown)

        def noisy(on_x0, on_eps, x0=x0, eps=eps, t=t):
            a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
            return on_x0(a) * x0 + on_eps(a) * eps

        expected = noisy(torch.sqrt, lambda a: (1 - a).sqrt())
        if not _same(answer, expected):
            if _same(answer, noisy(lambda a: a, lambda a: 1 - a)):
                raise Wrong(f"For {shown} the factors lack their square roots: ᾱ and 1 - ᾱ are variances.")
            if _same(answer, noisy(torch.sqrt, lambda a: 1 - a.sqrt())):
                raise Wrong(f"For {shown} the noise was given 1 - √ᾱ. The variances must add to 1: √(1 - ᾱ).")
            if _same(answer, noisy(torch.sqrt, lambda a: 1 - a)):
                raise Wrong(f"For {shown} the noise was given 1 - ᾱ, its variance. Its factor is the square root.")
            if _same(answer, noisy(lambda a: (1 - a).sqrt(), torch.sqrt)):
                raise Wrong(f"For {shown} the two factors are swapped: at small t most is data.")
            if _same(answer, noisy(torch.sqrt, lambda a: (1 - a).sqrt(), t=t - 1)):
                raise Wrong(f"For {shown} you read ᾱ at t - 1. Index 0 is the data here, so the index is t.")
            if len(x0) == 2 and _same(answer, alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps):
                raise Wrong(f"For {shown} the two ᾱ went to the two coordinates. Each point has its own t: give ᾱ the "
                            "shape (batch, 1).")
        compare(answer, expected, shown, "√ᾱ_t x_0 + √(1 - ᾱ_t) ε, with each point's own t.")


@exercise("diffusion.merge")
def _merge(attempt):
    for one, two, hint in (
        (0.9, 0.6, "The first noise is made smaller by the second step."),
        (0.5, 0.5, "Half of half of the data's variance is left."),
        (1.0, 0.7, "A first step that adds nothing leaves the second alone."),
        (0.3, 1.0, "A second step that adds nothing leaves the first alone."),
    ):
        shown = f"α_1 = {one:g} and α_2 = {two:g}"
        answer, expected = call(attempt, one, two, shown=shown), torch.tensor(1 - one * two)
        first, second = torch.tensor(1 - one), torch.tensor(1 - two)
        if not _same(answer, expected):
            if _same(answer, first + second):
                raise Wrong(f"For {shown} you added the two variances as they were drawn. The second step first "
                            "shrinks what is there, the first noise too.")
            if _same(answer, expected.sqrt()):
                raise Wrong(f"For {shown} this is the standard deviation. The variance was asked.")
            if _same(answer, torch.tensor(one * two)):
                raise Wrong(f"For {shown} this is what is left of the data's variance. The noise has the rest.")
            if _same(answer, (two**0.5 * first.sqrt() + second.sqrt()) ** 2) or \
                    _same(answer, (first.sqrt() + second.sqrt()) ** 2):
                raise Wrong(f"For {shown} you added standard deviations. The noises are independent: variances add.")
            if _same(answer, two**0.5 * first + second):
                raise Wrong(f"For {shown} the first noise is multiplied by √α_2, so its variance by α_2.")
            if _same(answer, first * second):
                raise Wrong(f"For {shown} you multiplied the variances of the noise. It is the α that multiply.")
        compare(answer, expected, shown, hint)


@exercise("diffusion.posterior")
def _posterior(attempt):
    g = torch.Generator().manual_seed(0)
    short = _schedule(torch.tensor([0.1, 0.3, 0.2, 0.5], dtype=torch.float64))
    for schedule, t, what in (
        (short, 3, "t = 3 of a chain of four steps"),
        (short, 4, "its last step, t = 4"),
        (Schedule.linear(1000), 500, "t = 500 of the linear schedule with T = 1000"),
        (short, 1, "t = 1, where x_{t-1} is x_0 itself"),
    ):
        x_t, x0 = torch.randn(2, 3, 2, generator=g, dtype=torch.float64)
        a = schedule.alpha_bar
        answer = call(attempt, x_t.clone(), x0.clone(), a.clone(), t, shown=what)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            got = f"{len(answer)} of them" if isinstance(answer, (tuple, list)) else type(answer).__name__
            raise Wrong(f"For {what} a tuple (mean, variance) was expected, got {got}.")
        mean, variance = answer
        beta, alpha = schedule.betas[t], schedule.alphas[t]
        on_x_t, on_x0 = alpha.sqrt() * (1 - a[t - 1]) / (1 - a[t]), a[t - 1].sqrt() * beta / (1 - a[t])
        right_mean, right_variance = schedule.posterior(x_t, x0, t)
        right_variance = right_variance.flatten()[0]
        if not _same(mean, right_mean):
            if _same(mean, on_x0 * x_t + on_x_t * x0):
                raise Wrong(f"For {what} the two factors of the mean are swapped.")
            if _same(mean, alpha * (1 - a[t - 1]) / (1 - a[t]) * x_t + a[t - 1] * beta / (1 - a[t]) * x0):
                raise Wrong(f"For {what} the factors of the mean lack the square roots of α_t and ᾱ_{{t-1}}.")
            if _same(mean, x_t / alpha.sqrt()) or _same(mean, a[t - 1].sqrt() * x0):
                raise Wrong(f"For {what} the mean needs both: what x_t says and what x_0 says, weighed together.")
        compare(mean, right_mean, f"the mean at {what}", "Multiply the two Gaussians in x_{t-1}, or see equation 7 of "
                "Ho et al.; α_t = ᾱ_t / ᾱ_{t-1}.", tolerance=1e-6)
        if torch.is_tensor(variance) and variance.numel() == 1:
            variance = variance.reshape(())
        if not _same(variance, right_variance):
            if _same(variance, right_variance.sqrt()):
                raise Wrong(f"For {what} this is the standard deviation. The variance was asked.")
            if _same(variance, beta):
                raise Wrong(f"For {what} this is β_t, the variance of the step forward. Knowing x_0 as well leaves "
                            "less.")
            if _same(variance, right_variance / beta):
                raise Wrong(f"For {what} the variance lacks its factor β_t.")
            if _same(variance, 1 - a[t - 1]):
                raise Wrong(f"For {what} this is the variance of x_{{t-1}} given x_0 alone. x_t is known as well.")
        compare(variance, right_variance, f"the variance at {what}", "One over it is the sum of one over the two "
                "Gaussians' variances, both as functions of x_{t-1}.", tolerance=1e-6)


@exercise("diffusion.score")
def _score(attempt):
    g = torch.Generator().manual_seed(0)
    for eps, a, shown in (
        (torch.tensor([[3.0, -4.0]]), 0.0, "ε = (3, -4) and a = 0"),
        (torch.tensor([[3.0, -4.0]]), 0.75, "ε = (3, -4) and a = 0.75"),
        (torch.randn(4, 2, generator=g), 0.99, "four predictions at a = 0.99"),
        (torch.zeros(2, 2), 0.5, "predictions that are 0"),
    ):
        answer, expected = call(attempt, eps.clone(), a, shown=shown), -eps / (1 - a) ** 0.5
        if not _same(answer, expected):
            if _same(answer, -expected):
                raise Wrong(f"For {shown} the sign is wrong: the noise points away from the data, the score towards "
                            "it.")
            if _same(answer, -eps / (1 - a)):
                raise Wrong(f"For {shown} you divided by the noise's variance. ε has variance 1, so divide by the "
                            "standard deviation.")
            if _same(answer, -eps * (1 - a) ** 0.5):
                raise Wrong(f"For {shown} you multiplied by the noise's standard deviation. The less noise, the "
                            "steeper log q: divide.")
            if _same(answer, -eps):
                raise Wrong(f"For {shown} this is the direction only. The score also depends on how much noise there "
                            "is.")
            if a and _same(answer, -eps / a**0.5):
                raise Wrong(f"For {shown} you divided by √a, the factor of the data. The noise's is √(1 - a).")
        compare(answer, expected, shown, "The gradient of log N(x_t; √a x_0, (1 - a) I) by x_t, written with ε.")
