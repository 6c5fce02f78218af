// Agents at play: a card for each, a step whenever the one before has been shown for long enough.

import { Card } from "/card.js";
import { ask, byId, element, say, shown, sleep } from "/elements.js";

const MOST = 3; // as many as the server plays
const PATIENCE = 15 * 60 * 1000; // ms without anybody at the page, after which the game pauses

export class Games {
  constructor() {
    Object.assign(this, { names: [], chosen: false, look: new Map(), cards: null, seen: 0, once: false });
    Object.assign(this, { runs: [], run: 0, colour: null });
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
    byId("from").addEventListener("change", () => {
      Object.assign(this, { run: Number(byId("from").value), chosen: false, cards: null, seen: 0 });
      byId("cards").replaceChildren();
      this.cast(this.runs, this.colour);
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

  // Who can play now. Until somebody chooses: the first run's teacher and its first student.
  // `runs`: {run, index} each, `colour` tells the class of an agent.
  cast(runs, colour) {
    Object.assign(this, { runs, colour });
    if (!runs.some(({ index }) => index === this.run)) this.run = runs[0].index;
    const { run } = runs.find(({ index }) => index === this.run);
    const look = new Map(run.agents.map((agent) => [agent.name, colour(agent)]));
    this.offer();
    const saved = run.agents.filter((agent) => agent.saved);
    const old = JSON.stringify([this.all, [...this.look], this.shown]);
    this.shown = this.run;
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
    if (JSON.stringify([this.all, [...look], this.shown]) !== old) {
      this.cards = null;
      this.choices();
    }
    this.wake();
  }

  // Which run they are from, where there are several.
  offer() {
    const listed = this.runs.map(({ run, index }) =>
      element("option", { value: index, selected: index === this.run && "" }, run.run));
    const told = listed.map((one) => one.textContent).join("\n");
    if (byId("from").dataset.told !== told) byId("from").replaceChildren(...listed);
    byId("from").dataset.told = told;
    byId("from").value = this.run;
    byId("source").hidden = this.runs.length < 2;
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

  asked() {
    return [this.run, ...this.names].join("\n");
  }

  async play() {
    for (;;) {
      await this.turn();
      this.once = false;
      const start = performance.now();
      const asked = this.asked();
      const query = this.names.map((name) => `agent=${encodeURIComponent(name)}`);
      if (!this.cards) say(byId("stuck"), "the game begins ...");
      const answer = await ask(`/games.json?run=${this.run}&seen=${this.seen}&${query.join("&")}`);
      if (asked !== this.asked()) continue;
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
