"""What drawing costs with every published network that draws, and what the pictures are like where no card says it.

    python benchmarks/sampling.py                        all of them, the CPU and then the GPU if there is one
    python benchmarks/sampling.py --networks vae-2d dcgan --device cuda

Every network draws batches of 1,000 pictures in float32 (on a GPU without TF32, which rounds to ten bits), from one
generator with seed 0: a VAE decodes codes from the prior, a PixelCNN draws pixel after pixel (with labels in turn), a
GAN's generator and a diffusion model do what their card's numbers were measured with. Ten pictures are drawn to warm
up, and the median of the batches counts. With one thread on a CPU the clock is processor time, which other programs on
the machine disturb less than they disturb wall time; else it is wall time.

VAEs and PixelCNNs have their likelihoods on their cards, but not what their pictures are like. That is measured here,
by metrics.likeness at n = 10,000 and seed 0, as for the others; a VAE shows the pixels' means, as its `sample` does.

For a network of black and white pictures that comparison is unfair: real test digits made black and white, which stand
beside it (`real_black_and_white`), are far from grey ones themselves. So such networks are measured against black and
white digits, too (`likeness_black_and_white`): the same classifier's features of the training digits, binarised from
seed 0 (data.binarise), give the reference, those of the test digits the floor, precision and recall. A VAE's pixels are
then drawn black or white.

Rows that are in benchmarks/results/sampling-DEVICE.json already are kept, unless the weights changed.
"""

import argparse
import functools
import importlib
import json
import statistics
import time
from pathlib import Path

from surroundings import RESULTS, machine, versions

# isort: split

import torch

import gentut
from gentut import checkpoints, data, metrics, training

BATCH, N = 1000, 10_000
NUMBERS = ("frechet", "floor", "ratio", "precision", "recall", "histogram_distance", "n")


def draws(name):
    """Whether a published network draws pictures: a classifier judges them."""
    return hasattr(importlib.import_module(f"gentut.{checkpoints.card(name)['family']}"), "sample")


def draw(model, family, n, generator):
    """(n, 1, 28, 28) in [0, 1], as the numbers of the family are measured."""
    how = {}
    if family == "ddpm":
        c = model.config
        how = {"steps": min(c.measure_steps, c.T), "eta": c.measure_eta, "guidance": c.measure_guidance}
    return importlib.import_module(f"gentut.{family}").sample(model, n, generator=generator, **how)


def calls(model, family):
    """How often the network is asked for one picture."""
    c = model.config
    if family == "ddpm":
        return min(c.measure_steps, c.T) * (1 if c.measure_guidance in (0, -1) else 2)
    return c.size**2 * c.channels if family == "pixelcnn" else 1


def clock(device):
    """("cpu" or "wall", a function that tells the seconds when all work is done)."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return "cpu", time.process_time

    def wall():
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    return "wall", wall


def drawn(model, family, batches, batch=BATCH, seed=0):
    """(pictures of all batches, on the CPU, seconds of each batch)."""
    device = next(model.parameters()).device
    draw(model, family, 10, torch.Generator().manual_seed(1))  # warms up
    tell, generator, parts, seconds = clock(device)[1], torch.Generator().manual_seed(seed), [], []
    for _ in range(batches):
        started = tell()
        pictures = draw(model, family, batch, generator)
        seconds.append(tell() - started)
        parts.append(pictures.cpu())
    return torch.cat(parts), seconds


def judged(model, family, n=N, batch=BATCH):
    """What n pictures are like: a dict with "likeness", and "likeness_black_and_white" where that was modelled."""
    return compared(model, drawn(model, family, n // batch, batch)[0])


def compared(model, pictures):
    """The same of pictures that `model` drew."""
    found = metrics.likeness(pictures)
    rows = {"likeness": {k: found[k] for k in (*NUMBERS, "shares", "reference")} | {"seed": 0}}
    c = model.config
    if getattr(c, "binary", False) or getattr(c, "levels", 0) == 2:
        pictures = torch.bernoulli(pictures, generator=torch.Generator().manual_seed(0))
        rows["likeness_black_and_white"] = black_and_white(pictures) | {"seed": 0}
    return rows


@functools.cache
def black_and_white_digits(name="mnist"):
    """(moments of the features of the binarised training digits, those features of the test digits, names of both)."""
    dataset = data.load(name)
    train, test = (torch.cat([metrics.features(part) for part in data.binarise(images).split(5000)])
                   for images in (dataset.train_images, dataset.test_images))
    return metrics.moments(train), test, (f"the {len(train)} training digits of {name}, black and white; floor, "
                                          f"precision and recall: its {len(test)} test digits, black and white")


def black_and_white(pictures, name="mnist"):
    """As metrics.likeness, but against black and white digits: as many pictures as there are test digits."""
    reference, test, words = black_and_white_digits(name)
    if len(pictures) != len(test):
        raise gentut.Error(f"the floor is that of {len(test)} test digits: draw as many pictures, not {len(pictures)}")
    found = metrics.features(pictures)
    distance, floor = (metrics.frechet(*metrics.moments(some), *reference) for some in (found, test))
    precision, recall = metrics.precision_recall(test, found)
    return {"frechet": distance, "floor": floor, "ratio": distance / floor, "precision": precision, "recall": recall,
            "n": len(found), "reference": words}


def measured(model, facts, timed=3, n=N, batch=BATCH):
    """The row of one network; `facts` is its card."""
    family, device = facts["family"], next(model.parameters()).device
    likeness = facts["data"] == "mnist" and "ratio" not in facts["metrics"]["test"]
    pictures, seconds = drawn(model, family, n // batch if likeness else timed, batch)
    row = {
        "sha256": facts["sha256"],
        "seconds_per_1000": 1000 / batch * statistics.median(seconds),
        "batch_seconds": [round(s, 4) for s in seconds], "batch": batch, "clock": clock(device)[0],
        "calls": calls(model, family), "precision_of_arithmetic": "fp32",
    }
    return row | (compared(model, pictures) if likeness else {})


def real_black_and_white():
    """What real test digits of the fixed binarisation are like, compared with grey ones."""
    found = metrics.likeness(data.binarise(data.load("mnist").test_images))
    return {k: found[k] for k in NUMBERS}


def measure(args, device):
    """Measure what is missing, and write after each network."""
    path = args.out or RESULTS / f"sampling-{device.type}.json"
    record = json.loads(path.read_text()) if path.exists() else {"benchmark": "sampling", "networks": {}}
    for name in args.networks or filter(draws, checkpoints.names()):
        facts = checkpoints.card(name)
        if record["networks"].get(name, {}).get("sha256") == facts["sha256"]:
            continue
        row = measured(checkpoints.load(name, device).requires_grad_(False), facts, args.timed)
        record["networks"] = dict(sorted((record["networks"] | {name: row}).items()))
        record |= {"machine": machine(device), "versions": versions()}
        path.write_text(json.dumps(record, indent=1) + "\n")
        ratio = row.get("likeness", {}).get("ratio")
        print(f"{name:16} {row['seconds_per_1000']:9.3f} s for 1,000 pictures ({row['clock']} time)"
              + (f", Fréchet ratio {ratio:.2f}" if ratio else ""), flush=True)
    if "real_black_and_white" not in record:
        record["real_black_and_white"] = real_black_and_white()
        path.write_text(json.dumps(record, indent=1) + "\n")


def main(words=None):
    """On --device, or on the CPU and then the GPU if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=[n for n in checkpoints.names() if draws(n)])
    parser.add_argument("--timed", type=int, default=3, help="batches of 1,000 that are timed where no more are needed")
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/sampling-DEVICE.json")
    args = parser.parse_args(words)
    if args.timed < 1:
        parser.error("--timed must be at least 1")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for each in [args.device] if args.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        measure(args, training.choose_device(each))


if __name__ == "__main__":
    main()
