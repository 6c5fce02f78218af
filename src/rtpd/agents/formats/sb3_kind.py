"""What an agent of Stable-Baselines3 is by what its file says of it, or why it is not read."""

import re
from typing import Any, NamedTuple

from rtpd.agents.formats.layers import brief
from rtpd.errors import RequestError, unknown

NATURE = "stable_baselines3.common.torch_layers.NatureCNN"
FLATTEN = "stable_baselines3.common.torch_layers.FlattenExtractor"
_ACTIVATION = "torch.nn.modules.activation."
_ACTIVATIONS = {
    "ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "ELU": "elu", "LeakyReLU": "leaky_relu",
    "SiLU": "silu", "GELU": "gelu",
}  # fmt: skip
ACTOR = "actor_critic"


class Kind(NamedTuple):
    """A policy class of theirs: its algorithm, what its net is called, what reads observations."""

    algorithm: str
    net: str
    extractor: str
    activation: str = "ReLU"
    scale: float = 1.0  # what observations are divided by

    @property
    def gives_q(self) -> bool:
        """Whether its outputs are Q-values, or the logits of a policy."""
        return self.net != ACTOR


KINDS = {
    "stable_baselines3.dqn.policies.DQNPolicy": Kind("DQN", "q_net", FLATTEN),  # MlpPolicy
    "stable_baselines3.dqn.policies.CnnPolicy": Kind("DQN", "q_net", NATURE),
    "sb3_contrib.qrdqn.policies.QRDQNPolicy": Kind("QR-DQN", "quantile_net", FLATTEN),
    "sb3_contrib.qrdqn.policies.CnnPolicy": Kind("QR-DQN", "quantile_net", NATURE),
    **{
        f"stable_baselines3.{name}": Kind("A2C", ACTOR, extractor, "Tanh")
        for name, extractor in {
            "common.policies.ActorCriticPolicy": FLATTEN,  # MlpPolicy
            "common.policies.ActorCriticCnnPolicy": NATURE,
            "ppo.policies.PPOPolicy": FLATTEN,  # of both, before 0.7
            "ppo.policies.CnnPolicy": NATURE,
        }.items()
    },
}
# What other policies of theirs are, by a part of their names.
_OTHERS = {
    "Recurrent": "recurrent policies are not read",
    "MultiInput": "observations that are dicts are not read",
    "Maskable": "masks of actions are not read",
}
_SPACES = {
    "action_space": {
        "Box": "continuous actions",
        "MultiDiscrete": "several actions at a time",
        "MultiBinary": "several actions at a time",
    },
    "observation_space": {
        "Dict": "observations that are dicts",
    },
}


def of(about: dict[str, Any]) -> Kind:
    """What the agent is; RequestError if it is not one that can be read."""
    for space, refused in _SPACES.items():
        found = _class_name(part(about, space).get(":type:")).rpartition(".")[2]
        if found in refused:
            raise RequestError(f"{refused[found]} are not read: its {space} is a '{found}'")
    policy = part(about, "policy_class")
    name = re.match(r"<function (\w+)\.__init__", brief(policy.get("__init__")))
    found = f"{brief(policy.get('__module__'))}.{name.group(1) if name else '?'}"
    if found not in KINDS:
        why = next((f"{why}: " for word, why in _OTHERS.items() if word in found), "")
        raise RequestError(
            f"{why}it holds a '{found}': "
            "allowed: MlpPolicy and CnnPolicy of DQN, QR-DQN, PPO and A2C"
        )
    kind, options = KINDS[found], part(about, "policy_kwargs")
    extractor = _class_name(options.get("features_extractor_class", kind.extractor))
    activation = _class_name(options.get("activation_fn", f"{_ACTIVATION}{kind.activation}"))
    bend = _ACTIVATIONS.get(activation.removeprefix(_ACTIVATION))
    if extractor not in (NATURE, FLATTEN):
        raise RequestError(unknown("features extractor", extractor, (NATURE, FLATTEN)))
    if bend is None or not activation.startswith(_ACTIVATION):
        known = [_ACTIVATION + name for name in _ACTIVATIONS]
        raise RequestError(unknown("activation", activation, known))
    if not kind.gives_q and "n_epochs" in about:  # all have the same class of policy
        kind = kind._replace(algorithm="PPO")
    whole = extractor == NATURE and options.get("normalize_images", True) is True
    return kind._replace(extractor=extractor, activation=bend, scale=255.0 if whole else 1.0)


def part(about: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of the JSON, empty if it has none of this name."""
    found = about.get(name)
    return found if isinstance(found, dict) else {}


def _class_name(value: object) -> str:
    """The dotted name in "<class 'a.b.C'>"."""
    return brief(value).removeprefix("<class '").removesuffix("'>")
