"""Record the training replays that come with the package again: gentut/published/replays.

    python benchmarks/replays.py                      all that are not there yet (about half an hour on a CPU)
    python benchmarks/replays.py vae-healthy ddpm     these, whether they are there or not

A replay is a whole training run from its seed, so it takes as long as training does; gentut/replays.py has the settings
(RECIPES). --out writes elsewhere.
"""

import argparse
from pathlib import Path

from gentut import replays


def main(arguments=None):
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(replays.RECIPES)}; all that are absent by default")
    parser.add_argument("--out", type=Path, default=replays.FOLDER)
    parser.add_argument("--device")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or [n for n in replays.RECIPES if not (args.out / f"{n}.safetensors").exists()]:
        family, config = replays.recipe(name)
        replay = replays.record(family, config, device=args.device)
        size = replays.save(replay, args.out / f"{name}.safetensors")
        last = ", ".join(f"{k} {v[-1]:.3g}" for k, v in replay.measured.items())
        seconds = replay.about["seconds"]
        print(f"{name}: {len(replay.steps)} steps stored, {size:,} bytes, {seconds:.0f} s of training; {last}")


if __name__ == "__main__":
    main()
