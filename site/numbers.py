"""The numbers of README.md: a table made from the cards of the published networks and the benchmarks' results.

    python site/numbers.py            rewrites the section between the two markers
    python site/numbers.py --check    exits 1 if the section is not what the files say

No number in that section is typed by hand; tests/test_packaging.py runs the check.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- numbers: made by site/numbers.py -->", "<!-- end of numbers -->"


def networks(folder: Path) -> list[str]:
    """One row for each published network: nats on the test pictures, on the training pictures, and what it took."""
    lines = [
        "| network | latent | nats, test | nats, train | n | trained | on |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for path in sorted(folder.glob("*.json")):
        card = json.loads(path.read_text())
        test, train = card["metrics"]["test"], card["metrics"]["train"]
        cells = [
            f"`{path.stem}`",
            str(card["config"]["latent"]),
            f"{test['nats']:.1f}",
            f"{train['nats']:.1f}",
            f"{test['n']:,}",
            f"{card['steps']:,} steps, {card['seconds']:,.0f} s",
            card["device"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def section(root: Path = ROOT) -> str:
    """What stands between the markers."""
    return "\n".join(["", *networks(root / "gentut" / "published"), ""])


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
            raise SystemExit("README.md's numbers are not those of the result files: run python site/numbers.py")
    elif text != new:
        readme.write_text(new, encoding="utf-8")
        print("README.md has new numbers")


if __name__ == "__main__":
    main()
