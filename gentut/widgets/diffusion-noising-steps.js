// NoisingSteps: a digit under a slider t, until nothing but noise is left.
import { announcer, choice, clamp, colour, css, el, follower, frames, number, picture, sharp, slider, watchTheme } from "./common.js";
import { chart, facts, figure, player } from "./plot.js";
import { digit } from "./digit.js";
import { histogram, moments, noise, noised, REACHED, schedule, signed } from "./diffusion-maths.js";
import { bytesOf } from "./nn.js";

const NAMES = [["linear", "linear"], ["cosine", "cosine"], ["sigmoid", "the notes\u2019"]];
const STOPS = [10, 20, 50, 100, 200, 300, 500, 1000];   // of the slider T
const REEL = 11;             // pictures of the whole chain
const CELLS = 32, REACH = 4; // of the histogram
const LOG_SNR = [-20, 12];
const TICKS = 150, CALM = 12, PACE = 40;  // playing from 0 to T takes so many pictures, PACE milliseconds apart
const BELL = Array.from({ length: 81 }, (_, i) => { const x = -REACH + i / 10; return [x, Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI)]; });
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// The histogram's highest value on its axis: few steps, so that it seldom changes under a drag.
export const heightFor = peak => [0.6, 1.2, 2.4].find(top => top >= peak * 1.02) ?? 5;

// Stops of the slider T, with the T that is there now among them.
export const stopsWith = T => [...new Set([...STOPS, T])].sort((a, b) => a - b);

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const listen = (node, names, f) => { for (const name of names.split(" ")) node.addEventListener(name, f, { signal }); };
  const on = follower(model, signal);
  const images = bytesOf(model.get("images")), count = images.length / 784, names = model.get("labels");
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  let colours = {}, plan = null, x0 = null, eps = null, fresh = true;
  const tNow = () => Math.min(model.get("t"), model.get("T"));
  const nameOf = i => (names.length ? names[i] : `number ${i + 1}`);

  function save(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }
  // By hand: what plays stops.
  const goto = t => { play.stop(); save({ t: clamp(Math.round(t), 0, model.get("T")) }); };

  // ------------------------------------------------------------------------------------------------------- the pictures
  const sub = (base, index) => [base, el("sub", {}, index)];
  const cell = (name, label) => el("canvas", { class: `gt-${name}`, width: 28, height: 28, role: "img", "aria-label": label });
  const shown = { x0: cell("x0", "The picture x0"), eps: cell("eps", "The noise"), xt: cell("xt", "The picture at time t") };
  const square = node => el("div", { class: "gt-square" }, node);
  const weights = { keep: el("b", { class: "gt-keep" }), add: el("b", { class: "gt-add" }) };
  const figureOf = (name, node, ...words) => el("div", { class: `gt-panel gt-in-${name}` }, el("p", { class: "gt-title" }, ...words), square(node));
  const seedText = el("span", { class: "gt-muted gt-seed" });
  const stage = el("div", { class: "gt-stage", role: "group", "aria-label": "The noisy picture is a weighted sum of the picture and the noise" },
    figureOf("x0", shown.x0, weights.keep, " \u00b7 ", ...sub("x", "0")), el("span", { class: "gt-sign", "aria-hidden": "true" }, "+"),
    figureOf("eps", shown.eps, weights.add, " \u00b7 \u03b5"), el("span", { class: "gt-sign", "aria-hidden": "true" }, "="),
    figureOf("xt", shown.xt, ...sub("x", "t")));

  // The whole chain, and the way along it.
  const reel = el("canvas", { class: "gt-reel", width: 28 * REEL, height: 28, role: "img" });
  const mark = el("span", { class: "gt-mark", "aria-hidden": "true" });
  const reelBox = el("div", { class: "gt-reel-box" }, reel, mark);
  let winding = false;
  const wind = event => {
    const box = reel.getBoundingClientRect();
    goto(model.get("T") * clamp(Math.floor(((event.clientX - box.left) / box.width) * REEL), 0, REEL - 1) / (REEL - 1));
  };
  listen(reel, "pointerdown", event => { if (event.button) return; winding = true; reel.setPointerCapture(event.pointerId); wind(event); });
  listen(reel, "pointermove", event => { if (winding) wind(event); });
  listen(reel, "pointerup pointercancel lostpointercapture", () => { winding = false; });

  const time = slider({ label: "t", min: 0, max: model.get("T"), step: 1, value: tNow(), oninput: goto });
  const rail = time.node.querySelector("input");
  let progress = 0;           // of the player, from 0 to 1
  const play = player({ stepText: "Step", interval: PACE, signal, step: () => {
    const T = model.get("T"), t = tNow();
    if (!play.playing) {
      save({ t: Math.min(T, t + 1) });
      return false;
    }
    if (Math.round(progress * T) !== t) progress = t / T;  // the reader was elsewhere in the meantime
    if (progress >= 1) progress = 0;
    else progress = Math.min(1, progress + 1 / (matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : TICKS));
    save({ t: Math.round(progress * T) });
    if (progress >= 1) say(told());
    return progress < 1;
  } });

  // ------------------------------------------------------------------------------------------------------------ schedule
  const kinds = choice({ label: "Schedule", options: NAMES, value: model.get("schedule"), onchange: name => save({ schedule: name }) });
  let stops = stopsWith(model.get("T"));
  const steps = slider({ label: "T", min: 0, max: stops.length - 1, step: 1, value: stops.indexOf(model.get("T")), show: i => String(stops[i]),
    oninput: i => {
      play.stop();
      const before = model.get("T"), T = stops[i];
      save({ T, t: Math.round((tNow() * T) / before) });
    } });
  const status = el("p", { class: "gt-status" });

  // -------------------------------------------------------------------------------------------------------------- charts
  const side = { left: 32, right: 14, top: 8, bottom: 20 };
  const curveChart = (label, y) => {
    const own = chart({ label, height: 130, signal, x: { ticks: 4 }, y, margin: side });
    const others = [own.curve({ class: "gt-quiet gt-thin" }), own.curve({ class: "gt-quiet gt-thin gt-dotted" })];
    const line = own.curve({ class: "gt-p" }), cursor = own.rule({ class: "gt-thin" }), dot = own.dots({ class: "gt-p", radius: 4.5 });
    const pad = own.pad({ oninput: ({ x }) => goto(x) });
    pad.node.classList.add("gt-scrub");
    return { ...own, others, line, cursor, dot };
  };
  const alpha = curveChart("Share of the picture's variance that is left, against t: point at a t to go there", { range: [0, 1], ticks: [0, 0.5, 1] });
  const snr = curveChart("Logarithm of the signal-to-noise ratio against t: point at a t to go there", { range: LOG_SNR, ticks: [-20, -10, 0, 10] });
  const hist = chart({ label: "Histogram of the pixels of the noisy picture, and the density of N(0, 1)", height: 130, signal,
    x: { range: [-REACH, REACH], ticks: [-4, -2, 0, 2, 4] }, y: { ticks: 2 }, margin: side });
  const bars = hist.bars({ class: "gt-noise", width: (2 * REACH) / CELLS * 0.94 }), bell = hist.curve({ class: "gt-truth gt-dashed" });
  bell.set(BELL);
  const titled = (node, ...words) => el("div", { class: "gt-panel gt-chart" }, el("p", { class: "gt-title" }, ...words), node);
  const numbers = facts({ alpha: ["", "gt-p"], snr: "log SNR", mean: ["mean of the pixels", "gt-noise"], deviation: ["standard deviation", "gt-noise"] });
  numbers.node.querySelector("dt").append(...sub("\u1fb1", "t"));

  // ---------------------------------------------------------------------------------------- the digit: picked or drawn
  const button = (text, onclick, extra = {}) => el("button", { type: "button", class: "gt-button", onclick, ...extra }, text);
  const thumbs = Array.from({ length: count }, (_, i) => {
    const small = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
    const thumb = button("", () => { wipe(); save({ pick: i, drawing: [] }); renew(); say(`Picture ${nameOf(i)}`); }, { class: "gt-button gt-thumb", "aria-label": `Take picture ${nameOf(i)}` });
    thumb.append(small);
    thumb.paint = () => small.getContext("2d").putImageData(picture(Float32Array.from(images.subarray(784 * i, 784 * i + 784), v => v / 255), 0, colours.ink), 0, 0);
    return thumb;
  });
  const pad = el("canvas", { class: "gt-pad", role: "application", tabindex: 0,
    "aria-label": "Drawing pad. Draw with mouse, pen or finger. Arrow keys move the pen, Space sets it down or lifts it, Delete clears." });
  let strokes = [], pen = null, cursor = null, holding = null, sketch = null;  // sketch: pixels that no trait holds yet
  const wipe = () => { strokes = []; pen = sketch = null; drawPad(); };
  function clear() { wipe(); save({ drawing: [] }); renew(); say("Pad cleared"); }
  const trace = (...points) => { pen.push(...points); sketch = Array.from(digit(strokes), v => Math.round(255 * v)); drawPad(); renew(); };
  const begin = point => { pen = []; strokes.push(pen); trace(point); };
  function lift() {
    pen = null;
    if (!sketch) return;
    save({ drawing: sketch });
    say("Your drawing is the picture now");
  }
  const onPad = event => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 28, ((event.clientY - box.top) / box.height) * 28];
  };
  listen(pad, "pointerdown", event => {
    if (holding !== null || event.button > 0) return;
    holding = event.pointerId;
    pad.setPointerCapture(event.pointerId);
    pad.focus({ preventScroll: true });
    cursor = null;
    begin(onPad(event));
  });
  listen(pad, "pointermove", event => {
    if (event.pointerId !== holding) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    trace(...(passed.length ? passed : [event]).map(onPad));
  });
  listen(pad, "pointerup pointercancel", event => { if (event.pointerId === holding) { holding = null; lift(); } });
  listen(pad, "keydown", event => {
    const way = WAYS[event.key];
    if (!way && ![" ", "Enter", "Delete", "Backspace", "Escape"].includes(event.key)) return;
    event.preventDefault();
    cursor ??= [14, 14];
    if (event.key === "Delete" || event.key === "Backspace") return clear();
    if (way) {
      cursor = [clamp(cursor[0] + way[0], 0, 28), clamp(cursor[1] + way[1], 0, 28)];
      if (pen) trace([...cursor]);
    } else if (pen || event.key === "Escape") { lift(); say("Pen up"); } else { begin([...cursor]); say("Pen down"); }
    drawPad();
  });
  listen(pad, "blur", () => { cursor = null; if (holding === null) lift(); drawPad(); });
  function drawPad() {
    const g = pad.getContext("2d"), wide = pad.clientWidth, unit = wide / 28;
    if (!wide || !colours.ink) return;
    g.clearRect(0, 0, wide, wide);
    g.strokeStyle = css(colours.ink);
    g.lineCap = g.lineJoin = "round";
    g.lineWidth = 2.6 * unit;
    for (const stroke of strokes) {
      g.beginPath();
      g.moveTo(stroke[0][0] * unit, stroke[0][1] * unit);
      for (const [x, y] of stroke.length > 1 ? stroke : [stroke[0], stroke[0]]) g.lineTo(x * unit, y * unit);
      g.stroke();
    }
    if (!strokes.length) {
      g.fillStyle = css(colours.muted);
      g.font = "12px system-ui, sans-serif";
      g.textAlign = "center";
      g.fillText("draw here", wide / 2, wide / 2 + 4);
    }
    if (cursor) {
      g.strokeStyle = css(colours.accent);
      g.lineWidth = 2;
      g.beginPath();
      g.arc(cursor[0] * unit, cursor[1] * unit, pen ? 1.3 * unit : 2.2 * unit, 0, 7);
      g.stroke();
    }
  }

  // ----------------------------------------------------------------------------------------------------------- the board
  const kindsShown = ["", "gt-thin", "gt-dotted"].map((kind, i) => el("span", { class: `gt-swatch gt-swatch-line ${i ? "gt-quiet" : "gt-p"} ${kind}` }));
  const swatch = (kind, text) => el("span", { class: `gt-swatch ${kind}` }, text);
  const root = el("div", { class: "gentut-widget gentut-noising-steps", role: "group", "aria-label": "A digit turns into noise, step by step" },
    el("div", { class: "gt-board" },
      stage,
      el("div", { class: "gt-way" }, reelBox, el("div", { class: "gt-drive" }, play.node, time.node)),
      el("div", { class: "gt-rules" }, kinds, steps.node, el("span", { class: "gt-row" }, button("New noise", () => save({ seed: (model.get("seed") + 1) % 2 ** 31 })), seedText)),
      status,
      el("div", { class: "gt-charts" },
        titled(alpha.node, "Signal left, ", ...sub("\u1fb1", "t")), titled(snr.node, "log SNR"),
        titled(hist.node, "Pixels of ", ...sub("x", "t"))),
      el("div", { class: "gt-legend-row" }, ...kindsShown, swatch("gt-noise", "pixels"), swatch("gt-truth gt-swatch-dashed", "N(0,\u00a01)")),
      numbers.node,
      el("div", { class: "gt-source" },
        el("div", { class: "gt-panel" }, el("p", { class: "gt-title" }, "Another picture"), el("div", { class: "gt-thumbs", role: "group", "aria-label": "Take a picture" }, ...thumbs),
          el("p", { class: "gt-muted" }, "Pixels run from \u22121 (bare paper) to 1 (full ink); what lies beyond looks the same. A drawing is scaled and centred as the data set\u2019s digits are.")),
        el("div", { class: "gt-panel gt-own" }, el("div", { class: "gt-row" }, el("p", { class: "gt-title" }, "Or draw one"), button("Clear", clear)), el("div", { class: "gt-square" }, pad)))),
    live);

  // Everything that does not move with t.
  function prepare() {
    const drawing = sketch ?? model.get("drawing"), T = model.get("T"), name = model.get("schedule");
    const pixels = drawing.length ? drawing : images.subarray(784 * model.get("pick"), 784 * (model.get("pick") + 1));
    x0 = signed(pixels);
    eps = noise(model.get("seed"));
    if (plan?.name !== name || plan.T !== T) {
      plan = { ...schedule(name, T), T };
      const order = [...NAMES].sort(([a], [b]) => (b === name) - (a === name)), rest = order.slice(1).map(([other]) => schedule(other, T));
      order.forEach(([, text], i) => { kindsShown[i].textContent = text; });
      const stride = Math.max(1, Math.floor(T / 200));
      const points = (values, first) => Array.from(values, (v, i) => [i, v]).filter(([i]) => i >= first && (i % stride === 0 || i === T || i === first));
      for (const [own, key, first] of [[alpha, "alphaBar", 0], [snr, "logSnr", 1]]) {
        own.range({ x: [0, T] });
        own.line.set(points(plan[key], first));
        own.others.forEach((line, i) => line.set(points(rest[i][key], first)));
      }
    }
    paintInto(shown.x0, x0);
    paintInto(shown.eps, eps);
    const strip = reel.getContext("2d");
    for (let i = 0; i < REEL; i++) strip.putImageData(inked(noised(x0, eps, plan.alphaBar[Math.round((T * i) / (REEL - 1))])), 28 * i, 0);
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(!drawing.length && i === model.get("pick"))));
    fresh = false;
  }
  // -1 is bare paper and 1 full ink; what lies beyond looks like them.
  const frame = new ImageData(28, 28);
  const inked = values => picture(values.map(v => (v + 1) / 2), 0, colours.ink, frame);
  const paintInto = (node, values) => node.getContext("2d").putImageData(inked(values), 0, 0);

  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now();
    if (fresh) prepare();
    const t = tNow(), { T } = plan, a = plan.alphaBar[t], keep = Math.sqrt(a), add = Math.sqrt(1 - a), left = Math.sqrt(plan.alphaBar[T]);
    const xt = noised(x0, eps, a), { mean, deviation } = moments(xt), counts = histogram(xt, REACH, CELLS), wide = (2 * REACH) / CELLS;
    paintInto(shown.xt, xt);
    weights.keep.textContent = number(keep, 3);
    weights.add.textContent = number(add, 3);
    mark.style.insetInlineStart = `${((t / T) * (REEL - 1) + 0.5) / REEL * 100}%`;
    for (const [own, value] of [[alpha, a], [snr, plan.logSnr[t]]]) { own.cursor.set(t); own.dot.set([[t, clamp(value, ...own.axes.y.range)]]); }
    const heights = counts.map((n, i) => [-REACH + (i + 0.5) * wide, n / 784 / wide]);
    hist.range({ y: [0, heightFor(Math.max(...heights.map(([, h]) => h)))] });
    bars.set(heights);
    for (const [key, text] of Object.entries({ alpha: figure(a, 4), snr: figure(plan.logSnr[t], 2), mean: number(mean, 3), deviation: number(deviation, 3) })) numbers.put(key, text);
    const reaches = left <= REACHED, share = number(left, 3);
    status.classList.toggle("gt-warning", !reaches);
    status.replaceChildren(...(reaches
      ? ["At t = T the picture\u2019s weight is ", el("b", {}, share), ": next to nothing of it is left, and a sampler may start at N(0,\u00a01)."]
      : ["At t = T the picture\u2019s weight is still ", el("b", {}, share), ": this schedule does not reach noise. A sampler that starts at N(0,\u00a01) starts where this chain never was."]));
    Object.assign(root.dataset, { t, steps: T, schedule: plan.name, seed: model.get("seed"), picture: (sketch ?? model.get("drawing")).length ? "drawn" : model.get("pick"),
      alphaBar: a, keep, add, logSnr: plan.logSnr[t], left, reaches, mean, deviation, counts: counts.join(" "), ms: (performance.now() - started).toFixed(2) });
  }
  const request = frames(draw, signal);
  const renew = () => { fresh = true; request(); };
  function recolour() {
    for (const [name, variable] of Object.entries({ ink: "--ink", muted: "--muted", accent: "--accent" })) colours[name] = colour(root, variable);
    for (const thumb of thumbs) thumb.paint();
    drawPad();
    renew();
  }
  const told = () => { const a = plan.alphaBar[tNow()]; return `t = ${tNow()} of ${plan.T}: the picture weighs ${number(Math.sqrt(a), 3)}, the noise ${number(Math.sqrt(1 - a), 3)}`; };
  function follow() {
    const T = model.get("T");
    if (!stops.includes(T)) {
      stops = stopsWith(T);
      steps.node.querySelector("input").max = stops.length - 1;
    }
    steps.put(stops.indexOf(T));
    rail.max = T;
    time.put(tNow());
    reel.setAttribute("aria-label", `The chain from t = 0 to t = ${T} in ${REEL} pictures; point at one to go there`);
    seedText.textContent = `seed ${model.get("seed")}`;
    for (const input of kinds.querySelectorAll("input")) input.checked = input.value === model.get("schedule");
  }

  host.append(root);
  follow();
  recolour();
  draw();
  sharp(pad, drawPad, signal);
  watchTheme(recolour, signal);
  on("change:t", () => { time.put(tNow()); request(); if (!play.playing) setTimeout(() => plan && say(told())); });
  // A picture from elsewhere takes the place of what is on the pad.
  on("change:drawing", () => { if (sketch && String(sketch) === String(model.get("drawing"))) sketch = null; else wipe(); });
  on("change:pick", () => { if (!model.get("drawing").length) wipe(); });
  for (const name of ["T", "schedule", "seed", "pick", "drawing"]) on(`change:${name}`, () => { follow(); renew(); });
  for (const name of ["T", "schedule"]) on(`change:${name}`, () => requestAnimationFrame(() => say(`${told()}. ${status.textContent}`)));
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
