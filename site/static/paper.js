// On paper nobody can open a fold: those with proofs open for the printer. Hints and solutions stay as the reader left them.
(() => {
  "use strict";
  const ANSWER = /^\s*(Hint|Solution|\d+\.)/;
  let opened = [];

  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("article details:not([open])")]
      .filter((fold) => !ANSWER.test(fold.querySelector("summary")?.textContent ?? ""));
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
  });
})();
