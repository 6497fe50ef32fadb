"""The machine a run finds itself on: its device, its precision, the other processes, its terminal, its signals."""

import contextlib
import datetime
import math
import os
import signal
import sys
import threading

import torch

from gentut import Error

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PATIENCE = 300.0  # seconds that a process waits for the others of its run; GENTUT_TIMEOUT changes it


def choose_device(name=None):
    """A torch.device: the one asked for, else CUDA where there is one, else the CPU. Raises Error if it is absent."""
    if name is None:
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Error(f"unknown device {name!r}: use cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise Error(f"device {name!r} is not supported: use cpu, cuda or cuda:0")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise Error(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


def choose_precision(name, device):
    """"auto" → bf16 on a GPU whose hardware has it, fp16 on another GPU, fp32 on a CPU; others as they are.

    A T4 answers True to the plain question whether bf16 is supported: it emulates it, slowly. Hence the argument.
    """
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type != "cuda":
        raise Error("precision fp16 needs a GPU; use fp32 or bf16 on the CPU")
    return name


@contextlib.contextmanager
def processes(device):
    """(rank, number of processes), as torchrun started them; 0 and 1 without torchrun.

    Where another process has died, or is silent for longer than `patience()`, what waits for it ends with an Error.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield 0, 1
        return
    dist, seconds = torch.distributed, patience()
    try:
        if not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo",
                                    timeout=datetime.timedelta(seconds=seconds))
        try:
            yield dist.get_rank(), size
        finally:
            dist.destroy_process_group()
    except RuntimeError as why:
        # Gloo's own troubles come as plain RuntimeErrors, told by the file of its source that they name.
        if not isinstance(why, dist.DistError) and "gloo" not in str(why).lower():
            raise
        raise Error(f"lost touch with the other processes of this run: one ended, or was silent for {seconds:g} s "
                    f"(GENTUT_TIMEOUT). The states saved so far are whole: resume it. ({str(why).strip()})") from None


def patience():
    """Seconds to wait for the other processes of a run: GENTUT_TIMEOUT, or PATIENCE. Raises Error for anything else."""
    given = os.environ.get("GENTUT_TIMEOUT") or PATIENCE
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e7:  # four months; nan is refused as well
        raise Error(f"GENTUT_TIMEOUT takes a number of seconds above 0, got {given!r}")
    return seconds


def device_name(device):
    """What a card says a run was made on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread" + "s" * (threads > 1)


def progress(total, done, quiet):
    """A tqdm bar; silent under CI and where nobody can see it (a notebook's reader can)."""
    from tqdm import tqdm

    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(total=total, initial=done, unit="step", disable=quiet or bool(os.environ.get("CI")) or not seen)


@contextlib.contextmanager
def stop_signals():
    """Yield a list that is no longer empty once Ctrl-C (or a terminate signal) has come.

    A step is then finished and the state saved. The second Ctrl-C interrupts at once, as usual. Signals can only be
    caught in the main thread; elsewhere the list stays empty.
    """
    stopped = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def note(number, frame):
        stopped.append(number)
        for s, handler in before.items():
            signal.signal(s, handler)

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, note)
    try:
        yield stopped
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
