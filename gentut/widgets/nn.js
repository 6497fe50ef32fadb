// The small network runtime that every widget shares: forward passes of the networks that gentut.widgets.pack wrote, and
// causal convolutions a step at a time. Pictures and codes are flat Float32Arrays, one after the other; shapes need no
// layer of their own.

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

// Each maker takes the operation's entry in the spec and returns a step: (x, batch) => y. A step may work in place on
// a buffer that the network owns; the first one that does not is always a linear layer or a copy of the input.
const MAKERS = {
  linear({ in: I, out: O, type, ...at }, bytes, room) {
    let W;
    if (type === "int8") {
      const q = new Int8Array(bytes.buffer, bytes.byteOffset + at.weight, O * I), scale = float32(bytes, at.scale, O);
      W = new Float32Array(O * I);
      for (let r = 0, k = 0; r < O; r++) for (let c = 0; c < I; c++, k++) W[k] = q[k] * scale[r];
    } else W = float16(bytes, at.weight, O * I);
    const bias = float32(bytes, at.bias, O), y = new Float32Array(O * room), I4 = I - (I % 4);
    return (x, batch) => {
      let k = 0;
      for (; k + 4 <= batch; k += 4) {          // four inputs share each weight that is read
        const x0 = k * I, x1 = x0 + I, x2 = x1 + I, x3 = x2 + I, y0 = k * O;
        for (let r = 0, w = 0; r < O; r++) {
          let a = bias[r], b = a, c = a, d = a;
          for (let i = 0; i < I; i++, w++) { const v = W[w]; a += v * x[x0 + i]; b += v * x[x1 + i]; c += v * x[x2 + i]; d += v * x[x3 + i]; }
          y[y0 + r] = a; y[y0 + O + r] = b; y[y0 + 2 * O + r] = c; y[y0 + 3 * O + r] = d;
        }
      }
      for (; k < batch; k++) {                  // one input: four sums, so that no addition waits for the one before
        const x0 = k * I, y0 = k * O;
        for (let r = 0, w = 0; r < O; r++) {
          let a = bias[r], b = 0, c = 0, d = 0, i = 0;
          for (; i < I4; i += 4, w += 4) { a += W[w] * x[x0 + i]; b += W[w + 1] * x[x0 + i + 1]; c += W[w + 2] * x[x0 + i + 2]; d += W[w + 3] * x[x0 + i + 3]; }
          for (; i < I; i++, w++) a += W[w] * x[x0 + i];
          y[y0 + r] = a + b + c + d;
        }
      }
      return y;
    };
  },
};
for (const [name, f] of Object.entries(ACTIVATIONS))
  MAKERS[name] = ({ width }) => (x, batch) => { for (let i = 0, n = width * batch; i < n; i++) x[i] = f(x[i]); return x; };

// A network from its spec and the bytes of the trait. `forward(x, batch)` takes up to `room` inputs, one after the
// other, and returns a buffer that the next call overwrites; x itself is left alone.
export function network(spec, bytes, room = 1) {
  const linear = spec.filter(op => op.op === "linear");
  const inputs = linear[0].in, outputs = linear.at(-1).out;
  let width = inputs;
  const steps = spec.map(op => {
    if (!MAKERS[op.op]) throw new Error(`nn.js cannot run the operation "${op.op}"`);
    if (op.op === "linear") width = op.out;
    return MAKERS[op.op]({ ...op, width }, bytes, room);
  });
  if (spec[0].op !== "linear") { const own = new Float32Array(inputs * room); steps.unshift(x => (own.set(x.subarray(0, own.length)), own)); }
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

// One layer alone, for networks that are more than a chain: layer(op, bytes, room) gives the step (x, batch) => y.
export const layer = (op, bytes, room = 1) => MAKERS[op.op](op, bytes, room);

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
