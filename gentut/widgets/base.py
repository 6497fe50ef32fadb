"""What every widget shares: its JavaScript as one module, and networks as bytes that `nn.js` can run."""

import math
import numbers
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gentut import Error, choose

FOLDER = Path(__file__).parent
PRECISIONS = ("int8", "float16")
SEEDS = 2**31 - 1  # the largest

# Up to this many weights a layer keeps float16 even at "int8": the bytes are in the layers that touch pixels, and the
# others decide where everything lands. (On `vae-2d`, int8 in these would move a code by a third of its own spread.)
SMALL = 40_000

_ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
_SHAPES = (nn.Flatten, nn.Unflatten, nn.Identity)  # nn.js works on flat arrays, so these do nothing there
_MOVERS = {nn.PixelUnshuffle: "pixel_unshuffle", nn.PixelShuffle: "pixel_shuffle", nn.Upsample: "upsample"}
_CONVOLUTIONS = {nn.Conv2d: "conv2d", nn.ConvTranspose2d: "conv_transpose2d"}
_WEIGHTED = (nn.Linear, *_CONVOLUTIONS)
_IMPORT = re.compile(r'^import\s[^;]*?from\s+"\./([\w-]+\.js)";\n', re.MULTILINE)


def esm(name):
    """One ES module out of the file `name` and the files it imports by a relative path.

    A widget's code reaches the page as a blob, where relative imports do not resolve. So the imported files are put
    first, each once, without their `export` words; `export default` stays. Comments and indentation stay at home, as
    every widget on a page carries its code. node's tests import the files as they are.
    """
    texts = {}

    def collect(file):
        text = (FOLDER / file).read_text(encoding="utf-8")
        for needed in _IMPORT.findall(text):
            if needed not in texts:
                collect(needed)
        texts[file] = re.sub(r"^export (?!default)", "", _IMPORT.sub("", text), flags=re.MULTILINE)

    collect(name)
    return _lean("\n".join(texts.values()), r"^\s*//.*")


def css(*names):
    """The style sheets `names`, joined and lean.

    Widgets of two sheets may share a page, and then common.css comes a second time, after the first one's own rules. So
    a widget's own rules are made to weigh more, wherever they stand: its class goes together with the common one.
    """
    text = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)
    return _lean(re.sub(r"\.gentut-(?!widget\b)", ".gentut-widget.gentut-", text), r"/\*[\s\S]*?\*/")


def _lean(text, comment):
    """The text without comments on lines of their own, indentation and empty lines."""
    lines = re.sub(comment, "", text, flags=re.MULTILINE).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


@torch.no_grad()
def pack(module, precision="int8", inputs=None, shape=None):
    """Turn a feed-forward network into (spec, bytes) for `nn.js`.

    `module` is a layer or a (nested) nn.Sequential of Linear, Conv2d, ConvTranspose2d, GroupNorm, ReLU, SiLU, GELU,
    Tanh, Sigmoid, PixelUnshuffle, PixelShuffle, Upsample (nearest, by a whole number), Flatten, Unflatten, Identity.
    `spec` is a list of dicts, one an operation, with byte offsets into `bytes`. At "int8" each row of a weight matrix
    is stored as whole numbers from -127 to 127 and one float32 scale; small layers stay float16. Biases and the weights
    of group norms are float32.
    `inputs`, (batch, in) or (batch, *shape) such as the network will see, makes the rounding several times less
    harmful: see `round_rows`. `shape`: that of one input, (channels, rows, columns), where the network does not begin
    with a Linear layer and has convolutions. Raises Error for any other layer or precision, and for a convolution or a
    group norm that does not fit what comes before it.
    """
    choose("precision", precision, PRECISIONS)
    spec, store = [], Store()
    put = store.put
    shape = None if shape is None else tuple(shape)
    x = None if inputs is None or precision == "float16" else inputs.detach().cpu().float()
    if x is not None and shape is not None:
        x = x.reshape(-1, *shape)

    for layer in _layers(module):
        if isinstance(layer, _WEIGHTED):
            op, weight = _described(layer, shape)  # (rows, columns): one product, whatever the layer
            bias = np.zeros(op["out"], "<f4") if layer.bias is None else layer.bias.detach().cpu().float().numpy()
            check_finite(layer, weight, bias)
            op["type"] = precision if weight.size > SMALL else "float16"
            if op["type"] == "float16":
                sent = half(layer, weight)
                op["weight"] = put(sent)
            else:
                rows, scale = round_rows(weight, None if x is None else _seen(layer, x).numpy())
                sent = rows * scale
                op |= {"weight": put(rows), "scale": put(scale)}
            spec.append(op | {"bias": put(bias.astype("<f4"))})
            if x is not None:  # what the next layer will be given on the page
                x = _run(layer, x, torch.from_numpy(sent.astype("f4")), torch.from_numpy(bias))
        elif isinstance(layer, nn.GroupNorm):
            op, weight, bias = _group_norm(layer, shape)
            spec.append(op | {"weight": put(weight), "bias": put(bias)})
            if x is not None:
                x = F.group_norm(x, layer.num_groups, torch.from_numpy(weight), torch.from_numpy(bias), layer.eps)
        elif isinstance(layer, nn.GELU):
            spec.append({"op": "gelu" if layer.approximate == "none" else "gelu_tanh"})
        elif type(layer) in _ACTIVATIONS:
            spec.append({"op": _ACTIVATIONS[type(layer)]})
        elif type(layer) in _MOVERS:
            spec.append(_mover(layer, shape))
        elif not isinstance(layer, _SHAPES):
            kinds = (*_WEIGHTED, nn.GroupNorm, *_ACTIVATIONS, nn.GELU, *_MOVERS, *_SHAPES)
            known = ", ".join(kind.__name__ for kind in kinds)
            raise Error(f"a page cannot run the layer {layer}. It runs: {known}, and nn.Sequential of them.")
        if x is not None and not isinstance(layer, (*_WEIGHTED, nn.GroupNorm)):
            x = layer(x)
        shape = _shape_after(layer, shape)
    return spec, store.bytes()


def _described(layer, shape):
    """A Linear layer or a convolution as an entry of the spec, and its weights as a matrix float32 (rows, columns).

    Rows are what is computed and columns what it is computed from: (out, in) of a Linear layer, (out, in · kernel) of a
    convolution, (out · kernel, in) of a transposed one.
    """
    weight = layer.weight.detach().cpu().float()
    if isinstance(layer, nn.Linear):
        if shape is not None and shape != (layer.in_features,):
            raise Error(f"{layer} does not fit what it is given: numbers of shape {shape}")
        return {"op": "linear", "in": layer.in_features, "out": layer.out_features}, weight.numpy()
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise Error(f"a page runs convolutions with groups=1 and a number of zeros as padding, not {layer}")
    _check_channels(layer, layer.in_channels, shape, 3)
    op = {"op": _CONVOLUTIONS[type(layer)], "in": layer.in_channels, "out": layer.out_channels, "size": [*shape[1:]]}
    op |= {name: [*getattr(layer, name)] for name in ("stride", "padding", "dilation")}
    op["kernel"] = [*layer.kernel_size]
    if isinstance(layer, nn.Conv2d):
        return op, weight.flatten(1).numpy()
    op["extra"] = [*layer.output_padding]
    return op, weight.permute(1, 2, 3, 0).flatten(0, 2).contiguous().numpy()


def _group_norm(layer, shape):
    """A group norm as an entry of the spec, with its scale and its shift, float32 (channels,) each."""
    channels = layer.num_channels
    _check_channels(layer, channels, shape)
    op = {"op": "group_norm", "channels": channels, "pixels": math.prod(shape[1:]), "groups": layer.num_groups}
    given = (layer.weight, layer.bias) if layer.affine else (torch.ones(channels), torch.zeros(channels))
    weight, bias = (v.detach().cpu().float().numpy().astype("<f4") for v in given)
    check_finite(layer, weight, bias)
    return op | {"eps": layer.eps}, weight, bias


def _mover(layer, shape):
    """A layer that only moves or repeats pixels as an entry of the spec."""
    if isinstance(layer, nn.Upsample):
        factor = layer.scale_factor
        if layer.mode != "nearest" or isinstance(factor, tuple) or factor is None or factor < 1 or factor % 1:
            raise Error(f"a page repeats pixels a whole number of times (nearest, scale_factor=2), not {layer}")
    else:
        factor = getattr(layer, "downscale_factor", None) or layer.upscale_factor
    _check_channels(layer, shape[0] if shape else 0, shape, 3)
    return {"op": _MOVERS[type(layer)], "channels": shape[0], "size": [*shape[1:]], "factor": int(factor)}


def _check_channels(layer, channels, shape, axes=None):
    """Raise Error unless a picture of this shape (channels, ...) is one that the layer takes."""
    if shape is None:
        raise Error(f"pass shape=(channels, rows, columns) of one input: nothing before {layer} tells it")
    if shape[0] != channels or (axes and len(shape) != axes):
        raise Error(f"{layer} does not fit what it is given: numbers of shape {shape}")


def _run(layer, x, matrix, bias):
    """The outputs of a layer with weights for inputs x, with these weights as `_described` gives them."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, matrix, bias)
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(x, matrix.view(layer.weight.shape), bias, **options)
    weight = matrix.view(layer.out_channels, *layer.kernel_size, layer.in_channels).permute(3, 0, 1, 2)
    return F.conv_transpose2d(x, weight, bias, output_padding=layer.output_padding, **options)


def _seen(layer, x):
    """What the columns of a layer's matrix are multiplied with, (cases, columns), for inputs x."""
    if isinstance(layer, nn.Conv2d):
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        return F.unfold(x, layer.kernel_size, **options).transpose(1, 2).flatten(0, 1)
    return x if isinstance(layer, nn.Linear) else x.flatten(2).transpose(1, 2).flatten(0, 1)


def _shape_after(layer, shape):
    """The shape of what a layer gives for one input of this shape, None where nothing tells."""
    if isinstance(layer, nn.Linear):
        return (layer.out_features,)
    if isinstance(layer, nn.Unflatten) and shape is None:
        return None if -1 in layer.unflattened_size else tuple(layer.unflattened_size)
    if shape is None or isinstance(layer, (nn.GroupNorm, *_ACTIVATIONS, nn.GELU)):
        return shape
    x = torch.empty(1, *shape, device="meta")  # shapes without numbers
    try:
        if isinstance(layer, _WEIGHTED):
            x = _run(layer, x, torch.empty(layer.weight.numel(), device="meta"), None)
        else:
            x = layer(x)
    except RuntimeError as why:
        raise Error(f"{layer} does not fit what it is given, numbers of shape {shape}: {why}") from None
    return tuple(x.shape[1:])


class Store:
    """Arrays one after the other in one block of bytes; `put` returns the byte at which an array starts."""

    def __init__(self):
        self.parts, self.size = [], 0

    def put(self, array):
        """Add an array; return its offset."""
        self.parts.append(array.tobytes())
        self.size += array.nbytes
        return self.size - array.nbytes

    def bytes(self):
        """All of them."""
        return b"".join(self.parts)


def whole(name, value, low, high):
    """The value as an int; raises Error unless it is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise Error(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return int(value)


def uniforms(seed, n):
    """The n numbers in [0, 1) that a page draws from `seed`, as a list.

    mulberry32, Tommy Ettinger's generator of 32 bits, in whole-number arithmetic: the same here and in common.js.
    """
    state, drawn = seed, []
    for _ in range(n):
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        t = (state ^ state >> 15) * (1 | state) & 0xFFFFFFFF
        t = (t + ((t ^ t >> 7) * (61 | t) & 0xFFFFFFFF) & 0xFFFFFFFF) ^ t
        drawn.append((t ^ t >> 14) / 2**32)
    return drawn


def normals(seed, n):
    """The n numbers from N(0, 1) that a page draws from `seed` (0 to SEEDS), as a list.

    Box and Muller's formula makes each of two uniform numbers: the same in Python and in JavaScript but for the last
    digit of the logarithm and the cosine.
    """
    drawn = uniforms(whole("seed", seed, 0, SEEDS), 2 * n)
    pairs = zip(drawn[::2], drawn[1::2], strict=True)
    return [math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in pairs]


def check_finite(layer, *arrays):
    """Raise Error, naming the layer, unless all numbers are finite."""
    if not all(np.isfinite(a).all() for a in arrays):
        raise Error(f"{layer} holds weights that are not finite: this network cannot be shown")


def half(layer, weight):
    """The weights as little-endian float16; raises Error, naming the layer, if they are too large for it."""
    if np.abs(weight).max(initial=0) > np.finfo(np.float16).max:
        raise Error(f"{layer} holds weights beyond float16's range (65504): this network cannot be shown")
    return weight.astype("<f2")


def round_rows(weight, inputs=None):
    """Round a matrix (out, in) to int8 rows with a scale each: (int8 (out, in), float32 (out, 1)).

    With `inputs` (batch, in), columns are rounded one after the other, those with the strongest inputs first, and the
    columns still to come take up each error as well as the inputs' correlations let them: Frantar et al., "GPTQ",
    arXiv:2210.17323. Hidden layers fed by a 2-D code are so correlated that hardly any error is left.
    """
    scale = np.maximum(np.abs(weight).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype("<f4")
    if inputs is None:
        return np.rint(weight / scale).astype("i1"), scale
    second = inputs.T.astype("f8") @ inputs / len(inputs)  # (in, in), their second moments
    order = np.argsort(-second.diagonal(), kind="stable")
    second = second[order][:, order] + max(0.001 * second.trace() / len(second), 1e-12) * np.eye(len(second))
    upper = np.linalg.cholesky(np.linalg.inv(second)).T
    left, rows = weight[:, order].astype("f8"), np.empty(weight.shape, "i1")
    for j, column in enumerate(order):
        rows[:, column] = np.clip(np.rint(left[:, j] / scale[:, 0]), -127, 127)
        error = (left[:, j] - rows[:, column] * scale[:, 0]) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return rows, scale


def pack_all(modules, precision="int8", inputs=None, shapes=None):
    """Pack several networks into one Bytes trait: {name: module} → ({name: spec}, bytes).

    inputs: {name: batch}, shapes: {name: shape}, where `pack` wants them.
    """
    specs, parts, start = {}, [], 0
    for name, module in modules.items():
        spec, raw = pack(module, precision, (inputs or {}).get(name), (shapes or {}).get(name))
        places = ("weight", "scale", "bias")
        specs[name] = [{k: v + start if k in places else v for k, v in op.items()} for op in spec]
        parts.append(raw)
        start += len(raw)
    return specs, b"".join(parts)


def width(module, which):
    """Width of a network's first input (which="in") or last output ("out"), read from its Linear layers."""
    linear = [layer for layer in _layers(module) if isinstance(layer, nn.Linear)]
    if not linear:
        raise Error(f"expected a network with Linear layers, got {module}")
    return linear[0].in_features if which == "in" else linear[-1].out_features


def _layers(module):
    """The layers of a nested nn.Sequential, in order."""
    if not isinstance(module, nn.Module):
        raise Error(f"expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in _layers(child)]
    return [module]
