// DartBoard: a joint density seen from above, its two marginals beside it, and a slice through it: the conditional.
import { announcer, choice, clamp, colour, css, el, follower, frames, gaussian, number, sharp, uniform, watchTheme } from "./common.js";
import { chart, facts, figure, svg } from "./plot.js";

const GRID = 161;       // points a side of the heat map
const INK = 0.62;       // opacity of the heat map where the density is largest: darts and contours stay visible on it
const LEVELS = [0.1, 0.3, 0.5, 0.7, 0.9];  // contours, as shares of the largest density
const POINTS = 181;     // points of each curve
export const HALF = 0.1;   // half the width of the strip whose darts stand for the slice
export const BIN = 0.25;   // width of a histogram's bars
const OTHER = { x: "y", y: "x" };

// A mixture of Gaussians in the plane, as gentut.probability.DartBoard: weights (k), means (k, 2), covariances (k, 2, 2).
// axis is "x" or "y" everywhere.
export function mixture({ weights, means, covariances }) {
  const index = { x: 0, y: 1 };
  const logNormal = (v, mean, variance) => -0.5 * ((v - mean) ** 2 / variance + Math.log(2 * Math.PI * variance));
  // One lump's coordinate `axis` where the other is known: mean and variance.
  const known = (k, axis, other) => {
    const i = index[axis], j = 1 - i, slope = covariances[k][i][j] / covariances[k][j][j];
    return [means[k][i] + slope * (other - means[k][j]), covariances[k][i][i] - slope * covariances[k][i][j]];
  };
  const lump = (k, axis, at) => logNormal(at, means[k][index[axis]], covariances[k][index[axis]][index[axis]]);
  const sum = f => weights.reduce((total, _, k) => total + f(k), 0);

  const joint = (x, y) => sum(k => weights[k] * Math.exp(lump(k, "x", x) + logNormal(y, ...known(k, "y", x))));
  const marginal = (axis, at) => sum(k => weights[k] * Math.exp(lump(k, axis, at)));
  // A function of `at`: the lumps' shares depend on what is given only. Logarithms keep them right far out.
  function slice(axis, given) {
    const logs = weights.map((w, k) => Math.log(w) + lump(k, OTHER[axis], given)), top = Math.max(...logs);
    const shares = logs.map(v => Math.exp(v - top)), total = shares.reduce((a, b) => a + b);
    const parts = weights.map((_, k) => known(k, axis, given));
    return at => sum(k => (shares[k] / total) * Math.exp(logNormal(at, ...parts[k])));
  }
  const conditional = (axis, at, given) => slice(axis, given)(at);
  // n darts, [x0, y0, x1, y1, ...]: first the lump, then a point of it. The first darts of a seed are always the same.
  function sample(n, seed) {
    const pick = uniform(2 * seed + 1), normal = gaussian(2 * seed + 2), out = new Float64Array(2 * n);
    const roots = covariances.map(([[a, b], [, d]]) => [Math.sqrt(a), b / Math.sqrt(a), Math.sqrt(d - (b * b) / a)]);
    for (let i = 0; i < n; i++) {
      let u = pick(), k = 0;
      while (k < weights.length - 1 && u >= weights[k]) u -= weights[k++];
      const e = normal(), [xx, yx, yy] = roots[k];
      out[2 * i] = means[k][0] + xx * e;
      out[2 * i + 1] = means[k][1] + yx * e + yy * normal();
    }
    return out;
  }
  return { joint, marginal, slice, conditional, sample };
}

// Values of f on a square grid from -reach to reach, row by row from the top left, as a picture has them.
export function field(f, reach, n) {
  const at = i => reach * ((2 * i) / (n - 1) - 1), values = new Float64Array(n * n);
  for (let row = 0; row < n; row++) for (let column = 0; column < n; column++) values[row * n + column] = f(at(column), -at(row));
  return values;
}

// Where a field crosses a level: line pieces [x0, y0, x1, y1] in columns and rows of the grid (marching squares).
export function contour(values, n, level) {
  const pieces = [], v = (row, column) => values[row * n + column];
  for (let row = 0; row < n - 1; row++) for (let column = 0; column < n - 1; column++) {
    const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
    const heights = corners.map(([x, y]) => v(y, x)), crossings = [];
    for (let i = 0; i < 4; i++) {
      const a = heights[i], b = heights[(i + 1) % 4];
      if (a < level === b < level) continue;
      const t = (level - a) / (b - a), [x0, y0] = corners[i], [x1, y1] = corners[(i + 1) % 4];
      crossings.push([x0 + t * (x1 - x0), y0 + t * (y1 - y0)]);
    }
    // Two crossings are one piece, four (a saddle) are two.
    for (let i = 0; i + 1 < crossings.length; i += 2) pieces.push([...crossings[i], ...crossings[i + 1]]);
  }
  return pieces;
}

// A histogram as a density: heights of bars `width` wide from low to high; what lies outside counts in n only.
export function histogram(values, low, high, width) {
  const bars = new Float64Array(Math.round((high - low) / width));
  for (const v of values) {
    const i = Math.floor((v - low) / width);
    if (i >= 0 && i < bars.length) bars[i]++;
  }
  return values.length ? bars.map(count => count / (values.length * width)) : bars;
}

// The other coordinate of the darts that lie within `half` of a slice: what is left of a sample when one is known.
export function strip(darts, axis, given, half = HALF) {
  const j = axis === "x" ? 0 : 1, out = [];
  for (let i = 0; i < darts.length; i += 2) if (Math.abs(darts[i + j] - given) <= half) out.push(darts[i + 1 - j]);
  return out;
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const density = mixture({ weights: model.get("weights"), means: model.get("means"), covariances: model.get("covariances") });
  const reach = model.get("reach"), most = model.get("most"), span = [-reach, reach];
  const along = Array.from({ length: POINTS }, (_, i) => reach * ((2 * i) / (POINTS - 1) - 1));
  const values = field(density.joint, reach, GRID), top = values.reduce((a, b) => Math.max(a, b));
  const lines = LEVELS.map(level => contour(values, GRID, level * top));
  // One scale for all slices, so that heights can be compared while the slice moves.
  const highest = 1.08 * Math.max(...["x", "y"].flatMap(axis => {
    const seen = along.filter((_, i) => i % 6 === 0);
    return seen.flatMap(given => { const f = density.slice(axis, given); return seen.map(f); });
  }));
  let colours = {}, darts = density.sample(0, 0), sown = "";

  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }
  const round = v => clamp(Number(v.toFixed(4)), ...span);  // what a pointer chooses; no more digits than it can aim at
  const go = ({ x = model.get("x"), y = model.get("y") }) => save({ x: round(x), y: round(y) });

  // ------------------------------------------------------------------------------------------------------- the three charts
  const ticks = [-2, -1, 0, 1, 2].filter(t => Math.abs(t) < reach), heights = [0, 0.5, 1].filter(t => t < highest);
  const edge = { left: 26, right: 8, top: 8, bottom: 24 };
  const map = chart({ label: "The board from above: density of the darts", signal, margin: edge, x: { range: span, ticks }, y: { range: span, ticks },
    height: width => width - edge.left - edge.right + edge.top + edge.bottom });
  const above = chart({ label: "Density of x", signal, margin: { ...edge, top: 8, bottom: 6 }, x: { range: span, ticks: 0 }, y: { range: [0, highest], ticks: heights },
    height: width => clamp(0.2 * width, 76, 110) });
  const side = chart({ label: "Density of y", signal, margin: { ...edge, left: 8, right: 6 }, x: { range: [0, highest], ticks: heights }, y: { range: span, ticks: 0 },
    height: () => map.node.clientWidth - edge.left - edge.right + edge.top + edge.bottom });
  map.node.classList.add("gt-board-map"); above.node.classList.add("gt-above"); side.node.classList.add("gt-side");
  const heat = el("canvas", { class: "gt-heat", width: GRID, height: GRID, "aria-hidden": "true" });
  const rings = el("canvas", { class: "gt-rings", "aria-hidden": "true" }), dots = el("canvas", { class: "gt-darts", "aria-hidden": "true" });
  map.node.prepend(heat, rings, dots);

  // Each of the two side charts: the histogram of darts, the marginal, and the conditional when the slice lies that way.
  // A curve's points are [position, density] above and [density, position] at the side.
  const turn = { x: p => p, y: ([a, b]) => [b, a] };
  const edges = Object.fromEntries([["x", above], ["y", side]].map(([axis, plot]) => {
    const swap = turn[axis], floor = axis === "x" ? 0 : -reach;
    const base = plot.rule({ axis: OTHER[axis], class: "gt-quiet gt-thin" });
    base.set(0);
    const ground = plot.area({ class: "gt-p gt-faint" }), bars = plot.area({ class: "gt-noise gt-bars" });
    const mark = plot.rule({ axis, class: "gt-thin" });
    const marginal = plot.curve({ class: "gt-p" }), conditional = plot.curve({ class: "gt-q" });
    const here = plot.dots({ class: "gt-p", radius: 4 }), there = plot.dots({ class: "gt-q", radius: 4 });
    const points = f => along.map(v => swap([v, f(v)]));
    const curve = points(v => density.marginal(axis, v));
    // Closed at both ends of the axis, as an area is filled down to one floor.
    ground.set([swap([-reach, 0]), ...curve, swap([reach, 0])], floor);
    marginal.set(curve);
    return [axis, {
      slice: f => conditional.set(f ? points(f) : []),
      marks: (at, p, q) => { mark.set(at); here.set([swap([at, p])]); there.set(q == null ? [] : [swap([at, q])]); },
      count: list => bars.set(list.length ? [...histogram(list, ...span, BIN)].flatMap((h, i) =>
        [[-reach + i * BIN, 0], [-reach + i * BIN, h], [-reach + (i + 1) * BIN, h], [-reach + (i + 1) * BIN, 0]].map(swap)) : [], floor),
    }];
  }));

  map.pad({ oninput: go });
  const band = map.area({ class: "gt-q gt-band" });
  const cut = { x: map.rule({ axis: "x", class: "gt-q" }), y: map.rule({ axis: "y", class: "gt-q" }) };
  const guide = { x: map.rule({ axis: "x", class: "gt-thin gt-dashed" }), y: map.rule({ axis: "y", class: "gt-thin gt-dashed" }) };
  map.words({ class: "gt-letter" }).set([[reach, -reach, "x", "end", 0, 16], [-reach, reach, "y", "end", -8, 10]]);
  for (const each of [band, cut.x, cut.y, guide.x, guide.y]) each.node.setAttribute("pointer-events", "none");
  const step = { x: 0.05, y: 0.05 };
  const grips = Object.fromEntries(["x", "y"].map(axis => {
    const grip = map.handle({ label: `Slice, ${axis} given`, axis, step, radius: 7, class: "gt-q gt-grip", show: v => `${axis} ${number(v[axis])}`, oninput: v => go({ [axis]: v[axis] }) });
    // Small arrows beside the knob: this one goes along one axis only.
    const arrows = axis === "x" ? "M-11 -4L-15 0L-11 4M11 -4L15 0L11 4" : "M-4 -11L0 -15L4 -11M-4 11L0 15L4 11";
    grip.node.append(svg("path", { class: "gt-arrows", d: arrows }));
    return [axis, grip];
  }));
  const cross = map.handle({ label: "Point (x, y)", axis: "xy", step, radius: 6, class: "gt-cross", show: v => `x ${number(v.x)}, y ${number(v.y)}`, oninput: go });
  cross.node.append(svg("path", { class: "gt-hair", d: "M-15 0H-6M6 0H15M0 -15V-6M0 6V15" }));

  // --------------------------------------------------------------------------------------------------------------- controls
  const given = choice({ label: "Given", options: [["x", "x"], ["y", "y"]], value: model.get("axis"), onchange: axis => save({ axis }) });
  const throws = el("button", { type: "button", class: "gt-button gt-throw", onclick: () => save({ thrown: Math.min(most, model.get("thrown") + 100) }) }, "Throw 100 darts");
  const clear = el("button", { type: "button", class: "gt-button gt-clear", onclick: () => save({ thrown: 0, seed: model.get("seed") + 1 }) }, "Clear");
  const tally = el("span", { class: "gt-muted gt-tally" });
  const swatch = (kind, text) => el("span", { class: `gt-swatch ${kind}` }, text);
  const slicedName = el("span", { class: "gt-swatch gt-q" }), dartsName = swatch("gt-noise", "darts, as a histogram");
  const table = facts({ joint: "p(x, y)", px: ["p(x)", "gt-p"], py: ["p(y)", "gt-p"], pyGivenX: "p(y | x)", pxGivenY: "p(x | y)" });
  const tile = Object.fromEntries(["joint", "px", "py", "pyGivenX", "pxGivenY"].map((key, i) => [key, table.node.children[i]]));
  const slot = (kind = "") => el("b", { class: kind }), bayes = { left: slot(), likelihood: slot(), prior: slot("gt-p"), evidence: slot("gt-p") };
  const fraction = (over, under) => el("span", { class: "gt-fraction" }, el("span", {}, ...over), el("span", {}, ...under));
  const rule = el("div", { class: "gt-bayes", role: "img" },
    el("span", { class: "gt-muted" }, "Bayes\u2019 rule"),
    el("span", { class: "gt-equation" }, "p(x | y) =", fraction(["p(y | x) p(x)"], ["p(y)"])),
    el("span", { class: "gt-equation" }, bayes.left, "=", fraction([bayes.likelihood, " \u00d7 ", bayes.prior], [bayes.evidence])));

  const root = el("div", { class: "gentut-widget gentut-dart-board", role: "group", "aria-label": "Where a dart lands: joint, marginal and conditional density" },
    el("div", { class: "gt-board" },
      el("div", { class: "gt-row gt-top" }, given, el("span", { class: "gt-row" }, throws, clear), tally),
      el("p", { class: "gt-muted gt-help" }, "Drag the cross, or the round grip to move the slice alone. Arrow keys work too."),
      el("div", { class: "gt-plots" }, above.node, map.node, side.node),
      el("div", { class: "gt-legend-row" }, swatch("gt-p", "marginals p(x), p(y)"), slicedName, dartsName),
      table.node, rule),
    live);

  // ---------------------------------------------------------------------------------------------------------------- drawing
  // The canvases lie exactly under the map's frame; `sharp` gives them its size.
  const place = (v, size) => ((v + reach) / (2 * reach)) * size;
  function paintHeat() {
    const image = new ImageData(GRID, GRID), [r, g, b] = colours.p;
    for (let i = 0; i < values.length; i++) image.data.set([r, g, b, Math.round(255 * INK * (values[i] / top))], 4 * i);
    heat.getContext("2d").putImageData(image, 0, 0);
  }
  function paintRings() {
    const c = rings.getContext("2d"), w = rings.clientWidth, h = rings.clientHeight;
    c.clearRect(0, 0, w, h);
    c.lineWidth = 1; c.strokeStyle = css(colours.p, 0.7);
    c.beginPath();
    for (const [x0, y0, x1, y1] of lines.flat()) { c.moveTo((x0 / (GRID - 1)) * w, (y0 / (GRID - 1)) * h); c.lineTo((x1 / (GRID - 1)) * w, (y1 / (GRID - 1)) * h); }
    c.stroke();
  }
  function paintDarts() {
    const c = dots.getContext("2d"), w = dots.clientWidth, h = dots.clientHeight, radius = darts.length > 4000 ? 1.4 : 2;
    c.clearRect(0, 0, w, h);
    c.fillStyle = css(colours.noise); c.strokeStyle = css(colours.paper, 0.9); c.lineWidth = 0.75;
    c.beginPath();
    for (let i = 0; i < darts.length; i += 2) {
      const x = place(darts[i], w), y = h - place(darts[i + 1], h);
      c.moveTo(x + radius, y); c.arc(x, y, radius, 0, 7);
    }
    c.stroke(); c.fill();
  }
  // New darts only when their number or seed changed: moving the slice leaves them where they are.
  function sow() {
    const now = `${model.get("thrown")} ${model.get("seed")}`;
    if (now === sown) return;
    sown = now;
    darts = density.sample(model.get("thrown"), model.get("seed"));
    paintDarts();
  }

  function draw() {
    const started = performance.now();
    sow();
    const x = model.get("x"), y = model.get("y"), axis = model.get("axis"), other = OTHER[axis], at = { x, y }, n = darts.length / 2;
    const joint = density.joint(x, y), px = density.marginal("x", x), py = density.marginal("y", y);
    const sliceOf = density.slice(other, at[axis]);
    const pyGivenX = density.conditional("y", y, x), pxGivenY = density.conditional("x", x, y);
    const p = { x: px, y: py }, q = { x: pxGivenY, y: pyGivenX };

    edges[axis].slice(null); edges[other].slice(sliceOf);
    edges[axis].marks(at[axis], p[axis], null); edges[other].marks(at[other], p[other], q[other]);
    const all = Array.from({ length: n }, (_, i) => darts[2 * i + (axis === "x" ? 0 : 1)]), inside = strip(darts, axis, at[axis]);
    edges[axis].count(all); edges[other].count(inside);
    cut[axis].set(at[axis]); cut[other].set(); guide[other].set(at[other]); guide[axis].set();
    const swap = turn[axis], low = at[axis] - HALF, high = at[axis] + HALF;
    band.set(n ? [[low, -reach], [low, reach], [high, reach], [high, -reach]].map(swap) : [], swap([low, -reach])[1]);
    cross.put(at);
    for (const a of ["x", "y"]) {
      grips[a].node.style.display = a === axis ? "" : "none";
      grips[a].put(a === "x" ? { x, y: reach } : { x: reach, y });
    }

    const shown = { joint, px, py, pyGivenX, pxGivenY };
    for (const [key, value] of Object.entries(shown)) { table.put(key, figure(value, 4)); root.dataset[key] = value; }
    tile.pyGivenX.classList.toggle("gt-q", axis === "x"); tile.pxGivenY.classList.toggle("gt-q", axis === "y");
    bayes.likelihood.classList.toggle("gt-q", axis === "x"); bayes.left.classList.toggle("gt-q", axis === "y");
    const texts = { left: pxGivenY, likelihood: pyGivenX, prior: px, evidence: py };
    for (const [key, value] of Object.entries(texts)) bayes[key].textContent = figure(value, 4);
    rule.setAttribute("aria-label", `Bayes\u2019 rule: p(x given y) ${figure(pxGivenY, 4)} is p(y given x) ${figure(pyGivenX, 4)} times p(x) ${figure(px, 4)} over p(y) ${figure(py, 4)}`);
    slicedName.textContent = `conditional p(${other} | ${axis} = ${number(at[axis])})`;
    dartsName.hidden = !n;
    throws.disabled = n >= most; clear.disabled = !n;
    tally.textContent = n ? `${n} darts, ${inside.length} in the strip ${axis} = ${number(at[axis])} \u00b1 ${HALF}` : "";
    for (const input of given.querySelectorAll("input")) input.checked = input.value === axis;
    let mean = [NaN, NaN];
    if (n) { mean = [0, 0]; for (let i = 0; i < n; i++) { mean[0] += darts[2 * i] / n; mean[1] += darts[2 * i + 1] / n; } }
    Object.assign(root.dataset, { x, y, axis, thrown: n, inside: inside.length, mean: mean.join(" ") });
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  const request = frames(draw, signal);
  function recolour() {
    for (const [name, variable] of Object.entries({ p: "--c-data", noise: "--c-noise", paper: "--paper" })) colours[name] = colour(root, variable);
    paintHeat(); paintRings(); paintDarts();
  }

  host.append(root);
  recolour();
  sharp(rings, paintRings, signal);
  sharp(dots, paintDarts, signal);
  watchTheme(recolour, signal);
  for (const name of ["x", "y", "axis"]) on(`change:${name}`, () => {
    request();
    const x = model.get("x"), y = model.get("y"), axis = model.get("axis");
    const q = axis === "x" ? density.conditional("y", y, x) : density.conditional("x", x, y);
    say(`x ${number(x)}, y ${number(y)}: joint ${figure(density.joint(x, y))}, p of ${OTHER[axis]} given ${axis} ${figure(q)}`);
  });
  for (const name of ["thrown", "seed"]) on(`change:${name}`, () => { request(); say(`${model.get("thrown")} darts on the board`); });
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
