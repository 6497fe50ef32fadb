"""The information chapter's widgets on the built page (book/information.html): mouse, keys, touch, against Python."""

import math

import pytest
import torch

from gentut import information
from gentut.widgets import InformationBars, KLNormals
from tests.browser.hands import Widget

BARS = {
    "A fair coin, guessed right": ([0.5, 0.5], [0.5, 0.5]),
    "A biased coin, p = (0.2, 0.8), taken for fair": ([0.2, 0.8], [0.5, 0.5]),
    "A fair coin. Guess (0.2, 0.8)": ([0.5, 0.5], [0.2, 0.8]),
    "A fair coin. Guess (0.4, 0.6)": ([0.5, 0.5], [0.4, 0.6]),
    "A fair coin. Guess (1, 0)": ([0.5, 0.5], [1, 0]),
    "A fair die, taken for a loaded one": ([1 / 6] * 6, [0.1] * 5 + [0.5]),
}
NORMALS = ["Same means", "Same widths", "q too narrow", "q too wide", "q = N(0, 1)"]


class Bars(Widget):
    """InformationBars on its page."""

    path, name = "book/information.html", "information-bars"


class Normals(Widget):
    """KLNormals on its page."""

    path, name = "book/information.html", "kl-normals"


both = pytest.mark.parametrize("kind", [Bars, Normals], ids=lambda kind: kind.name)


@pytest.fixture
def bars(open_widget):
    return open_widget(Bars)


@pytest.fixture
def normals(open_widget):
    return open_widget(Normals)


def shown(text):
    """A number as the page writes it."""
    return math.inf if text == "\u221e" else float(text)


# ------------------------------------------------------------------------------------------------------ InformationBars


def check_bars(bars, p=None, q=None):
    """Everything on the page, attributes and words alike, is gentut.information of the bars; returns bits."""
    now = bars.data()
    given = {which: torch.tensor(now.numbers(which), dtype=torch.float64) for which in "pq"}
    for which, want in (("p", p), ("q", q)):
        if want is not None:
            assert given[which].tolist() == pytest.approx(want, abs=1e-12)
    p, q = given["p"], given["q"]
    totals = bars.cells(".gt-totals")
    for unit, base in (("nats", math.e), ("bits", 2)):
        for which, values in given.items():
            want = information.information(values, base=base).tolist()
            assert now.numbers(f"{which}-information-{unit}") == pytest.approx(want, rel=1e-12)
        entropies = [information.entropy(p, base=base), information.entropy(q, base=base)]
        crossed = [information.cross_entropy(p, q, base=base), information.kl(p, q, base=base)]
        want = [v.item() for v in (*entropies, *crossed, information.kl(q, p, base=base))]
        assert now.numbers(unit) == pytest.approx(want, rel=1e-12, abs=1e-14)
        column = [shown(row[0 if unit == "bits" else 1]) for row in totals]
        assert column == pytest.approx(now.numbers(unit), abs=5.1e-4)
    rows = bars.cells(".gt-told")
    assert len(rows) == len(p)
    told = [(which, f"{which}-information-bits", f"{which}-information-nats") for which in "pq"]
    columns = [now.numbers(name) for names in told for name in names]
    for row, want in zip(rows, zip(*columns, strict=True), strict=True):
        assert [shown(text) for text in row] == pytest.approx(want, abs=5.1e-4)
    return now.numbers("bits")


def lengths(bars):
    """Pixels of the stacked bar: H(p), D(p || q), and the bracket over both."""
    return bars.node.evaluate("""e => ["known", "wasted", "bracket"].map(
      name => e.querySelector(`.gt-${name}`)?.getBoundingClientRect().width ?? 0)""")


def test_the_bars_begin_with_the_notes_coin(bars):
    made = InformationBars()
    bits = check_bars(bars, made.p, made.q)
    assert round(bits[2], 2) == 1.32
    assert bars.knob("p of heads").get_attribute("aria-valuetext") == "0.500"


@pytest.mark.parametrize("name", BARS)
def test_every_example_of_bars(bars, name):
    bars.click(name)
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
    before = bars.numbers("p")
    bars.drag_by("p of heads", (3, -30))
    p = bars.numbers("p")
    assert 0.6 < p[0] < 0.9 and p[0] == pytest.approx(round(p[0], 2)) and bars.numbers("q") == [0.2, 0.8]
    check_bars(bars, p)
    height = bars.at("p of heads")[1] - bars.at("p of tails")[1]
    bars.drag_by("p of heads", (0, 30))
    assert bars.numbers("p") == pytest.approx(before, abs=0.02)
    assert height < -30  # the other bar went down as this one went up


def test_bars_reach_exactly_0_and_1(bars):
    bars.drag_by("q of tails", (0, -300))
    assert bars.numbers("q") == [0, 1]
    check_bars(bars)
    assert "q gives heads probability 0" in bars.root.inner_text()
    bars.drag_by("q of tails", (0, 500))
    assert bars.numbers("q") == [1, 0]
    assert bars.numbers("bits")[3] == math.inf
    bars.drag_by("p of tails", (0, 500))
    bits = check_bars(bars, [1, 0], [1, 0])
    assert bits == [0, 0, 0, 0, 0]
    assert "nothing is wasted" in bars.root.inner_text()


def test_a_bar_pushed_to_1_and_back_leaves_the_others_in_proportion(bars):
    bars.click("A fair die, taken for a loaded one")
    bars.drag_by("q of 1", (0, -300), (0, 300), (0, -60))
    q = bars.numbers("q")
    assert 0.1 < q[0] < 0.9 and q[5] / q[1] == pytest.approx(5) and sum(q) == pytest.approx(1, abs=1e-12)
    check_bars(bars, BARS["A fair die, taken for a loaded one"][0])


def test_bars_by_keys(bars):
    bars.keys("p of heads", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowUp")
    check_bars(bars, [0.52, 0.48])
    bars.keys("q of tails", "PageDown", "Shift+ArrowDown", "ArrowLeft", "ArrowRight")
    check_bars(bars, [0.52, 0.48], [0.4, 0.6])
    bars.keys("q of heads", "Home")
    check_bars(bars, None, [0, 1])
    assert bars.knob("q of heads").get_attribute("aria-valuetext") == "0.000"
    bars.keys("q of heads", "End")
    check_bars(bars, None, [1, 0])
    bars.keys("q of heads", *["ArrowDown"] * 3)
    check_bars(bars, None, [0.97, 0.03])


def test_outcomes_are_added_and_removed(bars):
    for n in range(3, 7):
        bars.click("Add an outcome")
        p = bars.numbers("p")
        assert len(p) == len(bars.numbers("q")) == n and p[-1] == pytest.approx(1 / n) and p[0] == pytest.approx(p[1])
        assert bars.knob(f"q of {'ABCDEF'[n - 1]}").count() == 1
        check_bars(bars)
    assert bars.root.get_by_role("button", name="Add an outcome").is_disabled()
    for _ in range(4):
        bars.click("Remove the last")
    check_bars(bars, [0.5, 0.5], [0.2, 0.8])
    assert bars.root.get_by_role("button", name="Remove the last").is_disabled()


@pytest.mark.parametrize("example", ["A fair coin. Guess (0.2, 0.8)", "A fair die, taken for a loaded one"])
def test_a_finger_moves_a_bar(open_widget, example):
    bars = open_widget(Bars, "phone")
    bars.click(example)
    name = "p of heads" if "coin" in example else "p of 3"
    x, y = bars.at(name)
    q = bars.numbers("q")
    bars.touch((x, y), (x, y - 20), (x + 2, y - 40))
    p = bars.numbers("p")
    assert max(p) == p[0 if "coin" in example else 2] > 0.4 and bars.numbers("q") == q
    check_bars(bars)


def test_what_the_bars_say_to_a_screen_reader(bars):
    bars.keys("q of heads", "ArrowUp")
    want = information.kl([0.5, 0.5], [0.21, 0.79], base=2).item()
    bars.said(f"divergence {want:.3f} bits")
    label = bars.root.locator(".gt-plot").nth(1).get_attribute("aria-label")
    assert "H(p), 1.000 bits" in label and f"{want:.3f} bits" in label


# ------------------------------------------------------------------------------------------------------------ KLNormals


def check_normals(normals, p=None, q=None, direction="forward"):
    """Both divergences, the area under the curve and what is written of them; returns the divergences in nats."""
    now, words = normals.data(), normals.words()
    given = {which: now.numbers(which) for which in "pq"}
    for which, want in (("p", p), ("q", q)):
        if want is not None:
            assert given[which] == pytest.approx(want, abs=1e-12)
    p, q = given["p"], given["q"]
    nats = [information.kl_normals(*p, *q).item(), information.kl_normals(*q, *p).item()]
    assert now.numbers("nats") == pytest.approx(nats, rel=1e-12, abs=1e-15)
    bits = [information.kl_normals(*p, *q, base=2).item(), information.kl_normals(*q, *p, base=2).item()]
    assert now.numbers("bits") == pytest.approx(bits, rel=1e-12, abs=1e-15)
    if max(bits) < 1e5 and all(v == 0 or v >= 1e-4 for v in nats):
        assert [[float(v) for v in row] for row in normals.cells(".gt-table")] == [
            pytest.approx(pair, abs=5.1e-4) for pair in zip(nats, bits, strict=True)
        ]
    want = nats[direction == "reverse"]
    assert now["direction"] == direction
    assert now.number("area") == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert now.number("positive") - now.number("negative") == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert f"the closed form says {want:.3f}" in words
    if q == [0, 1]:
        assert now.number("standard") == pytest.approx(information.kl_normal(*p).item(), rel=1e-12)
        assert "as in a VAE" in words
    else:
        assert not now.numbers("standard") and "VAE" not in words
    return nats


def test_the_normals_begin_as_python_made_them(normals):
    made = KLNormals()
    nats = check_normals(normals, made.p, made.q)
    assert nats[0] != pytest.approx(nats[1], rel=0.1)


@pytest.mark.parametrize("name", NORMALS)
def test_every_example_of_normals(normals, name):
    normals.click(name)
    there, back = check_normals(normals)
    now = normals.data()
    (m, s), (n, t) = now.numbers("p"), now.numbers("q")
    said = {
        "Same means": m == n and s != t,
        "Same widths": s == t and there == pytest.approx(back) and there > 1,
        "q too narrow": t < s and there > 3 * back,
        "q too wide": t > s and there < back,
        "q = N(0, 1)": (n, t) == (0, 1) and there > 0.1,
    }
    assert said[name]
    normals.choose("q log(q / p)")
    check_normals(normals, direction="reverse")


def test_means_and_widths_follow_the_mouse(normals):
    x = {name: normals.at(name)[0] for name in ("mean of p", "width sigma of p")}
    unit = x["width sigma of p"] - x["mean of p"]  # pixels of 1
    normals.drag_by("mean of q", (-unit, 10))
    check_normals(normals, (0, 1))
    assert normals.numbers("q") == pytest.approx([0.5, 0.7], abs=0.02)
    normals.drag_by("width sigma of q", (0.8 * unit, 0))
    assert normals.numbers("q") == pytest.approx([0.5, 1.5], abs=0.02)
    check_normals(normals, (0, 1))
    normals.drag_by("mean of p", (-2 * unit, 0))
    normals.drag_by("width sigma of p", (unit, -5))
    assert normals.numbers("p") == pytest.approx([-2, 2], abs=0.03)
    check_normals(normals)


def test_a_width_stays_positive_and_a_mean_on_the_chart(normals):
    normals.drag_by("width sigma of p", (-600, 0))
    check_normals(normals, (0, 0.1), (1.5, 0.7))
    normals.drag_by("width sigma of p", (900, 0))
    check_normals(normals, (0, 4), (1.5, 0.7))
    normals.drag_by("mean of p", (900, 0))
    check_normals(normals, (3, 4), (1.5, 0.7))
    board = normals.root.locator(".gt-plot").first.bounding_box()
    assert normals.at("width sigma of p")[0] < board["x"] + board["width"]
    normals.drag_by("mean of q", (-900, 0))
    check_normals(normals, (3, 4), (-3, 0.7))


def test_normals_by_keys(normals):
    normals.keys("mean of p", "ArrowRight", "ArrowRight", "ArrowLeft", "PageDown")
    check_normals(normals, (-0.9, 1), (1.5, 0.7))
    normals.keys("width sigma of q", "ArrowUp", "ArrowUp", "ArrowDown", "Shift+ArrowRight")
    check_normals(normals, (-0.9, 1), (1.5, 1.25))
    normals.keys("width sigma of q", "Home")
    check_normals(normals, (-0.9, 1), (1.5, 0.1))
    grip = normals.knob("width sigma of q")
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
        normals.drag_by(f"mean of {which}", (-60, 0))
        assert normals.numbers(which)[0] < -0.5
        normals.drag_by(f"width sigma of {which}", (40, 0))
        assert normals.numbers(which)[1] > 1.5
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
            normals.choose("q log(q / p)")
        check_normals(normals, direction=direction)
        above, below = normals.root.locator(f".gt-plus.gt-{plus}"), normals.root.locator(f".gt-minus.gt-{minus}")
        ratio = below.evaluate(area) / above.evaluate(area)
        assert ratio == pytest.approx(normals.numbers("negative")[0] / normals.numbers("positive")[0], rel=0.02)
        assert above.bounding_box()["y"] < below.bounding_box()["y"] - 20
        assert "url(" in below.evaluate("e => getComputedStyle(e).fill")
        assert "url(" not in above.evaluate("e => getComputedStyle(e).fill")
        for other in (f".gt-plus.gt-{minus}", f".gt-minus.gt-{plus}"):
            assert not normals.root.locator(other).get_attribute("d")
        assert "+" in normals.root.locator(".gt-sign").all_text_contents()


def test_a_finger_moves_a_density(open_widget):
    normals = open_widget(Normals, "phone")
    for name, which, index in (("mean of q", "q", 0), ("width sigma of p", "p", 1)):
        x, y = normals.at(name)
        before = normals.numbers(which)[index]
        normals.touch((x, y), (x + 10, y + 15), (x + 20, y + 40))
        assert normals.numbers(which)[index] == pytest.approx(before + 1, abs=0.3)
    check_normals(normals)


def test_what_the_normals_say_to_a_screen_reader(normals):
    normals.keys("mean of q", "ArrowLeft")
    want = information.kl_normals(0, 1, 1.4, 0.7).item()
    normals.said(f"D of p from q {want:.3f} nats")
    label = normals.root.locator(".gt-plot").nth(1).get_attribute("aria-label")
    assert "p log(p / q)" in label and f"{normals.number('positive'):.3f} above" in label


# ----------------------------------------------------------------------------------------------------------------- both


def states(widget):
    """Bring the widget into several states, one after the other."""
    yield "at first"
    for label in BARS if isinstance(widget, Bars) else NORMALS:
        widget.click(label)
        yield label
    if isinstance(widget, Bars):
        widget.click("A fair coin, guessed right")
        widget.keys("p of heads", "End")
        yield "p = (1, 0)"
        widget.keys("q of tails", "End")
        yield "q = (0, 1)"
        widget.keys("p of tails", "ArrowUp")
        yield "p = (0.99, 0.01)"
        for _ in range(4):
            widget.click("Add an outcome")
        yield "six outcomes"
    else:
        widget.keys("width sigma of p", "Home")
        yield "p as narrow as can be"
        widget.keys("width sigma of q", "End")
        yield "q as wide as can be"
        widget.keys("mean of q", "End")
        widget.keys("mean of p", "Home")
        yield "far apart"


@pytest.mark.parametrize("device", ["desktop", "phone"])
@both
def test_nothing_overlaps_or_sticks_out(open_widget, kind, device):
    widget = open_widget(kind, device)
    for state in states(widget):
        assert widget.overlaps(within=".gt-plot") == [], state
        assert widget.sticks_out(but=".gt-reach") == [], state


def test_tables_keep_apart_at_every_width(open_widget):
    for width in (320, 600, 660, 720, 800):
        bars = open_widget(Bars, width=width)
        bars.click("A fair coin. Guess (1, 0)")
        (x, y, w, h), (u, v, *_) = bars.node.evaluate("""e => [".gt-told", ".gt-totals"].map(part => {
          const box = e.querySelector(part).getBoundingClientRect();
          return [box.x, box.y, box.width, box.height];
        })""")
        assert x + w + 10 <= u or y + h + 10 <= v, width
        assert bars.overlaps(within=".gt-plot") == [] and bars.sticks_out(but=".gt-reach") == [], width


@both
def test_a_move_is_drawn_within_a_frame(open_widget, kind):
    widget = open_widget(kind)
    if kind is Bars:
        widget.click("A fair die, taken for a loaded one")
    assert widget.drag_slowly(widget.at("p of 1" if kind is Bars else "mean of p"), 3, -3) <= 16


@both
def test_the_theme_changes_colours_and_never_numbers(open_widget, kind):
    widget = open_widget(kind)
    knobs, numbers = [], []
    for theme in widget.in_both_themes():
        ground, ink = widget.board()
        assert (ground > 0.9 and ink < 0.3) if theme == "light" else (ground < 0.2 and ink > 0.9)
        knobs += widget.colours((".gt-knob", "fill"))
        numbers.append(widget.numbers("nats"))
    assert numbers[0] == numbers[1] and knobs[0] != knobs[1]


@both
def test_a_dark_system_gets_a_dark_widget(open_widget, kind):
    assert open_widget(kind, theme="dark").board()[0] < 0.2


@both
def test_every_control_has_a_name(open_widget, kind):
    widget = open_widget(kind)
    assert widget.nameless() == []
    assert widget.root.locator("svg:not([aria-label])").count() == 0
    handles = widget.root.get_by_role("slider").evaluate_all("""all => all.map(
      e => ["label", "valuemin", "valuenow", "valuemax", "valuetext"].map(name => e.getAttribute(`aria-${name}`)))""")
    assert len({name for name, *_ in handles}) == len(handles) == 4
    for _, low, now, high, text in handles:
        assert float(low) <= float(now) <= float(high) and text
