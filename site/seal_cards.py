"""Write the digest of every published card into it again, after a card was changed by hand and the change is meant.

    python site/seal_cards.py [CARD.json ...]        all published cards by default

A number on a card comes from a measurement (`gentut reproduce NAME`), so there is rarely a reason: a new field, say.
"""

import sys
from pathlib import Path

from gentut import checkpoints, runs


def main(paths):
    """Seal the cards at `paths`, or all published ones, and say which of them were not sealed."""
    for path in map(Path, paths) if paths else sorted(checkpoints.FOLDER.glob("*.json")):
        facts = runs.read_json(path)
        if facts.get("card_sha256") != checkpoints.card_digest(facts):
            checkpoints.write_card(facts, path)
            print(f"sealed {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
