// From strokes of a pen to a picture as MNIST would hold it: longer side of the ink 20 pixels, proportions kept, centre of
// mass in the middle of 28 x 28. Strokes stay lines until the end, so the pen is as wide in a small drawing as in a big one.

const PEN = 1.2;        // half the width of a stroke, in pixels of the result
const EDGE = 0.75;      // ink fades from full to none over ± this much around that width
const SIDE = 20;
export const CENTRE = 14; // MNIST's mean centre of mass, measured in pixel indices
const MOST = 4;         // a dot stays a dot: nothing is enlarged by more than this

// Draw polylines into 28 x 28: a pixel's ink depends on its distance to the nearest segment.
function draw(strokes, place) {
  const out = new Float32Array(784);
  const reach = PEN + EDGE;
  for (const stroke of strokes) {
    for (let i = 0; i < stroke.length; i++) {
      const [ax, ay] = place(stroke[i]), [bx, by] = place(stroke[Math.min(i + 1, stroke.length - 1)]);
      const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
      const left = Math.max(0, Math.ceil(Math.min(ax, bx) - reach)), right = Math.min(27, Math.floor(Math.max(ax, bx) + reach));
      const top = Math.max(0, Math.ceil(Math.min(ay, by) - reach)), bottom = Math.min(27, Math.floor(Math.max(ay, by) + reach));
      for (let y = top; y <= bottom; y++) {
        for (let x = left; x <= right; x++) {
          const t = length2 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length2)) : 0;
          const ink = Math.min(1, (reach - Math.hypot(x - ax - t * dx, y - ay - t * dy)) / (2 * EDGE));
          if (ink > out[28 * y + x]) out[28 * y + x] = ink;
        }
      }
    }
  }
  return out;
}

export function centreOfMass(picture) {
  let mass = 0, x = 0, y = 0;
  for (let i = 0; i < 784; i++) { mass += picture[i]; x += picture[i] * (i % 28); y += picture[i] * Math.floor(i / 28); }
  return [x / mass, y / mass];
}

// Strokes (lists of [x, y], any units in which the pad is 28 wide) to Float32Array(784) in [0, 1].
export function digit(strokes) {
  const points = strokes.flat();
  if (!points.length) return new Float32Array(784);
  const xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
  const longer = Math.max(high[0] - low[0], high[1] - low[1]);
  const scale = Math.min(MOST, (SIDE - 2 * (PEN + EDGE / 2)) / Math.max(longer, 1e-6));
  const at = axis => p => (p[axis] - (low[axis] + high[axis]) / 2) * scale;
  const [x, y] = [at(0), at(1)];
  let picture, dx = 13.5, dy = 13.5;
  for (let pass = 0; pass < 3; pass++) {  // pixels round the centre of mass a little: the third picture has it right
    picture = draw(strokes, p => [x(p) + dx, y(p) + dy]);
    const [mx, my] = centreOfMass(picture);
    dx += CENTRE - mx; dy += CENTRE - my;
  }
  return picture;
}
