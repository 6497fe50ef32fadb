"""Every page for every reader: axe-core's rules, the keyboard alone, words for pictures, colours, targets, motion.

The pages are loaded without MathJax, which takes most of a page's time and has its own words for screen readers; what
it draws is looked at in test_pages.py. One load serves all tests of a page.
"""

import re

import pytest

from tests.browser.conftest import ROOT, unavailable, watched_page
from tests.browser.hands import FRAMES, SETTLED

AXE = ROOT / "site" / "node_modules" / "axe-core" / "axe.min.js"
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DECORATION = {"logo.svg"}  # pictures that say nothing beside the words next to them; their alt is empty
TARGET = 24  # pixels, WCAG 2.2, 2.5.8

# Rules over the page: [rule, impact, part, what is wrong]. Each listing is one text meanwhile: its thousands of words
# would take most of the time, and test_code_is_legible looks at their colours.
RUN = """async ([rules, only]) => {
  const listings = [...document.querySelectorAll("pre")].map(pre => [pre, [...pre.childNodes]]);
  for (const [pre] of listings) pre.textContent = pre.textContent;
  const found = await axe.run(document, {
    resultTypes: ["violations"], rules: { "target-size": { enabled: true } },
    runOnly: only ? { type: "rule", values: only } : { type: "tag", values: rules },
  });
  for (const [pre, words] of listings) pre.replaceChildren(...words);
  return found.violations.flatMap(each => each.nodes.map(node => [
    each.id, each.impact, node.html.slice(0, 160),
    [...node.any, ...node.all, ...node.none].map(why => why.message).join("; "),
  ]));
}"""

# Contrast (WCAG 2) of two colours; the ground behind an element, which is the nearest one that is not transparent.
COLOURS = """
const channels = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
const light = rgb => rgb.map(v => v / 255).map(v => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => {
  const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const ground = node => {
  for (; node; node = node.parentElement) {
    const { rgb, a } = channels(getComputedStyle(node).backgroundColor);
    if (a === 1) return rgb;
  }
  return [255, 255, 255];
};"""

# The colours of highlighted code that are too faint on their ground: [class, contrast].
FAINT_CODE = f"""() => {{ {COLOURS}
  const found = new Map();
  for (const word of document.querySelectorAll("pre span")) {{
    const key = word.className + getComputedStyle(word).color;
    if (!found.has(key) && word.textContent.trim())
      found.set(key, [word.className, contrast(channels(getComputedStyle(word).color).rgb, ground(word))]);
  }}
  return [[...found.values()].filter(([, value]) => value < 4.5), found.size];
}}"""

# Words in charts, which axe leaves undecided: [words, contrast with the ground] of the faint ones, and how many.
FAINT_WORDS = f"""() => {{ {COLOURS}
  const words = [...document.querySelectorAll(".gentut-widget svg text")]
    .filter(e => e.textContent.trim() && e.getBoundingClientRect().width);
  const of = e => [e.textContent, contrast(channels(getComputedStyle(e).fill).rgb, ground(e))];
  return [words.map(of).filter(([, value]) => value < 4.5), words.length];
}}"""

# What the Tab key should stop at in a widget, in order: of radio buttons with one name only the chosen one.
STOPS = """const stopsOf = root => {
  const names = new Set();
  return [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(e => {
    const seen = e.getClientRects().length && getComputedStyle(e).visibility !== "hidden";
    if (e.tabIndex < 0 || e.disabled || !seen) return false;
    if (e.type !== "radio") return true;
    const group = [...root.querySelectorAll("input[type=radio]")].filter(other => other.name === e.name);
    const first = group.find(other => other.checked) ?? group[0];
    return first === e && !names.has(e.name) && names.add(e.name);
  });
};
const nameOf = e => e.getAttribute("aria-label") || e.labels?.[0]?.textContent.trim() || e.textContent.trim();"""

# The ring around what has the focus: contrast of its colour with the ground, 0 where there is none.
RING = f"""{COLOURS}
const ringOf = stop => {{
  // A radio button behind its label and a canvas in its frame leave the ring to those.
  const hidden = getComputedStyle(stop).opacity === "0", frame = stop.closest(".gt-square") ?? stop;
  let best = 0;
  for (const part of [frame, hidden ? stop.nextElementSibling : stop, ...stop.querySelectorAll("*")]) {{
    const look = getComputedStyle(part), drawn = part instanceof SVGElement && !(part instanceof SVGSVGElement);
    const inside = parseFloat(look.outlineOffset) < 0;
    if (!drawn && look.opacity !== "0" && look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2)
      best = Math.max(best, contrast(channels(look.outlineColor).rgb, ground(inside ? part : part.parentElement)));
    if (drawn && part.classList.contains("gt-ring") && look.stroke !== "none" && parseFloat(look.strokeWidth) >= 2)
      best = Math.max(best, contrast(channels(look.stroke).rgb, ground(part)));
  }}
  return best;
}};"""

# A walk begins: what is to be met is known, a note is made of each stop, and buttons stand before and after the widget.
SET_OUT = f"""root => {{ {STOPS} {RING}
  const button = () => document.createElement("button");
  const fence = name => Object.assign(button(), {{ className: `walk-${{name}}`, textContent: name }});
  root.before(fence("in")); root.after(fence("out"));
  document.querySelector(".walk-in").focus();
  const wanted = stopsOf(root), always = wanted.filter(e => ringOf(e) > 0).map(nameOf), met = [];
  window.walked = {{ wanted, met, always }};
  root.walk = ({{ target }}) => {{ if (root.contains(target)) met.push([target, ringOf(target)]); }};
  document.addEventListener("focusin", root.walk);
  return wanted.length;
}}"""
ARRIVED = f"""root => {{ {STOPS}
  document.removeEventListener("focusin", root.walk);
  const {{ wanted, met, always }} = walked, last = document.activeElement.className;
  for (const fence of document.querySelectorAll(".walk-in, .walk-out")) fence.remove();
  return {{ last, always, inOrder: wanted.length === met.length && met.every(([e], i) => e === wanted[i]),
    met: met.map(([e, ring]) => [nameOf(e), ring]), wanted: wanted.map(nameOf) }};
}}"""

# All that a reader can see or hear of a widget, as one number; times that it measures are no news.
LOOK = """root => {
  let sum = 0;
  const add = text => { for (let i = 0; i < text.length; i++) sum = (Math.imul(sum, 31) + text.charCodeAt(i)) | 0; };
  add(root.outerHTML.replace(/ data-(ms|fps|net|latency|pace|rate|tiles)="[^"]*"/g, ""));
  for (const input of root.querySelectorAll("input, select")) add(`${input.value} ${input.checked}`);
  for (const canvas of root.querySelectorAll("canvas")) if (canvas.width && canvas.height) add(canvas.toDataURL());
  return sum;
}"""

# Kinds of controls and the keys that change them; the second set is for one that stands at its end.
KEYS = {
    "slider": (["ArrowRight"], ["ArrowLeft"]),
    "radio": (["ArrowRight"], ["ArrowLeft"]),
    "spinbutton": (["ArrowUp", "Enter"], ["ArrowDown", "Enter"]),
    "select": (["ArrowDown"], ["ArrowUp"]),
    "checkbox": (["Space"],),
    "button": (["Enter"], ["Space"]),
    "application": (["ArrowRight", "Space", "ArrowDown", "ArrowDown"], ["Enter"]),
}
KIND = """e => e.getAttribute("role") ?? (e.localName === "input"
  ? { range: "slider", number: "spinbutton" }[e.type] ?? e.type : e.localName)"""
TRIED = 2  # controls of one kind and class; the ten thumbnails of a widget are alike

NO_MATHJAX = "MathJax.startup.promise = Promise.resolve(); MathJax.typesetPromise = () => Promise.resolve();"


@pytest.fixture(scope="module")
def bare(browser, site, path):
    """The page for a reader who asks for less motion, its formulas as they are written; its record must stay clean."""
    if re.search("http-equiv=['\"]?refresh", (site.folder / path).read_text(encoding="utf-8"), re.IGNORECASE):
        pytest.skip("it only leads on to another page")
    page = watched_page(browser, site, reduced_motion="reduce")
    page.route("**/tex-chtml.js*", lambda route: route.fulfill(body=NO_MATHJAX, content_type="text/javascript"))
    page.goto(f"{site.url}/{path}")
    assert page.evaluate(SETTLED), "a widget never came up"
    yield page
    problems = page.watch.problems()
    page.context.close()
    assert problems == []


@pytest.fixture(scope="module", params=["light", "dark"])
def shown(bare, request):
    """The page by day on a desk, then by night in a window as wide as a phone: (page, theme)."""
    bare.emulate_media(color_scheme=request.param)
    bare.set_viewport_size({"width": 1400 if request.param == "light" else 390, "height": 900})
    bare.evaluate(FRAMES)
    theme = bare.evaluate("() => document.documentElement.dataset.theme ?? null")
    assert theme == (None if bare.url.endswith("404.html") else request.param)  # that page has the system's colours
    return bare, request.param


def test_no_serious_violation_of_the_rules(shown):
    if not AXE.is_file():
        unavailable("axe-core is not there: `make test` fetches it (or `npm ci` in site/)")
    page, theme = shown
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # A page's structure does not depend on the theme; its colours and the size of its targets do.
    found = page.evaluate(RUN, [STANDARD, None if theme == "light" else ["color-contrast", "target-size"]])
    assert [each for each in found if each[1] in ("serious", "critical")] == []


def test_code_and_charts_are_legible(shown):
    page, _ = shown
    faint, seen = page.evaluate(FAINT_CODE)
    assert faint == []
    assert seen > 3 or not page.locator("pre span").count()
    faint, seen = page.evaluate(FAINT_WORDS)
    assert faint == []
    assert seen > 0 or not page.locator(".gentut-widget svg text").count()


def test_targets_are_large_enough_for_a_finger(shown):
    page, _ = shown
    small = page.evaluate("""least => [...document.querySelectorAll(
      ".gentut-widget :is(button, input, select, [role=slider])")].filter(e => e.getClientRects().length).map(e => {
        const whole = ["radio", "checkbox"].includes(e.type) ? e.closest("label") : e.querySelector(".gt-reach");
        const { width, height } = (whole ?? e).getBoundingClientRect();
        return [e.getAttribute("aria-label") || e.textContent || e.labels?.[0]?.textContent, width, height];
      }).filter(([, width, height]) => Math.min(width, height) < least - 0.5)""", TARGET)
    assert small == []


def test_pictures_are_put_into_words(bare):
    pictures = bare.locator("article img").evaluate_all("all => all.map(e => [e.src.split('/').pop(), e.alt])")
    wordless = [(name, alt) for name, alt in pictures if len(alt) < 40 and not (name in DECORATION and alt == "")]
    assert wordless == []


def test_nothing_moves_unasked_for_readers_who_want_less_motion(bare):
    assert bare.evaluate("() => document.getAnimations().length") == 0
    for root in bare.locator(".gentut-widget").element_handles():
        quiet(root)
        assert root.evaluate("root => root.getAnimations({ subtree: true }).length") == 0
    gliding = bare.evaluate("""() => [...document.querySelectorAll("*")].filter(e => {
      const look = getComputedStyle(e);
      return look.animationName !== "none" || look.transitionDuration.split(",").some(time => parseFloat(time) > 0.01);
    }).map(e => e.outerHTML.slice(0, 100))""")
    assert gliding == []


def quiet(root):
    """Wait until a widget looks the same for a while; it fails where it never does."""
    before = root.evaluate(LOOK)
    for _ in range(50):
        root.evaluate("() => new Promise(done => setTimeout(done, 150))")
        now = root.evaluate(LOOK)
        if now == before:
            return now
        before = now
    raise AssertionError("the widget moves all the time")


def test_the_tab_key_walks_through_every_widget(bare):
    for root in bare.locator(".gentut-widget").element_handles():
        name = root.get_attribute("class")
        for _ in range(root.evaluate(SET_OUT) + 1):
            bare.keyboard.press("Tab")
        walk = root.evaluate(ARRIVED)
        assert walk["last"] == "walk-out", f"{name}: the focus is not out again: {walk}"
        assert walk["inOrder"], f"{name}: {walk}"
        assert walk["met"], f"{name} has nothing to hold"
        assert walk["always"] == [], f"{name}: a ring where there is no focus"
        faint = [(stop, ring) for stop, ring in walk["met"] if ring < 3]
        assert faint == [], f"{name}: no visible ring"
        assert all(stop for stop, _ in walk["met"]), f"{name}: a stop without a name"


def test_keys_work_every_kind_of_control(bare):
    for root in bare.locator(".gentut-widget").element_handles():
        name, changed, dead = root.get_attribute("class").split("gentut-")[-1], set(), {}
        quiet(root)
        controls = root.evaluate_handle(f"root => {{ {STOPS} return stopsOf(root); }}")
        counts = {}
        for control in controls.get_properties().values():
            control = control.as_element()
            kind, look = control.evaluate(KIND), control.get_attribute("class")
            counts[kind, look] = counts.get((kind, look), 0) + 1
            if counts[kind, look] > TRIED or not control.evaluate("e => e.getClientRects().length && !e.disabled"):
                continue  # enough of its kind, or another control has taken it away meanwhile
            if works(bare, root, control, kind):
                changed.add((kind, look))
            else:
                dead.setdefault((kind, look), []).append(control.evaluate(f"e => {{ {STOPS} return nameOf(e); }}"))
        print(name, sorted(map(str, changed)), dead)
        assert not set(dead) - changed, f"{name}: no key changes anything: {dead}"


def works(page, root, control, kind):
    """Whether one of the keys of its kind, pressed on a control, changes what the widget shows."""
    for keys in KEYS[kind]:
        control.focus()
        page.evaluate(FRAMES)
        before = root.evaluate(LOOK)
        for key in keys:
            page.keyboard.press(key)
        page.evaluate(FRAMES)
        after = root.evaluate(LOOK)
        if kind == "button" and re.match("Pause|Stop", control.inner_text()):
            page.keyboard.press("Enter")  # it plays: that was a change, and is enough
        if kind == "radio":  # back again: other controls may hang on the choice
            page.keyboard.press("ArrowLeft" if keys == ["ArrowRight"] else "ArrowRight")
        if after != before:
            return True
    return False
