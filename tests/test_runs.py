"""Run folders: whatever happens while a state is written, a whole one is there afterwards, and never a wrong one."""

import builtins
import errno
import io
import json
import multiprocessing
import os
import resource

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, runs

CONFIG = {"seed": 0, "widths": [4, 2], "rate": 0.1}


def state(step):
    """Tensors and facts that are plainly those of one step."""
    tensors = {"w": torch.full((3, 2), float(step)), "b": torch.full((2,), step, dtype=torch.bfloat16)}
    return {**tensors, "rng": torch.full((5,), step, dtype=torch.uint8), "n": torch.tensor(step)}, {"step": step}


def step_of(tensors, facts):
    """The step of a state, all of whose parts must be of the same step."""
    steps = {facts["step"], *(v for t in tensors.values() for v in t.flatten().tolist())}
    assert len(steps) == 1, f"parts of different states in one: {steps}"
    return steps.pop()


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


# -------------------------------------------------------------------------------------------------- one state, as bytes


def test_a_state_survives_its_file():
    tensors, facts = state(7)
    facts |= {"best_loss": None, "names": ["loss", "kl"], "seconds": 0.1 + 0.2, "text": "λ"}
    back, about = runs.unpack_state(runs.pack_state(tensors, facts))
    assert same(tensors, back) and about == facts


RAW = runs.pack_state(*state(3))


@given(st.integers(0, 8 * len(RAW) - 1))
def test_any_flipped_bit_is_noticed_or_harmless(bit):
    raw = bytearray(RAW)
    raw[bit // 8] ^= 1 << bit % 8
    try:
        tensors, facts = runs.unpack_state(bytes(raw))
    except Error:
        return
    assert same(tensors, state(3)[0]) and facts == state(3)[1]  # a flip in the white space of the header, say


@given(st.integers(0, len(RAW) - 1))
def test_a_truncated_state_is_refused(length):
    with pytest.raises(Error, match="not a whole state file"):
        runs.unpack_state(RAW[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw):
    with pytest.raises(Error, match="not a whole state file"):
        runs.unpack_state(raw)


@pytest.mark.parametrize(
    "raw",
    [
        runs.tensors_to_bytes({"w": torch.ones(2)}),  # no facts, no digest
        runs.tensors_to_bytes({"w": torch.ones(2)}, {"facts": "{}"}),
        runs.tensors_to_bytes({"w": torch.ones(2)}, {"facts": "{}", "sha256": "0" * 64}),
    ],
)
def test_a_safetensors_file_that_is_no_state_is_refused(raw):
    with pytest.raises(Error):
        runs.unpack_state(raw)


# ----------------------------------------------------------------------------------------------------- opening a folder


def test_a_fresh_folder_is_made_with_its_parents(tmp_path):
    folder = runs.Folder(tmp_path / "a/b", CONFIG, resume=False)
    assert runs.read_json(folder.path / "config.json") == CONFIG
    assert [p.name for p in folder.path.iterdir()] == ["config.json"]


def test_an_empty_folder_is_used(tmp_path):
    assert (runs.Folder(tmp_path, CONFIG, resume=False).path / "config.json").exists()


def test_a_folder_that_holds_something_is_not_touched(tmp_path):
    run = tmp_path / "run"
    runs.Folder(run, CONFIG, resume=False).save_state(*state(1))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("ten years")
    (tmp_path / "file").write_text("")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    other = {**CONFIG, "rate": 0.2, "seed": 1}
    for path, config, resume, what in [
        (run, CONFIG, False, r"already holds this run: resume it \(--resume\), or choose another folder"),
        (run, other, False, r"another configuration: rate is 0.1 there and 0.2 here; seed is 0 there and 1 here"),
        (run, other, True, r"another configuration: rate is 0.1 there and 0.2 here; seed is 0 there and 1 here"),
        (run, {k: CONFIG[k] for k in ("seed", "rate")}, True, r"widths is \[4, 2\] there and None here"),
        (foreign, CONFIG, False, "is not empty and holds no run"),
        (foreign, CONFIG, True, "nothing to resume: .* holds no run"),
        (tmp_path / "absent", CONFIG, True, "nothing to resume: .* holds no run"),
        (tmp_path / "file", CONFIG, False, "is a file; a run needs a folder"),
        (tmp_path / "file", CONFIG, True, "is a file"),
        (tmp_path / "file" / "run", CONFIG, False, "could not make the folder .*: Not a directory"),
    ]:
        with pytest.raises(Error, match=what):
            runs.Folder(path, config, resume)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_nothing_to_resume_before_the_first_state(tmp_path):
    runs.Folder(tmp_path, CONFIG, resume=False)
    with pytest.raises(Error, match="saved no state; remove it and start anew"):
        runs.Folder(tmp_path, CONFIG, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\udcff", "[" * 100_000])
def test_a_damaged_configuration_is_an_error(tmp_path, text):
    runs.Folder(tmp_path, CONFIG, resume=False).save_state(*state(1))
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    for resume in (True, False):
        with pytest.raises(Error, match="config.json is damaged"):
            runs.Folder(tmp_path, CONFIG, resume)


# ------------------------------------------------------------------------------------------------------ damaged states


DAMAGES = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 64])),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, how):
    folder = runs.Folder(tmp_path, CONFIG, resume=False)
    folder.save_state(*state(1))
    folder.save_state(*state(2))
    assert step_of(*folder.load_state()) == 2
    DAMAGES[how](tmp_path / runs.STATE)
    assert step_of(*runs.Folder(tmp_path, CONFIG, resume=True).load_state()) == 1
    DAMAGES[how](tmp_path / runs.PREVIOUS)
    with pytest.raises(Error, match="no whole state in|saved no state"):
        runs.Folder(tmp_path, CONFIG, resume=True).load_state()


@pytest.mark.parametrize("older", [0, 1, 2])
def test_a_state_whose_rename_never_came_is_the_newest(tmp_path, older):
    folder = runs.Folder(tmp_path, CONFIG, resume=False)
    for step in range(1, older + 1):
        folder.save_state(*state(step))
    (tmp_path / runs.FRESH).write_bytes(runs.pack_state(*state(5)))  # the power failed here
    folder = runs.Folder(tmp_path, CONFIG, resume=True)
    assert step_of(*folder.load_state()) == 5
    folder.save_state(*state(6))
    assert step_of(*folder.load_state()) == 6 and not (tmp_path / runs.FRESH).exists()
    (tmp_path / runs.STATE).unlink()
    assert step_of(*folder.load_state()) == 5


# ------------------------------------------------------------------------------- the moment of writing: crashes, faults


class Crash(BaseException):
    """The power fails."""


class Disk:
    """Counts what is done to the disk, and from the n-th operation on lets nothing more happen."""

    def __init__(self, monkeypatch, n, fault):
        self.n, self.fault, self.done = n, fault, 0
        for module, name in [(os, "replace"), (os, "fsync"), (os, "unlink"), (os, "open")]:
            monkeypatch.setattr(module, name, self.wrap(getattr(module, name)))
        real = builtins.open

        def opened(path, mode="r", *rest, **more):
            if "w" not in mode and "a" not in mode:
                return real(path, mode, *rest, **more)
            self.count()
            f = real(path, mode, *rest, **more)
            f.close()  # made, and still empty
            return Torn(self, path)

        monkeypatch.setattr(builtins, "open", opened)
        self.real = real

    def count(self):
        self.done += 1
        if self.done > self.n:
            raise self.fault

    def wrap(self, function):
        def wrapped(*args, **kwargs):
            self.count()
            return function(*args, **kwargs)

        return wrapped


class Torn(io.BytesIO):
    """A file that is written in two halves, between which the power can fail."""

    def __init__(self, disk, path):
        super().__init__()
        self.disk, self.path = disk, path

    def write(self, content):
        for piece in (content[: len(content) // 2], content[len(content) // 2 :]):
            self.disk.count()
            with self.disk.real(self.path, "ab") as f:
                f.write(piece)
        return len(content)

    def fileno(self):
        with self.disk.real(self.path, "rb") as f:
            self.copy = os.dup(f.fileno())
        return self.copy

    def close(self):
        if hasattr(self, "copy"):
            os.close(self.copy)
            del self.copy
        super().close()


FAULTS = {
    "crash": Crash(),
    "disk full": OSError(errno.ENOSPC, "No space left on device"),
    "read-only": OSError(errno.EROFS, "Read-only file system"),
}


@pytest.mark.parametrize("damaged", [False, True], ids=["", "newest damaged"])
@pytest.mark.parametrize("how", FAULTS)
def test_every_moment_of_saving_leaves_a_whole_state(tmp_path, how, damaged):
    outcomes = []
    for n in range(100):
        path = tmp_path / str(n)
        folder = runs.Folder(path, CONFIG, resume=False)
        folder.save_state(*state(1))
        folder.save_state(*state(2))
        if damaged:
            (path / runs.STATE).write_bytes(b"damaged")
        newest = 1 if damaged else 2
        assert step_of(*folder.load_state()) == newest
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, n, FAULTS[how])
            try:
                folder.save_state(*state(3))
            except (Crash, Error) as why:
                failed = why
            else:
                failed = None
        found = step_of(*runs.Folder(path, CONFIG, resume=True).load_state())
        assert found in (newest, 3)
        outcomes.append(found)
        if how != "crash" and failed:
            assert f"could not write {path}" in str(failed) and FAULTS[how].strerror in str(failed)
        folder = runs.Folder(path, CONFIG, resume=True)
        folder.load_state()
        folder.save_state(*state(4))  # and on it goes
        assert step_of(*folder.load_state()) == 4
        (path / runs.STATE).write_bytes(b"damaged")
        assert step_of(*folder.load_state()) in (newest, 3)
        if not failed:
            break
    assert not failed and disk.done >= 8 and set(outcomes) == {newest, 3}


def test_a_failed_write_leaves_no_part_behind(tmp_path, monkeypatch):
    runs.write_json(tmp_path / "a.json", {"old": 1})

    def full(handle):
        raise FAULTS["disk full"]

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Error, match=r"could not write .*a.json: No space left on device. What was there before"):
        runs.write_json(tmp_path / "a.json", {"new": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and runs.read_json(tmp_path / "a.json") == {"old": 1}


def fill(path, answers):
    """Write until the operating system refuses (in a process of its own, with a limit on the size of a file)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    folder = runs.Folder(path, CONFIG, resume=True)
    folder.load_state()

    def log():
        for _ in range(1000):
            folder.log({"step": 2, "text": "x" * 100})

    for write in (lambda: folder.save_state({"w": torch.zeros(10_000)}, {"step": 2}), log):
        try:
            write()
        except Error as why:
            answers.put(str(why))


def test_a_really_full_disk(tmp_path):
    folder = runs.Folder(tmp_path / "run", CONFIG, resume=False)
    folder.save_state(*state(1))
    folder.log({"step": 1})
    fork = multiprocessing.get_context("forkserver")  # quick, see test_training.py
    fork.set_forkserver_preload(["gentut.vae", "torch._dynamo"])
    answers = fork.Queue()
    process = fork.Process(target=fill, args=(folder.path, answers))
    process.start()
    for file in (runs.FRESH, "log.jsonl"):
        assert f"{file}: File too large" in answers.get(timeout=60)
    process.join()
    assert process.exitcode == 0
    assert step_of(*runs.Folder(folder.path, CONFIG, resume=True).load_state()) == 1
    assert json.loads((folder.path / "log.jsonl").read_text().splitlines()[0]) == {"step": 1}


# -------------------------------------------------------------------------------------------------------------- the log


def test_the_log_is_made_to_hold_the_rows_of_a_state(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG, resume=False)
    rows = [{"step": step, "loss": step / 3} for step in (5, 10, 15)]
    for row in rows:
        folder.log(row)
    path = tmp_path / "log.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows
    with open(path, "ab") as f:
        f.write(b'{"step": 20, "lo')  # the power failed here
    folder.write_log(rows[:2])
    folder.log({"step": 11})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [*rows[:2], {"step": 11}]


# ----------------------------------------------------------------------------------------------- one run, one folder


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with runs.alone(tmp_path):
        with pytest.raises(Error, match=f"another run is at work in {tmp_path}"), runs.alone(tmp_path):
            raise AssertionError("two at once")
        with pytest.raises(Error, match="another run is at work"):
            runs.Folder(tmp_path, CONFIG, resume=False)
    with pytest.raises(ZeroDivisionError), runs.alone(tmp_path):
        raise ZeroDivisionError
    with runs.alone(tmp_path):  # let go of after an exception as well
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(Error, match="could not open .*absent: No such file"), runs.alone(tmp_path / "absent"):
        pass


def test_where_folders_cannot_be_locked_runs_go_on(tmp_path, monkeypatch):
    import fcntl

    def refuse(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with runs.alone(tmp_path), runs.alone(tmp_path):
        assert runs.Folder(tmp_path, CONFIG, resume=False).path == tmp_path


def test_a_folder_whose_configuration_was_never_finished_is_used(tmp_path):
    (tmp_path / "config.json.part").write_text('{"se')  # killed in the first moment of a run
    runs.Folder(tmp_path, CONFIG, resume=False)
    assert runs.read_json(tmp_path / "config.json") == CONFIG and len(list(tmp_path.iterdir())) == 1
