// What stands above all: a run's name, how far it is, what ended it.

import { element, say } from "/elements.js";

const QUIET = 120; // s after which one is told that nothing new has come

export class Head {
  // `key`: the class of its lines, where they are told apart by run; "" if there is one run.
  constructor(name, key) {
    this.badge = element("span", { class: "badge", hidden: "" });
    this.line = element("p", { class: "progress" });
    this.facts = element("p", { class: "facts" });
    this.bar = element("progress", { max: 1, value: 0, "aria-label": `how far ${name} is`, hidden: "" });
    this.trouble = element("p", { class: "trouble", role: "alert", hidden: "" });
    const swatch = key ? [element("i", { class: `swatch teacher ${key}` })] : [];
    const title = element(key ? "h3" : "h1", {}, ...swatch, element("span", {}, name), " ", this.badge);
    this.node = element("div", { class: "head" }, title, this.line, this.bar, this.facts, this.trouble);
  }

  show({ status, progress, done, facts }) {
    say(this.badge, status);
    this.badge.className = `badge ${["running", "finished", "failed", "killed"].includes(status) ? status : ""}`;
    say(this.line, progress);
    say(this.facts, facts.join(" · "));
    this.bar.hidden = done === null || status === "finished";
    this.bar.value = done ?? 0;
  }

  // What is wrong with the run, or that nothing has been written for a while.
  warn({ trouble, running, age }) {
    const quiet = running && age > QUIET;
    say(this.trouble, trouble ?? (quiet ? `nothing new for ${Math.floor(age / 60)} min: it may be evaluating` : null));
  }
}
