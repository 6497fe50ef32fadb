// What is wider than its box is scrolled sideways in it. Such a box becomes a stop of the Tab key, so that the arrow keys
// can scroll it; a box that shows everything is none. The theme does this for code alone.
(() => {
  "use strict";
  const BOXES = { "div.math": "Formula", "div.math mjx-container": "Formula", ".pst-scrollable-table-container": "Table", "div.cell_output > .output": "Output" };
  const own = new WeakSet();

  function mark(box, name) {
    const wide = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
    if (wide && !box.hasAttribute("tabindex")) {
      own.add(box);
      box.tabIndex = 0;
    } else if (!wide && own.delete(box)) box.removeAttribute("tabindex");
    // Without a role of its own a box may have no name, and a stop without a name says nothing.
    if (wide && !box.hasAttribute("role")) {
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", `${name}, scrolls sideways`);
    }
  }
  function markAll() {
    for (const [boxes, name] of Object.entries(BOXES)) for (const box of document.querySelectorAll(`article ${boxes}`)) mark(box, name);
  }

  let asked = 0;
  const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; markAll(); }); };
  async function start() {
    await window.MathJax?.startup?.promise; // formulas get their width
    const article = document.querySelector("article.bd-article");
    if (article) new ResizeObserver(soon).observe(article); // also when a box of hints opens
    soon();
  }
  if (document.readyState === "complete") start();
  else addEventListener("load", start);
})();
