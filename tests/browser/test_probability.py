"""The probability chapter's widgets on the built page (book/probability.html): mouse, keys, finger, against Python."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from gentut import probability
from tests.browser.hands import Widget, ink

DARTS = probability.DARTS


class Board(Widget):
    """The dart board: a map, two side charts, and the numbers under them."""

    path, name = "book/probability.html", "dart-board"

    def on_map(self, x, y):
        """Page coordinates of a point of the map."""
        return self.at(self.part("heat"), (x + 2.5) / 5, (2.5 - y) / 5)


class Urn(Widget):
    """The urn: balls, draws, and how likely each share of red makes them."""

    path, name = "book/probability.html", "urn"


BOTH = [Board, Urn]
both = pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.name)


@pytest.fixture
def board(open_widget):
    return open_widget(Board)


@pytest.fixture
def urn(open_widget):
    return open_widget(Urn)


# ------------------------------------------------------------------------------------------------------------ DartBoard


def check_board(board, x=None, y=None, axis=None, off=0.03):
    """All numbers are Python's at the cross, and those written out are the same ones."""
    now = board.data()
    at = now.number("x"), now.number("y")
    if x is not None:
        assert at == pytest.approx((x, y), abs=off)
    assert axis is None or now["axis"] == axis
    x, y = torch.tensor(at, dtype=torch.float64)
    want = {
        "joint": DARTS.joint(x, y),
        "px": DARTS.marginal("x", x),
        "py": DARTS.marginal("y", y),
        "py-given-x": DARTS.conditional("y", y, x),
        "px-given-y": DARTS.conditional("x", x, y),
    }
    for name, value in want.items():
        assert now.number(name) == pytest.approx(value.item(), rel=1e-9), name
    shown = board.words("facts")
    joint, px, py, py_x, px_y = (v.item() for v in want.values())
    if min(want.values()) > 0.001:
        for v in (joint, px, py, py_x, px_y):
            assert f"{v:.4f}" in shown
        assert re.findall(r"\d\.\d{4}", board.part("bayes").inner_text()) == [f"{v:.4f}" for v in (px_y, py_x, px, py)]
    assert px_y == pytest.approx(py_x * px / py)
    return at


def curve(board, side, kind):
    """A curve of a side chart as [(position, density), ...] in the units of its axes."""
    path, width, height = board.node.evaluate("""(e, [side, kind]) => {
      const chart = e.querySelector(`.gt-${side} svg`), box = chart.getBoundingClientRect();
      return [chart.querySelector(`path.gt-curve.gt-${kind}`).getAttribute("d"), box.width, box.height];
    }""", [side, kind])
    points = np.array([[float(v) for v in p.split()] for p in re.findall(r"[ML]([^ML]+)", path or "")])
    if not len(points):
        return None
    left, right, top, bottom = {"above": (26, 8, 8, 6), "side": (8, 6, 8, 24)}[side]
    across = (points[:, 0] - left) / (width - left - right)
    up = (height - bottom - points[:, 1]) / (height - top - bottom)
    return (across * 5 - 2.5, up) if side == "above" else (up * 5 - 2.5, across)


def check_curves(board):
    """The drawn marginals and the conditional have the shapes of Python's, all on one scale."""
    now = board.data()
    axis = now["axis"]
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
            density = DARTS.conditional(other, torch.tensor(q[0]), now.number(axis)).numpy()
            np.testing.assert_allclose(q[1], density * scales[-1], atol=0.01)
    assert scales[0] == pytest.approx(scales[1], rel=0.02)


def test_the_board_starts_with_pythons_numbers_and_curves(board):
    check_board(board, -0.6, -0.5, "x", off=0)
    check_curves(board)


def test_the_heat_map_is_the_joint_density(board):
    shown = ink(board.part("heat"))
    assert shown.shape == (161, 161) and shown.max() > 120 / 255
    axis = torch.linspace(-2.5, 2.5, 161, dtype=torch.float64)
    density = DARTS.joint(axis[None, :], axis.flip(0)[:, None]).numpy()
    np.testing.assert_allclose(shown / shown.max(), density / density.max(), atol=0.01)


def test_the_mouse_moves_cross_and_slice(board):
    board.drag(board.on_map(-0.6, -0.5), board.on_map(0.9, 0.7))  # the cross
    check_board(board, 0.9, 0.7, "x")
    check_curves(board)
    board.page.mouse.click(*board.on_map(-1.2, 1.0))  # anywhere on the map
    board.settle()
    check_board(board, -1.2, 1.0)
    start = board.at("Slice, x given")
    y = board.number("y")
    board.drag(start, (board.on_map(0.3, 0)[0], start[1] - 40))
    check_board(board, 0.3, y)
    assert board.number("y") == y, "the grip moves the slice alone"
    board.drag(board.on_map(0.3, y), (5, board.on_map(0, 0)[1]))
    assert board.number("x") == -2.5, "the map's edge holds the cross"
    check_board(board)


def test_the_slice_can_lie_the_other_way(board):
    board.choose("y")
    check_board(board, -0.6, -0.5, "y")
    check_curves(board)
    assert not board.root.get_by_role("slider", name="Slice, x given").is_visible()
    grip = board.root.get_by_role("slider", name="Slice, y given")
    board.keys(grip, "ArrowUp", "ArrowUp", "PageUp")
    check_board(board, -0.6, 0.1, "y", off=1e-9)
    check_curves(board)
    assert "conditional p(x | y = 0.10)" in board.part("legend-row").inner_text()
    board.keys(board.root.get_by_role("radio", name="y", exact=True), "ArrowLeft")
    check_board(board, axis="x")


def test_keys_move_the_cross_and_the_page_says_where(board):
    cross = board.root.get_by_role("slider", name="Point (x, y)")
    board.keys(cross, "ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft")
    check_board(board, -0.6 + 0.1 - 0.5, -0.45, off=1e-9)
    assert cross.get_attribute("aria-valuetext") == "x \u22121.00, y \u22120.45"
    said = board.said("x −1.00, y −0.45")
    assert re.match(r"x −1\.00, y −0\.45: joint 0\.\d{3}, p of y given x", said)
    board.keys(cross, "End")
    check_board(board, 2.5, -0.45, off=1e-9)  # far out, where the joint is tiny


def test_darts_fall_where_the_density_says(board):
    assert board.text("thrown") == "0" and board.root.get_by_role("button", name="Clear").is_disabled()
    empty = board.part("darts").screenshot()
    board.keys(board.root.get_by_role("button", name="Throw 100 darts"), *["Enter"] * 10)
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
        now = board.data()
        at = now.number(name)
        low, high = DARTS.marginal_cdf(name, torch.tensor([at - 0.1, at + 0.1], dtype=torch.float64)).tolist()
        share = high - low
        assert stats.binomtest(int(now["inside"]), 1000, share).pvalue > 1e-3
        assert share == pytest.approx(0.2 * now.number(key), rel=0.05)
        assert f"1000 darts, {now['inside']} in the strip {name} = " in board.part("tally").inner_text()
    first = board.text("mean")
    board.click("Clear")
    assert board.text("thrown") == "0" and board.part("tally").inner_text() == ""
    board.keys(board.root.get_by_role("button", name="Throw 100 darts"), *["Enter"] * 10)
    assert board.text("mean") != first, "after clearing, other darts"


def test_a_pointer_move_is_drawn_within_a_frame(board):
    board.keys(board.root.get_by_role("button", name="Throw 100 darts"), *["Enter"] * 10)
    assert board.drag_slowly(board.on_map(-1, -0.8), 4, -3) <= 16


def test_a_finger_moves_the_cross_and_the_page_stays(open_widget):
    board = open_widget(Board, "phone")
    board.touch(board.on_map(-0.6, -0.5), board.on_map(0, 0), board.on_map(0.8, 0.5))
    check_board(board, 0.8, 0.5, off=0.06)
    board.touch(board.on_map(-1.5, 1))
    check_board(board, -1.5, 1, off=0.06)
    board.part("throw").tap()
    board.settle()
    assert board.text("thrown") == "100"


# ------------------------------------------------------------------------------------------------------------------ Urn


def check_urn(urn, red=None, blue=None):
    """Numbers and words on the page against Python's, for draws that were put back; returns the page's numbers."""
    now = urn.data()
    r, b = int(now["red"]), int(now["blue"])
    assert red is None or (r, b) == (red, blue)
    assert now["n"] == str(r + b)
    facts = urn.words("facts")
    want = probability.log_likelihood(now.number("guess"), r, b).item()
    assert now.number("log-likelihood-guess") == pytest.approx(want, rel=1e-12)
    low, high = now.number("low"), now.number("high")
    if r + b == 0:
        assert now["theta-hat"] == "NaN" and (low, high) == (0, 1)
        return now
    hat = probability.maximum_likelihood(r, b)
    top = probability.log_likelihood(hat, r, b).item()
    assert now.number("theta-hat") == hat
    assert now.number("log-likelihood") == pytest.approx(top, rel=1e-12)
    for at, edge in ((low, 0), (high, 1)):
        if at != edge:
            assert probability.log_likelihood(at, r, b).item() == pytest.approx(top - 2, abs=1e-8)
    assert low <= hat <= high
    assert f"{hat:.3f}" in facts and f"{top:.3f} nats" in facts
    assert f"{low:.3f} to {high:.3f}" in facts
    return now


def test_the_urn_starts_with_the_notes_draws(urn):
    now = check_urn(urn, 30, 70)
    assert now.number("theta-hat") == 0.3 and now.number("theta") == 0.3
    assert urn.root.get_by_label("red balls drawn").input_value() == "30"
    assert "The true θ = 0.3 is inside" in urn.part("verdict").inner_text()
    assert len(now["draws"]) == urn.part("recent").locator(".gt-ball").count() == 20
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
    now = check_urn(urn)
    assert now["n"] == str(100 + n)
    assert now["draws"][-1] in "rb" and (n > 19 or now["draws"][: 20 - n] == before[n:])
    urn.keys(button, "Enter")
    now = check_urn(urn)
    assert now["n"] == str(100 + 2 * n)
    urn.said(f"{100 + 2 * n} draws, {now['red']} red")


def test_the_estimate_settles_at_the_true_share(urn):
    urn.click("Start over")
    check_urn(urn, 0, 0)
    assert "every θ is as good as another" in urn.part("verdict").inner_text()
    urn.click("Draw 1")
    check_urn(urn)
    widths = []
    for _ in range(20):
        urn.click("Draw 100")
        now = urn.data()
        widths.append(now.number("high") - now.number("low"))
    check_urn(urn)
    assert stats.binomtest(int(now["red"]), int(now["n"]), 0.3).pvalue > 1e-3
    assert widths[-1] == pytest.approx(widths[0] * math.sqrt(101 / 2001), rel=0.2)
    assert urn.part("in-history").locator("text.gt-tick", has_text="10\u2009000").count() == 1


def test_the_counts_can_be_set(urn):
    red, blue = urn.root.get_by_label("red balls drawn"), urn.root.get_by_label("blue balls drawn")
    red.fill("5")
    blue.fill("0")
    urn.settle()
    check_urn(urn, 5, 0)
    assert urn.number("high") == 1
    urn.keys(red, "ArrowUp")
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
    urn.keys(fill, "End")
    assert urn.number("theta") == 1
    check_urn(urn, 100, 0)
    urn.keys(fill, "ArrowLeft", "ArrowLeft")
    assert urn.number("theta") == 0.8
    check_urn(urn)
    assert urn.text("n") == "100"
    assert stats.binomtest(int(urn.text("red")), 100, 0.8).pvalue > 1e-3
    assert urn.part("caption").inner_text() == "10 balls: 8 red, 2 blue"


def test_a_share_can_be_tried(urn):
    knob = urn.root.get_by_role("slider", name="A share to try")
    urn.keys(knob, "ArrowRight", "ArrowRight", "PageUp")
    assert urn.number("guess") == pytest.approx(0.52)
    check_urn(urn)
    start = urn.at("A share to try")
    chart = urn.part("in-likely").locator("svg").bounding_box()
    urn.drag(start, (chart["x"] + 34 + 0.7 * (chart["width"] - 48), start[1] - 10))
    assert urn.number("guess") == pytest.approx(0.7, abs=0.01)
    check_urn(urn)
    urn.keys(knob, "Home")
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
    assert urn.part("caption").inner_text().startswith(f"10 balls: {round(10 * urn.number('theta'))} red")
    assert stats.binomtest(int(urn.text("red")), 100, urn.number("theta")).pvalue > 1e-3


def test_kept_out_balls_end_independence_and_the_guessing(urn):
    urn.choose("keep it out")
    assert (urn.text("n"), urn.text("left")) == ("0", "10")
    assert urn.root.get_by_role("button", name="Draw 100", exact=True).is_disabled()
    for n in range(1, 11):
        urn.click("Draw 1")
        now = urn.data()
        red, blue = int(now["red"]), int(now["blue"])
        assert red + blue == n and now["left"] == str(10 - n)
        assert urn.part("vessel + g .gt-ball-out").count() == n
        exact = np.array([math.perm(k, red) * math.perm(10 - k, blue) for k in range(11)]) / math.perm(10, n)
        columns = np.array(now.numbers("columns"))
        np.testing.assert_allclose(columns, exact / exact.max(), rtol=1e-9, atol=1e-12)
        assert math.exp(now.number("log-likelihood")) == pytest.approx(exact.max())
        assert now.number("best") == exact.argmax() / 10
        near = [k / 10 for k in range(11) if exact[k] >= exact.max() * math.exp(-2)]
        assert (now.number("low"), now.number("high")) == (near[0], near[-1])
        verdict = urn.part("verdict").inner_text()
        if n < 10:
            assert "no longer i.i.d." in verdict and f"red with probability {3 - red}/{10 - n}" in verdict
    assert (red, blue) == (3, 7) and now.number("theta-hat") == 0.3 and columns.sum() == 1
    assert "θ̂ = 3/10 is the true share" in verdict
    low, high = now.number("iid-low"), now.number("iid-high")
    assert low < 0.1 and high > 0.6, "taken for i.i.d., the draws say less"
    assert f"{low:.2f} to {high:.2f}" in verdict
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


def test_a_finger_draws_and_tries(open_widget):
    urn = open_widget(Urn, "phone")
    urn.part("draw-10").tap()
    urn.settle()
    assert check_urn(urn)["n"] == "110"
    x, y = urn.at("A share to try")
    urn.touch((x, y), (x + 30, y), (x + 60, y - 20))
    width = urn.part("in-likely").locator("svg").bounding_box()["width"]
    assert urn.number("guess") == pytest.approx(0.4 + 60 / (width - 48), abs=0.02)
    check_urn(urn)
    urn.part("options label:last-child").tap()
    urn.settle()
    assert urn.text("replacement") == "false"


# ----------------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("device", ["desktop", "phone"])
@both
def test_nothing_sticks_out_and_no_words_overlap(open_widget, kind, device):
    widget = open_widget(kind, device)
    assert widget.sticks_out(but=".gt-handle") == []
    if kind is Board:
        widget.click("Throw 100 darts")
    words = "text, p, dt, dd, button, label, output, .gt-swatch, .gt-equation, .gt-tally"
    assert widget.overlaps(words, but=".gt-urn-picture") == []


@both
def test_the_theme_changes_colours_and_never_values(open_widget, kind):
    widget = open_widget(kind)
    looks, values = [], []
    inked = "canvas.gt-heat" if kind is Board else ".gt-ball-red circle"
    for theme in widget.in_both_themes():
        ground, words = widget.board()
        assert (ground > 0.9 and words < 0.3) if theme == "light" else (ground < 0.2 and words > 0.9)
        picture = widget.root.locator(inked).first.evaluate("""e => e.getContext
          ? [...e.getContext("2d").getImageData(52, 100, 1, 1).data].join() : getComputedStyle(e).fill""")
        looks.append([ground, words, *widget.colours((".gt-curve", "stroke")), picture])
        values.append({name: text for name, text in widget.data().items() if name != "ms"})
    assert values[0] == values[1]
    assert all(a != b for a, b in zip(*looks, strict=True)), looks


def test_a_dark_system_gives_dark_widgets(open_widget):
    for kind in BOTH:
        assert open_widget(kind, theme="dark").board()[0] < 0.2


def test_readers_who_ask_for_less_motion_get_none(open_widget):
    for kind in BOTH:
        widget = open_widget(kind, motion="reduce")
        widget.click("Throw 100 darts" if kind is Board else "Draw 100")
        assert widget.node.evaluate("e => e.getAnimations({ subtree: true }).length") == 0
        transitions = "e => [...e.querySelectorAll('*')].filter(n => getComputedStyle(n).transitionDuration.split(', ').some(d => d !== '0s')).length"  # noqa: E501
        assert widget.node.evaluate(transitions) == 0
        assert widget.text("thrown" if kind is Board else "n") == ("100" if kind is Board else "200")


@both
def test_every_control_has_a_name(open_widget, kind):
    widget = open_widget(kind)
    assert widget.nameless() == []
    assert widget.root.get_attribute("aria-label")
    assert widget.root.locator("canvas:not([aria-hidden='true'])").count() == 0, "what a canvas shows is said elsewhere"
    colours = widget.root.locator(".gt-recent").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert all(re.fullmatch(r"Last draws, newest last: (red|blue)(, (red|blue)){19}", text) for text in colours)


def test_red_and_blue_differ_without_colour(urn):
    marks = [urn.root.locator(f".gt-ball-{c} .gt-mark").first.evaluate("e => e.tagName") for c in ("red", "blue")]
    assert marks == ["circle", "path"]
