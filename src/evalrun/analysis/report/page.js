"use strict";
// Hover a panel: the nearest checkpoint's numbers. Hover or press a model in the legend: its curves alone.
(() => {
  const main = document.querySelector("main");
  const tip = document.getElementById("tip");
  const buttons = [...document.querySelectorAll(".legend button")];
  const names = buttons.map((button) => button.textContent.trim());
  const REACH = 20; // in the drawing's units, 1/72 inch
  let pinned = null;

  const focus = (series) => {
    if (series === null) main.removeAttribute("data-focus");
    else main.setAttribute("data-focus", series);
  };
  for (const button of buttons) {
    const series = Number(button.dataset.series);
    button.addEventListener("mouseenter", () => focus(series));
    button.addEventListener("mouseleave", () => focus(pinned));
    button.addEventListener("click", () => {
      pinned = pinned === series ? null : series;
      for (const other of buttons) other.setAttribute("aria-pressed", String(Number(other.dataset.series) === pinned));
      focus(pinned);
    });
  }

  const nearest = (points, x, y) => {
    let found = null;
    let least = REACH * REACH;
    points.lines.forEach((line, series) => {
      if (pinned !== null && series !== pinned) return;
      for (const point of line) {
        const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
        if (distance < least) {
          least = distance;
          found = { series, point };
        }
      }
    });
    return found;
  };

  for (const panel of document.querySelectorAll(".panel")) {
    const drawing = panel.querySelector("svg");
    const points = JSON.parse(panel.querySelector("script").textContent);
    const ring = document.createElementNS(drawing.namespaceURI, "circle");
    ring.setAttribute("r", "4");
    ring.setAttribute("fill", "none");
    ring.setAttribute("stroke", "var(--ink)");
    ring.setAttribute("visibility", "hidden");
    drawing.append(ring);
    const leave = () => {
      tip.hidden = true;
      ring.setAttribute("visibility", "hidden");
      focus(pinned);
    };
    panel.addEventListener("pointerleave", leave);
    panel.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const scale = points.w / box.width;
      const found = nearest(points, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
      if (found === null) return leave();
      const [x, y, step, tokens, value, error] = found.point;
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      ring.setAttribute("visibility", "visible");
      focus(found.series);
      tip.textContent = `${names[found.series]}\nstep ${step} (${tokens} tokens)\n${value}${error === null ? "" : ` \u00b1 ${error}`}`;
      tip.hidden = false;
      tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
    });
  }
})();
