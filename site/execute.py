"""Execute the notebooks that the site's cache does not have, several at a time: `python site/execute.py`.

    python site/execute.py                 those whose code, package, pins or scale have changed
    python site/execute.py book/vae.ipynb  of these only

Jupyter Book would run them one after the other. Here pytest runs them through nbmake, each in a kernel of its own, and
what they leave goes into the cache of the scale that GENTUT_SCALE names. `make test` and `make book` both come here, so
no notebook runs twice: the site is then only drawn.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

import gentut

ROOT = Path(__file__).resolve().parents[1]
COST = ROOT / "benchmarks" / "results" / "chapters-cpu.json"
sys.path.insert(0, str(ROOT / "site" / "_ext"))
import gentut_site  # noqa: E402

TIMEOUT = 1800  # of a cell, in seconds: a busy machine is slow, not wrong


def cache_of(scale):
    """The notebook cache of a scale, without what is no longer true."""
    return get_cache(gentut_site.fresh_cache(ROOT, ROOT / "_build" / scale / "_build"))


def missing(cache, paths):
    """Those of the notebooks that the cache has no outputs for, the longest at scale cpu first."""
    cost = json.loads(COST.read_text())["notebooks"]
    absent = []
    for path in paths:
        try:
            cache.match_cache_notebook(nbformat.read(path, 4))
        except KeyError:
            absent.append(path)
    return sorted(absent, key=lambda path: -cost.get(path.stem, {"seconds": float("inf")})["seconds"])


def run(paths, folder):
    """Execute copies of the notebooks in `folder`, where their outputs stay; return pytest's exit status."""
    copies = [shutil.copy(path, folder) for path in paths]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    at_once = max(1, min(2, cores, len(paths)))
    # Two notebooks with half of the threads each are quicker than one after the other with all of them.
    environment = {"OMP_NUM_THREADS": str(max(1, cores // at_once))} | os.environ
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--nbmake", "--overwrite", f"--nbmake-timeout={TIMEOUT}"]
    command += ["-n", str(at_once), "--maxschedchunk=1"] if at_once > 1 else []
    return subprocess.run([*command, *copies], cwd=ROOT, env=environment).returncode


def store(cache, paths, folder):
    """Put what the copies in `folder` left into the cache, as if Jupyter Book had run the notebooks themselves."""
    for path in paths:
        notebook = nbformat.read(folder / path.name, 4)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times: part of the key by which the cache finds a notebook
        cache.cache_notebook_bundle(CacheBundleIn(notebook, str(path), data={}), check_validity=False, overwrite=True)


def main():
    """Fill the cache; exit with pytest's status if a notebook fails."""
    scale = gentut.scale()
    named = [Path(name).resolve() for name in sys.argv[1:]]
    cache = cache_of(scale)
    absent = missing(cache, named or sorted((ROOT / "book").glob("*.ipynb")))
    if not absent:
        print(f"All notebooks are in the cache of scale {scale}.")
        return
    with tempfile.TemporaryDirectory() as name:  # nbmake collects nothing in a folder called _build
        status = run(absent, Path(name))
        if status:
            raise SystemExit(status)
        store(cache, absent, Path(name))


if __name__ == "__main__":
    main()
