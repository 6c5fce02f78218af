"""What a run is asked to do: frozen dataclasses, each number with its range beside it.

The command line is a view of `Config`; so is the manifest. `loading` makes one of files and flags.
Units are in the names: steps are agent steps (one action in one env), updates are the teacher's.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from rtpd import envs
from rtpd.ranges import Range

MOST_STEPS = 2**31 - 1  # what an int32 on the device counts

Steps = Annotated[int, Range(1, MOST_STEPS)]
StepsOrZero = Annotated[int, Range(0, MOST_STEPS)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 0.999999)]
Weight = Annotated[float, Range(0, 1e9)]
Batch = Annotated[int, Range(1, 65_536)]
Episodes = Annotated[int, Range(1, 10_000)]

Follow = Literal["latest", "ema", "best"]
Targets = Literal["fresh", "stored", "auto"]


@dataclass(frozen=True)
class OptimizerConfig:
    """Gradient descent of one net."""

    name: Literal["adam", "radam", "rmsprop"] = "adam"
    """adam, radam (rectified), or rmsprop (centred, as in Mnih et al. 2015)"""
    learning_rate: Annotated[float, Range(0, 10)] = 2.5e-4
    """step size"""
    eps: Annotated[float, Range(0, 10)] = 1.5e-4
    """added to the denominator"""
    decay: Share = 0.95
    """rmsprop: decay of the running moments"""
    max_grad_norm: Weight = 10.0
    """gradients are scaled down to this global norm; 0 leaves them alone"""
    anneal: Share = 0.0
    """share of the net's updates, at the end, over which its learning rate falls linearly to 0"""


@dataclass(frozen=True)
class PPOConfig:
    """What the teacher `ppo` alone has."""

    clip: Annotated[float, Range(1e-6, 1)] = 0.1
    """how far the ratio to the policy that played may move from 1, and with --teacher.clip-rewards
    the value from what it was"""
    value_coefficient: Weight = 0.5
    """weight of the value's loss beside the policy's"""
    entropy_coefficient: Weight = 0.01
    """weight of the policy's entropy, which is rewarded"""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: its algorithm, its net, and how it learns."""

    algorithm: Annotated[str, tyro.conf.arg(aliases=["--teacher"])] = "double-dqn"
    """dqn, double-dqn, munchausen, c51, qr-dqn, rainbow (all from a replay), pqn or ppo (from
    rollouts); `rtpd teachers` lists them"""
    net: Annotated[str, tyro.conf.arg(aliases=["--teacher-net"])] = "auto"
    """net of the teacher: nature, impala or impala2 (residual, and twice as wide), any of a
    student's; auto: nature for images, mlp64-64 for vectors"""
    dueling: bool = False
    """value and advantage streams (Wang et al. 2016)"""
    noisy: bool = False
    """noisy dense layers (Fortunato et al. 2018), which explore by themselves"""
    n_step: Annotated[int, Range(1, 100)] = 3
    """length of the n-step return, in steps"""
    gamma: Share = 0.99
    """discount per step"""
    loss: Literal["huber", "mse"] = "huber"
    """of the TD error; huber is quadratic up to 1; c51, rainbow and ppo have one of their own"""
    clip_rewards: bool = True
    """learn from rewards clipped to -1..1; reported returns never are"""
    optimizer: OptimizerConfig = OptimizerConfig()
    target_period_updates: Steps = 500
    """the target net is renewed every so many updates"""
    target_rate: Annotated[float, Range(1e-9, 1)] = 1.0
    """how far it then moves to the online net: 1 copies, less is Polyak averaging"""
    ema_decay: Decay = 0.0
    """decay per update of the teacher's averaged weights, which then act, bootstrap rollouts, are
    evaluated and saved; 0 uses the latest"""
    ppo: PPOConfig = PPOConfig()

    @property
    def is_frozen(self) -> bool:
        """Whether it is a pretrained teacher, which learns no more."""
        return self.algorithm == "frozen"


@dataclass(frozen=True)
class StudentConfig:
    """How students learn; in `students` are their nets and losses, and what one has of its own."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, eps=1e-8)
    temperature: Annotated[float, Range(1e-9, 1e9)] = 0.01
    """of the softmax over the teacher's Q (losses kl, reverse-kl, kl-td)"""
    temperature_unit: Literal["q", "gap"] = "q"
    """q: the temperature itself; gap: times the teacher's mean action gap in the minibatch"""
    policy_temperature: Annotated[float, Range(1e-9, 1e9)] = 1.0
    """the same over the logits of a teacher that has a policy and no Q; 1 is the policy itself"""
    updates: Annotated[int, Range(1, 100)] = 1
    """student updates per teacher update, each of replay.batch_size: of the teacher's own
    minibatch as far as it goes, then of fresh ones from the replay"""
    late_updates: Annotated[int, Range(0, 100)] = 0
    """at least so many over the last `late_share` of the run, in which its teacher slows down and
    it catches up; 0: as many as before that. By steps or by --minutes, whichever is sooner"""
    late_share: Share = 0.25
    """of the teacher's updates, or of --minutes, at the end, with `late_updates`"""
    targets: Targets = "fresh"
    """what a student learns of minibatches from the replay. fresh: the teacher is asked again.
    stored: what it answered when it acted there, which costs nothing and is a little old. auto:
    stored where the student follows the weights that act, else fresh"""
    newest_steps: Annotated[int, Range(1, 10**9)] = 4_096
    """stored: drawn from the newest so many steps of all envs, 8 of each at least"""
    ema_decay: Decay = 0.0
    """decay per update of the averaged weights that act and are evaluated; 0 uses the latest"""
    follow: Follow = "latest"
    """whose Q-values are the target: the latest teacher's, its averaged weights'
    (teacher.ema_decay), or those that scored best in an evaluation so far"""
    weight: Literal["none", "gap", "certainty"] = "none"
    """how much each state counts: none: all the same; gap: by the teacher's action gap there;
    certainty: by how far its softmax at the temperature is from indifference"""
    td_weight: Weight = 1.0
    """weight of the student's own TD loss in kl-td"""


@dataclass(frozen=True)
class ConsolidationConfig:
    """The end of a run, where the teacher rests and its students catch up."""

    share: Annotated[float, Range(0, 0.9), tyro.conf.arg(aliases=["--consolidate"])] = 0.0
    """share of the run, at its end, in which the teacher goes on acting but learns no more; its
    students learn from what it answers there. Not done without students"""
    updates: Annotated[int, Range(1, 1000)] = 8
    """student updates there in the place of each of the teacher's"""


@dataclass(frozen=True)
class ReplayConfig:
    """What is learnt from."""

    capacity: Annotated[int, Range(1, 10**9)] = 150_000
    """transitions kept of each game; one Atari transition takes 7.1 kB"""
    batch_size: Batch = 32
    """transitions per update"""
    warmup_steps: Steps = 8_000
    """steps of uniformly random play before the first update; they also give the centre"""
    steps_per_update: Annotated[int, Range(1, 10**6)] = 4
    """steps between two updates of the teacher"""
    priority: Annotated[float, Range(0, 10)] = 0.0
    """exponent of prioritised sampling (Schaul et al. 2016); 0 samples uniformly"""
    importance: Share = 0.4
    """exponent of the importance weights that make up for it; rises linearly to 1 at --steps"""
    save: bool = True
    """keep the replay in checkpoints; without it a resumed run plays a new warm-up"""


@dataclass(frozen=True)
class RolloutConfig:
    """What a teacher without a replay learns from; its students still draw from the replay."""

    steps: Annotated[int, Range(1, 100_000)] = 32
    """steps of every env between two turns of learning"""
    epochs: Annotated[int, Range(1, 100)] = 2
    """times that each step is learnt from"""
    minibatch_size: Batch = 64
    """steps per update"""
    td_lambda: Share = 0.65
    """lambda of the Q(lambda) returns, or of ppo's advantages: 0 is one-step, 1 looks to the end of
    the rollout"""


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon-greedy play of the teacher; ppo samples its policy instead."""

    start: Share = 1.0
    """epsilon at step 0"""
    end: Share = 0.01
    """epsilon after the decay"""
    decay_steps: StepsOrZero = 50_000
    """steps over which epsilon falls, linearly"""


@dataclass(frozen=True)
class EvaluationConfig:
    """Whole episodes played beside the training and at its end."""

    period_steps: StepsOrZero = 25_000
    """steps between evaluations; 0 evaluates only when asked"""
    episodes: Episodes = 5
    """episodes per agent and evaluation"""
    final_episodes: Episodes = 30
    """episodes per agent of the evaluation at the end"""
    epsilon: Share = 0.05
    """share of random actions (Rusu et al. 2015)"""


@dataclass(frozen=True)
class Config:
    """One training: a teacher and its students, at once."""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GAME")] = "ale/pong"
    """family/name: ale/pong, gym/CartPole-v1; a bare name means ale/ (`rtpd games` lists them).
    pong+boxing: a teacher for each game, and students that play them all"""
    students: tuple[str, ...] = ("auto",)
    """NET:LOSS ...; nets: net25 net7 net4 net1.7 net0.5 net0.1 conv8-8-8x64 mlp16; losses: kl
    reverse-kl nll mse kl-td. net1.7:kl:int8 learns as it will be in integers;
    net1.7:kl:temperature=0.1:updates=2 has settings of its own (those of --student.*); auto:
    net1.7:kl (mlp16:kl for vectors); none: a teacher alone"""
    steps: Steps = 500_000
    """stop after so many steps (one action in one env, 4 frames on Atari) of each game"""
    minutes: Annotated[float, Range(0, 10**7)] = 0.0
    """stop after so many minutes if that is sooner; 0: no limit"""
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """every random number derives from it"""
    num_envs: Annotated[int, Range(1, 4096)] = 8
    """emulators of each game played at once"""
    actors: str = "teacher"
    """who plays: teacher, or how many envs of each game each drives, as in teacher=6,net1.7=2;
    what students play is learnt from like the rest, by the teacher too (off-policy)"""
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    """what convolutions and the large products compute in; weights, losses, Q-values and saved
    agents are float32 in any case. auto: bfloat16 on a GPU and on a CPU that multiplies it
    (amx_bf16, avx512_bf16), else float32"""
    centre: str = "mean"
    """subtracted from every frame: mean (the warm-up's mean frame), a number, or none"""
    scale: str = "std"
    """what frames are then divided by: std (their deviation in the warm-up) or a number (255)"""
    checkpoint_steps: StepsOrZero = 100_000
    """steps between checkpoints; 0: only at the end and when interrupted"""
    log_steps: Steps = 2_000
    """steps between lines of metrics.jsonl"""
    on_divergence: Literal["stop", "rollback"] = "stop"
    """when a loss or weights are no longer finite: stop, or go on from the last good checkpoint
    with half the learning rates (at most 3 times)"""
    environment: envs.EnvOptions = envs.EnvOptions()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    consolidation: ConsolidationConfig = ConsolidationConfig()
    replay: ReplayConfig = ReplayConfig()
    rollout: RolloutConfig = RolloutConfig()
    exploration: ExplorationConfig = ExplorationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def games(self) -> dict[str, str]:
        """The environments that are played, by their short names: {"pong": "ale/pong"}."""
        return {envs.short(name): name for name in self.env.split("+")}
