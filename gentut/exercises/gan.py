"""Checks of the GAN chapter's exercises."""

import torch
import torch.nn.functional as F

from gentut import games, gan, metrics
from gentut.exercises import Wrong, call, compare, exercise


def _same(answer, expected):
    """Whether an answer is a certain wrong one; a number counts as a 0-d tensor."""
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = torch.tensor(float(answer))
    if not torch.is_tensor(answer) or answer.shape != expected.shape:
        return False
    return torch.allclose(answer.detach().to(expected), expected, equal_nan=True)


@exercise("gan.inverse")
def _inverse(attempt):
    target = games.pair()
    fine = torch.linspace(-3, 2, 501, dtype=torch.float64)
    for u, points, cdf, shown in (
        ([0.1, 0.5, 0.51, 0.95], [-1.0, 0.0, 2.0], [0.2, 0.5, 1.0], "a table of three points with F = 0.2, 0.5 and 1"),
        ([0.0, 0.25, 0.3, 0.9], [1.0, 2.0, 3.0, 4.0], [0.25, 0.25, 0.9, 1.0], "a table whose F stands still once"),
        ([0.05, 0.59, 0.61, 0.9, 0.4], fine, target.cdf(fine), "501 points of the chapter's mixture"),
        ([0.5, 0.9999], [0.0, 1.0], [0.6, 0.999], "a table that ends at F = 0.999, and u = 0.5 and 0.9999"),
    ):
        u, points, cdf = (torch.as_tensor(v, dtype=torch.float64) for v in (u, points, cdf))
        answer, last = call(attempt, u.clone(), points.clone(), cdf.clone(), shown=shown), len(points) - 1
        place = torch.searchsorted(cdf, u)
        after = torch.searchsorted(cdf, u, right=True).clamp(max=last)
        before = (place - 1).clamp(0, last)
        place = place.clamp(max=last)
        rise = (cdf[place] - cdf[before]).clamp(min=1e-12)
        between = points[before] + (points[place] - points[before]) * ((u - cdf[before]) / rise).clamp(0, 1)
        if not _same(answer, points[place]):
            if _same(answer, points[before]):
                raise Wrong(f"For {shown} this is the last point whose F is below u. The next one was asked.")
            if _same(answer, points[after]):
                raise Wrong(f"For {shown} F must be at least u: where it equals u, that point is the answer.")
            if _same(answer, between):
                raise Wrong(f"For {shown} this lies between two points of the table. One of its points was asked.")
            if _same(answer, place.double()) or _same(answer, cdf[place]):
                raise Wrong(f"For {shown} the place or the F of a point was given. The point itself was asked.")
        compare(answer, points[place], shown, "The smallest point whose F is at least u; if there is none, the last.")


@exercise("gan.optimal")
def _optimal(attempt):
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    bump = games.Mixture([0.0], [1.0]).log_density(x).exp()
    for p, q, shown in (
        (torch.tensor([0.2, 0.5]), torch.tensor([0.6, 0.5]), "p = 0.2 and 0.5, q = 0.6 and 0.5"),
        (torch.tensor([0.0, 0.3]), torch.tensor([0.4, 0.0]), "places where only one of them has points"),
        (games.pair().log_density(x).exp(), bump, "the mixture and a standard normal at 7 places"),
    ):
        answer, expected = call(attempt, p.clone(), q.clone(), shown=shown), p / (p + q)
        if not _same(answer, expected):
            if _same(answer, 1 - expected):
                raise Wrong(f"For {shown} this is the probability of a generated point; D gives that of a real one.")
            if _same(answer, p / q):
                raise Wrong(f"For {shown} these are the odds p : q. A probability compares p with both together.")
            if _same(answer, (p > q).to(p)) or _same(answer, (p >= q).to(p)):
                raise Wrong(f"For {shown} this is a verdict, right most often. The loss asks for a probability.")
            if _same(answer, p / (p + q).sum()):
                raise Wrong(f"For {shown} you divided by the sum over all places. Each x is judged by itself.")
        compare(answer, expected, shown, "At each x by itself: which share of the points there is real?")


@exercise("gan.losses")
def _losses(attempt):
    g = torch.Generator().manual_seed(0)
    for real, fake, shown in (
        (torch.zeros(4), torch.zeros(4), "scores that are all 0 (D says 1/2 to everything)"),
        (torch.randn(6, generator=g) + 1, torch.randn(6, generator=g) - 1, "six scores of real and six of generated"),
        (torch.tensor([200.0, -200.0]), torch.tensor([-200.0, 200.0]), "scores of 200 and -200"),
        (torch.randn(3, generator=g), torch.randn(5, generator=g), "three scores of real and five of generated"),
    ):
        answer = call(attempt, real.clone(), fake.clone(), shown=shown)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            got = f"{len(answer)} of them" if isinstance(answer, (tuple, list)) else type(answer).__name__
            raise Wrong(f"For {shown} a tuple of 2 losses was expected, D's and G's, got {got}.")
        on_real, on_fake = F.softplus(-real), F.softplus(fake)
        of_d, of_g = on_real.mean() + on_fake.mean(), gan.generator_loss("non-saturating", fake).mean()
        for loss, expected, whose in zip(answer, (of_d, of_g), ("D's", "G's"), strict=True):
            if torch.is_tensor(loss) and not loss.isfinite().all():
                raise Wrong(f"For {shown} {whose} loss should be finite: sigmoid(-200) is 0 in float32 and its "
                            "logarithm is not finite. Work with the scores: there is a function for log(1 + e^score).")
            if torch.is_tensor(loss) and loss.ndim == 1:
                raise Wrong(f"For {shown} {whose} loss is one number for the batch: take the mean.")
            if expected is of_d and not _same(loss, of_d):
                if _same(loss, of_d / 2) or _same(loss, torch.cat([on_real, on_fake]).mean()):
                    raise Wrong(f"For {shown} real and generated points each have a mean of their own; add the two.")
                if _same(loss, on_real.sum() + on_fake.sum()):
                    raise Wrong(f"For {shown} D's loss is a sum over the batch; take the means.")
                if _same(loss, F.softplus(real).mean() + F.softplus(-fake).mean()):
                    raise Wrong(f"For {shown} D's labels are swapped: a high score means real.")
                if _same(loss, -of_d):
                    raise Wrong(f"For {shown} D's loss has the wrong sign: D makes it smaller.")
            if expected is of_g and not _same(loss, of_g):
                if _same(loss, -on_fake.mean()):
                    raise Wrong(f"For {shown} this is the saturating loss log(1 - D). Asked was -log D.")
                if _same(loss, on_fake.mean()):
                    raise Wrong(f"For {shown} G would be paid for being found out: its loss falls where D says real.")
            compare(loss, expected, f"{whose} loss with {shown}", "With D = sigmoid(score), in nats.")


@exercise("gan.frechet")
def _frechet(attempt):
    for mean_a, sd_a, mean_b, sd_b, hint in (
        (0.0, 1.0, 0.0, 1.0, "Two equal distributions are at distance 0."),
        (0.0, 1.0, 3.0, 1.0, "Only the means differ here."),
        (0.0, 1.0, 0.0, 3.0, "Only the standard deviations differ here."),
        (-1.0, 0.5, 2.0, 2.0, "The two parts are added."),
    ):
        shown = f"N({mean_a:g}, {sd_a:g}²) and N({mean_b:g}, {sd_b:g}²)"
        answer = call(attempt, mean_a, sd_a, mean_b, sd_b, shown=shown)
        one = torch.ones(1, 1, dtype=torch.float64)
        distance = metrics.frechet(mean_a * one[0], sd_a**2 * one, mean_b * one[0], sd_b**2 * one)
        expected, means = torch.tensor(float(distance)), (mean_a - mean_b) ** 2
        if not _same(answer, expected):
            if _same(answer, expected.sqrt()):
                raise Wrong(f"For {shown} you took a square root. The Fréchet distance that is reported is the square.")
            if _same(answer, means + torch.tensor(sd_a**2 - sd_b**2) ** 2):
                raise Wrong(f"For {shown} you compared variances, whose unit is x². Compare standard deviations.")
            if _same(answer, means + torch.tensor(sd_a**2 + sd_b**2 - sd_a * sd_b)):
                raise Wrong(f"For {shown} the product of the deviations counts twice: (a - b)² = a² + b² - 2ab.")
        compare(answer, expected, shown, hint)


@exercise("gan.modes")
def _modes(attempt):
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    near = torch.tensor([[0.05, 0.0], [0.0, -0.05], [0.95, 0.02], [0.5, 0.5]])
    corner = torch.tensor([[0.18, 0.18], [1.0, 0.19]])
    ring = games.ring()
    drawn = ring.sample(400, generator=0).float()
    for samples, centres, radius, hint in (
        (near, square, 0.2, "Three samples are near a mode, and they are near two modes."),
        (torch.tensor([[0.5, 0.5]]), square, 0.2, "A sample that is near nothing counts for nothing."),
        (corner, square, 0.2, "Distance is the square root of the summed squares: 0.25 from the first mode here."),
        (torch.tensor([[2.3, 0.0], [2.4, 0.0]]), 5 * square[:2], 2.8, "Either sample is near both modes."),
        (drawn, ring.means.float(), 0.15, "All eight are there."),
        (drawn[drawn[:, 0] > 0.9], ring.means.float(), 0.15, "All samples come from one mode."),
    ):
        shown = f"{len(samples)} samples, {len(centres)} centres and radius {radius:g}"
        distances = (samples[:, None] - centres).norm(dim=2)  # (n, k)
        answer, close = call(attempt, samples.clone(), centres.clone(), radius, shown=shown), distances <= radius
        expected = close.any(0).sum().float()
        if not _same(answer, expected) and torch.is_tensor(answer) and answer.shape == (len(centres),):
            raise Wrong(f"For {shown} one number was asked: how many of the centres have a sample near them.")
        if not _same(answer, expected) and _same(answer, close.any(1).sum().float()):
            raise Wrong(f"For {shown} these are the samples near any centre. Count the centres that have been found.")
        if not close.any() and _same(answer, torch.tensor(1.0)):
            raise Wrong(f"For {shown} being the nearest centre is not enough: it must lie within the radius.")
        compare(answer, expected, shown, hint)


@exercise("gan.penalty")
def _penalty(attempt):
    g = torch.Generator().manual_seed(0)
    for w, hint in (
        ([3.0, 4.0], "The norm of the gradient is 5."),
        ([0.6, 0.8], "The norm of the gradient is 1: nothing is to be paid."),
        ([0.3, 0.4], "The norm of the gradient is 0.5: a slope below 1 is paid for too."),
        ([0.0, 2.0, 0.0, 0.0], "The norm of the gradient is 2."),
    ):
        w = torch.tensor(w)
        real, fake = torch.randn(2, 5, len(w), generator=g)
        expected = gan.gradient_penalty(lambda x, w=w: x @ w, real, fake, torch.rand(5, generator=g)).mean()
        shown = f"w = {[round(v, 1) for v in w.tolist()]}"
        answer, length = call(attempt, w.clone(), shown=shown), w.norm()
        if not _same(answer, expected):
            if _same(answer, (length**2 - 1) ** 2):
                raise Wrong(f"For {shown} you compared the squared norm with 1. Take the norm, then the square.")
            if _same(answer, length - 1) or _same(answer, (length - 1).abs()):
                raise Wrong(f"For {shown} this is how far the norm is from 1. The penalty is its square.")
            if _same(answer, ((w.abs() - 1) ** 2).sum()) or _same(answer, ((w - 1) ** 2).sum()):
                raise Wrong(f"For {shown} each entry was compared with 1. The gradient is one vector, with one norm.")
        compare(answer, expected, shown, hint)
