"""The numbers of README.md: tables made from the cards of the published networks and the benchmarks' results.

    python site/readme_numbers.py            rewrites the section between the two markers
    python site/readme_numbers.py --check    exits 1 if the section is not what the files say

No number in that section is typed by hand; tests/test_packaging.py runs the check.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- numbers: made by site/readme_numbers.py -->", "<!-- end of numbers -->"


def leaderboard() -> list[str]:
    """The tables of gentut/leaderboard.py, which the page "Results" shows too, and a sentence to each."""
    from gentut import checkpoints, leaderboard

    test = checkpoints.card("classifier")["metrics"]["test"]
    return [
        "How probable the test pictures are:",
        "",
        leaderboard.likelihoods().markdown(),
        "",
        "Pictures drawn from a network, against real digits: the squared Fréchet distance of their features from those",
        "of the 60,000 training digits, beside that of as many real test digits (the floor). The features are the last",
        f"hidden layer of `classifier`, whose error on {test['n']:,} test digits is {100 * test['error']:.2f} %.",
        "Black and white pictures are compared with black and white digits. Calls are how often the network is asked",
        f"for one picture; seconds per 1,000 pictures: {leaderboard.machine()}.",
        "",
        leaderboard.likeness().markdown(),
        "",
        "What the networks took:",
        "",
        leaderboard.costs().markdown(),
    ]


def benchmarks(folder: Path) -> list[str]:
    """One row for each machine that the training benchmark was run on: the notes' loop against gentut's."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("vae_training-*.json"))]
    records = [record for record in records if not record["quick"]]
    if not records:
        return []
    lines = [
        "",
        "Training speed (`make bench`): a DataLoader loop as in most tutorials, with the best of 0, 1 and 2 workers,",
        "against gentut's, at the same network (784-256-2), batch and epochs. The two run in turns, epoch by epoch.",
        "A row is one run; the loop's own time differs between runs, so a small difference of ratios tells nothing.",
        "",
        "| machine, gentut's precision | pictures | s an epoch, each | ratio | peak MB, each | validation nats, each |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for record in records:
        loop, ours, machine = record["sides"][record["compared_with"]], record["sides"]["gentut"], record["machine"]
        cells = [
            (machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores") + f", {ours['precision']}",
            f"{record['n']['pictures']:,}",
            f"{loop['median_epoch_seconds']:.2f} / {ours['median_epoch_seconds']:.2f}",
            f"{record['ratio_of_medians']:.1f} ×",
            f"{loop['peak_memory_bytes'] / 1e6:,.0f} / {ours['peak_memory_bytes'] / 1e6:,.0f}",
            f"{loop['validation_nats']:.1f} / {ours['validation_nats']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def section(root: Path = ROOT) -> str:
    """What stands between the markers."""
    rows = [*leaderboard(), *benchmarks(root / "benchmarks" / "results")]
    return "\n".join(["", *rows, ""])


def insert(text: str, body: str) -> str:
    """The text with the section between its markers replaced."""
    before, rest = text.split(START)
    return before + START + "\n" + body + "\n" + END + rest.split(END)[1]


def main():
    """Rewrite or check README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = insert(text, section())
    if "--check" in sys.argv:
        if text != new:
            raise SystemExit("README.md's numbers are not those of the result files: run python site/readme_numbers.py")
    elif text != new:
        readme.write_text(new, encoding="utf-8")
        print("README.md has new numbers")


if __name__ == "__main__":
    main()
