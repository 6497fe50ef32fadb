// Paths between two z, and how long a z of N(0, I) is: gentut.widgets.gan in JavaScript.
import { clamp, gaussian } from "./common.js";

// The z of a seed: n numbers from N(0, 1).
export const drawn = (seed, n) => Array.from({ length: n }, gaussian(seed));

export const norm = z => Math.sqrt(z.reduce((sum, v) => sum + v * v, 0));

// The point at t of the path from a (t = 0) to b (t = 1). On the spherical path the direction turns at an even pace and the
// length goes evenly from |a| to |b|; where no great circle is given it is the straight path.
export function between(a, b, t, path) {
  const straight = a.map((v, i) => (1 - t) * v + t * b[i]), p = norm(a), q = norm(b);
  if (path === "straight" || !(p * q > 0)) return straight;
  const angle = Math.acos(clamp(a.reduce((sum, v, i) => sum + v * b[i], 0) / (p * q), -1, 1)), sine = Math.sin(angle);
  if (sine < 1e-6) return straight;
  const length = (1 - t) * p + t * q, u = (length * Math.sin((1 - t) * angle)) / (sine * p), v = (length * Math.sin(t * angle)) / (sine * q);
  return a.map((each, i) => u * each + v * b[i]);
}

// The share of z ~ N(0, I) in n dimensions that are shorter than r: the chi distribution's function, by the series of the
// incomplete gamma function P(n/2, r²/2). Its terms are positive, so nothing cancels.
export function shorter(r, n) {
  const x = (r * r) / 2, a = n / 2;
  if (x === 0 || x > 500) return x && 1;                        // beyond, the first term has no number; the sum is 1 for n up to 400
  let gamma = n % 2 ? 0.5 * Math.log(Math.PI) : 0;              // log Γ(a + 1), up from Γ(1/2) or Γ(1)
  for (let k = n % 2 ? 0.5 : 1; k <= a; k++) gamma += Math.log(k);
  let term = Math.exp(a * Math.log(x) - x - gamma), sum = term;
  for (let k = 1; term > sum * 1e-16 && k < 10000; k++) { term *= x / (a + k); sum += term; }
  return Math.min(1, sum);
}
