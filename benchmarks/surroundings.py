"""What all benchmarks share: what a record says of the machine, the data at hand, and the writing of records."""

import json
import os
import platform
import sys
from pathlib import Path

import gentut  # before torch, whose threads it calms

# isort: split

import numpy as np
import torch

from gentut import data, training

RESULTS = Path(__file__).parent / "results"


def machine(device):
    """What it ran on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"cpu": cpu, "cores": cores, "threads": torch.get_num_threads(), "system": platform.system()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions():
    """Versions of what the numbers depend on."""
    import PIL

    return {
        "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
        "pillow": PIL.__version__, "gentut": gentut.__version__,
    }


def autocast(precision, device):
    """The context in which networks compute in "fp32", "bf16" or "fp16"."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.bfloat16)
    return torch.autocast(device.type, kind, enabled=precision != "fp32")


def data_at_hand(name):
    """The data set to use: `name`, or "mnist-mini" where all of MNIST is asked for and cannot be had."""
    if name == "mnist":
        try:
            data.load("mnist")
        except gentut.Error as why:
            print(str(why).splitlines()[0], file=sys.stderr)
            print("Falling back to mnist-mini: a sixth of the pictures.", file=sys.stderr)
            return "mnist-mini"
    return name


def keep(record, out, table):
    """Write a record as JSON to `out`, and show it as table(record)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    print(f"written to {out}")


def between(text, start, end, body):
    """The text with what stands between two markers replaced by `body`."""
    before, rest = text.split(start)
    return f"{before}{start}\n{body}\n{end}{rest.split(end)[1]}"


def on_each_device(parser, args, name, compare, table):
    """Run compare(args, device) on --device, or on the CPU and then the GPU if there is one; keep each record.

    It goes to --out, or to results/NAME-DEVICE.json.
    """
    names = [args.device] if args.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if args.out and len(names) > 1:
        parser.error("--out takes one record: choose a --device")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for each in names:
        try:
            device = training.choose_device(each)
            record = compare(args, device)
        except gentut.Error as why:
            parser.exit(2, f"{why}\n")
        keep(record, args.out or RESULTS / f"{name}-{'quick-' * args.quick}{device.type}.json", table)
