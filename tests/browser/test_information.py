"""The information chapter's widgets on the built page (book/information.html): mouse, keys, touch, against Python."""

import math
import re

import pytest
import torch

from gentut import information
from gentut.widgets import InformationBars, KLNormals

NAMES = ["information-bars", "kl-normals"]
BARS = {
    "A fair coin, guessed right": ([0.5, 0.5], [0.5, 0.5]),
    "A coin with p = (0.2, 0.8), taken for fair": ([0.2, 0.8], [0.5, 0.5]),
    "A fair coin, the guess q = (0.2, 0.8)": ([0.5, 0.5], [0.2, 0.8]),
    "A fair coin, the guess q = (0.4, 0.6)": ([0.5, 0.5], [0.4, 0.6]),
    "A fair coin, the guess q = (1, 0)": ([0.5, 0.5], [1, 0]),
    "A fair die, taken for a loaded one": ([1 / 6] * 6, [0.1] * 5 + [0.5]),
}
NORMALS = ["Same means", "Same widths", "q too narrow", "q too wide", "q = N(0, 1)"]
# Pairs of words in one chart whose boxes overlap.
OVERLAPS = """root => [...root.querySelectorAll(".gt-plot")].flatMap(plot => {
  const all = [...plot.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]).filter(([, b]) => b.width);
  return all.flatMap(([one, a], i) => all.slice(i + 1).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2).map(([other]) => [one, other]));
})"""  # noqa: E501
# What reaches out of the widget, or out of its own cell.
STICKS_OUT = """root => [...root.querySelectorAll("*")].filter(e => {
  const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
  return box.width && !e.closest(".gt-hidden, .gt-reach, defs, [clip-path]") && (box.right > own.right + 1 || box.left < own.left - 1);
}).map(e => e.outerHTML.slice(0, 80))"""  # noqa: E501


class Widget:
    """A widget on a page: its root, its handles, and what it shows."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def data(self, name):
        """An attribute data-NAME of the root as numbers."""
        return [float(v) for v in (self.root.get_attribute(f"data-{name}") or "").split()]

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def handle(self, name):
        return self.root.get_by_role("slider", name=name, exact=True)

    def at(self, name):
        """Page coordinates of a handle's centre; scrolls it into view."""
        self.handle(name).scroll_into_view_if_needed()
        box = self.handle(name).locator(".gt-knob").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, name, *ways):
        """Drag a handle with the mouse by (dx, dy) pixels, several times without letting go."""
        x, y = self.at(name)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for dx, dy in ways:
            x, y = x + dx, y + dy
            self.page.mouse.move(x, y, steps=5)
            self.settle()
        self.page.mouse.up()
        self.settle()

    def keys(self, name, *keys):
        self.handle(name).focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def press(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def cells(self, table):
        """The table's body as lists of text, true minus signs made ASCII."""
        rows = self.root.locator(f"{table} tbody tr").all()
        return [[c.inner_text().replace("\u2212", "-") for c in row.locator("td").all()] for row in rows]


def open_widget(page, site, name):
    page.goto(f"{site.url}/book/information.html")
    root = page.locator(f".gentut-{name}").first
    root.scroll_into_view_if_needed()
    page.wait_for_selector(f".gentut-{name}[data-ready='1']")
    return Widget(page, root)


@pytest.fixture
def bars(page, site):
    return open_widget(page, site, "information-bars")


@pytest.fixture
def normals(page, site):
    return open_widget(page, site, "kl-normals")


def touch(page, *points):
    """A finger: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, (x, y) in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def shown(text):
    """A number as the page writes it."""
    return math.inf if text == "\u221e" else float(text)


# ------------------------------------------------------------------------------------------------------ InformationBars


def check_bars(bars, p=None, q=None):
    """Everything on the page, attributes and words alike, is gentut.information of the bars."""
    now = {which: torch.tensor(bars.data(which), dtype=torch.float64) for which in "pq"}
    for which, want in (("p", p), ("q", q)):
        if want is not None:
            assert now[which].tolist() == pytest.approx(want, abs=1e-12)
    p, q = now["p"], now["q"]
    for unit, base in (("nats", math.e), ("bits", 2)):
        for which, values in now.items():
            want = information.information(values, base=base).tolist()
            assert bars.data(f"{which}-information-{unit}") == pytest.approx(want, rel=1e-12)
        entropies = [information.entropy(p, base=base), information.entropy(q, base=base)]
        crossed = [information.cross_entropy(p, q, base=base), information.kl(p, q, base=base)]
        want = [v.item() for v in (*entropies, *crossed, information.kl(q, p, base=base))]
        assert bars.data(unit) == pytest.approx(want, rel=1e-12, abs=1e-14)
        column = [shown(row[0 if unit == "bits" else 1]) for row in bars.cells(".gt-totals")]
        assert column == pytest.approx(bars.data(unit), abs=5.1e-4)
    rows = bars.cells(".gt-told")
    assert len(rows) == len(p)
    for i, row in enumerate(rows):
        want = [
            bars.data(name)[i]
            for which in "pq"
            for name in (which, f"{which}-information-bits", f"{which}-information-nats")
        ]
        assert [shown(text) for text in row] == pytest.approx(want, abs=5.1e-4)
    return bars.data("bits")


def lengths(bars):
    """Pixels of the stacked bar: H(p), D(p || q), and the bracket over both."""
    parts = [bars.root.locator(f".gt-{name}") for name in ("known", "wasted", "bracket")]
    return [part.bounding_box()["width"] if part.count() else 0 for part in parts]


def test_the_bars_begin_with_the_notes_coin(bars):
    made = InformationBars()
    bits = check_bars(bars, made.p, made.q)
    assert round(bits[2], 2) == 1.32
    assert bars.handle("p of heads").get_attribute("aria-valuetext") == "0.500"


@pytest.mark.parametrize("name", BARS)
def test_every_example_of_bars(bars, name):
    bars.press(name)
    p, q = BARS[name]
    bits = check_bars(bars, p, q)
    known, wasted, all_ = lengths(bars)
    if math.isfinite(bits[2]):
        assert known + wasted == pytest.approx(all_, abs=2.5)
        assert wasted / known == pytest.approx(bits[3] / bits[0], abs=0.02)
    else:
        assert wasted > 50
        assert "D(p \u2016 q) is infinite: q gives tails probability 0, and p allows it." in bars.root.inner_text()
    assert len(bars.root.get_by_role("slider").all()) == 2 * len(p)


def test_a_bar_follows_the_mouse(bars):
    before = bars.data("p")
    bars.drag("p of heads", (3, -30))
    p = bars.data("p")
    assert 0.6 < p[0] < 0.9 and p[0] == pytest.approx(round(p[0], 2)) and bars.data("q") == [0.2, 0.8]
    check_bars(bars, p)
    height = bars.at("p of heads")[1] - bars.at("p of tails")[1]
    bars.drag("p of heads", (0, 30))
    assert bars.data("p") == pytest.approx(before, abs=0.02)
    assert height < -30  # the other bar went down as this one went up


def test_bars_reach_exactly_0_and_1(bars):
    bars.drag("q of tails", (0, -300))
    assert bars.data("q") == [0, 1]
    check_bars(bars)
    assert "q gives heads probability 0" in bars.root.inner_text()
    bars.drag("q of tails", (0, 500))
    assert bars.data("q") == [1, 0]
    assert bars.data("bits")[3] == math.inf
    bars.drag("p of tails", (0, 500))
    bits = check_bars(bars, [1, 0], [1, 0])
    assert bits == [0, 0, 0, 0, 0]
    assert "nothing is wasted" in bars.root.inner_text()


def test_a_bar_pushed_to_1_and_back_leaves_the_others_in_proportion(bars):
    bars.press("A fair die, taken for a loaded one")
    bars.drag("q of 1", (0, -300), (0, 300), (0, -60))
    q = bars.data("q")
    assert 0.1 < q[0] < 0.9 and q[5] / q[1] == pytest.approx(5) and sum(q) == pytest.approx(1, abs=1e-12)
    check_bars(bars, BARS["A fair die, taken for a loaded one"][0])


def test_bars_by_keys(bars):
    bars.keys("p of heads", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowUp")
    check_bars(bars, [0.52, 0.48])
    bars.keys("q of tails", "PageDown", "Shift+ArrowDown", "ArrowLeft", "ArrowRight")
    check_bars(bars, [0.52, 0.48], [0.4, 0.6])
    bars.keys("q of heads", "Home")
    check_bars(bars, None, [0, 1])
    assert bars.handle("q of heads").get_attribute("aria-valuetext") == "0.000"
    bars.keys("q of heads", "End")
    check_bars(bars, None, [1, 0])
    bars.keys("q of heads", *["ArrowDown"] * 3)
    check_bars(bars, None, [0.97, 0.03])


def test_outcomes_are_added_and_removed(bars):
    for n in range(3, 7):
        bars.press("Add an outcome")
        p = bars.data("p")
        assert len(p) == len(bars.data("q")) == n and p[-1] == pytest.approx(1 / n) and p[0] == pytest.approx(p[1])
        assert bars.handle(f"q of {'ABCDEF'[n - 1]}").count() == 1
        check_bars(bars)
    assert bars.root.get_by_role("button", name="Add an outcome").is_disabled()
    for _ in range(4):
        bars.press("Remove the last")
    check_bars(bars, [0.5, 0.5], [0.2, 0.8])
    assert bars.root.get_by_role("button", name="Remove the last").is_disabled()


@pytest.mark.parametrize("example", ["A fair coin, the guess q = (0.2, 0.8)", "A fair die, taken for a loaded one"])
def test_a_finger_moves_a_bar(phone, site, example):
    bars = open_widget(phone, site, "information-bars")
    bars.press(example)
    name = "p of heads" if "coin" in example else "p of 3"
    x, y = bars.at(name)
    q, top = bars.data("q"), phone.evaluate("document.scrollingElement.scrollTop")
    touch(phone, (x, y), (x, y - 20), (x + 2, y - 40))
    bars.settle()
    p = bars.data("p")
    assert max(p) == p[0 if "coin" in example else 2] > 0.4 and bars.data("q") == q
    assert phone.evaluate("document.scrollingElement.scrollTop") == top, "the page must not scroll under the finger"
    check_bars(bars)


def test_what_the_bars_say_to_a_screen_reader(bars):
    bars.keys("q of heads", "ArrowUp")
    live = bars.root.locator("[aria-live]").element_handle()
    bars.page.wait_for_function("e => e.textContent.includes('divergence')", arg=live)
    want = information.kl([0.5, 0.5], [0.21, 0.79], base=2).item()
    assert f"divergence {want:.3f} bits" in live.text_content()
    label = bars.root.locator(".gt-plot").nth(1).get_attribute("aria-label")
    assert "H(p), 1.000 bits" in label and f"{want:.3f} bits" in label


# ------------------------------------------------------------------------------------------------------------ KLNormals


def check_normals(normals, p=None, q=None, direction="forward"):
    """Both divergences, the area under the curve and what is written of them."""
    now = {which: normals.data(which) for which in "pq"}
    for which, want in (("p", p), ("q", q)):
        if want is not None:
            assert now[which] == pytest.approx(want, abs=1e-12)
    p, q = now["p"], now["q"]
    nats = [information.kl_normals(*p, *q).item(), information.kl_normals(*q, *p).item()]
    assert normals.data("nats") == pytest.approx(nats, rel=1e-12, abs=1e-15)
    bits = [information.kl_normals(*p, *q, base=2).item(), information.kl_normals(*q, *p, base=2).item()]
    assert normals.data("bits") == pytest.approx(bits, rel=1e-12, abs=1e-15)
    rows = normals.cells(".gt-table")
    if max(bits) < 1e5 and all(v == 0 or v >= 1e-4 for v in nats):
        assert [[float(v) for v in row] for row in rows] == [
            pytest.approx(pair, abs=5.1e-4) for pair in zip(nats, bits, strict=True)
        ]
    want = nats[direction == "reverse"]
    assert normals.root.get_attribute("data-direction") == direction
    assert normals.data("area") == pytest.approx([want], rel=1e-9, abs=1e-12)
    assert normals.data("positive")[0] - normals.data("negative")[0] == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert f"the closed form says {want:.3f}" in normals.root.inner_text()
    if q == [0, 1]:
        assert normals.data("standard") == pytest.approx([information.kl_normal(*p).item()], rel=1e-12)
        assert "as in a VAE" in normals.root.inner_text()
    else:
        assert not normals.data("standard") and "VAE" not in normals.root.inner_text()
    return nats


def test_the_normals_begin_as_python_made_them(normals):
    made = KLNormals()
    nats = check_normals(normals, made.p, made.q)
    assert nats[0] != pytest.approx(nats[1], rel=0.1)


@pytest.mark.parametrize("name", NORMALS)
def test_every_example_of_normals(normals, name):
    normals.press(name)
    there, back = check_normals(normals)
    (m, s), (n, t) = normals.data("p"), normals.data("q")
    said = {
        "Same means": m == n and s != t,
        "Same widths": s == t and there == pytest.approx(back) and there > 1,
        "q too narrow": t < s and there > 3 * back,
        "q too wide": t > s and there < back,
        "q = N(0, 1)": (n, t) == (0, 1) and there > 0.1,
    }
    assert said[name]
    normals.root.get_by_role("radio", name="q log(q / p)").check(force=True)
    normals.settle()
    check_normals(normals, direction="reverse")


def test_means_and_widths_follow_the_mouse(normals):
    x = {name: normals.at(name)[0] for name in ("mean of p", "width sigma of p")}
    unit = x["width sigma of p"] - x["mean of p"]  # pixels of 1
    normals.drag("mean of q", (-unit, 10))
    check_normals(normals, (0, 1))
    assert normals.data("q") == pytest.approx([0.5, 0.7], abs=0.02)
    normals.drag("width sigma of q", (0.8 * unit, 0))
    assert normals.data("q") == pytest.approx([0.5, 1.5], abs=0.02)
    check_normals(normals, (0, 1))
    normals.drag("mean of p", (-2 * unit, 0))
    normals.drag("width sigma of p", (unit, -5))
    assert normals.data("p") == pytest.approx([-2, 2], abs=0.03)
    check_normals(normals)


def test_a_width_stays_positive_and_a_mean_on_the_chart(normals):
    normals.drag("width sigma of p", (-600, 0))
    check_normals(normals, (0, 0.1), (1.5, 0.7))
    normals.drag("width sigma of p", (900, 0))
    check_normals(normals, (0, 4), (1.5, 0.7))
    normals.drag("mean of p", (900, 0))
    check_normals(normals, (3, 4), (1.5, 0.7))
    board = normals.root.locator(".gt-plot").first.bounding_box()
    assert normals.at("width sigma of p")[0] < board["x"] + board["width"]
    normals.drag("mean of q", (-900, 0))
    check_normals(normals, (3, 4), (-3, 0.7))


def test_normals_by_keys(normals):
    normals.keys("mean of p", "ArrowRight", "ArrowRight", "ArrowLeft", "PageDown")
    check_normals(normals, (-0.9, 1), (1.5, 0.7))
    normals.keys("width sigma of q", "ArrowUp", "ArrowUp", "ArrowDown", "Shift+ArrowRight")
    check_normals(normals, (-0.9, 1), (1.5, 1.25))
    normals.keys("width sigma of q", "Home")
    check_normals(normals, (-0.9, 1), (1.5, 0.1))
    grip = normals.handle("width sigma of q")
    read = [grip.get_attribute(f"aria-value{name}") for name in ("min", "max", "now", "text")]
    assert read == ["0.1", "4", "0.1", "0.10"]
    normals.keys("width sigma of q", "End")
    check_normals(normals, (-0.9, 1), (1.5, 4))


def test_handles_of_equal_densities_can_both_be_taken(normals):
    normals.keys("mean of q", "Home", *["ArrowRight"] * 30)
    normals.keys("width sigma of q", "Home", *["ArrowRight"] * 18)
    nats = check_normals(normals, (0, 1), (0, 1))
    assert nats == [0, 0]
    for part in ("mean of", "width sigma of"):
        (x, y), (u, v) = (normals.at(f"{part} {which}") for which in "pq")
        assert math.hypot(x - u, y - v) >= 18, "one handle hides the other"
    for which in "pq":
        normals.drag(f"mean of {which}", (-60, 0))
        assert normals.data(which)[0] < -0.5
        normals.drag(f"width sigma of {which}", (40, 0))
        assert normals.data(which)[1] > 1.5
    check_normals(normals)


def test_the_surfaces_are_the_parts_of_the_integrand(normals):
    """Plus above the axis in the larger density's colour, minus below it and hatched, each as large as it should be."""
    area = """path => {
      const at = (path.getAttribute("d").match(/-?[\\d.]+ -?[\\d.]+/g) || []).map(pair => pair.split(" ").map(Number));
      let sum = 0;
      at.forEach(([x, y], i) => { const [u, v] = at[(i + 1) % at.length]; sum += x * v - u * y; });
      return Math.abs(sum) / 2;
    }"""
    for direction, plus, minus in (("forward", "p", "q"), ("reverse", "q", "p")):
        if direction == "reverse":
            normals.root.get_by_role("radio", name="q log(q / p)").check(force=True)
            normals.settle()
        check_normals(normals, direction=direction)
        above, below = normals.root.locator(f".gt-plus.gt-{plus}"), normals.root.locator(f".gt-minus.gt-{minus}")
        ratio = below.evaluate(area) / above.evaluate(area)
        assert ratio == pytest.approx(normals.data("negative")[0] / normals.data("positive")[0], rel=0.02)
        assert above.bounding_box()["y"] < below.bounding_box()["y"] - 20
        assert "url(" in below.evaluate("e => getComputedStyle(e).fill")
        assert "url(" not in above.evaluate("e => getComputedStyle(e).fill")
        for other in (f".gt-plus.gt-{minus}", f".gt-minus.gt-{plus}"):
            assert not normals.root.locator(other).get_attribute("d")
        assert "+" in normals.root.locator(".gt-sign").all_text_contents()


def test_a_finger_moves_a_density(phone, site):
    normals = open_widget(phone, site, "kl-normals")
    for name, which, index in (("mean of q", "q", 0), ("width sigma of p", "p", 1)):
        x, y = normals.at(name)
        before, top = normals.data(which)[index], phone.evaluate("document.scrollingElement.scrollTop")
        touch(phone, (x, y), (x + 10, y + 15), (x + 20, y + 40))
        normals.settle()
        assert normals.data(which)[index] == pytest.approx(before + 1, abs=0.3)
        assert phone.evaluate("document.scrollingElement.scrollTop") == top, "the page must not scroll under the finger"
    check_normals(normals)


def test_what_the_normals_say_to_a_screen_reader(normals):
    normals.keys("mean of q", "ArrowLeft")
    live = normals.root.locator("[aria-live]").element_handle()
    normals.page.wait_for_function("e => e.textContent.includes('nats')", arg=live)
    want = information.kl_normals(0, 1, 1.4, 0.7).item()
    assert f"D of p from q {want:.3f} nats" in live.text_content()
    label = normals.root.locator(".gt-plot").nth(1).get_attribute("aria-label")
    assert "p log(p / q)" in label and f"{normals.data('positive')[0]:.3f} above" in label


# ----------------------------------------------------------------------------------------------------------------- both


def states(widget, name):
    """Bring the widget into several states, one after the other."""
    yield "at first"
    for label in BARS if name == "information-bars" else NORMALS:
        widget.press(label)
        yield label
    if name == "information-bars":
        widget.press("A fair coin, guessed right")
        widget.keys("p of heads", "End")
        yield "p = (1, 0)"
        widget.keys("q of tails", "End")
        yield "q = (0, 1)"
        widget.keys("p of tails", "ArrowUp")
        yield "p = (0.99, 0.01)"
        for _ in range(4):
            widget.press("Add an outcome")
        yield "six outcomes"
    else:
        widget.keys("width sigma of p", "Home")
        yield "p as narrow as can be"
        widget.keys("width sigma of q", "End")
        yield "q as wide as can be"
        widget.keys("mean of q", "End")
        widget.keys("mean of p", "Home")
        yield "far apart"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_nothing_overlaps_or_sticks_out(new_page, site, device, name):
    widget = open_widget(new_page(device), site, name)
    for state in states(widget, name):
        assert widget.root.evaluate(OVERLAPS) == [], state
        assert widget.root.evaluate(STICKS_OUT) == [], state
    if device == "phone":
        assert widget.root.bounding_box()["width"] <= 390
        assert widget.page.evaluate("document.scrollingElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [320, 600, 660, 720, 800])
def test_tables_keep_apart_at_every_width(new_page, site, width):
    bars = open_widget(new_page(viewport={"width": width, "height": 900}), site, "information-bars")
    bars.press("A fair coin, the guess q = (1, 0)")
    boxes = [bars.root.locator(f".gt-{name}").bounding_box() for name in ("told", "totals")]
    (x, y, w, h), (u, v, *_) = ([box[side] for side in ("x", "y", "width", "height")] for box in boxes)
    assert x + w + 10 <= u or y + h + 10 <= v
    assert bars.root.evaluate(OVERLAPS) == [] and bars.root.evaluate(STICKS_OUT) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_move_is_drawn_within_a_frame(page, site, name):
    widget = open_widget(page, site, name)
    if name == "information-bars":
        widget.press("A fair die, taken for a loaded one")
    x, y = widget.at("p of 1" if name == "information-bars" else "mean of p")
    page.mouse.move(x, y)
    page.mouse.down()
    work = []
    for i in range(30):
        page.mouse.move(x + 3 * i, y - 3 * i)
        widget.settle()
        work += widget.data("ms")
    page.mouse.up()
    assert len(set(work)) > 5
    assert sorted(work)[len(work) // 2] <= 16, work


@pytest.mark.parametrize("name", NAMES)
def test_the_theme_changes_colours_and_never_numbers(page, site, name):
    widget = open_widget(page, site, name)
    board, bar = widget.root.locator(".gt-board"), widget.root.locator(".gt-knob").first
    looks, numbers = [], []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(200)
        look = board.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
        looks.append([*look, bar.evaluate("e => getComputedStyle(e).fill")])
        numbers.append(widget.data("nats"))
    assert numbers[0] == numbers[1] and looks[0][2] != looks[1][2]
    for theme, (background, ink, _) in zip(("light", "dark"), looks, strict=True):
        back, front = (sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in (background, ink))
        assert (back > 0.9 and front < 0.3) if theme == "light" else (back < 0.2 and front > 0.9)


@pytest.mark.parametrize("name", NAMES)
def test_a_dark_system_gets_a_dark_widget(dark, site, name):
    widget = open_widget(dark, site, name)
    background = widget.root.locator(".gt-board").evaluate("e => getComputedStyle(e).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) / 765 < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_every_control_has_a_name(page, site, name):
    widget = open_widget(page, site, name)
    nameless = widget.root.evaluate("""root => [...root.querySelectorAll("button, input, [tabindex], svg")].filter(
      e => !(e.getAttribute("aria-label") || e.textContent.trim() && e.tagName != "svg" || e.labels?.[0]?.textContent.trim())
    ).map(e => e.outerHTML)""")  # noqa: E501
    assert nameless == []
    handles = widget.root.get_by_role("slider")
    names = [handle.get_attribute("aria-label") for handle in handles.all()]
    assert len(set(names)) == len(names) == 4
    for handle in handles.all():
        low, now, high = (float(handle.get_attribute(f"aria-value{part}")) for part in ("min", "now", "max"))
        assert low <= now <= high and handle.get_attribute("aria-valuetext")
