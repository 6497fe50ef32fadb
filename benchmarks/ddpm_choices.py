"""What the choices of a diffusion model are worth: one network trained alike, with one choice changed at a time.

    python benchmarks/ddpm_choices.py                   trains what is not measured yet (minutes a choice on a CPU)

Every run has the same data, batches, steps and seed. Each is measured with the same sampler on n pictures drawn from
seed 0; the last choices change the sampler alone, at the network of the first. The results go to
benchmarks/results/ddpm_choices-DEVICE.json.
"""

import argparse
import json
import warnings

import torch
from surroundings import RESULTS, autocast, data_at_hand, machine, versions

from gentut import ddpm, metrics, training

# The notes' schedule does not reach noise, and says so; here that is measured.
warnings.filterwarnings("ignore", message="the schedule does not reach noise")

SETTINGS = {"batch_size": 64, "learning_rate": 4e-3, "warmup": 100, "decay": "cosine", "ema": 0.995,
            "precision": "bf16", "log_every": 100}
SAMPLING = {"steps": 20, "eta": 0.0}
BASE = "the book's: v, cosine, T = 1000, L2, group norm"
CHOICES = {  # words: (changes of the configuration, changes of the sampling)
    BASE: ({}, {}),
    "predict the noise ε": ({"predict": "eps"}, {}),
    "predict the picture x₀": ({"predict": "x0"}, {}),
    "linear schedule, T = 1000, ε": ({"predict": "eps", "schedule": "linear"}, {}),
    "linear schedule, T = 300, ε (√ᾱ_T = 0.22)": ({"predict": "eps", "schedule": "linear", "T": 300}, {}),
    "L1 instead of L2": ({"loss": "l1"}, {}),
    "batch norm": ({"norm": "batch"}, {}),
    "all of the notes' choices": (ddpm.NOTES, {}),
    "no moving average of the weights": ({"ema": 0.0}, {}),
    "x₀ not clamped": ({}, {"clip": False}),
    "DDPM's ancestral steps, posterior variance": ({}, {"eta": 1.0}),
    "DDPM's ancestral steps, variance β": ({}, {"eta": 1.0, "variance": "beta"}),
}


def main():
    """Train, measure, write after each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="updates of each training")
    parser.add_argument("--n", type=int, default=2000, help="pictures drawn from each network")
    parser.add_argument("--choices", type=int, nargs="+", default=range(len(CHOICES)), help="places in the list")
    parser.add_argument("--device")
    args = parser.parse_args()
    device = training.choose_device(args.device)
    base = ddpm.Config(data=data_at_hand("mnist"), steps=args.steps, **SETTINGS)
    path = RESULTS / f"ddpm_choices-{device.type}.json"
    rows = {row["choice"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    trained = {}
    for place in args.choices:
        choice = list(CHOICES)[place]
        if choice in rows:
            continue
        changes, sampling = CHOICES[choice]
        config = base.replace(**changes)
        if config not in trained:
            trained[config] = ddpm.train(config, device=args.device)
        run, how = trained[config], {**SAMPLING, **sampling}
        with autocast(config.precision, device):
            pictures = ddpm.sample(run.model, args.n, generator=torch.Generator().manual_seed(0), **how)
        found = metrics.likeness(pictures.float())
        numbers = {k: found[k] for k in ("frechet", "floor", "ratio", "precision", "recall", "n")}
        rows[choice] = {"choice": choice, "changes": {**changes, **sampling}, **numbers, "steps": how["steps"],
                        "parameters": sum(p.numel() for p in run.model.parameters()), "seconds": round(run.seconds, 1)}
        record = {"benchmark": "ddpm_choices", "machine": machine(device), "versions": versions(),
                  "settings": base.to_dict(), "rows": [rows[c] for c in CHOICES if c in rows]}
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(choice, {k: round(v, 3) for k, v in numbers.items()})


if __name__ == "__main__":
    main()
