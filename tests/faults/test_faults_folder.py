"""Two runs and one folder, and data files that change while they are in use."""

import gzip
import hashlib
import shutil

import harm
import numpy as np
import pytest
from harm import CONFIGS, SOAK, agree, chance, ended, same, start, stop_before, wait_for

from gentut import Error, data

CONFIG = CONFIGS["vae"].replace(log_every=1)
OTHER = CONFIG.replace(seed=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    harm.train("vae", CONFIG, out)
    return out


def test_a_second_run_is_refused_while_the_first_is_at_work(whole, tmp_path, tally):
    kind, out = "a second run in the folder", tmp_path / "run"
    first = start("vae", CONFIG, out, harm=(stop_before, 10, 600.0))
    wait_for(lambda: harm.steps_of(out) >= 9, first)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    for config, resume in [(CONFIG, True), (CONFIG, False), (OTHER, True), (OTHER, False)]:
        tally.tried(kind)
        with pytest.raises(Error, match=f"another run is at work in {out}|seed is 0 there and 1 here"):
            harm.train("vae", config, out, resume)
        assert {p.name: p.read_bytes() for p in out.iterdir()} == before
        tally.survived(kind, "clear error")
    tally.tried(kind)
    second = start("vae", CONFIG, out, True)  # from another process as well
    ended(second, out, status=2)
    assert "another run is at work" in harm.said(out)
    tally.survived(kind, "clear error")
    first.kill()
    first.join()
    tally.tried(kind)
    harm.train("vae", CONFIG, out, resume=True)  # the dead hold nothing
    agree(whole, out)
    tally.survived(kind, "went on bitwise after the first was killed")


def test_of_several_runs_that_start_at_once_one_wins(whole, tmp_path, tally):
    """Same folder, same moment; half of them with another seed, which must not leave its configuration there."""
    kind = "runs that start at once"
    harm.train("vae", OTHER, tmp_path / "other")
    for turn in range(20 if SOAK else 1):
        tally.tried(kind)
        out, at_once = tmp_path / f"{turn}", harm.fork.Barrier(4)
        processes = [
            start("vae", config, out, harm=(together, at_once), RANK=str(i), WORLD_SIZE="1")
            for i, config in enumerate([CONFIG, OTHER, CONFIG, OTHER])
        ]
        for process in processes:
            process.join(120)
        codes = [process.exitcode for process in processes]
        assert sorted(codes) == [0, 2, 2, 2], [harm.said(out, i) for i in range(4)]
        for i in range(4):
            if codes[i]:
                assert "is at work in" in harm.said(out, i) or "already holds" in harm.said(out, i) or \
                       "holds a run with another configuration" in harm.said(out, i)
        agree([whole, tmp_path / "other"][codes.index(0) % 2], out)
        tally.survived(kind, "one run, bitwise; a clear error for the others")
        shutil.rmtree(out)


def together(barrier):
    barrier.wait(60)


# ------------------------------------------------------------------------------------------- data files that change


FILES = {
    data.TRAIN_IMAGES: np.arange(4 * 784, dtype=np.uint32).astype(np.uint8).reshape(4, 28, 28),
    data.TRAIN_LABELS: np.array([1, 2, 3, 4], np.uint8),
    data.TEST_IMAGES: np.full((2, 28, 28), 9, np.uint8),
    data.TEST_LABELS: np.array([5, 6], np.uint8),
}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_data_file_that_changes_after_it_was_read(tmp_path, monkeypatch, tally, where):
    """What is in memory stays what it was; whoever reads the file next is told, and a cache mends itself."""
    kind, fetched = f"a data file that changes in the {where}", []
    digests = {name: hashlib.sha256(idx(a)).hexdigest() for name, a in FILES.items()}
    monkeypatch.setitem(data.SOURCES, "mnist", data.Source(("http://127.0.0.1/",), digests))
    packed = {f"{name}.gz": gzip.compress(idx(a)) for name, a in FILES.items()}
    monkeypatch.setattr(data, "_fetch", lambda url: fetched.append(url) or packed[url.rsplit("/", 1)[1]])
    monkeypatch.delenv("GENTUT_DATA_DIR", raising=False)
    if where == "folder":
        monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    folder = (tmp_path if where == "folder" else data.cache_folder()) / "mnist"
    folder.mkdir(parents=True)
    for name, raw in packed.items():
        (folder / name).write_bytes(raw)
    data.load.cache_clear()
    first = data.load("mnist")
    dice, before = chance(kind), {k: v.clone() for k, v in vars(first).items() if k.startswith("t")}
    for _ in range(50 if SOAK else 10):
        tally.tried(kind)
        name = dice.choice(sorted(packed))
        content = bytearray(packed[name])
        content[dice.randrange(len(content))] ^= dice.randint(1, 255)
        (folder / name).write_bytes(content[: dice.choice((len(content), dice.randrange(len(content))))])
        assert data.load("mnist") is first and same({k: getattr(first, k) for k in before}, before)
        data.load.cache_clear()
        try:
            found = data.load("mnist")
        except Error as why:
            gone = "was refused and removed from the cache" if where == "cache" else "was refused"
            assert f"{name} {gone}" in str(why) and (folder / name).exists() == (where == "folder")
            tally.survived(kind, "clear error")
        else:
            assert found.sha256 == first.sha256  # a date in the gzip header, say
            tally.survived(kind, "nothing was lost")
        if where == "folder":
            (folder / name).write_bytes(packed[name])  # the user's own folder is the user's to mend
        mended = data.load("mnist")
        assert mended.sha256 == first.sha256
        first = mended
    assert bool(fetched) == (where == "cache")
    data.load.cache_clear()
