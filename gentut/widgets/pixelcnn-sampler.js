// PixelSampler: a PixelCNN writes a digit in the page, pixel by pixel, around pixels that the reader fixes.
import { bytesOf } from "./nn.js";
import { announcer, choice, clamp, el, follower, frames, number, slider } from "./common.js";
import { drawing, pixelcnn, receptiveField } from "./pixelcnn-network.js";
import { board, legend } from "./pixelcnn-board.js";

const BUDGET = 8;       // ms of a frame that the network may take
const CALM = 600;       // ms a row where readers ask for less motion
const SPEEDS = [1, 2, 5, 10, 20, 50, 120, 250, 500, 1000, 2000];  // pixels a second

const chance = (p, equals = "") => (p < 0.0005 ? "<\u00a00.001" : p > 0.9995 ? ">\u00a00.999" : equals + number(p, 3));

// What is known of a pixel, in words: [where, prediction, what became of it, what it sees].
export function words({ at, size, next, value, fixed, written, known, white, warm, temperature, nats, field }) {
  const place = `${next ? "Next: row" : "Row"} ${Math.floor(at / size)}, column ${at % size}`;
  const sees = `sees ${field} of the ${at} pixel${at === 1 ? "" : "s"} before it`;
  if (!known) return [place, "not predicted yet: earlier pixels are missing", fixed ? `fixed ${value ? "white" : "black"}` : "", sees];
  const cooled = temperature === 1 ? "" : `, at temperature ${number(temperature, 2)}: ${chance(warm)}`;
  const became = written ? `${fixed ? "fixed" : "drawn"} ${value ? "white" : "black"}: ${number(nats, 2)} nats` : fixed ? `fixed ${value ? "white" : "black"}` : "";
  return [place, `p(white) ${chance(white, "= ")}${cooled}`, became, sees];
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal), get = name => model.get(name);
  const spec = get("network"), net = pixelcnn(spec, bytesOf(get("weights"))), page = drawing(net), { size, classes } = spec, n = size * size;
  const examples = bytesOf(get("examples")), exampleLabels = get("example_labels");
  const put = changes => { for (const [name, value] of Object.entries(changes)) model.set(name, value); };
  const save = changes => { put(changes); model.save_changes(); };
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);

  let playing = false, since = 0;       // when it plays: the time up to which pixels have been asked for
  let hovered = -1, erase = false, painting = false;
  let field = { at: -2, mask: null, count: 0 };

  // ---- the picture's making --------------------------------------------------------------------------------------
  function play() {
    if (get("position") >= n) put({ position: 0 });
    playing = true;
    since = performance.now();
    request();
  }
  function stop() { if (playing) { playing = false; save({}); request(); } }
  const toggle = () => (playing ? stop() : play());
  function go(position) { stop(); save({ position: clamp(position, 0, n) }); }
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  function another() {
    const given = get("given"), all = given.length && given.every(v => v >= 0);
    save({ seed: (get("seed") + 1) % 2 ** 31, position: calm() ? n : 0, ...(all ? { given: [] } : {}) });
    if (calm()) stop(); else play();
  }
  // As many pixels as the time since the last frame is worth.
  function onward(now) {
    const step = calm() ? size : 1, each = calm() ? CALM : 1000 / get("speed"), most = Math.max(each, 250);
    if (now - since > 2 * most) since = now - most;  // the page was hidden, or the network slower than was asked for
    const times = Math.floor((now - since) / each);
    since += times * each;
    const position = Math.min(n, get("position") + step * times);
    put({ position });
    if (position === n) stop();
  }

  // ---- fixing pixels -----------------------------------------------------------------------------------------------
  function paint(places, tool, first) {
    const given = get("given").length ? [...get("given")] : Array(n).fill(-1), value = { white: 1, black: 0, free: -1 }[tool];
    if (first) erase = given[places[0]] === value;  // a stroke that starts on such a pixel takes it back
    painting = true;
    for (const i of places) given[i] = erase ? -1 : value;
    put({ given: given.some(v => v >= 0) ? given : [] });
  }
  function stroked() { painting = false; save({}); request(); }
  function keepUpper() {
    const given = get("given"), half = n / 2, done = Math.min(page.done, half);
    save({ given: Array.from({ length: n }, (_, i) => (i >= half ? -1 : i < done ? page.pixels[i] : given.length ? given[i] : -1)), position: n });
  }
  function load(i) {
    stop();
    save({ given: Array.from(examples.subarray(n * i, n * i + n)), ...(classes ? { label: exampleLabels[i] } : {}), position: n });
    say(`Test digit ${exampleLabels[i]} loaded`);
  }

  // ---- the page ----------------------------------------------------------------------------------------------------
  // The pixel under the mouse, else the chosen one, else the next one once the picture stands still.
  const still = () => !playing && page.done >= get("position");
  const looked = () => (hovered >= 0 ? hovered : get("pixel") >= 0 ? get("pixel") : still() && page.done < n ? page.done : -1);
  const picture = board({
    size, paint, stroked, signal, tool: () => get("tool"), brush: () => get("brush"),
    hover: i => { if (i !== hovered) { hovered = i; request(); } },
    pick: (i, keys) => { if (keys) hovered = -1; save({ pixel: !keys && i === get("pixel") ? -1 : i }); },
    looked: () => (get("pixel") >= 0 ? get("pixel") : Math.max(0, looked())),
  });
  const button = (text, onclick, extra = {}) => el("button", { type: "button", class: "gt-button", onclick, ...extra }, text);
  const run = button("Play", toggle, { class: "gt-button gt-play", "aria-pressed": "false" });
  const one = button("Pixel", () => go(get("position") + 1), { title: "Write one pixel" });
  const row = button("Row", () => go((Math.floor(get("position") / size) + 1) * size), { title: "Write to the end of the row" });
  const finish = button("Finish", () => go(n), { title: "Write all the rest at once" });
  const clear = button("Clear", () => go(0), { title: "Back to the first pixel" });
  const anew = button("New digit", another);
  const digits = classes ? choice({ label: "Digit", options: Array.from({ length: classes }, (_, k) => [String(k), String(k)]), value: String(get("label")),
    onchange: key => save({ label: Number(key) }) }) : null;
  digits?.classList.add("gt-digits");
  const nearest = v => SPEEDS.reduce((best, each, k) => (Math.abs(Math.log(each / v)) < Math.abs(Math.log(SPEEDS[best] / v)) ? k : best), 0);
  const fast = slider({ label: "Speed", min: 0, max: SPEEDS.length - 1, step: 1, value: nearest(get("speed")), show: () => `${Math.round(get("speed"))} px/s`,
    oninput: k => { save({ speed: SPEEDS[k] }); } });
  const warmth = slider({ label: "Temperature", min: 0.2, max: 2, step: 0.05, value: get("temperature"), show: v => number(v, 2), oninput: temperature => save({ temperature }) });
  const view = choice({ label: "Show", options: [["pixels", "pixels"], ["white", "p(white)"], ["nats", "nats"]], value: get("view"), onchange: key => save({ view: key }) });
  const tool = choice({ label: "Pointer", options: [["look", "looks"], ["white", "white"], ["black", "black"], ["free", "frees"]], value: get("tool"), onchange: key => save({ tool: key }) });
  const brush = choice({ label: "Brush", options: [["1", "1"], ["2", "2"], ["3", "3"]], value: String(get("brush")), onchange: key => save({ brush: Number(key) }) });
  const upper = button("Keep the upper half", keepUpper, { title: "Fix what is written of it and let the network draw the lower half" });
  const free = button("Free all", () => save({ given: [] }));
  const thumbs = el("div", { class: "gt-thumbs", role: "group", "aria-label": "Load a test digit" }, ...exampleLabels.map((label, i) => {
    const small = el("canvas", { width: size, height: size, "aria-hidden": "true" }), image = new ImageData(size, size);
    for (let p = 0; p < n; p++) image.data.set(examples[n * i + p] ? [246, 247, 250, 255] : [9, 11, 15, 255], 4 * p);
    small.getContext("2d").putImageData(image, 0, 0);
    const thumb = button("", () => load(i), { class: "gt-button gt-thumb", "aria-label": `Test digit ${label}` });
    thumb.append(small);
    return thumb;
  }));
  const fact = (name, key) => { const value = el("dd", {}); return { key, value, node: el("div", { class: "gt-fact" }, el("dt", {}, name), value) }; };
  const facts = [fact("log p(x) so far", "nats"), fact("bits/dim so far", "bits"), fact("pixels written", "done"), fact("log p, fixed pixels", "fixed")];
  const tell = (key, text) => { const { value } = facts.find(f => f.key === key); if (value.textContent !== text) value.textContent = text; };
  const about = el("p", { class: "gt-note gt-about" }), keys = el("div", { class: "gt-legend-row" });
  const panel = (name, ...children) => el("div", { class: `gt-panel gt-in-${name}` }, ...children);
  const root = el("div", { class: "gentut-widget gentut-pixel-sampler", role: "group", "aria-label": "A digit written pixel by pixel" },
    el("div", { class: "gt-board" },
      panel("picture", picture.node, keys, view),
      panel("play", run, one, row, finish, clear, anew),
      panel("facts", el("dl", { class: "gt-facts" }, ...facts.map(f => f.node)),
        el("p", { class: "gt-muted" }, "At temperature 1, whatever the slider says; fixed pixels are counted."), about),
      panel("how", digits, el("div", { class: "gt-sliders" }, fast.node, warmth.node)),
      panel("tools", el("div", { class: "gt-row gt-choices" }, tool, brush),
        el("div", { class: "gt-row" }, upper, free, el("span", { class: "gt-muted" }, "A fixed pixel changes only what comes after it."))),
      exampleLabels.length ? panel("examples", el("p", { class: "gt-title" }, "Test digits to score"), thumbs) : null),
    live);

  // ---- a frame -----------------------------------------------------------------------------------------------------
  function look(at) {
    if (at !== field.at) {
      const mask = at < 0 ? null : receptiveField(spec, at);
      field = { at, mask, count: mask ? mask.reduce((sum, v) => sum + v, 0) : 0 };
    }
    const { dataset } = root, known = at >= 0 && at < page.known, temperature = get("temperature"), given = get("given"), fixed = given.length > 0 && given[at] >= 0;
    const written = at < page.done, next = at === page.done && hovered < 0 && get("pixel") < 0;
    Object.assign(dataset, { at, white: known ? page.white(at).toFixed(6) : "", warm: known ? page.white(at, temperature).toFixed(6) : "", field: at < 0 ? "" : field.count });
    const value = fixed ? given[at] : page.pixels[at];
    const lines = at < 0 ? ["Point at a pixel, tap it or go there with the arrow keys: its prediction, and the pixels that it sees."]
      : words({ at, size, next, value, fixed, written, known, white: known && page.white(at), warm: known && page.white(at, temperature), temperature, nats: page.cost[at], field: field.count });
    about.replaceChildren(...lines.filter(Boolean).map((text, k) => (k ? el("span", {}, text) : el("b", {}, text))));
    return lines.filter(Boolean).join(", ");
  }
  let shownView = "", said = "";  // the view that the legend is of, and the last picture that was announced
  function draw() {
    if (!root.isConnected) return;
    const started = performance.now();
    if (playing && page.done >= get("position")) onward(started);
    const goal = get("position"), given = get("given"), settled = page.advance(goal, started + BUDGET);
    if (settled) page.predict();
    const at = looked(), { all, given: fixedNats } = page.total(), done = page.done, fixed = given.filter(v => v >= 0).length;
    look(at);
    picture.draw({ view: get("view"), page, goal, given, at, field: field.mask, tool: get("tool") });
    if (shownView !== get("view")) { shownView = get("view"); keys.replaceChildren(...legend(shownView)); }
    const bits = done ? all / Math.LN2 / done : 0;
    tell("nats", `${number(-all, 2)} nats`);
    tell("bits", number(bits, 3));
    tell("done", `${done} of ${n}`);
    tell("fixed", fixed ? `${number(-fixedNats, 2)} nats` : "none fixed");
    run.textContent = playing ? "Pause" : "Play";
    run.setAttribute("aria-pressed", String(playing));
    one.disabled = row.disabled = finish.disabled = goal >= n;
    clear.disabled = goal === 0;
    free.disabled = !fixed;
    const signs = (values, end) => Array.from(values, (v, i) => (i >= end || v < 0 ? "." : v)).join("");
    Object.assign(root.dataset, { position: goal, done, seed: get("seed"), label: get("label"), temperature: get("temperature"), nats: all.toFixed(6), bits: bits.toFixed(8),
      fixed, fixedNats: fixedNats.toFixed(6), pixels: signs(page.pixels, done), given: signs(given, n), playing: Number(playing),
      settled: Number(settled && !playing), memory: net.memory, ms: (performance.now() - started).toFixed(2) });
    if (playing || !settled) return request();
    if (painting) return;
    const now = Array.from(page.pixels);
    if (get("nats") !== all || get("picture").length !== n || now.some((v, i) => v !== get("picture")[i])) save({ picture: now, nats: all });
    if (done === n && said !== root.dataset.pixels) {
      said = root.dataset.pixels;
      say(`The picture is whole: log p ${number(-all, 1)} nats, ${number(bits, 3)} bits per dimension`);
    }
  }
  const request = frames(draw, signal);
  function renew() {
    page.set({ given: get("given"), seed: get("seed"), label: get("label"), temperature: get("temperature") });
    page.cut(get("position"));
    request();
  }
  for (const name of ["given", "seed", "label", "temperature", "position"]) on(`change:${name}`, renew);
  for (const name of ["view", "tool", "brush"]) on(`change:${name}`, request);
  on("change:pixel", () => { request(); if (get("pixel") >= 0) say(look(get("pixel"))); });
  on("change:speed", () => fast.put(nearest(get("speed"))));
  on("change:temperature", () => warmth.put(get("temperature")));
  const mark = (node, name) => on(`change:${name}`, () => { for (const input of node.querySelectorAll("input")) input.checked = input.value === String(get(name)); });
  for (const [node, name] of [[digits, "label"], [view, "view"], [tool, "tool"], [brush, "brush"]]) if (node) mark(node, name);

  host.append(root);
  renew();
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
