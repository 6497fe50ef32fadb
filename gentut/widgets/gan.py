"""The GAN chapter's widget LatentWalk: a generator that draws in the page, along a path between two z."""

import numbers

import anywidget
import torch
import traitlets
from scipy.stats import chi
from torch import nn

from gentut import Error, choose

from . import base
from .base import SEEDS, normals, whole

PATHS = ("spherical", "straight")
MOST = 10.0  # no number of a z may be larger: a standard normal one practically never is
LATENTS = (2, 40)  # a slider for each must fit under the picture
MOST_BYTES = 700_000


def between(z_a, z_b, t, path="spherical"):
    """Points on the path from z_a (t = 0) to z_b (t = 1).

    z_a, z_b: (latent,). t: a number, or (n,). Returns float64 (latent,), or (n, latent).
    "straight": (1 - t) z_a + t z_b. Between two independent z its middle is too short by a factor of about √2.
    "spherical": the direction turns at an even pace along the great circle, as in Shoemake's slerp (White,
    arXiv:1609.04468), and the length goes evenly from |z_a| to |z_b|. Where no great circle is given, because an end
    is 0 or the two point the same or opposite ways, it is the straight path.
    """
    choose("path", path, PATHS)
    a, b, t = (torch.as_tensor(v, dtype=torch.float64).detach().cpu() for v in (z_a, z_b, t))
    if a.ndim != 1 or a.shape != b.shape or t.ndim > 1:
        raise Error("z_a and z_b must have one shape (latent,), and t none or (n,): got "
                    f"{tuple(a.shape)}, {tuple(b.shape)} and {tuple(t.shape)}")
    t = t[..., None]
    straight = (1 - t) * a + t * b
    long_a, long_b = a.norm(), b.norm()
    if path == "straight" or not long_a * long_b > 0:
        return straight
    angle = torch.acos((a @ b / (long_a * long_b)).clamp(-1, 1))
    if angle.sin() < 1e-6:
        return straight
    direction = (torch.sin((1 - t) * angle) * a / long_a + torch.sin(t * angle) * b / long_b) / angle.sin()
    return ((1 - t) * long_a + t * long_b) * direction


class LatentWalk(anywidget.AnyWidget):
    """A generator that runs in the page: pictures along a path between two z, and a slider for each number of z.

    Made by `LatentWalk.from_model`. In a notebook may be read and set:
        z             the z of the big picture, a list of `latent` numbers; setting it leaves the path
        z_a, z_b      the path's ends
        seed_a, seed_b  whole numbers from which `normals` draws the ends; -1 after an end was set by hand
        position      0 at z_a, 1 at z_b
        path          "spherical" or "straight": see `between`
    Setting one of the last four, or an end, puts z on the path: z = between(z_a, z_b, position, path).
    """

    _esm = base.esm("gan-latent-walk.js")
    _css = base.css("common.css", "plot.css", "gan.css")

    network = traitlets.List(traitlets.Dict()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    usual = traitlets.List(traitlets.Float()).tag(sync=True)  # |z| of N(0, I): 2.5 %, 50 % and 97.5 % are shorter
    z = traitlets.List(traitlets.Float()).tag(sync=True)
    z_a = traitlets.List(traitlets.Float()).tag(sync=True)
    z_b = traitlets.List(traitlets.Float()).tag(sync=True)
    seed_a = traitlets.Int(-1).tag(sync=True)
    seed_b = traitlets.Int(-1).tag(sync=True)
    position = traitlets.Float(0.5).tag(sync=True)
    path = traitlets.Unicode("spherical").tag(sync=True)

    @classmethod
    def from_model(cls, model, *, seed_a=1, seed_b=2, position=0.5, path="spherical", precision="int8"):
        """Make the widget from a GAN.

        model: has `.latent` (2 to 40) and `.generator`, z (batch, latent) → pictures (batch, 1, 28, 28) in [-1, 1], an
        nn.Sequential of layers that `pack` knows; checkpoints.load("dcgan") and gan.build(...) have.
        seed_a, seed_b: the ends are normals(seed, latent). position and path as above. precision: how weights travel,
        "int8" rows or "float16".
        Raises Error for another model, for one too large for a page, and for arguments out of range.
        """
        generator, latent = getattr(model, "generator", None), getattr(model, "latent", None)
        if not isinstance(generator, nn.Module) or isinstance(latent, bool) or not isinstance(latent, int):
            raise Error(f"LatentWalk needs a GAN with a `generator` and a `latent`, got {type(model).__name__}")
        if not LATENTS[0] <= latent <= LATENTS[1]:
            raise Error(f"LatentWalk has a slider for each latent: {LATENTS[0]} to {LATENTS[1]}, not {latent}")
        state = {
            "seed_a": whole("seed_a", seed_a, 0, SEEDS),
            "seed_b": whole("seed_b", seed_b, 0, SEEDS),
            "position": _position(position),
            "path": choose("path", path, PATHS),
        }
        device = next(generator.parameters()).device
        with torch.no_grad():
            shape = tuple(generator(torch.zeros(2, latent, device=device)).shape[1:])
        if shape != (1, 28, 28):
            raise Error(f"LatentWalk shows pictures (1, 28, 28); this generator's have the shape {shape}")
        network, weights = base.pack(generator, precision)
        if len(weights) > MOST_BYTES:
            raise Error(f"this generator has {len(weights):,} bytes; a page carries at most {MOST_BYTES:,}"
                        + (', and precision="int8" takes about half' if precision == "float16" else ""))
        z_a, z_b = normals(seed_a, latent), normals(seed_b, latent)
        return cls(
            network=network,
            weights=weights,
            usual=chi.ppf([0.025, 0.5, 0.975], latent).tolist(),
            z_a=z_a,
            z_b=z_b,
            z=between(z_a, z_b, position, path).tolist(),
            **state,
        )

    @traitlets.validate("z", "z_a", "z_b")
    def _valid_z(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if len(value) != self._latent:
            raise Error(f"{name} must have {self._latent} numbers, got {len(value)}")
        for v in value:
            if not abs(v) <= MOST:  # also refuses nan
                raise Error(f"{name} must hold numbers from -{MOST:g} to {MOST:g}, got {v!r}")
        return value

    @traitlets.validate("seed_a", "seed_b")
    def _valid_seed(self, proposal):
        return whole(proposal["trait"].name, proposal["value"], -1, SEEDS)

    @traitlets.validate("position")
    def _valid_position(self, proposal):
        return _position(proposal["value"])

    @traitlets.validate("path")
    def _valid_path(self, proposal):
        return choose("path", proposal["value"], PATHS)

    @property
    def _latent(self):
        return self.network[0]["in"] if self.network else 0

    @traitlets.observe("seed_a", "seed_b", "z_a", "z_b", "position", "path")
    def _agree(self, change):
        """Ends follow their seeds, and z follows the path. The page sends what agrees already: nothing is sent back."""
        if not self._latent:
            return
        which = change.name[-1]
        if change.name.startswith("seed_"):
            if change.new >= 0 and not _near(getattr(self, f"z_{which}"), normals(change.new, self._latent)):
                setattr(self, f"z_{which}", normals(change.new, self._latent))
            return
        if change.name.startswith("z_"):
            seed = getattr(self, f"seed_{which}")
            if seed >= 0 and not _near(change.new, normals(seed, self._latent)):
                setattr(self, f"seed_{which}", -1)
        here = between(self.z_a, self.z_b, self.position, self.path).tolist()
        if not _near(self.z, here):
            self.z = here


def _near(a, b):
    return len(a) == len(b) and all(abs(v - w) < 1e-9 for v, w in zip(a, b, strict=True))


def _position(value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise Error(f"position must lie between 0 and 1, got {value!r}")
    return float(value)
