"""The diffusion chapter's first widget: a digit under a slider t, until nothing but noise is left."""

import warnings

import anywidget
import torch
import traitlets

from gentut import Error, choose, data, diffusion

from . import base

SCHEDULES = ("linear", "cosine", "sigmoid")
MOST_IMAGES = 20
MOST_STEPS = 1000
PIXELS = 28 * 28


class NoisingSteps(anywidget.AnyWidget):
    """x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε for a digit x_0 that the reader picks or draws, any t from 0 to T, one ε for all t.

    Made by `NoisingSteps.from_images`. In a notebook these may be read and set: `t`; `T`, the number of steps, 1 to
    1000 (t never exceeds it); `schedule`, "linear", "cosine" or "sigmoid"; `seed`, that of ε; `pick`, the index of the
    digit; `drawing`, 784 whole numbers from 0 to 255 that take its place, or []. `x0`, `eps` and `x_t` are what the
    page shows, as tensors.

    Raises Error for values out of these ranges.
    """

    _esm = base.esm("diffusion-noising-steps.js")
    _css = base.css("common.css", "plot.css", "diffusion.css")

    images = traitlets.Bytes().tag(sync=True)  # uint8 (k, 28, 28)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # one for each image, or none
    pick = traitlets.Int(0).tag(sync=True)
    drawing = traitlets.List(traitlets.Int()).tag(sync=True)
    schedule = traitlets.Unicode("linear").tag(sync=True)
    T = traitlets.Int(MOST_STEPS).tag(sync=True)
    t = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    @classmethod
    def from_images(cls, images, labels=None, T=1000, schedule="linear", t=None, seed=0):
        """Make the widget from pictures to choose from.

        images: uint8 (k, 28, 28), k from 1 to 20. labels: k names or numbers, for those who cannot see the pictures.
        T, schedule, t, seed: what it opens with; t is T // 4 by default. Raises Error for anything else.
        """
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or images.ndim != 3 or tuple(images.shape[1:]) != (28, 28):
            raise Error(f"images must be uint8 of shape (k, 28, 28), got {images.dtype} {tuple(images.shape)}")
        if not 1 <= len(images) <= MOST_IMAGES:
            raise Error(f"images must be 1 to {MOST_IMAGES} pictures, got {len(images)}")
        labels = labels.tolist() if hasattr(labels, "tolist") else [] if labels is None else labels
        if not isinstance(labels, (list, tuple)):
            raise Error(f"labels must be names or numbers, one for each picture, got {type(labels).__name__}")
        if labels and len(labels) != len(images):
            raise Error(f"labels must be {len(images)}, one for each picture, got {len(labels)}")
        T = _steps(T)
        t = T // 4 if t is None else base.whole("t", t, 0, T)
        return cls(
            images=images.contiguous().cpu().numpy().tobytes(),
            labels=[str(label) for label in labels],
            T=T,
            t=t,
            schedule=schedule,
            seed=base.whole("seed", seed, 0, base.SEEDS),
        )

    @property
    def x0(self):
        """The picture before any noise, float32 (1, 1, 28, 28) in [-1, 1]."""
        pixels = bytes(self.drawing) or self.images[PIXELS * self.pick : PIXELS * (self.pick + 1)]
        return data.to_signed(data.to_unit(torch.tensor(list(pixels), dtype=torch.uint8).view(1, 28, 28)))

    @property
    def eps(self):
        """The noise of this seed, float32 (1, 1, 28, 28)."""
        return self.noise(self.seed)

    @property
    def x_t(self):
        """The noisy picture on the page, float32 (1, 1, 28, 28)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the page says whether the schedule reaches noise
            schedule = diffusion.Schedule.named(self.schedule, self.T)
        x0, eps = self.x0.double(), self.eps.double()  # a page computes in float64
        return (schedule.q_sample(x0, self.t, eps) if self.t else x0).float()

    @staticmethod
    def noise(seed):
        """The ε that a page draws from a seed: float32 (1, 1, 28, 28). Raises Error for what is no seed."""
        return torch.tensor(base.normals(seed, PIXELS)).view(1, 1, 28, 28)

    @traitlets.validate("schedule")
    def _valid_schedule(self, proposal):
        return choose("schedule", proposal["value"], SCHEDULES)

    @traitlets.validate("T")
    def _valid_steps(self, proposal):
        return _steps(proposal["value"])

    @traitlets.validate("t")
    def _valid_t(self, proposal):
        return base.whole("t", proposal["value"], 0, self.T)

    @traitlets.validate("seed")
    def _valid_seed(self, proposal):
        return base.whole("seed", proposal["value"], 0, base.SEEDS)

    @traitlets.validate("pick")
    def _valid_pick(self, proposal):
        count = len(self.images) // PIXELS
        if not 0 <= proposal["value"] < max(1, count):
            raise Error(f"pick must be one of the {count} pictures, 0 to {count - 1}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("drawing")
    def _valid_drawing(self, proposal):
        drawing = proposal["value"]
        if drawing and (len(drawing) != PIXELS or not all(0 <= v <= 255 for v in drawing)):
            raise Error(f"drawing must be {PIXELS} whole numbers from 0 to 255, or [], got {len(drawing)} numbers")
        return drawing

    @traitlets.observe("T")
    def _fewer_steps(self, change):
        self.t = min(self.t, self.T)


def _steps(T):
    return base.whole("T", T, 1, MOST_STEPS)

