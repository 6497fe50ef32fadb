// Urn: ten balls, draws from them, and how likely each share of red balls makes what was drawn.
import { announcer, choice, clamp, el, follower, frames, number, slider, uniform } from "./common.js";
import { chart, facts, figure, svg } from "./plot.js";

const NATS = 2;         // the interval: where the log-likelihood is at most this much below its maximum
const RECENT = 20;      // draws shown as balls
const POINTS = 201;     // points of the likelihood curve, and as many again around its peak
const NOTES = { red: 30, blue: 70 };

// Log-likelihood in nats of a sequence of independent draws; 0 log 0 is 0, as in gentut.probability.log_likelihood.
export function logLikelihood(theta, red, blue) {
  return (red ? red * Math.log(theta) : 0) + (blue ? blue * Math.log1p(-theta) : 0);
}

// The same where drawn balls stay out of an urn of `balls`, `redBalls` of them red: each draw changes what is left.
export function urnLogLikelihood(balls, redBalls, red, blue) {
  let sum = 0;
  for (let i = 0; i < red; i++) sum += Math.log(Math.max(0, redBalls - i) / (balls - i));
  for (let i = 0; i < blue; i++) sum += Math.log(Math.max(0, balls - redBalls - i) / (balls - red - i));
  return sum;
}

// Ends [low, high] of the shares whose log-likelihood is at most `drop` below the largest one, by bisection.
export function likelihoodInterval(red, blue, drop = NATS) {
  if (red + blue === 0) return [0, 1];
  const best = red / (red + blue), floor = logLikelihood(best, red, blue) - drop;
  const end = (inside, outside) => {
    if (logLikelihood(outside, red, blue) >= floor) return outside;
    for (let i = 0; i < 60; i++) {
      const middle = (inside + outside) / 2;
      if (logLikelihood(middle, red, blue) >= floor) inside = middle; else outside = middle;
    }
    return inside;
  };
  return [end(best, 0), end(best, 1)];
}

export const redIn = draws => draws.split("r").length - 1;

// `n` draws more, as text of "r" and "b". The k-th draw of a seed uses its k-th random number, whatever was drawn before.
// Kept out, a ball is gone, and an empty urn ends it.
export function drawMore(draws, n, { redBalls, balls, replacement, seed }) {
  const next = uniform(2 * seed + 1), all = [...draws];
  for (let i = 0; i < all.length; i++) next();
  let red = redIn(draws);
  for (let i = 0; i < n && (replacement || all.length < balls); i++) {
    const share = replacement ? redBalls / balls : (redBalls - red) / (balls - all.length);
    const isRed = next() < share;
    red += isRed;
    all.push(isRed ? "r" : "b");
  }
  return all.join("");
}

// Some order of so many red and blue draws: every order is as likely as another when draws are independent.
export function shuffled(red, blue, seed) {
  const next = uniform(2 * seed + 2), all = [..."r".repeat(red), ..."b".repeat(blue)];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all.join("");
}

// The share of red after each draw, [[n, share], ...], thinned to about `most` places that are even on a log axis.
export function settling(draws, most = 300) {
  const out = [], total = draws.length;
  let red = 0, due = 0;
  for (let n = 1; n <= total; n++) {
    red += draws[n - 1] === "r";
    const at = (Math.log(n) / Math.log(Math.max(2, total))) * most;
    if (at < due && n < total) continue;
    out.push([n, red / n]);
    due = Math.floor(at) + 1;
  }
  return out;
}

// Standard deviation of the share of red among n draws from an urn with the share theta; kept out, it falls to 0.
export function shareDeviation(theta, n, balls, replacement) {
  const left = replacement ? 1 : (balls - n) / (balls - 1);
  return Math.sqrt((theta * (1 - theta) * left) / n);
}

function render({ model, el: host }) {
  const life = new AbortController(), { signal } = life;
  const on = follower(model, signal);
  const balls = model.get("balls"), most = model.get("most");
  const live = el("span", { class: "gt-hidden", "aria-live": "polite" }), say = announcer(live, signal);
  function save(changes) { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); }
  const redBalls = () => Math.round(balls * model.get("theta"));
  const urn = () => ({ redBalls: redBalls(), balls, replacement: model.get("replacement"), seed: model.get("seed") });
  const put = draws => { const red = redIn(draws); save({ draws, red, blue: draws.length - red }); };
  const afresh = changes => save({ seed: model.get("seed") + 1, draws: "", red: 0, blue: 0, ...changes });

  // -------------------------------------------------------------------------------------------------------------- pictures
  // A red ball wears a ring, a blue one a bar, so that nobody needs the colours.
  const ball = (kind, x, y, r) => svg("g", { class: `gt-ball gt-ball-${kind}`, transform: `translate(${x} ${y})` },
    svg("circle", { r }), kind === "red" ? svg("circle", { class: "gt-mark", r: 0.42 * r, "stroke-width": 0.2 * r })
      : kind === "blue" ? svg("path", { class: "gt-mark", d: `M${-0.5 * r} 0H${0.5 * r}`, "stroke-width": 0.26 * r }) : null);
  const icon = kind => svg("svg", { class: "gt-icon", viewBox: "-10 -10 20 20", "aria-hidden": "true" }, ball(kind, 0, 0, 9));
  const places = [[81, 152], [110, 152], [139, 152], [66.5, 126.5], [95.5, 126.5], [124.5, 126.5], [153.5, 126.5], [81, 101], [110, 101], [139, 101]];
  const mixed = [4, 0, 7, 2, 9, 5, 1, 8, 3, 6];  // which place gets red first: no colour lies in one corner
  const inside = svg("g"), drawn = svg("g");
  const vessel = "M74 40H146C146 52 137 54 137 61C137 69 184 82 184 124C184 160 160 176 142 176H78C60 176 36 160 36 124C36 82 83 69 83 61C83 54 74 52 74 40Z";
  const secret = svg("text", { class: "gt-secret", x: 110, y: 142, "text-anchor": "middle" }, "?");
  const picture = svg("svg", { class: "gt-urn-picture", viewBox: "24 0 172 182", role: "img" },
    svg("path", { class: "gt-vessel", d: vessel }), inside, secret, drawn);
  const caption = el("p", { class: "gt-muted gt-caption" });
  const recent = svg("svg", { class: "gt-recent", viewBox: `0 0 ${RECENT * 20} 20`, role: "img" });

  // ---------------------------------------------------------------------------------------------------------------- charts
  const likely = chart({ label: "Likelihood of each share of red", signal, height: 210, margin: { left: 34, right: 14, top: 8 },
    x: { range: [0, 1], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: "\u03b8, share of red in the urn" }, y: { range: [0, 1.06], ticks: [0, 0.5, 1] } });
  const stay = likely.area({ class: "gt-q" }), columns = likely.bars({ class: "gt-q", width: 0.05 }), truth = likely.rule({ class: "gt-truth gt-thick" });
  const curve = likely.curve({ class: "gt-q" }), best = likely.rule({ class: "gt-q gt-dashed-rule" }), peak = likely.dots({ class: "gt-q", radius: 4.5 });
  const saveGuess = v => save({ guess: model.get("replacement") ? Number(v.x.toFixed(3)) : Math.round(balls * v.x) / balls });
  const tryStep = { x: 0.01 };
  const knob = likely.handle({ label: "A share to try", bounds: { x: [0, 1] }, step: tryStep, show: v => `\u03b8 ${number(v.x)}`, oninput: saveGuess, radius: 7 });
  const history = chart({ label: "Estimate after each draw", signal, height: 150, margin: { left: 34, right: 16, top: 8 },
    x: { range: [0, 2], ticks: [], label: "number of draws" }, y: { range: [0, 1], ticks: [0, 0.5, 1] } });
  const expected = history.area({ class: "gt-truth" }), line = history.rule({ axis: "y", class: "gt-truth" });
  const walk = history.curve({ class: "gt-q" }), now = history.dots({ class: "gt-q", radius: 4 });

  // -------------------------------------------------------------------------------------------------------------- controls
  const button = (name, text, onclick) => el("button", { type: "button", class: `gt-button gt-${name}`, onclick }, text);
  const fill = slider({ label: "Red balls", min: 0, max: balls, step: 1, value: redBalls(), show: v => `${v} of ${balls}`, oninput: refill });
  // Another urn, as many draws: the random numbers stay, so that the draws follow the share.
  function refill(count) {
    const draws = drawMore("", model.get("draws").length, { ...urn(), redBalls: count }), red = redIn(draws);
    save({ theta: count / balls, draws, red, blue: draws.length - red });
  }
  const look = button("look", "", () => save({ shown: !model.get("shown") }));
  const hide = button("secret-urn", "Secret urn", () => {
    const pick = uniform(2 * model.get("seed") + 101)();
    afresh({ theta: (1 + Math.floor(pick * (balls - 1))) / balls, shown: false });
  });
  const back = choice({ label: "Then", options: [["back", "put it back"], ["out", "keep it out"]], value: model.get("replacement") ? "back" : "out",
    onchange: kind => afresh({ replacement: kind === "back" }) });
  const draws = Object.fromEntries([1, 10, 100].map(n => [n, button(`draw-${n}`, `Draw ${n}`, () => put(drawMore(model.get("draws"), n, urn())))]));
  const again = button("again", "Start over", () => afresh({}));
  const notes = button("notes", `${NOTES.red} red, ${NOTES.blue} blue`, () => save({ draws: shuffled(NOTES.red, NOTES.blue, model.get("seed")), ...NOTES }));
  const room = colour => {
    const other = colour === "red" ? "blue" : "red", inUrn = colour === "red" ? redBalls() : balls - redBalls();
    return model.get("replacement") ? most - model.get(other) : inUrn;
  };
  const counts = Object.fromEntries(["red", "blue"].map(colour => [colour, el("input", { type: "number", class: `gt-count gt-count-${colour}`, min: 0, step: 1, inputmode: "numeric",
    oninput: event => {
      const wanted = event.target.valueAsNumber;
      if (!Number.isFinite(wanted)) return;
      const set = { red: model.get("red"), blue: model.get("blue"), [colour]: clamp(Math.round(wanted), 0, room(colour)) };
      save({ draws: shuffled(set.red, set.blue, model.get("seed")), ...set });
      request();  // where the count was too large and is what it was: write that
    },
    onblur: () => request() })]));
  const count = colour => el("label", { class: "gt-count-row" }, icon(colour), el("span", {}, colour, el("span", { class: "gt-hidden" }, " balls drawn")), counts[colour]);
  const table = facts({ estimate: ["", "gt-q"], best: ["", "gt-q"], interval: ["", "gt-q"], guess: "" });
  const names = [...table.node.querySelectorAll("dt")], name = (i, text) => { if (names[i].textContent !== text) names[i].textContent = text; };
  const verdict = el("p", { class: "gt-verdict" });
  const trueName = el("span", { class: "gt-swatch gt-truth" }, "true \u03b8"), curveName = el("span", { class: "gt-swatch gt-q gt-line-swatch" });
  const columnName = el("span", { class: "gt-swatch gt-q" }), theory = el("span", { class: "gt-swatch gt-truth" }, "true \u03b8 \u00b1 2 standard deviations");

  const root = el("div", { class: "gentut-widget gentut-urn", role: "group", "aria-label": "An urn of red and blue balls and the likelihood of its share of red" },
    el("div", { class: "gt-board" },
      el("div", { class: "gt-panel gt-in-urn" },
        picture, caption, fill.node,
        el("div", { class: "gt-row" }, look, hide)),
      el("div", { class: "gt-panel gt-in-draw" },
        el("div", { class: "gt-row" }, ...Object.values(draws), again),
        back,
        recent,
        el("div", { class: "gt-row gt-counts" }, count("red"), count("blue"), notes)),
      el("div", { class: "gt-panel gt-in-likely" },
        el("p", { class: "gt-title" }, "Likelihood of each \u03b8, the largest as 1"),
        el("p", { class: "gt-muted" }, "Drag the round knob to try another \u03b8, or use its arrow keys."),
        likely.node, el("div", { class: "gt-legend-row" }, curveName, columnName, trueName)),
      el("div", { class: "gt-panel gt-in-facts" }, table.node, verdict),
      el("div", { class: "gt-panel gt-in-history" },
        el("p", { class: "gt-title" }, "The estimate red / n after n draws"),
        history.node, el("div", { class: "gt-legend-row" }, el("span", { class: "gt-swatch gt-q gt-line-swatch" }, "red / n"), theory))),
    live);

  // --------------------------------------------------------------------------------------------------------------- drawing
  // State that Python or a reader set in part is made whole: some order for the counts, nothing that the urn cannot give.
  function settle() {
    const red = model.get("red"), blue = model.get("blue"), order = model.get("draws");
    if (!model.get("replacement") && (red > redBalls() || blue > balls - redBalls())) save({ draws: "", red: 0, blue: 0 });
    else if (order.length !== red + blue || redIn(order) !== red) save({ draws: shuffled(red, blue, model.get("seed")) });
  }
  function paintUrn(order, red, blue, shown, replacement) {
    const colourOf = mixed.reduce((list, place, i) => { list[place] = i < redBalls() ? "red" : "blue"; return list; }, []);
    const gone = { red: replacement ? 0 : red, blue: replacement ? 0 : blue }, left = balls - gone.red - gone.blue;
    // The uppermost balls of a colour go first.
    const out = new Set();
    for (const kind of ["red", "blue"]) colourOf.map((c, i) => [c, i]).filter(([c]) => c === kind).slice(colourOf.filter(c => c === kind).length - gone[kind]).forEach(([, i]) => out.add(i));
    inside.replaceChildren(...(shown ? places.map(([x, y], i) => ball(out.has(i) ? "out" : colourOf[i], x, y, 13.5)) : []));
    secret.style.display = shown ? "none" : "";
    const last = order.at(-1);
    drawn.replaceChildren(...(last ? [ball(last === "r" ? "red" : "blue", 110, 19, 13.5)] : []));
    const word = replacement || !red && !blue ? `${balls} balls` : left ? `${left} of ${balls} balls left` : "The urn is empty";
    caption.textContent = shown && left ? `${word}: ${redBalls() - gone.red} red, ${balls - redBalls() - gone.blue} blue` : shown ? word : `${word}, colours hidden`;
    picture.setAttribute("aria-label", `Urn: ${caption.textContent}${last ? `; last drawn ${last === "r" ? "red" : "blue"}` : ""}`);
  }
  function paintRecent(order) {
    const seen = [...order.slice(-RECENT)];
    recent.replaceChildren(...seen.map((d, i) => ball(d === "r" ? "red" : "blue", 10 + 20 * i, 10, 8)));
    recent.setAttribute("aria-label", seen.length ? `Last draws, newest last: ${seen.map(d => (d === "r" ? "red" : "blue")).join(", ")}` : "Nothing drawn yet");
  }
  const ratio = (a, b) => `${a}/${b}`;

  function draw() {
    const started = performance.now();
    settle();
    const red = model.get("red"), blue = model.get("blue"), order = model.get("draws"), n = red + blue, theta = model.get("theta");
    const replacement = model.get("replacement"), shown = model.get("shown"), hat = red / n, whole = redBalls();
    paintUrn(order, red, blue, shown, replacement);
    paintRecent(order);

    // The likelihood, divided by its maximum. Kept out, the urn's own likelihood has eleven values, and the curve is what
    // somebody would see who takes the draws for independent.
    const top = n ? logLikelihood(hat, red, blue) : 0, shape = t => Math.exp(logLikelihood(t, red, blue) - top);
    const [low, high] = likelihoodInterval(red, blue);
    const grid = Array.from({ length: POINTS }, (_, i) => i / (POINTS - 1));
    const fine = grid.map(t => clamp(low + (3 * t - 1) * (high - low), 0, 1)), within = grid.map(t => low + t * (high - low));
    curve.set([...grid, ...fine].sort((a, b) => a - b).map(t => [t, shape(t)]));
    const urns = Array.from({ length: balls + 1 }, (_, k) => (replacement ? 0 : urnLogLikelihood(balls, k, red, blue))), urnTop = Math.max(...urns), bestUrn = urns.indexOf(urnTop);
    const near = urns.flatMap((v, k) => (v >= urnTop - NATS ? [k / balls] : []));
    const guess = replacement ? model.get("guess") : Math.round(balls * model.get("guess")) / balls;
    const atGuess = replacement ? logLikelihood(guess, red, blue) : urns[Math.round(balls * guess)], atBest = replacement ? top : urnTop;
    const ends = replacement ? [low, high] : [near[0], near.at(-1)];
    curve.node.classList.toggle("gt-dashed", !replacement);
    stay.set(replacement && n ? within.map(t => [t, shape(t)]) : []);
    columns.set(replacement ? [] : urns.map((v, k) => [k / balls, Math.exp(v - urnTop)]));
    truth.set(...(shown ? [theta] : []));
    best.set(...(n ? [hat] : [])); peak.set(n ? [[hat, 1]] : []);
    tryStep.x = replacement ? 0.01 : 1 / balls;
    knob.put({ x: guess, y: Math.exp(atGuess - atBest) });

    // The way to here.
    const decades = replacement ? Math.max(2, Math.ceil(Math.log10(n || 1) - 1e-12)) : Math.log10(balls);
    history.axes.x.ticks = (replacement ? [1, 10, 100, 1000, 10000] : [1, 2, 3, 5, balls]).map(v => [Math.log10(v), v.toLocaleString("en").replace(",", "\u2009")]);
    history.axes.x.range = [0, decades];
    history.repaint();
    const places_ = Array.from({ length: 60 }, (_, i) => (decades * i) / 59), spread_ = v => 2 * shareDeviation(theta, 10 ** v, balls, replacement);
    const upper = places_.map(v => [v, Math.min(1, theta + spread_(v))]), lower = places_.map(v => [v, Math.max(0, theta - spread_(v))]);
    expected.set(shown ? [...upper, ...lower.reverse()] : [], lower.at(-1)[1]);
    line.set(...(shown ? [theta] : []));
    const way = settling(order).map(([k, share]) => [Math.log10(k), share]);
    walk.set(way); now.set(way.slice(-1));

    // Words and numbers.
    name(0, "\u03b8\u0302 = red / n"); table.put("estimate", n ? `${figure(hat)}` : "\u2013");
    name(1, replacement ? "log L(\u03b8\u0302)" : `log L, ${bestUrn} of ${balls} red`); table.put("best", `${figure(atBest)} nats`);
    name(2, `within ${NATS} nats of it`); table.put("interval", replacement ? `${figure(ends[0])} to ${figure(ends[1])}` : `${ends[0] === ends[1] ? "only" : `${number(ends[0], 1)} to`} ${number(ends[1], 1)}`);
    name(3, `log L(${number(guess, replacement ? 2 : 1)}), tried`); table.put("guess", `${figure(atGuess)} nats`);
    curveName.textContent = replacement ? "likelihood, shaded within 2 nats" : "as if the draws were i.i.d.";
    columnName.textContent = "likelihood of this urn";
    curveName.classList.toggle("gt-dashed-swatch", !replacement);
    columnName.hidden = replacement; trueName.hidden = theory.hidden = !shown;
    const where = theta >= ends[0] - 1e-12 && theta <= ends[1] + 1e-12 ? "inside" : "outside";
    const left = balls - n;
    verdict.textContent = !n ? (replacement ? "Nothing is drawn yet, so every \u03b8 is as good as another." : "All ten balls are in the urn. Draw them one by one and watch the columns.")
      : replacement ? `${n === 1 ? "One draw" : `${n} independent draws`}: \u03b8 from ${figure(low, 2)} to ${figure(high, 2)} explains them almost as well as \u03b8\u0302.${shown ? ` The true \u03b8 = ${number(theta, 1)} is ${where}.` : ""} Four times the draws would about halve that range.`
        : left ? `The draws are no longer i.i.d.: each changes what is left. ${shown ? `The next ball is red with probability ${ratio(whole - red, left)}, the first was with ${ratio(whole, balls)}.` : "Columns at 0 are urns that cannot have given these draws."}`
          : `The urn is empty and nothing is left to guess: \u03b8\u0302 = ${ratio(red, n)} is the true share. Whoever takes the draws for i.i.d. still allows ${figure(low, 2)} to ${figure(high, 2)}.`;

    // Controls.
    fill.put(whole);
    fill.node.style.visibility = shown ? "" : "hidden";
    look.textContent = shown ? "Hide balls" : "Look inside";
    for (const [k, node] of Object.entries(draws)) node.disabled = replacement ? n + Number(k) > most : n >= balls || Number(k) > balls;
    notes.disabled = !replacement;
    for (const input of back.querySelectorAll("input")) input.checked = input.value === (replacement ? "back" : "out");
    for (const [colour, input] of Object.entries(counts)) {
      input.max = replacement || shown ? room(colour) : balls;
      if (input.valueAsNumber !== model.get(colour)) input.value = model.get(colour);
    }
    Object.assign(root.dataset, { red, blue, n, theta, thetaHat: hat, logLikelihood: atBest, best: replacement ? hat : bestUrn / balls, guess, logLikelihoodGuess: atGuess,
      low: ends[0], high: ends[1], iidLow: low, iidHigh: high, replacement, shown, left: replacement ? balls : left, draws: order.slice(-RECENT), columns: replacement ? "" : urns.map(v => Math.exp(v - urnTop)).join(" ") });
    // Said when the state is whole, and only what changed.
    const news = { draws: n ? `${n} draws, ${red} red: estimate ${figure(hat)}` : "Nothing drawn", guess: `Log-likelihood at ${number(guess)}: ${figure(atGuess)} nats` };
    if (told.draws && told.draws !== news.draws) say(news.draws);
    else if (told.guess && told.guess !== news.guess) say(news.guess);
    told = news;
    root.dataset.ms = (performance.now() - started).toFixed(2);
  }
  let told = {};
  const request = frames(draw, signal);

  host.append(root);
  for (const key of ["red", "blue", "theta", "guess", "draws", "replacement", "shown", "seed"]) on(`change:${key}`, request);
  draw();
  root.dataset.ready = "1";
  return () => life.abort();
}

export default { render };
