"""Checks of the VAE chapter's exercises."""

import math

import torch

from gentut import vae
from gentut.exercises import Wrong, call, compare, exercise


@exercise("vae.kl")
def _kl(attempt):
    for mu, log_var, hint in (
        (0.0, 0.0, "This is D(p ‖ p)."),
        (2.0, 0.0, "Only the mean differs here: look at the term in mu."),
        (0.0, math.log(4), "Only the variance differs here. The argument is log σ², not σ."),
        (0.0, math.log(0.25), "Only the variance differs here. The argument is log σ², not σ."),
    ):
        m, v = torch.tensor([[mu]]), torch.tensor([[log_var]])
        shown = f"mu = {mu:g}, log_var = {log_var:.3f}"
        compare(call(attempt, m, v, shown=shown), vae.kl_to_standard_normal(m, v), shown, hint)
    m, v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    shown = "5 pictures and 3 latents"
    answer = call(attempt, m, v, shown=shown)
    compare(answer, vae.kl_to_standard_normal(m, v), shown, "One number for each picture and latent: do not sum yet.")


@exercise("vae.reconstruction")
def _reconstruction(attempt):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 28, 28, generator=g)
    for x, kind in ((torch.rand(3, 1, 28, 28, generator=g).round(), "black and white"), (None, "grey")):
        x = torch.rand(3, 1, 28, 28, generator=g) if x is None else x
        shown = f"three {kind} pictures"
        hint = "Nats per image: summed over the 784 pixels, one number for each picture, and positive."
        compare(call(attempt, logits, x, shown=shown), vae.reconstruction_nats(logits, x), shown, hint)
    logits, x = torch.full((1, 1, 28, 28), 200.0), torch.zeros(1, 1, 28, 28)
    shown = "logits of 200 where the pixel is black"
    hint = "log(1 - sigmoid(200)) is log 0 in float32. Work with the logits: there is a function for it."
    answer = call(attempt, logits, x, shown=shown)
    if torch.is_tensor(answer) and not torch.isfinite(answer).all():
        raise Wrong(f"For {shown} a finite number was expected, got {answer.flatten()[0].item()}. {hint}")
    compare(answer, vae.reconstruction_nats(logits, x), shown, hint)


@exercise("vae.sample-code")
def _sample_code(attempt):
    n = 40_000
    for mu, sigma in ((0.0, 1.0), (3.0, 0.5), (-1.0, 2.0)):
        m = torch.full((n, 1), mu, requires_grad=True)
        v = torch.full((n, 1), 2 * math.log(sigma), requires_grad=True)
        shown = f"mu = {mu:g}, log_var = {2 * math.log(sigma):.3f} (so sigma = {sigma:g})"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            z = call(attempt, m, v, shown=shown)
        if not torch.is_tensor(z) or z.shape != m.shape:
            got = tuple(z.shape) if torch.is_tensor(z) else type(z).__name__
            raise Wrong(f"For {shown} a tensor of the shape of mu was expected, {tuple(m.shape)}, got {got}.")
        error = 6 * sigma / math.sqrt(n)  # six standard errors: a right answer fails once in a billion
        mean, deviation = z.mean().item(), z.std().item()
        if abs(mean - mu) > error:
            raise Wrong(f"For {shown} the mean of {n:,} codes should be near {mu:g}, it is {mean:.3f}.")
        if abs(deviation - sigma) > error:
            raise Wrong(f"For {shown} the codes' standard deviation should be near {sigma:g}, it is {deviation:.3f}.")
        inside = ((z - mu).abs() < sigma).float().mean().item()
        if abs(inside - math.erf(1 / math.sqrt(2))) > 6 * 0.5 / math.sqrt(n):
            raise Wrong(
                f"For {shown} mean and deviation are right, but the codes are not normally distributed: "
                f"{inside:.1%} lie within one sigma of the mean, 68.3% should."
            )
        reached = torch.autograd.grad(z.sum(), (m, v), allow_unused=True) if z.requires_grad else (None, None)
        for name, gradient in zip(("mu", "log_var"), reached, strict=True):
            if gradient is None:
                raise Wrong(f"The codes are right, but no gradient reaches {name}: the encoder could not learn.")


@exercise("vae.importance-bound")
def _importance_bound(attempt):
    weights = torch.tensor([[0.1, 0.4], [0.3, 0.4]])  # (k, batch)
    shown = "the weights 0.1 and 0.3 for one picture, 0.4 and 0.4 for another (k = 2)"
    hint = "The mean is taken over the weights, before the logarithm."
    compare(call(attempt, weights.log(), shown=shown), weights.mean(0).log(), shown, hint)
    low = torch.tensor([[-1000.0], [-1001.0], [-999.0]])
    expected = low.double().logsumexp(0).float() - math.log(3)
    shown = "log-weights near -1000"
    answer = call(attempt, low, shown=shown)
    if torch.is_tensor(answer) and not torch.isfinite(answer).all():
        got = answer.flatten()[0].item()
        raise Wrong(f"For {shown} {expected.item():.4f} was expected, got {got}: exp(-1000) is 0 in floating point.")
    compare(answer, expected, shown)


@exercise("vae.grid")
def _grid(attempt):
    from scipy.stats import norm

    for n in (3, 20):
        at = torch.from_numpy(norm.ppf(torch.linspace(0.05, 0.95, n, dtype=torch.float64).numpy())).float()
        rows, columns = torch.meshgrid(at.flip(0), at, indexing="ij")
        answer = call(attempt, n, shown=f"n = {n}")
        if torch.is_tensor(answer) and answer.shape == (n, n, 2):
            even = torch.linspace(at[0].item(), at[-1].item(), n)
            for slip, what in (
                (torch.stack([rows, columns], -1), "z1 and z2 are swapped: z1 grows along a row, z2 upwards."),
                (torch.stack([columns, rows.flip(0)], -1), "the grid is upside down: the top row has the largest z2."),
            ):
                if torch.isclose(answer.float(), slip, atol=1e-4).all():
                    raise Wrong(f"For n = {n} {what}")
            if n > 3 and torch.isclose(answer[0, :, 0].float(), even, atol=1e-4).all():
                raise Wrong("The codes are evenly spaced. Space the probabilities evenly, then use norm.ppf.")
        hint = "Index it as [row, column, 0 for z1 or 1 for z2]."
        compare(answer, torch.stack([columns, rows], -1), f"n = {n}", hint)


@exercise("vae.active-units")
def _active_units(attempt):
    g = torch.Generator().manual_seed(0)
    mu = torch.randn(500, 4, generator=g) * torch.tensor([1.0, 0.02, 0.5, 0.0]) + torch.tensor([0.0, 3.0, 0.0, 0.0])
    shown = "500 codes of 4 latents (the second is nearly constant at 3, the fourth is always 0)"
    answer = call(attempt, mu, shown=shown)
    if not torch.is_tensor(answer) or answer.dtype != torch.bool:
        got = answer.dtype if torch.is_tensor(answer) else type(answer).__name__
        raise Wrong(f"For {shown} a tensor of True and False was expected, got {got}.")
    compare(answer.float(), torch.tensor([1.0, 0.0, 1.0, 0.0]), shown, "The variance is taken over the pictures.")
