"""The DDPM chapter's widget: the U-Net itself runs in the page and paints a digit, from noise and step by step."""

import numbers

import anywidget
import torch
import traitlets
from torch import nn

from gentut import Error
from gentut.ddpm import DDPM
from gentut.unet import Attention, UNet

from . import base

PIXELS = 28 * 28
STEPS = (5, 10, 20, 50)
GUIDANCE = 4.0  # more than this only makes digits that look alike
CLASSES = 20  # at most so many buttons
MOST_BYTES = 650_000  # a widget's state is at most 700 KB


def _between(name, high):
    """A check that a value is a number from 0 to `high`."""

    def check(value, network):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= high:
            raise Error(f"{name} must lie between 0 and {high:g}, got {value!r}")
        return float(value)

    return check


def _label(value, network):
    classes = network.get("classes", 0)
    if value is None:
        return -1
    if not classes and value != -1:
        raise Error("this network has no classes: it takes no label")
    return base.whole("label", value, -1, classes - 1)


def _steps(value, network):
    offered = [n for n in STEPS if n <= network.get("T", STEPS[-1])]
    if isinstance(value, bool) or value not in offered:
        raise Error(f"steps must be one of {', '.join(map(str, offered))}, got {value!r}")
    return int(value)


# What may be set from Python, and the check of each: check(value, the trait `network`).
_CHECKS = {
    "label": _label,
    "guidance": _between("guidance", GUIDANCE),
    "steps": _steps,
    "eta": _between("eta", 1),
    "seed": lambda value, _: base.whole("seed", value, 0, base.SEEDS),
    "position": _between("position", 1),
}


class ReverseDiffusion(anywidget.AnyWidget):
    """A U-Net that runs in the page: from noise to a digit, every step kept on a film strip.

    Made by `ReverseDiffusion.from_model`. In a notebook may be read and set:
        label      the digit that the network is asked for; -1: it is told none
        guidance   w of (1 + w) f(x, t, y) - w f(x, t, no label), 0 to 4; without a label it means nothing
        steps      5, 10, 20 or 50 steps from T to 0
        eta        0: DDIM; 1: DDPM's ancestral step; see Schedule.step_back
        seed       a whole number, from which `noise` draws
        position   which step is shown: 0 is x_T, 1 the finished digit
    Read only, written by the page when the digit is finished:
        picture    784 numbers in [0, 1], [] before

    The digit is a function of all but `position`, and gentut.ddpm paints the same one:

        *_, (_, x0, _) = ddpm.denoise(model, ReverseDiffusion.noise(seed), label, steps=steps, guidance=guidance)
    """

    _esm = base.esm("ddpm-reverse.js")
    _css = base.css("common.css", "plot.css", "ddpm.css")

    network = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    alpha_bar = traitlets.Bytes().tag(sync=True)  # float64 (T + 1,), index t
    label = traitlets.Int(-1).tag(sync=True)
    guidance = traitlets.Float(0.0).tag(sync=True)
    steps = traitlets.Int(20).tag(sync=True)
    eta = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(1).tag(sync=True)
    position = traitlets.Float(1.0).tag(sync=True)
    picture = traitlets.List(traitlets.Float()).tag(sync=True)

    @classmethod
    def from_model(cls, model, *, label=3, guidance=0.0, steps=20, eta=0.0, seed=1, position=1.0):
        """Make the widget from a diffusion model of 28 x 28 pictures.

        model: a gentut.ddpm.DDPM with group norm, small enough for a page; checkpoints.load("ddpm-page") is one. A
        network without classes gets no buttons for them: label=None. The rest as above.
        Raises Error for another model, for one that a page cannot run or hold, and for arguments out of range.
        """
        network, weights = pack(model)
        state = {"label": label, "guidance": guidance, "steps": steps, "eta": eta, "seed": seed, "position": position}
        return cls(
            network=network,
            weights=weights,
            alpha_bar=model.schedule.alpha_bar.double().numpy().astype("<f8").tobytes(),
            **{name: _CHECKS[name](value, network) for name, value in state.items()},
        )

    @staticmethod
    def noise(seed, n=1):
        """The noise that the page draws from `seed`, (n, 1, 28, 28): x_T, then that of each step (they need eta > 0).

        The numbers are `normals` of gentut.widgets.base.
        """
        n = base.whole("n", n, 1, 1000)
        return torch.tensor(base.normals(seed, n * PIXELS)).view(n, 1, 28, 28)

    @traitlets.validate(*_CHECKS)
    def _valid(self, proposal):
        return _CHECKS[proposal["trait"].name](proposal["value"], self.network)


@torch.no_grad()
def pack(model):
    """Turn a DDPM into (network, bytes) for `ddpm-unet.js`: weights float16, biases and group norms float32.

    `network` holds what the page must know of the configuration and `parts`, the pieces of the U-Net as `base.pack`
    writes them, by name. Raises Error for what is no DDPM and for one that a page cannot run or hold.
    """
    if not isinstance(model, DDPM) or not isinstance(model.network, UNet):
        raise Error(f"ReverseDiffusion needs a network made by gentut.ddpm, got {type(model).__name__}")
    c, net = model.config, model.network
    if c.norm != "group":
        raise Error(f"a page runs group norm: this network has norm={c.norm!r}")
    if STEPS[0] > c.T:
        raise Error(f"ReverseDiffusion takes at least {STEPS[0]} steps; this model's chain has T = {c.T}")
    if c.classes > CLASSES:
        raise Error(f"ReverseDiffusion has a button for each class: at most {CLASSES}, not {c.classes}")
    sizes = [28 // c.patch // 2**i for i in range(len(c.widths))]
    modules, shapes = {}, {}

    def put(name, *layers, shape=None):
        modules[name], shapes[name] = nn.Sequential(*layers), shape

    def put_block(name, block, size):
        before, after = block.conv1.in_channels, block.conv1.out_channels
        put(f"{name}.a", block.norm1, nn.SiLU(), block.conv1, shape=(before, size, size))
        put(f"{name}.time", block.time)
        put(f"{name}.b", block.norm2, nn.SiLU(), block.conv2, shape=(after, size, size))
        if not isinstance(block.skip, nn.Identity):
            put(f"{name}.skip", block.skip, shape=(before, size, size))

    put("time", *net.time)
    put("first", net.cut, net.first, shape=(1, 28, 28))
    for i, size in enumerate(sizes):
        if i:
            put(f"smaller.{i - 1}", net.smaller[i - 1], shape=(c.widths[i - 1], sizes[i - 1], sizes[i - 1]))
        for k, block in enumerate(net.down[i]):
            put_block(f"down.{i}.{k}", block, size)
    if isinstance(net.attention, Attention):
        shape = (c.widths[-1], sizes[-1], sizes[-1])
        put("attention.in", net.attention.norm, net.attention.qkv, shape=shape)
        put("attention.out", net.attention.out, shape=shape)
    for i, size in enumerate(reversed(sizes)):
        if i:
            # What looks at one pixel at a time may as well do so before pixels are repeated: a quarter of the work.
            narrow, repeat = net.larger[i - 1], nn.Upsample(scale_factor=2.0)
            layers = (narrow, repeat) if narrow.kernel_size == (1, 1) else (repeat, narrow)
            put(f"larger.{i - 1}", *layers, shape=(narrow.in_channels, size // 2, size // 2))
        for k, block in enumerate(net.up[i]):
            put_block(f"up.{i}.{k}", block, size)
    put("last", net.norm, nn.SiLU(), net.last, net.join, shape=(c.widths[0], sizes[0], sizes[0]))

    parts, raw = base.pack_all(modules, "float16", shapes=shapes)
    network = {
        "T": c.T,
        "predict": c.predict,
        "classes": c.classes,
        "guided": c.guided / (1 - c.guided),  # the guidance that training built in
        "embedding": c.embedding,
        "levels": len(c.widths),
        "blocks": c.blocks,
        "parts": parts,
    }
    if net.label is not None:  # the last row: no label
        table = net.label.weight.detach().cpu().float().numpy()
        base.check_finite(net.label, table)
        network["label"] = {"rows": len(table), "width": c.embedding, "weight": len(raw)}
        raw += base.half(net.label, table).tobytes()
    if len(raw) > MOST_BYTES:
        raise Error(f"this network has {len(raw):,} bytes; a page carries at most {MOST_BYTES:,}")
    return network, raw
