"""Typical wrong answers to the PixelCNN chapter's exercises: (exercise, attempt, what the refusal must say)."""

import math

import torch


def chain_of(p):
    pairs = p.sum(2)
    return p[1].sum(), pairs[:, 1] / pairs.sum(1), p[..., 1] / pairs


def mask(size, kind):
    middle = size // 2
    m = torch.zeros(size, size)
    m[:middle] = 1
    m[middle, : middle + (kind == "B")] = 1
    return m


def whole_row(size, kind):
    m = mask(size, kind)
    m[size // 2, size // 2 + 1 :] = 1
    return m


def only_the_quarter(size, kind):  # nothing above and to the right: the blind spot, drawn as a mask
    m = mask(size, kind)
    m[: size // 2, size // 2 + 1 :] = 0
    return m


def row_below(size, kind):
    m = mask(size, kind)
    m[size // 2 + 1 :, 0] = 1
    return m


def without_left(size, kind):
    m = mask(size, kind)
    m[size // 2, : size // 2] = 0
    return m


def masks(d_in, d_hidden):
    return (d_hidden[:, None] >= d_in).float(), (d_in[:, None] > d_hidden).float()


def by_rank(d_in, d_hidden):  # as if the bits were always drawn from first to last
    return masks(torch.arange(1, len(d_in) + 1), d_hidden)


def first_above(p, u):  # argmax of all False is 0
    return int((p.cumsum(0) > u).int().argmax())


WRONG = [
    ("pixelcnn.chain", lambda p: (p[1].sum(), p.sum(2)[:, 1], p[..., 1]), "joint probability; p\\(x2 = 1 \\| x1\\)"),
    ("pixelcnn.chain", lambda p: (*chain_of(p)[:2], p[..., 1]), "joint probability; p\\(x3"),
    ("pixelcnn.chain", lambda p: (p[0].sum(), *chain_of(p)[1:]), "probability of a 0, where p\\(x1 = 1\\)"),
    ("pixelcnn.chain", lambda p: tuple(1 - q for q in chain_of(p)), "probability of a 0"),
    ("pixelcnn.chain", lambda p: (chain_of(p)[0], p.sum((0, 2))[1], None), "\\(2,\\) was expected, got \\(\\)"),
    ("pixelcnn.chain", lambda p: (*chain_of(p)[:2], chain_of(p)[2].T), "bits before, in their order"),
    ("pixelcnn.chain", lambda p: chain_of(p.permute(2, 1, 0)), "expected"),  # from the last bit to the first
    ("pixelcnn.chain", lambda p: chain_of(p)[0], "a tuple of 3 tensors was expected, got Tensor"),
    ("pixelcnn.chain", lambda p: chain_of(p)[:2], "a tuple of 3 tensors was expected, got 2 of them"),
    ("pixelcnn.mask", lambda size, kind: mask(size, "AB".replace(kind, "")), "A hides the pixel itself, B shows it"),
    ("pixelcnn.mask", lambda size, kind: mask(size, "B"), "all is right but the tap in the middle"),
    ("pixelcnn.mask", lambda size, kind: 1 - mask(size, kind), "0 and 1 are swapped"),
    ("pixelcnn.mask", whole_row, "lies to the right, on the pixel's row: it comes later"),
    ("pixelcnn.mask", only_the_quarter, "lies on a row above: all of it came before"),
    ("pixelcnn.mask", row_below, "lies on a row below"),
    ("pixelcnn.mask", without_left, "lies to the left"),
    ("pixelcnn.mask", lambda size, kind: mask(size, kind).flatten(), "shape \\(3, 3\\) was expected, got \\(9,\\)"),
    ("pixelcnn.bits_per_dim", lambda nats, dims: nats / dims, "nats per dimension"),
    ("pixelcnn.bits_per_dim", lambda nats, dims: nats / math.log(2), "bits per picture"),
    ("pixelcnn.bits_per_dim", lambda nats, dims: nats / dims * math.log(2), "fewer bits than nats"),
    ("pixelcnn.bits_per_dim", lambda nats, dims: nats / 784 / math.log(2), "32 × 32 × 3"),
    ("pixelcnn.bits_per_dim", lambda nats, dims: float(nats.mean()) / dims, "nats per dimension"),
    ("pixelcnn.degrees", lambda i, h: ((h[:, None] > i).float(), masks(i, h)[1]), "hidden mask compares the wrong way"),
    ("pixelcnn.degrees", lambda i, h: (masks(i, h)[0], (i[:, None] >= h).float()), "which may know its bit"),
    ("pixelcnn.degrees", lambda i, h: tuple(m.T for m in masks(i, h)), "shape \\(4, 3\\) was expected, got \\(3, 4\\)"),
    ("pixelcnn.degrees", by_rank, "order 2, 4, 1, 3"),
    ("pixelcnn.degrees", lambda i, h: torch.ones(3), "a tuple of 2 tensors was expected, got Tensor"),
    ("pixelcnn.level", lambda p, u: int(p.argmax()), "most probable level is not always drawn"),
    ("pixelcnn.level", lambda p, u: int((p.cumsum(0) < u).sum()), "must exceed u, not equal it"),
    ("pixelcnn.level", lambda p, u: int((p > u).int().argmax()), "cumulative probabilities are"),
    ("pixelcnn.level", first_above, "Rounding left the sum"),
    ("pixelcnn.level", lambda p, u: int((p.cumsum(0) <= u).sum()), "Rounding left the sum"),
]
