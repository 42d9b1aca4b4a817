// The data, what is shown of it, and how text and elements are made. Names are text always, never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const MOST_COLOURS = 6;

const state = {
  shown: new Set(rows.map((row) => row.id)),
  order: rows.map((row) => row.id),
  picked: Array.from({ length: MOST_COLOURS }, (_, slot) => data.picked[slot] ?? null),
};
const listeners = [];
const tellChange = () => listeners.forEach((listen) => listen());

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const formats = new Map();

function write(value, unit = "", digits = 4) {
  if (value === null || value === undefined) return "-";
  if (!formats.has(digits)) formats.set(digits, new Intl.NumberFormat("en", { maximumSignificantDigits: digits }));
  return `${formats.get(digits).format(value)}${unit && ` ${unit}`}`;
}

function cut(text, longest) {
  const letters = Array.from(text);
  if (letters.length <= longest) return text;
  const half = Math.max(Math.floor((longest - 1) / 2), 1);
  return `${letters.slice(0, half).join("")}…${letters.slice(-half).join("")}`;
}

const slotOf = (row) => state.picked.indexOf(row.key);
const isPicked = (row) => slotOf(row) >= 0;
const colourOf = (row) => (isPicked(row) ? `var(--c${slotOf(row)})` : "");

function colour(element, row) {
  if (isPicked(row)) element.style.setProperty("--mark", colourOf(row));
  return element;
}

// Shown rows of a group in the order of the table, those without a colour first: they are drawn below.
function rowsOf(group, wanted = () => true) {
  const found = state.order.map((id) => rows[id]).filter((row) => row.group === group && state.shown.has(row.id) && wanted(row));
  return [...found.filter((row) => !isPicked(row)), ...found.filter(isPicked)];
}

function say(text) {
  byId("said").textContent = text;
}
