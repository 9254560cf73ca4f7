// What the page holds: deflated arrays in base64, unpacked when it opens. packed_items.py says what each is.
const WRONG = 0, RIGHT = 1, PARTLY = 2, UNKNOWN = 3;
const ANSWERS = ["wrong", "right", "right in part", "no answer"];

// A probability's code: log-odds x as 128 + 127 x / (|x| + 2); 0 is none.
const PROBABILITY = Float32Array.from({ length: 256 }, (_, code) => {
  const squeezed = (code - 128) / 127;
  const odds = 2 * squeezed / (1 - Math.abs(squeezed));
  return code === 0 ? NaN : 1 / (1 + Math.exp(-odds));
});

async function unpacked(name, kind) {
  const holder = document.querySelector(`script[data-name="${name}"]`);
  if (holder === null) return null;
  const text = atob(holder.textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  holder.remove(); // what is unpacked need not be held twice
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return kind === "json" ? JSON.parse(new TextDecoder().decode(buffer)) : new kind(buffer);
}

async function readItems() {
  const about = await unpacked("about", "json");
  const texts = await unpacked("texts", "json");
  const count = about.items;
  const [choices, gold] = [await unpacked("choices", Int16Array), await unpacked("gold", Int16Array)];
  const curves = [];
  for (const [place, said] of about.curves.entries()) {
    const read = (name, kind) => unpacked(`${name}-${place}`, kind);
    const curve = {
      ...said,
      classes: await read("class", Uint8Array),
      rank: await read("rank", Uint32Array),
      age: await read("age", Float32Array),
      low: await read("low", Float32Array),
      high: await read("high", Float32Array),
      right: await read("right", Uint8Array),
      wrong: await read("others", Uint8Array),
    };
    const answers = await read("answers", Uint8Array);
    const steps = said.steps.length;
    curve.answer = (item, step) => {
      const at = item * steps + step;
      return (answers[at >> 2] >> (2 * (at & 3))) & 3;
    };
    curves.push(curve);
  }

  // The choices of an item in the order in which they are packed: the right one first.
  const order = (item) => {
    const places = [...Array(Math.max(0, choices[item])).keys()];
    return gold[item] < 0 ? places : [gold[item], ...places.filter((place) => place !== gold[item])];
  };

  // A line for each choice of an item in one curve, in the order of the task: [[checkpoint, probability], ...].
  const lines = (curve, item) => {
    if (curve.right === null) return [];
    const steps = curve.steps.length;
    const found = order(item).map(() => []);
    const last = found.length - 1;
    const wrong = (choice, at) => {
      const own = curve.others.length;
      return PROBABILITY[curve.wrong[((choice - 1) * count + item) * own + at]];
    };
    for (let step = 0; step < steps; step += 1) {
      const p = PROBABILITY[curve.right[item * steps + step]];
      found[0].push([step, p]);
      if (last === 1) found[1].push([step, 1 - p]);
    }
    if (last > 1) {
      curve.others.forEach((step, at) => {
        let rest = 1 - found[0][step][1];
        for (let choice = 1; choice < last; choice += 1) {
          found[choice].push([step, wrong(choice, at)]);
          rest -= wrong(choice, at);
        }
        found[last].push([step, Math.max(0, rest)]);
      });
    }
    const sorted = [];
    order(item).forEach((place, at) => { sorted[place] = found[at]; });
    return sorted;
  };
  return { ...about, count, texts, choices, gold, curves, lines };
}

// 1.23k, 143B: as tokens are written in the report.
const shortNumber = (value) => {
  if (Number.isNaN(value)) return "–";
  if (value === Infinity) return "∞";
  const units = ["", "k", "M", "B", "T"];
  let at = 0;
  let left = value;
  while (left >= 999.5 && at < units.length - 1) { left /= 1000; at += 1; }
  return `${Number(left.toPrecision(3))}${units[at]}`;
};
