// What the board gave for it: memory and power of each row, temperature and clock over the run, minutes of a long loop.

const MOST_LINES = 16;

function choose(own) {
  const first = [...own.filter(isPicked), ...own.filter((row) => !isPicked(row))].slice(0, MOST_LINES);
  const places = new Map(state.order.map((id, at) => [id, at]));
  return first.sort((one, other) => places.get(one.id) - places.get(other.id));
}

// A line for each row with its values on it. `marks` gives [value, kind, what it is] of a row.
function paintLines(title, unit, block, isTold, marks) {
  return (group, width) => {
    const own = rowsOf(group, isTold);
    if (!own.length) return null;
    const told = choose(own);
    const left = Math.min(Math.round(width * 0.42), 190);
    const box = { width, height: 24 * told.length + 46, left, right: width - 14, top: 8, bottom: 24 * told.length + 12 };
    const svg = draw("svg");
    const x = makeScale(told.flatMap((row) => marks(row).map(([value]) => value)), box.left, box.right, { zero: true });
    for (const tick of thin(x.ticks, x.at, 40)) {
      svg.append(stroke(x.at(tick), box.top, x.at(tick), box.bottom, { class: "grid" }));
      svg.append(label(write(tick), x.at(tick), box.bottom + 15, { "text-anchor": "middle", class: "tick" }));
    }
    svg.append(label(unit, box.right, box.height - 3, { "text-anchor": "end", class: "title" }));
    const points = [];
    told.forEach((row, nth) => {
      const y = box.top + 24 * nth + 14;
      const found = marks(row);
      svg.append(label(cut(row.title, Math.floor(left / 6.4)), left - 10, y + 4, { "text-anchor": "end", class: isPicked(row) ? "name" : "" }));
      const ends = found.filter(([, kind]) => kind !== "stroke").map(([value]) => x.at(value));
      if (ends.length > 1) svg.append(colour(stroke(Math.min(...ends), y, Math.max(...ends), y, { class: "span" }), row));
      for (const [value, kind, what] of found) {
        const at = x.at(value);
        const size = kind === "half" ? 3 : 4.5;
        const shape = kind === "stroke" ? stroke(at, y - 7, at, y + 7, { class: "span", "stroke-width": 2 }) : draw("circle", { class: kind === "hollow" ? "hollow" : "full", cx: at.toFixed(1), cy: y, r: size });
        svg.append(colour(shape, row));
        points.push(point(row, at, y, [`${what} ${write(value)} ${unit}`], block));
      }
    });
    const more = own.length > told.length ? `${told.length} of ${own.length} rows: the coloured ones, and the first of the table. Sort or filter it to see others.` : "";
    return { svg, box, points, about: title, more };
  };
}

const known = (marks) => marks.filter(([value]) => value !== null && value !== undefined);
const listMemory = (row) => row.status !== "ok" ? [] : known([[row.memory.baseline, "hollow", "before the model is opened:"], [row.memory.loaded, "half", "opened:"], [row.memory.pss, "stroke", "PSS"], [row.memory.peak, "full", "peak"]]);
const listPower = (row) => known([[row.idle, "hollow", "idle"], [row.load, "full", "under load"]]);

painters.set("memory", paintLines("Memory", "MiB", "memory", (row) => listMemory(row).length, listMemory));
painters.set("power", paintLines("Power", "W", "power", (row) => listPower(row).length, listPower));

// Power over time, window by window. Every so many points can be asked, so that arrow keys reach the others.
const ASKED_OF_WINDOW = 20;

function listCourse(row) {
  return row.course.map(([phase, told]) => {
    const points = [];
    for (let at = 0; at < told.length; at += 2) points.push({ seconds: told[at], watts: told[at + 1] });
    return { phase, points, step: Math.ceil(points.length / ASKED_OF_WINDOW) };
  });
}

function paintCourse(group, width) {
  const own = rowsOf(group, (row) => row.course.length && isPicked(row));
  if (!own.length) return null;
  const told = own.map((row) => [row, listCourse(row)]);
  const all = told.flatMap(([, windows]) => windows.flatMap((one) => one.points));
  const box = layOut(width, Math.min(Math.round(width * 0.55), 280));
  const svg = draw("svg");
  const x = makeScale(all.map((one) => one.seconds), box.left, box.right, { zero: true });
  const y = makeScale(all.map((one) => one.watts), box.bottom, box.top, { zero: true });
  drawFrame(svg, box, x, y, { x: "seconds", y: "W" });
  const points = [];
  for (const [row, windows] of told) {
    for (const { phase, points: found, step } of windows) {
      const places = found.map((one) => [x.at(one.seconds), y.at(one.watts)]);
      svg.append(colour(join(places, { class: `line picked ${phase}` }), row));
      found.forEach((one, at) => {
        if (at % step === Math.floor(step / 2)) points.push(point(row, ...places[at], [`${phase === "idle" ? "idle" : "under load"} ${write(one.watts)} W`, `after ${write(one.seconds)} s`], "power"));
      });
    }
  }
  return { svg, box, points, about: "Power over time" };
}

painters.set("course", paintCourse);

// Two readings of each row, at the time when the board made them.
function paintStates(key, title, unit) {
  const read = (row) => row.states.filter((one) => (one.moment === "before" || one.moment === "after") && one.time !== null && one[key] !== null);
  return (group, width) => {
    const own = rowsOf(group, (row) => read(row).length);
    if (!own.length) return null;
    const start = Math.min(...own.flatMap((row) => read(row).map((one) => one.time)));
    const box = layOut(width, Math.min(Math.round(width * 0.55), 260));
    const svg = draw("svg");
    const minutes = (one) => (one.time - start) / 60;
    const x = makeScale(own.flatMap((row) => read(row).map(minutes)), box.left, box.right, { zero: true });
    const y = makeScale(own.flatMap((row) => read(row).map((one) => one[key])), box.bottom, box.top, { least: key === "mhz" ? 100 : 4 });
    drawFrame(svg, box, x, y, { x: "minutes", y: unit });
    const points = [];
    for (const row of own) {
      const found = read(row);
      const places = found.map((one) => [x.at(minutes(one)), y.at(one[key])]);
      svg.append(colour(join(places, { class: `line${isPicked(row) ? " picked" : ""}` }), row));
      const within = row.states.find((one) => one.moment === "during");
      const extreme = within && within[key] !== null ? [`${key === "mhz" ? "lowest" : "highest"} within rounds ${write(within[key])} ${unit}`] : [];
      found.forEach((one, at) => {
        svg.append(colour(draw("circle", { class: one.moment === "before" ? "hollow" : "full", cx: places[at][0].toFixed(1), cy: places[at][1].toFixed(1), r: 3.2 }), row));
        points.push(point(row, ...places[at], [`${one.moment} its rounds ${write(one[key])} ${unit}`, ...extreme], "conditions"));
      });
    }
    return { svg, box, points, about: title };
  };
}

painters.set("celsius", paintStates("celsius", "Temperature over the run", "°C"));
painters.set("mhz", paintStates("mhz", "Clock over the run", "MHz"));

function paintMinutes(column, title, unit) {
  return (group, width) => {
    const own = rowsOf(group, (row) => row.minutes.some((one) => one[column] !== null));
    if (!own.length) return null;
    const box = layOut(width, Math.min(Math.round(width * 0.5), 250));
    const svg = draw("svg");
    const x = makeScale(own.flatMap((row) => row.minutes.map((one) => one[0])), box.left, box.right, { least: 1 });
    const y = makeScale(own.flatMap((row) => row.minutes.map((one) => one[column]).filter((one) => one !== null)), box.bottom, box.top, { zero: column === 1 });
    x.ticks = x.ticks.filter(Number.isInteger);
    drawFrame(svg, box, x, y, { x: "minute", y: unit });
    const points = [];
    for (const row of own) {
      const found = row.minutes.filter((one) => one[column] !== null);
      const places = found.map((one) => [x.at(one[0]), y.at(one[column])]);
      svg.append(colour(join(places, { class: `line${isPicked(row) ? " picked" : ""}` }), row));
      found.forEach((one, at) => {
        svg.append(colour(draw("circle", { class: "full", cx: places[at][0].toFixed(1), cy: places[at][1].toFixed(1), r: 2.6 }), row));
        points.push(point(row, ...places[at], [`minute ${one[0]}: ${write(one[column])} ${unit}`], "latency"));
      });
    }
    return { svg, box, points, about: title };
  };
}

painters.set("minutes-throughput", paintMinutes(1, "Throughput by minute", "images/s"));
painters.set("minutes-celsius", paintMinutes(2, "Temperature by minute", "°C"));
painters.set("minutes-mhz", paintMinutes(3, "Clock by minute", "MHz"));
