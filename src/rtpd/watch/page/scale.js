// Numbers along an axis and along a curve; points are [x, value], in the order of their x.

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

// Each point with the mean of its neighbours' values, so that a trend shows through the noise:
// of those within `share` of the curve's points to either side.
export function smooth(points, share) {
  const reach = Math.floor(points.length * share);
  const sums = [0];
  for (const [, value] of points) sums.push(sums.at(-1) + value);
  return points.map(([x], i) => {
    const first = Math.max(0, i - reach);
    const end = Math.min(points.length, i + reach + 1);
    return [x, (sums[end] - sums[first]) / (end - first)];
  });
}

// The index of the first point at `x` or beyond, else of the last.
function reached(points, x) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function nearest(points, x) {
  const i = reached(points, x);
  const before = points[i - 1];
  return before && x - before[0] < points[i][0] - x ? before : points[i];
}

// The value of a curve at `x`, on the line between its points; at its ends those of the ends.
export function between(points, x) {
  const i = reached(points, x);
  const [end, last] = points[i];
  if (i === 0 || x >= end) return last;
  const [start, first] = points[i - 1];
  return first + ((x - start) / (end - start)) * (last - first);
}
