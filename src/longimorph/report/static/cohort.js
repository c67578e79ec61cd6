"use strict";
// The table of the cohort: sorted, filtered and rated in the browser. Text goes in as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  if (!$("rows")) return;
  const data = JSON.parse($("rows").textContent);
  data.rows.forEach((row, place) => { row.place = place; });
  const STORE = `longimorph ratings ${location.pathname}`;
  const RATINGS = ["good", "unsure", "bad"];
  const OUT = 3.5;
  const AT_ONCE = 100; // rows that are made before those below are scrolled to
  const keyOf = (row) => [row.patient, row.from, row.to].join("\t");
  const VERDICT = 3; // the place of its column
  const sorting = { by: VERDICT, down: false };
  let ratings = {}, waiting = [], scale = [];
  try { ratings = JSON.parse(localStorage.getItem(STORE)) || {}; } catch { /* a browser that keeps nothing */ }

  const make = (tag, text, parent, name) => {
    const element = document.createElement(tag);
    if (text !== null) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.append(element);
    return element;
  };
  const sign = (value) => ((value > 0 ? "+" : "") + value.toFixed(Math.abs(value) < 10 ? 2 : 1)).replace("-", "−").replace(/^[−+](0\.0+)$/, "$1");

  // mL or mL per year of one class of a row; null where there is none.
  function cell(row, index) {
    const cells = data.cells[index], at = 3 * row.place, measure = Number($("c-measure").value);
    if (cells[at] === null || cells[at + 1] === null || cells[at + 2] === null) return null;
    const value = (measure < 3 ? cells[at + measure] : cells[at] + cells[at + 1] + cells[at + 2]) / 1000;
    if ($("c-unit").value === "ml") return value;
    return row.days > 0 ? (value * 365.25) / row.days : null;
  }

  // Whether the change of a class of a row may be zero; not known of what is unexplained.
  function below(row, index) {
    const bit = { 0: 1, 1: 2, 3: 4 }[$("c-measure").value] || 0;
    return (Number(data.below[index][row.place]) & bit) > 0;
  }

  const COLUMNS = [
    { name: "patient", value: (row) => row.patient },
    { name: "pair", value: (row) => `${row.from} to ${row.to}` },
    { name: "days", value: (row) => row.days, number: true },
    { name: "verdict", value: (row) => row.verdict, number: true },
    { name: "score", value: (row) => row.score, number: true },
    ...data.classes.map((name, index) => ({ name, value: (row) => cell(row, index), number: true, index })),
    { name: "rating", value: (row) => ratings[keyOf(row)] || "" },
  ];

  function wanted(row) {
    const words = $("c-find").value.trim().toLowerCase();
    if (words && !`${row.patient} ${row.from} to ${row.to}`.toLowerCase().includes(words)) return false;
    const status = $("c-status").value;
    if (status === "ok") return row.status === "ok";
    if (status === "failed") return row.status !== "ok";
    if (/^\d$/.test(status)) return row.verdict === Number(status);
    if (status === "out") return row.score !== null && row.score >= OUT;
    return status !== "unrated" || !ratings[keyOf(row)];
  }

  // Names in the order of a dictionary, numbers by size, what is missing always last.
  function compare(column) {
    return (one, two) => {
      const [a, b] = [column.value(one), column.value(two)];
      const missing = (a === null || a === "") - (b === null || b === "");
      if (missing) return missing;
      const order = column.number ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
      if (order === 0 && column === COLUMNS[VERDICT]) return (two.score || 0) - (one.score || 0);
      return sorting.down ? -order : order;
    };
  }

  function heads() {
    const line = document.createElement("tr");
    COLUMNS.forEach((column, place) => {
      const head = make("th", null, line, column.number && place !== VERDICT ? "number" : "");
      head.scope = "col";
      const button = make("button", column.name, head);
      button.type = "button";
      const current = sorting.by === place;
      if (current) head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      button.addEventListener("click", () => {
        sorting.down = current ? !sorting.down : Boolean(column.number) && place !== VERDICT;
        sorting.by = place;
        draw();
        $("c-table").tHead.rows[0].cells[place].firstChild.focus();
      });
    });
    $("c-table").tHead.replaceChildren(line);
  }

  function largest() {
    return data.classes.map((_, index) => {
      const sizes = data.rows.map((row) => Math.abs(cell(row, index) || 0)).sort((a, b) => a - b);
      return sizes[Math.floor(0.95 * (sizes.length - 1))] || sizes[sizes.length - 1] || 1;
    });
  }

  function rate(row, box) {
    for (const word of RATINGS) {
      const button = make("button", word, box);
      button.type = "button";
      button.setAttribute("aria-label", `${word}: ${row.patient}, ${row.from} to ${row.to}`);
      button.setAttribute("aria-pressed", String(ratings[keyOf(row)] === word));
      button.addEventListener("click", () => {
        if (ratings[keyOf(row)] === word) delete ratings[keyOf(row)];
        else ratings[keyOf(row)] = word;
        try { localStorage.setItem(STORE, JSON.stringify(ratings)); } catch { /* saved as a file only */ }
        for (const other of box.children) other.setAttribute("aria-pressed", String(ratings[keyOf(row)] === other.textContent));
        count();
      });
    }
  }

  function line(row) {
    const element = document.createElement("tr");
    const link = make("a", row.patient, make("td", null, element));
    link.href = `../patients/${encodeURIComponent(row.patient)}/report.html`;
    make("td", `${row.from} to ${row.to}`, element);
    make("td", String(Math.round(row.days * 10) / 10), element, "number");
    const level = make("span", data.levels[row.verdict], make("td", null, element));
    level.className = `verdict ${data.levels[row.verdict].replaceAll(" ", "-")}`;
    if (row.reason) level.title = row.reason;
    const score = make("td", row.score === null ? (row.status === "ok" ? "" : row.status) : row.score.toFixed(1), element, "number");
    if (row.status !== "ok") score.classList.add("failed");
    if (row.score !== null && row.score >= OUT) score.classList.add("stands-out");
    if (row.why) score.title = row.why;
    data.classes.forEach((name, index) => {
      const value = cell(row, index);
      const box = make("td", value === null ? "" : sign(value), element, "number");
      if (value === null) return;
      if (below(row, index)) { box.classList.add("below"); box.title = "may be zero: below the noise floor, or its 90 % interval contains 0"; return; }
      const share = Math.round(45 * Math.min(Math.abs(value) / scale[index], 1));
      box.style.background = `color-mix(in srgb, var(${value > 0 ? "--up" : "--down"}) ${share}%, transparent)`;
    });
    rate(row, make("td", null, element, "rating"));
    return element;
  }

  function outOf(number) {
    return `${number} of ${data.rows.length} pair${data.rows.length === 1 ? "" : "s"}`;
  }

  function count() {
    $("c-rated").textContent = `${outOf(Object.keys(ratings).length)} rated`;
  }

  function draw() {
    waiting = data.rows.filter(wanted).sort(compare(COLUMNS[sorting.by]));
    scale = largest();
    $("c-count").textContent = outOf(waiting.length);
    heads();
    $("c-table").tBodies[0].replaceChildren();
    $("c-table").parentElement.scrollTop = 0;
    more();
    count();
  }

  function more(number = AT_ONCE) {
    $("c-table").tBodies[0].append(...waiting.splice(0, number).map(line));
  }

  function save() {
    const lines = ["patient\tfrom\tto\trating", ...data.rows.filter((row) => ratings[keyOf(row)]).map((row) => `${keyOf(row)}\t${ratings[keyOf(row)]}`)];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/tab-separated-values" }));
    link.download = "ratings.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  for (const id of ["c-measure", "c-unit", "c-status"]) $(id).addEventListener("change", draw);
  $("c-find").addEventListener("input", draw);
  $("c-save").addEventListener("click", save);
  addEventListener("beforeprint", () => more(waiting.length));
  const box = $("c-table").parentElement;
  box.addEventListener("scroll", () => { if (box.scrollTop + box.clientHeight > box.scrollHeight - 600) more(); });
  draw();
})();
