// One item: its prompt, its choices, and what each model made of them over training.
function itemCard(dialog, data, hooks) {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const [WIDE, HIGH, LEFT, TOP, BOTTOM] = [232, 116, 24, 6, 30]; // of a drawing
  const inside = { wide: WIDE - LEFT - 6, high: HIGH - TOP - BOTTOM };
  const part = (name) => dialog.querySelector(`[data-part="${name}"]`);

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text; // text alone: what an item says is never read as HTML
    if (kind) made.className = kind;
    return made;
  };
  const drawn = (name, attributes, text) => {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // Checkpoints stand by the logarithm of their tokens.
  const across = (curve) => {
    const logs = curve.tokens.map((tokens) => Math.log10(tokens));
    const span = logs[logs.length - 1] - logs[0] || 1;
    return logs.map((log) => LEFT + inside.wide * (log - logs[0]) / span);
  };
  const down = (p) => TOP + inside.high * (1 - p);

  const color = (item, choice, nth) => (choice === data.gold[item] ? "var(--known)" : `var(--c${nth % 6})`);
  const nthWrong = (item, choice) => (data.gold[item] >= 0 && choice > data.gold[item] ? choice - 1 : choice);

  const chart = (curve, item) => {
    const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
    const x = across(curve);
    const lines = data.lines(curve, item);
    if (lines.length) {
      for (const p of [0, 0.5, 1]) {
        svg.append(drawn("line", { x1: LEFT, x2: WIDE - 6, y1: down(p), y2: down(p), class: "grid" }));
        svg.append(drawn("text", { x: LEFT - 5, y: down(p) + 3, "text-anchor": "end" }, String(p)));
      }
      const guess = down(1 / lines.length);
      svg.append(drawn("line", { x1: LEFT, x2: WIDE - 6, y1: guess, y2: guess, class: "guess" }));
      const places = [...lines.keys()];
      const isGold = (choice) => choice === data.gold[item];
      for (const choice of [...places.filter((one) => !isGold(one)), ...places.filter(isGold)]) {
        let path = "";
        let pen = "M";
        for (const [step, p] of lines[choice]) {
          if (Number.isNaN(p)) { pen = "M"; continue; }
          path += `${pen}${x[step].toFixed(1)} ${down(p).toFixed(1)}`;
          pen = "L";
        }
        svg.append(drawn("path", {
          d: path, class: isGold(choice) ? "line gold" : "line",
          style: `stroke: ${color(item, choice, nthWrong(item, choice))}`,
        }));
      }
    }
    // Below, right and wrong at each checkpoint.
    const base = HIGH - BOTTOM + 6;
    curve.steps.forEach((_, step) => {
      const answer = curve.answer(item, step);
      if (answer === UNKNOWN) return;
      const from = step ? (x[step - 1] + x[step]) / 2 : x[0];
      const to = step + 1 < x.length ? (x[step] + x[step + 1]) / 2 : x[step];
      svg.append(drawn("rect", {
        x: from.toFixed(1), width: Math.max(1, to - from).toFixed(1), y: base, height: 5,
        class: ["wrong", "right", "partly"][answer],
      }));
    });
    const ends = [[0, "start"], [curve.steps.length - 1, "end"]].slice(0, curve.steps.length > 1 ? 2 : 1);
    for (const [step, anchor] of ends) {
      svg.append(drawn("text", { x: x[step], y: HIGH - 5, "text-anchor": anchor }, shortNumber(curve.tokens[step])));
    }
    return svg;
  };

  const ageSaid = (curve, item) => {
    const [age, low, high] = [curve.age[item], curve.low[item], curve.high[item]];
    if (Number.isNaN(age)) return "";
    return `, age ${shortNumber(age)} (${shortNumber(low)} to ${shortNumber(high)}) tokens`;
  };
  const figureOf = (curve, item) => {
    const figure = element("figure");
    figure.append(element("h3", curve.label));
    const svg = chart(curve, item);
    const name = data.classes[curve.classes[item]];
    const lines = data.lines(curve, item);
    const gold = lines[data.gold[item]] ?? [];
    const ends = gold.length ? ` Probability of the right choice from ${gold[0][1].toFixed(2)} to ` +
      `${gold[gold.length - 1][1].toFixed(2)}.` : "";
    svg.setAttribute("aria-label", `${curve.label}: ${name}.${ends}`);
    figure.append(svg, element("figcaption", `${name}${ageSaid(curve, item)}`));
    return figure;
  };

  const choicesOf = (item) => {
    const list = element("ol", undefined, "choices");
    const texts = data.texts.choices[item] ?? [];
    for (let choice = 0; choice < data.choices[item]; choice += 1) {
      const isRight = choice === data.gold[item];
      const line = element("li", undefined, isRight ? "gold" : "");
      const swatch = element("span", undefined, "swatch");
      swatch.style.background = color(item, choice, nthWrong(item, choice));
      line.append(swatch, element("span", texts[choice] ?? `choice ${choice + 1}`, "text"));
      if (isRight) line.append(element("b", "right", "label"));
      list.append(line);
    }
    return list;
  };

  let shown = null;
  const show = (item, place, of) => {
    shown = item;
    part("title").textContent = `Item ${data.ids[item]}`;
    part("place").textContent = `${(place + 1).toLocaleString("en")} of ${of.toLocaleString("en")}`;
    part("before").disabled = place <= 0;
    part("after").disabled = place + 1 >= of;
    const prompt = data.texts.prompts[item];
    part("prompt").textContent = prompt ?? "";
    part("prompt").hidden = prompt === undefined;
    part("choices").replaceChildren(choicesOf(item));
    const columns = element("dl", undefined, "small");
    for (const [name, values] of Object.entries(data.texts.columns)) {
      if (values[item] !== "" && values[item].trim() !== (prompt ?? "").trim()) columns.append(element("dt", name), element("dd", values[item]));
    }
    part("columns").replaceChildren(...(columns.childElementCount ? [columns] : []));
    part("curves").replaceChildren(...data.curves.map((curve) => figureOf(curve, item)));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  part("before").addEventListener("click", () => hooks.step(-1));
  part("after").addEventListener("click", () => hooks.step(1));
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") hooks.step(-1);
    else if (event.key === "ArrowRight") hooks.step(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => { const item = shown; shown = null; hooks.closed(item); });
  return { show, item: () => shown };
}
