"""PPO (Schulman et al. 2017, arXiv:1707.06347), with the details of Huang et al. 2022.

"The 37 Implementation Details of Proximal Policy Optimization": those of its Atari agent that a
teacher has; emulators, annealing and the clip of the gradient are settings. One thing differs,
since a rollout is learnt from while the next one is played: some of its actions were chosen by a
policy that is up to a rollout old. Ratios are to the policy that chose the action, whose logits
the replay holds; values are those of the net before the first update of the rollout.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from rtpd.config.settings import Config, TeacherConfig
from rtpd.learning.distillation import entropy
from rtpd.learning.teachers.on_policy import OnPolicyAlgorithm, RolloutSteps
from rtpd.learning.teachers.pqn import lambda_returns
from rtpd.networks import qnet
from rtpd.networks.heads import ActorCritic, ValueHead


@dataclass(frozen=True)
class PPO(OnPolicyAlgorithm):
    """A policy and the value of a state, of one torso: the net has one output an action, and one.

    It acts by sampling its policy. Saved agents have the policy alone.
    """

    head: ValueHead = ActorCritic()

    def initialised(self, net: qnet.QNet, key: PRNGKeyArray) -> qnet.QNet:
        """Orthogonal weights, those of the policy's outputs small: it begins next to uniform."""
        gains = jnp.full(net.num_outputs, 0.01).at[-1].set(1.0)
        return qnet.orthogonal(net, key, gains)

    def value(self, outputs: Float[Array, " Q"]) -> Float[Array, ""]:
        """The last output."""
        return outputs[-1]

    def returns(
        self,
        reward: Float[Array, " T"],
        terminal: Bool[Array, " T"],
        last: Bool[Array, " T+1"],
        value: Float[Array, " T+1"],
        config: Config,
    ) -> Float[Array, " T"]:
        """The value of each state plus its advantage by GAE(gamma, lambda).

        Advantages are those of Schulman et al. 2016, arXiv:1506.02438, eq. 16: sums over k of
        (gamma lambda)^k (reward + gamma value' - value). With the value added each is the lambda
        return, and is cut off and bootstrapped as that is.
        """
        gamma, lam = config.teacher.gamma, config.rollout.td_lambda
        return lambda_returns(reward, terminal, last, value, gamma=gamma, lam=lam)

    def losses(
        self, outputs: Float[Array, "B Q"], steps: RolloutSteps, config: Config
    ) -> Float[Array, " B"]:
        """Loss of each step of a minibatch (eq. 9)."""
        advantage = normalised(steps.returns - jnp.asarray(steps.value), steps.weight)
        loss = partial(ppo_loss, config=config.teacher)
        return jax.vmap(loss)(outputs, steps, advantage)


def normalised(advantage: Float[Array, " B"], weight: Float[Array, " B"]) -> Float[Array, " B"]:
    """Advantages of mean 0 and deviation 1 over those of weight 1."""
    count = jnp.maximum(jnp.sum(weight), 1.0)
    centred = advantage - jnp.sum(weight * advantage) / count
    deviation = jnp.sqrt(jnp.sum(weight * jnp.square(centred)) / count)
    return centred / (deviation + 1e-8)


def ppo_loss(
    outputs: Float[Array, " Q"],
    step: RolloutSteps,
    advantage: Float[Array, ""],
    config: TeacherConfig,
) -> Float[Array, ""]:
    """Eq. 9 of the paper, to be descended: the policy's loss, the value's, less the entropy.

    The value's clip is made for clipped rewards; it does not apply to rewards of any size.
    """
    settings, logits, value = config.ppo, outputs[:-1], outputs[-1]
    value_clip = settings.clip if config.clip_rewards else math.inf
    log_prob = jax.nn.log_softmax(logits)[step.action]
    policy = policy_loss(log_prob, jnp.asarray(step.log_prob), advantage, settings.clip)
    error = value_loss(value, jnp.asarray(step.value), step.returns, value_clip)
    bonus = settings.entropy_coefficient * entropy(logits)
    return policy + settings.value_coefficient * error - bonus


def policy_loss(
    log_prob: Float[Array, ""], old_log_prob: Float[Array, ""], advantage: Float[Array, ""],
    clip: float,
) -> Float[Array, ""]:  # fmt: skip
    """The clipped objective, eq. 7 of the paper, negative: the worse of ratio and clipped ratio.

    The ratio is that of an action's probability to what it was when it was chosen.
    """
    ratio = jnp.exp(log_prob - old_log_prob)
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, clipped * advantage)


def value_loss(
    value: Float[Array, ""], old_value: Float[Array, ""], returns: Float[Array, ""], clip: float
) -> Float[Array, ""]:
    """Half the squared error, or that of the value moved by at most `clip`, if that is more.

    Huang et al. 2022, detail 9 of the core ones.
    """
    moved = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.maximum(jnp.square(value - returns), jnp.square(moved - returns))
