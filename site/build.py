"""Build the site at the scale that GENTUT_SCALE names, in a folder of that scale: _build/SCALE/_build/html.

Sphinx is told to write every page anew (--all), because it does not notice a changed static file; notebooks still come
from the cache, so a warm build takes seconds. Any warning, and any notebook that fails, fails the build.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import gentut

ROOT = Path(__file__).resolve().parents[1]


def main():
    """Run jupyter-book; exit with its status."""
    start = time.perf_counter()
    scale = gentut.scale()
    folder = ROOT / "_build" / scale
    log = folder / "build.log"
    folder.mkdir(parents=True, exist_ok=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", str(ROOT), "--path-output", str(folder)]
    command += ["--all", "--warningiserror", "--keep-going", "--quiet"]
    with log.open("w") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if status.returncode:
        print(re.sub(r"\x1b\[[0-9;]*m", "", log.read_text()), file=sys.stderr)
        raise SystemExit(f"The site at scale {scale} was not built: see the messages above ({log.relative_to(ROOT)}).")
    page = folder / "_build" / "html" / "index.html"
    print(f"{page.relative_to(ROOT)} is ready: scale {scale}, {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
