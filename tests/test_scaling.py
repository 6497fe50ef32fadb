"""The record of several processes: what it measures, the formula for more of them, and the tables made from it."""

import importlib.util
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import checkpoints, vae

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def scaling():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks/scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(monkeypatch):
    """A small network in the place of a published one."""
    config = vae.Config(encoder=(8,), decoder=(8,), batch_size=32, epochs=1, validation=1000, keep_best=True)
    monkeypatch.setitem(vae.PUBLISHED, "vae-2d", config)


times = st.floats(1e-4, 10)


@given(times, st.integers(1, 10**9), st.sampled_from([2, 4, 8]))
def test_the_formula_keeps_its_bounds(scaling, one, size, n):
    """A process alone is efficient, none is more than that, and slower links never help."""
    ideal = {str(k): one / k for k in scaling.SHARES}
    values = [scaling.efficiency(ideal, size, n, link) for link in scaling.LINKS]  # the slower link first
    assert 0 < values[0] <= values[1] <= 1
    assert scaling.efficiency(ideal, size, 1, "10 Gbit/s") == 1
    fixed = dict.fromkeys(ideal, one)  # nothing gets less with the share: N processes do the work N times
    assert scaling.efficiency(fixed, size, n, "100 Gbit/s") <= 1 / n
    alone = scaling.efficiency(ideal, size, n, "10 Gbit/s", grows=True)
    assert 0 < alone <= 1 and alone >= values[0] - 1e-12  # a batch for each is never worse than a share of one


def test_the_formula_by_hand(scaling):
    """4 processes, 5 MB over 1.25 GB/s: 2 · 3/4 · 5e6 / 1.25e9 s = 6 ms, and 2 · 3 · 50 µs = 0.3 ms."""
    local = {"1": 0.1, "4": 0.03}
    assert scaling.efficiency(local, 5_000_000, 4, "10 Gbit/s") == pytest.approx(0.1 / (4 * 0.0363))
    assert scaling.efficiency(local, 5_000_000, 4, "10 Gbit/s", grows=True) == pytest.approx(0.1 / 0.1063)


def test_a_run_is_timed_and_compared(scaling, tiny, tmp_path):
    device = torch.device("cpu")
    for name, steps in (("one", 20), ("same", 20)):
        found = scaling.train("vae-2d", steps, tmp_path / name / "run", device)
        assert 0 < found["processor"] < 5 and found["wall"] > 0 and found["precision"] == "fp32"
    assert scaling.difference("vae-2d", 20, tmp_path / "one", tmp_path / "same") == {"loss": 0, "weights": 0}
    path = tmp_path / "same/run/log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 20
    rows[7]["loss"] *= 1.5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert scaling.difference("vae-2d", 20, tmp_path / "one", tmp_path / "same")["loss"] == pytest.approx(0.5)
    module, config = scaling.settings("vae-2d", 20)
    assert (config.validation, config.data, config.steps, config.log_every) == (0, "mnist-mini", 20, 1)
    weights = tmp_path / "same/run/weights.safetensors"
    untrained = module.build(config).state_dict()
    weights.write_bytes(scaling.runs.tensors_to_bytes(untrained))
    found = scaling.difference("vae-2d", 20, tmp_path / "one", tmp_path / "same")
    assert found["weights"] == pytest.approx(1)  # as far off as training has come


def test_a_share_of_the_batch_takes_less_time(scaling, monkeypatch):
    config = vae.Config(latent=2, encoder=(512,), decoder=(512,), batch_size=1024, epochs=1)
    monkeypatch.setitem(vae.PUBLISHED, "vae-2d", config)
    found = scaling.local("vae-2d", torch.device("cpu"), 4)
    assert list(map(int, found)) == list(scaling.SHARES)
    assert found["8"] < 0.6 * found["1"] and found["2"] < found["1"]


def test_the_readmes_tables_are_those_of_the_records(scaling):
    text = scaling.README.read_text(encoding="utf-8")
    assert scaling.with_section(text) == text, "run python benchmarks/scaling.py --readme"


def test_several_processes_follow_the_single_one_in_the_record():
    record = checkpoints.measured("scaling-cpu")
    assert set(record["networks"]) == {"vae-20d", "ddpm-page"}
    for name, found in record["networks"].items():
        assert set(found["runs"]) == {"1", "2"} and found["side_by_side"]["processes"] == 2
        assert found["gradient_bytes"] == 4 * checkpoints.card(name)["parameters"]
        assert found["runs"]["1"]["from_one"] == {"loss": 0, "weights": 0}
        off = found["runs"]["2"]["from_one"]
        assert 0 < off["loss"] < 1e-3 and 0 < off["weights"] < 1e-2, name
        assert found["runs"]["2"]["all_reduce_seconds"] > 0
        assert len(found["runs"]["2"]["processor_seconds_per_step"]) == 2
        assert all(math.isfinite(t) and t > 0 for t in found["local_seconds"].values())


@pytest.mark.parametrize(("words", "what"), [
    ("--networks vae-3d", "unknown published network 'vae-3d'.*Did you mean"),
    ("--networks dcgan", "dcgan has no single loss that could be timed"),
    ("--processes 0", "--processes of at least 1"), ("--steps 5", "--steps of at least 20"),
    ("--device gpu", "unknown device|not supported"),
])
def test_a_mistake_ends_in_one_message(scaling, capsys, words, what):
    with pytest.raises(SystemExit) as end:
        scaling.main(["--device", "cpu", *words.split()])
    assert end.value.code == 2 and re.search(what, capsys.readouterr().err)
