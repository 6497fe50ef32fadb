// ElboExplorer: q(z) under the reader's hand, and the stack ELBO + KL = log p(x) that follows from it.
import { announcer, clamp, el, follower, frames, number } from "./common.js";
import { chart, figure, player, spread, svg, ticks } from "./plot.js";
import { ascend, bound, jointDensity, LOG_ROOT_2PI, qDensity } from "./variational-maths.js";

const Z = [-3, 7];          // the axis; the model has z >= 0 only
const REACH = { x: [-1, 4], loc: [-2, 5], scale: [0.2, 3] };
const KNOB = 6.9;           // how far right the knob of the width goes
const CLOSED = 1e-6;        // nats: from here on the gap counts as closed
const POINTS = 360;         // of each curve, closer to one another near 0, where a q far to the left falls steeply
const RAIL = 0.24;          // depth below the axis, as a part of the height above it, of the rail that x moves on
const STARTS = [["far right", 4.5, 0.5], ["too narrow", 1, 0.2], ["too wide", 2, 3], ["left of 0", -2, 1]];
const GRID = Array.from({ length: POINTS }, (_, i) => Z[1] * (i / (POINTS - 1)) ** 1.7);

// Round top of the density chart and round floor of the stack, in few steps so that they seldom change under a drag.
export const topFor = peak => [0.8, 1.2, 1.8, 2.7, 4, 6, 9].find(top => top >= peak * 1.08) ?? 12;
export const floorFor = lowest => [-4, -6, -10, -16, -25, -40].find(floor => floor <= lowest * 1.04) ?? -60;
export const stepsFor = n => { let most = 20; while (most < n) most *= String(most)[0] === "2" ? 2.5 : 2; return most; };

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const now = () => ({ x: model.get("x"), loc: model.get("loc"), scale: model.get("scale") });
  const boundNow = () => { const { x, loc, scale } = now(); return bound(loc, scale, x); };
  let trace = [boundNow().elbo], own = false;  // the ELBO at the start of the ascent and after each step
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);

  function save(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }
  // By hand: an ascent under way ends.
  const put = changes => { play.stop(); save(changes); };
  function step(times = 1) {
    let { x, loc, scale } = now();
    for (let i = 0; i < times; i++) {
      [loc, scale] = ascend(loc, scale, x);
      trace.push(bound(loc, scale, x).elbo);
    }
    own = true;
    save({ loc, scale });
    own = false;
    request();
    const { kl, elbo } = boundNow();
    if (!play.playing || kl < CLOSED) say(`Step ${trace.length - 1}: ELBO ${figure(elbo)}, gap ${figure(kl)} nats`);
    return kl >= CLOSED;
  }

  // ------------------------------------------------------------------------------------------------- the densities over z
  const plane = chart({ label: "Densities over z", height: width => (width < 480 ? 300 : 320), signal,
    x: { range: Z, ticks: [-2, 0, 2, 4, 6, [7, "z"]] }, y: { range: [-RAIL, 1], ticks: [] }, margin: { left: 34, top: 8 } });
  const outside = plane.area({ class: "gt-outside" }), rail = plane.layer(svg("line", { class: "gt-rail" }), () => {
    for (const [name, value] of Object.entries({ x1: plane.x(REACH.x[0]), x2: plane.x(REACH.x[1]), y1: plane.y(railAt()), y2: plane.y(railAt()) })) rail.node.setAttribute(name, value);
  });
  const qArea = plane.area({ class: "gt-q" }), jointArea = plane.area({ class: "gt-p" }), jointLine = plane.curve({ class: "gt-p" });
  const ghost = plane.curve({ class: "gt-q gt-ghost" }), bracket = plane.curve({ class: "gt-q gt-ghost" });
  const qLine = plane.curve({ class: "gt-q" }), posteriorLine = plane.curve({ class: "gt-truth gt-dashed" });
  const words = plane.words({ class: "gt-muted-word" }), qWords = plane.words({ class: "gt-q" }), xWords = plane.words({ class: "gt-p" });
  let top = 1, shoulder = 0;
  const railAt = () => -RAIL * 0.75 * top;

  const told = () => `; ELBO ${figure(boundNow().elbo)}, gap ${figure(boundNow().kl)} nats`;
  const moved = () => { const { kl, elbo } = boundNow(); say(`ELBO ${figure(elbo)}, gap ${figure(kl)} nats`); };
  const widthBounds = { x: [0, 1] };
  const grips = {
    loc: plane.handle({ label: "Location of q (loc)", class: "gt-q", bounds: { x: REACH.loc }, step: { x: 0.05 }, show: () => number(now().loc) + told(),
      oninput: ({ x }) => put({ loc: x }) }),
    scale: plane.handle({ label: "Width of q (scale)", class: "gt-q", bounds: widthBounds, step: { x: 0.05 }, show: () => number(now().scale) + told(),
      oninput: ({ x }) => put({ scale: clamp(x - now().loc, ...REACH.scale) }) }),
    x: plane.handle({ label: "Observed x", class: "gt-p", bounds: { x: REACH.x }, step: { x: 0.05 }, show: () => number(now().x) + told(), oninput: ({ x }) => put({ x }) }),
  };

  // ---------------------------------------------------------------------------------- the stack, and the ascent beside it
  const tall = 230, sides = { top: 12, bottom: 40 };
  const stack = chart({ label: "ELBO plus KL is log p(x), to scale", height: tall, signal, x: { range: [0, 1], ticks: 0 }, y: { range: [-4, 0], ticks: 4 },
    margin: { ...sides, left: 32, right: 112 } });
  const fill = stack.area({ class: "gt-q gt-level" }), gap = stack.area({ class: "gt-truth gt-gap" });
  const level = stack.rule({ axis: "y", class: "gt-q gt-heavy" }), ceiling = stack.rule({ axis: "y", class: "gt-truth gt-heavy" });
  const marks = svg("g", { class: "gt-marks", "aria-hidden": "true" });
  let shown = null;
  const labels = stack.layer(marks, () => {
    if (!shown) return;
    const { evidence, elbo, kl } = shown, right = stack.x(1);
    const levels = [evidence, (evidence + elbo) / 2, elbo].map(v => stack.y(v));
    const at = spread(levels, 17, stack.y(stack.axes.y.range[1]) + 4, stack.y(stack.axes.y.range[0]) - 2);
    const texts = [["gt-truth", "log p(x)", evidence], ["", "KL", kl], ["gt-q", "ELBO", elbo]];
    const brace = `M${right + 2} ${levels[0]}h5V${levels[2]}h-5`;  // the gap, in brackets
    marks.replaceChildren(svg("path", { class: "gt-brace", d: brace }), ...texts.flatMap(([kind, name, value], i) => [
      svg("path", { class: `gt-leader ${kind}`, d: `M${right + (i === 1 ? 7 : 9)} ${levels[i]}L${right + 17} ${at[i]}` }),
      svg("text", { class: `gt-word ${kind}`, x: right + 20, y: at[i] + 4 }, name, " ", svg("tspan", { class: "gt-strong" }, figure(value))),
    ]));
  }, false);
  const climb = chart({ label: "ELBO against steps of the ascent", height: tall, signal, x: { range: [0, 20], label: "steps", ticks: 4 }, y: { range: [-4, 0], ticks: 0 },
    margin: { ...sides, left: 16, right: 14 } });
  const roof = climb.rule({ axis: "y", class: "gt-truth gt-heavy" }), path = climb.curve({ class: "gt-q" }), tip = climb.dots({ class: "gt-q", radius: 4.5 });

  // ------------------------------------------------------------------------------------------- three sums with their terms
  const cells = {};
  const term = (key, name, kind = "") => {
    cells[key] = el("dd", {}, "");
    return el("dl", { class: `gt-term ${kind}` }, el("dt", {}, name), cells[key]);
  };
  const sum = (label, left, a, sign, b) => el("div", { class: "gt-sum", role: "group", "aria-label": label }, left,
    el("span", { class: "gt-sign" }, "="), a, el("span", { class: "gt-sign" }, sign), b);
  const sums = el("div", { class: "gt-sums" },
    sum("log p(x) is ELBO plus KL", term("evidence", "log p(x)", "gt-truth"), term("elbo", "ELBO", "gt-q"), "+", term("kl", "KL from q to the posterior")),
    sum("the ELBO is expected log-joint plus entropy", term("elbo1", "ELBO", "gt-q"), term("logJoint", "expected log-joint"), "+", term("entropy", "entropy of q")),
    sum("the ELBO is expected log-likelihood minus KL to the prior", term("elbo2", "ELBO", "gt-q"), term("logLikelihood", "expected log-likelihood"), "\u2212", term("priorKl", "KL from q to the prior")));
  const write = (key, value) => {
    const text = key === "entropy" && value < 0 ? `(${figure(value)})` : figure(value);  // it follows a plus sign
    if (cells[key].textContent !== text) cells[key].textContent = text;
  };

  // ----------------------------------------------------------------------------------------------------------- the controls
  const button = (text, onclick, name) => el("button", { type: "button", class: "gt-button", "aria-label": name, onclick }, text);
  const play = player({ step: () => step(), stepText: "Ascend one step", interval: 60, signal });
  const controls = el("div", { class: "gt-row" }, play.node, button("20 steps", () => { play.stop(); step(20); }, "Ascend 20 steps"));
  const presets = el("div", { class: "gt-row", role: "group", "aria-label": "Start q" }, el("span", { class: "gt-muted" }, "Start q"),
    ...STARTS.map(([text, loc, scale]) => button(text, () => { put({ loc, scale }); restart(); moved(); })),
    button("at the posterior", () => { put({ loc: now().x - 1, scale: 1 }); restart(); moved(); }),
    button("Reset", () => { const [x, loc, scale] = model.get("start"); put({ x, loc, scale }); restart(); moved(); }));
  const status = el("p", { class: "gt-note gt-status" });

  const swatch = kind => el("span", { class: `gt-swatch ${kind}` });
  const keys = { joint: swatch("gt-p"), posterior: swatch("gt-truth gt-swatch-dashed"), q: swatch("gt-q") };
  const root = el("div", { class: "gentut-widget gentut-elbo-explorer", role: "group", "aria-label": "ELBO explorer" },
    el("div", { class: "gt-board" },
      el("div", { class: "gt-panel" },
        el("p", { class: "gt-title" }, "Drag the orange knobs to move and widen q, the blue one to change x"),
        el("div", { class: "gt-legend-row" }, ...Object.values(keys)),
        plane.node),
      el("div", { class: "gt-panel" }, controls, presets, status),
      el("div", { class: "gt-levels" },
        el("p", { class: "gt-title" }, "ELBO + KL = log p(x) in nats, and the ascent"), stack.node, climb.node),
      sums),
    live);

  function drawPlane({ x, loc, scale }, evidence) {
    const q = qDensity(loc, scale), joint = jointDensity(x), share = Math.exp(-evidence);
    const peak = Math.max(q(Math.max(loc, 0)), share * joint(Math.max(x - 1, 0)));
    top = topFor(peak);
    plane.axes.y.ticks = ticks(0, top, 4);
    plane.range({ y: [-RAIL * top, top] });
    outside.set([[Z[0], top * 1.05], [0, top * 1.05]]);
    rail.paint();
    const points = f => [[0, 0], ...GRID.map(z => [z, f(z)])];
    const jointPoints = points(joint), qPoints = points(q);
    jointArea.set(jointPoints); jointLine.set(jointPoints);
    qArea.set(qPoints); qLine.set(qPoints);
    posteriorLine.set(points(z => share * joint(z)));
    // The normal before the cut, where it was cut; and its width, from the middle to one scale further.
    const bell = z => Math.exp(-(((z - loc) / scale) ** 2) / 2 - LOG_ROOT_2PI) / scale;
    shoulder = bell(loc + scale);
    ghost.set(loc - 4 * scale < 0 ? GRID.map(z => [-z, bell(-z)]).filter(([z]) => z >= Z[0]) : []);
    bracket.set([[loc, 0], [loc, shoulder], [loc + scale, shoulder]]);

    widthBounds.x = [loc + REACH.scale[0], Math.min(loc + REACH.scale[1], KNOB)];
    grips.x.put({ x, y: railAt() });
    grips.loc.put({ x: loc, y: 0 });
    grips.scale.put({ x: Math.min(loc + scale, KNOB), y: shoulder });
    // What the knob stands for is the width, not the place of the knob.
    for (const [name, value] of [["valuenow", scale], ["valuemin", REACH.scale[0]], ["valuemax", REACH.scale[1]]]) grips.scale.node.setAttribute(`aria-${name}`, value);

    const last = loc + scale > KNOB - 1;  // no room to the right of the knob
    qWords.set([[loc, 0, "loc", "start", 13, 17], [Math.min(loc + scale, KNOB), shoulder, "scale", last ? "end" : "start", last ? 8 : 14, last ? -15 : 4]]);
    xWords.set([[REACH.x[1], railAt(), "observed x", "start", 16, 4]]);
    words.set([[Z[0], top, "no z below 0", "start", 6, 12]]);
    keys.joint.textContent = `joint p(x, z) at x = ${number(x)}`;
    keys.posterior.textContent = "posterior p(z | x)";
    keys.q.textContent = `q(z) with loc ${number(loc)}, scale ${number(scale)}`;
    plane.name(`Densities over z for x = ${number(x)}, loc = ${number(loc)}, scale = ${number(scale)}`);
  }
  function drawLevels({ evidence, elbo }) {
    const range = [floorFor(Math.min(elbo, evidence, trace[0])), 0];
    stack.range({ y: range }); climb.range({ y: range, x: [0, stepsFor(trace.length - 1)] });
    fill.set([[0, elbo], [1, elbo]], range[0]);
    gap.set([[0, evidence], [1, evidence]], elbo);
    level.set(elbo); ceiling.set(evidence); roof.set(evidence);
    labels.paint();
    const stride = Math.ceil(trace.length / 400), last = trace.length - 1;
    path.set(trace.map((v, i) => [i, v]).filter(([i]) => i % stride === 0 || i === last));
    tip.set([[last, trace[last]]]);
  }
  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now(), state = now();
    shown = boundNow();
    drawPlane(state, shown.evidence);
    drawLevels(shown);
    for (const key of ["evidence", "elbo", "kl", "logJoint", "entropy", "logLikelihood", "priorKl"]) write(key, shown[key]);
    write("elbo1", shown.elbo); write("elbo2", shown.elbo);
    const steps = trace.length - 1, closed = shown.kl < CLOSED;
    status.replaceChildren(el("span", {}, "step ", el("b", {}, String(steps))),
      el("span", {}, closed ? "the gap is closed: q is the posterior" : "gap ", closed ? null : el("b", {}, `${figure(shown.kl)} nats`)));
    Object.assign(root.dataset, { ...state, ...shown, steps, trace: trace.slice(-25).join(" "), ms: (performance.now() - started).toFixed(2) });
  }
  const request = frames(draw, signal);
  function restart() { trace = [boundNow().elbo]; request(); }

  host.append(root);
  for (const name of ["x", "loc", "scale"]) on(`change:${name}`, () => { if (!own) restart(); });
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
