"""The record of the long form: it was made by `make soak`, tried what it should, and everything survived."""

import pytest
from harm import CONFIGS, SOAK, chance, damages

from gentut import checkpoints

FORMATS = ("IDX", "safetensors", "states", "cards")


@pytest.mark.skipif(SOAK, reason="the record is being made")
def test_everything_survived_the_last_soak():
    record = checkpoints.measured("faults-cpu")
    assert record["benchmark"] == "faults" and record["command"] == "make soak" and record["failed_tests"] == 0
    kinds, tried = record["kinds"], {kind: row["tried"] for kind, row in record["kinds"].items()}
    for kind, row in kinds.items():
        assert row["tried"] == row["survived"] == sum(row["how"].values()) > 0, kind
    assert record["tried"] == record["survived"] == sum(tried.values())
    for family in CONFIGS:
        assert tried[f"kill -9, {family}"] == 20 and tried[f"memory flat, {family}, 2000 steps"] == 1
    assert tried["killed while writing, vae"] > 50 and tried["killed while writing, gan"] > 50
    assert tried["disk full, at any write"] > 50
    for kind in ("damaged state", "both states damaged"):
        assert tried[kind] == 250  # cut off at 50 lengths, 200 changed bytes
    assert tried["damaged weights"] == 250 * len(CONFIGS)
    networks = len(checkpoints.names())
    assert tried["damaged card"] >= 250 * min(networks, 14) and tried["damaged published weights"] >= 250 * 14
    for name in FORMATS:
        assert tried[f"fuzzing, {name}"] >= 2000
    for how in ("dies", "falls silent"):
        assert tried[f"one of two processes {how}"] == 10


def test_what_is_chosen_at_random_is_the_same_everywhere():
    """A fault that was found is found again: the seed in the record says which were tried."""
    assert chance("a", 1).random() == chance("a", 1).random() != chance("a", 2).random()
    raw = bytes(range(256)) * 8
    first, second = (list(damages(raw, 5, 20, "x")) for _ in range(2))
    assert first == second and len({content for _, content in first}) > 20
    for what, content in first:
        assert content != raw and len(content) <= len(raw), what
        if what.startswith("byte"):
            assert len(content) == len(raw) and sum(a != b for a, b in zip(raw, content, strict=True)) == 1
