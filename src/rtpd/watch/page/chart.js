// Curves over agent steps: SVG at the size of the page, redrawn when either changes.

import { element, shape } from "/elements.js";

const HEIGHT = 250;
const PAD = { top: 10, right: 10, bottom: 24 };

// Round numbers from `low` to `high`, about `count` of them.
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

export function short(value) {
  const size = Math.abs(value);
  const [divisor, unit] = size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${+(value / divisor).toPrecision(4)}${unit}`;
}

// Each point with the mean of its neighbours' values, so that a trend shows through the noise.
export function smooth(points) {
  const reach = Math.floor(points.length / 60);
  const sums = [0];
  for (const [, value] of points) sums.push(sums.at(-1) + value);
  return points.map(([step], i) => {
    const first = Math.max(0, i - reach);
    const end = Math.min(points.length, i + reach + 1);
    return [step, (sums[end] - sums[first]) / (end - first)];
  });
}

// The point nearest to a step; points are in the order of their steps.
function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1;
    else high = middle;
  }
  const before = points[low - 1];
  return before && step - before[0] < points[low][0] - step ? before : points[low];
}

// A chart of series {name, look, kind, points: [[step, value]], errors: [value]}: kind "line", "dots"
// (a line with a dot and its error at every point), "thin", "faint" or "dashed". The legend tells the
// values of those in `kinds`. `form` makes text of a value, `range` fixes the axis, `empty` stands
// where there is no curve.
export class Chart {
  constructor(title, note, { form = short, range = null, empty = "nothing yet" } = {}) {
    Object.assign(this, { form, range, empty, kinds: ["line", "dots"], series: [], at: null });
    this.svg = shape("svg", { role: "img", "aria-label": title });
    this.legend = element("ul", { class: "legend" });
    const caption = element("figcaption", {}, element("b", {}, title), ` ${note}`);
    this.node = element("figure", { class: "chart" }, caption, this.svg, this.legend);
    new ResizeObserver(() => this.draw()).observe(this.node);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  show(series) {
    this.series = series.filter((one) => one.points.length);
    this.draw();
  }

  scales(width) {
    const steps = this.series.flatMap((one) => [one.points[0][0], one.points.at(-1)[0]]);
    const first = Math.min(0, ...steps);
    const last = Math.max(1, ...steps);
    let [low, high] = this.range ?? [Infinity, -Infinity];
    if (!this.range) {
      for (const { points, errors } of this.series) {
        points.forEach(([, value], i) => {
          low = Math.min(low, value - (errors?.[i] ?? 0));
          high = Math.max(high, value + (errors?.[i] ?? 0));
        });
      }
      if (high - low < 1e-9) [low, high] = [low - 1, high + 1];
      const room = 0.04 * (high - low);
      [low, high] = [low - room, high + room];
    }
    this.marks = ticks(low, high, 5);
    const longest = Math.max(...this.marks.map((mark) => this.form(mark).length));
    this.left = 12 + 7 * longest;
    const wide = Math.max(width - this.left - PAD.right, 1);
    const tall = HEIGHT - PAD.top - PAD.bottom;
    this.x = (step) => this.left + (wide * (step - first)) / (last - first);
    this.y = (value) => PAD.top + tall * (1 - (value - low) / (high - low));
    this.step = (x) => first + ((x - this.left) / wide) * (last - first);
    this.times = ticks(first, last, Math.max(2, Math.floor(wide / 90)));
  }

  draw() {
    const width = Math.floor(this.svg.getBoundingClientRect().width);
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    if (!this.series.length) {
      const middle = { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" };
      this.svg.replaceChildren(shape("text", middle, this.empty));
      this.legend.replaceChildren();
      return;
    }
    this.scales(width);
    this.line = shape("line", { class: "pointer", y1: PAD.top, y2: HEIGHT - PAD.bottom, x1: -9, x2: -9 });
    const curves = this.series.map((one) => this.curve(one));
    this.svg.replaceChildren(...this.axes(width), ...curves, this.line);
    this.tell();
  }

  axes(width) {
    const made = [];
    for (const mark of this.marks) {
      const y = this.y(mark);
      made.push(shape("line", { class: "grid", x1: this.left, x2: width - PAD.right, y1: y, y2: y }));
      made.push(shape("text", { x: this.left - 6, y: y + 4, "text-anchor": "end" }, this.form(mark)));
    }
    for (const time of this.times) {
      const x = this.x(time);
      const side = x > width - 30 ? "end" : time === 0 ? "start" : "middle";
      made.push(shape("text", { x, y: HEIGHT - 6, "text-anchor": side }, short(time)));
    }
    return made;
  }

  curve({ look, kind, points, errors }) {
    const at = points.map(([step, value]) => `${this.x(step).toFixed(1)},${this.y(value).toFixed(1)}`);
    const group = shape("g", { class: `curve ${kind} ${look}` });
    group.append(shape("polyline", { points: at.join(" ") }));
    if (kind !== "dots") return group;
    points.forEach(([step, value], i) => {
      const x = this.x(step);
      const error = errors?.[i] ?? 0;
      const ends = { x1: x, x2: x, y1: this.y(value - error), y2: this.y(value + error) };
      group.append(shape("line", { class: "error", ...ends }));
      group.append(shape("circle", { cx: x, cy: this.y(value), r: 2.6 }));
    });
    return group;
  }

  point(x) {
    this.at = x === null ? null : this.step(x);
    this.line?.setAttribute("x1", x ?? -9);
    this.line?.setAttribute("x2", x ?? -9);
    this.tell();
  }

  // The values at the pointer, else the last ones.
  tell() {
    const entries = this.series.filter((one) => this.kinds.includes(one.kind)).map((one) => {
      const found = this.at === null ? one.points.at(-1) : nearest(one.points, this.at);
      const value = `${this.form(found[1])}${this.at === null ? "" : ` at ${short(found[0])}`}`;
      const swatch = element("i", { class: `swatch ${one.look}` });
      return element("li", {}, swatch, `${one.name} `, element("b", {}, value));
    });
    this.legend.replaceChildren(...entries);
  }
}
