"""Checks of the PixelCNN chapter's exercises."""

import math

import torch

from gentut import causal, made, metrics
from gentut.exercises import Wrong, call, compare, exercise


def _same(answer, expected):
    """Whether an answer is a certain wrong one."""
    return torch.is_tensor(answer) and answer.shape == expected.shape and torch.allclose(answer.to(expected), expected)


def _parts(answer, n, shown):
    """An answer that should be n things in a tuple."""
    if not isinstance(answer, (tuple, list)) or len(answer) != n:
        got = f"{len(answer)} of them" if isinstance(answer, (tuple, list)) else type(answer).__name__
        raise Wrong(f"For {shown} a tuple of {n} tensors was expected, got {got}.")
    return answer


@exercise("pixelcnn.chain")
def _chain(attempt):
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 2, 2, generator=g, dtype=torch.float64) + 0.1
    fair = torch.full((2, 2, 2), 1 / 8, dtype=torch.float64)
    copies = torch.tensor([[[0.3, 0.1], [0.1, 0.0]], [[0.0, 0.1], [0.1, 0.3]]], dtype=torch.float64)
    for p, shown in ((fair, "three fair coins"), (weights / weights.sum(), "a table of eight different numbers"),
                     (copies, "a table with zeros")):
        answer = _parts(call(attempt, p.clone(), shown=shown), 3, shown)
        pairs = p.sum(2)  # (2, 2)
        ones = p[1].sum(), pairs[:, 1] / pairs.sum(1), p[..., 1] / pairs
        joints = ones[0], pairs[:, 1], p[..., 1]
        whats = "p(x1 = 1)", "p(x2 = 1 | x1)", "p(x3 = 1 | x1, x2)"
        for part, one, joint, what in zip(answer, ones, joints, whats, strict=True):
            if not _same(1 - one, one) and _same(part, 1 - one):
                raise Wrong(f"For {shown} this is the probability of a 0, where {what} was asked.")
            if not _same(joint, one) and _same(part, joint):
                raise Wrong(f"For {shown} this is a joint probability; {what} is divided by that of the condition.")
            compare(part, one, f"{what} of {shown}", "Index it by the bits before, in their order.")


@exercise("pixelcnn.mask")
def _mask(attempt):
    none = torch.zeros(1)
    for size, kind in ((3, "A"), (3, "B"), (5, "A"), (7, "B"), (1, "A"), (1, "B")):
        middle = size // 2
        at = torch.arange(size) - middle
        offsets = torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1)
        expected, other = (causal.causal_mask(offsets, k, none, none)[0, 0] for k in (kind, "AB".replace(kind, "")))
        shown = f"size = {size}, kind = {kind!r}"
        answer = call(attempt, size, kind, shown=shown)
        if _same(answer, other):
            rule = "A hides the pixel itself, B shows it"
            raise Wrong(f"For {shown} all is right but the tap in the middle: {rule}.")
        if _same(answer, 1 - expected):
            raise Wrong(f"For {shown} 0 and 1 are swapped: 1 stands where a weight may be used.")
        hint = ""
        if torch.is_tensor(answer) and answer.shape == expected.shape:
            wrong = (answer.to(expected) != expected).nonzero()
            if len(wrong):
                row, column = wrong[0].tolist()
                hint = (
                    "That tap lies on a row above: all of it came before." if row < middle
                    else "That tap lies on a row below: it comes later." if row > middle
                    else "That tap lies to the left, on the pixel's row: it came before." if column < middle
                    else "That tap lies to the right, on the pixel's row: it comes later."
                )
        compare(answer, expected, shown, hint)


@exercise("pixelcnn.bits_per_dim")
def _bits_per_dim(attempt):
    for nats, dims, shown in (
        (torch.tensor(784 * math.log(2), dtype=torch.float64), 784, "784 · log 2 nats and 784 pixels (so 1 bit each)"),
        (torch.tensor(80.0, dtype=torch.float64), 784, "80 nats and 784 pixels"),
        (torch.tensor([100.0, 2000.0, 0.0], dtype=torch.float64), 3072, "three pictures of 32 × 32 × 3 numbers"),
    ):
        answer, expected = call(attempt, nats.clone(), dims, shown=shown), metrics.nats_to_bits_per_dim(nats, dims)
        given = torch.as_tensor(answer, dtype=torch.float64) if isinstance(answer, (int, float)) else answer
        if _same(given, nats / dims):
            raise Wrong(f"For {shown} these are nats per dimension: one bit is log 2 = 0.693 nats.")
        if _same(given, nats / math.log(2)):
            raise Wrong(f"For {shown} these are bits per picture: share them among its numbers.")
        if _same(given, nats / dims * math.log(2)):
            raise Wrong(f"For {shown} there are fewer bits than nats: a bit is less than a nat, so there must be more.")
        compare(answer, expected, shown, "Divide by the number of dimensions and by log 2.")


@exercise("pixelcnn.degrees")
def _degrees(attempt):
    for first, hidden, shown in (
        ([1, 2, 3], [1, 1, 2, 2], "inputs of degree 1, 2, 3 and hidden units of degree 1, 1, 2, 2"),
        ([3, 1, 4, 2], [2, 3, 1, 3, 1, 2], "the order 2, 4, 1, 3 (inputs of degree 3, 1, 4, 2) and six hidden units"),
    ):
        inputs, units = torch.tensor(first), torch.tensor(hidden)
        answer = _parts(call(attempt, inputs.clone(), units.clone(), shown=shown), 2, shown)
        strict = (units[:, None] > inputs).float()
        loose = (inputs[:, None] >= units).float()
        for mask, expected, slip, what, why in zip(
            answer, made.masks_of([inputs, units, inputs]), (strict, loose), ("the hidden mask", "the output mask"),
            ("a hidden unit of degree m may look at the input of degree m too.",
             "an output must not see a hidden unit of its own degree, which may know its bit."), strict=True,
        ):
            if _same(mask, slip):
                raise Wrong(f"For {shown} {what} compares the wrong way at equal degrees: {why}")
            compare(mask, expected, f"{what} of {shown}", "Rows are the units that look, columns those looked at.")


@exercise("pixelcnn.level")
def _level(attempt):
    for p, u, k, hint in (
        ([0.2, 0.5, 0.3], 0.1, 0, "0.2 exceeds u already: the most probable level is not always drawn."),
        ([0.2, 0.5, 0.3], 0.65, 1, "The cumulative probabilities are 0.2, 0.7 and 1."),
        ([0.2, 0.5, 0.3], 0.9, 2, "The cumulative probabilities are 0.2, 0.7 and 1."),
        ([0.25, 0.25, 0.5], 0.25, 1, "The cumulative probability must exceed u, not equal it."),
        ([0.0, 1.0], 0.0, 1, "Level 0 has no probability, so it is never drawn."),
        ([0.5, 0.4999999], 0.99999999, 1, "Rounding left the sum a little below 1: the last level takes what is left."),
    ):
        shown = f"p = {p} and u = {u}"
        compare(call(attempt, torch.tensor(p), u, shown=shown), torch.tensor(float(k)), shown, hint)
