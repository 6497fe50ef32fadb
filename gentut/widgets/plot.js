// Charts for the widgets: axes, curves, bars, and handles that pointer, finger and keyboard can move. SVG, so that the
// theme colours it and a screen reader finds the handles. Everything is given in the units of the axes; a chart lays
// itself out again when its width or its ranges change.
import { clamp, el, number } from "./common.js";

const NS = "http://www.w3.org/2000/svg";

// As `el`, for SVG.
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child != null));
  return node;
}

// Round numbers from low to high, about `count` of them, 1, 2 or 5 times a power of ten apart.
export function ticks(low, high, count = 5) {
  const raw = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(k => k * power >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// Places for labels that want to be at `wanted` (sorted) but must stay `gap` apart within low to high.
export function spread(wanted, gap, low, high) {
  const at = wanted.map(v => clamp(v, low, high));
  for (let i = 1; i < at.length; i++) at[i] = Math.max(at[i], at[i - 1] + gap);
  if (at.length) at[at.length - 1] = Math.min(at[at.length - 1], high);
  for (let i = at.length - 2; i >= 0; i--) at[i] = Math.min(at[i], at[i + 1] - gap);
  return at;
}

const short = v => String(Number(v.toPrecision(6))).replace("-", "\u2212");

// A chart. x and y: { range: [low, high], label, ticks } with ticks a count, a list of numbers or of [value, text], or 0 for
// none. height: CSS pixels, or a function of the width. margin: { top, right, bottom, left } in pixels.
//
// Layers come from the methods below, first drawn lowest; each has .set(...) and .node, and `class` may name one of
// gt-p, gt-q, gt-data, gt-learned, gt-noise, gt-truth, gt-quiet for its colour (plot.css).
export function chart({ label, x = {}, y = {}, height = 200, margin = {}, signal }) {
  const axes = { x: { range: [0, 1], ticks: 5, ...x }, y: { range: [0, 1], ticks: 4, ...y } };
  const edge = { top: 10, right: 12, bottom: 22 + (axes.x.label ? 16 : 0), left: axes.y.ticks ? 40 : 12, ...margin };
  if (axes.y.label) edge.top += 14;
  const ground = svg("g", { "aria-hidden": "true" }), body = svg("g");
  const root = svg("svg", { class: "gt-plot", role: "group", "aria-label": label }, ground, body);
  const node = el("div", { class: "gt-plot-box" }, root);
  const layers = [];
  let width = 0, tall = 0;

  const scale = {
    x: v => edge.left + ((v - axes.x.range[0]) / (axes.x.range[1] - axes.x.range[0])) * (width - edge.left - edge.right),
    y: v => tall - edge.bottom - ((v - axes.y.range[0]) / (axes.y.range[1] - axes.y.range[0])) * (tall - edge.top - edge.bottom),
  };
  const back = {
    x: px => axes.x.range[0] + ((px - edge.left) / (width - edge.left - edge.right)) * (axes.x.range[1] - axes.x.range[0]),
    y: py => axes.y.range[0] + ((tall - edge.bottom - py) / (tall - edge.top - edge.bottom)) * (axes.y.range[1] - axes.y.range[0]),
  };
  const far = (axis, v) => scale[axis](clamp(v, ...wide(axes[axis].range)));  // infinities stay drawable
  const wide = ([low, high]) => [low - 9 * (high - low), high + 9 * (high - low)];

  const clip = `gt-clip-${Math.random().toString(36).slice(2)}`;
  const window_ = svg("rect"), clipped = svg("clipPath", { id: clip }, window_);
  root.prepend(svg("defs", {}, clipped));

  function frame() {
    const low = scale.y(axes.y.range[0]), left = scale.x(axes.x.range[0]), right = scale.x(axes.x.range[1]), top = scale.y(axes.y.range[1]);
    for (const [name, value] of Object.entries({ x: left, y: top - 4, width: Math.max(0, right - left), height: Math.max(0, low - top + 5) })) window_.setAttribute(name, value);
    const items = [];
    for (const axis of ["x", "y"]) {
      const { range, ticks: wanted, label: name } = axes[axis];
      const room = axis === "x" ? Math.max(2, Math.min(wanted, Math.floor(width / 70))) : wanted;
      const list = wanted === 0 ? [] : Array.isArray(wanted) ? wanted.map(t => (Array.isArray(t) ? t : [t, short(t)])) : ticks(...range, room).map(t => [t, short(t)]);
      for (const [at, text] of list) {
        if (at < range[0] - 1e-9 || at > range[1] + 1e-9) continue;
        if (axis === "x") items.push(svg("text", { class: "gt-tick", x: scale.x(at), y: low + 15, "text-anchor": "middle" }, text));
        else items.push(svg("line", { class: "gt-grid", x1: left, x2: right, y1: scale.y(at), y2: scale.y(at) }),
          svg("text", { class: "gt-tick", x: left - 6, y: scale.y(at) + 4, "text-anchor": "end" }, text));
      }
      if (name && axis === "x") items.push(svg("text", { class: "gt-axis", x: right, y: low + 32, "text-anchor": "end" }, name));
      if (name && axis === "y") items.push(svg("text", { class: "gt-axis", x: 2, y: 11 }, name));
    }
    const base = axes.y.range[0] <= 0 && axes.y.range[1] >= 0 ? scale.y(0) : low;
    items.push(svg("line", { class: "gt-base", x1: left, x2: right, y1: base, y2: base }));
    ground.replaceChildren(...items);
  }
  function repaint() {
    if (!width) return;
    frame();
    for (const layer of layers) layer.paint();
  }
  function measure() {
    const now = Math.round(node.clientWidth);
    if (!now || now === width) return;
    width = now;
    tall = Math.round(typeof height === "function" ? height(width) : height);
    root.setAttribute("viewBox", `0 0 ${width} ${tall}`);
    root.setAttribute("width", width);
    root.setAttribute("height", tall);
    repaint();
  }
  const observer = new ResizeObserver(measure);
  observer.observe(node);
  signal?.addEventListener("abort", () => observer.disconnect());

  // A layer of one's own: paint(chart) is called whenever the chart is laid out anew; `node` goes into the chart.
  function layer(node_, paint, inside = true) {
    if (inside) node_.setAttribute("clip-path", `url(#${clip})`);
    body.append(node_);
    const own = { node: node_, paint: () => width && paint() };
    layers.push(own);
    own.paint();
    return own;
  }
  const pathOf = points => points.map(([a, b], i) => `${i ? "L" : "M"}${far("x", a).toFixed(2)} ${far("y", b).toFixed(2)}`).join("");

  // A line through points [[x, y], ...].
  function curve(options = {}) {
    let points = [];
    const path = svg("path", { class: `gt-curve ${options.class ?? ""}` });
    const own = layer(path, () => path.setAttribute("d", pathOf(points)));
    own.set = given => { points = given; own.paint(); };
    return own;
  }
  // The surface between points [[x, y], ...] and `base` (a number).
  function area(options = {}) {
    let points = [], base = 0;
    const path = svg("path", { class: `gt-area ${options.class ?? ""}` });
    const own = layer(path, () => path.setAttribute("d",
      points.length ? `${pathOf(points)}L${far("x", points.at(-1)[0])} ${far("y", base)}L${far("x", points[0][0])} ${far("y", base)}Z` : ""));
    own.set = (given, floor = 0) => { points = given; base = floor; own.paint(); };
    return own;
  }
  // Straight lines across the chart at values of one axis.
  function rule({ axis = "x", ...options } = {}) {
    let values = [];
    const group = svg("g");
    const own = layer(group, () => group.replaceChildren(...values.map(v => svg("line", {
      class: `gt-rule ${options.class ?? ""}`,
      ...(axis === "x" ? { x1: scale.x(v), x2: scale.x(v), y1: scale.y(axes.y.range[0]), y2: scale.y(axes.y.range[1]) }
        : { y1: scale.y(v), y2: scale.y(v), x1: scale.x(axes.x.range[0]), x2: scale.x(axes.x.range[1]) }) }))));
    own.set = (...given) => { values = given; own.paint(); };
    return own;
  }
  // Dots at points [[x, y], ...], `radius` in pixels.
  function dots({ radius = 3, ...options } = {}) {
    let points = [];
    const group = svg("g");
    const own = layer(group, () => group.replaceChildren(...points.map(([a, b]) =>
      svg("circle", { class: `gt-dot-mark ${options.class ?? ""}`, cx: far("x", a), cy: far("y", b), r: radius }))), false);
    own.set = given => { points = given; own.paint(); };
    return own;
  }
  // Bars [[x, height], ...], `width` in units of x, `shift` sideways.
  function bars({ width: wide_ = 0.8, shift = 0, ...options } = {}) {
    let items = [];
    const group = svg("g");
    const own = layer(group, () => group.replaceChildren(...items.map(([a, b]) => {
      const top = far("y", Math.max(b, 0)), low = far("y", Math.min(b, 0));
      return svg("rect", { class: `gt-bar ${options.class ?? ""}`, x: scale.x(a + shift - wide_ / 2),
        width: Math.max(0, scale.x(wide_) - scale.x(0)), y: top, height: Math.max(0, low - top) });
    })));
    own.set = given => { items = given; own.paint(); };
    return own;
  }
  // Words at places: [[x, y, text, anchor, dx, dy], ...] (anchor "start", "middle" or "end"; dx, dy in pixels).
  function words(options = {}) {
    let items = [];
    const group = svg("g", { "aria-hidden": "true" });
    const own = layer(group, () => group.replaceChildren(...items.map(([a, b, text, anchor = "middle", dx = 0, dy = 0]) =>
      svg("text", { class: `gt-word ${options.class ?? ""}`, x: far("x", a) + dx, y: far("y", b) + dy, "text-anchor": anchor }, text))), false);
    own.set = given => { items = given; own.paint(); };
    return own;
  }

  // Something to drag. axis: "x", "y" or "xy". bounds: { x: [low, high], y: [low, high] }, default the axes' ranges.
  // step: { x, y } of an arrow key (Page keys and Shift: ten of them). show({ x, y }): the value in words. oninput is called with { x, y };
  // the owner answers with put({ x, y }). Home and End go to the bounds of the (first) axis. reach(): how far beside and above its centre, in
  // pixels, a pointer still takes it; where handles lie close together, less than the 22 that suit a finger.
  function handle({ label: name, axis = "x", bounds = {}, step = {}, show = v => number(v[axis[0]]), oninput, onend, radius = 8, reach = () => [22, 22], ...options }) {
    let at = { x: 0, y: 0 }, grip = null;
    const limit = a => bounds[a] ?? axes[a].range, by = a => step[a] ?? (axes[a].range[1] - axes[a].range[0]) / 100;
    const surface = svg("ellipse", { class: "gt-reach" }), knob = svg("circle", { class: "gt-knob", r: radius }), ring = svg("circle", { class: "gt-ring", r: radius + 4 });
    const group = svg("g", { class: `gt-handle gt-along-${axis} ${options.class ?? ""}`, role: "slider", tabindex: 0, "aria-label": name,
      ...(axis === "xy" ? { "aria-roledescription": "point" } : { "aria-orientation": axis === "x" ? "horizontal" : "vertical" }) },
    surface, ring, knob);
    const move = wanted => {
      const next = { ...at };
      for (const a of axis) next[a] = clamp(wanted[a] ?? at[a], ...limit(a));
      at = next;  // two keys within one frame are two steps, though the owner answers once a frame
      oninput(next);
    };
    const pixel = event => { const box = root.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
    group.addEventListener("pointerdown", event => {
      if (event.button) return;
      const p = pixel(event);
      grip = { x: p.x - far("x", at.x), y: p.y - far("y", at.y) };
      group.setPointerCapture(event.pointerId);
      group.focus({ preventScroll: true });
      event.preventDefault();
    });
    group.addEventListener("pointermove", event => {
      if (!grip) return;
      const p = pixel(event);
      move({ x: back.x(p.x - grip.x), y: back.y(p.y - grip.y) });
    });
    const drop = () => { if (grip) { grip = null; onend?.(); } };
    for (const name_ of ["pointerup", "pointercancel", "lostpointercapture"]) group.addEventListener(name_, drop);
    group.addEventListener("keydown", event => {
      const ten = event.shiftKey ? 10 : 1, a = axis[0];
      const go = { ArrowRight: ["x", ten], ArrowLeft: ["x", -ten], ArrowUp: ["y", ten], ArrowDown: ["y", -ten],
        PageUp: [axis.at(-1), 10], PageDown: [axis.at(-1), -10] }[event.key];
      if (go) {
        const along = axis.includes(go[0]) ? go[0] : a;  // on one axis all four arrows work
        move({ [along]: at[along] + go[1] * by(along) });
      } else if (event.key === "Home") move({ [a]: limit(a)[0] });
      else if (event.key === "End") move({ [a]: limit(a)[1] });
      else return;
      event.preventDefault();
      onend?.();
    });
    const own = layer(group, () => {
      reach().forEach((far_, i) => surface.setAttribute(i ? "ry" : "rx", Math.max(radius, far_)));
      group.setAttribute("transform", `translate(${far("x", at.x).toFixed(2)} ${far("y", at.y).toFixed(2)})`);
    }, false);
    own.put = given => {
      at = { ...at, ...given };
      const a = axis[0];
      group.setAttribute("aria-valuemin", limit(a)[0]); group.setAttribute("aria-valuemax", limit(a)[1]);
      group.setAttribute("aria-valuenow", at[a]); group.setAttribute("aria-valuetext", show(at));
      own.paint();
    };
    return own;
  }
  // The chart's whole surface as something to point at: oninput({ x, y }) while a button or finger is down.
  function pad({ oninput }) {
    const rect = svg("rect", { class: "gt-pad-area" });
    const own = layer(rect, () => {
      for (const [name, value] of Object.entries({ x: scale.x(axes.x.range[0]), y: scale.y(axes.y.range[1]),
        width: width - edge.left - edge.right, height: tall - edge.top - edge.bottom })) rect.setAttribute(name, value);
    });
    let down = false;
    const tell = event => {
      const box = root.getBoundingClientRect();
      oninput({ x: clamp(back.x(event.clientX - box.left), ...axes.x.range), y: clamp(back.y(event.clientY - box.top), ...axes.y.range) });
    };
    rect.addEventListener("pointerdown", event => { if (event.button) return; down = true; rect.setPointerCapture(event.pointerId); tell(event); });
    rect.addEventListener("pointermove", event => { if (down) tell(event); });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) rect.addEventListener(name, () => { down = false; });
    return own;
  }
  // New ranges, { x: [low, high], y: [low, high] }, either or both.
  function range(given) {
    let changed = false;
    for (const a of Object.keys(given)) {
      if (given[a][0] === axes[a].range[0] && given[a][1] === axes[a].range[1]) continue;
      axes[a].range = given[a];
      changed = true;
    }
    if (changed) repaint();
  }
  const name = text => root.setAttribute("aria-label", text);
  return { node, root, axes, x: v => scale.x(v), y: v => scale.y(v), layer, curve, area, rule, dots, bars, words, handle, pad, range, name, repaint };
}

// Names and values in a grid: facts({ key: "name", ... }) → { node, put(key, text) }. A name may be [text, class].
export function facts(names) {
  const values = {}, items = Object.entries(names).map(([key, name]) => {
    const [text, kind] = Array.isArray(name) ? name : [name, ""];
    values[key] = el("dd", {}, "");
    return el("div", { class: `gt-fact ${kind}` }, el("dt", {}, text), values[key]);
  });
  return { node: el("dl", { class: "gt-facts" }, ...items), put: (key, text) => { if (values[key].textContent !== text) values[key].textContent = text; } };
}

// A button to step once and one to play and pause. step() does one step and returns false when there is nothing left to do. Readers who ask for
// less motion get a calm pace.
export function player({ step, stepText = "Step", interval = 400, signal }) {
  let timer = 0;
  const one = el("button", { type: "button", class: "gt-button gt-step", onclick: () => { stop(); step(); } }, stepText);
  const run = el("button", { type: "button", class: "gt-button gt-play", "aria-pressed": "false", onclick: () => (timer ? stop() : play()) }, "Play");
  function show() { run.textContent = timer ? "Pause" : "Play"; run.setAttribute("aria-pressed", String(Boolean(timer))); }
  function play() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(() => { if (step() === false) stop(); }, calm ? Math.max(1000, interval) : interval);
    if (step() === false) stop();
    show();
  }
  function stop() { clearInterval(timer); timer = 0; show(); }
  signal?.addEventListener("abort", stop);
  return { node: el("span", { class: "gt-row" }, one, run), stop, get playing() { return Boolean(timer); } };
}

// A number as the widgets write it: a few digits, a true minus sign, and a word for infinity.
export function figure(v, digits = 3) {
  if (Number.isNaN(v)) return "undefined";
  if (!Number.isFinite(v)) return v > 0 ? "\u221e" : "\u2212\u221e";
  if (v !== 0 && (Math.abs(v) >= 1e5 || Math.abs(v) < 10 ** -(digits + 1))) {
    const [mantissa, power] = v.toExponential(Math.max(0, digits - 1)).split("e");
    const raised = String(Number(power)).replace(/[-\d]/g, c => (c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[Number(c)]));
    return `${mantissa.replace("-", "\u2212")} \u00d7 10${raised}`;
  }
  return number(v, digits);
}
