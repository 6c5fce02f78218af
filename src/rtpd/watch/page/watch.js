// The page: asks for its runs every two seconds, and draws what has changed.

import { Curves } from "/curves.js";
import { ask, byId, element, say, shown, sleep } from "/elements.js";
import { Games } from "/games.js";
import { Head } from "/head.js";

const PERIOD = 2000; // ms
const COLOURS = 6; // of students
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
const curves = new Curves();

// One colour an agent, the same everywhere and in all runs: the teacher in that of the text.
// Students that come new with a run take colours that it has used least.
function colours(runs) {
  const found = new Map();
  for (const { agents } of runs) {
    for (const game of new Set(agents.map((agent) => agent.game))) {
      const used = Array(COLOURS).fill(0);
      const names = agents.filter((agent) => agent.game === game && !agent.teacher).map((agent) => agent.name);
      for (const name of names) if (found.has(name)) used[found.get(name)]++;
      for (const name of names.filter((one) => !found.has(one))) {
        found.set(name, used.indexOf(Math.min(...used)));
        used[found.get(name)]++;
      }
    }
  }
  return (agent) => (agent.teacher ? "teacher" : `student-${found.get(agent.name)}`);
}

function table(agents, several) {
  const titles = [...(several ? ["run", "agent"] : ["agent"]), ...COLUMNS.map(([title]) => title)];
  const text = several ? 3 : 2; // columns of words, before those of numbers
  const top = titles.map((title, i) => element("th", { class: i >= text && "n" }, title));
  const rows = agents.map(({ run, agent, look }) => {
    const name = [element("i", { class: `swatch ${look}` }), agent.name];
    if (agent.flat) name.push(element("b", { class: "differs" }, " !"));
    const cells = COLUMNS.map(([, told], i) => element("td", { class: i && "n" }, told(agent)));
    const first = several ? [element("td", {}, run.run)] : [];
    return element("tr", { class: agent.teacher && "teacher" }, ...first, element("td", { class: "name" }, ...name), ...cells);
  });
  byId("agents").replaceChildren(element("thead", {}, element("tr", {}, ...top)), element("tbody", {}, ...rows));
  byId("flat").hidden = !agents.some(({ agent }) => agent.flat);
}

function draw(told, several) {
  const colour = colours(told.map(({ run }) => run));
  const agents = told.flatMap(({ run, key }) =>
    run.agents.map((agent) => ({
      run,
      agent,
      title: several ? `${run.run}: ${agent.name}` : agent.name,
      look: `${colour(agent)} ${key}`,
    })),
  );
  curves.show(agents);
  table(agents, several);
  games.cast(told.map(({ run, index }) => ({ run, index })), colour);
}

// What is known of a run, and what is to be asked of it.
class Watched {
  constructor(name, index, several) {
    Object.assign(this, { name, index, key: several ? `run-${index}` : "", seen: "", run: null });
    this.head = new Head(name, this.key);
  }

  // Whether there is anything else to see now; "gone" if nobody answers.
  async look() {
    const run = await ask(`/run.json?run=${this.index}&seen=${encodeURIComponent(this.seen)}`);
    if (run.gone) return run;
    if (run.run && run.run !== this.name) location.reload(); // another rtpd watch answers now
    this.head.warn(run);
    const fresh = !run.trouble && run.version !== this.seen;
    this.seen = run.trouble ? "" : run.version;
    if (fresh) {
      this.run = run;
      this.head.show(run);
    }
    return { fresh };
  }
}

async function begin() {
  for (;;) {
    const { runs: names, trouble } = await ask("/runs.json");
    say(byId("trouble"), trouble);
    if (names) {
      const several = names.length > 1;
      byId("title").hidden = !several;
      byId("title").textContent = `${names.length} runs`;
      document.title = `${names.join(" · ")} · rtpd watch`;
      const watched = names.map((name, index) => new Watched(name, index, several));
      byId("heads").replaceChildren(...watched.map(({ head }) => head.node));
      return watched;
    }
    await sleep(PERIOD);
  }
}

// Another rtpd watch may answer now, of other runs.
async function renew(watched) {
  const { runs } = await ask("/runs.json");
  if (runs && runs.join("\n") !== watched.map(({ name }) => name).join("\n")) location.reload();
}

async function follow() {
  const watched = await begin();
  let gone = null;
  for (;;) {
    await shown();
    if (gone) await renew(watched);
    const answers = await Promise.all(watched.map((one) => one.look()));
    gone = answers.find((answer) => answer.gone);
    say(byId("trouble"), gone?.trouble);
    if (answers.some((answer) => answer.fresh)) draw(watched.filter((one) => one.run), watched.length > 1);
    await sleep(gone ? 5 * PERIOD : PERIOD);
  }
}

follow();
games.play();
