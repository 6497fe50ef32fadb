"""MarkovChain on the page (book/markov.html): mouse, keys and finger, against gentut.markov."""

import itertools

import numpy as np
import pytest
import torch

from gentut import markov
from tests.browser.hands import Widget, brightness, usual

PRESETS = {"Restaurant": 1, "Periodic": 0, "Two closed classes": 2}  # and where each starts


class Chain(Widget):
    """The widget on its page: its parts, and what it shows as numbers."""

    path, name = "book/markov.html", "markov-chain"

    def array(self, name):
        """An attribute data-NAME of the root as an array of numbers."""
        return np.array(self.numbers(name))

    @property
    def A(self):
        now = self.data()
        k = int(now.number("k"))
        return np.array(now.numbers("a")).reshape(k, k)

    @property
    def names(self):
        return self.text("names").split("|")

    def button(self, group, name):
        return self.root.get_by_role("group", name=group, exact=True).get_by_role("button", name=name, exact=True)

    def walk(self, name, times=1):
        self.press("One walker", name, times)

    def step(self, name="Step", times=1):
        self.press("The distribution", name, times)

    def press(self, group, name, times):
        """Press a button of a group: the first time with the mouse."""
        button = self.button(group, name)
        button.click()
        if times > 1:
            button.evaluate("(b, more) => { for (let i = 0; i < more; i++) b.click(); }", times - 1)
        self.settle()

    def cell(self, i, j):
        return self.root.get_by_label(f"Probability from {self.names[i]} to {self.names[j]}", exact=True).and_(
            self.root.locator("input[type=number]")
        )

    @property
    def lever(self):
        return self.root.locator("input[type=range]")

    def check(self):
        """Every number that the page shows of this chain is gentut.markov's."""
        now = self.data()
        k, start, t = (int(now.number(name)) for name in ("k", "start", "t"))
        given = np.array(now.numbers("a")).reshape(k, k)
        np.testing.assert_allclose(given.sum(1), 1, atol=1e-14)
        A = markov.validate(given)
        first = torch.eye(k, dtype=torch.float64)[start]
        pi = markov.evolve(first, A, t)
        np.testing.assert_allclose(now.numbers("pi"), pi, atol=1e-12)
        rows = markov.stationary(A).numpy()
        np.testing.assert_allclose(np.array(now.numbers("stationary")).reshape(-1, k), rows, atol=1e-12)
        closed = [[int(s) for s in c.split()] for c in now["closed"].split(";")]
        assert closed == markov.closed_classes(A)
        assert now.number("period") == markov.period(A)
        lazy = (A + torch.eye(k, dtype=torch.float64)) / 2
        target = markov.evolve(first, lazy, 2**60)
        np.testing.assert_allclose(now.numbers("target"), target, atol=1e-9)
        assert now.number("distance") == pytest.approx(markov.total_variation(pi, target).item(), abs=1e-9)
        found = np.array(now.numbers("eigen")).reshape(-1, 2) @ [1, 1j]
        want = markov.eigenvalues(A).numpy()
        gap = min(abs(a - b) for a, b in itertools.combinations(want, 2))
        np.testing.assert_allclose(found, want, atol=1e-8 if gap > 1e-6 else 1e-4)
        size = markov.second_eigenvalue(A)
        assert now.number("second") == pytest.approx(size, abs=1e-8 if gap > 1e-6 else 1e-4)
        # What stands there for the eye, to the digits that it has; a field under the reader's hands is left alone.
        shown, values, distance, clock = self.node.evaluate("""e => [
          [...e.querySelectorAll(".gt-cell")].map(cell => (cell === document.activeElement ? null : cell.value)),
          ...["values", "distance", "clock"].map(part => e.querySelector(`.gt-${part}`).innerText)]""")
        number = f"{size:.3f}".removesuffix(".000")
        assert f"|λ₂| = {number}" in values
        assert len(shown) == k * k
        for text, value in zip(shown, A.flatten().tolist(), strict=True):
            assert text is None or float(text) == pytest.approx(value, abs=0.51 * 10 ** -(2 if k > 4 else 3))
        assert distance != ""
        assert clock == str(t)
        assert sum(now.numbers("visits")) == now.number("walked") + 1


@pytest.fixture
def chain(open_widget):
    return open_widget(Chain)


# ------------------------------------------------------------------------------------------------------ pi_t and pi


def test_it_opens_with_the_restaurant_at_pizza(chain):
    assert (markov.validate(chain.A) == markov.RESTAURANT).all()
    assert chain.names == list(markov.DISHES)
    assert chain.array("pi").tolist() == [0, 1, 0]
    np.testing.assert_allclose(chain.array("stationary"), [25 / 71, 15 / 71, 31 / 71], atol=1e-15)
    chain.check()


def test_steps_lead_to_the_stationary_distribution(chain):
    chain.step()
    assert chain.array("pi") == pytest.approx([0.3, 0, 0.7])
    chain.check()
    distances = [chain.array("distance")[0]]
    for _ in range(5):
        chain.step()
        chain.check()
        distances += chain.array("distance").tolist()
    assert distances[-1] < 0.01 < distances[0]
    chain.step("Reset")
    assert chain.array("pi").tolist() == [0, 1, 0]


def test_play_runs_until_it_has_settled_and_can_be_paused(chain):
    play, pause = (chain.button("The distribution", name) for name in ("Play", "Pause"))
    chain.keys(play, "Enter")
    chain.page.wait_for_function("e => +e.dataset.t >= 3", arg=chain.node)
    chain.keys(pause, "Enter")
    at = chain.number("t")
    assert_it_rests(chain, "t", 500)
    chain.check()
    while chain.number("distance") > 1e-5:  # Play does the rest
        chain.step()
    assert chain.number("t") > at and chain.number("distance") >= 1e-6
    chain.keys(play, "Enter")
    pause.wait_for(state="hidden")  # playing ends by itself
    chain.settle()
    assert play.is_visible() and chain.number("distance") < 1e-6
    chain.check()


def assert_it_rests(chain, name, interval):
    """A number stays as it is for longer than playing takes for a step, in milliseconds."""
    before = chain.number(name)
    chain.page.wait_for_timeout(1.3 * interval)
    chain.settle()
    assert chain.number(name) == before


def test_bars_are_as_high_as_the_numbers(chain):
    chain.step(times=2)
    heights = {}
    for kind in ("q", "truth"):
        bars = chain.root.locator(f"rect.gt-bar.gt-{kind}")
        heights[kind] = np.array(bars.evaluate_all("all => all.map(e => e.getBoundingClientRect().height)"))
    for kind, name in (("q", "pi"), ("truth", "target")):
        shares = heights[kind] / heights[kind].sum()
        np.testing.assert_allclose(shares, chain.array(name), atol=0.01)


def test_the_start_can_be_chosen_from_the_list_and_on_the_graph(chain):
    chain.step(times=2)
    chain.root.get_by_label("Start in").select_option("hot dog")
    chain.settle()
    assert chain.array("pi").tolist() == [0, 0, 1]
    assert chain.array("t") == [0]
    chain.step()
    assert chain.array("pi") == pytest.approx([0.5, 0, 0.5])
    chain.check()
    chain.part("state").nth(0).click()
    chain.settle()
    assert chain.array("pi").tolist() == [1, 0, 0]
    assert chain.array("at") == [0]
    assert chain.root.get_by_label("Start in").input_value() == "0"
    chain.check()


@pytest.mark.parametrize("name", PRESETS)
def test_presets(chain, name):
    chain.step(times=3)
    chain.choose("Two closed classes" if name == "Restaurant" else "Restaurant")
    chain.choose(name)
    assert chain.array("start") == [PRESETS[name]]
    assert chain.array("t") == [0]
    chain.check()
    for _ in range(4):
        chain.step()
        chain.check()
    text = chain.part("verdict").inner_text()
    rows = markov.stationary(chain.A)
    period = markov.period(chain.A)
    assert ("One stationary distribution" in text) == (len(rows) == 1)
    assert (f"{len(rows)} stationary distributions" in text) == (len(rows) > 1)
    assert (f"period {period}" in text) == (period > 1)
    assert ("wherever the chain starts" in text) == (len(rows) == 1 and period == 1)
    assert chain.root.get_by_role("radio", name=name).is_checked()
    if len(rows) > 1:  # each has its marks, on its own states
        assert chain.root.locator(".gt-floor").count() == sum(map(len, markov.closed_classes(chain.A)))
        assert {"π₁", "π₂"} <= set(chain.root.locator(".gt-word.gt-truth").all_text_contents())


# -------------------------------------------------------------------------------------------------------- the matrix


def test_typing_a_probability_keeps_the_row_a_distribution(chain):
    cell = chain.cell(0, 1)
    cell.fill("0.2")
    chain.settle()
    assert chain.A[0] == pytest.approx([0.4, 0.2, 0.4])
    cell.press("Enter")
    chain.settle()
    chain.check()
    assert chain.root.get_by_role("radio", checked=True).count() == 0, "it is the restaurant no more"
    cell.fill("7")
    cell.press("Enter")
    chain.settle()
    assert chain.A[0].tolist() == [0, 1, 0]
    assert cell.input_value() == "1"
    chain.check()
    cell.fill("0.5")  # everything was in this cell: the others share the rest
    cell.press("Tab")
    chain.settle()
    assert chain.A[0].tolist() == [0.25, 0.5, 0.25]
    cell.fill("")
    cell.press("Tab")
    chain.settle()
    assert cell.input_value() == "0.5", "an empty field is no number"
    chain.check()


def test_digits_typed_one_by_one_do_not_spoil_the_row(chain):
    """On the way to 0.35 stand 0 and 0.3; the others end where 0.35 alone would have put them."""

    def type_slowly(text):
        for digit in text:
            chain.page.keyboard.type(digit)
            chain.settle()

    chain.cell(1, 2).click()
    chain.page.keyboard.press("Control+a")
    type_slowly("0.35")
    chain.page.keyboard.press("Enter")
    chain.settle()
    assert chain.A[1] == pytest.approx([0.65, 0, 0.35])
    chain.cell(2, 0).click()
    chain.page.keyboard.press("Control+a")
    type_slowly("1")
    chain.page.keyboard.press("Backspace")
    type_slowly("0.2")
    chain.settle()
    assert chain.A[2] == pytest.approx([0.2, 0, 0.8])
    chain.check()


def test_arrow_keys_change_a_field_and_the_slider(chain):
    chain.keys(chain.cell(2, 0), "ArrowUp")
    assert chain.A[2] == pytest.approx([0.51, 0, 0.49])
    assert chain.part("slider").inner_text().startswith("from hot dog to hamburger")
    chain.keys(chain.lever, *["ArrowLeft"] * 3)
    assert chain.A[2] == pytest.approx([0.48, 0, 0.52])
    chain.keys(chain.lever, "End")
    assert chain.A[2].tolist() == [1, 0, 0]
    chain.check()
    chain.keys(chain.lever, "Home")
    assert chain.A[2].tolist() == [0, 0.5, 0.5], "everything was in that cell: the others share it"
    chain.check()


def drag(chain, *shares):
    """The slider's knob with the mouse, from where it is to shares of its length."""
    chain.lever.scroll_into_view_if_needed()
    box = chain.lever.bounding_box()
    y, at = box["y"] + box["height"] / 2, float(chain.lever.input_value())
    chain.drag(*[(box["x"] + 8 + (box["width"] - 16) * share, y) for share in (at, *shares)])


def test_the_mouse_drags_the_slider_through_1_and_back(chain):
    chain.cell(0, 0).focus()  # row 0.2, 0.6, 0.2
    drag(chain, 1, 0.5)
    assert chain.A[0, 0] == pytest.approx(0.5, abs=0.03)
    assert chain.A[0, 1] / chain.A[0, 2] == pytest.approx(3), "the others are back in their proportion"
    chain.check()
    drag(chain, 1)
    assert chain.A[0].tolist() == [1, 0, 0]
    drag(chain, 0.5)
    assert chain.A[0, 1] == chain.A[0, 2] == pytest.approx(0.25, abs=0.02)
    chain.check()


def test_a_move_of_the_slider_is_drawn_within_a_frame(chain):
    chain.choose("Two closed classes")
    chain.walk("Walk 100", 5)
    chain.step(times=10)
    chain.cell(2, 1).focus()
    moves = []
    for i in range(30):
        chain.lever.fill(f"{0.3 + 0.01 * i:.2f}")
        chain.settle()
        moves.append(chain.data())
    assert chain.A[2, 1] == pytest.approx(0.59)
    assert usual(moves) <= 8


def test_an_arrow_of_the_graph_chooses_its_cell(chain):
    chain.root.locator(".gt-edge[data-i='0'][data-j='1'] .gt-hit").dispatch_event("click")
    chain.settle()
    assert chain.part("slider").inner_text().startswith("from hamburger to pizza")
    assert chain.root.locator(".gt-edge.gt-chosen").get_attribute("data-j") == "1"
    drag(chain, 0.9)
    assert chain.A[0, 1] == pytest.approx(0.9, abs=0.03)
    chain.check()


def test_an_edit_can_close_a_class_and_the_page_says_so(chain):
    chain.cell(1, 1).fill("1")
    chain.cell(1, 1).press("Enter")
    chain.settle()
    chain.check()
    assert chain.array("stationary").tolist() == [0, 1, 0]
    chain.cell(0, 0).fill("1")
    chain.cell(0, 0).press("Enter")
    chain.settle()
    chain.check()
    assert "2 stationary distributions" in chain.part("verdict").inner_text()
    chain.root.get_by_label("Start in").select_option("hot dog")
    chain.settle()
    chain.check()
    assert "From hot dog it ends in π₁ for sure" in chain.part("verdict").inner_text()  # hot dog leads to hamburger


# ------------------------------------------------------------------------------------------------------- the walker


def test_the_walker_takes_arrows_that_exist_and_is_counted(chain):
    A, counts, at = chain.A, np.array([0, 1, 0]), 1
    for n in range(12):
        chain.walk("Walk one step")
        shows = chain.data()
        now = int(shows.number("at"))
        assert A[at, now] > 0
        counts[now] += 1
        at = now
        assert shows.numbers("visits") == counts.tolist()
        assert shows.number("walked") == n + 1
        assert chain.part("here").locator("title").text_content() == markov.DISHES[at]
    shown = [float(v) for v in chain.part("amount").all_inner_texts()[::2]]
    assert shown == pytest.approx(counts / counts.sum(), abs=6e-4)
    widths = "all => all.map(e => e.getBoundingClientRect().width)"
    filled, tracks = (np.array(chain.part(name).evaluate_all(widths)) for name in ("fill", "track"))
    np.testing.assert_allclose(filled / tracks, counts / counts.sum(), atol=0.01)


def test_visits_come_to_the_stationary_distribution(chain):
    chain.walk("Walk 100", 40)
    assert chain.array("walked") == [4000]
    share = chain.array("visits") / 4001
    assert np.abs(share - markov.stationary(markov.RESTAURANT)[0].numpy()).max() < 0.03
    again = chain.array("visits").tolist()
    chain.walk("Reset")
    assert chain.array("visits").tolist() == [0, 1, 0]
    chain.walk("Walk 100", 40)
    assert chain.array("visits").tolist() != again, "another walk"
    # A walker of two closed classes stays in one of them.
    chain.choose("Two closed classes")
    chain.walk("Walk 100", 3)
    seen = chain.array("visits")
    assert (seen[:2].sum() == 0) != (seen[3:].sum() == 0)


def test_the_walker_goes_by_itself(chain):
    pace = chain.pace("walked", chain.button("One walker", "Play"), 4)
    assert 450 < pace < 2000, "milliseconds for a step"
    chain.button("One walker", "Pause").click()
    assert chain.number("t") == 0, "the walker is not the distribution"
    assert_it_rests(chain, "walked", 700)


def test_readers_who_ask_for_less_motion_see_no_glide(open_widget):
    seen = []
    for motion in ("no-preference", "reduce"):
        chain = open_widget(Chain, motion=motion)
        chain.button("One walker", "Walk one step").evaluate("b => b.click()")
        seen.append(chain.number("gliding"))
        chain.page.wait_for_function("e => e.dataset.gliding === '0'", arg=chain.node)
        chain.settle()
        assert chain.number("walked") == 1
        token, here = (chain.part(name).first.bounding_box() for name in ("walker", "here"))
        assert abs(token["x"] + token["width"] / 2 - here["x"] - here["width"] / 2) < here["width"] * 0.7
        chain.step()
        chain.check()
    assert seen == [1, 0]


# ---------------------------------------------------------------------------------------------------- phone and looks


def test_a_finger_edits_steps_and_walks(open_widget):
    chain = open_widget(Chain, "phone")
    chain.part("state").nth(2).tap()
    chain.settle()
    assert chain.number("start") == 2
    chain.cell(2, 0).tap()
    chain.lever.scroll_into_view_if_needed()
    chain.still()
    chain.touch(*[chain.at(chain.lever, share) for share in (0.5, 0.55, 0.65, 0.8)])
    assert chain.A[2, 0] == pytest.approx(0.8, abs=0.05)
    for group, name in (("The distribution", "Step"), ("One walker", "Walk one step")):
        chain.button(group, name).tap()
    chain.settle()
    assert (chain.number("t"), chain.number("walked")) == (1, 1)
    chain.check()


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_nothing_sticks_out_is_cut_off_or_overlaps(open_widget, device):
    chain = open_widget(Chain, device)
    for name in PRESETS:
        chain.choose(name)
        chain.walk("Walk 100")
        chain.step(times=3)
        assert chain.sticks_out(but=".gt-curve") == [], name  # a curve may leave its window, which clips it
        assert chain.part("edge").first.is_visible()
        cut = chain.node.evaluate("""root => [...root.querySelectorAll("input[type=number], button, .gt-title")].filter(
          e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(e => e.value || e.textContent)""")
        assert cut == [], name
        assert chain.overlaps("svg text", within="svg", down=3) == [], name


def test_the_theme_changes_colours_and_never_values(chain):
    values = []
    for theme in chain.in_both_themes():
        ground, *inks = *chain.board(), *map(brightness, chain.colours((".gt-chance", "fill")))
        for ink in inks:
            assert (ground > 0.9 and ink < 0.3) if theme == "light" else (ground < 0.2 and ink > 0.9)
        now = chain.data()
        values.append(now.numbers("pi") + now.numbers("eigen"))
    assert values[0] == values[1]


def test_a_reader_whose_system_is_dark(open_widget):
    chain = open_widget(Chain, theme="dark")
    assert chain.board()[0] < 0.2
    chain.step(times=2)
    chain.check()


def test_every_control_has_a_name_and_what_happens_is_said(chain):
    assert chain.nameless() == []
    assert chain.root.get_by_role("img", name="The chain as a graph").count() == 1
    assert chain.root.get_by_role("img", name="Eigenvalues in the unit disc").count() == 1
    assert chain.root.get_by_role("slider", name="Probability from pizza to hot dog").count() == 1
    chain.step()
    expected = "t = 1: hamburger 0.300, pizza 0.000, hot dog 0.700; distance"
    assert chain.said("t = 1: ").startswith(expected)
    chain.walk("Walk one step")
    assert chain.said("Step 1: ") == f"Step 1: the walker is at {chain.names[int(chain.number('at'))]}"
    chain.cell(1, 2).fill("0.5")
    assert chain.said("Row pizza: ") == "Row pizza: hamburger 0.500, pizza 0.000, hot dog 0.500"


def test_the_keyboard_reaches_everything(chain):
    """Tab from the first control to the last, in the order in which they are read."""
    chain.root.get_by_role("radio", name="Restaurant").focus()
    seen = []
    for _ in range(18):
        chain.page.keyboard.press("Tab")
        seen.append(chain.page.evaluate("""() => { const e = document.activeElement;
          return e.closest(".gentut-markov-chain") ? e.getAttribute("aria-label") || e.textContent : ""; }"""))
    inside = [s for s in seen if s]
    assert inside[:4] == ["Walk one step", "Play", "Walk 100", "Reset"]
    assert sum(s.startswith("Probability from") for s in inside) == 10  # nine fields and the slider
    assert inside[-3:] == ["Step", "Play", "Reset"]
