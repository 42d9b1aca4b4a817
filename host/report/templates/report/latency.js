// How latencies are distributed, over all samples and round by round.

const LAST = data.shares.indexOf(0.995);

function paintCurves(group, width) {
  const own = rowsOf(group, (row) => row.quantiles);
  if (!own.length) return null;
  const box = layOut(width, Math.min(Math.round(width * 0.66), 310));
  const svg = draw("svg");
  const leading = own.some(isPicked) ? own.filter(isPicked) : own;
  const x = makeScale(leading.flatMap((row) => [row.quantiles[0], row.quantiles[LAST]]), box.left, box.right, { log: true });
  const y = makeScale([0, 100], box.bottom, box.top);
  y.at = (percent) => box.bottom + ((box.top - box.bottom) * percent) / 100;
  drawFrame(svg, box, x, { ...y, ticks: [0, 25, 50, 75, 100] }, { x: "ms", y: "% of inferences" });
  const points = [];
  for (const row of own) {
    const inside = row.quantiles.map((ms, at) => ({ ms, share: data.shares[at] })).filter((one) => one.ms >= x.low && one.ms <= x.high);
    const places = inside.map((one) => [x.at(one.ms), y.at(100 * one.share)]);
    svg.append(colour(join(places, { class: `line${isPicked(row) ? " picked" : ""}` }), row));
    inside.forEach((one, at) => {
      points.push(point(row, ...places[at], [`${write(100 * one.share)} % within ${write(one.ms)} ms`, `${row.n.toLocaleString("en")} samples`], "latency"));
    });
  }
  const beyond = leading.filter((row) => row.quantiles[row.quantiles.length - 1] > x.high).length;
  const more = beyond ? `${beyond} coloured curve${beyond === 1 ? "" : "s"} end${beyond === 1 ? "s" : ""} right of the picture; the slowest sample took ${write(Math.max(...leading.map((row) => row.quantiles[row.quantiles.length - 1])))} ms.` : "";
  return { svg, box, points, about: "Distribution of latency", more };
}

// All boxes, and their lines as far as these are not so long that the boxes could not be seen.
function scaleRounds(rounds, box) {
  const [low, high] = [Math.min(...rounds.map((one) => one[1])), Math.max(...rounds.map((one) => one[3]))];
  const reach = 1.5 * Math.max(high - low, 2);
  const inside = rounds.flatMap((one) => [Math.max(one[0], low - reach), Math.min(one[4], high + reach)]);
  return makeScale(inside, box.bottom, box.top, { least: 4 });
}

function paintRounds(group, width) {
  const own = rowsOf(group, (row) => row.rounds.length && isPicked(row));
  if (!own.length) return null;
  const box = layOut(width, Math.min(Math.round(width * 0.6), 280));
  const svg = draw("svg");
  const middle = (row) => row.quantiles[data.shares.indexOf(0.5)];
  const change = (row, ms) => 100 * (ms / middle(row) - 1);
  const numbers = [...new Set(own.flatMap((row) => row.rounds.map((one) => one[0])))].sort((a, b) => a - b);
  const y = scaleRounds(own.flatMap((row) => row.rounds.map((one) => one.slice(2).map((ms) => change(row, ms)))), box);
  const step = (box.right - box.left) / numbers.length;
  const x = { at: (number) => box.left + step * (numbers.indexOf(number) + 0.5), ticks: numbers, isLog: false };
  drawFrame(svg, box, x, y, { x: "round", y: "% from its own p50" });
  const slim = Math.min((0.8 * step) / own.length, 22);
  const points = [];
  let cut = 0;
  own.forEach((row, nth) => {
    for (const [number, n, low, lower, median, upper, high] of row.rounds) {
      const at = x.at(number) + slim * (nth - (own.length - 1) / 2);
      const [a, b, c, d, e] = [low, lower, median, upper, high].map((ms) => y.at(Math.min(Math.max(change(row, ms), y.low), y.high)));
      cut += change(row, low) < y.low || change(row, high) > y.high ? 1 : 0;
      svg.append(colour(stroke(at, a, at, e, { class: "span" }), row));
      svg.append(colour(draw("rect", { class: "box", x: (at - slim * 0.36).toFixed(1), width: (slim * 0.72).toFixed(1), y: d.toFixed(1), height: Math.max(b - d, 1).toFixed(1) }), row));
      svg.append(colour(stroke(at - slim * 0.36, c, at + slim * 0.36, c, { class: "span", "stroke-width": 2.5 }), row));
      points.push(point(row, at, c, [`round ${number}: median ${write(median)} ms`, `quartiles ${write(lower)} and ${write(upper)} ms`, `${n.toLocaleString("en")} samples`], "latency"));
    }
  });
  const more = cut ? `Lines that go on beyond the picture: ${cut}.` : "";
  return { svg, box, points, about: "Latency by round", more };
}

painters.set("ecdf", paintCurves);
painters.set("rounds", paintRounds);
