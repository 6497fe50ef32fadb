"""How long does each chapter take, and each of its training cells? Measured, and written where the reader sees it.

    python benchmarks/chapters.py            every notebook, one after the other, at scale cpu
    python benchmarks/chapters.py vae gan    only these; the record keeps what it has of the others
    python benchmarks/chapters.py --labels   runs nothing: writes the record's seconds into the training cells

A cell that begins with `# cost: about N s on 2 CPU cores` is a training cell; N comes from the record,
benchmarks/results/chapters-cpu.json, and tests/test_notebooks.py compares the two. Run it on an idle machine with two
cores: each notebook has a kernel of its own and all threads, as it has for a reader at home. `processor_seconds` are
those of the kernel over all its threads: they tell how busy the machine was otherwise.
"""

import argparse
import datetime
import os
import re
import resource
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

os.environ.setdefault("GENTUT_SCALE", "cpu")

import torch

sys.path.insert(0, str(Path(__file__).parent))
from surroundings import RESULTS, keep, machine, versions

from gentut import Error, choose, runs, scale

BOOK = Path(__file__).resolve().parents[1] / "book"
LABEL = re.compile(r"\A# cost: about (\d+) s on 2 CPU cores\n")
TIMEOUT = 3600  # of a cell, in seconds


def trains(cell):
    """Whether a cell carries a label that says what it costs."""
    return cell.cell_type == "code" and LABEL.match(cell.source) is not None


def seconds_of(cell):
    """How long an executed cell ran, by the times that nbclient leaves in its metadata."""
    times = cell.metadata["execution"]
    start, end = (datetime.datetime.fromisoformat(times[key].replace("Z", "+00:00"))
                  for key in ("iopub.execute_input", "shell.execute_reply"))
    return (end - start).total_seconds()


def measure(path):
    """Execute one notebook: {"seconds", "processor_seconds", "cells": {id: seconds of a training cell}}."""
    notebook = nbformat.read(path, 4)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    NotebookClient(notebook, timeout=TIMEOUT, record_timing=True).execute(cwd=str(path.parent))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1), "processor_seconds": round(processor, 1),
        "cells": {cell.id: round(seconds_of(cell), 1) for cell in notebook.cells if trains(cell)},
    }


def label(seconds):
    """The first line of a training cell."""
    return f"# cost: about {max(1, round(seconds))} s on 2 CPU cores\n"


def write_labels(record):
    """Write the record's seconds into the notebooks' training cells. Returns the names of those that changed."""
    changed = []
    for name, found in record["notebooks"].items():
        path = BOOK / f"{name}.ipynb"
        text = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(text, 4)
        for cell in notebook.cells:
            if trains(cell) and cell.id in found["cells"]:
                cell.source = LABEL.sub(label(found["cells"][cell.id]), cell.source)
        new = nbformat.writes(notebook, 4) + "\n"
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(name)
    return changed


def table(record):
    """The record as lines of text."""
    rows = [f"{name:14} {found['seconds']:7.1f} s, {found['processor_seconds']:7.1f} s of processor time"
            for name, found in record["notebooks"].items()]
    total = sum(found["seconds"] for found in record["notebooks"].values())
    return "\n".join([*rows, f"{'together':14} {total:7.1f} s"])


def main(arguments=None):
    """Measure, keep the record, and write the labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted(path.stem for path in BOOK.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--labels", action="store_true", help="measure nothing, write the labels from the record")
    parser.add_argument("--out", type=Path, default=RESULTS / "chapters-cpu.json")
    options = parser.parse_args(arguments)
    try:
        names = [choose("notebook", name, known) for name in options.names] or known
        record = runs.read_json(options.out) if options.out.exists() else {"notebooks": {}}
        if options.labels:
            print("labels changed in:", ", ".join(write_labels(record)) or "none")
            return
        load = os.getloadavg()[0]
        for name in names:
            record["notebooks"][name] = measure(BOOK / f"{name}.ipynb")
    except Error as why:
        parser.error(str(why))
    record |= {"scale": scale(), "machine": {**machine(torch.device("cpu")), "load_average_before": load},
               "versions": versions(), "command": "python benchmarks/chapters.py"}
    record["notebooks"] = {name: record["notebooks"][name] for name in known if name in record["notebooks"]}
    keep(record, options.out, table)
    if options.out == RESULTS / "chapters-cpu.json":
        print("labels changed in:", ", ".join(write_labels(record)) or "none")


if __name__ == "__main__":
    main()
