import assert from "node:assert/strict";
import { test } from "node:test";
import { gaussian, normPpf } from "../../gentut/widgets/common.js";
import { centreOfMass, CENTRE, digit } from "../../gentut/widgets/digit.js";
import { neighbours, NOTES, positions, rank } from "../../gentut/widgets/vae-latent-grid.js";
import { difference, moon, nearest } from "../../gentut/widgets/vae-moon-morph.js";
import { fixture, largest } from "./fixture.js";

test("tile positions are the notes' grid at its extent, and stretch with it", () => {
  for (const [n, want] of Object.entries(fixture.positions)) assert.ok(largest(want, positions(Number(n), NOTES)) < 1e-7);
  const wide = positions(20, 3);
  assert.ok(Math.abs(wide[0] + 3) < 1e-9 && Math.abs(wide[19] - 3) < 1e-9);
  assert.ok(largest(wide.map(v => (v * NOTES) / 3), positions(20, NOTES)) < 1e-9);
});

test("the normal quantile is scipy's, in the tails too", () => {
  for (const [p, want] of fixture.quantiles) assert.ok(Math.abs(normPpf(p) - want) < 1e-8 * Math.max(1, Math.abs(want)), `at ${p}`);
});

test("rank undoes positions", () => {
  const at = positions(7, 2);
  at.forEach((v, i) => assert.ok(Math.abs(rank(v, at) - i) < 1e-9));
  assert.ok(Math.abs(rank((at[2] + at[3]) / 2, at) - 2.5) < 1e-9);
  assert.ok(rank(-9, at) < 0 && rank(9, at) > 6);
});

test("neighbours are those that sorting all distances gives", () => {
  const random = gaussian(3), codes = Float32Array.from({ length: 400 }, random), labels = Uint8Array.from({ length: 200 }, (_, i) => i % 7);
  for (let trial = 0; trial < 20; trial++) {
    const z = [random(), random()];
    const far = i => (codes[2 * i] - z[0]) ** 2 + (codes[2 * i + 1] - z[1]) ** 2;
    const best = [...labels.keys()].sort((a, b) => far(a) - far(b)).slice(0, 15);
    const counts = {};
    for (const i of best) counts[labels[i]] = (counts[labels[i]] ?? 0) + 1;
    assert.deepEqual(Object.fromEntries(neighbours(z, codes, labels)), counts);
  }
});

test("gaussian numbers have mean 0 and variance 1, repeat with their seed, and differ between seeds", () => {
  const draw = seed => Array.from({ length: 20000 }, gaussian(seed));
  const a = draw(1), mean = a.reduce((s, v) => s + v, 0) / a.length, variance = a.reduce((s, v) => s + v * v, 0) / a.length - mean ** 2;
  assert.ok(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.04, `${mean} ${variance}`);
  assert.deepEqual(draw(1), a);
  assert.notDeepEqual(draw(2), a);
});

// ------------------------------------------------------------------------------------------------------- drawn digits
const seven = [[[6, 5], [12, 5], [20, 5], [17, 12], [12, 23]]];
const box = picture => {
  const on = [...picture.keys()].filter(i => picture[i] > 0.01), xs = on.map(i => i % 28), ys = on.map(i => Math.floor(i / 28));
  return [Math.max(...xs) - Math.min(...xs) + 1, Math.max(...ys) - Math.min(...ys) + 1];
};
const moved = (strokes, scale, dx, dy) => strokes.map(stroke => stroke.map(([x, y]) => [scale * x + dx, scale * y + dy]));

test("a drawn digit is as MNIST holds it: 20 pixels long, centre of mass in the middle, proportions kept", () => {
  for (const strokes of [seven, [[[14, 2], [14, 26]]], [[[2, 14], [26, 15]]], [...seven, [[10, 14], [19, 14]]]]) {
    const picture = digit(strokes), [w, h] = box(picture), [x, y] = centreOfMass(picture);
    assert.ok(Math.abs(Math.max(w, h) - 20) <= 1, `${w} x ${h}`);
    assert.ok(Math.abs(x - CENTRE) < 0.1 && Math.abs(y - CENTRE) < 0.1, `centre ${x}, ${y}`);
    assert.ok(Math.max(...picture) <= 1 && Math.min(...picture) >= 0 && Math.max(...picture) > 0.95);
  }
  const [w, h] = box(digit([[[14, 2], [14, 26]]]));
  assert.ok(w <= 5 && h >= 19, "a vertical line stays thin");
});

test("where and how large a digit is drawn makes no difference", () => {
  const want = digit(seven);
  for (const [scale, dx, dy] of [[1, 3, 2], [0.5, 8, 1], [0.35, 0, 0], [1.1, -3, 0]])
    assert.ok(largest(digit(moved(seven, scale, dx, dy)), want) < 0.02);
});

test("an empty pad is an empty picture, and a dot stays a dot", () => {
  assert.equal(Math.max(...digit([])), 0);
  const dot = digit([[[4, 4]]]), [w, h] = box(dot);
  assert.ok(w <= 5 && h <= 5 && Math.max(...dot) === 1);
});

test("the pen is as heavy as MNIST's", () => {
  // A line 20 px long: ink per pixel of length, against what the test set's digits hold per pixel of their skeleton's.
  const ink = digit([[[14, 2], [14, 26]]]).reduce((s, v) => s + v, 0) / 20;
  assert.ok(ink > 1.8 && ink < 3, `stroke ${ink} px wide`);
});

// -------------------------------------------------------------------------------------------------------------- moons
test("moons are gentut.data.moon's", () => {
  for (const { phase, picture } of fixture.moons) assert.ok(largest(moon(phase), picture) < 1e-5, `phase ${phase}`);
});

test("the nearest moon of a moon is itself, and its error is an RMS", () => {
  for (const phase of [0, 0.25, 0.6, 1]) {
    const { phase: found, error } = nearest(moon(phase));
    assert.ok(Math.abs(found - phase) < 1e-9 && error < 1e-6);
  }
  assert.equal(difference(new Float32Array(784), 0, new Float32Array(784).fill(0.5), 0), 0.5);
  assert.ok(nearest(new Float32Array(784)).error > 0.3, "black is no moon");
});
