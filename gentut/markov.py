"""Markov chains on finitely many states, and one on the line: where they go, how fast they forget, how to build one.

A chain is its transition matrix A: row i says where it goes from state i, so every row is a distribution. A
distribution pi over the states is a row vector, and one step turns it into pi A:

    pi_{t+1} = pi_t A,        pi_n = pi_0 A^n,        stationary: pi = pi A.

The last function is the chain behind diffusion models, x_t = sqrt(alpha) x_{t-1} + sqrt(1 - alpha) eps.

Source of definitions: Levin, Peres and Wilmer, "Markov Chains and Mixing Times", 2nd edition, AMS 2017, chapters 1
to 4. Matrices may be lists, arrays or tensors; all is computed in float64 on the CPU, for chains here are small.
"""

import math
import numbers
from bisect import bisect_right
from itertools import accumulate

import numpy as np
import scipy.signal
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components, dijkstra

from gentut import Error, checks

DISHES = ("hamburger", "pizza", "hot dog")
RESTAURANT = torch.tensor([[0.2, 0.6, 0.2], [0.3, 0.0, 0.7], [0.5, 0.0, 0.5]], dtype=torch.float64)


def validate(A, name="A"):
    """The transition matrix as float64 (k, k); raises Error unless it is square and every row a distribution.

    A row's sum may be off by checks.TOLERANCE of the given type: 1e-9 in float64, 1e-5 in float32. What is off by less
    is divided out, so that rounding in the input does not grow with the number of steps.
    """
    A = checks.numbers_of(A, name)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or not len(A):
        raise Error(f"{name} must be a square matrix, one row and one column a state, got the shape {tuple(A.shape)}")
    tolerance = checks.TOLERANCE[A.dtype]
    A = A.detach().cpu().double()
    if A.min() < 0:
        i, j = (A < 0).nonzero()[0].tolist()
        raise Error(f"{name} must not be negative, got {A[i, j].item():g} in row {i}, column {j}")
    total = A.sum(1)
    off = ~((total - 1).abs() <= tolerance)
    if off.any():
        i = off.nonzero()[0].item()
        columns = ((A.sum(0) - 1).abs() <= tolerance).all()
        hint = ". Its columns do: is it transposed? Row i says where the chain goes from state i" if columns else ""
        raise Error(
            f"every row of {name} must sum to 1 (tolerance {tolerance:g}), row {i} sums to {total[i].item():.10g}{hint}"
        )
    return A / total[:, None]


def _distribution(pi, k, name="pi"):
    """Distributions over k states as float64 (..., k); raises Error for anything else."""
    pi = checks.probabilities(pi, name)
    if pi.shape[-1] != k:
        raise Error(f"{name} must have one probability for each of the {k} states, got the shape {tuple(pi.shape)}")
    pi = pi.detach().cpu().double()
    return pi / pi.sum(-1, keepdim=True)


# ------------------------------------------------------------------------------------------------------ from day to day


def evolve(pi, A, n):
    """The distribution after n steps, pi A^n: (..., k) → (..., k), in the type of pi.

    By squaring: A, A², A⁴, ... are about log2(n) products, so a million steps cost as much as twenty. Each product's
    rows are divided by their sum, or rounding errors would add up until the result is no distribution.
    Raises Error for a pi that is no distribution over the states of A, and for n that is no whole number >= 0.
    """
    A, n = validate(A), checks.whole(n)
    kind = pi.dtype if torch.is_tensor(pi) and pi.is_floating_point() else torch.float64
    pi = _distribution(pi, len(A))
    while n:
        if n & 1:
            pi = _normalised(pi @ A)
        n >>= 1
        if n:
            A = _normalised(A @ A)
    return pi.to(kind)


def _normalised(p):
    return p / p.sum(-1, keepdim=True)


def simulate(A, start, n, *, generator):
    """Walk n steps: int64 (n + 1,), the start first; the same generator gives the same walk, bit for bit.

    start: a state 0..k-1, or many, (walkers,): then all walk at once and the result is (walkers, n + 1). Each step
    takes one uniform number u and goes to the first state whose cumulative probability is above u. Needs memory for
    about 3 · walkers · n numbers of 8 bytes. Raises Error for a state that does not exist.
    """
    A, n = validate(A), checks.whole(n)
    starts = _states(start, len(A), "start")
    if starts.ndim > 1:
        raise Error(f"start must be one state or a list of states, got the shape {starts.shape}")
    g = checks.generator(generator)
    u = torch.rand((starts.size, n), dtype=torch.float64, generator=g, device=g.device).cpu().numpy()
    A = A.numpy()
    ladder = A.cumsum(1)
    # Nothing lies above the last state that is possible at all: its rung is 1 exactly, whatever the sum was rounded to.
    ladder[A[:, ::-1].cumsum(1)[:, ::-1] - A <= 0] = 1.0
    if starts.size < 64:  # plain Python: no array is made in a step
        rows = ladder.tolist()
        paths = [
            list(accumulate(row.tolist(), lambda state, u: bisect_right(rows[state], u), initial=state))
            for state, row in zip(starts.ravel().tolist(), u, strict=True)
        ]
        paths = torch.tensor(paths, dtype=torch.int64)
    else:  # one array operation for all walkers in a step
        path = np.empty((n + 1, starts.size), dtype=np.int64)
        path[0] = starts
        for t in range(n):
            path[t + 1] = (ladder[path[t]] <= u[:, t, None]).sum(1)
        paths = torch.from_numpy(path.T.copy())
    return paths.reshape(*starts.shape, n + 1)


def _states(given, k, name):
    """Whole numbers 0..k-1 as an int64 array of any shape; raises Error for anything else."""
    try:
        states = given.detach().cpu().numpy() if torch.is_tensor(given) else np.asarray(given)
    except ValueError:  # lists of different lengths
        raise Error(f"{name} must be states, whole numbers from 0 to {k - 1}, got {given!r}") from None
    if states.dtype.kind not in "iu" or not states.size:
        raise Error(f"{name} must be states, whole numbers from 0 to {k - 1}, got {given!r}")
    outside = (states < 0) | (states >= k)
    if outside.any():
        raise Error(f"{name} must be states from 0 to {k - 1}, got {states[outside].ravel()[0]}")
    return states.astype(np.int64)


def empirical(path, k):
    """How often each of k states occurs along a path: (..., n) states → (..., k) frequencies that sum to 1."""
    k = checks.whole(k, "k", least=1)
    path = np.atleast_1d(_states(path, k, "path"))
    *shape, n = path.shape
    rows = path.reshape(-1, n)
    counts = np.bincount((rows + k * np.arange(len(rows))[:, None]).ravel(), minlength=k * len(rows))
    return torch.from_numpy(counts.reshape(*shape, k) / n)


# --------------------------------------------------------------------------------------------------------- what can be


def classes(A):
    """The communicating classes, a list of lists of states: two states share one if each can be reached from the other.

    States are in order in a class, and classes in the order of their smallest state.
    """
    return _classes(validate(A).numpy())


def _classes(A):
    # Which arrows exist is asked of A itself, not of csgraph: in a dense matrix it takes 1e-9 for no arrow.
    _, label = connected_components(scipy.sparse.csr_array((A > 0).astype(np.int8)), connection="strong")
    found = {}
    for state, mark in enumerate(label.tolist()):
        found.setdefault(mark, []).append(state)
    return sorted(found.values())


def closed_classes(A):
    """The communicating classes that cannot be left, in the order of `classes`. There is at least one."""
    return _closed_classes(validate(A).numpy())


def _closed_classes(A):
    return [c for c in _classes(A) if not np.delete(A[c], c, axis=1).any()]


def period(A):
    """Every how many steps the long run repeats: 1 for a chain that settles, 2 for one that alternates, and so on.

    For an irreducible chain (one class) this is its period: the greatest common divisor of the lengths of all closed
    tours. For others it is the least common multiple of the periods of the closed classes.
    """
    A = validate(A).numpy()
    return math.lcm(*(_period_of(A[np.ix_(c, c)]) for c in _closed_classes(A)))


def _period_of(A):
    """Period of an irreducible matrix: gcd of depth(i) + 1 - depth(j) over its arrows i → j, depth from state 0."""
    arrows = A > 0
    depth = dijkstra(scipy.sparse.csr_array(arrows.astype(np.int8)), indices=0, unweighted=True).astype(np.int64)
    i, j = arrows.nonzero()
    return int(np.gcd.reduce(depth[i] + 1 - depth[j]))


def stationary(A):
    """All extreme stationary distributions, one row for each closed class: (classes, k).

    Every solution of pi = pi A is a mixture of these rows; there is one solution if there is one row. Rows are in the
    order of `closed_classes`, and a row is 0 outside its class. Within a class, the states are eliminated one by one
    without any subtraction (Grassmann, Taksar and Heyman 1985), so even tiny probabilities keep all their digits.
    """
    A = validate(A).numpy()
    closed = _closed_classes(A)
    rows = np.zeros((len(closed), len(A)))
    for row, members in zip(rows, closed, strict=True):
        row[members] = _stationary_of(A[np.ix_(members, members)])
    return torch.from_numpy(rows)


def _stationary_of(A):
    """The stationary distribution of an irreducible matrix by the GTH algorithm."""
    A = A.copy()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for j in range(len(A) - 1, 0, -1):  # leave out state j: go through it instead
            A[:j, j] /= A[j, :j].sum()  # expected visits to j for each step from i, before the chain is back below j
            A[:j, :j] += np.outer(A[:j, j], A[j, :j])
        pi = np.ones(1)
        for j in range(1, len(A)):
            pi = np.append(pi, pi @ A[:j, j])
            pi /= pi.sum()
    if not np.isfinite(pi).all():
        raise Error("the stationary distribution cannot be found: probabilities of A differ too much for float64")
    return pi


# ------------------------------------------------------------------------------------------------- how fast it forgets


def eigenvalues(A):
    """All k eigenvalues, complex128 (k,), largest modulus first. The first is 1.

    Of the same modulus (to 9 digits) the one with the larger real part comes first, then the larger imaginary part.
    """
    found = torch.linalg.eigvals(validate(A)).tolist()
    found.sort(key=lambda z: (-round(abs(z), 9), -round(z.real, 9), -z.imag))
    return torch.tensor(found, dtype=torch.complex128)


def second_eigenvalue(A):
    """The second largest modulus of the eigenvalues, counted with multiplicity (0 for a single state).

    It is below 1 exactly if the chain has one closed class and that is aperiodic; the distance to the stationary
    distribution then shrinks, over many steps, by this factor in each.
    """
    found = eigenvalues(A)
    return found[1].abs().item() if len(found) > 1 else 0.0


def total_variation(p, q):
    """Total variation distance, half the sum of |p - q| over the last axis: (..., k), (..., k) → (...), in [0, 1].

    It is the largest difference between the probabilities that p and q give to one and the same event.
    """
    p, q = checks.probabilities(p, "p"), checks.probabilities(q, "q")
    if p.shape[-1] != q.shape[-1]:
        raise Error(f"p and q must have the same number of outcomes, got {p.shape[-1]} and {q.shape[-1]}")
    return (p - q).abs().sum(-1) / 2


def distances(A, n):
    """d(0), ..., d(n), the distance to the stationary distribution from the worst start after t steps: (n + 1,).

    d(t) = max over i of the total variation distance between row i of A^t and pi. It never grows.
    Raises Error if there are several stationary distributions.
    """
    A, n = validate(A), checks.whole(n)
    pi = _only_stationary(A)
    rows, found = torch.eye(len(A), dtype=A.dtype), []
    for _ in range(n + 1):
        found.append(_worst(rows, pi))
        rows = _normalised(rows @ A)
    return torch.tensor(found, dtype=A.dtype)


def _worst(rows, pi):
    return ((rows - pi).abs().sum(1) / 2).max().item()


def _only_stationary(A):
    pi = stationary(A)
    if len(pi) > 1:
        closed = ", ".join(str(c) for c in closed_classes(A))
        raise Error(f"the chain has {len(pi)} closed classes ({closed}), so where it ends depends on where it starts")
    return pi[0]


def mixing_time(A, epsilon=0.25):
    """The smallest t with d(t) <= epsilon: how many steps until it hardly matters where the chain started.

    d(t) is the total variation distance from the worst start (see `distances`); 1/4 is the usual epsilon (Levin, Peres
    and Wilmer, section 4.5). d never grows, so t is found by doubling, then by bisection, in about 2 log2(t) products.
    Raises Error for a chain that never mixes, saying why, and for epsilon outside [1e-9, 1).
    """
    A = validate(A)
    if not isinstance(epsilon, numbers.Real) or isinstance(epsilon, bool) or not 1e-9 <= epsilon < 1:
        raise Error(f"epsilon must be a number from 1e-9 to below 1, got {epsilon!r}")
    try:
        pi = _only_stationary(A)
    except Error as why:
        raise Error(f"the chain never mixes: {why}") from None
    if (repeats := period(A)) > 1:
        raise Error(f"the chain never mixes: it is periodic, the long run repeats every {repeats} steps")
    rows = torch.eye(len(A), dtype=A.dtype)
    if _worst(rows, pi) <= epsilon:
        return 0
    powers = [A]  # A^(2^j)
    while _worst(powers[-1], pi) > epsilon:
        if len(powers) > 1200:
            raise Error("the chain mixes, but so slowly that float64 cannot tell when")
        powers.append(_normalised(powers[-1] @ powers[-1]))
    t = 0  # the largest number of steps known to be too few; `rows` is A^t
    for j in reversed(range(len(powers))):
        further = _normalised(rows @ powers[j])
        if _worst(further, pi) > epsilon:
            rows, t = further, t + 2**j
    return t + 1


# ------------------------------------------------------------------------------------------------ chains made to order


def is_reversible(A, pi=None, tolerance=1e-12):
    """Whether pi and A are in detailed balance: pi_i A_ij = pi_j A_ji for all i and j, up to `tolerance`.

    Then pi is stationary, and a film of the chain looks the same backwards. pi: the stationary distribution by default;
    raises Error if there are several.
    """
    A = validate(A)
    pi = _only_stationary(A) if pi is None else _distribution(pi, len(A))
    if pi.ndim != 1:
        raise Error(f"pi must be one distribution, got the shape {tuple(pi.shape)}")
    flow = pi[:, None] * A  # probability that moves from i to j in a step
    return bool(((flow - flow.T).abs() <= tolerance).all())


def metropolis(target, proposal):
    """The transition matrix of the Metropolis-Hastings chain: (k, k), in detailed balance with the target.

    target: (k,) weights >= 0 of the wanted distribution; their sum does not matter. proposal: (k, k) transition matrix
    Q. From i, propose j with probability Q_ij; accept with probability min(1, target_j Q_ji / (target_i Q_ij)), else
    stay. What is refused is added to the diagonal: a refused step is a step. Symmetric Q: Metropolis and others 1953;
    any Q: Hastings 1970. Raises Error for weights that are negative, not finite, or all 0.
    """
    Q = validate(proposal, "proposal")
    target = checks.finite(target, "target").detach().cpu().double()
    if target.shape != (len(Q),):
        raise Error(f"target must have one weight for each of the {len(Q)} states, got the shape {tuple(target.shape)}")
    if target.min() < 0 or not target.max() > 0:
        raise Error(f"target must have weights >= 0, one of them positive, got {target.tolist()}")
    ratio = target / torch.where(target > 0, target, 1.0)[:, None]  # [i, j]: target_j / target_i
    wanted = torch.where(Q.T > 0, ratio * Q.T, 0.0)  # not infinity times 0 where the ratio overflows
    # From where the target has no mass every proposal is accepted: such states are left for good.
    A = torch.where(target[:, None] > 0, torch.minimum(Q, wanted), Q)
    A.diagonal().add_((Q - A).sum(1))
    return A


def gaussian_chain(x0, alpha, n, *, generator):
    """n steps of x_t = sqrt(alpha) x_{t-1} + sqrt(1 - alpha) eps: (n + 1, *x0.shape), x_0 first, in the type of x0.

    alpha: from 0 (forgets at once) to 1 (stands still). Every number of x0 is a walker with its own eps ~ N(0, 1).
    """
    x0, alpha, n = checks.finite(x0, "x0").detach(), _alpha(alpha), checks.whole(n)
    g = checks.generator(generator)
    eps = torch.randn((n, *x0.shape), dtype=torch.float64, generator=g, device=g.device).cpu()
    # A linear recursion in t: x_0, then the noise, through the filter y_t = u_t + sqrt(alpha) y_{t-1}.
    driven = torch.cat([x0.cpu().double()[None], math.sqrt(1 - alpha) * eps]).numpy()
    path = scipy.signal.lfilter([1.0], [1.0, -math.sqrt(alpha)], driven, axis=0)
    return torch.from_numpy(path).to(x0)


def gaussian_moments(x0, alpha, t):
    """Mean sqrt(alpha)^t x0, of the shape of x0, and variance 1 - alpha^t of x_t given x_0 in `gaussian_chain`.

    Both are in the type of x0; the variance has shape (). Given x_0, x_t is normally distributed.
    """
    x0, alpha, t = checks.finite(x0, "x0"), _alpha(alpha), checks.whole(t, "t")
    variance = -math.expm1(t * math.log(alpha)) if alpha > 0 else float(t > 0)  # digits survive alpha close to 1
    return alpha ** (t / 2) * x0, torch.tensor(variance, dtype=x0.dtype, device=x0.device)


def _alpha(alpha):
    real = isinstance(alpha, numbers.Real) and not isinstance(alpha, bool)
    if not real or not 0 <= alpha <= 1:
        raise Error(f"alpha must be a number from 0 to 1, got {alpha!r}")
    return float(alpha)
