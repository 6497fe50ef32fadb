"""PixelSampler on the page (book/pixelcnn.html): mouse, keys and finger, against torch.

What the page must show is computed from the network that the page itself carries, so these tests hold for any weights.
"""

import base64
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gentut import checkpoints, pixelcnn
from gentut.widgets import pixelcnn as widget_module
from tests import packed

STATE = 'script[type="application/vnd.jupyter.widget-state+json"]'
COLOURS = """canvas => {
  const d = canvas.getContext("2d").getImageData(0, 0, 28, 28).data;
  return Array.from({ length: 784 }, (_, i) => [d[4 * i], d[4 * i + 1], d[4 * i + 2]]);
}"""
BLACK, WHITE = np.array([9, 11, 15]), np.array([246, 247, 250])
networks = {}  # of the pages opened so far, so that each is read once


class Sampler:
    """The widget on a page: its parts, what it shows, and the same in torch."""

    def __init__(self, page, root):
        self.page, self.root = page, root
        find = "root => JSON.parse(root.closest('.gentut-widget-area').nextElementSibling.textContent).model_id"
        model = root.evaluate(find)
        if model not in networks:
            states = json.loads(page.locator(STATE).first.text_content())["state"]
            state = dict(states[model]["state"])
            for buffer in states[model]["buffers"]:
                state[buffer["path"][0]] = base64.b64decode(buffer["data"])
            networks[model] = state, packed.network(state["network"], state["weights"])
        self.state, self.model = networks[model]
        self.classes = self.model.config.classes

    def part(self, name):
        return self.root.locator(f".gt-{name}")

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def radio(self, name, group=None):
        within = self.root.get_by_role("group", name=group) if group else self.root
        return within.get_by_role("radio", name=name, exact=True)

    def press(self, name):
        self.button(name).click()
        self.settle()

    def choose(self, name, group=None):
        self.radio(name, group).check()
        self.settle()

    def data(self, name):
        return self.root.get_attribute(f"data-{name}")

    def number(self, name):
        return float(self.data(name))

    def signs(self, name):
        """data-pixels or data-given: (784,), -1 where there is a dot."""
        return torch.tensor([-1 if c == "." else int(c) for c in self.data(name)] or [-1] * 784)

    @property
    def pixels(self):
        return self.signs("pixels")

    @property
    def given(self):
        return self.signs("given") if self.data("given") else torch.full((784,), -1)

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_selector(".gentut-pixel-sampler[data-settled='1']")

    def at(self, row, column):
        """Page coordinates of the middle of a pixel; scrolls the picture into view."""
        self.part("pixels").scroll_into_view_if_needed()
        box = self.part("pixels").bounding_box()
        return box["x"] + (column + 0.5) / 28 * box["width"], box["y"] + (row + 0.5) / 28 * box["height"]

    @torch.no_grad()
    def logits(self):
        """torch's logits for the picture on the page, (784,): right up to the first pixel not written."""
        x = self.pixels.clamp(min=0).float().view(1, 1, 28, 28)
        labels = torch.tensor([int(self.data("label"))]) if self.classes else None
        return self.model(x, labels).flatten()

    def check(self):
        """Every pixel is what it must be, and so is every number; returns the logits."""
        pixels, given, logits = self.pixels, self.given, self.logits()
        done = int(self.data("done"))
        assert done == int(self.data("position")) == int((pixels >= 0).sum())
        assert (pixels[:done] >= 0).all()
        u = widget_module.uniforms(int(self.data("seed"))).flatten().float()
        drawn = (u >= torch.sigmoid(-logits / self.number("temperature"))).long()
        assert torch.equal(pixels[:done], torch.where(given >= 0, given, drawn)[:done])
        each = F.binary_cross_entropy_with_logits(logits, pixels.clamp(min=0).float(), reduction="none")[:done]
        assert self.number("nats") == pytest.approx(each.sum().item(), abs=1e-2)
        bits = each.mean().item() / np.log(2) if done else 0
        assert self.number("bits") == pytest.approx(bits, abs=1e-4)
        fixed = given[:done] >= 0
        assert self.number("fixed-nats") == pytest.approx(each[fixed].sum().item(), abs=1e-2)
        assert int(self.data("fixed")) == int((given >= 0).sum())
        log_p, shown, written, of_fixed = (e.inner_text().replace("\u2212", "-") for e in self.part("facts dd").all())
        assert float(log_p.removesuffix(" nats")) == pytest.approx(-self.number("nats"), abs=0.006)
        assert float(shown) == pytest.approx(self.number("bits"), abs=6e-4)
        assert written == f"{done} of 784"
        if (given >= 0).any():
            assert float(of_fixed.removesuffix(" nats")) == pytest.approx(-self.number("fixed-nats"), abs=0.006)
        else:
            assert of_fixed == "none fixed"
        return logits

    def check_look(self, at, known=True):
        """The prediction and the receptive field of the pixel that is looked at."""
        assert int(self.data("at")) == at
        row, column = divmod(at, 28)
        text = self.part("about").inner_text()
        assert f"ow {row}, column {column}" in text
        field = int(pixelcnn.receptive_field(self.model, row, column).sum())
        assert int(self.data("field")) == field
        assert re.search(rf"sees {field} of the {at} pixels? before it", text)
        assert bool(self.part("field").get_attribute("d")) == (field > 0)
        if not known:
            assert "not predicted yet" in text and self.data("white") == ""
            return
        p, t = torch.sigmoid(self.logits()[at]).item(), self.number("temperature")
        assert self.number("white") == pytest.approx(p, abs=1e-4)
        warm = torch.sigmoid(self.logits()[at] / t).item()
        assert self.number("warm") == pytest.approx(warm, abs=5e-4)
        assert (f"at temperature {t:.2f}:" in text) == (t != 1)
        said = re.search(r"p\(white\) = ([\d.]+\d)", text)
        assert float(said[1]) == pytest.approx(p, abs=6e-4) if said else p < 6e-4 or p > 0.9994

    def drag(self, *places):
        """A stroke of the mouse through pixels (row, column)."""
        points = [self.at(*place) for place in places]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=5)
        self.page.mouse.up()
        self.settle()


def open_sampler(page, site, settle=True):
    page.goto(f"{site.url}/book/pixelcnn.html")
    page.wait_for_selector(".gentut-pixel-sampler[data-ready='1']")
    root = page.locator(".gentut-pixel-sampler").first
    sampler = Sampler(page, root)
    if settle:
        sampler.settle()
    root.scroll_into_view_if_needed()
    return sampler


@pytest.fixture
def sampler(page, site):
    return open_sampler(page, site)


# ------------------------------------------------------------------------------------------------------------- writing


def test_it_opens_with_what_the_notebook_left(sampler):
    state = sampler.state
    assert int(sampler.data("done")) == state["position"]
    assert int(sampler.data("seed")) == state["seed"]
    assert sampler.number("temperature") == state["temperature"]
    sampler.check()
    if 0 < state["position"] < 784:
        sampler.check_look(state["position"])
        assert sampler.part("about").inner_text().startswith("Next: row")


def test_the_page_has_the_published_network(sampler):
    if "pixelcnn-page" not in checkpoints.names():
        pytest.skip("pixelcnn-page is not published yet")
    want = checkpoints.load("pixelcnn-page", "cpu").state_dict()
    got = sampler.model.state_dict()
    assert want.keys() == got.keys()
    assert all(torch.equal(want[k], got[k]) for k in want)


def test_a_pixel_a_row_and_the_rest(sampler):
    sampler.press("Clear")
    assert sampler.button("Clear").is_disabled()
    assert sampler.part("about").inner_text().startswith("Next: row 0, column 0")
    for name, done in [("Pixel", 1), ("Pixel", 2), ("Row", 28), ("Row", 56), ("Finish", 784)]:
        sampler.press(name)
        assert int(sampler.data("done")) == done
        sampler.check()
    assert all(sampler.button(name).is_disabled() for name in ("Pixel", "Row", "Finish"))
    live = sampler.root.locator("[aria-live]")
    said = "e => e.textContent.startsWith('The picture is whole: log p ')"
    sampler.page.wait_for_function(said, arg=live.element_handle())


def test_a_seed_has_its_digit(sampler):
    sampler.press("Finish")
    first, seed = sampler.pixels, int(sampler.data("seed"))
    sampler.press("Clear")
    sampler.press("Finish")
    assert torch.equal(sampler.pixels, first)
    sampler.button("New digit").click()
    assert int(sampler.data("seed")) == seed + 1
    sampler.button("Finish").click()
    sampler.settle()
    assert not torch.equal(sampler.pixels, first)
    sampler.check()


def test_it_plays_at_the_chosen_speed_and_pauses(page, site):
    page.clock.install(time=0)
    sampler = open_sampler(page, site, settle=False)
    page.clock.pause_at(36_000_000)  # from here on no time passes but what the test lets pass
    page.clock.run_for(200)
    speed = sampler.root.get_by_role("slider", name="Speed")

    def go(ms):
        before = int(sampler.data("done"))
        page.clock.run_for(ms)
        return int(sampler.data("done")) - before

    sampler.button("Clear").click()
    page.clock.run_for(50)
    sampler.button("Play").press("Enter")
    assert go(1000) == pytest.approx(sampler.state["speed"], rel=0.05)
    sampler.button("Pause").press("Enter")
    page.clock.run_for(50)
    assert go(1000) == 0
    sampler.check()
    speed.press("Home")
    assert speed.get_attribute("aria-valuetext") == "1 px/s"
    sampler.button("Play").press("Enter")
    assert go(5000) == pytest.approx(5, abs=1)
    speed.press("End")
    page.clock.run_for(1500)
    assert int(sampler.data("done")) == 784, "2,000 pixels a second"
    assert sampler.button("Play").is_visible(), "playing ends by itself"
    sampler.check()
    sampler.button("Play").press("Enter")
    page.clock.run_for(50)
    assert 0 < int(sampler.data("done")) < 784, "a whole picture starts again"


def test_less_motion_means_no_motion_unasked(new_page, site):
    sampler = open_sampler(new_page(reduced_motion="reduce"), site)
    sampler.press("New digit")
    assert (sampler.data("done"), sampler.data("playing")) == ("784", "0")
    sampler.check()


def test_the_digit_and_the_temperature_can_be_chosen(sampler):
    sampler.press("Finish")
    first = sampler.pixels
    if sampler.classes:
        other = (int(sampler.data("label")) + 4) % sampler.classes
        sampler.choose(str(other), "Digit")
        assert int(sampler.data("label")) == other
        sampler.check()
        assert not torch.equal(sampler.pixels, first)
        first = sampler.pixels
    warmth = sampler.root.get_by_role("slider", name="Temperature")
    start, found = sampler.number("temperature"), []
    for key, value in [("Home", 0.2), ("End", 2)]:
        warmth.press(key)
        sampler.settle()
        assert sampler.number("temperature") == value
        sampler.check()
        found.append(sampler.pixels)
    assert not torch.equal(*found)
    warmth.fill(str(start))
    sampler.settle()
    assert torch.equal(sampler.pixels, first), "back at the old temperature it is the old picture"


# ------------------------------------------------------------------------------------------------------------- looking


def test_the_mouse_asks_a_pixel(sampler):
    sampler.press("Clear")
    for _ in range(14):
        sampler.button("Row").click()
    sampler.settle()
    sampler.check()
    for row, column in [(5, 9), (13, 27), (14, 0)]:  # the last is the next one to be written
        sampler.page.mouse.move(*sampler.at(row, column))
        sampler.settle()
        sampler.check_look(28 * row + column)
    sampler.page.mouse.move(*sampler.at(14, 1))
    sampler.settle()
    sampler.check_look(393, known=False)
    sampler.page.mouse.click(*sampler.at(9, 12))
    sampler.page.mouse.move(2, 2)
    sampler.settle()
    sampler.check_look(28 * 9 + 12)  # a click holds it
    sampler.page.mouse.click(*sampler.at(9, 12))
    sampler.page.mouse.move(2, 2)
    sampler.settle()
    sampler.check_look(392)  # a second lets it go
    sampler.root.get_by_role("slider", name="Temperature").press("Home")
    sampler.page.mouse.move(*sampler.at(6, 14))
    sampler.settle()
    sampler.check_look(28 * 6 + 14)


def test_arrow_keys_look_and_letters_fix(sampler):
    sampler.press("Finish")
    picture, press = sampler.part("pixels"), sampler.page.keyboard.press
    picture.focus()
    for key in ["Home", "ArrowDown", "ArrowDown", "Shift+ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"]:
        press(key)
    sampler.settle()
    sampler.check_look(28 + 4)
    live = sampler.root.locator("[aria-live]")
    sampler.page.wait_for_function("e => /^Row 1, column 4, p.white/.test(e.textContent)", arg=live.element_handle())
    press("w")
    sampler.settle()
    assert sampler.given.tolist() == [1 if i == 32 else -1 for i in range(784)]
    sampler.check()
    assert "fixed white" in sampler.part("about").inner_text()
    press("ArrowRight")
    press("b")
    sampler.settle()
    assert (sampler.given[32].item(), sampler.given[33].item(), sampler.data("fixed")) == (1, 0, "2")
    sampler.check()
    press("b")  # a second time takes it back
    press("ArrowLeft")
    press("Delete")
    press(" ")  # the pointer looks: nothing to fix
    sampler.settle()
    assert (sampler.given == -1).all()
    sampler.check()
    press("Escape")
    sampler.settle()
    assert sampler.data("at") == "-1"


# ------------------------------------------------------------------------------------------------------ fixing pixels


def test_the_mouse_paints_and_the_network_completes(sampler):
    sampler.press("Finish")
    before = sampler.pixels
    sampler.choose("white", "Pointer")
    sampler.drag((5, 5), (5, 15), (9, 15))
    stroke = {28 * 5 + c for c in range(5, 16)} | {28 * r + 15 for r in range(5, 10)}
    assert set((sampler.given == 1).nonzero().flatten().tolist()) == stroke
    assert (sampler.given == 0).sum() == 0
    sampler.check()
    assert torch.equal(sampler.pixels[: 28 * 5 + 5], before[: 28 * 5 + 5]), "what comes before stays"
    colours = np.array(sampler.part("pixels").evaluate(COLOURS))
    assert (colours[list(stroke)] == [140, 203, 250]).all()
    sampler.drag((5, 5), (5, 8))  # from a fixed pixel: takes them back
    assert set((sampler.given == 1).nonzero().flatten().tolist()) == stroke - {28 * 5 + c for c in range(5, 9)}
    sampler.choose("black", "Pointer")
    sampler.choose("3", "Brush")
    sampler.drag((20, 10))
    block = [28 * r + c for r in (19, 20, 21) for c in (9, 10, 11)]
    assert (sampler.given == 0).nonzero().flatten().tolist() == block
    sampler.check()
    sampler.choose("frees", "Pointer")
    sampler.drag((20, 10))
    assert (sampler.given == 0).sum() == 0
    sampler.press("Free all")
    assert (sampler.given == -1).all()
    assert torch.equal(sampler.pixels, before), "the same seed without fixed pixels is the old digit"
    assert sampler.button("Free all").is_disabled()


def test_pixels_fixed_ahead_show_at_once(sampler):
    sampler.press("Clear")
    sampler.choose("white", "Pointer")
    sampler.drag((20, 20))
    assert int(sampler.data("done")) == 0 and sampler.given[28 * 20 + 20] == 1
    colours = np.array(sampler.part("pixels").evaluate(COLOURS))
    assert (colours[28 * 20 + 20] == [140, 203, 250]).all()
    sampler.press("Finish")
    sampler.check()


def test_a_test_digit_is_scored_and_half_of_it_completed(sampler):
    labels = sampler.state["example_labels"]
    k = min(5, len(labels) - 1)
    sampler.root.get_by_role("button", name=f"Test digit {labels[k]}").first.press("Enter")
    sampler.settle()
    example = torch.tensor(list(sampler.state["examples"][784 * k : 784 * k + 784]))
    k = labels.index(labels[k])
    assert torch.equal(sampler.pixels, torch.tensor(list(sampler.state["examples"][784 * k : 784 * k + 784])))
    sampler.check()
    label = torch.tensor([labels[k]]) if sampler.classes else None
    with torch.no_grad():
        want = pixelcnn.log_prob(sampler.model, sampler.pixels.float().view(1, 1, 28, 28), label)
    assert -sampler.number("nats") == pytest.approx(want.item(), abs=1e-2)
    if sampler.classes:
        assert int(sampler.data("label")) == labels[k]
        scored = sampler.number("nats")
        sampler.choose(str((labels[k] + 1) % sampler.classes), "Digit")
        assert sampler.number("nats") != scored
        sampler.check()
    sampler.press("Keep the upper half")
    assert torch.equal(sampler.given[:392], example[:392]) and (sampler.given[392:] == -1).all()
    sampler.check()
    first = sampler.pixels
    for _ in range(3):
        sampler.button("New digit").click()
    sampler.button("Finish").click()
    sampler.settle()
    sampler.check()
    assert torch.equal(sampler.pixels[:392], example[:392])
    assert not torch.equal(sampler.pixels, first)


# ----------------------------------------------------------------------------------------------------------- its looks


def test_probabilities_and_nats_can_be_seen(sampler):
    sampler.press("Finish")
    sampler.page.mouse.move(2, 2)
    logits, pixels = sampler.check(), sampler.pixels
    colours = np.array(sampler.part("pixels").evaluate(COLOURS))
    assert (colours == np.where(pixels[:, None] == 1, WHITE, BLACK)).all()
    sampler.choose("p(white)")
    p = torch.sigmoid(logits).numpy()[:, None]
    np.testing.assert_allclose(sampler.part("pixels").evaluate(COLOURS), BLACK + (WHITE - BLACK) * p, atol=1)
    sampler.choose("nats")
    light = np.array(sampler.part("pixels").evaluate(COLOURS)).sum(1)
    nats = F.binary_cross_entropy_with_logits(logits, pixels.float(), reduction="none").clamp(max=3).numpy()
    order = np.argsort(nats)
    assert (np.diff(light[order]) >= -3).all(), "the more nats, the brighter"
    assert light[order[-1]] > light[order[0]] + 100


def touch(page, *points):
    """A finger: CDP's touch events, as Playwright has no drag with touch."""
    session = page.context.new_cdp_session(page)
    for name, point in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [{"x": point[0], "y": point[1]}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_looks_and_paints(phone, site):
    sampler = open_sampler(phone, site)
    phone.touchscreen.tap(*sampler.at(4, 20))
    sampler.settle()
    sampler.check_look(28 * 4 + 20)
    assert sampler.data("given") == ""
    sampler.choose("white", "Pointer")
    places = [sampler.at(8, column) for column in (6, 10, 14)]
    scrolled = "document.scrollingElement.scrollTop"
    top = phone.evaluate(scrolled)
    touch(phone, *places, (places[-1][0], places[-1][1] + 60))
    sampler.settle()
    assert phone.evaluate(scrolled) == top, "the page must not scroll under a finger that paints"
    assert {28 * 8 + c for c in range(6, 15)} <= set((sampler.given == 1).nonzero().flatten().tolist())
    sampler.press("Finish")
    sampler.check()
    wide = sampler.root.evaluate("""root => [...root.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect(), own = root.getBoundingClientRect();
      return box.width && !e.closest(".gt-hidden, svg") && (box.right > own.right + 1 || box.left < own.left - 1);
    }).map(e => e.className || e.tagName)""")
    assert wide == []
    assert sampler.root.bounding_box()["width"] <= 390


def test_text_keeps_clear_of_text(new_page, site):
    """No two pieces of text lie over each other, narrow or wide, with the longest texts shown."""
    for device in ("desktop", "phone"):
        sampler = open_sampler(new_page(device), site)
        sampler.choose("nats")
        sampler.press("Keep the upper half")
        sampler.root.get_by_role("slider", name="Temperature").press("Home")
        sampler.part("pixels").focus()
        sampler.page.keyboard.press("End")
        sampler.settle()
        assert "at temperature 0.20" in sampler.part("about").inner_text()
        over = sampler.root.evaluate("""root => {
          const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), boxes = [];
          while (walker.nextNode()) {
            const node = walker.currentNode;
            if (!node.textContent.trim() || node.parentElement.closest(".gt-hidden")) continue;
            const range = document.createRange();
            range.selectNodeContents(node);
            for (const box of range.getClientRects()) if (box.width > 1) boxes.push([box, node.textContent]);
          }
          const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
          return boxes.flatMap(([a, s], i) => boxes.slice(i + 1).filter(([b]) => meet(a, b)).map(([, t]) => `${s} | ${t}`));
        }""")  # noqa: E501
        assert over == [], device


def test_the_theme_changes_the_sheet_and_never_the_picture(sampler):
    page, looks, pictures = sampler.page, [], []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(100)
        sampler.settle()
        board = sampler.part("board")
        looks.append(board.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"))
        pictures.append(sampler.part("pixels").evaluate(COLOURS))
    assert pictures[0] == pictures[1]
    for theme, (background, ink) in zip(("light", "dark"), looks, strict=True):
        back, front = (sum(map(int, re.findall(r"\d+", c)[:3])) / 765 for c in (background, ink))
        assert (back > 0.9 and front < 0.3) if theme == "light" else (back < 0.2 and front > 0.9)


def test_every_control_has_a_name(sampler):
    nameless = sampler.root.evaluate("""root => [...root.querySelectorAll("button, input, canvas, [tabindex]")].filter(
      e => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim() || e.ariaHidden)
    ).map(e => e.outerHTML)""")
    assert nameless == []


def test_a_pixel_takes_less_than_a_millisecond(sampler):
    """The page's own processor time, drawing included; the best of a few pictures."""
    session = sampler.page.context.new_cdp_session(sampler.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        values = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        return 1000 * values["TaskDuration"]

    took = []
    for _ in range(4):
        sampler.press("Clear")
        before = busy()
        sampler.press("Finish")
        took.append((busy() - before) / 784)
    assert min(took) <= 1, took
