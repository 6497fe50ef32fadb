// InformationBars: two distributions as bars to drag; what each outcome tells, and H(p, q) = H(p) + D(p || q) as one bar.
import { announcer, clamp, el, follower, frames, number } from "./common.js";
import { chart, figure, spread, svg, ticks } from "./plot.js";
import { BIT, grown, information, kl, nextName, rescale, ruledOut, shrunk, totals } from "./information-maths.js";

const MOST = 6, FEWEST = 2;
const SHIFT = 0.21, WIDE = 0.36;  // p's bar to the left, q's to the right, in units of one outcome
const COIN = ["heads", "tails"], DIE = ["1", "2", "3", "4", "5", "6"];
const PRESETS = [
  ["Fair coin", "A fair coin, guessed right", COIN, [0.5, 0.5], [0.5, 0.5]],
  ["Biased coin", "A biased coin, p = (0.2, 0.8), taken for fair", COIN, [0.2, 0.8], [0.5, 0.5]],
  ["Guess (0.2, 0.8)", "A fair coin. Guess (0.2, 0.8)", COIN, [0.5, 0.5], [0.2, 0.8]],
  ["Guess (0.4, 0.6)", "A fair coin. Guess (0.4, 0.6)", COIN, [0.5, 0.5], [0.4, 0.6]],
  ["Guess (1, 0)", "A fair coin. Guess (1, 0)", COIN, [0.5, 0.5], [1, 0]],
  ["Die", "A fair die, taken for a loaded one", DIE, Array(6).fill(1 / 6), [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]],
];
const TOTALS = [["p", "H(p)", "entropy of p", "gt-p"], ["q", "H(q)", "entropy of q", "gt-q"], ["cross", "H(p, q)", "cross-entropy", ""],
  ["forward", "D(p \u2016 q)", "divergence", ""], ["reverse", "D(q \u2016 p)", "reversed", ""]];
const LENGTHS = [1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1100];  // of the ruler, in bits

// What rounding leaves of 0 is written as 0.
const tell = (v, digits = 3) => figure(Math.abs(v) < 5e-13 ? 0 : v, digits);
const alike = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);

// What believing in q costs, in words; and why, where that is infinite.
export function why(p, q, names) {
  const said = [["p", "q", p, q], ["q", "p", q, p]].map(([a, b, one, other]) => {
    const out = ruledOut(one, other).map(i => names[i]);
    return out.length ? `D(${a} \u2016 ${b}) is infinite: ${b} gives ${out.join(", ")} probability 0, and ${a} allows ${out.length > 1 ? "them" : "it"}.` : "";
  });
  if (said[0] || said[1]) return said.filter(Boolean).join(" ");
  const wasted = kl(p, q) / BIT;
  return wasted < 5e-13 ? "q is right: nothing is wasted." : `Believing in q costs ${tell(wasted)} bits more for each outcome than knowing p.`;
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life, on = follower(model, signal);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  let held = null;       // the bar that is being moved, and the distribution that it set out from
  let bars = null;       // the chart of the bars; made anew when outcomes come or go
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }

  // While one bar moves, all is measured from where it set out: a bar pushed up to 1 and back leaves the others as they were.
  function move(which, index, wanted) {
    const now = model.get(which), value = Math.round(100 * wanted) / 100;
    if (!held || held.which !== which || held.index !== index || !alike(held.last, now)) held = { which, index, from: now };
    held.last = rescale(held.from, index, value);
    save({ [which]: held.last });
  }

  const preset = ([text, label, names, p, q]) => el("button", { type: "button", class: "gt-button", "aria-label": label, title: label,
    onclick: () => { held = null; save({ p: [...p], q: [...q], names: [...names] }); } }, text);
  const more = el("button", { type: "button", class: "gt-button gt-more", onclick: () => {
    const names = model.get("names");
    save({ p: grown(model.get("p")), q: grown(model.get("q")), names: [...names, nextName(names)] });
  } }, "Add an outcome");
  const fewer = el("button", { type: "button", class: "gt-button gt-fewer", onclick: () =>
    save({ p: shrunk(model.get("p")), q: shrunk(model.get("q")), names: model.get("names").slice(0, -1) }) }, "Remove the last");

  // One bar, three lengths: H(p), then D(p || q), and over both of them H(p, q). Two rulers under it.
  const sum = chart({ label: "", x: { range: [0, 2], ticks: 0 }, y: { range: [0, 1], ticks: 0 }, height: 128, margin: { left: 40, top: 32, bottom: 66 }, signal });
  const hatch = `gt-hatch-${Math.random().toString(36).slice(2)}`;
  sum.root.prepend(svg("defs", {}, svg("pattern", { id: hatch, class: "gt-q", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "gt-hatch-ground", width: 6, height: 6 }), svg("rect", { class: "gt-hatch-line", width: 2.5, height: 6 }))));
  const stack = svg("g", { "aria-hidden": "true" });
  let length = { known: 0, wasted: 0, all: 0, top: 2 };
  const stacked = sum.layer(stack, paintStack, false);
  function paintStack() {
    const { known, wasted, all, top: longest } = length, endless = all === Infinity;
    const left = sum.x(0), right = sum.x(longest), top = sum.y(1), low = sum.y(0), middle = sum.x(known), end = endless ? right : sum.x(all);
    const text = (x, y, words, kind = "", anchor = "middle") => svg("text", { class: kind, x, y, "text-anchor": anchor }, words);
    const parts = [];
    const block = (a, b, kind, fill) => b - a > 0.05 && parts.push(svg("rect", { class: kind, style: fill && `fill: ${fill}`, x: a, y: top, width: b - a, height: low - top }));
    block(left, middle, "gt-known gt-p");
    if (endless) {  // torn off: it goes on for ever
      const tooth = (low - top) / 4, teeth = [0, 1, 2, 3, 4].map(i => `${right - (i % 2 ? 0 : 7)} ${top + i * tooth}`).join("L");
      parts.push(svg("path", { class: "gt-wasted gt-q", style: `fill: url(#${hatch})`, d: `M${middle} ${top}L${teeth}L${middle} ${low}Z` }));
    } else block(middle, end, "gt-wasted gt-q", `url(#${hatch})`);
    // The bracket over the whole.
    parts.push(svg("path", { class: "gt-bracket", d: `M${left} ${top - 4}v-7H${end}${endless ? "m-6 -4l6 4l-6 4" : "v7"}` }));
    const room = words => 3.3 * words.length + 4, whole = `H(p, q) = ${tell(all)} bits`;
    parts.push(text(clamp((left + end) / 2, left + room(whole), right - room(whole)), top - 17, whole, "gt-whole"));
    const names = [`H(p) = ${tell(known)}`, `D(p \u2016 q) = ${tell(wasted)}`], apart = room(names[0]) + room(names[1]);
    const at = spread([(left + middle) / 2, (middle + end) / 2], apart, left + room(names[0]), right - room(names[1]));
    parts.push(text(at[0], low + 16, names[0], "gt-word gt-p"), text(at[1], low + 16, names[1], "gt-word gt-q"));
    [["bits", longest], ["nats", longest * BIT]].forEach(([unit, far], row) => {
      const y = low + 40 + 20 * row;
      parts.push(text(2, y, unit, "gt-tick", "start"), svg("line", { class: "gt-base", x1: left, x2: right, y1: y - 14, y2: y - 14 }));
      for (const t of ticks(0, far, clamp(Math.floor((right - left) / 80), 2, 6))) {
        const x = sum.x((t * longest) / far);
        parts.push(svg("line", { class: "gt-base", x1: x, x2: x, y1: y - 14, y2: y - 10 }), text(x, y, String(t), "gt-tick"));
      }
    });
    stack.replaceChildren(...parts);
  }

  const outcomes = el("tbody"), cells = {};
  const heading = (text, options = {}) => el("th", { scope: "col", ...options }, text);
  const told = el("table", { class: "gt-table gt-told" }, el("caption", {}, "Information of each outcome"),
    el("thead", {}, el("tr", {}, el("td", { rowspan: 2 }), ...["p", "q"].flatMap(which => [heading(which, { rowspan: 2, class: `gt-${which}` }),
      heading(`\u2212log ${which}`, { colspan: 2, scope: "colgroup", class: `gt-${which}` })])),
    el("tr", {}, ...["bits", "nats", "bits", "nats"].map(text => heading(text)))), outcomes);
  const table = el("table", { class: "gt-table gt-totals" }, el("caption", {}, "On average"),
    el("thead", {}, el("tr", {}, el("td", {}), heading("bits"), heading("nats"))),
    el("tbody", {}, ...TOTALS.map(([key, symbol, name, kind]) => el("tr", { class: kind },
      el("th", { scope: "row" }, symbol, el("span", { class: "gt-muted" }, ` ${name}`)), cells[`${key}-bits`] = el("td"), cells[`${key}-nats`] = el("td")))));
  const reason = el("p", { class: "gt-why" });

  const place = el("div"), board = el("div", { class: "gt-board" },
    el("div", { class: "gt-row gt-presets", role: "group", "aria-label": "Examples" }, ...PRESETS.map(preset)),
    el("div", { class: "gt-panel" },
      el("div", { class: "gt-legend-row" }, el("span", { class: "gt-swatch gt-p" }, "p, the truth"), el("span", { class: "gt-swatch gt-q" }, "q, the guess"),
        el("span", { class: "gt-muted" }, "Drag the top of a bar: the others make room.")),
      place, el("div", { class: "gt-row" }, more, fewer)),
    el("div", { class: "gt-panel" }, el("p", { class: "gt-title" }, "H(p, q) = H(p) + D(p \u2016 q)"), sum.node, reason),
    el("div", { class: "gt-tables" }, told, table));
  const root = el("div", { class: "gentut-widget gentut-information-bars", role: "group", "aria-label": "Entropy and divergence of two distributions" }, board, live);

  // The chart of the bars, and the rows of the table, for these outcomes.
  function build(names) {
    bars?.life.abort();
    const own = new AbortController(), n = names.length, slack = Math.max(0, 0.25 * (4 - n));
    signal.addEventListener("abort", () => own.abort(), { signal: own.signal });
    const c = chart({ label: "The bars of p and q", x: { range: [-0.5 - slack, n - 0.5 + slack], ticks: 0 }, y: { range: [0, 1], ticks: 2 }, height: 218,
      margin: { left: 40, top: 32, bottom: 44 }, signal: own.signal });
    const unit = () => c.x(1) - c.x(0), sides = { p: -SHIFT, q: SHIFT };
    bars = { life: own, names, blocks: {}, handles: {}, figures: {}, chart: c, unit, sides, labels: null };
    for (const which of ["p", "q"]) bars.blocks[which] = c.bars({ class: `gt-${which}`, width: WIDE, shift: sides[which] });
    const letters = svg("g", { "aria-hidden": "true" });
    c.layer(letters, () => letters.replaceChildren(...names.flatMap((name, i) => {
      const most = Math.max(2, Math.floor((unit() - 4) / 6.4)), cut = name.length > most ? `${name.slice(0, most - 1)}\u2026` : name, low = c.y(0);
      return [...["p", "q"].map(which => svg("text", { class: `gt-word gt-${which}`, x: c.x(i + sides[which]), y: low + 18, "text-anchor": "middle" }, which)),
        svg("text", { class: "gt-name", x: c.x(i), y: low + 36, "text-anchor": "middle" }, cut)];
    })), false);
    for (const which of ["p", "q"]) bars.figures[which] = c.words({ class: `gt-${which}` });
    for (const which of ["p", "q"]) bars.handles[which] = names.map((name, i) => c.handle({
      label: `${which} of ${name}`, axis: "y", class: `gt-${which}`, step: { y: 0.01 }, radius: 7, show: v => tell(v.y),
      reach: () => [Math.min(22, SHIFT * unit()), 22], oninput: v => move(which, i, v.y) }));
    place.replaceChildren(c.node);
    outcomes.replaceChildren(...names.map((name, i) => el("tr", {}, el("th", { scope: "row", title: name }, el("span", {}, name)),
      ...["p", "q"].flatMap(which => ["", "-bits", "-nats"].map(unit_ => (cells[`${which}${i}${unit_}`] = el("td")))))));
    const observer = new ResizeObserver(figures);
    observer.observe(c.node);
    own.signal.addEventListener("abort", () => observer.disconnect());
  }
  // The probabilities over the bars, where they have room; the table has them anyway.
  function figures() {
    const roomy = 2 * SHIFT * bars.unit() >= 34;
    for (const which of ["p", "q"]) {
      const values = model.get(which);
      bars.figures[which].set(roomy && values.length === bars.names.length ? values.map((v, i) => [i + bars.sides[which], v, number(v), "middle", 0, -16]) : []);
    }
  }
  const put = (key, text) => { if (cells[key].textContent !== text) cells[key].textContent = text; };

  function draw() {
    const p = model.get("p"), q = model.get("q"), names = model.get("names");
    if (p.length !== q.length || p.length !== names.length) return;  // the other half is on its way
    const started = performance.now();
    if (!bars || !alike(bars.names, names)) build(names);
    const found = totals(p, q), lists = { p, q };
    for (const which of ["p", "q"]) {
      bars.blocks[which].set(lists[which].map((v, i) => [i, v]));
      lists[which].forEach((v, i) => {
        bars.handles[which][i].put({ x: i + bars.sides[which], y: v });
        const told_ = information(v);
        put(`${which}${i}`, tell(v)); put(`${which}${i}-bits`, tell(told_ / BIT)); put(`${which}${i}-nats`, tell(told_));
      });
      root.dataset[which] = lists[which].join(" ");
      root.dataset[`${which}InformationNats`] = lists[which].map(information).join(" ");
      root.dataset[`${which}InformationBits`] = lists[which].map(v => information(v) / BIT).join(" ");
    }
    figures();
    for (const [key] of TOTALS) { put(`${key}-bits`, tell(found[key] / BIT)); put(`${key}-nats`, tell(found[key])); }
    root.dataset.nats = TOTALS.map(([key]) => found[key]).join(" ");
    root.dataset.bits = TOTALS.map(([key]) => found[key] / BIT).join(" ");

    const known = found.p / BIT, all = found.cross / BIT, wanted = Math.max(all === Infinity ? 1.6 * known : 1.02 * all, Math.log2(p.length));
    length = { known, all, wasted: found.forward / BIT, top: LENGTHS.find(v => v >= wanted) };
    sum.range({ x: [0, length.top] });
    stacked.paint();
    sum.name(`A bar of H(p), ${tell(known)} bits, and D(p \u2016 q), ${tell(length.wasted)} bits: together H(p, q), ${tell(all)} bits`);
    const because = why(p, q, names);
    if (reason.textContent !== because) reason.textContent = because;
    more.disabled = p.length >= MOST; fewer.disabled = p.length <= FEWEST;
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  const request = frames(draw, signal);
  function changed() {
    request();
    const p = model.get("p"), q = model.get("q");
    if (p.length !== q.length) return;
    const found = totals(p, q);
    say(`entropy ${tell(found.p / BIT)} bits, divergence ${tell(found.forward / BIT)} bits, cross-entropy ${tell(found.cross / BIT)} bits`.replaceAll("\u221e", "infinite"));
  }

  host.append(root);
  for (const name of ["p", "q", "names"]) on(`change:${name}`, changed);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
