"""LatentWalk on the page (book/gan.html): paths, sliders, seeds and film strips, by mouse, keys and finger."""

import re

import numpy as np
import pytest
import torch

from gentut import checkpoints, gan
from gentut.widgets.gan import PATHS, between, normals
from tests.browser.hands import Widget, ink, saved_states, usual

FRAMES = 8


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("dcgan", "cpu")


class Walk(Widget):
    """LatentWalk on its page."""

    path, name = "book/gan.html", "latent-walk"

    def strips(self):
        """Wait until both film strips are drawn; their pictures, {path: (8, 784)}."""
        self.page.wait_for_selector(f".gentut-latent-walk[data-strips='{FRAMES}']")
        return {path: np.stack([ink(each).flatten() for each in self.part(f"frame-{path}").all()]) for path in PATHS}

    def shown(self):
        """The big picture, (784,) in [0, 1]."""
        return ink(self.part("now")).flatten()

    def seeds(self):
        """The seeds that the page shows."""
        return [int(v) for v in self.numbers("seeds")]


@pytest.fixture
def walk(open_widget):
    return open_widget(Walk)


@torch.no_grad()
def generated(model, z):
    """torch's pictures of z (n, latent), (n, 784) in [0, 1]."""
    z = torch.as_tensor(z, dtype=torch.float32)
    return gan.sample(model, len(z), z=z).flatten(1).numpy()


def same(shown, want):
    """Equal to the eye: the weights' rounding and 255 grey levels are all that may lie between them."""
    off = np.abs(shown - want)
    assert off.mean() <= 0.006, off.mean()
    assert off.max() <= 0.1, off.max()
    assert want.max() > 0.5, "a blank picture proves nothing"


def check(walk, model):
    """The big picture is torch's for the z that the page shows; returns that z."""
    now = walk.data()
    z = now.numbers("z")
    same(walk.shown(), generated(model, [z])[0])
    assert now.number("length") == pytest.approx(np.linalg.norm(z), abs=1e-4)
    return z


def check_path(walk, model):
    """z lies where seeds, position and path say, and the picture is torch's."""
    now = walk.data()
    a, b = (normals(seed, model.latent) for seed in walk.seeds())
    z = between(a, b, now.number("position"), now["path"]).tolist()
    assert check(walk, model) == pytest.approx(z, abs=2e-5)
    assert now["on"] == "1"
    return a, b


# ------------------------------------------------------------------------------------------------------------- the path


def test_the_page_begins_on_the_path_and_both_strips_are_torchs(walk, model):
    a, b = check_path(walk, model)
    for path, pictures in walk.strips().items():
        want = generated(model, between(a, b, torch.linspace(0, 1, FRAMES), path))
        same(pictures, want)
        assert np.abs(np.diff(pictures, axis=0)).max(1).min() > 0.02, "frames must differ"


def test_the_slider_walks_from_a_to_b(walk, model):
    for key, position in [("Home", 0), ("End", 1), ("ArrowLeft", 0.99)]:
        walk.keys("A to B", key)
        assert walk.number("position") == pytest.approx(position)
        check_path(walk, model)
    walk.keys("A to B", "Home")
    strips = walk.strips()
    assert (walk.shown() == strips["spherical"][0]).all() and (walk.shown() == strips["straight"][0]).all()
    assert "0 % of the spherical path; length of z" in walk.said("0 % of the spherical path")


def test_the_straight_path_is_shorter_in_its_middle(walk, model):
    walk.keys("A to B", "Home", *["PageUp"] * 5)
    assert 0.3 < walk.number("position") < 0.7
    long = walk.number("length")
    walk.choose("straight")
    check_path(walk, model)
    assert walk.number("length") < 0.9 * long
    assert walk.number("shorter") < 0.25
    share = re.search(r"longer than\s+([\d.]+) % of all z", walk.words())
    assert float(share[1]) == pytest.approx(100 * walk.number("shorter"), abs=0.06)


def test_a_frame_of_a_strip_is_gone_to(walk, model):
    strips = walk.strips()
    for path, percent, frame in [("straight", 29, 2), ("spherical", 100, 7)]:
        walk.click(f"{path} path, {percent} %")
        now = walk.data()
        assert now["path"] == path and now.number("position") == pytest.approx(frame / 7, abs=1e-6)
        check_path(walk, model)
        assert (walk.shown() == strips[path][frame]).all()
        marked = walk.root.locator(".gt-frame[aria-current='true']")
        assert marked.count() == 1
        assert marked.get_attribute("aria-label") == f"{path} path, {percent} %"


def test_new_ends_come_from_new_seeds(walk, model):
    first = walk.strips()
    before = walk.seeds()
    walk.click("New B")
    after = walk.seeds()
    assert after[0] == before[0] and after[1] > max(before)
    check_path(walk, model)
    second = walk.strips()
    assert (second["spherical"][0] == first["spherical"][0]).all()
    assert np.abs(second["spherical"][-1] - first["spherical"][-1]).max() > 0.2
    walk.click("New A")
    assert walk.seeds() == [after[1] + 1, after[1]]
    check_path(walk, model)
    walk.click("Walk on")
    assert walk.seeds() == [after[1], after[1] + 2] and walk.number("position") == 0
    check_path(walk, model)
    assert (walk.strips()["straight"][0] == second["straight"][-1]).all()


def test_a_seed_can_be_typed(walk, model):
    field = walk.root.get_by_role("spinbutton", name="Seed of A")
    field.fill("2024")
    field.press("Enter")
    walk.settle()
    assert walk.seeds()[0] == 2024
    check_path(walk, model)
    field.fill("-3")
    field.press("Enter")
    walk.settle()
    assert walk.seeds()[0] == 2024 and field.input_value() == "2024"


def test_step_goes_from_frame_to_frame_and_play_to_the_end(walk, model):
    walk.keys("A to B", "Home")
    for frame in (1, 2):
        walk.click("Step")
        assert walk.number("position") == pytest.approx(frame / 7, abs=1e-6)
    walk.keys("A to B", "End", *["ArrowLeft"] * 30)
    walk.click("Play")
    assert walk.text("playing") == "1" or walk.number("position") == 1
    walk.page.wait_for_selector(".gentut-latent-walk[data-position='1.000000'][data-playing='0']")
    check_path(walk, model)
    walk.click("Play")  # from A again
    assert walk.number("position") < 0.9
    walk.click("Pause")
    at = walk.number("position")
    walk.page.wait_for_timeout(200)
    assert walk.number("position") == at
    check_path(walk, model)


def test_a_reader_who_asks_for_less_motion_gets_frames(open_widget, model):
    walk = open_widget(Walk, motion="reduce")
    walk.keys("A to B", "Home")
    walk.click("Play")
    assert walk.number("position") == pytest.approx(1 / 7, abs=1e-6)
    walk.click("Pause")


# ---------------------------------------------------------------------------------------------------------- the latents


def test_a_slider_moves_one_number_of_z_and_leaves_the_path(walk, model):
    before = walk.numbers("z")
    walk.keys("z7", "End")
    z = check(walk, model)
    assert z[6] == 4 and [*z[:6], *z[7:]] == [*before[:6], *before[7:]]
    assert walk.text("on") == "0" and "off the path" in walk.words()
    walk.keys("z7", "ArrowLeft", "ArrowLeft")
    assert check(walk, model)[6] == pytest.approx(3.9)
    walk.click("Back to the path")
    check_path(walk, model)
    assert walk.numbers("z") == pytest.approx(before)
    assert walk.root.get_by_role("button", name="Back to the path").is_disabled()


def test_every_latent_has_its_slider(walk, model):
    named = walk.part("latents").get_by_role("slider")
    assert named.count() == model.latent
    z = walk.numbers("z")
    for i in (0, model.latent - 1):
        assert float(walk.knob(f"z{i + 1}").input_value()) == pytest.approx(z[i], abs=0.026)
        assert f"{z[i]:.2f}" in walk.words("latents")


def test_the_length_is_stretched_and_the_direction_kept(walk, model):
    before = np.array(walk.numbers("z"))
    walk.keys("Length", "End")
    z = np.array(check(walk, model))
    assert np.linalg.norm(z) > 6 and walk.number("shorter") > 0.98
    assert z / np.linalg.norm(z) == pytest.approx(before / np.linalg.norm(before), abs=1e-5)
    walk.keys("Length", "Home")
    assert np.linalg.norm(check(walk, model)) == 0 and walk.number("shorter") == 0
    walk.keys("Length", "ArrowRight")  # back from nothing the same way
    z = np.array(check(walk, model))
    assert z / np.linalg.norm(z) == pytest.approx(before / np.linalg.norm(before), abs=1e-4)


def test_a_picture_of_ones_own_becomes_an_end(walk, model):
    walk.keys("z2", "Home")
    z, shown = walk.numbers("z"), walk.shown()
    walk.click("Use as B")
    assert walk.seeds()[1] == -1 and walk.number("position") == 1 and walk.text("on") == "1"
    assert walk.numbers("z") == z
    strips = walk.strips()
    assert (strips["spherical"][-1] == shown).all()
    a = normals(walk.seeds()[0], model.latent)
    same(strips["straight"], generated(model, between(a, z, torch.linspace(0, 1, FRAMES), "straight")))
    assert walk.root.get_by_role("spinbutton", name="Seed of B").input_value() == ""
    walk.keys("z2", "End")
    shown = walk.shown()
    walk.click("Use as A")
    assert walk.seeds() == [-1, -1] and (walk.strips()["straight"][0] == shown).all()


# -------------------------------------------------------------------------------------------------------- what it takes


def test_a_move_is_drawn_within_a_frame(walk):
    """One forward pass and the drawing, with the mouse on the slider from A to B and on a latent's."""
    walk.strips()
    for name, width in [("A to B", 0.6), ("z4", 0.6)]:
        start, end = (walk.at(walk.knob(name), x) for x in (0.2, 0.2 + width))
        ms = walk.drag_slowly(start, (end[0] - start[0]) / 24, 0)
        assert ms <= 16, f"{name}: {ms} ms"


def test_the_strips_do_not_hold_up_the_picture(walk, model):
    walk.strips()
    moves = []
    for _ in range(6):
        walk.click("New B")
        moves.append(walk.data())
        walk.strips()
    assert usual(moves) <= 16
    check_path(walk, model)


def test_the_stored_state_is_small(stages, site):
    states = saved_states(stages.page(f"{site.url}/{Walk.path}", use="widgets"))
    (state,) = [s for s in states if "seed_a" in s and "usual" in s]
    assert len(state["weights"]) + len(str(state["network"])) <= 700_000


# ----------------------------------------------------------------------------------------------------------- the reader


def test_a_finger_moves_a_slider(open_widget, model):
    walk = open_widget(Walk, "phone")
    slider, before = walk.knob("z5"), check(walk, model)[4]
    walk.touch(*[walk.at(slider, x) for x in (0.5, 0.7, 0.9)])  # a finger that begins beside the knob drags it along
    z = check(walk, model)
    assert z[4] > before + 0.5 and walk.text("on") == "0"


def test_on_a_phone_the_picture_stays_in_sight(open_widget):
    walk = open_widget(Walk, "phone")
    last = walk.knob("Length")
    last.scroll_into_view_if_needed()
    walk.settle()
    picture, slider = walk.part("now").bounding_box(), last.bounding_box()
    assert picture["y"] >= 0 and picture["y"] + picture["height"] < slider["y"]
    assert walk.part("in-now").bounding_box()["height"] < 250, "what stays in sight must leave room for the sliders"


@pytest.mark.parametrize("width", [390, 700, 1400])
def test_nothing_sticks_out_or_overlaps(open_widget, width):
    walk = open_widget(Walk, "phone" if width == 390 else "desktop", width=width)
    walk.page.evaluate("scrollTo(0, 0)")  # scrolled, the picture lies over what goes by
    walk.keys("z3", "Home")
    walk.page.evaluate("scrollTo(0, 0)")
    walk.settle()
    assert walk.sticks_out() == []
    words = ".gt-title, .gt-where, dt, dd, label > span, output, button, legend, text, .gt-line, .gt-muted"
    assert walk.overlaps(f"{words}, .gt-strip-name") == []


def test_the_theme_changes_colours_and_never_values(walk):
    values = []
    for theme in walk.in_both_themes():
        ground, text = walk.board()
        assert (ground > 0.9 and text < 0.3) if theme == "light" else (ground < 0.2 and text > 0.9)
        values.append((walk.shown(), walk.strips()["straight"]))
    for light, dark in zip(*values, strict=True):
        assert (light == dark).all()


def test_every_control_has_a_name(walk):
    assert walk.nameless() == []
