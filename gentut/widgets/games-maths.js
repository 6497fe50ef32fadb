// A small game between two networks, in float64: tanh networks with their gradients, the losses of gentut.gan, Adam, and
// what the page measures of points. Batches are flat arrays, one point after the other.
import { gaussian, normPpf, uniform } from "./common.js";
import { sigmoid } from "./nn.js";

const softplus = v => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
const mean = values => values.reduce((sum, v) => sum + v, 0) / values.length;

// ---------------------------------------------------------------------------------------------------------- the networks

// A network of linear layers with tanh between them. shapes: [[out, in], ...]; numbers: weight (out, in) and bias (out,)
// of each layer, one after the other. `parameters` and `gradients` are lists of arrays in that order.
export function perceptron(shapes, numbers) {
  const layers = [];
  let at = 0;
  for (const [out, into] of shapes) {
    const weight = Float64Array.from(numbers.slice(at, at + out * into)), bias = Float64Array.from(numbers.slice(at + out * into, at + out * into + out));
    layers.push({ out, into, weight, bias, dWeight: new Float64Array(out * into), dBias: new Float64Array(out) });
    at += out * into + out;
  }
  const parameters = layers.flatMap(l => [l.weight, l.bias]), gradients = layers.flatMap(l => [l.dWeight, l.dBias]);
  const last = layers.length - 1;

  // y = W x + b for n points; without `bias` only W x.
  function linear({ out, into, weight, bias }, x, n, affine = true) {
    const y = new Float64Array(n * out);
    for (let i = 0; i < n; i++) for (let o = 0; o < out; o++) {
      let sum = affine ? bias[o] : 0;
      for (let k = 0, w = o * into, p = i * into; k < into; k++) sum += weight[w + k] * x[p + k];
      y[i * out + o] = sum;
    }
    return y;
  }
  // Gradient for x from the gradient for y = W x + b.
  function back({ out, into, weight }, dy, n) {
    const dx = new Float64Array(n * into);
    for (let i = 0; i < n; i++) for (let o = 0; o < out; o++) {
      const d = dy[i * out + o];
      for (let k = 0, w = o * into, p = i * into; k < into; k++) dx[p + k] += d * weight[w + k];
    }
    return dx;
  }
  // Add the gradient for W, and with `affine` that for b.
  function collect(layer, x, dy, n, affine = true) {
    const { out, into, dWeight, dBias } = layer;
    for (let i = 0; i < n; i++) for (let o = 0; o < out; o++) {
      const d = dy[i * out + o];
      if (affine) dBias[o] += d;
      for (let k = 0, w = o * into, p = i * into; k < into; k++) dWeight[w + k] += d * x[p + k];
    }
  }
  // What goes into each layer, and last the output: [x, h1, ..., y].
  function forward(x) {
    const n = x.length / shapes[0][1], held = [x];
    layers.forEach((layer, i) => {
      const y = linear(layer, held[i], n);
      if (i < last) for (let k = 0; k < y.length; k++) y[k] = Math.tanh(y[k]);
      held.push(y);
    });
    return held;
  }
  // From the gradient for the output to that for the input; with `learn` the weights' gradients are added up.
  function backward(held, dy, learn = true) {
    const n = held[0].length / shapes[0][1];
    let d = dy;
    for (let i = last; i >= 0; i--) {
      if (learn) collect(layers[i], held[i], d, n);
      d = back(layers[i], d, n);
      if (i) for (let k = 0; k < d.length; k++) d[k] *= 1 - held[i][k] ** 2;
    }
    return d;
  }
  // Slope of a network with one output: its gradient with respect to each point.
  const slope = held => backward(held, new Float64Array(held.at(-1).length).fill(1), false);
  // Add the weights' gradient of the sum over the points of direction . slope(x), the directions held fixed: the output's
  // change along the directions (forward), and then back through that change.
  function backwardSlope(held, directions) {
    const n = held[0].length / shapes[0][1], moves = [directions], changes = [];
    for (let i = 0; i < last; i++) {
      const change = linear(layers[i], moves[i], n, false);
      changes.push(change);
      moves.push(change.map((c, k) => c * (1 - held[i + 1][k] ** 2)));
    }
    const ones = new Float64Array(n).fill(1);
    collect(layers[last], moves[last], ones, n, false);
    let dMove = back(layers[last], ones, n), dHeld = new Float64Array(dMove.length);
    for (let i = last - 1; i >= 0; i--) {
      const h = held[i + 1], change = changes[i];
      const dChange = dMove.map((d, k) => d * (1 - h[k] ** 2));
      const dSum = dHeld.map((d, k) => (d - 2 * dMove[k] * change[k] * h[k]) * (1 - h[k] ** 2));
      collect(layers[i], held[i], dSum, n);
      collect(layers[i], moves[i], dChange, n, false);
      dHeld = back(layers[i], dSum, n);
      dMove = back(layers[i], dChange, n);
    }
  }
  const clear = () => { for (const g of gradients) g.fill(0); };
  return { parameters, gradients, forward, backward, slope, backwardSlope, clear, run: x => forward(x).at(-1) };
}

// Adam as torch.optim.Adam does it (Kingma and Ba, arXiv:1412.6980); returns the step, which takes a learning rate.
export function adam({ parameters, gradients }, beta1, beta2, eps = 1e-8) {
  const first = parameters.map(p => new Float64Array(p.length)), second = parameters.map(p => new Float64Array(p.length));
  let t = 0;
  return rate => {
    t += 1;
    const size = rate / (1 - beta1 ** t), root = Math.sqrt(1 - beta2 ** t);
    parameters.forEach((p, i) => {
      const g = gradients[i], m = first[i], v = second[i];
      for (let k = 0; k < p.length; k++) {
        m[k] += (1 - beta1) * (g[k] - m[k]);
        v[k] = beta2 * v[k] + (1 - beta2) * g[k] * g[k];
        p[k] -= (size * m[k]) / (Math.sqrt(v[k]) / root + eps);
      }
    });
  };
}

// ------------------------------------------------------------------------------------------------------------ the losses

// gentut.gan's losses of one score, [value, derivative].
const REAL = {
  "saturating": s => [softplus(-s), -sigmoid(-s)],
  "least-squares": s => [(s - 1) ** 2 / 2, s - 1],
  "wgan-gp": s => [-s, -1],
};
const FAKE = {
  "saturating": s => [softplus(s), sigmoid(s)],
  "least-squares": s => [s ** 2 / 2, s],
  "wgan-gp": s => [s, 1],
};
const FOOL = {
  "saturating": s => [-softplus(s), -sigmoid(s)],
  "non-saturating": s => [softplus(-s), -sigmoid(-s)],
  "least-squares": s => [(s - 1) ** 2 / 2, s - 1],
  "wgan-gp": s => [-s, -1],
};
REAL["non-saturating"] = REAL.saturating;
FAKE["non-saturating"] = FAKE.saturating;

// -------------------------------------------------------------------------------------------------------------- the game

// Two networks and a step for each. settings: loss, penalty, beta1, beta2. A step takes a batch and a learning rate and
// returns the loss before the update.
export function game(settings, generator, discriminator) {
  const { loss, penalty, beta1, beta2 } = settings, dim = discriminator.parameters[0].length / discriminator.parameters[1].length;
  const moveG = adam(generator, beta1, beta2), moveD = adam(discriminator, beta1, beta2);

  // The discriminator on points x and on the generator's points for z; u: one number in [0, 1) a point, for the penalty.
  function discriminatorStep(x, z, u, rate) {
    const fake = generator.run(z), n = x.length / dim;
    const heldReal = discriminator.forward(x), heldFake = discriminator.forward(fake), onReal = heldReal.at(-1), onFake = heldFake.at(-1);
    const real = Array.from(onReal, REAL[loss]), false_ = Array.from(onFake, FAKE[loss]);
    let value = mean(real.map(v => v[0])) + mean(false_.map(v => v[0]));
    discriminator.clear();
    discriminator.backward(heldReal, Float64Array.from(real, v => v[1] / n));
    discriminator.backward(heldFake, Float64Array.from(false_, v => v[1] / n));
    if (penalty) {
      const held = discriminator.forward(x.map((v, k) => { const w = u[Math.floor(k / dim)]; return w * v + (1 - w) * fake[k]; }));
      const slopes = discriminator.slope(held), directions = new Float64Array(slopes.length);
      for (let i = 0; i < n; i++) {
        const length = Math.hypot(...slopes.subarray(i * dim, (i + 1) * dim));
        value += (penalty * (length - 1) ** 2) / n;
        if (length) for (let k = i * dim; k < (i + 1) * dim; k++) directions[k] = (penalty * 2 * (length - 1) * slopes[k]) / length / n;
      }
      discriminator.backwardSlope(held, directions);
    }
    moveD(rate);
    return value;
  }
  // The generator on z, through the discriminator, which stays as it is.
  function generatorStep(z, rate) {
    const heldG = generator.forward(z), heldD = discriminator.forward(heldG.at(-1)), scores = Array.from(heldD.at(-1), FOOL[loss]);
    generator.clear();
    generator.backward(heldG, discriminator.backward(heldD, Float64Array.from(scores, v => v[1] / scores.length), false));
    moveG(rate);
    return mean(scores.map(v => v[0]));
  }
  // What a frame of a record holds (gentut.games.look): the points for z, the arrows of every `stride`-th of them (minus
  // the gradient of the generator's loss of a point by the point), and means over these points and over the points `real`.
  function look(z, real, quantiles, stride) {
    const samples = generator.run(z), held = discriminator.forward(samples), onFake = Array.from(held.at(-1)), onReal = Array.from(discriminator.run(real));
    const all = discriminator.backward(held, Float64Array.from(onFake, s => -FOOL[loss](s)[1]), false);
    const sorted = Float64Array.from(samples).sort();
    return {
      samples, arrows: all.filter((_, i) => i % stride === 0), push: mean(Array.from(all, Math.abs)),
      discriminator_loss: mean(onReal.map(s => REAL[loss](s)[0])) + mean(onFake.map(s => FAKE[loss](s)[0])),
      generator_loss: mean(onFake.map(s => FOOL[loss](s)[0])),
      right: (mean(onReal.map(s => Number(s > 0))) + mean(onFake.map(s => Number(s < 0)))) / 2,
      distance: mean(Array.from(sorted, (x, i) => Math.abs(x - quantiles[i]))),
    };
  }
  return { generator, discriminator, discriminatorStep, generatorStep, look };
}

// Batches from a seed: x from a mixture on the line, z from N(0, 1), u from [0, 1).
export function source({ means, sigmas, weights }, seed) {
  const next = uniform(seed), normal = gaussian(seed + 1), list = (n, draw) => Float64Array.from({ length: n }, draw);
  const one = () => {
    let u = next(), k = 0;
    while (k < weights.length - 1 && u >= weights[k]) u -= weights[k++];
    return means[k][0] + sigmas[k] * normal();
  };
  return { x: n => list(n, one), z: n => list(n, normal), u: n => list(n, next) };
}

// ---------------------------------------------------------------------------------------------------------- what is seen

// Density at x of a mixture of Gaussians on the line.
export function density({ means, sigmas, weights }, x) {
  let sum = 0;
  for (let k = 0; k < sigmas.length; k++) sum += (weights[k] / sigmas[k]) * Math.exp(-(((x - means[k][0]) / sigmas[k]) ** 2) / 2);
  return sum / Math.sqrt(2 * Math.PI);
}

// Density at each of `xs` that points on the line seem to come from: a small Gaussian of width `h` around each of them.
export function smoothed(points, xs, h) {
  return xs.map(x => {
    let sum = 0;
    for (const p of points) sum += Math.exp(-(((x - p) / h) ** 2) / 2);
    return sum / (points.length * h * Math.sqrt(2 * Math.PI));
  });
}

// Density of G(z), z from N(0, 1), of a generator from the line to the line: its mean over each of the equal cells around
// `xs`, as gentut.games.density has it. Each of n equally likely pieces of z counts as straight.
export function exact(generator, xs, n = 1000) {
  const z = ends(n), x = generator.run(z), cells = xs.length, width = (xs[cells - 1] - xs[0]) / (cells - 1), edge = xs[0] - width / 2;
  const out = new Float64Array(cells);
  for (let i = 0; i < n; i++) {
    const low = Math.min(x[i], x[i + 1]), high = Math.max(x[i], x[i + 1], low + 1e-12);
    const last = Math.min(cells - 1, Math.floor((high - edge) / width));
    for (let c = Math.max(0, Math.floor((low - edge) / width)); c <= last; c++) {
      const part = Math.min(high, edge + (c + 1) * width) - Math.max(low, edge + c * width);
      if (part > 0) out[c] += part / (high - low) / n / width;
    }
  }
  return out;
}
const known = {};
const ends = n => (known[n] ??= Float64Array.from({ length: n + 1 }, (_, i) => normPpf(Math.min(1 - 1e-9, Math.max(1e-9, i / n)))));
