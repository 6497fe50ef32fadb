"""How fast does a diffusion model train and paint? gentut against two public packages, at the same size of network.

    python benchmarks/ddpm.py [--updates 10] [--rounds 3] [--steps 50] [--device cuda] [--quick]

The other two are denoising-diffusion-pytorch and diffusers: `pip install -c constraints.txt -e '.[bench]'`. What is not
installed is left out, and the record says so; gentut alone is measured then.

Each package builds a U-Net of its own kind. Its widths are chosen so that all three have the same number of parameters
and do the same arithmetic for a picture, within 10 % (counted, and written down beside the times). That is done twice:
"pixels", where a network sees 28 x 28 pixels, and "patches", where 2 x 2 pixels become the four features of one of
14 x 14 places before anything else, as in gentut's published networks; the others are then given such pictures. All
networks know no labels and have attention at the coarsest size (denoising-diffusion-pytorch also has linear attention
at the finer ones, which is part of it), predict v along a cosine schedule of 1,000 times, and nothing is compiled.
diffusers' group norm makes as many groups as gentut's: its usual 32 do not divide these widths.

- Training: pictures a second at a batch of 64. gentut's side is `gentut.ddpm.train`; the other two are given a loop by
  hand without waste around what they offer: the package's own noise and loss (denoising-diffusion-pytorch) or scheduler
  (diffusers), autocast, Adam in one fused kernel, pictures that lie on the device. No side averages its weights.
- Sampling: seconds to paint 64 pictures in the same number of DDIM steps, one pass of the network for each: counted.

Features lie in memory the way that a few trial steps found faster for each package, precision and task; gentut always
has channels last. The sides take turns, round by round, in one process; of the rounds the median counts. Where all is
done by one thread of a CPU, time is CPU time, so that other processes disturb little; else it is wall-clock time. Both
are in the record. The arithmetic floor is the time that the counted operations would take at the rate of a large matrix
product, measured beside them in the same precision: fp32 (on a GPU without TF32) and bf16 autocast.
The zeros around a picture are counted, though a convolution need not multiply by them (a tenth of it at 14 x 14, nearly
a fifth at 7 x 7): so a fraction can be a little above 1.
"""

import argparse
import importlib
import importlib.metadata
import math
import os
import statistics
import sys
import time
import types
from pathlib import Path

import gentut  # before torch, whose threads it calms

# isort: split
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from gentut import data, ddpm, training, unet

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import autocast, data_at_hand, machine, on_each_device, versions

EXTRA = "pip install -c constraints.txt -e '.[bench]'"
WARM_UP = 2  # updates of a round that are not timed
NEAR = 0.1  # how far parameters and arithmetic may lie apart
T = 1000
PATCH = {"pixels": 1, "patches": 2}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# The size of each side's network where it sees pixels, and where it sees patches of 2 x 2 of them.
SIZES = {
    "pixels": {
        "gentut": {"widths": (48, 64, 128), "attention": True},
        "denoising-diffusion-pytorch": {"dim": 16, "dim_mults": (1, 3, 4)},
        "diffusers": {"block_out_channels": (32, 36, 72)},
    },
    "patches": {
        "gentut": {"widths": (64, 128), "attention": True},  # of the published `ddpm-mnist`
        "denoising-diffusion-pytorch": {"dim": 32, "dim_mults": (1, 2)},
        "diffusers": {"block_out_channels": (48, 64)},
    },
}
TINY = {
    "gentut": {"widths": (8, 16), "attention": True},
    "denoising-diffusion-pytorch": {"dim": 8, "dim_mults": (1, 2), "attn_heads": 1, "attn_dim_head": 8},
    "diffusers": {"block_out_channels": (8, 12)},
}


# ------------------------------------------------------------------------------------------------------- the packages


def torchvision_fits():
    """Whether torchvision can be imported; if not, it is hidden from whoever asks for it later.

    Both packages can use it for reading and writing pictures, which is not measured here. The one of the usual index
    needs a CUDA build of torch, so beside a CPU build it may be there and fail.
    """
    try:
        import torchvision  # noqa: F401

        return True
    except Exception:  # it raises RuntimeError where it does not fit
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None
        return False


def import_ddp():
    """denoising_diffusion_pytorch, without its progress bars.

    It insists on importing torchvision: where there is none that fits, an empty module stands in while it does.
    """
    fits = torchvision_fits()
    if not fits:
        sys.modules["torchvision"] = types.ModuleType("torchvision")
        sys.modules["torchvision"].transforms = sys.modules["torchvision"].utils = None
    try:
        package = importlib.import_module("denoising_diffusion_pytorch")
    finally:
        if not fits:
            sys.modules["torchvision"] = None
    sys.modules["denoising_diffusion_pytorch.denoising_diffusion_pytorch"].tqdm = lambda steps, **_: steps
    return package


def import_diffusers():
    """diffusers, with what is used of it loaded."""
    torchvision_fits()
    package = importlib.import_module("diffusers")
    for part in ("UNet2DModel", "DDPMScheduler", "DDIMScheduler"):
        getattr(package, part)
    return package


# ---------------------------------------------------------------------------------------------------------- the sides


class Gentut:
    """gentut.ddpm with its own training loop."""

    name, layouts = "gentut", ("channels_last",)

    def __init__(self, size, patch, device):
        config = ddpm.Config(classes=0, T=T, predict="v", schedule="cosine", patch=patch, **size)
        self.model = ddpm.build(config).to(device, memory_format=torch.channels_last)
        self.config, self.network = config, self.model.network

    def loss(self, x):
        """The loss of pictures x (batch, 1, 28, 28) in [0, 1]."""
        noise = training.Noise(0, len(x), device=x.device)
        return ddpm.losses(self.model, x, None, noise)["loss"].mean()

    def sample(self, n, steps):
        """n pictures (n, 1, 28, 28) in [0, 1]."""
        return ddpm.sample(self.model, n, generator=torch.Generator().manual_seed(0), steps=steps)

    def train(self, images, precision, updates, batch):
        """Seconds of the timed updates of gentut.ddpm.train."""
        config = self.config.replace(precision=precision, steps=WARM_UP + updates, batch_size=batch)
        device, losses, done, clock = next(self.model.parameters()).device, ddpm.losses, 0, None

        def clocked(*args):
            nonlocal clock, done
            if done == WARM_UP:
                clock = Clock(device)
            done += 1
            return losses(*args)

        ddpm.losses = clocked  # what ddpm.train trains with
        try:
            ddpm.train(config, images=images, device=str(device))
            return clock.read()
        finally:
            ddpm.losses = losses


class Package:
    """Another package's network, with the training loop by hand that the two of them share."""

    layouts = tuple(LAYOUTS)

    def train(self, images, precision, updates, batch):
        """Seconds of the timed updates."""
        device = next(self.network.parameters()).device
        images, recent = images.to(device), []
        self.network.train()
        optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=True)
        order = torch.cat([torch.randperm(len(images)) for _ in range(1 + (WARM_UP + updates) * batch // len(images))])
        for step, index in enumerate(order.to(device).split(batch)[: WARM_UP + updates]):
            if step == WARM_UP:
                clock = Clock(device)
            x = images[index].unsqueeze(1).float().div(255)
            with autocast(precision, device):
                loss = self.loss(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recent.append(loss.detach())
        losses = torch.stack(recent).tolist()
        took = clock.read()
        if not all(map(math.isfinite, losses)):
            raise SystemExit(f"a loss of {self.name} was no longer finite")
        return took


class DenoisingDiffusionPytorch(Package):
    """Its Unet and GaussianDiffusion."""

    name, load = "denoising-diffusion-pytorch", staticmethod(import_ddp)

    def __init__(self, size, patch, device):
        self.package, self.patch = self.load(), patch
        torch.manual_seed(0)
        self.network = self.package.Unet(channels=patch**2, **size).to(device)
        self.diffusion = self.process(None).to(device)

    def process(self, steps):
        return self.package.GaussianDiffusion(
            self.network, image_size=28 // self.patch, timesteps=T, sampling_timesteps=steps, objective="pred_v",
            beta_schedule="cosine",
        )

    def loss(self, x):
        return self.diffusion(F.pixel_unshuffle(x, self.patch))

    def sample(self, n, steps):
        process = self.process(steps).to(next(self.network.parameters()).device)
        return F.pixel_shuffle(process.sample(batch_size=n), self.patch)


class Diffusers(Package):
    """Its UNet2DModel, and the training and sampling loops of its documentation around DDPM- and DDIMScheduler."""

    name, load = "diffusers", staticmethod(import_diffusers)

    def __init__(self, size, patch, device):
        self.package, self.patch = self.load(), patch
        levels = len(size["block_out_channels"])
        torch.manual_seed(0)
        self.network = self.package.UNet2DModel(
            sample_size=28 // patch, in_channels=patch**2, out_channels=patch**2, layers_per_block=1,
            down_block_types=("DownBlock2D",) * levels, up_block_types=("UpBlock2D",) * levels, add_attention=True,
            attention_head_dim=None, norm_num_groups=unet.GROUPS, **size,
        ).to(device)
        self.schedule = {"num_train_timesteps": T, "beta_schedule": "squaredcos_cap_v2",
                         "prediction_type": "v_prediction"}
        self.noising = self.package.DDPMScheduler(**self.schedule)

    def loss(self, x):
        x = 2 * F.pixel_unshuffle(x, self.patch) - 1
        noise, t = torch.randn_like(x), torch.randint(T, (len(x),), device=x.device)
        noisy, target = self.noising.add_noise(x, noise, t), self.noising.get_velocity(x, noise, t)
        return F.mse_loss(self.network(noisy, t, return_dict=False)[0].float(), target)

    @torch.no_grad()
    def sample(self, n, steps):
        scheduler = self.package.DDIMScheduler(**self.schedule)  # it clips the guess of x_0, as all sides do
        scheduler.set_timesteps(steps)
        side, device = 28 // self.patch, next(self.network.parameters()).device
        x = torch.randn(n, self.patch**2, side, side, device=device)
        for t in scheduler.timesteps:
            x = scheduler.step(self.network(x, t, return_dict=False)[0], t, x, return_dict=False)[0]
        return F.pixel_shuffle(x, self.patch).float().clamp(-1, 1) * 0.5 + 0.5


SIDES = (Gentut, DenoisingDiffusionPytorch, Diffusers)


def installed():
    """(the sides that can be measured, {name: why not} of the others)."""
    sides, missing = [Gentut], {}
    for side in SIDES[1:]:
        try:
            importlib.metadata.version(side.name)
            side.load()
            sides.append(side)
        except importlib.metadata.PackageNotFoundError:
            missing[side.name] = "not installed"
        except Exception as why:  # whatever an installation that does not fit the rest may raise
            missing[side.name] = f"cannot be loaded: {(str(why).splitlines() or [type(why).__name__])[0]}"
    return sides, missing


# ------------------------------------------------------------------------------------------------- time and arithmetic


class Clock:
    """Wall-clock and CPU seconds from its making to `read`; the device has finished before and after."""

    def __init__(self, device):
        self.device = device
        self.start = self.now()

    def now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()

    def read(self):
        return {kind: b - a for kind, a, b in zip(("wall", "cpu"), self.start, self.now(), strict=True)}


def honest_clock(device):
    """Which of the two tells what a side costs. Several threads wait for each other, which CPU time would count."""
    return "cpu" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def matmul_rate(precision, device, quick=False):
    """Operations a second (a multiply-add is two) of a large matrix product: the best of ten."""
    n, kind = 256 if quick else 8192 if device.type == "cuda" else 1536, honest_clock(device)
    a, b = torch.rand(2, n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(10):
        clock = Clock(device)
        a @ b
        seconds.append(clock.read()[kind])
    return 2 * n**3 / min(seconds)


def size_of(side):
    """Parameters, and the operations for a picture: of a pass, and of a step of training."""
    device = next(side.network.parameters()).device
    x = torch.rand(2, 1, 28, 28, device=device)
    with FlopCounterMode(display=False) as whole:
        loss = side.loss(x)
        passed = whole.get_total_flops()
        loss.backward()
    side.network.zero_grad()
    return {
        "parameters": sum(p.numel() for p in side.network.parameters()),
        "operations_of_a_pass": passed // 2,
        "operations_of_a_training_step": whole.get_total_flops() // 2,
    }


def compared(sizes):
    """Add to each size how far it lies from gentut's, as a share of that, and whether it is near enough."""
    for size in sizes.values():
        size["off"] = {what: round(size[what] / sizes["gentut"][what] - 1, 4)
                       for what in ("parameters", "operations_of_a_pass", "operations_of_a_training_step")}
        size["within_a_tenth"] = all(abs(off) <= NEAR for off in size["off"].values())
    return sizes


def passes(side, steps):
    """How often the network is called for a sample; raises SystemExit unless it is `steps` times for good pictures."""
    count = 0

    def counted(*args):
        nonlocal count
        count += 1

    hook = side.network.register_forward_hook(counted)
    pictures = side.sample(2, steps)
    hook.remove()
    if count != steps or tuple(pictures.shape) != (2, 1, 28, 28) or not (pictures.min() >= 0 and pictures.max() <= 1):
        raise SystemExit(f"{side.name} made {count} passes where {steps} steps were asked for, and pictures of shape "
                         f"{tuple(pictures.shape)} in {pictures.min().item():g} to {pictures.max().item():g}")
    return count


# ----------------------------------------------------------------------------------------------------- taking turns


def faster_layout(side, run, kind):
    """Lay the network out in memory in the way in which run() is faster; returns its name and each one's seconds."""
    trials = {}
    for name in side.layouts if len(side.layouts) > 1 else ():
        side.network.to(memory_format=LAYOUTS[name])
        trials[name] = min(run()[kind] for _ in range(2))
    chosen = min(trials, key=trials.get) if trials else side.layouts[0]
    side.network.to(memory_format=LAYOUTS[chosen])
    return chosen, {name: round(s, 4) for name, s in trials.items()}


def take_turns(args, sides, run, trial, kind):
    """{side: what its rounds took}: run(side) gives the seconds of a round, trial(side) of less, to choose a layout."""
    found = {}
    for side in sides:
        layout, trials = faster_layout(side, lambda side=side: trial(side), kind)
        found[side.name] = {"layout": layout, "trial_seconds": trials, "rounds": []}
    for _ in range(args.rounds):
        for side in sides:
            found[side.name]["rounds"].append(run(side))
    for each in found.values():
        rounds = each.pop("rounds")
        each |= {f"{clock}_seconds": [round(took[clock], 4) for took in rounds] for clock in ("wall", "cpu")}
        each["seconds"] = statistics.median(took[kind] for took in rounds)
    return found


def against(found, sizes, rate, operations, pictures):
    """Add to each side its fraction of the floor, and to the others how many times gentut is as fast.

    That also as it would be if all made exactly as many operations: per_operation.
    """
    for name, each in found.items():
        floor = sizes[name][operations] * pictures / rate
        each["fraction_of_the_floor"] = round(floor / each["seconds"], 4)
        if name != "gentut":
            ratio = each["seconds"] / found["gentut"]["seconds"]
            each["gentut_is_faster"] = round(ratio, 3)
            each["per_operation"] = round(ratio * sizes["gentut"][operations] / sizes[name][operations], 3)
        each["seconds"] = round(each["seconds"], 4)
    return found


def measure(args, device, images, sides, sizes, precision):
    """Training and sampling in one precision."""
    kind, rate = honest_clock(device), matmul_rate(precision, device, args.quick)

    def train(side, updates=args.updates):
        return side.train(images, precision, updates, args.batch)

    def sample(side, steps=args.steps):
        side.network.eval()
        with autocast(precision, device):
            clock = Clock(device)
            side.sample(args.batch, steps)
            return clock.read()

    few = 2  # updates or steps of a trial
    trained = against(
        take_turns(args, sides, train, lambda side: train(side, few), kind),
        sizes, rate, "operations_of_a_training_step", args.updates * args.batch,
    )
    for each in trained.values():
        each["pictures_per_second"] = round(args.updates * args.batch / each["seconds"], 1)
    sampled = against(
        take_turns(args, sides, sample, lambda side: sample(side, few), kind),
        sizes, rate, "operations_of_a_pass", args.steps * args.batch,
    )
    return {"matmul_operations_per_second": rate, "training": trained, "sampling": sampled}


def least_ratio(measured):
    """{task: how many times gentut is as fast as the others, where that is least}; None where there are no others."""
    ratios = {task: [each["gentut_is_faster"] for precisions in measured.values() for found in precisions.values()
                     for name, each in found[task].items() if name != "gentut"] for task in ("training", "sampling")}
    return {task: min(each, default=None) for task, each in ratios.items()}


def compare(args, device):
    """All measurements on one device; returns the record that is written."""
    load_before = os.getloadavg()[0]
    images = data.load(args.data).train_images[: 2048 if args.quick else None]
    classes, missing = installed()
    kinds = ["fp32"]
    if device.type == "cpu" or training.choose_precision("auto", device) == "bf16":
        kinds.append("bf16")
    networks, measured = {}, {}
    for look in args.look:
        chosen = TINY if args.quick else SIZES[look]
        sides = [side(chosen[side.name], PATCH[look], device) for side in classes]
        sizes = {side.name: {**chosen[side.name], **size_of(side), "passes": passes(side, args.steps)}
                 for side in sides}
        networks[look] = compared(sizes)
        measured[look] = {kind: measure(args, device, images, sides, sizes, kind) for kind in kinds}
    packages = {side.name: importlib.metadata.version(side.name) for side in classes[1:]}
    return {
        "benchmark": "ddpm",
        "goal": "faster than both packages in training and in sampling",
        "least_ratio": least_ratio(measured),
        "not_measured": missing,
        "networks": networks,
        "results": measured,
        "clock": honest_clock(device),
        "n": {"updates": args.updates, "rounds": args.rounds, "warm_up_updates": WARM_UP, "batch": args.batch,
              "pictures": args.batch, "steps": args.steps},
        "seeds": [0],
        "data": args.data,
        "quick": args.quick,
        "machine": machine(device) | {"load_average_before": round(load_before, 2)},
        "versions": versions() | packages,
        "command": " ".join(["python", "benchmarks/ddpm.py", *args.words]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


# --------------------------------------------------------------------------------------------------------- the reader


def table(record):
    """A line for each network, and for each side, precision and task; then what is missing."""
    lines, n = [], record["n"]
    for look, sizes in record["networks"].items():
        lines.append(f"{look}:")
        for name, size in sizes.items():
            off = ", ".join(f"{100 * size['off'][what]:+.1f} %" for what in ("parameters", "operations_of_a_pass"))
            lines.append(f"  {name:28}{size['parameters']:10,} parameters {size['operations_of_a_pass'] / 1e6:6.0f} "
                         f"million operations a pass ({off})" + ", NOT within 10 %" * (not size["within_a_tenth"]))
        for precision, found in record["results"][look].items():
            for task, value, unit in (("training", "pictures_per_second", "pictures/s"), ("sampling", "seconds", "s")):
                for name, each in found[task].items():
                    line = (f"  {precision} {task} {name:28}{each[value]:9.2f} {unit:10} "
                            f"{100 * each['fraction_of_the_floor']:5.1f} % of the floor, {each['layout']}")
                    if name != "gentut":
                        line += f"; gentut is {each['gentut_is_faster']:.2f} times as fast"
                    lines.append(line)
    for name, why in record["not_measured"].items():
        lines.append(f"{name} was not measured: {why}. It comes with: {EXTRA}")
    if None not in record["least_ratio"].values():
        lines.append("at least {training:.2f} times as fast in training and {sampling:.2f} times in sampling "
                     "(goal: both above 1)".format(**record["least_ratio"]))
    on = record["machine"]
    lines.append(f"medians of {n['rounds']} rounds in turns, {record['clock']} time, on {on.get('gpu', on['cpu'])}, "
                 f"threads: {on['threads']}")
    lines.append(f"training: {n['updates']} updates of {n['batch']} pictures; sampling: {n['pictures']} pictures in "
                 f"{n['steps']} steps")
    return "\n".join(lines)


def main(words=None):
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, help="timed updates of a round; 10 by default, on a GPU 200")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side; medians count")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM")
    parser.add_argument("--batch", type=int, help="pictures of an update, and of a sample; 64 by default")
    parser.add_argument("--look", nargs="+", choices=SIZES, default=list(SIZES), help="what the networks see")
    parser.add_argument("--device", help="cpu, cuda or cuda:0; by default the CPU, then the GPU if there is one")
    parser.add_argument("--data", default="mnist", help="mnist, fashion-mnist or mnist-mini")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/ddpm-DEVICE.json")
    parser.add_argument("--quick", action="store_true", help="tiny networks: to see that it runs, not how fast")
    args = parser.parse_args(words)
    args.words, asked = words, args.updates
    args.batch = args.batch if args.batch is not None else 8 if args.quick else 64
    if min(args.rounds, args.batch, 1 if asked is None else asked) < 1 or not 1 <= args.steps < T:
        parser.error(f"--updates, --rounds and --batch must be at least 1, --steps between 1 and {T - 1}")
    try:
        args.data = data_at_hand(args.data)
    except gentut.Error as why:
        parser.exit(2, f"{why}\n")

    def one(args, device):
        args.updates = asked or (200 if device.type == "cuda" else 10)
        return compare(args, device)

    on_each_device(parser, args, "ddpm", one, table)


if __name__ == "__main__":
    main()
