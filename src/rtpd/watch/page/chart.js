// Curves over steps or time: SVG at the size of the page, redrawn when either changes.

import { element, shape } from "/elements.js";
import { nearest, short, ticks } from "/scale.js";

const HEIGHT = 270;
const PAD = { top: 30, right: 10, bottom: 40 };
let charts = 0; // made so far
const STEPS = { label: "agent steps", form: short, unit: "" };

// A chart of series {name, look, kind, points: [[x, value]], errors: [value]}: kind "line", "dots"
// (a line with a dot and its error at every point), "thin", "faint" or "dotted"; a curve of one
// point is a dot. The legend tells the values of those in `kinds`. `label` says what the values
// are, `form` makes text of one, `range` fixes the axis, `empty` stands where there is no curve.
export class Chart {
  constructor(title, note, { label, form = short, range = null, empty = "nothing yet" }) {
    Object.assign(this, { label, form, range, empty, kinds: ["line", "dots"], series: [], at: null });
    Object.assign(this, { axis: STEPS, references: [], id: `plot-${charts++}` });
    this.svg = shape("svg", { role: "img", "aria-label": title });
    this.legend = element("ul", { class: "legend" });
    const caption = element("figcaption", {}, element("b", {}, title), ` ${note}`);
    this.node = element("figure", { class: "chart" }, caption, this.svg, this.legend);
    new ResizeObserver(() => this.draw()).observe(this.node);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  // `axis` says what x is: {label, form, unit}; `references` are values to compare with, by name.
  show(series, axis = STEPS, references = {}) {
    if (axis !== this.axis) this.at = null;
    this.axis = axis;
    this.series = series.filter((one) => one.points.length);
    this.references = Object.entries(references).map(([name, value]) => ({ name, value }));
    this.draw();
  }

  // The values that the axis spans: those of all curves, and the first reference. Others are
  // outside unless at least half of the height is left to the curves.
  span() {
    let [low, high] = [Infinity, -Infinity];
    for (const { points, errors } of this.series) {
      points.forEach(([, value], i) => {
        low = Math.min(low, value - (errors?.[i] ?? 0));
        high = Math.max(high, value + (errors?.[i] ?? 0));
      });
    }
    this.references.forEach(({ value }, i) => {
      const wider = [Math.min(low, value), Math.max(high, value)];
      if (i === 0 || wider[1] - wider[0] <= 2 * (high - low)) [low, high] = wider;
    });
    if (high - low < 1e-9) [low, high] = [low - 1, high + 1];
    const room = 0.04 * (high - low);
    return [low - room, high + room];
  }

  scales(width) {
    const ends = this.series.flatMap((one) => [one.points[0][0], one.points.at(-1)[0]]);
    const first = Math.min(0, ...ends);
    const last = Math.max(...ends) > first ? Math.max(...ends) : first + 1;
    const [low, high] = this.range ?? this.span();
    this.marks = ticks(low, high, 5);
    const longest = Math.max(...this.marks.map((mark) => this.form(mark).length));
    this.left = 12 + 7 * longest;
    const wide = Math.max(width - this.left - PAD.right, 1);
    const tall = HEIGHT - PAD.top - PAD.bottom;
    this.x = (x) => this.left + (wide * (x - first)) / (last - first);
    this.y = (value) => PAD.top + tall * (1 - (value - low) / (high - low));
    this.back = (x) => first + ((x - this.left) / wide) * (last - first);
    this.times = ticks(first, last, Math.max(2, Math.floor(wide / 90)));
    for (const one of this.references) one.shown = low <= one.value && one.value <= high;
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
    const inside = shape("g", { "clip-path": `url(#${this.id})` }, ...curves);
    this.svg.replaceChildren(this.clip(width), ...this.axes(width), ...this.compared(width), inside, this.line);
    this.tell();
  }

  // Curves may leave a fixed axis, but not the space between the axes.
  clip(width) {
    const size = { width: width - this.left, height: HEIGHT - PAD.top - PAD.bottom + 8 };
    const area = shape("rect", { x: this.left - 4, y: PAD.top - 4, ...size });
    return shape("clipPath", { id: this.id }, area);
  }

  axes(width) {
    const made = [
      shape("text", { class: "axis", x: 0, y: 14 }, this.label),
      shape("text", { class: "axis", x: width - PAD.right, y: HEIGHT - 5, "text-anchor": "end" }, this.axis.label),
    ];
    for (const mark of this.marks) {
      const y = this.y(mark);
      made.push(shape("line", { class: "grid", x1: this.left, x2: width - PAD.right, y1: y, y2: y }));
      made.push(shape("text", { x: this.left - 6, y: y + 4, "text-anchor": "end" }, this.form(mark)));
    }
    for (const time of this.times) {
      const x = this.x(time);
      const side = x > width - 30 ? "end" : time === 0 ? "start" : "middle";
      const text = this.axis.form(time);
      made.push(shape("text", { x, y: HEIGHT - PAD.bottom + 17, "text-anchor": side }, text));
    }
    return made;
  }

  // A dotted line and its name for each reference on the axis; names where curves seldom are:
  // of the first, which they start from, at the end.
  compared(width) {
    return this.references.filter((one) => one.shown).map((one) => {
      const { name, value } = one;
      const y = this.y(value);
      const above = y - 5 < PAD.top + 8 ? y + 14 : y - 5;
      const [x, side] = one === this.references[0] ? [width - PAD.right, "end"] : [this.left + 4, "start"];
      const text = shape("text", { x, y: above, "text-anchor": side }, `${name} ${this.form(value)}`);
      const line = shape("line", { x1: this.left, x2: width - PAD.right, y1: y, y2: y });
      return shape("g", { class: "reference" }, line, text);
    });
  }

  curve({ look, kind, points, errors }) {
    const at = points.map(([x, value]) => `${this.x(x).toFixed(1)},${this.y(value).toFixed(1)}`);
    const group = shape("g", { class: `curve ${kind} ${look}` });
    group.append(shape("polyline", { points: at.join(" ") }));
    if (kind !== "dots" && points.length > 1) return group;
    points.forEach(([place, value], i) => {
      const x = this.x(place);
      const error = errors?.[i] ?? 0;
      const ends = { x1: x, x2: x, y1: this.y(value - error), y2: this.y(value + error) };
      if (error) group.append(shape("line", { class: "error", ...ends }));
      group.append(shape("circle", { cx: x, cy: this.y(value), r: kind === "dots" ? 2.6 : 2.2 }));
    });
    return group;
  }

  point(x) {
    if (!this.series.length) return;
    this.at = x === null ? null : this.back(x);
    this.line?.setAttribute("x1", x ?? -9);
    this.line?.setAttribute("x2", x ?? -9);
    this.tell();
  }

  // The values at the pointer, else the last ones; and what lies beyond the axis.
  tell() {
    const entries = this.series.filter((one) => this.kinds.includes(one.kind)).map((one) => {
      const found = this.at === null ? one.points.at(-1) : nearest(one.points, this.at);
      const place = this.at === null ? "" : ` at ${this.axis.form(found[0])}${this.axis.unit}`;
      const swatch = element("i", { class: `swatch ${one.look}` });
      return element("li", {}, swatch, `${one.name} `, element("b", {}, `${this.form(found[1])}${place}`));
    });
    const outside = this.references.filter((one) => !one.shown).map(({ name, value }) =>
      element("li", { class: "note" }, `${name} ${this.form(value)}, beyond this axis`));
    this.legend.replaceChildren(...entries, ...outside);
  }
}
