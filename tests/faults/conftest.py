"""Counts of faults: every test here says what it tried and what survived; the long form keeps a record of it.

`make soak` sets GENTUT_SOAK to the file of that record and runs all of this folder in its long form (minutes).
"""

import collections
import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.register_assert_rewrite("harm")
ROOT = Path(__file__).resolve().parents[2]
SEED = 0  # of all that is chosen at random here
counts = collections.defaultdict(lambda: {"tried": 0, "survived": 0, "how": collections.Counter()})
started = time.monotonic()


class Tally:
    """What one test tried and what survived, by kind of fault."""

    def __init__(self):
        self.rows = collections.defaultdict(lambda: [0, 0, collections.Counter()])

    def tried(self, kind, n=1):
        """n more faults of a kind are about to be done."""
        self.rows[kind][0] += n

    def survived(self, kind, how, n=1):
        """n of them ended as they should: `how` says which of the ways that are right."""
        self.rows[kind][1] += n
        self.rows[kind][2][how] += n


@pytest.fixture(autouse=True)
def nothing_left_running():
    """A test that fails in the middle must not leave processes that wait to be killed: pytest would wait for them."""
    import harm

    yield
    harm.kill_the_rest()


@pytest.fixture
def tally(record_property):
    """The test's Tally."""
    mine = Tally()
    yield mine
    assert mine.rows, "this test tried nothing"
    for kind, (tried, survived, how) in mine.rows.items():
        record_property("faults", [kind, tried, survived, dict(how)])
    for kind, (tried, survived, how) in mine.rows.items():
        assert tried == survived == sum(how.values()) > 0, kind


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """Collect what the tests said; it comes along from other processes of pytest-xdist as well."""
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == "faults":
                kind, tried, survived, how = value
                counts[kind]["tried"] += tried
                counts[kind]["survived"] += survived
                counts[kind]["how"].update(how)


def pytest_sessionfinish(session):
    """Write the record of a long run that went through all of this folder."""
    out = os.environ.get("GENTUT_SOAK")
    if not out or hasattr(session.config, "workerinput") or not counts or session.config.option.keyword:
        return
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import torch
    from surroundings import machine, versions

    kinds = {kind: {**counts[kind], "how": dict(sorted(counts[kind]["how"].items()))} for kind in sorted(counts)}
    record = {
        "benchmark": "faults", "command": "make soak", "seed": SEED, "machine": machine(torch.device("cpu")),
        "versions": versions(), "seconds": round(time.monotonic() - started, 1),
        "tried": sum(row["tried"] for row in kinds.values()),
        "survived": sum(row["survived"] for row in kinds.values()), "failed_tests": session.testsfailed, "kinds": kinds,
    }
    Path(out).write_text(json.dumps(record, indent=1) + "\n")
