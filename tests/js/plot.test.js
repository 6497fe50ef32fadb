import assert from "node:assert/strict";
import { test } from "node:test";
import { figure, spread, ticks } from "../../gentut/widgets/plot.js";

test("ticks are round, within the range, evenly spaced and about as many as asked for", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(-3, 3, 6), [-3, -2, -1, 0, 1, 2, 3]);
  for (let i = 0; i < 200; i++) {
    const low = Math.sin(i) * 10 ** (i % 7 - 3), high = low + (1.01 + Math.cos(7 * i)) * 10 ** (i % 5 - 2), list = ticks(low, high, 5);
    assert.ok(list.length >= 2 && list.length <= 7, `${low} to ${high}: ${list}`);
    assert.ok(list[0] >= low - 1e-9 && list.at(-1) <= high + 1e-9);
    for (const t of list) assert.ok(String(t).replace(/^-?0?\.?0*/, "").length <= 8, `not round: ${t}`);
  }
});

test("labels keep apart and stay near where they want to be", () => {
  assert.deepEqual(spread([10, 50], 12, 0, 100), [10, 50]);
  assert.deepEqual(spread([50, 51], 12, 0, 100), [50, 62]);
  const packed = spread([97, 98, 99], 12, 0, 100);
  assert.equal(packed[2], 100);
  assert.ok(packed[1] - packed[0] >= 12 && packed[2] - packed[1] >= 12);
});

test("numbers are written with a true minus, infinity and powers of ten", () => {
  assert.equal(figure(-0.7219), "\u22120.722");
  assert.equal(figure(Infinity), "\u221e");
  assert.equal(figure(-Infinity), "\u2212\u221e");
  assert.equal(figure(NaN), "undefined");
  assert.equal(figure(0), "0.000");
  assert.equal(figure(-3.2e-9), "\u22123.20 \u00d7 10\u207b\u2079");
  assert.equal(figure(123456789, 3), "1.23 \u00d7 10\u2078");
  assert.equal(figure(0.25, 2), "0.25");
});
