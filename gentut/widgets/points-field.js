// DiffusionField: points in the plane on their way from data to noise and back, and the noise that the network sees everywhere.
import { announcer, choice, clamp, colour, css, el, follower, frames, number, sharp, slider, watchTheme } from "./common.js";
import { chart, facts, figure, svg, ticks } from "./plot.js";
import { beginning, cloudOf, denoiser, draws, energyDistance, flow, legsOf, spreadOf, turnsUpTo } from "./points-maths.js";
import { bytesOf } from "./nn.js";

const GRID = 13;            // arrows along a side
const COMPARED = 400;       // points of the chain that the moving ones are compared with
const BUDGET = 8;           // milliseconds of a frame for steps that are still to be computed, while it plays
const HASTE = 9;            // ... and on the way to a time that was asked for; painting takes the rest of the frame
const TAIL = 5;             // steps of the others' way that are drawn
const MOST_OWN = 30;
const MOST_TURNS = 12;
const ROUND = 20;           // for readers who ask for less motion: jumps of the whole way, one a second
const ARROW_KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// Half the side of a window that holds the chain's points at ᾱ = a and nearly all of the points x. reach: the data's farthest.
export function windowOf(x, a, reach) {
  const far = Float32Array.from({ length: x.length / 2 }, (_, i) => Math.max(Math.abs(x[2 * i]), Math.abs(x[2 * i + 1]))).sort();
  return Math.max(1.12 * Math.sqrt(a) * reach + 2.4 * Math.sqrt(1 - a), 1.06 * far[Math.floor(0.98 * (far.length - 1))]);
}

// Centres of GRID x GRID cells of a window, row by row from its lower left corner, (x, y) one after the other.
export function gridOf(half, side = GRID) {
  const at = i => ((2 * i + 1) / side - 1) * half, x = new Float32Array(2 * side * side);
  for (let r = 0, k = 0; r < side; r++) for (let c = 0; c < side; c++, k += 2) { x[k] = at(c); x[k + 1] = at(r); }
  return x;
}

// A schedule in words: whether the chain ends where sampling starts.
export function verdict(alphaBar, spread) {
  const a = alphaBar.at(-1), left = Math.sqrt(a), wide = Math.sqrt(a * spread ** 2 + 1 - a);
  if (left <= 0.1) return `The chain reaches noise: \u221a\u1fb1_T = ${figure(left, 4)}, and x_T is spread as N(0, I) is.`;
  return `The chain does not reach noise: \u221a\u1fb1_T = ${figure(left, 2)}. Its x_T has spread ${figure(wide, 2)}, but sampling starts at N(0, I), whose spread is 1.`;
}

// An arrow from (x, y) along (dx, dy), `length` pixels long, added to the canvas's path; a short one has no head.
function arrow(g, x, y, dx, dy, length) {
  const ex = x + dx, ey = y + dy, head = Math.min(4, 0.4 * length), ux = (dx / length) * head, uy = (dy / length) * head;
  g.moveTo(x, y); g.lineTo(ex, ey);
  if (length < 3) return;
  g.moveTo(ex - ux - 0.6 * uy, ey - uy + 0.6 * ux); g.lineTo(ex, ey); g.lineTo(ex - ux + 0.6 * uy, ey - uy - 0.6 * ux);
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const listen = (node, names, f) => { for (const name of names.split(" ")) node.addEventListener(name, f, { signal }); };
  const on = follower(model, signal), get = name => model.get(name);
  function save(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }
  const spec = get("network"), raw = bytesOf(get("raw")), count = get("count"), cloud = cloudOf(spec, raw, get("known"));
  const books = new Map(get("schedules").map(s => [s.name, s.alpha_bar])), T = get("schedules")[0].alpha_bar.length - 1;
  const net = denoiser(spec, raw, Math.max(count, GRID * GRID, MOST_OWN));
  const reach = cloud.reduce((most, v) => Math.max(most, Math.abs(v)), 0), dataSpread = spreadOf(cloud);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  let spent = 0;              // milliseconds of this frame in the network
  function asked(kind, x, n, a) { const begun = performance.now(), y = net[kind](x, n, a); spent += performance.now() - begun; return y; }

  // ------------------------------------------------------------------------------------------------------------- the run
  const alphaBar = () => books.get(get("schedule"));
  const legs = () => legsOf(get("start"), get("turns"), T), lastLeg = () => legs().at(-1);
  let all = null, own = null, known = {};   // the two flows, and what the present one was made of
  function follow() {
    const now = { schedule: get("schedule"), eta: get("eta"), seed: get("seed"), start: get("start"), turns: get("turns").join(" "), dropped: JSON.stringify(get("dropped")) };
    const same = names => names.every(name => known[name] === now[name]), run = ["schedule", "eta", "seed", "start"];
    const given = { alphaBar: alphaBar(), eps: (x, n, a) => asked("noise", x, n, a), legs: legs(), eta: now.eta, seed: now.seed };
    if (!same(run)) all = flow({ ...given, first: beginning(now.start, now.seed, T, cloud), n: count });
    else if (!same(["turns"])) all.turn(given.legs);
    if (!same([...run, "dropped"])) own = flow({ ...given, joins: get("dropped") });
    else if (!same(["turns"])) own.turn(given.legs);
    known = now;
  }

  // Where the run is shown: t, or between two times while it plays. `clock` is how far the last leg has come.
  let playing = false, clock = Math.abs(get("t") - lastLeg().from), before = 0, waiting = 0, rate = 0;
  const tOf = (leg, k) => leg.from + (leg.forward ? k : -k), ends = leg => Math.abs(leg.to - leg.from);
  // Go to a time of this run; going back over a turn takes it back, and what was dropped after it.
  function goto(t) {
    const turns = turnsUpTo(get("start"), get("turns"), t, T), kept = get("dropped").filter(p => p[3] <= turns.length);
    save({ turns, t, ...(kept.length < get("dropped").length ? { dropped: kept } : {}) });
  }
  function begin(start) {
    stop();
    save({ start, turns: [], t: start === "data" ? 0 : T, dropped: start === get("start") ? get("dropped").filter(p => p[3] === 0) : [] });
    say(start === "data" ? "From the data" : "From noise, N(0, I)");
  }
  // Turn around here. Where nothing has moved since the last turn, that one is taken back; a run that has not begun starts at
  // its other end.
  function head(forward) {
    const leg = lastLeg(), t = get("t"), turns = get("turns");
    if (leg.forward === forward) return;
    if (t === leg.from && !turns.length) begin(forward ? "data" : "noise");
    else if (t === leg.from) goToTurns(turns.slice(0, -1));
    else if (turns.length < MOST_TURNS) goToTurns([...turns, t]);
    else say("Enough turns: start anew");
    show();
  }
  const goToTurns = turns => save({ turns, dropped: get("dropped").filter(p => p[3] <= turns.length) });
  function onward(steps) {
    const leg = lastLeg(), k = Math.abs(get("t") - leg.from);
    save({ t: tOf(leg, k >= ends(leg) ? 0 : Math.min(ends(leg), k + steps)) });
  }
  function play() {
    const leg = lastLeg();
    if (Math.abs(get("t") - leg.from) >= ends(leg)) save({ t: leg.from });
    playing = true;
    before = 0;
    clock = Math.abs(get("t") - leg.from);
    rate = 0;
    if (calm()) turnOver(); else tick();
    showPlay();
  }
  function stop() {
    if (!playing) return;
    playing = false;
    cancelAnimationFrame(waiting); clearTimeout(waiting);
    clock = Math.abs(get("t") - lastLeg().from);
    showPlay();
    request();
    say(words());
  }
  function turnOver() {
    onward(Math.max(1, Math.round(T / ROUND)));
    clock = Math.abs(get("t") - lastLeg().from);
    request();
    if (clock >= ends(lastLeg())) stop(); else waiting = setTimeout(() => playing && turnOver(), 1000);
  }
  // Played, the points glide from one step to the next; t is the last step that they have passed.
  function tick() {
    waiting = requestAnimationFrame(now => {
      if (!playing) return;
      const leg = lastLeg(), passed = before ? Math.min(0.1, (now - before) / 1000) : 0;
      if (passed) rate = rate ? 0.9 * rate + 0.1 / passed : 1 / passed;
      before = now;
      follow();
      const wish = Math.min(ends(leg), clock + passed * get("speed")), end = performance.now() + BUDGET, place = legs().length - 1;
      let step = Math.floor(clock);
      while (step < Math.ceil(wish) && all.reach(place, step + 1, end) && own.reach(place, step + 1, end)) step += 1;
      clock = Math.min(wish, Math.max(step, Math.floor(clock)));
      const t = tOf(leg, Math.floor(clock + 1e-9));
      if (t !== get("t")) save({ t });
      draw();
      // A frame that had nothing to ask the network for the picture asks it for the step after next.
      if (spent === 0 && step + 1 < ends(leg)) { all.reach(place, Math.ceil(clock) + 1); own.reach(place, Math.ceil(clock) + 1); }
      if (clock >= ends(leg)) stop(); else tick();
    });
  }
  signal.addEventListener("abort", () => { playing = false; cancelAnimationFrame(waiting); clearTimeout(waiting); });

  // ------------------------------------------------------------------------------------------------------------ controls
  const button = (text, onclick, more = {}) => el("button", { type: "button", class: "gt-button", onclick, ...more }, text);
  const toggle = (text, name) => button(text, () => save({ [name]: !get(name) }), { class: "gt-button gt-toggle", "data-of": name });
  const plane = el("canvas", { class: "gt-plane", tabindex: 0, role: "application", "aria-roledescription": "plane of points" });
  const playButton = button("Play", () => (playing ? stop() : play()), { class: "gt-button gt-play", "aria-pressed": "false" });
  const stepButton = button("Step", () => { stop(); if (Math.abs(get("t") - lastLeg().from) < ends(lastLeg())) onward(1); else say("The end: turn around, or begin anew"); });
  const names = [...books.keys()].map(name => [name, name]);
  const schedules = choice({ label: "Schedule", options: names, value: get("schedule"), onchange: schedule => save({ schedule }) });
  const ways = choice({ label: "Direction", options: [["1", "add noise"], ["", "remove noise"]], value: lastLeg().forward ? "1" : "", onchange: way => { stop(); head(Boolean(way)); } });
  const fields = choice({ label: "Arrows", options: [["noise", "\u2212\u03b5"], ["step", "next step"], ["none", "none"]], value: get("arrows"), onchange: arrows => save({ arrows }) });
  const time = slider({ label: "t", min: 0, max: T, step: 1, value: get("t"), show: t => `${t} of ${T}`, oninput: t => { stop(); goto(t); } });
  const pace = slider({ label: "Speed", min: 0, max: 2, step: 0.1, value: Math.log10(get("speed")), show: v => `${Math.round(10 ** v)} steps/s`, oninput: v => save({ speed: 10 ** v }) });
  const luck = slider({ label: "\u03b7", min: 0, max: 1, step: 0.1, value: get("eta"), show: v => (v === 0 ? "0: DDIM" : v === 1 ? "1: DDPM" : number(v, 1)), oninput: eta => save({ eta }) });
  const clearButton = button("Remove mine", () => { save({ dropped: [] }); say("Your points are gone"); });
  const about = facts({ left: "data left, \u221a\u1fb1", added: "noise, \u221a(1 \u2212 \u1fb1)", spread: ["spread of points", "gt-learned"], chain: ["of the chain", "gt-data"], distance: ["distance to chain", "gt-learned"], chance: "by chance about" });
  const note = el("p", { class: "gt-note gt-verdict" }), hover = el("p", { class: "gt-note gt-hover" });
  const decay = chart({ label: "Share of the data left, square root of alpha bar, against t: point at a time to go there", height: 92, signal,
    x: { range: [0, T], ticks: 4 }, y: { range: [0, 1], ticks: [0, 0.5, 1] }, margin: { left: 28, right: 10, top: 6, bottom: 20 } });
  const others = decay.layer(svg("path", { class: "gt-curve gt-quiet gt-fine" }), () => others.node.setAttribute("d", [...books].filter(([name]) => name !== get("schedule")).map(([, a]) => pathOf(a)).join("")));
  const line = decay.curve({ class: "gt-data" }), cursor = decay.rule({ class: "gt-thin" }), spot = decay.dots({ radius: 4, class: "gt-data" });
  const pad = decay.pad({ oninput: ({ x }) => { stop(); goto(Math.round(x)); } });
  pad.node.setAttribute("aria-hidden", "true");  // the slider does the same
  const pathOf = a => a.map((v, t) => `${t ? "L" : "M"}${decay.x(t).toFixed(1)} ${decay.y(Math.sqrt(v)).toFixed(1)}`).join("");

  const key = (kind, text) => el("span", { class: `gt-swatch ${kind}` }, text), pointsKey = key("gt-learned gt-key-dot", "points on their way"), chainKey = key("gt-data gt-key-dot", "the chain at t");
  const arrowKey = key("gt-key-arrow", ""), ownKey = key("gt-key-dot gt-key-own", "yours");
  const panel = (name, ...children) => el("div", { class: `gt-panel gt-in-${name}` }, ...children);
  const root = el("div", { class: "gentut-widget gentut-diffusion-field", role: "group", "aria-label": "Diffusion of points in the plane" },
    el("div", { class: "gt-board" },
      panel("stage",
        el("div", { class: "gt-row" }, button("From data", () => begin("data")), button("From noise", () => begin("noise"), { title: "Points drawn from N(0, I), at t = T" }),
          button("Other draws", () => { stop(); save({ seed: (get("seed") + 1) % 2147483647 }); })),
        el("div", { class: "gt-square" }, plane),
        el("div", { class: "gt-legend-row" }, pointsKey, chainKey, ownKey, arrowKey), hover),
      panel("time", el("div", { class: "gt-row gt-reel" }, el("span", { class: "gt-row" }, stepButton, playButton), ways), time.node),
      panel("set", schedules, note, el("div", {}, el("p", { class: "gt-muted" }, "\u221a\u1fb1 against t: how much of the data is left"), decay.node), about.node, el("div", { class: "gt-sliders" }, luck.node, pace.node), fields,
        el("div", { class: "gt-row" }, toggle("Trails", "trails"), toggle("Zoom with t", "zoom"), clearButton))),
    live);

  // ---------------------------------------------------------------------------------------------------------- the reader
  let pen = null, pointed = null;   // the keyboard's cursor and the place under the mouse, both as shares of the window in [-1, 1]
  let half = 1, size = 0;
  const shareOf = event => { const box = plane.getBoundingClientRect(); return [((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2]; };
  function drop(share) {
    const t = get("t"), leg = get("turns").length, point = [...share.map(v => Number((v * half).toPrecision(6))), t, leg];
    save({ dropped: [...get("dropped"), point].slice(-MOST_OWN) });
    const end = Math.abs(t - lastLeg().from) >= ends(lastLeg());
    say(`Dropped at ${point.slice(0, 2).map(v => figure(v, 2)).join(", ")}, t = ${t}${end ? "; turn around to see it move" : ""}`);
  }
  listen(plane, "click", event => { if (event.detail !== 0) drop(shareOf(event)); });
  listen(plane, "pointermove", event => { if (event.pointerType === "mouse") { pointed = shareOf(event); request(); } });
  listen(plane, "pointerleave blur", () => { pointed = null; request(); });
  listen(plane, "blur", () => { pen = null; request(); });
  listen(plane, "keydown", event => {
    const way = ARROW_KEYS[event.key];
    if (way) {
      const far = event.shiftKey ? 0.2 : 0.04;
      pen = (pen ?? [0, 0]).map((v, i) => clamp(v + far * way[i], -1, 1));
      request();
    } else if (event.key === "Enter" || event.key === " ") { pen ??= [0, 0]; drop(pen); }
    else if (event.key === "Delete" || event.key === "Backspace") { save({ dropped: get("dropped").slice(0, -1) }); say("The last of your points is gone"); }
    else if (event.key === "Escape" && pen) { pen = null; request(); }
    else return;
    event.preventDefault();
  });

  // -------------------------------------------------------------------------------------------------------------- a frame
  let colours = {}, field = {}, measured = {};
  // The chain's points at any ᾱ: data and noise that stay the same, so that the cloud glides too.
  const reference = Math.min(COMPARED, cloud.length / 2), fixed = draws(7919, 0, 0, reference), chosen = Float32Array.from({ length: 2 * reference }, (_, i) => cloud[2 * Math.floor(((i >> 1) * cloud.length) / 2 / reference) + (i & 1)]);
  const chainAt = a => { const keep = Math.sqrt(a), add = Math.sqrt(1 - a); return chosen.map((v, i) => keep * v + add * fixed[i]); };
  const mixed = (a, b, part) => (part ? a.map((v, i) => v + part * (b[i] - v)) : a);

  // What the arrows show at a time: directions on the grid of a window, and the length that a long one has. Recomputed where
  // the time, the window or the schedule is another.
  function fieldAt(t, wide) {
    const kind = get("arrows"), a = alphaBar()[t];
    if (kind === "none" || t === 0) return null;
    const name = `${kind} ${get("schedule")} ${t} ${wide.toPrecision(5)}`;
    if (field.name === name) return field;
    const places = gridOf(wide), eps = asked("noise", places, GRID * GRID, a);
    if (kind === "noise") return (field = { name, along: eps.map(v => -v), unit: 2.2 });
    const s = alphaBar()[t - 1], x0 = Math.sqrt(s / a), add = Math.sqrt(1 - s) - Math.sqrt(((1 - a) * s) / a);
    const along = places.map((v, i) => (x0 - 1) * v + add * eps[i]), lengths = Float32Array.from({ length: GRID * GRID }, (_, i) => Math.hypot(along[2 * i], along[2 * i + 1])).sort();
    return (field = { name, along, unit: Math.max(1e-9, lengths[Math.floor(0.9 * lengths.length)]) });
  }
  function measureAt(leg, k, x, t) {
    const name = `${get("schedule")} ${get("seed")} ${get("eta")} ${get("start")} ${get("turns")} ${leg} ${k}`;
    if (measured.name !== name) measured = { name, ...energyDistance(x, chainAt(alphaBar()[t])), spread: spreadOf(x) };
    return measured;
  }

  // t: the time whose arrows are drawn, 0 for none.
  function paint(x, mine, place, t, a, wide) {
    const g = plane.getContext("2d"), w = (size = plane.clientWidth);
    if (!w) return;
    const px = v => ((v / wide + 1) * w) / 2, py = v => ((1 - v / wide) * w) / 2, big = clamp(w / 190, 1.5, 2.4), { forward } = legs()[place.leg];
    g.clearRect(0, 0, w, w);
    g.lineWidth = 1; g.strokeStyle = css(colours.line); g.fillStyle = css(colours.muted); g.font = "11px system-ui, sans-serif";
    const marks = ticks(-wide, wide, 4);
    g.beginPath();
    for (const v of marks) { const p = Math.round(px(v)) + 0.5, q = Math.round(py(v)) + 0.5; g.moveTo(p, 0); g.lineTo(p, w); g.moveTo(0, q); g.lineTo(w, q); }
    g.stroke();
    const dots = (points, r, fill, edge) => {
      g.beginPath();
      for (let i = 0; i < points.length; i += 2) if (!Number.isNaN(points[i])) { const p = px(points[i]), q = py(points[i + 1]); g.moveTo(p + r, q); g.arc(p, q, r, 0, 7); }
      if (edge) { g.strokeStyle = edge; g.lineWidth = 2; g.stroke(); }
      g.fillStyle = fill; g.fill();
    };
    if (!forward) dots(chainAt(a), 0.75 * big, css(colours.data, 0.6));
    if (get("trails")) trails(all, place, x, TAIL, css(forward ? colours.data : colours.learned, 0.25), 1);
    trails(own, place, mine, Infinity, css(colours.ink, 0.8), 1.6);
    dots(x, big, css(forward ? colours.data : colours.learned, 0.9));
    const shown = fieldAt(t, wide), cell = w / GRID;
    if (shown) {
      g.beginPath();
      for (let i = 0, k = 0; i < GRID * GRID; i++, k += 2) {
        const u = shown.along[k], v = shown.along[k + 1], length = Math.hypot(u, v);
        if (!(length > 0)) continue;
        const far = 0.86 * cell * Math.min(1, length / shown.unit), [du, dv] = [(u / length) * far, (-v / length) * far];
        arrow(g, ((i % GRID) + 0.5) * cell - du / 2, w - (Math.floor(i / GRID) + 0.5) * cell - dv / 2, du, dv, far);
      }
      g.strokeStyle = css(colours.ink, 0.55); g.lineWidth = 1.1; g.lineJoin = "round"; g.stroke();
    }
    dots(mine, 1.9 * big, css(colours.ink), css(colours.paper));
    // Labels of the axes, each on paper so that no point runs into it.
    const label = (text, p, q, align) => { g.textAlign = align; g.lineWidth = 3; g.strokeStyle = css(colours.paper); g.strokeText(text, p, q); g.fillStyle = css(colours.muted); g.fillText(text, p, q); };
    for (const v of marks) {
      const p = px(v), q = py(v), text = String(v).replace("-", "\u2212");
      if (p > 30 && p < w - 14) label(text, p, w - 5, "center");
      if (q > 14 && q < w - 22) label(text, 4, q + 4, "left");
    }
    glance(g, px, py, a, wide);
  }
  function trails(of, { leg, k }, x, tail, ink, thick) {
    const path = [], first = Math.max(0, Math.floor(k) - tail), lowest = tail === Infinity ? 0 : leg;
    for (let l = lowest; l <= leg; l++) for (let s = l < leg ? 0 : first; s <= (l < leg ? ends(legs()[l]) : Math.floor(k)); s++) { const at = of.at(l, s); if (at) path.push(at); }
    path.push(x);
    const g = plane.getContext("2d"), w = size;
    g.beginPath();
    for (let i = 0; i < 2 * of.n; i += 2) {
      let drawn = false;
      for (const at of path) {
        if (Number.isNaN(at[i])) continue;
        const p = ((at[i] / half + 1) * w) / 2, q = ((1 - at[i + 1] / half) * w) / 2;
        if (drawn) g.lineTo(p, q); else g.moveTo(p, q);
        drawn = true;
      }
    }
    g.strokeStyle = ink; g.lineWidth = thick; g.lineJoin = "round"; g.stroke();
  }
  // Under the pointer, or under the keyboard's cursor: where the network takes a point there to have come from.
  function glance(g, px, py, a, wide) {
    const share = pen ?? pointed;
    hover.textContent = "\u00a0";
    delete root.dataset.glance;
    if (!share) return;
    const [x, y] = share.map(v => v * wide), p = px(x), q = py(y);
    if (pen) { g.strokeStyle = css(colours.accent); g.lineWidth = 2; g.beginPath(); g.moveTo(p - 9, q); g.lineTo(p + 9, q); g.moveTo(p, q - 9); g.lineTo(p, q + 9); g.stroke(); }
    if (a === 1) return;
    const [u, v] = asked("origin", [x, y], 1, a);
    g.strokeStyle = css(colours.accent); g.lineWidth = 1.6; g.setLineDash([4, 3]);
    g.beginPath(); g.moveTo(p, q); g.lineTo(px(u), py(v)); g.stroke();
    g.setLineDash([]);
    g.beginPath(); g.arc(px(u), py(v), 4.5, 0, 7); g.lineWidth = 2; g.stroke();
    hover.textContent = `ring: x\u2080 as guessed from here, (${figure(u, 2)}, ${figure(v, 2)})`;
    root.dataset.glance = [x, y, u, v].join(" ");
  }

  const words = () => {
    const leg = lastLeg(), t = get("t");
    return `t = ${t} of ${T}, ${leg.forward ? "adding" : "removing"} noise; spread ${figure(measured.spread ?? 0, 2)}, distance to the chain ${figure(measured.value ?? 0)}`;
  };
  function draw() {
    if (!root.clientWidth) return;
    const started = performance.now();
    spent = 0;
    follow();
    const path = legs(), last = path.length - 1, leg = path[last];
    if (!playing) clock = Math.abs(get("t") - leg.from);
    const low = Math.floor(clock + 1e-9), up = Math.ceil(clock - 1e-9), until = started + (playing ? BUDGET : HASTE), done = all.reach(last, up, until) && own.reach(last, up, until);
    const place = done ? { leg: last, k: clock } : all.far, k = done ? low : place.k, now = path[place.leg];
    if (!done) own.reach(place.leg, place.k);
    const part = done ? clock - low : 0, end = done ? up : k, t = tOf(now, k), next = tOf(now, end), a = alphaBar()[t] + part * (alphaBar()[next] - alphaBar()[t]);
    const at = all.at(place.leg, k), x = mixed(at, all.at(place.leg, end), part), mine = mixedOwn(own.at(place.leg, k), own.at(place.leg, end), part);
    const numbers = done || !measured.name ? measureAt(place.leg, k, at, t) : measured, wide = s => windowOf(all.at(place.leg, s), alphaBar()[tOf(now, s)], reach);
    const base = wide(k) + part * (wide(end) - wide(k)), farthest = mine.reduce((most, v) => (Math.abs(v) > most ? Math.abs(v) : most), 0);
    half = get("zoom") ? Math.max(base, Math.min(1.06 * farthest, 1.3 * base)) : get("scale");  // the reader's own points, too, if they are near
    paint(x, mine, place, done ? t : 0, a, half);  // no arrows on the way: the steps need the time

    const chain = Math.sqrt(alphaBar()[t] * dataSpread ** 2 + 1 - alphaBar()[t]);
    if (done || playing) time.put(t);  // on the way the slider stays where the reader put it: the next key counts from there
    cursor.set(t); spot.set([[t, Math.sqrt(alphaBar()[t])]]);
    about.put("left", figure(Math.sqrt(alphaBar()[t]))); about.put("added", figure(Math.sqrt(1 - alphaBar()[t])));
    about.put("spread", figure(numbers.spread)); about.put("chain", figure(chain));
    about.put("distance", figure(numbers.value, 4)); about.put("chance", figure(numbers.chance, 4));
    Object.assign(root.dataset, { t, leg: place.leg, forward: Number(now.forward), start: get("start"), turns: get("turns").join(" "), schedule: get("schedule"), eta: get("eta"), seed: get("seed"),
      left: Math.sqrt(alphaBar()[t]), spread: numbers.spread, chain, distance: numbers.value, chance: numbers.chance, half, arrows: get("arrows"), playing: Number(playing), reached: Number(done),
      first: Array.from(at.slice(0, 12), v => v.toFixed(6)).join(" "), own: Array.from(mine, v => (Number.isNaN(v) ? "NaN" : v.toFixed(6))).join(" "), fps: rate.toFixed(1), net: spent.toFixed(2) });
    root.dataset.ms = (performance.now() - started).toFixed(2);
    if (!done) request();
  }
  const mixedOwn = (a, b, part) => (a ? a.map((v, i) => (Number.isNaN(v) || !part || Number.isNaN(b[i]) ? v : v + part * (b[i] - v))) : new Float32Array());
  const request = frames(draw, signal);

  function showPlay() {
    playButton.textContent = playing ? "Pause" : "Play";
    playButton.setAttribute("aria-pressed", String(playing));
  }
  // What the controls say, wherever a change came from.
  function show() {
    const { forward } = lastLeg();
    for (const input of ways.querySelectorAll("input")) input.checked = Boolean(input.value) === forward;
    for (const input of schedules.querySelectorAll("input")) input.checked = input.value === get("schedule");
    for (const input of fields.querySelectorAll("input")) input.checked = input.value === get("arrows");
    for (const node of root.querySelectorAll(".gt-toggle")) node.setAttribute("aria-pressed", String(get(node.dataset.of)));
    pace.put(Math.log10(get("speed"))); luck.put(get("eta"));
    note.textContent = verdict(alphaBar(), dataSpread);
    line.set(alphaBar().map((a, t) => [t, Math.sqrt(a)]));
    others.paint();
    pointsKey.className = `gt-swatch gt-key-dot ${forward ? "gt-data" : "gt-learned"}`;
    chainKey.hidden = forward;
    root.classList.toggle("gt-onward", forward);
    ownKey.hidden = clearButton.disabled = !get("dropped").length;
    arrowKey.hidden = get("arrows") === "none";
    arrowKey.textContent = get("arrows") === "step" ? "next step (DDIM)" : "noise to remove, \u2212\u03b5";
    plane.setAttribute("aria-label", `Plane of points, ${forward ? "adding" : "removing"} noise. Arrow keys move a cursor, with Shift faster; Enter drops a point of your own, Delete takes the last one away.`);
  }
  function recolour() {
    for (const [name, variable] of Object.entries({ ink: "--ink", paper: "--paper", muted: "--muted", line: "--line", accent: "--accent", data: "--c-data", learned: "--c-learned" })) colours[name] = colour(root, variable);
    request();
  }
  on("change:t", () => { if (!playing) { request(); say(words()); } });
  for (const name of ["start", "turns", "schedule", "eta", "seed", "dropped", "arrows", "trails", "zoom", "scale", "speed"]) on(`change:${name}`, () => { show(); request(); });
  for (const name of ["start", "turns"]) on(`change:${name}`, stop);  // a run that was changed from outside
  on("change:schedule", () => say(verdict(alphaBar(), dataSpread)));

  host.append(root);
  sharp(plane, draw, signal);
  recolour();
  watchTheme(recolour, signal);
  show();
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
