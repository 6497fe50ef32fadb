"""The probability chapter's widgets on the built page (book/probability.html): mouse, keys, finger, against Python."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from gentut import probability

DARTS = probability.DARTS
NAMES = ["dart-board", "urn"]


class Widget:
    """A widget on a page: its root, its parts, and the numbers it shows."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def part(self, name):
        return self.root.locator(f".gt-{name}")

    def text(self, name):
        """An attribute data-NAME of the root."""
        return self.root.get_attribute(f"data-{name}")

    def value(self, name):
        return float(self.text(name).replace("Infinity", "inf"))

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, locator, *keys):
        locator.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def click(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def choose(self, name):
        self.root.get_by_role("radio", name=name, exact=True).check()
        self.settle()

    def middle(self, name):
        """Page coordinates of a part's middle, scrolled into view."""
        self.part(name).scroll_into_view_if_needed()
        box = self.part(name).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def on_map(self, x, y):
        """Page coordinates of a point of the dart board's map."""
        self.part("heat").scroll_into_view_if_needed()
        box = self.part("heat").bounding_box()
        return box["x"] + (x + 2.5) / 5 * box["width"], box["y"] + (2.5 - y) / 5 * box["height"]

    def drag(self, start, end):
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=5)
        mouse.up()
        self.settle()


def open_widget(page, site, name):
    page.goto(f"{site.url}/book/probability.html")
    page.wait_for_selector(f".gentut-{name}[data-ready='1']")
    root = page.locator(f".gentut-{name}").first
    root.scroll_into_view_if_needed()
    widget = Widget(page, root)
    widget.settle()
    return widget


@pytest.fixture
def board(page, site):
    return open_widget(page, site, "dart-board")


@pytest.fixture
def urn(page, site):
    return open_widget(page, site, "urn")


def touch(page, *points):
    """A finger: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, point in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": point[0], "y": point[1]}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


# ------------------------------------------------------------------------------------------------------------ DartBoard


def check_board(board, x=None, y=None, axis=None, off=0.03):
    """All numbers are Python's at the cross, and those written out are the same ones."""
    at = board.value("x"), board.value("y")
    if x is not None:
        assert at == pytest.approx((x, y), abs=off)
    assert axis is None or board.text("axis") == axis
    x, y = torch.tensor(at, dtype=torch.float64)
    want = {
        "joint": DARTS.joint(x, y),
        "px": DARTS.marginal("x", x),
        "py": DARTS.marginal("y", y),
        "py-given-x": DARTS.conditional("y", y, x),
        "px-given-y": DARTS.conditional("x", x, y),
    }
    for name, value in want.items():
        assert board.value(name) == pytest.approx(value.item(), rel=1e-9), name
    shown = board.part("facts").inner_text().replace("\u2212", "-")
    joint, px, py, py_x, px_y = (v.item() for v in want.values())
    if min(want.values()) > 0.001:
        for v in (joint, px, py, py_x, px_y):
            assert f"{v:.4f}" in shown
        assert re.findall(r"\d\.\d{4}", board.part("bayes").inner_text()) == [f"{v:.4f}" for v in (px_y, py_x, px, py)]
    assert px_y == pytest.approx(py_x * px / py)
    return at


def curve(board, side, kind):
    """A curve of a side chart as [(position, density), ...] in the units of its axes."""
    path = board.part(side).locator(f"path.gt-curve.gt-{kind}").get_attribute("d")
    points = np.array([[float(v) for v in p.split()] for p in re.findall(r"[ML]([^ML]+)", path or "")])
    if not len(points):
        return None
    box = board.part(side).locator("svg").bounding_box()
    frame = {"above": (26, 8, 8, 6), "side": (8, 6, 8, 24)}[side]  # left, right, top, bottom
    across = (points[:, 0] - frame[0]) / (box["width"] - frame[0] - frame[1])
    up = (box["height"] - frame[3] - points[:, 1]) / (box["height"] - frame[2] - frame[3])
    return (across * 5 - 2.5, up) if side == "above" else (up * 5 - 2.5, across)


def check_curves(board):
    """The drawn marginals and the conditional have the shapes of Python's, all on one scale."""
    axis = board.text("axis")
    other = "y" if axis == "x" else "x"
    scales = []
    for name, side in (("x", "above"), ("y", "side")):
        at, height = curve(board, side, "p")
        density = DARTS.marginal(name, torch.tensor(at)).numpy()
        scales.append(height.max() / density.max())
        np.testing.assert_allclose(height, density * scales[-1], atol=0.01)
        q = curve(board, side, "q")
        assert (q is not None) == (name == other)
        if q is not None:
            density = DARTS.conditional(other, torch.tensor(q[0]), board.value(axis)).numpy()
            np.testing.assert_allclose(q[1], density * scales[-1], atol=0.01)
    assert scales[0] == pytest.approx(scales[1], rel=0.02)


def test_the_board_starts_with_pythons_numbers_and_curves(board):
    check_board(board, -0.6, -0.5, "x", off=0)
    check_curves(board)


def test_the_heat_map_is_the_joint_density(board):
    n = 161
    read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 3)"
    ink = np.array(board.part("heat").evaluate(read)).reshape(n, n)
    axis = torch.linspace(-2.5, 2.5, n, dtype=torch.float64)
    density = DARTS.joint(axis[None, :], axis.flip(0)[:, None]).numpy()
    assert ink.max() > 120
    np.testing.assert_allclose(ink / ink.max(), density / density.max(), atol=0.01)


def test_the_mouse_moves_cross_and_slice(board):
    board.drag(board.on_map(-0.6, -0.5), board.on_map(0.9, 0.7))  # the cross
    check_board(board, 0.9, 0.7, "x")
    check_curves(board)
    board.page.mouse.click(*board.on_map(-1.2, 1.0))  # anywhere on the map
    board.settle()
    check_board(board, -1.2, 1.0)
    grip = board.root.get_by_role("slider", name="Slice, x given")
    box = grip.locator(".gt-knob").bounding_box()
    start = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    y = board.value("y")
    board.drag(start, (board.on_map(0.3, 0)[0], start[1] - 40))
    check_board(board, 0.3, y)
    assert board.value("y") == y, "the grip moves the slice alone"
    board.drag(board.on_map(0.3, y), (5, board.on_map(0, 0)[1]))
    assert board.value("x") == -2.5, "the map's edge holds the cross"
    check_board(board)


def test_the_slice_can_lie_the_other_way(board):
    board.choose("y")
    check_board(board, -0.6, -0.5, "y")
    check_curves(board)
    assert not board.root.get_by_role("slider", name="Slice, x given").is_visible()
    grip = board.root.get_by_role("slider", name="Slice, y given")
    board.press(grip, "ArrowUp", "ArrowUp", "PageUp")
    check_board(board, -0.6, 0.1, "y", off=1e-9)
    check_curves(board)
    assert "conditional p(x | y = 0.10)" in board.part("legend-row").inner_text()
    board.press(board.root.get_by_role("radio", name="y", exact=True), "ArrowLeft")
    check_board(board, axis="x")


def test_keys_move_the_cross_and_the_page_says_where(board):
    cross = board.root.get_by_role("slider", name="Point (x, y)")
    board.press(cross, "ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft")
    check_board(board, -0.6 + 0.1 - 0.5, -0.45, off=1e-9)
    assert cross.get_attribute("aria-valuetext") == "x \u22121.00, y \u22120.45"
    board.page.wait_for_timeout(900)
    said = board.root.locator("[aria-live]").inner_text()
    assert re.search(r"x −1\.00, y −0\.45: joint 0\.\d{3}, p of y given x", said)
    board.press(cross, "End")
    check_board(board, 2.5, -0.45, off=1e-9)  # far out, where the joint is tiny


def test_darts_fall_where_the_density_says(board):
    assert board.text("thrown") == "0" and board.root.get_by_role("button", name="Clear").is_disabled()
    empty = board.part("darts").screenshot()
    for _ in range(10):
        board.root.get_by_role("button", name="Throw 100 darts").press("Enter")
    board.settle()
    assert board.text("thrown") == "1000"
    assert board.part("darts").screenshot() != empty
    mean = np.array([float(v) for v in board.text("mean").split()])
    weights, means, covariances = DARTS.weights.numpy(), DARTS.means.numpy(), DARTS.covariances.numpy()
    centre = weights @ means
    second = np.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None, :])
    deviation = np.sqrt((second - np.outer(centre, centre)).diagonal() / 1000)
    assert (np.abs(mean - centre) < 4 * deviation).all()
    for name, key in (("x", "px"), ("y", "py")):  # the share of darts in the strip is the marginal's, about
        board.choose(name)
        at = board.value(name)
        low, high = DARTS.marginal_cdf(name, torch.tensor([at - 0.1, at + 0.1], dtype=torch.float64)).tolist()
        share = high - low
        assert stats.binomtest(int(board.text("inside")), 1000, share).pvalue > 1e-3
        assert share == pytest.approx(0.2 * board.value(key), rel=0.05)
        assert f"1000 darts, {board.text('inside')} in the strip {name} = " in board.part("tally").inner_text()
    first = board.text("mean")
    board.click("Clear")
    assert board.text("thrown") == "0" and board.part("tally").inner_text() == ""
    for _ in range(10):
        board.click("Throw 100 darts")
    assert board.text("mean") != first, "after clearing, other darts"


def test_a_pointer_move_is_drawn_within_a_frame(board):
    for _ in range(10):
        board.click("Throw 100 darts")
    x, y = board.on_map(-1, -0.8)
    work = []
    board.page.mouse.move(x, y)
    board.page.mouse.down()
    for i in range(30):
        board.page.mouse.move(x + 4 * i, y - 3 * i)
        board.settle()
        work.append(board.value("ms"))
    board.page.mouse.up()
    assert np.median(work) <= 16, work


def test_a_finger_moves_the_cross_and_the_page_stays(phone, site):
    board = open_widget(phone, site, "dart-board")
    board.part("heat").scroll_into_view_if_needed()
    scrolled = "document.scrollingElement.scrollTop"
    top = phone.evaluate(scrolled)
    touch(phone, board.on_map(-0.6, -0.5), board.on_map(0, 0), board.on_map(0.8, 0.5))
    board.settle()
    check_board(board, 0.8, 0.5, off=0.06)
    phone.touchscreen.tap(*board.on_map(-1.5, 1))
    board.settle()
    check_board(board, -1.5, 1, off=0.06)
    assert phone.evaluate(scrolled) == top, "the page must not scroll under a finger on the map"
    phone.touchscreen.tap(*board.middle("throw"))
    board.settle()
    assert board.text("thrown") == "100"


# ------------------------------------------------------------------------------------------------------------------ Urn


def check_urn(urn, red=None, blue=None):
    """Numbers and words on the page against Python's, for draws that were put back."""
    r, b = int(urn.text("red")), int(urn.text("blue"))
    assert red is None or (r, b) == (red, blue)
    assert urn.text("n") == str(r + b)
    facts = urn.part("facts").inner_text().replace("\u2212", "-")
    guess = urn.value("guess")
    assert urn.value("log-likelihood-guess") == pytest.approx(probability.log_likelihood(guess, r, b).item(), rel=1e-12)
    if r + b == 0:
        assert urn.text("theta-hat") == "NaN" and (urn.value("low"), urn.value("high")) == (0, 1)
        return
    hat = probability.maximum_likelihood(r, b)
    top = probability.log_likelihood(hat, r, b).item()
    assert urn.value("theta-hat") == hat
    assert urn.value("log-likelihood") == pytest.approx(top, rel=1e-12)
    for end, edge in (("low", 0), ("high", 1)):
        at = urn.value(end)
        if at != edge:
            assert probability.log_likelihood(at, r, b).item() == pytest.approx(top - 2, abs=1e-8)
    assert urn.value("low") <= hat <= urn.value("high")
    assert f"{hat:.3f}" in facts and f"{top:.3f} nats" in facts
    assert f"{urn.value('low'):.3f} to {urn.value('high'):.3f}" in facts


def test_the_urn_starts_with_the_notes_draws(urn):
    check_urn(urn, 30, 70)
    assert urn.value("theta-hat") == 0.3 and urn.value("theta") == 0.3
    assert urn.root.get_by_label("red balls drawn").input_value() == "30"
    assert "The true θ = 0.3 is inside" in urn.part("verdict").inner_text()
    assert len(urn.text("draws")) == urn.part("recent").locator(".gt-ball").count() == 20
    assert urn.part("urn-picture").get_attribute("aria-label").startswith("Urn: 10 balls: 3 red, 7 blue; last drawn")
    assert urn.part("vessel + g .gt-ball-red").count() == 3 and urn.part("vessel + g .gt-ball-blue").count() == 7


def test_the_likelihood_is_drawn_as_it_is(urn):
    path = urn.part("in-likely").locator("path.gt-curve").get_attribute("d")
    points = np.array([[float(v) for v in p.split()] for p in re.findall(r"[ML]([^ML]+)", path)])
    width = urn.part("in-likely").locator("svg").bounding_box()["width"]
    theta = ((points[:, 0] - 34) / (width - 34 - 14)).clip(0, 1)
    floor, peak = points[:, 1].max(), points[:, 1].min()
    want = (probability.log_likelihood(theta, 30, 70) - probability.log_likelihood(0.3, 30, 70)).exp().numpy()
    np.testing.assert_allclose((floor - points[:, 1]) / (floor - peak), want, atol=0.02)
    assert theta[points[:, 1].argmin()] == pytest.approx(0.3, abs=0.005)


@pytest.mark.parametrize("n", [1, 10, 100])
def test_balls_are_drawn_with_mouse_and_keys(urn, n):
    before = urn.text("draws")
    button = urn.root.get_by_role("button", name=f"Draw {n}", exact=True)
    button.click()
    urn.settle()
    assert urn.text("n") == str(100 + n)
    check_urn(urn)
    new = urn.text("draws")[-min(n, 20) :]
    assert new[-1] in "rb" and (n > 19 or urn.text("draws")[: 20 - n] == before[n:])
    button.press("Enter")
    urn.settle()
    assert urn.text("n") == str(100 + 2 * n)
    check_urn(urn)
    urn.page.wait_for_timeout(900)
    assert f"{100 + 2 * n} draws, {urn.text('red')} red" in urn.root.locator("[aria-live]").inner_text()


def test_the_estimate_settles_at_the_true_share(urn):
    urn.click("Start over")
    check_urn(urn, 0, 0)
    assert "every θ is as good as another" in urn.part("verdict").inner_text()
    urn.click("Draw 1")
    check_urn(urn)
    widths = []
    for _ in range(20):
        urn.click("Draw 100")
        widths.append(urn.value("high") - urn.value("low"))
    check_urn(urn)
    assert stats.binomtest(int(urn.text("red")), int(urn.text("n")), 0.3).pvalue > 1e-3
    assert widths[-1] == pytest.approx(widths[0] * math.sqrt(101 / 2001), rel=0.2)
    assert urn.part("in-history").locator("text.gt-tick", has_text="10\u2009000").count() == 1


def test_the_counts_can_be_set(urn):
    red, blue = urn.root.get_by_label("red balls drawn"), urn.root.get_by_label("blue balls drawn")
    red.fill("5")
    blue.fill("0")
    urn.settle()
    check_urn(urn, 5, 0)
    assert urn.value("high") == 1
    urn.press(red, "ArrowUp")
    check_urn(urn, 6, 0)
    blue.fill("99999")  # more than there may be: the most that fit
    urn.settle()
    check_urn(urn, 6, 9994)
    assert blue.input_value() == "9994"
    assert urn.root.get_by_role("button", name="Draw 1", exact=True).is_disabled()
    blue.fill("-4")
    urn.settle()
    check_urn(urn, 6, 0)
    red.fill("")
    red.blur()
    urn.settle()
    check_urn(urn, 6, 0)
    assert red.input_value() == "6", "an empty field is no number of draws"
    urn.click("30 red, 70 blue")
    check_urn(urn, 30, 70)


def test_another_share_gives_other_draws(urn):
    fill = urn.root.get_by_role("slider", name="Red balls")
    urn.press(fill, "End")
    assert urn.value("theta") == 1
    check_urn(urn, 100, 0)
    urn.press(fill, "ArrowLeft", "ArrowLeft")
    assert urn.value("theta") == 0.8
    check_urn(urn)
    assert urn.text("n") == "100"
    assert stats.binomtest(int(urn.text("red")), 100, 0.8).pvalue > 1e-3
    assert urn.part("caption").inner_text() == "10 balls: 8 red, 2 blue"


def test_a_share_can_be_tried(urn):
    knob = urn.root.get_by_role("slider", name="A share to try")
    urn.press(knob, "ArrowRight", "ArrowRight", "PageUp")
    assert urn.value("guess") == pytest.approx(0.52)
    check_urn(urn)
    box = knob.locator(".gt-knob").bounding_box()
    chart = urn.part("in-likely").locator("svg").bounding_box()
    goal = chart["x"] + 34 + 0.7 * (chart["width"] - 48)
    urn.drag((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (goal, box["y"]))
    assert urn.value("guess") == pytest.approx(0.7, abs=0.01)
    check_urn(urn)
    urn.press(knob, "Home")
    assert urn.text("log-likelihood-guess") == "-Infinity"
    assert "\u2212\u221e nats" in urn.part("facts").inner_text()


def test_a_secret_urn_gives_nothing_away(urn):
    urn.click("Secret urn")
    assert urn.text("shown") == "false" and urn.text("n") == "0"
    assert urn.root.get_by_role("slider", name="Red balls").count() == 0, "not even a screen reader is told"
    urn.click("Draw 100")
    words = urn.root.inner_text() + urn.part("urn-picture").get_attribute("aria-label")
    assert "true θ" not in words.lower() and "colours hidden" in words
    assert urn.root.locator(".gt-rule.gt-truth").count() == 0
    assert urn.part("vessel + g .gt-ball").count() == 0
    urn.click("Look inside")
    assert urn.root.get_by_role("slider", name="Red balls").is_visible()
    assert "true θ" in urn.root.inner_text() and urn.root.locator(".gt-rule.gt-truth").count() == 2
    assert urn.part("caption").inner_text().startswith(f"10 balls: {round(10 * urn.value('theta'))} red")
    assert stats.binomtest(int(urn.text("red")), 100, urn.value("theta")).pvalue > 1e-3


def test_kept_out_balls_end_independence_and_the_guessing(urn):
    urn.choose("keep it out")
    assert (urn.text("n"), urn.text("left")) == ("0", "10")
    assert urn.root.get_by_role("button", name="Draw 100", exact=True).is_disabled()
    for n in range(1, 11):
        urn.click("Draw 1")
        red, blue = int(urn.text("red")), int(urn.text("blue"))
        assert red + blue == n and urn.text("left") == str(10 - n)
        assert urn.part("vessel + g .gt-ball-out").count() == n
        exact = np.array([math.perm(k, red) * math.perm(10 - k, blue) for k in range(11)]) / math.perm(10, n)
        columns = np.array([float(v) for v in urn.text("columns").split()])
        np.testing.assert_allclose(columns, exact / exact.max(), rtol=1e-9, atol=1e-12)
        assert math.exp(urn.value("log-likelihood")) == pytest.approx(exact.max())
        assert urn.value("best") == exact.argmax() / 10
        near = [k / 10 for k in range(11) if exact[k] >= exact.max() * math.exp(-2)]
        assert (urn.value("low"), urn.value("high")) == (near[0], near[-1])
        verdict = urn.part("verdict").inner_text()
        if n < 10:
            assert "no longer i.i.d." in verdict and f"red with probability {3 - red}/{10 - n}" in verdict
    assert (red, blue) == (3, 7) and urn.value("theta-hat") == 0.3 and columns.sum() == 1
    assert "θ̂ = 3/10 is the true share" in verdict
    assert urn.value("iid-low") < 0.1 and urn.value("iid-high") > 0.6, "taken for i.i.d., the draws say less"
    assert f"{urn.value('iid-low'):.2f} to {urn.value('iid-high'):.2f}" in verdict
    assert urn.root.get_by_role("button", name="Draw 1", exact=True).is_disabled()
    red = urn.root.get_by_label("red balls drawn")
    red.fill("9")  # the urn has three
    urn.settle()
    assert urn.text("red") == "3" and red.input_value() == "3"
    urn.click("Start over")
    assert urn.text("left") == "10"
    urn.choose("put it back")
    urn.click("Draw 100")
    check_urn(urn)


def test_a_finger_draws_and_tries(phone, site):
    urn = open_widget(phone, site, "urn")
    phone.touchscreen.tap(*urn.middle("draw-10"))
    urn.settle()
    assert urn.text("n") == "110"
    check_urn(urn)
    knob = urn.root.get_by_role("slider", name="A share to try").locator(".gt-knob")
    knob.scroll_into_view_if_needed()
    box = knob.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    top = phone.evaluate("document.scrollingElement.scrollTop")
    touch(phone, (x, y), (x + 30, y), (x + 60, y - 20))
    urn.settle()
    width = urn.part("in-likely").locator("svg").bounding_box()["width"]
    assert urn.value("guess") == pytest.approx(0.4 + 60 / (width - 48), abs=0.02)
    check_urn(urn)
    assert phone.evaluate("document.scrollingElement.scrollTop") == top
    phone.touchscreen.tap(*urn.middle("options label:last-child"))
    urn.settle()
    assert urn.text("replacement") == "false"


# ----------------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("name", NAMES)
def test_nothing_sticks_out_on_a_phone(phone, site, name):
    widget = open_widget(phone, site, name)
    wide = widget.root.evaluate("""root => [...root.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
      if (!box.width || e.closest(".gt-hidden, clipPath, .gt-handle")) return false;
      return box.right > own.right + 1 || box.left < own.left - 1;
    }).map(e => e.getAttribute("class") || e.tagName)""")
    assert wide == []
    assert widget.root.bounding_box()["width"] <= 390
    assert phone.evaluate("document.scrollingElement.scrollWidth") <= 390


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("name", NAMES)
def test_words_do_not_overlap(new_page, site, name, device):
    widget = open_widget(new_page(device), site, name)
    if name == "dart-board":
        widget.click("Throw 100 darts")
    hits = widget.root.evaluate("""root => {
      const nodes = [...root.querySelectorAll("text, p, dt, dd, button, label, output, .gt-swatch, .gt-equation, .gt-tally")].filter(
        e => e.textContent.trim() && !e.closest(".gt-hidden, .gt-urn-picture") && e.getBoundingClientRect().width > 0 && getComputedStyle(e).visibility !== "hidden");
      const hits = [];
      for (const [i, a] of nodes.entries()) for (const b of nodes.slice(i + 1)) {
        if (a.contains(b) || b.contains(a)) continue;
        const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
        const over = Math.min(p.right, q.right) - Math.max(p.left, q.left), down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (over > 1 && down > 2) hits.push(`${a.textContent} / ${b.textContent}`);
      }
      return hits;
    }""")  # noqa: E501
    assert hits == []


@pytest.mark.parametrize("name", NAMES)
def test_the_theme_changes_colours_and_never_values(page, site, name):
    widget = open_widget(page, site, name)
    looks, values = [], []
    inked = "canvas.gt-heat" if name == "dart-board" else ".gt-ball-red circle"
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(100)
        widget.settle()
        style = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
        look = widget.part("board").evaluate(style)
        look.append(widget.root.locator(inked).first.evaluate("""e => e.getContext
          ? [...e.getContext("2d").getImageData(52, 100, 1, 1).data].join() : getComputedStyle(e).fill"""))
        look.append(widget.root.locator(".gt-curve").first.evaluate("e => getComputedStyle(e).stroke"))
        looks.append(look)
        values.append({k: v for k, v in widget.root.evaluate("e => ({ ...e.dataset })").items() if k != "ms"})
    assert values[0] == values[1]
    assert all(a != b for a, b in zip(*looks, strict=True)), looks
    for theme, (background, ink, *_) in zip(("light", "dark"), looks, strict=True):
        back, front = (sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in (background, ink))
        assert (back > 0.9 and front < 0.3) if theme == "light" else (back < 0.2 and front > 0.9)


def test_a_dark_system_gives_dark_widgets(dark, site):
    for name in NAMES:
        background = open_widget(dark, site, name).part("board").evaluate("e => getComputedStyle(e).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", background)[:3])) / 765 < 0.2


def test_readers_who_ask_for_less_motion_get_none(new_page, site):
    page = new_page(reduced_motion="reduce")
    for name in NAMES:
        widget = open_widget(page, site, name)
        widget.click("Throw 100 darts" if name == "dart-board" else "Draw 100")
        moving = "e => e.getAnimations({ subtree: true }).length"
        assert widget.root.evaluate(moving) == 0
        transitions = "e => [...e.querySelectorAll('*')].filter(n => getComputedStyle(n).transitionDuration.split(', ').some(d => d !== '0s')).length"  # noqa: E501
        assert widget.root.evaluate(transitions) == 0
        assert widget.text("thrown" if name == "dart-board" else "n") == ("100" if name == "dart-board" else "200")


@pytest.mark.parametrize("name", NAMES)
def test_every_control_has_a_name(page, site, name):
    widget = open_widget(page, site, name)
    controls = "button, input, [tabindex], [role='img'], [role='group'], [role='slider']"
    nameless = widget.root.evaluate(f"""root => [...root.querySelectorAll("{controls}")].filter(
      e => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim())
    ).map(e => e.outerHTML)""")
    assert nameless == []
    assert widget.root.get_attribute("aria-label")
    assert widget.root.locator("canvas:not([aria-hidden='true'])").count() == 0, "what a canvas shows is said elsewhere"
    colours = widget.root.locator(".gt-recent").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert all(re.fullmatch(r"Last draws, newest last: (red|blue)(, (red|blue)){19}", text) for text in colours)


def test_red_and_blue_differ_without_colour(urn):
    marks = [urn.root.locator(f".gt-ball-{c} .gt-mark").first.evaluate("e => e.tagName") for c in ("red", "blue")]
    assert marks == ["circle", "path"]
