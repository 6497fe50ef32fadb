"""What the numbers mean: nats and bits per dimension, and the floors below which no model can go.

The book's convention: a picture's loss is in **nats per image**, summed over pixels and latents, averaged over images.
"""

import math

import torch

from gentut import Error
from gentut.data import to_unit


def nats_to_bits_per_dim(nats, dims=784):
    """Nats per image → bits per dimension: divide by dims · log 2."""
    if dims < 1:
        raise Error(f"dims must be at least 1, got {dims}")
    return nats / (dims * math.log(2))


def bits_per_dim_to_nats(bits, dims=784):
    """Bits per dimension → nats per image: the inverse of nats_to_bits_per_dim."""
    if dims < 1:
        raise Error(f"dims must be at least 1, got {dims}")
    return bits * dims * math.log(2)


def bernoulli_entropy(p):
    """Entropy in nats of Bernoulli(p), elementwise; exactly 0 at p = 0 and p = 1."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def grey_floor(images):
    """The least that summed binary cross-entropy on grey pictures can be: each picture coded by itself, (n,) nats.

    BCE(x, y) = -[x log y + (1 - x) log(1 - y)] is smallest at y = x, where it is the entropy of Bernoulli(x), which is
    not 0 for a grey x. images: uint8 (n, 28, 28).
    """
    return bernoulli_entropy(to_unit(images).double()).flatten(1).sum(1)


def mean_and_error(values):
    """(mean, standard error of the mean) of a 1-D tensor, as floats."""
    values = values.double()
    if values.ndim != 1 or len(values) < 2:
        raise Error(f"need at least two values in one dimension, got shape {tuple(values.shape)}")
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()
