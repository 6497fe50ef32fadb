"""What do several processes bring, and do they follow the single one?

    python benchmarks/scaling.py [--device cpu] [--processes 1 2] [--networks vae-20d ddpm-page]
    python benchmarks/scaling.py --readme     runs nothing: writes the record's tables into README.md

Each network is trained by `torchrun` with each number of processes: the same settings (the published ones, in fp32, on
mnist-mini), seed, batch and steps. Every process has one thread. Of each run the record has

- seconds a step, by the wall and by the processor of each process. Where other work shares the machine only the
  second means something; `busy` says how much there was;
- how far its losses and its trained weights are from those of the single process;
- what an all-reduce of as many bytes as the gradients have takes.

As many processes as the largest run has are also trained side by side, without a word to one another: no communication
can do better on this machine than that.

What to expect of more processes is worked out, not measured. One process of N computes for local(N) seconds a step:
its share of the batch, the noise of the whole batch, and all that does not depend on the batch. That needs no other
process to be timed. Then the gradients are averaged by a ring all-reduce over links of W bytes a second and a latency
of λ seconds a message (Patarasuk and Yuan, 2009, doi:10.1016/j.jpdc.2008.09.002):

    t(N) = local(N) + 2 (N - 1) / N · G / W + 2 (N - 1) λ,        efficiency(N) = local(1) / (N t(N)),

with G bytes of gradients, four for each weight. PyTorch averages some gradients while it still computes others, so the
formula says how bad it can be. If the batch grows with N instead, local(1) stays, and the efficiency is
local(1) / (local(1) + what the all-reduce takes), less the noise of the other processes' pictures.
"""

import argparse
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gentut  # before torch, whose threads it calms

# isort: split
import torch

from gentut import checkpoints, choose, machine, runs, training

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import RESULTS, between, keep, versions
from surroundings import machine as machine_facts
from training_steps import prepared

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
START, END = "<!-- scaling: made by benchmarks/scaling.py -->", "<!-- end of scaling -->"
NETWORKS = {"vae-20d": 200, "ddpm-page": 40}  # and the steps that each is trained for
CHUNK = 5  # steps between two looks at the clock
SHARES = (1, 2, 4, 8)  # numbers of processes for which local(N) is measured
# What is assumed of the links between machines: bytes a second in one direction, seconds of latency a message.
LINKS = {"10 Gbit/s": (1.25e9, 50e-6), "100 Gbit/s": (12.5e9, 10e-6)}


def settings(name, steps):
    """(chapter module, configuration) of a published network for a run of some steps."""
    family = checkpoints.card(name)["family"]
    module = importlib.import_module(f"gentut.{family}")
    config = module.PUBLISHED[name].replace(data="mnist-mini", validation=0, keep_best=False, precision="fp32")
    return module, config.replace(steps=steps, log_every=1, save_every=steps)


# ----------------------------------------------------------------------------------------- what a process of a run does


def work(args):
    """Train, and write how long the steps took: the process that torchrun starts."""
    torch.set_num_threads(1)
    device = training.choose_device(args.device)
    folder, rank = Path(args.folder), int(os.environ.get("RANK", 0))
    if args.worker == "all-reduce":
        found = all_reduce(args.bytes, device)
    else:
        found = train(args.worker, args.steps, folder / "run", device)
    runs.write_json(folder / f"rank{rank}.json", found)


def train(name, steps, out, device):
    """A run in `out`; returns its seconds a step, medians over chunks of steps, the first chunk left out."""
    module, config = settings(name, steps)
    losses, marks = module.losses, []

    def timed(*given):
        if timed.calls % CHUNK == 0:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            marks.append((time.perf_counter(), time.process_time()))
        timed.calls += 1
        return losses(*given)

    timed.calls = 0
    module.losses = timed  # what module.train trains with
    try:
        run = module.train(config, out=out, device=str(device))
    finally:
        module.losses = losses
    wall, processor = ([(b[i] - a[i]) / CHUNK for a, b in itertools.pairwise(marks[1:])] for i in (0, 1))
    return {"wall": statistics.median(wall), "processor": statistics.median(processor), "precision": run.precision}


def all_reduce(size, device, repeats=20):
    """Seconds that the processes take to add up `size` bytes of float32, the median of some repeats."""
    values, times = torch.ones(size // 4, device=device), []
    with machine.processes(device):
        for _ in range(repeats):
            torch.distributed.barrier()
            start = time.perf_counter()
            torch.distributed.all_reduce(values)
            values[:1].item()  # waits for the device
            times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times)}


def launch(name, processes, folder, device, *more, torchrun=True):
    """Start a run of `processes` processes on one machine; returns the Popen."""
    command = [sys.executable]
    if torchrun:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += [__file__, "--worker", name, "--folder", str(folder), "--device", device, *map(str, more)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    folder.mkdir(parents=True)
    log = open(folder / "log", "w")  # noqa: SIM115 (the process writes into it)
    return subprocess.Popen(command, stdout=log, stderr=log,
                            env={**os.environ, "OMP_NUM_THREADS": "1", "CI": "1", "PYTHONPATH": path})


def finish(process, folder):
    """Wait for a run; returns what each of its processes wrote, in order."""
    if process.wait():
        raise SystemExit(f"a run failed:\n{(folder / 'log').read_text()[-3000:]}")
    return [runs.read_json(path) for path in sorted(folder.glob("rank*.json"))]


# --------------------------------------------------------------------------------------------------------- comparisons


def difference(name, steps, one, other):
    """How far the run in the folder `other` is from that in `one`: logged quantities and weights.

    `loss`: the largest relative difference of a logged quantity. `weights`: the norm of the difference of the trained
    weights as a share of how far training has moved them.
    """
    rows = [[json.loads(line) for line in (f / "run/log.jsonl").read_text().splitlines()] for f in (one, other)]
    largest = 0.0
    for a, b in zip(*rows, strict=True):
        for key in a.keys() - {"seconds"}:
            largest = max(largest, abs(a[key] - b[key]) / max(1e-6, abs(a[key])))
    module, config = settings(name, steps)
    first = {k: v.double() for k, v in module.build(config).state_dict().items()}
    ends = [checkpoints.read_weights((f / "run/weights.safetensors").read_bytes()) for f in (one, other)]

    def norm(a, b):
        return sum((a[k].double() - b[k].double()).square().sum() for k in first).sqrt().item()

    return {"loss": largest, "weights": norm(*ends) / norm(ends[0], first)}


def local(name, device, steps):
    """Seconds of computation a step in one process of N, by N: processor time on a CPU, wall time on a GPU."""
    module, config = settings(name, 1000)
    loop = prepared(module, config, device)
    order, found = loop.order(0), {}

    def clock():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return time.perf_counter()
        return time.process_time()

    for n in SHARES:
        loop.rows = slice(0, config.batch_size // n)  # of the whole batch, whose noise it draws
        times = []
        for k in range(steps + 2):
            start = clock()
            loop.update(order[k % len(order)][loop.rows])
            times.append(clock() - start)
        found[str(n)] = statistics.median(times[2:])
    return found


def efficiency(local, size, n, link, grows=False):
    """The formula at the top: of N processes over one of LINKS. grows: the batch grows with N."""
    bandwidth, latency = LINKS[link]
    ring = 2 * (n - 1) / n * size / bandwidth + 2 * (n - 1) * latency
    return local["1"] / (local["1"] + ring) if grows else local["1"] / (n * (local[str(n)] + ring))


def measured(name, args, folder):
    """All that is measured of one network, as a dict."""
    steps = args.steps or NETWORKS.get(name, 40)
    module, config = settings(name, steps)
    size = 4 * sum(p.numel() for p in module.build(config).parameters())
    found, first = {}, folder / f"{name}-1"
    for n in sorted({1, *args.processes}):
        here, busy = folder / f"{name}-{n}", os.getloadavg()[0]
        each = finish(launch(name, n, here, args.device, "--steps", steps), here)
        wall = max(rank["wall"] for rank in each)
        found[str(n)] = {
            "seconds_per_step": wall, "pictures_per_second": config.batch_size / wall,
            "processor_seconds_per_step": [rank["processor"] for rank in each], "busy": round(busy, 2),
            "from_one": difference(name, steps, first, here),
        }
        if n > 1:
            there = folder / f"{name}-{n}-all-reduce"
            ranks = finish(launch("all-reduce", n, there, args.device, "--bytes", size), there)
            found[str(n)]["all_reduce_seconds"] = max(rank["seconds"] for rank in ranks)
    n, result = max(args.processes), {}
    if n > 1:
        folders = [folder / f"{name}-alone{k}" for k in range(n)]
        started = [launch(name, 1, f, args.device, "--steps", steps, torchrun=False) for f in folders]
        each = [finish(process, f)[0] for process, f in zip(started, folders, strict=True)]
        result["side_by_side"] = {
            "processes": n, "processor_seconds_per_step": [rank["processor"] for rank in each],
            "pictures_per_second": sum(config.batch_size / rank["wall"] for rank in each),
        }
    device = training.choose_device(args.device)
    return {"steps": steps, "batch_size": config.batch_size, "gradient_bytes": size, "runs": found, **result,
            "local_seconds": local(name, device, max(4, steps // 4))}


# -------------------------------------------------------------------------------------------------------------- tables


def processor(run):
    """Processor seconds a step of the slowest process of a run."""
    return max(run["processor_seconds_per_step"])


def table(record):
    """The record as Markdown: what was measured, then what to expect of more processes."""
    lines = ["| network, batch | processes | processor ms a step | pictures in a second of it | times as fast | "
             "losses differ by | weights differ by |", "|---|--:|--:|--:|--:|--:|--:|"]
    for name, found in record["networks"].items():
        alone, side = processor(found["runs"]["1"]), found.get("side_by_side")
        for n, run in found["runs"].items():
            off = ["", ""] if n == "1" else [f"{run['from_one'][k]:.0e}" for k in ("loss", "weights")]
            cells = [f"`{name}`, {found['batch_size']}", n, f"{1e3 * processor(run):.1f}",
                     f"{found['batch_size'] / processor(run):,.0f}", f"{alone / processor(run):.2f}", *off]
            lines.append(f"| {' | '.join(cells)} |")
        if side:
            n = side["processes"]
            lines.append(f"| {n} such runs side by side | 1 each | {1e3 * processor(side):.1f} | "
                         f"{n * found['batch_size'] / processor(side):,.0f} | {n * alone / processor(side):.2f} | | |")
    several = SHARES[1:]
    lines += ["", f"| network | gradients | link | efficiency of {', '.join(map(str, several))} processes: one batch "
              "shared | a batch for each |", "|---|--:|---|--:|--:|"]
    for name, found in record["networks"].items():
        for link in LINKS:
            cells = [", ".join(f"{efficiency(found['local_seconds'], found['gradient_bytes'], n, link, grows):.2f}"
                               for n in several) for grows in (False, True)]
            lines.append(f"| `{name}` | {found['gradient_bytes'] / 1e6:.2f} MB | {link} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def section():
    """What stands between the markers of README.md: the tables of each record that there is."""
    parts = []
    for path in sorted(RESULTS.glob("scaling-*.json")):
        record = runs.read_json(path)
        where = record["machine"].get("gpu") or f"{record['machine']['cpu']}, {record['machine']['cores']} cores"
        busy = max(run["busy"] for found in record["networks"].values() for run in found["runs"].values())
        parts.append(f"\n{where}, one thread a process, fp32, torch {record['versions']['torch']}. Up to {busy:.0f} "
                     f"other processes wanted these cores, so time is the processor's:\n\n{table(record)}\n")
    return "\n".join(parts)


def with_section(text):
    """The text of README.md with the tables of the records that there are."""
    return between(text, START, END, section())


def main(arguments=None):
    """Measure, keep the record, show the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = checkpoints.names()
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help=f"of {', '.join(known)}")
    parser.add_argument("--processes", type=int, nargs="+", default=None, help="1 2 on a CPU; 1 on a GPU by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--steps", type=int, help="of each network; by default as many as take some seconds")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/scaling-DEVICE.json")
    parser.add_argument("--readme", action="store_true", help="measure nothing, write the tables from the record")
    for name, kind in (("--worker", str), ("--folder", str), ("--bytes", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.readme:
        README.write_text(with_section(README.read_text(encoding="utf-8")), encoding="utf-8")
        return
    if args.worker:
        work(args)
        return
    args.processes = args.processes or ([1, 2] if args.device == "cpu" else [1])
    try:
        device = training.choose_device(args.device)
        for name in args.networks:
            module, _ = settings(choose("published network", name, known), 1)
            if module.__name__ not in ("gentut.vae", "gentut.ddpm", "gentut.pixelcnn"):
                raise gentut.Error(f"{name} has no single loss that could be timed: take a vae, a ddpm or a pixelcnn")
    except gentut.Error as why:
        parser.error(str(why))
    if (args.steps is not None and args.steps < 4 * CHUNK) or min(args.processes) < 1:
        parser.error(f"need --steps of at least {4 * CHUNK} and --processes of at least 1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measured(name, args, Path(folder)) for name in args.networks}
    record = {"benchmark": "scaling", "seed": 0, "networks": found, "links": LINKS, "machine": machine_facts(device),
              "versions": versions(),
              "command": " ".join(["python benchmarks/scaling.py", *(arguments or sys.argv[1:])])}
    keep(record, args.out or RESULTS / f"scaling-{device.type}.json", table)


if __name__ == "__main__":
    main()
