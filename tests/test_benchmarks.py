"""The benchmarks run, compare like with like, and write down all that a number needs to be believed."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from gentut import data, training, vae

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("vae_training", ROOT / "benchmarks/vae_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_sides_train_the_same_network(benchmark):
    """The same weights and noise give the same loss and gradients on both sides."""
    config = vae.Config(data="mnist-mini")
    ours, notes = vae.build(config), benchmark.Notes()
    assert sum(p.numel() for p in notes.parameters()) == sum(p.numel() for p in ours.parameters())
    for theirs, own in zip(notes.parameters(), ours.parameters(), strict=True):
        theirs.data.copy_(own.data)
    images = data.load("mnist-mini").train_images[:16]
    noise = training.Noise(0, 16)
    eps = training.Noise(0, 16).normal(2)
    one = vae.losses(ours, data.to_unit(images), None, noise)["loss"].mean()
    loader = torch.utils.data.DataLoader(benchmark.Pictures(images), batch_size=16)
    x = next(iter(loader))
    assert torch.equal(x, data.to_unit(images))  # by way of PIL or not, the same numbers
    other = benchmark.notes_loss(notes, x, eps) / 16
    assert other.item() == pytest.approx(one.item(), rel=1e-5)
    one.backward()
    other.backward()
    for theirs, own in zip(notes.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(theirs.grad, own.grad, rtol=1e-3, atol=1e-4)


def test_a_quick_run_without_mnist(benchmark, tmp_path, monkeypatch, capsys):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / data.TRAIN_IMAGES).write_bytes(b"not MNIST")
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    data.load.cache_clear()
    out = tmp_path / "results" / "record.json"
    benchmark.main(["--quick", "--epochs", "2", "--device", "cpu", "--out", str(out)])
    said, warned = capsys.readouterr()
    assert "was refused" in warned and "Falling back to mnist-mini" in warned
    record = json.loads(out.read_text())
    assert record["data"] == "mnist-mini" and record["quick"] and record["seeds"] == [0]
    assert record["n"] == {"timed_epochs": 2, "epochs": 3, "pictures": 1024, "held_out": 512}
    assert {"cpu", "cores", "threads", "load_average_before"} <= record["machine"].keys()
    assert {"python", "torch", "numpy", "pillow", "gentut"} <= record["versions"].keys()
    assert record["command"].startswith("python benchmarks/vae_training.py --quick --epochs 2")
    notes, ours = record["sides"]["notes"], record["sides"]["gentut"]
    assert record["compared_with"] == min(("notes", "calm"), key=lambda s: record["sides"][s]["median_epoch_seconds"])
    for side in (notes, record["sides"]["calm"], ours):
        assert len(side["epoch_seconds"]) == 2 and min(side["epoch_seconds"]) > 0
        assert side["updates"] == 24 and side["peak_memory_bytes"] > 1e8
        assert 150 < side["validation_nats"] < 400  # an untrained network has 543
    assert set(notes["seconds_by_workers"]) == {"0", "1", "2"} and notes["workers"] in (0, 1, 2)
    assert abs(record["validation_difference_nats"]) < 15  # after so few updates
    assert f"ratio {record['ratio_of_medians']:.2f}" in said


def test_its_mistakes_are_clear(benchmark, capsys):
    for words, what in [
        ("--epochs 0", "--epochs must be at least 1"),
        ("--data minst", "Did you mean 'mnist'"),
        ("--device gpu", "unknown device|not supported"),
    ]:
        with pytest.raises(SystemExit) as end:
            benchmark.main(["--quick", *words.split()])
        assert end.value.code == 2
        assert re.search(what, capsys.readouterr().err)


def test_a_quick_run_of_the_foundations(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("foundations", ROOT / "benchmarks/foundations.py")
    foundations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(foundations)
    out = tmp_path / "record.json"
    foundations.main(["--quick", "--repeats", "3", "--out", str(out)])
    record = json.loads(out.read_text())
    assert record["quick"] and record["repeats"] == 3 and record["command"].endswith(f"--repeats 3 --out {out}")
    for kind, tolerance in (("float32", 1e-5), ("float64", 1e-14)):
        row = record["kl"][kind]
        assert row["pairs"] == 1000 and row["largest_difference_nats"] < tolerance
        assert row["ratio"] == row["seconds"]["gentut"] / row["seconds"]["bare"] > 0
    assert record["evolve"]["distance_to_the_exact_fractions"] < 1e-14
    assert record["simulate"]["ratio_per_step"] > 1
    assert {"cpu", "cores", "threads"} <= record["machine"].keys() and "torch" in record["versions"]
    assert f"written to {out}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        foundations.main(["--repeats", "0"])
