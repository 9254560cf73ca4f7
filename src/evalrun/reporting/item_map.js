// The heat map: items in the order of the table, a column a checkpoint, dark where the answer is right.
function itemMap(canvas, { mark, here, tip }, data, hooks) {
  let shown = { items: new Uint32Array(0), curve: data.curves[0], shade: "answers" };
  let at = null; // [place in the list, checkpoint] under the pointer or the arrow keys
  const paint = canvas.getContext("2d");

  const rgb = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
  };
  const value = (curve, item, step) => {
    if (shown.shade === "probability") return PROBABILITY[curve.right[item * curve.steps.length + step]];
    const answer = curve.answer(item, step);
    return answer === UNKNOWN ? NaN : answer === PARTLY ? 0.5 : answer;
  };

  const draw = (onPaper = false) => {
    const { items, curve } = shown;
    const steps = curve.steps.length;
    const high = Math.max(1, Math.min(items.length, 1200));
    const image = new ImageData(steps, high);
    const [light, dark] = onPaper ? [rgb("--wrong-paper"), rgb("--known-paper")] : [rgb("--wrong"), rgb("--known")];
    for (let row = 0; row < high; row += 1) {
      const from = Math.floor(row * items.length / high);
      const to = Math.max(from + 1, Math.floor((row + 1) * items.length / high));
      for (let step = 0; step < steps; step += 1) {
        let sum = 0, n = 0;
        for (let place = from; place < to && place < items.length; place += 1) {
          const one = value(curve, items[place], step);
          if (!Number.isNaN(one)) { sum += one; n += 1; }
        }
        if (!n) continue;
        const pixel = 4 * (row * steps + step);
        for (let i = 0; i < 3; i += 1) image.data[pixel + i] = light[i] + (dark[i] - light[i]) * sum / n;
        image.data[pixel + 3] = 255;
      }
    }
    // As many pixels as are seen, so that a row of several items is no finer than a reader can tell.
    canvas.width = steps;
    canvas.height = high;
    paint.putImageData(image, 0, 0);
  };

  const say = () => {
    if (at === null || at[0] >= shown.items.length) { tip.hidden = true; return; }
    const { items, curve } = shown;
    const [place, step] = at;
    const item = items[place];
    const answer = ANSWERS[curve.answer(item, step)];
    const p = curve.right === null ? NaN : PROBABILITY[curve.right[item * curve.steps.length + step]];
    const more = Number.isNaN(p) ? "" : `, probability ${p.toFixed(2)}`;
    tip.textContent = `item ${data.ids[item]}: ${answer}${more}\n${curve.label}, step ${curve.steps[step]} ` +
      `(${shortNumber(curve.tokens[step])} tokens)`;
    tip.hidden = false;
    const box = canvas.getBoundingClientRect();
    const x = box.left + box.width * (step + 0.5) / curve.steps.length;
    const y = box.top + box.height * (place + 0.5) / items.length;
    tip.style.left = `${Math.max(8, Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, y - tip.offsetHeight - 12)}px`;
    hooks.point(item);
  };
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (share, n) => Math.max(0, Math.min(n - 1, Math.floor(share * n)));
    return [
      inside((event.clientY - box.top) / box.height, shown.items.length),
      inside((event.clientX - box.left) / box.width, shown.curve.steps.length),
    ];
  };
  const leave = () => { at = null; tip.hidden = true; hooks.point(null); };

  canvas.addEventListener("pointermove", (event) => { at = under(event); say(); });
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("click", (event) => {
    const [place] = under(event);
    if (shown.items.length) hooks.open(shown.items[place]);
  });
  canvas.addEventListener("keydown", (event) => {
    const [rows, steps] = [shown.items.length, shown.curve.steps.length];
    if (!rows) return;
    const [place, step] = at ?? [0, steps - 1];
    const moves = {
      ArrowUp: [place - 1, step], ArrowDown: [place + 1, step], ArrowLeft: [place, step - 1],
      ArrowRight: [place, step + 1], PageUp: [place - Math.ceil(rows / 20), step],
      PageDown: [place + Math.ceil(rows / 20), step], Home: [0, step], End: [rows - 1, step],
    };
    if (event.key === "Enter") hooks.open(shown.items[place]);
    else if (event.key === "Escape") leave();
    else if (moves[event.key]) {
      const [down, across] = at === null ? [place, step] : moves[event.key];
      at = [Math.max(0, Math.min(rows - 1, down)), Math.max(0, Math.min(steps - 1, across))];
      say();
    } else return;
    event.preventDefault();
  });

  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", () => draw());
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw());

  const lay = (element, first, count) => {
    const n = Math.max(1, shown.items.length);
    element.style.top = `${100 * first / n}%`;
    element.style.height = `${100 * count / n}%`;
  };
  return {
    show(items, curve, shade) { shown = { items, curve, shade }; at = null; here.hidden = true; draw(); },
    mark(first, count) { lay(mark, first, count); }, // which part of the map the table shows
    // Where an item of the table lies; null: none.
    locate(place) {
      here.hidden = place === null;
      if (place !== null) lay(here, place, 1);
    },
  };
}
