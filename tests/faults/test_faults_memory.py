"""Memory: a long run holds at its end what it held at its beginning."""

import json
from pathlib import Path

import harm
import pytest
from harm import CONFIGS, SOAK, ended, start

STEPS = 2000 if SOAK else 300


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("family", CONFIGS if SOAK else ["gan"])
def test_memory_stays_flat(family, tmp_path, tally):
    """Rows are logged, states saved. A kept batch in each update would be 25 kB · 1800 = 45 MB (7 MB in 270)."""
    kind = f"memory flat, {family}, {STEPS} steps"
    tally.tried(kind)
    config = CONFIGS[family].replace(steps=STEPS, log_every=5, save_every=20)
    out, answers = tmp_path / "run", tmp_path / "memory.json"
    ended(start(family, config, out, harm=(harm.memory, STEPS, str(answers))), out, seconds=600)
    early, late = json.loads(answers.read_text()).values()
    assert late - early < 4e6, f"{(late - early) / 1e6:.1f} MB more"
    tally.survived(kind, "flat")
