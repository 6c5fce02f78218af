"""The host loop: the only place where envs, replay, learner and actor meet. Floor 4.

One iteration steps E envs once: send the actions, dispatch the updates that are due while the
emulators run, receive, store the finished row, choose the next actions.

A checkpoint is a boundary: the emulators' state cannot be saved, so the replay is sealed and the
envs start anew from a seed of (seed, step), in a run that goes on as in one that is resumed.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from rtpd import actor, checkpoint, envs, memory, nets, policy
from rtpd import replay as ring
from rtpd.config import (
    Config,
    from_dict,
    load,
    parse_centre,
    parse_scale,
    resolve,
    to_dict,
    validate,
)
from rtpd.console import Monitor
from rtpd.errors import CheckpointError, RtpdError, RunError
from rtpd.evaluate import compare, play
from rtpd.learner import Learner, LearnerState, acting_net
from rtpd.run import Run, check_free, next_folder, now, provenance
from rtpd.types import EnvSpec, EvalResult, Policy, Preprocess, Timestep, VectorEnv, num_parameters

RESERVE_BYTES = 10**9  # the program, nets, optimisers, emulators and batches beside the replay
KEEP_CHECKPOINTS = 2
RECENT_EPISODES = 20


@dataclass
class Progress:
    """What the host counts; saved with every checkpoint."""

    step: int = 0
    episodes: int = 0
    seconds: float = 0.0
    centred: bool = False
    learn_from: int = 0  # step of the first update since the replay was last empty
    updates_before: int = 0  # updates made before that
    recent_returns: list[float] = field(default_factory=list)


def default_preset() -> str:
    """The preset for the device that JAX finds."""
    return "cpu" if jax.default_backend() == "cpu" else "gpu"


def train(
    config: Config | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Train a teacher and its students at once.

    Args:
        config: what to do; None takes the preset of the device as it is.
        out: a new or empty folder for the run; None makes runs/NAME-N.
        preset: name of the preset that `config` came from, for the manifest.
        monitor: told of the progress; None is silent.

    Returns:
        The summary of `finish` in `rtpd.console`: "run", "status" ("finished" or "interrupted"),
        "step", "frames", "seconds", "agents" with a final evaluation of each, "next".

    Raises:
        RequestError: if the request cannot be met; nothing has been written then.
    """
    if config is None:
        preset = preset or default_preset()
        config = load(preset)
    validate(config)
    if out is not None:
        check_free(Path(out))
    env = envs.make(config.env, config.num_envs, config.environment)
    try:
        config = resolve(config, is_image=env.spec.is_image)
        agents = describe_agents(config, env.spec)
        check_memory(config, env.spec)
        path = Path(out) if out else next_folder(Path("runs"), config.env.rpartition("/")[2])
        run = Run.create(
            path,
            {
                "status": "running",
                "preset": preset,
                "seed": config.seed,
                **provenance(device_name()),
                "config": to_dict(config),
                "agents": agents,
                "frames_per_step": env.spec.frames_per_step,
            },
        )
        return Session(run, config, env, monitor or Monitor()).go()
    finally:
        env.close()


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Go on with an interrupted run from its newest good checkpoint; returns what `train` does.

    `steps` and `minutes` replace the run's own limits; a finished run needs a higher `steps`.
    """
    folder = Run.open(Path(run))
    data = dict(folder.manifest["config"])
    limits = {"steps": steps, "minutes": minutes}
    data |= {name: value for name, value in limits.items() if value is not None}
    config = from_dict(data, f"{folder.path}/manifest.json")
    validate(config)
    reached = folder.manifest.get("step", 0)
    if folder.manifest.get("status") == "finished" and config.steps <= reached:
        raise RunError(f"'{run}' is finished: --steps above {reached} would go on with it")
    env = envs.make(config.env, config.num_envs, config.environment)
    try:
        check_memory(config, env.spec)
        session = Session(folder, config, env, monitor or Monitor())
        session.restore()
        resumed = [*folder.manifest.get("resumed", []), {"step": session.progress.step, "at": now()}]
        folder.note(status="running", config=to_dict(config), resumed=resumed)
        return session.go()
    finally:
        env.close()


def describe_agents(config: Config, spec: EnvSpec) -> dict[str, dict[str, Any]]:
    """Net, parameters and share of the teacher's parameters, by name; checks that each fits."""
    learner = Learner(config, spec)
    state = jax.eval_shape(learner.init, jr.key(0), neutral(spec))
    total = num_parameters(state.teacher.net)
    agents = {"teacher": {"net": config.td.net, "parameters": total, "share": 1.0}}
    for student in learner.students:
        count = num_parameters(state.students[student.name].net)
        about = {"net": student.net, "parameters": count, "share": count / total}
        agents[student.name] = about | {"loss": student.loss}
    return agents


def neutral(spec: EnvSpec) -> Preprocess:
    """Leaves frames as they are; stands in until the warm-up has told the centre and scale."""
    return Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(()))


def replay_rows(config: Config) -> int:
    """Rows of the ring: its capacity over all envs."""
    return config.replay.capacity // config.num_envs


def check_memory(config: Config, spec: EnvSpec) -> int:
    """ConfigError unless the replay fits what is free; returns its bytes."""
    needed = ring.num_bytes(
        replay_rows(config), config.num_envs, spec.frame_shape, spec.frame_dtype
    )
    memory.check_replay(needed, memory.free_bytes(), config.replay.capacity, RESERVE_BYTES)
    return needed


def device_name() -> str:
    """Where JAX computes, as "cpu (2 cores)" or the accelerator's name."""
    device = jax.devices()[0]
    cores = f"{os.cpu_count()} cores"
    return f"cpu ({cores})" if device.platform == "cpu" else f"{device.device_kind} ({cores})"


class Session:
    """One run in progress."""

    def __init__(self, run: Run, config: Config, env: VectorEnv, monitor: Monitor) -> None:
        """Build the state at step 0; `restore` replaces it."""
        self.run, self.config, self.env, self.monitor = run, config, env, monitor
        self.spec = env.spec
        self.learner = Learner(config, self.spec)
        self.progress = Progress(learn_from=config.replay.warmup_steps)
        self.state = jax.jit(self.learner.init)(jr.key(config.seed), neutral(self.spec))
        self.totals, self.updates_logged = self.learner.zero_metrics(), 0
        self.replay = self._empty_replay()
        self.updates = 0
        self.recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.evaluations = ThreadPoolExecutor(1, thread_name_prefix="evaluation")
        self.evaluating: Future[None] | None = None
        self.interrupted = False
        self.warned: set[str] = set()
        self._update = jax.jit(self.learner.update, donate_argnums=(0, 1))
        self._diagnose = jax.jit(self.learner.diagnose)
        self._add = jax.jit(ring.add, donate_argnums=0)
        self._act = jax.jit(partial(_act, self.learner))

    def _empty_replay(self) -> ring.Replay:
        spec, rows = self.spec, replay_rows(self.config)
        return ring.init(rows, self.config.num_envs, spec.frame_shape, spec.frame_dtype)

    # ---- the loop -------------------------------------------------------------------------

    def go(self) -> dict[str, Any]:
        """Run to the end, or until interrupted; saves either way."""
        status = "failed"
        self.monitor.start(self._info())
        try:
            with interruptible(self._interrupt):
                self._start_clock()
                self._restart_envs()
                if self.progress.step == 0:
                    self.monitor.phase("warm-up: uniformly random play")
                while not self._over():
                    self._iterate()
                status = "interrupted" if self.interrupted else "finished"
                return self._finish(status)
        finally:
            self.evaluations.shutdown()
            if status == "failed":
                self.run.note(status="failed", ended=now())
            self.monitor.close()

    def _iterate(self) -> None:
        """Step every env once and learn what is due."""
        config, progress = self.config, self.progress
        before = progress.step
        self._every(config.evaluation.period_steps, before, self._begin_evaluation)
        action = np.asarray(self.action)
        self.env.send(action)
        after = before + config.num_envs
        self._learn(after)
        seen, self.timestep = self.timestep, self.env.recv()
        self.replay = self._add(
            self.replay, seen.frame, action, self.timestep.reward,
            seen.first, self.timestep.terminal, seen.last,
        )  # fmt: skip
        self._book(self.timestep)
        progress.step = after
        self._choose()
        if crossed(config.log_steps, before, after):
            self._log()
        if crossed(config.checkpoint_steps, before, after) and after < config.steps:
            self._checkpoint()

    def _learn(self, step: int) -> None:
        """Dispatch the updates that are due at `step`; they run while the emulators do."""
        progress = self.progress
        if step < progress.learn_from:
            return
        if not self.progress.centred:
            self._end_warmup()
        due = (step - progress.learn_from) // self.config.replay.steps_per_update + 1
        for _ in range(progress.updates_before + due - self.updates):
            self.state, self.totals = self._update(self.state, self.totals, self.replay)
            self.updates += 1

    def _end_warmup(self) -> None:
        """Freeze what frames are centred on and scaled by, and compile the update."""
        mean, std = jax.jit(ring.frame_statistics)(self.replay)
        centre, scale = parse_centre(self.config.centre), parse_scale(self.config.scale)
        preprocess = Preprocess(
            mean if centre is None else jnp.full(self.spec.frame_shape, centre),
            jnp.maximum(std, 1e-6) if scale is None else jnp.float32(scale),
        )
        self.state = eqx.tree_at(lambda s: s.preprocess, self.state, preprocess)
        self.progress.centred = True
        self.monitor.phase("compiling the update")

    def _choose(self) -> None:
        """Choose the next actions: uniformly random in the warm-up, then epsilon-greedy."""
        explore = self.config.explore
        self.epsilon = 1.0
        if self.progress.centred:
            self.epsilon = actor.linear_epsilon(
                self.progress.step,
                start=explore.start,
                end=explore.end,
                decay_steps=explore.decay_steps,
            )
        self.stack, self.action = self._act(
            self.state.teacher.net, self.state.preprocess, self.stack, self.timestep.frame,
            self.timestep.first, self.act_key, np.int32(self.progress.step),
            np.float32(self.epsilon),
        )  # fmt: skip

    def _restart_envs(self) -> None:
        """Start every env anew from a seed of (run's seed, step): the boundary."""
        seed = np.random.SeedSequence((self.config.seed, self.progress.step)).generate_state(1)[0]
        self.timestep = self.env.reset(int(seed >> 1))
        self.running = np.zeros(self.config.num_envs)
        shape = (self.config.num_envs, self.spec.stack, *self.spec.frame_shape)
        self.stack = jnp.zeros(shape, self.spec.frame_dtype)
        self.act_key = jr.fold_in(jr.key(self.config.seed), 1)
        self._choose()

    def _book(self, timestep: Timestep) -> None:
        """Sum up unclipped returns of whole episodes."""
        self.running += timestep.reward
        for i in np.flatnonzero(timestep.last):
            self.recent.append(float(self.running[i]))
            self.progress.episodes += 1
            self.running[i] = 0.0

    def _over(self) -> bool:
        minutes = self.config.minutes
        late = bool(minutes) and self._seconds() >= 60 * minutes
        return self.interrupted or late or self.progress.step >= self.config.steps

    def _every(self, period: int, step: int, job: Any) -> None:  # noqa: ANN401
        """Do a job in the first iteration at or after each multiple of `period`, but not at 0."""
        if period and step and crossed(period, step - self.config.num_envs, step):
            job()

    def _interrupt(self) -> None:
        self.interrupted = True
        self.monitor.phase("interrupted: saving (again to stop at once)")

    def _start_clock(self) -> None:
        self.clock = time.monotonic() - self.progress.seconds
        self.logged = (self.progress.step, self.progress.seconds)

    def _seconds(self) -> float:
        return time.monotonic() - self.clock

    # ---- what a run tells -----------------------------------------------------------------

    def _info(self) -> dict[str, Any]:
        config, manifest = self.config, self.run.manifest
        needed, free = check_memory(config, self.spec), memory.free_bytes()
        return {
            "env": config.env,
            "run": str(self.run.path),
            "preset": manifest.get("preset"),
            "device": manifest.get("device"),
            "steps": config.steps,
            "minutes": config.minutes or None,
            "seed": config.seed,
            "start_step": self.progress.step,
            "agents": manifest["agents"],
            "notes": [
                f"replay of {config.replay.capacity:,} transitions: {memory.gigabytes(needed)}, "
                f"{memory.gigabytes(free)} free",
                f"{config.num_envs} envs, one update of batch {config.replay.batch_size} every "
                f"{config.replay.steps_per_update} steps after {config.replay.warmup_steps:,}",
            ],
        }

    def _log(self) -> None:
        """Append a line of metrics: means since the last one, and how the students follow."""
        totals = {k: float(v) for k, v in jax.device_get(self.totals).items()}
        count, self.updates_logged = self.updates - self.updates_logged, self.updates
        self.totals = self.learner.zero_metrics()
        students: dict[str, dict[str, float]] = {}
        if count and self.state.students:
            key = jr.fold_in(jr.fold_in(jr.key(self.config.seed), 2), self.progress.step)
            found = jax.device_get(self._diagnose(self.state, self.replay, key))
            for name, values in found.items():
                row = {k: float(v) for k, v in values.items()}
                students[name] = {"loss": totals[f"{name}/loss"] / count} | row
                self._warn_if_collapsed(name, row)
        seconds, (last_step, last_seconds) = self._seconds(), self.logged
        step = self.progress.step
        record = {
            "kind": "train",
            "step": step,
            "frames": step * self.spec.frames_per_step,
            "seconds": round(seconds, 3),
            "steps_per_second": round((step - last_step) / max(seconds - last_seconds, 1e-9), 1),
            "epsilon": round(self.epsilon, 4),
            "updates": self.updates,
            "episodes": self.progress.episodes,
            "teacher": {
                "loss": totals["loss"] / count if count else None,
                "q": totals["q"] / count if count else None,
                "return": float(np.mean(self.recent)) if self.recent else None,
            },
            "students": students,
        }
        self.logged = (step, seconds)
        self._record(record)

    def _record(self, record: dict[str, Any]) -> None:
        self.run.append(record)
        self.monitor.record(record)

    def _warn_if_collapsed(self, name: str, row: dict[str, float]) -> None:
        """Once per student: the same output for every state, long after the start."""
        if row["spread"] < 0.01 and self.updates > 2_000 and name not in self.warned:
            self.warned.add(name)
            self.monitor.warn(
                f"{name} has collapsed: {100 * row['spread']:.2g} % of its outputs' variance is "
                f"between states; agreement {row['agreement']:.2f}, a constant policy has "
                f"{row['constant_agreement']:.2f}. See docs/architecture.md, 'Collapse'"
            )

    # ---- evaluation beside the training ---------------------------------------------------

    def policies(self) -> dict[str, Policy]:
        """Copies of all agents as they are now."""
        nets_now = {"teacher": self.state.teacher.net}
        nets_now |= {name: acting_net(model) for name, model in self.state.students.items()}
        preprocess = jax.tree.map(jnp.copy, self.state.preprocess)
        return {
            name: Policy(jax.tree.map(jnp.copy, net), preprocess, self.spec, self._provenance(name))
            for name, net in nets_now.items()
        }

    def _provenance(self, name: str) -> dict[str, Any]:
        config, about, manifest = self.config, self.run.manifest["agents"], self.run.manifest
        last = _last_layer(self.state.teacher.net if name == "teacher" else self.state.students[name].net)
        return {
            "agent": name,
            "net": about[name]["net"],
            "num_outputs": last,
            "dueling": config.td.dueling and name == "teacher",
            "teacher": config.teacher,
            "loss": about[name].get("loss"),
            "environment": to_dict(config)["environment"],
            "seed": config.seed,
            "step": self.progress.step,
            "commit": manifest.get("commit"),
        }

    def _begin_evaluation(self) -> None:
        """Let copies of all agents play in a thread of their own while the training goes on."""
        if not self.progress.centred:
            return
        self._await_evaluation()
        self.evaluating = self.evaluations.submit(
            self._evaluate, self.policies(), self.progress.step, self._seconds()
        )

    def _await_evaluation(self) -> None:
        if self.evaluating is not None:
            self.evaluating.result()
            self.evaluating = None

    def _evaluate(
        self, policies: dict[str, Policy], step: int, seconds: float
    ) -> dict[str, dict[str, Any]]:
        """Play and record; `seconds` is the time of training at the snapshot."""
        settings = self.config.evaluation
        results: dict[str, EvalResult] = play(
            policies,
            self.config.env,
            self.config.environment,
            episodes=settings.episodes,
            epsilon=settings.epsilon,
            seed=self.config.seed + 1,
        )
        rows = compare(self.config.env, results)
        self._record({"kind": "eval", "step": step, "seconds": round(seconds, 3), "agents": rows})
        return rows

    # ---- saving ---------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Save all, then go on exactly as a resumed run would: sealed replay, fresh envs."""
        self._await_evaluation()
        self._save()
        self._restart_envs()
        self.monitor.phase("training")

    def _save(self) -> None:
        self.monitor.phase("saving a checkpoint")
        self.replay = jax.jit(ring.seal, donate_argnums=0)(self.replay)
        self.progress.seconds = self._seconds()
        self.progress.recent_returns = list(self.recent)
        keep = self.config.replay.save
        tree = {"state": self.state} | ({"replay": self.replay} if keep else {})
        meta = {"progress": vars(self.progress), "updates": self.updates, "replay": keep}
        checkpoint.save(self.run.checkpoints / f"{self.progress.step:010d}", tree, meta)
        self._save_agents()
        self.run.note(step=self.progress.step, saved=now())
        for old in checkpoint.newest(self.run.checkpoints)[KEEP_CHECKPOINTS:]:
            checkpoint.remove(old)

    def _save_agents(self) -> None:
        for name, agent in self.policies().items():
            policy.save(self.run.agent_path(name), agent)

    def restore(self) -> None:
        """Take up the newest checkpoint that is whole; a damaged one is named and passed over."""
        keep = self.config.replay.save
        like = {"state": self.state} | ({"replay": self.replay} if keep else {})
        for folder in checkpoint.newest(self.run.checkpoints):
            try:
                tree, meta = checkpoint.load(folder, like)
                break
            except CheckpointError as error:
                self.monitor.warn(f"{error}; trying the one before it")
        else:
            raise RunError(f"'{self.run.path}' holds no whole checkpoint to go on from")
        self.state, self.updates = tree["state"], meta["updates"]
        self.progress = Progress(**meta["progress"])
        self.recent.extend(self.progress.recent_returns)
        self.updates_logged = self.updates
        reached = self.progress.step
        if keep:
            self.replay = tree["replay"]
        else:  # the agent's own play refills it before learning goes on
            self.progress.learn_from = reached + self.config.replay.warmup_steps
            self.progress.updates_before = self.updates
        self.run.cut(lambda r: r["step"] < reached or (r["step"] == reached and r["kind"] == "train"))

    def _finish(self, status: str) -> dict[str, Any]:
        """Save, evaluate unless interrupted, and sum up."""
        self._await_evaluation()
        if self.logged[0] < self.progress.step:
            self._log()
        seconds = self._seconds()
        self._save()
        rows: dict[str, dict[str, Any]] = {}
        if status == "finished":
            self.monitor.phase("final evaluation")
            rows = self._evaluate(self.policies(), self.progress.step, seconds)
        agents = {
            name: about | rows.get(name, {}) for name, about in self.run.manifest["agents"].items()
        }
        self.run.note(status=status, ended=now(), seconds=round(seconds, 1))
        folder = self.run.path
        go_on = [f"rtpd evaluate {folder}", f"rtpd train --resume {folder} --steps MORE"]
        summary = {
            "run": str(folder),
            "status": status,
            "step": self.progress.step,
            "frames": self.progress.step * self.spec.frames_per_step,
            "seconds": seconds,
            "agents": agents,
            "next": go_on if status == "finished" else [f"rtpd train --resume {folder}"],
        }
        self.monitor.finish(summary)
        return summary


def crossed(period: int, before: int, after: int) -> bool:
    """Whether a multiple of `period` lies in (before, after]; never for a period of 0."""
    return bool(period) and before // period < after // period


@contextmanager
def interruptible(notify: Any) -> Iterator[None]:  # noqa: ANN401
    """Call `notify` on the first Ctrl-C or SIGTERM; the second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def handle(number: int, frame: Any) -> None:  # noqa: ANN401
        del frame
        for other in signals:
            signal.signal(other, before[other])
        notify()

    for number in signals:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, before[number])


def _act(
    learner: Learner, net: nets.QNet, preprocess: Any, stack: Any, frame: Any, first: Any,  # noqa: ANN401
    key: Any, step: Any, epsilon: Any,  # noqa: ANN401
) -> Any:  # fmt: skip  # noqa: ANN401
    return actor.act(
        lambda obs: learner.q_values(net(preprocess(obs))),
        stack, frame, first, jr.fold_in(key, step), epsilon,
    )  # fmt: skip


def _last_layer(net: nets.QNet) -> int:
    return net.streams[0][1].bias.shape[0]
