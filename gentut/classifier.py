"""A small classifier of digits. Its features are the yardstick with which the book compares generated pictures.

Two sets of pictures are compared not pixel by pixel but by the FEATURES numbers that the classifier computes of each
picture in its last hidden layer: there two drawings of a seven lie close, and a seven and a one do not. gentut.metrics
says how. The idea is that of Heusel et al., arXiv:1706.08500, who took a network trained on ImageNet; one trained on
digits knows digits better, and it is small enough to train here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, checkpoints, choose, data, metrics, training

FEATURES = 64  # numbers in the last hidden layer, after its activation
MOST = 4  # pixels by which a training picture can be moved


@dataclass(frozen=True)
class Config(training.Config):
    """The settings of the classifier."""

    width: int = 32  # features of the first convolution; the later ones have twice as many
    shift: int = 2  # training pictures are moved by up to so many pixels, at random

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1 or not 0 <= self.shift <= MOST:
            raise Error(f"need width >= 1 and shift in 0 to {MOST}, got {self.width} and {self.shift}")

    @classmethod
    def preset(cls, scale):
        """The classifier with as much training as a scale of the book allows."""
        choose("scale", scale, SCALES)
        return cls(**SCALES[scale])


_LONG = {"learning_rate": 2e-3, "warmup": 100, "decay": "cosine", "ema": 0.999, "precision": "bf16"}
SCALES = {
    "test": {"data": "mnist-mini", "steps": 60, "batch_size": 64, "learning_rate": 3e-3, "log_every": 10},
    "cpu": {"data": "mnist-mini", "epochs": 4, "learning_rate": 3e-3, "decay": "cosine"},
    "gpu": {"data": "mnist", "epochs": 8, **_LONG, "precision": "auto"},
}
# The settings behind the published network: `gentut reproduce classifier` runs them again.
PUBLISHED = {"classifier": Config(epochs=8, **_LONG)}


class Classifier(nn.Module):
    """Three convolutions, one hidden layer of FEATURES numbers, ten logits. model(x) gives the logits."""

    def __init__(self, config):
        super().__init__()
        self.config, w = config, config.width
        self.body = nn.Sequential(
            nn.Conv2d(1, w, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2),  # (batch, w, 14, 14)
            nn.Conv2d(w, 2 * w, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2),  # (batch, 2 w, 7, 7)
            nn.Conv2d(2 * w, 2 * w, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(),  # (batch, 2 w · 16)
            nn.Linear(2 * w * 16, FEATURES), nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, x):
        """Pictures (batch, 1, 28, 28) in [0, 1] → logits of the ten digits, (batch, 10)."""
        return self.head(self.features(x))

    def features(self, x):
        """Pictures (batch, 1, 28, 28) in [0, 1] → the last hidden layer after its activation, (batch, FEATURES)."""
        return self.body(data.to_signed(x))


def build(config):
    """The untrained network of a configuration; the same seed gives the same weights."""
    return training.seeded(Classifier, config)


def shifted(x, down, right):
    """Pictures (batch, 1, h, w) moved by whole pixels, (batch,) each; what enters from beyond the border is black."""
    n, _, h, w = x.shape
    padded = F.pad(x, (MOST,) * 4)
    rows = MOST - down[:, None] + torch.arange(h, device=x.device)  # (batch, h)
    columns = MOST - right[:, None] + torch.arange(w, device=x.device)
    each = torch.arange(n, device=x.device)[:, None, None]
    return padded[each, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def losses(model, x, labels, noise):
    """Cross-entropy in nats, (batch,), and how often the likeliest digit is wrong. `noise` is a training.Noise."""
    reach = model.config.shift
    if model.training and reach:
        down, right = (noise.uniform(2) * (2 * reach + 1)).long().sub(reach).unbind(1)
        x = shifted(x, down, right)
    logits = model(x)
    return {"loss": F.cross_entropy(logits, labels, reduction="none"), "error": (logits.argmax(1) != labels).float()}


def train(config, *, images=None, labels=None, out=None, resume=False, device=None):
    """Train on the data set of the configuration, or on `images` uint8 (n, 28, 28) and `labels`; see training.fit."""
    if images is None:
        dataset = data.load(config.data)
        images, labels = dataset.train_images, dataset.train_labels
    if labels is None:
        raise Error("a classifier learns from labels: give one for each picture")
    run = training.fit(build(config), config, losses, images, labels, out=out, resume=resume, device=device)
    checkpoints.describe(run, "classifier")
    return run


def reproduce(name, out, *, resume=False, device=None):
    """Train the published classifier again and measure it; weights and card go into the folder `out`.

    Beside them goes the file of real digits' features with which metrics.likeness compares pictures. Returns the card
    (None in processes other than the first).
    """
    config = PUBLISHED[choose("published network", name, PUBLISHED)]
    run = train(config, out=out, resume=resume, device=device)
    card = checkpoints.finish(run, "classifier", name, lambda model: {
        "test": evaluate(model, config.data),
        "mini": evaluate(model, "mnist-mini", n=1000),  # the test of the card re-measures this one
    })
    if card is not None:
        metrics.store_reference(run.model, config.data, card["sha256"], run.folder / metrics.STORED)
    return card


@torch.no_grad()
def evaluate(model, name="mnist", *, n=None, split="test"):
    """Error rate and cross-entropy on the first n pictures of a split (default: all), with n and the subset."""
    if not data.has_labels(name):
        raise Error("a classifier is measured by labels, and a folder of pictures has none")
    dataset = data.load(name)
    images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
    if n is not None and not 2 <= n <= len(images):
        raise Error(f"n must lie between 2 and the {len(images)} {split} pictures of {name}, got {n}")
    images, labels = images[:n], labels[:n]
    device = next(model.parameters()).device
    logits = torch.cat([model(data.to_unit(part).to(device)).cpu() for part in images.split(1000)]).double()
    nats, error = metrics.mean_and_error(F.cross_entropy(logits, labels, reduction="none"))
    return {
        "error": (logits.argmax(1) != labels).double().mean().item(), "nats": nats, "standard_error": error,
        "n": len(images), "pictures": f"the first {len(images)} {split} pictures of {name}, grey",
    }
