"""How fast is the training loop, and does its speed cost quality? Against the loop that most tutorials have.

    python benchmarks/vae_training.py [--device cuda] [--epochs 10] [--data mnist] [--quick]

The baseline is written as the study notes behind the book have it: a Dataset that makes a PIL picture and then a tensor
of every sample, a DataLoader (with the fastest of 0, 1 and 2 worker processes), batches of 128, Adam, a loss of summed
cross-entropy and KL divided by the batch, `.item()` at every step. Against it runs `gentut.vae.train`: the same network
(784-256-2) and first weights, batch, learning rate, pictures and number of epochs.

The baseline runs twice: as it is ("notes", PyTorch's default threads), and with the one setting of threads that
`import gentut` makes ("calm": idle threads soon sleep, so that loader and training disturb each other less). The
headline ratio is to the faster of the two.

Each side is a process of its own, so that its peak memory is its own. They take turns, epoch by epoch: whatever else
the machine does hits both. The first epoch of each warms up and is not timed; of the others the median counts. Only
training is timed. In the end both networks are measured on the same 5,000 pictures that neither has seen.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import gentut
from gentut import data, training, vae

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import RESULTS, data_at_hand, keep, machine, versions

ROOT = Path(__file__).resolve().parents[1]
BATCH, RATE, SEED = 128, 1e-3, 0
HELD_OUT = 5000


def pictures(args):
    """(training, held-out) pictures, uint8 (n, 28, 28)."""
    images = data.load(args.data).train_images
    if args.quick:
        return images[:1024], images[1024:1536]
    held = HELD_OUT if len(images) > 2 * HELD_OUT else 1000
    return images[:-held], images[-held:]


def wait(device):
    """Let the device finish what it was given, so that the clock is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# -------------------------------------------------------------------------------------------- the loop of the tutorials


class Pictures(torch.utils.data.Dataset):
    """Every sample by way of a PIL picture, as torchvision's MNIST with the transform ToTensor does."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image

        picture = Image.fromarray(self.images[i].numpy())
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        return pixels.view(picture.size[1], picture.size[0], 1).permute(2, 0, 1).contiguous().float().div(255)


class Notes(nn.Module):
    """784 → 256 → ReLU → mu and log sigma²; 2 → 256 → ReLU → 784 → sigmoid."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid())

    def forward(self, x, eps=None):
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        eps = torch.randn_like(mu) if eps is None else eps
        return self.decoder(mu + torch.exp(0.5 * log_var) * eps), mu, log_var


def notes_loss(model, x, eps=None):
    """Summed cross-entropy and KL of a batch, nats."""
    x = x.view(len(x), 784)
    y, mu, log_var = model(x, eps)
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return F.binary_cross_entropy(y, x, reduction="sum") + kl


def notes_epoch(model, optimizer, loader, device, batches=None):
    """One pass over the pictures (or over some batches of them); returns the mean loss."""
    total = seen = 0
    for k, x in enumerate(loader):
        if k == batches:
            break
        x = x.to(device)
        loss = notes_loss(model, x) / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        seen += len(x)
    return total / seen


def notes_worker(args, device, train, held):
    """The baseline: choose the number of workers, then one epoch for each word from the parent."""

    def loader(workers):
        return torch.utils.data.DataLoader(Pictures(train), batch_size=BATCH, shuffle=True, num_workers=workers)

    torch.manual_seed(SEED)
    trial, trials = Notes().to(device), {}
    optimizer = torch.optim.Adam(trial.parameters(), lr=RATE)
    notes_epoch(trial, optimizer, loader(0), device, batches=3)  # the first steps load libraries
    for workers in (0, 1, 2):
        wait(device)
        start = time.perf_counter()
        notes_epoch(trial, optimizer, loader(workers), device)
        wait(device)
        trials[workers] = round(time.perf_counter() - start, 3)
    workers = min(trials, key=trials.get)

    torch.manual_seed(SEED)
    model = Notes()
    with torch.no_grad():  # both sides start from the same weights
        for theirs, ours in zip(model.parameters(), vae.build(vae.Config(seed=SEED)).parameters(), strict=True):
            theirs.copy_(ours)
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    tell({"ready": True})
    for _ in range(1 + args.epochs):
        listen()
        wait(device)
        start = time.perf_counter()
        notes_epoch(model, optimizer, loader(workers), device)
        wait(device)
        tell({"seconds": time.perf_counter() - start})
    x, eps = data.to_unit(held).to(device), noise_for(held).to(device)
    with torch.no_grad():
        loss = notes_loss(model, x, eps).item() / len(held)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "validation_nats": loss, "precision": "fp32", "updates": (1 + args.epochs) * -(-len(train) // BATCH),
        "workers": workers, "seconds_by_workers": trials, "largest_worker_bytes": largest if workers else 0,
    }


# -------------------------------------------------------------------------------------------------------- gentut's loop


def gentut_worker(args, device, train, held):
    """gentut.vae.train, which stops at the beginning of every epoch until the parent says go."""
    updates, losses, start = len(train) // BATCH, vae.losses, None
    done = 0

    def paced(model, x, labels, noise):
        nonlocal done, start
        if done % updates == 0:
            wait(device)
            if done:
                tell({"seconds": time.perf_counter() - start})
            listen()
            start = time.perf_counter()
        done += 1
        return losses(model, x, labels, noise)

    vae.losses = paced  # what vae.train trains with
    config = vae.Config(
        data=args.data, epochs=1 + args.epochs, batch_size=BATCH, learning_rate=RATE, seed=SEED, validation=0,
        precision=args.precision,
    )
    tell({"ready": True})
    run = vae.train(config, images=train, device=str(device))
    wait(device)
    tell({"seconds": time.perf_counter() - start})
    x, eps = data.to_unit(held).to(device), noise_for(held).to(device)
    with torch.no_grad():
        reconstruction, kl = vae.elbo_terms(run.model, x, eps)
    loss = (reconstruction + kl).double().mean().item()
    return {"validation_nats": loss, "precision": run.precision, "updates": run.step}


def noise_for(held):
    """The same N(0, 1) numbers for both sides."""
    return torch.randn(len(held), 2, generator=torch.Generator().manual_seed(SEED))


# --------------------------------------------------------------------------------------------------------- taking turns


def tell(message):
    print(json.dumps(message), flush=True)


def listen():
    if sys.stdin.readline() != "go\n":
        sys.exit("the parent is gone")


def work(args):
    """What a side's process does; its last message is its result."""
    device = training.choose_device(args.device)
    train, held = pictures(args)
    worker = gentut_worker if args.worker == "gentut" else notes_worker
    result = worker(args, device, train, held)
    result["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        result["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    tell(result)


class Side:
    """One side's process, seen from the parent."""

    def __init__(self, name, args):
        command = [sys.executable, __file__, "--worker", name, "--data", args.data, "--epochs", str(args.epochs)]
        command += ["--precision", args.precision] + ["--quick"] * args.quick
        command += ["--device", args.device] * bool(args.device)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "CI": "1", "PYTHONPATH": path}
        environment.pop("OMP_WAIT_POLICY", None)
        environment["GOMP_SPINCOUNT"] = "10000"  # as `import gentut` has it
        if name == "notes":
            del environment["GOMP_SPINCOUNT"]  # as PyTorch has it
        pipe = subprocess.PIPE
        self.name = name
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.name} ended with exit status {self.process.wait()}")
        return json.loads(line)

    def epoch(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.hear()["seconds"]


def compare(args):
    """Run both sides in turns; returns the record that is written."""
    load_before = os.getloadavg()[0]
    sides = []
    try:
        for name in ("notes", "calm", "gentut"):  # each is ready before the next begins
            sides.append(Side(name, args))
            sides[-1].hear()
        seconds = {side.name: [] for side in sides}
        for _ in range(1 + args.epochs):
            for side in sides:
                seconds[side.name].append(side.epoch())
        results = {side.name: side.hear() for side in sides}
        for side in sides:
            side.process.wait()
    finally:
        for side in sides:
            side.process.kill()
            side.process.wait()
    for name, result in results.items():
        result |= {
            "epoch_seconds": [round(s, 4) for s in seconds[name][1:]],
            "warm_up_seconds": round(seconds[name][0], 4),
            "median_epoch_seconds": round(statistics.median(seconds[name][1:]), 4),
        }
    train, held = pictures(args)
    device = training.choose_device(args.device)
    ours = results["gentut"]
    medians = {name: result["median_epoch_seconds"] for name, result in results.items()}
    rival = min(("notes", "calm"), key=medians.get)
    notes = results[rival]
    pairs = [a / b for a, b in zip(notes["epoch_seconds"], ours["epoch_seconds"], strict=True)]
    return {
        "benchmark": "vae_training",
        "compared_with": rival,
        "ratio_of_medians": round(medians[rival] / medians["gentut"], 2),
        "ratio_to_defaults": round(medians["notes"] / medians["gentut"], 2),
        "ratios_of_single_epochs": [round(p, 2) for p in pairs],
        "validation_difference_nats": round(ours["validation_nats"] - notes["validation_nats"], 3),
        "sides": results,
        "n": {"timed_epochs": args.epochs, "epochs": 1 + args.epochs, "pictures": len(train), "held_out": len(held)},
        "seeds": [SEED],
        "data": args.data,
        "quick": args.quick,
        "network": "784-256-2, batch 128, Adam 1e-3",
        "machine": machine(device) | {"load_average_before": round(load_before, 2)},
        "versions": versions(),
        "command": " ".join(["python", "benchmarks/vae_training.py", *args.words]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def table(record):
    """A short table for the reader."""
    lines = [f"{'':8} {'s/epoch':>9} {'nats':>9} {'MB':>7} {'GPU MB':>7}  precision"]
    for name, side in record["sides"].items():
        gpu = f"{side['peak_device_bytes'] / 1e6:.0f}" if "peak_device_bytes" in side else "-"
        lines.append(
            f"{name:8} {side['median_epoch_seconds']:9.3f} {side['validation_nats']:9.2f} "
            f"{side['peak_memory_bytes'] / 1e6:7.0f} {gpu:>7}  {side['precision']}"
        )
    n, notes = record["n"], record["sides"][record["compared_with"]]
    lines.append(
        f"ratio {record['ratio_of_medians']:.2f} (median of {n['timed_epochs']} epochs of {n['pictures']} pictures of "
        f"{record['data']}; against '{record['compared_with']}' with {notes['workers']} workers; "
        f"against PyTorch's default threads {record['ratio_to_defaults']:.2f}), "
        f"validation {record['validation_difference_nats']:+.2f} nats after {n['epochs']} epochs"
    )
    return "\n".join(lines)


def main(words=None):
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10, help="timed epochs; one more warms up")
    parser.add_argument("--device", help="cpu, cuda or cuda:0; the GPU if there is one by default")
    parser.add_argument("--data", default="mnist", help="mnist, fashion-mnist or mnist-mini")
    parser.add_argument("--precision", default="auto", help="of gentut's side; the notes' loop knows only fp32")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/vae_training-DEVICE.json")
    parser.add_argument("--quick", action="store_true", help="a thousand pictures: to see that it runs, not how fast")
    parser.add_argument("--worker", choices=("notes", "calm", "gentut"), help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    args.words = words
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        if args.worker:
            return work(args)
        device = training.choose_device(args.device)
        vae.Config(precision=args.precision)  # refuses an unknown one
        args.data = data_at_hand(args.data)
        pictures(args)  # whatever is wrong with the data shows here, not in two processes at once
        record = compare(args)
    except gentut.Error as why:
        parser.exit(2, f"{why}\n")
    kind = "quick-" * args.quick + device.type + f"-{args.precision}" * (args.precision != "auto")
    keep(record, args.out or RESULTS / f"vae_training-{kind}.json", table)


if __name__ == "__main__":
    main()
