"""A folder as the Hugging Face Hub has models: weights, config, model card. It plays as it is.

`rtpd play FOLDER` and `rtpd.load_policy(FOLDER)` read it; `hf upload USER/NAME FOLDER` uploads it.
"""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from rtpd.agents import store as agents
from rtpd.agents.agent_files import HUB_CONFIG, HUB_WEIGHTS
from rtpd.envs.baselines import human_normalised
from rtpd.errors import RequestError
from rtpd.export.about import harmless
from rtpd.export.quantise import Quantised
from rtpd.export.target import ExportTarget
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.system.formatting import percent, score, show
from rtpd.types import num_parameters

CARD = "README.md"


class HubTarget(ExportTarget):
    """A folder for the Hub."""

    def check(self, policy: Policy, *, int8: bool) -> None:
        """RequestError for what such a folder cannot hold."""
        del policy
        if int8:
            raise RequestError("--int8 does not go with --to hub, whose weights are float32")

    def write(self, policy: Policy, path: Path, quantised: Quantised | None) -> None:
        """Weights and config; the card follows with `finish`."""
        del quantised
        path.mkdir()
        weights = path / HUB_WEIGHTS
        agents.save(weights, policy)
        weights.with_suffix(".json").rename(path / HUB_CONFIG)

    def load(self, path: Path, policy: Policy, quantised: Quantised | None) -> HostPolicy:
        """What the folder holds, computed by JAX."""
        del policy, quantised
        found = agents.load(path / HUB_WEIGHTS)
        values = eqx.filter_jit(found.q_values)
        return HostPolicy(
            lambda obs: np.asarray(values(jnp.asarray(obs))), found.spec, found.provenance
        )

    def finish(self, path: Path, policy: Policy, result: dict[str, Any]) -> None:
        """Write the model card, of what has been measured."""
        (path / CARD).write_text(card(policy, result))


def card(policy: Policy, result: dict[str, Any]) -> str:
    """The model card: Markdown under the YAML that the Hub reads."""
    agent, game = harmless(result["agent"]), harmless(policy.spec.name)
    front = _metadata(agent, game, score(result["exported"]))
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())  # JSON is YAML
    table = "\n".join(f"| {name} | {value} |" for name, value in _facts(policy, result))
    shape = "x".join(map(str, policy.spec.frame_shape))
    return f"""---
{yaml}
---

# {agent} plays {game}

A policy that [rtpd](https://arxiv.org/abs/1912.12630) (real-time policy distillation) has trained.

| | |
|---|---|
{table}

```
rtpd play FOLDER          # watch it
rtpd evaluate FOLDER      # measure it again
```

```python
import rtpd

policy = rtpd.load_policy("FOLDER")  # policy(obs) -> Q-values, one for each action
```

An observation is the newest {policy.spec.stack} raw frames ({shape}, {policy.spec.frame_dtype}),
oldest first; `config.json` has the actions' meanings and how the game was played. The weights are
float32 (`model.safetensors`); nothing is executed when they are loaded.
"""


def _metadata(agent: str, game: str, mean: str) -> dict[str, Any]:
    """What the Hub reads: what the model is for, and its mean return."""
    return {
        "library_name": "rtpd",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "policy-distillation", "atari", game],
        "model-index": [
            {
                "name": agent,
                "results": [
                    {
                        "task": {"type": "reinforcement-learning"},
                        "dataset": {"name": game, "type": game},
                        "metrics": [{"type": "mean_reward", "value": mean}],
                    }
                ],
            }
        ],
    }


def _facts(policy: Policy, result: dict[str, Any]) -> list[tuple[str, str]]:
    """What the agent is and how well it has played, a row of the card each."""
    about, played = policy.provenance, result["exported"]
    human = human_normalised(policy.spec.name, played["mean"])
    teacher, step = harmless(about.get("teacher", "?")), about.get("step")
    size = show(num_parameters(policy.net))
    return [
        ("game", harmless(policy.spec.name)),
        ("mean return", f"{score(played)} over {result['episodes']} whole, unclipped episodes, "
                        f"epsilon {result['epsilon']:g}, seed {result['seed']}"),
        ("human-normalised", percent(human)),
        ("net", f"{harmless(about.get('net', '?'))}, {size} parameters"),
        ("learnt from", f"a {teacher} teacher, loss {harmless(about.get('loss', '-'))}, "
                        f"seed {harmless(about.get('seed', '-'))}, {show(step)} agent steps"),
        ("commit of rtpd", harmless(about.get("commit") or "unknown")),
    ]  # fmt: skip
