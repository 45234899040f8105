"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const W = 420, H = 230, LEFT = 52, RIGHT = 10, TOP = 10, BOTTOM = 30;
  const hidden = new Set();
  const color = (run) => `var(--run-${run})`;

  const element = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const label = (x, y, text, anchor) => element("text", { x, y, "text-anchor": anchor }, text);

  const show = (value) => {
    if (value === null || value === undefined) return "not finite";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  };

  // Round numbers that divide the range into about `count` parts.
  const ticks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const found = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) found.push(tick);
    // Sums of steps are not exact, and 2.0000000000000004 is no label.
    return found.map((tick) => (Math.abs(tick) < step * 1e-9 ? 0 : Number(tick.toPrecision(12))));
  };

  const linear = (low, high) => {
    if (low === high) {
      const room = Math.abs(low) * 0.05 || 0.5;
      [low, high] = [low - room, high + room];
    }
    return { share: (value) => (value - low) / (high - low), ticks: (count) => ticks(low, high, count) };
  };
  const logarithmic = (low, high) => {
    const [from, to] = [Math.floor(Math.log10(low)), Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
    const every = Math.ceil((to - from) / 5);
    return {
      share: (value) => (Math.log10(Math.max(value, 10 ** from)) - from) / (to - from),
      ticks: () => Array.from({ length: Math.floor((to - from) / every) + 1 }, (_, i) => 10 ** (from + i * every)),
    };
  };
  // Logarithmic where the values span more than three powers of ten; learning rates look alike in every report.
  const scale = (values, isLinear = false) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) return linear(0, 1);
    return !isLinear && low > 0 && high / low > 1000 ? logarithmic(low, high) : linear(low, high);
  };

  const frame = (x, y, xTicks, title) => {
    const svg = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
    for (const tick of y.ticks(5)) {
      const at = H - BOTTOM - y.share(tick) * (H - TOP - BOTTOM);
      svg.append(element("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: at, y2: at }), label(LEFT - 5, at + 4, show(tick), "end"));
    }
    for (const tick of xTicks) {
      const at = LEFT + x.share(tick) * (W - LEFT - RIGHT);
      svg.append(label(at, H - BOTTOM + 15, show(tick), at > W - RIGHT - 20 ? "end" : "middle"));
    }
    svg.append(element("line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }));
    return svg;
  };
  const empty = (place, text) => {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = text;
    place.replaceChildren(note);
  };
  const places = (x, y) => [
    (value) => (LEFT + x.share(value) * (W - LEFT - RIGHT)).toFixed(1),
    (value) => (H - BOTTOM - y.share(value) * (H - TOP - BOTTOM)).toFixed(1),
  ];

  // A path through the points; a value that is not finite leaves a gap.
  const path = (steps, values, px, py) => {
    let text = "", pen = "M";
    values.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      text += `${pen}${px(steps[i])} ${py(value)}`;
      pen = "L";
    });
    return text;
  };
  const band = (curve, px, py) => {
    let text = "", up = [], down = [];
    const close = () => {
      if (up.length > 1) text += `M${up.join("L")}L${down.reverse().join("L")}Z`;
      [up, down] = [[], []];
    };
    curve.steps.forEach((step, i) => {
      if (curve.min[i] === null) return close();
      up.push(`${px(step)} ${py(curve.max[i])}`);
      down.push(`${px(step)} ${py(curve.min[i])}`);
    });
    close();
    return text;
  };

  // The moving average of values that jump; null for those that do not, or that are few.
  const smoothed = (values) => {
    const finite = values.filter((v) => v !== null);
    if (finite.length < 40) return null;
    const [low, high] = [Math.min(...finite), Math.max(...finite)];
    const jumps = finite.slice(1).reduce((sum, v, i) => sum + Math.abs(v - finite[i]), 0);
    // One way from end to end is the range; noise goes it many times.
    if (jumps < 4 * (high - low)) return null;
    const keep = 1 - 2 / (finite.length / 12 + 1);
    let [sum, weight] = [0, 0];
    return values.map((v) => {
      if (v === null) return null;
      [sum, weight] = [keep * sum + (1 - keep) * v, keep * weight + (1 - keep)];
      return sum / weight;
    });
  };
  const several = data.samples.length > 1;
  const dash = (run) => (several ? ` dash-${run}` : "");

  const drawCurves = (place, chart) => {
    const curves = chart.curves.filter((curve) => !hidden.has(curve.run));
    if (curves.length === 0) return empty(place, "Every run is switched off.");
    const values = curves.flatMap((c) => [...c.mean, ...c.min, ...c.max, ...c.marks.map((m) => m[1])]).filter((v) => v !== null);
    const steps = curves.flatMap((c) => [...c.steps, ...c.marks.map((m) => m[0])]);
    const last = Math.max(...curves.map((c) => Math.max(...c.steps, ...c.marks.map((m) => m[0]))));
    const first = Math.min(...steps.slice(0, 1), ...curves.map((c) => Math.min(...c.steps.slice(0, 1), ...c.marks.map((m) => m[0]))));
    const [x, y] = [linear(first, last), scale(values, chart.key === "lr")];
    const svg = frame(x, y, x.ticks(5).filter((t) => Number.isInteger(t) && t >= first && t <= last), chart.title);
    const [px, py] = places(x, y);
    for (const curve of curves) {
      if (curve.min.length) svg.append(element("path", { class: "band", d: band(curve, px, py), fill: color(curve.run) }));
      const drawn = curve.mean.filter((v) => v !== null).length;
      const smooth = smoothed(curve.mean);
      if (smooth) svg.append(element("path", { class: "raw", d: path(curve.steps, curve.mean, px, py), stroke: color(curve.run) }));
      svg.append(element("path", { class: `curve${dash(curve.run)}`, d: path(curve.steps, smooth ?? curve.mean, px, py), stroke: color(curve.run) }));
      curve.mean.forEach((value, i) => {
        // A point with gaps on both sides would not be seen.
        if (value !== null && (drawn === 1 || ((curve.mean[i - 1] ?? null) === null && (curve.mean[i + 1] ?? null) === null)))
          svg.append(element("circle", { cx: px(curve.steps[i]), cy: py(value), r: 2.5, fill: color(curve.run) }));
      });
      for (const [step, value] of curve.marks)
        svg.append(element("circle", { class: "mark", cx: px(step), cy: py(value), r: 4, stroke: color(curve.run) }));
      if (curve.not_finite_from !== null && curve.not_finite_from >= first && curve.not_finite_from <= last) {
        const at = px(curve.not_finite_from);
        svg.append(
          element("line", { x1: at, x2: at, y1: TOP, y2: H - BOTTOM, stroke: color(curve.run), "stroke-dasharray": "2 3" }),
          at > W / 2 ? label(at - 3, TOP + 8, "not finite", "end") : label(Number(at) + 3, TOP + 8, "not finite", "start"),
        );
      }
    }
    svg.append(label(W - RIGHT, H - 2, "step", "end"));
    place.replaceChildren(svg);
    readable(place, svg, curves, x, px);
  };

  const nearest = (steps, step) => {
    let [low, high] = [0, steps.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1;
      else high = middle;
    }
    return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
  };

  // A line and the values under the pointer.
  const readable = (place, svg, curves, x, px) => {
    const cursor = element("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
    svg.append(cursor);
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    place.append(tip);
    const span = (text, style) => {
      const made = document.createElement("div");
      made.textContent = text;
      if (style) made.style.color = style;
      return made;
    };
    const move = (event) => {
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) * (W / box.width) - LEFT) / (W - LEFT - RIGHT);
      const [low, high] = [x.share(0), x.share(1)];
      const wanted = (Math.min(1, Math.max(0, share)) - low) / (high - low);
      const found = curves.filter((c) => c.steps.length).map((c) => [c, nearest(c.steps, wanted)]);
      if (!found.length) return;
      const step = found[0][0].steps[found[0][1]];
      tip.replaceChildren(span(`step ${step}`));
      for (const [curve, i] of found) {
        const name = curves.length > 1 ? `${curve.name}: ` : "";
        const ends = curve.min.length && curve.min[i] !== null ? ` (${show(curve.min[i])} to ${show(curve.max[i])})` : "";
        tip.append(span(`${name}${show(curve.mean[i])}${ends}`, color(curve.run)));
      }
      cursor.setAttribute("x1", px(step));
      cursor.setAttribute("x2", px(step));
      cursor.setAttribute("visibility", "visible");
      tip.hidden = false;
      const left = (Number(px(step)) / W) * box.width;
      tip.style.left = `${Math.max(0, left > box.width / 2 ? left - tip.offsetWidth - 8 : left + 8)}px`;
    };
    const leave = () => {
      tip.hidden = true;
      cursor.setAttribute("visibility", "hidden");
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", leave);
  };

  const drawHeatmap = (place, picture) => {
    if (!picture || !picture.steps.length) return empty(place, "No samples were recorded (log.samples = 0, or no step was done).");
    const columns = picture.steps.length, bins = picture.weights[0].length;
    const [x, y] = [linear(0, columns), linear(0, 1)];
    const svg = frame(x, y, [], "Sample weights over time");
    const [width, height] = [(W - LEFT - RIGHT) / columns, (H - TOP - BOTTOM) / bins];
    picture.weights.forEach((shares, column) => shares.forEach((share, bin) => {
      if (share === 0) return;
      svg.append(element("rect", {
        x: (LEFT + column * width).toFixed(1), y: (H - BOTTOM - (bin + 1) * height).toFixed(1),
        width: (width + 0.3).toFixed(1), height: (height + 0.3).toFixed(1),
        style: `fill: rgba(var(--heat), ${Math.max(0.06, Math.sqrt(share)).toFixed(2)})`,
      }, element("title", {}, `to step ${picture.steps[column]}: ${(100 * share).toFixed(1)} % with weight ${(bin / bins).toFixed(2)} to ${((bin + 1) / bins).toFixed(2)}`)));
    }));
    svg.append(label(LEFT, H - BOTTOM + 15, show(picture.steps[0]), "start"));
    if (columns > 1) svg.append(label(W - RIGHT, H - BOTTOM + 15, show(picture.steps[columns - 1]), "end"));
    svg.append(label(W - RIGHT, H - 2, "step", "end"));
    place.replaceChildren(svg);
  };

  const drawScatter = (place, picture, run) => {
    if (!picture || !picture.points.length) return empty(place, "No samples were recorded.");
    const [x, y] = [0, 1].map((axis) => scale(picture.points.map((point) => point[axis])));
    const svg = frame(x, y, x.ticks(5), "z against NLL");
    const [px, py] = places(x, y);
    for (const [nll, z, weight, when] of picture.points)
      svg.append(element("circle", {
        cx: px(nll), cy: py(z), r: (1.5 + 2.5 * (1 - weight)).toFixed(1), fill: color(run), "fill-opacity": (0.15 + 0.5 * when).toFixed(2),
      }));
    svg.append(label(W - RIGHT, H - 2, "NLL, nats a token", "end"));
    place.replaceChildren(svg);
  };

  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) drawCurves(place, data.charts[place.dataset.chart]);
  };
  for (const box of document.querySelectorAll(".toggle")) {
    box.addEventListener("change", () => {
      const run = Number(box.dataset.run);
      if (box.checked) hidden.delete(run);
      else hidden.add(run);
      for (const section of document.querySelectorAll(".run")) section.hidden = hidden.has(Number(section.dataset.run));
      draw();
    });
  }
  draw();
  for (const place of document.querySelectorAll("[data-heatmap]")) drawHeatmap(place, data.samples[place.dataset.heatmap]);
  for (const place of document.querySelectorAll("[data-scatter]")) drawScatter(place, data.samples[place.dataset.scatter], place.dataset.scatter);
})();
