// Agents at play: a card for each, a step whenever the one before has been shown for long enough.

import { ask, byId, element, say, shown, sleep } from "/elements.js";

const MOST = 3; // as many as the server plays
const RECENT = 150; // steps in the strip of agreement
const PATIENCE = 15 * 60 * 1000; // ms without anybody at the page, after which the game pauses

class Card {
  constructor(name, names, actions, look) {
    this.bars = new Map();
    this.picture = element("img", { class: "screen", alt: `what ${name} sees`, hidden: "" });
    this.blank = element("p", { class: "note" }, "no picture: this env cannot draw itself here");
    this.badge = element("span", { class: "badge" });
    this.facts = element("p", { class: "note" });
    this.strip = element("canvas", { class: "strip", width: RECENT, height: 1, "aria-hidden": "true" });
    this.recent = [];
    const heads = names.map((other) => {
      const value = element("span");
      this.bars.set(other, { value, cells: [] });
      const swatch = element("i", { class: `swatch ${look.get(other)}` });
      return element("th", { scope: "col", title: other }, other, element("small", {}, swatch, value));
    });
    this.rows = actions.map((action) => {
      const cells = names.map((other) => {
        const fill = element("i", { class: `fill ${look.get(other)}` });
        const cell = element("td", { class: "bar" }, fill);
        this.bars.get(other).cells.push([cell, fill]);
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
      node.textContent = value === null ? "" : value.toFixed(2);
      cells.forEach(([cell, fill], i) => {
        fill.style.width = `${Math.max(2, 100 * (bars[i] ?? 0))}%`;
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

  // The last steps from left to right: a mark where the agents differed.
  drawStrip(agree) {
    this.recent = [...this.recent, agree].slice(-RECENT);
    const pen = this.strip.getContext("2d");
    pen.clearRect(0, 0, RECENT, 1);
    pen.fillStyle = getComputedStyle(this.strip).color;
    this.recent.forEach((same, i) => same || pen.fillRect(i, 0, 1, 1));
  }
}

export class Games {
  constructor() {
    Object.assign(this, { names: [], chosen: false, look: new Map(), cards: null, seen: 0, once: false });
    this.paused = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.inView = false;
    this.touched = performance.now();
    this.wake = () => {};
    new IntersectionObserver(([entry]) => {
      this.inView = entry.isIntersecting;
      this.wake();
    }).observe(byId("games"));
    byId("pause").addEventListener("click", () => this.pause(!this.paused));
    byId("once").addEventListener("click", () => {
      this.pause(true);
      this.once = true;
      this.wake();
    });
    for (const kind of ["pointermove", "keydown", "touchstart", "scroll"]) {
      addEventListener(kind, () => (this.touched = performance.now()), { passive: true });
    }
    this.pause(this.paused);
  }

  pause(paused) {
    this.paused = paused;
    byId("pause").textContent = paused ? "go on" : "pause";
    this.touched = performance.now();
    this.wake();
  }

  // Who can play now. Until somebody chooses: the teacher and its first student.
  cast(run, look) {
    const saved = run.agents.filter((agent) => agent.saved);
    const old = JSON.stringify([this.all, [...this.look]]);
    this.all = saved.map(({ name, game, teacher }) => ({ name, game, teacher }));
    this.look = look;
    byId("controls").hidden = !saved.length;
    const told = `no agents yet: they are saved ${run.agents_come}`;
    this.waiting = saved.length ? null : run.running ? told : "this run holds no agents";
    const kept = this.names.filter((name) => saved.some((agent) => agent.name === name));
    if (!this.chosen || !kept.length) {
      const game = saved[0]?.game;
      this.names = saved.filter((agent) => agent.game === game).slice(0, 2).map((agent) => agent.name);
    } else this.names = kept;
    if (JSON.stringify([this.all, [...look]]) !== old) {
      this.cards = null;
      this.choices();
    }
    this.wake();
  }

  choices() {
    const boxes = this.all.map(({ name }) => {
      const box = element("input", { type: "checkbox" });
      box.checked = this.names.includes(name);
      box.addEventListener("change", () => this.choose(name, box.checked));
      return element("label", {}, box, element("i", { class: `swatch ${this.look.get(name)}` }), name);
    });
    byId("cast").replaceChildren(element("legend", {}, `who (1 to ${MOST})`), ...boxes);
  }

  choose(name, wanted) {
    const game = this.all.find((agent) => agent.name === name).game;
    const same = (other) => this.all.find((agent) => agent.name === other).game === game;
    const rest = this.names.filter((other) => other !== name && same(other));
    const names = wanted ? [...rest.slice(0, MOST - 1), name] : rest;
    if (names.length) {
      const order = this.all.map((agent) => agent.name);
      this.names = names.sort((a, b) => order.indexOf(a) - order.indexOf(b));
      this.chosen = true;
      this.cards = null;
    }
    this.choices();
    this.wake();
  }

  // Until a step is wanted: agents, not paused, in view, somebody there.
  async turn() {
    for (;;) {
      await shown();
      if (!this.paused && performance.now() - this.touched > PATIENCE) this.pause(true);
      if (this.names.length && this.inView && (!this.paused || this.once)) return;
      say(byId("stuck"), this.waiting);
      await new Promise((done) => (this.wake = done));
    }
  }

  async play() {
    for (;;) {
      await this.turn();
      this.once = false;
      const start = performance.now();
      const asked = this.names.join("\n");
      const query = this.names.map((name) => `agent=${encodeURIComponent(name)}`);
      if (!this.cards) say(byId("stuck"), "the game begins ...");
      const answer = await ask(`/games.json?seen=${this.seen}&${query.join("&")}`);
      if (asked !== this.names.join("\n")) continue;
      say(byId("stuck"), answer.trouble);
      byId("stuck").classList.toggle("trouble", !!answer.trouble);
      if (answer.trouble) await sleep(3000);
      else this.show(answer);
      const period = 1000 / Number(byId("pace").value);
      await sleep(Math.max(0, period - (performance.now() - start)));
    }
  }

  show({ number, actions, trained_steps: steps, moments }) {
    if (!this.cards || number < this.seen) {
      this.cards = this.names.map((name) => new Card(name, this.names, actions, this.look));
      byId("cards").replaceChildren(...this.cards.map((card) => card.node));
    }
    this.seen = number;
    moments.forEach((moment, i) => this.cards[i].show(moment));
    const since = steps === null ? "" : ` Agents as they were after ${steps.toLocaleString("en")} steps.`;
    byId("about").dataset.since ??= byId("about").textContent;
    say(byId("about"), byId("about").dataset.since + since);
  }
}
