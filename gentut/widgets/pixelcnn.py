"""The PixelCNN chapter's widget: a digit is written pixel by pixel, by the network itself."""

import numbers

import anywidget
import numpy as np
import torch
import traitlets

from gentut import Error, choose, data
from gentut.causal import CausalConv2d
from gentut.pixelcnn import PixelCNN

from . import base

SIZE = 28
PIXELS = SIZE * SIZE
EXAMPLES = 10


def _whole(name, low, high):
    """A check that a value is a whole number from `low` to `high`."""

    def check(value, classes=0):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
            raise Error(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        return int(value)

    return check


def _between(name, low, high):
    """A check that a value is a number from `low` to `high`."""

    def check(value, classes=0):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= value <= high:
            raise Error(f"{name} must lie between {low:g} and {high:g}, got {value!r}")
        return float(value)

    return check


def _label(value, classes):
    return _whole("label", 0, (classes or 10) - 1)(value)


def _pixels(given, classes=0):
    """784 whole numbers -1, 0 or 1 as a list, or [] where none is fixed."""
    try:
        values = torch.as_tensor(given).detach().cpu().double().flatten()
    except (TypeError, ValueError, RuntimeError):
        raise Error(f"given must be {PIXELS} numbers, got {type(given).__name__}") from None
    if len(values) not in (0, PIXELS):
        raise Error(f"given must be {PIXELS} numbers, one a pixel, or none, got {len(values)}")
    values = torch.where(values.isnan(), -1, values)
    wrong = (values != -1) & (values != 0) & (values != 1)
    if wrong.any():
        raise Error(f"given must be 0 (black), 1 (white) or -1 (free), got {values[wrong][0].item():g}")
    return [] if (values == -1).all() else values.int().tolist()


# What may be set from Python, and the check of each: check(value, classes of the network).
_CHECKS = {
    "given": _pixels,
    "label": _label,
    "seed": _whole("seed", 0, 2**31 - 1),
    "temperature": _between("temperature", 0.2, 2),
    "position": _whole("position", 0, PIXELS),
    "speed": _between("speed", 1, 2000),  # pixels a second
    "pixel": _whole("pixel", -1, PIXELS - 1),
    "view": lambda value, _: choose("view", value, ("pixels", "white", "nats")),
    "tool": lambda value, _: choose("tool", value, ("look", "white", "black", "free")),
    "brush": _whole("brush", 1, 3),  # pixels wide
}


class PixelSampler(anywidget.AnyWidget):
    """A PixelCNN that writes a digit in the page: pixel by pixel, around pixels that the reader fixes.

    Made by `PixelSampler.from_model`. The picture is a function of `given`, `label`, `seed` and `temperature`, whatever
    the order in which they were chosen: pixel i is white where `uniforms(seed)` lies in the part of [0, 1) that the
    network gives to white. `gentut.pixelcnn.sample` draws the same one from these uniforms.

    In a notebook may be read and set:
        given        784 numbers in reading order, 0 black, 1 white, -1 where the network draws; [] fixes nothing
        label        the digit that a network with classes is told
        seed         a whole number from 0 on
        temperature  0.2 to 2; logits are divided by it before a pixel is drawn
        position     how many pixels are written, 0 to 784
        speed        pixels a second when it plays, 1 to 2000
        pixel        the pixel that is looked at, 28 · row + column, or -1
        view         what the picture shows of each pixel: "pixels", "white" (its predicted probability) or "nats"
        tool, brush  what the pointer does: "look", or fix "white", "black" or "free" pixels, 1 to 3 wide

    Read only, written by the page when the picture stands still:
        picture      784 numbers as in `given`, -1 where nothing is written yet
        nats         -log p of the pixels written so far, at temperature 1, given pixels included
    """

    _esm = base.esm("pixelcnn-sampler.js")
    _css = base.css("common.css", "plot.css", "pixelcnn.css")

    network = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    examples = traitlets.Bytes().tag(sync=True)  # uint8 (n, 28, 28), 0 or 1
    example_labels = traitlets.List(traitlets.Int()).tag(sync=True)
    given = traitlets.List(traitlets.Int()).tag(sync=True)
    label = traitlets.Int(3).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    position = traitlets.Int(PIXELS // 2).tag(sync=True)
    speed = traitlets.Float(120.0).tag(sync=True)
    pixel = traitlets.Int(-1).tag(sync=True)
    view = traitlets.Unicode("pixels").tag(sync=True)
    tool = traitlets.Unicode("look").tag(sync=True)
    brush = traitlets.Int(1).tag(sync=True)
    picture = traitlets.List(traitlets.Int()).tag(sync=True)
    nats = traitlets.Float(0.0).tag(sync=True)

    @classmethod
    def from_model(cls, model, *, images=None, labels=None, **state):
        """Make the widget from a gated network for black-and-white digits.

        model: a PixelCNN of kind "gated" with levels=2, channels=1, size=28; checkpoints.load("pixelcnn-page") is one.
        images: uint8 (n, 28, 28), digits that the reader can load and score, made black or white by data.binarise;
        labels: (n,) whole numbers, what they show. The first 10 are taken; by default one test digit of each class.
        state: given, label, seed, temperature, position, speed, ... as above; `given` also as a tensor of 784 numbers,
        nan or -1 where the network draws, of any shape.

        Raises Error for another network, for weights that a page cannot hold, and for arguments out of range.
        """
        spec, weights = pack(model)
        classes = model.config.classes
        images, labels = _examples(images, labels, classes)
        state = {name: _CHECKS[choose("state", name, _CHECKS)](value, classes) for name, value in state.items()}
        if classes:
            state.setdefault("label", min(3, classes - 1))
        return cls(
            network=spec,
            weights=weights,
            examples=data.binarise(images).numpy().astype("u1").tobytes(),
            example_labels=labels.tolist(),
            **state,
        )

    @traitlets.validate(*_CHECKS)
    def _valid(self, proposal):
        return _CHECKS[proposal["trait"].name](proposal["value"], self.network.get("classes", 0))


def uniforms(seed):
    """The numbers in [0, 1) that decide a picture of `seed` on the page: float64 (1, 1, 28, 28), as sample takes."""
    drawn = base.uniforms(_CHECKS["seed"](seed), PIXELS)
    return torch.tensor(drawn, dtype=torch.float64).view(1, 1, SIZE, SIZE)


@torch.no_grad()
def pack(model):
    """Turn a gated network for black-and-white pictures into (spec, bytes) for `pixelcnn-network.js`.

    Weights are float16, biases float32. A convolution with a window is an operation "causal": its weights (out, taps,
    in) and its `taps`, the (down, right) that each looks at. Raises Error for any other network.
    """
    if not isinstance(model, PixelCNN):
        raise Error(f"PixelSampler needs a network made by gentut.pixelcnn, got {type(model).__name__}")
    c, store = model.config, base.Store()
    wanted = {"kind": "gated", "levels": 2, "channels": 1, "size": SIZE, "first_mask": "A"}
    for name, value in wanted.items():
        if getattr(c, name) != value:
            raise Error(f"PixelSampler needs a network with {name}={value!r}; this one has {getattr(c, name)!r}")

    def put(layer, weight, bias=None):
        weight = weight.detach().cpu().float().numpy()
        bias = np.zeros(len(weight), "<f4") if bias is None else bias.detach().cpu().float().numpy()
        base.check_finite(layer, weight, bias)
        return {"type": "float16", "weight": store.put(base.half(layer, weight)), "bias": store.put(bias.astype("<f4"))}

    def conv(layer):
        weight = layer.weights() if isinstance(layer, CausalConv2d) else layer.weight  # (out, in, rows, columns)
        op = {"op": "linear", "in": layer.in_channels, "out": layer.out_channels}
        if layer.kernel_size == (1, 1):
            return op | put(layer, weight[:, :, 0, 0], layer.bias)
        seen = [tuple(o.tolist()) in layer.reach() for o in layer.offsets.flatten(0, 1)]
        taps = [o.tolist() for o, used in zip(layer.offsets.flatten(0, 1), seen, strict=True) if used]
        weight = weight.flatten(2)[:, :, seen].permute(0, 2, 1).flatten(1)  # (out, taps · in)
        return op | {"op": "causal", "taps": taps} | put(layer, weight, layer.bias)

    def table(layer):  # (classes, 4 · width)
        weight = layer.weight.detach().cpu().float().numpy()
        base.check_finite(layer, weight)
        return {"op": "embedding", "weight": store.put(base.half(layer, weight))}

    spec = {
        "size": c.size,
        "classes": c.classes,
        "width": c.width,
        "head": c.head,
        "dilations": list(c.dilations),
        "above": conv(model.above),
        "left": conv(model.left),
        "blocks": [
            {name: conv(getattr(block, name)) for name in ("down", "across", "link", "leave")}
            | {"label": None if block.label is None else table(block.label)}
            for block in model.blocks
        ],
        "hidden": conv(model.hidden),
        "out": conv(model.out),
    }
    return spec, store.bytes()


def _examples(images, labels, classes):
    """At most 10 pictures uint8 (n, 28, 28) and their labels (n,)."""
    if images is None:
        if labels is not None:
            raise Error("labels belong to images: pass both or neither")
        digits = data.load("mnist-mini")
        at = [int((digits.test_labels == k).nonzero()[0]) for k in range(min(EXAMPLES, classes or EXAMPLES))]
        return digits.test_images[at], digits.test_labels[at]
    data.check_images(images)
    if tuple(images.shape[1:]) != (SIZE, SIZE):
        raise Error(f"images must have shape (n, {SIZE}, {SIZE}), got {tuple(images.shape)}")
    none = labels is None or len(labels) == 0
    labels = torch.empty(0, dtype=torch.int64) if none else torch.as_tensor(labels)
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape != images.shape[:1]:
        given = f"{labels.dtype} {tuple(labels.shape)}"
        raise Error(f"labels must be whole numbers of shape ({len(images)},), one an image, got {given}")
    images, labels, most = images[:EXAMPLES], labels[:EXAMPLES], classes or 10
    if len(labels) and not (labels.min() >= 0 and labels.max() < most):
        given = f"{labels.min().item()} to {labels.max().item()}"
        raise Error(f"labels must lie in 0 to {most - 1}, got {given}")
    return images, labels
