// The small network runtime that every widget shares: forward passes of the networks that gentut.widgets.pack wrote, and
// causal convolutions a step at a time. Codes and pictures (channels, rows, columns) are flat Float32Arrays, one after the
// other; shapes need no layer of their own.

// A Bytes trait comes as a DataView in JupyterLab and on the page, as a Uint8Array in Colab, and may start anywhere
// in its buffer.
export function bytesOf(value) {
  return value instanceof ArrayBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

const POWERS = Float64Array.from({ length: 32 }, (_, e) => 2 ** (e - 25));

// `count` little-endian float16 numbers from byte `start` on.
export function float16(bytes, start, count) {
  const out = new Float32Array(count);
  for (let i = 0, p = start; i < count; i++, p += 2) {
    const bits = bytes[p] | (bytes[p + 1] << 8), e = (bits >> 10) & 31, f = bits & 1023;
    let value = e ? (1024 + f) * POWERS[e] : f * POWERS[1];
    if (e === 31) value = f ? NaN : Infinity;
    out[i] = bits & 0x8000 ? -value : value;
  }
  return out;
}

// `count` little-endian float32 numbers from byte `start` on.
export function float32(bytes, start, count) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, 4 * count), out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = view.getFloat32(4 * i, true);
  return out;
}

export const sigmoid = v => 1 / (1 + Math.exp(-v));

// Error function, Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const y = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
  return x < 0 ? -y : y;
}

const ACTIVATIONS = {
  relu: v => (v > 0 ? v : 0),
  silu: v => v * sigmoid(v),
  gelu: v => 0.5 * v * (1 + erf(v * Math.SQRT1_2)),
  gelu_tanh: v => 0.5 * v * (1 + Math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))),
  tanh: Math.tanh,
  sigmoid,
};

// A weight matrix (rows, columns) from an operation's entry: float16, or int8 rows with a scale each.
function matrix({ type, weight, scale }, rows, columns, bytes) {
  if (type !== "int8") return float16(bytes, weight, rows * columns);
  const q = new Int8Array(bytes.buffer, bytes.byteOffset + weight, rows * columns), each = float32(bytes, scale, rows);
  const W = new Float32Array(rows * columns);
  for (let r = 0, k = 0; r < rows; r++) for (let c = 0; c < columns; c++, k++) W[k] = q[k] * each[r];
  return W;
}

// The product behind every layer with weights: y[p · byInput + r · byRow] = bias[r] + Σ W[r, i] x[p, i] for `count` inputs x of
// length I, one after the other, and O rows of W. Four inputs and two rows at a time share what is read: as many sums as
// a processor's registers hold. Each sum still runs over i in order, so a number does not depend on its neighbours.
function multiply(W, bias, O, I, x, count, y, byInput, byRow) {
  let p = 0;
  for (; p + 4 <= count; p += 4) {
    const x0 = p * I, x1 = x0 + I, x2 = x1 + I, x3 = x2 + I, y0 = p * byInput, y1 = y0 + byInput, y2 = y1 + byInput, y3 = y2 + byInput;
    let r = 0;
    for (; r + 2 <= O; r += 2) {
      const u = r * I, v = u + I;
      let a0 = bias[r], a1 = a0, a2 = a0, a3 = a0, b0 = bias[r + 1], b1 = b0, b2 = b0, b3 = b0;
      for (let i = 0; i < I; i++) {
        const s = W[u + i], t = W[v + i], p0 = x[x0 + i], p1 = x[x1 + i], p2 = x[x2 + i], p3 = x[x3 + i];
        a0 += s * p0; a1 += s * p1; a2 += s * p2; a3 += s * p3; b0 += t * p0; b1 += t * p1; b2 += t * p2; b3 += t * p3;
      }
      const k = r * byRow, l = k + byRow;
      y[y0 + k] = a0; y[y1 + k] = a1; y[y2 + k] = a2; y[y3 + k] = a3; y[y0 + l] = b0; y[y1 + l] = b1; y[y2 + l] = b2; y[y3 + l] = b3;
    }
    if (r < O) {
      const u = r * I, k = r * byRow;
      let a0 = bias[r], a1 = a0, a2 = a0, a3 = a0;
      for (let i = 0; i < I; i++) { const s = W[u + i]; a0 += s * x[x0 + i]; a1 += s * x[x1 + i]; a2 += s * x[x2 + i]; a3 += s * x[x3 + i]; }
      y[y0 + k] = a0; y[y1 + k] = a1; y[y2 + k] = a2; y[y3 + k] = a3;
    }
  }
  const I4 = I - (I % 4);
  for (; p < count; p++) {                      // one input: four sums, so that no addition waits for the one before
    const x0 = p * I, y0 = p * byInput;
    for (let r = 0, w = 0; r < O; r++) {
      let a = bias[r], b = 0, c = 0, d = 0, i = 0;
      for (; i < I4; i += 4, w += 4) { a += W[w] * x[x0 + i]; b += W[w + 1] * x[x0 + i + 1]; c += W[w + 2] * x[x0 + i + 2]; d += W[w + 3] * x[x0 + i + 3]; }
      for (; i < I; i++, w++) a += W[w] * x[x0 + i];
      y[y0 + r * byRow] = a + b + c + d;
    }
  }
}

const TILE = 32;      // output pixels of a convolution that are computed together: their patches stay in the processor's cache

// Rows and columns of what a convolution gives: torch's formulas.
function outgoing({ op, size, kernel, stride, padding, dilation, extra }) {
  const along = op === "conv2d" ? a => Math.floor((size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) / stride[a]) + 1
    : a => (size[a] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (kernel[a] - 1) + extra[a] + 1;
  return [along(0), along(1)];
}

const area = ({ size: [rows, columns] }) => rows * columns;

// How many numbers an operation takes and gives for one input; those that are not listed change no shape.
const WIDTHS = {
  linear: op => [op.in, op.out],
  conv2d: op => [op.in * op.size[0] * op.size[1], op.out * outgoing(op)[0] * outgoing(op)[1]],
  group_norm: op => [op.channels * op.pixels, op.channels * op.pixels],
  attention: op => [3 * op.width * op.pixels, op.width * op.pixels],
  upsample: op => [op.channels * area(op), op.channels * area(op) * op.factor ** 2],
  pixel_shuffle: op => [op.channels * area(op), op.channels * area(op)],
};
WIDTHS.pixel_unshuffle = WIDTHS.pixel_shuffle;
WIDTHS.conv_transpose2d = WIDTHS.conv2d;
const IN_PLACE = new Set(["group_norm", ...Object.keys(ACTIVATIONS)]);

// Each maker takes the operation's entry in the spec and returns a step: (x, batch) => y. A step that is IN_PLACE changes
// x and returns it; the others have a buffer of their own, which their next call overwrites.
const MAKERS = {
  linear({ in: I, out: O, ...at }, bytes, room) {
    const W = matrix(at, O, I, bytes), bias = float32(bytes, at.bias, O), y = new Float32Array(O * room);
    return (x, batch) => { multiply(W, bias, O, I, x, batch, y, O, 1); return y; };
  },

  // Pictures (channels, rows, columns). Each output pixel sees a patch of the padded picture; all patches times the
  // weights (out, in · kernel rows · kernel columns) is one product. size: rows and columns of the input; kernel, stride,
  // padding, dilation: down and across.
  conv2d(op, bytes, room) {
    const { in: I, out: O, size: [rows, columns], kernel: [down, across], stride, padding: [above, left], dilation } = op;
    const [high, wide] = outgoing(op), N = high * wide, K = I * down * across, tall = rows + 2 * above, long = columns + 2 * left;
    const W = matrix(op, O, K, bytes), bias = float32(bytes, op.bias, O);
    const padded = new Float32Array(I * tall * long), patches = new Float32Array(Math.min(TILE, N) * K), y = new Float32Array(O * N * room);
    const taps = new Int32Array(K);
    for (let i = 0, k = 0; i < I; i++) for (let r = 0; r < down; r++) for (let c = 0; c < across; c++, k++)
      taps[k] = (i * tall + r * dilation[0]) * long + c * dilation[1];
    return (x, batch) => {
      for (let b = 0, p = 0; b < batch; b++) {
        for (let i = 0; i < I; i++) for (let r = 0; r < rows; r++) {
          let q = (i * tall + above + r) * long + left;
          for (let c = 0; c < columns; c++, p++, q++) padded[q] = x[p];
        }
        for (let first = 0; first < N; first += TILE) {
          const count = Math.min(TILE, N - first);
          for (let n = first, s = 0; n < first + count; n++) {
            const corner = Math.floor(n / wide) * stride[0] * long + (n % wide) * stride[1];
            for (let k = 0; k < K; k++, s++) patches[s] = padded[corner + taps[k]];
          }
          multiply(W, bias, O, K, patches, count, y.subarray(b * O * N + first), 1, N);
        }
      }
      return y;
    };
  },

  // The transpose of the above: each input pixel, times the weights (out · kernel rows · kernel columns, in), gives a patch
  // for every output channel; the patches are added up where they fall. extra: torch's output_padding.
  conv_transpose2d(op, bytes, room) {
    const { in: I, out: O, size: [rows, columns], kernel: [down, across], stride, padding, dilation } = op;
    const [high, wide] = outgoing(op), n = rows * columns, N = high * wide, R = O * down * across;
    const W = matrix(op, R, I, bytes), bias = float32(bytes, op.bias, O), none = new Float32Array(R);
    const seen = new Float32Array(I * n), patches = new Float32Array(R * n), y = new Float32Array(O * N * room);
    return (x, batch) => {
      for (let b = 0; b < batch; b++) {
        for (let i = 0, p = b * I * n; i < I; i++) for (let k = 0, s = i; k < n; k++, p++, s += I) seen[s] = x[p];
        multiply(W, none, R, I, seen, n, patches, 1, n);
        for (let o = 0, row = 0; o < O; o++) {
          const start = (b * O + o) * N;
          y.fill(bias[o], start, start + N);
          for (let r = 0; r < down; r++) for (let c = 0; c < across; c++, row++) {
            const shift = c * dilation[1] - padding[1];
            for (let i = 0; i < rows; i++) {
              const at = i * stride[0] + r * dilation[0] - padding[0];
              if (at < 0 || at >= high) continue;
              const from = start + at * wide, p = row * n + i * columns;
              for (let j = 0, to = shift; j < columns; j++, to += stride[1]) if (to >= 0 && to < wide) y[from + to] += patches[p + j];
            }
          }
        }
      }
      return y;
    };
  },

  // Mean 0 and variance 1 over each group of channels of each picture, then a scale and a shift for every channel.
  group_norm({ channels: C, pixels: n, groups: G, eps, ...at }, bytes) {
    const scale = float32(bytes, at.weight, C), shift = float32(bytes, at.bias, C), own = C / G, size = own * n;
    return (x, batch) => {
      for (let k = 0, start = 0; k < batch * G; k++, start += size) {
        let sum = 0, squares = 0;
        for (let i = start; i < start + size; i++) sum += x[i];
        const mean = sum / size;
        for (let i = start; i < start + size; i++) squares += (x[i] - mean) ** 2;
        const narrow = 1 / Math.sqrt(squares / size + eps);
        for (let c = (k % G) * own, i = start, end; i < start + size; c++) {
          const a = narrow * scale[c], b = shift[c] - mean * a;
          for (end = i + n; i < end; i++) x[i] = a * x[i] + b;
        }
      }
      return x;
    };
  },

  // Every place looks at every other, one head: out = softmax(qᵀ k / √width) v over the places. Each picture brings q, k and
  // v one after the other, (width, pixels) each.
  attention({ width: C, pixels: n }, bytes, room) {
    const y = new Float32Array(C * n * room), seen = new Float64Array(n), scale = 1 / Math.sqrt(C);
    return (x, batch) => {
      for (let b = 0; b < batch; b++) {
        const q = 3 * b * C * n, k = q + C * n, v = k + C * n, to = b * C * n;
        for (let i = 0; i < n; i++) {
          seen.fill(0);
          for (let c = 0; c < C; c++) { const own = x[q + c * n + i] * scale; for (let j = 0, p = k + c * n; j < n; j++, p++) seen[j] += own * x[p]; }
          let most = -Infinity, sum = 0;
          for (let j = 0; j < n; j++) if (seen[j] > most) most = seen[j];
          for (let j = 0; j < n; j++) sum += seen[j] = Math.exp(seen[j] - most);
          for (let c = 0; c < C; c++) {
            let got = 0;
            for (let j = 0, p = v + c * n; j < n; j++, p++) got += seen[j] * x[p];
            y[to + c * n + i] = got / sum;
          }
        }
      }
      return y;
    };
  },

  // Each pixel becomes factor x factor of them. `channels`, `size`: of what comes in.
  upsample({ channels: C, size: [rows, columns], factor: f }, bytes, room) {
    const wide = columns * f, y = new Float32Array(C * rows * wide * f * room);
    return (x, batch) => {
      for (let row = 0, p = 0; row < batch * C * rows * f; row++) {
        const from = Math.floor(row / f) * columns;
        for (let c = 0; c < wide; c++, p++) y[p] = x[from + Math.floor(c / f)];
      }
      return y;
    };
  },

  // factor x factor pixels become as many channels of one place, and back. `channels`, `size`: of what comes in.
  pixel_unshuffle: ({ channels, size: [rows, columns], factor }, bytes, room) => mover(unshuffled(channels, rows, columns, factor), room),
  pixel_shuffle: ({ channels, size: [rows, columns], factor }, bytes, room) => {
    const places = unshuffled(channels / factor ** 2, rows * factor, columns * factor, factor), back = new Int32Array(places.length);
    places.forEach((from, to) => { back[from] = to; });
    return mover(back, room);
  },
};

// Where the pixels of pictures (channels, rows, columns) stand that torch's PixelUnshuffle puts first, second, ...
function unshuffled(channels, rows, columns, f) {
  const places = new Int32Array(channels * rows * columns);
  let k = 0;
  for (let c = 0; c < channels; c++) for (let i = 0; i < f; i++) for (let j = 0; j < f; j++)
    for (let r = i; r < rows; r += f) for (let s = j; s < columns; s += f, k++) places[k] = (c * rows + r) * columns + s;
  return places;
}
// A step that puts numbers elsewhere: number k of what it gives stood at from[k].
function mover(from, room) {
  const n = from.length, y = new Float32Array(n * room);
  return (x, batch) => { for (let b = 0; b < batch * n; b += n) for (let k = 0; k < n; k++) y[b + k] = x[b + from[k]]; return y; };
}

for (const [name, f] of Object.entries(ACTIVATIONS))
  MAKERS[name] = ({ width }) => (x, batch) => { for (let i = 0, n = width * batch; i < n; i++) x[i] = f(x[i]); return x; };

// A network from its spec and the bytes of the trait. `forward(x, batch)` takes up to `room` inputs, one after the
// other, and returns a buffer that the next call overwrites; x itself is left alone.
export function network(spec, bytes, room = 1) {
  const sized = spec.filter(op => WIDTHS[op.op]).map(op => WIDTHS[op.op](op)), inputs = sized[0][0], outputs = sized.at(-1)[1];
  let width = inputs;
  const steps = spec.map(op => {
    if (!MAKERS[op.op]) throw new Error(`nn.js cannot run the operation "${op.op}"`);
    if (WIDTHS[op.op]) width = WIDTHS[op.op](op)[1];
    return MAKERS[op.op]({ ...op, width }, bytes, room);
  });
  if (IN_PLACE.has(spec[0].op)) { const own = new Float32Array(inputs * room); steps.unshift(x => (own.set(x.subarray(0, own.length)), own)); }
  return {
    inputs,
    outputs,
    forward(x, batch = 1) {
      if (batch > room) throw new Error(`room for ${room} inputs, got ${batch}`);
      for (const step of steps) x = step(x, batch);
      return x;
    },
  };
}

// One layer alone, for networks that are more than a chain: layer(op, bytes, room) gives the step (x, batch) => y. Of an
// activation or a group norm mind that it changes x itself.
export const layer = (op, bytes, room = 1) => MAKERS[op.op](op, bytes, room);

// gentut.unet.time_embedding: sines, then cosines of t at `width` / 2 frequencies from 1 down to nearly 1/10,000.
export function timeEmbedding(t, width) {
  const half = width / 2, angles = Array.from({ length: half }, (_, k) => t * Math.exp((-Math.log(10000) / half) * k));
  return Float32Array.from([...angles.map(Math.sin), ...angles.map(Math.cos)]);
}

// A table (rows, width) of float16 numbers at op.weight; row(k) is its k-th.
export function embedding({ rows, width, weight }, bytes) {
  const table = float16(bytes, weight, rows * width);
  return { row: k => table.subarray(k * width, (k + 1) * width) };
}

// A convolution that looks at earlier pixels only, a step at a time: gentut.drawing's _Window in JavaScript. It owns the
// canvas of features that it looks at, `size` rows and columns with zeros beyond the border. put(row, column, features,
// count) keeps the features of `count` neighbours in a row, at(row, column, count) gives the outputs there, in a buffer
// that the next call overwrites. Nothing is computed twice: a pixel costs its own outputs, whatever was drawn before it.
// op.taps: the (down, right) that each of the weights (out, taps, in) looks at; none lies below.
export function causal(op, bytes, size) {
  const { in: I, taps } = op, wide = I * taps.length;
  const beyond = (axis, sign) => Math.max(0, ...taps.map(tap => sign * tap[axis]));
  const top = beyond(0, -1), left = beyond(1, -1), stride = left + size + beyond(1, 1);
  if (beyond(0, 1)) throw new Error("a causal convolution looks at no row below");
  const canvas = new Float32Array((top + size) * stride * I), seen = new Float32Array(size * wide);
  const place = (row, column) => ((top + row) * stride + left + column) * I;
  const shifts = taps.map(([down, right]) => (down * stride + right) * I);
  const product = MAKERS.linear({ ...op, in: wide }, bytes, size);
  return {
    put(row, column, features, count = 1) {
      for (let i = 0, p = place(row, column), n = count * I; i < n; i++, p++) canvas[p] = features[i];
    },
    at(row, column, count = 1) {
      let s = 0;
      for (let k = 0, p = place(row, column); k < count; k++, p += I)
        for (const shift of shifts) for (let i = p + shift, end = i + I; i < end; i++, s++) seen[s] = canvas[i];
      return product(seen, count);
    },
    bytes: canvas.byteLength,
  };
}
