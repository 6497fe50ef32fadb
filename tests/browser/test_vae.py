"""The VAE chapter's widgets on the built page (book/vae.html): pointer, keys, touch and drawing, against torch."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from gentut import checkpoints, data

STATE = 'script[type="application/vnd.jupyter.widget-state+json"]'
# The values of a 28 x 28 picture: the widgets draw ink whose opacity is the pixel.
PICTURE = """canvas => {
  const d = canvas.getContext("2d").getImageData(0, 0, 28, 28).data;
  return Array.from({ length: 784 }, (_, i) => d[4 * i + 3] / 255);
}"""
DIGIT = [(0.3, 0.2), (0.5, 0.2), (0.7, 0.2), (0.62, 0.45), (0.5, 0.65), (0.42, 0.85)]  # a seven


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("vae-2d", "cpu")


class Widget:
    """A widget on a page: its root, its parts, and what it shows."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def part(self, name):
        return self.root.locator(f".gt-{name}")

    def picture(self, name):
        """Values in [0, 1] of a picture on the page, (784,)."""
        return np.array(self.part(name).evaluate(PICTURE))

    def data(self, name):
        """An attribute data-NAME of the root as numbers."""
        return [float(v) for v in (self.root.get_attribute(f"data-{name}") or "").split()]

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def at(self, name, x, y):
        """Page coordinates of a point of a part, x and y in 0..1 from its top left; scrolls it into view."""
        self.part(name).scroll_into_view_if_needed()
        box = self.part(name).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def draw(self, strokes=(DIGIT,)):
        """Draw on the pad with the mouse."""
        for stroke in strokes:
            points = [self.at("pad", *point) for point in stroke]
            self.page.mouse.move(*points[0])
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*point, steps=4)
            self.page.mouse.up()
        self.settle()


def open_widget(page, site, name):
    page.goto(f"{site.url}/book/vae.html")
    root = page.locator(f".gentut-{name}").first
    root.scroll_into_view_if_needed()
    page.wait_for_selector(f".gentut-{name}[data-ready='1']")
    return Widget(page, root)


@pytest.fixture
def grid(page, site):
    return open_widget(page, site, "latent-grid")


@pytest.fixture
def moons(page, site):
    return open_widget(page, site, "moon-morph")


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


def reach(grid):
    """Half the width of the map, from what a step to the border gives."""
    return next(s for s in states(grid.page) if "reach" in s)["reach"]


def states(page):
    """The state of every widget on the page, its buffers decoded."""
    found = []
    for tag in page.locator(STATE).all():
        for entry in json.loads(tag.text_content())["state"].values():
            state = dict(entry["state"])
            for buffer in entry.get("buffers", []):
                state[buffer["path"][0]] = base64.b64decode(buffer["data"])
            found.append(state)
    return found


# ----------------------------------------------------------------------------------------------------------- LatentGrid


def test_the_picture_under_the_pointer_is_torchs(grid, model):
    before, half = grid.picture("now"), reach(grid)
    for x, y in [(0.7, 0.3), (0.35, 0.5), (0.5, 0.75)]:
        grid.page.mouse.move(*grid.at("map", x, y))
        grid.settle()
        z = grid.data("z")
        assert z == pytest.approx([(2 * x - 1) * half, (1 - 2 * y) * half], abs=0.03 * half)
        same_picture(grid.picture("now"), decoded(model, z))
        assert np.abs(grid.picture("now") - before).max() > 0.2
        before = grid.picture("now")
        assert grid.part("in-now").inner_text().replace("\u2212", "-").count(f"z = ({z[0]:.2f}, {z[1]:.2f})") == 1


def test_a_pointer_move_is_drawn_within_a_frame(grid):
    grid.page.wait_for_selector(".gentut-latent-grid[data-tiles='20']")
    work, latency = [], []
    for i in range(30):
        grid.page.mouse.move(*grid.at("map", 0.3 + 0.01 * i, 0.4 + 0.005 * i))
        grid.settle()
        work += grid.data("ms")
        latency += grid.data("latency")
    assert np.median(work) <= 8, work  # forward pass and drawing
    assert np.median(latency) <= 16, latency  # from the pointer's event to the changed picture


def test_a_click_holds_z_and_a_second_lets_it_go(grid):
    mouse = grid.page.mouse
    mouse.click(*grid.at("map", 0.6, 0.4))
    grid.settle()
    held = grid.data("z")
    mouse.move(*grid.at("map", 0.3, 0.6))
    grid.settle()
    assert grid.data("z") == held
    mouse.click(*grid.at("map", 0.3, 0.6))
    mouse.move(*grid.at("map", 0.2, 0.2))
    grid.settle()
    assert grid.data("z")[0] < held[0] and grid.data("z")[1] > held[1]


def test_arrow_keys_move_z_and_the_page_says_where(grid, model):
    start = grid.data("z")
    grid.part("map").focus()
    for key in ["ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft"]:
        grid.page.keyboard.press(key)
    grid.settle()
    z, step = grid.data("z"), 0.1 * reach(grid) / 4
    assert z == pytest.approx([start[0] + (2 - 5) * step, start[1] + step])
    same_picture(grid.picture("now"), decoded(model, z))
    live = grid.root.locator("[aria-live]")
    grid.page.wait_for_function("e => e.textContent.startsWith('z is (')", arg=live.element_handle())
    assert re.search(r"among codes of \d$", live.text_content())


def test_tiles_are_the_notes_grid_decoded(grid, model):
    from gentut import vae

    grid.page.wait_for_selector(".gentut-latent-grid[data-tiles='20']")
    shown = grid.part("tiles").evaluate("""canvas => {
      const d = canvas.getContext("2d").getImageData(0, 0, 560, 560).data;
      return Array.from({ length: 560 * 560 }, (_, i) => d[4 * i + 3] / 255);
    }""")
    shown = np.array(shown).reshape(20, 28, 20, 28).transpose(0, 2, 1, 3)
    want = vae.latent_grid(model, 20).numpy()
    off = np.abs(shown - want)
    assert off.mean() <= 0.006 and off.max() <= 0.12, (off.mean(), off.max())


def test_the_number_and_extent_of_tiles_follow_their_sliders(grid, model):
    count, extent = grid.root.locator("input[type=range]").all()
    count.focus()
    grid.page.keyboard.press("Home")
    grid.page.wait_for_selector(".gentut-latent-grid[data-tiles='5']")
    assert grid.part("tiles").get_attribute("width") == "140"
    extent.focus()
    grid.page.keyboard.press("End")
    grid.settle()
    grid.page.wait_for_selector(".gentut-latent-grid[data-tiles='5']")
    widest = float(extent.input_value())
    assert reach(grid) - 0.06 <= widest <= reach(grid)
    corner = grid.part("tiles").evaluate(PICTURE)  # top left: smallest z1, largest z2
    off = np.abs(np.array(corner) - decoded(model, [-widest, widest]))
    assert off.mean() <= 0.006 and off.max() <= 0.12
    # Back at the notes' value the extent is exactly theirs again.
    steps = round((widest - 1.6448536) / 0.05)
    for _ in range(steps):
        grid.page.keyboard.press("ArrowLeft")
    assert float(extent.input_value()) == pytest.approx(1.6448536, abs=1e-6)


def test_clicking_a_tile_moves_z_there(grid, model):
    from scipy.stats import norm

    axis = norm.ppf(np.linspace(0.05, 0.95, 20))
    grid.page.mouse.click(*grid.at("tiles", 3.5 / 20, 5.5 / 20))  # column 3, row 5 from the top
    grid.settle()
    assert grid.data("z") == pytest.approx([axis[3], axis[14]], abs=1e-6)
    same_picture(grid.picture("now"), decoded(model, grid.data("z")))
    grid.page.keyboard.press("ArrowDown")
    grid.page.keyboard.press("ArrowRight")
    grid.settle()
    assert grid.data("z") == pytest.approx([axis[4], axis[13]], abs=1e-6)


def check_drawing(grid, model):
    """What the page made of the drawing is what torch makes of the same picture."""
    seen = grid.picture("seen")
    assert seen.max() > 0.9
    on = np.argwhere(seen.reshape(28, 28) > 0.01)
    assert 18 <= (on.max(0) - on.min(0) + 1).max() <= 21
    with torch.no_grad():
        mu, log_var = model.encode(torch.tensor(seen, dtype=torch.float32).reshape(1, 1, 28, 28))
    mu, sigma = mu[0].numpy(), (log_var[0] / 2).exp().numpy()
    shown = np.array(grid.data("posterior"))
    assert np.abs(shown[:2] - mu).max() <= max(0.05, sigma.max()), (shown, mu)
    assert shown[2:] == pytest.approx(sigma, rel=0.25)
    same_picture(grid.picture("back"), decoded(model, shown[:2].tolist()))


def test_a_digit_drawn_with_the_mouse_is_encoded_and_decoded(grid, model):
    assert grid.picture("seen").max() == 0 and not grid.data("posterior")
    without = grid.part("map").screenshot()
    grid.draw()
    check_drawing(grid, model)
    first = grid.data("posterior")
    grid.page.mouse.move(1, 1)
    assert grid.part("map").screenshot() != without  # mean and ellipse
    grid.draw([[(0.35, 0.5), (0.6, 0.5)]])  # a bar through it
    check_drawing(grid, model)
    assert grid.data("posterior") != first
    grid.root.get_by_role("button", name="z = μ", exact=True).click()
    grid.settle()
    assert grid.data("z") == pytest.approx(grid.data("posterior")[:2], abs=1e-6)
    grid.root.get_by_role("button", name="z = μ + σε").click()
    grid.settle()
    mu0, mu1, s0, s1 = grid.data("posterior")
    z = grid.data("z")
    assert z != [mu0, mu1] and abs(z[0] - mu0) < 5 * s0 and abs(z[1] - mu1) < 5 * s1
    grid.root.get_by_role("button", name="Clear").click()
    grid.settle()
    assert grid.picture("seen").max() == grid.picture("back").max() == 0
    assert grid.root.get_by_role("button", name="z = μ", exact=True).is_disabled()


def test_a_digit_drawn_with_keys(grid, model):
    grid.part("pad").focus()
    press = grid.page.keyboard.press
    for _ in range(6):
        press("ArrowUp")
    press("Space")
    for _ in range(8):
        press("ArrowRight")
    for _ in range(12):
        press("ArrowDown")
    press("Space")
    press("ArrowLeft")  # the pen is up: this draws nothing
    grid.settle()
    check_drawing(grid, model)
    ink = grid.picture("seen")
    press("ArrowLeft")
    grid.settle()
    assert (grid.picture("seen") == ink).all()
    press("Delete")
    grid.settle()
    assert grid.picture("seen").max() == 0


def test_a_test_digit_can_be_taken_instead(grid):
    images = data.load("mnist-mini").test_images.reshape(-1, 784).numpy()
    labels = data.load("mnist-mini").test_labels.numpy()
    button = grid.root.get_by_role("button", name="Test digit 4")
    taken = []
    for _ in range(2):
        button.press("Enter")
        grid.settle()
        pixels = np.round(255 * grid.picture("seen")).astype(int)
        taken.append(pixels)
        at = (images == pixels).all(1)
        assert at.any() and (labels[at] == 4).all()
    assert (taken[0] != taken[1]).any()
    assert grid.data("posterior")


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


def touch(page, kind, *points):
    """A finger: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, point in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": point[0], "y": point[1]}]})
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": []})


def test_a_finger_moves_z_and_draws(phone, site, model):
    grid = open_widget(phone, site, "latent-grid")
    scrolled = "document.scrollingElement.scrollTop"
    start = grid.at("map", 0.5, 0.5)
    top = phone.evaluate(scrolled)
    touch(phone, "touchEnd", start, grid.at("map", 0.6, 0.4), grid.at("map", 0.7, 0.25))
    grid.settle()
    half = reach(grid)
    assert grid.data("z") == pytest.approx([0.4 * half, 0.5 * half], abs=0.04 * half)
    assert phone.evaluate(scrolled) == top, "the page must not scroll under a finger on the map"
    same_picture(grid.picture("now"), decoded(model, grid.data("z")))
    grid.at("pad", 0.5, 0.5)
    touch(phone, "touchEnd", *[grid.at("pad", *point) for point in DIGIT])
    grid.settle()
    check_drawing(grid, model)


@pytest.mark.parametrize("name", ["latent-grid", "moon-morph"])
def test_nothing_sticks_out_on_a_phone(phone, site, name):
    widget = open_widget(phone, site, name)
    wide = widget.root.evaluate("""root => [...root.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
      return box.width && !e.closest(".gt-hidden, .gt-mark") && (box.right > own.right + 1 || box.left < own.left - 1);
    }).map(e => e.className || e.tagName)""")
    assert wide == []
    assert widget.root.bounding_box()["width"] <= 390


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


def check_moons(moons, trained, position):
    """Pictures and measured errors on the page against numpy and gentut.data.moon."""
    state = next(s for s in states(moons.page) if "ends" in s)
    truth = data.moon([1 - position]).flatten().numpy()
    assert np.abs(moons.picture("truth") - truth).max() <= 0.003
    every = data.moon(torch.linspace(0, 1, 201)).flatten(1).numpy()
    for kind in ("ae", "vae"):
        full, half = state["ends"][f"{trained}-{kind}"]
        want = network(state, f"{trained}-{kind}")(full + position * (half - full))
        assert np.abs(moons.picture(f"face-{kind}") - want).max() <= 0.004
        error, to_nearest = moons.data(kind)
        assert error == pytest.approx(np.sqrt(np.mean((want - truth) ** 2)), abs=1e-4)
        assert to_nearest == pytest.approx(np.sqrt(((want - every) ** 2).mean(1)).min(), abs=1e-4)


def test_the_slider_leads_from_full_moon_to_half_moon(moons):
    check_moons(moons, "many", 0.5)
    moons.root.locator("input[type=range]").focus()
    for key, position in [("Home", 0), ("End", 1), ("ArrowLeft", 0.99)]:
        moons.page.keyboard.press(key)
        moons.settle()
        check_moons(moons, "many", position)


def test_networks_trained_on_two_phases_can_be_chosen(moons):
    moons.root.get_by_role("radio", name="full and half only").check()
    moons.settle()
    check_moons(moons, "two", 0.5)
    moons.root.get_by_role("radio", name="full and half only").press("ArrowLeft")
    moons.settle()
    check_moons(moons, "many", 0.5)


def test_moons_are_drawn_anew_from_the_prior(moons):
    def drawn(kind):
        return [np.array(each.evaluate(PICTURE)) for each in moons.part(f"draw-{kind}").all()]

    before = {kind: drawn(kind) for kind in ("ae", "vae")}
    every = data.moon(torch.linspace(0, 1, 201)).flatten(1).numpy()
    for kind, pictures in before.items():
        distances = [np.sqrt(((p - every) ** 2).mean(1)).min() for p in pictures]
        assert len(pictures) == 8
        assert moons.data(f"{kind}-prior") == [pytest.approx(np.mean(distances), abs=0.002)]
    moons.root.get_by_role("button", name="Draw again").press("Enter")
    moons.settle()
    for kind in ("ae", "vae"):
        assert any((a != b).any() for a, b in zip(before[kind], drawn(kind), strict=True))


# ------------------------------------------------------------------------------------------------------------ both


@pytest.mark.parametrize("name", ["latent-grid", "moon-morph"])
def test_the_theme_changes_colours_and_never_values(page, site, name):
    widget = open_widget(page, site, name)
    part = "now" if name == "latent-grid" else "face-vae"
    looks, values = [], []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(100)
        widget.settle()
        board = widget.part("board")
        looks.append(board.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"))
        values.append(widget.picture(part))
    assert (values[0] == values[1]).all()
    for theme, (background, ink) in zip(("light", "dark"), looks, strict=True):
        back, front = (sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in (background, ink))
        assert (back > 0.9 and front < 0.3) if theme == "light" else (back < 0.2 and front > 0.9)


@pytest.mark.parametrize("name", ["latent-grid", "moon-morph"])
def test_every_control_has_a_name(page, site, name):
    widget = open_widget(page, site, name)
    nameless = widget.root.evaluate("""root => [...root.querySelectorAll("button, input, canvas, [tabindex]")].filter(
      e => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim() || e.ariaHidden)
    ).map(e => e.outerHTML)""")
    assert nameless == []
