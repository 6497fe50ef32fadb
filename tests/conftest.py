"""Settings of every test: scale test, no window, one thread, and no file of the user's read or written."""

import os
from pathlib import Path

# Before torch, numpy and matplotlib are imported: they read these once.
os.environ.setdefault("GENTUT_SCALE", "test")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Matplotlib keeps its list of fonts in a cache folder, which own_cache empties: it need not be made for each test.
os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).resolve().parents[1] / "_build" / "matplotlib"))

import pytest
from hypothesis import settings

# A shared machine has slow moments; a test that is red on one day only teaches nothing. Found examples stay fixed.
settings.register_profile("gentut", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("gentut")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """An empty cache folder for each test, so that none depends on what this machine has downloaded before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
