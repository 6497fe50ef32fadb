// GanReplay: two played games side by side, step by step; and a game on the line that is trained in the page.
import { announcer, choice, clamp, colour, css, el, follower, frames, number, sharp, slider, watchTheme } from "./common.js";
import { chart, facts, figure, player, svg, ticks } from "./plot.js";
import { density, exact, game, perceptron, smoothed, source } from "./games-maths.js";
import { bytesOf, float16, float32, sigmoid } from "./nn.js";

const LOSSES = [["discriminator_loss", ""], ["generator_loss", "gt-q"]];
const LANES = 24;           // arrows drawn on the line; in the plane all that were sent
const LONG = 0.11;          // length of a long arrow as a part of the picture's width
const BUDGET = 9;           // milliseconds of training between two pictures
const CALM = 40;            // steps between two pictures, one a second, for readers who ask for less motion
const MOST = 400;           // points of a curve of losses in training

const doubles = (bytes, start, count) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, 8 * count);
  return Float64Array.from({ length: count }, (_, i) => view.getFloat64(8 * i, true));
};
const size = shapes => shapes.reduce((sum, [out, into]) => sum + out * (into + 1), 0);

// A record as the page got it, with functions that read one frame of it.
export function reader(record, bytes) {
  const { dim, count, side, at, steps, curves, low, high } = record, points = side ** dim;
  const part = (key, i, n) => float16(bytes, at[key] + 2 * i * n, n);
  const grid = Array.from({ length: side }, (_, i) => low[0] + ((high[0] - low[0]) * i) / (side - 1));
  return {
    ...record, grid, points, last: steps.at(-1), real: part("real", 0, count * dim),
    indexAt: step => Math.max(0, steps.findLastIndex(s => s <= step)),
    frame: i => ({
      step: steps[i], samples: part("samples", i, count * dim), arrows: part("arrows", i, record.arrows * dim), scores: part("scores", i, points),
      density: at.density == null ? null : part("density", i, side), push: record.push[i],
      ...Object.fromEntries(Object.entries(curves).map(([name, values]) => [name, values[i]])),
    }),
  };
}

// The game of a record, from its first weights on.
export function begin(record, bytes, seed) {
  const { game: rules, at, count, side, target } = record, weights = key => perceptron(rules[key], doubles(bytes, at[key], size(rules[key])));
  const played = game(rules, weights("generator"), weights("discriminator")), draw = source(target, seed);
  const z = Float64Array.from(float32(bytes, at.z, count * rules.latent)), real = Float64Array.from(record.real), quantiles = doubles(bytes, at.quantiles, count);
  const n = rules.batch, xs = Float64Array.from(record.grid);
  const own = {
    played, moves: { d: 0, g: 0 },
    moveD(rate) { own.moves.d += 1; return played.discriminatorStep(draw.x(n), draw.z(n * rules.latent), rules.penalty ? draw.u(n) : null, rate); },
    moveG(rate) { own.moves.g += 1; return played.generatorStep(draw.z(n * rules.latent), rate); },
    frame: () => ({
      ...played.look(z, real, quantiles, record.stride), scores: played.discriminator.run(xs),
      density: rules.latent === 1 ? exact(played.generator, xs) : null,
    }),
  };
  return own;
}

// Which of the arrows sent are drawn on the line, by their places: evenly many from left to right, at most LANES.
export function spaced(samples, most = LANES) {
  const count = samples.length, order = Array.from(samples, (_, i) => i).sort((a, b) => samples[a] - samples[b]);
  return count <= most ? order : Array.from({ length: most }, (_, i) => order[Math.round((i * (count - 1)) / (most - 1))]);
}

// What the score means under a loss: D(x) in [0, 1], a score near 0 to 1, or a critic's value without a scale.
const meaning = loss => (loss === "wgan-gp" ? "critic" : loss === "least-squares" ? "score" : "odds");
const NAMES = { odds: "D(x)", score: "score of D", critic: "critic" };
const verdict = { odds: sigmoid, score: v => v, critic: v => v };

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const bytes = bytesOf(model.get("raw")), books = new Map(model.get("records").map(r => [r.name, reader(r, bytes)]));
  const onLine = [...books.values()].filter(r => r.dim === 1).map(r => r.name);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  let colours = {}, training = null;
  function save(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }

  // -------------------------------------------------------------------------------------------------- one game on display
  function panel(label) {
    let record = null, frame = null, unit = 1;

    // On the line: densities with samples and arrows below them, and the discriminator under the same axis.
    const bumps = chart({ label: "", height: w => clamp(0.55 * w, 150, 230), signal, x: { ticks: 5 }, y: { ticks: 0 }, margin: { left: 30, right: 8, top: 6, bottom: 20 } });
    const pArea = bumps.area({ class: "gt-p" }), qArea = bumps.area({ class: "gt-q" });
    const pLine = bumps.curve({ class: "gt-p" }), qLine = bumps.curve({ class: "gt-q" });
    const rug = svg("path", { class: "gt-rug" }), arrows = svg("path", { class: "gt-arrows" });
    const rugs = bumps.layer(rug, () => {
      if (!frame || record.dim !== 1) return;
      const floor = bumps.axes.y.range[0], low = bumps.y(0.14 * floor), high = bumps.y(0.42 * floor);
      rug.setAttribute("d", Array.from(frame.samples, v => `M${bumps.x(v).toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}`).join(""));
    });
    const lanes = bumps.layer(arrows, () => {
      if (!frame || record.dim !== 1) return;
      const floor = bumps.axes.y.range[0], wide = bumps.x(record.high[0]) - bumps.x(record.low[0]);
      const places = frame.samples.filter((_, i) => i % record.stride === 0);
      arrows.setAttribute("d", spaced(places).map((i, k) => {
        const y = bumps.y((0.62 + 0.24 * (k % 2)) * floor), x = bumps.x(places[i]);
        return arrowPath(x, y, clamp(frame.arrows[i] / unit, -1.5, 1.5) * LONG * wide, 0);
      }).join(""));
    });
    const mind = chart({ label: "", height: w => clamp(0.36 * w, 110, 150), signal, x: { ticks: 5 }, y: { ticks: [0, 0.5, 1] }, margin: { left: 30, right: 8, top: 4, bottom: 20 } });
    const half = mind.rule({ axis: "y", class: "gt-quiet gt-thin" });
    const best = mind.layer(svg("path", { class: "gt-curve gt-truth gt-dashed" }), () => best.node.setAttribute("d", bestPath())), opinion = mind.curve({});
    const plane = el("canvas", { class: "gt-plane", role: "img" });
    const lossChart = chart({ label: "Losses against training steps: point at a step to go there", height: 96, signal, x: { ticks: 4 }, y: { ticks: 3 }, margin: { left: 30, right: 8, top: 4, bottom: 20 } });
    const fair = lossChart.rule({ axis: "y", class: "gt-quiet gt-thin" }), lines = LOSSES.map(([, kind]) => lossChart.curve({ class: `gt-fine ${kind}` }));
    const cursor = lossChart.rule({ class: "gt-thin" }), pad = lossChart.pad({ oninput: ({ x }) => { if (!training) { play.stop(); goto(x); } } });
    const names = { dim1: { distance: ["distance", "gt-q"], right: "D is right", push: "mean arrow" }, dim2: { modes: ["modes found", "gt-q"], near: ["near a mode", "gt-q"], right: "D is right", push: "mean arrow" } };
    const numbers = { 1: facts(names.dim1), 2: facts(names.dim2) };
    numbers[2].node.classList.add("gt-four");
    const mindName = el("p", { class: "gt-muted gt-mind-name" }), rulesOf = el("p", { class: "gt-muted gt-rules" });
    const title = el("p", { class: "gt-title" });
    const node = el("section", { class: "gt-panel gt-game", "aria-label": `${label} game` }, el("div", {}, title, rulesOf),
      el("div", { class: "gt-line-view" }, bumps.node, mindName, mind.node),
      el("div", { class: "gt-plane-view" }, el("div", { class: "gt-square" }, plane)),
      el("p", { class: "gt-muted" }, "losses of ", el("b", {}, "D"), " and ", el("b", { class: "gt-q gt-tinted" }, "G")), lossChart.node, numbers[1].node, numbers[2].node);

    // Where p + q is next to nothing, no point ever falls and D* is noise.
    function bestPath() {
      if (!frame || record.dim !== 1 || meaning(record.game.loss) === "critic") return "";
      const q = densityOf(), p = record.grid.map(x => density(record.target, x)), least = 0.002 * Math.max(...p);
      let open = false;
      return record.grid.map((x, i) => {
        const sum = p[i] + q[i], begin_ = !open;
        open = sum > least;
        return open ? `${begin_ ? "M" : "L"}${mind.x(x).toFixed(2)} ${mind.y(p[i] / sum).toFixed(2)}` : "";
      }).join("");
    }
    const densityOf = () => frame.density ?? smoothed(frame.samples, record.grid, 0.35 * Math.min(...record.target.sigmas));

    function drawLine() {
      const p = record.grid.map(x => density(record.target, x)), q = densityOf(), kind = meaning(record.game.loss);
      const peak = Math.max(...p), top = 1.9 * peak;
      bumps.axes.x.ticks = mind.axes.x.ticks = ticks(record.low[0], record.high[0], 4);
      bumps.range({ x: [record.low[0], record.high[0]], y: [-0.4 * top, top] });
      mind.range({ x: [record.low[0], record.high[0]] });
      const along = values => record.grid.map((x, i) => [x, Math.min(values[i], 1.5 * top)]);
      pArea.set(along(p)); pLine.set(along(p)); qArea.set(along(q)); qLine.set(along(q));
      rugs.paint(); lanes.paint();
      const seen = Array.from(frame.scores, verdict[kind]);
      if (kind === "critic") {
        const [low, high] = wideOf(seen);
        mind.axes.y.ticks = ticks(low, high, 3);
        mind.range({ y: [low, high] });
      } else mind.range({ y: kind === "score" ? [-0.5, 1.5] : [0, 1] });
      half.set(...(kind === "critic" ? [] : [0.5]));
      opinion.set(record.grid.map((x, i) => [x, seen[i]]));
      best.paint();
      mindName.textContent = kind === "critic" ? "critic\u2019s value of x" : `${NAMES[kind]}, the best D dashed`;
      bumps.name(`Density of the data, blue, and of the generator, orange, at step ${frame.step}; below them generated samples and the arrows that move them`);
      mind.name(`${NAMES[kind]} against x${kind === "critic" ? "" : ", and p / (p + q) dashed"}, at step ${frame.step}`);
    }
    const wideOf = values => { const low = Math.min(...values), high = Math.max(...values), room = Math.max(0.1 * (high - low), 1e-3); return [low - room, high + room]; };

    function drawPlane() {
      const g = plane.getContext("2d"), w = plane.clientWidth, h = plane.clientHeight, { low, high, side } = record;
      if (!w) return;
      const x = v => ((v - low[0]) / (high[0] - low[0])) * w, y = v => h - ((v - low[1]) / (high[1] - low[1])) * h;
      g.clearRect(0, 0, w, h);
      g.drawImage(heat(), 0, 0, side, side, -w / (side - 1) / 2, -h / (side - 1) / 2, (w * side) / (side - 1), (h * side) / (side - 1));
      const { means, sigmas } = record.target;
      g.strokeStyle = css(colours.truth, 0.8); g.lineWidth = 1; g.setLineDash([3, 3]);
      means.forEach(([a, b], k) => { g.beginPath(); g.ellipse(x(a), y(b), x(low[0] + 3 * sigmas[k]), h - y(low[1] + 3 * sigmas[k]), 0, 0, 7); g.stroke(); });
      g.setLineDash([]);
      const dots = (points, r, fill, edge) => {
        g.beginPath();
        for (let i = 0; i < points.length; i += 2) { g.moveTo(x(points[i]) + r, y(points[i + 1])); g.arc(x(points[i]), y(points[i + 1]), r, 0, 7); }
        if (edge) { g.strokeStyle = edge; g.lineWidth = 1.2; g.stroke(); }  // below the dots: none hides another's middle
        g.fillStyle = fill; g.fill();
      };
      const big = clamp(w / 150, 1.6, 2.8);
      dots(record.real, 0.7 * big, css(colours.data, 0.8));
      dots(frame.samples, big, css(colours.learned, 0.95), css(colours.paper));
      const path = [];
      for (let i = 0; i < frame.arrows.length; i += 2) {
        const [a, b] = [frame.arrows[i] / unit, frame.arrows[i + 1] / unit], far = Math.hypot(a, b), keep = (far > 1.5 ? 1.5 / far : 1) * LONG * w;
        path.push(arrowPath(x(frame.samples[i * record.stride]), y(frame.samples[i * record.stride + 1]), a * keep, -b * keep));
      }
      g.strokeStyle = css(colours.ink, 0.85); g.lineWidth = 1.1; g.lineJoin = "round";
      g.stroke(new Path2D(path.join("")));
      plane.setAttribute("aria-label", `The plane at step ${frame.step}: ${frame.modes} of ${means.length} modes found; blue where the discriminator believes in data, orange where not`);
    }
    // The discriminator's opinion as colour: blue for "real", orange for "generated", stronger where it is surer.
    const small = document.createElement("canvas");
    function heat() {
      const { side } = record, kind = meaning(record.game.loss), seen = Array.from(frame.scores, verdict[kind]);
      const [low, high] = kind === "critic" ? wideOf(seen) : [0, 1], image = new ImageData(side, side);
      small.width = small.height = side;
      for (let i = 0; i < seen.length; i++) {
        const v = clamp((2 * (seen[i] - low)) / (high - low) - 1, -1, 1), [r, g, b] = v > 0 ? colours.data : colours.learned;
        const at = 4 * ((side - 1 - Math.floor(i / side)) * side + (i % side));  // the first row lies lowest
        image.data[at] = r; image.data[at + 1] = g; image.data[at + 2] = b; image.data[at + 3] = Math.round(105 * Math.abs(v));
      }
      small.getContext("2d").putImageData(image, 0, 0);
      return small;
    }

    // xs: steps of the curves; curves: { name: values }; until: end of the axis.
    function drawLosses(xs, curves, until) {
      const all = LOSSES.flatMap(([name]) => curves[name]), sorted = [...all].sort((a, b) => a - b), room = i => sorted[Math.round(i * (sorted.length - 1))];
      const level = meaning(record.game.loss) === "odds" ? Math.log(4) : null;
      const low = Math.min(level === null ? Infinity : 0, room(0.02)), high = Math.max(level === null ? -Infinity : 1.7, room(0.98)), spare = Math.max(0.06 * (high - low), 1e-3);
      lossChart.range({ x: [0, until], y: [low - (low < 0 ? spare : 0), high + spare] });
      fair.set(...(level === null ? [] : [level]));
      LOSSES.forEach(([name], i) => lines[i].set(xs.map((x, k) => [x, curves[name][k]])));
      cursor.set(frame.step);
    }

    // What is shown: a record's reader, a frame of it or of the training, the losses so far, the arrows' scale.
    function put(given, shown, { xs, curves, until }, scale) {
      if (record !== given) {
        record = given;
        const { loss, penalty, rates, moves, beta1 } = record.game, share = rates[1] / rates[0];
        rulesOf.textContent = [`${loss} loss`, penalty ? `penalty ${penalty}` : "", Math.abs(share - 1) > 1e-9 ? `D learns ${figure(share, share < 1 ? 1 : 0)} \u00d7 as fast` : "",
          moves > 1 ? `D moves ${moves} times a step` : "",
          `\u03b2\u2081 ${beta1}`].filter(Boolean).join(" \u00b7 ");
      }
      [frame, unit] = [shown, scale];
      const line = record.dim === 1;
      node.querySelector(".gt-line-view").hidden = !line;
      node.querySelector(".gt-plane-view").hidden = line;
      numbers[1].node.hidden = !line; numbers[2].node.hidden = line;
      (line ? drawLine : drawPlane)();
      drawLosses(xs, curves, until);
      const write = numbers[record.dim].put;
      write("right", `${Math.round(100 * frame.right)} %`);
      write("push", figure(frame.push));
      if (line) write("distance", figure(frame.distance));
      else { write("modes", `${frame.modes} of ${record.target.means.length}`); write("near", `${Math.round(100 * frame.near)} %`); }
      title.textContent = record.name;
    }
    const repaint = () => { if (record?.dim === 2) drawPlane(); };
    sharp(plane, repaint, signal);
    pad.node.setAttribute("aria-hidden", "true");
    return { node, put };
  }

  // ------------------------------------------------------------------------------------------------------- stored games
  const panels = { left: panel("left"), right: panel("right") };
  const shownNow = () => model.get("shown").map(name => books.get(name));
  const marks = () => [...new Set(shownNow().flatMap(r => r.steps))].sort((a, b) => a - b);
  const nearestMark = step => { const all = marks(), i = all.findLastIndex(s => s <= step); return Math.max(0, i); };
  function goto(step) {
    const all = marks();
    save({ step: all.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best), all[0]) });
  }
  const select = (text, name, onchange) => {
    const node = el("select", { "aria-label": name, onchange: () => onchange(node.value) });
    return { node: el("label", { class: "gt-pick" }, el("span", {}, text), node), put: (options, chosen) => {
      node.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
      node.value = chosen;
    } };
  };
  const first = select("Show", "First game", name => { play.stop(); save({ shown: [name, ...model.get("shown").slice(1)] }); });
  const second = select("beside", "Second game", name => { play.stop(); save({ shown: [model.get("shown")[0], name].filter(Boolean) }); });
  const way = slider({ label: "Step", min: 0, max: marks().length - 1, step: 1, value: nearestMark(model.get("step")), show: i => number(marks()[i] ?? 0, 0),
    oninput: i => { play.stop(); save({ step: marks()[i] }); } });
  const rail = way.node.querySelector("input");
  const play = player({ stepText: "Next", interval: 110, signal, step: () => {
    const all = marks(), i = nearestMark(model.get("step")), next = i >= all.length - 1 ? 0 : i + 1;
    save({ step: all[next] });
    return next < all.length - 1;
  } });

  // ------------------------------------------------------------------------------------------------ training in the page
  let current = null, history = [], turning = 0, only = false, stopped = "";
  const button = (text, onclick, more = {}) => el("button", { type: "button", class: "gt-button", onclick, ...more }, text);
  const rate = (text, which) => {
    const own = slider({ label: text, min: -5, max: -1, step: 0.1, value: Math.log10(model.get("rates")[which]), show: v => String(Number((10 ** v).toPrecision(2))),
      oninput: v => { const rates = [...model.get("rates")]; rates[which] = 10 ** v; save({ rates }); } });
    return own;
  };
  const rateG = rate("G\u2019s rate", 0), rateD = rate("D\u2019s rate", 1);
  function remember() {
    const now = { ...training.own.frame(), step: training.time }, { discriminator_loss, generator_loss } = now;
    if (!Number.isFinite(discriminator_loss + generator_loss)) {  // the last picture stays
      halt();
      stopped = "the losses are no longer finite: start again, with smaller rates";
      return;
    }
    current = now;
    const row = { step: training.time, discriminator_loss, generator_loss };
    if (history.at(-1)?.step === training.time) history.pop();
    history.push(row);
    if (history.length > MOST) history = history.filter((_, i) => i % 2 === 0 || i === history.length - 1);
  }
  // Moves of the players: "d", "g" or "both", which is a step of the record's game.
  function advance(who) {
    const [g, d] = model.get("rates"), { own, record } = training;
    if (who !== "g") for (let i = 0; i < (who === "both" ? record.game.moves : 1); i++) own.moveD(d);
    if (who !== "d") own.moveG(g);
    training.time += 1;
  }
  function once(who) {
    halt();
    advance(who);
    remember();
    request();
    say(`${training.own.moves.d} moves of D, ${training.own.moves.g} of G: distance ${figure(current.distance)}, D right in ${Math.round(100 * current.right)} %`);
  }
  function halt() {
    cancelAnimationFrame(turning); clearTimeout(turning);
    turning = 0;
    showRuns();
  }
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  function run(who) {
    if (turning) { const same = only === who; halt(); if (same) return; }
    only = who;
    const loop = () => {
      if (calm()) for (let i = 0; i < CALM; i++) advance(who);
      else { const end = performance.now() + BUDGET; do advance(who); while (performance.now() < end); }
      turning = calm() ? setTimeout(loop, 1000) : requestAnimationFrame(loop);
      remember();
      draw();
    };
    turning = requestAnimationFrame(loop);
    showRuns();
  }
  signal.addEventListener("abort", () => { cancelAnimationFrame(turning); clearTimeout(turning); });
  const runBoth = button("Run", () => run("both"), { class: "gt-button gt-play", "aria-pressed": "false" });
  const runD = button("Run D only", () => run("d"), { class: "gt-button gt-play", "aria-pressed": "false" });
  function showRuns() {
    for (const [node, who, text] of [[runBoth, "both", "Run"], [runD, "d", "Run D only"]]) {
      const active = Boolean(turning) && only === who;
      node.textContent = active ? "Pause" : text;
      node.setAttribute("aria-pressed", String(active));
    }
  }
  // A game begins with its own learning rates, from the record's first weights, with the batches of the seed.
  const enter = name => save({ live: name, rates: books.get(name).game.rates });
  function restart() {
    halt();
    const record = books.get(model.get("live"));
    [training, history, stopped] = [{ record, own: begin(record, bytes, model.get("seed")), time: 0 }, [], ""];
    remember();
    request();
  }
  const status = el("p", { class: "gt-note gt-status" });
  const third = select("Game", "Game to train", name => enter(name));
  const workshop = el("div", { class: "gt-panel gt-workshop" }, third.node,
    el("div", { class: "gt-row" }, button("Step D", () => once("d")), button("Step G", () => once("g")), button("Step both", () => once("both")), runBoth, runD,
      button("Start again", () => { restart(); say("Back at the first weights"); }), button("Other draws", () => save({ seed: model.get("seed") + 1 }))),
    el("div", { class: "gt-sliders gt-rates" }, rateG.node, rateD.node), status);

  // ------------------------------------------------------------------------------------------------------------ the board
  const modes = onLine.length ? choice({ label: "Watch", options: [["replay", "stored games"], ["live", "train here"]], value: model.get("live") ? "live" : "replay",
    onchange: mode => (mode === "replay" ? save({ live: "" }) : enter(onLine.includes(model.get("shown")[0]) ? model.get("shown")[0] : onLine[0])) }) : null;
  const theatre = el("div", { class: "gt-panel" }, el("div", { class: "gt-row gt-picks" }, first.node, second.node), el("div", { class: "gt-row gt-reel" }, play.node, way.node));
  const swatch = (kind, text) => el("span", { class: `gt-swatch ${kind}` }, text);
  const keys = { line: swatch("gt-swatch-line", ""), best: swatch("gt-truth gt-swatch-dashed", ""), paper: el("span", { class: "gt-muted" }, "ground: blue where D says \u201creal\u201d, orange where \u201cgenerated\u201d") };
  const legend = el("div", { class: "gt-legend-row" }, swatch("gt-p", "data"), swatch("gt-q", "generated"), swatch("gt-swatch-arrow", "where D\u2019s gradient pushes a sample"),
    keys.line, keys.best, keys.paper);
  const stage = el("div", { class: "gt-stage" }, panels.left.node, panels.right.node);
  const root = el("div", { class: "gentut-widget gentut-gan-replay", role: "group", "aria-label": "Games between generator and discriminator" },
    el("div", { class: "gt-board" }, modes, theatre, workshop, legend, stage), live);

  function offer() {
    const every = [...books.keys()].map(name => [name, name]), [a, b] = model.get("shown");
    first.put(every, a);
    second.put([...every, ["", "nothing"]], b ?? "");
    third.put(onLine.map(name => [name, name]), model.get("live"));
  }
  function publish(side, record, frame) {
    const own = { name: record.name, step: frame.step, right: frame.right, push: frame.push, distance: frame.distance, modes: frame.modes, near: frame.near,
      losses: `${frame.discriminator_loss} ${frame.generator_loss}`, centre: Array.from({ length: record.dim }, (_, d) => { let sum = 0; for (let i = d; i < frame.samples.length; i += record.dim) sum += frame.samples[i]; return sum / record.count; }).join(" ") };
    for (const [name, value] of Object.entries(own)) {
      if (value === undefined) root.removeAttribute(`data-${side}-${name}`);
      else root.setAttribute(`data-${side}-${name}`, value);
    }
  }
  function drawStored() {
    const step = model.get("step"), shown = shownNow(), all = marks();
    root.dataset.step = step;
    rail.max = all.length - 1;
    way.put(nearestMark(step));
    const unit = dim => Math.max(...shown.filter(r => r.dim === dim).map(r => r.unit));  // one scale, so that arrows compare
    ["left", "right"].forEach((side, i) => {
      const record = shown[i];
      if (record) {
        const frame = record.frame(record.indexAt(step));
        panels[side].put(record, frame, { xs: record.steps, curves: record.curves, until: all.at(-1) }, unit(record.dim));
        publish(side, record, frame);
      }
    });
  }
  function drawTraining() {
    const { record, own, time } = training;
    const curves = Object.fromEntries(LOSSES.map(([name]) => [name, history.map(row => row[name])]));
    panels.left.put(record, current, { xs: history.map(row => row.step), curves, until: roundUp(time) }, record.unit);
    publish("left", record, current);
    status.replaceChildren(el("span", {}, "moves of D ", el("b", {}, String(own.moves.d))), el("span", {}, "of G ", el("b", {}, String(own.moves.g))), stopped ? el("span", {}, stopped) : "");
    Object.assign(root.dataset, { moves: `${own.moves.d} ${own.moves.g}`, running: turning ? only : "", density: current.density ? Array.from(current.density).join(" ") : "", scores: Array.from(current.scores).join(" ") });
  }
  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now(), own = Boolean(model.get("live")), two = !own && model.get("shown").length === 2;
    theatre.hidden = own; workshop.hidden = !own;
    panels.right.node.hidden = !two;
    stage.classList.toggle("gt-single", own || !two);
    root.dataset.view = own ? "live" : "replay";
    if (own) root.removeAttribute("data-step");
    const seen = own ? [1] : shownNow().map(r => r.dim), line = seen.includes(1), plane = seen.includes(2);
    keys.line.textContent = "D"; keys.line.hidden = !line;
    keys.best.textContent = [line ? "best D" : "", plane ? "3 \u03c3 around a mode" : ""].filter(Boolean).join("; ");
    keys.paper.hidden = !plane;
    for (const name of own ? [] : ["moves", "running", "density", "scores"]) root.removeAttribute(`data-${name}`);
    if (!two) for (const name of Object.keys(root.dataset)) if (name.startsWith("right")) delete root.dataset[name];
    if (own) drawTraining(); else drawStored();
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  const request = frames(draw, signal);
  function recolour() {
    for (const [name, variable] of Object.entries({ ink: "--ink", paper: "--paper", data: "--c-data", learned: "--c-learned", truth: "--c-truth" })) colours[name] = colour(root, variable);
    request();
  }

  on("change:step", () => {
    request();
    say(`Step ${model.get("step")}. ${shownNow().map(r => { const f = r.frame(r.indexAt(model.get("step"))); return `${r.name}: ${r.dim === 1 ? `distance ${figure(f.distance)}` : `${f.modes} of ${r.target.means.length} modes`}`; }).join("; ")}`);
  });
  on("change:shown", () => { offer(); request(); });
  on("change:seed", () => { if (training) restart(); });
  on("change:rates", () => { rateG.put(Math.log10(model.get("rates")[0])); rateD.put(Math.log10(model.get("rates")[1])); });
  on("change:live", () => {
    play.stop(); halt();
    const name = model.get("live");
    offer();
    if (name) restart(); else training = null;
    for (const input of modes?.querySelectorAll("input") ?? []) input.checked = input.value === (name ? "live" : "replay");
    request();
  });
  host.append(root);
  recolour();
  watchTheme(recolour, signal);
  offer();
  if (model.get("live")) restart();
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

// An arrow from (x, y) along (dx, dy), with a head if it is long enough to have one.
export function arrowPath(x, y, dx, dy) {
  const length = Math.hypot(dx, dy), head = Math.min(4, 0.45 * length), f = v => v.toFixed(1);
  const line = `M${f(x)} ${f(y)}L${f(x + dx)} ${f(y + dy)}`;
  if (length < 1.5) return line;
  const [ux, uy] = [(dx / length) * head, (dy / length) * head], [ex, ey] = [x + dx, y + dy];
  return `${line}M${f(ex - ux - 0.6 * uy)} ${f(ey - uy + 0.6 * ux)}L${f(ex)} ${f(ey)}L${f(ex - ux + 0.6 * uy)} ${f(ey - uy - 0.6 * ux)}`;
}

// A round end for an axis of steps, in few sizes so that it seldom changes.
export const roundUp = n => { let most = 20; while (most < n) most *= String(most)[0] === "2" ? 2.5 : 2; return most; };

export default { render };
