// ReverseDiffusion: a U-Net in the page paints a digit out of noise; a film strip keeps every step.
import { bytesOf } from "./nn.js";
import { announcer, choice, clamp, colour, el, follower, frames, number, picture, slider, watchTheme } from "./common.js";
import { facts } from "./plot.js";
import { film, reverse, timesteps, unet } from "./ddpm-unet.js";

const BUDGET = 10;      // ms of a frame that the network may take
const PACE = 80;        // ms a step when it plays
const CALM = 1000;      // where readers ask for less motion
const STEPS = [5, 10, 20, 50];
const LARGEST = 2147483647;

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal), get = name => model.get(name);
  const put = changes => { for (const [name, value] of Object.entries(changes)) model.set(name, value); };
  const save = changes => { put(changes); model.save_changes(); };
  const net = unet(get("network"), bytesOf(get("weights"))), { T, classes, guided } = get("network");
  const alphaBar = new Float64Array(bytesOf(get("alpha_bar")).slice().buffer);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ---- painting, a part of the network at a time ---------------------------------------------------------------------
  // reel: the frames so far. After most changes those of the picture before stay, pale, until new ones take their place.
  // work: what is still to be done; later: something was changed meanwhile.
  let reel = film(get("steps")), times = [], work = null, later = false, old = false, busy = 0, painted = 0, first = true;
  function begin(keep) {
    const steps = get("steps");
    old = keep && (old || painted > steps);
    if (!cells.length || steps !== times.length - 1) { reel = film(steps); lay(steps); old = false; }
    Object.assign(reel, { done: 0, calls: 0 });
    painted = busy = 0;
    later = false;
    const wanted = Object.fromEntries(["label", "guidance", "steps", "eta", "seed"].map(name => [name, get(name)]));
    work = reverse(net, alphaBar, wanted, reel, (k, calls) => { reel.done = k + 1; reel.calls += calls; });
    request();
  }
  function onward(until) {
    let now = performance.now();
    while (work && now < until) {
      const { done } = work.next(), after = performance.now();
      busy += after - now;
      now = after;
      if (done) work = null;
    }
    for (; painted < reel.done; painted++) paintCell(painted);
    if (work) return;
    if (later) return begin(true);
    old = false;
    const last = reel.x0.subarray(784 * get("steps")), grey = Array.from(last, v => Math.round(5000 * (v + 1)) / 10000);  // four decimals
    if (get("picture").length !== 784 || grey.some((v, i) => v !== get("picture")[i])) save({ picture: grey });
    if (!playing && !first) say(finished());
    first = false;
  }
  // A slider that is being dragged waits for the picture under way: else none would ever be finished.
  const soon = () => { if (work) later = true; else begin(true); };

  // ---- the place on the strip ----------------------------------------------------------------------------------------
  let playing = false, since = 0;
  const at = () => Math.round(get("position") * get("steps"));
  const shown = () => (old ? at() : Math.min(at(), reel.done - 1));
  const stale = k => k >= reel.done;
  function go(k) {
    stop();
    const steps = get("steps"), to = clamp(k, 0, steps);
    save({ position: to / steps });
    say(where(to));
  }
  function play() {
    if (at() >= get("steps")) put({ position: 0 });
    playing = true;
    since = performance.now();
    request();
  }
  function stop() { if (playing) { playing = false; save({}); request(); } }
  function advance(now) {
    const each = calm() ? CALM : PACE, steps = get("steps");
    if (now - since < each || at() >= reel.done - 1) return;
    since = Math.max(since + each, now - each);
    put({ position: (at() + 1) / steps });
    if (at() === steps) { stop(); say(finished()); }
  }
  function anew(seed) {
    const quiet = calm();
    stop();
    save({ seed, position: quiet ? 1 : 0 });
    if (!quiet) play();
  }

  // ---- words ---------------------------------------------------------------------------------------------------------
  const where = k => (k === get("steps") ? "the finished digit, t = 0" : `step ${k} of ${get("steps")}, t = ${times[k]}`);
  const asked = () => (!classes ? "" : get("label") < 0 ? "told no label" : `told ${get("label")}, guidance ${number(get("guidance"), 1)}`);
  const finished = () => `A digit is finished: ${asked() ? `${asked()}, ` : ""}${get("steps")} steps, seed ${get("seed")}`;

  // ---- the page ------------------------------------------------------------------------------------------------------
  const sub = (text, below, after = "") => el("span", {}, text, el("sub", {}, below), after);
  const button = (text, onclick, extra = {}) => el("button", { type: "button", class: "gt-button", onclick, ...extra }, text);
  const canvas = (name, label) => el("canvas", { class: `gt-${name}`, width: 28, height: 28, role: "img", "aria-label": label });
  const panel = (name, ...children) => el("div", { class: `gt-panel gt-in-${name}` }, ...children);
  const noisy = canvas("noisy", "The noisy picture that the network is given"), guess = canvas("guess", "The network's guess of the finished digit");
  const about = facts({ t: "time t", signal: ["picture, \u221a\u1fb1", "gt-data"], noise: ["noise, \u221a(1 \u2212 \u1fb1)", "gt-noise"], calls: "network calls", speed: "ms a call", all: "seconds in all" });
  const run = button("Play", () => (playing ? stop() : play()), { class: "gt-button gt-play", "aria-pressed": "false" });
  const back = button("\u2039", () => go(at() - 1), { "aria-label": "One step back to the noise" });
  const forth = button("\u203a", () => go(at() + 1), { "aria-label": "One step on to the digit" });
  const seed = el("input", { type: "number", class: "gt-seed", min: 0, max: LARGEST, step: 1, "aria-label": "Seed of the noise", onblur: () => request(), onchange: () => {
    const wanted = seed.valueAsNumber;
    if (Number.isInteger(wanted) && wanted >= 0 && wanted <= LARGEST) anew(wanted); else seed.value = get("seed");
  } });
  const fresh = button("New noise", () => anew((get("seed") + 1) % (LARGEST + 1)));

  let cells = [], grip = false;
  const strip = el("div", { class: "gt-strip", role: "slider", tabindex: 0, "aria-label": "Step", "aria-valuemin": 0 });
  function lay(steps) {
    times = [...timesteps(T, steps), 0];
    cells = times.map(() => el("canvas", { class: "gt-cell", width: 28, height: 57, "aria-hidden": "true" }));
    strip.style.setProperty("--narrow", Math.min(steps + 1, 11));
    strip.style.setProperty("--wide", steps < 21 ? steps + 1 : 17);
    strip.setAttribute("aria-valuemax", steps);
    strip.replaceChildren(...cells);
  }
  const point = event => {
    const k = cells.indexOf(strip.getRootNode().elementFromPoint(event.clientX, event.clientY));
    if (k >= 0 && k !== at()) go(k);
  };
  strip.addEventListener("pointerdown", event => {
    if (event.button) return;
    grip = true;
    strip.setPointerCapture(event.pointerId);
    point(event);
  });
  strip.addEventListener("pointermove", event => { if (grip) point(event); });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) strip.addEventListener(name, () => { grip = false; });
  strip.addEventListener("keydown", event => {
    const steps = get("steps"), far = Math.max(1, Math.round(steps / 5));
    const to = { ArrowRight: at() + 1, ArrowUp: at() + 1, ArrowLeft: at() - 1, ArrowDown: at() - 1, PageUp: at() + far, PageDown: at() - far, Home: 0, End: steps }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });

  const digits = classes ? choice({ label: "Digit", options: [...Array.from({ length: classes }, (_, k) => [String(k), String(k)]), ["-1", "any"]],
    value: String(get("label")), onchange: key => save({ label: Number(key) }) }) : null;
  digits?.classList.add("gt-digits");
  const weight = slider({ label: "Guidance w", min: 0, max: 4, step: 0.1, value: get("guidance"), show: v => number(v, 1), oninput: guidance => save({ guidance }) });
  const extra = slider({ label: "Noise \u03b7", min: 0, max: 1, step: 0.05, value: get("eta"), show: v => (v === 0 ? "0: DDIM" : v === 1 ? "1: DDPM" : number(v, 2)), oninput: eta => save({ eta }) });
  const many = choice({ label: "Steps", options: STEPS.filter(n => n <= T).map(n => [String(n), String(n)]), value: String(get("steps")), onchange: key => save({ steps: Number(key) }) });
  const hint = el("p", { class: "gt-muted gt-told" });

  const root = el("div", { class: "gentut-widget gentut-reverse-diffusion", role: "group", "aria-label": "A digit painted out of noise, step by step" },
    el("div", { class: "gt-board" },
      panel("noisy", el("p", { class: "gt-title" }, sub("Noisy x", "t")), el("div", { class: "gt-square" }, noisy)),
      panel("guess", el("p", { class: "gt-title" }, sub("Guess of x", "0")), el("div", { class: "gt-square" }, guess)),
      panel("facts", about.node),
      panel("play", el("div", { class: "gt-row" }, run, back, forth), el("div", { class: "gt-row" }, el("span", { class: "gt-muted" }, "seed"), seed, fresh)),
      panel("strip", el("p", { class: "gt-title" }, "Every step", el("span", { class: "gt-key" }, sub("above: x", "t", ","), " ", sub("below: the guess of x", "0"))), strip),
      panel("how", digits, el("div", { class: "gt-sliders" }, classes ? weight.node : null, extra.node), many, classes ? hint : null)),
    live);

  // ---- a frame -------------------------------------------------------------------------------------------------------
  const image = new ImageData(28, 28), grey = new Float32Array(784);
  let ink = [0, 0, 0];
  // Pictures of [-1, 1] as ink; what lies beyond, as noise does, is all ink or none.
  const paint = (node, values, start, top = 0) => {
    for (let i = 0; i < 784; i++) grey[i] = (values[start + i] + 1) / 2;
    node.getContext("2d").putImageData(picture(grey, 0, ink, image), 0, top);
  };
  function paintCell(k) {
    paint(cells[k], reel.x, 784 * k);
    paint(cells[k], reel.x0, 784 * k, 29);
  }
  function draw() {
    if (!root.isConnected) return;
    const started = performance.now();
    if (work) onward(started + BUDGET);
    if (playing) advance(started);
    const steps = get("steps"), k = shown(), t = times[Math.max(0, k)], a = alphaBar[t], settled = !work;
    if (k >= 0) { paint(noisy, reel.x, 784 * k); paint(guess, reel.x0, 784 * k); }
    for (const node of [noisy, guess]) node.classList.toggle("gt-stale", k >= 0 && stale(k));
    cells.forEach((cell, i) => { cell.classList.toggle("gt-here", i === k); cell.classList.toggle("gt-stale", stale(i)); });
    strip.setAttribute("aria-valuenow", Math.max(0, k));
    strip.setAttribute("aria-valuetext", where(Math.max(0, k)));
    const call = reel.calls ? busy / reel.calls : 0;
    about.put("t", `${t} of ${T}`);
    about.put("signal", number(Math.sqrt(a), 3));
    about.put("noise", number(Math.sqrt(1 - a), 3));
    about.put("calls", String(reel.calls));
    about.put("speed", settled ? number(call, 1) : "\u2026");
    about.put("all", settled ? number(busy / 1000, 2) : "\u2026");
    run.textContent = playing ? "Pause" : "Play";
    run.setAttribute("aria-pressed", String(playing));
    back.disabled = at() === 0;
    forth.disabled = at() === steps;
    if (seed.getRootNode().activeElement !== seed) seed.value = get("seed");  // a reader who is typing is left alone
    const free = get("label") < 0;
    weight.node.querySelector("input").disabled = free;
    hint.textContent = free ? "Told no digit, the network paints any; guidance needs one."
      : `Each step asks the network ${get("guidance") ? "twice, with the digit and without" : "once"}.${guided ? ` Training has built in guidance of w = ${number(guided, 2)}; the slider's comes on top.` : ""}`;
    Object.assign(root.dataset, { step: k, steps, t, label: get("label"), guidance: get("guidance").toFixed(4), eta: get("eta").toFixed(4), seed: get("seed"), done: reel.done,
      settled: Number(settled), playing: Number(playing), calls: reel.calls, call: call.toFixed(3), digit: busy.toFixed(2), ms: (performance.now() - started).toFixed(2) });
    if (work || playing) request();
  }
  const request = frames(draw, signal);
  function recolour() {
    ink = colour(root, "--ink");
    for (let k = 0; k < painted; k++) paintCell(k);
    request();
  }

  const mark = (node, name) => { for (const input of node?.querySelectorAll("input") ?? []) input.checked = input.value === String(get(name)); };
  on("change:label", () => { mark(digits, "label"); begin(true); });
  on("change:steps", () => { mark(many, "steps"); begin(false); });
  on("change:seed", () => begin(calm()));
  on("change:guidance", () => { weight.put(get("guidance")); if (get("label") >= 0) soon(); });
  on("change:eta", () => { extra.put(get("eta")); soon(); });
  on("change:position", request);

  host.append(root);
  ink = colour(root, "--ink");
  begin(false);
  watchTheme(recolour, signal);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
