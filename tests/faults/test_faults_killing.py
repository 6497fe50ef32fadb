"""Runs that are killed, at any step and at any moment of saving: resumed, they end as if nothing had been."""

import shutil
import signal
import time

import harm
import pytest
from harm import CONFIGS, SOAK, again, agree, chance, ended, start, stop_before, wait_for

from gentut import runs

KILLS = 20 if SOAK else 2  # of a run of each family
STEPS = 120 if SOAK else 30


@pytest.mark.parametrize("family", CONFIGS)
def test_kill_9_at_random_steps_loses_nothing(family, tmp_path, tally):
    kind, config, dice = f"kill -9, {family}", CONFIGS[family].replace(steps=STEPS), chance("kill", family)
    whole, out, resume = tmp_path / "whole", tmp_path / "run", False
    uninterrupted = start(family, config, whole)
    for step in sorted(dice.sample(range(1, STEPS - 4), KILLS)):
        tally.tried(kind)
        process = start(family, config, out, resume, (stop_before, STEPS))
        wait_for(lambda step=step: harm.steps_of(out) >= step, process)
        time.sleep(dice.uniform(0, 0.004))  # somewhere in the update, or in the saving, after that
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not (out / "weights.safetensors").exists()
        resume = again(out)
    ended(start(family, config, out, resume), out)
    ended(uninterrupted, whole)
    agree(whole, out)
    tally.survived(kind, "went on bitwise", KILLS)


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_killed_in_the_middle_of_any_operation_on_the_disk(family, tmp_path, tally):
    """Every open, half of a write, fsync and rename of a run is once the last thing that its process does."""
    kind, config, whole = f"killed while writing, {family}", CONFIGS[family].replace(steps=6), tmp_path / "whole"
    with harm.Disk(0) as disk:
        harm.train(family, config, whole)
    assert disk.done > 50
    operations = range(1, disk.done + 1) if SOAK else sorted(chance("disk", family).sample(range(1, disk.done), 5))
    for k in operations:
        tally.tried(kind)
        out = tmp_path / str(k)
        ended(start(family, config, out, harm=(harm.die_at, k)), out, status=99)
        harm.train(family, config, out, again(out))
        agree(whole, out)
        tally.survived(kind, "went on bitwise")
        shutil.rmtree(out)


def test_killed_in_the_first_moment_a_run_can_start_again(tmp_path, tally):
    """A folder in which nothing was made yet needs no cleaning up."""
    config = CONFIGS["vae"].replace(steps=2)
    for k in range(1, 8):  # until config.json has its name
        tally.tried("killed while starting")
        out = tmp_path / str(k)
        ended(start("vae", config, out, harm=(harm.die_at, k)), out, status=99)
        if (out / "config.json").exists():
            assert k >= 5  # opened, written in two halves, synced, renamed
            with pytest.raises(harm.Error, match="saved no state; remove it and start anew"):
                harm.train("vae", config, out, resume=True)
            tally.survived("killed while starting", "clear error")
        else:
            assert harm.train("vae", config, out).complete and not list(out.glob("*.part"))
            tally.survived("killed while starting", "started again")
    assert runs.FRESH not in {p.name for p in out.iterdir()}
