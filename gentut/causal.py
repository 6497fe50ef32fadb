"""Convolutions that never look ahead: the parts of a PixelCNN, each with its step for one new pixel.

Pixels are ordered as one reads: row by row from the top left. The colours of a pixel come in the order red, green,
blue. A causal convolution gives place (i, j) features that depend on pixels before (i, j) only ("A"), or on those and
(i, j) itself ("B"). There are two ways to get one: multiply the weights ahead by 0 (a mask), or shift the window so
that it ends where it must. Van den Oord et al., "Pixel Recurrent Neural Networks", arXiv:1601.06759, section 3.4;
"Conditional Image Generation with PixelCNN Decoders", arXiv:1606.05328, section 2.2 and figure 2.

Every layer can be run twice: `forward` over a whole picture, for training, and a step at a time, for sampling, where
the features of earlier pixels are kept on a canvas and only the new pixel's are computed.
"""

import torch
import torch.nn.functional as F
from torch import nn


def causal_mask(offsets, kind, groups_in, groups_out):
    """Which weights of a convolution may be used: float (out, in, rows, columns) of 0 and 1.

    offsets: (rows, columns, 2), where each tap of the kernel lies relative to the pixel. kind: "A" hides the pixel
    itself, "B" shows it. groups_in (in,), groups_out (out,): the colour (0, 1, 2) that each feature belongs to: at the
    pixel itself "A" shows a feature of colour c the colours before c, "B" those up to c. Without colour all are 0.
    "rows" shows everything down to the end of this row: for the vertical stack, whose features know rows above only.
    """
    down, right = offsets.unbind(-1)
    before = (down < 0) | ((down == 0) & (right < 0))  # (rows, columns)
    here = (down == 0) & (right == 0)
    if kind == "rows":
        return (down <= 0).float().expand(len(groups_out), len(groups_in), *down.shape)
    first, second = groups_in[None, :], groups_out[:, None]
    shown = first < second if kind == "A" else first <= second  # (out, in)
    return (before | (here & shown[:, :, None, None])).float()


class CausalConv2d(nn.Conv2d):
    """A convolution over the pixels before this one.

    kernel: (rows, columns). origin: the tap (row, column) that lies on the pixel itself; it may lie outside the kernel:
    a kernel of 2 rows with origin row 2 sees the two rows above. kind: "A", "B" or "rows", as in causal_mask.
    colours: 1, or 3 if feature f belongs to colour f % 3.
    """

    def __init__(self, wide_in, wide_out, kernel, origin, kind="B", *, dilation=1, colours=1, bias=True):
        super().__init__(wide_in, wide_out, kernel, dilation=dilation, bias=bias)
        rows, columns = (torch.arange(k) - o for k, o in zip(kernel, origin, strict=True))
        self.offsets = dilation * torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
        top, left = -self.offsets[0, 0]
        bottom, right = self.offsets[-1, -1]
        self.padding_sides = (int(left), int(right), int(top), int(bottom))  # negative: cut away
        mask = causal_mask(self.offsets, kind, torch.arange(wide_in) % colours, torch.arange(wide_out) % colours)
        self.register_buffer("mask", None if mask.all() else mask, persistent=False)

    def weights(self):
        """The weights that count, (out, in, rows, columns)."""
        return self.weight if self.mask is None else self.weight * self.mask

    def reach(self):
        """The offsets (down, right) of the pixels that the convolution looks at, as a set."""
        used = torch.ones(self.weight.shape[2:]) if self.mask is None else self.mask.amax((0, 1))
        return {tuple(o.tolist()) for o in self.offsets[used > 0]}

    def forward(self, x):
        """x (batch, in, height, width) → (batch, out, height, width)."""
        return F.conv2d(F.pad(x, self.padding_sides), self.weights(), self.bias, dilation=self.dilation)


def gate(a, dim=1):
    """tanh(first half) · sigmoid(second half) of the features in `dim`: arXiv:1606.05328, equation 2. 2c → c features.

    sigmoid(b) is written ½(1 + tanh(½ b)), which is the same and, on a CPU, half the time.
    """
    a, b = a.chunk(2, dim)
    return torch.tanh(a) * (0.5 * torch.tanh(0.5 * b) + 0.5)


class MaskedBlock(nn.Module):
    """A residual block of the first PixelCNN: 1 × 1, masked 3 × 3 ("B"), 1 × 1. arXiv:1601.06759, figure 5.

    Its window hides what comes later in its own row, so stacked blocks never reach a wedge of earlier pixels above and
    to the right: the blind spot.
    """

    def __init__(self, width, dilation, colours, classes):
        super().__init__()
        half = width // 2
        self.enter = CausalConv2d(width, half, (1, 1), (0, 0), colours=colours)
        self.conv = CausalConv2d(half, half, (3, 3), (1, 1), dilation=dilation, colours=colours)
        self.leave = CausalConv2d(half, width, (1, 1), (0, 0), colours=colours)
        self.label = nn.Embedding(classes, half) if classes else None

    def forward(self, h, labels=None):
        """h (batch, width, height, width of the picture) → the same shape."""
        a = self.conv(F.relu(self.enter(F.relu(h))))
        if labels is not None:
            a = a + self.label(labels).to(a.dtype)[:, :, None, None]
        return h + self.leave(F.relu(a))


class GatedBlock(nn.Module):
    """A block of the gated PixelCNN: two stacks that together see every pixel before this one.

    The vertical stack v knows the rows above (the network's first window sees to that), the horizontal stack h the
    pixels to the left, and v through the `link`. arXiv:1606.05328, figure 2; there only h is carried on past the block,
    here v is too.
    """

    def __init__(self, width, dilation, colours, classes):
        super().__init__()
        self.down = CausalConv2d(width, 2 * width, (2, 3), (1, 1), "rows", dilation=dilation)
        self.across = CausalConv2d(width, 2 * width, (1, 2), (0, 1), dilation=dilation, colours=colours)
        self.link = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.leave = CausalConv2d(width, width, (1, 1), (0, 0), colours=colours)
        self.label = nn.Embedding(classes, 4 * width) if classes else None

    def forward(self, v, h, labels=None):
        """v, h (batch, width, height, width of the picture) → the next v, h."""
        a = self.down(v)  # (batch, 2 · width, ...)
        b = self.across(h) + self.link(a)
        if labels is not None:
            for_v, for_h = self.label(labels).to(a.dtype)[:, :, None, None].chunk(2, dim=1)  # in autocast's type
            a, b = a + for_v, b + for_h
        return v + gate(a), h + self.leave(gate(b))
