"""What every widget shares: its JavaScript as one module, and networks as bytes that `nn.js` can run."""

import re
from pathlib import Path

import numpy as np
from torch import nn

from gentut import Error, choose

FOLDER = Path(__file__).parent
PRECISIONS = ("int8", "float16")

# Up to this many weights a layer keeps float16 even at "int8": a 2-wide input layer or a head of a few units costs
# next to nothing, and it decides where everything else lands.
SMALL = 4096

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


def pack(module, precision="int8"):
    """Turn a feed-forward network into (spec, bytes) for `nn.js`.

    `module` is a layer or a (nested) nn.Sequential of Linear, ReLU, SiLU, GELU, Tanh, Sigmoid, Flatten, Unflatten,
    Identity. `spec` is a list of dicts, one an operation, with byte offsets into `bytes`. At "int8" each row of a
    weight matrix is stored as whole numbers from -127 to 127 and one float32 scale; small layers stay float16. Biases
    are float32. Raises Error for any other layer or precision.
    """
    choose("precision", precision, PRECISIONS)
    spec, parts, size = [], [], 0

    def put(array):
        nonlocal size
        parts.append(array.tobytes())
        size += array.nbytes
        return size - array.nbytes

    for layer in _layers(module):
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach().cpu().float().numpy()  # (out, in)
            bias = np.zeros(len(weight), "<f4") if layer.bias is None else layer.bias.detach().cpu().float().numpy()
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise Error(f"{layer} holds weights that are not finite: this network cannot be shown")
            op = {"op": "linear", "in": layer.in_features, "out": layer.out_features, "type": precision}
            if precision == "float16" or weight.size <= SMALL:
                if np.abs(weight).max() > np.finfo(np.float16).max:
                    raise Error(f"{layer} holds weights beyond float16's range (65504): this network cannot be shown")
                op |= {"type": "float16", "weight": put(weight.astype("<f2"))}
            else:
                scale = np.maximum(np.abs(weight).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny)
                op |= {"weight": put(np.rint(weight / scale).astype("i1")), "scale": put(scale.astype("<f4"))}
            spec.append(op | {"bias": put(bias.astype("<f4"))})
        elif isinstance(layer, nn.GELU):
            spec.append({"op": "gelu" if layer.approximate == "none" else "gelu_tanh"})
        elif type(layer) in _ACTIVATIONS:
            spec.append({"op": _ACTIVATIONS[type(layer)]})
        elif not isinstance(layer, _SHAPES):
            known = [t.__name__ for t in (nn.Linear, *_ACTIVATIONS, nn.GELU, *_SHAPES)]
            raise Error(f"a page cannot run the layer {layer}. It runs: {', '.join(known)}, and nn.Sequential of them.")
    return spec, b"".join(parts)


def pack_all(modules, precision="int8"):
    """Pack several networks into one Bytes trait: {name: module} → ({name: spec}, bytes)."""
    specs, parts, start = {}, [], 0
    for name, module in modules.items():
        spec, raw = pack(module, precision)
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
