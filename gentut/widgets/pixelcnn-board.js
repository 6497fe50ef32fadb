// The picture that a PixelSampler writes: what it shows of each pixel, and the pointer and keys on it.
import { clamp, el } from "./common.js";

const NS = "http://www.w3.org/2000/svg";
const MOST = 3;         // nats; the heat map shows all above as this
// The picture is white on black in both themes, as in the book's figures: "white" must mean white.
const UNKNOWN = [104, 113, 128], BLACK = [9, 11, 15], WHITE = [246, 247, 250], FIXED_BLACK = [16, 62, 106], FIXED_WHITE = [140, 203, 250];
const HEAT = [[0, BLACK], [0.4, [213, 94, 0]], [1, [255, 240, 178]]];

const mix = (a, b, t) => a.map((v, c) => v + (b[c] - v) * t);

// The heat map's colour of so many nats.
export function heat(nats) {
  const t = clamp(nats / MOST, 0, 1), k = HEAT.findIndex(([at]) => t <= at), upper = HEAT[Math.max(1, k)], lower = HEAT[Math.max(1, k) - 1];
  return mix(lower[1], upper[1], (t - lower[0]) / (upper[0] - lower[0]));
}

// An SVG path around the pixels where `inside` holds, one edge of a pixel after the other.
export function outline(inside, size) {
  const there = (row, column) => row >= 0 && row < size && column >= 0 && column < size && inside[row * size + column];
  let d = "";
  for (let row = 0; row < size; row++) for (let column = 0; column < size; column++) {
    if (!there(row, column)) continue;
    if (!there(row - 1, column)) d += `M${column} ${row}h1`;
    if (!there(row + 1, column)) d += `M${column} ${row + 1}h1`;
    if (!there(row, column - 1)) d += `M${column} ${row}v1`;
    if (!there(row, column + 1)) d += `M${column + 1} ${row}v1`;
  }
  return d;
}

// The pixels that a brush of some width covers, the pointer being at (row, column).
export function covered(row, column, width, size) {
  const from = -Math.floor((width - 1) / 2), found = [];
  for (let i = from; i < from + width; i++) for (let j = from; j < from + width; j++)
    if (row + i >= 0 && row + i < size && column + j >= 0 && column + j < size) found.push((row + i) * size + column + j);
  return found;
}

// The pixels on the way from one to another, both included, each next to the one before.
export function between(from, to, size) {
  const [a, b] = [Math.floor(from / size), from % size], [c, d] = [Math.floor(to / size), to % size], n = Math.max(Math.abs(c - a), Math.abs(d - b), 1);
  return Array.from({ length: n + 1 }, (_, k) => Math.round(a + ((c - a) * k) / n) * size + Math.round(b + ((d - b) * k) / n));
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const KEYS = { w: "white", W: "white", b: "black", B: "black", Delete: "free", Backspace: "free" };

// The board. Its owner is told: hover(i) the pixel under the mouse or -1, pick(i) a pixel clicked, tapped or reached by keys,
// paint([i, ...], tool, first) pixels to fix, the one pointed at before all others when it is the `first` of a stroke, and stroked() at its end; it is asked
// for tool(), brush() and looked(), the pixel that keys start from.
export function board({ size, hover, pick, paint, stroked, tool, brush, looked, signal }) {
  const canvas = el("canvas", { class: "gt-pixels", width: size, height: size, tabindex: 0, role: "application", "aria-roledescription": "picture",
    "aria-label": `Picture of ${size} by ${size} pixels. Arrow keys go from pixel to pixel. W fixes it white, B black, Space as the pointer would; Delete frees it.` });
  const path = name => { const node = document.createElementNS(NS, "path"); node.setAttribute("class", name); return node; };
  const lines = { given: path("gt-given"), casing: path("gt-casing"), field: path("gt-field"), here: path("gt-here") };
  const over = document.createElementNS(NS, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${size} ${size}`, class: "gt-over", "aria-hidden": "true" })) over.setAttribute(name, value);
  over.append(...Object.values(lines));
  const node = el("div", { class: "gt-square gt-board-picture" }, canvas, over);
  const image = new ImageData(size, size);
  const listen = (names, f) => { for (const name of names.split(" ")) canvas.addEventListener(name, f, { signal }); };

  const under = event => {
    const box = canvas.getBoundingClientRect(), index = (v, side) => clamp(Math.floor((v / side) * size), 0, size - 1);
    return index(event.clientY - box.top, box.height) * size + index(event.clientX - box.left, box.width);
  };
  const spot = i => covered(Math.floor(i / size), i % size, brush(), size);
  let stroke = null;      // { pointer, last } while a button or finger paints
  listen("pointerdown", event => {
    if (tool() === "look" || stroke || event.button > 0) return;
    stroke = { pointer: event.pointerId, last: under(event) };
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    paint([stroke.last, ...spot(stroke.last)], tool(), true);
  });
  listen("pointermove", event => {
    if (event.pointerType !== "touch") hover(under(event));
    if (event.pointerId !== stroke?.pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) {
      const now = under(each);
      if (now !== stroke.last) paint(between(stroke.last, now, size).slice(1).flatMap(spot), tool(), false);
      stroke.last = now;
    }
  });
  listen("pointerup pointercancel", event => { if (event.pointerId === stroke?.pointer) { stroke = null; stroked(); } });
  listen("pointerleave", event => { if (event.pointerType !== "touch") hover(-1); });
  // A click, and not the press of a finger that goes on to scroll the page.
  listen("click", event => { if (tool() === "look") pick(under(event)); });
  listen("keydown", event => {
    const step = STEPS[event.key], now = looked(), [row, column] = [Math.floor(now / size), now % size];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const within = v => clamp(v, 0, size - 1), far = event.shiftKey ? 4 : 1;
    if (step) pick(within(row + far * step[0]) * size + within(column + far * step[1]), true);
    else if (event.key === "Home" || event.key === "End") pick(row * size + (event.key === "Home" ? 0 : size - 1), true);
    else if (event.key === "Escape") pick(-1);
    else if (KEYS[event.key] || ((event.key === " " || event.key === "Enter") && tool() !== "look")) {
      pick(now, true);
      paint([now, ...spot(now)], KEYS[event.key] ?? tool(), true);
      stroked();
    } else if (event.key !== " ") return;
    event.preventDefault();
  });

  // What view "pixels", "white" or "nats" shows of pixel i, as [r, g, b].
  function shade(i, { view, page, goal, given }) {
    const written = i < goal && page.pixels[i] >= 0, fixed = given.length && given[i] >= 0;
    if (view === "pixels" && (written || fixed)) {
      if (fixed) return given[i] ? FIXED_WHITE : FIXED_BLACK;
      return page.pixels[i] ? WHITE : BLACK;
    }
    if (view === "white" && i < page.known) return mix(BLACK, WHITE, page.white(i));  // the next pixel's too
    return view === "nats" && i < page.done ? heat(page.cost[i]) : UNKNOWN;
  }
  const set = (line, d) => { if (line.getAttribute("d") !== d) line.setAttribute("d", d); };
  // Paint it all. field: the mask of the pixels that pixel `at` sees, or null.
  function draw(state) {
    const { given, at, field, tool: now } = state;
    for (let i = 0; i < size * size; i++) {
      const [r, g, b] = shade(i, state);
      image.data.set([r, g, b, 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    set(lines.given, given.length ? outline(given.map(v => v >= 0), size) : "");
    const around = field ? outline(field, size) : "";
    set(lines.casing, around);
    set(lines.field, around);
    set(lines.here, at >= 0 ? `M${at % size} ${Math.floor(at / size)}h1v1h-1z` : "");
    canvas.classList.toggle("gt-paint", now !== "look");
  }
  return { node, canvas, draw };
}

// What the colours of a view mean, for the line below the board.
export function legend(view) {
  const swatch = (kind, text) => el("span", { class: `gt-key gt-key-${kind}` }, text);
  const ramp = (kind, low, high) => el("span", { class: "gt-ramp-row" }, low, el("span", { class: `gt-ramp gt-ramp-${kind}` }), high);
  const about = {
    pixels: [swatch("drawn", "drawn"), swatch("fixed", "fixed")],
    white: [ramp("white", "p(white): 0", "1")],
    nats: [ramp("nats", "nats: 0", `${MOST}+`)],
  }[view];
  return [...about, swatch("unknown", "to come"), swatch("field", "what it sees")];
}
