"""Checks of the variational chapter's exercises."""

import math

import torch

from gentut import variational
from gentut.exercises import Wrong, call, compare, exercise


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@exercise("variational.log-evidence")
def _log_evidence(attempt):
    for x, hint in (
        (_tensor(1.0), "At x = 1 it is -½ - log 2."),
        (_tensor(1.5, -2.0, 6.0), "Look at the signs in (3.4), and at the argument of Φ."),
    ):
        shown = f"x = {x.tolist()}"
        compare(call(attempt, x, shown=shown), variational.log_evidence(x), shown, hint, tolerance=1e-6)
    x = _tensor(-40.0, -1000.0, 1000.0)
    shown = f"x = {x.tolist()}"
    hint = "Φ itself rounds to 0 there: take its logarithm in one piece."
    answer = call(attempt, x, shown=shown)
    if torch.is_tensor(answer) and not answer.isfinite().all():
        raise Wrong(f"For {shown} finite numbers were expected, got {answer.tolist()}. {hint}")
    compare(answer, variational.log_evidence(x), shown, hint, tolerance=1e-6)


@exercise("variational.elbo")
def _elbo(attempt):
    for q, x in ((variational.TruncatedNormal(2.5, 0.6), 1.5), (variational.Exponential(0.7), -1.0)):
        z = q.rsample(6, 0)
        log_q = q.log_prob(z)
        shown = f"x = {x:g} and 6 draws"
        want = (variational.log_joint(x, z) - log_q).mean()
        answer = call(attempt, x, z, log_q, shown=shown)
        if torch.is_tensor(answer) and answer.shape == z.shape:
            raise Wrong(f"For {shown} one number was expected, got {len(z)}: average over the draws.")
        for slip, what in (
            (variational.log_joint(x, z).mean(), "log q is missing: that is the mean of log p(x, z) alone."),
            ((variational.log_joint(x, z) + log_q).mean(), "log q is subtracted, not added."),
            ((variational.log_joint(x, z) + z - log_q).mean(), "the prior is missing: log p(z) = -z."),
            (want + 0.5 * math.log(2 * math.pi), "the constant of the normal density is missing."),
        ):
            if torch.is_tensor(answer) and answer.ndim == 0 and torch.isclose(answer.double(), slip, atol=1e-9):
                raise Wrong(f"For {shown} {what}")
        compare(answer, want, shown, "It is the mean of log p(x, z) - log q(z).", tolerance=1e-6)
    z = _tensor(0.5, -0.2, 1.0)
    log_q = variational.Normal(0.5, 1.0).log_prob(z)
    shown = "draws that include z = -0.2"
    answer = call(attempt, 1.5, z, log_q, shown=shown)
    if not torch.is_tensor(answer) or answer.ndim or answer.item() != -math.inf:
        got = answer.item() if torch.is_tensor(answer) and not answer.ndim else answer
        raise Wrong(f"For {shown} minus infinity was expected, got {got}: a negative depth has p(z) = 0.")


@exercise("variational.sample")
def _sample(attempt):
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    for loc, scale in ((0.5, 1.0), (-1.0, 0.8), (3.0, 1.5)):
        free = _tensor(loc, scale).requires_grad_()
        shown = f"loc = {loc:g}, scale = {scale:g}"
        z = call(attempt, u, free[0], free[1], shown=shown)
        if not torch.is_tensor(z) or z.shape != u.shape:
            got = tuple(z.shape) if torch.is_tensor(z) else type(z).__name__
            raise Wrong(f"For {shown} a tensor of the shape of u was expected, {tuple(u.shape)}, got {got}.")
        values = z.detach().double()
        if (values < 0).any():
            raise Wrong(f"For {shown} one of the draws is {values.min():.4f}: it must not be below 0.")
        if (values == 0).sum() > 1:
            lump = int((values == 0).sum())
            raise Wrong(f"For {shown} {lump} of 99 draws are exactly 0: a density has no such lump.")
        below = torch.special.ndtr(-free[0] / free[1])
        want = free[0] + free[1] * torch.special.ndtri(below + u * (1 - below))
        hint = "Is F(z) = u? Spread u over the part of the normal above 0."
        compare(z, want.detach(), shown, hint, tolerance=1e-6)
        due = torch.autograd.grad(want.sum(), free)[0]
        reached = torch.autograd.grad(z.sum(), free, allow_unused=True)[0] if z.requires_grad else None
        if reached is None:
            raise Wrong(f"For {shown} the draws are right, but no gradient reaches loc and scale.")
        for name, got, right in zip(("loc", "scale"), reached.tolist(), due.tolist(), strict=True):
            if not math.isclose(got, right, rel_tol=1e-4):
                raise Wrong(
                    f"For {shown} the draws are right, but the derivative of their sum by {name} should be {right:.4f} "
                    f"and is {got:.4f}. Is a part of the formula detached?"
                )


@exercise("variational.baseline")
def _baseline(attempt):
    g = torch.Generator().manual_seed(0)
    for n, k in ((2, 1), (5, 2), (40, 3)):
        f = torch.randn(n, generator=g, dtype=torch.float64) + 3
        score = torch.randn(n, k, generator=g, dtype=torch.float64)
        shown = f"{n} draws and {k} parameter{'s' * (k > 1)}"
        others = (f.sum() - f) / (n - 1)
        want = (f - others)[:, None] * score
        answer = call(attempt, f, score, shown=shown)
        if torch.is_tensor(answer) and answer.shape == want.shape:
            for slip, what in (
                (f[:, None] * score, "nothing was subtracted from f."),
                ((f - f.mean())[:, None] * score, "the mean contains the draw's own f: leave it out."),
            ):
                if torch.allclose(answer.double(), slip):
                    raise Wrong(f"For {shown} {what}")
        hint = "One gradient for each draw: (f_i - mean of the others) · score_i."
        compare(answer, want, shown, hint, tolerance=1e-6)


@exercise("variational.coordinate")
def _coordinate(attempt):
    g = torch.Generator().manual_seed(1)
    for d in (2, 3):
        root = torch.randn(d, d, generator=g, dtype=torch.float64)
        covariance = root @ root.T + torch.eye(d, dtype=torch.float64)
        mean, mu = torch.randn(2, d, generator=g, dtype=torch.float64)
        for i in range(d):
            turned = mean.roll(-i), covariance.roll((-i, -i), (0, 1))  # so that coordinate i comes first
            found = variational.coordinate_ascent(*turned, 1, start=mu.roll(-i))
            want = torch.stack([found.means[1, 0], found.variances[0]])
            shown = f"d = {d} and i = {i}"
            answer = call(attempt, mean.clone(), covariance.clone(), mu.clone(), i, shown=shown)
            if torch.is_tensor(answer) and answer.shape == want.shape:
                marginal = covariance[i, i]
                if torch.isclose(answer[1].double(), marginal):
                    raise Wrong(f"For {shown} the variance is that of the posterior; mean field has 1 / Λ_ii.")
                if torch.isclose(answer[1].double(), 1 / marginal):
                    raise Wrong(f"For {shown} the variance is 1 / Σ_ii. Λ is the inverse of the covariance matrix.")
            hint = "First the new mean of factor i, then its variance. Does the sum leave out j = i?"
            compare(answer, want, shown, hint, tolerance=1e-6)
