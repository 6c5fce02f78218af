"""One env played by one agent, step by step, with what it and another agent say of each step."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, UInt8

from rtpd import envs
from rtpd.agents.runner import EpisodeRunner
from rtpd.errors import RequestError
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EnvSpec


@dataclass(frozen=True)
class Cast:
    """Who plays: the first agent drives the game, others are asked what they would do."""

    policies: Mapping[str, Policy | HostPolicy]
    source: str

    @property
    def driver(self) -> Policy | HostPolicy:
        """Whose actions count."""
        return next(iter(self.policies.values()))

    @property
    def other(self) -> str | None:
        """The name of the first agent that is only asked."""
        return next(iter(list(self.policies)[1:]), None)


@dataclass(frozen=True)
class Moment:
    """A frame, what the agents say of it, and what was done.

    `behind` tells for each agent and action how far its Q-value is behind the best one's, as a
    share of the widest gap that this agent has had so far: 0 is the greedy action, 1 the worst.
    """

    picture: UInt8[np.ndarray, "H W 3"] | None
    q: Mapping[str, Float[np.ndarray, " A"]]
    behind: Mapping[str, Float[np.ndarray, " A"]]
    action: int | None  # None at an episode's last frame
    episode: int  # from 1
    step: int  # of the episode
    total: float  # return of the episode so far
    last: bool  # whether the episode ends here

    @property
    def agree(self) -> bool:
        """Whether all agents have the same greedy action."""
        return len({int(q.argmax()) for q in self.q.values()}) == 1


@dataclass
class Tally:
    """What has been played."""

    returns: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    steps: int = 0
    agreed: int = field(default=0)

    def add(self, moment: Moment) -> bool:
        """Book a step; whether it ended an episode."""
        if moment.action is not None:
            self.steps += 1
            self.agreed += moment.agree
        if moment.last:
            self.returns += (moment.total,)
            self.lengths += (moment.step,)
        return moment.last

    @property
    def agreement(self) -> float:
        """Share of the steps on which the agents' greedy actions were the same."""
        return self.agreed / max(self.steps, 1)


def check_alike(mine: EnvSpec, its: EnvSpec, who: str) -> None:
    """RequestError, about `who`, unless two agents play the same game and see the same of it."""
    for what in ("name", "frame_shape", "frame_dtype", "stack", "num_actions"):
        ours, theirs = getattr(mine, what), getattr(its, what)
        if ours != theirs:
            raise RequestError(f"{who}: its {what} is {theirs}, the first's {ours}")


def moments(
    cast: Cast, options: envs.EnvOptions, epsilon: float, seed: int, *, pictures: bool
) -> Generator[Moment]:
    """Play episode after episode, for ever; close it to free the emulators.

    `pictures` asks for them: in colour where the env can be watched, else of the frames that the
    agent sees, if those are images.
    """
    driver, options = cast.driver, replace(options, episodic_life=False)
    runner = EpisodeRunner(driver, options, 1, seed)
    screen = envs.screen(driver.spec.name, options) if pictures else None
    episode, step, total = 1, 0, 0.0
    widest = dict.fromkeys(cast.policies, 1e-9)
    try:
        picture = screen.reset(seed) if screen else None
        while True:
            now = runner.timestep
            if now.first[0]:
                step, total = 0, 0.0
            action = int(np.asarray(runner.act(epsilon))[0])
            q = _q_values(cast, runner)
            for name, values in q.items():
                widest[name] = max(widest[name], float(np.ptp(values)))
            if pictures and picture is None and driver.spec.is_image:
                picture = np.repeat(now.frame[0][..., None], 3, axis=2)
            last = bool(now.last[0])
            behind = {name: (v.max() - v) / widest[name] for name, v in q.items()}
            done = None if last else action
            yield Moment(picture, q, behind, done, episode, step, total, last)
            runner.env.send(np.array([action]))
            runner.receive()
            picture = screen.step(action) if screen else None
            step, total = step + 1, total + float(runner.timestep.reward[0])
            episode += last
    finally:
        runner.env.close()
        if screen:
            screen.close()


def _q_values(cast: Cast, runner: EpisodeRunner) -> dict[str, Float[np.ndarray, " A"]]:
    """What every agent says of what the first one sees."""
    found = {}
    for name, policy in cast.policies.items():
        if policy is cast.driver:
            values = np.asarray(runner.q)
        elif isinstance(policy, HostPolicy):
            values = policy.q_values(np.asarray(runner.stack))
        else:
            values = np.asarray(_values(policy, runner.stack))
        found[name] = values[0]
    return found


@eqx.filter_jit
def _values(policy: Policy, stack: Array) -> Array:
    return policy(stack[0])[None]
