"""Training replays: what a network drew, step by step, while it learned.

A replay is one training run, looked at at some thirty steps, close together at first and then ever farther apart. At
each of them the network as it would be kept then draws from the same latent codes (or the same noise), and is measured
on the same pictures. `gentut.widgets.TrainingReplay` shows replays beside their loss curves.

    replays.load("vae-collapsed")                       one of those that come with the package: see RECIPES
    replays.record("vae", vae.Config.preset("cpu"))     a run of one's own
"""

import importlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gentut import Error, checkpoints, checks, choose, data, ddpm, games, gan, metrics, runs, vae

FOLDER = Path(__file__).parent / "published" / "replays"
SHOWN = 20  # pictures in a strip
GREYS = 16  # levels of grey that are stored: two pixels go into a byte
POINTS = 120  # of a curve; each is the mean of what was logged since the one before

# The runs that come with the package; `python benchmarks/replays.py` makes them again. Of two that belong together the
# second differs from the first by one setting.
_VAE = vae.Config(latent=20, encoder=(256,), decoder=(256,), activation="silu", epochs=14, ema=0.99, decay="cosine",
                  precision="bf16", log_every=1)
_GAN = gan.Config(generator=(32, 16, 8), discriminator=(16, 32, 64), spectral_norm=False, batch_size=64, steps=1200,
                  learning_rate=1e-3, log_every=1)
_DDPM = ddpm.Config(batch_size=64, steps=3000, learning_rate=4e-3, warmup=300, decay="cosine", ema=0.995,
                    precision="bf16", log_every=1)
RECIPES = {
    "vae-healthy": ("vae", _VAE),
    "vae-collapsed": ("vae", _VAE.replace(beta=40.0)),
    "gan-healthy": ("gan", _GAN),
    "gan-collapsed": ("gan", _GAN.replace(**games.COLLAPSED)),  # as in the small games: D lags behind
    "ddpm": ("ddpm", _DDPM),
}


@dataclass(frozen=True)
class Replay:
    """A recorded training run. `about` says where it comes from: family, config, data, seed, seconds, device, n, ..."""

    family: str  # "vae", "gan" or "ddpm"
    steps: torch.Tensor  # int64 (frames,): updates made when the network was looked at
    pictures: torch.Tensor  # uint8 (frames, n, 28, 28), of GREYS levels
    measured: dict  # name → float32 (frames,), as the family's function here says
    bars: torch.Tensor  # float32 (frames, k): KL of each unit, share of each digit, ...
    curve_steps: torch.Tensor  # float32 (points,)
    curves: dict  # name → float32 (points,): what the training logged
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        frames, points = len(self.steps), len(self.curve_steps)
        numbers = {"bars": self.bars, **self.measured}
        choose("family", self.family, WATCHED)
        shape = tuple(self.pictures.shape)
        if self.pictures.dtype != torch.uint8 or len(shape) != 4 or shape[2:] != (28, 28) or 0 in shape:
            raise Error(f"pictures must be uint8 (frames, n, 28, 28), got {self.pictures.dtype} {shape}")
        if any(len(v) != frames for v in (self.pictures, *numbers.values())):
            raise Error(f"pictures and measured numbers must have one entry for each of the {frames} steps")
        if any(len(v) != points for v in self.curves.values()):
            raise Error(f"each curve must have one entry for each of its {points} steps")
        if not all(v.isfinite().all() for v in (*numbers.values(), self.curve_steps, *self.curves.values())):
            raise Error("a replay's numbers must be finite")
        if self.steps.min() < 0 or not (self.steps.diff() > 0).all() or not (self.curve_steps.diff() > 0).all():
            raise Error("a replay's steps must rise")


# ----------------------------------------------------------------------------------------- what is looked at, by family


class _Vae:
    """Decodes SHOWN codes; the two parts of the ELBO on the first n test pictures; bars: KL of each latent."""

    names = ("reconstruction", "kl", "active_units")
    curves = ("reconstruction", "kl")

    def __init__(self, config, images, labels, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.z = torch.randn(SHOWN, config.latent, generator=g)
        self.x = data.to_unit(images[:n])
        self.eps = torch.randn(len(self.x), config.latent, generator=g)
        self.how = {"n": len(self.x), "pictures": f"the first {len(self.x)} test pictures of {config.data}"}

    def look(self, model):
        """(pictures, measured, bars) of the network now."""
        device = next(model.parameters()).device
        x, eps = self.x.to(device), self.eps.to(device)
        mu, log_var = model.encode(x)
        reconstruction = vae.reconstruction_nats(model.decode(vae.reparameterise(mu, log_var, eps)), x).mean()
        kl = vae.kl_to_standard_normal(mu, log_var).mean(0)
        active = vae.active_units(model, x).sum()
        return model.decode(self.z.to(device)).sigmoid(), (reconstruction, kl.sum(), active), kl


class _Gan:
    """Draws n pictures from fixed z and judges them as metrics.likeness does; bars: share of each digit."""

    names = ("ratio", "precision", "recall", "digits")
    curves = ("discriminator_loss", "generator_loss")

    def __init__(self, config, images, labels, n, seed):
        self.z = torch.randn(n, config.latent, generator=torch.Generator().manual_seed(seed))
        self.seed, self.how = seed, {"n": n}

    def look(self, model):
        """(pictures, measured, bars) of the network now."""
        pictures = gan.sample(model, len(self.z), z=self.z)
        found = metrics.likeness(pictures, self.seed)
        shares = torch.tensor(found["shares"])
        return pictures[:SHOWN], (found["ratio"], found["precision"], found["recall"], effective(shares)), shares


class _Ddpm:
    """Paints n pictures from fixed noise, digits asked for in turn, by DDIM; bars: share of each that came as asked."""

    names = ("test_loss", "as_asked")
    curves = ("loss",)
    painting_steps = 10

    def __init__(self, config, images, labels, n, seed):
        if not config.classes:
            raise Error("a replay asks for digits in turn: the network needs classes")
        self.x = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
        self.asked, self.judge = torch.arange(n) % config.classes, checkpoints.load("classifier", "cpu")
        self.data, self.seed = config.data, seed
        self.how = {"n": n, "painting_steps": self.painting_steps, "eta": 0.0, "test_loss_n": 500}

    def look(self, model):
        """(pictures, measured, bars) of the network now."""
        steps = min(self.painting_steps, model.config.T)
        *_, (_, x0, _) = ddpm.denoise(model, self.x, self.asked, steps=steps)
        pictures = data.from_signed(x0).cpu()
        right = (self.judge(pictures).argmax(1) == self.asked).float()
        each = torch.stack([right[self.asked == k].mean() for k in range(model.config.classes)])
        loss = ddpm.test_loss(model, self.data, n=self.how["test_loss_n"], seed=self.seed)["loss"]
        return pictures[:SHOWN], (loss, right.mean()), each


WATCHED = {"vae": _Vae, "gan": _Gan, "ddpm": _Ddpm}
COUNTS = {"vae": 1000, "gan": 300, "ddpm": 100}  # pictures behind what is measured, if not told otherwise


def effective(shares):
    """How many digits the shares (k,) amount to: e to their entropy. k for equal shares, 1 where all is one digit."""
    return torch.special.entr(shares.double()).sum().exp().item()


# ------------------------------------------------------------------------------------------------------------ recording


def recipe(name):
    """(family, Config) of a replay that comes with the package; raises Error for an unknown name."""
    return RECIPES[choose("replay", name, RECIPES)]


def schedule(total, frames=32):
    """Steps from 0 to `total`, ever farther apart: at most `frames` of them, evenly many for each factor of time."""
    checks.whole(total, "total", 1)
    checks.whole(frames, "frames", 3)
    ends = torch.logspace(0, math.log10(total), frames - 1, dtype=torch.float64).round().long()
    return sorted({0, *ends.tolist(), total})


def record(family, config, *, frames=32, n=None, images=None, labels=None, device=None):
    """Train as `family`'s train(config) does, and return the Replay. The run is the same as without recording.

    n: pictures behind what is measured at each step. images, labels: train on those (see the family's train). Returns
    None in processes other than the first. Raises Error for a family or a setting that cannot be replayed.
    """
    chapter = importlib.import_module(f"gentut.{choose('family', family, WATCHED)}")
    n = COUNTS[family] if n is None else checks.whole(n, "n", SHOWN)
    if family != "vae" and config.data == "fashion-mnist":
        raise Error("the classifier that judges the pictures knows digits: replay a training on mnist or mnist-mini")
    digits = data.load(config.data)
    watched = WATCHED[family](config, digits.test_images, digits.test_labels, n, seed=0)
    given = {} if images is None else {"images": images}
    if family == "ddpm" and labels is not None:
        given["labels"] = labels
    total = config.steps or config.epochs * ((len(digits.train_images if images is None else images)
                                              - config.validation) // config.batch_size)
    seen = {}

    @torch.no_grad()
    def look(step, model):
        pictures, measured, bars = watched.look(model)
        seen[step] = quantise(pictures[:, 0].cpu()), [float(v) for v in measured], bars.float().cpu()

    run = chapter.train(config, device=device, watch=(schedule(total, frames), look), **given)
    if not seen:
        return None
    if not run.complete:
        raise Error(f"the run was stopped at step {run.step}: there is no whole replay of it")
    pictures, measured, bars = zip(*seen.values(), strict=True)
    curve_steps, curves = thinned(run.history, watched.curves)
    facts = training_facts(run, family) | {"seed_of_pictures": 0} | watched.how
    return Replay(family, torch.tensor(list(seen)), torch.stack(pictures),
                  dict(zip(watched.names, torch.tensor(measured).T.contiguous(), strict=True)), torch.stack(bars),
                  curve_steps, curves, facts)


def training_facts(run, family):
    """How the run came about, as the card of a published network says it."""
    return {k: v for k, v in checkpoints.card_of(run, family, {}).items() if k != "metrics"}


def quantise(pictures):
    """Pictures in [0, 1] as uint8 of GREYS levels."""
    return ((pictures * (GREYS - 1)).round() * (255 // (GREYS - 1))).to(torch.uint8)


def thinned(history, names):
    """(steps, {name: values}) of logged rows: means over at most POINTS stretches that grow with the step."""
    last = history[-1]["step"]
    edges = torch.logspace(0, math.log10(max(2, last)), POINTS, dtype=torch.float64)
    stretches = {}
    for row in history:
        if all(name in row for name in names):
            stretches.setdefault(int(torch.searchsorted(edges, float(row["step"]) * (1 - 1e-9))), []).append(row)
    rows = list(stretches.values())
    if not rows:
        raise Error(f"nothing was logged of {', '.join(names)}")

    def mean(name):
        return torch.tensor([sum(r[name] for r in part) / len(part) for part in rows])

    return mean("step"), {name: mean(name) for name in names}


# ---------------------------------------------------------------------------------------------------------------- files


def names():
    """Names of the replays that come with the package."""
    return sorted(p.stem for p in FOLDER.glob("*.safetensors"))


def save(replay, path):
    """Write a replay to `path` (.safetensors), with a digest over all of it. Returns the number of bytes."""
    tensors = {"steps": replay.steps, "pictures": packed(replay.pictures), "bars": replay.bars,
               "curve_steps": replay.curve_steps}
    tensors |= {f"measured.{k}": v for k, v in replay.measured.items()}
    tensors |= {f"curves.{k}": v for k, v in replay.curves.items()}
    raw = runs.pack_state(tensors, {"family": replay.family, "about": replay.about})
    runs.write_atomic(path, raw)
    return len(raw)


def load(name):
    """A Replay: one that comes with the package, by name, or a path to NAME.safetensors.

    Raises Error for an unknown name, and for a file of which one bit is not as it was written.
    """
    path = Path(name)
    if path.suffix != ".safetensors":
        path = FOLDER / f"{choose('replay', str(name), names())}.safetensors"
    try:
        tensors, facts = runs.unpack_state(path.read_bytes())
        parts = {kind: {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{kind}.")}
                 for kind in ("measured", "curves")}
        return Replay(facts["family"], tensors["steps"], unpacked(tensors["pictures"]), parts["measured"],
                      tensors["bars"], tensors["curve_steps"], parts["curves"], facts["about"])
    except OSError as why:
        raise Error(f"could not read {path}: {why.strerror or why}") from None
    except (KeyError, TypeError) as why:
        raise Error(f"{path} is no replay: {why}") from None
    except Error as why:
        raise Error(f"{path} is damaged: {why}") from None


def packed(pictures):
    """Pictures uint8 (frames, n, 28, 28) of GREYS levels → uint8 (frames, n, 392): of two pixels the left one first."""
    levels = (pictures // (255 // (GREYS - 1))).flatten(2)
    return levels[:, :, ::2] * GREYS + levels[:, :, 1::2]


def unpacked(halves):
    """The other way round."""
    levels = torch.stack([halves // GREYS, halves % GREYS], dim=3)
    return (levels * (255 // (GREYS - 1))).view(*halves.shape[:2], 28, 28)
