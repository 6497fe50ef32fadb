"""How much a published network's numbers depend on chance: the same settings trained from several seeds.

    python benchmarks/seeds.py vae-notes-20 --seeds 1 2     trains what is not trained yet, and measures it
    python benchmarks/seeds.py dcgan --seeds 1 2            the better part of an hour a seed on a CPU

Seed 0 is the published network: its numbers are on its card, and what its drawn pictures are like, if the card does not
say, in the record of benchmarks/sampling.py. The other seeds are measured in the same way, after their weights were
rounded to float16 as publishing does. Runs go to runs/seeds/NAME/SEED and go on where they stopped; the results of all
that are there go to benchmarks/results/seeds-DEVICE.json. gentut/leaderboard.py makes means and spreads of them.
"""

import argparse
import importlib
import json
from pathlib import Path

from sampling import judged
from surroundings import RESULTS, machine, versions

# isort: split

from gentut import checkpoints, training


def row(name, seed, folder, device=None):
    """What one seed other than the published one gives: numbers at full n, steps, seconds and the device."""
    chapter = importlib.import_module(f"gentut.{checkpoints.card(name)['family']}")
    config = chapter.PUBLISHED[name].replace(seed=seed)
    out = folder / name / str(seed)
    run = chapter.train(config, out=out, resume=(out / "state.safetensors").exists(), device=device)
    if not run.complete:
        raise SystemExit(f"{name}, seed {seed}, was stopped; run this again to go on")
    model, family = checkpoints.half_(run.model), checkpoints.card(name)["family"]
    found = {"test": chapter.evaluate(model, config.data)}
    if "ratio" not in found["test"] and hasattr(chapter, "sample") and config.data == "mnist":
        found |= judged(model, family)
    return {"seed": seed, "metrics": found, "steps": run.step, "seconds": round(run.seconds, 1), "device": run.device,
            "precision": run.precision}


def main(words=None):
    """Train, measure, write after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a published network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"), help="where the runs are kept")
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/seeds-DEVICE.json")
    args = parser.parse_args(words)
    card, device = checkpoints.card(args.name), training.choose_device(args.device)
    if card["seed"] in args.seeds:
        parser.error(f"seed {card['seed']} is the published one")
    path = args.out or RESULTS / f"seeds-{device.type}.json"
    for seed in args.seeds:
        if any(each["seed"] == seed for each in known(path, args.name, card["config"])["rows"]):
            continue
        found = row(args.name, seed, args.runs, args.device)
        mine = known(path, args.name, card["config"])  # read again: others may have written while this one trained
        mine["rows"] = sorted([*mine["rows"], found], key=lambda each: each["seed"])
        networks = read(path)["networks"] | {args.name: mine | {"machine": machine(device), "versions": versions()}}
        record = {"benchmark": "seeds", "networks": dict(sorted(networks.items()))}
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{args.name}, seed {seed}: {checkpoints.headline_text(found)}, {found['seconds']:.0f} s", flush=True)


def read(path):
    """The record as it is now."""
    return json.loads(path.read_text()) if path.exists() else {"networks": {}}


def known(path, name, config):
    """What the record has of a network: nothing, if its settings have changed since."""
    found = read(path)["networks"].get(name, {})
    return found if found.get("config") == config else {"config": config, "rows": []}


if __name__ == "__main__":
    main()
