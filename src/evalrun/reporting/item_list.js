// The items as a list: what is said of each in a row of the table, in which order, and which of them.
function itemList(data) {
  const STRIP = 16; // models whose answers at the end are shown side by side
  const everything = Uint32Array.from({ length: data.count }, (_, item) => item);
  const { prompts } = data.texts;

  // What all prompts begin with says nothing of an item: rows show what comes after.
  const common = (() => {
    if (prompts.length < 2) return 0;
    let { length } = prompts[0];
    for (const prompt of prompts) {
      let same = 0;
      while (same < length && prompt[same] === prompts[0][same]) same += 1;
      length = same;
    }
    return length < 24 ? 0 : Math.max(0, prompts[0].lastIndexOf(" ", length) + 1);
  })();
  const snippet = (item) => {
    if (!prompts.length) return "";
    return (common ? "… " : "") + prompts[item].slice(common, common + 240).replace(/\s+/g, " ");
  };

  const atEnd = (item) => data.curves.map((curve) => curve.answer(item, curve.steps.length - 1));
  const rightAtEnd = Uint16Array.from(everything, (item) => atEnd(item).filter((answer) => answer === RIGHT).length);
  const shares = new Map(); // curve -> share of right answers of each item
  const shareOf = (curve) => {
    if (!shares.has(curve)) {
      shares.set(curve, Float32Array.from(everything, (item) => {
        let right = 0, known = 0;
        for (let step = 0; step < curve.steps.length; step += 1) {
          const answer = curve.answer(item, step);
          if (answer === UNKNOWN) continue;
          known += 1;
          right += answer === PARTLY ? 0.5 : answer;
        }
        return known ? right / known : NaN;
      }));
    }
    return shares.get(curve);
  };
  const isAlways = (curve, item) => data.classes[curve.classes[item]] === "always right";
  const ageText = (curve, item) => (isAlways(curve, item) ? "from the start" : shortNumber(curve.age[item]));
  const ageKey = (curve, item) => (isAlways(curve, item) ? 0 : Number.isNaN(curve.age[item]) ? Infinity : curve.age[item]);

  // By any column; equal items in the order in which they are learned, and those without a value last.
  const sorted = (items, curve, sort, isUp, values) => {
    const isNumbers = values?.every((value) => value === "" || Number.isFinite(Number(value)));
    const key = {
      item: (item) => item,
      prompt: snippet,
      class: (item) => curve.classes[item],
      age: (item) => ageKey(curve, item),
      right: (item) => shareOf(curve)[item],
      end: (item) => rightAtEnd[item],
      column: (item) => (!values ? 0 : isNumbers ? Number(values[item] || NaN) : values[item]),
    }[sort];
    const keys = new Map(Array.from(items, (item) => [item, key(item)]));
    const sign = isUp ? 1 : -1;
    const words = new Intl.Collator("en", { numeric: true });
    const compare = (a, b) => {
      const [one, other] = [keys.get(a), keys.get(b)];
      if (typeof one === "string") return sign * words.compare(one, other);
      if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
      return one === other ? 0 : sign * (one < other ? -1 : 1);
    };
    return Uint32Array.from(items).sort((a, b) => compare(a, b) || curve.rank[a] - curve.rank[b]);
  };

  // Of a class, with a value in a column, with some words in prompt, choices or number; empty: all.
  const filtered = ({ curve, words, code, values, value, isListed }) => everything.filter((item) => {
    if (code !== "" && curve.classes[item] !== Number(code)) return false;
    if (values && value !== "") {
      if (isListed && values[item] !== JSON.parse(value)) return false;
      if (!isListed && !values[item].toLowerCase().includes(value.toLowerCase())) return false;
    }
    if (words === "" || String(data.ids[item]) === words) return true;
    return [prompts[item] ?? "", ...(data.texts.choices[item] ?? [])].some((text) => text.toLowerCase().includes(words));
  });

  const cell = (text, kind) => {
    const made = document.createElement("td");
    made.textContent = text; // text alone: what an item says is never read as HTML
    if (kind) made.className = kind;
    return made;
  };
  const strip = (item) => {
    const made = cell("", "end");
    const answers = atEnd(item);
    if (answers.length <= STRIP) {
      const cells = document.createElement("span");
      cells.className = "strip";
      cells.setAttribute("aria-hidden", "true");
      answers.forEach((answer, place) => {
        const one = document.createElement("i");
        one.className = ["wrong", "right", "partly", ""][answer];
        one.title = `${data.curves[place].label}: ${ANSWERS[answer]}`;
        cells.append(one);
      });
      made.append(cells);
    }
    made.append(`${rightAtEnd[item]} of ${answers.length}`);
    return made;
  };
  const row = (item, curve, values) => {
    const made = document.createElement("tr");
    made.dataset.item = item;
    made.tabIndex = -1;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = data.ids[item];
    made.append(head);
    if (prompts.length) {
      const prompt = cell("", "prompt");
      const clamped = document.createElement("div");
      clamped.textContent = snippet(item);
      prompt.append(clamped);
      made.append(prompt);
    }
    const share = shareOf(curve)[item];
    made.append(
      cell(data.classes[curve.classes[item]], "name"),
      cell(ageText(curve, item), "number"),
      cell(Number.isNaN(share) ? "–" : `${Math.round(100 * share)} %`, "number"),
      strip(item),
    );
    if (values) made.append(cell(values[item]));
    return made;
  };
  return { sorted, filtered, row };
}
