"""What the tests of faults share: tiny networks of every family, processes to kill, full disks, damaged bytes."""

import contextlib
import errno
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

from gentut import Error, checkpoints, classifier, ddpm, gan, pixelcnn, runs, training, vae

SOAK = bool(os.environ.get("GENTUT_SOAK"))
SEED = 0
STEPS = 12  # updates of a tiny run; states are saved after every second one, between two epochs and in the middle
COMMON = dict(data="mnist-mini", batch_size=8, steps=STEPS, log_every=1, save_every=2)
CHAPTERS = {"classifier": classifier, "ddpm": ddpm, "gan": gan, "pixelcnn": pixelcnn, "vae": vae}
CONFIGS = {  # together they have all that a state can hold: averages, best weights, two players, batch norm's buffers
    "classifier": classifier.Config(width=2, warmup=3, **COMMON),
    "ddpm": ddpm.Config(widths=(4, 4), embedding=4, T=20, ema=0.9, decay="cosine", **COMMON),
    "gan": gan.Config(latent=3, generator=(4, 4, 4), discriminator=(2, 2, 2), ema=0.9, critic_steps=2, **COMMON),
    "pixelcnn": pixelcnn.Config(size=8, width=4, head=6, classes=10, levels=4, dilations=(1,), **COMMON),
    "vae": vae.Config(encoder=(12,), decoder=(12,), activation="silu", ema=0.9, validation=16, keep_best=True,
                      warmup=5, learning_rate=3e-3, **{**COMMON, "log_every": 3}),
}  # fmt: skip


def chance(*about):
    """A random.Random of one's own: a function of SEED and of what it is for."""
    return random.Random("/".join(map(str, (SEED, *about))))


def train(family, config, out=None, resume=False):
    """The chapter's train(), on 64 noisy pictures and random labels."""
    g = torch.Generator().manual_seed(1)
    size = getattr(config, "size", 28)
    more = {"images": torch.randint(0, 256, (64, size, size), dtype=torch.uint8, generator=g)}
    if family in ("classifier", "ddpm", "pixelcnn"):
        more["labels"] = torch.randint(0, 10, (64,), generator=g)
    return CHAPTERS[family].train(config, out=out, resume=resume, device="cpu", **more)


# ----------------------------------------------------------------------------------------------------- what a run left


def has_state(out):
    """Whether the folder holds a state to go on from."""
    return any((out / name).exists() for name in (runs.FRESH, runs.STATE, runs.PREVIOUS))


def again(out):
    """Whether a run can be resumed. Where it was killed before its first state, make room for it to start anew."""
    if has_state(out):
        return True
    shutil.rmtree(out, ignore_errors=True)
    return False


def timeless(row):
    return {k: v for k, v in row.items() if k != "seconds"}


def final(out):
    """All that a finished run's folder holds, but for seconds: (weights and tensors of the state, facts)."""
    newest = next(name for name in (runs.FRESH, runs.STATE) if (out / name).exists())
    tensors, facts = runs.unpack_state((out / newest).read_bytes())
    del tensors["rng"]  # of the process's global generator, from which a run draws nothing
    card = checkpoints.card(out / "weights.safetensors")
    checkpoints.load(out / "weights.safetensors", "cpu")  # its digest
    for key in ("sha256", "bytes"):
        facts[f"weights.{key}"] = card[key]
    facts |= {f"card.{k}": v for k, v in card.items() if k not in ("seconds", "card_sha256")}
    facts |= {f"results.{k}": v for k, v in timeless(runs.read_json(out / "results.json")).items()}
    facts["history"] = [timeless(row) for row in facts["history"]]
    facts["log"] = [timeless(json.loads(row)) for row in (out / "log.jsonl").read_text().splitlines()]
    assert facts["log"] == facts["history"]
    return tensors, timeless(facts)


def agree(one, other):
    """Assert that two finished folders hold the same, bit for bit, and nothing left over but a state's other names."""
    (a, facts_a), (b, facts_b) = final(one), final(other)
    assert facts_a == facts_b
    differ = sorted(k for k in {*a, *b} if k not in a or k not in b or not same(a[k], b[k]))
    assert not differ, differ
    left = {p.name for p in other.iterdir()} - {p.name for p in one.iterdir()} - {runs.FRESH, runs.PREVIOUS}
    assert not left, left


# --------------------------------------------------------------------------------------------------- processes to kill

fork = multiprocessing.get_context("forkserver")  # a new process in 50 ms instead of seconds
fork.set_forkserver_preload([*(f"gentut.{name}" for name in CHAPTERS), "torch._dynamo"])


started = []  # all that `start` started; a test that fails leaves nothing running


def kill_the_rest():
    """Kill what is still running of it."""
    while started:
        process = started.pop()
        process.kill()
        process.join()


def work(family, config, out, resume, environment, harm):
    """What a process does: train, after harm[0](*harm[1:]). Exit status 0; 2 after an Error, 1 after anything else."""
    os.environ.update(environment, CI="1")
    with open(f"{out}.err{environment.get('RANK', '')}", "w") as f:
        sys.stderr = f
        try:
            if harm:
                harm[0](*harm[1:])
            train(family, CHAPTERS[family].Config(**config), out, resume)
        except Error as why:
            print(f"gentut: {why}", file=f, flush=True)
            os._exit(2)
        except BaseException:
            traceback.print_exc(file=f)
            f.flush()
            os._exit(1)
    os._exit(0)


def start(family, config, out, resume=False, harm=None, **environment):
    """Start `work` in a process of its own."""
    process = fork.Process(target=work, args=(family, config.to_dict(), out, resume, environment, harm))
    process.start()
    started.append(process)
    return process


def said(out, rank=""):
    return Path(f"{out}.err{rank}").read_text()


def ended(process, out, status=0, rank="", seconds=120):
    """Wait until a process ends, and assert its exit status."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"it hangs: {said(out, rank)}")
    assert process.exitcode == status, said(out, rank)


def wait_for(condition, *processes, seconds=120):
    until = time.monotonic() + seconds
    while not condition() and all(p.exitcode is None for p in processes) and time.monotonic() < until:
        time.sleep(0.0005)
    assert condition(), [p.exitcode for p in processes]


def steps_of(out):
    """The last step in a run's log, 0 before the first."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return json.loads((out / "log.jsonl").read_bytes().splitlines()[-1])["step"]
    return 0


def stop_before(step, seconds=600.0):
    """Let the run of this process wait before the update `step`, to be killed there or before at the latest."""
    update = training._Loop.update

    def waiting(self, index):
        if self.step + 1 == step:
            time.sleep(seconds)
        update(self, index)

    training._Loop.update = waiting


def both(config, out, *, resume=False, harm=(None, None), **environment):
    """The two processes of one run of the VAE, as torchrun would start them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    common = dict(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **environment)
    return [start("vae", config, out, resume, harm[r], RANK=str(r), LOCAL_RANK=str(r), **common) for r in range(2)]


# ------------------------------------------------------------------------------------------------- disks that go wrong


class Disk:
    """What runs.py does to the disk, counted. The operation number `last` (from 1) fails or ends the process.

    An operation is the opening of a file to write, each half of what is written to it, an fsync, a rename, a removal.
    """

    def __init__(self, last, fault=None):
        self.last, self.fault, self.done = last, fault, 0
        self.real = {name: getattr(os, name) for name in ("replace", "fsync", "unlink")}

    def __enter__(self):
        for name, function in self.real.items():
            setattr(os, name, self.counted(function))
        runs.open = self.open
        return self

    def __exit__(self, *why):
        for name, function in self.real.items():
            setattr(os, name, function)
        del runs.open

    def count(self):
        self.done += 1
        if self.done == self.last or (self.fault and self.done > self.last):  # a full disk stays full
            if self.fault:
                raise self.fault
            os._exit(99)

    def counted(self, function):
        def wrapped(*args, **kwargs):
            if function is not self.real["unlink"] or not self.fault:  # a full disk lets go of files
                self.count()
            return function(*args, **kwargs)

        return wrapped

    def open(self, path, mode):
        self.count()
        return Halves(self, open(path, f"{mode.removesuffix('b')}b", buffering=0))


class Halves:
    """A file written in two halves."""

    def __init__(self, disk, file):
        self.disk, self.file = disk, file
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.file.close()

    def write(self, content):
        content = content.encode() if isinstance(content, str) else content
        for half in (content[: len(content) // 2], content[len(content) // 2 :]):
            self.disk.count()
            self.file.write(half)


def no_space():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die_at(operation):
    """Let this process end, without any cleaning up, in the middle of an operation on the disk."""
    Disk(operation).__enter__()


def limit_files(step, size):
    """Let no file of this process grow beyond `size` bytes from the update `step` on."""
    update = training._Loop.update

    def limited(self, index):
        if self.step + 1 == step:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does; write() then says EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        update(self, index)

    training._Loop.update = limited


def memory(steps, answers):
    """Put what this process holds after a tenth of its updates, and after the last, into the file `answers`."""
    update, seen = training._Loop.update, {}

    def looking(self, index):
        update(self, index)
        if self.step in (steps // 10, steps):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen[self.step] = pages * os.sysconf("SC_PAGE_SIZE")
            Path(answers).write_text(json.dumps(seen))

    training._Loop.update = looking


# -------------------------------------------------------------------------------------------------------- damaged bytes


def damages(raw, cuts, flips, *about):
    """`raw` cut off at `cuts` random lengths, and with one byte changed at `flips` random places: (what, bytes)."""
    dice = chance("damage", *about)
    for _ in range(cuts):
        length = dice.randrange(len(raw))
        yield f"cut off at {length}", raw[:length]
    for _ in range(flips):
        # in a big file, half of the flips in the first thousand bytes, where the header is
        place, mask = dice.randrange(dice.choice((len(raw), min(len(raw), 1000)))), dice.randint(1, 255)
        changed = bytearray(raw)
        changed[place] ^= mask
        yield f"byte {place} changed by {mask}", bytes(changed)


def same(a, b):
    """Equal tensors, or equal values of JSON (a nan is itself)."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
