// The page: asks for the run every two seconds, and draws what has changed.

import { Chart, smooth } from "/chart.js";
import { ask, byId, element, say, shown, sleep } from "/elements.js";
import { Games } from "/games.js";

const PERIOD = 2000; // ms
const COLUMNS = [
  ["net", (agent) => agent.net],
  ["parameters", (agent) => agent.parameters],
  ["of teacher", (agent) => agent.share],
  ["training return", (agent) => agent.trained],
  ["evaluation, mean ± s.e.", (agent) => agent.score],
  ["of teacher’s return", (agent) => agent.of_teacher],
  ["advantage kept (one action)", (agent) => (agent.teacher ? "" : `${agent.advantage} (${agent.constant})`)],
];

const games = new Games();
const charts = new Map(); // by game: [returns, advantage]
let seen = "";

// One look an agent, the same everywhere: the teacher in the colour of the text.
function looks(agents) {
  const found = new Map();
  const students = {};
  for (const { name, game, teacher } of agents) {
    const number = teacher ? 0 : (students[game] = (students[game] ?? 0) + 1);
    found.set(name, teacher ? "teacher" : `student-${(number - 1) % 6}`);
  }
  return found;
}

function head(run) {
  say(byId("run"), run.run);
  say(byId("status"), run.status);
  byId("status").className = `badge ${run.running ? "running" : ""}`;
  say(byId("facts"), run.facts.join(" · "));
  byId("done").hidden = !run.running || run.done === null;
  byId("done").value = run.done ?? 0;
  document.title = `${run.run} · rtpd watch`;
}

function table(agents, look) {
  const first = element("th", {}, "agent");
  const top = element("tr", {}, first, ...COLUMNS.map(([title], i) => element("th", { class: i && "n" }, title)));
  const rows = agents.map((agent) => {
    const name = [element("i", { class: `swatch ${look.get(agent.name)}` }), agent.name];
    if (agent.flat) name.push(element("b", { class: "differs" }, " !"));
    const cells = COLUMNS.map(([, text], i) => element("td", { class: i && "n" }, text(agent)));
    return element("tr", { class: agent.teacher && "teacher" }, element("td", {}, ...name), ...cells);
  });
  byId("agents").replaceChildren(element("thead", {}, top), element("tbody", {}, ...rows));
  byId("flat").hidden = !agents.some((agent) => agent.flat);
}

function chartsOf(game) {
  if (charts.has(game)) return charts.get(game);
  const title = (what) => (game ? `${what}, ${game}` : what);
  const percent = (value) => `${Math.round(100 * value)} %`;
  const made = [
    new Chart(
      title("Mean return"),
      "over agent steps. Dots: evaluations ± standard error. Thin: episodes of the training, with its random actions.",
      { empty: "no episode has ended yet" },
    ),
    new Chart(
      title("Advantage kept"),
      "what a student’s actions keep of its teacher’s advantage over random ones, by the teacher’s values. Dashed: what the best single action would keep. Both smoothed.",
      { form: percent, range: [0, 1], empty: "no student has learnt yet" },
    ),
  ];
  charts.set(game, made);
  byId("curves").append(element("div", { class: "figures" }, ...made.map((chart) => chart.node)));
  return made;
}

function curves(run, look) {
  const told = (what, name) => run.curves[what]?.[name] ?? [];
  for (const game of new Set(run.agents.map((agent) => agent.game))) {
    const agents = run.agents.filter((agent) => agent.game === game);
    const series = (what, kind) =>
      agents.map(({ name }) => {
        const errors = what === "score" ? told("error", name) : [];
        return { name, look: look.get(name), kind, points: told(what, name), errors };
      });
    const [returns, advantage] = chartsOf(game);
    returns.kinds = Object.keys(run.curves.score ?? {}).length ? ["dots"] : ["thin"];
    returns.show([...series("return", "thin"), ...series("score", "dots")]);
    const smoothed = (what, kind) =>
      series(what, kind).map((one) => ({ ...one, points: smooth(one.points) }));
    advantage.show([
      ...series("advantage", "faint"),
      ...smoothed("constant", "dashed"),
      ...smoothed("advantage", "line"),
    ]);
  }
  for (const [game, made] of charts) {
    const there = run.agents.some((agent) => agent.game === game);
    made.forEach((chart) => (chart.node.hidden = !there));
  }
}

// A word if a run that should be going on has written nothing for a while.
function quiet({ running, age }) {
  if (!running || age === null || age < 120) return null;
  return `nothing new for ${Math.floor(age / 60)} min: it may be evaluating, or have been killed (rtpd train --resume goes on with it)`;
}

async function follow() {
  for (;;) {
    await shown();
    const run = await ask(`/run.json?seen=${encodeURIComponent(seen)}`);
    say(byId("trouble"), run.trouble ?? quiet(run));
    if (run.trouble) seen = "";
    else if (run.version !== seen) {
      const look = looks(run.agents);
      head(run);
      curves(run, look);
      table(run.agents, look);
      games.cast(run, look);
      seen = run.version;
    }
    await sleep(run.gone ? 5 * PERIOD : PERIOD);
  }
}

follow();
games.play();
