"""The compiled update: the law of the teacher, known Q-values, gradients that must be zero."""

from dataclasses import replace
from functools import cache, lru_cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from rtpd import envs
from rtpd.config.settings import (
    Config,
    ConsolidationConfig,
    OptimizerConfig,
    ReplayConfig,
    RolloutConfig,
    StudentConfig,
    TeacherConfig,
)
from rtpd.envs import EnvOptions
from rtpd.envs.probe import PROBES, known_q
from rtpd.learning import replay as ring
from rtpd.learning import students
from rtpd.learning.distillation import LOSSES
from rtpd.learning.replay_shape import ReplayShape
from rtpd.learning.student_spec import parse_students
from rtpd.learning.students import Students
from rtpd.learning.teachers import TEACHERS, algorithm_of, make_teacher, schedule_of
from rtpd.learning.teachers.dqn import DQN
from rtpd.learning.teachers.off_policy import batch_losses
from rtpd.learning.teachers.state import BestNet
from rtpd.learning.train_state import Minibatch, copied, named_key, optimizer
from rtpd.learning.update import Learner, LearnerState
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import Logits, Scalar
from rtpd.networks.policy import Policy
from rtpd.system import compute
from rtpd.types import Preprocess

GAMMA = 0.9
GAME = "probe"
WIDTH = max(probe.frames[0].size for name, probe in PROBES.items() if name != "pixels")
MOST_DISPATCHED = 100  # updates that are dispatched one by one, as a run does
WITH_Q = [name for name, teacher in TEACHERS.items() if teacher.gives_q]
ONE = ("net1.7:kl",)
TWO = ("net1.7:kl", "net0.1:kl-td")
LOGITS = ("net1.7:kl", "net0.1:nll")
FIVE = (
    "net4:kl", "net1.7:kl-td", "conv4-4-4x8:mse:updates=2", "net0.5:nll", "net0.1:reverse-kl",
)  # fmt: skip


add = jax.jit(ring.add, donate_argnums=0)


@cache
def filled_replay(name, rows=400, num_envs=8, seed=0, **options):
    """A replay of uniformly random play, and the spec."""
    env = envs.make(name, num_envs, EnvOptions())
    spec = env.spec if env.spec.is_image else alike(env.spec)
    replay = ring.init(ReplayShape(rows, num_envs, spec.frame_shape, spec.frame_dtype, **options))
    random, seen = np.random.default_rng(seed + 1), env.reset(seed)
    for _ in range(rows):
        action = random.integers(env.spec.num_actions, size=num_envs)
        env.send(action)
        next_ = env.recv()
        frame = seen.frame if env.spec.is_image else padded(seen.frame)
        replay = add(replay, frame, action, next_.reward, seen.first, next_.terminal, seen.last)
        seen = next_
    env.close()
    return replay, spec


def alike(spec):
    """The spec of any probe of vectors with as many actions: their programs are compiled once."""
    return replace(spec, name="probe", frame_shape=(WIDTH,))


def padded(frames):
    """Frames [B S] of any probe of vectors, with zeros behind: [B WIDTH]."""
    return np.pad(frames, ((0, 0), (0, WIDTH - frames.shape[1])))


def learn(config, spec, replay, updates, seed=0, preprocess=None):
    """The state after some updates, of one game."""
    preprocess = preprocess or Preprocess(*ring.frame_statistics(replay))
    return learn_games(config, {GAME: spec}, {GAME: replay}, updates, seed, {GAME: preprocess})


def played_by_chance(replay, spec):
    """With no answers of a teacher, as after a warm-up."""
    none = jnp.full((*replay.action.shape, spec.num_actions), jnp.nan)
    return replay if replay.q is not None else replay._replace(q=none)


def learn_games(config, specs, replays, updates, seed=0, preprocess=None):
    """The state after some updates, of any number of games."""
    if config.teacher.algorithm == "ppo":  # which needs to know by which policy it played
        replays = {game: played_by_chance(replay, specs[game]) for game, replay in replays.items()}
    learner, plan, update, run = programs(config, tuple(specs.items()), jax.jit)
    preprocess = copied(preprocess or statistics(replays))
    state, totals = learner.init(jr.key(seed), preprocess), learner.zero_metrics()
    if updates > MOST_DISPATCHED:
        return run(state, replays, updates)
    rollouts = None
    for i in range(updates):
        if i % learner.schedule.updates_per_rollout == 0:
            rollouts = plan(state, replays)
        state, totals, priorities = update(state, totals, replays, rollouts)
        replays = {g: r._replace(priority=priorities[g]) for g, r in replays.items()}
    return state


@lru_cache(maxsize=8)
def programs(config, specs, jit):
    """A learner, its plan, its update and many of them, compiled once by `jit`.

    That is the one of `optimised`, or plain.
    """
    assert jit is jax.jit
    learner = Learner(config, dict(specs))
    update = compute.jit(learner.update, config.compute, donate_argnums=(0, 1))
    plan = compute.jit(learner.plan, config.compute)
    return learner, plan, update, jax.jit(partial(learn_in_one_program, learner))


def learn_in_one_program(learner, state, replays, updates):
    """The same, without the host between two updates, who would take most of the time."""
    per_rollout, totals = learner.schedule.updates_per_rollout, learner.zero_metrics()

    def once(i, carry):
        state, replays, rollouts = carry
        plan = lambda: learner.plan(state, replays)  # noqa: E731
        rollouts = jax.lax.cond(i % per_rollout == 0, plan, lambda: rollouts)
        state, _, priorities = learner.update(state, totals, replays, rollouts)
        replays = {g: r._replace(priority=priorities[g]) for g, r in replays.items()}
        return state, replays, rollouts

    begun = state, replays, learner.plan(state, replays)
    return jax.lax.fori_loop(0, updates, once, begun)[0]


def statistics(replays):
    return {game: Preprocess(*ring.frame_statistics(r)) for game, r in replays.items()}


def teacher_of(state):
    """The teacher of the only game."""
    (teacher,) = state.teachers.values()
    return teacher


def config(teacher="double-dqn", students=(), student=None, priority=0.0, **td):
    # What `jax.jit` alone is fast in; the precision of `compute` is tested below.
    td = {"net": "mlp32-32", "gamma": GAMMA, "n_step": 1, "target_period_updates": 25} | td
    optimizer = OptimizerConfig(learning_rate=2e-3, eps=1e-8)
    return Config(
        compute="float32",
        students=students or ("none",),
        teacher=TeacherConfig(teacher, **({"optimizer": optimizer} | td)),
        student=StudentConfig(**({"optimizer": optimizer} | (student or {}))),
        replay=ReplayConfig(priority=priority),
        # One-step returns, since the rollout is random play and its longer returns are not greedy.
        rollout=RolloutConfig(steps=24, minibatch_size=48, td_lambda=0.0),
    )


def teacher_in(config, spec):
    """The teacher of one game under these settings."""
    return make_teacher(config, spec, parse_students(config))


def q_of_states(state, name, teacher):
    """Q-values that the teacher has learnt for each state of a probe, [S A]."""
    frames = jnp.asarray(padded(PROBES[name].frames))[:, None]
    found = teacher_of(state)
    net = found.train.acting
    outputs = net(found.preprocess(frames))
    return np.asarray(jax.vmap(algorithm_of(teacher).head)(outputs))


def munchausen_q(name):
    """The fixed point of eq. 2 of Vieillard et al. 2020 on a probe, by iteration, [S A]."""
    rule, (next_state, reward, terminal) = algorithm_of("munchausen"), PROBES[name].arrays
    q = np.zeros(reward.shape)
    for _ in range(400):
        soft = rule.temperature * np.logaddexp.reduce(q / rule.temperature, axis=1)
        bonus = rule.scale * np.clip(q - soft[:, None], rule.least_log_policy, 0)
        q = reward + bonus + GAMMA * np.where(terminal, 0, soft[next_state])
    return q


OPTIONS = {
    "plain": {},
    "n-step 3": {"n_step": 3},
    "dueling": {"dueling": True},
    "mse": {"loss": "mse"},
    "rmsprop": {
        "optimizer": OptimizerConfig("rmsprop", learning_rate=1e-3, eps=1e-5, max_grad_norm=0)
    },
    "polyak": {"target_period_updates": 1, "target_rate": 0.05},
    "averaged": {"ema_decay": 0.95},
    "noisy": {"noisy": True},
    "noisy, dueling": {"noisy": True, "dueling": True},
    "prioritised": {"priority": 0.6},
}


CASES = [
    *(
        ("plain", teacher, probe)
        for teacher in ("double-dqn", "pqn")
        for probe in PROBES
        if probe != "pixels"
    ),
    *(("plain", teacher, probe) for teacher in WITH_Q for probe in ("match", "delay")),
    *((option, "double-dqn", "delay") for option in OPTIONS),
    *((option, "double-dqn", "endless") for option in ("n-step 3", "polyak")),
    ("averaged", "pqn", "endless"),
    *(("noisy, dueling", teacher, "delay") for teacher in ("qr-dqn", "rainbow")),
    *(("prioritised", teacher, "chain") for teacher in ("dqn", "rainbow")),
]


@pytest.mark.parametrize(("option", "teacher", "probe"), dict.fromkeys(CASES))
def test_learned_q_is_the_known_q(probe, option, teacher, request):
    if TEACHERS[teacher].atoms > 1:  # much to add up: this runs for longer than it compiles
        request.getfixturevalue("optimised")
    replay, spec = filled_replay(f"probe/{probe}", prioritised=option == "prioritised")
    updates = 500 if teacher == "qr-dqn" else 1500  # its updates cost the most, and few will do
    state = learn(config(teacher, **OPTIONS[option]), spec, replay, updates)
    known = munchausen_q(probe) if teacher == "munchausen" else known_q(probe, GAMMA)
    assert q_of_states(state, probe, teacher) == pytest.approx(known, abs=0.06 / (1 - GAMMA))


@pytest.mark.usefixtures("optimised")
def test_learned_q_is_the_known_q_from_images():
    replay, spec = filled_replay("probe/pixels", rows=60)
    small = config(net="conv4-4-4x16", target_period_updates=10)
    found = teacher_of(learn(small, spec, replay, updates=200))
    sample = jax.jit(teacher_in(small, spec).sample, static_argnums=2)
    batch = sample(replay, jr.key(1), 256)
    q = found.train.net(found.preprocess(batch.obs))
    squares = np.asarray(batch.obs[:, -1]).reshape(256, -1)
    states = np.argmax(PROBES["pixels"].frames.reshape(4, -1).astype(float) @ squares.T, axis=0)
    known = known_q("pixels", GAMMA)[states]
    assert np.mean(np.abs(np.asarray(q) - known)) < 0.15


@pytest.fixture(scope="module")
def pixels():
    return filled_replay("probe/pixels", rows=40)


@pytest.fixture(scope="module")
def vectors():
    return filled_replay("probe/match", rows=60)


def weights(model):
    return jax.tree.leaves(model)


def answered(replay, spec, q=None):
    """The replay with answers of a teacher: `q` [C E A], or any."""
    shape = (*replay.reward.shape, spec.num_actions)
    return replay._replace(q=jr.normal(jr.key(7), shape) if q is None else q)


@pytest.mark.parametrize(
    ("precision", "teacher", "families", "extra"),
    [
        ("float32", "double-dqn", (ONE, FIVE), {}),
        ("bfloat16", "double-dqn", (FIVE,), {"follow": "ema"}),
        ("bfloat16", "pqn", (TWO,), {"updates": 2, "follow": "ema"}),
        ("float32", "pqn", (TWO,), {"updates": 2, "targets": "stored"}),
        ("bfloat16", "ppo", (LOGITS,), {"updates": 2, "targets": "stored"}),
    ],
)
@pytest.mark.usefixtures("optimised")
def test_the_teacher_is_bit_identical_with_no_student_one_or_five(
    pixels, teacher, families, extra, precision
):
    replay, spec = pixels
    if "targets" in extra:
        replay = answered(replay, spec)
    settings = {"net": "net1.7", "ema_decay": 0.5 if "follow" in extra else 0.0}
    settings = [config(teacher, students=f, student=extra, **settings) for f in ((), *families)]
    settings = [replace(setting, compute=precision) for setting in settings]
    states = [learn(setting, spec, replay, updates=4) for setting in settings]
    for state in states[1:]:
        assert eqx.tree_equal(state.teachers, states[0].teachers)


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.usefixtures("optimised")
def test_every_kind_of_teacher_is_bit_identical_whatever_follows_it(teacher):
    rollouts = TEACHERS[teacher].on_policy
    replay, spec = filled_replay("probe/match", rows=60, prioritised=not rollouts)
    families = [(), ("mlp4:kl-td", "mlp8:kl", "mlp16:mse")]
    noisy = teacher in ("pqn", "rainbow")  # of both procedures; noise is the most to compile
    extra = {"dueling": True, "noisy": noisy, "priority": 0.0 if rollouts else 0.5}
    if not TEACHERS[teacher].gives_q:
        families, extra = [(), ("mlp4:nll", "mlp8:kl", "mlp16:reverse-kl")], {}
    states = [
        learn(config(teacher, students=family, **extra), spec, replay, updates=20)
        for family in families
    ]
    assert eqx.tree_equal(states[1].teachers, states[0].teachers)


def test_a_student_is_the_same_beside_others_up_to_rounding(vectors):
    """Its data and its first weights depend on its own net alone."""
    replay, spec = vectors
    alone, family = (
        learn(config(students=students), spec, replay, 3).students["mlp8"].net
        for students in (("mlp8:kl",), ("mlp8:kl", "mlp4:mse"))
    )
    for a, b in zip(weights(alone), weights(family), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.usefixtures("optimised")
def test_two_runs_of_a_seed_are_identical_and_two_seeds_are_not(pixels, precision):
    replay, spec = pixels
    setting = config(students=("net1.7:kl",), net="conv8-8-8x32")
    setting = replace(setting, compute=precision)
    once, again, other = (learn(setting, spec, replay, 4, seed=s) for s in (0, 0, 1))
    assert eqx.tree_equal(once, again)
    assert not eqx.tree_equal(teacher_of(once).train.net, teacher_of(other).train.net)


TAUGHT = [
    *(f"mlp16:{loss}" for loss in LOSSES),
    "mlp16:kl:temperature-unit=gap:temperature=0.5",
    "mlp16:kl:ema-decay=0.95",
    "mlp16:kl:follow=ema",
    "mlp16:kl:updates=3",
    "mlp16:kl:weight=gap",
    "mlp16:kl:weight=certainty",
]


def test_every_loss_and_every_option_teaches_the_teachers_greedy_action():
    replay, spec = filled_replay("probe/match")
    setting = config(students=tuple(TAUGHT), student={"temperature": 0.1}, ema_decay=0.95)
    state = learn(setting, spec, replay, updates=1500)
    found = jax.jit(Learner(setting, {GAME: spec}).diagnose)(state, {GAME: replay}, jr.key(3))
    agreed = {name: float(row["agreement"]) for name, row in found.items()}
    assert agreed == dict.fromkeys(found, 1.0) and len(found) == len(TAUGHT)
    assert all(row["constant_agreement"] < 0.7 for row in found.values())


def test_stored_answers_teach_what_was_answered_then():
    """Not what the teacher would answer now: they are of other values on purpose."""
    replay, spec = filled_replay("probe/match")
    wanted = (PROBES["match"].arrays[1].argmax(axis=1) + 1) % spec.num_actions
    states = jnp.argmax(replay.frames, axis=-1)
    replay = answered(replay, spec, jax.nn.one_hot(jnp.asarray(wanted)[states], spec.num_actions))
    # Of 4 updates for every one of the teacher's a single one is of its own minibatch.
    student = {"temperature": 0.1, "targets": "stored", "updates": 4, "newest_steps": 3200}
    setting = config(students=("mlp16:kl",), student=student)
    state = learn(setting, spec, replay, updates=1000)
    frames = jnp.asarray(padded(PROBES["match"].frames))[:, None]
    outputs = state.students["mlp16"].net(teacher_of(state).preprocess(frames))
    assert outputs.argmax(axis=1).tolist() == wanted.tolist()


def test_a_teacher_that_rests_teaches_what_it_answered_and_stays_as_it_is():
    replay, spec = filled_replay("probe/match")
    wanted = (PROBES["match"].arrays[1].argmax(axis=1) + 1) % spec.num_actions
    states = jnp.argmax(replay.frames, axis=-1)
    replay = answered(replay, spec, jax.nn.one_hot(jnp.asarray(wanted)[states], spec.num_actions))
    setting = config(students=("mlp16:kl", "mlp8:kl-td"), student={"temperature": 0.1})
    setting = replace(setting, consolidation=ConsolidationConfig(share=0.01))
    learner, begun = Learner(setting, {GAME: spec}), learn(setting, spec, replay, updates=1)
    consolidate = jax.jit(learner.consolidate)
    state, totals = begun, learner.zero_metrics(consolidating=True)
    for _ in range(1000):
        state, totals = consolidate(state, totals, {GAME: replay})
    frames = jnp.asarray(padded(PROBES["match"].frames))[:, None]
    outputs = state.students["mlp16"].net(teacher_of(state).preprocess(frames))
    assert outputs.argmax(axis=1).tolist() == wanted.tolist()
    assert eqx.tree_equal(teacher_of(state).train, teacher_of(begun).train)
    assert float(totals["teacher/q"]) == pytest.approx(1000)  # the best of each answer is 1


def test_a_student_learns_nothing_of_states_that_were_not_answered(vectors):
    replay, spec = vectors
    unknown = answered(replay, spec, jnp.full((*replay.reward.shape, spec.num_actions), jnp.nan))
    one, three = (
        learn(
            config(students=("mlp8:kl",), student={"updates": n, "targets": "stored"}),
            spec,
            unknown,
            updates=1,
        ).students["mlp8"]
        for n in (1, 3)
    )
    assert all(np.isfinite(leaf).all() for leaf in weights(three.net))
    # Adam goes on by its momentum; without a gradient its first moment just shrinks.
    for a, b in zip(
        weights(one.opt_state[1][0].mu), weights(three.opt_state[1][0].mu), strict=True
    ):
        np.testing.assert_allclose(b, 0.81 * a, rtol=1e-4, atol=1e-12)


def test_stored_answers_are_of_the_newest_steps(pixels):
    replay, spec = pixels
    rows = jnp.arange(replay.reward.shape[0])
    age = (replay.cursor - 1 - rows) % len(rows)
    q = jnp.broadcast_to(age[:, None, None], (*replay.reward.shape, spec.num_actions))
    setting = config(
        students=("net0.1:kl",),
        net="conv4-4-4x8",
        student={"updates": 2, "targets": "stored", "newest_steps": 80},
    )
    teacher = teacher_in(replace(setting, num_envs=8), spec)
    state = teacher.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    old = answered(replay, spec, q.astype(jnp.float32))
    replayed = jax.jit(partial(teacher._replayed, ("stored",)))
    batches = [replayed(state, old, jr.key(i))["stored"] for i in range(8)]
    ages = np.concatenate([batch.target["latest"].logits[:, 0] for batch in batches])
    # 80 steps of 8 envs are 10 rows; the newest has no successor yet.
    assert set(ages.astype(int).tolist()) == set(range(1, 10))


def test_settings_of_its_own_are_to_a_student_what_they_are_to_all():
    replay, spec = filled_replay("probe/match", rows=60)
    own = (
        "temperature-unit=gap:temperature=5:weight=gap:follow=ema:updates=3:ema-decay=0.5:"
        "optimizer.name=radam:optimizer.anneal=1"
    )
    of_all = {
        "temperature_unit": "gap", "temperature": 5.0, "weight": "gap", "follow": "ema",
        "updates": 3, "ema_decay": 0.5,
        "optimizer": OptimizerConfig("radam", 2e-3, 1e-8, anneal=1.0),
    }  # fmt: skip
    families = [(("mlp8", f"mlp8:kl:{own}"), {}), (("mlp8",), of_all)]
    (plain, changed), (expected,) = (
        learn(
            # 26 updates, over which a rate may fall
            replace(config(students=names, student=student, ema_decay=0.9), steps=8_100),
            spec,
            replay,
            updates=30,
        ).students.values()
        for names, student in families
    )
    nets = (weights(model.acting) for model in (plain, changed, expected))
    for a, b, c in zip(*nets, strict=True):
        np.testing.assert_allclose(b, c, atol=1e-5)
        assert not np.allclose(a, b, atol=1e-4)


def test_late_students_learn_as_those_of_as_many_updates(pixels):
    replay, spec = pixels
    texts = ("net0.1:kl", "net0.1:mse:late_updates=3:late_share=0.5")
    setting = config(students=texts, net="conv4-4-4x8")
    learner = Learner(setting, {GAME: spec})
    early, late = learner.after(learner.schedule.late_start(0.5) - 1), learner.after(10**9)
    assert early == learner and late.after(0) == learner
    assert learner.after(0, gone=0.5) == late and learner.after(0, gone=0.49) == learner
    assert [[s.updates for s in one.students] for one in (early, late)] == [[1, 1], [1, 3]]
    often = Learner(
        replace(setting, students=("net0.1:kl:updates=8:late_updates=4",)), {GAME: spec}
    )
    assert often.after(10**9) == often, "never fewer than before"
    always = replace(setting, students=("net0.1:kl", "net0.1:mse:updates=3"))
    always = Learner(always, {GAME: spec})
    state = learn(setting, spec, replay, updates=2)
    renamed = replace_names(state, [s.name for s in always.students])
    found = [
        jax.jit(one.update)(begun, one.zero_metrics(), {GAME: replay}, {GAME: None})[0]
        for one, begun in ((late, state), (always, renamed))
    ]
    assert eqx.tree_equal(found[0].teachers, found[1].teachers)
    states = [[*one.students.values()] for one in found]
    assert eqx.tree_equal(*states)
    assert int(states[0][1].opt_state[1][0].count) == 2 + 3


def replace_names(state, names):
    """The same state with other names of its students, in their order."""
    students = dict(zip(names, copied(state).students.values(), strict=True))
    return LearnerState(state.teachers, students, state.updates)


def test_students_follow_the_best_teacher_once_there_is_one(pixels):
    replay, spec = pixels
    following = ("net0.1:kl", "net0.1:kl:follow=best")
    setting = config(net="conv4-4-4x8", students=following, noisy=True)
    learning = teacher_in(setting, spec)
    state = learning.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    other = qnet.without_noise(learning.init(jr.key(1), state.preprocess).train.net)
    diagnostic_batch = jax.jit(learning.diagnostic_batch, static_argnums=3)
    for known, expected in [(False, qnet.without_noise(state.train.net)), (True, other)]:
        judged = eqx.tree_at(lambda s: s.best, state, BestNet(other, jnp.array(known)))
        x, found = diagnostic_batch(judged, replay, jr.key(2), 16)
        np.testing.assert_array_equal(found["best"].logits, expected(x))
        np.testing.assert_array_equal(found["latest"].logits, state.train.net(x))


def test_a_prioritised_replay_is_told_what_was_learnt_and_how_much_of_it_counts():
    """One update: the TD errors of its minibatch become the priorities, the weights its loss."""
    replay, spec = filled_replay("probe/match", rows=60, prioritised=True)
    uneven = jnp.asarray(np.random.default_rng(3).uniform(10, 20, replay.priority.shape))
    replay = replay._replace(priority=uneven.astype(jnp.float32))
    teacher = teacher_in(config("dqn", priority=0.5), spec)
    state = teacher.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    found = jax.jit(teacher.update)(state, jnp.int32(0), replay)
    row, env = np.nonzero(found.priority != replay.priority)
    assert 0 < len(row) <= teacher.config.replay.batch_size
    seen = ring.transitions(replay, jnp.asarray(row), jnp.asarray(env), **teacher.windows)
    q, next_q = (teacher.q_values(state.train.net, state.preprocess(o)) for o in (seen[0], seen[4]))
    target = seen.reward + seen.discount * next_q.max(axis=1)
    td_error = np.abs(target - q[np.arange(len(row)), seen.action])
    np.testing.assert_allclose(found.priority[row, env], td_error, rtol=1e-3, atol=1e-4)
    drawn = teacher._draw(jnp.int32(0), replay, jr.split(state.key, 4)[0])
    losses = optax.losses.huber_loss(found.priority[drawn.row, drawn.env])
    expected = jnp.mean(drawn.weight * losses)
    np.testing.assert_allclose(found.metrics["loss"], expected, rtol=1e-3)
    assert abs(found.metrics["loss"] / jnp.mean(losses) - 1) > 0.05


@pytest.mark.parametrize("teacher", ["double-dqn", "pqn", "ppo"])
def test_an_action_that_was_ignored_teaches_nothing(teacher):
    replay, spec = filled_replay("probe/match", rows=60)
    ignored = replay._replace(
        action=jnp.where(replay.last, (replay.action + 1) % spec.num_actions, replay.action),
        reward=jnp.where(replay.last, replay.reward + 5, replay.reward),
    )
    assert replay.last.any()
    nets = [teacher_of(learn(config(teacher), spec, r, 3)).train.net for r in (replay, ignored)]
    jax.tree.map(np.testing.assert_array_equal, *nets)


def test_a_named_key_depends_on_the_name_and_on_nothing_else():
    keys = [named_key(jr.key(seed), name) for seed, name in ((0, "a"), (0, "b"), (1, "a"))]
    assert len({jr.key_data(key).tobytes() for key in keys}) == 3
    assert named_key(jr.key(0), "a") == keys[0]


@pytest.mark.parametrize(("done", "exponent"), [(0, 0.4), (0.5, 0.7), (1, 1.0), (2, 1.0)])
def test_importance_weights_undo_the_priorities_in_the_end(done, exponent):
    replay, spec = filled_replay("probe/match", rows=60, prioritised=True)
    uneven = jnp.asarray(np.random.default_rng(3).uniform(1, 20, replay.priority.shape))
    replay = replay._replace(priority=uneven.astype(jnp.float32))
    teacher = teacher_in(config("dqn", priority=0.5), spec)
    updates = jnp.int32(round(done * teacher.schedule.updates))
    drawn = teacher._draw(updates, replay, jr.key(0))
    expected = replay.priority[drawn.row, drawn.env] ** (-0.5 * exponent)
    np.testing.assert_allclose(drawn.weight, expected / expected.max(), rtol=1e-3)


@pytest.mark.parametrize(("kind", "expected"), [("gap", [0.0, 2.0]), ("certainty", [0.0, 2.0])])
def test_states_where_the_choice_matters_count_for_more(kind, expected):
    """One state where all actions are worth the same and one where they are not: 1 on average."""
    q = jnp.array([[1.0, 1.0], [0.0, 3.0]])
    found = students._weight(StudentConfig(weight=kind), q, jnp.float32(0.01))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    alike = students._weight(StudentConfig(weight=kind), q[:1], jnp.float32(0.01))
    assert np.isfinite(alike).all()


def test_students_send_no_gradient_into_the_teacher(vectors):
    """The students' loss has a gradient in their own nets and exactly none in the teacher's."""
    replay, spec = vectors
    setting = config(students=("mlp8:kl", "mlp4:kl-td"))
    learner = Learner(setting, {GAME: spec})
    state = learner.init(jr.key(0), statistics({GAME: replay}))

    def students_loss(teachers, students):
        begun = eqx.tree_at(lambda s: (s.teachers, s.students), state, (teachers, students))
        replays = {GAME: replay}
        _, totals, _ = learner.update(begun, learner.zero_metrics(), replays, {GAME: None})
        return totals["mlp8/loss"] + totals["mlp4/loss"]

    gradient = jax.jit(jax.grad(students_loss, argnums=(0, 1), allow_int=True))
    into_teacher, into_students = gradient(state.teachers, state.students)
    assert all(not np.any(g) for g in weights(into_teacher[GAME].train.net))
    assert all(np.any(g) for g in weights(into_students["mlp8"].net))


class Naive(DQN):
    """It does not stop the gradient into what it bootstraps from."""

    double, needs_current = True, True

    def loss(self, outputs, bootstrap, transition, kind):
        found = sum(jnp.sum(values) for values in bootstrap)
        return found, found


def test_no_gradient_flows_into_what_a_target_is_made_of():
    _, spec = filled_replay("probe/match", rows=60)
    net, x = (
        architectures.build("mlp4", spec, spec.num_actions, key=jr.key(0)),
        jnp.ones((2, WIDTH)),
    )
    batch = Minibatch(x, x, jnp.zeros(2, int), jnp.zeros(2), jnp.ones(2))

    def loss(online, target):
        return jnp.sum(batch_losses(Naive(), net(x), batch, online, target, "mse")[0])

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(net, net)
    assert value != 0
    assert not any(np.any(g) for g in weights(gradient))


def test_the_update_is_traced_once(vectors):
    replay, spec = vectors
    learner = Learner(config(students=("mlp8:kl", "mlp8:mse"), noisy=True), {GAME: spec})
    update = eqx.filter_jit(eqx.debug.assert_max_traces(learner.update, max_traces=1))
    state = learner.init(jr.key(0), statistics({GAME: replay}))
    totals = learner.zero_metrics()
    for _ in range(3):
        state, totals, _ = update(state, totals, {GAME: replay}, {GAME: None})
    assert int(state.updates) == 3


def test_the_target_net_follows_at_its_period_only(vectors):
    replay, spec = vectors
    setting = config(target_period_updates=3)
    start, before, at = (teacher_of(learn(setting, spec, replay, n)) for n in (0, 2, 3))
    assert eqx.tree_equal(before.target, start.target)
    assert not eqx.tree_equal(before.target, before.train.net)
    assert eqx.tree_equal(at.target, at.train.net)


def test_polyak_moves_the_target_by_its_rate(vectors):
    replay, spec = vectors
    setting = config(target_period_updates=1, target_rate=0.25)
    start, once = (teacher_of(learn(setting, spec, replay, n)) for n in (0, 1))
    for old, net, target in zip(
        weights(start.target), weights(once.train.net), weights(once.target), strict=True
    ):
        np.testing.assert_allclose(target, old + 0.25 * (net - old), atol=1e-6)


@pytest.mark.parametrize("agent", ["teacher", "mlp8"])
def test_averaged_weights_act(vectors, agent):
    replay, spec = vectors
    half = {"ema_decay": 0.5}
    setting = config(students=("mlp8:kl",), student=half, **half)
    start, once = (learn(setting, spec, replay, n) for n in (0, 1))
    before, model = (({"teacher": teacher_of(s).train} | s.students)[agent] for s in (start, once))
    assert model.acting is model.ema
    nets = (weights(m) for m in (before.net, model.net, model.ema))
    for old, net, average in zip(*nets, strict=True):
        np.testing.assert_allclose(average, (old + net) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("share", "rates"), [(1.0, [1, 0.8, 0.6, 0.4, 0.2, 0]), (0.4, [1, 1, 1, 1, 0.5, 0])]
)
def test_an_annealed_learning_rate_falls_linearly_to_zero_at_the_last_step(share, rates):
    """Under a gradient of 1 Adam's steps are as long as its learning rate."""
    rule = optimizer(OptimizerConfig(learning_rate=1e-3, eps=1e-12, anneal=share), updates=5)
    net, gradient = jnp.zeros(()), jnp.ones(())
    state = rule.init(net)
    for expected in [*rates, 0]:
        step, state = rule.update(gradient, state)
        assert float(step) == pytest.approx(-1e-3 * expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(("most", "size"), [(2.0, 2.0), (10.0, 5.0), (0.0, 5.0)])
def test_a_gradient_is_clipped_to_the_norm_of_all_its_parts(most, size):
    """With a large eps Adam's first step is as long as the gradient; a limit of 0 is none."""
    eps = 1e6
    rule = optimizer(OptimizerConfig(learning_rate=eps, eps=eps, max_grad_norm=most), updates=1)
    gradient = (jnp.float32(3.0), jnp.float32(4.0))
    step, _ = rule.update(gradient, rule.init(gradient))
    np.testing.assert_allclose(step, np.multiply((-3 / 5, -4 / 5), size), rtol=1e-4)


def test_the_run_of_a_learning_rate_is_that_of_its_updates():
    steps = Config(steps=108, replay=ReplayConfig(warmup_steps=100, steps_per_update=2))
    assert schedule_of(steps).updates == 5
    rollouts = replace(config("pqn"), steps=392, replay=ReplayConfig(warmup_steps=200))
    assert schedule_of(rollouts).updates == 1 + 8  # of 192 steps in batches of 48, twice


def test_a_brighter_or_paler_game_is_the_same_to_every_net(pixels):
    """The contract takes out any gain and offset of the frames."""
    replay, _ = pixels
    frames = replay.frames // 4
    changed = replay._replace(frames=2 * frames + 50)
    plain = Preprocess(*ring.frame_statistics(replay._replace(frames=frames)))
    obs = frames[:3, 0][None]
    np.testing.assert_allclose(
        plain(obs), Preprocess(*ring.frame_statistics(changed))(2 * obs + 50), atol=1e-4
    )
    assert float(jnp.std(plain(frames[:, 0][None]))) == pytest.approx(1, abs=0.2)


def test_frames_that_never_change_are_not_blown_up():
    replay, _ = filled_replay("probe/one", rows=50)
    mean, std = ring.frame_statistics(replay)
    assert (std == 1).all()
    np.testing.assert_allclose(mean, padded(np.ones((1, 1)))[0])


def test_a_rollout_is_learnt_from_as_often_as_it_has_epochs():
    """And it ends before the newest row, whose successor is not known yet."""
    replay, spec = filled_replay("probe/chain", rows=50)
    learning = teacher_in(config("pqn"), spec)
    state = learning.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    rollout = jax.jit(learning.plan)(state, replay)
    assert rollout.order.shape == (learning.schedule.updates_per_rollout, 48) == (8, 48)
    assert np.bincount(np.ravel(rollout.order)).tolist() == [2] * 24 * 8
    newest = (int(replay.cursor) - 1) % 50
    assert rollout.rows.tolist() == [(newest - back) % 50 for back in range(24, -1, -1)]
    for epoch in rollout.order.reshape(2, -1):
        assert sorted(epoch.tolist()) == list(range(24 * 8))


@pytest.mark.parametrize("clip", [False, True])
def test_the_returns_of_a_rollout_are_those_of_its_rows(clip):
    """One-step returns from the net's own values, row by row and env by env."""
    replay, spec = filled_replay("probe/match", rows=50)
    replay = replay._replace(reward=3 * replay.reward)
    learning = teacher_in(config("pqn", clip_rewards=clip), spec)
    state = learning.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    rollout = jax.jit(learning.plan)(state, replay)
    rows, after = rollout.rows[:-1], replay.frames[rollout.rows[1:]]
    value = state.train.net(state.preprocess(after.reshape(24 * 8, 1, -1))).max(axis=1)
    bootstrap = GAMMA * value.reshape(24, 8) * (1 - replay.terminal[rows])
    reward = np.clip(replay.reward[rows], -1, 1) if clip else replay.reward[rows]
    np.testing.assert_allclose(rollout.returns.reshape(24, 8), reward + bootstrap, atol=1e-5)


def test_a_rollout_is_valued_as_it_was_played_unless_some_values_are_missing():
    replay, spec = filled_replay("probe/chain", rows=50)
    learning = teacher_in(config("pqn"), spec)
    state = learning.init(jr.key(0), Preprocess(*ring.frame_statistics(replay)))
    plan = jax.jit(learning.plan)
    by_the_net = plan(state, replay)
    played = jr.normal(jr.key(1), (*replay.reward.shape, spec.num_actions))
    known = plan(state, replay._replace(q=played))
    returns = np.asarray(known.returns).reshape(24, 8)
    for t, env in [(0, 0), (5, 3), (23, 7)]:
        row, after = known.rows[t], known.rows[t + 1]
        bootstrap = GAMMA * played[after, env].max() * (1 - replay.terminal[row, env])
        assert returns[t, env] == pytest.approx(
            float(replay.reward[row, env] + bootstrap), abs=1e-5
        )
    missing = played.at[known.rows[3], 5].set(jnp.nan)
    again = plan(state, replay._replace(q=missing))
    np.testing.assert_allclose(again.returns, by_the_net.returns, rtol=1e-6)


def test_updates_are_spread_evenly_over_the_steps():
    pace = schedule_of(config("pqn"))
    due = [pace.updates_due(steps) for steps in range(0, 10 * 192 + 1, 8)]
    assert due[0] == 1
    assert set(np.diff(due)) == {0, 1}
    assert due[-1] == 1 + 10 * pace.updates_per_rollout
    assert pace.steps_per_update == 192 / 8


@pytest.fixture(scope="module")
def two_games():
    """Two probes that look alike and differ in their actions' worth."""
    found = {name: filled_replay(f"probe/{name}", rows=100) for name in ("match", "swap")}
    return {n: replay for n, (replay, _) in found.items()}, {n: s for n, (_, s) in found.items()}


@pytest.mark.parametrize("teacher", ["double-dqn", "pqn", "ppo"])
@pytest.mark.usefixtures("optimised")
def test_a_teacher_is_bit_identical_alone_and_beside_another_game(two_games, teacher):
    replays, specs = two_games
    setting = config(teacher, students=("mlp8:kl",))
    both = learn_games(setting, specs, replays, 20)
    for game in specs:
        alone = learn_games(setting, {game: specs[game]}, {game: replays[game]}, 20)
        assert eqx.tree_equal(both.teachers[game], alone.teachers[game])


@pytest.mark.parametrize("teacher", ["double-dqn", "pqn", "ppo"])
def test_a_student_of_any_loss_learns_what_the_teachers_of_two_games_do(two_games, teacher):
    """The two games show the same states and want other actions, so each has its own head."""
    replays, specs = two_games
    losses = [name for name, loss in LOSSES.items() if not loss.td]
    if not TEACHERS[teacher].gives_q:
        losses = [name for name in losses if not LOSSES[name].needs_q]
    students = tuple(f"mlp16:{loss}" for loss in losses)
    setting = config(teacher, students=students, student={"temperature": 0.1})
    state = learn_games(setting, specs, replays, 1500)
    found = jax.jit(Learner(setting, specs).diagnose)(state, replays, jr.key(3))
    names = [f"{game}mlp16-{loss}" for loss in losses for game in ("match/", "swap/", "")]
    agreed = {name: float(row["agreement"]) for name, row in found.items()}
    assert agreed == dict.fromkeys(names, 1.0)


def test_the_loss_of_a_shared_student_is_the_mean_over_its_games(two_games):
    """With half of the games' pull each: a game twice under two names is that game alone."""
    replays, specs = two_games
    setting = config(students=("mlp8:mse",))
    learner = Learner(setting, {"a": specs["swap"], "b": specs["swap"]})
    assert learner.action_slices == {"a": slice(0, 3), "b": slice(3, 6)}
    twice = {"a": replays["swap"], "b": replays["swap"]}
    state = learner.init(jr.key(0), statistics(twice))
    update = jax.jit(learner.update)
    _, totals, _ = update(state, learner.zero_metrics(), twice, {"a": None, "b": None})
    lone = state.students["mlp8"].net
    losses = []
    for game, head in learner.action_slices.items():
        alone = Learner(setting, {game: specs["swap"]})
        start = alone.init(jr.key(0), {game: state.teachers[game].preprocess})
        model = eqx.tree_at(lambda m: m.net, start.students["mlp8"], qnet.with_actions(lone, head))
        start = eqx.tree_at(lambda s: s.students["mlp8"], start, model)
        update = jax.jit(alone.update)
        _, sums, _ = update(start, alone.zero_metrics(), {game: twice[game]}, {game: None})
        losses.append(float(sums["mlp8/loss"]))
    assert losses[0] != losses[1]
    assert float(totals["mlp8/loss"]) == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize("head", [Scalar(), Logits()])
def test_a_frozen_teacher_of_logits_gives_no_q_values_and_is_followed_at_its_temperature(head):
    replay, spec = filled_replay("probe/swap")
    net = architectures.build("mlp8", spec, spec.num_actions, key=jr.key(0))
    policy = Policy(net, statistics({GAME: replay})[GAME], spec, {}, head)
    temperatures = {"temperature": 0.5, "policy_temperature": 2.0}
    setting = config("frozen", students=("mlp4:kl",), student=temperatures)
    learner = Learner(setting, {GAME: spec}, {GAME: policy})
    state = learner.init(jr.key(1), statistics({GAME: replay}))
    teacher = learner.teachers[GAME]
    _, targets = teacher.diagnostic_batch(state.teachers[GAME], replay, jr.key(2), 8)
    assert (targets["latest"].q is None) == isinstance(head, Logits)
    found = teacher.update(state.teachers[GAME], state.updates, replay)
    assert set(found.metrics) == set(teacher.metrics) == ({"q"} if head.gives_q else set())
    batch = found.batches[0]["fresh"]
    assert (batch.target["latest"].q is None) != head.gives_q
    students = Students(setting, {GAME: spec}, learner.students, learner.schedule)
    _, losses = students.update(state.students, {GAME: batch}, state.updates)
    temperature = 0.5 if head.gives_q else 2.0  # of Q-values, or of the policy
    outputs, answers = state.students["mlp4"].net(batch.batch.x), batch.target["latest"].logits
    expected = jnp.mean(jax.vmap(LOSSES["kl"].loss, (0, 0, None))(outputs, answers, temperature))
    assert float(losses["mlp4/loss"]) == pytest.approx(float(expected), rel=1e-5)
