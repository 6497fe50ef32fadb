"""How fast are the functions of the foundations chapters? Each against the bare expression it stands for.

    python benchmarks/foundations.py [--repeats 31] [--quick]

- `information.kl` of a million pairs of 10-way distributions, in float32 and float64, against the bare expression
  `(p * (p / q).log()).sum(-1)`, which checks nothing and says NaN where p is 0. Goal: at most 3 times as long.
- `markov.evolve` of the restaurant's chain for a million steps, against numpy's matrix power and, for the first 1,000
  steps only, a loop of single steps. Goal: at most 10 ms.
- `markov.simulate` of a walk of 100,000 steps, against drawing each step with torch.multinomial (the first 1,000 only).

The sides of a comparison take turns in one process, on the same inputs; medians are compared.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import gentut  # before torch, whose threads it calms

# isort: split
import numpy as np
import torch

from gentut import checks, information, markov

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import RESULTS, keep, machine, versions

SEED = 0


def take_turns(sides, repeats):
    """Median seconds of each side: {name: function} → {name: seconds}. One round warms up and is not timed."""
    seconds = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def kl(pairs, repeats):
    """`information.kl` against the bare expression, in both precisions."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        g = torch.Generator().manual_seed(SEED)
        p, q = (torch.randn(pairs, 10, generator=g, dtype=dtype).softmax(-1) for _ in range(2))
        sides = {"bare": lambda p=p, q=q: (p * (p / q).log()).sum(-1), "gentut": lambda p=p, q=q: information.kl(p, q)}
        seconds = take_turns(sides, repeats)
        bare = (p.double() * (p.double() / q.double()).log()).sum(-1)
        worst = (information.kl(p, q).double() - bare).abs().max().item()
        found[str(dtype).removeprefix("torch.")] = {
            "pairs": pairs, "seconds": seconds, "ratio": seconds["gentut"] / seconds["bare"],
            "largest_difference_nats": worst,
        }  # fmt: skip
    return found


def evolve(steps, repeats):
    """`markov.evolve` by squaring against numpy's matrix power and a loop."""
    A, pi = markov.RESTAURANT, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    matrix, row = checks.numbers_of(A).numpy(), pi.numpy()
    short = min(steps, 1000)

    def loop():
        now = row
        for _ in range(short):
            now = now @ matrix
        return now

    seconds = take_turns(
        {
            "gentut": lambda: markov.evolve(pi, A, steps),
            "numpy.linalg.matrix_power": lambda: row @ np.linalg.matrix_power(matrix, steps),
            f"loop of {short} steps": loop,
        },
        repeats,
    )
    off = (markov.evolve(pi, A, steps) - torch.tensor([25, 15, 31], dtype=torch.float64) / 71).abs().max().item()
    return {"steps": steps, "states": 3, "seconds": seconds, "distance_to_the_exact_fractions": off}


def simulate(steps, repeats):
    """`markov.simulate` against a draw of torch.multinomial at every step."""
    A = checks.numbers_of(markov.RESTAURANT)
    short = min(steps, 1000)

    def multinomial():
        g, state = torch.Generator().manual_seed(SEED), 1
        for _ in range(short):
            state = int(torch.multinomial(A[state], 1, generator=g))

    sides = {"gentut": lambda: markov.simulate(A, 1, steps, generator=SEED), "multinomial": multinomial}
    seconds = take_turns(sides, repeats)
    return {
        "steps": steps, "multinomial_steps": short, "seconds": seconds,
        "ratio_per_step": (seconds["multinomial"] / short) / (seconds["gentut"] / steps),
    }  # fmt: skip


def table(record):
    """A record in words."""
    lines = []
    for kind, row in record["kl"].items():
        took = f"{row['seconds']['gentut']:.4f} s, {row['ratio']:.2f} x the bare expression"
        lines.append(f"kl, {row['pairs']:,} pairs, {kind}: {took}")
    steps = record["evolve"]["steps"]
    lines.append(f"evolve, {steps:,} steps: {1000 * record['evolve']['seconds']['gentut']:.2f} ms")
    walk = record["simulate"]
    took = f"{1000 * walk['seconds']['gentut']:.1f} ms, {walk['ratio_per_step']:.0f} x quicker a step"
    lines.append(f"simulate, {walk['steps']:,} steps: {took} (gentut {gentut.__version__})")
    return "\n".join(lines)


def main(words=None):
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=31, help="timed rounds; one more warms up")
    parser.add_argument("--quick", action="store_true", help="small inputs: to see that it runs, not how fast")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/foundations-cpu.json")
    args = parser.parse_args(words)
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    record = {
        "benchmark": "foundations",
        "command": " ".join(["python benchmarks/foundations.py", *words]),
        "quick": args.quick,
        "seed": SEED,
        "repeats": args.repeats,
        "kl": kl(1000 if args.quick else 1_000_000, args.repeats),
        "evolve": evolve(1000 if args.quick else 1_000_000, args.repeats),
        "simulate": simulate(1000 if args.quick else 100_000, args.repeats),
        "machine": machine(torch.device("cpu")),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    keep(record, args.out or RESULTS / f"foundations-{'quick-' * args.quick}cpu.json", table)


if __name__ == "__main__":
    main()
