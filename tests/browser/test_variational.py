"""The variational chapter's widget on its page (book/variational.html): mouse, keys and finger, against the module."""

import re

import numpy as np
import pytest
import torch

from gentut import variational
from tests.browser.hands import Widget, brightness

KNOBS = {"loc": "Location of q (loc)", "scale": "Width of q (scale)", "x": "Observed x"}


class Elbo(Widget):
    """The widget on its page, and its numbers against the module's."""

    path, name = "book/variational.html", "elbo-explorer"

    def values(self, *names):
        """Several numbers at one moment; one alone comes as a number."""
        now = self.data()
        values = [now.number(name) for name in names]
        return values if len(values) > 1 else values[0]

    def trace(self):
        """The ELBO at the start of the ascent and after each step, the last 25 of them."""
        return self.numbers("trace")

    def unit(self):
        """Pixels of one unit of z, from the ticks 0 and 6 of the first chart (those along z come first)."""
        left, right = self.node.evaluate("""e => ["0", "6"].map(word => {
          const ticks = [...e.querySelector(".gt-plot").querySelectorAll(".gt-tick")];
          const box = ticks.find(tick => tick.textContent === word).getBoundingClientRect();
          return box.x + box.width / 2;
        })""")
        return (right - left) / 6

    def move(self, name, by):
        """Drag the knob of loc, scale or x by `by` units of z with the mouse."""
        self.drag_by(KNOBS[name], (by * self.unit(), 0))

    def check(self):
        """Every number on the page is the module's for the page's own x, loc and scale; returns these three."""
        now = self.data()
        x, loc, scale = (torch.tensor(now.number(name), dtype=torch.float64) for name in ("x", "loc", "scale"))
        q = variational.TruncatedNormal(loc, scale)
        want = {
            "elbo": variational.elbo(q, x),
            "kl": variational.kl(q, x),
            "evidence": variational.log_evidence(x),
            "mean": q.mean,
            "entropy": variational.expectation(q, lambda z: -q.log_prob(z)),
            "log-joint": variational.expectation(q, lambda z: variational.log_joint(x, z)),
            "log-likelihood": variational.expectation(q, lambda z: variational.log_joint(x, z) + z),
            "prior-kl": variational.expectation(q, lambda z: q.log_prob(z) + z),
        }
        for name, value in want.items():
            assert now.number(name) == pytest.approx(value.item(), rel=1e-9, abs=1e-10), name
        elbo, kl, evidence = (now.number(name) for name in ("elbo", "kl", "evidence"))
        assert elbo <= evidence + 1e-9
        assert elbo + kl == pytest.approx(evidence, abs=1e-9)
        # What is written for the eye is the same, rounded.
        shown = [
            float(text.replace("\u2212", "-").strip("()"))
            for text in self.root.locator(".gt-term dd").all_inner_texts()
            if "×" not in text
        ]
        sums = ["evidence", "elbo", "kl", "elbo", "log-joint", "entropy", "elbo", "log-likelihood", "prior-kl"]
        exact = [v for v in map(now.number, sums) if v == 0 or abs(v) >= 1e-4]
        assert shown == pytest.approx(exact, abs=5.001e-4)
        return x.item(), loc.item(), scale.item()


@pytest.fixture
def widget(open_widget):
    return open_widget(Elbo)


def ascended(x, loc, scale, steps):
    for _ in range(steps):
        loc, scale = variational.ascend(loc, scale, x)
    return [loc.item(), scale.item()]


# ------------------------------------------------------------------------------------------------------- by the pointer


def test_it_opens_as_its_constructor_says(widget):
    assert widget.check() == (1.5, 2.5, 0.6)
    assert widget.values("steps") == 0
    assert widget.trace() == [widget.values("elbo")]


def test_dragging_moves_q_widens_it_and_changes_x(widget):
    for name, by in [("loc", -1.5), ("scale", 0.7), ("x", -2), ("loc", -2.5), ("scale", -0.9), ("x", 3)]:
        before = dict(zip(("x", "loc", "scale"), widget.values("x", "loc", "scale"), strict=True))
        widget.move(name, by)
        after = dict(zip(("x", "loc", "scale"), widget.check(), strict=True))
        assert after.pop(name) == pytest.approx(before.pop(name) + by, abs=0.02)
        assert after == before, "one knob moves one number"


def test_knobs_stop_where_their_ranges_end(widget):
    ends = [("loc", 9, 5), ("loc", -15, -2), ("scale", 9, 3), ("scale", -9, 0.2), ("x", 9, 4), ("x", -9, -1)]
    for name, by, end in ends:
        widget.move(name, by)
        assert widget.number(name) == pytest.approx(end, abs=1e-9)
        widget.check()


def test_a_pointer_move_is_drawn_within_a_frame(widget):
    assert widget.drag_slowly(widget.at(KNOBS["loc"]), -4, 0) <= 8
    assert widget.values("loc") < 1.7


def test_the_picture_is_the_densities(widget):
    """q's curve, read back from the chart, has its peak at loc and surrounds the area 1."""
    widget.move("loc", -0.5)
    loc, scale = widget.values("loc", "scale")
    chart = widget.root.locator(".gt-plot").first
    line = chart.locator("path.gt-curve.gt-q:not(.gt-ghost)").get_attribute("d")
    points = np.array([[float(v) for v in p.split()] for p in re.split("[ML]", line) if p])
    z = (points[:, 0] - points[0, 0]) / widget.unit()
    grid = np.array([float(t) for t in chart.locator(".gt-tick").all_text_contents() if re.fullmatch(r"0\.\d+", t)])
    lines = chart.locator(".gt-grid").evaluate_all("lines => lines.map(e => Number(e.getAttribute('y1')))")
    height = (points[0, 1] - min(lines)) / grid.max()  # pixels of density 1
    values = (points[0, 1] - points[:, 1]) / height
    q = variational.TruncatedNormal(torch.tensor(loc).double(), torch.tensor(scale).double())
    want = q.log_prob(torch.from_numpy(z[1:])).exp().numpy()
    assert np.abs(values[1:] - want).max() <= 0.01
    assert z[values.argmax()] == pytest.approx(loc, abs=0.03)
    assert np.trapezoid(values, z) == pytest.approx(1, abs=0.01)


# ---------------------------------------------------------------------------------------------------------- the ascent


def test_one_step_and_twenty_are_the_modules(widget):
    x, loc, scale = widget.check()
    widget.click("Ascend one step")
    assert widget.values("loc", "scale") == pytest.approx(ascended(x, loc, scale, 1), abs=1e-9)
    assert widget.values("steps") == 1
    widget.check()
    for _ in range(19):
        widget.click("Ascend one step")
    assert widget.values("loc", "scale") == pytest.approx(ascended(x, loc, scale, 20), abs=1e-9)
    widget.check()
    trace = widget.trace()
    assert len(trace) == 21 and trace == sorted(trace) and trace[-1] == widget.values("elbo")
    widget.click("Reset")
    assert widget.check() == (1.5, 2.5, 0.6) and widget.values("steps") == 0
    widget.click("Ascend 20 steps")
    assert widget.values("steps") == 20 and widget.trace() == trace


@pytest.mark.parametrize("start", ["far right", "too narrow", "too wide", "left of 0"])
def test_an_ascent_from_each_start_closes_the_gap(widget, start):
    widget.click(start)
    x, loc, scale = widget.check()
    gap, steps = widget.values("kl", "steps")
    assert gap > 0.5 and steps == 0
    widget.click("Ascend 20 steps")
    assert widget.values("loc", "scale") == pytest.approx(ascended(x, loc, scale, 20), abs=1e-9)
    assert widget.values("kl") < gap / 2
    widget.check()


def test_at_the_posterior_nothing_is_left_to_gain(widget):
    widget.move("x", 1)
    widget.click("at the posterior")
    x, loc, scale = widget.check()
    assert (loc, scale) == (pytest.approx(x - 1), 1)
    assert widget.values("kl") == pytest.approx(0, abs=1e-12)
    assert "q is the posterior" in widget.root.locator(".gt-status").inner_text()
    widget.click("Ascend one step")
    assert widget.values("loc", "scale") == pytest.approx([x - 1, 1], abs=1e-9)


def test_play_ascends_pauses_and_stops_when_the_gap_is_closed(widget):
    widget.click("Play")
    widget.page.wait_for_function("e => +e.dataset.steps >= 5", arg=widget.node)
    widget.click("Pause")
    steps = widget.values("steps")
    assert widget.values("loc", "scale") == pytest.approx(ascended(1.5, 2.5, 0.6, int(steps)), abs=1e-9)
    widget.page.wait_for_timeout(250)
    assert widget.values("steps") == steps
    while widget.values("kl") > 2e-6:  # Play has to do the last part and stop by itself
        widget.click("Ascend 20 steps")
    assert widget.values("kl") > 1e-6
    widget.click("Play")
    widget.root.get_by_role("button", name="Play", exact=True).wait_for()
    assert widget.values("kl") < 1e-6
    steps = int(widget.values("steps"))
    before, after = (variational.TruncatedNormal(*ascended(1.5, 2.5, 0.6, n)) for n in (steps - 1, steps))
    assert variational.kl(before, 1.5) >= 1e-6 > variational.kl(after, 1.5), "not one step too many or too few"


def test_a_hand_on_a_knob_ends_the_ascent(widget):
    widget.click("Play")
    widget.page.wait_for_function("e => +e.dataset.steps >= 2", arg=widget.node)
    widget.move("x", 0.5)
    assert widget.root.get_by_role("button", name="Play", exact=True).is_visible()
    assert widget.values("steps") == 0 and widget.trace() == [widget.values("elbo")]
    widget.check()


def test_play_is_calm_for_readers_who_want_less_motion(open_widget):
    widget = open_widget(Elbo, motion="reduce")
    pace = widget.pace("steps", widget.root.get_by_role("button", name="Play"), 3)
    assert 700 < pace < 3000, "milliseconds for a step"
    widget.click("Ascend one step")  # this ends playing
    steps = widget.values("steps")
    widget.click("Ascend 20 steps")
    assert widget.values("steps") == steps + 20
    widget.check()


# -------------------------------------------------------------------------------------------- keys, fingers, and names


def test_keys_move_the_knobs(widget):
    for name, keys, want in [
        ("loc", ["ArrowRight", "ArrowUp", "ArrowLeft"], 2.55),
        ("loc", ["Home"], -2),
        ("loc", ["End", "PageDown"], 4.5),
        ("scale", ["ArrowRight", "Shift+ArrowUp"], 1.15),
        ("scale", ["Home"], 0.2),
        ("x", ["ArrowDown", "PageUp"], 1.95),
        ("x", ["End"], 4),
    ]:
        widget.keys(KNOBS[name], *keys)
        assert widget.number(name) == pytest.approx(want, abs=1e-9)
        widget.check()
    widget.keys(widget.root.get_by_role("button", name="Ascend one step"), "Enter", "Space")
    assert widget.values("steps") == 2


def test_screen_readers_hear_names_values_and_the_bound(widget):
    widget.keys(KNOBS["scale"], "ArrowRight")
    knob = widget.knob(KNOBS["scale"])
    assert [float(knob.get_attribute(f"aria-value{k}")) for k in ("min", "now", "max")] == pytest.approx([0.2, 0.65, 3])
    said = knob.get_attribute("aria-valuetext").replace("\u2212", "-")
    elbo, kl = widget.values("elbo", "kl")
    assert said == f"0.65; ELBO {elbo:.3f}, gap {kl:.3f} nats"
    widget.click("Ascend one step")
    widget.said("Step 1: ELBO")
    assert widget.nameless() == []
    assert widget.root.get_by_role("slider").count() == 3
    sums = widget.root.get_by_role("group", name="log p(x) is ELBO plus KL")
    assert sums.inner_text().split("\n")[:2] == ["log p(x)", widget.root.locator(".gt-term dd").first.inner_text()]


def test_a_finger_moves_every_knob(open_widget):
    widget = open_widget(Elbo, "phone")
    for name, by in [("loc", -1.5), ("scale", 0.8), ("x", 1.5)]:
        x, y = widget.at(KNOBS[name])
        before, far = widget.values(name), by * widget.unit()
        widget.touch((x, y), (x + far / 2, y + 30), (x + far, y + 60))
        assert widget.values(name) == pytest.approx(before + by, abs=0.04)
        widget.check()
    widget.root.get_by_role("button", name="Ascend one step").tap()
    widget.settle()
    assert widget.values("steps") == 1


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_nothing_sticks_out_and_no_words_overlap(open_widget, device):
    widget = open_widget(Elbo, device)
    for state in ["", "too narrow", "too wide", "left of 0", "at the posterior"]:
        if state:
            widget.click(state)
        assert widget.sticks_out() == [], state
        words = "text, dt, dd, .gt-title, .gt-swatch, .gt-status span, button"
        assert widget.overlaps(words, down=1) == [], state


def test_the_theme_changes_colours_and_never_values(widget):
    looks, values = [], []
    for _ in widget.in_both_themes():
        inks = widget.colours((".gt-curve.gt-q", "stroke"), (".gt-tick", "fill"))
        looks.append([*widget.board(), *map(brightness, inks)])
        values.append(widget.check())
    assert values[0] == values[1]
    light, dark = looks
    assert light[0] > 0.9 and max(light[1:]) < light[0] - 0.4
    assert dark[0] < 0.2 and min(dark[1:]) > dark[0] + 0.4


def test_the_system_may_be_dark(open_widget):
    widget = open_widget(Elbo, theme="dark")
    assert widget.board()[0] < 0.2
    widget.check()
