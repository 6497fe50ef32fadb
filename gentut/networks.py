"""Pieces of networks that several chapters use."""

import itertools

from torch import nn


def mlp(widths, activation):
    """Linear layers of the given widths with an activation between them, none after the last."""
    layers = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(a, b)] + [activation()] * (i < len(widths) - 2)
    return layers
