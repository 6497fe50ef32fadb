"""The numbers of README.md: a table made from the cards of the published networks and the benchmarks' results.

    python site/readme_numbers.py            rewrites the section between the two markers
    python site/readme_numbers.py --check    exits 1 if the section is not what the files say

No number in that section is typed by hand; tests/test_packaging.py runs the check.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- numbers: made by site/readme_numbers.py -->", "<!-- end of numbers -->"


def networks(folder: Path) -> list[str]:
    """One row for each published network: what its number is, on which test pictures, and what it took."""
    lines = [
        "| network | weights | test pictures | nats per image | | n | trained | on |",
        "|---|--:|---|--:|---|--:|--:|---|",
    ]
    for name, card in cards(folder, "pixelcnn", "vae"):
        test = card["metrics"]["test"]
        pictures, config = test["pictures"].split(", ")[1], card["config"]
        cells = [
            f"`{name}`",
            f"{card['parameters']:,}",
            pictures if pictures != "grey" else "grey, by cross-entropy",
            f"{test['nats']:.1f}",
            _meaning(card["family"], config, test),
            f"{test['n']:,}",
            *_made(card),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cards(folder: Path, *families):
    """(name, card) of every published network of these families, by name."""
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    return [(name, card) for name, card in found if card["family"] in families]


def _made(card):
    return f"{card['steps']:,} steps, {card['seconds']:,.0f} s", card["device"]


def likeness(folder: Path) -> list[str]:
    """One row for each network judged by its pictures, and a sentence about the network that judges them."""
    (judge, about), = cards(folder, "classifier")
    test = about["metrics"]["test"]
    lines = [
        "",
        "Pictures drawn from a network, against real digits: the squared Fréchet distance of their features from those",
        "of the 60,000 training digits, beside that of as many real test digits (the floor). The features are the last",
        f"hidden layer of `{judge}`, whose error on {test['n']:,} test digits is {100 * test['error']:.2f} %.",
        "Calls are how often the network is asked for one picture.",
        "",
        "| network | weights | calls | Fréchet distance | floor | ratio | precision | recall | n | trained | on |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, card in cards(folder, "ddpm", "gan"):
        test = card["metrics"]["test"]
        if "ratio" not in test:  # the classifier knows digits, not clothes
            continue
        cells = [f"`{name}`", f"{card['parameters']:,}", str(test.get("evaluations", 1)),
                 f"{test['frechet']:.2f}", f"{test['floor']:.2f}",
                 f"{test['ratio']:.1f}", f"{test['precision']:.2f}", f"{test['recall']:.2f}", f"{test['n']:,}",
                 *_made(card)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _meaning(family, config, test):
    """What a network's nats are: exact, a bound, or no likelihood at all."""
    if family == "pixelcnn":
        return f"exact; {test['bits_per_dim']:.3f} bits/dim"
    if not config["noise"]:
        return "reconstruction alone"
    if "importance_weighted_nats" in test:
        return f"bound; {test['importance_weighted_nats']:.1f} with {test['k']:,} codes"
    return "bound"


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
    published = root / "gentut" / "published"
    rows = [*networks(published), *likeness(published), *benchmarks(root / "benchmarks" / "results")]
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
