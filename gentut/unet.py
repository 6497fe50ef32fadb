"""The U-Net of the chapter on DDPM: noisy pictures and a time in, a picture of what was asked for out.

Down to coarse pictures with many features, up again to fine ones, and at each size the way up is given what the way
down had seen: Ronneberger et al., arXiv:1505.04597; as a denoiser Ho et al., arXiv:2006.11239, appendix B. Blocks are
residual, with group norm and SiLU, and the time comes in as numbers added to the features.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, checks, choose

# Group norm with two groups: with the eight of the usual recipe PyTorch's kernel takes 20 times as long on a CPU (where
# features lie last in memory), and made up half of a training step.
GROUPS = 2
NORMS = ("group", "batch")


def time_embedding(t, width):
    """Times t (batch,) → (batch, width): sines, then cosines of t at frequencies from 1 down to nearly 1/10,000.

    Frequency k is 10,000^(-2k / width). Vaswani et al., arXiv:1706.03762, section 3.5: near times get like numbers, far
    ones do not. Raises Error unless width is even and at least 2.
    """
    if checks.whole(width, "width", 2) % 2:
        raise Error(f"an embedding of sines and cosines has an even width, got {width}")
    half = width // 2
    frequency = torch.exp(-math.log(10_000) / half * torch.arange(half, device=t.device))
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def normalisation(kind, width):
    """Group norm, or batch norm ("batch", the notes' word), for `width` features."""
    return nn.GroupNorm(GROUPS, width) if choose("norm", kind, NORMS) == "group" else nn.BatchNorm2d(width)


def silent(layer):
    """A layer that begins by giving zeros, so that what it is added to passes unchanged."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """skip(x) + f(x, embedding): two 3 x 3 convolutions, with the embedding added between them."""

    def __init__(self, before, after, embedding, norm="group"):
        super().__init__()
        self.norm1 = normalisation(norm, before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(embedding, after)
        self.norm2 = normalisation(norm, after)
        self.conv2 = silent(nn.Conv2d(after, after, 3, padding=1))
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x, embedding):
        """x (batch, before, h, w), embedding (batch, embedding) → (batch, after, h, w)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(embedding)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Every place looks at every other: x + out(softmax(q kᵀ / √width) v), with one head."""

    def __init__(self, width, norm="group"):
        super().__init__()
        self.norm = normalisation(norm, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = silent(nn.Conv2d(width, width, 1))

    def forward(self, x):
        """(batch, width, h, w) → the same shape."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)  # (batch, h · w, width) each
        look = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(dim=2)  # (batch, h · w, h · w), rows sum to 1
        return x + self.out((look @ v).transpose(1, 2).unflatten(2, x.shape[2:]))


class UNet(nn.Module):
    """net(x, t, labels): noisy pictures (batch, 1, 28, 28) and times (batch,) in 0 to 1000 → (batch, 1, 28, 28).

    widths: features at each size, the finest first; each size is half of the one before. patch: so many by so many
    pixels become the features of one place before anything else (space to depth), which makes all that follows patch²
    times cheaper. blocks: at each size, on the way down and again on the way up. attention: at the coarsest size.
    classes: labels (batch,) from 0 to classes - 1 are wanted, or `classes` itself for "no label". Raises Error for
    sizes that cannot be halved.
    """

    def __init__(self, widths=(32, 48), *, patch=2, blocks=1, attention=False, embedding=64, classes=0, norm="group"):
        super().__init__()
        smallest = patch * 2 ** (len(widths) - 1)
        if not widths or patch < 1 or blocks < 1 or classes < 0 or embedding < 2 or embedding % 2:
            raise Error("need at least one width, patch >= 1, blocks >= 1, classes >= 0 and an even embedding >= 2, "
                        f"got {widths}, {patch}, {blocks}, {classes} and {embedding}")
        if 28 % smallest:
            raise Error(f"28 pixels cannot be cut into patches of {patch} and halved {len(widths) - 1} times")
        if norm == "group" and any(w % GROUPS for w in widths):
            raise Error(f"group norm makes {GROUPS} groups: widths takes multiples of {GROUPS}, got {widths}")
        self.embedding, self.classes = embedding, classes
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(classes + 1, embedding) if classes else None  # the last row: no label
        self.cut, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(patch**2, widths[0], 3, padding=1)
        self.down, self.smaller, self.up, self.larger = (nn.ModuleList() for _ in range(4))
        before = widths[0]
        for i, width in enumerate(widths):
            if i:
                self.smaller.append(nn.Conv2d(before, before, 3, stride=2, padding=1))
            self.down.append(nn.ModuleList(
                Block(before if k == 0 else width, width, embedding, norm) for k in range(blocks)
            ))
            before = width
        self.attention = Attention(before, norm) if attention else nn.Identity()
        for i, width in reversed(list(enumerate(widths))):
            self.up.append(nn.ModuleList(Block(width, width, embedding, norm) for _ in range(blocks)))
            if i:
                self.larger.append(nn.Conv2d(width, widths[i - 1], 1))
        self.norm = normalisation(norm, widths[0])
        self.last = silent(nn.Conv2d(widths[0], patch**2, 3, padding=1))

    def embed(self, t, labels=None):
        """Times (batch,) and labels (batch,) → what every block is told, (batch, embedding)."""
        e = self.time(time_embedding(t, self.embedding))
        return F.silu(e if self.label is None else e + self.label(labels))

    def forward(self, x, t, labels=None):
        e = self.embed(t, labels)
        h, seen = self.first(self.cut(x)), []  # (batch, widths[0], 28 / patch, 28 / patch)
        for i, blocks in enumerate(self.down):
            h = self.smaller[i - 1](h) if i else h
            for block in blocks:
                h = block(h, e)
                seen.append(h)
        h = self.attention(h)
        for i, blocks in enumerate(self.up):
            h = self.larger[i - 1](F.interpolate(h, scale_factor=2.0, mode="nearest")) if i else h
            for block in blocks:
                h = block(h + seen.pop(), e)
        return self.join(self.last(F.silu(self.norm(h))))
