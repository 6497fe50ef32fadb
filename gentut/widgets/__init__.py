"""Widgets that are alive in JupyterLab, in Colab and, with no kernel, on the published page.

Each lives in the module named after its chapter; `pack` turns a network into what `nn.js` runs.
"""

import importlib

_HOMES = {
    "DartBoard": "probability",
    "Urn": "probability",
    "InformationBars": "information",
    "KLNormals": "information",
    "ElboExplorer": "variational",
    "MarkovChain": "markov",
    "PixelSampler": "pixelcnn",
    "LatentGrid": "vae",
    "MoonMorph": "vae",
    "LatentWalk": "gan",
    "GanReplay": "games",
    "NoisingSteps": "diffusion",
    "DiffusionField": "points",
    "ReverseDiffusion": "ddpm",
    "TrainingReplay": "replay",
    "pack": "base",
}

__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
