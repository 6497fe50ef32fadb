// gentut.unet's network and gentut.ddpm's way from noise to a picture, in JavaScript. Both are generators: they stop
// after every part of the network, some milliseconds of work, so that a page can do other things in between.
import { gaussian } from "./common.js";
import { embedding, layer, network, sigmoid, timeEmbedding } from "./nn.js";

const PIXELS = 784;
const add = (y, x, n) => { for (let i = 0; i < n; i++) y[i] += x[i]; return y; };

// A U-Net from gentut.widgets.ddpm.pack. `forward` takes noisy pictures, one after the other, one time for all and a label
// for each (`classes`: no label); its value is a buffer that the next call overwrites.
export function unet(spec, bytes, room = 2) {
  const { T, classes, embedding: width, levels, blocks, parts } = spec;
  const part = name => parts[name] && network(parts[name], bytes, room);

  // skip(x) + f(x, e), the embedding e added between two convolutions.
  function block(name) {
    const a = part(`${name}.a`), time = part(`${name}.time`), b = part(`${name}.b`), skip = part(`${name}.skip`);
    const pixels = a.outputs / time.outputs;
    return function* (x, e, batch) {
      const h = a.forward(x, batch), shift = time.forward(e, batch);
      for (let k = 0, p = 0; k < batch * time.outputs; k++) for (const end = p + pixels; p < end; p++) h[p] += shift[k];
      yield;
      const y = b.forward(h, batch);
      return add(y, skip ? skip.forward(x, batch) : x, batch * b.outputs);
    };
  }
  const all = (way, i) => Array.from({ length: blocks }, (_, k) => block(`${way}.${i}.${k}`));
  const counted = Array.from({ length: levels }, (_, i) => i);
  const time = part("time"), table = spec.label && embedding(spec.label, bytes), first = part("first"), last = part("last");
  const down = counted.map(i => all("down", i)), up = counted.map(i => all("up", i));
  const smaller = counted.slice(1).map(i => part(`smaller.${i - 1}`)), larger = counted.slice(1).map(i => part(`larger.${i - 1}`));
  const into = part("attention.in"), out = part("attention.out");
  const look = into && layer({ op: "attention", width: parts["attention.out"][0].in, pixels: into.inputs / parts["attention.out"][0].in }, bytes, room);
  const e = new Float32Array(width * room);

  function embed(t, labels) {
    const own = time.forward(timeEmbedding(t * (1000 / T), width));
    labels.forEach((label, b) => {
      const row = table?.row(label);
      for (let i = 0; i < width; i++) { const v = own[i] + (row ? row[i] : 0); e[b * width + i] = v * sigmoid(v); }
    });
  }
  function* forward(x, t, labels) {
    const batch = labels.length, seen = [];
    embed(t, labels);
    let h = first.forward(x, batch);
    yield;
    for (let i = 0; i < levels; i++) {
      if (i) { h = smaller[i - 1].forward(h, batch); yield; }
      for (const each of down[i]) { h = yield* each(h, e, batch); seen.push(h); yield; }
    }
    // Each part has a buffer of its own, so what the way down has seen is still there.
    if (into) { h = add(out.forward(look(into.forward(h, batch), batch), batch), h, batch * out.outputs); yield; }
    for (let i = 0; i < levels; i++) {
      if (i) { h = larger[i - 1].forward(h, batch); yield; }
      for (const each of up[i]) { const kept = seen.pop(); h = yield* each(add(h, kept, kept.length / room * batch), e, batch); yield; }
    }
    return last.forward(h, batch);
  }
  return { forward, classes, predict: spec.predict, T };
}

// Schedule.timesteps: the times that are visited, T first. Halves are rounded to the even side, as in Python.
export function timesteps(T, steps) {
  return Array.from({ length: steps }, (_, i) => {
    const exact = (T * (steps - i)) / steps, near = Math.round(exact);
    return near - exact === 0.5 && near % 2 ? near - 1 : near;
  });
}

// Room for a way back: pictures x_t and guesses of x_0 at each time, (steps + 1, 784) each, of which the first `done` are
// there. The last, at t = 0, is the finished picture twice.
export const film = steps => ({ x: new Float32Array((steps + 1) * PIXELS), x0: new Float32Array((steps + 1) * PIXELS), done: 0, calls: 0 });

// Paint a picture: gentut.ddpm.denoise with `noise` of the seed. label: -1 for none. Frames go into the film as they come.
export function* reverse(net, alphaBar, { label, guidance, steps, eta, seed }, { x: xs, x0: guesses }, onframe) {
  const times = timesteps(net.T, steps), next = gaussian(seed), x = Float32Array.from({ length: PIXELS }, next);
  const guided = label >= 0 && guidance !== 0, labels = guided ? [label, net.classes] : [label < 0 ? net.classes : label];
  const given = new Float32Array(PIXELS * labels.length), x0 = new Float32Array(PIXELS);
  for (let k = 0; k < steps; k++) {
    const t = times[k], s = times[k + 1] ?? 0, a = alphaBar[t], b = alphaBar[s], signal = Math.sqrt(a), noise = Math.sqrt(1 - a);
    labels.forEach((_, i) => given.set(x, i * PIXELS));
    const f = yield* net.forward(given, t, labels);
    for (let i = 0; i < PIXELS; i++) {
      const v = guided ? (1 + guidance) * f[i] - guidance * f[i + PIXELS] : f[i];
      const guess = net.predict === "eps" ? (x[i] - noise * v) / signal : net.predict === "x0" ? v : signal * x[i] - noise * v;
      x0[i] = guess > 1 ? 1 : guess < -1 ? -1 : guess;
    }
    xs.set(x, k * PIXELS);
    guesses.set(x0, k * PIXELS);
    onframe(k, labels.length);
    const sigma = eta * Math.sqrt(((1 - b) / (1 - a)) * (1 - a / b)), rest = Math.sqrt(Math.max(0, 1 - b - sigma * sigma)), kept = Math.sqrt(b);
    for (let i = 0; i < PIXELS; i++) {
      const mean = kept * x0[i] + (rest * (x[i] - signal * x0[i])) / noise;
      x[i] = sigma && s ? mean + sigma * next() : mean;
    }
    yield;
  }
  xs.set(x, steps * PIXELS);
  guesses.set(x, steps * PIXELS);
  onframe(steps, 0);
}
