import assert from "node:assert/strict";
import { test } from "node:test";
import { gaussian, uniform } from "../../gentut/widgets/common.js";
import { causal, layer } from "../../gentut/widgets/nn.js";
import { between, covered, heat, outline } from "../../gentut/widgets/pixelcnn-board.js";
import { drawing, nats, pixelcnn, probability, receptiveField, score } from "../../gentut/widgets/pixelcnn-network.js";
import { words } from "../../gentut/widgets/pixelcnn-sampler.js";
import { largest } from "./fixture.js";

// A float16 writer for weights that are multiples of 1/64 below 4, which float16 holds exactly.
class Store {
  parts = [];
  size = 0;
  put(bytes) { this.parts.push(bytes); this.size += bytes.length; return this.size - bytes.length; }
  half(values) {
    const out = new Uint8Array(2 * values.length);
    values.forEach((v, i) => {
      if (!v) return;
      const e = Math.floor(Math.log2(Math.abs(v))), bits = (v < 0 ? 0x8000 : 0) | ((e + 15) << 10) | Math.round((Math.abs(v) / 2 ** e - 1) * 1024);
      out[2 * i] = bits & 255; out[2 * i + 1] = bits >> 8;
    });
    return this.put(out);
  }
  single(values) { return this.put(new Uint8Array(Float32Array.from(values).buffer)); }
  get bytes() { return Uint8Array.from(this.parts.flatMap(part => [...part])); }
}
const random = gaussian(7);
const some = (n, scale = 0.5) => Array.from({ length: n }, () => Math.max(-3.9, Math.min(3.9, Math.round(64 * scale * random()) / 64)));

function conv(store, I, O, taps, scale, lift = 0) {
  const weights = some(O * I * taps.length, scale), bias = some(O).map(v => v + lift);
  return { op: taps.length > 1 ? "causal" : "linear", in: I, out: O, type: "float16", taps, weight: store.half(weights), bias: store.single(bias), weights, biases: bias };
}
const grid = (rows, columns) => rows.flatMap(r => columns.map(c => [r, c]));

// A small gated network with the windows of gentut.pixelcnn and random weights; biases keep its ReLUs at work.
function small({ size = 9, width = 3, head = 4, classes = 3, dilations = [1, 2] } = {}) {
  const store = new Store();
  const spec = { size, width, head, classes, dilations,
    above: conv(store, 1, width, grid([-3, -2, -1], [-3, -2, -1, 0, 1, 2, 3]), 0.5, 1),
    left: conv(store, 1, width, grid([0], [-3, -2, -1])),
    blocks: dilations.map(d => ({
      down: conv(store, width, 2 * width, grid([-d, 0], [-d, 0, d])), across: conv(store, width, 2 * width, grid([0], [-d, 0])),
      link: conv(store, 2 * width, 2 * width, [[0, 0]]), leave: conv(store, width, width, [[0, 0]]),
      label: classes ? { weight: store.half(some(classes * 4 * width)) } : null })),
    hidden: conv(store, width, head, [[0, 0]], 0.5, 1.5), out: conv(store, head, 1, [[0, 0]], 0.3) };
  return [spec, store.bytes];
}

test("a causal convolution is its definition, whole rows and single pixels alike", () => {
  const size = 6, I = 3, O = 5, store = new Store(), taps = [[-3, -1], [-2, 2], [0, -2], [0, 0]], op = conv(store, I, O, taps);
  const features = Float32Array.from({ length: size * size * I }, random), at = (r, c, f) => (r < 0 || c < 0 || c >= size ? 0 : features[(r * size + c) * I + f]);
  const want = (r, c) => op.biases.map((b, o) => taps.reduce((sum, [down, right], t) => {
    for (let f = 0; f < I; f++) sum += op.weights[(o * taps.length + t) * I + f] * at(r + down, c + right, f);
    return sum;
  }, b));
  for (const together of [true, false]) {
    const window = causal(op, store.bytes, size);
    for (let r = 0; r < size; r++) {
      if (together) {
        window.put(r, 0, features.subarray(r * size * I, (r + 1) * size * I), size);
        const got = window.at(r, 0, size);
        for (let c = 0; c < size; c++) assert.ok(largest(want(r, c), got.subarray(c * O, (c + 1) * O)) < 1e-5);
      } else for (let c = 0; c < size; c++) {
        window.put(r, c, features.subarray((r * size + c) * I, (r * size + c + 1) * I));
        // The tap two columns to the right looks at rows above only, so it is there already.
        assert.ok(largest(want(r, c), window.at(r, c)) < 1e-5);
      }
    }
    assert.equal(window.bytes, 4 * I * (size + 3) * (size + 4), "three rows above, two columns on each side");
  }
  assert.throws(() => causal({ ...op, taps: [[1, 0], ...taps.slice(1)] }, store.bytes, size), /no row below/);
});

test("a layer can be taken alone", () => {
  const store = new Store(), op = conv(store, 4, 3, [[0, 0]]), x = Float32Array.from({ length: 8 }, random), y = layer(op, store.bytes, 2)(x, 2);
  for (let k = 0; k < 2; k++) for (let o = 0; o < 3; o++)
    assert.ok(Math.abs(y[3 * k + o] - op.biases[o] - [0, 1, 2, 3].reduce((s, i) => s + op.weights[4 * o + i] * x[4 * k + i], 0)) < 1e-5);
});

// Every pixel's logit of a picture.
function logits(net, picture, label) {
  net.tell(label);
  return picture.map((value, i) => { const logit = net.logit(i); net.write(i, value); return logit; });
}

test("no pixel sees itself or a later one, and each sees exactly its receptive field", () => {
  const [spec, bytes] = small({ size: 7, width: 4, head: 8 }), n = spec.size ** 2, next = uniform(1), net = pixelcnn(spec, bytes);
  const fields = Array.from({ length: n }, (_, i) => receptiveField(spec, i)), moved = fields.map(() => new Uint8Array(n));
  for (let trial = 0; trial < 5; trial++) {  // in one picture alone a saturated gate or a ReLU at rest may hide a path
    const picture = Array.from({ length: n }, () => Number(next() < 0.5)), before = logits(net, picture, trial % 3);
    for (let j = 0; j < n; j++)
      logits(net, picture.map((v, i) => (i === j ? 1 - v : v)), trial % 3).forEach((logit, i) => { if (logit !== before[i]) moved[i][j] = 1; });
  }
  moved.forEach((row, i) => {
    assert.deepEqual([...row], [...fields[i]], `pixel ${i}`);
    assert.ok(row.every((seen, j) => !seen || j < i));
  });
  assert.ok(fields.at(-1).reduce((a, b) => a + b) > 20);
});

test("a label changes what is predicted, and a network without classes takes none", () => {
  const [spec, bytes] = small(), net = pixelcnn(spec, bytes), black = Array(81).fill(0);
  assert.notEqual(logits(net, black, 0)[40], logits(net, black, 2)[40]);
  const plain = pixelcnn(...small({ classes: 0 }));
  assert.ok(score(plain, black) > 0);
});

test("a picture depends on what is wanted, and not on how one came there", () => {
  const [spec, bytes] = small(), n = spec.size ** 2, next = uniform(3), page = drawing(pixelcnn(spec, bytes));
  const wanted = { given: [], seed: 1, label: 0, temperature: 1 };
  let goal = 40, changed = 0, last = "";
  for (let k = 0; k < 120; k++) {
    const what = Math.floor(next() * 6);
    if (what === 0) wanted.seed = Math.floor(next() * 5);
    if (what === 1) wanted.label = Math.floor(next() * 3);
    if (what === 2) wanted.temperature = 0.3 + next();
    if (what === 3) goal = Math.floor(next() * (n + 1));
    if (what >= 4) {
      const given = wanted.given.length ? [...wanted.given] : Array(n).fill(-1);
      for (let m = 0; m < 4; m++) given[Math.floor(next() * n)] = Math.floor(next() * 3) - 1;
      wanted.given = given.some(v => v >= 0) ? given : [];
    }
    page.set(wanted);
    page.cut(goal);
    if (next() < 0.3) page.advance(Math.floor(goal * next()));  // interrupted on the way
    if (next() < 0.5) { page.predict(); page.predict(); }       // looking ahead leaves no trace
    if (k % 3 === 2) continue;                                  // the next change comes before it is done
    assert.equal(page.advance(goal), true);
    const fresh = drawing(pixelcnn(spec, bytes));
    fresh.set(wanted);
    fresh.advance(goal);
    assert.deepEqual([...page.pixels], [...fresh.pixels], `after ${k} changes`);
    assert.deepEqual(page.total(), fresh.total());
    if (goal < n) { page.predict(); fresh.predict(); assert.equal(page.white(goal), fresh.white(goal)); assert.equal(page.known, goal + 1); }
    wanted.given.forEach((v, i) => { if (v >= 0 && i < goal) assert.equal(page.pixels[i], v); });
    changed += last !== page.pixels.join("");
    last = page.pixels.join("");
  }
  assert.ok(changed > 40, `only ${changed} pictures differed`);
});

test("a change costs only what comes after it", () => {
  const [spec, bytes] = small(), real = pixelcnn(spec, bytes), n = spec.size ** 2;
  let asked = [];
  const page = drawing({ ...real, logit: i => { asked.push(i); return real.logit(i); } });
  const wanted = { given: [], seed: 4, label: 0, temperature: 1 };
  page.set(wanted);
  page.advance(n);
  assert.deepEqual(asked, [...Array(n).keys()]);
  asked = [];
  page.set({ ...wanted, temperature: 1.0001 });
  assert.equal(page.done, n, "a temperature that changes no pixel costs nothing");
  const given = Array(n).fill(-1);
  given[50] = 1 - page.pixels[50];
  page.set({ ...wanted, given });
  page.advance(n);
  assert.deepEqual(asked, Array.from({ length: n - 51 }, (_, k) => 51 + k));
});

test("the clock ends a stretch of work, and it goes on from there", () => {
  const page = drawing(pixelcnn(...small()));
  page.set({ given: [], seed: 2, label: 0, temperature: 1 });
  assert.equal(page.advance(81, -Infinity), false);
  assert.equal(page.done, 1);
  assert.equal(page.advance(81), true);
});

test("nats and probabilities of a pixel keep their digits", () => {
  assert.equal(nats(0, 1), Math.LN2);
  assert.ok(Math.abs(nats(800, 0) - 800) < 1e-9 && nats(800, 1) < 1e-300);
  assert.ok(Math.abs(nats(-40, 0) / Math.exp(-40) - 1) < 1e-9);
  for (const logit of [-3, 0.2, 5]) {
    assert.ok(Math.abs(Math.exp(-nats(logit, 1)) - probability(logit)) < 1e-12);
    assert.ok(Math.abs(probability(logit, 0.5) - 1 / (1 + Math.exp(-2 * logit))) < 1e-12);
  }
});

test("the score of a picture is the sum of its pixels' nats", () => {
  const [spec, bytes] = small(), net = pixelcnn(spec, bytes), picture = Array.from({ length: 81 }, (_, i) => Number(i % 5 < 2));
  const want = logits(net, picture, 2).reduce((sum, logit, i) => sum - Math.log(probability(picture[i] ? logit : -logit)), 0);
  assert.ok(Math.abs(score(net, picture, 2) - want) < 1e-9);
});

// ---------------------------------------------------------------------------------------------------------- the board
test("the heat map grows brighter with every nat up to three", () => {
  const light = v => heat(v).reduce((a, b) => a + b);
  for (let v = 0; v < 3; v += 0.1) assert.ok(light(v + 0.1) > light(v), `at ${v}`);
  assert.deepEqual(heat(99), heat(3));
  assert.deepEqual(heat(0), [9, 11, 15]);
});

test("an outline has the edges between inside and outside, each once", () => {
  const mask = Array(16).fill(0);
  assert.equal(outline(mask, 4), "");
  mask[5] = 1;
  assert.deepEqual(outline(mask, 4).match(/M[^M]+/g).sort(), ["M1 1h1", "M1 1v1", "M1 2h1", "M2 1v1"]);
  assert.equal(outline(Array(16).fill(1), 4).match(/M/g).length, 16, "the border of a full picture");
});

test("brushes cover squares, cut off at the border", () => {
  assert.deepEqual(covered(2, 3, 1, 28), [2 * 28 + 3]);
  assert.deepEqual(covered(2, 3, 2, 28), [59, 60, 87, 88]);
  assert.equal(covered(5, 5, 3, 28).length, 9);
  assert.deepEqual(covered(0, 0, 3, 28), [0, 1, 28, 29]);
  assert.deepEqual(covered(27, 27, 2, 28), [783]);
});

test("a stroke leaves no gaps", () => {
  for (const [from, to] of [[0, 783], [783, 0], [40, 43], [27, 756], [100, 100]]) {
    const way = between(from, to, 28);
    assert.equal(way[0], from);
    assert.equal(way.at(-1), to);
    for (let k = 1; k < way.length; k++)
      assert.ok(Math.max(Math.abs((way[k] % 28) - (way[k - 1] % 28)), Math.abs(Math.floor(way[k] / 28) - Math.floor(way[k - 1] / 28))) <= 1);
  }
});

test("what is said of a pixel", () => {
  const about = { at: 29, size: 28, next: false, value: 1, fixed: false, written: true, known: true, white: 0.25, warm: 0.1, temperature: 1, nats: 1.386, field: 12 };
  assert.deepEqual(words(about), ["Row 1, column 1", "p(white) = 0.250", "drawn white: 1.39 nats", "sees 12 of the 29 pixels before it"]);
  assert.equal(words({ ...about, temperature: 0.5 })[1], "p(white) = 0.250, at temperature 0.50: 0.100");
  assert.deepEqual(words({ ...about, known: false, written: false, fixed: true, value: 0 }).slice(1, 3), ["not predicted yet: earlier pixels are missing", "fixed black"]);
  assert.equal(words({ ...about, white: 1e-5 })[1], "p(white) <\u00a00.001");
  assert.equal(words({ ...about, white: 0.99999 })[1], "p(white) >\u00a00.999");
  assert.equal(words({ ...about, next: true, written: false })[0], "Next: row 1, column 1");
  assert.equal(words({ ...about, at: 1 })[3], "sees 12 of the 1 pixel before it");
});
