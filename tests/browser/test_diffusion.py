"""NoisingSteps on the diffusion chapter's page (book/diffusion.html): slider, film, charts, keys, touch and drawing."""

import re
import warnings

import numpy as np
import pytest
import torch

from gentut.diffusion import Schedule
from gentut.widgets import NoisingSteps
from tests.browser.hands import Widget, ink, saved_states, usual

SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.6, 0.45), (0.5, 0.65), (0.42, 0.85)]
NAMES = {"linear": "linear", "cosine": "cosine", "sigmoid": "the notes’"}


class Noising(Widget):
    """NoisingSteps on its page."""

    path, name = "book/diffusion.html", "noising-steps"

    def shown(self, name):
        """Values in [0, 1] of a picture on the page, (784,)."""
        return ink(self.part(name)).flatten()

    def draw(self, points=SEVEN):
        """One stroke on the pad with the mouse."""
        self.drag(*[self.at(self.part("pad"), *point) for point in points])


@pytest.fixture
def noising(open_widget):
    return open_widget(Noising)


@pytest.fixture(scope="module")
def stored(stages, site):
    """The widget's stored state: it stays as it is, whatever a test does."""
    return next(s for s in saved_states(stages.page(f"{site.url}/{Noising.path}", use="widgets")) if "drawing" in s)


def digits(stored):
    """The pictures that the page offers, float64 (k, 784) in [-1, 1]."""
    return torch.from_numpy(np.frombuffer(stored["images"], np.uint8).reshape(-1, 784).copy()).double() / 127.5 - 1


def schedule(name, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page says it in its own words
        return Schedule.named(name, steps)


def as_ink(x):
    """What a picture around [-1, 1] looks like: -1 is bare paper, 1 full ink."""
    return ((x + 1) / 2).clamp(0, 1).flatten().numpy()


def check(noising, x0):
    """All that is shown is what torch makes of x_0 (784,), the schedule and the noise of the seed."""
    now = noising.data()
    t, of = int(now.number("t")), schedule(now["schedule"], int(now.number("steps")))
    eps = NoisingSteps.noise(int(now.number("seed"))).double().view(1, 784)
    x_t = of.q_sample(x0[None], t, eps) if t else x0[None]
    for name, want in (("x0", x0), ("eps", eps), ("xt", x_t)):
        assert np.abs(noising.shown(name) - as_ink(want)).max() <= 0.003, name  # 255 levels of opacity
    a = of.alpha_bar[t].item()
    assert now.number("alpha-bar") == pytest.approx(a, rel=1e-12)
    assert [now.number("keep"), now.number("add")] == pytest.approx([a**0.5, (1 - a) ** 0.5], abs=1e-12)
    assert now.number("log-snr") == pytest.approx(of.snr[t].log().item(), rel=1e-9, abs=1e-9)
    assert now.number("left") == pytest.approx(of.alpha_bar[-1].sqrt().item(), rel=1e-12)
    assert now.number("mean") == pytest.approx(x_t.mean().item(), abs=1e-5)
    assert now.number("deviation") == pytest.approx(x_t.std(correction=0).item(), abs=1e-5)
    counts = now.numbers("counts")
    want = np.histogram(x_t.clamp(-4, 4 - 1e-9), len(counts), (-4, 4))[0]
    assert sum(counts) == 784 and np.abs(np.array(counts) - want).sum() <= 4  # a pixel on the verge may go either way
    return x_t.flatten()


# ------------------------------------------------------------------------------------------------------------- pictures


def test_it_opens_as_its_state_says(noising, stored):
    now = noising.data()
    assert (now.number("t"), now.number("steps"), now["schedule"]) == (stored["t"], stored["T"], stored["schedule"])
    check(noising, digits(stored)[stored["pick"]])
    assert noising.words("seed") == f"seed {stored['seed']}"


def test_the_slider_goes_from_the_digit_to_noise(noising, stored):
    x0 = digits(stored)[stored["pick"]]
    noising.keys("t", "Home")
    assert torch.equal(check(noising, x0), x0)
    assert noising.number("deviation") < 0.9
    seen = []
    for keys in (["PageUp"] * 2, ["PageUp"] * 3, ["End"]):
        noising.keys("t", *keys)
        check(noising, x0)
        seen.append(noising.number("keep"))
    assert seen == sorted(seen, reverse=True) and noising.number("t") == stored["T"]
    noise = NoisingSteps.noise(stored["seed"])
    assert np.abs(noising.shown("xt") - as_ink(noise)).max() <= 2 * noising.number("left"), "at T there is noise alone"


def test_a_step_goes_one_further_and_stops_at_the_end(noising, stored):
    t = noising.number("t")
    noising.click("Step")
    assert noising.number("t") == t + 1
    check(noising, digits(stored)[stored["pick"]])
    noising.keys("t", "End")
    noising.click("Step")
    assert noising.number("t") == noising.number("steps")


@pytest.mark.parametrize("name", NAMES)
def test_schedules_and_T(noising, stored, name):
    x0 = digits(stored)[stored["pick"]]
    noising.choose(NAMES[name])
    share = noising.number("t") / noising.number("steps")
    for key in ("Home", "ArrowRight", "End"):
        noising.keys("T", key)
        now = noising.data()
        assert now["schedule"] == name
        assert now.number("t") == pytest.approx(share * now.number("steps"), abs=1), "t keeps its place"
        share = now.number("t") / now.number("steps")
        check(noising, x0)
        reaches = schedule(name, int(now.number("steps"))).alpha_bar[-1].sqrt().item() <= 0.1
        assert now["reaches"] == str(reaches).lower()
        left = f"{now.number('left'):.3f}"
        assert left in noising.words("status") and ("does not reach noise" in noising.words("status")) != reaches
    assert noising.number("steps") == 1000


def test_the_same_noise_serves_all_t_until_there_is_new_noise(noising, stored):
    before = noising.shown("eps")
    noising.keys("t", "Home", "ArrowRight")
    noising.choose("cosine")
    assert (noising.shown("eps") == before).all()
    noising.click("New noise")
    assert noising.number("seed") == stored["seed"] + 1 and noising.words("seed") == f"seed {stored['seed'] + 1}"
    assert np.abs(noising.shown("eps") - before).mean() > 0.2
    check(noising, digits(stored)[stored["pick"]])


def test_the_film_shows_the_chain_and_leads_to_its_times(noising, stored):
    noising.keys("T", "Home")  # 10 steps: the film's 11 pictures are all there is
    of, x0 = schedule(noising.text("schedule"), 10), digits(stored)[stored["pick"]]
    eps = NoisingSteps.noise(stored["seed"]).double().flatten()
    film = ink(noising.part("reel")).reshape(28, 11, 28).transpose(1, 0, 2).reshape(11, 784)
    for t in range(11):
        a = of.alpha_bar[t]
        assert np.abs(film[t] - as_ink(a.sqrt() * x0 + (1 - a).sqrt() * eps)).max() <= 0.003
    for t in (0, 7, 10):
        noising.page.mouse.click(*noising.at(noising.part("reel"), (t + 0.5) / 11))
        noising.settle()
        assert noising.number("t") == t
        check(noising, x0)


def test_the_charts_lead_to_a_time(noising):
    for chart in (0, 1):
        surface = noising.part("pad-area").nth(chart)
        for x in (0.25, 0.8):
            noising.page.mouse.click(*noising.at(surface, x))
            noising.settle()
            now = noising.data()
            assert now.number("t") == pytest.approx(x * now.number("steps"), abs=0.02 * now.number("steps"))


def test_it_plays_to_the_end_and_can_be_halted(noising):
    noising.keys("t", "Home")
    play = noising.part("play")
    assert noising.pace("t", play, 12) >= 20  # 40 on a quiet machine; a busy one may be late and make up for it
    assert play.get_attribute("aria-pressed") == "true"
    noising.click("Pause")
    t = noising.number("t")
    noising.page.wait_for_timeout(300)
    assert 0 < t == noising.number("t") < noising.number("steps")
    noising.knob("t").evaluate("e => { e.value = e.max - 20; e.dispatchEvent(new Event('input', { bubbles: true })); }")
    noising.click("Play")
    noising.page.wait_for_function("e => e.dataset.t === e.dataset.steps", arg=noising.node)
    noising.page.wait_for_function("e => e.getAttribute('aria-pressed') === 'false'", arg=play.element_handle())
    noising.said("t = 1000 of 1000")


def test_playing_is_calm_for_readers_who_ask_for_less_motion(open_widget):
    noising = open_widget(Noising, motion="reduce")
    noising.keys("t", "Home")
    assert noising.pace("t", noising.part("play"), 4) >= 600  # a second each, but for what a busy machine makes up for
    noising.click("Pause")


# ------------------------------------------------------------------------------------------------- the reader's picture


def test_another_digit_can_be_taken(noising, stored):
    for i in (3, 8):
        label = stored["labels"][i]
        noising.root.get_by_role("button", name=f"Take picture {label}", exact=True).press("Enter")
        noising.settle()
        assert noising.number("picture") == i
        check(noising, digits(stored)[i])


def drawn(noising):
    """The picture drawn, (784,) in [-1, 1], after a check that it is one."""
    noising.keys("t", "Home")
    assert noising.text("picture") == "drawn"
    picture = noising.shown("xt")
    on = np.argwhere(picture.reshape(28, 28) > 0.01)
    assert picture.max() > 0.9 and 18 <= (on.max(0) - on.min(0) + 1).max() <= 21, "as big as MNIST's digits"
    return torch.from_numpy(picture) * 2 - 1


def test_a_drawing_turns_to_noise_too(noising, stored):
    noising.draw()
    x0 = drawn(noising)
    noising.keys("t", "PageUp", "PageUp")
    check(noising, x0)
    noising.said("the picture weighs")
    noising.draw([(0.3, 0.5), (0.65, 0.5)])  # a bar through it
    assert (drawn(noising) != x0).any()
    noising.click("Clear")
    assert noising.number("picture") == stored["pick"]
    check(noising, digits(stored)[stored["pick"]])


def test_a_digit_drawn_with_keys(noising, stored):
    pad = noising.part("pad")
    noising.keys(pad, *["ArrowUp"] * 6, "Space", *["ArrowRight"] * 8, *["ArrowDown"] * 12, "Space")
    x0 = drawn(noising)
    noising.keys(pad, "ArrowLeft")  # the pen is up: this draws nothing
    check(noising, x0)
    noising.keys(pad, "Delete")
    assert noising.number("picture") == stored["pick"]


def test_a_digit_takes_the_place_of_the_drawing(noising, stored):
    empty = ink(noising.part("pad"))
    noising.draw()
    assert (ink(noising.part("pad")) != empty).any()
    noising.part("thumb").nth(4).click()
    noising.settle()
    check(noising, digits(stored)[4])
    noising.page.mouse.move(1, 1)
    noising.root.focus()
    assert (ink(noising.part("pad")) == empty).all()


def test_a_finger_draws_and_winds_the_film(open_widget, stored):
    noising = open_widget(Noising, "phone")
    noising.touch(*[noising.at(noising.part("pad"), *point) for point in SEVEN])
    drawn(noising)
    noising.touch(*[noising.at(noising.part("reel"), x) for x in (0.05, 0.4, 0.95)])
    assert noising.number("t") == noising.number("steps")


# ----------------------------------------------------------------------------------------- what no widget may get wrong


def test_a_change_of_t_is_drawn_within_a_frame(noising):
    knob = noising.knob("t")
    box = knob.bounding_box()
    assert noising.drag_slowly(noising.at(knob, 0.3), 0.02 * box["width"], 0) <= 16


def test_what_a_screen_reader_hears(noising):
    assert noising.nameless() == []
    noising.keys("t", "End")
    noising.said("t = 1000 of 1000: the picture weighs 0.006, the noise 1.000")
    noising.choose(NAMES["sigmoid"])
    assert re.search(r"picture.s weight is still 0\.\d{3}", noising.said("does not reach noise"))


@pytest.mark.parametrize("width", [390, 600, 1400])
def test_nothing_sticks_out_and_no_words_overlap(open_widget, width):
    noising = open_widget(Noising, "phone") if width == 390 else open_widget(Noising, width=width)
    for name in NAMES.values():
        noising.choose(name)
        for keys in (["Home"], ["PageUp"] * 5, ["End"]):
            noising.keys("t", *keys)
            assert noising.sticks_out() == []
            assert noising.overlaps("text, p, span, b, dt, dd, legend, output, button", but=".gt-mark") == []


def test_the_layout_stays_while_t_and_the_schedule_change(open_widget):
    """Nothing that a reader points at may move away under the pointer."""
    for device in ("desktop", "phone"):
        noising = open_widget(Noising, device)
        tall = set()
        for name in NAMES.values():
            noising.choose(name)
            for key in ("Home", "End"):
                noising.keys("t", key)
                tall.add(round(noising.root.bounding_box()["height"]))
        assert len(tall) == 1, (device, tall)


def test_both_themes_are_legible_and_show_the_same_values(noising, stored):
    for theme in noising.in_both_themes():
        ground, text = noising.board()
        assert (ground > 0.85 and text < 0.3) if theme == "light" else (ground < 0.2 and text > 0.8)
        check(noising, digits(stored)[stored["pick"]])


def test_moves_of_the_slider_are_quick(noising):
    moves = []
    for _ in range(16):
        noising.keys("t", "ArrowRight")
        moves.append(noising.data())
    assert usual(moves) <= 8, "computing and drawing"
