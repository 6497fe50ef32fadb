// KLNormals: two Gaussians to drag, and the integrand whose area is the divergence between them.
import { announcer, choice, clamp, el, follower, frames, number } from "./common.js";
import { chart, figure, svg } from "./plot.js";
import { BIT, areas, crossings, integrand, klNormal, klNormals, logNormal } from "./information-maths.js";

const EDGE = 7.2;                      // the charts show -EDGE to EDGE
const MEANS = [-3, 3], SIGMAS = [0.1, 4];
const POINTS = 241, FINE = 81;         // points of a curve over the whole chart, and over 4 sigma about a mean
const SHOULDER = Math.exp(-0.5);       // height of a density one sigma from its mean, as a part of its peak
const APART = 20;                      // pixels between two handles that would lie on each other
const DIRECTIONS = [["forward", "p log(p / q)"], ["reverse", "q log(q / p)"]];
const PRESETS = [
  ["Same means", [0, 1.5], [0, 1]], ["Same widths", [-1, 1], [1, 1]], ["q too narrow", [0, 1.5], [0, 0.4]], ["q too wide", [0, 0.8], [0, 3]],
  ["q = N(0, 1)", [1, 0.5], [0, 1]],
];
const STEPS = [1, 1.5, 2, 3, 4, 6, 8];

// The first of 1, 1.5, 2, 3, 4, 6, 8, 10, ... times a power of ten that is at least v: an axis that stays put while a curve moves.
export function roomFor(v, least) {
  const want = Math.max(v, least), power = 10 ** Math.floor(Math.log10(want) + 1e-12);
  return Number(((STEPS.find(k => k * power >= want * (1 - 1e-12)) ?? 10) * power).toPrecision(6));
}
const round = v => Math.round(100 * v) / 100;

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life, on = follower(model, signal);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }
  const uid = Math.random().toString(36).slice(2);

  // ------------------------------------------------------------------------------------------ the densities, their handles
  const x = { range: [-EDGE, EDGE], ticks: [-6, -4, -2, 0, 2, 4, 6] }, margin = { left: 44, top: 24 };
  const top = chart({ label: "The densities p and q", x: { ...x }, y: { range: [0, 0.6], ticks: 4 }, height: 230, margin, signal });
  const fill = {}, line = {}, arms = {}, grips = {};
  for (const which of ["p", "q"]) fill[which] = top.area({ class: `gt-${which} gt-faint` });
  for (const which of ["p", "q"]) line[which] = top.curve({ class: `gt-${which} ${which === "q" ? "gt-dashed" : ""}` });
  // From the base up to the mean's handle, and from there on to the shoulder: the width sigma as a length.
  const spots = { p: null, q: null };
  for (const which of ["p", "q"]) {
    const node = svg("g", { class: `gt-${which}`, "aria-hidden": "true" });
    arms[which] = top.layer(node, () => {
      const s = spots[which];
      if (!s) return;
      const at = { x: top.x(s.mean.x), y: top.y(s.mean.y) }, to = { x: top.x(s.width.x), y: top.y(s.width.y) };
      node.replaceChildren(svg("line", { class: "gt-arm", x1: at.x, x2: at.x, y1: top.y(0), y2: at.y }),
        svg("line", { class: "gt-arm", x1: at.x, x2: to.x, y1: to.y, y2: to.y }));
    }, false);
  }
  const names = top.words({ class: "gt-p" }), namesQ = top.words({ class: "gt-q" });
  const bounds = { p: { x: [0, 1] }, q: { x: [0, 1] } };  // of the shoulders; they move along with the means
  for (const which of ["p", "q"]) {
    const own = () => model.get(which);
    grips[which] = {
      mean: top.handle({ label: `mean of ${which}`, class: `gt-${which} gt-mean`, bounds: { x: MEANS }, step: { x: 0.1 }, radius: 7.5, reach: () => near(which, "mean"),
        show: v => number(v.x), oninput: v => save({ [which]: [clamp(round(v.x), ...MEANS), own()[1]] }) }),
      width: top.handle({ label: `width sigma of ${which}`, class: `gt-${which} gt-width`, bounds: bounds[which], step: { x: 0.05 }, radius: 7.5, reach: () => near(which, "width"),
        show: v => number(v.x - own()[0]), oninput: v => save({ [which]: [own()[0], clamp(round(v.x - own()[0]), ...SIGMAS)] }) }),
    };
  }
  // Where the handles lie: a mean's at the peak, a width's on the shoulder. Those of q step down where they would cover p's.
  function arrange() {
    const pixels = Math.max(1e-9, top.y(0) - top.y(1));  // of one unit of density
    for (const which of ["p", "q"]) {
      const [mu, sigma] = model.get(which), peak = Math.exp(logNormal(mu, mu, sigma));
      spots[which] = { mean: { x: mu, y: peak }, width: { x: mu + sigma, y: peak * SHOULDER } };
    }
    for (const part of ["mean", "width"]) {
      const a = spots.p[part], b = spots.q[part], aside = Math.abs(top.x(a.x) - top.x(b.x));
      if (aside < APART) {
        const down = Math.sqrt(APART ** 2 - aside ** 2) / pixels;  // as far as the circle around p's handle asks for
        if (Math.abs(a.y - b.y) < down) b.y = a.y - down > 0 ? a.y - down : a.y + down;
      }
    }
  }
  // Half the way to the nearest other handle, at most 22 pixels.
  function near(which, part) {
    const s = spots[which]?.[part];
    if (!s) return [22, 22];
    const others = Object.entries(spots).flatMap(([w, pair]) => Object.entries(pair).filter(([k]) => w !== which || k !== part).map(([, o]) => o));
    const nearest = Math.min(...others.map(o => Math.hypot(top.x(o.x) - top.x(s.x), top.y(o.y) - top.y(s.y))));
    return [clamp(nearest / 2, 7.5, 22), clamp(nearest / 2, 7.5, 22)];
  }

  // ------------------------------------------------------------------------------------------------------- the integrand
  const below = chart({ label: "The integrand", x: { ...x, label: "x" }, y: { range: [-0.5, 1], ticks: 4 }, height: 210, margin: { left: 44, top: 14 }, signal });
  const hatch = which => `gt-hatch-${which}-${uid}`;
  below.root.prepend(svg("defs", {}, ...["p", "q"].map(which => svg("pattern", { id: hatch(which), class: `gt-${which}`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "gt-hatch-ground", width: 7, height: 7 }), svg("rect", { class: "gt-hatch-line", width: 2.5, height: 7 })))));
  // Colour says which density is the larger one there; solid counts as plus, hatched as minus.
  const surface = {};
  for (const which of ["p", "q"]) {
    surface[which] = { plus: below.area({ class: `gt-${which} gt-plus` }), minus: below.area({ class: `gt-${which} gt-minus` }) };
    surface[which].minus.node.style.fill = `url(#${hatch(which)})`;
  }
  const outline = below.curve({ class: "gt-outline" });
  const signs = below.words({ class: "gt-sign" });

  const legend = Object.fromEntries(["p", "q"].map(which => [which, el("span", {}, "")]));
  const sum = el("p", { class: "gt-sum" }), prior = el("p", { class: "gt-vae" });
  const way = choice({ label: "Integrand", options: DIRECTIONS, value: model.get("direction"), onchange: direction => save({ direction }) });
  const cells = {};
  const table = el("table", { class: "gt-table" }, el("caption", {}, "Divergence, closed form"),
    el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, "nats"), el("th", { scope: "col" }, "bits"))),
    el("tbody", {}, ...[["forward", "D(p \u2016 q)"], ["reverse", "D(q \u2016 p)"]].map(([key, symbol]) => (cells[key] = { row: el("tr", {}, el("th", { scope: "row" }, symbol),
      el("td"), el("td")) }).row)));
  const root = el("div", { class: "gentut-widget gentut-kl-normals", role: "group", "aria-label": "Divergence of two Gaussians" },
    el("div", { class: "gt-board" },
      el("div", { class: "gt-row", role: "group", "aria-label": "Examples" }, ...PRESETS.map(([text, p, q]) =>
        el("button", { type: "button", class: "gt-button", onclick: () => save({ p: [...p], q: [...q] }) }, text))),
      el("div", { class: "gt-panel" },
        el("div", { class: "gt-legend-row" }, ...["p", "q"].map(which => el("span", { class: `gt-swatch gt-${which}` }, legend[which])),
          el("span", { class: "gt-muted" }, "Drag a peak to move the mean, a shoulder to change the width.")),
        top.node),
      el("div", { class: "gt-panel" }, way, below.node,
        el("p", { class: "gt-muted" }, "Solid counts as plus, hatched as minus. Blue: p is larger there; orange: q is.")),
      el("div", { class: "gt-results" }, table, el("div", { class: "gt-panel gt-check" }, el("p", { class: "gt-title" }, "Area of the integrand"), sum, prior))), live);

  // Where to compute a curve: evenly over the chart, closely about both means, and at the given places.
  function places(...more) {
    const all = Array.from({ length: POINTS }, (_, i) => -EDGE + (2 * EDGE * i) / (POINTS - 1));
    for (const which of ["p", "q"]) {
      const [mu, sigma] = model.get(which);
      for (let i = 0; i < FINE; i++) all.push(mu + 4 * sigma * ((2 * i) / (FINE - 1) - 1));
    }
    return [...all, ...more].filter(v => v >= -EDGE && v <= EDGE).sort((a, b) => a - b);
  }

  function draw() {
    const started = performance.now(), p = model.get("p"), q = model.get("q"), both = { p, q }, forward = model.get("direction") === "forward";
    const cuts = crossings(p, q), xs = places(...cuts), values = {};
    for (const which of ["p", "q"]) {
      values[which] = xs.map(v => [v, Math.exp(logNormal(v, ...both[which]))]);
      legend[which].textContent = `${which}: \u03bc ${number(both[which][0])}, \u03c3 ${number(both[which][1])}`;
      bounds[which].x = SIGMAS.map(s => both[which][0] + s);
      root.dataset[which] = both[which].join(" ");
    }
    top.range({ y: [0, roomFor(Math.max(...["p", "q"].map(w => Math.exp(logNormal(both[w][0], ...both[w])))), 0.3)] });
    for (const which of ["p", "q"]) { fill[which].set(values[which]); line[which].set(values[which]); }
    place();

    const [one, other] = forward ? [p, q] : [q, p], curve = xs.map(v => [v, integrand(v, one, other)]);
    for (const v of curve) if (cuts.includes(v[0])) v[1] = 0;
    // Where the integrand is positive the density in front of the logarithm is the larger one.
    const [larger, smaller] = forward ? ["p", "q"] : ["q", "p"];
    surface[larger].plus.set(curve.map(([a, b]) => [a, Math.max(b, 0)]));
    surface[smaller].minus.set(curve.map(([a, b]) => [a, Math.min(b, 0)]));
    surface[larger].minus.set([]); surface[smaller].plus.set([]);
    outline.set(curve);
    const most = Math.max(...curve.map(v => v[1])), least = Math.min(...curve.map(v => v[1]));
    below.range({ y: [-roomFor(-1.1 * least, 0.02), roomFor(1.1 * most, 0.05)] });
    sign(curve, cuts);

    const nats = { forward: klNormals(p, q), reverse: klNormals(q, p) }, found = areas(one, other), now = forward ? "forward" : "reverse";
    for (const key of ["forward", "reverse"]) {
      const [, inNats, inBits] = cells[key].row.children;
      inNats.textContent = figure(nats[key]); inBits.textContent = figure(nats[key] / BIT);
      cells[key].row.classList.toggle("gt-chosen", key === now);
    }
    sum.replaceChildren(el("span", { class: "gt-number" }, `${figure(found.positive)} \u2212 ${figure(found.negative)} = `, el("b", {}, `${figure(found.signed)} nats`)),
      el("span", { class: "gt-muted" }, `by quadrature; the closed form says ${figure(nats[now])}`));
    const standard = q[0] === 0 && q[1] === 1;
    prior.replaceChildren(...(standard ? [el("span", { class: "gt-muted" }, "q is N(0, 1), as in a VAE: D(p \u2016 q) = \u00bd(\u03bc\u00b2 + \u03c3\u00b2 \u2212 1 \u2212 log\u00a0\u03c3\u00b2) = "),
      el("b", {}, `${figure(klNormal(...p))} nats`)] : []));
    Object.assign(root.dataset, { direction: now, nats: `${nats.forward} ${nats.reverse}`, bits: `${nats.forward / BIT} ${nats.reverse / BIT}`,
      area: found.signed, positive: found.positive, negative: found.negative, standard: standard ? klNormal(...p) : "" });
    below.name(`The integrand ${forward ? "p log(p / q)" : "q log(q / p)"}: area ${figure(found.positive)} above and ${figure(found.negative)} below the axis`);
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  // A plus or a minus where each piece between two crossings is highest, if it has room for one.
  function sign(curve, cuts) {
    const ends = [-EDGE, ...cuts, EDGE], found = [];
    for (let i = 0; i + 1 < ends.length; i++) {
      const piece = curve.filter(([a]) => a >= ends[i] && a <= ends[i + 1]);
      if (!piece.length) continue;
      const [a, b] = piece.reduce((best, point) => (Math.abs(point[1]) > Math.abs(best[1]) ? point : best));
      const broad = piece.filter(point => Math.abs(point[1]) > Math.abs(b) / 2).map(point => below.x(point[0]));
      if (Math.abs(below.y(b) - below.y(0)) > 26 && broad.at(-1) - broad[0] > 14) found.push([a, b * 0.45, b > 0 ? "+" : "\u2212", "middle", 0, 6]);
    }
    signs.set(found);
  }
  // The handles, where the chart is as wide as it is now.
  function place() {
    arrange();
    for (const which of ["p", "q"]) {
      const [mu, sigma] = model.get(which), { mean, width } = spots[which];
      grips[which].mean.put(mean);
      grips[which].width.put(width);
      // The handle lies at mean + sigma; what it stands for is sigma.
      for (const [name, v] of [["valuemin", SIGMAS[0]], ["valuemax", SIGMAS[1]], ["valuenow", sigma]]) grips[which].width.node.setAttribute(`aria-${name}`, v);
      arms[which].paint();
      (which === "p" ? names : namesQ).set([[mu, mean.y, which, "middle", -14, -6]]);
    }
  }

  const request = frames(draw, signal);
  function changed() {
    request();
    const p = model.get("p"), q = model.get("q");
    say(`D of p from q ${figure(klNormals(p, q))} nats, of q from p ${figure(klNormals(q, p))} nats`);
  }
  host.append(root);
  for (const name of ["p", "q"]) on(`change:${name}`, changed);
  on("change:direction", () => {
    for (const input of way.querySelectorAll("input")) input.checked = input.value === model.get("direction");
    changed();
  });
  const observer = new ResizeObserver(request);  // the handles keep apart in pixels
  observer.observe(top.node);
  signal.addEventListener("abort", () => observer.disconnect());
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
