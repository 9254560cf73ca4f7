"use strict";
// Every item of a task: a table to sort, filter and search, the heat map of what it shows, and a card for each item.
(async () => {
  const ROWS = 50; // of the table at a time
  const LISTED = 60; // values of a column that are offered in a list; of more, what they contain is asked for
  const by = (id) => document.getElementById(id);
  const status = by("status");
  if (typeof DecompressionStream === "undefined") {
    status.textContent = "This browser is too old to unpack the items: Chrome 80, Firefox 113 or Safari 16.4 can.";
    return;
  }
  const data = await readItems();
  const columns = Object.entries(data.texts.columns).filter(([, values]) => new Set(values).size > 1);
  const state = { curve: data.curves[0], sort: "age", isUp: true, list: new Uint32Array(0), page: 0 };

  const list = itemList(data);
  const column = () => columns.find(([name]) => name === by("column").value);
  const filtered = () => list.filtered({
    curve: state.curve,
    words: by("find").value.trim().toLowerCase(),
    code: by("class").value,
    values: column()?.[1],
    value: by("value").value,
    isListed: by("value").localName === "select",
  });
  const sorted = (items) => list.sorted(items, state.curve, state.sort, state.isUp, column()?.[1]);

  const open = (item) => {
    const place = state.list.indexOf(item);
    if (place < 0) return;
    state.page = Math.floor(place / ROWS);
    fill();
    card.show(item, place, state.list.length);
    remember(item);
  };
  // The address names the open item, so that it can be passed on; a framed page may not be allowed to change it.
  const remember = (item) => {
    try {
      history.replaceState(null, "", item === null ? "#" : `#item=${data.ids[item]}`);
    } catch { /* the item is shown all the same */ }
  };
  const card = itemCard(by("card"), data, {
    step(move) {
      const next = state.list[state.list.indexOf(card.item()) + move];
      if (next !== undefined) open(next);
    },
    closed(item) {
      remember(null);
      const row = by("rows").querySelector(`tr[data-item="${item}"]`);
      if (row) focusRow(row);
    },
  });
  const map = itemMap(by("map"), { mark: by("mark"), here: by("here"), tip: by("tip") }, data, {
    open,
    point(item) {
      for (const row of by("rows").children) row.classList.toggle("pointed", Number(row.dataset.item) === item);
    },
  });

  // The table is one stop of the tab key; arrows move through it.
  const focusRow = (row) => {
    for (const other of by("rows").children) other.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  };
  const pages = () => Math.max(1, Math.ceil(state.list.length / ROWS));
  function fill() {
    const first = state.page * ROWS;
    const chosen = column();
    const items = Array.from(state.list.slice(first, first + ROWS));
    by("rows").replaceChildren(...items.map((item) => list.row(item, state.curve, chosen?.[1])));
    if (by("rows").firstChild) by("rows").firstChild.tabIndex = 0;
    by("nothing").hidden = state.list.length > 0;
    const head = document.querySelector("th[data-key=column]");
    head.hidden = !chosen;
    if (chosen) head.querySelector("button").textContent = chosen[0];
    for (const other of document.querySelectorAll("th[data-key]")) {
      const direction = other.dataset.key === state.sort ? (state.isUp ? "ascending" : "descending") : "none";
      other.setAttribute("aria-sort", direction);
    }
    const number = (n) => n.toLocaleString("en");
    by("range").textContent = items.length
      ? `${number(first + 1)} to ${number(first + items.length)} of ${number(state.list.length)}` : "none";
    by("first").disabled = by("previous").disabled = state.page === 0;
    by("next").disabled = by("last").disabled = state.page + 1 >= pages();
    map.mark(first, items.length);
  }
  function update() {
    state.list = sorted(filtered());
    state.page = 0;
    const { curve } = state;
    const [shown, all] = [state.list.length.toLocaleString("en"), data.count.toLocaleString("en")];
    status.textContent = `${curve.label}: ${state.list.length === data.count ? `all ${all}` : `${shown} of ${all}`} items`;
    by("clear").hidden = state.list.length === data.count;
    const isShaded = by("shade").value === "probability" && curve.right !== null;
    map.show(state.list, curve, isShaded ? "probability" : "answers");
    const said = `${curve.label}: ${shown} items by ${curve.steps.length} checkpoints, in the order of the table. Arrow ` +
      "keys move through it, Enter opens an item.";
    by("map").setAttribute("aria-label", said);
    const middle = Math.floor((curve.tokens.length - 1) / 2);
    by("from").textContent = shortNumber(curve.tokens[0]);
    by("middle").textContent = curve.tokens.length > 4 ? shortNumber(curve.tokens[middle]) : "";
    by("to").textContent = `${shortNumber(curve.tokens[curve.tokens.length - 1])} tokens`;
    fill();
  }

  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  const listClasses = () => {
    const chosen = by("class").value;
    const counts = data.classes.map(() => 0);
    for (const code of state.curve.classes) counts[code] += 1;
    by("class").replaceChildren(option("", "all"), ...data.classes.map((name, code) =>
      option(String(code), `${name} (${counts[code].toLocaleString("en")})`)));
    by("class").value = chosen;
  };
  const listValues = () => {
    const values = column() ? [...new Set(column()[1])].sort((a, b) => a.localeCompare(b, "en", { numeric: true })) : [];
    const isListed = values.length <= LISTED;
    const made = document.createElement(isListed ? "select" : "input");
    made.id = "value";
    if (isListed) {
      made.append(option("", "all"), ...values.map((value) => option(JSON.stringify(value), value || "(empty)")));
      made.addEventListener("change", update);
    } else {
      made.placeholder = "contains";
      made.addEventListener("input", update);
    }
    by("value").replaceWith(made);
    by("value-label").hidden = !column();
  };

  data.curves.forEach((curve, place) => by("model").append(option(String(place), curve.label)));
  by("model").value = String(data.curves.length - 1); // the largest
  state.curve = data.curves[data.curves.length - 1];
  columns.forEach(([name]) => by("column").append(option(name, name)));
  by("column-label").hidden = columns.length === 0;
  by("find-label").hidden = !data.texts.prompts.length;
  document.querySelector("th[data-key=prompt]").hidden = !data.texts.prompts.length;
  by("shade-label").hidden = data.curves.every((curve) => curve.right === null);
  // A viewer's frame has nothing beside it.
  if (by("back") !== null && window.self === window.top) by("back").hidden = false;

  by("model").addEventListener("change", () => {
    state.curve = data.curves[Number(by("model").value)];
    listClasses();
    update();
  });
  by("class").addEventListener("change", update);
  by("shade").addEventListener("change", update);
  by("column").addEventListener("change", () => { listValues(); update(); });
  let soon = 0;
  by("find").addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(update, 120); });
  by("clear").addEventListener("click", () => {
    by("find").value = by("class").value = "";
    by("value").value = "";
    update();
    by("find").focus();
  });
  for (const head of document.querySelectorAll("th[data-key] button")) {
    head.addEventListener("click", () => {
      const { key } = head.parentElement.dataset;
      state.isUp = state.sort === key ? !state.isUp : true;
      state.sort = key;
      update();
    });
  }
  const turn = (page) => { state.page = Math.max(0, Math.min(pages() - 1, page)); fill(); };
  by("first").addEventListener("click", () => turn(0));
  by("previous").addEventListener("click", () => turn(state.page - 1));
  by("next").addEventListener("click", () => turn(state.page + 1));
  by("last").addEventListener("click", () => turn(pages() - 1));
  by("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !String(getSelection())) open(Number(row.dataset.item));
  });
  const locate = (event) => {
    const row = event.target.closest("tr");
    map.locate(row ? state.list.indexOf(Number(row.dataset.item)) : null);
  };
  by("rows").addEventListener("pointerover", locate);
  by("rows").addEventListener("focusin", locate);
  by("rows").addEventListener("pointerleave", () => map.locate(null));
  by("rows").addEventListener("focusout", () => map.locate(null));
  by("rows").addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const rows = [...by("rows").children];
    const at = rows.indexOf(row);
    const page = (move, place) => {
      if (state.page + move < 0 || state.page + move >= pages()) return;
      turn(state.page + move);
      const now = [...by("rows").children];
      focusRow(now[place < 0 ? now.length - 1 : Math.min(place, now.length - 1)]);
    };
    const moves = {
      ArrowDown: () => (at + 1 < rows.length ? focusRow(rows[at + 1]) : page(1, 0)),
      ArrowUp: () => (at > 0 ? focusRow(rows[at - 1]) : page(-1, -1)),
      PageDown: () => page(1, at),
      PageUp: () => page(-1, at),
      Home: () => focusRow(rows[0]),
      End: () => focusRow(rows[rows.length - 1]),
      Enter: () => open(Number(row.dataset.item)),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName);
    if (event.key === "/" && !isTyping && card.item() === null) {
      event.preventDefault();
      by("find").focus();
    } else if (event.key === "Escape" && document.activeElement === by("find") && by("find").value) {
      by("find").value = "";
      update();
    }
  });

  listClasses();
  listValues();
  update();
  document.body.dataset.ready = "true";
  const named = /^#item=(.+)$/.exec(location.hash);
  const item = named ? data.ids.findIndex((id) => String(id) === decodeURIComponent(named[1])) : -1;
  if (item >= 0) open(item);
})().catch((error) => {
  document.getElementById("status").textContent = `The items could not be shown (${error}): the file may be damaged.`;
  throw error;
});
