"""DDPM: a U-Net learns to take noise out of pictures, and so paints digits from nothing but noise.

    L = E_{x_0, t, ε} ‖ target - f(x_t, t, y) ‖²,        x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε

Ho et al., arXiv:2006.11239, equation 14 and algorithms 1 and 2. The target v is that of Salimans and Ho,
arXiv:2202.00512, fewer steps come from Song et al. (DDIM), arXiv:2010.02502, and the guidance by a label y from Ho and
Salimans, arXiv:2207.12598. Inside, pictures lie in [-1, 1], so that noise is added around their middle; `sample` gives
them in [0, 1] like every other chapter. gentut.diffusion has the arithmetic, gentut.unet the network.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import nn

from gentut import Error, checkpoints, checks, choose, data, diffusion, metrics, training
from gentut.diffusion import KINDS, VARIANCES, Schedule
from gentut.unet import NORMS, UNet

STRONGEST = 20.0  # no larger guidance is taken


@dataclass(frozen=True)
class Config(training.Config):
    """The settings of a diffusion model of pictures; the defaults are a network small enough for a page."""

    schedule: str = "cosine"  # or "linear", "sigmoid": Schedule.named
    T: int = 1000  # steps of the chain
    predict: str = "v"  # what the network gives: "eps", "x0" or "v"
    loss: str = "l2"  # of the difference to the target; or "l1", the notes'
    widths: tuple = (32, 48)  # features at each size, the finest first
    patch: int = 2  # so many by so many pixels become one place of the finest size
    blocks: int = 1  # residual blocks at each size, on the way down and again on the way up
    attention: bool = False  # at the coarsest size
    embedding: int = 64  # numbers that tell the network the time and the label
    norm: str = "group"  # or "batch", the notes' word
    classes: int = 10  # labels that it can be told; 0: none
    drop_label: float = 0.1  # how often training hides the label, so that the network learns to do without, too
    guided: float = 0.0  # how much guidance by the label training builds in, below 1; see `losses`
    measure_steps: int = 20  # how `evaluate` draws: in so many steps,
    measure_eta: float = 0.0  # with so much noise added in each (see `sample`),
    measure_guidance: float = 0.0  # and with so much guidance; training asks for none of the three

    def __post_init__(self):
        super().__post_init__()
        choose("schedule", self.schedule, ("linear", "cosine", "sigmoid"))
        choose("kind of prediction", self.predict, KINDS)
        choose("loss", self.loss, ("l2", "l1"))
        choose("norm", self.norm, NORMS)
        if self.T < 1 or self.classes < 0 or not 0 <= self.drop_label < 1 or not 0 <= self.guided < 1:
            raise Error("need T >= 1, classes >= 0, 0 <= drop_label < 1 and 0 <= guided < 1, got "
                        f"{self.T}, {self.classes}, {self.drop_label} and {self.guided}")
        if self.guided and not (self.classes and self.drop_label):
            raise Error("guidance is learnt from pictures with and without a label: guided needs classes >= 1 and "
                        f"drop_label > 0, got {self.classes} and {self.drop_label}")
        if self.measure_steps < 1 or not 0 <= self.measure_eta <= 1 or not -1 <= self.measure_guidance <= STRONGEST:
            raise Error(f"need measure_steps >= 1, measure_eta in 0 to 1 and measure_guidance in -1 to {STRONGEST:g}, "
                        f"got {self.measure_steps}, {self.measure_eta} and {self.measure_guidance}")

    @classmethod
    def preset(cls, scale):
        """The page's network with as much training as a scale of the book allows."""
        choose("scale", scale, SCALES)
        return cls(**SCALES[scale])


SCALES = {
    "test": {"data": "mnist-mini", "steps": 20, "batch_size": 32, "log_every": 5, "ema": 0.9},
    "cpu": {"data": "mnist-mini", "steps": 700, "batch_size": 64, "learning_rate": 3e-3, "warmup": 50,
            "decay": "cosine", "ema": 0.99, "precision": "bf16", "log_every": 20},
    "gpu": {"data": "mnist", "epochs": 20, "learning_rate": 3e-3, "warmup": 200, "decay": "cosine", "ema": 0.999},
}
# The notes' choices: with T = 300 the usual linear schedule leaves √ᾱ_T = 0.22.
NOTES = {"schedule": "linear", "T": 300, "predict": "eps", "loss": "l1", "norm": "batch"}

# The settings behind every published network: `gentut reproduce NAME` runs them again.
_LONG = Config(batch_size=64, learning_rate=4e-3, warmup=300, decay="cosine", ema=0.9995, precision="bf16")
PUBLISHED = {
    "ddpm-fashion": _LONG.replace(data="fashion-mnist", epochs=6),
    "ddpm-mnist": _LONG.replace(epochs=18, widths=(64, 128), attention=True, learning_rate=3e-3, warmup=500,
                                measure_steps=50, measure_eta=1.0),
    "ddpm-page": _LONG.replace(epochs=30, guided=0.3),
}


class DDPM(nn.Module):
    """The network with its schedule. model(x_t, t, labels) gives what `predict` says, from noisy pictures."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        with warnings.catch_warnings():  # a schedule that does not reach noise is for the chapter to warn of
            warnings.simplefilter("ignore")
            self.schedule = Schedule.named(c.schedule, c.T)
        self.network = UNet(c.widths, patch=c.patch, blocks=c.blocks, attention=c.attention, embedding=c.embedding,
                            classes=c.classes, norm=c.norm)
        self.register_buffer("alpha_bar", self.schedule.alpha_bar.float(), persistent=False)  # (T + 1,), index t
        if c.classes:  # how often each label comes: p(y), of which `sample` draws
            self.register_buffer("shares", torch.full((c.classes,), 1 / c.classes))

    def forward(self, x_t, t, labels=None):
        """x_t (batch, 1, 28, 28) around [-1, 1], t int64 (batch,) in 1..T, labels (batch,) → (batch, 1, 28, 28).

        A network with classes takes `classes`, or None for all, as "no label".
        """
        if labels is None and self.config.classes:
            labels = torch.full((len(x_t),), self.config.classes, device=x_t.device)
        return self.network(x_t, t * (1000 / self.config.T), labels)

    def noised(self, x0, t, eps):
        """x_t of pictures x0 (batch, 1, 28, 28) in [-1, 1]; t and eps as for Schedule.q_sample.

        Raises Error for pictures that lie elsewhere: a network asked about those answers, but wrongly.
        """
        data.check_pictures(data.from_signed(x0))
        if not (x0.min() >= -1 and x0.max() <= 1):
            raise Error(f"pictures must lie in [-1, 1], got values from {x0.min().item():.4g} to "
                        f"{x0.max().item():.4g}; data.to_signed takes those in [0, 1] there")
        return self.schedule.q_sample(x0, t, eps)

    def predict_x0(self, x_t, t, labels=None, guidance=0.0):
        """The network's guess of x_0, (batch, 1, 28, 28), from x_t at one time t for all.

        guidance: w of (1 + w) f(x, t, y) - w f(x, t, no label). 0 is the plain conditional network; -1 the network that
        is told no label; above 0, the label's part is exaggerated.
        """
        self.schedule.check(t, 1)
        a, times = self.alpha_bar[t], torch.full((len(x_t),), t, device=x_t.device)
        if labels is None or guidance == 0:
            return diffusion.to_x0(self.config.predict, self(x_t, times, labels), x_t, a)
        without = self(x_t, times, torch.full_like(labels, self.config.classes))
        guided = without if guidance == -1 else (1 + guidance) * self(x_t, times, labels) - guidance * without
        return diffusion.to_x0(self.config.predict, guided, x_t, a)


def build(config):
    """The untrained network of a configuration; the same seed gives the same weights."""
    return training.seeded(DDPM, config)


# ----------------------------------------------------------------------------------------------------------- training


def losses(model, x, labels, noise):
    """The squared (or absolute) error of the prediction, a mean over pixels, (batch,). `noise` is a training.Noise.

    Times are drawn one from each of batch equal parts of 1..T: every batch sees early and late times alike, and the
    loss jumps less from batch to batch.

    guided = γ > 0 builds guidance in: the target is moved by γ times the difference that the label makes to the network
    itself. What it then learns is the answer that guidance w = γ / (1 - γ) would give, at one call instead of two:
    model-guidance, Tang et al., arXiv:2502.12154.
    """
    c, x0 = model.config, data.to_signed(x)
    t = (noise.stratified() * c.T).long() + 1  # (batch,) in 1..T
    eps = noise.normal(*x0.shape[1:])
    a = model.alpha_bar[t].view(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    if c.classes:
        labels = torch.where(noise.uniform() < c.drop_label, c.classes, labels)
    prediction, wanted = model(x_t, t, labels).float(), diffusion.target(c.predict, x0, eps, a)
    if c.guided:
        with torch.no_grad():
            without = model(x_t, t, torch.full_like(labels, c.classes)).float()
        wanted = wanted + c.guided * (prediction.detach() - without)
    difference = prediction - wanted
    each = difference.square() if c.loss == "l2" else difference.abs()
    return {"loss": each.flatten(1).mean(1)}


def train(config, *, images=None, labels=None, out=None, resume=False, device=None, watch=None):
    """Train on the data set of the configuration, or on `images` uint8 (n, 28, 28) and `labels`; see training.fit."""
    if images is None:
        dataset = data.load(config.data)
        images, labels = dataset.train_images, dataset.train_labels
    data.check_images(images)
    if tuple(images.shape[1:]) != (28, 28):
        raise Error(f"expected pictures of shape (n, 28, 28), got {tuple(images.shape)}")
    model = build(config)
    if config.classes:
        labels = check_labels(model, labels, len(images))
        model.shares.copy_(labels.bincount(minlength=config.classes) / len(labels))
    run = training.fit(model, config, losses, images, labels if config.classes else None, out=out, resume=resume,
                       device=device, watch=watch)
    checkpoints.describe(run, "ddpm")
    return run


def check_labels(model, labels, n):
    """Labels as int64 (n,); a single number stands for all. Raises Error unless they fit the model and n pictures."""
    classes = model.config.classes
    if not classes:
        if labels is not None:
            raise Error("this network has no classes: call it without labels")
        return None
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise Error(f"labels must be whole numbers from 0 to {classes - 1}, one a picture, got {labels!r}") from None
    if labels.dtype not in (torch.int64, torch.int32, torch.uint8) or tuple(labels.shape) not in ((), (n,)):
        raise Error(f"labels must be whole numbers of shape ({n},), got {labels.dtype} {tuple(labels.shape)}")
    if n and not (labels.min() >= 0 and labels.max() < classes):
        raise Error(f"labels must lie in 0 to {classes - 1}, got {labels.min().item()} to {labels.max().item()}")
    return labels.long().expand(n)


def reproduce(name, out, *, resume=False, device=None):
    """Train the published network `name` again and measure it; weights and card go into the folder `out`.

    Returns the card (None in processes other than the first).
    """
    config = PUBLISHED[choose("published network", name, PUBLISHED)]
    run = train(config, out=out, resume=resume, device=device)
    return checkpoints.finish(run, "ddpm", name, lambda model: measure(model, config.data))


def measure(model, name):
    """What the card of a network of the data set `name` says; all but "test" is measured again by the card's test.

    That is done where only mnist-mini is at hand. "mini" is the loss on its first 1,000 test pictures (a network of
    clothes is asked for digits, too). "drawn" is a few pictures: to draw 1,000 would take the test a minute.
    """
    found = {"test": evaluate(model, name), "mini": test_loss(model, "mnist-mini", n=1000)}
    return found if name == "fashion-mnist" else found | {"drawn": evaluate(model, name, n=200, steps=10)}


def evaluate(model, name="mnist", *, n=None, seed=0, steps=None, eta=None, guidance=None, variance="posterior"):
    """How good the network is: a dict with n and how it was measured.

    Of digits: metrics.likeness of n pictures (default 10,000) drawn from `seed` as `sample` does, by default with
    the steps, eta and guidance that the configuration says. Of fashion-mnist or a folder of pictures, which no
    published classifier knows: the training loss of n test pictures (default all), each at one time of its own.
    """
    if data.check_name(name) == "fashion-mnist" or not data.has_labels(name):
        return test_loss(model, name, n=n, seed=seed)
    n = 10_000 if n is None else n
    steps = min(model.config.measure_steps, model.config.T) if steps is None else steps
    eta = model.config.measure_eta if eta is None else eta
    guidance = model.config.measure_guidance if guidance is None else guidance
    how = {"steps": steps, "eta": eta, "variance": variance, "guidance": guidance}
    pictures = sample(model, n, generator=torch.Generator().manual_seed(seed), **how)
    evaluations = steps * (1 if guidance in (0, -1) else 2)
    return metrics.likeness(pictures, seed=seed) | {"seed": seed, **how, "evaluations": evaluations}


@torch.no_grad()
def test_loss(model, name, *, n=None, seed=0):
    """The training loss on the first n test pictures (default all) of the data set `name`, with its standard error."""
    dataset = data.load(name)
    images, labels = dataset.test_images, dataset.test_labels
    if not data.has_labels(name):
        labels = torch.full_like(labels, model.config.classes)  # which means "no label"
    n = len(images) if n is None else n
    if not 2 <= n <= len(images):
        raise Error(f"n must lie between 2 and the {len(images)} test pictures of {name}, got {n}")
    device, each = next(model.parameters()).device, []
    for i in range(0, n, 1000):
        x = data.to_unit(images[i : min(i + 1000, n)])
        noise = training.Noise(training.seed_of(seed, "test", i), len(x), device=device)
        each.append(losses(model, x.to(device), labels[i : i + len(x)].to(device), noise)["loss"].cpu())
    mean, error = metrics.mean_and_error(torch.cat(each))
    return {"loss": mean, "standard_error": error, "n": n, "seed": seed,
            "pictures": f"the first {n} test pictures of {name}, each at one time of its own"}


# ----------------------------------------------------------------------------------------------------------- sampling


@torch.no_grad()
def sample(model, n, *, generator=None, steps=50, eta=0.0, variance="posterior", guidance=0.0, labels=None, clip=True):
    """n pictures float32 (n, 1, 28, 28) in [0, 1], painted in `steps` steps from noise.

    eta = 0: DDIM, no noise is added on the way, so the picture is a function of x_T and the label. eta = 1: DDPM's
    ancestral sampling, with noise of variance "posterior" or "beta"; see Schedule.step_back. guidance: see
    DDPM.predict_x0. labels: int64 (n,) or one for all; by default drawn as often as each came in training. clip: keep
    the guess of x_0 in [-1, 1] at every step. The same generator state gives the same pictures.
    """
    checks.whole(n, "n", 1)
    if labels is None and model.config.classes:
        labels = torch.multinomial(model.shares.cpu(), n, replacement=True, generator=generator)
    x = torch.randn(n, 1, 28, 28, generator=generator)
    *_, (_, x0, _) = denoise(model, x, labels, steps=steps, eta=eta, variance=variance, guidance=guidance, clip=clip,
                             generator=generator)
    return data.from_signed(x0)


@torch.no_grad()
def denoise(model, x, labels=None, *, steps=50, eta=0.0, variance="posterior", guidance=0.0, clip=True, generator=None,
            batch=500):
    """Yield (t, x_t, guess of x_0) for each time that is visited, T first, and (0, x_0, x_0) at the end.

    x: x_T, (n, 1, 28, 28), from N(0, I). The rest as for `sample`, but labels=None here means without a label.
    """
    schedule, c, device = model.schedule, model.config, next(model.parameters()).device
    times = schedule.timesteps(steps)
    choose("variance", variance, VARIANCES)
    if not torch.is_tensor(x) or x.ndim != 4 or tuple(x.shape[1:]) != (1, 28, 28) or not x.is_floating_point():
        what = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise Error(f"x_T must be a float tensor of shape (n, 1, 28, 28), got {what}")
    if guidance and not c.classes:
        raise Error("guidance needs a network with classes: this one was trained without labels")
    if not -1 <= guidance <= STRONGEST:
        raise Error(f"guidance must lie in -1 (no label) to {STRONGEST:g}, got {guidance}")
    if c.classes and labels is None and guidance not in (0, -1):
        raise Error(f"guidance exaggerates what a label does: give labels with guidance={guidance}")
    labels = labels if c.classes and labels is None else check_labels(model, labels, len(x))
    x = x.to(device).contiguous(memory_format=torch.channels_last)
    labels = labels if labels is None else labels.to(device)
    for t, s in zip(times, [*times[1:], 0], strict=True):
        x0 = torch.cat([  # in parts: the features of 10,000 pictures at once would take gigabytes
            model.predict_x0(part, t, None if labels is None else labels[i * batch : (i + 1) * batch], guidance)
            for i, part in enumerate(x.split(batch))
        ])
        x0 = x0.clamp(-1, 1) if clip else x0
        yield t, x, x0
        noise = torch.randn(x.shape, generator=generator).to(x) if eta and s else None
        x = schedule.step_back(x, x0, t, s, eta=eta, variance=variance, noise=noise)
    yield 0, x, x
