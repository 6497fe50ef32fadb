"""The PixelCNN that a widget sent to its page, turned back into torch: by numpy, not by the page's JavaScript."""

import numpy as np
import torch

from gentut import pixelcnn


@torch.no_grad()
def network(spec, raw):
    """spec and bytes as gentut.widgets.pixelcnn.pack makes them → a PixelCNN in eval mode."""
    names = ("classes", "width", "head", "size")
    config = pixelcnn.Config(dilations=tuple(spec["dilations"]), **{name: spec[name] for name in names})
    model = pixelcnn.build(config).eval()

    def read(op, layer):
        out, taps = op["out"], op.get("taps", [[0, 0]])
        weight = np.frombuffer(raw, "<f2", out * len(taps) * op["in"], op["weight"]).astype("f4")
        weight = torch.from_numpy(weight).view(out, len(taps), op["in"])
        offsets = getattr(layer, "offsets", torch.zeros(1, 1, 2, dtype=torch.long))
        layer.weight.zero_()
        for k, tap in enumerate(taps):
            row, column = (offsets == torch.tensor(tap)).all(-1).nonzero()[0].tolist()
            layer.weight[:, :, row, column] = weight[:, k]
        bias = torch.from_numpy(np.frombuffer(raw, "<f4", out, op["bias"]).copy())
        if layer.bias is None:
            assert (bias == 0).all()
        else:
            layer.bias.copy_(bias)

    for name in ("above", "left", "hidden", "out"):
        read(spec[name], getattr(model, name))
    for ops, block in zip(spec["blocks"], model.blocks, strict=True):
        for name in ("down", "across", "link", "leave"):
            read(ops[name], getattr(block, name))
        if ops["label"]:
            shape = block.label.weight.shape
            table = np.frombuffer(raw, "<f2", shape.numel(), ops["label"]["weight"]).astype("f4")
            block.label.weight.copy_(torch.from_numpy(table).view(shape))
    return model
