// One agent at play: the picture, what every agent says of it, and whether they agree.

import { element } from "/elements.js";

const RECENT = 150; // steps in the strip of agreement
const WIDEST = 320; // px of a picture: twice Atari's

// A card for the agent `name`, beside the other `names`; `look` is the class of each one's colour.
export class Card {
  constructor(name, names, actions, look) {
    this.bars = new Map();
    this.picture = element("img", { class: "screen", alt: `what ${name} sees`, hidden: "" });
    this.picture.addEventListener("load", () => this.fit());
    this.blank = element("p", { class: "note" }, "no picture: this env cannot draw itself here");
    this.badge = element("span", { class: "badge" });
    this.facts = element("p", { class: "note" });
    this.strip = element("canvas", { class: "strip", width: RECENT, height: 1, "aria-hidden": "true" });
    this.recent = [];
    const heads = names.map((other) => {
      const value = element("span", { title: "the value of its greedy action" });
      this.bars.set(other, { value, cells: [] });
      const swatch = element("i", { class: `swatch ${look.get(other)}` });
      return element("th", { scope: "col", title: other }, other, element("small", {}, swatch, value));
    });
    this.rows = actions.map((action) => {
      const cells = names.map((other) => {
        const fill = element("i", { class: `fill ${look.get(other)}`, role: "img" });
        const cell = element("td", { class: "bar" }, fill);
        this.bars.get(other).cells.push({ cell, fill, action });
        return cell;
      });
      return element("tr", {}, element("th", { scope: "row" }, action), ...cells);
    });
    const corner = element("td");
    corner.style.width = `${Math.max(...actions.map((action) => action.length)) + 3}ch`;
    const top = element("tr", {}, corner, ...heads);
    const table = element("table", { class: "bars" }, element("thead", {}, top), element("tbody", {}, ...this.rows));
    const asked = element("div", { class: "asked" }, table);
    asked.style.flexBasis = `calc(${corner.style.width} + ${3 * names.length}rem)`;
    const title = element("h3", {}, `${name} plays `, this.badge);
    const body = element("div", { class: "stage" }, this.picture, asked);
    this.node = element("article", { class: "card" }, title, this.blank, body, this.facts, this.strip);
    this.together = names.length > 1;
    this.strip.hidden = this.badge.hidden = !this.together;
  }

  show(moment) {
    this.picture.hidden = !moment.picture;
    if (moment.picture) this.picture.src = moment.picture;
    this.blank.hidden = !!moment.picture;
    this.rows.forEach((row, i) => row.classList.toggle("done", i === moment.action));
    for (const { name, value, best, bars } of moment.agents) {
      const { cells, value: node } = this.bars.get(name);
      node.textContent = value === null ? "" : `Q ${value.toFixed(2)}`;
      cells.forEach(({ cell, fill, action }, i) => {
        const share = 100 * (bars[i] ?? 0);
        const text = `${action}: ${Math.round(share)} %${i === best ? ", greedy" : ""}`;
        fill.style.width = `${Math.max(2, share)}%`;
        fill.setAttribute("aria-label", text);
        cell.title = `${name}, ${text}`;
        cell.classList.toggle("best", i === best);
        cell.classList.toggle("differs", i === best && !moment.agree);
      });
    }
    const end = moment.last ? ", its last" : "";
    let facts = `episode ${moment.episode}, step ${moment.step.toLocaleString("en")}${end}, return ${moment.total}`;
    if (this.together) {
      const agreement = (100 * moment.agreement).toFixed(0);
      facts += `; agreed on ${agreement} % of ${moment.steps.toLocaleString("en")} steps`;
      this.badge.textContent = moment.agree ? "agree" : "differ";
      this.badge.classList.toggle("differs", !moment.agree);
      this.node.classList.toggle("differs", !moment.agree);
      this.drawStrip(moment.agree);
    }
    this.facts.textContent = facts;
  }

  // As large as WIDEST allows: whole multiples of its pixels where it is smaller.
  fit() {
    const wide = this.picture.naturalWidth;
    const times = Math.floor(WIDEST / wide);
    this.picture.style.width = `${times ? times * wide : WIDEST}px`;
    this.picture.classList.toggle("sharp", times > 0);
  }

  // The last steps from left to right: a mark where the agents differed.
  drawStrip(agree) {
    this.recent = [...this.recent, agree].slice(-RECENT);
    const pen = this.strip.getContext("2d");
    pen.clearRect(0, 0, RECENT, 1);
    pen.fillStyle = getComputedStyle(this.strip).color;
    this.recent.forEach((same, i) => same || pen.fillRect(i, 0, 1, 1));
  }
}
