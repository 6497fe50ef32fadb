// The model of the chapter in closed form: z >= 0 with density e^(-z), x | z ~ N(z, 1), and q = N(loc, scale^2) cut off
// below 0. gentut.variational has the same numbers by quadrature. All in nats.

export const LOG_ROOT_2PI = 0.9189385332046727;
const TAIL = 2;  // from here on outwards the continued fraction is used, within it the power series

// For t >= 2, with phi and Phi the density and the distribution function of N(0, 1), the ratio phi(t) / (1 - Phi(t)) is
// t + K, where K = 1 / (t + L) and L = 2 / (t + 3 / (t + 4 / ...)): Laplace's continued fraction. K and L as such, never as
// differences of large numbers, keep every moment of a truncated normal exact far out in the tail.
function laplace(t) {
  const levels = Math.ceil(12 + 160 / (t * t));
  let rest = (t + Math.sqrt(t * t + 4 * levels)) / 2;  // about what all levels further down come to
  for (let k = levels; k >= 3; k--) rest = t + k / rest;
  const L = 2 / rest;
  return { K: 1 / (t + L), L };
}

// Phi(x) - 1/2 over phi(x): x + x^3 / 3 + x^5 / 15 + ..., all of one sign.
function powerSeries(x) {
  let term = x, sum = x;
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) { term *= (x * x) / k; sum += term; }
  return sum;
}
const density = x => Math.exp(-x * x / 2 - LOG_ROOT_2PI);

// log Phi(x), exact to rounding in both tails.
export function logNdtr(x) {
  if (x < -TAIL) return -x * x / 2 - LOG_ROOT_2PI - Math.log(-x + laplace(-x).K);
  if (x > TAIL) return Math.log1p(-density(x) / (x + laplace(x).K));
  return Math.log(0.5 + density(x) * powerSeries(x));
}

// log(Phi(x) / phi(x)), for which log Phi(x) would cancel where x is far below 0.
function logMills(x) {
  return x < -TAIL ? -Math.log(-x + laplace(-x).K) : logNdtr(x) + x * x / 2 + LOG_ROOT_2PI;
}

// q for scale 1: K its mean, second its mean square, v its variance, and its entropy; a = loc / scale.
function unit(a) {
  if (a < -TAIL) {
    const { K, L } = laplace(-a);
    return { K, second: K * L, v: K * (L - K), entropy: logMills(a) + (1 - a * K) / 2 };
  }
  const logPhi = logNdtr(a), h = Math.exp(-a * a / 2 - LOG_ROOT_2PI - logPhi), K = a + h;
  return { K, second: 1 + a * K, v: 1 - h * K, entropy: logPhi + LOG_ROOT_2PI + (1 - a * h) / 2 };
}

export const logEvidence = x => 0.5 - x + logNdtr(x - 1);

// Everything the page shows of q and x: { mean, variance, entropy, logJoint, logLikelihood, priorKl, elbo, kl, evidence }.
// logJoint and logLikelihood are expectations under q.
export function bound(loc, scale, x) {
  const { K, second, v, entropy: shape } = unit(loc / scale), c = x - 1;
  const mean = scale * K, variance = scale * scale * v, entropy = Math.log(scale) + shape, evidence = logEvidence(x);
  const logLikelihood = -LOG_ROOT_2PI - (variance + (mean - x) ** 2) / 2;
  const logJoint = logLikelihood - mean;  // log p(z) = -z
  // D(q || posterior), the posterior being N(c, 1) cut off below 0. Not as evidence - ELBO, so that the sum is a check.
  const kl = c < 0 ? logMills(c) + (scale * scale * second - 2 * c * mean) / 2 - entropy
    : logNdtr(c) + LOG_ROOT_2PI + (variance + (mean - c) ** 2) / 2 - entropy;
  return { mean, variance, entropy, logJoint, logLikelihood, priorKl: mean - entropy, elbo: logJoint + entropy,
    kl: Math.max(0, kl), evidence };  // rounding may leave -1e-16
}

// The gradient of the ELBO: [d/d loc, d/d log scale]. With t = -loc / scale and K as above, dK/dt = -v and the ELBO is, but for
// a constant,  c scale K - scale^2 (1 - t K) / 2 + log scale + log((1 - Phi(t)) / phi(t)) + (1 + t K) / 2.
export function elboGradient(loc, scale, x) {
  const t = -loc / scale, { K, second, v } = unit(-t), c = x - 1;
  const byT = -c * scale * v + scale * scale * (K - t * v) / 2 - (K + t * v) / 2;
  return [-byT / scale, -t * byT + c * scale * K - scale * scale * second + 1];
}

// One step of gradient ascent: gentut.variational.ascend.
export function ascend(loc, scale, x, rate = 0.1) {
  const [byLoc, byLogScale] = elboGradient(loc, scale, x);
  return [loc + rate * byLoc, scale * Math.exp(rate * byLogScale)];
}

// Densities on z >= 0 as functions of z.
export const jointDensity = x => z => Math.exp(-z - (x - z) ** 2 / 2 - LOG_ROOT_2PI);
export function qDensity(loc, scale) {
  const a = loc / scale, norm = -LOG_ROOT_2PI - Math.log(scale) - logNdtr(a);
  return z => Math.exp(norm - (z / scale - a) ** 2 / 2);
}
