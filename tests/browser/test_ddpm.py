"""ReverseDiffusion on the page (book/ddpm.html): the U-Net paints there what it paints in torch, as a reader asks."""

import numpy as np
import pytest
import torch

from gentut import checkpoints, data, ddpm
from gentut.widgets import ReverseDiffusion
from tests.browser.hands import Widget, ink, saved_states, usual

PATIENCE = 60_000  # milliseconds that a digit may take where many processes share a processor


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ddpm-page", "cpu")


class Reverse(Widget):
    """ReverseDiffusion on its page."""

    path, name = "book/ddpm.html", "reverse-diffusion"

    def done(self, **attributes):
        """Wait until the digit is finished, nothing plays and the attributes are these; the widget's data."""
        wanted = {"settled": 1, "playing": 0} | attributes
        selector = "".join(f"[data-{name}='{value}']" for name, value in wanted.items())
        self.page.wait_for_selector(f".gentut-reverse-diffusion{selector}", timeout=PATIENCE)
        self.settle()
        return self.data()

    def pick(self, group, name):
        """Choose one of the radio buttons of a group by a click on its label: two groups have a 5."""
        box = self.root.get_by_role("group", name=group, exact=True)
        button = self.page.get_by_role("radio", name=name, exact=True)
        box.locator("label").filter(has=button).click()
        assert box.get_by_role("radio", name=name, exact=True).is_checked()

    def in_steps(self, steps):
        """Paint in so many steps; five are for tests that look at something else than the digit."""
        self.pick("Steps", str(steps))
        return self.done(steps=steps)

    def shown(self):
        """The two big pictures, x_t and the guess, (784,) in [0, 1] each."""
        return ink(self.part("noisy")).flatten(), ink(self.part("guess")).flatten()

    def strip(self):
        """All frames: (steps + 1, 784) of x_t and of the guesses."""
        frames = np.stack([ink(cell) for cell in self.part("cell").all()])
        assert (frames[:, 28] == 0).all(), "a row stays free between the two"
        return frames[:, :28].reshape(-1, 784), frames[:, 29:].reshape(-1, 784)


@pytest.fixture
def reverse(open_widget):
    return open_widget(Reverse)


def painted(model, now):
    """gentut's frames for what the page says it was asked for: (steps + 1, 784) of x_t and of guesses in [0, 1]."""
    label = int(now["label"])
    frames = list(ddpm.denoise(
        model, ReverseDiffusion.noise(int(now["seed"])), None if label < 0 else label, steps=int(now["steps"]),
        guidance=now.number("guidance") if label >= 0 else 0,
    ))
    signed = (torch.stack([frame[i].flatten() for frame in frames]) for i in (1, 2))
    return [data.from_signed(each).clamp(0, 1).numpy() for each in signed]


def same(shown, want):
    """Equal to the eye: rounding and 255 grey levels are all that may lie between them."""
    off = np.abs(shown - want)
    assert off.max() <= 0.02 and off.mean() <= 0.003, (off.max(), off.mean())
    assert want.max() > 0.5, "a blank picture proves nothing"


def check(reverse, model, **attributes):
    """Every frame of the strip and the big pictures are torch's; returns the widget's data and the finished digit."""
    now = reverse.done(**attributes)
    want = painted(model, now)
    for got, each in zip(reverse.strip(), want, strict=True):
        same(got, each)
    for got, each in zip(reverse.shown(), want, strict=True):
        same(got, each[int(now["step"])])
    return now, want[1][-1]


# ------------------------------------------------------------------------------------------------------------ the digit


def test_the_page_begins_with_a_digit_that_is_torchs(reverse, model):
    now, digit = check(reverse, model, steps=20)
    assert (now["step"], now["t"], now["done"]) == ("20", "0", "21")
    assert digit.max() > 0.9 and 0.03 < digit.mean() < 0.4
    assert now["calls"] == "20" and now.number("guidance") == 0


def test_a_guided_digit_takes_two_seconds_at_most_and_the_page_gets_its_turn(reverse):
    """In seconds of the processor, the quickest of three, and in frames: other processes do not count."""
    reverse.in_steps(20)
    reverse.keys("Guidance w", "End")
    reverse.done(guidance="4.0000")
    reverse.node.evaluate("""e => {
      e.draws = 0;
      new MutationObserver(changes => { e.draws += changes.length; }).observe(e, { attributeFilter: ["data-ms"] });
    }""")
    session, each = reverse.page.context.new_cdp_session(reverse.page), []
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def used():
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        return metrics["TaskDuration"], reverse.node.evaluate("e => e.draws")

    for name in ("0", "1", "2"):
        before = used()
        reverse.pick("Digit", name)
        now = reverse.done(label=name)
        assert now["calls"] == "40" and now.number("call") == pytest.approx(now.number("digit") / 40, abs=0.01)
        each.append([b - a for a, b in zip(before, used(), strict=True)])
    session.detach()
    assert 0 < min(seconds for seconds, _ in each) <= 2, each
    assert min(draws for _, draws in each) >= 10, "the digit must not come in one piece"
    assert min(seconds / draws for seconds, draws in each) <= 0.025, "a frame may not wait longer for the network"


def test_each_class_has_its_digit_and_any_needs_no_guidance(reverse, model):
    reverse.in_steps(5)
    reverse.keys("Guidance w", "Home", *["ArrowRight"] * 10)
    digits = []
    for name in ("7", "0", "any"):
        reverse.pick("Digit", name)
        now, digit = check(reverse, model, label=-1 if name == "any" else name, steps=5)
        digits.append(digit)
    assert now["calls"] == "5" and reverse.knob("Guidance w").is_disabled()
    assert "Told no digit" in reverse.words("told")
    for i, a in enumerate(digits):
        assert all(np.abs(a - b).max() > 0.3 for b in digits[i + 1 :])
    reverse.pick("Digit", "7")
    assert reverse.done(label=7)["calls"] == "10" and reverse.knob("Guidance w").is_enabled()


def test_guidance_changes_the_digit(reverse, model):
    reverse.in_steps(5)
    reverse.keys("Guidance w", "Home")
    now, plain = check(reverse, model, guidance="0.0000")
    assert now["calls"] == "5" and "once" in reverse.words("told")
    reverse.keys("Guidance w", "End")
    now, strong = check(reverse, model, guidance="4.0000")
    assert now["calls"] == "10" and "twice" in reverse.words("told")
    assert np.abs(plain - strong).max() > 0.1


def test_noise_on_the_way_changes_the_digit_and_not_its_beginning(reverse):
    reverse.in_steps(5)
    before = reverse.strip()
    reverse.keys("Noise \u03b7", "End")
    reverse.done(eta="1.0000")
    after = reverse.strip()
    assert (after[0][0] == before[0][0]).all() and (after[1][0] == before[1][0]).all()
    assert np.abs(after[0][-1] - before[0][-1]).max() > 0.2
    assert "1: DDPM" in reverse.words()


@pytest.mark.parametrize("steps", [10, 50])
def test_other_numbers_of_steps(reverse, model, steps):
    reverse.in_steps(steps)
    now, _ = check(reverse, model, steps=steps)
    assert now["step"] == str(steps), "what was shown, the end, is shown again"
    assert reverse.part("cell").count() == steps + 1


# ------------------------------------------------------------------------------------------------------------ the strip


def test_the_strip_is_scrubbed_with_keys(reverse, model):
    now = reverse.in_steps(5)
    want = painted(model, now)
    for key, step in [("Home", 0), ("ArrowRight", 1), ("PageUp", 2), ("ArrowLeft", 1), ("End", 5)]:
        t = 1000 - 200 * step
        reverse.keys("Step", key)
        now = reverse.data()
        assert (now["step"], now["t"]) == (str(step), str(t))
        for got, each in zip(reverse.shown(), want, strict=True):
            same(got, each[step])
        assert reverse.root.locator(".gt-cell.gt-here").count() == 1
        assert f"t = {t}" in reverse.knob("Step").get_attribute("aria-valuetext")
    assert "0 of 1000" in reverse.words("facts")
    reverse.keys("Step", "Home", "ArrowRight")
    assert "step 1 of 5, t = 800" in reverse.said("step 1 of 5")
    a = model.schedule.alpha_bar[800].item()
    assert f"{a**0.5:.3f}" in reverse.words("facts") and f"{(1 - a)**0.5:.3f}" in reverse.words("facts")


def test_the_strip_is_scrubbed_with_the_mouse(reverse):
    reverse.in_steps(5)
    cells = reverse.part("cell")
    cells.nth(2).click()
    assert reverse.number("step") == 2
    reverse.drag(*[reverse.at(cells.nth(i)) for i in (2, 4, 1)])
    assert reverse.number("step") == 1
    reverse.page.mouse.move(*reverse.at(cells.nth(4)))
    reverse.settle()
    assert reverse.number("step") == 1, "without a button nothing moves"


def test_scrubbing_is_drawn_within_a_frame(reverse):
    reverse.done()
    moves = []
    for key in ["Home", *["ArrowRight"] * 19]:
        reverse.keys("Step", key)
        moves.append(reverse.data())
    assert usual(moves) <= 16


def test_arrow_buttons_go_a_step(reverse):
    reverse.in_steps(5)
    reverse.click("One step back to the noise")
    assert reverse.number("step") == 4
    reverse.click("One step on to the digit")
    assert reverse.number("step") == 5
    assert reverse.root.get_by_role("button", name="One step on to the digit").is_disabled()


# --------------------------------------------------------------------------------------------------- play and new noise


def test_play_goes_from_noise_to_the_digit(reverse):
    reverse.in_steps(5)
    reverse.node.evaluate("""e => {
      e.steps = [];
      new MutationObserver(() => e.steps.push(Number(e.dataset.step))).observe(e, { attributeFilter: ["data-step"] });
    }""")
    reverse.click("Play")
    reverse.done(step=5)
    steps = reverse.node.evaluate("e => e.steps")
    assert [s for i, s in enumerate(steps) if not i or s != steps[i - 1]] == [0, 1, 2, 3, 4, 5]
    assert "finished" in reverse.said("A digit is finished")
    reverse.in_steps(50)
    reverse.click("Play")
    reverse.click("Pause")
    at = reverse.number("step")
    assert at < 50 and reverse.text("playing") == "0"
    reverse.page.wait_for_timeout(300)
    assert reverse.number("step") == at


def test_new_noise_is_another_seed_and_is_played(reverse, model):
    before = reverse.in_steps(5)
    first = reverse.shown()[1]
    reverse.click("New noise")
    now, digit = check(reverse, model, seed=int(before["seed"]) + 1, step=5)
    assert np.abs(digit - first).max() > 0.3
    field = reverse.root.get_by_role("spinbutton", name="Seed of the noise")
    assert field.input_value() == now["seed"]
    field.fill(before["seed"])
    field.press("Enter")
    reverse.done(seed=before["seed"], step=5)
    assert (reverse.shown()[1] == first).all(), "the same seed, the same picture"
    field.fill("-3")
    field.press("Enter")
    reverse.settle()
    assert reverse.text("seed") == before["seed"] and field.input_value() == before["seed"]


def test_a_reader_who_asks_for_less_motion_sees_the_end_at_once(open_widget):
    reverse = open_widget(Reverse, motion="reduce")
    seed = reverse.in_steps(5)["seed"]
    reverse.click("New noise")
    assert reverse.text("playing") == "0"
    assert reverse.done(seed=int(seed) + 1)["step"] == "5"
    reverse.click("Play")
    reverse.page.wait_for_timeout(300)
    assert reverse.number("step") == 0, "a step a second"
    reverse.click("Pause")


# -------------------------------------------------------------------------------------------------------- what it takes


def test_the_stored_state_is_small(stages, site):
    states = saved_states(stages.page(f"{site.url}/{Reverse.path}", use="widgets"))
    (state,) = [s for s in states if "alpha_bar" in s and "guidance" in s]
    assert len(state["weights"]) + len(str(state["network"])) + len(state["alpha_bar"]) <= 700_000


# ----------------------------------------------------------------------------------------------------------- the reader


def test_a_finger_scrubs_the_strip(open_widget):
    reverse = open_widget(Reverse, "phone")
    reverse.in_steps(5)
    cells = reverse.part("cell")
    reverse.touch(*[reverse.at(cells.nth(i)) for i in (5, 3, 1)])
    assert reverse.number("step") == 1


@pytest.mark.parametrize("width", [390, 700, 1400])
def test_nothing_sticks_out_or_overlaps(open_widget, width):
    reverse = open_widget(Reverse, "phone" if width == 390 else "desktop", width=width)
    for steps in (20, 5):
        reverse.in_steps(steps)
        assert reverse.sticks_out() == []
        assert reverse.overlaps(".gt-title, .gt-key, dt, dd, label > span, output, button, input, legend, .gt-muted",
                                but=".gt-choice input, .gt-slider input") == []


def test_on_a_phone_pictures_and_strip_are_seen_together(open_widget):
    reverse = open_widget(Reverse, "phone")
    reverse.done()
    top, strip = reverse.part("noisy").bounding_box()["y"], reverse.part("strip").bounding_box()
    assert strip["y"] + strip["height"] - top < 600


def test_the_theme_changes_colours_and_never_values(reverse):
    reverse.in_steps(5)
    values = []
    for theme in reverse.in_both_themes():
        ground, text = reverse.board()
        assert (ground > 0.9 and text < 0.3) if theme == "light" else (ground < 0.2 and text > 0.9)
        values.append((*reverse.shown(), *reverse.strip()))
    for light, dark in zip(*values, strict=True):
        assert (light == dark).all()


def test_every_control_has_a_name(reverse):
    assert reverse.nameless() == []
