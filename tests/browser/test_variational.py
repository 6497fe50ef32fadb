"""The variational chapter's widget on its page (book/variational.html): mouse, keys and finger, against the module."""

import re

import numpy as np
import pytest
import torch

from gentut import variational


class Widget:
    """The widget on a page: its root and what it shows."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def data(self, *names):
        """Attributes data-NAME of the root as numbers; one alone comes as a number."""
        values = [float(self.root.get_attribute(f"data-{name}")) for name in names]
        return values if len(values) > 1 else values[0]

    def trace(self):
        """The ELBO at the start of the ascent and after each step, the last 25 of them."""
        return [float(v) for v in self.root.get_attribute("data-trace").split()]

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def knob(self, name):
        """The handle of loc, scale or x."""
        names = {"loc": "Location of q (loc)", "scale": "Width of q (scale)", "x": "Observed x"}
        return self.root.get_by_role("slider", name=names[name], exact=True)

    def centre(self, name):
        """Page coordinates of a knob; scrolls it into view."""
        self.knob(name).scroll_into_view_if_needed()
        box = self.knob(name).locator(".gt-knob").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def unit(self):
        """Pixels of one unit of z, from the ticks 0 and 6 of the first chart (those along z come first)."""
        chart = self.root.locator(".gt-plot").first
        at = [chart.locator(".gt-tick", has_text=re.compile(f"^{t}$")).first.bounding_box() for t in (0, 6)]
        return ((at[1]["x"] + at[1]["width"] / 2) - (at[0]["x"] + at[0]["width"] / 2)) / 6

    def drag(self, name, by):
        """Drag a knob by `by` units of z with the mouse."""
        x, y = self.centre(name)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + by * self.unit(), y, steps=5)
        self.page.mouse.up()
        self.settle()

    def press(self, name):
        """Press a button."""
        self.root.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def check(self):
        """Every number on the page is the module's for the page's own x, loc and scale; returns these three."""
        x, loc, scale = (torch.tensor(v, dtype=torch.float64) for v in self.data("x", "loc", "scale"))
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
            assert self.data(name) == pytest.approx(value.item(), rel=1e-9, abs=1e-10), name
        assert self.data("elbo") <= self.data("evidence") + 1e-9
        assert self.data("elbo") + self.data("kl") == pytest.approx(self.data("evidence"), abs=1e-9)
        # What is written for the eye is the same, rounded.
        shown = [
            float(text.replace("\u2212", "-").strip("()"))
            for text in self.root.locator(".gt-term dd").all_inner_texts()
            if "×" not in text
        ]
        sums = ["evidence", "elbo", "kl", "elbo", "log-joint", "entropy", "elbo", "log-likelihood", "prior-kl"]
        exact = [v for v in self.data(*sums) if v == 0 or abs(v) >= 1e-4]
        assert shown == pytest.approx(exact, abs=5.001e-4)
        return x.item(), loc.item(), scale.item()


def open_widget(page, site):
    page.goto(f"{site.url}/book/variational.html")
    root = page.locator(".gentut-elbo-explorer").first
    root.scroll_into_view_if_needed()
    page.wait_for_selector(".gentut-elbo-explorer[data-ready='1']")
    widget = Widget(page, root)
    widget.settle()
    return widget


@pytest.fixture
def widget(page, site):
    return open_widget(page, site)


def ascended(x, loc, scale, steps):
    for _ in range(steps):
        loc, scale = variational.ascend(loc, scale, x)
    return [loc.item(), scale.item()]


# ------------------------------------------------------------------------------------------------------- by the pointer


def test_it_opens_as_its_constructor_says(widget):
    assert widget.check() == (1.5, 2.5, 0.6)
    assert widget.data("steps") == 0
    assert widget.trace() == [widget.data("elbo")]


def test_dragging_moves_q_widens_it_and_changes_x(widget):
    for name, by in [("loc", -1.5), ("scale", 0.7), ("x", -2), ("loc", -2.5), ("scale", -0.9), ("x", 3)]:
        before = dict(zip(("x", "loc", "scale"), widget.data("x", "loc", "scale"), strict=True))
        widget.drag(name, by)
        after = dict(zip(("x", "loc", "scale"), widget.check(), strict=True))
        assert after.pop(name) == pytest.approx(before.pop(name) + by, abs=0.02)
        assert after == before, "one knob moves one number"


def test_knobs_stop_where_their_ranges_end(widget):
    ends = [("loc", 9, 5), ("loc", -15, -2), ("scale", 9, 3), ("scale", -9, 0.2), ("x", 9, 4), ("x", -9, -1)]
    for name, by, end in ends:
        widget.drag(name, by)
        assert widget.data(name) == pytest.approx(end, abs=1e-9)
        widget.check()


def test_a_pointer_move_is_drawn_within_a_frame(widget):
    x, y = widget.centre("loc")
    widget.page.mouse.move(x, y)
    widget.page.mouse.down()
    work = []
    for i in range(30):
        widget.page.mouse.move(x - 4 * i, y)
        widget.settle()
        work.append(widget.data("ms"))
    widget.page.mouse.up()
    assert widget.data("loc") < 1.5
    assert np.median(work) <= 8, work


def test_the_picture_is_the_densities(widget):
    """q's curve, read back from the chart, has its peak at loc and surrounds the area 1."""
    widget.drag("loc", -0.5)
    loc, scale = widget.data("loc", "scale")
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
    widget.press("Ascend one step")
    assert widget.data("loc", "scale") == pytest.approx(ascended(x, loc, scale, 1), abs=1e-9)
    assert widget.data("steps") == 1
    widget.check()
    for _ in range(19):
        widget.press("Ascend one step")
    assert widget.data("loc", "scale") == pytest.approx(ascended(x, loc, scale, 20), abs=1e-9)
    widget.check()
    trace = widget.trace()
    assert len(trace) == 21 and trace == sorted(trace) and trace[-1] == widget.data("elbo")
    widget.press("Reset")
    assert widget.check() == (1.5, 2.5, 0.6) and widget.data("steps") == 0
    widget.press("Ascend 20 steps")
    assert widget.data("steps") == 20 and widget.trace() == trace


@pytest.mark.parametrize("start", ["far right", "too narrow", "too wide", "left of 0"])
def test_an_ascent_from_each_start_closes_the_gap(widget, start):
    widget.press(start)
    x, loc, scale = widget.check()
    gap = widget.data("kl")
    assert gap > 0.5 and widget.data("steps") == 0
    widget.press("Ascend 20 steps")
    assert widget.data("loc", "scale") == pytest.approx(ascended(x, loc, scale, 20), abs=1e-9)
    assert widget.data("kl") < gap / 2
    widget.check()


def test_at_the_posterior_nothing_is_left_to_gain(widget):
    widget.drag("x", 1)
    widget.press("at the posterior")
    x, loc, scale = widget.check()
    assert (loc, scale) == (pytest.approx(x - 1), 1)
    assert widget.data("kl") == pytest.approx(0, abs=1e-12)
    assert "q is the posterior" in widget.root.locator(".gt-status").inner_text()
    widget.press("Ascend one step")
    assert widget.data("loc", "scale") == pytest.approx([x - 1, 1], abs=1e-9)


def test_play_ascends_pauses_and_stops_when_the_gap_is_closed(widget):
    widget.press("Play")
    widget.page.wait_for_function("e => +e.dataset.steps >= 5", arg=widget.root.element_handle())
    widget.press("Pause")
    steps = widget.data("steps")
    assert widget.data("loc", "scale") == pytest.approx(ascended(1.5, 2.5, 0.6, int(steps)), abs=1e-9)
    widget.page.wait_for_timeout(250)
    assert widget.data("steps") == steps
    while widget.data("kl") > 2e-6:  # Play has to do the last part and stop by itself
        widget.press("Ascend 20 steps")
    assert widget.data("kl") > 1e-6
    widget.press("Play")
    widget.root.get_by_role("button", name="Play", exact=True).wait_for()
    assert widget.data("kl") < 1e-6
    steps = int(widget.data("steps"))
    before, after = (variational.TruncatedNormal(*ascended(1.5, 2.5, 0.6, n)) for n in (steps - 1, steps))
    assert variational.kl(before, 1.5) >= 1e-6 > variational.kl(after, 1.5), "not one step too many or too few"


def test_a_hand_on_a_knob_ends_the_ascent(widget):
    widget.press("Play")
    widget.page.wait_for_function("e => +e.dataset.steps >= 2", arg=widget.root.element_handle())
    widget.drag("x", 0.5)
    assert widget.root.get_by_role("button", name="Play", exact=True).is_visible()
    assert widget.data("steps") == 0 and widget.trace() == [widget.data("elbo")]
    widget.check()


def test_play_is_calm_for_readers_who_want_less_motion(new_page, site):
    widget = open_widget(new_page(reduced_motion="reduce"), site)
    widget.press("Play")
    widget.page.wait_for_timeout(500)
    assert widget.data("steps") == 1
    widget.press("Ascend one step")
    assert widget.data("steps") == 2
    widget.press("Ascend 20 steps")
    assert widget.data("steps") == 22
    widget.check()


# -------------------------------------------------------------------------------------------- keys, fingers, and names


def test_keys_move_the_knobs(widget):
    press = widget.page.keyboard.press
    for name, keys, want in [
        ("loc", ["ArrowRight", "ArrowUp", "ArrowLeft"], 2.55),
        ("loc", ["Home"], -2),
        ("loc", ["End", "PageDown"], 4.5),
        ("scale", ["ArrowRight", "Shift+ArrowUp"], 1.15),
        ("scale", ["Home"], 0.2),
        ("x", ["ArrowDown", "PageUp"], 1.95),
        ("x", ["End"], 4),
    ]:
        widget.knob(name).focus()
        for key in keys:
            press(key)
            widget.settle()
        assert widget.data(name) == pytest.approx(want, abs=1e-9)
        widget.check()
    widget.root.get_by_role("button", name="Ascend one step").focus()
    press("Enter")
    press("Space")
    widget.settle()
    assert widget.data("steps") == 2


def test_screen_readers_hear_names_values_and_the_bound(widget):
    widget.knob("scale").focus()
    widget.page.keyboard.press("ArrowRight")
    widget.settle()
    knob = widget.knob("scale")
    assert [float(knob.get_attribute(f"aria-value{k}")) for k in ("min", "now", "max")] == pytest.approx([0.2, 0.65, 3])
    said = knob.get_attribute("aria-valuetext").replace("\u2212", "-")
    assert said == f"0.65; ELBO {widget.data('elbo'):.3f}, gap {widget.data('kl'):.3f} nats"
    widget.press("Ascend one step")
    live = widget.root.locator("[aria-live]")
    widget.page.wait_for_function("e => e.textContent.startsWith('Step 1: ELBO')", arg=live.element_handle())
    nameless = widget.root.evaluate("""root => [...root.querySelectorAll("button, input, canvas, [tabindex]")].filter(
      e => !(e.getAttribute("aria-label") || e.textContent.trim())).map(e => e.outerHTML)""")
    assert nameless == []
    assert widget.root.get_by_role("slider").count() == 3
    sums = widget.root.get_by_role("group", name="log p(x) is ELBO plus KL")
    assert sums.inner_text().split("\n")[:2] == ["log p(x)", widget.root.locator(".gt-term dd").first.inner_text()]


def touch(page, *points):
    """A finger put down, moved and lifted: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, (x, y) in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_moves_every_knob(phone, site):
    widget = open_widget(phone, site)
    for name, by in [("loc", -1.5), ("scale", 0.8), ("x", 1.5)]:
        x, y = widget.centre(name)
        top, before, far = phone.evaluate("scrollY"), widget.data(name), by * widget.unit()
        touch(phone, (x, y), (x + far / 2, y + 30), (x + far, y + 60))
        widget.settle()
        assert widget.data(name) == pytest.approx(before + by, abs=0.04)
        assert phone.evaluate("scrollY") == top, "the page must not scroll under a finger on a knob"
        widget.check()
    widget.root.get_by_role("button", name="Ascend one step").tap()
    widget.settle()
    assert widget.data("steps") == 1


@pytest.mark.parametrize("device", ["phone", "desktop"])
@pytest.mark.parametrize("state", ["", "too narrow", "too wide", "left of 0", "at the posterior"])
def test_nothing_sticks_out_and_no_words_overlap(new_page, site, device, state):
    widget = open_widget(new_page(device), site)
    if state:
        widget.press(state)
    wide = widget.root.evaluate("""root => [...root.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
      const free = !e.closest(".gt-hidden, [clip-path], defs");
      return box.width && free && (box.right > own.right + 1 || box.left < own.left - 1);
    }).map(e => e.outerHTML)""")
    assert wide == []
    assert widget.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    crossed = widget.root.evaluate("""root => {
      const parts = "text, dt, dd, .gt-title, .gt-swatch, .gt-status span, button";
      const words = [...root.querySelectorAll(parts)].filter(e => e.textContent.trim());
      const boxes = words.map(e => [e.textContent, e.getBoundingClientRect()]), out = [];
      boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
        const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        if (across > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1) out.push([a, b]);
      }));
      return out;
    }""")
    assert crossed == []


def test_the_theme_changes_colours_and_never_values(widget):
    looks, values = [], []
    for theme in ("light", "dark"):
        widget.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        widget.page.wait_for_timeout(100)
        looks.append(widget.root.evaluate("""root => {
          const of = part => getComputedStyle(root.querySelector(part)), board = of(".gt-board");
          return [board.backgroundColor, board.color, of(".gt-curve.gt-q").stroke, of(".gt-tick").fill];
        }"""))
        values.append(widget.check())
    assert values[0] == values[1]
    light, dark = ([sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in look] for look in looks)
    assert light[0] > 0.9 and max(light[1:]) < light[0] - 0.4
    assert dark[0] < 0.2 and min(dark[1:]) > dark[0] + 0.4


def test_the_system_may_be_dark(dark, site):
    widget = open_widget(dark, site)
    back = widget.root.locator(".gt-board").evaluate("e => getComputedStyle(e).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", back)[:3])) < 150
    widget.check()
