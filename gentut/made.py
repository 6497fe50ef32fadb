"""Autoregressive networks on a few bits, small enough to list every outcome: a belief net and MADE.

    p(x) = Π_t p(x_i | bits drawn before x_i),   i the t-th bit of an order,        p(x_i = 1 | ...) = sigmoid(logit_i).

The fully visible belief net (FVBN) is a logistic regression for each bit: Neal, "Connectionist learning of belief
networks", Artificial Intelligence 56 (1992); Frey, Hinton and Dayan, "Does the wake-sleep algorithm produce good
density estimators?", NIPS 8 (1996). MADE puts hidden layers in between, which all bits share, and cuts every path from
a bit to its own logit or to an earlier one: Germain et al., arXiv:1502.03509. Both give all logits in one pass.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, checks

MOST = 20  # bits whose outcomes are listed: 2^20 is a million


def bits(n):
    """All vectors of n bits in counting order, the first bit the most significant: float (2^n, n).

    Raises Error unless n is a whole number from 1 to 20.
    """
    n = checks.whole(n, "n", 1)
    if n > MOST:
        raise Error(f"n must be at most {MOST}, for there are 2^n vectors of n bits, got {n}")
    return (torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1) & 1).float()


def bars_and_stripes(k=3):
    """The distinct k × k pictures made of full rows or of full columns: float (2 · 2^k - 2, k · k), in counting order.

    Two of them, all black and all white, are both; k = 1 has no others. Drawn evenly they have log(how many) nats.
    Raises Error unless k is a whole number from 1 to 10.
    """
    if checks.whole(k, "k", 1) > 10:
        raise Error(f"k must be at most 10, got {k}")
    lines = bits(k)  # (2^k, k)
    rows, columns = lines.repeat_interleave(k, dim=1), lines.repeat(1, k)  # (2^k, k · k) each
    return torch.cat([rows, columns]).unique(dim=0)


# --------------------------------------------------------------------------------------------------------- two networks


class FVBN(nn.Module):
    """Fully visible belief net: logit_i = b_i + Σ_{j < i} W_ij x_j, a logistic regression on the bits before.

    n: how many bits, drawn from the first to the last. The weights start at 0, so every bit is a fair coin.
    """

    def __init__(self, n):
        super().__init__()
        self.n = checks.whole(n, "n", 1)
        self.order = list(range(n))
        self.weight = nn.Parameter(torch.zeros(n, n))
        self.bias = nn.Parameter(torch.zeros(n))
        mask = torch.ones(n, n).tril(-1)  # row i: which bits logit i may look at
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        """x (batch, n) of 0 and 1 → logits (batch, n) of a 1."""
        x = _of_width(x, self.n).to(self.weight)
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """A multilayer perceptron from bits to logits, masked so that each logit depends on earlier bits only.

    Every unit has a degree. An input's or output's is its bit's place in the order, 1 to n; a hidden unit's, 1 to
    n - 1, is the last place that it may know of. So it looks at units with a degree up to its own, and an output looks
    at units with a smaller degree: arXiv:1502.03509, section 4. The paper draws the hidden degrees at random;
    here each layer has them spread evenly and rising, so that none is missing by chance and a mask looks like stairs.

    n: how many bits. hidden: widths of the hidden layers; (), none, is a belief net. order: the bits, 0 to n - 1, as
    they are drawn; None is from first to last. seed: of the first weights. `degrees`: one int64 tensor a layer, inputs
    first, outputs last. `masks`: one matrix of 0 and 1 (out, in) a step from layer to layer.
    """

    def __init__(self, n, hidden=(32,), order=None, seed=0):
        super().__init__()
        self.n = checks.whole(n, "n", 1)
        widths = _listed(hidden, "hidden", least=1)
        self.order = list(range(n)) if order is None else _listed(order, "order")
        if sorted(self.order) != list(range(n)):
            raise Error(f"order must name each of the bits 0 to {n - 1} once, got {self.order}")
        place = torch.empty(n, dtype=torch.int64)
        place[self.order] = torch.arange(1, n + 1)
        spread = [1 + torch.arange(h) * (n - 1) // h for h in widths]  # 1, ..., n - 1, each about equally often
        self.degrees = [place, *spread, place]
        self.masks = masks_of(self.degrees)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(checks.whole(seed, "seed"))
            self.layers = nn.ModuleList(_MaskedLinear(mask) for mask in self.masks)

    def forward(self, x):
        """x (batch, n) of 0 and 1 → logits (batch, n) of a 1."""
        *hidden, last = self.layers
        h = _of_width(x, self.n).to(last.weight)
        for layer in hidden:
            h = F.relu(layer(h))
        return last(h)


def masks_of(degrees):
    """Which weights a MADE may use, from its units' degrees: floats 0 and 1, (out, in) for each pair of layers.

    degrees: whole numbers, one list or tensor a layer, inputs first and outputs last. A hidden unit of degree m looks
    at degrees ≤ m, an output of degree d at degrees < d. So no path leads from an input to an output of its own place
    or of an earlier one. Raises Error for fewer than two layers.
    """
    degrees = [torch.as_tensor(d) for d in degrees]
    if len(degrees) < 2:
        raise Error(f"masks lie between layers: give the degrees of at least two, got {len(degrees)}")
    pairs = list(zip(degrees[1:], degrees[:-1], strict=True))
    masks = [after[:, None] >= before for after, before in pairs[:-1]]
    after, before = pairs[-1]
    return [mask.float() for mask in (*masks, after[:, None] > before)]


class _MaskedLinear(nn.Linear):
    """A linear layer some of whose weights count as 0."""

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


# ------------------------------------------------------------------------------------ likelihood, enumeration, sampling


def log_prob(model, x):
    """log p(x) in nats: the sum over the bits of the log-probability of each given those before it, (batch,).

    x: float (batch, n) of 0 and 1. Raises Error for anything else.
    """
    x = _checked(x, model.n).to(model.bias if isinstance(model, FVBN) else model.layers[-1].bias)
    return -F.binary_cross_entropy_with_logits(model(x), x, reduction="none").sum(1)


@torch.no_grad()
def probabilities(model):
    """p(x) of every vector of n bits, in the order of bits(n): (2^n,), which sums to 1. Raises Error for n above 20."""
    return torch.cat([log_prob(model, x) for x in bits(model.n).split(2**16)]).exp()


@torch.no_grad()
def sample(model, n, *, generator=None):
    """Draw n vectors, bit after bit in the model's order: float (n, model.n) of 0 and 1.

    Each bit costs a pass through the network, because its logit needs the bits before it.
    """
    like = next(model.parameters())
    x = like.new_zeros(checks.whole(n, "n", 1), model.n)
    device = like.device if generator is None else generator.device
    for i in model.order:
        u = torch.rand(n, generator=generator, device=device, dtype=x.dtype).to(x.device)
        x[:, i] = (u < model(x)[:, i].sigmoid()).to(x.dtype)
    return x


def fit(model, x, steps=500, learning_rate=0.05):
    """Make x (m, n) likely: Adam on the mean of -log p(x), all rows at each step. Changes the model.

    Returns the mean nats before each step, a list. Raises Error unless x are 0 and 1, and if the loss is not finite.
    """
    x, steps = _checked(x, model.n), checks.whole(steps, "steps", 1)
    rate = float(checks.positive(learning_rate, "learning_rate"))
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    history = []
    for step in range(steps):
        nats = -log_prob(model, x).mean()
        history.append(nats.item())
        if not nats.isfinite():
            raise Error(f"the loss is {history[-1]} at step {step}: try a learning_rate below {rate:g}")
        adam.zero_grad()
        nats.backward()
        adam.step()
    return history


# ---------------------------------------------------------------------------------------------------------------- input


def _of_width(x, n):
    """x if it is a float tensor (batch, n); raises Error for anything else."""
    if not torch.is_tensor(x) or not x.is_floating_point() or x.ndim != 2 or x.shape[1] != n:
        what = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise Error(f"x must be a float tensor of shape (batch, {n}), got {what}")
    return x


def _checked(x, n):
    """x if it is a float tensor (batch, n) of 0 and 1, at least one row; raises Error for anything else."""
    if not len(_of_width(x, n)):
        raise Error("x must have at least one row")
    wrong = (x != 0) & (x != 1)
    if wrong.any():
        raise Error(f"x must be 0 or 1 everywhere, got {x[wrong][0].item():g}")
    return x


def _listed(given, name, least=-math.inf):
    """A list of whole numbers from a list, tuple, range or tensor; raises Error for anything else."""
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, (list, tuple, range)):
        raise Error(f"{name} must be whole numbers in a list or tuple, got {given!r}")
    return [checks.whole(v, f"each number of {name}", least) for v in values]
