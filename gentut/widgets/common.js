// What the widgets share apart from networks: building the page, colours of the theme, drawing once a frame.

// el("div", { class: "gt-x", onclick: f }, "text", child): attributes by name, listeners by on + event.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child != null));
  return node;
}

// A slider with its name and its value as text. `show` turns the number into words for eyes and screen readers alike.
export function slider({ label, min, max, step, value, show = String, oninput }) {
  const text = el("output", { class: "gt-value" });
  const input = el("input", { type: "range", min, max, step, value });
  const put = v => { input.value = v; text.textContent = show(v); input.setAttribute("aria-valuetext", show(v)); };
  input.addEventListener("input", () => { put(Number(input.value)); oninput(Number(input.value)); });
  put(value);
  return { node: el("label", { class: "gt-slider" }, el("span", {}, label), input, text), put };
}

// A row of buttons of which exactly one is chosen.
export function choice({ label, options, value, onchange }) {
  const name = `gt-${Math.random().toString(36).slice(2)}`;
  const items = options.map(([key, text]) => el("label", {},
    el("input", { type: "radio", name, value: key, checked: key === value, onchange: () => onchange(key) }), el("span", {}, text)));
  return el("fieldset", { class: "gt-choice" }, el("legend", {}, label), el("span", { class: "gt-options" }, ...items));
}

// The colour that a CSS variable of the widget has now, as [r, g, b].
export function colour(root, variable) {
  const probe = el("span", { style: `color: var(${variable}); display: none` });
  root.append(probe);
  const rgb = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return rgb;
}
export const css = ([r, g, b], alpha = 1) => `rgba(${r}, ${g}, ${b}, ${alpha})`;

// Call back when the theme may have changed: the host's attributes (Sphinx book theme, JupyterLab, Colab) or the system.
export function watchTheme(callback, signal) {
  const observer = new MutationObserver(callback);
  for (const node of [document.documentElement, document.body])
    observer.observe(node, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "theme"] });
  for (const wish of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(wish).addEventListener("change", callback, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
}

// `on(name, f)` for the model's events that lasts as long as the view: the signal takes the listeners off again.
export function follower(model, signal) {
  return (name, f) => {
    model.on(name, f);
    signal.addEventListener("abort", () => model.off(name, f));
  };
}

// A function that asks for `draw` once in the next frame, however often it is called before.
export function frames(draw, signal) {
  let asked = 0;
  signal.addEventListener("abort", () => cancelAnimationFrame(asked));
  return () => { asked ||= requestAnimationFrame(() => { asked = 0; draw(); }); };
}

// Keep a canvas as sharp as the screen: its size in device pixels follows its size on the page. The drawing code works
// in CSS pixels. Resizing clears a canvas, so `draw` runs at once.
export function sharp(canvas, draw, signal) {
  const observer = new ResizeObserver(() => {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const w = Math.round(box.width * ratio), h = Math.round(box.height * ratio);
    if (!w || !h || (canvas.width === w && canvas.height === h)) return;
    canvas.width = w; canvas.height = h;
    canvas.getContext("2d").setTransform(w / box.width, 0, 0, h / box.height, 0, 0);
    draw();
  });
  observer.observe(canvas);
  signal.addEventListener("abort", () => observer.disconnect());
}

// A picture in [0, 1] as ink on the paper behind the canvas: the ink's colour with the pixel's value as its opacity.
// So a theme changes the look of a picture and never its values, and a test can read them back.
export function picture(values, start, [r, g, b], image = new ImageData(28, 28)) {
  const data = image.data;
  for (let i = 0, p = 0; i < 784; i++, p += 4) {
    data[p] = r; data[p + 1] = g; data[p + 2] = b; data[p + 3] = Math.round(255 * values[start + i]);
  }
  return image;
}

// Text for screen readers, said at most every 700 ms, and only the last of what came in between.
export function announcer(node, signal) {
  let timer = 0, next = "";
  signal.addEventListener("abort", () => clearTimeout(timer));
  return text => {
    next = text;
    timer ||= setTimeout(() => { timer = 0; if (node.textContent !== next) node.textContent = next; }, 700);
  };
}

export const number = (v, digits = 2) => v.toFixed(digits).replace("-", "\u2212");
export const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

// Quantile function of N(0, 1), Acklam's rational approximation: relative error below 1.2e-9.
export function normPpf(p) {
  const a = [-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239];
  const b = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1];
  const c = [-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
  const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1];
  const poly = (coefficients, x) => coefficients.reduce((sum, k) => sum * x + k, 0);
  if (p < 0.02425) { const q = Math.sqrt(-2 * Math.log(p)); return poly(c, q) / poly(d, q); }
  if (p > 1 - 0.02425) return -normPpf(1 - p);
  const q = p - 0.5, r = q * q;
  return (poly(a, r) * q) / poly(b, r);
}

// Seeded random numbers in [0, 1): mulberry32. Each call of the function that it returns gives the next one.
export function uniform(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// N(0, 1) from them, by Box and Muller.
export function gaussian(seed) {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
