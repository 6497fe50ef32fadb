// Points in the plane under noise and out of it again: gentut.points.Net and gentut.diffusion's steps in JavaScript.
import { gaussian, uniform } from "./common.js";
import { bytesOf, float16, layer } from "./nn.js";

const OWN = 65536;       // added to the number of a leg for points that the reader dropped: they have noise of their own

// What the network is told of the noise level a: points.featuresfeatures.
export function levelFeatures(a, k, reach) {
  const told = Math.min(reach, Math.max(-reach, Math.log(a) - Math.log(1 - a))), theta = (Math.PI * (told + reach)) / (2 * reach);
  return Float32Array.from({ length: 2 * k }, (_, i) => (i < k ? Math.sin((i + 1) * theta) : Math.cos((i - k + 1) * theta)));
}

// points.Net: { noise(x, n, a), origin(x, n, a) }, new Float32Arrays (2 n): the noise ε that it sees in n points at the level a,
// and where it takes them to have come from, (x - √(1 - a) ε) / √a, written so that nothing cancels where a is next to 0. All
// points of a call have one level, so what the level adds to a hidden layer is computed once for all of them.
export function denoiser(spec, bytes, room) {
  const layers = spec.layers.map(op => layer(op, bytes, room)), levels = spec.levels.map(op => layer(op, bytes, 1)), widths = spec.levels.map(op => op.out);
  const input = new Float32Array(2 * room), s = spec.spread;
  function perceptron(x, n, a, v) {
    if (n > room) throw new Error(`room for ${room} points, got ${n}`);
    const features = levelFeatures(a, spec.features, spec.reach), narrow = 1 / Math.sqrt(v);
    for (let i = 0; i < 2 * n; i++) input[i] = narrow * x[i];
    let h = input;
    levels.forEach((level, k) => {
      const add = level(features, 1), O = widths[k];
      h = layers[k](h, n);
      for (let p = 0, i = 0; p < n; p++) for (let j = 0; j < O; j++, i++) { const u = h[i] + add[j]; h[i] = u / (1 + Math.exp(-u)); }
    });
    return layers.at(-1)(h, n);
  }
  const mixed = (x, n, onX, g, onG) => { const out = new Float32Array(2 * n); for (let i = 0; i < 2 * n; i++) out[i] = onX * x[i] + onG * g[i]; return out; };
  const variance = a => a * s * s + 1 - a;
  function noise(x, n, given) {
    const a = spec.told ? given : 0.5, v = variance(a);  // a network that is not told the level takes every one for 1/2
    return mixed(x, n, Math.sqrt(1 - a) / v, perceptron(x, n, a, v), Math.sqrt(a / v) * s);
  }
  function origin(x, n, a) {
    if (!spec.told) return mixed(x, n, 1 / Math.sqrt(a), noise(x, n, a), -Math.sqrt((1 - a) / a));
    const v = variance(a);
    return mixed(x, n, (Math.sqrt(a) * s * s) / v, perceptron(x, n, a, v), -Math.sqrt((1 - a) / v) * s);
  }
  return { noise, origin };
}

// The data behind the weights, (known, 2) in a row.
export const cloudOf = (spec, raw, known) => float16(bytesOf(raw), spec.data, 2 * known);

// The ε of a seed, a leg of the run and the time that points come to: gentut.widgets.points.noise, n points.
const stream = (seed, leg, t) => (Math.imul(seed, 0x9e3779b1) + Math.imul(leg, 0x85ebca77) + Math.imul(t, 0xc2b2ae3d)) | 0;
export const draws = (seed, leg, t, n, own = false) => Float64Array.from({ length: 2 * n }, gaussian(stream(seed, leg + (own ? OWN : 0), t)));

// x_t from x_{t-1}: one step of the chain from ᾱ_{t-1} = before to ᾱ_t = a.
export function stepForward(x, before, a, z) {
  const alpha = a / before, keep = Math.sqrt(alpha), add = Math.sqrt(1 - alpha);
  return Float32Array.from(x, (v, i) => keep * v + add * z[i]);
}

// x_s from x_t and the noise that the network sees in it, ᾱ_t = a and ᾱ_s = before: Schedule.step_back.
export function stepBack(x, eps, a, before, eta, z) {
  const sigma = eta * Math.sqrt(((1 - before) / (1 - a)) * (1 - a / before));
  const noise = Math.sqrt(1 - a), x0 = Math.sqrt(before / a), left = Math.sqrt(Math.max(0, 1 - before - sigma ** 2));
  const last = before === 1 || sigma === 0;
  return Float32Array.from(x, (v, i) => x0 * (v - noise * eps[i]) + left * eps[i] + (last ? 0 : sigma * z[i]));
}

// The legs of a run: it begins at the data (t = 0) and goes forward, or at noise (t = T) and goes back, and turns around at the
// times `turns`. Each { from, to, forward }; the last one may go all the way.
export function legsOf(start, turns, T) {
  let forward = start === "data", from = forward ? 0 : T;
  const legs = turns.map(to => { const leg = { from, to, forward }; [from, forward] = [to, !forward]; return leg; });
  return [...legs, { from, to: forward ? T : 0, forward }];
}

// Turns that are left when the run is shown at t: those that t went back over are taken back.
export function turnsUpTo(start, turns, t, T) {
  const kept = [...turns];
  for (let leg = legsOf(start, kept, T).at(-1); kept.length && (leg.forward ? t < leg.from : t > leg.from); leg = legsOf(start, kept, T).at(-1)) kept.pop();
  return kept;
}

// Points on their way along the legs of a run, a step at a time. `first(n)` gives where they begin, or joins is a list of
// [x, y, t, leg]: points that are dropped on the way. Every step is kept: at(leg, k) is the k-th of a leg, k = |t - from|, or
// undefined if it is still to be computed. reach(leg, k, until) computes up to there, but no longer than to the time `until`.
export function flow({ alphaBar, eps, legs, eta, seed, first = null, joins = null, n = joins?.length ?? 0 }) {
  const own = Boolean(joins);
  let paths = legs.map(() => []);
  const timeAt = (leg, k) => legs[leg].from + (legs[leg].forward ? k : -k), lengthOf = leg => Math.abs(legs[leg].to - legs[leg].from);
  function join(x, leg, t) {
    joins?.forEach(([a, b, when, which], i) => { if (when === t && which === leg) [x[2 * i], x[2 * i + 1]] = [a, b]; });
    return x;
  }
  // Points that are not there yet are NaN, and the network is not asked for them.
  function noiseIn(x, a) {
    if (!own) return eps(x, n, a);
    const there = Array.from({ length: n }, (_, i) => i).filter(i => !Number.isNaN(x[2 * i])), out = new Float32Array(2 * n);
    const seen = there.length ? eps(Float32Array.from(there.flatMap(i => [x[2 * i], x[2 * i + 1]])), there.length, a) : [];
    there.forEach((i, j) => { out[2 * i] = seen[2 * j]; out[2 * i + 1] = seen[2 * j + 1]; });
    return out;
  }
  function next(leg) {
    const path = paths[leg], k = path.length;
    if (k === 0) {
      const before = leg ? paths[leg - 1].at(-1) : own ? new Float32Array(2 * n).fill(NaN) : Float32Array.from(first(n));
      path.push(join(Float32Array.from(before), leg, timeAt(leg, 0)));
      return;
    }
    const t = timeAt(leg, k), x = path[k - 1], z = legs[leg].forward || (eta > 0 && t > 0) ? draws(seed, leg, t, n, own) : null;
    path.push(join(legs[leg].forward ? stepForward(x, alphaBar[t - 1], alphaBar[t], z)
      : stepBack(x, noiseIn(x, alphaBar[t + 1]), alphaBar[t + 1], alphaBar[t], eta, z), leg, t));
  }
  return {
    n, at: (leg, k) => paths[leg]?.[k],
    // The same run with other turns: what both have in common stays.
    turn(now) {
      let same = true;
      paths = now.map((leg, i) => {
        const old = same && legs[i]?.from === leg.from && legs[i].forward === leg.forward ? paths[i] : [], end = Math.abs(leg.to - leg.from);
        same &&= old.length > end && legs[i].to === leg.to;
        return old.slice(0, end + 1);
      });
      legs = now;
    },
    // How far it is computed: the last leg begun and its last step.
    get far() { const leg = Math.max(0, paths.findLastIndex(path => path.length)); return { leg, k: Math.max(0, paths[leg].length - 1) }; },
    reach(leg, k, until = Infinity) {
      for (let l = 0; l <= leg; l++) for (const end = l < leg ? lengthOf(l) : k; paths[l].length <= end;) {
        next(l);
        if (performance.now() > until && !paths[leg][k]) return false;
      }
      return true;
    },
  };
}

// Where n points begin: at the data, drawn with repetition from the points of the cloud, or in N(0, I).
export function beginning(start, seed, T, cloud) {
  if (start === "noise") return n => draws(seed, 0, T, n);
  return n => {
    const next = uniform(stream(seed, 0, 0)), x = new Float32Array(2 * n);
    for (let k = 0; k < n; k++) { const i = Math.floor((next() * cloud.length) / 2); x[2 * k] = cloud[2 * i]; x[2 * k + 1] = cloud[2 * i + 1]; }
    return x;
  };
}

// Root mean square of all coordinates.
export const spreadOf = x => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

function distances(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i += 2) for (let j = 0; j < y.length; j += 2) { const a = x[i] - y[j], b = x[i + 1] - y[j + 1]; sum += Math.sqrt(a * a + b * b); }
  return (4 * sum) / (x.length * y.length);
}

// 2 E|X - Y| - E|X - X'| - E|Y - Y'| for two clouds of points, and what two clouds of one distribution as wide as Y give on
// average: a cloud's own distances count each point's distance 0 to itself.
export function energyDistance(x, y) {
  const within = distances(y, y), n = x.length / 2, m = y.length / 2;
  return { value: 2 * distances(x, y) - distances(x, x) - within, chance: ((within * m) / (m - 1)) * (1 / n + 1 / m) };
}
