import assert from "node:assert/strict";
import { test } from "node:test";
import { beginning, draws, energyDistance, flow, legsOf, spreadOf, stepBack, stepForward, turnsUpTo } from "../../gentut/widgets/points-maths.js";
import { gridOf, verdict, windowOf } from "../../gentut/widgets/points-field.js";

const near = (a, b, what, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);
// ᾱ falls geometrically to `last` over T steps.
const falling = (T, last) => Array.from({ length: T + 1 }, (_, t) => last ** (t / T));
// As the cosine schedule: small steps where little noise is left.
const cosine = T => Array.from({ length: T + 1 }, (_, t) => Math.cos((Math.PI / 2) * (t / (T + 1))) ** 2);
// The best there is for data N(0, s²): linear in x.
const linear = s => (x, n, a) => Float32Array.from(x, v => (Math.sqrt(1 - a) * v) / (a * s * s + 1 - a));
const START = { data: 0, noise: 1 };

test("a run's legs follow one another and alternate", () => {
  assert.deepEqual(legsOf("noise", [], 100), [{ from: 100, to: 0, forward: false }]);
  assert.deepEqual(legsOf("data", [60, 20], 100), [{ from: 0, to: 60, forward: true }, { from: 60, to: 20, forward: false }, { from: 20, to: 100, forward: true }]);
});

test("a time before the last turn takes it back, and any other time takes none", () => {
  assert.deepEqual(turnsUpTo("data", [60, 20], 20, 100), [60, 20]);
  assert.deepEqual(turnsUpTo("data", [60, 20], 45, 100), [60, 20]);
  assert.deepEqual(turnsUpTo("data", [60, 20], 10, 100), [60]);
  assert.deepEqual(turnsUpTo("data", [60], 80, 100), []);
  assert.deepEqual(turnsUpTo("noise", [30], 10, 100), []);
  for (const start in START) for (let t = 0; t <= 12; t++) for (const turns of [[], [5], start === "data" ? [9, 2] : [3, 10], start === "data" ? [9, 2, 11] : [3, 10, 1]]) {
    const kept = turnsUpTo(start, turns, t, 12), leg = legsOf(start, kept, 12).at(-1);
    assert.deepEqual(kept, turns.slice(0, kept.length));
    assert.ok(leg.forward ? t >= leg.from : t <= leg.from, `${start} ${turns} at ${t}`);
    if (kept.length < turns.length) {
      const next = legsOf(start, turns.slice(0, kept.length + 1), 12).at(-1);
      assert.ok(next.forward ? t < next.from : t > next.from, "no turn is taken back without need");
    }
  }
});

test("draws are N(0, 1), repeat with their seed, and differ by seed, leg, time and owner", () => {
  const x = draws(1, 0, 5, 10000), mean = x.reduce((s, v) => s + v, 0) / x.length;
  near(mean, 0, "mean", 0.03);
  near(spreadOf(x), 1, "spread", 0.03);
  assert.deepEqual(draws(1, 0, 5, 10000), x);
  const few = [draws(1, 0, 5, 3), draws(2, 0, 5, 3), draws(1, 1, 5, 3), draws(1, 0, 6, 3), draws(1, 0, 5, 3, true)].map(v => v.join(" "));
  assert.equal(new Set(few).size, 5);
});

test("the chain gives the spread that its ᾱ says, at every time", () => {
  const alphaBar = falling(20, 0.05), s = 0.3, n = 6000, first = count => draws(3, 9, 9, count).map(v => s * v);
  const run = flow({ alphaBar, eps: null, legs: legsOf("data", [], 20), eta: 0, seed: 4, first, n });
  assert.ok(run.reach(0, 20));
  for (const t of [0, 1, 10, 20]) near(spreadOf(run.at(0, t)), Math.sqrt(alphaBar[t] * s * s + 1 - alphaBar[t]), `t = ${t}`, 0.02);
});

// Every step back of linear data is a Gaussian's, so the variance after each is known exactly, for DDIM and for DDPM.
test("the way back of Gaussian data has the variance that its steps say, and ends at the data's where the chain began as it ends", () => {
  const T = 100, alphaBar = cosine(T), s = 0.3, n = 4000;
  for (const eta of [0, 0.5, 1]) {
    let wanted = 1;
    for (let t = T; t > 0; t--) {
      const a = alphaBar[t], b = alphaBar[t - 1], sigma = eta * Math.sqrt(((1 - b) / (1 - a)) * (1 - a / b)), v = a * s * s + 1 - a;
      const gain = (Math.sqrt(b) * Math.sqrt(a) * s * s + Math.sqrt(Math.max(0, 1 - b - sigma ** 2)) * Math.sqrt(1 - a)) / v;
      wanted = gain ** 2 * wanted + (t > 1 ? sigma ** 2 : 0);
    }
    const run = flow({ alphaBar, eps: linear(s), legs: legsOf("noise", [], T), eta, seed: 2, first: beginning("noise", 2, T), n });
    run.reach(0, T);
    near(spreadOf(run.at(0, T)), Math.sqrt(wanted), `eta ${eta}`, 0.04 * Math.sqrt(wanted));
    if (eta === 0) near(Math.sqrt(wanted), s, "DDIM's own error", 0.03);
  }
  const short = alphaBar.map(a => 0.778 + 0.222 * a), ddim = first => { const run = flow({ alphaBar: short, eps: linear(s), legs: legsOf("noise", [], T), eta: 0, seed: 2, first, n }); run.reach(0, T); return spreadOf(run.at(0, T)); };
  const begun = ddim(beginning("noise", 2, T)), fair = ddim(count => beginning("noise", 2, T)(count).map(v => v * Math.sqrt(0.778 * s * s + 0.222)));
  near(fair, s, "from where the chain ends", 0.03);
  assert.ok(begun > 1.6 * s, `from N(0, I) the points end too far out: ${begun}`);
});

const made = (turns, more = {}) => ({ alphaBar: falling(12, 0.01), eps: linear(0.4), legs: legsOf("data", turns, 12), eta: 0.7, seed: 5, first: n => draws(8, 0, 0, n), n: 7, ...more });
const whole = (run, legs) => legs.map((leg, l) => Array.from({ length: Math.abs(leg.to - leg.from) + 1 }, (_, k) => [...run.at(l, k)]));

test("in slices a run comes out as at once", () => {
  const given = made([9, 4]), once = flow(given), slices = flow(given);
  once.reach(2, 8);
  let calls = 0;
  while (!slices.reach(2, 8, -1)) { calls += 1; assert.ok(calls < 100); }
  assert.ok(calls >= 20, "an expired time lets through one step a call");
  assert.deepEqual(whole(slices, given.legs), whole(once, given.legs));
  assert.deepEqual(once.far, { leg: 2, k: 8 });
});

test("turning keeps what is known, and gives what a run with these turns from the beginning gives", () => {
  for (const [before, after] of [[[], [9]], [[9], []], [[9, 4], [9, 2]], [[9], [9, 4]], [[9, 4], [7]], [[9, 4], [9, 4]]]) {
    const legs = legsOf("data", after, 12), fresh = flow(made(after)), k = Math.abs(legs.at(-1).to - legs.at(-1).from);
    let asked = 0;
    const turned = flow(made(before, { eps: (...given) => { asked += 1; return linear(0.4)(...given); } }));
    turned.reach(before.length, before.length ? 3 : 12);
    const first = turned.at(0, 7);
    asked = 0;
    turned.turn(legs);
    assert.equal(turned.at(0, 7), first, "the common part is not computed anew");
    turned.reach(after.length, k);
    fresh.reach(after.length, k);
    assert.deepEqual(whole(turned, legs), whole(fresh, legs), `${before} to ${after}`);
    if (before.length === 2 && String(before) === String(after)) assert.equal(asked, 0);
  }
});

test("dropped points join where they are dropped and move by themselves", () => {
  const joins = [[1, 2, 0, 0], [-3, 0.5, 5, 0], [0.25, 0, 7, 1], [4, 4, 9, 1]], given = made([9], { joins, first: null, n: undefined }), run = flow(given);
  run.reach(1, 9);
  assert.equal(run.n, 4);
  assert.deepEqual([...run.at(0, 0)], [1, 2, NaN, NaN, NaN, NaN, NaN, NaN]);
  assert.deepEqual([...run.at(0, 5)].slice(2, 4), [-3, 0.5]);
  assert.ok([...run.at(0, 8)].slice(4).every(Number.isNaN));
  assert.deepEqual([...run.at(1, 0)].slice(6), [4, 4], "at a turn, on the leg after it");
  assert.deepEqual([...run.at(1, 2)].slice(4, 6), [0.25, 0]);
  assert.ok([...run.at(1, 9)].every(Number.isFinite));
  const alone = flow({ ...given, joins: joins.slice(0, 1) });
  alone.reach(1, 9);
  assert.deepEqual([...alone.at(1, 9)], [...run.at(1, 9)].slice(0, 2), "none minds the others");
  const x = run.at(0, 6), z = draws(5, 0, 7, 4, true), step = stepForward(x, given.alphaBar[6], given.alphaBar[7], z);
  assert.deepEqual([...run.at(0, 7)].slice(0, 4), [...step].slice(0, 4));
});

test("DDIM draws nothing, and no step to t = 0 does", () => {
  const x = [0.3, -1], eps = [0.1, 0.2];
  assert.deepEqual(stepBack(x, eps, 0.4, 0.6, 0, null), stepBack(x, eps, 0.4, 0.6, 0, [9, 9]));
  assert.deepEqual(stepBack(x, eps, 0.4, 1, 1, null), stepBack(x, eps, 0.4, 1, 1, [9, 9]));
  assert.notDeepEqual(stepBack(x, eps, 0.4, 0.6, 1, [0, 0]), stepBack(x, eps, 0.4, 0.6, 1, [1, 0]));
});

test("points that begin at the data are the data's, and all of it comes up", () => {
  const cloud = Float32Array.from({ length: 20 }, (_, i) => i), x = beginning("data", 1, 10, cloud)(400), seen = new Set();
  for (let i = 0; i < x.length; i += 2) { assert.equal(x[i + 1], x[i] + 1); assert.equal(x[i] % 2, 0); seen.add(x[i]); }
  assert.equal(seen.size, 10);
});

test("the window holds the chain and nearly all of the points", () => {
  const wide = draws(1, 0, 0, 1000), small = wide.map(v => 0.01 * v), share = (x, half) => x.filter(v => Math.abs(v) <= half).length / x.length;
  assert.ok(share(wide, windowOf(wide, 1, 0.2)) > 0.97);
  near(windowOf(small, 1, 0.2), 0.224, "at t = 0 it is the data's", 1e-9);
  assert.ok(windowOf(small, 0.0001, 0.2) > 2.3, "at noise it is noise's, however narrow the points");
});

test("the grid's places are the centres of its cells", () => {
  const grid = gridOf(3, 3);
  assert.deepEqual([...grid], [-2, -2, 0, -2, 2, -2, -2, 0, 0, 0, 2, 0, -2, 2, 0, 2, 2, 2]);
});

test("a schedule is judged by what it leaves of the data", () => {
  assert.match(verdict([1, 0.5, 1e-4], 0.1), /reaches noise.*0\.010/);
  assert.match(verdict([1, 0.9, 0.778], 0.1), /does not reach noise.*0\.88.*spread 0\.48/);
});

test("the energy distance of a cloud to itself is 0, and grows with what lies between two", () => {
  const a = draws(1, 0, 0, 300), b = draws(2, 0, 0, 300), moved = b.map((v, i) => v + (i % 2 ? 0 : 1));
  near(energyDistance(a, a).value, 0, "to itself", 1e-12);
  const { value, chance } = energyDistance(a, b), far = energyDistance(a, moved).value;
  assert.ok(value > 0 && value < 4 * chance && far > 10 * chance, `${value} ${chance} ${far}`);
});
