"""gentut: deep generative models from entropy to diffusion, computed, trained and alive on the page.

Each chapter of the book has a module of its own name here: `gentut.vae` is the VAE chapter's. Modules are imported
when they are first used, so `import gentut` is quick and needs neither torch nor the widgets.
"""

import importlib
import os

# Threads of PyTorch that wait for work should soon sleep, not spin on: beside a busy process, spinning made training on
# two cores 50 times slower. OpenMP reads this when torch is imported, so import gentut first.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

SCALES = ("test", "cpu", "gpu")
_CHAPTERS = ("probability", "information", "variational", "markov", "pixelcnn", "vae", "gan",
             "diffusion", "ddpm")
_PARTS = ("bounds", "causal", "drawing", "made", "classifier", "games", "mixtures", "networks", "points", "styles",
          "unet")  # of the chapters
_TOOLS = ("checkpoints", "checks", "data", "exercises", "figures", "leaderboard", "metrics", "pictures",
          "replays", "training", "widgets")
_MODULES = (*_TOOLS, *_PARTS, *_CHAPTERS)

__all__ = ["Error", "SCALES", "choose", "scale", *_MODULES]


class Error(ValueError):
    """Anything a user can cause: its message says what was given and what is accepted."""


def choose(kind, given, accepted):
    """Return `given` if it is one of `accepted`; else raise Error naming them all and the nearest.

    `kind` says what is being chosen, for the message: "data set", "scale", ...
    """
    accepted = list(accepted)
    if given in accepted:
        return given
    import difflib

    near = difflib.get_close_matches(str(given), [str(a) for a in accepted], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise Error(f"unknown {kind} {given!r}. There are: {', '.join(map(str, accepted))}.{hint}")


def scale():
    """Return how much to compute: "test" (seconds), "cpu" (a laptop) or "gpu" (a T4).

    Read from the environment variable GENTUT_SCALE; unset, it is "gpu" where CUDA is there, else "cpu".
    Raises Error for any other value.
    """
    given = os.environ.get("GENTUT_SCALE", "")
    if given:
        return choose("GENTUT_SCALE", given, SCALES)
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
