// The information chapter's numbers, as gentut.information computes them. Everything is in nats; BIT turns them into bits.

export const BIT = Math.LN2;  // nats in a bit

// -log p: how surprising an outcome of probability p is. 0 - ..., so that a sure outcome gives 0 and not -0.
export const information = p => 0 - Math.log(p);

// H(p). An outcome that never happens adds nothing: 0 log 0 = 0.
export const entropy = p => p.reduce((sum, v) => (v ? sum + v * information(v) : sum), 0);

// H(p, q): infinite where q = 0 < p.
export const crossEntropy = (p, q) => p.reduce((sum, v, i) => (v ? sum + v * information(q[i]) : sum), 0);

// D(p || q) as the sum of p log(p / q) - (p - q). All p - q together are 0, and no term is negative, so near p = q nothing cancels.
export function kl(p, q) {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    if (!p[i]) { sum += q[i]; continue; }
    const ratio = p[i] / q[i];
    // Of a ratio too large for a number the logarithm is not: q is then so small that it may be nothing at all.
    sum += Number.isFinite(ratio) ? p[i] * Math.log(ratio) - q[i] * (ratio - 1) : p[i] * (Math.log(p[i]) - Math.log(q[i])) - (p[i] - q[i]);
  }
  return Math.max(0, sum);
}

// The five totals of two distributions, in nats.
export const totals = (p, q) => ({ p: entropy(p), q: entropy(q), cross: crossEntropy(p, q), forward: kl(p, q), reverse: kl(q, p) });

// Which outcomes q rules out although p allows them: why D(p || q) is infinite.
export const ruledOut = (p, q) => p.flatMap((v, i) => (v > 0 && q[i] === 0 ? [i] : []));

// p with p[index] = value and the others scaled by one factor, so that the sum stays 1. Where all others are 0 there is nothing to scale:
// they share what is left equally.
export function rescale(p, index, value) {
  const others = p.reduce((sum, v, i) => (i === index ? sum : sum + v), 0);
  return p.map((v, i) => (i === index ? value : (1 - value) * (others ? v / others : 1 / (p.length - 1))));
}

// One outcome more, as likely as the average one; and the last outcome gone.
export const grown = p => [...p.map(v => (v * p.length) / (p.length + 1)), 1 / (p.length + 1)];
export function shrunk(p) {
  const rest = p.slice(0, -1), sum = rest.reduce((a, b) => a + b, 0);
  return rest.map(v => (sum ? v / sum : 1 / rest.length));
}

// A name for outcome number names.length + 1: the next number after 1, 2, 3, ..., else the first letter that is free.
export function nextName(names) {
  if (names.every((name, i) => name === String(i + 1))) return String(names.length + 1);
  return [..."ABCDEFGHIJKL"].slice(names.length).find(letter => !names.includes(letter));
}

// log of the density of N(mu, sigma²).
export const logNormal = (x, mu, sigma) => -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - 0.5 * Math.log(2 * Math.PI);

// D(N(mu, sigma²) || N(0, 1)); sigma² - 1 as a product, which does not cancel near 1.
export const klNormal = (mu, sigma) => 0.5 * (mu * mu + (sigma - 1) * (sigma + 1)) - Math.log(sigma);

// D(p || q) of p = [mu, sigma] and q: measured in units of q, q is N(0, 1).
export const klNormals = (p, q) => klNormal((p[0] - q[0]) / q[1], p[1] / q[1]);

// p(x) log(p(x) / q(x)), whose integral is D(p || q).
export function integrand(x, p, q) {
  const log = logNormal(x, ...p);
  return Math.exp(log) * (log - logNormal(x, ...q));
}

// Where the two densities are equal, in order: no place, one, or two. log p - log q is a x² + b x + c.
export function crossings([m, s], [n, t]) {
  const a = 0.5 * (1 / (t * t) - 1 / (s * s)), b = m / (s * s) - n / (t * t);
  const c = 0.5 * ((n / t) ** 2 - (m / s) ** 2) + Math.log(t / s);
  if (a === 0) return b === 0 ? [] : [-c / b];
  const inside = b * b - 4 * a * c;
  if (inside < 0) return [];
  const k = -0.5 * (b + (b < 0 ? -1 : 1) * Math.sqrt(inside));  // of the two formulas for a root, the one that does not cancel
  return (k === 0 ? [0] : [k / a, c / k]).filter(Number.isFinite).sort((one, two) => one - two);
}

const NODES = [[0, 128 / 225], ...[[5 - 2 * Math.sqrt(10 / 7), 322 + 13 * Math.sqrt(70)], [5 + 2 * Math.sqrt(10 / 7), 322 - 13 * Math.sqrt(70)]]
  .flatMap(([square, weight]) => [-1, 1].map(side => [(side * Math.sqrt(square)) / 3, weight / 900]))];  // Gauss and Legendre, five points

// The integral of p log(p / q), by quadrature: what counts positive and what counts negative apart. Between crossings the sign does not
// change. Beyond 12 sigma p is below 1e-31 of its peak.
export function areas(p, q, panels = 48) {
  const [low, high] = [p[0] - 12 * p[1], p[0] + 12 * p[1]];
  const ends = [low, ...crossings(p, q).filter(x => x > low && x < high), high], found = { positive: 0, negative: 0 };
  for (let piece = 0; piece + 1 < ends.length; piece++) {
    const half = (ends[piece + 1] - ends[piece]) / panels / 2;
    let sum = 0;
    for (let i = 0; i < panels; i++) for (const [at, weight] of NODES) sum += weight * integrand(ends[piece] + (2 * i + 1 + at) * half, p, q);
    sum *= half;
    if (sum > 0) found.positive += sum; else found.negative -= sum;
  }
  return { ...found, signed: found.positive - found.negative };
}
