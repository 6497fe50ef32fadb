"""Recorded trainings on the pages of three chapters: mouse, keys and finger, against the stored replays."""

import numpy as np
import pytest

from gentut import replays
from gentut.widgets.replay import VIEWS
from tests.browser.hands import Widget, brightness, ink, usual

WORDS = "text, dt, dd, .gt-title, .gt-heading, button, output"


class Pair(Widget):
    """The VAE chapter's: two runs side by side."""

    path, name = "book/vae.html", "training-replay"
    runs, pictures = ("vae-healthy", "vae-collapsed"), 5

    @property
    def reel(self):
        """The slider of steps."""
        return self.part("reel").locator("input")

    def strip(self, k):
        """What is drawn in the strip of run k, float (n, 28, 28) in [0, 1], read from its canvas."""
        drawn = ink(self.part("strip").nth(k).locator("canvas"))
        rows, columns = (drawn.shape[0] + 1) // 29, (drawn.shape[1] + 1) // 29
        return np.stack([drawn[29 * r :, 29 * c :][:28, :28] for r in range(rows) for c in range(columns)])


class Games(Pair):
    """The GAN chapter's."""

    path, runs, pictures = "book/gan.html", ("gan-healthy", "gan-collapsed"), 10


class One(Pair):
    """The DDPM chapter's: one run."""

    path, runs, pictures = "book/ddpm.html", ("ddpm",), 20


@pytest.fixture
def widget(open_widget):
    return open_widget(Pair)


@pytest.fixture(scope="module")
def stored():
    """The replays that come with the package, by name: what the pages must show."""
    return {name: replays.load(name) for name in replays.names()}


def check(widget, stored, step, strips=True):
    """What the page shows at a step is what the replays hold there."""
    now = widget.data()
    assert now.number("step") == step
    for k, name in enumerate(widget.runs):
        replay, side = stored[name], ("left", "right")[k]
        i = int((replay.steps <= step).sum()) - 1
        assert now.number(f"{side}-step") == replay.steps[i]
        np.testing.assert_allclose(now.numbers(f"{side}-bars"), replay.bars[i], rtol=1e-4)
        shown = VIEWS[replay.family]["facts"].items()
        want = [factor * replay.measured[key][i].item() for key, (_, factor, *_) in shown]
        assert now.numbers(f"{side}-facts") == pytest.approx(want, rel=1e-4, abs=1e-9)
        if strips:
            np.testing.assert_allclose(widget.strip(k), replay.pictures[i, : widget.pictures] / 255, atol=1 / 255)


@pytest.mark.parametrize("kind", [Pair, Games, One])
def test_it_opens_at_the_end_and_the_slider_leads_through(open_widget, stored, kind):
    widget = open_widget(kind)
    steps = stored[kind.runs[0]].steps.tolist()
    check(widget, stored, steps[-1])
    for key, at in [("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("End", -1), ("ArrowLeft", -2)]:
        widget.keys(widget.reel, key)
        check(widget, stored, steps[at], strips=at in (0, -2))
    assert widget.reel.get_attribute("aria-valuetext").replace("\u2009", "") == str(steps[-2])
    assert widget.nameless() == []


def test_the_curves_can_be_dragged_along(widget, stored):
    steps = stored["vae-healthy"].steps.tolist()
    surface = widget.root.locator(".gt-pad-area").nth(1)
    widget.drag(widget.at(surface, 0.99), widget.at(surface, 0.5), widget.at(surface, 0.01))
    check(widget, stored, 0)
    widget.drag(widget.at(surface, 0.3), widget.at(surface, 0.5))
    step = int(widget.number("step"))
    want = 0.5 * np.log10(1 + steps[-1])
    assert step == min(steps, key=lambda s: abs(np.log10(1 + s) - want)), "the step next to the pointer"
    check(widget, stored, step)


def test_it_plays_pauses_and_goes_on(widget, stored):
    steps = stored["vae-healthy"].steps.tolist()
    widget.click("Next")
    check(widget, stored, 0)
    widget.click("Play")
    widget.page.wait_for_function("e => Number(e.dataset.step) >= 3", arg=widget.node)
    widget.click("Pause")
    step = int(widget.number("step"))
    check(widget, stored, step)
    widget.page.wait_for_timeout(600)
    assert widget.number("step") == step
    widget.click("Next")
    check(widget, stored, steps[steps.index(step) + 1])


def test_a_step_is_drawn_in_time(widget):
    widget.keys(widget.reel, "Home")
    moves = []
    for _ in range(24):
        widget.keys(widget.reel, "ArrowRight")
        moves.append(widget.data())
    assert usual(moves) <= 16


def test_a_finger_scrubs(open_widget, stored):
    widget = open_widget(Pair, "phone")
    surface = widget.root.locator(".gt-pad-area").first
    widget.touch(widget.at(surface, 0.9), widget.at(surface, 0.5), widget.at(surface, 0.2))
    step = int(widget.number("step"))
    assert 0 < step < 30
    check(widget, stored, step)


def test_readers_who_want_less_motion_get_a_calm_pace(open_widget):
    widget = open_widget(Pair, motion="reduce")
    widget.keys(widget.reel, "Home")
    assert 700 < widget.pace("step", widget.root.get_by_role("button", name="Play"), 3) < 3000
    widget.click("Pause")


def test_screen_readers_hear_what_happens(widget, stored):
    widget.keys(widget.reel, "Home")
    said = widget.said("Step 0.")
    for name in Pair.runs:
        replay = stored[name]
        assert f"reconstruction {replay.measured['reconstruction'][0]:.1f} nats" in said
        assert f"active units {replay.measured['active_units'][0]:.0f} of 20" in said
    label = widget.part("strip").first.locator("canvas").get_attribute("aria-label")
    assert label.startswith("5 pictures drawn at step 0: reconstruction ")


@pytest.mark.parametrize(("kind", "device"), [(Pair, "desktop"), (Pair, "phone"), (One, "phone"), (Games, "phone")])
def test_nothing_sticks_out_and_no_words_overlap(open_widget, kind, device):
    widget = open_widget(kind, device)
    for key in ("Home", "End"):
        widget.keys(widget.reel, key)
        assert widget.sticks_out() == [], key
        assert widget.overlaps(WORDS) == [], key


def test_the_theme_changes_colours_and_never_pictures(widget):
    looks, values = [], []
    for _ in widget.in_both_themes():
        inks = widget.colours((".gt-curve.gt-q", "stroke"), (".gt-tick", "fill"))
        looks.append([*widget.board(), *map(brightness, inks)])
        values.append(widget.strip(0))
    np.testing.assert_array_equal(*values)
    light, dark = looks
    assert light[0] > 0.9 and max(light[1:]) < light[0] - 0.4
    assert dark[0] < 0.2 and min(dark[1:]) > dark[0] + 0.4
