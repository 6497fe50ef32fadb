"""How fast is a GAN's training step? The loop of the book against plain PyTorch loops that do the same arithmetic.

    python benchmarks/gan_training.py [--updates 50] [--rounds 3] [--device cuda] [--data mnist] [--quick]

The network is that of the published `dcgan`, with its batch of 64, its critic with a gradient penalty, two Adams and
the moving average of the generator. An update is one step of the critic and one of the generator. Three sides:

- "plain": a loop as most people write it. The generated pictures of the critic's step are detached, so their graph is
  built for nothing; in the generator's step the critic's gradients are computed for nothing; real and generated
  pictures go through the critic one after the other; Adam is PyTorch's default.
- "careful": the same without that waste: no graph where none is needed, only the mover's weights want gradients, one
  batch of real and generated pictures, Adam in one fused kernel.
- "gentut": `gentut.gan.train`, which can also be resumed, shared by several processes, and so on.

None of the sides reads a loss back more often than every 50 updates. They take turns, round by round, in one process:
whatever else the machine does hits all of them. The first updates of each round warm up and are not timed; of the
rounds the median counts. Before that, all sides make a few updates from the same weights, pictures and noise, and must
end with the same weights but for rounding: a side that does something else would show. Each precision that the device
has is measured: fp32 (on a GPU without TF32, which rounds to ten bits) and bf16 autocast.
"""

import argparse
import copy
import math
import os
import statistics
import sys
import time
from pathlib import Path

import gentut  # noqa: F401 (before torch, whose threads it calms)

# isort: split
import torch

from gentut import data, gan, training

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import data_at_hand, machine, on_each_device, versions

SIDES = ("plain", "careful", "gentut")
WARM_UP, SAME = 5, 4  # updates of a round that are not timed; updates after which the weights are compared
# Shares of the way that the weights went. Adam without memory moves a weight whose gradient is only rounding as far as
# any other, so rounding shows.
TOLERANCE = {"fp32": 0.02, "bf16": 0.15}


def wait(device):
    """Let the device finish what it was given, so that the clock is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ------------------------------------------------------------------------------------------------ the loops by hand


class Plain:
    """A DCGAN's training for this network and its settings alone, written by hand."""

    def __init__(self, config, device, careful):
        self.config, self.device, self.careful = config, device, careful
        model = gan.build(config).to(device, memory_format=torch.channels_last).train()
        self.model, self.generator, self.discriminator = model, model.generator, model.discriminator
        self.average = copy.deepcopy(model.generator).requires_grad_(False)
        options = {"betas": (config.beta1, config.beta2), "fused": True if careful else None}
        self.adam_d = torch.optim.Adam(self.discriminator.parameters(), lr=config.learning_rate, **options)
        self.adam_g = torch.optim.Adam(self.generator.parameters(), lr=config.learning_rate, **options)
        self.step = 0

    def update(self, x, u, z, other_z):
        """One step of each player on pictures x in [0, 1]; u is uniform, z and other_z are N(0, 1) for either step."""
        c = self.config
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bf16"):
            real = 2 * x - 1
            if self.careful:
                self.discriminator.requires_grad_(True)
                with torch.no_grad():
                    fake = self.generator(z).to(real.dtype)
                on_real, on_fake = self.discriminator(torch.cat([real, fake])).float().chunk(2)
            else:
                fake = self.generator(z).to(real.dtype).detach()
                on_real, on_fake = self.discriminator(real).float(), self.discriminator(fake).float()
            u = u.view(-1, 1, 1, 1)
            between = (u * real + (1 - u) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1) ** 2
            loss_d = on_fake.mean() - on_real.mean() + c.penalty * penalty.mean()
        self.adam_d.zero_grad()
        loss_d.backward()
        self.adam_d.step()

        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bf16"):
            if self.careful:
                self.discriminator.requires_grad_(False)
            loss_g = -self.discriminator(self.generator(other_z)).float().mean()
        self.adam_g.zero_grad()
        loss_g.backward()
        self.adam_g.step()

        keep = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                average.lerp_(weight, 1 - keep)
        self.step += 1
        return torch.stack([loss_d.detach(), loss_g.detach()])

    def weights(self):
        """What gentut's run gives: the averaged generator and the last discriminator."""
        averaged = {f"generator.{k}": v for k, v in self.average.named_parameters()}
        return averaged | {f"discriminator.{k}": v for k, v in self.discriminator.named_parameters()}


def by_hand(config, images, device, careful):
    """Seconds of the timed updates of a loop by hand."""
    loop, images = Plain(config, device, careful), images.to(device)
    torch.manual_seed(config.seed)
    order, recent = [], []
    for step in range(config.steps):
        if step == WARM_UP:
            wait(device)
            start = time.perf_counter()
        if not order:  # a new epoch
            order = list(torch.randperm(len(images)).to(device).split(config.batch_size))[::-1]
            order = order[len(images) % config.batch_size > 0 :]
        x = images[order.pop()].unsqueeze(1).float().div(255).contiguous(memory_format=torch.channels_last)
        z, other_z = torch.randn(2, config.batch_size, config.latent, device=device)
        recent.append(loop.update(x, torch.rand(config.batch_size, device=device), z, other_z))
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            losses = torch.stack(recent).mean(0).tolist()
            if not all(map(math.isfinite, losses)):
                raise SystemExit(f"a loss was no longer finite by step {step + 1}")
            recent = []
    wait(device)
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------ gentut's loop


def by_gentut(config, images, device):
    """Seconds of the timed updates of gentut.gan.train."""
    turn, start, done = gan.discriminator_turn, None, 0

    def clocked(*args):
        nonlocal start, done
        if done == WARM_UP:
            wait(device)
            start = time.perf_counter()
        done += 1
        return turn(*args)

    gan.discriminator_turn = clocked  # what gan.train trains with
    try:
        gan.train(config, images=images, device=str(device))
        wait(device)
        return time.perf_counter() - start
    finally:
        gan.discriminator_turn = turn


class Heard:
    """A training.Noise that keeps its numbers."""

    def __init__(self, noise):
        self.noise = noise

    def normal(self, *shape):
        self.z = self.noise.normal(*shape)
        return self.z

    def uniform(self, *shape):
        self.u = self.noise.uniform(*shape)
        return self.u


def differences(config, images, device):
    """How far each loop by hand ends from gentut's after a few updates on the same pictures with the same noise.

    As a share of the way that gentut's weights went. Raises SystemExit if it is more than rounding explains.
    """
    config = config.replace(steps=SAME)
    turn, other, batches = gan.discriminator_turn, gan.generator_turn, []

    def first(model, x, labels, noise):
        heard = Heard(noise)
        terms = turn(model, x, labels, heard)
        batches.append((x, heard.u, heard.z))
        return terms

    def second(model, x, labels, noise):
        heard = Heard(noise)
        terms = other(model, x, labels, heard)
        batches[-1] += (heard.z,)
        return terms

    gan.discriminator_turn, gan.generator_turn = first, second
    try:
        ours = flat(gan.train(config, images=images, device=str(device)).model.named_parameters())
    finally:
        gan.discriminator_turn, gan.generator_turn = turn, other
    way, found = (ours - flat(gan.build(config).to(device).named_parameters())).norm(), {}
    for name in SIDES[:2]:
        loop = Plain(config, device, careful=name == "careful")
        for batch in batches:
            loop.update(*batch)
        found[name] = ((ours - flat(loop.weights().items())).norm() / way).item()
        if not found[name] <= TOLERANCE[config.precision]:
            raise SystemExit(f"{name} and gentut do different things: after {SAME} updates in {config.precision} they "
                             f"differ by {100 * found[name]:.0f} % of the way that the weights went")
    return found


def flat(named):
    """All weights in one row, in the order of their names."""
    return torch.cat([v.detach().flatten() for _, v in sorted(named)])


# ----------------------------------------------------------------------------------------------------- taking turns


def settings(args, precision):
    """The published network's configuration, for a round of this benchmark."""
    small = {"generator": (8, 8, 4), "discriminator": (4, 8, 8), "batch_size": 16} if args.quick else {}
    return gan.PUBLISHED["dcgan"].replace(
        precision=precision, steps=WARM_UP + args.updates, decay="none", log_every=50, **small
    )


def measure(args, device, images, precision):
    """All rounds of one precision."""
    config = settings(args, precision)
    same = differences(config, images, device)
    seconds = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            if side == "gentut":
                took = by_gentut(config, images, device)
            else:
                took = by_hand(config, images, device, careful=side == "careful")
            seconds[side].append(took)
    medians = {side: statistics.median(each) for side, each in seconds.items()}
    rival = min(SIDES[:2], key=medians.get)
    pictures = args.updates * config.batch_size
    return {
        "pictures_per_second": {side: round(pictures / s, 1) for side, s in medians.items()},
        "milliseconds_per_update": {side: round(1000 * s / args.updates, 3) for side, s in medians.items()},
        "compared_with": rival,
        "ratio": round(medians[rival] / medians["gentut"], 3),
        "ratio_to_plain": round(medians["plain"] / medians["gentut"], 3),
        "ratios_of_single_rounds": [round(a / b, 3) for a, b in zip(seconds[rival], seconds["gentut"], strict=True)],
        "round_seconds": {side: [round(s, 4) for s in each] for side, each in seconds.items()},
        "difference_as_share_of_the_way": same,
    }


def compare(args, device):
    """Measure each precision; returns the record that is written."""
    load_before = os.getloadavg()[0]
    images = data.load(args.data).train_images
    images = images[:2048] if args.quick else images
    config = settings(args, "fp32")
    kinds = ["fp32"]
    if device.type == "cpu" or training.choose_precision("auto", device) == "bf16":
        kinds.append("bf16")
    parts = {name: sum(p.numel() for p in getattr(gan.build(config), name).parameters())
             for name in ("generator", "discriminator")}
    return {
        "benchmark": "gan_training",
        "precisions": {kind: measure(args, device, images, kind) for kind in kinds},
        "n": {"timed_updates": args.updates, "rounds": args.rounds, "warm_up_updates": WARM_UP,
              "batch": config.batch_size, "compared_updates": SAME},
        "seeds": [config.seed],
        "network": {"weights": parts, "generator": config.generator, "discriminator": config.discriminator,
                    "latent": config.latent, "loss": config.loss, "penalty": config.penalty},
        "data": args.data,
        "quick": args.quick,
        "machine": machine(device) | {"load_average_before": round(load_before, 2)},
        "versions": versions(),
        "command": " ".join(["python", "benchmarks/gan_training.py", *args.words]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def table(record):
    """A few lines for the reader."""
    n = record["n"]
    lines = [f"{'':10}" + "".join(f"{side:>11}" for side in SIDES) + "   (real pictures a second)"]
    for kind, found in record["precisions"].items():
        speeds = "".join(f"{found['pictures_per_second'][side]:11.0f}" for side in SIDES)
        lines.append(f"{kind:10}{speeds}   ratio {found['ratio']:.2f} to '{found['compared_with']}', "
                     f"{found['ratio_to_plain']:.2f} to 'plain'")
    lines.append(f"medians of {n['rounds']} rounds of {n['timed_updates']} updates of {n['batch']} pictures, on "
                 f"{record['machine'].get('gpu', record['machine']['cpu'])}")
    return "\n".join(lines)


def main(words=None):
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, help="timed updates of a round; 50 by default, on a GPU 500")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side; medians count")
    parser.add_argument("--device", help="cpu, cuda or cuda:0; by default the CPU, then the GPU if there is one")
    parser.add_argument("--data", default="mnist", help="mnist, fashion-mnist or mnist-mini")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gan_training-DEVICE.json")
    parser.add_argument("--quick", action="store_true", help="a tiny network: to see that it runs, not how fast")
    args = parser.parse_args(words)
    args.words = words
    asked = args.updates
    if args.rounds < 1 or (asked is not None and asked < 1):
        parser.error("--updates and --rounds must be at least 1")
    args.data = data_at_hand(args.data)

    def one(args, device):
        args.updates = asked or (500 if device.type == "cuda" else 50)
        return compare(args, device)

    on_each_device(parser, args, "gan_training", one, table)


if __name__ == "__main__":
    main()
