"""How good the published diffusion models' pictures are by the sampler and its number of steps, and what they cost.

    python benchmarks/ddpm_steps.py                     DDIM: n = 10,000 up to 50 steps, 2,000 above (an hour on a CPU)
    python benchmarks/ddpm_steps.py --network ddpm-page --steps 20 50

Each row is measured by metrics.likeness, whose floor is that of as many real digits: compare ratios, and distances at
one n only. Rows that are in benchmarks/results/ddpm_steps-DEVICE.json already are kept, unless the weights changed.
"""

import argparse
import json
import time

import torch
from surroundings import RESULTS, autocast, machine, versions

from gentut import checkpoints, ddpm, metrics, training

SAMPLERS = {
    "DDIM": {"eta": 0.0},
    "DDPM, posterior variance": {"eta": 1.0, "variance": "posterior"},
    "DDPM, variance beta": {"eta": 1.0, "variance": "beta"},
}
STEPS = (1000, 250, 100, 50, 20, 10)


def measured(model, sampler, steps, n, precision):
    """One row: what n pictures look like to metrics.likeness, and the seconds to draw 1,000."""
    started = time.perf_counter()
    with autocast(precision, next(model.parameters()).device):
        pictures = ddpm.sample(model, n, generator=torch.Generator().manual_seed(0), steps=steps, **SAMPLERS[sampler])
    seconds = time.perf_counter() - started
    found = metrics.likeness(pictures.float())
    numbers = {k: found[k] for k in ("frechet", "floor", "ratio", "precision", "recall", "n")}
    return {"sampler": sampler, "steps": steps, **numbers, "seconds_per_1000": 1000 * seconds / n,
            "precision_of_arithmetic": precision}


def main():
    """Measure what is missing, and write after each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="ddpm-mnist")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["DDIM"])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--n", type=int, help="pictures for each row; by default 10,000 up to 50 steps, 2,000 above")
    parser.add_argument("--precision", choices=training.PRECISIONS[1:], default="bf16")
    parser.add_argument("--device")
    args = parser.parse_args()
    device = training.choose_device(args.device)
    model, weights = checkpoints.load(args.network, device), checkpoints.card(args.network)["sha256"]
    path = RESULTS / f"ddpm_steps-{device.type}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    networks = record.get("networks", {})
    if networks.get(args.network, {}).get("sha256") != weights:
        networks[args.network] = {"sha256": weights, "rows": []}
    rows = networks[args.network]["rows"]
    for steps in sorted(args.steps):
        for sampler in args.samplers:
            n = args.n or (10_000 if steps <= 50 else 2_000)
            if any((row["sampler"], row["steps"], row["n"]) == (sampler, steps, n) for row in rows):
                continue
            row = measured(model, sampler, steps, n, args.precision)
            rows.append(row)
            rows.sort(key=lambda row: (list(SAMPLERS).index(row["sampler"]), row["steps"], row["n"]))
            record = {"benchmark": "ddpm_steps", "machine": machine(device), "versions": versions(),
                      "networks": networks}
            path.write_text(json.dumps(record, indent=1) + "\n")
            print(args.network, sampler, steps, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)})


if __name__ == "__main__":
    main()
