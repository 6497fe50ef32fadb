// LatentGrid: the 2-D latent space of a VAE under the pointer, as tiles, and under a digit that the reader draws.
import { bytesOf, float16, network } from "./nn.js";
import { announcer, clamp, colour, css, el, follower, frames, gaussian, normPpf, number, picture, sharp, slider, watchTheme } from "./common.js";
import { digit } from "./digit.js";

const TAIL = 0.05;                        // the notes' grid is norm.ppf(linspace(0.05, 0.95, n)) ...
export const NOTES = normPpf(1 - TAIL);   // ... which ends at ±1.645
const TOGETHER = 8;                       // tiles decoded in one call
const BUDGET = 7;                         // ms of a frame that the tiles may take while something else moves
const NEAREST = 15;

// Tile centres along one axis: the notes' grid stretched so that it ends at ±extent. At extent = 1.645 it is theirs.
export function positions(n, extent) {
  return Float64Array.from({ length: n }, (_, i) => (normPpf(TAIL + ((1 - 2 * TAIL) * i) / (n - 1)) * extent) / NOTES);
}

// Where v lies among ascending positions: 0 at the first, n - 1 at the last, linear in between and beyond.
export function rank(v, at) {
  let i = 0;
  while (i < at.length - 2 && v > at[i + 1]) i++;
  return i + (v - at[i]) / (at[i + 1] - at[i]);
}

// How many of the `k` codes nearest to z carry each label, most frequent first: [[label, count], ...].
export function neighbours(z, codes, labels, k = NEAREST) {
  const best = [];
  for (let i = 0; i < labels.length; i++) {
    const d = (codes[2 * i] - z[0]) ** 2 + (codes[2 * i + 1] - z[1]) ** 2;
    if (best.length === k && d >= best[k - 1][0]) continue;
    let j = best.length < k ? best.push(null) - 1 : k - 1;
    for (; j > 0 && best[j - 1][0] > d; j--) best[j] = best[j - 1];
    best[j] = [d, labels[i]];
  }
  const counts = new Map();
  for (const [, label] of best) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

const pair = ([a, b]) => `(${number(a)}, ${number(b)})`;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const listen = (node, names, f) => { for (const name of names.split(" ")) node.addEventListener(name, f, { signal }); };
  const on = follower(model, signal);

  const weights = bytesOf(model.get("weights")), spec = model.get("networks");
  const encoder = network(spec.encoder, weights), decoder = network(spec.decoder, weights, TOGETHER);
  const labels = bytesOf(model.get("labels")), codes = float16(bytesOf(model.get("codes")), 0, 2 * labels.length);
  const examples = bytesOf(model.get("examples")), exampleLabels = model.get("example_labels");
  const classes = model.get("classes"), reach = model.get("reach");
  const hidden = new Set();               // classes switched off in the legend
  let alone = null;                       // the class under the pointer in the legend
  let held = false;                       // a click holds z until the next
  let colours = {};
  const noise = gaussian(1);

  // ---- the page ----------------------------------------------------------------------------------------------------
  const canvas = (name, label, extra = {}) => el("canvas", { class: `gt-${name}`, role: "img", "aria-label": label, ...extra });
  const active = { role: "application", tabindex: 0 };
  const map = canvas("map", "Latent space. Arrow keys move z, with Shift faster.", { ...active, "aria-roledescription": "two-dimensional slider" });
  const tiles = canvas("tiles", "Grid of decoded codes. Arrow keys move z from tile to tile.", { ...active, "aria-roledescription": "grid of pictures" });
  const mark = el("div", { class: "gt-mark", "aria-hidden": "true" });
  const now = canvas("now", "Picture decoded at z", { width: 28, height: 28 });
  const pad = canvas("pad", "Drawing pad. Draw with mouse, pen or finger. Arrow keys move the pen, Space sets it down or lifts it, Delete clears.", active);
  const seen = canvas("seen", "Your digit as the encoder gets it", { width: 28, height: 28 });
  const back = canvas("back", "Your digit encoded and decoded", { width: 28, height: 28 });
  const zText = el("span", { class: "gt-number" }), near = el("span", {}), posteriorText = el("p", { class: "gt-note" });
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" });
  const say = announcer(live, signal);

  const button = (text, onclick, extra = {}) => el("button", { type: "button", class: "gt-button", onclick, ...extra }, text);
  const legend = el("div", { class: "gt-legend", role: "group", "aria-label": "Classes shown; press to hide or show one" },
    ...classes.map((name, k) => {
      const key = button("", () => {
        if (!hidden.delete(k)) hidden.add(k);
        key.setAttribute("aria-pressed", !hidden.has(k));
        repaint();
      }, { class: "gt-key", "aria-pressed": "true", style: `--key: var(--class-${k})` });
      key.append(el("span", { class: "gt-dot" }), name);
      listen(key, "pointerenter focus", () => { alone = k; repaint(); });
      listen(key, "pointerleave blur", () => { alone = null; repaint(); });
      return key;
    }));
  const count = slider({ label: "Tiles a side", min: 5, max: 20, step: 1, value: model.get("n"), oninput: n => save({ n }) });
  // Steps count from the notes' value, so that the slider can come back to it exactly.
  const lowest = NOTES - 0.05 * Math.floor((NOTES - 0.3) / 0.05), steps = Math.floor((reach - lowest) / 0.05);
  const wide = slider({ label: "Extent", min: lowest, max: lowest + 0.05 * steps, step: 0.05, value: model.get("extent"), show: v => `±${v.toFixed(3)}`,
    oninput: extent => save({ extent: Math.abs(extent - NOTES) < 1e-6 ? NOTES : extent }) });
  const thumbs = el("div", { class: "gt-thumbs", role: "group", "aria-label": "Take a test digit" });
  const hints = { map: "point; click to hold", tiles: "click one" };
  const panel = (name, title, ...children) => el("div", { class: `gt-panel gt-in-${name}` },
    el("p", { class: "gt-title" }, title, hints[name] ? el("span", { class: "gt-hint" }, hints[name]) : null), ...children);
  const square = (...children) => el("div", { class: "gt-square" }, ...children);
  const clearButton = button("Clear", () => clear());
  const toMean = button("z = μ", () => move(posterior.mu), { title: "Move z to the posterior's mean", disabled: true });
  const toSample = button("z = μ + σε", () => move(posterior.mu.map((m, i) => m + posterior.sigma[i] * noise())),
    { title: "Move z to a sample of the posterior", disabled: true });

  const root = el("div", { class: "gentut-widget gentut-latent-grid", role: "group", "aria-label": "A latent space to explore" },
    el("div", { class: "gt-board" },
      panel("map", "Codes of test digits", square(map), legend),
      panel("tiles", "What codes decode to", square(tiles, mark), el("div", { class: "gt-sliders" }, count.node, wide.node)),
      panel("now", "Decoded at z", square(now), el("p", { class: "gt-note" }, zText, near)),
      el("div", { class: "gt-panel gt-in-draw" },
        el("div", { class: "gt-trio" },
          panel("pad", "Draw a digit", square(pad), el("div", { class: "gt-row" }, clearButton)),
          panel("seen", "Encoder's input", square(seen)),
          panel("back", "Decoded at μ", square(back), el("div", { class: "gt-row" }, toMean, toSample))),
        el("div", { class: "gt-row" }, el("span", { class: "gt-muted" }, "or take a test digit"), thumbs),
        posteriorText)),
    live);

  // ---- z -------------------------------------------------------------------------------------------------------------
  let moved = 0;                          // time stamp of the pointer event that the next frame answers
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }
  function move(z) { save({ z: z.map(v => clamp(v, -reach, reach)) }); }
  const fromMap = event => {
    const box = map.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width * 2 - 1) * reach, (1 - (event.clientY - box.top) / box.height * 2) * reach];
  };
  const toMap = (v, side) => ((v / reach + 1) / 2) * side;
  let pressed = null;
  listen(map, "pointerdown", event => {
    map.setPointerCapture(event.pointerId);
    map.focus({ preventScroll: true });
    pressed = [event.clientX, event.clientY];
    moved = event.timeStamp;
    move(fromMap(event));
  });
  listen(map, "pointermove", event => {
    if (!pressed && (held || event.pointerType !== "mouse")) return;
    moved = event.timeStamp;
    move(fromMap(event));
  });
  listen(map, "pointerup", event => {
    if (pressed && event.pointerType === "mouse") {
      // A click holds z where it is, a second click lets it follow again; a drag leaves it held, where it was dropped.
      const dragged = Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4;
      held = dragged || !held;
      map.classList.toggle("gt-held", held);
    }
    pressed = null;
    request();
  });
  listen(map, "pointercancel", () => { pressed = null; });
  listen(map, "keydown", event => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const z = model.get("z"), size = (event.shiftKey ? 0.5 : 0.1) * reach / 4;
    moved = event.timeStamp;
    move([z[0] + step[0] * size, z[1] + step[1] * size]);
  });

  // ---- tiles ---------------------------------------------------------------------------------------------------------
  let at = positions(model.get("n"), model.get("extent")), waiting = [];
  const tileInk = new ImageData(28, 28), tileCodes = new Float32Array(2 * TOGETHER);
  function plan() {
    const n = model.get("n");
    at = positions(n, model.get("extent"));
    if (tiles.width !== 28 * n) {
      const old = tiles.width && root.dataset.ready ? Object.assign(document.createElement("canvas"), { width: tiles.width, height: tiles.height }) : null;
      old?.getContext("2d").drawImage(tiles, 0, 0);
      tiles.width = tiles.height = 28 * n;
      if (old) tiles.getContext("2d").drawImage(old, 0, 0, 28 * n, 28 * n);   // the old grid stands in until each tile is new
    }
    // Golden-ratio order spreads the first tiles over the whole grid.
    let stride = Math.round(n * n * 0.618);
    const coprime = (a, b) => (b ? coprime(b, a % b) : a === 1);
    while (!coprime(n * n, stride)) stride++;
    waiting = Array.from({ length: n * n }, (_, i) => (i * stride) % (n * n));
    delete root.dataset.tiles;
    request();
  }
  function decodeTiles(until) {
    const n = at.length, pen = tiles.getContext("2d");
    while (waiting.length && performance.now() < until) {
      const some = waiting.splice(0, TOGETHER);
      some.forEach((tile, i) => tileCodes.set([at[tile % n], at[n - 1 - Math.floor(tile / n)]], 2 * i));
      const pictures = decoder.forward(tileCodes, some.length);
      some.forEach((tile, i) => pen.putImageData(picture(pictures, 784 * i, colours.ink, tileInk), 28 * (tile % n), 28 * Math.floor(tile / n)));
    }
    if (waiting.length) request();
    else root.dataset.tiles = n;
  }
  const tileUnder = event => {
    const box = tiles.getBoundingClientRect(), n = at.length;
    const index = (v, side) => clamp(Math.floor((v / side) * n), 0, n - 1);
    return [at[index(event.clientX - box.left, box.width)], at[n - 1 - index(event.clientY - box.top, box.height)]];
  };
  let onTiles = false;
  listen(tiles, "pointerdown", event => {
    tiles.setPointerCapture(event.pointerId);
    tiles.focus({ preventScroll: true });
    onTiles = true;
    moved = event.timeStamp;
    move(tileUnder(event));
  });
  listen(tiles, "pointermove", event => { if (onTiles) { moved = event.timeStamp; move(tileUnder(event)); } });
  listen(tiles, "pointerup pointercancel", () => { onTiles = false; });
  listen(tiles, "keydown", event => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    moved = event.timeStamp;
    move(model.get("z").map((v, i) => at[clamp(Math.round(rank(v, at)) + step[i], 0, at.length - 1)]));
  });

  // ---- the reader's digit --------------------------------------------------------------------------------------------
  let strokes = [], stamp = null, pen = null, cursor = null, posterior = null, redraw = false;
  const shown = classes.map(() => 0);
  function clear() { strokes = []; stamp = null; pen = null; redraw = true; request(); say("Pad cleared"); keep(); }
  function keep() { request(); save({ drawing: stamp || strokes.length ? Array.from(input(), v => Math.round(255 * v)) : [] }); }
  function input() { return stamp ?? digit(strokes); }
  function begin(point) { if (stamp) { stamp = null; strokes = []; } pen = [point]; strokes.push(pen); redraw = true; request(); }
  function extend(point) { pen.push(point); redraw = true; request(); }
  const onPad = event => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 28, ((event.clientY - box.top) / box.height) * 28];
  };
  let drawing = null;
  listen(pad, "pointerdown", event => {
    if (drawing !== null || event.button > 0) return;
    drawing = event.pointerId;
    pad.setPointerCapture(event.pointerId);
    pad.focus({ preventScroll: true });
    cursor = null;
    moved = event.timeStamp;
    begin(onPad(event));
  });
  listen(pad, "pointermove", event => {
    if (event.pointerId !== drawing) return;
    moved = event.timeStamp;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) extend(onPad(each));
  });
  listen(pad, "pointerup pointercancel", event => { if (event.pointerId === drawing) { drawing = pen = null; keep(); } });
  listen(pad, "keydown", event => {
    const step = ARROWS[event.key];
    if (!step && ![" ", "Enter", "Delete", "Backspace", "Escape"].includes(event.key)) return;
    event.preventDefault();
    cursor ??= [14, 14];
    if (event.key === "Delete" || event.key === "Backspace") return clear();
    if (step) {
      cursor = [clamp(cursor[0] + step[0], 0, 28), clamp(cursor[1] - step[1], 0, 28)];
      if (pen) extend([...cursor]);
    } else if (pen || event.key === "Escape") { pen = null; say("Pen up"); keep(); } else { begin([...cursor]); say("Pen down"); }
    redraw = true;
    request();
  });
  listen(pad, "blur", () => { cursor = null; if (drawing === null && pen) { pen = null; keep(); } redraw = true; request(); });
  classes.forEach((name, k) => {
    const own = exampleLabels.flatMap((label, i) => (label === k ? [i] : []));
    if (!own.length) return;
    const small = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
    const thumb = button("", () => {
      const i = own[shown[k]++ % own.length];
      strokes = []; pen = null;
      stamp = Float32Array.from(examples.subarray(784 * i, 784 * i + 784), v => v / 255);
      redraw = true;
      keep();
    }, { class: "gt-button gt-thumb", "aria-label": `Test digit ${name}` });
    thumb.append(small);
    thumb.paint = () => small.getContext("2d").putImageData(picture(Float32Array.from(examples.subarray(784 * own[0], 784 * own[0] + 784), v => v / 255), 0, colours.ink), 0, 0);
    thumbs.append(thumb);
  });

  function encodeDrawing() {
    redraw = false;
    const there = stamp || strokes.length, ink = input();
    for (const [node, values] of [[seen, ink], [back, null]]) node.getContext("2d").putImageData(picture(values ?? new Float32Array(784), 0, colours.ink), 0, 0);
    toMean.disabled = toSample.disabled = !there;
    drawPad(ink);
    if (!there) {
      posterior = null;
      posteriorText.textContent = "The encoder answers with a mean μ and a spread σ: a point and an ellipse of 2σ on the map.";
      delete root.dataset.posterior;
      return;
    }
    const [m0, m1, v0, v1] = encoder.forward(ink);
    posterior = { mu: [m0, m1], sigma: [Math.exp(v0 / 2), Math.exp(v1 / 2)] };
    const decoded = decoder.forward(Float32Array.of(m0, m1));
    back.getContext("2d").putImageData(picture(decoded, 0, colours.ink), 0, 0);
    let kl = 0, nats = 0;
    for (const [m, v] of [[m0, v0], [m1, v1]]) kl += 0.5 * (m * m + Math.exp(v) - v - 1);
    for (let i = 0; i < 784; i++) nats -= ink[i] * Math.log(Math.max(decoded[i], 1e-30)) + (1 - ink[i]) * Math.log(Math.max(1 - decoded[i], 1e-30));
    const off = Math.max(Math.abs(m0), Math.abs(m1)) > reach ? ", off the map" : "";
    posteriorText.replaceChildren(
      el("span", { class: "gt-number" }, `μ = ${pair(posterior.mu)}, σ = ${pair(posterior.sigma)}${off}`),
      el("span", {}, `KL ${number(kl, 1)} nats, reconstruction at μ ${number(nats, 1)} nats`));
    root.dataset.posterior = [m0, m1, ...posterior.sigma].join(" ");
    const around = neighbours(posterior.mu, codes, labels)[0];
    if (drawing === null) say(`Your digit is encoded at ${pair(posterior.mu)}, among codes of ${classes[around[0]]}`);
  }
  function drawPad(ink) {
    const g = pad.getContext("2d"), side = pad.clientWidth, unit = side / 28;
    g.clearRect(0, 0, side, side);
    if (stamp) {
      const small = el("canvas", { width: 28, height: 28 });
      small.getContext("2d").putImageData(picture(ink, 0, colours.ink), 0, 0);
      g.imageSmoothingEnabled = false;
      g.drawImage(small, 0, 0, side, side);
    }
    g.strokeStyle = css(colours.ink);
    g.lineCap = g.lineJoin = "round";
    g.lineWidth = 2.6 * unit;
    for (const stroke of strokes) {
      g.beginPath();
      g.moveTo(stroke[0][0] * unit, stroke[0][1] * unit);
      for (const [x, y] of stroke.length > 1 ? stroke : [stroke[0], stroke[0]]) g.lineTo(x * unit, y * unit);
      g.stroke();
    }
    if (!stamp && !strokes.length) {
      g.fillStyle = css(colours.muted);
      g.font = `${Math.max(12, side / 12)}px system-ui, sans-serif`;
      g.textAlign = "center";
      g.fillText("draw here", side / 2, side / 2);
    }
    if (cursor) {
      g.strokeStyle = css(colours.accent);
      g.lineWidth = 2;
      g.beginPath();
      g.arc(cursor[0] * unit, cursor[1] * unit, pen ? 1.3 * unit : 2.2 * unit, 0, 7);
      g.stroke();
    }
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------
  // Everything on the map that does not move with z is drawn once into a layer of its own.
  const ground = document.createElement("canvas");
  function paintGround() {
    const side = map.clientWidth, ratio = map.width / side, g = ground.getContext("2d");
    ground.width = ground.height = map.width;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    const p = v => toMap(v, side), middle = side / 2;
    g.strokeStyle = css(colours.muted, 0.35);
    g.lineWidth = 1;
    for (let r = 1; r <= 3; r++) { g.beginPath(); g.arc(middle, middle, (r / reach) * middle, 0, 7); g.stroke(); }
    g.beginPath(); g.moveTo(middle, 0); g.lineTo(middle, side); g.moveTo(0, middle); g.lineTo(side, middle); g.stroke();
    const radius = clamp(side / 170, 1.6, 3), sums = classes.map(() => [[], []]);
    for (let i = 0; i < labels.length; i++) {
      const k = labels[i];
      if (hidden.has(k)) continue;
      sums[k][0].push(codes[2 * i]); sums[k][1].push(codes[2 * i + 1]);
      g.fillStyle = css(colours.classes[k], alone === null ? 0.8 : alone === k ? 1 : 0.08);
      g.beginPath();
      g.arc(p(codes[2 * i]), p(-codes[2 * i + 1]), radius, 0, 7);
      g.fill();
    }
    // Each class also carries its name, so that nobody has to tell ten colours apart.
    const half = list => list.sort((a, b) => a - b)[list.length >> 1];
    g.font = `600 ${clamp(side / 22, 13, 18)}px system-ui, sans-serif`;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.lineJoin = "round";
    sums.forEach(([xs, ys], k) => {
      if (!xs.length || (alone !== null && alone !== k)) return;
      const x = p(half(xs)), y = p(-half(ys));
      g.lineWidth = 4; g.strokeStyle = css(colours.paper); g.strokeText(classes[k], x, y);
      g.fillStyle = css(colours.ink); g.fillText(classes[k], x, y);
    });
    g.fillStyle = css(colours.muted);
    g.strokeStyle = css(colours.paper);
    g.font = "12px system-ui, sans-serif";
    g.textAlign = "right"; g.fillText("z₁", side - 6, middle - 10);
    g.textAlign = "left"; g.fillText("z₂", middle + 6, 10);
    g.textAlign = "center";
    g.lineWidth = 3;
    for (let r = 1; r <= 3; r++) {
      const x = middle + (r / reach) * middle * Math.SQRT1_2;
      g.strokeText(`${r}σ`, x, x); g.fillText(`${r}σ`, x, x);
    }
  }
  function paintMap(z) {
    const side = map.clientWidth, g = map.getContext("2d"), p = v => toMap(v, side);
    if (!ground.width) paintGround();
    g.clearRect(0, 0, side, side);
    g.drawImage(ground, 0, 0, side, side);
    const extent = model.get("extent");
    g.lineWidth = 1.5;
    g.strokeStyle = css(colours.accent, 0.9);
    g.setLineDash([4, 4]);
    g.strokeRect(p(-extent), p(-extent), p(extent) - p(-extent), p(extent) - p(-extent));
    g.setLineDash([]);
    if (posterior) {
      const [x, y] = [p(posterior.mu[0]), p(-posterior.mu[1])], [sx, sy] = posterior.sigma.map(s => Math.max(1.5, (s / reach) * side));
      g.beginPath(); g.ellipse(x, y, sx, sy, 0, 0, 7);
      g.fillStyle = css(colours.accent, 0.3); g.fill();
      g.lineWidth = 2; g.strokeStyle = css(colours.accent); g.stroke();
      g.beginPath(); g.moveTo(x - 6, y); g.lineTo(x + 6, y); g.moveTo(x, y - 6); g.lineTo(x, y + 6);
      g.lineWidth = 4; g.strokeStyle = css(colours.paper); g.stroke();
      g.lineWidth = 2; g.strokeStyle = css(colours.accent); g.stroke();
    }
    const [x, y] = [p(z[0]), p(-z[1])];
    for (const [width, shade] of [[5, colours.paper], [2.5, colours.ink]]) {
      g.lineWidth = width; g.strokeStyle = css(shade);
      g.beginPath(); g.arc(x, y, 8, 0, 7); g.stroke();
    }
    g.fillStyle = css(colours.ink); g.beginPath(); g.arc(x, y, held ? 4.5 : 2, 0, 7); g.fill();
  }
  function draw() {
    if (!map.clientWidth) return;         // not laid out yet, or in a hidden tab: the resize observer calls again
    const started = performance.now(), z = model.get("z");
    if (redraw) encodeDrawing();
    const values = decoder.forward(Float32Array.from(z));
    now.getContext("2d").putImageData(picture(values, 0, colours.ink), 0, 0);
    paintMap(z);
    const n = at.length, [column, row] = [rank(z[0], at), n - 1 - rank(z[1], at)];
    mark.hidden = column < -0.5 || row < -0.5 || column > n - 0.5 || row > n - 0.5;
    mark.style.cssText = `left: ${(column / n) * 100}%; top: ${(row / n) * 100}%; width: ${100 / n}%; height: ${100 / n}%`;
    zText.textContent = `z = ${pair(z)}`;
    const around = neighbours(z, codes, labels).slice(0, 3).map(([k, times]) => `${classes[k]}\u00a0×\u00a0${times}`).join(", ");
    near.textContent = `${NEAREST} nearest codes: ${around}`;
    root.dataset.z = z.join(" ");
    root.dataset.ms = (performance.now() - started).toFixed(2);
    if (moved) { root.dataset.latency = (performance.now() - moved).toFixed(2); moved = 0; }
    if (waiting.length) decodeTiles(started + BUDGET);
  }
  const request = frames(draw, signal);
  function repaint() { if (map.clientWidth) paintGround(); request(); }
  function recolour() {
    const names = { ink: "--ink", paper: "--paper", muted: "--muted", accent: "--accent" };
    for (const [name, variable] of Object.entries(names)) colours[name] = colour(root, variable);
    colours.classes = classes.map((_, k) => colour(root, `--class-${k}`));
    for (const thumb of thumbs.children) thumb.paint();
    redraw = true;
    repaint();
    plan();
  }

  host.append(root);
  recolour();
  sharp(map, () => { paintGround(); draw(); }, signal);
  sharp(pad, () => { redraw = true; draw(); }, signal);
  watchTheme(recolour, signal);
  on("change:z", () => { request(); const z = model.get("z"); say(`z is ${pair(z)}, among codes of ${classes[neighbours(z, codes, labels)[0][0]]}`); });
  on("change:n", () => { count.put(model.get("n")); plan(); });
  on("change:extent", () => { wide.put(model.get("extent")); plan(); });
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
