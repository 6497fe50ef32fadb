"""The GAN chapter's games in the page: their JavaScript follows torch number by number, and what the widget refuses."""

import dataclasses
import functools
import json
import subprocess

import numpy as np
import pytest
import torch

from gentut import Error, games, gan
from gentut.widgets import GanReplay
from tests.javascript import call, node

MATHS = "games-maths.js"
VIEW = "games-replay.js"
RELATIVE = 1e-9

# The first steps of a record, on its own batches: every loss, and the weights after the last step.
FOLLOW = """(() => {
  const flat = list => Float64Array.from(list.flat(Infinity)), { x, z, u, generator_z } = batches;
  const G = perceptron(shapes.generator, first.generator), D = perceptron(shapes.discriminator, first.discriminator);
  const played = game(settings, G, D), d = [], g = [];
  x.forEach((moves, t) => {
    d.push(moves.map((each, i) => played.discriminatorStep(flat(each), flat(z[t][i]), flat(u[t][i]), rates[1])));
    g.push(played.generatorStep(flat(generator_z[t]), rates[0]));
  });
  return { d, g, generator: G.parameters.map(p => [...p]).flat(), discriminator: D.parameters.map(p => [...p]).flat() };
})()"""


@functools.lru_cache
def record(dim=1, frames=5, m=96, **changes):
    """A game that is over quickly."""
    short = {"steps": 60, "batch_size": 32, "hidden": (12, 10)}
    game = games.Game.healthy(dim).replace(**short | changes)
    return games.play(game, games.pair() if dim == 1 else games.ring(), frames=frames, m=m)


def shapes(state):
    return [list(v.shape) for v in state.values() if v.ndim == 2]


def flat(state):
    return torch.cat([v.flatten() for v in state.values()])


def shown_in_page(widget, name, expression, **inputs):
    """What an expression gives with `record`, the reader of one of the widget's records, and `bytes` in scope."""
    code = f"""(() => {{
      const bytes = Uint8Array.from(raw), record = reader(sent.find(r => r.name === name), bytes);
      return {expression};
    }})()"""
    return call(VIEW, code, sent=widget.records, raw=list(widget.raw), name=name, **inputs)


# --------------------------------------------------------------------------------------------------- JavaScript = torch


def follow(of):
    """What JavaScript makes of a record's first weights and batches."""
    game = of.game
    return call(
        MATHS,
        FOLLOW,
        shapes={name: shapes(state) for name, state in of.first.items()},
        first={name: flat(state) for name, state in of.first.items()},
        batches=of.batches,
        settings={k: getattr(game, k) for k in ("loss", "penalty", "beta1", "beta2")},
        rates=[game.learning_rate, game.learning_rate * game.discriminator_rate],
    )


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(
    ("loss", "penalty"), [*((loss, 0.0) for loss in gan.LOSSES), ("wgan-gp", 10.0), ("non-saturating", 1.0)]
)
def test_twenty_steps_are_torchs(dim, loss, penalty):
    """Losses of every move, with and without penalty, two moves of D a step: the same numbers in float64."""
    of = record(dim, loss=loss, penalty=penalty, discriminator_steps=2, discriminator_rate=0.5, steps=20)
    got = follow(of)
    assert len(got["g"]) == len(got["d"]) == 20
    np.testing.assert_allclose(got["d"], of.batches["discriminator_loss"], rtol=RELATIVE)
    np.testing.assert_allclose(got["g"], of.batches["generator_loss"], rtol=RELATIVE)
    # The record's last frame shows the networks after step 20: they are JavaScript's.
    assert of.steps[-1] == 20
    state, at = {}, 0
    for name, value in of.first["generator"].items():
        numbers = torch.tensor(got["generator"], dtype=torch.float64)
        state[name] = numbers[at : at + value.numel()].view_as(value)
        at += value.numel()
    generator, _ = games.players(of.game)
    generator.load_state_dict(state)
    with torch.no_grad():
        np.testing.assert_allclose(generator(of.z.double()), of.samples[-1], atol=2e-6)


@pytest.mark.parametrize("preset", [games.Game.healthy, games.Game.collapsed])
def test_the_chapters_own_games_begin_as_torchs(preset):
    of = games.play(preset(1).replace(steps=20), games.pair(), frames=2)
    got = follow(of)
    np.testing.assert_allclose(got["d"], of.batches["discriminator_loss"], rtol=RELATIVE)
    np.testing.assert_allclose(got["g"], of.batches["generator_loss"], rtol=RELATIVE)


@pytest.mark.parametrize("loss", gan.LOSSES)
def test_training_in_the_page_begins_with_the_records_first_frame(loss):
    """The page's own look at the untrained players is what games.look found: from the bytes that are sent."""
    of = record(loss=loss)
    widget = GanReplay.from_records({"a": of})
    got = shown_in_page(widget, "a", "begin(record, bytes, 0).frame()")
    np.testing.assert_allclose(got["samples"], of.samples[0, :, 0], atol=1e-6)
    np.testing.assert_allclose(got["arrows"], of.arrows[0, ::2, 0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(got["scores"], of.scores[0], atol=1e-6)
    assert got["push"] == pytest.approx(of.arrows[0].abs().mean().item(), rel=1e-5)
    for name in ("discriminator_loss", "generator_loss", "right", "distance"):  # real points travel as float16
        assert got[name] == pytest.approx(of.curves[name][0].item(), rel=1e-3, abs=1e-3), name
    # Its density follows G at 1,000 pieces of z, the record's at 4,000: both mean over a cell.
    want = of.density[0].numpy()
    assert np.abs(np.array(got["density"]) - want).max() <= 0.01 * want.max()


def test_the_pages_batches_come_from_the_records_target():
    target = games.Mixture([-2.0, 0.0, 1.5], [0.3, 0.1, 0.5], [0.2, 0.5, 0.3])
    given = {k: getattr(target, k) for k in ("means", "sigmas", "weights")}
    x = torch.tensor(call(MATHS, "source(target, 5).x(5000)", target=given), dtype=torch.float64)
    ranks = target.cdf(x.sort().values)
    assert (ranks - torch.linspace(0, 1, 5000)).abs().max() <= 0.025, "Kolmogorov and Smirnov's distance"
    z = call(MATHS, "source(target, 5).z(5000)", target=given)
    assert np.abs(np.sort(torch.special.ndtr(torch.tensor(z))) - np.linspace(0, 1, 5000)).max() <= 0.025
    xs = np.linspace(-4, 4, 81)
    want = target.log_density(torch.from_numpy(xs)).exp()
    np.testing.assert_allclose(call(MATHS, "xs.map(x => density(target, x))", target=given, xs=xs), want, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- what is stored


@pytest.mark.parametrize("dim", [1, 2])
def test_every_frame_of_a_record_arrives(dim):
    of = record(dim)
    widget = GanReplay.from_records({"other": record(3 - dim), "this": of})
    got = shown_in_page(widget, "this", "[record.steps.map((_, i) => record.frame(i)), record]")
    frames, read = got
    assert read["steps"] == of.steps.tolist() and len(frames) == len(of.steps) == 5
    for i, frame in enumerate(frames):
        assert read["stride"] == 2 and read["arrows"] == 48, "of 96 samples every other one sends its arrow"
        for name, stride in (("samples", 1), ("arrows", 2), ("scores", 1)):
            want = getattr(of, name)[i, ::stride].half().double().flatten()
            np.testing.assert_array_equal(frame[name], want, err_msg=name)
        for name, values in of.curves.items():
            assert frame[name] == pytest.approx(values[i].item(), rel=1e-5)
        assert frame["push"] == pytest.approx(of.arrows[i].norm(dim=1).mean().item(), rel=1e-5)
        if dim == 1:
            np.testing.assert_array_equal(frame["density"], of.density[i].half().double())
        else:
            assert frame["density"] is None
    np.testing.assert_array_equal(read["real"], of.real.half().double().flatten())
    axis = of.grid[: read["side"], 0].double()
    np.testing.assert_allclose(read["grid"], axis, atol=1e-6)
    assert read["points"] == len(of.grid) == of.scores.shape[1]
    if dim == 2:  # the page takes x to grow along a row, and the first row to be the lowest
        rows = of.grid.view(read["side"], read["side"], 2)
        assert rows[:, :, 0].eq(rows[:1, :, 0]).all() and rows[:, :, 1].eq(rows[:, :1, 1]).all()
        assert (rows[0, :, 0].diff() > 0).all() and (rows[:, 0, 1].diff() > 0).all()


def test_the_last_frame_up_to_a_step_is_shown():
    of = record()
    widget = GanReplay.from_records({"a": of})
    ask = [0, 1, *of.steps.tolist(), 59, 60, 999]
    got = shown_in_page(widget, "a", "ask.map(step => record.indexAt(step))", ask=ask)
    assert got == [int((of.steps <= step).sum()) - 1 for step in ask]


def test_a_generator_of_another_kind_has_its_density_from_samples():
    of = record(latent=2)
    assert of.density is None
    widget = GanReplay.from_records({"a": of})
    assert shown_in_page(widget, "a", "[record.frame(0).density, begin(record, bytes, 0).frame().density]") == [
        None,
        None,
    ]


def test_the_raw_state_of_four_records_stays_within_its_budget():
    """60 frames of 256 samples, two games on the line and two in the plane, as the chapter shows them."""
    many = {}
    for dim in (1, 2):
        game = games.Game.healthy(dim).replace(steps=60, batch_size=8)
        of = games.play(game, games.pair() if dim == 1 else games.ring(), frames=60)
        fill = 60 - len(of.steps)  # a short game has fewer different frames
        grown = {
            k: torch.cat([v, v[-1:].expand(fill, *v.shape[1:])])
            for k in ("samples", "arrows", "scores", "density")
            if (v := getattr(of, k)) is not None
        }
        of = dataclasses.replace(
            of,
            steps=torch.arange(60) * 33,
            curves={k: torch.rand(60) for k in of.curves},
            **grown,
        )
        many |= {f"{dim}a": of, f"{dim}b": of}
    widget = GanReplay.from_records(many)
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip", "raw")}
    own = len(widget.raw) + len(json.dumps({k: v for k, v in state.items() if not k.startswith("_")}))
    assert own + len(str(widget._esm)) + len(str(widget._css)) <= 700_000
    assert own <= 520_000


# ------------------------------------------------------------------------------------------------------ the Python side


def test_it_opens_with_two_games_of_a_kind_at_their_end():
    widget = GanReplay.from_records({"ring": record(2), "line": record(1), "ring, again": record(2, seed=1)})
    assert widget.shown == ["ring", "ring, again"]
    assert (widget.step, widget.live) == (60, "")
    assert GanReplay.from_records({"a": record(1), "b": record(2)}).shown == ["a"]


def test_traits_may_be_set_and_are_held_to_rules():
    slow = record(discriminator_rate=0.5)
    widget = GanReplay.from_records({"a": record(1), "b": slow, "ring": record(2)})
    widget.shown = ["ring", "a"]
    widget.step = 0
    widget.live = "b"
    assert widget.rates == [slow.game.learning_rate, slow.game.learning_rate * 0.5], "a game brings its own rates"
    widget.rates = [0.01, 0.02]
    for name, value, message in [
        ("shown", ["a", "c"], "shown must be one or two of"),
        ("shown", [], "shown must be one or two of"),
        ("shown", ["a", "b", "a"], "shown must be one or two of"),
        ("step", -1, "step must be at least 0"),
        ("live", "ring", "live must be one of the records in one dimension"),
        ("live", "c", "live must be one of the records in one dimension"),
        ("rates", [0.1], "rates must be two positive numbers"),
        ("rates", [0.1, 0.0], "rates must be two positive numbers"),
        ("rates", [float("nan"), 0.1], "rates must be two positive numbers"),
        ("rates", [float("inf"), 0.1], "rates must be two positive numbers"),
    ]:
        with pytest.raises(Error, match=message):
            setattr(widget, name, value)
    assert (widget.shown, widget.step, widget.live, widget.rates) == (["ring", "a"], 0, "b", [0.01, 0.02])


def changed(**arrays):
    return dataclasses.replace(record(), **arrays)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "records must be a dict"),
        (None, "records must be a dict"),
        ([1], "records must be a dict"),
        ({"a": 3}, "'a' must be a games.Record, which games.play returns, got int"),
        ({"": None}, "name must be some text"),
        ({3: None}, "name must be some text"),
        (lambda: record(), "records must be a dict"),
        (lambda: {"a": changed(samples=record().samples * float("nan"))}, "'a' cannot be shown: its samples"),
        (lambda: {"a": changed(samples=record().samples + 1e6)}, "'a' cannot be shown: its samples"),
        (lambda: {"a": changed(scores=record().scores * float("nan"))}, "'a' cannot be shown: its scores"),
    ],
)
def test_wrong_records_are_refused(records, message):
    with pytest.raises(Error, match=message):
        GanReplay.from_records(records() if callable(records) else records)


def test_a_critic_may_have_any_height():
    """A critic's values have no scale: what float16 cannot hold is cut, not refused."""
    widget = GanReplay.from_records({"a": changed(scores=record().scores + 1e6)})
    assert set(shown_in_page(widget, "a", "record.frame(0).scores")) == {65504.0}


def test_the_code_is_one_module_that_names_no_address(tmp_path):
    code = str(GanReplay._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")
