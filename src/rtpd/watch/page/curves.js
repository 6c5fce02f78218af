// The curves of all runs, in two charts for each env: what they score, and what students keep.

import { Chart } from "/chart.js";
import { byId, element } from "/elements.js";
import { between, short, smooth } from "/scale.js";

const AXES = {
  steps: { label: "agent steps", form: short, unit: " steps" },
  minutes: { label: "minutes of training", form: (value) => `${+value.toFixed(1)}`, unit: " min" },
};
const SHARES = { off: 0, some: 1 / 60, much: 1 / 15 }; // of a curve's points, to either side

export class Curves {
  constructor() {
    Object.assign(this, { charts: new Map(), agents: [] });
    for (const id of ["axis", "smoothing"]) byId(id).addEventListener("change", () => this.draw());
  }

  // `agents`: {run, agent, title, look} each.
  show(agents) {
    this.agents = agents;
    this.draw();
  }

  draw() {
    const found = new Set(this.agents.map(({ agent }) => agent.env));
    const title = (env) => (found.size > 1 ? `, ${env.replace(/^ale\//, "")}` : "");
    for (const { node } of this.charts.values()) node.hidden = true;
    for (const env of found) this.drawOne(env, title(env));
    byId("drawing").hidden = !found.size;
  }

  drawOne(env, suffix) {
    const key = env + suffix;
    if (!this.charts.has(key)) this.charts.set(key, this.make(suffix));
    const { returns, advantage, node } = this.charts.get(key);
    node.hidden = false;
    const agents = this.agents.filter(({ agent }) => agent.env === env);
    const axis = AXES[byId("axis").value];
    const share = SHARES[byId("smoothing").value];
    const series = (what, kind, over = share) =>
      agents.map(({ run, agent: { name }, title, look }) => {
        const points = smooth(run.curves[what]?.[name] ?? [], over);
        const errors = what === "score" ? (run.curves.error[name] ?? []) : [];
        return { name: title, look, kind, points: placed(points, run, axis), errors };
      });
    const scores = series("score", "dots", 0);
    returns.kinds = scores.some((one) => one.points.length) ? ["dots"] : ["thin"];
    const references = Object.assign({}, ...agents.map(({ run }) => run.references[env]));
    returns.show([...series("return", "thin"), ...scores], axis, references);
    const raw = share ? series("advantage", "faint", 0) : [];
    advantage.show([...raw, ...series("constant", "dotted"), ...series("advantage", "line")], axis);
  }

  make(suffix) {
    const returns = new Chart(
      `Mean return${suffix}`,
      "Dots: evaluations ± standard error. Thin: episodes of the training, with its random actions.",
      { label: "points an episode, unclipped", empty: "no episode has ended yet" },
    );
    const advantage = new Chart(
      `Advantage kept${suffix}`,
      "What a student’s actions keep of its teacher’s advantage over random ones, by the teacher’s values. Dotted: what the best single action would keep.",
      {
        label: "share of the teacher’s advantage, in %",
        form: (value) => `${Math.round(100 * value)} %`,
        range: [0, 1],
        empty: "no student has learnt yet",
      },
    );
    const node = element("div", { class: "figures" }, returns.node, advantage.node);
    byId("curves").append(node);
    return { returns, advantage, node };
  }
}

// Points of steps at the places where they are drawn.
function placed(points, run, axis) {
  if (axis === AXES.steps) return points;
  return points.map(([step, value]) => [between(run.clock, step) / 60, value]);
}
