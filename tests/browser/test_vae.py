"""The VAE chapter's widgets on the built page (book/vae.html): pointer, keys, touch and drawing, against torch."""

import re

import numpy as np
import pytest
import torch

from gentut import checkpoints, data
from tests.browser.hands import Widget, ink, saved_states, usual

DIGIT = [(0.3, 0.2), (0.5, 0.2), (0.7, 0.2), (0.62, 0.45), (0.5, 0.65), (0.42, 0.85)]  # a seven


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("vae-2d", "cpu")


class Grid(Widget):
    """LatentGrid on its page."""

    path, name = "book/vae.html", "latent-grid"

    def tiles(self, n):
        """Wait until a grid of n by n tiles has been drawn."""
        self.page.wait_for_selector(f".gentut-latent-grid[data-tiles='{n}']")

    def draw(self, strokes=(DIGIT,)):
        """Draw on the pad with the mouse."""
        for stroke in strokes:
            points = [self.at(self.part("pad"), *point) for point in stroke]
            self.page.mouse.move(*points[0])
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*point, steps=4)
            self.page.mouse.up()
        self.settle()


class Moons(Widget):
    """MoonMorph on its page."""

    path, name = "book/vae.html", "moon-morph"


both = pytest.mark.parametrize("kind", [Grid, Moons], ids=lambda kind: kind.name)


@pytest.fixture
def grid(open_widget):
    return open_widget(Grid)


@pytest.fixture
def moons(open_widget):
    return open_widget(Moons)


@pytest.fixture(scope="module")
def stored(stages, site):
    """The stored state of the two widgets: it stays as it is, whatever a test does with them."""
    states = saved_states(stages.page(f"{site.url}/{Grid.path}", use="widgets"))
    return {"grid": next(s for s in states if "reach" in s), "moons": next(s for s in states if "ends" in s)}


def picture(widget, name):
    """Values in [0, 1] of a picture on the page, (784,): the widgets draw ink whose opacity is the pixel."""
    return ink(widget.part(name)).flatten()


@torch.no_grad()
def decoded(model, z):
    """torch's picture of a code, (784,)."""
    return model.decode(torch.tensor([z], dtype=torch.float32)).sigmoid().flatten().numpy()


def same_picture(shown, want):
    """Equal to the eye: int8 weights and 255 grey levels are all that may lie between them."""
    off = np.abs(shown - want)
    assert off.mean() <= 0.006, off.mean()
    assert off.max() <= 0.1, off.max()
    assert want.max() > 0.3, "a blank picture proves nothing"


@pytest.fixture
def half(stored):
    """Half the width of the map."""
    return stored["grid"]["reach"]


# ----------------------------------------------------------------------------------------------------------- LatentGrid


def test_the_picture_under_the_pointer_is_torchs(grid, model, half):
    before = picture(grid, "now")
    for x, y in [(0.7, 0.3), (0.35, 0.5), (0.5, 0.75)]:
        grid.page.mouse.move(*grid.at(grid.part("map"), x, y))
        grid.settle()
        z = grid.numbers("z")
        assert z == pytest.approx([(2 * x - 1) * half, (1 - 2 * y) * half], abs=0.03 * half)
        now = picture(grid, "now")
        same_picture(now, decoded(model, z))
        assert np.abs(now - before).max() > 0.2
        before = now
        assert grid.words("in-now").count(f"z = ({z[0]:.2f}, {z[1]:.2f})") == 1


def test_a_pointer_move_is_drawn_within_a_frame(grid):
    grid.tiles(20)
    (x, y), (right, low) = grid.at(grid.part("map"), 0.3, 0.4), grid.at(grid.part("map"), 0.6, 0.55)
    moves = []
    for i in range(24):
        grid.page.mouse.move(x + (right - x) * i / 24, y + (low - y) * i / 24)
        grid.settle()
        moves.append(grid.data())
    assert usual(moves) <= 8  # forward pass and drawing
    assert usual(moves, "latency") <= 16  # from the pointer's event to the changed picture


def test_a_click_holds_z_and_a_second_lets_it_go(grid):
    mouse = grid.page.mouse
    mouse.click(*grid.at(grid.part("map"), 0.6, 0.4))
    grid.settle()
    held = grid.numbers("z")
    mouse.move(*grid.at(grid.part("map"), 0.3, 0.6))
    grid.settle()
    assert grid.numbers("z") == held
    mouse.click(*grid.at(grid.part("map"), 0.3, 0.6))
    mouse.move(*grid.at(grid.part("map"), 0.2, 0.2))
    grid.settle()
    z = grid.numbers("z")
    assert z[0] < held[0] and z[1] > held[1]


def test_arrow_keys_move_z_and_the_page_says_where(grid, model, half):
    start = grid.numbers("z")
    grid.keys(grid.part("map"), "ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft")
    z, step = grid.numbers("z"), 0.1 * half / 4
    assert z == pytest.approx([start[0] + (2 - 5) * step, start[1] + step])
    same_picture(picture(grid, "now"), decoded(model, z))
    assert re.match(r"z is \(.* among codes of \d$", grid.said("z is ("))


def test_tiles_are_the_notes_grid_decoded(grid, model):
    from gentut import vae

    grid.tiles(20)
    shown = ink(grid.part("tiles")).reshape(20, 28, 20, 28).transpose(0, 2, 1, 3)
    want = vae.latent_grid(model, 20).numpy()
    off = np.abs(shown - want)
    assert off.mean() <= 0.006 and off.max() <= 0.12, (off.mean(), off.max())


def test_the_number_and_extent_of_tiles_follow_their_sliders(grid, model, half):
    count, extent = grid.root.locator("input[type=range]").all()
    grid.keys(count, "Home")
    grid.tiles(5)
    assert grid.part("tiles").get_attribute("width") == "140"
    grid.keys(extent, "End")
    grid.tiles(5)
    widest = float(extent.input_value())
    assert half - 0.06 <= widest <= half
    corner = ink(grid.part("tiles"))[:28, :28].flatten()  # top left: smallest z1, largest z2
    off = np.abs(corner - decoded(model, [-widest, widest]))
    assert off.mean() <= 0.006 and off.max() <= 0.12
    # Back at the notes' value the extent is exactly theirs again.
    steps = round((widest - 1.6448536) / 0.05)
    for _ in range(steps):
        grid.page.keyboard.press("ArrowLeft")
    assert float(extent.input_value()) == pytest.approx(1.6448536, abs=1e-6)


def test_clicking_a_tile_moves_z_there(grid, model):
    from scipy.stats import norm

    axis = norm.ppf(np.linspace(0.05, 0.95, 20))
    grid.page.mouse.click(*grid.at(grid.part("tiles"), 3.5 / 20, 5.5 / 20))  # column 3, row 5 from the top
    grid.settle()
    assert grid.numbers("z") == pytest.approx([axis[3], axis[14]], abs=1e-6)
    same_picture(picture(grid, "now"), decoded(model, grid.numbers("z")))
    grid.page.keyboard.press("ArrowDown")
    grid.page.keyboard.press("ArrowRight")
    grid.settle()
    assert grid.numbers("z") == pytest.approx([axis[4], axis[13]], abs=1e-6)


def check_drawing(grid, model):
    """What the page made of the drawing is what torch makes of the same picture."""
    seen = picture(grid, "seen")
    assert seen.max() > 0.9
    on = np.argwhere(seen.reshape(28, 28) > 0.01)
    assert 18 <= (on.max(0) - on.min(0) + 1).max() <= 21
    with torch.no_grad():
        mu, log_var = model.encode(torch.tensor(seen, dtype=torch.float32).reshape(1, 1, 28, 28))
    mu, sigma = mu[0].numpy(), (log_var[0] / 2).exp().numpy()
    shown = np.array(grid.numbers("posterior"))
    assert np.abs(shown[:2] - mu).max() <= max(0.05, sigma.max()), (shown, mu)
    assert shown[2:] == pytest.approx(sigma, rel=0.25)
    same_picture(picture(grid, "back"), decoded(model, shown[:2].tolist()))


def test_a_digit_drawn_with_the_mouse_is_encoded_and_decoded(grid, model):
    assert picture(grid, "seen").max() == 0 and not grid.numbers("posterior")
    without = grid.part("map").screenshot()
    grid.draw()
    check_drawing(grid, model)
    first = grid.numbers("posterior")
    grid.page.mouse.move(1, 1)
    assert grid.part("map").screenshot() != without  # mean and ellipse
    grid.draw([[(0.35, 0.5), (0.6, 0.5)]])  # a bar through it
    check_drawing(grid, model)
    assert grid.numbers("posterior") != first
    grid.root.get_by_role("button", name="z = μ", exact=True).click()
    grid.settle()
    assert grid.numbers("z") == pytest.approx(grid.numbers("posterior")[:2], abs=1e-6)
    grid.root.get_by_role("button", name="z = μ + σε").click()
    grid.settle()
    now = grid.data()
    (mu0, mu1, s0, s1), z = now.numbers("posterior"), now.numbers("z")
    assert z != [mu0, mu1] and abs(z[0] - mu0) < 5 * s0 and abs(z[1] - mu1) < 5 * s1
    grid.root.get_by_role("button", name="Clear").click()
    grid.settle()
    assert picture(grid, "seen").max() == picture(grid, "back").max() == 0
    assert grid.root.get_by_role("button", name="z = μ", exact=True).is_disabled()


def test_a_digit_drawn_with_keys(grid, model):
    pad = grid.part("pad")
    grid.keys(pad, *["ArrowUp"] * 6, "Space", *["ArrowRight"] * 8, *["ArrowDown"] * 12, "Space")
    check_drawing(grid, model)
    drawn = picture(grid, "seen")
    grid.keys(pad, "ArrowLeft")  # the pen is up: this draws nothing
    assert (picture(grid, "seen") == drawn).all()
    grid.keys(pad, "Delete")
    assert picture(grid, "seen").max() == 0


def test_a_test_digit_can_be_taken_instead(grid):
    images = data.load("mnist-mini").test_images.reshape(-1, 784).numpy()
    labels = data.load("mnist-mini").test_labels.numpy()
    button = grid.root.get_by_role("button", name="Test digit 4")
    taken = []
    for _ in range(2):
        button.press("Enter")
        grid.settle()
        pixels = np.round(255 * picture(grid, "seen")).astype(int)
        taken.append(pixels)
        at = (images == pixels).all(1)
        assert at.any() and (labels[at] == 4).all()
    assert (taken[0] != taken[1]).any()
    assert grid.numbers("posterior")


def test_classes_can_be_hidden(grid):
    key = grid.part("legend").get_by_role("button", name="1", exact=True)
    before = grid.part("map").screenshot()
    key.click()
    grid.page.mouse.move(1, 1)
    grid.settle()
    assert key.get_attribute("aria-pressed") == "false"
    assert grid.part("map").screenshot() != before
    key.click()
    assert key.get_attribute("aria-pressed") == "true"


def test_a_finger_moves_z_and_draws(open_widget, model, half):
    grid = open_widget(Grid, "phone")
    grid.touch(*[grid.at(grid.part("map"), *point) for point in [(0.5, 0.5), (0.6, 0.4), (0.7, 0.25)]])
    assert grid.numbers("z") == pytest.approx([0.4 * half, 0.5 * half], abs=0.04 * half)
    same_picture(picture(grid, "now"), decoded(model, grid.numbers("z")))
    grid.touch(*[grid.at(grid.part("pad"), *point) for point in DIGIT])
    check_drawing(grid, model)


@both
def test_nothing_sticks_out_on_a_phone(open_widget, kind):
    assert open_widget(kind, "phone").sticks_out(but=".gt-mark") == []


# ------------------------------------------------------------------------------------------------------------ MoonMorph


def network(state, name):
    """A decoder of the page's own state as a function of a code, in numpy: (784,) in [0, 1]."""
    raw, spec = state["weights"], state["networks"][name]

    def run(x):
        x = np.array([x])
        for op in spec:
            if op["op"] == "linear":
                size, kind = op["in"] * op["out"], "<f2" if op["type"] == "float16" else "i1"
                weight = np.frombuffer(raw, kind, size, op["weight"]).reshape(op["out"], op["in"]).astype(float)
                if "scale" in op:
                    weight = weight * np.frombuffer(raw, "<f4", op["out"], op["scale"])[:, None]
                x = weight @ x + np.frombuffer(raw, "<f4", op["out"], op["bias"])
            elif op["op"] in ("relu", "sigmoid"):
                x = np.maximum(x, 0) if op["op"] == "relu" else 1 / (1 + np.exp(-x))
            else:
                raise AssertionError(f"unexpected operation {op['op']}")
        return x

    return run


def check_moons(moons, state, trained, position):
    """Pictures and measured errors on the page against numpy and gentut.data.moon."""
    truth = data.moon([1 - position]).flatten().numpy()
    assert np.abs(picture(moons, "truth") - truth).max() <= 0.003
    every = data.moon(torch.linspace(0, 1, 201)).flatten(1).numpy()
    now = moons.data()
    for kind in ("ae", "vae"):
        full, half = state["ends"][f"{trained}-{kind}"]
        want = network(state, f"{trained}-{kind}")(full + position * (half - full))
        assert np.abs(picture(moons, f"face-{kind}") - want).max() <= 0.004
        error, to_nearest = now.numbers(kind)
        assert error == pytest.approx(np.sqrt(np.mean((want - truth) ** 2)), abs=1e-4)
        assert to_nearest == pytest.approx(np.sqrt(((want - every) ** 2).mean(1)).min(), abs=1e-4)


def test_the_slider_leads_from_full_moon_to_half_moon(moons, stored):
    check_moons(moons, stored["moons"], "many", 0.5)
    for key, position in [("Home", 0), ("End", 1), ("ArrowLeft", 0.99)]:
        moons.keys(moons.root.locator("input[type=range]"), key)
        check_moons(moons, stored["moons"], "many", position)


def test_networks_trained_on_two_phases_can_be_chosen(moons, stored):
    moons.choose("full and half only")
    check_moons(moons, stored["moons"], "two", 0.5)
    moons.keys(moons.root.get_by_role("radio", name="full and half only"), "ArrowLeft")
    check_moons(moons, stored["moons"], "many", 0.5)


def test_moons_are_drawn_anew_from_the_prior(moons):
    def drawn(kind):
        return [ink(each).flatten() for each in moons.part(f"draw-{kind}").all()]

    before = {kind: drawn(kind) for kind in ("ae", "vae")}
    every = data.moon(torch.linspace(0, 1, 201)).flatten(1).numpy()
    for kind, pictures in before.items():
        distances = [np.sqrt(((p - every) ** 2).mean(1)).min() for p in pictures]
        assert len(pictures) == 8
        assert moons.numbers(f"{kind}-prior") == [pytest.approx(np.mean(distances), abs=0.002)]
    moons.keys(moons.root.get_by_role("button", name="Draw again"), "Enter")
    for kind in ("ae", "vae"):
        assert any((a != b).any() for a, b in zip(before[kind], drawn(kind), strict=True))


# ------------------------------------------------------------------------------------------------------------ both


@both
def test_the_theme_changes_colours_and_never_values(open_widget, kind):
    widget = open_widget(kind)
    values = []
    for theme in widget.in_both_themes():
        ground, text = widget.board()
        assert (ground > 0.9 and text < 0.3) if theme == "light" else (ground < 0.2 and text > 0.9)
        values.append(picture(widget, "now" if kind is Grid else "face-vae"))
    assert (values[0] == values[1]).all()


@both
def test_every_control_has_a_name(open_widget, kind):
    assert open_widget(kind).nameless() == []
