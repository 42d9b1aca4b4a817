// Accuracy against what it costs, with the Pareto front of what is shown.

function findFront(points) {
  const sorted = [...points].sort((one, other) => one.cost - other.cost || other.gain - one.gain);
  const front = [];
  for (const one of sorted) {
    const last = front[front.length - 1];
    const isEqual = last && last.cost === one.cost && last.gain === one.gain;
    if (!last || one.gain > last.gain || isEqual) front.push(one);
  }
  return front;
}

// Names beside the points of the front, as far as they do not cover each other or another point.
function nameFront(svg, box, front, all) {
  const taken = all.map((one) => ({ left: one.x - 5, right: one.x + 5, top: one.y - 5, bottom: one.y + 5 }));
  for (const one of front) {
    const text = cut(one.row.title, 24);
    const width = 6.1 * text.length;
    const places = [
      [one.x + 9, one.y + 4, "start"],
      [one.x - 9, one.y + 4, "end"],
      [one.x + 9, one.y + 16, "start"],
      [one.x - 9, one.y - 8, "end"],
      [one.x + 9, one.y - 8, "start"],
    ];
    for (const [x, y, anchor] of places) {
      const left = anchor === "start" ? x : x - width;
      const area = { left, right: left + width, top: y - 10, bottom: y + 3 };
      const isInside = area.left >= box.left && area.right <= box.width && area.top >= 12 && area.bottom <= box.bottom;
      if (isInside && !taken.some((other) => area.left < other.right && other.left < area.right && area.top < other.bottom && other.top < area.bottom)) {
        taken.push(area);
        svg.append(label(text, x, y, { "text-anchor": anchor, class: "name tick halo" }));
        break;
      }
    }
  }
}

function paintTradeoff(key, title, unit, block) {
  return (group, width) => {
    const own = rowsOf(group, (row) => row.figures.accuracy !== null && row.figures[key] !== null && row.status === "ok");
    if (!own.length) return null;
    const box = layOut(width, Math.min(Math.round(width * 0.72), 330));
    const svg = draw("svg");
    const x = makeScale(own.map((row) => row.figures[key]), box.left, box.right, { log: true });
    const y = makeScale(own.map((row) => row.figures.accuracy), box.bottom, box.top, { least: 1 });
    drawFrame(svg, box, x, y, { x: `${title}, ${unit}`, y: "accuracy, %" });
    const points = own.map((row) => {
      const facts = [`accuracy ${write(row.figures.accuracy)} %`, `${title} ${write(row.figures[key])} ${unit}`];
      return { ...point(row, x.at(row.figures[key]), y.at(row.figures.accuracy), facts, block), cost: row.figures[key], gain: row.figures.accuracy };
    });
    const front = findFront(points);
    svg.append(join(front.map((one) => [one.x, one.y]), { class: "front" }));
    for (const one of points) svg.append(drawMark(one.row, one.x, one.y, front.includes(one)));
    nameFront(svg, box, front, points);
    return { svg, box, points, about: `Accuracy and ${title}`, more: tellWithout(group, key, own.length) };
  };
}

function tellWithout(group, key, told) {
  const without = rowsOf(group).length - told;
  return without ? `${without} row${without === 1 ? " has" : "s have"} no ${key === "p50" ? "latency" : key} or no accuracy.` : "";
}

const sizeKey = rows.some((row) => row.figures.packed !== null) ? "packed" : "file";
painters.set("accuracy-p50", paintTradeoff("p50", "p50", "ms", "latency"));
painters.set("accuracy-size", paintTradeoff(sizeKey, `${sizeKey} size`, "MiB", "cost"));
painters.set("accuracy-energy", paintTradeoff("energy", "energy", "mJ", "power"));
painters.set("accuracy-peak", paintTradeoff("peak", "peak memory", "MiB", "memory"));
