"use strict";
// Point at a panel, or move through it with the arrow keys: one checkpoint's numbers; press: its MLflow run.
// Hover or press a model in the legend: its curves alone.
(() => {
  const main = document.querySelector("main");
  const tip = document.getElementById("tip");
  const buttons = [...document.querySelectorAll(".legend button")];
  const names = buttons.map((button) => button.textContent.trim());
  const REACH = 20; // in the drawing's units, 1/72 inch
  const framed = window.self !== window.top; // as in MLflow's artifact viewer, which lets a page open no window
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

  // In a frame of MLflow's own page the runs are where that page comes from.
  const address = (written) => {
    const there = framed && location.ancestorOrigins && location.ancestorOrigins[0];
    if (!there || !there.startsWith("http")) return written;
    const url = new URL(written);
    return there + url.pathname + url.hash;
  };
  const runs = document.body.dataset.runs ? address(document.body.dataset.runs) : null;

  const say = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.max(8, Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, y - tip.offsetHeight - 12)}px`;
  };
  const copied = (text) => {
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy"); // the newer interface is closed to a sandboxed frame
    box.remove();
    return done;
  };
  const open = (href, x, y) => {
    if (!framed) {
      window.open(href, "_blank", "noopener");
      return;
    }
    const told = copied(href) ? "Its address is copied: paste it into a new tab." : href;
    say(`This viewer lets a report open no window. ${told} Links in tables open with Ctrl or ⌘ held.`, x, y);
  };
  for (const link of document.querySelectorAll("a.run")) {
    link.href = address(link.href);
    link.target = "_blank";
    link.rel = "noopener";
    if (!framed) continue;
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const box = link.getBoundingClientRect();
      open(link.href, box.left, box.top);
      link.focus();
    });
    link.addEventListener("blur", () => { tip.hidden = true; });
  }

  // Pages beside this one: a viewer's frame has none, but lists the files of the report.
  for (const link of framed ? document.querySelectorAll("a.beside") : []) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const box = link.getBoundingClientRect();
      say(`This viewer opens one file at a time: ${link.getAttribute("href")} is in the report’s list of artifacts.`, box.left, box.top);
      link.focus();
    });
    link.addEventListener("blur", () => { tip.hidden = true; });
  }

  const nearest = (points, x, y) => {
    let found = null;
    let least = REACH * REACH;
    points.lines.forEach((line, series) => {
      if (pinned !== null && series !== pinned) return;
      line.forEach((point, at) => {
        const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
        if (distance < least) {
          least = distance;
          found = { series, at };
        }
      });
    });
    return found;
  };
  // The next line up (+1) or down (-1) at the same place across, the lines being in order of size.
  const beside = (points, from, by) => {
    const across = points.lines[from.series][from.at][0];
    for (let series = from.series + by; points.lines[series]; series += by) {
      const line = points.lines[series];
      if (!line.length) continue;
      let at = 0;
      line.forEach((point, i) => { if (Math.abs(point[0] - across) < Math.abs(line[at][0] - across)) at = i; });
      return { series, at };
    }
    return from;
  };

  // A link to a folded task unfolds it, in browsers too that do not do so by themselves.
  const unfold = () => {
    const there = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const fold = there && there.closest("details:not([open])");
    if (!fold) return;
    fold.open = true;
    there.scrollIntoView();
  };
  window.addEventListener("hashchange", unfold);
  unfold();

  for (const panel of document.querySelectorAll(".panel")) {
    const drawing = panel.querySelector("svg");
    const title = panel.closest("figure").querySelector("h2, h3").textContent;
    const points = JSON.parse(panel.querySelector("script").textContent);
    const ring = document.createElementNS(drawing.namespaceURI, "circle");
    ring.setAttribute("r", "4");
    ring.setAttribute("fill", "none");
    ring.setAttribute("stroke", "var(--ink)");
    ring.setAttribute("visibility", "hidden");
    drawing.append(ring);
    panel.classList.toggle("runs", runs !== null);
    let current = null;

    const run = () => current && points.lines[current.series][current.at][7];
    const leave = () => {
      current = null;
      tip.hidden = true;
      ring.setAttribute("visibility", "hidden");
      panel.classList.remove("near");
      focus(pinned);
    };
    const show = (found) => {
      current = found;
      const [x, y, place, amount, value, error, n] = points.lines[found.series][found.at];
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      ring.setAttribute("visibility", "visible");
      panel.classList.toggle("near", Boolean(run()));
      focus(found.series);
      const box = drawing.getBoundingClientRect();
      const items = n === null ? "" : ` (${n.toLocaleString("en")} items)`;
      say(
        `${title}: ${names[found.series]}\n${place} (${amount})\n` +
          `${value}${error === null ? "" : ` ± ${error}`}${items}`,
        box.left + (x * box.width) / points.w,
        box.top + (y * box.width) / points.w,
      );
    };
    const follow = () => {
      const box = tip.getBoundingClientRect();
      if (runs !== null && run()) open(runs.replace("{run}", run()), box.left, box.bottom + 12);
    };

    const under = (event) => {
      const box = drawing.getBoundingClientRect();
      const scale = points.w / box.width;
      return nearest(points, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
    };
    const point = (found) => (found === null ? leave() : show(found));
    // A finger does not hover: its first tap shows a point's numbers, a second one opens the run.
    let finger = false;
    panel.addEventListener("pointerdown", (event) => { finger = event.pointerType === "touch"; });
    panel.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") leave(); });
    panel.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(under(event)); });
    panel.addEventListener("click", (event) => {
      const found = finger ? under(event) : current;
      if (found && current && found.series === current.series && found.at === current.at) follow();
      else point(found);
    });
    panel.addEventListener("blur", leave);
    panel.addEventListener("focus", () => {
      if (current !== null || !panel.matches(":focus-visible")) return;
      const series = pinned ?? points.lines.findLastIndex((line) => line.length);
      if (series >= 0 && points.lines[series].length) show({ series, at: points.lines[series].length - 1 });
    });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return leave();
      if (current === null) return;
      const line = points.lines[current.series];
      const moves = {
        ArrowLeft: () => ({ ...current, at: Math.max(0, current.at - 1) }),
        ArrowRight: () => ({ ...current, at: Math.min(line.length - 1, current.at + 1) }),
        ArrowUp: () => beside(points, current, 1),
        ArrowDown: () => beside(points, current, -1),
      };
      if (event.key === "Enter") follow();
      else if (moves[event.key]) show(moves[event.key]());
      else return;
      event.preventDefault();
    });
  }
})();
