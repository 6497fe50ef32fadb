import assert from "node:assert/strict";
import { test } from "node:test";
import { gaussian, uniform } from "../../gentut/widgets/common.js";
import { adam, density, exact, game, perceptron, smoothed, source } from "../../gentut/widgets/games-maths.js";
import { arrowPath, roundUp, spaced } from "../../gentut/widgets/games-replay.js";

const PAIR = { means: [[-1], [1]], sigmas: [0.4, 0.2], weights: [0.6, 0.4] };
const LOSSES = ["saturating", "non-saturating", "least-squares", "wgan-gp"];

function random(shapes, seed) {
  const draw = gaussian(seed), count = shapes.reduce((sum, [out, into]) => sum + out * (into + 1), 0);
  return perceptron(shapes, Array.from({ length: count }, () => 0.7 * draw()));
}
const list = (n, seed) => Float64Array.from({ length: n }, gaussian(seed));
const sum = values => values.reduce((total, v) => total + v, 0);
const near = (a, b, what, within = 1e-6) => assert.ok(Math.abs(a - b) <= within * Math.max(1, Math.abs(b)), `${what}: ${a}, not ${b}`);

// Every number of `arrays` moved a little each way: the slope of f there, against `want`.
function checkSlopes(f, arrays, want, what) {
  const h = 1e-5;
  arrays.forEach((values, i) => values.forEach((v, k) => {
    values[k] = v + h;
    const above = f();
    values[k] = v - h;
    const below = f();
    values[k] = v;
    near(want[i][k], (above - below) / (2 * h), `${what}, array ${i}, number ${k}`);
  }));
}

test("a network is matrices and tanh", () => {
  const net = perceptron([[2, 1], [1, 2]], [0.5, -1, 0.1, 0.2, 3, 4, -0.3]);
  near(net.run(Float64Array.of(0.7))[0], 3 * Math.tanh(0.35 + 0.1) + 4 * Math.tanh(-0.7 + 0.2) - 0.3, "output", 1e-15);
});

test("gradients for weights and points are slopes, and reading a slope learns nothing", () => {
  for (const dim of [1, 2]) {
    const net = random([[5, dim], [4, 5], [2, 4]], dim), x = list(3 * dim, 7), mix = list(6, 8), f = () => sum(net.run(x).map((v, i) => v * mix[i]));
    net.clear();
    const dx = net.backward(net.forward(x), mix);
    checkSlopes(f, net.parameters, net.gradients, "weights");
    checkSlopes(f, [x], [dx], "points");
    const before = net.gradients.map(g => [...g]);
    net.backward(net.forward(x), mix, false);
    assert.deepEqual(net.gradients.map(g => [...g]), before);
  }
});

test("the gradient of a slope along fixed directions is its slope", () => {
  for (const [dim, hidden] of [[1, []], [1, [4]], [2, [5, 4]], [2, [3, 4, 3]]]) {
    const widths = [dim, ...hidden, 1], net = random(widths.slice(1).map((out, i) => [out, widths[i]]), 3), x = list(4 * dim, 5), along = list(4 * dim, 6);
    const f = () => sum(net.slope(net.forward(x)).map((v, i) => v * along[i]));
    net.clear();
    net.backwardSlope(net.forward(x), along);
    checkSlopes(f, net.parameters, net.gradients, `${hidden.length} hidden layers`);
  }
});

test("the two steps follow the gradients of their losses", () => {
  for (const loss of LOSSES) for (const penalty of [0, 2]) {
    const G = random([[4, 1], [1, 4]], 1), D = random([[4, 1], [1, 4]], 2), z = list(5, 3), x = list(5, 4), u = Float64Array.from({ length: 5 }, uniform(5));
    // A rate of 0 leaves the weights where they are: the step tells the loss and leaves its gradients.
    const played = game({ loss, penalty, beta1: 0.5, beta2: 0.999 }, G, D);
    played.discriminatorStep(x, z, u, 0);
    const dGradients = D.gradients.map(g => [...g]);
    checkSlopes(() => played.discriminatorStep(x, z, u, 0), D.parameters, dGradients, `D, ${loss}, penalty ${penalty}`);
    D.clear();
    played.generatorStep(z, 0);
    const gGradients = G.gradients.map(g => [...g]);
    checkSlopes(() => played.generatorStep(z, 0), G.parameters, gGradients, `G, ${loss}`);
    assert.ok(D.gradients.every(g => g.every(v => v === 0)), "D has no part in G's step");
  }
});

test("Adam's first step is the rate in the gradient's direction, and a second one remembers", () => {
  const own = { parameters: [Float64Array.of(1, 2, 3)], gradients: [Float64Array.of(0.5, -4, 0)] }, step = adam(own, 0.5, 0.999);
  step(0.1);
  [0.9, 2.1, 3].forEach((v, i) => near(own.parameters[0][i], v, `number ${i}`, 1e-8));
  own.gradients[0].fill(0);
  step(0.1);
  assert.ok(own.parameters[0][0] < 0.9 && own.parameters[0][1] > 2.1 && own.parameters[0][2] === 3);
});

test("batches come from the mixture, repeat with their seed and differ between seeds", () => {
  const draw = seed => source(PAIR, seed).x(20000), x = draw(1), upper = x.filter(v => v > 0.3);
  near(upper.length / x.length, 0.4, "share of the right bump", 0.015);
  near(sum(upper) / upper.length, 1, "its middle", 0.01);
  near(Math.sqrt(sum(upper.map(v => (v - 1) ** 2)) / upper.length), 0.2, "its width", 0.01);
  assert.deepEqual(draw(1), x);
  assert.notDeepEqual(draw(2), x);
  assert.ok(source(PAIR, 3).u(1000).every(v => v >= 0 && v < 1));
});

test("densities hold one unit of mass, wherever the generator puts it", () => {
  const xs = Float64Array.from({ length: 101 }, (_, i) => -4 + 0.08 * i), mass = values => 0.08 * sum(values);
  near(mass(Array.from(xs, x => density(PAIR, x))), 1, "mixture", 1e-6);
  near(mass(smoothed([-1, 0.2, 0.3], Array.from(xs), 0.15)), 1, "smoothed", 1e-6);
  // x = 0.5 z + 1 as a network without hidden layers: the density of N(1, 0.5).
  const q = exact(perceptron([[1, 1]], [0.5, 1]), xs);
  near(mass(q), 1, "exact", 1e-6);
  xs.forEach((x, i) => near(q[i], Math.exp(-(((x - 1) / 0.5) ** 2) / 2) / (0.5 * Math.sqrt(2 * Math.PI)), `at ${x}`, 0.01));
  near(mass(exact(perceptron([[1, 1]], [0, 0.3]), xs)), 1, "all at one point", 1e-6);
  assert.equal(sum(exact(perceptron([[1, 1]], [0.1, 99]), xs)), 0, "outside of the picture");
});

test("arrows are spread over the samples, and point where they go", () => {
  const x = list(64, 1), at = spaced(x), order = at.map(i => x[i]);
  assert.equal(new Set(at).size, 24);
  assert.ok(order.every((v, i) => !i || v > order[i - 1]));
  assert.ok(x.includes(order[0]) && order[0] === Math.min(...x) && order.at(-1) === Math.max(...x));
  assert.deepEqual(spaced([3, 1, 2]), [1, 2, 0]);
  assert.ok(arrowPath(10, 5, 8, 0).startsWith("M10.0 5.0L18.0 5.0M"));
  assert.equal(arrowPath(10, 5, -1, 0), "M10.0 5.0L9.0 5.0", "too short for a head");
  assert.ok(!arrowPath(1, 1, 0, 0).includes("NaN"));
});

test("the axis of steps grows in round sizes", () => {
  assert.deepEqual([0, 20, 21, 51, 101, 201, 501, 1001].map(roundUp), [20, 20, 50, 100, 200, 500, 1000, 2000]);
});
