// Every row as a line through the axes of the sweep and what came of them.

// Words in the order of their first row, numbers along a scale; null on an axis where all rows are equal.
function makeAxis(at, own, box) {
  const axis = data.axes[at];
  const values = own.map((row) => row.axes[at]).filter((value) => value !== null);
  const distinct = [...new Set(values)];
  if (distinct.length < 2) return null;
  if (axis.isNumber && !(axis.better === null && distinct.length <= 6)) {
    const scale = makeScale(values, box.bottom, box.top, { log: axis.better === "less" });
    const ticks = thin([...scale.ticks].sort((a, b) => a - b), scale.at, 22);
    return { ...axis, at, place: scale.at, ticks: ticks.map((tick) => [tick, write(tick)]) };
  }
  if (axis.isNumber) distinct.sort((a, b) => a - b);
  const step = (box.bottom - box.top) / (distinct.length - 1);
  const place = (value) => box.bottom - step * distinct.indexOf(value);
  return { ...axis, at, place, ticks: distinct.map((value) => [value, typeof value === "number" ? write(value) : value]) };
}

function paintAxes(group, width) {
  const own = rowsOf(group, (row) => row.status === "ok");
  if (own.length < 2) return null;
  const count = data.axes.length;
  const room = Math.max(width, 92 * count);
  const box = { width: room, height: 300, top: 46, bottom: 280 };
  const axes = data.axes.map((_, at) => makeAxis(at, own, box)).filter(Boolean);
  if (axes.length < 2) return null;
  const svg = draw("svg");
  svg.style.minWidth = `${room}px`;
  const gap = (room - 130) / (axes.length - 1);
  const across = (nth) => 65 + gap * nth;
  const points = [];
  for (const row of own) {
    const runs = [[]];
    axes.forEach((axis, nth) => {
      const value = row.axes[axis.at];
      if (value === null) runs.push([]);
      else runs[runs.length - 1].push([across(nth), axis.place(value)]);
    });
    for (const places of runs.filter((one) => one.length > 1)) svg.append(colour(join(places, { class: `line${isPicked(row) ? " picked" : ""}` }), row));
    axes.forEach((axis, nth) => {
      const value = row.axes[axis.at];
      if (value !== null) points.push(point(row, across(nth), axis.place(value), [`${axis.title}: ${typeof value === "number" ? write(value) : value}`], "identity"));
    });
  }
  axes.forEach((axis, nth) => {
    const x = across(nth);
    svg.append(stroke(x, box.top, x, box.bottom, { class: "axis" }));
    svg.append(label(cut(axis.title, 16), x, 14, { "text-anchor": "middle", class: "name" }));
    if (axis.better) svg.append(label(axis.better === "less" ? "less is better" : "more is better", x, 29, { "text-anchor": "middle", class: "tick" }));
    for (const [value, text] of axis.ticks) {
      const anchor = nth === axes.length - 1 ? "end" : "start";
      const shown = label(cut(text, Math.max(Math.floor(gap / 8), 6)), x + (anchor === "end" ? -5 : 5), axis.place(value) + 4, { "text-anchor": anchor, class: "tick halo" });
      svg.append(shown);
    }
  });
  return { svg, box, points, about: "Axes of the sweep" };
}

painters.set("axes", paintAxes);
