// MoonMorph: from full moon to half moon through the codes of an autoencoder and of a VAE, and moons decoded from N(0, 1).
import { bytesOf, network } from "./nn.js";
import { announcer, choice, clamp, colour, css, el, follower, frames, gaussian, number, picture, sharp, slider, watchTheme } from "./common.js";

const PHASES = 201;     // true moons that "the nearest" is looked for among
const POINTS = 81;      // points of each curve
const DRAWS = 8;        // moons drawn from the prior
const KINDS = [["ae", "Autoencoder"], ["vae", "VAE"]];

// The moon at a phase, 0 half to 1 full: gentut.data.moon in JavaScript.
export function moon(phase, size = 28) {
  const out = new Float32Array(size * size), radius = 0.36 * size, lines = 8;
  for (let line = 0; line < size * lines; line++) {
    const y = (line + 0.5) / lines - size / 2, half = Math.sqrt(Math.max(0, radius * radius - y * y));
    const row = Math.floor(line / lines) * size;
    for (let column = 0; column < size; column++) {
      const x = column - size / 2;  // the pixel's left edge
      out[row + column] += Math.max(0, Math.min(x + 1, half) - Math.max(x, -phase * half)) / lines;
    }
  }
  return out;
}

// Root mean square difference of the pictures that start at a[i] and b[j], in grey levels from 0 to 1.
export function difference(a, i, b, j, size = 784) {
  let sum = 0;
  for (let k = 0; k < size; k++) sum += (a[i + k] - b[j + k]) ** 2;
  return Math.sqrt(sum / size);
}

// The true moon nearest to the picture at values[start]: { phase, error }.
let table;
export function nearest(values, start = 0) {
  table ??= Array.from({ length: PHASES }, (_, i) => moon(i / (PHASES - 1)));
  let best = { phase: 0, error: Infinity };
  table.forEach((true_, i) => {
    const error = difference(values, start, true_, 0);
    if (error < best.error) best = { phase: i / (PHASES - 1), error };
  });
  return best;
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const weights = bytesOf(model.get("weights")), spec = model.get("networks"), ends = model.get("ends");
  const nets = Object.fromEntries(Object.keys(spec).map(name => [name, network(spec[name], weights)]));
  const decode = (name, code) => nets[name].forward(Float32Array.of(code));
  const codeAt = (name, t) => ends[name][0] + t * (ends[name][1] - ends[name][0]);
  let colours = {}, curves = null, samples = null, lead = [];

  const canvas = (name, label) => el("canvas", { class: `gt-${name}`, role: "img", "aria-label": label, width: 28, height: 28 });
  const square = (...children) => el("div", { class: "gt-square" }, ...children);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  const show = t => (t === 0 ? "full moon" : t === 1 ? "half moon" : `${Math.round(100 * t)} %`);
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }

  const truth = canvas("truth", "True moon"), faces = {}, errors = {}, strips = {}, sheets = {}, verdicts = {};
  for (const [kind, title] of KINDS) {
    faces[kind] = canvas(`face-${kind}`, `Moon decoded by the ${title}`);
    errors[kind] = el("p", { class: "gt-note" });
    sheets[kind] = Array.from({ length: DRAWS }, (_, i) => canvas(`draw-${kind}`, `${title}, draw ${i + 1}`));
    strips[kind] = el("canvas", { class: "gt-strip", role: "img" });
    verdicts[kind] = el("p", { class: "gt-note" });
  }
  const chart = el("canvas", { class: "gt-chart", role: "img", "aria-label": "Error along the way from full to half moon" });
  const way = slider({ label: "Full to half", min: 0, max: 1, step: 0.01, value: model.get("position"), show, oninput: position => save({ position }) });
  const pairs = choice({ label: "Trained on", options: [["many", "many phases"], ["two", "full and half only"]], value: model.get("trained"),
    onchange: trained => save({ trained }) });
  const again = el("button", { type: "button", class: "gt-button", onclick: () => save({ seed: model.get("seed") + 1 }) }, "Draw again");
  const panel = (title, ...children) => el("div", { class: "gt-panel" }, el("p", { class: "gt-title" }, title), ...children);
  const legend = el("div", { class: "gt-curves" }, ...KINDS.map(([kind, title]) => el("span", { class: `gt-line gt-line-${kind}` }, title)),
    el("span", { class: "gt-muted" }, "difference to the true moon of the slider (line) and to the nearest true moon (dotted)"));

  const root = el("div", { class: "gentut-widget gentut-moon-morph", role: "group", "aria-label": "Moons between two codes" },
    el("div", { class: "gt-board" },
      pairs,
      el("div", { class: "gt-three" },
        panel("Autoencoder", square(faces.ae), errors.ae),
        panel("True moon", square(truth), el("p", { class: "gt-note" }, el("span", {}, "drawn, not decoded"))),
        panel("VAE", square(faces.vae), errors.vae)),
      el("div", { class: "gt-panel" }, way.node, chart, legend),
      el("div", { class: "gt-panel gt-prior" },
        el("div", { class: "gt-row gt-apart" }, el("p", { class: "gt-title" }, "Decoded from codes drawn from N(0, 1)"), again),
        ...KINDS.map(([kind, title]) => el("div", { class: "gt-set" },
          el("p", { class: "gt-muted" }, title), el("div", { class: "gt-sheet" }, ...sheets[kind].map(each => square(each))), strips[kind], verdicts[kind])))),
    live);

  function paint(node, values, start = 0) { node.getContext("2d").putImageData(picture(values, start, colours.moon), 0, 0); }

  // Both errors of both networks at each point of the way; measured once for each pair.
  function measure() {
    const trained = model.get("trained");
    curves = Object.fromEntries(KINDS.map(([kind]) => [kind, Array.from({ length: POINTS }, (_, i) => {
      const t = i / (POINTS - 1), values = decode(`${trained}-${kind}`, codeAt(`${trained}-${kind}`, t));
      return [difference(values, 0, moon(1 - t), 0), nearest(values).error];
    })]));
  }
  // The same codes for both networks, so that only the decoders differ.
  function drawSamples() {
    const random = gaussian(model.get("seed") + 1), codes = Array.from({ length: DRAWS }, random);
    samples = { codes };
    for (const [kind] of KINDS) samples[kind] = codes.map(code => { const values = decode(`${model.get("trained")}-${kind}`, code).slice(); return { values, ...nearest(values) }; });
  }

  function paintChart(t) {
    const g = chart.getContext("2d"), w = chart.clientWidth, h = chart.clientHeight;
    if (!w) return;
    const top = Math.max(0.1, ...KINDS.flatMap(([kind]) => curves[kind].flat())) * 1.1;
    const x = v => 34 + v * (w - 46), y = v => h - 8 - (v / top) * (h - 18);
    g.clearRect(0, 0, w, h);
    g.font = "11px system-ui, sans-serif";
    g.textAlign = "right"; g.textBaseline = "middle";
    const step = top > 0.35 ? 0.2 : top > 0.15 ? 0.1 : 0.05;
    for (let v = 0; v < top; v += step) {
      g.strokeStyle = css(colours.muted, 0.3); g.lineWidth = 1;
      g.beginPath(); g.moveTo(x(0), y(v)); g.lineTo(x(1), y(v)); g.stroke();
      g.fillStyle = css(colours.muted); g.fillText(v.toFixed(2), 28, y(v));
    }
    g.strokeStyle = css(colours.ink, 0.6); g.lineWidth = 1.5;
    g.beginPath(); g.moveTo(x(t), 4); g.lineTo(x(t), h - 8); g.stroke();
    for (const [kind] of KINDS) for (const which of [0, 1]) {
      g.strokeStyle = css(colours[kind]); g.lineWidth = which ? 1.75 : 2.5; g.setLineDash(which ? [2, 4] : []);
      g.beginPath();
      curves[kind].forEach((pair, i) => g.lineTo(x(i / (POINTS - 1)), y(pair[which])));
      g.stroke();
    }
    g.setLineDash([]);
    for (const { kind, error } of lead) {
      g.beginPath(); g.arc(x(t), y(error), 5, 0, 7);
      g.fillStyle = css(colours[kind]); g.fill(); g.lineWidth = 2; g.strokeStyle = css(colours.paper); g.stroke();
    }
  }
  // The line of codes: where the two moons lie, and where the draws fell.
  function paintStrip(kind) {
    const node = strips[kind], g = node.getContext("2d"), w = node.clientWidth, h = node.clientHeight;
    if (!w) return;
    const [full, half] = ends[`${model.get("trained")}-${kind}`], all = [-3, 3, full, half, ...samples.codes];
    const low = Math.min(...all), high = Math.max(...all), x = v => 16 + ((v - low) / (high - low)) * (w - 32), y = h - 20;
    g.clearRect(0, 0, w, h);
    g.font = "11px system-ui, sans-serif"; g.textAlign = "center"; g.textBaseline = "top";
    // The bell of N(0, 1), on this network's scale.
    g.beginPath(); g.moveTo(x(-3), y);
    for (let v = -3; v <= 3.01; v += 0.1) g.lineTo(x(v), y - (y - 4) * Math.exp(-v * v / 2));
    g.closePath(); g.fillStyle = css(colours.muted, 0.25); g.fill();
    g.strokeStyle = css(colours.muted, 0.6); g.lineWidth = 1;
    g.beginPath(); g.moveTo(8, y); g.lineTo(w - 8, y); g.stroke();
    g.strokeStyle = css(colours[kind]); g.lineWidth = 3;
    g.beginPath(); g.moveTo(x(full), y); g.lineTo(x(half), y); g.stroke();
    const named = [[full, "full"], [half, "half"]].sort((a, b) => a[0] - b[0]).map(([code, name]) => [x(code), `${name} ${number(code, 1)}`]);
    for (const [at] of named) { g.beginPath(); g.arc(at, y, 5, 0, 7); g.fillStyle = css(colours[kind]); g.fill(); }
    g.fillStyle = css(colours.muted);
    const write = (at, text, room) => g.fillText(text, clamp(at, room, w - room), y + 7);
    if (named[1][0] - named[0][0] > 70) for (const [at, text] of named) write(at, text, 32);
    else write((named[0][0] + named[1][0]) / 2, named.map(([, text]) => text).join(" \u00b7 "), 64);  // too near for two labels
    g.strokeStyle = css(colours.ink); g.lineWidth = 1.5;
    for (const code of samples.codes) { g.beginPath(); g.moveTo(x(code), y - 6); g.lineTo(x(code), y + 6); g.stroke(); }
    const text = `Full moon at ${number(full, 1)}, half moon at ${number(half, 1)}; draws from ${number(Math.min(...samples.codes), 1)} to ${number(Math.max(...samples.codes), 1)}`;
    node.setAttribute("aria-label", text);
  }

  function drawPrior() {
    drawSamples();
    for (const [kind] of KINDS) {
      const own = samples[kind], mean = own.reduce((sum, s) => sum + s.error, 0) / DRAWS, phases = own.map(s => s.phase);
      own.forEach((sample, i) => paint(sheets[kind][i], sample.values));
      verdicts[kind].replaceChildren(el("span", {}, "distance to the nearest true moon, mean ", el("b", {}, mean.toFixed(3))),
        el("span", {}, `their phases: ${Math.min(...phases).toFixed(2)} to ${Math.max(...phases).toFixed(2)}`));
      root.dataset[`${kind}Prior`] = mean.toFixed(6);
      paintStrip(kind);
    }
  }
  let stale = true;         // the prior's panel and the curves need work only when networks, seed or colours change
  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now(), t = model.get("position"), trained = model.get("trained"), true_ = moon(1 - t);
    paint(truth, true_);
    if (!curves) measure();
    lead = [];
    for (const [kind] of KINDS) {
      const values = decode(`${trained}-${kind}`, codeAt(`${trained}-${kind}`, t)), error = difference(values, 0, true_, 0), best = nearest(values);
      paint(faces[kind], values);
      lead.push({ kind, error });
      errors[kind].replaceChildren(
        el("span", {}, "from the true moon ", el("b", {}, error.toFixed(3))), el("span", {}, "from the nearest ", el("b", {}, best.error.toFixed(3))));
      root.dataset[kind] = `${error.toFixed(6)} ${best.error.toFixed(6)}`;
    }
    paintChart(t);
    if (stale) { stale = false; drawPrior(); }
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  const request = frames(draw, signal);
  const spoil = () => { stale = true; request(); };
  function recolour() {
    for (const [name, variable] of Object.entries({ ink: "--ink", moon: "--moon", paper: "--paper", muted: "--muted", ae: "--line-ae", vae: "--line-vae" })) colours[name] = colour(root, variable);
    spoil();
  }

  host.append(root);
  recolour();
  for (const node of [chart, strips.ae, strips.vae]) sharp(node, () => { stale = true; draw(); }, signal);
  watchTheme(recolour, signal);
  on("change:position", () => {
    const t = model.get("position");
    way.put(t);
    request();
    say(`${show(t)}; error of the autoencoder ${errorAt("ae", t)}, of the VAE ${errorAt("vae", t)}`);
  });
  on("change:trained", () => {
    curves = null;
    for (const input of pairs.querySelectorAll("input")) input.checked = input.value === model.get("trained");
    spoil();
  });
  on("change:seed", spoil);
  const errorAt = (kind, t) => curves[kind][Math.round(t * (POINTS - 1))][0].toFixed(3);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
