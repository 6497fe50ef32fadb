// LatentWalk: a generator in the page, along a path between two z and wherever the sliders of its latents lead.
import { bytesOf, network } from "./nn.js";
import { announcer, choice, clamp, colour, el, follower, frames, number, picture, slider, watchTheme } from "./common.js";
import { chart, facts, player } from "./plot.js";
import { between, drawn, norm, shorter } from "./gan-maths.js";

const FRAMES = 8;         // pictures of a film strip
const BUDGET = 10;        // ms of a frame that the strips may take
const PATHS = [["spherical", "spherical"], ["straight", "straight"]];
const REACH = 4;          // the sliders go from -4 to 4
const FOUR_SECONDS = 200; // steps of 20 ms from A to B

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal), get = name => model.get(name);
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }

  const generator = network(get("network"), bytesOf(get("weights"))), latent = generator.inputs;
  const [low, , high] = get("usual");
  const values = new Float32Array(784);
  // The picture of z in [0, 1]; the generator's tanh gives [-1, 1].
  function decode(z) {
    const given = generator.forward(Float32Array.from(z));
    for (let i = 0; i < 784; i++) values[i] = (given[i] + 1) / 2;
    return values;
  }
  let colours = {};

  // ---- z: on the path, or where the sliders have led -----------------------------------------------------------------
  const onPath = (t = get("position"), path = get("path")) => between(get("z_a"), get("z_b"), t, path);
  const near = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < 1e-6);
  const isOn = () => near(get("z"), onPath());
  const walk = (changes, a = get("z_a"), b = get("z_b")) => {
    const { position = get("position"), path = get("path") } = changes;
    save({ ...changes, z: between(a, b, position, path) });
  };
  const go = position => walk({ position });
  const take = (end, seed, position = get("position")) => {
    const z = drawn(seed, latent), own = { [`seed_${end}`]: seed, [`z_${end}`]: z, position };
    walk(own, own.z_a, own.z_b);
  };
  const fresh = () => (Math.max(get("seed_a"), get("seed_b"), 0) + 1) % 2147483647;
  // The big picture's z becomes an end of the path.
  const keep = end => save({ [`seed_${end}`]: -1, [`z_${end}`]: [...get("z")], position: end === "a" ? 0 : 1 });
  function walkOn() {
    const seed = fresh(), a = get("z_b"), b = drawn(seed, latent);
    walk({ seed_a: get("seed_b"), z_a: a, seed_b: seed, z_b: b, position: 0 }, a, b);
  }
  let direction = drawn(0, latent);         // where a z that was shortened to 0 comes back
  function stretch(length) {
    const z = get("z"), now = norm(z);
    if (now > 1e-9) direction = z.map(v => v / now);
    save({ z: direction.map(v => v * length) });
  }

  // ---- the page ------------------------------------------------------------------------------------------------------
  const button = (text, onclick, extra = {}) => el("button", { type: "button", class: "gt-button", onclick, ...extra }, text);
  const canvas = (name, label) => el("canvas", { class: `gt-${name}`, width: 28, height: 28, role: "img", "aria-label": label });
  const panel = (name, ...children) => el("div", { class: `gt-panel gt-in-${name}` }, ...children);
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  const percent = t => `${Math.round(100 * t)} %`;
  const now = canvas("now", "Picture generated from z");
  const where = el("p", { class: "gt-note gt-where" });
  const about = facts({ norm: ["length |z|", "gt-learned"], shorter: "longer than", usual: "usual (95 %)" });

  const way = slider({ label: "A to B", min: 0, max: 1, step: 0.01, value: get("position"), show: percent, oninput: t => { steps.stop(); go(t); } });
  const steps = player({ step: onward, stepText: "Step", interval: 20, signal });
  // Played, the walk takes four seconds; a press of "Step", and readers who ask for less motion, go from frame to frame.
  function onward() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches, t = get("position"), each = 1 / (FRAMES - 1);
    const next = steps.playing && !calm ? t + 1 / FOUR_SECONDS : (Math.floor(t / each + 1e-6) + 1) * each;
    go(t >= 1 ? 0 : Math.min(1, next > 1 - 1e-9 ? 1 : next));
    return get("position") < 1;
  }
  const paths = choice({ label: "Path", options: PATHS, value: get("path"), onchange: path => walk({ path }) });
  const most = Math.ceil(Math.max(high, norm(get("z_a")), norm(get("z_b"))) * 1.25);
  const lengths = chart({ x: { range: [0, 1], ticks: [[0, "A"], [1, "B"]] }, y: { range: [0, most], ticks: 4, label: "length |z|" }, height: 150,
    label: "Length of z along the two paths", signal });
  const band = lengths.area({ class: "gt-quiet" }), note = lengths.words({ class: "gt-truth" });
  const curves = Object.fromEntries(PATHS.map(([path]) => [path, lengths.curve()]));
  const dot = lengths.dots({ radius: 6, class: "gt-learned" });
  const lineKeys = el("div", { class: "gt-legend-row gt-muted" }, el("span", { class: "gt-line gt-line-on" }, "path taken"), el("span", { class: "gt-line gt-line-off" }, "other path"));

  const strips = PATHS.map(([path, title]) => {
    const pictures = Array.from({ length: FRAMES }, (_, i) => el("canvas", { class: `gt-frame-${path}`, width: 28, height: 28, "aria-hidden": "true" }));
    const buttons = pictures.map((each, i) => {
      const node = button("", () => { steps.stop(); walk({ path, position: i / (FRAMES - 1) }); }, { class: "gt-button gt-frame", "aria-label": `${title} path, ${percent(i / (FRAMES - 1))}` });
      node.append(each);
      return node;
    });
    const node = el("div", { class: "gt-strip", role: "group", "aria-label": `Pictures along the ${title} path` }, el("span", { class: "gt-strip-name" }, title), ...buttons);
    return { path, pictures, buttons, node };
  });
  const ends = Object.fromEntries(["a", "b"].map(end => {
    const name = end.toUpperCase();
    const input = el("input", { type: "number", class: "gt-seed", min: 0, max: 2147483647, step: 1, "aria-label": `Seed of ${name}`,
      onchange: () => {
        const seed = input.valueAsNumber;
        if (Number.isInteger(seed) && seed >= 0 && seed <= 2147483647) take(end, seed); else fill(end);
      } });
    const node = el("div", { class: `gt-row gt-end-${end}` }, el("b", {}, name), el("span", { class: "gt-muted" }, "seed"), input,
      button("New", () => take(end, fresh()), { "aria-label": `New ${name}` }));
    return [end, { input, node }];
  }));
  const fill = end => { const seed = get(`seed_${end}`); ends[end].input.value = seed < 0 ? "" : seed; ends[end].input.placeholder = seed < 0 ? "yours" : ""; };
  const onButton = button("Walk on", walkOn, { title: "B becomes A, and a new B is drawn" });

  const sliders = Array.from({ length: latent }, (_, i) => slider({ label: `z${i + 1}`, min: -REACH, max: REACH, step: 0.05, value: get("z")[i], show: v => number(v, 2),
    oninput: v => { steps.stop(); save({ z: get("z").map((old, k) => (k === i ? v : old)) }); } }));
  const long = slider({ label: "Length", min: 0, max: Math.min(most, 10), step: 0.05, value: norm(get("z")), show: v => number(v, 2), oninput: v => { steps.stop(); stretch(v); } });
  const back = button("Back to the path", () => go(get("position")));
  const asA = button("Use as A", () => keep("a")), asB = button("Use as B", () => keep("b"));

  const root = el("div", { class: "gentut-widget gentut-latent-walk", role: "group", "aria-label": "A walk through the generator's latent space" },
    el("div", { class: "gt-board" },
      panel("now", el("p", { class: "gt-title" }, "Generated from z"), el("div", { class: "gt-square" }, now), el("div", { class: "gt-told" }, where, about.node)),
      panel("way", el("div", { class: "gt-row gt-apart" }, paths, steps.node), way.node, lengths.node, lineKeys),
      panel("strips", ...strips.map(each => each.node), el("div", { class: "gt-row gt-ends" }, ends.a.node, ends.b.node, onButton)),
      panel("latents", el("p", { class: "gt-title" }, `The ${latent} numbers of z`, el("span", { class: "gt-hint" }, "a slider leaves the path")),
        el("div", { class: "gt-latents" }, ...sliders.map(each => each.node)),
        long.node,
        el("div", { class: "gt-row" }, back, asA, asB))),
    live);

  // ---- a frame -------------------------------------------------------------------------------------------------------
  const image = new ImageData(28, 28);
  const paint = (node, pixels) => node.getContext("2d").putImageData(picture(pixels, 0, colours.ink, image), 0, 0);
  let waiting = [];         // frames of the strips still to be drawn: [path's number, frame]
  // Both strips share their ends, so the second draws only what lies between.
  function renew() {
    waiting = strips.flatMap((_, s) => Array.from({ length: FRAMES }, (_, i) => [s, i]).filter(([, i]) => s === 0 || (i > 0 && i < FRAMES - 1)));
    delete root.dataset.strips;
    fill("a"); fill("b");
    // Lengths along both paths: straight lines and bows, so 41 points are a smooth curve.
    for (const [path] of PATHS) curves[path].set(Array.from({ length: 41 }, (_, k) => [k / 40, norm(onPath(k / 40, path))]));
    request();
  }
  function film(until) {
    while (waiting.length && performance.now() < until) {
      const [s, i] = waiting.shift(), pixels = decode(onPath(i / (FRAMES - 1), strips[s].path));
      paint(strips[s].pictures[i], pixels);
      if (i === 0 || i === FRAMES - 1) paint(strips[1].pictures[i], pixels);
    }
    if (waiting.length) request();
    else root.dataset.strips = FRAMES;
  }
  function draw() {
    if (!root.isConnected) return;
    const started = performance.now(), z = get("z"), t = get("position"), path = get("path"), taken = isOn(), length = norm(z), share = shorter(length, latent);
    const pixels = decode(z), forward = performance.now() - started;
    paint(now, pixels);
    sliders.forEach((each, i) => each.put(z[i]));
    long.put(length);
    way.put(t);
    dot.set([[t, length]]);
    for (const [name] of PATHS) curves[name].node.setAttribute("class", `gt-curve ${name === path ? "gt-learned" : "gt-quiet gt-dashed"}`);
    strips.forEach(each => {
      each.node.classList.toggle("gt-chosen", each.path === path);
      each.buttons.forEach((node, i) => node.setAttribute("aria-current", String(taken && each.path === path && Math.round(t * (FRAMES - 1)) === i)));
    });
    about.put("norm", number(length, 2));
    about.put("shorter", `${share > 0.9995 ? "99.9" : (100 * share).toFixed(1)} % of all z`);
    about.put("usual", `${number(low, 2)} to ${number(high, 2)}`);
    where.replaceChildren(el("span", {}, taken ? `${percent(t)} of the ${path} path` : "off the path"));
    back.disabled = taken;
    Object.assign(root.dataset, { z: z.map(v => v.toFixed(6)).join(" "), position: t.toFixed(6), path, on: Number(taken), seeds: `${get("seed_a")} ${get("seed_b")}`,
      length: length.toFixed(6), shorter: share.toFixed(6), playing: Number(steps.playing), forward: forward.toFixed(2), ms: (performance.now() - started).toFixed(2) });
    if (waiting.length) film(performance.now() + BUDGET);
  }
  const request = frames(draw, signal);
  function recolour() { colours = { ink: colour(root, "--ink") }; renew(); }
  const words = () => `${isOn() ? `${percent(get("position"))} of the ${get("path")} path` : "Off the path"}; length of z ${number(norm(get("z")), 1)}`;

  for (const name of ["z_a", "z_b", "seed_a", "seed_b"]) on(`change:${name}`, renew);
  on("change:z", () => { request(); say(words()); });
  on("change:position", request);
  on("change:path", () => {
    for (const input of paths.querySelectorAll("input")) input.checked = input.value === get("path");
    request();
    say(words());
  });

  host.append(root);
  lengths.node.classList.add("gt-lengths");
  band.set([[0, high], [1, high]], low);
  note.set([[0.5, high, "95 % of random z", "middle", 0, -6]]);
  recolour();
  watchTheme(recolour, signal);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
