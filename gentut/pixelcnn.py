"""PixelCNN: the probability of a picture as a product over its pixels, each predicted from those before it.

    log p(x) = Σ_i log p(x_i | x_1, ..., x_{i-1}),        pixels in reading order, colours red, green, blue.

One network computes all the factors at once, because its convolutions never look ahead (gentut.causal). So the
likelihood is exact, and training is one pass; drawing a picture takes a step for each pixel (gentut.drawing).
Van den Oord et al., arXiv:1601.06759 (kind="masked") and arXiv:1606.05328 (kind="gated"). Nats per image throughout.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, checkpoints, checks, choose, data, metrics, training
from gentut.causal import CausalConv2d, GatedBlock, MaskedBlock
from gentut.drawing import sample  # noqa: F401  (part of this chapter's interface)


@dataclass(frozen=True)
class Config(training.Config):
    """The settings of a PixelCNN; the defaults are small."""

    kind: str = "gated"  # or "masked": the first PixelCNN, which has a blind spot
    levels: int = 2  # values that a pixel can have: 2 is black and white, 256 every grey
    channels: int = 1  # 3: red, green and blue, in this order
    size: int = 28  # rows and columns of a picture
    classes: int = 0  # 10: the network is told the digit
    width: int = 16  # features of a pixel in each stack
    dilations: tuple = (1, 2)  # one block each; a window's taps lie this far apart
    head: int = 32  # features of the last hidden layer
    embedding: int = 0  # numbers learnt for each level, shown beside its grey
    first_mask: str = "A"  # "B" plants a bug: each pixel is shown to its own prediction

    def __post_init__(self):
        super().__post_init__()
        choose("kind", self.kind, ("gated", "masked"))
        choose("number of channels", self.channels, (1, 3))
        choose("first_mask", self.first_mask, ("A", "B"))
        if self.size < 2:
            raise Error(f"size must be at least 2, got {self.size}")
        if not 2 <= self.levels <= 256:
            raise Error(f"levels must lie in 2 to 256, got {self.levels}")
        if self.embedding < 0:
            raise Error(f"embedding must be at least 0, got {self.embedding}")
        if self.classes < 0 or self.width < 2 or self.head < 1 or not self.dilations:
            raise Error("need classes >= 0, width >= 2, head >= 1 and at least one dilation, got "
                        f"{self.classes}, {self.width}, {self.head} and {self.dilations}")
        if self.channels == 3 and (self.width % 6 or self.head % 3):
            raise Error("features are shared among 3 colours: width must be a multiple of 6 and head of 3, got "
                        f"{self.width} and {self.head}")

    @classmethod
    def preset(cls, scale):
        """A gated network for black-and-white digits with as much training as a scale of the book allows."""
        choose("scale", scale, SCALES)
        return cls(**SCALES[scale])


SCALES = {
    "test": {"data": "mnist-mini", "steps": 20, "batch_size": 32, "log_every": 5},
    "cpu": {"data": "mnist-mini", "steps": 300, "batch_size": 32, "learning_rate": 4e-3, "warmup": 30,
            "decay": "cosine", "precision": "bf16", "log_every": 10},
    "gpu": {"data": "mnist", "epochs": 4, "width": 32, "dilations": (1, 2, 1, 4, 1, 2), "head": 64,
            "learning_rate": 4e-3, "warmup": 100, "decay": "cosine"},
}

# The settings behind every published network: `gentut reproduce NAME` runs them again.
_LONG = Config(width=32, dilations=(1, 2, 1, 4, 1, 2), head=64, batch_size=32, learning_rate=4e-3, warmup=300,
               decay="cosine", ema=0.999, precision="bf16")
PUBLISHED = {
    "pixelcnn-binary": _LONG.replace(epochs=10),
    "pixelcnn-grey": _LONG.replace(epochs=3, levels=256, embedding=8),
    "pixelcnn-page": _LONG.replace(epochs=6, classes=10),
}


class PixelCNN(nn.Module):
    """All factors p(x_i | x_<i) of a picture at once. model(x) gives the logits of every pixel's levels."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        colour, seen = {"colours": c.channels}, c.channels * (1 + c.embedding)
        self.level = nn.Embedding(c.levels, c.embedding) if c.embedding else None
        if c.kind == "gated":
            # With one channel the first window ends before the pixel. With colours it includes the pixel, and a mask
            # hides the colours to come.
            ends = (0, 3) if c.first_mask == "A" and c.channels == 1 else (0, 2)
            self.above = CausalConv2d(seen, c.width, (3, 7), (3, 3), "rows")
            self.left = CausalConv2d(seen, c.width, (1, 3), ends, c.first_mask, **colour)
        else:
            self.first = CausalConv2d(seen, c.width, (7, 7), (3, 3), c.first_mask, **colour)
        block = GatedBlock if c.kind == "gated" else MaskedBlock
        self.blocks = nn.ModuleList(block(c.width, d, c.channels, c.classes) for d in c.dilations)
        self.hidden = CausalConv2d(c.width, c.head, (1, 1), (0, 0), **colour)
        self.out = CausalConv2d(c.head, c.channels * (1 if c.levels == 2 else c.levels), (1, 1), (0, 0), **colour)

    def forward(self, x, labels=None):
        """Pictures x (batch, channels, size, size) in [0, 1], labels (batch,) if it has classes → logits.

        Logits have shape (batch, levels, size, size), or (batch, 1, size, size) with two levels: the log odds of white.
        With three channels there is a dimension for them: (batch, levels or 1, 3, size, size).
        """
        if (labels is None) != (self.config.classes == 0):  # values are for check_labels: asking them would wait
            self.check_labels(labels, len(x))
        x = self.inputs(x)
        if self.config.kind == "gated":
            v = self.above(x)
            h = self.left(x) + v
            for block in self.blocks:
                v, h = block(v, h, labels)
        else:
            h = self.first(x)
            for block in self.blocks:
                h = block(h, labels)
        logits = self.out(F.relu(self.hidden(F.relu(h))))  # feature f belongs to colour f % channels
        return logits if self.config.channels == 1 else logits.unflatten(1, (-1, 3))

    def inputs(self, x):
        """Pictures (batch, channels, height, width) in [0, 1] → what the first window sees, (batch, features, ...).

        A pixel's grey, -1 for black so that it differs from the 0 beyond the border, and its level's embedding.
        """
        grey = 2 * x - 1
        if self.level is None:
            return grey
        learnt = self.level((x * (self.config.levels - 1)).round().long())  # (batch, channels, ..., embedding)
        learnt = learnt.movedim(-1, 1).flatten(1, 2)  # feature f belongs to colour f % channels
        return torch.cat([grey, learnt.to(grey.dtype)], dim=1)

    def check_pictures(self, x):
        """Raise Error unless x are pictures on the grid of the network's levels; return x."""
        c = self.config
        if not torch.is_tensor(x) or not x.is_floating_point():
            raise Error(f"pictures must be a float tensor, got {x.dtype if torch.is_tensor(x) else type(x).__name__}")
        if x.dtype != (own := next(self.parameters()).dtype):
            raise Error(f"pictures must have the weights' type {own}, got {x.dtype}")
        if x.ndim != 4 or tuple(x.shape[1:]) != (c.channels, c.size, c.size):
            raise Error(f"pictures must have shape (batch, {c.channels}, {c.size}, {c.size}), got {tuple(x.shape)}")
        level = x * (c.levels - 1)
        off = (level - level.round()).abs() > 1e-3
        wrong = off | (level < -0.5) | (level > c.levels - 0.5) | ~x.isfinite()
        if wrong.any():
            raise Error(f"this network knows {c.levels} levels, the values k / {c.levels - 1}; got the pixel "
                        f"{x[wrong][0].item():.6g}. pixelcnn.quantise or data.binarise make such pictures.")
        return x

    def check_labels(self, labels, n):
        """Labels on the model's device, or None; raise Error unless they fit the model and n pictures."""
        classes = self.config.classes
        if not classes:
            if labels is not None:
                raise Error("this network has no classes: call it without labels")
            return None
        if labels is None:
            raise Error(f"this network wants labels: whole numbers from 0 to {classes - 1}, one a picture")
        try:
            labels = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError):
            raise Error(f"labels must be whole numbers, one a picture, got {labels!r}") from None
        if labels.dtype not in (torch.int64, torch.int32, torch.uint8) or tuple(labels.shape) != (n,):
            raise Error(f"labels must be whole numbers of shape ({n},), got {labels.dtype} {tuple(labels.shape)}")
        if n and not (labels.min() >= 0 and labels.max() < classes):
            raise Error(f"labels must lie in 0 to {classes - 1}, got {labels.min().item()} to {labels.max().item()}")
        return labels.long().to(next(self.parameters()).device)


def build(config):
    """The untrained network of a configuration; the same seed gives the same weights."""
    return training.seeded(PixelCNN, config)


# ------------------------------------------------------------------------------------------------ levels and likelihood


def quantise(x, levels):
    """Pictures in [0, 1] with 256 greys → pictures with K = `levels` of them, again in [0, 1].

    The 256 greys are cut into K equal ranges: grey g belongs to level k = ⌊g · K / 256⌋, which becomes k / (K - 1).
    """
    if not 2 <= levels <= 256:
        raise Error(f"levels must lie in 2 to 256, got {levels}")
    grey = (x * 255).round()
    return torch.floor(grey * levels / 256) / (levels - 1)


def nats(logits, x):
    """-log p(x) from the logits of every pixel: (batch,) nats per image.

    logits: as model(x) gives them. x: (batch, channels, height, width), on the grid of levels.
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    if logits.shape[1] == 1:
        each = F.binary_cross_entropy_with_logits(logits.view_as(x), x, reduction="none")
    else:
        levels = logits.shape[1]
        target = (x * (levels - 1)).round().long()
        each = F.cross_entropy(logits, target if logits.ndim == 5 else target[:, 0], reduction="none")
    return each.flatten(1).sum(1)


def log_prob(model, x, labels=None):
    """log p(x), or log p(x | label) for a network with classes: (batch,), exact, in nats per image.

    x: (batch, channels, size, size), values k / (levels - 1). labels: int64 (batch,). Raises Error for anything else.
    """
    model.check_pictures(x)
    return -nats(model(x, model.check_labels(labels, len(x))), x)


# ----------------------------------------------------------------------------------------------------------- training


def losses(model, x, labels, noise):
    """What training makes smaller, (batch,) nats. `noise` is a training.Noise.

    With two levels a grey picture is drawn black or white anew at each step, P(white) = grey.
    """
    c = model.config
    seen = (noise.uniform(*x.shape[1:]) < x).float() if c.levels == 2 else quantise(x, c.levels)
    return {"loss": nats(model(seen, labels), seen)}


def train(config, *, images=None, labels=None, out=None, resume=False, device=None):
    """Train on the data set of the configuration, or on `images` uint8 (n, size, size), `labels`; see training.fit."""
    if config.channels != 1:
        raise Error("the book's pictures are grey: train takes channels=1 (colour networks are for the reader to try)")
    if images is None:
        dataset = data.load(config.data)
        images, labels = dataset.train_images, dataset.train_labels
    data.check_images(images)
    if tuple(images.shape[1:]) != (config.size, config.size):
        raise Error(f"expected pictures of shape (n, {config.size}, {config.size}), got {tuple(images.shape)}")
    model = build(config)
    labels = model.check_labels(labels, len(images)) if config.classes else None
    run = training.fit(model, config, losses, images, None if labels is None else labels.cpu(),
                       out=out, resume=resume, device=device)
    checkpoints.describe(run, "pixelcnn")
    return run


def reproduce(name, out, *, resume=False, device=None):
    """Train the published network `name` again and measure it; weights and card go into the folder `out`.

    Returns the card (None in processes other than the first).
    """
    config = PUBLISHED[choose("published network", name, PUBLISHED)]
    run = train(config, out=out, resume=resume, device=device)
    # The test of the card measures "mini" again; with classes that takes ten times as long, so "few" in full instead.
    return checkpoints.finish(run, "pixelcnn", name, lambda model: {
        "test": evaluate(model, config.data),
        "mini": evaluate(model, "mnist-mini", n=1000),
        **({"few": evaluate(model, "mnist-mini", n=20)} if config.classes else {}),
    })


def test_pictures(model, images):
    """Pictures as the model's levels want them: the fixed binarisation (data.binarise, seed 0), or greys quantised."""
    levels = model.config.levels
    return data.binarise(images) if levels == 2 else quantise(data.to_unit(images), levels)


@torch.no_grad()
def evaluate(model, name="mnist", *, n=None, split="test", batch=250):
    """Nats per image and bits per dimension of a trained model on the data set `name`: a dict with n and the subset.

    Uses the first n pictures of the split (default: all). A network with classes is scored on its marginal
    p(x) = 1/10 Σ_y p(x | y); `conditional_nats` is -log p(x | true label), and `accuracy` how often the label with the
    largest p(x | y) is the true one (Bayes' rule with equal priors).
    """
    dataset = data.load(name)
    images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
    if n is not None and not 2 <= n <= len(images):
        raise Error(f"n must lie between 2 and the {len(images)} {split} pictures of {name}, got {n}")
    images, labels = images[:n], labels[:n]
    c, device = model.config, next(model.parameters()).device
    x = test_pictures(model, images)
    parts = []
    for xs in x.split(batch):
        xs = xs.to(device)
        each = [log_prob(model, xs, torch.full((len(xs),), y)) for y in range(c.classes)] or [log_prob(model, xs)]
        parts.append(torch.stack(each, dim=1).double().cpu())  # (batch, classes or 1)
    log_p = torch.cat(parts)
    mean, error = metrics.mean_and_error(-(log_p.logsumexp(1) - math.log(log_p.shape[1])))
    kind = "binarised, seed 0" if c.levels == 2 else f"{c.levels} greys"
    result = {
        "nats": mean, "standard_error": error, "bits_per_dim": metrics.nats_to_bits_per_dim(mean), "n": len(x),
        "pictures": f"the first {len(x)} {split} pictures of {name}, {kind}",
    }
    if c.levels == 2:
        result["binarised_sha256"] = data.digest(x.to(torch.uint8))
    if c.classes and data.has_labels(name):
        result["conditional_nats"] = -log_p[torch.arange(len(x)), labels].mean().item()
        result["accuracy"] = (log_p.argmax(1) == labels).double().mean().item()
    return result


# ---------------------------------------------------------------------------------------------------- what a pixel sees


def receptive_field(model, row, column):
    """Which pixels the prediction at (row, column) can depend on, from the windows alone: bool (size, size).

    Followed back from the prediction, layer by layer: each feature looks where its window's taps lie. A tap beyond the
    border sees nothing, so the field of a pixel near it is smaller. With three channels the pixel itself belongs to
    it: its green and blue see its red.
    """
    size = model.config.size
    row, column = checks.whole(row, "row"), checks.whole(column, "column")
    if not (0 <= row < size and 0 <= column < size):
        raise Error(f"there is no pixel ({row}, {column}) in a picture of {size} x {size}")

    def before(places, conv):
        found = {(i + down, j + right) for i, j in places for down, right in conv.reach()}
        return {(i, j) for i, j in found if 0 <= i < size and 0 <= j < size}

    h = {(row, column)}
    if model.config.kind == "gated":
        v = set()
        for block in reversed(model.blocks):
            v, h = v | before(v | h, block.down), h | before(h, block.across)
        pixels = before(v | h, model.above) | before(h, model.left)
    else:
        for block in reversed(model.blocks):
            h = h | before(h, block.conv)
        pixels = before(h, model.first)
    seen = torch.zeros(size, size, dtype=torch.bool)
    for i, j in pixels:
        seen[i, j] = True
    return seen
