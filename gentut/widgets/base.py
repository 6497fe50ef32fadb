"""What every widget shares: its JavaScript as one module, and networks as bytes that `nn.js` can run."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gentut import Error, choose

FOLDER = Path(__file__).parent
PRECISIONS = ("int8", "float16")

# Up to this many weights a layer keeps float16 even at "int8": the bytes are in the layers that touch pixels, and the
# others decide where everything lands. (On `vae-2d`, int8 in these would move a code by a third of its own spread.)
SMALL = 40_000

_ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
_SHAPES = (nn.Flatten, nn.Unflatten, nn.Identity)  # nn.js works on flat arrays, so these do nothing there
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
    """The style sheets `names`, joined and lean."""
    return _lean("\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names), r"/\*[\s\S]*?\*/")


def _lean(text, comment):
    """The text without comments on lines of their own, indentation and empty lines."""
    lines = re.sub(comment, "", text, flags=re.MULTILINE).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


@torch.no_grad()
def pack(module, precision="int8", inputs=None):
    """Turn a feed-forward network into (spec, bytes) for `nn.js`.

    `module` is a layer or a (nested) nn.Sequential of Linear, ReLU, SiLU, GELU, Tanh, Sigmoid, Flatten, Unflatten,
    Identity. `spec` is a list of dicts, one an operation, with byte offsets into `bytes`. At "int8" each row of a
    weight matrix is stored as whole numbers from -127 to 127 and one float32 scale; small layers stay float16. Biases
    are float32. `inputs`, (batch, in) such as the network will see, makes the rounding several times less harmful: see
    `round_rows`. Raises Error for any other layer or precision.
    """
    choose("precision", precision, PRECISIONS)
    spec, store = [], Store()
    put = store.put
    x = None if inputs is None or precision == "float16" else inputs.detach().cpu().float()

    for layer in _layers(module):
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach().cpu().float().numpy()  # (out, in)
            bias = np.zeros(len(weight), "<f4") if layer.bias is None else layer.bias.detach().cpu().float().numpy()
            check_finite(layer, weight, bias)
            op = {"op": "linear", "in": layer.in_features, "out": layer.out_features, "type": precision}
            if precision == "float16" or weight.size <= SMALL:
                sent = half(layer, weight)
                op |= {"type": "float16", "weight": put(sent)}
            else:
                rows, scale = round_rows(weight, None if x is None else x.numpy())
                sent = rows * scale
                op |= {"weight": put(rows), "scale": put(scale)}
            spec.append(op | {"bias": put(bias.astype("<f4"))})
            if x is not None:  # what the next layer will be given on the page
                x = x @ torch.from_numpy(sent.astype("f4")).T + torch.from_numpy(bias)
        elif isinstance(layer, nn.GELU):
            spec.append({"op": "gelu" if layer.approximate == "none" else "gelu_tanh"})
        elif type(layer) in _ACTIVATIONS:
            spec.append({"op": _ACTIVATIONS[type(layer)]})
        elif not isinstance(layer, _SHAPES):
            known = [t.__name__ for t in (nn.Linear, *_ACTIVATIONS, nn.GELU, *_SHAPES)]
            raise Error(f"a page cannot run the layer {layer}. It runs: {', '.join(known)}, and nn.Sequential of them.")
        if x is not None and not isinstance(layer, (nn.Linear, *_SHAPES)):
            x = layer(x)
    return spec, store.bytes()


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


def pack_all(modules, precision="int8", inputs=None):
    """Pack several networks into one Bytes trait: {name: module} → ({name: spec}, bytes). inputs: {name: batch}."""
    specs, parts, start = {}, [], 0
    for name, module in modules.items():
        spec, raw = pack(module, precision, (inputs or {}).get(name))
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
