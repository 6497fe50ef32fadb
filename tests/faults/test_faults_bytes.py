"""Damaged files, cut off or with bytes changed at random: an error, or the state before; never a wrong result."""

import io
import shutil

import harm
import numpy as np
import pytest
import torch
from harm import CONFIGS, SOAK, agree, chance, damages, same

from gentut import Error, checkpoints, data, metrics, runs

CUTS, FLIPS = 50, 200  # of each file; in the short form fewer of the big ones
FEW = (CUTS, FLIPS) if SOAK else (5, 10)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(the folder of an uninterrupted run, that of one killed after the update 9)."""
    folder, config = tmp_path_factory.mktemp("bytes"), CONFIGS["vae"]
    harm.train("vae", config, folder / "whole")
    process = harm.start("vae", config, folder / "run", harm=(harm.stop_before, 10))
    harm.wait_for(lambda: harm.steps_of(folder / "run") >= 9, process)
    process.kill()
    process.join()
    return folder / "whole", folder / "run"


def damaged(raw, path, cuts, flips, kind, tally):
    """Write each damaged form of `raw` to `path`, one after the other, and give its bytes and what was done to it."""
    for what, content in damages(raw, cuts, flips, kind):
        tally.tried(kind)
        path.write_bytes(content)
        yield content, what
    path.write_bytes(raw)


def test_a_damaged_state_gives_way_to_the_one_before(killed, tmp_path, tally, capsys):
    kind, out = "damaged state", tmp_path / "run"
    shutil.copytree(killed[1], out)
    newest, before = (runs.unpack_state((out / name).read_bytes()) for name in (runs.STATE, runs.PREVIOUS))
    assert newest[1]["step"] == 8 and before[1]["step"] == 6
    state = out / runs.STATE
    for _, what in damaged(state.read_bytes(), state, CUTS, FLIPS, kind, tally):
        tensors, facts = runs.Folder(out, runs.read_json(out / "config.json"), resume=True).load_state()
        if facts == newest[1]:  # in the white space of the header, say
            assert same(tensors, newest[0]), what
            tally.survived(kind, "nothing was lost")
        else:
            assert facts == before[1] and same(tensors, before[0]), what
            assert "going on from state-previous.safetensors" in capsys.readouterr().err, what
            tally.survived(kind, "went on from the state before")


def test_two_damaged_states_are_an_error(killed, tmp_path, tally):
    kind, out = "both states damaged", tmp_path / "run"
    shutil.copytree(killed[1], out)
    whole = runs.unpack_state((out / runs.STATE).read_bytes())
    (out / runs.PREVIOUS).write_bytes((out / runs.PREVIOUS).read_bytes()[:-1])
    state = out / runs.STATE
    for _, what in damaged(state.read_bytes(), state, *FEW, kind, tally):
        try:
            found = runs.Folder(out, runs.read_json(out / "config.json"), resume=True).load_state()
        except Error as why:
            assert "no whole state in" in str(why) and runs.PREVIOUS in str(why)
            tally.survived(kind, "clear error")
        else:
            assert same(found[0], whole[0]) and found[1] == whole[1], what
            tally.survived(kind, "nothing was lost")


@pytest.mark.parametrize("name", [runs.STATE, "config.json", "log.jsonl"])
def test_a_run_with_a_damaged_file_ends_bitwise_or_refuses(killed, tmp_path, tally, name):
    """The whole way: damage, resume, train on, compare."""
    kind, (whole, run) = f"trained on after damage to {name}", killed
    raw = (run / name).read_bytes()
    for what, content in damages(raw, *((5, 15) if SOAK else (1, 2)), kind):
        tally.tried(kind)
        out = tmp_path / "run"
        shutil.copytree(run, out)
        (out / name).write_bytes(content)
        try:
            harm.train("vae", CONFIGS["vae"], out, resume=True)
        except Error as why:
            assert name == "config.json", (what, why)
            assert "config.json is damaged" in str(why) or "another configuration" in str(why), what
            tally.survived(kind, "clear error")
        else:
            agree(whole, out)
            tally.survived(kind, "went on bitwise")
        shutil.rmtree(out)


@pytest.mark.parametrize("family", CONFIGS)
def test_damaged_weights_are_refused(family, tmp_path, tally):
    kind, config, path = "damaged weights", CONFIGS[family], tmp_path / "one.safetensors"
    facts = {"family": family, "config": config.to_dict(), "metrics": {"test": {"nats": 91.25}}}
    checkpoints.save(harm.CHAPTERS[family].build(config), facts, path)
    share = (CUTS, FLIPS) if SOAK or family == "vae" else (10, 20)
    for _, what in damaged(path.read_bytes(), path, *share, kind, tally):
        with pytest.raises(Error, match="no whole safetensors file|has the SHA-256 .* but its card says|is a pickle"):
            checkpoints.load(path, "cpu")
            pytest.fail(what)
        tally.survived(kind, "clear error")
    checkpoints.load(path, "cpu")


def test_a_damaged_card_is_refused_or_says_the_same(tmp_path, tally):
    """Of every published network: no number on a card is silently another."""
    kind = "damaged card"
    for i, name in enumerate(checkpoints.names()):
        weights = checkpoints.FOLDER / f"{name}.safetensors"
        (tmp_path / f"{name}.safetensors").symlink_to(weights)
        path, stated = tmp_path / f"{name}.json", checkpoints.card(name)
        share = (CUTS, FLIPS) if SOAK or i == 0 else (5, 40)
        for _, what in damaged(weights.with_suffix(".json").read_bytes(), path, *share, kind, tally):
            try:
                found = checkpoints.card(tmp_path / f"{name}.safetensors")
            except Error as why:
                assert f"{name}.json is damaged" in str(why) or "digest" in str(why), what
                tally.survived(kind, "clear error")
            else:
                assert found == stated, what
                tally.survived(kind, "nothing was lost")


@pytest.mark.parametrize("name", checkpoints.names() if SOAK else ["classifier"])
def test_damaged_published_weights_are_refused(tmp_path, tally, name):
    kind, path = "damaged published weights", tmp_path / f"{name}.safetensors"
    shutil.copy(checkpoints.FOLDER / f"{name}.json", tmp_path)
    raw = (checkpoints.FOLDER / f"{name}.safetensors").read_bytes()
    for _, what in damaged(raw, path, *FEW, kind, tally):
        with pytest.raises(Error, match="no whole safetensors file|has the SHA-256 .* but its card says|is a pickle"):
            checkpoints.load(path, "cpu")
            pytest.fail(what)
        tally.survived(kind, "clear error")


def test_a_damaged_file_of_features_is_refused(tmp_path, tally, monkeypatch):
    """What generated pictures are compared with."""
    kind, path = "damaged features", tmp_path / metrics.STORED
    raw, whole = (checkpoints.FOLDER / metrics.STORED).read_bytes(), metrics.reference()
    shutil.copy(checkpoints.FOLDER / "classifier.json", tmp_path)
    (tmp_path / "classifier.safetensors").symlink_to(checkpoints.FOLDER / "classifier.safetensors")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    for _, what in damaged(raw, path, *FEW, kind, tally):
        metrics._read.cache_clear()
        try:
            found = metrics.reference()
        except Error as why:
            assert f"{metrics.STORED} is damaged" in str(why), what
            tally.survived(kind, "clear error")
        else:
            assert same(vars(found), vars(whole)), what
            tally.survived(kind, "nothing was lost")
    metrics._read.cache_clear()


def test_a_damaged_mnist_mini_is_refused(tmp_path, tally, monkeypatch):
    kind, whole = "damaged mnist-mini", data.load("mnist-mini")
    raw = data.MINI.read_bytes()
    monkeypatch.setattr(data, "MINI", tmp_path / "mini.npz")
    for _, what in damaged(raw, data.MINI, *FEW, kind, tally):
        data.load.cache_clear()
        try:
            found = data.load("mnist-mini")
        except Error as why:
            assert "mini.npz is damaged" in str(why) and "install gentut again" in str(why), what
            tally.survived(kind, "clear error")
        else:
            assert same(vars(found), vars(whole)), what  # a date in the zip, say
            tally.survived(kind, "nothing was lost")
    data.load.cache_clear()


def test_every_byte_of_a_zips_headers(tmp_path, tally, monkeypatch):
    """Flags in a zip's headers stand for passwords, other packings, newer formats: all of them are one error."""
    kind, parts = "damaged zip headers", ("train_images", "train_labels", "test_images", "test_labels")
    small = {name: np.zeros((2, 28, 28) if "images" in name else 2, np.uint8) for name in parts}
    packed = io.BytesIO()
    np.savez_compressed(packed, **small)
    raw = packed.getvalue()
    monkeypatch.setattr(data, "MINI", tmp_path / "mini.npz")
    tensors = [torch.from_numpy(a if a.ndim == 3 else a.astype(np.int64)) for a in small.values()]
    monkeypatch.setattr(data, "MINI_SHA256", data.digest(*tensors))
    dice = chance(kind)
    for place in range(len(raw)) if SOAK else sorted(dice.sample(range(len(raw)), 150)):
        tally.tried(kind)
        content = bytearray(raw)
        content[place] ^= 1 << dice.randrange(8)
        data.MINI.write_bytes(content)
        data.load.cache_clear()
        try:
            found = data.load("mnist-mini")
        except Error as why:
            assert "mini.npz is damaged" in str(why), place
            tally.survived(kind, "clear error")
        else:
            assert found.sha256 == data.MINI_SHA256, place
            tally.survived(kind, "nothing was lost")
    data.load.cache_clear()
