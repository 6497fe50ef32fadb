// MarkovChain: one chain seen four ways. A walker on its graph, its matrix to edit, pi_t on its way to pi, and the
// eigenvalues that say how fast. Everything shown follows from the traits A, names, start, t, walked and seed.
import { announcer, choice, clamp, el, follower, frames, number, slider, uniform } from "./common.js";
import { chart, figure, player, svg } from "./plot.js";
import { communicating, distributions, eigenvaluesOf, endings, mixture, nextState, onward, PRESETS, stationaryRows, totalVariation, withEntry } from "./markov-maths.js";

const FLOOR = -6;         // the distance is drawn down to 10^FLOOR
const LIFT = 10;          // added to the logarithm, so that the chart's line at 0 is not the line of distance 1
const SETTLED = 1e-6;     // where playing stops
const GLIDE = 450;        // milliseconds of the walker on its way
const SUBSCRIPTS = "\u2080\u2081\u2082\u2083\u2084\u2085";

// A probability in few characters, never 0 or 1 unless it is.
export function chance(p) {
  if (p > 0 && p < 0.005) return "<0.01";
  if (p < 1 && p > 0.995) return ">0.99";
  return String(Number(p.toFixed(2)));
}
// Three decimals, none where they are zero.
const tidy = v => number(Number(v.toFixed(3)) + 0, 3).replace(/\.000$/, "");
const listed = values => values.map(String).join(" ");
const near = (A, B) => A.length === B.length && A.every((row, i) => row.every((v, j) => Math.abs(v - B[i][j]) < 1e-9));

// ------------------------------------------------------------------------------------------------------------- the graph

// Where states, arrows and their labels go on a sheet of width x height pixels: { radius, places, middle, edges, labels }.
// An edge has point(s), s from 0 to 1, and the path's text; a label is left out where there is no room for it. `also`
// is an arrow [i, j] that is laid out even if its probability is 0.
export function layout(A, width, height, also = []) {
  const k = A.length, radius = k > 3 ? 26 : 30, room = radius + 40, first = { 2: -Math.PI, 4: -0.75 * Math.PI }[k] ?? -Math.PI / 2;
  const turns = A.map((_, i) => first + (2 * Math.PI * i) / k), round = turns.map(a => [Math.cos(a), Math.sin(a)]);
  const span = axis => [Math.min(...round.map(p => p[axis])), Math.max(...round.map(p => p[axis]))];
  const [left, right] = span(0), [top, low] = span(1);
  let rx = (width - 2 * room - (k === 2 ? 36 : 0)) / (right - left), ry = low - top > 0.01 ? (height - 2 * room) / (low - top) : rx;
  rx = Math.min(rx, 1.25 * ry); ry = Math.min(ry, 1.25 * rx);
  const middle = [width / 2 - (rx * (left + right)) / 2, height / 2 - (ry * (top + low)) / 2];
  const places = round.map(([x, y]) => [middle[0] + rx * x, middle[1] + ry * y]);

  const edges = [];
  A.forEach((row, i) => row.forEach((p, j) => {
    if (p <= 0 && !(also[0] === i && also[1] === j)) return;
    const w = 1 + 6 * p, head = 6 + 1.2 * w;
    edges.push({ i, j, p, w, ...(i === j ? loop(places[i], turns[i], radius, head) : bow(places[i], places[j], radius, head)) });
  }));

  // Labels on their arrows, likely ones first, wherever they touch neither a state nor another label.
  const boxes = [], labels = [];
  const free = ([x, y], half) => x - half > 0 && x + half < width && places.every(([a, b]) => Math.hypot(Math.max(0, Math.abs(x - a) - half), Math.max(0, Math.abs(y - b) - 6)) > radius + 2)
    && boxes.every(b => Math.abs(b.x - x) > b.half + half || Math.abs(b.y - y) > 16);
  for (const edge of edges.slice().sort((a, b) => b.p - a.p)) {
    if (k > 4 && edge.p < 0.1) continue;  // five states have up to 25 arrows; the table has all the numbers
    const text = chance(edge.p), half = 3.4 * text.length + 2;
    for (const s of edge.i === edge.j ? [0.5] : [0.5, 0.42, 0.58, 0.34, 0.66, 0.27]) {
      const [x, y] = edge.point(s), at = [clamp(x, half + 1, width - half - 1), y];
      if (!free(at, half)) continue;
      boxes.push({ x: at[0], y: at[1], half });
      labels.push({ i: edge.i, j: edge.j, text, half, x: at[0], y: at[1] });
      break;
    }
  }
  return { radius, places, middle, edges, labels };
}
// The sheet's height for its width.
export const tallness = (k, width) => (k === 2 ? 190 : Math.round(Math.min(330, 0.96 * width)));
const toward = ([a, b], [c, d], far) => { const size = Math.hypot(c - a, d - b) || 1; return [a + ((c - a) * far) / size, b + ((d - b) * far) / size]; };
const fixed = (...v) => v.map(x => x.toFixed(1)).join(" ");

// An arrow from one circle to another that bends to its left, so that the one that comes back has its own way.
function bow(a, b, radius, head) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const control = [(a[0] + b[0]) / 2 + 0.2 * dy, (a[1] + b[1]) / 2 - 0.2 * dx];
  const from = toward(a, control, radius), tip = toward(b, control, radius + 1), neck = toward(b, control, radius + head);
  const point = s => [0, 1].map(n => (1 - s) ** 2 * from[n] + 2 * s * (1 - s) * control[n] + s * s * neck[n]);
  return { path: `M${fixed(...from)}Q${fixed(...control, ...neck)}`, point, neck, tip };
}
// An arrow from a circle to itself, on the side that faces out.
function loop(place, turn, radius, head) {
  const at = (angle, far) => [place[0] + far * Math.cos(angle), place[1] + far * Math.sin(angle)];
  const [from, one, two] = [at(turn - 0.42, radius), at(turn - 0.62, radius + 44), at(turn + 0.62, radius + 44)];
  const tip = at(turn + 0.42, radius + 1), neck = toward(tip, two, head - 1);
  const point = s => [0, 1].map(n => (1 - s) ** 3 * from[n] + 3 * s * (1 - s) ** 2 * one[n] + 3 * s * s * (1 - s) * two[n] + s ** 3 * neck[n]);
  return { path: `M${fixed(...from)}C${fixed(...one, ...two, ...neck)}`, point, neck, tip };
}
function arrowhead({ neck, tip, w }) {
  const size = Math.hypot(tip[0] - neck[0], tip[1] - neck[1]) || 1, half = 2.5 + 0.75 * w;
  const side = [(-(tip[1] - neck[1]) * half) / size, ((tip[0] - neck[0]) * half) / size];
  return `M${fixed(...tip)}L${fixed(neck[0] + side[0], neck[1] + side[1])}L${fixed(neck[0] - side[0], neck[1] - side[1])}Z`;
}
// A name in a circle: broken at a space, then smaller, then cut.
function badge(name, [x, y], radius) {
  const words = name.length > 6 && /\s/.test(name) ? [name.slice(0, name.indexOf(" ")), name.slice(name.indexOf(" ") + 1)] : [name];
  const size = Math.max(8.5, Math.min(13, (1.8 * radius) / (0.6 * Math.max(...words.map(w => w.length))))), most = Math.floor((1.85 * radius) / (0.6 * size));
  const lines = words.map(w => (w.length > most ? `${w.slice(0, most - 1)}\u2026` : w));
  return svg("text", { "font-size": size.toFixed(1) }, ...lines.map((line, n) =>
    svg("tspan", { x, y: y + (n - (lines.length - 1) / 2) * size * 1.15 }, line)));
}

// -------------------------------------------------------------------------------------------------------------- in words

export function eigenvalueLines(values) {
  const lines = [];
  values.forEach(([re, im], n) => {
    const name = `\u03bb${SUBSCRIPTS[n + 1]}`, real = Math.abs(im) < 5e-5;
    const text = real ? tidy(re) : `${number(re + 0, 3)} \u00b1 ${Math.abs(im).toFixed(3)} i`;
    const last = lines.at(-1);
    if (last && last.text === text) last.names.push(name);
    else lines.push({ names: [name], text });
  });
  return lines.map(({ names, text }) => `${names.join(", ")} = ${text}`);
}

export function verdict({ closed, weights, period }, names, start) {
  const of = closed.map((_, c) => `\u03c0${SUBSCRIPTS[c + 1]}`), said = [];
  if (closed.length === 1) said.push(period === 1 ? "One stationary distribution \u03c0: wherever the chain starts, its distribution goes there." : "One stationary distribution \u03c0.");
  else {
    const where = closed.map((c, n) => `${of[n]} on ${c.states.map(i => names[i]).join(", ")}`);
    said.push(`${closed.length} stationary distributions, and all their mixtures: ${where.join("; ")}. Where the chain ends depends on where it starts.`);
    const parts = closed.map((_, n) => n).filter(n => weights[n] > 0).map(n => `in ${of[n]} with probability ${figure(weights[n], 3)}`);
    said.push(`From ${names[start]} it ends ${parts.length > 1 ? `${parts.join(", ")}; \u03c0 is that mixture.` : `in ${of[weights.findIndex(w => w > 0)]} for sure, so that is \u03c0 here.`}`);
  }
  if (period > 1) said.push(`The chain is periodic, with period ${period}: its distribution can go round for ever. Its average over many steps is \u03c0.`);
  return said.join(" ");
}
const least = (a, b) => { let [x, y] = [a, b]; while (y) [x, y] = [y, x % y]; return (a * b) / x; };

// -------------------------------------------------------------------------------------------------------------- the widget

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal), [mostSteps, mostWalked] = model.get("most");
  const save = changes => { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); };
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);

  // What A and the start decide, found once for both; names and start may lag behind A for a moment.
  let known = {};
  function state() {
    const A = model.get("A"), k = A.length, start = Math.min(model.get("start"), k - 1), t = model.get("t");
    if (known.A !== A) {
      const classes = communicating(A), closed = classes.filter(c => c.closed), rows = stationaryRows(A, classes);
      known = { A, k, classes, closed, rows, period: closed.map(c => c.period).reduce(least, 1), eigenvalues: eigenvaluesOf(A) };
    }
    if (known.start !== start) {
      const weights = endings(A, start, known.classes), target = mixture(known.rows, weights);
      Object.assign(known, { start, weights, target, path: distributions(A, start, 0) });
    }
    while (known.path.length <= t) known.path.push(onward(known.path.at(-1), A));
    const given = model.get("names");
    known.names = A.map((_, i) => given[i] ?? String(i + 1));
    return known;
  }

  // The walker's path is a function of A, start and seed: edit A, and the same random numbers lead elsewhere.
  let walk = {};
  function walker() {
    const { A, start } = state(), seed = model.get("seed"), n = model.get("walked");
    if (walk.A !== A || walk.start !== start || walk.seed !== seed || walk.n > n) {
      walk = { A, start, seed, n: 0, at: start, from: start, random: uniform(seed), counts: A.map((_, i) => Number(i === start)) };
    }
    for (; walk.n < n; walk.n++) {
      walk.from = walk.at;
      walk.at = nextState(A[walk.at], walk.random());
      walk.counts[walk.at]++;
    }
    return walk;
  }

  // ------------------------------------------------------------------------------------------------- chains and matrix
  let chosen = null, hold = null;  // the cell whose arrow is shown; the row before a movement of the hand began
  const chains = choice({ label: "Chain", options: Object.entries(PRESETS).map(([key, { title }]) => [key, title]), value: null,
    onchange: key => {
      const { A, names, start } = PRESETS[key];
      stopAll();
      chosen = hold = null;
      save({ A, names, start, t: 0, walked: 0 });
    } });
  chains.classList.add("gt-chains");

  function edit(i, j, value) {
    const A = model.get("A");
    if (!hold || hold.i !== i || hold.j !== j || !near(hold.A, A)) hold = { i, j, row: A[i].slice() };
    hold.A = withEntry(A, i, j, value, hold.row);
    save({ A: hold.A });
  }
  const matrix = el("div", { class: "gt-matrix", role: "group", "aria-label": "Transition matrix A: row from, column to" });
  let cells = [], shownNames = "";
  function makeCells({ A, k, names }) {
    if (cells.length === k && shownNames === names.join("\n")) return;
    shownNames = names.join("\n");
    matrix.style.gridTemplateColumns = `minmax(2.2rem, max-content) repeat(${k}, minmax(0, 1fr))`;
    const head = name => el("span", { class: "gt-to gt-name", "aria-hidden": "true", title: name }, name);
    cells = A.map((_, i) => A.map((__, j) => el("input", { type: "number", class: "gt-cell", min: 0, max: 1, step: 0.01, inputmode: "decimal",
      "aria-label": `Probability from ${names[i]} to ${names[j]}`,
      onwheel: event => event.target.blur(),  // or scrolling the page would turn the number
      onfocus: () => { chosen = [i, j]; hold = null; request(); },
      oninput: event => { const v = event.target.valueAsNumber; if (Number.isFinite(v)) edit(i, j, v); },
      onchange: event => { hold = null; event.target.value = ""; request(); } })));
    matrix.replaceChildren(el("span"), ...names.map(head),
      ...cells.flatMap((row, i) => [el("span", { class: "gt-from gt-name", "aria-hidden": "true", title: names[i] }, names[i]), ...row]));
  }
  const lever = slider({ label: "", min: 0, max: 1, step: 0.01, value: 0, show: v => number(v, 3), oninput: v => edit(...chosen, v) });
  const leverInput = lever.node.querySelector("input"), leverName = lever.node.querySelector("span");
  leverInput.addEventListener("change", () => { hold = null; });
  function showMatrix(now) {
    makeCells(now);
    const { A, names } = now, [i, j] = chosen;
    cells.forEach((row, n) => row.forEach((cell, m) => {
      const text = String(Number(A[n][m].toFixed(now.k > 4 ? 2 : 3)));
      // A field in which the reader types keeps what was typed.
      if (!(cell === document.activeElement && hold && cell.value !== "") && cell.value !== text) cell.value = text;
      cell.style.setProperty("--p", A[n][m]);
      cell.classList.toggle("gt-chosen", n === i && m === j);
    }));
    const name = `from ${names[i]} to ${names[j]}`;
    leverName.textContent = name;
    leverInput.setAttribute("aria-label", `Probability ${name}`);
    lever.put(A[i][j]);
  }

  // ---------------------------------------------------------------------------------------------------------- the graph
  const edgeGroup = svg("g"), chanceGroup = svg("g"), stateGroup = svg("g"), token = svg("circle", { class: "gt-walker", r: 8 });
  const graph = svg("svg", { class: "gt-graph", role: "img" }, edgeGroup, chanceGroup, stateGroup, token);
  const graphBox = el("div", {}, graph);
  let plan = null, drawn = "", width = 0, glide = 0;
  graph.addEventListener("click", event => {
    const edge = event.target.closest(".gt-edge"), place = event.target.closest(".gt-state");
    if (edge) { chosen = [Number(edge.dataset.i), Number(edge.dataset.j)]; hold = null; request(); }
    if (place) save({ start: Number(place.dataset.i), t: 0, walked: 0 });
  });
  const observer = new ResizeObserver(() => { if (graphBox.clientWidth !== width) { width = graphBox.clientWidth; request(); } });
  observer.observe(graphBox);
  signal.addEventListener("abort", () => { observer.disconnect(); cancelAnimationFrame(glide); });

  function showGraph({ A, k, names }, { at }) {
    const key = `${width} ${chosen} ${shownNames} ${A}`;
    if (width && drawn !== key) {
      drawn = key;
      const height = tallness(k, width);
      plan = layout(A, width, height, chosen);
      graph.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const own = edge => chosen[0] === edge.i && chosen[1] === edge.j;
      edgeGroup.replaceChildren(...plan.edges.slice().sort((a, b) => own(a) - own(b)).map(edge => {
        return svg("g", { class: `gt-edge ${own(edge) ? "gt-chosen" : ""}`, "data-i": edge.i, "data-j": edge.j },
          svg("title", {}, `from ${names[edge.i]} to ${names[edge.j]}: ${figure(edge.p, 3)}`),
          svg("path", { class: "gt-line", d: edge.path, "stroke-width": edge.w.toFixed(2), "stroke-dasharray": edge.p > 0 ? null : "3 4" }),
          svg("path", { class: "gt-head", d: arrowhead(edge) }), svg("path", { class: "gt-hit", d: edge.path }));
      }));
      chanceGroup.replaceChildren(...plan.labels.flatMap(({ text, half, x, y }) => [
        svg("rect", { class: "gt-gap", x: (x - half).toFixed(1), y: (y - 8).toFixed(1), width: 2 * half, height: 16, rx: 4 }),
        svg("text", { class: "gt-chance", x: x.toFixed(1), y: y.toFixed(1) }, text)]));
      stateGroup.replaceChildren(...plan.places.map((place, i) => svg("g", { class: "gt-state", "data-i": i },
        svg("title", {}, names[i]), svg("circle", { cx: place[0], cy: place[1], r: plan.radius }), badge(names[i], place, plan.radius))));
      plan.A = A;
    }
    if (!glide && plan?.A === A) put(rest(at));
    [...stateGroup.children].forEach((node, i) => node.classList.toggle("gt-here", i === at));
    const arrows = A.flatMap((row, i) => row.map((p, j) => [p, i, j])).filter(([p]) => p > 0).map(([p, i, j]) => `${names[i]} to ${names[j]} ${chance(p)}`);
    graph.setAttribute("aria-label", `The chain as a graph: ${arrows.join(", ")}. The walker is at ${names[at]}.`);
  }
  const rest = i => toward(plan.places[i], plan.middle, plan.radius);
  const put = ([x, y]) => { token.setAttribute("cx", x.toFixed(1)); token.setAttribute("cy", y.toFixed(1)); };
  function settle() {
    cancelAnimationFrame(glide);
    glide = 0;
    root.dataset.gliding = "0";
    request();
  }
  // Along the arrow that was taken; at once for readers who ask for less motion.
  function follow() {
    const { A, from, at } = walker(), edge = plan?.A === A && plan.edges.find(e => e.i === from && e.j === at);
    if (!edge || matchMedia("(prefers-reduced-motion: reduce)").matches) return settle();
    cancelAnimationFrame(glide);
    const started = performance.now(), [first, last] = [rest(from), rest(at)];
    const mix = (a, b, s) => [0, 1].map(n => a[n] + (b[n] - a[n]) * s);
    root.dataset.gliding = "1";
    const frame = now => {
      const s = Math.max(0, (now - started) / GLIDE);
      if (s >= 1) return settle();
      put(s < 0.15 ? mix(first, edge.point(0), s / 0.15) : s > 0.85 ? mix(edge.point(1), last, (s - 0.85) / 0.15) : edge.point((s - 0.15) / 0.7));
      glide = requestAnimationFrame(frame);
    };
    glide = requestAnimationFrame(frame);
  }

  const stroll = player({ step: () => {
    const n = model.get("walked");
    if (n < mostWalked) save({ walked: n + 1 });
    return n + 1 < mostWalked;
  }, stepText: "Walk one step", interval: 700, signal });
  const hundred = el("button", { type: "button", class: "gt-button", onclick: () => { stroll.stop(); save({ walked: Math.min(mostWalked, model.get("walked") + 100) }); } }, "Walk 100");
  const afresh = el("button", { type: "button", class: "gt-button", onclick: () => { stroll.stop(); save({ walked: 0, seed: model.get("seed") + 1 }); } }, "Reset");
  const visits = el("div", { class: "gt-visits" });
  let rows = [];
  function showVisits({ k, names, rows: stationary, closed }, { counts, n }) {
    const key = names.join("\n");
    if (rows.length !== k || visits.dataset.names !== key) {
      visits.dataset.names = key;
      rows = names.map(name => ({ name: el("span", { class: "gt-name", title: name }, name), fill: el("div", { class: "gt-fill" }), mark: el("div", { class: "gt-expected" }),
        share: el("span", { class: "gt-amount" }), expected: el("span", { class: "gt-amount gt-muted" }) }));
      for (const row of rows) row.track = el("div", { class: "gt-track", role: "img" }, row.fill, row.mark);
      visits.replaceChildren(el("span"), el("span"), el("span", { class: "gt-top" }, "visits"), el("span", { class: "gt-top" }, "\u03c0"),
        ...rows.flatMap(({ name, track, share, expected }) => [name, track, share, expected]));
    }
    rows.forEach(({ fill, mark, track, share, expected }, i) => {
      const c = closed.findIndex(({ states }) => states.includes(i)), want = c < 0 ? 0 : stationary[c][i], part = counts[i] / (n + 1);
      fill.style.width = `${100 * part}%`;
      mark.style.left = `${100 * want}%`;
      mark.hidden = c < 0;
      share.textContent = part.toFixed(3);
      expected.textContent = c < 0 ? "0" : `${want.toFixed(3)}${closed.length > 1 ? ` in \u03c0${SUBSCRIPTS[c + 1]}` : ""}`;
      track.setAttribute("aria-label", `${names[i]}: ${counts[i]} of ${n + 1} visits`);
    });
    walkNote.textContent = `Share of visits after ${n} step${n === 1 ? "" : "s"}; the marks are \u03c0.`;
  }
  const walkNote = el("p", { class: "gt-note" });

  // -------------------------------------------------------------------------------------------------------- pi_t and pi
  const pick = el("select", { onchange: () => save({ start: Number(pick.value), t: 0, walked: 0 }) });
  const pickLabel = el("label", { class: "gt-pick" }, "Start in", pick);
  const steps = player({ step: () => {
    const t = model.get("t");
    if (t < mostSteps) save({ t: t + 1 });
    const { path, target } = state();
    return t + 1 < mostSteps && totalVariation(path[model.get("t")], target) > SETTLED;
  }, stepText: "Step", interval: 500, signal });
  const back = el("button", { type: "button", class: "gt-button", onclick: () => { steps.stop(); save({ t: 0 }); } }, "Reset");
  const stopAll = () => { steps.stop(); stroll.stop(); };

  const bars = chart({ label: "", x: { range: [-0.5, 2.5], ticks: [] }, y: { range: [0, 1], ticks: 2 }, height: 190, margin: { left: 30, top: 18 }, signal });
  const truthBars = bars.bars({ width: 0.34, shift: 0.19, class: "gt-truth" }), nowBars = bars.bars({ width: 0.34, shift: -0.19, class: "gt-q" });
  const nowWords = bars.words({ class: "gt-q" }), markWords = bars.words({ class: "gt-truth" });
  let marks = [];
  const markGroup = svg("g"), markLayer = bars.layer(markGroup, () => markGroup.replaceChildren(...marks.map(([i, v]) => svg("line", {
    class: "gt-rule gt-truth gt-floor", x1: bars.x(i + 0.02), x2: bars.x(i + 0.36), y1: bars.y(v), y2: bars.y(v) }))), false);
  const sub = text => el("span", {}, "\u03c0", el("sub", {}, text));
  const barKeys = el("div", { class: "gt-legend-row" }, el("span", { class: "gt-swatch gt-q" }, sub("t")), el("span", { class: "gt-swatch gt-truth" }, "\u03c0"));

  const fall = chart({ label: "", x: { range: [0, 20], label: "steps t", ticks: 4 }, y: { range: [FLOOR + LIFT - 0.3, LIFT + 0.3],
    ticks: [[LIFT, "1"], [LIFT - 2, "10\u207b\u00b2"], [LIFT - 4, "10\u207b\u2074"], [LIFT - 6, "10\u207b\u2076"]] }, height: 190, margin: { left: 38, top: 10 }, signal });
  const slope = fall.curve({ class: "gt-truth gt-dashed" }), trace = fall.curve({ class: "gt-q" });
  const spots = fall.dots({ radius: 2.5, class: "gt-q" }), spot = fall.dots({ radius: 5, class: "gt-q" });
  const fallTitle = el("p", { class: "gt-title" }), slopeKey = el("span", { class: "gt-swatch gt-swatch-dashed gt-truth" }), clock = el("p", { class: "gt-title" });
  const words = el("p", { class: "gt-verdict" });
  let pickNames = "";

  function showDistributions({ k, names, start, closed, rows: stationary, target, path, eigenvalues }) {
    const t = model.get("t"), pi = path[t], distance = totalVariation(pi, target);
    if (pickNames !== names.join("\n")) {
      pickNames = names.join("\n");
      pick.replaceChildren(...names.map((name, i) => el("option", { value: i }, name)));
    }
    pick.value = start;
    clock.replaceChildren(sub("t"), ", the distribution after t = ", el("span", { class: "gt-clock" }, String(t)), ` step${t === 1 ? "" : "s"}`);

    const most = Math.floor(250 / k / 6.5);
    const labels = names.map((name, i) => [i, name.length > most ? `${name.slice(0, most - 1)}\u2026` : name]), key = labels.join("\n");
    if (bars.root.dataset.names !== key) { bars.root.dataset.names = key; bars.axes.x.ticks = labels; bars.axes.x.range = [-0.5, k - 0.5]; bars.repaint(); }
    nowBars.set(pi.map((v, i) => [i, v]));
    truthBars.set(target.map((v, i) => [i, v]));
    nowWords.set(pi.map((v, i) => [i - 0.19, v, v.toFixed(k > 3 ? 2 : 3), "middle", 0, -5]));
    marks = closed.length > 1 ? closed.flatMap((c, n) => c.states.map(i => [i, stationary[n][i], n])) : [];
    markLayer.paint();
    markWords.set(marks.map(([i, v, n]) => [i + 0.19, v, `\u03c0${SUBSCRIPTS[n + 1]}`, "middle", 0, -6]));
    bars.name(`After ${t} steps: ${names.map((name, i) => `${name} ${figure(pi[i], 3)}, in the long run ${figure(target[i], 3)}`).join("; ")}`);

    // Past the eigenvalues 1 of the closed classes, the next one says how fast the rest fades.
    const n = closed.length, rate = n < k ? Math.hypot(...eigenvalues[n]) : 0, log = v => (v > 0 ? Math.log10(v) + LIFT : -Infinity);
    const far = path.slice(0, t + 1).map((p, s) => [s, log(totalVariation(p, target))]).filter(([, v]) => v > FLOOR + LIFT - 5), top = log(totalVariation(path[0], target));
    const reach = Math.max(20, 10 * Math.ceil(t / 10));
    fall.range({ x: [0, reach] });
    const line = rate > 1e-9 && top > FLOOR + LIFT;
    slope.set(line ? [[0, top], [reach, top + reach * Math.log10(rate)]] : []);
    trace.set(far);
    spots.set(far.filter(([, v]) => v >= FLOOR + LIFT - 0.3));
    spot.set(far.filter(([s, v]) => s === t && v >= FLOOR + LIFT - 0.3));
    fallTitle.replaceChildren("Distance to \u03c0 (total variation): ", el("span", { class: "gt-distance" }, figure(distance < 1e-15 ? 0 : distance, 3)));
    slopeKey.replaceChildren(`slope: \u00d7 |\u03bb${SUBSCRIPTS[n + 1]}| = ${tidy(rate)} each step`);
    slopeKey.hidden = !line;
    fall.name(`Total variation distance to the stationary distribution on a logarithmic scale: ${figure(distance, 3)} after ${t} steps`);
    words.textContent = verdict(known, names, start);

    root.dataset.t = t;
    root.dataset.pi = listed(pi);
    root.dataset.distance = distance;
    root.dataset.rate = rate;
  }

  // ------------------------------------------------------------------------------------------------------- eigenvalues
  const reachOf = 62, spotsOf = svg("g"), secondCircle = svg("circle", { class: "gt-second", cx: 85, cy: 85 });
  const disc = svg("svg", { class: "gt-disc", role: "img", viewBox: "0 0 170 170" },
    svg("circle", { class: "gt-unit", cx: 85, cy: 85, r: reachOf }), svg("path", { class: "gt-cross", d: "M10 85H160M85 10V160" }), secondCircle,
    svg("text", { class: "gt-far", x: 161, y: 97 }, "Re"), svg("text", { class: "gt-far", x: 97, y: 12 }, "Im"), spotsOf);
  const second = el("li", {}), values = el("ul", { class: "gt-values" });
  function showEigenvalues({ eigenvalues, k, A }) {
    if (root.dataset.eigen === listed(eigenvalues.flat())) return;
    root.dataset.eigen = listed(eigenvalues.flat());
    const size = Math.hypot(...eigenvalues[1]), lines = eigenvalueLines(eigenvalues);
    secondCircle.setAttribute("r", reachOf * size);
    secondCircle.style.display = size > 0.995 ? "none" : "";
    spotsOf.replaceChildren(...eigenvalues.map(([re, im]) => svg("circle", { class: "gt-value", r: 5.5, cx: 85 + reachOf * re, cy: 85 - reachOf * im })));
    second.replaceChildren(el("b", {}, `|\u03bb\u2082| = ${tidy(size)}`));
    values.replaceChildren(second, ...lines.map(line => el("li", {}, line)));
    disc.setAttribute("aria-label", `Eigenvalues in the unit disc of the complex plane: ${lines.join("; ")}`);
    root.dataset.second = size;
  }

  // --------------------------------------------------------------------------------------------------------- all of it
  const panel = (area, name, ...children) => el("div", { class: `gt-panel ${area}`, role: "group", "aria-label": name }, ...children);
  const title = text => el("p", { class: "gt-title" }, text);
  const muted = text => el("p", { class: "gt-note" }, text);
  const root = el("div", { class: "gentut-widget gentut-markov-chain", role: "group", "aria-label": "A Markov chain" },
    el("div", { class: "gt-board" },
      chains,
      panel("gt-in-graph", "One walker", title("One walker"), graphBox, el("div", { class: "gt-row" }, stroll.node, hundred, afresh), visits, walkNote),
      panel("gt-in-matrix", "Transition matrix", el("p", { class: "gt-title" }, "Transition matrix A", el("span", { class: "gt-roles" }, "row: from, column: to")), matrix, lever.node,
        muted("Edit a cell or drag the slider: the rest of the row makes room, so that it still sums to 1. Choose an arrow to edit it, a state to start there.")),
      panel("gt-over", "The distribution", el("div", { class: "gt-row gt-apart" }, clock, el("div", { class: "gt-row gt-clockwork" }, pickLabel, el("span", { class: "gt-row" }, steps.node, back))),
        el("div", { class: "gt-pair" }, el("div", { class: "gt-panel" }, barKeys, bars.node), el("div", { class: "gt-panel" }, fallTitle, fall.node, slopeKey)), words),
      panel("gt-in-eigen", "Eigenvalues", title("Eigenvalues of A, in the unit disc"), el("div", { class: "gt-plane" }, disc, values))),
    live);

  function draw() {
    if (!root.isConnected) return;
    const started = performance.now(), now = state(), { A, k, start, names } = now;
    if (!chosen || Math.max(...chosen) >= k) {
      const others = A[start].map((p, j) => (j === start ? -1 : p));
      chosen = [start, others.indexOf(Math.max(...others))];
    }
    const steps_ = walker();
    showMatrix(now);
    showGraph(now, steps_);
    showVisits(now, steps_);
    showDistributions(now);
    showEigenvalues(now);
    for (const input of chains.querySelectorAll("input")) input.checked = near(PRESETS[input.value].A, A);
    hundred.disabled = steps_.n >= mostWalked;
    Object.assign(root.dataset, { k, start, a: listed(A.flat()), names: names.join("|"), stationary: now.rows.map(listed).join(";"), weights: listed(now.weights),
      target: listed(now.target), closed: now.closed.map(c => listed(c.states)).join(";"), period: now.period, visits: listed(steps_.counts), at: steps_.at, walked: steps_.n });
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  const request = frames(draw, signal);
  for (const name of ["A", "names", "start"]) on(`change:${name}`, request);
  on("change:t", () => {
    request();
    const { names, path, target } = state(), t = model.get("t");
    say(`t = ${t}: ${names.map((name, i) => `${name} ${figure(path[t][i], 3)}`).join(", ")}; distance ${figure(totalVariation(path[t], target), 3)}`);
  });
  on("change:A", () => { const { names } = state(); if (hold) say(`Row ${names[hold.i]}: ${model.get("A")[hold.i].map((p, j) => `${names[j]} ${figure(p, 3)}`).join(", ")}`); });
  for (const name of ["walked", "seed", "A", "start"]) on(`change:${name}`, () => {
    const before = walk.n, one = name === "walked" && model.get("walked") === before + 1;
    walker();
    request();
    if (one) follow(); else settle();
    if (name === "walked") say(`Step ${walk.n}: the walker is at ${state().names[walk.at]}`);
  });

  host.append(root);
  width = graphBox.clientWidth;
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
