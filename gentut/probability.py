"""Probability and maximum likelihood: a dart board, an urn, and where random numbers come from.

A generative model is a distribution p_theta that we can draw from, fitted to draws from an unknown one. Fitting it by

    maximum likelihood:  theta* = argmax (1/n) Σ_i log p_theta(x_i)  →  argmin D(p_data ‖ p_theta)

needs joint, marginal and conditional distributions (`DartBoard`), likelihoods (the urn), and drawing from it needs
random numbers (`LCG`, `inverse_transform`). Everything here has an exact answer to be checked against. Sources:
D. H. Lehmer's generator as in S. K. Park and K. W. Miller, "Random number generators: good ones are hard to find",
Communications of the ACM 31, 1988; L. Devroye, "Non-Uniform Random Variate Generation", 1986, chapter 2.
"""

import math
from dataclasses import dataclass

import torch

from gentut import Error, choose
from gentut.checks import finite, generator, numbers_of, positive, probabilities, whole

_default_generator = generator  # the argument of that name hides the function below

# ------------------------------------------------------------------------------------------------------- the dart board


@dataclass(frozen=True, eq=False)
class DartBoard:
    """Where a dart lands, (x, y): a mixture of k Gaussians in the plane.

    weights: (k,), means: (k, 2), covariances: (k, 2, 2), turned into float64 tensors; all answers are float64. Raises
    Error where the weights are no probabilities, the shapes do not fit, or a covariance is not symmetric and positive
    definite.
    """

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    def __post_init__(self):
        weights = probabilities(self.weights, "weights").double()
        means = finite(self.means, "means").double()
        covariances = finite(self.covariances, "covariances").double()
        k = len(weights) if weights.ndim == 1 else 0
        if not k or means.shape != (k, 2) or covariances.shape != (k, 2, 2):
            shapes = ", ".join(str(tuple(t.shape)) for t in (weights, means, covariances))
            raise Error(f"weights, means and covariances must have the shapes (k,), (k, 2), (k, 2, 2), got {shapes}")
        symmetric = torch.equal(covariances, covariances.mT)
        if not symmetric or torch.linalg.cholesky_ex(covariances).info.any():
            raise Error("every covariance must be symmetric and positive definite")
        for name, value in (("weights", weights), ("means", means), ("covariances", covariances)):
            object.__setattr__(self, name, value)

    def joint(self, x, y):
        """p(x, y), the density at the points; x and y broadcast."""
        x, y = finite(x, "x"), finite(y, "y")
        log_x = self._log_lumps(0, x)  # (..., k)
        mean, variance = self._given(1, x)  # of y, in each lump, where x is known
        return (log_x + _log_normal(y[..., None], mean, variance)).exp() @ self.weights

    def marginal(self, axis, at):
        """p(x) for axis "x", p(y) for axis "y": the density at the points `at`, the same shape."""
        return self._log_lumps(_index(axis), finite(at, "at")).exp() @ self.weights

    def conditional(self, axis, at, given):
        """p(axis = at | the other coordinate = given); `at` and `given` broadcast.

        It is the joint divided by the marginal of what is given, computed so that it also holds far out, where
        both are 0 in floating point.
        """
        at, shares, mean, variance = self._conditional(axis, at, given)
        return (shares * _log_normal(at[..., None], mean, variance).exp()).sum(-1)

    def marginal_cdf(self, axis, at):
        """P(coordinate ≤ at) for axis "x" or "y", the shape of `at`."""
        i, at = _index(axis), finite(at, "at")
        below = torch.special.ndtr((at[..., None] - self.means[:, i]) / self.covariances[:, i, i].sqrt())
        return below @ self.weights

    def conditional_cdf(self, axis, at, given):
        """P(axis ≤ at | the other coordinate = given); `at` and `given` broadcast."""
        at, shares, mean, variance = self._conditional(axis, at, given)
        return (shares * torch.special.ndtr((at[..., None] - mean) / variance.sqrt())).sum(-1)

    def sample(self, n, generator):
        """n darts, float64 (n, 2). generator: a torch.Generator or a seed."""
        n, g = whole(n), _default_generator(generator)
        lump = categorical_from_uniform(torch.rand(n, generator=g, dtype=torch.float64), self.weights)
        noise = torch.randn(n, 2, 1, generator=g, dtype=torch.float64)
        roots = torch.linalg.cholesky(self.covariances)  # (k, 2, 2), root @ root.T = covariance
        return self.means[lump] + (roots[lump] @ noise)[..., 0]

    def _log_lumps(self, i, at):
        """log density of coordinate i in each lump: (..., k)."""
        return _log_normal(at[..., None], self.means[:, i], self.covariances[:, i, i])

    def _given(self, i, other):
        """Mean and variance of coordinate i in each lump, the other one known: (..., k) and (k,)."""
        j = 1 - i
        slope = self.covariances[:, i, j] / self.covariances[:, j, j]
        mean = self.means[:, i] + slope * (other[..., None] - self.means[:, j])
        return mean, self.covariances[:, i, i] - slope * self.covariances[:, i, j]

    def _conditional(self, axis, at, given):
        i, at, given = _index(axis), finite(at, "at"), finite(given, "given")
        shares = (self.weights.log() + self._log_lumps(1 - i, given)).softmax(-1)  # which lump, the other being known
        return at, shares, *self._given(i, given)


def _index(axis):
    return ("x", "y").index(choose("axis", axis, ("x", "y")))


def _log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))


# Two lumps, the lower left one leaning to the right.
DARTS = DartBoard(
    weights=(0.6, 0.4),
    means=((-0.6, -0.5), (0.9, 0.8)),
    covariances=(((0.36, 0.2), (0.2, 0.25)), ((0.16, -0.06), (-0.06, 0.25))),
)

# -------------------------------------------------------------------------------------------------------------- the urn


def draw_urn(n, theta=0.3, replacement=True, size=10, urns=None, generator=None):
    """n draws from an urn in which the share theta is red: int64 (n,), 1 for red and 0 for blue.

    With replacement the draws are independent and `size` does not matter. Without, the urn holds `size` balls, of
    which round(size · theta) are red, and each can be drawn once. urns: draw from so many urns, (urns, n). generator: a
    torch.Generator or a seed. Raises Error where theta · size is no whole number or n is more than there are balls.
    """
    n, theta, g = whole(n), _share(theta), _default_generator(generator)
    rows = 1 if urns is None else whole(urns, "urns")
    if replacement:
        draws = (torch.rand(rows, n, generator=g, dtype=torch.float64) < theta).long()
    else:
        size = whole(size, "size", least=1)
        red = round(size * theta)
        if abs(red - size * theta) > 1e-9 * size:
            raise Error(f"an urn of {size} balls cannot have the share {theta:g} of red ones: that is {size * theta:g}")
        if n > size:
            raise Error(f"cannot draw {n} balls without replacement: the urn holds {size}")
        order = torch.rand(rows, size, generator=g, dtype=torch.float64).argsort(1)  # a random order of the balls
        draws = (order[:, :n] < red).long()  # balls 0 to red - 1 are the red ones
    return draws[0] if urns is None else draws


def draw_sticky_urn(n, theta=0.3, stick=0.8, urns=None, generator=None):
    """Draws that are not independent: with probability `stick` a draw repeats the one before, else it is a fresh one.

    Every single draw is still red with probability theta. int64 (n,), or (urns, n); generator: a Generator or a seed.
    """
    n, theta, g = whole(n), _share(theta), _default_generator(generator)
    stick = _share(stick, "stick")
    rows = 1 if urns is None else whole(urns, "urns")
    fresh = torch.rand(rows, n, generator=g, dtype=torch.float64) < theta
    repeats = torch.rand(rows, n, generator=g, dtype=torch.float64) < stick
    source = torch.arange(n).expand(rows, n).masked_fill(repeats, 0)  # where each draw's colour was fresh: so far, ...
    source = source.cummax(1).values if n else source  # ... and now the last such place; the first draw is always fresh
    draws = fresh.gather(1, source).long()
    return draws[0] if urns is None else draws


def likelihood(theta, red, blue):
    """theta^red · (1 - theta)^blue: the probability of one sequence of draws with so many red and blue balls.

    The arguments broadcast. There is no binomial coefficient: it is the probability of the draws in their order. It is
    0 in floating point for long sequences: see `log_likelihood`. Raises Error for a theta outside [0, 1] or counts that
    are negative or no whole numbers.
    """
    theta, red, blue = _urn_arguments(theta, red, blue)
    return theta**red * (1 - theta) ** blue  # 0⁰ is 1 here, as it should be


def log_likelihood(theta, red, blue):
    """red · log theta + blue · log(1 - theta), in nats; the arguments broadcast.

    Exact at the ends too: 0 · log 0 is 0, and a colour that was drawn although its share is 0 gives -inf. Raises Error
    as `likelihood` does.
    """
    theta, red, blue = _urn_arguments(theta, red, blue)
    return torch.special.xlogy(red, theta) + torch.special.xlog1py(blue, -theta)


def maximum_likelihood(red, blue):
    """The theta with the largest likelihood, red / (red + blue); raises Error where nothing was drawn."""
    red, blue = _counts(red, "red"), _counts(blue, "blue")
    if ((red + blue) == 0).any():
        raise Error("the likelihood is the same for every theta when nothing was drawn: red + blue must be at least 1")
    return red / (red + blue)


def standard_error(theta, n):
    """Standard deviation of the share of red among n independent draws, sqrt(theta (1 - theta) / n).

    It is the inverse square root of the Fisher information n / (theta (1 - theta)). theta and n broadcast.
    """
    return (_shares(theta) * (1 - _shares(theta)) / positive(n, "n")).sqrt()


def _urn_arguments(theta, red, blue):
    return _shares(theta), _counts(red, "red"), _counts(blue, "blue")


def _shares(theta, name="theta"):
    theta = numbers_of(theta, name)
    outside = (theta < 0) | (theta > 1)
    if outside.any():
        raise Error(f"{name} must lie between 0 and 1, got {theta[outside].flatten()[0].item():g}")
    return theta


def _share(theta, name="theta"):
    theta = _shares(theta, name)
    if theta.ndim:
        raise Error(f"{name} must be one number, got the shape {tuple(theta.shape)}")
    return theta.item()


def _counts(n, name):
    n = finite(n, name)
    wrong = (n < 0) | (n != n.round())
    if wrong.any():
        raise Error(f"{name} must count draws (0, 1, 2, ...), got {n[wrong].flatten()[0].item():g}")
    return n


# ----------------------------------------------------------------------- maximum likelihood, cross-entropy, and softmax


def empirical(data, k):
    """The share of each of k outcomes in the data: float64 (k,). data: whole numbers from 0 to k - 1, any shape."""
    data = _outcomes(data, k, "data")
    if not data.numel():
        raise Error("data must hold at least one outcome")
    return data.flatten().bincount(minlength=k).double() / data.numel()


def nll(p_theta, data):
    """Negative log-likelihood of the data under the model, in nats per outcome: -(1/n) Σ_i log p_theta(x_i).

    p_theta: (..., k), a model or many; data: whole numbers from 0 to k - 1, any shape. Returns (...,). An outcome that
    occurs although its probability is 0 costs infinity, one that does not occur costs nothing.
    """
    p_theta = probabilities(p_theta, "p_theta")
    shares = empirical(data, p_theta.shape[-1]).to(p_theta)
    return -torch.special.xlogy(shares, p_theta).sum(-1)


def softmax_cross_entropy(logits, labels):
    """-log softmax(logits)[label], in nats: the loss of a classifier for each example.

    logits: (batch, k), finite; labels: whole numbers from 0 to k - 1, (batch,). Returns (batch,). It is the logarithm
    of a sum of exponentials minus one logit, so it survives logits of any size.
    """
    logits = finite(logits, "logits")
    if logits.ndim != 2:
        raise Error(f"logits must have the shape (batch, k), got {tuple(logits.shape)}")
    labels = _outcomes(labels, logits.shape[1], "labels")
    if labels.shape != logits.shape[:1]:
        raise Error(f"need one label for each row of logits, got {tuple(labels.shape)} for {tuple(logits.shape)}")
    return logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]


def _outcomes(data, k, name):
    k = whole(k, "k", least=1)
    data = torch.as_tensor(data)
    if data.is_floating_point() or data.is_complex() or data.dtype == torch.bool:
        raise Error(f"{name} must be whole numbers from 0 to {k - 1}, got {data.dtype}")
    if data.numel() and (data.min() < 0 or data.max() >= k):
        wrong = data[(data < 0) | (data >= k)].flatten()[0].item()
        raise Error(f"{name} must be whole numbers from 0 to {k - 1}, got {wrong}")
    return data.long()


# ------------------------------------------------------------------------------------------------------- random numbers

PRESETS = {
    "toy": (21, 17, 256),  # visits all its 256 numbers, then starts again
    "randu": (65539, 0, 2**31),  # IBM, 1968; infamous
    "minimal-standard": (16807, 0, 2**31 - 1),  # Park and Miller, 1988
    "minimal-standard-1993": (48271, 0, 2**31 - 1),  # the multiplier that they would choose five years later
    "numerical-recipes": (1664525, 1013904223, 2**32),  # Press and others, 1992
}


@dataclass(frozen=True)
class LCG:
    """A linear congruential generator: x_{i+1} = (multiplier · x_i + increment) mod modulus, x_0 = seed.

    All whole numbers, the modulus from 2 to 2^32, the others below it. Raises Error for anything else, and for a seed
    of 0 where the increment is 0: every number would be 0.
    """

    multiplier: int
    increment: int
    modulus: int
    seed: int = 1

    def __post_init__(self):
        m = whole(self.modulus, "modulus", least=2)
        if m > 2**32:
            raise Error(f"modulus must be at most 2^32, got {m}")
        for name, least in (("multiplier", 1), ("increment", 0), ("seed", 0)):
            if whole(getattr(self, name), name, least) >= m:
                raise Error(f"{name} must be below the modulus {m}, got {getattr(self, name)}")
        if self.seed == 0 == self.increment:
            raise Error("seed must not be 0 where the increment is 0: every number would be 0")

    @classmethod
    def preset(cls, name, seed=1):
        """A classic one: "toy", "randu", "minimal-standard", "minimal-standard-1993" or "numerical-recipes"."""
        return cls(*PRESETS[choose("generator", name, PRESETS)], seed=seed)

    def integers(self, n):
        """x_1 ... x_n, int64 (n,), exactly.

        The numbers double: k steps at once are linear too, x_{i+k} = (A x_i + C) mod m with A = a^k and
        C = c (1 + a + ... + a^{k-1}), so known numbers 1 to k give k + 1 to 2k in one go.
        """
        n, a, c, m = whole(n), self.multiplier, self.increment, self.modulus
        x = torch.tensor([(a * self.seed + c) % m])
        while len(x) < n:
            x = torch.cat([x, _multiply_add(a, x, c, m)])
            a, c = a * a % m, (a * c + c) % m  # from k steps to 2k steps; Python's whole numbers do not overflow
        return x[:n]

    def uniform(self, n):
        """x_1 / m ... x_n / m, float64 (n,) in [0, 1)."""
        return self.integers(n).double() / self.modulus

    def period(self):
        """After how many numbers the sequence repeats itself; raises Error for a modulus above 2^20."""
        if self.modulus > 2**20:
            raise Error(f"the period is found by walking: the modulus must be at most 2^20, got {self.modulus}")
        x = self.integers(2 * self.modulus)  # by then it is in its cycle, and once around
        last = x[-1]
        return len(x) - 1 - int((x[:-1] == last).nonzero()[-1])


def _multiply_add(a, x, c, m):
    """(a · x + c) mod m in int64 without overflow, for a, c and x below m ≤ 2^32.

    a = high · 2^16 + low: no product below is larger than 2^48.
    """
    high, low = divmod(a, 2**16)
    return ((high * x % m) * 2**16 + low * x + c) % m


def inverse_transform(u, quantile):
    """X = F⁻¹(U): uniform numbers u in [0, 1], any shape, through a quantile function (a function of tensors)."""
    return quantile(_shares(u, "u"))


def exponential_quantile(u, rate=1.0):
    """F⁻¹(u) = -log(1 - u) / rate, of the exponential distribution F(x) = 1 - e^{-rate x}, x ≥ 0."""
    return -torch.log1p(-_shares(u, "u")) / positive(rate, "rate")


def numerical_quantile(cdf, u, low, high):
    """F⁻¹(u) by bisection, where only F is known: halves the interval from low to high until nothing is left of it.

    cdf: an increasing function of a tensor of the shape of u, number by number. u: in [0, 1]. Where u is not reached
    between low and high, the nearer end is returned. Raises Error unless low < high and both are finite.
    """
    u = _shares(u, "u")
    low, high = finite(low, "low").to(u).expand(u.shape), finite(high, "high").to(u).expand(u.shape)
    if not (low < high).all():
        raise Error("low must be below high")
    for _ in range(64 if u.dtype == torch.float64 else 32):
        middle = (low + high) / 2
        below = cdf(middle) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def categorical_from_uniform(u, p):
    """Outcomes drawn by inverse transform: the first k with p_0 + ... + p_k > u, int64, the shape of u.

    u: uniform numbers in [0, 1), any shape; p: probabilities (k,). Outcomes with probability 0 never occur, and where
    rounding leaves the total below u, the last possible outcome is returned.
    """
    u, p = _shares(u, "u"), probabilities(p)
    if p.ndim != 1:
        raise Error(f"p must be one distribution (k,), got the shape {tuple(p.shape)}")
    if (u == 1).any():
        raise Error("u must be below 1")
    kind = torch.promote_types(u.dtype, p.dtype)
    last = int(p.nonzero()[-1])
    return torch.searchsorted(p.to(kind).cumsum(0), u.to(kind).contiguous(), right=True).clamp(max=last)
