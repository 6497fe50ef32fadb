"""What a reader does with a widget, and what no widget may get wrong: shared by the browser tests of all chapters.

A chapter's tests name its widgets and open them with the fixture `open_widget` (conftest.py):

    from tests.browser.hands import Widget

    class Urn(Widget):
        path, name = "book/probability.html", "urn"  # the page, and the root's class gentut-urn

    @pytest.fixture
    def urn(open_widget):
        return open_widget(Urn)

    def test_ten_balls_are_drawn(urn):
        urn.click("Draw 10")
        assert urn.number("n") == 110

Read:    data, text, number, numbers, cells, words, ink, saved_states
Do:      click, choose, keys, drag, drag_by, drag_slowly, touch; at says where a knob or a part is
Wait:    settle, still, said
Look:    in_both_themes, board, colours, sticks_out, overlaps, nameless

Each step of Playwright's costs milliseconds on a quiet machine and many on a busy one. So `data` reads all numbers of a
widget in one step, and a check of many numbers begins with `now = widget.data()`.
"""

import base64
import contextlib
import json
import re

import numpy as np
import playwright.sync_api as playwright

STATE = 'script[type="application/vnd.jupyter.widget-state+json"]'
VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]'

# Resolves when MathJax has drawn all formulas (a page without formulas does not load it) and each widget is up.
SETTLED = f"""async () => {{
  await window.MathJax?.startup?.promise;
  const views = document.querySelectorAll('{VIEW}').length;
  const settled = () => document.querySelectorAll(".gentut-widget-area > *, .gentut-widget-note").length >= views;
  const end = performance.now() + 20000;
  while (!settled() && performance.now() < end) await new Promise(go => setTimeout(go, 10));
  return settled();
}}"""

# Two frames: what was asked for in the first is drawn, and what that changed (a size, a trait) in the second.
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

# Ends when the last change of colour or place has run out.
STILL = f"""async root => {{
  const frames = {FRAMES};
  await frames();
  const ends = animation => Number.isFinite(animation.effect.getComputedTiming().endTime);
  await Promise.all(root.getAnimations({{ subtree: true }}).filter(ends).map(each => each.finished.catch(() => {{}})));
  await frames();
}}"""

# A part that a reader can see: with a size, and neither hidden nor cut to a shape.
SEEN = """const seen = (e, but) => {
  const box = e.getBoundingClientRect(), not = ".gt-hidden, defs, clipPath, [clip-path]";
  return box.width && getComputedStyle(e).visibility !== "hidden" && !e.closest(but ? `${not}, ${but}` : not) && box;
};"""


def visit(page, url):
    """Open a page and wait until its formulas and widgets are there and it asks for nothing more.

    The wait for quiet has an end: on a busy machine Chromium now and then never says that a widget's code, which is a
    blob, has arrived, though the widget is up.
    """
    page.goto(url, wait_until="load")
    with contextlib.suppress(playwright.TimeoutError):
        page.wait_for_load_state("networkidle", timeout=5000)
    assert page.evaluate(SETTLED), "a widget never came up"


def brightness(colour):
    """From 0 (black) to 1 (white), of a CSS colour such as "rgb(18, 18, 18)"."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


def scrolled(page):
    """How far the page is scrolled, in pixels."""
    return page.evaluate("document.scrollingElement.scrollTop")


def touch(page, *points):
    """A finger put down at the first of the points, moved along the others, and lifted.

    These are CDP's touch events: Playwright has no drag with touch. The finger moves at a finger's pace and rests
    before it is lifted. A quick one would fling, and Chromium takes the next tap for the one that ends the fling.
    """
    session = page.context.new_cdp_session(page)
    for i, (x, y) in enumerate([*points, points[-1]]):
        session.send("Input.dispatchTouchEvent", {
            "type": "touchMove" if i else "touchStart", "touchPoints": [{"x": x, "y": y}],
        })
        page.wait_for_timeout(50)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def ink(canvas):
    """What a widget drew on a canvas as opacity, float (height, width) in [0, 1]; one number would be slow to fetch."""
    width, height, text = canvas.evaluate("""canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), text = [];
      for (let i = 3; i < data.length; i += 4) text.push(String.fromCharCode(data[i]));
      return [canvas.width, canvas.height, btoa(text.join(""))];
    }""")
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width) / 255


def usual(moves, time="ms"):
    """The lower quartile of a widget's times after many moves: a busy machine slows some of them, a slow widget all.

    moves: its Data after each move, which must differ. (Times may well be equal: a browser's clock ticks coarsely.)
    """
    shown = {frozenset((k, v) for k, v in now.items() if k not in ("ms", "latency")) for now in moves}
    assert len(shown) > len(moves) / 2, "the widget was not drawn anew"
    return sorted(now.number(time) for now in moves)[len(moves) // 4]


def saved_states(page):
    """The stored state of every widget on the page, its buffers decoded."""
    found = []
    for text in page.locator(STATE).all_text_contents():
        for entry in json.loads(text)["state"].values():
            state = dict(entry["state"])
            for buffer in entry.get("buffers", []):
                state[buffer["path"][0]] = base64.b64decode(buffer["data"])
            found.append(state)
    return found


class Data(dict):
    """The attributes data-* of a widget at one moment, by their names without data-."""

    def numbers(self, name):
        """An attribute as a list of numbers, empty where there is no such attribute."""
        return [float(v) for v in self.get(name, "").replace(";", " ").replace("Infinity", "inf").split()]

    def number(self, name):
        """An attribute that is one number."""
        (value,) = self.numbers(name)
        return value


class Widget:
    """A widget on a page. A subclass says where: `path` of the page and `name`, the root's class without gentut-."""

    path = name = ""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(f".gentut-{self.name}").first
        page.wait_for_selector(f".gentut-{self.name}[data-ready='1']")
        self.root.scroll_into_view_if_needed()
        self.node = self.root.element_handle()
        self.settle()

    @classmethod
    def on(cls, page, site):
        """The widget on a page of the test's own, loaded now; `open_widget` is quicker."""
        page.goto(f"{site.url}/{cls.path}")
        return cls(page)

    # ----------------------------------------------------------------------------------------------------------- read

    def part(self, name):
        """The parts with class gt-NAME."""
        return self.root.locator(f".gt-{name}")

    def data(self):
        """All numbers that the widget shows in attributes, at one moment."""
        return Data(self.node.evaluate("""e => Object.fromEntries([...e.attributes]
          .filter(a => a.name.startsWith("data-")).map(a => [a.name.slice(5), a.value]))"""))

    def text(self, name):
        """The attribute data-NAME, or None."""
        return self.data().get(name)

    def numbers(self, name):
        """The attribute data-NAME as a list of numbers."""
        return self.data().numbers(name)

    def number(self, name):
        """The attribute data-NAME, which is one number."""
        return self.data().number(name)

    def cells(self, table):
        """The body of a table as rows of text, true minus signs made ASCII."""
        rows = self.node.evaluate("""(e, table) => [...e.querySelectorAll(`${table} tbody tr`)].map(
          row => [...row.querySelectorAll("td")].map(cell => cell.innerText.trim()))""", table)
        return [[text.replace("\u2212", "-") for text in row] for row in rows]

    def words(self, name=None):
        """All words of a part, or of the widget, as a reader sees them, true minus signs made ASCII."""
        return (self.part(name) if name else self.root).inner_text().replace("\u2212", "-")

    # ----------------------------------------------------------------------------------------------------------- wait

    def settle(self):
        """Wait until what was asked for has been drawn."""
        self.page.evaluate(FRAMES)

    def still(self):
        """Wait until what was asked for has been drawn and no colour or place changes any more."""
        self.node.evaluate(STILL)

    def said(self, words):
        """What a screen reader hears, as soon as it holds these words; what came just before may delay it."""
        live = self.root.locator("[aria-live]")
        self.page.wait_for_function("([e, text]) => e.textContent.includes(text)", arg=[live.element_handle(), words])
        return live.text_content()

    # ------------------------------------------------------------------------------------------------------------- do

    def click(self, name):
        """Press a button with the mouse."""
        self.root.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def choose(self, name):
        """Choose one of several radio buttons by a click on its label, which may lie over the button itself."""
        button = self.page.get_by_role("radio", name=name, exact=True)
        self.root.locator("label").filter(has=button).click()
        self.settle()
        assert self.root.get_by_role("radio", name=name, exact=True).is_checked()

    def knob(self, name):
        """The handle of a chart, or a slider, by its accessible name."""
        return self.root.get_by_role("slider", name=name, exact=True)

    def keys(self, target, *keys):
        """Press keys with the focus on a knob, given by its name, or on a locator."""
        (self.knob(target) if isinstance(target, str) else target).focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def at(self, target, x=0.5, y=0.5):
        """Page coordinates of a point, x and y in 0..1 from the top left, of a locator or of a knob given by its name;
        scrolls it into view."""
        where = self.knob(target).locator(".gt-knob") if isinstance(target, str) else target
        where.scroll_into_view_if_needed()
        box = where.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, start, *ends):
        """Drag with the mouse from a point of the page over others."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        for end in ends:
            mouse.move(*end, steps=5)
            self.settle()
        mouse.up()
        self.settle()

    def drag_by(self, name, *ways):
        """Drag a knob with the mouse by (dx, dy) pixels, several times without letting go."""
        ends = [self.at(name)]
        for dx, dy in ways:
            ends.append((ends[-1][0] + dx, ends[-1][1] + dy))
        self.drag(*ends)

    def drag_slowly(self, start, dx, dy):
        """Milliseconds that the widget takes for a move of the mouse with its button down, as `usual` counts them."""
        mouse, moves = self.page.mouse, []
        mouse.move(*start)
        mouse.down()
        for i in range(24):
            mouse.move(start[0] + dx * i, start[1] + dy * i)
            self.settle()
            moves.append(self.data())
        mouse.up()
        return usual(moves)

    def touch(self, *points):
        """A finger on points of the page; it asserts that the page does not scroll under the finger."""
        top = scrolled(self.page)
        touch(self.page, *points)
        self.settle()
        assert scrolled(self.page) == top, "the page must not scroll under the finger"

    def pace(self, name, play, steps):
        """Press the button `play`; milliseconds between changes of data-NAME, on average over so many of them."""
        self.node.evaluate("""(e, name) => {
          let before = e.dataset[name];
          const times = e.changes = [];
          new MutationObserver(() => {
            if (e.dataset[name] !== before) times.push(performance.now());
            before = e.dataset[name];
          }).observe(e, { attributeFilter: [`data-${name}`] });
        }""", name)
        play.click()
        self.page.wait_for_function("([e, n]) => e.changes.length >= n", arg=[self.node, steps])
        first, *_, last = times = self.node.evaluate("e => e.changes")
        return (last - first) / (len(times) - 1)

    # ----------------------------------------------------------------------------------------------------------- look

    def in_both_themes(self):
        """Switch the page to light and to dark; yields the theme's name when all colours have changed."""
        for theme in ("light", "dark"):
            self.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            self.still()
            yield theme

    def colours(self, *parts):
        """Computed colours: for each (selector, property) that of the first such element, as CSS text."""
        return self.node.evaluate("""(e, parts) => parts.map(
          ([part, property]) => getComputedStyle(e.querySelector(part))[property])""", parts)

    def board(self):
        """Brightness, 0 to 1, of the widget's ground and of its text."""
        return [brightness(c) for c in self.colours((".gt-board", "backgroundColor"), (".gt-board", "color"))]

    def sticks_out(self, but=""):
        """What reaches out of the widget to a side, or makes the page wider than its window; `but` is a selector of
        parts that may, such as the large invisible surfaces of handles."""
        return self.node.evaluate(f"""(root, but) => {{ {SEEN}
          const own = root.getBoundingClientRect();
          const out = [...root.querySelectorAll("*")].filter(e => {{
            const box = seen(e, but);
            return box && (box.right > own.right + 1 || box.left < own.left - 1);
          }}).map(e => e.outerHTML.slice(0, 100));
          const page = Math.max(document.scrollingElement.scrollWidth, own.width);
          return page > innerWidth ? [...out, `${{page}} pixels in a window of ${{innerWidth}}`] : out;
        }}""", but)

    def overlaps(self, parts="text", within="", down=2, but=""):
        """Pairs of words that lie on one another by more than 1 pixel across and `down` pixels downwards.

        `parts` is a selector of what holds words; with `within` only words in the same such box are compared.
        """
        return self.node.evaluate(f"""(root, [parts, within, down, but]) => {{ {SEEN}
          const all = [...root.querySelectorAll(parts)].filter(e => e.textContent.trim() && seen(e, but))
            .map(e => [e, e.getBoundingClientRect(), within && e.closest(within)]);
          return all.flatMap(([a, p, box], i) => all.slice(i + 1).filter(([b, q, other]) =>
            !a.contains(b) && !b.contains(a) && box === other
            && Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
            && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > down
          ).map(([b]) => `${{a.textContent}} / ${{b.textContent}}`));
        }}""", [parts, within, down, but])

    def nameless(self):
        """Controls and pictures that a screen reader could not name."""
        return self.node.evaluate("""root => [...root.querySelectorAll(
          "button, input, select, canvas, fieldset, [tabindex], [role=img], [role=group], [role=slider]"
          )].filter(e => !(
            e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim()
            || e.ariaHidden === "true")).map(e => e.outerHTML.slice(0, 200))""")
