"""rtpd: real-time policy distillation. One run trains a teacher and its tiny students at once.

    import rtpd

    summary = rtpd.train(rtpd.load_config("cpu"), out="runs/first")
    policy = rtpd.load_policy("runs/first", "net1.7")
    result = rtpd.evaluate("runs/first", episodes=30)

What is exported is imported when it is first used, so that `rtpd --help` does not wait for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtpd.agents.evaluate import evaluate as evaluate
    from rtpd.agents.play import play as play
    from rtpd.agents.store import load_policy as load_policy
    from rtpd.config.loading import load_config as load_config
    from rtpd.config.settings import Config as Config
    from rtpd.errors import CheckpointError as CheckpointError
    from rtpd.errors import ConfigError as ConfigError
    from rtpd.errors import EnvError as EnvError
    from rtpd.errors import RequestError as RequestError
    from rtpd.errors import RtpdError as RtpdError
    from rtpd.errors import RunError as RunError
    from rtpd.networks.policy import Policy as Policy
    from rtpd.training.distill import distill as distill
    from rtpd.training.train import resume as resume
    from rtpd.training.train import train as train
    from rtpd.types import EvalResult as EvalResult

_HOMES = {
    "CheckpointError": "errors",
    "Config": "config.settings",
    "ConfigError": "errors",
    "EnvError": "errors",
    "EvalResult": "types",
    "Policy": "networks.policy",
    "RequestError": "errors",
    "RtpdError": "errors",
    "RunError": "errors",
    "distill": "training.distill",
    "evaluate": "agents.evaluate",
    "load_config": "config.loading",
    "load_policy": "agents.store",
    "play": "agents.play",
    "resume": "training.train",
    "train": "training.train",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'rtpd' has no attribute '{name}'")
    home = import_module(f"rtpd.{_HOMES[name]}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
