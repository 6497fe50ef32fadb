"""What does a training step of each published network spend its time on?

    python benchmarks/training_steps.py [NAME ...] [--device cpu] [--steps 20]
    python benchmarks/training_steps.py --readme     runs nothing: writes the record's table into benchmarks/README.md

For each network, with its published settings (on mnist-mini: a step costs the same, whatever the pictures are):

- the time of a step, the median of `--steps` after a few that warm up: processor time of one thread on a CPU, so that
  other work on the machine counts little; wall time on a GPU;
- the three operations with the largest share of it, by PyTorch's profiler (self time);
- the arithmetic of the step's matrix products and convolutions (torch.utils.flop_counter: a product and its sum are
  two) per second, as a fraction of what a matrix product of 1024 x 1024 does at the step's precision, the two measured
  next to one another. What is missing to 1 goes into memory traffic, small operations and Python.
"""

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path

import gentut  # before torch, whose threads it calms

# isort: split
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gentut import checkpoints, choose, data, runs, training

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import RESULTS, autocast, between, keep, machine, versions

README = Path(__file__).parent / "README.md"
START, END = "<!-- steps: made by benchmarks/training_steps.py -->", "<!-- end of steps -->"
WARM_UP = 3


class Counted(TorchDispatchMode):
    """Adds up the arithmetic of what runs inside, with PyTorch's own formulas for matrix products and convolutions.

    torch.utils.flop_counter.FlopCounterMode also asks which module is at work, and so fails at a gradient penalty.
    """

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        self.operations += count(*args, **(kwargs or {}), out_val=out) if count else 0
        return out


def prepared(module, config, device):
    """The loop that training.fit would run for a chapter's network, not started."""
    found = {}

    def instead_of_fit(model, config, losses, images, labels=None, **_):
        precision = training.choose_precision(config.precision, device)
        turns = losses if isinstance(losses, tuple) else (training.Turn(losses),)
        held = len(images) - config.validation
        found["loop"] = training._Loop(model, config, turns, images, labels, held, device, precision, 0, 1)
        raise StopIteration

    fit, training.fit = training.fit, instead_of_fit
    try:
        module.train(config, device=device)
    except StopIteration:
        return found["loop"]
    finally:
        training.fit = fit


def clock(device):
    """Seconds: of the processor on a CPU, of the wall on a GPU, when it is done with what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def matmul_rate(precision, device, n=1024, repeats=10):
    """Operations a second of an n x n matrix product in a precision."""
    a, b = torch.randn(2, n, n, device=device)
    with autocast(precision, device):
        a @ b
        times = []
        for _ in range(repeats):
            start = clock(device)
            a @ b
            times.append(clock(device) - start)
    return 2 * n**3 / statistics.median(times)


def measure(name, steps, device):
    """What a step of a published network costs, as a dict."""
    family = checkpoints.card(name)["family"]
    module = importlib.import_module(f"gentut.{family}")
    config = module.PUBLISHED[name].replace(data="mnist-mini", validation=0, keep_best=False)
    loop = prepared(module, config, device)
    order = loop.order(0)
    for k in range(WARM_UP):
        loop.update(order[k])
    with Counted() as counted:
        loop.update(order[WARM_UP])
    rates, times = [matmul_rate(loop.precision, device)], []
    for k in range(steps):
        start = clock(device)
        loop.update(order[(WARM_UP + 1 + k) % len(order)])
        times.append(clock(device) - start)
    rates.append(matmul_rate(loop.precision, device))
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    with torch.profiler.profile(activities=kinds) as profile:
        for k in range(max(2, steps // 4)):
            loop.update(order[k])
        clock(device)
    seconds, rate = statistics.median(times), statistics.median(rates)
    return {
        "family": family, "parameters": sum(p.numel() for p in loop.model.parameters()),
        "batch_size": config.batch_size, "precision": loop.precision,
        "milliseconds": round(1e3 * seconds, 2), "pictures_per_second": round(config.batch_size / seconds),
        "operations": counted.operations, "matmul_operations_per_second": round(rate),
        "share_of_matmul_rate": round(counted.operations / seconds / rate, 3),
        "largest": largest(profile, device),
    }  # fmt: skip


def largest(profile, device, count=3):
    """The operations with the largest shares of a profile: [{"operation", "share"}]."""
    which = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = {e.key.removeprefix("aten::"): getattr(e, which) for e in profile.key_averages()}
    total = sum(times.values())
    first = sorted(times, key=times.get, reverse=True)[:count]
    return [{"operation": name, "share": round(times[name] / total, 3)} for name in first]


def table(record):
    """The record as Markdown."""
    lines = [
        "| network | step, ms | pictures/s | precision | share of the matmul rate | the three largest costs |",
        "|---|--:|--:|---|--:|---|",
    ]
    for name, found in record["networks"].items():
        costs = ", ".join(f"`{each['operation']}` {each['share']:.0%}" for each in found["largest"])
        cells = [f"`{name}`", f"{found['milliseconds']:.1f}", f"{found['pictures_per_second']:,}", found["precision"],
                 f"{found['share_of_matmul_rate']:.2f}", costs]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section():
    """What stands between the markers of benchmarks/README.md: a table for each kind of machine that has a record."""
    parts = []
    for path in sorted(RESULTS.glob("training_steps-*.json")):
        record = runs.read_json(path)
        if record["quick"]:
            continue
        where = record["machine"].get("gpu") or f"{record['machine']['cpu']}, {record['machine']['threads']} thread"
        parts.append(f"\n{where}, torch {record['versions']['torch']}:\n\n{table(record)}\n")
    return "\n".join(parts)


def with_section(text):
    """The text of benchmarks/README.md with the tables of the records that there are."""
    return between(text, START, END, section())


def main(arguments=None):
    """Measure the networks, keep the record, renew the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = checkpoints.names()
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--device", help="cpu or cuda; the GPU if there is one by default")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each network")
    parser.add_argument("--quick", action="store_true", help="a trial: its record is not for the README")
    parser.add_argument("--readme", action="store_true", help="measure nothing, write the table from the record")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.readme:
        README.write_text(with_section(README.read_text(encoding="utf-8")), encoding="utf-8")
        return
    if options.steps < 4:
        parser.error(f"--steps must be at least 4, got {options.steps}")
    try:
        device = training.choose_device(options.device)
        names = [choose("published network", name, known) for name in options.names] or known
        if device.type == "cpu":
            torch.set_num_threads(1)
        data.load("mnist-mini")
        found = {name: measure(name, options.steps, device) for name in names}
    except gentut.Error as why:
        parser.error(str(why))
    record = {"benchmark": "training_steps", "quick": options.quick, "n": {"steps": options.steps}, "seed": 0,
              "networks": found, "machine": machine(device), "versions": versions(),
              "command": " ".join(["python benchmarks/training_steps.py", *(arguments or sys.argv[1:])])}
    keep(record, options.out or RESULTS / f"training_steps-{device.type}.json", table)


if __name__ == "__main__":
    main()
