"""No notebook runs twice, one that fails stops the build, and labels tell what was measured."""

import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytest.importorskip("jupyter_cache", reason="the site's tools are those of the extra `book`")

ROOT = Path(__file__).resolve().parents[1]


def tool(path):
    """A script of the project as a module."""
    sys.path.insert(0, str((ROOT / path).parent))
    spec = importlib.util.spec_from_file_location(f"tool_{Path(path).stem}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def execute():
    return tool("site/execute.py")


@pytest.fixture
def cache(execute, tmp_path, monkeypatch):
    """The cache of a small project with a package of one file."""
    (tmp_path / "gentut").mkdir()
    (tmp_path / "gentut" / "one.py").write_text("x = 1")
    (tmp_path / "constraints.txt").write_text("torch==1")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    return lambda: execute.cache_of("test")


def written(path, *code):
    """A notebook without outputs."""
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in code]), path)
    return path


def executed(path, folder):
    """A copy in `folder` as nbmake leaves it: with outputs and times."""
    notebook = nbformat.read(path, 4)
    for k, cell in enumerate(notebook.cells):
        cell.execution_count = k + 1
        cell.outputs = [new_output("stream", text=f"{k}")]
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00.0Z"}
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / path.name)


def test_what_was_executed_is_found_until_something_that_counts_has_changed(execute, cache, tmp_path):
    one, two = (written(tmp_path / "book" / f"{name}.ipynb", f"print('{name}')") for name in ("one", "two"))
    assert execute.missing(cache(), [one, two]) == [one, two]
    executed(one, tmp_path / "done")
    execute.store(cache(), [one], tmp_path / "done")
    assert execute.missing(cache(), [one, two]) == [two]
    _, merged = cache().merge_match_into_notebook(nbformat.read(one, 4))
    assert merged.cells[0].outputs[0].text == "0", "the site shows the outputs of the run"

    written(one, "print('another')")
    assert execute.missing(cache(), [one]) == [one], "its code has changed"
    written(one, "print('one')")
    assert execute.missing(cache(), [one]) == []
    (tmp_path / "gentut" / "one.py").write_text("x = 2")
    assert execute.missing(cache(), [one]) == [one], "the package has changed"


def test_the_records_that_chapters_show_count_too(execute, cache, tmp_path):
    one = written(tmp_path / "book" / "one.ipynb", "1")
    executed(one, tmp_path / "done")
    execute.store(cache(), [one], tmp_path / "done")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "a.json").write_text("{}")
    assert execute.missing(cache(), [one]) == [one]


def test_the_longest_notebook_starts_first(execute, cache, tmp_path):
    names = [path.stem for path in (ROOT / "book").glob("*.ipynb")]
    paths = [written(tmp_path / "book" / f"{name}.ipynb", name) for name in names]
    cost = json.loads(execute.COST.read_text())["notebooks"]
    first, *_, last = (path.stem for path in execute.missing(cache(), paths))
    assert cost[first]["seconds"] == max(each["seconds"] for each in cost.values())
    assert cost[last]["seconds"] == min(each["seconds"] for each in cost.values())


def test_a_notebook_that_fails_stops_the_build(execute, tmp_path, capfd):
    bad = written(tmp_path / "book" / "bad.ipynb", "x = 1", "raise RuntimeError('out of ink')")
    (tmp_path / "run").mkdir()
    assert execute.run([bad], tmp_path / "run") != 0
    assert "out of ink" in capfd.readouterr().out
    assert nbformat.read(bad, 4).cells[0].outputs == [], "the source is untouched"


# ------------------------------------------------------------------------------------------------- what the labels say


def test_labels_are_written_where_the_record_has_a_cell_and_nowhere_else(tmp_path, monkeypatch):
    chapters = tool("benchmarks/chapters.py")
    monkeypatch.setattr(chapters, "BOOK", tmp_path)
    path = tmp_path / "vae.ipynb"
    cells = [new_code_cell("# cost: about 3 s on 2 CPU cores\nvae.train()", id="a"), new_code_cell("1", id="b")]
    path.write_text(nbformat.writes(new_notebook(cells=cells)) + "\n")
    assert chapters.write_labels({"notebooks": {"vae": {"cells": {"a": 12.6}}}}) == ["vae"]
    assert nbformat.read(path, 4).cells[0].source == "# cost: about 13 s on 2 CPU cores\nvae.train()"
    assert nbformat.read(path, 4).cells[1].source == "1"
    assert chapters.write_labels({"notebooks": {"vae": {"cells": {"a": 12.6}}}}) == []
