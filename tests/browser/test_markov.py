"""MarkovChain on the page (book/markov.html): mouse, keys and finger, against gentut.markov."""

import itertools
import re

import numpy as np
import pytest
import torch

from gentut import markov

PRESETS = {"Restaurant": 1, "Periodic": 0, "Two closed classes": 2}  # and where each starts


class Chain:
    """The widget on a page: its parts, and what it shows as numbers."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def part(self, name):
        return self.root.locator(f".gt-{name}")

    def data(self, name):
        """An attribute data-NAME of the root as numbers."""
        return np.array([float(v) for v in (self.root.get_attribute(f"data-{name}") or "").replace(";", " ").split()])

    @property
    def A(self):
        k = int(self.data("k")[0])
        return self.data("a").reshape(k, k)

    @property
    def names(self):
        return self.root.get_attribute("data-names").split("|")

    def button(self, group, name):
        return self.root.get_by_role("group", name=group, exact=True).get_by_role("button", name=name, exact=True)

    def walk(self, name, times=1):
        self.press("One walker", name, times)

    def step(self, name="Step", times=1):
        self.press("The distribution", name, times)

    def press(self, group, name, times):
        button = self.button(group, name)
        button.click()
        button.evaluate("(b, more) => { for (let i = 0; i < more; i++) b.click(); }", times - 1)
        self.settle()

    def preset(self, name):
        self.root.get_by_role("radio", name=name).check()
        self.settle()

    def cell(self, i, j):
        return self.root.get_by_label(f"Probability from {self.names[i]} to {self.names[j]}", exact=True).and_(
            self.root.locator("input[type=number]")
        )

    @property
    def lever(self):
        return self.root.locator("input[type=range]")

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def check(self):
        """Every number that the page shows of this chain is gentut.markov's."""
        A, start, t = markov.validate(self.A), int(self.data("start")[0]), int(self.data("t")[0])
        k = len(A)
        np.testing.assert_allclose(self.A.sum(1), 1, atol=1e-14)
        first = torch.eye(k, dtype=torch.float64)[start]
        pi = markov.evolve(first, A, t)
        np.testing.assert_allclose(self.data("pi"), pi, atol=1e-12)
        rows = markov.stationary(A).numpy()
        np.testing.assert_allclose(self.data("stationary").reshape(-1, k), rows, atol=1e-12)
        closed = [[int(s) for s in c.split()] for c in self.root.get_attribute("data-closed").split(";")]
        assert closed == markov.closed_classes(A)
        assert self.data("period") == [markov.period(A)]
        lazy = (A + torch.eye(k, dtype=torch.float64)) / 2
        target = markov.evolve(first, lazy, 2**60)
        np.testing.assert_allclose(self.data("target"), target, atol=1e-9)
        assert self.data("distance") == pytest.approx([markov.total_variation(pi, target).item()], abs=1e-9)
        found = self.data("eigen").reshape(-1, 2) @ [1, 1j]
        want = markov.eigenvalues(A).numpy()
        gap = min(abs(a - b) for a, b in itertools.combinations(want, 2))
        np.testing.assert_allclose(found, want, atol=1e-8 if gap > 1e-6 else 1e-4)
        size = markov.second_eigenvalue(A)
        assert self.data("second") == pytest.approx([size], abs=1e-8 if gap > 1e-6 else 1e-4)
        number = f"{size:.3f}".removesuffix(".000")
        assert f"|λ₂| = {number}" in self.part("values").inner_text()
        # What stands in the fields, to the digits that they have.
        fields = "cells => cells.map(e => (e === document.activeElement ? null : e.value))"
        shown = self.part("cell").evaluate_all(fields)
        assert len(shown) == k * k
        for text, value in zip(shown, A.flatten().tolist(), strict=True):
            assert text is None or float(text) == pytest.approx(value, abs=0.51 * 10 ** -(2 if k > 4 else 3))
        assert self.part("distance").inner_text() != ""
        assert self.part("clock").inner_text() == str(t)
        assert sum(self.data("visits")) == self.data("walked")[0] + 1


def open_chain(page, site):
    page.goto(f"{site.url}/book/markov.html")
    root = page.locator(".gentut-markov-chain").first
    root.scroll_into_view_if_needed()
    page.wait_for_selector(".gentut-markov-chain[data-ready='1']")
    return Chain(page, root)


@pytest.fixture
def chain(page, site):
    return open_chain(page, site)


# ------------------------------------------------------------------------------------------------------ pi_t and pi


def test_it_opens_with_the_restaurant_at_pizza(chain):
    assert (markov.validate(chain.A) == markov.RESTAURANT).all()
    assert chain.names == list(markov.DISHES)
    assert chain.data("pi").tolist() == [0, 1, 0]
    np.testing.assert_allclose(chain.data("stationary"), [25 / 71, 15 / 71, 31 / 71], atol=1e-15)
    chain.check()


def test_steps_lead_to_the_stationary_distribution(chain):
    chain.step()
    assert chain.data("pi") == pytest.approx([0.3, 0, 0.7])
    chain.check()
    distances = [chain.data("distance")[0]]
    for _ in range(5):
        chain.step()
        chain.check()
        distances += chain.data("distance").tolist()
    assert distances[-1] < 0.01 < distances[0]
    chain.step("Reset")
    assert chain.data("pi").tolist() == [0, 1, 0]


def test_play_runs_until_it_has_settled_and_can_be_paused(page, site):
    page.clock.install()
    chain = open_chain(page, site)
    chain.button("The distribution", "Play").press("Enter")
    page.clock.run_for(2600)
    chain.button("The distribution", "Pause").press("Enter")
    at = int(chain.data("t")[0])
    assert 3 <= at <= 8
    page.clock.run_for(3000)
    assert chain.data("t") == [at]
    chain.check()
    chain.button("The distribution", "Play").press("Enter")
    page.clock.run_for(30_000)
    assert chain.button("The distribution", "Play").is_visible(), "playing ends by itself"
    assert chain.data("distance") < 1e-6
    page.clock.run_for(100)
    chain.check()


def test_bars_are_as_high_as_the_numbers(chain):
    chain.step(times=2)
    heights = {}
    for kind in ("q", "truth"):
        boxes = [bar.bounding_box() for bar in chain.root.locator(f"rect.gt-bar.gt-{kind}").all()]
        heights[kind] = np.array([box["height"] for box in boxes])
    for kind, name in (("q", "pi"), ("truth", "target")):
        shares = heights[kind] / heights[kind].sum()
        np.testing.assert_allclose(shares, chain.data(name), atol=0.01)


def test_the_start_can_be_chosen_from_the_list_and_on_the_graph(chain):
    chain.step(times=2)
    chain.root.get_by_label("Start in").select_option("hot dog")
    chain.settle()
    assert chain.data("pi").tolist() == [0, 0, 1]
    assert chain.data("t") == [0]
    chain.step()
    assert chain.data("pi") == pytest.approx([0.5, 0, 0.5])
    chain.check()
    chain.part("state").nth(0).click()
    chain.settle()
    assert chain.data("pi").tolist() == [1, 0, 0]
    assert chain.data("at") == [0]
    assert chain.root.get_by_label("Start in").input_value() == "0"
    chain.check()


@pytest.mark.parametrize("name", PRESETS)
def test_presets(chain, name):
    chain.step(times=3)
    chain.preset("Two closed classes" if name == "Restaurant" else "Restaurant")
    chain.preset(name)
    assert chain.data("start") == [PRESETS[name]]
    assert chain.data("t") == [0]
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
    chain.cell(1, 2).click()
    chain.page.keyboard.press("Control+a")
    chain.page.keyboard.type("0.35", delay=30)
    chain.page.keyboard.press("Enter")
    chain.settle()
    assert chain.A[1] == pytest.approx([0.65, 0, 0.35])
    chain.cell(2, 0).click()
    chain.page.keyboard.press("Control+a")
    chain.page.keyboard.type("1", delay=30)
    chain.page.keyboard.press("Backspace")
    chain.page.keyboard.type("0.2", delay=30)
    chain.settle()
    assert chain.A[2] == pytest.approx([0.2, 0, 0.8])
    chain.check()


def test_arrow_keys_change_a_field_and_the_slider(chain):
    chain.cell(2, 0).focus()
    chain.page.keyboard.press("ArrowUp")
    chain.settle()
    assert chain.A[2] == pytest.approx([0.51, 0, 0.49])
    assert chain.part("slider").inner_text().startswith("from hot dog to hamburger")
    chain.lever.focus()
    for _ in range(3):
        chain.page.keyboard.press("ArrowLeft")
    chain.settle()
    assert chain.A[2] == pytest.approx([0.48, 0, 0.52])
    chain.page.keyboard.press("End")
    chain.settle()
    assert chain.A[2].tolist() == [1, 0, 0]
    chain.check()
    chain.page.keyboard.press("Home")
    chain.settle()
    assert chain.A[2].tolist() == [0, 0.5, 0.5], "everything was in that cell: the others share it"
    chain.check()


def drag(chain, *shares):
    """The slider's knob with the mouse, from where it is to shares of its length."""
    chain.lever.scroll_into_view_if_needed()
    box = chain.lever.bounding_box()
    mouse, y = chain.page.mouse, box["y"] + box["height"] / 2
    at = float(chain.lever.input_value())
    places = [box["x"] + 8 + (box["width"] - 16) * s for s in (at, *shares)]
    mouse.move(places[0], y)
    mouse.down()
    for place in places[1:]:
        mouse.move(place, y, steps=6)
    mouse.up()
    chain.settle()


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
    chain.preset("Two closed classes")
    chain.walk("Walk 100", 5)
    chain.step(times=10)
    chain.cell(2, 1).focus()
    work = []
    for i in range(30):
        chain.lever.fill(f"{0.3 + 0.01 * i:.2f}")
        chain.settle()
        work += chain.data("ms").tolist()
    assert chain.A[2, 1] == pytest.approx(0.59)
    assert np.median(work) <= 8, work


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
    assert chain.data("stationary").tolist() == [0, 1, 0]
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
    counts, at = np.array([0, 1, 0]), 1
    for n in range(12):
        chain.walk("Walk one step")
        now = int(chain.data("at")[0])
        assert chain.A[at, now] > 0
        counts[now] += 1
        at = now
        assert chain.data("visits").tolist() == counts.tolist()
        assert chain.data("walked") == [n + 1]
        assert chain.part("here").locator("title").text_content() == chain.names[at]
    shown = [float(v) for v in chain.part("amount").all_inner_texts()[::2]]
    assert shown == pytest.approx(counts / counts.sum(), abs=6e-4)
    filled = [box.bounding_box()["width"] for box in chain.part("fill").all()]
    tracks = [box.bounding_box()["width"] for box in chain.part("track").all()]
    np.testing.assert_allclose(np.array(filled) / tracks, counts / counts.sum(), atol=0.01)


def test_visits_come_to_the_stationary_distribution(chain):
    chain.walk("Walk 100", 40)
    assert chain.data("walked") == [4000]
    share = chain.data("visits") / 4001
    assert np.abs(share - markov.stationary(markov.RESTAURANT)[0].numpy()).max() < 0.03
    again = chain.data("visits").tolist()
    chain.walk("Reset")
    assert chain.data("visits").tolist() == [0, 1, 0]
    chain.walk("Walk 100", 40)
    assert chain.data("visits").tolist() != again, "another walk"
    # A walker of two closed classes stays in one of them.
    chain.preset("Two closed classes")
    chain.walk("Walk 100", 3)
    seen = chain.data("visits")
    assert (seen[:2].sum() == 0) != (seen[3:].sum() == 0)


def test_the_walker_goes_by_itself(page, site):
    page.clock.install()
    chain = open_chain(page, site)
    chain.button("One walker", "Play").click()
    page.clock.run_for(5000)
    chain.button("One walker", "Pause").click()
    page.clock.run_for(1000)
    assert 5 <= chain.data("walked") <= 9
    assert chain.data("t") == [0], "the walker is not the distribution"


def test_readers_who_ask_for_less_motion_see_no_glide(new_page, site):
    seen = []
    for motion in ("no-preference", "reduce"):
        chain = open_chain(new_page(reduced_motion=motion), site)
        chain.button("One walker", "Walk one step").evaluate("b => b.click()")
        seen.append(chain.data("gliding")[0])
        chain.page.wait_for_timeout(700)
        assert chain.data("gliding") == [0]
        assert chain.data("walked") == [1]
        token, here = (chain.part(name).first.bounding_box() for name in ("walker", "here"))
        assert abs(token["x"] + token["width"] / 2 - here["x"] - here["width"] / 2) < here["width"] * 0.7
        chain.step()
        chain.check()
    assert seen == [1, 0]


# ---------------------------------------------------------------------------------------------------- phone and looks


def touch(page, *points):
    """A finger: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, (x, y) in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_edits_steps_and_walks(phone, site):
    chain = open_chain(phone, site)
    chain.part("state").nth(2).tap()
    chain.settle()
    assert chain.data("start") == [2]
    chain.cell(2, 0).tap()
    chain.lever.scroll_into_view_if_needed()
    phone.wait_for_timeout(200)
    top = phone.evaluate("document.scrollingElement.scrollTop")
    box = chain.lever.bounding_box()
    y = box["y"] + box["height"] / 2
    touch(phone, *[(box["x"] + box["width"] * s, y) for s in (0.5, 0.55, 0.65, 0.8)])
    chain.settle()
    assert chain.A[2, 0] == pytest.approx(0.8, abs=0.05)
    assert phone.evaluate("document.scrollingElement.scrollTop") == top, "the page must not scroll under the finger"
    for group, name in (("The distribution", "Step"), ("One walker", "Walk one step")):
        chain.button(group, name).tap()
    chain.settle()
    assert (chain.data("t"), chain.data("walked")) == ([1], [1])
    chain.check()


@pytest.mark.parametrize("name", PRESETS)
def test_nothing_sticks_out_on_a_phone(phone, site, name):
    chain = open_chain(phone, site)
    chain.preset(name)
    chain.walk("Walk 100")
    chain.step(times=2)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    wide = chain.root.evaluate("""root => [...root.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
      return box.width && !e.closest(".gt-hidden, defs") && (box.right > own.right + 1 || box.left < own.left - 1);
    }).map(e => e.getAttribute("class") || e.tagName)""")
    assert [w for w in wide if "gt-curve" not in w] == []  # a curve may leave its window, which clips it
    assert chain.part("edge").first.is_visible()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_no_text_is_cut_off_and_no_two_texts_overlap(new_page, site, device, name):
    chain = open_chain(new_page(device), site)
    chain.preset(name)
    chain.walk("Walk 100")
    chain.step(times=3)
    assert chain.root.evaluate("""root => [...root.querySelectorAll("input[type=number], button, .gt-title")].filter(
      e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(e => e.value || e.textContent)""") == []
    found = chain.root.evaluate("""root => [...root.querySelectorAll("svg")].map(svg =>
      [...svg.querySelectorAll("text")].filter(e => e.textContent && e.getBoundingClientRect().width)
      .map(e => { const b = e.getBoundingClientRect(); return [e.textContent, b.left, b.top, b.right, b.bottom]; }))""")
    for texts in found:
        for (a, *p), (b, *q) in itertools.combinations(texts, 2):
            across = min(p[2], q[2]) - max(p[0], q[0])
            down = min(p[3], q[3]) - max(p[1], q[1])
            assert across <= 1 or down <= 3, f"{a!r} overlaps {b!r}"


def test_the_theme_changes_colours_and_never_values(page, site):
    chain = open_chain(page, site)
    looks, values = [], []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(250)
        style = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
        ink = "e => getComputedStyle(e).fill"
        looks.append([*chain.part("board").evaluate(style), chain.part("chance").first.evaluate(ink)])
        values.append(chain.data("pi").tolist() + chain.data("eigen").tolist())
    assert values[0] == values[1]
    for theme, (background, *inks) in zip(("light", "dark"), looks, strict=True):
        back, *fronts = (sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in (background, *inks))
        for front in fronts:
            assert (back > 0.9 and front < 0.3) if theme == "light" else (back < 0.2 and front > 0.9)


def test_a_reader_whose_system_is_dark(dark, site):
    chain = open_chain(dark, site)
    red, green, blue = map(
        int, re.findall(r"\d+", chain.part("board").evaluate("e => getComputedStyle(e).backgroundColor"))
    )
    assert red + green + blue < 200
    chain.step(times=2)
    chain.check()


def test_every_control_has_a_name_and_what_happens_is_said(chain):
    nameless = chain.root.evaluate("""root => [...root.querySelectorAll(
      "button, input, select, [tabindex], [role=img], [role=group], fieldset")].filter(e => !(
        e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim() || e.ariaHidden
      )).map(e => e.outerHTML)""")
    assert nameless == []
    assert chain.root.get_by_role("img", name="The chain as a graph").count() == 1
    assert chain.root.get_by_role("img", name="Eigenvalues in the unit disc").count() == 1
    assert chain.root.get_by_role("slider", name="Probability from pizza to hot dog").count() == 1
    live = chain.root.locator("[aria-live=polite]")
    chain.step()
    chain.page.wait_for_timeout(900)
    assert live.inner_text().startswith("t = 1: hamburger 0.300, pizza 0.000, hot dog 0.700; distance")
    chain.walk("Walk one step")
    chain.page.wait_for_timeout(900)
    assert live.inner_text() == f"Step 1: the walker is at {chain.names[int(chain.data('at')[0])]}"
    chain.cell(1, 2).fill("0.5")
    chain.page.wait_for_timeout(900)
    assert live.inner_text() == "Row pizza: hamburger 0.500, pizza 0.000, hot dog 0.500"


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
