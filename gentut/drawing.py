"""Drawing from a PixelCNN, pixel after pixel: the naive way, and one that computes nothing twice.

A pixel's distribution depends on the pixels before it, so a picture of 784 pixels needs 784 steps one after the other.
The naive way runs the whole network at each step and throws all but one pixel's logits away. `Canvas` keeps every
layer's features of the pixels already drawn and computes only the new pixel's: about 1/784 of the work. The vertical
stack of a gated network depends on finished rows only, so it moves a row at a time. (Ramachandran et al., "Fast
Generation for Convolutional Autoregressive Models", arXiv:1704.06001, cache in the same way.)
"""

import math
import numbers

import torch
import torch.nn.functional as F

from gentut import Error, checks, choose
from gentut.causal import CausalConv2d, gate

METHODS = ("incremental", "naive")


@torch.no_grad()
def sample(
    model, n, *, method="incremental", labels=None, temperature=1.0, uniforms=None, given=None, start=None,
    generator=None,
):
    """Draw n pictures: float32 (n, channels, size, size), values k / (levels - 1).

    method: "incremental" or "naive", which draw the same pictures from the same `uniforms` (on a GPU but for pixels on
    the verge: convolutions round to TF32 there). uniforms: numbers in [0, 1) of the pictures' shape, drawn from
    `generator` by default; a pixel is the first level whose cumulative probability exceeds its uniform. labels: (n,)
    for a network with classes; by default 0, 1, 2, ... in turn. temperature: logits are divided by it; below 1 likely
    pixels become likelier. given: pixels that are fixed, of the pictures' shape or (1, ...), nan where the network
    shall draw. start: the canvas before anything is drawn, black by default; a sound network never looks at it.
    Raises Error for anything else.
    """
    choose("method", method, METHODS)
    n = checks.whole(n, "n", least=1)
    if not isinstance(temperature, numbers.Real) or not 0 < temperature < math.inf:
        raise Error(f"temperature must be a number above 0, got {temperature!r}")
    c, like = model.config, next(model.parameters())
    if c.classes and labels is None:
        labels = torch.arange(n) % c.classes
    labels = model.check_labels(labels, n)
    shape = (n, c.channels, c.size, c.size)
    if uniforms is None:
        generator = None if generator is None else checks.generator(generator)
        uniforms = torch.rand(shape, generator=generator, device=like.device if generator is None else generator.device)
    if not torch.is_tensor(uniforms) or tuple(uniforms.shape) != shape:
        raise Error(f"uniforms must have the pictures' shape {shape}, got {tuple(getattr(uniforms, 'shape', ()))}")
    if not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise Error(f"uniforms must lie in [0, 1), got {uniforms.min().item():.4g} to {uniforms.max().item():.4g}")
    uniforms = uniforms.to(like)
    x = _pictures("start", torch.zeros(1, *shape[1:]) if start is None else checks.finite(start, "start"), shape, like)
    x = x.clone()
    if x.min() < 0 or x.max() > 1:
        raise Error(f"start must lie in [0, 1], got {x.min().item():.4g} to {x.max().item():.4g}")
    free = None
    if given is not None:
        given = _pictures("given", given, shape, like)
        free = given.isnan()
        model.check_pictures(torch.where(free, 0, given))
        x = torch.where(free, x, given)
    if method == "incremental":
        if c.first_mask == "B":
            raise Error("a network with first_mask='B' looks at the pixel that it predicts: draw with method='naive'")
        canvas = Canvas(model, n, labels)

        def logits_at(row, column):
            return canvas.logits(row, column)
    else:

        def logits_at(row, column):
            return model(x, labels)[..., row, column].view(n, -1, c.channels)

    for row in range(c.size):
        for column in range(c.size):
            for colour in range(c.channels):
                logits = logits_at(row, column)[..., colour] / temperature
                drawn = choose_level(logits, uniforms[:, colour, row, column])
                if free is not None:
                    drawn = torch.where(free[:, colour, row, column], drawn, x[:, colour, row, column])
                x[:, colour, row, column] = drawn
                if method == "incremental":
                    canvas.write(row, column, x[:, :, row, column])
    return x.float()


def choose_level(logits, u):
    """The pixel's value k / (levels - 1), with k the first level whose cumulative probability exceeds u: (n,).

    logits: (n, levels), or (n, 1) for the log odds of white. u: (n,) in [0, 1).
    """
    if logits.shape[1] == 1:
        return (u >= torch.sigmoid(-logits[:, 0])).to(u.dtype)  # black comes first and has probability sigmoid(-logit)
    levels = logits.shape[1]
    cumulative = logits.softmax(1).cumsum(1)[:, :-1]  # the last is 1, whatever rounding says
    return (u[:, None] >= cumulative).sum(1).to(u.dtype) / (levels - 1)


def _pictures(name, x, shape, like):
    """Pictures of `shape`, or one for all of them, as `like`; raise Error for anything else."""
    if not torch.is_tensor(x) or not x.is_floating_point() or tuple(x.shape) not in (shape, (1, *shape[1:])):
        what = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise Error(f"{name} must be a float tensor of shape {shape}, got {what}")
    return x.to(like).expand(shape)


class Canvas:
    """The features of all pixels drawn so far, layer by layer, for n pictures.

    `logits(row, column)` gives the logits of one pixel; `write` then says what was drawn there. Pixels must come in
    reading order, all of them: nothing notices if they do not. Features are kept as (places, n, features), where places
    are the columns of a row, or one of them.
    """

    def __init__(self, model, n, labels=None):
        self.model, self.n, size = model, n, model.config.size
        self.columns = slice(0, size)
        self.gated = model.config.kind == "gated"
        self.first = (model.above, model.left) if self.gated else (model.first,)
        windows = [(b.down, b.across) if self.gated else (b.conv,) for b in model.blocks]
        self.kept = {conv: _Window(conv, n, size) for convs in (self.first, *windows) for conv in convs}
        self.labels = [0 if labels is None else b.label(labels) for b in model.blocks]  # (n, features of the label)
        self.row = None  # the row that the vertical stack has reached

    def write(self, row, column, values):
        """Put the pixel's values (n, channels), in [0, 1], where later pixels look for them."""
        seen = self.model.inputs(values[:, :, None, None])[:, :, 0, 0]
        for conv in self.first:
            self.kept[conv].put(row, slice(column, column + 1), seen)

    def logits(self, row, column):
        """The logits of one pixel, (n, levels or 1, channels), from the pixels written before it."""
        here = slice(column, column + 1)
        h = self._gated(row, here) if self.gated else self._masked(row, here)
        h = _pointwise(self.model.out, F.relu(_pointwise(self.model.hidden, F.relu(h))))
        return h.view(self.n, -1, self.model.config.channels)

    def memory(self):
        """Bytes that the kept features take: of the order of layers · features · pixels · pictures."""
        return sum(w.canvas.numel() * w.canvas.element_size() for w in self.kept.values())

    def _through(self, conv, row, columns, features):
        """Keep a layer's features here, and look through its window at those kept so far."""
        self.kept[conv].put(row, columns, features)
        return self.kept[conv].at(row, columns)

    def _masked(self, row, here):
        h = self.kept[self.model.first].at(row, here)
        for block, label in zip(self.model.blocks, self.labels, strict=True):
            a = self._through(block.conv, row, here, F.relu(_pointwise(block.enter, F.relu(h)))) + label
            h = h + _pointwise(block.leave, F.relu(a))
        return h

    def _gated(self, row, here):
        if row != self.row:
            self._descend(row)
        h = self.kept[self.model.left].at(row, here) + self.above[here]
        for block, link in zip(self.model.blocks, self.links, strict=True):
            b = self._through(block.across, row, here, h) + link[here]
            h = h + _pointwise(block.leave, gate(b, dim=-1))
        return h

    def _descend(self, row):
        """The vertical stack's step to a row: all its columns at once, from the rows above."""
        self.row, self.links = row, []
        self.above = v = self.kept[self.model.above].at(row, self.columns)  # (columns, n, width)
        for block, label in zip(self.model.blocks, self.labels, strict=True):
            for_v, for_h = (0, 0) if isinstance(label, int) else label.chunk(2, dim=1)
            a = self._through(block.down, row, self.columns, v)
            self.links.append(_pointwise(block.link, a) + for_h)
            v = v + gate(a + for_v, dim=-1)


def _pointwise(conv, features):
    """A 1 × 1 convolution of features (places, n, in)."""
    weight = conv.weights() if isinstance(conv, CausalConv2d) else conv.weight
    return F.linear(features, weight[:, :, 0, 0], conv.bias)


class _Window:
    """A causal convolution and the canvas that it looks at: (rows, columns, n, features), zeros beyond the border."""

    def __init__(self, conv, n, size):
        left, right, top, _ = (max(0, side) for side in conv.padding_sides)
        self.canvas = conv.weight.new_zeros(top + size, left + size + right, n, conv.in_channels)
        self.corner = top, left
        used = sorted(conv.reach())  # offsets (down, right), in the order of the kernel's taps
        self.stride = self.canvas.shape[1]
        first = [(top + down) * self.stride + left + right for down, right in used]  # seen from pixel (0, 0)
        self.taps = torch.tensor(first, device=conv.weight.device)
        shown = [tuple(o.tolist()) in set(used) for o in conv.offsets.flatten(0, 1)]
        weights = conv.weights().flatten(2)[:, :, torch.tensor(shown, device=conv.weight.device)]  # (out, in, taps)
        self.matrix = weights.permute(0, 2, 1).flatten(1)  # (out, taps · in)
        self.bias = conv.bias

    def put(self, row, columns, features):
        top, left = self.corner
        self.canvas[top + row, left + columns.start : left + columns.stop] = features

    def at(self, row, columns):
        """The convolution's output at some columns of a row, (columns, n, out)."""
        places = torch.arange(columns.start, columns.stop, device=self.taps.device) + row * self.stride
        seen = self.canvas.flatten(0, 1)[places[:, None] + self.taps]  # (columns, taps, n, in)
        return F.linear(seen.transpose(1, 2).flatten(2), self.matrix, self.bias)
