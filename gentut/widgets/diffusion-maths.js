// The arithmetic of gentut.diffusion that the chapter's widgets need: schedules of noise, and one jump to any time.
import { gaussian } from "./common.js";

// n numbers evenly from low to high, each computed from the nearer end, as torch does it.
const evenly = (low, high, n) => {
  const step = n > 1 ? (high - low) / (n - 1) : 0;
  return Array.from({ length: n }, (_, i) => (i < n / 2 ? low + step * i : high - step * (n - 1 - i)));
};
const wave = (t, T) => Math.cos(((t / T + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
const BETAS = {
  linear: T => evenly(1e-4, 0.02, T),
  cosine: T => Array.from({ length: T }, (_, i) => Math.min(0.999, 1 - wave(i + 1, T) / wave(i, T))),
  sigmoid: T => evenly(-6, 6, T).map(x => (5e-3 - 1e-5) / (1 + Math.exp(-x)) + 1e-5),
};

// Schedule.named(name, T): Float64Arrays of T + 1 numbers whose index is t. At t = 0 there is no noise: β is 0, ᾱ is 1
// and log SNR infinite.
export function schedule(name, T) {
  const betas = Float64Array.of(0, ...BETAS[name](T)), alphaBar = new Float64Array(T + 1).fill(1);
  for (let t = 1; t <= T; t++) alphaBar[t] = alphaBar[t - 1] * (1 - betas[t]);
  return { name, T, betas, alphaBar, logSnr: alphaBar.map(a => Math.log(a / (1 - a))) };
}

// A chain whose √ᾱ_T is larger has not forgotten the data: gentut.diffusion.REACHED.
export const REACHED = 0.1;

// Pixels from 0 to 255 as numbers from -1 to 1, and the ε of a seed for a picture.
export const signed = pixels => Float64Array.from(pixels, v => v / 127.5 - 1);
export const noise = seed => Float64Array.from({ length: 784 }, gaussian(seed));

// x_t = √ᾱ x_0 + √(1 - ᾱ) ε for arrays of one length.
export function noised(x0, eps, a) {
  const keep = Math.sqrt(a), add = Math.sqrt(1 - a);
  return Float64Array.from(x0, (v, i) => keep * v + add * eps[i]);
}

// Mean and standard deviation of all numbers.
export function moments(values) {
  let sum = 0, squares = 0;
  for (const v of values) sum += v;
  const mean = sum / values.length;
  for (const v of values) squares += (v - mean) ** 2;
  return { mean, deviation: Math.sqrt(squares / values.length) };
}

// How many numbers fall into each of n cells of one width between -reach and reach; those beyond count in the outer cells.
export function histogram(values, reach, n) {
  const counts = new Array(n).fill(0);
  for (const v of values) counts[Math.min(n - 1, Math.max(0, Math.floor(((v + reach) / (2 * reach)) * n)))] += 1;
  return counts;
}
