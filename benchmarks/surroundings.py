"""What a benchmark ran on: the part of every record without which its numbers mean nothing."""

import os
import platform
from pathlib import Path

import numpy as np
import torch

import gentut


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
