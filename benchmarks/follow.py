"""How soon do students follow, by centre and scale of the input and by their first weights?

Learns afresh, teacher and students, from the replay in a run's checkpoint, once per setting, and
prints at six points how the students follow (`learning.distillation.student_metrics`) and how far
the teacher tells states apart. No emulator runs, so settings see the same data.

    python benchmarks/follow.py runs/pong-1 --updates 1500 --scales 255 25 std --weights he fan-in
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from rtpd import envs
from rtpd.config.loading import from_dict
from rtpd.learning import replay as ring
from rtpd.learning.distillation import student_metrics
from rtpd.learning.update import Learner
from rtpd.networks import architectures
from rtpd.storage import checkpoint
from rtpd.storage.run_folder import Run
from rtpd.training.collector import replay_of
from rtpd.training.snapshots import neutral
from rtpd.types import Preprocess


def load_replay(run, config, game, spec):
    shape = replay_of(config, spec)
    learner = Learner(config, {game: spec})
    state, replays = learner.init(jr.key(0), {game: neutral(spec)}), {game: ring.init(shape)}
    like = {"state": state, "rollout": learner.plan(state, replays), "replay": replays}
    return checkpoint.load(checkpoint.newest(run.checkpoints)[0], like)[0]["replay"][game]


def fresh_state(learner, game, preprocess, weights, seed):
    state, spec = learner.init(jr.key(seed), {game: preprocess}), learner.specs[game]
    if weights == "he":
        return state
    for student in learner.students:
        net = architectures.build(student.net, spec, spec.num_actions, key=jr.key(seed))
        state = eqx.tree_at(lambda s, n=student.name: s.students[n].net, state, net)
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--centres", nargs="+", default=["mean"], help="mean or a number")
    parser.add_argument("--scales", nargs="+", default=["255", "25", "std"])
    parser.add_argument("--weights", nargs="+", default=["he", "fan-in"])
    parser.add_argument("--students", nargs="+", default=["net1.7:kl", "net0.5:kl"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    run = Run.open(args.run)
    config = from_dict(run.manifest["config"])
    (game,) = config.games
    env = envs.make(config.env, 1, config.environment)
    spec = env.spec
    env.close()
    replay = load_replay(run, config, game, spec)
    mean, std = ring.frame_statistics(replay)
    learner = Learner(replace(config, students=tuple(args.students)), {game: spec})
    replays = {game: replay}
    update = jax.jit(learner.update, donate_argnums=(0, 1))
    diagnose = jax.jit(learner.diagnose)

    @jax.jit
    def teacher_spread(state, key):
        _, targets = learner.teachers[game].diagnostic_batch(state.teachers[game], replay, key, 256)
        q = targets["latest"].logits
        return student_metrics(q, q)["spread"]

    for centre, scale, weights in product(args.centres, args.scales, args.weights):
        # Copies, since the update is donated them.
        minus = jnp.copy(mean) if centre == "mean" else jnp.full_like(mean, float(centre))
        divisor = jnp.copy(std) if scale == "std" else jnp.float32(scale)
        setting = {"centre": centre, "scale": scale, "divisor": round(float(divisor), 2)}
        state = fresh_state(learner, game, Preprocess(minus, divisor), weights, args.seed)
        totals = learner.zero_metrics()
        for i in range(1, args.updates + 1):
            state, totals, _ = update(state, totals, replays, {game: None})
            if i % (args.updates // 6) == 0:
                row = setting | {"weights": weights, "updates": i}
                row["teacher_spread"] = float(teacher_spread(state, jr.key(i)))
                for name, found in diagnose(state, replays, jr.key(i)).items():
                    row[name] = {k: float(f"{float(v):.3g}") for k, v in found.items()}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
