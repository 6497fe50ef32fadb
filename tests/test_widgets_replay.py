"""Training replays in the page: every picture and number arrives, axes are read rightly, wrong input is refused."""

import json
import subprocess

import numpy as np
import pytest
import torch

from gentut import Error, replays
from gentut.widgets import TrainingReplay, replay
from tests.javascript import call, node

VIEW = "replay-training.js"


def made(family="vae", frames=4, units=3, seed=0):
    """A replay of random numbers."""
    g = torch.Generator().manual_seed(seed)
    kind = replays.WATCHED[family]
    return replays.Replay(
        family,
        torch.tensor(replays.schedule(100, frames)),
        replays.quantise(torch.rand(frames, 20, 28, 28, generator=g)),
        {name: torch.rand(frames, generator=g) for name in kind.names}, torch.rand(frames, units, generator=g),
        torch.arange(1.0, 11.0), {name: torch.rand(10, generator=g) for name in kind.curves}, {},
    )


def test_every_picture_arrives():
    one, other = made(), made(seed=1)
    widget = TrainingReplay.from_replays({"one": one, "other": other})
    code = """records.map(r => { const read = reader(r, Uint8Array.from(raw));
      return read.steps.map((_, i) => [0, 7, 19].map(k => read.picture(i, k))); })"""
    got = np.array(call(VIEW, code, records=widget.records, raw=list(widget.raw)))
    want = torch.stack([r.pictures[:, [0, 7, 19]].flatten(2) for r in (one, other)]).double() / 255
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_a_page_can_be_spared_some_of_the_pictures():
    given = made()
    few, all_ = (TrainingReplay.from_replays({"a": given}, pictures=n) for n in (5, 99))
    assert [few.records[0]["count"], all_.records[0]["count"]] == [5, 20] and len(all_.raw) == 4 * len(few.raw)
    code = "[0, 1].map(i => reader(records[0], Uint8Array.from(raw)).picture(i, 4))"
    got = np.array(call(VIEW, code, records=few.records, raw=list(few.raw)))
    np.testing.assert_allclose(got, given.pictures[:2, 4].flatten(1).double() / 255, atol=1e-7)
    with pytest.raises(Error, match="pictures must be at least 1, got 0"):
        TrainingReplay.from_replays({"a": given}, pictures=0)


@pytest.mark.parametrize("family", replays.WATCHED)
def test_every_number_arrives(family):
    given = made(family, units=10)
    (sent,) = TrainingReplay.from_replays({"a": given}).records
    assert sent["steps"] == given.steps.tolist() and sent["family"] == family
    view = replay.VIEWS[family]
    assert list(view["facts"]) and set(view["facts"]) <= set(given.measured)
    for fact, (name, (_, factor, *_)) in zip(sent["facts"], view["facts"].items(), strict=True):
        assert fact["values"] == pytest.approx((factor * given.measured[name]).tolist(), rel=1e-4)
    np.testing.assert_allclose(sent["bars"]["values"], given.bars, rtol=1e-4)
    assert sent["bars"]["names"] == replay.DIGITS
    lines = {line["name"]: line["values"] for chart in sent["charts"] for line in chart["lines"]}
    assert len(lines) == len(given.curves)
    for values, own in zip(lines.values(), given.curves.values(), strict=True):
        assert values == pytest.approx(own.tolist(), rel=1e-4)
    assert sent["curveSteps"] == given.curve_steps.tolist()


def test_the_last_stored_step_up_to_one_is_shown():
    (sent,) = TrainingReplay.from_replays({"a": made()}).records
    steps = np.array(sent["steps"])
    ask = [0, 1, 5, *sent["steps"], 99, 100, 5000]
    got = call(VIEW, "ask.map(step => reader(sent, new Uint8Array(0)).indexAt(step))", sent=sent, ask=ask)
    assert got == [int((steps <= step).sum()) - 1 for step in ask]


def test_a_factor_of_ten_takes_as_much_room_anywhere():
    steps = [0, 1, 9, 10, 99, 100, 5000]
    at, back, marks = call(VIEW, "[steps.map(along), steps.map(along).map(stepAt), decades(6552)]", steps=steps)
    np.testing.assert_allclose(at, np.log10(1 + np.array(steps)), rtol=1e-12)
    np.testing.assert_allclose(back, steps, atol=1e-9)
    assert [text for _, text in marks] == ["0", "1", "10", "100", "1\u2009000"]
    np.testing.assert_allclose([place for place, _ in marks], np.log10([1, 2, 11, 101, 1001]), rtol=1e-12)


def test_axes_hold_their_curves():
    wild = [float(k) for k in range(500)] + [1e6, -1e6]
    asked = """[extent([[1, 3], [2, 4]], false, 0), extent([[-1, 3]], false, 0), extent([wild], true, 0),
      [0.0001, 0.001, 0.1, 10].map(v => height(v, 0.001)), extent([[0.0001, 10]], false, 0.001),
      heights([0, 4.1], 0.001), heights([0, 2.1], 0.01), extent([[0, 0]], false, 0), extent([[5e-4]], false, 0.001)]"""
    plain, below, peaks, logs, decades, first, second, *flat = call(VIEW, asked, wild=wild)
    assert plain == [0, pytest.approx(4.2)] and below == [pytest.approx(-1.2), pytest.approx(3.2)]
    assert -60 < peaks[0] <= 4 and 490 <= peaks[1] < 530, "two peaks do not flatten the rest"
    assert logs == pytest.approx([0, 0, 2, 4]) and decades == [0, pytest.approx(4.1)]
    assert first == [[0, "0.001"], [2, "0.1"], [4, "10"]] and second == [[0, "0.01"], [1, "0.1"], [2, "1"]]
    assert all(high > low for low, high in flat)


def test_the_stored_pairs_stay_within_their_budget():
    for names in (("vae-healthy", "vae-collapsed"), ("gan-healthy", "gan-collapsed"), ("ddpm",)):
        widget = TrainingReplay.from_replays({name: replays.load(name) for name in names})
        assert len(widget.raw) + len(json.dumps(widget.records)) + len(str(widget._esm)) <= 700_000
        assert widget.step == max(record["steps"][-1] for record in widget.records)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one or two replays"),
        (None, "give one or two replays"),
        ({str(k): None for k in range(3)}, "give one or two replays"),
        ({"a": 3}, "'a' must be a replays.Replay, which replays.load returns, got int"),
        ({" ": None}, "title must be some text"),
        ({3: None}, "title must be some text"),
        (lambda: {"a": made("vae"), "b": made("gan")}, "both must be of one family"),
    ],
)
def test_wrong_replays_are_refused(given, message):
    with pytest.raises(Error, match=message):
        TrainingReplay.from_replays(given() if callable(given) else given)


def test_the_step_is_held_to_rules():
    widget = TrainingReplay.from_replays({"a": made()})
    widget.step = 7
    with pytest.raises(Error, match="step must be at least 0"):
        widget.step = -1
    assert widget.step == 7


def test_the_code_is_one_module_that_names_no_address(tmp_path):
    code = str(TrainingReplay._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")
