"""Two processes on one run, and one of them dies, falls silent or runs out of disk: the other ends, and says why."""

import os
import re
import signal
import time

import harm
import pytest
from harm import CONFIGS, SOAK, agree, both, chance, ended, stop_before, wait_for

from gentut import Error, machine

CONFIG = CONFIGS["vae"].replace(steps=200, log_every=1, save_every=4)
TOUCH = r"gentut: lost touch with the other processes of this run: one ended, or was silent for 5 s \(GENTUT_TIMEOUT\)"
SECONDS = 90  # on a crowded machine; without a time limit the survivor would wait for half an hour


def clear(out, rank):
    """The error of a process that lost the other, and nothing of a traceback."""
    said = harm.said(out, rank)
    assert re.search(TOUCH, said) and "Traceback" not in said, said


@pytest.mark.parametrize(
    ("name", "how", "victim"),
    [("dies", signal.SIGKILL, 1), ("falls silent", signal.SIGSTOP, 0),
     *([("dies", signal.SIGKILL, 0), ("falls silent", signal.SIGSTOP, 1)] if SOAK else [])],
)
def test_when_one_of_two_is_gone_the_other_ends_with_an_error(tmp_path, tally, name, how, victim):
    kind, dice = f"one of two processes {name}", chance("two", victim, name)
    for turn in range(5 if SOAK else 1):
        tally.tried(kind)
        out = tmp_path / f"{turn}"
        processes = both(CONFIG, out, harm=((stop_before, 200), (stop_before, 200)), GENTUT_TIMEOUT="5")
        try:
            step = dice.randint(5, 150)
            wait_for(lambda out=out, step=step: harm.steps_of(out) >= step and harm.has_state(out), *processes)
            os.kill(processes[victim].pid, how)
            began = time.monotonic()
            ended(processes[1 - victim], out, status=2, rank=1 - victim, seconds=SECONDS)
            clear(out, 1 - victim)
            assert time.monotonic() - began < SECONDS
        finally:
            for process in processes:
                process.kill()
                process.join()
        assert harm.train("vae", CONFIG, out, resume=True).complete  # what was saved is whole
        tally.survived(kind, "the other ended with a clear error, and the run was resumed")


@pytest.mark.skipif(not SOAK, reason="takes long: make soak")
def test_a_run_of_two_killed_at_random_steps_ends_like_one_that_was_not(tmp_path, tally):
    kind, dice, whole, out = "kill -9, two processes", chance("two at random"), tmp_path / "whole", tmp_path / "run"
    for rank, process in enumerate(both(CONFIG, whole)):
        ended(process, whole, rank=rank)
    resume = False
    for step in sorted(dice.sample(range(8, 190), 10)):
        tally.tried(kind)
        processes = both(CONFIG, out, resume=resume, harm=((stop_before, 200), (stop_before, 200)), GENTUT_TIMEOUT="5")
        wait_for(lambda step=step: harm.steps_of(out) >= step, *processes)
        for process in dice.sample(processes, 2):
            process.kill()
        for process in processes:
            process.join()
        resume = harm.again(out)
    for rank, process in enumerate(both(CONFIG, out, resume=resume)):
        ended(process, out, rank=rank)
    agree(whole, out)
    tally.survived(kind, "went on bitwise", 10)


def test_when_the_first_runs_out_of_disk_both_end(tmp_path, tally):
    kind, out = "one of two processes runs out of disk", tmp_path / "run"
    tally.tried(kind)
    limit = (harm.limit_files, 30, 5000)
    processes = both(CONFIG, out, harm=(limit, None), GENTUT_TIMEOUT="5")
    try:
        for rank, process in enumerate(processes):
            ended(process, out, status=2, rank=rank, seconds=SECONDS)
        assert "File too large" in harm.said(out, 0)
        clear(out, 1)
    finally:
        for process in processes:
            process.kill()
    assert harm.train("vae", CONFIG, out, resume=True).complete
    tally.survived(kind, "both ended with a clear error, and the run was resumed")


def test_when_the_other_never_comes_the_wait_has_an_end(tmp_path, tally):
    kind, out = "one of two processes never starts", tmp_path / "run"
    tally.tried(kind)
    first, second = both(CONFIG, out, harm=(None, (time.sleep, 600)), GENTUT_TIMEOUT="2")
    try:
        ended(first, out, status=2, rank=0, seconds=SECONDS)
        assert re.search(TOUCH.replace("for 5 s", "for 2 s"), harm.said(out, 0))
        assert not out.exists()
    finally:
        second.kill()
    tally.survived(kind, "clear error")


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", "1e9"])
def test_a_time_limit_that_is_none_is_refused(monkeypatch, tally, given):
    tally.tried("a wrong GENTUT_TIMEOUT")
    monkeypatch.setenv("GENTUT_TIMEOUT", given)
    with pytest.raises(Error, match=f"GENTUT_TIMEOUT takes a number of seconds above 0, got '{given}'"):
        machine.patience()
    tally.survived("a wrong GENTUT_TIMEOUT", "clear error")
    monkeypatch.setenv("GENTUT_TIMEOUT", "7.5")
    assert machine.patience() == 7.5
    monkeypatch.delenv("GENTUT_TIMEOUT")
    assert machine.patience() == machine.PATIENCE
