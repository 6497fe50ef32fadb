"""The loop: exact resume whatever stops it, clear errors, one result on one process or two, one player or two."""

import dataclasses
import gc
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gentut import Error, checkpoints, data, gan, runs, training, vae

TINY = vae.Config(
    data="mnist-mini",
    encoder=(16,),
    decoder=(16,),
    activation="silu",
    batch_size=32,
    steps=30,
    log_every=3,
    save_every=5,
)
# all that a state must hold at once; states are saved between two logged rows, in the middle of epochs of 7 updates
FULL = TINY.replace(validation=32, keep_best=True, ema=0.9, warmup=5, decay="cosine", learning_rate=3e-3)


def pictures(n=256, seed=0):
    """Random pictures of blobs, easy to compress a little."""
    g = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 1, 4, 4, generator=g)
    return (F.interpolate(small, size=(28, 28), mode="bilinear")[:, 0] * 255).to(torch.uint8)


PICTURES = pictures()


def train(config=TINY, images=PICTURES, losses=None, **options):
    """vae.train on the CPU, with other losses if need be."""
    if losses is None:
        return vae.train(config, images=images, device="cpu", **options)
    return training.fit(vae.build(config), config, losses, images, device="cpu", **options)


def weights(run):
    return {k: v.clone() for k, v in run.model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(folder_or_history):
    """Logged rows without their times."""
    if isinstance(folder_or_history, Path):
        folder_or_history = [json.loads(x) for x in (folder_or_history / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in folder_or_history]


def final(folder):
    """What a finished run's folder says in the end: weights, log, all of the last state."""
    tensors, facts = runs.unpack_state((folder / runs.STATE).read_bytes())
    facts.pop("seconds")
    facts["history"] = rows(facts["history"])
    tensors.pop("rng")
    weights = checkpoints.read_weights((folder / "weights.safetensors").read_bytes())
    return weights | {f"state.{k}": v for k, v in tensors.items()}, rows(folder), facts


def agree(one, other):
    """Two finished folders hold the same, bit for bit."""
    (weights_a, *rest_a), (weights_b, *rest_b) = final(one), final(other)
    assert rest_a == rest_b
    assert equal(weights_a, weights_b)


class At:
    """The VAE's losses, with something done in the computation of chosen updates (counted from 1)."""

    def __init__(self, what, *steps):
        self.what, self.steps, self.step, self.lock = what, steps, 0, threading.Lock()

    def __call__(self, model, x, labels, noise):
        terms = vae.losses(model, x, labels, noise)
        if model.training:
            self.step += 1
            if self.step in self.steps:
                changed = self.what(terms)
                return terms if changed is None else changed
        return terms


class Crash(BaseException):
    """The process ends here."""


def crash(terms):
    raise Crash


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run of FULL."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(FULL, out=out)
    return out


# ----------------------------------------------------------------------------------------- exact resume: in one process


@pytest.mark.parametrize("step", [6, 10, 11, 15, 16, 21, 22, 30])
def test_a_crash_in_any_update_loses_nothing(whole, tmp_path, step):
    with pytest.raises(Crash):
        train(FULL, losses=At(crash, step), out=tmp_path / "run")
    saved = (step - 1) // 5 * 5
    run = train(FULL, out=tmp_path / "run", resume=True)
    assert run.complete and run.step == 30 and min(r["step"] for r in run.history) == 3 and saved >= 5
    agree(whole, tmp_path / "run")
    assert rows(run.history) == rows(whole)


def test_many_crashes_lose_nothing(whole, tmp_path):
    resume = False
    for step in (7, 6, 8, 6):  # counted from each resume
        with pytest.raises(Crash):
            train(FULL, losses=At(crash, step), out=tmp_path / "run", resume=resume)
        resume = True
    train(FULL, out=tmp_path / "run", resume=True)
    agree(whole, tmp_path / "run")


def test_resuming_a_damaged_state_goes_back_one_and_ends_the_same(whole, tmp_path):
    with pytest.raises(Crash):
        train(FULL, losses=At(crash, 23), out=tmp_path / "run")
    state = tmp_path / "run" / runs.STATE
    raw = bytearray(state.read_bytes())
    raw[-2] ^= 1
    state.write_bytes(raw)
    train(FULL, out=tmp_path / "run", resume=True)
    agree(whole, tmp_path / "run")


def test_both_states_damaged_is_an_error_and_nothing_is_changed(tmp_path):
    with pytest.raises(Crash):
        train(FULL, losses=At(crash, 23), out=tmp_path / "run")
    for name in (runs.STATE, runs.PREVIOUS):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[:-1])
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(Error, match=r"no whole state in .*state.safetensors: .*; state-previous.safetensors: "):
        train(FULL, out=tmp_path / "run", resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_resuming_a_finished_run_gives_it_back(whole):
    before = final(whole)
    run = train(FULL, out=whole, resume=True)
    assert run.complete and run.step == 30 and rows(run.history) == before[1]
    assert equal(weights(run), {k: v for k, v in before[0].items() if not k.startswith("state.")})


def test_resume_refuses_what_is_not_the_same_run(whole, tmp_path):
    before = {p: p.read_bytes() for p in whole.iterdir()}
    for config, images, resume, what in [
        (FULL, PICTURES, False, "already holds this run"),
        (FULL.replace(learning_rate=1e-3), PICTURES, True, "learning_rate is 0.003 there and 0.001 here"),
        (FULL.replace(learning_rate=1e-3), PICTURES, False, "learning_rate is 0.003 there and 0.001 here"),
        (FULL.replace(steps=60), PICTURES, True, "steps is 30 there and 60 here"),
        (FULL, pictures(seed=1), True, "data_sha256 is "),
    ]:
        with pytest.raises(Error, match=what):
            train(config, images, out=whole, resume=resume)
    assert {p: p.read_bytes() for p in whole.iterdir()} == before
    with pytest.raises(Error, match="nothing to resume"):
        train(FULL, out=tmp_path, resume=True)


def test_a_state_of_another_network_is_an_error(tmp_path):
    with pytest.raises(Crash):
        train(TINY, losses=At(crash, 8), out=tmp_path / "run")
    other = vae.build(TINY.replace(encoder=(17,)))
    with pytest.raises(Error, match="does not fit this network"):
        training.fit(other, TINY, vae.losses, PICTURES, out=tmp_path / "run", resume=True, device="cpu")


# ------------------------------------------------------------------------------------------------- exact resume: Ctrl-C


def interrupt(number=signal.SIGINT):
    return lambda terms: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 8, 14])
def test_ctrl_c_saves_says_how_to_resume_and_loses_nothing(whole, tmp_path, capsys, number, step):
    handler = signal.getsignal(signal.SIGINT)
    out = tmp_path / "run"
    run = train(FULL, losses=At(interrupt(number), step), out=out)
    assert not run.complete and run.step == step
    assert capsys.readouterr().err == f"stopped at step {step} of 30: saved in {out}; resume it with --resume\n"
    assert not (out / "weights.safetensors").exists() and not (out / "results.json").exists()
    assert signal.getsignal(signal.SIGINT) is handler
    train(FULL, out=out, resume=True)
    agree(whole, out)


def test_ctrl_c_in_the_last_update_ends_as_usual(whole, tmp_path):
    run = train(FULL, losses=At(interrupt(), 30), out=tmp_path / "run")
    assert run.complete
    agree(whole, tmp_path / "run")


def test_ctrl_c_without_a_folder_keeps_the_run_in_memory(capsys):
    run = train(TINY, losses=At(interrupt(), 9))
    assert not run.complete and run.step == 9 and not run.model.training
    assert "stopped at step 9 of 30: kept in memory" in capsys.readouterr().err


def test_the_second_ctrl_c_interrupts_at_once(tmp_path):
    def twice(terms):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    # a test run started in the background inherits "ignore SIGINT", which a second signal would then get back
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(TINY, losses=At(twice, 8), out=tmp_path / "run")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    train(TINY, out=tmp_path / "run", resume=True)


def test_training_in_another_thread_leaves_signals_alone():
    handler, seen = signal.getsignal(signal.SIGINT), []
    step = At(lambda terms: seen.append(signal.getsignal(signal.SIGINT)), 2)
    thread = threading.Thread(target=train, args=(TINY.replace(steps=3),), kwargs=dict(losses=step))
    thread.start()
    thread.join()
    assert seen == [handler]


# ------------------------------------------------------------------------------------------- processes that really die


# A server that has imported torch once, and forks: a process then starts in milliseconds, with no thread inherited.
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(["gentut.vae", "gentut.gan", "torch._dynamo"])  # the optimiser imports the last: a second


def watch_groups():
    """Fail where a group of processes is taken down while DDP's reducer still owns it: that can wait for ever."""
    reducers, init, destroy = [], torch.distributed.Logger, torch.distributed.destroy_process_group

    def logger(reducer):
        reducers.append(weakref.ref(reducer))
        return init(reducer)

    def down():
        assert reducers and not any(r() for r in reducers), "a reducer outlives its group"
        destroy()

    torch.distributed.Logger, torch.distributed.destroy_process_group = logger, down


def work(config, out, resume, environment):
    """What a process of the tests below does."""
    os.environ.update(environment, CI="1")
    with open(f"{out}.err{environment.get('RANK', '')}", "w") as f:
        sys.stderr = f
        watch_groups()
        try:
            family = gan if "critic_steps" in config else vae
            run = family.train(family.Config(**config), images=PICTURES, device="cpu", out=out, resume=resume)
        except BaseException:
            traceback.print_exc()
            f.flush()
            os._exit(1)
    os._exit(0 if run.complete else 130)


def start(config, out, resume=False, **environment):
    process = fork.Process(target=work, args=(config.to_dict(), out, resume, environment))
    process.start()
    return process


def logged(out):
    try:
        return (out / "log.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def wait_for(condition, process, seconds=60):
    until = time.monotonic() + seconds
    while not condition() and process.exitcode is None and time.monotonic() < until:
        time.sleep(0.0005)
    assert condition(), f"exit code {process.exitcode}"


LONG = FULL.replace(steps=240, save_every=4)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The folder of an uninterrupted run of LONG, in a process of its own."""
    out = tmp_path_factory.mktemp("long") / "run"
    process = start(LONG, out)
    process.join(120)
    assert process.exitcode == 0, Path(f"{out}.err").read_text()
    return out


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_at_random_moments_loses_nothing(long, tmp_path, seed):
    chance, out, resume = random.Random(seed), tmp_path / "run", False
    for _ in range(3):
        process = start(LONG, out, resume)
        target = logged(out) + chance.randint(3, 20)
        wait_for(lambda target=target: logged(out) >= target and (out / runs.STATE).exists(), process)
        time.sleep(chance.uniform(0, 0.004))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (out / "weights.safetensors").exists()  # it was in the middle
        resume = True
    process = start(LONG, out, resume)
    process.join(120)
    assert process.exitcode == 0, Path(f"{out}.err").read_text()
    agree(long, out)


def ranks(config, out, **options):
    """The two processes of a run, as torchrun would start them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    common = dict(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    return [start(config, out, RANK=str(r), LOCAL_RANK=str(r), **common, **options) for r in range(2)]


def finished(processes, out):
    """Wait for the processes of a run to end well."""
    try:
        for rank, process in enumerate(processes):
            process.join(60)
            assert process.exitcode == 0, Path(f"{out}.err{rank}").read_text()
    finally:
        for process in processes:
            process.kill()


def close(one, other, tolerance):
    """Logged quantities agree relatively; returns the greatest relative difference."""
    assert [r["step"] for r in one] == [r["step"] for r in other]
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for k in a:
            worst = max(worst, abs(a[k] - b[k]) / max(1e-3, abs(a[k])))
    assert worst < tolerance
    return worst


def test_two_processes_follow_one_also_after_a_resume(whole, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(FULL, losses=At(crash, 14), out=out)  # one process makes 10 updates, two the rest
    finished(ranks(FULL, out, resume=True), out)
    close(rows(whole), rows(out), 1e-4)
    a, b = final(whole)[0], final(out)[0]
    assert max((a[k] - b[k]).abs().max() for k in a if k.startswith(("encoder", "decoder"))) < 1e-4


@pytest.mark.parametrize("victim", [0, 1])
def test_one_process_dying_ends_the_other_with_an_error(tmp_path, victim):
    out = tmp_path / "run"
    processes = ranks(LONG.replace(steps=100_000), out)
    try:
        wait_for(lambda: logged(out) >= 5 and (out / runs.STATE).exists(), processes[0])
        processes[victim].kill()
        survivor = processes[1 - victim]
        survivor.join(30)
        assert survivor.exitcode == 1
        said = Path(f"{out}.err{1 - victim}").read_text()
        assert "Error" in said and "AssertionError" not in said
    finally:
        for process in processes:
            process.kill()
    tensors, facts = runs.Folder(out, runs.read_json(out / "config.json"), resume=True).load_state()
    assert facts["step"] >= 4 and all(torch.isfinite(v).all() for k, v in tensors.items() if k != "rng")


def test_torchrun_with_two_processes_follows_one(tmp_path):
    assignments = ["steps=24", "encoder=16", "decoder=16", "validation=500", "keep_best=true", "ema=0.9"]
    assignments += ["log_every=1", "save_every=7"]
    options = [word for text in assignments for word in ("--set", text)]
    out = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gentut"]
    command += ["train", "vae", "--scale", "test", "--device", "cpu", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    config = vae.Config.preset("test").with_assignments(assignments)
    one = vae.train(config, out=tmp_path / "one", device="cpu")
    assert runs.read_json(out / "results.json")["processes"] == 2
    assert len(one.history) == 24
    close(rows(one.history), rows(out), 1e-5)
    two = checkpoints.read_weights((out / "weights.safetensors").read_bytes())
    assert max((v - two[k]).abs().max() for k, v in weights(one).items()) < 1e-5
    assert "validation_loss" in done.stdout and done.stdout.count("validation_loss ") == 1  # one process speaks


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")

    class Alone:
        def __enter__(self):
            return 0, 3

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(training, "processes", lambda device: Alone())
    with pytest.raises(Error, match="batch_size=32 cannot be shared equally by 3 processes"):
        train(out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- numbers that go astray


@pytest.mark.parametrize(("step", "good"), [(1, None), (4, None), (7, 5), (13, 10), (29, 25), (30, 25)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(whole, tmp_path, value, step, good):
    def spoil(terms):
        return terms | {"loss": terms["loss"] * value}

    out = tmp_path / "run"
    what = f"the last good state is that of step {good} in {out}" if good else "no state was saved"
    with pytest.raises(Error, match=f"the loss became {value} at step {step}; {what}. Try a smaller learning_rate"):
        train(FULL, losses=At(spoil, step), out=out)
    assert not (out / "weights.safetensors").exists()
    if good:
        tensors, facts = runs.Folder(out, runs.read_json(out / "config.json"), resume=True).load_state()
        assert facts["step"] == good and all(torch.isfinite(v).all() for k, v in tensors.items() if k != "rng")
        train(FULL, out=out, resume=True)
        agree(whole, out)


@pytest.mark.parametrize("step", [10, 30])
def test_a_state_of_weights_that_are_not_finite_is_never_saved(tmp_path, step):
    def spoil(terms):  # the loss is finite, its gradient is not: 0 · √0
        return terms | {"loss": terms["loss"] + terms["kl"].mul(0).sqrt()}

    with pytest.raises(Error, match=f"a weight was no longer finite after step {step}; the last good .* {step - 5} in"):
        train(losses=At(spoil, step), out=tmp_path / "run")
    _, facts = runs.Folder(tmp_path / "run", runs.read_json(tmp_path / "run/config.json"), resume=True).load_state()
    assert facts["step"] == step - 5
    if step == 30:
        with pytest.raises(Error, match="a weight was no longer finite after step 30; no state was saved"):
            train(losses=At(spoil, step))


def test_a_learning_rate_far_too_large_is_noticed():
    with pytest.raises(Error, match=r"the loss became (nan|inf) at step \d+; no state was saved"):
        train(TINY.replace(learning_rate=1e30))


# -------------------------------------------------------------------------------------------------- a disk that refuses


def test_a_full_disk_while_saving_is_an_error_and_the_old_state_goes_on(whole, tmp_path, monkeypatch):
    out, real, calls = tmp_path / "run", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Error, match=r"could not write .*state-new.safetensors: No space left on device"):
            train(FULL, out=out)
    assert {p.name for p in out.iterdir()} == {"config.json", "log.jsonl", runs.STATE, runs.PREVIOUS}
    train(FULL, out=out, resume=True)
    agree(whole, out)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match="could not make the folder"):
        train(out=tmp_path / "file" / "run")


# ----------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("images", "what"),
    [
        (PICTURES.float(), "uint8"),
        (PICTURES[0], "uint8|28, 28"),
        (PICTURES.numpy(), "ndarray"),
        (PICTURES[:, :27], r"\(256, 27, 28\)"),
        (PICTURES.unsqueeze(1), r"\(256, 1, 28, 28\)"),
        (PICTURES[:31], "batch_size=32 is more than the 31 training pictures"),
        (PICTURES[:0], "batch_size=32 is more than|nothing to train on"),
    ],
)
def test_wrong_pictures_are_refused_before_anything_is_written(tmp_path, images, what):
    with pytest.raises(Error, match=what):
        train(images=images, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wrong_parts_of_the_pictures_are_refused(tmp_path):
    with pytest.raises(Error, match="validation=256 leaves nothing to train on: there are 256 pictures"):
        train(TINY.replace(validation=256), out=tmp_path / "run")
    with pytest.raises(Error, match="batch_size=32 is more than the 31 training pictures"):
        train(TINY.replace(validation=225), out=tmp_path / "run")
    with pytest.raises(Error, match="there are 256 pictures but 255 labels"):
        training.fit(vae.build(TINY), TINY, vae.losses, PICTURES, torch.zeros(255).long(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["gpu", "meta", "mps", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(Error, match=r"device .*: use cpu, cuda or cuda:0|asked for, but there are \d+ CUDA dev"):
        vae.train(TINY, images=PICTURES, device=name, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_asked_for_and_absent():
    with pytest.raises(Error, match="device 'cuda' was asked for, but there are 0 CUDA devices; use cpu"):
        training.choose_device("cuda")
    assert training.choose_device().type == "cpu"


# ---------------------------------------------------------------------------------------------------------- precision


def test_precision_follows_the_hardware_and_not_its_emulation(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert training.choose_precision("auto", cpu) == "fp32"
    for real, want in ((True, "bf16"), (False, "fp16")):  # a T4 emulates bf16, and says that it supports it

        def supported(including_emulation=True, real=real):
            return real or including_emulation

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        assert training.choose_precision("auto", gpu) == want
    for name in ("fp32", "bf16"):
        assert training.choose_precision(name, cpu) == training.choose_precision(name, gpu) == name
    assert training.choose_precision("fp16", gpu) == "fp16"


def test_fp16_on_the_cpu_is_refused(tmp_path):
    with pytest.raises(Error, match="precision fp16 needs a GPU; use fp32 or bf16 on the CPU"):
        train(TINY.replace(precision="fp16"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bf16_on_the_cpu_runs_follows_fp32_and_resumes(tmp_path):
    config = FULL.replace(precision="bf16")
    seen = []
    look = At(lambda terms: seen.append(terms["reconstruction"].grad_fn is not None), 1)
    with pytest.raises(Crash):
        train(config, losses=At(crash, 17), out=tmp_path / "run")
    resumed = train(config, out=tmp_path / "run", resume=True)
    straight, exact = train(config, losses=look), train(FULL)
    assert straight.precision == "bf16" and exact.precision == "fp32" and seen == [True]
    assert equal(weights(resumed), weights(straight)) and not equal(weights(straight), weights(exact))
    close(rows(straight.history), rows(exact.history), 0.05)


# ------------------------------------------------------------------------------------------------------------ the parts


def test_seeds_are_the_same_on_every_machine():
    assert training.seed_of(0, "order", 0) == 3955691223199900983
    seeds = {training.seed_of(a, b, c) for a in range(5) for b in ("order", "noise") for c in range(50)}
    assert len(seeds) == 500 and all(0 <= s < 2**63 for s in seeds)
    assert training.seed_of(1, 23) != training.seed_of(12, 3)


def test_each_process_draws_its_rows_of_the_same_noise():
    whole = training.Noise(7, 8)
    halves = [training.Noise(7, 8, slice(4 * r, 4 * r + 4)) for r in range(2)]
    for draw in ("normal", "uniform"):
        a = getattr(whole, draw)(3, 5)
        assert a.shape == (8, 3, 5)
        assert torch.equal(a, torch.cat([getattr(h, draw)(3, 5) for h in halves]))
    assert not torch.equal(training.Noise(7, 8).normal(3), training.Noise(8, 8).normal(3))
    u, z = training.Noise(0, 1000).uniform(100), training.Noise(0, 1000).normal(100)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.005
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02


@pytest.mark.parametrize("total", [1, 7, 128, 1000])
def test_stratified_numbers_lie_one_in_each_of_equal_parts(total):
    halves = (slice(0, total // 2), slice(total // 2, total))
    for seed in range(20):
        u = training.Noise(seed, total).stratified()
        assert u.shape == (total,) and u.dtype == torch.float32 and u.min() >= 0 and u.max() < 1
        inside = u.double() * total - torch.arange(total)
        assert inside.min() >= -1e-3 and inside.max() <= 1 + 1e-3  # rounding in float32 is 1e-7 · total
        assert torch.equal(u, torch.cat([training.Noise(seed, total, rows).stratified() for rows in halves]))
        assert torch.equal(u, training.Noise(seed, total).stratified())
        assert not torch.equal(u, training.Noise(seed + 1, total).stratified())


def test_stratified_numbers_are_uniform_and_their_mean_hardly_varies():
    drawn = torch.stack([training.Noise(seed, 16).stratified() for seed in range(2000)]).double()
    inside = (drawn * 16) % 1  # the place within a part: uniform itself
    assert abs(inside.mean() - 0.5) < 5 / math.sqrt(12 * inside.numel())
    assert (inside.flatten().histc(10, 0, 1) / inside.numel() - 0.1).abs().max() < 5 * 0.3 / math.sqrt(inside.numel())
    # variance of a mean of 16: 1 / (12 · 16) for independent numbers, 1 / (12 · 16³) for these
    assert drawn.mean(1).var().item() == pytest.approx(1 / (12 * 16**3), rel=0.2)
    one, other = training.Noise(0, 16), training.Noise(0, 16)
    assert not torch.equal(one.stratified(), one.stratified())  # the next numbers, like every other draw
    assert torch.equal(other.stratified(), training.Noise(0, 16).stratified())


@pytest.mark.parametrize(("seed", "total"), [(53_913, 128), (0, 1 << 24)])
def test_stratified_numbers_stay_below_1_where_rounding_would_not(seed, total):
    """127 + u rounds up to 128 in float32 if u is above 1 - 2^-18, as with the first seed."""
    last = training.Noise(seed, total).stratified()[-1]
    assert last < 1 and (last * 1000).long() == 999


ALONE = (training.Turn(vae.losses),)


def loop(config=TINY, images=PICTURES, rank=0, size=1, turns=ALONE):
    """The loop's inside, before any step."""
    model = gan.build(config) if isinstance(config, gan.Config) else vae.build(config)
    held = len(images) - config.validation
    inside = training._Loop(model, config, turns, images, None, held, torch.device("cpu"), "fp32", 0, 1)
    share = config.batch_size // size
    inside.rows = slice(rank * share, (rank + 1) * share)
    return inside


def test_the_order_is_a_function_of_seed_and_epoch():
    config = TINY.replace(validation=30)  # 226 pictures in 7 batches
    a, b = loop(config), loop(config)
    b.order(5)
    for _ in range(3):
        b.update(b.order(0)[0])  # nothing that was done before matters
    torch.manual_seed(1)
    orders = [a.order(epoch) for epoch in range(3)]
    for epoch in range(3):
        assert torch.equal(orders[epoch], b.order(epoch)) and orders[epoch].shape == (7, 32)
        used = orders[epoch].flatten()
        assert len(used.unique()) == len(used) and used.max() < 226  # each once, the held-out ones never
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], loop(config.replace(seed=1)).order(0))
    # what an epoch leaves out differs each time
    assert torch.cat([o.flatten() for o in orders]).unique().numel() == 226


def test_processes_share_each_batch():
    whole = loop().order(3)
    halves = [loop(rank=r, size=2).order(3) for r in range(2)]
    assert torch.equal(whole, torch.cat(halves, dim=1))


def test_the_same_seed_gives_the_same_weights_whatever_is_logged_saved_or_drawn_elsewhere(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a = train(FULL)
    assert torch.equal(torch.get_rng_state(), before)  # the reader's random numbers are not disturbed
    torch.manual_seed(4)
    b = train(FULL.replace(log_every=1, save_every=2), out=tmp_path / "run")
    assert equal(weights(a), weights(b)) and not equal(weights(a), weights(train(FULL.replace(seed=1))))
    # rows are means over the updates since the last one
    fine = {row["step"]: row for row in b.history}
    last = 0
    for row in a.history:
        for name in ("loss", "reconstruction", "kl"):
            mean = sum(fine[s][name] for s in range(last + 1, row["step"] + 1)) / (row["step"] - last)
            assert row[name] == pytest.approx(mean, rel=1e-6)
        last = row["step"]


def test_learning_rate_schedule():
    c = TINY.replace(learning_rate=0.1)
    assert {training.learning_rate_at(c, s, 50) for s in range(50)} == {0.1}
    warm = [training.learning_rate_at(c.replace(warmup=10), s, 50) for s in range(50)]
    assert warm[:10] == pytest.approx([0.01 * (s + 1) for s in range(10)]) and set(warm[10:]) == {0.1}
    cosine = [training.learning_rate_at(c.replace(decay="cosine"), s, 50) for s in range(51)]
    assert cosine[0] == 0.1 and cosine[25] == pytest.approx(0.05) and cosine[50] == pytest.approx(0, abs=1e-12)
    assert cosine == sorted(cosine, reverse=True)
    both = [training.learning_rate_at(c.replace(warmup=10, decay="cosine"), s, 50) for s in range(50)]
    assert both == pytest.approx([a * b / 0.1 for a, b in zip(warm, cosine, strict=False)])


def test_the_schedule_is_what_adam_uses():
    config = TINY.replace(warmup=4, decay="cosine", learning_rate=0.01, steps=6, log_every=6)
    inside, rates = loop(config), []
    before = {k: v.clone() for k, v in inside.model.state_dict().items()}
    for index in inside.order(0)[:6]:
        inside.update(index)
        rates.append(inside.players[0].optimizer.param_groups[0]["lr"])
        if len(rates) == 1:  # Adam's first step moves a weight by the learning rate, or not at all
            moved = max((v - before[k]).abs().max().item() for k, v in inside.model.state_dict().items())
            assert moved == pytest.approx(0.01 / 4, rel=1e-3)
    assert rates == pytest.approx([training.learning_rate_at(config, s, 6) for s in range(6)])


def test_an_update_is_adam_on_the_mean_loss():
    inside, by_hand = loop(), vae.build(TINY).train()
    adam = torch.optim.Adam(by_hand.parameters(), lr=TINY.learning_rate)
    for step in range(4):
        index = inside.order(0)[step]
        inside.update(index)
        noise = training.Noise(training.seed_of(0, "noise", step), 32)
        loss = vae.losses(by_hand, data.to_unit(PICTURES[index]), None, noise)["loss"].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert inside.recent[-1]["loss"].item() == pytest.approx(loss.item(), rel=1e-6)
    for a, b in zip(inside.model.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_average_of_the_weights_by_hand():
    inside = loop(TINY.replace(ema=0.7))
    average = {k: v.double() for k, v in inside.model.state_dict().items()}
    for step, index in enumerate(inside.order(0)[:6].tolist() + inside.order(1).tolist()):
        inside.update(torch.tensor(index))
        keep = min(0.7, (1 + step) / (10 + step))
        for k, v in inside.model.state_dict().items():
            average[k] = keep * average[k] + (1 - keep) * v
    assert all(torch.allclose(v.double(), average[k], atol=1e-6) for k, v in inside.ema.state_dict().items())
    assert not equal(inside.ema.state_dict(), inside.model.state_dict())


def test_the_average_is_what_a_run_gives():
    config = TINY.replace(ema=0.9)
    inside = loop(config)
    for step in range(30):
        inside.update(inside.order(step // 8)[step % 8])
    assert equal(weights(train(config)), inside.ema.state_dict())
    assert equal(weights(train()), inside.model.state_dict())


def validation_loss(model, config, images=PICTURES):
    held = images[len(images) - config.validation :]
    noise = training.Noise(training.seed_of(config.seed, "validation", 0), len(held))
    with torch.no_grad():
        return vae.losses(model, data.to_unit(held), None, noise)["loss"].mean().item()


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_best_weights_are_kept(tmp_path, ema):
    def unlearn(terms):
        return terms | {"loss": -terms["loss"]}

    def unlearn_then_crash(terms):
        return crash(terms) if at.step == 38 else unlearn(terms)

    backwards = range(22, 43)  # from the fourth epoch on, the loss is made larger
    config = TINY.replace(validation=32, keep_best=True, learning_rate=3e-3, steps=42, ema=ema)
    run = train(config, losses=At(unlearn, *backwards))
    steps, values = run.curve("validation_loss")
    assert steps == [7, 14, 21, 28, 35, 42] and min(values) < min(values[0], values[-1]) - 1
    assert validation_loss(run.model, config) == pytest.approx(min(values), rel=1e-6)
    last = train(config.replace(keep_best=False), losses=At(unlearn, *backwards))  # not kept
    assert last.curve("validation_loss")[1] == values
    assert validation_loss(last.model, config) == pytest.approx(values[-1], rel=1e-6)
    at = At(unlearn_then_crash, *backwards)
    with pytest.raises(Crash):
        train(config, losses=at, out=tmp_path / "run")
    resumed = train(config, losses=At(unlearn, *range(1, 43)), out=tmp_path / "run", resume=True)
    assert rows(resumed.history) == rows(run.history) and equal(weights(resumed), weights(run))


def test_validation_rows_stand_at_the_ends_of_epochs_and_of_the_run():
    run = train(TINY.replace(validation=30, steps=17, log_every=4))
    assert [r["step"] for r in run.history] == [4, 7, 8, 12, 14, 16, 17]
    assert [r["step"] for r in run.history if "validation_loss" in r] == [7, 14, 17]
    assert [r["epoch"] for r in run.history] == [round(r["step"] / 7, 4) for r in run.history]
    assert {"validation_reconstruction", "validation_kl"} < run.history[-1].keys()
    seconds = [r["seconds"] for r in run.history]
    assert seconds == sorted(seconds) and seconds[-1] <= run.seconds


def test_validation_goes_over_all_held_out_pictures_in_pieces():
    config = TINY.replace(validation=1100, steps=2, learning_rate=1e-9)
    images = pictures(1200)
    row = train(config, images).history[-1]
    held, total = data.to_unit(images[100:]), 0.0
    for i in (0, 1000):
        x = held[i : i + 1000]
        noise = training.Noise(training.seed_of(0, "validation", i), len(x))
        with torch.no_grad():
            total += vae.losses(vae.build(config), x, None, noise)["loss"].double().sum().item()
    assert row["validation_loss"] == pytest.approx(total / 1100, rel=1e-5)


def test_epochs_or_steps():
    assert train(TINY.replace(steps=0, epochs=3)).step == 24  # 256 pictures, 8 batches
    assert train(TINY.replace(steps=5, epochs=3)).step == 5


def test_curves():
    run = train(FULL)
    steps, values = run.curve("loss")
    assert steps == [r["step"] for r in run.history] and values == [r["loss"] for r in run.history]
    assert values[-1] < values[0]
    with pytest.raises(Error, match=r"unknown logged quantity 'validation'. There are: .*validation_loss"):
        run.curve("validation")


def test_a_run_says_what_it_was(tmp_path):
    run = train(FULL, out=tmp_path / "run")
    results = runs.read_json(tmp_path / "run/results.json")
    assert results["steps"] == run.step == 30 and results["processes"] == 1 and results["torch"] == torch.__version__
    assert results["precision"] == "fp32" and run.device.startswith("cpu, ") and results["device"] == run.device
    assert results["validation_loss"] == run.history[-1]["validation_loss"]
    assert run.data_sha256 == data.digest(PICTURES) == runs.read_json(tmp_path / "run/config.json")["data_sha256"]
    assert run.folder == tmp_path / "run" and not run.model.training
    assert rows(run.history) == rows(tmp_path / "run")
    assert equal(weights(run), checkpoints.read_weights((tmp_path / "run/weights.safetensors").read_bytes()))


# ------------------------------------------------------------------------------------------- speed, memory, quietness


HOST = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero")


@pytest.mark.parametrize("config", [TINY, FULL, FULL.replace(binary=True), FULL.replace(kl="mean")])
def test_an_update_never_waits_for_the_device(monkeypatch, config):
    inside = loop(config)
    order = inside.order(0)
    inside.update(order[0])
    called = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    def waiting(self, *args):
        raise AssertionError("a step reads a number back from the device")

    with monkeypatch.context() as patch:
        for name in HOST:
            patch.setattr(torch.Tensor, name, waiting)
        with Watch():
            for index in order[1:4]:
                inside.update(index)
    assert len(called) > 50
    assert not [name for name in called if "_local_scalar_dense" in name or "nonzero" in name or "equal" in name]


def resident():
    """Bytes of memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat():
    seen = {}

    def look(step):
        gc.collect()
        tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        seen[step] = (tensors, resident())

    at = At(lambda terms: look(at.step), 101, 601)
    train(FULL.replace(steps=610, log_every=10, validation=0, keep_best=False), losses=at)
    (tensors, memory), (later_tensors, later_memory) = seen[101], seen[601]
    assert later_tensors - tensors <= 2
    assert later_memory - memory < 4e6  # 500 kept batches would be 50 MB


def test_progress_is_quiet_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("CI", raising=False)
    train(TINY)
    shown = capsys.readouterr().err
    assert "30/30" in shown and "loss=" in shown and "step/s" in shown
    monkeypatch.setenv("CI", "true")
    train(TINY)
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("CI")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    train(TINY)
    assert capsys.readouterr().err == ""


def test_compile_is_asked_of_every_part(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    train(TINY.replace(steps=1))
    assert asked == []
    train(TINY.replace(steps=1, compile=True))
    assert asked == ["Sequential", "Sequential"]


# ------------------------------------------------------------------------------------------------------ other networks


def test_a_convolutional_network_with_labels_trains_and_resumes(tmp_path):
    """The loop knows nothing of VAEs: here a classifier of constant pictures, whose label is their grey."""
    images = torch.arange(40, dtype=torch.uint8).mul(6).view(40, 1, 1).expand(40, 28, 28).contiguous()
    labels = (torch.arange(40) >= 18).long()
    config = training.Config(data="mnist-mini", batch_size=8, steps=12, log_every=1, save_every=4, validation=8)

    def build():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))

    seen = []

    def losses(model, x, labels, noise):
        assert torch.equal(((x[:, 0, 5, 5] * 255 / 6).round() >= 18).long(), labels)  # pictures keep their labels
        seen.append(next(model.parameters()).is_contiguous(memory_format=torch.channels_last))
        if model.training and len(seen) == stop:
            raise Crash
        return {"loss": F.cross_entropy(model(x), labels, reduction="none")}

    stop = 0
    straight = training.fit(build(), config, losses, images, labels, out=tmp_path / "a", device="cpu")
    assert all(seen) and straight.history[-1]["loss"] < straight.history[0]["loss"]
    seen.clear()
    stop = 9
    with pytest.raises(Crash):
        training.fit(build(), config, losses, images, labels, out=tmp_path / "b", device="cpu")
    stop = 0
    training.fit(build(), config, losses, images, labels, out=tmp_path / "b", resume=True, device="cpu")
    agree(tmp_path / "a", tmp_path / "b")


def test_a_frozen_weight_stays_as_it_is():
    model = vae.build(TINY)
    frozen = model.encoder[1].weight.requires_grad_(False)
    before = frozen.clone()
    training.fit(model, TINY.replace(steps=3), vae.losses, PICTURES, device="cpu")
    assert torch.equal(frozen, before) and [n for n, p in model.named_parameters() if not p.requires_grad] == [
        "encoder.1.weight"]


# ---------------------------------------------------------------------------------------------------- several players

FLAT = gan.Config(
    data="mnist-mini", kind="mlp", latent=4, generator=(12,), discriminator=(12,), spectral_norm=False, batch_size=32,
    steps=14, log_every=4, save_every=1, learning_rate=3e-3, ema=0.8, decay="cosine", warmup=3, discriminator_rate=0.5,
)
GAMES = {
    "mlp": FLAT,
    # with the buffers of the power iteration, weights in another layout, and a state in each window of log and moves
    "dcgan, spectral norm": FLAT.replace(
        kind="dcgan", generator=(4, 4, 4), discriminator=(4, 4, 4), spectral_norm=True
    ),
    "wgan-gp, every 3": FLAT.replace(loss="wgan-gp", critic_steps=3, spectral_norm=True),
    "rarely logged, rarely moved": FLAT.replace(critic_steps=6, log_every=5, loss="least-squares"),
}


class During:
    """A player's losses, with something done in its turn of chosen updates (counted from 1)."""

    def __init__(self, turn, what, *steps):
        self.losses, self.every, self.what, self.steps, self.moves = turn.losses, turn.every, what, steps, 0

    def __call__(self, model, x, labels, noise):
        terms = self.losses(model, x, labels, noise)
        self.moves += 1
        if self.moves * self.every in self.steps:
            changed = self.what(terms)
            return terms if changed is None else changed
        return terms


def play(config, what=None, player=0, steps=(), **options):
    """gan.train on the CPU, with something done in the turns of one player if need be."""
    turns = list(gan.turns(config))
    if what is not None:
        turns[player] = dataclasses.replace(turns[player], losses=During(turns[player], what, *steps))
    return training.fit(gan.build(config), config, tuple(turns), PICTURES, device="cpu", **options)


@pytest.fixture(scope="module", params=GAMES)
def game(request, tmp_path_factory):
    """(configuration, folder of an uninterrupted run) of each game."""
    config, out = GAMES[request.param], tmp_path_factory.mktemp("game") / "run"
    play(config, out=out)
    return config, out


def test_a_game_stopped_after_every_update_goes_on_bitwise(game, tmp_path):
    config, whole = game
    out = tmp_path / "run"
    for step in range(1, config.steps):
        run = play(config, interrupt(), 0, [1], out=out, resume=step > 1)
        assert not run.complete and run.step == step
    play(config, out=out, resume=True)
    agree(whole, out)


@pytest.mark.parametrize("player", [0, 1])
def test_a_game_that_crashes_in_either_players_turn_loses_nothing(game, tmp_path, player):
    config, whole = game
    config = config.replace(save_every=4)  # a state between two moves, fetches and ends of epochs of 8 updates
    with pytest.raises(Crash):
        play(config, crash, player, [12], out=tmp_path / "run")
    _, facts = runs.Folder(tmp_path / "run", runs.read_json(tmp_path / "run/config.json"), resume=True).load_state()
    assert facts["step"] == 8
    play(config, out=tmp_path / "run", resume=True)
    agree(whole, tmp_path / "run")


@pytest.mark.parametrize("name", ["dcgan, spectral norm", "wgan-gp, every 3"])
def test_two_processes_follow_one_in_a_game(name, tmp_path):
    config, out = GAMES[name].replace(log_every=1, save_every=10), tmp_path / "run"
    with pytest.raises(Crash):
        play(config, crash, 0, [11], out=out)  # one process makes 10 updates, two the rest
    finished(ranks(config, out, resume=True), out)
    one = play(config, out=tmp_path / "one")
    assert runs.read_json(out / "results.json")["processes"] == 2
    close(rows(one.history), rows(out), 1e-3)
    two = checkpoints.read_weights((out / "weights.safetensors").read_bytes())
    assert max((v - two[k]).abs().max() for k, v in weights(one).items()) < 1e-3  # 14 moves of up to 0.003


def test_two_processes_follow_one_in_a_game_from_the_start(tmp_path):
    config, out = GAMES["wgan-gp, every 3"].replace(log_every=1), tmp_path / "run"
    finished(ranks(config, out), out)
    close(rows(play(config).history), rows(out), 1e-3)


def test_a_game_by_hand():
    """Two plain optimizers, each for its part, on the same pictures, with noise of their own."""
    config = FLAT.replace(critic_steps=2, ema=0.0)
    inside, by_hand = loop(config, turns=gan.turns(config)), gan.build(config).train()
    parts = by_hand.discriminator, by_hand.generator
    adam = [torch.optim.Adam(part.parameters(), betas=(0.5, 0.999)) for part in parts]
    for step in range(6):
        index = inside.order(0)[step]
        inside.update(index)
        x, rate = data.to_unit(PICTURES[index]), training.learning_rate_at(config, step, config.steps)
        noise = training.Noise(training.seed_of(0, "noise", step), 32)
        wanted = {k: v.mean() for k, v in gan.discriminator_turn(by_hand, x, None, noise).items()}
        adam[0].param_groups[0]["lr"] = 0.5 * rate
        adam[0].zero_grad()
        wanted["discriminator_loss"].backward()
        adam[0].step()
        if step % 2:  # the generator's turn comes after the discriminator's, which has moved
            noise = training.Noise(training.seed_of(0, "noise", step, 1), 32)
            wanted["generator_loss"] = gan.generator_turn(by_hand, x, None, noise)["generator_loss"].mean()
            adam[1].param_groups[0]["lr"] = rate
            adam[1].zero_grad()
            wanted["generator_loss"].backward()
            adam[1].step()
        got = inside.recent[-1]
        assert got.keys() == wanted.keys()
        assert all(got[k].item() == pytest.approx(v.item(), rel=1e-4, abs=1e-6) for k, v in wanted.items())
        for a, b in zip(inside.model.parameters(), by_hand.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


class Watching:
    """A player's losses, and what was seen as each of its turns began: the weights, and a number of its noise."""

    def __init__(self, losses, seen):
        self.losses, self.seen = losses, seen

    def __call__(self, model, x, labels, noise):
        state = {k: v.clone() for k, v in model.state_dict().items()}
        wants = {n for n, p in model.named_parameters() if p.requires_grad}
        drawn = []

        class Noise(training.Noise):
            def __init__(self):
                pass

            def normal(self, *shape):
                drawn.append(noise.normal(*shape))
                return drawn[-1]

            def uniform(self, *shape):
                drawn.append(noise.uniform(*shape))
                return drawn[-1]

        terms = self.losses(model, x, labels, Noise())
        self.seen.append((self, x, state, wants, drawn))
        return terms


def watched(config, updates):
    """The turns of some updates as (player, pictures, weights at its beginning, what wants gradients, noise)."""
    seen = []
    turns = [dataclasses.replace(t, losses=Watching(t.losses, seen)) for t in gan.turns(config)]
    inside = loop(config, turns=tuple(turns))
    for index in inside.order(0)[:updates]:
        inside.update(index)
    players = {id(t.losses): t.part for t in turns}
    return inside, [(players[id(who)], *rest) for who, *rest in seen]


@pytest.mark.parametrize("name", GAMES)
def test_in_a_turn_only_its_part_moves(name):
    config = GAMES[name].replace(warmup=0)
    inside, turns = watched(config, 7)
    want = [p for step in range(1, 8) for p in ("discriminator", "generator")[: 1 + (step % config.critic_steps == 0)]]
    assert [part for part, *_ in turns] == want
    after = [state for _, _, state, *_ in turns[1:]] + [weights(inside)]
    for (part, _, before, wants, _), now in zip(turns, after, strict=True):
        assert wants == {n for n, _ in inside.model.named_parameters() if n.startswith(part)}
        moved = {k for k in before if not torch.equal(before[k], now[k])}
        buffers = {k for k in moved if k.endswith(("_u", "_v"))}  # the power iteration goes on at each use
        assert moved - buffers and all(k.startswith(part) for k in moved - buffers)
    grads = {n for n, p in inside.model.named_parameters() if p.grad is not None}
    assert grads == {n for n, _ in inside.model.named_parameters() if n.startswith(("discriminator", "generator"))}


def test_both_players_see_the_same_pictures_and_noise_of_their_own():
    inside, turns = watched(GAMES["dcgan, spectral norm"], 3)
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    draws = []
    for step, ((_, x, _, _, noise), (_, again, _, _, other)) in enumerate(pairs):
        assert torch.equal(x, again) and torch.equal(x, data.to_unit(PICTURES[inside.order(0)[step]]))
        assert torch.equal(noise[0], training.Noise(training.seed_of(0, "noise", step), 32).normal(4))
        assert torch.equal(other[0], training.Noise(training.seed_of(0, "noise", step, 1), 32).normal(4))
        draws += [noise[0], other[0]]
    for i in range(6):
        for j in range(i):
            assert not torch.equal(draws[i], draws[j])


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_player_moves_in_every_so_many_th_update_and_is_logged_when_it_did(every):
    config = FLAT.replace(critic_steps=every, log_every=2, steps=13)
    run, fine = play(config), play(config.replace(log_every=1))
    by_step = {row["step"]: row for row in fine.history}
    assert [s for s, row in by_step.items() if "generator_loss" in row] == list(range(every, 14, every))
    assert all("discriminator_loss" in row for row in fine.history)
    for row in run.history:
        window = [by_step[s] for s in (row["step"] - 1, row["step"]) if s in by_step and s > (row["step"] - 1) // 2 * 2]
        for name in ("generator_loss", "discriminator_loss", "right"):
            values = [r[name] for r in window if name in r]
            if values:  # the mean over the moves made, not over all updates
                assert row[name] == pytest.approx(sum(values) / len(values), rel=1e-5, abs=1e-7)
            else:
                assert name not in row


@pytest.mark.parametrize("every", [1, 3])
def test_the_average_is_of_the_players_that_ask_for_it(every):
    config = GAMES["dcgan, spectral norm"].replace(critic_steps=every)
    inside = loop(config, turns=gan.turns(config))
    first = weights(inside)
    average = {k: v.double() for k, v in first.items() if k.startswith("generator")}
    for step in range(config.steps):
        inside.update(inside.order(step // 8)[step % 8])
        keep = min(config.ema, (1 + step) / (10 + step))
        for k in average:
            average[k] = keep * average[k] + (1 - keep) * inside.model.state_dict()[k]
    run, last = weights(play(config)), weights(inside)
    for k, v in run.items():
        if k.startswith("generator"):
            assert torch.allclose(v.double(), average[k], atol=1e-6) and not torch.equal(v, last[k])
        else:
            assert torch.equal(v, last[k])


@pytest.mark.parametrize(("player", "name"), [(0, "discriminator loss"), (1, "generator loss")])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_of_either_player_that_is_not_finite_is_named(tmp_path, player, name, value):
    """Whose loss was the first: one update later it is every player's, and only the log's next row tells."""
    config, out = FLAT.replace(critic_steps=3, log_every=10, save_every=5), tmp_path / "run"

    def spoil(terms):
        key = name.replace(" ", "_")
        return terms | {key: terms[key] * value}

    with pytest.raises(Error, match=f"the {name} became -?{value} at step 6; the last good state is that of step 5 in"):
        play(config, spoil, player, [6], out=out)
    play(config, out=out, resume=True)
    play(config, out=tmp_path / "whole")
    agree(tmp_path / "whole", out)


def test_weights_of_a_game_that_are_not_finite_are_never_saved(tmp_path):
    def spoil(terms):  # the loss is finite, its gradient is not: 0 · √0
        return terms | {"generator_loss": terms["generator_loss"] + terms["generator_loss"].mul(0).sqrt()}

    with pytest.raises(Error, match="a weight was no longer finite after step 14; the last good .* step 13 in"):
        play(FLAT, spoil, 1, [14], out=tmp_path / "run")


def test_a_played_network_comes_back_whole():
    for name in GAMES:
        run = play(GAMES[name].replace(steps=3))
        assert not run.model.training and all(p.requires_grad for p in run.model.parameters())


def test_one_turn_is_a_plain_run():
    a, b = train(FULL), train(FULL, losses=(training.Turn(vae.losses),))
    assert equal(weights(a), weights(b)) and rows(a.history) == rows(b.history)


def test_a_turn_has_betas_and_a_rate_of_its_own():
    losses = training.Turn(vae.losses, rate=0.5, betas=(0.2, 0.7))
    inside = loop(TINY, turns=(losses,))
    inside.update(inside.order(0)[0])
    (group,) = inside.players[0].optimizer.param_groups
    assert group["betas"] == (0.2, 0.7) and group["lr"] == pytest.approx(0.5 * TINY.learning_rate)
    half = train(TINY.replace(learning_rate=TINY.learning_rate / 2), losses=(dataclasses.replace(losses, rate=1.0),))
    assert equal(weights(train(TINY, losses=(losses,))), weights(half))


def test_nobody_needs_to_be_averaged():
    turns = tuple(dataclasses.replace(t, average=False) for t in gan.turns(FLAT))
    run = training.fit(gan.build(FLAT), FLAT, turns, PICTURES, device="cpu")
    plain = play(FLAT.replace(ema=0.0))
    assert equal(weights(run), weights(plain))


def test_a_game_is_not_validated():
    config = vae.Config(data="mnist-mini", batch_size=32, steps=2, validation=32)
    turns = (training.Turn(vae.losses, "encoder"), training.Turn(vae.losses, "decoder"))
    with pytest.raises(Error, match="a game has no validation loss: set validation=0"):
        train(config, losses=turns)


@pytest.mark.parametrize("name", GAMES)
def test_an_update_of_a_game_never_waits_for_the_device(monkeypatch, name):
    inside = loop(GAMES[name], turns=gan.turns(GAMES[name]))
    order = inside.order(0)
    for index in order[:6]:
        inside.update(index)

    def waiting(self, *args):
        raise AssertionError("a step reads a number back from the device")

    with monkeypatch.context() as patch:
        for host in HOST:
            patch.setattr(torch.Tensor, host, waiting)
        for index in (*order[6:], *order[:4]):
            inside.update(index)
    assert inside.step == 12
    assert not any(v.requires_grad for row in inside.recent for v in row.values())  # no graph is kept
