"""How an environment is asked for: its options, and the modules that register ids.

The command line reads this, so it imports neither NumPy nor JAX.
"""

from dataclasses import dataclass
from typing import Annotated

from rtpd.errors import EnvError, told
from rtpd.ranges import Range, outside

IMPORT = "RTPD_IMPORT"  # variable: modules, parted by commas, that register envs


@dataclass(frozen=True)
class EnvOptions:
    """How an environment is played. The defaults are those of Nature DQN, without sticky actions.

    Only `ale` reads them: a `gym` environment is played as it is registered, but for no more than
    `max_episode_frames` steps an episode, and a `probe` is fully described by its table.
    """

    sticky_actions: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Probability that a frame repeats the previous action (0.25 in Machado et al. 2018)."""
    episodic_life: bool = False
    """Whether a lost life counts as terminal for learning; the game itself goes on."""
    # Narrow, since an emulator does not listen while it plays the frames of one step or of a start.
    noop_max: Annotated[int, Range(0, 1_000)] = 30
    """Most emulator frames without action at the start of a game, drawn from 0..noop_max."""
    frame_skip: Annotated[int, Range(1, 1_000)] = 4
    """Emulator frames an agent step lasts."""
    full_action_set: bool = False
    """Whether to offer all 18 joystick actions instead of the game's own."""
    max_episode_frames: Annotated[int, Range(1, 10**8)] = 108_000
    """Emulator frames (steps of a `gym` environment) after which an episode is truncated, if the
    environment has not ended it before (30 minutes of play)."""
    threads: Annotated[int, Range(0, 1_024)] = 0
    """Emulator threads; 0 means as many as there are envs, at most one a core."""

    def __post_init__(self) -> None:
        """Refuse values that the emulator would take silently.

        Raises:
            EnvError: if an option is out of range.
        """
        for name, value, limits in outside(self):
            raise EnvError(f"{name} is {told(value)}: allowed: {limits.allowed(value)}")


def modules_of(names: str) -> list[str]:
    """The modules that names of envs ask for: "gym/dodge:Dodge-v0+gym/CartPole-v1" -> ["dodge"]."""
    found = (n.partition("/")[2].rpartition(":")[0] for n in names.split("+") if _is_gym(n))
    return list(dict.fromkeys(filter(None, found)))


def _is_gym(name: str) -> bool:
    return name.lower().startswith("gym/")
