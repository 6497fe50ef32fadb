// TrainingReplay: what a network drew at the stored steps of its training, beside its loss curves; two runs side by side.
import { announcer, clamp, colour, el, follower, frames, number, slider, watchTheme } from "./common.js";
import { chart, facts, figure, player } from "./plot.js";
import { bytesOf } from "./nn.js";

const LEVELS = 15;      // the brightest of the greys that are stored
const HALF = 392;       // bytes of a picture: two pixels in each
const CELL = 29;        // pixels from a picture to the next: 28 and a gap
const ALONE = 10;       // pictures in a row where one run is shown; two runs have half of that each

// A record as the page got it, with functions that read one of its stored steps.
export function reader(record, bytes) {
  const { steps, count, at } = record;
  return {
    ...record, last: steps.at(-1),
    indexAt: step => Math.max(0, steps.findLastIndex(s => s <= step)),
    // Picture k at stored step i, Float32Array(784) in [0, 1].
    picture(i, k) {
      const start = at + HALF * (count * i + k), out = new Float32Array(2 * HALF);
      for (let j = 0; j < HALF; j++) { out[2 * j] = (bytes[start + j] >> 4) / LEVELS; out[2 * j + 1] = (bytes[start + j] & 15) / LEVELS; }
      return out;
    },
  };
}

// Steps lie on an axis on which each factor of ten takes as much room; step 0 has a place on it, too.
export const along = step => Math.log10(1 + step);
export const stepAt = x => 10 ** x - 1;
const spaced = step => String(Math.round(step)).replace(/\B(?=(\d{3})+$)/g, "\u2009");
export function decades(last) {
  const list = [[0, "0"]];
  for (let s = 1; s <= last; s *= 10) list.push([along(s), spaced(s)]);
  return list;
}

// Heights on a chart: powers of ten above its least value, if it has one; lower values lie on the floor.
export const height = (v, least) => (least ? Math.log10(Math.max(v, least) / least) : v);
export function heights([, high], least) {
  if (!least) return 3;
  const every = Math.ceil((Math.floor(high) + 1) / 3);
  return Array.from({ length: Math.floor(high / every) + 1 }, (_, i) => [i * every, String(Number((least * 10 ** (i * every)).toPrecision(1)))]);
}

// The range of an axis that holds all curves. Of wild ones it leaves out the highest and lowest hundredth.
export function extent(lists, wild, least) {
  const all = lists.flat().map(v => height(v, least)).sort((a, b) => a - b), place = p => all[Math.round(p * (all.length - 1))];
  if (least) return [0, all.at(-1) + 0.1];
  const low = Math.min(0, place(wild ? 0.01 : 0)), high = place(wild ? 0.99 : 1), room = Math.max(0.05 * (high - low), 1e-6);
  return [low < 0 ? low - room : 0, high + room];
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const bytes = bytesOf(model.get("raw")), records = model.get("records").map(r => reader(r, bytes)), two = records.length === 2;
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  const marks = [...new Set(records.flatMap(r => r.steps))].sort((a, b) => a - b), last = marks.at(-1);
  let inked = [0, 0, 0];
  const go = step => { model.set("step", step); model.save_changes(); };
  const markAt = step => Math.max(0, marks.findLastIndex(s => s <= step));
  const nearest = step => marks.reduce((best, s) => (Math.abs(along(s) - along(step)) < Math.abs(along(best) - along(step)) ? s : best), marks[0]);

  // ------------------------------------------------------------------------------------------------------ one run on display
  const bound = k => extent(records.flatMap(r => r.charts[k].lines.map(line => line.values)), records.some(r => r.wild), records[0].charts[k].least);
  const tallest = records[0].bars.top || 1.05 * Math.max(...records.flatMap(r => r.bars.values.flat()), 1e-6);

  function panel(record) {
    const { bars, count } = record, columns = two ? ALONE / 2 : ALONE, rows = Math.ceil(count / columns);
    const canvas = el("canvas", { role: "img", width: columns * CELL - 1, height: rows * CELL - 1 });
    const numbers = facts(Object.fromEntries(record.facts.map((fact, k) => [k, fact.label])));
    const wide = bars.values[0].length, margin = { left: 36, right: 8, top: 6, bottom: 20 };
    const columnsOf = chart({ label: bars.label, height: 84, signal, margin, y: { range: [0, tallest], ticks: 3 },
      x: { range: [-0.6, wide - 0.4], ticks: bars.names.map((name, i) => [i, name]) } });
    const level = columnsOf.rule({ axis: "y", class: "gt-truth gt-thin" }), heap = columnsOf.bars({ class: "gt-q", width: 0.7 });
    if (bars.level != null) level.set(bars.level);
    const charts = record.charts.map((one, k) => {
      const own = chart({ label: "", height: 104, signal, margin, y: { range: bound(k), ticks: heights(bound(k), one.least) }, x: { range: [0, along(last)], ticks: decades(last) } });
      for (const line of one.lines) own.curve({ class: `gt-fine ${line.kind}` }).set(line.values.map((v, i) => [along(record.curveSteps[i]), height(v, one.least)]));
      const cursor = own.rule({ class: "gt-cursor" }), pad = own.pad({ oninput: ({ x }) => { play.stop(); go(nearest(stepAt(x))); } });
      pad.node.setAttribute("aria-hidden", "true");  // the slider does the same for keys and screen readers
      const legend = one.lines.length > 1 ? one.lines.map(line => el("span", { class: `gt-swatch ${line.kind}` }, line.name)) : [];
      return { own, cursor, one, node: el("div", {}, el("p", { class: "gt-muted gt-heading" }, one.label, " ", ...legend), own.node) };
    });
    const node = el("section", { class: "gt-panel gt-run", "aria-label": record.title }, el("p", { class: "gt-title" }, record.title),
      el("div", { class: "gt-strip" }, canvas), numbers.node,
      el("div", {}, el("p", { class: "gt-muted gt-heading" }, bars.label), columnsOf.node), ...charts.map(c => c.node));

    // What is known of the stored step i, in words.
    const words = i => record.facts.map(fact => `${fact.label} ${figure(fact.values[i], fact.digits)}${fact.unit}`);
    function strip(i) {
      const g = canvas.getContext("2d"), image = new ImageData(28, 28), [r, gr, b] = inked;
      for (let k = 0; k < count; k++) {
        const values = record.picture(i, k);
        for (let j = 0, p = 0; j < values.length; j++, p += 4) {
          image.data[p] = r; image.data[p + 1] = gr; image.data[p + 2] = b; image.data[p + 3] = Math.round(255 * values[j]);
        }
        g.putImageData(image, CELL * (k % columns), CELL * Math.floor(k / columns));
      }
      canvas.setAttribute("aria-label", `${count} pictures drawn at step ${record.steps[i]}: ${words(i).join(", ")}`);
    }
    function put(step) {
      const i = record.indexAt(step);
      strip(i);
      record.facts.forEach((fact, k) => numbers.put(k, `${figure(fact.values[i], fact.digits)}${fact.unit}`));
      heap.set(bars.values[i].map((v, k) => [k, v]));
      columnsOf.name(`${bars.label} at step ${record.steps[i]}: ${bars.values[i].map(v => figure(v, 2)).join(", ")}`);
      for (const { own, cursor, one } of charts) {
        cursor.set(along(record.steps[i]));
        own.name(`${one.label} against training steps; point at a step to go there`);
      }
      return { step: record.steps[i], facts: record.facts.map(fact => fact.values[i]).join(" "), bars: bars.values[i].join(" ") };
    }
    return { node, put, words };
  }

  // ------------------------------------------------------------------------------------------------------------- the board
  const way = slider({ label: "Step", min: 0, max: marks.length - 1, step: 1, value: markAt(model.get("step")), show: i => spaced(marks[i] ?? 0),
    oninput: i => { play.stop(); go(marks[i]); } });
  const play = player({ stepText: "Next", interval: 260, signal, step: () => {
    const i = markAt(model.get("step")), next = i >= marks.length - 1 ? 0 : i + 1;
    go(marks[next]);
    return next < marks.length - 1;
  } });
  const panels = records.map(panel);
  const root = el("div", { class: "gentut-widget gentut-training-replay", role: "group", "aria-label": `Replay of training: ${records.map(r => r.title).join(" beside ")}` },
    el("div", { class: "gt-board" }, el("div", { class: "gt-row gt-reel" }, play.node, way.node),
      el("div", { class: `gt-stage${two ? "" : " gt-single"}` }, ...panels.map(p => p.node))), live);

  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now(), step = model.get("step");
    root.dataset.step = step;
    way.put(clamp(markAt(step), 0, marks.length - 1));
    panels.forEach((one, k) => {
      for (const [name, value] of Object.entries(one.put(step))) root.setAttribute(`data-${["left", "right"][k]}-${name}`, value);
    });
    root.dataset.ms = number(performance.now() - started);
  }
  const request = frames(draw, signal);
  on("change:step", () => {
    request();
    const step = model.get("step"), said = panels.map((one, k) => `${two ? `${records[k].title}: ` : ""}${one.words(records[k].indexAt(step)).join(", ")}`);
    say(`Step ${step}. ${said.join("; ")}`);
  });
  host.append(root);
  const recolour = () => { inked = colour(root, "--ink"); request(); };
  recolour();
  watchTheme(recolour, signal);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
