"""Typical wrong answers to the Markov chapter's exercises: (exercise, attempt, what the refusal must say)."""

import torch


def eigenvector(A):
    values, vectors = torch.linalg.eig(A)
    return vectors[:, (values - 1).abs().argmin()]


def one_diagonal(weights, Q):
    A = Q * (weights[None, :] / weights[:, None]).clamp(max=1)
    return A - A.diag().diag() + torch.diag(1 - A.sum(1))  # what Q proposed to stay is lost


def upside_down(weights, Q):
    A = Q * (weights[:, None] / weights[None, :]).clamp(max=1)
    return A + torch.diag(1 - A.sum(1))


def counts(path, k):
    return torch.bincount(k * path[:-1] + path[1:], minlength=k * k).reshape(k, k).double()


def wait_until(distance, first=0):
    def mixing_time(A, pi, epsilon):
        rows, t = torch.eye(len(A), dtype=A.dtype), first
        while distance((rows - pi).abs()) > epsilon:
            rows, t = rows @ A, t + 1
        return t

    return mixing_time


power = torch.linalg.matrix_power
WRONG = [
    ("markov.evolve", lambda pi, A, n: power(A, n) @ pi, "stands on the left"),
    ("markov.evolve", lambda pi, A, n: pi @ A**n, "raises each entry"),
    ("markov.evolve", lambda pi, A, n: pi @ power(A.T, n), "stands on the left"),
    ("markov.evolve", lambda pi, A, n: pi @ power(A, max(n, 1)), "No step changes nothing"),
    ("markov.evolve", lambda pi, A, n: pi @ power(A, min(n, 1000)), "changed places"),  # "long enough"
    ("markov.stationary", lambda A: eigenvector(A), "take the real part"),
    ("markov.stationary", lambda A: eigenvector(A).real, "sums to 1, this sums to -?1.7321"),
    ("markov.stationary", lambda A: eigenvector(A).real / eigenvector(A).real.sum(), "that is the right eigenvector"),
    ("markov.stationary", lambda A: eigenvector(A.T).real, "sums to 1, this sums to"),
    ("markov.stationary", lambda A: power(A, 1000)[0], "periodic chain.*not stationary"),
    ("markov.estimate", lambda path, k: counts(path, k), "Each row must sum to 1"),
    ("markov.estimate", lambda path, k: counts(path, k) / (len(path) - 1), "Each row must sum to 1"),
    ("markov.estimate", lambda path, k: counts(path, k) / counts(path, k).sum(0), "Here the columns do"),
    ("markov.estimate", lambda path, k: counts(path.flip(0), k) / counts(path.flip(0), k).sum(1, True), "last day"),
    ("markov.metropolis", lambda w, Q: Q * (w[None, :] / w[:, None]).clamp(max=1), "not to 1: refused steps stay"),
    ("markov.metropolis", one_diagonal, "a proposal that may stay .*Row . sums to"),
    ("markov.metropolis", upside_down, "upside down"),
    ("markov.metropolis", lambda w, Q: (w / w.sum()).expand(len(w), -1), "every proposal is accepted"),  # Q ignored
    ("markov.mixing-time", wait_until(lambda off: off.sum(1).max()), "t = \\d+ was expected"),  # ½ forgotten
    ("markov.mixing-time", wait_until(lambda off: (off.sum(1) / 2).mean()), "t = \\d+ was expected"),  # not the worst
    ("markov.mixing-time", wait_until(lambda off: off.max()), "t = \\d+ was expected"),  # largest single difference
    ("markov.mixing-time", wait_until(lambda off: (off.sum(1) / 2).max(), first=1), "d\\(0\\) = 0.7887"),
    ("markov.mixing-time", lambda A, pi, epsilon: "soon", "a whole number was expected, got str"),
    ("markov.gaussian", lambda x, a: (a.prod() * x, 1 - a.prod()), "root of its alpha"),
    ("markov.gaussian", lambda x, a: (a.prod().sqrt() * x, (1 - a).sum()), "same product"),  # noise that is not shrunk
    ("markov.gaussian", lambda x, a: (a.prod().sqrt() * x, 1 - a.prod().sqrt()), "same product"),
    ("markov.gaussian", lambda x, a: (a[-1].sqrt() * x, 1 - a[-1]), "root of its alpha"),
    ("markov.gaussian", lambda x, a: a.prod().sqrt() * x, "a pair \\(mean, variance\\) was expected, got Tensor"),
]
