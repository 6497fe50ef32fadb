"""How much the published DCGAN's numbers depend on chance: the same settings trained from several seeds.

    python benchmarks/gan_seeds.py --seeds 1 2        trains what is not trained yet, and measures it (hours on a CPU)

Seed 0 is the published network, whose card has its numbers. Runs go to runs/gan-seeds/SEED and go on where they
stopped; the results of all that are there go to benchmarks/results/gan_seeds-DEVICE.json.
"""

import argparse
import json
import statistics
from pathlib import Path

from surroundings import RESULTS, machine, versions

from gentut import checkpoints, gan, training

NUMBERS = ("frechet", "ratio", "precision", "recall", "histogram_distance")


def measured(seed, folder, device=None):
    """The row of one seed: numbers at n = 10,000, steps and seconds."""
    if seed == 0:
        card = checkpoints.card("dcgan")
    else:
        config = gan.PUBLISHED["dcgan"].replace(seed=seed)
        out = folder / str(seed)
        run = gan.train(config, out=out, resume=(out / "state.safetensors").exists(), device=device)
        if not run.complete:
            raise SystemExit(f"seed {seed} was stopped; run this again to go on")
        model = checkpoints.half_(run.model)
        card = checkpoints.card_of(run, "gan", {"test": gan.evaluate(model, config.data)})
    test = card["metrics"]["test"]
    return {"seed": seed, **{k: test[k] for k in (*NUMBERS, "floor", "shares", "n")},
            "steps": card["steps"], "seconds": card["seconds"], "device": card["device"]}


def main():
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/gan-seeds"))
    parser.add_argument("--device")
    args = parser.parse_args()
    device = training.choose_device(args.device)
    path = RESULTS / f"gan_seeds-{device.type}.json"
    rows = {row["seed"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    for seed in sorted({0, *args.seeds}):
        if seed == 0 or seed not in rows:
            rows[seed] = measured(seed, args.out, args.device)
        print(rows[seed])
    shown = [rows[seed] for seed in sorted(rows)]
    record = {
        "benchmark": "gan_seeds", "machine": machine(device), "versions": versions(),
        "config": gan.PUBLISHED["dcgan"].to_dict(), "rows": shown,
        "mean": {k: statistics.fmean(row[k] for row in shown) for k in NUMBERS},
        "standard_deviation": {k: statistics.stdev(row[k] for row in shown) for k in NUMBERS} if len(shown) > 1 else {},
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(record["mean"], record["standard_deviation"])


if __name__ == "__main__":
    main()
