"""DiffusionField on its page (book/diffusion.html): mouse, keys and finger, against gentut's steps in torch."""

import numpy as np
import pytest
import torch

from gentut import points
from gentut.widgets.points import noise
from tests.browser.hands import Widget, brightness, ink, saved_states
from tests.test_widgets_points import cloud_of, network_of, positions

WORDS = "text, dt, dd, .gt-note, .gt-swatch, .gt-muted, button, output, .gt-slider span, legend, .gt-options span"
SLOW = 0.5


class Field(Widget):
    """DiffusionField on its page."""

    path, name = "book/diffusion.html", "diffusion-field"

    @property
    def plane(self):
        return self.part("plane")

    @property
    def speed(self):
        """The slider of the logarithm of steps in a second; at SLOW a run takes long enough to be stopped."""
        return self.part("in-set").get_by_role("slider", name="Speed", exact=True)

    @property
    def time(self):
        """The slider of t."""
        return self.part("in-time").locator("input[type=range]")

    def put(self, slider, value):
        """Set a slider and wait until the run has come there."""
        slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)
        return self.arrived()

    def arrived(self):
        """All that the widget shows, once every step that it wants is computed."""
        self.settle()
        self.page.wait_for_function("e => e.dataset.reached === '1'", arg=self.node, timeout=120_000)
        self.settle()
        return self.data()

    def shows(self, state, **changes):
        """The points are where torch finds them in this state; returns all that is shown."""
        now = self.arrived()
        state = {**state, "dropped": [], "turns": [], **changes}
        assert now.number("t") == state["t"] and now["schedule"] == state["schedule"] and now["start"] == state["start"]
        assert [int(v) for v in now["turns"].split()] == state["turns"]
        want = positions(state)
        room = 2e-3 * max(0.1, want.abs().max().item())
        np.testing.assert_allclose(np.reshape(now.numbers("first"), (-1, 2)), want[:6], atol=room)
        np.testing.assert_allclose(now.number("spread"), want.square().mean().sqrt(), atol=room)
        if state["dropped"]:
            own = positions(state, own=True)
            np.testing.assert_allclose(np.reshape(now.numbers("own"), (-1, 2)), own, atol=2 * room)
        return now


@pytest.fixture
def field(open_widget):
    return open_widget(Field)


@pytest.fixture(scope="module")
def state(stages, site):
    """The stored state: it stays as it is, whatever a test does with the widget."""
    states = saved_states(stages.page(f"{site.url}/{Field.path}", use="widgets"))
    found = next(s for s in states if "schedules" in s and "raw" in s)
    assert len(found["raw"]) <= 700_000
    return found


def last(state):
    return len(state["schedules"][0]["alpha_bar"]) - 1


def wide(state):
    """Name of the schedule of which most is left at the end."""
    return max(state["schedules"], key=lambda s: s["alpha_bar"][-1])["name"]


# --------------------------------------------------------------------------------------------------------- what it does


def test_it_opens_as_its_constructor_says(field, state):
    now = field.shows(state)
    assert now.number("half") > 0 and now.number("chance") > 0
    assert now["playing"] == "0"


def test_the_slider_leads_from_noise_to_data(field, state):
    T = last(state)
    if state["start"] != "noise":
        field.click("From noise")
    run = {**state, "start": "noise"}
    assert field.put(field.time, T // 2).number("t") == T // 2
    field.shows(run, t=T // 2)
    field.put(field.time, 0)
    now = field.shows(run, t=0)
    assert now.number("left") == 1
    field.keys(field.time, "ArrowRight", "ArrowRight")
    field.shows(run, t=2)


@pytest.mark.parametrize("t", ["start", "middle", "end"])
def test_the_distance_is_that_to_the_chain_at_this_time(field, state, t):
    T = last(state)
    t = {"start": T, "middle": T // 2, "end": 0}[t]
    field.click("From noise")
    field.put(field.time, t)
    now = field.shows({**state, "start": "noise"}, t=t)
    cloud, m = cloud_of(state).double(), min(400, state["known"])
    a = torch.tensor(next(s["alpha_bar"] for s in state["schedules"] if s["name"] == now["schedule"])[t]).double()
    some = cloud[[i * state["known"] // m for i in range(m)]]
    chain = a.sqrt() * some + (1 - a).sqrt() * noise(7919, 0, 0, m)
    want = points.energy_distance(positions({**state, "start": "noise", "dropped": [], "turns": [], "t": t}), chain)
    assert now.number("distance") == pytest.approx(want, rel=0.01, abs=0.02 * now.number("chance"))
    fact = {key: value for key, value in (line.split("\n") for line in field.part("fact").all_inner_texts())}
    assert float(fact["distance to chain"]) == pytest.approx(want, abs=1e-3)


def test_a_schedule_that_does_not_reach_noise_starts_where_the_chain_never_was(field, state):
    """No matter how well the network has learned: N(0, I) is no x_T of the notes' chain, and is one of the first's."""
    T, worst = last(state), wide(state)
    left = next(s["alpha_bar"][-1] for s in state["schedules"] if s["name"] == worst)
    field.click("From noise")
    good = field.shows({**state, "start": "noise"}, t=T)
    assert good.number("distance") < 4 * good.number("chance")
    if left < 0.5 or worst == state["schedule"]:
        pytest.skip("all schedules of this page reach noise")
    field.choose(worst)
    bad = field.shows({**state, "start": "noise"}, schedule=worst, t=T)
    assert bad.number("distance") > 3 * bad.number("chance")
    assert bad.number("distance") / bad.number("chance") > 2 * good.number("distance") / good.number("chance")
    assert "does not reach noise" in field.words("verdict")
    field.said("does not reach noise")
    # Where the chain itself ends, sampling may start.
    field.click("From data")
    fair = field.put(field.time, T)
    assert fair.number("distance") < 4 * fair.number("chance")
    field.choose("remove noise")
    field.put(field.time, 0)
    field.shows({**state, "start": "data"}, schedule=worst, turns=[T], t=0)


def test_noise_is_added_and_the_run_turns_around(field, state):
    T = last(state)
    field.click("From data")
    run = {**state, "start": "data"}
    field.shows(run, t=0)
    assert field.put(field.time, T // 2)["forward"] == "1"
    field.shows(run, t=T // 2)
    field.choose("remove noise")
    field.keys(field.time, *["ArrowLeft"] * 5)
    now = field.shows(run, turns=[T // 2], t=T // 2 - 5)
    assert now["forward"] == "0" and now["leg"] == "1"
    now = field.put(field.time, T // 2 + 3)  # back over the turn
    assert now["forward"] == "1"
    field.shows(run, t=T // 2 + 3)


def test_turning_where_nothing_moved_takes_the_turn_back_or_begins_at_the_other_end(field, state):
    T = last(state)
    field.click("From noise")
    field.choose("add noise")
    field.shows({**state, "start": "data"}, t=0)
    field.choose("remove noise")
    field.shows({**state, "start": "noise"}, t=T)
    field.put(field.time, T - 4)
    field.choose("add noise")
    field.choose("remove noise")
    field.shows({**state, "start": "noise"}, t=T - 4)


def test_eta_adds_noise_to_the_steps_back(field, state):
    T, slider = last(state), field.part("in-set").get_by_role("slider", name="\u03b7", exact=True)
    field.click("From noise")
    field.put(field.time, T // 2)
    field.put(slider, 1)
    field.shows({**state, "start": "noise"}, eta=1.0, t=T // 2)
    field.put(slider, 0)
    field.shows({**state, "start": "noise"}, eta=0.0, t=T // 2)


def test_other_draws_are_those_of_the_next_seed(field, state):
    field.click("Other draws")
    field.shows(state, seed=state["seed"] + 1)


# -------------------------------------------------------------------------------------------------- points of one's own


def dropped(now, state, x, y, leg=0):
    """The entry of a point dropped at a share of the plane, x to the right and y downwards."""
    half = now.number("half")
    return [(2 * x - 1) * half, (1 - 2 * y) * half, now.number("t"), leg]


def test_a_click_drops_a_point_that_flows_along(field, state):
    T = last(state)
    field.click("From noise")
    now = field.put(field.time, T // 2)
    field.page.mouse.click(*field.at(field.plane, 0.25, 0.3))
    entry = dropped(now, state, 0.25, 0.3)
    got = field.arrived().numbers("own")
    np.testing.assert_allclose(got, entry[:2], atol=0.02 * now.number("half"))
    field.said("Dropped at")
    entry[:2] = got
    field.put(field.time, T // 4)
    field.shows({**state, "start": "noise"}, t=T // 4, dropped=[entry])
    later = field.put(field.time, T // 2 + 1)
    assert np.isnan(later.numbers("own")).all(), "it was not there yet"
    field.click("Remove mine")
    assert field.arrived()["own"] == ""
    assert field.root.get_by_role("button", name="Remove mine").is_disabled()


def test_keys_drop_a_point_and_take_it_away(field, state):
    field.keys(field.plane, "ArrowRight", "ArrowUp", "Shift+ArrowUp", "Enter")
    now = field.arrived()
    np.testing.assert_allclose(now.numbers("own"), np.array([0.04, 0.24]) * now.number("half"), rtol=1e-4)
    assert len(now.numbers("glance")) == 4
    field.keys(field.plane, "ArrowLeft", " ")
    assert len(field.arrived().numbers("own")) == 4
    field.keys(field.plane, "Delete", "Delete", "Delete")
    assert field.arrived()["own"] == ""
    field.keys(field.plane, "Escape")
    assert field.text("glance") is None


def test_a_finger_drops_a_point_and_still_scrolls_the_page(open_widget, state):
    field = open_widget(Field, "phone")
    x, y = field.at(field.plane, 0.6, 0.4)
    field.page.touchscreen.tap(x, y)
    now = field.arrived()
    want = dropped(now, state, 0.6, 0.4)[:2]
    np.testing.assert_allclose(now.numbers("own"), want, atol=0.03 * now.number("half"))


@torch.no_grad()
def test_under_the_pointer_is_the_guess_of_x0(field, state):
    T = last(state)
    field.click("From noise")
    field.put(field.time, T // 2)
    field.page.mouse.move(*field.at(field.plane, 0.7, 0.6))
    now = field.arrived()
    x, y, u, v = now.numbers("glance")
    alpha_bar = next(s["alpha_bar"] for s in state["schedules"] if s["name"] == now["schedule"])
    a, point = torch.tensor(alpha_bar[T // 2], dtype=torch.float64), torch.tensor([[x, y]], dtype=torch.float32)
    eps = network_of(state["network"], state["raw"])(point, a).double()
    want = (point - (1 - a).sqrt() * eps) / a.sqrt()
    np.testing.assert_allclose([u, v], want[0], atol=2e-3)
    assert "x\u2080 as guessed from here" in field.words("hover")


# --------------------------------------------------------------------------------------------------------------- motion


def test_play_runs_to_the_end_and_begins_again(field, state):
    T = last(state)
    field.click("From noise")
    field.put(field.time, 4)
    field.put(field.speed, 2)
    field.click("Play")
    field.page.wait_for_function("e => e.dataset.t === '0' && e.dataset.playing === '0'", arg=field.node)
    field.root.get_by_role("button", name="Play", exact=True).wait_for()  # it stops by itself
    field.shows({**state, "start": "noise"}, t=0)
    field.put(field.speed, SLOW)
    field.click("Play")
    field.page.wait_for_function(f"e => +e.dataset.t > 0 && +e.dataset.t < {T}", arg=field.node)
    field.click("Pause")
    now = field.arrived()
    t = int(now.number("t"))
    assert 0 <= t < T
    field.shows({**state, "start": "noise"}, t=t)
    if t:
        field.click("Step")
        field.shows({**state, "start": "noise"}, t=t - 1)


def test_while_it_plays_a_frame_is_drawn_in_time(field, state):
    """16 ms, or on a busy machine twice what ten million additions take there (about 10 ms on a quiet one)."""
    field.click("From noise")
    field.put(field.speed, 1)
    field.click("Play")
    times, work, places = field.node.evaluate("""async e => {
      const times = [], work = [], places = [], frame = () => new Promise(requestAnimationFrame);
      const add = () => { let sum = 0; for (let i = 0; i < 1e7; i++) sum += 1 / (i + 1); return sum; };
      for (let i = 0; i < 60 && e.dataset.playing === "1"; i++) {
        await frame();
        times.push(Number(e.dataset.ms)); places.push(e.dataset.t);
        const begun = performance.now();
        if (!(add() > 1)) return null;
        work.push(performance.now() - begun);
      }
      return [times, work, places];
    }""")
    assert len(set(places)) > 2, "it moves"
    draw, reference = (sorted(each)[len(each) // 4] for each in (times, work))
    assert draw <= max(16, 2 * reference), f"{draw} ms beside {reference} ms"


def test_readers_who_ask_for_less_motion_get_jumps(open_widget, state):
    field = open_widget(Field, motion="reduce")
    T = last(state)
    field.click("From noise")
    field.click("Play")
    field.page.wait_for_function(f"e => +e.dataset.t < {T}", arg=field.node)
    field.click("Pause")
    now = field.arrived()
    jumps = (T - now.number("t")) / max(1, round(T / 20))
    assert jumps == int(jumps) and 1 <= jumps < 20
    field.shows({**state, "start": "noise"}, t=int(now.number("t")))


# ----------------------------------------------------------------------------------------------------------------- look


def test_arrows_trails_and_window(field, state):
    """Each switch changes what is drawn, and says so."""
    field.click("From noise")
    field.put(field.time, last(state) // 2)
    before = ink(field.plane)
    field.choose("none")
    bare = ink(field.plane)
    assert bare.sum() < 0.97 * before.sum()
    field.choose("next step")
    assert ink(field.plane).sum() > 1.03 * bare.sum()
    assert "next step" in field.words("legend-row")
    field.choose("none")
    assert (ink(field.plane) == bare).all()
    field.click("Trails")
    assert abs(ink(field.plane) - bare).sum() > 10  # of a slow stretch of the way: short, pale lines
    half = field.number("half")
    field.click("Zoom with t")
    now = field.arrived()
    assert now.number("half") == pytest.approx(state["scale"]) and now.number("half") != half


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_everything_fits_and_has_a_name(open_widget, state, device):
    field = open_widget(Field, device)
    for _ in field.in_both_themes():
        for action in (lambda: field.choose(wide(state)), lambda: field.click("Trails"), lambda: None):
            action()
            field.arrived()
            assert not field.sticks_out()
            assert not field.overlaps(WORDS)
            assert not field.nameless()


def test_it_follows_the_theme(field):
    seen = {}
    for theme in field.in_both_themes():
        ground, text = field.board()
        seen[theme] = ground
        assert abs(ground - text) > 0.5
        marks = field.colours((".gt-key-dot", "color"), (".gt-plane", "color"))
        assert all(abs(brightness(c) - ground) > 0.3 for c in marks)
    assert seen["light"] > 0.8 and seen["dark"] < 0.3
