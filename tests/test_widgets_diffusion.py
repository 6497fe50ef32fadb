"""The diffusion chapter's NoisingSteps: its JavaScript against gentut.diffusion, what it sends, and what it refuses."""

import json
import subprocess
import warnings

import numpy as np
import pytest
import torch

from gentut import Error, data
from gentut.diffusion import REACHED, Schedule
from gentut.widgets import NoisingSteps
from gentut.widgets.diffusion import SCHEDULES
from tests.javascript import call, node

MATHS, WIDGET = "diffusion-maths.js", "diffusion-noising-steps.js"
PIXELS = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def of(name, steps):
    """gentut's schedule; that some do not reach noise is what the widget is about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Schedule.named(name, steps)


def make(**options):
    return NoisingSteps.from_images(PIXELS, **options)


# ---------------------------------------------------------------------------------------------- JavaScript = the module


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_the_modules(name):
    """β and ᾱ to 1e-12 relative; log SNR to 1e-9, where ᾱ is close to 1 and 1 - ᾱ has lost digits."""
    every = [1, 2, 3, 10, 37, 50, 100, 300, 999, 1000]
    shown = call(MATHS, "every.map(T => schedule(name, T))", every=every, name=name)
    for steps, got in zip(every, shown, strict=True):
        want = of(name, steps)
        assert got["name"] == name and len(got["alphaBar"]) == steps + 1
        np.testing.assert_allclose(got["betas"], want.betas, rtol=1e-12, err_msg=f"T = {steps}")
        np.testing.assert_allclose(got["alphaBar"], want.alpha_bar, rtol=1e-12, err_msg=f"T = {steps}")
        assert got["logSnr"][0] == float("inf")
        np.testing.assert_allclose(got["logSnr"][1:], want.snr.log()[1:], rtol=1e-9, atol=1e-9)


def test_the_page_knows_every_schedule_of_the_module():
    """A schedule added to the module would be refused here, and one taken away would fail above."""
    with pytest.raises(Error, match="schedule") as refused:
        Schedule.named("none of them", 10)
    assert all(f"{name}" in str(refused.value) for name in SCHEDULES)
    with pytest.raises(Error, match="schedule") as also:
        make(schedule="none of them")
    assert str(also.value) == str(refused.value)


def test_the_noisy_picture_is_q_sample():
    """From the bytes and the seed that the page gets, for random schedules, T, t and seeds: to 1e-6."""
    rng, cases, want = np.random.default_rng(0), [], []
    for i in range(24):
        steps = int(rng.integers(1, 1001))
        t, seed = int(rng.integers(1, steps + 1)), int(rng.integers(2**31))
        widget = make(schedule=SCHEDULES[i % 3], T=steps, t=t, seed=seed)
        widget.pick = i % len(PIXELS)
        cases.append({"name": widget.schedule, "T": steps, "t": t, "seed": seed, "pick": widget.pick})
        want.append(of(widget.schedule, steps).q_sample(widget.x0.double(), t, widget.eps.double()))
        assert torch.equal(widget.x_t, want[-1].float())
    code = """cases.map(({ name, T, t, seed, pick }) => noised(signed(bytes.slice(784 * pick, 784 * pick + 784)),
      noise(seed), schedule(name, T).alphaBar[t]))"""
    got = call(MATHS, code, cases=cases, bytes=list(widget.images))
    np.testing.assert_allclose(got, torch.stack(want).flatten(1), atol=1e-6)


def test_the_noise_is_what_a_page_draws():
    seeds = [0, 1, 2**31 - 1]
    got = call(MATHS, "seeds.map(noise)", seeds=seeds)
    for seed, own in zip(seeds, got, strict=True):
        np.testing.assert_allclose(NoisingSteps.noise(seed).flatten(), own, atol=1e-6)
    many = torch.cat([NoisingSteps.noise(seed).flatten() for seed in range(12)])
    assert abs(many.mean()) < 0.05 and abs(many.std() - 1) < 0.05
    assert not torch.equal(NoisingSteps.noise(0), NoisingSteps.noise(1))


def test_at_t_0_there_is_no_noise():
    widget = make(t=0)
    assert torch.equal(widget.x_t, widget.x0)
    got = call(MATHS, "noised([1, -1], [9, 9], schedule('cosine', 7).alphaBar[0])")
    assert got == [1, -1]


def test_the_page_warns_where_the_module_does():
    assert call(MATHS, "REACHED") == REACHED
    cases = [(name, steps) for name in SCHEDULES for steps in (10, 100, 300, 1000)]
    left = call(MATHS, "cases.map(([name, T]) => Math.sqrt(schedule(name, T).alphaBar[T]))", cases=cases)
    warned = []
    for name, steps in cases:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            Schedule.named(name, steps)
        warned.append(bool(said))
    assert [v > REACHED for v in left] == warned
    assert set(warned) == {True, False}


def test_moments_and_histogram_are_numpys():
    x = np.random.default_rng(0).normal(0.3, 1.4, 784)
    got = call(MATHS, "[moments(x), histogram(x, 4, 32)]", x=x)  # some lie beyond ±4
    assert np.abs(x).max() > 4
    assert got[0] == {"mean": pytest.approx(x.mean()), "deviation": pytest.approx(x.std())}
    assert got[1] == np.histogram(np.clip(x, -4, 4 - 1e-9), 32, (-4, 4))[0].tolist()
    assert call(MATHS, "histogram([-9, -4, -1, 0, 4, 9, 9], 4, 2)") == [3, 4]


def test_the_axis_of_the_histogram_holds_every_bar():
    """The highest bar there can be has all 784 pixels in a cell of width 1/4."""
    peaks = [0.0, 0.3, 0.55, 0.6, 1.0, 1.19, 2.0, 2.4, 3.0, 4.0]
    tops = call(WIDGET, "peaks.map(heightFor)", peaks=peaks)
    assert all(top > peak for top, peak in zip(tops, peaks, strict=True))
    assert tops == sorted(tops) and len(set(tops)) == 4


def test_the_slider_of_T_has_the_present_T_among_its_stops():
    stops = call(WIDGET, "[100, 37, 1, 1000].map(stopsWith)")
    for steps, own in zip([100, 37, 1, 1000], stops, strict=True):
        assert steps in own and own == sorted(set(own)) and {10, 50, 100, 300, 1000} <= set(own)


# ------------------------------------------------------------------------------------------------------ the Python side


def test_it_sends_what_it_was_given():
    widget = make(labels=torch.tensor([4, 0, 7]), T=300, schedule="cosine")
    assert widget.images == PIXELS.numpy().tobytes() and widget.labels == ["4", "0", "7"]
    assert (widget.T, widget.t, widget.schedule, widget.seed, widget.pick) == (300, 75, "cosine", 0, 0)
    assert make(labels=["boot", "bag", "shirt"]).labels == ["boot", "bag", "shirt"]
    assert make().labels == []


def test_the_picture_is_the_digit_picked_or_the_drawing():
    widget = make()
    for i in (0, 2):
        widget.pick = i
        assert torch.equal(widget.x0, data.to_signed(data.to_unit(PIXELS[i : i + 1])))
    drawn = torch.arange(784) % 256
    widget.drawing = drawn.tolist()
    assert torch.equal(widget.x0, data.to_signed(data.to_unit(drawn.byte().view(1, 28, 28))))
    widget.drawing = []
    assert torch.equal(widget.x0, data.to_signed(data.to_unit(PIXELS[2:])))
    assert widget.x0.shape == widget.eps.shape == widget.x_t.shape == (1, 1, 28, 28)


def test_t_never_exceeds_T():
    widget = make(T=1000, t=600)
    widget.T = 1000
    assert widget.t == 600
    widget.T = 100
    assert widget.t == 100
    widget.set_state({"T": 10, "t": 7})  # as the page sends both
    assert (widget.T, widget.t) == (10, 7)
    widget.set_state({"T": 1000, "t": 700})
    assert (widget.T, widget.t) == (1000, 700)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("t", 301, "t must be a whole number from 0 to 300, got 301"),
        ("t", -1, "t must be a whole number from 0 to 300, got -1"),
        ("T", 0, "T must be a whole number from 1 to 1000, got 0"),
        ("T", 1001, "T must be a whole number from 1 to 1000, got 1001"),
        ("schedule", "quadratic", "schedule"),
        ("seed", -1, "seed must be a whole number from 0"),
        ("seed", 2**31, "seed must be a whole number from 0"),
        ("pick", 3, "pick must be one of the 3 pictures, 0 to 2, got 3"),
        ("pick", -1, "pick must be one of the 3 pictures"),
        ("drawing", [0] * 783, "drawing must be 784 whole numbers from 0 to 255"),
        ("drawing", [256] * 784, "drawing must be 784 whole numbers from 0 to 255"),
        ("drawing", [-1] * 784, "drawing must be 784 whole numbers from 0 to 255"),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(name, value, message):
    widget = make(T=300, t=100)
    before = getattr(widget, name)
    with pytest.raises(Error, match=message):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (PIXELS.float(), {}, "images must be uint8"),
        (PIXELS[0], {}, "images must be uint8"),
        (PIXELS[:, :20], {}, "images must be uint8"),
        (PIXELS[:0], {}, "images must be 1 to 20 pictures, got 0"),
        (PIXELS.repeat(7, 1, 1), {}, "images must be 1 to 20 pictures, got 21"),
        (PIXELS, {"labels": [1, 2]}, "labels must be 3, one for each picture, got 2"),
        (PIXELS, {"labels": 7}, "labels must be names or numbers, one for each picture, got int"),
        (PIXELS, {"T": 2000}, "T must be a whole number from 1 to 1000, got 2000"),
        (PIXELS, {"T": 10.5}, "T must be a whole number"),
        (PIXELS, {"T": 10, "t": 11}, "t must be a whole number from 0 to 10, got 11"),
        (PIXELS, {"schedule": "flat"}, "schedule"),
        (PIXELS, {"seed": "one"}, "seed must be a whole number"),
        (PIXELS, {"t": "one"}, "t must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused(images, options, message):
    with pytest.raises(Error, match=message):
        NoisingSteps.from_images(images, **options)


def test_a_seed_that_is_none_is_refused():
    for seed in (-1, 1.5, True, None):
        with pytest.raises(Error, match="seed must be a whole number"):
            NoisingSteps.noise(seed)


def test_the_raw_state_stays_within_its_budget():
    """20 pictures and a drawing, with the widget's code and style."""
    widget = NoisingSteps.from_images(torch.full((20, 28, 28), 255, dtype=torch.uint8), ["a name"] * 20)
    widget.drawing = [255] * 784
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip", "images")}
    assert len(widget.images) + len(json.dumps(state)) <= 200_000


def test_the_code_is_one_module_that_names_no_address(tmp_path):
    code = str(NoisingSteps._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")
