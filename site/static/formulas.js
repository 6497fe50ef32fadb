// Draws the formulas of a page with MathJax, without keeping the reader from anything else: MathJax (most of a page's
// computing) comes when the first widget stands, the formulas in the window go first, and the page answers between them.
(() => {
  "use strict";

  const source = new URL("vendor/mathjax/tex-chtml.js", document.currentScript.src).href;
  const PATIENCE = 4000; // ms that a widget which does not come up may hold formulas up
  const BUSY = 50; // ms of drawing after which the page may answer

  const pause = () => new Promise((go) => setTimeout(go));

  // Formulas in or near the window, those above it, which would move it later, then the others in their order.
  function inOrder() {
    const near = [], above = [], below = [];
    for (const formula of document.querySelectorAll(".math")) {
      const { top, bottom } = formula.getBoundingClientRect();
      (bottom < -200 ? above : top > innerHeight + 200 ? below : near).push(formula);
    }
    return [...near, ...above, ...below];
  }

  // As many in one go as fit the time (or as the printer waits for): for each go MathJax measures the page anew.
  async function draw() {
    const waiting = inOrder();
    for (let count = 8; waiting.length;) {
      const since = performance.now();
      await MathJax.typesetPromise(waiting.splice(0, printing ? Infinity : count));
      const took = performance.now() - since;
      count = Math.round(count * Math.min(2, Math.max(0.75, BUSY / took)));
      await pause();
    }
  }

  let printing = false;
  addEventListener("beforeprint", () => { printing = true; });

  async function begin() {
    const first = window.gentutWidgets?.first;
    if (first) await Promise.race([first, new Promise((go) => setTimeout(go, PATIENCE))]);
    const script = document.createElement("script");
    const loaded = new Promise((go, fail) => { script.onload = go; script.onerror = () => fail(new Error("no MathJax")); });
    script.src = source;
    document.head.append(script);
    await loaded;
    await MathJax.startup.promise;
  }

  // Whoever asks for MathJax.startup.promise before MathJax is there gets one that ends at the same time.
  const config = (window.MathJax ??= {});
  config.startup = { ...config.startup, typeset: false, pageReady: draw, promise: begin() };
  config.startup.promise.catch((error) => console.error(error));
})();
