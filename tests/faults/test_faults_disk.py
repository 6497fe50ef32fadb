"""Disks that are full: the run ends with one clear error, and goes on from its last state when there is room again."""

import re
from pathlib import Path

import harm
import pytest
from harm import CONFIGS, SOAK, again, agree, chance, ended, start

from gentut import Error, checkpoints, data, runs

NO_SPACE = "No space left on device"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run of the VAE."""
    out = tmp_path_factory.mktemp("whole") / "run"
    harm.train("vae", CONFIGS["vae"], out)
    return out


def test_full_in_the_middle_of_any_operation_on_the_disk(whole, tmp_path, tally):
    with harm.Disk(0) as disk:
        harm.train("vae", CONFIGS["vae"], tmp_path / "counted")
    operations = range(1, disk.done + 1) if SOAK else sorted(chance("full").sample(range(1, disk.done), 12))
    for k in operations:
        tally.tried("disk full, at any write")
        out = tmp_path / str(k)
        with harm.Disk(k, harm.no_space()), pytest.raises(Error, match=f"could not write {out}/.*: {NO_SPACE}"):
            harm.train("vae", CONFIGS["vae"], out)
        resume = again(out)
        assert resume or k < 25  # there is a state soon
        harm.train("vae", CONFIGS["vae"], out, resume)
        agree(whole, out)
        tally.survived("disk full, at any write", "clear error, then went on bitwise" if resume else
                       "clear error before the first state, then started anew")


@pytest.mark.parametrize("family", CONFIGS if SOAK else ["gan"])
def test_a_limit_on_the_size_of_files(family, tmp_path, tally):
    """The operating system itself refuses: once for each of several limits, from several updates on."""
    config, dice = CONFIGS[family], chance("limit", family)
    harm.train(family, config, tmp_path / "whole")
    size = (tmp_path / "whole" / runs.STATE).stat().st_size
    for _ in range(6 if SOAK else 1):
        tally.tried("file size limit")
        out, step = tmp_path / "run", dice.randint(4, harm.STEPS)
        ended(start(family, config, out, harm=(harm.limit_files, step, dice.randrange(1200, size))), out, status=2)
        assert re.search(r"^gentut: could not write .*: File too large", harm.said(out))
        harm.train(family, config, out, resume=True)
        agree(tmp_path / "whole", out)
        tally.survived("file size limit", "clear error, then went on bitwise")
        again_from_nothing(out)


def again_from_nothing(out):
    for path in out.iterdir():
        path.unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "name",
    ["config.json.part", "log.jsonl", f"{runs.FRESH}.part", "weights.safetensors.part", "results.json.part",
     "weights.json.part"],
)
def test_the_kernels_own_full_device(whole, tmp_path, tally, name):
    """/dev/full in place of one file: every write to it fails as on a full disk."""
    tally.tried("/dev/full")
    out = tmp_path / "run"
    if name != "config.json.part":
        harm.train("vae", CONFIGS["vae"], out)  # a finished run, cut back to the state before its last
        (out / runs.PREVIOUS).replace(out / runs.STATE)
        for path in out.iterdir():
            if path.name not in ("config.json", runs.STATE):
                path.unlink()
        if name == "log.jsonl":  # a resumed run replaces its log, and then appends
            name = "log.jsonl.part"
    out.mkdir(exist_ok=True)
    (out / name).symlink_to("/dev/full")
    resume = harm.has_state(out)
    with pytest.raises(Error, match=f"could not write {out}/{name.removesuffix('.part')}: {NO_SPACE}"):
        harm.train("vae", CONFIGS["vae"], out, resume)
    assert not (out / name).exists() and Path("/dev/full").is_char_device()  # the link was removed, not the device
    harm.train("vae", CONFIGS["vae"], out, resume)
    agree(whole, out)
    tally.survived("/dev/full", "clear error, then went on bitwise")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_log_that_cannot_grow_is_an_error(tmp_path, tally):
    tally.tried("/dev/full")
    folder = runs.Folder(tmp_path / "run", {}, resume=False)
    (folder.path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(Error, match=f"could not write .*log.jsonl: {NO_SPACE}"):
        folder.log({"step": 1})
    tally.survived("/dev/full", "clear error")


def test_publishing_on_a_full_disk_keeps_a_whole_network_or_says_so(tmp_path, tally, monkeypatch):
    """Weights and card are two files: between their renames a reader is told, and the next attempt mends it."""
    shop, config = tmp_path / "shop", CONFIGS["vae"]
    shop.mkdir()
    monkeypatch.setattr(checkpoints, "FOLDER", shop)

    def made(nats, seed):
        facts = {"family": "vae", "config": config.to_dict(), "metrics": {"test": {"nats": nats}}}
        model = harm.CHAPTERS["vae"].build(config.replace(seed=seed))
        checkpoints.save(model, facts, tmp_path / f"{seed}/one.safetensors")
        return tmp_path / f"{seed}/one.safetensors"

    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
    old, new = made(120.0, 1), made(110.0, 2)
    with harm.Disk(0) as disk:
        checkpoints.publish(old)
    for k in range(1, disk.done + 1):
        tally.tried("disk full while publishing")
        for path in shop.iterdir():
            path.unlink()
        checkpoints.publish(old)
        with harm.Disk(k, harm.no_space()), pytest.raises(Error, match=f"could not write {shop}/one.*: {NO_SPACE}"):
            checkpoints.publish(new)
        try:
            checkpoints.load("one", "cpu")
            found = checkpoints.card("one")["metrics"]["test"]["nats"]
            assert (shop / "one.safetensors").read_bytes() == {120.0: old, 110.0: new}[found].read_bytes()
            how = "the network before is whole" if found == 120.0 else "the new one is whole"
        except Error as why:
            assert "has the SHA-256" in str(why)
            how = "clear error"
        assert "published, nats 110.00" in checkpoints.publish(new) or how == "the new one is whole"
        assert checkpoints.load("one", "cpu") and checkpoints.headline(checkpoints.card("one")) == ("nats", 110.0)
        tally.survived("disk full while publishing", how)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_cache_on_a_full_disk(tmp_path, tally, monkeypatch):
    """What was downloaded cannot be kept: an error that says why, and nothing half-written."""
    tally.tried("disk full while downloading")
    monkeypatch.delenv("GENTUT_DATA_DIR", raising=False)
    monkeypatch.setitem(data.SOURCES, "mnist", data.Source(("http://127.0.0.1/",), {}))
    monkeypatch.setattr(data, "_fetch", lambda url: b"\0\0\x08\x01" + bytes(4))
    monkeypatch.setattr(data, "_verified", lambda name, file, raw: raw)
    monkeypatch.setattr(data.os, "getpid", lambda: 7)
    folder = data.cache_folder() / "mnist"
    folder.mkdir(parents=True)
    (folder / f"{data.TRAIN_LABELS}.gz.7.part").symlink_to("/dev/full")
    with pytest.raises(Error, match=f"could not get {data.TRAIN_LABELS} of mnist:(?s:.*){NO_SPACE}"):
        data._file("mnist", data.TRAIN_LABELS)
    assert not any(folder.iterdir())
    tally.survived("disk full while downloading", "clear error")
