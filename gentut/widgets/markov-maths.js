// Markov chains on a few states, as gentut/markov.py has them: rows of A say where the chain goes from, pi is a row vector.

// The chains that the widget offers. The first is the notes' restaurant.
export const PRESETS = {
  restaurant: { title: "Restaurant", names: ["hamburger", "pizza", "hot dog"], start: 1, A: [[0.2, 0.6, 0.2], [0.3, 0, 0.7], [0.5, 0, 0.5]] },
  periodic: { title: "Periodic", names: ["morning", "noon", "night"], start: 0, A: [[0, 1, 0], [0, 0, 1], [1, 0, 0]] },
  closed: { title: "Two closed classes", names: ["a", "b", "c", "d", "e"], start: 2,
    A: [[0.6, 0.4, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0.3, 0.3, 0.4, 0], [0, 0, 0, 0.3, 0.7], [0, 0, 0, 0.8, 0.2]] },
};

const added = values => values.reduce((sum, v) => sum + v, 0);

// The matrix with A[i][j] = value; the rest of row i keeps its proportions, taken from `base` (that row before a
// movement of the hand began), and shares equally what is left where there are none.
export function withEntry(A, i, j, value, base = A[i]) {
  const v = Math.min(1, Math.max(0, value)), rest = added(base.filter((_, m) => m !== j)), k = base.length;
  return A.map((row, n) => (n !== i ? row.slice() : base.map((b, m) => (m === j ? v : rest > 0 ? (b / rest) * (1 - v) : (1 - v) / (k - 1)))));
}

// One step: pi A, and made to sum to 1 again, so that rounding does not grow with the number of steps.
export function onward(pi, A) {
  const next = A[0].map((_, j) => added(pi.map((p, i) => p * A[i][j]))), total = added(next);
  return next.map(v => v / total);
}

// pi_0, ..., pi_n of a chain that starts in one state.
export function distributions(A, start, n) {
  const list = [A.map((_, i) => Number(i === start))];
  while (list.length <= n) list.push(onward(list.at(-1), A));
  return list;
}

export const totalVariation = (p, q) => added(p.map((v, i) => Math.abs(v - q[i]))) / 2;

// The communicating classes, in the order of their smallest states: [{ states, closed, period }]. The period (0 for a
// state that cannot be seen again) is the gcd of depth(i) + 1 - depth(j) over the arrows i → j of the class.
export function communicating(A) {
  const k = A.length, far = A.map((row, i) => row.map((p, j) => p > 0 || i === j));  // j can be reached from i
  for (let m = 0; m < k; m++) for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) far[i][j] ||= far[i][m] && far[m][j];
  const found = [];
  for (let i = 0; i < k; i++) {
    if (found.some(({ states }) => states.includes(i))) continue;
    const states = A.map((_, j) => j).filter(j => far[i][j] && far[j][i]);
    const depth = { [i]: 0 }, queue = [i];
    for (const u of queue) for (const v of states) if (A[u][v] > 0 && !(v in depth)) { depth[v] = depth[u] + 1; queue.push(v); }
    let period = 0;
    for (const u of states) for (const v of states) if (A[u][v] > 0) period = gcd(period, Math.abs(depth[u] + 1 - depth[v]));
    found.push({ states, period, closed: far[i].every((reached, j) => !reached || states.includes(j)) });
  }
  return found;
}
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

// Leave out state m of `states`: the chain as it is seen when it is in the others. B holds the weights of the arrows
// between states, and is changed. No subtraction, so small probabilities keep their digits (Grassmann, Taksar and
// Heyman 1985). Gives what the arrows out of m add up to.
function skip(B, states, m) {
  const others = states.filter(s => s !== m), out = added(others.map(s => B[m][s]));
  for (const i of others) {
    B[i][m] /= out;
    for (const j of others) B[i][j] += B[i][m] * B[m][j];
  }
  return others;
}

// The stationary distribution of each closed class, 0 outside of it.
export function stationaryRows(A, classes = communicating(A)) {
  return classes.filter(c => c.closed).map(({ states }) => {
    const B = A.map(row => row.slice()), pi = A.map(() => 0), left = [];
    let others = states;
    for (const m of states.slice(1).reverse()) { others = skip(B, others, m); left.unshift(m); }
    pi[states[0]] = 1;
    left.forEach((m, n) => {
      pi[m] = added(states.slice(0, n + 1).map(i => pi[i] * B[i][m]));
      const total = added(pi);  // at every state, so that nothing grows beyond what a number can hold
      pi.forEach((p, i) => { pi[i] = p / total; });
    });
    return pi;
  });
}

// With which probability the chain ends in each closed class, if it starts in `start`.
export function endings(A, start, classes = communicating(A)) {
  const closed = classes.filter(c => c.closed), own = closed.findIndex(c => c.states.includes(start));
  if (own >= 0) return closed.map((_, c) => Number(c === own));
  const B = A.map(row => row.slice()), sink = closed.flatMap(c => c.states);
  let others = A.map((_, i) => i);
  for (const m of others.slice()) if (m !== start && !sink.includes(m)) others = skip(B, others, m);
  const flow = closed.map(c => added(c.states.map(s => B[start][s]))), total = added(flow);
  return flow.map(f => f / total);
}

// The average of pi_t over a long time, the limit of pi_t where there is one: the stationary distributions, mixed.
export const mixture = (rows, weights) => rows[0].map((_, i) => added(rows.map((row, c) => weights[c] * row[i])));

// All eigenvalues, [re, im], largest modulus first; then, of the same modulus to 9 digits, the larger real part, then
// the larger imaginary part. A is block triangular in its classes, so each block has its own: one that is repeated in
// several classes comes out exact.
export function eigenvaluesOf(A) {
  const found = communicating(A).flatMap(({ states }) => blockEigenvalues(states.map(i => states.map(j => A[i][j]))));
  const key = ([re, im]) => [-Math.round(1e9 * Math.hypot(re, im)), -Math.round(1e9 * re), -im];
  const keyed = found.map(z => [key(z), z]);
  keyed.sort(([a], [b]) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return keyed.map(([, z]) => z);
}

// QR iteration on a complex matrix with Wilkinson's shifts, from the last row upwards. See Golub and Van Loan, "Matrix
// Computations", 4th edition, section 7.5. A real matrix stays real as long as its shifts do.
function blockEigenvalues(block) {
  let n = block.length;
  const H = block.map(row => row.map(v => [v, 0])), found = [];
  for (let tries = 0; n > 0; tries++) {
    if (n === 1) { found.push(H[0][0]); break; }
    const [[a, b], [c, d]] = [H[n - 2].slice(n - 2, n), H[n - 1].slice(n - 2, n)];
    const roots = pairOf(a, b, c, d);
    if (n === 2) { found.push(...roots); break; }
    // The last row is done when all left of its diagonal is rounding error.
    const scale = Math.max(...H.slice(0, n).flatMap(row => row.slice(0, n).map(modulus)), Number.MIN_VALUE);
    if (Math.max(...H[n - 1].slice(0, n - 1).map(modulus)) <= 1e-16 * scale || tries > 600) { found.push(d); n--; tries = 0; continue; }
    let shift = modulus(minus(roots[0], d)) < modulus(minus(roots[1], d)) ? roots[0] : roots[1];
    // A rotation, such as a chain that goes round, would stand still under its own shift: now and then another one.
    if (tries % 10 === 9) shift = [shift[0] + 0.7 * scale, shift[1] + 0.4 * scale];
    qrStep(H, n, shift);
  }
  return found.map(([re, im]) => [re, Math.abs(im) < 1e-14 ? 0 : im]);
}

const modulus = ([re, im]) => Math.hypot(re, im);
const plus = (x, y) => [x[0] + y[0], x[1] + y[1]];
const minus = (x, y) => [x[0] - y[0], x[1] - y[1]];
const times = (x, y) => [x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]];
const bar = ([re, im]) => [re, -im];

// Both eigenvalues of [[a, b], [c, d]].
function pairOf(a, b, c, d) {
  const half = times(minus(a, d), [0.5, 0]), middle = times(plus(a, d), [0.5, 0]);
  const [re, im] = plus(times(half, half), times(b, c)), size = Math.sqrt(Math.hypot(re, im)), turn = Math.atan2(im, re) / 2;
  const root = im === 0 ? (re >= 0 ? [Math.sqrt(re), 0] : [0, Math.sqrt(-re)]) : [size * Math.cos(turn), size * Math.sin(turn)];
  return [plus(middle, root), minus(middle, root)];
}

// H ← R Q + shift, where H - shift = Q R, for the leading n rows and columns: Q is a product of rotations, each of which
// makes one entry below the diagonal zero.
function qrStep(H, n, shift) {
  const turns = [];
  for (let i = 0; i < n; i++) H[i][i] = minus(H[i][i], shift);
  for (let j = 0; j < n - 1; j++) for (let i = j + 1; i < n; i++) {
    const r = Math.hypot(modulus(H[j][j]), modulus(H[i][j]));
    if (modulus(H[i][j]) === 0) continue;
    const c = times(H[j][j], [1 / r, 0]), s = times(H[i][j], [1 / r, 0]);
    for (let m = j; m < n; m++) {
      const [x, y] = [H[j][m], H[i][m]];
      H[j][m] = plus(times(bar(c), x), times(bar(s), y));
      H[i][m] = minus(times(c, y), times(s, x));
    }
    H[i][j] = [0, 0];
    turns.push([j, i, c, s]);
  }
  for (const [j, i, c, s] of turns) for (let m = 0; m < n; m++) {
    const [x, y] = [H[m][j], H[m][i]];
    H[m][j] = plus(times(x, c), times(y, s));
    H[m][i] = minus(times(y, bar(c)), times(x, bar(s)));
  }
  for (let i = 0; i < n; i++) H[i][i] = plus(H[i][i], shift);
}

// Where a walker goes from state i when its random number is u in [0, 1): the first state whose cumulative probability
// is above u, and never one of probability 0, whatever the sum was rounded to.
export function nextState(row, u) {
  let sum = 0, last = 0;
  for (let j = 0; j < row.length; j++) {
    if (row[j] <= 0) continue;
    sum += row[j];
    last = j;
    if (u < sum) break;
  }
  return last;
}
