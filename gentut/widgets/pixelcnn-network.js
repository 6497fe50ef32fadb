// The gated PixelCNN in the page, pixel after pixel: gentut.drawing's Canvas, receptive_field and sample in JavaScript.
import { causal, float16, layer } from "./nn.js";
import { uniform } from "./common.js";

// The network that gentut.widgets.pixelcnn.pack wrote. `logit(i)` is the log odds that pixel i (reading order) is white;
// it looks at what `write` put down for the pixels before i, which must come in order. After pixels were written anew
// from some i on, all later ones must be: what is kept of them is out of date, and is overwritten before it is read.
export function pixelcnn(spec, bytes) {
  const { size, width: W } = spec, all = size * W;
  const above = causal(spec.above, bytes, size), left = causal(spec.left, bytes, size);
  const blocks = spec.blocks.map(({ down, across, link, leave, label }) => ({
    down: causal(down, bytes, size), across: causal(across, bytes, size), link: layer(link, bytes, size), leave: layer(leave, bytes),
    table: label && float16(bytes, label.weight, spec.classes * 4 * W),
  }));
  const hidden = layer(spec.hidden, bytes), out = layer(spec.out, bytes);
  const v = new Float32Array(all), first = new Float32Array(all), h = new Float32Array(W), gated = new Float32Array(all), one = new Float32Array(1);
  let reached = -1;       // the row that the vertical stack stands in
  let label = 0;

  // tanh(first half) · sigmoid(second half) of each pixel's 2W features, added to W features of the label if there are some.
  function gate(a, count, table, at) {
    for (let k = 0, o = 0; k < count; k++)
      for (let f = 0, p = 2 * W * k; f < W; f++, p++, o++) {
        const t = a[p] + (table ? table[at + f] : 0), s = a[p + W] + (table ? table[at + W + f] : 0);
        gated[o] = (1 - 2 / (Math.exp(2 * t) + 1)) / (1 + Math.exp(-s));
      }
    return gated;
  }
  // The vertical stack depends on finished rows only, so it moves a row at a time; what it tells the horizontal stack of
  // each block stays in that block's `links`.
  function descend(row) {
    reached = row;
    v.set(above.at(row, 0, size));
    first.set(v);
    for (const block of blocks) {
      block.down.put(row, 0, v, size);
      const a = block.down.at(row, 0, size);
      block.links = block.link(a, size);
      gate(a, size, block.table, 4 * W * label);
      for (let i = 0; i < all; i++) v[i] += gated[i];
    }
  }
  function logit(i) {
    const row = Math.floor(i / size), column = i % size;
    if (row !== reached) descend(row);
    const l = left.at(row, column);
    for (let f = 0; f < W; f++) h[f] = l[f] + first[column * W + f];
    for (const block of blocks) {
      block.across.put(row, column, h);
      const b = block.across.at(row, column), from = 2 * W * column;
      for (let f = 0; f < 2 * W; f++) b[f] += block.links[from + f];
      const leaving = block.leave(gate(b, 1, block.table, 4 * W * label + 2 * W), 1);
      for (let f = 0; f < W; f++) h[f] += leaving[f];
    }
    const features = hidden(relu(h), 1);
    return out(relu(features), 1)[0];
  }
  const relu = x => { for (let f = 0; f < x.length; f++) if (x[f] < 0) x[f] = 0; return x; };

  return {
    size,
    classes: spec.classes,
    logit,
    // Pixel i is black (0) or white (1).
    write(i, value) {
      const row = Math.floor(i / size), column = i % size;
      one[0] = 2 * value - 1;
      above.put(row, column, one);
      left.put(row, column, one);
      if (row < reached) reached = -1;
    },
    // The digit that the network is told; drawing starts again at pixel 0.
    tell(digit) { label = digit; reached = -1; },
    // Bytes that the kept features take.
    memory: [above, left, ...blocks.flatMap(b => [b.down, b.across])].reduce((sum, c) => sum + c.bytes, 0),
  };
}

// Which pixels the prediction of pixel i can depend on, from the windows alone: Uint8Array(size · size) of 0 and 1.
export function receptiveField(spec, i) {
  const { size } = spec, none = () => new Uint8Array(size * size);
  const before = (places, { taps }, found) => {
    places.forEach((there, p) => {
      if (there) for (const [down, right] of taps) {
        const row = Math.floor(p / size) + down, column = (p % size) + right;
        if (row >= 0 && row < size && column >= 0 && column < size) found[row * size + column] = 1;
      }
    });
    return found;
  };
  const either = (a, b) => a.map((there, p) => there | b[p]);
  let v = none(), h = none();
  h[i] = 1;
  for (const block of [...spec.blocks].reverse()) [v, h] = [before(either(v, h), block.down, v.slice()), before(h, block.across, h.slice())];
  return before(h, spec.left, before(either(v, h), spec.above, none()));
}

// -log p of a pixel's value where the log odds of white are `logit`, in nats.
export const nats = (logit, value) => softplus(value ? -logit : logit);
const softplus = t => (t > 0 ? t + Math.log1p(Math.exp(-t)) : Math.log1p(Math.exp(t)));
export const probability = (logit, temperature = 1) => 1 / (1 + Math.exp(-logit / temperature));

// A picture on its way. It is a function of given (-1 free, 0, 1; or null), seed, label and temperature: pixel i is what
// is given, or else white where the seed's number u_i reaches P(black) at that temperature. `set` keeps as many pixels
// from the front as stay the same, so a change costs only what comes after it.
export function drawing(net) {
  const n = net.size ** 2, free = new Int8Array(n).fill(-1);
  const pixels = new Int8Array(n).fill(-1), logits = new Float64Array(n), cost = new Float64Array(n);
  let given = free, seed = null, label = null, temperature = 1, u = null;
  let done = 0, known = 0;  // pixels written, and pixels whose logits are known: at most one more

  const choose = i => (given[i] >= 0 ? given[i] : Number(u[i] >= probability(-logits[i], temperature)));
  function predict() {
    if (known > done || done === n) return;
    logits[done] = net.logit(done);
    known = done + 1;
  }
  return {
    pixels,
    cost,                 // nats of each pixel at temperature 1
    get done() { return done; },
    get known() { return known; },
    white: (i, at = 1) => probability(logits[i], at),
    set(wanted) {
      if (wanted.seed !== seed) { seed = wanted.seed; const next = uniform(seed); u = Float64Array.from({ length: n }, next); }
      given = wanted.given?.length ? wanted.given : free;
      temperature = wanted.temperature;
      if (wanted.label !== label) { label = wanted.label; net.tell(net.classes ? label : 0); done = known = 0; return; }
      for (let i = 0; i < done; i++) if (choose(i) !== pixels[i]) { done = i; known = i + 1; }
    },
    // Forget what lies behind the first `goal` pixels.
    cut(goal) { if (goal < done) { done = goal; known = goal + 1; } pixels.fill(-1, goal); },
    // Write on until `goal` pixels are done or the clock, in ms, says `until`. Returns whether they are.
    advance(goal, until = Infinity) {
      while (done < goal) {
        predict();
        const value = choose(done);
        pixels[done] = value;
        cost[done] = nats(logits[done], value);
        net.write(done, value);
        done++;
        if (performance.now() > until) break;
      }
      return done >= goal;
    },
    predict,              // the logit of the next pixel
    // Nats of the pixels written: { all, given }.
    total() {
      let all = 0, fixed = 0;
      for (let i = 0; i < done; i++) { all += cost[i]; if (given[i] >= 0) fixed += cost[i]; }
      return { all, given: fixed };
    },
  };
}

// -log p of a whole picture (size · size numbers, 0 or 1), in nats.
export function score(net, picture, label = 0) {
  const page = drawing(net);
  page.set({ given: picture, seed: 0, label, temperature: 1 });
  page.advance(picture.length);
  return page.total().all;
}
