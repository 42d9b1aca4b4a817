// What every plot is made of: scales, ticks, a frame, and points that mouse, finger and keyboard can ask.

function chooseTicks(low, high, most = 5) {
  const span = Math.max(high - low, 1e-9);
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10, 20].map((factor) => factor * power).find((one) => span / one <= most);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

function chooseLogTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) ticks.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

// A scale over values: logarithmic where they span much, with a little room at both ends.
function makeScale(values, from, to, { log = false, zero = false, least = 0 } = {}) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (!Number.isFinite(low)) [low, high] = [0, 1];
  if (log && low > 0 && high / low > 4) {
    const room = (high / low) ** 0.05;
    [low, high] = [low / room, high * room];
    const at = (value) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low);
    return { at, ticks: chooseLogTicks(low, high), low, high, isLog: true };
  }
  if (zero) low = Math.min(low, 0);
  const middle = (low + high) / 2;
  const span = Math.max(high - low, least || Math.abs(middle) * 0.02, 1e-9);
  const room = zero && low === 0 ? 0 : span * 0.06;
  [low, high] = [Math.min(low, middle - span / 2) - room, Math.max(high, middle + span / 2) + span * 0.06];
  return { at: (value) => from + ((to - from) * (value - low)) / (high - low), ticks: chooseTicks(low, high), low, high, isLog: false };
}

// Ticks whose labels would touch are left out.
function thin(ticks, at, room) {
  const kept = [];
  for (const tick of ticks) if (!kept.length || Math.abs(at(tick) - at(kept[kept.length - 1])) >= room) kept.push(tick);
  return kept;
}

function label(text, x, y, attributes = {}) {
  return draw("text", { x: x.toFixed(1), y: y.toFixed(1), ...attributes }, text);
}

function stroke(x1, y1, x2, y2, attributes) {
  return draw("line", { x1: x1.toFixed(1), y1: y1.toFixed(1), x2: x2.toFixed(1), y2: y2.toFixed(1), ...attributes });
}

function join(points, attributes) {
  return draw("polyline", { points: points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), ...attributes });
}

// Grid, ticks and titles of a plot with two axes of numbers.
function drawFrame(svg, box, x, y, titles) {
  for (const tick of y.ticks) {
    svg.append(stroke(box.left, y.at(tick), box.right, y.at(tick), { class: "grid" }));
    svg.append(label(write(tick), box.left - 7, y.at(tick) + 4, { "text-anchor": "end", class: "tick" }));
  }
  for (const tick of thin(x.ticks, x.at, 38)) {
    svg.append(stroke(x.at(tick), box.bottom, x.at(tick), box.bottom + 4, { class: "axis" }));
    svg.append(label(write(tick), x.at(tick), box.bottom + 17, { "text-anchor": "middle", class: "tick" }));
  }
  svg.append(stroke(box.left, box.bottom, box.right, box.bottom, { class: "axis" }));
  svg.append(label(titles.x + (x.isLog ? " (logarithmic)" : ""), box.right, box.height - 4, { "text-anchor": "end", class: "title" }));
  svg.append(label(titles.y, 0, 11, { class: "title" }));
}

function layOut(width, height, left = 46) {
  return { width, height, left, right: width - 10, top: 22, bottom: height - 38 };
}

function drawMark(row, x, y, isOn, size = 4.5) {
  const kind = `mark${isOn ? " on" : ""}${row.flags.length ? " flagged" : ""}`;
  const [a, b] = [x.toFixed(1), y.toFixed(1)];
  const paths = { flagged: `M${a} ${b}m0 ${-size - 1}l${size + 1} ${2 * size}h${-2 * size - 2}z`, dense: `M${a} ${b}m0 ${-size - 1.5}l${size + 1.5} ${size + 1.5} ${-size - 1.5} ${size + 1.5} ${-size - 1.5} ${-size - 1.5}z` };
  if (row.flags.length) return colour(draw("path", { class: kind, d: paths.flagged }), row);
  if (row.isBaseline) return colour(draw("path", { class: kind, d: paths.dense }), row);
  return colour(draw("circle", { class: kind, cx: a, cy: b, r: size }), row);
}

// The text beside a point.

const tip = byId("tip");

function showTip(svg, box, point) {
  tip.replaceChildren(make("b", {}, cut(point.title, 120)), ...point.facts.flatMap((fact, at) => (at ? [make("br"), fact] : [fact])));
  tip.hidden = false;
  const place = svg.getBoundingClientRect();
  const scale = place.width / box.width;
  const [x, y] = [place.left + point.x * scale, place.top + point.y * scale];
  const wide = document.documentElement.clientWidth;
  const left = Math.min(Math.max(x - tip.offsetWidth / 2, 6), wide - tip.offsetWidth - 6);
  const above = y - tip.offsetHeight - 14;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${(above > 4 ? above : y + 16) + window.scrollY}px`;
  svg.querySelector(".here")?.remove();
  svg.append(draw("circle", { class: "here", cx: point.x.toFixed(1), cy: point.y.toFixed(1), r: 7 }));
}

function hideTip(svg) {
  tip.hidden = true;
  svg.querySelector(".here")?.remove();
}

function findNearest(points, x, y, reach = 28) {
  let found = null;
  let least = reach * reach;
  for (const point of points) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < least) [found, least] = [point, distance];
  }
  return found;
}

// Makes points answer. Arrow keys go through them from left to right; Enter leads to where one comes from.
function answer(plot, svg, box, points) {
  const sorted = [...points].sort((one, other) => one.x - other.x || one.y - other.y);
  let at = -1;
  plot.onpointermove = plot.onpointerdown = (event) => {
    const place = svg.getBoundingClientRect();
    const scale = box.width / place.width;
    const found = findNearest(points, (event.clientX - place.left) * scale, (event.clientY - place.top) * scale);
    if (found) showTip(svg, box, found);
    else hideTip(svg);
  };
  plot.onpointerleave = plot.onblur = () => hideTip(svg);
  plot.onkeydown = (event) => {
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: sorted.length - 1 };
    if (event.key === "Escape") hideTip(svg);
    if (!(event.key in steps || event.key === "Enter") || !sorted.length) return;
    event.preventDefault(); // else Enter would also close what it has just opened
    if (event.key === "Enter") {
      if (sorted[at]) openOrigin(`m${sorted[at].row.id}-${sorted[at].block}`);
      return;
    }
    at = Math.min(Math.max(steps[event.key], 0), sorted.length - 1);
    showTip(svg, box, sorted[at]);
    say([sorted[at].title, ...sorted[at].facts].join(", "));
  };
}

function point(row, x, y, facts, block) {
  const flags = row.flags.length ? [`flagged: ${row.flags.join(", ")}`] : [];
  return { row, x, y, title: row.title, facts: [...facts, ...flags], block };
}

// One plot of a group. `paint` draws into the picture and gives its points; null: the group has nothing to show.
function drawFacet(place, number, paint) {
  const group = data.groups[number];
  const width = Math.max(Math.floor(place.width), 240);
  const painted = paint(number, width);
  if (!painted) return null;
  const { svg, box, points, about, more } = painted;
  svg.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  svg.setAttribute("aria-hidden", "true");
  const plot = make("div", { class: "plot", tabindex: "0", role: "group", "aria-label": `${about}, ${group.title}: ${points.length} points. Arrow keys go through them.` }, svg);
  answer(plot, svg, box, points);
  const facet = make("div", { class: "facet" }, make("h4", {}, group.title), plot);
  if (more) facet.append(make("p", { class: "more" }, more));
  return facet;
}

const painters = new Map();

function drawPlots(container) {
  const paint = painters.get(container.dataset.plot);
  const columns = getComputedStyle(container).gridTemplateColumns.split(" ");
  const width = Number.parseFloat(columns[0]) || container.clientWidth;
  const facets = data.groups.map((_, number) => drawFacet({ width }, number, paint)).filter(Boolean);
  container.replaceChildren(...(facets.length ? facets : [make("p", { class: "note" }, "Nothing of what the filters show was measured here.")]));
}
