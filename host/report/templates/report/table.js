// Sorting, filtering, and the rows that have a colour.

const tables = [...document.querySelectorAll("table.comparison")];
const lines = tables.flatMap((table) => [...table.tBodies[0].rows]);
const idOf = (line) => Number(line.dataset.row);

function readCell(line, at) {
  const cell = line.cells[at];
  if (at === 0) return cell.textContent;
  const value = cell.dataset.value;
  if (value === undefined || value === "") return null;
  return Number.isNaN(Number(value)) ? value : Number(value);
}

// What is missing comes last in either direction; equal values stay in the order of the plan.
function compareLines(one, other, at, sign) {
  const [a, b] = [readCell(one, at), readCell(other, at)];
  if (a === null || b === null) return (a === null) - (b === null) || idOf(one) - idOf(other);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return sign * order || idOf(one) - idOf(other);
}

function sortTable(table, head) {
  const before = head.getAttribute("aria-sort");
  const first = head.dataset.first;
  const direction = before === first ? (first === "ascending" ? "descending" : "ascending") : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((one, other) => compareLines(one, other, head.cellIndex, sign)));
  state.order = tables.flatMap((one) => [...one.tBodies[0].rows].map(idOf));
  say(`Sorted by ${head.dataset.key}, ${direction}`);
  tellChange();
}

for (const table of tables) {
  for (const head of table.tHead.rows[0].cells) {
    const button = head.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => sortTable(table, head));
  }
}

// Filters.

const form = document.querySelector("form.filters");
const valueOf = (id) => byId(id)?.value.trim() ?? "";
const LIMITS = [
  ["least-accuracy", "accuracy", (value, limit) => value >= limit],
  ["most-p50", "p50", (value, limit) => value <= limit],
  ["most-peak", "peak", (value, limit) => value <= limit],
  ["most-energy", "energy", (value, limit) => value <= limit],
];

function isWanted(row) {
  const words = valueOf("find").toLowerCase().split(/\s+/);
  const flags = valueOf("flags");
  return (
    words.every((word) => row.words.includes(word)) &&
    ["device", "model", "runtime"].every((id) => valueOf(id) === "" || valueOf(id) === row[id]) &&
    (flags === "" || (flags === "-" ? row.flags.length === 0 : row.flags.includes(flags))) &&
    LIMITS.every(([id, key, keeps]) => valueOf(id) === "" || (row.figures[key] !== null && keeps(row.figures[key], Number(valueOf(id)))))
  );
}

function filterRows() {
  state.shown = new Set(rows.filter(isWanted).map((row) => row.id));
  for (const line of lines) line.hidden = !state.shown.has(idOf(line));
  const count = state.shown.size;
  byId("count").textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
  tellChange();
}

let waiting = 0;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filterRows, 60);
});
form.addEventListener("reset", () => setTimeout(filterRows));

// Colours.

function pick(key, isOn) {
  const slot = state.picked.indexOf(isOn ? null : key);
  if (slot < 0) {
    say(`${MOST_COLOURS} rows have a colour already: untick one first.`);
  } else {
    state.picked[slot] = isOn ? key : null;
  }
  tellChange();
}

for (const line of lines) {
  const row = rows[idOf(line)];
  const box = make("input", { type: "checkbox", "aria-label": `Colour ${cut(row.title, 80)} in the plots` });
  box.addEventListener("change", () => pick(row.key, box.checked));
  line.querySelector(".label").prepend(box);
}

function showPicked() {
  for (const line of lines) {
    const row = rows[idOf(line)];
    line.querySelector("input").checked = isPicked(row);
    line.classList.toggle("picked", isPicked(row));
    line.style.setProperty("--mark", colourOf(row));
  }
  const titles = new Map(rows.map((row) => [row.key, row]));
  const items = state.picked.map((key, slot) => {
    if (key === null) return null;
    const row = titles.get(key);
    const models = new Set(rows.map((one) => one.model));
    const title = models.size > 1 ? `${row.title} · ${row.model}` : row.title;
    const dot = make("span", { class: "dot", "aria-hidden": "true" });
    dot.style.setProperty("--mark", `var(--c${slot})`);
    const button = make("button", { type: "button", "aria-label": `No colour for ${cut(title, 80)}` }, dot, make("span", {}, title), make("span", { "aria-hidden": "true" }, "×"));
    button.addEventListener("click", () => {
      pick(key, false);
      byId("legend").querySelector("button")?.focus();
    });
    return make("li", {}, button);
  });
  byId("legend").replaceChildren(...items.filter(Boolean));
}

listeners.push(showPicked);
