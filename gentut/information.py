"""Information: how surprising an outcome is, how uncertain a distribution, how wrong a model, how related two things.

Everything here is an average of logarithms of probabilities, and one formula holds the rest together:

    D(p ‖ q) = Σ p log(p / q) = H(p, q) - H(p) ≥ 0,   H(p, q) = -Σ p log q,   H(p) = H(p, p).

C. E. Shannon, "A Mathematical Theory of Communication", 1948; S. Kullback and R. A. Leibler, "On Information and
Sufficiency", 1951. Distributions lie along the last axis, so a tensor (..., k) holds as many as you like. Results are
in nats, or in the unit of `base` (2: bits). An outcome that never happens costs nothing: 0 log 0 = 0.
"""

import functools
import heapq
import math

import torch

from gentut import Error, checks

# --------------------------------------------------------------------------------------------------- one distribution


def information(p, base=math.e):
    """How surprising an outcome of probability p is: I(p) = -log p, for each p on its own.

    p: probabilities of any shape, each in [0, 1]; they need not sum to 1. Returns the same shape, in nats by default;
    inf where p is 0. Raises Error for a p outside [0, 1] and for a base that is no base.
    """
    unit, p = checks.log_base(base), checks.numbers_of(p, "p")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise Error(f"p must lie in [0, 1], got {p[outside][0].item():g}")
    return (0 - p.log()) / unit  # 0 - ..., not -...: a sure outcome has information 0, not -0


def entropy(p, base=math.e):
    """The information that an outcome of p has on average: H(p) = -Σ p log p.

    p: (..., k), each row sums to 1. Returns (...), between 0 and log k. The derivative at p = 0, which is infinite, is
    taken as 0: through a softmax, whose own derivative is 0 there, that is the right product.
    Raises Error for rows that are no distributions and for a base that is no base.
    """
    unit, p = checks.log_base(base), checks.probabilities(p)
    inside = p.masked_fill(p == 0, 1) if _any_below(p, torch.finfo(p.dtype).tiny) else p  # 1 log 1 = 0 log 0
    return (0 - (inside * inside.log()).sum(-1)) / unit


# -------------------------------------------------------------------------------------------------- two distributions


def cross_entropy(p, q, base=math.e):
    """The information that outcomes of p have on average for one who believes in q: H(p, q) = -Σ p log q.

    p, q: (..., k), of the same shape, each row sums to 1. Returns (...); inf where q = 0 < p.
    Raises Error for rows that are no distributions, for different shapes and for a base that is no base.
    """
    unit, (p, q) = checks.log_base(base), _pair(p, q)
    if _any_below(q, torch.finfo(q.dtype).tiny):
        q = q.masked_fill((p == 0) & (q == 0), 1)  # 0 log 0 = 0 log 1, derivative included
    return (0 - (p * q.log()).sum(-1)) / unit


def kl(p, q, base=math.e):
    """Kullback–Leibler divergence D(p ‖ q) = Σ p log(p / q) = H(p, q) - H(p): what believing in q costs on average.

    p, q: (..., k), of the same shape, each row sums to 1. Returns (...): never negative, 0 where p = q, inf where
    q = 0 < p. Good to many digits even where p and q are so close that H(p, q) - H(p) would be noise. The derivatives
    are log(p / q) + 1 and -p / q; where p = 0 both are taken as 0 (as in `entropy`). Where sums are off by rounding it
    is Σ p log(p / q) - p + q, which is never negative either.
    Raises Error for rows that are no distributions, for different shapes and for a base that is no base.
    """
    unit, (p, q) = checks.log_base(base), _pair(p, q)
    return _divergence(p, q) / unit


def _divergence(p, q):
    """D(p ‖ q) in nats for distributions that have been checked: the sum of p log(p / q) - (p - q).

    All p - q together are 0, so taking them off changes neither the sum nor its derivative. But now no term is
    negative: the sum no longer adds large numbers of both signs that cancel. With r = p / q as the logarithm sees it,
    q (r - 1) carries the same rounding error as the logarithm does, which p - q would not. So where p is near q, the
    error of D falls from ε to about ε |r - 1|.
    """
    tiny, total = torch.finfo(q.dtype).tiny, 0
    if _any_below(p, tiny):
        never = p == 0
        total = q.masked_fill(~never, 0).detach().sum(-1)  # 0 log 0 - (0 - q)
        p, q = p.masked_fill(never, 1), q.masked_fill(never, 1)  # 0 from here on, derivatives included
    if _any_below(q, tiny):
        far = q < tiny  # p / q may be too large for a float; log p - log q is not
        p_far, q_far = p.masked_fill(~far, 1), q.masked_fill(~far, 1)
        total = total + (p_far * (p_far.log() - q_far.log()) - (p_far - q_far).detach()).sum(-1)
        p, q = p.masked_fill(far, 1), q.masked_fill(far, 1)
    ratio = p / q
    zero_sum = (ratio.detach() - 1).mul_(q.detach())  # in place: for a million rows memory is what takes the time
    total = total + (p * ratio.log()).sub_(zero_sum).sum(-1)
    return total - total.detach().clamp(max=0)  # rounding may leave -1e-33 where the truth is 1e-33


def kl_normal(mu, sigma, base=math.e):
    """D(N(mu, sigma²) ‖ N(0, 1)) = ½ (mu² + sigma² - 1 - log sigma²): the KL term of the VAE, one number for each pair.

    mu, sigma: numbers or tensors that broadcast. Returns their common shape. Kingma and Welling, arXiv:1312.6114,
    appendix B. Raises Error for sigma ≤ 0, infinite numbers and a base that is no base.
    """
    unit = checks.log_base(base)
    mu, sigma = _together(mu=checks.finite(mu, "mu"), sigma=checks.positive(sigma, "sigma"))
    return (0.5 * (mu**2 + (sigma - 1) * (sigma + 1)) - sigma.log()) / unit  # sigma² - 1 would cancel near 1


def kl_normals(mu_p, sigma_p, mu_q, sigma_q, base=math.e):
    """D(N(mu_p, sigma_p²) ‖ N(mu_q, sigma_q²)), one number for each four; all broadcast.

    Measured in units of q, q is N(0, 1): the same as kl_normal((mu_p - mu_q) / sigma_q, sigma_p / sigma_q).
    Raises Error like `kl_normal`.
    """
    mu_p, sigma_p, mu_q, sigma_q = _together(
        mu_p=checks.finite(mu_p, "mu_p"), sigma_p=checks.positive(sigma_p, "sigma_p"),
        mu_q=checks.finite(mu_q, "mu_q"), sigma_q=checks.positive(sigma_q, "sigma_q"),
    )  # fmt: skip
    return kl_normal((mu_p - mu_q) / sigma_q, sigma_p / sigma_q, base)


def monte_carlo_kl(log_p, log_q, samples, base=math.e):
    """Estimate D(p ‖ q) from draws of p: the mean of log p(x) - log q(x), and the standard error of that mean.

    log_p, log_q: functions from draws to their log-densities (for instance `distribution.log_prob`), each (n, ...);
    samples: n ≥ 2 draws **of p** along the first axis. Returns two tensors (...), in nats by default. The error is
    the standard deviation of the n differences divided by √n; single estimates may be negative, D is not.
    Raises Error for fewer than two draws, and for log-densities that are NaN, of different shapes or both infinite.
    """
    unit = checks.log_base(base)
    at_p = checks.numbers_of(log_p(samples), "log_p(samples)")
    at_q = checks.numbers_of(log_q(samples), "log_q(samples)")
    checks.same_shape(at_p, at_q, ("log_p(samples)", "log_q(samples)"))
    if at_p.ndim == 0 or len(at_p) < 2 or len(at_p) != len(samples):
        raise Error(f"need one log-density for each of at least two draws, got the shape {tuple(at_p.shape)}")
    difference = checks.numbers_of(at_p - at_q, "log_p - log_q")
    mean, error = difference.mean(0) / unit, difference.std(0) / math.sqrt(len(difference)) / abs(unit)
    return mean, error.masked_fill(mean.isinf(), math.inf)  # a draw that q rules out: D = inf, and no error bar


# ------------------------------------------------------------------------------------------------ mutual information


def mutual_information(joint, base=math.e):
    """What X tells about Y on average: I(X; Y) = Σ p(x) D(p(y|x) ‖ p(y)) = D(p(x, y) ‖ p(x) p(y)) ≥ 0.

    joint: (..., a, b), p(x, y) with x along the second-last axis and y along the last; each table sums to 1.
    Returns (...): 0 if and only if X and Y are independent, at most the smaller of H(X) and H(Y).
    Raises Error for tables that are no distributions and for a base that is no base.
    """
    unit, joint = checks.log_base(base), checks.probabilities(joint, "joint", dim=(-2, -1))
    p_x, p_y = joint.sum(-1), joint.sum(-2)
    never = p_x.unsqueeze(-1) == 0
    p_y = p_y.unsqueeze(-2).expand(joint.shape)
    # p(y | x), or p(y) where x never happens. No product p(x) p(y) is formed: it may be too small for a float.
    given_x = torch.where(never, p_y, joint / p_x.unsqueeze(-1).masked_fill(never, 1))
    return (p_x * _divergence(given_x, p_y)).sum(-1) / unit


def mutual_information_normal(rho, base=math.e):
    """I(X; Y) = -½ log(1 - rho²) of two jointly normal variables with correlation rho, for each rho.

    Raises Error unless every rho lies strictly between -1 and 1.
    """
    unit, rho = checks.log_base(base), checks.finite(rho, "rho")
    if not (rho.abs() < 1).all():
        raise Error(f"rho must lie strictly between -1 and 1, got {rho[rho.abs() >= 1].flatten()[0].item():g}")
    return (0 - 0.5 * torch.log1p(-(rho**2))) / unit


def info_nce(scores, base=math.e):
    """InfoNCE: a lower bound on I(X; Y), from n pairs, whatever the scores; it never exceeds log n.

    scores: (..., n, n); scores[i, j] says how well x_i and y_j go together, and the true pairs lie on the diagonal.
    Returns (...): the mean over i of scores[i, i] - logsumexp_j scores[i, j], plus log n. It is how well one picks the
    right y_i among n, in nats by default; its **expectation** over batches is the bound, one batch may lie above it.
    The best score is log p(y|x) / p(y). Van den Oord, Li and Vinyals, arXiv:1807.03748, equation 4 and appendix A.1;
    Poole and others, arXiv:1905.06922, prove the bound. Raises Error for scores that are not finite or not square.
    """
    unit, scores = checks.log_base(base), checks.finite(scores, "scores")
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or not scores.shape[-1]:
        raise Error(f"scores must be (..., n, n), each x against each y, got the shape {tuple(scores.shape)}")
    picked = scores.log_softmax(-1).diagonal(dim1=-2, dim2=-1).mean(-1)
    return (picked + math.log(scores.shape[-1])) / unit


# ------------------------------------------------------------------------------------------------------------- coding


def huffman(p):
    """The best prefix code for one distribution: no word is the beginning of another, and none does better on average.

    p: (k,). Returns (code, lengths): k strings of 0 and 1, and their lengths as int64 (k,). The mean length L = Σ p l
    is at least the entropy H in bits and less than H + 1 (exactly that if one of several outcomes is certain). A lone
    outcome needs no bits: its word is empty. Outcomes of probability 0 have words too, the longest ones.
    D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", 1952. Time k log k.
    Raises Error unless p is one distribution.
    """
    p = checks.probabilities(p)
    if p.ndim != 1:
        raise Error(f"huffman takes one distribution, of shape (k,), got the shape {tuple(p.shape)}")
    k = len(p)
    heap = [(weight, node) for node, weight in enumerate(p.tolist())]  # equal weights: the older node first
    heapq.heapify(heap)
    children = {}
    for node in range(k, 2 * k - 1):  # merge the two rarest until one is left
        (rarest, a), (rare, b) = heapq.heappop(heap), heapq.heappop(heap)
        children[node] = a, b
        heapq.heappush(heap, (rarest + rare, node))
    words = {2 * k - 2: ""}
    for node in range(2 * k - 2, k - 1, -1):  # from the root down: a parent's number is above its children's
        for bit, child in zip("10", children[node], strict=True):
            words[child] = words[node] + bit
    code = [words[outcome] for outcome in range(k)]
    return code, torch.tensor([len(word) for word in code])


# ------------------------------------------------------------------------------------------------------------- helpers


def _pair(p, q):
    """Two checked distributions of one shape and one type."""
    p, q = checks.probabilities(p, "p"), checks.probabilities(q, "q")
    checks.same_shape(p, q)
    kind = torch.promote_types(p.dtype, q.dtype)
    return p.to(kind), q.to(kind)


def _together(**given):
    """The tensors broadcast to one shape, or an Error that names theirs. A single number does not widen a float32."""
    kinds = [x.dtype for x in given.values() if x.ndim] or [x.dtype for x in given.values()]
    kind = functools.reduce(torch.promote_types, kinds)
    try:
        return torch.broadcast_tensors(*(x.to(kind) for x in given.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in given.items())
        raise Error(f"the shapes do not fit together: {shapes}") from None


def _any_below(x, bound):
    """Whether any value is below the bound; far cheaper than to work around zeros that are not there."""
    return bool(x.numel()) and bool(x.detach().min() < bound)
