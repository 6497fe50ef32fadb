"""How fast is drawing? A full pass of the network for each pixel, against keeping what is known of earlier pixels.

    python benchmarks/pixelcnn_sampling.py [--n 64] [--passes 98] [--repeats 3] [--device cuda] [--quick]

Both ways draw the same 64 pictures of 28 x 28 from the same uniforms with the published network `pixelcnn-binary`, in
float32, in one process and in turns. Goal: the incremental way is at least 30 times as fast.

The naive way makes 784 passes, all of the same cost: each looks at all pixels, whether they are drawn or not. By
default 98 of them, evenly spread over the picture, are timed, and their time is scaled to 784 (the record says so);
`--passes 784` times the whole of `pixelcnn.sample(method="naive")`. Whichever of two memory layouts is the faster for a
pass is taken. That both draw the same is checked at every timed pass, and by one more pass over the finished pictures:
a pixel depends on its uniform and the pixels before it alone, so that pass tells what 784 passes would have drawn. One
pixel that differs ends the benchmark.

The arithmetic floor is the time that the multiply-adds of drawing would take at the rate of a large matrix product,
measured beside them: each weight that no mask hides, once for every pixel. Runs on the CPU, then on the GPU if there is
one (there without TF32, which rounds to ten bits); `--device` chooses one of them.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import gentut  # noqa: F401 (before torch, whose threads it calms)

# isort: split
import torch
from torch import nn

from gentut import causal, checkpoints, drawing, pixelcnn

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import machine, on_each_device, versions

NETWORK, GOAL = "pixelcnn-binary", 30


def network(args, device):
    """The published network, or a tiny untrained one to see that everything runs."""
    if args.quick:
        config = pixelcnn.Config(size=10, width=6, head=6, dilations=(1,))
        return pixelcnn.build(config).to(device).eval().requires_grad_(False)
    return checkpoints.load(args.network, str(device)).requires_grad_(False)


def timed(device, run):
    """(seconds, what run() returns); the device has finished before and after."""
    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    result = run()
    wait()
    return time.perf_counter() - start, result


def matmul_rate(device):
    """Multiply-adds a second of a large float32 matrix product: the best of ten."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = torch.rand(2, n, n, device=device)
    return n**3 / min(timed(device, lambda: a @ b)[0] for _ in range(10))


def surviving(model):
    """Weights that no mask hides, in all convolutions."""
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    masks = [m.mask if isinstance(m, causal.CausalConv2d) else None for m in convs]
    return sum(c.weight.numel() if m is None else int(m.sum()) for c, m in zip(convs, masks, strict=True))


@torch.no_grad()
def naive_pass(model, x, uniforms, labels, place):
    """One step of the naive way: a full pass over half-drawn pictures, and the new pixel's values (n,)."""
    row, column = divmod(place, model.config.size)
    logits = model(x, labels)[..., row, column]
    return drawing.choose_level(logits, uniforms[:, 0, row, column])


@torch.no_grad()
def by_one_pass(model, x, uniforms, labels):
    """What the naive way draws at each pixel where the pixels before it are those of x: like x."""
    logits = model(x, labels)  # (n, levels or 1, size, size)
    return drawing.choose_level(logits.movedim(1, -1).flatten(0, 2), uniforms.flatten()).view_as(x)


def layouts(args, device, x, uniforms, labels):
    """Seconds of a pass in each memory layout, the best of three, and the network in the faster one."""
    models = {"contiguous": network(args, device), "channels_last": network(args, device)}
    models["channels_last"].to(memory_format=torch.channels_last)
    seconds = {
        name: min(timed(device, lambda m=model: naive_pass(m, x, uniforms, labels, 0))[0] for _ in range(3))
        for name, model in models.items()
    }
    faster = min(seconds, key=seconds.get)
    return seconds, faster, models[faster]


def compare(args, device):
    """Draw in both ways, in turns; returns the record that is written."""
    load_before = os.getloadavg()[0]
    model = network(args, device)
    c = model.config
    pixels, n = c.size**2, args.n
    uniforms = torch.rand(n, 1, c.size, c.size, generator=torch.Generator().manual_seed(args.seed)).to(device)
    labels = torch.arange(n, device=device) % c.classes if c.classes else None
    options = {"uniforms": uniforms, "labels": labels}
    drawn = pixelcnn.sample(model, n, **options)  # this one warms up
    trials, layout, whole = layouts(args, device, drawn, uniforms, labels)
    passes = min(args.passes, pixels)
    places = torch.linspace(0, pixels - 1, passes).round().long().tolist()

    incremental, naive, differ = [], [], 0
    for _ in range(args.repeats):
        seconds, again = timed(device, lambda: pixelcnn.sample(model, n, **options))
        incremental.append(seconds)
        differ += int((again != drawn).sum())
        if passes == pixels:
            seconds, other = timed(device, lambda: pixelcnn.sample(whole, n, method="naive", **options))
            differ += int((other != drawn).sum())
        else:
            seconds = 0.0
            for place in places:
                x = drawn.clone()
                x.view(n, -1)[:, place:] = 0  # as the picture is when this pixel is drawn
                took, value = timed(device, lambda x=x, k=place: naive_pass(whole, x, uniforms, labels, k))
                seconds += took
                differ += int((value != drawn.view(n, -1)[:, place]).sum())
        naive.append(seconds)
    differ += int((by_one_pass(whole, drawn, uniforms, labels) != drawn).sum())
    if differ:
        raise SystemExit(
            f"the two ways differ at {differ} pixels. If it is one or two, a uniform lies within rounding of a "
            "probability: take another --seed. More are a bug."
        )

    fast, slow = statistics.median(incremental), statistics.median(naive) * pixels / passes
    weights = surviving(model)
    work, rate = weights * pixels * n, matmul_rate(device)
    canvas = drawing.Canvas(model, n, labels)
    windows = list(canvas.kept)
    facts = {} if args.quick else {"sha256": checkpoints.card(args.network)["sha256"]}
    return {
        "benchmark": "pixelcnn_sampling",
        "ratio": slow / fast,
        "goal": GOAL,
        "pixels_that_differ": differ,
        "seconds": {"incremental": fast, "naive": slow, "each_incremental": incremental},
        "milliseconds_per_step": 1000 * fast / pixels,
        "naive": {
            "passes_of_the_whole": pixels, "passes_timed": passes, "scaled": passes < pixels, "each_seconds": naive,
            "seconds_per_pass": slow / pixels, "layout": layout, "seconds_per_pass_by_layout": trials,
        },
        "floor": {
            "weights": sum(p.numel() for p in model.parameters()), "surviving_weights": weights,
            "multiply_adds": work, "matmul_multiply_adds_per_second": rate, "seconds": work / rate,
            "fraction_incremental": work / rate / fast, "fraction_naive": work / rate / slow,
        },
        "canvas": {
            "bytes": canvas.memory(), "bytes_per_picture": canvas.memory() / n, "windows": len(windows),
            "features_per_pixel": sum(conv.in_channels for conv in windows),
        },
        "n": n, "size": c.size, "seed": args.seed, "repeats": args.repeats,
        "network": {"name": "tiny, untrained" if args.quick else args.network, **facts},
        "precision": "fp32",
        "quick": args.quick,
        "machine": machine(device) | {"load_average_before": round(load_before, 2)},
        "versions": versions(),
        "command": " ".join(["python", "benchmarks/pixelcnn_sampling.py", *args.words]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip


def table(record):
    """A few lines for the reader."""
    seconds, naive, floor, canvas = record["seconds"], record["naive"], record["floor"], record["canvas"]
    how = f"{naive['passes_timed']} of {naive['passes_of_the_whole']} passes timed" + ", scaled" * naive["scaled"]
    return "\n".join([
        f"{record['n']} pictures of {record['size']} x {record['size']} from {record['network']['name']}, "
        f"on {record['machine'].get('gpu', record['machine']['cpu'])}",
        f"naive        {seconds['naive']:9.3f} s  {100 * floor['fraction_naive']:6.2f} % of the floor  ({how})",
        f"incremental  {seconds['incremental']:9.3f} s  {100 * floor['fraction_incremental']:6.2f} % of the floor  "
        f"({record['milliseconds_per_step']:.3f} ms a step for all pictures)",
        f"ratio {record['ratio']:.1f} (goal: {record['goal']}), the same pictures; floor {floor['seconds']:.3f} s at "
        f"{floor['matmul_multiply_adds_per_second'] / 1e9:.0f} thousand million multiply-adds a second",
        f"canvas {canvas['bytes'] / 1e6:.1f} MB, {canvas['bytes_per_picture'] / 1e3:.0f} kB a picture: "
        f"{canvas['windows']} windows, {canvas['features_per_pixel']} features a pixel",
    ])


def main(words=None):
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, help="pictures; 64 by default")
    parser.add_argument("--passes", type=int, default=98, help="passes of the naive way that are timed each time")
    parser.add_argument("--repeats", type=int, default=3, help="times that each way is timed; medians count")
    parser.add_argument("--seed", type=int, default=0, help="of the uniforms")
    parser.add_argument("--network", default=NETWORK, help="a published network, or a path to NAME.safetensors")
    parser.add_argument("--device", help="cpu, cuda or cuda:0; by default the CPU, then the GPU if there is one")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/pixelcnn_sampling-DEVICE.json")
    parser.add_argument("--quick", action="store_true", help="a tiny network: to see that it runs, not how fast")
    args = parser.parse_args(words)
    args.words = words
    args.n = args.n or (4 if args.quick else 64)
    if min(args.n, args.passes, args.repeats) < 1:
        parser.error("--n, --passes and --repeats must be at least 1")
    on_each_device(parser, args, "pixelcnn_sampling", compare, table)


if __name__ == "__main__":
    main()
